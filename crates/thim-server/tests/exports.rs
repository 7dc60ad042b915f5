//! Baselines as other programs' policy: Intel's reference values, a CoRIM that a published library decodes, validates and matches, and
//! a message of Trustee's reference value provider.

mod baseline_support;
mod harness;

use baseline_support::{promote, promoted};
use corim::cbor::value::Value as Cbor;
use corim::profile::intel::{IntelProfile, MVAL_TEE_TCB_EVAL_NUM, MVAL_TEE_TCBSTATUS};
use corim::profile::{MatchContext, Profile};
use corim::types::common::ClassIdChoice;
use corim::types::measurement::{MeasurementMap, MeasurementValuesMap};
use corim::validate::decode_and_validate_at;
use data_encoding::BASE64;
use harness::{BOTH, Fleet, tcb};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_as_reference_values_of_intels_appraisal() {
    let fleet = Fleet::start().await;
    assert_eq!(fleet.get(&tcb("tdx", BOTH)).await.status, 200);
    promote(&fleet, "default", "tdx", "{ number = 19 }").await;
    promoted(
        &fleet,
        "acme",
        "tdx",
        "selector = \"early\"\naccepted_statuses = [\"UpToDate\"]",
    )
    .await
    .expect("promoted");
    promoted(&fleet, "lax", "tdx", "accepted_statuses = [\"OutOfDate\"]")
        .await
        .expect("promoted");
    let get = async |path: &str| {
        let answer = fleet.get(&format!("/thim/v1/baselines/{path}")).await;
        (
            answer.status,
            serde_json::from_slice::<Value>(&answer.body).expect("JSON"),
        )
    };
    let (status, told) = get("tdx/exports/intel-policy").await;
    assert_eq!(status, 200, "{told}");
    let reference = json!({"accepted_tcb_status": ["ConfigurationNeeded", "SWHardeningNeeded", "UpToDate"], "min_eval_num": 19});
    assert_eq!(
        told,
        json!([
            {"environment": {"class_id": "9eec018b-7481-4b1c-8e1a-9f7c0c8c777f", "description": "TDX 1.0 platform"}, "reference": reference},
            {"environment": {"class_id": "f708b97f-0fb2-4e6b-8b03-8a5bcd1221d3", "description": "TDX 1.5 platform"}, "reference": reference},
        ])
    );
    let (_, told) = get("tdx/exports/intel-policy?tenant=acme").await;
    assert_eq!(
        told[0]["reference"],
        json!({"accepted_tcb_status": ["UpToDate"], "min_eval_num": 20})
    );
    let (_, told) = get("sgx/exports/intel-policy").await;
    assert_eq!(
        (
            &told[0]["environment"]["class_id"],
            &told[0]["reference"]["min_eval_num"]
        ),
        (&json!("3123ec35-8d38-4ea5-87a5-d6c48b567570"), &json!(18))
    );
    for (path, why) in [
        (
            "tdx/exports/intel-policy?tenant=lax",
            "the baseline does not accept UpToDate",
        ),
        ("sev-snp/exports/intel-policy", "it is for sgx and tdx"),
        (
            "tdx/exports/intel-policy?tenant=nobody",
            "no act on a baseline ever named it",
        ),
    ] {
        let (status, problem) = get(path).await;
        assert!(
            status == 404
                && problem["detail"]
                    .as_str()
                    .unwrap_or_default()
                    .starts_with(why),
            "{path}: {problem}"
        );
    }
    fleet.stop().await;
}

/// What a verifier would say of a platform.
fn evidence(number: i128, status: &str) -> MeasurementMap {
    let mut mval = MeasurementValuesMap::default();
    let number = Cbor::Integer(number);
    mval.extra_entries.insert(MVAL_TEE_TCB_EVAL_NUM, number);
    let status = Cbor::Text(status.to_owned());
    mval.extra_entries.insert(MVAL_TEE_TCBSTATUS, status);
    MeasurementMap {
        mkey: None,
        mval,
        authorized_by: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_as_a_corim_that_the_published_library_reads_and_matches() {
    let fleet = Fleet::start().await;
    assert_eq!(fleet.get(&tcb("tdx", BOTH)).await.status, 200);
    promote(&fleet, "default", "tdx", "{ number = 19 }").await;
    let now = fleet.clock.now().secs();
    let answer = fleet.get("/thim/v1/baselines/tdx/exports/corim").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/rim+cbor");
    let (corim, comids) = decode_and_validate_at(&answer.body, now).expect("a valid CoRIM");
    let profile = IntelProfile::new();
    assert_eq!(corim.profile.as_ref(), Some(profile.identifier()));
    let [comid] = comids.as_slice() else {
        panic!("{comids:?}");
    };
    let triples = comid.triples.reference_triples.as_ref();
    let triples = triples.expect("reference values");
    let classes: Vec<_> = triples
        .iter()
        .map(|triple| triple.environment().class.as_ref().expect("a class"))
        .map(|class| match &class.class_id {
            Some(ClassIdChoice::Uuid(id)) => uuid::Uuid::from_bytes(*id).to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        classes,
        [
            "9eec018b-7481-4b1c-8e1a-9f7c0c8c777f",
            "f708b97f-0fb2-4e6b-8b03-8a5bcd1221d3"
        ]
    );
    for triple in triples {
        let [reference] = triple.measurements() else {
            panic!("one measurement");
        };
        for (number, status, matches) in [
            (19, "UpToDate", true),
            (20, "SWHardeningNeeded", true),
            (18, "UpToDate", false),
            (19, "OutOfDate", false),
            (19, "Revoked", false),
        ] {
            let evidence = evidence(number, status);
            let found = profile.match_measurement(reference, &evidence, &MatchContext::new());
            assert_eq!(found, Some(matches), "{number} {status}");
        }
    }
    // It ends when a statement of that moment would.
    assert!(decode_and_validate_at(&answer.body, now + 24 * 3600 + 1).is_err());
    let other = fleet.get("/thim/v1/baselines/sev-snp/exports/corim").await;
    assert_eq!(other.status, 404);
    fleet.stop().await;
}

/// The values in a message, by name.
async fn values(fleet: &Fleet, path: &str) -> Value {
    let answer = fleet.get(&format!("/thim/v1/baselines/{path}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let message: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(
        (&message["version"], &message["type"]),
        (&json!("0.1.0"), &json!("sample"))
    );
    let payload = message["payload"].as_str().expect("a payload");
    let payload = BASE64.decode(payload.as_bytes()).expect("base64");
    serde_json::from_slice(&payload).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_as_reference_values_of_trustee() {
    let fleet = Fleet::start().await;
    assert_eq!(fleet.get(&tcb("tdx", BOTH)).await.status, 200);
    let rule = "selector = { number = 19 }\naccepted_statuses = [\"UpToDate\"]\n\
                tolerated_advisories = [{ id = \"INTEL-SA-00001\", until = \"2000-01-01T00:00:00Z\" }, \
                { id = \"INTEL-SA-00002\", until = \"2100-01-01T00:00:00Z\" }]";
    promoted(&fleet, "default", "tdx", rule)
        .await
        .expect("promoted");
    let told = values(&fleet, "tdx/exports/trustee").await;
    let date = told["tdx_min_tcb_date"]
        .as_str()
        .expect("a date")
        .to_owned();
    assert!(date.ends_with("T00:00:00Z"), "{date}");
    assert_eq!(
        told,
        json!({"tdx_tcb_status": ["UpToDate"], "tdx_min_tcb_eval_num": 19, "tdx_min_tcb_date": date,
            "tdx_tolerated_advisory_ids": ["INTEL-SA-00002"]}),
        "what is tolerated no longer is not told"
    );

    // Of AMD: what Trustee's own policy asks for, and never less than the operator's floor.
    let minimum = |snp: u8| {
        format!(
            "minimums = [{{ product = \"Milan\", boot_loader = 4, tee = 0, snp = {snp}, microcode = 200, bulletins = [\"AMD-SB-0000\"] }}]"
        )
    };
    promoted(&fleet, "default", "sev-snp", &minimum(20))
        .await
        .expect("promoted");
    let told = values(&fleet, "sev-snp/exports/trustee?product=Milan").await;
    assert_eq!(told["snp_snp_svn"], json!((20..=255).collect::<Vec<u8>>()));
    assert_eq!(
        told["snp_bootloader"],
        json!((4..=255).collect::<Vec<u8>>())
    );
    assert_eq!(told["snp_tee_svn"], json!((0..=255).collect::<Vec<u8>>()));
    assert_eq!(
        told["snp_microcode"],
        json!((200..=255).collect::<Vec<u8>>())
    );
    promoted(&fleet, "acme", "sev-snp", &minimum(23))
        .await
        .expect("promoted");
    promoted(&fleet, "floor", "sev-snp", &minimum(22))
        .await
        .expect("promoted");
    for (query, least) in [("", 22), ("&tenant=acme", 23)] {
        let path = format!("sev-snp/exports/trustee?product=Milan{query}");
        let told = values(&fleet, &path).await;
        assert_eq!(told["snp_snp_svn"][0], json!(least), "{path}");
    }
    for (path, status, why) in [
        ("sev-snp/exports/trustee", 400, "product: "),
        ("sev-snp/exports/trustee?product=Rome", 400, "product"),
        (
            "sev-snp/exports/trustee?product=Turin",
            404,
            "no minimum for Turin",
        ),
        (
            "tdx/exports/trustee?tenant=nobody",
            404,
            "no act on a baseline",
        ),
    ] {
        let answer = fleet.get(&format!("/thim/v1/baselines/{path}")).await;
        let text = answer.text();
        assert!(
            answer.status == status && text.contains(why),
            "{path}: {text}"
        );
    }
    fleet.stop().await;
}
