//! Quotes of virtual platforms: spec/intel-verification.md section 1, and of section 3 what a verifier will check.
//!
//! Three keys speak in a quote. The attestation key, one a platform, signs header and body; the quoting enclave's report
//! carries its hash; the PCK key signs that report, and is the key of the very certificate that `pckcert` answers for
//! the platform and the TCB. A machine of several packages has a PCK certificate only once the vendor has seen it, so
//! the first quote of one that is not registered registers it indirectly, for good, as its first request for
//! certificates would.

mod layout;
mod spec;

pub use spec::{
    CertificationKind, CertificationSpec, EnclaveSpec, QeSpec, QuoteBody, QuoteFault, QuoteSpec,
    QuoteVersion, TdSpec,
};

use crate::SimError;
use crate::evaluation::RecoveryEvent;
use crate::identity::Enclave;
use crate::machine::Machine;
use crate::manifest::ENCRYPTED_PPID_BYTES;
use crate::pck;
use crate::pck_tcb::PckTcb;
use crate::pem::pem;
use crate::pki::{PckCertificate, Pki};
use crate::population::Population;
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use std::sync::Arc;

/// A quote of the machine at `index`; `events` are all TCB recovery events, newest first.
pub(crate) fn quote(
    population: &mut Population,
    pki: &Pki,
    events: &[RecoveryEvent],
    index: usize,
    spec: &QuoteSpec,
) -> Result<Vec<u8>, SimError> {
    spec.require_sense()?;
    let tee_tcb_svn = population.machine(index).tee_tcb_svn();
    if spec.body.is_td() && tee_tcb_svn.is_none() {
        return invalid("body: this family has no TDX");
    }
    let signing = Certified::of(population, pki, index, spec.level.as_deref())?;
    let certification = if spec.has(QuoteFault::OtherPlatform) {
        let Some(other) = population.neighbour(index) else {
            return invalid("faults: there is no other platform");
        };
        let certified = Certified::of(population, pki, other, None)?;
        certified.data(population.machine(other), pki, spec)?
    } else {
        signing.data(population.machine(index), pki, spec)?
    };

    let machine = population.machine_mut(index);
    let attestation_key = attestation_key(machine, spec.new_attestation_key)?;
    let enclave = if spec.body.is_td() {
        Enclave::TdQe
    } else {
        Enclave::Qe
    };
    let usual = enclave.measured(events);
    let qe_isv_svn = spec.qe.isv_svn.unwrap_or(usual.isv_svn);
    let tee_tcb_svn = tee_tcb_svn.unwrap_or_default();
    let mut quote = layout::signed_part(machine, spec, qe_isv_svn, tee_tcb_svn);

    let mut quote_signature = sign(&attestation_key, &quote)?;
    if spec.has(QuoteFault::WrongQuoteSignature) {
        flip_a_bit(&mut quote_signature);
    }
    // Uncompressed, without the byte that says so.
    let public_key = &attestation_key.public_key().as_ref()[1..];
    let mut report_data = bound_data(public_key, &spec.qe.auth_data);
    if spec.has(QuoteFault::AttestationKeyUnbound) {
        report_data[0] ^= 1;
    }
    let qe_report = layout::qe_report(machine, spec, &usual, &report_data);
    let mut qe_signature = signing.certificate.sign(&qe_report)?;
    if spec.has(QuoteFault::WrongQeReportSignature) {
        flip_a_bit(&mut qe_signature);
    }

    let auth_bytes = u16::try_from(spec.qe.auth_data.len())
        .map_err(|_| SimError::InvalidRequest("qe.auth_data: too long".to_owned()))?;
    let kind = spec.certification.kind.number();
    let qe_part = [
        &qe_report[..],
        &qe_signature,
        &auth_bytes.to_le_bytes(),
        &spec.qe.auth_data,
        &typed(kind, &certification),
    ]
    .concat();
    let rest = match spec.version {
        QuoteVersion::V3 => qe_part,
        QuoteVersion::V4 | QuoteVersion::V5 => typed(QE_REPORT_CERTIFICATION_DATA, &qe_part),
    };
    let section = [&quote_signature[..], public_key, &rest].concat();
    quote.extend(layout::length(&section).to_le_bytes());
    quote.extend(section);
    quote.extend(&spec.trailing);
    Ok(quote)
}

/// The certificate a quote stands on.
struct Certified {
    certificate: Arc<PckCertificate>,
    /// For which the vendor answers it: the raw TCB, or that of the level asked for.
    tcb: PckTcb,
}

impl Certified {
    fn of(
        population: &mut Population,
        pki: &Pki,
        index: usize,
        level: Option<&str>,
    ) -> Result<Self, SimError> {
        population.contact(index)?;
        let machine = population.machine_mut(index);
        let mut levels = machine.levels.iter().filter(|level| level.available);
        let tcb = match level {
            None => machine.raw_tcb,
            Some(name) => {
                let named = levels.find(|level| level.tcb.tcbm().eq_ignore_ascii_case(name));
                let Some(level) = named else {
                    return invalid("level: none of this platform's that has a certificate");
                };
                level.tcb
            }
        };
        let Some(certificate) = pck::best_certificate(pki, machine, tcb)? else {
            return invalid("the raw TCB reaches no level that has a certificate");
        };
        Ok(Self { certificate, tcb })
    }

    /// The innermost certification data.
    fn data(&self, machine: &Machine, pki: &Pki, spec: &QuoteSpec) -> Result<Vec<u8>, SimError> {
        let wished = &spec.certification;
        let leaf = || pem("CERTIFICATE", &self.certificate.der);
        let encrypted = || match machine.encryption {
            Some(encryption) => encryption.to_bytes(),
            None => vec![0; ENCRYPTED_PPID_BYTES],
        };
        Ok(match wished.kind {
            CertificationKind::PpidClear => self.ppid_and_tcb(machine, &machine.ppid),
            CertificationKind::PpidRsa2048 => {
                self.ppid_and_tcb(machine, &encrypted()[..RSA_2048_BYTES])
            }
            CertificationKind::PpidRsa3072 => self.ppid_and_tcb(machine, &encrypted()),
            CertificationKind::PckLeaf => wished.end(leaf()),
            CertificationKind::PckChain => {
                let [ca, root] = pki.pck_issuers(machine.ca());
                let issuers = if wished.root_before_ca {
                    [root, ca]
                } else {
                    [ca, root]
                };
                wished.end(leaf() + &issuers.concat())
            }
            CertificationKind::PlatformManifest => match machine.manifest() {
                Some(manifest) => manifest.to_bytes(),
                None => return invalid("kind: a single-package platform has no manifest"),
            },
        })
    }

    fn ppid_and_tcb(&self, machine: &Machine, ppid: &[u8]) -> Vec<u8> {
        let pcesvn = self.tcb.pcesvn.to_le_bytes();
        [ppid, &self.tcb.components, &pcesvn, &machine.pce_id].concat()
    }
}

impl CertificationSpec {
    fn end(&self, pem: String) -> Vec<u8> {
        let mut text = pem.trim_end().as_bytes().to_vec();
        if self.trailing_newline {
            text.push(b'\n');
        }
        if self.trailing_nul {
            text.push(0);
        }
        text
    }
}

/// The platform's attestation key, made now if it has none or is to have another.
fn attestation_key(machine: &mut Machine, anew: bool) -> Result<Arc<EcdsaKeyPair>, SimError> {
    match &machine.attestation_key {
        Some(key) if !anew => Ok(Arc::clone(key)),
        Some(_) | None => {
            let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .map_err(|_| SimError::Randomness)?;
            let key = Arc::new(key);
            machine.attestation_key = Some(Arc::clone(&key));
            Ok(key)
        }
    }
}

fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Result<Vec<u8>, SimError> {
    let signature = key
        .sign(&SystemRandom::new(), message)
        .map_err(|_| SimError::Signature)?;
    Ok(signature.as_ref().to_vec())
}

/// What binds the attestation key to the quoting enclave: SHA-256 over both, then zeros.
fn bound_data(public_key: &[u8], auth_data: &[u8]) -> [u8; 64] {
    let mut hash = Context::new(&SHA256);
    hash.update(public_key);
    hash.update(auth_data);
    let mut data = [0; 64];
    data[..32].copy_from_slice(hash.finish().as_ref());
    data
}

/// Certification data of a type, with its head.
fn typed(number: u16, data: &[u8]) -> Vec<u8> {
    let bytes = layout::length(data).to_le_bytes();
    [&number.to_le_bytes()[..], &bytes, data].concat()
}

/// The lowest of `s`.
fn flip_a_bit(signature: &mut [u8]) {
    if let Some(last) = signature.last_mut() {
        *last ^= 1;
    }
}

fn invalid<T>(text: &str) -> Result<T, SimError> {
    Err(SimError::InvalidRequest(text.to_owned()))
}

/// The type of certification data that versions 4 and 5 have outside.
const QE_REPORT_CERTIFICATION_DATA: u16 = 6;
const RSA_2048_BYTES: usize = 256;
