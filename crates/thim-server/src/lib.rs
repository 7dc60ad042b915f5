//! The service: everything of THIM that does I/O. `server` is where the parts meet, `collateral` is the story
//! of a request, `admission` that of a document; `sentinel`, `baseline` and `freshness` are the rules, and pure.

#![forbid(unsafe_code)]

pub mod access;
pub mod admission;
pub mod baseline;
pub mod baselines;
pub mod chips;
pub mod clock;
pub mod collateral;
pub mod config;
pub mod duration;
pub mod evidence;
mod fetching;
pub mod flight;
mod fmspcs;
pub mod freshness;
pub mod intake;
pub mod listen;
pub mod metrics;
pub mod news;
pub mod operations;
pub mod platforms;
pub mod proof;
mod publication;
pub mod ready;
pub mod refresh;
pub mod routes;
pub mod sealing;
pub mod secret;
pub mod sentinel;
pub mod server;
pub mod store;
pub mod tls;
pub mod upstream;
pub mod view;
