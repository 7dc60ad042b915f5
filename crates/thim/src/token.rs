//! `thim token`: create, list and revoke access tokens.
//!
//! A token is made here, of 256 random bits, and shown once. The service, or the store, learns its SHA-256 alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use data_encoding::HEXLOWER;
use thim_client::{ClientError, NewToken, TokenSummary};
use thim_server::access::acts::{self, Created, Revoked};
use thim_server::access::{Act as Scope, Caller, Role};
use thim_server::secret;
use thim_verify::{Digest, UnixTime};

use crate::collateral::carry_out;
use crate::place::{Opened, Place};
use crate::tables;

/// Create, list and revoke access tokens
///
/// Exit codes: 0 yes; 1 no (there is no such token, it was revoked before, it cannot be made); 2 could not tell.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// Make a token and print it, once
    Create {
        /// What people call it: 1 to 64 printable characters, no secret
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it is for: reader, registrar or admin; each may do what the ones before may
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// Only this act of the role; may be repeated: baselines:read, platforms:read, platforms:register,
        /// platforms:manage, baselines, collateral, policies, tokens, keys
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
        /// From when on it is good no longer [default: never]
        #[arg(long, value_name = "RFC3339")]
        expires: Option<UnixTime>,
        /// Write it to this new file, readable by its owner alone, instead of printing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// All tokens, by when they were made; never the tokens themselves
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a token
    Revoke {
        /// The token's id: 16 hex digits
        #[arg(value_parser = token_id)]
        id: String,
    },
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    let Args { place, act } = args;
    carry_out(async {
        match act {
            Act::Create {
                name,
                role,
                scopes,
                expires,
                out,
            } => {
                let scopes = scopes.iter().map(|scope| scope.scope().to_owned());
                let wanted = NewToken {
                    name,
                    role: role.to_string(),
                    scopes: scopes.collect(),
                    expires: expires.map(|at| at.to_string()),
                    sha256: String::new(),
                };
                create(&place, wanted, out.as_deref()).await
            }
            Act::List { json } => list(&place, json).await,
            Act::Revoke { id } => revoke(&place, &id).await,
        }
    })
}

async fn create(place: &Place, wanted: NewToken, out: Option<&Path>) -> Result<bool, String> {
    let mut random = [0; 32];
    crate::entropy(&mut random).map_err(text)?;
    let token = HEXLOWER.encode(&random);
    let wanted = NewToken {
        sha256: Digest::of(token.as_bytes()).to_string(),
        ..wanted
    };
    // Written before it is good for anything: a token that nobody has must not be there.
    if let Some(path) = out {
        keep(path, &token)?;
    }
    let made = introduce(place, &wanted).await;
    match (&made, out) {
        (Ok(Ok(made)), Some(path)) => {
            eprintln!("token {} ({}) is in {}", made.id, made.name, path.display());
        }
        (Ok(Ok(made)), None) => {
            eprintln!("token {} ({}); it is not shown again:", made.id, made.name);
            tables::say(&token);
        }
        (Ok(Err(_)) | Err(_), Some(path)) => {
            std::fs::remove_file(path)
                .map_err(|error| format!("{}: {error}; it is worth nothing", path.display()))?;
        }
        (Ok(Err(_)) | Err(_), None) => {}
    }
    match made? {
        Ok(_) => Ok(true),
        Err(why) => {
            eprintln!("thim: {why}");
            Ok(false)
        }
    }
}

/// Tells the service or the store of a token; the inner error is its no.
async fn introduce(
    place: &Place,
    wanted: &NewToken,
) -> Result<Result<TokenSummary, String>, String> {
    let opened = place.open_to_change().await?;
    let made = match &opened {
        Opened::Service(client) => match client.post(TOKENS, wanted) {
            Ok(made) => Ok(made),
            // It says no, as opposed to not being able to tell.
            Err(ClientError::Problem(problem)) if matches!(problem.status, 400 | 409) => {
                Err(problem.detail.unwrap_or(problem.title))
            }
            Err(error) => return Err(text(error)),
        },
        Opened::Store(collateral, clock) => {
            let by = Caller::admin("the command line");
            match acts::create(collateral, None, wanted, &by, clock.now())
                .await
                .map_err(text)?
            {
                Created::Beyond { act } => Err(format!("not good for {}", act.scope())),
                Created::Done(made) => Ok(made),
                Created::Full => Err("there are too many tokens; revoke some".to_owned()),
                Created::Known => Err("the token is known; make another one".to_owned()),
                Created::Wrong(why) => Err(why),
            }
        }
    };
    opened.close().await;
    Ok(made)
}

async fn list(place: &Place, json: bool) -> Result<bool, String> {
    let opened = place.open().await?;
    let tokens = match &opened {
        Opened::Service(client) => client.get(TOKENS).map_err(text)?,
        Opened::Store(collateral, clock) => {
            acts::list(collateral, clock.now()).await.map_err(text)?
        }
    };
    opened.close().await;
    if json {
        tables::json(&tokens)?;
    } else {
        show(&tokens);
    }
    Ok(true)
}

async fn revoke(place: &Place, id: &str) -> Result<bool, String> {
    let opened = place.open_to_change().await?;
    let (said, done) = match &opened {
        Opened::Service(client) => match client.delete(&format!("{TOKENS}/{id}")) {
            Ok(ended) => (revoked(&ended), true),
            Err(ClientError::Problem(problem)) if matches!(problem.status, 404 | 409) => {
                (problem.title, false)
            }
            Err(error) => return Err(text(error)),
        },
        Opened::Store(collateral, clock) => {
            match acts::revoke(collateral, None, id, "the command line", clock.now())
                .await
                .map_err(text)?
            {
                Revoked::Already(_) => ("The token was revoked before".to_owned(), false),
                Revoked::Done(ended) => (revoked(&ended), true),
                Revoked::NotFound => ("No such token".to_owned(), false),
            }
        }
    };
    opened.close().await;
    if done {
        tables::say(said);
    } else {
        eprintln!("thim: {said}");
    }
    Ok(done)
}

fn revoked(token: &TokenSummary) -> String {
    let name = tables::printable(&token.name);
    format!("token {} ({name}) is good no longer", token.id)
}

fn show(tokens: &[TokenSummary]) {
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|token| {
            let end = token.revoked.as_ref().or(token.expires.as_ref());
            let scopes = token.scopes.join(" ");
            vec![
                token.id.clone(),
                token.state.clone(),
                token.role.clone(),
                token.created.clone(),
                end.cloned().unwrap_or_else(|| "-".to_owned()),
                tables::printable(&token.name),
                scopes,
            ]
        })
        .collect();
    tables::print(&rows);
}

/// Writes a token where nothing is yet: a file that is there may be a token in use.
fn keep(path: &Path, token: &str) -> Result<(), String> {
    if path.exists() {
        return Err(format!("{}: it is there already", path.display()));
    }
    secret::write(path, format!("{token}\n").as_bytes())
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn token_id(text: &str) -> Result<String, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits && text.len() == 16 {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("16 hex digits are wanted".to_owned())
    }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "for map_err, which gives a value"
)]
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Where the own API has them.
const TOKENS: &str = "/thim/v1/tokens";
