//! The operator's floor: which number it allows, who would be below it, and why a candidate may not be promoted.

use thim_verify::amd::Product;
use thim_verify::{EvaluationNumber, UnixTime};

use super::{Candidate, number};
use crate::baseline::{BaselineTee, Books, Rule, Scope, Vendor, select};
use crate::baselines::{Applied, Baselines, applied, floor_of};
use crate::view::View;

impl Baselines {
    /// Scopes whose number would be below a floor.
    pub(super) fn below(
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
        let now = candidate.judged_at(now);
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
            (Rule::Amd(rule), Rule::Amd(floor)) => Product::ALL.into_iter().find_map(|product| {
                let least = floor.least_tcb(product, now)?;
                let wanted = rule.least_tcb(product, now)?;
                (!wanted.covers(&least))
                    .then(|| format!("the minimum for {product} is below the operator's floor"))
            }),
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
        crate::baselines::serving::least(self.selection(floor, tee, view, now)?).ok()
    }
}
