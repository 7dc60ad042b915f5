//! A keeper over a store of its own, with a clock moved by hand and nobody to ask.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thim_client::ImportReport;
use thim_server::clock::Clock;
use thim_server::collateral::{Collateral, Settings};
use thim_server::metrics::Metrics;
use thim_server::store::EditionFilter;
use thim_server::{freshness, intake, sentinel, upstream};
use thim_verify::{TrustAnchors, UnixTime};

/// A keeper for tests.
pub struct Kept {
    pub collateral: Arc<Collateral>,
    pub clock: Clock,
    anchors: TrustAnchors,
    sentinel: sentinel::Config,
    // Removed when the keeper is dropped.
    folder: tempfile::TempDir,
}

impl Kept {
    pub async fn open(anchors: TrustAnchors, now: &str) -> Self {
        Self::open_with(anchors, now, sentinel::Config::default()).await
    }

    pub async fn open_with(anchors: TrustAnchors, now: &str, sentinel: sentinel::Config) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::by_hand(instant(now));
        let collateral = open(folder.path(), &anchors, &sentinel, &clock).await;
        Self {
            collateral,
            clock,
            anchors,
            sentinel,
            folder,
        }
    }

    /// Closes the store and opens it again: a restart.
    pub async fn restart(self) -> Self {
        self.collateral.store().close().await;
        let Self {
            collateral,
            clock,
            anchors,
            sentinel,
            folder,
        } = self;
        drop(collateral);
        let collateral = open(folder.path(), &anchors, &sentinel, &clock).await;
        Self {
            collateral,
            clock,
            anchors,
            sentinel,
            folder,
        }
    }

    /// Moves the clock, and does what time alone decides.
    pub async fn advance_to(&self, now: UnixTime) {
        self.clock
            .advance_millis(now.since(self.clock.now()) * 1000);
        self.collateral
            .tick(self.clock.now())
            .await
            .expect("the store");
    }

    pub async fn import(&self, paths: &[&Path]) -> ImportReport {
        let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
        let gathered = intake::read(&paths, &mut |_| {});
        self.import_gathered(gathered).await
    }

    pub async fn import_gathered(&self, what: impl Into<intake::Gathered>) -> ImportReport {
        let mut last = (0, 0);
        let report = intake::import(
            &self.collateral,
            what,
            self.clock.now(),
            &mut |done, total| last = (done, total),
        )
        .await
        .expect("the store");
        assert_eq!(last.0, last.1, "the progress ends at its end");
        report
    }

    /// Every edition's id with its key and state.
    pub async fn states(&self) -> BTreeMap<String, (String, String)> {
        let filter = EditionFilter {
            limit: u32::MAX,
            ..EditionFilter::default()
        };
        let rows = self.collateral.editions(&filter).await.expect("the store");
        rows.into_iter()
            .map(|row| {
                (
                    row.id.to_string(),
                    (row.key.to_string(), row.state.to_string()),
                )
            })
            .collect()
    }
}

async fn open(
    folder: &Path,
    anchors: &TrustAnchors,
    sentinel: &sentinel::Config,
    clock: &Clock,
) -> Arc<Collateral> {
    let nobody = upstream::Config {
        upstream: Vec::new(),
        ..upstream::Config::default()
    };
    let nobody_of_amd = upstream::AmdConfig {
        upstream: Vec::new(),
        ..upstream::AmdConfig::default()
    };
    let settings = Settings {
        data: folder,
        anchors: anchors.clone(),
        amd_anchors: thim_verify::amd::Anchors::builtin(),
        intel: &nobody,
        amd: &nobody_of_amd,
        freshness: freshness::Config::default(),
        sentinel: sentinel.clone(),
        clock: clock.clone(),
        view_past: false,
    };
    Collateral::open(settings, Metrics::new)
        .await
        .expect("a store")
}

pub fn instant(text: &str) -> UnixTime {
    text.parse().expect("a date")
}

/// `vectors/intel`, where it is to be had.
pub fn vectors() -> Option<PathBuf> {
    found(shared().join("intel"), "index.csv")
}

/// What Intel's PCCS was given and answered, beside the vectors.
pub fn conformance() -> Option<PathBuf> {
    found(
        shared()
            .parent()
            .map(|parent| parent.join("conformance"))
            .unwrap_or_default(),
        "platform_collaterals.json",
    )
}

#[allow(
    clippy::disallowed_methods,
    reason = "where the vectors are is the tester's word"
)]
fn shared() -> PathBuf {
    std::env::var_os("THIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    )
}

fn found(folder: PathBuf, file: &str) -> Option<PathBuf> {
    let found = folder.join(file).is_file();
    if !found {
        println!("skipped: no vectors");
    }
    found.then_some(folder)
}
