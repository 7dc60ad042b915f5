//! An AMD of our own for the tests: roots, ASKs and ASVKs with fresh RSA keys, virtual chips, and what they sign.
//!
//! DER is written here from RFC 5280 and spec/amd-kds-and-thim.md, without the crate under test, so that every field
//! of a certificate can be turned into its near miss. Keys have 2048 bits where AMD's have 4096: making them is the
//! dearest thing in these tests.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PSS_SHA384, RsaKeyPair,
};
use data_encoding::BASE64;
use der::asn1::ObjectIdentifier;
use thim_verify::UnixTime;
use thim_verify::amd::{
    Anchors, CertChain, EndorsementKind, Product, VerifiedAmd, parse_cert_chain, verify_cert_chain,
};

pub fn at(text: &str) -> UnixTime {
    text.parse().expect(text)
}

/// Within every certificate made here, unless it says otherwise.
pub fn now() -> UnixTime {
    at("2026-06-01T00:00:00Z")
}

pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let length: Vec<u8> = length.into_iter().skip_while(|b| *b == 0).collect();
            der.push(0x80 | u8::try_from(length.len()).expect("short"));
            der.extend(length);
        }
    }
    der.extend_from_slice(content);
    der
}

pub fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// Minimal, from unsigned big-endian bytes.
pub fn int(bytes: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
    if content.first().is_none_or(|first| *first >= 0x80) {
        content.insert(0, 0);
    }
    tlv(0x02, &content)
}

pub fn oid(dotted: &str) -> Vec<u8> {
    tlv(0x06, ObjectIdentifier::new_unwrap(dotted).as_bytes())
}

pub fn bits(content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], content].concat())
}

/// `YYMMDDhhmmssZ`
pub fn utc(text: &str) -> Vec<u8> {
    tlv(0x17, text.as_bytes())
}

/// AMD's order of attributes.
pub fn name(cn: &str) -> Vec<u8> {
    let part =
        |kind: &str, tag: u8, text: &str| tlv(0x31, &seq(&[oid(kind), tlv(tag, text.as_bytes())]));
    seq(&[
        part("2.5.4.11", 0x0c, "Engineering"),
        part("2.5.4.6", 0x13, "US"),
        part("2.5.4.7", 0x0c, "Santa Clara"),
        part("2.5.4.8", 0x0c, "CA"),
        part("2.5.4.10", 0x0c, "Advanced Micro Devices"),
        part("2.5.4.3", 0x0c, cn),
    ])
}

/// RSASSA-PSS parameters; `trailer` writes the default out.
pub fn pss(hash: &str, salt: u8, trailer: bool) -> Vec<u8> {
    let hash = || seq(&[oid(hash), tlv(0x05, &[])]);
    let mut fields = vec![
        tlv(0xa0, &hash()),
        tlv(0xa1, &seq(&[oid("1.2.840.113549.1.1.8"), hash()])),
        tlv(0xa2, &int(&[salt])),
    ];
    if trailer {
        fields.push(tlv(0xa3, &int(&[1])));
    }
    seq(&[oid("1.2.840.113549.1.1.10"), seq(&fields)])
}

pub const SHA384: &str = "2.16.840.1.101.3.4.2.2";
pub const SHA256: &str = "2.16.840.1.101.3.4.2.1";

pub struct RsaKey(RsaKeyPair);

impl RsaKey {
    pub fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key"))
    }

    pub fn spki(&self) -> Vec<u8> {
        seq(&[
            seq(&[oid("1.2.840.113549.1.1.1"), tlv(0x05, &[])]),
            bits(self.0.public_key().as_ref()),
        ])
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                &RSA_PSS_SHA384,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .expect("a signature");
        signature
    }
}

pub struct ChipKey(EcdsaKeyPair);

impl ChipKey {
    pub fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a P-384 key"))
    }

    pub fn point(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    pub fn spki(&self) -> Vec<u8> {
        ec_spki("1.3.132.0.34", &self.point())
    }

    /// `r || s`, big endian.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        signature.expect("a signature").as_ref().to_vec()
    }
}

pub fn ec_spki(curve: &str, point: &[u8]) -> Vec<u8> {
    seq(&[seq(&[oid("1.2.840.10045.2.1"), oid(curve)]), bits(point)])
}

/// What a certificate is made of; change a field and you have the near miss.
#[derive(Clone)]
pub struct Spec {
    pub version: Vec<u8>,
    pub serial: Vec<u8>,
    pub algorithm: Vec<u8>,
    pub outer_algorithm: Option<Vec<u8>>,
    pub issuer: Vec<u8>,
    pub subject: Vec<u8>,
    pub from: Vec<u8>,
    pub until: Vec<u8>,
    pub spki: Vec<u8>,
    pub extensions: Vec<Vec<u8>>,
}

pub fn extension(id: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut fields = vec![oid(id)];
    if critical {
        fields.push(tlv(0x01, &[0xff]));
    }
    fields.push(tlv(0x04, value));
    seq(&fields)
}

impl Spec {
    pub fn signed(&self, key: &RsaKey) -> Vec<u8> {
        let mut fields = vec![
            self.version.clone(),
            int(&self.serial),
            self.algorithm.clone(),
            self.issuer.clone(),
            seq(&[self.from.clone(), self.until.clone()]),
            self.subject.clone(),
            self.spki.clone(),
        ];
        if !self.extensions.is_empty() {
            fields.push(tlv(0xa3, &seq(&self.extensions)));
        }
        let tbs = seq(&fields);
        let outer = self.outer_algorithm.as_ref().unwrap_or(&self.algorithm);
        seq(&[tbs.clone(), outer.clone(), bits(&key.sign(&tbs))])
    }

    /// An authority as AMD's are: the default trailer written out.
    pub fn authority(cn: &str, issuer_cn: &str, serial: &[u8], key: &RsaKey) -> Self {
        let root = cn == issuer_cn;
        let constraints: &[u8] = if root {
            &[0x30, 0x03, 0x01, 0x01, 0xff]
        } else {
            &[0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00]
        };
        let usage: &[u8] = if root { CERT_AND_CRL_SIGN } else { CERT_SIGN };
        Self {
            version: tlv(0xa0, &int(&[2])),
            serial: serial.to_vec(),
            algorithm: pss(SHA384, 48, true),
            outer_algorithm: None,
            issuer: name(issuer_cn),
            subject: name(cn),
            from: utc("200101000000Z"),
            until: utc("450101000000Z"),
            spki: key.spki(),
            extensions: vec![
                extension(BASIC_CONSTRAINTS, true, constraints),
                extension(KEY_USAGE, true, usage),
            ],
        }
    }
}

pub const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub const KEY_USAGE: &str = "2.5.29.15";
pub const CERT_SIGN: &[u8] = &[0x03, 0x02, 0x02, 0x04];
pub const CERT_AND_CRL_SIGN: &[u8] = &[0x03, 0x02, 0x01, 0x06];

pub const ARC: &str = "1.3.6.1.4.1.3704.1";

/// The extensions of an endorsement certificate by their suffix; change one and you have the near miss.
#[derive(Clone)]
pub struct Stated(pub Vec<(&'static str, Vec<u8>)>);

impl Stated {
    /// Milan's and Genoa's: bl 3, tee 0, snp 8, ucode 115.
    pub fn milan(product: &str) -> Self {
        let mut all = Self(vec![("1", int(&[0])), ("2", tlv(0x16, product.as_bytes()))]);
        let levels = [
            ("3.1", 3),
            ("3.2", 0),
            ("3.4", 0),
            ("3.5", 0),
            ("3.6", 0),
            ("3.7", 0),
            ("3.3", 8),
            ("3.8", 115),
        ];
        all.0
            .extend(levels.map(|(suffix, value)| (suffix, int(&[value]))));
        all.0.push(("4", vec![0x5a; 64]));
        all
    }

    /// Turin's: fmc 1, bl 1, tee 1, snp 4, ucode 81.
    pub fn turin() -> Self {
        let mut all = Self(vec![("1", int(&[1])), ("2", tlv(0x16, b"Turin"))]);
        let levels = [
            ("3.9", 1),
            ("3.1", 1),
            ("3.2", 1),
            ("3.3", 4),
            ("3.5", 0),
            ("3.6", 0),
            ("3.7", 0),
            ("3.8", 81),
        ];
        all.0
            .extend(levels.map(|(suffix, value)| (suffix, int(&[value]))));
        all.0.push(("4", vec![0x5a; 8]));
        all
    }

    pub fn vlek() -> Self {
        Self::milan("Milan")
            .without("4")
            .with("5", tlv(0x16, b"CN=cloud.example"))
    }

    /// Puts a value in the place of another, or at the end.
    pub fn with(mut self, suffix: &'static str, value: Vec<u8>) -> Self {
        match self.0.iter_mut().find(|(one, _)| *one == suffix) {
            Some((_, old)) => *old = value,
            None => self.0.push((suffix, value)),
        }
        self
    }

    pub fn without(mut self, suffix: &str) -> Self {
        let before = self.0.len();
        self.0.retain(|(one, _)| *one != suffix);
        assert_eq!(self.0.len() + 1, before, "{suffix}");
        self
    }

    pub fn extensions(&self) -> Vec<Vec<u8>> {
        let all = self.0.iter();
        all.map(|(suffix, value)| extension(&format!("{ARC}.{suffix}"), false, value))
            .collect()
    }
}

/// One product's hierarchy.
pub struct Pki {
    pub product: Product,
    pub ark_key: RsaKey,
    pub ark: Vec<u8>,
    pub ask_key: RsaKey,
    pub ask: Vec<u8>,
    pub asvk_key: RsaKey,
    pub asvk: Vec<u8>,
    pub chip: ChipKey,
}

pub const ASK_SERIAL: &[u8] = &[0x01, 0x00, 0x01];

impl Pki {
    pub fn new(product: Product) -> Self {
        let (ark_key, ask_key, asvk_key) = (RsaKey::new(), RsaKey::new(), RsaKey::new());
        let ark = format!("ARK-{product}");
        let certificate = |cn: &str, serial: &[u8], key: &RsaKey| {
            Spec::authority(cn, &ark, serial, key).signed(&ark_key)
        };
        Self {
            product,
            ark: certificate(&ark, &[0x01, 0x00, 0x00], &ark_key),
            ask: certificate(&format!("SEV-{product}"), ASK_SERIAL, &ask_key),
            asvk: certificate(
                &format!("SEV-VLEK-{product}"),
                &[0x01, 0x01, 0x01],
                &asvk_key,
            ),
            ark_key,
            ask_key,
            asvk_key,
            chip: ChipKey::new(),
        }
    }

    pub fn anchors(&self) -> Anchors {
        Anchors::from_pem(pem(&self.ark).as_bytes()).expect("anchors")
    }

    pub fn parsed(&self, kind: EndorsementKind) -> CertChain {
        let issuing = match kind {
            EndorsementKind::Vcek => &self.ask,
            EndorsementKind::Vlek => &self.asvk,
        };
        parse_cert_chain((pem(issuing) + &pem(&self.ark)).as_bytes()).expect("a chain")
    }

    pub fn chain(&self, kind: EndorsementKind) -> VerifiedAmd<CertChain> {
        let (chain, anchors) = (self.parsed(kind), self.anchors());
        verify_cert_chain(chain, self.product, kind, None, &anchors, now()).expect("a chain")
    }

    /// A VCEK before it is signed with `ask_key`.
    pub fn vcek(&self, stated: &Stated) -> Spec {
        Spec {
            version: tlv(0xa0, &int(&[2])),
            serial: vec![0],
            algorithm: pss(SHA384, 48, false),
            outer_algorithm: None,
            issuer: name(&format!("SEV-{}", self.product)),
            subject: name("SEV-VCEK"),
            from: utc("260101000000Z"),
            until: utc("330101000000Z"),
            spki: self.chip.spki(),
            extensions: stated.extensions(),
        }
    }

    /// A VLEK before it is signed with `asvk_key`.
    pub fn vlek(&self, stated: &Stated) -> Spec {
        Spec {
            issuer: name(&format!("SEV-VLEK-{}", self.product)),
            subject: name("SEV-VLEK"),
            ..self.vcek(stated)
        }
    }

    pub fn crl(&self, list: &List) -> Vec<u8> {
        list.signed(&self.ark_key)
    }

    pub fn list(&self) -> List {
        List {
            version: int(&[1]),
            algorithm: pss(SHA384, 48, false),
            issuer: name(&format!("ARK-{}", self.product)),
            this_update: Some(utc("260501000000Z")),
            next_update: Some(utc("260701000000Z")),
            entries: Vec::new(),
            extensions: vec![extension(CRL_NUMBER, false, &int(&[7]))],
        }
    }
}

pub const CRL_NUMBER: &str = "2.5.29.20";

/// What a revocation list is made of.
#[derive(Clone)]
pub struct List {
    pub version: Vec<u8>,
    pub algorithm: Vec<u8>,
    pub issuer: Vec<u8>,
    pub this_update: Option<Vec<u8>>,
    pub next_update: Option<Vec<u8>>,
    pub entries: Vec<Vec<u8>>,
    pub extensions: Vec<Vec<u8>>,
}

impl List {
    pub fn revoking(mut self, serials: &[&[u8]]) -> Self {
        let date = || utc("260501000000Z");
        let entries = serials.iter().map(|serial| seq(&[int(serial), date()]));
        self.entries.extend(entries);
        self
    }

    pub fn signed(&self, key: &RsaKey) -> Vec<u8> {
        let mut fields = vec![
            self.version.clone(),
            self.algorithm.clone(),
            self.issuer.clone(),
        ];
        fields.extend(self.this_update.clone());
        fields.extend(self.next_update.clone());
        if !self.entries.is_empty() {
            fields.push(seq(&self.entries));
        }
        if !self.extensions.is_empty() {
            fields.push(tlv(0xa0, &seq(&self.extensions)));
        }
        let tbs = seq(&fields);
        seq(&[tbs.clone(), self.algorithm.clone(), bits(&key.sign(&tbs))])
    }
}

pub fn pem(der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let lines = base64.as_bytes().chunks(64);
    let lines: Vec<&str> = lines
        .map(|l| std::str::from_utf8(l).expect("ASCII"))
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

pub static MILAN: LazyLock<Pki> = LazyLock::new(|| Pki::new(Product::Milan));
pub static TURIN: LazyLock<Pki> = LazyLock::new(|| Pki::new(Product::Turin));
/// The same names as [`MILAN`], other keys.
pub static IMPOSTOR: LazyLock<Pki> = LazyLock::new(|| Pki::new(Product::Milan));
