//! What an artefact answers for: the key under which editions follow one another.
//!
//! Evaluation number and format version are part of the key (design.md, "Words"): v2 and v3 documents coexist,
//! numbers interleave in time, and no answer ever substitutes another number than the one chosen. The text form
//! is a path that starts with the vendor; it is what the store, the command line and the own API use.

use std::fmt;
use std::str::FromStr;

use crate::amd::{EndorsementKind, Product};
use crate::ids::serde_as_text;
use crate::{Enclave, Error, EvaluationNumber, Fmspc, PckCa, Tee};

/// The key of one artefact. Text: `intel/tcb-info/tdx/v3/90C06F000000/18`, `amd/crl/Milan/vcek` and the like, one form
/// each. A certificate of one chip has no key: its chip id must not stand in listings and events.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ArtefactKey {
    /// `amd/cert-chain/Milan/vcek`.
    AmdCertChain {
        /// Of which product.
        product: Product,
        /// For which endorsement keys.
        kind: EndorsementKind,
    },
    /// `amd/crl/Milan/vcek`. The list of a product is had at two places; nothing in it tells which one it is.
    AmdCrl {
        /// Of which product.
        product: Product,
        /// For which endorsement keys' authorities.
        kind: EndorsementKind,
    },
    /// `intel/enclave-identity/td-qe/v2/18`.
    EnclaveIdentity {
        /// Whose identity.
        enclave: Enclave,
        /// Format version of the document.
        version: u8,
        /// TCB evaluation data number.
        number: EvaluationNumber,
    },
    /// `intel/tcb-evaluation-data-numbers/tdx`.
    EvaluationNumbers {
        /// Whose list.
        tee: Tee,
    },
    /// `intel/pck-crl/platform`.
    PckCrl {
        /// Whose list.
        ca: PckCa,
    },
    /// `intel/root-crl`.
    RootCrl,
    /// `intel/tcb-info/tdx/v3/90C06F000000/18`.
    TcbInfo {
        /// Whose TCB levels.
        tee: Tee,
        /// Format version of the document.
        version: u8,
        /// Which platforms.
        fmspc: Fmspc,
        /// TCB evaluation data number.
        number: EvaluationNumber,
    },
}

impl ArtefactKey {
    /// The kind of artefact this key is of.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::AmdCertChain { .. } => Kind::AmdCertChain,
            Self::AmdCrl { .. } => Kind::AmdCrl,
            Self::EnclaveIdentity { .. } => Kind::EnclaveIdentity,
            Self::EvaluationNumbers { .. } => Kind::EvaluationNumbers,
            Self::PckCrl { .. } => Kind::PckCrl,
            Self::RootCrl => Kind::RootCrl,
            Self::TcbInfo { .. } => Kind::TcbInfo,
        }
    }
}

impl fmt::Display for ArtefactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::AmdCertChain { product, kind: of } | Self::AmdCrl { product, kind: of } => {
                write!(f, "amd/{kind}/{product}/{}", of.name())
            }
            Self::EnclaveIdentity {
                enclave,
                version,
                number,
            } => write!(f, "intel/{kind}/{enclave}/v{version}/{number}"),
            Self::EvaluationNumbers { tee } => write!(f, "intel/{kind}/{tee}"),
            Self::PckCrl { ca } => write!(f, "intel/{kind}/{ca}"),
            Self::RootCrl => write!(f, "intel/{kind}"),
            Self::TcbInfo {
                tee,
                version,
                fmspc,
                number,
            } => write!(f, "intel/{kind}/{tee}/v{version}/{fmspc}/{number}"),
        }
    }
}

impl FromStr for ArtefactKey {
    type Err = Error;

    /// Reads the text form; hex of an FMSPC in either case, everything else exactly as it is written.
    fn from_str(text: &str) -> Result<Self, Error> {
        read(text).ok_or_else(|| Error::Format {
            what: "artefact key".to_owned(),
            why: "not of the form intel/KIND/... or amd/KIND/...".to_owned(),
        })
    }
}

fn read(text: &str) -> Option<ArtefactKey> {
    let (vendor, rest) = text.split_once('/')?;
    let mut parts = rest.split('/');
    let kind: Kind = parts.next()?.parse().ok()?;
    if vendor != kind.vendor() {
        return None;
    }
    let key = match kind {
        Kind::AmdCertChain => ArtefactKey::AmdCertChain {
            product: product(parts.next()?)?,
            kind: endorsement_kind(parts.next()?)?,
        },
        Kind::AmdCrl => ArtefactKey::AmdCrl {
            product: product(parts.next()?)?,
            kind: endorsement_kind(parts.next()?)?,
        },
        Kind::EnclaveIdentity => ArtefactKey::EnclaveIdentity {
            enclave: parts.next()?.parse().ok()?,
            version: decimal(parts.next()?.strip_prefix('v')?)?,
            number: decimal(parts.next()?)?,
        },
        Kind::EvaluationNumbers => ArtefactKey::EvaluationNumbers {
            tee: parts.next()?.parse().ok()?,
        },
        Kind::PckCrl => ArtefactKey::PckCrl {
            ca: parts.next()?.parse().ok()?,
        },
        Kind::RootCrl => ArtefactKey::RootCrl,
        Kind::TcbInfo => ArtefactKey::TcbInfo {
            tee: parts.next()?.parse().ok()?,
            version: decimal(parts.next()?.strip_prefix('v')?)?,
            fmspc: parts.next()?.parse().ok()?,
            number: decimal(parts.next()?)?,
        },
    };
    parts.next().is_none().then_some(key)
}

/// AMD's own spelling alone, so that each product has one text.
fn product(text: &str) -> Option<Product> {
    Product::ALL.into_iter().find(|one| one.name() == text)
}

fn endorsement_kind(text: &str) -> Option<EndorsementKind> {
    EndorsementKind::ALL
        .into_iter()
        .find(|one| one.name() == text)
}

/// Digits without sign and without leading zeros, so that each number has one text.
fn decimal<N: FromStr>(text: &str) -> Option<N> {
    let plain =
        text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// The kinds of artefacts. Text: the second segment of a key's.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// `cert-chain`, AMD's.
    AmdCertChain,
    /// `crl`, AMD's.
    AmdCrl,
    /// `enclave-identity`.
    EnclaveIdentity,
    /// `tcb-evaluation-data-numbers`.
    EvaluationNumbers,
    /// `pck-crl`.
    PckCrl,
    /// `root-crl`.
    RootCrl,
    /// `tcb-info`.
    TcbInfo,
}

impl Kind {
    /// All kinds, in order.
    pub const ALL: [Self; 7] = [
        Self::AmdCertChain,
        Self::AmdCrl,
        Self::EnclaveIdentity,
        Self::EvaluationNumbers,
        Self::PckCrl,
        Self::RootCrl,
        Self::TcbInfo,
    ];

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AmdCertChain => "cert-chain",
            Self::AmdCrl => "crl",
            Self::EnclaveIdentity => "enclave-identity",
            Self::EvaluationNumbers => "tcb-evaluation-data-numbers",
            Self::PckCrl => "pck-crl",
            Self::RootCrl => "root-crl",
            Self::TcbInfo => "tcb-info",
        }
    }

    /// Whose it is, the first segment of a key's text: `amd` or `intel`.
    pub const fn vendor(self) -> &'static str {
        match self {
            Self::AmdCertChain | Self::AmdCrl => "amd",
            Self::EnclaveIdentity
            | Self::EvaluationNumbers
            | Self::PckCrl
            | Self::RootCrl
            | Self::TcbInfo => "intel",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| Error::Format {
                what: "artefact kind".to_owned(),
                why: "not a kind of artefact".to_owned(),
            })
    }
}

serde_as_text!(ArtefactKey, Kind);

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 8] = [
        "intel/enclave-identity/td-qe/v2/18",
        "intel/tcb-evaluation-data-numbers/tdx",
        "intel/pck-crl/platform",
        "intel/root-crl",
        "intel/tcb-info/tdx/v3/90C06F000000/18",
        "intel/tcb-info/sgx/v2/00606A000000/0",
        "amd/crl/Genoa/vcek",
        "amd/cert-chain/Turin/vlek",
    ];

    #[test]
    fn text_and_back() {
        for text in TEXTS {
            let key: ArtefactKey = text.parse().expect(text);
            assert_eq!(key.to_string(), text);
            assert_eq!(text.split('/').nth(1), Some(key.kind().name()));
            let json = serde_json::to_string(&key).expect("serializes");
            assert_eq!(
                serde_json::from_str::<ArtefactKey>(&json).expect("reads"),
                key
            );
        }
        assert_eq!(
            "intel/tcb-info/tdx/v3/90c06f000000/18".parse::<ArtefactKey>(),
            TEXTS[4].parse()
        );
    }

    #[test]
    fn near_misses() {
        for text in TEXTS {
            for bad in [
                format!("{text}/"),
                format!("/{text}"),
                format!("{text}/x"),
                format!(" {text}"),
                text.replacen("intel", "Intel", 1).replacen("amd", "AMD", 1),
                text.replacen('/', "//", 1),
                text.split_once('/')
                    .map_or_else(String::new, |(_, rest)| rest.to_owned()),
                if text.starts_with("amd") {
                    text.replacen("amd", "intel", 1)
                } else {
                    text.replacen("intel", "amd", 1)
                },
                text.rsplit_once('/')
                    .map_or_else(String::new, |(head, _)| head.to_owned()),
            ] {
                assert!(bad.parse::<ArtefactKey>().is_err(), "{bad:?}");
            }
        }
        for bad in [
            "intel/tcb-info/tdx/3/90C06F000000/18",
            "intel/tcb-info/tdx/v03/90C06F000000/18",
            "intel/tcb-info/tdx/v256/90C06F000000/18",
            "intel/tcb-info/tdx/v3/90C06F00000/18",
            "intel/tcb-info/tdx/v3/90C06F000000/+18",
            "intel/tcb-info/tdx/v3/90C06F000000/018",
            "intel/tcb-info/tdx/v3/90C06F000000/4294967296",
            "intel/tcb-info/tdx/v3/90C06F000000/",
            "amd/crl/genoa/vcek",
            "amd/crl/Genoa/VCEK",
            "amd/crl/Rome/vcek",
        ] {
            assert!(bad.parse::<ArtefactKey>().is_err(), "{bad:?}");
        }
    }
}
