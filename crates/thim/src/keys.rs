//! `thim keys`: the key that secrets are sealed under at rest.

use std::process::ExitCode;

use clap::Subcommand;
use thim_client::{ClientError, RotationReport};
use thim_server::sealing::{self, Sealer, Step};

use crate::collateral::carry_out;
use crate::place::{Opened, Place};
use crate::progress::Progress;
use crate::tables;

/// Change the key that platform manifests and encrypted PPIDs are sealed under
///
/// Exit codes: 0 done; 1 done, and something could not be unsealed and is lost, or it is being done already; 2 could
/// not tell.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// Make a new key, seal everything anew, and drop the old key
    ///
    /// Cut short at any point, everything stays readable; run it again to finish.
    Rotate {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    let Args { place, act } = args;
    carry_out(async {
        match act {
            Act::Rotate { json } => rotate(&place, json).await,
        }
    })
}

async fn rotate(place: &Place, json: bool) -> Result<bool, String> {
    let opened = place.open_to_change().await?;
    let rotated: Result<RotationReport, String> = match &opened {
        Opened::Service(client) => {
            match client.post("/thim/v1/keys/rotate", &serde_json::json!({})) {
                Err(ClientError::Problem(problem)) if problem.status == 409 => Err(problem.title),
                other => Ok(other.map_err(|error| error.to_string())?),
            }
        }
        Opened::Store(collateral, clock) => {
            let (sealer, fresh) = Sealer::open(place.directory()?.as_path(), crate::entropy)
                .map_err(|error| error.to_string())?;
            if fresh {
                eprintln!("thim: there was no {}; one is made", sealing::KEY_FILE);
            }
            let mut progress = Progress::new("sealing anew");
            let done = sealing::rotate_keys(
                collateral,
                &sealer,
                "the command line",
                clock.now(),
                &mut |step| match step {
                    Step::Resealed(count) => {
                        progress.at(usize::try_from(count).unwrap_or(usize::MAX), 0);
                    }
                    Step::KeyAdded | Step::OldKeysDropped => {}
                },
            )
            .await;
            drop(progress);
            Ok(done.map_err(|error| {
                format!("{error}; everything stays readable, run it again to finish")
            })?)
        }
    };
    opened.close().await;
    let report = match rotated {
        Ok(report) => report,
        Err(why) => {
            eprintln!("thim: {why}");
            return Ok(false);
        }
    };
    if json {
        tables::json(&report)?;
    } else {
        tables::print(&[
            vec!["resealed".to_owned(), report.resealed.to_string()],
            vec!["lost".to_owned(), report.lost.to_string()],
        ]);
    }
    Ok(report.lost == 0)
}
