//! The sentinel's table: each rule, and its nearest miss.

use super::*;

const DAY: i64 = 86_400;
const POLICY: Policy = Policy {
    hold_secs: 3 * DAY,
    serve_expired: ServeExpired::For(7 * DAY),
};

fn at(secs: i64) -> UnixTime {
    UnixTime::from_secs(secs)
}

/// A CRL edition issued at `issued`, valid 30 days, admitted a minute later, revoking `serials`.
fn crl(issued: i64, serials: &[u8], state: State) -> Seen {
    Seen {
        id: Digest::of(format!("{issued} {serials:?}").as_bytes()),
        issued: at(issued),
        next_update: at(issued + 30 * DAY),
        signer_key: Digest::of(b"signer"),
        state,
        admitted: at(issued + 60),
        revoked: Some(serials.iter().map(|serial| vec![*serial]).collect()),
        number: None,
    }
}

fn history(editions: &[Seen]) -> History {
    let mut history = History::default();
    for seen in editions {
        history.insert(seen.clone());
    }
    history
}

fn candidate(seen: Seen) -> Candidate {
    Candidate {
        seen,
        chain_fault: None,
        unchecked: false,
    }
}

fn judged(
    candidate: &Candidate,
    history: &History,
    origin: Origin,
    now: i64,
) -> (String, Vec<&'static str>) {
    match judge(candidate, history, origin, at(now), &POLICY, &|_| false) {
        Judgement::Admit { state, remarks, .. } => (
            state.to_string(),
            remarks.iter().map(|remark| remark.name).collect(),
        ),
        Judgement::Known => ("known".to_owned(), vec![]),
        Judgement::Refuse(remark) => ("refused".to_owned(), vec![remark.name]),
    }
}

/// Name, candidate, origin, now, verdict, remarks.
type Case = (
    &'static str,
    Candidate,
    Origin,
    i64,
    &'static str,
    Vec<&'static str>,
);

#[test]
fn admission_table() {
    use Origin::{Import, Upstream};
    let base = history(&[
        crl(0, &[1, 2], State::Superseded),
        crl(10 * DAY, &[1, 2, 3], State::Current),
    ]);
    let other_key = Seen {
        signer_key: Digest::of(b"other"),
        ..crl(11 * DAY, &[1, 2, 3], State::Current)
    };
    let chainless = Candidate {
        chain_fault: Some("expired".to_owned()),
        ..candidate(crl(11 * DAY, &[1, 2, 3], State::Current))
    };
    let unchecked = Candidate {
        unchecked: true,
        ..candidate(crl(11 * DAY, &[1, 2, 3], State::Current))
    };
    let cases: Vec<Case> = vec![
        (
            "the same again",
            candidate(crl(10 * DAY, &[1, 2, 3], State::Current)),
            Upstream,
            11 * DAY,
            "known",
            vec![],
        ),
        (
            "an old one again",
            candidate(crl(0, &[1, 2], State::Current)),
            Upstream,
            11 * DAY,
            "refused",
            vec!["edition.older"],
        ),
        (
            "newer, same set",
            candidate(crl(11 * DAY, &[1, 2, 3], State::Current)),
            Upstream,
            12 * DAY,
            "current",
            vec![],
        ),
        (
            "issued this second",
            candidate(crl(11 * DAY, &[1, 2, 3], State::Current)),
            Upstream,
            11 * DAY,
            "current",
            vec![],
        ),
        (
            "issued next second",
            candidate(crl(11 * DAY + 1, &[1, 2, 3], State::Current)),
            Upstream,
            11 * DAY,
            "refused",
            vec!["edition.future"],
        ),
        (
            "same date, other body",
            candidate(crl(10 * DAY, &[1], State::Current)),
            Upstream,
            11 * DAY,
            "refused",
            vec!["edition.conflict"],
        ),
        (
            "same date, imported",
            candidate(crl(10 * DAY, &[1], State::Current)),
            Import,
            11 * DAY,
            "refused",
            vec!["edition.conflict"],
        ),
        (
            "older from upstream",
            candidate(crl(9 * DAY, &[1, 2, 3], State::Current)),
            Upstream,
            11 * DAY,
            "refused",
            vec!["edition.older"],
        ),
        (
            "older by import",
            candidate(crl(9 * DAY, &[1, 2, 3], State::Current)),
            Import,
            11 * DAY,
            "superseded",
            vec![],
        ),
        (
            "more revoked",
            candidate(crl(11 * DAY, &[1, 2, 3, 4], State::Current)),
            Upstream,
            12 * DAY,
            "current",
            vec!["crl.revoked"],
        ),
        (
            "one un-revoked",
            candidate(crl(11 * DAY, &[1, 2], State::Current)),
            Upstream,
            12 * DAY,
            "held",
            vec!["crl.unrevoked", "hold.started"],
        ),
        (
            "one swapped",
            candidate(crl(11 * DAY, &[1, 2, 4], State::Current)),
            Import,
            12 * DAY,
            "held",
            vec!["crl.revoked", "crl.unrevoked", "hold.started"],
        ),
        (
            "un-revoked, last-good ends in 24 h",
            candidate(crl(38 * DAY, &[1], State::Current)),
            Upstream,
            39 * DAY,
            "current",
            vec!["crl.unrevoked"],
        ),
        (
            "un-revoked, last-good ends in 24 h and 1 s",
            candidate(crl(38 * DAY, &[1], State::Current)),
            Upstream,
            39 * DAY - 1,
            "held",
            vec!["crl.unrevoked", "hold.started"],
        ),
        (
            "key changed",
            candidate(other_key),
            Upstream,
            12 * DAY,
            "current",
            vec!["signer.changed"],
        ),
        (
            "expired from upstream",
            candidate(crl(11 * DAY, &[1, 2, 3], State::Current)),
            Upstream,
            41 * DAY,
            "refused",
            vec!["edition.expired"],
        ),
        (
            "expired by import",
            candidate(crl(11 * DAY, &[1, 2, 3], State::Current)),
            Import,
            41 * DAY,
            "archived",
            vec![],
        ),
        (
            "chain over, upstream",
            chainless.clone(),
            Upstream,
            12 * DAY,
            "refused",
            vec!["edition.unverified"],
        ),
        (
            "chain over, import",
            chainless,
            Import,
            12 * DAY,
            "archived",
            vec![],
        ),
        (
            "no root CRL",
            unchecked,
            Upstream,
            12 * DAY,
            "current",
            vec!["revocation.unchecked"],
        ),
    ];
    for (name, candidate, origin, now, verdict, remarks) in cases {
        assert_eq!(
            judged(&candidate, &base, origin, now),
            (verdict.to_owned(), remarks),
            "{name}"
        );
    }
    assert_eq!(
        judged(
            &candidate(crl(5, &[], State::Current)),
            &History::default(),
            Origin::Upstream,
            5
        )
        .0,
        "current"
    );
}

#[test]
fn a_quarantined_edition_still_bars_what_is_older_than_it() {
    let base = history(&[
        crl(0, &[1], State::Superseded),
        crl(10 * DAY, &[1], State::Quarantined),
    ]);
    let older = candidate(crl(9 * DAY, &[1], State::Current));
    assert_eq!(
        judged(&older, &base, Origin::Upstream, 11 * DAY),
        ("refused".to_owned(), vec!["edition.older"])
    );
    let newer = candidate(crl(11 * DAY, &[1], State::Current));
    assert_eq!(
        judged(&newer, &base, Origin::Upstream, 11 * DAY).0,
        "current"
    );
}

#[test]
fn a_removal_of_expired_certificates_is_reported_and_not_held() {
    let base = history(&[crl(0, &[1, 2], State::Current)]);
    let new = candidate(crl(DAY, &[2], State::Current));
    let expired = |serial: &Serial| serial == &[1];
    match judge(&new, &base, Origin::Upstream, at(DAY), &POLICY, &expired) {
        Judgement::Admit {
            state: State::Current,
            remarks,
            ..
        } => {
            assert_eq!(
                remarks.iter().map(|remark| remark.name).collect::<Vec<_>>(),
                ["crl.removed-expired"]
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn hold_zero_never_holds() {
    let base = history(&[crl(0, &[1, 2], State::Current)]);
    let policy = Policy {
        hold_secs: 0,
        ..POLICY
    };
    let verdict = judge(
        &candidate(crl(DAY, &[], State::Current)),
        &base,
        Origin::Upstream,
        at(DAY),
        &policy,
        &|_| false,
    );
    assert!(
        matches!(
            verdict,
            Judgement::Admit {
                state: State::Current,
                ..
            }
        ),
        "{verdict:?}"
    );
}

fn states_after(editions: &[Seen], now: i64, policy: &Policy) -> Vec<String> {
    let mut history = history(editions);
    for change in settle(&history, at(now), policy) {
        history.apply(&change);
    }
    assert_eq!(
        settle(&history, at(now), policy),
        vec![],
        "a second call finds nothing"
    );
    history
        .editions
        .iter()
        .map(|seen| seen.state.to_string())
        .collect()
}

#[test]
fn a_hold_lapses_with_time_alone_and_not_a_second_earlier() {
    let editions = [crl(0, &[1, 2], State::Current), crl(DAY, &[1], State::Held)];
    let lapse = DAY + 60 + 3 * DAY;
    assert_eq!(
        states_after(&editions, lapse - 1, &POLICY),
        ["current", "held"]
    );
    assert_eq!(
        states_after(&editions, lapse, &POLICY),
        ["superseded", "current"]
    );
}

#[test]
fn three_later_agreeing_editions_release_and_two_or_a_disagreeing_one_do_not() {
    let long = Policy {
        hold_secs: 60 * DAY,
        ..POLICY
    };
    let mut editions = vec![
        crl(0, &[1, 2], State::Current),
        crl(DAY, &[1], State::Held),
        crl(2 * DAY, &[1], State::Held),
        crl(3 * DAY, &[1, 3], State::Held),
    ];
    assert_eq!(
        states_after(&editions, 4 * DAY, &long),
        ["current", "held", "held", "held"]
    );
    let mut disagreeing = editions.clone();
    disagreeing.push(crl(4 * DAY, &[1, 2], State::Quarantined));
    assert_eq!(
        states_after(&disagreeing, 5 * DAY, &long),
        ["current", "held", "held", "held", "quarantined"]
    );
    editions.push(crl(4 * DAY, &[1], State::Held));
    // The last one drops serial 3, which the one before it had added: that is a hold of its own.
    assert_eq!(
        states_after(&editions, 5 * DAY, &long),
        ["superseded", "superseded", "superseded", "current", "held"]
    );
}

#[test]
fn a_held_edition_gives_way_to_a_newer_one_that_restores() {
    let editions = [
        crl(0, &[1, 2], State::Superseded),
        crl(DAY, &[1], State::Held),
        crl(2 * DAY, &[1, 2], State::Current),
    ];
    assert_eq!(
        states_after(&editions, 2 * DAY, &POLICY),
        ["superseded", "superseded", "current"]
    );
}

#[test]
fn a_hold_ends_when_the_last_good_edition_does() {
    let editions = [
        crl(0, &[1, 2], State::Current),
        crl(28 * DAY, &[1], State::Held),
    ];
    assert_eq!(
        states_after(&editions, 29 * DAY - 1, &POLICY),
        ["current", "held"]
    );
    assert_eq!(
        states_after(&editions, 29 * DAY, &POLICY),
        ["superseded", "current"]
    );
}

#[test]
fn an_edition_past_its_grace_is_archived() {
    let editions = [crl(0, &[1], State::Current)];
    assert_eq!(states_after(&editions, 37 * DAY - 1, &POLICY), ["current"]);
    assert_eq!(states_after(&editions, 37 * DAY, &POLICY), ["archived"]);
    let always = Policy {
        serve_expired: ServeExpired::Always,
        ..POLICY
    };
    assert_eq!(states_after(&editions, 3700 * DAY, &always), ["current"]);
}

#[test]
fn the_next_settlement_is_the_nearest_deadline() {
    let editions = history(&[crl(0, &[1, 2], State::Current), crl(DAY, &[1], State::Held)]);
    assert_eq!(
        next_settlement(&editions, at(2 * DAY), &POLICY),
        Some(at(DAY + 60 + 3 * DAY))
    );
    assert_eq!(
        next_settlement(&history(&[crl(0, &[1], State::Current)]), at(0), &POLICY),
        Some(at(29 * DAY))
    );
    assert_eq!(
        next_settlement(
            &history(&[crl(0, &[1], State::Current)]),
            at(29 * DAY),
            &POLICY
        ),
        Some(at(37 * DAY))
    );
    assert_eq!(next_settlement(&History::default(), at(0), &POLICY), None);
}

#[test]
fn a_missed_cadence_is_said_once_it_is_missed() {
    assert_eq!(cadence(at(0), 7 * DAY, at(7 * DAY)), None);
    assert_eq!(
        cadence(at(0), 7 * DAY, at(7 * DAY + 1)).map(|remark| remark.name),
        Some("cadence.missed")
    );
}
