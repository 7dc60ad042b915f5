//! What a report is verified with: chosen from files, from what is built in, and from a service asked for
//! the rest.
//!
//! A file named for its part (`--vcek`, `--chain`) is used as it is, so that whatever is wrong with it becomes a
//! finding. From all other files, and from a service, only what fits the report and verifies is used: a stranger's
//! certificate in a folder, or a service gone wrong, must not make a genuine report look forged. What was left aside is
//! told. Where no chain is given and no service either, the product's chain that is built in counts. Rules:
//! spec/amd-kds-and-thim.md, 1 and 7.

use std::cmp::Reverse;

use thim_client::Client;
use thim_server::evidence::report::{ReportMaterial, Sourced};
use thim_verify::amd::{
    AmdCrl, Anchors, Authority, AuthorityRole, CertChain, Endorsement, EndorsementKind,
    FindingName, Findings, HwId, NoCollateral, Outcome, Product, ProductFacts, Products,
    ReportCollateral, SigningKey, SnpReport, SnpTcb, builtin_chain, parse_cert_chain, parse_crl,
    verify_cert_chain, verify_crl, verify_report,
};
use thim_verify::{Error, UnixTime};

use super::material::Piece;

/// What the files had, before anything of it was chosen.
#[derive(Default)]
pub struct Files {
    /// The file named for it, and why it is none where it cannot be read.
    pub vcek: Option<Result<Sourced<Endorsement>, String>>,
    /// Likewise.
    pub chain: Option<Result<Sourced<CertChain>, String>>,
    pub endorsements: Vec<Sourced<Endorsement>>,
    pub authorities: Vec<Sourced<Authority>>,
    pub lists: Vec<Sourced<AmdCrl>>,
}

/// By what things are chosen.
pub struct Choice<'a> {
    pub report: &'a SnpReport,
    /// Of the report or of the caller; a report of version 2 names none.
    pub product: Option<Product>,
    pub products: &'a Products,
    pub anchors: &'a Anchors,
    pub service: Option<&'a Client>,
    pub now: UnixTime,
}

impl Files {
    /// Sorts the pieces of one file in.
    pub fn add(&mut self, source: &str, pieces: Vec<Piece>) {
        fn sourced<T>(value: T, source: &str) -> Sourced<T> {
            let source = source.to_owned();
            Sourced { value, source }
        }
        for piece in pieces {
            match piece {
                Piece::Authority(authority) => self.authorities.push(sourced(authority, source)),
                Piece::Crl(crl) => self.lists.push(sourced(crl, source)),
                Piece::Endorsement(leaf) => self.endorsements.push(sourced(*leaf, source)),
            }
        }
    }

    /// Takes over what another file had, but for what was chosen there.
    pub fn join(&mut self, other: Self) {
        self.endorsements.extend(other.endorsements);
        self.authorities.extend(other.authorities);
        self.lists.extend(other.lists);
    }
}

impl Choice<'_> {
    /// Chooses, and asks the service for what is missing.
    pub fn gather(&self, files: Files) -> ReportMaterial {
        let mut notes = Vec::new();
        let mut endorsement = match &files.vcek {
            Some(given) => broken(FindingName::Endorsement, given),
            None => self
                .endorsement(&files)
                .or_else(|missing| self.ask_endorsement(&missing, &mut notes))
                .map_err(NoCollateral::Missing),
        };
        let known = endorsement.as_ref().ok().map(|leaf| &leaf.value);
        let chain = match (&files.chain, known) {
            (Some(given), _) => broken(FindingName::Chain, given),
            (None, None) => Err(NoCollateral::Missing(NO_CERTIFICATE.to_owned())),
            (None, Some(leaf)) => self
                .chain(&files, leaf, &mut notes)
                .map_err(NoCollateral::Missing),
        };
        if let (Ok(leaf), Ok(chain)) = (&endorsement, &chain)
            && leaf.source == SERVICE
            && self
                .look(&leaf.value, &chain.value)
                .outcome(FindingName::Endorsement)
                != Some(&Outcome::Passed)
        {
            notes.push(format!(
                "{} of the service: the chain does not vouch for it",
                leaf.value.kind()
            ));
            endorsement = Err(NoCollateral::Missing(NO_CERTIFICATE.to_owned()));
        }
        let crl = chain.as_ref().ok();
        let crl = crl.and_then(|chain| self.crl(&files, &chain.value, &mut notes));
        ReportMaterial {
            endorsement,
            chain,
            crl,
            notes,
        }
    }

    /// The kind of key that the report says has signed it.
    fn kind(&self) -> Option<EndorsementKind> {
        match self.report.key_info.signing_key {
            SigningKey::Unsigned => None,
            SigningKey::Vcek => Some(EndorsementKind::Vcek),
            SigningKey::Vlek => Some(EndorsementKind::Vlek),
        }
    }

    /// Among the files: of the report's kind, product, chip and TCB; the one that the fewest findings speak against,
    /// and of several issues of one key the newest.
    fn endorsement(&self, files: &Files) -> Result<Sourced<Endorsement>, String> {
        let fitting = files
            .endorsements
            .iter()
            .filter(|leaf| self.fits(&leaf.value));
        let best = fitting.min_by_key(|leaf| {
            let chain = self.local_chain(files, leaf.value.product(), leaf.value.kind());
            let failed = chain.map_or(usize::MAX, |chain| {
                self.look(&leaf.value, &chain.value).failed().count()
            });
            (failed, Reverse(not_before(&leaf.value)))
        });
        best.cloned().ok_or_else(|| match files.endorsements.len() {
            0 => NO_CERTIFICATE.to_owned(),
            others => {
                format!("{NO_CERTIFICATE}; of the {others} at hand none is for this chip and TCB")
            }
        })
    }

    fn fits(&self, leaf: &Endorsement) -> bool {
        let facts = self.products.facts(leaf.product());
        let same = self.kind() == Some(leaf.kind())
            && self.product.is_none_or(|product| product == leaf.product());
        let tcb = match leaf {
            Endorsement::Vcek(vcek) => {
                let chip = self.report.chip_id(facts);
                let masked = self.report.chip_id_is_masked();
                if !masked && chip.as_ref() != Ok(vcek.hw_id()) {
                    return false;
                }
                vcek.tcb()
            }
            Endorsement::Vlek(vlek) => vlek.tcb(),
        };
        same && self.report.reported_tcb.decode(facts) == Ok(tcb)
    }

    fn look(&self, leaf: &Endorsement, chain: &CertChain) -> Findings {
        let collateral = ReportCollateral {
            endorsement: leaf,
            chain,
            crl: None,
        };
        let (products, anchors) = (self.products, self.anchors);
        verify_report(self.report, &collateral, products, anchors, self.now)
    }

    /// From the files, then from the service, then what is built in.
    fn chain(
        &self,
        files: &Files,
        leaf: &Endorsement,
        notes: &mut Vec<String>,
    ) -> Result<Sourced<CertChain>, String> {
        let (product, kind) = (leaf.product(), leaf.kind());
        if let Some(chain) = self.chain_of_files(files, product, kind) {
            return Ok(chain);
        }
        let asked = self.service.map(|service| {
            let line = self.products.facts(product).kds_line();
            let path = format!("/{kind}/v1/{line}/cert_chain");
            let chain = parse_cert_chain(&ask(service, &path)?)?;
            self.verified(chain, product, kind)
        });
        match asked {
            Some(Ok(chain)) => {
                return Ok(Sourced {
                    value: chain,
                    source: SERVICE.to_owned(),
                });
            }
            Some(Err(Refusal { why, .. })) => {
                notes.push(format!("{kind} chain of the service: {why}"));
            }
            None => {}
        }
        self.local_chain(files, product, kind)
            .ok_or_else(|| format!("no {kind} chain of {product} that leads to a trusted root"))
    }

    fn local_chain(
        &self,
        files: &Files,
        product: Product,
        kind: EndorsementKind,
    ) -> Option<Sourced<CertChain>> {
        self.chain_of_files(files, product, kind).or_else(|| {
            let chain = parse_cert_chain(builtin_chain(product, kind)?).ok()?;
            Some(Sourced {
                value: self.verified(chain, product, kind).ok()?,
                source: BUILT_IN.to_owned(),
            })
        })
    }

    fn chain_of_files(
        &self,
        files: &Files,
        product: Product,
        kind: EndorsementKind,
    ) -> Option<Sourced<CertChain>> {
        let of = |role| {
            let all = files.authorities.iter();
            all.filter(move |one| one.value.role() == role && one.value.product() == product)
        };
        let issuing = AuthorityRole::issuing(kind);
        of(issuing).find_map(|issuing| {
            of(AuthorityRole::Ark).find_map(|ark| {
                let chain =
                    CertChain::from_authorities(issuing.value.clone(), ark.value.clone()).ok()?;
                Some(Sourced {
                    value: self.verified(chain, product, kind).ok()?,
                    source: issuing.source.clone(),
                })
            })
        })
    }

    /// Judged at its own time: whether it still holds is a finding.
    fn verified(
        &self,
        chain: CertChain,
        product: Product,
        kind: EndorsementKind,
    ) -> Result<CertChain, Refusal> {
        let at = chain.issuing().not_before().max(chain.ark().not_before());
        let chain = verify_cert_chain(chain, product, kind, None, self.anchors, at)?;
        Ok(chain.into_inner())
    }

    /// The list of the chain's root with the highest number; from the service where the files' is missing or out of
    /// its window.
    fn crl(
        &self,
        files: &Files,
        chain: &CertChain,
        notes: &mut Vec<String>,
    ) -> Option<Sourced<AmdCrl>> {
        let mut genuine: Vec<Sourced<AmdCrl>> = Vec::new();
        let (ours, others): (Vec<_>, Vec<_>) = files
            .lists
            .iter()
            .partition(|list| list.value.product() == chain.product());
        for list in ours {
            match self.genuine(list.value.clone(), chain) {
                Ok(value) => genuine.push(Sourced {
                    value,
                    source: list.source.clone(),
                }),
                Err(Refusal { why, .. }) => {
                    notes.push(format!("revocation list in {}: {why}", list.source));
                }
            }
        }
        let current = |list: &Sourced<AmdCrl>| list.value.in_window(self.now);
        if let Some(service) = self.service
            && !genuine.iter().any(current)
        {
            let line = self.products.facts(chain.product()).kds_line();
            let path = format!("/{}/v1/{line}/crl", chain.kind());
            let asked = ask(service, &path)
                .and_then(|body| Ok(parse_crl(&body)?))
                .and_then(|list| self.genuine(list, chain));
            match asked {
                Ok(value) => genuine.push(Sourced {
                    value,
                    source: SERVICE.to_owned(),
                }),
                Err(Refusal { why, .. }) => {
                    notes.push(format!("revocation list of the service: {why}"));
                }
            }
        }
        if genuine.is_empty() {
            notes.extend(others.iter().map(|list| {
                let (source, product) = (&list.source, list.value.product());
                format!("revocation list in {source}: it is of {product}")
            }));
        }
        genuine.into_iter().max_by_key(|list| list.value.number())
    }

    fn genuine(&self, list: AmdCrl, chain: &CertChain) -> Result<AmdCrl, Refusal> {
        let list = verify_crl(list, chain.product(), self.anchors, self.now)?;
        if list.chain().signer_key() != chain.ark().spki_digest() {
            return Err(Refusal {
                status: None,
                why: "it is another root's".to_owned(),
            });
        }
        Ok(list.into_inner())
    }

    /// Asks by REPORTED_TCB, never by the TCB that runs.
    fn ask_endorsement(
        &self,
        missing: &str,
        notes: &mut Vec<String>,
    ) -> Result<Sourced<Endorsement>, String> {
        let (Some(service), Some(kind)) = (self.service, self.kind()) else {
            return Err(missing.to_owned());
        };
        if kind == EndorsementKind::Vcek && self.report.chip_id_is_masked() {
            return Err("the host masks the chip id: no service can be asked".to_owned());
        }
        let mut why = "no product has such a chip id and TCB".to_owned();
        for facts in self.products.all() {
            let wanted = self
                .product
                .is_none_or(|product| product == facts.product());
            let Some(key) = wanted.then(|| self.key(facts)).flatten() else {
                continue;
            };
            match self.ask_one(service, facts, kind, &key) {
                Ok(value) => {
                    return Ok(Sourced {
                        value,
                        source: SERVICE.to_owned(),
                    });
                }
                // A report of version 2 may be of any of them; whatever else is wrong is so for all.
                Err(refusal) => {
                    why = refusal.why;
                    if refusal.status != Some(NOT_FOUND) {
                        break;
                    }
                }
            }
        }
        notes.push(format!("{kind} of the service: {why}"));
        Err(format!("{missing}; the service gives none"))
    }

    fn key(&self, facts: &ProductFacts) -> Option<(Option<HwId>, SnpTcb)> {
        let tcb = self.report.reported_tcb.decode(facts).ok()?;
        let chip = self.report.chip_id(facts);
        match self.kind()? {
            EndorsementKind::Vcek => Some((Some(chip.ok()?), tcb)),
            EndorsementKind::Vlek => Some((None, tcb)),
        }
    }

    fn ask_one(
        &self,
        service: &Client,
        facts: &ProductFacts,
        kind: EndorsementKind,
        (chip, tcb): &(Option<HwId>, SnpTcb),
    ) -> Result<Endorsement, Refusal> {
        let (line, query) = (facts.kds_line(), tcb.to_query());
        let path = match chip {
            Some(chip) => format!("/vcek/v1/{line}/{}?{query}", chip.to_hex_lower()),
            None => format!("/{kind}/v1/{line}/cert?{query}"),
        };
        let leaf = Endorsement::from_der(&ask(service, &path)?)?;
        if !self.fits(&leaf) || leaf.product() != facts.product() {
            return Err(Refusal {
                status: None,
                why: "it is not for this chip and TCB".to_owned(),
            });
        }
        Ok(leaf)
    }
}

fn broken<T: Clone>(finding: FindingName, given: &Result<T, String>) -> Result<T, NoCollateral> {
    let given = given.clone();
    given.map_err(|why| NoCollateral::Broken(finding, why))
}

/// Why a service gave nothing that can be used.
struct Refusal {
    status: Option<u16>,
    why: String,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let why = error.to_string();
        Self { status: None, why }
    }
}

/// The body of a 200. Never names the path: it may hold a chip id.
fn ask(service: &Client, path: &str) -> Result<Vec<u8>, Refusal> {
    let answer = service.get_raw(path, BODY_LIMIT_BYTES);
    let answer = answer.map_err(|error| Refusal {
        status: None,
        why: error.to_string(),
    })?;
    if answer.status == OK {
        return Ok(answer.body);
    }
    let mut why = format!("status {}", answer.status);
    if let Some(cause) = answer.cause {
        why.push_str(&format!(" ({cause})"));
    }
    if let Some(after) = answer.retry_after {
        why.push_str(&format!("; ask again in {after} s"));
    }
    Err(Refusal {
        status: Some(answer.status),
        why,
    })
}

fn not_before(leaf: &Endorsement) -> UnixTime {
    match leaf {
        Endorsement::Vcek(vcek) => vcek.not_before(),
        Endorsement::Vlek(vlek) => vlek.not_before(),
    }
}

const NO_CERTIFICATE: &str = "no certificate of the key that signed the report";
const SERVICE: &str = "service";
const BUILT_IN: &str = "built in";

const OK: u16 = 200;
const NOT_FOUND: u16 = 404;

/// A revocation list may have 1 MiB; certificates and chains are a few KiB.
const BODY_LIMIT_BYTES: u64 = 1024 * 1024;
