//! What a step would break, worked out. Pure: the fleet and the collateral come from [`forecasting`](super::forecasting).
//!
//! Platforms that have everything in common that decides are one *class*, and are judged once; a fleet of a million machines has
//! a few thousand. A *column* is one rule with one number. What is not known is a status of its own, `unknown`, with a word
//! for why.

pub mod amd;
pub mod classes;
pub mod columns;
pub mod report;

pub use classes::{Class, Fleet, KnownBy, Subject};
pub use columns::{Column, Documents, Standing, Unknown};
