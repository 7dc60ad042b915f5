//! Looking at baselines: what holds, what a file would change, and what was done.

use std::path::Path;

use serde_json::Value;
use thim_client::{
    ActLog, ActRecord, BaselineDifference, BaselineRecord, BaselineSummary, DeclaredBaselines,
};
use thim_server::baseline::{Act, ActRow, BaselineTee, Scope, declared, verify_chain};
use thim_server::baselines::overview;
use thim_verify::{Digest, UnixTime};

use super::acts::{read, said};
use super::{BASELINES, Which, text};
use crate::place::{BaselinePlace, Intent, Opened, Place};
use crate::tables;

/// What holds for everybody.
pub async fn list(place: &Place, tee: Option<BaselineTee>, json: bool) -> Result<bool, String> {
    let opened = place.open_baselines(Intent::Read).await?;
    let all: Vec<BaselineSummary> = match &opened {
        BaselinePlace::Service(client) => {
            let query = tee.map_or(String::new(), |tee| format!("?tee={tee}"));
            client.get(&format!("{BASELINES}{query}")).map_err(text)?
        }
        BaselinePlace::Store(baselines, clock) => baselines.list(tee, clock.now()),
    };
    opened.close().await;
    if json {
        tables::json(&all)?;
        return Ok(true);
    }
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    tables::print(&rows);
    Ok(true)
}

/// One baseline.
pub async fn show(place: &Place, which: &Which, json: bool) -> Result<bool, String> {
    let opened = place.open_baselines(Intent::Read).await?;
    let found: Option<BaselineRecord> = match &opened {
        BaselinePlace::Service(client) => {
            let path = format!("{BASELINES}/{}?tenant={}", which.tee, which.tenant);
            said(client.get(&path))?.ok()
        }
        BaselinePlace::Store(baselines, clock) => {
            baselines.record(&which.tenant, which.tee, clock.now())
        }
    };
    opened.close().await;
    let Some(found) = found else {
        eprintln!("thim: no act named {} for {}", which.tenant, which.tee);
        return Ok(false);
    };
    if json {
        tables::json(&found)?;
        return Ok(true);
    }
    tables::print(&[row(&found.summary)]);
    if let Some(note) = &found.summary.note {
        tables::say(note);
    }
    tables::say(format_args!("rule {}", found.summary.rule));
    for waiting in &found.summary.waiting {
        tables::say(format_args!(
            "version {} takes effect at {}",
            waiting.version, waiting.effective
        ));
    }
    let rows: Vec<Vec<String>> = found
        .versions
        .iter()
        .map(|version| {
            vec![
                version.version.to_string(),
                version.state.clone(),
                version.issued.clone(),
                tables::printable(&version.author),
                tables::printable(&version.reason),
            ]
        })
        .collect();
    tables::print(&rows);
    Ok(true)
}

/// A file against what is promoted.
pub async fn diff(place: &Place, path: &Path, json: bool) -> Result<bool, String> {
    let toml = read(path)?;
    let opened = place.open_baselines(Intent::Read).await?;
    let found: Result<Vec<BaselineDifference>, String> = match &opened {
        BaselinePlace::Service(client) => {
            let wanted = DeclaredBaselines { toml };
            said(client.post(&format!("{BASELINES}/diff"), &wanted))?
        }
        BaselinePlace::Store(baselines, clock) => declared::read(&toml)
            .map(|declared| baselines.differences(&declared, clock.now()))
            .map_err(text),
    };
    opened.close().await;
    // A file that is none is no difference.
    let all = found.map_err(|why| format!("{}: {why}", path.display()))?;
    if json {
        tables::json(&all)?;
    } else {
        for one in &all {
            let side = |value: &Option<Value>| {
                value
                    .as_ref()
                    .map_or_else(|| "nothing".to_owned(), Value::to_string)
            };
            let drafted = if one.drafted { " (drafted)" } else { "" };
            tables::say(format_args!(
                "{} {}: {}{drafted}\n  file     {}\n  service  {}",
                one.tenant,
                one.tee,
                one.field,
                side(&one.file),
                side(&one.service)
            ));
        }
    }
    Ok(all.is_empty())
}

/// What was done. The chain is followed here, whoever's word the acts are.
pub async fn log(
    place: &Place,
    verify: bool,
    noted: Option<Digest>,
    json: bool,
) -> Result<bool, String> {
    // Not the keeper of baselines: it refuses a broken chain, and this is what shows one.
    let opened = place.open().await?;
    let log = match &opened {
        Opened::Service(client) => {
            let mut all = ActLog {
                acts: Vec::new(),
                head: Digest([0; 32]).to_string(),
            };
            loop {
                let after = all.acts.last().map_or(0, |act| act.seq);
                let path = format!("{BASELINES}/log?after={after}&limit={PAGE}");
                let page: ActLog = client.get(&path).map_err(text)?;
                let is_last = page.acts.len() < PAGE || all.acts.len() >= MOST_ACTS;
                all.acts.extend(page.acts);
                all.head = page.head;
                if is_last {
                    break all;
                }
            }
        }
        Opened::Store(collateral, _) => {
            let (rows, head) = collateral.store().acts().await.map_err(text)?;
            overview::log(&rows, head.to_string(), 0, u32::MAX)
        }
    };
    opened.close().await;
    if json {
        tables::json(&log)?;
    } else {
        let rows: Vec<Vec<String>> = log.acts.iter().map(line).collect();
        tables::print(&rows);
    }
    if !verify {
        return Ok(true);
    }
    match followed(&log, noted) {
        Ok(head) => {
            eprintln!(
                "thim: the chain holds: {} acts, head {head}",
                log.acts.len()
            );
            Ok(true)
        }
        Err(why) => {
            eprintln!("thim: {why}");
            Ok(false)
        }
    }
}

fn followed(log: &ActLog, noted: Option<Digest>) -> Result<Digest, String> {
    let rows = log.acts.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
    let head: Digest = log.head.parse().map_err(text)?;
    let head = verify_chain(&rows, Some(head)).map_err(text)?;
    if let Some(noted) = noted {
        let zeros = Digest([0; 32]);
        let contains = noted == zeros || rows.iter().any(|row| row.hash == noted);
        if !contains {
            return Err(format!(
                "the chain holds, and does not contain {noted}: it is another one"
            ));
        }
    }
    Ok(head)
}

fn parsed(act: &ActRecord) -> Result<ActRow, String> {
    let broken = |field: &str, why: &dyn std::fmt::Display| {
        format!("act {} was changed: {field}: {why}", act.seq)
    };
    let time = |field: &str, text: &str| {
        text.parse::<UnixTime>()
            .map_err(|error| broken(field, &error))
    };
    let digest = |field: &str, text: &str| {
        text.parse::<Digest>()
            .map_err(|error| broken(field, &error))
    };
    Ok(ActRow {
        seq: act.seq,
        act: Act {
            at: time("at", &act.at)?,
            who: act.who.clone(),
            kind: act.act.parse().map_err(|error| broken("act", &error))?,
            scope: act
                .tenant
                .parse::<Scope>()
                .map_err(|error| broken("tenant", &error))?,
            tee: act.tee.parse().map_err(|error| broken("tee", &error))?,
            version: act.version,
            rule: act.rule.clone(),
            from_version: act.from_version,
            effective: act
                .effective
                .as_deref()
                .map(|text| time("effective", text))
                .transpose()?,
            reason: act.reason.clone(),
            forecast: act
                .forecast
                .as_deref()
                .map(|text| digest("forecast", text))
                .transpose()?,
            dropped: act.dropped,
        },
        previous: digest("previous", &act.previous)?,
        hash: digest("hash", &act.hash)?,
    })
}

fn row(one: &BaselineSummary) -> Vec<String> {
    let version = match (one.version, one.follows_default) {
        (0, _) => "nobody's".to_owned(),
        (version, true) => format!("default's {version}"),
        (version, false) => format!("version {version}"),
    };
    let number = match (one.number, one.tee.as_str()) {
        (Some(number), _) => format!("number {number}"),
        (None, "sev-snp") => "minimums".to_owned(),
        (None, _) => "no number".to_owned(),
    };
    let mut coming: Vec<String> = one
        .waiting
        .iter()
        .map(|waiting| format!("version {} at {}", waiting.version, waiting.effective))
        .collect();
    coming.extend(one.draft.map(|draft| format!("draft {draft}")));
    vec![
        one.tenant.clone(),
        one.tee.clone(),
        version,
        number,
        one.since.clone().unwrap_or_else(|| "-".to_owned()),
        coming.join(", "),
    ]
}

fn line(act: &ActRecord) -> Vec<String> {
    let more = act
        .effective
        .as_ref()
        .map_or(String::new(), |at| format!("effective {at}"));
    vec![
        act.seq.to_string(),
        act.at.clone(),
        act.act.clone(),
        act.tenant.clone(),
        act.tee.clone(),
        format!("version {}", act.version),
        tables::printable(&act.who),
        more,
        tables::printable(&act.reason),
    ]
}

/// As many as the API gives at once.
const PAGE: usize = 1000;
/// As many as a store takes.
const MOST_ACTS: usize = 100_000;
