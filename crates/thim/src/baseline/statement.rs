//! `thim baseline statement`: what an attestation service gets, and what it should refuse.

use std::path::{Path, PathBuf};

use thim_server::baseline::{BaselineTee, Scope};
use thim_server::baselines::statement::{Claims, Jwks, Seen, accept};
use thim_verify::UnixTime;

use super::{BASELINES, text};
use crate::place::{Opened, Place};
use crate::tables;

/// Options of the command.
#[derive(clap::Args, Clone, Debug)]
pub struct StatementArgs {
    /// sgx, tdx or sev-snp
    #[arg(long, value_name = "TEE")]
    tee: BaselineTee,
    /// Whose: a tenant's name, or default
    #[arg(long, value_name = "TENANT", default_value = "default")]
    tenant: Scope,
    /// Judge this file instead of asking for a statement; exit code 1 where it is not to be taken
    #[arg(long, value_name = "FILE", requires = "jwks")]
    verify: Option<PathBuf>,
    /// The keys, as /.well-known/jwks.json gives them
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// The highest version that was seen, or a file with what --verify printed of the last one: older ones are refused
    #[arg(long, value_name = "VERSION|FILE", requires = "verify")]
    seen: Option<String>,
    /// Judge dates at this instant
    #[arg(long, value_name = "RFC3339", requires = "verify")]
    at: Option<UnixTime>,
}

/// Prints a statement, or judges one.
pub async fn run(place: &Place, args: &StatementArgs) -> Result<bool, String> {
    if let (Some(statement), Some(jwks)) = (&args.verify, &args.jwks) {
        return judge(args, statement, jwks);
    }
    let Opened::Service(client) = place.open().await? else {
        return Err(
            "a statement is signed by the service's key: name it with --service".to_owned(),
        );
    };
    let path = format!("{BASELINES}/{}/statement?tenant={}", args.tee, args.tenant);
    match client.get_vendor(&path, "etag").map_err(text)? {
        Some((statement, _)) => {
            tables::say(statement.trim());
            Ok(true)
        }
        None => {
            eprintln!(
                "thim: the service has no baseline {} for {}",
                args.tenant, args.tee
            );
            Ok(false)
        }
    }
}

/// Makes a new key.
pub async fn rotate(place: &Place) -> Result<bool, String> {
    let Opened::Service(client) = place.open().await? else {
        return Err("the key is the service's: name it with --service".to_owned());
    };
    let keys: Jwks = client
        .post(&format!("{BASELINES}/rotate-key"), &serde_json::json!({}))
        .map_err(text)?;
    for (index, key) in keys.keys.iter().enumerate() {
        let word = if index == 0 {
            "signs"
        } else {
            "verifies still"
        };
        tables::say(format_args!("{} {word}", key.kid));
    }
    Ok(true)
}

fn judge(args: &StatementArgs, statement: &Path, jwks: &Path) -> Result<bool, String> {
    let read = |path: &Path| {
        let length = std::fs::metadata(path).map(|found| found.len());
        match length {
            Ok(length) if length > FILE_BYTES => Err(format!(
                "{}: {length} bytes; the limit is {FILE_BYTES}",
                path.display()
            )),
            _ => std::fs::read_to_string(path)
                .map_err(|error| format!("{}: {error}", path.display())),
        }
    };
    let jwks: Jwks = serde_json::from_str(&read(jwks)?)
        .map_err(|error| format!("{}: {error}", jwks.display()))?;
    let now = args
        .at
        .unwrap_or_else(|| thim_server::clock::Clock::system().now());
    let statement = read(statement)?;
    let (mut version, mut held) = (None, None);
    if let Some(seen) = &args.seen {
        match seen.parse::<u32>() {
            Ok(number) => version = Some(number),
            Err(_) => {
                let claims: Claims = serde_json::from_str(&read(Path::new(seen))?)
                    .map_err(|error| format!("{seen}: {error}"))?;
                held = Some(claims.baseline);
            }
        }
    }
    let seen = held.as_ref().map(Seen::Statement);
    let seen = seen.or(version.map(Seen::Version));
    match accept(&statement, &jwks, args.tenant.as_str(), args.tee, seen, now) {
        Ok(claims) => {
            tables::json(&claims)?;
            Ok(true)
        }
        Err(why) => {
            eprintln!("thim: {why}");
            Ok(false)
        }
    }
}

/// A statement names a few hundred documents.
const FILE_BYTES: u64 = 1024 * 1024;
