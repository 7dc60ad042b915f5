//! The simulator against its specification, over real sockets on port 0 with a fixed clock.
//!
//! Signatures and chains are verified with aws-lc-rs over the exact bytes received, never with the simulator's own code.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod client;
mod faults;
mod kds;
mod kds_faults;
mod kds_management;
mod kds_proof;
mod kds_reports;
mod management;
mod pck;
mod pck_faults;
mod pcs;
mod platforms;
mod proof;
mod quote_levels;
mod quote_proof;
mod quote_requests;
mod quotes;
mod registration;
