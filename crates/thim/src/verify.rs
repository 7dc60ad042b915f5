//! `thim verify`: a judgement without a store. `collateral`, here: each signed object among the files is verified with
//! the configured trust, the certificates among the files, and the newest root CRL among them. `report`: [`report`]; `quote`: [`quote`].

mod gathering;
mod material;
mod quote;
mod quote_text;
mod report;
mod report_text;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;
use thim_server::clock::Clock;
use thim_server::config::Config;
use thim_server::intake::{self, FoundEndorsement, Gathered, Object};
use thim_verify::amd::VerifiedAmd;
use thim_verify::{
    Artefact, ArtefactKey, Certificate, Digest, Error, Issuers, Revocation, UnixTime, Verified,
};

use crate::verify_amd::{self, Told, Trusted};
use crate::{progress::Progress, tables};

/// Verify files without a store
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Verify every signed object in files and folders
    ///
    /// Signatures, chains at the issue date, and revocation as far as a root CRL (of AMD's authorities: a CRL) is among
    /// the files; AMD's certificates of chips by the chains among the files or built in. Exit codes:
    /// 0 all verify; 1 something was refused, or with --strict something has expired or its revocation could not
    /// be looked up; 2 could not tell (a file could not be read, or there is no object). That an object has
    /// expired is said, and is no refusal: it is genuine history.
    Collateral {
        /// Files and folders
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Judge at this instant [default: now]
        #[arg(long, value_name = "RFC3339")]
        at: Option<UnixTime>,
        /// The configuration file (TOML), for its [trust]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Expired objects and unchecked revocation count as refused
        #[arg(long)]
        strict: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    Quote(Box<quote::Args>),
    Report(Box<report::Args>),
}

/// What became of one object.
#[derive(Serialize)]
struct Judgement {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    kind: String,
    /// `verified` or `refused`.
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_update: Option<String>,
    /// `current` or `expired` at the instant of the judgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    freshness: Option<&'static str>,
    /// Common names, issuer first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chain: Vec<String>,
    /// `checked`, `unchecked`, or `not-applicable` for the root's own list.
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Report {
    at: String,
    verified: usize,
    expired: usize,
    refused: usize,
    ignored: u64,
    unreadable: Vec<thim_client::Refused>,
    objects: Vec<Judgement>,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    let (paths, at, config, strict, json) = match args.what {
        What::Collateral {
            paths,
            at,
            config,
            strict,
            json,
        } => (paths, at, config, strict, json),
        What::Quote(args) => return quote::run(*args),
        What::Report(args) => return report::run(*args),
    };
    crate::collateral::carry_out(async move {
        let config = Config::load(config.as_deref()).map_err(|error| error.to_string())?;
        let anchors = config.anchors().map_err(|error| error.to_string())?;
        let amd_anchors = config.amd_anchors().map_err(|error| error.to_string())?;
        let products = config.amd.products().map_err(|error| error.to_string())?;
        let at = at.unwrap_or_else(|| Clock::system().now());
        let mut reading = Progress::new("reading");
        let mut gathered = intake::read(&paths, &mut |files| {
            reading.at(usize::try_from(files).unwrap_or(usize::MAX), 0)
        });
        drop(reading);
        gathered.found.join_chains(&amd_anchors);
        let amd = Trusted::new(&gathered.found.objects, amd_anchors, products, at);
        let report = judge(gathered, Issuers::new(anchors), &amd, at);
        if json {
            tables::json(&report)?;
        } else {
            print(&report);
        }
        verdict(&report, strict)
    })
}

/// Yes, no, or why it cannot be told.
fn verdict(report: &Report, strict: bool) -> Result<bool, String> {
    let unchecked = report
        .objects
        .iter()
        .any(|object| object.revocation == Some(UNCHECKED));
    if report.refused > 0 || strict && (report.expired > 0 || unchecked) {
        Ok(false)
    } else if !report.unreadable.is_empty() {
        Err("something could not be read".to_owned())
    } else if report.verified == 0 {
        Err("there is no signed object among the files".to_owned())
    } else {
        Ok(true)
    }
}

fn judge(gathered: Gathered, mut issuers: Issuers, amd: &Trusted, at: UnixTime) -> Report {
    let Gathered {
        found,
        ignored,
        unreadable,
    } = gathered;
    for certificate in found.certificates {
        // What does not lead to a trusted root helps nobody; objects that need it will say so.
        let _ = issuers.insert(certificate);
    }
    let root_crl = found
        .objects
        .iter()
        .filter(|object| object.unverified.key() == ArtefactKey::RootCrl)
        .filter_map(|object| object.verified(&issuers, None, at).ok())
        .max_by_key(|list| (list.issued(), list.id()));
    let mut objects: Vec<Judgement> = found
        .objects
        .iter()
        .map(|object| {
            if object.unverified.key().kind().vendor() == "amd" {
                return judgement(object, amd.artefact(object).as_ref().map(of_amd), at);
            }
            judgement(
                object,
                object
                    .verified(&issuers, root_crl.as_ref(), at)
                    .as_ref()
                    .map(of_intel),
                at,
            )
        })
        .collect();
    objects.extend(
        found
            .endorsements
            .iter()
            .map(|one| endorsed(one, amd.endorsement(one), at)),
    );
    objects.extend(found.flaws.into_iter().map(|flaw| Judgement {
        path: flaw.path,
        key: None,
        kind: flaw.kind.to_owned(),
        verdict: REFUSED,
        id: None,
        issued: None,
        next_update: None,
        freshness: None,
        chain: Vec::new(),
        revocation: None,
        reason: Some(flaw.error.to_string()),
    }));
    objects.sort_by(|a, b| a.path.cmp(&b.path));
    let count =
        |test: &dyn Fn(&Judgement) -> bool| objects.iter().filter(|object| test(object)).count();
    Report {
        at: at.to_string(),
        verified: count(&|object| object.verdict == VERIFIED),
        expired: count(&|object| object.verdict == VERIFIED && object.freshness == Some("expired")),
        refused: count(&|object| object.verdict == REFUSED),
        ignored,
        unreadable,
        objects,
    }
}

/// What is told of an object that verifies: its id, the common names of its chain, whether revocation was looked up.
struct Proven {
    id: Digest,
    chain: Vec<String>,
    checked: bool,
}

fn of_intel(artefact: &Verified<Artefact>) -> Proven {
    let certificates = artefact.chain().certificates().into_iter();
    Proven {
        id: artefact.id(),
        chain: certificates
            .map(Certificate::subject_cn)
            .map(str::to_owned)
            .collect(),
        checked: matches!(artefact.revocation(), Revocation::Checked { .. }),
    }
}

fn of_amd(artefact: &VerifiedAmd<Artefact>) -> Proven {
    Proven {
        id: artefact.id(),
        chain: verify_amd::names(artefact.chain()),
        checked: verify_amd::checked(artefact.revocation()),
    }
}

fn judgement(object: &Object, result: Result<Proven, &Error>, at: UnixTime) -> Judgement {
    let claimed = &object.unverified;
    let key = claimed.key();
    let revocation = |checked: bool| match key {
        _ if checked => CHECKED,
        ArtefactKey::AmdCrl { .. } | ArtefactKey::RootCrl => "not-applicable",
        ArtefactKey::AmdCertChain { .. }
        | ArtefactKey::EnclaveIdentity { .. }
        | ArtefactKey::EvaluationNumbers { .. }
        | ArtefactKey::PckCrl { .. }
        | ArtefactKey::TcbInfo { .. } => UNCHECKED,
    };
    let (proven, reason) = match result {
        Ok(proven) => (Some(proven), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let id = proven
        .as_ref()
        .map_or_else(|| claimed.signed_digest(), |proven| proven.id);
    Judgement {
        path: object.path.clone(),
        key: Some(key.to_string()),
        kind: key.kind().to_string(),
        verdict: if proven.is_some() { VERIFIED } else { REFUSED },
        id: Some(id.to_string()),
        issued: Some(claimed.issued().to_string()),
        next_update: Some(claimed.next_update().to_string()),
        freshness: Some(freshness(at < claimed.next_update())),
        revocation: proven.as_ref().map(|proven| revocation(proven.checked)),
        chain: proven.map(|proven| proven.chain).unwrap_or_default(),
        reason,
    }
}

/// A chip's certificate has no key that could be shown.
fn endorsed(found: &FoundEndorsement, told: Told, at: UnixTime) -> Judgement {
    let (verdict, chain, revocation, reason) = match told.result {
        Ok((chain, true)) => (VERIFIED, chain, Some(CHECKED), None),
        Ok((chain, false)) => (VERIFIED, chain, Some(UNCHECKED), None),
        Err(error) => (REFUSED, Vec::new(), None, Some(error.to_string())),
    };
    Judgement {
        path: found.path.clone(),
        key: None,
        kind: found.leaf.kind().to_string(),
        verdict,
        id: Some(told.id.to_string()),
        issued: Some(told.issued.to_string()),
        next_update: Some(told.ends.to_string()),
        freshness: Some(freshness(at <= told.ends)),
        chain,
        revocation,
        reason,
    }
}

const fn freshness(current: bool) -> &'static str {
    if current { "current" } else { "expired" }
}

fn print(report: &Report) {
    let rows: Vec<Vec<String>> = report
        .objects
        .iter()
        .map(|object| {
            vec![
                object.verdict.to_owned(),
                object.freshness.unwrap_or("-").to_owned(),
                object.revocation.unwrap_or("-").to_owned(),
                object.issued.clone().unwrap_or_else(|| "-".to_owned()),
                object.next_update.clone().unwrap_or_else(|| "-".to_owned()),
                object.key.clone().unwrap_or_else(|| object.kind.clone()),
                tables::printable(&object.path),
            ]
        })
        .collect();
    tables::print(&rows);
    for object in report
        .objects
        .iter()
        .filter(|object| object.verdict == REFUSED)
    {
        tables::say(format_args!(
            "{}: {}",
            tables::printable(&object.path),
            object.reason.as_deref().unwrap_or_default()
        ));
    }
    for refused in &report.unreadable {
        tables::say(format_args!(
            "{}: {}",
            tables::printable(&refused.path),
            refused.reason
        ));
    }
    tables::say(format_args!(
        "{} verified, of these {} expired at {}; {} refused; {} files ignored",
        report.verified, report.expired, report.at, report.refused, report.ignored
    ));
}

const VERIFIED: &str = "verified";
const REFUSED: &str = "refused";
const CHECKED: &str = "checked";
const UNCHECKED: &str = "unchecked";
