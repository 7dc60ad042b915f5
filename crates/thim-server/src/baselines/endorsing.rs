//! What a caller's baseline says of an AMD chip's TCB. A VCEK is a fact and always served; whether the TCB it is of is recent
//! enough stands in `THIM-Baseline` beside it.

use thim_verify::UnixTime;
use thim_verify::amd::{ProductFacts, TcbVersion};

use super::Baselines;
use crate::baseline::verdict::short_of;
use crate::baseline::{BaselineTee, Judgement, Rule, Scope, Verdict};

impl Baselines {
    /// The value of `THIM-Baseline` for a TCB of a product: a structured field (RFC 9651), `default; version=3; verdict=below;
    /// short="snp 8<23"`. The verdict is `below-floor` where the operator's floor is not met. `None` where nobody ever acted.
    pub fn snp_header(
        &self,
        tenant: Option<&str>,
        facts: &ProductFacts,
        tcb: TcbVersion,
        now: UnixTime,
    ) -> Option<String> {
        let books = self.look();
        let tee = BaselineTee::SevSnp;
        let now_or_later = books.latest()?.max(now);
        let in_force = |scope: &Scope| books.in_force(scope, tee, now_or_later);
        let tenant: Option<Scope> = tenant.and_then(|name| name.parse().ok());
        let own = tenant.as_ref().and_then(&in_force);
        let holds = own.or_else(|| in_force(&Scope::Default));
        let floor = in_force(&Scope::Floor);
        if holds.is_none() && floor.is_none() {
            return None;
        }
        let reported = tcb.decode(facts).ok();
        let judged = |rule: &Rule| {
            let minimum = rule.amd()?.least_tcb(facts.product(), now);
            let verdict = Judgement::of_amd(minimum.as_ref(), reported.as_ref()).verdict;
            Some((verdict, minimum))
        };
        let floored = floor.and_then(|floor| judged(&floor.version.rule));
        let (mut verdict, mut minimum) = holds
            .and_then(|holds| judged(&holds.version.rule))
            .unwrap_or((Verdict::Unknown, None));
        let mut word = verdict.name();
        if let Some((Verdict::Below, least)) = floored {
            (verdict, minimum, word) = (Verdict::Below, least, "below-floor");
        }
        let scope = tenant.as_ref().filter(|_| own.is_some());
        let scope = scope.map_or(Scope::Default.as_str(), Scope::as_str);
        let version = holds.map_or(0, |holds| holds.version.number);
        let mut text = format!("{scope}; version={version}; verdict={word}");
        if let (Verdict::Below, Some(minimum), Some(reported)) = (verdict, minimum, reported) {
            let short: Vec<String> = short_of(&reported, &minimum)
                .into_iter()
                .map(|(component, have, need)| {
                    let number = |value: Option<u8>| {
                        value.map_or_else(|| "none".to_owned(), |value| value.to_string())
                    };
                    format!("{} {}<{}", component.name(), number(have), number(need))
                })
                .collect();
            text.push_str(&format!("; short=\"{}\"", short.join(", ")));
        }
        Some(text)
    }
}
