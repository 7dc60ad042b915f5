//! Shortfalls under made documents.

use super::super::made_levels::{identity, info, qe, sgx_level, subject, tdx_level, tdx_subject};
use super::super::tcb_info::TcbInfo;
use super::TcbStatus as T;
use super::*;

fn shortfalls<'a>(engine: &TcbEngine<'a>, subject: &TcbSubject) -> Shortfalls<'a> {
    engine.shortfall(subject, &engine.evaluate(subject))
}

fn platform<'a>(info: &'a TcbInfo, subject: &TcbSubject) -> PartShortfall<'a> {
    let all = shortfalls(&TcbEngine::new(info, None), subject);
    all.platform.expect("a known status")
}

type Short = (ShortComponent, u16, u16);

fn short(target: &TcbTarget<'_>) -> (T, Vec<Short>) {
    let short = |one: &Shortfall<'_>| (one.component, one.have, one.need);
    (target.status, target.short.iter().map(short).collect())
}

fn next(part: &PartShortfall<'_>) -> Option<(T, Vec<Short>)> {
    part.next_better.as_ref().map(short)
}

fn best(part: &PartShortfall<'_>) -> Option<(T, Vec<Short>)> {
    match &part.up_to_date {
        UpToDateTarget::Already | UpToDateTarget::NoneAbove => None,
        UpToDateTarget::Reachable(target) => Some(short(target)),
    }
}

const fn sgx(at: u8, have: u16, need: u16) -> Short {
    (ShortComponent::Sgx(at), have, need)
}

#[test]
fn up_to_date_is_short_of_nothing() {
    let info = info(
        vec![
            sgx_level(&[6], 9, T::UpToDate),
            sgx_level(&[5], 9, T::UpToDate),
        ],
        vec![],
    );
    let part = platform(&info, &subject(&[5], 9));
    assert_eq!(part.status, Some(T::UpToDate));
    assert_eq!(part.next_better, None);
    assert_eq!(part.up_to_date, UpToDateTarget::Already);
}

#[test]
fn the_closest_better_level_and_the_lowest_up_to_date() {
    let info = info(
        vec![
            sgx_level(&[9, 9], 9, T::UpToDate),
            sgx_level(&[8, 8], 9, T::UpToDate),
            sgx_level(&[7, 8], 9, T::SwHardeningNeeded),
            sgx_level(&[6], 9, T::OutOfDate),
            sgx_level(&[5], 9, T::OutOfDate),
            sgx_level(&[4], 5, T::Revoked),
        ],
        vec![],
    );
    let part = platform(&info, &subject(&[5], 10));
    assert_eq!(
        next(&part),
        Some((T::SwHardeningNeeded, vec![sgx(0, 5, 7), sgx(1, 0, 8)]))
    );
    assert_eq!(
        best(&part),
        Some((T::UpToDate, vec![sgx(0, 5, 8), sgx(1, 0, 8)]))
    );
    // From Revoked the closest better one is the nearest OutOfDate; PCESVN is short too.
    let part = platform(&info, &subject(&[4], 5));
    let (status, missing) = next(&part).expect("a better level");
    assert_eq!(status, T::OutOfDate);
    assert_eq!(missing, [sgx(0, 4, 5), (ShortComponent::PceSvn, 5, 9)]);
    let target = part.next_better.expect("a better level");
    assert_eq!(target.tcb_date, UnixTime::from_secs(5));
    // Without a match the lowest that is not revoked.
    let part = platform(&info, &subject(&[3], 9));
    assert_eq!(part.status, None);
    assert_eq!(next(&part), Some((T::OutOfDate, vec![sgx(0, 3, 5)])));
}

#[test]
fn of_several_levels_the_fewest_components_if_that_is_one_level() {
    let up_to_date = |levels: Vec<TcbLevel>| {
        let info = info(levels, vec![]);
        best(&platform(&info, &subject(&[5, 5, 5], 9)))
    };
    let at = |first: &[u8], status| sgx_level(first, 9, status);
    let one = up_to_date(vec![
        at(&[9, 5, 5], T::UpToDate),
        at(&[6, 6, 5], T::UpToDate),
        at(&[5, 5, 5], T::OutOfDate),
    ]);
    assert_eq!(one, Some((T::UpToDate, vec![sgx(0, 5, 9)])));
    let two = up_to_date(vec![
        at(&[9, 5, 5], T::UpToDate),
        at(&[8, 5, 5], T::UpToDate),
        at(&[6, 6, 5], T::UpToDate),
        at(&[5, 5, 5], T::OutOfDate),
    ]);
    assert_eq!(two, Some((T::UpToDate, vec![sgx(0, 5, 6), sgx(1, 5, 6)])));
}

#[test]
fn without_an_up_to_date_level_needs_are_left() {
    let info = info(
        vec![
            sgx_level(&[6], 9, T::ConfigurationAndSwHardeningNeeded),
            sgx_level(&[5], 9, T::OutOfDateConfigurationNeeded),
        ],
        vec![],
    );
    let engine = TcbEngine::new(&info, None);
    let all = shortfalls(&engine, &subject(&[6], 9));
    assert_eq!(all.needs, [Need::Configuration, Need::SoftwareHardening]);
    let part = all.platform.expect("a known status");
    assert_eq!(part.next_better, None);
    assert_eq!(part.up_to_date, UpToDateTarget::NoneAbove);
    let all = shortfalls(&engine, &subject(&[5], 9));
    assert_eq!(all.needs, [Need::Configuration]);
    assert_eq!(all.short_of_next_better().count(), 1);
    assert_eq!(all.short_of_up_to_date().count(), 0);
    // Only revoked levels: nothing is better, matched or not.
    let revoked = super::super::made_levels::info(vec![sgx_level(&[5], 9, T::Revoked)], vec![]);
    assert_eq!(platform(&revoked, &subject(&[5], 9)).next_better, None);
    assert_eq!(platform(&revoked, &subject(&[4], 9)).next_better, None);
}

#[test]
fn module_and_quoting_enclave_join() {
    let info = info(
        vec![
            tdx_level(&[5], &[9, 0, 4], 9, T::UpToDate),
            tdx_level(&[5], &[9, 0, 2], 9, T::OutOfDate),
        ],
        vec![identity(
            1,
            &[
                (8, T::UpToDate),
                (6, T::UpToDate),
                (4, T::OutOfDate),
                (2, T::Revoked),
            ],
        )],
    );
    let qe = qe(&[(8, T::UpToDate), (6, T::OutOfDate)]);
    let engine = TcbEngine::new(&info, Some(&qe));
    let subject = TcbSubject {
        qe_isv_svn: Some(5),
        ..tdx_subject(&[5], &[3, 1, 3], 9)
    };
    let all = shortfalls(&engine, &subject);
    let module = |need| {
        (
            ShortComponent::TdxModuleIsvSvn { major_version: 1 },
            3,
            need,
        )
    };
    let part = all.tdx_module.as_ref().expect("a module");
    assert_eq!(next(part), Some((T::OutOfDate, vec![module(4)])));
    // Both have one short component: not the fewest alone, so the closest.
    assert_eq!(best(part), Some((T::UpToDate, vec![module(6)])));
    let part = all.qe.as_ref().expect("a quoting enclave");
    assert_eq!(part.status, None);
    let isv_svn = |need| vec![(ShortComponent::QeIsvSvn, 5, need)];
    assert_eq!(next(part), Some((T::OutOfDate, isv_svn(6))));
    assert_eq!(best(part), Some((T::UpToDate, isv_svn(8))));
    // Components 0 and 1 are the module's business.
    let part = all.platform.as_ref().expect("a known status");
    let microcode = vec![(ShortComponent::Tdx(2), 3, 4)];
    assert_eq!(best(part), Some((T::UpToDate, microcode)));
    assert_eq!(all.short_of_up_to_date().count(), 3);
    for one in all.short_of_next_better() {
        assert_eq!(one.actor(), Actor::HostOperator, "{one:?}");
    }

    let version_0 = shortfalls(&engine, &tdx_subject(&[5], &[8, 0, 4], 9));
    assert_eq!((&version_0.tdx_module, &version_0.qe), (&None, &None));
    let part = version_0.platform.expect("a known status");
    let module = vec![(ShortComponent::Tdx(0), 8, 9)];
    assert_eq!(best(&part), Some((T::UpToDate, module)));
    let unknown = shortfalls(&engine, &super::super::made_levels::subject(&[1], 9));
    assert_eq!((unknown.platform, unknown.tdx_module), (None, None));
}

#[test]
fn relaunch_is_a_need() {
    let info = info(
        vec![tdx_level(&[5], &[9, 0, 4], 9, T::ConfigurationNeeded)],
        vec![identity(1, &[(6, T::UpToDate), (4, T::OutOfDate)])],
    );
    let launch = tdx_subject(&[5], &[4, 1, 4], 9);
    let now = tdx_subject(&[5], &[6, 1, 4], 9).tee_tcb_svn;
    let subject = TcbSubject {
        tee_tcb_svn2: now,
        ..launch
    };
    let engine = TcbEngine::new(&info, None);
    let needs = shortfalls(&engine, &subject).needs;
    assert_eq!(needs, [Need::Configuration, Need::Relaunch]);
    assert_eq!(shortfalls(&engine, &launch).needs, [Need::Configuration]);
}

#[test]
fn labels_are_the_documents_or_said_to_be_by_convention() {
    let mut info = info(
        vec![sgx_level(&[5, 5, 5, 5, 5, 5, 5, 5], 9, T::UpToDate)],
        vec![],
    );
    let level = info.levels.first_mut().expect("a level");
    level.sgx_components[0].category = Some("OS/VMM".into());
    level.sgx_components[1].category = Some("Somebody".into());
    let part = platform(&info, &subject(&[], 8));
    let target = part.next_better.expect("a better level");
    let labels: Vec<_> = target
        .short
        .iter()
        .map(|one| (one.labels, one.category, one.kind, one.actor()))
        .collect();
    let (by, os) = (LabelSource::Convention, Some("OS/VMM"));
    let bios = (by, Some("BIOS"), None, Actor::PlatformOwner);
    assert_eq!(
        labels,
        [
            (LabelSource::Document, os, None, Actor::HostOperator),
            (
                LabelSource::Document,
                Some("Somebody"),
                None,
                Actor::Unknown
            ),
            (by, os, Some("TXT SINIT"), Actor::HostOperator),
            bios,
            bios,
            bios,
            (by, None, None, Actor::Unknown),
            (by, os, Some("SEAMLDR ACM"), Actor::HostOperator),
            (LabelSource::Document, None, None, Actor::HostOperator),
        ]
    );
    let actions: std::collections::BTreeSet<_> =
        target.short.iter().map(Shortfall::action).collect();
    assert_eq!(actions.len(), 6);
    assert_eq!(
        target
            .short
            .first()
            .map(|one| one.action().contains("microcode")),
        Some(true)
    );
}
