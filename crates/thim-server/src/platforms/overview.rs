//! Platforms as people look at them: pages, records, and the facts for the [`doctor`](super::doctor).
//!
//! What leaves here is no secret: no PPID, no encrypted PPID, no manifest and no hash of one. Nothing here asks the
//! vendor and nothing changes the register.

use std::str::FromStr;
use std::sync::Arc;

use thim_client::{
    Diagnosis, PlatformLevel, PlatformMoment, PlatformName, PlatformRawTcb, PlatformRecord,
    PlatformSummary,
};
use thim_verify::{
    Artefact, ArtefactKey, Content, Enclave, PceId, RawTcb, SelectionError, Tee, UnixTime,
    Verified, select_pck,
};

use super::doctor::{self, Facts, Gets, Held, Known, Piece};
use super::fetching::ID_DIGITS;
use super::registration::{QeId, Registration};
use super::view::Handle;
use super::{Cause, PlatformRefusal, Platforms, SeenPpid, Sighting};
use crate::baseline::Choice;
use crate::collateral::{Ask, describe, locate};
use crate::freshness::Freshness;
use crate::store::{GapRow, PckRow, PlatformFilter, PlatformRow, StoreError};
use crate::view::Subject;

/// Which platform is meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Which {
    /// By its id.
    Id(String),
    /// By a name it is asked for by.
    Name(QeId, PceId),
}

/// Neither an id nor a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("wanted a platform's id (16 hex digits), or its QE id and PCE id as QEID:PCEID")]
pub struct UnknownForm;

impl FromStr for Which {
    type Err = UnknownForm;

    fn from_str(text: &str) -> Result<Self, UnknownForm> {
        // A QE id may have any characters, colons too; a PCE id has four hex digits.
        if let Some((qe_id, pce_id)) = text.rsplit_once(':') {
            let qe_id = qe_id.parse().map_err(|_| UnknownForm)?;
            let pce_id = pce_id.parse().map_err(|_| UnknownForm)?;
            return Ok(Self::Name(qe_id, pce_id));
        }
        if !is_id(text) {
            return Err(UnknownForm);
        }
        Ok(Self::Id(text.to_ascii_lowercase()))
    }
}

/// Whether a text has the form of a platform's id.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Platforms {
    /// The row of a platform.
    pub async fn find_row(&self, which: &Which) -> Result<Option<PlatformRow>, StoreError> {
        match which {
            Which::Id(id) => self.store().platform(id).await,
            Which::Name(qe_id, pce_id) => {
                self.store()
                    .platform_by_alias(qe_id.as_str(), *pce_id)
                    .await
            }
        }
    }

    /// Platforms that pass a filter, by id.
    pub async fn page(&self, filter: &PlatformFilter) -> Result<Vec<PlatformSummary>, StoreError> {
        let rows = self.store().platforms(filter).await?;
        Ok(rows.iter().map(|row| self.summary(row)).collect())
    }

    /// A platform in a list.
    pub fn summary(&self, row: &PlatformRow) -> PlatformSummary {
        PlatformSummary {
            id: row.id.clone(),
            state: row.state.name().to_owned(),
            cause: row.cause.name().to_owned(),
            detail: row.detail.clone(),
            since: row.since.to_string(),
            fmspc: row.fmspc.map(|fmspc| fmspc.to_string()),
            ca: row.ca.map(|ca| ca.name().to_owned()),
            origin: row.origin.name().to_owned(),
            registered: row.registered.to_string(),
            fetched: row.fetched.map(|at| at.to_string()),
            due: row.due.map(|at| at.to_string()),
            fetching: self.is_fetching(&row.id),
            manifest: row.manifest.is_some(),
            encrypted_ppid: row.enc_ppid.is_some(),
            cached_keys: row.cached_keys,
        }
    }

    /// Everything about a platform.
    pub async fn record(
        self: &Arc<Self>,
        row: PlatformRow,
        now: UnixTime,
    ) -> Result<PlatformRecord, StoreError> {
        let known = self.known(row, None, now).await?;
        let names = known.names.iter().map(|name| PlatformName {
            qe_id: name.qe_id.clone(),
            pce_id: name.pce_id.to_string(),
            strong: name.strong,
            since: name.since.to_string(),
        });
        let raw_tcbs = known.raw_tcbs.iter().map(|(seen, gets)| PlatformRawTcb {
            qe_id: seen.qe_id.clone(),
            tcb: seen.tcb.to_string(),
            first: seen.first.to_string(),
            last: seen.last.to_string(),
            tcbm: match gets {
                Gets::Certificate(index) => known
                    .certificates
                    .get(*index)
                    .map(|one| one.tcbm.to_string()),
                Gets::Nothing | Gets::Unknown => None,
            },
        });
        let timeline = known.timeline.iter().map(|line| PlatformMoment {
            at: line.at.to_string(),
            state: line.state.name().to_owned(),
            cause: line.cause.name().to_owned(),
            text: line.text.clone(),
        });
        let evidence = self.store().platform_evidence(&known.row.id).await?;
        let domain = evidence.as_ref().and_then(|seen| seen.domain);
        Ok(PlatformRecord {
            summary: self.summary(&known.row),
            evidence_seen: evidence.as_ref().map(|seen| seen.seen.to_string()),
            evidence_tee: evidence.as_ref().map(|seen| seen.tee.name().to_owned()),
            qe_isv_svn: evidence.as_ref().map(|seen| seen.qe_isv_svn),
            pck_tcb: evidence.as_ref().map(|seen| seen.pck_tcb.to_string()),
            tee_tcb_svn: domain.map(|seen| seen.tee_tcb_svn.to_string()),
            tee_tcb_svn2: domain
                .and_then(|seen| seen.tee_tcb_svn2)
                .map(|svn| svn.to_string()),
            tee_tcb_svn_seen: domain.map(|seen| seen.seen.to_string()),
            names: names.collect(),
            levels: levels(&known.certificates, &known.gaps, now),
            raw_tcbs: raw_tcbs.collect(),
            timeline: timeline.collect(),
        })
    }

    /// What is wrong with a platform. `None`: there is none with this id.
    pub async fn diagnose(
        self: &Arc<Self>,
        which: &Which,
        now: UnixTime,
    ) -> Result<Option<Diagnosis>, StoreError> {
        let row = self.find_row(which).await?;
        let asked = match which {
            Which::Id(_) if row.is_none() => return Ok(None),
            Which::Id(_) => None,
            Which::Name(qe_id, pce_id) => Some((qe_id.clone(), *pce_id)),
        };
        let collateral = self.collateral();
        let mut handles: Vec<Handle> = match (&asked, &row) {
            (Some((qe_id, pce_id)), _) => vec![Handle {
                name: qe_id.to_string(),
                pce_id: *pce_id,
            }],
            (None, Some(row)) => {
                let names = self.store().aliases(&row.id).await?;
                names
                    .into_iter()
                    .map(|name| Handle {
                        name: name.qe_id,
                        pce_id: name.pce_id,
                    })
                    .collect()
            }
            (None, None) => Vec::new(),
        };
        // An all-zero QE id is everybody's: what came under it is not about this one.
        handles.retain(|handle| handle.name.bytes().any(|byte| byte != b'0'));
        let latest = |cache: &quick_cache::sync::Cache<Handle, Sighting>| {
            handles
                .iter()
                .filter_map(|handle| cache.get(handle))
                .max_by_key(|sighting| sighting.at)
        };
        let sighting = latest(&self.sightings);
        let refused = latest(&self.refused_registrations);
        let known = match row {
            None => None,
            Some(row) => {
                let mut known = self.known(row, sighting.as_ref(), now).await?;
                known.collateral = self.collateral_of(&known.row, now).await?;
                Some(known)
            }
        };
        let facts = Facts {
            now,
            asked,
            known,
            sighting,
            refused,
            fetches: collateral.may_ask(),
            upstreams: collateral
                .intel()
                .bases()
                .map(|source| (source.name().to_owned(), source.is_up()))
                .collect(),
        };
        Ok(Some(doctor::diagnose(&facts)))
    }

    /// Remembers a registration that was refused, for the doctor; one that was not ends that.
    pub(super) fn note_registration<T>(
        &self,
        registration: &Registration,
        result: &Result<T, PlatformRefusal>,
        now: UnixTime,
    ) {
        let handle = Handle {
            name: registration.qe_id.to_string(),
            pce_id: registration.pce_id,
        };
        match result {
            Ok(_) => {
                self.refused_registrations.remove(&handle);
            }
            Err(refusal) => self.refused_registrations.insert(
                handle,
                Sighting {
                    at: now,
                    encrypted_ppid: SeenPpid::of(registration.encrypted_ppid.as_ref()),
                    raw_tcb: registration.raw_tcb,
                    refusal: refusal.clone(),
                },
            ),
        }
    }

    async fn known(
        self: &Arc<Self>,
        row: PlatformRow,
        sighting: Option<&Sighting>,
        now: UnixTime,
    ) -> Result<Known, StoreError> {
        let store = self.store();
        let certificates = store.pck_certificates(&row.id, false).await?;
        let chooser = Chooser {
            levels: certificates.iter().map(|one| one.tcbm).collect(),
            pce_id: row.pce_id,
            tcb_info: match row.fmspc {
                // Where it is not to be had, nothing can be chosen, and that is what is told.
                Some(fmspc) => self
                    .collateral()
                    .selection_levels(fmspc, false, now)
                    .await
                    .ok(),
                None => None,
            },
        };
        let raw_tcbs: Vec<_> = store
            .raw_tcbs(&row.id)
            .await?
            .into_iter()
            .map(|seen| {
                let gets = chooser.gets(&seen.tcb);
                (seen, gets)
            })
            .collect();
        // Whoever was served or registered since has told the newer story.
        let known = raw_tcbs.first().map(|(seen, _)| seen.last);
        let in_vain = sighting
            .filter(|sighting| sighting.refusal.cause == Cause::TcbTooLow)
            .filter(|sighting| known.is_none_or(|known| known <= sighting.at))
            .and_then(|sighting| sighting.raw_tcb)
            .map(|raw| (raw, chooser.gets(&raw)));
        Ok(Known {
            names: store.aliases(&row.id).await?,
            gaps: store.pck_gaps(&row.id).await?,
            timeline: store.timeline(&row.id).await?,
            collateral: Vec::new(),
            certificates,
            raw_tcbs,
            in_vain,
            row,
        })
    }

    /// What verifiers of this platform's quotes ask for, and whether it is here. TDX is left out: whether a family has
    /// it is not known beforehand.
    async fn collateral_of(
        &self,
        row: &PlatformRow,
        now: UnixTime,
    ) -> Result<Vec<Piece>, StoreError> {
        let (Some(fmspc), Some(ca)) = (row.fmspc, row.ca) else {
            return Ok(Vec::new());
        };
        let subject = |subject| Ask::Subject(subject, Choice::Standard);
        let wanted = [
            subject(Subject::TcbInfo {
                tee: Tee::Sgx,
                version: 3,
                fmspc,
            }),
            Ask::Artefact(ArtefactKey::PckCrl { ca }),
            Ask::Artefact(ArtefactKey::RootCrl),
            subject(Subject::EnclaveIdentity {
                enclave: Enclave::Qe,
            }),
        ];
        let mut pieces = Vec::with_capacity(wanted.len());
        for ask in wanted {
            pieces.push(self.piece(ask, now).await?);
        }
        Ok(pieces)
    }

    async fn piece(&self, ask: Ask, now: UnixTime) -> Result<Piece, StoreError> {
        let collateral = self.collateral();
        let located = locate(&collateral.view(), ask, now);
        let what = located.map_or_else(|| describe(ask), |(key, _)| key.to_string());
        let answer = match collateral.peek(ask, now) {
            Some(answer) => Some(answer),
            // A store that fails says so in the log, and shows nothing here.
            None => collateral.look_up(ask, now).await.unwrap_or_default(),
        };
        if let Some(answer) = answer {
            let held = match answer.freshness {
                Freshness::Ageing | Freshness::Current => Held::Fresh,
                Freshness::Expired => Held::Expired {
                    since: answer.ready.next_update,
                },
            };
            return Ok(Piece { what, held });
        }
        let ended = match located {
            Some((key, _)) => self
                .store()
                .editions_of(key)
                .await?
                .iter()
                .map(|edition| edition.next_update)
                .filter(|next_update| *next_update <= now)
                .max(),
            None => None,
        };
        let held = ended.map_or(Held::Missing, |since| Held::Expired { since });
        Ok(Piece { what, held })
    }
}

/// What certificates are chosen by.
struct Chooser {
    levels: Vec<RawTcb>,
    pce_id: PceId,
    tcb_info: Option<Verified<Artefact>>,
}

impl Chooser {
    fn gets(&self, raw: &RawTcb) -> Gets {
        let Some(Content::TcbInfo(tcb_info)) = self.tcb_info.as_ref().map(|info| info.content())
        else {
            return Gets::Unknown;
        };
        match select_pck(raw, self.pce_id, &self.levels, tcb_info) {
            Ok(index) => Gets::Certificate(index),
            Err(SelectionError::NoneSuits { .. }) => Gets::Nothing,
            Err(
                SelectionError::FmspcDiffers { .. }
                | SelectionError::NoCertificates
                | SelectionError::NoLevels
                | SelectionError::PceIdDiffers { .. }
                | SelectionError::PpidsDiffer
                | SelectionError::UnknownTcbType { .. },
            ) => Gets::Unknown,
        }
    }
}

/// Certificates first, in the vendor's order, then the levels that have none.
fn levels(certificates: &[PckRow], gaps: &[GapRow], now: UnixTime) -> Vec<PlatformLevel> {
    let gap_at = |tcbm: RawTcb| gaps.iter().find(|gap| gap.tcbm == tcbm);
    let with_one = certificates.iter().map(|one| {
        let why = match (one.revoked, gap_at(one.tcbm)) {
            (Some(by), _) => Some(format!("named by the {} CRL of {by}", one.ca)),
            (None, _) if one.not_after <= now => Some("it has ended".to_owned()),
            // An older certificate goes on being served.
            (None, Some(gap)) => Some(format!("{}: {}", gap.gap.name(), gap.why)),
            (None, None) => None,
        };
        PlatformLevel {
            tcbm: one.tcbm.to_string(),
            state: if one.revoked.is_some() {
                "revoked"
            } else {
                "served"
            }
            .to_owned(),
            why,
            not_after: Some(one.not_after.to_string()),
            admitted: Some(one.admitted.to_string()),
            source: Some(one.source.clone()),
        }
    });
    let without = gaps
        .iter()
        .filter(|gap| certificates.iter().all(|one| one.tcbm != gap.tcbm))
        .map(|gap| PlatformLevel {
            tcbm: gap.tcbm.to_string(),
            state: gap.gap.name().to_owned(),
            why: Some(gap.why.clone()),
            not_after: None,
            admitted: None,
            source: None,
        });
    with_one.chain(without).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_meant_by_id_or_by_name() {
        let id = Ok(Which::Id("0123456789abcdef".to_owned()));
        assert_eq!("0123456789abcdef".parse(), id);
        assert_eq!("0123456789ABCDEF".parse(), id);
        for (text, qe_id) in [("a0:0000", "A0"), ("a:b:0000", "A:B"), (" :0000", " ")] {
            let name = Which::Name(
                qe_id.parse().expect("a QE id"),
                "0000".parse().expect("a PCE id"),
            );
            assert_eq!(text.parse(), Ok(name), "{text}");
        }
        for text in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789abcdeg",
            ":0000",
            "a0:",
            "a0:000",
            "a0:000g",
            "a0:00000",
        ] {
            assert_eq!(text.parse::<Which>(), Err(UnknownForm), "{text}");
        }
    }
}
