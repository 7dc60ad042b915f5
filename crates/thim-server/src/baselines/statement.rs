//! The baseline as a signed statement, for attestation services: a compact JWS (RFC 7515) with ES256 (RFC 7518 section 3.4) over the
//! rule in force, the number it selects and the collateral that this is, and the key that verifies it as a JWKS (RFC 7517).
//!
//! A statement has the baseline's version, which only rises: whoever holds one of version 7 refuses one of 6 ([`accept`]).
//! Claims are described in docs/statement.md. Signing is one call of the cryptographic library and three parts of base64url, so no
//! JOSE library stands in the service; one verifies in the tests.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thim_verify::{Digest, UnixTime};

use super::{Applied, Baselines, floor_of};
use crate::baseline::{BaselineTee, Scope};
use crate::duration::Span;
use crate::secret;
use crate::sentinel::State;
use crate::store::StoreError;
use crate::view::Subject;

/// `[baselines]` of the configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who makes the statements (`iss`). Default `"thim"`.
    pub issuer: String,
    /// How long a statement is good for; a key that was replaced verifies for as long. Default 24 h.
    pub statement_lifetime: Span,
    /// A file with the P-256 key that signs (PEM, PKCS#8). Default: `statement.key` in the data directory, made at first start.
    pub signing_key: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            issuer: "thim".to_owned(),
            statement_lifetime: Span::from_secs(24 * 3600),
            signing_key: None,
        }
    }
}

/// What a statement says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// Whom it is for: the tenant that was asked for, `default` where none was. So nobody can be given what holds for others.
    pub aud: String,
    /// When it was made, seconds since 1970 UTC.
    pub iat: i64,
    /// From when on it is good no longer, likewise.
    pub exp: i64,
    /// The baseline.
    pub baseline: Stated,
}

/// A baseline as a statement has it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Stated {
    /// Whose it is: `default` or a tenant's name; of a tenant without one of its own `default`.
    pub tenant: String,
    /// `sgx`, `tdx` or `sev-snp`.
    pub tee: String,
    /// Its version; 0 where nobody ever acted.
    pub version: u32,
    /// Since when it is in force (RFC 3339); absent for version 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The rule: canonical JSON.
    pub rule: Box<RawValue>,
    /// SHA-256 of the rule's text.
    pub rule_digest: Digest,
    /// The TCB evaluation data number that is served by it; absent for `sev-snp`, where there is none, and below the floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The operator's floor, where there is one: its rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Box<RawValue>>,
    /// The TCB infos and identities of that number that are current here.
    pub collateral: Vec<StatedCollateral>,
    /// The hash of the last act on any baseline, and its number.
    pub audit: Audit,
}

/// A signed object that a baseline selects.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StatedCollateral {
    /// Its key, as `intel/tcb-info/tdx/v3/90C06F000000/18`.
    pub key: String,
    /// SHA-256 of what was signed.
    pub sha256: Digest,
    /// Issue date (RFC 3339).
    pub issued: String,
    /// Next update, likewise.
    pub next_update: String,
}

/// Where the record of acts ends.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Audit {
    /// How many acts there are.
    pub acts: i64,
    /// The hash of the last; zeros where nobody ever acted.
    pub head: Digest,
}

/// A public key (RFC 7517, RFC 7518 section 6.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Jwk {
    /// `EC`.
    pub kty: String,
    /// `P-256`.
    pub crv: String,
    /// The point, base64url.
    pub x: String,
    /// Likewise.
    pub y: String,
    /// Thumbprint (RFC 7638).
    pub kid: String,
    /// `ES256`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
}

/// Keys (RFC 7517 section 5).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Jwks {
    /// The keys; the one that signs is the first.
    pub keys: Vec<Jwk>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read, made or written, or has no key of this kind.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words, or what is wrong.
        why: String,
    },
    /// The key is the operator's file, and theirs to replace.
    #[error(
        "the key is a file of the configuration ([baselines] signing_key); replace it there and restart"
    )]
    NotOurs,
}

/// Signs statements.
pub struct Signer {
    key: Mutex<Keys>,
    directory: PathBuf,
    config: Config,
}

struct Keys {
    pair: EcdsaKeyPair,
    retired: Vec<Retired>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Retired {
    key: Jwk,
    until: UnixTime,
}

impl Signer {
    /// Opens the key, or makes one.
    ///
    /// # Errors
    /// [`KeyError::File`].
    pub fn open(directory: &Path, config: Config) -> Result<Self, KeyError> {
        let path = config.signing_key.clone();
        let path = path.unwrap_or_else(|| directory.join(KEY_FILE));
        let failed = |why: &dyn std::fmt::Display| KeyError::File {
            path: path.clone(),
            why: why.to_string(),
        };
        let text = match secret::read(&path) {
            Ok(text) => text,
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound && config.signing_key.is_none() =>
            {
                let made = fresh().map_err(|why| failed(&why))?;
                secret::write(&path, made.as_bytes()).map_err(|error| failed(&error))?;
                made
            }
            Err(error) => return Err(failed(&error)),
        };
        let pair = pair(&text).map_err(|why| failed(&why))?;
        let retired_path = directory.join(RETIRED_FILE);
        let retired = match std::fs::read(&retired_path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| KeyError::File {
                path: retired_path,
                why: error.to_string(),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(KeyError::File {
                    path: retired_path,
                    why: error.to_string(),
                });
            }
        };
        Ok(Self {
            key: Mutex::new(Keys { pair, retired }),
            directory: directory.to_owned(),
            config,
        })
    }

    /// The keys that verify at an instant: the one that signs, and those it replaced, until the last they signed has ended.
    pub fn jwks(&self, now: UnixTime) -> Jwks {
        let keys = self.keys();
        let own = jwk(&keys.pair);
        let old = keys.retired.iter().filter(|one| now < one.until);
        let old = old.map(|one| one.key.clone()).filter(|key| *key != own);
        let mut all: Vec<Jwk> = old.collect();
        all.insert(0, own);
        Jwks { keys: all }
    }

    /// Makes a new key. The old one verifies until what it signed has ended.
    ///
    /// # Errors
    /// [`KeyError`]; the old key goes on.
    pub fn rotate(&self, now: UnixTime) -> Result<Jwks, KeyError> {
        if self.config.signing_key.is_some() {
            return Err(KeyError::NotOurs);
        }
        let path = self.directory.join(KEY_FILE);
        let failed = |why: &dyn std::fmt::Display| KeyError::File {
            path: path.clone(),
            why: why.to_string(),
        };
        let text = fresh().map_err(|why| failed(&why))?;
        let new = pair(&text).map_err(|why| failed(&why))?;
        {
            let mut keys = self.keys();
            let mut retired = keys.retired.clone();
            retired.retain(|one| now < one.until);
            retired.push(Retired {
                key: jwk(&keys.pair),
                until: now.plus_secs(self.config.statement_lifetime.secs()),
            });
            // First the old public key, then the new one: whatever is cut short, what was signed verifies.
            let list = serde_json::to_vec(&retired).map_err(|error| failed(&error))?;
            secret::write(&self.directory.join(RETIRED_FILE), &list)
                .map_err(|error| failed(&error))?;
            secret::write(&path, text.as_bytes()).map_err(|error| failed(&error))?;
            *keys = Keys { pair: new, retired };
        }
        Ok(self.jwks(now))
    }

    /// Who signs, and for how long what is signed is good, in seconds.
    pub fn issuer_and_lifetime(&self) -> (&str, i64) {
        (&self.config.issuer, self.config.statement_lifetime.secs())
    }

    /// Signs claims.
    fn sign(&self, claims: &Claims) -> String {
        let keys = self.keys();
        let header = serde_json::json!({
            "alg": "ES256", "kid": jwk(&keys.pair).kid, "typ": TYPE
        });
        let payload = serde_json::to_vec(claims).expect("claims are always JSON");
        let mut text = BASE64URL_NOPAD.encode(header.to_string().as_bytes());
        text.push('.');
        text.push_str(&BASE64URL_NOPAD.encode(&payload));
        let signature = keys
            .pair
            .sign(&SystemRandom::new(), text.as_bytes())
            .expect("signing with a sound key does not fail");
        text.push('.');
        text.push_str(&BASE64URL_NOPAD.encode(signature.as_ref()));
        text
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Baselines {
    /// The statement of a baseline as it is now, and a digest of all it says but its own dates, which is another one after half
    /// of a statement's life: who asks again for the same gets a later one before theirs has ended.
    pub async fn state(
        &self,
        signer: &Signer,
        scope: &Scope,
        tee: BaselineTee,
        now: UnixTime,
    ) -> Result<(String, Digest), StoreError> {
        let books = self.books();
        let applied = super::applied(&books, scope, tee, now);
        let floor = floor_of(&books, tee, now);
        let stated = self.stated(&applied, floor.as_ref(), tee, now).await?;
        let mut said = serde_json::to_vec(&stated).expect("a statement is always JSON");
        let half_life = (signer.config.statement_lifetime.secs() / 2).max(1);
        said.extend_from_slice(&now.secs().div_euclid(half_life).to_be_bytes());
        let digest = Digest::of(&said);
        let claims = Claims {
            iss: signer.config.issuer.clone(),
            aud: scope.to_string(),
            iat: now.secs(),
            exp: now
                .plus_secs(signer.config.statement_lifetime.secs())
                .secs(),
            baseline: stated,
        };
        Ok((signer.sign(&claims), digest))
    }

    async fn stated(
        &self,
        applied: &Applied,
        floor: Option<&Applied>,
        tee: BaselineTee,
        now: UnixTime,
    ) -> Result<Stated, StoreError> {
        let books = self.books();
        let raw = |text: String| RawValue::from_string(text).expect("a rule's text is JSON");
        let view = std::sync::Arc::clone(&self.collateral().view());
        let selected = self.selection(applied, tee, &view, now);
        let number = selected.and_then(Result::ok).map(|one| one.number);
        // Of what is below the floor nothing is served.
        let floored = self.floor_number(tee, now);
        let number = number.filter(|number| floored.is_none_or(|floor| *number >= floor));
        let mut collateral = Vec::new();
        if let (Some(number), Some(wanted)) = (number, tee.intel()) {
            let rows = self.store().keys().await?;
            let current = rows.iter().filter(|row| row.state == State::Current);
            collateral = current
                .filter(|row| {
                    let subject = Subject::of(&row.key);
                    subject.is_some_and(|(subject, of)| {
                        of == number && super::serving::tee_of(subject) == wanted
                    })
                })
                .map(|row| StatedCollateral {
                    key: row.key.to_string(),
                    sha256: row.id,
                    issued: row.issued.to_string(),
                    next_update: row.next_update.to_string(),
                })
                .collect();
            collateral.sort_by(|one, two| one.key.cmp(&two.key));
        }
        Ok(Stated {
            tenant: applied.scope.to_string(),
            tee: tee.to_string(),
            version: applied.version,
            since: applied.since.map(|since| since.to_string()),
            rule: raw(applied.rule.to_json()),
            rule_digest: applied.rule.digest(),
            number,
            floor: floor.map(|floor| raw(floor.rule.to_json())),
            collateral,
            audit: Audit {
                acts: books.last().map_or(0, |(seq, _)| seq),
                head: books.head(),
            },
        })
    }
}

/// Why a statement is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAccepted {
    /// It is about something else.
    #[error("it is about {found}, not {wanted}")]
    AboutSomethingElse {
        /// What was wanted.
        wanted: String,
        /// What it is about.
        found: String,
    },
    /// It is good no longer.
    #[error("it ended at {ended}")]
    Expired {
        /// When.
        ended: UnixTime,
    },
    /// It is no statement of this kind.
    #[error("it is no statement: {0}")]
    Form(&'static str),
    /// A later one was seen.
    #[error("it is of version {found}, and one of version {seen} was seen")]
    Older {
        /// Its version.
        found: u32,
        /// The one that was seen.
        seen: u32,
    },
    /// A later one was seen, by the acts that there were.
    #[error("it is of a record of {found} acts, and one of {seen} was seen")]
    OlderRecord {
        /// So many acts there were.
        found: i64,
        /// And so many in the one that was seen.
        seen: i64,
    },
    /// The signature does not verify.
    #[error("its signature does not verify")]
    Signature,
    /// None of the keys signed it.
    #[error("no key has the id {0}")]
    UnknownKey(String),
}

/// What a verifier remembers.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// The last statement. It also tells across a tenant's first baseline of its own, when versions are counted anew.
    Statement(&'a Stated),
    /// The highest version, of the same baseline.
    Version(u32),
}

/// Takes a statement, if a key of `jwks` signed it, it is for this tenant and TEE, it has not ended, and no later one was seen.
///
/// # Errors
/// [`NotAccepted`] says why it is not taken.
pub fn accept(
    statement: &str,
    jwks: &Jwks,
    tenant: &str,
    tee: BaselineTee,
    seen: Option<Seen<'_>>,
    now: UnixTime,
) -> Result<Claims, NotAccepted> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
        kid: String,
        typ: String,
    }
    if statement.len() > STATEMENT_BYTES {
        return Err(NotAccepted::Form("it is too long"));
    }
    let (signed, signature) = statement
        .trim()
        .rsplit_once('.')
        .ok_or(NotAccepted::Form("it has no three parts"))?;
    let (header, payload) = signed
        .split_once('.')
        .ok_or(NotAccepted::Form("it has no three parts"))?;
    let decoded = |text: &str| {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes());
        bytes.map_err(|_| NotAccepted::Form("a part is no base64url"))
    };
    let header: Header = serde_json::from_slice(&decoded(header)?)
        .map_err(|_| NotAccepted::Form("its header has no alg, kid and typ"))?;
    if header.alg != "ES256" || header.typ != TYPE {
        return Err(NotAccepted::Form("its header says it is something else"));
    }
    let mut keys = jwks.keys.iter();
    let key = keys.find(|key| key.kid == header.kid && key.crv == "P-256");
    let key = key.ok_or_else(|| NotAccepted::UnknownKey(header.kid.chars().take(64).collect()))?;
    let mut point = vec![4];
    point.extend(decoded(&key.x)?);
    point.extend(decoded(&key.y)?);
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    public
        .verify(signed.as_bytes(), &decoded(signature)?)
        .map_err(|_| NotAccepted::Signature)?;
    let claims: Claims = serde_json::from_slice(&decoded(payload)?)
        .map_err(|_| NotAccepted::Form("its claims are not those of a baseline"))?;
    let found = (claims.aud.as_str(), claims.baseline.tee.as_str());
    if found != (tenant, tee.name()) {
        return Err(NotAccepted::AboutSomethingElse {
            wanted: format!("{tenant} {tee}"),
            found: format!("{} {}", found.0, found.1),
        });
    }
    if now.secs() >= claims.exp {
        return Err(NotAccepted::Expired {
            ended: UnixTime::from_secs(claims.exp),
        });
    }
    let (version, acts) = (claims.baseline.version, claims.baseline.audit.acts);
    let (seen_version, seen_acts) = match seen {
        None => (None, None),
        Some(Seen::Version(seen)) => (Some(seen), None),
        Some(Seen::Statement(seen)) => {
            let is_same = seen.tenant == claims.baseline.tenant;
            (is_same.then_some(seen.version), Some(seen.audit.acts))
        }
    };
    if let Some(seen) = seen_version.filter(|seen| version < *seen) {
        return Err(NotAccepted::Older {
            found: version,
            seen,
        });
    }
    // Every act adds to the record, whose ever it is.
    if let Some(seen) = seen_acts.filter(|seen| acts < *seen) {
        return Err(NotAccepted::OlderRecord { found: acts, seen });
    }
    Ok(claims)
}

fn fresh() -> Result<String, String> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
    key.map(|key| key.serialize_pem())
        .map_err(|error| error.to_string())
}

fn pair(text: &str) -> Result<EcdsaKeyPair, String> {
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject;
    let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| "it has no PKCS#8 key in PEM".to_owned())?;
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
        .map_err(|_| "its key is none of P-256".to_owned())
}

fn jwk(pair: &EcdsaKeyPair) -> Jwk {
    let point = pair.public_key().as_ref();
    // Uncompressed: 4, then 32 bytes each.
    let part = |from: usize| BASE64URL_NOPAD.encode(point.get(from..from + 32).unwrap_or_default());
    let (x, y) = (part(1), part(33));
    let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Jwk {
        kty: "EC".to_owned(),
        crv: "P-256".to_owned(),
        kid: BASE64URL_NOPAD.encode(&Digest::of(thumbprint.as_bytes()).0),
        alg: "ES256".to_owned(),
        usage: "sig".to_owned(),
        x,
        y,
    }
}

/// `typ` of the header: so that nothing else that is signed with the key passes for a statement.
const TYPE: &str = "thim-baseline+jwt";
const KEY_FILE: &str = "statement.key";
const RETIRED_FILE: &str = "statement-retired.json";
/// A rule of 64 KiB and a few hundred documents.
const STATEMENT_BYTES: usize = 1024 * 1024;
