//! A database into the register: collateral first, so that platforms are judged by what is known then; the platforms,
//! page by page; what waits in its queue; the appraisal policies.
//!
//! A platform is refused with its reason where none of its certificates verifies, and where the SGX TCB info that the
//! database has for its family is forged while no genuine one is held: by it PCCS chose the certificates it served.
//! Run again after it was cut short, it finds what it has done.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use thim_client::Refused;
use thim_verify::{ArtefactKey, Certificate, Fmspc, Tee, UnixTime};

use super::{PccsDatabase, PccsDbError, PccsPlatform};
use crate::intake::{Found, Gathered, import};
use crate::platforms::{Authority, Cause, PlatformRefusal, Platforms};
use crate::store::{Gap, StoreError};

/// What became of a database.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct PccsReport {
    /// The version of its schema.
    pub db_version: Option<i64>,
    /// What it lacks, a sentence each.
    pub lacks: Vec<String>,
    /// Its signed objects.
    pub collateral: CollateralCounts,
    /// Platforms taken over; they serve.
    pub platforms: u64,
    /// Registrations that waited, taken over.
    pub waiting: u64,
    /// Appraisal policies taken over.
    pub policies: u64,
    /// How many things were refused.
    pub refused_count: u64,
    /// What was refused, and why; the first 100,000.
    pub refused: Vec<Refused>,
}

/// Signed objects, one count each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct CollateralCounts {
    /// Verified and new.
    pub admitted: u64,
    /// Known before, or twice in the database.
    pub known: u64,
    /// Verified, new and suspicious: kept back for people to look at.
    pub held: u64,
    /// Issued after the clock.
    pub future: u64,
}

impl PccsReport {
    /// Takes note of something that is refused.
    pub fn refuse(&mut self, refused: Refused) {
        self.refused_count += 1;
        if self.refused.len() < MAX_TOLD {
            self.refused.push(refused);
        }
    }
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Signed objects: done, of so many.
    Collateral(usize, usize),
    /// Platforms: done, of so many.
    Platforms(u64, u64),
}

/// Why an import ended early. What was taken over before stays.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The database.
    #[error(transparent)]
    Database(#[from] PccsDbError),
    /// The store, in the register's words.
    #[error(transparent)]
    Register(PlatformRefusal),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes over a database, on somebody's word.
///
/// # Errors
/// [`ImportError`].
pub async fn import_pccs(
    platforms: &Arc<Platforms>,
    database: &mut PccsDatabase,
    authority: &Authority,
    now: UnixTime,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<PccsReport, ImportError> {
    let mut report = PccsReport {
        db_version: database.version(),
        lacks: database.lacks().to_vec(),
        ..PccsReport::default()
    };
    let (issuers, forged) =
        take_collateral(platforms, database, &mut report, now, progress).await?;
    let source = database.name.clone();
    let total = database.platform_count().await?;
    let (mut after, mut done) = (i64::MIN, 0);
    loop {
        progress(Step::Platforms(done, total));
        let page = database.platforms(after).await?;
        let Some(last) = page.last else {
            break;
        };
        after = last;
        done += page.rows.len() as u64;
        let mut wanted = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            match row {
                Err(refused) => report.refuse(refused),
                Ok(platform) => match forgery(&platform, &forged) {
                    Some(reason) => report.refuse(Refused {
                        path: platform.place,
                        kind: PLATFORM.to_owned(),
                        reason,
                    }),
                    None => wanted.push(platform),
                },
            }
        }
        take_platforms(
            platforms,
            wanted,
            &issuers,
            authority,
            &source,
            &mut report,
            now,
        )
        .await?;
    }
    let stray = database.stray_certificates().await?;
    if stray > 0 {
        report.refuse(Refused {
            path: database.place("pck_cert"),
            kind: "pck-certificate".to_owned(),
            reason: format!("{stray} certificates are of no platform in the database"),
        });
    }
    take_waiting(platforms, database, authority, &mut report, now).await?;
    for policy in database.policies().await? {
        match policy {
            Ok(policy) => {
                platforms.store().put_policy(&policy, now).await?;
                report.policies += 1;
            }
            Err(refused) => report.refuse(refused),
        }
    }
    Ok(report)
}

/// Imports the collateral; the issuing certificates of the database, and the families whose SGX TCB info in it is
/// refused while none is held, each with the reason.
async fn take_collateral(
    platforms: &Arc<Platforms>,
    database: &mut PccsDatabase,
    report: &mut PccsReport,
    now: UnixTime,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<(Vec<Certificate>, BTreeMap<Fmspc, String>), ImportError> {
    let (signed, mut refused) = database.signed().await?;
    let mut found = Found::default();
    let mut sgx_tcb_infos = BTreeMap::new();
    for row in signed {
        if let Some(fmspc) = row.sgx {
            sgx_tcb_infos.insert(row.place.clone(), fmspc);
        }
        match row.find() {
            Ok(objects) => found.append(objects),
            Err(nothing) => refused.push(nothing),
        }
    }
    let issuers = found.certificates.clone();
    let gathered = Gathered {
        found,
        ..Gathered::default()
    };
    let keeper = platforms.collateral();
    let imported = import(keeper, gathered, now, &mut |done, total| {
        progress(Step::Collateral(done, total));
    })
    .await?;
    report.collateral = CollateralCounts {
        admitted: imported.admitted,
        known: imported.known,
        held: imported.held,
        future: imported.future,
    };
    let held: HashSet<Fmspc> = keeper
        .store()
        .keys()
        .await?
        .into_iter()
        .filter_map(|row| match row.key {
            ArtefactKey::TcbInfo {
                tee: Tee::Sgx,
                fmspc,
                ..
            } => Some(fmspc),
            _ => None,
        })
        .collect();
    let mut forged = BTreeMap::new();
    for refused in imported.refused.into_iter().chain(refused) {
        if let Some(fmspc) = sgx_tcb_infos.get(&refused.path)
            && !held.contains(fmspc)
        {
            forged.insert(*fmspc, refused.reason.clone());
        }
        report.refuse(refused);
    }
    Ok((issuers, forged))
}

/// Why a platform's certificates are not to be served, whatever they are.
fn forgery(platform: &PccsPlatform, forged: &BTreeMap<Fmspc, String>) -> Option<String> {
    let fmspc = platform.fmspc()?;
    let reason = forged.get(&fmspc)?;
    Some(format!(
        "the SGX TCB info of its FMSPC {fmspc} is refused, and no other is held: {reason}"
    ))
}

async fn take_platforms(
    platforms: &Arc<Platforms>,
    wanted: Vec<PccsPlatform>,
    issuers: &[Certificate],
    authority: &Authority,
    source: &str,
    report: &mut PccsReport,
    now: UnixTime,
) -> Result<(), ImportError> {
    let mut places = Vec::with_capacity(wanted.len());
    let mut imported = Vec::with_capacity(wanted.len());
    for mut platform in wanted {
        for flaw in platform.flaws {
            report.refuse(flaw);
        }
        platform.imported.delivered = issuers.to_vec();
        places.push(platform.place);
        imported.push(platform.imported);
    }
    let results = platforms
        .import_many(imported, authority, source, now)
        .await;
    for (place, result) in places.into_iter().zip(results) {
        let id = match result {
            Ok(id) => id,
            // Every one after it would fail the same way.
            Err(refusal) if refusal.cause == Cause::Storage => {
                return Err(ImportError::Register(refusal));
            }
            Err(refusal) => {
                report.refuse(Refused {
                    path: place,
                    kind: PLATFORM.to_owned(),
                    reason: refusal.to_string(),
                });
                continue;
            }
        };
        report.platforms += 1;
        // What it has serves; what of it does not verify is told of all the same.
        for gap in platforms.store().pck_gaps(&id).await? {
            if gap.gap == Gap::Quarantined {
                report.refuse(Refused {
                    path: format!("{place}/{}", gap.tcbm),
                    kind: "pck-certificate".to_owned(),
                    reason: gap.why,
                });
            }
        }
    }
    Ok(())
}

async fn take_waiting(
    platforms: &Arc<Platforms>,
    database: &mut PccsDatabase,
    authority: &Authority,
    report: &mut PccsReport,
    now: UnixTime,
) -> Result<(), ImportError> {
    let mut after = i64::MIN;
    loop {
        let page = database.waiting(after).await?;
        let Some(last) = page.last else {
            return Ok(());
        };
        after = last;
        for row in page.rows {
            let waiting = match row {
                Ok(waiting) => waiting,
                Err(refused) => {
                    report.refuse(refused);
                    continue;
                }
            };
            let taken = platforms
                .take_over(&waiting.registration, waiting.not_available, authority, now)
                .await;
            match taken {
                Ok(_) => report.waiting += 1,
                Err(refusal) if refusal.cause == Cause::Storage => {
                    return Err(ImportError::Register(refusal));
                }
                Err(refusal) => report.refuse(Refused {
                    path: waiting.place,
                    kind: "registration".to_owned(),
                    reason: refusal.to_string(),
                }),
            }
        }
    }
}

const PLATFORM: &str = "platform";
/// A list for people; a database of forgeries fills no memory.
const MAX_TOLD: usize = 100_000;
