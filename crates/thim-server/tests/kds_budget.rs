//! Show 3: a fleet that starts all at once, and a key server that gives one certificate in ten seconds. The clock is
//! the test's; the simulated key server counts every request that comes too early.

mod harness;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::{Answer, Fleet};
use thim_client::NewChip;
use thim_sim::{AmdProduct, ChipSpec, KdsFault, RateLimits, SimChip};
use thim_verify::amd::{Product, SnpTcb, Vcek};
use tokio::task::JoinSet;

/// What AMD allows, by its word and by report.
const LIMITS: RateLimits = RateLimits {
    per_certificate_seconds: 10,
    per_client_seconds: 10,
};

/// A fleet whose key server throttles as AMD's does, and a server that keeps to it.
async fn throttled() -> Fleet {
    let fleet = Fleet::with_kds(|config| {
        config.amd.vceks_per_minute = Some(6);
        config.amd.burst = Some(1);
    })
    .await;
    fleet.kds().set_rate_limits(LIMITS);
    fleet
}

fn chips(fleet: &Fleet, count: usize) -> Vec<SimChip> {
    let spec = ChipSpec::new(AmdProduct::Milan);
    fleet.kds().add_chips(&spec, count).expect("chips")
}

/// Lets the server ask until the key server has had so many calls.
async fn asked(fleet: &Fleet, calls: u64) {
    let begun = Instant::now();
    while fleet.vcek_calls() < calls {
        assert!(
            begun.elapsed() < PATIENCE,
            "{} of {calls} calls",
            fleet.vcek_calls()
        );
        fleet
            .server()
            .chips
            .step(&fleet.clock)
            .await
            .expect("the store works");
        tokio::task::yield_now().await;
    }
}

/// Waits, in real time, until this is so.
async fn eventually_so(is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "it does not become so");
        tokio::task::yield_now().await;
    }
}

/// Asks until the answer has this status.
async fn eventually(fleet: &Fleet, target: &str, status: u16) -> Answer {
    let begun = Instant::now();
    loop {
        let answer = fleet.get(target).await;
        if answer.status == status {
            return answer;
        }
        let told = answer.header("thim-cause");
        assert!(begun.elapsed() < PATIENCE, "{}: {told}", answer.status);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_guests_of_a_hundred_cold_chips() {
    let fleet = throttled().await;
    let chips = chips(&fleet, 100);
    // When each guest asks next, in seconds of the test's clock.
    let mut due: BTreeMap<i64, Vec<usize>> = BTreeMap::from([(0, (0..1000).collect())]);
    let (mut served_at, mut sent_away) = (Vec::new(), 0);
    let mut second = 0;
    while let Some((&next, _)) = due.first_key_value() {
        // Ten seconds at a time: one call of the budget.
        while second < next {
            let calls = fleet.vcek_calls();
            fleet.clock.advance_millis(10_000);
            second += 10;
            if fleet.server().chips.waiting() > 0 {
                asked(&fleet, calls + 1).await;
            }
        }
        let mut asking = JoinSet::new();
        while let Some(entry) = due.first_entry().filter(|entry| *entry.key() <= second) {
            for guest in entry.remove() {
                let url = fleet.url(&chips[guest % chips.len()].target());
                let request = fleet.client.get(url);
                asking.spawn(async move {
                    let response = request.send().await.expect("an answer");
                    let retry = response.headers().get("retry-after").cloned();
                    let status = response.status().as_u16();
                    let body = response.bytes().await.expect("a body");
                    (guest, status, retry, body)
                });
            }
        }
        while let Some(answered) = asking.join_next().await {
            let (guest, status, retry, body) = answered.expect("a guest");
            if status == 200 {
                let vcek = Vcek::from_der(&body).expect("a VCEK");
                let chip = &chips[guest % chips.len()];
                assert_eq!(vcek.hw_id().to_hex_lower(), chip.hwid_hex());
                served_at.push(second);
                continue;
            }
            assert_eq!(status, 429, "{}", String::from_utf8_lossy(&body));
            let retry = retry.expect("when to come back");
            let retry: i64 = retry.to_str().expect("text").parse().expect("seconds");
            assert!((1..=1000).contains(&retry), "{retry}");
            sent_away += 1;
            due.entry(second + retry).or_default().push(guest);
        }
        assert!(
            second <= 1100,
            "{} are served after {second} s",
            served_at.len()
        );
    }
    let (calls, violations) = (fleet.vcek_calls(), fleet.kds().kds_violations());
    println!("guests served | after (virtual seconds)");
    for count in [1, 10, 100, 250, 500, 750, 900, 1000] {
        println!("{count:13} | {}", served_at[count - 1]);
    }
    println!("calls {calls}, violations {violations}, answers \"come back in N s\" {sent_away}");
    assert_eq!(served_at.len(), 1000);
    assert_eq!(calls, 100, "one for each chip and TCB");
    assert_eq!(violations, 0);
    // Nobody comes back in vain: ten are served at once, the others after one "come back in N s".
    assert_eq!(sent_away, 990);
    // Ten in ten seconds; who asks just while a call is made may be told one round more.
    assert!(served_at[999] <= 1000, "{}", served_at[999]);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_and_the_ten_seconds_hold_over_a_restart() {
    let mut fleet = throttled().await;
    let chips = chips(&fleet, 2);
    assert_eq!(fleet.get(&chips[0].target()).await.status, 200);
    fleet.restart().await;
    let later = fleet.get(&chips[1].target()).await;
    assert_eq!(later.status, 429, "{}", later.header("thim-cause"));
    assert_eq!(later.header("retry-after"), "10");
    fleet.clock.advance_millis(9_999);
    fleet
        .server()
        .chips
        .step(&fleet.clock)
        .await
        .expect("the store works");
    assert_eq!(fleet.vcek_calls(), 1);
    fleet.clock.advance_millis(1);
    eventually(&fleet, &chips[1].target(), 200).await;
    assert_eq!((fleet.vcek_calls(), fleet.kds().kds_violations()), (2, 0));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_certificate_is_not_asked_for_twice_in_ten_seconds_whatever_the_budget() {
    let mut fleet = Fleet::with_kds(|_| {}).await;
    let chip = fleet.kds().chip_of(AmdProduct::Milan);
    fleet.kds_fault(KdsFault::Status { code: 500 }, "SPL=");
    assert_eq!(fleet.get(&chip.target()).await.status, 503);
    fleet.kds().clear_faults();
    fleet.restart().await;
    let server = std::sync::Arc::clone(&fleet.server().chips);
    let (target, clock) = (chip.target(), fleet.clock.clone());
    let (answer, ()) = tokio::join!(fleet.get(&target), async {
        let begun = Instant::now();
        while server.waiting() == 0 {
            assert!(begun.elapsed() < PATIENCE, "nobody waits");
            tokio::task::yield_now().await;
        }
        for _ in 0..5 {
            server.step(&clock).await.expect("the store works");
        }
        assert_eq!(fleet.vcek_calls(), 1);
        clock.advance_millis(10_000);
    });
    assert_eq!(answer.status, 200, "{}", answer.header("thim-cause"));
    assert_eq!((fleet.vcek_calls(), fleet.kds().kds_violations()), (2, 0));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_an_upstream_and_its_429_is_about_one_chip() {
    let first = throttled().await;
    let chips = chips(&first, 3);
    assert_eq!(first.get(&chips[0].target()).await.status, 200);
    let mut second = Fleet::sim_only(|config| {
        config.amd.upstream = vec![first.url("")];
        config.trust.amd_roots = first.config.trust.amd_roots.clone();
    })
    .await;
    second.serve().await;
    // The peer's own budget is used up by the first chip.
    let told = second.get(&chips[1].target()).await;
    assert_eq!(told.status, 429, "{}", told.header("thim-cause"));
    let known = second.get(&chips[0].target()).await;
    assert_eq!(known.status, 200, "{}", known.header("thim-cause"));
    assert_eq!(second.get(&chips[2].target()).await.status, 429);
    assert_eq!(first.vcek_calls(), 1);
    for calls in 2..=3 {
        first.clock.advance_millis(10_000);
        asked(&first, calls).await;
    }
    second.clock.advance_millis(30_000);
    for chip in &chips[1..] {
        let vcek = eventually(&second, &chip.target(), 200).await;
        assert_eq!(vcek.body, first.get(&chip.target()).await.body);
    }
    assert_eq!((first.vcek_calls(), first.kds().kds_violations()), (3, 0));
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleets_own_chips_go_before_strangers() {
    let fleet = throttled().await;
    let chips = chips(&fleet, 4);
    assert_eq!(fleet.get(&chips[0].target()).await.status, 200);
    register(&fleet, &chips[3..]).await;
    for chip in &chips[1..] {
        assert_eq!(fleet.get(&chip.target()).await.status, 429);
    }
    fleet.clock.advance_millis(10_000);
    asked(&fleet, 2).await;
    let of = |chip: &SimChip| fleet.kds().calls().containing(&chip.hwid_hex());
    assert_eq!([1, 2, 3].map(|place| of(&chips[place])), [0, 0, 1]);
    fleet.clock.advance_millis(10_000);
    asked(&fleet, 3).await;
    assert_eq!([1, 2, 3].map(|place| of(&chips[place])), [1, 0, 1]);
    fleet.stop().await;
}

async fn register(fleet: &Fleet, chips: &[SimChip]) {
    let inputs: Vec<NewChip> = chips
        .iter()
        .map(|chip| NewChip {
            product: Some(chip.product.to_string()),
            chip_id: chip.hwid_hex(),
            reported_tcb: None,
            label: None,
        })
        .collect();
    let registered = fleet
        .server()
        .chips
        .register(&inputs, "a test", fleet.clock.now());
    assert_eq!(registered.await.expect("registered").len(), chips.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_tcb_is_fetched_ahead_at_the_same_pace() {
    let fleet = throttled().await;
    let chips = chips(&fleet, 3);
    register(&fleet, &chips).await;
    let keeper = &fleet.server().chips;
    let facts = keeper.products().facts(Product::Milan);
    let released = fleet.kds().status().products;
    let released = released.iter().find(|one| one.product == AmdProduct::Milan);
    let next = released.expect("Milan").released;
    let tcb = SnpTcb::from_hex_be(facts, &next.tcbm(AmdProduct::Milan)).expect("a TCB");
    let begun = keeper
        .prewarm(Product::Milan, tcb, fleet.clock.now())
        .await
        .expect("wanted");
    assert_eq!(
        (begun.counts.chips, begun.counts.wanted + begun.counts.held),
        (3, 3)
    );
    assert!((20..=30).contains(&begun.seconds), "{begun:?}");
    let held = |fleet: &Fleet, tcb| {
        let (keeper, now) = (
            std::sync::Arc::clone(&fleet.server().chips),
            fleet.clock.now(),
        );
        async move {
            keeper
                .prewarm(Product::Milan, tcb, now)
                .await
                .expect("counts")
                .counts
        }
    };
    for calls in 1..=3 {
        asked(&fleet, calls).await;
        // What was called for is there, or it would be called for again.
        eventually_so(async || held(&fleet, tcb).await.held.cast_unsigned() == calls).await;
        fleet.clock.advance_millis(10_000);
    }
    let counts = held(&fleet, tcb).await;
    assert_eq!(
        (counts.chips, counts.held, counts.wanted, counts.absent),
        (3, 3, 0, 0)
    );
    // What came ahead is served without a call, whoever was registered.
    for chip in &chips {
        assert_eq!(fleet.get(&chip.target_for(&next)).await.status, 200);
    }
    assert_eq!((fleet.vcek_calls(), fleet.kds().kds_violations()), (3, 0));

    // One that is not released yet: told as absent, asked for again much later, and then it comes.
    let later = next.with_microcode(next.microcode + 1);
    let unknown = SnpTcb::from_hex_be(facts, &later.tcbm(AmdProduct::Milan)).expect("a TCB");
    keeper
        .prewarm(Product::Milan, unknown, fleet.clock.now())
        .await
        .expect("wanted");
    for calls in 4..=6 {
        asked(&fleet, calls).await;
        eventually_so(async || held(&fleet, unknown).await.absent.cast_unsigned() == calls - 3)
            .await;
        fleet.clock.advance_millis(10_000);
    }
    fleet
        .kds()
        .release(AmdProduct::Milan, later)
        .expect("released");
    fleet.clock.advance_millis(24 * 3600 * 1000);
    for calls in 7..=9 {
        asked(&fleet, calls).await;
        eventually_so(async || held(&fleet, unknown).await.held.cast_unsigned() == calls - 6).await;
        fleet.clock.advance_millis(10_000);
    }
    assert_eq!((fleet.vcek_calls(), fleet.kds().kds_violations()), (9, 0));
    fleet.stop().await;
}

/// Real time that a test waits for what takes milliseconds, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);
