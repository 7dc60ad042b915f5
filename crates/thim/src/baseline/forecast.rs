//! `thim baseline forecast`: who would drop out, why, and what would raise them.

use std::path::Path;

use thim_client::{
    ForecastCause, ForecastColumn, ForecastReport, ForecastRequest, ForecastTarget, ShortComponent,
};
use thim_server::baseline::{BaselineTee, Rule, Scope, Selector, declared};
use thim_server::baselines::forecasting::{ForecastError, Listed, Target};
use thim_verify::UnixTime;

use super::acts::{read, said};
use super::{BASELINES, text};
use crate::place::{BaselinePlace, Intent, Place};
use crate::tables;

/// Options of the command.
#[derive(clap::Args, Clone, Debug)]
pub struct ForecastArgs {
    /// sgx, tdx or sev-snp
    #[arg(long, value_name = "TEE")]
    tee: BaselineTee,
    /// What would be in force: standard, early, a number, draft, version:N (for a rollback), or a file (TOML) that declares
    /// this baseline
    #[arg(long, value_name = "TO", default_value = "draft")]
    to: String,
    /// Whose: a tenant's name, floor, or default
    #[arg(long, value_name = "TENANT", default_value = "default")]
    tenant: Scope,
    /// From when on [default: now]; what a promotion with that date wants
    #[arg(long, value_name = "RFC3339")]
    effective: Option<UnixTime>,
    /// List up to a thousand platforms of each cause instead of ten
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(place: &Place, args: &ForecastArgs) -> Result<bool, String> {
    let target = target(args)?;
    let limit: u32 = if args.all { ALL } else { FEW };
    let opened = place.open_baselines(Intent::Fetch).await?;
    let report: Result<ForecastReport, String> = match &opened {
        BaselinePlace::Service(client) => {
            let request = ForecastRequest {
                tee: args.tee.to_string(),
                tenant: Some(args.tenant.to_string()),
                to: wire(&target)?,
                effective: args.effective.map(|at| at.to_string()),
                limit: Some(limit),
                after: None,
            };
            said(client.post(&format!("{BASELINES}/forecast"), &request))?
        }
        BaselinePlace::Store(baselines, clock) => {
            let now = clock.now();
            let listed = Listed {
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
                after: String::new(),
            };
            let candidate = baselines.candidate(&args.tenant, args.tee, &target, now);
            let made = match candidate {
                Ok(mut candidate) => {
                    candidate.effective = args.effective;
                    baselines.forecast(&candidate, &listed, now).await
                }
                Err(error) => Err(error),
            };
            match made {
                Ok(report) => Ok(report),
                Err(ForecastError::NoCandidate(why)) => Err(why),
                Err(ForecastError::Store(error)) => return Err(error.to_string()),
            }
        }
    };
    opened.close().await;
    let report = report?;
    if args.json {
        tables::json(&report)?;
    } else {
        show(&report);
    }
    Ok(report.dropped == 0)
}

fn target(args: &ForecastArgs) -> Result<Target, String> {
    Ok(match args.to.as_str() {
        "draft" => Target::Draft,
        "early" => Target::Selector(Selector::Early),
        "standard" => Target::Selector(Selector::Standard),
        other if other.starts_with("version:") => {
            let number = other.trim_start_matches("version:");
            let number = number.parse();
            Target::Version(number.map_err(|_| "--to: wanted version:N".to_owned())?)
        }
        other => match other.parse::<u32>() {
            Ok(0) => return Err("--to: wanted a number of 1 or more".to_owned()),
            Ok(number) => Target::Selector(Selector::Number(number)),
            Err(_) => {
                let path = Path::new(other);
                let declared = declared::read(&read(path)?).map_err(text)?;
                let mut all = declared.into_iter();
                let one = all.find(|one| one.scope == args.tenant && one.tee == args.tee);
                let one = one.ok_or_else(|| {
                    format!(
                        "{other}: it declares no baseline {} for {}",
                        args.tenant, args.tee
                    )
                })?;
                Target::Rule(one.rule)
            }
        },
    })
}

fn wire(target: &Target) -> Result<ForecastTarget, String> {
    Ok(match target {
        Target::Draft => ForecastTarget::Word("draft".to_owned()),
        Target::Rule(rule) => ForecastTarget::Rule(map(rule)?),
        Target::Selector(Selector::Number(number)) => ForecastTarget::Number(*number),
        Target::Selector(Selector::Early) => ForecastTarget::Word("early".to_owned()),
        Target::Selector(Selector::LagDays(_) | Selector::Standard) => {
            ForecastTarget::Word("standard".to_owned())
        }
        Target::Version(version) => {
            ForecastTarget::Version(thim_client::ForecastVersion { version: *version })
        }
    })
}

fn map(rule: &Rule) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    serde_json::from_str(&rule.to_json()).map_err(text)
}

fn show(report: &ForecastReport) {
    let verdict = match report.dropped {
        0 => "nobody drops out".to_owned(),
        1 => "1 platform drops out".to_owned(),
        many => format!("{many} platforms drop out"),
    };
    tables::say(format_args!(
        "{} {}: {verdict}, of {}",
        report.tenant, report.tee, report.platforms
    ));
    tables::say(format_args!("digest {}", report.digest));
    let rows: Vec<Vec<String>> = report.columns.iter().map(column).collect();
    tables::print(&rows);
    for column in &report.columns {
        if let Some(note) = &column.note {
            tables::say(format_args!("{}: {note}", column.name));
        }
    }
    causes(&report.causes, report.more_causes, "");
    for one in &report.moves {
        let goes = match (one.followed, one.dropped) {
            (false, _) => "this baseline does not follow".to_owned(),
            (true, 0) => "nobody drops out then".to_owned(),
            (true, many) => format!("{many} drop out then"),
        };
        tables::say(format_args!(
            "standard becomes {} at {}, in {} days: {goes}",
            one.number, one.at, one.days
        ));
        causes(&one.causes, one.more_causes, "  ");
    }
    for scope in &report.below_floor {
        tables::say(format_args!("below this floor: {scope}"));
    }
    if report.not_applicable > 0 {
        tables::say(format_args!(
            "{} platforms of the register are none of {}",
            report.not_applicable, report.tee
        ));
    }
    for note in &report.notes {
        tables::say(note);
    }
}

fn column(column: &ForecastColumn) -> Vec<String> {
    let counts = |map: &std::collections::BTreeMap<String, u64>| {
        let words: Vec<String> = map
            .iter()
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        words.join(", ")
    };
    vec![
        column.name.clone(),
        column
            .number
            .map_or_else(|| "-".to_owned(), |number| number.to_string()),
        counts(&column.verdicts),
        counts(&column.statuses),
    ]
}

fn causes(causes: &[ForecastCause], more: u64, indent: &str) {
    for cause in causes {
        let word = if cause.drops { "drop out" } else { "change" };
        tables::say(format_args!(
            "{indent}{} {word}: {} ({}) -> {} ({}), {}",
            cause.count,
            cause.from.status,
            cause.from.verdict,
            cause.to.status,
            cause.to.verdict,
            cause.families.join(" ")
        ));
        if let Some(why) = &cause.why {
            tables::say(format_args!("{indent}  {why}"));
        }
        for short in &cause.short {
            tables::say(format_args!("{indent}  {}", component(short)));
        }
        for need in &cause.needs {
            tables::say(format_args!("{indent}  {}", need.action));
        }
        if !cause.advisories.is_empty() {
            tables::say(format_args!("{indent}  {}", cause.advisories.join(" ")));
        }
        let more = if cause.more { " ..." } else { "" };
        tables::say(format_args!(
            "{indent}  {}{more}",
            cause.platforms.join(" ")
        ));
    }
    if more > 0 {
        tables::say(format_args!("{indent}{more} more causes"));
    }
}

fn component(short: &ShortComponent) -> String {
    let what: Vec<&str> = [&short.category, &short.kind]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    format!(
        "{} {} -> {} ({}), {}: {}",
        short.component,
        short.have,
        short.need,
        what.join(" "),
        short.who,
        short.action
    )
}

const FEW: u32 = 10;
/// As many as the API gives of each cause.
const ALL: u32 = 1_000;
