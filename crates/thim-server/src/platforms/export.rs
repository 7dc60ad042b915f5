//! A platform as the body of `PUT /platformcollateral` (`spec/intel-pcs-and-pccs.md` section 3.2): with this, another
//! THIM or a PCCS can take it over and serve it, the secrets it was registered with among it.
//!
//! What the vendor signed is in it byte for byte. The format has one slot for the chain of all TCB infos and one for
//! that of all identities: an edition of another signer than the first is left out, since it would not verify there.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use percent_encoding::utf8_percent_encode;
use serde::Serialize;
use serde_json::value::RawValue;
use thim_verify::{
    Artefact, ArtefactKey, Chain, Digest, Enclave, Fmspc, PckCa, Tee, UnixTime, Verified,
};

use super::listing::{ALL_BUT_UNRESERVED, Entry, tcb};
use super::{Cause, PlatformRefusal, Platforms};
use crate::baseline::Choice;
use crate::collateral::Ask;
use crate::sealing::Purpose;
use crate::store::{PlatformRow, Sealed, StoreError};
use crate::view::Subject;

/// The body.
#[derive(Serialize)]
struct Body<'a> {
    platforms: Vec<Named>,
    collaterals: Collaterals<'a>,
}

/// A platform under one of its names, with one of its raw TCBs.
#[derive(Clone, Serialize)]
struct Named {
    qe_id: String,
    pce_id: String,
    cpu_svn: String,
    pce_svn: String,
    #[serde(flatten)]
    secrets: Secrets,
}

/// Lower hex, empty where there is none.
#[derive(Clone, Serialize)]
struct Secrets {
    enc_ppid: String,
    platform_manifest: String,
}

#[derive(Serialize)]
struct Collaterals<'a> {
    version: u8,
    pck_certs: Vec<Certificates<'a>>,
    tcbinfos: Vec<TcbInfos>,
    pckcacrl: BTreeMap<&'static str, String>,
    #[serde(flatten)]
    texts: BTreeMap<&'static str, String>,
    certificates: Chains,
}

#[derive(Serialize)]
struct Certificates<'a> {
    qe_id: String,
    pce_id: String,
    #[serde(flatten)]
    secrets: Secrets,
    certs: &'a [Entry],
}

#[derive(Serialize)]
struct TcbInfos {
    fmspc: String,
    #[serde(flatten)]
    documents: BTreeMap<&'static str, Box<RawValue>>,
}

/// Percent-encoded, as in the vendor's headers.
#[derive(Serialize)]
struct Chains {
    #[serde(rename = "SGX-PCK-Certificate-Issuer-Chain")]
    pck: BTreeMap<&'static str, String>,
    #[serde(rename = "TCB-Info-Issuer-Chain")]
    tcb_info: String,
    #[serde(
        rename = "SGX-Enclave-Identity-Issuer-Chain",
        skip_serializing_if = "String::is_empty"
    )]
    identity: String,
}

impl Platforms {
    /// The body, secrets inside.
    ///
    /// # Errors
    /// Where the platform has no certificates, or there is no TCB info to choose them by: nobody would take the body.
    pub async fn deliverable(
        self: &Arc<Self>,
        row: &PlatformRow,
        now: UnixTime,
    ) -> Result<String, PlatformRefusal> {
        let failed = |error: StoreError| self.storage(&error);
        let refused = |cause, why: &str| PlatformRefusal::new(cause, why).of(&row.id);
        let (Some(fmspc), Some(ca)) = (row.fmspc, row.ca) else {
            let cause = match row.cause {
                Cause::None => Cause::Queued,
                cause => cause,
            };
            return Err(refused(cause, "it has no certificates to hand on"));
        };
        let (certs, chain) = self.certificates_of(row, now).await?;
        let Some(chain) = chain else {
            return Err(refused(
                Cause::Untrusted,
                "none of its certificates verifies now",
            ));
        };
        let (tcb_infos, tcb_info_chain) = self.tcb_infos_of(fmspc, now).await?;
        if !tcb_infos.contains_key("sgx_tcbinfo") && !tcb_infos.contains_key("sgx_tcbinfo_early") {
            return Err(refused(
                Cause::CollateralMissing,
                "there is no TCB info to choose its certificates by",
            ));
        }
        let mut pck_chains = BTreeMap::from([(slot(ca), chain)]);
        let mut pckcacrl = BTreeMap::new();
        for (ca, name) in [
            (PckCa::Processor, "processorCrl"),
            (PckCa::Platform, "platformCrl"),
        ] {
            let ask = Ask::Artefact(ArtefactKey::PckCrl { ca });
            if let Some(crl) = self.held(ask, now).await? {
                pckcacrl.insert(name, HEXLOWER.encode(crl.document()));
                pck_chains
                    .entry(slot(ca))
                    .or_insert_with(|| self.chain_text(crl.chain(), now));
            }
        }
        let (mut texts, identity_chain) = self.identities(now).await?;
        if let Some(crl) = self.held(Ask::Artefact(ArtefactKey::RootCrl), now).await? {
            texts.insert("rootcacrl", HEXLOWER.encode(crl.document()));
            let points = crl.chain().root().crl_distribution_points();
            if let Some(point) = points.first() {
                texts.insert("rootcacrl_cdp", point.clone());
            }
        }
        let platforms = self.named_with(row).await.map_err(failed)?;
        let mut pck_certs: Vec<Certificates<'_>> = Vec::new();
        for named in &platforms {
            if pck_certs.iter().all(|known| known.qe_id != named.qe_id) {
                pck_certs.push(Certificates {
                    qe_id: named.qe_id.clone(),
                    pce_id: named.pce_id.clone(),
                    secrets: named.secrets.clone(),
                    certs: &certs,
                });
            }
        }
        let body = Body {
            platforms,
            collaterals: Collaterals {
                version: 4,
                pck_certs,
                tcbinfos: vec![TcbInfos {
                    fmspc: fmspc.to_string(),
                    documents: tcb_infos,
                }],
                pckcacrl,
                texts,
                certificates: Chains {
                    pck: pck_chains,
                    tcb_info: tcb_info_chain,
                    identity: identity_chain,
                },
            },
        };
        Ok(serde_json::to_string(&body).expect("texts under texts are JSON"))
    }

    /// Every name with every raw TCB seen under it; a name without one, alone.
    async fn named_with(&self, row: &PlatformRow) -> Result<Vec<Named>, StoreError> {
        let secrets = Secrets {
            enc_ppid: self.opened(row, Purpose::EncryptedPpid, row.enc_ppid.as_ref()),
            platform_manifest: self.opened(row, Purpose::Manifest, row.manifest.as_ref()),
        };
        let mut names: Vec<(String, String)> = self
            .store()
            .aliases(&row.id)
            .await?
            .into_iter()
            .map(|name| (name.qe_id, name.pce_id.to_string()))
            .collect();
        if names.is_empty() {
            names.push((NAMELESS.to_owned(), row.pce_id.to_string()));
        }
        let seen = self.store().raw_tcbs(&row.id).await?;
        let mut platforms = Vec::new();
        for (qe_id, pce_id) in names {
            let before = platforms.len();
            let named = |cpu_svn: String, pce_svn: String| Named {
                qe_id: qe_id.clone(),
                pce_id: pce_id.clone(),
                cpu_svn,
                pce_svn,
                secrets: secrets.clone(),
            };
            for seen in seen.iter().filter(|seen| seen.qe_id == qe_id) {
                let raw = seen.tcb;
                platforms.push(named(raw.cpu_svn.to_string(), raw.pce_svn.to_string()));
            }
            if platforms.len() == before {
                platforms.push(named(String::new(), String::new()));
            }
        }
        Ok(platforms)
    }

    fn opened(&self, row: &PlatformRow, purpose: Purpose, sealed: Option<&Sealed>) -> String {
        let Some(sealed) = sealed else {
            return String::new();
        };
        match self.sealer.unseal(purpose, &sealed.0) {
            Ok(bytes) => HEXLOWER.encode(&bytes),
            Err(error) => {
                // What is left is worth handing on.
                tracing::error!(platform = row.id, error = %error, "a sealed secret cannot be opened and is not handed on");
                String::new()
            }
        }
    }

    /// Its certificates, verified again, and their chain.
    async fn certificates_of(
        &self,
        row: &PlatformRow,
        now: UnixTime,
    ) -> Result<(Vec<Entry>, Option<String>), PlatformRefusal> {
        let failed = |error: StoreError| self.storage(&error);
        let certificates = self
            .store()
            .pck_certificates(&row.id, false)
            .await
            .map_err(failed)?;
        let mut entries = Vec::with_capacity(certificates.len());
        let mut chain = None;
        for certificate in certificates {
            let pem = self
                .store()
                .pck_pem(&row.id, certificate.digest)
                .await
                .map_err(failed)?
                .unwrap_or_default();
            match self.verified(&pem, certificate.tcbm, now) {
                Ok(verified) => {
                    chain.get_or_insert_with(|| self.chain_text(verified.chain(), now));
                }
                // Whoever takes it has the list that revokes it.
                Err(thim_verify::Error::PckRevoked { .. }) => {}
                Err(error) => {
                    tracing::error!(platform = row.id, certificate = certificate.digest.short(), error = %error,
                        "a stored certificate does not verify and is not handed on");
                    continue;
                }
            }
            let text = String::from_utf8_lossy(&pem);
            entries.push(Entry {
                tcb: tcb(&certificate.tcbm),
                tcbm: certificate.tcbm.to_string(),
                cert: utf8_percent_encode(&text, ALL_BUT_UNRESERVED).to_string(),
            });
        }
        Ok((entries, chain))
    }

    async fn tcb_infos_of(
        &self,
        fmspc: Fmspc,
        now: UnixTime,
    ) -> Result<(BTreeMap<&'static str, Box<RawValue>>, String), PlatformRefusal> {
        let mut documents = BTreeMap::new();
        let mut slot = ChainSlot::default();
        for (tee, choice, name) in [
            (Tee::Sgx, Choice::Standard, "sgx_tcbinfo"),
            (Tee::Sgx, Choice::Early, "sgx_tcbinfo_early"),
            (Tee::Tdx, Choice::Standard, "tdx_tcbinfo"),
            (Tee::Tdx, Choice::Early, "tdx_tcbinfo_early"),
        ] {
            let subject = Subject::TcbInfo {
                tee,
                version: 3,
                fmspc,
            };
            if let Some(text) = self.signed_text(subject, choice, &mut slot, now).await? {
                let exact = RawValue::from_string(text).expect("a verified TCB info is JSON");
                documents.insert(name, exact);
            }
        }
        Ok((documents, slot.text))
    }

    async fn identities(
        &self,
        now: UnixTime,
    ) -> Result<(BTreeMap<&'static str, String>, String), PlatformRefusal> {
        let mut texts = BTreeMap::new();
        let mut slot = ChainSlot::default();
        for (enclave, choice, name) in [
            (Enclave::Qe, Choice::Standard, "qeidentity"),
            (Enclave::Qe, Choice::Early, "qeidentity_early"),
            (Enclave::TdQe, Choice::Standard, "tdqeidentity"),
            (Enclave::TdQe, Choice::Early, "tdqeidentity_early"),
            (Enclave::Qve, Choice::Standard, "qveidentity"),
            (Enclave::Qve, Choice::Early, "qveidentity_early"),
        ] {
            let subject = Subject::EnclaveIdentity { enclave };
            if let Some(text) = self.signed_text(subject, choice, &mut slot, now).await? {
                texts.insert(name, text);
            }
        }
        Ok((texts, slot.text))
    }

    /// A signed JSON document, if it is here and its signer goes with the slot's.
    async fn signed_text(
        &self,
        subject: Subject,
        choice: Choice,
        slot: &mut ChainSlot,
        now: UnixTime,
    ) -> Result<Option<String>, PlatformRefusal> {
        let Some(artefact) = self.held(Ask::Subject(subject, choice), now).await? else {
            return Ok(None);
        };
        let signer = artefact.chain().signer_key();
        if *slot.signer.get_or_insert(signer) != signer {
            return Ok(None);
        }
        if slot.text.is_empty() {
            slot.text = self.chain_text(artefact.chain(), now);
        }
        Ok(String::from_utf8(artefact.document().to_vec()).ok())
    }

    /// What is served for this ask, verified again.
    async fn held(
        &self,
        ask: Ask,
        now: UnixTime,
    ) -> Result<Option<Verified<Artefact>>, PlatformRefusal> {
        let collateral = self.collateral();
        let answer = match collateral.peek(ask, now) {
            Some(answer) => Some(answer),
            None => collateral.look_up(ask, now).await.map_err(|refusal| {
                // Looking into the store fails in one way only.
                PlatformRefusal::new(Cause::Storage, refusal.to_string())
            })?,
        };
        match answer {
            None => Ok(None),
            Some(answer) => collateral
                .verified_again(answer.ready.key, now)
                .await
                .map_err(|error| self.storage(&error)),
        }
    }

    fn chain_text(&self, chain: &Chain, now: UnixTime) -> String {
        let current = match chain.holds_at(now) {
            Ok(()) => None,
            Err(_) => chain.reissue_valid_at(&self.collateral().issuers.load(), now),
        };
        current.as_ref().unwrap_or(chain).to_header_value()
    }
}

/// The chain that several documents share.
#[derive(Default)]
struct ChainSlot {
    signer: Option<Digest>,
    text: String,
}

const fn slot(ca: PckCa) -> &'static str {
    match ca {
        PckCa::Platform => "PLATFORM",
        PckCa::Processor => "PROCESSOR",
    }
}

/// What a platform without a name is called, as its hosts call it.
const NAMELESS: &str = "00000000000000000000000000000000";
