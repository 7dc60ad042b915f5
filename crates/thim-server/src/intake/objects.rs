//! The signed objects in one file, whatever container it is: a vendor's or cache's JSON answer, a revocation list
//! (DER, PEM, hex), a quote-verification bundle (the nine-field JSON of many verifiers), a PCCS
//! `platform_collaterals.json` (its collateral part; `spec/intel-pcs-and-pccs.md` section 3.2). AMD's are in `amd`.
//!
//! The exact text of each object is kept. A file that claims to be collateral and cannot be read is a [`Flaw`];
//! one that claims nothing is of no interest, and is what an import counts as ignored. Certificates are issuer
//! material, not objects; PCK certificates of platforms are none of ours here. Certificates of AMD's chips are no
//! objects either: what answers for a chip has no key that may be shown.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use thim_verify::{
    Artefact, Certificate, Error, Issuers, Kind, SignedMember, UnixTime, Unverified, Verified,
    compacted, parse, parse_detached,
};

use super::amd::{FoundAuthority, FoundEndorsement, VCEK_CERT, list_at};
use super::cert_table;
use super::forms::{self, CERTIFICATE, CRL};
use super::json::{self, Members};

/// One signed object, read and not yet believed.
#[derive(Debug)]
pub struct Object {
    /// `file`, or `file#member`.
    pub path: String,
    /// The object.
    pub unverified: Unverified,
    /// The certificates its container gives for it.
    pub delivered: Arc<[Certificate]>,
    /// `standard` or `early` where the container says so.
    pub called: Option<&'static str>,
    /// True for a chain of AMD's that was put together here: the key server's own file goes before it.
    pub joined: bool,
}

impl Object {
    /// Verifies it as an import does: the exact text, and where that does not verify its compact form.
    ///
    /// # Errors
    /// Those of the exact text.
    pub fn verified(
        &self,
        issuers: &Issuers,
        root_crl: Option<&Verified<Artefact>>,
        at: UnixTime,
    ) -> Result<Verified<Artefact>, Error> {
        let judge = |unverified: Unverified| {
            thim_verify::verify(unverified, &self.delivered, issuers, root_crl, at)
        };
        let exact = judge(self.unverified.clone());
        match &exact {
            Err(Error::SignatureInvalid { .. }) => match compacted(&self.unverified).map(judge) {
                Some(Ok(compact)) => Ok(compact),
                Some(Err(_)) | None => exact,
            },
            _ => exact,
        }
    }
}

/// Something that claims to be collateral and cannot be read.
#[derive(Debug)]
pub struct Flaw {
    /// `file`, or `file#member`.
    pub path: String,
    /// The kind it claims to be.
    pub kind: &'static str,
    /// Why it cannot be read.
    pub error: Error,
    /// What stood there.
    pub body: Bytes,
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Found {
    /// Certificates that may be issuers.
    pub certificates: Vec<Certificate>,
    /// Signed objects.
    pub objects: Vec<Object>,
    /// Certificates of AMD's chips and of clouds.
    pub endorsements: Vec<FoundEndorsement>,
    /// AMD's authorities, in chains or alone.
    pub(super) authorities: Vec<FoundAuthority>,
    /// What cannot be read.
    pub flaws: Vec<Flaw>,
}

/// Finds everything of use in a file.
pub fn find(path: &str, bytes: &Bytes) -> Found {
    let mut found = Found::default();
    let body = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
    match std::str::from_utf8(body) {
        Ok(text) => found.text(path, text),
        Err(_) => found.binary(path, body),
    }
    found
}

impl Found {
    /// Whether there is nothing of use.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
            && self.objects.is_empty()
            && self.endorsements.is_empty()
            && self.authorities.is_empty()
            && self.flaws.is_empty()
    }

    /// Takes over what another file holds.
    pub fn append(&mut self, mut other: Self) {
        self.certificates.append(&mut other.certificates);
        self.objects.append(&mut other.objects);
        self.endorsements.append(&mut other.endorsements);
        self.authorities.append(&mut other.authorities);
        self.flaws.append(&mut other.flaws);
    }

    fn text(&mut self, path: &str, text: &str) {
        let trimmed = text.trim_ascii();
        match trimmed.bytes().next() {
            Some(b'{') => self.object(path, trimmed),
            Some(b'[') => self.array(path, trimmed),
            // Short DER may well be valid UTF-8.
            Some(0x30) if forms::begins_as_crl(text.as_bytes()) => {
                self.binary(path, text.as_bytes())
            }
            Some(b'3') if forms::from_hex(trimmed).is_some() => self.hex(path, trimmed),
            Some(_) if text.contains("-----BEGIN") => self.pem(path, text),
            // A guest's security context.
            Some(b'e') => {
                if let Some(object) = forms::object_in_base64(trimmed)
                    && VCEK_CERT.into_iter().any(|name| object.contains(name))
                {
                    self.object(path, &object);
                }
            }
            Some(_) | None => {}
        }
    }

    /// DER, or nothing of ours: a quote has PEM inside, and is evidence, not collateral.
    fn binary(&mut self, path: &str, bytes: &[u8]) {
        if bytes.first() == Some(&0x30) {
            if forms::begins_as_crl(bytes) {
                self.list_alone(path, bytes);
            } else if let Ok(certificate) = Certificate::from_der(bytes) {
                self.issuers([certificate]);
            } else {
                self.amd_der(path, bytes);
            }
        } else if cert_table::begins_as_table(bytes) {
            self.cert_table(path, bytes);
        } else if bytes.trim_ascii_start().first() == Some(&b'{')
            && let Some(kind) = claim(&String::from_utf8_lossy(bytes))
        {
            self.flaw(path, kind, format("not UTF-8"), bytes);
        }
    }

    fn hex(&mut self, path: &str, text: &str) {
        let Some(der) = forms::from_hex(text) else {
            return;
        };
        if forms::begins_as_crl(&der) {
            let digits: String = text.split_ascii_whitespace().collect();
            self.take(
                path,
                CRL_KIND,
                list_at(path, digits.as_bytes()),
                text.as_bytes(),
                &Arc::default(),
                None,
            );
        } else {
            self.binary(path, &der);
        }
    }

    fn pem(&mut self, path: &str, text: &str) {
        let text = forms::unescaped(text);
        let blocks = forms::pem_blocks(&text);
        let certificates = blocks.iter().filter(|block| block.label == CERTIFICATE);
        let delivered: Arc<[Certificate]> = certificates
            .filter_map(|block| Certificate::from_pem_bundle(block.text.as_bytes()).ok())
            .flatten()
            .collect();
        self.issuers(delivered.iter().cloned());
        self.amd_pem(path, &text, &blocks);
        let lists: Vec<_> = blocks.iter().filter(|block| block.label == CRL).collect();
        for (place, block) in lists.iter().enumerate() {
            let path = if lists.len() == 1 {
                Cow::Borrowed(path)
            } else {
                format!("{path}#crl[{place}]").into()
            };
            self.take(
                &path,
                CRL_KIND,
                list_at(&path, block.text.as_bytes()),
                block.text.as_bytes(),
                &delivered,
                None,
            );
        }
        if lists.is_empty() && text.contains("-----BEGIN X509 CRL-----") {
            self.flaw(
                path,
                CRL_KIND,
                Error::Format {
                    what: "PEM".to_owned(),
                    why: "a CRL block without its end".to_owned(),
                },
                text.as_bytes(),
            );
        }
    }

    fn array(&mut self, path: &str, text: &str) {
        match json::elements(text) {
            // PCK certificate lists are arrays too; only elements that are objects with our names are ours.
            Ok(elements) => {
                for (place, element) in elements
                    .into_iter()
                    .enumerate()
                    .filter(|(_, element)| element.starts_with('{'))
                {
                    self.object(&format!("{path}#[{place}]"), element);
                }
            }
            Err(error) => self.unread(path, text, &error),
        }
    }

    fn object(&mut self, path: &str, text: &str) {
        let members = match Members::read(text) {
            Ok(members) => members,
            Err(error) => return self.unread(path, text, &error),
        };
        if SignedMember::ALL
            .into_iter()
            .any(|member| members.has(member.name()))
        {
            self.envelope(path, text, &members);
        } else if let Some(inner) = members.get("collaterals") {
            match Members::read(inner) {
                Ok(collaterals) => self.pccs(path, &collaterals),
                Err(error) => self.unread(path, text, &error),
            }
        } else if members.has("tcbinfos") || members.has("pckcacrl") {
            self.pccs(path, &members);
        } else if VCEK_CERT.into_iter().any(|name| members.has(name)) {
            self.certification(path, &members);
        } else if BUNDLE_MEMBERS.into_iter().any(|name| members.has(name)) {
            self.bundle(path, &members);
        }
    }

    /// `{"tcbInfo":{...},"signature":"..."}` and its siblings, with or without other members beside.
    fn envelope(&mut self, path: &str, text: &str, members: &Members<'_>) {
        let mut signed = SignedMember::ALL
            .into_iter()
            .filter_map(|member| Some((member, members.get(member.name())?)));
        let kind = claim(text).unwrap_or(FILE_KIND);
        let beside = members
            .iter()
            .any(|(name, _)| name != "signature" && SignedMember::from_name(name).is_none());
        let mut delivered: Arc<[Certificate]> = Arc::default();
        let result = match (signed.next(), signed.next(), members.get("signature")) {
            (Some((member, exact)), None, Some(signature)) if beside => {
                delivered = members
                    .iter()
                    .filter(|(_, value)| value.contains("-----BEGIN"))
                    .filter_map(|(_, value)| json::text_of(value).ok())
                    .flat_map(|text| forms::certificates(&text))
                    .collect();
                json::text_of(signature)
                    .map_err(|error| format(&error.to_string()))
                    .and_then(|signature| parse_detached(member, exact.as_bytes(), &signature))
            }
            _ => parse(text.as_bytes()),
        };
        self.issuers(delivered.iter().cloned());
        self.take(path, kind, result, text.as_bytes(), &delivered, None);
    }

    /// The nine fields: two CRLs, TCB info and QE identity with their signatures, three chains.
    fn bundle(&mut self, path: &str, members: &Members<'_>) {
        let chain = |name: &str| chain_of(members.get(name));
        let pck_chain = chain("pck_crl_issuer_chain");
        for name in ["root_ca_crl", "pck_crl"] {
            if let Some(value) = members.get(name) {
                self.list(&format!("{path}#{name}"), value, &pck_chain);
            }
        }
        for (name, member, kind) in [
            ("tcb_info", SignedMember::TcbInfo, Kind::TcbInfo),
            (
                "qe_identity",
                SignedMember::EnclaveIdentity,
                Kind::EnclaveIdentity,
            ),
        ] {
            let Some(value) = members.get(name) else {
                continue;
            };
            let signature = members.get(&format!("{name}_signature"));
            let result = json::text_of(value)
                .map_err(|error| format(&error.to_string()))
                .and_then(|text| match signature {
                    Some(signature) => json::text_of(signature)
                        .map_err(|error| format(&error.to_string()))
                        .and_then(|signature| {
                            parse_detached(member, text.trim_ascii().as_bytes(), &signature)
                        }),
                    // Intel's own structure has the whole answer here.
                    None => parse(text.as_bytes()),
                });
            let delivered = chain(&format!("{name}_issuer_chain"));
            self.issuers(delivered.iter().cloned());
            self.take(
                &format!("{path}#{name}"),
                kind.name(),
                result,
                value.as_bytes(),
                &delivered,
                None,
            );
        }
        self.issuers(pck_chain.iter().cloned());
    }

    /// The collateral part of what PCCS's administration tool exports.
    fn pccs(&mut self, path: &str, members: &Members<'_>) {
        let part = |name: &str| {
            members
                .get(name)
                .and_then(|value| Members::read(value).ok())
        };
        let chains = part("certificates");
        let chain = |name: &str| chain_of(chains.as_ref().and_then(|chains| chains.get(name)));
        let pck_chains = chains
            .as_ref()
            .and_then(|chains| Members::read(chains.get("SGX-PCK-Certificate-Issuer-Chain")?).ok());
        let pck_chain =
            |name: &str| chain_of(pck_chains.as_ref().and_then(|chains| chains.get(name)));
        let tcb_chain: Arc<[Certificate]> = TCB_CHAINS
            .into_iter()
            .flat_map(|name| chain(name).iter().cloned().collect::<Vec<_>>())
            .collect();
        let identity_chain = chain("SGX-Enclave-Identity-Issuer-Chain");
        let (processor, platform) = (pck_chain("PROCESSOR"), pck_chain("PLATFORM"));
        for chain in [&tcb_chain, &identity_chain, &processor, &platform] {
            self.issuers(chain.iter().cloned());
        }
        if let Some(value) = members.get("rootcacrl") {
            self.list(&format!("{path}#rootcacrl"), value, &Arc::default());
        }
        if let Some(lists) = part("pckcacrl") {
            for (name, chain) in [("processorCrl", &processor), ("platformCrl", &platform)] {
                if let Some(value) = lists.get(name) {
                    self.list(&format!("{path}#pckcacrl.{name}"), value, chain);
                }
            }
        }
        for name in ["qeidentity", "tdqeidentity", "qveidentity", "qaeidentity"] {
            for (name, called) in [
                (name.to_owned(), "standard"),
                (format!("{name}_early"), "early"),
            ] {
                if let Some(value) = members.get(&name) {
                    self.answer(
                        &format!("{path}#{name}"),
                        Kind::EnclaveIdentity,
                        value,
                        &identity_chain,
                        called,
                    );
                }
            }
        }
        let infos = members.get("tcbinfos").map(json::elements);
        if let Some(Err(error)) = &infos {
            self.flaw(
                &format!("{path}#tcbinfos"),
                Kind::TcbInfo.name(),
                format(&error.to_string()),
                &[],
            );
        }
        for (place, element) in infos.and_then(Result::ok).into_iter().flatten().enumerate() {
            let path = format!("{path}#tcbinfos[{place}]");
            match Members::read(element) {
                Ok(info) => {
                    for (name, called) in TCB_INFOS {
                        if let Some(value) = info.get(name) {
                            self.answer(
                                &format!("{path}.{name}"),
                                Kind::TcbInfo,
                                value,
                                &tcb_chain,
                                called,
                            );
                        }
                    }
                }
                Err(error) => self.flaw(
                    &path,
                    Kind::TcbInfo.name(),
                    format(&error.to_string()),
                    element.as_bytes(),
                ),
            }
        }
    }

    /// A whole answer as a member: an object, or a string that holds one.
    fn answer(
        &mut self,
        path: &str,
        kind: Kind,
        value: &str,
        delivered: &Arc<[Certificate]>,
        called: &'static str,
    ) {
        let result = json::text_of(value)
            .map_err(|error| format(&error.to_string()))
            .and_then(|text| parse(text.as_bytes()));
        self.take(
            path,
            kind.name(),
            result,
            value.as_bytes(),
            delivered,
            Some(called),
        );
    }

    /// A revocation list as a member.
    fn list(&mut self, path: &str, value: &str, delivered: &Arc<[Certificate]>) {
        let result = json::text_of(value)
            .map_err(|error| format(&error.to_string()))
            .and_then(|text| parse(&forms::crl_bytes(&text)));
        self.take(path, CRL_KIND, result, value.as_bytes(), delivered, None);
    }

    pub(super) fn take(
        &mut self,
        path: &str,
        kind: &'static str,
        result: Result<Unverified, Error>,
        body: &[u8],
        delivered: &Arc<[Certificate]>,
        called: Option<&'static str>,
    ) {
        match result {
            Ok(unverified) => {
                self.objects.push(Object {
                    path: path.to_owned(),
                    unverified,
                    delivered: Arc::clone(delivered),
                    called,
                    joined: false,
                });
            }
            Err(error) => self.flaw(path, kind, error, body),
        }
    }

    /// JSON that does not parse: of interest only where it has our names in it.
    fn unread(&mut self, path: &str, text: &str, error: &serde_json::Error) {
        if let Some(kind) = claim(text) {
            self.flaw(path, kind, format(&error.to_string()), text.as_bytes());
        }
    }

    pub(super) fn flaw(&mut self, path: &str, kind: &'static str, error: Error, body: &[u8]) {
        let kept = body.get(..FLAW_BYTES).unwrap_or(body);
        self.flaws.push(Flaw {
            path: path.to_owned(),
            kind,
            error,
            body: Bytes::copy_from_slice(kept),
        });
    }

    fn issuers(&mut self, certificates: impl IntoIterator<Item = Certificate>) {
        self.certificates.extend(
            certificates
                .into_iter()
                .filter(|one| one.subject_cn() != PCK_CERTIFICATE_CN),
        );
    }
}

/// The kind of collateral that a text claims to be, by the names in it.
fn claim(text: &str) -> Option<&'static str> {
    CLAIMS
        .into_iter()
        .find(|(name, _)| text.contains(name))
        .map(|(_, kind)| kind)
}

/// The certificates of a member that is a chain.
fn chain_of(value: Option<&str>) -> Arc<[Certificate]> {
    let text = value
        .and_then(|value| json::text_of(value).ok())
        .unwrap_or_default();
    forms::certificates(&text).into()
}

fn format(why: &str) -> Error {
    Error::Format {
        what: "signed JSON".to_owned(),
        why: why.to_owned(),
    }
}

/// What the report calls a file that was not recognised.
pub(super) const FILE_KIND: &str = "file";
/// What the report calls a revocation list whose authority is not known yet.
pub(super) const CRL_KIND: &str = "crl";
/// Names that only collateral has, quotes included so that prose about them is not taken for it.
const CLAIMS: [(&str, &str); 11] = [
    ("\"tcbInfo\"", "tcb-info"),
    ("\"enclaveIdentity\"", "enclave-identity"),
    (
        "\"tcbEvaluationDataNumbers\"",
        "tcb-evaluation-data-numbers",
    ),
    ("\"tcb_info\"", FILE_KIND),
    ("\"qe_identity\"", FILE_KIND),
    ("\"pck_crl\"", FILE_KIND),
    ("\"root_ca_crl\"", FILE_KIND),
    ("\"tcbinfos\"", FILE_KIND),
    ("\"pckcacrl\"", FILE_KIND),
    ("\"vcekCert\"", "vcek"),
    ("\"VcekCert\"", "vcek"),
];
const BUNDLE_MEMBERS: [&str; 4] = ["pck_crl", "qe_identity", "root_ca_crl", "tcb_info"];
/// PCCS v4 and v3 name the chain differently.
const TCB_CHAINS: [&str; 2] = ["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"];
/// PCCS v4's four, v3's two, and what its container calls each of them.
const TCB_INFOS: [(&str, &str); 6] = [
    ("sgx_tcbinfo", "standard"),
    ("sgx_tcbinfo_early", "early"),
    ("tdx_tcbinfo", "standard"),
    ("tdx_tcbinfo_early", "early"),
    ("tcbinfo", "standard"),
    ("tcbinfo_early", "early"),
];
/// Intel SGX PCK Certificate and CRL profile: the subject of every platform's certificate.
const PCK_CERTIFICATE_CN: &str = "Intel SGX PCK Certificate";
/// A flawed body is kept for a look; the store cuts there too.
const FLAW_BYTES: usize = 256 * 1024;
/// Some editors of Windows begin a text with it.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
