//! What is secret at rest: platform manifests and encrypted PPIDs, sealed under a key that is not in the store.
//!
//! What it promises. A stolen database gives no manifest; losing `sealing.key` loses manifests and encrypted PPIDs and
//! nothing else (the key of the hashes that tell platforms apart lives in the store, [`IdentityKey`]). What was
//! altered, cut short, or sealed for another purpose does not unseal. A rotation ([`rotate`]) may be cut short at any
//! point and everything stays readable.
//!
//! The algorithm is AES-256-GCM-SIV (RFC 8452). It stands repeated nonces: they tell that two plaintexts are equal and
//! nothing more, which the keyed hashes beside them tell anyway. So the nonce is made from the plaintext under a
//! subkey, and sealing needs no randomness.
//!
//! A sealed secret is 1 byte version, 4 bytes key id, 12 bytes nonce, ciphertext, 16 bytes tag. Version and purpose
//! are authenticated with it.

mod rotation;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};

use crate::secret;
use crate::store::StoreError;

pub use rotation::{Rotated, Step, rotate, rotate_keys};

/// Where randomness comes from: fills the bytes. Only `main` has the system's.
pub type Entropy = fn(&mut [u8]) -> std::io::Result<()>;

/// What a secret is. One that was sealed or hashed as one thing is not taken for another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A chip of AMD's, with its product and, of a certificate, its TCB. Hashed only.
    ChipId,
    /// An encrypted PPID.
    EncryptedPpid,
    /// A platform manifest.
    Manifest,
    /// A PPID.
    Ppid,
}

impl Purpose {
    const fn byte(self) -> u8 {
        match self {
            Self::ChipId => 4,
            Self::EncryptedPpid => 1,
            Self::Manifest => 2,
            Self::Ppid => 3,
        }
    }
}

/// Why something could not be sealed, unsealed or rotated. Tells no secret.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The sealed bytes are not as they were made, or were made for another purpose.
    #[error("a sealed secret was altered")]
    Altered,
    /// Something kept sealing under an old key, against [`Sealer::writing`].
    #[error("secrets were sealed anew without end; the old keys stay")]
    Busy,
    /// The key file cannot be read, made or written.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words, or which line is wrong.
        why: String,
    },
    /// Another rotation is under way.
    #[error("the keys are being rotated already")]
    InProgress,
    /// The source of randomness failed, or gave the same bytes again.
    #[error("no randomness: {0}")]
    NoRandomness(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Shorter than any sealed secret.
    #[error("a sealed secret is cut short")]
    TooShort,
    /// Sealed under a key that is not in the key file.
    #[error("a secret is sealed under key {0}, which is not in {KEY_FILE}")]
    UnknownKey(String),
    /// Of a version that this program does not know.
    #[error("a secret is sealed in version {0}, which this program does not know")]
    Version(u8),
}

/// Seals and unseals, under the keys of `sealing.key`.
pub struct Sealer {
    keys: ArcSwap<Keys>,
    path: PathBuf,
    entropy: Entropy,
    // Held shared from reading or sealing a secret until it is committed; alone by each step of a rotation.
    changing: RwLock<()>,
    rotating: Mutex<()>,
}

/// Which keys there are.
#[derive(Clone, Default)]
struct Keys {
    // As in the file: newest first. The first one seals, all unseal.
    filed: Vec<Arc<Key>>,
    // No longer in the file. What was read before the end of a rotation can still be unsealed after it.
    retired: Vec<Arc<Key>>,
}

/// One key of the file and what is derived from it.
struct Key {
    secret: [u8; 32],
    id: [u8; ID_BYTES],
    seal: LessSafeKey,
    nonce: hmac::Key,
}

impl Sealer {
    /// Reads `sealing.key` of `directory`, or makes it; true where it was made now. Then whatever was sealed before is
    /// lost, and the caller says so loudly if there was any.
    pub fn open(directory: &Path, entropy: Entropy) -> Result<(Self, bool), SealingError> {
        let path = directory.join(KEY_FILE);
        let (filed, fresh) = match secret::read(&path) {
            Ok(text) => (parse(&text).map_err(|why| file(&path, why))?, false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                (vec![Arc::new(Key::draw(entropy)?)], true)
            }
            Err(error) => return Err(file(&path, error)),
        };
        if fresh {
            write(&path, &filed)?;
        }
        let keys = Keys {
            filed,
            retired: Vec::new(),
        };
        let sealer = Self {
            keys: ArcSwap::from_pointee(keys),
            path,
            entropy,
            changing: RwLock::default(),
            rotating: Mutex::default(),
        };
        Ok((sealer, fresh))
    }

    /// To be held from reading or sealing a secret until what was made of it is committed: a rotation drops a key only
    /// when nothing that it sealed can be written any more.
    pub async fn writing(&self) -> RwLockReadGuard<'_, ()> {
        self.changing.read().await
    }

    /// Seals under the newest key. Equal secrets of one purpose are sealed alike.
    pub fn seal(&self, purpose: Purpose, plain: &[u8]) -> Vec<u8> {
        let keys = self.keys.load();
        let key = keys.filed.first().expect("a key file has a key");
        let mut context = hmac::Context::with_key(&key.nonce);
        context.update(&[purpose.byte()]);
        context.update(plain);
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&context.sign().as_ref()[..NONCE_BYTES]);
        let mut secret = plain.to_vec();
        key.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from([VERSION, purpose.byte()]),
                &mut secret,
            )
            .expect("a secret is far shorter than the 64 GiB that may be sealed at once");
        let mut sealed = Vec::with_capacity(HEAD_BYTES + secret.len());
        sealed.push(VERSION);
        sealed.extend(key.id);
        sealed.extend(nonce);
        sealed.extend(secret);
        sealed
    }

    /// The secret again.
    pub fn unseal(&self, purpose: Purpose, sealed: &[u8]) -> Result<Vec<u8>, SealingError> {
        if sealed.len() < HEAD_BYTES + AES_256_GCM_SIV.tag_len() {
            return Err(SealingError::TooShort);
        }
        let (head, secret) = sealed.split_at(HEAD_BYTES);
        let (prefix, nonce) = head.split_at(PREFIX_BYTES);
        if prefix[0] != VERSION {
            return Err(SealingError::Version(prefix[0]));
        }
        let keys = self.keys.load();
        let key = keys
            .filed
            .iter()
            .chain(&keys.retired)
            .find(|key| key.id == prefix[1..])
            .ok_or_else(|| SealingError::UnknownKey(HEXLOWER.encode(&prefix[1..])))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealingError::TooShort)?;
        let mut secret = secret.to_vec();
        let length = key
            .seal
            .open_in_place(nonce, Aad::from([VERSION, purpose.byte()]), &mut secret)
            .map_err(|_| SealingError::Altered)?
            .len();
        secret.truncate(length);
        Ok(secret)
    }

    /// True where it is sealed under the newest key.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.starts_with(&self.current_prefix())
    }

    /// How everything begins that is sealed under the newest key.
    fn current_prefix(&self) -> [u8; PREFIX_BYTES] {
        let keys = self.keys.load();
        let key = keys.filed.first().expect("a key file has a key");
        let mut prefix = [VERSION; PREFIX_BYTES];
        prefix[1..].copy_from_slice(&key.id);
        prefix
    }

    /// Puts a new key before the others: in the file first, then in use.
    fn add_key(&self) -> Result<(), SealingError> {
        let mut keys = Keys::clone(&self.keys.load());
        let key = Key::draw(self.entropy)?;
        if keys
            .filed
            .iter()
            .chain(&keys.retired)
            .any(|known| known.id == key.id)
        {
            return Err(SealingError::NoRandomness(
                "it gave the bytes of an earlier key again".to_owned(),
            ));
        }
        keys.filed.insert(0, Arc::new(key));
        write(&self.path, &keys.filed)?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Leaves the newest key alone in the file.
    fn drop_old_keys(&self) -> Result<(), SealingError> {
        let mut keys = Keys::clone(&self.keys.load());
        let old = keys.filed.split_off(1);
        write(&self.path, &keys.filed)?;
        keys.retired.splice(0..0, old);
        keys.retired.truncate(KEYS);
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    fn filed(&self) -> usize {
        self.keys.load().filed.len()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({} keys)", self.filed())
    }
}

impl Key {
    fn new(secret: [u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let derive = |label: &[u8]| hmac::sign(&root, label);
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&derive(b"thim sealing: id").as_ref()[..ID_BYTES]);
        let seal = UnboundKey::new(
            &AES_256_GCM_SIV,
            derive(b"thim sealing: AES-256-GCM-SIV").as_ref(),
        )
        .expect("HMAC-SHA256 gives the 32 bytes of an AES-256 key");
        let nonce = derive(b"thim sealing: nonce");
        Self {
            secret,
            id,
            seal: LessSafeKey::new(seal),
            nonce: hmac::Key::new(hmac::HMAC_SHA256, nonce.as_ref()),
        }
    }

    fn draw(entropy: Entropy) -> Result<Self, SealingError> {
        let mut secret = [0; 32];
        entropy(&mut secret).map_err(|error| SealingError::NoRandomness(error.to_string()))?;
        Ok(Self::new(secret))
    }
}

/// Tells whether two secrets are equal without keeping them. Its key is in the store: whoever has the store can test a
/// guess, and a PPID (128 random bits) or a manifest cannot be guessed.
pub struct IdentityKey(hmac::Key);

impl IdentityKey {
    /// From the 32 bytes in the store.
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))
    }

    /// HMAC-SHA256 of the secret as what it is, 64 lower hex digits.
    pub fn keyed(&self, purpose: Purpose, secret: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[purpose.byte()]);
        context.update(secret);
        HEXLOWER.encode(context.sign().as_ref())
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey")
    }
}

/// One key a line, `id hex`, newest first. The id follows from the key, so a damaged line is found. Errors name the
/// line and never what stands there.
fn parse(text: &str) -> Result<Vec<Arc<Key>>, String> {
    let mut keys: Vec<Arc<Key>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |why: &str| format!("line {}: {why}", index + 1);
        let (id, hex) = line
            .split_once(' ')
            .ok_or_else(|| wrong("wanted a key's id and the key"))?;
        let secret: [u8; 32] = HEXLOWER
            .decode(hex.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| wrong("a key is 64 lower-case hex digits"))?;
        let key = Key::new(secret);
        if HEXLOWER.encode(&key.id) != id {
            return Err(wrong("the key is damaged: its id is another"));
        }
        if keys.iter().any(|known| known.id == key.id) {
            return Err(wrong("a key twice"));
        }
        keys.push(Arc::new(key));
        if keys.len() > KEYS {
            return Err(wrong("too many keys; rotate them"));
        }
    }
    if keys.is_empty() {
        return Err("no key in it".to_owned());
    }
    Ok(keys)
}

fn write(path: &Path, keys: &[Arc<Key>]) -> Result<(), SealingError> {
    let mut text = String::new();
    for key in keys {
        text.push_str(&HEXLOWER.encode(&key.id));
        text.push(' ');
        text.push_str(&HEXLOWER.encode(&key.secret));
        text.push('\n');
    }
    secret::write(path, text.as_bytes()).map_err(|error| file(path, error))
}

fn file(path: &Path, why: impl ToString) -> SealingError {
    SealingError::File {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

/// The key file's name in the data directory.
pub const KEY_FILE: &str = "sealing.key";
const VERSION: u8 = 1;
const ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;
/// Version and key id.
const PREFIX_BYTES: usize = 1 + ID_BYTES;
const HEAD_BYTES: usize = PREFIX_BYTES + NONCE_BYTES;
/// A finished rotation leaves one key; each one cut short leaves one more.
const KEYS: usize = 8;

#[cfg(test)]
mod tests;
