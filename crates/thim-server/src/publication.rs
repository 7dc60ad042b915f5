//! What readers get to see: editions verified again on their way out of the store, the root CRL that judges
//! signers, the lists that choose numbers, and what a newly revoked signer takes with it.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use thim_verify::amd::{EndorsementKind, Product};
use thim_verify::{
    Artefact, ArtefactKey, Content, Digest, Error, Issuers, Kind, PckCa, UnixTime, Verified,
    parse_for,
};

use crate::admission::moved;
use crate::baseline::Choice;
use crate::collateral::{Ask, Collateral, as_list};
use crate::proof::{self, Proven};
use crate::ready::Ready;
use crate::sentinel::{Severity, State};
use crate::store::{Batch, EditionRow, StoreError};
use crate::view::Subject;

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
        for ca in PckCa::ALL {
            self.adopt_pck_crl(ca, now).await?;
        }
        // Only what is there: most services know one product or none.
        let known = self.store.keys().await?;
        for key in known.iter().map(|row| row.key) {
            if let ArtefactKey::AmdCrl { product, kind } = key {
                self.adopt_amd_crl(product, kind, now).await?;
            }
        }
        for key in known.iter().map(|row| row.key) {
            if let ArtefactKey::AmdCertChain { product, kind } = key {
                self.adopt_amd_chain(product, kind, now).await?;
            }
        }
        for tee in thim_verify::Tee::ALL {
            self.adopt_list(ArtefactKey::EvaluationNumbers { tee }, now)
                .await?;
        }
        let retired = self.store.retired_number().await?;
        self.published.change(|view| view.retired = retired);
        let mut called: HashMap<String, Vec<(String, u32)>> = HashMap::new();
        for (subject, choice, number) in self.store.called().await? {
            called.entry(subject).or_default().push((choice, number));
        }
        let keys = known;
        for row in keys.iter().filter(|row| row.state == State::Current) {
            let revoked = row
                .revoked_entries
                .and_then(|count| usize::try_from(count).ok());
            self.metrics
                .published(&row.key.to_string(), row.next_update.secs(), revoked);
        }
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
                for (choice, number) in called.get(&subject.to_string()).into_iter().flatten() {
                    let known = view.called.entry(*subject).or_default();
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

    /// Verifies the stored current edition of `key` again and publishes it. `None` where there is none that
    /// may be; what was published before stays. An edition that fails is quarantined and said so: the store is not trusted on the way out.
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
            return Ok(None);
        };
        let verified = match self.reverify(row, now).await? {
            Ok(verified) => verified,
            Err(error) => {
                self.withdraw(key);
                if !self.is_read_only() {
                    let cause = format!("does not verify on the way out: {error}");
                    let batch = moved(
                        row,
                        State::Quarantined,
                        "edition.quarantined",
                        Severity::Alarm,
                        cause,
                        now,
                    );
                    self.commit(&batch).await?;
                }
                return Ok(None);
            }
        };
        let confirmed = self.store.confirmed(key).await?;
        let seen = confirmed.map_or(row.admitted, |confirmed| confirmed.max(row.admitted));
        let chain = verified.served_chain(&self.issuers.load(), now);
        let state = if self.is_read_only() {
            State::Current
        } else {
            row.state
        };
        let ready = Arc::new(Ready::new(
            &verified,
            chain.as_ref(),
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
            // Whoever read the store before an admission must not put what it replaced back.
            let newer = view
                .ready
                .get(&key)
                .is_some_and(|known| (known.issued, known.seen) > (ready.issued, ready.seen));
            // A view this large is an attack or a mistake; what is not in it is served from the store.
            if !newer && (view.ready.len() < PUBLISHED || view.ready.contains_key(&key)) {
                view.ready.insert(key, Arc::clone(&ready));
            }
            view.archived.remove(&key);
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

    /// The newest edition of a key that is past its time, for who wants it all the same: verified again, as what is published.
    pub(crate) async fn archived(
        &self,
        key: ArtefactKey,
        now: UnixTime,
    ) -> Result<Option<Arc<Ready>>, StoreError> {
        if let Some(ready) = self.published.load().archived.get(&key) {
            return Ok(Some(Arc::clone(ready)));
        }
        let rows = self.store.editions_of(key).await?;
        let usable = rows.iter().filter(|row| {
            matches!(
                row.state,
                State::Archived | State::Current | State::Superseded
            ) && row.issued <= now
        });
        let Some(row) = usable.max_by_key(|row| (row.issued, row.id)) else {
            return Ok(None);
        };
        // Judged when it was issued: that it has ended since is what an archive is for.
        let verified = match self.reverify(row, row.issued).await? {
            Ok(verified) => verified,
            Err(error) => {
                tracing::warn!(event.key = %key, error = %error, "an archived edition does not verify; it is not served");
                return Ok(None);
            }
        };
        let chain = verified.served_chain(&self.issuers.load(), now);
        let ready = Arc::new(Ready::new(
            &verified,
            chain.as_ref(),
            row.admitted,
            false,
            self.policy(key.kind()),
            State::Archived,
        ));
        self.published.change(|view| {
            if view.archived.len() < ARCHIVED {
                view.archived.insert(key, Arc::clone(&ready));
            }
        });
        Ok(Some(ready))
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
        if key.kind() == Kind::TcbInfo {
            self.chooses_anew();
        }
    }

    /// PCK certificates are chosen by something else from now on. To be called after the change: whoever reads the old
    /// epoch and the new state is only asked once more.
    fn chooses_anew(&self) {
        self.selection_epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes up what a committed batch changed: certificates, holds, the root CRL, lists, the published view.
    pub(crate) async fn adopt(
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
            let known = self.published.load().called.get(&subject).cloned();
            let before = known.and_then(|known| match choice {
                "early" => known.early,
                _ => known.standard,
            });
            self.published.change(|view| {
                let known = view.called.entry(subject).or_default();
                match choice {
                    "early" => known.early = Some(number),
                    _ => known.standard = Some(number),
                }
            });
            if before != Some(number) && key.kind() == Kind::TcbInfo {
                self.chooses_anew();
            }
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
            Kind::AmdCertChain if !batch.transitions.is_empty() => {
                if let ArtefactKey::AmdCertChain { product, kind } = key {
                    self.adopt_amd_chain(product, kind, now).await?;
                }
            }
            Kind::AmdCrl if !batch.transitions.is_empty() => {
                if let ArtefactKey::AmdCrl { product, kind } = key {
                    self.adopt_amd_crl(product, kind, now).await?;
                    self.judge_amd_again(product, kind, now).await?;
                }
            }
            Kind::RootCrl if !batch.transitions.is_empty() => {
                self.adopt_root_crl(now).await?;
                self.judge_again(now).await?;
                // It may have revoked an authority of PCK certificates.
                self.chooses_anew();
            }
            Kind::EvaluationNumbers => self.adopt_list(key, now).await?,
            Kind::PckCrl if !batch.transitions.is_empty() => {
                if let ArtefactKey::PckCrl { ca } = key {
                    self.adopt_pck_crl(ca, now).await?;
                }
            }
            Kind::AmdCertChain
            | Kind::AmdCrl
            | Kind::EnclaveIdentity
            | Kind::PckCrl
            | Kind::RootCrl
            | Kind::TcbInfo => {}
        }
        let published = self.publish(key, now).await;
        // Here and not in `publish`: who only looks a key up may have read the store before it was admitted, and would
        // take away what was just published.
        if let Ok(None) = &published {
            self.withdraw(key);
        }
        if key.kind() == Kind::TcbInfo && !batch.transitions.is_empty() {
            self.chooses_anew();
        }
        published.map(|_| ())
    }

    /// Makes the newest root CRL the one that judges signers. An expired one still revokes what it revokes.
    async fn adopt_root_crl(&self, now: UnixTime) -> Result<(), StoreError> {
        if let Some(verified) = self.verified_again(ArtefactKey::RootCrl, now).await? {
            self.root_crl.store(Some(Arc::new(verified)));
            // Whoever signed them is judged again.
            if !self.published.load().archived.is_empty() {
                self.published.change(|view| view.archived.clear());
            }
        }
        Ok(())
    }

    /// Makes the newest PCK CRL of an authority the one that judges leaves.
    async fn adopt_pck_crl(&self, ca: PckCa, now: UnixTime) -> Result<(), StoreError> {
        let Some(verified) = self.verified_again(ArtefactKey::PckCrl { ca }, now).await? else {
            return Ok(());
        };
        let before = self.pck_crls[ca as usize].swap(Some(Arc::new(verified)));
        let after = self.pck_crl(ca);
        let entries = |crl: &Option<Arc<Verified<Artefact>>>| -> BTreeSet<Vec<u8>> {
            match crl.as_deref().map(|crl| crl.content()) {
                Some(Content::Crl(crl)) => crl.serials().map(<[u8]>::to_vec).collect(),
                _ => BTreeSet::new(),
            }
        };
        // Signed anew each day with the same entries: nothing has changed for anybody's certificate.
        if entries(&before) != entries(&after) {
            self.chooses_anew();
        }
        Ok(())
    }

    /// Makes the newest list of AMD's at one place the one that judges the authorities there.
    async fn adopt_amd_crl(
        &self,
        product: Product,
        kind: EndorsementKind,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let key = ArtefactKey::AmdCrl { product, kind };
        if let Some(Proven::Amd(verified)) = self.newest(key, now).await?
            && let Some(crl) = verified.as_crl()
            && self.amd.adopt_crl(product, kind, crl)
        {
            self.endorses_anew();
        }
        Ok(())
    }

    /// Makes the newest chain of AMD's that verifies the one in force.
    async fn adopt_amd_chain(
        &self,
        product: Product,
        kind: EndorsementKind,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let key = ArtefactKey::AmdCertChain { product, kind };
        let chain = match self.newest(key, now).await? {
            Some(Proven::Amd(verified)) => verified.as_cert_chain(),
            Some(Proven::Intel(_)) | None => None,
        };
        if self.amd.adopt_chain(product, kind, chain) {
            self.endorses_anew();
        }
        Ok(())
    }

    /// Certificates of chips are judged by something else from now on. As `chooses_anew`, to be called after the change.
    fn endorses_anew(&self) {
        self.endorsement_epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// What is current under `key`, verified again; of Intel's keys.
    pub(crate) async fn verified_again(
        &self,
        key: ArtefactKey,
        now: UnixTime,
    ) -> Result<Option<Verified<Artefact>>, StoreError> {
        Ok(self.newest(key, now).await?.and_then(Proven::intel))
    }

    /// Lets the newest list of a TEE inform the choice of numbers. An expired one still does.
    async fn adopt_list(&self, key: ArtefactKey, now: UnixTime) -> Result<(), StoreError> {
        if let Some(verified) = self.newest(key, now).await?
            && let Some(list) = as_list(&verified)
            && self.published.load().lists.is_news(list)
        {
            self.published.change(|view| view.lists.learn(list));
            self.flights.forget_all();
            // Another number may be early now, of which the TCB info was there before.
            self.chooses_anew();
        }
        Ok(())
    }

    /// The newest edition of a key that is neither held nor quarantined and verifies on the way out.
    async fn newest(&self, key: ArtefactKey, now: UnixTime) -> Result<Option<Proven>, StoreError> {
        let rows = self.store.editions_of(key).await?;
        for row in rows
            .iter()
            .rev()
            .filter(|row| counts(row, now, self.is_read_only()))
        {
            match self.reverify(row, now).await? {
                Ok(verified) => return Ok(Some(verified)),
                Err(error) => {
                    tracing::error!(edition = %row.id, error = %error, "a stored edition does not verify; the one before it counts");
                }
            }
        }
        Ok(None)
    }

    /// A root CRL has come: what its revoked signers signed is quarantined, what was unchecked is checked.
    pub(crate) async fn judge_again(&self, now: UnixTime) -> Result<(), StoreError> {
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
            let cause = format!(
                "its signer {} is revoked by the root CRL of {}",
                certificate.subject_cn(),
                root_crl.issued()
            );
            self.stop_signer(certificate.spki_digest(), &cause, now)
                .await?;
        }
        self.check_unchecked(root_crl.issued(), |key| key.kind().vendor() == "intel")
            .await
    }

    /// A list of AMD's has come: chains whose authorities it names are quarantined, what was unchecked is checked.
    async fn judge_amd_again(
        &self,
        product: Product,
        of: EndorsementKind,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        for kind in EndorsementKind::ALL {
            let Some(crl) = self.amd.crl(product, kind) else {
                continue;
            };
            let key = ArtefactKey::AmdCertChain { product, kind };
            for row in self.store.editions_of(key).await? {
                if row.state == State::Quarantined {
                    continue;
                }
                // It is verified against the list in force; only a revocation is news.
                if let Err(error @ Error::Revoked { .. }) = self.reverify(&row, now).await? {
                    let cause = format!("{error}, says CRL number {}", crl.number());
                    self.stop(&row, cause, now).await?;
                }
            }
            self.adopt_amd_chain(product, kind, now).await?;
            if kind == of {
                self.check_unchecked(crl.this_update(), |other| other == key)
                    .await?;
            }
        }
        Ok(())
    }

    /// Quarantines everything that a key has signed.
    async fn stop_signer(
        &self,
        signer_key: Digest,
        cause: &str,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        for row in self.store.editions_signed_by(signer_key).await? {
            self.stop(&row, cause.to_owned(), now).await?;
        }
        Ok(())
    }

    async fn stop(&self, row: &EditionRow, cause: String, now: UnixTime) -> Result<(), StoreError> {
        let batch = moved(
            row,
            State::Quarantined,
            "signer.revoked",
            Severity::Alarm,
            cause,
            now,
        );
        self.commit(&batch).await?;
        self.withdraw(row.key);
        Ok(())
    }

    /// Editions that no list was there for, of keys that this one judges, are checked now.
    async fn check_unchecked(
        &self,
        this_update: UnixTime,
        judges: impl Fn(ArtefactKey) -> bool,
    ) -> Result<(), StoreError> {
        let unchecked = self.store.unchecked().await?.into_iter();
        let checked = unchecked
            .filter(|row| judges(row.key))
            .map(|row| (row.id, this_update))
            .collect();
        self.commit(&Batch {
            checked,
            ..Batch::default()
        })
        .await
    }

    /// Verifies a stored edition again, at a time no earlier than its issue.
    pub(crate) async fn reverify(
        &self,
        row: &EditionRow,
        now: UnixTime,
    ) -> Result<Result<Proven, Error>, StoreError> {
        let Some(document) = self.store.document(row.id).await? else {
            return Ok(Err(Error::Format {
                what: row.id.to_string(),
                why: "its document is gone".to_owned(),
            }));
        };
        let issuers = self.issuers.load();
        let root_crl = self.root_crl.load();
        Ok(parse_for(row.key, &document).and_then(|unverified| {
            if unverified.key() != row.key || unverified.signed_digest() != row.id {
                return Err(Error::Format {
                    what: row.id.to_string(),
                    why: "the row holds another document".to_owned(),
                });
            }
            proof::prove(
                unverified,
                &[],
                &issuers,
                root_crl.as_deref(),
                &self.amd,
                now.max(row.issued),
            )
        }))
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

/// Twice what the design starts with; each holds some 20 KB.
/// Numbers that baselines hold on to past their time: a few, of each FMSPC.
const ARCHIVED: usize = 10_000;
const PUBLISHED: usize = 20_000;
