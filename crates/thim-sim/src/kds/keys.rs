//! The keys: RSA for the CAs, P-384 for chips and VLEKs.
//!
//! An RSA-4096 key takes about a second to make, so RSA keys are made once a process and size, when first asked for, and
//! shared by every simulated KDS of the process; certificates are each simulator's own. VCEK and VLEK keys are derived
//! from a secret of the simulator and from what they stand for, so they are stable and cost no memory: any number of
//! re-issues has the same key, as AMD's have (spec/amd-kds-and-thim.md section 1.7).

use crate::SimError;
use crate::kds::product::{AmdCa, AmdProduct};
use crate::kds::tcb::SimTcb;
use aws_lc_rs::agreement::{ECDH_P384, PrivateKey};
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA384, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PSS_SHA384,
};
use std::fmt;
use std::sync::OnceLock;

/// The size of the CAs' RSA keys. AMD's have 4096 bits; less is for tests that start often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RsaBits {
    /// Some tens of milliseconds a key.
    B2048,
    /// A few hundred milliseconds a key.
    B3072,
    /// About a second a key.
    #[default]
    B4096,
}

/// Whose RSA key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Ark(AmdProduct),
    Ca(AmdCa, AmdProduct),
    /// The root of the hierarchy nobody should trust; one for all products.
    ImpostorArk,
    ImpostorCa,
}

/// An RSA key with its PKCS #1 public half and the identifier that certificates name it by.
pub(crate) struct RsaKey {
    pair: RsaKeyPair,
    pub(crate) public: Vec<u8>,
    pub(crate) identifier: Vec<u8>,
}

/// The key, made now if nobody has asked before; that blocks.
pub(crate) fn rsa_key(bits: RsaBits, holder: Holder) -> Result<&'static RsaKey, SimError> {
    KEYS[bits as usize * HOLDERS + holder.index()]
        .get_or_init(|| RsaKey::generate(bits))
        .as_ref()
        .ok_or(SimError::Randomness)
}

impl RsaKey {
    fn generate(bits: RsaBits) -> Option<Self> {
        let size = match bits {
            RsaBits::B2048 => KeySize::Rsa2048,
            RsaBits::B3072 => KeySize::Rsa3072,
            RsaBits::B4096 => KeySize::Rsa4096,
        };
        let pair = RsaKeyPair::generate(size).ok()?;
        let public = pair.public_key().as_ref().to_vec();
        let identifier = digest(&SHA1_FOR_LEGACY_USE_ONLY, &public).as_ref().to_vec();
        Some(Self {
            pair,
            public,
            identifier,
        })
    }

    /// RSASSA-PSS, SHA-384, a salt of 48 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SimError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PSS_SHA384,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .map_err(|_| SimError::Signature)?;
        Ok(signature)
    }
}

impl Holder {
    fn index(self) -> usize {
        let cas = AmdProduct::ALL.len() * AmdCa::ALL.len();
        let arks = AmdProduct::ALL.len();
        match self {
            Holder::Ark(product) => product.index(),
            Holder::Ca(ca, product) => arks + ca.index() * arks + product.index(),
            Holder::ImpostorArk => arks + cas,
            Holder::ImpostorCa => arks + cas + 1,
        }
    }
}

/// A simulator's secret, from which the keys of its chips come.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret([u8; 32]);

impl Secret {
    pub(crate) fn random() -> Result<Self, SimError> {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| SimError::Randomness)?;
        Ok(Self(secret))
    }

    /// A chip's key at a TCB.
    pub(crate) fn vcek(&self, product: AmdProduct, hwid: &[u8], tcb: &SimTcb) -> LeafKey {
        self.derive(b"vcek", product, hwid, tcb)
    }

    /// A cloud provider's key at a TCB.
    pub(crate) fn vlek(&self, product: AmdProduct, csp_id: &str, tcb: &SimTcb) -> LeafKey {
        self.derive(b"vlek", product, csp_id.as_bytes(), tcb)
    }

    fn derive(&self, kind: &[u8], product: AmdProduct, name: &[u8], tcb: &SimTcb) -> LeafKey {
        let mut context = Context::new(&SHA384);
        context.update(&self.0);
        context.update(kind);
        context.update(product.name().as_bytes());
        context.update(&tcb.to_bytes(product));
        context.update(name);
        let scalar = context.finish();
        LeafKey::new(scalar.as_ref())
            .expect("a digest of 384 bits is a scalar of P-384 but for one in 2^190")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A P-384 key.
pub(crate) struct LeafKey {
    pair: EcdsaKeyPair,
    /// The uncompressed point.
    pub(crate) public: Vec<u8>,
}

impl LeafKey {
    fn new(scalar: &[u8]) -> Option<Self> {
        let private = PrivateKey::from_private_key(&ECDH_P384, scalar).ok()?;
        let public = private.compute_public_key().ok()?.as_ref().to_vec();
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, scalar, &public).ok()?;
        Some(Self { pair, public })
    }

    /// r and s, 48 bytes each, big-endian.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 96] {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message)
            .expect("a good key signs unless the system has no random bytes");
        signature
            .as_ref()
            .try_into()
            .expect("the fixed form has 96 bytes")
    }
}

const HOLDERS: usize = 11;
const SIZES: usize = 3;
/// `None` where the system had no random bytes.
static KEYS: [OnceLock<Option<RsaKey>>; SIZES * HOLDERS] =
    [const { OnceLock::new() }; SIZES * HOLDERS];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the report")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_holder_has_a_key_of_its_own() {
        let mut holders = vec![Holder::ImpostorArk, Holder::ImpostorCa];
        for product in AmdProduct::ALL {
            holders.push(Holder::Ark(product));
            holders.extend(AmdCa::ALL.map(|ca| Holder::Ca(ca, product)));
        }
        let indices: BTreeSet<_> = holders.iter().map(|holder| holder.index()).collect();
        assert_eq!(indices, (0..HOLDERS).collect());
    }

    #[test]
    fn leaf_keys_are_stable_and_differ_in_everything() {
        let secret = Secret::random().unwrap();
        let tcb = AmdProduct::Turin.fresh_tcb();
        let key = |hwid: &[u8], tcb: SimTcb| secret.vcek(AmdProduct::Turin, hwid, &tcb).public;
        assert_eq!(key(&[1; 8], tcb), key(&[1; 8], tcb));
        let others = [
            key(&[2; 8], tcb),
            key(&[1; 8], tcb.with_fmc(2)),
            secret.vlek(AmdProduct::Turin, "\u{1}", &tcb).public,
            Secret::random()
                .unwrap()
                .vcek(AmdProduct::Turin, &[1; 8], &tcb)
                .public,
        ];
        assert!(others.iter().all(|other| *other != key(&[1; 8], tcb)));
    }
}
