//! What `thim verify report` says to people: a line with the verdict, a table of findings, a table of facts.

use thim_server::evidence::report::{ReportExplanation, ReportFinding};
use thim_server::evidence::report_facts::{ReportFacts, ReportPolicy};
use thim_verify::amd::Status;

use crate::tables;

/// Prints it.
pub fn print(answer: &ReportExplanation) {
    let verdict = match answer.status() {
        Status::NotAccepted => format!("not accepted at {}: {}", answer.at, answer.why()),
        Status::Ok => format!("ok at {}", answer.at),
        Status::Unknown => format!("unknown at {}: {}", answer.at, answer.why()),
    };
    tables::say(format_args!("{}", tables::printable(&verdict)));
    tables::say("");
    let rows: Vec<Vec<String>> = answer.findings.iter().map(finding).collect();
    tables::print(&rows);
    if let Some(facts) = &answer.facts {
        tables::say("");
        tables::print(&about(facts));
    }
    for note in &answer.notes {
        tables::say(format_args!("left aside: {}", tables::printable(note)));
    }
}

fn finding(finding: &ReportFinding) -> Vec<String> {
    let outcome = finding.outcome.replace('-', " ");
    let outcome = if finding.allowed {
        format!("{outcome}, allowed")
    } else {
        outcome
    };
    let hint = match finding.relaxation {
        Some(word) if !finding.allowed => format!(" (--allow {word} forgives it)"),
        Some(_) | None => String::new(),
    };
    let detail = finding.detail.as_deref().unwrap_or_default();
    let detail = tables::printable(&format!("{detail}{hint}"));
    vec![finding.name.to_owned(), outcome, detail]
}

fn about(facts: &ReportFacts) -> Vec<Vec<String>> {
    let mut rows = vec![
        ("product", facts.product.unwrap_or("not known").to_owned()),
        ("version", facts.version.to_string()),
        ("signing key", facts.signing_key.to_owned()),
        ("vmpl", facts.vmpl.clone()),
        ("reported TCB", facts.reported_tcb.text.clone()),
        ("current TCB", facts.current_tcb.text.clone()),
        ("firmware", facts.current_firmware.clone()),
        ("policy", policy(&facts.policy)),
        ("measurement", facts.measurement.clone()),
        ("report data", facts.report_data.clone()),
        ("host data", facts.host_data.clone()),
    ];
    if let Some(chip_id) = &facts.chip_id {
        rows.push(("chip id", chip_id.clone()));
    }
    if let Some(leaf) = &facts.endorsement {
        let csp = leaf.csp_id.as_deref();
        let csp = csp.map_or_else(String::new, |csp| format!(" of {csp}"));
        let (from, until) = (&leaf.not_before, &leaf.not_after);
        let source = &leaf.source;
        rows.push((leaf.kind, format!("{from} to {until}{csp} ({source})")));
    }
    if let Some(chain) = &facts.chain {
        let (issuing, ark, source) = (&chain.issuing, &chain.ark, &chain.source);
        rows.push(("chain", format!("{issuing}, {ark} ({source})")));
    }
    if let Some(crl) = &facts.crl {
        let (from, until) = (&crl.this_update, &crl.next_update);
        let (number, source) = (crl.number, &crl.source);
        rows.push((
            "list",
            format!("number {number}, {from} to {until} ({source})"),
        ));
    }
    let rows = rows.into_iter();
    rows.map(|(name, value)| vec![name.to_owned(), tables::printable(&value)])
        .collect()
}

fn policy(policy: &ReportPolicy) -> String {
    let flags = [
        ("debug", policy.debug),
        ("migration agent", policy.migration_agent),
        ("SMT", policy.smt),
        ("single socket", policy.single_socket),
        ("CXL", policy.cxl),
    ];
    let set: Vec<&str> = flags
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect();
    format!("{}, ABI {}, {}", policy.hex, policy.abi, set.join(", "))
}
