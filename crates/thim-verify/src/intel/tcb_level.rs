//! What the levels of TCB infos and enclave identities have in common, and how their JSON values are read.
//!
//! Everything is read from borrowed text straight into its final type: verification of a TCB info has a budget of
//! a third of one signature for all of its parsing.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::advisory::AdvisoryId;
use crate::UnixTime;
use crate::ids::hex_array;

/// Intel's verdict about a TCB level. Text in documents: the variant's name, `SWHardeningNeeded` in this spelling.
/// Source: Intel PCS API v4, "Get TCB Info", `tcbStatus`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize)]
pub enum TcbStatus {
    /// Both of the two below it in this list of needs: configuration and software hardening.
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// Up to date, if configured as the advisories ask.
    ConfigurationNeeded,
    /// Fixes exist that this level does not have.
    OutOfDate,
    /// Fixes exist that this level does not have, and configuration is needed too.
    OutOfDateConfigurationNeeded,
    /// Not to be trusted any more.
    Revoked,
    /// Up to date, if the software inside mitigates what the advisories list.
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// Nothing is known to be missing.
    UpToDate,
}

impl TcbStatus {
    /// The text in Intel's documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::Revoked => "Revoked",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::UpToDate => "UpToDate",
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A level of an enclave or of the TDX module: what holds from a security version on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IsvLevel {
    /// The level covers reports with at least this ISVSVN.
    pub isv_svn: u16,
    /// The TCB recovery the level belongs to.
    pub tcb_date: UnixTime,
    /// Intel's verdict.
    pub status: TcbStatus,
    /// Security advisories that speak about the level, `INTEL-SA-nnnnn` or `INTEL-DOC-nnnnn`.
    pub advisory_ids: Vec<AdvisoryId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IsvLevelText {
    tcb: Object<IsvSvn>,
    tcb_date: UnixTime,
    tcb_status: TcbStatus,
    #[serde(default, rename = "advisoryIDs")]
    advisory_ids: AtMost<AdvisoryId, MAX_ADVISORIES>,
}

#[derive(Deserialize)]
struct IsvSvn {
    isvsvn: u16,
}

impl<'de> Deserialize<'de> for IsvLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object(text) = Object::<IsvLevelText>::deserialize(deserializer)?;
        Ok(Self {
            isv_svn: text.tcb.0.isvsvn,
            tcb_date: text.tcb_date,
            status: text.tcb_status,
            advisory_ids: text.advisory_ids.0,
        })
    }
}

/// A list of at most `MAX` items; the excess is refused when it is met, not after it was kept.
pub(crate) struct AtMost<T, const MAX: usize>(pub(crate) Vec<T>);

impl<T, const MAX: usize> Default for AtMost<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for AtMost<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = AtMost<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == MAX {
                        return Err(de::Error::custom(format_args!(
                            "a list of more than {MAX} items"
                        )));
                    }
                    items.push(item);
                }
                Ok(AtMost(items))
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// A JSON object as `T`. serde's derive would also take an array of the members' values in their order, which is
/// not what Intel specifies.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// `N` bytes written as hex text of either case.
pub(crate) struct Hex<const N: usize>(pub(crate) [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<const N: usize>;

        impl<const N: usize> Visitor<'_> for Text<N> {
            type Value = Hex<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} hex digits", 2 * N)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hex<N>, E> {
                hex_array(text)
                    .map(Hex)
                    .ok_or_else(|| E::custom(format_args!("not {} hex digits", 2 * N)))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// The longest genuine list of levels has 20, of advisories 21; 256 is far from both and still small.
pub(crate) const MAX_LEVELS: usize = 256;
pub(crate) const MAX_ADVISORIES: usize = 256;
