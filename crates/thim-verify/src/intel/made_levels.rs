//! Documents made for the tests of the level engine.

use super::components::ComponentSvn;
use super::enclave_identity::EnclaveIdentity;
use super::levels::{PlatformTcb, TcbSubject, TeeTcbSvn};
use super::raw_tcb::PceSvn;
use super::tcb_info::{TcbInfo, TcbLevel, TdxModule, TdxModuleIdentity};
use super::tcb_level::{IsvLevel, TcbStatus};
use crate::{Enclave, Fmspc, PceId, Tee, UnixTime};

/// 16 components that start with `first` and go on with zeros.
pub(super) fn sixteen(first: &[u8]) -> [u8; 16] {
    let mut all = [0; 16];
    all[..first.len()].copy_from_slice(first);
    all
}

fn components(first: &[u8]) -> Box<[ComponentSvn; 16]> {
    Box::new(sixteen(first).map(|svn| ComponentSvn {
        svn,
        ..ComponentSvn::default()
    }))
}

pub(super) fn sgx_level(first: &[u8], pce_svn: u16, status: TcbStatus) -> TcbLevel {
    TcbLevel {
        sgx_components: components(first),
        pce_svn,
        tdx_components: None,
        tcb_date: UnixTime::from_secs(i64::from(first[0])),
        status,
        advisory_ids: Vec::new(),
    }
}

pub(super) fn tdx_level(sgx: &[u8], tdx: &[u8], pce_svn: u16, status: TcbStatus) -> TcbLevel {
    TcbLevel {
        tdx_components: Some(components(tdx)),
        ..sgx_level(sgx, pce_svn, status)
    }
}

pub(super) fn advised<const N: usize>(level: TcbLevel, ids: [&str; N]) -> TcbLevel {
    TcbLevel {
        advisory_ids: ids.map(|id| id.parse().expect("an advisory")).to_vec(),
        ..level
    }
}

pub(super) fn isv_levels(levels: &[(u16, TcbStatus)]) -> Vec<IsvLevel> {
    let level = |(isv_svn, status): &(u16, TcbStatus)| IsvLevel {
        isv_svn: *isv_svn,
        tcb_date: UnixTime::from_secs(i64::from(*isv_svn)),
        status: *status,
        advisory_ids: vec![
            format!("INTEL-SA-{isv_svn:05}")
                .parse()
                .expect("an advisory"),
        ],
    };
    levels.iter().map(level).collect()
}

fn module(signer: u8) -> TdxModule {
    TdxModule {
        mrsigner: [signer; 48],
        attributes: [0; 8],
        attributes_mask: [0xff; 8],
    }
}

pub(super) fn identity(major_version: u8, levels: &[(u16, TcbStatus)]) -> TdxModuleIdentity {
    TdxModuleIdentity {
        major_version,
        module: module(major_version),
        levels: isv_levels(levels),
    }
}

pub(super) fn info(levels: Vec<TcbLevel>, identities: Vec<TdxModuleIdentity>) -> TcbInfo {
    let tee = match levels[0].tdx_components {
        Some(_) => Tee::Tdx,
        None => Tee::Sgx,
    };
    TcbInfo {
        tee,
        version: 3,
        issued: UnixTime::MIN,
        next_update: UnixTime::MAX,
        fmspc: Fmspc([0; 6]),
        pce_id: PceId([0; 2]),
        tcb_type: 0,
        number: 20,
        levels,
        tdx_module: (tee == Tee::Tdx).then(|| module(0)),
        tdx_module_identities: identities,
    }
}

pub(super) fn qe(levels: &[(u16, TcbStatus)]) -> EnclaveIdentity {
    EnclaveIdentity {
        enclave: Enclave::TdQe,
        version: 2,
        issued: UnixTime::MIN,
        next_update: UnixTime::MAX,
        number: 20,
        miscselect: [0; 4],
        miscselect_mask: [0; 4],
        attributes: [0; 16],
        attributes_mask: [0; 16],
        mrsigner: [0; 32],
        isvprodid: 2,
        levels: isv_levels(levels),
    }
}

pub(super) fn subject(sgx: &[u8], pce_svn: u16) -> TcbSubject {
    TcbSubject {
        platform: PlatformTcb {
            components: sixteen(sgx),
            pce_svn: PceSvn(pce_svn),
        },
        tee_tcb_svn: None,
        tee_tcb_svn2: None,
        qe_isv_svn: None,
    }
}

pub(super) fn tdx_subject(sgx: &[u8], tdx: &[u8], pce_svn: u16) -> TcbSubject {
    TcbSubject {
        tee_tcb_svn: Some(TeeTcbSvn(sixteen(tdx))),
        ..subject(sgx, pce_svn)
    }
}
