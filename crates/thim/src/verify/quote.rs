//! `thim verify quote`: what an SGX or TDX quote is worth, under which collateral, and why.
//!
//! Judged by the files of `--collateral`, by a running service, or by the store of a data directory; told in one shape
//! whichever it was. Strict unless a status is accepted or a relaxation named. What names one machine (PPID, platform
//! instance id) is shown on demand alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use thim_client::{QuoteComparison, QuoteExplanation};
use thim_server::baseline::Choice;
use thim_server::clock::Clock;
use thim_server::evidence::files::FileCollateral;
use thim_server::evidence::form::{self, EvidenceKind};
use thim_server::evidence::quote::{Telling, explain, unreadable};
use thim_server::evidence::{Explainer, QuoteAsk};
use thim_server::intake;
use thim_verify::{
    ConvergedStatus, EvaluationNumber, Issuers, MAX_QUOTE_BYTES, PckCertificate, QuotePolicy,
    QuoteRelaxation, QuoteVerifier, UnixTime, parse_quote,
};

use super::quote_text;
use super::report::bounded;
use crate::place::{Intent, Place, Register};
use crate::{remote, tables};

/// Verify an SGX or TDX quote, and explain its TCB status
///
/// Signatures, chain, revocation, dates, TCB level, and what opens the enclave or domain to its host, each a finding
/// with its facts; then what is missing to a better status, and who must act. Exit codes: 0 every check passed and the
/// status is accepted; 1 it is not, or something failed; 2 something could not be checked (collateral or a revocation
/// list is missing), or a file or argument is of no use. Strict unless --accept or --allow says otherwise.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The quote: its bytes, or their hex or base64 text; - for stdin
    #[arg(value_name = "FILE")]
    quote: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Judge by these files and folders instead of a store: bundles, documents, lists, chains
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["service", "data"])]
    collateral: Vec<PathBuf>,
    /// The PCK certificate (PEM or DER), for a quote that only names one
    #[arg(long, value_name = "FILE", conflicts_with = "service")]
    pck: Option<PathBuf>,
    /// Judge at this instant, by the editions of then; nothing is fetched [default: now]
    #[arg(long, value_name = "RFC3339")]
    at: Option<UnixTime>,
    /// Judge under this TCB evaluation data number
    #[arg(long, value_name = "N", conflicts_with_all = ["update", "against"])]
    number: Option<EvaluationNumber>,
    /// Judge under the number that is standard or early [default: standard; of files, what they hold]
    #[arg(long, value_name = "WHICH", value_parser = ["standard", "early"], conflicts_with = "against")]
    update: Option<String>,
    /// Judge under each of these numbers, one column each
    #[arg(long, value_name = "N", value_delimiter = ',')]
    against: Vec<EvaluationNumber>,
    /// Statuses that are good enough, in Intel's words [default: UpToDate]
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    accept: Vec<ConvergedStatus>,
    /// Forgive what is named: debug, expired, migratable, mixed-numbers, not-yet-valid, service-td, sept-ve-disable,
    /// td-attributes, trailing-bytes, unchecked-revocation
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    allow: Vec<QuoteRelaxation>,
    /// Print PPID and platform instance id too
    #[arg(long, conflicts_with = "service")]
    show_platform_ids: bool,
    /// Record in the register what a genuine quote of a platform that it knows says: TEE TCB SVN, QE ISVSVN, the PCK
    /// certificate's TCB, and when [default: [evidence] record of the configuration]
    #[arg(long, conflicts_with_all = ["at", "collateral"])]
    record: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One judgement, or one for each number.
enum Answer {
    Several(QuoteComparison),
    Single(Box<QuoteExplanation>),
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    crate::collateral::carry_out(async move {
        if args.against.len() > MAX_COLUMNS {
            return Err(format!("--against takes at most {MAX_COLUMNS} numbers"));
        }
        let bytes = bounded(&args.quote, FILE_LIMIT_BYTES)?;
        let answer = judge(&args, &bytes).await?;
        let (verdicts, why) = match &answer {
            Answer::Several(comparison) => {
                if args.json {
                    tables::json(comparison)?;
                } else {
                    quote_text::compare(comparison);
                }
                let columns = comparison.columns.iter();
                let verdicts: Vec<&str> = columns.map(|one| one.verdict.as_str()).collect();
                let mut reasons: Vec<&str> = Vec::new();
                for reason in comparison.columns.iter().flat_map(|one| &one.reasons) {
                    if !reasons.contains(&reason.as_str()) {
                        reasons.push(reason);
                    }
                }
                (verdicts, reasons.join("; "))
            }
            Answer::Single(explanation) => {
                if args.json {
                    tables::json(explanation)?;
                } else {
                    quote_text::explain(explanation);
                }
                let why = explanation.reasons.join("; ");
                (vec![explanation.verdict.as_str()], why)
            }
        };
        if verdicts.contains(&"not-accepted") {
            Ok(false)
        } else if verdicts.iter().all(|verdict| *verdict == "accepted") {
            Ok(true)
        } else {
            Err(format!("could not tell: {why}"))
        }
    })
}

async fn judge(args: &Args, bytes: &[u8]) -> Result<Answer, String> {
    if args.place.names_service() {
        return match args.place.open().await? {
            crate::place::Opened::Service(client) => asked(args, &client, bytes),
            opened @ crate::place::Opened::Store(..) => {
                opened.close().await;
                Err("--service names no service".to_owned())
            }
        };
    }
    let ask = ask(args)?;
    let now = Clock::system().now();
    let decoded = match form::decode("quote", bytes) {
        Ok(decoded) => decoded.bytes,
        Err(error) => {
            let answer = unreadable(&error, args.at.unwrap_or(now));
            return Ok(Answer::Single(Box::new(answer)));
        }
    };
    if !args.collateral.is_empty() {
        return by_files(args, &ask, &decoded, now);
    }
    let directory = args.place.directory()?;
    if !directory.is_dir() {
        return Err(format!(
            "nothing to judge by: {} is no data directory; name one with --data, a service with --service, or files with --collateral",
            directory.display()
        ));
    }
    let intent = if args.at.is_some() {
        Intent::Read
    } else {
        Intent::Fetch
    };
    let config = args.place.configuration()?;
    let register = args.place.open_register(intent).await?;
    let Register::Store(platforms, clock) = &register else {
        return Err("--service names no service".to_owned());
    };
    let explainer = Explainer::new(std::sync::Arc::clone(platforms), config.evidence);
    let now = clock.now();
    let answer = if args.against.is_empty() {
        let told = explainer.quote(&decoded, &ask, now).await;
        told.map(|told| Answer::Single(Box::new(told)))
    } else {
        let told = explainer.compare(&decoded, &args.against, &ask, now).await;
        told.map(Answer::Several)
    };
    register.close().await;
    answer.map_err(|error| error.to_string())
}

/// By a running service, whose clock and policy of fetching count.
fn asked(args: &Args, client: &thim_client::Client, bytes: &[u8]) -> Result<Answer, String> {
    // The service would explain it as what it is, in another shape.
    if let Ok(decoded) = form::decode("quote", bytes)
        && decoded.kind() == EvidenceKind::Report
    {
        return Err("this is an SEV-SNP report, no quote: see thim verify report".to_owned());
    }
    let path = explain_path(args);
    if args.against.is_empty() {
        let told = remote::explain(client, &path, bytes)?;
        return Ok(Answer::Single(Box::new(told)));
    }
    remote::explain(client, &path, bytes).map(Answer::Several)
}

/// The own API's path for what the arguments say.
fn explain_path(args: &Args) -> String {
    let list = |items: &[String]| items.join(",");
    let numbers: Vec<String> = args.against.iter().map(ToString::to_string).collect();
    let accept: Vec<String> = args.accept.iter().map(ToString::to_string).collect();
    let allow: Vec<String> = args.allow.iter().map(ToString::to_string).collect();
    let mut query: Vec<String> = Vec::new();
    if let Some(at) = args.at {
        query.push(format!("at={at}"));
    }
    if let Some(number) = args.number {
        query.push(format!("number={number}"));
    }
    if let Some(update) = &args.update {
        query.push(format!("update={update}"));
    }
    for (name, items) in [("against", numbers), ("accept", accept), ("allow", allow)] {
        if !items.is_empty() {
            query.push(format!("{name}={}", list(&items)));
        }
    }
    if args.record {
        query.push("record=true".to_owned());
    }
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/thim/v1/evidence/explain{mark}{}", query.join("&"))
}

fn ask(args: &Args) -> Result<QuoteAsk, String> {
    let choice = match (args.number, args.update.as_deref()) {
        (Some(number), _) => Choice::Number(number),
        (None, Some("early")) => Choice::Early,
        (None, _) => Choice::Standard,
    };
    let mut policy = QuotePolicy {
        relaxations: args.allow.iter().copied().collect(),
        ..QuotePolicy::default()
    };
    if !args.accept.is_empty() {
        policy.accepted = args.accept.iter().copied().collect::<BTreeSet<_>>();
    }
    Ok(QuoteAsk {
        choice,
        at: args.at,
        fetch: true,
        policy,
        pck: args.pck.as_deref().map(pck).transpose()?,
        platform_ids: args.show_platform_ids,
        record: args.record.then_some(true),
    })
}

/// One certificate of a file.
fn pck(path: &Path) -> Result<PckCertificate, String> {
    let bytes = bounded(path, FILE_LIMIT_BYTES)?;
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let certificate = if bytes.first() == Some(&DER_SEQUENCE) {
        thim_verify::Certificate::from_der(&bytes).map_err(|error| said(&error))?
    } else {
        let all = thim_verify::Certificate::from_pem_bundle(&bytes);
        let first = all.map_err(|error| said(&error))?.into_iter().next();
        first.ok_or_else(|| said(&"no certificate"))?
    };
    PckCertificate::from_certificate(certificate).map_err(|error| said(&error))
}

fn by_files(args: &Args, ask: &QuoteAsk, bytes: &[u8], now: UnixTime) -> Result<Answer, String> {
    let config = args.place.configuration()?;
    let anchors = config.anchors().map_err(|error| error.to_string())?;
    let at = ask.at.unwrap_or(now);
    let gathered = intake::read(&args.collateral, &mut |_| {});
    if let Some(refused) = gathered.unreadable.first() {
        return Err(format!("{}: {}", refused.path, refused.reason));
    }
    let flaws: Vec<String> = gathered
        .found
        .flaws
        .iter()
        .map(|flaw| format!("{}: {}", flaw.path, flaw.error))
        .collect();
    let files = FileCollateral::new(gathered.found, Issuers::new(anchors));
    let quote = match parse_quote(bytes) {
        Ok(quote) => quote,
        Err(error) => return Ok(Answer::Single(Box::new(unreadable(&error, at)))),
    };
    let verifier = QuoteVerifier::new(files.issuers().clone(), 1);
    let chain = verifier.pck_chain(&quote, ask.pck.as_ref()).ok();
    let judged = |choice: Option<Choice>| {
        let (collateral, sources) = files.choose(quote.tee(), chain.as_deref(), choice, at);
        let findings = verifier.verify(&quote, ask.pck.as_ref(), &collateral, at);
        let telling = Telling {
            platform_ids: ask.platform_ids,
            notes: flaws.clone(),
            sources,
        };
        explain(&findings, &ask.policy, telling)
    };
    if !args.against.is_empty() {
        let numbers = args.against.iter();
        return Ok(Answer::Several(QuoteComparison {
            tee: quote.tee().to_string(),
            at: at.to_string(),
            columns: numbers
                .map(|number| judged(Some(Choice::Number(*number))))
                .collect(),
        }));
    }
    let named = args.number.is_some() || args.update.is_some();
    Ok(Answer::Single(Box::new(judged(
        named.then_some(ask.choice),
    ))))
}

/// Twice a quote's limit, for its text.
const FILE_LIMIT_BYTES: u64 = 4 * MAX_QUOTE_BYTES as u64;

/// More columns than Intel has numbers are of no use on any screen.
const MAX_COLUMNS: usize = 16;

const DER_SEQUENCE: u8 = 0x30;
