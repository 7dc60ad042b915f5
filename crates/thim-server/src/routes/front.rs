//! The front door: every request comes here first. Vendor paths are answered at once where they can be;
//! the own API goes through axum; the rest is Express's 404, as PCCS's users know it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use tower::ServiceExt;

use super::own::{self, Service};
use super::query::Query;
use super::tenants::{self, Below};
use super::{answer, kds, pccs, pck, pcs, tcb_baselines};
use crate::metrics::{RequestIds, Result as Counted, Route};

/// A response's body: shared bytes, or what axum made.
pub type Body = Either<Full<Bytes>, axum::body::Body>;

/// Who asks, for the handlers of the own API.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Dispatches requests.
pub struct Front {
    service: Arc<Service>,
    router: axum::Router,
    request_ids: RequestIds,
    request_timeout: Duration,
}

impl Front {
    /// The front door of `service`.
    pub fn new(
        service: Arc<Service>,
        request_ids: RequestIds,
        request_timeout: Duration,
        body_limit_bytes: usize,
    ) -> Self {
        let router = own::router(&service, body_limit_bytes);
        Self {
            service,
            router,
            request_ids,
            request_timeout,
        }
    }

    /// Answers one request of a peer.
    pub async fn answer<B>(&self, request: Request<B>, peer: IpAddr) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let request_id = match request.headers().get(&REQUEST_ID) {
            Some(given) if is_request_id(given) => given.clone(),
            _ => self.request_ids.next(),
        };
        let head = *request.method() == Method::HEAD;
        let uri = request.uri().clone();
        let mut response = match tenants::below(uri.path()) {
            Below::Nobody => self.route(request, None, peer, &request_id).await,
            Below::Wrong => {
                self.count(Route::None, StatusCode::NOT_FOUND);
                answer::unknown_tenant()
            }
            Below::Tenant { name, path } => {
                // Who reads baselines in that shape reads its errors in that shape too.
                let has_own_errors = tcb_baselines::target(path).is_some();
                if !self.service.baselines.knows_name(name) && !has_own_errors {
                    self.count(Route::None, StatusCode::NOT_FOUND);
                    answer::unknown_tenant()
                } else if path.starts_with("/thim/") || tenants::is_operations(path) {
                    self.count(Route::None, StatusCode::NOT_FOUND);
                    answer::unknown(request.method(), uri.path())
                } else {
                    match tenants::without(request, path) {
                        Some(request) => self.route(request, Some(name), peer, &request_id).await,
                        None => answer::unknown_tenant(),
                    }
                }
            }
        };
        if head {
            response = answer::without_body(response);
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, request_id);
        if self.service.clock.is_simulated() {
            headers.insert(THIM_CLOCK, HeaderValue::from_static("simulated"));
        }
        response
    }

    /// A request below no tenant's path, or one with the tenant's part taken off.
    async fn route<B>(
        &self,
        request: Request<B>,
        tenant: Option<&str>,
        peer: IpAddr,
        request_id: &HeaderValue,
    ) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match pcs::target(request.uri().path()) {
            Some(target) => self.vendor(target, tenant, &request, request_id).await,
            None => self.others(request, tenant, peer, request_id).await,
        }
    }

    async fn vendor<B>(
        &self,
        target: pcs::Target<'_>,
        tenant: Option<&str>,
        request: &Request<B>,
        request_id: &HeaderValue,
    ) -> Response<Body> {
        let mut response = match *request.method() {
            Method::GET | Method::HEAD => {
                let now = self.service.clock.now();
                let query = Query::parse(request.uri().query());
                let headers = request.headers();
                match pcs::at_once(&self.service, &target, tenant, &query, headers, now) {
                    Some(response) => response,
                    None => {
                        pcs::in_time(
                            &self.service,
                            &target,
                            tenant,
                            &query,
                            headers,
                            now,
                            request_id,
                        )
                        .await
                    }
                }
            }
            Method::OPTIONS => {
                self.count(target.route(), StatusCode::OK);
                answer::options()
            }
            _ => {
                self.count(target.route(), StatusCode::NOT_FOUND);
                answer::unknown(request.method(), request.uri().path())
            }
        };
        if target.is_version_3() {
            answer::add_version_3_warning(&mut response);
        }
        response
    }

    /// AMD's paths.
    async fn amd<B>(
        &self,
        target: kds::Target<'_>,
        tenant: Option<&str>,
        request: &Request<B>,
        request_id: &HeaderValue,
    ) -> Response<Body> {
        match *request.method() {
            Method::GET | Method::HEAD => {
                let now = self.service.clock.now();
                let (query, headers) = (request.uri().query(), request.headers());
                match kds::at_once(&self.service, &target, tenant, query, headers, now) {
                    Some(response) => response,
                    None => {
                        kds::in_time(
                            &self.service,
                            &target,
                            tenant,
                            query,
                            headers,
                            now,
                            request_id,
                        )
                        .await
                    }
                }
            }
            Method::OPTIONS => {
                self.count(target.route(), StatusCode::OK);
                kds::options(&self.service, &target)
            }
            _ => {
                self.count(target.route(), StatusCode::METHOD_NOT_ALLOWED);
                kds::not_allowed()
            }
        }
    }

    /// PCK certificates, in all dialects.
    async fn certificates<B>(
        &self,
        request: Request<B>,
        peer: IpAddr,
        request_id: &HeaderValue,
    ) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let uri = request.uri().clone();
        let Some(target) = pck::target(uri.path()) else {
            return answer::unknown(request.method(), uri.path());
        };
        let mut response = if *request.method() == Method::OPTIONS {
            self.count(target.route(), StatusCode::OK);
            answer::options()
        } else if !target.takes(request.method()) {
            self.count(target.route(), StatusCode::NOT_FOUND);
            answer::unknown(request.method(), uri.path())
        } else {
            let now = self.service.clock.now();
            let query = Query::parse(uri.query());
            match pck::at_once(&self.service, &target, &query, request.headers(), now) {
                Some(response) => response,
                None => pck::in_time(&self.service, &target, request, peer, now, request_id).await,
            }
        };
        if target.is_version_3() {
            answer::add_version_3_warning(&mut response);
        }
        response
    }

    async fn others<B>(
        &self,
        request: Request<B>,
        tenant: Option<&str>,
        peer: IpAddr,
        request_id: &HeaderValue,
    ) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = request.uri().path();
        if let Some(target) = kds::target(path) {
            return self.amd(target, tenant, &request, request_id).await;
        }
        if pck::target(path).is_some() {
            return self.certificates(request, peer, request_id).await;
        }
        if let Some(target) = pccs::target(path) {
            let mut response = pccs::answer(&self.service, target, request, peer, request_id).await;
            self.count(Route::Pccs, response.status());
            if target.is_version_3() {
                answer::add_version_3_warning(&mut response);
            }
            return response;
        }
        if let Some(target) = tcb_baselines::target(path)
            && matches!(*request.method(), Method::GET | Method::HEAD)
        {
            let query = Query::parse(request.uri().query());
            let now = self.service.clock.now();
            let response = {
                // `default` is everybody's and no tenant's.
                let tenant = tenant.and_then(|name| name.parse().ok());
                tcb_baselines::answer(&self.service, target, &query, tenant.as_ref(), now)
            };
            self.count(Route::Own, response.status());
            return response;
        }
        let route = if path.starts_with("/thim/") || path == "/.well-known/jwks.json" {
            Route::Own
        } else if path.starts_with("/healthz/") || path == "/metrics" {
            Route::Operations
        } else {
            Route::None
        };
        if route == Route::None {
            self.count(route, StatusCode::NOT_FOUND);
            let mut response = answer::unknown(request.method(), path);
            if path
                .get(..21)
                .is_some_and(|start| start.eq_ignore_ascii_case("/sgx/certification/v3"))
            {
                answer::add_version_3_warning(&mut response);
            }
            return response;
        }
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Peer(peer));
        // An import is as long as its files; everything else is short.
        let patience = if path_is_long(request.uri().path()) {
            LONG_REQUEST
        } else {
            self.request_timeout
        };
        let response = match tokio::time::timeout(patience, self.router.clone().oneshot(request))
            .await
        {
            Ok(Ok(response)) => response.map(Either::Right),
            Ok(Err(never)) => match never {},
            Err(_) => {
                tracing::warn!(request.id = ?request_id, "a request of the own API took too long");
                answer::plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The request took too long.",
                    None,
                )
            }
        };
        self.count(route, response.status());
        response
    }

    fn count(&self, route: Route, status: StatusCode) {
        let result = if status.is_server_error() {
            Counted::Server
        } else if status.is_client_error() {
            Counted::Client
        } else {
            Counted::Ok
        };
        self.service.collateral.metrics().request(route, result);
    }
}

fn path_is_long(path: &str) -> bool {
    // A registration waits for a list and then for collateral, each as long as a miss does; so does an explanation.
    matches!(
        path,
        "/thim/v1/baselines/forecast"
            | "/thim/v1/evidence/explain"
            | "/thim/v1/import"
            | "/thim/v1/keys/rotate"
            | "/thim/v1/platforms"
            | "/thim/v1/refresh"
    ) || ["/promote", "/refetch", "/rollback"]
        .iter()
        .any(|end| path.ends_with(end))
}

/// A caller's id is echoed if it is one: 1 to 128 visible characters.
fn is_request_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const THIM_CLOCK: HeaderName = HeaderName::from_static("thim-clock");
const LONG_REQUEST: Duration = Duration::from_secs(300);
