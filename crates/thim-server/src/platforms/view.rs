//! What is kept in memory of a platform that is being asked for: its levels, which of them answers which raw TCB, and
//! the answers. Readers take no lock that a writer holds for longer than a pointer takes.
//!
//! A view belongs to one state of its platform and one selection epoch; when either moves on, it is made anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use thim_verify::{Digest, Fmspc, PceId, RawTcb, UnixTime};

use super::answer::ReadyPck;
use crate::store::{PckRow, PlatformRow};

/// What a platform is asked for by: its QE id in upper case, or, where that says nothing, the keyed hash of an encrypted PPID.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Handle {
    pub name: String,
    pub pce_id: PceId,
}

/// One platform, ready to be asked. A fleet of these is kept in memory, so it has no more than answers need.
pub(crate) struct PlatformView {
    pub id: String,
    pub fmspc: Fmspc,
    pub pce_id: PceId,
    pub fetched: Option<UnixTime>,
    pub epoch: u64,
    alive: Arc<AtomicBool>,
    /// Levels of the served certificates, in the order of the vendor's list.
    pub levels: Box<[RawTcb]>,
    certificates: Box<[Slot]>,
    chosen: ArcSwap<Vec<(RawTcb, Option<usize>)>>,
}

/// A certificate, and its answer once it was wanted.
struct Slot {
    digest: Digest,
    ready: OnceLock<Arc<ReadyPck>>,
}

impl PlatformView {
    /// `alive` was had before the row and the certificates were read.
    pub fn new(
        row: &PlatformRow,
        fmspc: Fmspc,
        certificates: &[PckRow],
        epoch: u64,
        alive: Arc<AtomicBool>,
    ) -> Self {
        Self {
            id: row.id.clone(),
            fmspc,
            pce_id: row.pce_id,
            fetched: row.fetched,
            epoch,
            alive,
            levels: certificates.iter().map(|row| row.tcbm).collect(),
            certificates: certificates
                .iter()
                .map(|row| Slot {
                    digest: row.digest,
                    ready: OnceLock::new(),
                })
                .collect(),
            chosen: ArcSwap::default(),
        }
    }

    /// Whether what it says still holds: nothing of the platform has changed, nor what certificates are chosen by.
    pub fn holds(&self, epoch: u64) -> bool {
        self.epoch == epoch && self.alive.load(Ordering::SeqCst)
    }

    /// The answer for a raw TCB, if it has been given before.
    pub fn answer(&self, raw: &RawTcb) -> Option<&Arc<ReadyPck>> {
        self.ready(self.choice(raw)??)
    }

    /// Which certificate answers a raw TCB, if that was settled before; the inner `None`: none does.
    pub fn choice(&self, raw: &RawTcb) -> Option<Option<usize>> {
        let chosen = self.chosen.load();
        chosen
            .iter()
            .find(|(known, _)| known == raw)
            .map(|(_, index)| *index)
    }

    /// Remembers a choice. False where that is one too many: a caller may make up as many raw TCBs as it likes.
    pub fn choose(&self, raw: RawTcb, index: Option<usize>) -> bool {
        let mut fits = true;
        self.chosen.rcu(|chosen| {
            fits = chosen.len() < CHOICES;
            if !fits || chosen.iter().any(|(known, _)| *known == raw) {
                return Arc::clone(chosen);
            }
            let mut longer = Vec::with_capacity(chosen.len() + 1);
            longer.extend_from_slice(chosen);
            longer.push((raw, index));
            Arc::new(longer)
        });
        fits
    }

    /// The answer that a certificate gives, if it was made before.
    pub fn ready(&self, index: usize) -> Option<&Arc<ReadyPck>> {
        self.certificates.get(index)?.ready.get()
    }

    /// Which certificate it is, and its level.
    pub fn certificate(&self, index: usize) -> Option<(Digest, RawTcb)> {
        Some((
            self.certificates.get(index)?.digest,
            *self.levels.get(index)?,
        ))
    }

    /// Keeps the answer that a certificate gives.
    pub fn keep(&self, index: usize, ready: Arc<ReadyPck>) {
        if let Some(slot) = self.certificates.get(index) {
            // Another request may have been first; both made the same.
            let _ = slot.ready.set(ready);
        }
    }
}

/// A platform has one raw TCB at a time; hosts of one that was just updated still ask with the old one.
const CHOICES: usize = 16;
