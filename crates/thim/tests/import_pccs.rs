//! `thim platform import-pccs`: databases that the tests write as PCCS does, whole, old, damaged and forged.

mod pccs_support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use pccs_support::{LARGE, Pccs, SGX_ONLY, START, World, code, forged, json, said, text, upper};
use thim_sim::{PlatformSpec, SimPlatform};

/// Stops the child when a test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service on a store; where it listens.
fn serve(world: &World, data: &str, more: &[&str]) -> (Running, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_thim"))
        .args(["serve", "--config"])
        .arg(world.at("thim.toml"))
        .arg("--data")
        .arg(world.at(data))
        .args(more)
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
    // Read on in another thread, so that the child never waits for us.
    std::thread::spawn(move || lines.count());
    (Running(child), format!("http://{url}"))
}

/// What a host gets that asks as Intel's library does.
async fn pck_cert(url: &str, platform: &SimPlatform) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build();
    let url = format!(
        "{url}/sgx/certification/v4/pckcert?qeid={}&encrypted_ppid={}&cpusvn={}&pcesvn={}&pceid={}",
        upper(&platform.qe_id),
        "0".repeat(768),
        upper(&platform.cpu_svn),
        upper(&platform.pce_svn.to_le_bytes()),
        upper(&platform.pce_id)
    );
    let client = client.expect("a client");
    client.get(url).send().await.expect("an answer")
}

fn import(world: &World, database: &std::path::Path) -> Output {
    world.thim(&["platform", "import-pccs", text(database), "--json"])
}

/// `(path, reason)` of what was refused.
fn refused(report: &serde_json::Value) -> Vec<(String, String)> {
    let refused = report["refused"].as_array().expect("a list").iter();
    let told = |one: &serde_json::Value, name: &str| one[name].as_str().expect("text").to_owned();
    refused
        .map(|one| (told(one, "path"), told(one, "reason")))
        .collect()
}

/// A family of the simulator that no other platform of a test has.
fn other_family(world: &World) -> String {
    let mut families = world.sim.platforms().into_iter();
    let other = families.find(|one| one.sgx && one.fmspc != SGX_ONLY && one.fmspc != LARGE);
    other.expect("a third family").fmspc.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_platforms_of_which_two_are_forged() {
    let world = World::new().await;
    let other = other_family(&world);
    let mut platforms = world.add(PlatformSpec::new(SGX_ONLY, 1), 39);
    platforms.extend(world.add(PlatformSpec::new(LARGE, 2), 10));
    platforms.extend(world.add(PlatformSpec::new(other.clone(), 1), 1));
    let mut pccs = Pccs::create(world.at("pckcache.db"), 5, false).await;
    pccs.collateral(&world, &[SGX_ONLY, LARGE]).await;
    // Of the third family there is a TCB info, and somebody has changed it.
    for update in ["STANDARD", "EARLY"] {
        let path = format!(
            "/sgx/certification/v4/tcb?fmspc={other}&update={}",
            update.to_lowercase()
        );
        let document = world.fetch(&path, "TCB-Info-Issuer-Chain").await.body;
        let genuine = String::from_utf8(document).expect("text");
        let changed = genuine.replacen("\"OutOfDate\"", "\"UpToDate\"", 1);
        assert_ne!(genuine, changed);
        pccs.tcb_info(&other, 0, update, changed.as_bytes()).await;
    }
    let (false_certificates, false_levels) = (&platforms[7], &platforms[49]);
    for platform in &platforms {
        let certs = world.pck_certs(platform).await;
        if platform == false_certificates {
            pccs.platform(platform, &forged(certs)).await;
        } else {
            pccs.platform(platform, &certs).await;
        }
    }
    let database = pccs.close().await;
    let before = std::fs::read(&database).expect("the database");

    let output = import(&world, &database);
    assert_eq!(code(&output), 1, "{}", said(&output));
    let report = json(&output);
    assert_eq!(
        (&report["db_version"], &report["platforms"]),
        (&5.into(), &48.into())
    );
    let place = |platform: &SimPlatform| {
        format!(
            "pckcache.db#platforms/{}:{}",
            upper(&platform.qe_id),
            upper(&platform.pce_id)
        )
    };
    let told = refused(&report);
    let reason_of = |place: &str| {
        let mut found = told.iter().filter(|(path, _)| path == place);
        let reason = found.next().expect("it is listed").1.clone();
        assert!(found.next().is_none(), "{place} is listed once");
        reason
    };
    let reason = reason_of(&place(false_certificates));
    assert!(
        reason.contains("no certificate of the list verifies"),
        "{reason}"
    );
    let reason = reason_of(&place(false_levels));
    assert!(
        reason.contains(&format!("TCB info of its FMSPC {other} is refused")),
        "{reason}"
    );
    for update in ["STANDARD", "EARLY"] {
        reason_of(&format!("pckcache.db#fmspc_tcbs/{other}/0/v4/{update}"));
    }
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(std::fs::read(&database).expect("the database"), before);

    // Run again, it finds what it has done.
    let again = json(&import(&world, &database));
    assert_eq!(
        (&again["platforms"], &again["refused"]),
        (&report["platforms"], &report["refused"])
    );
    assert_eq!(again["collateral"]["admitted"], 0);

    // People read the same.
    let shown = world.thim(&["platform", "import-pccs", text(&database)]);
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.contains("platforms                48\n"), "{shown}");
    assert!(shown.contains(&place(false_levels)), "{shown}");

    let (_running, url) = serve(&world, "data", &["--clock", START]);
    let mut served = 0;
    for platform in &platforms {
        let answer = pck_cert(&url, platform).await;
        let is_forged = platform == false_certificates || platform == false_levels;
        assert_eq!(
            answer.status(),
            if is_forged { 461 } else { 200 },
            "{platform:?}"
        );
        if !is_forged {
            let tcbm = answer.headers()["SGX-TCBm"].to_str().expect("text");
            assert!(platform.levels.iter().any(|level| level == tcbm), "{tcbm}");
            served += 1;
        }
    }
    assert_eq!(served, 48);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_read_and_what_it_lacks_is_told() {
    let world = World::new().await;
    let platforms = [
        world.add(PlatformSpec::new(SGX_ONLY, 1), 1),
        world.add(PlatformSpec::new(LARGE, 2), 1),
    ]
    .concat();
    for version in 1..=6 {
        let name = format!("v{version}.db");
        let mut pccs = Pccs::create(world.at(&name), version.min(5), version == 4).await;
        pccs.run(format!("UPDATE pcs_version SET db_version = {version}"))
            .await;
        pccs.collateral(&world, &[SGX_ONLY, LARGE]).await;
        for platform in &platforms {
            pccs.platform(platform, &world.pck_certs(platform).await)
                .await;
        }
        let database = pccs.close().await;
        let output = world.thim_on(
            &format!("data{version}"),
            &["platform", "import-pccs", text(&database), "--json"],
        );
        let report = json(&output);
        assert_eq!(
            code(&output),
            0,
            "version {version}: {report} {}",
            said(&output)
        );
        assert_eq!(report["platforms"], 2, "version {version}");
        let lacks: Vec<&str> = report["lacks"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(serde_json::Value::as_str)
            .collect();
        let about = |word: &str| lacks.iter().filter(|lack| lack.contains(word)).count();
        assert_eq!(
            about("appraisal_policies"),
            usize::from(version < 4),
            "{lacks:?}"
        );
        assert_eq!(about("crl_cache"), usize::from(version < 2), "{lacks:?}");
        assert_eq!(
            about("its version is 6"),
            usize::from(version > 5),
            "{lacks:?}"
        );
        assert_eq!(about("enclave_identities"), 0, "{lacks:?}");
        // Two PCK CRLs, the root CRL, SGX TCB infos, and from version 2 on those of TDX; identities.
        let admitted = report["collateral"]["admitted"].as_u64().expect("a count");
        let expected = match version {
            1 => 3 + 2 + 2,
            2..=4 => 3 + 3 + 3,
            _ => 3 + 6 + 6,
        };
        assert_eq!(admitted, expected, "version {version}: {report}");
        let left: Vec<_> = std::fs::read_dir(world.folder.path())
            .expect("the folder")
            .filter_map(|entry| entry.expect("an entry").file_name().into_string().ok())
            .filter(|found| found.starts_with(&name))
            .collect();
        assert_eq!(left, [name], "nothing is left beside it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_database_of_pccs_is_refused_before_anything_is_made() {
    let world = World::new().await;
    let mut pccs = Pccs::create(world.at("whole.db"), 5, false).await;
    pccs.collateral(&world, &[SGX_ONLY]).await;
    for platform in world.add(PlatformSpec::new(SGX_ONLY, 1), 3) {
        pccs.platform(&platform, &world.pck_certs(&platform).await)
            .await;
    }
    let whole = std::fs::read(pccs.close().await).expect("the database");
    std::fs::write(world.at("cut.db"), &whole[..whole.len() - 1]).expect("written");
    std::fs::write(world.at("words.db"), "-- not a database").expect("written");
    std::fs::write(world.at("empty.db"), "").expect("written");
    let mut foreign = Pccs::create(world.at("foreign.db"), 5, false).await;
    foreign.run("DROP TABLE pck_cert".to_owned()).await;
    // A view could run whatever its maker thought of.
    foreign
        .run("CREATE VIEW pck_cert AS SELECT 'a' AS qe_id, 'b' AS pce_id, 'c' AS tcbm, 'd' AS pck_cert".to_owned())
        .await;
    foreign.close().await;
    for (name, why) in [
        ("cut.db", "cut short"),
        ("words.db", "not an SQLite database"),
        ("empty.db", "not an SQLite database"),
        ("foreign.db", "it has no table pck_cert"),
        ("absent.db", "No such file"),
        (".", "not a file"),
    ] {
        let database = world.at(name);
        let output = import(&world, &database);
        assert_eq!(code(&output), 2, "{name}: {}", said(&output));
        assert!(said(&output).contains(why), "{name}: {}", said(&output));
        assert!(!world.at("data").exists(), "{name}");
    }
    // Damage inside is found on the way; what was taken over before stays.
    let mut damaged = whole;
    let middle = damaged.len() / 2;
    for byte in &mut damaged[middle..] {
        *byte = 0xff;
    }
    std::fs::write(world.at("damaged.db"), damaged).expect("written");
    let output = import(&world, &world.at("damaged.db"));
    assert_eq!(code(&output), 2, "{}", said(&output));
    assert!(said(&output).contains("malformed"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_platforms_and_foreign_tables_beside_are_no_fault() {
    let world = World::new().await;
    let mut pccs = Pccs::create(world.at("new.db"), 5, false).await;
    pccs.run("CREATE TABLE notes (who TEXT, what BLOB)".to_owned())
        .await;
    pccs.run("INSERT INTO notes VALUES ('me', x'ff')".to_owned())
        .await;
    pccs.run("CREATE VIEW everything AS SELECT * FROM notes".to_owned())
        .await;
    let database = pccs.close().await;
    let output = import(&world, &database);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let report = json(&output);
    assert_eq!(
        (&report["platforms"], &report["refused_count"]),
        (&0.into(), &0.into())
    );
    assert_eq!(report["lacks"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_pccs_has_open_is_read_with_its_log() {
    let world = World::new().await;
    for wal in [false, true] {
        let platform = world.add(PlatformSpec::new(SGX_ONLY, 1), 1).remove(0);
        let mut pccs = Pccs::create(world.at(&format!("open-{wal}.db")), 5, wal).await;
        pccs.collateral(&world, &[SGX_ONLY]).await;
        pccs.platform(&platform, &world.pck_certs(&platform).await)
            .await;
        if wal {
            let log = std::fs::metadata(world.at("open-true.db-wal")).expect("a log");
            assert!(log.len() > 0, "what was written last is in the log alone");
        }
        let output = import(&world, &pccs.path);
        assert_eq!(code(&output), 0, "{}", said(&output));
        assert_eq!(json(&output)["platforms"], 1, "{wal}");
        pccs.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_read_page_by_page_and_every_row_once() {
    let world = World::new().await;
    let mut pccs = Pccs::create(world.at("many.db"), 5, false).await;
    for table in [
        "INSERT INTO platforms SELECT printf('%032X', i), '0000', NULL, zeroblob(384), 'AAAAAAAAAAAA', 'PROCESSOR', 'now', 'now' FROM n",
        "INSERT INTO platforms_registered SELECT printf('%032X', i), '0000', '', '', NULL, NULL, 0, 'now', 'now' FROM n",
    ] {
        pccs.run(format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 450) {table}"
        ))
        .await;
    }
    let database = pccs.close().await;
    let output = import(&world, &database);
    assert_eq!(code(&output), 1, "{}", said(&output));
    let report = json(&output);
    let told: std::collections::BTreeSet<_> = refused(&report).into_iter().collect();
    assert_eq!((told.len(), &report["refused_count"]), (900, &900.into()));
    for (place, why) in [
        ("platforms/", "the list is empty"),
        ("platforms_registered/", "neither a manifest nor"),
    ] {
        let of = |(path, reason): &&(String, String)| {
            path.starts_with(&format!("many.db#{place}")) && reason.contains(why)
        };
        assert_eq!(told.iter().filter(of).count(), 450, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_read_are_listed_and_spoil_no_other() {
    let world = World::new().await;
    let platforms = world.add(PlatformSpec::new(SGX_ONLY, 1), 4);
    let mut pccs = Pccs::create(world.at("rows.db"), 5, false).await;
    pccs.collateral(&world, &[SGX_ONLY]).await;
    for platform in &platforms {
        pccs.platform(platform, &world.pck_certs(platform).await)
            .await;
    }
    let of = |index: usize| upper(&platforms[index].qe_id);
    for statement in [
        // A name that is none; a secret of a wrong length; one certificate of several that is none.
        format!("UPDATE platforms SET pce_id = 'zz' WHERE qe_id = '{}'", of(0)),
        format!("UPDATE platforms SET enc_ppid = x'5a5a5a' WHERE qe_id = '{}'", of(1)),
        format!("UPDATE pck_cert SET pck_cert = 'nothing' WHERE rowid = (SELECT MIN(rowid) FROM pck_cert WHERE qe_id = '{}')", of(2)),
        format!("UPDATE pck_cert SET tcbm = 'nothing' WHERE rowid = (SELECT MIN(rowid) FROM pck_cert WHERE qe_id = '{}')", of(3)),
        format!("UPDATE platform_tcbs SET cpu_svn = 'nothing' WHERE qe_id = '{}'", of(3)),
        "INSERT INTO fmspc_tcbs VALUES ('AAAAAAAAAAAA', 0, 4, 'STANDARD', 'nothing', 1, 3, 'now', 'now')".to_owned(),
        "INSERT INTO appraisal_policies VALUES ('x', 0, 'no.jwt', 1, 'AAAAAAAAAAAA', 'now', 'now')".to_owned(),
    ] {
        pccs.run(statement).await;
    }
    let database = pccs.close().await;
    let output = import(&world, &database);
    assert_eq!(code(&output), 1, "{}", said(&output));
    let report = json(&output);
    // The first one's certificates have no platform any more.
    assert_eq!(report["platforms"], 3, "{report}");
    let told = refused(&report);
    for (place, why) in [
        ("platforms[1]".to_owned(), "pce_id: wanted 4 hex digits"),
        (
            format!("platforms/{}:0000", of(1)),
            "enc_ppid: wanted 384 bytes, found 3",
        ),
        (format!("platforms/{}:0000/", of(2)), "certificate"),
        (
            format!("platforms/{}:0000", of(3)),
            "tcbm: wanted 36 hex digits",
        ),
        (
            format!("platforms/{}:0000", of(3)),
            "cpu_svn: wanted 32 hex digits",
        ),
        (
            "fmspc_tcbs/AAAAAAAAAAAA/0/v4/STANDARD".to_owned(),
            "nothing signed",
        ),
        ("appraisal_policies[1]".to_owned(), "policy"),
        ("pck_cert".to_owned(), "are of no platform"),
    ] {
        assert!(
            told.iter().any(
                |(path, reason)| path.starts_with(&format!("rows.db#{place}"))
                    && reason.contains(why)
            ),
            "{place}: {told:?}"
        );
    }
    assert_eq!(told.len(), 8, "{told:?}");
    assert_eq!(report["refused_count"], 8);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("5a5a"));
    // The one that lost a certificate goes on with the others.
    let shown = world.thim(&["platform", "show", &format!("{}:0000", of(2)), "--json"]);
    assert_eq!(json(&shown)["state"], "partial", "{}", said(&shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_queued_and_policies_come_along() {
    let world = World::new().await;
    let waiting = world.add(PlatformSpec::new(SGX_ONLY, 1), 3);
    let large = world.add(PlatformSpec::new(LARGE, 2), 1).remove(0);
    let mut pccs = Pccs::create(world.at("queue.db"), 5, false).await;
    pccs.collateral(&world, &[SGX_ONLY]).await;
    pccs.registered(&waiting[0], 0).await;
    pccs.registered(&waiting[1], 1).await;
    pccs.registered(&waiting[2], 9).await;
    pccs.registered(&large, 0).await;
    let payload = serde_json::json!({"policy_payload": serde_json::json!({
        "policy_array": [{"environment": {"class_id": "3123ec35-8d38-4ea5-87a5-d6c48b567570"}}]
    }).to_string()});
    let jwt = format!(
        "e30.{}.c2ln",
        data_encoding::BASE64URL_NOPAD.encode(payload.to_string().as_bytes())
    );
    pccs.run(format!(
        "INSERT INTO appraisal_policies VALUES ('id', 0, '{jwt}', 1, '{SGX_ONLY}', 'now', 'now')"
    ))
    .await;
    let database = pccs.close().await;
    let output = import(&world, &database);
    assert_eq!(
        code(&output),
        0,
        "{} {}",
        said(&output),
        String::from_utf8_lossy(&output.stdout)
    );
    let report = json(&output);
    assert_eq!(
        (&report["waiting"], &report["policies"]),
        (&3.into(), &1.into())
    );
    let listed = json(&world.thim(&["platform", "list", "--state", "new", "--json"]));
    assert_eq!(listed.as_array().map(Vec::len), Some(3));
    assert!(
        listed
            .as_array()
            .expect("a list")
            .iter()
            .all(|one| one["cause"] == "queued")
    );

    // No secret of theirs lies about in clear.
    let secrets = [
        &waiting[0].encrypted_ppid[..],
        large.manifest.as_deref().expect("a manifest"),
    ];
    for entry in std::fs::read_dir(world.at("data")).expect("the store") {
        let bytes = std::fs::read(entry.expect("an entry").path()).unwrap_or_default();
        for secret in secrets {
            let in_clear = bytes
                .windows(32)
                .any(|window| window == &secret[secret.len() - 32..]);
            assert!(!in_clear, "a secret is in clear");
        }
    }

    // A tool collects them as it did from PCCS, and the policy answers.
    let (_running, url) = serve(&world, "data", &["--clock", START]);
    let token = std::fs::read_to_string(world.at("data/admin.token")).expect("a token");
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    for (source, count) in [("reg", "2"), ("reg_na", "1")] {
        let answer = client
            .get(format!(
                "{url}/sgx/certification/v4/platforms?source={source}&keep=1"
            ))
            .header("admin-token", token.trim())
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["platform-count"], count, "{source}");
        let listed = answer.text().await.expect("text").to_uppercase();
        let hex = upper(&waiting[usize::from(source == "reg_na")].encrypted_ppid);
        assert!(listed.contains(&hex), "{source}");
    }
    let answer = client
        .get(format!(
            "{url}/sgx/certification/v4/appraisalpolicy?fmspc={SGX_ONLY}"
        ))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.text().await.expect("text"), jwt);
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_that_wait_are_fetched_where_something_is_fetched() {
    let world = World::new().await;
    world.configure("lazy");
    let waiting = world.add(PlatformSpec::new(SGX_ONLY, 1), 1).remove(0);
    let mut pccs = Pccs::create(world.at("queue.db"), 5, false).await;
    pccs.registered(&waiting, 0).await;
    let database = pccs.close().await;
    let output = import(&world, &database);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let listed = json(&world.thim(&["platform", "list", "--json"]));
    assert_eq!(
        (&listed[0]["state"], &listed[0]["due"]),
        (&"new".into(), &START.into())
    );
    let id = listed[0]["id"].as_str().expect("an id");
    let fetched = world.thim(&["platform", "refetch", id, "--json"]);
    assert_eq!(code(&fetched), 0, "{}", said(&fetched));
    assert_eq!(json(&fetched)["state"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_takes_a_database_platform_by_platform() {
    let world = World::new().await;
    let other = other_family(&world);
    let mut platforms = world.add(PlatformSpec::new(SGX_ONLY, 1), 3);
    platforms.extend(world.add(PlatformSpec::new(LARGE, 2), 2));
    platforms.extend(world.add(PlatformSpec::new(other.clone(), 1), 1));
    let mut pccs = Pccs::create(world.at("pckcache.db"), 5, false).await;
    pccs.collateral(&world, &[SGX_ONLY, LARGE]).await;
    for (index, platform) in platforms.iter().enumerate() {
        let certs = world.pck_certs(platform).await;
        let certs = if index == 1 { forged(certs) } else { certs };
        pccs.platform(platform, &certs).await;
    }
    let waiting = world.add(PlatformSpec::new(SGX_ONLY, 1), 1).remove(0);
    pccs.registered(&waiting, 0).await;
    let database = pccs.close().await;
    let (_running, url) = serve(&world, "data", &["--clock", START]);
    let run = |token: &str| {
        Command::new(env!("CARGO_BIN_EXE_thim"))
            .args([
                "platform",
                "import-pccs",
                text(&database),
                "--json",
                "--service",
                &url,
            ])
            .args(["--token-file", token])
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    };
    std::fs::write(world.at("wrong.token"), "0".repeat(64)).expect("written");
    let refused_token = run(text(&world.at("wrong.token")));
    assert_eq!(code(&refused_token), 2, "{}", said(&refused_token));

    let output = run(text(&world.at("data/admin.token")));
    assert_eq!(code(&output), 1, "{}", said(&output));
    let report = json(&output);
    assert_eq!(
        (&report["platforms"], &report["waiting"]),
        (&4.into(), &1.into()),
        "{report}"
    );
    let told = refused(&report);
    assert_eq!(told.len(), 2, "{told:?}");
    let reason = |index: usize| {
        let name = upper(&platforms[index].qe_id);
        let found = told.iter().find(|(path, _)| path.contains(&name));
        found.expect("it is listed").1.clone()
    };
    assert!(reason(1).starts_with("460: The integrity"), "{}", reason(1));
    assert!(
        reason(5).contains("TCB info for its FMSPC"),
        "{}",
        reason(5)
    );
    for (index, platform) in platforms.iter().enumerate() {
        let answer = pck_cert(&url, platform).await;
        let expected = if matches!(index, 1 | 5) { 461 } else { 200 };
        assert_eq!(answer.status(), expected, "{index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gives_no_name_of_its_own_to_a_platform_of_a_database() {
    let world = World::new().await;
    let owner = world.add(PlatformSpec::new(SGX_ONLY, 1), 1).remove(0);
    let other = world.add(PlatformSpec::new(SGX_ONLY, 1), 1).remove(0);
    let thief = SimPlatform {
        qe_id: owner.qe_id,
        ..other
    };
    let (_running, url) = serve(&world, "data", &["--clock", START]);
    let token = world.at("data/admin.token");
    let take_over = async |name: &str, platforms: &[&SimPlatform]| {
        let mut pccs = Pccs::create(world.at(name), 5, false).await;
        pccs.collateral(&world, &[SGX_ONLY]).await;
        for platform in platforms {
            pccs.platform(platform, &world.pck_certs(platform).await)
                .await;
        }
        let database = pccs.close().await;
        Command::new(env!("CARGO_BIN_EXE_thim"))
            .args(["platform", "import-pccs", text(&database), "--json"])
            .args(["--service", &url, "--token-file", text(&token)])
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    };
    let output = take_over("first.db", &[&owner]).await;
    assert_eq!(code(&output), 0, "{}", said(&output));
    let served = pck_cert(&url, &owner).await.text().await.expect("text");

    // The token is an administrator's, who might have moved the name.
    let output = take_over("second.db", &[&thief]).await;
    assert_eq!(code(&output), 1, "{}", said(&output));
    let told = refused(&json(&output));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0.contains(&upper(&owner.qe_id)), "{told:?}");
    assert!(told[0].1.contains("qe-id-taken"), "{told:?}");
    let after = pck_cert(&url, &owner).await.text().await.expect("text");
    assert_eq!(after, served);
    // What comes again under its own name is as welcome as before.
    let output = take_over("third.db", &[&owner]).await;
    assert_eq!(code(&output), 0, "{}", said(&output));
}
