//! Reports: cold, and with certificates and list parsed before.

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384};
use data_encoding::BASE64;
use thim_verify::UnixTime;
use thim_verify::amd::{
    AmdCrl, Anchors, CertChain, Endorsement, FindingName, Outcome, Products, ReportCollateral,
    parse_cert_chain, parse_crl, parse_report, verify_report,
};

use crate::Case;
use crate::bound::{Check, measured, public_key, signed};

/// What a report is judged by, as it is handed over.
struct Bytes {
    report: Vec<u8>,
    vcek: Vec<u8>,
    chain: Vec<u8>,
    crl: Vec<u8>,
}

struct Parsed {
    vcek: Endorsement,
    chain: CertChain,
    crl: AmdCrl,
}

pub fn cases(folder: &Path) -> Vec<Case> {
    [
        "milan_v3_4ffb5cb4",
        "genoa_v3_b1e24a27",
        "turin_v5_59790fb1",
    ]
    .iter()
    .flat_map(|pair| of_pair(folder, pair))
    .collect()
}

fn of_pair(folder: &Path, pair: &str) -> Vec<Case> {
    let product = pair.split('_').next().expect("a product");
    let file = |path: String| std::fs::read(folder.join(&path)).expect(&path);
    let bytes = Rc::new(Bytes {
        report: file(format!("pairs/{pair}/report.bin")),
        vcek: file(format!("pairs/{pair}/vcek.pem")),
        chain: file(format!("chains/kds_{product}_vcek_cert_chain.pem")),
        crl: file(format!("crl/kds_{product}_vcek_crl_20260920.der")),
    });
    let parsed = bytes.parsed();
    let cold = {
        let bytes = Rc::clone(&bytes);
        move || bytes.measured(|bytes| bytes.judged(&bytes.parsed()))
    };
    let warm = {
        let bytes = Rc::clone(&bytes);
        move || bytes.measured(|bytes| bytes.judged(&parsed))
    };
    let name = |what: &str| {
        let mut letters = product.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        format!(
            "SNP {}: {what}",
            first.into_iter().chain(letters).collect::<String>()
        )
    };
    let (fresh, known) = (bytes.checks(true), bytes.checks(false));
    vec![
        Case {
            name: name("cold"),
            checks: "1 P-384 by a fresh key, 3 RSA-PSS 4096, 1 by a fresh key".to_owned(),
            ours: Box::new(cold),
            bound: Box::new(move || measured(&fresh)),
            theirs: None,
        },
        Case {
            name: name("certificates parsed before"),
            checks: "1 P-384, 3 RSA-PSS 4096".to_owned(),
            ours: Box::new(warm),
            bound: Box::new(move || measured(&known)),
            theirs: None,
        },
    ]
}

impl Bytes {
    fn parsed(&self) -> Parsed {
        Parsed {
            vcek: Endorsement::from_pem(black_box(&self.vcek)).expect("a VCEK"),
            chain: parse_cert_chain(black_box(&self.chain)).expect("a chain"),
            crl: parse_crl(black_box(&self.crl)).expect("a list"),
        }
    }

    /// From the report's bytes to findings.
    fn judged(&self, parsed: &Parsed) {
        let report = parse_report(black_box(&self.report)).expect("a report");
        let collateral = ReportCollateral {
            endorsement: &parsed.vcek,
            chain: &parsed.chain,
            crl: Some(&parsed.crl),
        };
        let (products, anchors) = (Products::builtin(), Anchors::builtin());
        let now = UnixTime::from_secs(SEPTEMBER_2026);
        let findings = verify_report(&report, &collateral, &products, &anchors, now);
        for name in [
            FindingName::Chain,
            FindingName::Endorsement,
            FindingName::Revocation,
            FindingName::Signature,
        ] {
            assert_eq!(findings.outcome(name), Some(&Outcome::Passed), "{name:?}");
        }
        black_box(findings.list());
    }

    fn measured(&self, judge: impl FnOnce(&Self)) -> Duration {
        let start = Instant::now();
        judge(self);
        start.elapsed()
    }

    /// The chain's two certificates (issuing authority, root), the VCEK and the list, each by its signer.
    fn checks(&self, cold: bool) -> Vec<Check> {
        let blocks = blocks(&self.chain);
        let (issuing, root) = (&blocks[0], &blocks[1]);
        let vcek = blocks_of_one(&self.vcek);
        let by_issuing = if cold { Check::fresh } else { Check::known };
        let rsa = &RSA_PSS_2048_8192_SHA384;
        let (tbs, signature) = signed(issuing);
        let (vcek_tbs, vcek_signature) = signed(&vcek);
        let (list, list_signature) = signed(&self.crl);
        vec![
            Check::known(rsa, public_key(root), tbs, signature),
            by_issuing(rsa, public_key(issuing), vcek_tbs, vcek_signature),
            Check::known(rsa, public_key(root), list, list_signature),
            self.report_check(cold),
        ]
    }

    fn report_check(&self, cold: bool) -> Check {
        let vcek = blocks_of_one(&self.vcek);
        let check = if cold { Check::fresh } else { Check::known };
        check(
            &ECDSA_P384_SHA384_FIXED,
            public_key(&vcek),
            &self.report[..0x2a0],
            &signature(&self.report),
        )
    }
}

/// R and S of a report, little endian in 72 bytes each, as `r || s`, big endian in 48 each.
fn signature(report: &[u8]) -> Vec<u8> {
    let number = |at: usize| report[at..at + 48].iter().rev();
    number(0x2a0).chain(number(0x2a0 + 72)).copied().collect()
}

fn blocks_of_one(pem: &[u8]) -> Vec<u8> {
    blocks(pem).swap_remove(0)
}

fn blocks(pem: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(pem);
    let inside = text.split("-----").skip(2).step_by(4);
    inside
        .map(|base64| base64.split_whitespace().collect::<String>())
        .map(|base64| BASE64.decode(base64.as_bytes()).expect("Base64"))
        .collect()
}

/// 2026-09-21T00:00:00Z, when the recorded lists are current.
const SEPTEMBER_2026: i64 = 1_789_948_800;
