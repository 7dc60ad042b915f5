//! A certificate, ready to be served in the forms that clients ask for: AMD's DER, the central cache's three
//! certificates in PEM, the metadata service's JSON. The first is prepared at once, the others when first asked for.
//! Headers are AMD's (`spec/amd-kds-and-thim.md` 1.4) and what its answers lack: how long it may be kept, and a tag.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};
use thim_client::ThimCertification;
use thim_verify::amd::{CertChain, Endorsement, Product, TcbVersion, VerifiedAmd};
use thim_verify::{Digest, UnixTime};

use crate::ready::{CACHE_STATUS, OCTET_STREAM, THIM_FRESHNESS, max_age, value};

/// In which form a certificate is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndorsementShape {
    /// The certificate with its chain in PEM, as Azure's central cache gives it.
    Bundle,
    /// The certificate in DER, as AMD's key server gives it.
    Der,
    /// The metadata service's JSON.
    Metadata,
}

/// A certificate of a chip or a cloud, and its answers.
pub struct ReadyEndorsement {
    digest: Digest,
    not_before: UnixTime,
    not_after: UnixTime,
    tcb: TcbVersion,
    pem: String,
    chain: Arc<VerifiedAmd<CertChain>>,
    max_age_secs: i64,
    cache_control: HeaderValue,
    freshness: HeaderValue,
    /// The epoch it was verified in.
    pub(super) epoch: u64,
    der: Form,
    bundle: OnceLock<Form>,
    metadata: OnceLock<Form>,
}

struct Form {
    body: Bytes,
    etag: HeaderValue,
    headers: HeaderMap,
}

/// An answer's fixed parts at one instant.
pub struct ServedEndorsement {
    /// All headers but those that belong to the request or the clock.
    pub headers: HeaderMap,
    /// The body, shared.
    pub body: Bytes,
    /// The entity tag, for conditional requests.
    pub etag: HeaderValue,
}

/// A certificate that was verified, with what is known of it besides.
pub(super) struct Endorsed {
    pub leaf: Endorsement,
    pub tcb: TcbVersion,
    pub chain: Arc<VerifiedAmd<CertChain>>,
    pub admitted: UnixTime,
    pub epoch: u64,
}

impl ReadyEndorsement {
    pub(super) fn new(endorsed: Endorsed, max_age_secs: i64) -> Self {
        let Endorsed {
            leaf,
            tcb,
            chain,
            admitted,
            epoch,
        } = endorsed;
        let (digest, not_before, not_after, der, pem, file) = match &leaf {
            Endorsement::Vcek(vcek) => (
                vcek.digest(),
                vcek.not_before(),
                vcek.not_after(),
                vcek.der().clone(),
                vcek.to_pem(),
                "attachment; filename=vcek.crt",
            ),
            Endorsement::Vlek(vlek) => (
                vlek.digest(),
                vlek.not_before(),
                vlek.not_after(),
                vlek.der().clone(),
                vlek.to_pem(),
                "attachment; filename=vlek.crt",
            ),
        };
        let mut headers = headers(OCTET_STREAM, not_before);
        headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(file));
        let freshness = value(&format!(
            "issued=\"{not_before}\", next-update=\"{not_after}\", confirmed=\"{admitted}\", state=current"
        ));
        Self {
            der: Form::new(digest, "", headers, der),
            digest,
            not_before,
            not_after,
            tcb,
            pem,
            chain,
            max_age_secs,
            cache_control: max_age(max_age_secs),
            freshness,
            epoch,
            bundle: OnceLock::new(),
            metadata: OnceLock::new(),
        }
    }

    /// Whether it may be served at `now`.
    pub fn holds_at(&self, now: UnixTime) -> bool {
        self.not_before <= now && now <= self.not_after && self.chain.holds_at(now).is_ok()
    }

    /// The TCB that it is of.
    pub fn tcb(&self) -> TcbVersion {
        self.tcb
    }

    /// The product whose chain it is under.
    pub fn product(&self) -> Product {
        self.chain.product()
    }

    /// When it began to be valid.
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// The answer at `now` in `shape`.
    pub fn serve(&self, shape: EndorsementShape, now: UnixTime) -> ServedEndorsement {
        let form = match shape {
            EndorsementShape::Bundle => self.bundle.get_or_init(|| self.make_bundle()),
            EndorsementShape::Der => &self.der,
            EndorsementShape::Metadata => self.metadata.get_or_init(|| self.make_metadata()),
        };
        let mut headers = form.headers.clone();
        let left = self.not_after.since(now).clamp(1, self.max_age_secs);
        let cache_control = if left == self.max_age_secs {
            self.cache_control.clone()
        } else {
            max_age(left)
        };
        headers.insert(CACHE_CONTROL, cache_control);
        headers.insert(THIM_FRESHNESS, self.freshness.clone());
        ServedEndorsement {
            headers,
            body: form.body.clone(),
            etag: form.etag.clone(),
        }
    }

    /// VCEK, ASK, ARK in one text.
    fn make_bundle(&self) -> Form {
        let chain = self.chain.document();
        let mut body = Vec::with_capacity(self.pem.len() + chain.len());
        body.extend_from_slice(self.pem.as_bytes());
        body.extend_from_slice(chain);
        let headers = headers("application/x-pem-file", self.not_before);
        Form::new(self.digest, "-pem", headers, body.into())
    }

    fn make_metadata(&self) -> Form {
        let chain = String::from_utf8_lossy(self.chain.document());
        let certification = ThimCertification::new(
            &self.pem,
            &self.tcb.to_tcbm_hex(),
            &chain,
            u32::try_from(self.max_age_secs).unwrap_or(1),
        );
        let headers = headers("application/json; charset=utf-8", self.not_before);
        let body = certification.to_json().into_bytes();
        Form::new(self.digest, "-json", headers, body.into())
    }
}

impl Form {
    fn new(digest: Digest, suffix: &str, mut headers: HeaderMap, body: Bytes) -> Self {
        let etag = value(&format!("\"{}{suffix}\"", digest.short()));
        headers.insert(ETAG, etag.clone());
        Self {
            body,
            etag,
            headers,
        }
    }
}

fn headers(content_type: &'static str, not_before: UnixTime) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(LAST_MODIFIED, value(&not_before.http_date()));
    headers.insert(CACHE_STATUS, HeaderValue::from_static("THIM; hit"));
    // Placeholders, so that an answer overwrites in place instead of growing the map.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
    headers.insert(THIM_FRESHNESS, HeaderValue::from_static("state=current"));
    headers
}
