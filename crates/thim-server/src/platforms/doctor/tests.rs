//! Which cause comes first, fact by fact; the simulator's side of it is in tests/doctor.rs.

use super::*;
use crate::platforms::PlatformRefusal;
use thim_verify::{Digest, PckCa};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn raw(last: &str) -> RawTcb {
    format!("{}{last}", "01".repeat(16)).parse().expect("a TCB")
}

fn certificate(tcbm: &str) -> PckRow {
    PckRow {
        digest: Digest::of(tcbm.as_bytes()),
        tcbm: raw(tcbm),
        serial: "01".to_owned(),
        ca: PckCa::Processor,
        not_after: NOW.plus_secs(1),
        admitted: NOW,
        source: "https://vendor".to_owned(),
        retired: None,
        revoked: None,
    }
}

fn seen(tcb: &str, gets: Gets) -> (RawTcbRow, Gets) {
    let row = RawTcbRow {
        qe_id: "A0".to_owned(),
        tcb: raw(tcb),
        first: NOW,
        last: NOW,
        told: None,
    };
    (row, gets)
}

fn sighting(cause: Cause, encrypted_ppid: SeenPpid) -> Sighting {
    Sighting {
        at: NOW,
        encrypted_ppid,
        raw_tcb: Some(raw("0100")),
        refusal: PlatformRefusal::new(cause, "so it is"),
    }
}

fn line(cause: Cause, at: UnixTime) -> TimelineRow {
    TimelineRow {
        at,
        state: PlatformState::Ready,
        cause,
        text: "it happened".to_owned(),
    }
}

/// A platform that wants nothing.
fn healthy() -> Known {
    Known {
        row: PlatformRow {
            ppid_hash: Some("hash".to_owned()),
            fmspc: Some("50806F53494D".parse().expect("an FMSPC")),
            ca: Some(PckCa::Processor),
            state: PlatformState::Ready,
            detail: "2 certificates".to_owned(),
            fetched: Some(NOW),
            fetched_number: 18,
            due: Some(NOW),
            ..PlatformRow::new(
                "0123456789abcdef".to_owned(),
                "0000".parse().expect("a PCE id"),
                NOW,
            )
        },
        names: vec![AliasRow {
            qe_id: "A0".to_owned(),
            pce_id: "0000".parse().expect("a PCE id"),
            platform: "0123456789abcdef".to_owned(),
            strong: true,
            since: NOW,
        }],
        certificates: vec![certificate("0200"), certificate("0100")],
        gaps: Vec::new(),
        raw_tcbs: vec![seen("0200", Gets::Certificate(0))],
        in_vain: None,
        timeline: vec![line(Cause::None, NOW)],
        collateral: vec![piece("intel/root-crl", Held::Fresh)],
    }
}

fn piece(what: &str, held: Held) -> Piece {
    Piece {
        what: what.to_owned(),
        held,
    }
}

fn facts(known: Option<Known>) -> Facts {
    Facts {
        now: NOW,
        asked: Some((
            "A0".parse().expect("a QE id"),
            "0000".parse().expect("a PCE id"),
        )),
        known,
        sighting: None,
        refused: None,
        fetches: true,
        upstreams: vec![("https://vendor".to_owned(), true)],
    }
}

fn cause(facts: &Facts) -> Cause {
    diagnose(facts).cause.parse().expect("a cause")
}

fn known(change: impl FnOnce(&mut Known)) -> Cause {
    let mut known = healthy();
    change(&mut known);
    cause(&facts(Some(known)))
}

#[test]
fn a_platform_that_wants_nothing_is_healthy_and_each_fact_alone_is_its_cause() {
    assert_eq!(known(|_| {}), Cause::None);
    assert_eq!(
        known(|known| known.certificates[0].revoked = Some(NOW)),
        Cause::CertificateRevoked
    );
    assert_eq!(
        known(|known| known.certificates[1].revoked = Some(NOW)),
        Cause::None,
        "it gets the other one"
    );
    assert_eq!(
        known(|known| {
            known.raw_tcbs.clear();
            known.certificates[0].revoked = Some(NOW);
        }),
        Cause::None,
        "nobody knows which it gets, and one is left"
    );
    assert_eq!(
        known(|known| {
            known.raw_tcbs.clear();
            for certificate in &mut known.certificates {
                certificate.revoked = Some(NOW);
            }
        }),
        Cause::CertificateRevoked
    );
    assert_eq!(
        known(|known| known.certificates[0].not_after = NOW),
        Cause::Untrusted
    );
    assert_eq!(
        known(|known| known.raw_tcbs[0].1 = Gets::Nothing),
        Cause::TcbTooLow
    );
    assert_eq!(
        known(|known| known.in_vain = Some((raw("0000"), Gets::Nothing))),
        Cause::None,
        "anybody may ask with anything"
    );
    assert_eq!(
        known(|known| {
            known.raw_tcbs.clear();
            known.in_vain = Some((raw("0000"), Gets::Nothing));
        }),
        Cause::TcbTooLow,
        "nothing else is known"
    );
    assert_eq!(
        known(|known| {
            known.raw_tcbs.clear();
            known.in_vain = Some((raw("0000"), Gets::Certificate(1)));
        }),
        Cause::None,
        "what was refused then is served now"
    );
    assert_eq!(
        known(|known| known.raw_tcbs.push(seen("0000", Gets::Nothing))),
        Cause::None,
        "what it ran before does not count"
    );
    for held in [Held::Missing, Held::Expired { since: NOW }] {
        assert_eq!(
            known(|known| known
                .collateral
                .push(piece("intel/pck-crl/processor", held))),
            Cause::CollateralMissing
        );
    }
    assert_eq!(
        known(|known| known.row.cause = Cause::ManifestStale),
        Cause::ManifestStale
    );
    for (gap, cause) in [
        (Gap::NotAvailable, Cause::None),
        (Gap::Quarantined, Cause::Untrusted),
    ] {
        let gap = GapRow {
            tcbm: raw("0300"),
            gap,
            why: "so it is".to_owned(),
        };
        assert_eq!(known(|known| known.gaps.push(gap)), cause);
    }
}

#[test]
fn what_was_last_registered_counts_and_not_what_open_requests_make_up() {
    let told = |tcb: &str, gets, at: i64| {
        let (row, gets) = seen(tcb, gets);
        let told = Some(NOW.plus_secs(at));
        (RawTcbRow { told, ..row }, gets)
    };
    let fine = Gets::Certificate(1);
    for (rows, expected) in [
        // The newest first.
        (
            vec![seen("0200", Gets::Nothing), told("0100", fine, -2)],
            Cause::None,
        ),
        (
            vec![seen("0200", fine), told("0000", Gets::Nothing, -2)],
            Cause::TcbTooLow,
        ),
        // Somebody asked again with what it ran before.
        (
            vec![told("0100", fine, -2), told("0000", Gets::Nothing, -1)],
            Cause::TcbTooLow,
        ),
        (
            vec![told("0000", Gets::Nothing, -2), told("0100", fine, -1)],
            Cause::None,
        ),
        (vec![seen("0000", Gets::Nothing)], Cause::TcbTooLow),
    ] {
        let mut known = healthy();
        known.raw_tcbs = rows.clone();
        known.in_vain = Some((raw("0001"), Gets::Nothing));
        let found = diagnose(&facts(Some(known)));
        assert_eq!(found.cause, expected.name(), "{rows:?}");
        let vain = format!("in vain with raw TCB {}", raw("0001"));
        assert!(found.evidence.iter().any(|line| line.contains(&vain)));
    }
}

#[test]
fn what_somebody_wanted_in_vain_counts_until_something_came_of_it() {
    let at = |secs| NOW.plus_secs(secs);
    for (secs, expected) in [
        (0, Cause::QeIdTaken),
        (1, Cause::QeIdTaken),
        (-1, Cause::None),
    ] {
        assert_eq!(
            known(|known| known.timeline.push(line(Cause::QeIdTaken, at(secs)))),
            expected,
            "{secs} s after its newest name"
        );
    }
    assert_eq!(
        known(|known| {
            known.names.clear();
            known.timeline.insert(0, line(Cause::QeIdTaken, at(-1)));
        }),
        Cause::QeIdTaken
    );
    assert_eq!(
        known(|known| known.timeline.push(line(Cause::CachedKeysPolicy, NOW))),
        Cause::CachedKeysPolicy
    );
    assert_eq!(
        known(|known| known.timeline.insert(0, line(Cause::CachedKeysPolicy, NOW))),
        Cause::None
    );
    let mut facts = facts(Some(healthy()));
    facts.refused = Some(sighting(Cause::QeIdTaken, SeenPpid::Given));
    assert_eq!(cause(&facts), Cause::QeIdTaken);
    facts.refused = Some(sighting(Cause::VendorUnavailable, SeenPpid::Given));
    assert_eq!(cause(&facts), Cause::None, "it is ready since");
}

#[test]
fn what_clients_feel_now_comes_before_what_they_will_feel_and_that_before_wishes() {
    let mut known = healthy();
    let mut found = Vec::new();
    known.timeline.push(line(Cause::CachedKeysPolicy, NOW));
    known.row.cause = Cause::VendorUnavailable;
    known
        .collateral
        .push(piece("intel/root-crl", Held::Missing));
    known.raw_tcbs[0].1 = Gets::Nothing;
    known.in_vain = None;
    let undo: [fn(&mut Known); 4] = [
        |known| known.raw_tcbs[0].1 = Gets::Certificate(0),
        |known| {
            known.collateral.pop();
        },
        |known| known.row.cause = Cause::None,
        |known| {
            known.timeline.pop();
        },
    ];
    for undo in undo {
        let mut facts = facts(Some(known));
        found.push(cause(&facts));
        known = facts.known.take().expect("it was put there");
        undo(&mut known);
    }
    found.push(cause(&facts(Some(known))));
    assert_eq!(
        found,
        [
            Cause::TcbTooLow,
            Cause::CollateralMissing,
            Cause::VendorUnavailable,
            Cause::CachedKeysPolicy,
            Cause::None,
        ]
    );
}

#[test]
fn without_certificates_the_cause_of_the_state_is_the_cause() {
    for one in Cause::ALL {
        let found = known(|known| {
            known.certificates.clear();
            known.raw_tcbs.clear();
            known.row.cause = one;
            known
                .collateral
                .push(piece("intel/root-crl", Held::Missing));
        });
        let expected = if one == Cause::None {
            Cause::Queued
        } else {
            one
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn of_what_is_not_registered_the_last_attempt_tells() {
    let mut facts = facts(None);
    assert_eq!(cause(&facts), Cause::QeIdUnknown);
    for (encrypted_ppid, expected) in [
        (SeenPpid::Absent, Cause::GuestNotHost),
        (SeenPpid::Zero, Cause::GuestNotHost),
        (SeenPpid::Given, Cause::NeedsManifest),
    ] {
        facts.sighting = Some(sighting(Cause::NeedsManifest, encrypted_ppid));
        assert_eq!(cause(&facts), expected);
    }
    // What cannot even read its TCB is no guest of a machine with SGX.
    let zero = RawTcb {
        cpu_svn: thim_verify::CpuSvn([0; 16]),
        pce_svn: thim_verify::PceSvn(0),
    };
    facts.sighting = Some(Sighting {
        raw_tcb: Some(zero),
        ..sighting(Cause::EncryptedPpidMissing, SeenPpid::Absent)
    });
    assert_eq!(cause(&facts), Cause::EncryptedPpidMissing);
    // A host that tried to register is one.
    facts.refused = Some(sighting(Cause::EncryptedPpidZero, SeenPpid::Zero));
    facts.sighting = Some(sighting(Cause::EncryptedPpidZero, SeenPpid::Zero));
    assert_eq!(cause(&facts), Cause::EncryptedPpidZero);
    facts.asked = Some((
        "00".parse().expect("a QE id"),
        "0000".parse().expect("a PCE id"),
    ));
    assert_eq!(cause(&facts), Cause::QeIdZero);
}

#[test]
fn evidence_begins_with_the_fact_that_decided_and_has_an_end() {
    let mut known = healthy();
    known.raw_tcbs[0].1 = Gets::Nothing;
    known.collateral = (0..100)
        .map(|number| piece(&number.to_string(), Held::Missing))
        .collect();
    let found = diagnose(&facts(Some(known)));
    assert!(!found.healthy);
    assert_eq!(found.platform.as_deref(), Some("0123456789abcdef"));
    let raw = raw("0200").to_string();
    assert!(found.evidence[0].contains(&raw), "{:?}", found.evidence);
    assert_eq!(found.evidence.len(), 16);
}
