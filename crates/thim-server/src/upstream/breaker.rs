//! A circuit breaker: an upstream that failed several times in a row is left alone for a while, so that
//! misses answer at once instead of each waiting for the same silence. Pure; kept in memory only, since a
//! restart is a good time to try again (the budget, which is a promise to others, is what survives).

/// Closed, or open until an instant; one call goes through when that has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Breaker {
    failures: u32,
    open_until_millis: i64,
}

/// What a result changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// It has just closed.
    Closed,
    /// It has just opened.
    Opened,
    /// Nothing to speak of.
    Same,
}

impl Breaker {
    /// May a call be made? `Err` has the milliseconds to wait. The call that is let through after the wait
    /// pushes the instant on, so that others keep waiting for its result.
    pub fn admit(&mut self, now_millis: i64) -> Result<(), i64> {
        if self.failures < THRESHOLD {
            return Ok(());
        }
        if now_millis < self.open_until_millis {
            return Err(self.open_until_millis - now_millis);
        }
        self.open_until_millis = now_millis + PROBE_MILLIS;
        Ok(())
    }

    /// Milliseconds until a call may be made; 0 now. Takes no turn: the one call after the wait is left to who makes it.
    pub fn wait_millis(&self, now_millis: i64) -> i64 {
        if self.failures < THRESHOLD {
            return 0;
        }
        (self.open_until_millis - now_millis).max(0)
    }

    /// A call succeeded: the upstream answered, whatever it said.
    pub fn succeeded(&mut self) -> Turn {
        let turn = if self.failures >= THRESHOLD {
            Turn::Closed
        } else {
            Turn::Same
        };
        *self = Self::default();
        turn
    }

    /// A call failed: no connection, no answer in time, a broken answer, or 5xx.
    pub fn failed(&mut self, now_millis: i64) -> Turn {
        self.failures = self.failures.saturating_add(1);
        if self.failures < THRESHOLD {
            return Turn::Same;
        }
        let doublings = (self.failures - THRESHOLD).min(4);
        self.open_until_millis = now_millis + (FIRST_MILLIS << doublings).min(LONGEST_MILLIS);
        if self.failures == THRESHOLD {
            Turn::Opened
        } else {
            Turn::Same
        }
    }

    /// True where calls are being refused.
    pub fn is_open(&self) -> bool {
        self.failures >= THRESHOLD
    }
}

const THRESHOLD: u32 = 5;
const FIRST_MILLIS: i64 = 5_000;
const LONGEST_MILLIS: i64 = 60_000;
/// Longer than one call may take.
const PROBE_MILLIS: i64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_five_failures_probes_once_and_closes_on_success() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert_eq!(breaker.failed(0), Turn::Same);
            assert_eq!(breaker.admit(0), Ok(()));
        }
        assert_eq!(breaker.failed(0), Turn::Opened);
        assert_eq!(breaker.admit(0), Err(5_000));
        assert_eq!(breaker.admit(4_999), Err(1));
        assert_eq!(breaker.wait_millis(4_999), 1);
        assert_eq!(
            breaker.wait_millis(5_000),
            0,
            "who only looks takes nothing"
        );
        assert_eq!(breaker.admit(5_000), Ok(()), "one probe");
        assert_eq!(breaker.admit(5_001), Err(9_999), "and no second");
        assert_eq!(breaker.failed(6_000), Turn::Same);
        assert_eq!(breaker.admit(15_999), Err(1), "twice as long");
        assert_eq!(breaker.admit(16_000), Ok(()));
        assert_eq!(breaker.succeeded(), Turn::Closed);
        assert_eq!(breaker.admit(16_000), Ok(()));
        assert_eq!(breaker.succeeded(), Turn::Same);
    }

    #[test]
    fn the_wait_is_bounded() {
        let mut breaker = Breaker::default();
        for _ in 0..1000 {
            breaker.failed(0);
        }
        assert_eq!(breaker.admit(0), Err(LONGEST_MILLIS));
    }
}
