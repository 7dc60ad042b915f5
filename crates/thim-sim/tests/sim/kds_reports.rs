//! Attestation reports of virtual chips: the layout, and the signature under the VCEK or VLEK that belongs to it.

use crate::kds_proof::*;
use thim_sim::{AmdCa, AmdProduct, ChipSpec, ReportSpec, ReportVersion, SimChip, SimTcb};

const CSP: &str = "CN=cc-test-1.example.com";

fn u32_at(report: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(report[offset..offset + 4].try_into().unwrap())
}

fn u64_at(report: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(report[offset..offset + 8].try_into().unwrap())
}

#[tokio::test]
async fn a_report_verifies_under_its_vcek_alone() {
    let s = SimulatedKds::start_unlimited().await;
    for (product, version, cpuid) in [
        (AmdProduct::Milan, ReportVersion::V2, [0, 0, 0]),
        (AmdProduct::Milan, ReportVersion::V3, [0x19, 0x01, 0x01]),
        (AmdProduct::Genoa, ReportVersion::V3, [0x19, 0x11, 0x01]),
        (AmdProduct::Turin, ReportVersion::V5, [0x1a, 0x02, 0x01]),
    ] {
        let chip = s.chip_of(product);
        let spec = ReportSpec {
            version,
            report_data: [0xa5; 64],
            measurement: [0x5a; 48],
            host_data: [7; 32],
            ..ReportSpec::default()
        };
        let report = chip.report(&spec);
        let vcek = s.vcek(&chip).await;
        assert!(report_signed(&report, &vcek));
        let mut altered = report;
        altered[0x29f] ^= 1;
        assert!(!report_signed(&altered, &vcek));
        let lower = chip.target_for(&chip.reported.with_microcode(1));
        assert!(!report_signed(&report, &s.body(&lower).await));

        let number = match version {
            ReportVersion::V2 => 2,
            ReportVersion::V3 => 3,
            ReportVersion::V5 => 5,
        };
        assert_eq!(u32_at(&report, 0), number);
        assert_eq!(u64_at(&report, 8), 0x3_0000);
        assert_eq!(u32_at(&report, 0x34), 1);
        assert_eq!(u32_at(&report, 0x48), 0);
        assert_eq!(report[0x50..0x90], [0xa5; 64]);
        assert_eq!(report[0x90..0xc0], [0x5a; 48]);
        assert_eq!(report[0xc0..0xe0], [7; 32]);
        assert_eq!(report[0x160..0x180], [0xff; 32]);
        assert_eq!(report[0x180..0x188], chip.reported.to_bytes(product));
        assert_eq!(report[0x188..0x18b], cpuid);
        assert_eq!(report[0x1a0..0x1e0], chip.chip_id());
        let mitigations = if version == ReportVersion::V5 {
            0x3f
        } else {
            0
        };
        assert_eq!(u64_at(&report, 0x1f8), mitigations);
        assert!(report[0x208..0x2a0].iter().all(|byte| *byte == 0));
    }
}

#[tokio::test]
async fn a_turin_chip_id_is_eight_bytes_and_zeros() {
    let s = SimulatedKds::start().await;
    let chip = s.chip_of(AmdProduct::Turin);
    let report = chip.report(&ReportSpec::default());
    assert_eq!(report[0x1a0..0x1a8], chip.hwid);
    assert_eq!(report[0x1a8..0x1e0], [0; 56]);
    // FMC first, microcode last.
    assert_eq!(report[0x180..0x188], [1, 1, 1, 4, 0, 0, 0, 81]);
}

#[tokio::test]
async fn hosts_hold_back_and_mask_and_guests_debug() {
    let s = SimulatedKds::start_unlimited().await;
    let current = SimTcb::new(4, 0, 24, 210);
    let spec = ChipSpec::new(AmdProduct::Milan).tcb(current);
    let chip = s.management().add_chip(&spec).unwrap();
    let reported = SimTcb::new(3, 0, 8, 115);
    let chip = s.management().set_reported(&chip.name, reported).unwrap();
    let report = chip.report(&ReportSpec {
        debug: true,
        vmpl: u32::MAX,
        guest_svn: 9,
        mask_chip_id: true,
        platform_info: 0x65,
        policy: 0x2_001f,
        ..ReportSpec::default()
    });
    assert_eq!(u64_at(&report, 8), 0x2_001f | 1 << 19);
    assert_eq!(u32_at(&report, 0x04), 9);
    assert_eq!(u32_at(&report, 0x30), u32::MAX);
    assert_eq!(u64_at(&report, 0x40), 0x65);
    assert_eq!(report[0x38..0x40], current.to_bytes(chip.product));
    assert_eq!(report[0x180..0x188], reported.to_bytes(chip.product));
    assert_eq!(report[0x1e0..0x1e8], current.to_bytes(chip.product));
    assert_eq!(report[0x1a0..0x1e0], [0; 64]);
    // Signed for what is reported, not for what runs.
    assert!(report_signed(&report, &s.vcek(&chip).await));
    let running = s.body(&chip.target_for(&current)).await;
    assert!(!report_signed(&report, &running));
}

#[tokio::test]
async fn a_vlek_signs_for_a_provider_and_names_no_chip() {
    let s = SimulatedKds::start_unlimited().await;
    let management = s.management();
    // The length of the genuine VLEK but for another provider's name, and 256 bytes of signature less.
    let vlek = management.vlek(AmdProduct::Milan, CSP).unwrap();
    assert_eq!(
        vlek.len() + 256 + "CN=cc-us-east-2.amazonaws.com".len() - CSP.len(),
        1319
    );
    assert!(s.leads_to_root(&vlek, AmdCa::Asvk, AmdProduct::Milan).await);
    let parsed = certificate(&vlek);
    assert!(
        parsed
            .tbs_certificate()
            .subject()
            .to_string()
            .contains("CN=SEV-VLEK")
    );
    assert!(
        parsed
            .tbs_certificate()
            .issuer()
            .to_string()
            .contains("CN=SEV-VLEK-Milan")
    );
    assert_eq!(amd_extension(&parsed, "4"), None);
    let csp = amd_extension(&parsed, "5").unwrap();
    assert_eq!(csp, [&[0x16, 24], CSP.as_bytes()].concat());
    assert_eq!(amd_extension(&parsed, "2").unwrap(), b"\x16\x05Milan");

    let chip: SimChip = s.chip_of(AmdProduct::Milan);
    let report = chip.vlek_report(CSP, &ReportSpec::default());
    assert_eq!(u32_at(&report, 0x48), 1 << 2);
    assert_eq!(report[0x1a0..0x1e0], [0; 64]);
    assert!(report_signed(&report, &vlek));
    assert!(!report_signed(&report, &s.vcek(&chip).await));
    let other_provider = management.vlek(AmdProduct::Milan, "CN=other").unwrap();
    assert!(!report_signed(&report, &other_provider));
    // The same key each time, another one for another TCB.
    let again = management.vlek(AmdProduct::Milan, CSP).unwrap();
    assert_eq!(public_key(&certificate(&again)), public_key(&parsed));
    let lower = chip.reported.with_microcode(1);
    let at_lower = management.vlek_at(AmdProduct::Milan, CSP, &lower).unwrap();
    assert_ne!(public_key(&certificate(&at_lower)), public_key(&parsed));
    assert!(management.vlek(AmdProduct::Milan, "").is_err());
    assert!(management.vlek(AmdProduct::Milan, "Zürich").is_err());
    assert!(management.vlek_at(AmdProduct::Turin, CSP, &lower).is_err());
}
