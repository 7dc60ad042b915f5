//! A simulated AMD Key Distribution Service (KDS) with virtual SEV-SNP chips.
//!
//! Written from `spec/amd-kds-and-thim.md` sections 1 to 4 alone: paths, headers, certificates, CRLs and reports are those
//! of captures, down to the order of extensions, under fresh keys. Promises: the clock is the caller's; a VCEK is signed
//! anew on each call, with serial number 0, new dates and the same key for the same chip and TCB; a CRL is signed when
//! first asked for and answered byte for byte the same until it is three weeks old or a command says otherwise, each
//! edition with the next number; nothing outside the process is contacted.
//!
//! RSA keys are made once a process and size and shared by all simulated KDSs of the process ([`RsaBits`]): the three
//! roots before [`start_kds`] returns, about two seconds with 4096 bits the first time, the rest in the background; a
//! request that needs one sooner waits for it.
//!
//! # The KDS port
//!
//! | path | parameters | 200 | refused |
//! |---|---|---|---|
//! | `/vcek/v1/{Milan,Genoa}/{128 hex digits}` | `blSPL`, `teeSPL`, `snpSPL`, `ucodeSPL` | VCEK, DER, `filename=vcek.crt` | 400, 404, 405, 429 |
//! | `/vcek/v1/Turin/{16 hex digits}` | the same and `fmcSPL` | the same | 400, 404, 405, 429 |
//! | `/vcek/v1/{product}/cert_chain` | | ASK and ARK, PEM, `filename={product}.pem` | 404, 405 |
//! | `/vlek/v1/{product}/cert_chain` | | ASVK and ARK, PEM | 404, 405 |
//! | `/vcek/v1/{product}/crl` | | CRL of the ARK over ASKs, DER | 404, 405 |
//! | `/vlek/v1/{product}/crl` | | CRL of the ARK over ASVKs, DER; none was ever captured | 404, 405 |
//! | `/vlek/v1/{product}/cert` | | | 401: the credential's form is not public |
//!
//! 400 is a chip id of another length or not hex, a level missing, doubled, out of range (127, microcode 255), longer than
//! three digits, or a parameter of another name (`fmcSPL` outside Turin too). 404 is a product unknown or in another case,
//! a chip AMD did not make (all zeros is none), and a TCB above both what AMD has released and what the chip runs. Every
//! lower TCB has a VCEK. Everything is `application/octet-stream`, `no-cache`, without validators. Line ends are LF, CRLF
//! for Turin, whose VLEK chain ends in an empty line.
//!
//! A second request for one (chip, TCB) within 10 s is 429 with the seconds left in `Retry-After`, and a violation is
//! counted; the same by client address where [`RateLimits`] says so.
//!
//! At the start there are `chip-1` (Milan), `chip-2` (Genoa) and `chip-3` (Turin).
//!
//! # The management port, and [`KdsManagement`]
//!
//! | request | body | does |
//! |---|---|---|
//! | `GET /status` | | counts, numbers, limits, faults, addresses |
//! | `GET /roots.pem` | | the three roots to trust |
//! | `GET /calls`, `DELETE /calls` | | every call of the KDS port by target; reset |
//! | `GET /violations`, `DELETE /violations` | | requests that came too early, and the last thousand of them; reset |
//! | `PUT /rate-limits` | `{"per_certificate_seconds": 10, "per_client_seconds": 0}` | the limits; 0 is none |
//! | `GET /chips?skip=0&count=1000` | | virtual chips, 1,000 at most |
//! | `POST /chips` | `{"product": "Milan"}`, and of `tcb`, `count` | more of them: those made |
//! | `GET /chips/{name}` | | one of them |
//! | `POST /chips/{name}/firmware` | `{"boot_loader": 4, "tee": 0, "snp": 27, "microcode": 222}`, `fmc` for Turin | every TCB of the chip rises to this |
//! | `POST /chips/{name}/reported` | the same | the reported TCB, up to the current one |
//! | `POST /chips/{name}/report` | a [`ReportSpec`] | an attestation report, 1184 bytes |
//! | `POST /release` | `{"product": "Milan", "tcb": {..}}` | VCEKs up to these levels for all chips |
//! | `GET /vlek/{product}/{csp id}` | | a cloud provider's VLEK, DER |
//! | `PUT /leaf-form` | `{"explicit_trailer": false, "wrapped_hwid": false}` | the form of VCEKs and VLEKs |
//! | `POST /revoke`, `POST /restore` | `{"product": "Milan", "ca": "ask"}` or `"asvk"` | the CA enters the CRL; the CRL forgets its newest entry |
//! | `POST /resign-crl` | the same | the CRL's next number |
//! | `PUT /resign-after` | `{"seconds": 1814400}` | how old a CRL may get |
//! | `POST /reissue-ca` | as `/revoke` | a new certificate of the CA: same key, next serial number |
//! | `GET /faults`, `DELETE /faults` | | the faults in force; none |
//! | `PUT /faults` | `{"fault": "slow", "ms": 500, "match": "/crl", "times": 3}` | one more fault, behind the others |
//!
//! Errors are as at the PCS's management port.
//!
//! # Faults
//!
//! | fault | parameters | the client sees |
//! |---|---|---|
//! | `chain-reversed` | | a good chain, the ARK first |
//! | `conflict` | | a CRL of the current number and dates, another body, a good signature |
//! | `crl-number-falls` | | a CRL dated now, its number one lower |
//! | `down` | | the connection closed without an answer |
//! | `expired` | | a VCEK or CRL that ended ten days ago |
//! | `false-404` | | 404 for what is there |
//! | `future` | | a VCEK or CRL that begins tomorrow |
//! | `garbage` | | 200, random bytes |
//! | `html` | | 200, a captive portal |
//! | `huge` | `bytes` (100 MiB) | 200, a chunked body that does not end soon |
//! | `redirect` | `location` (`http://elsewhere.invalid/`) | 302 |
//! | `reset` | | half a header, then RST |
//! | `slow` | `ms` (500) | a good answer, late |
//! | `stale-crl` | `days` (10) | a CRL so many days older, its number one lower |
//! | `status` | `code` | that status |
//! | `tampered` | | one bit of the signature flipped; in a chain, of the CA's |
//! | `throttle` | `retry_after` (10) | 429, `Retry-After` |
//! | `truncated` | | half the body that `Content-Length` promised |
//! | `unavailable` | `retry_after` (10) | 503, `Retry-After` |
//! | `wrong-chip` | | another chip's genuine VCEK for the TCB asked for |
//! | `wrong-key` | | VCEK, chain or CRL of another hierarchy with the same names |
//! | `wrong-product` | | chain or CRL of another product |
//! | `wrong-tcb` | | the chip's genuine VCEK for a TCB one level lower |

mod answers;
mod certificates;
mod chip;
mod faults;
mod keys;
mod management;
mod management_routes;
mod paths;
mod pki;
mod product;
mod rate;
mod report;
mod shared;
mod state;
mod tcb;

pub use certificates::LeafForm;
pub use chip::{ChipSpec, SimChip};
pub use faults::KdsFault;
pub use keys::RsaBits;
pub use management::{CrlStatus, KdsManagement, KdsStatus, ProductStatus};
pub use product::{AmdCa, AmdProduct};
pub use rate::{RateLimits, RateRule, Violation};
pub(crate) use report::hex;
pub use report::{ReportSpec, ReportVersion};
pub use tcb::SimTcb;

use crate::SimError;
use crate::pem::pem;
use crate::running::{Running, bind};
use crate::wire;
use keys::Secret;
use pki::Pki;
use shared::Shared;
use state::State;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};

/// What a simulated KDS needs.
#[derive(Clone)]
pub struct KdsConfig {
    /// Where the simulated KDS listens, plain HTTP; port 0 takes a free one.
    pub kds_listen: SocketAddr,
    /// Where the management port listens, plain HTTP, no authentication; port 0 takes a free one.
    pub management_listen: SocketAddr,
    /// The clock, in unix seconds. The simulator reads no other.
    pub now: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// The size of the CAs' keys.
    pub rsa_bits: RsaBits,
}

impl KdsConfig {
    /// Free ports of the loopback address and keys as large as AMD's.
    pub fn new(now: Arc<dyn Fn() -> i64 + Send + Sync>) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            kds_listen: any_port,
            management_listen: any_port,
            now,
            rsa_bits: RsaBits::default(),
        }
    }

    /// With keys of another size.
    pub fn rsa_bits(mut self, rsa_bits: RsaBits) -> Self {
        self.rsa_bits = rsa_bits;
        self
    }
}

impl fmt::Debug for KdsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KdsConfig")
            .field("kds_listen", &self.kds_listen)
            .field("management_listen", &self.management_listen)
            .field("rsa_bits", &self.rsa_bits)
            .finish_non_exhaustive()
    }
}

/// A running simulated KDS. Dropping it ends its listeners and connections.
pub struct Kds {
    shared: Arc<Shared>,
    /// In the order of [`AmdProduct::ALL`].
    root_pems: [String; 3],
    running: Running,
}

/// Starts a simulated KDS and its management port on the current tokio runtime. Waits for the roots' keys.
pub async fn start_kds(config: KdsConfig) -> Result<Kds, SimError> {
    let (kds_listener, kds_url) = bind(config.kds_listen).await?;
    let (management_listener, management_url) = bind(config.management_listen).await?;
    let now = (config.now)();
    let pki = |impostor| Pki::new(&kds_url, config.rsa_bits, impostor, now);
    let (genuine, impostor) = (pki(false), pki(true));
    let shared = Arc::new(Shared {
        management_url,
        clock: config.now,
        secret: Secret::random()?,
        state: Mutex::new(State::new(genuine.begun())?),
        genuine,
        impostor,
        kds_url,
    });
    let root_pems = roots(&shared).await?;
    make_the_rest(Arc::downgrade(&shared));
    let management = KdsManagement::new(Arc::clone(&shared));
    let router = management_routes::router(management, root_pems.concat());
    let answering = Arc::clone(&shared);
    let respond = move |request| answers::respond(Arc::clone(&answering), request);
    Ok(Kds {
        running: Running::start(
            wire::serve(kds_listener, respond),
            management_listener,
            router,
        ),
        root_pems,
        shared,
    })
}

impl Kds {
    /// `http://127.0.0.1:PORT` of the simulated KDS.
    pub fn url(&self) -> String {
        self.shared.kds_url.clone()
    }

    /// `http://127.0.0.1:PORT` of the management port.
    pub fn management_url(&self) -> String {
        self.shared.management_url.clone()
    }

    /// The ARK of a product, to be trusted.
    pub fn root_pem(&self, product: AmdProduct) -> &str {
        &self.root_pems[product.index()]
    }

    /// The ARKs of all products, one behind the other.
    pub fn roots_pem(&self) -> String {
        self.root_pems.concat()
    }

    /// The management port's actions, in process.
    pub fn management(&self) -> KdsManagement {
        KdsManagement::new(Arc::clone(&self.shared))
    }

    /// Ends listeners and connections and waits until they have ended.
    pub async fn shutdown(self) {
        self.running.shutdown().await;
    }
}

impl fmt::Debug for Kds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kds")
            .field("url", &self.shared.kds_url)
            .field("management_url", &self.shared.management_url)
            .finish_non_exhaustive()
    }
}

/// The roots, their keys made side by side.
async fn roots(shared: &Arc<Shared>) -> Result<[String; 3], SimError> {
    let making = AmdProduct::ALL.map(|product| {
        let shared = Arc::clone(shared);
        tokio::task::spawn_blocking(move || shared.genuine.ark(product))
    });
    let mut root_pems = <[String; 3]>::default();
    for (root_pem, made) in root_pems.iter_mut().zip(making) {
        let root = made.await.unwrap_or(Err(SimError::Signature))?;
        *root_pem = pem("CERTIFICATE", &root.der);
    }
    Ok(root_pems)
}

/// Makes the CAs below the roots in a thread of its own, until they are there or the simulator is gone. If no thread can
/// be had, they are made when asked for.
fn make_the_rest(shared: Weak<Shared>) {
    let make = move || {
        for ca in AmdCa::ALL {
            for product in AmdProduct::ALL {
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                // A failure is told to whoever asks for the certificate.
                let _ = shared.genuine.ca(ca, product);
            }
        }
    };
    let thread = std::thread::Builder::new().name("kds-keys".to_owned());
    let _ = thread.spawn(make);
}
