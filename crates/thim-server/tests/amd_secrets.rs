//! A chip id tells one machine from all others. It is in the requests and certificates of its chip, and nowhere that
//! somebody else looks: no log line of the most talkative level, metric, event, listing, status or error has it.

mod harness;
mod talkative_log;

use harness::{Answer, Fleet};
use talkative_log::Log;
use thim_client::NewChip;
use thim_sim::{AmdProduct, ChipSpec, KdsFault, SimChip};

/// Hex in either case, and the bytes as debug text of a list shows them.
fn spellings(chips: &[SimChip]) -> Vec<String> {
    let forms = chips.iter().flat_map(|chip| {
        let hex = chip.hwid_hex();
        // Eight bytes are enough to know it by: they are all of a Turin's.
        let bytes: Vec<String> = chip.hwid[..8].iter().map(ToString::to_string).collect();
        [
            hex[..16].to_owned(),
            hex[..16].to_uppercase(),
            bytes.join(", "),
        ]
    });
    forms.collect()
}

fn clean(what: &str, text: &[u8], secrets: &[String]) {
    let text = String::from_utf8_lossy(text);
    for secret in secrets {
        if let Some(at) = text.find(secret) {
            let from = text.floor_char_boundary(at.saturating_sub(200));
            let to = text.ceil_char_boundary((at + 60).min(text.len()));
            panic!("{what} tells a chip id: {}", &text[from..to]);
        }
    }
}

fn clean_answer(what: &str, answer: &Answer, secrets: &[String]) {
    for (name, value) in &answer.headers {
        clean(&format!("{what}, header {name}"), value.as_bytes(), secrets);
    }
    clean(what, &answer.body, secrets);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_chip_id_is_where_it_does_not_belong() {
    let log = Log::begin();
    let mut fleet = Fleet::with_kds(|_| {}).await;
    let mut chips: Vec<SimChip> = AmdProduct::ALL
        .map(|product| fleet.kds().chip_of(product))
        .into();
    let more = fleet.kds().add_chips(&ChipSpec::new(AmdProduct::Milan), 12);
    chips.extend(more.expect("chips"));
    let secrets = spellings(&chips);

    // Certificates, in every form; their headers and those of refusals.
    for chip in &chips[..3] {
        let (id, tcb) = (chip.hwid_hex(), chip.reported.tcbm(chip.product));
        for target in [
            chip.target(),
            chip.target(),
            format!("/SevSnpVM/certificates/{id}/{tcb}"),
            format!("/vcek/v1/Naples/{id}?{}", chip.reported.query()),
            format!("/vcek/v1/{}/{id}ab?{}", chip.product, chip.reported.query()),
            format!("/vcek/v1/{}/{id}?blSPL={id}", chip.product),
            format!("/vcek/v1/{}/{id}?{id}={id}", chip.product),
            format!("/vlek/v1/{}/cert?{}", chip.product, chip.reported.query()),
            format!("/SevSnpVM/certificates/{id}/{id}"),
            format!("/metadata/THIM/amd/certification?platformId={id}&tcbVersion={id}"),
            format!(
                "/metadata/THIM/amd/certification?platformId={id}&tcbVersion={tcb}&product={id}"
            ),
            format!("/metadata/THIM/amd/certification?platformId={id}zz&tcbVersion={tcb}"),
        ] {
            let ask = fleet.client.get(fleet.url(&target));
            let answer = fleet.send(ask.header("Metadata", "true")).await;
            if answer.status == 200 {
                continue;
            }
            clean_answer(&target.replace(&id, "{id}"), &answer, &secrets);
        }
    }

    // A fleet that is registered, one of it wrongly.
    let input = |chip: &SimChip| NewChip {
        product: Some(chip.product.to_string()),
        chip_id: chip.hwid_hex(),
        reported_tcb: Some(chip.reported.tcbm(chip.product)),
        label: Some("rack 1".to_owned()),
    };
    let mut inputs: Vec<NewChip> = chips[..6].iter().map(input).collect();
    let keeper = &fleet.server().chips;
    let now = fleet.clock.now();
    let registered = keeper
        .register(&inputs, "a test", now)
        .await
        .expect("registered");
    clean(
        "registration",
        format!("{registered:?}").as_bytes(),
        &secrets,
    );
    inputs[0].chip_id.push_str("ab");
    let refused = keeper
        .register(&inputs, "a test", now)
        .await
        .expect_err("too long");
    clean(
        "a refused registration",
        refused.to_string().as_bytes(),
        &secrets,
    );

    // A key server that is wrong in every way.
    for (chip, fault) in chips[6..].iter().zip([
        KdsFault::Tampered,
        KdsFault::WrongChip,
        KdsFault::WrongTcb,
        KdsFault::Garbage,
        KdsFault::Status { code: 500 },
        KdsFault::FalseNotFound,
        KdsFault::Redirect {
            location: "http://elsewhere.invalid/".to_owned(),
        },
        KdsFault::Throttle { retry_after: 10 },
        KdsFault::Down,
    ]) {
        fleet.kds_fault(fault.clone(), "SPL=");
        let answer = fleet.get(&chip.target()).await;
        assert_ne!(answer.status, 200, "{fault:?}");
        clean_answer(&format!("{fault:?}"), &answer, &secrets);
        fleet.kds().clear_faults();
        fleet.advance(11).await;
    }
    fleet.restart().await;
    fleet.refresh().await;

    let token = std::fs::read_to_string(fleet.data().join("admin.token")).expect("a token");
    for path in [
        "/thim/v1/status",
        "/thim/v1/collateral",
        "/thim/v1/collateral?state=quarantined",
        "/thim/v1/collateral/history?key=amd/cert-chain/Milan/vcek",
        "/thim/v1/events",
        "/metrics",
        "/healthz/ready",
    ] {
        let ask = fleet.client.get(fleet.url(path)).bearer_auth(token.trim());
        clean_answer(path, &fleet.send(ask).await, &secrets);
    }
    fleet.stop().await;
    let log = log.bytes();
    assert!(
        String::from_utf8_lossy(&log).contains("thim_server"),
        "nothing was logged"
    );
    clean("the log", &log, &secrets);
}
