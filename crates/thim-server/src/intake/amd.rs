//! AMD's certificates and lists in the containers that tools keep them in: one certificate (DER, PEM), the key server's
//! chain file, certificates of all roles in one PEM, the metadata service's JSON and its Base64 in a guest's security
//! context, a hypervisor's certificate table (`spec/amd-kds-and-thim.md` 1.1, 5.1, 6).
//!
//! A chain is two certificates, whatever carries them. Where the container has the key server's own text that is kept;
//! elsewhere the chain is put together, and given the text that came with this program if it is the same chain. A
//! certificate that bears a name of AMD's and cannot be read is a flaw; others are none of ours.
//!
//! Attestation reports, alone or in a vTPM's blob, are evidence, not collateral: passed over as quotes are.

use std::sync::Arc;

use thim_verify::amd::{
    Anchors, Authority, AuthorityRole, CertChain, Endorsement, EndorsementKind, Product,
    builtin_chain, parse_cert_chain,
};
use thim_verify::{ArtefactKey, Content, Error, Kind, Unverified, parse, parse_for};

use super::cert_table::{self, Labelled};
use super::forms::{self, Block, CERTIFICATE};
use super::json::{self, Members};
use super::objects::{CRL_KIND, FILE_KIND, Found};

/// A certificate of a chip or a cloud, read and not yet believed.
#[derive(Debug)]
pub struct FoundEndorsement {
    /// `file`, or `file#member`.
    pub path: String,
    /// The certificate.
    pub leaf: Endorsement,
}

/// An authority, whose chain may have to be put together from several files.
#[derive(Debug)]
pub struct FoundAuthority {
    /// `file`, or `file#member`.
    path: String,
    authority: Authority,
    /// False where it stands in a chain already.
    alone: bool,
}

/// What a certificate turned out to be.
enum Role {
    Authority(Authority),
    Endorsement(Endorsement),
}

impl Found {
    /// The certificates of a text, if they are AMD's.
    pub(super) fn amd_pem(&mut self, path: &str, text: &str, blocks: &[Block<'_>]) {
        if let Ok(unverified) = parse(text.as_bytes())
            && let Content::AmdCertChain(chain) = unverified.unverified().content()
            && chain.is_kds_form()
        {
            self.chain_of(path, chain);
            self.take_chain(path, Ok(unverified), false);
            return;
        }
        let certificates: Vec<Vec<u8>> = blocks
            .iter()
            .filter(|block| block.label == CERTIFICATE)
            .filter_map(forms::der_of)
            .collect();
        let single = certificates.len() == 1;
        let named = certificates.iter().enumerate().map(|(place, der)| {
            let path = if single {
                path.to_owned()
            } else {
                format!("{path}#certificate[{place}]")
            };
            (path, der.as_slice())
        });
        self.amd_certificates(path, named.collect());
    }

    /// A certificate in DER, if it is AMD's.
    pub(super) fn amd_der(&mut self, path: &str, der: &[u8]) {
        self.amd_certificates(path, vec![(path.to_owned(), der)]);
    }

    /// `{"vcekCert": "...", "certificateChain": "...", ...}`. What it says of its TCB besides is in the certificate.
    pub(super) fn certification(&mut self, path: &str, members: &Members<'_>) {
        for (names, kind) in [
            (VCEK_CERT, EndorsementKind::Vcek.name()),
            (CERTIFICATE_CHAIN, Kind::AmdCertChain.name()),
        ] {
            let Some((name, value)) = names
                .into_iter()
                .find_map(|name| Some((name, members.get(name)?)))
            else {
                continue;
            };
            let path = format!("{path}#{name}");
            let before = self.amd_count();
            match json::text_of(value) {
                Ok(text) => self.amd_pem(&path, &text, &forms::pem_blocks(&text)),
                Err(error) => return self.flaw(&path, kind, bad(&error), value.as_bytes()),
            }
            if self.amd_count() == before {
                let error = bad(&"no certificate of AMD's in it");
                self.flaw(&path, kind, error, value.as_bytes());
            }
        }
    }

    /// A hypervisor's table: all of it, or nothing.
    pub(super) fn cert_table(&mut self, path: &str, bytes: &[u8]) {
        let entries = match cert_table::entries(bytes) {
            Ok(entries) => entries,
            Err(error) => return self.flaw(path, FILE_KIND, error, bytes),
        };
        let mut held = Self::default();
        let mut ders: Vec<(String, Vec<u8>)> = Vec::new();
        for entry in entries {
            let name = match entry.labelled {
                Labelled::Ark => "ark",
                Labelled::Ask => "ask",
                Labelled::Crl => "crl",
                Labelled::Other => continue,
                Labelled::Vcek => "vcek",
                Labelled::Vlek => "vlek",
            };
            let path = format!("{path}#{name}");
            if entry.labelled == Labelled::Crl {
                held.list_alone(&path, entry.blob);
                continue;
            }
            let der = forms::der_or_pem(entry.blob);
            if !fits(entry.labelled, &der) {
                let error = table(&format!("what stands for the {name} is none"));
                return self.flaw(&path, FILE_KIND, error, bytes);
            }
            ders.push((path, der));
        }
        let certificates = ders
            .iter()
            .map(|(path, der)| (path.clone(), der.as_slice()));
        held.amd_certificates(path, certificates.collect());
        self.append(held);
    }

    /// A list in DER or PEM.
    pub(super) fn list_alone(&mut self, path: &str, bytes: &[u8]) {
        let result = list_at(path, bytes);
        self.take(path, CRL_KIND, result, bytes, &Arc::default(), None);
    }

    /// Puts chains together whose certificates stand in files of their own; `anchors` stand in for a root left out.
    /// To be called once, when all files are read.
    pub fn join_chains(&mut self, anchors: &Anchors) {
        let found = std::mem::take(&mut self.authorities);
        let is_root = |one: &&FoundAuthority| one.authority.role() == AuthorityRole::Ark;
        let mut roots: Vec<&Authority> = Vec::new();
        for root in found.iter().filter(is_root).map(|one| &one.authority) {
            if roots.len() < MAX_ROOTS && !roots.contains(&root) {
                roots.push(root);
            }
        }
        roots.extend(anchors.roots());
        let alone = found.iter().filter(|one| one.alone && !is_root(one));
        for one in alone.take(MAX_ALONE) {
            let issuing = &one.authority;
            let root = roots.iter().find(|root| {
                root.product() == issuing.product() && issuing.signed_by(root).is_ok()
            });
            if let Some(root) = root {
                self.take_chain(&one.path, assembled(issuing, root), true);
            }
        }
        self.authorities = found;
    }

    /// How many things of AMD's there are.
    fn amd_count(&self) -> usize {
        self.authorities.len() + self.endorsements.len() + self.flaws.len()
    }

    /// Certificates of one container at `path`, each with its own path.
    fn amd_certificates(&mut self, path: &str, certificates: Vec<(String, &[u8])>) {
        let mut authorities: Vec<(String, Authority)> = Vec::new();
        for (path, der) in certificates {
            match role_of(der) {
                None => {}
                Some(Ok(Role::Authority(authority))) => authorities.push((path, authority)),
                Some(Ok(Role::Endorsement(leaf))) => {
                    self.endorsements.push(FoundEndorsement { path, leaf });
                }
                Some(Err((kind, error))) => self.flaw(&path, kind, error, der),
            }
        }
        let is_root = |one: &Authority| one.role() == AuthorityRole::Ark;
        for (place, (own, authority)) in authorities.iter().enumerate() {
            // A chain goes on behind the issuing certificate; tools that turn it round have one root.
            let after = authorities.iter().skip(place);
            let root = after
                .chain(&authorities)
                .map(|(_, other)| other)
                .find(|other| is_root(other) && other.product() == authority.product());
            let alone = is_root(authority) || root.is_none();
            if let (false, Some(root)) = (is_root(authority), root) {
                self.take_chain(path, assembled(authority, root), true);
            }
            self.authorities.push(FoundAuthority {
                path: own.clone(),
                authority: authority.clone(),
                alone,
            });
        }
    }

    fn chain_of(&mut self, path: &str, chain: &CertChain) {
        for authority in [chain.issuing(), chain.ark()] {
            self.authorities.push(FoundAuthority {
                path: path.to_owned(),
                authority: authority.clone(),
                alone: false,
            });
        }
    }

    fn take_chain(&mut self, path: &str, chain: Result<Unverified, Error>, joined: bool) {
        let (kind, taken) = (Kind::AmdCertChain.name(), chain.is_ok());
        self.take(path, kind, chain, &[], &Arc::default(), None);
        if let Some(object) = self.objects.last_mut().filter(|_| taken) {
            object.joined = joined;
        }
    }
}

/// A list, for the place that the path names last: it is the same root's, and nothing in it tells.
pub(super) fn list_at(path: &str, bytes: &[u8]) -> Result<Unverified, Error> {
    let path = path.to_ascii_lowercase();
    let place = |kind: EndorsementKind| path.rfind(kind.name());
    let kind = if place(EndorsementKind::Vlek) > place(EndorsementKind::Vcek) {
        EndorsementKind::Vlek
    } else {
        EndorsementKind::Vcek
    };
    // The product is in the list.
    let key = ArtefactKey::AmdCrl {
        product: Product::Milan,
        kind,
    };
    parse_for(key, bytes)
}

/// The path without anything that may be a chip's id: what logs, events and the store may have of it.
pub(super) fn without_chips(path: &str) -> String {
    let mut kept = String::with_capacity(path.len());
    let mut digits = String::new();
    for character in path.chars().chain([END_OF_PATH]) {
        if character.is_ascii_hexdigit() {
            digits.push(character);
            continue;
        }
        if digits.len() >= MIN_CHIP_DIGITS {
            kept.push_str("[chip]");
        } else {
            kept.push_str(&digits);
        }
        digits.clear();
        if character != END_OF_PATH {
            kept.push(character);
        }
    }
    kept
}

/// The chain of two certificates that stood apart, in the key server's own text where that is known.
fn assembled(issuing: &Authority, ark: &Authority) -> Result<Unverified, Error> {
    let chain = CertChain::from_authorities(issuing.clone(), ark.clone())?;
    let known = builtin_chain(chain.product(), chain.kind())
        .and_then(|text| parse_cert_chain(text).ok())
        .filter(|known| known.same_certificates(&chain));
    Unverified::from_cert_chain(known.unwrap_or(chain))
}

/// What a certificate is; none where it does not bear AMD's names.
fn role_of(der: &[u8]) -> Option<Result<Role, (&'static str, Error)>> {
    let leaf = match Endorsement::from_der(der) {
        Ok(leaf) => return Some(Ok(Role::Endorsement(leaf))),
        Err(error) => error,
    };
    let authority = match Authority::from_der(der) {
        Ok(authority) => return Some(Ok(Role::Authority(authority))),
        Err(error) => error,
    };
    let bears = |name: &[u8]| der.windows(name.len()).any(|window| window == name);
    let named = AuthorityRole::ALL
        .into_iter()
        .flat_map(|role| Product::ALL.map(|product| role.common_name(product)))
        .any(|name| bears(name.as_bytes()));
    if !named || !bears(AMD) {
        return None;
    }
    // Another subject than those of leaves is an authority's; a leaf's own fault is told of where there is one.
    Some(Err(if bears(b"SEV-VCEK") {
        (EndorsementKind::Vcek.name(), leaf)
    } else if matches!(leaf, Error::WrongIssuer { .. }) {
        (Kind::AmdCertChain.name(), authority)
    } else {
        (FILE_KIND, leaf)
    }))
}

/// Whether a certificate is what its entry in a table is for; what cannot be read is told of as that.
fn fits(labelled: Labelled, der: &[u8]) -> bool {
    match role_of(der) {
        None => false,
        Some(Err(_)) => true,
        Some(Ok(Role::Endorsement(leaf))) => match leaf.kind() {
            EndorsementKind::Vcek => labelled == Labelled::Vcek,
            EndorsementKind::Vlek => labelled == Labelled::Vlek,
        },
        Some(Ok(Role::Authority(authority))) => match authority.role() {
            AuthorityRole::Ark => labelled == Labelled::Ark,
            AuthorityRole::Ask | AuthorityRole::Asvk => labelled == Labelled::Ask,
        },
    }
}

fn bad(why: &dyn std::fmt::Display) -> Error {
    Error::Format {
        what: "metadata service's answer".to_owned(),
        why: why.to_string(),
    }
}

fn table(why: &str) -> Error {
    Error::Format {
        what: "certificate table".to_owned(),
        why: why.to_owned(),
    }
}

/// The metadata service's name, and the one that its documentation prints.
pub(super) const VCEK_CERT: [&str; 2] = ["vcekCert", "VcekCert"];
const CERTIFICATE_CHAIN: [&str; 2] = ["certificateChain", "CertificateChain"];
/// The organisation in all of AMD's certificates.
const AMD: &[u8] = b"Advanced Micro Devices";
/// Of Turin's chips; those of the others are longer.
const MIN_CHIP_DIGITS: usize = 16;
/// In no path of a file.
const END_OF_PATH: char = '\0';
/// Three products, and room for impostors beside them.
const MAX_ROOTS: usize = 16;
/// Each is tried with every root, and six are all that AMD has.
const MAX_ALONE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_chips_and_nothing_else() {
        let turin = "vcek/0123456789abcdef/x.der";
        assert_eq!(without_chips(turin), "vcek/[chip]/x.der");
        let milan = format!("/a/{}", "0F".repeat(64));
        assert_eq!(without_chips(&milan), "/a/[chip]");
        for kept in ["", "pairs/milan_v3_4ffb5cb4/vcek.pem", "0123456789abcde"] {
            assert_eq!(without_chips(kept), kept);
        }
    }
}
