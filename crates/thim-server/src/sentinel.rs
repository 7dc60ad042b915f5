//! May this edition replace that one? Pure: the rules of promises 1, 3 and 4 and nothing else.
//!
//! [`judge`] looks at one verified candidate beside the history of its key. [`settle`] looks at a history
//! alone and says what has changed with time or by later editions: a hold that lapsed, an edition that was
//! replaced, one that is past its grace. Both are asked again and again; what they said before is in the
//! states they are given, so a restart loses nothing.
//!
//! Order is by issue date (`thisUpdate`). Intel's CRL numbers carry no order: nearly all are 1 and the
//! root's went from 2 to 1 (`spec/intel-verification.md` section 2). AMD's rise by one each time, so one that falls is
//! as suspicious as an un-revocation (`spec/amd-kds-and-thim.md` 2.4).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use thim_verify::{Digest, UnixTime};

use crate::duration::Span;
use crate::freshness::ServeExpired;

/// A revoked certificate's serial number, minimal big-endian.
pub type Serial = Vec<u8>;

/// State of an edition (design.md, *Words*).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// History: past next update and grace, or its number was retired by the vendor.
    Archived,
    /// What is served.
    Current,
    /// Verified, suspicious, kept back for people to look at.
    Held,
    /// Failed a later judgement, such as its signer's revocation. Never served.
    Quarantined,
    /// A newer edition took its place.
    Superseded,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Archived => "archived",
            Self::Current => "current",
            Self::Held => "held",
            Self::Quarantined => "quarantined",
            Self::Superseded => "superseded",
        })
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "archived" => Self::Archived,
            "current" => Self::Current,
            "held" => Self::Held,
            "quarantined" => Self::Quarantined,
            "superseded" => Self::Superseded,
            other => {
                return Err(format!(
                    "{other:?} is no state: wanted archived, current, held, quarantined or superseded"
                ));
            }
        })
    }
}

/// How loud an event is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// Someone should look now.
    Alarm,
    /// For the record.
    Info,
    /// Someone should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alarm => "alarm",
            Self::Info => "info",
            Self::Warning => "warning",
        })
    }
}

/// Something worth an event: a dotted name of [`EVENT_NAMES`], and the story in a sentence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remark {
    /// The event's name.
    pub name: &'static str,
    /// How loud.
    pub severity: Severity,
    /// The story.
    pub text: String,
}

impl Remark {
    /// A remark.
    pub fn new(name: &'static str, severity: Severity, text: impl Into<String>) -> Self {
        debug_assert!(EVENT_NAMES.contains(&name), "{name} has no metric series");
        Self {
            name,
            severity,
            text: text.into(),
        }
    }
}

/// Every event name, so that every metric series exists from the start.
pub const EVENT_NAMES: &[&str] = &[
    "baseline.discarded",
    "baseline.drafted",
    "baseline.promoted",
    "baseline.rolled-back",
    "baseline.withdrawn",
    "cadence.missed",
    "chip.forgotten",
    "chip.registered",
    "crl.number",
    "crl.removed-expired",
    "crl.revoked",
    "crl.unrevoked",
    "edition.conflict",
    "edition.expired",
    "edition.future",
    "edition.older",
    "edition.quarantined",
    "edition.retired",
    "edition.unverified",
    "hold.released",
    "hold.started",
    "keys.lost",
    "keys.rotated",
    "pck.revoked",
    "pck.unrevoked",
    "platform.alias-moved",
    "platform.direct-refused",
    "platform.forgotten",
    "platform.partial",
    "platform.recovery",
    "platform.refetch-failed",
    "platform.takeover-refused",
    "platform.waiting",
    "revocation.unchecked",
    "signer.changed",
    "signer.revoked",
    "standard.differs",
    "token.created",
    "token.revoked",
    "trust.replaced",
    "upstream.down",
    "upstream.up",
    "vcek.key-changed",
    "vcek.stopped",
    "webhook.disabled",
    "webhook.given-up",
];

/// `[sentinel]` of the configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a suspicious edition is held at most. Default 72 h; `"0"` never holds.
    pub hold: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hold: Span::from_secs(72 * 3600),
        }
    }
}

/// The settings that a judgement depends on.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long an edition is held at most, in seconds; 0 never holds.
    pub hold_secs: i64,
    /// How long past next update an edition is served.
    pub serve_expired: ServeExpired,
}

/// Where a candidate comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// An operator's files: older and expired material is history.
    Import,
    /// A vendor's or peer's answer: older and expired material is refused.
    Upstream,
}

/// An edition in the eyes of the sentinel.
#[derive(Clone, Debug)]
pub struct Seen {
    /// SHA-256 of the signed bytes.
    pub id: Digest,
    /// Issue date or `thisUpdate`.
    pub issued: UnixTime,
    /// Next update.
    pub next_update: UnixTime,
    /// SHA-256 of the signer's SubjectPublicKeyInfo.
    pub signer_key: Digest,
    /// Its state so far.
    pub state: State,
    /// When THIM admitted it; a hold starts here.
    pub admitted: UnixTime,
    /// Revoked serials: of CRLs, and there of the last good edition and everything later.
    pub revoked: Option<BTreeSet<Serial>>,
    /// The CRL number where it carries an order: of AMD's, as far as `revoked` is told.
    pub number: Option<u64>,
}

/// All editions of one key, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Sorted by issue date.
    pub editions: Vec<Seen>,
}

/// A verified edition that asks to be admitted.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The edition, its `state` not yet meant.
    pub seen: Seen,
    /// Why its chain does not hold at the service's clock, if it does not.
    pub chain_fault: Option<String>,
    /// True where no root CRL was to be had.
    pub unchecked: bool,
}

/// What [`judge`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Judgement {
    /// To be stored in this state.
    Admit {
        /// The state to begin with; [`settle`] follows.
        state: State,
        /// Why this state.
        cause: String,
        /// Events to record.
        remarks: Vec<Remark>,
    },
    /// The same signed body is there already.
    Known,
    /// Not to be stored.
    Refuse(Remark),
}

/// A change of state that [`settle`] found due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Which edition.
    pub id: Digest,
    /// Into which state.
    pub state: State,
    /// Why.
    pub cause: String,
    /// An event to record, where the change deserves one.
    pub remark: Option<Remark>,
}

impl History {
    /// The edition that is served, else the newest that was: what a candidate is compared with.
    pub fn last_good(&self) -> Option<&Seen> {
        self.editions
            .iter()
            .rev()
            .find(|seen| seen.state == State::Current)
            .or_else(|| self.newest_settled())
    }

    /// The newest edition that is neither held nor quarantined.
    fn newest_settled(&self) -> Option<&Seen> {
        self.editions.iter().rev().find(|seen| {
            matches!(
                seen.state,
                State::Archived | State::Current | State::Superseded
            )
        })
    }

    /// The newest edition that may ever have been served: nothing older is taken from an upstream, also where
    /// that one has been quarantined since.
    pub fn floor(&self) -> Option<&Seen> {
        self.editions
            .iter()
            .rev()
            .find(|seen| seen.state != State::Held)
    }

    /// Puts an edition in its place.
    pub fn insert(&mut self, seen: Seen) {
        let place = self
            .editions
            .partition_point(|other| other.issued <= seen.issued);
        self.editions.insert(place, seen);
    }

    /// Applies a change.
    pub fn apply(&mut self, change: &Change) {
        if let Some(seen) = self.editions.iter_mut().find(|seen| seen.id == change.id) {
            seen.state = change.state;
        }
    }
}

/// Judges one verified candidate. `known_expired` tells whether a serial belongs to a certificate of this
/// CRL's issuer that is known to have expired before the candidate was issued (RFC 5280 section 3.3 lets a
/// CA drop those).
pub fn judge(
    candidate: &Candidate,
    history: &History,
    origin: Origin,
    now: UnixTime,
    policy: &Policy,
    known_expired: &dyn Fn(&Serial) -> bool,
) -> Judgement {
    let new = &candidate.seen;
    if let Some(known) = history.editions.iter().find(|seen| seen.id == new.id) {
        // To know it is no reason to take it again: an upstream that replays history is told from one that
        // confirms what is served.
        return match (origin, known.state) {
            (Origin::Upstream, State::Superseded) => refuse(
                "edition.older",
                Severity::Alarm,
                format!(
                    "issued {}, and since replaced by a newer edition",
                    new.issued
                ),
            ),
            (Origin::Upstream, State::Archived) => refuse(
                "edition.expired",
                Severity::Warning,
                format!("expired since {}", new.next_update),
            ),
            _ => Judgement::Known,
        };
    }
    if new.issued > now {
        return refuse(
            "edition.future",
            Severity::Warning,
            format!("issued {} which is after the clock {now}", new.issued),
        );
    }
    if let Some(twin) = history
        .editions
        .iter()
        .find(|seen| seen.issued == new.issued)
    {
        return refuse(
            "edition.conflict",
            Severity::Alarm,
            format!(
                "another body with the same issue date {}: {} is known, {} was offered",
                new.issued, twin.id, new.id
            ),
        );
    }
    let mut remarks = Vec::new();
    if candidate.unchecked {
        remarks.push(Remark::new(
            "revocation.unchecked",
            Severity::Warning,
            "no root CRL was to be had: the signer's revocation is unchecked and will be judged when one comes",
        ));
    }
    let newest = history.floor();
    if let Some(newest) = newest.filter(|newest| new.issued < newest.issued) {
        let text = format!(
            "issued {}, older than {} which is held",
            new.issued, newest.issued
        );
        return match origin {
            Origin::Import => Judgement::Admit {
                state: State::Superseded,
                cause: text,
                remarks,
            },
            Origin::Upstream => refuse("edition.older", Severity::Alarm, text),
        };
    }
    if new.next_update <= now {
        let text = format!("expired since {}", new.next_update);
        return match origin {
            Origin::Import => Judgement::Admit {
                state: State::Archived,
                cause: text,
                remarks,
            },
            Origin::Upstream => refuse("edition.expired", Severity::Warning, text),
        };
    }
    if let Some(fault) = &candidate.chain_fault {
        let text = format!("its chain does not hold at the clock: {fault}");
        return match origin {
            Origin::Import => Judgement::Admit {
                state: State::Archived,
                cause: text,
                remarks,
            },
            Origin::Upstream => refuse("edition.unverified", Severity::Warning, text),
        };
    }
    let Some(good) = history.last_good() else {
        return Judgement::Admit {
            state: State::Current,
            cause: "first edition".to_owned(),
            remarks,
        };
    };
    if good.signer_key != new.signer_key {
        remarks.push(Remark::new(
            "signer.changed",
            Severity::Alarm,
            format!(
                "signing key changed from {} to {}",
                good.signer_key.short(),
                new.signer_key.short()
            ),
        ));
    }
    let (state, cause) = match (&good.revoked, &new.revoked) {
        (Some(before), Some(after)) => {
            let removed = judge_crl(
                good,
                before,
                new,
                after,
                now,
                policy,
                known_expired,
                &mut remarks,
            );
            let fell = judge_number(good, new, now, policy, &mut remarks);
            match (removed, fell) {
                (0, false) => (State::Current, "newer".to_owned()),
                (0, true) => (State::Held, "its CRL number fell".to_owned()),
                _ => (State::Held, format!("un-revokes {removed}")),
            }
        }
        _ => (State::Current, "newer".to_owned()),
    };
    Judgement::Admit {
        state,
        cause,
        remarks,
    }
}

/// Compares two CRLs, adds what is worth saying to `remarks`, and returns how many un-revoked serials are
/// a reason to hold.
#[allow(
    clippy::too_many_arguments,
    reason = "one comparison of two editions under one policy; a struct would only rename them"
)]
fn judge_crl(
    good: &Seen,
    before: &BTreeSet<Serial>,
    new: &Seen,
    after: &BTreeSet<Serial>,
    now: UnixTime,
    policy: &Policy,
    known_expired: &dyn Fn(&Serial) -> bool,
    remarks: &mut Vec<Remark>,
) -> usize {
    let counts = format!("{} -> {} entries", before.len(), after.len());
    let added: Vec<&Serial> = after.difference(before).collect();
    if !added.is_empty() {
        remarks.push(Remark::new(
            "crl.revoked",
            Severity::Alarm,
            format!(
                "{counts}: {} newly revoked, applied at once: {}",
                added.len(),
                listed(&added)
            ),
        ));
    }
    let (expired, removed): (Vec<&Serial>, Vec<&Serial>) = before
        .difference(after)
        .partition(|serial| known_expired(serial));
    if !expired.is_empty() {
        remarks.push(Remark::new(
            "crl.removed-expired",
            Severity::Info,
            format!(
                "{counts}: {} dropped that are known to have expired: {}",
                expired.len(),
                listed(&expired)
            ),
        ));
    }
    if removed.is_empty() {
        return 0;
    }
    remarks.push(Remark::new(
        "crl.unrevoked",
        Severity::Alarm,
        format!(
            "{counts}: {} un-revoked: {}",
            removed.len(),
            listed(&removed)
        ),
    ));
    if policy.hold_secs == 0 || ending(good, now) {
        return 0;
    }
    remarks.push(Remark::new(
        "hold.started",
        Severity::Alarm,
        format!(
            "{counts}: held until {} at most; {} of {} stays",
            new.admitted.plus_secs(policy.hold_secs),
            good.id.short(),
            good.issued
        ),
    ));
    removed.len()
}

/// Compares the numbers of two CRLs where they carry an order; true where that is a reason to hold.
fn judge_number(
    good: &Seen,
    new: &Seen,
    now: UnixTime,
    policy: &Policy,
    remarks: &mut Vec<Remark>,
) -> bool {
    let (Some(before), Some(after)) = (good.number, new.number) else {
        return false;
    };
    if after > before {
        return false;
    }
    let fell = after < before;
    let (severity, what) = if fell {
        (Severity::Alarm, "fell")
    } else {
        (Severity::Warning, "did not rise")
    };
    let text = format!("its CRL number {what}: {before} -> {after}");
    remarks.push(Remark::new("crl.number", severity, text));
    if !fell || policy.hold_secs == 0 || ending(good, now) {
        return false;
    }
    if !remarks.iter().any(|remark| remark.name == "hold.started") {
        let text = format!(
            "CRL number {before} -> {after}: held until {} at most; {} of {} stays",
            new.admitted.plus_secs(policy.hold_secs),
            good.id.short(),
            good.issued
        );
        remarks.push(Remark::new("hold.started", Severity::Alarm, text));
    }
    true
}

/// What has become due in `history` by `now`, in the order to apply it. Asked after every admission, at
/// start, and whenever time may have decided something. A second call with the changes applied finds nothing.
pub fn settle(history: &History, now: UnixTime, policy: &Policy) -> Vec<Change> {
    let mut history = history.clone();
    let mut changes = Vec::new();
    let mut make = |history: &mut History, change: Change| {
        history.apply(&change);
        changes.push(change);
    };
    loop {
        let good = history
            .editions
            .iter()
            .rev()
            .find(|seen| seen.state == State::Current)
            .cloned();
        // The oldest held edition first: a vendor's editions follow one another.
        let Some(held) = history
            .editions
            .iter()
            .find(|seen| seen.state == State::Held)
            .cloned()
        else {
            break;
        };
        let Some(good) = good else {
            let cause = "released: nothing else is current".to_owned();
            make(&mut history, released(&held, cause));
            continue;
        };
        if held.issued < good.issued {
            let cause = format!("a newer edition of {} became current", good.issued);
            make(
                &mut history,
                Change {
                    id: held.id,
                    state: State::Superseded,
                    cause,
                    remark: None,
                },
            );
            continue;
        }
        let Some(cause) = release_cause(&held, &good, &history, now, policy) else {
            break;
        };
        make(&mut history, released(&held, cause));
    }
    let newest = history
        .editions
        .iter()
        .rev()
        .find(|seen| seen.state == State::Current)
        .cloned();
    if let Some(newest) = newest {
        let older: Vec<Digest> = history
            .editions
            .iter()
            .filter(|seen| seen.state == State::Current && seen.id != newest.id)
            .map(|seen| seen.id)
            .collect();
        for id in older {
            let cause = format!("replaced by {} of {}", newest.id.short(), newest.issued);
            make(
                &mut history,
                Change {
                    id,
                    state: State::Superseded,
                    cause,
                    remark: None,
                },
            );
        }
        if now >= policy.serve_expired.end(newest.next_update) {
            let cause = format!("expired since {} and past its grace", newest.next_update);
            let remark = Some(Remark::new(
                "edition.expired",
                Severity::Warning,
                cause.clone(),
            ));
            make(
                &mut history,
                Change {
                    id: newest.id,
                    state: State::Archived,
                    cause,
                    remark,
                },
            );
        }
    }
    changes
}

/// The next instant after `now` at which time alone may change something, if there is one.
pub fn next_settlement(history: &History, now: UnixTime, policy: &Policy) -> Option<UnixTime> {
    let good = history
        .editions
        .iter()
        .rev()
        .find(|seen| seen.state == State::Current);
    let held = history
        .editions
        .iter()
        .filter(|seen| seen.state == State::Held);
    let lapses = held.map(|seen| seen.admitted.plus_secs(policy.hold_secs));
    let ends = good.iter().flat_map(|seen| {
        [
            seen.next_update.plus_secs(-ENDING_SECS),
            policy.serve_expired.end(seen.next_update),
        ]
        .into_iter()
    });
    lapses.chain(ends).filter(|instant| *instant > now).min()
}

/// An event where the vendor has not signed for longer than expected.
pub fn cadence(issued: UnixTime, cadence_secs: i64, now: UnixTime) -> Option<Remark> {
    (now.since(issued) > cadence_secs).then(|| {
        Remark::new(
            "cadence.missed",
            Severity::Warning,
            format!(
                "nothing signed since {}, {} h ago; a new edition is expected every {} h",
                issued,
                now.since(issued) / 3600,
                cadence_secs / 3600
            ),
        )
    })
}

fn release_cause(
    held: &Seen,
    good: &Seen,
    history: &History,
    now: UnixTime,
    policy: &Policy,
) -> Option<String> {
    let (Some(kept), Some(offered)) = (&good.revoked, &held.revoked) else {
        return Some("released: there is nothing to compare it with".to_owned());
    };
    let removed: BTreeSet<&Serial> = kept.difference(offered).collect();
    let fell = |seen: &Seen| seen.number < good.number;
    if removed.is_empty() && !fell(held) {
        return Some("released: it takes back nothing of the current edition".to_owned());
    }
    let end = held.admitted.plus_secs(policy.hold_secs);
    if now >= end {
        return Some(format!(
            "released: held since {} and the hold ended {end}",
            held.admitted
        ));
    }
    if ending(good, now) {
        return Some(format!(
            "released: the current edition ends {}",
            good.next_update
        ));
    }
    let agreeing = history
        .editions
        .iter()
        .filter(|later| later.issued > held.issued && later.state != State::Quarantined)
        .filter(|later| !fell(held) || fell(later))
        .filter_map(|later| later.revoked.as_ref())
        .filter(|revoked| removed.iter().all(|serial| !revoked.contains(*serial)))
        .count();
    (agreeing >= AGREEING_EDITIONS)
        .then(|| format!("released: {agreeing} later editions agree with it"))
}

fn released(held: &Seen, cause: String) -> Change {
    let text = format!("edition {} of {} {cause}", held.id.short(), held.issued);
    Change {
        id: held.id,
        state: State::Current,
        cause,
        remark: Some(Remark::new("hold.released", Severity::Warning, text)),
    }
}

fn refuse(name: &'static str, severity: Severity, text: String) -> Judgement {
    Judgement::Refuse(Remark::new(name, severity, text))
}

fn ending(good: &Seen, now: UnixTime) -> bool {
    good.next_update.since(now) <= ENDING_SECS
}

fn listed(serials: &[&Serial]) -> String {
    let mut text: Vec<String> = serials
        .iter()
        .take(LISTED_SERIALS)
        .map(|serial| data_encoding::HEXLOWER.encode(serial))
        .collect();
    if serials.len() > LISTED_SERIALS {
        text.push(format!("and {} more", serials.len() - LISTED_SERIALS));
    }
    text.join(" ")
}

/// Promise 4: "three later editions of the vendor agree with it (the held one not counted)".
const AGREEING_EDITIONS: usize = 3;
/// Promise 4: "or last-good is within 24 h of its next update".
const ENDING_SECS: i64 = 24 * 3600;
/// An event is read by people; the history has the editions whole.
const LISTED_SERIALS: usize = 200;

#[cfg(test)]
#[path = "sentinel_tests.rs"]
mod tests;
