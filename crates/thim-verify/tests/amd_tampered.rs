//! Each recorded report passes at its time; altered in one place it fails on the finding of that place, on the
//! signature where that covers it, and on nothing else.

mod amd_genuine;
mod amd_pki;

use amd_genuine::{at, read, september, vectors};
use amd_pki::Pki;
use thim_verify::UnixTime;
use thim_verify::amd::{
    AmdCrl, Anchors, CertChain, Endorsement, EndorsementKind, Outcome, Product, Products,
    ReportCollateral, parse_cert_chain, parse_crl, parse_report, verify_report,
};

/// A report and what it is looked at with.
#[derive(Clone)]
struct Pair {
    name: &'static str,
    report: Vec<u8>,
    endorsement: Endorsement,
    chain: CertChain,
    crl: Option<AmdCrl>,
    now: UnixTime,
}

impl Pair {
    fn all() -> Option<Vec<Self>> {
        let amd = vectors()?;
        let pair = |(name, leaf, product): (&'static str, &str, Product)| {
            let line = product.name().to_lowercase();
            let leaf = read(&amd, &format!("pairs/{name}/{leaf}"));
            let leaf = if leaf.starts_with(b"-----") {
                Endorsement::from_pem(&leaf)
            } else {
                Endorsement::from_der(&leaf)
            };
            let endorsement = leaf.expect("a certificate");
            let kind = endorsement.kind();
            let chain = read(&amd, &format!("chains/kds_{line}_{kind}_cert_chain.pem"));
            let crl = read(&amd, &format!("crl/kds_{line}_vcek_crl_20260920.der"));
            // The VLEK has ended by then, and its list was never recorded.
            let is_vlek = kind == EndorsementKind::Vlek;
            Self {
                name,
                report: read(&amd, &format!("pairs/{name}/report.bin")),
                endorsement,
                chain: parse_cert_chain(&chain).expect("a chain"),
                crl: (!is_vlek).then(|| parse_crl(&crl).expect("a list")),
                now: if is_vlek {
                    at("2025-06-01T00:00:00Z")
                } else {
                    september()
                },
            }
        };
        let names = [
            ("genoa_v3_b1e24a27", "vcek.pem", Product::Genoa),
            ("milan_v2_3ac3fe21", "vcek.der", Product::Milan),
            ("milan_v2_d49554ec", "vcek.der", Product::Milan),
            ("milan_v3_4ffb5cb4", "vcek.pem", Product::Milan),
            (
                "milan_v3_4ffb5cb4",
                "vcek_reissue_20251229.pem",
                Product::Milan,
            ),
            ("milan_v3_vlek_aws", "vlek.der", Product::Milan),
            ("turin_v5_59790fb1", "vcek.pem", Product::Turin),
        ];
        Some(names.map(pair).to_vec())
    }

    fn is_vlek(&self) -> bool {
        self.endorsement.kind() == EndorsementKind::Vlek
    }

    /// What did not pass, those not checked with a question mark; `format` for what is no report.
    fn amiss(&self) -> Vec<String> {
        let Ok(report) = parse_report(&self.report) else {
            return vec!["format".to_owned()];
        };
        let collateral = ReportCollateral {
            endorsement: &self.endorsement,
            chain: &self.chain,
            crl: self.crl.as_ref(),
        };
        let (products, anchors) = (Products::builtin(), Anchors::builtin());
        let findings = verify_report(&report, &collateral, &products, &anchors, self.now);
        let findings = findings.list().iter();
        findings
            .filter_map(|finding| match finding.outcome {
                Outcome::Passed => None,
                Outcome::Failed(_) => Some(finding.name.name().to_owned()),
                Outcome::NotChecked(_) => Some(format!("{}?", finding.name.name())),
            })
            .collect()
    }

    /// That a change makes `expected` fail, beside what could not be checked before.
    #[track_caller]
    fn expect(&self, what: &str, expected: &[&str], change: &dyn Fn(&mut Self)) {
        let mut changed = self.clone();
        change(&mut changed);
        assert!(
            changed.report != self.report || changed.chain != self.chain,
            "{}: {what} changes nothing",
            self.name
        );
        let mut amiss = changed.amiss();
        if self.is_vlek() {
            amiss.retain(|name| name != "revocation?");
        }
        assert_eq!(amiss, expected, "{}: {what}", self.name);
    }
}

#[test]
fn every_pair_passes_at_its_time() {
    let Some(pairs) = Pair::all() else { return };
    for pair in pairs {
        let unchecked: &[&str] = if pair.is_vlek() {
            &["revocation?"]
        } else {
            &[]
        };
        assert_eq!(pair.amiss(), unchecked, "{}", pair.name);
    }
}

#[test]
fn a_byte_of_the_report() {
    let Some(pairs) = Pair::all() else { return };
    for pair in &pairs {
        let report = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut report = pair.report.clone();
            change(&mut report);
            report
        };
        let is_v2 = pair.report[0] == 2;
        let bound = |expected: &'static [&'static str]| {
            // What binds a report to its chip; a VLEK is of none.
            if pair.is_vlek() {
                &["signature"]
            } else {
                expected
            }
        };
        let foreign_cpu: &[&str] = if is_v2 {
            &["format"]
        } else {
            &["product", "signature"]
        };
        let no_products_cpu: &[&str] = if is_v2 {
            &["format"]
        } else {
            &["product?", "signature"]
        };
        let other_key = if pair.is_vlek() { 0 } else { 1 << 2 };
        let flipped = |at: usize| report(&|bytes| bytes[at] ^= 1);
        let set = |at: usize, value: u8| report(&|bytes| bytes[at] = value);
        let filled =
            |at: usize, until: usize, value: u8| report(&|bytes| bytes[at..until].fill(value));
        let rows: Vec<(&str, Vec<u8>, &[&str])> = vec![
            ("GUEST_SVN", flipped(0x004), &["signature"]),
            ("POLICY", flipped(0x008), &["signature"]),
            ("a bit of POLICY unknown", flipped(0x00f), &["signature"]),
            ("PLATFORM_INFO", flipped(0x040), &["signature"]),
            ("REPORT_DATA", flipped(0x050), &["signature"]),
            ("MEASUREMENT", flipped(0x0bf), &["signature"]),
            ("HOST_DATA", flipped(0x0c0), &["signature"]),
            ("ID_KEY_DIGEST", flipped(0x0e0), &["signature"]),
            ("REPORT_ID_MA", flipped(0x17f), &["signature"]),
            ("first of R", flipped(0x2a0), &["signature"]),
            ("last of R", flipped(0x2cf), &["signature"]),
            ("first of S", flipped(0x2e8), &["signature"]),
            ("last of S", flipped(0x317), &["signature"]),
            ("R is zero", filled(0x2a0, 0x2d0, 0), &["signature"]),
            ("S is zero", filled(0x2e8, 0x318, 0), &["signature"]),
            ("R is too large", filled(0x2a0, 0x2d0, 0xff), &["signature"]),
            ("S is too large", filled(0x2e8, 0x318, 0xff), &["signature"]),
            ("padding of R", flipped(0x2d0), &["format"]),
            ("end of R's padding", flipped(0x2e7), &["format"]),
            ("padding of S", flipped(0x318), &["format"]),
            ("end of S's padding", flipped(0x32f), &["format"]),
            ("the tail", flipped(0x330), &["format"]),
            ("the last byte", flipped(0x49f), &["format"]),
            ("reserved at 04c", flipped(0x04c), &["format"]),
            ("reserved at 18b", flipped(0x18b), &["format"]),
            ("reserved at 1eb", flipped(0x1eb), &["format"]),
            ("reserved at 29f", flipped(0x29f), &["format"]),
            ("one byte less", pair.report[..1183].to_vec(), &["format"]),
            ("one byte more", report(&|bytes| bytes.push(0)), &["format"]),
            ("an unknown version", set(0x000, 6), &["format"]),
            ("bit 17 of POLICY", report(&|b| b[0x00a] ^= 2), &["format"]),
            ("VMPL 4", set(0x030, 4), &["format"]),
            ("an unknown algorithm", set(0x034, 2), &["format"]),
            ("an undefined key", set(0x048, 2 << 2), &["format"]),
            (
                "the other kind of key",
                set(0x048, other_key),
                &["signing-key", "signature"],
            ),
            ("no key", set(0x048, 7 << 2), &["signing-key", "signature"]),
            (
                "a masked key",
                report(&|bytes| bytes[0x048] |= 2),
                bound(&["signing-key", "signature"]),
            ),
            (
                "first of CHIP_ID",
                flipped(0x1a0),
                bound(&["chip-id", "signature"]),
            ),
            (
                "last of CHIP_ID",
                flipped(0x1df),
                bound(&["chip-id", "signature"]),
            ),
            (
                "no CHIP_ID",
                if pair.is_vlek() {
                    flipped(0x1a0)
                } else {
                    filled(0x1a0, 0x1e0, 0)
                },
                bound(&["chip-id?", "signature"]),
            ),
            (
                "REPORTED_TCB lower",
                report(&|bytes| bytes[0x187] -= 1),
                &["tcb", "signature"],
            ),
            (
                "REPORTED_TCB higher",
                set(0x187, 0xff),
                &["tcb", "tcb-order", "signature"],
            ),
            (
                "CURRENT_TCB lower",
                set(0x03f, 0),
                &["tcb-order", "signature"],
            ),
            (
                "COMMITTED_TCB higher",
                set(0x1e7, 0xff),
                &["tcb-order", "signature"],
            ),
            (
                "LAUNCH_TCB higher",
                set(0x1f7, 0xff),
                &["tcb-order", "signature"],
            ),
            (
                "committed firmware higher",
                set(0x1ee, 0xff),
                &["firmware-order", "signature"],
            ),
            ("no product's CPU", set(0x188, 0x7f), no_products_cpu),
            ("another product's CPU", foreign(pair), foreign_cpu),
        ];
        for (what, report, expected) in rows {
            pair.expect(what, expected, &|pair| pair.report.clone_from(&report));
        }
    }
}

/// A report of a CPU of another product's.
fn foreign(pair: &Pair) -> Vec<u8> {
    let mut report = pair.report.clone();
    let cpu = if pair.endorsement.product() == Product::Milan {
        [0x19, 0x11]
    } else {
        [0x19, 0x01]
    };
    report[0x188..0x18a].copy_from_slice(&cpu);
    report
}

#[test]
fn chains_of_others() {
    let Some(pairs) = Pair::all() else { return };
    for pair in &pairs {
        let (product, kind) = (pair.endorsement.product(), pair.endorsement.kind());
        let revocation: &[&str] = if pair.is_vlek() {
            &[]
        } else {
            &["revocation?"]
        };
        let expected = [&["chain", "endorsement"], revocation].concat();
        for other in pairs
            .iter()
            .filter(|other| other.chain.product() != product)
        {
            pair.expect(other.name, &expected, &|pair| {
                pair.chain.clone_from(&other.chain);
            });
        }
        // Another kind's, under the same root.
        if let Some(other) = pairs.iter().find(|other| {
            other.endorsement.product() == product && other.endorsement.kind() != kind
        }) {
            pair.expect("kind", &["chain", "endorsement"], &|pair| {
                pair.chain.clone_from(&other.chain);
            });
        }
        // Roots that call themselves AMD's.
        let impostor = Pki::new(product).parsed(kind);
        pair.expect("impostor", &expected, &|pair| {
            pair.chain.clone_from(&impostor);
        });
    }
}
