//! The incident of July 2026 with Intel's own files: the platform CRL went from 57 to 129 revoked serials and 3.5 h
//! later back to 57. Imported one by one with the clock just after each, with and without a restart after each step.

#[path = "import_support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use support::{Kept, instant};
use thim_server::collateral::Ask;
use thim_server::operations::{self, Released};
use thim_server::sentinel;
use thim_verify::{ArtefactKey, PckCa, TrustAnchors, UnixTime, parse};

const PLATFORM: ArtefactKey = ArtefactKey::PckCrl {
    ca: PckCa::Platform,
};

/// The platform CRLs of June to August 2026 by `thisUpdate`.
fn summer(intel: &Path) -> Vec<(UnixTime, PathBuf)> {
    let mut lists: Vec<(UnixTime, PathBuf)> = std::fs::read_dir(intel.join("crl"))
        .expect("crl")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "der"))
        .filter_map(|path| {
            let parsed = parse(&std::fs::read(&path).expect("a file")).ok()?;
            (parsed.key() == PLATFORM).then_some((parsed.issued(), path))
        })
        .filter(|(issued, _)| {
            (instant("2026-06-01T00:00:00Z")..instant("2026-09-01T00:00:00Z")).contains(issued)
        })
        .collect();
    lists.sort();
    assert_eq!(lists.len(), 8);
    lists
}

/// A keeper at the beginning of June, with the root CRL; `restarts` after each step where wanted.
struct Summer {
    kept: Kept,
    lists: Vec<(UnixTime, PathBuf)>,
    restarts: bool,
}

impl Summer {
    async fn begin(hold: &str, restarts: bool) -> Option<Self> {
        let intel = support::vectors()?;
        let policy = sentinel::Config {
            hold: hold.parse().expect("a span"),
        };
        let kept = Kept::open_with(TrustAnchors::intel(), "2026-06-01T00:00:00Z", policy).await;
        let root = std::fs::read_dir(intel.join("crl"))
            .expect("crl")
            .map(|entry| entry.expect("an entry").path());
        let root = root
            .filter(|path| path.to_string_lossy().contains("root-2026"))
            .max()
            .expect("a root CRL");
        assert_eq!(kept.import(&[&root]).await.admitted, 1);
        Some(Self {
            kept,
            lists: summer(&intel),
            restarts,
        })
    }

    async fn restarted(mut self) -> Self {
        if self.restarts {
            self.kept = self.kept.restart().await;
        }
        self
    }

    /// Imports the list of that place a minute after it was issued: (admitted, held).
    async fn take(self, place: usize) -> (Self, (u64, u64)) {
        let (issued, path) = &self.lists[place];
        self.kept.advance_to(issued.plus_secs(60)).await;
        let report = self.kept.import(&[path]).await;
        assert!(
            report.refused.is_empty() && report.known == 0 && report.future == 0,
            "{report:?}"
        );
        (self.restarted().await, (report.admitted, report.held))
    }

    async fn wait_until(self, now: &str) -> Self {
        self.kept.advance_to(instant(now)).await;
        self.restarted().await
    }

    /// How many serials the list revokes that is served now.
    async fn served(&self) -> usize {
        let answer = self
            .kept
            .collateral
            .answer(Ask::Artefact(PLATFORM), self.kept.clock.now())
            .await;
        answer
            .expect("an answer")
            .ready
            .revoked_entries
            .expect("a list")
    }

    async fn events(&self) -> Vec<(String, String)> {
        let events = operations::events(&self.kept.collateral, 0, Some(PLATFORM), 1000)
            .await
            .expect("the store");
        events
            .into_iter()
            .map(|event| (event.name, event.text))
            .collect()
    }

    async fn told(&self, name: &str, words: &str) -> bool {
        self.events()
            .await
            .iter()
            .any(|(known, text)| known == name && text.contains(words))
    }

    /// The states that the edition of that place went through.
    async fn way_of(&self, place: usize) -> Vec<(String, String)> {
        let history =
            operations::history(&self.kept.collateral, PLATFORM, self.kept.clock.now(), None)
                .await
                .expect("the store");
        let issued = self.lists[place].0.to_string();
        let edition = history
            .into_iter()
            .find(|edition| edition.issued == issued)
            .expect("its edition");
        edition
            .transitions
            .into_iter()
            .map(|change| (change.state, change.cause))
            .collect()
    }

    /// 57 -> 129 -> 57: the third is held.
    async fn until_the_hold(self) -> Self {
        let mut summer = self;
        for place in 0..3 {
            let taken;
            (summer, taken) = summer.take(place).await;
            assert_eq!((taken, summer.served().await), ((1, 0), 57));
        }
        let (summer, taken) = summer.take(3).await;
        assert_eq!(
            (taken, summer.served().await),
            ((1, 0), 129),
            "more revocations are applied at once"
        );
        assert!(summer.told("crl.revoked", "57 -> 129").await);
        let (summer, taken) = summer.take(4).await;
        assert_eq!(
            (taken, summer.served().await),
            ((0, 1), 129),
            "what un-revokes is held"
        );
        assert!(
            summer.told("crl.unrevoked", "129 -> 57").await
                && summer.told("hold.started", "129 -> 57").await
        );
        summer
    }
}

#[tokio::test]
async fn a_hold_ends_after_72_hours_without_any_new_edition() {
    for restarts in [false, true] {
        let Some(summer) = Summer::begin("72h", restarts).await else {
            return;
        };
        let summer = summer
            .until_the_hold()
            .await
            .wait_until("2026-07-16T12:00:00Z")
            .await;
        assert_eq!(summer.served().await, 129);
        // The hold began when it was admitted, at 11:44:38.
        let summer = summer.wait_until("2026-07-19T11:44:37Z").await;
        assert_eq!(summer.served().await, 129);
        let summer = summer.wait_until("2026-07-20T00:00:00Z").await;
        assert_eq!(summer.served().await, 57);
        assert!(summer.told("hold.released", "the hold ended").await);
        let way = summer.way_of(4).await;
        assert_eq!(
            way.iter()
                .map(|(state, _)| state.as_str())
                .collect::<Vec<_>>(),
            ["held", "current"]
        );
        let mut summer = summer;
        for place in 5..8 {
            let taken;
            (summer, taken) = summer.take(place).await;
            assert_eq!(
                (taken, summer.served().await),
                ((1, 0), 57),
                "57 after 57 is nothing to hold"
            );
        }
    }
}

#[tokio::test]
async fn three_later_editions_that_agree_end_a_long_hold() {
    for restarts in [false, true] {
        let Some(summer) = Summer::begin("60d", restarts).await else {
            return;
        };
        let mut summer = summer.until_the_hold().await;
        for place in 5..7 {
            let taken;
            (summer, taken) = summer.take(place).await;
            assert_eq!((taken, summer.served().await), ((0, 1), 129));
        }
        let (summer, taken) = summer.take(7).await;
        assert_eq!((taken, summer.served().await), ((1, 0), 57));
        assert!(summer.told("hold.released", "3 later editions agree").await);
        let current = operations::show(&summer.kept.collateral, PLATFORM, summer.kept.clock.now())
            .await
            .expect("the store");
        assert_eq!(
            current.expect("an edition").issued,
            summer.lists[7].0.to_string()
        );
    }
}

#[tokio::test]
async fn an_operator_ends_a_hold_at_once() {
    for restarts in [false, true] {
        let Some(summer) = Summer::begin("72h", restarts).await else {
            return;
        };
        let summer = summer.until_the_hold().await;
        let collateral = &summer.kept.collateral;
        let now = summer.kept.clock.now();
        let held = operations::list(
            collateral,
            None,
            Some(sentinel::State::Held),
            now,
            None,
            10,
            0,
        )
        .await
        .expect("the store");
        let [held] = held.as_slice() else {
            panic!("one is held: {held:?}")
        };
        assert_eq!(held.held_until.as_deref(), Some("2026-07-19T11:44:38Z"));
        for bad in [
            "",
            "0",
            &held.id[..7],
            "zzzzzzzz",
            &"0".repeat(65),
            "%%%%%%%%",
        ] {
            assert_eq!(
                operations::release(collateral, bad, "a test", now)
                    .await
                    .expect("the store"),
                Released::NotFound
            );
        }
        let done = operations::release(collateral, &held.id[..8].to_uppercase(), "a test", now)
            .await
            .expect("the store");
        assert!(
            matches!(done, Released::Done { key: PLATFORM, .. }),
            "{done:?}"
        );
        let again = operations::release(collateral, &held.id, "a test", now)
            .await
            .expect("the store");
        assert_eq!(
            again,
            Released::NotHeld {
                state: sentinel::State::Current
            }
        );
        let summer = summer.restarted().await;
        assert_eq!(summer.served().await, 57);
        assert!(summer.told("hold.released", "released by a test").await);
        assert!(
            summer
                .way_of(4)
                .await
                .iter()
                .any(|(state, cause)| state == "current" && cause == "released by a test")
        );
    }
}

#[tokio::test]
async fn what_was_known_at_an_instant_stays_known() {
    let Some(summer) = Summer::begin("72h", false).await else {
        return;
    };
    let summer = summer
        .until_the_hold()
        .await
        .wait_until("2026-07-20T00:00:00Z")
        .await;
    let state_at = async |known_at: Option<&str>| {
        let known_at = known_at.map(instant);
        let editions = operations::list(
            &summer.kept.collateral,
            Some(PLATFORM),
            None,
            summer.kept.clock.now(),
            known_at,
            100,
            0,
        )
        .await
        .expect("the store");
        editions
            .into_iter()
            .map(|edition| edition.state)
            .collect::<Vec<_>>()
    };
    let old = "superseded";
    assert_eq!(
        state_at(Some("2026-06-01T00:00:00Z")).await,
        Vec::<String>::new()
    );
    assert_eq!(
        state_at(Some("2026-07-16T10:00:00Z")).await,
        [old, old, old, "current"]
    );
    assert_eq!(
        state_at(Some("2026-07-16T12:00:00Z")).await,
        [old, old, old, "current", "held"]
    );
    assert_eq!(state_at(None).await, [old, old, old, old, "current"]);
}

#[tokio::test]
async fn all_of_it_in_one_run_and_in_any_order_ends_the_same() {
    let Some(intel) = support::vectors() else {
        return;
    };
    let lists = summer(&intel);
    let mut seen = Vec::new();
    for turn in 0..4 {
        let kept = Kept::open(TrustAnchors::intel(), "2026-08-13T00:00:00Z").await;
        let mut paths: Vec<&Path> = lists.iter().map(|(_, path)| path.as_path()).collect();
        paths.rotate_left(turn * 3 % 8);
        if turn % 2 == 1 {
            paths.reverse();
        }
        let report = kept.import(&paths).await;
        assert_eq!(
            (report.admitted, report.held),
            (8, 0),
            "held and released in the same run is admitted: {report:?}"
        );
        seen.push(kept.states().await);
    }
    assert!(seen.iter().all(|states| *states == seen[0]));
}
