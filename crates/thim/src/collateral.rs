//! `thim collateral`: import, look at, release, export and refresh what is held.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use thim_client::{EditionSummary, ImportReport};
use thim_server::config::LogFormat;
use thim_server::intake;
use thim_server::operations::{self, Released};
use thim_server::refresh;
use thim_server::sentinel::State;
use thim_verify::{ArtefactKey, UnixTime};

use crate::place::{Opened, Place};
use crate::progress::Progress;
use crate::{remote, tables};

/// Import, list, show, release, export and refresh collateral
///
/// Exit codes: 0 yes; 1 no (something was refused, there is no such edition, it is not held); 2 could not tell.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// What happened, oldest first
    Events {
        /// Only events after the one with this number
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: i64,
        /// Only events about this key
        #[arg(long)]
        key: Option<ArtefactKey>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write editions to files, with the certificates that verify them; `import` reads them back
    Export {
        /// The folder to write to
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
        /// Only this key
        #[arg(long)]
        key: Option<ArtefactKey>,
        /// History too, not only what is current
        #[arg(long)]
        all: bool,
    },
    /// Every edition of a key, with every change of its state
    History {
        /// The key, for instance intel/pck-crl/platform
        key: ArtefactKey,
        /// What THIM itself knew at this instant
        #[arg(long, value_name = "RFC3339")]
        known_at: Option<UnixTime>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take in files and folders: vendors' JSON answers, CRLs (DER, PEM, hex), quote-verification bundles, PCCS
    /// platform_collaterals.json, issuer certificates; of AMD's: VCEKs, VLEKs, chains, CRLs, the metadata service's JSON
    /// and its Base64, a hypervisor's certificate table
    ///
    /// Their order never matters. Expired and older material becomes history. Run it again after it was cut short.
    /// Exit code 1 when anything was refused.
    Import {
        /// Files and folders
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Editions by key and issue date
    List {
        /// Only this key
        #[arg(long)]
        key: Option<ArtefactKey>,
        /// Only this state: archived, current, held, quarantined or superseded
        #[arg(long)]
        state: Option<State>,
        /// What THIM itself knew at this instant
        #[arg(long, value_name = "RFC3339")]
        known_at: Option<UnixTime>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the vendors for what is due
    Refresh {
        /// Only say what would be asked for, and why
        #[arg(long)]
        dry_run: bool,
        /// Everything, due or not
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a held edition through
    Release {
        /// The edition's id, or its first 8 digits or more
        #[arg(value_parser = edition_id)]
        id: String,
    },
    /// The edition of a key that is served now, else the newest
    Show {
        /// The key, for instance intel/tcb-info/tdx/v3/90C06F000000/18
        key: ArtefactKey,
        /// Print the document itself, byte for byte as it is served
        #[arg(long, conflicts_with = "json")]
        body: bool,
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
            Act::Events {
                after,
                key,
                limit,
                json,
            } => events(&place, after, key, limit, json).await,
            Act::Export { output, key, all } => export(&place, output, key, all).await,
            Act::History {
                key,
                known_at,
                json,
            } => history(&place, key, known_at, json).await,
            Act::Import { paths, json } => import(&place, paths, json).await,
            Act::List {
                key,
                state,
                known_at,
                limit,
                json,
            } => list(&place, key, state, known_at, limit, json).await,
            Act::Refresh { dry_run, all, json } => refreshed(&place, all, dry_run, json).await,
            Act::Release { id } => release(&place, &id).await,
            Act::Show { key, body, json } => show(&place, key, body, json).await,
        }
    })
}

/// Runs a command that says yes, says no, or cannot tell: exit codes 0, 1 and 2.
pub fn carry_out(command: impl Future<Output = Result<bool, String>>) -> ExitCode {
    crate::log_to_stderr(LogFormat::Human, crate::COMMAND_LOG);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return crate::failed(&error),
    };
    match runtime.block_on(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => crate::failed(&error),
    }
}

async fn import(place: &Place, paths: Vec<PathBuf>, json: bool) -> Result<bool, String> {
    let opened = place.open_to_change().await?;
    let report: ImportReport = match &opened {
        Opened::Service(client) => remote::import(client, &paths)?,
        Opened::Store(collateral, clock) => {
            let mut reading = Progress::new("reading");
            let gathered = intake::read(&paths, &mut |files| {
                reading.at(usize::try_from(files).unwrap_or(usize::MAX), 0)
            });
            drop(reading);
            let chips = place.chips(collateral).await?;
            let mut importing = Progress::new("importing");
            intake::import(&chips, gathered, clock.now(), &mut |done, total| {
                importing.at(done, total)
            })
            .await
            .map_err(|error| {
                format!("{error}; what was admitted so far stays, run it again to finish")
            })?
        }
    };
    opened.close().await;
    if json {
        tables::json(&report)?;
    } else {
        tables::import(&report);
    }
    Ok(report.refused.is_empty())
}

async fn list(
    place: &Place,
    key: Option<ArtefactKey>,
    state: Option<State>,
    known_at: Option<UnixTime>,
    limit: u32,
    json: bool,
) -> Result<bool, String> {
    let opened = place.open().await?;
    let editions = match &opened {
        Opened::Service(client) => remote::list(
            client,
            key,
            state.map(|state| state.to_string()),
            known_at,
            limit,
        )
        .map_err(text)?,
        Opened::Store(collateral, clock) => {
            operations::list(collateral, key, state, clock.now(), known_at, limit, 0)
                .await
                .map_err(text)?
        }
    };
    opened.close().await;
    if json {
        tables::json(&editions)?;
    } else {
        tables::editions(&editions);
    }
    Ok(true)
}

async fn show(place: &Place, key: ArtefactKey, body: bool, json: bool) -> Result<bool, String> {
    let opened = place.open().await?;
    let mut document = None;
    let edition: Option<EditionSummary> = match &opened {
        Opened::Service(_) if body => {
            return Err(
                "--body needs --data; a service gives it at /thim/v1/editions/ID/document"
                    .to_owned(),
            );
        }
        Opened::Service(client) => remote::show(client, key).map_err(text)?,
        Opened::Store(collateral, clock) => {
            let edition = operations::show(collateral, key, clock.now())
                .await
                .map_err(text)?;
            if let Some(id) = edition
                .as_ref()
                .filter(|_| body)
                .and_then(|edition| edition.id.parse().ok())
            {
                document = collateral.store().document(id).await.map_err(text)?;
            }
            edition
        }
    };
    opened.close().await;
    let Some(edition) = edition else {
        eprintln!("thim: there is no edition of {key}");
        return Ok(false);
    };
    if let Some(document) = document {
        std::io::stdout().write_all(&document).map_err(text)?;
    } else if json {
        tables::json(&edition)?;
    } else {
        tables::edition(&edition);
    }
    Ok(true)
}

async fn history(
    place: &Place,
    key: ArtefactKey,
    known_at: Option<UnixTime>,
    json: bool,
) -> Result<bool, String> {
    let opened = place.open().await?;
    let editions = match &opened {
        Opened::Service(client) => remote::history(client, key, known_at).map_err(text)?,
        Opened::Store(collateral, clock) => {
            operations::history(collateral, key, clock.now(), known_at)
                .await
                .map_err(text)?
        }
    };
    opened.close().await;
    if json {
        tables::json(&editions)?;
    } else {
        tables::history(&editions);
    }
    if editions.is_empty() {
        eprintln!("thim: there is no edition of {key}");
    }
    Ok(!editions.is_empty())
}

async fn events(
    place: &Place,
    after: i64,
    key: Option<ArtefactKey>,
    limit: u32,
    json: bool,
) -> Result<bool, String> {
    let opened = place.open().await?;
    let events = match &opened {
        Opened::Service(client) => remote::events(client, after, key, limit).map_err(text)?,
        Opened::Store(collateral, _) => operations::events(collateral, after, key, limit)
            .await
            .map_err(text)?,
    };
    opened.close().await;
    if json {
        tables::json(&events)?;
    } else {
        tables::events(&events);
    }
    Ok(true)
}

async fn export(
    place: &Place,
    output: PathBuf,
    key: Option<ArtefactKey>,
    all: bool,
) -> Result<bool, String> {
    let opened = place.open().await?;
    let exported = match &opened {
        Opened::Service(_) => {
            return Err("export needs --data: it writes files from the store".to_owned());
        }
        Opened::Store(collateral, clock) => {
            intake::export(collateral, key, all, clock.now(), &output)
                .await
                .map_err(text)?
        }
    };
    opened.close().await;
    tables::say(format_args!(
        "{} editions, {} certificates of issuers, {} of chips and clouds in {}",
        exported.editions,
        exported.certificates,
        exported.endorsements,
        output.display()
    ));
    Ok(exported.editions > 0 || exported.endorsements > 0)
}

async fn refreshed(place: &Place, all: bool, dry_run: bool, json: bool) -> Result<bool, String> {
    let opened = if dry_run {
        place.open().await?
    } else {
        place.open_to_fetch().await?
    };
    let report = match &opened {
        Opened::Service(client) => remote::refresh(client, all, dry_run).map_err(text)?,
        Opened::Store(collateral, clock) => refresh::run(collateral, clock, all, dry_run)
            .await
            .map_err(text)?,
    };
    opened.close().await;
    if json {
        tables::json(&report)?;
    } else {
        tables::refresh(&report);
    }
    Ok(dry_run
        || report
            .steps
            .iter()
            .all(|step| step.outcome.as_deref() == Some(REFRESHED)))
}

async fn release(place: &Place, id: &str) -> Result<bool, String> {
    let opened = place.open_to_change().await?;
    let (said, done) = match &opened {
        Opened::Service(client) => match remote::release(client, id) {
            Ok(_) => (format!("released {id}"), true),
            // It says no, as opposed to not being able to tell.
            Err(thim_client::ClientError::Problem(problem))
                if matches!(problem.status, 404 | 409) =>
            {
                (problem.detail.unwrap_or(problem.title), false)
            }
            Err(error) => return Err(text(error)),
        },
        Opened::Store(collateral, clock) => {
            match operations::release(collateral, id, "the command line", clock.now())
                .await
                .map_err(text)?
            {
                Released::Ambiguous => (
                    format!("more than one edition's id begins with {id}"),
                    false,
                ),
                Released::Done { key, id } => (format!("released {id} of {key}"), true),
                Released::NotFound => (format!("no edition's id begins with {id}"), false),
                Released::NotHeld { state } => (format!("{id} is {state}, not held"), false),
            }
        }
    };
    opened.close().await;
    if done {
        tables::say(format_args!("{said}"));
    } else {
        eprintln!("thim: {said}");
    }
    Ok(done)
}

fn edition_id(text: &str) -> Result<String, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits && (8..=64).contains(&text.len()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("8 to 64 hex digits are wanted".to_owned())
    }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "for map_err, which gives a value"
)]
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What a refresh says of a step that gave what was asked for.
const REFRESHED: &str = "confirmed or renewed";
