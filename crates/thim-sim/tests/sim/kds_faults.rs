//! Each fault of the simulated KDS does what it says, to the requests it is for, and nothing else.

use crate::client::*;
use crate::kds_proof::*;
use crate::proof::{next_update, revoked_serials, seconds, serial, this_update};
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use thim_sim::{AmdCa, AmdProduct, ChipSpec, FaultRule, KdsFault, RateLimits};
use x509_cert::crl::CertificateList;

const CHAIN: &str = "/vcek/v1/Milan/cert_chain";
const CRL: &str = "/vcek/v1/Genoa/crl";

async fn crl(s: &SimulatedKds) -> Option<CertificateList> {
    verified_crl(&s.body(CRL).await, s.kds.root_pem(AmdProduct::Genoa))
}

/// A KDS whose Genoa CRL somebody has seen a day before the fault.
async fn with_crl(fault: KdsFault) -> SimulatedKds {
    let s = SimulatedKds::start_unlimited().await;
    assert_eq!(crl_number(&crl(&s).await.unwrap()), 10);
    s.advance(DAY);
    s.management().set_fault(FaultRule::new(fault)).unwrap();
    s
}

#[tokio::test]
async fn transport_faults_are_for_every_request() {
    let s = SimulatedKds::start_with(KdsFault::Down).await;
    let request = format!("GET {CHAIN} HTTP/1.1\r\nHost: sim\r\n\r\n");
    assert!(
        raw(&s.kds.url(), request.as_bytes())
            .await
            .unwrap()
            .is_empty()
    );
    s.management().clear_faults();
    assert_eq!(s.status_of(CHAIN).await, 200);

    let s = SimulatedKds::start_with(KdsFault::Reset).await;
    let error = s.try_get(CHAIN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let s = SimulatedKds::start_with(KdsFault::Truncated).await;
    for target in [CHAIN, CRL, &s.chip_of(AmdProduct::Turin).target()] {
        let error = s.try_get(target).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{target}");
    }

    let s = SimulatedKds::start_with(KdsFault::Slow { ms: 60 }).await;
    let begun = Instant::now();
    let chip = s.chip_of(AmdProduct::Turin);
    let vcek = s.vcek(&chip).await;
    assert!(begun.elapsed() >= Duration::from_millis(60));
    assert!(s.leads_to_root(&vcek, AmdCa::Ask, chip.product).await);
}

#[tokio::test]
async fn statuses_carry_what_goes_with_them() {
    let s = SimulatedKds::start_unlimited().await;
    let location = "http://127.0.0.1:9/".to_owned();
    for (fault, status, header) in [
        (KdsFault::Status { code: 500 }, 500, None),
        (KdsFault::FalseNotFound, 404, None),
        (
            KdsFault::Throttle { retry_after: 7 },
            429,
            Some(("retry-after", "7")),
        ),
        (
            KdsFault::Unavailable { retry_after: 9 },
            503,
            Some(("retry-after", "9")),
        ),
        (
            KdsFault::Redirect { location },
            302,
            Some(("location", "http://127.0.0.1:9/")),
        ),
    ] {
        s.management().set_fault(FaultRule::new(fault)).unwrap();
        let answer = s.get(CHAIN).await;
        assert_eq!(answer.status, status);
        if let Some((name, value)) = header {
            assert_eq!(answer.header(name), Some(value));
        }
        s.management().clear_faults();
    }
    assert_eq!(s.status_of(CHAIN).await, 200);
}

#[tokio::test]
async fn garbage_html_and_huge_bodies_are_no_certificates() {
    let s = SimulatedKds::start_with(KdsFault::Garbage).await;
    let chip = s.chip_of(AmdProduct::Milan);
    let answer = s.get(&chip.target()).await;
    assert_eq!(answer.status, 200);
    let disposition = answer.header("content-disposition");
    assert_eq!(disposition, Some("attachment; filename=vcek.crt"));
    assert_ne!(answer.body[..2], [0x30, 0x82]);

    let s = SimulatedKds::start_with(KdsFault::Html).await;
    let answer = s.get(CHAIN).await;
    assert_eq!(answer.status, 200);
    let content_type = answer.header("content-type").unwrap();
    assert!(content_type.starts_with("text/html"));

    let s = SimulatedKds::start_with(KdsFault::Huge { bytes: 3_000_000 }).await;
    let answer = s.get(CRL).await;
    assert!(answer.header("content-length").is_none());
    assert!(answer.body.len() > 3_000_000);
}

#[tokio::test]
async fn a_wrong_chip_is_genuine_but_not_the_one_asked_for() {
    let s = SimulatedKds::start_with(KdsFault::WrongChip).await;
    // There is one chip of each product: no other chip, no fault.
    let chip = s.chip_of(AmdProduct::Milan);
    let vcek = certificate(&s.vcek(&chip).await);
    assert_eq!(amd_extension(&vcek, "4").unwrap(), chip.hwid);

    let spec = ChipSpec::new(AmdProduct::Milan);
    let other = s.management().add_chip(&spec).unwrap();
    for (asked, got) in [(&chip, &other), (&other, &chip)] {
        let der = s.vcek(asked).await;
        assert!(s.leads_to_root(&der, AmdCa::Ask, chip.product).await);
        let vcek = certificate(&der);
        assert_eq!(amd_extension(&vcek, "4").unwrap(), got.hwid);
        assert_eq!(public_key(&vcek), got.vcek_public_key(&asked.reported));
        assert_eq!(tcb_of(&vcek), asked.reported);
    }
}

#[tokio::test]
async fn a_wrong_tcb_is_genuine_but_not_the_one_asked_for() {
    let s = SimulatedKds::start_with(KdsFault::WrongTcb).await;
    let chip = s.chip_of(AmdProduct::Turin);
    let der = s.vcek(&chip).await;
    assert!(s.leads_to_root(&der, AmdCa::Ask, chip.product).await);
    let vcek = certificate(&der);
    let lower = chip.reported.with_microcode(80);
    assert_eq!(tcb_of(&vcek), lower);
    assert_eq!(public_key(&vcek), chip.vcek_public_key(&lower));
    assert_eq!(amd_extension(&vcek, "4").unwrap(), chip.hwid);
}

#[tokio::test]
async fn a_wrong_key_is_sound_within_its_own_hierarchy_alone() {
    let s = SimulatedKds::start_unlimited().await;
    let chip = s.chip_of(AmdProduct::Milan);
    let genuine = s.chain(AmdCa::Ask, AmdProduct::Milan).await;
    s.management()
        .set_fault(FaultRule::new(KdsFault::WrongKey))
        .unwrap();
    let impostor = s.chain(AmdCa::Ask, AmdProduct::Milan).await;
    assert_ne!(genuine[1], impostor[1]);
    assert!(pss_signed(&impostor[0], &impostor[1]) && pss_signed(&impostor[1], &impostor[1]));
    assert!(!pss_signed(&impostor[0], &genuine[1]));
    let names = |der: &[u8]| certificate(der).tbs_certificate().subject().to_string();
    assert_eq!(names(&genuine[1]), names(&impostor[1]));
    let vcek = s.vcek(&chip).await;
    assert!(pss_signed(&vcek, &impostor[0]) && !pss_signed(&vcek, &genuine[0]));
    // The chip's own key, so a report would verify.
    let key = chip.vcek_public_key(&chip.reported);
    assert_eq!(public_key(&certificate(&vcek)), key);
    assert!(crl(&s).await.is_none());
}

#[tokio::test]
async fn a_tampered_signature_is_one_bit_off() {
    let s = SimulatedKds::start_unlimited().await;
    let product = AmdProduct::Milan;
    let good = s.chain(AmdCa::Ask, product).await;
    s.management()
        .set_fault(FaultRule::new(KdsFault::Tampered))
        .unwrap();
    let bad = s.chain(AmdCa::Ask, product).await;
    assert_eq!(bad[1], good[1]);
    let differing: Vec<_> = bad[0]
        .iter()
        .zip(&good[0])
        .filter(|(a, b)| a != b)
        .collect();
    assert_eq!(differing.len(), 1);
    assert!(!pss_signed(&bad[0], &good[1]));
    let vcek = s.vcek(&s.chip_of(product)).await;
    assert!(!pss_signed(&vcek, &good[0]));
    assert!(crl(&s).await.is_none());
}

#[tokio::test]
async fn chains_come_reversed_or_of_another_product() {
    let s = SimulatedKds::start_unlimited().await;
    let good = s.chain(AmdCa::Ask, AmdProduct::Milan).await;
    let rule = FaultRule::new(KdsFault::ChainReversed).times(1);
    s.management().set_fault(rule).unwrap();
    // Not for a CRL, which leaves it for the chain.
    assert!(crl(&s).await.is_some());
    let reversed = s.chain(AmdCa::Ask, AmdProduct::Milan).await;
    assert_eq!([&reversed[1], &reversed[0]], [&good[0], &good[1]]);
    assert_eq!(s.chain(AmdCa::Ask, AmdProduct::Milan).await, good);

    let rule = FaultRule::new(KdsFault::WrongProduct);
    s.management().set_fault(rule).unwrap();
    let turin = s.chain(AmdCa::Ask, AmdProduct::Milan).await;
    let subject = certificate(&turin[0])
        .tbs_certificate()
        .subject()
        .to_string();
    assert!(subject.contains("CN=SEV-Turin"));
    assert!(pss_signed(&turin[0], &turin[1]));
    let crl = s.body(CRL).await;
    assert!(verified_crl(&crl, s.kds.root_pem(AmdProduct::Milan)).is_some());
}

#[tokio::test]
async fn crls_go_back_in_number_in_date_or_sideways() {
    let s = with_crl(KdsFault::CrlNumberFalls).await;
    let fallen = crl(&s).await.unwrap();
    assert_eq!((crl_number(&fallen), this_update(&fallen)), (9, s.now()));

    let s = with_crl(KdsFault::StaleCrl { days: 12 }).await;
    let stale = crl(&s).await.unwrap();
    assert_eq!(
        (crl_number(&stale), this_update(&stale)),
        (9, NOW - 12 * DAY)
    );
    assert!(next_update(&stale) > s.now());

    let s = with_crl(KdsFault::Conflict).await;
    let conflicting = crl(&s).await.unwrap();
    assert_eq!(
        (crl_number(&conflicting), this_update(&conflicting)),
        (10, NOW)
    );
    assert_eq!(revoked_serials(&conflicting), ["020001", "0c0ff1c7"]);
    s.management().clear_faults();
    let current = crl(&s).await.unwrap();
    assert_eq!((crl_number(&current), this_update(&current)), (10, NOW));
    assert_eq!(revoked_serials(&current), ["020001"]);
}

#[tokio::test]
async fn expired_and_future_have_good_signatures_and_bad_dates() {
    let s = with_crl(KdsFault::Expired).await;
    let chip = s.chip_of(AmdProduct::Genoa);
    let old = crl(&s).await.unwrap();
    assert_eq!(next_update(&old), s.now() - 10 * DAY);
    assert!(this_update(&old) < next_update(&old));
    let der = s.vcek(&chip).await;
    assert!(s.leads_to_root(&der, AmdCa::Ask, chip.product).await);
    let vcek = certificate(&der);
    let validity = vcek.tbs_certificate().validity();
    assert_eq!(seconds(&validity.not_after), s.now() - 10 * DAY);
    assert_eq!(serial(&vcek), "00");

    let s = with_crl(KdsFault::Future).await;
    let early = crl(&s).await.unwrap();
    assert_eq!(this_update(&early), s.now() + DAY);
    let vcek = certificate(&s.vcek(&s.chip_of(AmdProduct::Genoa)).await);
    let begin = &vcek.tbs_certificate().validity().not_before;
    assert_eq!(seconds(begin), s.now() + DAY);
}

#[tokio::test]
async fn a_dead_kds_still_counts_who_asks_too_often() {
    let s = SimulatedKds::start_with(KdsFault::Unavailable { retry_after: 30 }).await;
    s.management().set_rate_limits(RateLimits::default());
    let target = s.chip_of(AmdProduct::Milan).target();
    for _ in 0..3 {
        assert_eq!(s.status_of(&target).await, 503);
    }
    assert_eq!(s.management().kds_violations(), 2);
    assert_eq!(s.management().calls().containing("/vcek/v1/Milan/"), 3);
    s.management().clear_faults();
    assert_eq!(s.status_of(&target).await, 429);
    s.advance(10);
    // What is refused anyway does not use up a fault of content.
    let rule = FaultRule::new(KdsFault::Tampered).times(1);
    s.management().set_fault(rule).unwrap();
    assert_eq!(s.status_of("/vcek/v1/Venice/crl").await, 404);
    assert_eq!(s.management().faults().len(), 1);
    assert_eq!(s.status_of(&target).await, 200);
    assert!(s.management().faults().is_empty());
}
