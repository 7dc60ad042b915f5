//! `thim verify report`: is this attestation report genuine, and is the guest closed to its host?
//!
//! Read the report, gather what it is verified with, weigh what was found, say it. Strict unless a relaxation is named.
//! A chip id is shown on demand alone: it names a machine for ever.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use thim_client::Client;
use thim_server::clock::Clock;
use thim_server::config::Config;
use thim_server::evidence::form::{self, ReportForm};
use thim_server::evidence::report::{
    ReportExplanation, ReportJudge, Sourced, explain, product_of, unreadable,
};
use thim_server::evidence::{ReportAsk, ReportExplainer};
use thim_server::intake;
use thim_verify::UnixTime;
use thim_verify::amd::{AuthorityRole, CertChain, Product, Relaxation, SnpReport, Status};

use super::gathering::{Choice, Files};
use super::{material, report_text};
use crate::place::{ChipPlace, Intent, Place};
use crate::tables;

/// Verify an SEV-SNP attestation report
///
/// Signature, certificate chain, revocation, TCB and chip, each a finding with its reason, and the guest's debug
/// policy. Exit codes: 0 everything passed; 1 not accepted: something failed, or the guest's policy lets the host
/// debug it; 2 unknown: something could not be checked (no certificate of the chip's key, no revocation list within
/// its window), or a file or argument is of no use. Strict unless --allow names what is forgiven.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The report: 1184 bytes, their hex or base64 text, or the 2600 bytes of an Azure vTPM (HCLA); - for stdin
    #[arg(value_name = "FILE")]
    report: PathBuf,
    /// The VCEK or VLEK (DER, PEM, or a file of several certificates with one of them), used whatever it is
    #[arg(long, value_name = "FILE")]
    vcek: Option<PathBuf>,
    /// The chain, ASK or ASVK and ARK (PEM of two, or of three with the VCEK), used whatever it is [default: the
    /// service's, else the product's that is built in]
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
    /// A revocation list (DER or PEM); the newest genuine one of the product counts
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// Files and folders to pick from what fits the report: certificates and lists, THIM's JSON, certificate tables
    #[arg(long, value_name = "PATH", num_args = 1..)]
    collateral: Vec<PathBuf>,
    /// Judge by what the store of this data directory holds, with no server running on it; nothing is fetched
    #[arg(long, value_name = "DIR", conflicts_with_all = ["service", "vcek", "chain", "crl", "collateral"])]
    data: Option<PathBuf>,
    /// The product (Milan, Genoa, Turin), where a report of version 2 does not say it
    #[arg(long, value_name = "NAME")]
    product: Option<Product>,
    /// Judge at this instant [default: now]
    #[arg(long, value_name = "RFC3339")]
    at: Option<UnixTime>,
    /// The configuration file (TOML), for the amd_roots of its [trust] and the products_file of its [amd]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask this THIM, or AMD's key server, for what is missing: scheme, host and port
    #[arg(long, value_name = "URL")]
    service: Option<String>,
    /// PEM certificates to trust for the service instead of the system's
    #[arg(long, alias = "ca", value_name = "FILE", requires = "service")]
    ca_file: Option<PathBuf>,
    /// Forgive what is named: debug, expired, masked-chip, migration-agent, unchecked-revocation
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    allow: Vec<Relaxation>,
    /// Print the chip id too
    #[arg(long)]
    show_chip_id: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    crate::collateral::carry_out(async move {
        let at = args.at.unwrap_or_else(|| Clock::system().now());
        let answer = judge(&args, at).await?;
        if args.json {
            tables::json(&answer)?;
        } else {
            report_text::print(&answer);
        }
        match answer.status() {
            Status::NotAccepted => Ok(false),
            Status::Ok => Ok(true),
            Status::Unknown => Err(format!("could not tell: {}", answer.why())),
        }
    })
}

async fn judge(args: &Args, at: UnixTime) -> Result<ReportExplanation, String> {
    let config = Config::load(args.config.as_deref()).map_err(|error| error.to_string())?;
    let anchors = config.amd_anchors().map_err(|error| error.to_string())?;
    let products = config.amd.products().map_err(|error| error.to_string())?;
    let bytes = bounded(&args.report, form::REPORT_FILE_BYTES)?;
    let (form, report) = match form::read_report(&bytes) {
        Ok(read) => read,
        Err(error) => return Ok(unreadable(&error, at)),
    };
    let product = product_of(&report, args.product, &products).map_err(|stated| {
        let said = args.product.map_or("", Product::name);
        format!("--product {said}, but the report is of {stated}")
    })?;
    let relaxations: BTreeSet<Relaxation> = args.allow.iter().copied().collect();
    if let Some(data) = &args.data {
        let ask = ReportAsk {
            product,
            at: Some(at),
            fetch: false,
            relaxations,
            show_chip_id: args.show_chip_id,
        };
        return by_store(args, data, (form, &report), &ask, at).await;
    }
    let service = service(args)?;
    let (files, mut notes) = files(args)?;
    let choice = Choice {
        report: &report,
        product,
        products: &products,
        anchors: &anchors,
        service: service.as_ref(),
        now: at,
    };
    let mut material = choice.gather(files);
    notes.append(&mut material.notes);
    material.notes = notes;
    let judge = ReportJudge {
        products: &products,
        anchors: &anchors,
        relaxations: &relaxations,
        at,
        show_chip_id: args.show_chip_id,
    };
    Ok(explain((form, &report), product, material, &judge))
}

async fn by_store(
    args: &Args,
    data: &Path,
    report: (ReportForm, &SnpReport),
    ask: &ReportAsk,
    at: UnixTime,
) -> Result<ReportExplanation, String> {
    if !data.is_dir() {
        return Err(format!("{}: no data directory", data.display()));
    }
    let place = Place::of(args.config.clone(), data.to_owned());
    let opened = place.open_chips(Intent::Read).await?;
    let ChipPlace::Store(chips, _) = &opened else {
        return Err("a data directory is no service".to_owned());
    };
    let explainer = ReportExplainer::new(Arc::clone(chips));
    let answer = explainer.report(report, ask, at).await;
    opened.close().await;
    answer.map_err(|error| error.to_string())
}

fn service(args: &Args) -> Result<Option<Client>, String> {
    let Some(url) = &args.service else {
        return Ok(None);
    };
    let read = |path: &PathBuf| bounded(path, material::FILE_LIMIT_BYTES);
    let roots = args.ca_file.as_ref().map(read).transpose()?;
    let client = Client::new(url, None, roots.as_deref()).map_err(|error| error.to_string())?;
    Ok(Some(client))
}

/// What the files hold, and what was wrong with those in folders.
fn files(args: &Args) -> Result<(Files, Vec<String>), String> {
    let mut files = Files::default();
    if let Some(path) = &args.vcek {
        files.vcek = Some(match named(path)? {
            Err(broken) => Err(broken),
            Ok(mut read) => {
                let leaf = match read.endorsements.len() {
                    1 => read.endorsements.pop(),
                    _ => None,
                };
                files.join(read);
                Ok(leaf.ok_or_else(|| said(path, "--vcek takes a file with one VCEK or VLEK"))?)
            }
        });
    }
    if let Some(path) = &args.chain {
        files.chain = Some(match named(path)? {
            Err(broken) => Err(broken),
            Ok(read) => {
                let chain = chain(path, &read)?;
                files.join(read);
                Ok(chain)
            }
        });
    }
    for path in &args.crl {
        let read = named(path)??;
        if read.lists.is_empty() {
            return Err(said(path, "no revocation list of AMD's"));
        }
        files.join(read);
    }
    let mut notes = Vec::new();
    let (_, unreadable) = intake::each_file(&args.collateral, &mut |file| match material::read(
        &file.bytes,
    ) {
        Ok(pieces) => files.add(&file.path, pieces),
        Err(why) => notes.push(format!("{}: {why}", file.path)),
    });
    if let Some(refused) = unreadable.first() {
        return Err(format!("{}: {}", refused.path, refused.reason));
    }
    Ok((files, notes))
}

/// The two certificates of a file, in either order.
fn chain(path: &Path, read: &Files) -> Result<Sourced<CertChain>, String> {
    let [first, second] = read.authorities.as_slice() else {
        let found = read.authorities.len();
        let why =
            format!("{found} certificates of authorities; a chain is an ASK or ASVK and the ARK");
        return Err(said(path, &why));
    };
    let (issuing, ark) = if first.value.role() == AuthorityRole::Ark {
        (second, first)
    } else {
        (first, second)
    };
    let value = CertChain::from_authorities(issuing.value.clone(), ark.value.clone())
        .map_err(|error| said(path, &error))?;
    Ok(Sourced {
        value,
        source: first.source.clone(),
    })
}

/// What a file holds, or what is broken about its content; the outer error is that there is no such file.
fn named(path: &Path) -> Result<Result<Files, String>, String> {
    let bytes = bounded(path, material::FILE_LIMIT_BYTES)?;
    Ok(material::read(&bytes)
        .map(|pieces| {
            let mut files = Files::default();
            files.add(&path.display().to_string(), pieces);
            files
        })
        .map_err(|error| said(path, &error)))
}

/// A file, or stdin, of at most `limit` bytes.
pub fn bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = |from: &mut dyn Read, bytes: &mut Vec<u8>| from.take(limit + 1).read_to_end(bytes);
    let result = if path == Path::new("-") {
        read(&mut io::stdin().lock(), &mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut file| read(&mut file, &mut bytes))
    };
    result.map_err(|error| said(path, &error))?;
    if bytes.len() as u64 > limit {
        return Err(said(path, &format!("more than {limit} bytes")));
    }
    Ok(bytes)
}

fn said(path: &Path, what: &(impl std::fmt::Display + ?Sized)) -> String {
    format!("{}: {what}", path.display())
}
