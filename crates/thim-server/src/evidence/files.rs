//! What a quote is judged by, out of files: the same choice as the store's, without a store.
//!
//! A file may hold anything; what is of the quote's kind and not after the instant counts, the newest of it. Where none
//! of a part's objects is genuine, the part is broken, and that is a finding; where one is, the others change nothing.
//! Certificates among the files complete chains.

use thim_verify::{
    Absent, Artefact, ArtefactKey, CollateralPart, Enclave, Error, EvaluationNumber, Issuers,
    PckChain, QuoteCollateral, Tee, UnixTime, Verified,
};

use super::quote::Sources;
use crate::baseline::{Choice, Lists};
use crate::collateral::as_list;
use crate::intake::{Found, Object};

/// Collateral among files.
pub struct FileCollateral {
    objects: Vec<Object>,
    issuers: Issuers,
}

impl FileCollateral {
    /// Takes what was found over. Certificates that lead to no trusted root are of no use and left out.
    pub fn new(found: Found, mut issuers: Issuers) -> Self {
        for certificate in found.certificates {
            let _ = issuers.insert(certificate);
        }
        Self {
            objects: found.objects,
            issuers,
        }
    }

    /// What is trusted, with the certificates of the files.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// How many signed objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// What a quote of `tee` with this PCK certificate is judged by, at `at`. `choice` is none where the files are to
    /// say the number: that of the newest TCB info and identity, of which there may be two (a finding says so).
    pub fn choose(
        &self,
        tee: Tee,
        chain: Option<&PckChain>,
        choice: Option<Choice>,
        at: UnixTime,
    ) -> (QuoteCollateral, Sources) {
        let mut collateral = QuoteCollateral::new();
        let mut sources = Sources::default();
        let number = choice.map(|choice| self.number(choice, at));
        for part in CollateralPart::ALL {
            let fits = |key: ArtefactKey| match (part, key) {
                (CollateralPart::RootCrl, ArtefactKey::RootCrl) => true,
                // Another authority's list is looked at where there is no better one: that it is one is a finding.
                (CollateralPart::PckCrl, ArtefactKey::PckCrl { .. }) => true,
                (CollateralPart::TcbInfo, ArtefactKey::TcbInfo { number: found, .. })
                | (
                    CollateralPart::QeIdentity,
                    ArtefactKey::EnclaveIdentity { number: found, .. },
                ) => number.is_none_or(|wanted| wanted == Some(found)),
                _ => false,
            };
            let closeness = |key: ArtefactKey| closeness(key, tee, chain);
            match self.newest(&fits, &closeness, at) {
                Ok(Some((artefact, source))) => {
                    sources.note(part, source);
                    // Of the part's kind, by `fits`.
                    let _ = collateral.insert(artefact);
                }
                Ok(None) => {
                    let mut why = format!("no {} among the files from before {at}", part.name());
                    if let (
                        Some(Some(number)),
                        CollateralPart::TcbInfo | CollateralPart::QeIdentity,
                    ) = (number, part)
                    {
                        why = format!("no {} of number {number} among the files", part.name());
                    }
                    collateral.set_absent(part, Absent::Missing(why));
                }
                Err(error) => collateral.set_absent(part, Absent::Broken(error)),
            }
        }
        (collateral, sources)
    }

    /// The number that `choice` means at `at`, by the lists among the files, else by the TCB infos.
    fn number(&self, choice: Choice, at: UnixTime) -> Option<EvaluationNumber> {
        if let Choice::Number(number) = choice {
            return Some(number);
        }
        let mut lists = Lists::default();
        for tee in Tee::ALL {
            let of_tee = |key| key == ArtefactKey::EvaluationNumbers { tee };
            if let Ok(Some((list, _))) = self.newest(&of_tee, &|_| 0, at)
                && let Some(list) = as_list(&list)
            {
                lists.learn(list);
            }
        }
        let numbers = self.objects.iter().filter_map(|object| {
            let unverified = &object.unverified;
            match unverified.key() {
                ArtefactKey::TcbInfo { number, .. } if unverified.issued() <= at => Some(number),
                ArtefactKey::AmdCertChain { .. }
                | ArtefactKey::AmdCrl { .. }
                | ArtefactKey::EnclaveIdentity { .. }
                | ArtefactKey::EvaluationNumbers { .. }
                | ArtefactKey::PckCrl { .. }
                | ArtefactKey::RootCrl
                | ArtefactKey::TcbInfo { .. } => None,
            }
        });
        lists
            .choose(choice, at)
            .map(|chosen| chosen.number)
            .or_else(|| numbers.max())
    }

    /// The closest, then newest, genuine object; the last error where none is genuine.
    fn newest(
        &self,
        fits: &dyn Fn(ArtefactKey) -> bool,
        closeness: &dyn Fn(ArtefactKey) -> u8,
        at: UnixTime,
    ) -> Result<Option<(Verified<Artefact>, String)>, Error> {
        let mut candidates: Vec<&Object> = self
            .objects
            .iter()
            .filter(|object| fits(object.unverified.key()))
            .collect();
        // One file for one part needs no choice: that it is of tomorrow is a finding. Among several it is out.
        if candidates.len() > 1 {
            candidates.retain(|object| object.unverified.issued() <= at);
        }
        candidates.sort_by_key(|object| {
            let unverified = &object.unverified;
            std::cmp::Reverse((
                closeness(unverified.key()),
                unverified.issued(),
                unverified.signed_digest(),
            ))
        });
        let mut failure = None;
        for object in candidates {
            // Dates are for findings.
            match object.verified(&self.issuers, None, UnixTime::MAX) {
                Ok(artefact) => return Ok(Some((artefact, object.path.clone()))),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(None), Err)
    }
}

/// How well an object goes with the quote: its own is better than a stranger's, which is better than none.
fn closeness(key: ArtefactKey, tee: Tee, chain: Option<&PckChain>) -> u8 {
    let leaf = chain.map(PckChain::leaf);
    match key {
        ArtefactKey::TcbInfo {
            tee: found,
            fmspc,
            version,
            ..
        } => {
            let own = leaf.is_none_or(|leaf| leaf.fmspc() == fmspc);
            u8::from(found == tee) * 4 + u8::from(own) * 2 + u8::from(version == 3)
        }
        ArtefactKey::EnclaveIdentity { enclave, .. } => {
            let wanted = match tee {
                Tee::Sgx => Enclave::Qe,
                Tee::Tdx => Enclave::TdQe,
            };
            u8::from(enclave == wanted)
        }
        ArtefactKey::PckCrl { ca } => u8::from(leaf.is_none_or(|leaf| leaf.ca() == ca)),
        ArtefactKey::AmdCertChain { .. }
        | ArtefactKey::AmdCrl { .. }
        | ArtefactKey::EvaluationNumbers { .. }
        | ArtefactKey::RootCrl => 0,
    }
}
