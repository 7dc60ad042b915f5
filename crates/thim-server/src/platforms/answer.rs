//! A PCK certificate ready to be served: headers and bodies of one certificate, prepared once and shared by all answers.
//!
//! Header names, order and upper-case CA type are PCCS's (`spec/intel-pcs-and-pccs.md` section 2.1); the JSON object is
//! Azure's (`spec/quote-provider-clients.md` section 4), always with all four members: a client aborts without one.

use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};
use thim_verify::{Digest, PckCa, PckCertificate, UnixTime, Verified};

use crate::ready::{CACHE_STATUS, THIM_FRESHNESS};

/// In which form a certificate is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PckShape {
    /// Azure's JSON object.
    Json,
    /// The leaf's PEM.
    Pem,
}

/// One certificate, ready to be served. Its headers are kept apart and not as a map: a fleet of these is in memory, and a
/// map of twelve takes as much as the certificate.
#[derive(Debug)]
pub struct ReadyPck {
    /// SHA-256 of its DER.
    pub digest: Digest,
    tcbm: HeaderValue,
    fmspc: HeaderValue,
    ca: HeaderValue,
    chain: HeaderValue,
    etag: HeaderValue,
    last_modified: HeaderValue,
    freshness: HeaderValue,
    pem: Bytes,
    json: OnceLock<Bytes>,
    ends: UnixTime,
    max_age_secs: i64,
    max_age: HeaderValue,
}

/// An answer's parts.
#[derive(Debug)]
pub struct ServedPck {
    /// All headers but those that belong to the request.
    pub headers: HeaderMap,
    /// The body, shared.
    pub body: Bytes,
    /// The entity tag.
    pub etag: HeaderValue,
}

impl ReadyPck {
    /// Prepares a certificate. `chain` is the percent-encoded issuer chain as it is served, valid until `chain_ends`: not
    /// always the one that was judged, whose authority may have been re-issued. `fetched` is when the vendor last gave the
    /// platform's list.
    pub fn new(
        verified: &Verified<PckCertificate>,
        chain: HeaderValue,
        chain_ends: UnixTime,
        fetched: Option<UnixTime>,
        max_age_secs: i64,
    ) -> Self {
        let certificate = verified.certificate();
        let confirmed = fetched.map_or_else(|| "?0".to_owned(), |at| format!("\"{at}\""));
        Self {
            digest: certificate.digest(),
            tcbm: value(&verified.tcbm().to_string()),
            fmspc: value(&verified.fmspc().to_string()),
            ca: HeaderValue::from_static(match verified.ca() {
                PckCa::Platform => "PLATFORM",
                PckCa::Processor => "PROCESSOR",
            }),
            chain,
            etag: value(&format!("\"{}\"", certificate.digest().short())),
            last_modified: value(&certificate.not_before().http_date()),
            freshness: value(&format!(
                "state=current; issued=\"{}\"; next-update=\"{}\"; confirmed={confirmed}",
                certificate.not_before(),
                certificate.not_after()
            )),
            pem: certificate
                .to_pem()
                .into_boxed_str()
                .into_boxed_bytes()
                .into(),
            json: OnceLock::new(),
            ends: chain_ends.min(certificate.not_after()),
            max_age_secs,
            max_age: value(&format!("max-age={max_age_secs}")),
        }
    }

    /// Whether certificate and chain are valid at `now`.
    pub fn holds_at(&self, now: UnixTime) -> bool {
        now <= self.ends
    }

    /// The answer at `now`.
    pub fn serve(&self, shape: PckShape, now: UnixTime) -> ServedPck {
        let age = self.ends.since(now).clamp(1, self.max_age_secs);
        let (etag, kind, body) = match shape {
            PckShape::Pem => (
                self.etag.clone(),
                HeaderValue::from_static(PEM_FILE),
                self.pem.clone(),
            ),
            PckShape::Json => (
                value(&format!("\"{}-json\"", self.digest.short())),
                HeaderValue::from_static("application/json"),
                self.json.get_or_init(|| self.object()).clone(),
            ),
        };
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(SGX_TCBM, self.tcbm.clone());
        headers.insert(SGX_FMSPC, self.fmspc.clone());
        headers.insert(SGX_PCK_CERTIFICATE_CA_TYPE, self.ca.clone());
        headers.insert(SGX_PCK_CERTIFICATE_ISSUER_CHAIN, self.chain.clone());
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(ETAG, etag.clone());
        headers.insert(LAST_MODIFIED, self.last_modified.clone());
        headers.insert(CACHE_STATUS, HeaderValue::from_static("THIM; hit"));
        let max_age = if age == self.max_age_secs {
            self.max_age.clone()
        } else {
            value(&format!("max-age={age}"))
        };
        headers.insert(CACHE_CONTROL, max_age);
        headers.insert(THIM_FRESHNESS, self.freshness.clone());
        ServedPck {
            headers,
            body,
            etag,
        }
    }

    fn object(&self) -> Bytes {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let object = serde_json::json!({
            "sgx-Tcbm": text(&self.tcbm),
            "pckCert": String::from_utf8_lossy(&self.pem),
            "sgx-Pck-Certificate-Issuer-Chain": text(&self.chain),
            "cacheMaxAge": self.max_age_secs.to_string(),
        });
        object.to_string().into()
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

/// CPUSVN and PCESVN of the certificate.
pub const SGX_TCBM: HeaderName = HeaderName::from_static("sgx-tcbm");
/// FMSPC of the platform.
pub const SGX_FMSPC: HeaderName = HeaderName::from_static("sgx-fmspc");
/// `PROCESSOR` or `PLATFORM`.
pub const SGX_PCK_CERTIFICATE_CA_TYPE: HeaderName =
    HeaderName::from_static("sgx-pck-certificate-ca-type");
/// Intermediate and root.
pub const SGX_PCK_CERTIFICATE_ISSUER_CHAIN: HeaderName =
    HeaderName::from_static("sgx-pck-certificate-issuer-chain");
/// Those above, and those that belong to the request.
const HEADERS: usize = 16;
const PEM_FILE: &str = "application/x-pem-file";
