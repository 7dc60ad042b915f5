//! How a certificate comes to be served: verified, judged beside those of the same chip and TCB, written, and only then
//! made ready. Imports and upstreams both come through [`Chips::offer`].
//!
//! Chip and TCB make a key, for ever: a certificate of another key for them is refused and told of, whoever signed it.
//! AMD signs another certificate of the same key at each call; the one that starts last is served, the others are
//! history (`spec/amd-kds-and-thim.md` 1.7).

use std::sync::Arc;

use bytes::Bytes;
use thim_verify::amd::{
    CertChain, Endorsement, TcbVersion, VcekKey, VerifiedAmd, VlekKey, verify_vcek, verify_vlek,
};
use thim_verify::{Error, UnixTime};

use super::{ChipAsk, Chips, describe};
use crate::admission::{Refused, event};
use crate::sentinel::{Remark, Severity, State};
use crate::store::{Batch, EndorsementRow, NewEndorsement, WantedRow, WantedWrite};

/// A certificate that asks to be admitted.
pub struct Offered<'a> {
    /// The certificate, parsed.
    pub leaf: Endorsement,
    /// As what.
    pub offered: OfferedAs,
    /// URL or path, without a chip id.
    pub source: &'a str,
    /// When it arrived; it is judged at this instant.
    pub at: UnixTime,
}

/// As what a certificate is offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OfferedAs {
    /// As the answer to this question.
    Answer(VcekKey),
    /// As an operator's file: an expired one is history.
    Import,
}

/// What became of a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TakenIn {
    /// The very same was there already.
    Known,
    /// It was not, and is now: served, or history.
    Stored,
}

impl Chips {
    /// Judges, stores and makes ready a certificate. Nothing is served that is not stored.
    ///
    /// # Errors
    /// As of signed objects: [`Refused`]. What does not verify goes to quarantine.
    pub async fn offer(self: &Arc<Self>, offered: Offered<'_>) -> Result<TakenIn, Refused> {
        let Offered {
            leaf,
            offered: offered_as,
            source,
            at,
        } = offered;
        let ask = match (&leaf, offered_as) {
            (Endorsement::Vcek(_), OfferedAs::Answer(key)) => ChipAsk::Vcek(key),
            (Endorsement::Vcek(vcek), OfferedAs::Import) => ChipAsk::Vcek(VcekKey {
                product: vcek.product(),
                hw_id: *vcek.hw_id(),
                tcb: vcek.tcb(),
            }),
            (Endorsement::Vlek(vlek), OfferedAs::Answer(_) | OfferedAs::Import) => {
                ChipAsk::Vlek(VlekKey {
                    product: vlek.product(),
                    tcb: vlek.tcb(),
                })
            }
        };
        // Before the lock: the chain may have to be fetched.
        let chain = self
            .chain(ask.product(), ask.kind(), at)
            .await
            .map_err(|refusal| {
                Refused::Unverified(Error::UnknownIssuer {
                    wanted: format!("the {} chain of {} ({refusal})", ask.kind(), ask.product()),
                })
            })?;
        let _one_at_a_time = self.admission.lock().await;
        let judged = match self.judge(&leaf, &ask, &chain, at) {
            Err(Error::Expired { .. }) if offered_as == OfferedAs::Import => {
                let begun = started(&leaf).max(chain_start(&chain));
                self.judge(&leaf, &ask, &chain, begun)
                    .map(|judged| judged.archived())
            }
            other => other,
        };
        let judged = match judged {
            Ok(judged) => judged,
            Err(error @ Error::NotYetValid { .. }) => return Err(Refused::Future(error)),
            Err(error) => {
                self.collateral
                    .quarantine(source, None, &error, der(&leaf), at)
                    .await?;
                return Err(Refused::Unverified(error));
            }
        };
        let tcb = self.tcb_version(&ask).map_err(Refused::Unverified)?;
        let rows = self.held(&ask).await?;
        if let Some(known) = rows.iter().find(|row| row.digest == judged.digest())
            && known.state != State::Quarantined
        {
            self.wanted_no_more(&ask, tcb, at).await?;
            return Ok(TakenIn::Known);
        }
        if let ChipAsk::Vcek(_) = ask
            && let Some(other) = rows
                .iter()
                .find(|row| row.state != State::Quarantined && row.spki != judged.spki())
        {
            return Err(self.key_changed(&ask, other, &judged, source, at).await?);
        }
        let (state, changes) = judged.place(&rows);
        let batch = Batch {
            endorsements: vec![judged.row(tcb, source, at, state)],
            endorsement_states: changes,
            wanted: self.wanted_write(&ask, tcb, at).into_iter().collect(),
            ..Batch::default()
        };
        self.collateral.commit(&batch).await?;
        self.ready.remove(&ask);
        self.refusals.forget(&ask);
        if let (ChipAsk::Vcek(key), OfferedAs::Import) = (&ask, offered_as) {
            // Whoever is in line for it need not wait any longer.
            self.line().land(key, Ok(()));
        }
        Ok(TakenIn::Stored)
    }

    fn judge(
        &self,
        leaf: &Endorsement,
        ask: &ChipAsk,
        chain: &VerifiedAmd<CertChain>,
        at: UnixTime,
    ) -> Result<Judged, Error> {
        let crl = self.collateral.amd().crl(ask.product(), ask.kind());
        let (crl, products) = (crl.as_deref(), &self.products);
        match (leaf, ask) {
            (Endorsement::Vcek(vcek), ChipAsk::Vcek(key)) => {
                verify_vcek(vcek.clone(), key, chain, crl, products, at)
                    .map(|verified| Judged::new(Leaf::Vcek(verified)))
            }
            (Endorsement::Vlek(vlek), ChipAsk::Vlek(key)) => {
                verify_vlek(vlek.clone(), key, chain, crl, products, at)
                    .map(|verified| Judged::new(Leaf::Vlek(verified)))
            }
            (Endorsement::Vcek(_), ChipAsk::Vlek(_)) | (Endorsement::Vlek(_), ChipAsk::Vcek(_)) => {
                Err(Error::WrongIssuer {
                    expected: format!("a {}", ask.kind()),
                    found: format!("a {}", leaf.kind()),
                })
            }
        }
    }

    /// AMD, or somebody with AMD's key, signed two keys for one chip and TCB.
    async fn key_changed(
        &self,
        ask: &ChipAsk,
        known: &EndorsementRow,
        offered: &Judged,
        source: &str,
        at: UnixTime,
    ) -> Result<Refused, Refused> {
        let text = format!(
            "{}: another key than {} of {} for {}",
            source,
            known.spki.short(),
            known.not_before,
            describe(ask)
        );
        let remark = Remark::new("vcek.key-changed", Severity::Alarm, text);
        let batch = Batch {
            endorsements: vec![offered.row(known.tcb, source, at, State::Quarantined)],
            events: vec![event(at, remark.clone(), None, None)],
            ..Batch::default()
        };
        self.collateral.commit(&batch).await?;
        Ok(Refused::Judged(remark))
    }

    async fn wanted_no_more(
        &self,
        ask: &ChipAsk,
        tcb: TcbVersion,
        at: UnixTime,
    ) -> Result<(), Refused> {
        let wanted: Vec<WantedWrite> = self.wanted_write(ask, tcb, at).into_iter().collect();
        if !wanted.is_empty() {
            self.collateral
                .commit(&Batch {
                    wanted,
                    ..Batch::default()
                })
                .await?;
        }
        Ok(())
    }

    fn wanted_write(&self, ask: &ChipAsk, tcb: TcbVersion, at: UnixTime) -> Option<WantedWrite> {
        match ask {
            ChipAsk::Vcek(key) => {
                let row = WantedRow::new(key.product, key.hw_id, tcb, at);
                Some(WantedWrite::Done(row))
            }
            ChipAsk::Vlek(_) => None,
        }
    }
}

enum Leaf {
    Vcek(VerifiedAmd<thim_verify::amd::Vcek>),
    Vlek(VerifiedAmd<thim_verify::amd::Vlek>),
}

/// A certificate that verified; one that has expired since is history.
struct Judged {
    leaf: Leaf,
    archived: bool,
}

impl Judged {
    const fn new(leaf: Leaf) -> Self {
        Self {
            leaf,
            archived: false,
        }
    }

    fn archived(self) -> Self {
        Self {
            archived: true,
            ..self
        }
    }

    fn digest(&self) -> thim_verify::Digest {
        match &self.leaf {
            Leaf::Vcek(vcek) => vcek.digest(),
            Leaf::Vlek(vlek) => vlek.digest(),
        }
    }

    fn spki(&self) -> thim_verify::Digest {
        match &self.leaf {
            Leaf::Vcek(vcek) => vcek.spki_digest(),
            Leaf::Vlek(vlek) => vlek.spki_digest(),
        }
    }

    fn not_before(&self) -> UnixTime {
        match &self.leaf {
            Leaf::Vcek(vcek) => vcek.not_before(),
            Leaf::Vlek(vlek) => vlek.not_before(),
        }
    }

    /// Its state among the others of its key, and what becomes of those. Of two that start together the first stays.
    fn place(&self, rows: &[EndorsementRow]) -> (State, Vec<(thim_verify::Digest, State)>) {
        if self.archived {
            return (State::Archived, Vec::new());
        }
        let current = rows.iter().filter(|row| row.state == State::Current);
        if current
            .clone()
            .any(|row| row.not_before >= self.not_before())
        {
            return (State::Superseded, Vec::new());
        }
        let older = current.map(|row| (row.digest, State::Superseded)).collect();
        (State::Current, older)
    }

    fn row(&self, tcb: TcbVersion, source: &str, at: UnixTime, state: State) -> NewEndorsement {
        match &self.leaf {
            Leaf::Vcek(vcek) => NewEndorsement::vcek(vcek, tcb, source, at, state),
            Leaf::Vlek(vlek) => NewEndorsement::vlek(vlek, tcb, source, at, state),
        }
    }
}

fn started(leaf: &Endorsement) -> UnixTime {
    match leaf {
        Endorsement::Vcek(vcek) => vcek.not_before(),
        Endorsement::Vlek(vlek) => vlek.not_before(),
    }
}

fn chain_start(chain: &CertChain) -> UnixTime {
    chain.issuing().not_before().max(chain.ark().not_before())
}

fn der(leaf: &Endorsement) -> Bytes {
    match leaf {
        Endorsement::Vcek(vcek) => vcek.der().clone(),
        Endorsement::Vlek(vlek) => vlek.der().clone(),
    }
}
