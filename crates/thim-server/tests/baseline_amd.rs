//! AMD's half of baselines: what is told of a chip's TCB beside its certificate, on every surface, and who would drop out.

mod baseline_support;
mod harness;
mod platform_support;

use baseline_support::promoted;
use harness::{Answer, Fleet};
use platform_support::admin;
use serde_json::{Value, json};
use thim_sim::{AmdProduct, ChipSpec, SimChip};

/// `THIM-Baseline` of an answer; empty where it has none.
fn told(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let value = answer.headers.get("thim-baseline");
    value.map_or("", |value| value.to_str().expect("text"))
}

/// The three surfaces on which a chip's certificate is.
fn surfaces(chip: &SimChip) -> [String; 3] {
    let (id, tcb) = (chip.hwid_hex(), chip.reported.tcbm(chip.product));
    [
        chip.target(),
        format!("/metadata/THIM/amd/certification?platformId={id}&tcbVersion={tcb}"),
        format!("/SevSnpVM/certificates/{id}/{tcb}"),
    ]
}

async fn get(fleet: &Fleet, path: &str) -> Answer {
    let request = fleet.client.get(fleet.url(path));
    fleet.send(request.header("Metadata", "true")).await
}

/// A rule with a least TCB of Milan: that of a chip, but for its SNP level.
fn milan(chip: &SimChip, snp: u8) -> String {
    let tcb = chip.reported;
    format!(
        "minimums = [{{ product = \"Milan\", boot_loader = {}, tee = {}, snp = {snp}, microcode = {}, bulletins = [\"AMD-SB-0000\"] }}]",
        tcb.boot_loader, tcb.tee, tcb.microcode
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_baseline_says_of_a_chip_stands_beside_its_certificate_on_every_surface() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let chip = fleet.kds().chip_of(AmdProduct::Milan);
    let other = fleet.kds().chip_of(AmdProduct::Genoa);
    let snp = chip.reported.snp;
    let paths = surfaces(&chip);
    let first = get(&fleet, &paths[0]).await;
    assert_eq!(told(&first), "", "nobody ever acted");

    let rule = milan(&chip, snp);
    promoted(&fleet, "default", "sev-snp", &rule)
        .await
        .expect("promoted");
    let rule = milan(&chip, snp + 3);
    promoted(&fleet, "acme", "sev-snp", &rule)
        .await
        .expect("promoted");
    let short = format!("short=\"snp {snp}<{}\"", snp + 3);
    for path in &paths {
        assert_eq!(
            told(&get(&fleet, path).await),
            "default; version=1; verdict=met",
            "{path}"
        );
        let below = get(&fleet, &format!("/tenants/acme{path}")).await;
        assert_eq!(
            told(&below),
            format!("acme; version=1; verdict=below; {short}"),
            "{path}"
        );
    }
    // A certificate is a fact: whoever's baseline it is, it is the same, and nobody is asked again.
    let below = get(&fleet, &format!("/tenants/acme{}", paths[0])).await;
    assert_eq!(below.body, first.body);
    assert_eq!(fleet.vcek_calls(), 1);
    // Of a product without a minimum nothing is known.
    fleet.clock.advance_millis(11_000);
    for path in surfaces(&other) {
        let answer = get(&fleet, &path).await;
        assert_eq!(
            told(&answer),
            "default; version=1; verdict=unknown",
            "{path}"
        );
    }

    // The operator's floor is everybody's.
    let rule = milan(&chip, snp + 1);
    promoted(&fleet, "floor", "sev-snp", &rule)
        .await
        .expect("promoted");
    let floored = format!("verdict=below-floor; short=\"snp {snp}<{}\"", snp + 1);
    assert_eq!(
        told(&get(&fleet, &paths[1]).await),
        format!("default; version=1; {floored}")
    );
    assert_eq!(
        told(&get(&fleet, &format!("/tenants/acme{}", paths[1])).await),
        format!("acme; version=1; {floored}")
    );
    // And nobody can promote below it.
    let rule = milan(&chip, snp);
    let refused = promoted(&fleet, "two", "sev-snp", &rule).await;
    let why = refused.expect_err("it is below").to_string();
    assert!(why.contains("below the operator's floor"), "{why}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forecast_names_the_chips_that_drop_out_and_what_is_short() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let mut chips = vec![fleet.kds().chip_of(AmdProduct::Milan)];
    for _ in 0..3 {
        let spec = ChipSpec::new(AmdProduct::Milan);
        chips.push(fleet.kds().add_chip(&spec).expect("a chip"));
    }
    chips.push(fleet.kds().chip_of(AmdProduct::Genoa));
    let tcb = chips[0].reported;
    let new: Vec<Value> = chips
        .iter()
        .enumerate()
        .map(|(at, chip)| {
            let mut reported = chip.reported;
            // Two of the Milans have older microcode; of one nobody said what it reports.
            if at == 1 || at == 2 {
                reported = tcb.with_microcode(tcb.microcode - 1);
            }
            let mut new = json!({"product": chip.product.to_string(), "chipId": chip.hwid_hex()});
            if at != 3 {
                new["reportedTcb"] = json!(reported.tcbm(chip.product).to_string());
            }
            new
        })
        .collect();
    let post = async |path: &str, body: &Value| -> (u16, Value) {
        let request = fleet.client.post(fleet.url(path));
        let answer = fleet
            .send(request.bearer_auth(admin(&fleet)).json(body))
            .await;
        (
            answer.status,
            serde_json::from_slice(&answer.body).expect("JSON"),
        )
    };
    let (status, registered) = post("/thim/v1/chips", &json!({"chips": new})).await;
    assert_eq!(status, 200, "{registered}");

    promoted(&fleet, "default", "sev-snp", &milan(&chips[0], tcb.snp))
        .await
        .expect("promoted");
    let rule = "[[baseline]]\ntee = \"sev-snp\"\n";
    let text = format!("{rule}{}", milan(&chips[0], tcb.snp));
    let looser = text.replace(
        &format!("microcode = {}", tcb.microcode),
        &format!("microcode = {}", tcb.microcode - 1),
    );
    assert_eq!(
        post("/thim/v1/baselines/apply", &json!({"toml": looser}))
            .await
            .0,
        200
    );
    let ask = json!({"tee": "sev-snp", "to": "draft"});
    let (status, up) = post("/thim/v1/baselines/forecast", &ask).await;
    assert_eq!((status, &up["dropped"]), (200, &json!(0)), "{up}");
    let column = |told: &Value, at: usize| told["columns"][at]["verdicts"].clone();
    assert_eq!(column(&up, 0), json!({"met": 1, "below": 2, "unknown": 2}));
    assert_eq!(column(&up, 1), json!({"met": 3, "unknown": 2}));
    let why = json!({"no-minimum": 1, "no-reported-tcb": 1});
    assert_eq!(up["columns"][0]["unknown"], why);

    // From there to a stricter one two drop out, and a promotion says so.
    let digest = &up["digest"];
    let (status, act) = post(
        "/thim/v1/baselines/sev-snp/promote",
        &json!({"forecast": digest}),
    )
    .await;
    assert_eq!(status, 200, "{act}");
    assert_eq!(
        post("/thim/v1/baselines/apply", &json!({"toml": text}))
            .await
            .0,
        200
    );
    let (_, down) = post("/thim/v1/baselines/forecast", &ask).await;
    assert_eq!(down["dropped"], 2, "{down}");
    let [cause] = down["causes"].as_array().expect("a list").as_slice() else {
        panic!("one cause: {down}");
    };
    assert_eq!(
        (&cause["drops"], &cause["count"], &cause["families"]),
        (&json!(true), &json!(2), &json!(["Milan"]))
    );
    let short = &cause["short"][0];
    assert_eq!(
        (&short["component"], &short["have"], &short["need"]),
        (
            &json!("microcode"),
            &json!(tcb.microcode - 1),
            &json!(tcb.microcode)
        )
    );
    let named = cause["platforms"].as_array().expect("ids");
    assert_eq!(named.len(), 2);
    // A page of one, and the one after it.
    let mut paged = Vec::new();
    for after in ["", named[0].as_str().expect("an id")] {
        let ask = json!({"tee": "sev-snp", "to": "draft", "limit": 1, "after": after});
        let (_, page) = post("/thim/v1/baselines/forecast", &ask).await;
        paged.push(page["causes"][0]["platforms"][0].clone());
    }
    assert_eq!(&paged, named);
    // No chip's id is in it.
    for chip in &chips {
        assert!(!down.to_string().contains(&chip.hwid_hex()));
    }
    let ask = json!({"forecast": down["digest"]});
    let (status, refused) = post("/thim/v1/baselines/sev-snp/promote", &ask).await;
    assert_eq!(
        (status, refused["detail"].as_str()),
        (422, Some("2 platforms would drop out, and 0 are accepted"))
    );
    fleet.stop().await;
}
