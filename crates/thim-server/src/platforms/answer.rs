//! A PCK certificate ready to be served: headers and bodies of one certificate, prepared once and shared by all answers.
//!
//! Header names, order and upper-case CA type are PCCS's (`spec/intel-pcs-and-pccs.md` section 2.1); the JSON object is
//! Azure's (`spec/quote-provider-clients.md` section 4), always with all four members: a client aborts without one.

use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};
use thim_verify::{Digest, PckCertificate, UnixTime, Verified};

use crate::ready::{CACHE_STATUS, THIM_FRESHNESS};

/// In which form a certificate is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PckShape {
    /// Azure's JSON object.
    Json,
    /// The leaf's PEM.
    Pem,
}

/// One certificate, ready to be served.
#[derive(Debug)]
pub struct ReadyPck {
    /// SHA-256 of its DER.
    pub digest: Digest,
    headers: HeaderMap,
    pem: Bytes,
    json: OnceLock<Bytes>,
    ends: UnixTime,
    max_age_secs: i64,
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
    /// Prepares a certificate. `chain` is the percent-encoded issuer chain as it is served; `fetched` when the vendor
    /// last gave the platform's list.
    pub fn new(
        verified: &Verified<PckCertificate>,
        chain: HeaderValue,
        fetched: Option<UnixTime>,
        max_age_secs: i64,
    ) -> Self {
        let certificate = verified.certificate();
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(SGX_TCBM, value(&verified.tcbm().to_string()));
        headers.insert(SGX_FMSPC, value(&verified.fmspc().to_string()));
        headers.insert(
            SGX_PCK_CERTIFICATE_CA_TYPE,
            value(&verified.ca().name().to_ascii_uppercase()),
        );
        headers.insert(SGX_PCK_CERTIFICATE_ISSUER_CHAIN, chain);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PEM_FILE));
        headers.insert(
            ETAG,
            value(&format!("\"{}\"", certificate.digest().short())),
        );
        headers.insert(LAST_MODIFIED, value(&certificate.not_before().http_date()));
        headers.insert(CACHE_STATUS, HeaderValue::from_static("THIM; hit"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        let confirmed = fetched.map_or_else(|| "?0".to_owned(), |at| format!("\"{at}\""));
        headers.insert(
            THIM_FRESHNESS,
            value(&format!(
                "state=current; issued=\"{}\"; next-update=\"{}\"; confirmed={confirmed}",
                certificate.not_before(),
                certificate.not_after()
            )),
        );
        let chain_ends = verified
            .chain()
            .certificates()
            .iter()
            .map(|certificate| certificate.not_after())
            .min();
        Self {
            digest: certificate.digest(),
            headers,
            pem: certificate.to_pem().into(),
            json: OnceLock::new(),
            ends: chain_ends.map_or(certificate.not_after(), |ends| {
                ends.min(certificate.not_after())
            }),
            max_age_secs,
        }
    }

    /// Whether certificate and chain are valid at `now`.
    pub fn holds_at(&self, now: UnixTime) -> bool {
        now <= self.ends
    }

    /// The answer at `now`.
    pub fn serve(&self, shape: PckShape, now: UnixTime) -> ServedPck {
        let mut headers = self.headers.clone();
        let age = self.ends.since(now).clamp(1, self.max_age_secs);
        headers.insert(CACHE_CONTROL, value(&format!("max-age={age}")));
        let tag = headers.get(ETAG).cloned();
        let mut etag = tag.unwrap_or_else(|| HeaderValue::from_static("\"\""));
        let body = match shape {
            PckShape::Pem => self.pem.clone(),
            PckShape::Json => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                etag = value(&format!("\"{}-json\"", self.digest.short()));
                headers.insert(ETAG, etag.clone());
                self.json.get_or_init(|| self.object()).clone()
            }
        };
        ServedPck {
            headers,
            body,
            etag,
        }
    }

    fn object(&self) -> Bytes {
        let text = |name: &HeaderName| {
            self.headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let object = serde_json::json!({
            "sgx-Tcbm": text(&SGX_TCBM),
            "pckCert": String::from_utf8_lossy(&self.pem),
            "sgx-Pck-Certificate-Issuer-Chain": text(&SGX_PCK_CERTIFICATE_ISSUER_CHAIN),
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
const PEM_FILE: &str = "application/x-pem-file";
