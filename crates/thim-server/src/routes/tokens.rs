//! The own API's tokens and sealing key. The token itself is made by whoever asks and never comes here.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::StatusCode;
use thim_client::{NewToken, Problem, RotationReport, TokenSummary};

use super::caller::{self, SMALL_BODY_BYTES};
use super::own::{Answer, Service, refuse_in_the_past};
use super::problem::{ProblemResponse, problem};
use crate::access::Act;
use crate::access::acts::{self, Created, Revoked};
use crate::sealing::{self, SealingError};

/// The routes of this file.
pub fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/thim/v1/tokens", get(list).post(create))
        .route("/thim/v1/tokens/{id}", delete(revoke))
        .route("/thim/v1/keys/rotate", post(rotate))
}

/// All tokens, by when they were made; nothing that would let one use them.
#[utoipa::path(get, path = "/thim/v1/tokens", operation_id = "list_tokens",
    responses((status = 200, body = [TokenSummary]), (status = 401, body = Problem), (status = 403, body = Problem), (status = 429, body = Problem)))]
async fn list(State(service): State<Arc<Service>>, request: Request) -> Answer<Vec<TokenSummary>> {
    caller::admit(&service, &request, Act::ManageTokens)?;
    Ok(Json(
        acts::list(&service.collateral, service.clock.now()).await?,
    ))
}

/// Takes in a new token by its hash.
#[utoipa::path(post, path = "/thim/v1/tokens", operation_id = "create_token", request_body = NewToken,
    responses((status = 200, body = TokenSummary), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem)))]
async fn create(State(service): State<Arc<Service>>, request: Request) -> Answer<TokenSummary> {
    let caller = caller::admit(&service, &request, Act::ManageTokens)?;
    refuse_in_the_past(&service)?;
    let new: NewToken = caller::json(request, SMALL_BODY_BYTES).await?;
    let now = service.clock.now();
    let made = acts::create(
        &service.collateral,
        Some(&service.access),
        &new,
        &caller,
        now,
    )
    .await?;
    match made {
        Created::Beyond { act } => Err(problem(
            StatusCode::FORBIDDEN,
            "A token cannot make one that may more than itself",
            act.scope(),
        )),
        Created::Done(token) => Ok(Json(token)),
        Created::Full => Err(problem(
            StatusCode::CONFLICT,
            "There are too many tokens",
            "revoke some",
        )),
        Created::Known => Err(problem(
            StatusCode::CONFLICT,
            "This token is known",
            "make another one",
        )),
        Created::Wrong(why) => Err(problem(
            StatusCode::BAD_REQUEST,
            "The token is not what this takes",
            why,
        )),
    }
}

/// Ends a token.
#[utoipa::path(delete, path = "/thim/v1/tokens/{id}", operation_id = "revoke_token",
    params(("id" = String, Path, description = "The token's 16 hex digits")),
    responses((status = 200, body = TokenSummary), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem)))]
async fn revoke(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<TokenSummary> {
    let caller = caller::admit(&service, &request, Act::ManageTokens)?;
    refuse_in_the_past(&service)?;
    let now = service.clock.now();
    let ended = acts::revoke(
        &service.collateral,
        Some(&service.access),
        &id,
        &caller.name,
        now,
    )
    .await?;
    match ended {
        Revoked::Already(token) => Err(problem(
            StatusCode::CONFLICT,
            "The token was revoked before",
            token.revoked.unwrap_or_default(),
        )),
        Revoked::Done(token) => Ok(Json(token)),
        Revoked::NotFound => Err(problem(
            StatusCode::NOT_FOUND,
            "No such token",
            "wanted the 16 hex digits of a token's id",
        )),
    }
}

/// Seals everything under a new key.
#[utoipa::path(post, path = "/thim/v1/keys/rotate", operation_id = "rotate_keys",
    responses((status = 200, body = RotationReport), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn rotate(State(service): State<Arc<Service>>, request: Request) -> Answer<RotationReport> {
    let caller = caller::admit(&service, &request, Act::RotateKeys)?;
    refuse_in_the_past(&service)?;
    let now = service.clock.now();
    // A task of its own: whoever hangs up does not stop it half-way.
    let rotation = tokio::spawn(async move {
        sealing::rotate_keys(
            &service.collateral,
            &service.sealer,
            &caller.name,
            now,
            &mut |_| {},
        )
        .await
    });
    match rotation.await {
        Ok(done) => Ok(Json(done?)),
        Err(error) => {
            tracing::error!(error = %error, "a rotation of the keys did not end");
            Err(problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The rotation did not end",
                "see the log",
            ))
        }
    }
}

impl From<SealingError> for ProblemResponse {
    fn from(error: SealingError) -> Self {
        match error {
            SealingError::InProgress => problem(
                StatusCode::CONFLICT,
                "The keys are being rotated already",
                "ask again when that is done",
            ),
            SealingError::Store(error) => error.into(),
            error @ (SealingError::Altered
            | SealingError::Busy
            | SealingError::File { .. }
            | SealingError::NoRandomness(_)
            | SealingError::TooShort
            | SealingError::UnknownKey(_)
            | SealingError::Version(_)) => {
                tracing::error!(error = %error, "the keys were not rotated");
                problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The keys were not rotated",
                    "see the log; everything stays readable, and the next rotation finishes this one",
                )
            }
        }
    }
}
