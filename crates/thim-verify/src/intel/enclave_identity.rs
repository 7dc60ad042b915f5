//! Enclave identity: how Intel's own enclaves (QE, TD QE, QvE, QAE) are recognised, and how good each version is.
//!
//! Version 2 is the only one. Source: Intel PCS API v4, "Get Quoting Enclave Identity" and its siblings.

use serde::Deserialize;

use super::signed_json::{self, Body};
use super::tcb_level::{AtMost, Hex, IsvLevel, MAX_LEVELS};
use crate::{ArtefactKey, Enclave, Error, EvaluationNumber, UnixTime};

/// A parsed enclave identity. Byte arrays stand in the order of the document, which is that of the report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnclaveIdentity {
    /// Whose identity.
    pub enclave: Enclave,
    /// Format version: 2.
    pub version: u8,
    /// `issueDate`.
    pub issued: UnixTime,
    /// `nextUpdate`.
    pub next_update: UnixTime,
    /// TCB evaluation data number.
    pub number: EvaluationNumber,
    /// Expected MISCSELECT under the mask.
    pub miscselect: [u8; 4],
    /// Which bits of MISCSELECT count.
    pub miscselect_mask: [u8; 4],
    /// Expected ATTRIBUTES under the mask.
    pub attributes: [u8; 16],
    /// Which bits of ATTRIBUTES count.
    pub attributes_mask: [u8; 16],
    /// Measurement of the enclave's signer.
    pub mrsigner: [u8; 32],
    /// Product number.
    pub isvprodid: u16,
    /// Levels by ISVSVN, in the order of the document.
    pub levels: Vec<IsvLevel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnclaveIdentityText {
    id: DocumentId,
    version: u64,
    issue_date: UnixTime,
    next_update: UnixTime,
    tcb_evaluation_data_number: EvaluationNumber,
    miscselect: Hex<4>,
    miscselect_mask: Hex<4>,
    attributes: Hex<16>,
    attributes_mask: Hex<16>,
    mrsigner: Hex<32>,
    isvprodid: u16,
    tcb_levels: AtMost<IsvLevel, MAX_LEVELS>,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum DocumentId {
    Qae,
    Qe,
    Qve,
    #[serde(rename = "TD_QE")]
    TdQe,
}

impl EnclaveIdentity {
    /// The key this document answers for.
    pub fn key(&self) -> ArtefactKey {
        ArtefactKey::EnclaveIdentity {
            enclave: self.enclave,
            version: self.version,
            number: self.number,
        }
    }
}

impl Body for EnclaveIdentity {
    type Text = EnclaveIdentityText;

    const WHAT: &'static str = WHAT;

    fn refuse_version(version: u64) -> Option<Error> {
        (version != 2).then(|| signed_json::unsupported_version(WHAT, version))
    }

    fn settle(text: EnclaveIdentityText) -> Result<Self, Error> {
        if let Some(error) = Self::refuse_version(text.version) {
            return Err(error);
        }
        if text.tcb_levels.0.is_empty() {
            return Err(Error::format(WHAT, "no TCB level"));
        }
        Ok(Self {
            enclave: match text.id {
                DocumentId::Qae => Enclave::Qae,
                DocumentId::Qe => Enclave::Qe,
                DocumentId::Qve => Enclave::Qve,
                DocumentId::TdQe => Enclave::TdQe,
            },
            version: 2,
            issued: text.issue_date,
            next_update: text.next_update,
            number: text.tcb_evaluation_data_number,
            miscselect: text.miscselect.0,
            miscselect_mask: text.miscselect_mask.0,
            attributes: text.attributes.0,
            attributes_mask: text.attributes_mask.0,
            mrsigner: text.mrsigner.0,
            isvprodid: text.isvprodid,
            levels: text.tcb_levels.0,
        })
    }
}

const WHAT: &str = "enclave identity";
