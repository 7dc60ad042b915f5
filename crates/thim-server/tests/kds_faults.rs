//! AMD's key server dead, lying and slow: what is wrong is never served, what was known before always is.

mod harness;

use std::time::{Duration, Instant};

use harness::Fleet;
use thim_sim::{AmdProduct, ChipSpec, KdsFault};
use thim_verify::amd::Vcek;

/// A fault; how a cold request ends (status, cause); whether what came goes to quarantine.
fn table() -> Vec<(KdsFault, u16, &'static str, bool)> {
    vec![
        (KdsFault::Down, 503, "unavailable", false),
        (KdsFault::Reset, 503, "unavailable", false),
        (KdsFault::Truncated, 503, "unavailable", false),
        (KdsFault::Status { code: 500 }, 503, "unavailable", false),
        (KdsFault::Status { code: 401 }, 503, "unavailable", false),
        (KdsFault::Status { code: 400 }, 503, "unavailable", false),
        (
            KdsFault::Redirect {
                location: "http://elsewhere.invalid/".to_owned(),
            },
            503,
            "unavailable",
            false,
        ),
        (
            KdsFault::Huge {
                bytes: 100 * 1024 * 1024,
            },
            503,
            "unavailable",
            false,
        ),
        (KdsFault::FalseNotFound, 404, "absent", false),
        (
            KdsFault::Throttle { retry_after: 30 },
            429,
            "throttled",
            false,
        ),
        (
            KdsFault::Unavailable { retry_after: 30 },
            429,
            "throttled",
            false,
        ),
        (KdsFault::Garbage, 503, "untrusted", true),
        (KdsFault::Html, 503, "untrusted", true),
        (KdsFault::Tampered, 503, "untrusted", true),
        (KdsFault::WrongChip, 503, "untrusted", true),
        (KdsFault::WrongKey, 503, "untrusted", true),
        (KdsFault::WrongTcb, 503, "untrusted", true),
        (KdsFault::Expired, 503, "untrusted", true),
        // It may be good tomorrow.
        (KdsFault::Future, 503, "untrusted", false),
        (KdsFault::Slow { ms: 50 }, 200, "", false),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_met() {
    let mut meetings = tokio::task::JoinSet::new();
    for (fault, status, cause, quarantined) in table() {
        meetings.spawn(meet(fault, status, cause, quarantined));
    }
    while let Some(met) = meetings.join_next().await {
        met.expect("the fault is met");
    }
}

/// One fault against a fleet of its own.
async fn meet(fault: KdsFault, status: u16, cause: &'static str, quarantined: bool) {
    let fleet = Fleet::with_kds(|_| {}).await;
    let known = fleet.kds().chip_of(AmdProduct::Milan);
    let before = fleet.get(&known.target()).await;
    assert_eq!(before.status, 200, "{fault:?}: {}", before.text());
    let cold = fleet
        .kds()
        .add_chip(&ChipSpec::new(AmdProduct::Milan))
        .expect("a chip");
    fleet.kds_fault(fault.clone(), "SPL=");

    let events = fleet.events().await.len();
    let begun = Instant::now();
    let answer = fleet.get(&cold.target()).await;
    let told = answer.header("thim-cause").to_owned();
    assert_eq!(answer.status, status, "{fault:?}: {told}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{fault:?}");
    if status != 200 {
        assert!(told.starts_with(&format!("{cause};")), "{fault:?}: {told}");
        let id = cold.hwid_hex();
        assert!(
            !told.contains(&id) && !answer.text().contains(&id),
            "{fault:?}: {told}"
        );
    }
    if cause == "throttled" {
        assert_eq!(answer.header("retry-after"), "30", "{fault:?}");
    }
    let events = fleet.events().await.split_off(events);
    let stopped = events.iter().any(|name| name == "edition.unverified");
    assert_eq!(stopped, quarantined, "{fault:?}: {events:?}");

    // A second one at once is told the same and costs nothing.
    let calls = fleet.vcek_calls();
    let again = fleet.get(&cold.target()).await;
    assert_eq!(again.status, status, "{fault:?}");
    assert_eq!(fleet.vcek_calls(), calls, "{fault:?}");
    let after = fleet.get(&known.target()).await;
    assert_eq!(
        (after.status, &after.body),
        (200, &before.body),
        "{fault:?}"
    );

    fleet.kds().clear_faults();
    fleet.advance(61).await;
    let healed = fleet.get(&cold.target()).await;
    assert_eq!(
        healed.status,
        200,
        "{fault:?}: {}",
        healed.header("thim-cause")
    );
    Vcek::from_der(&healed.body).expect("a VCEK");
    assert_eq!(fleet.kds().kds_violations(), 0, "{fault:?}");
    fleet.stop().await;
}

/// Show 2: the key server is dead, and so is this server's memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_known_chip_is_served_with_the_key_server_dead() {
    let mut fleet = Fleet::with_kds(|_| {}).await;
    let chips: Vec<_> = AmdProduct::ALL
        .map(|product| fleet.kds().chip_of(product))
        .into();
    let mut before = Vec::new();
    for chip in &chips {
        before.push(fleet.get(&chip.target()).await);
    }
    let cold = fleet
        .kds()
        .add_chip(&ChipSpec::new(AmdProduct::Milan))
        .expect("a chip");
    fleet.kds_fault(KdsFault::Down, "");
    fleet.restart().await;
    // Weeks of it.
    fleet.advance(21 * 24 * 3600).await;
    for (chip, before) in chips.iter().zip(&before) {
        assert_eq!(before.status, 200, "{}", before.header("thim-cause"));
        let (id, tcb) = (chip.hwid_hex(), chip.reported.tcbm(chip.product));
        let vcek = fleet.get(&chip.target()).await;
        assert_eq!(
            (vcek.status, &vcek.body),
            (200, &before.body),
            "{}",
            vcek.text()
        );
        let bundle = fleet
            .get(&format!("/SevSnpVM/certificates/{id}/{tcb}"))
            .await;
        assert_eq!(bundle.status, 200);
        let url = fleet.url(&format!(
            "/metadata/THIM/amd/certification?platformId={id}&tcbVersion={tcb}"
        ));
        let json = fleet
            .send(fleet.client.get(url).header("Metadata", "true"))
            .await;
        assert_eq!(json.status, 200, "{}", json.text());
        let chain = fleet
            .get(&format!("/vcek/v1/{}/cert_chain", chip.product))
            .await;
        assert_eq!(chain.status, 200, "{}", chain.text());
    }
    let begun = Instant::now();
    let unknown = fleet.get(&cold.target()).await;
    assert_eq!(unknown.status, 503, "{}", unknown.header("thim-cause"));
    assert!(
        unknown.header("thim-cause").starts_with("unavailable"),
        "{unknown:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10));
    fleet.stop().await;
}

/// After five failures the key server is left alone for a while, and then asked again: by one, not by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_server_that_comes_back_is_asked_again() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let spec = ChipSpec::new(AmdProduct::Milan);
    let chips = fleet.kds().add_chips(&spec, 8).expect("chips");
    // The chain is there; what fails is the rest.
    assert_eq!(fleet.get("/vcek/v1/Milan/cert_chain").await.status, 200);
    fleet.kds_fault(KdsFault::Down, "SPL=");
    for chip in &chips[..5] {
        assert_eq!(fleet.get(&chip.target()).await.status, 503);
    }
    assert!(fleet.events().await.contains(&"upstream.down".to_owned()));
    assert_eq!(fleet.vcek_calls(), 5);
    fleet.kds().clear_faults();
    fleet.advance(11).await;
    for chip in &chips {
        let answer = fleet.get(&chip.target()).await;
        assert_eq!(answer.status, 200, "{}", answer.header("thim-cause"));
    }
    assert!(fleet.events().await.contains(&"upstream.up".to_owned()));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_404_is_believed_for_a_minute_and_never_against_what_is_held() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let chip = fleet.kds().chip_of(AmdProduct::Genoa);
    fleet.kds_fault(KdsFault::FalseNotFound, "SPL=");
    assert_eq!(fleet.get(&chip.target()).await.status, 404);
    fleet.kds().clear_faults();
    fleet.advance(59).await;
    assert_eq!(fleet.get(&chip.target()).await.status, 404);
    assert_eq!(fleet.vcek_calls(), 1);
    fleet.advance(1).await;
    assert_eq!(fleet.get(&chip.target()).await.status, 200);
    fleet.kds_fault(KdsFault::FalseNotFound, "");
    for _ in 0..3 {
        fleet.advance(3600).await;
        assert_eq!(fleet.get(&chip.target()).await.status, 200);
    }
    assert_eq!(fleet.vcek_calls(), 2);
    fleet.stop().await;
}

/// A VCEK holds for seven years. Near its end AMD's next one is fetched, of the same key; past it, it is not served.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_before_it_ends_and_not_served_after() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let chip = fleet.kds().chip_of(AmdProduct::Milan);
    let first = Vcek::from_der(&fleet.get(&chip.target()).await.body).expect("a VCEK");
    let left = |vcek: &Vcek| vcek.not_after().since(fleet.clock.now());
    fleet.advance(left(&first) - 29 * 24 * 3600).await;
    fleet
        .server()
        .chips
        .tick(fleet.clock.now())
        .await
        .expect("the store works");
    let mut renewed = None;
    let begun = Instant::now();
    while renewed.is_none() && begun.elapsed() < Duration::from_secs(20) {
        fleet
            .server()
            .chips
            .step(&fleet.clock)
            .await
            .expect("the store works");
        let now = Vcek::from_der(&fleet.get(&chip.target()).await.body).expect("a VCEK");
        renewed = (now.not_after() > first.not_after()).then_some(now);
        tokio::task::yield_now().await;
    }
    let second = renewed.expect("a renewed VCEK");
    assert_eq!(
        second.spki_digest(),
        first.spki_digest(),
        "one key, two editions"
    );
    assert_eq!(fleet.vcek_calls(), 2);
    assert!(
        !fleet
            .events()
            .await
            .contains(&"vcek.key-changed".to_owned())
    );

    fleet.kds_fault(KdsFault::Down, "");
    fleet.advance(left(&second)).await;
    assert_eq!(
        fleet.get(&chip.target()).await.status,
        200,
        "its last second"
    );
    fleet.advance(1).await;
    let over = fleet.get(&chip.target()).await;
    assert_eq!(over.status, 503, "{}", over.header("thim-cause"));
    fleet.stop().await;
}
