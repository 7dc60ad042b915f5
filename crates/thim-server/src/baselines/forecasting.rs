//! What a step would break, before it is taken: the fleet out of the register, the collateral of each number, and the report.
//!
//! A forecast says of every platform what `thim verify quote --number` says of its quote, from what the register knows: the PCK
//! certificate, and what recorded quotes told (TEE TCB SVN, QE ISVSVN). Its digest is over everything that decides it and no
//! clock: who promotes names it, and it is made again then.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{Context, SHA256};
use thim_client::{ForecastColumn, ForecastReport, StandardMove};
use thim_verify::{
    Certificate, Digest, Enclave, EvaluationNumber, Fmspc, PckCertificate, PlatformTcb, Tee,
    UnixTime, amd::Product,
};

use super::forecast::amd::{self, Chip};
use super::forecast::{Column, Documents, Fleet, KnownBy, Subject, report};
use super::{Applied, Baselines, applied, floor_of, overview};
use crate::baseline::{
    AmdRule, AmdTable, BaselineTee, Books, Choice, IntelRule, NotSelected, Rule, Scope, Selector,
    Vendor, select,
};
use crate::collateral::Ask;
use crate::evidence::Picked;
use crate::news::BelowCount;
use crate::store::{ChipFilter, FleetRow, StoreError};
use crate::view::{Subject as Wanted, View};

/// What could be in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// Whose baseline.
    pub scope: Scope,
    /// Of which TEE.
    pub tee: BaselineTee,
    /// What it would want.
    pub rule: Rule,
    /// From when on; `None` for now.
    pub effective: Option<UnixTime>,
}

/// What somebody wants foreseen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// The newest draft.
    Draft,
    /// The rule in force with another selector.
    Selector(Selector),
    /// This rule.
    Rule(Rule),
    /// A version.
    Version(u32),
}

/// A forecast in brief.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Foreseen {
    /// Of everything that decides it.
    pub digest: Digest,
    /// So many platforms pass now and would not.
    pub dropped: u32,
}

/// Which ids are listed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listed {
    /// At most so many in each cause.
    pub limit: usize,
    /// Only those after this one.
    pub after: String,
}

/// Why a forecast cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    /// There is nothing to foresee.
    #[error("{0}")]
    NoCandidate(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Baselines {
    /// What is meant by a target.
    ///
    /// # Errors
    /// [`ForecastError::NoCandidate`] where there is no such draft or version, or a selector for AMD.
    pub fn candidate(
        &self,
        scope: &Scope,
        tee: BaselineTee,
        target: &Target,
        now: UnixTime,
    ) -> Result<Candidate, ForecastError> {
        let books = self.books();
        let ledger = books.ledger(scope, tee);
        let none = |what: String| {
            ForecastError::NoCandidate(format!("baseline {scope} for {tee} has {what}"))
        };
        let rule = match target {
            Target::Draft => {
                let draft = ledger.and_then(|ledger| ledger.draft());
                draft
                    .ok_or_else(|| none("no draft".to_owned()))?
                    .rule
                    .clone()
            }
            Target::Rule(rule) => rule.clone(),
            Target::Selector(selector) => match applied(&books, scope, tee, now).rule {
                Rule::Intel(rule) => Rule::Intel(IntelRule {
                    selector: *selector,
                    ..rule
                }),
                Rule::Amd(_) => return Err(none("no evaluation numbers to select".to_owned())),
            },
            Target::Version(number) => {
                let version = ledger.and_then(|ledger| ledger.version(*number));
                let version = version.ok_or_else(|| none(format!("no version {number}")))?;
                version.rule.clone()
            }
        };
        Ok(Candidate {
            scope: scope.clone(),
            tee,
            rule,
            effective: None,
        })
    }

    /// The forecast of a candidate in brief, as it is now.
    pub async fn foresee(
        &self,
        candidate: &Candidate,
        now: UnixTime,
    ) -> Result<Foreseen, ForecastError> {
        let report = self.forecast(candidate, &Listed::default(), now).await?;
        Ok(Foreseen {
            digest: report.digest.parse().unwrap_or(Digest([0; 32])),
            dropped: u32::try_from(report.dropped).unwrap_or(u32::MAX),
        })
    }

    /// How many platforms are below the baselines in force: `default`'s, and those that tenants have of their own.
    ///
    /// # Errors
    /// The store's.
    pub async fn counts(&self, now: UnixTime) -> Result<Vec<BelowCount>, StoreError> {
        let books = self.books();
        let mut scopes: BTreeSet<(Scope, BaselineTee)> = BaselineTee::ALL
            .into_iter()
            .map(|tee| (Scope::Default, tee))
            .collect();
        let own = books.ledgers().filter(|(scope, _, ledger)| {
            matches!(scope, Scope::Tenant(_)) && ledger.in_force(now).is_some()
        });
        scopes.extend(
            own.take(COUNTED)
                .map(|(scope, tee, _)| (scope.clone(), tee)),
        );
        let mut counts = Vec::with_capacity(scopes.len());
        for (scope, tee) in scopes {
            let candidate = Candidate {
                rule: applied(&books, &scope, tee, now).rule,
                scope: scope.clone(),
                tee,
                effective: None,
            };
            // Nobody waits for a count: it goes by what is held, and asks no vendor.
            let listed = Listed::default();
            let report = match self.made(&candidate, &listed, 0, now).await {
                Ok(report) => report,
                Err(ForecastError::NoCandidate(_)) => continue,
                Err(ForecastError::Store(error)) => return Err(error),
            };
            let of = |word: &str| {
                let column = report.columns.first();
                column.and_then(|column| column.verdicts.get(word).copied())
            };
            counts.push(BelowCount {
                scope,
                tee,
                below: of("below").unwrap_or(0),
                unknown: of("unknown").unwrap_or(0),
                total: report.platforms,
            });
        }
        Ok(counts)
    }

    /// The forecast of a candidate, as it is now.
    pub async fn forecast(
        &self,
        candidate: &Candidate,
        listed: &Listed,
        now: UnixTime,
    ) -> Result<ForecastReport, ForecastError> {
        self.made(candidate, listed, FETCHES, now).await
    }

    async fn made(
        &self,
        candidate: &Candidate,
        listed: &Listed,
        fetches: usize,
        now: UnixTime,
    ) -> Result<ForecastReport, ForecastError> {
        // One at a time: a fleet in memory is enough.
        let _one_at_a_time = self.forecasting.lock().await;
        match (&candidate.rule, candidate.tee.intel()) {
            (Rule::Intel(rule), Some(tee)) => {
                self.of_intel(candidate, rule, tee, listed, fetches, now)
                    .await
            }
            (Rule::Amd(rule), _) => self.of_amd(candidate, rule, listed, now).await,
            (Rule::Intel(_), None) => Err(ForecastError::NoCandidate(
                "a rule of Intel's is none for sev-snp".to_owned(),
            )),
        }
    }

    async fn of_intel(
        &self,
        candidate: &Candidate,
        rule: &IntelRule,
        tee: Tee,
        listed: &Listed,
        mut fetches: usize,
        now: UnixTime,
    ) -> Result<ForecastReport, ForecastError> {
        let books = self.books();
        // What a rule selects is known only with a list.
        if fetches > 0 && self.collateral().view().lists.is_empty() {
            self.collateral().learn_lists(now).await;
        }
        let view = std::sync::Arc::clone(&self.collateral().view());
        let vendor = Vendor {
            lists: &view.lists,
            retired: view.retired,
        };
        // Of a floor, what it does to everybody without a baseline of their own is told.
        let whose = match &candidate.scope {
            Scope::Floor => &Scope::Default,
            scope @ (Scope::Default | Scope::Tenant(_)) => scope,
        };
        let now_holds = applied(&books, whose, candidate.tee, now);
        let current = now_holds.rule.intel().cloned().unwrap_or_default();
        let current_number = number(self.selection(&now_holds, candidate.tee, &view, now));
        // What takes effect later is judged as of then.
        let then = candidate
            .effective
            .map_or(now, |effective| effective.max(now));
        let wanted = number(Some(select(rule, vendor, None, then)));
        let is_floor = candidate.scope == Scope::Floor;
        let (after_rule, after_number) = if is_floor {
            let kept = current_number
                .0
                .filter(|number| wanted.0.is_none_or(|floor| *number >= floor));
            let note = kept.is_none().then(|| "it is below the floor".to_owned());
            (&current, (kept, note))
        } else {
            (rule, wanted.clone())
        };
        let with = |selector| IntelRule {
            selector,
            ..current.clone()
        };
        let (standard, early) = (with(Selector::Standard), with(Selector::Early));
        let standard_number = number(Some(select(&standard, vendor, None, now)));
        let early_number = number(Some(select(&early, vendor, None, now)));
        let follows = !is_floor && rule.selector == Selector::Standard;
        let moves = view.lists.standard_moves(now, MOVES_DAYS);

        let mut numbers: BTreeSet<EvaluationNumber> = BTreeSet::new();
        numbers.extend(
            [
                current_number.0,
                after_number.0,
                standard_number.0,
                early_number.0,
            ]
            .into_iter()
            .flatten(),
        );
        if follows {
            numbers.extend(moves.iter().map(|(_, number)| *number));
        }
        let families = self.store().platform_fmspcs().await?;
        let mut documents: BTreeMap<EvaluationNumber, Documents> = BTreeMap::new();
        for number in numbers {
            let found = self
                .documents(tee, number, &families, &mut fetches, now)
                .await?;
            documents.insert(number, found);
        }
        let mut known: BTreeSet<Fmspc> = documents
            .values()
            .flat_map(|documents| documents.infos.keys().copied())
            .collect();
        // Under whatever number: a family does not change what it is.
        for row in self.store().keys().await? {
            if let Some((Wanted::TcbInfo { tee: of, fmspc, .. }, _)) = Wanted::of(&row.key)
                && of == tee
            {
                known.insert(fmspc);
            }
        }
        let (fleet, not_applicable) = self.fleet(tee, &known).await?;

        static NOTHING: Documents = Documents {
            infos: BTreeMap::new(),
            identity: None,
        };
        let of = |number: Option<EvaluationNumber>| {
            let found = number.and_then(|number| documents.get(&number));
            found.unwrap_or(&NOTHING)
        };
        let judge = |rule, number| Column::judge(rule, number, of(number), &fleet, now);
        let before = judge(&current, current_number.0);
        let documents_after = of(after_number.0);
        let after = Column::judge(after_rule, after_number.0, documents_after, &fleet, then);
        let told = |name, column: &Column<'_>, note: Option<String>, version| ForecastColumn {
            note,
            version,
            ..report::column(name, column, &fleet)
        };
        let columns = vec![
            told(
                "current",
                &before,
                current_number.1.clone(),
                Some(now_holds.version),
            ),
            told("candidate", &after, after_number.1.clone(), None),
            told(
                "standard",
                &judge(&standard, standard_number.0),
                standard_number.1,
                None,
            ),
            told(
                "early",
                &judge(&early, early_number.0),
                early_number.1,
                None,
            ),
        ];
        let (causes, more_causes) =
            report::causes(&before, &after, &fleet, listed.limit, &listed.after);
        let mut told_moves = Vec::new();
        let mut last = None;
        for (at, number) in moves {
            let mut told = StandardMove {
                at: at.to_string(),
                days: at.since(now).div_euclid(DAY_SECS),
                number,
                followed: follows,
                dropped: 0,
                causes: Vec::new(),
                more_causes: 0,
            };
            if follows {
                // What is put up with then is not what is put up with now.
                let then = Column::judge(rule, Some(number), of(Some(number)), &fleet, at);
                let until = last.as_ref().unwrap_or(&after);
                told.dropped = report::dropped(until, &then, &fleet);
                (told.causes, told.more_causes) =
                    report::causes(until, &then, &fleet, listed.limit, &listed.after);
                last = Some(then);
            }
            told_moves.push(told);
        }
        let below_floor = if is_floor {
            self.below(&books, candidate.tee, wanted.0, &view, now)
        } else {
            Vec::new()
        };
        let digest = self.digest_of_intel(
            candidate,
            (&books, &now_holds),
            &before,
            &after,
            &fleet,
            &below_floor,
        );
        let mut known_by: BTreeMap<String, u64> = BTreeMap::new();
        for class in fleet.classes() {
            *known_by
                .entry(class.subject.known_by.name().to_owned())
                .or_default() += class.count;
        }
        Ok(ForecastReport {
            tee: candidate.tee.to_string(),
            tenant: candidate.scope.to_string(),
            at: now.to_string(),
            digest: digest.to_string(),
            rule_digest: candidate.rule.digest().to_string(),
            dropped: report::dropped(&before, &after, &fleet),
            notes: notes(&before, &after),
            platforms: count(fleet.len()),
            not_applicable,
            known_by,
            columns,
            causes,
            more_causes,
            moves: told_moves,
            followers: followers(&books, &candidate.scope, candidate.tee, now),
            below_floor,
        })
    }

    async fn of_amd(
        &self,
        candidate: &Candidate,
        rule: &AmdRule,
        listed: &Listed,
        now: UnixTime,
    ) -> Result<ForecastReport, ForecastError> {
        let books = self.books();
        let is_floor = candidate.scope == Scope::Floor;
        let whose = if is_floor {
            &Scope::Default
        } else {
            &candidate.scope
        };
        let now_holds = applied(&books, whose, candidate.tee, now);
        let current = now_holds.rule.amd().cloned().unwrap_or_default();
        let floor = floor_of(&books, candidate.tee, now);
        let floor = floor.as_ref().and_then(|floor| floor.rule.amd());
        let (after_rule, after_floor) = if is_floor {
            (&current, Some(rule))
        } else {
            (rule, floor)
        };
        let mut chips: Vec<Chip> = Vec::new();
        loop {
            let filter = ChipFilter {
                after: chips.last().map(|chip| chip.id.clone()).unwrap_or_default(),
                limit: PAGE,
                ..ChipFilter::default()
            };
            let page = self.store().chips(&filter).await?;
            let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            chips.extend(page.into_iter().map(|row| {
                let facts = self.products.facts(row.product);
                Chip {
                    id: row.id,
                    product: row.product,
                    reported: row.reported.and_then(|tcb| tcb.decode(facts).ok()),
                }
            }));
            if is_last || chips.len() >= MOST_CHIPS {
                break;
            }
        }
        let judge = |rule: &AmdRule, floor: Option<&AmdRule>, at| -> Vec<amd::ChipStanding> {
            let all = chips.iter();
            all.map(|chip| amd::standing(chip, rule, floor, at))
                .collect()
        };
        // What takes effect later, by the act or by a minimum's own date, comes without another act: judged as of the last of it.
        let dates = rule.minimums.iter().filter_map(|one| one.effective);
        let then = dates.chain(candidate.effective).max();
        let then = then.map_or(now, |then| then.max(now));
        let before = judge(&current, floor, now);
        let after = judge(after_rule, after_floor, then);
        let column = |name: &str, rule: &AmdRule, standings: &[amd::ChipStanding]| {
            let mut told = ForecastColumn {
                name: name.to_owned(),
                version: None,
                rule: serde_json::to_value(rule).unwrap_or_default(),
                number: None,
                note: None,
                statuses: BTreeMap::new(),
                verdicts: BTreeMap::new(),
                unknown: BTreeMap::new(),
                qe_unknown: 0,
                collateral: Vec::new(),
            };
            for one in standings {
                *told.statuses.entry(one.status.to_owned()).or_default() += 1;
                *told
                    .verdicts
                    .entry(one.verdict.name().to_owned())
                    .or_default() += 1;
                if let Some(why) = one.unknown {
                    *told.unknown.entry(why.to_owned()).or_default() += 1;
                }
            }
            told
        };
        let mut hash = self.context(candidate, &books, &now_holds);
        let mut dropped = 0;
        for (chip, (from, to)) in chips.iter().zip(before.iter().zip(&after)) {
            if from.verdict.passes() && !to.verdict.passes() {
                dropped += 1;
            }
            let line = format!(
                "{} {} {} {:?}\n",
                chip.id, from.verdict, to.verdict, chip.reported
            );
            hash.update(line.as_bytes());
        }
        let unknown = chips.iter().filter(|chip| chip.reported.is_none()).count();
        let (causes, more_causes) =
            amd::causes(&chips, &before, &after, listed.limit, &listed.after);
        Ok(ForecastReport {
            tee: candidate.tee.to_string(),
            tenant: candidate.scope.to_string(),
            at: now.to_string(),
            digest: finished(hash).to_string(),
            rule_digest: candidate.rule.digest().to_string(),
            dropped,
            notes: Vec::new(),
            platforms: count(chips.len()),
            not_applicable: 0,
            known_by: [
                ("reported".to_owned(), count(chips.len() - unknown)),
                ("unknown".to_owned(), count(unknown)),
            ]
            .into(),
            columns: vec![
                ForecastColumn {
                    version: Some(now_holds.version),
                    ..column("current", &current, &before)
                },
                column("candidate", after_rule, &after),
            ],
            causes,
            more_causes,
            moves: Vec::new(),
            followers: followers(&books, &candidate.scope, candidate.tee, now),
            below_floor: Vec::new(),
        })
    }

    /// The newest editions of a number, by the vendor's dates. What is missing is asked for while `fetches` lasts.
    async fn documents(
        &self,
        tee: Tee,
        number: EvaluationNumber,
        families: &[Fmspc],
        fetches: &mut usize,
        now: UnixTime,
    ) -> Result<Documents, StoreError> {
        let mut documents = Documents::default();
        let enclave = match tee {
            Tee::Sgx => Enclave::Qe,
            Tee::Tdx => Enclave::TdQe,
        };
        let identity = Wanted::EnclaveIdentity { enclave };
        documents.identity = self.document(identity, number, fetches, now).await?;
        for fmspc in families {
            let wanted = Wanted::TcbInfo {
                tee,
                version: 3,
                fmspc: *fmspc,
            };
            if let Some(found) = self.document(wanted, number, fetches, now).await? {
                documents.infos.insert(*fmspc, found);
            }
        }
        Ok(documents)
    }

    async fn document(
        &self,
        wanted: Wanted,
        number: EvaluationNumber,
        fetches: &mut usize,
        now: UnixTime,
    ) -> Result<Option<thim_verify::Verified<thim_verify::Artefact>>, StoreError> {
        let key = wanted.key(number);
        let held = |picked| match picked {
            Picked::Edition(edition) => Some(*edition),
            Picked::Broken(_) | Picked::None => None,
        };
        let found = held(self.collateral().edition_at(key, now).await?);
        if found.is_some() || *fetches == 0 || !self.collateral().may_ask() {
            return Ok(found);
        }
        *fetches -= 1;
        let ask = Ask::Subject(wanted, Choice::Number(number));
        match self.collateral().answer(ask, now).await {
            Ok(_) => Ok(held(self.collateral().edition_at(key, now).await?)),
            Err(
                crate::collateral::Refusal::Absent { .. }
                | crate::collateral::Refusal::Retired { .. },
            ) => Ok(None),
            Err(_) => {
                // A vendor that does not answer is not waited for again in this forecast.
                *fetches = 0;
                Ok(None)
            }
        }
    }

    /// Every platform of a TEE, and how many are none of it. `known`: families with a TCB info.
    async fn fleet(&self, tee: Tee, known: &BTreeSet<Fmspc>) -> Result<(Fleet, u64), StoreError> {
        let mut fleet = Fleet::default();
        let mut others = 0;
        let mut after = String::new();
        loop {
            let page = self.store().fleet(&after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            for row in &page {
                let is_domain = row.evidence.is_some_and(|one| one.tee_tcb_svn.is_some());
                let has_info = row.fmspc.is_some_and(|fmspc| known.contains(&fmspc));
                // A platform of a family without TDX is no TDX platform, unless a quote of it says otherwise.
                if tee == Tee::Tdx && !has_info && !is_domain {
                    others += 1;
                    continue;
                }
                let subject = self.subject(row, tee).await?;
                fleet.add(&row.id, subject);
            }
        }
        Ok((fleet, others))
    }

    async fn subject(&self, row: &FleetRow, tee: Tee) -> Result<Subject, StoreError> {
        let find = |wanted: &dyn Fn(&thim_verify::RawTcb) -> bool| {
            let mut all = row.certificates.iter();
            all.find(|(tcbm, _)| wanted(tcbm))
                .map(|(_, digest)| *digest)
        };
        // What was seen last is how the platform is now; what nobody told stands against no quote.
        let told = row.raw.filter(|raw| raw.told);
        let quoted = row
            .evidence
            .filter(|one| told.is_none_or(|raw| raw.last <= one.seen));
        let by_quote = quoted.and_then(|one| find(&|tcbm| *tcbm == one.pck_tcb));
        let anybodys = row.raw.filter(|_| row.evidence.is_none());
        let raw = told.or(anybodys).map(|raw| raw.tcb);
        let raw = raw.or(row.evidence.map(|one| one.pck_tcb));
        let by_raw = || raw.and_then(|raw| find(&|tcbm| raw.covers(tcbm)));
        let (digest, known_by) = match by_quote {
            Some(digest) => (Some(digest), KnownBy::Quote),
            None => match (by_raw(), raw) {
                (Some(digest), _) => (Some(digest), KnownBy::RawTcb),
                // It was seen with a TCB that no certificate is for.
                (None, Some(_)) => (None, KnownBy::Unknown),
                (None, None) => (find(&|_| true), KnownBy::HighestCertificate),
            },
        };
        let tcb = match digest {
            Some(digest) => self.components(&row.id, digest).await?,
            None => None,
        };
        let domain = row.evidence.filter(|_| tee == Tee::Tdx);
        Ok(Subject {
            fmspc: row.fmspc,
            tcb,
            tee_tcb_svn: domain.and_then(|one| one.tee_tcb_svn),
            tee_tcb_svn2: domain.and_then(|one| one.tee_tcb_svn2),
            // Another TEE's quoting enclave has another identity.
            qe_isv_svn: row
                .evidence
                .filter(|one| one.tee == tee)
                .map(|one| one.qe_isv_svn),
            known_by: if tcb.is_some() {
                known_by
            } else {
                KnownBy::Unknown
            },
        })
    }

    /// The components of a platform's PCK certificate. They are remembered: a certificate does not change.
    async fn components(
        &self,
        platform: &str,
        digest: Digest,
    ) -> Result<Option<PlatformTcb>, StoreError> {
        if let Some(known) = self.components.get(&digest) {
            return Ok(Some(known));
        }
        let pem = self.store().pck_pem(platform, digest).await?;
        let leaf = pem
            .and_then(|pem| Certificate::from_pem_bundle(&pem).ok())
            .and_then(|all| all.into_iter().next())
            .and_then(|leaf| PckCertificate::from_certificate(leaf).ok());
        let tcb = leaf.as_ref().map(PlatformTcb::from);
        if let Some(tcb) = tcb {
            self.components.insert(digest, tcb);
        }
        Ok(tcb)
    }

    fn digest_of_intel(
        &self,
        candidate: &Candidate,
        (books, now_holds): (&Books, &Applied),
        before: &Column<'_>,
        after: &Column<'_>,
        fleet: &Fleet,
        below_floor: &[String],
    ) -> Digest {
        let mut hash = self.context(candidate, books, now_holds);
        hash.update(format!("{}\n", below_floor.join(" ")).as_bytes());
        for column in [before, after] {
            let used = column
                .documents
                .infos
                .values()
                .chain(&column.documents.identity);
            let ids: Vec<String> = used.map(|artefact| artefact.id().to_string()).collect();
            hash.update(format!("{:?} {}\n", column.number, ids.join(" ")).as_bytes());
        }
        let lines: Vec<String> = before
            .standings
            .iter()
            .zip(&after.standings)
            .map(|(from, to)| {
                let (one, two) = (from.status_name(), to.status_name());
                format!(" {one} {} {two} {}\n", from.verdict, to.verdict)
            })
            .collect();
        for (id, class) in fleet.members() {
            hash.update(id.as_bytes());
            hash.update(lines.get(class).map_or(&[], |line| line.as_bytes()));
        }
        finished(hash)
    }

    /// What decides a forecast beside the fleet: the rule, what is in force, the floor, and who acted last.
    fn context(&self, candidate: &Candidate, books: &Books, now_holds: &Applied) -> Context {
        let mut hash = Context::new(&SHA256);
        let head = |scope: &Scope| {
            let ledger = books.ledger(scope, candidate.tee);
            ledger.map_or(Digest([0; 32]), |ledger| ledger.head())
        };
        let text = format!(
            "thim-forecast-1\n{}\n{}\n{}\n{} {} {}\n{}\n{}\n",
            candidate.scope,
            candidate.tee,
            head(&candidate.scope),
            now_holds.scope,
            now_holds.version,
            now_holds.rule.digest(),
            head(&Scope::Floor),
            candidate.rule.digest()
        );
        hash.update(text.as_bytes());
        if candidate.scope == Scope::Floor {
            // It is everybody's, so what anybody did counts.
            let all = books.ledgers().filter(|(_, tee, _)| *tee == candidate.tee);
            for (_, _, ledger) in all {
                hash.update(&ledger.head().0);
            }
        }
        hash
    }

    /// Scopes whose number would be below a floor.
    fn below(
        &self,
        books: &Books,
        tee: BaselineTee,
        floor: Option<EvaluationNumber>,
        view: &View,
        now: UnixTime,
    ) -> Vec<String> {
        let Some(floor) = floor else {
            return Vec::new();
        };
        let tenants = books.tenants().map(|tenant| Scope::Tenant(tenant.clone()));
        let all = std::iter::once(Scope::Default).chain(tenants);
        all.filter(|scope| {
            let holds = applied(books, scope, tee, now);
            let number = number(self.selection(&holds, tee, view, now)).0;
            number.is_some_and(|number| number < floor)
        })
        .map(|scope| scope.to_string())
        .collect()
    }

    /// Why a candidate is below the operator's floor, if it is.
    pub fn below_floor(&self, candidate: &Candidate, now: UnixTime) -> Option<String> {
        if candidate.scope == Scope::Floor {
            return None;
        }
        let now = candidate
            .effective
            .map_or(now, |effective| effective.max(now));
        let floor = floor_of(&self.look(), candidate.tee, now)?;
        let view = self.collateral().view();
        let vendor = Vendor {
            lists: &view.lists,
            retired: view.retired,
        };
        match (&candidate.rule, &floor.rule) {
            (Rule::Intel(rule), Rule::Intel(_)) => {
                let number = select(rule, vendor, None, now).ok()?.number;
                let least = self.least(&floor, candidate.tee, &view, now)?;
                (number < least).then(|| {
                    format!("evaluation number {number} is below the operator's floor, {least}")
                })
            }
            (Rule::Amd(rule), Rule::Amd(floor)) => {
                let table = AmdTable::builtin();
                Product::ALL.into_iter().find_map(|product| {
                    let least = floor.effective_minimum(table, product, now)?.tcb();
                    let wanted = rule.effective_minimum(table, product, now)?.tcb();
                    (!wanted.covers(&least))
                        .then(|| format!("the minimum for {product} is below the operator's floor"))
                })
            }
            (Rule::Amd(_), Rule::Intel(_)) | (Rule::Intel(_), Rule::Amd(_)) => None,
        }
    }

    /// The least number that the floor in force allows; `None` where it is not known, or there is no floor.
    pub fn floor_number(&self, tee: BaselineTee, now: UnixTime) -> Option<EvaluationNumber> {
        let floor = floor_of(&self.look(), tee, now)?;
        self.least(&floor, tee, &self.collateral().view(), now)
    }

    fn least(
        &self,
        floor: &Applied,
        tee: BaselineTee,
        view: &View,
        now: UnixTime,
    ) -> Option<EvaluationNumber> {
        super::serving::least(self.selection(floor, tee, view, now)?).ok()
    }
}

/// A number, or why there is none.
fn number(
    selected: Option<Result<crate::baseline::Selection, NotSelected>>,
) -> (Option<EvaluationNumber>, Option<String>) {
    match selected {
        None => (None, None),
        Some(Ok(selection)) => (Some(selection.number), overview::note(&selection)),
        Some(Err(why)) => (None, Some(overview::sentence(why))),
    }
}

fn followers(books: &Books, scope: &Scope, tee: BaselineTee, now: UnixTime) -> Vec<String> {
    if *scope != Scope::Default {
        return Vec::new();
    }
    let tenants = books.tenants();
    tenants
        .filter(|tenant| {
            let scope = Scope::Tenant((*tenant).clone());
            books.in_force(&scope, tee, now).is_none()
        })
        .map(ToString::to_string)
        .take(FOLLOWERS)
        .collect()
}

fn notes(before: &Column<'_>, after: &Column<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let qe_unknown = [before, after].iter().any(|column| {
        let mut all = column.standings.iter();
        all.any(|standing| standing.qe_unknown)
    });
    if qe_unknown {
        notes.push("Of some platforms no quote told the version of the quoting enclave; they are judged without it.".to_owned());
    }
    if after.documents.identity.is_none() && after.number.is_some() {
        notes.push("The quoting enclave's identity under the candidate's number is not held; platforms are judged without it.".to_owned());
    }
    notes
}

fn finished(hash: Context) -> Digest {
    let bytes = hash.finish();
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(bytes.as_ref()) {
        *to = *from;
    }
    Digest(digest)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

const DAY_SECS: i64 = 86_400;
/// Thirteen months: every number that is listed today becomes standard within.
const MOVES_DAYS: u32 = 400;
/// Rows of the register in memory at once.
const PAGE: u32 = 500;
/// A fleet of a few families and numbers misses fewer; the refresh keeps what baselines need.
const FETCHES: usize = 32;
/// Some 100 MB.
const MOST_CHIPS: usize = 2_000_000;
/// Each is a look at the whole fleet.
const COUNTED: usize = 100;
/// A list that somebody reads.
const FOLLOWERS: usize = 1_000;
