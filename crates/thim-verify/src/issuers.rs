//! The issuing certificates that are known so far, every one verified to a trust anchor.
//!
//! Intel's hierarchy is flat: a root, and below it the two PCK authorities and the TCB signer. So an issuer is
//! believed when its signature verifies with a pinned root key, it carries one of the three known names, and it is
//! an authority exactly when that name is one. Dates are not looked at here: history needs expired issuers, and
//! each object is judged at its own issue date.

use std::collections::HashMap;

use crate::certificate::bundle_blocks;
use crate::error::excerpt;
use crate::ids::{PLATFORM_CA_CN, PROCESSOR_CA_CN, TCB_SIGNING_CN};
use crate::{Certificate, Digest, Error, TrustAnchors, well_known_issuers};

/// A bounded set of verified issuing certificates (and re-issued roots) under one set of trust anchors.
#[derive(Clone, Debug)]
pub struct Issuers {
    anchors: TrustAnchors,
    certificates: Vec<Certificate>,
    /// Of each certificate, by its digest: the key of the root that signed it (a root's own).
    root_keys: HashMap<Digest, Digest>,
}

impl Issuers {
    /// Starts with nothing, or with the well-known issuers when the anchors are Intel's.
    pub fn new(anchors: TrustAnchors) -> Self {
        let builtin = anchors.is_builtin();
        let mut issuers = Self {
            anchors,
            certificates: Vec::new(),
            root_keys: HashMap::new(),
        };
        if builtin {
            for certificate in well_known_issuers() {
                issuers
                    .insert(certificate.clone())
                    .expect("a test verifies every embedded issuer to the embedded root");
            }
        }
        issuers
    }

    /// The keys in which every chain must end.
    pub fn anchors(&self) -> &TrustAnchors {
        &self.anchors
    }

    /// Takes in a certificate that is a direct child of a trust anchor, or a root with a trusted key. `Ok(true)` when
    /// it is new; one already known costs no signature check.
    ///
    /// # Errors
    /// [`Error::UntrustedRoot`], [`Error::SignatureInvalid`], [`Error::WrongIssuer`] when it is neither;
    /// [`Error::TooMany`] beyond 256 certificates.
    pub fn insert(&mut self, certificate: Certificate) -> Result<bool, Error> {
        if self.knows(&certificate) {
            return Ok(false);
        }
        let root_key = accept(&self.anchors, &certificate)?;
        if self.certificates.len() == MAX_ISSUERS {
            return Err(Error::too_many("issuing certificates", MAX_ISSUERS));
        }
        self.root_keys.insert(certificate.digest(), root_key);
        self.certificates.push(certificate);
        Ok(true)
    }

    /// Whether exactly this certificate was taken in.
    pub fn knows(&self, certificate: &Certificate) -> bool {
        self.root_keys.contains_key(&certificate.digest())
    }

    /// As [`Certificate::from_pem_bundle`], for certificates that are mostly known already: those, and the roots of the
    /// trust anchors, are not parsed again.
    ///
    /// # Errors
    /// As [`Certificate::from_pem_bundle`].
    pub fn read_pem_bundle(&self, text: &[u8]) -> Result<Vec<Certificate>, Error> {
        let blocks = bundle_blocks(text)?;
        blocks.iter().map(|der| self.known_or_parsed(der)).collect()
    }

    /// The known certificate, or the anchor, that has exactly these bytes; else they are parsed.
    pub(crate) fn known_or_parsed(&self, der: &[u8]) -> Result<Certificate, Error> {
        let mut known = self.anchors.roots().iter().chain(&self.certificates);
        known
            .find(|known| known.der() == der)
            .map_or_else(|| Certificate::from_der(der), |known| Ok(known.clone()))
    }

    /// The key of the root that signed `certificate`: looked up when it is known, else verified.
    pub(crate) fn root_key_of(&self, certificate: &Certificate) -> Result<Digest, Error> {
        match self.root_keys.get(&certificate.digest()) {
            Some(root_key) => Ok(*root_key),
            None => accept(&self.anchors, certificate),
        }
    }

    /// All certificates, in the order they were taken in.
    pub fn iter(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates.iter()
    }

    /// Those whose SubjectPublicKeyInfo has this SHA-256: re-issues of one certificate.
    pub fn with_key<'a>(
        &'a self,
        spki: &Digest,
    ) -> impl Iterator<Item = &'a Certificate> + use<'a> {
        let spki = *spki;
        self.certificates
            .iter()
            .filter(move |certificate| certificate.spki_digest() == spki)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }
}

/// The key of the root that `certificate` is, or is directly below.
fn accept(anchors: &TrustAnchors, certificate: &Certificate) -> Result<Digest, Error> {
    if certificate.is_self_issued() {
        anchors.accept_root(certificate)?;
        return Ok(certificate.spki_digest());
    }
    let must_be_ca = match certificate.subject_cn() {
        PLATFORM_CA_CN | PROCESSOR_CA_CN => true,
        TCB_SIGNING_CN => false,
        found => {
            return Err(Error::WrongIssuer {
                expected: format!("{PLATFORM_CA_CN}, {PROCESSOR_CA_CN} or {TCB_SIGNING_CN}"),
                found: excerpt(found),
            });
        }
    };
    if certificate.is_ca() != must_be_ca {
        return Err(Error::WrongIssuer {
            expected: format!(
                "{} with CA:{}",
                certificate.subject_cn(),
                if must_be_ca { "TRUE" } else { "FALSE" }
            ),
            found: format!("CA:{}", if must_be_ca { "FALSE" } else { "TRUE" }),
        });
    }
    anchors.root_of(certificate).map(Certificate::spki_digest)
}

/// Intel has made nine in eight years.
const MAX_ISSUERS: usize = 256;
