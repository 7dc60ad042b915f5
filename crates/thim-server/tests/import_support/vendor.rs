//! The simulated vendor, whose answers imports are made of.

#![allow(dead_code, reason = "each test file uses a part of it")]

use thim_client::ImportReport;
use thim_server::intake::File;
use thim_sim::{Ca, Revocation};
use thim_verify::TrustAnchors;

use crate::harness::{BOTH, Fleet};
use crate::support::Kept;

pub const ROOT_CRL: &str = "/IntelSGXRootCA.der";
pub const PLATFORM_CRL: &str = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der";
pub const PROCESSOR_CRL: &str = "/sgx/certification/v4/pckcrl?ca=processor&encoding=der";
pub const QE: &str = "/sgx/certification/v4/qe/identity";
pub const TD_QE: &str = "/tdx/certification/v4/qe/identity";
pub const QVE: &str = "/sgx/certification/v4/qve/identity";

/// Three days after the simulator's first.
pub const LATER: &str = "2026-11-27T12:00:00Z";

/// An answer of the simulated vendor.
pub struct Answer {
    pub body: Vec<u8>,
    /// As the header has it: percent-encoded PEM.
    pub chain: String,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn pem(&self) -> String {
        percent_encoding::percent_decode_str(&self.chain)
            .decode_utf8()
            .expect("text")
            .into_owned()
    }

    /// What is signed, exactly, and the signature.
    pub fn parts(&self) -> (&str, &str) {
        let (signed, signature) = self
            .text()
            .rsplit_once(",\"signature\":\"")
            .expect("a signature");
        let (_, signed) = signed.split_once(':').expect("a member");
        (signed, signature.trim_end().trim_end_matches("\"}"))
    }
}

pub struct Vendor(pub Fleet);

impl Vendor {
    pub async fn start() -> Self {
        Self(Fleet::sim_only(|_| {}).await)
    }

    pub fn anchors(&self) -> TrustAnchors {
        TrustAnchors::from_pem(self.0.sim.root_pem().as_bytes()).expect("a root")
    }

    pub async fn kept(&self, now: &str) -> Kept {
        Kept::open(self.anchors(), now).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.0.sim.pcs_url());
        let answer = self.0.send(self.0.client.get(url)).await;
        assert_eq!(answer.status, 200, "{path}");
        let chain = answer
            .headers
            .iter()
            .find(|(name, _)| name.as_str().ends_with("issuer-chain"))
            .map(|(_, value)| value.to_str().expect("text").to_owned());
        Answer {
            body: answer.body,
            chain: chain.unwrap_or_default(),
        }
    }

    pub async fn tcb(&self, tee: &str, choice: &str) -> Answer {
        self.get(&format!(
            "/{tee}/certification/v4/tcb?fmspc={BOTH}&update={choice}"
        ))
        .await
    }

    /// One round of everything, as files with their chains beside them.
    pub async fn files(&self, round: &str) -> Vec<File> {
        let mut files = Vec::new();
        let tcb = |tee: &str, choice: &str| {
            format!("/{tee}/certification/v4/tcb?fmspc={BOTH}&update={choice}")
        };
        for (place, path) in [
            ROOT_CRL.to_owned(),
            PLATFORM_CRL.to_owned(),
            PROCESSOR_CRL.to_owned(),
            "/sgx/certification/v4/tcbevaluationdatanumbers".to_owned(),
            "/tdx/certification/v4/tcbevaluationdatanumbers".to_owned(),
            QE.to_owned(),
            TD_QE.to_owned(),
            tcb("sgx", "standard"),
            tcb("sgx", "early"),
            tcb("tdx", "standard"),
        ]
        .into_iter()
        .enumerate()
        {
            let answer = self.get(&path).await;
            let pem = answer.pem();
            files.push(file(&format!("{round}/{place}.body"), answer.body));
            if !pem.is_empty() {
                files.push(file(&format!("{round}/{place}.pem"), pem.into_bytes()));
            }
        }
        files
    }

    pub fn pass_a_day(&self) {
        self.0.clock.advance_millis(86_400_000);
    }
}

pub fn file(path: &str, bytes: Vec<u8>) -> File {
    File {
        path: path.to_owned(),
        bytes: bytes.into(),
    }
}

pub fn counts(report: &ImportReport) -> (u64, u64, u64, u64, u64) {
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    (
        report.admitted,
        report.known,
        report.held,
        report.future,
        report.ignored,
    )
}

/// Three rounds of the vendor's answers: a first, one with more revoked platforms, one with fewer.
pub async fn three_rounds(vendor: &Vendor) -> Vec<File> {
    let mut files = vendor.files("first").await;
    vendor.pass_a_day();
    vendor
        .0
        .management()
        .revoke(&Revocation::random(Ca::Platform, 72))
        .expect("revoked");
    vendor.0.management().resign().expect("signed anew");
    files.extend(vendor.files("second").await);
    vendor.pass_a_day();
    vendor.0.management().resign().expect("signed anew");
    vendor.pass_a_day();
    vendor
        .0
        .management()
        .shrink(Ca::Platform, 72)
        .expect("shrunk");
    files.push(file(
        "third/platform.der",
        vendor.get(PLATFORM_CRL).await.body,
    ));
    files
}
