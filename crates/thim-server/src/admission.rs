//! How a document comes to be published: verified, judged against the history of its key, written with its
//! events in one transaction, settled, and only then put in front of readers. The other half of
//! `collateral`; imports and upstreams both come through [`Collateral::offer`].

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use thim_verify::{
    Artefact, ArtefactKey, Certificate, Content, Digest, Error, Issuers, Kind, UnixTime,
    Unverified, compacted,
};

use crate::collateral::Collateral;
use crate::proof::{self, Proven};
use crate::sentinel::{self, Candidate, History, Judgement, Origin, Remark, Seen, Severity, State};
use crate::store::{
    Batch, CalledRow, EditionFilter, EditionRow, NewEdition, NewEvent, Quarantined, StoreError,
    Transition,
};
use crate::view::Subject;

/// A document that asks to be admitted.
pub struct Offer<'a> {
    /// The document, parsed.
    pub unverified: Unverified,
    /// Certificates that came with it, in any order.
    pub delivered: &'a [Certificate],
    /// Import or upstream.
    pub origin: Origin,
    /// URL or path.
    pub source: &'a str,
    /// `standard` or `early` where the source called it so.
    pub called: Option<&'static str>,
    /// When it arrived; it is judged at this instant.
    pub at: UnixTime,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admitted {
    /// Held back.
    Held,
    /// The same signed body was there already.
    Known,
    /// Stored, as current or as history.
    Stored,
}

/// Why an offer was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Issued after the clock.
    #[error("{0}")]
    Future(Error),
    /// The sentinel said no.
    #[error("{}", .0.text)]
    Judged(Remark),
    /// It could not be written, so it is not served.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not verify.
    #[error(transparent)]
    Unverified(Error),
}

impl Collateral {
    /// Judges, stores and publishes a document. Nothing is published that is not stored.
    pub async fn offer(&self, offer: Offer<'_>) -> Result<Admitted, Refused> {
        let _one_at_a_time = self.admission.lock().await;
        let now = offer.at;
        let key = offer.unverified.key();
        let verified = match self.verified(&offer) {
            Ok(verified) => verified,
            Err(error @ Error::NotYetIssued { .. }) => {
                if offer.origin == Origin::Upstream {
                    let remark = Remark::new(
                        "edition.future",
                        Severity::Warning,
                        format!("{}: {error}", offer.source),
                    );
                    let id = offer.unverified.signed_digest();
                    if self.store.has_event(remark.name, id).await? {
                        self.metrics.event(remark.name);
                    } else {
                        self.record(vec![event(now, remark, Some(key), Some(id))])
                            .await?;
                    }
                }
                return Err(Refused::Future(error));
            }
            Err(error) => {
                self.quarantine(
                    offer.source,
                    Some(key),
                    &error,
                    offer.unverified.unverified().document().clone(),
                    now,
                )
                .await?;
                return Err(Refused::Unverified(error));
            }
        };
        let artefact: &Artefact = &verified;
        let mut history = self.history(key, Some(artefact.id())).await?;
        let mut batch = Batch {
            called: called_row(&offer, key),
            ..Batch::default()
        };
        let issuers = self.issuers.load_full();
        let (seen, judgement) = self
            .judge(&verified, &history, &issuers, offer.origin, now)
            .await?;
        let outcome = match judgement {
            Judgement::Known => Admitted::Known,
            Judgement::Refuse(remark) => {
                let text = format!("{}: {}", offer.source, remark.text);
                let told = Remark {
                    text,
                    ..remark.clone()
                };
                batch
                    .events
                    .push(event(now, told, Some(key), Some(artefact.id())));
                batch.called = None;
                // A lying upstream repeats itself at every poll; once is enough for the record.
                if self.store.has_event(remark.name, artefact.id()).await? {
                    self.metrics.event(remark.name);
                } else {
                    self.commit(&batch).await?;
                }
                return Err(Refused::Judged(remark));
            }
            Judgement::Admit {
                state,
                cause,
                remarks,
            } => {
                batch.edition = Some(NewEdition::new(&verified, offer.source, offer.called, now));
                batch.certificates = verified
                    .certificates()
                    .into_iter()
                    .map(|certificate| (certificate, now))
                    .collect();
                batch.transitions.push(Transition {
                    edition: artefact.id(),
                    key,
                    at: now,
                    state,
                    cause,
                });
                batch.events.extend(
                    remarks
                        .into_iter()
                        .map(|remark| event(now, remark, Some(key), Some(artefact.id()))),
                );
                history.insert(Seen { state, ..seen });
                if state == State::Held {
                    Admitted::Held
                } else {
                    Admitted::Stored
                }
            }
        };
        let changes = sentinel::settle(&history, now, &self.sentinel_policy(key.kind()));
        for change in &changes {
            history.apply(change);
        }
        // Only what is served is confirmed; a held edition confirms nothing.
        let is_served = history
            .editions
            .iter()
            .any(|seen| seen.id == artefact.id() && seen.state == State::Current);
        if offer.origin == Origin::Upstream && is_served {
            batch.confirmation = Some((key, now, offer.source.to_owned()));
        }
        // What an old export called standard says nothing of today.
        if !is_served {
            batch.called = None;
        }
        let outcome = match changes
            .iter()
            .rev()
            .find(|change| change.id == artefact.id())
        {
            Some(change) if outcome == Admitted::Held && change.state != State::Held => {
                Admitted::Stored
            }
            _ => outcome,
        };
        add_changes(&mut batch, key, now, changes);
        let changed = batch.edition.is_some() || !batch.transitions.is_empty();
        self.commit(&batch).await?;
        self.adopt(
            key,
            &batch,
            now,
            changed || offer.origin == Origin::Upstream,
        )
        .await?;
        Ok(outcome)
    }

    /// The sentinel's judgement of a verified document beside the history of its key, and what it is in a history.
    pub(crate) async fn judge(
        &self,
        verified: &Proven,
        history: &History,
        issuers: &Issuers,
        origin: Origin,
        now: UnixTime,
    ) -> Result<(Seen, Judgement), StoreError> {
        let artefact: &Artefact = verified;
        let key = artefact.key();
        let candidate = Candidate {
            seen: Seen {
                id: artefact.id(),
                issued: artefact.issued(),
                next_update: artefact.next_update(),
                signer_key: verified.signer_key(),
                state: State::Held,
                admitted: now,
                revoked: serials(artefact),
                number: crl_number(artefact),
            },
            chain_fault: verified.chain_fault(issuers, now),
            unchecked: verified.is_unchecked(),
        };
        let expired_leaves: BTreeSet<String> = match key {
            ArtefactKey::PckCrl { ca } => {
                self.store
                    .pck_expired_revoked(ca, artefact.issued())
                    .await?
            }
            ArtefactKey::AmdCertChain { .. }
            | ArtefactKey::AmdCrl { .. }
            | ArtefactKey::EnclaveIdentity { .. }
            | ArtefactKey::EvaluationNumbers { .. }
            | ArtefactKey::RootCrl
            | ArtefactKey::TcbInfo { .. } => BTreeSet::new(),
        };
        let known_expired = |serial: &sentinel::Serial| {
            expired_leaves.contains(&data_encoding::HEXLOWER.encode(serial))
                || (key == ArtefactKey::RootCrl
                    && issuers.iter().any(|known| {
                        known.serial() == serial.as_slice() && known.not_after() < artefact.issued()
                    }))
        };
        let policy = self.sentinel_policy(key.kind());
        let judgement = sentinel::judge(&candidate, history, origin, now, &policy, &known_expired);
        Ok((candidate.seen, judgement))
    }

    /// Keeps something that failed before it had a type.
    pub async fn quarantine(
        &self,
        source: &str,
        key: Option<ArtefactKey>,
        error: &Error,
        body: Bytes,
        at: UnixTime,
    ) -> Result<(), StoreError> {
        let name = if matches!(error, Error::Revoked { .. }) {
            "signer.revoked"
        } else {
            "edition.unverified"
        };
        if self.store.is_quarantined(Digest::of(&body), source).await? {
            self.metrics.event(name);
            return Ok(());
        }
        let remark = Remark::new(
            name,
            Severity::Alarm,
            format!("{source}: refused ({}): {error}", error.reason()),
        );
        let batch = Batch {
            events: vec![event(at, remark, key, None)],
            quarantined: Some(Quarantined {
                at,
                source: source.to_owned(),
                key,
                reason: error.to_string(),
                body,
            }),
            ..Batch::default()
        };
        self.commit(&batch).await
    }

    /// Learns certificates that were given without an object.
    pub async fn learn_certificates(
        &self,
        certificates: &[Certificate],
        at: UnixTime,
    ) -> Result<usize, StoreError> {
        let _one_at_a_time = self.admission.lock().await;
        let mut issuers = Issuers::clone(&self.issuers.load());
        let mut learned = Vec::new();
        for certificate in certificates {
            // What does not lead to a trusted root is of no use, and no fault of the importer's.
            if let Ok(true) = issuers.insert(certificate.clone()) {
                learned.push((certificate.clone(), at));
            }
        }
        let count = learned.len();
        if count > 0 {
            self.commit(&Batch {
                certificates: learned,
                ..Batch::default()
            })
            .await?;
            self.issuers.store(Arc::new(issuers));
        }
        Ok(count)
    }

    /// Applies what has become due for a key, and publishes anew where something changed.
    pub async fn settle(&self, key: ArtefactKey, now: UnixTime) -> Result<(), StoreError> {
        let history = self.history(key, None).await?;
        let changes = sentinel::settle(&history, now, &self.sentinel_policy(key.kind()));
        if changes.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        add_changes(&mut batch, key, now, changes);
        self.commit(&batch).await?;
        self.adopt(key, &batch, now, true).await
    }

    /// What time alone decides: called about once a second, and by tests that move the clock.
    pub async fn tick(&self, now: UnixTime) -> Result<(), StoreError> {
        if self.is_read_only() {
            return Ok(());
        }
        let mut due = self.held_keys();
        for (key, ready) in &self.view().ready {
            if ready.freshness(now).is_none() {
                due.insert(*key);
            }
        }
        for key in due {
            let _one_at_a_time = self.admission.lock().await;
            self.settle(key, now).await?;
        }
        self.watch_cadence(now).await
    }

    /// An operator lets a held edition through. False where it is not held.
    pub async fn release(
        &self,
        id: Digest,
        key: ArtefactKey,
        by: &str,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let _one_at_a_time = self.admission.lock().await;
        let mut history = self.history(key, None).await?;
        let Some(held) = history
            .editions
            .iter_mut()
            .find(|seen| seen.id == id && seen.state == State::Held)
        else {
            return Ok(false);
        };
        held.state = State::Current;
        let cause = format!("released by {by}");
        let remark = Remark::new(
            "hold.released",
            Severity::Warning,
            format!("edition {} of {} {cause}", id.short(), held.issued),
        );
        let mut batch = Batch {
            transitions: vec![Transition {
                edition: id,
                key,
                at: now,
                state: State::Current,
                cause,
            }],
            events: vec![event(now, remark, Some(key), Some(id))],
            ..Batch::default()
        };
        add_changes(
            &mut batch,
            key,
            now,
            sentinel::settle(&history, now, &self.sentinel_policy(key.kind())),
        );
        self.commit(&batch).await?;
        self.adopt(key, &batch, now, true).await?;
        Ok(true)
    }

    /// Writes events, to the store, the log and the metric.
    pub(crate) async fn record(&self, events: Vec<NewEvent>) -> Result<(), StoreError> {
        self.commit(&Batch {
            events,
            ..Batch::default()
        })
        .await
    }

    /// A number the vendor withdrew is history.
    pub(crate) async fn retire(&self, key: ArtefactKey, now: UnixTime) -> Result<(), StoreError> {
        let _one_at_a_time = self.admission.lock().await;
        let rows = self.store.editions_of(key).await?;
        let Some(row) = rows.iter().rev().find(|row| row.state == State::Current) else {
            return Ok(());
        };
        // Still before its next update it is still true; what it says ends with it.
        let cause = "its number is withdrawn by the vendor (410)".to_owned();
        if now < row.next_update {
            if !self.store.has_event("edition.retired", row.id).await? {
                let text = format!("{cause}; served until its next update {}", row.next_update);
                let remark = Remark::new("edition.retired", Severity::Warning, text);
                self.record(vec![event(now, remark, Some(key), Some(row.id))])
                    .await?;
            }
            return Ok(());
        }
        let batch = moved(
            row,
            State::Archived,
            "edition.retired",
            Severity::Warning,
            cause,
            now,
        );
        self.commit(&batch).await?;
        self.withdraw(key);
        Ok(())
    }

    fn verified(&self, offer: &Offer<'_>) -> Result<Proven, Error> {
        let issuers = self.issuers.load();
        let root_crl = self.root_crl.load();
        let judge = |unverified: Unverified| {
            proof::prove(
                unverified,
                offer.delivered,
                &issuers,
                root_crl.as_deref(),
                &self.amd,
                offer.at,
            )
        };
        match judge(offer.unverified.clone()) {
            // A tool may have re-dumped what was signed, with other white space.
            Err(Error::SignatureInvalid { what, signer }) if offer.origin == Origin::Import => {
                match compacted(&offer.unverified).map(judge) {
                    Some(Ok(verified)) => Ok(verified),
                    Some(Err(_)) | None => Err(Error::SignatureInvalid { what, signer }),
                }
            }
            other => other,
        }
    }

    /// The history of a key; revoked serials only from the last good edition on. A quarantined edition that
    /// is offered again is judged like a new one, so `offered` leaves it out.
    pub(crate) async fn history(
        &self,
        key: ArtefactKey,
        offered: Option<Digest>,
    ) -> Result<History, StoreError> {
        let rows = self.store.editions_of(key).await?;
        let mut history = History::default();
        for row in &rows {
            if row.state == State::Quarantined && Some(row.id) == offered {
                continue;
            }
            history.insert(Seen {
                id: row.id,
                issued: row.issued,
                next_update: row.next_update,
                signer_key: row.signer_key,
                state: row.state,
                admitted: row.admitted,
                revoked: None,
                number: None,
            });
        }
        if matches!(key.kind(), Kind::AmdCrl | Kind::PckCrl | Kind::RootCrl)
            && let Some(from) = history.last_good().map(|good| good.issued)
        {
            for seen in history
                .editions
                .iter_mut()
                .filter(|seen| seen.issued >= from)
            {
                let Some(row) = rows.iter().find(|row| row.id == seen.id) else {
                    continue;
                };
                if let Ok(verified) = self.reverify(row, row.issued).await? {
                    seen.revoked = serials(&verified);
                    seen.number = crl_number(&verified);
                }
            }
        }
        Ok(history)
    }

    /// An event, once an edition, where the vendor has not signed for longer than expected.
    async fn watch_cadence(&self, now: UnixTime) -> Result<(), StoreError> {
        let late: Vec<(ArtefactKey, Digest, Remark)> = {
            let view = self.view();
            let noted = self
                .cadence_noted
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            view.ready
                .iter()
                .filter(|(_, ready)| !noted.contains(&ready.id))
                .filter_map(|(key, ready)| {
                    let remark =
                        sentinel::cadence(ready.issued, self.policy(key.kind()).cadence_secs, now)?;
                    Some((*key, ready.id, remark))
                })
                .collect()
        };
        for (key, id, remark) in late {
            if !self.store.has_event(remark.name, id).await? {
                self.record(vec![event(now, remark, Some(key), Some(id))])
                    .await?;
            }
            self.cadence_noted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id);
        }
        Ok(())
    }

    pub(crate) async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        if let Err(error) = self.store.commit(batch).await {
            self.metrics.store_failed();
            return Err(error);
        }
        for event in &batch.events {
            self.metrics.event(event.remark.name);
            let key = event.key.map(|key| key.to_string());
            let (name, key, text) = (
                event.remark.name,
                key.as_deref().unwrap_or("-"),
                &event.remark.text,
            );
            match event.remark.severity {
                Severity::Alarm => tracing::error!(event.name = name, event.key = key, "{text}"),
                Severity::Info => tracing::info!(event.name = name, event.key = key, "{text}"),
                Severity::Warning => tracing::warn!(event.name = name, event.key = key, "{text}"),
            }
        }
        Ok(())
    }

    /// Every edition of a filter, for listings.
    pub async fn editions(&self, filter: &EditionFilter) -> Result<Vec<EditionRow>, StoreError> {
        self.store.editions(filter).await
    }
}

fn called_row(offer: &Offer<'_>, key: ArtefactKey) -> Option<CalledRow> {
    let (choice, (subject, number)) = (offer.called?, Subject::of(&key)?);
    Some(CalledRow {
        subject: subject.to_string(),
        choice,
        number,
        at: offer.at,
    })
}

fn add_changes(batch: &mut Batch, key: ArtefactKey, now: UnixTime, changes: Vec<sentinel::Change>) {
    for change in changes {
        if let Some(remark) = change.remark {
            batch
                .events
                .push(event(now, remark, Some(key), Some(change.id)));
        }
        batch.transitions.push(Transition {
            edition: change.id,
            key,
            at: now,
            state: change.state,
            cause: change.cause,
        });
    }
}

fn serials(artefact: &Artefact) -> Option<BTreeSet<sentinel::Serial>> {
    match artefact.content() {
        Content::AmdCrl(crl) => {
            let entries = crl.revoked().iter();
            Some(entries.map(|entry| entry.serial.clone()).collect())
        }
        Content::Crl(crl) => Some(crl.serials().map(<[u8]>::to_vec).collect()),
        Content::AmdCertChain(_)
        | Content::EnclaveIdentity(_)
        | Content::EvaluationNumbers(_)
        | Content::TcbInfo(_) => None,
    }
}

/// The number of a list whose numbers carry an order: AMD's.
fn crl_number(artefact: &Artefact) -> Option<u64> {
    match artefact.content() {
        Content::AmdCrl(crl) => Some(crl.number()),
        Content::AmdCertChain(_)
        | Content::Crl(_)
        | Content::EnclaveIdentity(_)
        | Content::EvaluationNumbers(_)
        | Content::TcbInfo(_) => None,
    }
}

pub(crate) fn event(
    at: UnixTime,
    remark: Remark,
    key: Option<ArtefactKey>,
    edition: Option<Digest>,
) -> NewEvent {
    NewEvent {
        at,
        remark,
        key,
        edition,
    }
}

/// A stored edition goes into another state, with an event of the same words.
pub(crate) fn moved(
    row: &EditionRow,
    state: State,
    name: &'static str,
    severity: Severity,
    cause: String,
    at: UnixTime,
) -> Batch {
    let remark = Remark::new(name, severity, cause.clone());
    Batch {
        events: vec![event(at, remark, Some(row.key), Some(row.id))],
        transitions: vec![Transition {
            edition: row.id,
            key: row.key,
            at,
            state,
            cause,
        }],
        ..Batch::default()
    }
}
