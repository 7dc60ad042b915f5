//! A platform's certificates as PCS lists them: for clients of `pckcerts`, another THIM among them.
//!
//! A list is verified on its way out, certificate after certificate, which is too much to do again for everybody who asks:
//! what came of it is kept until the register or what verification rests on has changed, or a certificate in it has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use thim_verify::{PceId, RawTcb, UnixTime};

use super::answer::{SGX_FMSPC, SGX_PCK_CERTIFICATE_CA_TYPE, SGX_PCK_CERTIFICATE_ISSUER_CHAIN};
use super::fetching::{Fetch, Material};
use super::registration::{EncryptedPpid, Manifest};
use super::{Cause, PlatformRefusal, Platforms};
use crate::store::{Gap, PlatformOrigin, PlatformRow, StoreError};
use crate::upstream::{Fill, Lane};

/// A list, ready to be sent.
#[derive(Debug)]
pub struct Listed {
    /// The JSON array.
    pub body: Bytes,
    /// Chain, FMSPC and CA type.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long it may be kept.
    pub max_age_secs: i64,
}

/// A list that was verified, and until when it may be handed out without doing that again.
pub(super) struct ListedParts {
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
    ends: UnixTime,
}

#[derive(Serialize)]
pub(super) struct Entry {
    pub tcb: serde_json::Map<String, serde_json::Value>,
    pub tcbm: String,
    pub cert: String,
}

impl Platforms {
    /// The list of a platform by its encrypted PPID.
    pub async fn list_by_encrypted_ppid(
        self: &Arc<Self>,
        encrypted: EncryptedPpid,
        pce_id: PceId,
        now: UnixTime,
    ) -> Result<Listed, PlatformRefusal> {
        if encrypted.is_zero() {
            return Err(PlatformRefusal::new(
                Cause::EncryptedPpidZero,
                "the encrypted PPID is all zeros",
            ));
        }
        let material = Material::EncryptedPpid(encrypted);
        self.list_by(material, PlatformOrigin::Asked, pce_id, now)
            .await
    }

    /// The list of a platform by its manifest: the caller has shown a registrar's token.
    pub async fn list_by_manifest(
        self: &Arc<Self>,
        manifest: Manifest,
        pce_id: PceId,
        now: UnixTime,
    ) -> Result<Listed, PlatformRefusal> {
        let material = Material::Manifest(manifest);
        self.list_by(material, PlatformOrigin::Registered, pce_id, now)
            .await
    }

    async fn list_by(
        self: &Arc<Self>,
        material: Material,
        origin: PlatformOrigin,
        pce_id: PceId,
        now: UnixTime,
    ) -> Result<Listed, PlatformRefusal> {
        let failed = |error: StoreError| self.storage(&error);
        let hash = self.material_hash(&material);
        let known = self
            .store()
            .platform_by_material(&hash)
            .await
            .map_err(failed)?;
        if let Some(row) = known.filter(|row| row.pce_id == pce_id)
            && let Some(listed) = self.listed(&row, now).await?
        {
            return Ok(listed);
        }
        let collateral = self.collateral();
        let on_a_miss = origin == PlatformOrigin::Asked;
        if !collateral.may_ask() || (on_a_miss && collateral.fill() != Fill::Lazy) {
            return Err(PlatformRefusal::new(
                Cause::QeIdUnknown,
                "no platform is registered with this, and nothing is fetched",
            ));
        }
        let id = self
            .fetch_in_time(Fetch {
                material,
                pce_id,
                of: None,
                origin,
                lane: Lane::Miss,
                now,
                name: None,
            })
            .await?;
        let row = self.store().platform(&id).await.map_err(failed)?;
        let busy = || PlatformRefusal::new(Cause::Busy, "it was just forgotten");
        self.listed(&row.ok_or_else(busy)?, now)
            .await?
            .ok_or_else(busy)
    }

    /// The list as the register has it; `None` without certificates.
    async fn listed(
        &self,
        row: &PlatformRow,
        now: UnixTime,
    ) -> Result<Option<Listed>, PlatformRefusal> {
        // Read before the store is: what changes meanwhile leaves behind a list that nobody takes.
        let generation = self.generation.load(Ordering::SeqCst);
        let epoch = self.epoch();
        let kept = self
            .lists
            .get(&row.id)
            .filter(|(of, under, parts)| (*of, *under) == (generation, epoch) && now <= parts.ends);
        let parts = match kept {
            Some((_, _, parts)) => parts,
            None => {
                let Some((parts, whole)) = self.list_anew(row, now).await? else {
                    return Ok(None);
                };
                let parts = Arc::new(parts);
                if whole && parts.body.len() <= LIST_BYTES {
                    let kept = (generation, epoch, Arc::clone(&parts));
                    self.lists.insert(row.id.clone(), kept);
                }
                parts
            }
        };
        Ok(Some(Listed {
            body: parts.body.clone(),
            headers: parts.headers.clone(),
            max_age_secs: self.config.max_age.secs().clamp(1, 86_400),
        }))
    }

    /// The list, verified; false beside it where a certificate is missing that may verify another time.
    async fn list_anew(
        &self,
        row: &PlatformRow,
        now: UnixTime,
    ) -> Result<Option<(ListedParts, bool)>, PlatformRefusal> {
        let failed = |error: StoreError| self.storage(&error);
        let certificates = self
            .store()
            .pck_certificates(&row.id, false)
            .await
            .map_err(failed)?;
        let mut entries = Vec::with_capacity(certificates.len());
        let mut about = None;
        let mut ends = UnixTime::MAX;
        let mut whole = true;
        for certificate in &certificates {
            let pem = self
                .store()
                .pck_pem(&row.id, certificate.digest)
                .await
                .map_err(failed)?
                .unwrap_or_default();
            // Verified on the way out, as everything is; a revoked one is listed, as the vendor does.
            match self.verified(&pem, certificate.tcbm, now) {
                Ok(verified) => {
                    let (_, _, _, chain_ends) = about.get_or_insert_with(|| {
                        let ca = verified.ca().name();
                        let (chain, chain_ends) = self.chain_header(&verified, now);
                        (verified.fmspc().to_string(), ca, chain, chain_ends)
                    });
                    ends = ends.min(*chain_ends);
                }
                Err(thim_verify::Error::PckRevoked { .. }) => {}
                Err(error) => {
                    tracing::error!(platform = row.id, certificate = certificate.digest.short(), error = %error,
                        "a stored certificate does not verify and is not listed");
                    // What has ended does not come back.
                    whole &= certificate.not_after < now;
                    continue;
                }
            }
            ends = ends.min(certificate.not_after);
            let text = String::from_utf8_lossy(&pem);
            entries.push(Entry {
                tcb: tcb(&certificate.tcbm),
                tcbm: certificate.tcbm.to_string(),
                cert: utf8_percent_encode(&text, ALL_BUT_UNRESERVED).to_string(),
            });
        }
        for gap in self.store().pck_gaps(&row.id).await.map_err(failed)? {
            // A level whose certificate is quarantined has none to offer either.
            if gap.gap == Gap::NotAvailable && certificates.iter().all(|one| one.tcbm != gap.tcbm) {
                entries.push(Entry {
                    tcb: tcb(&gap.tcbm),
                    tcbm: gap.tcbm.to_string(),
                    cert: "Not available".to_owned(),
                });
            }
        }
        let Some((fmspc, ca, chain, _)) = about else {
            return Ok(None);
        };
        let body = serde_json::to_vec(&entries).unwrap_or_default();
        let value = |text: &str| {
            HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
        };
        let parts = ListedParts {
            body: body.into(),
            headers: vec![
                (SGX_PCK_CERTIFICATE_ISSUER_CHAIN, chain),
                (SGX_FMSPC, value(&fmspc)),
                (SGX_PCK_CERTIFICATE_CA_TYPE, value(ca)),
            ],
            ends,
        };
        Ok(Some((parts, whole)))
    }
}

/// The flat form of PCS's documentation.
pub(super) fn tcb(tcbm: &RawTcb) -> serde_json::Map<String, serde_json::Value> {
    let mut members = serde_json::Map::new();
    for (index, svn) in tcbm.cpu_svn.0.iter().enumerate() {
        members.insert(format!("sgxtcbcomp{:02}svn", index + 1), (*svn).into());
    }
    members.insert("pcesvn".to_owned(), tcbm.pce_svn.0.into());
    members
}

/// RFC 3986, section 2.3.
pub(super) const ALL_BUT_UNRESERVED: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Lists kept, some 60 KB each: platforms are asked for whole lists now and then, by another cache and by tools.
pub(super) const LISTS: usize = 256;
/// Four times what a vendor's list has; a larger one is made anew each time.
const LIST_BYTES: usize = 256 * 1024;
