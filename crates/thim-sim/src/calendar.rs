//! Dates as the simulated vendor writes them.
//!
//! The simulator lives in unix seconds, given by the caller's clock; this file turns them into the shapes that leave
//! it: ISO 8601 UTC in signed documents, digits in certificates, calendar dates for TCB recovery events, and the `Date`
//! header.
//! Months are calendar months, because Intel's standard number moves twelve calendar months after an event
//! (spec/intel-verification.md, section 8).

use jiff::civil::{Date, Weekday};
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};

/// `issueDate` and `nextUpdate`: `2026-03-30T10:40:05Z`.
pub(crate) fn iso(unix_seconds: i64) -> String {
    timestamp(unix_seconds).to_string()
}

/// The UTC calendar date of an instant.
pub(crate) fn date(unix_seconds: i64) -> Date {
    Offset::UTC.to_datetime(timestamp(unix_seconds)).date()
}

/// Midnight of a date as signed documents write it: `2025-05-13T00:00:00Z`.
pub(crate) fn midnight(date: Date) -> String {
    format!("{date}T00:00:00Z")
}

/// The `Date` header (RFC 9110, section 5.6.7).
pub(crate) fn http_date(unix_seconds: i64) -> String {
    timestamp(unix_seconds)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

/// The instant in digits, as certificates write it: `20260205010433Z`.
pub(crate) fn compact(unix_seconds: i64) -> String {
    timestamp(unix_seconds)
        .strftime("%Y%m%d%H%M%SZ")
        .to_string()
}

/// The calendar year of an instant.
pub(crate) fn year(unix_seconds: i64) -> i16 {
    date(unix_seconds).year()
}

/// The instant so many calendar years later: AMD's validities are whole years.
pub(crate) fn years_after(unix_seconds: i64, years: i64) -> i64 {
    let begin = Offset::UTC.to_datetime(timestamp(unix_seconds));
    let end = begin.saturating_add(years.years());
    Offset::UTC
        .to_timestamp(end)
        .map_or(unix_seconds, |end| end.as_second())
}

/// The midnight that begins the day of an instant.
pub(crate) fn start_of_day(unix_seconds: i64) -> i64 {
    unix_seconds - unix_seconds.rem_euclid(86_400)
}

/// The date `days` before another.
pub(crate) fn days_before(date: Date, days: u32) -> Date {
    date.saturating_sub(i64::from(days).days())
}

/// The day after.
pub(crate) fn next_day(date: Date) -> Date {
    date.saturating_add(1.day())
}

/// The second Tuesday of the month `months` before a date: Intel's TCB recovery events fall on it.
pub(crate) fn second_tuesday(date: Date, months: u32) -> Date {
    let month = date.saturating_sub(i64::from(months).months());
    month
        .nth_weekday_of_month(2, Weekday::Tuesday)
        .unwrap_or(month)
}

/// Whether `date` is at least twelve calendar months old on `today`.
pub(crate) fn is_a_year_old(date: Date, today: Date) -> bool {
    date.saturating_add(12.months()) <= today
}

/// An instant outside jiff's years -9999 to 9999 becomes the epoch: a clock that wrong needs no finer answer.
fn timestamp(unix_seconds: i64) -> Timestamp {
    Timestamp::from_second(unix_seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn documents_and_headers_carry_utc() {
        assert_eq!(iso(1_774_867_205), "2026-03-30T10:40:05Z");
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(midnight(date(2025, 5, 13)), "2025-05-13T00:00:00Z");
    }

    #[test]
    fn certificates_last_whole_years() {
        // From 2026-02-05T01:04:33Z to 2033-02-05T01:04:33Z, as a genuine VCEK.
        assert_eq!(years_after(1_770_253_473, 7), 1_991_178_273);
        assert_eq!(compact(1_991_178_273), "20330205010433Z");
        assert_eq!(compact(start_of_day(1_770_253_473)), "20260205000000Z");
    }

    #[test]
    fn a_year_is_twelve_calendar_months() {
        let event = date(2024, 11, 12);
        assert!(!is_a_year_old(event, date(2025, 11, 11)));
        assert!(is_a_year_old(event, date(2025, 11, 12)));
        assert!(is_a_year_old(date(2024, 2, 29), date(2025, 2, 28)));
    }

    #[test]
    fn events_fall_on_second_tuesdays() {
        assert_eq!(second_tuesday(date(2025, 8, 30), 3), date(2025, 5, 13));
    }
}
