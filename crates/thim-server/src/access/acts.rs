//! What operators do with tokens, one function an act: the command line calls them on a store, the own API on the
//! running service. Whoever makes a token sends its SHA-256; the token itself stays with them.

use thim_client::{NewToken, TokenSummary};
use thim_verify::{Digest, UnixTime};

use super::{Access, Act, Acts, Caller, Role};
use crate::admission::event;
use crate::collateral::Collateral;
use crate::sentinel::{Remark, Severity};
use crate::store::{Batch, StoreError, TokenRow, TokenWrite};

/// What became of a new token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Created {
    /// It would be good for more than the token that makes it is.
    Beyond {
        /// For this.
        act: Act,
    },
    /// It is good from now on.
    Done(TokenSummary),
    /// There are as many as there may be.
    Full,
    /// Its id is another one's.
    Known,
    /// It is not what a token may be; says why.
    Wrong(String),
}

/// What became of a revocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Revoked {
    /// It is good no longer.
    Done(TokenSummary),
    /// It was revoked before.
    Already(TokenSummary),
    /// There is none with this id.
    NotFound,
}

/// All tokens, by when they were made.
pub async fn list(collateral: &Collateral, now: UnixTime) -> Result<Vec<TokenSummary>, StoreError> {
    let rows = collateral.store().tokens().await?;
    Ok(rows.iter().map(|row| summary(row, now)).collect())
}

/// Takes in a new token. `access` is the running service's, which knows it at once.
pub async fn create(
    collateral: &Collateral,
    access: Option<&Access>,
    new: &NewToken,
    by: &Caller,
    now: UnixTime,
) -> Result<Created, StoreError> {
    let row = match judged(new, now) {
        Ok(row) => row,
        Err(why) => return Ok(Created::Wrong(why)),
    };
    if let Some(act) = row.acts().iter().find(|act| !by.may(*act)) {
        return Ok(Created::Beyond { act });
    }
    let _one_at_a_time = one_at_a_time(access).await;
    let rows = collateral.store().tokens().await?;
    if rows.iter().any(|known| known.id() == row.id()) {
        return Ok(Created::Known);
    }
    let live = rows.iter().filter(|known| is_live(known, now)).count();
    if live >= TOKENS as usize {
        return Ok(Created::Full);
    }
    let text = format!(
        "token {} ({}) is created, by {}",
        row.name, row.role, by.name
    );
    let remark = Remark::new("token.created", Severity::Info, text);
    let batch = Batch {
        tokens: vec![TokenWrite::Create {
            row: row.clone(),
            limit: TOKENS,
        }],
        events: vec![event(now, remark, None, None)],
        ..Batch::default()
    };
    collateral.commit(&batch).await?;
    let made = summary(&row, now);
    if let Some(access) = access {
        access.learn(row, now.secs().saturating_mul(1000));
    }
    Ok(Created::Done(made))
}

/// Ends a token.
pub async fn revoke(
    collateral: &Collateral,
    access: Option<&Access>,
    id: &str,
    by: &str,
    now: UnixTime,
) -> Result<Revoked, StoreError> {
    let _one_at_a_time = one_at_a_time(access).await;
    let rows = collateral.store().tokens().await?;
    let Some(mut row) = rows.into_iter().find(|row| row.id() == id) else {
        return Ok(Revoked::NotFound);
    };
    if row.revoked.is_some() {
        return Ok(Revoked::Already(summary(&row, now)));
    }
    let text = format!("token {} ({}) is revoked, by {by}", row.name, row.role);
    let remark = Remark::new("token.revoked", Severity::Info, text);
    let batch = Batch {
        tokens: vec![TokenWrite::Revoke {
            id: id.to_owned(),
            at: now,
        }],
        events: vec![event(now, remark, None, None)],
        ..Batch::default()
    };
    // In memory first: where the store fails, the token is refused until a restart, and the caller knows to try again.
    if let Some(access) = access {
        access.forget(id);
    }
    collateral.commit(&batch).await?;
    row.revoked = Some(now);
    Ok(Revoked::Done(summary(&row, now)))
}

async fn one_at_a_time(access: Option<&Access>) -> Option<tokio::sync::MutexGuard<'_, ()>> {
    match access {
        Some(access) => Some(access.changing.lock().await),
        // A command has the store to itself.
        None => None,
    }
}

fn judged(new: &NewToken, now: UnixTime) -> Result<TokenRow, String> {
    let length = new.name.chars().count();
    let odd = |c: char| c.is_control() || (c.is_whitespace() && c != ' ');
    if !(1..=NAME_CHARS).contains(&length) || new.name.contains(odd) {
        return Err(format!(
            "name: wanted 1 to {NAME_CHARS} printable characters"
        ));
    }
    let role: Role = new.role.parse().map_err(|error| format!("role: {error}"))?;
    if new.scopes.len() > Act::ALL.len() {
        return Err("scopes: a scope twice".to_owned());
    }
    let scopes = new.scopes.iter().map(|scope| scope.parse());
    let scopes = scopes
        .collect::<Result<Vec<Act>, _>>()
        .map_err(|error| format!("scopes: {error}"))?;
    if let Some(beyond) = scopes.iter().find(|act| act.role() > role) {
        return Err(format!("scopes: a {role} may not {}", beyond.scope()));
    }
    let expires = match &new.expires {
        None => None,
        Some(text) => {
            let expires: UnixTime = text.parse().map_err(|error| format!("expires: {error}"))?;
            if expires <= now {
                return Err(format!("expires: {expires} is not after {now}"));
            }
            Some(expires)
        }
    };
    let hash: Digest = new
        .sha256
        .parse()
        .map_err(|_| "sha256: wanted 64 hex digits".to_owned())?;
    Ok(TokenRow {
        hash,
        name: new.name.clone(),
        role,
        scopes: Acts::of(&scopes),
        created: now,
        expires,
        revoked: None,
    })
}

fn is_live(row: &TokenRow, now: UnixTime) -> bool {
    row.is_live(now.secs().saturating_mul(1000))
}

fn summary(row: &TokenRow, now: UnixTime) -> TokenSummary {
    let state = if row.revoked.is_some() {
        "revoked"
    } else if is_live(row, now) {
        "live"
    } else {
        "expired"
    };
    TokenSummary {
        id: row.id(),
        name: row.name.clone(),
        role: row.role.to_string(),
        scopes: row
            .scopes
            .iter()
            .map(|act| act.scope().to_owned())
            .collect(),
        state: state.to_owned(),
        created: row.created.to_string(),
        expires: row.expires.map(|at| at.to_string()),
        revoked: row.revoked.map(|at| at.to_string()),
    }
}

/// Some 3 MB in memory; a fleet has a token for each tool, not for each host.
const TOKENS: u32 = 10_000;
/// Enough for a tool and its place.
const NAME_CHARS: usize = 64;
