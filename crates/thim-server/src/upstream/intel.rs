//! The paths of signed collateral: what is asked of a PCS, a PCCS, AMD's key server or another THIM, and where the
//! issuer chain is in its answer. From `spec/intel-pcs-and-pccs.md` section 4 and `spec/amd-kds-and-thim.md` 1.1.

use thim_verify::amd::{EndorsementKind, Product};
use thim_verify::{Enclave, Fmspc, PckCa, Tee};

use crate::baseline::Choice;

/// What is wanted of an upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// A chain of AMD's.
    AmdCertChain {
        /// Of which product.
        product: Product,
        /// For which keys.
        kind: EndorsementKind,
    },
    /// A list of AMD's.
    AmdCrl {
        /// Of which product.
        product: Product,
        /// At which place.
        kind: EndorsementKind,
    },
    /// An enclave's identity.
    EnclaveIdentity {
        /// Which.
        enclave: Enclave,
        /// Which number.
        choice: Choice,
    },
    /// The signed list of evaluation numbers.
    EvaluationNumbers {
        /// Whose.
        tee: Tee,
    },
    /// The list of FMSPCs; unsigned.
    Fmspcs,
    /// A PCK CRL.
    PckCrl {
        /// Whose.
        ca: PckCa,
    },
    /// The root CRL.
    RootCrl,
    /// A TCB info, format version 3.
    TcbInfo {
        /// SGX or TDX.
        tee: Tee,
        /// Of which machines.
        fmspc: Fmspc,
        /// Which number.
        choice: Choice,
    },
}

/// A request to any upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request {
    /// What is wanted.
    pub wanted: Wanted,
}

impl Request {
    /// Path and query, to be appended to a base URL.
    pub fn path(&self) -> String {
        match self.wanted {
            Wanted::AmdCertChain { product, kind } => format!("/{kind}/v1/{product}/cert_chain"),
            Wanted::AmdCrl { product, kind } => format!("/{kind}/v1/{product}/crl"),
            Wanted::EnclaveIdentity { enclave, choice } => {
                let path = match enclave {
                    Enclave::Qae => "sgx/certification/v4/qae",
                    Enclave::Qe => "sgx/certification/v4/qe",
                    Enclave::Qve => "sgx/certification/v4/qve",
                    Enclave::TdQe => "tdx/certification/v4/qe",
                };
                format!("/{path}/identity?{}", number(choice))
            }
            Wanted::EvaluationNumbers { tee } => {
                format!("/{tee}/certification/v4/tcbevaluationdatanumbers")
            }
            Wanted::Fmspcs => "/sgx/certification/v4/fmspcs?platform=all".to_owned(),
            Wanted::PckCrl { ca } => format!("/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"),
            Wanted::RootCrl => "/sgx/certification/v4/rootcacrl".to_owned(),
            Wanted::TcbInfo { tee, fmspc, choice } => {
                format!(
                    "/{tee}/certification/v4/tcb?fmspc={fmspc}&{}",
                    number(choice)
                )
            }
        }
    }

    /// The header that carries the issuer chain; none comes with the root CRL.
    pub const fn chain_header(&self) -> Option<&'static str> {
        match self.wanted {
            Wanted::EnclaveIdentity { .. } => Some("sgx-enclave-identity-issuer-chain"),
            Wanted::EvaluationNumbers { .. } => Some("tcb-evaluation-data-numbers-issuer-chain"),
            Wanted::AmdCertChain { .. }
            | Wanted::AmdCrl { .. }
            | Wanted::Fmspcs
            | Wanted::RootCrl => None,
            Wanted::PckCrl { .. } => Some("sgx-pck-crl-issuer-chain"),
            Wanted::TcbInfo { .. } => Some("tcb-info-issuer-chain"),
        }
    }

    /// The most bytes an answer may have.
    pub const fn body_limit_bytes(&self) -> usize {
        match self.wanted {
            // 100,000 revoked entries, and twice that in a PCCS's hex.
            Wanted::PckCrl { .. } | Wanted::RootCrl => 8 * 1024 * 1024,
            // Two certificates of 2.3 KB; what is parsed has 64 KiB at most.
            Wanted::AmdCertChain { .. } => 64 * 1024,
            // Real documents have 1 to 20 KB.
            Wanted::AmdCrl { .. }
            | Wanted::EnclaveIdentity { .. }
            | Wanted::EvaluationNumbers { .. }
            | Wanted::Fmspcs
            | Wanted::TcbInfo { .. } => 1024 * 1024,
        }
    }

    /// The word of the vendor for the number that was asked for, where the caller named none.
    pub const fn called(&self) -> Option<&'static str> {
        match self.wanted {
            Wanted::EnclaveIdentity { choice, .. } | Wanted::TcbInfo { choice, .. } => match choice
            {
                Choice::Early => Some("early"),
                Choice::Number(_) => None,
                Choice::Standard => Some("standard"),
            },
            Wanted::AmdCertChain { .. }
            | Wanted::AmdCrl { .. }
            | Wanted::EvaluationNumbers { .. }
            | Wanted::Fmspcs
            | Wanted::PckCrl { .. }
            | Wanted::RootCrl => None,
        }
    }
}

fn number(choice: Choice) -> String {
    match choice {
        Choice::Early => "update=early".to_owned(),
        Choice::Number(number) => format!("tcbEvaluationDataNumber={number}"),
        Choice::Standard => "update=standard".to_owned(),
    }
}
