//! The SGX extension of a PCK certificate: which platform, and which of its TCB levels, the certificate is for.
//!
//! A SEQUENCE of pairs (OID, value), 1.2.840.113741.1.13.1.N. Items are found by their OID, in whatever order they
//! stand (PCCS takes them by position); each that is known must stand at most once, and what every PCK certificate
//! has must be there. Items with other OIDs are left alone, in the extension and in its TCB and configuration. The
//! instance id and the configuration, which only the Platform CA writes, are never demanded. CPUSVN and the 16
//! component versions agree in every certificate seen, but nothing promises it, so neither is derived from the
//! other. Source: Intel SGX PCK Certificate and CRL profile, "SGX extensions".

use std::fmt;

use der::{Decode, Reader, SliceReader, Tag};

use super::raw_tcb::{CpuSvn, PceSvn, RawTcb};
use crate::asn1::Element;
use crate::{Error, Fmspc, PceId};

/// The identity of a platform's processors: 16 bytes. It never appears in text: it tells one machine from all others.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ppid(pub [u8; 16]);

/// The identity of a multi-package platform as it was registered: 16 bytes. As secret as [`Ppid`].
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformInstanceId(pub [u8; 16]);

/// How a platform protects the memory of its enclaves.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SgxType {
    /// 0: with a tree of counters, integrity and replay protection.
    Standard,
    /// 1: encryption without them; multi-package platforms.
    Scalable,
    /// 2: encryption with integrity.
    ScalableWithIntegrity,
}

/// What a Platform CA says about a platform's set-up; what it does not say is none.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct PckConfiguration {
    /// Whether packages may be added to the platform.
    pub dynamic_platform: Option<bool>,
    /// Whether Intel keeps the platform's root keys (direct registration).
    pub cached_keys: Option<bool>,
    /// Whether simultaneous multithreading is on.
    pub smt_enabled: Option<bool>,
}

/// The extension, parsed.
#[derive(Clone)]
pub(crate) struct SgxExtension {
    pub(crate) ppid: Ppid,
    pub(crate) tcbm: RawTcb,
    pub(crate) components: [u8; 16],
    pub(crate) pce_id: PceId,
    pub(crate) fmspc: Fmspc,
    pub(crate) sgx_type: SgxType,
    pub(crate) platform_instance_id: Option<PlatformInstanceId>,
    pub(crate) configuration: Option<PckConfiguration>,
}

impl SgxExtension {
    /// Reads the DER inside the extension; its length is bounded by that of a certificate.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, Error> {
        let [
            ppid,
            tcb,
            pce_id,
            fmspc,
            sgx_type,
            instance_id,
            configuration,
        ] = items::<7>("the SGX extension", whole(der)?, EXTENSION)?;
        let (tcbm, components) = tcb_of(required("TCB", tcb)?)?;
        Ok(Self {
            ppid: Ppid(octets("PPID", required("PPID", ppid)?)?),
            tcbm,
            components,
            pce_id: PceId(octets("PCE id", required("PCE id", pce_id)?)?),
            fmspc: Fmspc(octets("FMSPC", required("FMSPC", fmspc)?)?),
            sgx_type: sgx_type_of(required("SGX type", sgx_type)?)?,
            platform_instance_id: instance_id
                .map(|item| octets("platform instance id", item).map(PlatformInstanceId))
                .transpose()?,
            configuration: configuration.map(configuration_of).transpose()?,
        })
    }
}

impl fmt::Debug for Ppid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ppid(..)")
    }
}

impl fmt::Debug for PlatformInstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlatformInstanceId(..)")
    }
}

/// Items 1 to 16 are the components, 17 is PCESVN, 18 CPUSVN.
fn tcb_of(tcb: Element<'_>) -> Result<(RawTcb, [u8; 16]), Error> {
    let found = items::<18>("the TCB", tcb, TCB)?;
    let [component_items @ .., pce_svn, cpu_svn] = found;
    let mut components = [0; 16];
    for (component, item) in components.iter_mut().zip(component_items) {
        *component = integer("component version", required("component version", item)?)?;
    }
    let tcbm = RawTcb {
        cpu_svn: CpuSvn(octets("CPUSVN", required("CPUSVN", cpu_svn)?)?),
        pce_svn: PceSvn(integer("PCESVN", required("PCESVN", pce_svn)?)?),
    };
    Ok((tcbm, components))
}

fn sgx_type_of(item: Element<'_>) -> Result<SgxType, Error> {
    match (item.tag, item.value) {
        (Tag::Enumerated, [0]) => Ok(SgxType::Standard),
        (Tag::Enumerated, [1]) => Ok(SgxType::Scalable),
        (Tag::Enumerated, [2]) => Ok(SgxType::ScalableWithIntegrity),
        _ => Err(wrong("the SGX type is not ENUMERATED 0, 1 or 2")),
    }
}

fn configuration_of(item: Element<'_>) -> Result<PckConfiguration, Error> {
    let [dynamic_platform, cached_keys, smt_enabled] =
        items::<3>("the configuration", item, CONFIGURATION)?;
    let flag = |item: Option<Element<'_>>| {
        item.map(|item| bool::from_der(item.raw))
            .transpose()
            .map_err(|_| wrong("a flag of the configuration is not a BOOLEAN"))
    };
    Ok(PckConfiguration {
        dynamic_platform: flag(dynamic_platform)?,
        cached_keys: flag(cached_keys)?,
        smt_enabled: flag(smt_enabled)?,
    })
}

/// Of a sequence of pairs (OID, value), the values of `<arc>.1` to `<arc>.N`.
fn items<'a, const N: usize>(
    place: &str,
    sequence: Element<'a>,
    arc: &[u8],
) -> Result<[Option<Element<'a>>; N], Error> {
    let format = |error: der::Error| Error::format(WHAT, format_args!("{place}: {error}"));
    sequence.tag.assert_eq(Tag::Sequence).map_err(format)?;
    let mut reader = sequence.inside().map_err(format)?;
    let mut found = [None; N];
    while !reader.is_finished() {
        let item = Element::expect(&mut reader, Tag::Sequence).map_err(format)?;
        let mut fields = item.inside().map_err(format)?;
        let id = Element::expect(&mut fields, Tag::ObjectIdentifier).map_err(format)?;
        let value = Element::read(&mut fields).map_err(format)?;
        fields.finish().map_err(format)?;
        // Every number in use is below 128, hence one octet.
        let Some(&[number]) = id.value.strip_prefix(arc) else {
            continue;
        };
        let Some(slot) = usize::from(number)
            .checked_sub(1)
            .and_then(|at| found.get_mut(at))
        else {
            continue;
        };
        if slot.replace(value).is_some() {
            return Err(wrong(format_args!("item {number} of {place} stands twice")));
        }
    }
    Ok(found)
}

/// `der` as one element.
fn whole(der: &[u8]) -> Result<Element<'_>, Error> {
    let read = || -> der::Result<Element<'_>> {
        let mut reader = SliceReader::new(der)?;
        let element = Element::read(&mut reader)?;
        reader.finish()?;
        Ok(element)
    };
    read().map_err(|error| Error::format(WHAT, error))
}

fn required<'a>(name: &str, item: Option<Element<'a>>) -> Result<Element<'a>, Error> {
    item.ok_or_else(|| wrong(format_args!("no {name}")))
}

fn octets<const N: usize>(name: &str, item: Element<'_>) -> Result<[u8; N], Error> {
    let right = (item.tag == Tag::OctetString).then_some(item.value);
    right
        .and_then(|value| value.try_into().ok())
        .ok_or_else(|| wrong(format_args!("{name} is not an OCTET STRING of {N} bytes")))
}

fn integer<'a, T: Decode<'a, Error = der::Error>>(
    name: &str,
    item: Element<'a>,
) -> Result<T, Error> {
    T::from_der(item.raw).map_err(|_| wrong(format_args!("{name} is not an INTEGER in its range")))
}

fn wrong(why: impl fmt::Display) -> Error {
    Error::format(WHAT, why)
}

const WHAT: &str = "PCK certificate";

/// Content octets of 1.2.840.113741.1.13.1, and of its arcs .2 (TCB) and .7 (configuration).
const EXTENSION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
const TCB: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01, 0x02];
const CONFIGURATION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01, 0x07];
