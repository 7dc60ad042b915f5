//! What `PUT /platformcollateral` brings: platforms, their PCK certificates, and everything that is needed to judge
//! them, in the one file that Intel's tools collect with a connection and carry to where there is none.
//!
//! What it promises. The whole body has its form, or all of it is refused with the field that has not; nothing
//! is believed yet. What is signed is kept byte for byte: TCB infos as the exact text of their member, identities as the text their
//! string stands for, lists as DER. Signed objects come out as [`intake`](crate::intake) finds them in files, so that
//! everything after is the same for both; reading is not shared, since intake takes what it can from whatever it
//! is given, and here what is missing or wrong has to be said.
//!
//! Rules: PCCS's schemas of v3 and v4 and the steps after them (`spec/intel-pcs-and-pccs.md` sections 2.9 and 3.2).
//! Narrower than PCCS: what does not parse is refused (PCCS stores it), and so is an object in another one's place.

use std::collections::BTreeSet;
use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE;
use percent_encoding::percent_decode_str;
use thim_verify::{
    ArtefactKey, Certificate, Enclave, Fmspc, Listed, PckCa, PckList, Tee, parse, parse_pck_list,
};

use super::registration::{Fields, Invalid, Registration};
use crate::intake::{Found, Object};

/// A collateral file, read and not believed.
#[derive(Debug)]
pub struct Delivery {
    /// The platforms it names; other than those that register, they may lack anything but their names.
    pub platforms: Vec<Registration>,
    /// PCK certificates, platform by platform.
    pub certificates: Vec<DeliveredCertificates>,
    /// The signed objects and the certificates of their issuers; without flaws.
    pub found: Found,
}

/// The PCK certificates of one platform: at least one, and certificates all of them.
#[derive(Debug)]
pub struct DeliveredCertificates {
    /// Whose they are, as far as the file tells.
    pub platform: Registration,
    /// The family that the first of them names; a TCB info of SGX for it is in the file.
    pub fmspc: Fmspc,
    /// The authority that the first of them names.
    pub ca: PckCa,
    /// Every entry holds a certificate.
    pub list: PckList,
    /// The chain that the file has for that authority.
    pub delivered: Arc<[Certificate]>,
}

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A field is wrong or missing; PCCS says 400.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The chains end in roots of different text; PCCS says 460.
    #[error("the root certificate of {chain} is not the one of {other}")]
    RootsDiffer {
        /// The one chain.
        chain: String,
        /// The other.
        other: String,
    },
}

/// Reads the body of `PUT /sgx/certification/v{api_version}/platformcollateral`.
///
/// # Errors
/// The first field that is wrong; roots that differ before anything that is wrong inside a certificate.
pub fn read(body: &[u8], api_version: u8) -> Result<Delivery, Refused> {
    let body = Fields::of_body(body)?;
    let collaterals = body
        .object("collaterals")?
        .ok_or_else(|| body.invalid("collaterals", "missing"))?;
    let names = if api_version < 4 { &V3 } else { &V4 };
    if api_version >= 4 {
        let version = collaterals.required("version")?;
        // As JavaScript compares: 4.0 is 4.
        if version.parse() != Ok(4.0) {
            return Err(collaterals.invalid("version", "wanted 4").into());
        }
    }
    let platforms = body.array("platforms", MAX_PLATFORMS)?;
    let platforms = platforms
        .into_iter()
        .enumerate()
        .map(|(place, element)| {
            let fields = Fields::read(element, &format!("platforms[{place}]"))?;
            Registration::from_element(&fields)
        })
        .collect::<Result<_, _>>()?;

    let chains = Chains::read(&collaterals, names)?;
    let mut found = Found::default();
    for chain in [
        &chains.processor,
        &chains.platform,
        &chains.tcb_info,
        &chains.identity,
    ] {
        found.certificates.extend(chain.iter().cloned());
    }
    let mut reader = Reader {
        names,
        chains: &chains,
        found,
        families: BTreeSet::new(),
    };
    reader.tcb_infos(&collaterals)?;
    reader.identities(&collaterals)?;
    reader.lists(&collaterals)?;
    let certificates = reader.certificates(&collaterals)?;
    Ok(Delivery {
        platforms,
        certificates,
        found: reader.found,
    })
}

/// What the two versions of the API name differently.
struct Names {
    tcb_info_chain: &'static str,
    /// Member, whose TCB levels, what the file calls its number.
    tcb_infos: &'static [(&'static str, Tee, &'static str)],
}

/// The chains of a file; those it has not are empty.
struct Chains {
    processor: Arc<[Certificate]>,
    platform: Arc<[Certificate]>,
    tcb_info: Arc<[Certificate]>,
    identity: Arc<[Certificate]>,
}

impl Chains {
    fn read(collaterals: &Fields<'_>, names: &Names) -> Result<Self, Refused> {
        let certificates = collaterals
            .object("certificates")?
            .ok_or_else(|| collaterals.invalid("certificates", "missing"))?;
        let pck = certificates
            .object(PCK_CHAIN)?
            .ok_or_else(|| certificates.invalid(PCK_CHAIN, "missing"))?;
        let texts = [
            ChainText::read(&pck, "PROCESSOR")?,
            ChainText::read(&pck, "PLATFORM")?,
            ChainText::read(&certificates, names.tcb_info_chain)?,
            ChainText::read(&certificates, IDENTITY_CHAIN)?,
        ];
        // Before they are parsed: to PCCS a root that was altered is another root, not a bad certificate.
        let mut given = texts.iter().filter(|text| !text.root.is_empty());
        if let Some(first) = given.next()
            && let Some(other) = given.find(|other| other.root != first.root)
        {
            return Err(Refused::RootsDiffer {
                chain: other.at.clone(),
                other: first.at.clone(),
            });
        }
        let [processor, platform, tcb_info, identity] = texts;
        Ok(Self {
            processor: processor.certificates()?,
            platform: platform.certificates()?,
            tcb_info: tcb_info.certificates()?,
            identity: identity.certificates()?,
        })
    }

    fn of(&self, ca: PckCa) -> &Arc<[Certificate]> {
        match ca {
            PckCa::Platform => &self.platform,
            PckCa::Processor => &self.processor,
        }
    }
}

/// A chain as it came, cut where PCCS cuts it.
struct ChainText {
    at: String,
    issuer: String,
    root: String,
}

impl ChainText {
    /// An absent or empty member is an empty chain.
    fn read(fields: &Fields<'_>, name: &str) -> Result<Self, Invalid> {
        let mut issuer = fields.text(name)?.unwrap_or_default();
        let root = match issuer.rfind(MARKER) {
            Some(at) => issuer.split_off(at),
            None if issuer.is_empty() => String::new(),
            None => {
                return Err(fields.invalid(
                    name,
                    "wanted a chain in PEM, percent-encoded as in the vendor's header",
                ));
            }
        };
        Ok(Self {
            at: fields.path(name),
            issuer,
            root,
        })
    }

    fn certificates(self) -> Result<Arc<[Certificate]>, Invalid> {
        let text: Vec<u8> = percent_decode_str(&self.issuer)
            .chain(percent_decode_str(&self.root))
            .collect();
        Certificate::from_pem_bundle(&text)
            .map(Into::into)
            .map_err(|error| Invalid::new(self.at, error))
    }
}

struct Reader<'a> {
    names: &'static Names,
    chains: &'a Chains,
    found: Found,
    /// Those for which there is a TCB info of SGX.
    families: BTreeSet<Fmspc>,
}

impl Reader<'_> {
    fn tcb_infos(&mut self, collaterals: &Fields<'_>) -> Result<(), Invalid> {
        let elements = collaterals.array("tcbinfos", MAX_TCB_INFOS)?;
        for (place, element) in elements.into_iter().enumerate() {
            let fields = Fields::read(element, &collaterals.path(&format!("tcbinfos[{place}]")))?;
            let fmspc: Fmspc = fields
                .text("fmspc")?
                .ok_or_else(|| fields.invalid("fmspc", "missing"))?
                .parse()
                .map_err(|_| fields.invalid("fmspc", "wanted 12 hex digits"))?;
            for (name, wanted, called) in self.names.tcb_infos {
                let Some(exact) = fields.exact(name) else {
                    continue;
                };
                // PCCS's schema knows the early ones not at all, and its tools leave them empty.
                if *called == EARLY && exact == "null" {
                    continue;
                }
                self.take(
                    fields.path(name),
                    exact.as_bytes(),
                    &self.chains.tcb_info,
                    Some(called),
                    |key| {
                        matches!(key, ArtefactKey::TcbInfo { tee, fmspc: own, .. } if tee == *wanted && own == fmspc)
                    },
                )?;
                if *wanted == Tee::Sgx {
                    self.families.insert(fmspc);
                }
            }
        }
        Ok(())
    }

    fn identities(&mut self, collaterals: &Fields<'_>) -> Result<(), Invalid> {
        for (name, wanted) in IDENTITIES {
            for (name, called) in [
                (name.to_owned(), STANDARD),
                (format!("{name}_{EARLY}"), EARLY),
            ] {
                let text = if called == EARLY {
                    collaterals.text_or_null(&name)?
                } else {
                    collaterals.text(&name)?
                };
                // PCCS's tools write an empty text where the vendor has none.
                let Some(text) = text.filter(|text| !text.is_empty()) else {
                    continue;
                };
                self.take(
                    collaterals.path(&name),
                    text.as_bytes(),
                    &self.chains.identity,
                    Some(called),
                    |key| {
                        matches!(key, ArtefactKey::EnclaveIdentity { enclave, .. } if enclave == wanted)
                    },
                )?;
            }
        }
        Ok(())
    }

    /// The revocation lists.
    fn lists(&mut self, collaterals: &Fields<'_>) -> Result<(), Invalid> {
        if let Some(lists) = collaterals.object("pckcacrl")? {
            for (name, wanted) in [
                ("processorCrl", PckCa::Processor),
                ("platformCrl", PckCa::Platform),
            ] {
                self.list(
                    &lists,
                    name,
                    self.chains.of(wanted),
                    |key| matches!(key, ArtefactKey::PckCrl { ca } if ca == wanted),
                )?;
            }
        }
        // Where it is published is known; the file's word is only looked at for its form.
        collaterals.text("rootcacrl_cdp")?;
        self.list(collaterals, "rootcacrl", &Arc::default(), |key| {
            key == ArtefactKey::RootCrl
        })
    }

    fn list(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        delivered: &Arc<[Certificate]>,
        wanted: impl Fn(ArtefactKey) -> bool,
    ) -> Result<(), Invalid> {
        let Some(text) = fields.text(name)?.filter(|text| !text.is_empty()) else {
            return Ok(());
        };
        let der = HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .ok()
            .filter(|der| der.first() == Some(&DER_SEQUENCE))
            .ok_or_else(|| fields.invalid(name, "wanted a revocation list, DER in hex"))?;
        self.take(fields.path(name), &der, delivered, None, wanted)
    }

    fn take(
        &mut self,
        path: String,
        text: &[u8],
        delivered: &Arc<[Certificate]>,
        called: Option<&'static str>,
        wanted: impl Fn(ArtefactKey) -> bool,
    ) -> Result<(), Invalid> {
        let unverified = parse(text).map_err(|error| Invalid::new(&path, error))?;
        let key = unverified.key();
        if !wanted(key) {
            return Err(Invalid::new(path, format_args!("{key} is out of place")));
        }
        self.found.objects.push(Object {
            path,
            unverified,
            delivered: Arc::clone(delivered),
            called,
            joined: false,
        });
        Ok(())
    }

    fn certificates(
        &self,
        collaterals: &Fields<'_>,
    ) -> Result<Vec<DeliveredCertificates>, Invalid> {
        let elements = collaterals.array("pck_certs", MAX_PLATFORMS)?;
        elements
            .into_iter()
            .enumerate()
            .map(|(place, element)| {
                let at = collaterals.path(&format!("pck_certs[{place}]"));
                self.certificates_of(&Fields::read(element, &at)?)
            })
            .collect()
    }

    fn certificates_of(&self, fields: &Fields<'_>) -> Result<DeliveredCertificates, Invalid> {
        // May be empty, and yet has to be there.
        fields.required("enc_ppid")?;
        let platform = Registration::from_element(fields)?;
        let list = parse_pck_list(fields.required("certs")?.as_bytes())
            .map_err(|error| fields.invalid("certs", error))?;
        let mut first = None;
        for (place, entry) in list.entries.iter().enumerate() {
            let invalid = |why: &dyn std::fmt::Display| {
                Err(fields.invalid(&format!("certs[{place}].cert"), why))
            };
            match &entry.listed {
                Listed::Certificate(certificate) => {
                    first.get_or_insert((certificate.fmspc(), certificate.ca()));
                }
                Listed::NotAvailable => {
                    return invalid(&"a level without certificate has no place here");
                }
                Listed::Unreadable(error) => return invalid(error),
            }
        }
        let (fmspc, ca) = first.ok_or_else(|| fields.invalid("certs", "it is empty"))?;
        if !self.families.contains(&fmspc) {
            return Err(fields.invalid(
                "certs",
                format_args!("there is no TCB info of SGX for their FMSPC {fmspc}"),
            ));
        }
        Ok(DeliveredCertificates {
            platform,
            fmspc,
            ca,
            list,
            delivered: Arc::clone(self.chains.of(ca)),
        })
    }
}

const STANDARD: &str = "standard";
const EARLY: &str = "early";
const V3: Names = Names {
    tcb_info_chain: "SGX-TCB-Info-Issuer-Chain",
    tcb_infos: &[
        ("tcbinfo", Tee::Sgx, STANDARD),
        ("tcbinfo_early", Tee::Sgx, EARLY),
    ],
};
const V4: Names = Names {
    tcb_info_chain: "TCB-Info-Issuer-Chain",
    tcb_infos: &[
        ("sgx_tcbinfo", Tee::Sgx, STANDARD),
        ("sgx_tcbinfo_early", Tee::Sgx, EARLY),
        ("tdx_tcbinfo", Tee::Tdx, STANDARD),
        ("tdx_tcbinfo_early", Tee::Tdx, EARLY),
    ],
};
/// PCCS's three, and the fourth, which THIM's own export may have.
const IDENTITIES: [(&str, Enclave); 4] = [
    ("qeidentity", Enclave::Qe),
    ("tdqeidentity", Enclave::TdQe),
    ("qveidentity", Enclave::Qve),
    ("qaeidentity", Enclave::Qae),
];
const PCK_CHAIN: &str = "SGX-PCK-Certificate-Issuer-Chain";
const IDENTITY_CHAIN: &str = "SGX-Enclave-Identity-Issuer-Chain";
/// Where PCCS cuts a chain: what begins with the last of these is the root.
const MARKER: &str = "-----BEGIN%20CERTIFICATE-----";
const DER_SEQUENCE: u8 = 0x30;
/// A body of 2 MiB holds some 800 platforms with encrypted PPIDs; names alone are shorter.
const MAX_PLATFORMS: usize = 4096;
/// Intel lists some 50 families.
const MAX_TCB_INFOS: usize = 1024;

#[cfg(test)]
mod tests;
