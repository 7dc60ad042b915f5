//! Chips of AMD's: registered ones, their certificates, and what is fetched ahead.
//!
//! A chip id tells one machine from all others. It is in the registration alone, whose `Debug` does not show it; what
//! is told of a chip calls it by 16 hex digits of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A chip in a list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChipSummary {
    /// 16 hex digits that never change; not the chip id.
    pub id: String,
    /// `Milan`, `Genoa`, `Turin` or `Venice`.
    pub product: String,
    /// The operator's own name for it, or empty.
    pub label: String,
    /// The TCB it reports as it was last told: 16 hex digits, most significant byte first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_tcb: Option<String>,
    /// When it was registered.
    pub registered: String,
}

/// Everything about a chip but its chip id.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChipRecord {
    /// As in a list.
    #[serde(flatten)]
    pub summary: ChipSummary,
    /// Its certificates, the newest first.
    pub certificates: Vec<ChipCertificate>,
}

/// A certificate of a chip.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChipCertificate {
    /// The TCB it is for: 16 hex digits, most significant byte first.
    pub tcb: String,
    /// The same by component: `boot-loader 4, tee 0, snp 24, microcode 219`.
    pub levels: String,
    /// SHA-256 of the DER.
    pub digest: String,
    /// SHA-256 of its public key: what stays the same when AMD signs another certificate.
    pub spki: String,
    /// Start of validity.
    pub not_before: String,
    /// End of validity.
    pub not_after: String,
    /// `current`, `superseded`, `archived` or `quarantined`.
    pub state: String,
    /// Where it came from.
    pub source: String,
    /// When it was admitted.
    pub admitted: String,
}

/// Chips to register: all of them or none.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterChips {
    /// 1 to 10,000.
    pub chips: Vec<NewChip>,
}

/// A chip to register. The same object, in a file, tells a node's agent which chip it is on.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewChip {
    /// `Milan`, `Genoa`, `Turin` or `Venice`; may be left out where the length of the chip id tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// 16 hex digits (Turin), or 128.
    pub chip_id: String,
    /// The TCB it reports: 1 to 16 hex digits, most significant byte first. Its certificate is then fetched at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_tcb: Option<String>,
    /// The operator's own name for it, at most 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl fmt::Debug for NewChip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewChip")
            .field("product", &self.product)
            .field("reported_tcb", &self.reported_tcb)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// A chip that was registered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisteredChip {
    /// What it is called here.
    pub id: String,
    /// Its product.
    pub product: String,
    /// True where it was not there before.
    pub new: bool,
    /// True where its certificate is wanted and not there yet.
    pub wanted: bool,
}

/// Wants the certificates of a product's chips at a TCB that is to come.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PrewarmRequest {
    /// `Milan`, `Genoa`, `Turin` or `Venice`.
    pub product: String,
    /// 1 to 16 hex digits, most significant byte first.
    pub tcb: String,
}

/// How far that is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrewarmReport {
    /// The product.
    pub product: String,
    /// 16 hex digits, most significant byte first.
    pub tcb: String,
    /// Registered chips of the product.
    pub chips: i64,
    /// Certificates that are there.
    pub held: i64,
    /// Certificates that are wanted and not there.
    pub wanted: i64,
    /// Of these, what the key server has said it does not have; it is asked again later.
    pub absent: i64,
    /// In how many seconds the rest can be there at the earliest.
    pub seconds: i64,
}
