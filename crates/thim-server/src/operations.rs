//! What operators do with collateral, one function an act: the command line calls them on a store, the own API on
//! the running service, and both print the same.
//!
//! States are those of the store, with two exceptions. In a read-only view of the past they follow the vendor's
//! dates: of each key the newest edition issued by then is current. And where it is asked what THIM itself knew at
//! an instant (`known_at`), they are those of the last transition by then.

use std::collections::HashMap;

use thim_client::{EditionSummary, EventRecord, KeyStatus, Status, TransitionRecord};
use thim_verify::{ArtefactKey, Certificate, Digest, Issuers, Tee, UnixTime};

use crate::baseline::Choice;
use crate::collateral::Collateral;
use crate::sentinel::State;
use crate::store::{EditionFilter, EditionRow, StoreError, TransitionRow};

/// What became of a release.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Released {
    /// More than one edition's id begins so.
    Ambiguous,
    /// It is released.
    Done {
        /// Of which key.
        key: ArtefactKey,
        /// Which edition.
        id: Digest,
    },
    /// No edition's id begins so, or these are not 8 to 64 hex digits.
    NotFound,
    /// There is nothing to release.
    NotHeld {
        /// The state it is in.
        state: State,
    },
}

/// Editions by key and issue date.
pub async fn list(
    collateral: &Collateral,
    key: Option<ArtefactKey>,
    state: Option<State>,
    now: UnixTime,
    known_at: Option<UnixTime>,
    limit: u32,
    offset: u32,
) -> Result<Vec<EditionSummary>, StoreError> {
    let rows = if known_at.is_none() && !collateral.is_read_only() {
        let filter = EditionFilter {
            key,
            state,
            limit,
            offset,
            ..EditionFilter::default()
        };
        with_own_state(collateral.editions(&filter).await?)
    } else {
        let rows = standing(collateral, key, now, known_at).await?.into_iter();
        rows.filter(|(_, found)| state.is_none_or(|wanted| wanted == *found))
            .skip(usize::try_from(offset).unwrap_or(usize::MAX))
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect()
    };
    let mut summaries = Summaries::new(collateral, now).await?;
    Ok(rows
        .iter()
        .map(|(row, state)| summaries.summary(row, *state))
        .collect())
}

/// The edition of `key` that is served now, else the newest.
pub async fn show(
    collateral: &Collateral,
    key: ArtefactKey,
    now: UnixTime,
) -> Result<Option<EditionSummary>, StoreError> {
    let rows = standing(collateral, Some(key), now, None).await?;
    let served = rows
        .iter()
        .rev()
        .find(|(_, state)| *state == State::Current)
        .or_else(|| rows.last());
    let Some((row, state)) = served else {
        return Ok(None);
    };
    Ok(Some(
        Summaries::new(collateral, now).await?.summary(row, *state),
    ))
}

/// Every edition of `key`, oldest first, with every change of its state.
pub async fn history(
    collateral: &Collateral,
    key: ArtefactKey,
    now: UnixTime,
    known_at: Option<UnixTime>,
) -> Result<Vec<EditionSummary>, StoreError> {
    let mut summaries = Summaries::new(collateral, now).await?;
    let mut history = Vec::new();
    for (row, state) in standing(collateral, Some(key), now, known_at).await? {
        let transitions = transitions(collateral, row.id, known_at).await?;
        let transitions = transitions.into_iter().map(|one| TransitionRecord {
            at: one.at.to_string(),
            state: one.state.to_string(),
            cause: one.cause,
        });
        history.push(EditionSummary {
            transitions: transitions.collect(),
            ..summaries.summary(&row, state)
        });
    }
    Ok(history)
}

/// Events after the one numbered `after`, oldest first.
pub async fn events(
    collateral: &Collateral,
    after: i64,
    key: Option<ArtefactKey>,
    limit: u32,
) -> Result<Vec<EventRecord>, StoreError> {
    let key = key.map(|key| key.to_string());
    let events = collateral
        .store()
        .events(after, key.as_deref(), limit)
        .await?;
    Ok(events
        .into_iter()
        .map(|event| EventRecord {
            seq: event.seq,
            at: event.at.to_string(),
            name: event.name,
            severity: event.severity,
            key: event.key,
            edition: event.edition,
            text: event.text,
        })
        .collect())
}

/// The service at a glance. `simulated` tells whether its clock is not the system's.
pub async fn status(
    collateral: &Collateral,
    simulated: bool,
    now: UnixTime,
) -> Result<Status, StoreError> {
    let anchors = collateral.anchors();
    let keys = key_states(collateral, now).await?;
    let chosen = collateral.view().lists.choose(Choice::Standard, now);
    let current = keys.iter().filter(|one| one.state == State::Current);
    let earliest = current.map(|one| one.next_update).min();
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: now.to_string(),
        clock: if simulated { "simulated" } else { "system" }.to_owned(),
        trust: if anchors.is_builtin() {
            "builtin"
        } else {
            "replaced"
        }
        .to_owned(),
        trust_fingerprint: anchors.fingerprint().to_string(),
        read_only: collateral.is_read_only(),
        fill: collateral.fill().name().to_owned(),
        // Lists of both TEEs number the same events, so there is one answer for both.
        standard: chosen
            .iter()
            .flat_map(|chosen| Tee::ALL.map(|tee| (tee.to_string(), chosen.number)))
            .collect(),
        lists_expired: chosen.is_some_and(|chosen| chosen.from_expired_list),
        earliest_next_update: earliest.map(|earliest| earliest.to_string()),
        held_editions: collateral.store().count(State::Held).await?,
        platforms: collateral
            .store()
            .platform_counts()
            .await?
            .into_iter()
            .map(|(state, count)| (state.to_string(), count))
            .collect(),
        keys: keys.iter().map(|one| one.status(collateral, now)).collect(),
    })
}

/// Lets a held edition through, in the name of `by`. Not for a read-only view.
pub async fn release(
    collateral: &Collateral,
    id_prefix: &str,
    by: &str,
    now: UnixTime,
) -> Result<Released, StoreError> {
    let digits = id_prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits || !(MIN_PREFIX..=64).contains(&id_prefix.len()) {
        return Ok(Released::NotFound);
    }
    let found = collateral
        .store()
        .editions_by_prefix(&id_prefix.to_ascii_lowercase())
        .await?;
    let [row] = found.as_slice() else {
        return Ok(if found.is_empty() {
            Released::NotFound
        } else {
            Released::Ambiguous
        });
    };
    if collateral.release(row.id, row.key, by, now).await? {
        Ok(Released::Done {
            key: row.key,
            id: row.id,
        })
    } else {
        Ok(Released::NotHeld { state: row.state })
    }
}

/// Editions of one key or of all, by key and issue date, each with the state it has, or had at `known_at`, or has
/// by the vendor's dates in a view of the past.
pub(crate) async fn standing(
    collateral: &Collateral,
    key: Option<ArtefactKey>,
    now: UnixTime,
    known_at: Option<UnixTime>,
) -> Result<Vec<(EditionRow, State)>, StoreError> {
    let by_dates = collateral.is_read_only() && known_at.is_none();
    let filter = EditionFilter {
        key,
        admitted_by: known_at,
        issued_by: by_dates.then_some(now),
        limit: u32::MAX,
        ..EditionFilter::default()
    };
    let rows = collateral.editions(&filter).await?;
    if let Some(instant) = known_at {
        let mut known = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(last) = transitions(collateral, row.id, Some(instant)).await?.pop() {
                known.push((row, last.state));
            }
        }
        return Ok(known);
    }
    Ok(if by_dates {
        with_state_by_dates(collateral, rows, now)
    } else {
        with_own_state(rows)
    })
}

fn with_own_state(rows: Vec<EditionRow>) -> Vec<(EditionRow, State)> {
    rows.into_iter()
        .map(|row| (row.state, row))
        .map(|(state, row)| (row, state))
        .collect()
}

/// As `Collateral::publish` chooses in a view of the past: of each key the newest that is not quarantined, while it
/// may be served.
fn with_state_by_dates(
    collateral: &Collateral,
    rows: Vec<EditionRow>,
    now: UnixTime,
) -> Vec<(EditionRow, State)> {
    let genuine = rows.iter().filter(|row| row.state != State::Quarantined);
    // The rows of a key are sorted by date: the last one stays.
    let newest: HashMap<ArtefactKey, Digest> = genuine.map(|row| (row.key, row.id)).collect();
    let state = |row: &EditionRow| {
        if row.state == State::Quarantined {
            State::Quarantined
        } else if newest.get(&row.key) != Some(&row.id) {
            State::Superseded
        } else if now
            < collateral
                .policy(row.key.kind())
                .serve_expired
                .end(row.next_update)
        {
            State::Current
        } else {
            State::Archived
        }
    };
    rows.into_iter()
        .map(|row| (state(&row), row))
        .map(|(state, row)| (row, state))
        .collect()
}

async fn transitions(
    collateral: &Collateral,
    id: Digest,
    by: Option<UnixTime>,
) -> Result<Vec<TransitionRow>, StoreError> {
    let mut rows = collateral.store().transitions(id).await?;
    rows.retain(|row| by.is_none_or(|by| row.at <= by));
    Ok(rows)
}

/// A key at a glance.
struct KeyState {
    key: ArtefactKey,
    state: State,
    issued: UnixTime,
    next_update: UnixTime,
    admitted: UnixTime,
    confirmed: Option<UnixTime>,
}

impl KeyState {
    fn status(&self, collateral: &Collateral, now: UnixTime) -> KeyStatus {
        let seen = self
            .confirmed
            .map_or(self.admitted, |confirmed| confirmed.max(self.admitted));
        let freshness = collateral
            .policy(self.key.kind())
            .freshness(self.next_update, seen, now);
        KeyStatus {
            key: self.key.to_string(),
            state: self.state.to_string(),
            freshness: freshness.to_string(),
            issued: self.issued.to_string(),
            next_update: self.next_update.to_string(),
            confirmed: self.confirmed.map(|confirmed| confirmed.to_string()),
        }
    }
}

async fn key_states(collateral: &Collateral, now: UnixTime) -> Result<Vec<KeyState>, StoreError> {
    if !collateral.is_read_only() {
        let keys = collateral.store().keys().await?;
        return Ok(keys
            .into_iter()
            .map(|row| KeyState {
                key: row.key,
                state: row.state,
                issued: row.issued,
                next_update: row.next_update,
                admitted: row.admitted,
                confirmed: row.confirmed,
            })
            .collect());
    }
    let rows = standing(collateral, None, now, None).await?;
    Ok(rows
        .into_iter()
        .filter(|(_, state)| matches!(state, State::Archived | State::Current))
        .map(|(row, state)| KeyState {
            key: row.key,
            state,
            issued: row.issued,
            next_update: row.next_update,
            admitted: row.admitted,
            confirmed: None,
        })
        .collect())
}

/// Makes summaries, looking up once what many of them share.
struct Summaries<'a> {
    collateral: &'a Collateral,
    now: UnixTime,
    issuers: std::sync::Arc<Issuers>,
    confirmed: HashMap<ArtefactKey, UnixTime>,
    roots: HashMap<Digest, Digest>,
}

impl<'a> Summaries<'a> {
    async fn new(collateral: &'a Collateral, now: UnixTime) -> Result<Self, StoreError> {
        let confirmed = collateral
            .store()
            .keys()
            .await?
            .into_iter()
            .filter_map(|row| Some((row.key, row.confirmed?)));
        Ok(Self {
            collateral,
            now,
            issuers: collateral.issuers.load_full(),
            confirmed: confirmed.collect(),
            roots: HashMap::new(),
        })
    }

    fn summary(&mut self, row: &EditionRow, state: State) -> EditionSummary {
        let policy = self.collateral.policy(row.key.kind());
        // A confirmation is one of what was current at that time.
        let confirmed = self
            .confirmed
            .get(&row.key)
            .filter(|_| state == State::Current);
        let seen = confirmed.map_or(row.admitted, |confirmed| row.admitted.max(*confirmed));
        let hold_secs = self.collateral.sentinel_policy(row.key.kind()).hold_secs;
        EditionSummary {
            id: row.id.to_string(),
            key: row.key.to_string(),
            state: state.to_string(),
            freshness: policy
                .freshness(row.next_update, seen, self.now)
                .to_string(),
            issued: row.issued.to_string(),
            next_update: row.next_update.to_string(),
            admitted: row.admitted.to_string(),
            source: row.source.clone(),
            called: row.called.clone(),
            revocation: if row.root_crl.is_some() {
                "checked"
            } else {
                "unchecked"
            }
            .to_owned(),
            revoked_entries: row.revoked_entries,
            held_until: (state == State::Held)
                .then(|| row.admitted.plus_secs(hold_secs).to_string()),
            chain: self.chain(row),
            document_bytes: row.document_bytes,
            transitions: Vec::new(),
        }
    }

    /// Digests of the issuer and its root, or of the root alone for its own list.
    fn chain(&mut self, row: &EditionRow) -> Vec<String> {
        let anchors = self.issuers.anchors();
        let Some(issuer) = row.issuer else {
            return anchors
                .root_with_key(&row.signer_key)
                .iter()
                .map(|root| root.digest().to_string())
                .collect();
        };
        let root = self.roots.get(&issuer).copied().or_else(|| {
            let certificate = self.issuers.iter().find(|known| known.digest() == issuer)?;
            anchors
                .roots()
                .iter()
                .find(|root| certificate.signed_by(root).is_ok())
                .map(Certificate::digest)
        });
        if let Some(root) = root {
            self.roots.insert(issuer, root);
        }
        [Some(issuer), root]
            .into_iter()
            .flatten()
            .map(|digest| digest.to_string())
            .collect()
    }
}

/// Eight hex digits tell four thousand million editions apart; fewer are a slip.
const MIN_PREFIX: usize = 8;
