//! SNP reports: the exact form, and the findings about reports of virtual chips.

mod amd_pki;

use std::sync::LazyLock;

use amd_pki::*;
use proptest::prelude::*;
use thim_verify::Error;
use thim_verify::amd::{
    AmdCrl, Anchors, CertChain, Endorsement, EndorsementKind, Finding, FindingName, Firmware,
    Outcome, Product, Products, ReportCollateral, SigningKey, SnpReport, Vmpl, parse_crl,
    parse_report, verify_report,
};

const MILAN_TCB: [u8; 8] = [3, 0, 0, 0, 0, 0, 8, 115];
const TURIN_TCB: [u8; 8] = [1, 1, 1, 4, 0, 0, 0, 81];

/// A report before it is signed; change a byte and you have the near miss.
fn unsigned(version: u8, tcb: [u8; 8], cpuid: [u8; 3], chip: &[u8]) -> Vec<u8> {
    let mut report = vec![0; 1184];
    let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x000, &[version]);
    put(0x004, &[9]);
    put(0x008, &[0x1f, 0, 3]);
    put(0x034, &[1]);
    put(0x040, &[0x25]);
    put(0x050, &[0xd7; 64]);
    put(0x090, &[0xe1; 48]);
    put(0x160, &[0xff; 32]);
    for at in [0x038, 0x180, 0x1e0, 0x1f0] {
        put(at, &tcb);
    }
    if version >= 3 {
        put(0x188, &cpuid);
    }
    put(0x1a0, chip);
    put(0x1e8, &[29, 55, 1]);
    put(0x1ec, &[28, 55, 1]);
    if version >= 5 {
        put(0x1f8, &[0x3f]);
        put(0x200, &[0x7f]);
    }
    report
}

fn sign(mut report: Vec<u8>, key: &ChipKey) -> Vec<u8> {
    let signature = key.sign(&report[..0x2a0]);
    for (at, number) in [(0x2a0, &signature[..48]), (0x2e8, &signature[48..])] {
        for (to, from) in report[at..].iter_mut().zip(number.iter().rev()) {
            *to = *from;
        }
    }
    report
}

fn milan() -> Vec<u8> {
    unsigned(3, MILAN_TCB, [0x19, 1, 1], &[0x5a; 64])
}

fn reason<T>(result: Result<T, Error>) -> Option<&'static str> {
    result.err().map(|error| error.reason())
}

#[test]
fn every_field() {
    let mut bytes = sign(milan(), &MILAN.chip);
    bytes[0x030..0x034].fill(0xff);
    bytes[0x048] = 0b00111;
    let report = parse_report(&bytes).expect("a report");
    assert_eq!((report.version, report.guest_svn), (3, 9));
    assert_eq!(report.policy.abi(), (0, 0x1f));
    assert!(report.policy.smt() && !report.policy.debug());
    assert_eq!(report.vmpl, Vmpl::Host);
    assert!(report.platform_info.smt() && report.platform_info.alias_check_complete());
    assert!(!report.platform_info.tsme() && !report.platform_info.tio());
    assert!(report.key_info.author_key && report.key_info.mask_chip_key);
    assert_eq!(report.key_info.signing_key, SigningKey::Vlek);
    assert_eq!(
        (report.report_data, report.measurement),
        ([0xd7; 64], [0xe1; 48])
    );
    assert_eq!(report.report_id_ma, [0xff; 32]);
    assert_eq!(report.cpuid, Some([0x19, 1, 1]));
    let firmware = |build| Firmware {
        major: 1,
        minor: 55,
        build,
    };
    assert_eq!(report.current_firmware, firmware(29));
    assert_eq!(report.committed_firmware, firmware(28));
    assert!(report.committed_firmware < report.current_firmware);
    assert_eq!(report.launch_mitigations, None);
    assert_eq!(report.bytes(), bytes);
    assert_eq!(report.signed(), &bytes[..672]);
    let r: Vec<u8> = bytes[0x2a0..0x2d0].iter().rev().copied().collect();
    assert_eq!(report.signature()[..48], r);
    let shown = format!("{report:?}");
    assert!(
        !shown.contains("90") && shown.contains("SnpReport"),
        "the chip is not shown: {shown}"
    );

    let turin = unsigned(5, TURIN_TCB, [0x1a, 2, 1], &[0x5a; 8]);
    let turin = parse_report(&turin).expect("a report");
    assert_eq!(
        (turin.launch_mitigations, turin.current_mitigations),
        (Some(0x3f), Some(0x7f))
    );
    let products = Products::builtin();
    let facts = turin.product(&products).expect("Turin");
    assert_eq!(facts.product(), Product::Turin);
    assert_eq!(turin.chip_id(facts).expect("an id").as_bytes(), [0x5a; 8]);
    let v2 = parse_report(&unsigned(2, MILAN_TCB, [0; 3], &[0; 64])).expect("a report");
    assert!(v2.cpuid.is_none() && v2.product(&products).is_none() && v2.chip_id_is_masked());
    for policy in [16, 18, 19, 20, 21, 22, 23, 24, 25, 26] {
        let mut bytes = milan();
        bytes[0x008..0x010].copy_from_slice(&(1_u64 << 17 | 1 << policy).to_le_bytes());
        let policy_of = parse_report(&bytes).expect("any bit").policy;
        let told = [
            policy_of.smt(),
            policy_of.migration_agent(),
            policy_of.debug(),
            policy_of.single_socket(),
            policy_of.cxl(),
            policy_of.aes_256_xts(),
            policy_of.rapl_disabled(),
            policy_of.ciphertext_hiding(),
            policy_of.page_swap_disabled(),
            policy_of.unknown() != 0,
        ];
        assert_eq!(told.iter().filter(|told| **told).count(), 1, "{policy}");
    }
}

#[test]
fn lengths_versions_and_reserved_bytes() {
    let good = sign(milan(), &MILAN.chip);
    assert!(parse_report(&good).is_ok());
    for bytes in [
        &[],
        &good[1..],
        &good[..1183],
        &[&good[..], &[0]].concat()[..],
    ] {
        assert_eq!(
            reason(parse_report(bytes)),
            Some("format"),
            "{}",
            bytes.len()
        );
    }
    for (version, expected) in [
        (0, Some("unsupported")),
        (1, Some("unsupported")),
        (2, Some("format")), // it has a CPUID
        (3, None),
        (4, None),
        (5, None),
        (6, Some("unsupported")),
    ] {
        let mut bytes = good.clone();
        bytes[0] = version;
        assert_eq!(reason(parse_report(&bytes)), expected, "version {version}");
    }
    let mut bytes = good.clone();
    bytes[3] = 1;
    assert_eq!(
        reason(parse_report(&bytes)),
        Some("unsupported"),
        "a version of four bytes"
    );
    for (at, value, expected) in [
        (0x034, 0, Some("unsupported")),
        (0x034, 2, Some("unsupported")),
        (0x037, 1, Some("unsupported")),
        (0x00a, 0x01, Some("format")), // POLICY without bit 17
        (0x00f, 0x80, None),           // a bit of POLICY from the future
        (0x047, 0x80, None),           // and of PLATFORM_INFO
        (0x030, 3, None),
        (0x030, 4, Some("format")),
        (0x033, 0xff, Some("format")),
        (0x048, 1 << 2, None),
        (0x048, 7 << 2, None),
        (0x048, 2 << 2, Some("format")),
        (0x048, 6 << 2, Some("format")),
        (0x048, 1 << 5, Some("format")),
        (0x04b, 1, Some("format")),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert_eq!(reason(parse_report(&bytes)), expected, "{at:#x} {value:#x}");
    }
    // Every byte that is reserved, and its neighbours that are not.
    let reserved = [
        (0x04c, 0x04f),
        (0x18b, 0x19f),
        (0x1eb, 0x1eb),
        (0x1ef, 0x1ef),
        (0x1f8, 0x29f),
        (0x2d0, 0x2e7),
        (0x318, 0x49f),
    ];
    for at in 0x04c..1184 {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        let is_reserved = reserved
            .iter()
            .any(|(from, last)| (*from..=*last).contains(&at));
        let expected = is_reserved.then_some("format");
        assert_eq!(reason(parse_report(&bytes)), expected, "{at:#05x}");
    }
    let turin = unsigned(5, TURIN_TCB, [0x1a, 2, 1], &[0x5a; 8]);
    for at in 0x1f8..0x2a0 {
        let mut bytes = turin.clone();
        bytes[at] ^= 0x40;
        assert_eq!(parse_report(&bytes).is_ok(), at < 0x208, "{at:#05x}");
    }
}

/// What a virtual chip's report is looked at with.
struct Case {
    report: Vec<u8>,
    endorsement: Endorsement,
    chain: CertChain,
    crl: Option<AmdCrl>,
    anchors: Anchors,
}

impl Case {
    fn milan() -> Self {
        let vcek = MILAN
            .vcek(&Stated::milan("Milan-B0"))
            .signed(&MILAN.ask_key);
        Self {
            report: sign(milan(), &MILAN.chip),
            endorsement: Endorsement::from_der(&vcek).expect("a VCEK"),
            chain: MILAN.parsed(EndorsementKind::Vcek),
            crl: Some(parse_crl(&MILAN.crl(&MILAN.list())).expect("a list")),
            anchors: MILAN.anchors(),
        }
    }

    fn turin() -> Self {
        let vcek = TURIN.vcek(&Stated::turin()).signed(&TURIN.ask_key);
        let report = unsigned(5, TURIN_TCB, [0x1a, 2, 1], &[0x5a; 8]);
        Self {
            report: sign(report, &TURIN.chip),
            endorsement: Endorsement::from_der(&vcek).expect("a VCEK"),
            chain: TURIN.parsed(EndorsementKind::Vcek),
            crl: Some(parse_crl(&TURIN.crl(&TURIN.list())).expect("a list")),
            anchors: TURIN.anchors(),
        }
    }

    fn vlek() -> Self {
        let vlek = MILAN.vlek(&Stated::vlek()).signed(&MILAN.asvk_key);
        let mut report = unsigned(3, MILAN_TCB, [0x19, 1, 1], &[0; 64]);
        report[0x048] = 1 << 2;
        Self {
            report: sign(report, &MILAN.chip),
            endorsement: Endorsement::from_der(&vlek).expect("a VLEK"),
            chain: MILAN.parsed(EndorsementKind::Vlek),
            ..Self::milan()
        }
    }

    /// Changes a byte of the report and signs again.
    fn resigned(mut self, key: &ChipKey, at: usize, value: u8) -> Self {
        self.report[at] = value;
        self.report = sign(self.report, key);
        self
    }

    fn parsed(&self) -> SnpReport {
        parse_report(&self.report).expect("a report")
    }

    fn look(&self, at: &str) -> Vec<Finding> {
        let collateral = ReportCollateral {
            endorsement: &self.endorsement,
            chain: &self.chain,
            crl: self.crl.as_ref(),
        };
        let now = amd_pki::at(at);
        let products = Products::builtin();
        let findings = verify_report(&self.parsed(), &collateral, &products, &self.anchors, now);
        assert_eq!(findings.product(), self.endorsement.product());
        assert_eq!(
            findings.all_passed(),
            findings
                .failed()
                .chain(findings.not_checked())
                .next()
                .is_none()
        );
        let chip = findings.outcome(FindingName::ChipId);
        assert_eq!(
            chip.is_some(),
            self.endorsement.kind() == EndorsementKind::Vcek
        );
        findings.list().to_vec()
    }

    /// The names that did not pass, those not checked with a question mark.
    fn amiss(&self) -> Vec<String> {
        let found = self.look("2026-06-01T00:00:00Z").into_iter();
        found
            .filter_map(|finding| match finding.outcome {
                Outcome::Passed => None,
                Outcome::Failed(_) => Some(finding.name.name().to_owned()),
                Outcome::NotChecked(_) => Some(format!("{}?", finding.name.name())),
            })
            .collect()
    }
}

#[test]
fn reports_of_virtual_chips() {
    for case in [Case::milan(), Case::turin(), Case::vlek()] {
        assert_eq!(case.amiss(), [""; 0]);
    }
    let mut v2 = Case::milan();
    v2.report = sign(unsigned(2, MILAN_TCB, [0; 3], &[0x5a; 64]), &MILAN.chip);
    assert_eq!(v2.amiss(), [""; 0], "the certificate tells the product");
}

#[test]
fn one_thing_wrong_is_one_finding() {
    let amiss = |change: &dyn Fn(&mut Case)| {
        let mut case = Case::milan();
        change(&mut case);
        case.amiss()
    };
    // Signed by another chip; altered after signing.
    assert_eq!(
        amiss(&|c| c.report = sign(milan(), &TURIN.chip)),
        ["signature"]
    );
    for at in [
        0x004,
        0x050,
        0x091,
        0x1ec,
        0x2a0,
        0x2a0 + 47,
        0x2e8,
        0x2e8 + 47,
    ] {
        assert_eq!(amiss(&|c| c.report[at] ^= 1), ["signature"], "{at:#x}");
    }
    assert_eq!(
        amiss(&|c| c.report = milan()),
        ["signature"],
        "zeros are no signature"
    );
    // r or s as large as the order of the curve.
    assert_eq!(amiss(&|c| c.report[0x2a0..0x2d0].fill(0xff)), ["signature"]);

    assert_eq!(amiss(&|c| c.crl = None), ["revocation?"]);
    let list = |pki: &Pki, serial: &[u8]| {
        Some(parse_crl(&pki.crl(&pki.list().revoking(&[serial]))).expect("a list"))
    };
    assert_eq!(amiss(&|c| c.crl = list(&MILAN, &[7])), [""; 0]);
    assert_eq!(amiss(&|c| c.crl = list(&MILAN, ASK_SERIAL)), ["revocation"]);
    assert_eq!(amiss(&|c| c.crl = list(&IMPOSTOR, &[7])), ["revocation"]);
    assert_eq!(amiss(&|c| c.crl = list(&TURIN, &[7])), ["revocation"]);

    assert_eq!(
        amiss(&|c| c.anchors = IMPOSTOR.anchors()),
        ["chain", "revocation"]
    );
    let theirs = || IMPOSTOR.parsed(EndorsementKind::Vcek);
    assert_eq!(
        amiss(&|c| c.chain = theirs()),
        ["chain", "endorsement", "revocation?"]
    );
    // The chip's own key and everything else as it should be, under roots of the same names.
    let mut whole = IMPOSTOR.vcek(&Stated::milan("Milan-B0"));
    whole.spki = MILAN.chip.spki();
    let whole = Endorsement::from_der(&whole.signed(&IMPOSTOR.ask_key)).expect("a VCEK");
    assert_eq!(
        amiss(&|c| (c.chain, c.endorsement) = (theirs(), whole.clone())),
        ["chain", "revocation?"]
    );
    let turin = || TURIN.parsed(EndorsementKind::Vcek);
    assert_eq!(
        amiss(&|c| c.chain = turin()),
        ["chain", "endorsement", "revocation?"]
    );
    let vlek = || MILAN.parsed(EndorsementKind::Vlek);
    assert_eq!(amiss(&|c| c.chain = vlek()), ["chain", "endorsement"]);

    let vcek = |stated: &Stated| {
        let der = MILAN.vcek(stated).signed(&MILAN.ask_key);
        Endorsement::from_der(&der).expect("a VCEK")
    };
    let stated = || Stated::milan("Milan");
    let other_chip = vcek(&stated().with("4", vec![0x5b; 64]));
    assert_eq!(amiss(&|c| c.endorsement = other_chip.clone()), ["chip-id"]);
    let other_tcb = vcek(&stated().with("3.8", int(&[116])));
    assert_eq!(amiss(&|c| c.endorsement = other_tcb.clone()), ["tcb"]);
    let other_layout = vcek(&stated().with("1", int(&[1])));
    assert_eq!(
        amiss(&|c| c.endorsement = other_layout.clone()),
        ["endorsement"]
    );
    assert_eq!(
        amiss(&|c| c.endorsement = Case::vlek().endorsement),
        ["chain", "endorsement", "signing-key"]
    );
}

#[test]
fn what_a_report_says_about_itself() {
    let amiss = |at: usize, value: u8| Case::milan().resigned(&MILAN.chip, at, value).amiss();
    // Another product's CPU, and no product's.
    assert_eq!(amiss(0x189, 0x11), ["product"]);
    assert_eq!(amiss(0x189, 0x40), ["product?"]);
    assert_eq!(amiss(0x048, 1 << 2), ["signing-key"]);
    assert_eq!(amiss(0x048, 7 << 2), ["signing-key"]);
    assert_eq!(
        amiss(0x048, 1 << 1),
        ["signing-key"],
        "the chip's key is masked, and signed"
    );
    assert_eq!(amiss(0x048, 1), [""; 0]);
    // REPORTED, COMMITTED or LAUNCH above CURRENT; CURRENT above all is fine, and REPORTED below COMMITTED.
    assert_eq!(amiss(0x187, 116), ["tcb", "tcb-order"]);
    assert_eq!(amiss(0x1e7, 116), ["tcb-order"]);
    assert_eq!(amiss(0x03f, 116), [""; 0]);
    assert_eq!(amiss(0x1f7, 116), ["tcb-order"]);
    assert_eq!(amiss(0x1f7, 114), [""; 0]);
    // Committed firmware 1.55.28 to 1.55.30, while 1.55.29 runs; and by minor and major version.
    assert_eq!(amiss(0x1ec, 29), [""; 0]);
    assert_eq!(amiss(0x1ec, 30), ["firmware-order"]);
    assert_eq!(amiss(0x1ed, 56), ["firmware-order"]);
    assert_eq!(amiss(0x1ee, 2), ["firmware-order"]);
    assert_eq!(amiss(0x1ea, 2), [""; 0], "by the greater first");
    // Below, and in a reserved byte.
    assert_eq!(amiss(0x187, 114), ["tcb"]);
    assert_eq!(amiss(0x182, 1), ["tcb", "tcb-order"]);
    assert_eq!(amiss(0x03a, 1), ["tcb-order"]);
    let masked = |mut case: Case, key: &ChipKey| {
        case.report[0x1a0..0x1e0].fill(0);
        case.report = sign(case.report, key);
        case.amiss()
    };
    assert_eq!(masked(Case::milan(), &MILAN.chip), ["chip-id?"]);
    assert_eq!(masked(Case::turin(), &TURIN.chip), ["chip-id?"]);
    // Turin: bytes beyond the id, and FMC alone.
    let turin = |at: usize, value: u8| Case::turin().resigned(&TURIN.chip, at, value).amiss();
    assert_eq!(turin(0x1a8, 1), ["chip-id"]);
    assert_eq!(turin(0x180, 0), ["tcb"]);
    // The VLEK of a cloud is bound to no chip.
    let vlek = Case::vlek().resigned(&MILAN.chip, 0x1a0, 1);
    assert_eq!(vlek.amiss(), [""; 0]);
    assert_eq!(
        Case::vlek().resigned(&MILAN.chip, 0x048, 0).amiss(),
        ["signing-key"]
    );
}

/// The facts of one finding, as `name value`.
fn facts(case: &Case, name: FindingName) -> Vec<String> {
    let found = case.look("2026-06-01T00:00:00Z").into_iter();
    let mut found = found.filter(|finding| finding.name == name);
    let finding = found.next().expect("looked at");
    assert_eq!(finding.at, now());
    let facts = finding.facts.iter();
    facts
        .map(|fact| format!("{} {}", fact.name, fact.value))
        .collect()
}

#[test]
fn facts_are_what_was_judged() {
    let milan = Case::milan();
    let tcb = "boot-loader 3, tee 0, snp 8, microcode 115";
    assert_eq!(
        facts(&milan, FindingName::Tcb),
        [format!("reported {tcb}"), format!("endorsed {tcb}")]
    );
    assert_eq!(
        facts(&milan, FindingName::Product),
        [
            "endorsed Milan",
            "cpu-family 19",
            "cpu-model 01",
            "cpu-stepping 01",
            "stated Milan"
        ]
    );
    assert_eq!(
        facts(&milan, FindingName::FirmwareOrder),
        ["current 1.55.29", "committed 1.55.28", "provisional true"]
    );
    assert_eq!(
        facts(&milan, FindingName::ChipId),
        ["masked false", "id-bytes 64"]
    );
    let turin = facts(&Case::turin(), FindingName::TcbOrder);
    let tcb = "fmc 1, boot-loader 1, tee 1, snp 4, microcode 81";
    let all = ["current", "reported", "committed", "launch"];
    assert_eq!(turin, all.map(|name| format!("{name} {tcb}")));
    // What the product's layout does not fit is told as the number that it is.
    let unfit = Case::milan().resigned(&MILAN.chip, 0x182, 1);
    let unfit = facts(&unfit, FindingName::Tcb);
    assert_eq!(unfit[0], "reported 7308000000010003");
    let vlek = facts(&Case::vlek(), FindingName::Endorsement);
    assert_eq!(vlek[0], "kind vlek");
    assert!(vlek[2].starts_with("csp-id CN="), "{vlek:?}");
    let signing = facts(&Case::vlek(), FindingName::SigningKey);
    assert_eq!(
        signing,
        ["stated vlek", "chip-key-masked false", "endorsed vlek"]
    );
    let none = Case { crl: None, ..milan };
    assert_eq!(facts(&none, FindingName::Revocation), [""; 0]);
}

#[test]
fn bits_without_a_meaning_are_told_and_refused_by_none() {
    let policy = |at, value| facts_after(at, value, FindingName::Policy).pop();
    let platform = |at, value| facts_after(at, value, FindingName::Platform).pop();
    // The last bit that has a meaning, and the first that has none.
    assert_eq!(policy(0x00b, 0b010), Some("unknown-bits none".to_owned()));
    assert_eq!(policy(0x00b, 0b100), Some("unknown-bits 26".to_owned()));
    assert_eq!(policy(0x00f, 0x81), Some("unknown-bits 56, 63".to_owned()));
    assert_eq!(platform(0x040, 0xbf), Some("unknown-bits none".to_owned()));
    assert_eq!(platform(0x040, 0x65), Some("unknown-bits 6".to_owned()));
    assert_eq!(platform(0x041, 1), Some("unknown-bits 8".to_owned()));
    // A host without the mitigations is told of, not refused.
    let weak = facts_after(0x040, 0, FindingName::Platform);
    for weakness in ["tsme", "ciphertext-hiding", "alias-check-complete"] {
        assert!(weak.contains(&format!("{weakness} false")), "{weak:?}");
    }
    let strong = facts_after(0x040, 0x32, FindingName::Platform);
    for strength in ["tsme", "ciphertext-hiding", "alias-check-complete"] {
        assert!(strong.contains(&format!("{strength} true")), "{strong:?}");
    }
}

/// Facts after a byte was set and the report signed again, in which everything must pass.
fn facts_after(at: usize, value: u8, name: FindingName) -> Vec<String> {
    let case = Case::milan().resigned(&MILAN.chip, at, value);
    assert_eq!(case.amiss(), [""; 0], "{at:#x} {value:#x}");
    facts(&case, name)
}

#[test]
fn no_finding_tells_the_chip() {
    let chip = "5a5a5a5a";
    for case in [Case::milan(), Case::turin(), Case::vlek()] {
        let mut wrong = Case { ..case };
        for at in [0x1a0, 0x1a9, 0x187] {
            let told = format!("{:?}", wrong.look("2026-06-01T00:00:00Z"));
            let told = told.to_lowercase();
            assert!(!told.contains(chip) && !told.contains("90, 90"), "{told}");
            wrong.report[at] ^= 1;
        }
    }
}

#[test]
fn time_is_an_argument() {
    let case = Case::milan();
    let outcome = |at: &str, name: FindingName| {
        let found = case
            .look(at)
            .into_iter()
            .find(|finding| finding.name == name);
        found.expect("looked at").outcome
    };
    for (at, valid, revocation) in [
        ("2026-01-01T00:00:00Z", true, false),
        ("2025-12-31T23:59:59Z", false, false),
        ("2026-05-01T00:00:00Z", true, true),
        ("2026-07-01T00:00:00Z", true, true),
        ("2026-07-01T00:00:01Z", true, false),
        ("2033-01-01T00:00:00Z", true, false),
        ("2033-01-01T00:00:01Z", false, false),
    ] {
        let validity = outcome(at, FindingName::Validity);
        assert_eq!(validity == Outcome::Passed, valid, "{at}");
        assert!(valid || matches!(validity, Outcome::Failed(_)), "{at}");
        let checked = outcome(at, FindingName::Revocation);
        assert_eq!(checked == Outcome::Passed, revocation, "{at}");
        assert!(
            revocation || matches!(checked, Outcome::NotChecked(_)),
            "{at}"
        );
    }
    // What was revoked stays revoked when the list is old.
    let crl = MILAN.crl(&MILAN.list().revoking(&[ASK_SERIAL]));
    let case = Case {
        crl: Some(parse_crl(&crl).expect("a list")),
        ..Case::milan()
    };
    let found = case.look("2030-01-01T00:00:00Z");
    let revocation = found.iter().find(|f| f.name == FindingName::Revocation);
    assert!(matches!(
        revocation.expect("looked at").outcome,
        Outcome::Failed(_)
    ));
}

static GENUINE: LazyLock<Case> = LazyLock::new(Case::milan);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Nothing altered passes: it does not parse, or some finding fails.
    #[test]
    fn no_bit_can_be_turned(at in 0..1184_usize, bit in 0..8_u32) {
        let mut report = GENUINE.report.clone();
        report[at] ^= 1 << bit;
        if let Ok(report) = parse_report(&report) {
            let collateral = ReportCollateral {
                endorsement: &GENUINE.endorsement,
                chain: &GENUINE.chain,
                crl: GENUINE.crl.as_ref(),
            };
            let findings = verify_report(&report, &collateral, &Products::builtin(), &GENUINE.anchors, now());
            prop_assert!(findings.failed().any(|finding| finding.name == FindingName::Signature), "{at} {bit}");
        }
    }

    /// The same for the certificate, which also never panics.
    #[test]
    fn no_bit_of_a_certificate_can_be_turned(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let Endorsement::Vcek(vcek) = &GENUINE.endorsement else { panic!("a VCEK") };
        let mut der = vcek.der().to_vec();
        let at = at.index(der.len());
        der[at] ^= 1 << bit;
        if let Ok(endorsement) = Endorsement::from_der(&der) {
            let collateral = ReportCollateral {
                endorsement: &endorsement,
                chain: &GENUINE.chain,
                crl: GENUINE.crl.as_ref(),
            };
            let report = GENUINE.parsed();
            let findings = verify_report(&report, &collateral, &Products::builtin(), &GENUINE.anchors, now());
            prop_assert!(findings.failed().any(|finding| finding.name == FindingName::Endorsement), "{at} {bit}");
        }
    }

    /// Arbitrary bytes: no panic, and errors of one line.
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        for error in [
            parse_report(&bytes).err(),
            parse_crl(&bytes).err(),
            Endorsement::from_der(&bytes).err(),
            Endorsement::from_pem(&bytes).err(),
            thim_verify::amd::parse_cert_chain(&bytes).err(),
            thim_verify::amd::Anchors::from_pem(&bytes).err(),
        ] {
            let text = error.expect("not by chance").to_string();
            prop_assert!(text.len() < 2048 && !text.contains('\n'), "{text}");
        }
    }
}
