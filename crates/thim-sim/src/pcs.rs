//! The simulated PCS and registration service: counts a request, lets the faults at it, renders the answer with Intel's
//! headers.
//!
//! Header names, content types and error texts are those of spec/intel-pcs-and-pccs.md section 4.

use crate::SimError;
use crate::calendar;
use crate::faults::{Fault, Subject};
use crate::fleet::FAMILIES;
use crate::management::Ca;
use crate::manifest;
use crate::paths::{Asked, Encoding, ErrorCode, Refusal, resolve};
use crate::pck::{self, PckAnswer, PckFailure};
use crate::pck_paths::Wanted;
use crate::pem::pem;
use crate::pki::Chain;
use crate::platform::PckCertsShape;
use crate::shared::Shared;
use crate::vendor::{Artefact, Edition, Vendor};
use crate::wire::{Delivery, Reply, Request};
use serde::Serialize;
use std::time::Duration;

/// Answers one request: count it, choose a fault, pause if it says so, answer.
pub(crate) async fn respond(shared: &Shared, request: &Request) -> Reply {
    let fault = choose_fault(shared, request);
    if let Some(Fault::Slow { ms }) = fault {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    answer(shared, request, fault.as_ref())
}

fn choose_fault(shared: &Shared, request: &Request) -> Option<Fault> {
    let now = shared.now();
    let mut vendor = shared.vendor();
    vendor
        .calls
        .record(&request.method, request.path(), request.query());
    let subject = match resolve(shared, &vendor.numbers, request, now) {
        Ok(Asked::Pck(request)) => {
            match (pck::available(&vendor.population, &request), request.wanted) {
                (None, _) => Subject::Plain,
                (Some(_), Wanted::Best(_)) => Subject::PckCertificate,
                (Some(available), Wanted::Configured(_) | Wanted::Every) => {
                    Subject::PckList { available }
                }
            }
        }
        Ok(Asked::Signed(artefact, _)) => Subject::Signed(artefact),
        Ok(Asked::AddPackage(_) | Asked::Fmspcs(_) | Asked::Register(_)) | Err(_) => Subject::Plain,
    };
    vendor
        .faults
        .take(&request.target, |fault| fault.applies_to(subject))
}

fn answer(shared: &Shared, request: &Request, fault: Option<&Fault>) -> Reply {
    let reply = match fault {
        Some(Fault::Down) => Reply::text(500, "").delivered(Delivery::Close),
        Some(Fault::Html) => Reply::new(200, CAPTIVE_PORTAL.as_bytes())
            .with("Content-Type", "text/html; charset=utf-8"),
        Some(Fault::Redirect { location }) => {
            Reply::text(302, "").with("Location", location.clone())
        }
        Some(Fault::Status { code }) => Reply::text(*code, "This status was asked for."),
        Some(Fault::Throttle { retry_after }) => {
            // As the vendor's gateway does: no Request-ID.
            return Reply::text(429, "Rate limit is exceeded.")
                .with("Retry-After", retry_after.to_string());
        }
        Some(Fault::Unavailable { retry_after }) => {
            Reply::text(503, "Server is currently unable to process the request.")
                .with("Retry-After", retry_after.to_string())
        }
        Some(
            Fault::ChainReversed
            | Fault::Conflict
            | Fault::Expired
            | Fault::Future
            | Fault::Garbage
            | Fault::Huge { .. }
            | Fault::NoChain
            | Fault::OneForged
            | Fault::Partial { .. }
            | Fault::Reset
            | Fault::Slow { .. }
            | Fault::Stale { .. }
            | Fault::Truncated
            | Fault::WrongFmspc
            | Fault::WrongKey
            | Fault::WrongNumber
            | Fault::WrongPlatform
            | Fault::WrongSignature,
        )
        | None => spoil(content(shared, request, fault), fault),
    };
    reply
        .with("Request-ID", request_id())
        .with("Date", calendar::http_date(shared.now()))
}

/// The faults that alter a finished reply.
fn spoil(mut reply: Reply, fault: Option<&Fault>) -> Reply {
    match fault {
        Some(Fault::Garbage) => {
            reply.status = 200;
            reply.body = random_bytes(reply.body.len()).into();
            reply
        }
        Some(Fault::Huge { bytes }) => {
            reply.status = 200;
            reply.delivered(Delivery::Chunked(*bytes))
        }
        Some(Fault::Reset) => reply.delivered(Delivery::Reset),
        Some(Fault::Truncated) => reply.delivered(Delivery::Truncated),
        Some(
            Fault::ChainReversed
            | Fault::Conflict
            | Fault::Down
            | Fault::Expired
            | Fault::Future
            | Fault::Html
            | Fault::NoChain
            | Fault::OneForged
            | Fault::Partial { .. }
            | Fault::Redirect { .. }
            | Fault::Slow { .. }
            | Fault::Stale { .. }
            | Fault::Status { .. }
            | Fault::Throttle { .. }
            | Fault::Unavailable { .. }
            | Fault::WrongFmspc
            | Fault::WrongKey
            | Fault::WrongNumber
            | Fault::WrongPlatform
            | Fault::WrongSignature,
        )
        | None => reply,
    }
}

/// What the request asks for, or why not.
fn content(shared: &Shared, request: &Request, fault: Option<&Fault>) -> Reply {
    let now = shared.now();
    let mut vendor = shared.vendor();
    let asked = match resolve(shared, &vendor.numbers, request, now) {
        Ok(asked) => asked,
        Err(refusal) => return refuse(refusal),
    };
    match asked {
        Asked::AddPackage(request) => match vendor.population.member(&request) {
            Ok(instance) => membership(instance),
            Err(refusal) => refuse(refusal),
        },
        Asked::Fmspcs(platform) => fmspcs(platform),
        Asked::Pck(request) => match vendor.pck(&request, fault, now) {
            Ok(answer) => certificates(&answer, request.wanted, vendor.population.shape, fault),
            Err(PckFailure::Broken(error)) => broken(&error),
            Err(PckFailure::Refused(refusal)) => refuse(refusal),
        },
        Asked::Register(manifest) => register(&mut vendor, &manifest),
        Asked::Signed(artefact, encoding) => match vendor.edition(artefact, fault, now) {
            Ok(edition) => signed(artefact, encoding, &edition, fault),
            Err(error) => broken(&error),
        },
    }
}

fn signed(
    artefact: Artefact,
    encoding: Encoding,
    edition: &Edition,
    fault: Option<&Fault>,
) -> Reply {
    let reply = match encoding {
        Encoding::Der => Reply::new(200, edition.body.clone()).with("Content-Type", PKIX_CRL),
        Encoding::Json => Reply::new(200, edition.body.clone()).with("Content-Type", JSON),
        Encoding::Pem => {
            let text = pem("X509 CRL", &edition.body);
            Reply::new(200, text.into_bytes()).with("Content-Type", PEM_FILE)
        }
    };
    let Some(chain) = &edition.chain else {
        return reply;
    };
    let header = match artefact {
        Artefact::Crl(_) => "SGX-PCK-CRL-Issuer-Chain",
        Artefact::Identity { .. } => "SGX-Enclave-Identity-Issuer-Chain",
        Artefact::NumberList(_) => "TCB-Evaluation-Data-Numbers-Issuer-Chain",
        Artefact::TcbInfo { .. } => "TCB-Info-Issuer-Chain",
    };
    with_chain(reply, header, chain, fault)
}

fn with_chain(reply: Reply, header: &'static str, chain: &Chain, fault: Option<&Fault>) -> Reply {
    if fault == Some(&Fault::NoChain) {
        reply
    } else if fault == Some(&Fault::ChainReversed) {
        reply.with(header, chain.reversed_header())
    } else {
        reply.with(header, chain.header())
    }
}

/// One certificate as PEM, or a list of all as JSON; `SGX-TCBm` belongs to the one.
fn certificates(
    answer: &PckAnswer,
    wanted: Wanted,
    shape: PckCertsShape,
    fault: Option<&Fault>,
) -> Reply {
    let reply = match (wanted, answer.entries.first()) {
        (Wanted::Best(_), Some(best)) => {
            let pem = best.pem().unwrap_or_default();
            Reply::new(200, pem.into_bytes())
                .with("Content-Type", PEM_FILE)
                .with("SGX-TCBm", best.tcb.tcbm())
        }
        (Wanted::Best(_), None) => return refuse(Refusal::NotFound),
        (Wanted::Configured(_) | Wanted::Every, _) => {
            let list = pck::list(&answer.entries, shape);
            Reply::new(200, list.into_bytes()).with("Content-Type", JSON)
        }
    };
    let ca = match answer.ca {
        Ca::Platform => "platform",
        Ca::Processor | Ca::Root => "processor",
    };
    let reply = reply
        .with("SGX-FMSPC", answer.fmspc)
        .with("SGX-PCK-Certificate-CA-Type", ca);
    match &answer.chain {
        Some(chain) => with_chain(reply, "SGX-PCK-Certificate-Issuer-Chain", chain, fault),
        None => reply,
    }
}

/// Direct registration: 201 and the PPID in hex.
fn register(vendor: &mut Vendor, manifest: &[u8]) -> Reply {
    match vendor.population.register(manifest) {
        Ok(ppid) => Reply::text(201, &data_encoding::HEXUPPER.encode(&ppid)),
        Err(refusal) => refuse(refusal),
    }
}

/// Eight places of one size, the first of them filled: an add-request adds one package.
fn membership(instance: [u8; 16]) -> Reply {
    let mut body = manifest::membership_certificate(instance, 0);
    body.resize(MEMBERSHIP_CERTIFICATES * body.len(), 0);
    Reply::new(200, body)
        .with("Content-Type", "application/octet-stream")
        .with("Certificate-Count", "1")
}

fn fmspcs(platform: Option<&'static str>) -> Reply {
    #[derive(Serialize)]
    struct Listed {
        fmspc: &'static str,
        platform: &'static str,
    }
    let listed: Vec<_> = FAMILIES
        .iter()
        .filter(|family| platform.is_none_or(|platform| family.platform == platform))
        .map(|family| Listed {
            fmspc: family.fmspc,
            platform: family.platform,
        })
        .collect();
    match serde_json::to_vec(&listed) {
        Ok(body) => Reply::new(200, body).with("Content-Type", JSON),
        Err(_) => broken(&SimError::Signature),
    }
}

fn refuse(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::BadRequest(message) => Reply::text(400, "Invalid request parameters.")
            .with("Error-Code", "InvalidRequestSyntax")
            .with("Error-Message", message),
        Refusal::Gone(message) => Reply::text(410, message),
        Refusal::MethodNotAllowed(allowed) => {
            Reply::text(405, "Method not allowed.").with("Allow", allowed)
        }
        Refusal::NotFound => Reply::text(404, "Not found."),
        Refusal::Rejected(code) => {
            let (code, message) = error_texts(code);
            Reply::text(400, "Invalid request parameters.")
                .with("Error-Code", code)
                .with("Error-Message", message)
        }
        Refusal::Unauthorized => Reply::text(401, "Access denied due to invalid subscription key."),
        Refusal::UnsupportedMediaType => {
            Reply::text(415, "The body has to be application/octet-stream.")
        }
    }
}

/// `Error-Code` as the vendor spells it, and `Error-Message` in the simulator's own words.
fn error_texts(code: ErrorCode) -> (&'static str, &'static str) {
    match code {
        ErrorCode::CachedKeysPolicyViolation => (
            "CachedKeysPolicyViolation",
            "This platform instance was registered without keys being kept, which cannot be changed.",
        ),
        ErrorCode::InvalidAddRequest => ("InvalidAddRequest", "The add-request is invalid."),
        ErrorCode::InvalidPlatformManifest => (
            "InvalidPlatformManifest",
            "The platform manifest is invalid or not the newest.",
        ),
        ErrorCode::InvalidRegistrationServer => (
            "InvalidRegistrationServer",
            "The platform belongs to another registration server.",
        ),
        ErrorCode::PlatformNotFound => (
            "PlatformNotFound",
            "No platform with kept keys is known for the request.",
        ),
    }
}

/// The simulator's own failure, named so that a test does not take it for the vendor's.
pub(crate) fn broken(error: &SimError) -> Reply {
    Reply::text(500, &format!("The simulator failed: {error}"))
}

/// 32 hex digits, as the vendor's are.
fn request_id() -> String {
    data_encoding::HEXLOWER.encode(&random_bytes(16))
}

/// Random bytes; zeros if the system has none, which spoils an answer just as well.
pub(crate) fn random_bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count.max(1)];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        bytes.fill(0);
    }
    bytes
}

const JSON: &str = "application/json";
const PEM_FILE: &str = "application/x-pem-file";
/// The registration service's answer has as many, used or not (spec/intel-pcs-and-pccs.md section 4).
const MEMBERSHIP_CERTIFICATES: usize = 8;
const PKIX_CRL: &str = "application/pkix-crl";
pub(crate) const CAPTIVE_PORTAL: &str = "<!DOCTYPE html><html><head><title>Guest network</title></head>\
                              <body>Please sign in to use the network.</body></html>";
