//! The root keys of AMD's products, in which every chain must end.
//!
//! Roots are pinned by public key, per product: a root of one product vouches for nothing of another. Operators may
//! replace them by files (`[trust] amd_roots`), which then are the only ones; so does the simulator. Venice is known
//! and has no root here: only one source told its digest. Source: spec/amd-kds-and-thim.md, 2.3; the certificates
//! come from the URLs in `roots/amd/PROVENANCE.md`.

use std::sync::{Arc, LazyLock};

use super::authority::{Authority, AuthorityRole};
use super::endorsement::EndorsementKind;
use super::frame::pem_certificates;
use super::product::Product;
use crate::error::{excerpt, within};
use crate::pem::pem_blocks;
use crate::{Digest, Error};

/// The trusted root keys, and a certificate for each; cheap to clone.
#[derive(Clone, Debug)]
pub struct Anchors(Arc<Roots>);

#[derive(Debug)]
struct Roots {
    builtin: bool,
    /// By product, the latest `notAfter` first.
    roots: Vec<Authority>,
}

impl Anchors {
    /// AMD's roots of Milan, Genoa and Turin.
    pub fn builtin() -> Self {
        static AMD: LazyLock<Anchors> = LazyLock::new(|| {
            let roots = PINNED.iter().map(|(product, pin)| {
                let chain = builtin_chain(*product, EndorsementKind::Vcek).unwrap_or_default();
                let blocks = pem_certificates("chain", chain, 2).unwrap_or_default();
                let root = blocks.get(1).and_then(|der| Authority::from_der(der).ok());
                root.filter(|root| root.spki_digest().0 == *pin)
                    .expect("a test compares every embedded root with its pin")
            });
            Anchors(Arc::new(Roots {
                builtin: true,
                roots: roots.collect(),
            }))
        });
        AMD.clone()
    }

    /// Replacement roots: every `CERTIFICATE` block of the text, each a self-signed ARK; its name tells the product.
    ///
    /// # Errors
    /// [`Error::TooMany`] beyond 16 roots; [`Error::TooLarge`]; [`Error::WrongIssuer`] for a certificate that is no
    /// ARK; those of [`Authority::from_der`] and [`Authority::signed_by`]; [`Error::Format`] for a text without any.
    pub fn from_pem(text: &[u8]) -> Result<Self, Error> {
        within(WHAT, MAX_PEM_BYTES, text.len())?;
        let mut roots = Vec::new();
        for der in pem_blocks(text, "CERTIFICATE", MAX_ROOTS)? {
            let root = Authority::from_der(&der)?;
            if root.role() != AuthorityRole::Ark {
                return Err(Error::WrongIssuer {
                    expected: "an ARK".to_owned(),
                    found: excerpt(root.subject_cn()),
                });
            }
            root.signed_by(&root)?;
            if !root.may_sign_crls() {
                return Err(Error::WrongIssuer {
                    expected: "a root that may sign revocation lists".to_owned(),
                    found: excerpt(root.subject_cn()),
                });
            }
            roots.push(root);
        }
        if roots.is_empty() {
            return Err(Error::format(WHAT, "no certificate in the text"));
        }
        roots.sort_by_key(|root| {
            let last = std::cmp::Reverse(root.not_after());
            (root.product(), last, root.digest())
        });
        roots.dedup();
        Ok(Self(Arc::new(Roots {
            builtin: false,
            roots,
        })))
    }

    /// Whether these are AMD's, not an operator's.
    pub fn is_builtin(&self) -> bool {
        self.0.builtin
    }

    /// All roots, by product.
    pub fn roots(&self) -> &[Authority] {
        &self.0.roots
    }

    /// The roots of one product, the latest `notAfter` first; none of a product that nothing can be verified for.
    pub fn roots_of(&self, product: Product) -> impl Iterator<Item = &Authority> {
        let all = self.0.roots.iter();
        all.filter(move |root| root.product() == product)
    }

    /// Whether `spki` is the SHA-256 of the SubjectPublicKeyInfo of a root of `product`.
    pub fn contains_key(&self, product: Product, spki: &Digest) -> bool {
        self.roots_of(product)
            .any(|root| root.spki_digest() == *spki)
    }

    /// SHA-256 over the products and their sorted SPKI digests: tells whether two services trust the same keys.
    pub fn fingerprint(&self) -> Digest {
        let mut keys: Vec<(Product, [u8; 32])> = self
            .0
            .roots
            .iter()
            .map(|root| (root.product(), root.spki_digest().0))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let mut text = Vec::new();
        for (product, key) in keys {
            text.extend_from_slice(product.name().as_bytes());
            text.push(0);
            text.extend_from_slice(&key);
        }
        Digest::of(&text)
    }

    /// Whether `ark` is a root of a trusted key of its product, in whatever encoding.
    ///
    /// # Errors
    /// [`Error::UntrustedRoot`] for another key, and those of [`Authority::signed_by`].
    pub fn accept_root(&self, ark: &Authority) -> Result<(), Error> {
        let found_spki = ark.spki_digest();
        if !self.contains_key(ark.product(), &found_spki) {
            return Err(Error::UntrustedRoot { found_spki });
        }
        if self.0.roots.contains(ark) {
            return Ok(());
        }
        ark.signed_by(ark)
    }
}

/// The chain file of a product as AMD's key server serves it, byte for byte: so that chains can be served before the
/// key server was ever reached. It is verified like any other. None for Venice.
pub fn builtin_chain(product: Product, kind: EndorsementKind) -> Option<&'static [u8]> {
    let chain: &[u8] = match (product, kind) {
        (Product::Milan, EndorsementKind::Vcek) => {
            include_bytes!("../../roots/amd/milan-vcek-cert-chain.pem")
        }
        (Product::Milan, EndorsementKind::Vlek) => {
            include_bytes!("../../roots/amd/milan-vlek-cert-chain.pem")
        }
        (Product::Genoa, EndorsementKind::Vcek) => {
            include_bytes!("../../roots/amd/genoa-vcek-cert-chain.pem")
        }
        (Product::Genoa, EndorsementKind::Vlek) => {
            include_bytes!("../../roots/amd/genoa-vlek-cert-chain.pem")
        }
        (Product::Turin, EndorsementKind::Vcek) => {
            include_bytes!("../../roots/amd/turin-vcek-cert-chain.pem")
        }
        (Product::Turin, EndorsementKind::Vlek) => {
            include_bytes!("../../roots/amd/turin-vlek-cert-chain.pem")
        }
        (Product::Venice, EndorsementKind::Vcek | EndorsementKind::Vlek) => return None,
    };
    Some(chain)
}

const WHAT: &str = "AMD trust anchors";

/// Four products, and room for a change of keys.
const MAX_ROOTS: usize = 16;

/// Sixteen roots of 2.3 KiB and the text around them.
const MAX_PEM_BYTES: usize = 256 * 1024;

/// SHA-256 of the roots' SubjectPublicKeyInfo; spec/amd-kds-and-thim.md, 2.3:
/// Milan 9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9,
/// Genoa 429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831,
/// Turin 4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08.
const PINNED: [(Product, [u8; 32]); 3] = [
    (
        Product::Milan,
        [
            0x9f, 0x05, 0x6b, 0xee, 0x44, 0x37, 0x7e, 0x29, 0x30, 0x8c, 0xb5, 0xff, 0xa8, 0x95,
            0xbd, 0xfb, 0x62, 0xd1, 0x88, 0x81, 0xfa, 0x6b, 0xed, 0x8d, 0x6f, 0x07, 0x5b, 0x02,
            0x04, 0x08, 0x9c, 0xb9,
        ],
    ),
    (
        Product::Genoa,
        [
            0x42, 0x9a, 0x69, 0xc9, 0x42, 0x2a, 0xa2, 0x58, 0xee, 0x4d, 0x8d, 0xb5, 0xfc, 0xda,
            0x9c, 0x64, 0x70, 0xef, 0x15, 0xf8, 0xcd, 0x5a, 0x9c, 0xeb, 0xd6, 0xcb, 0xc7, 0xd9,
            0x0b, 0x86, 0x38, 0x31,
        ],
    ),
    (
        Product::Turin,
        [
            0x4f, 0x12, 0x54, 0x10, 0x56, 0x3a, 0x2a, 0xb9, 0xa5, 0x03, 0x56, 0xf9, 0x24, 0x3f,
            0x6f, 0xe0, 0xb6, 0xf7, 0x3d, 0xe9, 0x86, 0x03, 0xf5, 0x3f, 0x90, 0x33, 0x9c, 0x70,
            0xe9, 0xd7, 0xad, 0x08,
        ],
    ),
];
