//! Objects to editions. Certificates first, then root CRLs, then lists of evaluation numbers, then everything else by
//! date: whatever order the files came in, each object is judged with the same knowledge and against the same
//! history. Each object is one transaction of the store, so an import that was cut short is finished by running it again.
//! AMD's chips come last: their certificates are judged by the chains and lists.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use thim_client::{ImportReport, Refused};
use thim_verify::amd::Endorsement;
use thim_verify::{ArtefactKey, Certificate, Digest, Kind, UnixTime};

use super::amd::{FoundEndorsement, without_chips};
use super::{Found, Gathered, Object};
use crate::admission::{self, Admitted, Offer};
use crate::chips::{Chips, Offered, OfferedAs, TakenIn};
use crate::collateral::Collateral;
use crate::sentinel::{Origin, State};
use crate::store::StoreError;

/// Who takes in what is found.
#[derive(Clone, Copy)]
pub struct Keepers<'a> {
    collateral: &'a Collateral,
    chips: Option<&'a Arc<Chips>>,
}

/// Signed objects only: certificates of chips are refused.
impl<'a> From<&'a Arc<Collateral>> for Keepers<'a> {
    fn from(collateral: &'a Arc<Collateral>) -> Self {
        Self {
            collateral,
            chips: None,
        }
    }
}

/// Everything.
impl<'a> From<&'a Arc<Chips>> for Keepers<'a> {
    fn from(chips: &'a Arc<Chips>) -> Self {
        Self {
            collateral: chips.collateral(),
            chips: Some(chips),
        }
    }
}

/// Offers what the files hold to the keepers at `now`. `progress` is told how many objects are done, of how many.
///
/// # Errors
/// What the store says, a full disk for instance. What was admitted before stays admitted.
pub async fn import(
    keepers: impl Into<Keepers<'_>>,
    what: impl Into<Gathered>,
    now: UnixTime,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<ImportReport, StoreError> {
    let Keepers { collateral, chips } = keepers.into();
    let Gathered {
        mut found,
        ignored,
        unreadable,
    } = what.into();
    found.join_chains(collateral.amd().anchors());
    let Found {
        certificates,
        mut objects,
        mut endorsements,
        authorities: _,
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
            .quarantine(
                &without_chips(&flaw.path),
                None,
                &flaw.error,
                flaw.body,
                now,
            )
            .await?;
        report.refused.push(Refused {
            path: flaw.path,
            kind: flaw.kind.to_owned(),
            reason: flaw.error.to_string(),
        });
    }

    objects.sort_by_cached_key(turn);
    endorsements.sort_by_cached_key(turn_of_endorsement);
    let total = objects.len() + endorsements.len();
    let mut seen = HashSet::new();
    let mut held = BTreeSet::new();
    let mut done = 0;
    for object in objects {
        progress(done, total);
        done += 1;
        let Object {
            path,
            unverified,
            delivered,
            called,
            joined: _,
        } = object;
        let (key, id) = (unverified.key(), unverified.signed_digest());
        // The very same bytes under the same name need no second look; another signature over the same body does.
        let same = (Digest::of(unverified.unverified().document()), called);
        if seen.contains(&same) {
            report.known += 1;
            continue;
        }
        let source = source_of(key, &path);
        let offer = Offer {
            unverified,
            delivered: &delivered,
            origin: Origin::Import,
            source: &source,
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
    for endorsement in endorsements {
        progress(done, total);
        done += 1;
        take_in(chips, endorsement, now, &mut report).await?;
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

/// Offers a certificate of a chip or a cloud.
async fn take_in(
    chips: Option<&Arc<Chips>>,
    endorsement: FoundEndorsement,
    now: UnixTime,
    report: &mut ImportReport,
) -> Result<(), StoreError> {
    let FoundEndorsement { path, leaf } = endorsement;
    let kind = leaf.kind();
    let reason = if let Some(chips) = chips {
        let source = without_chips(&path);
        let offered = Offered {
            leaf,
            offered: OfferedAs::Import,
            source: &source,
            at: now,
        };
        match chips.offer(offered).await {
            Ok(TakenIn::Known) => {
                report.known += 1;
                return Ok(());
            }
            Ok(TakenIn::Stored) => {
                report.admitted += 1;
                return Ok(());
            }
            Err(admission::Refused::Future(_)) => {
                report.future += 1;
                return Ok(());
            }
            Err(admission::Refused::Store(error)) => return Err(error),
            Err(refused @ (admission::Refused::Judged(_) | admission::Refused::Unverified(_))) => {
                refused.to_string()
            }
        }
    } else {
        "certificates of chips are not taken in here".to_owned()
    };
    report.refused.push(Refused {
        path,
        kind: kind.name().to_owned(),
        reason,
    });
    Ok(())
}

/// What the store and events call the place of an object. Whoever keeps AMD's files by chip names folders so.
fn source_of(key: ArtefactKey, path: &str) -> String {
    match key {
        ArtefactKey::AmdCertChain { .. } | ArtefactKey::AmdCrl { .. } => without_chips(path),
        ArtefactKey::EnclaveIdentity { .. }
        | ArtefactKey::EvaluationNumbers { .. }
        | ArtefactKey::PckCrl { .. }
        | ArtefactKey::RootCrl
        | ArtefactKey::TcbInfo { .. } => path.to_owned(),
    }
}

/// The oldest first: what is served then is what started last, whatever the files' order.
fn turn_of_endorsement(endorsement: &FoundEndorsement) -> (UnixTime, Digest, String) {
    let (started, digest) = match &endorsement.leaf {
        Endorsement::Vcek(vcek) => (vcek.not_before(), vcek.digest()),
        Endorsement::Vlek(vlek) => (vlek.not_before(), vlek.digest()),
    };
    (started, digest, endorsement.path.clone())
}

/// When an object has its turn; ties are broken by content, and by path only between equals.
fn turn(object: &Object) -> (u8, UnixTime, ArtefactKey, Digest, bool, String) {
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
        object.joined,
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
