//! AMD's data that tests run over, and what its `PROVENANCE.md` says about each file.
//!
//! It is not part of the repository: `THIM_VECTORS` names its folder, `../../../shared/vectors` is tried otherwise,
//! and without either the tests say so and pass.

#![allow(clippy::disallowed_methods, reason = "a test of the world may read it")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};

use thim_verify::UnixTime;
use thim_verify::amd::{
    Anchors, CertChain, EndorsementKind, Product, VerifiedAmd, parse_cert_chain, verify_cert_chain,
};

pub fn vectors() -> Option<PathBuf> {
    let root = std::env::var_os("THIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let found = root.join("amd/PROVENANCE.md").is_file();
    if !found {
        println!("skipped: no vectors");
    }
    found.then(|| root.join("amd"))
}

pub fn at(text: &str) -> UnixTime {
    text.parse().expect(text)
}

/// Within the window of the captured lists.
pub fn september() -> UnixTime {
    at("2026-09-21T00:00:00Z")
}

pub fn read(amd: &Path, path: &str) -> Vec<u8> {
    std::fs::read(amd.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of the table whose header starts with `first`, split into cells.
pub fn table(amd: &Path, first: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(read(amd, "PROVENANCE.md")).expect("UTF-8");
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {first} |")))
        .take_while(|line| line.starts_with('|'))
        .skip(2);
    let rows: Vec<Vec<String>> = rows
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect();
    assert!(rows.len() > 5, "{first}");
    rows
}

pub fn chain_document(amd: &Path, product: Product, kind: EndorsementKind) -> Vec<u8> {
    let product = product.name().to_lowercase();
    read(amd, &format!("chains/kds_{product}_{kind}_cert_chain.pem"))
}

pub fn chain(amd: &Path, product: Product, kind: EndorsementKind) -> VerifiedAmd<CertChain> {
    let parsed = parse_cert_chain(&chain_document(amd, product, kind)).expect("a chain");
    let now = at("2025-06-01T00:00:00Z");
    verify_cert_chain(parsed, product, kind, None, &Anchors::builtin(), now).expect("genuine")
}
