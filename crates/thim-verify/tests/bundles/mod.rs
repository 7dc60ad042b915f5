//! The recorded bundles: a quote, nine fields of collateral, the time to judge it at, what two other verifiers said.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::Value;
use thim_verify::{
    Absent, Certificate, CollateralPart, Error, Issuers, QuoteCollateral, SignedMember,
    TrustAnchors, UnixTime, Unverified, parse, parse_detached, verify,
};

/// One bundle.
pub struct Bundle {
    pub name: String,
    pub quote: Vec<u8>,
    pub collateral: Value,
    pub expected: Value,
}

/// All bundles, by name.
pub fn bundles(intel: &Path) -> Vec<Bundle> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(intel.join("bundles"))
        .expect("bundles")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.sort();
    folders.iter().map(|folder| Bundle::read(folder)).collect()
}

impl Bundle {
    pub fn read(folder: &Path) -> Self {
        let file = |name: &str| std::fs::read(folder.join(name)).expect(name);
        let json = |name: &str| serde_json::from_slice(&file(name)).expect(name);
        Self {
            name: folder
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned(),
            quote: file("quote.bin"),
            collateral: json("collateral.json"),
            expected: json("expected.json"),
        }
    }

    pub fn field(&self, name: &str) -> &str {
        self.collateral[name].as_str().expect("a text")
    }

    pub fn time(&self) -> UnixTime {
        UnixTime::from_secs(self.expected["unix"].as_i64().expect("seconds"))
    }

    pub fn issuers(&self) -> Issuers {
        Issuers::new(TrustAnchors::intel())
    }

    /// The parts, each verified, or why it is not genuine.
    pub fn collateral(&self, issuers: &Issuers) -> QuoteCollateral {
        collateral(&self.collateral, issuers)
    }
}

/// Of nine fields.
pub fn collateral(fields: &Value, issuers: &Issuers) -> QuoteCollateral {
    let field = |name: &str| fields[name].as_str().expect("a text");
    let mut collateral = QuoteCollateral::new();
    let mut add = |part: CollateralPart, parsed: Result<Unverified, Error>, chain: &str| {
        let verified = parsed.and_then(|parsed| {
            let chain = Certificate::from_pem_bundle(chain.as_bytes())?;
            verify(parsed, &chain, issuers, None, UnixTime::MAX)
        });
        let placed = verified.and_then(|artefact| {
            // An artefact of another kind goes to another place, and is none of this one.
            let mut apart = QuoteCollateral::new();
            match apart.insert(artefact.clone())? {
                found if found == part => collateral.insert(artefact),
                found => Err(Error::Unsupported {
                    what: format!("{} as {}", found.name(), part.name()),
                }),
            }
        });
        if let Err(error) = placed {
            collateral.set_absent(part, Absent::Broken(error));
        }
    };
    let crl = |name: &str| {
        let der = HEXLOWER_PERMISSIVE.decode(field(name).as_bytes());
        parse(&der.expect("hex"))
    };
    add(CollateralPart::RootCrl, crl("root_ca_crl"), "");
    add(
        CollateralPart::PckCrl,
        crl("pck_crl"),
        field("pck_crl_issuer_chain"),
    );
    add(
        CollateralPart::TcbInfo,
        parse_detached(
            SignedMember::TcbInfo,
            field("tcb_info").as_bytes(),
            field("tcb_info_signature"),
        ),
        field("tcb_info_issuer_chain"),
    );
    add(
        CollateralPart::QeIdentity,
        parse_detached(
            SignedMember::EnclaveIdentity,
            field("qe_identity").as_bytes(),
            field("qe_identity_signature"),
        ),
        field("qe_identity_issuer_chain"),
    );
    collateral
}
