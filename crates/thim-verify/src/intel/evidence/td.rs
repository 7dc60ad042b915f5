//! Checks that only trust domains have: the TDX module below them, and the attributes they were started with.
//!
//! Rules: spec/intel-verification.md, section 5. Intel's library demands that all SEAM attributes are zero beside
//! demanding what the document says under its mask; so does this. The attributes of a domain are policy, and none of
//! that library's business.

use data_encoding::HEXLOWER;

use super::facts::fact;
use super::findings::{QuoteCheck, QuoteFindings};
use crate::{Fact, ModuleFinding, NotSupported, Outcome, QuoteBody, TcbEvaluation, TdReport};

/// Whether the module is Intel's, and one the TCB info knows.
pub(super) fn tdx_module(report: &TdReport, evaluation: Option<&TcbEvaluation<'_>>) -> Outcome {
    let Some(evaluation) = evaluation else {
        return Outcome::NotChecked("no TCB info of the platform".to_owned());
    };
    let said = |why: NotSupported| Outcome::Failed(why.sentence().to_owned());
    let found = evaluation.module();
    let module = match found {
        ModuleFinding::NotAsked | ModuleFinding::InPlatformLevel(None) => {
            return Outcome::NotChecked("the TCB info describes no TDX module".to_owned());
        }
        ModuleFinding::ListMissing { .. } => return said(NotSupported::ModuleIdentitiesMissing),
        ModuleFinding::EntryMissing { .. } => return said(NotSupported::ModuleIdentityMissing),
        ModuleFinding::InPlatformLevel(Some(module)) => module,
        ModuleFinding::NoLevel(identity) | ModuleFinding::Level(identity, _) => &identity.module,
    };
    let masked = report.seam_attributes.iter().zip(&module.attributes_mask);
    let masked = masked.map(|(byte, mask)| byte & mask);
    let mut differing = Vec::new();
    if report.mr_signer_seam != module.mrsigner {
        differing.push("MRSIGNERSEAM");
    }
    if !masked.eq(module.attributes.iter().copied()) || report.seam_attributes != [0; 8] {
        differing.push("SEAMATTRIBUTES");
    }
    if !differing.is_empty() {
        let names = differing.join(", ");
        return Outcome::Failed(format!("the TDX module and its identity differ in {names}"));
    }
    match evaluation.not_supported() {
        Some(why @ NotSupported::CurrentModuleIdentityMissing) => said(why),
        Some(
            NotSupported::ModuleIdentitiesMissing
            | NotSupported::ModuleIdentityMissing
            | NotSupported::NoModuleLevel
            | NotSupported::NoQeLevel
            | NotSupported::NoSgxLevel
            | NotSupported::NoTdxLevel,
        )
        | None => Outcome::Passed,
    }
}

/// What the domain was started with, as far as it opens the domain to others.
pub(super) fn policy(report: &TdReport) -> impl Iterator<Item = (QuoteCheck, Outcome)> {
    let attributes = report.td_attributes;
    let service = report.mr_service_td.map(|measurement| {
        // MRSERVICETD is of the launch; the extended layout alone tells what was bound since.
        let hashes = report.extension.iter().flat_map(|extension| {
            [
                extension.initial_service_td_hash,
                extension.current_service_td_hash,
            ]
        });
        (
            QuoteCheck::ServiceTd,
            hashes.chain([measurement]).any(|one| one != [0; 48]),
            "a service domain is bound to it, which can act on it",
        )
    });
    [
        (
            QuoteCheck::Debug,
            attributes.debug(),
            "the domain's attributes let the host debug it: its memory is open",
        ),
        (
            QuoteCheck::TdAttributes,
            attributes.untrusted() != 0 || attributes.unknown() != 0,
            "the domain's attributes let the host profile it or debug its migration, or mean something unknown",
        ),
        (
            QuoteCheck::SeptVeDisable,
            !attributes.sept_ve_disable(),
            "pages that the host takes away raise an exception in the domain instead of stopping it",
        ),
        (
            QuoteCheck::Migratable,
            attributes.migratable(),
            "a migration domain may move it, which then holds its secrets too",
        ),
    ]
    .into_iter()
    .chain(service)
    .map(|(check, wrong, why)| {
        let outcome = if wrong {
            Outcome::Failed(why.to_owned())
        } else {
            Outcome::Passed
        };
        (check, outcome)
    })
}

impl QuoteFindings<'_> {
    /// The facts about the TDX module.
    pub(super) fn module(&self) -> Vec<Fact> {
        let QuoteBody::Td(report) = self.quote.body() else {
            return Vec::new();
        };
        let mut facts = vec![
            fact("major-version", report.tee_tcb_svn.module_major_version()),
            fact("isvsvn", report.tee_tcb_svn.module_isv_svn()),
            fact("mrsignerseam", HEXLOWER.encode(&report.mr_signer_seam)),
            fact("seamattributes", HEXLOWER.encode(&report.seam_attributes)),
        ];
        let level = self.evaluation().and_then(|one| one.module().level());
        if let Some(level) = level {
            facts.push(fact("level-isvsvn", level.isv_svn));
            facts.push(fact("level-status", level.status));
            facts.push(fact("level-tcb-date", level.tcb_date));
        }
        facts
    }
}
