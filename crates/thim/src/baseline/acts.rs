//! What changes baselines: over a running service by its API, over a store by the same functions.

use std::path::Path;

use serde::Serialize;
use thim_client::{
    ActRecord, AppliedBaseline, ClientError, DeclaredBaselines, PromotionRequest, WithdrawalRequest,
};
use thim_server::baseline::{ActRow, declared};
use thim_server::baselines::acting::{NotDone, TakeBack, Unwish, Wish};
use thim_server::baselines::overview;
use thim_verify::UnixTime;

use super::{BASELINES, TakeBackArgs, WishArgs, text};
use crate::place::{BaselinePlace, Intent, Place};
use crate::tables;

/// Drafts what a file declares.
pub async fn apply(place: &Place, path: &Path, author: &str, json: bool) -> Result<bool, String> {
    let toml = read(path)?;
    let opened = place.open_baselines(Intent::Change).await?;
    let done: Result<Vec<AppliedBaseline>, String> = match &opened {
        BaselinePlace::Service(client) => {
            let wanted = DeclaredBaselines { toml };
            said(client.post(&format!("{BASELINES}/apply"), &wanted))?
        }
        BaselinePlace::Store(baselines, clock) => match declared::read(&toml) {
            Err(error) => Err(error.to_string()),
            Ok(declared) => {
                let names: Vec<_> = declared
                    .iter()
                    .map(|one| (one.scope.clone(), one.tee))
                    .collect();
                let drafted = baselines.draft(declared, author, clock.now()).await;
                judged(drafted)?.map(|drafted| overview::outcomes(&names, &drafted))
            }
        },
    };
    opened.close().await;
    tell(done, json, |done| {
        let rows: Vec<Vec<String>> = done
            .iter()
            .map(|one| {
                vec![
                    one.tenant.clone(),
                    one.tee.clone(),
                    format!("version {}", one.version),
                    one.outcome.clone(),
                ]
            })
            .collect();
        tables::print(&rows);
    })
}

/// Puts a draft in force.
pub async fn promote(
    place: &Place,
    args: &WishArgs,
    effective: Option<UnixTime>,
) -> Result<bool, String> {
    let opened = place.open_baselines(Intent::Fetch).await?;
    let done = match &opened {
        BaselinePlace::Service(client) => {
            let path = format!("{BASELINES}/{}/promote", args.which.tee);
            said(client.post(&path, &request(args, effective)))?
        }
        BaselinePlace::Store(baselines, clock) => {
            let wish = wish(args, effective);
            let done = baselines.promote(&wish, &args.author, clock.now()).await;
            record(done)?
        }
    };
    opened.close().await;
    tell(done, args.json, promoted)
}

/// Puts an older rule in force again.
pub async fn roll_back(place: &Place, args: &WishArgs) -> Result<bool, String> {
    let opened = place.open_baselines(Intent::Fetch).await?;
    let done = match &opened {
        BaselinePlace::Service(client) => {
            let path = format!("{BASELINES}/{}/rollback", args.which.tee);
            said(client.post(&path, &request(args, None)))?
        }
        BaselinePlace::Store(baselines, clock) => {
            let wish = wish(args, None);
            let done = baselines.roll_back(&wish, &args.author, clock.now()).await;
            record(done)?
        }
    };
    opened.close().await;
    tell(done, args.json, promoted)
}

/// Throws a draft away.
pub async fn discard(place: &Place, args: &TakeBackArgs) -> Result<bool, String> {
    take_back(place, TakeBack::Draft, args).await
}

/// Takes a promotion back.
pub async fn withdraw(place: &Place, args: &TakeBackArgs) -> Result<bool, String> {
    take_back(place, TakeBack::Promotion, args).await
}

async fn take_back(place: &Place, kind: TakeBack, args: &TakeBackArgs) -> Result<bool, String> {
    let opened = place.open_baselines(Intent::Change).await?;
    let which = &args.which;
    let (word, done_word) = match kind {
        TakeBack::Draft => ("discard", "is thrown away"),
        TakeBack::Promotion => ("withdraw", "is not to take effect; it is a draft again"),
    };
    let done = match &opened {
        BaselinePlace::Service(client) => {
            let request = WithdrawalRequest {
                tenant: Some(which.tenant.to_string()),
                version: args.version,
                reason: args.reason.clone(),
            };
            let path = format!("{BASELINES}/{}/{word}", which.tee);
            said(client.post(&path, &request))?
        }
        BaselinePlace::Store(baselines, clock) => {
            let wish = Unwish {
                scope: which.tenant.clone(),
                tee: which.tee,
                version: args.version,
                reason: args.reason.clone(),
            };
            let done = baselines.take_back(kind, &wish, &args.author, clock.now());
            record(done.await)?
        }
    };
    opened.close().await;
    tell(done, args.json, |act: &ActRecord| {
        tables::say(format_args!(
            "version {} of baseline {} for {} {done_word}",
            act.version, act.tenant, act.tee
        ));
    })
}

fn promoted(act: &ActRecord) {
    let rule = match act.from_version {
        Some(from) => format!(", with the rule of version {from}"),
        None => String::new(),
    };
    tables::say(format_args!(
        "version {} of baseline {} for {} is in force from {} on{rule}; {} platforms drop out by the forecast",
        act.version,
        act.tenant,
        act.tee,
        act.effective.as_deref().unwrap_or("now"),
        act.dropped.unwrap_or(0)
    ));
    tables::say(format_args!("act {}, hash {}", act.seq, act.hash));
}

fn request(args: &WishArgs, effective: Option<UnixTime>) -> PromotionRequest {
    PromotionRequest {
        tenant: Some(args.which.tenant.to_string()),
        version: args.version,
        forecast: args.forecast.to_string(),
        accept: args.accept,
        effective: effective.map(|at| at.to_string()),
        reason: args.reason.clone(),
    }
}

fn wish(args: &WishArgs, effective: Option<UnixTime>) -> Wish {
    Wish {
        scope: args.which.tenant.clone(),
        tee: args.which.tee,
        version: args.version,
        forecast: args.forecast,
        accept: args.accept,
        effective,
        reason: args.reason.clone(),
    }
}

fn record(done: Result<ActRow, NotDone>) -> Result<Result<ActRecord, String>, String> {
    Ok(judged(done)?.map(|row| overview::act(&row)))
}

/// A no inside, what could not be told outside.
fn judged<T>(done: Result<T, NotDone>) -> Result<Result<T, String>, String> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(NotDone::Store(error)) => Err(error.to_string()),
        Err(
            error @ (NotDone::BelowFloor(_)
            | NotDone::Drops { .. }
            | NotDone::Forecast(_)
            | NotDone::NoVersion(_)
            | NotDone::Overtaken
            | NotDone::ReadOnly
            | NotDone::Stale
            | NotDone::Wrong(_)),
        ) => Ok(Err(error.to_string())),
    }
}

/// As [`judged`], of a service's answer.
pub fn said<T>(answer: Result<T, ClientError>) -> Result<Result<T, String>, String> {
    match answer {
        Ok(done) => Ok(Ok(done)),
        Err(ClientError::Problem(problem))
            if matches!(problem.status, 400 | 404 | 409 | 413 | 422) =>
        {
            Ok(Err(problem.detail.unwrap_or(problem.title)))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn tell<T: Serialize>(
    done: Result<T, String>,
    json: bool,
    show: impl FnOnce(&T),
) -> Result<bool, String> {
    match done {
        Err(why) => {
            eprintln!("thim: {why}");
            Ok(false)
        }
        Ok(done) => {
            if json {
                tables::json(&done)?;
            } else {
                show(&done);
            }
            Ok(true)
        }
    }
}

/// A file of baselines; the error is for people.
pub fn read(path: &Path) -> Result<String, String> {
    let failed = |why: String| format!("{}: {why}", path.display());
    let length = std::fs::metadata(path)
        .map_err(|error| failed(text(error)))?
        .len();
    let limit = u64::try_from(declared::FILE_BYTES).unwrap_or(u64::MAX);
    if length > limit {
        return Err(failed(format!("{length} bytes; the limit is {limit}")));
    }
    std::fs::read_to_string(path).map_err(|error| failed(text(error)))
}

/// Who acts where nobody is named.
pub const AUTHOR: &str = "the command line";
