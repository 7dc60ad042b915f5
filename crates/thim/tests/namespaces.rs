//! The agent at 169.254.169.254:80 of one network namespace, `curl` in another: what a pod and its node are to each other.
//!
//! Needs root and iproute2, and says so where they are absent; with `THIM_REQUIRE_NETNS=1` that is a failure. The
//! certificates are a simulated chip's; the service is a few lines on the loopback of the agent's namespace, so the
//! agent fetches, verifies and serves as on a node. Namespaces have names of this process and are removed at the end,
//! however it ends.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]
#![allow(clippy::disallowed_methods, reason = "a test of the world may read it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use thim_client::ThimCertification;
use thim_sim::kds::{AmdProduct, KdsConfig, RsaBits, SimChip, start_kds};

/// Two namespaces with a cable between them.
struct Namespaces {
    node: String,
    pod: String,
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Namespaces {
    /// Names of this test alone.
    fn names() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let id = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::SeqCst)
        );
        Self {
            node: format!("thim-node-{id}"),
            pod: format!("thim-pod-{id}"),
        }
    }

    /// Makes them, or says why they cannot be made; what was made until then is removed.
    fn new() -> Result<Self, String> {
        let made = Self::names();
        let Self { node, pod } = &made;
        for line in [
            format!("netns add {node}"),
            format!("netns add {pod}"),
            format!("-n {node} link add cable type veth peer name cable netns {pod}"),
            format!("-n {node} link set lo up"),
            format!("-n {node} link set cable up"),
            format!("-n {pod} link set cable up"),
            format!("-n {node} addr add 10.77.0.1/24 dev cable"),
            format!("-n {pod} addr add 10.77.0.2/24 dev cable"),
            format!("-n {node} addr add 169.254.169.254/32 dev lo"),
            format!("-n {pod} route add 169.254.169.254/32 via 10.77.0.1"),
        ] {
            let output = Command::new("ip").args(line.split(' ')).output();
            let output = output.map_err(|error| format!("ip: {error}"))?;
            if !output.status.success() {
                return Err(format!(
                    "ip {line}: {}",
                    String::from_utf8_lossy(&output.stderr)
                ));
            }
        }
        Ok(made)
    }

    fn command(&self, namespace: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]);
        command.stdin(Stdio::null());
        command
    }

    /// What `curl` of the pod says; the status stands in the last line.
    fn curl(&self, arguments: &[&str]) -> (String, String) {
        let mut command = self.command(&self.pod, "curl");
        command
            .args(["-s", "-m", "5", "-w", "\n%{http_code}"])
            .args(arguments);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{text}"));
        (status.to_owned(), body.to_owned())
    }

    fn agent(&self, namespace: &str, folder: &Path, data: &str) -> Command {
        let mut command = self.command(namespace, env!("CARGO_BIN_EXE_thim"));
        command
            .args(["agent", "--config"])
            .arg(folder.join("agent.toml"))
            .arg("--data")
            .arg(folder.join(data));
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.node, &self.pod] {
            let _ = Command::new("ip")
                .args(["netns", "del", name])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// The namespaces, where they can be made; a panic where they must be.
fn made() -> Option<Namespaces> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let root = status.lines().any(|line| {
        let ids = line.strip_prefix("Uid:");
        ids.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
    });
    let tools = ["ip", "curl"].iter().all(|tool| {
        let mut tried = Command::new(tool);
        let tried = tried.arg("-V").stdout(Stdio::null()).stderr(Stdio::null());
        tried.status().is_ok()
    });
    let why = match (root, tools) {
        (true, true) => match Namespaces::new() {
            Ok(made) => return Some(made),
            Err(why) => why,
        },
        (false, _) => "not root".to_owned(),
        (true, false) => "no iproute2 or no curl".to_owned(),
    };
    let required = std::env::var_os("THIM_REQUIRE_NETNS").is_some_and(|value| value == "1");
    assert!(!required, "THIM_REQUIRE_NETNS=1: {why}");
    println!("skipped: needs root and iproute2 ({why})");
    None
}

const URL: &str = "http://169.254.169.254/metadata/THIM/amd/certification";

#[test]
fn a_pod_asks_its_node() {
    let Some(namespaces) = made() else { return };
    let folder = tempfile::tempdir().unwrap();
    let wire = provision(folder.path());
    let _service = service(&namespaces, folder.path(), &wire);

    let mut child = namespaces
        .agent(&namespaces.node, folder.path(), "data")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let _agent = Running(child);
    assert!(
        lines.any(|line| line.trim() == "http://169.254.169.254:80"),
        "it says where"
    );

    let (status, body) = namespaces.curl(&["-H", "Metadata:true", URL]);
    assert_eq!(status, "200", "{body}");
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    for field in ["vcekCert", "tcbm", "certificateChain"] {
        assert!(value[field].is_string(), "{field}: {body}");
    }
    let served: ThimCertification = serde_json::from_str(&body).unwrap();
    assert_eq!(served, wire);

    for refused in [
        vec![URL],
        vec![
            "-H",
            "Metadata:true",
            "-H",
            "X-Forwarded-For: 10.77.0.9",
            URL,
        ],
        vec!["-H", "Metadata:true", "-H", "Host: rebound.example", URL],
    ] {
        let (status, body) = namespaces.curl(&refused);
        assert_eq!(status, "400", "{refused:?}: {body}");
        assert!(body.starts_with(r#"{"error":"Bad request."#), "{body}");
    }

    // Where something answers at 169.254.169.254 already, here the first agent, a second one does not start: neither on
    // the same node nor, as beside a cloud's metadata service, on a machine that has the address one hop away.
    for namespace in [&namespaces.node, &namespaces.pod] {
        let output = namespaces
            .agent(namespace, folder.path(), "second")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("169.254.169.254:80 already answers"),
            "{said}"
        );
        assert!(said.contains("must not be shadowed"), "{said}");
    }
    let (status, _) = namespaces.curl(&["-H", "Metadata:true", URL]);
    assert_eq!(status, "200", "the first one is not disturbed");
}

#[test]
fn an_address_that_is_not_there_is_explained() {
    let Some(namespaces) = made() else { return };
    let delete = [
        "-n",
        &namespaces.node,
        "addr",
        "del",
        "169.254.169.254/32",
        "dev",
        "lo",
    ];
    assert!(Command::new("ip").args(delete).status().unwrap().success());
    let folder = tempfile::tempdir().unwrap();
    let config = "[service]\nurl = \"http://127.0.0.1:9\"\n[health]\nlisten = \"off\"\n[host]\nsource = \"file\"\nfile = \"host.json\"\n";
    std::fs::write(folder.path().join("agent.toml"), config).unwrap();
    let output: Output = namespaces
        .agent(&namespaces.node, folder.path(), "data")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("ip addr add 169.254.169.254/32 dev lo"),
        "{said}"
    );
}

/// Certificates of a simulated chip, the host file and the configuration.
fn provision(folder: &Path) -> ThimCertification {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let clock = Arc::new(|| thim_server::clock::Clock::system().now().secs());
        let kds = start_kds(KdsConfig::new(clock).rsa_bits(RsaBits::B2048))
            .await
            .unwrap();
        let chip = kds.management().chip_of(AmdProduct::Milan);
        std::fs::write(folder.join("roots.pem"), kds.roots_pem()).unwrap();
        let (url, path) = (kds.url(), format!("/vcek/v1/{}/cert_chain", chip.product));
        let target = chip.target();
        let fetched =
            tokio::task::spawn_blocking(move || (fetch(&url, &target), fetch(&url, &path)));
        let (vcek, chain) = fetched.await.unwrap();
        let tcbm = chip.reported.tcbm(chip.product);
        write_config(folder, &chip, &tcbm);
        let vcek = thim_verify::amd::Vcek::from_der(&vcek).unwrap().to_pem();
        ThimCertification::new(&vcek, &tcbm, &String::from_utf8(chain).unwrap(), 86_400)
    })
}

fn write_config(folder: &Path, chip: &SimChip, tcbm: &str) {
    let host = format!(
        r#"{{"product":"Milan","chipId":"{}","reportedTcb":"{tcbm}"}}"#,
        chip.hwid_hex()
    );
    std::fs::write(folder.join("host.json"), host).unwrap();
    let config = "[service]\nurl = \"http://127.0.0.1:8080\"\n[health]\nlisten = \"off\"\n\
                  [host]\nsource = \"file\"\nfile = \"host.json\"\n[trust]\namd_roots = [\"roots.pem\"]\n\
                  [http]\nrequests_per_second = 100\n";
    std::fs::write(folder.join("agent.toml"), config).unwrap();
}

/// The body of a 200.
fn fetch(url: &str, target: &str) -> Vec<u8> {
    let at = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(at).unwrap();
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    assert!(text.starts_with(b"HTTP/1.1 200"), "{target}");
    let end = text
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    text.split_off(end + 4)
}

/// A service in the node's namespace that has this answer: python is what a machine with iproute2 mostly has; without,
/// the agent starts from its disk.
fn service(namespaces: &Namespaces, folder: &Path, wire: &ThimCertification) -> Option<Running> {
    let json = wire.to_json();
    let state = format!(
        r#"{{"version":1,"obtained":"{}","certification":{json}}}"#,
        thim_server::clock::Clock::system().now()
    );
    let below = folder.join("web/metadata/THIM/amd");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::write(below.join("certification"), &json).unwrap();
    let mut command = namespaces.command(&namespaces.node, "python3");
    command.args([
        "-u",
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "--directory",
    ]);
    command.arg(folder.join("web")).arg("8080");
    let started = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut running = started.ok().map(Running);
    // It says that it serves once it does; `ip` starts also what is not there.
    let serving = running
        .as_mut()
        .and_then(|running| running.0.stdout.take())
        .is_some_and(|out| {
            BufReader::new(out)
                .lines()
                .map_while(Result::ok)
                .any(|line| line.starts_with("Serving"))
        });
    if serving {
        return running;
    }
    println!("no python3 to be the service: the agent starts from its disk");
    std::fs::create_dir_all(folder.join("data")).unwrap();
    std::fs::write(folder.join("data/certification.json"), state).unwrap();
    None
}
