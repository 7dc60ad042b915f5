//! `kill -9` in a loop, during imports and during refreshes, of the real program: the store opens each time,
//! nothing that was admitted is lost, nothing unverified appears.

#![allow(clippy::disallowed_methods, reason = "a test of the world may read it")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thim_verify::{ArtefactKey, Issuers, TrustAnchors, UnixTime, parse, verify};

const KILLS: u32 = 50;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn thim(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thim"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.path("thim.toml"))
            .arg("--data")
            .arg(self.path("data"));
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::null());
        command
    }

    /// Every edition by id and key, as the program itself lists them after whatever happened.
    fn editions(&self) -> BTreeSet<(String, String)> {
        let output = self
            .thim(&["collateral", "list", "--json", "--limit", "100000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .expect("the program starts");
        assert!(
            output.status.success(),
            "the store opens: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        rows.iter()
            .map(|row| {
                (
                    row["id"].as_str().expect("an id").to_owned(),
                    row["key"].as_str().expect("a key").to_owned(),
                )
            })
            .collect()
    }
}

/// Waits in steps until `delay` is over or the child has ended, then kills it if it has not.
fn kill_after(mut child: Child, delay: Duration) {
    let begun = std::time::Instant::now();
    while begun.elapsed() < delay && child.try_wait().expect("a child").is_none() {
        std::thread::yield_now();
    }
    let _ = child.kill();
    child.wait().expect("it ends");
}

async fn place() -> (Place, thim_sim::Sim) {
    let now = || {
        i64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970")
                .as_secs(),
        )
        .expect("not yet 2262")
    };
    let sim = thim_sim::start(thim_sim::SimConfig {
        pcs_listen: ([127, 0, 0, 1], 0).into(),
        management_listen: ([127, 0, 0, 1], 0).into(),
        now: Arc::new(now),
        api_key: None,
    })
    .await
    .expect("the simulator starts");
    let place = Place {
        folder: tempfile::tempdir().expect("a folder"),
    };
    std::fs::write(place.path("root.pem"), sim.root_pem()).expect("written");
    let config = format!(
        "[intel]\nupstream = [\"{}\"]\nroot_crl_url = \"{}\"\nrequests_per_second = 1000\nburst = 1000\n[trust]\nintel_roots = [\"root.pem\"]\n",
        sim.pcs_url(),
        sim.root_crl_url()
    );
    std::fs::write(place.path("thim.toml"), config).expect("written");
    (place, sim)
}

/// Everything the simulator signs, as files with the chains beside them.
fn download(sim: &thim_sim::Sim, folder: &Path) -> usize {
    std::fs::create_dir_all(folder).expect("made");
    let mut paths = vec![
        "/IntelSGXRootCA.der".to_owned(),
        "/sgx/certification/v4/pckcrl?ca=platform&encoding=der".to_owned(),
        "/sgx/certification/v4/pckcrl?ca=processor&encoding=der".to_owned(),
        "/sgx/certification/v4/tcbevaluationdatanumbers".to_owned(),
        "/tdx/certification/v4/tcbevaluationdatanumbers".to_owned(),
    ];
    for number in 18..=20 {
        for enclave in [
            "sgx/certification/v4/qe",
            "sgx/certification/v4/qve",
            "tdx/certification/v4/qe",
        ] {
            paths.push(format!(
                "/{enclave}/identity?tcbEvaluationDataNumber={number}"
            ));
        }
        for platform in sim.platforms() {
            let of = |tee: &str| {
                format!(
                    "/{tee}/certification/v4/tcb?fmspc={}&tcbEvaluationDataNumber={number}",
                    platform.fmspc
                )
            };
            paths.push(of("sgx"));
            if platform.tdx {
                paths.push(of("tdx"));
            }
        }
    }
    for (index, path) in paths.iter().enumerate() {
        let output = Command::new("curl")
            .args(["-sS", "-D"])
            .arg(folder.join("headers"))
            .arg("-o")
            .arg(folder.join(format!("{index:03}.body")))
            .arg(format!("{}{path}", sim.pcs_url()))
            .output()
            .expect("curl");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let headers = std::fs::read_to_string(folder.join("headers")).expect("headers");
        let chain = headers
            .lines()
            .find(|line| line.to_ascii_lowercase().contains("issuer-chain:"));
        if let Some((_, value)) = chain.and_then(|line| line.split_once(": ")) {
            let pem: Vec<u8> = percent_decoded(value.trim());
            std::fs::write(folder.join(format!("{index:03}.pem")), pem).expect("written");
        }
    }
    std::fs::remove_file(folder.join("headers")).expect("removed");
    paths.len()
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits: String = bytes.by_ref().take(2).map(char::from).collect();
            out.push(u8::from_str_radix(&digits, 16).expect("hex"));
        } else {
            out.push(byte);
        }
    }
    out
}

/// Delays that sweep the whole of a run without being random: a failure repeats.
fn delay(kill: u32, longest_millis: u32) -> Duration {
    Duration::from_millis(u64::from((kill * 37) % longest_millis))
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_importing_and_while_refreshing() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: no curl");
        return;
    }
    let (place, sim) = place().await;
    let files = place.path("files");
    let objects = download(&sim, &files);
    let files_text = files.to_str().expect("UTF-8").to_owned();

    let mut before = BTreeSet::new();
    for kill in 0..KILLS {
        let child = place
            .thim(&["collateral", "import", &files_text])
            .spawn()
            .expect("the program starts");
        kill_after(child, delay(kill, 150));
        let after = place.editions();
        assert!(
            after.is_superset(&before),
            "kill {kill}: an admitted edition is lost"
        );
        before = after;
    }
    let last = place
        .thim(&["collateral", "import", &files_text])
        .status()
        .expect("the program starts");
    assert!(last.success(), "the import ends after all");
    let imported = place.editions();
    assert_eq!(imported.len(), objects, "every object once");

    before = imported;
    for kill in 0..KILLS {
        let arguments: &[&str] = if kill % 2 == 0 {
            &["collateral", "refresh", "--all"]
        } else {
            &["serve", "--http", "127.0.0.1:0", "--https", "off"]
        };
        let child = place.thim(arguments).spawn().expect("the program starts");
        // New editions for the refresh to fetch; refused within the second of the last ones, which is as well.
        let _ = sim.management().resign();
        let _ = sim.management().recovery(400);
        kill_after(child, delay(kill, 300));
        let after = place.editions();
        assert!(
            after.is_superset(&before),
            "kill {kill}: an admitted edition is lost"
        );
        before = after;
    }
    let last = place
        .thim(&["collateral", "refresh", "--all"])
        .status()
        .expect("the program starts");
    // 1: a number that a recovery pushed below standard is withdrawn, and said so.
    assert!(
        matches!(last.code(), Some(0 | 1)),
        "the refresh ends after all: {last:?}"
    );
    before = place.editions();
    println!(
        "{objects} editions imported, {} after {} kills",
        before.len(),
        2 * KILLS
    );
    assert!(before.len() > objects, "the refreshes brought something");

    // Nothing unverified: each document in the store verifies, read by other code than wrote it.
    let exported = place.path("exported");
    let export = place
        .thim(&[
            "collateral",
            "export",
            "--all",
            "--output",
            exported.to_str().expect("UTF-8"),
        ])
        .status()
        .expect("the program starts");
    assert!(export.success());
    let anchors = TrustAnchors::from_pem(sim.root_pem().as_bytes()).expect("a root");
    let mut issuers = Issuers::new(anchors);
    let mut verified = 0;
    let mut documents = Vec::new();
    for entry in walk(&exported) {
        let bytes = std::fs::read(&entry).expect("read");
        if entry
            .extension()
            .is_some_and(|extension| extension == "pem")
        {
            for certificate in
                thim_verify::Certificate::from_pem_bundle(&bytes).expect("certificates")
            {
                let _ = issuers.insert(certificate);
            }
        } else {
            documents.push((entry, bytes));
        }
    }
    for (path, bytes) in documents {
        let Ok(unverified) = parse(&bytes) else {
            continue;
        };
        let key: ArtefactKey = unverified.key();
        let found = verify(unverified, &[], &issuers, None, UnixTime::MAX)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(before.contains(&(found.id().to_string(), key.to_string())));
        verified += 1;
    }
    assert_eq!(verified, before.len());
    sim.shutdown().await;
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(walk(&path))
        } else {
            files.push(path)
        }
    }
    files
}
