//! `thim config`: look at a configuration, and make one of PCCS's.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use thim_server::clock::Clock;
use thim_server::config::check::check;
use thim_server::config::convert::{Around, Converted, Fate, Note, convert};
use thim_server::config::{Config, ConfigError};
use thim_server::secret;

use crate::tables;

/// Check a configuration, or make one from that of Intel's PCCS
///
/// Examples:
///
///   thim config check /etc/thim/thim.toml
///
///   thim config convert /opt/intel/sgx-dcap-pccs/config/default.json --out /etc/thim/thim.toml
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// Read a configuration and every file it names, and print what it means
    ///
    /// Nothing is started, made or asked. Exit codes: 0 a service can start with it, 1 it cannot.
    Check {
        /// The configuration (TOML)
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a configuration from PCCS's config/default.json
    ///
    /// The configuration goes to standard output, or to --out. Each key of the old file is told of on standard error:
    /// what it became, why it is not needed, or why it is not possible. A subscription key (ApiKey) never stands in the
    /// result: it is written to `pcs-api-key` beside it, readable by its owner alone. PCCS's certificate is taken over
    /// where ssl_key/file.crt and ssl_key/private.pem stand beside the file's folder.
    ///
    /// Exit codes: 0 everything is taken over or not needed; 1 something is not, and the rest is written all the same;
    /// 2 it is no configuration of PCCS, or cannot be read or written.
    Convert {
        /// PCCS's config/default.json
        #[arg(value_name = "default.json")]
        file: PathBuf,
        /// Write here, where nothing is yet, instead of to standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print the notes as JSON, on standard output; needs --out
        #[arg(long, requires = "out")]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    let done = match args.act {
        Act::Check { file, json } => checked(&file, json),
        Act::Convert { file, out, json } => converted(&file, out.as_deref(), json),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => crate::failed(&error),
    }
}

fn checked(file: &Path, json: bool) -> Result<bool, String> {
    let (understood, remarks, faults) = match Config::load(Some(file)) {
        Ok(config) => {
            let checked = check(&config, Clock::system().now());
            (checked.understood, checked.remarks, checked.faults)
        }
        // Whether it is unreadable or wrong, no service starts with it.
        Err(error @ ConfigError::File { .. }) => (Vec::new(), Vec::new(), vec![error.to_string()]),
    };
    let sound = faults.is_empty();
    if json {
        let understood: serde_json::Map<_, _> = understood
            .into_iter()
            .map(|(what, how)| (what, how.into()))
            .collect();
        tables::json(&json!({
            "sound": sound,
            "understood": understood,
            "remarks": remarks,
            "faults": faults,
        }))?;
        return Ok(sound);
    }
    let rows: Vec<Vec<String>> = understood
        .into_iter()
        .map(|(what, how)| vec![what, tables::printable(&how)])
        .collect();
    tables::print(&rows);
    for remark in remarks {
        eprintln!("thim: {remark}");
    }
    for fault in &faults {
        eprintln!("thim: {}", fault.trim_end());
    }
    Ok(sound)
}

fn converted(file: &Path, out: Option<&Path>, json: bool) -> Result<bool, String> {
    let text = read(file)?;
    // Beside the result, and named there by its name alone: files count from where the configuration is.
    let folder = out.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
    let around = Around {
        certificate: certificate(file),
        api_key_file: PathBuf::from(API_KEY_FILE),
    };
    let converted =
        convert(&text, &around).map_err(|error| format!("{}: {error}", file.display()))?;
    let key_file = folder.join(API_KEY_FILE);
    let wanted = out.into_iter().map(Path::to_owned);
    let wanted = wanted.chain(converted.api_key.is_some().then(|| key_file.clone()));
    for path in wanted {
        if path.exists() {
            return Err(format!("{}: it is there already", path.display()));
        }
    }
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(key) = &converted.api_key {
        secret::write(&key_file, format!("{key}\n").as_bytes())
            .map_err(|error| failed(&key_file, error))?;
    }
    if let Some(out) = out
        && let Err(error) = write_new(out, &converted.toml)
    {
        if converted.api_key.is_some() {
            // Without the configuration nobody looks for it. What keeps it there is not what is told of.
            let _ = std::fs::remove_file(&key_file);
        }
        return Err(failed(out, error));
    }
    if converted.api_key.is_some() {
        eprintln!("thim: the subscription key is in {}", key_file.display());
    }
    if out.is_none() {
        tables::say(converted.toml.trim_end());
    }
    if json {
        tables::json(&converted.notes)?;
    } else {
        tell(&converted);
    }
    Ok(converted.is_whole())
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn tell(converted: &Converted) {
    let width = converted
        .notes
        .iter()
        .map(|note| note.key.chars().count())
        .max()
        .unwrap_or(0);
    for Note { key, fate, text } in &converted.notes {
        let fate = match fate {
            Fate::Mapped => "",
            Fate::NotNeeded => "not needed: ",
            Fate::NotPossible => "NOT POSSIBLE: ",
            Fate::Unknown => "UNKNOWN: ",
        };
        eprintln!("{key:width$}  {fate}{text}");
    }
}

fn read(file: &Path) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let length = std::fs::metadata(file)
        .map_err(|error| failed(&error))?
        .len();
    if length > FILE_LIMIT_BYTES {
        return Err(failed(&format_args!(
            "{length} bytes; the limit is {FILE_LIMIT_BYTES}"
        )));
    }
    std::fs::read_to_string(file).map_err(|error| failed(&error))
}

/// PCCS's certificate and key, which it reads from `ssl_key` of where it runs; `config` is beside it.
fn certificate(file: &Path) -> Option<(PathBuf, PathBuf)> {
    let folder = std::fs::canonicalize(file).ok()?;
    let folder = folder.parent()?.parent()?.join("ssl_key");
    let (certificate, key) = (folder.join("file.crt"), folder.join("private.pem"));
    (certificate.is_file() && key.is_file()).then_some((certificate, key))
}

const API_KEY_FILE: &str = "pcs-api-key";
/// A configuration has some 2 KB.
const FILE_LIMIT_BYTES: u64 = 1024 * 1024;
