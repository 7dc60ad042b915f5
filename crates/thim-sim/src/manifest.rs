//! The opaque things a platform hands out: its encrypted PPID, its manifest, its add-request.
//!
//! To clients they are bytes of the right size (spec/intel-pcs-and-pccs.md section 4) and nothing in them can be
//! computed or read. To the simulator each is a short head and a body that follows from the head, so that a hundred
//! thousand platforms need not be kept as gigabytes, and a single changed byte is noticed. The formats are made up: the
//! vendor's are not published.

/// What a genuine manifest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Which platform instance made it.
    pub(crate) instance: [u8; 16],
    /// How many manifests that instance had made before.
    pub(crate) generation: u32,
}

impl Manifest {
    /// The manifest's bytes, 10,240 to 20,440 of them as the platform has it.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let bytes = MANIFEST_BYTES + usize::from(self.instance[0]) * 40;
        let mut out = MANIFEST_MAGIC.to_vec();
        out.extend(self.generation.to_be_bytes());
        out.extend(self.instance);
        follow(&mut out, self.instance, u64::from(self.generation), bytes);
        out
    }

    /// Reads a manifest; `None` unless every byte is as the platform would have written it.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MANIFEST_MAGIC)?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (instance, _) = rest.split_first_chunk()?;
        let manifest = Self {
            instance: *instance,
            generation: u32::from_be_bytes(*generation),
        };
        (manifest.to_bytes() == bytes).then_some(manifest)
    }
}

/// One encryption of a platform's PPID, told by its first sixteen bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Encryption(pub(crate) [u8; 16]);

impl Encryption {
    /// An RSA-3072 ciphertext in size and look.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut out = self.0.to_vec();
        follow(&mut out, self.0, 0, ENCRYPTED_PPID_BYTES);
        out
    }

    /// `None` for what no platform's encryption could be.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk()?;
        let encryption = Self(*head);
        (encryption.to_bytes() == bytes).then_some(encryption)
    }
}

/// The request of a platform instance to take a new package in.
pub(crate) fn add_request(instance: [u8; 16]) -> Vec<u8> {
    let mut out = ADD_REQUEST_MAGIC.to_vec();
    out.extend(instance);
    follow(&mut out, instance, u64::MAX, ADD_REQUEST_BYTES);
    out
}

/// Which instance an add-request is of; `None` if it is none.
pub(crate) fn read_add_request(bytes: &[u8]) -> Option<[u8; 16]> {
    let rest = bytes.strip_prefix(&ADD_REQUEST_MAGIC)?;
    let (instance, _) = rest.split_first_chunk()?;
    (add_request(*instance) == bytes).then_some(*instance)
}

/// A membership certificate in size, told by the instance and its place.
pub(crate) fn membership_certificate(instance: [u8; 16], place: u64) -> Vec<u8> {
    let mut out = Vec::new();
    // Apart from the numbers of manifests.
    let number = (1 << 63) | place;
    follow(&mut out, instance, number, MEMBERSHIP_CERTIFICATE_BYTES);
    out
}

/// Fills `out` up to `bytes` with what looks random and follows from `seed` and `number`: splitmix64. No secret hides
/// behind it; that nobody can guess another platform's seed is enough here.
fn follow(out: &mut Vec<u8>, seed: [u8; 16], number: u64, bytes: usize) {
    let seed = u128::from_be_bytes(seed);
    let (high, low) = ((seed >> 64) as u64, seed as u64);
    let mut state = high ^ low.rotate_left(32) ^ number.wrapping_mul(0xd134_2543_de82_ef95);
    while out.len() < bytes {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state ^ low;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let word = word.to_be_bytes();
        out.extend_from_slice(&word[..word.len().min(bytes - out.len())]);
    }
}

/// RSA-3072: 768 hex digits.
pub(crate) const ENCRYPTED_PPID_BYTES: usize = 384;
/// What PCS takes is 16,862 to 112,884 hex digits (spec/intel-pcs-and-pccs.md section 4); real manifests of two packages
/// lie near the lower end.
pub(crate) const MANIFEST_HEX_DIGITS: std::ops::RangeInclusive<usize> = 16_862..=112_884;
const MANIFEST_BYTES: usize = 10_240;
const MANIFEST_MAGIC: [u8; 16] = *b"SIMULATED-MANIF\x01";
const ADD_REQUEST_MAGIC: [u8; 16] = *b"SIMULATED-ADDRQ\x01";
const ADD_REQUEST_BYTES: usize = 2_048;
/// The specification says "fixed" and no number; this is the simulator's own.
pub(crate) const MEMBERSHIP_CERTIFICATE_BYTES: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: [u8; 16] = [0xa7; 16];

    #[test]
    fn what_was_written_is_read_and_no_byte_may_differ() {
        let manifest = Manifest {
            instance: INSTANCE,
            generation: 3,
        };
        let bytes = manifest.to_bytes();
        assert!(MANIFEST_HEX_DIGITS.contains(&(bytes.len() * 2)));
        assert_eq!(Manifest::read(&bytes), Some(manifest));
        assert_eq!(Manifest::read(&bytes[..bytes.len() - 1]), None);
        let encryption = Encryption(INSTANCE);
        let encrypted = encryption.to_bytes();
        assert_eq!(encrypted.len(), ENCRYPTED_PPID_BYTES);
        assert_eq!(Encryption::read(&encrypted), Some(encryption));
        let request = add_request(INSTANCE);
        assert_eq!(read_add_request(&request), Some(INSTANCE));
        for index in [0, 17, 20, 40, request.len() - 1] {
            let flipped = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let index = index.min(bytes.len() - 1);
                bytes[index] ^= 1;
                bytes
            };
            assert_eq!(Manifest::read(&flipped(&bytes)), None, "{index}");
            assert_eq!(Encryption::read(&flipped(&encrypted)), None, "{index}");
            assert_eq!(read_add_request(&flipped(&request)), None, "{index}");
        }
    }

    #[test]
    fn sizes_stay_within_what_the_vendor_takes_and_bodies_differ() {
        for first in [0, 255] {
            let mut instance = INSTANCE;
            instance[0] = first;
            let body = |generation| {
                let manifest = Manifest {
                    instance,
                    generation,
                };
                manifest.to_bytes()
            };
            assert!((10_240..=20_480).contains(&body(0).len()));
            assert_ne!(body(0)[36..], body(1)[36..]);
        }
    }
}
