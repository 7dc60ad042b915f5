//! The metadata service of one node: guests and pods ask `http://169.254.169.254/metadata/THIM/amd/certification` and
//! get the certificates of the chip they run on.
//!
//! It promises: an answer within a second, or an honest error with its cause; nothing served that did not verify for
//! this chip and the TCB it reports now; a start without the service, from what is on disk; no state but one file of
//! public certificates; and not to stand in front of a cloud's own metadata service. `agent` is the story, `server` the
//! edge, `manners` what a client must do. Time and chance are arguments ([`World`]).
//! Source: spec/amd-kds-and-thim.md, 3, 5 and 6.

#![forbid(unsafe_code)]

pub mod agent;
pub mod answer;
pub mod cause;
pub mod certification;
pub mod config;
pub mod host;
pub mod listen;
pub mod manners;
pub mod metrics;
pub mod output;
pub mod plan;
pub mod rate;
pub mod server;
pub mod service;
pub mod span;
pub mod state;
pub mod table;

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use thim_verify::UnixTime;

/// What the agent needs of the world.
#[derive(Clone)]
pub struct World {
    /// The clock.
    pub now: Arc<dyn Fn() -> UnixTime + Send + Sync>,
    /// Fills bytes at random; for request ids and for spreading fetches, nothing secret.
    pub entropy: fn(&mut [u8]) -> std::io::Result<()>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// Where clouds have their metadata services, and guests expect one.
pub const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
