//! AMD's half as its users meet it: the program as a service and as a node's agent, the simulated key server beside it,
//! and then the key server dead (the second item of the AMD issue's list).

mod program;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use program::{code, get, json, said, start, text, thim};
use thim_server::clock::Clock;
use thim_sim::{AmdProduct, FaultRule, KdsConfig, KdsFault, ReportSpec, RsaBits, SimChip};

const METADATA: &str = "/metadata/THIM/amd/certification";

/// A simulated key server, and the configuration of a service that asks it.
async fn key_server(folder: &Path) -> (thim_sim::Kds, String) {
    let clock = Clock::system();
    let now = Arc::new(move || clock.now().secs());
    let kds = thim_sim::start_kds(KdsConfig::new(now).rsa_bits(RsaBits::B2048))
        .await
        .expect("the simulator starts");
    std::fs::write(folder.join("amd.pem"), kds.roots_pem()).expect("written");
    let config = folder.join("thim.toml");
    std::fs::write(
        &config,
        format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[https]\nlisten = \"off\"\n[intel]\nupstream = []\n\
             [amd]\nupstream = [\"{}\"]\n[trust]\namd_roots = [\"amd.pem\"]\n",
            kds.url()
        ),
    )
    .expect("written");
    (kds, text(&config).to_owned())
}

fn agent(
    folder: &Path,
    name: &str,
    chip_id: &str,
    tcb: &str,
    service: &str,
) -> (program::Running, String) {
    let config = folder.join(format!("{name}.toml"));
    std::fs::write(
        &config,
        format!(
            "[service]\nurl = \"{service}\"\n[http]\nlisten = \"127.0.0.1:0\"\n[health]\nlisten = \"off\"\n\
             [host]\nsource = \"config\"\nchip_id = \"{chip_id}\"\nreported_tcb = \"{tcb}\"\n[trust]\namd_roots = [\"amd.pem\"]\n",
        ),
    )
    .expect("written");
    let data = folder.join(format!("{name}-data"));
    start(&["agent", "--config", text(&config), "--data", text(&data)])
}

fn tcbm(chip: &SimChip) -> String {
    chip.reported.tcbm(chip.product)
}

/// Asks until it is there: an agent fetches in the background.
fn once_there(agent: &str) -> program::Got {
    let begun = Instant::now();
    loop {
        let got = get(agent, METADATA, &["Metadata: true"]);
        if got.status == 200 || begun.elapsed() > Duration::from_secs(20) {
            return got;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_key_server_dead_known_chips_are_served_and_unknown_ones_get_a_cause() {
    let folder = tempfile::tempdir().expect("a folder");
    let (kds, config) = key_server(folder.path()).await;
    let data = folder.path().join("data");
    let serve = ["serve", "--config", &config, "--data", text(&data)];
    let (service, url) = start(&serve);
    let chips = kds.management().chips();
    let tokens = data.join("admin.token");
    for chip in &chips {
        let report = folder.path().join(format!("{}.bin", chip.name));
        std::fs::write(&report, chip.report(&ReportSpec::default())).expect("written");
        let product = chip.product.name();
        let done = thim(&[
            "platform",
            "register",
            "--amd",
            text(&report),
            "--product",
            product,
            "--label",
            &chip.name,
            "--service",
            &url,
            "--token-file",
            text(&tokens),
            "--json",
        ]);
        assert_eq!(code(&done), 0, "{}", said(&done));
        assert_eq!(json(&done)[0]["product"], product);
        // Its certificate was wanted from then on; who asks for it only waits for that.
        assert_eq!(get(&url, &chip.target(), &[]).status, 200, "{product}");
    }
    let milan = kds.management().chip_of(AmdProduct::Milan);
    let (node, node_url) = agent(
        folder.path(),
        "node",
        &milan.hwid_hex(),
        &tcbm(&milan),
        &url,
    );
    let alive = once_there(&node_url);
    assert_eq!(alive.status, 200, "{}", alive.head);

    kds.management()
        .set_fault(FaultRule::new(KdsFault::Down))
        .expect("a fault");
    // Started anew, so that nothing is served from memory alone.
    drop(service);
    let (service, url) = start(&serve);
    for chip in &chips {
        let der = get(&url, &chip.target(), &[]);
        assert_eq!(
            (der.status, der.header("content-type")),
            (200, "application/octet-stream")
        );
        let cache = format!("/SevSnpVM/certificates/{}/{}", chip.hwid_hex(), tcbm(chip));
        let cache = get(&url, &cache, &[]);
        assert_eq!(cache.status, 200);
        assert_eq!(
            String::from_utf8_lossy(&cache.body)
                .matches("BEGIN CERTIFICATE")
                .count(),
            3
        );
        let asked = format!(
            "{METADATA}?platformId={}&tcbVersion={}",
            chip.hwid_hex(),
            tcbm(chip)
        );
        let metadata = get(&url, &asked, &["Metadata: true"]);
        let metadata: serde_json::Value = serde_json::from_slice(&metadata.body).expect("JSON");
        assert_eq!(metadata["tcbm"], tcbm(chip));
    }
    let served: serde_json::Value =
        serde_json::from_slice(&get(&node_url, METADATA, &["Metadata: true"]).body).expect("JSON");
    assert_eq!(served["tcbm"], tcbm(&milan));

    // A chip that nobody knows: a cause, and in time.
    let unknown = "ab".repeat(64);
    let begun = Instant::now();
    let target = format!("/vcek/v1/Milan/{unknown}?blSPL=1&teeSPL=0&snpSPL=1&ucodeSPL=1");
    let nothing = get(&url, &target, &[]);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert!([429, 503].contains(&nothing.status), "{}", nothing.head);
    assert!(!nothing.header("thim-cause").is_empty() && !nothing.header("retry-after").is_empty());
    let (stranger, stranger_url) = agent(
        folder.path(),
        "stranger",
        &unknown,
        "0101000000000001",
        &url,
    );
    let begun = Instant::now();
    let nothing = get(&stranger_url, METADATA, &["Metadata: true"]);
    assert!(
        begun.elapsed() < Duration::from_millis(1_500),
        "{:?}",
        begun.elapsed()
    );
    assert_ne!(nothing.status, 200);
    assert!(!nothing.header("thim-cause").is_empty(), "{}", nothing.head);

    // And with the service dead too, a node that starts serves what it keeps.
    drop((service, stranger, node));
    let (_node, node_url) = agent(
        folder.path(),
        "node",
        &milan.hwid_hex(),
        &tcbm(&milan),
        &url,
    );
    assert_eq!(
        get(&node_url, METADATA, &["Metadata: true"]).body,
        alive.body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_certificates_are_fetched_before_the_firmware_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let (kds, config) = key_server(folder.path()).await;
    let data = folder.path().join("data");
    let (_service, url) = start(&["serve", "--config", &config, "--data", text(&data)]);
    let tokens = data.join("admin.token");
    let milan = kds.management().chip_of(AmdProduct::Milan);
    let described = folder.path().join("chips.json");
    let entry = serde_json::json!([{
        "product": "Milan", "chipId": milan.hwid_hex(), "reportedTcb": tcbm(&milan), "label": "host-1",
    }]);
    std::fs::write(&described, entry.to_string()).expect("written");
    let through = ["--service", &url, "--token-file", text(&tokens)];
    let run = |arguments: &[&str]| thim(&[&["platform"], arguments, &through[..]].concat());
    assert_eq!(code(&run(&["register", "--amd", text(&described)])), 0);

    let next = thim_sim::SimTcb::new(4, 0, 27, 222);
    kds.management()
        .release(AmdProduct::Milan, next)
        .expect("released");
    let done = run(&[
        "prewarm",
        "--product",
        "Milan",
        "--tcb",
        "bl=4,tee=0,snp=27,ucode=222",
        "--wait",
        "--json",
    ]);
    assert_eq!(code(&done), 0, "{}", said(&done));
    let report = json(&done);
    assert_eq!(
        (
            report["chips"].as_i64(),
            report["held"].as_i64(),
            report["wanted"].as_i64()
        ),
        (Some(1), Some(1), Some(0))
    );

    kds.management()
        .set_fault(FaultRule::new(KdsFault::Down))
        .expect("a fault");
    assert_eq!(get(&url, &milan.target_for(&next), &[]).status, 200);
    let listed = run(&["list", "--amd", "--json"]);
    let id = json(&listed)[0]["id"].as_str().expect("an id").to_owned();
    let shown = run(&["show", "--amd", &id, "--json"]);
    let certificates = json(&shown)["certificates"].as_array().map(Vec::len);
    assert_eq!(certificates, Some(2), "{}", said(&shown));
    for output in [&listed, &shown] {
        assert!(!program::out(output).contains(&milan.hwid_hex()));
    }
    assert_eq!(code(&run(&["forget", "--amd", &id])), 0);
    assert_eq!(code(&run(&["show", "--amd", &id])), 1);
    for wrong in [
        &["prewarm", "--product", "Rome", "--tcb", "3"][..],
        &["prewarm", "--product", "Milan", "--tcb", "bl=4"],
        &[
            "prewarm",
            "--product",
            "Turin",
            "--tcb",
            "bl=4,tee=0,snp=27,ucode=222",
        ],
        &["register", "--amd", text(&data.join("admin.token"))],
    ] {
        assert_eq!(code(&run(wrong)), 2, "{wrong:?}");
    }
}
