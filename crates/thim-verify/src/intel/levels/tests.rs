//! The level engine on made documents.

use proptest::prelude::*;

use super::super::made_levels::{
    advised, identity, info, qe, sgx_level, sixteen, subject, tdx_level, tdx_subject,
};
use super::super::tcb_level::TcbStatus as T;
use super::ConvergedStatus as S;
use super::*;
use crate::UnixTime;

fn evaluated(info: &TcbInfo, subject: &TcbSubject) -> (Option<S>, Option<NotSupported>) {
    let evaluation = TcbEngine::new(info, None).evaluate(subject);
    (evaluation.status(), evaluation.not_supported())
}

fn is(status: S) -> (Option<S>, Option<NotSupported>) {
    (Some(status), None)
}

fn refused(why: NotSupported) -> (Option<S>, Option<NotSupported>) {
    (Some(S::NotSupported), Some(why))
}

fn sgx_info() -> TcbInfo {
    info(
        vec![
            sgx_level(&[5, 5], 10, T::UpToDate),
            sgx_level(&[5, 5], 8, T::OutOfDate),
            sgx_level(&[3, 3], 8, T::Revoked),
        ],
        vec![],
    )
}

/// Levels with module 5.1 at components 0 and 1 where they count, microcode at 2.
fn tdx_info() -> TcbInfo {
    info(
        vec![
            tdx_level(&[5], &[5, 0, 4], 10, T::UpToDate),
            tdx_level(&[5], &[5, 0, 2], 8, T::SwHardeningNeeded),
            tdx_level(&[4], &[3, 0, 2], 8, T::OutOfDate),
        ],
        vec![
            identity(1, &[(6, T::UpToDate), (4, T::OutOfDate), (2, T::Revoked)]),
            identity(3, &[(3, T::UpToDate)]),
            identity(4, &[]),
        ],
    )
}

#[test]
fn the_first_level_that_all_components_reach() {
    let info = sgx_info();
    assert_eq!(evaluated(&info, &subject(&[5, 5], 10)), is(S::UpToDate));
    assert_eq!(evaluated(&info, &subject(&[9, 9, 9], 99)), is(S::UpToDate));
    assert_eq!(evaluated(&info, &subject(&[5, 5], 9)), is(S::OutOfDate));
    assert_eq!(evaluated(&info, &subject(&[5, 4], 10)), is(S::Revoked));
    for short in [subject(&[3, 2], 10), subject(&[9, 9], 7)] {
        assert_eq!(evaluated(&info, &short), refused(NotSupported::NoSgxLevel));
    }
    let version_2 = TcbInfo {
        version: 2,
        ..sgx_info()
    };
    assert_eq!(
        evaluated(&version_2, &subject(&[5, 5], 9)),
        is(S::OutOfDate)
    );
}

#[test]
fn a_tee_tcb_svn_has_no_effect_under_an_sgx_tcb_info() {
    let info = sgx_info();
    let evaluation = TcbEngine::new(&info, None).evaluate(&tdx_subject(&[5, 5], &[0, 9, 0], 10));
    assert_eq!(evaluation.status(), Some(S::UpToDate));
    assert_eq!(evaluation.module(), ModuleFinding::NotAsked);
    assert_eq!(evaluation.tdx_level(), None);
}

#[test]
fn without_tee_tcb_svn_a_tdx_status_is_unknown() {
    let info = tdx_info();
    let evaluation = TcbEngine::new(&info, None).evaluate(&subject(&[5], 10));
    assert_eq!(evaluation.status(), None);
    assert_eq!(evaluation.not_supported(), None);
    assert_eq!(evaluation.sgx_level(), info.levels.first());
    assert_eq!(evaluation.platform_level(), None);
    assert_eq!(evaluated(&info, &subject(&[0], 0)), (None, None));
}

#[test]
fn components_0_and_1_count_for_major_version_0_only() {
    let info = tdx_info();
    // 5.0: judged by the level alone, and component 0 counts.
    assert_eq!(
        evaluated(&info, &tdx_subject(&[5], &[5, 0, 4], 10)),
        is(S::UpToDate)
    );
    assert_eq!(
        evaluated(&info, &tdx_subject(&[5], &[4, 0, 4], 10)),
        is(S::OutOfDate)
    );
    // 3.3: component 0 would be too low.
    let evaluation = TcbEngine::new(&info, None).evaluate(&tdx_subject(&[5], &[3, 3, 4], 10));
    assert_eq!(evaluation.status(), Some(S::UpToDate));
    assert_eq!(evaluation.module().status(), Some(T::UpToDate));
    let signer = |module: ModuleFinding<'_>| module.module().map(|module| module.mrsigner);
    assert_eq!(signer(evaluation.module()), Some([3; 48]));
    let evaluation = TcbEngine::new(&info, None).evaluate(&tdx_subject(&[5], &[5, 0, 4], 10));
    assert_eq!(evaluation.module().status(), None);
    assert_eq!(signer(evaluation.module()), Some([0; 48]));
    // Neither does component 1, which is the major version.
    let mut second = tdx_info();
    for level in &mut second.levels {
        level.tdx_components.as_mut().expect("TDX")[1].svn = 9;
    }
    assert_eq!(
        evaluated(&second, &tdx_subject(&[5], &[6, 1, 4], 10)),
        is(S::UpToDate)
    );
    let version_0 = evaluated(&second, &tdx_subject(&[5], &[6, 0, 4], 10));
    assert_eq!(version_0, refused(NotSupported::NoTdxLevel));
    // Component 2 counts for all.
    assert_eq!(
        evaluated(&info, &tdx_subject(&[5], &[3, 3, 3], 10)),
        is(S::SwHardeningNeeded)
    );
}

#[test]
fn an_sgx_match_without_a_tdx_match_is_not_supported() {
    let info = tdx_info();
    let subject = tdx_subject(&[5], &[6, 1, 1], 10);
    let evaluation = TcbEngine::new(&info, None).evaluate(&subject);
    assert_eq!(evaluation.status(), Some(S::NotSupported));
    assert_eq!(evaluation.not_supported(), Some(NotSupported::NoTdxLevel));
    assert_eq!(evaluation.sgx_level(), info.levels.first());
    assert_eq!(evaluation.tdx_level(), None);
    let enough = tdx_subject(&[5], &[6, 1, 2], 10);
    assert_eq!(evaluated(&info, &enough), is(S::SwHardeningNeeded));
    let no_sgx = tdx_subject(&[3], &[6, 1, 9], 10);
    assert_eq!(evaluated(&info, &no_sgx), refused(NotSupported::NoSgxLevel));
}

#[test]
fn modules() {
    let info = tdx_info();
    let with = |module: [u8; 2]| tdx_subject(&[5], &[module[0], module[1], 4], 10);
    assert_eq!(evaluated(&info, &with([6, 1])), is(S::UpToDate));
    assert_eq!(evaluated(&info, &with([5, 1])), is(S::OutOfDate));
    assert_eq!(evaluated(&info, &with([3, 1])), is(S::Revoked));
    assert_eq!(
        evaluated(&info, &with([1, 1])),
        refused(NotSupported::NoModuleLevel)
    );
    assert_eq!(
        evaluated(&info, &with([9, 4])),
        refused(NotSupported::NoModuleLevel)
    );
    assert_eq!(
        evaluated(&info, &with([6, 2])),
        refused(NotSupported::ModuleIdentityMissing)
    );
    let module = TcbEngine::new(&info, None).evaluate(&with([6, 2])).module();
    assert_eq!(module, ModuleFinding::EntryMissing { major_version: 2 });
    let listless = TcbInfo {
        tdx_module_identities: vec![],
        ..info
    };
    assert_eq!(
        evaluated(&listless, &with([6, 1])),
        refused(NotSupported::ModuleIdentitiesMissing)
    );
    let module = TcbEngine::new(&listless, None)
        .evaluate(&with([6, 1]))
        .module();
    assert_eq!(module, ModuleFinding::ListMissing { major_version: 1 });
    assert_eq!(evaluated(&listless, &with([5, 0])), is(S::UpToDate));
}

#[test]
fn the_quoting_enclave_joins_when_it_is_known() {
    let info = sgx_info();
    let qe = qe(&[(8, T::UpToDate), (6, T::OutOfDate), (4, T::Revoked)]);
    let engine = TcbEngine::new(&info, Some(&qe));
    let status = |pce_svn, isv_svn| {
        let evaluation = engine.evaluate(&TcbSubject {
            qe_isv_svn: isv_svn,
            ..subject(&[5, 5], pce_svn)
        });
        (evaluation.status(), evaluation.not_supported())
    };
    assert_eq!(status(10, Some(8)), is(S::UpToDate));
    assert_eq!(status(10, Some(7)), is(S::OutOfDate));
    assert_eq!(status(10, Some(5)), is(S::Revoked));
    assert_eq!(status(10, Some(3)), refused(NotSupported::NoQeLevel));
    assert_eq!(status(8, Some(8)), is(S::OutOfDate));
    assert_eq!(status(10, None), is(S::UpToDate));
    assert_eq!(status(7, Some(3)), refused(NotSupported::NoSgxLevel));
    let apart = TcbEngine::new(&info, None).evaluate(&TcbSubject {
        qe_isv_svn: Some(3),
        ..subject(&[5, 5], 10)
    });
    assert_eq!(
        (apart.status(), apart.qe()),
        (Some(S::UpToDate), QeFinding::NotAsked)
    );
    let dated = engine.evaluate(&TcbSubject {
        qe_isv_svn: Some(7),
        ..subject(&[5, 5], 10)
    });
    assert_eq!(dated.tcb_date(), Some(UnixTime::from_secs(5)));
    assert_eq!(dated.qe_tcb_date(), Some(UnixTime::from_secs(6)));
    assert_eq!(dated.qe_status(), Some(T::OutOfDate));
}

#[test]
fn relaunch_and_its_near_misses() {
    let qe = qe(&[(8, T::UpToDate), (6, T::OutOfDate), (4, T::Revoked)]);
    let advice = |info: &TcbInfo, launch: [u8; 3], now: Option<[u8; 3]>, isv_svn: u16| {
        let evaluation = TcbEngine::new(info, Some(&qe)).evaluate(&TcbSubject {
            tee_tcb_svn2: now.map(|now| TeeTcbSvn(sixteen(&now))),
            qe_isv_svn: Some(isv_svn),
            ..tdx_subject(&[5], &launch, 10)
        });
        let advised = matches!(
            evaluation.status(),
            Some(S::TdRelaunchAdvised | S::TdRelaunchAdvisedConfigurationNeeded)
        );
        assert_eq!(evaluation.relaunch_advised(), advised);
        (evaluation.status(), evaluation.not_supported())
    };
    let info = tdx_info();
    let old = [4, 1, 4];
    assert_eq!(
        advice(&info, old, Some([6, 1, 4]), 8),
        is(S::TdRelaunchAdvised)
    );
    // A module of another major version, or of none, may run now.
    assert_eq!(
        advice(&info, old, Some([3, 3, 4]), 8),
        is(S::TdRelaunchAdvised)
    );
    assert_eq!(
        advice(&info, old, Some([5, 0, 4]), 8),
        is(S::TdRelaunchAdvised)
    );
    // The current TCB is not the newest.
    for now in [
        [5, 1, 4],
        [6, 1, 3],
        [2, 3, 4],
        [3, 3, 3],
        [4, 0, 4],
        [5, 0, 3],
    ] {
        assert_eq!(
            advice(&info, old, Some(now), 8),
            is(S::OutOfDate),
            "{now:?}"
        );
    }
    // Its module is not known.
    for now in [[6, 2, 4], [6, 4, 4]] {
        let expected = refused(NotSupported::CurrentModuleIdentityMissing);
        assert_eq!(advice(&info, old, Some(now), 8), expected, "{now:?}");
    }
    // No TD report 1.5; a launch that was good or revoked; a quoting enclave that is not.
    assert_eq!(advice(&info, old, None, 8), is(S::OutOfDate));
    assert_eq!(
        advice(&info, [6, 1, 4], Some([6, 1, 4]), 8),
        is(S::UpToDate)
    );
    assert_eq!(advice(&info, [3, 1, 4], Some([6, 1, 4]), 8), is(S::Revoked));
    assert_eq!(advice(&info, old, Some([6, 1, 4]), 7), is(S::OutOfDate));
    assert_eq!(advice(&info, old, Some([6, 1, 4]), 5), is(S::Revoked));
    assert_eq!(
        advice(&info, old, Some([6, 1, 4]), 3),
        refused(NotSupported::NoQeLevel)
    );
    // Then the quoting enclave is the reason, not the module that runs now.
    assert_eq!(
        advice(&info, old, Some([6, 2, 4]), 3),
        refused(NotSupported::NoQeLevel)
    );
    // Out of date without the module being so: of major version 0, and by microcode.
    assert_eq!(
        advice(&info, [4, 0, 4], Some([6, 1, 4]), 8),
        is(S::OutOfDate)
    );

    let with = |status: T| {
        let mut info = tdx_info();
        info.levels[0].status = status;
        info
    };
    let cases = [
        (T::SwHardeningNeeded, S::TdRelaunchAdvised),
        (
            T::ConfigurationNeeded,
            S::TdRelaunchAdvisedConfigurationNeeded,
        ),
        (
            T::ConfigurationAndSwHardeningNeeded,
            S::TdRelaunchAdvisedConfigurationNeeded,
        ),
        (T::OutOfDate, S::OutOfDate),
        (
            T::OutOfDateConfigurationNeeded,
            S::OutOfDateConfigurationNeeded,
        ),
        (T::Revoked, S::Revoked),
    ];
    for (level, expected) in cases {
        assert_eq!(
            advice(&with(level), old, Some([6, 1, 4]), 8),
            is(expected),
            "{level}"
        );
    }
    // The SGX level alone carries configuration: the TDX level is the second, by its microcode.
    let sgx_only = with(T::ConfigurationNeeded);
    let by_microcode = advice(&sgx_only, [4, 1, 2], Some([6, 1, 4]), 8);
    assert_eq!(by_microcode, is(S::TdRelaunchAdvisedConfigurationNeeded));
    // The TDX level out of date as well as the module: Intel advises a relaunch all the same.
    let mut both = tdx_info();
    both.levels[1].status = T::OutOfDate;
    assert_eq!(
        advice(&both, [4, 1, 2], Some([6, 1, 4]), 8),
        is(S::TdRelaunchAdvised)
    );
    // The SGX level out of date, the TDX level not so: nothing a relaunch would help.
    let sgx_bad = with(T::OutOfDate);
    assert_eq!(
        advice(&sgx_bad, [4, 1, 2], Some([6, 1, 4]), 8),
        is(S::OutOfDate)
    );
}

#[test]
fn advisories_are_united_in_order() {
    let level = tdx_level(&[5], &[5, 0, 4], 10, T::SwHardeningNeeded);
    let info = info(
        vec![advised(level, ["INTEL-SA-00009", "INTEL-SA-00004"])],
        vec![identity(1, &[(4, T::UpToDate)])],
    );
    let qe = qe(&[(8, T::UpToDate), (4, T::UpToDate)]);
    let engine = TcbEngine::new(&info, Some(&qe));
    let ids = |isv_svn| {
        let subject = TcbSubject {
            qe_isv_svn: Some(isv_svn),
            ..tdx_subject(&[5], &[4, 1, 4], 10)
        };
        engine.evaluate(&subject).advisory_ids()
    };
    assert_eq!(
        ids(8),
        ["INTEL-SA-00009", "INTEL-SA-00004", "INTEL-SA-00008"]
    );
    assert_eq!(ids(4), ["INTEL-SA-00009", "INTEL-SA-00004"]);
}

#[test]
fn sorted_documents_are_taken_as_they_are() {
    let sorted = sgx_info();
    assert!(matches!(Levels::new(&sorted.levels), Levels::Sorted(_)));
    let mut reversed = sgx_info();
    reversed.levels.reverse();
    assert!(matches!(
        Levels::new(&reversed.levels),
        Levels::Reordered(_)
    ));
    // Without sorting this would match the revoked level.
    assert_eq!(evaluated(&reversed, &subject(&[5, 5], 10)), is(S::UpToDate));
    // SGX components, then TDX components, then PCESVN.
    let order = |first: TcbLevel, second: TcbLevel| descending(&first, &second);
    let level = |sgx: u8, tdx: u8, pce_svn| tdx_level(&[sgx], &[tdx], pce_svn, T::UpToDate);
    assert!(order(level(2, 0, 0), level(1, 9, 9)).is_lt());
    assert!(order(level(2, 1, 0), level(2, 0, 9)).is_lt());
    assert!(order(level(2, 1, 1), level(2, 1, 0)).is_lt());
    assert!(order(level(2, 1, 1), level(2, 1, 1)).is_eq());
}

#[test]
fn isv_levels_in_any_order() {
    let mut info = tdx_info();
    info.tdx_module_identities[0].levels.reverse();
    let with = |isv_svn: u8| tdx_subject(&[5], &[isv_svn, 1, 4], 10);
    assert_eq!(evaluated(&info, &with(6)), is(S::UpToDate));
    assert_eq!(evaluated(&info, &with(4)), is(S::OutOfDate));
    let again = TcbSubject {
        tee_tcb_svn2: Some(TeeTcbSvn(sixteen(&[5, 1, 4]))),
        ..with(4)
    };
    assert_eq!(evaluated(&info, &again), is(S::OutOfDate));
}

#[test]
fn text_of_a_tee_tcb_svn() {
    let text = "0501020000000000000000000000000A";
    let svn: TeeTcbSvn = text.to_lowercase().parse().expect("either case");
    assert_eq!(svn.to_string(), text);
    assert_eq!((svn.module_isv_svn(), svn.module_major_version()), (5, 1));
    assert_eq!(
        serde_json::from_str::<TeeTcbSvn>(&format!("\"{text}\"")).ok(),
        Some(svn)
    );
    for near in ["", &text[1..], "0501020000000000000000000000000G"] {
        assert!(near.parse::<TeeTcbSvn>().is_err(), "{near}");
    }
}

fn any_status() -> impl Strategy<Value = T> {
    prop::sample::select(vec![
        T::UpToDate,
        T::OutOfDate,
        T::SwHardeningNeeded,
        T::Revoked,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_the_document_does_not_matter(
        levels in prop::collection::vec(((0_u8..3, 0_u8..3), (0_u8..3, 0_u8..3), 0_u16..3, any_status()), 1..8),
        turn in any::<prop::sample::Index>(),
        (sgx, tdx, pce_svn) in ((0_u8..4, 0_u8..4), (0_u8..4, 0_u8..4), 0_u16..4),
    ) {
        let mut levels: Vec<TcbLevel> = levels
            .into_iter()
            .map(|(sgx, tdx, pce_svn, status)| tdx_level(&[sgx.0, sgx.1], &[0, 0, tdx.0, tdx.1], pce_svn, status))
            .collect();
        levels.sort_by(descending);
        levels.dedup_by(|one, other| descending(one, other).is_eq());
        let sorted = info(levels.clone(), vec![]);
        let turn = turn.index(levels.len());
        levels.rotate_left(turn);
        let turned = info(levels, vec![]);
        let subject = tdx_subject(&[sgx.0, sgx.1], &[0, 0, tdx.0, tdx.1], pce_svn);
        let one = TcbEngine::new(&sorted, None);
        let other = TcbEngine::new(&turned, None);
        prop_assert!(one.levels().eq(other.levels()));
        prop_assert_eq!(one.evaluate(&subject), other.evaluate(&subject));
    }
}
