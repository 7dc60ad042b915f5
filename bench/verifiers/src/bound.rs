//! The signature checks alone, and the little of the formats that is needed to find them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ParsedPublicKey, VerificationAlgorithm};

/// One signature check.
pub struct Check {
    key: Key,
    message: Vec<u8>,
    signature: Vec<u8>,
}

enum Key {
    /// Known before the case: ready-made.
    Known(ParsedPublicKey),
    /// Comes with what is verified: decoded each time.
    Fresh(&'static dyn VerificationAlgorithm, Vec<u8>),
}

impl Check {
    /// By a key that is known before.
    pub fn known(
        algorithm: &'static dyn VerificationAlgorithm,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Self {
        let key = ParsedPublicKey::new(algorithm, key).expect("a key");
        Self {
            key: Key::Known(key),
            message: message.to_vec(),
            signature: signature.to_vec(),
        }
    }

    /// By a key that has to be decoded.
    pub fn fresh(
        algorithm: &'static dyn VerificationAlgorithm,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Self {
        let key = Key::Fresh(algorithm, key.to_vec());
        Self {
            key,
            message: message.to_vec(),
            signature: signature.to_vec(),
        }
    }

    fn passes(&self) -> bool {
        let (message, signature) = (black_box(&self.message), black_box(&self.signature));
        match &self.key {
            Key::Known(key) => key.verify_sig(message, signature).is_ok(),
            Key::Fresh(algorithm, point) => ParsedPublicKey::new(*algorithm, black_box(point))
                .is_ok_and(|key| key.verify_sig(message, signature).is_ok()),
        }
    }
}

/// The time that all checks take.
pub fn measured(checks: &[Check]) -> Duration {
    let start = Instant::now();
    for check in checks {
        assert!(check.passes());
    }
    start.elapsed()
}

/// `7 P-256, 2 by fresh keys`.
pub fn described(checks: &[Check], curve: &str) -> String {
    let fresh = checks
        .iter()
        .filter(|check| matches!(check.key, Key::Fresh(..)))
        .count();
    match fresh {
        0 => format!("{} {curve}", checks.len()),
        1 => format!("{} {curve}, 1 by a fresh key", checks.len()),
        fresh => format!("{} {curve}, {fresh} by fresh keys", checks.len()),
    }
}

/// A signed object of X.509: what is signed, and the signature's octets.
pub fn signed(der: &[u8]) -> (&[u8], &[u8]) {
    let (_, inside, _) = element(der);
    let (tbs, _, rest) = element(inside);
    let (_, _, rest) = element(rest);
    let (_, bits, _) = element(rest);
    (tbs, &bits[1..])
}

/// The subject's public key in a certificate, as its BIT STRING has it.
pub fn public_key(certificate: &[u8]) -> &[u8] {
    let (_, tbs, _) = element(signed(certificate).0);
    // Version, serial, algorithm, issuer, validity, subject.
    let rest = (0..6).fold(tbs, |rest, _| element(rest).2);
    let (_, spki, _) = element(rest);
    let (_, bits, _) = element(element(spki).2);
    &bits[1..]
}

/// The first element of DER: all of it, its value, and what follows.
fn element(der: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (start, length) = match der[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(der[2])),
        _ => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
    };
    let (element, rest) = der.split_at(start + length);
    (element, &element[start..], rest)
}
