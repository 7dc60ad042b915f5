//! AMD's key server as THIM answers for it: one certificate under every spelling of a request, the headers that the
//! key server sends and those it lacks, chains and lists byte for byte, and the other two surfaces of the same chip.

mod harness;

use harness::{Answer, Fleet};
use thim_server::chips::{Offered, OfferedAs};
use thim_sim::{AmdProduct, SimChip};
use thim_verify::amd::{Endorsement, Vlek};

/// What the key server itself sends for a target.
async fn original(fleet: &Fleet, target: &str) -> Answer {
    let url = format!("{}{target}", fleet.kds.as_ref().expect("a KDS").url());
    fleet.send(fleet.client.get(url)).await
}

/// `/metadata/...` of a chip.
fn metadata(chip: &SimChip) -> String {
    let tcb = chip.reported.tcbm(chip.product);
    format!(
        "/metadata/THIM/amd/certification?platformId={}&tcbVersion={tcb}",
        chip.hwid_hex()
    )
}

fn central_cache(chip: &SimChip) -> String {
    let tcb = chip.reported.tcbm(chip.product);
    format!("/SevSnpVM/certificates/{}/{tcb}", chip.hwid_hex())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_spelling_of_a_request_is_one_certificate_and_one_call() {
    let fleet = Fleet::with_kds(|_| {}).await;
    for product in [AmdProduct::Milan, AmdProduct::Genoa] {
        let chip = fleet.kds().chip_of(product);
        let (id, tcb) = (chip.hwid_hex(), chip.reported);
        let (bl, tee, snp, ucode) = (tcb.boot_loader, tcb.tee, tcb.snp, tcb.microcode);
        let first = fleet.get(&chip.target()).await;
        assert_eq!(first.status, 200, "{}", first.text());
        for spelling in [
            format!(
                "{}?ucodeSPL={ucode}&snpSPL={snp}&teeSPL={tee}&blSPL={bl}",
                id.to_uppercase()
            ),
            format!("{id}?blSPL={bl:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={ucode:03}"),
            format!("{id}?teeSPL=0000{tee}&blSPL={bl:05}&ucodeSPL={ucode}&snpSPL={snp}"),
        ] {
            let answer = fleet.get(&format!("/vcek/v1/{product}/{spelling}")).await;
            assert_eq!(answer.status, 200, "{spelling}: {}", answer.text());
            assert_eq!(answer.body, first.body, "{spelling}");
            assert_eq!(answer.header("cache-status"), "THIM; hit", "{spelling}");
        }
    }
    assert_eq!(fleet.vcek_calls(), 2);

    let chip = fleet.kds().chip_of(AmdProduct::Turin);
    let (id, tcb) = (chip.hwid_hex(), chip.reported);
    let fmc = tcb.fmc.expect("Turin has it");
    let (bl, tee, snp, ucode) = (tcb.boot_loader, tcb.tee, tcb.snp, tcb.microcode);
    let first = fleet.get(&chip.target()).await;
    assert_eq!(first.status, 200, "{}", first.text());
    for spelling in [
        format!(
            "{id}?fmcSPL={fmc:02}&blSPL={bl:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={ucode}"
        ),
        format!(
            "{}?blSPL={bl}&fmcSPL={fmc}&snpSPL={snp}&teeSPL={tee}&ucodeSPL={ucode}",
            id.to_uppercase()
        ),
        // The whole CHIP_ID of a report, as some clients send it.
        format!(
            "{id}{}?fmcSPL={fmc}&blSPL={bl}&teeSPL={tee}&snpSPL={snp}&ucodeSPL={ucode}",
            "0".repeat(112)
        ),
    ] {
        let answer = fleet.get(&format!("/vcek/v1/Turin/{spelling}")).await;
        assert_eq!(
            (answer.status, &answer.body),
            (200, &first.body),
            "{spelling}"
        );
    }
    assert_eq!(fleet.vcek_calls(), 3);
    // Two certificates of Turin can differ in their FMC level alone.
    let lower = chip.reported.with_fmc(fmc - 1);
    let other = fleet.get(&chip.target_for(&lower)).await;
    assert_eq!(other.status, 200, "{}", other.text());
    assert_ne!(other.body, first.body);
    assert_eq!(fleet.vcek_calls(), 4);
    assert_eq!(fleet.kds().kds_violations(), 0);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_the_key_servers_and_what_a_cache_needs() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let target = fleet.kds().chip_of(AmdProduct::Genoa).target();
    let theirs = original(&fleet, &target).await;
    fleet.advance(10).await;
    let ours = fleet.get(&target).await;
    assert_eq!(ours.status, 200, "{}", ours.text());
    for name in ["content-type", "content-disposition"] {
        assert_eq!(ours.header(name), theirs.header(name), "{name}");
    }
    assert_eq!(ours.header("content-length"), ours.body.len().to_string());
    assert_eq!(ours.header("cache-control"), "max-age=86400");
    assert_eq!(ours.header("cache-status"), "THIM; fwd=miss; stored");
    assert!(ours.header("last-modified").ends_with(" GMT"), "{ours:?}");
    assert!(ours.header("thim-freshness").contains("state=current"));
    assert!(!ours.headers.contains_key("pragma"));
    assert!(!ours.headers.contains_key("access-control-allow-origin"));
    let etag = ours.header("etag").to_owned();
    assert!(etag.len() > 10 && etag.starts_with('"'), "{etag}");

    let url = fleet.url(&target);
    for (name, value, status) in [
        ("if-none-match", etag.clone(), 304),
        ("if-none-match", format!("\"x\", W/{etag}"), 304),
        ("if-none-match", "\"0123456789abcdef\"".to_owned(), 200),
        (
            "if-modified-since",
            ours.header("last-modified").to_owned(),
            304,
        ),
    ] {
        let answer = fleet
            .send(fleet.client.get(&url).header(name, &value))
            .await;
        assert_eq!(answer.status, status, "{name}: {value}");
        assert_eq!(answer.body.is_empty(), status == 304, "{name}: {value}");
    }

    let head = fleet.send(fleet.client.head(&url)).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), ours.body.len().to_string());
    assert_eq!(head.header("etag"), etag);
    let options = fleet
        .send(fleet.client.request(reqwest::Method::OPTIONS, &url))
        .await;
    assert_eq!(options.status, 200);
    let post = fleet.send(fleet.client.post(&url)).await;
    assert_eq!(
        (post.status, post.header("allow")),
        (405, "GET, HEAD, OPTIONS")
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_and_lists_are_byte_for_byte_what_the_key_server_gave() {
    let fleet = Fleet::with_kds(|config| config.amd.allow_origin = Some("*".to_owned())).await;
    for product in AmdProduct::ALL {
        for line in ["vcek", "vlek"] {
            for (last, kind) in [("cert_chain", ""), ("crl", "")] {
                let target = format!("/{line}/v1/{product}/{last}{kind}");
                let ours = fleet.get(&target).await;
                assert_eq!(ours.status, 200, "{target}: {}", ours.header("thim-cause"));
                let theirs = original(&fleet, &target).await;
                assert_eq!(ours.body, theirs.body, "{target}");
                for name in ["content-type", "content-disposition"] {
                    assert_eq!(ours.header(name), theirs.header(name), "{target}: {name}");
                }
                assert_eq!(ours.header("access-control-allow-origin"), "*", "{target}");
                let etag = ours.header("etag").to_owned();
                let again = fleet.client.get(fleet.url(&target));
                let again = fleet.send(again.header("if-none-match", etag)).await;
                assert_eq!(again.status, 304, "{target}");
            }
        }
    }
    // Whoever asks a hundred times costs the key server nothing more.
    let calls = fleet.kds().calls().total;
    for _ in 0..100 {
        fleet.get("/vcek/v1/Milan/crl").await;
    }
    assert_eq!(fleet.kds().calls().total, calls);
    // A browser may also read why there is nothing; the metadata service is for no browser.
    let unknown = fleet.get("/vcek/v1/milan/crl").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.header("access-control-allow-origin"), "*");
    let plain = fleet.get("/metadata/THIM/amd/certification").await;
    assert!(!plain.headers.contains_key("access-control-allow-origin"));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vlek_is_served_once_it_is_imported() {
    let fleet = Fleet::with_kds(|_| {}).await;
    let tcb = fleet.kds().chip_of(AmdProduct::Milan).reported;
    let target = format!("/vlek/v1/Milan/cert?{}", tcb.query());
    let before = fleet.get(&target).await;
    assert_eq!(before.status, 404);
    assert!(
        before.header("thim-cause").starts_with("not-held"),
        "{before:?}"
    );
    let management = fleet.kds();
    let made = tokio::task::spawn_blocking(move || management.vlek(AmdProduct::Milan, "CN=cloud"));
    let der = made.await.expect("made").expect("a VLEK");
    let offered = Offered {
        leaf: Endorsement::Vlek(Vlek::from_der(&der).expect("a VLEK")),
        offered: OfferedAs::Import,
        source: "vlek.crt",
        at: fleet.clock.now(),
    };
    fleet
        .server()
        .chips
        .offer(offered)
        .await
        .expect("it verifies");
    fleet.advance(2).await;
    let after = fleet.get(&target).await;
    assert_eq!(after.status, 200, "{}", after.text());
    assert_eq!(after.body, der);
    assert!(after.header("content-disposition").contains("vlek.crt"));
    assert_eq!(fleet.kds().calls().containing("/cert?"), 0);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ccf_gets_three_certificates_and_a_guest_four_strings() {
    let fleet = Fleet::with_kds(|_| {}).await;
    for product in AmdProduct::ALL {
        let chip = fleet.kds().chip_of(product);
        let bundle = fleet.get(&central_cache(&chip)).await;
        assert_eq!(
            bundle.status,
            200,
            "{product}: {}",
            bundle.header("thim-cause")
        );
        let chain = fleet.get(&format!("/vcek/v1/{product}/cert_chain")).await;
        let text = bundle.text();
        assert_eq!(text.matches("-----BEGIN CERTIFICATE-----").count(), 3);
        assert!(text.ends_with(chain.text()), "{product}");
        let vcek = text.strip_suffix(chain.text()).expect("the VCEK");

        let ask = fleet.client.get(fleet.url(&metadata(&chip)));
        let answer = fleet.send(ask.header("Metadata", "true")).await;
        assert_eq!(answer.status, 200, "{product}: {}", answer.text());
        assert_eq!(
            answer.header("content-type"),
            "application/json; charset=utf-8"
        );
        let object: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let expected = serde_json::json!({
            "vcekCert": vcek,
            "tcbm": chip.reported.tcbm(product),
            "certificateChain": chain.text(),
            "cacheControl": "86400",
        });
        assert_eq!(object, expected, "{product}");
    }
    // The surfaces share a certificate. An id of 128 digits may be Milan's or Genoa's: while neither is known, one of
    // the two is asked for in vain.
    assert_eq!(fleet.vcek_calls(), 4);

    let chip = fleet.kds().chip_of(AmdProduct::Milan);
    let url = fleet.url(&metadata(&chip));
    let without = fleet.send(fleet.client.get(&url)).await;
    assert_eq!(without.status, 400);
    assert!(
        without.text().starts_with("{\"error\":"),
        "{}",
        without.text()
    );
    let forwarded = fleet.client.get(&url).header("Metadata", "true");
    let forwarded = fleet
        .send(forwarded.header("X-Forwarded-For", "192.0.2.1"))
        .await;
    assert_eq!(forwarded.status, 400);
    let nobodys = format!("/SevSnpVM/certificates/{}/03", "ab".repeat(64));
    let unknown = fleet.get(&nobodys).await;
    assert_eq!((unknown.status, unknown.body.len()), (404, 0));
    assert!(
        unknown.header("thim-cause").starts_with("absent"),
        "{unknown:?}"
    );
    fleet.stop().await;
}
