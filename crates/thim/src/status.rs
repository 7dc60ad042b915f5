//! `thim status`: what is held and how fresh it is.

use std::process::ExitCode;

use thim_server::operations;

use crate::place::{Opened, Place};
use crate::tables;

/// What is held, how fresh it is, and what trusts it
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command: 0, or 2 where it cannot tell.
pub fn run(args: Args) -> ExitCode {
    crate::collateral::carry_out(async {
        let opened = args.place.open().await?;
        let status = match &opened {
            Opened::Service(client) => client
                .get("/thim/v1/status")
                .map_err(|error| error.to_string())?,
            Opened::Store(collateral, clock) => {
                let now = clock.now();
                operations::status(collateral, clock.is_simulated(), now)
                    .await
                    .map_err(|error| error.to_string())?
            }
        };
        opened.close().await;
        if args.json {
            tables::json(&status)?;
        } else {
            tables::status(&status);
        }
        Ok(true)
    })
}
