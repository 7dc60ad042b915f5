//! Access tokens and the sealing key.

use serde::{Deserialize, Serialize};

/// A token to create. Whoever asks has made it and keeps it; the service learns its hash.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What people call it, 1 to 64 printable characters; no secret.
    pub name: String,
    /// `reader`, `registrar` or `admin`.
    pub role: String,
    /// Which acts of the role it is good for: `baselines:read`, `platforms:read`, `platforms:register`,
    /// `platforms:manage`, `baselines`, `collateral`, `policies`, `tokens`, `keys`; none given is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// From when on it is good no longer; absent is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// SHA-256 of its text, which has at most 256 bytes.
    pub sha256: String,
}

/// A token, without anything that would let one use it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenSummary {
    /// 16 hex digits, to revoke it by.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `reader`, `registrar` or `admin`.
    pub role: String,
    /// Which acts of the role it is good for; none is all.
    pub scopes: Vec<String>,
    /// `live`, `expired` or `revoked`.
    pub state: String,
    /// When it was made.
    pub created: String,
    /// From when on it is good no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
}

/// What a new sealing key meant for what is sealed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotationReport {
    /// Secrets sealed anew.
    pub resealed: u64,
    /// Secrets that no key unseals; they are left as they are.
    pub lost: u64,
}
