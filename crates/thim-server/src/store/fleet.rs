//! The register as a forecast reads it: a page of platforms at a time, ordered by id, with what tells their TCB.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use thim_verify::{Digest, Fmspc, RawTcb, Tee, TeeTcbSvn, UnixTime};

use super::read::parsed;
use super::{Store, StoreError, damaged, time};

/// A platform with what tells its TCB.
#[derive(Clone, Debug)]
pub struct FleetRow {
    /// The register's id.
    pub id: String,
    /// Known once a certificate was there.
    pub fmspc: Option<Fmspc>,
    /// The raw TCB it was seen with: the newest that a registration or an import told, else the newest that anybody asked with.
    pub raw: Option<SeenTcb>,
    /// What its newest recorded quote said.
    pub evidence: Option<FleetEvidence>,
    /// Its certificates that are neither retired nor revoked, in the vendor's order; and the one its quote stood on, in any case.
    pub certificates: Vec<(RawTcb, Digest)>,
}

/// A raw TCB that a platform was seen with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SeenTcb {
    /// Which.
    pub tcb: RawTcb,
    /// When it was last told, or asked with.
    pub last: UnixTime,
    /// False where an open request is all there is: whoever knows a platform's name can make one up.
    pub told: bool,
}

/// What a recorded quote said of a platform.
#[derive(Clone, Copy, Debug)]
pub struct FleetEvidence {
    /// Whose quoting enclave it came from.
    pub tee: Tee,
    /// That enclave's ISVSVN.
    pub qe_isv_svn: u16,
    /// TCB of the PCK certificate it stood on.
    pub pck_tcb: RawTcb,
    /// When it was seen.
    pub seen: UnixTime,
    /// Of the newest quote of a trust domain.
    pub tee_tcb_svn: Option<TeeTcbSvn>,
    /// Of the same; layout 1.0 has none.
    pub tee_tcb_svn2: Option<TeeTcbSvn>,
}

impl Store {
    /// Platforms after an id, at most `limit`, by id.
    pub async fn fleet(&self, after: &str, limit: u32) -> Result<Vec<FleetRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.id, p.fmspc, e.tee, e.qe_isv_svn, e.pck_tcb, e.seen, e.tee_tcb_svn, e.tee_tcb_svn2, r.tcb, r.last, r.told \
             FROM platform p LEFT JOIN platform_evidence e ON e.platform = p.id \
             LEFT JOIN raw_tcb r ON r.rowid = (SELECT n.rowid FROM raw_tcb n WHERE n.platform = p.id ORDER BY n.told DESC, n.last DESC, n.tcb DESC LIMIT 1) \
             WHERE p.id > $1 ORDER BY p.id LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        let mut fleet = rows.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let Some(last) = fleet.last().map(|row| row.id.clone()) else {
            return Ok(fleet);
        };
        let certificates = sqlx::query(
            "SELECT platform, tcbm, digest, retired IS NULL AND revoked IS NULL AS good FROM pck_certificate \
             WHERE platform > $1 AND platform <= $2 ORDER BY platform, place, tcbm DESC",
        )
        .bind(after)
        .bind(last)
        .fetch_all(&self.reader)
        .await?;
        let mut at = 0;
        for certificate in &certificates {
            let platform: String = certificate.try_get("platform")?;
            while fleet.get(at).is_some_and(|row| row.id < platform) {
                at += 1;
            }
            let Some(row) = fleet.get_mut(at).filter(|row| row.id == platform) else {
                continue;
            };
            let tcbm: RawTcb = parsed(certificate, "tcbm")?;
            let good: i64 = certificate.try_get("good")?;
            let quoted = row.evidence.is_some_and(|one| one.pck_tcb == tcbm);
            if good != 0 || quoted {
                row.certificates
                    .push((tcbm, parsed(certificate, "digest")?));
            }
        }
        Ok(fleet)
    }
}

fn row(row: &SqliteRow) -> Result<FleetRow, StoreError> {
    let id: String = row.try_get("id")?;
    fn optional<T: std::str::FromStr>(
        row: &SqliteRow,
        id: &str,
        column: &'static str,
    ) -> Result<Option<T>, StoreError>
    where
        T::Err: std::fmt::Display,
    {
        let text: Option<String> = row.try_get(column)?;
        text.map(|text| text.parse().map_err(|error: T::Err| damaged(id, error)))
            .transpose()
    }
    let raw: Option<RawTcb> = optional(row, &id, "tcb")?;
    let last: Option<i64> = row.try_get("last")?;
    // When it was last told; 0 where it never was.
    let told: Option<i64> = row.try_get("told")?;
    let told = told.filter(|told| *told != 0);
    let raw = raw.zip(last).map(|(tcb, last)| SeenTcb {
        tcb,
        last: time(told.unwrap_or(last)),
        told: told.is_some(),
    });
    let evidence = match optional(row, &id, "tee")? {
        None => None,
        Some(tee) => {
            let qe_isv_svn: i64 = row.try_get("qe_isv_svn")?;
            Some(FleetEvidence {
                tee,
                qe_isv_svn: u16::try_from(qe_isv_svn)
                    .map_err(|_| damaged(&id, "its QE ISVSVN is out of range"))?,
                pck_tcb: parsed(row, "pck_tcb")?,
                seen: time(row.try_get("seen")?),
                tee_tcb_svn: optional(row, &id, "tee_tcb_svn")?,
                tee_tcb_svn2: optional(row, &id, "tee_tcb_svn2")?,
            })
        }
    };
    Ok(FleetRow {
        fmspc: optional(row, &id, "fmspc")?,
        raw,
        evidence,
        certificates: Vec::new(),
        id,
    })
}
