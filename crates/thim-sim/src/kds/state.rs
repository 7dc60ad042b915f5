//! What changes while a simulated KDS runs: chips, firmware releases, CRL lines, counters, faults.
//!
//! One lock around all of it, held for look-ups and for the signature of a CRL, never across a pause, a write or the
//! making of an RSA key.

use crate::SimError;
use crate::calendar;
use crate::calls::CallLog;
use crate::faults::Faults;
use crate::kds::certificates::{CrlContent, LeafForm};
use crate::kds::chip::{ChipSpec, SimChip};
use crate::kds::faults::KdsFault;
use crate::kds::keys::Secret;
use crate::kds::product::{AmdCa, AmdProduct};
use crate::kds::rate::RateLimiter;
use crate::kds::tcb::SimTcb;
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) struct State {
    pub(crate) calls: CallLog,
    pub(crate) faults: Faults<KdsFault>,
    pub(crate) limiter: RateLimiter,
    pub(crate) leaf_form: LeafForm,
    pub(crate) resign_after_seconds: i64,
    released: [SimTcb; 3],
    crls: [[CrlLine; 3]; 2],
    chips: Vec<Chip>,
    by_hwid: HashMap<(AmdProduct, Arc<[u8]>), usize>,
}

/// What is kept of a chip; its name is its place.
struct Chip {
    product: AmdProduct,
    hwid: Arc<[u8]>,
    reported: SimTcb,
    current: SimTcb,
    committed: SimTcb,
}

/// The CRLs of one path.
pub(crate) struct CrlLine {
    /// Of the edition there is or of the next one to be made.
    pub(crate) number: u32,
    /// Serial numbers and when they were revoked.
    pub(crate) revoked: Vec<(u32, i64)>,
    /// `None` until somebody asks.
    edition: Option<CrlEdition>,
}

#[derive(Clone)]
pub(crate) struct CrlEdition {
    pub(crate) number: u32,
    pub(crate) this_update: i64,
    pub(crate) revoked: Vec<(u32, i64)>,
    pub(crate) der: Arc<[u8]>,
}

impl State {
    /// One chip of each product. `begun` is when Genoa's first ASK was revoked.
    pub(crate) fn new(begun: i64) -> Result<Self, SimError> {
        let line = |ca: AmdCa, product: AmdProduct| CrlLine {
            number: product.first_crl_number(ca),
            revoked: match (ca, product) {
                // The predecessor of the ASK, as in AMD's list.
                (AmdCa::Ask, AmdProduct::Genoa) => vec![(product.ca_serial(ca) - 1, begun)],
                (AmdCa::Ask, AmdProduct::Milan | AmdProduct::Turin) | (AmdCa::Asvk, _) => vec![],
            },
            edition: None,
        };
        let mut state = Self {
            calls: CallLog::default(),
            faults: Faults::default(),
            limiter: RateLimiter::default(),
            leaf_form: LeafForm::default(),
            resign_after_seconds: RESIGN_AFTER_SECONDS,
            released: AmdProduct::ALL.map(AmdProduct::first_released),
            crls: AmdCa::ALL.map(|ca| AmdProduct::ALL.map(|product| line(ca, product))),
            chips: Vec::new(),
            by_hwid: HashMap::new(),
        };
        for product in [AmdProduct::Milan, AmdProduct::Genoa, AmdProduct::Turin] {
            state.add_chips(&ChipSpec::new(product), 1)?;
        }
        Ok(state)
    }

    /// More chips; the places of the new ones.
    pub(crate) fn add_chips(
        &mut self,
        spec: &ChipSpec,
        count: usize,
    ) -> Result<std::ops::Range<usize>, SimError> {
        let tcb = spec.tcb.unwrap_or_else(|| spec.product.fresh_tcb());
        tcb.require_for(spec.product)?;
        let first = self.chips.len();
        if count > MAX_CHIPS - first {
            return Err(SimError::InvalidRequest(format!(
                "more than {MAX_CHIPS} chips"
            )));
        }
        for _ in 0..count {
            let mut hwid = vec![0; spec.product.hwid_bytes()];
            aws_lc_rs::rand::fill(&mut hwid).map_err(|_| SimError::Randomness)?;
            let hwid: Arc<[u8]> = hwid.into();
            let key = (spec.product, Arc::clone(&hwid));
            self.by_hwid.insert(key, self.chips.len());
            self.chips.push(Chip {
                product: spec.product,
                hwid,
                reported: tcb,
                current: tcb,
                committed: tcb,
            });
        }
        Ok(first..self.chips.len())
    }

    pub(crate) fn chip_count(&self) -> usize {
        self.chips.len()
    }

    pub(crate) fn snapshot(&self, place: usize, secret: &Secret) -> Option<SimChip> {
        let chip = self.chips.get(place)?;
        Some(SimChip {
            name: format!("chip-{}", place + 1),
            product: chip.product,
            hwid: chip.hwid.to_vec(),
            reported: chip.reported,
            current: chip.current,
            committed: chip.committed,
            secret: secret.clone(),
        })
    }

    /// `chip-1` is at place 0.
    pub(crate) fn place(&self, name: &str) -> Result<usize, SimError> {
        name.strip_prefix("chip-")
            .and_then(|number| number.parse::<usize>().ok())
            .and_then(|number| number.checked_sub(1))
            .filter(|place| *place < self.chips.len() && name == format!("chip-{}", place + 1))
            .ok_or_else(|| SimError::UnknownChip(name.to_owned()))
    }

    /// New firmware: every TCB of the chip rises to this one.
    pub(crate) fn update_firmware(&mut self, place: usize, tcb: SimTcb) -> Result<(), SimError> {
        let chip = &mut self.chips[place];
        tcb.require_for(chip.product)?;
        if !tcb.covers(&chip.current) || tcb == chip.current {
            return Err(SimError::InvalidRequest(
                "a firmware update lowers no level and raises one".to_owned(),
            ));
        }
        (chip.reported, chip.current, chip.committed) = (tcb, tcb, tcb);
        Ok(())
    }

    /// The host reports another TCB, not above what the chip runs.
    pub(crate) fn set_reported(&mut self, place: usize, tcb: SimTcb) -> Result<(), SimError> {
        let chip = &mut self.chips[place];
        tcb.require_for(chip.product)?;
        if !chip.current.covers(&tcb) {
            return Err(SimError::InvalidRequest(
                "no level may be above the current one".to_owned(),
            ));
        }
        chip.reported = tcb;
        Ok(())
    }

    /// Whether KDS has a VCEK for it: of a chip AMD made, for firmware AMD has released or the chip runs.
    pub(crate) fn knows(&self, product: AmdProduct, hwid: &[u8], tcb: &SimTcb) -> bool {
        let place = self.by_hwid.get(&(product, Arc::from(hwid)));
        place.is_some_and(|place| {
            let current = &self.chips[*place].current;
            self.released(product).highest(current).covers(tcb)
        })
    }

    /// The id of another chip of the product, of the next one if there is one.
    pub(crate) fn other_chip(&self, product: AmdProduct, hwid: &[u8]) -> Option<Arc<[u8]>> {
        let place = *self.by_hwid.get(&(product, Arc::from(hwid)))?;
        let (before, after) = (&self.chips[..place], &self.chips[place + 1..]);
        after
            .iter()
            .chain(before)
            .find(|chip| chip.product == product)
            .map(|chip| Arc::clone(&chip.hwid))
    }

    pub(crate) fn released(&self, product: AmdProduct) -> SimTcb {
        self.released[product.index()]
    }

    /// AMD releases firmware: no level of what was released before is taken back.
    pub(crate) fn release(&mut self, product: AmdProduct, tcb: SimTcb) -> Result<SimTcb, SimError> {
        tcb.require_for(product)?;
        let released = &mut self.released[product.index()];
        *released = released.highest(&tcb);
        Ok(*released)
    }

    pub(crate) fn crl_line(&self, ca: AmdCa, product: AmdProduct) -> &CrlLine {
        &self.crls[ca.index()][product.index()]
    }

    /// The CRL in force: signed when first asked for, signed again with the next number when it is old.
    pub(crate) fn crl(
        &mut self,
        ca: AmdCa,
        product: AmdProduct,
        now: i64,
        sign: impl FnOnce(&CrlContent<'_>) -> Result<Vec<u8>, SimError>,
    ) -> Result<CrlEdition, SimError> {
        let resign_after = self.resign_after_seconds;
        let line = &mut self.crls[ca.index()][product.index()];
        match &line.edition {
            Some(edition) if now - edition.this_update < resign_after => {
                return Ok(edition.clone());
            }
            Some(_) => line.number += 1,
            None => {}
        }
        let der = sign(&CrlContent {
            number: line.number,
            this_update: now,
            next_update: crl_next_update(now),
            revoked: &line.revoked,
        })?;
        let edition = CrlEdition {
            number: line.number,
            this_update: now,
            revoked: line.revoked.clone(),
            der: der.into(),
        };
        line.edition = Some(edition.clone());
        Ok(edition)
    }

    /// The next edition has other entries and the next number. No client may see two editions of one date.
    pub(crate) fn change_crl(
        &mut self,
        ca: AmdCa,
        product: AmdProduct,
        now: i64,
        change: impl FnOnce(&mut Vec<(u32, i64)>) -> Result<(), SimError>,
    ) -> Result<(), SimError> {
        let line = &mut self.crls[ca.index()][product.index()];
        if let Some(edition) = &line.edition
            && edition.this_update >= now
        {
            return Err(SimError::ClockNotAdvanced {
                issued: edition.this_update,
                now,
            });
        }
        change(&mut line.revoked)?;
        line.number += 1;
        line.edition = None;
        Ok(())
    }
}

/// Captured CRLs end at the midnight 46 days after their day.
pub(crate) fn crl_next_update(this_update: i64) -> i64 {
    calendar::start_of_day(this_update) + CRL_DAYS * DAY
}

const DAY: i64 = 86_400;
/// spec/amd-kds-and-thim.md section 2.4: 2026-08-19 to 2026-10-04.
pub(crate) const CRL_DAYS: i64 = 46;
/// A new one about every three weeks.
const RESIGN_AFTER_SECONDS: i64 = 21 * DAY;
/// A region's fleet, at some 200 bytes each.
const MAX_CHIPS: usize = 1_000_000;
