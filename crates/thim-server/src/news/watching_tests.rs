use thim_verify::{EvaluationEntry, EvaluationNumbers};

use super::*;

fn at(text: &str) -> UnixTime {
    text.parse().expect("a date in a test")
}

fn lists(tees: &[Tee], issued: &str, entries: &[(u32, &str)]) -> Lists {
    let mut lists = Lists::default();
    for tee in tees {
        lists.learn(&EvaluationNumbers {
            tee: *tee,
            issued: at(issued),
            next_update: at(issued).plus_secs(30 * DAY_SECS),
            numbers: entries
                .iter()
                .map(|(number, event)| EvaluationEntry {
                    number: *number,
                    event_date: at(event),
                    tcb_date: at(event).plus_secs(DAY_SECS),
                })
                .collect(),
        });
    }
    lists
}

const OLD: (u32, &str) = (19, "2025-05-13T00:00:00Z");
const NEXT: (u32, &str) = (20, "2025-08-12T00:00:00Z");

/// Looks once; what is told, by key.
fn look(known: &mut Known, now: &str, with: impl FnOnce(&mut Look<'_>)) -> Vec<String> {
    let mut look = Look::new(known, at(now));
    with(&mut look);
    let (items, noted) = (look.items, look.noted);
    known.learn(noted);
    items.into_iter().map(|item| item.key).collect()
}

#[test]
fn a_number_is_news_when_its_list_was_there_before_without_it() {
    let mut known = Known::default();
    let now = "2026-01-01T00:00:00Z";
    let issued = "2025-12-30T00:00:00Z";
    let sgx = lists(&[Tee::Sgx], issued, &[OLD]);
    assert_eq!(look(&mut known, now, |look| look.numbers(&sgx)), [""; 0]);
    // The other TEE's first list is where it begins, though it has more.
    let both = lists(&[Tee::Sgx, Tee::Tdx], issued, &[OLD, NEXT]);
    let mut tdx_first = Known::default();
    assert_eq!(
        look(&mut tdx_first, now, |look| look.numbers(&both)),
        [""; 0]
    );
    let told = look(&mut known, now, |look| look.numbers(&both));
    assert_eq!(told, ["evaluation-number/20"]);
    assert_eq!(look(&mut known, now, |look| look.numbers(&both)), [""; 0]);
}

#[test]
fn standard_that_moves_is_told_at_each_distance_once() {
    let mut known = Known::default();
    let lists = lists(&[Tee::Tdx], "2026-06-01T00:00:00Z", &[OLD, NEXT]);
    let key = |days: u32| format!("standard-moves/20/2026-08-12/{days}");
    for (now, told) in [
        ("2026-06-12T23:59:59Z", None),
        ("2026-06-13T00:00:00Z", Some(60)),
        ("2026-06-14T00:00:00Z", None),
        ("2026-07-13T00:00:00Z", Some(30)),
        ("2026-08-04T23:59:59Z", None),
        ("2026-08-05T00:00:00Z", Some(7)),
        ("2026-08-11T00:00:00Z", None),
        ("2026-08-12T00:00:00Z", None),
    ] {
        let found = look(&mut known, now, |look| look.standard_moves(&lists));
        assert_eq!(
            found,
            told.map(key).into_iter().collect::<Vec<_>>(),
            "{now}"
        );
    }
    // Who begins to look five days before is told once.
    let mut late = Known::default();
    let now = "2026-08-07T00:00:00Z";
    let found = look(&mut late, now, |look| look.standard_moves(&lists));
    assert_eq!(found, [key(7)]);
    assert_eq!(
        look(&mut late, now, |look| look.standard_moves(&lists)),
        [""; 0]
    );
}

#[test]
fn a_source_that_calls_another_number_standard_is_told_of_once() {
    let lists = lists(&[Tee::Sgx], "2026-08-01T00:00:00Z", &[OLD, NEXT]);
    let said = |number: u32, when: &str| SaidStandard {
        subject: "intel/enclave-identity/qe".to_owned(),
        number,
        at: at(when),
    };
    for (one, told) in [
        (said(19, "2026-08-05T00:00:00Z"), None),
        (
            said(20, "2026-08-05T00:00:00Z"),
            Some("standard-differs/20/19"),
        ),
        // A day early or late is no difference.
        (said(20, "2026-08-11T12:00:00Z"), None),
        (said(19, "2026-08-12T23:00:00Z"), None),
        (
            said(19, "2026-08-14T00:00:00Z"),
            Some("standard-differs/19/20"),
        ),
        // It spoke before the list was signed.
        (said(20, "2026-07-31T00:00:00Z"), None),
    ] {
        let mut known = Known::default();
        let now = "2026-08-20T00:00:00Z";
        let found = look(&mut known, now, |look| {
            look.said_standard(&lists, std::slice::from_ref(&one))
        });
        assert_eq!(found, told.into_iter().collect::<Vec<_>>(), "{one:?}");
        let again = look(&mut known, now, |look| {
            look.said_standard(&lists, std::slice::from_ref(&one))
        });
        assert_eq!(again, [""; 0]);
    }
}

#[test]
fn an_amd_list_is_news_by_its_number_and_its_entries() {
    let seen = |number: u64, serials: &[u8]| AmdCrlSeen {
        product: Product::Milan,
        number,
        this_update: at("2026-01-01T00:00:00Z"),
        revoked: serials.iter().map(|serial| vec![*serial]).collect(),
    };
    let mut known = Known::default();
    let mut tell = |one: AmdCrlSeen| {
        look(&mut known, "2026-02-01T00:00:00Z", |look| {
            look.amd_crl(&one)
        })
        .len()
    };
    assert_eq!(tell(seen(3, &[])), 0, "where it begins");
    assert_eq!(tell(seen(3, &[])), 0);
    assert_eq!(tell(seen(4, &[])), 1, "another number");
    assert_eq!(tell(seen(4, &[7])), 1, "more entries");
    assert_eq!(tell(seen(3, &[])), 0, "an older one");
    assert_eq!(tell(seen(4, &[7])), 0);
}

#[test]
fn product_lines_and_counts_below_are_told_when_they_change() {
    let mut known = Known::default();
    let now = "2026-02-01T00:00:00Z";
    let first = [Product::Milan];
    let both = [Product::Milan, Product::Turin];
    assert_eq!(
        look(&mut known, now, |look| look.amd_products(&first, &[])),
        [""; 0]
    );
    let told = look(&mut known, now, |look| look.amd_products(&both, &first));
    assert_eq!(
        told,
        ["amd-product/Turin/served", "amd-product/Milan/registered"]
    );

    let count = |below: u64| BelowCount {
        scope: Scope::Default,
        tee: BaselineTee::Tdx,
        below,
        unknown: 1,
        total: 22,
    };
    for (below, told) in [
        (0, None),
        (7, Some(format!("below/default/tdx/7/{now}"))),
        (7, None),
        (0, Some(format!("below/default/tdx/0/{now}"))),
    ] {
        let found = look(&mut known, now, |look| look.below(&[count(below)]));
        assert_eq!(found, told.into_iter().collect::<Vec<_>>(), "{below}");
    }
}

/// A TCB info of one machine type: a level for each list of advisories, best first.
fn info(number: u32, levels: &[&[&str]]) -> TcbInfo {
    TcbInfo {
        tee: Tee::Tdx,
        version: 3,
        issued: at("2026-01-01T00:00:00Z"),
        next_update: at("2026-01-31T00:00:00Z"),
        fmspc: "50806F000000".parse().expect("an FMSPC"),
        pce_id: "0000".parse().expect("a PCE id"),
        tcb_type: 0,
        number,
        levels: levels
            .iter()
            .map(|names| thim_verify::TcbLevel {
                sgx_components: Box::default(),
                pce_svn: 0,
                tdx_components: None,
                tcb_date: at("2025-05-14T00:00:00Z"),
                status: thim_verify::TcbStatus::OutOfDate,
                advisory_ids: names
                    .iter()
                    .map(|name| name.parse().expect("an advisory"))
                    .collect(),
            })
            .collect(),
        tdx_module: None,
        tdx_module_identities: Vec::new(),
    }
}

#[test]
fn advisories_are_news_after_the_first_look_and_ends_of_servicing_at_once() {
    let now = "2026-02-01T00:00:00Z";
    let mut known = Known::default();
    let mut tell = |info: &TcbInfo, lowest_reached: Option<usize>| {
        let fleet = FleetTcbInfo {
            info,
            lowest_reached,
        };
        look(&mut known, now, |look| look.tcb_info(fleet, Some(20)))
    };
    let (old, more) = ("INTEL-SA-00001", "INTEL-SA-00002");
    assert_eq!(tell(&info(19, &[&[], &[old]]), None), [""; 0]);
    // Another document that was there at the first look, and came later.
    assert_eq!(tell(&info(20, &[&[], &[old, more]]), None), [""; 0]);
    // Its next edition, and a new number.
    let third = "INTEL-SA-00003";
    let told = tell(&info(20, &[&[], &[third]]), None);
    assert_eq!(told, ["advisories/tdx/50806F000000/20/INTEL-SA-00003/1"]);
    let told = tell(&info(21, &[&[], &[third, "INTEL-SA-00004"]]), None);
    assert_eq!(told, ["advisories/tdx/50806F000000/21/INTEL-SA-00004/1"]);
    // A mark below what the fleet reaches is no news; one that it can reach is, once.
    let ended = info(21, &[&[], &["INTEL-DOC-10000"], &["INTEL-DOC-10001"]]);
    assert_eq!(tell(&ended, Some(0)), [""; 0]);
    let key = |name: &str| format!("end-of-servicing/tdx/50806F000000/{name}");
    assert_eq!(tell(&ended, Some(1)), [key("INTEL-DOC-10000")]);
    assert_eq!(tell(&ended, None), [key("INTEL-DOC-10001")]);
    assert_eq!(tell(&ended, None), [""; 0]);
    // The document of updates for no reason of security marks no end.
    assert_eq!(tell(&info(21, &[&["INTEL-DOC-10003"]]), None).len(), 1);
}
