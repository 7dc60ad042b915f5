//! Runs `thim verify report` and reads what it says: for the tests of that command.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::program::{code, json, text, thim};

/// `thim verify report` with these arguments.
pub fn verify(arguments: &[&str]) -> Output {
    thim(&[&["verify", "report"], arguments].concat())
}

/// Exit code, status, and the findings that did not pass, as `name outcome`, with ` allowed`.
pub fn judged(arguments: &[&str]) -> (i32, String, Vec<String>) {
    let output = verify(&[arguments, &["--json"]].concat());
    let answer = json(&output);
    let status = answer["status"].as_str().expect("a status").to_owned();
    let findings = answer["findings"].as_array().expect("findings");
    let line = |finding: &Value| {
        let word = |name: &str| finding[name].as_str().expect("a word").to_owned();
        let allowed = if finding["allowed"] == true {
            " allowed"
        } else {
            ""
        };
        format!("{} {}{allowed}", word("name"), word("outcome"))
    };
    let flaws = findings.iter().map(line);
    let flaws = flaws.filter(|line| !line.ends_with(" passed"));
    (code(&output), status, flaws.collect())
}

#[track_caller]
pub fn expect(arguments: &[&str], exit: i32, flaws: &[&str]) {
    let status = ["ok", "not-accepted", "unknown"][usize::try_from(exit).expect("an index")];
    let (code, found, findings) = judged(arguments);
    let outcome = (
        code,
        found.as_str(),
        findings.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert_eq!(outcome, (exit, status, flaws.to_vec()), "{arguments:?}");
}

pub fn written(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("written");
    text(&path).to_owned()
}

/// Every word that `--allow` takes.
pub const EVERYTHING: &str = "debug,expired,masked-chip,migration-agent,unchecked-revocation";
