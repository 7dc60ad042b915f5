//! The keys in which every chain must end.
//!
//! Intel's root is pinned by public key, not by certificate: three certificates carry that key (2018 to 2033 in two
//! encodings, 2018 to 2049), and quotes and chains in the field embed any of them. Operators may replace the pin
//! by files (`[trust] intel_roots`): pre-production processors are signed by another root.

use std::sync::{Arc, LazyLock};

use crate::{Certificate, Digest, Error};

/// The trusted root keys, and a certificate for each; cheap to clone.
#[derive(Clone, Debug)]
pub struct TrustAnchors(Arc<Anchors>);

#[derive(Debug)]
struct Anchors {
    builtin: bool,
    /// Latest `notAfter` first.
    roots: Vec<Certificate>,
}

impl TrustAnchors {
    /// Intel's root, built in: SHA-256 of its SubjectPublicKeyInfo is
    /// `a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e`.
    pub fn intel() -> Self {
        static INTEL: LazyLock<TrustAnchors> = LazyLock::new(|| {
            TrustAnchors(Arc::new(Anchors {
                builtin: true,
                roots: vec![embedded(include_bytes!(
                    "../roots/intel/root-ca-44a0196b.pem"
                ))],
            }))
        });
        INTEL.clone()
    }

    /// Replacement roots: every `CERTIFICATE` block of the text, each a self-signed P-256 authority.
    ///
    /// # Errors
    /// Those of [`Certificate::from_pem_bundle`] and [`Certificate::signed_by`]; [`Error::Format`] when there is
    /// no certificate at all.
    pub fn from_pem(text: &[u8]) -> Result<Self, Error> {
        let mut roots = Certificate::from_pem_bundle(text)?;
        for root in &roots {
            root.signed_by(root)?;
        }
        if roots.is_empty() {
            return Err(Error::format("trust anchors", "no certificate in the text"));
        }
        roots.sort_by_key(|root| (std::cmp::Reverse(root.not_after()), root.digest()));
        roots.dedup();
        Ok(Self(Arc::new(Anchors {
            builtin: false,
            roots,
        })))
    }

    /// Whether these are Intel's, not an operator's.
    pub fn is_builtin(&self) -> bool {
        self.0.builtin
    }

    /// Whether `spki` is the SHA-256 of a trusted SubjectPublicKeyInfo.
    pub fn contains_key(&self, spki: &Digest) -> bool {
        self.root_with_key(spki).is_some()
    }

    /// The root certificate that is served with chains: for Intel's the one with SHA-256 44a0196b..., for
    /// replacements the one with the latest `notAfter`.
    pub fn served_root(&self) -> &Certificate {
        self.0
            .roots
            .first()
            .expect("both constructors refuse to make anchors without a root")
    }

    /// The certificates given, latest `notAfter` first.
    pub fn roots(&self) -> &[Certificate] {
        &self.0.roots
    }

    /// The certificate to serve for the root key `spki`.
    pub fn root_with_key(&self, spki: &Digest) -> Option<&Certificate> {
        self.0.roots.iter().find(|root| root.spki_digest() == *spki)
    }

    /// SHA-256 over the sorted SPKI digests: tells whether two services trust the same keys.
    pub fn fingerprint(&self) -> Digest {
        let mut keys: Vec<[u8; 32]> = self
            .0
            .roots
            .iter()
            .map(|root| root.spki_digest().0)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        Digest::of(keys.as_flattened())
    }

    /// Whether `certificate` is a root of a trusted key, in whatever encoding.
    ///
    /// # Errors
    /// [`Error::UntrustedRoot`] for another key, and those of [`Certificate::signed_by`].
    pub fn accept_root(&self, certificate: &Certificate) -> Result<(), Error> {
        let found_spki = certificate.spki_digest();
        if !self.contains_key(&found_spki) {
            return Err(Error::UntrustedRoot { found_spki });
        }
        if self.0.roots.contains(certificate) {
            return Ok(());
        }
        certificate.signed_by(certificate)
    }

    /// The root that signed `certificate` directly.
    ///
    /// # Errors
    /// Those of [`Certificate::signed_by`] for the only root of that name; [`Error::WrongIssuer`] when no root
    /// has the name.
    pub fn root_of(&self, certificate: &Certificate) -> Result<&Certificate, Error> {
        let mut failure = None;
        for root in &self.0.roots {
            match certificate.signed_by(root) {
                Ok(()) => return Ok(root),
                // A bad signature says more than a name that differs.
                Err(error)
                    if failure.is_none() || matches!(error, Error::SignatureInvalid { .. }) =>
                {
                    failure = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or_else(|| Error::UnknownIssuer {
            wanted: certificate.issuer_cn().to_owned(),
        }))
    }
}

/// Intel's long-lived issuing certificates, built in as a convenience: chains that a file lacks can be completed.
/// They are verified to the root like any other.
pub fn well_known_issuers() -> &'static [Certificate] {
    static ISSUERS: LazyLock<Vec<Certificate>> = LazyLock::new(|| {
        [
            include_bytes!("../roots/intel/pck-platform-ca-22eb770d.pem").as_slice(),
            include_bytes!("../roots/intel/pck-processor-ca-13b2dcce.pem").as_slice(),
            include_bytes!("../roots/intel/pck-processor-ca-f65b249b.pem").as_slice(),
            include_bytes!("../roots/intel/tcb-signing-c0575e76.pem").as_slice(),
            include_bytes!("../roots/intel/tcb-signing-ec37d981.pem").as_slice(),
        ]
        .into_iter()
        .map(embedded)
        .collect()
    });
    &ISSUERS
}

fn embedded(pem: &[u8]) -> Certificate {
    Certificate::from_pem_bundle(pem)
        .ok()
        .and_then(|certificates| certificates.into_iter().next())
        .expect("a test reads every embedded certificate")
}
