//! AMD's paths: the key server's, byte- and header-compatible; the central cache's that CCF asks; and the metadata
//! service's (`spec/amd-kds-and-thim.md` 1, 6.1 and 6.3).
//!
//! A chip and TCB have one key however they are spelled: hex in either case, levels with leading zeros, parameters in
//! any order, an id of eight bytes padded to sixty-four. Names of products are AMD's own spelling, as at AMD's server.
//! A level that is missing is refused and not guessed. Bodies of refusals are short texts; why is in `THIM-Cause`.
//!
//! The last two name a chip without its product. It is the one that the chip is known under, else those whose ids are
//! that long, one after the other.

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{Either, Full};
use percent_encoding::percent_decode_str;
use thim_verify::amd::{
    EndorsementKind, HwId, Product, ProductFacts, SnpTcb, TcbVersion, VcekKey, VlekKey,
};
use thim_verify::{ArtefactKey, Error, UnixTime};

use super::answer;
use super::front::Body;
use super::own::Service;
use super::pck::manners_fault;
use crate::chips::{ChipAsk, EndorsementShape, Found};
use crate::collateral::{Ask, Refusal};
use crate::metrics::{Result as Counted, Route};
use crate::ready::Shape;

/// A path of AMD's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Target<'a> {
    endpoint: Endpoint<'a>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Endpoint<'a> {
    /// `/SevSnpVM/certificates/{chip}/{tcb}`
    Cache { chip: &'a str, tcb: &'a str },
    /// `/vcek/v1/{product}/cert_chain`
    Chain(EndorsementKind, &'a str),
    /// `/vcek/v1/{product}/crl`
    Crl(EndorsementKind, &'a str),
    /// `/metadata/THIM/amd/certification`
    Metadata,
    /// `/vcek/v1/{product}/{hwid}`
    Vcek { line: &'a str, chip: &'a str },
    /// `/vlek/v1/{product}/cert`
    Vlek(&'a str),
}

/// Reads a path. `None`: nothing here has it.
pub fn target(path: &str) -> Option<Target<'_>> {
    let mut segments = path.strip_prefix('/')?.split('/');
    let first = segments.next()?;
    let endpoint = if let Some(kind) = EndorsementKind::ALL
        .into_iter()
        .find(|kind| kind.name() == first)
    {
        let (version, line, last) = (segments.next()?, segments.next()?, segments.next()?);
        if version != "v1" || line.is_empty() || last.is_empty() {
            return None;
        }
        match (kind, last) {
            (kind, "cert_chain") => Endpoint::Chain(kind, line),
            (kind, "crl") => Endpoint::Crl(kind, line),
            (EndorsementKind::Vlek, "cert") => Endpoint::Vlek(line),
            (EndorsementKind::Vlek, _) => return None,
            (EndorsementKind::Vcek, chip) => Endpoint::Vcek { line, chip },
        }
    } else if first == "SevSnpVM" {
        let (name, chip, tcb) = (segments.next()?, segments.next()?, segments.next()?);
        if name != "certificates" {
            return None;
        }
        Endpoint::Cache { chip, tcb }
    } else if first.eq_ignore_ascii_case("metadata") {
        let rest = [segments.next()?, segments.next()?, segments.next()?];
        let known = ["thim", "amd", "certification"];
        let same = rest
            .iter()
            .zip(known)
            .all(|(one, other)| one.eq_ignore_ascii_case(other));
        if !same {
            return None;
        }
        Endpoint::Metadata
    } else {
        return None;
    };
    segments.next().is_none().then_some(Target { endpoint })
}

impl Target<'_> {
    /// The route it is counted under.
    pub const fn route(&self) -> Route {
        match self.endpoint {
            Endpoint::Cache { .. } => Route::SevSnpVm,
            Endpoint::Chain(..) => Route::AmdCertChain,
            Endpoint::Crl(..) => Route::AmdCrl,
            Endpoint::Metadata => Route::Certification,
            Endpoint::Vcek { .. } => Route::Vcek,
            Endpoint::Vlek(_) => Route::Vlek,
        }
    }

    /// Whether it is one of the key server's own, which browsers may ask.
    const fn is_kds(&self) -> bool {
        match self.endpoint {
            Endpoint::Cache { .. } | Endpoint::Metadata => false,
            Endpoint::Chain(..) | Endpoint::Crl(..) | Endpoint::Vcek { .. } | Endpoint::Vlek(_) => {
                true
            }
        }
    }

    fn shape(&self) -> EndorsementShape {
        match self.endpoint {
            Endpoint::Cache { .. } => EndorsementShape::Bundle,
            Endpoint::Metadata => EndorsementShape::Metadata,
            Endpoint::Chain(..) | Endpoint::Crl(..) | Endpoint::Vcek { .. } | Endpoint::Vlek(_) => {
                EndorsementShape::Der
            }
        }
    }
}

/// What is asked for.
enum Wanted {
    /// A certificate of one of these; the first that is there.
    Certificates(Vec<ChipAsk>),
    /// A chain or a list.
    Signed(ArtefactKey, Shape),
}

/// Why a request is none.
enum Wrong {
    /// A value that cannot be: the parameter, and what was wanted.
    Invalid(String),
    /// A breach of the metadata service's manners.
    Manners(&'static str),
    /// A product that there is none of.
    Product,
}

/// Answers from what is published, without waiting; `None` where that needs more.
pub fn at_once(
    service: &Service,
    target: &Target<'_>,
    query: Option<&str>,
    headers: &HeaderMap,
    now: UnixTime,
) -> Option<Response<Body>> {
    let response = match wanted(service, target, query, headers) {
        Err(wrong) => refused(target, &wrong),
        Ok(Wanted::Signed(key, shape)) => {
            let found = service.collateral.peek(Ask::Artefact(key), now)?;
            answer::artefact(&found, shape, headers, None, now)
        }
        Ok(Wanted::Certificates(asks)) => {
            let found = asks.iter().find_map(|ask| service.chips.peek(ask, now))?;
            certificate(&found, target.shape(), headers, now)
        }
    };
    let result = match response.status() {
        StatusCode::OK => Counted::Hit,
        StatusCode::NOT_MODIFIED => Counted::NotModified,
        status if status.is_server_error() => Counted::Server,
        _ => Counted::Client,
    };
    service.collateral.metrics().request(target.route(), result);
    Some(finished(service, target, response))
}

/// Answers from wherever it is to be had.
pub async fn in_time(
    service: &Service,
    target: &Target<'_>,
    query: Option<&str>,
    headers: &HeaderMap,
    now: UnixTime,
    request_id: &HeaderValue,
) -> Response<Body> {
    let outcome = match wanted(service, target, query, headers) {
        Err(wrong) => Ok(refused(target, &wrong)),
        Ok(Wanted::Signed(key, shape)) => service
            .collateral
            .answer(Ask::Artefact(key), now)
            .await
            .map(|found| answer::artefact(&found, shape, headers, None, now)),
        Ok(Wanted::Certificates(asks)) => first_of(service, asks, now)
            .await
            .map(|found| certificate(&found, target.shape(), headers, now)),
    };
    let (response, result) = match outcome {
        Ok(response) if response.status().is_client_error() => (response, Counted::Client),
        Ok(response) => (response, Counted::Miss),
        Err(refusal) => {
            let response = nothing(target, &refusal);
            let fault = response.status().is_server_error();
            // A caller can make as many of these as it likes; only what is ours or the vendor's is worth a line.
            if fault {
                tracing::info!(request.id = ?request_id, http.route = ?target.route(), cause = %refusal, "nothing to serve");
            } else {
                tracing::debug!(request.id = ?request_id, http.route = ?target.route(), cause = %refusal, "nothing to serve");
            }
            (
                response,
                if fault {
                    Counted::Server
                } else {
                    Counted::Client
                },
            )
        }
    };
    service.collateral.metrics().request(target.route(), result);
    finished(service, target, response)
}

/// The first of these that is there. Only what a product does not have is asked for of the next one.
async fn first_of(service: &Service, asks: Vec<ChipAsk>, now: UnixTime) -> Result<Found, Refusal> {
    let known = match asks.as_slice() {
        [ChipAsk::Vcek(key), _, ..] => service
            .chips
            .products_of(&key.hw_id)
            .await
            .map_err(|_| Refusal::Storage)?,
        _ => Vec::new(),
    };
    let mut refusal = None;
    for ask in &asks {
        if !known.is_empty() && !known.contains(&ask.product()) {
            continue;
        }
        match service.chips.answer(ask, now).await {
            Ok(found) => return Ok(found),
            Err(absent @ Refusal::Absent { .. }) => refusal = Some(absent),
            Err(other) => return Err(other),
        }
    }
    Err(refusal.unwrap_or(Refusal::Absent {
        what: "a certificate of that chip".to_owned(),
    }))
}

fn wanted(
    service: &Service,
    target: &Target<'_>,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Wanted, Wrong> {
    let invalid = |error: Error| Wrong::Invalid(error.to_string());
    let facts_of = |line: &str| -> Result<&ProductFacts, Wrong> {
        let mut all = service.chips.products().all().iter();
        all.find(|facts| facts.kds_line() == line)
            .ok_or(Wrong::Product)
    };
    Ok(match target.endpoint {
        Endpoint::Chain(kind, line) => {
            let product = facts_of(line)?.product();
            Wanted::Signed(ArtefactKey::AmdCertChain { product, kind }, Shape::Pem)
        }
        Endpoint::Crl(kind, line) => {
            let product = facts_of(line)?.product();
            Wanted::Signed(ArtefactKey::AmdCrl { product, kind }, Shape::Der)
        }
        Endpoint::Vcek { line, chip } => {
            let facts = facts_of(line)?;
            let key = VcekKey {
                product: facts.product(),
                hw_id: HwId::from_hex(facts, chip).map_err(invalid)?,
                tcb: levels(facts, query)?,
            };
            Wanted::Certificates(vec![key.into()])
        }
        Endpoint::Vlek(line) => {
            let facts = facts_of(line)?;
            let key = VlekKey {
                product: facts.product(),
                tcb: levels(facts, query)?,
            };
            Wanted::Certificates(vec![key.into()])
        }
        Endpoint::Cache { chip, tcb } => {
            let tcb = TcbVersion::from_hex_be(tcb).map_err(invalid)?;
            Wanted::Certificates(candidates(service, chip, tcb, None)?)
        }
        Endpoint::Metadata => {
            if let Some(fault) = manners_fault(headers) {
                return Err(Wrong::Manners(fault));
            }
            let [chip, tcb, product] = named(query, ["platformId", "tcbVersion", "product"])?;
            let missing = |name: &str| {
                Wrong::Invalid(format!("{name}: missing; a node's own agent knows it"))
            };
            let chip = chip.ok_or_else(|| missing("platformId"))?;
            let tcb = tcb.ok_or_else(|| missing("tcbVersion"))?;
            let tcb = TcbVersion::from_hex_be(&tcb)
                .map_err(|error| Wrong::Invalid(format!("tcbVersion: {error}")))?;
            let product = match product {
                None => None,
                Some(name) => Some(facts_of(&name)?.product()),
            };
            Wanted::Certificates(candidates(service, &chip, tcb, product)?)
        }
    })
}

/// The chip under every product whose ids are that long.
fn candidates(
    service: &Service,
    chip: &str,
    tcb: TcbVersion,
    named: Option<Product>,
) -> Result<Vec<ChipAsk>, Wrong> {
    let all = service.chips.products().all().iter();
    let fitting: Vec<&ProductFacts> = all
        .filter(|facts| facts.is_enabled() && named.is_none_or(|named| facts.product() == named))
        .filter(|facts| HwId::from_hex(facts, chip).is_ok())
        .collect();
    if fitting.is_empty() {
        return Err(Wrong::Invalid(
            "chip id: wanted 16 or 128 hex digits".to_owned(),
        ));
    }
    // A padded id of eight bytes is one of sixty-four too; no chip with those has so many zeros.
    let short: Vec<&ProductFacts> = fitting
        .iter()
        .copied()
        .filter(|facts| HwId::from_hex(facts, chip).is_ok_and(|id| id.as_bytes().len() < LONG_ID))
        .collect();
    let fitting = if short.is_empty() { fitting } else { short };
    let mut asks = Vec::with_capacity(fitting.len());
    let mut fault = None;
    for facts in fitting {
        let key = HwId::from_hex(facts, chip).and_then(|hw_id| {
            Ok(VcekKey {
                product: facts.product(),
                hw_id,
                tcb: tcb.decode(facts)?,
            })
        });
        match key {
            Ok(key) => asks.push(key.into()),
            Err(error) => fault = Some(error),
        }
    }
    match fault {
        Some(error) if asks.is_empty() => Err(Wrong::Invalid(error.to_string())),
        _ => Ok(asks),
    }
}

/// The levels of a query: all that the product has, each once, and nothing else.
fn levels(facts: &ProductFacts, query: Option<&str>) -> Result<SnpTcb, Wrong> {
    let pairs = query.into_iter().flat_map(|text| text.split('&'));
    let pairs: Vec<(&str, &str)> = pairs
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .take(PARAMETERS)
        .collect();
    // A name that is none may be anything, a chip id too: it is repeated only where it looks like one.
    let looks_like_one = |name: &str| {
        (1..=NAME_CHARS).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    if pairs.iter().any(|(name, _)| !looks_like_one(name)) {
        return Err(Wrong::Invalid(
            "a parameter whose name is no word: not a parameter of a VCEK".to_owned(),
        ));
    }
    SnpTcb::from_parameters(facts, pairs).map_err(|error| Wrong::Invalid(error.to_string()))
}

/// Parameters by name, as the metadata service reads them: unknown ones are ignored, none may come twice.
fn named<const N: usize>(
    query: Option<&str>,
    names: [&'static str; N],
) -> Result<[Option<String>; N], Wrong> {
    let mut values = [const { None }; N];
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(at) = names.iter().position(|known| *known == name) else {
            continue;
        };
        let value = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| Wrong::Invalid(format!("{name}: not UTF-8")))?;
        if values[at].replace(value.into_owned()).is_some() {
            return Err(Wrong::Invalid(format!("{name}: given twice")));
        }
    }
    Ok(values)
}

fn certificate(
    found: &Found,
    shape: EndorsementShape,
    asked: &HeaderMap,
    now: UnixTime,
) -> Response<Body> {
    let served = found.ready.serve(shape, now);
    answer::prepared(
        served.headers,
        served.body,
        &served.etag,
        Some(found.ready.not_before()),
        found.hit,
        asked,
    )
}

/// Why a request is none, in the words of the surface.
fn refused(target: &Target<'_>, wrong: &Wrong) -> Response<Body> {
    let (status, token, text) = match wrong {
        Wrong::Invalid(text) => (StatusCode::BAD_REQUEST, "invalid-parameter", text.as_str()),
        Wrong::Manners(text) => (StatusCode::BAD_REQUEST, "invalid-request", *text),
        Wrong::Product => (
            StatusCode::NOT_FOUND,
            "unknown-product",
            "wanted Milan, Genoa, Turin or Venice, spelled so",
        ),
    };
    texted(target, status, token, text)
}

/// Why there is nothing to serve. A throttled caller is told so as the key server tells it.
fn nothing(target: &Target<'_>, refusal: &Refusal) -> Response<Body> {
    let from = answer::refusal(refusal);
    let status = match refusal {
        Refusal::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
        _ => from.status(),
    };
    let mut response = texted(target, status, "", &refusal.to_string());
    for name in [&answer::THIM_CAUSE, &RETRY_AFTER] {
        if let Some(value) = from.headers().get(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn texted(target: &Target<'_>, status: StatusCode, token: &str, text: &str) -> Response<Body> {
    let (kind, body) = match target.endpoint {
        // CCF expects nothing in it: spec/amd-kds-and-thim.md 6.3.
        Endpoint::Cache { .. } if status == StatusCode::NOT_FOUND => ("text/plain", String::new()),
        Endpoint::Metadata => (
            "application/json; charset=utf-8",
            serde_json::json!({ "error": text }).to_string(),
        ),
        Endpoint::Cache { .. }
        | Endpoint::Chain(..)
        | Endpoint::Crl(..)
        | Endpoint::Vcek { .. }
        | Endpoint::Vlek(_) => ("text/plain; charset=utf-8", format!("{text}\n")),
    };
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(answer::THIM_CAUSE, answer::cause(token, text));
    response
}

/// `OPTIONS`, and what a browser asks before a request with headers of its own.
pub fn options(service: &Service, target: &Target<'_>) -> Response<Body> {
    finished(service, target, answer::options())
}

/// Any other method.
pub fn not_allowed() -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::new())));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

fn finished(
    service: &Service,
    target: &Target<'_>,
    mut response: Response<Body>,
) -> Response<Body> {
    if let Some(origin) = service.chips.allow_origin()
        && target.is_kds()
    {
        response
            .headers_mut()
            .insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    response
}

/// One more than there are, so that a doubled one is seen.
const PARAMETERS: usize = 6;
/// `ucodeSPL` has 8.
const NAME_CHARS: usize = 12;
/// Bytes of Milan's and Genoa's ids.
const LONG_ID: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_near_misses() {
        for path in [
            "/vcek/v1/Milan/cert_chain",
            "/vcek/v1/Genoa/crl",
            "/vcek/v1/Turin/0011223344556677",
            "/vlek/v1/Milan/cert_chain",
            "/vlek/v1/Milan/crl",
            "/vlek/v1/Milan/cert",
            "/SevSnpVM/certificates/00/03",
            "/metadata/THIM/amd/certification",
            "/metadata/thim/AMD/certification",
        ] {
            assert!(target(path).is_some(), "{path}");
            assert!(target(&format!("{path}/more")).is_none(), "{path}/more");
            assert!(target(&format!("/x{path}")).is_none(), "/x{path}");
        }
        for path in [
            "/",
            "/vcek",
            "/vcek/v1/Milan",
            "/vcek/v1/Milan/",
            "/vcek/v1//crl",
            "/vcek/v2/Milan/crl",
            "/VCEK/v1/Milan/crl",
            "/vlek/v1/Milan/00112233",
            "/SevSnpVM/certificate/00/03",
            "/sevsnpvm/certificates/00/03",
            "/SevSnpVM/certificates/00",
            "/metadata/THIM/amd",
            "/metadata/THIM/sgx/certification",
        ] {
            assert!(target(path).is_none(), "{path}");
        }
    }

    #[test]
    fn parameters_of_the_metadata_path() {
        let read = |query| named(Some(query), ["platformId", "tcbVersion"]);
        let found = read("api-version=1&platformId=0a%30&x&tcbVersion=03").ok();
        let found = found.expect("readable");
        assert_eq!(found, [Some("0a0".to_owned()), Some("03".to_owned())]);
        for bad in ["platformId=1&platformId=1", "tcbVersion=%ff"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(read("platformid=1").ok(), Some([None, None]));
    }
}
