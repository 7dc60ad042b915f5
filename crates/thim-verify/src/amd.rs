//! AMD SEV-SNP: the certificates, revocation lists and reports of AMD's secure processors.
//!
//! The same promises as for Intel: strict parsing, signatures over received bytes, time as an argument, no panic,
//! bounded work. Everything a product can differ in (models, length of the chip id, layout of the TCB) is data in one
//! table, [`Products`]; what is trusted is apart from it, in [`Anchors`]. A [`VerifiedAmd`] value is made by the
//! `verify_*` functions of this module only. A chip id ([`HwId`]) is in no error and in no debug text.
//! Source: `spec/amd-kds-and-thim.md`, which names AMD's documents and the code that implements them.
//!
//! ```
//! use thim_verify::UnixTime;
//! use thim_verify::amd::{
//!     Anchors, EndorsementKind, Product, Products, Vcek, VcekKey, parse_cert_chain, verify_cert_chain, verify_vcek,
//! };
//!
//! fn judge(chain: &[u8], vcek: &[u8], key: &VcekKey, now: UnixTime) -> Result<(), thim_verify::Error> {
//!     let (products, anchors) = (Products::builtin(), Anchors::builtin());
//!     let chain = parse_cert_chain(chain)?;
//!     let chain = verify_cert_chain(chain, key.product, EndorsementKind::Vcek, None, &anchors, now)?;
//!     let vcek = verify_vcek(Vcek::from_der(vcek)?, key, &chain, None, &products, now)?;
//!     println!("{} until {}", vcek.product(), vcek.not_after());
//!     Ok(())
//! }
//! # let facts_of = Products::builtin();
//! # let facts = facts_of.facts(Product::Milan);
//! # let key = VcekKey {
//! #     product: Product::Milan,
//! #     hw_id: thim_verify::amd::HwId::from_hex(facts, &"0a".repeat(64)).expect("64 bytes"),
//! #     tcb: thim_verify::amd::SnpTcb::from_u64(facts, 3).expect("a TCB"),
//! # };
//! # assert_eq!(judge(b"", b"", &key, UnixTime::MAX).map_err(|e| e.reason()), Err("format"));
//! ```

mod anchors;
mod appraise;
mod authority;
mod bits;
mod chain;
mod crl;
mod endorsement;
mod extensions;
mod findings;
mod frame;
mod hw_id;
mod leaf;
mod look;
mod product;
mod products;
mod pss;
mod report;
mod tcb;
mod verified;

pub use crate::finding::Outcome;
pub use anchors::{Anchors, builtin_chain};
pub use appraise::{
    Appraisal, Concern, NoCollateral, Relaxation, Status, Weighed, appraise_report,
};
pub use authority::{Authority, AuthorityRole};
pub use bits::{GuestPolicy, PlatformInfo};
pub use chain::{CertChain, parse_cert_chain};
pub use crl::{AmdCrl, parse_crl};
pub use endorsement::{Endorsement, EndorsementKind, Vcek, Vlek};
pub use findings::{Finding, FindingName, Findings, ReportCollateral, verify_report};
pub use hw_id::HwId;
pub use product::Product;
pub use products::{ModelRange, ProductFacts, Products};
pub(crate) use pss::is_pss_signed;
pub use report::{Firmware, KeyInfo, SigningKey, SnpReport, Vmpl, parse_report};
pub use tcb::{SnpTcb, SplField, SplValues, TcbComponent, TcbVersion};
pub use verified::{
    AmdChain, AmdRevocation, VcekKey, VerifiedAmd, VlekKey, verify_artefact, verify_cert_chain,
    verify_crl, verify_vcek, verify_vlek,
};
