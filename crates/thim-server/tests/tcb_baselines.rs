//! Baselines in the shape of Azure's attestation service: whole entries, one selected, and errors in its shape.

mod harness;

use harness::Fleet;
use serde_json::{Value, json};
use thim_server::baseline::{BaselineTee, Scope, declared};
use thim_server::baselines::acting::Wish;
use thim_server::baselines::forecasting::Candidate;

const VERSION: &str = "api-version=2025-06-01";

async fn asked(fleet: &Fleet, kind: &str) -> Vec<Value> {
    let answer = fleet.get(&format!("/tcbbaselines/{kind}?{VERSION}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    body["tcbBaselines"].as_array().expect("a list").clone()
}

fn selected(entries: &[Value]) -> &Value {
    let mut all = entries.iter().filter(|one| one["isSelectedTcb"] == true);
    let one = all.next().expect("one is selected");
    assert!(all.next().is_none(), "{entries:#?}");
    one
}

async fn promote(fleet: &Fleet, text: &str) {
    let (baselines, now) = (&fleet.server().baselines, fleet.clock.now());
    let declared = declared::read(text).expect("a baseline");
    let candidate = Candidate {
        scope: declared[0].scope.clone(),
        tee: declared[0].tee,
        rule: declared[0].rule.clone(),
        effective: None,
    };
    baselines
        .draft(declared, "a test", now)
        .await
        .expect("drafted");
    let foreseen = baselines.foresee(&candidate, now).await.expect("foreseen");
    let wish = Wish {
        scope: candidate.scope,
        tee: candidate.tee,
        version: None,
        forecast: foreseen.digest,
        accept: foreseen.dropped,
        effective: None,
        reason: "a test".to_owned(),
    };
    baselines
        .promote(&wish, "a test", now)
        .await
        .expect("promoted");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_of_the_lists_has_an_entry_and_the_baselines_is_selected() {
    let fleet = Fleet::start().await;
    let lists = "/tdx/certification/v4/tcbevaluationdatanumbers";
    assert_eq!(fleet.get(lists).await.status, 200);
    let known: Vec<u64> = {
        let view = fleet.server().collateral.view();
        let entries = view.lists.entries().into_iter();
        entries.rev().map(|entry| u64::from(entry.number)).collect()
    };
    for kind in ["SgxEnclave", "OpenEnclave", "TdxVm"] {
        let entries = asked(&fleet, kind).await;
        let numbers: Vec<u64> = entries
            .iter()
            .map(|one| one["tcbEvaluationDataNumber"].as_u64().expect("a number"))
            .collect();
        assert_eq!(numbers, known, "{kind}");
        selected(&entries);
        for one in &entries {
            let number = one["tcbEvaluationDataNumber"].to_string();
            assert_eq!(one["tcbIdentifier"], json!(number));
            let date = one["tcbReleaseDate"].as_str().expect("a date");
            assert_eq!(date.len(), "2020-11-11T00:00:00".len(), "{date}");
        }
    }
    let before = selected(&asked(&fleet, "TdxVm").await).clone();
    let highest = known.first().expect("one");
    assert_ne!(before["tcbEvaluationDataNumber"], json!(highest));
    promote(
        &fleet,
        "[[baseline]]\ntee = \"tdx\"\nselector = \"early\"\n",
    )
    .await;
    let after = asked(&fleet, "TdxVm").await;
    assert_eq!(selected(&after)["tcbEvaluationDataNumber"], json!(highest));
    assert_eq!(*selected(&asked(&fleet, "SgxEnclave").await), before);
    assert_eq!(
        asked(&fleet, "SevSnpVm").await,
        [json!({ "tcbIdentifier": "default/v0", "isSelectedTcb": true })]
    );
    let applied =
        fleet
            .server()
            .baselines
            .applied(&Scope::Default, BaselineTee::Tdx, fleet.clock.now());
    assert_eq!(applied.version, 1);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_azures_shape() {
    let fleet = Fleet::start().await;
    for (path, status, code) in [
        ("TdxVm", 400, "MissingApiVersionParameter"),
        (
            "TdxVm?api-version=2018-10-01-preview",
            400,
            "UnsupportedApiVersionValue",
        ),
        ("TdxVm?api-version[a]=2025-06-01", 400, "InvalidParameter"),
        ("tdxvm?api-version=2025-06-01", 404, "NotFound"),
        ("Tpm?api-version=2025-06-01", 404, "NotFound"),
        // Below tenants too.
        (
            "../tenants/nobody/tcbbaselines/TdxVm?api-version=2025-06-01",
            404,
            "NotFound",
        ),
        (
            "../tenants/nobody/tcbbaselines/TdxVm",
            400,
            "MissingApiVersionParameter",
        ),
        // No list has come yet, so nothing tells.
        ("TdxVm?api-version=2025-06-01", 503, "ServiceUnavailable"),
    ] {
        let answer = fleet.get(&format!("/tcbbaselines/{path}")).await;
        assert_eq!(
            (answer.status, answer.header("x-ms-error-code")),
            (status, code),
            "{path}"
        );
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(body["error"]["code"], code);
        assert!(
            body["error"]["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }
    fleet.stop().await;
}
