//! The nearest misses of AMD's paths: each is refused by name, and none of them costs the key server a call.

mod harness;

use harness::Fleet;
use thim_sim::AmdProduct;

#[tokio::test(flavor = "multi_thread")]
async fn near_misses_are_named_and_cost_the_key_server_nothing() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let milan = fleet.kds().chip_of(AmdProduct::Milan).hwid_hex();
    let turin = fleet.kds().chip_of(AmdProduct::Turin).hwid_hex();
    let good = "blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=219";
    let good_turin = format!("fmcSPL=1&{good}");
    let (short, long) = (&milan[..126], format!("{milan}00"));
    let no_hex = format!("{}zz", &milan[..126]);
    let padded_wrong = format!("{turin}{}1", "0".repeat(111));
    let zeros = "0".repeat(128);
    let flood = "x".repeat(10 * 1024);
    let with = |from: &str, to: &str| good.replace(from, to);
    // Product, id, query; status, cause, and a word that says what is wrong.
    let table: Vec<(&str, &str, String, u16, &str, &str)> = vec![
        (
            "milan",
            &milan,
            good.into(),
            404,
            "unknown-product",
            "Milan, Genoa",
        ),
        (
            "MILAN",
            &milan,
            good.into(),
            404,
            "unknown-product",
            "Milan, Genoa",
        ),
        (
            "Naples",
            &milan,
            good.into(),
            404,
            "unknown-product",
            "Milan, Genoa",
        ),
        (
            "Milan%20",
            &milan,
            good.into(),
            404,
            "unknown-product",
            "Milan, Genoa",
        ),
        ("Milan", short, good.into(), 400, "invalid-parameter", "128"),
        ("Milan", &long, good.into(), 400, "invalid-parameter", "128"),
        (
            "Milan",
            &turin,
            good.into(),
            400,
            "invalid-parameter",
            "128",
        ),
        (
            "Genoa",
            &turin,
            good.into(),
            400,
            "invalid-parameter",
            "128",
        ),
        (
            "Milan",
            &no_hex,
            good.into(),
            400,
            "invalid-parameter",
            "128",
        ),
        (
            "Turin",
            &milan,
            good_turin.clone(),
            400,
            "invalid-parameter",
            "16",
        ),
        (
            "Turin",
            &padded_wrong,
            good_turin.clone(),
            400,
            "invalid-parameter",
            "16",
        ),
        (
            "Turin",
            &turin[..14],
            good_turin.clone(),
            400,
            "invalid-parameter",
            "16",
        ),
        (
            "Milan",
            &milan,
            with("blSPL=4", "blSPL=128"),
            400,
            "invalid-parameter",
            "blSPL",
        ),
        (
            "Milan",
            &milan,
            with("snpSPL=24", "snpSPL=128"),
            400,
            "invalid-parameter",
            "snpSPL",
        ),
        (
            "Milan",
            &milan,
            with("219", "256"),
            400,
            "invalid-parameter",
            "ucodeSPL",
        ),
        (
            "Milan",
            &milan,
            with("219", "99999999999999999999"),
            400,
            "invalid-parameter",
            "ucodeSPL",
        ),
        (
            "Milan",
            &milan,
            String::new(),
            400,
            "invalid-parameter",
            "blSPL",
        ),
        (
            "Milan",
            &milan,
            with("&teeSPL=0", ""),
            400,
            "invalid-parameter",
            "teeSPL",
        ),
        (
            "Milan",
            &milan,
            with("&ucodeSPL=219", ""),
            400,
            "invalid-parameter",
            "ucodeSPL",
        ),
        (
            "Milan",
            &milan,
            format!("{good}&blSPL=4"),
            400,
            "invalid-parameter",
            "blSPL",
        ),
        (
            "Milan",
            &milan,
            format!("{good}&hwID=1"),
            400,
            "invalid-parameter",
            "hwID",
        ),
        (
            "Milan",
            &milan,
            with("blSPL", "blspl"),
            400,
            "invalid-parameter",
            "blspl",
        ),
        (
            "Milan",
            &milan,
            format!("fmcSPL=1&{good}"),
            400,
            "invalid-parameter",
            "fmc",
        ),
        (
            "Turin",
            &turin,
            good.into(),
            400,
            "invalid-parameter",
            "fmc",
        ),
        (
            "Turin",
            &turin,
            with("blSPL=4", "fmcSPL=128&blSPL=4"),
            400,
            "invalid-parameter",
            "fmc",
        ),
        (
            "Milan",
            &milan,
            with("blSPL=4", "blSPL=0x4"),
            400,
            "invalid-parameter",
            "blSPL",
        ),
        (
            "Milan",
            &milan,
            with("blSPL=4", "blSPL=+1"),
            400,
            "invalid-parameter",
            "blSPL",
        ),
        (
            "Milan",
            &milan,
            with("blSPL=4", "blSPL=-1"),
            400,
            "invalid-parameter",
            "blSPL",
        ),
        (
            "Milan",
            &milan,
            with("blSPL=4", "blSPL="),
            400,
            "invalid-parameter",
            "blSPL",
        ),
        (
            "Milan",
            &milan,
            with("blSPL=4", "blSPL"),
            400,
            "invalid-parameter",
            "blSPL",
        ),
        (
            "Milan",
            &milan,
            with("blSPL=4", "blSPL=4%00"),
            400,
            "invalid-parameter",
            "blSPL",
        ),
        ("Milan", &milan, flood, 400, "invalid-parameter", "no word"),
        ("Milan", &zeros, good.into(), 404, "absent", "zeros"),
        ("Turin", &zeros[..16], good_turin, 404, "absent", "zeros"),
    ];
    for (product, id, query, status, cause, word) in table {
        let shown = &query[..query.len().min(60)];
        let answer = fleet.get(&format!("/vcek/v1/{product}/{id}?{query}")).await;
        let told = answer.header("thim-cause");
        assert_eq!(answer.status, status, "{product} {shown}: {told}");
        assert!(
            told.starts_with(&format!("{cause};")),
            "{product} {shown}: {told}"
        );
        assert!(
            answer.text().contains(word),
            "{product} {shown}: {}",
            answer.text()
        );
        assert!(
            answer.body.len() < 400,
            "{product} {shown}: {}",
            answer.text()
        );
        for secret in [&milan, &turin] {
            assert!(
                !answer.text().contains(secret.as_str()),
                "{product} {shown}: names a chip"
            );
            assert!(
                !told.contains(secret.as_str()),
                "{product} {shown}: names a chip"
            );
        }
    }
    assert_eq!(fleet.kds().calls().total, 0);
    fleet.stop().await;
}

/// A level of 255 is microcode's alone, and is well-formed: the key server is asked, and knows of none.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_level_of_each_range_is_asked_for() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let chip = fleet.kds().chip_of(AmdProduct::Milan);
    let path = format!("/vcek/v1/Milan/{}", chip.hwid_hex());
    for query in [
        "blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=255",
        "blSPL=127&teeSPL=127&snpSPL=127&ucodeSPL=219",
    ] {
        let answer = fleet.get(&format!("{path}?{query}")).await;
        assert_eq!(answer.status, 404, "{query}: {}", answer.text());
        assert!(answer.header("thim-cause").starts_with("absent"), "{query}");
    }
    assert_eq!(fleet.vcek_calls(), 2);
    fleet.stop().await;
}

/// Of a TCB's two orders in hex, Azure's `tcbm` has the most significant byte first. A report's own order is another
/// number: of Milan it has a reserved byte that is not zero, or names a TCB that the chip never had.
#[tokio::test(flavor = "multi_thread")]
async fn a_tcb_is_read_in_the_order_of_tcbm_and_no_other() {
    let fleet = Fleet::with_kds(|_| {}).await;
    for product in AmdProduct::ALL {
        let chip = fleet.kds().chip_of(product);
        let (id, tcbm) = (chip.hwid_hex(), chip.reported.tcbm(product));
        let memory: String = chip
            .reported
            .to_bytes(product)
            .map(|byte| format!("{byte:02x}"))
            .concat();
        assert_ne!(tcbm, memory, "{product}");
        let ask = |tcb: &str| format!("/SevSnpVM/certificates/{id}/{tcb}");
        let right = fleet.get(&ask(&tcbm)).await;
        assert_eq!(
            right.status,
            200,
            "{product}: {}",
            right.header("thim-cause")
        );
        for same in [tcbm.to_uppercase(), tcbm.trim_start_matches('0').to_owned()] {
            assert_eq!(
                fleet.get(&ask(&same)).await.body,
                right.body,
                "{product}: {same}"
            );
        }
        let calls = fleet.vcek_calls();
        let swapped = fleet.get(&ask(&memory)).await;
        assert!(
            matches!(swapped.status, 400 | 404),
            "{product}: {}",
            swapped.status
        );
        let told = swapped.header("thim-cause").to_owned();
        if swapped.status == 400 {
            assert!(
                told.contains("byte") || told.contains("SPL"),
                "{product}: {told}"
            );
            assert_eq!(fleet.vcek_calls(), calls, "{product}");
        }
        for bad in ["", "0x03", "00000000000000003", "3g", "-1"] {
            let answer = fleet.get(&ask(bad)).await;
            assert_eq!(answer.status, 400, "{product}: {bad:?}");
        }
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_path_names_what_is_missing_or_doubled() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let id = fleet.kds().chip_of(AmdProduct::Milan).hwid_hex();
    let zeros = "0".repeat(128);
    for (query, status, word) in [
        (String::new(), 400, "platformId"),
        (format!("platformId={id}"), 400, "tcbVersion"),
        (
            format!("tcbVersion=03&platformId={id}&platformId={id}"),
            400,
            "platformId",
        ),
        (
            format!("platformId={id}&tcbVersion=03&tcbVersion=03"),
            400,
            "tcbVersion",
        ),
        (
            format!("platformId={}&tcbVersion=03", &id[1..]),
            400,
            "16 or 128",
        ),
        (format!("platformId={id}&tcbVersion=zz"), 400, "tcbVersion"),
        (
            format!("platformId={id}&tcbVersion=03&product=milan"),
            404,
            "Milan",
        ),
        (format!("platformId={zeros}&tcbVersion=03"), 404, "zeros"),
    ] {
        let url = fleet.url(&format!("/metadata/THIM/amd/certification?{query}"));
        let answer = fleet
            .send(fleet.client.get(url).header("Metadata", "true"))
            .await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        let object: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let told = object["error"].as_str().expect("a text").to_owned();
        assert!(told.contains(word), "{query}: {told}");
        assert!(!told.contains(&id), "{told}");
    }
    assert_eq!(fleet.vcek_calls(), 0);
    fleet.stop().await;
}
