//! How something that was missed is fetched: what has to be known first, one flight for all who ask, one source
//! after the other until one gives what is admitted.

use std::sync::Arc;
use std::time::Duration;

use thim_verify::{ArtefactKey, Certificate, Error, Tee, UnixTime, parse, parse_for};

use crate::admission::{Offer, Refused, event};
use crate::baseline::Choice;
use crate::collateral::{Ask, Collateral, Refusal, describe, locate};
use crate::sentinel::{Origin, Remark, Severity};
use crate::upstream::{FetchError, Fetched, Lane, Request, Source, Turn, Wanted};
use crate::view::{Resolved, Subject, View};

/// When a flight has nothing to fetch any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answered {
    /// It fetches in any case.
    Never,
    /// Its key was confirmed or admitted at this instant or later.
    SeenSince(UnixTime),
    /// What was missed can be served.
    WhenServable,
}

impl Collateral {
    pub(crate) async fn fetch_in_time(
        self: &Arc<Self>,
        ask: Ask,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        match tokio::time::timeout(MISS_PATIENCE, self.fetch(ask, now)).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::Unavailable {
                what: describe(ask),
                why: "no upstream answered in time".to_owned(),
            }),
        }
    }

    /// Fetches what `ask` wants, together with what is needed to choose its number and to judge its signer.
    pub(crate) async fn fetch(self: &Arc<Self>, ask: Ask, now: UnixTime) -> Result<(), Refusal> {
        if ask.is_amd() {
            // The list first: it judges the chain.
            if let Ask::Artefact(ArtefactKey::AmdCertChain { product, kind }) = ask
                && self.amd.crl(product, kind).is_none()
            {
                self.prepare(Ask::Artefact(ArtefactKey::AmdCrl { product, kind }), now)
                    .await;
            }
            return self
                .fly(ask, now, Lane::Background, Answered::WhenServable)
                .await;
        }
        let needs_list = matches!(ask, Ask::Subject(..)) && self.published.load().lists.is_empty();
        let needs_root_crl =
            ask != Ask::Artefact(ArtefactKey::RootCrl) && self.root_crl.load().is_none();
        let list = async {
            if needs_list {
                let tee = if let Ask::Subject(Subject::TcbInfo { tee, .. }, _) = ask {
                    tee
                } else {
                    Tee::Sgx
                };
                self.prepare(Ask::Artefact(ArtefactKey::EvaluationNumbers { tee }), now)
                    .await;
            }
        };
        let root_crl = async {
            if needs_root_crl {
                self.prepare(Ask::Artefact(ArtefactKey::RootCrl), now).await;
            }
        };
        futures_util::future::join(list, root_crl).await;
        // The list may just have told which number it is, and that may be held.
        if needs_list && (self.peek(ask, now).is_some() || self.look_up(ask, now).await?.is_some())
        {
            return Ok(());
        }
        self.fly(ask, now, Lane::Miss, Answered::WhenServable).await
    }

    /// Fetches something another fetch would like to have, for a bounded time, and remembers a failure.
    pub(crate) async fn prepare(self: &Arc<Self>, ask: Ask, now: UnixTime) {
        if self.flights.recent_failure(&ask, now).is_some() {
            return;
        }
        // The other lane of AMD's sources is for certificates of chips.
        let lane = if ask.is_amd() {
            Lane::Background
        } else {
            Lane::Miss
        };
        if let Ok(Err(refusal)) = tokio::time::timeout(
            PREPARE_PATIENCE,
            self.fly(ask, now, lane, Answered::WhenServable),
        )
        .await
        {
            let until = now.plus_secs(refusal.remembered_secs());
            self.flights.remember(ask, refusal, until);
        }
    }

    /// Fetches the lists of evaluation numbers where none is held, as a miss does before it fetches.
    pub(crate) async fn learn_lists(self: &Arc<Self>, now: UnixTime) {
        for tee in thim_verify::Tee::ALL {
            let ask = Ask::Artefact(ArtefactKey::EvaluationNumbers { tee });
            if self.view().lists.is_empty() && self.may_fetch(ask).is_ok() {
                self.prepare(ask, now).await;
            }
        }
    }

    /// One fetch for all who ask for the same.
    pub(crate) async fn fly(
        self: &Arc<Self>,
        ask: Ask,
        now: UnixTime,
        lane: Lane,
        answered: Answered,
    ) -> Result<(), Refusal> {
        let request = Request {
            wanted: wanted(
                ask,
                locate(&self.published.load(), ask, now),
                &self.published.load(),
            ),
        };
        let this = Arc::clone(self);
        self.flights
            .join(ask, move || async move {
                // Between a caller's look and the start of this flight another one may have landed.
                if this.is_answered(ask, now, answered) {
                    return Ok(());
                }
                this.ask_upstreams(ask, request, lane).await
            })
            .await
            .unwrap_or(Err(Refusal::Busy {
                retry_after_secs: 1,
            }))
    }

    fn is_answered(&self, ask: Ask, now: UnixTime, answered: Answered) -> bool {
        match (answered, ask) {
            (Answered::Never, _) => false,
            (Answered::SeenSince(since), Ask::Artefact(key)) => self
                .view()
                .ready
                .get(&key)
                .is_some_and(|ready| ready.seen >= since),
            (Answered::SeenSince(_), _) => false,
            (Answered::WhenServable, _) => self.peek(ask, now).is_some(),
        }
    }

    /// Asks one source after the other until one gives what is admitted.
    pub(crate) async fn ask_upstreams(
        self: Arc<Self>,
        ask: Ask,
        request: Request,
        lane: Lane,
    ) -> Result<(), Refusal> {
        let mut failures = Vec::new();
        let sources: Vec<&Source> = if request.is_amd() {
            self.kds().sources().collect()
        } else {
            self.intel().sources_for(&request).collect()
        };
        let mut sources = sources.into_iter().peekable();
        while let Some(source) = sources.next() {
            let (result, turn) = source.get(&request, lane, sources.peek().is_none()).await;
            self.note_upstream(source, turn, &result).await;
            match result {
                Err(error) => {
                    if matches!(error, FetchError::Retired) {
                        self.note_retired(&request, true).await;
                    }
                    failures.push(Refusal::from_fetch(describe(ask), &error));
                }
                Ok(fetched) => match self.take(ask, &request, fetched).await {
                    Ok(()) => {
                        self.note_retired(&request, false).await;
                        return Ok(());
                    }
                    Err(refusal) => {
                        self.metrics.upstream(source.name(), "refused");
                        failures.push(refusal);
                    }
                },
            }
        }
        Err(Refusal::gravest(describe(ask), failures))
    }

    /// Learns from an answer which numbers the vendor signs no longer: a 410 says it of the number and those below, a
    /// document takes it back.
    async fn note_retired(&self, request: &Request, is_gone: bool) {
        let (Wanted::EnclaveIdentity { choice, .. } | Wanted::TcbInfo { choice, .. }) =
            request.wanted
        else {
            return;
        };
        let Choice::Number(number) = choice else {
            return;
        };
        let known = self.view().retired;
        let now_known = if is_gone {
            Some(known.map_or(number, |known| known.max(number)))
        } else if known.is_some_and(|known| number <= known) {
            Some(number.saturating_sub(1)).filter(|number| *number > 0)
        } else {
            known
        };
        if known == now_known {
            return;
        }
        self.published.change(|view| view.retired = now_known);
        if let Err(error) = self.store.note_retired_number(now_known).await {
            self.storage(&error);
        }
    }

    /// The vendor's list of FMSPCs, and how old it is in seconds; fetched again after an hour.
    pub(crate) async fn fmspcs(
        self: &Arc<Self>,
        now: UnixTime,
    ) -> Result<(Vec<crate::fmspcs::Row>, i64), Refusal> {
        let ask = Ask::Fmspcs;
        let kept = |at_most: i64| {
            let kept = self
                .fmspcs
                .load_full()
                .filter(|kept| now.since(kept.0) < at_most)?;
            Some((
                crate::fmspcs::read(&kept.1).unwrap_or_default(),
                now.since(kept.0),
            ))
        };
        if let Some(found) = kept(FMSPCS_SECS) {
            return Ok(found);
        }
        let failure = match self.flights.recent_failure(&ask, now) {
            Some(failure) => failure,
            None => match self.may_fetch(ask).and(self.fetch_in_time(ask, now).await) {
                Ok(()) => {
                    return kept(FMSPCS_SECS).ok_or(Refusal::Busy {
                        retry_after_secs: 1,
                    });
                }
                Err(refusal) => {
                    self.flights.remember(
                        ask,
                        refusal.clone(),
                        now.plus_secs(refusal.remembered_secs()),
                    );
                    refusal
                }
            },
        };
        // An older list is better than none: FMSPCs are added and never taken away.
        kept(i64::MAX).ok_or(failure)
    }

    /// Admits what an upstream sent for `ask`, if it is that.
    pub(crate) async fn take(
        &self,
        ask: Ask,
        request: &Request,
        fetched: Fetched,
    ) -> Result<(), Refusal> {
        let at = fetched.at;
        let untrusted = |why: String| Refusal::Untrusted {
            what: describe(ask),
            why,
        };
        if request.wanted == Wanted::Fmspcs {
            crate::fmspcs::read(&fetched.body).map_err(|why| untrusted(why.to_owned()))?;
            self.fmspcs.store(Some(Arc::new((at, fetched.body))));
            return Ok(());
        }
        let parsed = match ask {
            Ask::Artefact(key) => parse_for(key, &fetched.body),
            Ask::Fmspcs | Ask::Subject(..) => parse(&fetched.body),
        };
        let unverified = match parsed {
            Ok(unverified) => unverified,
            Err(error) => {
                self.quarantine(&fetched.url, None, &error, fetched.body, at)
                    .await
                    .map_err(|error| self.storage(&error))?;
                return Err(untrusted(error.to_string()));
            }
        };
        let delivered = match fetched.chain.as_deref().map(Certificate::from_pem_bundle) {
            None => Vec::new(),
            Some(Ok(certificates)) => certificates,
            Some(Err(error)) => return Err(untrusted(format!("its issuer chain: {error}"))),
        };
        if let Err(why) = answers(ask, request, unverified.key()) {
            let error = Error::WrongIssuer {
                expected: why,
                found: unverified.key().to_string(),
            };
            self.quarantine(
                &fetched.url,
                Some(unverified.key()),
                &error,
                fetched.body,
                at,
            )
            .await
            .map_err(|error| self.storage(&error))?;
            return Err(untrusted(error.to_string()));
        }
        let offer = Offer {
            unverified,
            delivered: &delivered,
            origin: Origin::Upstream,
            source: &fetched.url,
            called: request.called(),
            at,
        };
        match self.offer(offer).await {
            Ok(_) => Ok(()),
            Err(Refused::Store(error)) => Err(self.storage(&error)),
            Err(refused @ (Refused::Future(_) | Refused::Judged(_) | Refused::Unverified(_))) => {
                Err(untrusted(refused.to_string()))
            }
        }
    }

    /// Counts an upstream's answer, and tells of a breaker that has turned.
    pub(crate) async fn note_upstream(
        &self,
        source: &Source,
        turn: Turn,
        result: &Result<Fetched, FetchError>,
    ) {
        let counted = match result {
            Ok(_) => "ok",
            Err(FetchError::Absent) => "absent",
            Err(FetchError::Budget { .. }) => "budget",
            Err(FetchError::KeyRefused { .. }) => "key-refused",
            Err(FetchError::Refused { .. }) => "refused",
            Err(FetchError::Retired) => "retired",
            Err(FetchError::Storage) => {
                self.metrics.store_failed();
                "storage"
            }
            Err(FetchError::Throttled { .. }) => "throttled",
            Err(FetchError::Unavailable { .. }) => "unavailable",
        };
        self.metrics.upstream(source.name(), counted);
        self.metrics.upstream_up(source.name(), source.is_up());
        let remark = match turn {
            Turn::Closed => Remark::new(
                "upstream.up",
                Severity::Info,
                format!("{} answers again", source.name()),
            ),
            Turn::Opened => {
                let why = result
                    .as_ref()
                    .err()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                Remark::new(
                    "upstream.down",
                    Severity::Alarm,
                    format!("{} does not answer: {why}", source.name()),
                )
            }
            Turn::Same => return,
        };
        if let Err(error) = self
            .record(vec![event(source.now(), remark, None, None)])
            .await
        {
            tracing::error!(error = %error, "an event could not be written");
        }
    }
}

/// What to ask an upstream for. By number where a list tells it: nothing then answers with another.
fn wanted(ask: Ask, located: Option<(ArtefactKey, Option<Resolved>)>, view: &View) -> Wanted {
    match ask {
        Ask::Artefact(ArtefactKey::AmdCertChain { product, kind }) => {
            Wanted::AmdCertChain { product, kind }
        }
        Ask::Artefact(ArtefactKey::AmdCrl { product, kind }) => Wanted::AmdCrl { product, kind },
        Ask::Artefact(ArtefactKey::EvaluationNumbers { tee }) => Wanted::EvaluationNumbers { tee },
        Ask::Artefact(ArtefactKey::PckCrl { ca }) => Wanted::PckCrl { ca },
        Ask::Artefact(ArtefactKey::RootCrl) => Wanted::RootCrl,
        Ask::Artefact(ArtefactKey::EnclaveIdentity {
            enclave, number, ..
        }) => Wanted::EnclaveIdentity {
            enclave,
            choice: Choice::Number(number),
        },
        Ask::Artefact(ArtefactKey::TcbInfo {
            tee, fmspc, number, ..
        }) => Wanted::TcbInfo {
            tee,
            fmspc,
            choice: Choice::Number(number),
        },
        Ask::Fmspcs => Wanted::Fmspcs,
        Ask::Subject(subject, choice) => {
            let choice = match located {
                Some((_, Some(resolved))) if !view.lists.is_empty() => {
                    Choice::Number(resolved.number)
                }
                _ => choice,
            };
            match subject {
                Subject::EnclaveIdentity { enclave } => Wanted::EnclaveIdentity { enclave, choice },
                Subject::TcbInfo { tee, fmspc, .. } => Wanted::TcbInfo { tee, fmspc, choice },
            }
        }
    }
}

/// Is a document what was asked for? The number may be the source's choice only where none was named.
fn answers(ask: Ask, request: &Request, found: ArtefactKey) -> Result<(), String> {
    let fits = match (request.wanted, found) {
        (
            Wanted::TcbInfo { tee, fmspc, choice },
            ArtefactKey::TcbInfo {
                tee: t,
                version: 3,
                fmspc: f,
                number,
            },
        ) => {
            tee == t && fmspc == f && !matches!(choice, Choice::Number(wanted) if wanted != number)
        }
        (
            Wanted::EnclaveIdentity { enclave, choice },
            ArtefactKey::EnclaveIdentity {
                enclave: e, number, ..
            },
        ) => enclave == e && !matches!(choice, Choice::Number(wanted) if wanted != number),
        _ => matches!(ask, Ask::Artefact(key) if key == found),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("an answer to {}", request.path()))
    }
}

/// The list of FMSPCs changes a few times a year.
const FMSPCS_SECS: i64 = 3600;
/// A miss waits no longer than this for the list and the root CRL that come before it.
const PREPARE_PATIENCE: Duration = Duration::from_secs(2);
/// "Misses answer within a bounded time": 10 s with some to spare. The flight goes on without the caller.
const MISS_PATIENCE: Duration = Duration::from_millis(9_500);
