//! A chip and TCB have one key for ever: another certificate of the same key is another edition, another key is refused
//! and told of, though the right authority signed it. The simulator cannot sign two keys for one chip, so the hierarchy
//! is that of the verifier's own tests.

#[path = "../../thim-verify/tests/amd_pki/mod.rs"]
mod amd_pki;
mod harness;

use amd_pki::{ChipKey, Pki, Spec, Stated, pem, utc};
use harness::Fleet;
use thim_server::chips::{Offered, OfferedAs};
use thim_server::intake::{self, File, Gathered};
use thim_verify::UnixTime;
use thim_verify::amd::{Endorsement, Product, Vcek};

#[tokio::test]
async fn another_key_for_a_chip_and_tcb_is_refused_with_an_event() {
    let pki = Pki::new(Product::Milan);
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("ark.pem");
    std::fs::write(&root, pem(&pki.ark)).expect("written");
    let fleet = Fleet::start_with(|config| config.trust.amd_roots = vec![root]).await;
    let chips = &fleet.server().chips;
    let now: UnixTime = fleet.clock.now();

    let spec = pki.vcek(&Stated::milan("Milan-B0"));
    let reissued = Spec {
        from: utc("260301000000Z"),
        ..spec.clone()
    };
    let another = Spec {
        spki: ChipKey::new().spki(),
        from: utc("260401000000Z"),
        ..spec.clone()
    };
    let signed = |spec: &Spec| spec.signed(&pki.ask_key);
    let mut files = Gathered::default();
    files.add(&File {
        path: "chain.pem".to_owned(),
        bytes: (pem(&pki.ask) + &pem(&pki.ark)).into_bytes().into(),
    });
    files.add(&File {
        path: "vcek.der".to_owned(),
        bytes: signed(&spec).into(),
    });
    let report = intake::import(chips, files, now, &mut |_, _| {}).await;
    let report = report.expect("the store works");
    assert_eq!(
        (report.admitted, report.refused.len()),
        (2, 0),
        "{report:?}"
    );

    let offer = async |spec: &Spec| {
        let vcek = Vcek::from_der(&signed(spec)).expect("a VCEK");
        let offered = Offered {
            leaf: Endorsement::Vcek(vcek),
            offered: OfferedAs::Import,
            source: "a test",
            at: now,
        };
        chips.offer(offered).await
    };
    assert!(offer(&reissued).await.is_ok(), "the same key, signed again");
    let refused = offer(&another).await.expect_err("another key");
    assert!(refused.to_string().contains("another key"), "{refused}");
    let events = fleet.events().await;
    let told = events.iter().filter(|name| *name == "vcek.key-changed");
    assert_eq!(told.count(), 1);

    // What is served is the re-issue, not what came last.
    let vcek = Vcek::from_der(&signed(&reissued)).expect("a VCEK");
    let facts = chips.products().facts(Product::Milan);
    let path = format!(
        "/SevSnpVM/certificates/{}/{}",
        vcek.hw_id().to_hex_lower(),
        vcek.tcb().to_tcbm_hex(facts).expect("a TCB")
    );
    let served = fleet.get(&path).await;
    assert_eq!(served.status, 200);
    let (leaf, _) = served.text().split_at(vcek.to_pem().len());
    let leaf = Vcek::from_pem(leaf.as_bytes()).expect("a VCEK");
    assert_eq!(leaf.spki_digest(), vcek.spki_digest());
    assert_eq!(leaf.not_before(), vcek.not_before());
    fleet.stop().await;
}
