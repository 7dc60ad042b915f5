//! Quotes: cold, under verified collateral, with the PCK certificate seen before, with the attestation key seen before.

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use dcap_qvl::QuoteCollateralV3;
use serde_json::Value;
use thim_verify::{
    Artefact, Certificate, CollateralPart, Issuers, QuoteCheck, QuoteCollateral, QuoteFindings,
    QuoteVerifier, SignedMember, TrustAnchors, UnixTime, Unverified, Verified, parse,
    parse_detached, parse_quote, verify,
};

use crate::Case;
use crate::bound::{Check, described, measured, public_key, signed};

/// A recorded bundle.
struct Bundle {
    name: String,
    quote: Vec<u8>,
    fields: QuoteCollateralV3,
    time: i64,
    /// In THIM's and in dcap-qvl's words.
    status: String,
}

/// The parts of a quote that are signed or sign, and where the signature stands that leaves the rest as it is.
struct Parts<'a> {
    signed: &'a [u8],
    signature: &'a [u8],
    attestation_key: Vec<u8>,
    qe_report: &'a [u8],
    qe_report_signature: &'a [u8],
    qe_report_signature_at: usize,
    leaf: Vec<u8>,
}

pub fn cases(folder: &Path) -> Vec<Case> {
    let bundle = Rc::new(Bundle::read(folder));
    let issuers = Issuers::new(TrustAnchors::intel());
    let collateral = Rc::new(collateral(&bundle.fields, &issuers));
    let parts = Parts::of(&bundle.quote);
    // The same quote but for the other signature that ECDSA allows: another certification of the attestation key.
    let mut other = bundle.quote.clone();
    other[parts.qe_report_signature_at + 32..][..32]
        .copy_from_slice(&negated(&parts.qe_report_signature[32..]));

    let documents = bundle.documents(&collateral, &issuers);
    let leaf_key = public_key(&parts.leaf);
    let authority = {
        let verifier = QuoteVerifier::new(issuers.clone(), 0);
        let quote = parse_quote(&bundle.quote).expect("a quote");
        let chain = verifier.pck_chain(&quote, None).expect("a chain");
        chain.authority().public_key().to_vec()
    };
    let leaf = || {
        let (tbs, signature) = signed(&parts.leaf);
        Check::known(&ECDSA_P256_SHA256_ASN1, &authority, tbs, signature)
    };
    let qe_report = |known: bool| {
        let check = if known { Check::known } else { Check::fresh };
        check(
            &ECDSA_P256_SHA256_FIXED,
            leaf_key,
            parts.qe_report,
            parts.qe_report_signature,
        )
    };
    let quote = |known: bool| {
        let check = if known { Check::known } else { Check::fresh };
        check(
            &ECDSA_P256_SHA256_FIXED,
            &parts.attestation_key,
            parts.signed,
            parts.signature,
        )
    };
    let cold_checks = documents
        .into_iter()
        .chain([leaf(), qe_report(false), quote(false)])
        .collect();

    let cold = {
        let (bundle, issuers) = (Rc::clone(&bundle), issuers.clone());
        move || {
            // The verifier takes the issuers; they are what is known before.
            let verifier = QuoteVerifier::new(issuers.clone(), 0);
            bundle.judged(|quote| {
                let collateral = black_box(self::collateral(
                    black_box(&bundle.fields),
                    verifier.issuers(),
                ));
                let quote = parse_quote(black_box(quote)).expect("a quote");
                bundle.check(&verifier.verify(&quote, None, &collateral, bundle.at()));
            })
        }
    };
    let warm = {
        let (bundle, collateral) = (Rc::clone(&bundle), Rc::clone(&collateral));
        let verifier = QuoteVerifier::new(issuers.clone(), 0);
        move || bundle.verified(&verifier, &collateral)
    };
    let leaf_seen = {
        let (bundle, collateral, issuers) =
            (Rc::clone(&bundle), Rc::clone(&collateral), issuers.clone());
        move || {
            let verifier = QuoteVerifier::new(issuers.clone(), 16);
            let quote = parse_quote(&other).expect("a quote");
            bundle.check(&verifier.verify(&quote, None, &collateral, bundle.at()));
            bundle.verified(&verifier, &collateral)
        }
    };
    let key_seen = {
        let (bundle, collateral) = (Rc::clone(&bundle), Rc::clone(&collateral));
        let verifier = QuoteVerifier::new(issuers, 16);
        move || bundle.verified(&verifier, &collateral)
    };
    let theirs = {
        let bundle = Rc::clone(&bundle);
        move || {
            let start = Instant::now();
            let seconds = u64::try_from(bundle.time).expect("after 1970");
            let report =
                dcap_qvl::verify::ring::verify(&bundle.quote, black_box(&bundle.fields), seconds);
            assert_eq!(black_box(report).expect("verifies").status, bundle.status);
            start.elapsed()
        }
    };
    let case = |what: &str, checks: Vec<Check>, ours: Box<dyn FnMut() -> Duration>| Case {
        name: format!("{}: {what}", bundle.name),
        checks: described(&checks, "P-256"),
        ours,
        bound: Box::new(move || measured(&checks)),
        theirs: Some(Box::new(theirs.clone())),
    };
    vec![
        case("cold", cold_checks, Box::new(cold)),
        case(
            "warm",
            vec![leaf(), qe_report(false), quote(false)],
            Box::new(warm),
        ),
        case(
            "leaf cached",
            vec![qe_report(true), quote(false)],
            Box::new(leaf_seen),
        ),
        case(
            "attestation key cached",
            vec![quote(true)],
            Box::new(key_seen),
        ),
    ]
}

impl Bundle {
    fn read(folder: &Path) -> Self {
        let file = |name: &str| std::fs::read(folder.join(name)).expect(name);
        let json = |name: &str| -> Value { serde_json::from_slice(&file(name)).expect(name) };
        let (fields, expected) = (json("collateral.json"), json("expected.json"));
        let text = |name: &str| fields[name].as_str().expect("a text").to_owned();
        let bytes = |name: &str| {
            HEXLOWER_PERMISSIVE
                .decode(text(name).as_bytes())
                .expect("hex")
        };
        let said = expected["oracle_dcap_qvl_0_7_1"].as_str().expect("a text");
        let status = said
            .strip_prefix("status=")
            .and_then(|rest| rest.split(' ').next());
        let name = folder.file_name().expect("a name").to_string_lossy();
        Self {
            // SGX v3, TDX v4.
            name: name
                .split('-')
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
                .replace("sgx", "SGX")
                .replace("tdx", "TDX"),
            quote: file("quote.bin"),
            fields: QuoteCollateralV3 {
                pck_crl_issuer_chain: text("pck_crl_issuer_chain"),
                root_ca_crl: bytes("root_ca_crl"),
                pck_crl: bytes("pck_crl"),
                tcb_info_issuer_chain: text("tcb_info_issuer_chain"),
                tcb_info: text("tcb_info"),
                tcb_info_signature: bytes("tcb_info_signature"),
                qe_identity_issuer_chain: text("qe_identity_issuer_chain"),
                qe_identity: text("qe_identity"),
                qe_identity_signature: bytes("qe_identity_signature"),
                pck_certificate_chain: None,
            },
            time: expected["unix"].as_i64().expect("seconds"),
            status: status.expect("one that dcap-qvl evaluates").to_owned(),
        }
    }

    fn at(&self) -> UnixTime {
        UnixTime::from_secs(self.time)
    }

    /// The time from a quote's bytes to findings.
    fn verified(&self, verifier: &QuoteVerifier, collateral: &QuoteCollateral) -> Duration {
        self.judged(|quote| {
            let quote = parse_quote(black_box(quote)).expect("a quote");
            self.check(&verifier.verify(&quote, None, collateral, self.at()));
        })
    }

    fn judged(&self, judge: impl FnOnce(&[u8])) -> Duration {
        let start = Instant::now();
        judge(&self.quote);
        start.elapsed()
    }

    /// As dcap-qvl, the findings must have come to a status.
    fn check(&self, findings: &QuoteFindings<'_>) {
        assert_eq!(
            findings.status().map(|status| status.name()),
            Some(self.status.as_str())
        );
        assert!(findings.outcome(QuoteCheck::QuoteSignature).is_some());
        black_box(findings.list());
    }

    /// One check for each part of the collateral, and one for each signer that is not known before.
    fn documents(&self, collateral: &QuoteCollateral, issuers: &Issuers) -> Vec<Check> {
        let mut unknown: Vec<Certificate> = Vec::new();
        let mut checks = Vec::new();
        for part in CollateralPart::ALL {
            let artefact = collateral.part(part).expect("verified");
            let signer = artefact.chain().signer();
            let algorithm: &'static dyn aws_lc_rs::signature::VerificationAlgorithm = match part {
                CollateralPart::PckCrl | CollateralPart::RootCrl => &ECDSA_P256_SHA256_ASN1,
                CollateralPart::QeIdentity | CollateralPart::TcbInfo => &ECDSA_P256_SHA256_FIXED,
            };
            let known = artefact
                .chain()
                .issuer()
                .is_none_or(|issuer| issuers.knows(issuer));
            let check = if known { Check::known } else { Check::fresh };
            checks.push(check(
                algorithm,
                signer.public_key(),
                artefact.signed(),
                artefact.signature(),
            ));
            if !known && !unknown.contains(signer) {
                let (tbs, signature) = signed(signer.der());
                let root = artefact.chain().root().public_key();
                checks.push(Check::known(&ECDSA_P256_SHA256_ASN1, root, tbs, signature));
                unknown.push(signer.clone());
            }
        }
        checks
    }
}

/// From the nine fields to verified collateral.
fn collateral(fields: &QuoteCollateralV3, issuers: &Issuers) -> QuoteCollateral {
    let mut collateral = QuoteCollateral::new();
    let mut add = |parsed: Unverified, chain: &str| {
        let chain = issuers
            .read_pem_bundle(chain.as_bytes())
            .expect("certificates");
        let artefact: Verified<Artefact> =
            verify(parsed, &chain, issuers, None, UnixTime::MAX).expect("genuine");
        collateral.insert(artefact).expect("collateral");
    };
    let json = |member, text: &str, signature: &[u8]| {
        let signature = data_encoding::HEXLOWER.encode(signature);
        parse_detached(member, text.as_bytes(), &signature).expect("a document")
    };
    add(parse(&fields.root_ca_crl).expect("a list"), "");
    add(
        parse(&fields.pck_crl).expect("a list"),
        &fields.pck_crl_issuer_chain,
    );
    add(
        json(
            SignedMember::TcbInfo,
            &fields.tcb_info,
            &fields.tcb_info_signature,
        ),
        &fields.tcb_info_issuer_chain,
    );
    add(
        json(
            SignedMember::EnclaveIdentity,
            &fields.qe_identity,
            &fields.qe_identity_signature,
        ),
        &fields.qe_identity_issuer_chain,
    );
    collateral
}

impl<'a> Parts<'a> {
    /// Of a quote of version 3 or 4 with the PCK certificate's chain in it.
    fn of(quote: &'a [u8]) -> Self {
        let version = quote[0];
        let signed_bytes = if version == 3 { 48 + 384 } else { 48 + 584 };
        let section = &quote[signed_bytes + 4..];
        // Version 4 has type and size of certification data before the quoting enclave's report.
        let report_at = if version == 3 { 128 } else { 134 };
        let tail = &section[report_at + 384 + 64..];
        let auth_bytes = usize::from(u16::from_le_bytes([tail[0], tail[1]]));
        let pem = String::from_utf8_lossy(&tail[2 + auth_bytes + 6..]);
        let base64: String = pem
            .split("-----")
            .nth(2)
            .expect("a certificate")
            .split_whitespace()
            .collect();
        Self {
            signed: &quote[..signed_bytes],
            signature: &section[..64],
            attestation_key: [&[4], &section[64..128]].concat(),
            qe_report: &section[report_at..report_at + 384],
            qe_report_signature: &section[report_at + 384..][..64],
            qe_report_signature_at: signed_bytes + 4 + report_at + 384,
            leaf: BASE64.decode(base64.as_bytes()).expect("Base64"),
        }
    }
}

/// The order of P-256 less a number, 32 bytes, big endian: with (r, s), (r, order - s) is a signature too.
fn negated(number: &[u8]) -> [u8; 32] {
    let mut difference = [0; 32];
    let mut borrow = 0;
    for at in (0..32).rev() {
        let value = i16::from(ORDER[at]) - i16::from(number[at]) - borrow;
        borrow = i16::from(value < 0);
        difference[at] = u8::try_from(value.rem_euclid(256)).expect("a byte");
    }
    difference
}

/// SEC 2, section 2.4.2.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
