//! The vendor-signed data that tests run over.
//!
//! It is not part of the repository: `THIM_VECTORS` names its folder, `../../../shared/vectors` is tried otherwise,
//! and without either the tests say so and pass.

#![allow(clippy::disallowed_methods, reason = "a test of the world may read it")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thim_verify::{
    Artefact, Certificate, Issuers, TrustAnchors, UnixTime, Verified, parse, verify,
};

pub fn vectors() -> Option<PathBuf> {
    let root = std::env::var_os("THIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let found = root.join("intel/index.csv").is_file();
    if !found {
        println!("skipped: no vectors");
    }
    found.then(|| root.join("intel"))
}

pub fn now() -> UnixTime {
    "2026-11-01T00:00:00Z".parse().expect("a date")
}

/// All certificates of `ca/`, for the one TCB signer that is not built in.
pub fn issuers(intel: &Path) -> Issuers {
    let mut issuers = Issuers::new(TrustAnchors::intel());
    for entry in std::fs::read_dir(intel.join("ca")).expect("ca") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        let certificates = if path.extension().is_some_and(|ext| ext == "der") {
            vec![Certificate::from_der(&bytes).expect("a certificate")]
        } else {
            Certificate::from_pem_bundle(&bytes).expect("a chain")
        };
        for certificate in certificates {
            issuers
                .insert(certificate)
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }
    issuers
}

/// The newest root CRL of the vectors.
pub fn root_crl(intel: &Path, issuers: &Issuers) -> Verified<Artefact> {
    newest_crl("root-", intel, issuers)
}

/// The newest list whose file name starts with `prefix`.
pub fn newest_crl(prefix: &str, intel: &Path, issuers: &Issuers) -> Verified<Artefact> {
    std::fs::read_dir(intel.join("crl"))
        .expect("crl")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .map(|path| {
            let parsed = parse(&std::fs::read(&path).expect("a file")).expect("a CRL");
            verify(parsed, &[], issuers, None, now()).expect("a genuine CRL")
        })
        .max_by_key(|list| list.issued())
        .expect("a CRL")
}

pub type Row = BTreeMap<String, String>;

pub fn rows(intel: &Path) -> Vec<Row> {
    csv::Reader::from_path(intel.join("index.csv"))
        .expect("index.csv")
        .deserialize()
        .collect::<Result<_, _>>()
        .expect("rows")
}
