//! The own API's news, and the Atom feed. Open is what vendors publish; what counts platforms or names tenants is there for
//! a reader's token alone.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LAST_MODIFIED, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use thim_client::{NewsRecord, Problem};
use thim_verify::Digest;
use utoipa::IntoParams;

use super::answer;
use super::caller;
use super::own::{Answer, Service, limit};
use super::problem::{Params, ProblemResponse, problem};
use crate::access::Act;
use crate::news::{feed, item};
use crate::store::NewsRow;

/// The routes of this file.
pub fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/thim/v1/news", get(list))
        .route("/thim/v1/news.atom", get(atom))
}

#[derive(Deserialize, IntoParams)]
struct NewsQuery {
    /// Only news after this number.
    after: Option<i64>,
    /// At most so many, 1 to 1000; 100 by default.
    limit: Option<u32>,
}

/// News, oldest first. Counts of platforms are there for a token that reads platforms and baselines.
#[utoipa::path(get, path = "/thim/v1/news", operation_id = "list_news", params(NewsQuery),
    responses((status = 200, body = [NewsRecord]), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn list(
    State(service): State<Arc<Service>>,
    Params(query): Params<NewsQuery>,
    request: Request,
) -> Answer<Vec<NewsRecord>> {
    let all = may_read_all(&service, &request)?;
    let (after, limit) = (query.after.unwrap_or(0), limit(query.limit)?);
    let rows = service.news.page(after, limit, all).await?;
    Ok(Json(rows.into_iter().map(record).collect()))
}

/// The last 100 pieces of news as an Atom feed, newest first.
#[utoipa::path(get, path = "/thim/v1/news.atom", operation_id = "news_feed",
    responses((status = 200, body = String, content_type = "application/atom+xml"), (status = 304), (status = 401, body = Problem)))]
async fn atom(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    let all = may_read_all(&service, &request)?;
    let rows = service.news.newest(FEED_ENTRIES, all).await?;
    let body = feed::atom(service.news.source(), &rows).map_err(|error| {
        problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The feed could not be written",
            error.to_string(),
        )
    })?;
    let etag = format!("\"{}\"", Digest::of(&body).short());
    let etag = HeaderValue::from_str(&etag).expect("hex digits are a header's text");
    let updated = rows.first().map(|row| row.at);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(feed::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(MAX_AGE));
    // With a token there may be more in it.
    headers.insert(VARY, HeaderValue::from_static("Authorization"));
    headers.insert(ETAG, etag.clone());
    if let Some(at) = updated
        && let Ok(date) = HeaderValue::from_str(&at.http_date())
    {
        headers.insert(LAST_MODIFIED, date);
    }
    let asked = request.headers();
    let response = answer::prepared(headers, body.into(), &etag, updated, true, asked);
    Ok(response.map(Body::new))
}

/// Whether who asks may see what counts platforms and names tenants. A wrong token is refused.
fn may_read_all(service: &Service, request: &Request) -> Result<bool, ProblemResponse> {
    let caller = caller::admit_in_part(service, request, Act::ReadBaselines)?;
    Ok(caller.is_ok_and(|caller| caller.may(Act::ReadPlatforms)))
}

fn record(row: NewsRow) -> NewsRecord {
    NewsRecord {
        id: item::id(&row.key).to_string(),
        seq: row.seq,
        at: row.at.to_string(),
        kind: row.kind,
        subject: row.subject,
        text: row.text,
        data: row.data,
    }
}

/// What a reader that looks once a day must not miss.
const FEED_ENTRIES: usize = 100;
/// News is looked for once a minute.
const MAX_AGE: &str = "private, max-age=60";
