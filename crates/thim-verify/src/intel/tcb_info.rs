//! TCB info: for one FMSPC, the list of TCB levels that Intel passes judgement on.
//!
//! Versions 2 (SGX only, flat component keys) and 3 (SGX and TDX) are read; version 1 of 2018 has no next update
//! and is refused as unsupported. Source: Intel PCS API v4, "Get TCB Info", appendix A; v3 of the API for version 2.
//! Members we do not know are left alone: Intel has added some within a version before.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::advisory::AdvisoryId;
use super::components::{ComponentSvn, Components, once};
use super::signed_json::{self, Body};
use super::tcb_level::{AtMost, Hex, IsvLevel, MAX_ADVISORIES, MAX_LEVELS, Object, TcbStatus};
use crate::{ArtefactKey, Error, EvaluationNumber, Fmspc, PceId, Tee, UnixTime};

/// A parsed TCB info.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcbInfo {
    /// SGX or TDX; version 2 documents are SGX.
    pub tee: Tee,
    /// Format version: 2 or 3.
    pub version: u8,
    /// `issueDate`.
    pub issued: UnixTime,
    /// `nextUpdate`.
    pub next_update: UnixTime,
    /// Which platforms it is about.
    pub fmspc: Fmspc,
    /// Provisioning certification enclave of those platforms.
    pub pce_id: PceId,
    /// How levels compare; 0, component by component, is the only type there is.
    pub tcb_type: u8,
    /// TCB evaluation data number.
    pub number: EvaluationNumber,
    /// Levels in the order of the document (Intel sorts them best first; that is not checked).
    pub levels: Vec<TcbLevel>,
    /// The TDX module of major version 0; present exactly in TDX documents.
    pub tdx_module: Option<TdxModule>,
    /// The TDX modules by major version; empty when the document has no such list.
    pub tdx_module_identities: Vec<TdxModuleIdentity>,
}

/// One TCB level of a platform.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcbLevel {
    /// The 16 SGX component versions.
    pub sgx_components: Box<[ComponentSvn; 16]>,
    /// Security version of the provisioning certification enclave.
    pub pce_svn: u16,
    /// The 16 TDX component versions; present exactly in TDX documents.
    pub tdx_components: Option<Box<[ComponentSvn; 16]>>,
    /// The TCB recovery the level belongs to.
    pub tcb_date: UnixTime,
    /// Intel's verdict.
    pub status: TcbStatus,
    /// Security advisories that speak about the level.
    pub advisory_ids: Vec<AdvisoryId>,
}

/// `tdxModule`: the TDX module of major version 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TdxModule {
    /// Measurement of the module's signer; zero for Intel.
    pub mrsigner: [u8; 48],
    /// Expected SEAM attributes, in the byte order of the report.
    pub attributes: [u8; 8],
    /// Which bits of the attributes count.
    pub attributes_mask: [u8; 8],
}

/// An entry of `tdxModuleIdentities`: the TDX module of one major version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TdxModuleIdentity {
    /// Major version, from the id `TDX_` and two hex digits.
    pub major_version: u8,
    /// Signer and attributes.
    pub module: TdxModule,
    /// Levels by the module's ISVSVN, in the order of the document.
    pub levels: Vec<IsvLevel>,
}

/// The document as written; what depends on version and TEE is settled in [`TcbInfo::settle`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcbInfoText {
    id: Option<DocumentId>,
    version: u64,
    issue_date: UnixTime,
    next_update: UnixTime,
    fmspc: Fmspc,
    pce_id: PceId,
    tcb_type: u64,
    tcb_evaluation_data_number: EvaluationNumber,
    tcb_levels: AtMost<Object<LevelText>, MAX_LEVELS>,
    tdx_module: Option<Object<ModuleText>>,
    tdx_module_identities: Option<AtMost<Object<ModuleIdentityText>, MAX_LEVELS>>,
}

#[derive(Copy, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum DocumentId {
    Sgx,
    Tdx,
}

impl From<DocumentId> for Tee {
    fn from(id: DocumentId) -> Self {
        match id {
            DocumentId::Sgx => Self::Sgx,
            DocumentId::Tdx => Self::Tdx,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LevelText {
    tcb: TcbText,
    tcb_date: UnixTime,
    tcb_status: TcbStatus,
    #[serde(default, rename = "advisoryIDs")]
    advisory_ids: AtMost<AdvisoryId, MAX_ADVISORIES>,
}

/// `tcb` of either version. The flat keys of version 2 are told by their number.
pub(super) struct TcbText {
    pub(super) flat: Option<[u8; 16]>,
    pub(super) sgx: Option<Components>,
    tdx: Option<Components>,
    pub(super) pce_svn: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModuleText {
    mrsigner: Hex<48>,
    attributes: Hex<8>,
    attributes_mask: Hex<8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModuleIdentityText {
    id: ModuleId,
    mrsigner: Hex<48>,
    attributes: Hex<8>,
    attributes_mask: Hex<8>,
    tcb_levels: AtMost<IsvLevel, MAX_LEVELS>,
}

/// `TDX_` and two hex digits of either case.
struct ModuleId(u8);

impl TcbInfo {
    /// The key this document answers for.
    pub fn key(&self) -> ArtefactKey {
        ArtefactKey::TcbInfo {
            tee: self.tee,
            version: self.version,
            fmspc: self.fmspc,
            number: self.number,
        }
    }

    fn level(level: LevelText, version: u8, tee: Tee) -> Result<TcbLevel, Error> {
        let wrong = |why: &str| Err(Error::format(WHAT, why));
        let tcb = level.tcb;
        let sgx_components = match (version, tcb.flat, tcb.sgx) {
            (2, Some(flat), None) => Box::new(flat.map(|svn| ComponentSvn {
                svn,
                ..ComponentSvn::default()
            })),
            (3, None, Some(Components(components))) => components,
            _ => return wrong("a level without the SGX components of its version"),
        };
        if tcb.tdx.is_some() != (tee == Tee::Tdx) {
            return wrong("TDX components belong in every level of TDX documents and nowhere else");
        }
        Ok(TcbLevel {
            sgx_components,
            pce_svn: tcb.pce_svn,
            tdx_components: tcb.tdx.map(|components| components.0),
            tcb_date: level.tcb_date,
            status: level.tcb_status,
            advisory_ids: level.advisory_ids.0,
        })
    }
}

impl Body for TcbInfo {
    type Text = TcbInfoText;

    const WHAT: &'static str = WHAT;

    fn refuse_version(version: u64) -> Option<Error> {
        let known = matches!(version, 2 | 3);
        (!known).then(|| signed_json::unsupported_version(WHAT, version))
    }

    fn settle(text: TcbInfoText) -> Result<Self, Error> {
        let wrong = |why: &str| Err(Error::format(WHAT, why));
        let (version, tee) = match (text.version, text.id) {
            (2, None) => (2, Tee::Sgx),
            (2, Some(_)) => return wrong("version 2 has no id"),
            (3, Some(id)) => (3, id.into()),
            (3, None) => return wrong("version 3 needs an id"),
            (version, _) => return Err(signed_json::unsupported_version(WHAT, version)),
        };
        if text.tcb_type != 0 {
            return Err(Error::unsupported(format_args!(
                "TCB type {}",
                text.tcb_type
            )));
        }
        if text.tdx_module.is_some() != (tee == Tee::Tdx) {
            return wrong("tdxModule belongs in TDX documents and nowhere else");
        }
        if text.tdx_module_identities.is_some() && tee != Tee::Tdx {
            return wrong("tdxModuleIdentities belong in TDX documents only");
        }
        let levels = text
            .tcb_levels
            .0
            .into_iter()
            .map(|Object(level)| Self::level(level, version, tee))
            .collect::<Result<Vec<_>, _>>()?;
        if levels.is_empty() {
            return wrong("no TCB level");
        }
        let identities = text.tdx_module_identities.unwrap_or_default().0;
        let tdx_module_identities: Vec<TdxModuleIdentity> = identities
            .into_iter()
            .map(|Object(one)| one.into())
            .collect();
        for (at, identity) in tdx_module_identities.iter().enumerate() {
            let earlier = tdx_module_identities.iter().take(at);
            if earlier
                .map(|one| one.major_version)
                .any(|one| one == identity.major_version)
            {
                return wrong("two identities of one TDX module");
            }
        }
        Ok(Self {
            tee,
            version,
            issued: text.issue_date,
            next_update: text.next_update,
            fmspc: text.fmspc,
            pce_id: text.pce_id,
            tcb_type: 0,
            number: text.tcb_evaluation_data_number,
            levels,
            tdx_module: text.tdx_module.map(|Object(module)| module.into()),
            tdx_module_identities,
        })
    }
}

impl From<ModuleText> for TdxModule {
    fn from(text: ModuleText) -> Self {
        Self {
            mrsigner: text.mrsigner.0,
            attributes: text.attributes.0,
            attributes_mask: text.attributes_mask.0,
        }
    }
}

impl From<ModuleIdentityText> for TdxModuleIdentity {
    fn from(text: ModuleIdentityText) -> Self {
        Self {
            major_version: text.id.0,
            module: TdxModule {
                mrsigner: text.mrsigner.0,
                attributes: text.attributes.0,
                attributes_mask: text.attributes_mask.0,
            },
            levels: text.tcb_levels.0,
        }
    }
}

impl<'de> Deserialize<'de> for ModuleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = ModuleId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("TDX_ and two hex digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ModuleId, E> {
                // Case-insensitive as a whole: spec/intel-verification.md, section 5.
                text.split_at_checked(4)
                    .filter(|(prefix, _)| prefix.eq_ignore_ascii_case("TDX_"))
                    .and_then(|(_, digits)| crate::ids::hex_array::<1>(digits))
                    .map(|[major]| ModuleId(major))
                    .ok_or_else(|| E::custom("not TDX_ and two hex digits"))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for TcbText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TcbVisitor)
    }
}

struct TcbVisitor;

impl<'de> Visitor<'de> for TcbVisitor {
    type Value = TcbText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the components of a TCB level")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<TcbText, A::Error> {
        let mut flat = [None; 16];
        let (mut sgx, mut tdx, mut pce_svn) = (None, None, None);
        while let Some(key) = map.next_key()? {
            match key {
                TcbKey::Flat(index) => {
                    let slot = flat
                        .get_mut(index)
                        .ok_or_else(|| de::Error::custom("no such component"))?;
                    once(slot, map.next_value()?)?;
                }
                TcbKey::Other => {
                    map.next_value::<de::IgnoredAny>()?;
                }
                TcbKey::PceSvn => once(&mut pce_svn, map.next_value()?)?,
                TcbKey::SgxComponents => once(&mut sgx, map.next_value()?)?,
                TcbKey::TdxComponents => once(&mut tdx, map.next_value()?)?,
            }
        }
        let flat = match flat.iter().flatten().count() {
            0 => None,
            16 => Some(flat.map(Option::unwrap_or_default)),
            _ => {
                return Err(de::Error::custom(
                    "a level with some of the 16 components only",
                ));
            }
        };
        Ok(TcbText {
            flat,
            sgx,
            tdx,
            pce_svn: pce_svn.ok_or_else(|| de::Error::missing_field("pcesvn"))?,
        })
    }
}

enum TcbKey {
    /// `sgxtcbcomp01svn` to `sgxtcbcomp16svn`, from 0.
    Flat(usize),
    Other,
    PceSvn,
    SgxComponents,
    TdxComponents,
}

impl<'de> Deserialize<'de> for TcbKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = TcbKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TcbKey, E> {
                Ok(match text {
                    "pcesvn" => TcbKey::PceSvn,
                    "sgxtcbcomponents" => TcbKey::SgxComponents,
                    "tdxtcbcomponents" => TcbKey::TdxComponents,
                    _ => flat_index(text).map_or(TcbKey::Other, TcbKey::Flat),
                })
            }
        }

        deserializer.deserialize_identifier(Text)
    }
}

fn flat_index(text: &str) -> Option<usize> {
    let digits = text.strip_prefix("sgxtcbcomp")?.strip_suffix("svn")?;
    let &[tens @ b'0'..=b'1', ones @ b'0'..=b'9'] = digits.as_bytes() else {
        return None;
    };
    let number = usize::from(tens - b'0') * 10 + usize::from(ones - b'0');
    (1..=16).contains(&number).then(|| number - 1)
}

const WHAT: &str = "TCB info";
