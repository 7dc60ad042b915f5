//! Enclave identities: what the vendor signs about its quoting and verification enclaves.
//!
//! Enclave Identity v2 for QE, QvE, QAE and the TD QE. Measurements and attributes are those Intel publishes; the
//! levels follow the evaluation number, one ISV SVN a TCB recovery event. Field order as on the wire
//! (spec/intel-pcs-and-pccs.md section 4).

use crate::calendar;
use crate::evaluation::RecoveryEvent;
use crate::pck_tcb::hex_array;
use serde::Serialize;

/// The enclaves that have a signed identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Enclave {
    Qae,
    Qe,
    Qve,
    TdQe,
}

/// The inner object of `enclaveIdentity`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnclaveIdentity {
    id: &'static str,
    version: u32,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    miscselect: &'static str,
    miscselect_mask: &'static str,
    attributes: &'static str,
    attributes_mask: &'static str,
    mrsigner: &'static str,
    isvprodid: u32,
    tcb_levels: Vec<IdentityLevel>,
}

/// One ISV SVN and its verdict; TDX module identities use the same form.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IdentityLevel {
    tcb: IsvSvn,
    tcb_date: String,
    tcb_status: &'static str,
    #[serde(rename = "advisoryIDs", skip_serializing_if = "Vec::is_empty")]
    advisory_ids: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct IsvSvn {
    isvsvn: u32,
}

impl IdentityLevel {
    pub(crate) fn up_to_date(isvsvn: u32, tcb_date: String) -> Self {
        Self {
            tcb: IsvSvn { isvsvn },
            tcb_date,
            tcb_status: "UpToDate",
            advisory_ids: Vec::new(),
        }
    }

    pub(crate) fn out_of_date(isvsvn: u32, tcb_date: String, advisory_ids: Vec<String>) -> Self {
        Self {
            tcb: IsvSvn { isvsvn },
            tcb_date,
            tcb_status: "OutOfDate",
            advisory_ids,
        }
    }
}

impl EnclaveIdentity {
    /// The identity as of `events[0]`, the newest event the document knows.
    pub(crate) fn new(enclave: Enclave, events: &[RecoveryEvent], issued: i64, next: i64) -> Self {
        let facts = enclave.facts();
        let number = events.first().map_or(0, |event| event.number);
        Self {
            id: facts.id,
            version: 2,
            issue_date: calendar::iso(issued),
            next_update: calendar::iso(next),
            tcb_evaluation_data_number: number,
            miscselect: "00000000",
            miscselect_mask: "FFFFFFFF",
            attributes: facts.attributes,
            attributes_mask: "FBFFFFFFFFFFFFFF0000000000000000",
            mrsigner: facts.mrsigner,
            isvprodid: facts.isvprodid,
            tcb_levels: levels(facts.isvsvn_at_16, events),
        }
    }

    /// Another body for the same dates: the oldest level is missing.
    pub(crate) fn diverge(&mut self) {
        self.tcb_levels.pop();
    }
}

/// One level for each event, newest first; a document older than number 16 has none of them.
fn levels(isvsvn_at_16: u32, events: &[RecoveryEvent]) -> Vec<IdentityLevel> {
    let svn = |event: &RecoveryEvent| isvsvn_at_16 + raised(event);
    let date = |event: &RecoveryEvent| calendar::midnight(event.tcb_date());
    let older = events.iter().skip(1).map(|event| {
        let fixed_since = events.iter().filter(|newer| newer.number > event.number);
        let advisories = fixed_since.flat_map(|newer| advisories_of(newer.number));
        IdentityLevel::out_of_date(svn(event), date(event), advisories.collect())
    });
    events
        .first()
        .map(|event| IdentityLevel::up_to_date(svn(event), date(event)))
        .into_iter()
        .chain(older)
        .collect()
}

/// How often enclaves were raised since number 16.
fn raised(event: &RecoveryEvent) -> u32 {
    event.number.saturating_sub(16)
}

/// The advisory an event's enclave update answers.
fn advisories_of(number: u32) -> Vec<String> {
    vec![format!("INTEL-SA-{:05}", 600 + number * 20)]
}

/// What the report of an enclave of the newest level says.
pub(crate) struct Measured {
    pub(crate) miscselect: u32,
    pub(crate) attributes: [u8; 16],
    pub(crate) mrsigner: [u8; 32],
    pub(crate) isv_prod_id: u16,
    pub(crate) isv_svn: u16,
}

struct EnclaveFacts {
    id: &'static str,
    attributes: &'static str,
    mrsigner: &'static str,
    isvprodid: u32,
    isvsvn_at_16: u32,
}

impl Enclave {
    /// The enclave that the identity as of `events[0]` calls up to date. As in genuine reports, bits are set that the
    /// mask leaves free: 64-bit mode and the extended features.
    pub(crate) fn measured(self, events: &[RecoveryEvent]) -> Measured {
        let facts = self.facts();
        let raised = events.first().map_or(0, raised);
        let mut attributes: [u8; 16] =
            hex_array(facts.attributes).expect("identities have 32 hex digits");
        attributes[0] |= MODE_64_BIT;
        attributes[8] |= EXTENDED_FEATURES;
        let short = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        Measured {
            miscselect: 0,
            attributes,
            mrsigner: hex_array(facts.mrsigner).expect("signers have 64 hex digits"),
            isv_prod_id: short(facts.isvprodid),
            isv_svn: short(facts.isvsvn_at_16 + raised),
        }
    }

    /// Measurements from Intel's identities in `vectors/intel/identity` (2025 to 2026); SVNs are the simulator's own.
    fn facts(self) -> EnclaveFacts {
        match self {
            Enclave::Qae => EnclaveFacts {
                id: "QAE",
                attributes: "01000000000000000000000000000000",
                mrsigner: INTEL_SIGNER,
                isvprodid: 3,
                isvsvn_at_16: 3,
            },
            Enclave::Qe => EnclaveFacts {
                id: "QE",
                attributes: "11000000000000000000000000000000",
                mrsigner: INTEL_SIGNER,
                isvprodid: 1,
                isvsvn_at_16: 8,
            },
            Enclave::Qve => EnclaveFacts {
                id: "QVE",
                attributes: "01000000000000000000000000000000",
                mrsigner: INTEL_SIGNER,
                isvprodid: 2,
                isvsvn_at_16: 3,
            },
            Enclave::TdQe => EnclaveFacts {
                id: "TD_QE",
                attributes: "11000000000000000000000000000000",
                mrsigner: INTEL_TD_SIGNER,
                isvprodid: 2,
                isvsvn_at_16: 4,
            },
        }
    }
}

const MODE_64_BIT: u8 = 1 << 2;
/// x87, SSE, AVX and AVX-512 state.
const EXTENDED_FEATURES: u8 = 0xe7;
const INTEL_SIGNER: &str = "8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF";
const INTEL_TD_SIGNER: &str = "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5";
