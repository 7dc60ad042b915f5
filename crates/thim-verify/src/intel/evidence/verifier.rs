//! Verification of quotes: what is trusted, and what was seen signed before.
//!
//! A quote costs three P-256 checks under verified collateral: the PCK certificate, the quoting enclave's report, the
//! quote. Two of them say the same again and again: a platform's PCK certificate stays for months, its quoting enclave
//! certifies one attestation key for all quotes. So both are remembered, by all the bytes that they depend on: with the
//! first two checks remain, with both one. Nothing that depends on time or on a list is remembered: dates, revocation,
//! identity and levels are judged again for every quote.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use bytes::Bytes;
use quick_cache::sync::Cache;

use super::collateral::QuoteCollateral;
use super::findings::QuoteFindings;
use super::looking::Look;
use super::pck_chain::PckChain;
use crate::{Certification, Error, Issuers, Outcome, PckCertificate, Quote, UnixTime};

/// Verifies quotes under one set of trust anchors; made once, used by many threads.
pub struct QuoteVerifier {
    issuers: Issuers,
    remembered: Option<Remembered>,
}

struct Remembered {
    /// By the certification data.
    chains: Cache<Bytes, Arc<PckChain>>,
    /// By everything behind the quote's own signature.
    keys: Cache<Bytes, CertifiedKey>,
}

/// An attestation key that a quoting enclave vouches for, which a PCK certificate vouches for.
#[derive(Clone)]
pub(super) struct CertifiedKey {
    chain: Arc<PckChain>,
    key: Arc<ParsedPublicKey>,
}

/// What the signatures above the quote's own say.
pub(super) struct Signatures {
    pub(super) chain: Result<Arc<PckChain>, Outcome>,
    pub(super) qe_report: Outcome,
    pub(super) qe_report_data: Outcome,
    pub(super) quote: Outcome,
}

impl QuoteVerifier {
    /// Trusts the anchors of `issuers`, whose certificates complete chains that quotes cut short. Remembers at most
    /// `remembered` PCK certificates (some 10 KiB each) and as many attestation keys; 0 remembers nothing.
    pub fn new(issuers: Issuers, remembered: usize) -> Self {
        Self {
            issuers,
            remembered: (remembered > 0).then(|| Remembered {
                chains: Cache::new(remembered),
                keys: Cache::new(remembered),
            }),
        }
    }

    /// What is trusted.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// Looks at a quote from every side, at `now`. `pck` stands in where the quote has no certificate of its own
    /// (certification data of types 1 to 3 and 7), and is not looked at where it has one.
    pub fn verify<'a>(
        &self,
        quote: &'a Quote,
        pck: Option<&PckCertificate>,
        collateral: &'a QuoteCollateral,
        now: UnixTime,
    ) -> QuoteFindings<'a> {
        let signatures = self.signatures(quote, pck);
        Look {
            quote,
            collateral,
            issuers: &self.issuers,
            now,
        }
        .findings(signatures)
    }

    /// The PCK certificate of a quote and the chain above it.
    ///
    /// # Errors
    /// [`Error::UnknownIssuer`] when the quote names a certificate and has none, and `pck` is none; else what is
    /// wrong with the chain.
    pub fn pck_chain(
        &self,
        quote: &Quote,
        pck: Option<&PckCertificate>,
    ) -> Result<Arc<PckChain>, Error> {
        match (quote.certification(), pck) {
            (Certification::Pck(text), _) => self.embedded_chain(text.0),
            (Certification::PckName(_) | Certification::PlatformManifest, Some(pck)) => {
                PckChain::given(pck, &self.issuers).map(Arc::new)
            }
            (Certification::PckName(_) | Certification::PlatformManifest, None) => {
                Err(Error::UnknownIssuer {
                    wanted: NO_PCK_CERTIFICATE.to_owned(),
                })
            }
        }
    }

    fn embedded_chain(&self, text: &[u8]) -> Result<Arc<PckChain>, Error> {
        let Some(remembered) = &self.remembered else {
            return PckChain::embedded(text, &self.issuers).map(Arc::new);
        };
        if let Some(chain) = remembered.chains.get(text) {
            return Ok(chain);
        }
        let chain = Arc::new(PckChain::embedded(text, &self.issuers)?);
        let key = Bytes::copy_from_slice(text);
        remembered.chains.insert(key, Arc::clone(&chain));
        Ok(chain)
    }

    fn signatures(&self, quote: &Quote, pck: Option<&PckCertificate>) -> Signatures {
        if let Some(known) = self.known_key(quote, pck) {
            return Signatures {
                chain: Ok(known.chain),
                qe_report: Outcome::Passed,
                qe_report_data: Outcome::Passed,
                quote: signed_by(&known.key, quote),
            };
        }
        let chain = self.pck_chain(quote, pck).map_err(|error| match error {
            Error::UnknownIssuer { wanted } if wanted == NO_PCK_CERTIFICATE => Outcome::NotChecked(
                "the quote names a PCK certificate and has none; none was given".to_owned(),
            ),
            other => Outcome::Failed(other.to_string()),
        });
        let qe_report = match &chain {
            Err(_) => Outcome::NotChecked("no PCK certificate to verify it with".to_owned()),
            Ok(chain) => {
                let certificate = chain.leaf().certificate();
                let signature = quote.qe_report_signature();
                certificate
                    .verify_raw_signature(QE_REPORT, quote.qe_report_bytes(), signature)
                    .map_or_else(
                        |error| Outcome::Failed(error.to_string()),
                        |()| Outcome::Passed,
                    )
            }
        };
        let qe_report_data = vouched_for(quote);
        let key = attestation_key(quote);
        let signed = match &key {
            None => {
                Outcome::Failed("the attestation key is not a point of the curve P-256".to_owned())
            }
            Some(key) => signed_by(key, quote),
        };
        if let (Ok(chain), Outcome::Passed, Outcome::Passed, Outcome::Passed, Some(key)) =
            (&chain, &qe_report, &qe_report_data, &signed, key)
            && let Some(remembered) = &self.remembered
        {
            let certified = CertifiedKey {
                chain: Arc::clone(chain),
                key: Arc::new(key),
            };
            let bytes = Bytes::copy_from_slice(quote.certified());
            remembered.keys.insert(bytes, certified);
        }
        Signatures {
            chain,
            qe_report,
            qe_report_data,
            quote: signed,
        }
    }

    fn known_key(&self, quote: &Quote, pck: Option<&PckCertificate>) -> Option<CertifiedKey> {
        let known = self.remembered.as_ref()?.keys.get(quote.certified())?;
        match quote.certification() {
            Certification::Pck(_) => Some(known),
            // The bytes do not say which certificate it was.
            Certification::PckName(_) | Certification::PlatformManifest => {
                (known.chain.leaf() == pck?).then_some(known)
            }
        }
    }
}

impl fmt::Debug for QuoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuoteVerifier")
            .field("issuers", &self.issuers.len())
            .finish_non_exhaustive()
    }
}

/// Whether the first half of the enclave's report data is SHA-256 of the key and what was hashed with it. The second
/// half is zero in every genuine quote and demanded by nobody.
fn vouched_for(quote: &Quote) -> Outcome {
    let mut digest = Context::new(&SHA256);
    digest.update(quote.attestation_key());
    digest.update(quote.qe_auth_data());
    let digest = digest.finish();
    if quote.qe_report().report_data.starts_with(digest.as_ref()) {
        return Outcome::Passed;
    }
    Outcome::Failed("the QE report is not about the attestation key of the quote".to_owned())
}

fn attestation_key(quote: &Quote) -> Option<ParsedPublicKey> {
    let mut point = [UNCOMPRESSED; 65];
    let (_, coordinates) = point.split_first_mut()?;
    for (to, from) in coordinates.iter_mut().zip(quote.attestation_key()) {
        *to = *from;
    }
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()
}

fn signed_by(key: &ParsedPublicKey, quote: &Quote) -> Outcome {
    if key.verify_sig(quote.signed(), quote.signature()).is_ok() {
        return Outcome::Passed;
    }
    Outcome::Failed("the attestation key did not sign this quote".to_owned())
}

const QE_REPORT: &str = "QE report";
const NO_PCK_CERTIFICATE: &str = "the PCK certificate that the quote names";

/// SEC 1, section 2.3.3: X and Y follow.
const UNCOMPRESSED: u8 = 4;
