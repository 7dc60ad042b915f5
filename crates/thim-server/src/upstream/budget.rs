//! What an upstream may be asked, and when: a generic cell rate algorithm whose one number is stored.
//!
//! `governor` cannot take up its state again after a restart, and promise 6 says a budget is never exceeded,
//! restarts included. The algorithm is one comparison, so it is here: pure, with the time as argument.
//! Two lanes share an upstream's rate so that neither a flood of misses nor a long refresh starves the other.

/// A rate with a burst.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Milliseconds between two calls at the steady rate.
    pub interval_millis: i64,
    /// Calls that may come at once after a pause.
    pub burst: i64,
}

/// One lane's state: the theoretical arrival time of the next call, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lane {
    /// The theoretical arrival time.
    pub arrival_millis: i64,
}

impl Rate {
    /// `per_second` calls, `burst` at once. A rate below one call per hour counts as that.
    pub fn per_second(per_second: f64, burst: u32) -> Self {
        let interval = (1000.0 / per_second).ceil().clamp(1.0, 3_600_000.0);
        #[allow(clippy::cast_possible_truncation, reason = "clamped above")]
        let interval_millis = interval as i64;
        Self {
            interval_millis,
            burst: i64::from(burst.max(1)),
        }
    }
}

impl Lane {
    /// The lane after one call at `now`, or how many milliseconds to wait for it.
    pub fn take(self, rate: Rate, now_millis: i64) -> Result<Self, i64> {
        let arrival = self.arrival_millis.max(now_millis);
        let tolerance = rate.interval_millis * (rate.burst - 1);
        let early = arrival - now_millis - tolerance;
        if early > 0 {
            Err(early)
        } else {
            Ok(Self {
                arrival_millis: arrival + rate.interval_millis,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_steady_rate() {
        let rate = Rate::per_second(2.0, 3);
        let mut lane = Lane::default();
        for _ in 0..3 {
            lane = lane.take(rate, 10_000).expect("within the burst");
        }
        assert_eq!(lane.take(rate, 10_000), Err(500));
        assert_eq!(lane.take(rate, 10_499), Err(1));
        lane = lane.take(rate, 10_500).expect("an interval later");
        assert_eq!(lane.take(rate, 10_500), Err(500));
    }

    #[test]
    fn any_window_stays_within_burst_and_rate_across_restarts() {
        let rate = Rate::per_second(5.0, 4);
        let mut lane = Lane::default();
        let mut taken = Vec::new();
        for now in (0..10_000).step_by(7) {
            // A restart keeps nothing but the stored number.
            lane = Lane {
                arrival_millis: lane.arrival_millis,
            };
            if let Ok(next) = lane.take(rate, now) {
                lane = next;
                taken.push(now);
            }
        }
        for (index, start) in taken.iter().enumerate() {
            let within = taken[index..]
                .iter()
                .take_while(|at| **at < start + 1000)
                .count();
            assert!(
                within <= 5 + 4,
                "{within} calls in the second after {start}"
            );
        }
        assert!(taken.len() <= 50 + 4 && taken.len() > 45, "{}", taken.len());
    }

    #[test]
    fn absurd_rates_are_bounded() {
        assert_eq!(
            Rate::per_second(0.0, 0),
            Rate {
                interval_millis: 3_600_000,
                burst: 1
            }
        );
        assert_eq!(Rate::per_second(1e9, 1).interval_millis, 1);
    }
}
