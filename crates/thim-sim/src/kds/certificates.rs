//! AMD's certificates and CRLs, written by hand.
//!
//! Names, serial numbers, extensions and their order are those of captured certificates (spec/amd-kds-and-thim.md
//! section 2). The CRL distribution points name the simulator itself, so a client that follows one stays inside. CA
//! certificates spell out the default trailer field of RSASSA-PSS and a zero bit at the end of the ASKs' key usage, which
//! DER forbids and AMD does; CRLs leave the trailer field out; VCEKs and VLEKs come in either form ([`LeafForm`]).

use crate::SimError;
use crate::calendar;
use crate::der::{
    bits, boolean, ia5, identifier, implicit, integer, named_bits, null, octets, printable,
    sequence, set, tagged, time, utf8,
};
use crate::kds::keys::RsaKey;
use crate::kds::product::{AmdCa, AmdProduct};
use crate::kds::tcb::SimTcb;
use serde::{Deserialize, Serialize};

/// The forms in which AMD's leaf certificates are found. In JSON `{"explicit_trailer": false, "wrapped_hwid": false}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeafForm {
    /// The PSS parameters end in `trailerField 1`, as in VCEKs until 2023; recent ones leave it out.
    pub explicit_trailer: bool,
    /// `hwID` is an `OCTET STRING` within the extension; most issues have the bare bytes.
    pub wrapped_hwid: bool,
}

/// What a leaf certificate is for.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// A chip: a VCEK.
    Hwid(&'a [u8]),
    /// A cloud provider: a VLEK.
    Csp(&'a str),
}

/// What a leaf certificate says.
#[derive(Clone, Copy)]
pub(crate) struct Leaf<'a> {
    pub(crate) product: AmdProduct,
    pub(crate) subject: Subject<'a>,
    pub(crate) tcb: &'a SimTcb,
    /// An uncompressed P-384 point.
    pub(crate) public_key: &'a [u8],
    pub(crate) not_before: i64,
}

/// What a CA certificate says.
pub(crate) struct CaProfile<'a> {
    pub(crate) product: AmdProduct,
    /// `None` for the ARK.
    pub(crate) ca: Option<AmdCa>,
    pub(crate) serial: u32,
    pub(crate) not_before: i64,
    pub(crate) crl_url: &'a str,
}

/// What a CRL says.
pub(crate) struct CrlContent<'a> {
    pub(crate) number: u32,
    pub(crate) this_update: i64,
    pub(crate) next_update: i64,
    /// Serial numbers and when they were revoked.
    pub(crate) revoked: &'a [(u32, i64)],
}

/// The certificate of an ARK, ASK or ASVK.
pub(crate) fn sign_ca(
    profile: &CaProfile<'_>,
    key: &RsaKey,
    ark: &RsaKey,
) -> Result<Vec<u8>, SimError> {
    let issuer = ark_name(profile.product);
    let subject = match profile.ca {
        None => issuer.clone(),
        Some(ca) => name(&ca.common_name(profile.product)),
    };
    let end = calendar::years_after(profile.not_before, CA_YEARS);
    let key_info = sequence([
        sequence([identifier(&RSA_ENCRYPTION), null()]),
        bits(&key.public),
    ]);
    let crl_url = implicit(6, profile.crl_url.as_bytes());
    let distribution = extension(
        &CRL_DISTRIBUTION_POINTS,
        false,
        &sequence([sequence([tagged(0, [tagged(0, [crl_url])])])]),
    );
    let identified = extension(&SUBJECT_KEY_IDENTIFIER, false, &octets(&key.identifier));
    let extensions = match profile.ca {
        None => vec![
            // certSign and crlSign.
            extension(&KEY_USAGE, true, &named_bits(0x06, 1)),
            identified,
            extension(&BASIC_CONSTRAINTS, true, &sequence([boolean(true)])),
            distribution,
        ],
        Some(AmdCa::Ask | AmdCa::Asvk) => vec![
            identified,
            authority_key_identifier(&ark.identifier),
            extension(
                &BASIC_CONSTRAINTS,
                true,
                &sequence([boolean(true), integer(0)]),
            ),
            // certSign alone. DER would leave out one bit more; AMD's certificates have it like this.
            extension(&KEY_USAGE, true, &named_bits(0x04, 1)),
            distribution,
        ],
    };
    let algorithm = pss(true);
    let tbs = sequence([
        tagged(0, [integer(2)]),
        integer(profile.serial),
        algorithm.clone(),
        issuer,
        sequence([time(profile.not_before), time(end)]),
        subject,
        key_info,
        tagged(3, [sequence(extensions)]),
    ]);
    signed(tbs, algorithm, ark)
}

/// A VCEK or VLEK.
pub(crate) fn sign_leaf(
    leaf: &Leaf<'_>,
    form: LeafForm,
    issuer: &RsaKey,
) -> Result<Vec<u8>, SimError> {
    let (ca, common_name, years) = match leaf.subject {
        Subject::Hwid(_) => (AmdCa::Ask, "SEV-VCEK", VCEK_YEARS),
        Subject::Csp(_) => (AmdCa::Asvk, "SEV-VLEK", VLEK_YEARS),
    };
    let end = calendar::years_after(leaf.not_before, years);
    let algorithm = pss(form.explicit_trailer);
    let tbs = sequence([
        tagged(0, [integer(2)]),
        integer(0),
        algorithm.clone(),
        name(&ca.common_name(leaf.product)),
        sequence([time(leaf.not_before), time(end)]),
        name(common_name),
        sequence([
            sequence([identifier(&EC_PUBLIC_KEY), identifier(&SECP384R1)]),
            bits(leaf.public_key),
        ]),
        tagged(3, [leaf_extensions(leaf, form)]),
    ]);
    signed(tbs, algorithm, issuer)
}

/// A CRL of the ARK.
pub(crate) fn sign_crl(
    product: AmdProduct,
    content: &CrlContent<'_>,
    ark: &RsaKey,
) -> Result<Vec<u8>, SimError> {
    signed(crl_tbs(product, content, &ark.identifier), pss(false), ark)
}

fn crl_tbs(product: AmdProduct, content: &CrlContent<'_>, ark_identifier: &[u8]) -> Vec<u8> {
    let entries = content
        .revoked
        .iter()
        .map(|(serial, since)| sequence([integer(*serial), time(*since)]));
    // RFC 5280, section 5.1.2.6: an empty list must be absent.
    let entries = match content.revoked {
        [] => None,
        [..] => Some(sequence(entries)),
    };
    let number = extension(&CRL_NUMBER, false, &integer(content.number));
    let tbs = [
        Some(integer(1)),
        Some(pss(false)),
        Some(ark_name(product)),
        Some(time(content.this_update)),
        Some(time(content.next_update)),
        entries,
        Some(tagged(
            0,
            [sequence([authority_key_identifier(ark_identifier), number])],
        )),
    ];
    sequence(tbs.into_iter().flatten())
}

/// The same bytes with the last bit of the signature flipped.
pub(crate) fn tampered(mut der: Vec<u8>) -> Vec<u8> {
    if let Some(last) = der.last_mut() {
        *last ^= 1;
    }
    der
}

fn signed(tbs: Vec<u8>, algorithm: Vec<u8>, key: &RsaKey) -> Result<Vec<u8>, SimError> {
    let signature = key.sign(&tbs)?;
    Ok(sequence([tbs, algorithm, bits(&signature)]))
}

/// spec/amd-kds-and-thim.md section 2.2, in the order of captured certificates.
fn leaf_extensions(leaf: &Leaf<'_>, form: LeafForm) -> Vec<u8> {
    let tcb = leaf.tcb;
    let product_name = match leaf.subject {
        Subject::Hwid(_) => leaf.product.vcek_product_name(),
        Subject::Csp(_) => leaf.product.name(),
    };
    let struct_version = integer(u32::from(leaf.product.struct_version()));
    let mut extensions = vec![amd(&[1], &struct_version), amd(&[2], &ia5(product_name))];
    let levels = match leaf.product {
        AmdProduct::Genoa | AmdProduct::Milan => vec![
            (1, tcb.boot_loader),
            (2, tcb.tee),
            (4, 0),
            (5, 0),
            (6, 0),
            (7, 0),
            (3, tcb.snp),
            (8, tcb.microcode),
        ],
        AmdProduct::Turin => vec![
            (9, tcb.fmc.unwrap_or(0)),
            (1, tcb.boot_loader),
            (2, tcb.tee),
            (3, tcb.snp),
            (5, 0),
            (6, 0),
            (7, 0),
            (8, tcb.microcode),
        ],
    };
    let levels = levels.into_iter();
    extensions.extend(levels.map(|(number, level)| amd(&[3, number], &integer(u32::from(level)))));
    extensions.push(match leaf.subject {
        Subject::Hwid(hwid) if form.wrapped_hwid => amd(&[4], &octets(hwid)),
        Subject::Hwid(hwid) => amd(&[4], hwid),
        Subject::Csp(csp_id) => amd(&[5], &ia5(csp_id)),
    });
    sequence(extensions)
}

fn amd(suffix: &[u8], value: &[u8]) -> Vec<u8> {
    extension(&[&AMD_EXTENSIONS, suffix].concat(), false, value)
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = critical.then(|| boolean(true));
    let parts = [Some(identifier(id)), critical, Some(octets(value))];
    sequence(parts.into_iter().flatten())
}

fn authority_key_identifier(ark_identifier: &[u8]) -> Vec<u8> {
    let value = sequence([implicit(0, ark_identifier)]);
    extension(&AUTHORITY_KEY_IDENTIFIER, false, &value)
}

fn ark_name(product: AmdProduct) -> Vec<u8> {
    name(&format!("ARK-{product}"))
}

/// AMD's distinguished names differ in the common name alone.
fn name(common_name: &str) -> Vec<u8> {
    let part = |number, value| set([sequence([identifier(&[0x55, 0x04, number]), value])]);
    sequence([
        part(11, utf8("Engineering")),
        part(6, printable("US")),
        part(7, utf8("Santa Clara")),
        part(8, utf8("CA")),
        part(10, utf8("Advanced Micro Devices")),
        part(3, utf8(common_name)),
    ])
}

/// RSASSA-PSS with SHA-384, MGF1 with SHA-384, a salt of 48 bytes, and the default trailer field spelt out or not.
fn pss(explicit_trailer: bool) -> Vec<u8> {
    let sha384 = sequence([identifier(&SHA384), null()]);
    let mgf = sequence([identifier(&MGF1), sha384.clone()]);
    let parameters = [
        Some(tagged(0, [sha384])),
        Some(tagged(1, [mgf])),
        Some(tagged(2, [integer(48)])),
        explicit_trailer.then(|| tagged(3, [integer(1)])),
    ];
    sequence([
        identifier(&RSASSA_PSS),
        sequence(parameters.into_iter().flatten()),
    ])
}

/// spec/amd-kds-and-thim.md section 2.1.
const CA_YEARS: i64 = 25;
const VCEK_YEARS: i64 = 7;
const VLEK_YEARS: i64 = 1;
/// 1.3.6.1.4.1.3704.1.
const AMD_EXTENSIONS: [u8; 8] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01];
/// 1.2.840.113549.1.1.1, .8 and .10 (RFC 8017, appendix C).
const RSA_ENCRYPTION: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const MGF1: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08];
const RSASSA_PSS: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
/// 2.16.840.1.101.3.4.2.2.
const SHA384: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
/// 1.2.840.10045.2.1.
const EC_PUBLIC_KEY: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.3.132.0.34.
const SECP384R1: [u8; 5] = [0x2b, 0x81, 0x04, 0x00, 0x22];
/// 2.5.29 (RFC 5280, section 4.2.1 and 5.2.3).
const SUBJECT_KEY_IDENTIFIER: [u8; 3] = [0x55, 0x1d, 14];
const KEY_USAGE: [u8; 3] = [0x55, 0x1d, 15];
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 19];
const CRL_NUMBER: [u8; 3] = [0x55, 0x1d, 20];
const CRL_DISTRIBUTION_POINTS: [u8; 3] = [0x55, 0x1d, 31];
const AUTHORITY_KEY_IDENTIFIER: [u8; 3] = [0x55, 0x1d, 35];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the report")]
mod tests {
    use super::*;
    use data_encoding::HEXUPPER;

    fn extensions(
        product: AmdProduct,
        subject: Subject<'_>,
        tcb: &SimTcb,
        form: LeafForm,
    ) -> String {
        let leaf = Leaf {
            product,
            subject,
            tcb,
            public_key: &[],
            not_before: 0,
        };
        HEXUPPER.encode(&leaf_extensions(&leaf, form))
    }

    #[test]
    fn extensions_are_genuine_ones_byte_for_byte() {
        let plain = LeafForm::default();
        let hwid = HEXUPPER.decode(b"59790FB1C39F35C1").unwrap();
        let tcb = SimTcb::new(1, 1, 4, 81).with_fmc(1);
        let turin = extensions(AmdProduct::Turin, Subject::Hwid(&hwid), &tcb, plain);
        assert_eq!(turin, GENUINE_TURIN);
        let hwid = HEXUPPER.decode(MILAN_HWID.as_bytes()).unwrap();
        let tcb = SimTcb::new(4, 0, 24, 219);
        let milan = extensions(AmdProduct::Milan, Subject::Hwid(&hwid), &tcb, plain);
        assert_eq!(milan, [GENUINE_MILAN, MILAN_HWID].concat());
        let csp = Subject::Csp("CN=cc-us-east-2.amazonaws.com");
        let vlek = extensions(AmdProduct::Milan, csp, &tcb.with_microcode(217), plain);
        assert_eq!(vlek, GENUINE_VLEK);
    }

    #[test]
    fn a_wrapped_hwid_has_a_tag_more() {
        let form = LeafForm {
            wrapped_hwid: true,
            ..LeafForm::default()
        };
        let tcb = SimTcb::new(4, 0, 24, 219);
        let milan = extensions(AmdProduct::Milan, Subject::Hwid(&[7; 64]), &tcb, form);
        assert!(milan.ends_with(&["04420440", &"07".repeat(64)].concat()));
    }

    #[test]
    fn a_crl_is_a_genuine_one_byte_for_byte() {
        let content = CrlContent {
            number: 10,
            this_update: 1_787_148_541,
            next_update: 1_791_072_000,
            revoked: &[(0x02_0001, 1_667_217_600)],
        };
        let ark = HEXUPPER
            .decode(b"9F5DF9FE0DD8F35AD0331A25EF81294FBE31A85B")
            .unwrap();
        let tbs = crl_tbs(AmdProduct::Genoa, &content, &ark);
        assert_eq!(HEXUPPER.encode(&tbs), GENUINE_CRL);
    }

    #[test]
    fn pss_parameters_are_genuine_in_both_forms() {
        let omitted = HEXUPPER.encode(&pss(false));
        assert!(GENUINE_CRL.contains(&omitted));
        // Of the ASK of Milan.
        assert_eq!(HEXUPPER.encode(&pss(true)), GENUINE_EXPLICIT_PSS);
        assert_ne!(omitted, GENUINE_EXPLICIT_PSS);
    }

    /// The VCEK of chip 59790fb1, 2026-02-05.
    const GENUINE_TURIN: &str = concat!(
        "3081D7301006092B060104019C7801010403020101301406092B060104019C780102040716",
        "05547572696E3011060A2B060104019C7801030904030201013011060A2B060104019C7801",
        "030104030201013011060A2B060104019C7801030204030201013011060A2B060104019C78",
        "01030304030201043011060A2B060104019C7801030504030201003011060A2B060104019C",
        "7801030604030201003011060A2B060104019C7801030704030201003011060A2B06010401",
        "9C780103080403020151301506092B060104019C780104040859790FB1C39F35C1",
    );
    /// The VCEK of chip 4ffb5cb4, 2026-02-05, up to its hwID.
    const GENUINE_MILAN: &str = concat!(
        "30820113301006092B060104019C7801010403020100301706092B060104019C780102040A",
        "16084D696C616E2D42303011060A2B060104019C7801030104030201043011060A2B060104",
        "019C7801030204030201003011060A2B060104019C7801030404030201003011060A2B0601",
        "04019C7801030504030201003011060A2B060104019C7801030604030201003011060A2B06",
        "0104019C7801030704030201003011060A2B060104019C7801030304030201183012060A2B",
        "060104019C780103080404020200DB304D06092B060104019C7801040440",
    );
    const MILAN_HWID: &str = concat!(
        "4FFB5CB4FD594F3FEE6528FC3FB10370BB38ABE89DCD5BA2CF0AB6A11DF2CA28",
        "2ADD516BEF45A890A8C9F9732BDCA68F9F3F16C42E846030A800295DBEB19BA5",
    );
    /// A VLEK of 2024-12-10.
    const GENUINE_VLEK: &str = concat!(
        "3081EF301006092B060104019C7801010403020100301406092B060104019C780102040716",
        "054D696C616E3011060A2B060104019C7801030104030201043011060A2B060104019C7801",
        "030204030201003011060A2B060104019C7801030404030201003011060A2B060104019C78",
        "01030504030201003011060A2B060104019C7801030604030201003011060A2B060104019C",
        "7801030704030201003011060A2B060104019C7801030304030201183012060A2B06010401",
        "9C780103080404020200D9302C06092B060104019C780105041F161D434E3D63632D75732D",
        "656173742D322E616D617A6F6E6177732E636F6D",
    );
    /// Genoa's CRL number 10, 2026-08-19, without its signature.
    const GENUINE_CRL: &str = concat!(
        "3082012A020101304106092A864886F70D01010A3034A00F300D06096086480165030402020500",
        "A11C301A06092A864886F70D010108300D06096086480165030402020500A203020130307B3114",
        "3012060355040B0C0B456E67696E656572696E67310B30090603550406130255533114301206",
        "035504070C0B53616E746120436C617261310B300906035504080C024341311F301D06035504",
        "0A0C16416476616E636564204D6963726F20446576696365733112301006035504030C094152",
        "4B2D47656E6F61170D3236303831393134303930315A170D3236313030343030303030305A30",
        "1630140203020001170D3232313033313132303030305AA02F302D301F0603551D2304183016",
        "80149F5DF9FE0DD8F35AD0331A25EF81294FBE31A85B300A0603551D14040302010A",
    );
    const GENUINE_EXPLICIT_PSS: &str = concat!(
        "304606092A864886F70D01010A3039A00F300D06096086480165030402020500A11C301A0609",
        "2A864886F70D010108300D06096086480165030402020500A203020130A303020101",
    );
}
