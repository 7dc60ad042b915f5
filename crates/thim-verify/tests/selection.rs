//! The selection of a PCK certificate: each edge of Intel's algorithm, PCCS's own answers, and a second
//! implementation.

mod naive;
mod pki;

use pki::pck::{FMSPC, items, leaf_profile, leaf_with, sequence};
use pki::{PLATFORM, at, key};
use proptest::prelude::*;
use thim_verify::{
    ComponentSvn, CpuSvn, Fmspc, PceId, PceSvn, PckCertificate, RawTcb, SelectionError, TcbInfo,
    TcbLevel, TcbStatus, Tee, check_one_platform, select_pck,
};

const PCE_ID: PceId = PceId([0, 0]);

/// The first components of CPUSVN, and PCESVN.
fn tcb(components: &[u8], pce_svn: u16) -> RawTcb {
    let mut cpu_svn = [0; 16];
    cpu_svn[..components.len()].copy_from_slice(components);
    RawTcb {
        cpu_svn: CpuSvn(cpu_svn),
        pce_svn: PceSvn(pce_svn),
    }
}

fn tcb_info(levels: &[RawTcb]) -> TcbInfo {
    let level = |raw: &RawTcb| TcbLevel {
        sgx_components: Box::new(raw.cpu_svn.0.map(|svn| ComponentSvn {
            svn,
            ..ComponentSvn::default()
        })),
        pce_svn: raw.pce_svn.0,
        tdx_components: None,
        tcb_date: at("2024-11-13T00:00:00Z"),
        status: TcbStatus::UpToDate,
        advisory_ids: Vec::new(),
    };
    TcbInfo {
        tee: Tee::Sgx,
        version: 3,
        issued: at("2026-03-01T00:00:00Z"),
        next_update: at("2026-03-31T00:00:00Z"),
        fmspc: Fmspc(FMSPC),
        pce_id: PCE_ID,
        tcb_type: 0,
        number: 18,
        levels: levels.iter().map(level).collect(),
        tdx_module: None,
        tdx_module_identities: Vec::new(),
    }
}

fn select(
    raw: RawTcb,
    certificates: &[RawTcb],
    levels: &[RawTcb],
) -> Result<usize, SelectionError> {
    select_pck(&raw, PCE_ID, certificates, &tcb_info(levels))
}

#[test]
fn the_edges() {
    // Three levels, and certificates that reach the first, the second twice, the third, and none.
    let levels = [tcb(&[4, 4], 11), tcb(&[3, 3], 11), tcb(&[1, 1], 5)];
    let certificates = [
        tcb(&[4, 4, 1], 11),
        tcb(&[3, 4], 11),
        tcb(&[3, 3], 11),
        tcb(&[1, 1], 10),
        tcb(&[0, 0], 2),
    ];
    for (case, raw, expected) in [
        ("above all: the highest", tcb(&[9, 9, 9], 99), Some(0)),
        ("equal to the highest", tcb(&[4, 4, 1], 11), Some(0)),
        ("one component short of it", tcb(&[4, 4, 0], 11), Some(1)),
        ("between two of one level", tcb(&[3, 3, 9], 12), Some(2)),
        ("equal, with a higher PCESVN", tcb(&[3, 3], 12), Some(2)),
        ("high CPUSVN, low PCESVN", tcb(&[9, 9, 9], 10), Some(3)),
        ("low CPUSVN, high PCESVN", tcb(&[2, 9], 99), Some(3)),
        ("from the last bucket", tcb(&[1, 1], 9), Some(4)),
        ("equal to the lowest", tcb(&[0, 0], 2), Some(4)),
        ("below the lowest", tcb(&[9, 9, 9], 1), None),
    ] {
        let expected = expected.ok_or(SelectionError::NoneSuits { raw });
        assert_eq!(select(raw, &certificates, &levels), expected, "{case}");
        // Levels that are not sorted are sorted first.
        let mut turned = levels;
        turned.reverse();
        assert_eq!(select(raw, &certificates, &turned), expected, "{case}");
        turned.rotate_left(1);
        assert_eq!(select(raw, &certificates, &turned), expected, "{case}");
        // The order of certificates that can be compared does not matter.
        for rotation in 0..certificates.len() {
            let mut others = certificates;
            others.rotate_left(rotation);
            let selected = select(raw, &others, &levels).map(|at| others[at]);
            assert_eq!(selected, expected.map(|at| certificates[at]), "{case}");
        }
    }
}

#[test]
fn the_better_level_comes_before_the_higher_certificate() {
    // The second certificate is higher in one component, but reaches the lower level only.
    let levels = [tcb(&[2, 2], 1), tcb(&[1, 1], 1)];
    let certificates = [tcb(&[1, 9], 1), tcb(&[2, 2], 1)];
    assert_eq!(select(tcb(&[2, 9], 1), &certificates, &levels), Ok(1));
    assert_eq!(select(tcb(&[1, 9], 1), &certificates, &levels), Ok(0));
    // Without the upper level both are in one bucket, cannot be compared, and keep their order.
    assert_eq!(select(tcb(&[2, 9], 1), &certificates, &levels[1..]), Ok(0));
}

#[test]
fn of_equal_certificates_the_later_one_is_first() {
    let certificates = [tcb(&[1], 1); 3];
    assert_eq!(select(tcb(&[1], 1), &certificates, &[tcb(&[1], 1)]), Ok(2));
    // Not so in the last bucket, which is kept in the order of the list.
    assert_eq!(select(tcb(&[1], 1), &certificates, &[tcb(&[2], 1)]), Ok(0));
}

#[test]
fn the_last_bucket_is_not_sorted() {
    let certificates = [tcb(&[1], 1), tcb(&[2], 1)];
    assert_eq!(select(tcb(&[3], 1), &certificates, &[tcb(&[9], 1)]), Ok(0));
    assert_eq!(select(tcb(&[3], 1), &certificates, &[tcb(&[0], 1)]), Ok(1));
}

#[test]
fn a_certificate_that_skips_another_is_inserted_too_early() {
    // The third covers the second, and cannot be compared with the first: PCCS counts no place for the first, so the
    // third goes in front of both.
    let certificates = [tcb(&[0, 5], 1), tcb(&[3, 0], 1), tcb(&[4, 0], 1)];
    let levels = [tcb(&[0, 0], 1)];
    assert_eq!(select(tcb(&[4, 5], 1), &certificates, &levels), Ok(2));
    // Where nothing is skipped, the place is the one that was found.
    let certificates = [tcb(&[5, 5], 1), tcb(&[3, 0], 1), tcb(&[4, 0], 1)];
    assert_eq!(select(tcb(&[5, 5], 1), &certificates, &levels), Ok(0));
}

#[test]
fn levels_that_cannot_be_compared_keep_their_order() {
    let (left, right) = (tcb(&[2, 0], 1), tcb(&[0, 2], 1));
    let certificates = [tcb(&[2, 1], 1), tcb(&[1, 2], 1)];
    let raw = tcb(&[2, 2], 1);
    assert_eq!(select(raw, &certificates, &[left, right]), Ok(0));
    assert_eq!(select(raw, &certificates, &[right, left]), Ok(1));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let one = [tcb(&[1], 1)];
    let raw = tcb(&[1], 1);
    let info = tcb_info(&one);
    assert_eq!(select_pck(&raw, PCE_ID, &one, &info), Ok(0));
    assert_eq!(
        select_pck(&raw, PceId([1, 0]), &one, &info),
        Err(SelectionError::PceIdDiffers {
            expected: PceId([1, 0]),
            found: PCE_ID
        })
    );
    assert_eq!(select(raw, &one, &[]), Err(SelectionError::NoLevels));
    assert_eq!(select(raw, &[], &one), Err(SelectionError::NoCertificates));
    let unknown = TcbInfo {
        tcb_type: 1,
        ..info
    };
    assert_eq!(
        select_pck(&raw, PCE_ID, &one, &unknown),
        Err(SelectionError::UnknownTcbType { tcb_type: 1 })
    );
}

#[test]
fn certificates_of_one_platform() {
    let with = |at: usize, value: &[u8]| {
        let mut items = items();
        let number = u8::try_from(at + 1).expect("small");
        items[at] = pki::pck::item(&[number], pki::pck::der(pki::pck::OCTETS, value));
        let der = leaf_with(&leaf_profile(), Some(sequence(&items)), PLATFORM, &key());
        PckCertificate::from_der(&der).expect("a PCK certificate")
    };
    let fmspc = Fmspc(FMSPC);
    let genuine = with(3, &FMSPC);
    let again = with(2, &[0, 0]);
    let check = |certificates: &[&PckCertificate]| check_one_platform(certificates, PCE_ID, fmspc);
    assert_eq!(check(&[&genuine]), Ok(()));
    assert_eq!(check(&[&genuine, &again]), Ok(()));
    assert_eq!(check(&[]), Err(SelectionError::NoCertificates));
    let other_ppid = with(0, &[0xd2; 16]);
    assert_eq!(check(&[&other_ppid]), Ok(()));
    let error = check(&[&genuine, &again, &other_ppid]);
    assert_eq!(error, Err(SelectionError::PpidsDiffer));
    let other_pce = with(2, &[1, 0]);
    assert_eq!(
        check(&[&genuine, &other_pce]),
        Err(SelectionError::PceIdDiffers {
            expected: PCE_ID,
            found: PceId([1, 0])
        })
    );
    let other_fmspc = with(3, &[1; 6]);
    let differs = SelectionError::FmspcDiffers {
        expected: fmspc,
        found: Fmspc([1; 6]),
    };
    assert_eq!(check(&[&genuine, &other_fmspc]), Err(differs));
    assert_eq!(
        differs.to_string(),
        "a PCK certificate is for FMSPC 010101010101, not 00606A000000"
    );
}

#[test]
fn as_pccs_answers() {
    let digits = |text: &str| -> RawTcb {
        let values: Vec<u8> = text.bytes().map(|digit| digit - b'0').collect();
        tcb(&values[..3], values[3].into())
    };
    let list = |text: &str| -> Vec<RawTcb> { text.split_whitespace().map(digits).collect() };
    let mut cases = 0;
    let lines = include_str!("data/pck-selection.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let [levels, certificates, raw, answer] =
            <[&str; 4]>::try_from(line.split('|').map(str::trim).collect::<Vec<_>>())
                .expect("four columns");
        let (levels, certificates) = (list(levels), list(certificates));
        let selected = select(digits(raw), &certificates, &levels);
        assert_eq!(selected.ok(), answer.parse().ok(), "{line}");
        let order = naive::order(&certificates, &tcb_info(&levels));
        let naive = naive::select(&digits(raw), &order, &certificates);
        assert_eq!(naive, answer.parse().ok(), "{line}");
        cases += 1;
    }
    assert_eq!(cases, 400);
}

/// Few components and few values, so that many are equal and many cannot be compared.
fn any_tcb() -> impl Strategy<Value = RawTcb> {
    (prop::array::uniform3(0_u8..4), 0_u16..3, 0_u8..2).prop_map(|(three, pce_svn, last)| {
        let mut raw = tcb(&three, pce_svn * 0x0101);
        raw.cpu_svn.0[15] = last * 200;
        raw
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_second_implementation_agrees(
        levels in prop::collection::vec(any_tcb(), 1..24),
        certificates in prop::collection::vec(any_tcb(), 1..24),
        raws in prop::collection::vec(any_tcb(), 1..24),
    ) {
        let info = tcb_info(&levels);
        let order = naive::order(&certificates, &info);
        for raw in raws {
            let selected = select_pck(&raw, PCE_ID, &certificates, &info);
            prop_assert_eq!(selected.ok(), naive::select(&raw, &order, &certificates));
            match selected {
                Ok(at) => prop_assert!(raw.covers(&certificates[at])),
                Err(error) => {
                    prop_assert_eq!(error, SelectionError::NoneSuits { raw });
                    prop_assert!(!certificates.iter().any(|tcb| raw.covers(tcb)));
                }
            }
        }
    }

    #[test]
    fn long_lists_of_levels_do_no_harm(
        levels in prop::collection::vec(any_tcb(), 60..256),
        certificates in prop::collection::vec(any_tcb(), 1..128),
        raw in any_tcb(),
    ) {
        let selected = select_pck(&raw, PCE_ID, &certificates, &tcb_info(&levels));
        prop_assert_eq!(selected.is_ok(), certificates.iter().any(|tcb| raw.covers(tcb)));
    }
}
