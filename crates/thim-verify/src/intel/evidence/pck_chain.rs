//! The PCK certificate that a quote's keys hang from, and the certificates above it.
//!
//! The path is built by names and keys, never by position: one of Intel's own quotes has its root before its PCK
//! authority. What the quote embeds is taken first; what it lacks is completed from known issuers. The root is trusted
//! by its key: quotes of 2018 and 2019 embed older certificates of the same key. Dates are not looked at here, so that
//! a chain can be remembered. Source: spec/intel-verification.md, sections 1 (certification data), 2 and 3.2.

use crate::ids::PCK_CN;
use crate::pem::pem_blocks;
use crate::verified::PckSigners;
use crate::{Certificate, Error, Issuers, PckCertificate};

/// A PCK certificate whose signatures lead to a trust anchor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PckChain {
    leaf: PckCertificate,
    authority: Certificate,
    root: Certificate,
    origin: PckChainOrigin,
}

/// Where the certificates of a chain came from.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct PckChainOrigin {
    /// The caller gave the PCK certificate, since the quote has none.
    pub leaf_given: bool,
    /// The quote embeds the PCK authority; else it is a known one.
    pub authority_embedded: bool,
    /// The quote embeds a root with a trusted key; else the pinned one stands for it.
    pub root_embedded: bool,
    /// The certificates stood in the order leaf, authority, root.
    pub in_order: bool,
}

impl PckChain {
    /// The PCK certificate.
    pub fn leaf(&self) -> &PckCertificate {
        &self.leaf
    }

    /// The PCK authority that signed it.
    pub fn authority(&self) -> &Certificate {
        &self.authority
    }

    /// The root, as embedded where it was.
    pub fn root(&self) -> &Certificate {
        &self.root
    }

    /// Where they came from.
    pub fn origin(&self) -> PckChainOrigin {
        self.origin
    }

    /// The three, leaf first.
    pub fn certificates(&self) -> [&Certificate; 3] {
        [self.leaf.certificate(), &self.authority, &self.root]
    }

    /// From the text that a quote embeds (PEM, or one certificate in DER).
    ///
    /// # Errors
    /// [`Error::Format`] for a text without exactly one PCK certificate; those of parsing and of the signatures, also
    /// about an authority that was altered where a known one would do.
    pub(super) fn embedded(text: &[u8], issuers: &Issuers) -> Result<Self, Error> {
        let blocks = if text.first() == Some(&DER_SEQUENCE) {
            vec![text.to_vec()]
        } else {
            pem_blocks(text, "CERTIFICATE", MAX_CERTIFICATES)?
        };
        // One genuine quote embeds a root that is no certificate any more: nothing hangs from it, the pinned one stands
        // for it. What cannot be read is told where something is missing.
        let (mut certificates, mut unreadable) = (Vec::new(), None);
        for der in &blocks {
            match issuers.known_or_parsed(der) {
                Ok(certificate) => certificates.push(certificate),
                Err(error) => unreadable = unreadable.or(Some(error)),
            }
        }
        let is_leaf = |certificate: &&Certificate| certificate.subject_cn() == PCK_CN;
        let mut leaves = certificates.iter().filter(is_leaf);
        let (Some(leaf), None) = (leaves.next(), leaves.next()) else {
            if let Some(error) = unreadable {
                return Err(error);
            }
            let found = certificates.iter().filter(is_leaf).count();
            return Err(Error::format(
                "PCK certificate chain",
                format_args!(
                    "{found} certificates of {} are named {PCK_CN}; one must be",
                    certificates.len()
                ),
            ));
        };
        let pck = PckCertificate::from_certificate(leaf.clone())?;
        let chain = Self::signed(pck, &certificates, false, issuers)?;
        if !chain.origin.authority_embedded {
            // A known authority stands for one that is missing, not for one that was altered.
            let leaf = chain.leaf.certificate();
            let mut others = certificates.iter().filter(|one| *one != leaf);
            let altered = others.find_map(|one| issuers.root_key_of(one).err());
            if let Some(error) = altered.or(unreadable) {
                return Err(error);
            }
        }
        Ok(chain)
    }

    /// Of a certificate that the caller gives.
    ///
    /// # Errors
    /// Those of the signatures.
    pub(super) fn given(pck: &PckCertificate, issuers: &Issuers) -> Result<Self, Error> {
        Self::signed(pck.clone(), &[], true, issuers)
    }

    fn signed(
        leaf: PckCertificate,
        certificates: &[Certificate],
        leaf_given: bool,
        issuers: &Issuers,
    ) -> Result<Self, Error> {
        let PckSigners { authority, root } = PckSigners::find(&leaf, certificates, issuers)?;
        let in_order = match certificates {
            [] | [_] => true,
            [first, second] => first == leaf.certificate() && *second == authority,
            [first, second, third, ..] => {
                first == leaf.certificate() && *second == authority && *third == root
            }
        };
        Ok(Self {
            origin: PckChainOrigin {
                leaf_given,
                authority_embedded: certificates.contains(&authority),
                root_embedded: certificates.contains(&root),
                in_order,
            },
            leaf,
            authority,
            root,
        })
    }
}

/// A chain has three.
const MAX_CERTIFICATES: usize = 8;

const DER_SEQUENCE: u8 = 0x30;
