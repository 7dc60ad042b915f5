//! `thim verify quote --record`: the real program on a store and on a service, with the simulator as the vendor.

mod pccs_support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use pccs_support::{LARGE, START, World, code, json, said, text, upper};
use thim_sim::{PlatformSpec, QuoteBody, QuoteSpec, QuoteVersion, SimPlatform};

/// Stops the child when a test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A world with a registered platform, a quote of it in a file, and the platform's name.
async fn world() -> (World, String, String) {
    let world = World::new().await;
    world.configure("lazy");
    let platform: SimPlatform = world.add(PlatformSpec::new(LARGE, 1), 1).remove(0);
    let spec = QuoteSpec::new(QuoteVersion::V5, QuoteBody::Td15);
    let quote = world.management().quote(&platform.name, &spec);
    let quote_file = world.at("quote.bin");
    std::fs::write(&quote_file, quote.expect("a quote")).expect("written");
    let hosts = world.at("hosts.csv");
    std::fs::write(&hosts, format!("{}\n", platform.retrieval_csv())).expect("written");
    let registered = world.thim(&["platform", "register", text(&hosts)]);
    assert_eq!(code(&registered), 0, "{}", said(&registered));
    let name = format!("{}:{}", upper(&platform.qe_id), upper(&platform.pce_id));
    (world, text(&quote_file).to_owned(), name)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_store_it_is_recorded_when_it_is_asked_for() {
    let (world, quote, name) = world().await;
    let show = || json(&world.thim(&["platform", "show", &name, "--json"]));
    let plain = world.thim(&["verify", "quote", &quote, "--json"]);
    let status = json(&plain)["status"].clone();
    assert!(status.is_string(), "{}", said(&plain));
    assert!(json(&plain).get("recorded").is_none());
    assert!(show().get("tee_tcb_svn").is_none());

    let recorded = world.thim(&["verify", "quote", &quote, "--record", "--json"]);
    assert_eq!(json(&recorded)["recorded"], true, "{}", said(&recorded));
    let known = show();
    assert!(known["tee_tcb_svn"].is_string(), "{known}");
    assert_eq!(known["evidence_seen"], START);
    let shown = world.thim(&["platform", "show", &name]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let svn = known["tee_tcb_svn"].as_str().expect("an SVN");
    assert!(
        shown.contains("TEE TCB SVN") && shown.contains(svn) && shown.contains("QE ISVSVN"),
        "{shown}"
    );
    let told = world.thim(&["verify", "quote", &quote, "--record"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("recorded in the register"), "{told}");

    // Of another time nothing is recorded, nor by files, which have no register.
    for other in [["--at", START], ["--collateral", &quote]] {
        let arguments = [&["verify", "quote", &quote, "--record"], &other[..]].concat();
        let refused = world.thim(&arguments);
        assert_eq!(code(&refused), 2, "{}", said(&refused));
        assert!(
            said(&refused).contains("cannot be used with"),
            "{}",
            said(&refused)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_store_it_is_recorded_where_the_configuration_says_so() {
    let (world, quote, name) = world().await;
    let file = world.at("thim.toml");
    let config = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, format!("{config}[evidence]\nrecord = true\n")).expect("written");
    let recorded = world.thim(&["verify", "quote", &quote, "--json"]);
    assert_eq!(json(&recorded)["recorded"], true, "{}", said(&recorded));
    let shown = world.thim(&["platform", "show", &name, "--json"]);
    assert!(json(&shown)["tee_tcb_svn"].is_string(), "{}", said(&shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_service_it_wants_a_token() {
    let (world, quote, _) = world().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_thim"))
        .args(["serve", "--clock", START, "--config"])
        .arg(world.at("thim.toml"))
        .arg("--data")
        .arg(world.at("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"))
        .lines()
        .map_while(Result::ok);
    let url = lines
        .find_map(|line| line.trim().strip_prefix("http://").map(str::to_owned))
        .expect("it says where");
    std::thread::spawn(move || lines.count());
    let _running = Running(child);

    let url = format!("http://{url}");
    let ask = |more: &[&str]| {
        let arguments = ["verify", "quote", &quote, "--json", "--service", &url];
        Command::new(env!("CARGO_BIN_EXE_thim"))
            .args(arguments)
            .args(more)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    };
    let refused = ask(&["--record"]);
    assert_eq!(code(&refused), 2, "{}", said(&refused));
    assert!(said(&refused).contains("token"), "{}", said(&refused));
    assert!(json(&ask(&[])).get("recorded").is_none());
    let token = world.at("data").join("admin.token");
    let recorded = ask(&["--record", "--token-file", text(&token)]);
    assert_eq!(json(&recorded)["recorded"], true, "{}", said(&recorded));
}
