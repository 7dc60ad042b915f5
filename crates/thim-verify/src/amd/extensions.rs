//! AMD's own extensions in endorsement certificates: which product, which TCB, which chip or which cloud.
//!
//! Arc 1.3.6.1.4.1.3704.1, none of them critical. They are found by OID, whatever their order, each at most once.
//! Values are DER, with two exceptions that are in the field: the chip id is raw octets (some issues wrap it in an
//! OCTET STRING), and a level of 128 or more has an INTEGER of two octets, which readers of "the third byte" take for
//! zero. Which of them a product has is judged later, by its facts. Source: spec/amd-kds-and-thim.md, 2.2.

use der::Decode;
use der::asn1::{Ia5StringRef, ObjectIdentifier};

use super::hw_id::{HwId, LONG_BYTES, SHORT_BYTES};
use super::tcb::SnpTcb;
use crate::Error;
use crate::asn1::Extension;
use crate::error::within;

/// What the extensions of one certificate say.
pub(super) struct AmdExtensions {
    pub(super) struct_version: u8,
    pub(super) product_name: String,
    pub(super) tcb: SnpTcb,
    pub(super) hw_id: Option<HwId>,
    pub(super) csp_id: Option<String>,
}

impl AmdExtensions {
    pub(super) fn read(extensions: &[Extension<'_>]) -> Result<Self, Error> {
        let find = |id: ObjectIdentifier| extensions.iter().find(|one| one.id == id);
        let level = |id: ObjectIdentifier, name: &str| {
            find(id)
                .map(|extension| integer(extension, name))
                .transpose()
        };
        let required = |id: ObjectIdentifier, name: &str| -> Result<u8, Error> {
            level(id, name)?.ok_or_else(|| missing(name))
        };
        // A level that this TCB has no place for must not make two certificates look alike.
        for id in RESERVED_SPL {
            if level(id, "a reserved SPL")?.is_some_and(|value| value != 0) {
                return Err(Error::unsupported("a reserved SPL that is not zero"));
            }
        }
        let tcb = SnpTcb {
            fmc: level(FMC_SPL, "fmcSPL")?,
            boot_loader: required(BL_SPL, "blSPL")?,
            tee: required(TEE_SPL, "teeSPL")?,
            snp: required(SNP_SPL, "snpSPL")?,
            microcode: required(UCODE_SPL, "ucodeSPL")?,
        };
        let product_name = find(PRODUCT_NAME).ok_or_else(|| missing("productName"))?;
        Ok(Self {
            struct_version: required(STRUCT_VERSION, "structVersion")?,
            product_name: text(product_name, "productName")?,
            tcb,
            hw_id: find(HW_ID).map(hw_id).transpose()?,
            csp_id: find(CSP_ID)
                .map(|extension| text(extension, "cspID"))
                .transpose()?,
        })
    }
}

/// Whether `id` is read here; others must not be critical.
pub(super) fn is_known(id: ObjectIdentifier) -> bool {
    RESERVED_SPL.contains(&id)
        || [
            STRUCT_VERSION,
            PRODUCT_NAME,
            BL_SPL,
            TEE_SPL,
            SNP_SPL,
            UCODE_SPL,
            FMC_SPL,
            HW_ID,
            CSP_ID,
        ]
        .contains(&id)
}

fn integer(extension: &Extension<'_>, name: &str) -> Result<u8, Error> {
    u8::from_der(extension.value)
        .map_err(|_| Error::format(WHAT, format_args!("{name} is not an INTEGER of 0 to 255")))
}

fn text(extension: &Extension<'_>, name: &str) -> Result<String, Error> {
    within(name, MAX_TEXT_BYTES, extension.value.len())?;
    let text = Ia5StringRef::from_der(extension.value)
        .map_err(|_| Error::format(WHAT, format_args!("{name} is not an IA5String")))?;
    if text.as_str().is_empty() || !text.as_str().bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(Error::format(
            WHAT,
            format_args!("{name} is not printable text"),
        ));
    }
    Ok(text.as_str().to_owned())
}

/// Raw, or wrapped: the lengths tell them apart.
fn hw_id(extension: &Extension<'_>) -> Result<HwId, Error> {
    let octets = match *extension.value {
        [OCTET_STRING, length, ref octets @ ..]
            if usize::from(length) == octets.len()
                && [SHORT_BYTES, LONG_BYTES].contains(&octets.len()) =>
        {
            octets
        }
        _ => extension.value,
    };
    HwId::of_length(octets).ok_or_else(|| Error::format(WHAT, "hwID is neither 8 nor 64 bytes"))
}

fn missing(name: &str) -> Error {
    Error::format(WHAT, format_args!("no {name}"))
}

const WHAT: &str = "endorsement certificate";

/// The longest seen names a host of 29 characters; a domain name has at most 253.
const MAX_TEXT_BYTES: usize = 300;

const OCTET_STRING: u8 = 0x04;

const STRUCT_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.1");
const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const BL_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const TEE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const SNP_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const UCODE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const FMC_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
const HW_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const CSP_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");

/// spl4 (absent from Turin on) to spl7; all are zero in every certificate seen.
const RESERVED_SPL: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.4"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.5"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.6"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.7"),
];
