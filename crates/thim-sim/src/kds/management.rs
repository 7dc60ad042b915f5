//! What an operator of the simulated KDS can do to it, in process. `management_routes` offers the same over HTTP, one to
//! one.
//!
//! What changes a CRL makes its next edition, signed when somebody asks for it. No client may see two editions of one
//! date, so such an act fails with [`SimError::ClockNotAdvanced`] when the edition before was signed in the same second.

use crate::SimError;
use crate::calendar;
use crate::calls::Calls;
use crate::faults::FaultRule;
use crate::kds::certificates::{Leaf, LeafForm, Subject};
use crate::kds::chip::{ChipSpec, SimChip};
use crate::kds::faults::KdsFault;
use crate::kds::product::{AmdCa, AmdProduct};
use crate::kds::rate::{RateLimits, Violation};
use crate::kds::shared::Shared;
use crate::kds::state::State;
use crate::kds::tcb::SimTcb;
use serde::Serialize;
use std::sync::Arc;

/// The handle for all of it; cheap to clone.
#[derive(Clone)]
pub struct KdsManagement {
    shared: Arc<Shared>,
}

/// The simulated KDS at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KdsStatus {
    /// The simulated KDS.
    pub kds_url: String,
    /// This port.
    pub management_url: String,
    /// The clock.
    pub now: String,
    /// Each product's state.
    pub products: Vec<ProductStatus>,
    /// How many virtual chips there are.
    pub chips: usize,
    /// Calls counted.
    pub calls: u64,
    /// Requests that came too early.
    pub violations: u64,
    /// The limits in force.
    pub rate_limits: RateLimits,
    /// The form of VCEKs.
    pub leaf_form: LeafForm,
    /// How old a CRL gets before it is signed again.
    pub resign_after_seconds: i64,
    /// The faults in force.
    pub faults: Vec<FaultRule<KdsFault>>,
}

/// A product's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProductStatus {
    /// The product.
    pub product: AmdProduct,
    /// The newest firmware AMD has released.
    pub released: SimTcb,
    /// The CRL of the vcek line.
    pub vcek_crl: CrlStatus,
    /// The CRL of the vlek line.
    pub vlek_crl: CrlStatus,
}

/// A CRL's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CrlStatus {
    /// The number of its edition, or of its next one if nobody has asked yet.
    pub number: u32,
    /// The serial numbers revoked, in hex.
    pub revoked: Vec<String>,
}

impl KdsManagement {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Counts, numbers, faults, addresses. `GET /status`.
    pub fn status(&self) -> KdsStatus {
        let now = self.shared.now();
        let state = self.shared.state();
        let crl = |ca, product| {
            let line = state.crl_line(ca, product);
            let revoked = line.revoked.iter();
            CrlStatus {
                number: line.number,
                revoked: revoked.map(|(serial, _)| format!("{serial:06x}")).collect(),
            }
        };
        KdsStatus {
            kds_url: self.shared.kds_url.clone(),
            management_url: self.shared.management_url.clone(),
            now: calendar::iso(now),
            products: AmdProduct::ALL
                .into_iter()
                .map(|product| ProductStatus {
                    product,
                    released: state.released(product),
                    vcek_crl: crl(AmdCa::Ask, product),
                    vlek_crl: crl(AmdCa::Asvk, product),
                })
                .collect(),
            chips: state.chip_count(),
            calls: state.calls.total(),
            violations: state.limiter.violations(),
            rate_limits: state.limiter.limits,
            leaf_form: state.leaf_form,
            resign_after_seconds: state.resign_after_seconds,
            faults: state.faults.rules().to_vec(),
        }
    }

    /// Every call of the KDS port. `GET /calls`.
    pub fn calls(&self) -> Calls {
        self.shared.state().calls.report()
    }

    /// Sets the counters to zero. `DELETE /calls`.
    pub fn reset_calls(&self) {
        self.shared.state().calls.reset();
    }

    /// How many requests came too early. `GET /violations`.
    pub fn kds_violations(&self) -> u64 {
        self.shared.state().limiter.violations()
    }

    /// The last thousand of them, oldest first. `GET /violations`.
    pub fn recent_violations(&self) -> Vec<Violation> {
        self.shared.state().limiter.recent()
    }

    /// Forgets the violations; windows that are open stay so. `DELETE /violations`.
    pub fn reset_violations(&self) {
        self.shared.state().limiter.reset();
    }

    /// The limits from now on. `PUT /rate-limits`.
    pub fn set_rate_limits(&self, limits: RateLimits) {
        self.shared.state().limiter.limits = limits;
    }

    /// One more chip. `POST /chips`.
    pub fn add_chip(&self, spec: &ChipSpec) -> Result<SimChip, SimError> {
        self.add_chips(spec, 1)?
            .pop()
            .ok_or_else(|| SimError::InvalidRequest("no chip was made".to_owned()))
    }

    /// So many more chips; they cost little until somebody asks for their VCEKs. `POST /chips`.
    pub fn add_chips(&self, spec: &ChipSpec, count: usize) -> Result<Vec<SimChip>, SimError> {
        let mut state = self.shared.state();
        let places = state.add_chips(spec, count)?;
        let secret = &self.shared.secret;
        Ok(places
            .filter_map(|place| state.snapshot(place, secret))
            .collect())
    }

    /// Every chip.
    pub fn chips(&self) -> Vec<SimChip> {
        self.chips_from(0, usize::MAX)
    }

    /// At most `count` chips behind the first `skip`. `GET /chips`.
    pub fn chips_from(&self, skip: usize, count: usize) -> Vec<SimChip> {
        let state = self.shared.state();
        let places = (skip..state.chip_count()).take(count);
        places
            .filter_map(|place| state.snapshot(place, &self.shared.secret))
            .collect()
    }

    /// The chip of this name. `GET /chips/{name}`.
    pub fn chip(&self, name: &str) -> Option<SimChip> {
        let state = self.shared.state();
        let place = state.place(name).ok()?;
        state.snapshot(place, &self.shared.secret)
    }

    /// The first chip of a product.
    pub fn chip_of(&self, product: AmdProduct) -> SimChip {
        let state = self.shared.state();
        (0..state.chip_count())
            .filter_map(|place| state.snapshot(place, &self.shared.secret))
            .find(|chip| chip.product == product)
            .expect("there is a chip of every product from the start")
    }

    /// A firmware update, committed at once: no level falls, one at least rises. `POST /chips/{name}/firmware`.
    pub fn update_firmware(&self, name: &str, tcb: SimTcb) -> Result<SimChip, SimError> {
        self.change_chip(name, |state, place| state.update_firmware(place, tcb))
    }

    /// What the chip reports, up to what it runs; its VCEK and its reports go by this. `POST /chips/{name}/reported`.
    pub fn set_reported(&self, name: &str, tcb: SimTcb) -> Result<SimChip, SimError> {
        self.change_chip(name, |state, place| state.set_reported(place, tcb))
    }

    /// AMD releases firmware: KDS has VCEKs up to these levels for every chip of the product, whatever it runs. Gives the
    /// highest levels released. `POST /release`.
    pub fn release(&self, product: AmdProduct, tcb: SimTcb) -> Result<SimTcb, SimError> {
        self.shared.state().release(product, tcb)
    }

    /// The VLEK of a cloud provider in DER, for what the product's fresh chips report. `GET /vlek/{product}/{csp_id}`.
    pub fn vlek(&self, product: AmdProduct, csp_id: &str) -> Result<Vec<u8>, SimError> {
        self.vlek_at(product, csp_id, &product.fresh_tcb())
    }

    /// The same for another TCB. Valid for a year from now; the key is the same each time. Blocks while the ASVK's key is
    /// made.
    pub fn vlek_at(
        &self,
        product: AmdProduct,
        csp_id: &str,
        tcb: &SimTcb,
    ) -> Result<Vec<u8>, SimError> {
        tcb.require_for(product)?;
        if !(1..=MAX_CSP_ID).contains(&csp_id.len()) || !csp_id.is_ascii() {
            return Err(SimError::InvalidRequest(format!(
                "csp id: 1 to {MAX_CSP_ID} characters of ASCII"
            )));
        }
        let leaf = Leaf {
            product,
            subject: Subject::Csp(csp_id),
            tcb,
            public_key: &self.shared.secret.vlek(product, csp_id, tcb).public,
            not_before: self.shared.now(),
        };
        let form = self.shared.state().leaf_form;
        self.shared.genuine.sign_leaf(&leaf, form)
    }

    /// Which of the forms found in the field VCEKs and VLEKs have from now on. `PUT /leaf-form`.
    pub fn set_leaf_form(&self, form: LeafForm) {
        self.shared.state().leaf_form = form;
    }

    /// The certificate in force of a CA enters the CRL of its line. Gives its serial number. Blocks while its key is made.
    /// `POST /revoke`.
    pub fn revoke(&self, product: AmdProduct, ca: AmdCa) -> Result<u32, SimError> {
        let serial = self.shared.genuine.ca(ca, product)?.serial;
        let now = self.shared.now();
        let mut state = self.shared.state();
        state.change_crl(ca, product, now, |revoked| {
            if revoked.iter().any(|(known, _)| *known == serial) {
                let known = "it is revoked already".to_owned();
                return Err(SimError::InvalidRequest(known));
            }
            revoked.push((serial, now));
            Ok(())
        })?;
        Ok(serial)
    }

    /// A CRL forgets its newest entry. Gives the serial number. `POST /restore`.
    pub fn restore(&self, product: AmdProduct, ca: AmdCa) -> Result<u32, SimError> {
        let now = self.shared.now();
        let mut restored = 0;
        self.shared
            .state()
            .change_crl(ca, product, now, |revoked| match revoked.pop() {
                Some((serial, _)) => {
                    restored = serial;
                    Ok(())
                }
                None => Err(SimError::InvalidRequest("the CRL is empty".to_owned())),
            })?;
        Ok(restored)
    }

    /// A CRL's next edition, with the next number and the same entries. `POST /resign-crl`.
    pub fn resign_crl(&self, product: AmdProduct, ca: AmdCa) -> Result<(), SimError> {
        let now = self.shared.now();
        let mut state = self.shared.state();
        state.change_crl(ca, product, now, |_| Ok(()))
    }

    /// How old a CRL may get before it is signed again when asked for. `PUT /resign-after`.
    pub fn set_resign_after(&self, seconds: u32) {
        self.shared.state().resign_after_seconds = i64::from(seconds);
    }

    /// A new certificate of a CA from now on: the same key, the next serial number. Gives it. `POST /reissue-ca`.
    pub fn reissue_ca(&self, product: AmdProduct, ca: AmdCa) -> Result<u32, SimError> {
        let now = self.shared.now();
        let certificate = self.shared.genuine.reissue(ca, product, now)?;
        Ok(certificate.serial)
    }

    /// Adds a fault behind those in force. `PUT /faults`.
    pub fn set_fault(&self, rule: FaultRule<KdsFault>) -> Result<(), SimError> {
        rule.fault.require_sense()?;
        self.shared.state().faults.push(rule)
    }

    /// The faults in force. `GET /faults`.
    pub fn faults(&self) -> Vec<FaultRule<KdsFault>> {
        self.shared.state().faults.rules().to_vec()
    }

    /// Ends all faults. `DELETE /faults`.
    pub fn clear_faults(&self) {
        self.shared.state().faults.clear();
    }

    fn change_chip(
        &self,
        name: &str,
        change: impl FnOnce(&mut State, usize) -> Result<(), SimError>,
    ) -> Result<SimChip, SimError> {
        let mut state = self.shared.state();
        let place = state.place(name)?;
        change(&mut state, place)?;
        state
            .snapshot(place, &self.shared.secret)
            .ok_or_else(|| SimError::UnknownChip(name.to_owned()))
    }
}

/// Captured ids have 29 characters.
const MAX_CSP_ID: usize = 128;
