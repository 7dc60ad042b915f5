//! The list of a platform's PCK certificates as PCS answers `pckcerts`.
//!
//! An array of `{tcb, tcbm, cert}`, one for each TCB level of the platform's kind; `cert` is percent-encoded PEM, or
//! PEM, or `Not available` where PCS cannot make one (a manifest from before a TCB recovery). `tcb` has come in both
//! forms of TCB infos: flat keys, and a list of components. The array is no signed object: each certificate is
//! verified by itself, so one that cannot be read spoils its entry and not the list. An array that does not even say
//! which TCB an entry is for is refused as a whole. Source: Intel PCS API v4, "Get PCK Certificates".
//!
//! Held together: the certificate is for the entry's `tcbm`, and `tcb` has the PCESVN of `tcbm`. The components of
//! `tcb` are not compared with CPUSVN: they may differ by specification. Of entries with one `tcbm` the first counts
//! and the others are unreadable: there is one certificate a TCB, and PCS has never sent two.

use std::borrow::Cow;
use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::pck::PckCertificate;
use super::raw_tcb::RawTcb;
use super::tcb_info::TcbText;
use super::tcb_level::{AtMost, Object};
use crate::Error;
use crate::error::within;
use crate::pem::pem_blocks;

/// A parsed list; nothing in it is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PckList {
    /// In the order of the answer.
    pub entries: Vec<PckListEntry>,
}

/// One TCB level and what there is for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PckListEntry {
    /// The TCB that the entry is for.
    pub tcbm: RawTcb,
    /// What the entry holds.
    pub listed: Listed,
}

/// What an entry of the list holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listed {
    /// A certificate for the entry's TCB; its signature was not looked at.
    Certificate(PckCertificate),
    /// PCS has none.
    NotAvailable,
    /// Something else, and why it is none of the above.
    Unreadable(Error),
}

#[derive(Deserialize)]
struct EntryText<'a> {
    #[serde(borrow)]
    tcb: &'a RawValue,
    tcbm: RawTcb,
    #[serde(borrow)]
    cert: Cow<'a, str>,
}

/// Parses the body of an answer to `pckcerts` or `pckcerts/config`.
///
/// # Errors
/// [`Error::TooLarge`] beyond 1 MiB; [`Error::Format`] for anything but an array of at most 128 objects that each
/// have `tcb`, a well-formed `tcbm` and `cert`.
pub fn parse_pck_list(body: &[u8]) -> Result<PckList, Error> {
    within(WHAT, MAX_BYTES, body.len())?;
    let entries: AtMost<Object<EntryText<'_>>, MAX_ENTRIES> = serde_json::from_slice(body)
        // Only the place is told: serde's words may quote a certificate, which identifies a platform.
        .map_err(|error| {
            Error::format(
                WHAT,
                format_args!(
                    "not a list of at most {MAX_ENTRIES} entries with tcb, tcbm and cert; at line {}, column {}",
                    error.line(),
                    error.column()
                ),
            )
        })?;
    let mut seen = BTreeSet::new();
    let entries = entries.0.into_iter().map(|Object(entry)| PckListEntry {
        tcbm: entry.tcbm,
        listed: if seen.insert(entry.tcbm) {
            entry.listed().unwrap_or_else(Listed::Unreadable)
        } else {
            Listed::Unreadable(wrong("a second entry for its TCB"))
        },
    });
    Ok(PckList {
        entries: entries.collect(),
    })
}

impl EntryText<'_> {
    fn listed(&self) -> Result<Listed, Error> {
        let tcb: TcbText = serde_json::from_str(self.tcb.get())
            .map_err(|_| wrong("tcb is not 16 components and a PCESVN"))?;
        if tcb.flat.is_some() == tcb.sgx.is_some() {
            return Err(wrong("tcb is not 16 components in one of the two forms"));
        }
        if tcb.pce_svn != self.tcbm.pce_svn.0 {
            return Err(wrong("tcb has another PCESVN than tcbm"));
        }
        if self.cert.eq_ignore_ascii_case(NOT_AVAILABLE) {
            return Ok(Listed::NotAvailable);
        }
        // PEM has no percent sign, so decoding leaves a text that was not encoded as it is.
        let pem = Cow::from(percent_decode_str(&self.cert));
        let [der] = <[Vec<u8>; 1]>::try_from(pem_blocks(&pem, "CERTIFICATE", 1)?)
            .map_err(|_| wrong("cert is neither a certificate nor \"Not available\""))?;
        let certificate = PckCertificate::from_der(&der)?;
        if certificate.tcbm() != self.tcbm {
            return Err(wrong(format_args!(
                "the certificate is for the TCB {}, not for the entry's {}",
                certificate.tcbm(),
                self.tcbm
            )));
        }
        Ok(Listed::Certificate(certificate))
    }
}

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::format(WHAT, why)
}

const WHAT: &str = "PCK certificate list";

/// PCS's text for a TCB level without a certificate; read in any case.
const NOT_AVAILABLE: &str = "Not available";

/// Genuine lists have as many entries as their TCB info has levels, 22 at most.
const MAX_ENTRIES: usize = 128;

/// 128 entries of 3.6 KB of percent-encoded PEM and 1.2 KB of components are well below.
const MAX_BYTES: usize = 1024 * 1024;
