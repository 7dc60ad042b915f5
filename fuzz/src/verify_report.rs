//! The containers that `thim verify report` reads. The program has no library, so its module stands here by path.

use thim_server::evidence::form::read_report;
use thim_verify::amd::parse_report;

#[allow(dead_code, reason = "the limit is the program's")]
#[path = "../../crates/thim/src/verify/material.rs"]
mod material;

/// A file with a report: what is found in it is a report on its own, and is found again in its text form.
pub fn report_file(data: &[u8]) {
    match read_report(data) {
        Ok((_, report)) => {
            assert_eq!(parse_report(report.bytes()), Ok(report.clone()));
            let hex: String = report
                .bytes()
                .iter()
                .map(|b| format!("{b:02X}\n"))
                .collect();
            let (form, again) = read_report(hex.as_bytes()).expect("the same report");
            assert_eq!((form.encoding, form.container), ("hex", "raw"));
            assert_eq!(again, report);
        }
        Err(error) => {
            crate::readable(error);
        }
    }
}

/// A file with certificates and lists: at most the limit, and errors that can be printed.
pub fn report_collateral(data: &[u8]) {
    match material::read(data) {
        Ok(pieces) => assert!(pieces.len() <= 128, "{}", pieces.len()),
        Err(why) => assert!(!why.is_empty() && why.len() < 2048 && !why.contains('\0')),
    }
}
