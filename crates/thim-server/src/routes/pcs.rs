//! Intel's paths, as PCCS and PCS have them, and the dialect of Azure's client on the same paths
//! (`spec/intel-pcs-and-pccs.md` section 2, `spec/quote-provider-clients.md` section 5).
//! Paths are matched in any case and with a trailing slash, as PCCS does.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use thim_verify::{ArtefactKey, Enclave, Tee, UnixTime};

use super::answer;
use super::crl_uri;
use super::front::Body;
use super::own::Service;
use super::query::{Invalid, Name, Query};
use crate::baseline::Choice;
use crate::baselines::serving::{Decided, NotServed, Table};
use crate::collateral::{Ask, Refusal};
use crate::metrics::{Result as Counted, Route};
use crate::ready::Shape;
use crate::upstream::Fill;
use crate::view::Subject;

/// A path below `/sgx/certification` or `/tdx/certification`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Target<'a> {
    tee: Tee,
    version: u8,
    endpoint: Endpoint<'a>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Endpoint<'a> {
    Crl,
    EvaluationNumbers,
    Fmspcs,
    Identity(Enclave),
    PckCrl,
    RootCrl,
    /// With the FMSPC in the path, as Azure's client asked up to version 1.10.
    Tcb(Option<&'a str>),
}

/// Reads a path. `None`: nothing here has it.
pub fn target(path: &str) -> Option<Target<'_>> {
    let path = path.strip_prefix('/')?;
    let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
    let tee = Tee::ALL
        .into_iter()
        .zip([segments.next()?; 2])
        .find(|(tee, text)| text.eq_ignore_ascii_case(tee.name()))?
        .0;
    if !segments.next()?.eq_ignore_ascii_case("certification") {
        return None;
    }
    let version = match segments.next()?.as_bytes() {
        [b'v' | b'V', digit @ b'2'..=b'4'] => digit - b'0',
        _ => return None,
    };
    // There is no /tdx/certification/v3.
    if tee == Tee::Tdx && version != 4 {
        return None;
    }
    let (first, second) = match (segments.next()?, segments.next(), segments.next()) {
        (first, None, None) => (first, ""),
        (first, Some(second), None) if !second.is_empty() => (first, second),
        _ => return None,
    };
    let is =
        |one: &str, two: &str| first.eq_ignore_ascii_case(one) && second.eq_ignore_ascii_case(two);
    let sgx = tee == Tee::Sgx;
    let endpoint = if is("tcb", "") {
        Endpoint::Tcb(None)
    } else if is("qe", "identity") || (sgx && version < 4 && is("qeid", "")) {
        Endpoint::Identity(if sgx { Enclave::Qe } else { Enclave::TdQe })
    } else if sgx && (is("qve", "identity") || (version < 4 && is("qveid", ""))) {
        Endpoint::Identity(Enclave::Qve)
    } else if sgx && is("qae", "identity") {
        Endpoint::Identity(Enclave::Qae)
    } else if is("pckcrl", "") {
        Endpoint::PckCrl
    } else if is("rootcacrl", "") {
        Endpoint::RootCrl
    } else if is("crl", "") {
        Endpoint::Crl
    } else if version == 4 && is("tcbevaluationdatanumbers", "") {
        Endpoint::EvaluationNumbers
    } else if sgx && version == 4 && is("fmspcs", "") {
        Endpoint::Fmspcs
    } else if sgx && version < 4 && first.eq_ignore_ascii_case("tcb") && !second.is_empty() {
        Endpoint::Tcb(Some(second))
    } else {
        return None;
    };
    Some(Target {
        tee,
        version,
        endpoint,
    })
}

impl Target<'_> {
    /// The route it is counted under.
    pub const fn route(&self) -> Route {
        match self.endpoint {
            Endpoint::Crl => Route::Crl,
            Endpoint::EvaluationNumbers => Route::EvaluationNumbers,
            Endpoint::Fmspcs => Route::Fmspcs,
            Endpoint::Identity(_) => Route::Identity,
            Endpoint::PckCrl => Route::PckCrl,
            Endpoint::RootCrl => Route::RootCrl,
            Endpoint::Tcb(_) => Route::Tcb,
        }
    }

    /// True below `/sgx/certification/v3` and older.
    pub const fn is_version_3(&self) -> bool {
        self.version < 4
    }

    /// What is asked, and in which shape.
    fn ask(&self, query: &Query<'_>) -> Result<(Wish, Shape), Invalid> {
        let artefact = |key| Wish::Plain(Ask::Artefact(key));
        Ok(match self.endpoint {
            Endpoint::Crl => {
                let uri = query.get(Name::Uri)?.unwrap_or_default();
                let named = crl_uri::named(uri).ok_or_else(unlisted)?;
                (artefact(named.key), Shape::Der)
            }
            Endpoint::EvaluationNumbers => (
                artefact(ArtefactKey::EvaluationNumbers { tee: self.tee }),
                Shape::Json,
            ),
            Endpoint::Fmspcs => (Wish::Plain(Ask::Fmspcs), Shape::Json),
            Endpoint::Identity(enclave) => (
                Wish::Subject(Subject::EnclaveIdentity { enclave }, query.choice()?),
                Shape::Json,
            ),
            Endpoint::PckCrl => match query.get(Name::Uri)? {
                Some(uri) => {
                    let named = crl_uri::named(uri).ok_or_else(unlisted)?;
                    (artefact(named.key), azure_shape(query, named)?)
                }
                None => {
                    let shape = if query.wants_der()? {
                        Shape::Der
                    } else {
                        Shape::Hex
                    };
                    (artefact(ArtefactKey::PckCrl { ca: query.ca()? }), shape)
                }
            },
            Endpoint::RootCrl => (artefact(ArtefactKey::RootCrl), Shape::Hex),
            Endpoint::Tcb(in_path) => {
                let fmspc = match in_path {
                    None => query.fmspc()?,
                    Some(text) => text.parse().map_err(|_| Invalid {
                        name: "fmspc",
                        why: "wanted 12 hex digits in the path".to_owned(),
                    })?,
                };
                let version = if self.is_version_3() { 2 } else { 3 };
                (
                    Wish::Subject(
                        Subject::TcbInfo {
                            tee: self.tee,
                            version,
                            fmspc,
                        },
                        query.choice()?,
                    ),
                    Shape::Json,
                )
            }
        })
    }
}

fn unlisted() -> Invalid {
    Invalid {
        name: "uri",
        why: "wanted one of Intel's CRL URLs, at most 2048 bytes".to_owned(),
    }
}

/// PEM for the api-version of 2020, DER for that of 2018 unless the wrapped URL says otherwise.
fn azure_shape(query: &Query<'_>, named: crl_uri::Named) -> Result<Shape, Invalid> {
    let old = query
        .get(Name::ApiVersion)?
        .is_some_and(|version| version.starts_with("2018"));
    Ok(if named.says_der || (old && !named.says_pem) {
        Shape::Der
    } else {
        Shape::Pem
    })
}

/// What a request wants, before its baseline has chosen a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wish {
    /// Something without a number.
    Plain(Ask),
    /// A TCB info or an identity, under the caller's own word where there is one.
    Subject(Subject, Option<Choice>),
}

impl Wish {
    /// What answers a tenant, or everybody else.
    fn decided<'a>(
        self,
        service: &Service,
        table: &'a Table,
        tenant: Option<&'a str>,
        now: UnixTime,
    ) -> Result<(Ask, Option<Decided<'a>>), NotServed> {
        match self {
            Self::Plain(ask) => match tenant.filter(|name| !service.baselines.knows_name(name)) {
                Some(_) => Err(NotServed::UnknownTenant),
                None => Ok((ask, None)),
            },
            Self::Subject(subject, asked) => {
                let view = service.collateral.view();
                let baselines = &service.baselines;
                let decided = baselines.decide(table, tenant, subject, asked, &view, now)?;
                Ok((Ask::Subject(subject, decided.choice), Some(decided)))
            }
        }
    }
}

/// Answers from what is published, without waiting; `None` where that needs more.
pub fn at_once(
    service: &Service,
    target: &Target<'_>,
    tenant: Option<&str>,
    query: &Query<'_>,
    headers: &HeaderMap,
    now: UnixTime,
) -> Option<Response<Body>> {
    let counted = |result, response| {
        service.collateral.metrics().request(target.route(), result);
        Some(response)
    };
    let (wish, shape) = match target.ask(query) {
        Ok(wish) => wish,
        Err(invalid) => return counted(Counted::Client, answer::invalid(&invalid)),
    };
    let table = service.baselines.table();
    let (ask, decided) = match wish.decided(service, &table, tenant, now) {
        Ok(decided) => decided,
        // A list may tell, and is asked for.
        Err(NotServed::NoNumber(_)) if service.collateral.view().lists.is_empty() => return None,
        Err(why) => return counted(Counted::Client, answer::not_served(why)),
    };
    if ask == Ask::Fmspcs || is_version_3_identity(target, ask) {
        return None;
    }
    let response = match (
        service.collateral.peek(ask, now),
        archive(ask, decided).filter(is_retired),
    ) {
        (Some(found), _) => answer::artefact(&found, shape, headers, decided.as_ref(), now),
        (None, Some((key, decided))) => {
            let view = service.collateral.view();
            let ready = view.archived.get(&key)?;
            service.collateral.metrics().served_archived();
            answer::archived(ready, shape, headers, &decided, now)
        }
        (None, None) => return None,
    };
    let result = match response.status() {
        StatusCode::OK => Counted::Hit,
        StatusCode::NOT_MODIFIED => Counted::NotModified,
        _ => Counted::Server,
    };
    counted(result, response)
}

/// Answers from wherever it is to be had.
pub async fn in_time(
    service: &Service,
    target: &Target<'_>,
    tenant: Option<&str>,
    query: &Query<'_>,
    headers: &HeaderMap,
    now: UnixTime,
    request_id: &HeaderValue,
) -> Response<Body> {
    let (response, result) = match outcome(service, target, tenant, query, headers, now).await {
        Ok(response) => (response, Counted::Miss),
        Err(Failure::Invalid(invalid)) => (answer::invalid(&invalid), Counted::Client),
        Err(Failure::NotServed(why)) => (answer::not_served(why), Counted::Client),
        Err(Failure::Refused(refusal)) => {
            let response = answer::refusal(&refusal);
            // A caller can make as many of these as it likes; only what is ours or the vendor's is worth a line.
            if response.status().is_server_error() {
                tracing::info!(request.id = ?request_id, http.route = ?target.route(), cause = %refusal, "nothing to serve");
            } else {
                tracing::debug!(request.id = ?request_id, http.route = ?target.route(), cause = %refusal, "nothing to serve");
            }
            let result = if response.status().is_server_error() {
                Counted::Server
            } else {
                Counted::Client
            };
            (response, result)
        }
    };
    service.collateral.metrics().request(target.route(), result);
    response
}

enum Failure {
    Invalid(Invalid),
    NotServed(NotServed),
    Refused(Refusal),
}

async fn outcome(
    service: &Service,
    target: &Target<'_>,
    tenant: Option<&str>,
    query: &Query<'_>,
    headers: &HeaderMap,
    now: UnixTime,
) -> Result<Response<Body>, Failure> {
    let (wish, shape) = target.ask(query).map_err(Failure::Invalid)?;
    let table = Arc::clone(&service.baselines.table());
    let decide = || wish.decided(service, &table, tenant, now);
    let no_list = service.collateral.view().lists.is_empty();
    if no_list && matches!(decide(), Err(NotServed::NoNumber(_))) {
        service.collateral.learn_lists(now).await;
    }
    let (mut ask, mut decided) = decide().map_err(Failure::NotServed)?;
    if ask == Ask::Fmspcs {
        return fmspcs(service, query, now).await;
    }
    if is_version_3_identity(target, ask) && !holds_version_2(service) {
        let what = "an enclave identity of API version 3".to_owned();
        return Err(Failure::Refused(
            if service.collateral.fill() == Fill::Lazy {
                Refusal::Version3 { what }
            } else {
                Refusal::NotHeld {
                    what,
                    why: "no version 2 TCB info is imported",
                }
            },
        ));
    }
    // Where a list is not held yet, what a floor or a baseline means is known only with it.
    let depends = decided.is_some_and(|one| one.version > 0 || table.has_floor());
    if depends && service.collateral.view().lists.is_empty() {
        service.collateral.learn_lists(now).await;
        (ask, decided) = decide().map_err(Failure::NotServed)?;
    }
    // What the vendor has retired it is not asked for again.
    if let Some((key, decided)) = archive(ask, decided).filter(is_retired) {
        // Until its grace is over it is served like any other.
        let held = match service.collateral.peek(ask, now) {
            Some(found) => Some(found),
            None => {
                let found = service.collateral.look_up(ask, now).await;
                found.map_err(Failure::Refused)?
            }
        };
        if let Some(found) = held {
            let decided = Some(&decided);
            return Ok(answer::artefact(&found, shape, headers, decided, now));
        }
        if let Ok(Some(ready)) = service.collateral.archived(key, now).await {
            service.collateral.metrics().served_archived();
            return Ok(answer::archived(&ready, shape, headers, &decided, now));
        }
    }
    let mut found = service.collateral.answer(ask, now).await;
    if let (Err(Refusal::Retired { .. }), Some(one)) = (&found, &decided)
        && one.by_baseline
    {
        // The vendor has just said so: what the baseline does then is for the baseline to say.
        let again = decide().map_err(Failure::NotServed)?;
        if again.0 != ask {
            (ask, decided) = again;
            found = service.collateral.answer(ask, now).await;
        }
    }
    // Without a list it is the source that says which number it is: only now the floor can be asked.
    if found.is_ok() && table.has_floor() && service.collateral.view().lists.is_empty() {
        decide().map_err(Failure::NotServed)?;
    }
    match found {
        Ok(found) => Ok(answer::artefact(
            &found,
            shape,
            headers,
            decided.as_ref(),
            now,
        )),
        Err(refusal) => {
            if let Some((key, decided)) = archive(ask, decided)
                && let Ok(Some(ready)) = service.collateral.archived(key, now).await
            {
                service.collateral.metrics().served_archived();
                return Ok(answer::archived(&ready, shape, headers, &decided, now));
            }
            Err(Failure::Refused(refusal))
        }
    }
}

/// What a baseline lets be served past its time: the key to look for in the archive.
fn archive<'a>(ask: Ask, decided: Option<Decided<'a>>) -> Option<(ArtefactKey, Decided<'a>)> {
    let decided = decided.filter(|one| one.serve_archived && one.by_baseline)?;
    match ask {
        Ask::Subject(subject, Choice::Number(number)) => Some((subject.key(number), decided)),
        Ask::Artefact(_) | Ask::Fmspcs | Ask::Subject(..) => None,
    }
}

/// Whether the vendor signs the number no longer, and the baseline stays on it: then nobody is asked first.
const fn is_retired((_, decided): &(ArtefactKey, Decided<'_>)) -> bool {
    decided.is_archive
}

/// Identities have one format in API versions 3 and 4, so a document does not tell which API it came from.
/// They are served to v3 clients where v2 TCB infos are: one is of no use without the other.
fn is_version_3_identity(target: &Target<'_>, ask: Ask) -> bool {
    target.is_version_3() && matches!(ask, Ask::Subject(Subject::EnclaveIdentity { .. }, _))
}

fn holds_version_2(service: &Service) -> bool {
    service
        .collateral
        .view()
        .called
        .iter()
        .any(|(subject, called)| {
            matches!(subject, Subject::TcbInfo { version: 2, .. }) && !called.current.is_empty()
        })
}

/// The vendor's list of FMSPCs, filtered by platform as PCS does.
async fn fmspcs(
    service: &Service,
    query: &Query<'_>,
    now: UnixTime,
) -> Result<Response<Body>, Failure> {
    let platform = query
        .get(Name::Platform)
        .map_err(Failure::Invalid)?
        .unwrap_or("all");
    if !["all", "client", "E3", "E5"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(platform))
    {
        return Err(Failure::Invalid(Invalid {
            name: "platform",
            why: "wanted all, client, E3 or E5".to_owned(),
        }));
    }
    let (rows, age) = service
        .collateral
        .fmspcs(now)
        .await
        .map_err(Failure::Refused)?;
    let wanted: Vec<_> = rows
        .into_iter()
        .filter(|row| {
            platform.eq_ignore_ascii_case("all") || row.platform.eq_ignore_ascii_case(platform)
        })
        .collect();
    let body = serde_json::to_vec(&wanted).unwrap_or_default();
    Ok(answer::json(body.into(), 3600 - age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_near_misses() {
        for (path, tee, version) in [
            ("/sgx/certification/v4/tcb", Tee::Sgx, 4),
            ("/SGX/Certification/V4/TCB/", Tee::Sgx, 4),
            ("/tdx/certification/v4/tcb", Tee::Tdx, 4),
            ("/sgx/certification/v3/tcb/00906ED50000", Tee::Sgx, 3),
            ("/sgx/certification/v2/qeid", Tee::Sgx, 2),
            ("/tdx/certification/v4/qe/identity", Tee::Tdx, 4),
            ("/sgx/certification/v4/qae/identity/", Tee::Sgx, 4),
        ] {
            assert_eq!(
                target(path).map(|target| (target.tee, target.version)),
                Some((tee, version)),
                "{path}"
            );
        }
        for path in [
            "",
            "/",
            "sgx/certification/v4/tcb",
            "//sgx/certification/v4/tcb",
            "/sgx/certification/v4",
            "/sgx/certification/v4/",
            "/sgx/certification/v1/tcb",
            "/sgx/certification/v44/tcb",
            "/sgx/certification/4/tcb",
            "/sgx/certification/v4/tcb/00906ED50000",
            "/sgx/certification/v4/tcb//",
            "/sgx/certification/v4/qe",
            "/sgx/certification/v4/qe/identity/x",
            "/sgx/certification/v4/nosuch",
            "/tdx/certification/v3/tcb",
            "/tdx/certification/v4/qve/identity",
            "/tdx/certification/v4/qae/identity",
            "/tdx/certification/v4/fmspcs",
            "/sgx/certification/v3/tcbevaluationdatanumbers",
            "/sgx%2Fcertification/v4/tcb",
        ] {
            assert_eq!(target(path), None, "{path}");
        }
    }
}
