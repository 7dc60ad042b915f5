//! `thim baseline`: the real program on a service and on its store. A baseline's whole life with the exit code of each step, a
//! statement judged by file, and a store that somebody tampered with.

#![allow(clippy::disallowed_methods, reason = "a test of the world may read it")]

mod program;

use std::path::Path;
use std::process::Output;

use program::{code, get, json, out, said, serve, text, thim};

const TDX_FMSPC: &str = "50806F53494D";

/// The program with these options after the arguments.
fn with(options: &[&str], arguments: &[&str]) -> Output {
    let all: Vec<&str> = arguments.iter().chain(options).copied().collect();
    thim(&all)
}

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("written");
    text(&path).to_owned()
}

/// Runs, and wants this exit code.
#[track_caller]
fn wants(wanted: i32, output: Output) -> Output {
    assert_eq!(code(&output), wanted, "{}\n{}", out(&output), said(&output));
    output
}

#[test]
fn the_life_of_a_baseline_on_a_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let (running, url, data) = serve(&data);
    let token = data.join("admin.token");
    let service = ["--service", &url, "--token-file", text(&token)];
    let run = |arguments: &[&str]| with(&service, arguments);
    let tcb = format!("/tdx/certification/v4/tcb?fmspc={TDX_FMSPC}");
    assert_eq!(get(&url, &tcb, &[]).status, 200);

    let rules = file(
        folder.path(),
        "rules.toml",
        "[[baseline]]\ntee = \"tdx\"\nreason = \"keep\"\nselector = { number = 19 }\n\n\
         [[baseline]]\ntee = \"tdx\"\ntenant = \"acme\"\nselector = \"early\"\n",
    );
    wants(1, run(&["baseline", "diff", &rules]));
    let drafted = wants(0, run(&["baseline", "apply", &rules, "--json"]));
    let drafted = json(&drafted);
    assert_eq!(drafted.as_array().map(Vec::len), Some(2), "{drafted}");
    // Twice is once.
    wants(0, run(&["baseline", "apply", &rules]));
    wants(1, run(&["baseline", "diff", &rules]));
    let told = wants(0, run(&["baseline", "forecast", "--tee", "tdx", "--json"]));
    let told = json(&told);
    let digest = told["digest"].as_str().expect("a digest").to_owned();
    assert_eq!(told["columns"][1]["number"], 19);
    let human = wants(0, run(&["baseline", "forecast", "--tee", "tdx"]));
    assert!(
        out(&human).contains("nobody drops out") && out(&human).contains(&digest),
        "{}",
        out(&human)
    );
    let promote = |tenant: &str, forecast: &str| {
        run(&[
            "baseline",
            "promote",
            "--tee",
            "tdx",
            "--tenant",
            tenant,
            "--forecast",
            forecast,
        ])
    };
    wants(1, promote("default", &"0".repeat(64)));
    wants(0, promote("default", &digest));
    let forecast = [
        "baseline", "forecast", "--tee", "tdx", "--tenant", "acme", "--json",
    ];
    let told = json(&wants(0, run(&forecast)));
    let digest = told["digest"].as_str().expect("a digest").to_owned();
    wants(0, promote("acme", &digest));
    wants(0, run(&["baseline", "diff", &rules]));
    let acme = get(&url, &format!("/tenants/acme{tcb}"), &[]);
    assert_eq!(acme.header("thim-baseline"), "acme; number=20; version=1");
    assert_eq!(
        get(&url, &tcb, &[]).header("thim-baseline"),
        "default; number=19; version=1"
    );

    // A statement, judged out of a file.
    let statement = ["baseline", "statement", "--tee", "tdx"];
    let signed = file(
        folder.path(),
        "statement.jwt",
        &out(&wants(0, run(&statement))),
    );
    let keys = get(&url, "/.well-known/jwks.json", &[]).body;
    let keys = file(
        folder.path(),
        "jwks.json",
        std::str::from_utf8(&keys).expect("text"),
    );
    let judge = |more: &[&str]| {
        let all = [
            &statement,
            &["--verify", &signed, "--jwks", &keys][..],
            more,
        ]
        .concat();
        thim(&all)
    };
    assert_eq!(
        json(&wants(0, judge(&["--seen", "1"])))["baseline"]["number"],
        19
    );
    let kept = file(folder.path(), "seen.json", &out(&wants(0, judge(&[]))));
    wants(0, judge(&["--seen", &kept]));
    let later = std::fs::read_to_string(&kept).expect("read");
    let later = later
        .replace("\"acts\": ", "\"acts\": 9")
        .replace("\"acts\":", "\"acts\":9");
    let later = file(folder.path(), "later.json", &later);
    wants(1, judge(&["--seen", &later]));
    wants(2, judge(&["--seen", "nowhere.json"]));
    let older = wants(1, judge(&["--seen", "2"]));
    assert!(said(&older).contains("version"), "{}", said(&older));
    wants(1, judge(&["--at", "2999-01-01T00:00:00Z"]));
    wants(1, judge(&["--tenant", "acme"]));
    wants(0, run(&["baseline", "rotate-key"]));
    let rotated = get(&url, "/.well-known/jwks.json", &[]).body;
    let rotated = file(
        folder.path(),
        "jwks.json",
        std::str::from_utf8(&rotated).expect("text"),
    );
    assert_eq!(rotated, keys);
    wants(0, judge(&[]));

    // Back, with a reason; and what is typed wrong.
    let newer = file(
        folder.path(),
        "newer.toml",
        "[[baseline]]\ntee = \"tdx\"\nselector = { number = 20 }\n",
    );
    let told = json(&wants(
        0,
        run(&[
            "baseline", "forecast", "--tee", "tdx", "--to", &newer, "--json",
        ]),
    ));
    assert_eq!(told["columns"][1]["number"], 20);
    wants(0, run(&["baseline", "apply", &newer]));
    let discard = ["baseline", "discard", "--tee", "tdx", "--version", "2"];
    wants(0, run(&discard));
    wants(1, run(&discard));
    for (arguments, code, word) in [
        (
            &["baseline", "forecast", "--tee", "tdx", "--to", "0"][..],
            2,
            "1 or more",
        ),
        (
            &[
                "baseline",
                "forecast",
                "--tee",
                "tdx",
                "--to",
                "nowhere.toml",
            ],
            2,
            "nowhere.toml",
        ),
        (
            &["baseline", "forecast", "--tee", "sev-snp", "--to", "early"],
            2,
            "no evaluation numbers",
        ),
        (&["baseline", "forecast", "--tee", "amd"], 2, "amd"),
        (
            &["baseline", "show", "--tee", "tdx", "--tenant", "sgx"],
            2,
            "sgx",
        ),
        (
            &[
                "baseline",
                "rollback",
                "--tee",
                "tdx",
                "--forecast",
                &digest,
            ],
            1,
            "reason",
        ),
        (&["baseline", "apply", "nowhere.toml"], 2, "nowhere.toml"),
    ] {
        let refused = wants(code, run(arguments));
        assert!(
            said(&refused).contains(word),
            "{arguments:?}: {}",
            said(&refused)
        );
    }
    for bad in [
        "[[baseline]]\ntee = \"tdx\"\nselector = { number = 0 }\n",
        "[[baseline]]\ntee = \"tdx\"\nselect = \"early\"\n",
        "[[baseline]]\ntee = \"tdx\"\naccepted_statuses = [\"Revoked\"]\n",
        "[[baseline]]\ntee = \"tdx\"\non_retired = \"archive\"\n",
    ] {
        let bad = file(folder.path(), "bad.toml", bad);
        wants(1, run(&["baseline", "apply", &bad]));
    }
    let log = wants(0, run(&["baseline", "log", "--verify", "--json"]));
    let log = json(&log);
    let acts = log["acts"].as_array().or(log.as_array()).expect("acts");
    assert_eq!(acts.len(), 6, "{log}");
    let hash = acts[3]["hash"].as_str().expect("a hash").to_owned();
    wants(0, run(&["baseline", "log", "--verify", "--head", &hash]));
    wants(
        1,
        run(&["baseline", "log", "--verify", "--head", &"1".repeat(64)]),
    );
    drop(running);

    // The same on the store, and a store in which somebody changed who it was.
    let (root, roots) = (data.join("root.pem"), data.join("amd-roots.pem"));
    let config = file(
        folder.path(),
        "thim.toml",
        &format!(
            "[trust]\nintel_roots = [{root:?}]\namd_roots = [{roots:?}]\n[intel]\nupstream = []\n[amd]\nupstream = []\n"
        ),
    );
    let store = ["--data", text(&data), "--config", &config];
    wants(
        0,
        with(&store, &["baseline", "log", "--verify", "--head", &hash]),
    );
    let listed = json(&wants(0, with(&store, &["baseline", "list", "--json"])));
    assert!(listed.to_string().contains("acme"), "{listed}");
    wants(0, with(&store, &["baseline", "diff", &rules]));
    let bad = text(&folder.path().join("bad.toml")).to_owned();
    wants(1, with(&store, &["baseline", "apply", &bad]));
    change(
        &data.join("thim.db"),
        "UPDATE baseline_act SET who = 'nobody' WHERE seq = 3",
    );
    let broken = wants(1, with(&store, &["baseline", "log", "--verify"]));
    assert!(
        format!("{}{}", out(&broken), said(&broken)).contains('3'),
        "it names the act: {} {}",
        out(&broken),
        said(&broken)
    );
    let reason = ["--who", "me"];
    let refused = with(
        &store,
        &[&["baseline", "apply", &newer][..], &reason].concat(),
    );
    assert_ne!(code(&refused), 0, "nothing is added to a broken chain");
}

/// Changes a store behind the program's back.
fn change(database: &Path, statement: &'static str) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        use sqlx::{Connection, Executor};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
        let mut connection = sqlx::SqliteConnection::connect_with(&options)
            .await
            .expect("opens");
        connection
            .execute("DROP TRIGGER IF EXISTS baseline_act_unchanged")
            .await
            .expect("done");
        let changed = connection.execute(statement).await.expect("changed");
        assert_eq!(changed.rows_affected(), 1);
        connection.close().await.expect("closed");
    });
}
