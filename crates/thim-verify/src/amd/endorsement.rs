//! The certificates that endorse a report's key: one chip's at one TCB (VCEK), or one cloud's (VLEK).
//!
//! AMD signs a new VCEK on every call: the same key and extensions, other dates, serial number always 0. What a
//! certificate is the certificate *of* is therefore its key ([`Vcek::spki_digest`]), and no byte comparison says
//! whether two are of one chip. The product is told by the issuer's name. Source: spec/amd-kds-and-thim.md, 1.7, 2.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use der::Decode;
use x509_cert::ext::pkix::BasicConstraints;

use super::authority::BASIC_CONSTRAINTS;
use super::extensions::{self, AmdExtensions};
use super::frame::{Frame, pem_certificates, to_pem};
use super::hw_id::HwId;
use super::leaf::Leaf;
use super::product::Product;
use super::tcb::SnpTcb;
use crate::error::excerpt;
use crate::{Digest, Error, UnixTime};

/// Which key signs reports. Text: `vcek`, `vlek`, as in the key server's paths.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EndorsementKind {
    /// Versioned chip endorsement key.
    Vcek,
    /// Versioned loaded endorsement key.
    Vlek,
}

impl EndorsementKind {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Vcek, Self::Vlek];

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }

    /// The subject's common name.
    pub(super) const fn common_name(self) -> &'static str {
        match self {
            Self::Vcek => "SEV-VCEK",
            Self::Vlek => "SEV-VLEK",
        }
    }
}

impl fmt::Display for EndorsementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A parsed VCEK; cheap to clone, equal when the DER is. Its chip id never appears in its debug form.
#[derive(Clone, PartialEq, Eq)]
pub struct Vcek {
    leaf: Leaf,
    hw_id: HwId,
}

/// A parsed VLEK; cheap to clone, equal when the DER is.
#[derive(Clone, PartialEq, Eq)]
pub struct Vlek {
    leaf: Leaf,
    csp_id: Arc<str>,
}

/// Either of them, as its subject's name tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endorsement {
    /// A chip's.
    Vcek(Vcek),
    /// A cloud's.
    Vlek(Vlek),
}

macro_rules! leaf_getters {
    ($name:ident) => {
        impl $name {
            /// Parses a text that holds this certificate and nothing else.
            ///
            /// # Errors
            /// Those of `from_der`; [`Error::Format`] for other text and for none or several certificates.
            pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
                Self::from_der(&one_certificate(pem)?)
            }

            /// The product of the issuer that it names.
            pub fn product(&self) -> Product {
                self.leaf.0.product
            }

            /// What the certificate itself calls the product, e.g. `Milan-B0`.
            pub fn product_name(&self) -> &str {
                &self.leaf.0.product_name
            }

            /// The version of the layout of its extensions.
            pub fn struct_version(&self) -> u8 {
                self.leaf.0.struct_version
            }

            /// The TCB that its key was derived for.
            pub fn tcb(&self) -> SnpTcb {
                self.leaf.0.tcb
            }

            /// The certificate as received, DER.
            pub fn der(&self) -> &Bytes {
                &self.leaf.0.der
            }

            /// SHA-256 of the DER: which issue it is.
            pub fn digest(&self) -> Digest {
                self.leaf.0.digest
            }

            /// SHA-256 of the SubjectPublicKeyInfo: what it is a certificate of, however often it was issued.
            pub fn spki_digest(&self) -> Digest {
                self.leaf.0.spki_digest
            }

            /// The P-384 public key: 97 bytes, `04 || X || Y`, big endian.
            pub fn public_key(&self) -> &[u8] {
                &self.leaf.0.public_key
            }

            /// Start of validity, inclusive: about the day of the call.
            pub fn not_before(&self) -> UnixTime {
                self.leaf.0.dates.not_before
            }

            /// End of validity, inclusive.
            pub fn not_after(&self) -> UnixTime {
                self.leaf.0.dates.not_after
            }

            /// PEM in 64 columns, each line ending in a line feed.
            pub fn to_pem(&self) -> String {
                to_pem(self.der(), "\n")
            }

            /// Whether it is valid at `now`.
            ///
            /// # Errors
            /// [`Error::NotYetValid`], [`Error::Expired`].
            pub fn valid_at(&self, now: UnixTime) -> Result<(), Error> {
                self.leaf.valid_at(now)
            }

            pub(super) fn leaf(&self) -> &Leaf {
                &self.leaf
            }
        }
    };
}

leaf_getters!(Vcek);
leaf_getters!(Vlek);

impl Vcek {
    /// Parses DER.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Format`], [`Error::Unsupported`] about the form; [`Error::WrongIssuer`] for
    /// another subject than `SEV-VCEK` or an issuer that is no product's ASK.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        match Endorsement::from_der(der)? {
            Endorsement::Vcek(vcek) => Ok(vcek),
            Endorsement::Vlek(_) => Err(wrong("SEV-VCEK", "SEV-VLEK")),
        }
    }

    /// The chip that it is for.
    pub fn hw_id(&self) -> &HwId {
        &self.hw_id
    }
}

impl Vlek {
    /// Parses DER.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Format`], [`Error::Unsupported`] about the form; [`Error::WrongIssuer`] for
    /// another subject than `SEV-VLEK` or an issuer that is no product's ASVK.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        match Endorsement::from_der(der)? {
            Endorsement::Vcek(_) => Err(wrong("SEV-VLEK", "SEV-VCEK")),
            Endorsement::Vlek(vlek) => Ok(vlek),
        }
    }

    /// The cloud that it was issued to, e.g. `CN=cc-us-east-2.amazonaws.com`.
    pub fn csp_id(&self) -> &str {
        &self.csp_id
    }
}

impl Endorsement {
    /// Parses DER.
    ///
    /// # Errors
    /// Those of [`Vcek::from_der`] and [`Vlek::from_der`].
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let frame = Frame::read(der)?;
        let subject = frame.subject.common_name.as_str();
        let kind = EndorsementKind::ALL
            .into_iter()
            .find(|kind| kind.common_name() == subject)
            .ok_or_else(|| wrong("SEV-VCEK or SEV-VLEK", subject))?;
        no_authority(&frame)?;
        let stated = AmdExtensions::read(&frame.extensions)?;
        let (hw_id, csp_id) = (stated.hw_id, stated.csp_id.clone());
        let leaf = Leaf::new(der, frame, kind, stated)?;
        match (kind, hw_id, csp_id) {
            (EndorsementKind::Vcek, Some(hw_id), None) => Ok(Self::Vcek(Vcek { leaf, hw_id })),
            (EndorsementKind::Vlek, None, Some(csp_id)) => Ok(Self::Vlek(Vlek {
                leaf,
                csp_id: csp_id.into(),
            })),
            (EndorsementKind::Vcek, ..) => {
                Err(Error::format(WHAT, "a VCEK has a hwID and no cspID"))
            }
            (EndorsementKind::Vlek, ..) => {
                Err(Error::format(WHAT, "a VLEK has a cspID and no hwID"))
            }
        }
    }

    /// Parses a text that holds one certificate and nothing else.
    ///
    /// # Errors
    /// Those of [`Endorsement::from_der`]; [`Error::Format`] for other text and for none or several certificates.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        Self::from_der(&one_certificate(pem)?)
    }

    /// Which of the two it is.
    pub fn kind(&self) -> EndorsementKind {
        match self {
            Self::Vcek(_) => EndorsementKind::Vcek,
            Self::Vlek(_) => EndorsementKind::Vlek,
        }
    }

    /// The product of the issuer that it names.
    pub fn product(&self) -> Product {
        self.leaf().0.product
    }

    pub(super) fn leaf(&self) -> &Leaf {
        match self {
            Self::Vcek(vcek) => &vcek.leaf,
            Self::Vlek(vlek) => &vlek.leaf,
        }
    }
}

impl fmt::Debug for Vcek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.leaf.fmt(f)
    }
}

impl fmt::Debug for Vlek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.leaf.fmt(f)
    }
}

/// A certificate of a key that signs reports signs nothing else, and says nothing critical that is not understood.
fn no_authority(frame: &Frame<'_>) -> Result<(), Error> {
    for extension in &frame.extensions {
        if extension.id == BASIC_CONSTRAINTS {
            let constraints = BasicConstraints::from_der(extension.value)
                .map_err(|error| Error::format(WHAT, error))?;
            if constraints.ca {
                return Err(wrong("an endorsement key with CA:FALSE", "CA:TRUE"));
            }
        } else if extension.critical && !extensions::is_known(extension.id) {
            return Err(Error::unsupported(format_args!(
                "critical certificate extension {}",
                extension.id
            )));
        }
    }
    Ok(())
}

fn one_certificate(pem: &[u8]) -> Result<Vec<u8>, Error> {
    pem_certificates(WHAT, pem, 1)?
        .pop()
        .ok_or_else(|| Error::format(WHAT, "no certificate"))
}

fn wrong(expected: &str, found: &str) -> Error {
    Error::WrongIssuer {
        expected: expected.to_owned(),
        found: excerpt(found),
    }
}

const WHAT: &str = "endorsement certificate";
