//! HTTP: the only place that knows statuses, paths and parameters. Handlers parse, ask, render.

mod answer;
mod crl_uri;
mod front;
mod own;
mod pcs;
mod problem;
mod query;

pub use front::{Body, Front};
pub use own::{AdminToken, Service, openapi};
