//! The simulated vendors. Here: Intel's Provisioning Certification Service (PCS), its registration service, and virtual
//! platforms to be registered there. AMD's Key Distribution Service and its chips: [`kds`].
//!
//! For tests and demonstrations of anything that fetches Intel's collateral: a PCS on one port, made of fresh keys at
//! each start, and a management port that moves time-bound facts (TCB recovery, revocations, signers, platforms) and
//! sets faults. It is written from `spec/intel-pcs-and-pccs.md` sections 4, 6, 7 and 8 and `spec/intel-verification.md`
//! sections 1 to 8 alone and imports no other crate of this project, so that a misreading shared by client and
//! double cannot hide. It teaches clients manners: what the specification does not allow is refused.
//!
//! Promises: the clock is the caller's; an object is signed once and answered byte for byte the same until it is older
//! than `resign_after` (12 hours unless set) or a command says otherwise; a PCK certificate is made once and answered
//! byte for byte the same until a TCB recovery or a re-issue; no two bodies of one artefact ever share an issue date,
//! except by the `conflict` fault; nothing outside the process is contacted.
//!
//! # The PCS port
//!
//! | path | parameters | 200 | refused |
//! |---|---|---|---|
//! | `/sgx/certification/v4/tcb`, `/tdx/...` | `fmspc`; `update` or `tcbEvaluationDataNumber` | TCB info v3, `TCB-Info-Issuer-Chain` | 400, 401, 404, 410 |
//! | `/sgx/certification/v4/{qe,qve,qae}/identity`, `/tdx/.../qe/identity` | `update` or `tcbEvaluationDataNumber` | enclave identity v2, `SGX-Enclave-Identity-Issuer-Chain` | 400, 401, 404, 410 |
//! | `/sgx/certification/v4/tcbevaluationdatanumbers`, `/tdx/...` | | the signed list, `TCB-Evaluation-Data-Numbers-Issuer-Chain` | |
//! | `/sgx/certification/v4/pckcrl` | `ca`; `encoding` `pem` (default) or `der` | CRL, `SGX-PCK-CRL-Issuer-Chain` | 400, 401 |
//! | `/sgx/certification/v4/pckcert` | GET `encrypted_ppid`, `cpusvn`, `pcesvn`, `pceid`; POST `platformManifest` instead of `encrypted_ppid` | PEM, `SGX-TCBm`, and as below | 400, 401, 404 |
//! | `/sgx/certification/v4/pckcerts` | GET `encrypted_ppid`, `pceid`; POST `platformManifest`, `pceid` | JSON list, `SGX-PCK-Certificate-Issuer-Chain`, `SGX-FMSPC`, `SGX-PCK-Certificate-CA-Type` | 400, 401, 404 |
//! | `/sgx/certification/v4/pckcerts/config` | the same and `cpusvn` | the same, levels of that configuration | 400, 401, 404 |
//! | `/sgx/registration/v1/platform` | POST, the manifest's bytes | 201, the PPID in hex | 400, 415 |
//! | `/sgx/registration/v1/package` | POST, an add-request's bytes | 8 membership certificates, `Certificate-Count` | 400, 401, 415 |
//! | `/sgx/certification/v4/fmspcs` | `platform` `all` (default), `client`, `E3`, `E5` | unsigned JSON | 400 |
//! | `/IntelSGXRootCA.der` | | root CRL, DER | |
//! | `/{sgx,tdx}/certification/{v2,v3}/...` | | | 410 |
//!
//! 404 is an unknown FMSPC, TDX of an SGX-only FMSPC, a number above early; 410 a number below standard; 401 a missing
//! or wrong `Ocp-Apim-Subscription-Key` when [`SimConfig::api_key`] is set, on the calls the specification lists 401
//! for. At the start the lists hold 16 to 20: 18 is standard, 20 early. Chains are percent-encoded PEM, issuer first,
//! root last, ending in `%0A`. Every answer but 429 has a `Request-ID`. What is 400 has an `Error-Code`, mostly
//! `InvalidRequestSyntax`.
//!
//! # Virtual platforms
//!
//! At the start there is one for each FMSPC, `platform-1` to `platform-7`: of one package, with certificates of the
//! Processor CA, where there is no TDX; of two packages, with certificates of the Platform CA, where there is. The vendor
//! has certificates for the levels of all evaluation numbers, hyper-threading on and off where that matters, and the
//! level of 2018. A fresh platform's raw TCB covers its second-best level, not the best.
//!
//! | request | single package | two packages |
//! |---|---|---|
//! | `pckcert(s)` by encrypted PPID | 200 | 404 until registered directly, by the newest manifest |
//! | `pckcert(s)` by manifest | | 200; a first contact is indirect registration, for good: keys are not kept |
//! | ... by a consumed manifest, or one older than the newest | | 404 |
//! | ... by a manifest nobody made | 400 `InvalidPlatformManifest` | 400 `InvalidPlatformManifest` |
//! | `registration/v1/platform` | | 201; 400 `CachedKeysPolicyViolation` after indirect registration, 400 `InvalidPlatformManifest` for a consumed, old or garbled manifest |
//! | `registration/v1/package` | 400 `PlatformNotFound` | 200 after direct registration, else 400 `PlatformNotFound`; 400 `InvalidAddRequest` |
//! | by an encrypted PPID of zeros or an unknown one | 404 | 404 |
//! | a pre-production CPU | 404 | 404 by encrypted PPID, 400 `InvalidRegistrationServer` by manifest |
//!
//! Each makes quotes: [`Management::quote`]. The PCK key that certifies its quoting enclave is that of the certificate
//! `pckcert` answers, the enclave is the newest, TDX module and late microcode are as new as the raw TCB. So
//! a fresh platform of no hardening family is `UpToDate` under 19 and `OutOfDate` under 20, and after `upgrade` is
//! `UpToDate` under both. A first quote registers a platform of two packages, if nobody has, indirectly and for good.
//!
//! # The management port, and [`Management`]
//!
//! | request | body | does |
//! |---|---|---|
//! | `GET /status` | | counts, numbers, faults, addresses, FMSPCs |
//! | `GET /root.pem` | | the root to trust |
//! | `GET /calls`, `DELETE /calls` | | every call of the PCS port by target; reset |
//! | `PUT /numbers/keep` | `{"from": 19}` | numbers from 19 on are answered though they fall below standard; `{"from": null}` withdraws them |
//! | `POST /recovery` | `{"event_days_ago": 0, "stale_manifests": false}` | number early + 1; a better level and new certificates for every platform |
//! | `POST /resign` | | everything signed again, dated now |
//! | `PUT /resign-after` | `{"seconds": 43200}` | how old an edition may get |
//! | `POST /revoke` | `{"ca": "platform", "count": 72}`, `{"ca": .., "serials": ["..hex"]}`, `{"ca": "root", "certificate": "tcb-signing"}` | a CRL edition with more entries |
//! | `POST /shrink` | `{"ca": "platform", "remove": 72}` | a CRL edition without the newest entries |
//! | `POST /rotate-signer` | `{"reissue": true}` | a new TCB signing certificate, for the same key or a new one |
//! | `GET /faults`, `DELETE /faults` | | the faults in force; none |
//! | `PUT /faults` | `{"fault": "slow", "ms": 500, "match": "tcb?", "times": 3}` | one more fault, behind the others |
//! | `GET /platforms?skip=0&count=1000` | | virtual platforms, 1,000 at most |
//! | `POST /platforms` | `{"fmspc": "B0C06F53494D", "packages": 2}`, and of `levels`, `not_available`, `zero_encrypted_ppid`, `pre_production`, `zero_qe_id`, `count` | more of them: those made |
//! | `GET /platforms/{name}` | | one of them |
//! | `GET /platforms/{name}/{manifest,add-request}` | | the bytes that the registration service takes |
//! | `GET /platforms/{name}/{retrieval-request,retrieval-csv}` | | what PCKIDRetrievalTool posts and writes |
//! | `POST /platforms/{name}/quote` | `{"version": 5, "body": "td-1.5", "report_data": "hex"}`, and of [`QuoteSpec`] | a quote, its bytes |
//! | `POST /platforms/{name}/consume-manifest` | | its newest manifest is refused |
//! | `POST /platforms/{name}/upgrade` | | the raw TCB of its best level, all levels available, a new manifest |
//! | `POST /platforms/{name}/downgrade` | | a raw TCB below every level |
//! | `POST /platforms/{name}/reissue` | | new certificates |
//! | `POST /platforms/{name}/revoke` | | its certificates enter the PCK CRL |
//! | `POST /platforms/{name}/encrypt-ppid` | | one more encryption of its PPID |
//! | `PUT /pckcerts-shape` | `{"shape": "flat"}` or `"components"` | how `pckcerts` writes `tcb` |
//!
//! Errors are `{"error": "..."}`: 400 for a request that makes no sense, 404 for a platform that is not there, 409 when
//! the clock has not moved since the edition that would be replaced.
//!
//! # Faults
//!
//! `match` is a substring of `path?query` as received, for POST as for GET; the first rule that matches and can alter
//! the answer wins.
//!
//! | fault | parameters | the client sees |
//! |---|---|---|
//! | `chain-reversed` | | a good object, its chain root first |
//! | `conflict` | | the current issue date, another body, a good signature |
//! | `down` | | the connection closed without an answer |
//! | `expired` | | issued 40 days ago, next update 10 days ago, a good signature |
//! | `future` | | issued tomorrow, a good signature |
//! | `garbage` | | 200, random bytes |
//! | `html` | | 200, a captive portal |
//! | `huge` | `bytes` (100 MiB) | 200, a chunked body that does not end soon |
//! | `no-chain` | | a good object without its chain header |
//! | `one-forged` | | a `pckcerts` list, its best certificate another hierarchy's, the rest genuine |
//! | `partial` | `levels` (1) | a `pckcerts` list, so many more levels `Not available` |
//! | `redirect` | `location` (`http://elsewhere.invalid/`) | 302 |
//! | `reset` | | half a header, then RST |
//! | `slow` | `ms` (500) | a good answer, late |
//! | `stale` | `days` (10) | an edition so many days older than the current one, a good signature |
//! | `status` | `code` | that status |
//! | `throttle` | `retry_after` (10) | 429, `Retry-After`, no `Request-ID` |
//! | `truncated` | | half the body that `Content-Length` promised |
//! | `unavailable` | `retry_after` (10) | 503, `Retry-After` |
//! | `wrong-fmspc` | | properly signed TCB info of another FMSPC |
//! | `wrong-key` | | signed by another hierarchy of the same names, with its chain |
//! | `wrong-number` | | a properly signed object of another evaluation number |
//! | `wrong-platform` | | another platform's genuine `pckcerts` list, of the same FMSPC if there is one |
//! | `wrong-signature` | | one bit of the signature flipped; in a `pckcerts` list, of every certificate's |

mod calendar;
mod calls;
mod der;
mod evaluation;
mod faults;
mod fleet;
mod identity;
pub mod kds;
mod machine;
mod management;
mod management_routes;
mod manifest;
mod paths;
mod pck;
mod pck_paths;
mod pck_tcb;
mod pcs;
mod pem;
mod pki;
mod platform;
mod platform_management;
mod platform_routes;
mod population;
mod quote;
mod running;
mod sgx_extension;
mod shared;
mod tcb_info;
mod vendor;
mod wire;

pub use calls::{Call, Calls};
pub use faults::{Fault, FaultRule};
pub use fleet::SimFmspc;
pub use kds::{
    AmdCa, AmdProduct, ChipSpec, CrlStatus, Kds, KdsConfig, KdsFault, KdsManagement, KdsStatus,
    LeafForm, ProductStatus, RateLimits, RateRule, ReportSpec, ReportVersion, RsaBits, SimChip,
    SimTcb, Violation, start_kds,
};
pub use management::{
    Ca, CaCertificate, CrlEntries, ListedEvent, Management, Recovery, Revocation, Status,
};
pub use platform::{PckCertsShape, PlatformSpec, SimPlatform};
pub use quote::{
    CertificationKind, CertificationSpec, EnclaveSpec, QeSpec, QuoteBody, QuoteFault, QuoteSpec,
    QuoteVersion, TdSpec,
};

use running::{Running, bind};
use shared::Shared;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use vendor::Vendor;

/// What a simulator needs.
#[derive(Clone)]
pub struct SimConfig {
    /// Where the simulated PCS listens, plain HTTP; port 0 takes a free one.
    pub pcs_listen: SocketAddr,
    /// Where the management port listens, plain HTTP, no authentication; port 0 takes a free one.
    pub management_listen: SocketAddr,
    /// The clock, in unix seconds. The simulator reads no other.
    pub now: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// The subscription key to demand; `None` demands none.
    pub api_key: Option<String>,
}

impl fmt::Debug for SimConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimConfig")
            .field("pcs_listen", &self.pcs_listen)
            .field("management_listen", &self.management_listen)
            .field("api_key", &self.api_key.as_ref().map(|_| "[not shown]"))
            .finish_non_exhaustive()
    }
}

/// What can go wrong in the simulator itself, as opposed to what it simulates.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A listener could not be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A certificate or CRL could not be made.
    #[error("cannot make a certificate or CRL: {0}")]
    Certificate(#[from] rcgen::Error),
    /// An edition that was already answered would be replaced by one with the same issue date.
    #[error(
        "an edition was answered with issue date {issued} and it is {now}: advance the clock and repeat"
    )]
    ClockNotAdvanced {
        /// When the edition was issued, in unix seconds.
        issued: i64,
        /// The clock, in unix seconds.
        now: i64,
    },
    /// A management request that makes no sense.
    #[error("{0}")]
    InvalidRequest(String),
    /// The system has no random bytes.
    #[error("no random bytes")]
    Randomness,
    /// A signature or the document under it could not be made.
    #[error("cannot sign")]
    Signature,
    /// No virtual chip has this name.
    #[error("no chip `{0}`")]
    UnknownChip(String),
    /// No virtual platform has this name.
    #[error("no platform `{0}`")]
    UnknownPlatform(String),
}

/// A running simulator. Dropping it ends its listeners and connections.
pub struct Sim {
    shared: Arc<Shared>,
    root_pem: String,
    running: Running,
}

/// Starts a simulated PCS and its management port on the current tokio runtime.
pub async fn start(config: SimConfig) -> Result<Sim, SimError> {
    let (pcs_listener, pcs_url) = bind(config.pcs_listen).await?;
    let (management_listener, management_url) = bind(config.management_listen).await?;
    let vendor = Vendor::new((config.now)(), &pcs_url)?;
    let root_pem = vendor.pki().root_pem().to_owned();
    let shared = Arc::new(Shared {
        pcs_url,
        management_url,
        api_key: config.api_key,
        clock: config.now,
        vendor: Mutex::new(vendor),
    });
    let router = management_routes::router(Management::new(Arc::clone(&shared)));
    let answering = Arc::clone(&shared);
    let respond = move |request| {
        let shared = Arc::clone(&answering);
        async move { pcs::respond(&shared, &request).await }
    };
    Ok(Sim {
        running: Running::start(
            wire::serve(pcs_listener, respond),
            management_listener,
            router,
        ),
        root_pem,
        shared,
    })
}

impl Sim {
    /// `http://127.0.0.1:PORT` of the simulated PCS.
    pub fn pcs_url(&self) -> String {
        self.shared.pcs_url.clone()
    }

    /// `http://127.0.0.1:PORT` of the management port.
    pub fn management_url(&self) -> String {
        self.shared.management_url.clone()
    }

    /// The root certificate to trust.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Where the root CRL is; the CRL distribution points of all certificates but PCK certificates say the same.
    pub fn root_crl_url(&self) -> String {
        self.shared.root_crl_url()
    }

    /// The platform families it knows.
    pub fn platforms(&self) -> Vec<SimFmspc> {
        fleet::platforms()
    }

    /// The management port's actions, in process.
    pub fn management(&self) -> Management {
        Management::new(Arc::clone(&self.shared))
    }

    /// Ends listeners and connections and waits until they have ended.
    pub async fn shutdown(self) {
        self.running.shutdown().await;
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("pcs_url", &self.shared.pcs_url)
            .field("management_url", &self.shared.management_url)
            .finish_non_exhaustive()
    }
}
