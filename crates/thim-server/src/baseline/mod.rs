//! Baselines: which evaluation number answers whom, and which platforms are recent enough. Pure; what is stored, published
//! and asked of people is in [`baselines`](crate::baselines).
//!
//! A *rule* says what is wanted of platforms of one TEE; a *version* is a rule with a number that only rises, its author and
//! its reason; the version *in force* is the one whose promotion took effect last. `default` is everybody's, a *tenant* may
//! have its own, and the *floor* is the operator's: nobody goes below it. All that ever happened is a list of *acts*, each
//! hashed with the one before it ([`acts`]), and [`books`] is what they come to; so there is nothing else to keep in step.
//!
//! | file | thought |
//! |---|---|
//! | `lists` | what the vendor's signed lists of evaluation numbers say |
//! | `scope` | whose baseline, of which TEE |
//! | `rule` | what is wanted, and its limits |
//! | `declared` | rules in TOML files |
//! | `selection` | the evaluation number of a rule, now |
//! | `verdict` | a platform under a rule |
//! | `amd_table` | AMD's minimums, dated, with their bulletins |
//! | `recoveries` | Intel's TCB recovery events |
//! | `acts`, `books` | what was done, and what it comes to |

pub mod acts;
pub mod amd_table;
pub mod books;
pub mod declared;
mod lists;
pub mod recoveries;
pub mod rule;
pub mod scope;
pub mod selection;
pub mod verdict;

pub use acts::{Act, ActKind, ActRow, Broken, verify_chain};
pub use amd_table::AmdTable;
pub use books::{Books, InForce, Ledger, Version};
pub use lists::{Called, Choice, Chosen, Lists, without_list};
pub use rule::{AmdMinimum, AmdRule, IntelRule, OnRetired, Rule, Selector, Tolerated, WrongRule};
pub use scope::{BaselineTee, Scope, Tenant};
pub use selection::{NotSelected, Selection, Vendor, select};
pub use verdict::{Judgement, Verdict};
