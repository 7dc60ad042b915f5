//! Evidence of a vendor of our own: quotes of all versions and bodies with the collateral they are judged by, from a
//! recipe. Change one thing in the recipe and you have the near miss, signed like the good one.
//!
//! The layouts are those of spec/intel-verification.md, section 1. What is signed twice over the same bytes has the
//! same signature, so that a verifier that remembers has something to remember.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod faults;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{HEXLOWER, HEXUPPER};
use rcgen::KeyPair;
use serde_json::{Value, json};
use thim_verify::{Certificate, Issuers, PckCertificate, UnixTime};

use crate::pki::pck::{self, leaf_for, leaf_profile, sequence};
use crate::pki::{
    Day, PLATFORM, PROCESSOR, Pki, Profile, ROOT, TCB_SIGNING, at, crl, issued, key, profile,
    raw_signature, self_signed,
};

/// The instant of the judgement.
pub const AT: &str = "2026-03-15T00:00:00Z";

/// The keys, and what they signed already.
pub struct Vendor {
    pub pki: Pki,
    leaf_key: KeyPair,
    other_key: KeyPair,
    attestation_key: KeyPair,
    processor_key: KeyPair,
    memory: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

/// What is quoted.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Body {
    Sgx,
    Td10,
    Td15,
    Td15Extended,
}

/// How the PCK certificate stands in the quote.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Certified {
    /// Types 1 to 3.
    ByName(u16),
    /// Type 5.
    Chain,
    /// Type 4.
    Leaf,
    /// Type 7.
    Manifest,
}

/// A revocation list.
#[derive(Clone, Debug)]
pub struct List {
    pub this: Day,
    pub next: Day,
    pub revoked: Vec<Vec<u8>>,
}

/// Everything that evidence is made of.
#[derive(Clone)]
pub struct Recipe {
    pub version: u16,
    pub body: Body,
    pub report: Vec<u8>,
    pub vendor_id: [u8; 16],
    pub qe_report: Vec<u8>,
    pub auth_data: Vec<u8>,
    pub certified: Certified,
    pub leaf: Profile<'static>,
    pub leaf_items: Vec<Vec<u8>>,
    pub authority: Profile<'static>,
    pub root: Profile<'static>,
    pub signer: Profile<'static>,
    pub tcb_info: String,
    pub qe_identity: String,
    pub root_crl: List,
    pub pck_crl: List,
    /// The list is the Processor CA's.
    pub another_list: bool,
    /// The QE report is signed by another key than the PCK certificate's.
    pub another_pck_key: bool,
    /// The QE report says nothing of the attestation key.
    pub unbound: bool,
    /// The quote's signature is over other bytes.
    pub unsigned: bool,
    pub trailing: Vec<u8>,
}

/// Evidence as a verifier gets it.
pub struct Made {
    pub quote: Vec<u8>,
    pub fields: Value,
    pub leaf: PckCertificate,
}

impl Default for Vendor {
    fn default() -> Self {
        Self::new()
    }
}

impl Vendor {
    pub fn new() -> Self {
        Self {
            pki: Pki::new(),
            leaf_key: key(),
            other_key: key(),
            attestation_key: key(),
            processor_key: key(),
            memory: Mutex::default(),
        }
    }

    pub fn issuers(&self) -> Issuers {
        self.pki.issuers()
    }

    /// What `make` made the first time for the same `name`.
    fn once(&self, name: &[&[u8]], make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.entry(name.join(&b'/')).or_insert_with(make).clone()
    }

    fn signature(&self, key: &KeyPair, message: &[u8]) -> Vec<u8> {
        self.once(&[b"signature", key.public_key_raw(), message], || {
            let hex = raw_signature(key, message);
            HEXLOWER.decode(hex.as_bytes()).expect("hex")
        })
    }

    fn certificate(&self, profile: &Profile<'_>, key: &KeyPair) -> Certificate {
        let name = format!("{} {:?} {:?}", profile.cn, profile.from, profile.to);
        let der = self.once(&[b"certificate", name.as_bytes(), profile.serial], || {
            let made = match profile.cn {
                ROOT => self_signed(profile, key),
                _ => issued(profile, key, ROOT, &self.pki.root_key),
            };
            made.der().to_vec()
        });
        Certificate::from_der(&der).expect("a certificate")
    }

    /// The evidence of a recipe.
    pub fn make(&self, recipe: &Recipe) -> Made {
        let leaf = self.leaf(recipe);
        let root = self.certificate(&recipe.root, &self.pki.root_key);
        let authority = self.certificate(&recipe.authority, &self.pki.platform_key);
        let chain = [&leaf, &authority, &root].map(Certificate::to_pem).concat();
        let signer = self.certificate(&recipe.signer, &self.pki.tcb_key);
        let signers = [&signer, &root].map(Certificate::to_pem).concat();
        let list = |cn: &str, key: &KeyPair, list: &List| {
            let name = format!("{cn} {list:?}");
            let revoked: Vec<&[u8]> = list.revoked.iter().map(Vec::as_slice).collect();
            let der = self.once(&[b"list", name.as_bytes()], || {
                crl(cn, key, list.this, list.next, 1, &revoked)
            });
            HEXLOWER.encode(&der)
        };
        let (pck_crl, pck_crl_issuer) = if recipe.another_list {
            let processor = self.certificate(&profile(PROCESSOR, true), &self.processor_key);
            let list = list(PROCESSOR, &self.processor_key, &recipe.pck_crl);
            (list, processor)
        } else {
            let list = list(PLATFORM, &self.pki.platform_key, &recipe.pck_crl);
            (list, authority)
        };
        let list_signers = [&pck_crl_issuer, &root].map(Certificate::to_pem).concat();
        let sign = |text: &str| {
            let signature = self.signature(&self.pki.tcb_key, text.as_bytes());
            HEXLOWER.encode(&signature)
        };
        let fields = json!({
            "pck_crl_issuer_chain": list_signers,
            "root_ca_crl": list(ROOT, &self.pki.root_key, &recipe.root_crl),
            "pck_crl": pck_crl,
            "tcb_info_issuer_chain": signers,
            "tcb_info": recipe.tcb_info,
            "tcb_info_signature": sign(&recipe.tcb_info),
            "qe_identity_issuer_chain": signers,
            "qe_identity": recipe.qe_identity,
            "qe_identity_signature": sign(&recipe.qe_identity),
        });
        Made {
            quote: self.quote(recipe, &leaf, &chain),
            fields,
            leaf: PckCertificate::from_certificate(leaf).expect("a PCK certificate"),
        }
    }

    fn leaf(&self, recipe: &Recipe) -> Certificate {
        let extension = sequence(&recipe.leaf_items);
        let Profile {
            cn,
            from,
            to,
            serial,
            ..
        } = &recipe.leaf;
        let name = format!("{cn} {from:?} {to:?}");
        let der = self.once(&[b"leaf", name.as_bytes(), serial, &extension], || {
            let key = &self.leaf_key;
            let authority = &self.pki.platform_key;
            leaf_for(
                key,
                &recipe.leaf,
                Some(extension.clone()),
                PLATFORM,
                authority,
            )
        });
        Certificate::from_der(&der).expect("a leaf")
    }

    fn quote(&self, recipe: &Recipe, leaf: &Certificate, chain: &str) -> Vec<u8> {
        let mut quote = Vec::new();
        quote.extend(recipe.version.to_le_bytes());
        quote.extend(2_u16.to_le_bytes());
        quote.extend(recipe.body.tee_type().to_le_bytes());
        quote.extend([0; 4]);
        quote.extend(recipe.vendor_id);
        quote.extend([0x1d; 20]);
        if recipe.version == 5 {
            quote.extend(recipe.body.number().to_le_bytes());
            quote.extend(length(&recipe.report));
        }
        quote.extend(&recipe.report);
        let mut signed = quote.clone();
        if recipe.unsigned {
            signed.push(0);
        }
        let point = self.attestation_key.public_key_raw();
        let attestation_key = &point[point.len() - 64..];
        let mut qe_report = recipe.qe_report.clone();
        if !recipe.unbound {
            let bound = digest(&SHA256, &[attestation_key, &recipe.auth_data].concat());
            qe_report[320..352].copy_from_slice(bound.as_ref());
        }
        let pck_key = if recipe.another_pck_key {
            &self.other_key
        } else {
            &self.leaf_key
        };
        let auth_bytes = u16::try_from(recipe.auth_data.len()).expect("a short one");
        let data = recipe.certified.data(leaf, chain);
        let inside = [
            &qe_report[..],
            &self.signature(pck_key, &qe_report),
            &auth_bytes.to_le_bytes(),
            &recipe.auth_data,
            &recipe.certified.number().to_le_bytes(),
            &length(&data),
            &data,
        ]
        .concat();
        let mut section = self.signature(&self.attestation_key, &signed);
        section.extend(attestation_key);
        if recipe.version > 3 {
            section.extend(6_u16.to_le_bytes());
            section.extend(length(&inside));
        }
        section.extend(inside);
        quote.extend(length(&section));
        quote.extend(section);
        quote.extend(&recipe.trailing);
        quote
    }
}

impl Body {
    /// Each with the versions that have it.
    pub const ALL: [(u16, Self); 7] = [
        (3, Self::Sgx),
        (4, Self::Sgx),
        (4, Self::Td10),
        (5, Self::Sgx),
        (5, Self::Td10),
        (5, Self::Td15),
        (5, Self::Td15Extended),
    ];

    fn number(self) -> u16 {
        match self {
            Self::Sgx => 1,
            Self::Td10 => 2,
            Self::Td15 => 3,
            Self::Td15Extended => 4,
        }
    }

    fn tee_type(self) -> u32 {
        match self {
            Self::Sgx => 0,
            Self::Td10 | Self::Td15 | Self::Td15Extended => 0x81,
        }
    }

    fn report(self) -> Vec<u8> {
        let bytes = match self {
            Self::Sgx => return enclave(0x07, 1, 1),
            Self::Td10 => 584,
            Self::Td15 => 648,
            Self::Td15Extended => 885,
        };
        let mut report = vec![0; bytes];
        report[..3].copy_from_slice(&TEE_TCB_SVN);
        // SEPT_VE_DISABLE, PKS.
        report[123] = 0x50;
        report[128] = 0xe7;
        report[136..184].fill(0x3a);
        if bytes > 584 {
            report[584..587].copy_from_slice(&TEE_TCB_SVN);
        }
        report
    }
}

impl Certified {
    fn number(self) -> u16 {
        match self {
            Self::ByName(number) => number,
            Self::Chain => 5,
            Self::Leaf => 4,
            Self::Manifest => 7,
        }
    }

    fn data(self, leaf: &Certificate, chain: &str) -> Vec<u8> {
        let ppid_bytes = match self {
            Self::ByName(1) => 16,
            Self::ByName(2) => 256,
            Self::ByName(_) => 384,
            Self::Chain => return chain.as_bytes().to_vec(),
            Self::Leaf => return leaf.to_pem().into_bytes(),
            Self::Manifest => return vec![0x7e; 900],
        };
        let mut data = vec![0xc1; ppid_bytes];
        data.extend(pck::CPU_SVN);
        data.extend(pck::PCE_SVN.to_le_bytes());
        data.extend([0; 2]);
        data
    }
}

impl Recipe {
    /// Evidence with nothing wrong.
    pub fn good(version: u16, body: Body) -> Self {
        let is_sgx = body == Body::Sgx;
        let (enclave_id, product) = if is_sgx { ("QE", 1) } else { ("TD_QE", 2) };
        Self {
            version,
            body,
            report: body.report(),
            vendor_id: VENDOR_ID,
            qe_report: enclave(0x15, product, 8),
            auth_data: (0..32).collect(),
            certified: Certified::Chain,
            leaf: leaf_profile(),
            leaf_items: pck::items(),
            authority: profile(PLATFORM, true),
            root: profile(ROOT, true),
            signer: profile(TCB_SIGNING, false),
            tcb_info: tcb_info(is_sgx),
            qe_identity: qe_identity(enclave_id, product),
            root_crl: List {
                this: (2026, 1, 1),
                next: (2027, 1, 1),
                revoked: Vec::new(),
            },
            pck_crl: List {
                this: (2026, 3, 1),
                next: (2026, 3, 31),
                revoked: vec![vec![0x77]],
            },
            another_list: false,
            another_pck_key: false,
            unbound: false,
            unsigned: false,
            trailing: Vec::new(),
        }
    }

    pub fn now() -> UnixTime {
        at(AT)
    }

    /// Puts bytes into the report.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.report[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Replaces a piece of the TCB info that is there.
    pub fn info(&mut self, from: &str, to: &str) {
        assert!(self.tcb_info.contains(from), "{from}");
        self.tcb_info = self.tcb_info.replace(from, to);
    }

    /// Replaces a piece of the identity that is there.
    pub fn identity(&mut self, from: &str, to: &str) {
        assert!(self.qe_identity.contains(from), "{from}");
        self.qe_identity = self.qe_identity.replace(from, to);
    }
}

/// An enclave's report: flags of its attributes, product id, security version.
fn enclave(flags: u8, product: u8, svn: u8) -> Vec<u8> {
    let mut report = vec![0; 384];
    report[..16].copy_from_slice(&pck::CPU_SVN);
    report[48] = flags & !2;
    report[56] = 0xe7;
    report[64..96].fill(0x2b);
    report[128..160].copy_from_slice(&QE_SIGNER);
    report[256] = product;
    report[258] = svn;
    report
}

fn tcb_info(is_sgx: bool) -> String {
    let components = |first: &[u8]| {
        let all = (0..16).map(|at| {
            let svn = first.get(at).copied().unwrap_or_default();
            format!("{{\"svn\":{svn}}}")
        });
        all.collect::<Vec<_>>().join(",")
    };
    let level = |svn: u8, tdx: u8, status: &str, advisories: &str| {
        let tdx = if is_sgx {
            String::new()
        } else {
            format!("\"tdxtcbcomponents\":[{}],", components(&[0, 0, tdx]))
        };
        format!(
            "{{\"tcb\":{{\"sgxtcbcomponents\":[{}],{tdx}\"pcesvn\":13}},\
             \"tcbDate\":\"2025-05-14T00:00:00Z\",\"tcbStatus\":\"{status}\",\"advisoryIDs\":[{advisories}]}}",
            components(&[svn, svn])
        )
    };
    let zeros = |count: usize| "0".repeat(count);
    let module = format!(
        "\"mrsigner\":\"{}\",\"attributes\":\"{}\",\"attributesMask\":\"FFFFFFFFFFFFFFFF\"",
        zeros(96),
        zeros(16)
    );
    let modules = if is_sgx {
        String::new()
    } else {
        format!(
            "\"tdxModule\":{{{module}}},\"tdxModuleIdentities\":[{{\"id\":\"TDX_01\",{module},\"tcbLevels\":[\
             {{\"tcb\":{{\"isvsvn\":6}},\"tcbDate\":\"2025-05-14T00:00:00Z\",\"tcbStatus\":\"UpToDate\"}},\
             {{\"tcb\":{{\"isvsvn\":4}},\"tcbDate\":\"2024-05-14T00:00:00Z\",\"tcbStatus\":\"OutOfDate\",\
             \"advisoryIDs\":[\"INTEL-SA-00003\"]}}]}}],"
        )
    };
    format!(
        "{{\"id\":\"{}\",\"version\":3,\"issueDate\":\"2026-03-01T00:00:00Z\",\"nextUpdate\":\"2026-03-31T00:00:00Z\",\
         \"fmspc\":\"{}\",\"pceId\":\"0000\",\"tcbType\":0,\"tcbEvaluationDataNumber\":19,{modules}\"tcbLevels\":[{},{}]}}",
        if is_sgx { "SGX" } else { "TDX" },
        HEXUPPER.encode(&pck::FMSPC),
        level(11, 3, "UpToDate", ""),
        level(9, 2, "OutOfDate", "\"INTEL-SA-00001\""),
    )
}

fn qe_identity(id: &str, product: u8) -> String {
    format!(
        "{{\"id\":\"{id}\",\"version\":2,\"issueDate\":\"2026-03-01T00:00:00Z\",\"nextUpdate\":\"2026-03-31T00:00:00Z\",\
         \"tcbEvaluationDataNumber\":19,\"miscselect\":\"00000000\",\"miscselectMask\":\"FFFFFFFF\",\
         \"attributes\":\"11000000000000000000000000000000\",\"attributesMask\":\"FBFFFFFFFFFFFFFF0000000000000000\",\
         \"mrsigner\":\"{}\",\"isvprodid\":{product},\"tcbLevels\":[\
         {{\"tcb\":{{\"isvsvn\":8}},\"tcbDate\":\"2025-05-14T00:00:00Z\",\"tcbStatus\":\"UpToDate\"}},\
         {{\"tcb\":{{\"isvsvn\":6}},\"tcbDate\":\"2024-05-14T00:00:00Z\",\"tcbStatus\":\"OutOfDate\",\
         \"advisoryIDs\":[\"INTEL-SA-00002\"]}}]}}",
        HEXUPPER.encode(&QE_SIGNER)
    )
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("few").to_le_bytes()
}

const VENDOR_ID: [u8; 16] = 0x939a_7233_f79c_4ca9_940a_0db3_957f_0607_u128.to_be_bytes();
const QE_SIGNER: [u8; 32] = [0x8c; 32];
/// Module 1 with security version 6, microcode 3.
const TEE_TCB_SVN: [u8; 3] = [6, 1, 3];
