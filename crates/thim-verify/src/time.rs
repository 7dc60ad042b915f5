//! Instants, whole seconds, UTC. The crate never reads a clock: `now` is always an argument of this type.
//!
//! Text is RFC 3339 (`2026-03-30T23:00:00Z`), the form of every date in Intel's signed JSON; for HTTP there is
//! [`UnixTime::http_date`]. Calendar arithmetic is jiff's.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;

/// An instant: whole seconds since 1970-01-01T00:00:00Z, without leap seconds.
///
/// Kept inside the years 0000 to 9999 so that every value has an RFC 3339 text: what lies outside is moved to
/// the nearest bound (`0000-01-01T00:00:00Z`, `9999-12-30T22:00:00Z`).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UnixTime(i64);

impl UnixTime {
    /// The latest instant that can be told, 9999-12-30T22:00:00Z (jiff's bound).
    pub const MAX: Self = Self(MAX_SECS);

    /// The earliest instant that can be told, 0000-01-01T00:00:00Z.
    pub const MIN: Self = Self(MIN_SECS);

    /// From whole seconds since 1970 UTC; saturates at [`UnixTime::MIN`] and [`UnixTime::MAX`].
    pub const fn from_secs(secs: i64) -> Self {
        Self(if secs < MIN_SECS {
            MIN_SECS
        } else if secs > MAX_SECS {
            MAX_SECS
        } else {
            secs
        })
    }

    /// Whole seconds since 1970 UTC.
    pub const fn secs(self) -> i64 {
        self.0
    }

    /// This instant moved by `secs` seconds; saturates.
    pub const fn plus_secs(self, secs: i64) -> Self {
        Self::from_secs(self.0.saturating_add(secs))
    }

    /// This instant moved by calendar months (31 January plus one month is 28 or 29 February); saturates.
    pub fn plus_months(self, months: i32) -> Self {
        let bound = if months < 0 { Self::MIN } else { Self::MAX };
        let Ok(span) = Span::new().try_months(months) else {
            return bound;
        };
        self.civil()
            .checked_add(span)
            .map_or(bound, Self::from_civil)
    }

    /// Seconds from `earlier` to `self`; negative when `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> i64 {
        // Cannot overflow: both lie within the years 0000 to 9999.
        self.0 - earlier.0
    }

    /// The form of HTTP date headers, RFC 9110 section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn http_date(self) -> String {
        let t = self.civil();
        let day = DAYS[usize::from(t.weekday().to_sunday_zero_offset().unsigned_abs()) % 7];
        let month = MONTHS[usize::from(t.month().unsigned_abs()).saturating_sub(1) % 12];
        format!(
            "{day}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
            t.day(),
            t.year(),
            t.hour(),
            t.minute(),
            t.second()
        )
    }

    /// From the UTC calendar; saturates.
    pub(crate) fn from_civil(civil: DateTime) -> Self {
        match Offset::UTC.to_timestamp(civil) {
            Ok(timestamp) => Self::from_secs(timestamp.as_second()),
            Err(_) if civil.year() > 0 => Self::MAX,
            Err(_) => Self::MIN,
        }
    }

    fn civil(self) -> DateTime {
        let timestamp = Timestamp::from_second(self.0).unwrap_or(Timestamp::UNIX_EPOCH);
        Offset::UTC.to_datetime(timestamp)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.civil();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        )
    }
}

impl FromStr for UnixTime {
    type Err = Error;

    /// Reads RFC 3339, section 5.6: `T` and `Z` in either case, a numeric offset, and fractions of a second,
    /// which are dropped (the second that has begun). Leap seconds (`:60`) are refused, as is the offset `-00:00`
    /// that says "offset unknown".
    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text.as_bytes()).ok_or_else(|| Error::Format {
            what: "time".to_owned(),
            why: "not an RFC 3339 date and time".to_owned(),
        })
    }
}

/// `YYYY-MM-DDThh:mm:ss[.f{1,9}](Z|±hh:mm)`.
fn parse(text: &[u8]) -> Option<UnixTime> {
    let (head, tail) = text.split_at_checked(19)?;
    let &[
        y1,
        y2,
        y3,
        y4,
        b'-',
        m1,
        m2,
        b'-',
        d1,
        d2,
        b'T' | b't',
        h1,
        h2,
        b':',
        n1,
        n2,
        b':',
        s1,
        s2,
    ] = head
    else {
        return None;
    };
    let year = i16::from(two(y1, y2)?) * 100 + i16::from(two(y3, y4)?);
    let civil = DateTime::new(
        year,
        two(m1, m2)?,
        two(d1, d2)?,
        two(h1, h2)?,
        two(n1, n2)?,
        two(s1, s2)?,
        0,
    )
    .ok()?;
    let zone = match tail.strip_prefix(b".") {
        None => tail,
        Some(rest) => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return None;
            }
            rest.get(digits..)?
        }
    };
    let offset_secs = match *zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
            if hours > 23 || minutes > 59 || (sign == b'-' && hours == 0 && minutes == 0) {
                return None;
            }
            let secs = i64::from(hours) * 3600 + i64::from(minutes) * 60;
            if sign == b'-' { -secs } else { secs }
        }
        _ => return None,
    };
    Some(UnixTime::from_civil(civil).plus_secs(-offset_secs))
}

/// Two decimal digits.
fn two(tens: u8, ones: u8) -> Option<i8> {
    if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return None;
    }
    i8::try_from((tens - b'0') * 10 + (ones - b'0')).ok()
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = UnixTime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 date and time")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<UnixTime, E> {
                parse(text.as_bytes()).ok_or_else(|| E::custom("not an RFC 3339 date and time"))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// 0000-01-01T00:00:00Z.
const MIN_SECS: i64 = -62_167_219_200;

/// 9999-12-30T22:00:00Z, `Timestamp::MAX` of jiff.
const MAX_SECS: i64 = 253_402_207_200;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixTime {
        text.parse().expect(text)
    }

    #[test]
    fn reads_rfc_3339_and_says_it_back() {
        for (text, back) in [
            ("2026-03-30T23:00:00Z", "2026-03-30T23:00:00Z"),
            ("2018-06-06T10:12:17.085Z", "2018-06-06T10:12:17Z"),
            ("1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59Z"),
            ("2026-03-30t23:00:00z", "2026-03-30T23:00:00Z"),
            ("2026-03-31T01:00:00+02:00", "2026-03-30T23:00:00Z"),
            ("2026-03-30T17:30:00-05:30", "2026-03-30T23:00:00Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("0000-01-01T00:00:00+01:00", "0000-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(at(text).to_string(), back, "{text}");
            assert_eq!(at(back).to_string(), back, "{text}");
        }
    }

    #[test]
    fn refuses_the_nearest_misses() {
        for text in [
            "",
            "2026-03-30",
            "2026-03-30T23:00:00",
            "2026-03-30 23:00:00Z",
            "2026-03-30T23:00Z",
            "2026-03-30T23:00:00.Z",
            "2026-03-30T23:00:00.0123456789Z",
            "2026-03-30T23:00:00,5Z",
            "2026-03-30T23:00:60Z",
            "2026-03-30T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-3-30T23:00:00Z",
            "+2026-03-30T23:00:00Z",
            "2026-03-30T23:00:00ZZ",
            "2026-03-30T23:00:00Z ",
            "2026-03-30T23:00:00Z[UTC]",
            "2026-03-30T23:00:00+24:00",
            "2026-03-30T23:00:00+00:60",
            "2026-03-30T23:00:00-00:00",
            "2026-03-30T23:00:00+0000",
            "2018-\n06-06T10:12:17Z",
            "２026-03-30T23:00:00Z",
        ] {
            assert!(text.parse::<UnixTime>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn calendar_and_http_forms() {
        assert_eq!(
            at("2025-11-12T00:00:00Z").plus_months(12),
            at("2026-11-12T00:00:00Z")
        );
        assert_eq!(
            at("2024-02-29T06:00:00Z").plus_months(12),
            at("2025-02-28T06:00:00Z")
        );
        assert_eq!(
            at("2024-03-31T06:00:00Z").plus_months(-1),
            at("2024-02-29T06:00:00Z")
        );
        assert_eq!(UnixTime::MAX.plus_months(i32::MAX), UnixTime::MAX);
        assert_eq!(UnixTime::MIN.plus_months(i32::MIN), UnixTime::MIN);
        assert_eq!(
            at("1994-11-06T08:49:37Z").http_date(),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(
            at("2026-11-24T00:00:00Z").http_date(),
            "Tue, 24 Nov 2026 00:00:00 GMT"
        );
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(UnixTime::from_secs(i64::MAX), UnixTime::MAX);
        assert_eq!(UnixTime::from_secs(i64::MIN), UnixTime::MIN);
        assert_eq!(UnixTime::MAX.plus_secs(i64::MAX), UnixTime::MAX);
        assert_eq!(UnixTime::from_secs(10).since(UnixTime::from_secs(15)), -5);
        for edge in [UnixTime::MIN, UnixTime::MAX] {
            assert_eq!(at(&edge.to_string()), edge);
            assert!(!edge.http_date().is_empty());
        }
    }
}
