//! HTTP: the only place that knows statuses, paths and parameters. Handlers parse, ask, render.

mod answer;
mod baselines;
mod caller;
mod chips;
mod crl_uri;
mod evidence;
mod forecast;
mod front;
mod kds;
mod news;
mod own;
mod pccs;
mod pck;
mod pcs;
mod platforms;
mod problem;
mod query;
mod receive;
mod statement;
mod tcb_baselines;
mod tenants;
mod tokens;

pub(crate) use forecast::FORECASTS;
pub use front::{Body, Front, Peer};
pub use own::{Service, openapi};
