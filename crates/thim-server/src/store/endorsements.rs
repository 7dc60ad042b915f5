//! Certificates of chips (VCEKs) and clouds (VLEKs): every one ever admitted, of which one answers. Only a verified one
//! becomes a [`NewEndorsement`]. What a certificate is the certificate of is its key, not its bytes: AMD signs another
//! one at each call (`spec/amd-kds-and-thim.md` 1.7).

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use thim_verify::amd::{
    EndorsementKind, HwId, Product, TcbVersion, Vcek, VcekKey, VerifiedAmd, Vlek,
};
use thim_verify::{Digest, UnixTime};

use super::read::parsed;
use super::{Store, StoreError, damaged, time};
use crate::sentinel::State;

/// A certificate to insert.
pub struct NewEndorsement {
    digest: Digest,
    kind: EndorsementKind,
    product: Product,
    hw_id: Option<HwId>,
    csp_id: String,
    tcb: TcbVersion,
    spki: Digest,
    issuer: Digest,
    not_before: UnixTime,
    not_after: UnixTime,
    der: Bytes,
    source: String,
    admitted: UnixTime,
    state: State,
}

impl std::fmt::Debug for NewEndorsement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewEndorsement")
            .field("digest", &self.digest.short())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A certificate that was admitted.
#[derive(Clone)]
pub struct EndorsementRow {
    /// SHA-256 of the DER.
    pub digest: Digest,
    /// Which of the two it is.
    pub kind: EndorsementKind,
    /// Of which product.
    pub product: Product,
    /// Of which chip; none of a VLEK.
    pub hw_id: Option<HwId>,
    /// Of which cloud; empty of a VCEK.
    pub csp_id: String,
    /// For which TCB.
    pub tcb: TcbVersion,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki: Digest,
    /// SHA-256 of the issuing certificate.
    pub issuer: Digest,
    /// Start of validity, inclusive.
    pub not_before: UnixTime,
    /// End of validity, inclusive.
    pub not_after: UnixTime,
    /// The certificate.
    pub der: Bytes,
    /// URL or path, without a chip id.
    pub source: String,
    /// When it was admitted.
    pub admitted: UnixTime,
    /// Where it stands.
    pub state: State,
}

impl NewEndorsement {
    /// A chip's certificate that was verified at `at`, from `source`, to stand in `state`. `tcb` is the one it is for.
    pub fn vcek(
        verified: &VerifiedAmd<Vcek>,
        tcb: TcbVersion,
        source: &str,
        at: UnixTime,
        state: State,
    ) -> Self {
        Self {
            digest: verified.digest(),
            kind: EndorsementKind::Vcek,
            product: verified.product(),
            hw_id: Some(*verified.hw_id()),
            csp_id: String::new(),
            tcb,
            spki: verified.spki_digest(),
            issuer: verified.chain().signer().digest(),
            not_before: verified.not_before(),
            not_after: verified.not_after(),
            der: verified.der().clone(),
            source: source.to_owned(),
            admitted: at,
            state,
        }
    }

    /// A cloud's, likewise.
    pub fn vlek(
        verified: &VerifiedAmd<Vlek>,
        tcb: TcbVersion,
        source: &str,
        at: UnixTime,
        state: State,
    ) -> Self {
        Self {
            digest: verified.digest(),
            kind: EndorsementKind::Vlek,
            product: verified.product(),
            hw_id: None,
            csp_id: verified.csp_id().to_owned(),
            tcb,
            spki: verified.spki_digest(),
            issuer: verified.chain().signer().digest(),
            not_before: verified.not_before(),
            not_after: verified.not_after(),
            der: verified.der().clone(),
            source: source.to_owned(),
            admitted: at,
            state,
        }
    }
}

impl Store {
    /// Every certificate of a chip at a TCB, the one that starts first before the others.
    pub async fn vceks(
        &self,
        key: &VcekKey,
        tcb: TcbVersion,
    ) -> Result<Vec<EndorsementRow>, StoreError> {
        self.endorsements(
            EndorsementKind::Vcek,
            key.product,
            key.hw_id.as_bytes(),
            tcb,
        )
        .await
    }

    /// Every certificate of clouds at a TCB, likewise.
    pub async fn vleks(
        &self,
        product: Product,
        tcb: TcbVersion,
    ) -> Result<Vec<EndorsementRow>, StoreError> {
        self.endorsements(EndorsementKind::Vlek, product, &[], tcb)
            .await
    }

    async fn endorsements(
        &self,
        kind: EndorsementKind,
        product: Product,
        hw_id: &[u8],
        tcb: TcbVersion,
    ) -> Result<Vec<EndorsementRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM endorsement WHERE kind = $1 AND product = $2 AND hw_id = $3 AND tcb = $4 \
             ORDER BY not_before, digest",
        )
        .bind(kind.name())
        .bind(product.name())
        .bind(hw_id)
        .bind(tcb.to_tcbm_hex())
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(endorsement).collect()
    }

    /// Every certificate of a chip, whatever the TCB.
    pub async fn vceks_of_chip(
        &self,
        product: Product,
        hw_id: &HwId,
        limit: u32,
    ) -> Result<Vec<EndorsementRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM endorsement WHERE kind = 'vcek' AND product = $1 AND hw_id = $2 \
             ORDER BY not_before DESC, digest LIMIT $3",
        )
        .bind(product.name())
        .bind(hw_id.as_bytes())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(endorsement).collect()
    }

    /// Every certificate whose digest is after this one, by digest: a page of all there are.
    pub async fn endorsements_after(
        &self,
        digest: Option<Digest>,
        limit: u32,
    ) -> Result<Vec<EndorsementRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM endorsement WHERE digest > $1 ORDER BY digest LIMIT $2")
                .bind(digest.map(|digest| digest.to_string()).unwrap_or_default())
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await?;
        rows.iter().map(endorsement).collect()
    }

    /// Current certificates of chips that end before an instant, the first to end first.
    pub async fn vceks_ending(
        &self,
        before: UnixTime,
        limit: u32,
    ) -> Result<Vec<EndorsementRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM endorsement WHERE kind = 'vcek' AND state = 'current' AND not_after < $1 \
             ORDER BY not_after, digest LIMIT $2",
        )
        .bind(before.secs())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(endorsement).collect()
    }

    /// How many certificates there are that answer, by kind: of chips, of clouds.
    pub async fn count_endorsements(&self, kind: EndorsementKind) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT COUNT(*) FROM endorsement WHERE kind = $1 AND state = 'current'",
        )
        .bind(kind.name())
        .fetch_one(&self.reader)
        .await?)
    }

    /// Products that there are chips or certificates of.
    pub async fn products_in_use(&self) -> Result<Vec<Product>, StoreError> {
        let names: Vec<String> =
            sqlx::query_scalar("SELECT product FROM chip UNION SELECT product FROM endorsement")
                .fetch_all(&self.reader)
                .await?;
        names
            .iter()
            .map(|name| name.parse().map_err(|error| damaged(name, error)))
            .collect()
    }
}

pub(super) async fn insert(
    tx: &mut SqliteConnection,
    new: &NewEndorsement,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO endorsement (digest, kind, product, hw_id, csp_id, tcb, spki, issuer, not_before, not_after, der, \
         source, admitted, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         ON CONFLICT (digest) DO UPDATE SET state = excluded.state",
    )
    .bind(new.digest.to_string())
    .bind(new.kind.name())
    .bind(new.product.name())
    .bind(new.hw_id.as_ref().map_or(&[][..], HwId::as_bytes))
    .bind(&new.csp_id)
    .bind(new.tcb.to_tcbm_hex())
    .bind(new.spki.to_string())
    .bind(new.issuer.to_string())
    .bind(new.not_before.secs())
    .bind(new.not_after.secs())
    .bind(new.der.as_ref())
    .bind(&new.source)
    .bind(new.admitted.secs())
    .bind(new.state.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn settle(
    tx: &mut SqliteConnection,
    digest: Digest,
    state: State,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE endorsement SET state = $2 WHERE digest = $1")
        .bind(digest.to_string())
        .bind(state.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

fn endorsement(row: &SqliteRow) -> Result<EndorsementRow, StoreError> {
    let digest: Digest = parsed(row, "digest")?;
    let bad = |why: &dyn std::fmt::Display| damaged(digest, why.to_string());
    let kind: String = row.try_get("kind")?;
    let kind = EndorsementKind::ALL
        .into_iter()
        .find(|one| one.name() == kind)
        .ok_or_else(|| bad(&"its kind"))?;
    let hw_id: Vec<u8> = row.try_get("hw_id")?;
    let tcb: String = row.try_get("tcb")?;
    let product: String = row.try_get("product")?;
    let state: String = row.try_get("state")?;
    let der: Vec<u8> = row.try_get("der")?;
    Ok(EndorsementRow {
        digest,
        kind,
        product: product.parse().map_err(|error| bad(&error))?,
        hw_id: HwId::of_length(&hw_id),
        csp_id: row.try_get("csp_id")?,
        tcb: TcbVersion::from_hex_be(&tcb).map_err(|error| bad(&error))?,
        spki: parsed(row, "spki")?,
        issuer: parsed(row, "issuer")?,
        not_before: time(row.try_get("not_before")?),
        not_after: time(row.try_get("not_after")?),
        der: der.into(),
        source: row.try_get("source")?,
        admitted: time(row.try_get("admitted")?),
        state: state.parse().map_err(|error| bad(&error))?,
    })
}
