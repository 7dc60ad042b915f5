//! Keeping what is held fresh, told as plan -> steps -> execute; a plan can be printed without being carried out.
//!
//! What is polled: the lists of evaluation numbers and the root CRL always, PCK CRLs and the identities that
//! every verification needs, every key with a current edition, and for every known FMSPC and identity the numbers that are
//! standard and early now, become standard soon, or are selected by a baseline, so that a roll-over finds its documents
//! already here. Polls are jittered, run ahead of next
//! update, and draw on the background lane of the upstream's budget.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use thim_client::{RefreshReport, RefreshStep};
use thim_verify::amd::EndorsementKind;
use thim_verify::{ArtefactKey, Enclave, PckCa, Tee, UnixTime};

use crate::baseline::Choice;
use crate::clock::Clock;
use crate::collateral::{Ask, Collateral, Refusal};
use crate::fetching::Answered;
use crate::sentinel::State;
use crate::store::{KeyRow, StoreError};
use crate::upstream::{Fill, Lane};
use crate::view::Subject;

/// One step: what to ask, and why now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// What to ask.
    pub ask: Ask,
    /// What it is about, for people.
    pub subject: String,
    /// Why now.
    pub why: String,
    /// What has been seen since this instant needs no asking any more; `None` asks in any case.
    pub unless_seen_since: Option<UnixTime>,
}

/// Keys that failed lately are left alone for a while.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<Ask, UnixTime>>);

impl Backoff {
    fn waits(&self, ask: &Ask, now: UnixTime) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(ask)
            .is_some_and(|until| now < *until)
    }

    fn set(&self, ask: Ask, until: UnixTime) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Asks come from held keys alone, so this is bounded by the store; old ones go all the same.
        waiting.retain(|_, other| *other > until.plus_secs(-WITHDRAWN_SECS));
        waiting.insert(ask, until);
    }
}

/// What is due at `now`; with `all`, everything that is kept fresh.
pub async fn plan(
    collateral: &Collateral,
    now: UnixTime,
    all: bool,
) -> Result<Vec<Step>, StoreError> {
    let rows = collateral.store().keys().await?;
    let held: BTreeMap<ArtefactKey, &KeyRow> = rows.iter().map(|row| (row.key, row)).collect();
    let view = collateral.view();
    let mut steps: BTreeMap<String, (u8, Step)> = BTreeMap::new();
    let mut consider = |rank: u8, ask: Ask, key: Option<ArtefactKey>, name: String| {
        let current = key
            .and_then(|key| held.get(&key))
            .filter(|row| row.state == State::Current);
        let why = match current {
            None => "not held".to_owned(),
            Some(row) => {
                let seen = row
                    .confirmed
                    .map_or(row.admitted, |confirmed| confirmed.max(row.admitted));
                let jitter = (u64::from(row.id.0[0]) << 8 | u64::from(row.id.0[1])) % 1001;
                let due = collateral
                    .policy(row.key.kind())
                    .poll_due(row.next_update, seen, jitter);
                match (due <= now, all) {
                    (true, _) => format!("last seen {seen}, due {due}"),
                    (false, true) => format!("asked for; due {due}"),
                    (false, false) => return,
                }
            }
        };
        if all || !collateral.backoff.waits(&ask, now) {
            steps.entry(name.clone()).or_insert((
                rank,
                Step {
                    ask,
                    subject: name,
                    why,
                    unless_seen_since: (!all).then_some(now),
                },
            ));
        }
    };
    for key in [
        ArtefactKey::RootCrl,
        ArtefactKey::EvaluationNumbers { tee: Tee::Sgx },
        ArtefactKey::EvaluationNumbers { tee: Tee::Tdx },
    ] {
        consider(0, Ask::Artefact(key), Some(key), key.to_string());
    }
    // Of AMD's what this fleet needs: products it has chips of, and whatever list was asked for once.
    let products = collateral.store().products_in_use().await?;
    let wanted = products.into_iter().flat_map(|product| {
        let kind = EndorsementKind::Vcek;
        [
            ArtefactKey::AmdCrl { product, kind },
            ArtefactKey::AmdCertChain { product, kind },
        ]
    });
    let lists = rows
        .iter()
        .map(|row| row.key)
        .filter(|key| matches!(key, ArtefactKey::AmdCrl { .. }));
    for key in wanted.chain(lists) {
        consider(0, Ask::Artefact(key), Some(key), key.to_string());
    }
    for ca in PckCa::ALL {
        let key = ArtefactKey::PckCrl { ca };
        consider(1, Ask::Artefact(key), Some(key), key.to_string());
    }
    let mut subjects: Vec<Subject> = [Enclave::Qe, Enclave::Qve, Enclave::TdQe]
        .map(|enclave| Subject::EnclaveIdentity { enclave })
        .into();
    subjects.extend(
        rows.iter()
            .filter_map(|row| Subject::of(&row.key).map(|(subject, _)| subject)),
    );
    subjects.retain(|subject| !matches!(subject, Subject::TcbInfo { version: 2, .. }));
    // What baselines in force, waiting or drafted select, and what becomes standard soon: a roll-over waits for all of it.
    for number in collateral.wanted_numbers().iter() {
        for subject in &subjects {
            let key = subject.key(*number);
            consider(2, Ask::Artefact(key), Some(key), key.to_string());
        }
    }
    for subject in subjects {
        match view.resolve(subject, Choice::Standard, now) {
            Some(resolved) if !resolved.without_list => {
                let key = subject.key(resolved.number);
                consider(2, Ask::Artefact(key), Some(key), key.to_string());
            }
            // Without a list the source's own word is asked for, and may move the number.
            resolved => {
                let key = resolved.map(|resolved| subject.key(resolved.number));
                consider(
                    2,
                    Ask::Subject(subject, Choice::Standard),
                    key,
                    format!("{subject} standard"),
                );
            }
        }
    }
    let signed = view.lists.signed_now(now);
    for row in rows.iter().filter(|row| row.state == State::Current) {
        if let Some((subject, number)) = Subject::of(&row.key) {
            let version_2 = matches!(subject, Subject::TcbInfo { version: 2, .. });
            // The vendor signs neither version 2 nor a number it no longer lists: asking brings a 410.
            if version_2 || signed.first().is_some_and(|lowest| number < *lowest) {
                continue;
            }
            consider(
                3,
                Ask::Artefact(row.key),
                Some(row.key),
                row.key.to_string(),
            );
        }
    }
    let mut steps: Vec<(u8, Step)> = steps.into_values().collect();
    steps.sort_by_key(|(rank, _)| *rank);
    Ok(steps.into_iter().map(|(_, step)| step).collect())
}

/// Carries out one step.
pub async fn execute(
    collateral: &Arc<Collateral>,
    step: &Step,
    now: UnixTime,
) -> Result<(), Refusal> {
    let source = if step.ask.is_amd() {
        collateral.kds().sources().next()
    } else {
        collateral.intel().all().last()
    };
    if let Some(source) = source {
        source.pace(Lane::Background).await;
    }
    // Somebody who missed it may have fetched it since the plan was made.
    let answered = step
        .unless_seen_since
        .map_or(Answered::Never, Answered::SeenSince);
    let result = collateral
        .fly(step.ask, now, Lane::Background, answered)
        .await;
    let wait = match &result {
        Ok(()) => {
            // What came may be held, and confirm nothing; it is not asked for again at once.
            let pace = match step.ask {
                Ask::Artefact(key) => collateral.policy(key.kind()).poll_secs / 4,
                Ask::Fmspcs | Ask::Subject(..) => RETRY_SECS,
            };
            collateral.backoff.set(step.ask, now.plus_secs(pace));
            return Ok(());
        }
        Err(
            Refusal::Absent { .. }
            | Refusal::Retired { .. }
            | Refusal::Version3 { .. }
            | Refusal::NotHeld { .. },
        ) => WITHDRAWN_SECS,
        Err(Refusal::Throttled {
            retry_after_secs, ..
        }) => (*retry_after_secs).max(RETRY_SECS),
        Err(
            Refusal::Busy { .. }
            | Refusal::Expired { .. }
            | Refusal::Storage
            | Refusal::Unavailable { .. }
            | Refusal::Untrusted { .. },
        ) => RETRY_SECS,
    };
    collateral.backoff.set(step.ask, now.plus_secs(wait));
    if let (Err(Refusal::Retired { .. }), Ask::Artefact(key)) = (&result, step.ask) {
        collateral
            .retire(key, now)
            .await
            .map_err(|error| collateral.storage(&error))?;
    }
    result
}

/// Plans and, unless `dry_run`, executes; reports each step.
pub async fn run(
    collateral: &Arc<Collateral>,
    clock: &Clock,
    all: bool,
    dry_run: bool,
) -> Result<RefreshReport, StoreError> {
    let steps = plan(collateral, clock.now(), all).await?;
    let forbidden = |ask: Ask| {
        let (fill, nobody) = if ask.is_amd() {
            (collateral.amd_fill(), collateral.kds().is_empty())
        } else {
            (collateral.fill(), collateral.intel().is_empty())
        };
        if collateral.is_read_only() {
            Some("not asked: this is a read-only view of the past")
        } else if fill == Fill::Offline {
            Some("not asked: the fill mode is offline")
        } else if nobody {
            Some("not asked: no upstream is configured")
        } else {
            None
        }
    };
    // The root CRL first, then the lists: what follows is judged and chosen by them.
    let (root_crl, steps): (Vec<Step>, Vec<Step>) = steps
        .into_iter()
        .partition(|step| step.ask == Ask::Artefact(ArtefactKey::RootCrl));
    let (lists, rest): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(|step| {
        matches!(
            step.ask,
            Ask::Artefact(ArtefactKey::EvaluationNumbers { .. })
        )
    });
    let mut done = Vec::new();
    for group in [root_crl, lists, rest] {
        let outcomes = futures_util::stream::iter(group)
            .map(|step| async move {
                let outcome = if dry_run {
                    None
                } else if let Some(why) = forbidden(step.ask) {
                    Some(why.to_owned())
                } else {
                    Some(match execute(collateral, &step, clock.now()).await {
                        Ok(()) => "confirmed or renewed".to_owned(),
                        Err(refusal) => refusal.to_string(),
                    })
                };
                RefreshStep {
                    key: step.subject,
                    why: step.why,
                    outcome,
                }
            })
            .buffered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        done.extend(outcomes);
    }
    Ok(RefreshReport {
        dry_run,
        steps: done,
    })
}

/// Steps in flight; the upstream's own concurrency limit is below.
const AT_ONCE: usize = 2;
/// After a failure that may pass.
const RETRY_SECS: i64 = 60;
/// After an answer that will not change soon.
const WITHDRAWN_SECS: i64 = 6 * 3600;
