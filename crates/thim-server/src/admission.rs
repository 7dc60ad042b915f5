//! How a document comes to be published: verified, judged against the history of its key, written with its
//! events in one transaction, settled, and only then put in front of readers. The other half of
//! `collateral`; imports and upstreams both come through [`Collateral::offer`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::PoisonError;

use bytes::Bytes;
use thim_verify::{
    Artefact, ArtefactKey, Certificate, Content, Digest, Error, Issuers, Kind, Revocation,
    UnixTime, Unverified, Verified, compacted, parse, verify,
};

use crate::baseline::Choice;
use crate::collateral::{Ask, Collateral, Refusal, as_list};
use crate::ready::Ready;
use crate::sentinel::{self, Candidate, History, Judgement, Origin, Remark, Seen, Severity, State};
use crate::store::{
    Batch, CalledRow, EditionFilter, EditionRow, NewEdition, NewEvent, Quarantined, StoreError,
    Transition,
};
use crate::upstream::{FetchError, Fetched, Request, Source, Wanted};
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
    /// Learns at start what answers depend on: certificates, the root CRL, the lists, numbers and holds.
    pub(crate) async fn learn(&self, now: UnixTime) -> Result<(), StoreError> {
        let mut issuers = Issuers::clone(&self.issuers.load());
        for certificate in self.store.certificates().await? {
            if let Err(error) = issuers.insert(certificate) {
                tracing::warn!(error = %error, "a stored certificate does not verify under the trusted roots");
            }
        }
        self.issuers.store(Arc::new(issuers));
        self.adopt_root_crl(now).await?;
        for tee in thim_verify::Tee::ALL {
            self.adopt_list(ArtefactKey::EvaluationNumbers { tee }, now)
                .await?;
        }
        let called = self.store.called().await?;
        let keys = self.store.keys().await?;
        let subjects: Vec<(Subject, u32, State)> = keys
            .iter()
            .filter_map(|row| {
                Subject::of(&row.key).map(|(subject, number)| (subject, number, row.state))
            })
            .collect();
        self.published.change(|view| {
            for (subject, number, state) in &subjects {
                if *state == State::Current {
                    view.called
                        .entry(*subject)
                        .or_default()
                        .current
                        .push(*number);
                }
                let text = subject.to_string();
                for (named, choice, number) in called.iter().filter(|(named, ..)| *named == text) {
                    let known = view.called.entry(*subject).or_default();
                    debug_assert_eq!(named, &text);
                    match choice.as_str() {
                        "early" => known.early = Some(*number),
                        _ => known.standard = Some(*number),
                    }
                }
            }
        });
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) =
            self.store.keys_in(State::Held).await?.into_iter().collect();
        if !self.is_read_only() {
            let ended = keys.iter().filter(|row| {
                row.state == State::Current
                    && now
                        >= self
                            .policy(row.key.kind())
                            .serve_expired
                            .end(row.next_update)
            });
            let mut due: BTreeSet<ArtefactKey> = ended.map(|row| row.key).collect();
            due.extend(self.held_keys());
            for key in due {
                self.settle(key, now).await?;
            }
        }
        self.metrics.held(self.store.count(State::Held).await?);
        Ok(())
    }

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
                    self.record(vec![event(now, remark, Some(key), None)])
                        .await?;
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
        let issuers = self.issuers.load_full();
        let chain_fault = match verified.chain().holds_at(now) {
            Ok(()) => None,
            Err(_) if verified.chain().reissue_valid_at(&issuers, now).is_some() => None,
            Err(error) => Some(error.to_string()),
        };
        let unchecked =
            verified.revocation() == Revocation::Unchecked && key != ArtefactKey::RootCrl;
        let seen = Seen {
            id: artefact.id(),
            issued: artefact.issued(),
            next_update: artefact.next_update(),
            signer_key: verified.chain().signer_key(),
            state: State::Held,
            admitted: now,
            revoked: serials(artefact),
        };
        let candidate = Candidate {
            seen,
            chain_fault,
            unchecked,
        };
        let policy = self.sentinel_policy(key.kind());
        let known_expired = |serial: &sentinel::Serial| {
            key == ArtefactKey::RootCrl
                && issuers.iter().any(|known| {
                    known.serial() == serial.as_slice() && known.not_after() < artefact.issued()
                })
        };
        let mut batch = Batch {
            called: called_row(&offer, key),
            ..Batch::default()
        };
        let outcome = match sentinel::judge(
            &candidate,
            &history,
            offer.origin,
            now,
            &policy,
            &known_expired,
        ) {
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
                    .chain()
                    .certificates()
                    .into_iter()
                    .map(|certificate| (certificate.clone(), now))
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
                history.insert(Seen {
                    state,
                    ..candidate.seen
                });
                if state == State::Held {
                    Admitted::Held
                } else {
                    Admitted::Stored
                }
            }
        };
        if offer.origin == Origin::Upstream {
            batch.confirmation = Some((key, now, offer.source.to_owned()));
            self.watch_cadence(&history, key, now, &mut batch).await?;
        }
        let changes = sentinel::settle(&history, now, &policy);
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
        let new_edition = batch.edition.is_some();
        self.commit(&batch).await?;
        self.adopt(
            key,
            &batch,
            now,
            new_edition || offer.origin == Origin::Upstream,
        )
        .await?;
        Ok(outcome)
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
        Ok(())
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

    /// Verifies the stored current edition of `key` again and publishes it. `None` where there is none that
    /// may be. An edition that fails is quarantined and said so: the store is not trusted on the way out.
    pub async fn publish(
        &self,
        key: ArtefactKey,
        now: UnixTime,
    ) -> Result<Option<Arc<Ready>>, StoreError> {
        let rows = self.store.editions_of(key).await?;
        let current = if self.is_read_only() {
            // By vendor dates: what was newest then, whatever became of it since.
            rows.iter()
                .rev()
                .find(|row| row.issued <= now && row.state != State::Quarantined)
        } else {
            rows.iter().rev().find(|row| row.state == State::Current)
        };
        let Some(row) = current else {
            self.withdraw(key);
            return Ok(None);
        };
        let verified = match self.reverify(row, now).await? {
            Ok(verified) => verified,
            Err(error) => {
                self.withdraw(key);
                if !self.is_read_only() {
                    let cause = format!("does not verify on the way out: {error}");
                    let remark = Remark::new("edition.quarantined", Severity::Alarm, cause.clone());
                    let batch = Batch {
                        transitions: vec![Transition {
                            edition: row.id,
                            key,
                            at: now,
                            state: State::Quarantined,
                            cause,
                        }],
                        events: vec![event(now, remark, Some(key), Some(row.id))],
                        ..Batch::default()
                    };
                    self.commit(&batch).await?;
                }
                return Ok(None);
            }
        };
        let confirmed = self.store.confirmed(key).await?;
        let seen = confirmed.map_or(row.admitted, |confirmed| confirmed.max(row.admitted));
        let chain = match verified.chain().holds_at(now) {
            Ok(()) => verified.chain().clone(),
            Err(_) => verified
                .chain()
                .reissue_valid_at(&self.issuers.load(), now)
                .unwrap_or_else(|| verified.chain().clone()),
        };
        let state = if self.is_read_only() {
            State::Current
        } else {
            row.state
        };
        let ready = Arc::new(Ready::new(
            &verified,
            &chain,
            seen,
            confirmed.is_some(),
            self.policy(key.kind()),
            state,
        ));
        self.metrics.published(
            &key.to_string(),
            ready.next_update.secs(),
            ready.revoked_entries,
        );
        let subject = Subject::of(&key);
        self.published.change(|view| {
            // A view this large is an attack or a mistake; what is not in it is served from the store.
            if view.ready.len() < PUBLISHED || view.ready.contains_key(&key) {
                view.ready.insert(key, Arc::clone(&ready));
            }
            if let Some((subject, number)) = subject {
                let known = view.called.entry(subject).or_default();
                if !known.current.contains(&number) {
                    known.current.push(number);
                }
            }
        });
        self.flights.forget(&Ask::Artefact(key));
        if let Some((subject, number)) = subject {
            for choice in [Choice::Early, Choice::Number(number), Choice::Standard] {
                self.flights.forget(&Ask::Subject(subject, choice));
            }
        }
        Ok(Some(ready))
    }

    /// Admits what an upstream sent for `ask`, if it is that.
    pub(crate) async fn take(
        &self,
        ask: Ask,
        request: &Request,
        source: &str,
        fetched: Fetched,
    ) -> Result<(), Refusal> {
        let at = fetched.at;
        let untrusted = |why: String| Refusal::Untrusted {
            what: format!("{source}{}", request.path()),
            why,
        };
        if request.wanted == Wanted::Fmspcs {
            crate::fmspcs::read(&fetched.body).map_err(|why| untrusted(why.to_owned()))?;
            self.fmspcs.store(Some(Arc::new((at, fetched.body))));
            return Ok(());
        }
        let unverified = match parse(&fetched.body) {
            Ok(unverified) => unverified,
            Err(error) => {
                self.quarantine(&fetched.url, None, &error, fetched.body, at)
                    .await
                    .map_err(|error| self.storage(&error))?;
                return Err(untrusted(error.to_string()));
            }
        };
        let delivered = match fetched.chain.as_deref().map(Certificate::from_pem_bundle) {
            None => Vec::new(),
            Some(Ok(certificates)) => certificates,
            Some(Err(error)) => return Err(untrusted(format!("its issuer chain: {error}"))),
        };
        if let Err(why) = answers(ask, request, unverified.key()) {
            let error = Error::WrongIssuer {
                expected: why,
                found: unverified.key().to_string(),
            };
            self.quarantine(
                &fetched.url,
                Some(unverified.key()),
                &error,
                fetched.body,
                at,
            )
            .await
            .map_err(|error| self.storage(&error))?;
            return Err(untrusted(error.to_string()));
        }
        let offer = Offer {
            unverified,
            delivered: &delivered,
            origin: Origin::Upstream,
            source: &fetched.url,
            called: request.called(),
            at,
        };
        match self.offer(offer).await {
            Ok(_) => Ok(()),
            Err(Refused::Store(error)) => Err(self.storage(&error)),
            Err(refused @ (Refused::Future(_) | Refused::Judged(_) | Refused::Unverified(_))) => {
                Err(untrusted(refused.to_string()))
            }
        }
    }

    /// Counts an upstream's answer, and tells of a breaker that has turned.
    pub(crate) async fn note_upstream(
        &self,
        source: &Source,
        turn: crate::upstream::Turn,
        result: &Result<Fetched, FetchError>,
    ) {
        let counted = match result {
            Ok(_) => "ok",
            Err(FetchError::Absent) => "absent",
            Err(FetchError::Budget { .. }) => "budget",
            Err(FetchError::Retired) => "retired",
            Err(FetchError::Storage) => "storage",
            Err(FetchError::Throttled { .. }) => "throttled",
            Err(FetchError::Unavailable { .. }) => "unavailable",
        };
        self.metrics.upstream(source.name(), counted);
        self.metrics.upstream_up(source.name(), source.is_up());
        let remark = match turn {
            crate::upstream::Turn::Closed => Remark::new(
                "upstream.up",
                Severity::Info,
                format!("{} answers again", source.name()),
            ),
            crate::upstream::Turn::Opened => {
                let why = result
                    .as_ref()
                    .err()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                Remark::new(
                    "upstream.down",
                    Severity::Alarm,
                    format!("{} does not answer: {why}", source.name()),
                )
            }
            crate::upstream::Turn::Same => return,
        };
        if let Err(error) = self
            .record(vec![event(source.now(), remark, None, None)])
            .await
        {
            tracing::error!(error = %error, "an event could not be written");
        }
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
        let remark = Remark::new("edition.retired", Severity::Warning, cause.clone());
        let batch = Batch {
            transitions: vec![Transition {
                edition: row.id,
                key,
                at: now,
                state: State::Archived,
                cause,
            }],
            events: vec![event(now, remark, Some(key), Some(row.id))],
            ..Batch::default()
        };
        self.commit(&batch).await?;
        self.withdraw(key);
        Ok(())
    }

    fn verified(&self, offer: &Offer<'_>) -> Result<Verified<Artefact>, Error> {
        let issuers = self.issuers.load();
        let root_crl = self.root_crl.load();
        let judge = |unverified: Unverified| {
            verify(
                unverified,
                offer.delivered,
                &issuers,
                root_crl.as_deref(),
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

    /// Verifies a stored edition again, at a time no earlier than its issue.
    async fn reverify(
        &self,
        row: &EditionRow,
        now: UnixTime,
    ) -> Result<Result<Verified<Artefact>, Error>, StoreError> {
        let Some(document) = self.store.document(row.id).await? else {
            return Ok(Err(Error::Format {
                what: row.id.to_string(),
                why: "its document is gone".to_owned(),
            }));
        };
        let issuers = self.issuers.load();
        let root_crl = self.root_crl.load();
        Ok(parse(&document).and_then(|unverified| {
            if unverified.key() != row.key || unverified.signed_digest() != row.id {
                return Err(Error::Format {
                    what: row.id.to_string(),
                    why: "the row holds another document".to_owned(),
                });
            }
            verify(
                unverified,
                &[],
                &issuers,
                root_crl.as_deref(),
                now.max(row.issued),
            )
        }))
    }

    /// The history of a key; revoked serials only from the last good edition on. A quarantined edition that
    /// is offered again is judged like a new one, so `offered` leaves it out.
    async fn history(
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
            });
        }
        if matches!(key.kind(), Kind::PckCrl | Kind::RootCrl)
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
                }
            }
        }
        Ok(history)
    }

    async fn watch_cadence(
        &self,
        history: &History,
        key: ArtefactKey,
        now: UnixTime,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let Some(good) = history
            .editions
            .iter()
            .rev()
            .find(|seen| seen.state == State::Current)
        else {
            return Ok(());
        };
        if let Some(remark) = sentinel::cadence(good, self.policy(key.kind()).cadence_secs, now)
            && !self.store.has_event(remark.name, good.id).await?
        {
            batch
                .events
                .push(event(now, remark, Some(key), Some(good.id)));
        }
        Ok(())
    }

    /// Takes up what a committed batch changed: certificates, holds, the root CRL, lists, the published view.
    async fn adopt(
        &self,
        key: ArtefactKey,
        batch: &Batch,
        now: UnixTime,
        publish: bool,
    ) -> Result<(), StoreError> {
        if !batch.certificates.is_empty() {
            let mut issuers = Issuers::clone(&self.issuers.load());
            for (certificate, _) in &batch.certificates {
                // Verified with the object; a full table only means a signature check more next time.
                let _ = issuers.insert(certificate.clone());
            }
            self.issuers.store(Arc::new(issuers));
        }
        if let Some(row) = &batch.called
            && let Some((subject, _)) = Subject::of(&key)
        {
            let (choice, number) = (row.choice, row.number);
            self.published.change(|view| {
                let known = view.called.entry(subject).or_default();
                match choice {
                    "early" => known.early = Some(number),
                    _ => known.standard = Some(number),
                }
            });
        }
        if !batch.transitions.is_empty() {
            let held = self.store.keys_in(State::Held).await?;
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held.into_iter().collect();
            self.metrics.held(self.store.count(State::Held).await?);
        }
        if !publish {
            return Ok(());
        }
        match key.kind() {
            Kind::RootCrl if !batch.transitions.is_empty() => {
                self.adopt_root_crl(now).await?;
                self.judge_again(now).await?;
            }
            Kind::EvaluationNumbers => self.adopt_list(key, now).await?,
            Kind::EnclaveIdentity | Kind::PckCrl | Kind::RootCrl | Kind::TcbInfo => {}
        }
        self.publish(key, now).await?;
        Ok(())
    }

    /// Makes the newest root CRL that is neither held nor quarantined the one that judges signers. An expired
    /// one still revokes what it revokes.
    async fn adopt_root_crl(&self, now: UnixTime) -> Result<(), StoreError> {
        let rows = self.store.editions_of(ArtefactKey::RootCrl).await?;
        for row in rows
            .iter()
            .rev()
            .filter(|row| counts(row, now, self.is_read_only()))
        {
            match self.reverify(row, now).await? {
                Ok(verified) => {
                    self.root_crl.store(Some(Arc::new(verified)));
                    return Ok(());
                }
                Err(error) => {
                    tracing::error!(edition = %row.id, error = %error, "a stored root CRL does not verify")
                }
            }
        }
        Ok(())
    }

    async fn adopt_list(&self, key: ArtefactKey, now: UnixTime) -> Result<(), StoreError> {
        let rows = self.store.editions_of(key).await?;
        for row in rows
            .iter()
            .rev()
            .filter(|row| counts(row, now, self.is_read_only()))
        {
            match self.reverify(row, now).await? {
                Ok(verified) => {
                    if let Some(list) = as_list(&verified) {
                        self.published.change(|view| view.lists.learn(list));
                        self.flights.forget_all();
                    }
                    return Ok(());
                }
                Err(error) => {
                    tracing::error!(edition = %row.id, error = %error, "a stored list does not verify")
                }
            }
        }
        Ok(())
    }

    /// A root CRL has come: what its revoked signers signed is quarantined, what was unchecked is checked.
    async fn judge_again(&self, now: UnixTime) -> Result<(), StoreError> {
        let Some(root_crl) = self.root_crl.load_full() else {
            return Ok(());
        };
        let Content::Crl(crl) = root_crl.content() else {
            return Ok(());
        };
        let issuers = self.issuers.load_full();
        let revoked = issuers
            .iter()
            .filter(|known| crl.revokes(known.serial()) && !known.is_self_issued());
        let mut judged = BTreeSet::new();
        for certificate in revoked {
            if !judged.insert(certificate.spki_digest()) {
                continue;
            }
            for row in self
                .store
                .editions_signed_by(certificate.spki_digest())
                .await?
            {
                let cause = format!(
                    "its signer {} is revoked by the root CRL of {}",
                    certificate.subject_cn(),
                    root_crl.issued()
                );
                let remark = Remark::new("signer.revoked", Severity::Alarm, cause.clone());
                let batch = Batch {
                    transitions: vec![Transition {
                        edition: row.id,
                        key: row.key,
                        at: now,
                        state: State::Quarantined,
                        cause,
                    }],
                    events: vec![event(now, remark, Some(row.key), Some(row.id))],
                    ..Batch::default()
                };
                self.commit(&batch).await?;
                self.withdraw(row.key);
            }
        }
        let checked = self
            .store
            .unchecked()
            .await?
            .into_iter()
            .map(|row| (row.id, root_crl.issued()))
            .collect();
        self.commit(&Batch {
            checked,
            ..Batch::default()
        })
        .await
    }

    pub(crate) fn withdraw(&self, key: ArtefactKey) {
        // Most keys that are asked for in vain were never published: no view is copied for them.
        let known = {
            let view = self.published.load();
            let numbered = Subject::of(&key).and_then(|(subject, number)| {
                view.called
                    .get(&subject)
                    .map(|called| called.current.contains(&number))
            });
            view.ready.contains_key(&key) || numbered == Some(true)
        };
        if !known {
            return;
        }
        self.metrics.withdrawn(&key.to_string());
        let subject = Subject::of(&key);
        self.published.change(|view| {
            view.ready.remove(&key);
            if let Some((subject, number)) = subject
                && let Some(known) = view.called.get_mut(&subject)
            {
                known.current.retain(|other| *other != number);
            }
        });
    }

    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
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

/// Does a stored edition count for what it revokes or lists?
fn counts(row: &EditionRow, now: UnixTime, by_dates: bool) -> bool {
    match row.state {
        State::Archived | State::Current | State::Superseded => !by_dates || row.issued <= now,
        State::Held => by_dates && row.issued <= now,
        State::Quarantined => false,
    }
}

/// Is a document what was asked for? The number may be the source's choice only where none was named.
fn answers(ask: Ask, request: &Request, found: ArtefactKey) -> Result<(), String> {
    let fits = match (request.wanted, found) {
        (
            Wanted::TcbInfo { tee, fmspc, choice },
            ArtefactKey::TcbInfo {
                tee: t,
                version: 3,
                fmspc: f,
                number,
            },
        ) => {
            tee == t && fmspc == f && !matches!(choice, Choice::Number(wanted) if wanted != number)
        }
        (
            Wanted::EnclaveIdentity { enclave, choice },
            ArtefactKey::EnclaveIdentity {
                enclave: e, number, ..
            },
        ) => enclave == e && !matches!(choice, Choice::Number(wanted) if wanted != number),
        _ => matches!(ask, Ask::Artefact(key) if key == found),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("an answer to {}", request.path()))
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
        Content::Crl(crl) => Some(crl.serials().map(<[u8]>::to_vec).collect()),
        Content::EnclaveIdentity(_) | Content::EvaluationNumbers(_) | Content::TcbInfo(_) => None,
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

/// Twice what the design starts with; each holds some 20 KB.
const PUBLISHED: usize = 20_000;
