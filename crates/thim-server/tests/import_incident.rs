//! The incident of July 2026 with Intel's own CRLs: 57 revoked serials, then 129, three and a half hours later 57
//! again, and nothing more for a week. Imported one by one in order of `thisUpdate`, the clock just after each.

#[path = "import_support/mod.rs"]
mod support;

use std::path::PathBuf;

use support::{Kept, instant};
use thim_server::operations::{self, Released};
use thim_server::sentinel;
use thim_verify::{ArtefactKey, Content, PckCa, TrustAnchors, UnixTime, parse};

const PLATFORM: ArtefactKey = ArtefactKey::PckCrl {
    ca: PckCa::Platform,
};

struct Step {
    path: PathBuf,
    this_update: UnixTime,
    entries: usize,
}

/// The platform CRLs of June to August 2026 in order, or `None` without vectors.
fn steps() -> Option<Vec<Step>> {
    let folder = support::vectors()?.join("crl");
    let mut steps: Vec<Step> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            name.ends_with(".der")
                && ["platform-2026-06", "platform-2026-07", "platform-2026-08"]
                    .iter()
                    .any(|start| name.starts_with(start))
        })
        .map(|path| {
            let parsed = parse(&std::fs::read(&path).expect("read")).expect("a CRL");
            let Content::Crl(crl) = parsed.unverified().content() else {
                panic!("a CRL")
            };
            Step {
                this_update: parsed.issued(),
                entries: crl.revoked_len(),
                path,
            }
        })
        .collect();
    steps.sort_by_key(|step| step.this_update);
    assert_eq!(
        steps.iter().map(|step| step.entries).collect::<Vec<_>>(),
        [57, 57, 57, 129, 57, 57, 57, 57]
    );
    Some(steps)
}

/// How many serials the served platform CRL revokes.
async fn served(kept: &Kept) -> u64 {
    let now = kept.clock.now();
    let ready = kept
        .collateral
        .publish(PLATFORM, now)
        .await
        .expect("the store")
        .expect("something is served");
    assert!(ready.freshness(now).is_some(), "it may be served");
    ready.revoked_entries.expect("a CRL") as u64
}

async fn names(kept: &Kept) -> Vec<String> {
    let events = operations::events(&kept.collateral, 0, Some(PLATFORM), 1000)
        .await
        .expect("the store");
    events.into_iter().map(|event| event.name).collect()
}

/// Imports the next step just after its `thisUpdate`; (admitted, held).
async fn take(kept: &Kept, step: &Step) -> (u64, u64) {
    kept.advance_to(step.this_update.plus_secs(5)).await;
    let report = kept.import(&[&step.path]).await;
    assert!(report.refused.is_empty(), "{report:?}");
    (report.admitted, report.held)
}

/// Up to the CRL that takes 72 revocations back, with a restart after every step.
async fn until_held(steps: &[Step], sentinel: sentinel::Config) -> Kept {
    let mut kept = Kept::open_with(TrustAnchors::intel(), "2026-06-01T00:00:00Z", sentinel).await;
    for step in &steps[..4] {
        assert_eq!(take(&kept, step).await, (1, 0));
        kept = kept.restart().await;
        assert_eq!(served(&kept).await, step.entries as u64, "applied at once");
    }
    assert!(names(&kept).await.contains(&"crl.revoked".to_owned()));
    assert_eq!(take(&kept, &steps[4]).await, (0, 1));
    for name in ["crl.unrevoked", "hold.started"] {
        assert!(names(&kept).await.contains(&name.to_owned()), "{name}");
    }
    kept = kept.restart().await;
    assert_eq!(served(&kept).await, 129, "held");
    kept
}

#[tokio::test]
async fn held_at_noon_and_served_after_72_hours_without_any_new_edition() {
    let Some(steps) = steps() else { return };
    let mut kept = until_held(&steps, sentinel::Config::default()).await;
    kept.advance_to(instant("2026-07-16T12:00:00Z")).await;
    assert_eq!(served(&kept).await, 129);
    kept = kept.restart().await;
    kept.advance_to(instant("2026-07-19T11:43:00Z")).await;
    assert_eq!(served(&kept).await, 129);
    kept.advance_to(instant("2026-07-20T00:00:00Z")).await;
    assert_eq!(served(&kept).await, 57);
    assert!(names(&kept).await.contains(&"hold.released".to_owned()));
    kept = kept.restart().await;
    assert_eq!(served(&kept).await, 57);
    let history = operations::history(&kept.collateral, PLATFORM, kept.clock.now(), None)
        .await
        .expect("the store");
    let held = history
        .iter()
        .find(|edition| {
            edition
                .transitions
                .iter()
                .any(|change| change.state == "held")
        })
        .expect("held once");
    let states: Vec<&str> = held
        .transitions
        .iter()
        .map(|change| change.state.as_str())
        .collect();
    assert_eq!(states, ["held", "current"]);
    // The rest of the summer goes on as usual.
    for step in &steps[5..] {
        assert_eq!(take(&kept, step).await, (1, 0));
        assert_eq!(served(&kept).await, 57);
    }
}

#[tokio::test]
async fn a_hold_of_60_days_is_ended_by_three_later_agreeing_editions() {
    let Some(steps) = steps() else { return };
    let hold = sentinel::Config {
        hold: "60d".parse().expect("a span"),
    };
    let mut kept = until_held(&steps, hold).await;
    for step in &steps[5..7] {
        assert_eq!(take(&kept, step).await, (0, 1));
        kept = kept.restart().await;
        assert_eq!(served(&kept).await, 129, "two do not suffice");
    }
    assert_eq!(
        take(&kept, &steps[7]).await,
        (1, 0),
        "the third releases itself and the others"
    );
    assert_eq!(served(&kept).await, 57);
    kept = kept.restart().await;
    assert_eq!(served(&kept).await, 57);
    assert_eq!(
        kept.states()
            .await
            .values()
            .filter(|(_, state)| state == "held")
            .count(),
        0
    );
}

#[tokio::test]
async fn an_operator_releases_it_at_once() {
    let Some(steps) = steps() else { return };
    let mut kept = until_held(&steps, sentinel::Config::default()).await;
    let states = kept.states().await;
    let (id, _) = states
        .iter()
        .find(|(_, (_, state))| state == "held")
        .expect("held");
    let now = kept.clock.now();
    let released = operations::release(&kept.collateral, &id[..8], "operator", now)
        .await
        .expect("the store");
    assert!(matches!(released, Released::Done { .. }), "{released:?}");
    assert_eq!(served(&kept).await, 57);
    let again = operations::release(&kept.collateral, id, "operator", now)
        .await
        .expect("the store");
    assert!(matches!(again, Released::NotHeld { .. }), "{again:?}");
    kept = kept.restart().await;
    assert_eq!(served(&kept).await, 57);
}
