//! Intel's TCB recovery events as far as they are known: dates, and the least platform software that goes with them. The data
//! is `data/tcb-recoveries.toml` of this crate, compiled in; each date says where it comes from, and what is unknown is absent.
//! A signed list of evaluation numbers outranks a date from here.

use std::sync::LazyLock;

use serde::Deserialize;
use thim_verify::{EvaluationNumber, UnixTime};

/// One TCB recovery event.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// The evaluation number that it began.
    pub number: EvaluationNumber,
    /// Its date, midnight UTC.
    pub event: UnixTime,
    /// Where the date comes from.
    pub source: DateSource,
    /// The least version of Intel's platform software on Linux.
    pub psw_linux: Option<String>,
    /// The same on Windows.
    pub psw_windows: Option<String>,
}

/// Where the date of an event comes from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum DateSource {
    /// The highest TCB date of a TCB info, less a day; about.
    Levels,
    /// The example in Azure's REST specification.
    Maa,
    /// Intel's signed list of evaluation numbers.
    Signed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    recovery: Vec<Recovery>,
}

/// All that are known, lowest number first.
pub fn all() -> &'static [Recovery] {
    &TABLE
}

/// The event of a number, where it is known.
pub fn of(number: EvaluationNumber) -> Option<&'static Recovery> {
    all().iter().find(|recovery| recovery.number == number)
}

/// Reads a table.
///
/// # Errors
/// What is wrong with it: no such TOML, numbers or dates that do not rise.
pub fn read(text: &str) -> Result<Vec<Recovery>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    for pair in file.recovery.windows(2) {
        if let [one, two] = pair
            && (one.number >= two.number || one.event >= two.event)
        {
            return Err(format!("recovery {}: number and date rise", two.number));
        }
    }
    Ok(file.recovery)
}

static TABLE: LazyLock<Vec<Recovery>> =
    LazyLock::new(|| read(TEXT).expect("the table that comes with the program is read by a test"));
// Inside the crate, so that the crate builds from its own files alone.
const TEXT: &str = include_str!("../../data/tcb-recoveries.toml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_and_knows_what_is_known() {
        let table = read(TEXT).expect("the table");
        let versions = |number| {
            let one = table.iter().find(|one| one.number == number);
            let one = one.expect("it is known");
            (one.psw_linux.as_deref(), one.psw_windows.as_deref())
        };
        assert_eq!(versions(10), (Some("2.9"), Some("2.7.101.2")));
        assert_eq!(versions(12), (Some("2.13.3"), Some("2.13.100.2")));
        assert_eq!(versions(15), (Some("2.17"), Some("2.16")));
        assert_eq!(versions(16), (None, None));
        assert_eq!(of(9), None);
    }

    #[test]
    fn numbers_and_dates_that_do_not_rise_are_refused() {
        let entry = |number: u32, event: &str| {
            format!("[[recovery]]\nnumber = {number}\nevent = \"{event}\"\nsource = \"signed\"\n")
        };
        let early = entry(16, "2023-08-08T00:00:00Z");
        let late = entry(17, "2024-03-12T00:00:00Z");
        assert!(read(&format!("{early}{late}")).is_ok());
        assert!(read(&format!("{late}{early}")).is_err());
        assert!(read(&format!("{early}{}", entry(17, "2023-08-08T00:00:00Z"))).is_err());
        assert!(read(&format!("{early}psw = \"2.17\"\n")).is_err());
    }
}
