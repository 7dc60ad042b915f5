//! What `thim verify quote` says to people: the verdict, the findings, what is missing and who must act.

use thim_client::{
    FindingRecord, QuoteComparison, QuoteExplanation, ShortComponent, ShortfallPart,
    ShortfallTarget,
};

use crate::tables;

/// One judgement.
pub fn explain(told: &QuoteExplanation) {
    let status = told.status.as_deref().unwrap_or("no status");
    let number = told
        .number
        .map_or_else(String::new, |number| format!(", number {number}"));
    let mut line = format!("{}: {status}{number}, at {}", told.verdict, told.at);
    if !told.reasons.is_empty() {
        line = format!("{line}: {}", told.reasons.join("; "));
    }
    tables::say(tables::printable(&line));
    tables::say("");
    tables::print(&told.findings.iter().map(row).collect::<Vec<_>>());
    if !told.advisories.is_empty() {
        tables::say("");
        tables::say(format_args!("advisories: {}", told.advisories.join(", ")));
    }
    let short = shortfall(told);
    if !short.is_empty() {
        tables::say("");
        for line in short {
            tables::say(tables::printable(&line));
        }
    }
    facts(told);
    if told.recorded {
        tables::say("recorded in the register");
    }
    for note in &told.notes {
        tables::say(format_args!("note: {}", tables::printable(note)));
    }
}

/// One column for each number.
pub fn compare(told: &QuoteComparison) {
    tables::say(format_args!("{} quote, at {}", told.tee, told.at));
    tables::say("");
    let mut rows = vec![heading(told)];
    let line = |name: &str, cell: &dyn Fn(&QuoteExplanation) -> String| {
        let mut row = vec![name.to_owned()];
        row.extend(told.columns.iter().map(|one| tables::printable(&cell(one))));
        row
    };
    rows.push(line("status", &|one| {
        one.status.clone().unwrap_or_else(|| "-".to_owned())
    }));
    rows.push(line("verdict", &|one| one.verdict.clone()));
    rows.push(line("TCB info issued", &|one| {
        let info = one
            .collateral
            .iter()
            .find(|used| used.key.contains("tcb-info"));
        info.map_or_else(|| "-".to_owned(), |used| used.issued.clone())
    }));
    rows.push(line("advisories", &|one| one.advisories.len().to_string()));
    let mut names: Vec<&str> = Vec::new();
    for finding in told.columns.iter().flat_map(|one| &one.findings) {
        if finding.outcome != "passed" && !names.contains(&finding.name.as_str()) {
            names.push(&finding.name);
        }
    }
    for name in names.into_iter().filter(|name| *name != "status") {
        rows.push(line(name, &|one| {
            let finding = one.findings.iter().find(|finding| finding.name == name);
            finding.map_or_else(
                || "-".to_owned(),
                |finding| finding.outcome.replace('-', " "),
            )
        }));
    }
    tables::print(&rows);
    for (at, column) in told.columns.iter().enumerate() {
        let number = heading(told).get(at + 1).cloned().unwrap_or_default();
        let short = shortfall(column);
        if short.is_empty() && column.notes.is_empty() && column.status.is_some() {
            continue;
        }
        tables::say("");
        tables::say(format_args!("number {number}:"));
        if column.status.is_none() {
            for reason in &column.reasons {
                tables::say(format_args!("  {}", tables::printable(reason)));
            }
        }
        for line in short {
            tables::say(format_args!("  {}", tables::printable(&line)));
        }
        for note in &column.notes {
            tables::say(format_args!("  note: {}", tables::printable(note)));
        }
    }
}

fn heading(told: &QuoteComparison) -> Vec<String> {
    let mut row = vec!["number".to_owned()];
    row.extend(told.columns.iter().map(|one| {
        one.number
            .map_or_else(|| "none".to_owned(), |number| number.to_string())
    }));
    row
}

fn row(finding: &FindingRecord) -> Vec<String> {
    let mut outcome = finding.outcome.replace('-', " ");
    if finding.allowed {
        outcome.push_str(", allowed");
    }
    let hint = match &finding.relaxation {
        Some(word) if !finding.allowed => format!(" (--allow {word} forgives it)"),
        Some(_) | None => String::new(),
    };
    let detail = finding.detail.as_deref().unwrap_or_default();
    let detail = tables::printable(&format!("{detail}{hint}"));
    vec![finding.name.clone(), outcome, detail]
}

/// In lines: each part that is not up to date, what is short, who must act.
fn shortfall(told: &QuoteExplanation) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(short) = &told.shortfall else {
        return lines;
    };
    let parts = [
        ("platform", &short.platform),
        ("TDX module", &short.tdx_module),
        ("quoting enclave", &short.qe),
    ];
    for (name, part) in parts {
        if let Some(part) = part {
            of_part(name, part, &mut lines);
        }
    }
    for need in &short.needs {
        lines.push(format!("{}: {}", need.name, need.action));
    }
    lines
}

fn of_part(name: &str, part: &ShortfallPart, lines: &mut Vec<String>) {
    let status = part.status.as_deref().unwrap_or("no level covers it");
    match (
        &part.next_better,
        &part.up_to_date,
        part.up_to_date_by.as_str(),
    ) {
        (_, _, "already") => {}
        (next, Some(best), _) if next.as_ref() != Some(best) => {
            if let Some(next) = next {
                of_target(name, status, next, lines);
            }
            of_target(name, status, best, lines);
        }
        (Some(target), _, _) | (None, Some(target), _) => of_target(name, status, target, lines),
        (None, None, _) => lines.push(format!(
            "{name}, {status}: no level above it; no update makes it better"
        )),
    }
}

fn of_target(name: &str, status: &str, target: &ShortfallTarget, lines: &mut Vec<String>) {
    lines.push(format!(
        "{name}, {status}, to {} (TCB of {}):",
        target.status, target.tcb_date
    ));
    lines.extend(target.components.iter().map(component));
}

fn component(short: &ShortComponent) -> String {
    let labels: Vec<&str> = [short.category.as_deref(), short.kind.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    let labels = if labels.is_empty() {
        String::new()
    } else {
        let by_convention = if short.by_convention {
            ", by convention"
        } else {
            ""
        };
        format!(" ({}{by_convention})", labels.join(", "))
    };
    format!(
        "  {}{labels}: has {}, needs {}; {}: {} {}",
        short.component, short.have, short.need, short.who, short.action, short.afterwards
    )
}

fn facts(told: &QuoteExplanation) {
    let Some(facts) = &told.facts else { return };
    let mut rows = vec![
        (
            "quote",
            format!("version {}, {}", facts.version, facts.body),
        ),
        (
            "FMSPC",
            facts
                .fmspc
                .clone()
                .unwrap_or_else(|| "not known".to_owned()),
        ),
    ];
    if let Some(enclave) = &facts.enclave {
        rows.push(("MRENCLAVE", enclave.mrenclave.clone()));
        rows.push(("MRSIGNER", enclave.mrsigner.clone()));
        rows.push((
            "product",
            format!("{}, ISVSVN {}", enclave.isvprodid, enclave.isvsvn),
        ));
    }
    if let Some(domain) = &facts.trust_domain {
        rows.push(("MRTD", domain.mrtd.clone()));
        rows.push(("TEE TCB SVN", domain.tee_tcb_svn.clone()));
        rows.push(("TDATTRIBUTES", domain.tdattributes.clone()));
    }
    rows.push(("REPORTDATA", facts.report_data.clone()));
    for used in &told.collateral {
        rows.push((
            "judged by",
            format!(
                "{}, {} to {} ({})",
                used.key, used.issued, used.next_update, used.source
            ),
        ));
    }
    tables::say("");
    let rows = rows.into_iter();
    let rows: Vec<Vec<String>> = rows
        .map(|(name, value)| vec![name.to_owned(), tables::printable(&value)])
        .collect();
    tables::print(&rows);
}
