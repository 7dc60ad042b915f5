//! The story of a delivery, `PUT /platformcollateral`: everything is verified first, beside what is known, and only then
//! is any of it admitted (`spec/intel-pcs-and-pccs.md` section 2.9).
//!
//! What it promises. A delivery that is refused changes nothing of what is served. Narrower than PCCS, which stores
//! what it is given: every signature is verified; nothing expired, nothing older than what is current and no list that
//! would be held back is taken (an import takes such to history; a delivery is meant to be served). What fails verification goes to quarantine with
//! the reason, as everywhere.
//!
//! What it does not promise: one transaction. Collateral is admitted first, then platforms, each verified once more
//! by the gate that all material goes through; a store that fails in between leaves what it had taken, and the same
//! delivery again completes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use thim_verify::{
    Artefact, ArtefactKey, Content, Error, Fmspc, Issuers, Listed, RawTcb, Tee, UnixTime, Verified,
    compacted, select_pck, verify,
};

use super::delivery::{DeliveredCertificates, Delivery};
use super::list::{ListRefused, judge as judge_list};
use super::registration::{Invalid, Registration};
use super::{Authority, Imported, PlatformRefusal, Platforms};
use crate::intake::{self, Gathered, Object};
use crate::proof::Proven;
use crate::sealing::Purpose;
use crate::sentinel::{History, Judgement, Origin, Seen, State};
use crate::store::StoreError;
use crate::view::Subject;

/// Why a delivery is refused. The texts name the place in the file, and no secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DeliveryRefused {
    /// Another body with the issue date of one that is known.
    #[error("{0}")]
    Conflict(String),
    /// Past its end.
    #[error("{0}")]
    Expired(String),
    /// Dated after the clock.
    #[error("{0}")]
    Future(String),
    /// A revocation list that un-revokes, which is held back: it would not be served.
    #[error("{0}")]
    Held(String),
    /// It contradicts itself.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Older than what is there.
    #[error("{0}")]
    Older(String),
    /// A platform may not come in, or the store failed.
    #[error(transparent)]
    Platform(#[from] PlatformRefusal),
    /// What it was judged beside has changed before it was admitted.
    #[error("what is held changed meanwhile: {0}")]
    Raced(String),
    /// A raw TCB for which no certificate of the list suits.
    #[error("{0}")]
    Selection(String),
    /// It does not verify.
    #[error("{0}")]
    Unverified(String),
}

impl Platforms {
    /// Admits a delivery, all of it or nothing.
    ///
    /// # Errors
    /// The first thing that keeps it out.
    pub async fn deliver(
        self: &Arc<Self>,
        delivery: Delivery,
        authority: &Authority,
        now: UnixTime,
    ) -> Result<(), DeliveryRefused> {
        let Delivery {
            platforms,
            certificates,
            mut found,
        } = delivery;
        for object in &mut found.objects {
            object.path = format!("{SOURCE}: {}", object.path);
        }
        let judged = self.judge_objects(&found, now).await?;
        let imported = self
            .judge_platforms(certificates, &platforms, &judged, authority, now)
            .await?;

        let gathered = Gathered {
            found,
            ..Gathered::default()
        };
        let report = intake::import(&self.collateral, gathered, now, &mut |_, _| {})
            .await
            .map_err(|error| self.storage(&error))?;
        if let Some(refused) = report.refused.first() {
            let text = format!("{}: {}", refused.path, refused.reason);
            return Err(DeliveryRefused::Raced(text));
        }
        if report.held > 0 {
            let text = format!("{SOURCE}: a revocation list is held back");
            return Err(DeliveryRefused::Raced(text));
        }
        for result in self.import_many(imported, authority, SOURCE, now).await {
            result?;
        }
        Ok(())
    }

    /// Would every signed object be admitted, and stay what is served?
    async fn judge_objects(
        &self,
        found: &intake::Found,
        now: UnixTime,
    ) -> Result<Judged, DeliveryRefused> {
        let collateral = &self.collateral;
        let mut issuers = Issuers::clone(&collateral.issuers.load());
        for certificate in &found.certificates {
            // What does not lead to a trusted root is of no use, and what it signed will say so.
            let _ = issuers.insert(certificate.clone());
        }
        let mut judged = Judged {
            issuers,
            root_crl: collateral.root_crl.load_full(),
            levels: HashMap::new(),
        };
        let mut histories: BTreeMap<ArtefactKey, History> = BTreeMap::new();
        let mut objects: Vec<&Object> = found.objects.iter().collect();
        // As they will be admitted: the root's list first, which the others are judged by, then by date.
        objects.sort_by_key(|object| {
            let key = object.unverified.key();
            (key != ArtefactKey::RootCrl, object.unverified.issued(), key)
        });
        for object in objects {
            let verified = match judged.verify(object, now) {
                Ok(verified) => verified,
                Err(error @ Error::NotYetIssued { .. }) => {
                    return Err(DeliveryRefused::Future(at(object, &error)));
                }
                Err(error) => {
                    let key = Some(object.unverified.key());
                    let body = object.unverified.unverified().document().clone();
                    collateral
                        .quarantine(&object.path, key, &error, body, now)
                        .await
                        .map_err(|error| self.storage(&error))?;
                    return Err(DeliveryRefused::Unverified(at(object, &error)));
                }
            };
            let key = verified.key();
            let history = match histories.entry(key) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => place.insert(
                    collateral
                        .history(key, Some(verified.id()))
                        .await
                        .map_err(|error| self.storage(&error))?,
                ),
            };
            self.stays_current(object, &verified, history, &judged.issuers, now)
                .await?;
            let in_force = history
                .editions
                .iter()
                .any(|seen| seen.id == verified.id() && seen.state == State::Current);
            if key == ArtefactKey::RootCrl && in_force {
                judged.root_crl = Some(Arc::new(verified));
            } else if let ArtefactKey::TcbInfo {
                tee: Tee::Sgx,
                fmspc,
                ..
            } = key
            {
                judged.offer_levels(fmspc, object.called, verified);
            }
        }
        Ok(judged)
    }

    /// The sentinel's judgement as for an upstream's answer: what is expired, older or to be held back is not taken.
    async fn stays_current(
        &self,
        object: &Object,
        verified: &Verified<Artefact>,
        history: &mut History,
        issuers: &Issuers,
        now: UnixTime,
    ) -> Result<(), DeliveryRefused> {
        let key = verified.key();
        let collateral = &self.collateral;
        if let (Some(called), Some((subject, number))) = (object.called, Subject::of(&key)) {
            let view = collateral.view();
            let known = view.called.get(&subject).and_then(|known| match called {
                "early" => known.early,
                _ => known.standard,
            });
            if let Some(known) = known.filter(|known| *known > number) {
                let why = format!("number {number}, and {called} is {known} already");
                return Err(DeliveryRefused::Older(at(object, &why)));
            }
        }
        let (seen, judgement) = collateral
            .judge(
                &Proven::Intel(verified.clone()),
                history,
                issuers,
                Origin::Upstream,
                now,
            )
            .await
            .map_err(|error| self.storage(&error))?;
        let known_as = |seen: &Seen| (seen.id == verified.id()).then_some(seen.state);
        match judgement {
            Judgement::Admit {
                state: State::Held,
                cause,
                ..
            } => Err(DeliveryRefused::Held(at(object, &cause))),
            Judgement::Admit { state, .. } => {
                history.insert(Seen { state, ..seen });
                Ok(())
            }
            Judgement::Known if history.editions.iter().find_map(known_as) == Some(State::Held) => {
                Err(DeliveryRefused::Held(at(object, &"it is held back")))
            }
            Judgement::Known if verified.next_update() <= now => Err(DeliveryRefused::Expired(at(
                object,
                &format!("expired since {}", verified.next_update()),
            ))),
            Judgement::Known => Ok(()),
            Judgement::Refuse(remark) => {
                let text = at(object, &remark.text);
                Err(match remark.name {
                    "edition.older" => DeliveryRefused::Older(text),
                    "edition.expired" => DeliveryRefused::Expired(text),
                    "edition.future" => DeliveryRefused::Future(text),
                    "edition.conflict" => DeliveryRefused::Conflict(text),
                    // The chain's certificates have ended.
                    _ => DeliveryRefused::Expired(text),
                })
            }
        }
    }

    /// Would every platform come in, and would each of its raw TCBs get a certificate?
    async fn judge_platforms(
        &self,
        certificates: Vec<DeliveredCertificates>,
        platforms: &[Registration],
        judged: &Judged,
        authority: &Authority,
        now: UnixTime,
    ) -> Result<Vec<Imported>, DeliveryRefused> {
        let mut imported = Vec::with_capacity(certificates.len());
        let mut names = HashMap::new();
        for (place, entry) in certificates.into_iter().enumerate() {
            let at = format!("{SOURCE}: collaterals.pck_certs[{place}]");
            let ppid = self.judge_certificates(&at, &entry, judged, now)?;
            let name = (entry.platform.qe_id.clone(), entry.platform.pce_id);
            if let Some(other) = names.insert(name, ppid.clone())
                && other != ppid
                && !entry.platform.qe_id.is_zero()
            {
                let why = "the same QE id as an entry before it, and another platform";
                return Err(Invalid::new(at, why).into());
            }
            let mut one = Imported {
                registration: entry.platform,
                list: entry.list,
                delivered: entry.delivered.to_vec(),
                raw_tcbs: Vec::new(),
            };
            let own = &mut one.registration;
            for named in platforms {
                if (&named.qe_id, named.pce_id) != (&own.qe_id, own.pce_id) {
                    continue;
                }
                one.raw_tcbs.extend(named.raw_tcb);
                own.encrypted_ppid = own.encrypted_ppid.take().or(named.encrypted_ppid.clone());
                own.manifest = own.manifest.take().or(named.manifest.clone());
            }
            let known = self
                .seen_raw_tcbs(&ppid, &one.registration)
                .await
                .map_err(|error| self.storage(&error))?;
            for raw in one.raw_tcbs.iter().chain(&known) {
                judged.select(&at, raw, &one, entry.fmspc)?;
            }
            // Not written: who it is beside the register, and whether it may have its name.
            self.plan_import(one.clone(), authority, SOURCE, now)
                .await?;
            imported.push(one);
        }
        Ok(imported)
    }

    /// Every certificate of an entry verifies; the keyed hash of the PPID that they show.
    fn judge_certificates(
        &self,
        at: &str,
        entry: &DeliveredCertificates,
        judged: &Judged,
        now: UnixTime,
    ) -> Result<String, DeliveryRefused> {
        for (place, one) in entry.list.entries.iter().enumerate() {
            if let Listed::Certificate(certificate) = &one.listed
                && let Err(error @ Error::Expired { .. }) = certificate.certificate().valid_at(now)
            {
                let text = format!("{at}.certs[{place}]: {error}");
                return Err(DeliveryRefused::Expired(text));
            }
        }
        let list = judge_list(
            entry.list.clone(),
            entry.platform.pce_id,
            &entry.delivered,
            &judged.issuers,
            judged.root_crl.as_deref(),
            now,
        )
        .map_err(|refused| match refused {
            ListRefused::Unverified(error) => DeliveryRefused::Unverified(format!("{at}: {error}")),
            ListRefused::Empty | ListRefused::NoneAvailable { .. } => {
                Invalid::new(at, refused).into()
            }
        })?;
        match list.gaps.first() {
            None => Ok(self.identity.keyed(Purpose::Ppid, &list.ppid.0)),
            Some(gap) => Err(DeliveryRefused::Unverified(format!(
                "{at}, level {}: {}",
                gap.tcbm, gap.why
            ))),
        }
    }

    /// Raw TCBs that the platform is known to have been seen with.
    async fn seen_raw_tcbs(
        &self,
        ppid: &str,
        registration: &Registration,
    ) -> Result<Vec<RawTcb>, StoreError> {
        let store = self.store();
        let row = match store.platform_by_ppid(ppid).await? {
            Some(row) => Some(row),
            None if registration.qe_id.is_zero() => None,
            None => store
                .platform_by_alias(registration.qe_id.as_str(), registration.pce_id)
                .await?
                .filter(|row| row.ppid_hash.is_none()),
        };
        let Some(row) = row else {
            return Ok(Vec::new());
        };
        let seen = store.raw_tcbs(&row.id).await?;
        Ok(seen.into_iter().map(|row| row.tcb).collect())
    }
}

/// What the signed objects of a delivery come to.
struct Judged {
    issuers: Issuers,
    root_crl: Option<Arc<Verified<Artefact>>>,
    /// By family: what its certificates are chosen by, and whether that is the early one.
    levels: HashMap<Fmspc, (bool, Verified<Artefact>)>,
}

impl Judged {
    fn verify(&self, object: &Object, now: UnixTime) -> Result<Verified<Artefact>, Error> {
        let judge = |unverified| {
            verify(
                unverified,
                &object.delivered,
                &self.issuers,
                self.root_crl.as_deref(),
                now,
            )
        };
        match judge(object.unverified.clone()) {
            // Tools re-dump what was signed, with other white space.
            Err(error @ Error::SignatureInvalid { .. }) => match compacted(&object.unverified) {
                Some(compact) => judge(compact).map_err(|_| error),
                None => Err(error),
            },
            other => other,
        }
    }

    /// PCCS chooses by the early TCB info where there is one.
    fn offer_levels(
        &mut self,
        fmspc: Fmspc,
        called: Option<&'static str>,
        verified: Verified<Artefact>,
    ) {
        let early = called == Some("early");
        if early || !self.levels.get(&fmspc).is_some_and(|(early, _)| *early) {
            self.levels.insert(fmspc, (early, verified));
        }
    }

    fn select(
        &self,
        at: &str,
        raw: &RawTcb,
        one: &Imported,
        fmspc: Fmspc,
    ) -> Result<(), DeliveryRefused> {
        let levels: Vec<RawTcb> = one.list.entries.iter().map(|entry| entry.tcbm).collect();
        let tcb_info = match self.levels.get(&fmspc).map(|(_, found)| found.content()) {
            Some(Content::TcbInfo(tcb_info)) => tcb_info,
            _ => {
                let text = format!("{at}: no TCB info of SGX for {fmspc}");
                return Err(DeliveryRefused::Selection(text));
            }
        };
        match select_pck(raw, one.registration.pce_id, &levels, tcb_info) {
            Ok(_) => Ok(()),
            Err(error) => Err(DeliveryRefused::Selection(format!("{at}: {error}"))),
        }
    }
}

fn at(object: &Object, why: &impl std::fmt::Display) -> String {
    format!("{}: {why}", object.path)
}

/// Where it came from, for editions, events and quarantine.
const SOURCE: &str = "platformcollateral";
