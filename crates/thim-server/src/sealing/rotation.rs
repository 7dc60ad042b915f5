//! A new key for everything that is sealed.
//!
//! The new key is in the file before anything is sealed under it, and the old ones leave the file when nothing is
//! sealed under them any more. In between, rows are sealed anew a batch at a time, each batch one transaction. So a
//! crash at any point leaves every row readable, and the next rotation finishes what one left.

use thim_client::RotationReport;
use thim_verify::UnixTime;

use super::{KEYS, Purpose, Sealer, SealingError};
use crate::admission::event;
use crate::collateral::Collateral;
use crate::sentinel::{Remark, Severity};
use crate::store::{Resealed, Sealed, SealedColumn, Store};

/// What a rotation did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rotated {
    /// Secrets sealed anew.
    pub resealed: u64,
    /// Secrets that no key unseals; they are left as they are.
    pub lost: u64,
}

/// How far a rotation is; for progress, and for tests that look at what a crash would leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// A new key is in the file and in use.
    KeyAdded,
    /// So many secrets are sealed anew so far.
    Resealed(u64),
    /// Nothing is sealed under an old key any more, and these have left the file.
    OldKeysDropped,
}

/// [`rotate`] as an operator's act, with its event.
pub async fn rotate_keys(
    collateral: &Collateral,
    sealer: &Sealer,
    by: &str,
    now: UnixTime,
    at: &mut (dyn FnMut(Step) + Send),
) -> Result<RotationReport, SealingError> {
    let Rotated { resealed, lost } = rotate(sealer, collateral.store(), at).await?;
    let (severity, losses) = if lost == 0 {
        (Severity::Info, String::new())
    } else {
        (
            Severity::Alarm,
            format!("; {lost} could not be unsealed and are lost until they are registered again"),
        )
    };
    let text =
        format!("the sealing key is new, by {by}: {resealed} secrets are sealed anew{losses}");
    let remark = Remark::new("keys.rotated", severity, text);
    collateral
        .record(vec![event(now, remark, None, None)])
        .await?;
    Ok(RotationReport { resealed, lost })
}

/// Puts a new key in use, seals everything anew, and drops the old keys.
pub async fn rotate(
    sealer: &Sealer,
    store: &Store,
    at: &mut (dyn FnMut(Step) + Send),
) -> Result<Rotated, SealingError> {
    let _alone = sealer
        .rotating
        .try_lock()
        .map_err(|_| SealingError::InProgress)?;
    let mut rotated = Rotated::default();
    if sealer.filed() >= KEYS {
        // That many were cut short: there is room for a new key when one has been finished.
        finish(sealer, store, &mut rotated, at).await?;
    }
    sealer.add_key()?;
    at(Step::KeyAdded);
    finish(sealer, store, &mut rotated, at).await?;
    Ok(rotated)
}

/// Seals anew what is not under the newest key, and then drops the others.
async fn finish(
    sealer: &Sealer,
    store: &Store,
    rotated: &mut Rotated,
    at: &mut (dyn FnMut(Step) + Send),
) -> Result<(), SealingError> {
    for _ in 0..PASSES {
        let before = rotated.resealed;
        rotated.lost = 0;
        for column in SealedColumn::ALL {
            pass(sealer, store, column, rotated, at).await?;
        }
        // A pass that finds nothing to do is the proof that the old keys are of no use.
        if rotated.resealed == before {
            sealer.drop_old_keys()?;
            at(Step::OldKeysDropped);
            return Ok(());
        }
    }
    Err(SealingError::Busy)
}

async fn pass(
    sealer: &Sealer,
    store: &Store,
    column: SealedColumn,
    rotated: &mut Rotated,
    at: &mut (dyn FnMut(Step) + Send),
) -> Result<(), SealingError> {
    let purpose = match column {
        SealedColumn::PlatformEncPpid | SealedColumn::RegistrationEncPpid => Purpose::EncryptedPpid,
        SealedColumn::PlatformManifest | SealedColumn::RegistrationManifest => Purpose::Manifest,
    };
    let mut after = None;
    loop {
        let alone = sealer.changing.write().await;
        let rows = store
            .sealed_otherwise(column, after.as_deref(), &sealer.current_prefix(), BATCH)
            .await?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = Some(last.row.clone());
        let mut anew = Vec::with_capacity(rows.len());
        for old in rows {
            match sealer.unseal(purpose, &old.sealed.0) {
                Ok(plain) => anew.push(Resealed {
                    row: old.row,
                    sealed: Sealed(sealer.seal(purpose, &plain)),
                }),
                Err(error) => {
                    rotated.lost += 1;
                    tracing::warn!(error = %error, sealed.column = ?column, sealed.row = old.row, "a secret is lost");
                }
            }
        }
        store.reseal(column, &anew).await?;
        drop(alone);
        rotated.resealed += u64::try_from(anew.len()).unwrap_or(u64::MAX);
        at(Step::Resealed(rotated.resealed));
    }
}

/// Rows of one transaction: some 2 MB of manifests, a few milliseconds in which no platform is written.
const BATCH: u32 = 500;
/// One that works and one that finds nothing; more are those of a writer that does not hold what it should.
const PASSES: usize = 4;
