//! Reading platforms: rows become types at this door.

use std::collections::BTreeSet;
use std::fmt;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use thim_verify::{Digest, Fmspc, PceId, PckCa, RawTcb, UnixTime};

use super::read::parsed;
use super::{Store, StoreError, damaged, time};
use crate::platforms::{Cause, PlatformState};

/// A sealed secret; shows nothing of itself.
#[derive(Clone, Eq, PartialEq)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// How a platform came to be known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlatformOrigin {
    /// By an open GET with an encrypted PPID.
    Asked,
    /// By an import or a delivery of collateral.
    Imported,
    /// By a registration with a token.
    Registered,
}

impl PlatformOrigin {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Imported => "imported",
            Self::Registered => "registered",
        }
    }
}

/// One platform.
#[derive(Clone, Debug)]
pub struct PlatformRow {
    /// 16 lower hex digits.
    pub id: String,
    /// Its PCE.
    pub pce_id: PceId,
    /// Keyed hash of its PPID.
    pub ppid_hash: Option<String>,
    /// Keyed hash of the encrypted PPID below.
    pub enc_ppid_hash: Option<String>,
    /// Keyed hash of the manifest below.
    pub manifest_hash: Option<String>,
    /// The encrypted PPID it was last registered with.
    pub enc_ppid: Option<Sealed>,
    /// The manifest it was last registered with.
    pub manifest: Option<Sealed>,
    /// As its certificates say.
    pub fmspc: Option<Fmspc>,
    /// As its certificates say.
    pub ca: Option<PckCa>,
    /// Whether the vendor keeps its keys, as its certificates say.
    pub cached_keys: Option<bool>,
    /// Where it stands.
    pub state: PlatformState,
    /// Why.
    pub cause: Cause,
    /// A sentence.
    pub detail: String,
    /// Since when it stands so.
    pub since: UnixTime,
    /// How it came to be known.
    pub origin: PlatformOrigin,
    /// When.
    pub registered: UnixTime,
    /// When its list last came.
    pub fetched: Option<UnixTime>,
    /// The highest evaluation number known then.
    pub fetched_number: u32,
    /// When it is to be fetched again.
    pub due: Option<UnixTime>,
}

impl PlatformRow {
    /// One that was registered at an instant, and of which nothing is known yet.
    pub fn new(id: String, pce_id: PceId, at: UnixTime) -> Self {
        Self {
            id,
            pce_id,
            ppid_hash: None,
            enc_ppid_hash: None,
            manifest_hash: None,
            enc_ppid: None,
            manifest: None,
            fmspc: None,
            ca: None,
            cached_keys: None,
            state: PlatformState::New,
            cause: Cause::None,
            detail: String::new(),
            since: at,
            origin: PlatformOrigin::Registered,
            registered: at,
            fetched: None,
            fetched_number: 0,
            due: None,
        }
    }
}

/// A name a platform is asked for by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AliasRow {
    /// Upper case.
    pub qe_id: String,
    /// With which PCE.
    pub pce_id: PceId,
    /// Whose.
    pub platform: String,
    /// Told with a token.
    pub strong: bool,
    /// Since when.
    pub since: UnixTime,
}

/// A PCK certificate that is served or was.
#[derive(Clone, Debug)]
pub struct PckRow {
    /// SHA-256 of the DER.
    pub digest: Digest,
    /// Its level.
    pub tcbm: RawTcb,
    /// Serial number, lower hex.
    pub serial: String,
    /// Who issued it.
    pub ca: PckCa,
    /// End of validity.
    pub not_after: UnixTime,
    /// When it was admitted.
    pub admitted: UnixTime,
    /// Where it came from.
    pub source: String,
    /// Since when another of its level is served.
    pub retired: Option<UnixTime>,
    /// `thisUpdate` of the CRL that names it.
    pub revoked: Option<UnixTime>,
}

/// Why a level has no certificate to serve.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gap {
    /// The vendor says `Not available`.
    NotAvailable,
    /// What came does not verify.
    Quarantined,
}

impl Gap {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAvailable => "not-available",
            Self::Quarantined => "quarantined",
        }
    }
}

/// A level without a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GapRow {
    /// Which level.
    pub tcbm: RawTcb,
    /// What is so.
    pub gap: Gap,
    /// Why.
    pub why: String,
}

/// A raw TCB a platform was seen with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawTcbRow {
    /// Under which QE id.
    pub qe_id: String,
    /// The raw TCB.
    pub tcb: RawTcb,
    /// First seen.
    pub first: UnixTime,
    /// Last seen.
    pub last: UnixTime,
    /// When a registration or an import last told it; `None` where open requests alone have brought it.
    pub told: Option<UnixTime>,
}

/// A line of a platform's story.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TimelineRow {
    /// When.
    pub at: UnixTime,
    /// The state it was in then.
    pub state: PlatformState,
    /// Why.
    pub cause: Cause,
    /// What happened.
    pub text: String,
}

/// What a tool is to collect: a row of PCCS's `platforms_registered`.
#[derive(Clone, Debug)]
pub struct RegistrationRow {
    /// Rises by one.
    pub seq: i64,
    /// Upper case.
    pub qe_id: String,
    /// 4 upper hex digits.
    pub pce_id: String,
    /// 32 upper hex digits or empty.
    pub cpu_svn: String,
    /// 4 upper hex digits or empty.
    pub pce_svn: String,
    /// Sealed.
    pub enc_ppid: Option<Sealed>,
    /// Sealed.
    pub manifest: Option<Sealed>,
}

/// Which platforms to list, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct PlatformFilter {
    /// Only this state.
    pub state: Option<PlatformState>,
    /// Only this FMSPC.
    pub fmspc: Option<Fmspc>,
    /// Only ids after this one.
    pub after: String,
    /// At most so many.
    pub limit: u32,
}

/// The columns that [`platform`] reads, and then what the caller adds.
macro_rules! platforms {
    ($rest:literal) => {
        concat!(
            "SELECT p.id, p.pce_id, p.ppid_hash, p.enc_ppid_hash, p.manifest_hash, p.enc_ppid, p.manifest, p.fmspc, p.ca, ",
            "p.cached_keys, p.state, p.cause, p.detail, p.since, p.origin, p.registered, p.fetched, p.fetched_number, p.due ",
            "FROM platform p ",
            $rest
        )
    };
}

impl Store {
    /// The platform with this id.
    pub async fn platform(&self, id: &str) -> Result<Option<PlatformRow>, StoreError> {
        let row = sqlx::query(platforms!("WHERE p.id = $1"))
            .bind(id)
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(platform).transpose()
    }

    /// The platform that is asked for by these.
    pub async fn platform_by_alias(
        &self,
        qe_id: &str,
        pce_id: PceId,
    ) -> Result<Option<PlatformRow>, StoreError> {
        let row = sqlx::query(platforms!(
            "JOIN platform_alias a ON a.platform = p.id WHERE a.qe_id = $1 AND a.pce_id = $2"
        ))
        .bind(qe_id)
        .bind(pce_id.to_string())
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref().map(platform).transpose()
    }

    /// The platform with this PPID (keyed hash).
    pub async fn platform_by_ppid(&self, hash: &str) -> Result<Option<PlatformRow>, StoreError> {
        let row = sqlx::query(platforms!("WHERE p.ppid_hash = $1"))
            .bind(hash)
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(platform).transpose()
    }

    /// The platform that was registered with this very encrypted PPID or manifest (keyed hash).
    pub async fn platform_by_material(
        &self,
        hash: &str,
    ) -> Result<Option<PlatformRow>, StoreError> {
        let row = sqlx::query(platforms!(
            "WHERE p.enc_ppid_hash = $1 OR p.manifest_hash = $1 ORDER BY p.registered LIMIT 1"
        ))
        .bind(hash)
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref().map(platform).transpose()
    }

    /// Platforms that pass the filter, by id.
    pub async fn platforms(&self, filter: &PlatformFilter) -> Result<Vec<PlatformRow>, StoreError> {
        let rows = sqlx::query(platforms!(
            "WHERE p.id > $1 AND ($2 = '' OR p.state = $2) AND ($3 = '' OR p.fmspc = $3) ORDER BY p.id LIMIT $4"
        ))
        .bind(&filter.after)
        .bind(filter.state.map(PlatformState::name).unwrap_or_default())
        .bind(filter.fmspc.map(|fmspc| fmspc.to_string()).unwrap_or_default())
        .bind(i64::from(filter.limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(platform).collect()
    }

    /// Platforms that are to be fetched by `now`, the longest waiting first.
    pub async fn platforms_due(
        &self,
        now: UnixTime,
        limit: u32,
    ) -> Result<Vec<PlatformRow>, StoreError> {
        let rows = sqlx::query(platforms!(
            "WHERE p.due <= $1 ORDER BY p.due, p.id LIMIT $2"
        ))
        .bind(now.secs())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(platform).collect()
    }

    /// How many platforms stand where: (state, count).
    pub async fn platform_counts(&self) -> Result<Vec<(PlatformState, u64)>, StoreError> {
        let rows = sqlx::query("SELECT state, COUNT(*) AS count FROM platform GROUP BY state")
            .fetch_all(&self.reader)
            .await?;
        rows.iter()
            .map(|row| {
                let count: i64 = row.try_get("count")?;
                Ok((parsed(row, "state")?, u64::try_from(count).unwrap_or(0)))
            })
            .collect()
    }

    /// The FMSPCs of all platforms.
    pub async fn platform_fmspcs(&self) -> Result<Vec<Fmspc>, StoreError> {
        let rows = sqlx::query("SELECT DISTINCT fmspc FROM platform WHERE fmspc IS NOT NULL")
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(|row| parsed(row, "fmspc")).collect()
    }

    /// The names a platform is asked for by.
    pub async fn aliases(&self, platform: &str) -> Result<Vec<AliasRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT qe_id, pce_id, platform, strong, since FROM platform_alias WHERE platform = $1 ORDER BY since, qe_id",
        )
        .bind(platform)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(alias).collect()
    }

    /// One alias.
    pub async fn alias(&self, qe_id: &str, pce_id: PceId) -> Result<Option<AliasRow>, StoreError> {
        let row = sqlx::query(
            "SELECT qe_id, pce_id, platform, strong, since FROM platform_alias WHERE qe_id = $1 AND pce_id = $2",
        )
        .bind(qe_id)
        .bind(pce_id.to_string())
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref().map(alias).transpose()
    }

    /// A platform's certificates, retired ones with `history`, in the order of the vendor's newest list.
    pub async fn pck_certificates(
        &self,
        platform: &str,
        history: bool,
    ) -> Result<Vec<PckRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT digest, tcbm, serial, ca, not_after, admitted, source, retired, revoked FROM pck_certificate \
             WHERE platform = $1 AND (retired IS NULL OR $2 = 1) ORDER BY place, rowid",
        )
        .bind(platform)
        .bind(i64::from(history))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(pck).collect()
    }

    /// A certificate's PEM, as stored.
    pub async fn pck_pem(
        &self,
        platform: &str,
        digest: Digest,
    ) -> Result<Option<bytes::Bytes>, StoreError> {
        let pem: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT pem FROM pck_certificate WHERE platform = $1 AND digest = $2",
        )
        .bind(platform)
        .bind(digest.to_string())
        .fetch_optional(&self.reader)
        .await?;
        Ok(pem.map(Into::into))
    }

    /// Levels without a certificate.
    pub async fn pck_gaps(&self, platform: &str) -> Result<Vec<GapRow>, StoreError> {
        let rows =
            sqlx::query("SELECT tcbm, gap, why FROM pck_gap WHERE platform = $1 ORDER BY rowid")
                .bind(platform)
                .fetch_all(&self.reader)
                .await?;
        rows.iter()
            .map(|row| {
                Ok(GapRow {
                    tcbm: parsed(row, "tcbm")?,
                    gap: match row.try_get("gap")? {
                        "not-available" => Gap::NotAvailable,
                        "quarantined" => Gap::Quarantined,
                        other => return Err(damaged(other, "no gap")),
                    },
                    why: row.try_get("why")?,
                })
            })
            .collect()
    }

    /// Raw TCBs a platform was seen with, the newest first.
    pub async fn raw_tcbs(&self, platform: &str) -> Result<Vec<RawTcbRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT qe_id, tcb, first, last, told FROM raw_tcb WHERE platform = $1 ORDER BY last DESC, tcb",
        )
        .bind(platform)
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(RawTcbRow {
                    qe_id: row.try_get("qe_id")?,
                    tcb: parsed(row, "tcb")?,
                    first: time(row.try_get("first")?),
                    last: time(row.try_get("last")?),
                    told: Some(row.try_get("told")?)
                        .filter(|told| *told > 0)
                        .map(time),
                })
            })
            .collect()
    }

    /// A platform's story, oldest first.
    pub async fn timeline(&self, platform: &str) -> Result<Vec<TimelineRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT at, state, cause, text FROM platform_timeline WHERE platform = $1 ORDER BY seq",
        )
        .bind(platform)
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(TimelineRow {
                    at: time(row.try_get("at")?),
                    state: parsed(row, "state")?,
                    cause: parsed(row, "cause")?,
                    text: row.try_get("text")?,
                })
            })
            .collect()
    }

    /// Certificates of an authority that a revocation list may name: (platform, row), served ones and retired ones.
    pub async fn pck_by_serials(
        &self,
        ca: PckCa,
        serials: &[String],
    ) -> Result<Vec<(String, PckRow)>, StoreError> {
        let mut found = Vec::new();
        for serial in serials {
            let rows = sqlx::query(
                "SELECT platform, digest, tcbm, serial, ca, not_after, admitted, source, retired, revoked FROM pck_certificate \
                 WHERE ca = $1 AND serial = $2",
            )
            .bind(ca.to_string())
            .bind(serial)
            .fetch_all(&self.reader)
            .await?;
            for row in &rows {
                found.push((row.try_get("platform")?, pck(row)?));
            }
        }
        Ok(found)
    }

    /// Serials (lower hex) of an authority's certificates that were revoked and had expired before `at`: a list may drop
    /// them (RFC 5280, section 3.3).
    pub async fn pck_expired_revoked(
        &self,
        ca: PckCa,
        at: UnixTime,
    ) -> Result<BTreeSet<String>, StoreError> {
        let serials: Vec<String> = sqlx::query_scalar(
            "SELECT serial FROM pck_certificate WHERE ca = $1 AND revoked IS NOT NULL AND not_after < $2",
        )
        .bind(ca.to_string())
        .bind(at.secs())
        .fetch_all(&self.reader)
        .await?;
        Ok(serials.into_iter().collect())
    }

    /// Certificates of an authority that are marked as revoked: (platform, row).
    pub async fn pck_revoked(&self, ca: PckCa) -> Result<Vec<(String, PckRow)>, StoreError> {
        let rows = sqlx::query(
            "SELECT platform, digest, tcbm, serial, ca, not_after, admitted, source, retired, revoked FROM pck_certificate \
             WHERE ca = $1 AND revoked IS NOT NULL",
        )
        .bind(ca.to_string())
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("platform")?, pck(row)?)))
            .collect()
    }
}

fn platform(row: &SqliteRow) -> Result<PlatformRow, StoreError> {
    let optional = |column: &'static str| -> Result<Option<i64>, StoreError> {
        Ok(row.try_get::<Option<i64>, _>(column)?)
    };
    let number: i64 = row.try_get("fetched_number")?;
    Ok(PlatformRow {
        id: row.try_get("id")?,
        pce_id: parsed(row, "pce_id")?,
        ppid_hash: row.try_get("ppid_hash")?,
        enc_ppid_hash: row.try_get("enc_ppid_hash")?,
        manifest_hash: row.try_get("manifest_hash")?,
        enc_ppid: row.try_get::<Option<Vec<u8>>, _>("enc_ppid")?.map(Sealed),
        manifest: row.try_get::<Option<Vec<u8>>, _>("manifest")?.map(Sealed),
        fmspc: maybe(row, "fmspc")?,
        ca: maybe::<String>(row, "ca")?
            .map(|text| ca(&text))
            .transpose()?,
        cached_keys: optional("cached_keys")?.map(|flag| flag != 0),
        state: parsed(row, "state")?,
        cause: parsed(row, "cause")?,
        detail: row.try_get("detail")?,
        since: time(row.try_get("since")?),
        origin: match row.try_get("origin")? {
            "asked" => PlatformOrigin::Asked,
            "imported" => PlatformOrigin::Imported,
            "registered" => PlatformOrigin::Registered,
            other => return Err(damaged(other, "no origin")),
        },
        registered: time(row.try_get("registered")?),
        fetched: optional("fetched")?.map(time),
        fetched_number: u32::try_from(number).map_err(|error| damaged("platform", error))?,
        due: optional("due")?.map(time),
    })
}

fn alias(row: &SqliteRow) -> Result<AliasRow, StoreError> {
    Ok(AliasRow {
        qe_id: row.try_get("qe_id")?,
        pce_id: parsed(row, "pce_id")?,
        platform: row.try_get("platform")?,
        strong: row.try_get::<i64, _>("strong")? != 0,
        since: time(row.try_get("since")?),
    })
}

fn pck(row: &SqliteRow) -> Result<PckRow, StoreError> {
    Ok(PckRow {
        digest: parsed(row, "digest")?,
        tcbm: parsed(row, "tcbm")?,
        serial: row.try_get("serial")?,
        ca: ca(row.try_get("ca")?)?,
        not_after: time(row.try_get("not_after")?),
        admitted: time(row.try_get("admitted")?),
        source: row.try_get("source")?,
        retired: row.try_get::<Option<i64>, _>("retired")?.map(time),
        revoked: row.try_get::<Option<i64>, _>("revoked")?.map(time),
    })
}

fn ca(text: &str) -> Result<PckCa, StoreError> {
    PckCa::ALL
        .into_iter()
        .find(|ca| ca.name() == text)
        .ok_or_else(|| damaged(text, "no certificate authority"))
}

fn maybe<T: std::str::FromStr>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<T>, StoreError>
where
    T::Err: fmt::Display,
{
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| text.parse().map_err(|error: T::Err| damaged(&text, error)))
        .transpose()
}
