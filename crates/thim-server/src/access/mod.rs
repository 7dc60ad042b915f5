//! Who may do what: tokens, their roles, and a limit on wrong ones.
//!
//! What it promises. No token is kept, only hashes, compared in constant time. [`Access::admit`] touches no disk and
//! waits for nobody, so it stands before the body of a request is read. A peer that showed too many wrong tokens is
//! refused before the next one is looked at ([`failures`]). No token is in an error, a log line or a metric.
//!
//! Three kinds of tokens: the one in `admin.token`, which may do everything; those of the store, 256 random bits with
//! a role, scopes and an end ([`acts`]); and, where `[api]` has PCCS's hashes, PCCS's two tokens with PCCS's meaning.

pub mod acts;
mod bootstrap;
mod failures;
mod pccs;
mod role;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use thim_verify::Digest;

pub use bootstrap::admin_token;
pub use pccs::PccsHash;
pub use role::{Act, Acts, Role, UnknownWord};

use crate::config;
use crate::metrics::{Denial, Denials, Metrics};
use crate::store::TokenRow;
use failures::Failures;

/// Where a token may stand in a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// `Authorization: Bearer` alone: the own API.
    Bearer,
    /// `admin-token`, as PCCS's administrators send it; else `Authorization: Bearer`.
    PccsAdmin,
    /// `user-token`, as PCCS's users send it; else `Authorization: Bearer`.
    PccsUser,
}

/// Somebody with a token that is right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// What the token is called; for events.
    pub name: String,
    /// Its role.
    pub role: Role,
    acts: Acts,
}

impl Caller {
    /// Somebody who may do everything: who has the store itself, or the admin token.
    pub fn admin(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            role: Role::Admin,
            acts: Acts::of_role(Role::Admin),
        }
    }

    /// True where the token is good for this too.
    pub const fn may(&self, act: Act) -> bool {
        self.acts.contains(act)
    }
}

/// Why somebody may not.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denied {
    /// No token where one is wanted.
    #[error("a token is wanted")]
    Missing,
    /// The token is right and not good for this.
    #[error("the token {name} is not good for {}", .act.scope())]
    NotAllowed {
        /// What the token is called.
        name: String,
        /// What it is not good for.
        act: Act,
    },
    /// Too many wrong tokens came from there.
    #[error("too many wrong tokens from this address; try again in {retry_after_secs} s")]
    TooManyFailures {
        /// Seconds.
        retry_after_secs: i64,
    },
    /// A token that is none, or is none any more.
    #[error("the token is wrong, expired or revoked")]
    Wrong,
}

/// Why the service cannot tell who may do what.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Not 128 hex digits.
    #[error("[api] {key}: wanted 128 hex digits, the SHA-512 of a token, as PCCS has it")]
    PccsHash {
        /// The key of the configuration.
        key: &'static str,
    },
}

/// The judge of tokens.
pub struct Access {
    admin: Digest,
    pccs_user: Option<[u8; 64]>,
    pccs_admin: Option<[u8; 64]>,
    // By the first 8 bytes of the hash, which are no secret: the table's look-up is not in constant time, the
    // comparison with what it finds is.
    tokens: ArcSwap<HashMap<[u8; 8], Arc<TokenRow>>>,
    failures: Failures,
    denials: Denials,
    // One change of the tokens at a time: store first, then `tokens`.
    changing: tokio::sync::Mutex<()>,
}

impl Access {
    /// From the admin token, `[api]`, and the store's tokens.
    pub fn new(
        admin_token: &str,
        api: &config::Api,
        tokens: Vec<TokenRow>,
        metrics: &Metrics,
    ) -> Result<Self, AccessError> {
        let parsed = |key, hash: &Option<PccsHash>| match hash {
            None => Ok(None),
            Some(hash) => hash.parsed().map(Some).ok_or(AccessError::PccsHash { key }),
        };
        let tokens = tokens.into_iter().filter(|row| row.revoked.is_none());
        Ok(Self {
            admin: Digest::of(admin_token.as_bytes()),
            pccs_user: parsed("user_token_hash", &api.user_token_hash)?,
            pccs_admin: parsed("admin_token_hash", &api.admin_token_hash)?,
            tokens: ArcSwap::from_pointee(
                tokens
                    .map(|row| (index(&row.hash), Arc::new(row)))
                    .collect(),
            ),
            failures: Failures::new(),
            denials: metrics.denials().clone(),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// Whose token this is, if it is right and good for `act`.
    pub fn admit(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        act: Act,
        dialect: Dialect,
        now_millis: i64,
    ) -> Result<Caller, Denied> {
        let judged = self.judge(headers, peer, act, dialect, now_millis);
        if let Err(denied) = &judged {
            self.denials.count(match denied {
                Denied::Missing => Denial::Missing,
                Denied::NotAllowed { .. } => Denial::NotAllowed,
                Denied::TooManyFailures { .. } => Denial::TooManyFailures,
                Denied::Wrong => Denial::Wrong,
            });
        }
        judged
    }

    fn judge(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        act: Act,
        dialect: Dialect,
        now_millis: i64,
    ) -> Result<Caller, Denied> {
        self.failures
            .allow(peer, now_millis)
            .map_err(|retry_after_secs| Denied::TooManyFailures { retry_after_secs })?;
        // Who shows no token guesses none.
        let presented = Presented::find(headers, dialect).ok_or(Denied::Missing)?;
        let Some(caller) = self.caller(&presented, now_millis) else {
            self.failures.note(peer, now_millis);
            return Err(Denied::Wrong);
        };
        if caller.may(act) {
            Ok(caller)
        } else {
            Err(Denied::NotAllowed {
                name: caller.name,
                act,
            })
        }
    }

    fn caller(&self, presented: &Presented<'_>, now_millis: i64) -> Option<Caller> {
        let text = presented.text?;
        if text.len() > TOKEN_BYTES {
            return None;
        }
        let hash = Digest::of(text);
        if same(&hash, &self.admin) {
            return Some(Caller::admin(ADMIN_TOKEN));
        }
        if let Some(row) = self.tokens.load().get(&index(&hash))
            && same(&hash, &row.hash)
        {
            return row.is_live(now_millis).then(|| Caller {
                name: row.name.clone(),
                role: row.role,
                acts: row.acts(),
            });
        }
        let pccs = |hash: &Option<[u8; 64]>| hash.as_ref().is_some_and(|hash| pccs::is(text, hash));
        match presented.place {
            Place::AdminHeader if pccs(&self.pccs_admin) => Some(Caller {
                name: "PCCS's admin token".to_owned(),
                role: Role::Admin,
                // What PCCS's admin may. Registering is the user token's, as PCCS has it.
                acts: Acts::of(&[
                    Act::ChangeCollateral,
                    Act::ManagePlatforms,
                    Act::ManagePolicies,
                    Act::ReadPlatforms,
                ]),
            }),
            Place::UserHeader if pccs(&self.pccs_user) => Some(Caller {
                name: "PCCS's user token".to_owned(),
                role: Role::Registrar,
                acts: Acts::of(&[Act::RegisterPlatforms]),
            }),
            Place::AdminHeader | Place::Bearer | Place::UserHeader => None,
        }
    }

    /// A token is good from now on. Those that have ended make room.
    fn learn(&self, row: TokenRow, now_millis: i64) {
        let mut tokens = HashMap::clone(&self.tokens.load());
        tokens.retain(|_, known| known.is_live(now_millis));
        tokens.insert(index(&row.hash), Arc::new(row));
        self.tokens.store(Arc::new(tokens));
    }

    /// A token is good no longer.
    fn forget(&self, id: &str) {
        let mut tokens = HashMap::clone(&self.tokens.load());
        tokens.retain(|_, known| known.id() != id);
        self.tokens.store(Arc::new(tokens));
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({} tokens)", self.tokens.load().len())
    }
}

/// A token as it stands in a request.
struct Presented<'a> {
    place: Place,
    // None where it stands there twice: then it is not clear which one is meant.
    text: Option<&'a [u8]>,
}

#[derive(Clone, Copy)]
enum Place {
    AdminHeader,
    Bearer,
    UserHeader,
}

impl<'a> Presented<'a> {
    /// PCCS's header where the dialect has one and it is there, else the bearer token.
    fn find(headers: &'a HeaderMap, dialect: Dialect) -> Option<Self> {
        let header = match dialect {
            Dialect::Bearer => None,
            Dialect::PccsAdmin => Some((Place::AdminHeader, &ADMIN_HEADER)),
            Dialect::PccsUser => Some((Place::UserHeader, &USER_HEADER)),
        };
        if let Some((place, name)) = header
            && let Some(text) = only(headers, name)
            && text != Some(b"")
        {
            return Some(Self { place, text });
        }
        let text = match only(headers, &AUTHORIZATION)? {
            None => None,
            Some(text) => {
                let (scheme, token) = text.split_at_checked(BEARER.len())?;
                if !scheme.eq_ignore_ascii_case(BEARER) || token.is_empty() {
                    return None;
                }
                Some(token)
            }
        };
        Some(Self {
            place: Place::Bearer,
            text,
        })
    }
}

/// A header's value; nothing inside where there is more than one.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Option<&'a [u8]>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(values.next().is_none().then_some(first.as_bytes()))
}

fn same(one: &Digest, other: &Digest) -> bool {
    constant_time::verify_slices_are_equal(&one.0, &other.0).is_ok()
}

fn index(hash: &Digest) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.0[..8]);
    first
}

/// What the token of `admin.token` is called in events.
const ADMIN_TOKEN: &str = "the admin token";
const ADMIN_HEADER: HeaderName = HeaderName::from_static("admin-token");
const USER_HEADER: HeaderName = HeaderName::from_static("user-token");
/// Schemes are in any case (RFC 9110, section 11.1).
const BEARER: &[u8] = b"bearer ";
/// Ours have 64; whoever sends more than this sends no token, and hashing it is work.
pub(crate) const TOKEN_BYTES: usize = 256;

#[cfg(test)]
mod tests;
