//! The TCB level engine on Intel's own documents, held against the same rules written once more without a thought for
//! speed.

mod genuine;

use proptest::prelude::*;
use thim_verify::{
    Certificate, Content, ConvergedStatus, Enclave, EnclaveIdentity, IsvLevel, PceSvn,
    PckCertificate, PlatformTcb, TcbEngine, TcbInfo, TcbLevel, TcbStatus, TcbSubject, Tee,
    TeeTcbSvn, UpToDateTarget, parse,
};

struct Genuine {
    infos: Vec<TcbInfo>,
    identities: Vec<EnclaveIdentity>,
    certificates: Vec<PckCertificate>,
}

fn files(folder: &std::path::Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a file"))
        .collect()
}

fn genuine() -> Option<Genuine> {
    let intel = genuine::vectors()?;
    let (mut infos, mut identities) = (Vec::new(), Vec::new());
    for body in files(&intel.join("tcbinfo"))
        .iter()
        .chain(&files(&intel.join("identity")))
    {
        // Version 1 of 2018 is refused.
        let Ok(document) = parse(body) else { continue };
        match document.unverified().content() {
            Content::TcbInfo(info) => infos.push(info.clone()),
            Content::EnclaveIdentity(identity) => identities.push(identity.clone()),
            Content::AmdCertChain(_)
            | Content::AmdCrl(_)
            | Content::Crl(_)
            | Content::EvaluationNumbers(_) => {}
        }
    }
    let certificates: Vec<_> = files(&intel.join("pck"))
        .iter()
        .filter_map(|pem| {
            let bundle = Certificate::from_pem_bundle(pem).expect("certificates");
            bundle
                .into_iter()
                .find_map(|one| PckCertificate::from_certificate(one).ok())
        })
        .collect();
    assert!(infos.len() > 100 && identities.len() > 10 && certificates.len() > 20);
    Some(Genuine {
        infos,
        identities,
        certificates,
    })
}

/// SGX components, TDX components, PCESVN.
fn key(level: &TcbLevel) -> (Vec<u8>, Vec<u8>, u16) {
    let tdx = level.tdx_components.iter().flat_map(|all| all.iter());
    (
        level.sgx_components.iter().map(|one| one.svn).collect(),
        tdx.map(|one| one.svn).collect(),
        level.pce_svn,
    )
}

fn reaches(level: &TcbLevel, subject: &TcbSubject, tdx: bool) -> bool {
    let (sgx_need, tdx_need, pce_svn) = key(level);
    if subject.platform.pce_svn.0 < pce_svn {
        return false;
    }
    let lower = |have: [u8; 16], need: &[u8], from: usize| (from..16).any(|at| have[at] < need[at]);
    if lower(subject.platform.components, &sgx_need, 0) {
        return false;
    }
    if tdx {
        let have = subject.tee_tcb_svn.expect("given").0;
        return !lower(have, &tdx_need, if have[1] > 0 { 2 } else { 0 });
    }
    true
}

fn isv_status(levels: &[IsvLevel], have: u16) -> Option<TcbStatus> {
    let mut levels = levels.to_vec();
    levels.sort_by_key(|level| u16::MAX - level.isv_svn);
    let reached = levels.iter().find(|level| level.isv_svn <= have);
    reached.map(|level| level.status)
}

/// The table of section 6, for the statuses that modules and enclaves have.
fn join(status: ConvergedStatus, component: Option<TcbStatus>) -> ConvergedStatus {
    use ConvergedStatus as S;
    match (component, status) {
        (None, _) | (_, S::NotSupported) => S::NotSupported,
        (Some(TcbStatus::UpToDate), status) => status,
        (Some(TcbStatus::Revoked), _) => S::Revoked,
        (Some(TcbStatus::OutOfDate), S::UpToDate | S::SwHardeningNeeded) => S::OutOfDate,
        (
            Some(TcbStatus::OutOfDate),
            S::ConfigurationNeeded | S::ConfigurationAndSwHardeningNeeded,
        ) => S::OutOfDateConfigurationNeeded,
        (Some(TcbStatus::OutOfDate), status) => status,
        (Some(other), _) => panic!("{other} in a module or enclave"),
    }
}

/// Without relaunch.
fn naive(info: &TcbInfo, qe: &EnclaveIdentity, subject: &TcbSubject) -> ConvergedStatus {
    let tdx = info.tee == Tee::Tdx;
    let mut levels = info.levels.clone();
    levels.sort_by_key(key);
    levels.reverse();
    let level = levels.iter().find(|level| reaches(level, subject, tdx));
    let mut status = level.map_or(ConvergedStatus::NotSupported, |level| level.status.into());
    let [isv_svn, major, ..] = subject.tee_tcb_svn.expect("given").0;
    if tdx && major > 0 {
        let mut identities = info.tdx_module_identities.iter();
        let identity = identities.find(|identity| identity.major_version == major);
        let module = identity.and_then(|one| isv_status(&one.levels, isv_svn.into()));
        status = join(status, module);
    }
    join(
        status,
        isv_status(&qe.levels, subject.qe_isv_svn.expect("given")),
    )
}

#[test]
fn genuine_documents_are_sorted() {
    let Some(genuine) = genuine() else { return };
    for info in &genuine.infos {
        let sorted = info.levels.is_sorted_by(|one, next| key(one) > key(next));
        assert!(sorted, "{}", info.key());
        let engine = TcbEngine::new(info, None);
        assert!(engine.levels().eq(&info.levels));
        for identity in &info.tdx_module_identities {
            let levels = identity.levels.iter();
            assert!(levels.is_sorted_by(|one, next| one.isv_svn > next.isv_svn));
        }
    }
    for identity in &genuine.identities {
        let levels = identity.levels.iter();
        assert!(levels.is_sorted_by(|one, next| one.isv_svn > next.isv_svn));
    }
}

#[test]
fn genuine_platforms_agree_with_the_rules_written_again() {
    let Some(genuine) = genuine() else { return };
    let mut met = std::collections::BTreeMap::new();
    for info in &genuine.infos {
        let enclave = match info.tee {
            Tee::Sgx => Enclave::Qe,
            Tee::Tdx => Enclave::TdQe,
        };
        let mut identities = genuine.identities.iter();
        let Some(qe) = identities.rfind(|identity| identity.enclave == enclave) else {
            continue;
        };
        let engine = TcbEngine::new(info, Some(qe));
        for certificate in genuine
            .certificates
            .iter()
            .filter(|one| one.fmspc() == info.fmspc)
        {
            for module in [
                [3, 0],
                [5, 0],
                [4, 1],
                [5, 1],
                [13, 1],
                [3, 3],
                [7, 3],
                [1, 9],
            ] {
                for (microcode, isv_svn) in [(2, 8), (4, 4), (255, 0), (6, 255)] {
                    let mut svn = [0; 16];
                    (svn[0], svn[1], svn[2]) = (module[0], module[1], microcode);
                    let subject = TcbSubject {
                        platform: PlatformTcb::from(certificate),
                        tee_tcb_svn: Some(TeeTcbSvn(svn)),
                        tee_tcb_svn2: None,
                        qe_isv_svn: Some(isv_svn),
                    };
                    let evaluation = engine.evaluate(&subject);
                    let status = naive(info, qe, &subject);
                    assert_eq!(evaluation.status(), Some(status), "{}", info.key());
                    *met.entry(status).or_insert(0) += 1;
                    let short = engine.shortfall(&subject, &evaluation);
                    let counted = short.short_of_next_better().count();
                    let platform = short.platform.expect("a known status");
                    if status == ConvergedStatus::UpToDate {
                        assert_eq!(counted, 0);
                        assert_eq!(platform.up_to_date, UpToDateTarget::Already);
                    }
                    if let Some(target) = platform.next_better {
                        assert!(!target.short.is_empty(), "{}", info.key());
                        assert!(target.short.iter().all(|one| one.have < one.need));
                    }
                }
            }
        }
    }
    println!("{met:?}");
    assert!(met.len() > 3, "{met:?}");
}

#[test]
fn what_is_short_is_enough() {
    let Some(genuine) = genuine() else { return };
    for info in genuine.infos.iter().filter(|info| info.tee == Tee::Sgx) {
        let engine = TcbEngine::new(info, None);
        for level in &info.levels {
            let mut subject = at(level);
            let evaluation = engine.evaluate(&subject);
            assert_eq!(evaluation.sgx_level(), Some(level), "{}", info.key());
            let short = engine.shortfall(&subject, &evaluation);
            for one in short.short_of_up_to_date() {
                match one.component {
                    thim_verify::ShortComponent::Sgx(at) => {
                        subject.platform.components[usize::from(at)] =
                            u8::try_from(one.need).expect("a component");
                    }
                    thim_verify::ShortComponent::PceSvn => {
                        subject.platform.pce_svn = PceSvn(one.need)
                    }
                    other => panic!("{other:?} under an SGX TCB info"),
                }
            }
            let status = engine.evaluate(&subject).status();
            let reachable = match short.platform.expect("a known status").up_to_date {
                UpToDateTarget::NoneAbove => false,
                UpToDateTarget::Already | UpToDateTarget::Reachable(_) => true,
            };
            assert_eq!(
                status == Some(ConvergedStatus::UpToDate),
                reachable,
                "{}",
                info.key()
            );
        }
    }
}

/// A platform that just reaches a level.
fn at(level: &TcbLevel) -> TcbSubject {
    let (sgx, tdx, pce_svn) = key(level);
    TcbSubject {
        platform: PlatformTcb {
            components: sgx.try_into().expect("16"),
            pce_svn: PceSvn(pce_svn),
        },
        tee_tcb_svn: <[u8; 16]>::try_from(tdx).ok().map(TeeTcbSvn),
        tee_tcb_svn2: None,
        qe_isv_svn: None,
    }
}

#[test]
fn raising_a_component_keeps_a_match() {
    let Some(genuine) = genuine() else { return };
    let infos = genuine.infos.len();
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let near = prop_oneof![8 => Just(0_i16), 1 => Just(-1), 1 => Just(1)];
    let near = prop::collection::vec(near, 33);
    proptest!(config, |(which in 0..infos, level in any::<prop::sample::Index>(), near in near, raised in 0_usize..33)| {
        let info = &genuine.infos[which];
        let engine = TcbEngine::new(info, None);
        let mut subject = at(level.get(&info.levels));
        let moved = |svn: u8, by: i16| u8::try_from((i16::from(svn) + by).clamp(0, 255)).expect("clamped");
        for (svn, by) in subject.platform.components.iter_mut().zip(&near) {
            *svn = moved(*svn, *by);
        }
        // Byte 1 decides which module it is: it stays.
        for (at, (svn, by)) in subject.tee_tcb_svn.iter_mut().flat_map(|svn| &mut svn.0).zip(&near[16..]).enumerate() {
            *svn = moved(*svn, if at == 1 { 0 } else { *by });
        }
        let place = |subject: &TcbSubject| {
            let found = engine.evaluate(subject).platform_level();
            found.map(|found| info.levels.iter().position(|one| one == found).expect("one of them"))
        };
        let before = place(&subject);
        match raised {
            0..16 => subject.platform.components[raised] = subject.platform.components[raised].saturating_add(1),
            16 => subject.platform.pce_svn.0 += 1,
            17 => {}
            _ => if let Some(svn) = &mut subject.tee_tcb_svn {
                let at = if raised == 18 { 0 } else { raised - 17 };
                svn.0[at] = svn.0[at].saturating_add(1);
            },
        }
        let after = place(&subject);
        prop_assert!(before.is_none() || after.is_some_and(|after| Some(after) <= before), "{before:?} {after:?}");
    });
}
