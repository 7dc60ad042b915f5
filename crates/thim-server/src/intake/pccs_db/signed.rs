//! The rows with collateral in them: some hundred, read at once. Every version of the schema keeps them a little
//! differently; what a document is says the document, whatever the row says of it.

use bytes::Bytes;
use sqlx::Row;
use thim_client::Refused;
use thim_verify::Fmspc;

use super::rows::text;
use super::{PccsDatabase, PccsDbError};
use crate::intake::{Found, objects};

/// A row with something signed, or an issuing certificate, in it.
pub struct SignedRow {
    /// What reports call it.
    pub place: String,
    /// Of which table.
    pub table: &'static str,
    /// What stands there.
    pub body: Bytes,
    /// `standard` or `early`, where the database says so.
    pub called: Option<&'static str>,
    /// The family of which it is the SGX TCB info.
    pub sgx: Option<Fmspc>,
}

impl PccsDatabase {
    /// Certificates, CRLs, TCB infos and identities, all of it: there are some hundred rows. And what is too large.
    pub async fn signed(&mut self) -> Result<(Vec<SignedRow>, Vec<Refused>), PccsDbError> {
        let (mut signed, mut flaws) = (Vec::new(), Vec::new());
        let mut budget = MAX_COLLATERAL_BYTES;
        for (table, shapes) in SIGNED {
            let shape = shapes.iter().find(|shape| self.has(table, shape.0));
            let Some(Shape(_, statement)) = shape else {
                continue;
            };
            let rows = sqlx::query(*statement)
                .bind(MAX_DOCUMENT_BYTES)
                .bind(MAX_ROWS)
                .fetch_all(&mut self.connection)
                .await
                .map_err(|error| self.failed(error))?;
            for row in &rows {
                let name = text(row, "name").unwrap_or_else(|| "?".to_owned());
                let name = name.chars().filter(|c| !c.is_control()).take(NAME_CHARS);
                let place = self.place(format_args!("{table}/{}", name.collect::<String>()));
                let body: Option<Vec<u8>> =
                    row.try_get("body").map_err(|error| self.failed(error))?;
                let length: Option<i64> =
                    row.try_get("bytes").map_err(|error| self.failed(error))?;
                if length.unwrap_or(0) == 0 {
                    continue;
                }
                let Some(body) = body.filter(|body| body.len() <= budget) else {
                    flaws.push(Refused {
                        path: place,
                        kind: (*table).to_owned(),
                        reason: format!("{} bytes; too large", length.unwrap_or(0)),
                    });
                    continue;
                };
                budget -= body.len();
                signed.push(SignedRow {
                    place,
                    table,
                    body: body.into(),
                    called: called(text(row, "called").as_deref()),
                    sgx: text(row, "sgx").and_then(|text| text.parse().ok()),
                });
            }
        }
        Ok((signed, flaws))
    }
}

impl SignedRow {
    /// What is signed in it, and the certificates; not believed.
    pub fn find(&self) -> Result<Found, Refused> {
        let mut found = objects::find(&self.place, &self.body);
        if found.is_empty() {
            return Err(Refused {
                path: self.place.clone(),
                kind: self.table.to_owned(),
                reason: "there is nothing signed in it, and no certificate".to_owned(),
            });
        }
        for object in &mut found.objects {
            object.called = self.called;
        }
        Ok(found)
    }
}

fn called(word: Option<&str>) -> Option<&'static str> {
    ["early", "standard"]
        .into_iter()
        .find(|known| word.is_some_and(|word| word.eq_ignore_ascii_case(known)))
}

/// A shape of a table: the columns that tell it, and the statement that reads it.
struct Shape(&'static [&'static str], &'static str);

/// Where collateral is: a table's name, and its shapes, the newest first. Of a statement `name` is for reports; `sgx` is
/// the family of which it is the SGX TCB info.
const SIGNED: &[(&str, &[Shape])] = &[
    (
        "pcs_certificates",
        &[Shape(
            &["id", "cert"],
            "SELECT CAST(id AS BLOB) AS name, CASE WHEN octet_length(cert) <= $1 THEN CAST(cert AS BLOB) END AS body, \
             octet_length(cert) AS bytes FROM pcs_certificates ORDER BY rowid LIMIT $2",
        )],
    ),
    (
        "pcs_certificates",
        &[Shape(
            &["id", "crl"],
            "SELECT CAST(id || '/crl' AS BLOB) AS name, CASE WHEN octet_length(crl) <= $1 THEN CAST(crl AS BLOB) END AS body, \
             octet_length(crl) AS bytes FROM pcs_certificates ORDER BY rowid LIMIT $2",
        )],
    ),
    (
        "crl_cache",
        &[Shape(
            &["cdp_url", "crl"],
            "SELECT CAST(cdp_url AS BLOB) AS name, CASE WHEN octet_length(crl) <= $1 THEN CAST(crl AS BLOB) END AS body, \
             octet_length(crl) AS bytes FROM crl_cache ORDER BY rowid LIMIT $2",
        )],
    ),
    (
        "pck_crl",
        &[Shape(
            &["ca", "pck_crl"],
            "SELECT CAST(ca AS BLOB) AS name, CASE WHEN octet_length(pck_crl) <= $1 THEN CAST(pck_crl AS BLOB) END AS body, \
             octet_length(pck_crl) AS bytes FROM pck_crl ORDER BY rowid LIMIT $2",
        )],
    ),
    (
        "fmspc_tcbs",
        &[
            Shape(
                &["fmspc", "tcbinfo", "type", "version", "update_type"],
                "SELECT CAST(fmspc || '/' || type || '/v' || version || '/' || update_type AS BLOB) AS name, \
                 CASE WHEN octet_length(tcbinfo) <= $1 THEN CAST(tcbinfo AS BLOB) END AS body, octet_length(tcbinfo) AS bytes, \
                 CAST(update_type AS BLOB) AS called, CASE WHEN type = 0 THEN CAST(fmspc AS BLOB) END AS sgx \
                 FROM fmspc_tcbs ORDER BY rowid LIMIT $2",
            ),
            Shape(
                &["fmspc", "tcbinfo", "type", "version"],
                "SELECT CAST(fmspc || '/' || type || '/v' || version AS BLOB) AS name, \
                 CASE WHEN octet_length(tcbinfo) <= $1 THEN CAST(tcbinfo AS BLOB) END AS body, octet_length(tcbinfo) AS bytes, \
                 CASE WHEN type = 0 THEN CAST(fmspc AS BLOB) END AS sgx FROM fmspc_tcbs ORDER BY rowid LIMIT $2",
            ),
            Shape(
                &["fmspc", "tcbinfo", "type"],
                "SELECT CAST(fmspc || '/' || type AS BLOB) AS name, \
                 CASE WHEN octet_length(tcbinfo) <= $1 THEN CAST(tcbinfo AS BLOB) END AS body, octet_length(tcbinfo) AS bytes, \
                 CASE WHEN type = 0 THEN CAST(fmspc AS BLOB) END AS sgx FROM fmspc_tcbs ORDER BY rowid LIMIT $2",
            ),
            Shape(
                &["fmspc", "tcbinfo"],
                "SELECT CAST(fmspc AS BLOB) AS name, CASE WHEN octet_length(tcbinfo) <= $1 THEN CAST(tcbinfo AS BLOB) END AS body, \
                 octet_length(tcbinfo) AS bytes, CAST(fmspc AS BLOB) AS sgx FROM fmspc_tcbs ORDER BY rowid LIMIT $2",
            ),
        ],
    ),
    (
        "enclave_identities",
        &[
            Shape(
                &["id", "identity", "version", "update_type"],
                "SELECT CAST(id || '/v' || version || '/' || update_type AS BLOB) AS name, \
                 CASE WHEN octet_length(identity) <= $1 THEN CAST(identity AS BLOB) END AS body, octet_length(identity) AS bytes, \
                 CAST(update_type AS BLOB) AS called FROM enclave_identities ORDER BY rowid LIMIT $2",
            ),
            Shape(
                &["id", "identity"],
                "SELECT CAST(id AS BLOB) AS name, CASE WHEN octet_length(identity) <= $1 THEN CAST(identity AS BLOB) END AS body, \
                 octet_length(identity) AS bytes FROM enclave_identities ORDER BY rowid LIMIT $2",
            ),
        ],
    ),
    (
        "qe_identities",
        &[Shape(
            &["id", "qe_identity"],
            "SELECT CAST(id AS BLOB) AS name, CASE WHEN octet_length(qe_identity) <= $1 THEN CAST(qe_identity AS BLOB) END AS body, \
             octet_length(qe_identity) AS bytes FROM qe_identities ORDER BY rowid LIMIT $2",
        )],
    ),
    (
        "qve_identities",
        &[Shape(
            &["id", "qve_identity"],
            "SELECT CAST(id AS BLOB) AS name, CASE WHEN octet_length(qve_identity) <= $1 THEN CAST(qve_identity AS BLOB) END AS body, \
             octet_length(qve_identity) AS bytes FROM qve_identities ORDER BY rowid LIMIT $2",
        )],
    ),
];
/// A CRL of 4 MiB in hex.
const MAX_DOCUMENT_BYTES: i64 = 8 * 1024 * 1024 + 64 * 1024;
/// Rows of one table; Intel has some 50 families with 4 TCB infos each.
const MAX_ROWS: i64 = 4096;
/// All collateral of a database is in memory at once; a genuine one has some 5 MB.
const MAX_COLLATERAL_BYTES: usize = 64 * 1024 * 1024;
/// A row's name in a report.
const NAME_CHARS: usize = 300;
