//! Objects to editions. Certificates first, then root CRLs, then lists of evaluation numbers, then everything else by
//! date: whatever order the files came in, each object is judged with the same knowledge and against the same
//! history. Each object is one transaction of the store, so an import that was cut short is finished by running it again.

use std::collections::{BTreeSet, HashSet};

use thim_client::{ImportReport, Refused};
use thim_verify::{ArtefactKey, Certificate, Digest, Kind, UnixTime};

use super::{Found, Gathered, Object};
use crate::admission::{self, Admitted, Offer};
use crate::collateral::Collateral;
use crate::sentinel::{Origin, State};
use crate::store::StoreError;

/// Offers what the files hold to the keeper at `now`. `progress` is told how many objects are done, of how many.
///
/// # Errors
/// What the store says, a full disk for instance. What was admitted before stays admitted.
pub async fn import(
    collateral: &Collateral,
    what: impl Into<Gathered>,
    now: UnixTime,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<ImportReport, StoreError> {
    let Gathered {
        found,
        ignored,
        unreadable,
    } = what.into();
    let Found {
        certificates,
        mut objects,
        flaws,
    } = found;
    let mut report = ImportReport {
        ignored,
        refused: unreadable,
        ..ImportReport::default()
    };

    collateral
        .learn_certificates(&distinct(certificates), now)
        .await?;
    for flaw in flaws {
        collateral
            .quarantine(&flaw.path, None, &flaw.error, flaw.body, now)
            .await?;
        report.refused.push(Refused {
            path: flaw.path,
            kind: flaw.kind.to_owned(),
            reason: flaw.error.to_string(),
        });
    }

    objects.sort_by_cached_key(turn);
    let total = objects.len();
    let mut seen = HashSet::new();
    let mut held = BTreeSet::new();
    for (done, object) in objects.into_iter().enumerate() {
        progress(done, total);
        let Object {
            path,
            unverified,
            delivered,
            called,
        } = object;
        let (key, id) = (unverified.key(), unverified.signed_digest());
        // The very same bytes under the same name need no second look; another signature over the same body does.
        let same = (Digest::of(unverified.unverified().document()), called);
        if seen.contains(&same) {
            report.known += 1;
            continue;
        }
        let offer = Offer {
            unverified,
            delivered: &delivered,
            origin: Origin::Import,
            source: &path,
            called,
            at: now,
        };
        match collateral.offer(offer).await {
            Ok(Admitted::Held) => {
                held.insert((key, id));
                seen.insert(same);
            }
            Ok(Admitted::Known) => {
                report.known += 1;
                seen.insert(same);
            }
            Ok(Admitted::Stored) => {
                report.admitted += 1;
                seen.insert(same);
            }
            Err(admission::Refused::Future(_)) => report.future += 1,
            Err(admission::Refused::Store(error)) => return Err(error),
            Err(refused @ (admission::Refused::Judged(_) | admission::Refused::Unverified(_))) => {
                report.refused.push(Refused {
                    path,
                    kind: key.kind().name().to_owned(),
                    reason: refused.to_string(),
                });
            }
        }
    }
    progress(total, total);
    let still_held = still_held(collateral, held.iter().map(|(key, _)| *key).collect()).await?;
    for (_, id) in held {
        // Later editions of the same run may have released it.
        if still_held.contains(&id) {
            report.held += 1
        } else {
            report.admitted += 1
        }
    }
    report.refused.sort();
    Ok(report)
}

/// When an object has its turn; ties are broken by content, and by path only between equals.
fn turn(object: &Object) -> (u8, UnixTime, ArtefactKey, Digest, String) {
    let key = object.unverified.key();
    let rank = match key.kind() {
        Kind::AmdCrl | Kind::RootCrl => 0,
        Kind::EvaluationNumbers => 1,
        Kind::AmdCertChain | Kind::EnclaveIdentity | Kind::PckCrl | Kind::TcbInfo => 2,
    };
    (
        rank,
        object.unverified.issued(),
        key,
        object.unverified.signed_digest(),
        object.path.clone(),
    )
}

/// Each certificate once, in an order of its own.
fn distinct(mut certificates: Vec<Certificate>) -> Vec<Certificate> {
    certificates.sort_by_key(Certificate::digest);
    certificates.dedup();
    certificates
}

async fn still_held(
    collateral: &Collateral,
    keys: BTreeSet<ArtefactKey>,
) -> Result<HashSet<Digest>, StoreError> {
    let mut held = HashSet::new();
    for key in keys {
        let editions = collateral.store().editions_of(key).await?;
        held.extend(
            editions
                .iter()
                .filter(|row| row.state == State::Held)
                .map(|row| row.id),
        );
    }
    Ok(held)
}
