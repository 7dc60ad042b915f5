//! The simulated vendor itself: what it knows, what it signed, and what was asked of it.
//!
//! An edition is signed when it is first asked for and the same bytes are answered until it is older than
//! `resign_after` or a command says otherwise, as the vendor does. Promise: outside the `conflict` fault no two editions
//! with one issue date are ever answered for one artefact; a command that would need it fails with
//! [`SimError::ClockNotAdvanced`]. This file knows no HTTP.

use crate::SimError;
use crate::calls::CallLog;
use crate::evaluation::{EvaluationNumbers, NumberList};
use crate::faults::{Fault, Faults};
use crate::fleet::Family;
use crate::identity::{Enclave, EnclaveIdentity};
use crate::management::{Ca, Recovery};
use crate::pck::{self, PckAnswer, PckFailure};
use crate::pck_paths::PckRequest;
use crate::pki::{self, Chain, Pki};
use crate::population::Population;
use crate::quote::{self, QuoteSpec};
use crate::tcb_info::{TcbInfo, Tee};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// One signed thing the vendor can be asked for. The evaluation number is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Artefact {
    Crl(Ca),
    Identity {
        enclave: Enclave,
        number: u32,
    },
    NumberList(Tee),
    TcbInfo {
        tee: Tee,
        fmspc: &'static str,
        number: u32,
    },
}

impl Artefact {
    /// The root CRL is signed by the root itself and comes without a chain.
    pub(crate) fn has_chain(self) -> bool {
        self != Artefact::Crl(Ca::Root)
    }

    /// Seconds from issue to next update.
    fn validity(self) -> i64 {
        match self {
            Artefact::Crl(Ca::Root) => ROOT_CRL_DAYS * DAY,
            Artefact::Crl(Ca::Platform | Ca::Processor)
            | Artefact::Identity { .. }
            | Artefact::NumberList(_)
            | Artefact::TcbInfo { .. } => OBJECT_DAYS * DAY,
        }
    }
}

/// One signed version of an artefact: for a CRL its DER, else the whole JSON body.
#[derive(Clone, Debug)]
pub(crate) struct Edition {
    pub(crate) body: Arc<[u8]>,
    pub(crate) chain: Option<Chain>,
    issued: i64,
    answered: bool,
}

/// Everything behind the lock.
pub(crate) struct Vendor {
    pub(crate) calls: CallLog,
    pub(crate) faults: Faults,
    pub(crate) numbers: EvaluationNumbers,
    pub(crate) population: Population,
    pub(crate) resign_after_seconds: i64,
    pki: Pki,
    /// The hierarchy of the faults `wrong-key` and `one-forged`, made when first needed.
    impostor: Option<Pki>,
    pcs_url: String,
    revoked: HashMap<Ca, Vec<Vec<u8>>>,
    editions: HashMap<Artefact, Edition>,
}

impl Vendor {
    /// A vendor with fresh keys, nothing signed, and the entries Intel's platform CRL has.
    pub(crate) fn new(now: i64, pcs_url: &str) -> Result<Self, SimError> {
        let platform = (0..PLATFORM_CRL_ENTRIES)
            .map(|_| pki::random_serial())
            .collect::<Result<_, _>>()?;
        let numbers = EvaluationNumbers::at_start(now);
        Ok(Self {
            calls: CallLog::default(),
            faults: Faults::default(),
            population: Population::at_start(&numbers.all(), now)?,
            numbers,
            resign_after_seconds: RESIGN_AFTER_SECONDS,
            pki: Pki::generate(now, pcs_url)?,
            impostor: None,
            pcs_url: pcs_url.to_owned(),
            revoked: HashMap::from([(Ca::Platform, platform)]),
            editions: HashMap::new(),
        })
    }

    pub(crate) fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The serials a CA's CRL lists, oldest first.
    pub(crate) fn revoked(&self, ca: Ca) -> &[Vec<u8>] {
        self.revoked.get(&ca).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn signed_editions(&self) -> usize {
        self.editions.len()
    }

    /// The edition to answer, altered by the fault if that is one of signed content.
    pub(crate) fn edition(
        &mut self,
        artefact: Artefact,
        fault: Option<&Fault>,
        now: i64,
    ) -> Result<Edition, SimError> {
        let freshly = |issued| Signing::new(artefact, issued);
        match fault {
            Some(Fault::Conflict) => {
                let issued = self.current(artefact, now)?.issued;
                let signing = Signing {
                    diverging: true,
                    ..Signing::new(artefact, issued)
                };
                self.sign(&self.pki, artefact, signing)
            }
            Some(Fault::Expired) => self.sign(&self.pki, artefact, Signing::expired(now)),
            Some(Fault::Future) => self.sign(&self.pki, artefact, freshly(now + DAY)),
            Some(Fault::Stale { days }) => {
                let issued = self.current(artefact, now)?.issued.min(now);
                let issued = issued - i64::from(*days) * DAY;
                self.sign(&self.pki, artefact, freshly(issued))
            }
            Some(Fault::WrongFmspc) => {
                let other = other_fmspc(artefact);
                self.sign(&self.pki, other, freshly(now))
            }
            Some(Fault::WrongKey) => {
                self.make_impostor(now)?;
                let impostor = self.impostor.as_ref().ok_or(SimError::Signature)?;
                self.sign(impostor, artefact, freshly(now))
            }
            Some(Fault::WrongNumber) => {
                let other = self.other_number(artefact, now);
                self.sign(&self.pki, other, freshly(now))
            }
            Some(Fault::WrongSignature) => {
                let mut edition = self.sign(&self.pki, artefact, freshly(now))?;
                edition.flip_a_signature_bit(artefact);
                Ok(edition)
            }
            Some(
                Fault::ChainReversed
                | Fault::Down
                | Fault::Garbage
                | Fault::Html
                | Fault::Huge { .. }
                | Fault::NoChain
                | Fault::OneForged
                | Fault::Partial { .. }
                | Fault::Redirect { .. }
                | Fault::Reset
                | Fault::Slow { .. }
                | Fault::Status { .. }
                | Fault::Throttle { .. }
                | Fault::Truncated
                | Fault::Unavailable { .. }
                | Fault::WrongPlatform,
            )
            | None => self.current(artefact, now),
        }
    }

    /// The PCK certificates that answer a request, altered by the fault if that is one of theirs.
    pub(crate) fn pck(
        &mut self,
        request: &PckRequest,
        fault: Option<&Fault>,
        now: i64,
    ) -> Result<PckAnswer, PckFailure> {
        if matches!(fault, Some(Fault::OneForged | Fault::WrongKey)) {
            self.make_impostor(now)?;
        }
        let impostor = self.impostor.as_ref();
        pck::answer(&mut self.population, &self.pki, impostor, request, fault)
    }

    /// The serial numbers of all of a platform's PCK certificates.
    pub(crate) fn pck_serials(&mut self, index: usize) -> Result<Vec<Vec<u8>>, SimError> {
        pck::serials(self.population.machine_mut(index), &self.pki)
    }

    /// A quote of a platform.
    pub(crate) fn quote(&mut self, index: usize, spec: &QuoteSpec) -> Result<Vec<u8>, SimError> {
        let events = self.numbers.all();
        quote::quote(&mut self.population, &self.pki, &events, index, spec)
    }

    /// Signs everything that was signed before again, dated now.
    pub(crate) fn resign_all(&mut self, now: i64) -> Result<usize, SimError> {
        let artefacts: Vec<_> = self.editions.keys().copied().collect();
        self.resign(&artefacts, now)?;
        Ok(artefacts.len())
    }

    /// A TCB recovery event: the next number; the lists tell of it at once, and every platform has a new best level and
    /// new certificates.
    pub(crate) fn recover(&mut self, recovery: &Recovery, now: i64) -> Result<u32, SimError> {
        let lists: Vec<_> = [Tee::Sgx, Tee::Tdx]
            .map(Artefact::NumberList)
            .into_iter()
            .filter(|list| self.editions.contains_key(list))
            .collect();
        self.may_resign(&lists, now)?;
        let number = self.numbers.recover(now, recovery.event_days_ago);
        self.resign(&lists, now)?;
        let events = self.numbers.all();
        self.population
            .recover(&events, recovery.stale_manifests, now);
        Ok(number)
    }

    /// A new edition of a CRL with these entries.
    pub(crate) fn set_revoked(
        &mut self,
        ca: Ca,
        serials: Vec<Vec<u8>>,
        now: i64,
    ) -> Result<(), SimError> {
        let crl = [Artefact::Crl(ca)];
        self.may_resign(&crl, now)?;
        self.revoked.insert(ca, serials);
        self.resign(&crl, now)
    }

    /// A new TCB signing certificate, and everything it signs signed again.
    pub(crate) fn rotate_signer(&mut self, now: i64, reissue: bool) -> Result<(), SimError> {
        let signed: Vec<_> = self
            .editions
            .keys()
            .copied()
            .filter(|artefact| !matches!(artefact, Artefact::Crl(_)))
            .collect();
        self.may_resign(&signed, now)?;
        self.pki.rotate_signer(now, reissue)?;
        self.resign(&signed, now)
    }

    /// The edition in force, signed now if there is none or it is too old.
    fn current(&mut self, artefact: Artefact, now: i64) -> Result<Edition, SimError> {
        let in_force = self
            .editions
            .get(&artefact)
            .is_some_and(|edition| now - edition.issued <= self.resign_after_seconds.max(0));
        if !in_force {
            self.resign(&[artefact], now)?;
        }
        let edition = self
            .editions
            .get_mut(&artefact)
            .ok_or(SimError::Signature)?;
        edition.answered = true;
        Ok(edition.clone())
    }

    /// Refuses when an edition that was answered would be replaced within its second.
    fn may_resign(&self, artefacts: &[Artefact], now: i64) -> Result<(), SimError> {
        let answered = artefacts
            .iter()
            .filter_map(|artefact| self.editions.get(artefact))
            .filter(|edition| edition.answered)
            .find(|edition| edition.issued >= now);
        match answered {
            Some(edition) => Err(SimError::ClockNotAdvanced {
                issued: edition.issued,
                now,
            }),
            None => Ok(()),
        }
    }

    fn resign(&mut self, artefacts: &[Artefact], now: i64) -> Result<(), SimError> {
        self.may_resign(artefacts, now)?;
        for &artefact in artefacts {
            let edition = self.sign(&self.pki, artefact, Signing::new(artefact, now))?;
            self.editions.insert(artefact, edition);
        }
        Ok(())
    }

    fn sign(&self, pki: &Pki, artefact: Artefact, signing: Signing) -> Result<Edition, SimError> {
        let Signing { issued, next, .. } = signing;
        let (body, chain) = match artefact {
            Artefact::Crl(ca) => {
                let mut serials = self.revoked(ca).to_vec();
                if signing.diverging {
                    serials.push(CONFLICTING_SERIAL.to_vec());
                }
                let der = pki.sign_crl(ca, issued, next, &serials)?;
                (der, pki.crl_chain(ca))
            }
            Artefact::Identity { enclave, number } => {
                let events = self.numbers.up_to(number);
                let mut identity = EnclaveIdentity::new(enclave, &events, issued, next);
                if signing.diverging {
                    identity.diverge();
                }
                let body = signed_json(pki, issued, "enclaveIdentity", &identity)?;
                (body, Some(pki.json_chain(issued)))
            }
            Artefact::NumberList(tee) => {
                let mut list = NumberList::new(tee.id(), &self.numbers, issued, next);
                if signing.diverging {
                    list.diverge();
                }
                let body = signed_json(pki, issued, "tcbEvaluationDataNumbers", &list)?;
                (body, Some(pki.json_chain(issued)))
            }
            Artefact::TcbInfo { tee, fmspc, number } => {
                let family = Family::find(fmspc).ok_or(SimError::Signature)?;
                let events = self.numbers.up_to(number);
                let mut tcb_info = TcbInfo::new(tee, family, &events, issued, next);
                if signing.diverging {
                    tcb_info.diverge();
                }
                let body = signed_json(pki, issued, "tcbInfo", &tcb_info)?;
                (body, Some(pki.json_chain(issued)))
            }
        };
        Ok(Edition {
            body: body.into(),
            chain,
            issued,
            answered: false,
        })
    }

    fn make_impostor(&mut self, now: i64) -> Result<(), SimError> {
        if self.impostor.is_none() {
            self.impostor = Some(Pki::generate(now, &self.pcs_url)?);
        }
        Ok(())
    }

    fn other_number(&self, artefact: Artefact, now: i64) -> Artefact {
        let other = |number| {
            self.numbers
                .other(number, now)
                .unwrap_or(number.saturating_sub(1))
        };
        match artefact {
            Artefact::Identity { enclave, number } => Artefact::Identity {
                enclave,
                number: other(number),
            },
            Artefact::TcbInfo { tee, fmspc, number } => Artefact::TcbInfo {
                tee,
                fmspc,
                number: other(number),
            },
            Artefact::Crl(_) | Artefact::NumberList(_) => artefact,
        }
    }
}

impl Edition {
    /// Flips the lowest bit of the signature: the last hex digit before `"}`, or the last byte of the DER.
    fn flip_a_signature_bit(&mut self, artefact: Artefact) {
        let mut body = self.body.to_vec();
        let from_end = match artefact {
            Artefact::Crl(_) => 1,
            Artefact::Identity { .. } | Artefact::NumberList(_) | Artefact::TcbInfo { .. } => 3,
        };
        let index = body.len().saturating_sub(from_end);
        if let Some(byte) = body.get_mut(index) {
            *byte = match (from_end, *byte) {
                (1, byte) => byte ^ 1,
                // Hex digits in pairs: 0 with 1 to 8 with 9, a with b to e with f.
                (_, digit @ b'0'..=b'9') => digit ^ 1,
                (_, letter) => ((letter - 1) ^ 1) + 1,
            };
        }
        self.body = body.into();
    }
}

/// How an edition is made: its dates, and whether its body differs from the one with the same dates.
#[derive(Clone, Copy)]
struct Signing {
    issued: i64,
    next: i64,
    diverging: bool,
}

impl Signing {
    fn new(artefact: Artefact, issued: i64) -> Self {
        Self {
            issued,
            next: issued + artefact.validity(),
            diverging: false,
        }
    }

    /// Past next update, whatever the artefact's usual validity.
    fn expired(now: i64) -> Self {
        let next = now - EXPIRED_DAYS * DAY;
        Self {
            issued: next - OBJECT_DAYS * DAY,
            next,
            diverging: false,
        }
    }
}

fn other_fmspc(artefact: Artefact) -> Artefact {
    match artefact {
        Artefact::TcbInfo { tee, fmspc, number } => Artefact::TcbInfo {
            tee,
            fmspc: Family::find(fmspc)
                .and_then(|family| family.neighbour(tee == Tee::Tdx))
                .map_or(fmspc, |family| family.fmspc),
            number,
        },
        Artefact::Crl(_) | Artefact::Identity { .. } | Artefact::NumberList(_) => artefact,
    }
}

/// `{"<member>":{...},"signature":"..."}`: compact, the signature over exactly the inner bytes.
fn signed_json(
    pki: &Pki,
    issued: i64,
    member: &str,
    inner: &impl Serialize,
) -> Result<Vec<u8>, SimError> {
    let inner = serde_json::to_string(inner).map_err(|_| SimError::Signature)?;
    let signature = pki.sign_json(issued, inner.as_bytes())?;
    Ok(format!(r#"{{"{member}":{inner},"signature":"{signature}"}}"#).into_bytes())
}

const DAY: i64 = 86_400;
/// spec/intel-verification.md sections 2 and 7.
const OBJECT_DAYS: i64 = 30;
const ROOT_CRL_DAYS: i64 = 365;
/// How long past next update the `expired` fault's objects are.
const EXPIRED_DAYS: i64 = 10;
/// Intel re-signs on demand, several times a day; half a day keeps one edition through a test.
const RESIGN_AFTER_SECONDS: i64 = 12 * 3600;
/// Intel's platform CRL from 2026-02 onwards (spec/intel-verification.md section 2). The processor CRL is empty there too.
const PLATFORM_CRL_ENTRIES: usize = 57;
/// The extra entry of a conflicting CRL: always the same, so that the conflict is with the current edition alone.
const CONFLICTING_SERIAL: [u8; 20] = *b"Conflict of editions";
