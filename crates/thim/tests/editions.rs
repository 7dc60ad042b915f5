//! What the command line says of editions: imported, listed, shown, held, released, looked back at and verified, each
//! with its exit code and its JSON. The files are what a simulated vendor signed; nothing from outside the repository
//! is needed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::Value;
use thim_sim::{Ca, Revocation, Sim, SimConfig};
use thim_verify::UnixTime;

const KEY: &str = "intel/pck-crl/platform";
const START: &str = "2026-11-24T12:00:00Z";
/// After the vendor revoked 72 more, and after it took them back.
const MORE: &str = "2026-11-25T12:00:00Z";
const FEWER: &str = "2026-11-25T16:00:00Z";
const LAPSED: &str = "2026-11-28T16:00:00Z";

/// A vendor, a folder with its root, and three editions of one CRL as files.
struct Place {
    folder: tempfile::TempDir,
    sim: Sim,
}

impl Place {
    async fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(secs(START)));
        let reads = Arc::clone(&clock);
        let sim = thim_sim::start(SimConfig {
            pcs_listen: ([127, 0, 0, 1], 0).into(),
            management_listen: ([127, 0, 0, 1], 0).into(),
            now: Arc::new(move || reads.load(Ordering::SeqCst)),
            api_key: None,
        })
        .await
        .expect("the simulator starts");
        let place = Self {
            folder: tempfile::tempdir().expect("a folder"),
            sim,
        };
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(place.path(name), bytes).expect("written");
        write("root.pem", place.sim.root_pem().as_bytes());
        write(
            "thim.toml",
            b"[intel]\nupstream = []\n[trust]\nintel_roots = [\"root.pem\"]\n",
        );
        let list = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der";
        let (body, chain) = place.get(list);
        write("chain.pem", &chain);
        write("first.der", &body);
        write("root.der", &place.get("/IntelSGXRootCA.der").0);
        let management = place.sim.management();
        clock.store(secs(MORE), Ordering::SeqCst);
        management
            .revoke(&Revocation::random(Ca::Platform, 72))
            .expect("revoked");
        write("more.der", &place.get(list).0);
        clock.store(secs(FEWER), Ordering::SeqCst);
        management.shrink(Ca::Platform, 72).expect("shrunk");
        write("fewer.der", &place.get(list).0);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An answer of the vendor: the body, and the chain that came with it.
    fn get(&self, path: &str) -> (Vec<u8>, Vec<u8>) {
        let url = self.sim.pcs_url();
        let host = url.strip_prefix("http://").expect("plain HTTP");
        let mut stream = TcpStream::connect(host).expect("connected");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .expect("asked");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        let end = answer
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .expect("a header");
        let header = String::from_utf8_lossy(&answer[..end]).into_owned();
        assert!(header.starts_with("HTTP/1.1 200"), "{path}: {header}");
        let chain = header
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.to_ascii_lowercase().ends_with("issuer-chain"))
            .map(|(_, value)| decoded(value));
        (answer.split_off(end + 4), chain.unwrap_or_default())
    }

    /// `thim collateral ACT` with the store of this place, at an instant.
    fn collateral(&self, clock: &str, act: &[&str]) -> Output {
        self.command(&["collateral"], act)
            .arg("--data")
            .arg(self.path("data"))
            .args(["--clock", clock])
            .output()
            .expect("the program starts")
    }

    fn verify(&self, act: &[&str]) -> Output {
        self.command(&["verify", "collateral"], act)
            .output()
            .expect("the program starts")
    }

    fn command(&self, name: &[&str], act: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thim"));
        command
            .current_dir(self.folder.path())
            .args(name)
            .args(act)
            .args(["--config", "thim.toml"])
            .stdin(Stdio::null());
        command
    }

    /// What an act printed, which succeeded.
    fn json(&self, clock: &str, act: &[&str]) -> Value {
        let act: Vec<&str> = act.iter().copied().chain(["--json"]).collect();
        let output = self.collateral(clock, &act);
        assert_eq!(code(&output), 0, "{act:?}: {}", said(&output));
        assert!(output.stderr.is_empty(), "{act:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).expect("JSON and nothing else")
    }

    /// The three editions, the last of them held; its id.
    fn hold(&self) -> String {
        for (clock, files) in [
            (START, vec!["first.der", "chain.pem", "root.der"]),
            (MORE, vec!["more.der"]),
            (FEWER, vec!["fewer.der"]),
        ] {
            self.json(clock, &[&["import"][..], &files].concat());
        }
        let held = self.json(FEWER, &["list", "--state", "held"]);
        assert_eq!(held.as_array().map(Vec::len), Some(1), "{held}");
        held[0]["id"].as_str().expect("an id").to_owned()
    }
}

fn secs(time: &str) -> i64 {
    time.parse::<UnixTime>().expect("a time").secs()
}

fn decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        out.push(u8::from_str_radix(&part[..2], 16).expect("hex"));
        out.extend(part[2..].bytes());
    }
    out
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn members(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

fn column<'a>(rows: &'a Value, name: &str) -> Vec<&'a str> {
    let rows = rows.as_array().expect("rows");
    rows.iter()
        .map(|row| row[name].as_str().unwrap_or("-"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_counts_and_its_exit_code_says_whether_anything_was_refused() {
    let place = Place::new().await;
    let all = [
        "import",
        "first.der",
        "more.der",
        "fewer.der",
        "chain.pem",
        "root.der",
        "thim.toml",
        "--json",
    ];
    let output = place.collateral(MORE, &all);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "{\"admitted\":3,\"known\":0,\"held\":0,\"future\":1,\"ignored\":1,\"refused\":[]}\n"
    );
    let output = place.collateral(FEWER, &all);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "{\"admitted\":0,\"known\":3,\"held\":1,\"future\":0,\"ignored\":1,\"refused\":[]}\n"
    );
    let good = std::fs::read(place.path("more.der")).expect("read");
    std::fs::write(place.path("cut.der"), &good[..good.len() - 9]).expect("written");
    let output = place.collateral(FEWER, &["import", "cut.der", "more.der", "gone", "--json"]);
    assert_eq!(code(&output), 1);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["known"], 1);
    assert_eq!(column(&report["refused"], "path"), ["cut.der", "gone"]);
    assert_eq!(column(&report["refused"], "kind"), ["crl", "file"]);
    assert_eq!(members(&report["refused"][0]), ["kind", "path", "reason"]);
    // For people, the same numbers in lines.
    let output = place.collateral(FEWER, &["import", "cut.der", "more.der"]);
    assert_eq!(code(&output), 1);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("known") && text.contains("cut.der (crl)"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_edition_is_listed_shown_and_released_once() {
    let place = Place::new().await;
    let held = place.hold();
    let list = place.json(FEWER, &["list", "--key", KEY]);
    assert_eq!(column(&list, "state"), ["superseded", "current", "held"]);
    assert_eq!(
        place.json(FEWER, &["list", "--key", KEY, "--limit", "1"])[0]["state"],
        "superseded"
    );
    let shown = place.json(FEWER, &["show", KEY]);
    assert_eq!(
        (&shown["state"], &shown["revoked_entries"]),
        (&"current".into(), &129.into())
    );
    for name in [
        "admitted",
        "chain",
        "document_bytes",
        "freshness",
        "id",
        "issued",
        "key",
        "next_update",
        "revocation",
        "source",
    ] {
        assert!(members(&shown).contains(&name), "{name}: {shown}");
    }
    let body = place.collateral(FEWER, &["show", KEY, "--body"]);
    assert_eq!(
        body.stdout,
        std::fs::read(place.path("more.der")).expect("read"),
        "byte for byte"
    );

    for (id, exit) in [
        (&held[..7], 2),
        ("not-hex-digits", 2),
        ("0123456789abcdef", 1),
        (shown["id"].as_str().expect("an id"), 1),
        (&held[..8], 0),
        (&held, 1),
    ] {
        let output = place.collateral(FEWER, &["release", id]);
        assert_eq!(code(&output), exit, "{id}: {}", said(&output));
        // What it says goes to standard output where it is good news, and only there.
        assert_eq!(output.stdout.is_empty(), exit != 0, "{id}");
        assert_eq!(output.stderr.is_empty(), exit == 0, "{id}");
    }
    assert_eq!(place.json(FEWER, &["show", KEY])["revoked_entries"], 57);
    let history = place.json(FEWER, &["history", KEY]);
    assert_eq!(
        column(&history, "state"),
        ["superseded", "superseded", "current"]
    );
    let last = &history[2]["transitions"];
    assert_eq!(column(last, "state"), ["held", "current"]);
    assert_eq!(
        column(last, "cause"),
        ["un-revokes 72", "released by the command line"]
    );
    assert_eq!(column(last, "at"), [FEWER, FEWER]);

    let events = place.json(FEWER, &["events", "--key", KEY]);
    let names = column(&events, "name");
    assert_eq!(
        names,
        [
            "crl.revoked",
            "crl.unrevoked",
            "hold.started",
            "hold.released"
        ]
    );
    let second = events[1]["seq"].as_i64().expect("a number").to_string();
    let rest = place.json(FEWER, &["events", "--key", KEY, "--after", &second]);
    assert_eq!(column(&rest, "name"), ["hold.started", "hold.released"]);
    let one = place.json(FEWER, &["events", "--key", KEY, "--limit", "1"]);
    assert_eq!(column(&one, "name"), ["crl.revoked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_lapses_for_the_next_command_after_its_end() {
    let place = Place::new().await;
    let held = place.hold();
    let before = UnixTime::to_string(&LAPSED.parse::<UnixTime>().expect("a time").plus_secs(-1));
    assert_eq!(place.json(&before, &["show", KEY])["revoked_entries"], 129);
    let shown = place.json(LAPSED, &["show", KEY]);
    assert_eq!(
        (shown["id"].as_str(), &shown["revoked_entries"]),
        (Some(held.as_str()), &57.into())
    );
    let output = place.collateral(LAPSED, &["release", &held]);
    assert_eq!(code(&output), 1, "there is nothing left to release");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_at_an_instant_is_told_and_the_past_is_not_changed() {
    let place = Place::new().await;
    let held = place.hold();
    place.json(LAPSED, &["import", "fewer.der"]);
    let known = |at: &str| {
        let rows = place.json(LAPSED, &["list", "--key", KEY, "--known-at", at]);
        column(&rows, "state").join(" ")
    };
    assert_eq!(known("2026-11-24T11:59:59Z"), "");
    assert_eq!(known(START), "current");
    assert_eq!(known(MORE), "superseded current");
    assert_eq!(known(FEWER), "superseded current held");
    assert_eq!(known(LAPSED), "superseded superseded current");
    let history = place.json(LAPSED, &["history", KEY, "--known-at", FEWER]);
    assert_eq!(column(&history[2]["transitions"], "state"), ["held"]);

    // A clock before the newest admission: the vendor's dates decide, and nothing is changed.
    let shown = place.json(MORE, &["show", KEY]);
    assert_eq!(shown["revoked_entries"], 129);
    for act in [
        &["import", "fewer.der"][..],
        &["release", &held],
        &["refresh"],
    ] {
        let output = place.collateral(MORE, act);
        assert_eq!(code(&output), 2, "{act:?}");
        assert!(output.stdout.is_empty(), "{act:?}");
        assert!(said(&output).contains("can only be read"), "{act:?}");
        assert!(said(&output).contains(MORE), "{act:?}: {}", said(&output));
    }
    assert_eq!(known(LAPSED), "superseded superseded current");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_editions_is_a_no_and_a_key_that_is_none_cannot_be_told() {
    let place = Place::new().await;
    place.hold();
    for act in ["show", "history"] {
        let absent = place.collateral(FEWER, &[act, "intel/pck-crl/processor"]);
        assert_eq!(code(&absent), 1, "{act}: {}", said(&absent));
        assert!(
            said(&absent).contains("intel/pck-crl/processor"),
            "{}",
            said(&absent)
        );
        let unknown = place.collateral(FEWER, &[act, "intel/pck-crl/plattform"]);
        assert_eq!(code(&unknown), 2, "{act}");
        assert!(said(&unknown).contains("plattform"), "{}", said(&unknown));
    }
    let unknown = place.collateral(FEWER, &["list", "--key", "intel"]);
    assert_eq!(code(&unknown), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn verifying_says_yes_no_or_that_it_cannot_tell() {
    let place = Place::new().await;
    let good = std::fs::read(place.path("more.der")).expect("read");
    std::fs::write(place.path("cut.der"), &good[..good.len() - 9]).expect("written");
    std::fs::write(place.path("words"), "no collateral").expect("written");
    let mut altered = good;
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    std::fs::write(place.path("altered.der"), altered).expect("written");
    let whole = ["more.der", "chain.pem", "root.der"];
    let expired = "2027-01-24T12:00:00Z";
    for (files, at, strict, exit) in [
        (&whole[..], FEWER, true, 0),
        // Its revocation cannot be looked up without the root's list.
        (&whole[..2], FEWER, false, 0),
        (&whole[..2], FEWER, true, 1),
        // That it has expired is said, and is a no only if asked so.
        (&whole, expired, false, 0),
        (&whole, expired, true, 1),
        // Not issued yet, no chain, altered, cut.
        (&whole, START, false, 1),
        (&["more.der"], FEWER, false, 1),
        (&["altered.der", "chain.pem"], FEWER, false, 1),
        (&["cut.der"], FEWER, false, 1),
        // Nothing to tell about, or not readable.
        (&["words"], FEWER, false, 2),
        (&["chain.pem"], FEWER, false, 2),
        (&["more.der", "chain.pem", "gone"], FEWER, false, 2),
    ] {
        let mut act = files.to_vec();
        act.extend(["--at", at, "--json"]);
        if strict {
            act.push("--strict");
        }
        let output = place.verify(&act);
        assert_eq!(code(&output), exit, "{act:?}: {}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["at"], at);
    }
    let output = place.verify(&["more.der", "chain.pem", "root.der", "--at", FEWER, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let object = &report["objects"][0];
    assert_eq!(
        (&object["key"], &object["verdict"], &object["revocation"]),
        (&KEY.into(), &"verified".into(), &"checked".into())
    );
    assert!(!place.path("thim-data").exists(), "it needs no store");
    assert_eq!(code(&place.verify(&[])), 2);
    // Without the vendor's root in the configuration nothing of it is believed.
    let output = Command::new(env!("CARGO_BIN_EXE_thim"))
        .current_dir(place.folder.path())
        .args([
            "verify",
            "collateral",
            "more.der",
            "chain.pem",
            "--at",
            FEWER,
        ])
        .output()
        .expect("the program starts");
    assert_eq!(code(&output), 1);
}
