//! The line before each webhook: one piece of news after the other, in order, until it is taken or given up.
//!
//! What it promises. What is in line is in the store, so a restart loses nothing and repeats at most the one that was under
//! way (the id tells a receiver). A receiver that fails is asked again after 10 s, then twice as long each time, up to an
//! hour, or after its own `Retry-After`; the others do not wait for it. News is given up after a week, and sooner where the
//! receiver says that it is wrong; a receiver that answers 410 is asked nothing more. Both are events.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use thim_verify::UnixTime;

use super::keeping::News;
use super::message;
use crate::clock::Clock;
use crate::metrics::Delivery;
use crate::sentinel::{Remark, Severity};
use crate::store::{StoreError, Waiting};
use crate::upstream::{Posted, Webhook};

/// What a step came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delivered {
    /// One was taken; there may be another.
    Done,
    /// An attempt in vain, or something was given up.
    Failed,
    /// The webhook is not asked any more.
    Gone,
    /// Nothing is in line.
    Idle,
    /// The first in line is not to be tried before so many seconds have passed.
    Wait {
        /// Seconds.
        secs: i64,
    },
}

impl News {
    /// How many webhooks there are.
    pub fn webhooks(&self) -> usize {
        self.receivers().len()
    }

    /// Delivers the first in line before a webhook, if it is due.
    pub async fn deliver(&self, webhook: usize, clock: &Clock) -> Result<Delivered, StoreError> {
        let (Some(turn), Some(webhook)) = (self.turn(webhook), self.receivers().get(webhook))
        else {
            return Ok(Delivered::Gone);
        };
        let _turn = turn.lock().await;
        if self.collateral().is_read_only() {
            return Ok(Delivered::Gone);
        }
        let name = webhook.name();
        let store = self.collateral().store();
        if store.webhook_is_gone(name, webhook.url_digest()).await? {
            return Ok(Delivered::Gone);
        }
        let delivered = self.deliver_first(webhook, clock).await;
        let waiting = store.outbox_count(name).await?;
        self.collateral().metrics().undelivered(name, waiting);
        delivered
    }

    async fn deliver_first(
        &self,
        webhook: &Webhook,
        clock: &Clock,
    ) -> Result<Delivered, StoreError> {
        let (name, now) = (webhook.name(), clock.now());
        let (store, metrics) = (self.collateral().store(), self.collateral().metrics());
        if store.outbox_count(name).await? > LINE {
            let gone = store.outbox_shorten(name, LINE).await?;
            let why = format!("more than {LINE} pieces of news wait for it");
            self.given_up(webhook, gone, &why, now).await?;
        }
        let Some(first) = store.outbox_first(name).await? else {
            return Ok(Delivered::Idle);
        };
        let wait = first.due.since(now);
        // A clock that was set back does not hold news up for longer than any pause.
        if (1..=PAUSE_LIMIT_SECS).contains(&wait) {
            return Ok(Delivered::Wait { secs: wait });
        }
        let (id, body) = message::event(&first.news, self.source());
        let posted = webhook.post(&id, body, now).await;
        let now = clock.now();
        let (why, retry_after_secs, refused) = match posted {
            Posted::Done => {
                store.outbox_done(name, first.news.seq).await?;
                metrics.delivery(name, Delivery::Delivered, 1);
                return Ok(Delivered::Done);
            }
            Posted::Gone => {
                let waiting = store.outbox_count(name).await?;
                store.webhook_gone(name, webhook.url_digest(), now).await?;
                let waiting = u64::try_from(waiting).unwrap_or(0);
                metrics.delivery(name, Delivery::GivenUp, waiting);
                let text = format!(
                    "the webhook {name} ({}) answered 410: it is told nothing more until its URL is another",
                    webhook.shown()
                );
                self.remark("webhook.disabled", text, now).await?;
                return Ok(Delivered::Gone);
            }
            Posted::Refused {
                status,
                retry_after_secs,
            } => (
                format!("status {status}"),
                retry_after_secs,
                is_final(status),
            ),
            Posted::Unavailable { why } => (why, None, false),
        };
        metrics.delivery(name, Delivery::Failed, 1);
        self.failed(webhook, &first, &why, retry_after_secs, refused, now)
            .await?;
        Ok(Delivered::Failed)
    }

    async fn failed(
        &self,
        webhook: &Webhook,
        first: &Waiting,
        why: &str,
        retry_after_secs: Option<i64>,
        refused: bool,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let (name, seq) = (webhook.name(), first.news.seq);
        let store = self.collateral().store();
        let attempts = first.attempts.saturating_add(1);
        let refusals = first.refused.saturating_add(u32::from(refused));
        tracing::warn!(
            webhook.name = name,
            webhook.at = webhook.shown(),
            news.seq = seq,
            webhook.attempts = attempts,
            error = why,
            "news was not delivered; it is tried again"
        );
        if now.since(first.news.at) > GIVE_UP_SECS {
            let before = now.plus_secs(-GIVE_UP_SECS);
            let gone = store.outbox_give_up(name, before).await?;
            let why = format!("it has taken nothing for a week: {why}");
            return self.given_up(webhook, gone, &why, now).await;
        }
        if refused && refusals >= REFUSALS {
            store.outbox_done(name, seq).await?;
            let why = format!("it has refused number {seq} {REFUSALS} times: {why}");
            return self.given_up(webhook, 1, &why, now).await;
        }
        let pause = pause_secs(attempts).max(retry_after_secs.unwrap_or(0));
        let due = now.plus_secs(pause.min(PAUSE_LIMIT_SECS));
        store
            .outbox_failed(name, seq, (attempts, refusals), due)
            .await
    }

    async fn given_up(
        &self,
        webhook: &Webhook,
        count: u64,
        why: &str,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let name = webhook.name();
        let metrics = self.collateral().metrics();
        metrics.delivery(name, Delivery::GivenUp, count);
        let text = format!(
            "{count} pieces of news for the webhook {name} ({}) are given up: {why}",
            webhook.shown()
        );
        self.remark("webhook.given-up", text, now).await
    }

    async fn remark(
        &self,
        event: &'static str,
        text: String,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let remark = Remark::new(event, Severity::Warning, text);
        let event = crate::admission::event(now, remark, None, None);
        self.collateral().record(vec![event]).await
    }
}

/// A status that says that the message is wrong, and not that the moment is.
const fn is_final(status: u16) -> bool {
    matches!(status, 400..=499) && !matches!(status, 401 | 403 | 408 | 425 | 429)
}

/// How long to wait after so many attempts in vain. Without chance: each line is alone before its receiver.
fn pause_secs(attempts: u32) -> i64 {
    let mut pauses = ExponentialBuilder::new()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .build();
    // After as many doublings as it takes to reach the longest pause there is no other.
    let nth = usize::try_from(attempts.saturating_sub(1).min(DOUBLINGS)).unwrap_or(0);
    let pause = pauses.nth(nth).unwrap_or(LONGEST_PAUSE);
    i64::try_from(pause.as_secs()).unwrap_or(i64::MAX)
}

/// A receiver that restarts is back by then.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// One that was repaired hears within the hour.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// 10 s, doubled nine times, is more than an hour.
const DOUBLINGS: u32 = 9;
/// A receiver must not silence us for longer.
const PAUSE_LIMIT_SECS: i64 = 24 * 3600;
/// What is a week old is in the feed and in the API, and no longer news.
const GIVE_UP_SECS: i64 = 7 * 24 * 3600;
/// Over an hour of pauses: long enough for a receiver that was deployed wrongly to be put right.
const REFUSALS: u32 = 10;
/// A year's news, twice over; the store has twice as much.
const LINE: i64 = 500;

#[cfg(test)]
mod tests {
    use super::pause_secs;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let pauses: Vec<i64> = [1, 2, 3, 9, 10, 11, u32::MAX].map(pause_secs).to_vec();
        assert_eq!(pauses, [10, 20, 40, 2560, 3600, 3600, 3600]);
    }
}
