//! What is told of chips: pages and records. A chip is called by its name here, never by its chip id.

use thim_client::{ChipCertificate, ChipRecord, ChipSummary};
use thim_verify::amd::TcbVersion;

use super::Chips;
use crate::store::{ChipFilter, ChipRow, EndorsementRow, StoreError};

impl Chips {
    /// Chips that pass the filter, by id.
    pub async fn page(&self, filter: &ChipFilter) -> Result<Vec<ChipSummary>, StoreError> {
        let rows = self.store().chips(filter).await?;
        Ok(rows.iter().map(summary).collect())
    }

    /// Everything about a chip.
    pub async fn record(&self, id: &str) -> Result<Option<ChipRecord>, StoreError> {
        let Some(row) = self.store().chip(id).await? else {
            return Ok(None);
        };
        let rows = self
            .store()
            .vceks_of_chip(row.product, &row.hw_id, CERTIFICATES)
            .await?;
        Ok(Some(ChipRecord {
            summary: summary(&row),
            certificates: rows.iter().map(|row| self.certificate(row)).collect(),
        }))
    }

    fn certificate(&self, row: &EndorsementRow) -> ChipCertificate {
        let levels = row.tcb.decode(self.products.facts(row.product));
        ChipCertificate {
            tcb: row.tcb.to_tcbm_hex(),
            levels: levels.map_or_else(|error| error.to_string(), |tcb| tcb.to_string()),
            digest: row.digest.to_string(),
            spki: row.spki.to_string(),
            not_before: row.not_before.to_string(),
            not_after: row.not_after.to_string(),
            state: row.state.to_string(),
            source: row.source.clone(),
            admitted: row.admitted.to_string(),
        }
    }
}

fn summary(row: &ChipRow) -> ChipSummary {
    ChipSummary {
        id: row.id.clone(),
        product: row.product.to_string(),
        label: row.label.clone(),
        reported_tcb: row.reported.map(TcbVersion::to_tcbm_hex),
        registered: row.registered.to_string(),
    }
}

/// Editions of a chip that are shown: a handful of TCBs, each signed anew a few times.
const CERTIFICATES: u32 = 100;
