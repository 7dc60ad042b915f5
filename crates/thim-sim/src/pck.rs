//! PCK certificates: which ones answer a request, made when first asked for, and the answer's body.
//!
//! `pckcert` answers the first of the platform's levels, best first, that the raw TCB covers and that has a certificate.
//! Where every level has one this is Intel's selection (spec/intel-pcs-and-pccs.md section 6) without repeating it: the
//! levels differ in microcode, PCE and hyper-threading alone. `pckcerts/config` answers the levels whose hyper-threading
//! component is that of the CPUSVN: the simulator's reading of "levels matching current HW config".

use crate::SimError;
use crate::faults::Fault;
use crate::machine::Machine;
use crate::management::Ca;
use crate::paths::Refusal;
use crate::pck_paths::{PckRequest, Wanted};
use crate::pck_tcb::PckTcb;
use crate::pem::{pem, percent_encode};
use crate::pki::{Chain, PckCertificate, Pki};
use crate::platform::PckCertsShape;
use crate::population::Population;
use crate::tcb_info::HYPER_THREADING;
use std::sync::Arc;

/// The certificates that answer a request.
pub(crate) struct PckAnswer {
    pub(crate) fmspc: &'static str,
    pub(crate) ca: Ca,
    pub(crate) chain: Option<Chain>,
    pub(crate) entries: Vec<Entry>,
}

/// A level of the answer; without a certificate it is `Not available`.
pub(crate) struct Entry {
    pub(crate) tcb: PckTcb,
    certificate: Option<Arc<PckCertificate>>,
}

/// Why there is no answer.
pub(crate) enum PckFailure {
    Broken(SimError),
    Refused(Refusal),
}

impl From<SimError> for PckFailure {
    fn from(error: SimError) -> Self {
        PckFailure::Broken(error)
    }
}

/// Answers a request, altered by the fault if that is one of PCK certificates. `impostor` is there for those that
/// need it.
pub(crate) fn answer(
    population: &mut Population,
    pki: &Pki,
    impostor: Option<&Pki>,
    request: &PckRequest,
    fault: Option<&Fault>,
) -> Result<PckAnswer, PckFailure> {
    let asked = population.admit(request).map_err(PckFailure::Refused)?;
    let subject = match fault {
        Some(Fault::WrongPlatform) => population.neighbour(asked).unwrap_or(asked),
        Some(_) | None => asked,
    };
    let machine = population.machine_mut(subject);
    let wholly_forged = match fault {
        Some(Fault::WrongKey) => impostor,
        Some(_) | None => None,
    };
    // A neighbour of another family may have none of the configuration asked for.
    let wanted = if subject == asked {
        request.wanted
    } else {
        Wanted::Every
    };
    let mut chosen = chosen(machine, wanted);
    if let Some(Fault::Partial { levels }) = fault {
        let available = chosen.iter_mut().filter(|level| level.available);
        let count = usize::try_from(*levels).unwrap_or(usize::MAX);
        available
            .take(count)
            .for_each(|level| level.available = false);
    }
    let mut entries = Vec::with_capacity(chosen.len());
    for Chosen { index, available } in chosen {
        let tcb = machine.levels[index].tcb;
        let certificate = match (available, wholly_forged) {
            (false, _) => None,
            (true, Some(impostor)) => Some(Arc::new(forged(impostor, machine, tcb)?)),
            (true, None) => Some(certificate(pki, machine, index)?),
        };
        entries.push(Entry { tcb, certificate });
    }
    if entries.is_empty() {
        return Err(PckFailure::Refused(Refusal::NotFound));
    }
    match (fault, impostor) {
        (Some(Fault::OneForged), Some(impostor)) => {
            if let Some(best) = entries.iter_mut().find(|entry| entry.certificate.is_some()) {
                best.certificate = Some(Arc::new(forged(impostor, machine, best.tcb)?));
            }
        }
        (Some(Fault::WrongSignature), _) => entries.iter_mut().for_each(Entry::flip_a_bit),
        (Some(_) | None, _) => {}
    }
    Ok(PckAnswer {
        fmspc: machine.family.fmspc,
        ca: machine.ca(),
        chain: wholly_forged.unwrap_or(pki).crl_chain(machine.ca()),
        entries,
    })
}

/// How many certificates would answer, without making or registering anything; `None` for a refusal.
pub(crate) fn available(population: &Population, request: &PckRequest) -> Option<usize> {
    let machine = population.machine(population.find(request).ok()?);
    let chosen = chosen(machine, request.wanted);
    let available = chosen.iter().filter(|level| level.available).count();
    (!chosen.is_empty()).then_some(available)
}

/// The serial numbers of all of a platform's certificates, which are made if they were not yet.
pub(crate) fn serials(machine: &mut Machine, pki: &Pki) -> Result<Vec<Vec<u8>>, SimError> {
    (0..machine.levels.len())
        .filter(|index| machine.levels[*index].available)
        .collect::<Vec<_>>()
        .into_iter()
        .map(|index| Ok(certificate(pki, machine, index)?.serial.clone()))
        .collect()
}

struct Chosen {
    index: usize,
    available: bool,
}

fn chosen(machine: &Machine, wanted: Wanted) -> Vec<Chosen> {
    let levels = machine.levels.iter().enumerate();
    let fits = |tcb: &PckTcb, available: bool| match wanted {
        Wanted::Best(raw) => available && raw.covers(tcb),
        Wanted::Configured(cpusvn) => tcb.components[HYPER_THREADING] == cpusvn[HYPER_THREADING],
        Wanted::Every => true,
    };
    let fitting = levels
        .filter(|(_, level)| fits(&level.tcb, level.available))
        .map(|(index, level)| Chosen {
            index,
            available: level.available,
        });
    match wanted {
        Wanted::Best(_) => fitting.take(1).collect(),
        Wanted::Configured(_) | Wanted::Every => fitting.collect(),
    }
}

/// The certificate that `pckcert` answers for a TCB of the machine.
pub(crate) fn best_certificate(
    pki: &Pki,
    machine: &mut Machine,
    tcb: PckTcb,
) -> Result<Option<Arc<PckCertificate>>, SimError> {
    match chosen(machine, Wanted::Best(tcb)).pop() {
        Some(best) => certificate(pki, machine, best.index).map(Some),
        None => Ok(None),
    }
}

/// The certificate of a level, made now if it is the first time.
fn certificate(
    pki: &Pki,
    machine: &mut Machine,
    index: usize,
) -> Result<Arc<PckCertificate>, SimError> {
    if let Some(certificate) = &machine.levels[index].certificate {
        return Ok(Arc::clone(certificate));
    }
    let extension = machine.sgx_extension(machine.levels[index].tcb).to_der();
    let made = Arc::new(pki.sign_pck(machine.ca(), extension, machine.certified_at)?);
    machine.levels[index].certificate = Some(Arc::clone(&made));
    Ok(made)
}

/// What the impostor would issue; never kept.
fn forged(impostor: &Pki, machine: &Machine, tcb: PckTcb) -> Result<PckCertificate, SimError> {
    let extension = machine.sgx_extension(tcb).to_der();
    impostor.sign_pck(machine.ca(), extension, machine.certified_at)
}

impl Entry {
    /// The certificate in PEM.
    pub(crate) fn pem(&self) -> Option<String> {
        let certificate = self.certificate.as_ref()?;
        Some(pem("CERTIFICATE", &certificate.der))
    }

    /// The last bit of the DER is the signature's.
    fn flip_a_bit(&mut self) {
        if let Some(certificate) = &mut self.certificate
            && let Some(last) = Arc::make_mut(certificate).der.last_mut()
        {
            *last ^= 1;
        }
    }

    fn json(&self, shape: PckCertsShape) -> String {
        let components = self.tcb.components.iter();
        let tcb = match shape {
            PckCertsShape::Components => {
                let components: Vec<_> = components
                    .map(|svn| format!(r#"{{"svn":{svn},"category":"","type":""}}"#))
                    .collect();
                format!(r#""sgxtcbcomponents":[{}]"#, components.join(","))
            }
            PckCertsShape::Flat => {
                let components: Vec<_> = components
                    .zip(1..)
                    .map(|(svn, number)| format!(r#""sgxtcbcomp{number:02}svn":{svn}"#))
                    .collect();
                components.join(",")
            }
        };
        let cert = match self.pem() {
            Some(pem) => percent_encode(&pem),
            None => NOT_AVAILABLE.to_owned(),
        };
        let (pcesvn, tcbm) = (self.tcb.pcesvn, self.tcb.tcbm());
        format!(r#"{{"tcb":{{{tcb},"pcesvn":{pcesvn}}},"tcbm":"{tcbm}","cert":"{cert}"}}"#)
    }
}

/// The body of `pckcerts` and `pckcerts/config`. Nothing in it needs JSON escapes.
pub(crate) fn list(entries: &[Entry], shape: PckCertsShape) -> String {
    let entries: Vec<_> = entries.iter().map(|entry| entry.json(shape)).collect();
    format!("[{}]", entries.join(","))
}

/// Instead of a certificate (spec/intel-pcs-and-pccs.md section 4).
const NOT_AVAILABLE: &str = "Not available";
