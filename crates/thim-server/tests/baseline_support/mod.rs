//! Baselines in force, for tests of what they do.

#![allow(dead_code, reason = "not every test file needs all of it")]

use thim_server::baseline::{BaselineTee, Scope, declared};
use thim_server::baselines::acting::{NotDone, Wish};
use thim_server::baselines::forecasting::Candidate;

use crate::harness::Fleet;

/// Drafts and promotes a baseline of Intel's, whoever drops out.
pub async fn promote(fleet: &Fleet, tenant: &str, tee: &str, selector: &str) {
    promote_for(fleet, tenant, tee, selector, "").await;
}

/// As [`promote`], with more of the rule.
pub async fn promote_for(fleet: &Fleet, tenant: &str, tee: &str, selector: &str, more: &str) {
    let text = format!("selector = {selector}\n{more}");
    promoted(fleet, tenant, tee, &text).await.expect("promoted");
}

/// As [`promote`], where it may be refused.
pub async fn try_promote(
    fleet: &Fleet,
    tenant: &str,
    tee: &str,
    selector: &str,
) -> Result<(), NotDone> {
    promoted(fleet, tenant, tee, &format!("selector = {selector}")).await
}

/// Drafts and promotes a rule as a file has it.
pub async fn promoted(fleet: &Fleet, tenant: &str, tee: &str, rule: &str) -> Result<(), NotDone> {
    let text = format!("[[baseline]]\ntenant = \"{tenant}\"\ntee = \"{tee}\"\n{rule}\n");
    let declared = declared::read(&text).expect("a good file");
    let [one] = declared.as_slice() else {
        panic!("one baseline");
    };
    let (scope, tee, rule): (Scope, BaselineTee, _) =
        (one.scope.clone(), one.tee, one.rule.clone());
    let baselines = &fleet.server().baselines;
    let now = fleet.clock.now();
    baselines.draft(declared, "ops", now).await?;
    let candidate = Candidate {
        scope: scope.clone(),
        tee,
        rule,
        effective: None,
    };
    let foreseen = baselines.foresee(&candidate, now).await?;
    let wish = Wish {
        scope,
        tee,
        version: None,
        forecast: foreseen.digest,
        accept: u32::MAX,
        effective: None,
        reason: String::new(),
    };
    baselines.promote(&wish, "ops", now).await?;
    Ok(())
}
