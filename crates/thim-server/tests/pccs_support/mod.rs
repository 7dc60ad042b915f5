//! A server beside what PCCS was asked, and collateral files made of what the simulator answers.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use aws_lc_rs::digest;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use serde_json::json;
use thim_server::access::PccsHash;
use thim_server::clock::Clock;
use thim_server::config::Config;
use thim_server::server::{Server, World};
use thim_server::upstream::Fill;
use thim_sim::{PlatformSpec, SimPlatform};

use crate::harness::{Answer, BOTH, Fleet, SGX_ONLY, at, vectors};

/// PCCS's tokens of the capture.
pub fn with_pccs_tokens(config: &mut Config) {
    let hash = |token: &str| {
        let hash = digest::digest(&digest::SHA512, token.as_bytes());
        Some(PccsHash::new(HEXLOWER.encode(hash.as_ref())))
    };
    config.api.user_token_hash = hash("userpw");
    config.api.admin_token_hash = hash("adminpw");
}

pub fn hex_sha384(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA384, bytes).as_ref())
}

/// An appraisal policy for SGX enclaves, as a JWT.
pub fn policy() -> String {
    let class = "3123ec35-8d38-4ea5-87a5-d6c48b567570";
    let inner = json!({"policy_array": [{"environment": {"class_id": class}}]}).to_string();
    let payload = json!({ "policy_payload": inner }).to_string();
    format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(payload.as_bytes()))
}

/// A server as the captured PCCS was: offline, with its tokens, at its time.
pub struct Captured {
    pub folder: PathBuf,
    pub server: Server,
    client: reqwest::Client,
    params: BTreeMap<String, serde_json::Value>,
    _directory: tempfile::TempDir,
}

impl Captured {
    /// `None`, with the reason printed, where the capture is not there.
    pub async fn start() -> Option<Self> {
        let folder = vectors()
            .map(|vectors| vectors.join("../conformance"))
            .filter(|folder| folder.exists())?;
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = Config {
            data: directory.path().join("data"),
            ..Config::default()
        };
        config.http.listen = "127.0.0.1:0".to_owned();
        config.https.listen = "off".to_owned();
        config.trust.intel_roots = vec![folder.join("root.pem")];
        config.intel.fill = Fill::Offline;
        with_pccs_tokens(&mut config);
        let now = at("2026-11-25T00:00:00Z");
        let world = World {
            clock: Clock::by_hand(now),
            clock_chosen: true,
            today: now,
            entropy: crate::harness::entropy,
        };
        let server = Server::start(&config, world)
            .await
            .expect("the server starts");
        let params = std::fs::read(folder.join("params.json")).expect("the parameters");
        Some(Self {
            folder,
            server,
            client: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            params: serde_json::from_slice(&params).expect("parameters"),
            _directory: directory,
        })
    }

    /// A text with the capture's `{names}` filled in.
    pub fn filled(&self, text: &str) -> String {
        self.params
            .iter()
            .fold(text.to_owned(), |text, (name, value)| {
                text.replace(&format!("{{{name}}}"), value.as_str().unwrap_or_default())
            })
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let http = self.server.http.expect("HTTP is on");
        self.client.request(
            method.parse().expect("a method"),
            format!("http://{http}{path}"),
        )
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        read(request).await
    }

    pub fn collaterals(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("platform_collaterals.json")).expect("the collateral")
    }

    pub async fn put_collaterals(&self) -> Answer {
        let request = self
            .request("PUT", "/sgx/certification/v4/platformcollateral")
            .header("admin-token", "adminpw")
            .header("Content-Type", "application/json")
            .body(self.collaterals());
        read(request).await
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }
}

async fn read(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes().await.expect("a whole body").to_vec(),
    }
}

/// A collateral file in the making, of what the simulator answers; each part is text, so that what is signed stays as
/// it is.
#[derive(Clone, Debug)]
pub struct Collaterals {
    pub platforms: Vec<String>,
    pub pck_certs: Vec<String>,
    pub tcb_infos: Vec<String>,
    pub processor_crl: String,
    pub platform_crl: String,
    pub identities: Vec<(&'static str, String)>,
    pub processor_chain: String,
    pub platform_chain: String,
    pub tcb_chain: String,
    pub identity_chain: String,
    pub root_crl: String,
    pub version: &'static str,
}

impl Collaterals {
    /// Everything for these platforms, asked of the simulator without THIM.
    pub async fn of(fleet: &Fleet, platforms: &[&SimPlatform]) -> Self {
        let pcs = |path: String| {
            let url = format!("{}{path}", fleet.sim.pcs_url());
            async move {
                let answer = fleet.send(fleet.client.get(url)).await;
                assert_eq!(answer.status, 200, "{path}");
                answer
            }
        };
        let crl = |ca: &str| pcs(format!("/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"));
        let (processor, platform) = (crl("processor").await, crl("platform").await);
        let mut file = Self {
            platforms: Vec::new(),
            pck_certs: Vec::new(),
            tcb_infos: Vec::new(),
            processor_crl: HEXLOWER.encode(&processor.body),
            platform_crl: HEXLOWER.encode(&platform.body),
            identities: Vec::new(),
            processor_chain: processor.header("sgx-pck-crl-issuer-chain").to_owned(),
            platform_chain: platform.header("sgx-pck-crl-issuer-chain").to_owned(),
            tcb_chain: String::new(),
            identity_chain: String::new(),
            root_crl: HEXLOWER.encode(&pcs("/IntelSGXRootCA.der".to_owned()).await.body),
            version: "4",
        };
        for (name, path) in [
            ("qeidentity", "/sgx/certification/v4/qe/identity"),
            ("tdqeidentity", "/tdx/certification/v4/qe/identity"),
            ("qveidentity", "/sgx/certification/v4/qve/identity"),
        ] {
            let answer = pcs(path.to_owned()).await;
            file.identity_chain = answer
                .header("sgx-enclave-identity-issuer-chain")
                .to_owned();
            file.identities.push((name, answer.text().to_owned()));
        }
        for platform in platforms {
            let answer = pcs(format!(
                "/sgx/certification/v4/tcb?fmspc={}",
                platform.fmspc
            ))
            .await;
            file.tcb_chain = answer.header("tcb-info-issuer-chain").to_owned();
            file.tcb_infos
                .push(tcb_info(&platform.fmspc, answer.text()));
            file.platforms.push(platform.retrieval_request());
            let list = list(fleet, platform).await;
            file.pck_certs.push(entry(platform, &list));
        }
        file
    }

    pub fn json(&self) -> String {
        let identities: String = self
            .identities
            .iter()
            .map(|(name, text)| format!("\"{name}\":{},", json!(text)))
            .collect();
        format!(
            "{{\"platforms\":[{}],\"collaterals\":{{\"version\":{},\"pck_certs\":[{}],\"tcbinfos\":[{}],\
             \"pckcacrl\":{{\"processorCrl\":\"{}\",\"platformCrl\":\"{}\"}},{identities}\
             \"certificates\":{{\"SGX-PCK-Certificate-Issuer-Chain\":{{\"PROCESSOR\":\"{}\",\"PLATFORM\":\"{}\"}},\
             \"TCB-Info-Issuer-Chain\":\"{}\",\"SGX-Enclave-Identity-Issuer-Chain\":\"{}\"}},\
             \"rootcacrl_cdp\":\"https://certificates.trustedservices.intel.com/IntelSGXRootCA.der\",\"rootcacrl\":\"{}\"}}}}",
            self.platforms.join(","),
            self.version,
            self.pck_certs.join(","),
            self.tcb_infos.join(","),
            self.processor_crl,
            self.platform_crl,
            self.processor_chain,
            self.platform_chain,
            self.tcb_chain,
            self.identity_chain,
            self.root_crl,
        )
    }

    pub async fn put(&self, fleet: &Fleet) -> Answer {
        put(fleet, "adminpw", self.json()).await
    }
}

pub fn tcb_info(fmspc: &str, text: &str) -> String {
    format!("{{\"fmspc\":\"{fmspc}\",\"sgx_tcbinfo\":{text}}}")
}

/// The vendor's list of a platform, by manifest where it has one.
pub async fn list(fleet: &Fleet, platform: &SimPlatform) -> String {
    let url = format!("{}/sgx/certification/v4/pckcerts", fleet.sim.pcs_url());
    let pce_id = HEXUPPER.encode(&platform.pce_id);
    let request = match &platform.manifest {
        Some(manifest) => fleet
            .client
            .post(url)
            .header("Content-Type", "application/json")
            .body(
                json!({"platformManifest": HEXUPPER.encode(manifest), "pceid": pce_id}).to_string(),
            ),
        None => fleet.client.get(format!(
            "{url}?encrypted_ppid={}&pceid={pce_id}",
            HEXUPPER.encode(&platform.encrypted_ppid)
        )),
    };
    let answer = fleet.send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().to_owned()
}

/// A platform's entry in `pck_certs`.
pub fn entry(platform: &SimPlatform, list: &str) -> String {
    format!(
        "{{\"qe_id\":\"{}\",\"pce_id\":\"{}\",\"enc_ppid\":\"{}\",\"certs\":{list}}}",
        HEXUPPER.encode(&platform.qe_id),
        HEXUPPER.encode(&platform.pce_id),
        HEXLOWER.encode(&platform.encrypted_ppid),
    )
}

pub async fn put(fleet: &Fleet, token: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = fleet
        .client
        .put(fleet.url("/sgx/certification/v4/platformcollateral"))
        .header("admin-token", token)
        .header("Content-Type", "application/json")
        .body(body);
    fleet.send(request).await
}

/// `POST /platforms` as PCKIDRetrievalTool does.
pub async fn register(fleet: &Fleet, query: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = fleet
        .client
        .post(fleet.url(&format!("/sgx/certification/v4/platforms{query}")))
        .header("user-token", "userpw")
        .header("Content-Type", "application/json")
        .body(body);
    fleet.send(request).await
}

/// A request of an administrator.
pub async fn admin(fleet: &Fleet, method: &str, path: &str) -> Answer {
    let method = method.parse().expect("a method");
    let request = fleet
        .client
        .request(method, fleet.url(path))
        .header("admin-token", "adminpw");
    fleet.send(request).await
}

/// QCNL's request.
pub fn pckcert(platform: &SimPlatform) -> String {
    format!(
        "/sgx/certification/v4/pckcert?qeid={}&encrypted_ppid={}&cpusvn={}&pcesvn={}&pceid={}",
        HEXUPPER.encode(&platform.qe_id),
        HEXUPPER.encode(&platform.encrypted_ppid),
        HEXUPPER.encode(&platform.cpu_svn),
        HEXUPPER.encode(&platform.pce_svn.to_le_bytes()),
        HEXUPPER.encode(&platform.pce_id)
    )
}

/// PCCS's texts.
pub const SUCCESSFUL: &str = "Operation successful.";
pub const INVALID: &str = "Invalid request parameters.";
pub const NO_DATA: &str = "No cache data for this platform.";
pub const BUSY: &str = "Server is currently unable to process the request.";

/// A fleet in a fill mode, with PCCS's tokens.
pub async fn fleet(fill: Fill) -> Fleet {
    Fleet::start_with(|config| {
        config.intel.fill = fill;
        with_pccs_tokens(config);
    })
    .await
}

pub fn platform(fleet: &Fleet, spec: PlatformSpec) -> SimPlatform {
    fleet.management().add_platform(spec).expect("a platform")
}

pub fn single() -> PlatformSpec {
    PlatformSpec::new(SGX_ONLY, 1)
}

pub fn multi() -> PlatformSpec {
    PlatformSpec::new(BOTH, 2)
}

pub async fn post(fleet: &Fleet, platform: &SimPlatform) -> Answer {
    register(fleet, "", platform.retrieval_request()).await
}

/// How often the vendor was asked for a list.
pub fn lists(fleet: &Fleet) -> u64 {
    fleet.management().calls().containing("/pckcerts")
}

/// An answer in PCCS's manner.
pub fn assert_is(answer: &Answer, status: u16, text: &str, cause: &str) {
    let found = answer.header("thim-cause");
    assert_eq!((answer.status, answer.text()), (status, text), "{found}");
    assert!(found.starts_with(cause), "{found}, wanted {cause}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("request-id").len(), 32);
}
