//! A ready response: body and headers of one edition, prepared once and shared by every answer.
//!
//! An answer clones reference counts and a small header map; it copies no byte of a body. What depends on
//! the instant of the answer (`max-age`, whether the edition is ageing or expired) is chosen from values
//! prepared beforehand. The rules every answer must respect are those of
//! `spec/quote-provider-clients.md` section 5.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, LAST_MODIFIED, WARNING,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use thim_verify::{Artefact, ArtefactKey, Chain, Content, Digest, Enclave, Kind, UnixTime};

use crate::freshness::{Freshness, KindPolicy};
use crate::proof::Proven;
use crate::sentinel::State;

/// In which form a document is served.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Shape {
    /// A CRL's DER.
    Der,
    /// A CRL's DER in lower-case hex, no newline.
    Hex,
    /// A signed JSON document.
    Json,
    /// A CRL in PEM; a chain of AMD's as it was received.
    Pem,
}

/// One edition, ready to be served.
#[derive(Debug)]
pub struct Ready {
    /// Its key.
    pub key: ArtefactKey,
    /// SHA-256 of the signed bytes.
    pub id: Digest,
    /// Issue date.
    pub issued: UnixTime,
    /// Next update.
    pub next_update: UnixTime,
    /// When an upstream last confirmed it, else its admission.
    pub seen: UnixTime,
    /// True where an upstream confirmed it.
    pub confirmed: bool,
    /// Number of revoked serials, for CRLs.
    pub revoked_entries: Option<usize>,
    policy: KindPolicy,
    chain_holds_until: UnixTime,
    archived: bool,
    forms: [Option<Form>; 4],
    cache_control: HeaderValue,
}

#[derive(Debug)]
struct Form {
    body: Bytes,
    etag: HeaderValue,
    headers: HeaderMap,
    freshness: [HeaderValue; 3],
}

/// An answer's fixed parts at one instant.
#[derive(Debug)]
pub struct Served {
    /// All headers but those that belong to the request (`Request-ID`) or the clock.
    pub headers: HeaderMap,
    /// The body, shared.
    pub body: Bytes,
    /// The entity tag, for conditional requests.
    pub etag: HeaderValue,
}

/// An edition cannot be prepared.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unservable {
    /// Intel's QCNL aborts its process above 65,534 bytes of body and chain, so nothing larger is sent.
    #[error("body and chain are {found} bytes; clients take at most {CLIENT_LIMIT_BYTES}")]
    TooLarge {
        /// Their size.
        found: usize,
    },
}

impl Ready {
    /// Prepares an edition. `chain` is the one to serve with it, valid at the service's clock; none goes with AMD's.
    pub fn new(
        artefact: &Proven,
        chain: Option<&Chain>,
        seen: UnixTime,
        confirmed: bool,
        policy: KindPolicy,
        state: State,
    ) -> Self {
        let key = artefact.key();
        let document = artefact.document();
        let chain_text = chain.map_or(0, |chain| chain.to_pem().len());
        let chain_header = chain.map(Chain::to_header_value);
        let form = |shape: Shape, body: Bytes| {
            // The limit is that of Intel's client, which asks for nothing that comes without a chain.
            let fits = chain.is_none() || body.len() + chain_text + 2 <= CLIENT_LIMIT_BYTES;
            fits.then(|| {
                let etag = format!("\"{}{}\"", artefact.id().short(), shape.suffix());
                Form::new(
                    &key,
                    artefact,
                    shape,
                    body,
                    chain_header.as_deref(),
                    &etag,
                    seen,
                    confirmed,
                )
            })
        };
        let forms = match key.kind() {
            Kind::AmdCertChain => [None, None, None, form(Shape::Pem, document.clone())],
            Kind::EnclaveIdentity | Kind::EvaluationNumbers | Kind::TcbInfo => {
                [None, None, form(Shape::Json, document.clone()), None]
            }
            Kind::AmdCrl | Kind::PckCrl | Kind::RootCrl => [
                form(Shape::Der, document.clone()),
                form(Shape::Hex, data_encoding::HEXLOWER.encode(document).into()),
                None,
                form(Shape::Pem, pem_crl(document).into()),
            ],
        };
        let ends = artefact.holds_until(chain);
        Self {
            key,
            id: artefact.id(),
            issued: artefact.issued(),
            next_update: artefact.next_update(),
            seen,
            confirmed,
            revoked_entries: revoked_entries(artefact),
            policy,
            chain_holds_until: ends.unwrap_or(artefact.next_update()),
            archived: state == State::Archived,
            forms,
            cache_control: max_age(policy.max_age_secs),
        }
    }

    /// Whether this may be served at `now`, and how fresh it is then; `None` past its grace or its chain.
    pub fn freshness(&self, now: UnixTime) -> Option<Freshness> {
        let ends = self.policy.serve_expired.end(self.next_update);
        (!self.archived && now < ends && now <= self.chain_holds_until && now >= self.issued)
            .then(|| self.policy.freshness(self.next_update, self.seen, now))
    }

    /// The answer at `now` in `shape`.
    pub fn serve(
        &self,
        shape: Shape,
        freshness: Freshness,
        now: UnixTime,
    ) -> Result<Served, Unservable> {
        let Some(form) = self.forms.get(shape.index()).and_then(Option::as_ref) else {
            return Err(Unservable::TooLarge {
                found: CLIENT_LIMIT_BYTES + 1,
            });
        };
        let mut headers = form.headers.clone();
        let age = self.policy.max_age(self.next_update, now);
        let cache_control = if age == self.policy.max_age_secs {
            self.cache_control.clone()
        } else {
            max_age(age)
        };
        headers.insert(CACHE_CONTROL, cache_control);
        headers.insert(THIM_FRESHNESS, form.freshness[freshness as usize].clone());
        if freshness == Freshness::Expired {
            headers.append(
                WARNING,
                HeaderValue::from_static("110 - \"Response is Stale\""),
            );
        }
        Ok(Served {
            headers,
            body: form.body.clone(),
            etag: form.etag.clone(),
        })
    }

    /// When the poll of this edition is overdue.
    pub fn poll_due(&self) -> UnixTime {
        let jitter = u64::from(self.id.0[0]) << 8 | u64::from(self.id.0[1]);
        self.policy
            .poll_due(self.next_update, self.seen, jitter % 1001)
    }
}

impl Form {
    #[allow(
        clippy::too_many_arguments,
        reason = "the facts of one answer, each used once"
    )]
    fn new(
        key: &ArtefactKey,
        artefact: &Artefact,
        shape: Shape,
        body: Bytes,
        chain: Option<&str>,
        etag: &str,
        seen: UnixTime,
        confirmed: bool,
    ) -> Self {
        let mut headers = HeaderMap::with_capacity(16);
        if let Some(chain) = chain.map(value) {
            for name in chain_headers(key.kind()) {
                headers.insert(name, chain.clone());
            }
        }
        if let Some(name) = file_name(key) {
            headers.insert(CONTENT_DISPOSITION, value(&name));
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(content_type(key, shape)),
        );
        let etag = value(etag);
        headers.insert(ETAG, etag.clone());
        headers.insert(LAST_MODIFIED, value(&artefact.issued().http_date()));
        headers.insert(CACHE_STATUS, HeaderValue::from_static("THIM; hit"));
        // Placeholders, so that an answer overwrites in place instead of growing the map.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        headers.insert(THIM_FRESHNESS, HeaderValue::from_static("state=expired"));
        let confirmed = if confirmed {
            format!("\"{seen}\"")
        } else {
            "?0".to_owned()
        };
        // Prepared once for all callers: whose baseline it answers is theirs, and stands in `THIM-Baseline`.
        let freshness = |state: Freshness| {
            value(&format!(
                "issued=\"{}\", next-update=\"{}\", confirmed={confirmed}, state={state}",
                artefact.issued(),
                artefact.next_update(),
            ))
        };
        let freshness = [
            freshness(Freshness::Ageing),
            freshness(Freshness::Current),
            freshness(Freshness::Expired),
        ];
        Self {
            body,
            etag,
            headers,
            freshness,
        }
    }
}

impl Shape {
    const fn index(self) -> usize {
        match self {
            Self::Der => 0,
            Self::Hex => 1,
            Self::Json => 2,
            Self::Pem => 3,
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Der => "-der",
            Self::Hex => "-hex",
            Self::Json => "",
            Self::Pem => "-pem",
        }
    }
}

/// The issuer-chain headers of a kind. TCB info carries the v3 and the v4 name: QCNL up to 1.10 knows only
/// the first, and Azure's client asks twice when the first is missing.
fn chain_headers(kind: Kind) -> &'static [HeaderName] {
    match kind {
        Kind::AmdCertChain | Kind::AmdCrl => &[],
        Kind::EnclaveIdentity => &ENCLAVE_IDENTITY_CHAIN,
        Kind::EvaluationNumbers => &EVALUATION_NUMBERS_CHAIN,
        Kind::PckCrl | Kind::RootCrl => &PCK_CRL_CHAIN,
        Kind::TcbInfo => &TCB_INFO_CHAIN,
    }
}

/// Number of revoked serials, of CRLs.
pub(crate) fn revoked_entries(artefact: &Artefact) -> Option<usize> {
    match artefact.content() {
        Content::AmdCrl(crl) => Some(crl.revoked().len()),
        Content::Crl(crl) => Some(crl.revoked_len()),
        Content::AmdCertChain(_)
        | Content::EnclaveIdentity(_)
        | Content::EvaluationNumbers(_)
        | Content::TcbInfo(_) => None,
    }
}

/// What AMD's key server calls the file (`spec/amd-kds-and-thim.md` 1.4); of a list no answer was recorded.
fn file_name(key: &ArtefactKey) -> Option<String> {
    match key {
        ArtefactKey::AmdCertChain { product, .. } => {
            Some(format!("attachment; filename={product}.pem"))
        }
        ArtefactKey::AmdCrl { product, .. } => Some(format!("attachment; filename={product}.crl")),
        ArtefactKey::EnclaveIdentity { .. }
        | ArtefactKey::EvaluationNumbers { .. }
        | ArtefactKey::PckCrl { .. }
        | ArtefactKey::RootCrl
        | ArtefactKey::TcbInfo { .. } => None,
    }
}

/// PCCS's content types on PCCS's paths, PCS's on those PCCS does not have, the key server's on AMD's.
fn content_type(key: &ArtefactKey, shape: Shape) -> &'static str {
    match (key, shape) {
        // PEM too: spec/amd-kds-and-thim.md 1.4.
        (ArtefactKey::AmdCertChain { .. } | ArtefactKey::AmdCrl { .. }, _) => OCTET_STREAM,
        (
            ArtefactKey::EvaluationNumbers { .. }
            | ArtefactKey::EnclaveIdentity {
                enclave: Enclave::Qae,
                ..
            },
            _,
        ) => "application/json",
        (_, Shape::Der) => "application/pkix-crl",
        (ArtefactKey::RootCrl, Shape::Hex) => "application/pkix-crl; charset=utf-8",
        (_, Shape::Hex) => "application/x-pem-file; charset=utf-8",
        (_, Shape::Json) => "application/json; charset=utf-8",
        (_, Shape::Pem) => "application/x-pem-file",
    }
}

pub(crate) const OCTET_STREAM: &str = "application/octet-stream";

/// A CRL in PEM, 64 columns, with a final newline (RFC 7468 section 6).
fn pem_crl(der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 64);
    pem.push_str("-----BEGIN X509 CRL-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).unwrap_or_default());
        pem.push('\n');
    }
    pem.push_str("-----END X509 CRL-----\n");
    pem
}

pub(crate) fn max_age(secs: i64) -> HeaderValue {
    value(&format!("max-age={secs}"))
}

/// A header value of our own making: digits, dates, percent-encoded text.
pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

static ENCLAVE_IDENTITY_CHAIN: [HeaderName; 1] =
    [HeaderName::from_static("sgx-enclave-identity-issuer-chain")];
static EVALUATION_NUMBERS_CHAIN: [HeaderName; 1] = [HeaderName::from_static(
    "tcb-evaluation-data-numbers-issuer-chain",
)];
static PCK_CRL_CHAIN: [HeaderName; 1] = [HeaderName::from_static("sgx-pck-crl-issuer-chain")];
static TCB_INFO_CHAIN: [HeaderName; 2] = [
    HeaderName::from_static("tcb-info-issuer-chain"),
    HeaderName::from_static("sgx-tcb-info-issuer-chain"),
];

/// RFC 9211.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Issue date, next update, last confirmation, state and baseline of what is served.
pub const THIM_FRESHNESS: HeaderName = HeaderName::from_static("thim-freshness");
/// QCNL counts body + chain + 2 in 16 bits (`spec/quote-provider-clients.md` section 3).
pub const CLIENT_LIMIT_BYTES: usize = 65_534;
