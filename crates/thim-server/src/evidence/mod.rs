//! Evidence under the collateral that is kept: what is known about a quote or a report, and why.
//!
//! [`Explainer`] is the story: read the quote, find its PCK certificate, choose a number, pick editions by the vendor's
//! dates, fetch what is missing where that is allowed, verify, tell. [`history`] picks editions, [`files`] does the same
//! among files, [`quote`] turns findings into what is told; the own API and the command line tell the same. Nothing is
//! changed by looking, unless what a quote says of its platform is to be recorded ([`Config`]). [`ReportExplainer`] is
//! the same story of a report, [`report`] what is told about it.

pub mod files;
pub mod form;
mod history;
pub mod quote;
mod quote_facts;
pub mod report;
pub mod report_facts;
mod report_store;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde::Deserialize;
use thim_client::{QuoteComparison, QuoteExplanation};
use thim_verify::{
    Absent, ArtefactKey, Certification, CollateralPart, Enclave, EvaluationNumber, Issuers,
    PckCertificate, PckChain, Quote, QuoteCollateral, QuotePolicy, QuoteVerifier, Tee, UnixTime,
    parse_quote,
};

pub(crate) use self::history::Picked;
pub(crate) use self::quote::short as short_record;
use self::quote::{Sources, Telling};
pub use self::report_store::{ReportAsk, ReportExplainer};
use crate::baseline::Choice;
use crate::collateral::{Ask, Collateral};
use crate::platforms::Platforms;
use crate::store::StoreError;
use crate::upstream::Source;
use crate::view::Subject;

/// `[evidence]`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether the register records what genuine quotes say of platforms that it knows. Default false.
    pub record: bool,
}

/// Explains evidence.
pub struct Explainer {
    platforms: Arc<Platforms>,
    config: Config,
    /// Trusts what the keeper of collateral trusts; made anew when that changes.
    verifier: ArcSwapOption<Verifier>,
}

struct Verifier {
    issuers: Arc<Issuers>,
    quotes: QuoteVerifier,
}

/// What is to be explained about a quote.
#[derive(Clone, Debug)]
pub struct QuoteAsk {
    /// Which evaluation number to judge under.
    pub choice: Choice,
    /// The instant to judge at; none is now, where collateral that is missing may be fetched.
    pub at: Option<UnixTime>,
    /// Whether it may.
    pub fetch: bool,
    /// What is accepted.
    pub policy: QuotePolicy,
    /// The PCK certificate, for a quote that has none; else the register is asked.
    pub pck: Option<PckCertificate>,
    /// Whether PPID and platform instance id are shown.
    pub platform_ids: bool,
    /// Whether what it says of its platform is recorded; none is as configured. Only of a judgement of now.
    pub record: Option<bool>,
}

/// What a quote is judged by, and where it came from.
struct Gathered {
    collateral: QuoteCollateral,
    sources: Sources,
    notes: Vec<String>,
}

impl Explainer {
    /// Over a register of platforms and the collateral below it.
    pub fn new(platforms: Arc<Platforms>, config: Config) -> Self {
        Self {
            platforms,
            config,
            verifier: ArcSwapOption::empty(),
        }
    }

    fn collateral(&self) -> &Arc<Collateral> {
        self.platforms.collateral()
    }

    /// What is known about a quote, at `now` by the service's clock. Bytes that are none are explained too.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn quote(
        &self,
        bytes: &[u8],
        ask: &QuoteAsk,
        now: UnixTime,
    ) -> Result<QuoteExplanation, StoreError> {
        match parse_quote(bytes) {
            Ok(quote) => self.parsed(&quote, ask, now).await,
            Err(error) => Ok(quote::unreadable(&error, ask.at.unwrap_or(now))),
        }
    }

    /// The same under several numbers, one column each.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn compare(
        &self,
        bytes: &[u8],
        numbers: &[EvaluationNumber],
        ask: &QuoteAsk,
        now: UnixTime,
    ) -> Result<QuoteComparison, StoreError> {
        let at = ask.at.unwrap_or(now);
        let quote = parse_quote(bytes);
        let mut columns = Vec::with_capacity(numbers.len());
        for number in numbers {
            let ask = QuoteAsk {
                choice: Choice::Number(*number),
                ..ask.clone()
            };
            columns.push(match &quote {
                Ok(quote) => self.parsed(quote, &ask, now).await?,
                Err(error) => quote::unreadable(error, at),
            });
        }
        let tee = quote.map_or("unknown", |quote| quote.tee().name());
        Ok(QuoteComparison {
            tee: tee.to_owned(),
            at: at.to_string(),
            columns,
        })
    }

    async fn parsed(
        &self,
        quote: &Quote,
        ask: &QuoteAsk,
        now: UnixTime,
    ) -> Result<QuoteExplanation, StoreError> {
        let verifier = self.verifier();
        let mut notes = Vec::new();
        let pck = match &ask.pck {
            Some(pck) => Some(pck.clone()),
            None => self.registered(quote, ask, now, &mut notes).await,
        };
        let chain = verifier.quotes.pck_chain(quote, pck.as_ref()).ok();
        let gathered = self
            .gather(quote, chain.as_deref(), ask, now, notes)
            .await?;
        let at = self.until(ask, now);
        let findings = verifier
            .quotes
            .verify(quote, pck.as_ref(), &gathered.collateral, at);
        let telling = Telling {
            platform_ids: ask.platform_ids,
            notes: gathered.notes,
            sources: gathered.sources,
        };
        let mut told = quote::explain(&findings, &ask.policy, telling);
        if ask.at.is_none() && ask.record.unwrap_or(self.config.record) {
            let seen = self.platforms.seen_in_quote(&findings, now);
            let recorded = match seen {
                Ok(seen) => self.platforms.record_seen(&seen).await,
                Err(why) => Err(why),
            };
            match recorded {
                Ok(()) => told.recorded = true,
                Err(why) => told.notes.push(format!("not recorded: {why}")),
            }
        }
        Ok(told)
    }

    /// The instant to judge at. Time passes while something is fetched, and the vendor may have signed it in the second in
    /// which it was asked: of what was just fetched nothing is of the future.
    fn until(&self, ask: &QuoteAsk, now: UnixTime) -> UnixTime {
        match ask.at {
            Some(at) => at,
            None if ask.fetch => {
                let edges = self.collateral().intel().all().map(Source::now);
                edges.fold(now, UnixTime::max)
            }
            None => now,
        }
    }

    /// What trusts what the collateral's keeper trusts now.
    fn verifier(&self) -> Arc<Verifier> {
        let issuers = self.collateral().issuers.load_full();
        if let Some(known) = self.verifier.load_full()
            && Arc::ptr_eq(&known.issuers, &issuers)
        {
            return known;
        }
        let fresh = Arc::new(Verifier {
            quotes: QuoteVerifier::new(Issuers::clone(&issuers), REMEMBERED),
            issuers,
        });
        self.verifier.store(Some(Arc::clone(&fresh)));
        fresh
    }

    /// The PCK certificate of a quote that names one and has none: from the register, and for a judgement of now from
    /// the vendor, as any client would get it.
    async fn registered(
        &self,
        quote: &Quote,
        ask: &QuoteAsk,
        now: UnixTime,
        notes: &mut Vec<String>,
    ) -> Option<PckCertificate> {
        let Certification::PckName(name) = quote.certification() else {
            return None;
        };
        let fetch = ask.fetch && ask.at.is_none();
        let found = self
            .platforms
            .named_in_quote(&quote.header().user_data, &name, fetch, now)
            .await;
        match found {
            Ok(pck) => Some(pck),
            Err(why) => {
                notes.push(format!("PCK certificate: {why}"));
                None
            }
        }
    }

    async fn gather(
        &self,
        quote: &Quote,
        chain: Option<&PckChain>,
        ask: &QuoteAsk,
        now: UnixTime,
        notes: Vec<String>,
    ) -> Result<Gathered, StoreError> {
        let mut gathered = Gathered {
            collateral: QuoteCollateral::new(),
            sources: Sources::default(),
            notes,
        };
        self.take(
            CollateralPart::RootCrl,
            &[ArtefactKey::RootCrl],
            ask,
            now,
            &mut gathered,
        )
        .await?;
        let Some(leaf) = chain.map(PckChain::leaf) else {
            let why = "no PCK certificate says which".to_owned();
            for part in [
                CollateralPart::PckCrl,
                CollateralPart::QeIdentity,
                CollateralPart::TcbInfo,
            ] {
                gathered
                    .collateral
                    .set_absent(part, Absent::Missing(why.clone()));
            }
            return Ok(gathered);
        };
        let key = ArtefactKey::PckCrl { ca: leaf.ca() };
        self.take(CollateralPart::PckCrl, &[key], ask, now, &mut gathered)
            .await?;
        let tee = quote.tee();
        let subject = |version| Subject::TcbInfo {
            tee,
            version,
            fmspc: leaf.fmspc(),
        };
        let Some(number) = self.number(subject(3), ask, now, &mut gathered).await? else {
            return Ok(gathered);
        };
        let mut keys = vec![subject(3).key(number)];
        if tee == Tee::Sgx {
            // Version 2 speaks of the same levels; history has numbers of which nothing else was kept.
            keys.push(subject(2).key(number));
        }
        self.take(CollateralPart::TcbInfo, &keys, ask, now, &mut gathered)
            .await?;
        let enclave = match tee {
            Tee::Sgx => Enclave::Qe,
            Tee::Tdx => Enclave::TdQe,
        };
        let identity = Subject::EnclaveIdentity { enclave }.key(number);
        self.take(
            CollateralPart::QeIdentity,
            &[identity],
            ask,
            now,
            &mut gathered,
        )
        .await?;
        Ok(gathered)
    }

    /// The number to judge under; none when nothing tells, and then the parts say why.
    async fn number(
        &self,
        subject: Subject,
        ask: &QuoteAsk,
        now: UnixTime,
        gathered: &mut Gathered,
    ) -> Result<Option<EvaluationNumber>, StoreError> {
        if let Choice::Number(number) = ask.choice {
            return Ok(Some(number));
        }
        if ask.at.is_none() && ask.fetch {
            match self
                .collateral()
                .answer(Ask::Subject(subject, ask.choice), now)
                .await
            {
                Ok(answer) => {
                    if let Some(resolved) = answer.resolved {
                        return Ok(Some(resolved.number));
                    }
                }
                Err(refusal) => gathered.notes.push(refusal.to_string()),
            }
        }
        let at = ask.at.unwrap_or(now);
        let number = self.collateral().number_at(subject, ask.choice, at).await?;
        if number.is_none() {
            let why = format!("nothing of {subject} is held from before {at}");
            for part in [CollateralPart::TcbInfo, CollateralPart::QeIdentity] {
                gathered
                    .collateral
                    .set_absent(part, Absent::Missing(why.clone()));
            }
        }
        Ok(number)
    }

    /// Puts a part in its place: the newest edition of the first of `keys` that has one.
    async fn take(
        &self,
        part: CollateralPart,
        keys: &[ArtefactKey],
        ask: &QuoteAsk,
        now: UnixTime,
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        let collateral = self.collateral();
        let at = ask.at.unwrap_or(now);
        let mut missing = format!("no {} is held from before {at}", part.name());
        for key in keys {
            let mut picked = collateral.edition_at(*key, at).await?;
            let stale = match &picked {
                Picked::Edition(edition) => now > edition.next_update(),
                Picked::Broken(_) => false,
                Picked::None => true,
            };
            if stale && ask.at.is_none() && ask.fetch {
                match collateral.answer(asked(*key), now).await {
                    Ok(_) => picked = collateral.edition_at(*key, self.until(ask, now)).await?,
                    Err(refusal) => missing = refusal.to_string(),
                }
            }
            match picked {
                Picked::Edition(edition) => {
                    gathered.sources.note(part, "store");
                    if gathered.collateral.insert(*edition).is_err() {
                        gathered.notes.push(format!("{key} is no {}", part.name()));
                    }
                    return Ok(());
                }
                Picked::Broken(error) => {
                    gathered.collateral.set_absent(part, Absent::Broken(error));
                    return Ok(());
                }
                Picked::None => {}
            }
        }
        gathered
            .collateral
            .set_absent(part, Absent::Missing(missing));
        Ok(())
    }
}

/// How a key is asked for.
fn asked(key: ArtefactKey) -> Ask {
    Subject::of(&key).map_or(Ask::Artefact(key), |(subject, number)| {
        Ask::Subject(subject, Choice::Number(number))
    })
}

/// Some 10 KiB each: a fleet's worth of quotes that come again, and still small beside the rest of the service.
const REMEMBERED: usize = 512;
