//! A hierarchy of ARK, ASK and ASVK for every product: each certificate made when first asked for, kept until replaced.
//!
//! There are two in a simulator: the genuine one, and an impostor with the same names and serial numbers under other
//! keys, for the `wrong-key` fault.

use crate::SimError;
use crate::calendar;
use crate::kds::certificates::{
    CaProfile, CrlContent, Leaf, LeafForm, Subject, sign_ca, sign_crl, sign_leaf,
};
use crate::kds::keys::{Holder, RsaBits, RsaKey, rsa_key};
use crate::kds::product::{AmdCa, AmdProduct};
use crate::pem::pem;
use std::sync::{Arc, Mutex, PoisonError};

/// A CA's certificate.
#[derive(Clone)]
pub(crate) struct Certificate {
    pub(crate) der: Arc<[u8]>,
    pub(crate) serial: u32,
}

/// The certificates of one hierarchy.
pub(crate) struct Pki {
    kds_url: String,
    bits: RsaBits,
    impostor: bool,
    /// When its certificates begin.
    begun: i64,
    arks: [Slot; 3],
    cas: [[Slot; 3]; 2],
}

/// Locked while a key is made, so that everybody else who needs it waits for it.
type Slot = Mutex<Option<Certificate>>;

impl Pki {
    /// Nothing is made yet. The certificates will begin some years before `now`.
    pub(crate) fn new(kds_url: &str, bits: RsaBits, impostor: bool, now: i64) -> Self {
        Self {
            kds_url: kds_url.to_owned(),
            bits,
            impostor,
            begun: calendar::years_after(now, -CA_AGE_YEARS),
            arks: Default::default(),
            cas: Default::default(),
        }
    }

    /// The root. Blocks while its key is made.
    pub(crate) fn ark(&self, product: AmdProduct) -> Result<Certificate, SimError> {
        let serial = product.ark_serial();
        in_slot(&self.arks[product.index()], || {
            self.issue(product, None, serial, self.begun)
        })
    }

    /// A CA below it. Blocks while keys are made.
    pub(crate) fn ca(&self, ca: AmdCa, product: AmdProduct) -> Result<Certificate, SimError> {
        let serial = product.ca_serial(ca);
        in_slot(&self.cas[ca.index()][product.index()], || {
            self.issue(product, Some(ca), serial, self.begun)
        })
    }

    /// A new certificate of a CA for the same key, with the next serial number, from `now` on.
    pub(crate) fn reissue(
        &self,
        ca: AmdCa,
        product: AmdProduct,
        now: i64,
    ) -> Result<Certificate, SimError> {
        let serial = self.ca(ca, product)?.serial + 1;
        let certificate = self.issue(product, Some(ca), serial, now)?;
        let slot = &self.cas[ca.index()][product.index()];
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate.clone());
        Ok(certificate)
    }

    /// The chain file: the CA, then the ARK; the other way round when `reversed`.
    pub(crate) fn chain(
        &self,
        ca: AmdCa,
        product: AmdProduct,
        reversed: bool,
    ) -> Result<String, SimError> {
        let issuer = pem("CERTIFICATE", &self.ca(ca, product)?.der);
        let root = pem("CERTIFICATE", &self.ark(product)?.der);
        let mut chain = if reversed {
            root + &issuer
        } else {
            issuer + &root
        };
        // As recorded: Turin's VLEK chain ends in an empty line.
        if (ca, product) == (AmdCa::Asvk, AmdProduct::Turin) {
            chain.push('\n');
        }
        Ok(chain.replace('\n', product.line_end()))
    }

    /// A VCEK or VLEK.
    pub(crate) fn sign_leaf(&self, leaf: &Leaf<'_>, form: LeafForm) -> Result<Vec<u8>, SimError> {
        let ca = match leaf.subject {
            Subject::Hwid(_) => AmdCa::Ask,
            Subject::Csp(_) => AmdCa::Asvk,
        };
        sign_leaf(leaf, form, self.key(Some(ca), leaf.product)?)
    }

    /// A CRL of the ARK.
    pub(crate) fn sign_crl(
        &self,
        product: AmdProduct,
        content: &CrlContent<'_>,
    ) -> Result<Vec<u8>, SimError> {
        sign_crl(product, content, self.key(None, product)?)
    }

    /// When its certificates begin.
    pub(crate) fn begun(&self) -> i64 {
        self.begun
    }

    fn issue(
        &self,
        product: AmdProduct,
        ca: Option<AmdCa>,
        serial: u32,
        not_before: i64,
    ) -> Result<Certificate, SimError> {
        // The ARK names the vcek line, as the ASK does.
        let line = ca.unwrap_or(AmdCa::Ask).line();
        let profile = CaProfile {
            product,
            ca,
            serial,
            not_before,
            crl_url: &format!("{}/{line}/v1/{product}/crl", self.kds_url),
        };
        let der = sign_ca(&profile, self.key(ca, product)?, self.key(None, product)?)?;
        Ok(Certificate {
            der: der.into(),
            serial,
        })
    }

    fn key(&self, ca: Option<AmdCa>, product: AmdProduct) -> Result<&'static RsaKey, SimError> {
        let holder = match (self.impostor, ca) {
            (false, None) => Holder::Ark(product),
            (false, Some(ca)) => Holder::Ca(ca, product),
            (true, None) => Holder::ImpostorArk,
            (true, Some(_)) => Holder::ImpostorCa,
        };
        rsa_key(self.bits, holder)
    }
}

/// What a slot holds, made if it holds nothing.
fn in_slot(
    slot: &Slot,
    make: impl FnOnce() -> Result<Certificate, SimError>,
) -> Result<Certificate, SimError> {
    let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
    match &*held {
        Some(certificate) => Ok(certificate.clone()),
        None => {
            let certificate = make()?;
            *held = Some(certificate.clone());
            Ok(certificate)
        }
    }
}

/// AMD's are three to six years old.
const CA_AGE_YEARS: i64 = 4;
