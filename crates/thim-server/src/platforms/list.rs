//! What a vendor's certificate list is worth: each entry judged by itself, the list by what is left. Pure.
//!
//! An entry that does not verify is quarantined and spoils nothing else; `Not available` is a fact and kept as one.
//! All certificates of a list are of one platform: the first that verifies says which, and one that says otherwise is
//! quarantined like one that does not verify. Revocation of a leaf is not judged here: the list is history, and which
//! CRL is in force changes.

use bytes::Bytes;
use thim_verify::{
    Artefact, Certificate, Error, Fmspc, Issuers, Listed, PceId, PckCa, PckCertificate, PckList,
    Ppid, UnixTime, Verified, verify_pck,
};

use super::Cause;
use crate::store::{Gap, GapRow};

/// A list that has at least one certificate.
pub struct Judged {
    /// Those that verify, in the order of the list.
    pub certificates: Vec<Verified<PckCertificate>>,
    /// The other levels.
    pub gaps: Vec<GapRow>,
    /// Certificates that do not verify, DER, each with why: for people to look at.
    pub rejected: Vec<(Error, Bytes)>,
    /// Whose they are.
    pub ppid: Ppid,
    /// Of which family.
    pub fmspc: Fmspc,
    /// Who issued them.
    pub ca: PckCa,
    /// Whether the vendor keeps the platform's keys, where the certificates say.
    pub cached_keys: Option<bool>,
}

/// A list that is of no use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ListRefused {
    /// It has no entries.
    #[error("the list is empty")]
    Empty,
    /// `Not available`, all of it.
    #[error("all {levels} levels of the list are Not available")]
    NoneAvailable {
        /// How many.
        levels: usize,
    },
    /// Nothing in it verifies.
    #[error("no certificate of the list verifies: {0}")]
    Unverified(Error),
}

impl ListRefused {
    /// The word for it.
    pub const fn cause(&self) -> Cause {
        match self {
            Self::Empty | Self::NoneAvailable { .. } => Cause::AllNotAvailable,
            Self::Unverified(_) => Cause::Untrusted,
        }
    }
}

/// Judges a list for a platform with this PCE at `now`.
///
/// # Errors
/// [`ListRefused`] where no certificate is left.
pub fn judge(
    list: PckList,
    pce_id: PceId,
    delivered: &[Certificate],
    issuers: &Issuers,
    root_crl: Option<&Verified<Artefact>>,
    now: UnixTime,
) -> Result<Judged, ListRefused> {
    let levels = list.entries.len();
    let mut certificates: Vec<Verified<PckCertificate>> = Vec::new();
    let mut gaps = Vec::new();
    let mut rejected = Vec::new();
    let mut refused = None;
    for entry in list.entries {
        let verified = match entry.listed {
            Listed::Certificate(certificate) => {
                let der = Bytes::copy_from_slice(certificate.certificate().der());
                verify_pck(certificate, delivered, issuers, root_crl, None, now)
                    .and_then(|verified| one_platform(verified, certificates.first(), pce_id))
                    .inspect_err(|error| {
                        if rejected.len() < REJECTED {
                            rejected.push((error.clone(), der));
                        }
                    })
            }
            Listed::NotAvailable => {
                gaps.push(GapRow {
                    tcbm: entry.tcbm,
                    gap: Gap::NotAvailable,
                    why: "the vendor says Not available".to_owned(),
                });
                continue;
            }
            Listed::Unreadable(error) => Err(error),
        };
        match verified {
            Ok(verified) => certificates.push(verified),
            Err(error) => {
                gaps.push(GapRow {
                    tcbm: entry.tcbm,
                    gap: Gap::Quarantined,
                    why: error.to_string(),
                });
                refused = refused.or(Some(error));
            }
        }
    }
    let Some(first) = certificates.first() else {
        return Err(match refused {
            Some(error) => ListRefused::Unverified(error),
            None if levels == 0 => ListRefused::Empty,
            None => ListRefused::NoneAvailable { levels },
        });
    };
    Ok(Judged {
        ppid: *first.ppid(),
        fmspc: first.fmspc(),
        ca: first.ca(),
        cached_keys: first.configuration().and_then(|flags| flags.cached_keys),
        gaps,
        rejected,
        certificates,
    })
}

/// Of a list, at most so many certificates are kept for a look; one says what is wrong with the others.
const REJECTED: usize = 8;

fn one_platform(
    verified: Verified<PckCertificate>,
    first: Option<&Verified<PckCertificate>>,
    pce_id: PceId,
) -> Result<Verified<PckCertificate>, Error> {
    let other = |expected: &str, found: String| Error::WrongIssuer {
        expected: expected.to_owned(),
        found,
    };
    if verified.pce_id() != pce_id {
        return Err(other(
            &format!("a certificate for PCE {pce_id}"),
            format!("one for {}", verified.pce_id()),
        ));
    }
    match first {
        Some(first) if first.ppid() != verified.ppid() => Err(other(
            "a certificate of the same platform",
            "one with another PPID".to_owned(),
        )),
        Some(first) if (first.fmspc(), first.ca()) != (verified.fmspc(), verified.ca()) => {
            Err(other(
                &format!("FMSPC {} and CA {}", first.fmspc(), first.ca()),
                format!("{} and {}", verified.fmspc(), verified.ca()),
            ))
        }
        _ => Ok(verified),
    }
}
