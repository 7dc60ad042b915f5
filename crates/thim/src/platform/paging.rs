//! Lists that are read page by page and printed as they come: nothing is kept but a page, and there may be a million rows.

use serde::Serialize;

use super::text;
use crate::{remote, tables};

/// Prints what `page` gives after an id, at most so many at a time, until it gives less or `limit` is reached. As JSON an
/// array, an element a line: it is read whole by who wants that, and as it comes by others.
pub async fn print<T: Serialize>(
    limit: Option<u64>,
    json: bool,
    mut page: impl AsyncFnMut(&str, u32) -> Result<Vec<T>, String>,
    id: fn(&T) -> &str,
    row: fn(&T) -> String,
) -> Result<(), String> {
    let mut wanted = limit.unwrap_or(u64::MAX);
    let mut after = String::new();
    let mut first = true;
    while wanted > 0 {
        let limit = u32::try_from(wanted.min(u64::from(remote::PAGE))).unwrap_or(remote::PAGE);
        let rows = page(&after, limit).await?;
        for one in &rows {
            if json {
                let element = serde_json::to_string(one).map_err(text)?;
                let before = if first { '[' } else { ',' };
                tables::say(format_args!("{before}{element}"));
            } else {
                tables::say(row(one));
            }
            first = false;
        }
        let Some(last) = rows.last() else { break };
        after = id(last).to_owned();
        wanted -= rows.len() as u64;
        if rows.len() < limit as usize {
            break;
        }
    }
    if json {
        tables::say(if first { "[]" } else { "]" });
    }
    Ok(())
}
