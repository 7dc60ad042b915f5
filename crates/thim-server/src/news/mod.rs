//! News: what people and machines are told of without asking. A number that is new, standard that is about to move, an
//! advisory about machines the fleet has, platforms below a baseline; to webhooks, as a feed, and in the own API.
//!
//! What it promises. The same news is told once, restarts included: each piece has a key, and what is known is stored in the
//! transaction that stores the news and puts it in line for every webhook. What was there at the first look is no news.
//!
//! | file | thought |
//! |---|---|
//! | `item` | the kinds, one piece of news. Pure |
//! | `watching` | what is known now, and what of it is news. Pure |
//! | `levels` | advisories and ends of servicing in TCB infos. Pure |
//! | `message` | a CloudEvent and its signature. Pure |
//! | `feed` | the Atom feed. Pure |
//! | `keeping` | the keeper: looks, stores, hands out |
//! | `delivering` | the line before each webhook |

mod delivering;
pub mod feed;
pub mod item;
mod keeping;
mod levels;
pub mod message;
pub mod watching;

pub use delivering::Delivered;
pub use item::{NewsItem, NewsKind};
pub use keeping::{News, OpenError};
pub use watching::{AmdCrlSeen, BelowCount, FleetTcbInfo, Known, Look, SaidStandard};

use serde::Deserialize;

/// `[news]` of the configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What this service calls itself in CloudEvents (`source`) and in the feed: a URI, such as its URL. Default `urn:thim`.
    pub source: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source: "urn:thim".to_owned(),
        }
    }
}

impl Config {
    /// Whether the name can be one.
    pub fn check(&self) -> Result<(), String> {
        let printable = self.source.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable || !(1..=SOURCE_BYTES).contains(&self.source.len()) {
            return Err(format!(
                "[news] source: wanted a URI of 1 to {SOURCE_BYTES} printable characters"
            ));
        }
        Ok(())
    }
}

/// A URL; CloudEvents 1.0 asks for a non-empty URI reference and sets no limit.
const SOURCE_BYTES: usize = 300;
