//! The simulated KDS: counts a request, holds it to the limits, lets the faults at it, renders the answer.
//!
//! Headers are those recorded in June 2026 (spec/amd-kds-and-thim.md section 1.4); a CRL's file name and the bodies of
//! refusals were never recorded. Signing and the wait for an RSA key happen off the runtime's threads.

use crate::SimError;
use crate::calendar;
use crate::kds::certificates::{CrlContent, Leaf, Subject, tampered};
use crate::kds::faults::{KdsFault, KdsSubject};
use crate::kds::paths::{Refusal, Wanted, resolve};
use crate::kds::pki::Pki;
use crate::kds::product::{AmdCa, AmdProduct};
use crate::kds::shared::Shared;
use crate::kds::state::{CRL_DAYS, CrlEdition, crl_next_update};
use crate::kds::tcb::SimTcb;
use crate::pcs::{CAPTIVE_PORTAL, broken, random_bytes};
use crate::pem::pem;
use crate::wire::{Delivery, Reply, Request};
use std::sync::Arc;
use std::time::Duration;

/// Answers one request: count it, choose a fault, pause if it says so, answer.
pub(crate) async fn respond(shared: Arc<Shared>, request: Request) -> Reply {
    let (wanted, fault) = accept(&shared, &request);
    if let Some(KdsFault::Slow { ms }) = fault {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    let answering = move || answer(&shared, wanted, fault.as_ref());
    tokio::task::spawn_blocking(answering)
        .await
        .unwrap_or_else(|_| broken(&SimError::Signature))
}

fn accept(shared: &Shared, request: &Request) -> (Result<Wanted, Refusal>, Option<KdsFault>) {
    let now = shared.now();
    let mut state = shared.state();
    state
        .calls
        .record(&request.method, request.path(), request.query());
    let mut wanted = resolve(request);
    let mut subject = match &wanted {
        Ok(Wanted::Chain(..)) => KdsSubject::Chain,
        Ok(Wanted::Crl(..)) => KdsSubject::Crl,
        Ok(Wanted::Vcek { product, hwid, tcb }) => KdsSubject::Vcek {
            other_chips: state.other_chip(*product, hwid).is_some(),
            lower_tcb: tcb.neighbour().is_some(),
        },
        Err(_) => KdsSubject::Plain,
    };
    if let Ok(Wanted::Vcek { product, hwid, tcb }) = &wanted {
        let certificate = [product.name().as_bytes(), hwid, &tcb.to_bytes(*product)].concat();
        let admitted = state
            .limiter
            .admit(certificate, request.client, &request.target, now);
        let refusal = match admitted {
            Err(seconds) => Some(Refusal::Throttled(seconds)),
            Ok(()) if !state.knows(*product, hwid, tcb) => Some(Refusal::NotFound),
            Ok(()) => None,
        };
        if let Some(refusal) = refusal {
            (wanted, subject) = (Err(refusal), KdsSubject::Plain);
        }
    }
    let fault = state
        .faults
        .take(&request.target, |fault| fault.applies_to(subject));
    (wanted, fault)
}

fn answer(shared: &Shared, wanted: Result<Wanted, Refusal>, fault: Option<&KdsFault>) -> Reply {
    let reply = match fault {
        Some(KdsFault::Down) => Reply::text(500, "").delivered(Delivery::Close),
        Some(KdsFault::FalseNotFound) => refuse(Refusal::NotFound),
        Some(KdsFault::Html) => Reply::new(200, CAPTIVE_PORTAL.as_bytes())
            .with("Content-Type", "text/html; charset=utf-8"),
        Some(KdsFault::Redirect { location }) => {
            Reply::text(302, "").with("Location", location.clone())
        }
        Some(KdsFault::Status { code }) => Reply::text(*code, "This status was asked for."),
        Some(KdsFault::Throttle { retry_after }) => refuse(Refusal::Throttled(*retry_after)),
        Some(KdsFault::Unavailable { retry_after }) => {
            Reply::text(503, "Service unavailable.").with("Retry-After", retry_after.to_string())
        }
        Some(
            KdsFault::ChainReversed
            | KdsFault::Conflict
            | KdsFault::CrlNumberFalls
            | KdsFault::Expired
            | KdsFault::Future
            | KdsFault::Garbage
            | KdsFault::Huge { .. }
            | KdsFault::Reset
            | KdsFault::Slow { .. }
            | KdsFault::StaleCrl { .. }
            | KdsFault::Tampered
            | KdsFault::Truncated
            | KdsFault::WrongChip
            | KdsFault::WrongKey
            | KdsFault::WrongProduct
            | KdsFault::WrongTcb,
        )
        | None => {
            let content = match wanted {
                Ok(wanted) => {
                    content(shared, &wanted, fault).unwrap_or_else(|error| broken(&error))
                }
                Err(refusal) => refuse(refusal),
            };
            spoil(content, fault)
        }
    };
    reply.with("Date", calendar::http_date(shared.now()))
}

/// The faults that alter a finished reply.
fn spoil(mut reply: Reply, fault: Option<&KdsFault>) -> Reply {
    match fault {
        Some(KdsFault::Garbage) => {
            reply.status = 200;
            reply.body = random_bytes(reply.body.len()).into();
            reply
        }
        Some(KdsFault::Huge { bytes }) => {
            reply.status = 200;
            reply.delivered(Delivery::Chunked(*bytes))
        }
        Some(KdsFault::Reset) => reply.delivered(Delivery::Reset),
        Some(KdsFault::Truncated) => reply.delivered(Delivery::Truncated),
        Some(
            KdsFault::ChainReversed
            | KdsFault::Conflict
            | KdsFault::CrlNumberFalls
            | KdsFault::Down
            | KdsFault::Expired
            | KdsFault::FalseNotFound
            | KdsFault::Future
            | KdsFault::Html
            | KdsFault::Redirect { .. }
            | KdsFault::Slow { .. }
            | KdsFault::StaleCrl { .. }
            | KdsFault::Status { .. }
            | KdsFault::Tampered
            | KdsFault::Throttle { .. }
            | KdsFault::Unavailable { .. }
            | KdsFault::WrongChip
            | KdsFault::WrongKey
            | KdsFault::WrongProduct
            | KdsFault::WrongTcb,
        )
        | None => reply,
    }
}

fn content(shared: &Shared, wanted: &Wanted, fault: Option<&KdsFault>) -> Result<Reply, SimError> {
    let pki = match fault {
        Some(KdsFault::WrongKey) => &shared.impostor,
        Some(_) | None => &shared.genuine,
    };
    let other = |product| match fault {
        Some(KdsFault::WrongProduct) => another(product),
        Some(_) | None => product,
    };
    match wanted {
        Wanted::Chain(ca, product) => {
            let chain = chain(pki, *ca, other(*product), fault)?;
            Ok(file(format!("{product}.pem"), chain.into_bytes()))
        }
        Wanted::Crl(ca, product) => {
            let crl = crl(shared, pki, *ca, other(*product), fault)?;
            Ok(file(format!("{product}.crl"), crl))
        }
        Wanted::Vcek { product, hwid, tcb } => {
            let vcek = vcek(shared, pki, *product, hwid, tcb, fault)?;
            Ok(file("vcek.crt".to_owned(), vcek))
        }
    }
}

fn vcek(
    shared: &Shared,
    pki: &Pki,
    product: AmdProduct,
    hwid: &[u8],
    tcb: &SimTcb,
    fault: Option<&KdsFault>,
) -> Result<Vec<u8>, SimError> {
    let now = shared.now();
    let (form, other_chip) = {
        let state = shared.state();
        (state.leaf_form, state.other_chip(product, hwid))
    };
    let hwid = match fault {
        Some(KdsFault::WrongChip) => other_chip.as_deref().unwrap_or(hwid),
        Some(_) | None => hwid,
    };
    let tcb = match fault {
        Some(KdsFault::WrongTcb) => tcb.neighbour().unwrap_or(*tcb),
        Some(_) | None => *tcb,
    };
    let not_before = match fault {
        Some(KdsFault::Expired) => calendar::years_after(now, -7) - EXPIRED_DAYS * DAY,
        Some(KdsFault::Future) => now + DAY,
        Some(_) | None => now,
    };
    let leaf = Leaf {
        product,
        subject: Subject::Hwid(hwid),
        tcb: &tcb,
        public_key: &shared.secret.vcek(product, hwid, &tcb).public,
        not_before,
    };
    let der = pki.sign_leaf(&leaf, form)?;
    Ok(match fault {
        Some(KdsFault::Tampered) => tampered(der),
        Some(_) | None => der,
    })
}

fn chain(
    pki: &Pki,
    ca: AmdCa,
    product: AmdProduct,
    fault: Option<&KdsFault>,
) -> Result<String, SimError> {
    let reversed = matches!(fault, Some(KdsFault::ChainReversed));
    let chain = pki.chain(ca, product, reversed)?;
    if !matches!(fault, Some(KdsFault::Tampered)) {
        return Ok(chain);
    }
    let issuer = tampered(pki.ca(ca, product)?.der.to_vec());
    let root = pki.ark(product)?.der;
    let both = pem("CERTIFICATE", &issuer) + &pem("CERTIFICATE", &root);
    Ok(both.replace('\n', product.line_end()))
}

fn crl(
    shared: &Shared,
    pki: &Pki,
    ca: AmdCa,
    product: AmdProduct,
    fault: Option<&KdsFault>,
) -> Result<Vec<u8>, SimError> {
    // The keys are waited for before the state is locked.
    shared.genuine.ark(product)?;
    pki.ark(product)?;
    let now = shared.now();
    let current = shared.state().crl(ca, product, now, |content| {
        shared.genuine.sign_crl(product, content)
    })?;
    let CrlEdition {
        number,
        this_update,
        mut revoked,
        der,
    } = current;
    let next_update = crl_next_update(this_update);
    let lower = number.saturating_sub(1).max(1);
    let (number, this_update, next_update) = match fault {
        Some(KdsFault::Tampered) => return Ok(tampered(der.to_vec())),
        Some(KdsFault::Conflict) => {
            revoked.push((CONFLICTING_SERIAL, this_update));
            (number, this_update, next_update)
        }
        Some(KdsFault::CrlNumberFalls) => (lower, now, crl_next_update(now)),
        Some(KdsFault::Expired) => {
            let next_update = now - EXPIRED_DAYS * DAY;
            (number, next_update - CRL_DAYS * DAY, next_update)
        }
        Some(KdsFault::Future) => (number, now + DAY, crl_next_update(now + DAY)),
        Some(KdsFault::StaleCrl { days }) => {
            let this_update = this_update - i64::from(*days) * DAY;
            (lower, this_update, crl_next_update(this_update))
        }
        Some(KdsFault::WrongKey) => (number, this_update, next_update),
        Some(_) | None => return Ok(der.to_vec()),
    };
    let content = CrlContent {
        number,
        this_update,
        next_update,
        revoked: &revoked,
    };
    pki.sign_crl(product, &content)
}

fn another(product: AmdProduct) -> AmdProduct {
    match product {
        AmdProduct::Genoa => AmdProduct::Milan,
        AmdProduct::Milan => AmdProduct::Turin,
        AmdProduct::Turin => AmdProduct::Genoa,
    }
}

fn file(name: String, body: Vec<u8>) -> Reply {
    Reply::new(200, body)
        .with("Content-Type", "application/octet-stream")
        .with(
            "Content-Disposition",
            format!("attachment; filename={name}"),
        )
        .with("Cache-Control", "no-cache")
        .with("Pragma", "no-cache")
}

fn refuse(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::BadRequest(message) => Reply::text(400, message),
        Refusal::MethodNotAllowed => {
            Reply::text(405, "Method not allowed.").with("Allow", "GET, HEAD")
        }
        Refusal::NotFound => Reply::text(404, "Not found."),
        Refusal::Throttled(seconds) => {
            Reply::text(429, "Too many requests.").with("Retry-After", seconds.to_string())
        }
        Refusal::Unauthorized => Reply::text(401, "A credential is needed."),
    }
}

const DAY: i64 = 86_400;
/// How long past its end what the `expired` fault makes is.
const EXPIRED_DAYS: i64 = 10;
/// The extra entry of a conflicting CRL: always the same, so that the conflict is with the current edition alone.
const CONFLICTING_SERIAL: u32 = 0x0c0f_f1c7;
