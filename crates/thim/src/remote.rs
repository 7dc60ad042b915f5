//! The same acts on a running service: paths and queries of the own API.

use std::path::PathBuf;

use data_encoding::BASE64;
use serde_json::value::RawValue;
use thim_client::{
    Client, ClientError, Diagnosis, EditionSummary, EventRecord, ImportFile, ImportReport,
    ImportRequest, PlatformRecord, PlatformSummary, RefreshReport, RegisterReport, RegisterRequest,
};
use thim_server::intake::{self, objects};
use thim_server::platforms::PlatformState;
use thim_verify::{ArtefactKey, Fmspc, UnixTime};

/// Reads the files and sends those of interest: one request, since what stands in one file may explain another.
pub fn import(client: &Client, paths: &[PathBuf]) -> Result<ImportReport, String> {
    let mut files = Vec::new();
    let mut ignored = 0;
    let mut bytes = 0;
    let (others, unreadable) = intake::each_file(paths, &mut |file| {
        if objects::find(&file.path, &file.bytes).is_empty() {
            ignored += 1;
        } else {
            bytes += file.bytes.len();
            if bytes <= LIMIT_BYTES {
                files.push(ImportFile {
                    path: file.path,
                    content: BASE64.encode(&file.bytes),
                });
            }
        }
    });
    if bytes > LIMIT_BYTES {
        return Err(format!(
            "{bytes} bytes of collateral; a service takes {LIMIT_BYTES} at once. Stop it and import with --data, or import folder by folder"
        ));
    }
    let mut report: ImportReport = client
        .post("/thim/v1/import", &ImportRequest { files })
        .map_err(|error| error.to_string())?;
    report.ignored += ignored + others;
    report.refused.extend(unreadable);
    report.refused.sort();
    Ok(report)
}

/// Pages through the listing until `limit` editions are there.
pub fn list(
    client: &Client,
    key: Option<ArtefactKey>,
    state: Option<String>,
    known_at: Option<UnixTime>,
    limit: u32,
) -> Result<Vec<EditionSummary>, ClientError> {
    let mut editions: Vec<EditionSummary> = Vec::new();
    loop {
        let have = u32::try_from(editions.len()).unwrap_or(u32::MAX);
        let page = limit.saturating_sub(have).min(PAGE);
        if page == 0 {
            return Ok(editions);
        }
        let query = query(&[
            ("key", key.map(|key| key.to_string())),
            ("state", state.clone()),
            ("known_at", known_at.map(|instant| instant.to_string())),
            ("limit", Some(page.to_string())),
            ("offset", Some(have.to_string())),
        ]);
        let next: Vec<EditionSummary> = client.get(&format!("/thim/v1/collateral{query}"))?;
        let last = next.len() < page as usize;
        editions.extend(next);
        if last {
            return Ok(editions);
        }
    }
}

/// The edition served now, else the newest. A service says with a problem document that there is none.
pub fn show(client: &Client, key: ArtefactKey) -> Result<Option<EditionSummary>, ClientError> {
    let query = query(&[("key", Some(key.to_string()))]);
    match client.get(&format!("/thim/v1/collateral/show{query}")) {
        Ok(edition) => Ok(Some(edition)),
        Err(ClientError::Problem(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every edition of a key with its changes of state.
pub fn history(
    client: &Client,
    key: ArtefactKey,
    known_at: Option<UnixTime>,
) -> Result<Vec<EditionSummary>, ClientError> {
    let query = query(&[
        ("key", Some(key.to_string())),
        ("known_at", known_at.map(|instant| instant.to_string())),
    ]);
    client.get(&format!("/thim/v1/collateral/history{query}"))
}

/// Events after one, oldest first.
pub fn events(
    client: &Client,
    after: i64,
    key: Option<ArtefactKey>,
    limit: u32,
) -> Result<Vec<EventRecord>, ClientError> {
    let query = query(&[
        ("after", Some(after.to_string())),
        ("key", key.map(|key| key.to_string())),
        ("limit", Some(limit.min(PAGE).to_string())),
    ]);
    client.get(&format!("/thim/v1/events{query}"))
}

/// Asks the vendors again.
pub fn refresh(client: &Client, all: bool, dry_run: bool) -> Result<RefreshReport, ClientError> {
    client.post(
        "/thim/v1/refresh",
        &serde_json::json!({"all": all, "dry_run": dry_run}),
    )
}

/// Lets a held edition through. The service's answer is the edition, or a problem.
pub fn release(client: &Client, id: &str) -> Result<serde_json::Value, ClientError> {
    client.post(
        &format!("/thim/v1/editions/{id}/release"),
        &serde_json::json!({}),
    )
}

/// A page of platforms with ids after one.
pub fn platforms(
    client: &Client,
    state: Option<PlatformState>,
    fmspc: Option<Fmspc>,
    after: &str,
    limit: u32,
) -> Result<Vec<PlatformSummary>, ClientError> {
    let query = query(&[
        ("state", state.map(|state| state.to_string())),
        ("fmspc", fmspc.map(|fmspc| fmspc.to_string())),
        ("after", (!after.is_empty()).then(|| after.to_owned())),
        ("limit", Some(limit.min(PAGE).to_string())),
    ]);
    client.get(&format!("/thim/v1/platforms{query}"))
}

/// Everything about a platform. `id` is a segment of a path, as it is here and below.
pub fn platform(client: &Client, id: &str) -> Result<PlatformRecord, ClientError> {
    client.get(&format!("/thim/v1/platforms/{id}"))
}

/// What is wrong with a platform.
pub fn doctor(client: &Client, id: &str) -> Result<Diagnosis, ClientError> {
    client.get(&format!("/thim/v1/platforms/{id}/doctor"))
}

/// A platform with its certificates and secrets, as a body of `PUT platformcollateral`, byte for byte.
pub fn platform_collateral(client: &Client, id: &str) -> Result<Box<RawValue>, ClientError> {
    client.get(&format!("/thim/v1/platforms/{id}/collateral"))
}

/// Registers a platform.
pub fn register(client: &Client, request: &RegisterRequest) -> Result<RegisterReport, ClientError> {
    client.post("/thim/v1/platforms", request)
}

/// Forgets a platform.
pub fn forget(client: &Client, id: &str) -> Result<PlatformSummary, ClientError> {
    client.delete(&format!("/thim/v1/platforms/{id}"))
}

/// Asks the vendor for a platform's certificates again.
pub fn refetch(client: &Client, id: &str) -> Result<PlatformRecord, ClientError> {
    client.post(
        &format!("/thim/v1/platforms/{id}/refetch"),
        &serde_json::json!({}),
    )
}

/// The SGX TCB info that a service gives for a family, and its issuer chain; none where it gives none.
pub fn tcb_info(
    client: &Client,
    fmspc: Fmspc,
) -> Result<Option<(String, Option<String>)>, ClientError> {
    let path = format!("/sgx/certification/v4/tcb?fmspc={fmspc}");
    client.get_vendor(&path, "TCB-Info-Issuer-Chain")
}

/// The parameters that are there. Keys, states, numbers and times need no escaping in a query: their characters are
/// letters, digits, `-`, `/`, `:` and `.` (RFC 3986, section 3.4).
fn query(parameters: &[(&str, Option<String>)]) -> String {
    let mut query = String::new();
    for (name, value) in parameters {
        if let Some(value) = value {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(name);
            query.push('=');
            query.push_str(value);
        }
    }
    query
}

/// What the service takes in one request.
const LIMIT_BYTES: usize = 32 * 1024 * 1024;
/// What the service gives in one answer.
pub const PAGE: u32 = 1000;

/// What a service tells about evidence.
pub fn explain<T: serde::de::DeserializeOwned>(
    client: &Client,
    path: &str,
    evidence: &[u8],
) -> Result<T, String> {
    client
        .post_bytes(path, evidence)
        .map_err(|error| error.to_string())
}
