//! Lists, records, diagnoses; forgetting and fetching again.

use thim_client::{Diagnosis, PlatformRecord, PlatformSummary};
use thim_server::platforms::PlatformState;
use thim_server::store::PlatformFilter;
use thim_verify::Fmspc;

use super::{NO_SUCH, PlatformId, paging, text, unless};
use crate::place::{Intent, Place, Register};
use crate::{remote, tables};

/// Prints platforms as they are read: nothing is kept but a page.
pub async fn list(
    place: &Place,
    state: Option<PlatformState>,
    fmspc: Option<Fmspc>,
    limit: Option<u64>,
    json: bool,
) -> Result<bool, String> {
    let register = place.open_register(Intent::Read).await?;
    let page = async |after: &str, limit: u32| match &register {
        Register::Service(client) => {
            remote::platforms(client, state, fmspc, after, limit).map_err(text)
        }
        Register::Store(platforms, _) => {
            let filter = PlatformFilter {
                state,
                fmspc,
                after: after.to_owned(),
                limit,
            };
            platforms.page(&filter).await.map_err(text)
        }
    };
    let printed = paging::print(limit, json, page, |platform| &platform.id, row).await;
    register.close().await;
    printed?;
    Ok(true)
}

/// Columns of fixed width, since the rows to come are not known.
fn row(platform: &PlatformSummary) -> String {
    let cause = if platform.cause == "none" {
        "-"
    } else {
        &platform.cause
    };
    let absent = "-".to_owned();
    format!(
        "{}  {:14}  {cause:22}  {:12}  {:9}  {}",
        platform.id,
        platform.state,
        platform.fmspc.as_ref().unwrap_or(&absent),
        platform.ca.as_ref().unwrap_or(&absent),
        platform.since
    )
}

/// Prints everything about a platform.
pub async fn show(place: &Place, id: &PlatformId, json: bool) -> Result<bool, String> {
    let register = place.open_register(Intent::Read).await?;
    let record = match &register {
        Register::Service(client) => unless(remote::platform(client, &id.segment()), &[404])?,
        Register::Store(platforms, clock) => {
            match platforms.find_row(&id.which).await.map_err(text)? {
                Some(row) => Some(platforms.record(row, clock.now()).await.map_err(text)?),
                None => {
                    eprintln!("{NO_SUCH}");
                    None
                }
            }
        }
    };
    register.close().await;
    let Some(record) = record else {
        return Ok(false);
    };
    print(&record, json)?;
    Ok(true)
}

/// Prints what is wrong with a platform.
pub async fn doctor(place: &Place, id: &PlatformId, json: bool) -> Result<bool, String> {
    let register = place.open_register(Intent::Read).await?;
    let diagnosis = match &register {
        Register::Service(client) => remote::doctor(client, &id.segment()).map_err(text)?,
        Register::Store(platforms, clock) => platforms
            .diagnose(&id.which, clock.now())
            .await
            .map_err(text)?
            .ok_or(
                "there is no platform with this id; a QEID:PCEID that is not known has a diagnosis",
            )?,
    };
    register.close().await;
    if json {
        tables::json(&diagnosis)?;
    } else {
        tell(&diagnosis);
    }
    Ok(diagnosis.healthy)
}

fn tell(diagnosis: &Diagnosis) {
    tables::say(format_args!(
        "{}: {}",
        diagnosis.cause,
        tables::printable(&diagnosis.summary)
    ));
    if let Some(platform) = &diagnosis.platform {
        tables::say(format_args!("platform  {platform}"));
    }
    for evidence in &diagnosis.evidence {
        tables::say(format_args!("because   {}", tables::printable(evidence)));
    }
    if !diagnosis.next_step.is_empty() {
        tables::say(format_args!(
            "next      {}",
            tables::printable(&diagnosis.next_step)
        ));
    }
}

/// Forgets a platform.
pub async fn forget(place: &Place, id: &PlatformId) -> Result<bool, String> {
    let register = place.open_register(Intent::Change).await?;
    let forgotten = match &register {
        Register::Service(client) => {
            unless(remote::forget(client, &id.segment()), &[404])?.map(|forgotten| forgotten.id)
        }
        Register::Store(platforms, clock) => {
            match platforms.find_row(&id.which).await.map_err(text)? {
                Some(row)
                    if platforms
                        .forget(&row.id, "the command line", clock.now())
                        .await
                        .map_err(text)? =>
                {
                    Some(row.id)
                }
                Some(_) | None => {
                    eprintln!("{NO_SUCH}");
                    None
                }
            }
        }
    };
    register.close().await;
    let Some(id) = forgotten else {
        return Ok(false);
    };
    tables::say(format_args!("platform {id} is forgotten"));
    Ok(true)
}

/// Asks the vendor for a platform's certificates again.
pub async fn refetch(place: &Place, id: &PlatformId, json: bool) -> Result<bool, String> {
    let register = place.open_register(Intent::Fetch).await?;
    let record = match &register {
        Register::Service(client) => unless(remote::refetch(client, &id.segment()), &[404])?,
        Register::Store(platforms, clock) => {
            match platforms.find_row(&id.which).await.map_err(text)? {
                Some(row) => {
                    let now = clock.now();
                    platforms.refetch(&row, now).await.map_err(text)?;
                    let row = platforms
                        .store()
                        .platform(&row.id)
                        .await
                        .map_err(text)?
                        .ok_or("it was just forgotten")?;
                    Some(platforms.record(row, now).await.map_err(text)?)
                }
                None => {
                    eprintln!("{NO_SUCH}");
                    None
                }
            }
        }
    };
    register.close().await;
    let Some(record) = record else {
        return Ok(false);
    };
    print(&record, json)?;
    // What failed is the cause of its state; what it has goes on being served.
    Ok(record.summary.cause == "none")
}

fn print(record: &PlatformRecord, json: bool) -> Result<(), String> {
    if json {
        return tables::json(record);
    }
    let summary = &record.summary;
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let flag = |there: bool| if there { "yes" } else { "no" }.to_owned();
    let mut rows = vec![
        ("id", summary.id.clone()),
        (
            "state",
            format!("{} since {}", summary.state, summary.since),
        ),
        ("cause", summary.cause.clone()),
        ("detail", tables::printable(&summary.detail)),
        ("fmspc", or_none(&summary.fmspc)),
        ("ca", or_none(&summary.ca)),
        (
            "origin",
            format!("{} at {}", summary.origin, summary.registered),
        ),
        ("fetched", or_none(&summary.fetched)),
        ("due", or_none(&summary.due)),
        ("manifest kept", flag(summary.manifest)),
        ("encrypted PPID kept", flag(summary.encrypted_ppid)),
        (
            "vendor keeps keys",
            summary.cached_keys.map_or_else(|| "-".to_owned(), flag),
        ),
    ];
    // What is not recorded is not known, and said so only by its absence.
    let seen = |what: &str, at: &Option<String>| {
        let at = at.as_deref().unwrap_or_default();
        format!("{what}, seen {at}")
    };
    if let Some(svn) = &record.tee_tcb_svn {
        rows.push(("TEE TCB SVN", seen(svn, &record.tee_tcb_svn_seen)));
    }
    if let Some(svn) = &record.tee_tcb_svn2 {
        rows.push(("TEE TCB SVN 2", seen(svn, &record.tee_tcb_svn_seen)));
    }
    if let Some(svn) = record.qe_isv_svn {
        let tee = record.evidence_tee.as_deref().unwrap_or_default();
        rows.push((
            "QE ISVSVN",
            seen(&format!("{svn} ({tee})"), &record.evidence_seen),
        ));
    }
    if let Some(tcb) = &record.pck_tcb {
        rows.push(("PCK TCB of quote", seen(tcb, &record.evidence_seen)));
    }
    for name in &record.names {
        let weak = if name.strong {
            ""
        } else {
            " (by an open request)"
        };
        rows.push((
            "name",
            format!("{}:{}{weak}", tables::printable(&name.qe_id), name.pce_id),
        ));
    }
    for level in &record.levels {
        let why = level
            .why
            .as_deref()
            .map(|why| format!("  {}", tables::printable(why)));
        rows.push((
            "level",
            format!("{}  {}{}", level.tcbm, level.state, why.unwrap_or_default()),
        ));
    }
    for seen in &record.raw_tcbs {
        let gets = seen.tcbm.as_ref().map_or_else(
            || "no certificate".to_owned(),
            |tcbm| format!("gets {tcbm}"),
        );
        rows.push((
            "raw TCB",
            format!("{}  {gets}  last {}", seen.tcb, seen.last),
        ));
    }
    for moment in &record.timeline {
        rows.push((
            "story",
            format!(
                "{}  {}  {}",
                moment.at,
                moment.state,
                tables::printable(&moment.text)
            ),
        ));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    tables::print(&rows);
    Ok(())
}
