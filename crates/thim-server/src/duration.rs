//! Durations as the configuration writes them: a number and a unit, `"72h"`, `"7d"`, `"500ms"`; `"0"` is none.

use std::str::FromStr;

use serde::Deserialize;

/// A length of time in milliseconds, at most ten years.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
pub struct Span(i64);

impl Span {
    /// A span of whole seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Whole seconds, rounded down.
    pub const fn secs(self) -> i64 {
        self.0 / 1000
    }

    /// Milliseconds.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// As the standard library's duration.
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || {
            format!(
                "{text:?} is no duration: wanted a whole number with ms, s, m, h or d, such as \"72h\""
            )
        };
        if text == "0" {
            return Ok(Self(0));
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: i64 = number.parse().map_err(|_| wanted())?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wanted()),
        };
        match number.checked_mul(millis) {
            Some(total) if total <= LIMIT_MILLIS => Ok(Self(total)),
            _ => Err(format!("{text:?} is longer than the limit of 3650 days")),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

const LIMIT_MILLIS: i64 = 3650 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn durations_and_their_near_misses() {
        for (text, millis) in [
            ("0", 0),
            ("500ms", 500),
            ("72h", 259_200_000),
            ("7d", 604_800_000),
            ("3650d", 315_360_000_000),
        ] {
            assert_eq!(text.parse::<Span>().map(Span::millis), Ok(millis));
        }
        for text in [
            "",
            "1",
            "h",
            "-1h",
            "1.5h",
            "1 h",
            "1H",
            "3651d",
            "99999999999999999999d",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
    }
}
