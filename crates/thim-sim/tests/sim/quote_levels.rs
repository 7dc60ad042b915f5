//! What a relying party finds when it judges a simulated platform by a simulated TCB info: up to date under one
//! evaluation number, out of date under the next. Comparison by spec/intel-verification.md sections 4 and 5.

use crate::client::*;
use crate::proof::*;
use crate::quote_proof::*;
use serde_json::Value;
use thim_sim::{Management, QuoteBody, QuoteSpec, QuoteVersion, TdSpec};
use x509_cert::Certificate;

/// The SVNs of a PCK certificate: components, then PCESVN. All are small: one byte of DER each.
fn pck_svns(leaf: &Certificate) -> ([u64; 16], u64) {
    let svn = |number| u64::from(*sgx_item(leaf, &[2, number]).unwrap().last().unwrap());
    (std::array::from_fn(|index| svn(index as u8 + 1)), svn(17))
}

fn reaches(have: &[u64], wanted: &Value) -> bool {
    let wanted = wanted.as_array().unwrap().iter();
    wanted
        .zip(have)
        .all(|(wanted, have)| *have >= wanted["svn"].as_u64().unwrap())
}

/// Platform level and, for a TD, the module's.
struct Found<'a> {
    level: &'a Value,
    module: Option<&'a Value>,
}

fn judge<'a>(tcb_info: &'a Value, leaf: &Certificate, tee_tcb_svn: Option<&[u8]>) -> Found<'a> {
    let (components, pcesvn) = pck_svns(leaf);
    let tee: Option<Vec<u64>> =
        tee_tcb_svn.map(|svns| svns.iter().map(|svn| u64::from(*svn)).collect());
    let sgx = |tcb: &Value| {
        reaches(&components, &tcb["sgxtcbcomponents"]) && pcesvn >= tcb["pcesvn"].as_u64().unwrap()
    };
    let tdx = |tcb: &Value| match &tee {
        None => true,
        Some(tee) => {
            // The module is judged by its identity.
            let wanted = Value::from(tcb["tdxtcbcomponents"].as_array().unwrap()[2..].to_vec());
            reaches(&tee[2..], &wanted)
        }
    };
    let mut levels = tcb_info["tcbLevels"].as_array().unwrap().iter();
    let level = levels
        .find(|level| sgx(&level["tcb"]) && tdx(&level["tcb"]))
        .unwrap();
    let module = tee.map(|tee| {
        let id = format!("TDX_{:02X}", tee[1]);
        let identities = tcb_info["tdxModuleIdentities"].as_array().unwrap();
        let identity = identities
            .iter()
            .find(|identity| identity["id"] == id)
            .unwrap();
        let mut levels = identity["tcbLevels"].as_array().unwrap().iter();
        levels
            .find(|level| level["tcb"]["isvsvn"].as_u64().unwrap() <= tee[0])
            .unwrap()
    });
    Found { level, module }
}

fn status(found: &Found) -> (String, Option<String>) {
    let text = |value: &Value| value["tcbStatus"].as_str().unwrap().to_owned();
    (text(found.level), found.module.map(text))
}

async fn tdx_info(s: &Simulated, number: u32) -> Value {
    let target = format!("{TDX_TCB}&tcbEvaluationDataNumber={number}");
    tcb_info(&s.get(&target).await, s.sim.root_pem())
}

fn td_15(management: &Management, name: &str, td: TdSpec) -> Vec<u8> {
    let spec = QuoteSpec {
        td,
        ..QuoteSpec::new(QuoteVersion::V5, QuoteBody::Td15)
    };
    management.quote(name, &spec).unwrap()
}

#[tokio::test]
async fn a_fleet_is_up_to_date_under_one_number_and_not_under_the_next() {
    let s = Simulated::start().await;
    let m = s.management();
    let name = s.platform_of(TDX_FMSPC).name;
    let both = |word: &str| (word.to_owned(), Some(word.to_owned()));
    for (upgraded, number, expected) in [
        (false, 18, "UpToDate"),
        (false, 19, "UpToDate"),
        (false, 20, "OutOfDate"),
        (true, 20, "UpToDate"),
    ] {
        if upgraded {
            m.upgrade(&name).unwrap();
        }
        let info = tdx_info(&s, number).await;
        let quote = td_15(&m, &name, TdSpec::default());
        let parts = parts(&quote);
        let found = judge(&info, &parts.certificates()[0], Some(&parts.body[..16]));
        assert_eq!(status(&found), both(expected), "{number}");
        let advised = |value: &Value| value.get("advisoryIDs").is_some();
        let expected = expected == "OutOfDate";
        assert_eq!(advised(found.level), expected);
        assert_eq!(found.module.map(advised), Some(expected));
    }
    // And after a recovery the upgraded fleet is behind again.
    let number = m.recovery(0).unwrap();
    let info = tdx_info(&s, number).await;
    let quote = td_15(&m, &name, TdSpec::default());
    let parts = parts(&quote);
    let found = judge(&info, &parts.certificates()[0], Some(&parts.body[..16]));
    assert_eq!(status(&found), both("OutOfDate"));
}

#[tokio::test]
async fn sgx_quotes_follow_the_numbers_too() {
    let s = Simulated::start().await;
    let spec = QuoteSpec::default();
    let quote = s.quote_of(TDX_FMSPC, &spec);
    let leaf = parts(&quote).certificates().remove(0);
    for (number, expected) in [(19, "UpToDate"), (20, "OutOfDate")] {
        let target = format!("{SGX_TCB}&tcbEvaluationDataNumber={number}");
        let info = tcb_info(&s.get(&target).await, s.sim.root_pem());
        let found = judge(&info, &leaf, None);
        assert_eq!(status(&found), (expected.to_owned(), None));
    }
}

#[tokio::test]
async fn both_modules_rise_with_the_number_and_an_old_launch_is_told_apart() {
    let s = Simulated::start().await;
    let m = s.management();
    let name = s.platform_of(TDX_FMSPC).name;
    let current = m.upgrade(&name).unwrap().tee_tcb_svn.unwrap();
    let mut newest = Vec::new();
    for number in [18, 19, 20] {
        let info = tdx_info(&s, number).await;
        let identities = info["tdxModuleIdentities"].as_array().unwrap();
        let svns: Vec<_> = identities
            .iter()
            .map(|identity| {
                let levels = identity["tcbLevels"].as_array().unwrap();
                let svn = |level: &Value| level["tcb"]["isvsvn"].as_u64().unwrap();
                assert!(levels.is_sorted_by(|newer, older| svn(newer) > svn(older)));
                assert_eq!(levels[0]["tcbStatus"], "UpToDate");
                for level in &levels[1..] {
                    assert_eq!(level["tcbStatus"], "OutOfDate");
                    assert!(!level["advisoryIDs"].as_array().unwrap().is_empty());
                }
                svn(&levels[0])
            })
            .collect();
        newest.push(svns);
    }
    assert_eq!(newest, [[5, 6], [6, 7], [7, 8]]);
    assert_eq!(current[..2], [8, 1]);

    // A TD launched before the module's update: the module of its launch is out of date, the current one is not.
    let mut launch = current;
    launch[0] -= 1;
    let td = TdSpec {
        tee_tcb_svn: Some(launch),
        ..TdSpec::default()
    };
    let quote = td_15(&m, &name, td);
    let parts = parts(&quote);
    let info = tdx_info(&s, 20).await;
    let leaf = &parts.certificates()[0];
    let word = |word: &str| word.to_owned();
    let found = judge(&info, leaf, Some(&parts.body[..16]));
    assert_eq!(status(&found), (word("UpToDate"), Some(word("OutOfDate"))));
    let found = judge(&info, leaf, Some(&parts.body[584..600]));
    assert_eq!(status(&found), (word("UpToDate"), Some(word("UpToDate"))));
}

#[tokio::test]
async fn components_say_who_must_update_them() {
    let s = Simulated::start().await;
    let info = tdx_info(&s, 20).await;
    let early = (Some("BIOS"), Some("Early Microcode Update"));
    let bios = (Some("BIOS"), None);
    let host = |kind| (Some("OS/VMM"), Some(kind));
    let sgx = [
        early,
        host("SGX Late Microcode Update"),
        host("TXT SINIT"),
        bios,
        bios,
        bios,
        (None, None),
        host("SEAMLDR ACM"),
    ];
    let tdx = [
        host("TDX Module"),
        host("TDX Module"),
        host("TDX Late Microcode Update"),
    ];
    for level in info["tcbLevels"].as_array().unwrap() {
        for (list, labels) in [
            ("sgxtcbcomponents", &sgx[..]),
            ("tdxtcbcomponents", &tdx[..]),
        ] {
            let components = level["tcb"][list].as_array().unwrap();
            assert_eq!(components.len(), 16);
            for (index, component) in components.iter().enumerate() {
                let said = (component["category"].as_str(), component["type"].as_str());
                let expected = labels.get(index).copied().unwrap_or((None, None));
                assert_eq!(said, expected, "{list} {index}");
            }
        }
    }
}
