//! The fixed parts of a quote, byte by byte: header, bodies, QE report. spec/intel-verification.md section 1.
//!
//! Everything not set by a [`QuoteSpec`] is zero or what captured quotes have. Integers are little endian.

use crate::fleet::Family;
use crate::identity::Measured;
use crate::machine::Machine;
use crate::pck_tcb::hex_array;
use crate::quote::spec::{QuoteBody, QuoteSpec, QuoteVersion};

/// Bytes being laid out at offsets.
struct Layout(Vec<u8>);

impl Layout {
    fn of(bytes: usize) -> Self {
        Self(vec![0; bytes])
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

/// Header, descriptor and body: what the attestation key signs. `tee_tcb_svn` is the machine's own.
pub(crate) fn signed_part(
    machine: &Machine,
    spec: &QuoteSpec,
    qe_isv_svn: u16,
    tee_tcb_svn: [u8; 16],
) -> Vec<u8> {
    let mut signed = header(machine, spec, qe_isv_svn);
    let body = match spec.body {
        QuoteBody::Sgx => enclave_report(machine, spec),
        QuoteBody::Td10 | QuoteBody::Td15 | QuoteBody::Td15Extended => {
            td_report(machine, spec, tee_tcb_svn)
        }
    };
    match spec.version {
        QuoteVersion::V3 | QuoteVersion::V4 => {}
        QuoteVersion::V5 => {
            signed.extend(spec.body.descriptor_type().to_le_bytes());
            signed.extend(length(&body).to_le_bytes());
        }
    }
    signed.extend(body);
    signed
}

fn header(machine: &Machine, spec: &QuoteSpec, qe_isv_svn: u16) -> Vec<u8> {
    let mut header = Layout::of(HEADER_BYTES);
    header.put(0, &spec.version.number().to_le_bytes());
    header.put(2, &ECDSA_P256.to_le_bytes());
    match spec.version {
        QuoteVersion::V3 => {
            header.put(8, &qe_isv_svn.to_le_bytes());
            header.put(10, &machine.raw_tcb.pcesvn.to_le_bytes());
        }
        QuoteVersion::V4 | QuoteVersion::V5 => {
            header.put(4, &spec.body.tee_type().to_le_bytes());
        }
    }
    header.put(12, &spec.vendor_id);
    match &spec.user_data {
        Some(user_data) => header.put(28, user_data),
        None => header.put(28, &machine.qe_id),
    }
    header.0
}

fn enclave_report(machine: &Machine, spec: &QuoteSpec) -> Vec<u8> {
    let enclave = &spec.enclave;
    let debug = if spec.debug { SGX_DEBUG } else { 0 };
    let mut attributes = SGX_ATTRIBUTES;
    attributes[0] |= debug;
    let mut report = Layout::of(ENCLAVE_REPORT_BYTES);
    report.put(0, &machine.raw_tcb.components);
    report.put(48, &attributes);
    report.put(64, &enclave.mrenclave);
    report.put(128, &enclave.mrsigner);
    report.put(256, &enclave.isv_prod_id.to_le_bytes());
    report.put(258, &enclave.isv_svn.to_le_bytes());
    report.put(320, &spec.report_data);
    report.0
}

/// The quoting enclave's report with this report data.
pub(crate) fn qe_report(
    machine: &Machine,
    spec: &QuoteSpec,
    usual: &Measured,
    report_data: &[u8; 64],
) -> Vec<u8> {
    let qe = &spec.qe;
    let mut report = Layout::of(ENCLAVE_REPORT_BYTES);
    report.put(0, &machine.raw_tcb.components);
    let miscselect = qe.miscselect.unwrap_or(usual.miscselect);
    report.put(16, &miscselect.to_le_bytes());
    report.put(48, &qe.attributes.unwrap_or(usual.attributes));
    report.put(64, &QE_MRENCLAVE);
    report.put(128, &qe.mrsigner.unwrap_or(usual.mrsigner));
    let isv_prod_id = qe.isv_prod_id.unwrap_or(usual.isv_prod_id);
    report.put(256, &isv_prod_id.to_le_bytes());
    let isv_svn = qe.isv_svn.unwrap_or(usual.isv_svn);
    report.put(258, &isv_svn.to_le_bytes());
    report.put(320, report_data);
    report.0
}

fn td_report(machine: &Machine, spec: &QuoteSpec, usual_svn: [u8; 16]) -> Vec<u8> {
    let td = &spec.td;
    let mut attributes = td.other_attributes;
    for (bit, set) in [
        (TD_DEBUG, spec.debug),
        (TD_SEPT_VE_DISABLE, td.sept_ve_disable),
        (TD_MIGRATABLE, td.migratable),
    ] {
        if set {
            attributes |= bit;
        }
    }
    let launched_with = td.tee_tcb_svn.unwrap_or(usual_svn);
    let mut report = Layout::of(spec.body.bytes());
    report.put(0, &launched_with);
    report.put(16, &td.mrseam);
    report.put(64, &td.mrsignerseam);
    report.put(112, &td.seamattributes);
    report.put(120, &attributes.to_le_bytes());
    report.put(128, &XFAM.to_le_bytes());
    report.put(136, &td.mrtd);
    for (offset, rtmr) in (328..).step_by(48).zip(&td.rtmrs) {
        report.put(offset, rtmr);
    }
    report.put(520, &spec.report_data);
    match spec.body {
        QuoteBody::Sgx | QuoteBody::Td10 => {}
        QuoteBody::Td15 | QuoteBody::Td15Extended => {
            report.put(584, &td.tee_tcb_svn2.unwrap_or(usual_svn));
            report.put(600, &td.mrservicetd);
        }
    }
    match spec.body {
        QuoteBody::Sgx | QuoteBody::Td10 | QuoteBody::Td15 => {}
        QuoteBody::Td15Extended => {
            report.put(785, &machine.raw_tcb.components);
            report.put(801, &launched_with);
            report.put(817, &fmspc(machine.family));
        }
    }
    report.0
}

fn fmspc(family: &Family) -> [u8; 6] {
    hex_array(family.fmspc).expect("families have twelve hex digits")
}

impl QuoteBody {
    pub(crate) fn is_td(self) -> bool {
        match self {
            QuoteBody::Sgx => false,
            QuoteBody::Td10 | QuoteBody::Td15 | QuoteBody::Td15Extended => true,
        }
    }

    fn tee_type(self) -> u32 {
        if self.is_td() { TDX } else { SGX }
    }

    /// Of version 5.
    fn descriptor_type(self) -> u16 {
        match self {
            QuoteBody::Sgx => 1,
            QuoteBody::Td10 => 2,
            QuoteBody::Td15 => 3,
            QuoteBody::Td15Extended => 4,
        }
    }

    fn bytes(self) -> usize {
        match self {
            QuoteBody::Sgx => ENCLAVE_REPORT_BYTES,
            QuoteBody::Td10 => 584,
            QuoteBody::Td15 => 648,
            QuoteBody::Td15Extended => 885,
        }
    }
}

/// A length as quotes write it.
pub(crate) fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a quote's parts are far below 4 GiB")
}

const HEADER_BYTES: usize = 48;
const ENCLAVE_REPORT_BYTES: usize = 384;
/// The attestation key type.
const ECDSA_P256: u16 = 2;
const SGX: u32 = 0;
const TDX: u32 = 0x81;
const SGX_DEBUG: u8 = 1 << 1;
/// INIT and MODE64BIT; x87, SSE, AVX and AVX-512 state.
const SGX_ATTRIBUTES: [u8; 16] = [5, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0];
const TD_DEBUG: u64 = 1;
const TD_SEPT_VE_DISABLE: u64 = 1 << 28;
const TD_MIGRATABLE: u64 = 1 << 29;
/// The simulator's own choice; nothing is judged by it.
const XFAM: u64 = 0xe7;
/// Made up: no identity names a quoting enclave's measurement.
const QE_MRENCLAVE: [u8; 32] = *b"simulated quoting enclave\0\0\0\0\0\0\0";
