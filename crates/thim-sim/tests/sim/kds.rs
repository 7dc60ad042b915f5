//! The paths of the simulated KDS: what is there, in the form AMD gives it, and what is refused.

use crate::client::*;
use crate::kds_proof::*;
use crate::proof::{next_update, revoked_serials, seconds, serial, this_update};
use data_encoding::HEXLOWER;
use thim_sim::{AmdCa, AmdProduct, ChipSpec, LeafForm, RateLimits, RateRule, SimTcb};
use x509_cert::der::Encode;

fn levels(tcb: &SimTcb, fmc: Option<u8>) -> SimTcb {
    SimTcb { fmc, ..*tcb }
}

#[tokio::test]
async fn a_vcek_is_what_amd_signs() {
    let s = SimulatedKds::start().await;
    // Lengths of genuine ones with the same levels; a signature of 2048 bits is 256 bytes shorter than one of 4096.
    for (product, bytes, product_name) in [
        (AmdProduct::Milan, 1351, &b"\x16\x08Milan-B0"[..]),
        (AmdProduct::Genoa, 1347, b"\x16\x05Genoa"),
        (AmdProduct::Turin, 1289, b"\x16\x05Turin"),
    ] {
        let chip = s.chip_of(product);
        let answer = s.get(&chip.target()).await;
        assert_eq!(answer.status, 200);
        for (name, value) in [
            ("content-type", "application/octet-stream"),
            ("content-disposition", "attachment; filename=vcek.crt"),
            ("cache-control", "no-cache"),
            ("pragma", "no-cache"),
        ] {
            assert_eq!(answer.header(name), Some(value));
        }
        assert!(answer.header("date").is_some() && answer.header("etag").is_none());
        assert_eq!(answer.body.len() + 256, bytes, "{product}");
        assert!(s.leads_to_root(&answer.body, AmdCa::Ask, product).await);

        let vcek = certificate(&answer.body);
        let tbs = vcek.tbs_certificate();
        assert_eq!(serial(&vcek), "00");
        assert_eq!(seconds(&tbs.validity().not_before), NOW);
        let days = (seconds(&tbs.validity().not_after) - NOW) / DAY;
        assert!((7 * 365..=7 * 365 + 2).contains(&days));
        let issuer = tbs.issuer().to_string();
        assert!(issuer.contains(&format!("CN=SEV-{product}")), "{issuer}");
        assert!(tbs.subject().to_string().contains("CN=SEV-VCEK"));
        assert_eq!(amd_extension(&vcek, "4").unwrap(), chip.hwid);
        assert_eq!(amd_extension(&vcek, "5"), None);
        assert_eq!(amd_extension(&vcek, "2").unwrap(), product_name);
        assert_eq!(
            amd_extension(&vcek, "3.4").is_some(),
            product != AmdProduct::Turin
        );
        assert_eq!(tcb_of(&vcek), chip.reported);
        assert_eq!(public_key(&vcek), chip.vcek_public_key(&chip.reported));
        let extensions = tbs.extensions().unwrap();
        assert!(extensions.iter().all(|extension| !extension.critical));
    }
}

#[tokio::test]
async fn each_call_signs_anew_for_the_same_key() {
    let s = SimulatedKds::start_unlimited().await;
    let chip = s.chip_of(AmdProduct::Milan);
    let first = s.vcek(&chip).await;
    s.advance(40 * DAY);
    let second = s.vcek(&chip).await;
    assert_ne!(first, second);
    let (first, second) = (certificate(&first), certificate(&second));
    assert_eq!(public_key(&first), public_key(&second));
    assert_eq!(serial(&first), serial(&second));
    let begin = &second.tbs_certificate().validity().not_before;
    assert_eq!(seconds(begin), NOW + 40 * DAY);
    // Another TCB of the chip has another key.
    let lower = chip.reported.with_microcode(100);
    let other = certificate(&s.body(&chip.target_for(&lower)).await);
    assert_ne!(public_key(&other), public_key(&first));
    assert_eq!(tcb_of(&other), lower);
}

#[tokio::test]
async fn one_request_has_many_spellings() {
    let s = SimulatedKds::start_unlimited().await;
    let chip = s.chip_of(AmdProduct::Turin);
    let (lower, upper) = (chip.hwid_hex(), chip.hwid_hex().to_uppercase());
    let key = chip.vcek_public_key(&chip.reported);
    for target in [
        format!("/vcek/v1/Turin/{lower}?fmcSPL=1&blSPL=1&teeSPL=1&snpSPL=4&ucodeSPL=81"),
        format!("/vcek/v1/Turin/{upper}?blSPL=01&fmcSPL=01&snpSPL=04&teeSPL=01&ucodeSPL=81"),
        format!("/vcek/v1/Turin/{lower}?ucodeSPL=081&snpSPL=4&teeSPL=1&blSPL=1&fmcSPL=1"),
    ] {
        let vcek = certificate(&s.body(&target).await);
        assert_eq!(public_key(&vcek), key, "{target}");
    }
}

#[tokio::test]
async fn what_is_malformed_unknown_or_foreign_is_refused() {
    let s = SimulatedKds::start_unlimited().await;
    let milan = s.chip_of(AmdProduct::Milan);
    let turin = s.chip_of(AmdProduct::Turin);
    let (hwid, query) = (milan.hwid_hex(), milan.reported.query());
    let (turin_hwid, turin_query) = (turin.hwid_hex(), turin.reported.query());
    let zeros = "0".repeat(128);
    let unknown = "1".repeat(128);
    let long_turin = HEXLOWER.encode(&turin.chip_id());
    let no_fmc = levels(&turin.reported, None).query();
    let cases = [
        (200, format!("/vcek/v1/Milan/{hwid}?{query}")),
        (400, format!("/vcek/v1/Milan/{hwid}")),
        (400, format!("/vcek/v1/Milan/{hwid}?{query}&fmcSPL=0")),
        (400, format!("/vcek/v1/Milan/{hwid}?{query}&blSPL=4")),
        (400, format!("/vcek/v1/Milan/{hwid}?{query}&x=4")),
        (400, format!("/vcek/v1/Milan/{}?{query}", &hwid[2..])),
        (400, format!("/vcek/v1/Milan/{hwid}00?{query}")),
        (400, format!("/vcek/v1/Milan/{}zz?{query}", &hwid[2..])),
        (400, format!("/vcek/v1/Milan/{turin_hwid}?{query}")),
        (404, format!("/vcek/v1/Milan/{zeros}?{query}")),
        (404, format!("/vcek/v1/Milan/{unknown}?{query}")),
        (404, format!("/vcek/v1/Genoa/{hwid}?{query}")),
        (404, format!("/vcek/v1/milan/{hwid}?{query}")),
        (404, format!("/vcek/v1/Venice/{hwid}?{query}")),
        (404, format!("/vcek/v1/Milan/{hwid}/x?{query}")),
        (404, format!("/vcek/v2/Milan/{hwid}?{query}")),
        (200, format!("/vcek/v1/Turin/{turin_hwid}?{turin_query}")),
        (400, format!("/vcek/v1/Turin/{turin_hwid}?{no_fmc}")),
        (400, format!("/vcek/v1/Turin/{long_turin}?{turin_query}")),
        (
            404,
            format!("/vcek/v1/Turin/{}?{turin_query}", "0".repeat(16)),
        ),
        (404, "/vcek/v1/Venice/cert_chain".to_owned()),
        (404, "/vlek/v1/milan/crl".to_owned()),
        (401, format!("/vlek/v1/Milan/cert?{query}")),
        (404, format!("/vlek/v1/Milan/{hwid}?{query}")),
        (404, format!("/cek/id/{hwid}")),
        (404, "/".to_owned()),
    ];
    for (status, target) in cases {
        assert_eq!(s.status_of(&target).await, status, "{target}");
    }
    let url = s.kds.url();
    let posted = exchange(&url, "POST", &milan.target(), &[], "")
        .await
        .unwrap();
    assert_eq!(
        (posted.status, posted.header("allow")),
        (405, Some("GET, HEAD"))
    );
}

#[tokio::test]
async fn lower_and_released_firmware_has_vceks_and_no_higher_one() {
    let s = SimulatedKds::start_unlimited().await;
    let management = s.management();
    let old = SimTcb::new(3, 0, 8, 115);
    let chip = management
        .add_chip(&ChipSpec::new(AmdProduct::Milan).tcb(old))
        .unwrap();
    let next = SimTcb::new(4, 0, 27, 222);
    let unreleased = SimTcb::new(4, 0, 28, 223);
    for (tcb, status) in [
        (SimTcb::new(0, 0, 0, 0), 200),
        (old, 200),
        (next, 200),
        (unreleased, 404),
        (SimTcb::new(5, 0, 8, 115), 404),
    ] {
        assert_eq!(s.status_of(&chip.target_for(&tcb)).await, status, "{tcb:?}");
    }
    // One chip's new firmware is its own; a release is everybody's.
    let other = management.chip_of(AmdProduct::Milan);
    management.update_firmware(&chip.name, unreleased).unwrap();
    assert_eq!(s.status_of(&chip.target_for(&unreleased)).await, 200);
    assert_eq!(s.status_of(&other.target_for(&unreleased)).await, 404);
    management.release(AmdProduct::Milan, unreleased).unwrap();
    assert_eq!(s.status_of(&other.target_for(&unreleased)).await, 200);
}

#[tokio::test]
async fn chains_are_two_certificates_in_amds_form() {
    let s = SimulatedKds::start().await;
    for product in AmdProduct::ALL {
        let root = certificates_of(s.kds.root_pem(product).as_bytes()).remove(0);
        assert!(parses_as_pem(s.kds.root_pem(product)));
        assert!(s.kds.roots_pem().contains(s.kds.root_pem(product)));
        for ca in AmdCa::ALL {
            let path = format!("/{}/v1/{product}/cert_chain", ca.line());
            let answer = s.get(&path).await;
            let disposition = format!("attachment; filename={product}.pem");
            assert_eq!(answer.header("content-disposition"), Some(&*disposition));
            assert_eq!(
                answer.header("content-type"),
                Some("application/octet-stream")
            );
            let text = answer.text();
            let returns = text.matches('\r').count();
            match (product, ca) {
                (AmdProduct::Turin, _) => assert_eq!(returns, text.matches('\n').count()),
                (AmdProduct::Genoa | AmdProduct::Milan, _) => assert_eq!(returns, 0),
            }
            let empty_line = (product, ca) == (AmdProduct::Turin, AmdCa::Asvk);
            assert_eq!(text.ends_with("\r\n\r\n"), empty_line);
            let certificates = certificates_of(&answer.body);
            assert_eq!(certificates.len(), 2);
            assert_eq!(certificates[1], root);
            assert!(pss_signed(&certificates[0], &root));
            let name = match ca {
                AmdCa::Ask => format!("CN=SEV-{product}"),
                AmdCa::Asvk => format!("CN=SEV-VLEK-{product}"),
            };
            let issuer = certificate(&certificates[0]);
            let subject = issuer.tbs_certificate().subject().to_string();
            assert!(subject.contains(&name), "{subject}");
            // Explicit trailer fields, as AMD's CA certificates have them and no leaf or CRL of today.
            for der in &certificates {
                assert!(has(der, &EXPLICIT_TRAILER));
            }
            let crl = format!("{}/{}/v1/{product}/crl", s.kds.url(), ca.line());
            assert!(has(&certificates[0], crl.as_bytes()));
        }
        assert!(!has(&s.vcek(&s.chip_of(product)).await, &EXPLICIT_TRAILER));
    }
    let serials: Vec<_> = [
        s.chain(AmdCa::Ask, AmdProduct::Genoa).await,
        s.chain(AmdCa::Asvk, AmdProduct::Milan).await,
    ]
    .concat()
    .iter()
    .map(|der| serial(&certificate(der)))
    .collect();
    assert_eq!(serials, ["020002", "020000", "010101", "010000"]);
}

#[tokio::test]
async fn authorities_are_constrained_as_amds() {
    let s = SimulatedKds::start().await;
    let [ask, ark] = &s.chain(AmdCa::Ask, AmdProduct::Milan).await[..] else {
        panic!("two certificates");
    };
    // Basic constraints and key usage, whole extensions as in the genuine certificates.
    for (der, expected) in [
        (
            ark,
            [
                "300f0603551d130101ff040530030101ff",
                "300e0603551d0f0101ff040403020106",
            ],
        ),
        (
            ask,
            [
                "30120603551d130101ff040830060101ff020100",
                "300e0603551d0f0101ff040403020104",
            ],
        ),
    ] {
        for extension in expected {
            let bytes = HEXLOWER.decode(extension.as_bytes()).unwrap();
            assert!(has(der, &bytes), "{extension}");
        }
    }
    let validity = certificate(ark);
    let validity = validity.tbs_certificate().validity();
    let years = (seconds(&validity.not_after) - seconds(&validity.not_before)) / (365 * DAY);
    assert_eq!(years, 25);
    assert!(seconds(&validity.not_before) < NOW);
}

#[tokio::test]
async fn both_pss_forms_and_both_hwid_forms_can_be_had() {
    let s = SimulatedKds::start_unlimited().await;
    let chip = s.chip_of(AmdProduct::Milan);
    let plain = s.vcek(&chip).await;
    s.management().set_leaf_form(LeafForm {
        explicit_trailer: true,
        wrapped_hwid: false,
    });
    let explicit = s.vcek(&chip).await;
    // Twice five bytes and nothing else: the length of Milan's older certificates, 1360, had one level less of two bytes.
    assert_eq!(explicit.len(), plain.len() + 10);
    assert!(has(&explicit, &EXPLICIT_TRAILER));
    assert!(s.leads_to_root(&explicit, AmdCa::Ask, chip.product).await);
    s.management().set_leaf_form(LeafForm {
        explicit_trailer: false,
        wrapped_hwid: true,
    });
    let wrapped = s.vcek(&chip).await;
    assert!(s.leads_to_root(&wrapped, AmdCa::Ask, chip.product).await);
    let hwid = amd_extension(&certificate(&wrapped), "4").unwrap();
    assert_eq!(hwid, [&[0x04, 0x40], &chip.hwid[..]].concat());
}

#[tokio::test]
async fn a_crl_stays_for_three_weeks_and_then_rises() {
    let s = SimulatedKds::start().await;
    let root = s.kds.root_pem(AmdProduct::Genoa);
    let path = "/vcek/v1/Genoa/crl";
    let answer = s.get(path).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    let crl = verified_crl(&answer.body, root).unwrap();
    assert_eq!(crl_number(&crl), 10);
    assert_eq!(revoked_serials(&crl), ["020001"]);
    assert_eq!(this_update(&crl), NOW);
    assert_eq!(next_update(&crl) % DAY, 0);
    assert_eq!((next_update(&crl) - NOW) / DAY, 45);
    assert!(!has(&crl.to_der().unwrap(), &EXPLICIT_TRAILER));
    s.advance(21 * DAY - 1);
    assert_eq!(s.body(path).await, answer.body);
    s.advance(1);
    let risen = verified_crl(&s.body(path).await, root).unwrap();
    assert_eq!(crl_number(&risen), 11);
    assert_eq!(this_update(&risen), s.now());

    // Nothing is revoked elsewhere, and each line counts for itself.
    for (path, product, number) in [
        ("/vcek/v1/Milan/crl", AmdProduct::Milan, 11),
        ("/vcek/v1/Turin/crl", AmdProduct::Turin, 7),
        ("/vlek/v1/Turin/crl", AmdProduct::Turin, 1),
    ] {
        let crl = verified_crl(&s.body(path).await, s.kds.root_pem(product)).unwrap();
        assert_eq!(crl_number(&crl), number, "{path}");
        assert!(crl.tbs_cert_list.revoked_certificates.is_none());
    }
}

#[tokio::test]
async fn a_chip_and_tcb_may_be_asked_for_every_ten_seconds() {
    let s = SimulatedKds::start().await;
    let chip = s.chip_of(AmdProduct::Milan);
    assert_eq!(s.status_of(&chip.target()).await, 200);
    s.advance(3);
    // The same request in another spelling.
    let other_spelling = chip.target().replace("teeSPL=0", "teeSPL=00");
    let refused = s.get(&other_spelling).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("7"));
    let lower = chip.reported.with_microcode(1);
    assert_eq!(s.status_of(&chip.target_for(&lower)).await, 200);
    for _ in 0..3 {
        assert_eq!(s.status_of("/vcek/v1/Milan/cert_chain").await, 200);
    }
    s.advance(6);
    assert_eq!(s.status_of(&chip.target()).await, 429);
    s.advance(1);
    assert_eq!(s.status_of(&chip.target()).await, 200);
    assert_eq!(s.management().kds_violations(), 2);
    let recent = s.management().recent_violations();
    assert_eq!(recent[0].target, other_spelling);
    assert_eq!((recent[0].at, recent[0].early_by_seconds), (NOW + 3, 7));
    assert_eq!(recent[1].rule, RateRule::Certificate);
    // An unknown chip is worth a call too.
    let unknown = format!("/vcek/v1/Milan/{}?{}", "1".repeat(128), lower.query());
    assert_eq!(s.status_of(&unknown).await, 404);
    assert_eq!(s.status_of(&unknown).await, 429);
}

#[tokio::test]
async fn an_address_is_limited_when_switched_on() {
    let s = SimulatedKds::start().await;
    s.management().set_rate_limits(RateLimits {
        per_certificate_seconds: 10,
        per_client_seconds: 10,
    });
    let (milan, genoa) = (s.chip_of(AmdProduct::Milan), s.chip_of(AmdProduct::Genoa));
    assert_eq!(s.status_of(&milan.target()).await, 200);
    assert_eq!(s.status_of(&genoa.target()).await, 429);
    assert_eq!(s.status_of("/vcek/v1/Genoa/crl").await, 200);
    s.advance(10);
    assert_eq!(s.status_of(&genoa.target()).await, 200);
    assert_eq!(s.management().recent_violations()[0].rule, RateRule::Client);
}

#[tokio::test]
async fn two_simulators_share_keys_and_no_chips() {
    let (a, b) = (SimulatedKds::start().await, SimulatedKds::start().await);
    let (chip, other) = (a.chip_of(AmdProduct::Turin), b.chip_of(AmdProduct::Turin));
    assert_ne!(chip.hwid, other.hwid);
    assert_eq!(b.status_of(&chip.target()).await, 404);
    assert_ne!(
        a.kds.root_pem(AmdProduct::Turin),
        b.kds.root_pem(AmdProduct::Turin)
    );
    let text = format!("{chip:?}");
    assert!(!text.contains(&chip.hwid_hex()) && text.contains("chip-3"));
    a.kds.shutdown().await;
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A salt of 48, then the default trailer field spelt out.
const EXPLICIT_TRAILER: [u8; 10] = [0xa2, 3, 2, 1, 0x30, 0xa3, 3, 2, 1, 1];
