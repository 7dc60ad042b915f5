//! What people read: short aligned lines.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use thim_client::{EditionSummary, EventRecord, ImportReport, RefreshReport, Status};

/// Lines of columns, each column as wide as its widest cell; the last is left as it is.
pub fn print(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        say(format_args!(
            "{}",
            cells.collect::<Vec<_>>().join("  ").trim_end()
        ));
    }
}

/// One line on stdout. Who closes it early (`| head`) has read enough: the rest is dropped, the exit code stays.
/// Any other failure must not look like a short answer.
#[allow(
    clippy::disallowed_methods,
    reason = "the binary's own edge; printing is the last thing a command does, its store is closed by then"
)]
pub fn say(line: impl Display) {
    if let Err(error) = writeln!(std::io::stdout(), "{line}")
        && error.kind() != ErrorKind::BrokenPipe
    {
        eprintln!("thim: stdout: {error}");
        std::process::exit(2);
    }
}

/// JSON on one line, as it goes over the wire.
pub fn json(value: &impl serde::Serialize) -> Result<(), String> {
    say(format_args!(
        "{}",
        serde_json::to_string(value).map_err(|error| error.to_string())?
    ));
    Ok(())
}

pub fn import(report: &ImportReport) {
    let row = |name: &str, count: usize| vec![name.to_owned(), count.to_string()];
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    print(&[
        row("admitted", count(report.admitted)),
        row("known", count(report.known)),
        row("held", count(report.held)),
        row("future", count(report.future)),
        row("ignored", count(report.ignored)),
        row("refused", report.refused.len()),
    ]);
    for refused in &report.refused {
        say(format_args!(
            "  {} ({}): {}",
            printable(&refused.path),
            refused.kind,
            refused.reason
        ));
    }
}

pub fn editions(editions: &[EditionSummary]) {
    let rows: Vec<Vec<String>> = editions
        .iter()
        .map(|edition| {
            vec![
                short(&edition.id),
                edition.state.clone(),
                edition.issued.clone(),
                edition.next_update.clone(),
                edition.key.clone(),
            ]
        })
        .collect();
    print(&rows);
}

pub fn edition(edition: &EditionSummary) {
    let mut rows = vec![
        ("key", edition.key.clone()),
        ("id", edition.id.clone()),
        ("state", edition.state.clone()),
        ("freshness", edition.freshness.clone()),
        ("issued", edition.issued.clone()),
        ("next update", edition.next_update.clone()),
        ("admitted", edition.admitted.clone()),
        ("source", printable(&edition.source)),
        ("revocation", edition.revocation.clone()),
        ("bytes", edition.document_bytes.to_string()),
    ];
    rows.extend(edition.called.clone().map(|called| ("called", called)));
    rows.extend(
        edition
            .held_until
            .clone()
            .map(|until| ("held until", until)),
    );
    rows.extend(
        edition
            .revoked_entries
            .map(|entries| ("revoked", entries.to_string())),
    );
    rows.extend(
        edition
            .chain
            .iter()
            .map(|certificate| ("certificate", certificate.clone())),
    );
    print(
        &rows
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect::<Vec<_>>(),
    );
}

pub fn history(editions: &[EditionSummary]) {
    for edition in editions {
        let entries = edition
            .revoked_entries
            .map(|entries| format!("  {entries} revoked"))
            .unwrap_or_default();
        say(format_args!(
            "{}  {}  issued {}{entries}",
            short(&edition.id),
            edition.state,
            edition.issued
        ));
        for change in &edition.transitions {
            say(format_args!(
                "  {}  {}  {}",
                change.at, change.state, change.cause
            ));
        }
    }
}

pub fn events(events: &[EventRecord]) {
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|event| {
            let key = event.key.clone().unwrap_or_else(|| "-".to_owned());
            vec![
                event.seq.to_string(),
                event.at.clone(),
                event.severity.clone(),
                event.name.clone(),
                key,
                printable(&event.text),
            ]
        })
        .collect();
    print(&rows);
}

pub fn refresh(report: &RefreshReport) {
    let rows: Vec<Vec<String>> = report
        .steps
        .iter()
        .map(|step| {
            vec![
                step.key.clone(),
                step.outcome.clone().unwrap_or_else(|| "planned".to_owned()),
                step.why.clone(),
            ]
        })
        .collect();
    print(&rows);
    if rows.is_empty() {
        say(format_args!("nothing is due"));
    }
}

pub fn status(status: &Status) {
    let standard: Vec<String> = status
        .standard
        .iter()
        .map(|(tee, number)| format!("{tee} {number}"))
        .collect();
    let standard = if standard.is_empty() {
        "not known: no list".to_owned()
    } else {
        standard.join(", ")
    };
    let lists = if status.lists_expired {
        " (from expired lists)"
    } else {
        ""
    };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    print(&[
        row("version", status.version.clone()),
        row("clock", format!("{} ({})", status.now, status.clock)),
        row(
            "trust",
            format!("{} {}", status.trust, short(&status.trust_fingerprint)),
        ),
        row(
            "read only",
            if status.read_only { "yes" } else { "no" }.to_owned(),
        ),
        row("fill", status.fill.clone()),
        row("standard", format!("{standard}{lists}")),
        row("held", status.held_editions.to_string()),
        row("platforms", platforms(&status.platforms)),
        row(
            "next update",
            status
                .earliest_next_update
                .clone()
                .unwrap_or_else(|| "-".to_owned()),
        ),
    ]);
    let keys: Vec<Vec<String>> = status
        .keys
        .iter()
        .map(|key| {
            vec![
                key.state.clone(),
                key.freshness.clone(),
                key.next_update.clone(),
                key.key.clone(),
            ]
        })
        .collect();
    print(&keys);
}

/// Foreign names and texts without control characters: a file name must not drive a terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Enough of a digest to name it to `release`.
pub fn short(digest: &str) -> String {
    digest.chars().take(16).collect()
}

/// `12 ready, 1 waiting`, or `none`.
fn platforms(counts: &std::collections::BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    parts.join(", ")
}
