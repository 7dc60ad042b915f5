//! One chip's certificates at one TCB: verified, and as the bytes that are served and written.
//!
//! Whatever the bytes came from, the service or the disk, they go through [`Certification::verify`]: the chain to a
//! trusted ARK, the VCEK for this chip and this TCB, the dates. What is served is made anew from the certificates that
//! were verified, so nothing else of a foreign text reaches a guest. Revocation is not looked at: the list covers
//! AMD's authorities, the service judges it, and a guest that cares asks for the list itself.
//! Source: spec/amd-kds-and-thim.md, 5.1, 6.1, 6.3 and 7.

use std::fmt;

use bytes::Bytes;
use data_encoding::BASE64;
use thim_client::ThimCertification;
use thim_verify::amd::{
    Anchors, CertChain, EndorsementKind, Products, Vcek, VerifiedAmd, parse_cert_chain,
    verify_cert_chain, verify_vcek,
};
use thim_verify::{Error, UnixTime};

use crate::host::Host;
use crate::table;

/// What everything is verified against.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The roots.
    pub anchors: Anchors,
    /// What products differ in.
    pub products: Products,
}

/// Verified certificates of one chip at one TCB, and what is made of them.
#[derive(Clone)]
pub struct Certification {
    vcek: VerifiedAmd<Vcek>,
    chain: VerifiedAmd<CertChain>,
    wire: ThimCertification,
    json: Bytes,
    cache_seconds: u32,
}

/// Why something is not served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Untrusted {
    /// It is no such answer.
    #[error("not the JSON of a certification: {0}")]
    Form(String),
    /// It did not verify.
    #[error("{0}")]
    Verification(#[from] Error),
}

impl Certification {
    /// Verifies the JSON of a certification for `host` at `now`.
    ///
    /// # Errors
    /// [`Untrusted`]; no error repeats the chip's id.
    pub fn verify(
        body: &[u8],
        host: &Host,
        trust: &Trust,
        now: UnixTime,
    ) -> Result<Self, Untrusted> {
        if body.len() > BODY_LIMIT_BYTES {
            return Err(Untrusted::Form(format!(
                "more than {BODY_LIMIT_BYTES} bytes"
            )));
        }
        let wire: ThimCertification = serde_json::from_slice(body).map_err(|error| {
            Untrusted::Form(format!("line {} column {}", error.line(), error.column()))
        })?;
        let Some(cache_seconds) = wire.cache_seconds() else {
            return Err(Untrusted::Form(
                "cacheControl is no number of seconds".to_owned(),
            ));
        };
        let Trust { anchors, products } = trust;
        let vcek = Vcek::from_pem(wire.vcek_cert.as_bytes())?;
        let product = vcek.product();
        let key = host
            .key(products, product)
            .ok_or_else(|| Error::AnotherSubject {
                what: "VCEK".to_owned(),
                which: "product".to_owned(),
            })?;
        let facts = products.facts(product);
        let tcbm = key.tcb.to_tcbm_hex(facts)?;
        let said = thim_verify::amd::TcbVersion::from_hex_be(&wire.tcbm)?;
        if said != host.tcb {
            return Err(Untrusted::Form(
                "tcbm is another TCB than was asked for".to_owned(),
            ));
        }
        let chain = parse_cert_chain(wire.certificate_chain.as_bytes())?;
        let chain = verify_cert_chain(chain, product, EndorsementKind::Vcek, None, anchors, now)?;
        let vcek = verify_vcek(vcek, &key, &chain, None, products, now)?;
        let wire = ThimCertification::new(
            &vcek.to_pem(),
            &tcbm,
            &(chain.issuing().to_pem() + &chain.ark().to_pem()),
            cache_seconds.clamp(LEAST_CACHE_SECONDS, MOST_CACHE_SECONDS),
        );
        Ok(Self {
            json: Bytes::from(wire.to_json()),
            cache_seconds: cache_seconds.clamp(LEAST_CACHE_SECONDS, MOST_CACHE_SECONDS),
            wire,
            vcek,
            chain,
        })
    }

    /// The JSON that is served.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The same as a value.
    pub fn wire(&self) -> &ThimCertification {
        &self.wire
    }

    /// `host-amd-cert-base64`: the base64 of the JSON, without a line end.
    pub fn host_amd_cert(&self) -> String {
        BASE64.encode(&self.json)
    }

    /// The table that a hypervisor hands to guests.
    ///
    /// # Errors
    /// [`table::TooLarge`].
    pub fn certificate_table(&self) -> Result<Vec<u8>, table::TooLarge> {
        table::build(&[
            (table::Entry::Ark, self.chain.ark().der()),
            (table::Entry::Ask, self.chain.issuing().der()),
            (table::Entry::Vcek, self.vcek.der()),
        ])
    }

    /// The same certificate and chain, though perhaps another text or another time to keep it.
    pub fn is_same_issue(&self, other: &Self) -> bool {
        self.vcek.der() == other.vcek.der() && self.chain.same_certificates(&other.chain)
    }

    /// For how long a client may keep it.
    pub fn cache_seconds(&self) -> u32 {
        self.cache_seconds
    }

    /// The last instant at which all three certificates are valid.
    pub fn not_after(&self) -> UnixTime {
        self.vcek
            .not_after()
            .min(self.chain.issuing().not_after())
            .min(self.chain.ark().not_after())
    }
}

impl fmt::Debug for Certification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certification")
            .field("vcek", &*self.vcek)
            .field("cache_seconds", &self.cache_seconds)
            .finish_non_exhaustive()
    }
}

/// A genuine one has 6.7 KiB.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// A service that says "0" is not asked in a loop.
const LEAST_CACHE_SECONDS: u32 = 60;
/// A week: longer, and a node would not notice for too long that its service has something else to say.
const MOST_CACHE_SECONDS: u32 = 7 * 86_400;
