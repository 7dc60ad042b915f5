//! Rows to types. A row that cannot be read is told of by its place and why, without any of its secrets; it spoils no
//! other.

use bytes::Bytes;
use data_encoding::HEXLOWER_PERMISSIVE;
use percent_encoding::percent_decode_str;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use thim_client::Refused;
use thim_verify::{
    Certificate, Error, Fmspc, Listed, PckCertificate, PckList, PckListEntry, RawTcb,
};

use super::{PccsDatabase, PccsDbError};
use crate::platforms::Imported;
use crate::platforms::policy::Policy;
use crate::platforms::registration::{EncryptedPpid, Invalid, Manifest, QeId, Registration};

/// A platform and what its database has of it.
#[derive(Debug)]
pub struct PccsPlatform {
    /// What reports call it.
    pub place: String,
    /// The platform, its certificates and its raw TCBs. Issuing certificates are not among it.
    pub imported: Imported,
    /// What of it cannot be read and is left out.
    pub flaws: Vec<Refused>,
}

impl PccsPlatform {
    /// The family that the first of its certificates names.
    pub fn fmspc(&self) -> Option<Fmspc> {
        let mut entries = self.imported.list.entries.iter();
        entries.find_map(|entry| match &entry.listed {
            Listed::Certificate(certificate) => Some(certificate.fmspc()),
            Listed::NotAvailable | Listed::Unreadable(_) => None,
        })
    }
}

/// A registration that waits.
#[derive(Debug)]
pub struct Waiting {
    /// What reports call it.
    pub place: String,
    /// The registration.
    pub registration: Registration,
    /// True where PCCS had asked, and levels were `Not available` (state 1).
    pub not_available: bool,
}

/// A page of rows, and where the next one begins.
pub struct Page<T> {
    /// What was read, row by row.
    pub rows: Vec<Result<T, Refused>>,
    /// The last row; `None` at the end.
    pub last: Option<i64>,
}

impl PccsDatabase {
    /// How many rows there are of platforms, for progress.
    pub async fn platform_count(&mut self) -> Result<u64, PccsDbError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM platforms")
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// A page of platforms after a row, in the order of the table.
    pub async fn platforms(&mut self, after: i64) -> Result<Page<PccsPlatform>, PccsDbError> {
        let rows = sqlx::query(
            "SELECT rowid AS row, CAST(qe_id AS BLOB) AS qe_id, CAST(pce_id AS BLOB) AS pce_id, \
             CASE WHEN octet_length(enc_ppid) <= $2 THEN CAST(enc_ppid AS BLOB) END AS enc_ppid, octet_length(enc_ppid) AS enc_ppid_bytes, \
             CASE WHEN octet_length(platform_manifest) <= $3 THEN CAST(platform_manifest AS BLOB) END AS platform_manifest, \
             octet_length(platform_manifest) AS platform_manifest_bytes \
             FROM platforms WHERE rowid > $1 ORDER BY rowid LIMIT $4",
        )
        .bind(after)
        .bind(MAX_ENC_PPID_BYTES)
        .bind(MAX_MANIFEST_BYTES)
        .bind(PAGE)
        .fetch_all(&mut self.connection)
        .await
        .map_err(|error| self.failed(error))?;
        let mut page = Page {
            rows: Vec::with_capacity(rows.len()),
            last: None,
        };
        for row in rows {
            let number: i64 = row.try_get("row").map_err(|error| self.failed(error))?;
            page.last = Some(number);
            let platform = self.platform(&row, number).await?;
            page.rows.push(platform);
        }
        Ok(page)
    }

    async fn platform(
        &mut self,
        row: &SqliteRow,
        number: i64,
    ) -> Result<Result<PccsPlatform, Refused>, PccsDbError> {
        let (qe_id, pce_id) = match names(row) {
            Ok(names) => names,
            Err(fault) => {
                let place = self.place(format_args!("platforms[{number}]"));
                return Ok(Err(refused(&place, "platform", fault)));
            }
        };
        let place = self.place(format_args!("platforms/{qe_id}:{pce_id}"));
        let mut flaws = Vec::new();
        let encrypted_ppid = secret(row, "enc_ppid", "enc_ppid_bytes", EncryptedPpid::from_bytes);
        let encrypted_ppid = encrypted_ppid.unwrap_or_else(|fault| {
            flaws.push(refused(&place, "encrypted-ppid", fault));
            None
        });
        let manifest = manifest(row).unwrap_or_else(|fault| {
            flaws.push(refused(&place, "platform-manifest", fault));
            None
        });
        let list = self.certificates(number, &place, &mut flaws).await?;
        let raw_tcbs = self.raw_tcbs(number, &place, &mut flaws).await?;
        Ok(Ok(PccsPlatform {
            imported: Imported {
                registration: Registration {
                    qe_id,
                    pce_id,
                    raw_tcb: None,
                    encrypted_ppid,
                    manifest,
                },
                list,
                delivered: Vec::new(),
                raw_tcbs,
            },
            place,
            flaws,
        }))
    }

    async fn certificates(
        &mut self,
        platform: i64,
        place: &str,
        flaws: &mut Vec<Refused>,
    ) -> Result<PckList, PccsDbError> {
        let rows = sqlx::query(
            "SELECT CAST(c.tcbm AS BLOB) AS tcbm, CASE WHEN octet_length(c.pck_cert) <= $2 THEN CAST(c.pck_cert AS BLOB) END AS cert \
             FROM platforms p JOIN pck_cert c ON c.qe_id = p.qe_id AND c.pce_id = p.pce_id WHERE p.rowid = $1 ORDER BY c.rowid LIMIT $3",
        )
        .bind(platform)
        .bind(MAX_CERTIFICATE_BYTES)
        .bind(MAX_CERTIFICATES + 1)
        .fetch_all(&mut self.connection)
        .await
        .map_err(|error| self.failed(error))?;
        if rows.len() > MAX_CERTIFICATES as usize {
            flaws.push(Refused {
                path: place.to_owned(),
                kind: "pck-certificate".to_owned(),
                reason: format!(
                    "more than {MAX_CERTIFICATES} certificates; the others are left out"
                ),
            });
        }
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows.iter().take(MAX_CERTIFICATES as usize) {
            let Some(tcbm) = text(row, "tcbm").and_then(|text| text.parse::<RawTcb>().ok()) else {
                flaws.push(Refused {
                    path: place.to_owned(),
                    kind: "pck-certificate".to_owned(),
                    reason: "tcbm: wanted 36 hex digits".to_owned(),
                });
                continue;
            };
            entries.push(PckListEntry {
                tcbm,
                listed: listed(text(row, "cert").as_deref(), tcbm),
            });
        }
        Ok(PckList { entries })
    }

    async fn raw_tcbs(
        &mut self,
        platform: i64,
        place: &str,
        flaws: &mut Vec<Refused>,
    ) -> Result<Vec<RawTcb>, PccsDbError> {
        if !self.has("platform_tcbs", &["qe_id", "pce_id", "cpu_svn", "pce_svn"]) {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(
            "SELECT CAST(t.cpu_svn AS BLOB) AS cpu_svn, CAST(t.pce_svn AS BLOB) AS pce_svn \
             FROM platforms p JOIN platform_tcbs t ON t.qe_id = p.qe_id AND t.pce_id = p.pce_id WHERE p.rowid = $1 \
             ORDER BY t.rowid DESC LIMIT $2",
        )
        .bind(platform)
        .bind(MAX_RAW_TCBS)
        .fetch_all(&mut self.connection)
        .await
        .map_err(|error| self.failed(error))?;
        let mut raw_tcbs = Vec::with_capacity(rows.len());
        for row in &rows {
            match raw_tcb(row) {
                Ok(raw_tcb) => raw_tcbs.extend(raw_tcb),
                Err(fault) => flaws.push(refused(place, "raw-tcb", fault)),
            }
        }
        Ok(raw_tcbs)
    }

    /// How many certificates are of no platform: PCCS leaves none behind.
    pub async fn stray_certificates(&mut self) -> Result<u64, PccsDbError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM pck_cert c WHERE NOT EXISTS \
             (SELECT 1 FROM platforms p WHERE p.qe_id = c.qe_id AND p.pce_id = c.pce_id)",
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(|error| self.failed(error))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// A page of registrations that wait: states 0 (new) and 1 (not available).
    pub async fn waiting(&mut self, after: i64) -> Result<Page<Waiting>, PccsDbError> {
        let mut page = Page {
            rows: Vec::new(),
            last: None,
        };
        if !self.has(
            "platforms_registered",
            &["qe_id", "state", "enc_ppid", "platform_manifest"],
        ) {
            return Ok(page);
        }
        let rows = sqlx::query(
            "SELECT rowid AS row, CAST(qe_id AS BLOB) AS qe_id, CAST(pce_id AS BLOB) AS pce_id, CAST(cpu_svn AS BLOB) AS cpu_svn, \
             CAST(pce_svn AS BLOB) AS pce_svn, CAST(state AS INTEGER) AS state, \
             CASE WHEN octet_length(enc_ppid) <= $2 THEN CAST(enc_ppid AS BLOB) END AS enc_ppid, octet_length(enc_ppid) AS enc_ppid_bytes, \
             CASE WHEN octet_length(platform_manifest) <= $3 THEN CAST(platform_manifest AS BLOB) END AS platform_manifest, \
             octet_length(platform_manifest) AS platform_manifest_bytes \
             FROM platforms_registered WHERE rowid > $1 AND state IN (0, 1) ORDER BY rowid LIMIT $4",
        )
        .bind(after)
        .bind(MAX_ENC_PPID_BYTES)
        .bind(MAX_MANIFEST_BYTES)
        .bind(PAGE)
        .fetch_all(&mut self.connection)
        .await
        .map_err(|error| self.failed(error))?;
        for row in &rows {
            let number: i64 = row.try_get("row").map_err(|error| self.failed(error))?;
            let state: i64 = row.try_get("state").map_err(|error| self.failed(error))?;
            page.last = Some(number);
            let place = match names(row) {
                Ok((qe_id, pce_id)) => {
                    self.place(format_args!("platforms_registered/{qe_id}:{pce_id}"))
                }
                Err(_) => self.place(format_args!("platforms_registered[{number}]")),
            };
            page.rows.push(match registration(row) {
                Ok(registration) => Ok(Waiting {
                    place,
                    registration,
                    not_available: state == 1,
                }),
                Err(fault) => Err(refused(&place, "registration", fault)),
            });
        }
        Ok(page)
    }

    /// Appraisal policies, the newest last: of several defaults of a family it stays.
    pub async fn policies(&mut self) -> Result<Vec<Result<Policy, Refused>>, PccsDbError> {
        if !self.has("appraisal_policies", &["policy", "is_default", "fmspc"]) {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(
            "SELECT rowid AS row, CAST(fmspc AS BLOB) AS fmspc, CAST(is_default AS INTEGER) AS is_default, \
             CASE WHEN octet_length(policy) <= $1 THEN CAST(policy AS BLOB) END AS policy \
             FROM appraisal_policies ORDER BY rowid LIMIT $2",
        )
        .bind(MAX_POLICY_BYTES)
        .bind(MAX_POLICIES)
        .fetch_all(&mut self.connection)
        .await
        .map_err(|error| self.failed(error))?;
        let mut policies = Vec::with_capacity(rows.len());
        for row in &rows {
            let number: i64 = row.try_get("row").map_err(|error| self.failed(error))?;
            let is_default: Option<i64> = row
                .try_get("is_default")
                .map_err(|error| self.failed(error))?;
            // Through the very door that PUT /appraisalpolicy uses.
            let body = serde_json::json!({
                "is_default": is_default.is_some_and(|flag| flag != 0),
                "fmspc": text(row, "fmspc"),
                "policy": text(row, "policy"),
            });
            let place = self.place(format_args!("appraisal_policies[{number}]"));
            policies.push(
                Policy::from_json(body.to_string().as_bytes())
                    .map_err(|fault| refused(&place, "appraisal-policy", fault)),
            );
        }
        Ok(policies)
    }
}

/// What a row says of its name.
fn names(row: &SqliteRow) -> Result<(QeId, thim_verify::PceId), Invalid> {
    let qe_id = text(row, "qe_id").ok_or_else(|| Invalid::new("qe_id", "wanted a text"))?;
    let pce_id = text(row, "pce_id")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Invalid::new("pce_id", "wanted 4 hex digits"))?;
    Ok((qe_id.parse()?, pce_id))
}

/// The raw TCB of a row; none where both of its parts are empty.
fn raw_tcb(row: &SqliteRow) -> Result<Option<RawTcb>, Invalid> {
    let (cpu_svn, pce_svn) = (
        text(row, "cpu_svn").unwrap_or_default(),
        text(row, "pce_svn").unwrap_or_default(),
    );
    if cpu_svn.is_empty() && pce_svn.is_empty() {
        return Ok(None);
    }
    Ok(Some(RawTcb {
        cpu_svn: cpu_svn
            .parse()
            .map_err(|_| Invalid::new("cpu_svn", "wanted 32 hex digits"))?,
        pce_svn: pce_svn
            .parse()
            .map_err(|_| Invalid::new("pce_svn", "wanted 4 hex digits"))?,
    }))
}

fn registration(row: &SqliteRow) -> Result<Registration, Invalid> {
    let (qe_id, pce_id) = names(row)?;
    Ok(Registration {
        qe_id,
        pce_id,
        raw_tcb: raw_tcb(row)?,
        encrypted_ppid: secret(row, "enc_ppid", "enc_ppid_bytes", EncryptedPpid::from_bytes)?,
        manifest: manifest(row)?,
    })
}

fn manifest(row: &SqliteRow) -> Result<Option<Manifest>, Invalid> {
    secret(
        row,
        "platform_manifest",
        "platform_manifest_bytes",
        |bytes| Manifest::from_bytes(Bytes::copy_from_slice(bytes)),
    )
}

/// A secret as bytes, or, as before version 1, in hex. Empty is none.
fn secret<T>(
    row: &SqliteRow,
    name: &'static str,
    bytes: &'static str,
    read: impl Fn(&[u8]) -> Result<T, Invalid>,
) -> Result<Option<T>, Invalid> {
    let length: Option<i64> = row.try_get(bytes).unwrap_or(None);
    if length.unwrap_or(0) == 0 {
        return Ok(None);
    }
    let value: Option<Vec<u8>> = row.try_get(name).unwrap_or(None);
    let value = value.ok_or_else(|| Invalid::new(name, "it is longer than any"))?;
    let decoded = HEXLOWER_PERMISSIVE.decode(&value).ok();
    read(decoded.as_deref().unwrap_or(&value)).map(Some)
}

/// What a certificate's text is: percent-encoded PEM or PEM.
fn listed(text: Option<&str>, tcbm: RawTcb) -> Listed {
    let wrong = |why: &str| {
        Listed::Unreadable(Error::Format {
            what: "PCK certificate".to_owned(),
            why: why.to_owned(),
        })
    };
    let Some(text) = text else {
        return wrong("neither a certificate nor \"Not available\"");
    };
    if text.trim().eq_ignore_ascii_case("not available") {
        return Listed::NotAvailable;
    }
    let pem: Vec<u8> = percent_decode_str(text).collect();
    let certificate = match Certificate::from_pem_bundle(&pem).map(<[Certificate; 1]>::try_from) {
        Ok(Ok([certificate])) => certificate,
        Ok(Err(_)) => return wrong("more than one certificate, or none"),
        Err(error) => return Listed::Unreadable(error),
    };
    match PckCertificate::from_certificate(certificate) {
        Ok(certificate) if certificate.tcbm() == tcbm => Listed::Certificate(certificate),
        Ok(_) => wrong("the certificate is for another TCB than its row"),
        Err(error) => Listed::Unreadable(error),
    }
}

/// A column of text, read as bytes: SQLite's columns hold what they like.
pub(super) fn text(row: &SqliteRow, column: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = row.try_get(column).ok()?;
    String::from_utf8(bytes?).ok()
}

fn refused(place: &str, kind: &str, fault: Invalid) -> Refused {
    Refused {
        path: place.to_owned(),
        kind: kind.to_owned(),
        reason: fault.to_string(),
    }
}

/// Rows read at once, and platforms written in one transaction: some 30 MB with manifests.
const PAGE: i64 = 200;
/// 768 hex digits before version 1, and some to see that it is wrong.
const MAX_ENC_PPID_BYTES: i64 = 4096;
/// 112,884 hex digits before version 1.
const MAX_MANIFEST_BYTES: i64 = 128 * 1024;
/// A certificate of 16 KiB at most, in PEM, percent-encoded.
const MAX_CERTIFICATE_BYTES: i64 = 64 * 1024;
/// As a list of the vendor's has at most.
const MAX_CERTIFICATES: i64 = 128;
/// As many as the register keeps.
const MAX_RAW_TCBS: i64 = 32;
/// As `PUT /appraisalpolicy` takes, and a byte to see that it is too large there.
const MAX_POLICY_BYTES: i64 = 64 * 1024 + 1;
/// As many as the store keeps.
const MAX_POLICIES: i64 = 10_000;
