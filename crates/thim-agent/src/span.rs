//! Lengths of time as the configuration writes them: `"60s"`, `"500ms"`, `"1h"`; jiff reads them.

use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

/// A length of time, at most ten days.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
pub struct Span(Duration);

impl Span {
    /// Whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// As the standard library's duration.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted =
            || format!("{text:?} is no duration: wanted such as \"500ms\", \"60s\", \"1h\"");
        let read: SignedDuration = text.parse().map_err(|_| wanted())?;
        let read = Duration::try_from(read).map_err(|_| wanted())?;
        if read > LIMIT {
            return Err(format!("{text:?} is longer than the limit of 240 hours"));
        }
        Ok(Self(read))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Nothing an agent waits for takes longer; a typing mistake does.
const LIMIT: Duration = Duration::from_secs(240 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_their_near_misses() {
        for (text, millis) in [
            ("500ms", 500),
            ("60s", 60_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Span::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "1",
            "h",
            "-1s",
            "241h",
            "1 fortnight",
            "99999999999999999999h",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
    }
}
