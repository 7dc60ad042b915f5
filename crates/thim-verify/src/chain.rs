//! Issuer chains: which certificates an object is judged by, and served with.
//!
//! Intel re-issued its root, its TCB signer and its Processor CA with the same keys, so more than one certificate
//! verifies a signature and they differ in their dates. An object is judged at its own issue date. The certificate
//! delivered with it is taken first, provided that it is valid then: that is what the vendor meant. Otherwise (a
//! file without its chain, a cache that kept one chain for all, which PCCS does) the known certificate with the same
//! key and the latest `notBefore` not after the issue date is taken: the newest that existed when the object was
//! signed. Choosing by "now" instead would make history unverifiable after every re-issue; choosing the longest
//! validity would let a later certificate vouch for a time before it existed.
//!
//! Chains are served with the current root, whichever of the same-key roots came along.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Certificate, Digest, Error, Issuers, UnixTime};

/// An issuing certificate and its root, or the root alone for the root's own list.
#[derive(Clone, PartialEq, Eq)]
pub struct Chain {
    issuer: Option<Certificate>,
    root: Certificate,
}

impl Chain {
    pub(crate) fn new(issuer: Option<Certificate>, root: Certificate) -> Self {
        Self { issuer, root }
    }

    /// The certificate whose key signed the object; the root for the root's own list.
    pub fn signer(&self) -> &Certificate {
        self.issuer.as_ref().unwrap_or(&self.root)
    }

    /// The issuing certificate; none for the root's own list.
    pub fn issuer(&self) -> Option<&Certificate> {
        self.issuer.as_ref()
    }

    /// The root as it is served.
    pub fn root(&self) -> &Certificate {
        &self.root
    }

    /// The certificates, issuer first, root last: the order of Intel's headers.
    pub fn certificates(&self) -> Vec<&Certificate> {
        self.issuer.iter().chain([&self.root]).collect()
    }

    /// Whether every certificate is valid at `now`; what a chain needs beside its signatures to become current.
    ///
    /// # Errors
    /// [`Error::NotYetValid`], [`Error::Expired`] of the first certificate that is not.
    pub fn holds_at(&self, now: UnixTime) -> Result<(), Error> {
        self.certificates()
            .into_iter()
            .try_for_each(|certificate| certificate.valid_at(now))
    }

    /// The certificates as PEM, issuer first, each ending in a line feed.
    pub fn to_pem(&self) -> String {
        self.certificates()
            .into_iter()
            .map(Certificate::to_pem)
            .collect()
    }

    /// [`Chain::to_pem`] as Intel's headers carry it: every octet but the unreserved ones of RFC 3986 as `%XX` in
    /// upper case. Ends in `%0A`.
    pub fn to_header_value(&self) -> String {
        utf8_percent_encode(&self.to_pem(), ALL_BUT_UNRESERVED).to_string()
    }

    /// SHA-256 of the signer's SubjectPublicKeyInfo: what tells a re-issue from a new signing key.
    pub fn signer_key(&self) -> Digest {
        self.signer().spki_digest()
    }

    /// A chain with the same signing key that is valid at `now`, for an object whose own chain has expired at the
    /// service's clock: the issuer with the latest `notBefore` not after `now`. None when there is none.
    pub fn reissue_valid_at(&self, issuers: &Issuers, now: UnixTime) -> Option<Self> {
        let anchors = issuers.anchors();
        let root = anchors
            .root_with_key(&self.root.spki_digest())
            .unwrap_or(&self.root);
        let issuer = match &self.issuer {
            None => None,
            Some(issuer) => {
                // Two anchors may have certified one key; only a child of this chain's root goes with it.
                let same_role = issuers
                    .with_key(&issuer.spki_digest())
                    .filter(|other| other.subject_cn() == issuer.subject_cn())
                    .filter(|other| issuers.root_key_of(other) == Ok(root.spki_digest()));
                Some(newest_at(same_role.chain([issuer]), now)?.clone())
            }
        };
        let chain = Self {
            issuer,
            root: root.clone(),
        };
        chain.holds_at(now).is_ok().then_some(chain)
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.certificates()).finish()
    }
}

/// Of the certificates valid at `at` the one with the latest `notBefore`; between equals the digest decides, so that
/// the order they came in never matters.
pub(crate) fn newest_at<'a>(
    certificates: impl Iterator<Item = &'a Certificate>,
    at: UnixTime,
) -> Option<&'a Certificate> {
    certificates
        .filter(|certificate| certificate.valid_at(at).is_ok())
        .max_by_key(|certificate| (certificate.not_before(), certificate.digest()))
}

/// RFC 3986, section 2.3.
const ALL_BUT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
