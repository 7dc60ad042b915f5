//! When the service is asked next. Pure: the instants and the chance are arguments.

use thim_verify::UnixTime;

/// When to ask again for what is held: at half of the time that it may be kept, give or take a tenth of it, so that a
/// fleet that started together does not ask together; sooner where the certificate ends soon.
///
/// `chance` is any number, of which every value is as likely.
pub fn refresh_at(
    obtained: UnixTime,
    cache_seconds: u32,
    not_after: UnixTime,
    chance: u64,
) -> UnixTime {
    let half = i64::from(cache_seconds) / 2;
    let tenth = (half / 5).max(1);
    let jitter = spread(chance, 2 * tenth) - tenth;
    let usual = obtained.plus_secs((half + jitter).max(1));
    if not_after.since(obtained) <= ENDS_SOON_SECS {
        return usual.min(obtained.plus_secs(SOON_SECS + spread(chance, SOON_SECS / 4)));
    }
    usual.min(not_after.plus_secs(-ENDS_SOON_SECS))
}

/// When to ask again after `failures` in a row, one at least: 2 s, doubling to 10 min, give or take a quarter; never
/// before the service said, up to an hour.
pub fn retry_at(now: UnixTime, failures: u32, retry_after: Option<u64>, chance: u64) -> UnixTime {
    let doubled = FIRST_RETRY_SECS << failures.saturating_sub(1).min(16);
    let wait = doubled.min(LAST_RETRY_SECS);
    let wait = wait + spread(chance, wait / 2) - wait / 4;
    let said = retry_after.map_or(0, |secs| i64::try_from(secs).unwrap_or(i64::MAX));
    now.plus_secs(wait.max(said.min(MOST_RETRY_AFTER_SECS)).max(1))
}

/// 0 to `limit`, both possible.
fn spread(chance: u64, limit: i64) -> i64 {
    let limit = u64::try_from(limit).unwrap_or(0);
    i64::try_from(chance % (limit + 1)).unwrap_or(0)
}

const FIRST_RETRY_SECS: i64 = 2;
const LAST_RETRY_SECS: i64 = 600;
/// A service that says more is asked again all the same: it may have been repaired.
const MOST_RETRY_AFTER_SECS: i64 = 3600;
/// Certificates have seven years; a month is time for people to look.
const ENDS_SOON_SECS: i64 = 30 * 86_400;
const SOON_SECS: i64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_795_000_000);

    #[test]
    fn refreshes_lie_around_the_middle_and_before_the_end() {
        let far = NOW.plus_secs(7 * 365 * 86_400);
        for chance in [0, 1, 4_000, u64::MAX / 3, u64::MAX] {
            let wait = refresh_at(NOW, 86_400, far, chance).since(NOW);
            assert!((43_200 - 8_640..=43_200 + 8_640).contains(&wait), "{wait}");
            let wait = refresh_at(NOW, 60, far, chance).since(NOW);
            assert!((24..=36).contains(&wait), "{wait}");
            // A certificate of its last month, and one whose last month begins before the middle.
            let wait = refresh_at(NOW, 86_400, NOW.plus_secs(29 * 86_400), chance).since(NOW);
            assert!((3600..=4500).contains(&wait), "{wait}");
            let end = NOW.plus_secs(30 * 86_400 + 100);
            assert_eq!(refresh_at(NOW, 86_400, end, chance).since(NOW), 100);
        }
        assert_ne!(
            refresh_at(NOW, 86_400, far, 0),
            refresh_at(NOW, 86_400, far, 999)
        );
    }

    #[test]
    fn retries_back_off_and_obey() {
        for chance in [0, 7, u64::MAX] {
            let wait = |failures, said| retry_at(NOW, failures, said, chance).since(NOW);
            assert!((1..=3).contains(&wait(1, None)));
            assert!((6..=10).contains(&wait(3, None)));
            assert!(
                (450..=750).contains(&wait(40, None))
                    && (450..=750).contains(&wait(u32::MAX, None))
            );
            assert_eq!(wait(1, Some(30)), 30);
            assert_eq!(wait(1, Some(u64::MAX)), 3600);
            assert!(wait(40, Some(1)) > 400);
        }
    }
}
