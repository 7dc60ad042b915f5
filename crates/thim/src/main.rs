//! `thim`: the service and its command line. Here the clock, the environment and the exit code are dealt with;
//! everything else is in the libraries.
//!
//! Exit codes of the commands: 0 yes; 1 no (something refused, nothing to release); 2 could not tell (bad
//! arguments, an unreadable store, an unreachable service).

#![forbid(unsafe_code)]

mod agent;
mod baseline;
mod collateral;
mod config;
mod keys;
mod place;
mod platform;
mod progress;
mod remote;
mod serve;
mod sim;
mod status;
mod tables;
mod token;
mod verify;
mod verify_amd;

use std::fmt::Display;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thim_server::config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Trusted Hardware Identity Management: fetches, verifies, keeps, governs and serves the certificates and
/// collateral of trusted execution environments.
#[derive(Parser)]
#[command(name = "thim", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Agent(agent::Args),
    Baseline(baseline::Args),
    Collateral(collateral::Args),
    Config(config::Args),
    Keys(keys::Args),
    Platform(platform::Args),
    Serve(serve::Args),
    Sim(sim::Args),
    Status(status::Args),
    Token(token::Args),
    Verify(verify::Args),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Agent(args) => agent::run(args),
        Command::Baseline(args) => baseline::run(args),
        Command::Collateral(args) => collateral::run(args),
        Command::Config(args) => config::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Platform(args) => platform::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Sim(args) => sim::run(args),
        Command::Status(args) => status::run(args),
        Command::Token(args) => token::run(args),
        Command::Verify(args) => verify::run(args),
    }
}

/// The system's randomness.
fn entropy(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(|error| std::io::Error::other(format!("no randomness: {error}")))
}

/// Says why a command could not tell, and exits with 2.
fn failed(error: &(impl Display + ?Sized)) -> ExitCode {
    eprintln!("thim: {error}");
    ExitCode::from(2)
}

/// Begins to log to stderr. `THIM_LOG`, else `RUST_LOG`, replaces the `default` filter.
fn log_to_stderr(format: LogFormat, default: &str) {
    let filter = ["THIM_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| EnvFilter::try_from_env(name).ok())
        .unwrap_or_else(|| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Only the first call of a process counts; there is one.
    let _ = match format {
        LogFormat::Human => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}

/// The filter of commands that are not services: their events are in the store, and what fails is said on stderr.
const COMMAND_LOG: &str = "error,thim_server=off";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn no_option_stands_twice() {
        super::Arguments::command().debug_assert();
    }
}
