//! Reports under the collateral that is kept: what a report is judged by, out of the store, and through the line before
//! the key server where it is missing.
//!
//! The product is the one of the report's CPU or the caller's; a report of version 2 names none, and then the products are
//! tried in turn, those that the chip is known under first. Of a key's certificates the one counts that the fewest
//! findings speak against: AMD signs another one at each call, and clouds have a VLEK each. Only what is genuine is used,
//! so that a store gone wrong cannot make a report look forged; whether it is valid still and not revoked is for the
//! findings. A judgement of another instant goes by the vendor's dates, and nothing is fetched for it. Rules:
//! spec/amd-kds-and-thim.md, 1 and 7.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use thim_verify::amd::{
    AmdCrl, CertChain, Endorsement, EndorsementKind, FindingName, NoCollateral, Outcome, Product,
    ProductFacts, Products, Relaxation, ReportCollateral, SigningKey, SnpReport, VcekKey, VlekKey,
    builtin_chain, parse_cert_chain, parse_crl, verify_cert_chain, verify_crl, verify_report,
};
use thim_verify::{ArtefactKey, UnixTime};

use super::form::ReportForm;
use super::history::is_usable;
use super::report::{ReportExplanation, ReportJudge, ReportMaterial, Sourced, explain};
use crate::chips::{ChipAsk, Chips};
use crate::collateral::{Ask, Collateral, Refusal};
use crate::store::StoreError;
use crate::upstream::Source;

/// Explains reports. Apart from [`super::Explainer`], since the one needs no chips and the other no platforms.
pub struct ReportExplainer {
    chips: Arc<Chips>,
}

/// What is to be explained about a report.
#[derive(Clone, Debug)]
pub struct ReportAsk {
    /// The product, of the report or of the caller.
    pub product: Option<Product>,
    /// The instant to judge at; none is now, where what is missing may be fetched.
    pub at: Option<UnixTime>,
    /// Whether it may.
    pub fetch: bool,
    /// What is forgiven.
    pub relaxations: BTreeSet<Relaxation>,
    /// Whether the chip id is shown.
    pub show_chip_id: bool,
}

/// What is looked for, and as of when.
struct Search<'a> {
    report: &'a SnpReport,
    kind: EndorsementKind,
    fetch: bool,
    at: UnixTime,
}

impl ReportExplainer {
    /// Over the keeper of chips and the collateral below it.
    pub fn new(chips: Arc<Chips>) -> Self {
        Self { chips }
    }

    /// The facts about products.
    pub fn products(&self) -> &Products {
        self.chips.products()
    }

    fn collateral(&self) -> &Arc<Collateral> {
        self.chips.collateral()
    }

    /// What is known about a report, at `now` by the service's clock.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn report(
        &self,
        (form, report): (ReportForm, &SnpReport),
        ask: &ReportAsk,
        now: UnixTime,
    ) -> Result<ReportExplanation, StoreError> {
        let kind = match report.key_info.signing_key {
            SigningKey::Unsigned => None,
            SigningKey::Vcek => Some(EndorsementKind::Vcek),
            SigningKey::Vlek => Some(EndorsementKind::Vlek),
        };
        let material = match kind {
            None => nothing(NO_CERTIFICATE.to_owned(), Vec::new()),
            Some(kind) => {
                let search = Search {
                    report,
                    kind,
                    fetch: ask.fetch && ask.at.is_none(),
                    at: ask.at.unwrap_or(now),
                };
                self.gather(&search, ask.product).await?
            }
        };
        let judge = ReportJudge {
            products: self.products(),
            anchors: self.collateral().amd().anchors(),
            relaxations: &ask.relaxations,
            at: ask.at.unwrap_or_else(|| self.later(now)),
            show_chip_id: ask.show_chip_id,
        };
        Ok(explain((form, report), ask.product, material, &judge))
    }

    /// Time passes while something is fetched, and AMD's certificates may begin at the second in which they are signed.
    fn later(&self, now: UnixTime) -> UnixTime {
        let edges = self.collateral().kds().sources().map(Source::now);
        edges.fold(now, UnixTime::max)
    }

    /// What had begun or was issued by then counts: of what has just been fetched all.
    fn until(&self, search: &Search<'_>) -> UnixTime {
        if search.fetch {
            self.later(search.at)
        } else {
            search.at
        }
    }

    async fn gather(
        &self,
        search: &Search<'_>,
        product: Option<Product>,
    ) -> Result<ReportMaterial, StoreError> {
        let masked = search.kind == EndorsementKind::Vcek && search.report.chip_id_is_masked();
        if masked {
            let why = format!("{NO_CERTIFICATE}: the host masks the chip id");
            return Ok(nothing(why, Vec::new()));
        }
        let all = self.products().all().iter();
        let mut asks: Vec<ChipAsk> = all
            .filter(|facts| product.is_none_or(|product| product == facts.product()))
            .filter_map(|facts| asked(search, facts))
            .collect();
        if let [ChipAsk::Vcek(key), _, ..] = asks.as_slice() {
            let known = self.chips.products_of(&key.hw_id).await?;
            asks.retain(|ask| known.is_empty() || known.contains(&ask.product()));
        }
        let mut notes = Vec::new();
        if search.fetch {
            self.bring(&asks, search, &mut notes).await;
        }
        for ask in &asks {
            let product = ask.product();
            let mut own = Vec::new();
            let leaves = self.held(ask, search).await?;
            if leaves.is_empty() {
                continue;
            }
            let chain = self.chain(product, search, &mut own).await?;
            let Some(leaf) = self.best(leaves, chain.as_ref(), search) else {
                continue;
            };
            let crl = self.crl(product, search, &mut own).await?;
            let missing = || {
                let why = format!("no {} chain of {product} is held", search.kind);
                NoCollateral::Missing(why)
            };
            return Ok(ReportMaterial {
                endorsement: Ok(Sourced {
                    value: leaf,
                    source: STORE.to_owned(),
                }),
                chain: chain.ok_or_else(missing),
                crl,
                notes: own,
            });
        }
        let why = match asks.first() {
            None => format!("{NO_CERTIFICATE}: no product has such a chip id and TCB"),
            Some(_) => format!("{NO_CERTIFICATE} is held from before {}", search.at),
        };
        Ok(nothing(why, notes))
    }

    /// Has the certificate fetched where it is missing, the products in turn: only what a product does not have is asked
    /// for of the next one.
    async fn bring(&self, asks: &[ChipAsk], search: &Search<'_>, notes: &mut Vec<String>) {
        for ask in asks {
            match self.chips.answer(ask, search.at).await {
                Ok(_) => return,
                Err(refusal) => {
                    notes.push(format!("{}: {}", search.kind, said(&refusal)));
                    match (ask, refusal) {
                        (ChipAsk::Vlek(_), _) | (_, Refusal::Absent { .. }) => {}
                        (ChipAsk::Vcek(_), _) => return,
                    }
                }
            }
        }
    }

    /// Every certificate of a key that had begun, the newest first.
    async fn held(
        &self,
        ask: &ChipAsk,
        search: &Search<'_>,
    ) -> Result<Vec<Endorsement>, StoreError> {
        let until = self.until(search);
        let mut rows = self.chips.held(ask).await?;
        rows.retain(|row| is_usable(row.state) && row.not_before <= until);
        rows.sort_by_key(|row| Reverse(row.not_before));
        rows.truncate(CANDIDATES);
        let leaves = rows.iter();
        Ok(leaves
            .filter_map(|row| Endorsement::from_der(&row.der).ok())
            .collect())
    }

    /// Of those that the chain vouches for the one that the fewest findings speak against, and of these the newest.
    fn best(
        &self,
        leaves: Vec<Endorsement>,
        chain: Option<&Sourced<CertChain>>,
        search: &Search<'_>,
    ) -> Option<Endorsement> {
        let Some(chain) = chain else {
            return leaves.into_iter().next();
        };
        let anchors = self.collateral().amd().anchors();
        let mut best: Option<(usize, Endorsement)> = None;
        for leaf in leaves {
            let collateral = ReportCollateral {
                endorsement: &leaf,
                chain: &chain.value,
                crl: None,
            };
            let looked = verify_report(
                search.report,
                &collateral,
                self.products(),
                anchors,
                self.until(search),
            );
            let failed = looked.failed().count();
            if looked.outcome(FindingName::Endorsement) == Some(&Outcome::Passed)
                && best.as_ref().is_none_or(|(fewest, _)| failed < *fewest)
            {
                best = Some((failed, leaf));
            }
        }
        best.map(|(_, leaf)| leaf)
    }

    /// The chain in force; else, and at another instant, the newest that was issued by then; else the one built in.
    async fn chain(
        &self,
        product: Product,
        search: &Search<'_>,
        notes: &mut Vec<String>,
    ) -> Result<Option<Sourced<CertChain>>, StoreError> {
        let kind = search.kind;
        let key = ArtefactKey::AmdCertChain { product, kind };
        let collateral = self.collateral();
        self.refresh(key, search, notes).await;
        if search.fetch
            && let Some(chain) = collateral.amd().chain(product, kind)
        {
            return Ok(Some(Sourced {
                value: CertChain::clone(&chain),
                source: STORE.to_owned(),
            }));
        }
        let genuine = |document: &[u8]| {
            let chain = parse_cert_chain(document).ok()?;
            // Judged at its own time and by no list: the rest are findings.
            let begun = chain.issuing().not_before().max(chain.ark().not_before());
            let anchors = collateral.amd().anchors();
            let chain = verify_cert_chain(chain, product, kind, None, anchors, begun).ok()?;
            Some(chain.into_inner())
        };
        let document = collateral.amd_document_at(key, self.until(search)).await?;
        if let Some(value) = document.and_then(|document| genuine(&document)) {
            return Ok(Some(Sourced {
                value,
                source: STORE.to_owned(),
            }));
        }
        let chain = builtin_chain(product, kind).and_then(genuine);
        Ok(chain.map(|value| Sourced {
            value,
            source: "built in".to_owned(),
        }))
    }

    /// The list in force; at another instant the newest that was issued by then. An ended one still revokes.
    async fn crl(
        &self,
        product: Product,
        search: &Search<'_>,
        notes: &mut Vec<String>,
    ) -> Result<Option<Sourced<AmdCrl>>, StoreError> {
        let kind = search.kind;
        let key = ArtefactKey::AmdCrl { product, kind };
        self.refresh(key, search, notes).await;
        let document = self
            .collateral()
            .amd_document_at(key, self.until(search))
            .await?;
        let anchors = self.collateral().amd().anchors();
        let list = document.and_then(|document| parse_crl(&document).ok());
        let list =
            list.and_then(|list| verify_crl(list, product, anchors, self.until(search)).ok());
        Ok(list.map(|list| Sourced {
            value: list.into_inner(),
            source: STORE.to_owned(),
        }))
    }

    /// Has what is missing or too old fetched, where that is allowed.
    async fn refresh(&self, key: ArtefactKey, search: &Search<'_>, notes: &mut Vec<String>) {
        if search.fetch
            && let Err(refusal) = self
                .collateral()
                .answer(Ask::Artefact(key), search.at)
                .await
        {
            notes.push(said(&refusal));
        }
    }
}

/// What a report's certificate is asked for by: REPORTED_TCB, never the TCB that runs. None where it cannot be a report
/// of this product.
fn asked(search: &Search<'_>, facts: &ProductFacts) -> Option<ChipAsk> {
    let product = facts.product();
    let tcb = search.report.reported_tcb.decode(facts).ok()?;
    Some(match search.kind {
        EndorsementKind::Vcek => ChipAsk::Vcek(VcekKey {
            product,
            hw_id: search.report.chip_id(facts).ok()?,
            tcb,
        }),
        EndorsementKind::Vlek => ChipAsk::Vlek(VlekKey { product, tcb }),
    })
}

/// A refusal, and when to come back where that helps.
fn said(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Busy { retry_after_secs }
        | Refusal::Throttled {
            retry_after_secs, ..
        } => format!("{refusal}; come back in {retry_after_secs} s"),
        Refusal::Absent { .. }
        | Refusal::Expired { .. }
        | Refusal::NotHeld { .. }
        | Refusal::Retired { .. }
        | Refusal::Storage
        | Refusal::Unavailable { .. }
        | Refusal::Untrusted { .. }
        | Refusal::Version3 { .. } => refusal.to_string(),
    }
}

fn nothing(why: String, notes: Vec<String>) -> ReportMaterial {
    ReportMaterial {
        endorsement: Err(NoCollateral::Missing(why.clone())),
        chain: Err(NoCollateral::Missing(why)),
        crl: None,
        notes,
    }
}

const NO_CERTIFICATE: &str = "no certificate of the key that signed the report";
const STORE: &str = "store";

/// Certificates of one key that are looked at, the newest: AMD signs one at each call, and clouds are few.
const CANDIDATES: usize = 32;
