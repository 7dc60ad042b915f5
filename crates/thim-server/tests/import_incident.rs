//! Show 4: Intel's platform CRLs of June to August 2026, in the order they were signed, the clock just after each.
//!
//! On 2026-07-16 the vendor revoked 72 more platforms (57 -> 129) and took them back three and a half hours later.
//! More revocations apply at once; fewer are held until time, later editions or an operator decide. Each story is
//! told twice: in one life of the process, and with the store closed and opened again between all steps.
//!
//! The data is not part of the repository: see `import_vectors.rs`.

#[path = "import_support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use support::{Kept, instant};
use thim_client::{EditionSummary, ImportReport};
use thim_server::collateral::Ask;
use thim_server::operations::{self, Released};
use thim_server::ready::Shape;
use thim_server::sentinel::{self, State};
use thim_verify::{ArtefactKey, Content, PckCa, TrustAnchors, UnixTime, parse};

const KEY: ArtefactKey = ArtefactKey::PckCrl {
    ca: PckCa::Platform,
};

/// One edition of the story.
struct Edition {
    path: PathBuf,
    bytes: Vec<u8>,
    id: String,
    issued: UnixTime,
    entries: usize,
}

/// The eight editions: three of June, two of 2026-07-16, three later ones.
fn editions(intel: &Path) -> Vec<Edition> {
    let mut editions: Vec<Edition> = std::fs::read_dir(intel.join("crl"))
        .expect("crl")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| {
                name.ends_with(".der")
                    && ["06", "07", "08"]
                        .iter()
                        .any(|month| name.starts_with(&format!("platform-2026-{month}-")))
            })
        })
        .map(|path| {
            let bytes = std::fs::read(&path).expect("a file");
            let parsed = parse(&bytes).expect("a CRL");
            let Content::Crl(crl) = parsed.unverified().content() else {
                panic!("{} is no CRL", path.display());
            };
            Edition {
                id: parsed.signed_digest().to_string(),
                issued: parsed.issued(),
                entries: crl.revoked_len(),
                path,
                bytes,
            }
        })
        .collect();
    editions.sort_by_key(|edition| edition.issued);
    let entries: Vec<usize> = editions.iter().map(|edition| edition.entries).collect();
    assert_eq!(entries, [57, 57, 57, 129, 57, 57, 57, 57]);
    editions
}

/// The keeper, and whether it is restarted between all steps.
struct Story {
    kept: Option<Kept>,
    restarts: bool,
}

impl Story {
    async fn begin(intel: &Path, hold: Option<&str>, restarts: bool) -> Self {
        let mut config = sentinel::Config::default();
        if let Some(hold) = hold {
            config.hold = hold.parse().expect("a span");
        }
        let kept = Kept::open_with(TrustAnchors::intel(), "2026-06-05T00:00:00Z", config).await;
        let report = kept
            .import(&[
                &intel.join("ca"),
                &intel.join("crl/root-2026-02-26-c114be.der"),
            ])
            .await;
        assert_eq!((report.admitted, report.refused), (1, Vec::new()));
        Self {
            kept: Some(kept),
            restarts,
        }
    }

    fn kept(&self) -> &Kept {
        self.kept.as_ref().expect("it is open")
    }

    fn now(&self) -> UnixTime {
        self.kept().clock.now()
    }

    async fn restart(&mut self) {
        let kept = self.kept.take().expect("it is open");
        self.kept = Some(kept.restart().await);
    }

    async fn step(&mut self) {
        if self.restarts {
            self.restart().await;
        }
    }

    /// Imports an edition a second after it was signed.
    async fn import(&mut self, edition: &Edition) -> ImportReport {
        self.kept().advance_to(edition.issued.plus_secs(1)).await;
        let report = self.kept().import(&[&edition.path]).await;
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        assert_eq!(report.admitted + report.held, 1, "{report:?}");
        assert_eq!((report.known, report.future, report.ignored), (0, 0, 0));
        self.step().await;
        report
    }

    async fn advance_to(&mut self, time: &str) {
        self.kept().advance_to(instant(time)).await;
        self.step().await;
    }

    /// What a client is given now, byte for byte one of the editions.
    async fn serves(&self, edition: &Edition) {
        let now = self.now();
        let answer = self
            .kept()
            .collateral
            .answer(Ask::Artefact(KEY), now)
            .await
            .expect("a platform CRL is served");
        let served = answer
            .ready
            .serve(Shape::Der, answer.freshness, now)
            .expect("it is servable");
        assert_eq!(
            answer.ready.revoked_entries,
            Some(edition.entries),
            "at {now}"
        );
        assert!(
            served.body == edition.bytes,
            "at {now}: the edition of {} is not served but that of {}",
            edition.issued,
            answer.ready.issued
        );
        let shown = operations::show(&self.kept().collateral, KEY, now)
            .await
            .expect("the store")
            .expect("an edition");
        assert_eq!(
            (shown.id.as_str(), shown.state.as_str()),
            (edition.id.as_str(), "current")
        );
    }

    async fn history(&self) -> Vec<EditionSummary> {
        operations::history(&self.kept().collateral, KEY, self.now(), None)
            .await
            .expect("the store")
    }

    /// The states that an edition went through, with the cause of the last.
    async fn went_through(&self, edition: &Edition) -> (Vec<String>, String) {
        let history = self.history().await;
        let found = history
            .into_iter()
            .find(|summary| summary.id == edition.id)
            .expect("it is in the history");
        let cause = found
            .transitions
            .last()
            .map(|last| last.cause.clone())
            .unwrap_or_default();
        let states = found.transitions.into_iter().map(|one| one.state).collect();
        (states, cause)
    }

    /// Texts of the events of this name about an edition.
    async fn events(&self, name: &str, edition: &Edition) -> Vec<String> {
        operations::events(&self.kept().collateral, 0, Some(KEY), 1000)
            .await
            .expect("the store")
            .into_iter()
            .filter(|event| {
                event.name == name && event.edition.as_deref() == Some(edition.id.as_str())
            })
            .map(|event| event.text)
            .collect()
    }

    /// Up to the hold: 57 served, 129 applied at once, the next 57 held.
    async fn until_the_hold(&mut self, editions: &[Edition]) {
        for edition in &editions[..3] {
            let report = self.import(edition).await;
            assert_eq!(report.held, 0);
            self.serves(edition).await;
        }
        let (more, fewer) = (&editions[3], &editions[4]);
        assert_eq!(self.import(more).await.held, 0, "more is applied at once");
        self.serves(more).await;
        let revoked = self.events("crl.revoked", more).await;
        assert_eq!(revoked.len(), 1, "{revoked:?}");
        assert!(
            revoked[0].contains("57 -> 129") && revoked[0].contains("72 newly revoked"),
            "{revoked:?}"
        );

        assert_eq!(self.import(fewer).await.held, 1, "fewer is held");
        self.serves(more).await;
        let unrevoked = self.events("crl.unrevoked", fewer).await;
        assert_eq!(unrevoked.len(), 1, "{unrevoked:?}");
        assert!(
            unrevoked[0].contains("129 -> 57") && unrevoked[0].contains("72 un-revoked"),
            "{unrevoked:?}"
        );
        assert_eq!(self.events("hold.started", fewer).await.len(), 1);
        assert!(self.events("hold.released", fewer).await.is_empty());
        let held: Vec<EditionSummary> = self.listed(State::Held).await;
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].id, fewer.id);
        assert!(held[0].held_until.is_some());

        self.advance_to("2026-07-16T12:00:00Z").await;
        self.serves(more).await;
    }

    async fn listed(&self, state: State) -> Vec<EditionSummary> {
        let (now, collateral) = (self.now(), &self.kept().collateral);
        operations::list(collateral, Some(KEY), Some(state), now, None, 100, 0)
            .await
            .expect("the store")
    }

    /// The end is the same however a hold ended: one current edition, every other one history.
    async fn has_ended_with(&self, current: &Edition, editions: &[Edition]) {
        self.serves(current).await;
        let history = self.history().await;
        assert_eq!(history.len(), editions.len(), "every edition is kept");
        for (found, edition) in history.iter().zip(editions) {
            assert_eq!(found.id, edition.id, "by date");
            let state = if edition.id == current.id {
                "current"
            } else {
                "superseded"
            };
            assert_eq!(found.state, state, "{}", edition.issued);
            assert_eq!(found.revocation, "checked");
            assert_eq!(found.revoked_entries, Some(edition.entries as u64));
        }
        assert!(self.listed(State::Held).await.is_empty());
    }
}

#[tokio::test]
async fn a_hold_lapses_after_72_hours_without_any_new_edition() {
    let Some(intel) = support::vectors() else {
        return;
    };
    let editions = editions(&intel);
    for restarts in [false, true] {
        let mut story = Story::begin(&intel, None, restarts).await;
        story.until_the_hold(&editions).await;
        let (more, fewer) = (&editions[3], &editions[4]);
        let end = fewer.issued.plus_secs(1 + 72 * 3600);
        assert_eq!(
            story.listed(State::Held).await[0].held_until,
            Some(end.to_string())
        );
        story.advance_to(&end.plus_secs(-1).to_string()).await;
        story.serves(more).await;

        // Who looks at this hour finds the lapse done; with restarts, time passes while nobody runs.
        if restarts {
            let now = story.now();
            let to = instant("2026-07-20T00:00:00Z");
            story.kept().clock.advance_millis(to.since(now) * 1000);
            story.restart().await;
            story.kept().collateral.tick(to).await.expect("the store");
        } else {
            story.advance_to("2026-07-20T00:00:00Z").await;
        }
        story.serves(fewer).await;
        story.has_ended_with(fewer, &editions[..5]).await;

        let (states, cause) = story.went_through(fewer).await;
        assert_eq!(states, ["held", "current"]);
        assert!(cause.contains(&format!("the hold ended {end}")), "{cause}");
        let (states, _) = story.went_through(more).await;
        assert_eq!(states, ["current", "superseded"]);
        assert_eq!(story.events("hold.released", fewer).await.len(), 1);

        // What THIM itself knew at noon of that day stays to be asked for.
        let known = operations::list(
            &story.kept().collateral,
            Some(KEY),
            None,
            story.now(),
            Some(instant("2026-07-16T12:00:00Z")),
            100,
            0,
        )
        .await
        .expect("the store");
        let states: Vec<(&str, &str)> = known
            .iter()
            .skip(3)
            .map(|one| (one.id.as_str(), one.state.as_str()))
            .collect();
        assert_eq!(states, [(&*more.id, "current"), (&*fewer.id, "held")]);

        for later in &editions[5..] {
            assert_eq!(story.import(later).await.held, 0);
            story.serves(later).await;
        }
        story.has_ended_with(&editions[7], &editions).await;
    }
}

#[tokio::test]
async fn three_later_editions_that_agree_end_a_hold_of_sixty_days() {
    let Some(intel) = support::vectors() else {
        return;
    };
    let editions = editions(&intel);
    for restarts in [false, true] {
        let mut story = Story::begin(&intel, Some("60d"), restarts).await;
        story.until_the_hold(&editions).await;
        let (more, fewer) = (&editions[3], &editions[4]);
        story.advance_to("2026-07-20T00:00:00Z").await;
        story.serves(more).await;
        for later in &editions[5..7] {
            assert_eq!(story.import(later).await.held, 1, "{}", later.issued);
            story.serves(more).await;
        }
        assert_eq!(story.listed(State::Held).await.len(), 3);
        let third = &editions[7];
        assert_eq!(story.import(third).await.held, 0, "the third to agree");
        story.has_ended_with(third, &editions).await;

        let (states, cause) = story.went_through(fewer).await;
        assert_eq!(states, ["held", "current", "superseded"]);
        assert!(cause.contains(&third.issued.to_string()), "{cause}");
        let released = story.events("hold.released", fewer).await;
        assert_eq!(released.len(), 1);
        assert!(
            released[0].contains("3 later editions agree"),
            "{released:?}"
        );
        for held in &editions[5..] {
            assert_eq!(story.events("hold.started", held).await.len(), 1);
            assert_eq!(story.events("hold.released", held).await.len(), 1);
        }
    }
}

#[tokio::test]
async fn an_operator_ends_a_hold_at_once() {
    let Some(intel) = support::vectors() else {
        return;
    };
    let editions = editions(&intel);
    for restarts in [false, true] {
        let mut story = Story::begin(&intel, None, restarts).await;
        story.until_the_hold(&editions).await;
        let (more, fewer) = (&editions[3], &editions[4]);
        let release = async |story: &Story, id: &str| {
            operations::release(&story.kept().collateral, id, "an operator", story.now())
                .await
                .expect("the store")
        };
        assert_eq!(
            release(&story, &more.id).await,
            Released::NotHeld {
                state: State::Current
            }
        );
        assert_eq!(release(&story, &fewer.id[..7]).await, Released::NotFound);
        story.serves(more).await;
        assert_eq!(
            release(&story, &fewer.id[..8]).await,
            Released::Done {
                key: KEY,
                id: fewer.id.parse().expect("an id")
            }
        );
        story.serves(fewer).await;
        story.step().await;
        story.has_ended_with(fewer, &editions[..5]).await;
        assert_eq!(
            release(&story, &fewer.id).await,
            Released::NotHeld {
                state: State::Current
            }
        );
        let (states, cause) = story.went_through(fewer).await;
        assert_eq!(states, ["held", "current"]);
        assert_eq!(cause, "released by an operator");
        let released = story.events("hold.released", fewer).await;
        assert_eq!(released.len(), 1);
        assert!(
            released[0].contains("released by an operator"),
            "{released:?}"
        );
    }
}

#[tokio::test]
async fn a_hold_ends_a_day_before_the_edition_that_is_served_would() {
    let Some(intel) = support::vectors() else {
        return;
    };
    let editions = editions(&intel);
    let mut story = Story::begin(&intel, Some("60d"), true).await;
    story.until_the_hold(&editions).await;
    let (more, fewer) = (&editions[3], &editions[4]);
    // Its next update is 2026-08-15T08:17:09Z.
    story.advance_to("2026-08-14T08:17:08Z").await;
    story.serves(more).await;
    story.advance_to("2026-08-14T08:17:09Z").await;
    story.serves(fewer).await;
    story.has_ended_with(fewer, &editions[..5]).await;
}
