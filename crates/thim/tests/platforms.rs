//! `thim platform`: the real program on a store and on a service, with the simulator as the vendor.

mod pccs_support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};

use pccs_support::{LARGE, SGX_ONLY, START, World, code, json, said, text, upper};
use thim_sim::{PlatformSpec, SimPlatform};

/// Stops the child when a test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service on a store, and the options that lead to it.
fn serve(world: &World, data: &str) -> (Running, Vec<String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_thim"))
        .args(["serve", "--clock", START, "--config"])
        .arg(world.at("thim.toml"))
        .arg("--data")
        .arg(world.at(data))
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
    let token = world.at(data).join("admin.token");
    let options = [
        "--service",
        &format!("http://{url}"),
        "--token-file",
        text(&token),
    ];
    (Running(child), options.map(str::to_owned).to_vec())
}

/// The program on a store, or with other options on a service.
fn thim(world: &World, service: Option<&[String]>, arguments: &[&str]) -> Output {
    let Some(service) = service else {
        return world.thim(arguments);
    };
    Command::new(env!("CARGO_BIN_EXE_thim"))
        .args(arguments)
        .args(service)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn name(platform: &SimPlatform) -> String {
    format!("{}:{}", upper(&platform.qe_id), upper(&platform.pce_id))
}

/// The life of some platforms, on a store or a service: the words and the exit codes are the same.
fn the_life_of_platforms(world: &World, service: Option<&[String]>) {
    let run = |arguments: &[&str]| thim(world, service, arguments);
    let small = world.add(PlatformSpec::new(SGX_ONLY, 1), 2);
    let large = world.add(PlatformSpec::new(LARGE, 2), 1).remove(0);
    let zero = world
        .add(PlatformSpec::new(SGX_ONLY, 1).zero_encrypted_ppid(), 1)
        .remove(0);
    let file = |name: &str, content: &str| {
        let path = world.at(name);
        std::fs::write(&path, content).expect("written");
        text(&path).to_owned()
    };
    let csv = file(
        "hosts.csv",
        &format!("{}\n{}\n", small[0].retrieval_csv(), large.retrieval_csv()),
    );
    let request = file("host.json", &small[1].retrieval_request());
    let registered = run(&["platform", "register", &csv, &request, "--json"]);
    assert_eq!(code(&registered), 0, "{}", said(&registered));
    let registered = json(&registered);
    let states = registered.as_array().expect("a list").iter();
    assert!(
        states.clone().all(|one| one["state"] == "ready"),
        "{registered}"
    );
    assert_eq!(states.count(), 3);

    let zeros = file("zeros.csv", &zero.retrieval_csv());
    let refused = run(&["platform", "register", &zeros]);
    assert_eq!(code(&refused), 1, "{}", said(&refused));
    let shown = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(
        shown.contains("REFUSED") && shown.contains("all zeros"),
        "{shown}"
    );
    // It is told of a guest only where this is one.
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let guest = cpuinfo
        .lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    assert_eq!(
        said(&refused).contains("looks like a guest"),
        guest,
        "{}",
        said(&refused)
    );

    // Lists: everything, by state, by family, so many.
    let count = |arguments: &[&str]| {
        let listed = run(&[&["platform", "list", "--json"], arguments].concat());
        assert_eq!(code(&listed), 0, "{arguments:?}: {}", said(&listed));
        json(&listed).as_array().map(Vec::len)
    };
    assert_eq!(count(&[]), Some(3));
    assert_eq!(count(&["--state", "ready", "--fmspc", LARGE]), Some(1));
    assert_eq!(count(&["--state", "refused"]), Some(0));
    assert_eq!(count(&["--limit", "2"]), Some(2));
    let table = run(&["platform", "list"]);
    assert_eq!(String::from_utf8_lossy(&table.stdout).lines().count(), 3);

    // One of them, by either name; nothing secret is shown.
    let by_name = run(&["platform", "show", &name(&large), "--json"]);
    assert_eq!(code(&by_name), 0, "{}", said(&by_name));
    let record = json(&by_name);
    let id = record["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        json(&run(&["platform", "show", &id, "--json"]))["names"],
        record["names"]
    );
    assert_eq!(
        (&record["manifest"], &record["cached_keys"]),
        (&true.into(), &false.into())
    );
    let shown = run(&["platform", "show", &id]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("manifest kept") && shown.contains(&name(&large)),
        "{shown}"
    );
    for secret in [
        &large.ppid[..],
        &large.encrypted_ppid[..32],
        &large.manifest.as_deref().expect("one")[..32],
    ] {
        let all = format!("{shown}{record}").to_uppercase();
        assert!(!all.contains(&upper(secret)));
    }
    let absent = run(&["platform", "show", "0123456789abcdef"]);
    assert_eq!(code(&absent), 1, "{}", said(&absent));

    // The doctor.
    let healthy = run(&["platform", "doctor", &id, "--json"]);
    assert_eq!(
        (code(&healthy), &json(&healthy)["cause"]),
        (0, &"none".into()),
        "{}",
        said(&healthy)
    );
    let unknown = run(&["platform", "doctor", "AB:0000"]);
    assert_eq!(code(&unknown), 1, "{}", said(&unknown));
    let shown = String::from_utf8_lossy(&unknown.stdout).into_owned();
    assert!(
        shown.starts_with("qe-id-unknown: ") && shown.contains("\nnext "),
        "{shown}"
    );
    let untold = run(&["platform", "doctor", "0123456789abcdef"]);
    assert_eq!(code(&untold), 2, "{}", said(&untold));

    // Again from the vendor: once it answers, once it refuses.
    let fetched = run(&["platform", "refetch", &id, "--json"]);
    assert_eq!(code(&fetched), 0, "{}", said(&fetched));
    world
        .management()
        .consume_manifest(&large.name)
        .expect("consumed");
    let stale = run(&["platform", "refetch", &id, "--json"]);
    assert_eq!(code(&stale), 1, "{}", said(&stale));
    assert_eq!(json(&stale)["cause"], "manifest-stale");

    // Handed on: lines, and a file each, readable by their owner alone.
    let lines = world.at("all.jsonl");
    let exported = run(&["platform", "export", "--out", text(&lines)]);
    assert_eq!(code(&exported), 0, "{}", said(&exported));
    assert!(
        said(&exported).contains("secrets are inside"),
        "{}",
        said(&exported)
    );
    let content = std::fs::read_to_string(&lines).expect("the file");
    assert_eq!(content.lines().count(), 3);
    for line in content.lines() {
        let body: serde_json::Value = serde_json::from_str(line).expect("a body");
        assert_eq!(body["collaterals"]["version"], 4);
    }
    let mode = |path: &std::path::Path| {
        let metadata = std::fs::metadata(path).expect("the file");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(&lines), 0o600);
    assert_eq!(
        code(&run(&["platform", "export", "--out", text(&lines)])),
        2,
        "it is there"
    );
    let folder = world.at("bodies/");
    let exported = run(&[
        "platform",
        "export",
        "--fmspc",
        LARGE,
        "--out",
        &format!("{}/", text(&folder)),
    ]);
    assert_eq!(code(&exported), 0, "{}", said(&exported));
    assert_eq!(mode(&folder.join(format!("{id}.json"))), 0o600);

    // And forgotten.
    let forgotten = run(&["platform", "forget", &name(&large)]);
    assert_eq!(code(&forgotten), 0, "{}", said(&forgotten));
    assert_eq!(code(&run(&["platform", "forget", &id])), 1);
    assert_eq!(count(&[]), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_store_that_nobody_has_open() {
    let world = World::new().await;
    world.configure("lazy");
    tokio::task::block_in_place(|| the_life_of_platforms(&world, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_running_service() {
    let world = World::new().await;
    world.configure("lazy");
    let (_running, service) = serve(&world, "data");
    tokio::task::block_in_place(|| the_life_of_platforms(&world, Some(&service)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_registration_keeps_no_manifest() {
    let world = World::new().await;
    world.configure("lazy");
    let platforms = world.add(PlatformSpec::new(LARGE, 2), 2);
    let request = |platform: &SimPlatform| {
        let path = world.at(&format!("{}.json", platform.name));
        std::fs::write(&path, platform.retrieval_request()).expect("written");
        text(&path).to_owned()
    };
    let direct = world.thim(&[
        "platform",
        "register",
        "--direct",
        &request(&platforms[0]),
        "--json",
    ]);
    assert_eq!(
        code(&direct),
        0,
        "{} {}",
        said(&direct),
        String::from_utf8_lossy(&direct.stdout)
    );
    let record = json(&world.thim(&["platform", "show", &name(&platforms[0]), "--json"]));
    assert_eq!(
        (&record["manifest"], &record["cached_keys"]),
        (&false.into(), &true.into())
    );
    // Registered indirectly first, it is refused for good, and the doctor says so.
    assert_eq!(
        code(&world.thim(&["platform", "register", &request(&platforms[1])])),
        0
    );
    let refused = world.thim(&["platform", "register", "--direct", &request(&platforms[1])]);
    assert_eq!(code(&refused), 1);
    let shown = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(shown.contains("cached-keys-policy"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_taken_by_another_service() {
    let world = World::new().await;
    world.configure("lazy");
    let platform = world.add(PlatformSpec::new(LARGE, 2), 1).remove(0);
    let request = world.at("host.json");
    std::fs::write(&request, platform.retrieval_request()).expect("written");
    assert_eq!(
        code(&world.thim(&["platform", "register", text(&request)])),
        0
    );
    let exported = world.thim(&["platform", "export"]);
    assert_eq!(code(&exported), 0, "{}", said(&exported));
    world.configure("offline");
    let (_running, service) = serve(&world, "island");
    let token = std::fs::read_to_string(&service[3]).expect("a token");
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let answer = client
        .put(format!(
            "{}/sgx/certification/v4/platformcollateral",
            service[1]
        ))
        .header("admin-token", token.trim())
        .header("content-type", "application/json")
        .body(exported.stdout)
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        answer.status(),
        200,
        "{:?}",
        answer.headers().get("thim-cause")
    );
    let shown = thim(
        &world,
        Some(&service),
        &["platform", "show", &name(&platform), "--json"],
    );
    assert_eq!(json(&shown)["state"], "ready", "{}", said(&shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_words_and_files_are_named_and_change_nothing() {
    let world = World::new().await;
    world.configure("lazy");
    let at = |name: &str, content: &str| {
        let path = world.at(name);
        std::fs::write(&path, content).expect("written");
        text(&path).to_owned()
    };
    let words = at("words.csv", "nothing of use");
    let secret = at(
        "secret.json",
        &format!(
            "{{\"qe_id\":\"a\",\"pce_id\":\"0000\",\"enc_ppid\":\"{}x\"}}",
            "5a".repeat(383)
        ),
    );
    let absent = text(&world.at("absent.csv")).to_owned();
    for (arguments, named) in [
        (vec!["platform", "register", &words], "line 1: columns"),
        (vec!["platform", "register", &secret], "enc_ppid"),
        (vec!["platform", "register", &absent], "absent.csv"),
        (vec!["platform", "register", "-"], "no line with a platform"),
        (vec!["platform", "register"], "FILE"),
        (
            vec!["platform", "show", "0123456789abcdeg"],
            "16 hex digits",
        ),
        (vec!["platform", "list", "--state", "good"], "good"),
        (
            vec!["platform", "list", "--fmspc", "00906E53494"],
            "00906E53494",
        ),
        (vec!["platform", "list", "--limit", "0"], "0"),
        (
            vec!["platform", "register", "--update", "never", &words],
            "never",
        ),
    ] {
        let output = world.thim(&arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", said(&output));
        assert!(
            said(&output).contains(named),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(!said(&output).contains("5a5a"), "{}", said(&output));
    }
    assert!(!world.at("data").exists());
    let dead = ["--service", "http://127.0.0.1:9"].map(str::to_owned);
    for arguments in [
        &["platform", "list"][..],
        &["platform", "doctor", "AB:0000"],
        &["platform", "export"],
        &["platform", "forget", "AB:0000"],
    ] {
        let output = thim(&world, Some(&dead), arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(said(&output).contains("127.0.0.1:9"), "{}", said(&output));
    }
}

#[test]
fn help_tells_of_every_act_and_gives_examples() {
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_thim"))
            .args(arguments)
            .arg("--help")
            .output()
            .expect("the program starts");
        assert_eq!(code(&output), 0);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let platform = help(&["platform"]);
    for word in [
        "register",
        "list",
        "show",
        "doctor",
        "forget",
        "refetch",
        "import-pccs",
        "export",
        "Examples:",
    ] {
        assert!(platform.contains(word), "{word}: {platform}");
    }
    assert!(help(&["platform", "export"]).contains("SECRETS ARE INSIDE"));
    assert!(help(&["config"]).contains("thim config convert"));
    assert!(help(&["config", "convert"]).contains("pcs-api-key"));
}
