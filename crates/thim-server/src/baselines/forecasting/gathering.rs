//! What a forecast goes by: the newest editions of a number, and the fleet out of the register.

use std::collections::BTreeSet;

use thim_verify::{
    Certificate, Digest, Enclave, EvaluationNumber, Fmspc, PckCertificate, PlatformTcb, Tee,
    UnixTime,
};

use super::PAGE;
use crate::baseline::Choice;
use crate::baselines::Baselines;
use crate::baselines::forecast::{Documents, Fleet, KnownBy, Subject};
use crate::collateral::Ask;
use crate::evidence::Picked;
use crate::store::{FleetRow, StoreError};
use crate::view::Subject as Wanted;

impl Baselines {
    /// The newest editions of a number, by the vendor's dates. What is missing is asked for while `fetches` lasts.
    pub(super) async fn documents(
        &self,
        tee: Tee,
        number: EvaluationNumber,
        families: &[Fmspc],
        fetches: &mut usize,
        now: UnixTime,
    ) -> Result<Documents, StoreError> {
        let mut documents = Documents::default();
        let enclave = match tee {
            Tee::Sgx => Enclave::Qe,
            Tee::Tdx => Enclave::TdQe,
        };
        let identity = Wanted::EnclaveIdentity { enclave };
        documents.identity = self.document(identity, number, fetches, now).await?;
        for fmspc in families {
            let wanted = Wanted::TcbInfo {
                tee,
                version: 3,
                fmspc: *fmspc,
            };
            if let Some(found) = self.document(wanted, number, fetches, now).await? {
                documents.infos.insert(*fmspc, found);
            }
        }
        Ok(documents)
    }

    async fn document(
        &self,
        wanted: Wanted,
        number: EvaluationNumber,
        fetches: &mut usize,
        now: UnixTime,
    ) -> Result<Option<thim_verify::Verified<thim_verify::Artefact>>, StoreError> {
        let key = wanted.key(number);
        let held = |picked| match picked {
            Picked::Edition(edition) => Some(*edition),
            Picked::Broken(_) | Picked::None => None,
        };
        let found = held(self.collateral().edition_at(key, now).await?);
        if found.is_some() || *fetches == 0 || !self.collateral().may_ask() {
            return Ok(found);
        }
        *fetches -= 1;
        let ask = Ask::Subject(wanted, Choice::Number(number));
        match self.collateral().answer(ask, now).await {
            // What came just now may be dated after the forecast began.
            Ok(_) => {
                let then = now.plus_secs(JUST_NOW_SECS);
                Ok(held(self.collateral().edition_at(key, then).await?))
            }
            Err(
                crate::collateral::Refusal::Absent { .. }
                | crate::collateral::Refusal::Retired { .. },
            ) => Ok(None),
            Err(_) => {
                // A vendor that does not answer is not waited for again in this forecast.
                *fetches = 0;
                Ok(None)
            }
        }
    }

    /// Every platform of a TEE, and how many are none of it. `known`: families with a TCB info.
    pub(super) async fn fleet(
        &self,
        tee: Tee,
        known: &BTreeSet<Fmspc>,
    ) -> Result<(Fleet, u64), StoreError> {
        let mut fleet = Fleet::default();
        let mut others = 0;
        let mut after = String::new();
        loop {
            let page = self.store().fleet(&after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            for row in &page {
                let is_domain = row.evidence.is_some_and(|one| one.tee_tcb_svn.is_some());
                let has_info = row.fmspc.is_some_and(|fmspc| known.contains(&fmspc));
                // A platform of a family without TDX is no TDX platform, unless a quote of it says otherwise.
                if tee == Tee::Tdx && !has_info && !is_domain {
                    others += 1;
                    continue;
                }
                let subject = self.subject(row, tee).await?;
                fleet.add(&row.id, subject);
            }
        }
        Ok((fleet, others))
    }

    async fn subject(&self, row: &FleetRow, tee: Tee) -> Result<Subject, StoreError> {
        let find = |wanted: &dyn Fn(&thim_verify::RawTcb) -> bool| {
            let mut all = row.certificates.iter();
            all.find(|(tcbm, _)| wanted(tcbm))
                .map(|(_, digest)| *digest)
        };
        // What was seen last is how the platform is now; what nobody told stands against no quote.
        let told = row.raw.filter(|raw| raw.told);
        let quoted = row
            .evidence
            .filter(|one| told.is_none_or(|raw| raw.last <= one.seen));
        let by_quote = quoted.and_then(|one| find(&|tcbm| *tcbm == one.pck_tcb));
        let anybodys = row.raw.filter(|_| row.evidence.is_none());
        let raw = told.or(anybodys).map(|raw| raw.tcb);
        let raw = raw.or(row.evidence.map(|one| one.pck_tcb));
        let by_raw = || raw.and_then(|raw| find(&|tcbm| raw.covers(tcbm)));
        let (digest, known_by) = match by_quote {
            Some(digest) => (Some(digest), KnownBy::Quote),
            None => match (by_raw(), raw) {
                (Some(digest), _) => (Some(digest), KnownBy::RawTcb),
                // It was seen with a TCB that no certificate is for.
                (None, Some(_)) => (None, KnownBy::Unknown),
                (None, None) => (find(&|_| true), KnownBy::HighestCertificate),
            },
        };
        let tcb = match digest {
            Some(digest) => self.components(&row.id, digest).await?,
            None => None,
        };
        let domain = row.evidence.filter(|_| tee == Tee::Tdx);
        Ok(Subject {
            fmspc: row.fmspc,
            tcb,
            tee_tcb_svn: domain.and_then(|one| one.tee_tcb_svn),
            tee_tcb_svn2: domain.and_then(|one| one.tee_tcb_svn2),
            // Another TEE's quoting enclave has another identity.
            qe_isv_svn: row
                .evidence
                .filter(|one| one.tee == tee)
                .map(|one| one.qe_isv_svn),
            known_by: if tcb.is_some() {
                known_by
            } else {
                KnownBy::Unknown
            },
        })
    }

    /// The components of a platform's PCK certificate. They are remembered: a certificate does not change.
    async fn components(
        &self,
        platform: &str,
        digest: Digest,
    ) -> Result<Option<PlatformTcb>, StoreError> {
        if let Some(known) = self.components.get(&digest) {
            return Ok(Some(known));
        }
        let pem = self.store().pck_pem(platform, digest).await?;
        let leaf = pem
            .and_then(|pem| Certificate::from_pem_bundle(&pem).ok())
            .and_then(|all| all.into_iter().next())
            .and_then(|leaf| PckCertificate::from_certificate(leaf).ok());
        let tcb = leaf.as_ref().map(PlatformTcb::from);
        if let Some(tcb) = tcb {
            self.components.insert(digest, tcb);
        }
        Ok(tcb)
    }
}

/// Longer than a fetch takes.
const JUST_NOW_SECS: i64 = 30;
