//! `thim platform import-pccs`: into a store that is open, or to a service, platform by platform.

mod body;
mod sending;

use std::path::Path;

use thim_server::intake::pccs_db::{PccsDatabase, PccsReport, Step, import_pccs};

use super::{authority, text};
use crate::place::{Intent, Place, Register};
use crate::progress::Progress;
use crate::tables;

/// Takes over a database; true where nothing of it was refused.
pub async fn import(place: &Place, database: &Path, json: bool) -> Result<bool, String> {
    // Looked at first: a wrong file must not make a store.
    let mut database = PccsDatabase::open(database).await.map_err(text)?;
    let register = place.open_register(Intent::Change).await?;
    let report = match &register {
        Register::Service(client) => sending::send(client, &mut database).await,
        Register::Store(platforms, clock) => {
            let mut shown = Shown::default();
            // Names that are another's stay so: whoever may move them does it one by one.
            import_pccs(
                platforms,
                &mut database,
                &authority(false),
                clock.now(),
                &mut |step| shown.at(step),
            )
            .await
            .map_err(text)
        }
    };
    register.close().await;
    let report = report.map_err(|error| {
        format!("{error}; what was taken over before stays, run it again to finish")
    })?;
    if json {
        tables::json(&report)?;
    } else {
        print(&report);
    }
    Ok(report.refused_count == 0)
}

/// Progress of the two long parts, one after the other.
#[derive(Default)]
struct Shown {
    collateral: Option<Progress>,
    platforms: Option<Progress>,
}

impl Shown {
    fn at(&mut self, step: Step) {
        let whole = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        match step {
            Step::Collateral(done, total) => self
                .collateral
                .get_or_insert_with(|| Progress::new("collateral"))
                .at(done, total),
            Step::Platforms(done, total) => {
                self.collateral = None;
                self.platforms
                    .get_or_insert_with(|| Progress::new("platforms"))
                    .at(whole(done), whole(total));
            }
        }
    }
}

fn print(report: &PccsReport) {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let version = report
        .db_version
        .map_or_else(|| "unknown".to_owned(), |version| version.to_string());
    let collateral = &report.collateral;
    tables::print(&[
        row("database version", version),
        row("platforms", report.platforms.to_string()),
        row("registrations that wait", report.waiting.to_string()),
        row("appraisal policies", report.policies.to_string()),
        row("collateral admitted", collateral.admitted.to_string()),
        row("collateral known", collateral.known.to_string()),
        row("collateral held", collateral.held.to_string()),
        row("collateral future", collateral.future.to_string()),
        row("refused", report.refused_count.to_string()),
    ]);
    for lack in &report.lacks {
        tables::say(format_args!("  note: {}", tables::printable(lack)));
    }
    for refused in &report.refused {
        tables::say(format_args!(
            "  {} ({}): {}",
            tables::printable(&refused.path),
            refused.kind,
            tables::printable(&refused.reason)
        ));
    }
    let untold = report.refused_count - report.refused.len() as u64;
    if untold > 0 {
        tables::say(format_args!("  and {untold} more"));
    }
}
