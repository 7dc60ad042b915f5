//! A virtual chip as its owner sees it: what a host reads from its secure processor, and the reports it makes for guests.
//!
//! [`SimChip`] is a snapshot; its keys are derived when used. `Debug` shows no chip id, as nothing that handles real ones
//! may. Firmware rules: spec/amd-kds-and-thim.md section 3.

use crate::kds::keys::Secret;
use crate::kds::product::AmdProduct;
use crate::kds::report::{ReportSpec, Signer, signed_report};
use crate::kds::tcb::SimTcb;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// A chip to be made. In JSON `{"product": "Milan"}`, and `tcb` to differ from the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipSpec {
    /// Its product.
    pub product: AmdProduct,
    /// Its firmware; the product's usual when absent.
    #[serde(default)]
    pub tcb: Option<SimTcb>,
}

impl ChipSpec {
    /// A chip with the product's usual firmware.
    pub fn new(product: AmdProduct) -> Self {
        Self { product, tcb: None }
    }

    /// With other firmware.
    pub fn tcb(mut self, tcb: SimTcb) -> Self {
        self.tcb = Some(tcb);
        self
    }
}

/// A virtual chip at one moment.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct SimChip {
    /// `chip-1` and on, in the order they were made.
    pub name: String,
    /// Its product.
    pub product: AmdProduct,
    /// Its id as KDS paths and VCEKs carry it: 64 bytes, for Turin 8. In JSON lower-case hex.
    #[serde(serialize_with = "hex")]
    pub hwid: Vec<u8>,
    /// What its reports and its VCEK are for; an operator may hold it below `current`.
    pub reported: SimTcb,
    /// What it runs.
    pub current: SimTcb,
    /// What it cannot go back below.
    pub committed: SimTcb,
    #[serde(skip)]
    pub(crate) secret: Secret,
}

impl SimChip {
    /// `CHIP_ID` of a report: 64 bytes, the id first.
    pub fn chip_id(&self) -> [u8; 64] {
        let mut chip_id = [0; 64];
        chip_id[..self.hwid.len()].copy_from_slice(&self.hwid);
        chip_id
    }

    /// The id in lower-case hex, as paths have it.
    pub fn hwid_hex(&self) -> String {
        HEXLOWER.encode(&self.hwid)
    }

    /// `/vcek/v1/...` of its VCEK for the reported TCB.
    pub fn target(&self) -> String {
        self.target_for(&self.reported)
    }

    /// The same for another TCB.
    pub fn target_for(&self, tcb: &SimTcb) -> String {
        let (product, hwid, query) = (self.product, self.hwid_hex(), tcb.query());
        format!("/vcek/v1/{product}/{hwid}?{query}")
    }

    /// The public key of its VCEK for a TCB: an uncompressed P-384 point.
    pub fn vcek_public_key(&self, tcb: &SimTcb) -> Vec<u8> {
        self.secret.vcek(self.product, &self.hwid, tcb).public
    }

    /// An attestation report signed by its VCEK for the reported TCB.
    pub fn report(&self, spec: &ReportSpec) -> [u8; 1184] {
        let key = self.secret.vcek(self.product, &self.hwid, &self.reported);
        signed_report(self, spec, Signer::Vcek, &key)
    }

    /// An attestation report signed by the VLEK of a cloud provider for the reported TCB; the chip id is masked.
    pub fn vlek_report(&self, csp_id: &str, spec: &ReportSpec) -> [u8; 1184] {
        let key = self.secret.vlek(self.product, csp_id, &self.reported);
        signed_report(self, spec, Signer::Vlek, &key)
    }
}

impl fmt::Debug for SimChip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimChip")
            .field("name", &self.name)
            .field("product", &self.product)
            .field("reported", &self.reported)
            .finish_non_exhaustive()
    }
}

fn hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&HEXLOWER.encode(bytes))
}
