//! PCCS's own endpoints: `platforms`, `platformcollateral`, `refresh`, `appraisalpolicy`, in v3 and v4
//! (`spec/intel-pcs-and-pccs.md` sections 1 and 2.7 to 2.11).
//!
//! A token is judged before a byte of the body is read. Which methods want one is PCCS's word: those that exist below
//! `platforms` and `appraisalpolicy`, whatever comes below `platformcollateral` and `refresh`.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use thim_verify::{Fmspc, UnixTime};

use super::front::Body;
use super::own::Service;
use super::query::{Invalid, Name, Query};
use super::{answer, caller, pck, receive};
use crate::access::{Act, Caller, Dialect};
use crate::collateral::Refusal;
use crate::platforms::policy::Policy;
use crate::platforms::registration::{self, Registration};
use crate::platforms::{
    Cause, DeliveryRefused, Handover, PlatformRefusal, RefreshRefused, Updates, delivery,
};
use crate::store::StoreError;

/// A path of PCCS's own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Target {
    version: u8,
    endpoint: Endpoint,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Endpoint {
    /// Below `platformcollateral` or `refresh`: nothing, for those with a token.
    Below,
    Collateral,
    Platforms,
    Policy,
    Refresh,
}

/// Reads a path. `None`: nothing here has it.
pub fn target(path: &str) -> Option<Target> {
    let path = path.strip_prefix('/')?;
    let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
    if !segments.next()?.eq_ignore_ascii_case("sgx")
        || !segments.next()?.eq_ignore_ascii_case("certification")
    {
        return None;
    }
    let version = match segments.next()?.as_bytes() {
        [b'v' | b'V', digit @ b'3'..=b'4'] => digit - b'0',
        _ => return None,
    };
    let name = segments.next()?;
    let endpoint = [
        ("appraisalpolicy", Endpoint::Policy),
        ("platformcollateral", Endpoint::Collateral),
        ("platforms", Endpoint::Platforms),
        ("refresh", Endpoint::Refresh),
    ]
    .into_iter()
    .find_map(|(known, endpoint)| name.eq_ignore_ascii_case(known).then_some(endpoint))?;
    let endpoint = match (endpoint, segments.next()) {
        (endpoint, None) => endpoint,
        (Endpoint::Collateral | Endpoint::Refresh, Some(_)) => Endpoint::Below,
        (Endpoint::Below | Endpoint::Platforms | Endpoint::Policy, Some(_)) => return None,
    };
    Some(Target { version, endpoint })
}

impl Target {
    /// True below `/sgx/certification/v3`.
    pub const fn is_version_3(&self) -> bool {
        self.version == 3
    }

    /// The methods there are, as `OPTIONS` tells them.
    const fn methods(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Below => "",
            Endpoint::Collateral => "PUT",
            Endpoint::Platforms | Endpoint::Refresh => "GET,HEAD,POST",
            Endpoint::Policy => "GET,HEAD,PUT",
        }
    }

    fn takes(&self, method: &Method) -> bool {
        self.methods()
            .split(',')
            .any(|known| known == method.as_str())
    }

    /// True where something is stored. A refresh says by itself why it does not.
    fn changes(&self, method: &Method) -> bool {
        self.endpoint != Endpoint::Refresh && matches!(*method, Method::POST | Method::PUT)
    }

    /// Which token a method wants, and for what.
    fn wants(&self, method: &Method) -> Option<(Dialect, Act)> {
        match (self.endpoint, method) {
            (Endpoint::Below | Endpoint::Collateral | Endpoint::Refresh, _) => {
                Some((Dialect::PccsAdmin, Act::ChangeCollateral))
            }
            // The list has secrets in it.
            (Endpoint::Platforms, &Method::GET | &Method::HEAD) => {
                Some((Dialect::PccsAdmin, Act::ManagePlatforms))
            }
            (Endpoint::Platforms, &Method::POST) => {
                Some((Dialect::PccsUser, Act::RegisterPlatforms))
            }
            (Endpoint::Policy, &Method::PUT) => Some((Dialect::PccsAdmin, Act::ManagePolicies)),
            (Endpoint::Platforms | Endpoint::Policy, _) => None,
        }
    }
}

/// Answers a request.
pub async fn answer<B>(
    service: &Service,
    target: Target,
    request: Request<B>,
    peer: IpAddr,
    request_id: &HeaderValue,
) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let caller = match at_the_door(service, target, &head, peer) {
        Ok(caller) => caller,
        Err(response) => {
            receive::leave(body);
            return *response;
        }
    };
    let body = if target.changes(&head.method) {
        match receive::whole(body, service.body_limit_bytes, receive::BODY_TIME).await {
            Ok(body) => body,
            Err(unread) => return unread.render(),
        }
    } else {
        receive::leave(body);
        Bytes::new()
    };
    let now = service.clock.now();
    let outcome = match (target.endpoint, caller) {
        (Endpoint::Collateral, Some(caller)) => {
            deliver(service, target.version, &head, &body, &caller, now).await
        }
        (Endpoint::Platforms, Some(caller)) if head.method == Method::POST => {
            register(service, &head, &body, &caller, now).await
        }
        (Endpoint::Platforms, _) => platforms(service, &head, now).await,
        (Endpoint::Policy, Some(_)) => put_policy(service, &head, &body, now).await,
        (Endpoint::Policy, None) => policies(service, &head).await,
        (Endpoint::Refresh, _) => refresh(service, &head).await,
        (Endpoint::Below | Endpoint::Collateral, _) => {
            Ok(answer::unknown(&head.method, head.uri.path()))
        }
    };
    outcome.unwrap_or_else(|response| {
        let cause = response.headers().get(&answer::THIM_CAUSE);
        tracing::info!(request.id = ?request_id, http.method = %head.method, http.status = response.status().as_u16(), cause = ?cause, "a request of PCCS's endpoints is refused");
        response
    })
}

/// Who asks, where a token is wanted; or what is answered without a look at the body.
fn at_the_door(
    service: &Service,
    target: Target,
    head: &Parts,
    peer: IpAddr,
) -> Result<Option<Caller>, Box<Response<Body>>> {
    let method = &head.method;
    let caller = match target.wants(method) {
        None => None,
        Some((dialect, act)) => {
            let millis = service.clock.now_millis();
            let admitted = service
                .access
                .admit(&head.headers, peer, act, dialect, millis);
            Some(admitted.map_err(|denied| Box::new(answer::denied(&denied)))?)
        }
    };
    if *method == Method::OPTIONS && target.endpoint != Endpoint::Below {
        return Err(Box::new(options(target.methods())));
    }
    if !target.takes(method) {
        return Err(Box::new(answer::unknown(method, head.uri.path())));
    }
    if service.collateral.is_read_only() && target.changes(method) {
        return Err(Box::new(refused(
            StatusCode::SERVICE_UNAVAILABLE,
            answer::BUSY,
            "read-only",
            "this is a read-only view of the past",
        )));
    }
    Ok(caller)
}

/// What went well, or a refusal that is rendered already.
type Outcome = Result<Response<Body>, Response<Body>>;

async fn register(
    service: &Service,
    head: &Parts,
    body: &[u8],
    caller: &Caller,
    now: UnixTime,
) -> Outcome {
    let updates = updates(&Query::parse(head.uri.query())).map_err(wrong)?;
    let registration = match kind(&head.headers) {
        Kind::Form => Registration::from_form(body),
        Kind::Json => Registration::from_json(body),
        Kind::Other => Registration::from_json(b""),
    }
    .map_err(|invalid| unreadable(&invalid))?;
    service
        .platforms
        .register(registration, &caller::authority(caller), updates, now)
        .await
        .map_err(|refused| pck::refusal(&refused))?;
    Ok(successful())
}

async fn platforms(service: &Service, head: &Parts, now: UnixTime) -> Outcome {
    let query = Query::parse(head.uri.query());
    // HEAD takes nothing away, and neither does a look at the past.
    let keep = head.method == Method::HEAD
        || service.collateral.is_read_only()
        || query.get(Name::Keep).map_err(wrong)? == Some("1");
    let which = handover(query.get(Name::Source).map_err(wrong)?, keep).map_err(wrong)?;
    let handed = service
        .platforms
        .hand_over(which, now)
        .await
        .map_err(|error| storage(service, &error))?;
    let body = axum::body::Body::from_stream(handed.body);
    let mut response = Response::new(Either::Right(body));
    let headers = response.headers_mut();
    headers.insert(PLATFORM_COUNT, HeaderValue::from(handed.count));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    Ok(response)
}

async fn deliver(
    service: &Service,
    version: u8,
    head: &Parts,
    body: &[u8],
    caller: &Caller,
    now: UnixTime,
) -> Outcome {
    let keeps_names = keeps_names(&Query::parse(head.uri.query())).map_err(wrong)?;
    let delivery = delivery::read(json(head, body), version).map_err(|refused| match refused {
        delivery::Refused::Invalid(invalid) => unreadable(&invalid),
        delivery::Refused::RootsDiffer { .. } => unverified(&refused.to_string()),
    })?;
    let mut authority = caller::authority(caller);
    authority.may_move &= !keeps_names;
    service
        .platforms
        .deliver(delivery, &authority, now)
        .await
        .map_err(|refused| match &refused {
            // Nothing is wrong with the token.
            DeliveryRefused::Platform(platform)
                if keeps_names && platform.cause == Cause::QeIdTaken =>
            {
                kept_name(platform)
            }
            _ => delivery_refused(&refused),
        })?;
    Ok(successful())
}

async fn refresh(service: &Service, head: &Parts) -> Outcome {
    let query = Query::parse(head.uri.query());
    let refreshed = match query.get(Name::Type).map_err(wrong)? {
        None => {
            service
                .platforms
                .refresh_collateral(&service.clock, REFRESH_PATIENCE)
                .await
        }
        Some("certs") => {
            let fmspcs = query.get(Name::Fmspc).map_err(wrong)?;
            let fmspcs = fmspcs.ok_or_else(|| {
                wrong(invalid(
                    "fmspc",
                    "missing; wanted 12 hex digits, several with commas, or nothing for all",
                ))
            })?;
            let fmspcs = families(fmspcs, "fmspc").map_err(wrong)?;
            service
                .platforms
                .refresh_certificates(&fmspcs, &service.clock, REFRESH_PATIENCE)
                .await
        }
        Some(_) => return Err(wrong(invalid("type", "wanted certs, or no type"))),
    };
    refreshed.map_err(|refused| refresh_refused(&refused))?;
    Ok(successful())
}

async fn put_policy(service: &Service, head: &Parts, body: &[u8], now: UnixTime) -> Outcome {
    let policy = Policy::from_json(json(head, body)).map_err(|invalid| unreadable(&invalid))?;
    service
        .platforms
        .store()
        .put_policy(&policy, now)
        .await
        .map_err(|error| storage(service, &error))?;
    Ok(text(policy.id))
}

async fn policies(service: &Service, head: &Parts) -> Outcome {
    let fmspc = Query::parse(head.uri.query()).fmspc().map_err(wrong)?;
    let policies = service
        .platforms
        .store()
        .default_policies(fmspc)
        .await
        .map_err(|error| storage(service, &error))?;
    if policies.is_empty() {
        let detail = format!("no policy is the default for {fmspc}");
        return Err(refused(
            StatusCode::NOT_FOUND,
            answer::NO_DATA,
            "not-held",
            &detail,
        ));
    }
    Ok(text(policies.join(",")))
}

/// `names`: `keep` refuses a name that is another's, also to those who may move it.
fn keeps_names(query: &Query<'_>) -> Result<bool, Invalid> {
    match query.get(Name::Names)? {
        None => Ok(false),
        Some("keep") => Ok(true),
        Some(_) => Err(invalid("names", "wanted keep, or no names")),
    }
}

/// `update`: `standard` without; nothing is none of them.
fn updates(query: &Query<'_>) -> Result<Updates, Invalid> {
    let Some(text) = query.get(Name::Update)? else {
        return Ok(Updates::default());
    };
    [
        ("all", Updates::All),
        ("early", Updates::Early),
        ("standard", Updates::Standard),
    ]
    .into_iter()
    .find_map(|(name, updates)| text.eq_ignore_ascii_case(name).then_some(updates))
    .ok_or_else(|| invalid("update", "wanted standard, early or all"))
}

/// `source`: registrations without, or platforms in brackets.
fn handover(source: Option<&str>, keep: bool) -> Result<Handover, Invalid> {
    let state = match source {
        None | Some("" | "reg") => "new",
        Some("reg_na") => "not-available",
        Some(text) => {
            return text
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .ok_or_else(|| invalid("source", "wanted reg, reg_na or FMSPCs in brackets"))
                .and_then(|list| families(list, "source"))
                .map(Handover::Cached);
        }
    };
    Ok(Handover::Registered { state, keep })
}

/// FMSPCs with commas between; none is all of them.
fn families(text: &str, name: &'static str) -> Result<Vec<Fmspc>, Invalid> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut fmspcs = Vec::new();
    for part in text.split(',') {
        let fmspc: Fmspc = part
            .parse()
            .map_err(|_| invalid(name, "wanted FMSPCs of 12 hex digits, commas between"))?;
        if !fmspcs.contains(&fmspc) {
            fmspcs.push(fmspc);
        }
        if fmspcs.len() > MAX_FAMILIES {
            return Err(invalid(name, "these are more FMSPCs than there are"));
        }
    }
    Ok(fmspcs)
}

/// What a body says it is, of what is read here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Form,
    Json,
    Other,
}

fn kind(headers: &HeaderMap) -> Kind {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Kind::Json
    } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Kind::Form
    } else {
        Kind::Other
    }
}

/// A body in JSON; of another kind it is as good as none, which the reader then refuses.
fn json<'a>(head: &Parts, body: &'a [u8]) -> &'a [u8] {
    match kind(&head.headers) {
        Kind::Json => body,
        Kind::Form | Kind::Other => b"",
    }
}

fn successful() -> Response<Body> {
    answer::plain(StatusCode::OK, "Operation successful.", None)
}

fn text(text: String) -> Response<Body> {
    let mut response = answer::plain(StatusCode::OK, "", None);
    *response.body_mut() = Either::Left(Full::new(text.into()));
    response
}

fn options(methods: &'static str) -> Response<Body> {
    let mut response = answer::plain(StatusCode::OK, methods, None);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn refused(status: StatusCode, text: &'static str, token: &str, detail: &str) -> Response<Body> {
    answer::plain(status, text, Some(answer::cause(token, detail)))
}

fn invalid(name: &'static str, why: &str) -> Invalid {
    Invalid {
        name,
        why: why.to_owned(),
    }
}

fn wrong(invalid: Invalid) -> Response<Body> {
    answer::invalid(&invalid)
}

fn unreadable(invalid: &registration::Invalid) -> Response<Body> {
    refused(
        StatusCode::BAD_REQUEST,
        answer::INVALID,
        "invalid-body",
        &invalid.to_string(),
    )
}

fn unverified(detail: &str) -> Response<Body> {
    refused(INTEGRITY, INTEGRITY_TEXT, "unverified", detail)
}

fn later(mut response: Response<Body>, seconds: i64) -> Response<Body> {
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    response
}

fn storage(service: &Service, error: &StoreError) -> Response<Body> {
    tracing::error!(error = %error, "the store failed");
    let token = match error {
        StoreError::Full { .. } => "full",
        StoreError::Database(_)
        | StoreError::Directory { .. }
        | StoreError::InUse { .. }
        | StoreError::Row { .. }
        | StoreError::Trust { .. }
        | StoreError::Version { .. } => {
            service.collateral.metrics().store_failed();
            "storage"
        }
    };
    let response = refused(
        StatusCode::SERVICE_UNAVAILABLE,
        answer::BUSY,
        token,
        "the store cannot be read or written, or takes no more",
    );
    later(response, answer::RETRY_SECS)
}

/// A name that is another's, where names are to stay.
fn kept_name(refusal: &PlatformRefusal) -> Response<Body> {
    refused(
        StatusCode::BAD_REQUEST,
        answer::INVALID,
        refusal.cause.name(),
        &refusal.detail,
    )
}

fn delivery_refused(refusal: &DeliveryRefused) -> Response<Body> {
    let detail = refusal.to_string();
    let bad = |token| refused(StatusCode::BAD_REQUEST, answer::INVALID, token, &detail);
    match refusal {
        DeliveryRefused::Conflict(_) => bad("conflict"),
        DeliveryRefused::Expired(_) => bad("expired"),
        DeliveryRefused::Future(_) => bad("future"),
        DeliveryRefused::Held(_) => bad("held"),
        DeliveryRefused::Invalid(invalid) => unreadable(invalid),
        DeliveryRefused::Older(_) => bad("older"),
        DeliveryRefused::Platform(platform) => pck::refusal(platform),
        DeliveryRefused::Raced(_) => later(
            refused(
                StatusCode::SERVICE_UNAVAILABLE,
                answer::BUSY,
                "busy",
                &detail,
            ),
            1,
        ),
        DeliveryRefused::Selection(_) => bad("tcb-too-low"),
        DeliveryRefused::Unverified(_) => unverified(&detail),
    }
}

fn refresh_refused(refusal: &RefreshRefused) -> Response<Body> {
    let detail = refusal.to_string();
    let busy = |token| {
        refused(
            StatusCode::SERVICE_UNAVAILABLE,
            answer::BUSY,
            token,
            &detail,
        )
    };
    match refusal {
        RefreshRefused::Busy { .. } => later(busy("busy"), REFRESH_AGAIN_SECS),
        RefreshRefused::Collateral { refusal, .. } => match refusal {
            Refusal::Busy { retry_after_secs } => later(busy("busy"), *retry_after_secs),
            Refusal::Throttled {
                retry_after_secs, ..
            } => later(busy("throttled"), *retry_after_secs),
            Refusal::Storage => later(busy("storage"), answer::RETRY_SECS),
            Refusal::Untrusted { .. } => later(busy("untrusted"), answer::RETRY_SECS),
            Refusal::Absent { .. }
            | Refusal::Expired { .. }
            | Refusal::NotHeld { .. }
            | Refusal::Retired { .. }
            | Refusal::Unavailable { .. }
            | Refusal::Version3 { .. } => later(busy("unavailable"), answer::RETRY_SECS),
        },
        RefreshRefused::Forbidden(_) => busy("not-fetching"),
        RefreshRefused::Platform(platform) => pck::refusal(platform),
    }
}

const PLATFORM_COUNT: HeaderName = HeaderName::from_static("platform-count");
/// PCCS's own status, which has no reason phrase.
const INTEGRITY: StatusCode = match StatusCode::from_u16(460) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};
const INTEGRITY_TEXT: &str = "The integrity of the data can't be verified.";
/// Intel has some 50 families.
const MAX_FAMILIES: usize = 256;
/// As long as tools wait for an answer; what is not done then goes on in the background.
const REFRESH_PATIENCE: Duration = Duration::from_secs(60);
/// Some hundreds of platforms later.
const REFRESH_AGAIN_SECS: i64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_near_misses() {
        for (path, version, endpoint) in [
            ("/sgx/certification/v4/platforms", 4, Endpoint::Platforms),
            ("/SGX/Certification/V3/PLATFORMS/", 3, Endpoint::Platforms),
            ("/sgx/certification/v4/refresh", 4, Endpoint::Refresh),
            ("/sgx/certification/v4/refresh/now", 4, Endpoint::Below),
            (
                "/sgx/certification/v3/platformcollateral",
                3,
                Endpoint::Collateral,
            ),
            (
                "/sgx/certification/v4/platformcollateral/a/b",
                4,
                Endpoint::Below,
            ),
            (
                "/sgx/certification/v4/appraisalpolicy/",
                4,
                Endpoint::Policy,
            ),
        ] {
            assert_eq!(target(path), Some(Target { version, endpoint }), "{path}");
        }
        for path in [
            "/tdx/certification/v4/platforms",
            "/sgx/certification/v2/platforms",
            "/sgx/certification/v5/platforms",
            "/sgx/certification/v4/platform",
            "/sgx/certification/v4/platforms/x",
            "/sgx/certification/v4/appraisalpolicy/x",
            "/sgx/certification/v4/",
            "sgx/certification/v4/platforms",
        ] {
            assert_eq!(target(path), None, "{path}");
        }
    }

    #[test]
    fn sources_and_their_near_misses() {
        let reg = |state| Some(Handover::Registered { state, keep: false });
        let a = Fmspc([0, 0x90, 0x6e, 0xd5, 0, 0]);
        let b = Fmspc([0, 0x80, 0x6f, 5, 0, 0]);
        for (source, expected) in [
            (None, reg("new")),
            (Some(""), reg("new")),
            (Some("reg"), reg("new")),
            (Some("reg_na"), reg("not-available")),
            (Some("[]"), Some(Handover::Cached(vec![]))),
            (Some("[00906ed50000]"), Some(Handover::Cached(vec![a]))),
            (
                Some("[00906ED50000,00806F050000]"),
                Some(Handover::Cached(vec![a, b])),
            ),
            (Some("REG"), None),
            (Some("[00906ED50000"), None),
            (Some("[00906ED5000]"), None),
            (Some("[00906ED50000,]"), None),
            (Some("[00906ED50000, 00806F050000]"), None),
            (Some("["), None),
        ] {
            assert_eq!(handover(source, false).ok(), expected, "{source:?}");
        }
    }

    #[test]
    fn kinds_of_bodies() {
        for (value, expected) in [
            ("application/json", Kind::Json),
            ("Application/JSON; charset=utf-8", Kind::Json),
            ("application/x-www-form-urlencoded", Kind::Form),
            ("application/json5", Kind::Other),
            ("text/plain", Kind::Other),
            ("", Kind::Other),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(kind(&headers), expected, "{value}");
        }
        assert_eq!(kind(&HeaderMap::new()), Kind::Other);
    }

    #[test]
    fn updates_and_their_near_misses() {
        for (query, expected) in [
            ("", Some(Updates::Standard)),
            ("update=STANDARD", Some(Updates::Standard)),
            ("update=Early", Some(Updates::Early)),
            ("update=all", Some(Updates::All)),
            ("update=", None),
            ("update=both", None),
            ("update[a]=all", None),
        ] {
            assert_eq!(
                updates(&Query::parse(Some(query))).ok(),
                expected,
                "{query}"
            );
        }
    }

    #[test]
    fn names_stay_where_that_is_wanted() {
        for (query, expected) in [
            ("", Some(false)),
            ("names=keep", Some(true)),
            ("names=", None),
            ("names=Keep", None),
            ("names=move", None),
            ("names[a]=keep", None),
        ] {
            let found = keeps_names(&Query::parse(Some(query)));
            assert_eq!(found.ok(), expected, "{query}");
        }
    }
}
