//! Registers what hosts say of themselves, one after the other, and tells of each what became of it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use thim_client::{Client, ClientError, RegisterRequest};
use thim_server::platforms::Registered;
use thim_server::platforms::registration::{EncryptedPpid, Manifest, Registration};

use super::{Update, authority, hosts, text};
use crate::place::{Intent, Place, Register};
use crate::progress::Progress;
use crate::{remote, tables};

/// What became of one registration.
#[derive(Serialize)]
struct Outcome {
    qe_id: String,
    pce_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetched: Option<bool>,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Registers the platforms of all files; true where all of them are as they should be.
pub async fn register(
    place: &Place,
    files: &[PathBuf],
    direct: bool,
    update: Update,
    json: bool,
) -> Result<bool, String> {
    // All are read before the first is sent: a slip in a file is found before half of a fleet is registered.
    let mut registrations = Vec::new();
    for file in files {
        let read = hosts::read(file)?;
        warn_of_guest(file, &read);
        registrations.extend(read);
    }
    let register = place.open_register(Intent::Fetch).await?;
    let mut progress = Progress::new("registering");
    let total = registrations.len();
    let mut outcomes = Vec::with_capacity(total);
    for (done, registration) in registrations.into_iter().enumerate() {
        progress.at(done, total);
        let (qe_id, pce_id) = (
            registration.qe_id.to_string(),
            registration.pce_id.to_string(),
        );
        let outcome = match &register {
            Register::Service(client) => send(client, &request(&registration, direct, update))?,
            Register::Store(platforms, clock) => {
                let (by, now) = (authority(true), clock.now());
                let updates = update.updates();
                let result = if direct {
                    platforms
                        .register_directly(registration, &by, updates, now)
                        .await
                } else {
                    platforms.register(registration, &by, updates, now).await
                };
                match result {
                    Ok(Registered {
                        platform,
                        state,
                        fetched,
                    }) => Ok((platform, state.name().to_owned(), fetched)),
                    Err(refusal) => Err(refusal.to_string()),
                }
            }
        };
        outcomes.push(match outcome {
            Ok((platform, state, fetched)) => Outcome {
                qe_id,
                pce_id,
                platform: Some(platform),
                state: Some(state),
                fetched: Some(fetched),
                refused: None,
            },
            Err(refused) => Outcome {
                qe_id,
                pce_id,
                platform: None,
                state: None,
                fetched: None,
                refused: Some(refused),
            },
        });
    }
    drop(progress);
    register.close().await;
    let all = outcomes.iter().all(|outcome| outcome.refused.is_none());
    if json {
        tables::json(&outcomes)?;
    } else {
        for outcome in &outcomes {
            tables::say(line(outcome));
        }
    }
    Ok(all)
}

fn line(outcome: &Outcome) -> String {
    let name = format!("{}:{}", tables::printable(&outcome.qe_id), outcome.pce_id);
    match (&outcome.refused, &outcome.platform, &outcome.state) {
        (Some(refused), _, _) => format!("{name}  REFUSED  {}", tables::printable(refused)),
        (None, platform, state) => format!(
            "{name}  {}  platform {}",
            state.as_deref().unwrap_or("-"),
            platform.as_deref().unwrap_or("-")
        ),
    }
}

pub type Sent = Result<(String, String, bool), String>;

/// Has a service register it. The inner error is its no.
pub fn send(client: &Client, request: &RegisterRequest) -> Result<Sent, String> {
    match remote::register(client, request) {
        Ok(report) => Ok(Ok((report.platform, report.state, report.fetched))),
        // A token that is not good is no answer about a platform.
        Err(ClientError::Problem(problem)) if !matches!(problem.status, 401 | 403) => {
            Ok(Err(match problem.detail {
                Some(detail) => format!("{}: {detail}", problem.title),
                None => problem.title,
            }))
        }
        Err(error) => Err(text(error)),
    }
}

/// A registration as it goes over the wire.
pub fn request(registration: &Registration, direct: bool, update: Update) -> RegisterRequest {
    RegisterRequest {
        qe_id: registration.qe_id.to_string(),
        pce_id: registration.pce_id.to_string(),
        cpu_svn: registration.raw_tcb.map(|raw| raw.cpu_svn.to_string()),
        pce_svn: registration.raw_tcb.map(|raw| raw.pce_svn.to_string()),
        enc_ppid: registration
            .encrypted_ppid
            .as_ref()
            .map(EncryptedPpid::to_hex_upper),
        platform_manifest: registration.manifest.as_ref().map(Manifest::to_hex_upper),
        update: Some(update.name().to_owned()),
        direct,
        keep_names: false,
    }
}

/// A guest cannot read its host's PPID, and what it writes registers nobody.
fn warn_of_guest(file: &Path, registrations: &[Registration]) {
    if !registrations.iter().any(hosts::reads_nothing) {
        return;
    }
    // Only Linux has it; where it cannot be read nothing is known.
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if hosts::is_guest(&cpuinfo) {
        eprintln!(
            "thim: {}: this looks like a guest: the encrypted PPID is all zeros, there is no manifest, and this machine runs under a hypervisor. Run PCKIDRetrievalTool on the host",
            file.display()
        );
    }
}
