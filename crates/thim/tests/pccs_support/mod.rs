//! Databases as PCCS 1.27 and its forerunners write them (`migrations/`, `dao/`), filled from the simulator's answers.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{Connection, Executor};
use thim_sim::{Management, PlatformSpec, Sim, SimConfig, SimPlatform};

/// When the tests' day is: the simulator's clock stands still there.
pub const START: &str = "2026-11-24T12:00:00Z";
pub const START_SECS: i64 = 1_795_521_600;
/// Families of the simulator: with SGX alone, and two with multi-package platforms.
pub const SGX_ONLY: &str = "00906E53494D";
pub const LARGE: &str = "50806F53494D";

/// A simulator, and a folder with its root and a configuration that trusts it and asks nobody.
pub struct World {
    pub sim: Sim,
    pub folder: tempfile::TempDir,
    http: reqwest::Client,
}

impl World {
    pub async fn new() -> Self {
        let sim = thim_sim::start(SimConfig {
            pcs_listen: ([127, 0, 0, 1], 0).into(),
            management_listen: ([127, 0, 0, 1], 0).into(),
            now: Arc::new(|| START_SECS),
            api_key: None,
        })
        .await
        .expect("the simulator starts");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("root.pem"), sim.root_pem()).expect("written");
        let world = Self {
            sim,
            folder,
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
        };
        world.configure("offline");
        world
    }

    /// Writes `thim.toml` with this fill mode.
    pub fn configure(&self, fill: &str) {
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[https]\nlisten = \"off\"\n[intel]\nupstream = [\"{}\"]\nroot_crl_url = \"{}\"\nfill = \"{fill}\"\n\
             requests_per_second = 1000\nburst = 1000\n[trust]\nintel_roots = [\"root.pem\"]\n",
            self.sim.pcs_url(),
            self.sim.root_crl_url()
        );
        std::fs::write(self.folder.path().join("thim.toml"), config).expect("written");
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn management(&self) -> Management {
        self.sim.management()
    }

    pub fn add(&self, spec: PlatformSpec, count: usize) -> Vec<SimPlatform> {
        self.management()
            .add_platforms(spec, count)
            .expect("platforms")
    }

    /// The program, on a store that nobody has open, at the tests' day.
    pub fn thim(&self, arguments: &[&str]) -> Output {
        self.run(arguments, "data", &["--clock", START])
    }

    /// The same on another store.
    pub fn thim_on(&self, data: &str, arguments: &[&str]) -> Output {
        self.run(arguments, data, &["--clock", START])
    }

    fn run(&self, arguments: &[&str], data: &str, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_thim"))
            .args(arguments)
            .arg("--config")
            .arg(self.at("thim.toml"))
            .arg("--data")
            .arg(self.at(data))
            .args(more)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    }

    /// An answer of the simulator's.
    pub async fn fetch(&self, path: &str, chain_header: &str) -> Fetched {
        let url = format!("{}{path}", self.sim.pcs_url());
        Fetched::of(self.http.get(url), chain_header).await
    }

    /// A platform's list of certificates, asked for as PCCS asks.
    pub async fn pck_certs(&self, platform: &SimPlatform) -> Fetched {
        let url = format!("{}/sgx/certification/v4/pckcerts", self.sim.pcs_url());
        let pce_id = upper(&platform.pce_id);
        let request = match &platform.manifest {
            Some(manifest) => self.http.post(url).json(&serde_json::json!({
                "platformManifest": upper(manifest),
                "pceid": pce_id,
            })),
            None => self.http.get(format!(
                "{url}?encrypted_ppid={}&pceid={pce_id}",
                upper(&platform.encrypted_ppid)
            )),
        };
        Fetched::of(request, "SGX-PCK-Certificate-Issuer-Chain").await
    }
}

/// Body and issuer chain of an answer.
pub struct Fetched {
    pub body: Vec<u8>,
    pub chain: String,
    pub fmspc: String,
    pub ca: String,
}

impl Fetched {
    async fn of(request: reqwest::RequestBuilder, chain_header: &str) -> Self {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let header = |name: &str| {
            let value = response.headers().get(name);
            value.map_or_else(String::new, |value| {
                value.to_str().expect("text").to_owned()
            })
        };
        let (chain, fmspc, ca) = (
            header(chain_header),
            header("SGX-FMSPC"),
            header("SGX-PCK-Certificate-CA-Type"),
        );
        Self {
            body: response.bytes().await.expect("a body").to_vec(),
            chain,
            fmspc,
            ca,
        }
    }
}

/// PCCS's database of some version, open for writing.
pub struct Pccs {
    pub connection: SqliteConnection,
    pub path: PathBuf,
    version: i64,
}

/// `migrations/00_db_initialize.up.sql`, but for the tables that later versions replace.
const INITIAL: &str = "
CREATE TABLE pck_cert (qe_id VARCHAR(255) NOT NULL, pce_id VARCHAR(255) NOT NULL, tcbm VARCHAR(255) NOT NULL, pck_cert BLOB, created_time DATETIME NOT NULL, updated_time DATETIME NOT NULL, PRIMARY KEY (qe_id, pce_id, tcbm));
CREATE TABLE pck_certchain (ca VARCHAR(255) PRIMARY KEY, root_cert_id INTEGER, intmd_cert_id INTEGER, created_time DATETIME NOT NULL, updated_time DATETIME NOT NULL);
CREATE TABLE pck_crl (ca VARCHAR(255) PRIMARY KEY, pck_crl BLOB, root_cert_id INTEGER, intmd_cert_id INTEGER, created_time DATETIME NOT NULL, updated_time DATETIME NOT NULL);
CREATE TABLE pcs_certificates (id INTEGER PRIMARY KEY, cert BLOB, crl BLOB, created_time DATETIME NOT NULL, updated_time DATETIME NOT NULL);
CREATE TABLE pcs_version (id INTEGER PRIMARY KEY, api_version INTEGER, server_addr VARCHAR(255), created_time DATETIME NOT NULL, updated_time DATETIME NOT NULL, db_version INT DEFAULT 1);
CREATE TABLE platform_tcbs (qe_id VARCHAR(255) NOT NULL, pce_id VARCHAR(255) NOT NULL, cpu_svn VARCHAR(255) NOT NULL, pce_svn VARCHAR(255) NOT NULL, tcbm VARCHAR(255), created_time DATETIME NOT NULL, updated_time DATETIME NOT NULL, PRIMARY KEY (qe_id, pce_id, cpu_svn, pce_svn));
CREATE TABLE platforms (qe_id VARCHAR(255) NOT NULL, pce_id VARCHAR(255) NOT NULL, platform_manifest BLOB, enc_ppid BLOB, fmspc VARCHAR(255), ca VARCHAR(255), created_time DATETIME NOT NULL, updated_time DATETIME NOT NULL, PRIMARY KEY (qe_id, pce_id));
CREATE TABLE platforms_registered (qe_id VARCHAR(255) NOT NULL, pce_id VARCHAR(255) NOT NULL, cpu_svn VARCHAR(255) NOT NULL, pce_svn VARCHAR(255) NOT NULL, enc_ppid BLOB, platform_manifest BLOB, state INTEGER, created_time DATETIME NOT NULL, updated_time DATETIME NOT NULL, PRIMARY KEY (qe_id, pce_id, cpu_svn, pce_svn));
";

impl Pccs {
    /// An empty one, as PCCS makes it at its first start.
    pub async fn create(path: PathBuf, version: i64, wal: bool) -> Self {
        let journal = if wal {
            SqliteJournalMode::Wal
        } else {
            SqliteJournalMode::Delete
        };
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(journal);
        let mut connection = SqliteConnection::connect_with(&options)
            .await
            .expect("a database");
        sqlx::raw_sql(INITIAL)
            .execute(&mut connection)
            .await
            .expect("tables");
        let times = "created_time DATETIME NOT NULL, updated_time DATETIME NOT NULL";
        let (key, more) = match version {
            1 => ("fmspc", ""),
            2 => ("fmspc, type", "type INTEGER NOT NULL,"),
            3 | 4 => (
                "fmspc, type, version",
                "type INTEGER NOT NULL, version INTEGER NOT NULL,",
            ),
            _ => (
                "fmspc, type, version, update_type",
                "type INTEGER NOT NULL, version INTEGER NOT NULL, update_type VARCHAR(255) NOT NULL,",
            ),
        };
        let mut statements = vec![format!(
            "CREATE TABLE fmspc_tcbs (fmspc VARCHAR(255) NOT NULL, {more} tcbinfo BLOB, root_cert_id INTEGER, signing_cert_id INTEGER, {times}, PRIMARY KEY ({key}))"
        )];
        let (key, more) = match version {
            1 | 2 => ("id", ""),
            3 | 4 => ("id, version", "version INTEGER NOT NULL,"),
            _ => (
                "id, version, update_type",
                "version INTEGER NOT NULL, update_type VARCHAR(255) NOT NULL,",
            ),
        };
        if version == 1 {
            for name in ["qe_identit", "qve_identit"] {
                statements.push(format!(
                    "CREATE TABLE {name}ies (id INTEGER PRIMARY KEY, {name}y BLOB, root_cert_id INTEGER, signing_cert_id INTEGER, {times})"
                ));
            }
        } else {
            statements.push(format!(
                "CREATE TABLE enclave_identities (id INTEGER NOT NULL, {more} identity BLOB, root_cert_id INTEGER, signing_cert_id INTEGER, {times}, PRIMARY KEY ({key}))"
            ));
            statements.push(format!(
                "CREATE TABLE crl_cache (cdp_url VARCHAR(255) PRIMARY KEY, crl BLOB, {times})"
            ));
        }
        if version >= 4 {
            statements.push(format!(
                "CREATE TABLE appraisal_policies (id VARCHAR(255) PRIMARY KEY, type INTEGER NOT NULL, policy TEXT NOT NULL, is_default INTEGER NOT NULL, fmspc VARCHAR(255) NOT NULL, {times})"
            ));
        }
        let mut pccs = Self {
            connection,
            path,
            version,
        };
        for statement in statements {
            pccs.run(statement).await;
        }
        sqlx::query("INSERT INTO pcs_version VALUES (1, 4, 'api.trustedservices.intel.com', 'now', 'now', $1)")
            .bind(version)
            .execute(&mut pccs.connection)
            .await
            .expect("a version");
        pccs
    }

    /// A statement that a test has made.
    pub async fn run(&mut self, statement: String) {
        let statement = sqlx::query(sqlx::AssertSqlSafe(statement));
        self.connection.execute(statement).await.expect("SQL");
    }

    /// An issuer chain: its issuer under `id`, its root under 1, cut as PCCS cuts them.
    pub async fn chain(&mut self, id: i64, chain: &str) {
        let at = chain
            .rfind("-----BEGIN%20CERTIFICATE-----")
            .expect("a chain");
        for (id, certificate) in [(id, &chain[..at]), (1, &chain[at..])] {
            sqlx::query(
                "INSERT INTO pcs_certificates VALUES ($1, $2, NULL, 'now', 'now') ON CONFLICT (id) DO UPDATE SET cert = excluded.cert",
            )
            .bind(id)
            .bind(certificate.as_bytes())
            .execute(&mut self.connection)
            .await
            .expect("a certificate");
        }
    }

    /// A family's TCB info.
    pub async fn tcb_info(&mut self, fmspc: &str, kind: i64, update: &str, document: &[u8]) {
        let statement = match self.version {
            1 if kind == 0 && update == "STANDARD" => {
                "INSERT INTO fmspc_tcbs VALUES ($1, $4, 1, 3, 'now', 'now')"
            }
            2 if update == "STANDARD" => {
                "INSERT INTO fmspc_tcbs VALUES ($1, $2, $4, 1, 3, 'now', 'now')"
            }
            3 | 4 if update == "STANDARD" => {
                "INSERT INTO fmspc_tcbs VALUES ($1, $2, 4, $4, 1, 3, 'now', 'now')"
            }
            5 => "INSERT INTO fmspc_tcbs VALUES ($1, $2, 4, $3, $4, 1, 3, 'now', 'now')",
            _ => return,
        };
        sqlx::query(statement)
            .bind(fmspc)
            .bind(kind)
            .bind(update)
            .bind(document)
            .execute(&mut self.connection)
            .await
            .expect("a TCB info");
    }

    /// An enclave's identity.
    pub async fn identity(&mut self, id: i64, update: &str, document: &[u8]) {
        let statement = match (self.version, id) {
            (1, 1) => "INSERT INTO qe_identities VALUES (1, $3, 1, 3, 'now', 'now')",
            (1, 2) => "INSERT INTO qve_identities VALUES (1, $3, 1, 3, 'now', 'now')",
            (2, _) => "INSERT INTO enclave_identities VALUES ($1, $3, 1, 3, 'now', 'now')",
            (3 | 4, _) => "INSERT INTO enclave_identities VALUES ($1, 4, $3, 1, 3, 'now', 'now')",
            (5, _) => "INSERT INTO enclave_identities VALUES ($1, 4, $2, $3, 1, 3, 'now', 'now')",
            _ => return,
        };
        sqlx::query(statement)
            .bind(id)
            .bind(update)
            .bind(document)
            .execute(&mut self.connection)
            .await
            .expect("an identity");
    }

    /// A platform with its certificates and the raw TCB it reports now.
    pub async fn platform(&mut self, platform: &SimPlatform, certs: &Fetched) {
        let (qe_id, pce_id) = (upper(&platform.qe_id), upper(&platform.pce_id));
        sqlx::query("INSERT INTO platforms VALUES ($1, $2, $3, $4, $5, $6, 'now', 'now')")
            .bind(&qe_id)
            .bind(&pce_id)
            .bind(platform.manifest.clone())
            // PCCS blanks it where there is a manifest.
            .bind(
                platform
                    .manifest
                    .is_none()
                    .then(|| platform.encrypted_ppid.clone()),
            )
            .bind(certs.fmspc.to_uppercase())
            .bind(certs.ca.to_uppercase())
            .execute(&mut self.connection)
            .await
            .expect("a platform");
        let list: serde_json::Value = serde_json::from_slice(&certs.body).expect("a list");
        let mut best = String::new();
        for entry in list.as_array().expect("a list") {
            let text = entry["cert"].as_str().expect("text");
            if text == "Not available" {
                continue;
            }
            let pem: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
            let tcbm = entry["tcbm"].as_str().expect("text").to_uppercase();
            best.clone_from(&tcbm);
            sqlx::query("INSERT INTO pck_cert VALUES ($1, $2, $3, $4, 'now', 'now')")
                .bind(&qe_id)
                .bind(&pce_id)
                .bind(tcbm)
                .bind(pem)
                .execute(&mut self.connection)
                .await
                .expect("a certificate");
        }
        sqlx::query("INSERT INTO platform_tcbs VALUES ($1, $2, $3, $4, $5, 'now', 'now')")
            .bind(&qe_id)
            .bind(&pce_id)
            .bind(upper(&platform.cpu_svn))
            .bind(upper(&platform.pce_svn.to_le_bytes()))
            .bind(best)
            .execute(&mut self.connection)
            .await
            .expect("a raw TCB");
    }

    /// A registration in a state of PCCS's.
    pub async fn registered(&mut self, platform: &SimPlatform, state: i64) {
        sqlx::query(
            "INSERT INTO platforms_registered VALUES ($1, $2, $3, $4, $5, $6, $7, 'now', 'now')",
        )
        .bind(upper(&platform.qe_id))
        .bind(upper(&platform.pce_id))
        .bind(upper(&platform.cpu_svn))
        .bind(upper(&platform.pce_svn.to_le_bytes()))
        .bind(platform.encrypted_ppid.clone())
        .bind(platform.manifest.clone())
        .bind(state)
        .execute(&mut self.connection)
        .await
        .expect("a registration");
    }

    /// All collateral of these families, and the issuers.
    pub async fn collateral(&mut self, world: &World, fmspcs: &[&str]) {
        for (ca, id) in [("processor", 2), ("platform", 4)] {
            let crl = world
                .fetch(
                    &format!("/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"),
                    "SGX-PCK-CRL-Issuer-Chain",
                )
                .await;
            self.chain(id, &crl.chain).await;
            sqlx::query("INSERT INTO pck_crl VALUES ($1, $2, 1, $3, 'now', 'now')")
                .bind(ca.to_uppercase())
                .bind(crl.body)
                .bind(id)
                .execute(&mut self.connection)
                .await
                .expect("a CRL");
        }
        let updates = ["STANDARD", "EARLY"];
        for fmspc in fmspcs {
            for (kind, tee) in [(0, "sgx"), (1, "tdx")] {
                if kind == 1 && *fmspc == SGX_ONLY {
                    continue;
                }
                for update in updates {
                    let info = world
                        .fetch(
                            &format!(
                                "/{tee}/certification/v4/tcb?fmspc={fmspc}&update={}",
                                update.to_lowercase()
                            ),
                            "TCB-Info-Issuer-Chain",
                        )
                        .await;
                    self.chain(3, &info.chain).await;
                    self.tcb_info(fmspc, kind, update, &info.body).await;
                }
            }
        }
        for (id, path) in [
            (1, "sgx/certification/v4/qe"),
            (2, "sgx/certification/v4/qve"),
            (3, "tdx/certification/v4/qe"),
        ] {
            for update in updates {
                let path = format!("/{path}/identity?update={}", update.to_lowercase());
                let document = world
                    .fetch(&path, "SGX-Enclave-Identity-Issuer-Chain")
                    .await;
                if self.version >= 5 || update == "STANDARD" {
                    self.identity(id, update, &document.body).await;
                }
            }
        }
        let url = world.sim.root_crl_url();
        let path = url.strip_prefix(&world.sim.pcs_url()).expect("a path");
        let root_crl = world.fetch(path, "").await.body;
        sqlx::query("UPDATE pcs_certificates SET crl = $1 WHERE id = 1")
            .bind(&root_crl)
            .execute(&mut self.connection)
            .await
            .expect("the root CRL");
        if self.version >= 2 {
            sqlx::query("INSERT INTO crl_cache VALUES ($1, $2, 'now', 'now')")
                .bind(url)
                .bind(root_crl)
                .execute(&mut self.connection)
                .await
                .expect("a CRL");
        }
    }

    /// Closes it; where it is.
    pub async fn close(self) -> PathBuf {
        self.connection.close().await.expect("closed");
        self.path
    }
}

/// The list with the last byte of each certificate's signature turned.
pub fn forged(certs: Fetched) -> Fetched {
    let mut list: serde_json::Value = serde_json::from_slice(&certs.body).expect("a list");
    for entry in list.as_array_mut().expect("a list") {
        let text = entry["cert"].as_str().expect("text");
        let pem: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
        let pem = String::from_utf8(pem).expect("text");
        let digits: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let mut der = data_encoding::BASE64
            .decode(digits.as_bytes())
            .expect("Base64");
        *der.last_mut().expect("bytes") ^= 1;
        let forged = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            data_encoding::BASE64.encode(&der)
        );
        entry["cert"] = forged.into();
    }
    Fetched {
        body: list.to_string().into_bytes(),
        ..certs
    }
}

pub fn upper(bytes: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(bytes)
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

pub fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {} {}",
            String::from_utf8_lossy(&output.stdout),
            said(output)
        )
    })
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}
