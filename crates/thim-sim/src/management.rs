//! What an operator of the simulator can do to it, in process. `management_routes` offers the same over HTTP, one to one.
//!
//! Actions that sign something new date it now. A client must never see two bodies with one issue date, so they fail
//! with [`SimError::ClockNotAdvanced`] when an edition that was already answered was signed in the same second: advance
//! the clock (or wait a second) and repeat. Editions nobody has asked for are replaced freely.

use crate::SimError;
use crate::calendar;
use crate::calls::Calls;
use crate::faults::FaultRule;
use crate::fleet::{self, SimFmspc};
use crate::pki;
use crate::platform::PckCertsShape;
use crate::shared::Shared;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A certificate authority with a CRL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ca {
    /// `Intel SGX PCK Platform CA`.
    Platform,
    /// `Intel SGX PCK Processor CA`.
    Processor,
    /// `Intel SGX Root CA`.
    Root,
}

/// A certificate the root can revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaCertificate {
    /// The PCK Platform CA's.
    PlatformCa,
    /// The PCK Processor CA's.
    ProcessorCa,
    /// The newest TCB signing certificate.
    TcbSigning,
}

/// A TCB recovery event. In JSON `{"event_days_ago": 0, "stale_manifests": false}`, both optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recovery {
    /// When the event was; over a year makes its number standard at once.
    pub event_days_ago: u32,
    /// Every platform needs a new manifest: those made before become stale, and direct registrations have to be
    /// repeated. Otherwise the vendor keeps on answering for the manifests it knows.
    pub stale_manifests: bool,
}

/// What to add to a CRL. All members may be given together; at least one entry must come out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Whose CRL.
    pub ca: Ca,
    /// So many random serial numbers.
    #[serde(default)]
    pub count: u32,
    /// These serial numbers, in hex.
    #[serde(default)]
    pub serials: Vec<String>,
    /// For the root: this certificate.
    #[serde(default)]
    pub certificate: Option<CaCertificate>,
}

impl Revocation {
    /// `count` random serials.
    pub fn random(ca: Ca, count: u32) -> Self {
        Self {
            ca,
            count,
            serials: Vec::new(),
            certificate: None,
        }
    }

    /// The serials given, in hex.
    pub fn of_serials(ca: Ca, serials: impl IntoIterator<Item = String>) -> Self {
        Self {
            ca,
            count: 0,
            serials: serials.into_iter().collect(),
            certificate: None,
        }
    }

    /// A certificate the root issued.
    pub fn of_certificate(certificate: CaCertificate) -> Self {
        Self {
            ca: Ca::Root,
            count: 0,
            serials: Vec::new(),
            certificate: Some(certificate),
        }
    }
}

/// A CRL's entries after an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CrlEntries {
    /// Whose CRL.
    pub ca: Ca,
    /// How many entries it has now.
    pub entries: usize,
    /// The serials added or removed by the action, in lower-case hex.
    pub changed: Vec<String>,
}

/// An evaluation number and its TCB recovery event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedEvent {
    /// The number.
    pub number: u32,
    /// The event's date, `2025-05-13`.
    pub event: String,
}

/// The simulator at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The simulated PCS.
    pub pcs_url: String,
    /// This port.
    pub management_url: String,
    /// Where the root CRL is.
    pub root_crl_url: String,
    /// The clock, as signed documents would write it.
    pub now: String,
    /// The number `update=standard` gives at that clock.
    pub standard: u32,
    /// The number `update=early` gives.
    pub early: u32,
    /// Every number of the lists, newest first.
    pub numbers: Vec<ListedEvent>,
    /// Entries of the platform CRL.
    pub platform_crl_entries: usize,
    /// Entries of the processor CRL.
    pub processor_crl_entries: usize,
    /// Entries of the root CRL.
    pub root_crl_entries: usize,
    /// Editions signed and kept.
    pub editions: usize,
    /// Calls counted.
    pub calls: u64,
    /// How old an edition gets before it is signed again.
    pub resign_after_seconds: i64,
    /// The faults in force.
    pub faults: Vec<FaultRule>,
    /// The platform families.
    pub platforms: Vec<SimFmspc>,
    /// How many virtual platforms there are.
    pub virtual_platforms: usize,
    /// The shape of `pckcerts`.
    pub pckcerts_shape: PckCertsShape,
}

/// The handle for all of it; cheap to clone.
#[derive(Clone)]
pub struct Management {
    pub(crate) shared: Arc<Shared>,
}

impl Management {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Counts, numbers, faults, addresses. `GET /status`.
    pub fn status(&self) -> Status {
        let now = self.shared.now();
        let vendor = self.shared.vendor();
        Status {
            pcs_url: self.shared.pcs_url.clone(),
            management_url: self.shared.management_url.clone(),
            root_crl_url: self.shared.root_crl_url(),
            now: calendar::iso(now),
            standard: vendor.numbers.standard(now),
            early: vendor.numbers.early(),
            numbers: vendor
                .numbers
                .all()
                .iter()
                .map(|event| ListedEvent {
                    number: event.number,
                    event: event.date.to_string(),
                })
                .collect(),
            platform_crl_entries: vendor.revoked(Ca::Platform).len(),
            processor_crl_entries: vendor.revoked(Ca::Processor).len(),
            root_crl_entries: vendor.revoked(Ca::Root).len(),
            editions: vendor.signed_editions(),
            calls: vendor.calls.total(),
            resign_after_seconds: vendor.resign_after_seconds,
            faults: vendor.faults.rules().to_vec(),
            platforms: fleet::platforms(),
            virtual_platforms: vendor.population.len(),
            pckcerts_shape: vendor.population.shape,
        }
    }

    /// The root certificate to trust. `GET /root.pem`.
    pub fn root_pem(&self) -> String {
        self.shared.vendor().pki().root_pem().to_owned()
    }

    /// Every call of the PCS surface. `GET /calls`.
    pub fn calls(&self) -> Calls {
        self.shared.vendor().calls.report()
    }

    /// Sets the counters to zero. `DELETE /calls`.
    pub fn reset_calls(&self) {
        self.shared.vendor().calls.reset();
    }

    /// A TCB recovery event so many days ago, after which manifests stay usable: see [`Management::recover`].
    pub fn recovery(&self, event_days_ago: u32) -> Result<u32, SimError> {
        self.recover(&Recovery {
            event_days_ago,
            stale_manifests: false,
        })
    }

    /// A TCB recovery event: number early + 1 appears for everything, and every platform gets a certificate of a new best
    /// level and new certificates for all others. Returns the number. `POST /recovery`.
    pub fn recover(&self, recovery: &Recovery) -> Result<u32, SimError> {
        let now = self.shared.now();
        self.shared.vendor().recover(recovery, now)
    }

    /// Goes on to answer numbers from this one on when they fall below standard; `None` withdraws them. `PUT /numbers/keep`.
    pub fn keep_numbers_from(&self, number: Option<u32>) {
        self.shared.vendor().numbers.keep_from(number);
    }

    /// Signs every edition again, dated now. Returns how many there were. `POST /resign`.
    pub fn resign(&self) -> Result<usize, SimError> {
        let now = self.shared.now();
        self.shared.vendor().resign_all(now)
    }

    /// How old an edition may get before it is signed again when asked for. `PUT /resign-after`.
    pub fn set_resign_after(&self, seconds: u32) {
        self.shared.vendor().resign_after_seconds = i64::from(seconds);
    }

    /// A new CRL edition with more entries. `POST /revoke`.
    pub fn revoke(&self, revocation: &Revocation) -> Result<CrlEntries, SimError> {
        let now = self.shared.now();
        let mut vendor = self.shared.vendor();
        let mut added = revocation
            .serials
            .iter()
            .map(|serial| decode_serial(serial))
            .collect::<Result<Vec<_>, _>>()?;
        match (revocation.ca, revocation.certificate) {
            (Ca::Root, Some(certificate)) => added.push(vendor.pki().serial(certificate)),
            (Ca::Platform | Ca::Processor, Some(_)) => {
                return Err(SimError::InvalidRequest(
                    "`certificate` is for the root's CRL".to_owned(),
                ));
            }
            (Ca::Platform | Ca::Processor | Ca::Root, None) => {}
        }
        let mut serials = vendor.revoked(revocation.ca).to_vec();
        let room = MAX_CRL_ENTRIES.saturating_sub(serials.len() + added.len());
        if usize::try_from(revocation.count).map_or(true, |count| count > room) {
            return Err(SimError::InvalidRequest(format!(
                "more than {MAX_CRL_ENTRIES} entries"
            )));
        }
        for _ in 0..revocation.count {
            added.push(pki::random_serial()?);
        }
        added.retain(|serial| !serials.contains(serial));
        if added.is_empty() {
            return Err(SimError::InvalidRequest("nothing new to revoke".to_owned()));
        }
        serials.extend(added.iter().cloned());
        let entries = serials.len();
        vendor.set_revoked(revocation.ca, serials, now)?;
        Ok(CrlEntries {
            ca: revocation.ca,
            entries,
            changed: added.iter().map(|serial| HEXLOWER.encode(serial)).collect(),
        })
    }

    /// A new CRL edition without the `remove` newest entries: the un-revoking incident of 2026-07-16. `POST /shrink`.
    pub fn shrink(&self, ca: Ca, remove: u32) -> Result<CrlEntries, SimError> {
        let now = self.shared.now();
        let mut vendor = self.shared.vendor();
        let mut serials = vendor.revoked(ca).to_vec();
        let keep = usize::try_from(remove)
            .ok()
            .and_then(|remove| serials.len().checked_sub(remove))
            .ok_or_else(|| {
                SimError::InvalidRequest(format!("the CRL has {} entries", serials.len()))
            })?;
        let removed = serials.split_off(keep);
        vendor.set_revoked(ca, serials, now)?;
        Ok(CrlEntries {
            ca,
            entries: keep,
            changed: removed
                .iter()
                .map(|serial| HEXLOWER.encode(serial))
                .collect(),
        })
    }

    /// A new TCB signing certificate that begins now, for the same key when `reissue`, else for a new one; everything it
    /// signs is signed again. `POST /rotate-signer`.
    pub fn rotate_signer(&self, reissue: bool) -> Result<(), SimError> {
        let now = self.shared.now();
        self.shared.vendor().rotate_signer(now, reissue)
    }

    /// Adds a fault behind those in force. `PUT /faults`.
    pub fn set_fault(&self, rule: FaultRule) -> Result<(), SimError> {
        rule.fault.require_sense()?;
        self.shared.vendor().faults.push(rule)
    }

    /// The faults in force. `GET /faults`.
    pub fn faults(&self) -> Vec<FaultRule> {
        self.shared.vendor().faults.rules().to_vec()
    }

    /// Ends all faults. `DELETE /faults`.
    pub fn clear_faults(&self) {
        self.shared.vendor().faults.clear();
    }
}

/// Hex in either case, 1 to 20 octets (RFC 5280, section 4.1.2.2). Leading zeros are dropped: DER has none.
fn decode_serial(text: &str) -> Result<Vec<u8>, SimError> {
    let bytes = HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .map_err(|error| SimError::InvalidRequest(format!("serial `{text}`: {error}")))?;
    let serial: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    if serial.is_empty() || serial.len() > 20 {
        return Err(SimError::InvalidRequest(format!(
            "serial `{text}`: 1 to 20 octets"
        )));
    }
    Ok(serial)
}

/// Far above Intel's 129, far below what would make a CRL of more than a few megabytes.
pub(crate) const MAX_CRL_ENTRIES: usize = 50_000;
