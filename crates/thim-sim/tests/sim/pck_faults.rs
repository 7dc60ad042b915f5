//! Faults of PCK certificates and of the registration service: each does what it says, and nothing else.

use crate::client::*;
use crate::proof::*;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use thim_sim::{Fault, FaultRule, PlatformSpec, SimPlatform};
use x509_cert::Certificate;
use x509_cert::der::{DecodePem, EncodePem};

async fn with(fault: Fault) -> (Simulated, SimPlatform, Answer) {
    let s = Simulated::start().await;
    let platform = s.platform_of(SGX_FMSPC);
    let genuine = s.certificates(&platform).await;
    s.management().set_fault(FaultRule::new(fault)).unwrap();
    (s, platform, genuine)
}

/// For each entry, whether the header's issuer signed it; `None` is `Not available`.
fn genuine(answer: &Answer) -> Vec<Option<bool>> {
    let issuer = chain(answer, PCK_CHAIN).remove(0);
    listed(answer)
        .into_iter()
        .map(|entry| Some(signed_by(&entry.certificate?, &issuer)))
        .collect()
}

#[tokio::test]
async fn delivery_goes_wrong_for_lists_certificates_and_registration_alike() {
    for fault in [
        Fault::Down,
        Fault::Reset,
        Fault::Truncated,
        Fault::Garbage,
        Fault::Html,
        Fault::Huge { bytes: 300_000 },
        Fault::Status { code: 502 },
        Fault::Throttle { retry_after: 7 },
        Fault::Unavailable { retry_after: 9 },
        Fault::Redirect {
            location: "http://127.0.0.1:9/".to_owned(),
        },
    ] {
        let (s, single, _) = with(fault.clone()).await;
        let manifest = s.platform_of(TDX_FMSPC).manifest.unwrap();
        let body = manifest_body(&manifest, "");
        let url = s.sim.pcs_url();
        let json = [("Content-Type", JSON)];
        let octets = [("Content-Type", OCTETS)];
        for answer in [
            s.try_get(&pckcerts_target(&single)).await,
            s.try_get(&pckcert_target(&single)).await,
            exchange(&url, "POST", PCKCERTS, &json, &body).await,
            exchange(&url, "POST", REGISTER, &octets, &manifest).await,
        ] {
            match &fault {
                Fault::Down | Fault::Truncated => {
                    assert_eq!(answer.unwrap_err().kind(), ErrorKind::UnexpectedEof);
                }
                Fault::Reset => {
                    assert_eq!(answer.unwrap_err().kind(), ErrorKind::ConnectionReset);
                }
                Fault::Garbage => {
                    let answer = answer.unwrap();
                    assert_eq!(answer.status, 200);
                    assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_err());
                }
                Fault::Html => {
                    let answer = answer.unwrap();
                    assert!(answer.text().starts_with("<!DOCTYPE html>"));
                    assert!(answer.header(PCK_CHAIN).is_none());
                }
                Fault::Huge { .. } => assert!(answer.unwrap().body.len() > 300_000),
                Fault::Redirect { .. } => assert_eq!(answer.unwrap().status, 302),
                Fault::Status { code } => assert_eq!(answer.unwrap().status, *code),
                Fault::Throttle { .. } => {
                    let answer = answer.unwrap();
                    assert_eq!(answer.status, 429);
                    assert_eq!(answer.header("retry-after"), Some("7"));
                    assert!(answer.header("request-id").is_none());
                }
                Fault::Unavailable { .. } => {
                    let answer = answer.unwrap();
                    assert_eq!(answer.status, 503);
                    assert_eq!(answer.header("retry-after"), Some("9"));
                }
                other => panic!("{other:?} is not in the list above"),
            }
        }
    }
}

#[tokio::test]
async fn a_vendor_that_does_not_answer_registers_nobody() {
    let (s, ..) = with(Fault::Down).await;
    let manifest = s.platform_of(TDX_FMSPC).manifest.unwrap();
    let octets = [("Content-Type", OCTETS)];
    let url = s.sim.pcs_url();
    let lost = exchange(&url, "POST", REGISTER, &octets, &manifest).await;
    assert!(lost.is_err());
    assert_eq!(s.platform_of(TDX_FMSPC).cached_keys, None);
    s.management().clear_faults();
    // An answer that is lost on its way was given all the same.
    s.management()
        .set_fault(FaultRule::new(Fault::Truncated))
        .unwrap();
    let lost = exchange(&url, "POST", REGISTER, &octets, &manifest).await;
    assert!(lost.is_err());
    assert_eq!(s.platform_of(TDX_FMSPC).cached_keys, Some(true));
}

#[tokio::test]
async fn slow_is_good_but_late() {
    let (s, platform, genuine) = with(Fault::Slow { ms: 60 }).await;
    let begun = Instant::now();
    let answer = s.certificates(&platform).await;
    assert!(begun.elapsed() >= Duration::from_millis(60));
    assert_eq!(answer.body, genuine.body);
}

#[tokio::test]
async fn chains_go_missing_or_come_root_first() {
    let (s, platform, genuine) = with(Fault::NoChain).await;
    for target in [pckcerts_target(&platform), pckcert_target(&platform)] {
        let answer = s.get(&target).await;
        assert_eq!(answer.status, 200);
        assert!(answer.header(PCK_CHAIN).is_none());
        assert!(answer.header("sgx-fmspc").is_some());
    }
    s.management().clear_faults();
    assert!(s.certificates(&platform).await.header(PCK_CHAIN).is_some());

    s.management()
        .set_fault(FaultRule::new(Fault::ChainReversed))
        .unwrap();
    for target in [pckcerts_target(&platform), pckcert_target(&platform)] {
        let mut reversed = chain(&s.get(&target).await, PCK_CHAIN);
        reversed.reverse();
        assert_eq!(reversed, chain(&genuine, PCK_CHAIN));
    }
}

#[tokio::test]
async fn a_wrong_key_is_sound_within_its_own_hierarchy_alone() {
    let (s, platform, before) = with(Fault::WrongKey).await;
    let answer = s.certificates(&platform).await;
    let forged_chain = chain(&answer, PCK_CHAIN);
    assert!(!leads_to(&forged_chain, s.sim.root_pem()));
    let other_root = forged_chain[1].to_pem(Default::default()).unwrap();
    let certificates = pck_certificates(&answer, &other_root);
    assert_eq!(certificates.len(), platform.levels.len());
    let real = &chain(&before, PCK_CHAIN)[0];
    assert!(!certificates.iter().any(|c| signed_by(c, real)));
    assert_eq!(
        real.tbs_certificate().subject(),
        forged_chain[0].tbs_certificate().subject()
    );
    assert_eq!(
        sgx_item(&certificates[0], &[1]),
        Some(platform.ppid.to_vec())
    );
    let best = s.get(&pckcert_target(&platform)).await;
    let leaf = Certificate::from_pem(&best.body).unwrap();
    assert!(!signed_by(&leaf, real));
    assert!(signed_by(&leaf, &chain(&best, PCK_CHAIN)[0]));
    s.management().clear_faults();
    assert_eq!(s.certificates(&platform).await.body, before.body);
}

#[tokio::test]
async fn a_wrong_signature_is_one_bit_off_and_not_kept() {
    let (s, platform, before) = with(Fault::WrongSignature).await;
    let answer = s.certificates(&platform).await;
    assert!(leads_to(&chain(&answer, PCK_CHAIN), s.sim.root_pem()));
    assert!(genuine(&answer).iter().all(|good| *good == Some(false)));
    let serials = |answer: &Answer| {
        let certificates = listed(answer).into_iter().flat_map(|e| e.certificate);
        certificates.map(|c| serial(&c)).collect::<Vec<_>>()
    };
    assert_eq!(serials(&answer), serials(&before));
    s.management().clear_faults();
    assert_eq!(s.certificates(&platform).await.body, before.body);
}

#[tokio::test]
async fn one_forged_entry_hides_among_genuine_ones() {
    let (s, platform, before) = with(Fault::OneForged).await;
    let answer = s.certificates(&platform).await;
    assert!(leads_to(&chain(&answer, PCK_CHAIN), s.sim.root_pem()));
    let mut expected = vec![Some(true); platform.levels.len()];
    expected[0] = Some(false);
    assert_eq!(genuine(&answer), expected);
    let forged = listed(&answer).remove(0).certificate.unwrap();
    assert_eq!(sgx_item(&forged, &[1]), Some(platform.ppid.to_vec()));
    assert_eq!(
        forged.tbs_certificate().issuer().to_string(),
        "C=US,ST=CA,L=Santa Clara,O=Intel Corporation,CN=Intel SGX PCK Processor CA"
    );
    // One certificate is no list, and a list without certificates has none to forge.
    let best = s.get(&pckcert_target(&platform)).await;
    let leaf = Certificate::from_pem(&best.body).unwrap();
    assert!(signed_by(&leaf, &chain(&best, PCK_CHAIN)[0]));
    s.management().clear_faults();
    assert_eq!(s.certificates(&platform).await.body, before.body);

    let spec = PlatformSpec::new(SGX_FMSPC, 1).levels(3).not_available(1);
    let partly = s.management().add_platform(spec).unwrap();
    s.management()
        .set_fault(FaultRule::new(Fault::OneForged).times(1))
        .unwrap();
    let expected = [None, Some(false), Some(true)];
    assert_eq!(genuine(&s.certificates(&partly).await), expected);
    let spec = PlatformSpec::new(SGX_FMSPC, 1).levels(1).not_available(1);
    let none = s.management().add_platform(spec).unwrap();
    s.management()
        .set_fault(FaultRule::new(Fault::OneForged).times(1))
        .unwrap();
    assert_eq!(genuine(&s.certificates(&none).await), [None]);
    assert_eq!(s.management().faults().len(), 1);
}

#[tokio::test]
async fn a_partial_list_has_fewer_certificates() {
    let (s, platform, before) = with(Fault::Partial { levels: 2 }).await;
    let levels = platform.levels.len();
    let mut expected = vec![Some(true); levels];
    expected[..2].fill(None);
    assert_eq!(genuine(&s.certificates(&platform).await), expected);
    // More than those that are not available anyway.
    let spec = PlatformSpec::new(SGX_FMSPC, 1).not_available(1);
    let partly = s.management().add_platform(spec).unwrap();
    expected[..3].fill(None);
    assert_eq!(genuine(&s.certificates(&partly).await), expected);
    let body = r#"{"fault": "partial", "match": "pckcerts", "times": 1}"#;
    s.management().clear_faults();
    let (status, rules) = s.manage("PUT", "/faults", body).await;
    assert_eq!((status, &rules[0]["levels"]), (200, &serde_json::json!(1)));
    let answer = genuine(&s.certificates(&platform).await);
    assert_eq!(answer.iter().filter(|entry| entry.is_none()).count(), 1);
    assert_eq!(s.certificates(&platform).await.body, before.body);
}

#[tokio::test]
async fn a_wrong_platforms_list_is_genuine() {
    let (s, platform, _) = with(Fault::WrongPlatform).await;
    // There is no other of the family yet.
    let answer = s.certificates(&platform).await;
    let other = pck_certificates(&answer, s.sim.root_pem()).remove(0);
    assert_ne!(answer.header("sgx-fmspc"), Some(SGX_FMSPC));
    assert_ne!(sgx_item(&other, &[1]), Some(platform.ppid.to_vec()));

    let spec = PlatformSpec::new(SGX_FMSPC, 1);
    let twin = s.management().add_platform(spec).unwrap();
    for (asked, answered) in [(&platform, &twin), (&twin, &platform)] {
        let answer = s.certificates(asked).await;
        assert_eq!(answer.header("sgx-fmspc"), Some(SGX_FMSPC));
        let leaf = pck_certificates(&answer, s.sim.root_pem()).remove(0);
        assert_eq!(sgx_item(&leaf, &[1]), Some(answered.ppid.to_vec()));
    }
    // Refusals stay what they are.
    let spec = PlatformSpec::new(SGX_FMSPC, 1).zero_encrypted_ppid();
    let zero = s.management().add_platform(spec).unwrap();
    assert_eq!(s.certificates(&zero).await.status, 404);
}

#[tokio::test]
async fn a_fault_can_be_for_the_posts_of_one_path() {
    let s = Simulated::start().await;
    let fault = FaultRule::new(Fault::Status { code: 503 }).matching("registration/v1/platform");
    s.management().set_fault(fault).unwrap();
    let manifest = s.platform_of(TDX_FMSPC).manifest.unwrap();
    assert_eq!(s.register(&manifest).await.status, 503);
    assert_eq!(s.certificates_by_manifest(&manifest).await.status, 200);
}
