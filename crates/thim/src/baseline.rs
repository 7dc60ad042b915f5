//! `thim baseline`: what platforms have to be, drafted in files, looked at in forecasts, promoted, rolled back, and all of it
//! on record.

mod acts;
mod forecast;
mod reading;
mod statement;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use thim_server::baseline::{BaselineTee, Scope};
use thim_verify::{Digest, UnixTime};

use crate::collateral::carry_out;
use crate::place::Place;

/// Set what platforms have to be: draft, forecast, promote, roll back
///
/// A baseline says for one TEE, and for everybody or one tenant, which TCB evaluation number counts and which statuses are
/// accepted (Intel), or the least TCB of each product (AMD). It moves only by a recorded act, after a forecast.
///
/// Exit codes: 0 yes; 1 no (a difference, platforms would drop out, refused, a broken chain); 2 could not tell.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// Draft what a file declares, where it says something new; nothing is in force by that
    Apply {
        /// The file (TOML)
        file: PathBuf,
        /// Who drafts, on the record (with --service: the token's name)
        #[arg(long, value_name = "NAME", default_value = acts::AUTHOR)]
        author: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// How a file differs from what is promoted; exit code 1 where it does
    Diff {
        /// The file (TOML)
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Throw a draft away
    #[command(disable_version_flag = true)]
    Discard(TakeBackArgs),
    /// Who would drop out under another rule, why, and what would raise them; exit code 1 where somebody would
    Forecast(forecast::ForecastArgs),
    /// What holds for everybody, and what is to come
    List {
        /// Only this TEE: sgx, tdx or sev-snp
        #[arg(long, value_name = "TEE")]
        tee: Option<BaselineTee>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What was done, when, by whom and why
    Log {
        /// Follow the chain of hashes from its beginning; exit code 1 where it is broken
        #[arg(long)]
        verify: bool,
        /// The hash that the chain has to contain: one that was noted earlier, from this command or a statement
        #[arg(long, value_name = "HASH", requires = "verify")]
        head: Option<Digest>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a draft in force, after a forecast
    #[command(disable_version_flag = true)]
    Promote {
        #[command(flatten)]
        wish: WishArgs,
        /// From when on [default: at once]
        #[arg(long, value_name = "RFC3339")]
        effective: Option<UnixTime>,
    },
    /// Put an older version's rule in force again, at once, as a new version
    #[command(disable_version_flag = true)]
    Rollback(WishArgs),
    /// One baseline with every version it ever had
    Show {
        #[command(flatten)]
        which: Which,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a new key for statements; the old one verifies until what it signed has ended (wants --service)
    RotateKey,
    /// Print a baseline's signed statement, or judge one from a file (wants --service, but for --verify)
    Statement(statement::StatementArgs),
    /// Take a promotion back that has not taken effect
    #[command(disable_version_flag = true)]
    Withdraw(TakeBackArgs),
}

/// Which baseline.
#[derive(clap::Args, Clone, Debug)]
struct Which {
    /// sgx, tdx or sev-snp
    #[arg(long, value_name = "TEE")]
    tee: BaselineTee,
    /// Whose: a tenant's name, floor, or default
    #[arg(long, value_name = "TENANT", default_value = "default")]
    tenant: Scope,
}

/// A promotion or rollback that is wanted.
#[derive(clap::Args, Clone, Debug)]
struct WishArgs {
    #[command(flatten)]
    which: Which,
    /// Which version [default: the newest draft; of a rollback: the version in force before]
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// The digest that `thim baseline forecast` printed (of a rollback: with --to version:N)
    #[arg(long, value_name = "DIGEST")]
    forecast: Digest,
    /// So many platforms may drop out
    #[arg(long, value_name = "N", default_value_t = 0)]
    accept: u32,
    /// Why, on the record; a rollback wants one
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Who acts, on the record (with --service: the token's name)
    #[arg(long, value_name = "NAME", default_value = acts::AUTHOR)]
    author: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Something to take back.
#[derive(clap::Args, Clone, Debug)]
struct TakeBackArgs {
    #[command(flatten)]
    which: Which,
    /// Which version
    #[arg(long, value_name = "N")]
    version: u32,
    /// Why, on the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Who acts, on the record (with --service: the token's name)
    #[arg(long, value_name = "NAME", default_value = acts::AUTHOR)]
    author: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    let Args { place, act } = args;
    carry_out(async {
        match act {
            Act::Apply { file, author, json } => acts::apply(&place, &file, &author, json).await,
            Act::Diff { file, json } => reading::diff(&place, &file, json).await,
            Act::Discard(args) => acts::discard(&place, &args).await,
            Act::Forecast(args) => forecast::run(&place, &args).await,
            Act::List { tee, json } => reading::list(&place, tee, json).await,
            Act::Log { verify, head, json } => reading::log(&place, verify, head, json).await,
            Act::Promote { wish, effective } => acts::promote(&place, &wish, effective).await,
            Act::Rollback(wish) => acts::roll_back(&place, &wish).await,
            Act::RotateKey => statement::rotate(&place).await,
            Act::Statement(args) => statement::run(&place, &args).await,
            Act::Show { which, json } => reading::show(&place, &which, json).await,
            Act::Withdraw(args) => acts::withdraw(&place, &args).await,
        }
    })
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "for map_err, which gives a value"
)]
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Where the own API has them.
const BASELINES: &str = "/thim/v1/baselines";
