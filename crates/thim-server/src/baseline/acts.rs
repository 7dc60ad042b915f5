//! What was done to baselines, when, by whom and why: rows that are only ever added, each hashed with the one before it.
//!
//! A changed, missing, added or moved row breaks the chain at that row, and a missing last one is told by the head that is
//! kept beside the chain, in statements and by whoever noted it. Whoever can write the whole store can make another chain:
//! what proves more is a head that was kept elsewhere (`thim baseline log --verify --head`, the statement's `audit`).

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thim_verify::{Digest, UnixTime};

use super::scope::{BaselineTee, Scope};

/// What was done. Text: lower case.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ActKind {
    /// A draft is thrown away.
    Discard,
    /// A new version, in force nowhere yet.
    Draft,
    /// A draft is to be in force from an instant on.
    Promote,
    /// A new version with an older one's rule, in force at once; promotions that had not taken effect are withdrawn.
    Rollback,
    /// A promotion that has not taken effect is taken back; the version is a draft again.
    Withdraw,
}

impl ActKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Discard,
        Self::Draft,
        Self::Promote,
        Self::Rollback,
        Self::Withdraw,
    ];

    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Draft => "draft",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Withdraw => "withdraw",
        }
    }
}

impl fmt::Display for ActKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ActKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.name() == text)
            .ok_or("wanted discard, draft, promote, rollback or withdraw")
    }
}

/// An act, before it has its place in the chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Act {
    /// When, by the service's clock; never before the act before it.
    pub at: UnixTime,
    /// Whose token, or who sat at the command line.
    pub who: String,
    /// What.
    pub kind: ActKind,
    /// Whose baseline.
    pub scope: Scope,
    /// Of which TEE.
    pub tee: BaselineTee,
    /// Which version.
    pub version: u32,
    /// The rule, where the act makes a version: its canonical text ([`Rule::to_json`](super::Rule::to_json)) of then, kept as
    /// it is, so that a rule that learns a word later leaves old hashes as they are.
    pub rule: Option<String>,
    /// Of a rollback: the version whose rule it is.
    pub from_version: Option<u32>,
    /// Of a promotion or rollback: from when on.
    pub effective: Option<UnixTime>,
    /// Why; the author's words.
    pub reason: String,
    /// Of a promotion or rollback: the digest of the forecast that was looked at.
    pub forecast: Option<Digest>,
    /// Of a promotion or rollback: how many platforms drop out by that forecast.
    pub dropped: Option<u32>,
}

/// An act in its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActRow {
    /// From 1, without gaps.
    pub seq: i64,
    /// The act.
    pub act: Act,
    /// The hash of the row before; zeros before the first.
    pub previous: Digest,
    /// SHA-256 of [`ActRow::hashed`].
    pub hash: Digest,
}

/// Where a chain is broken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Broken {
    /// The row's content is not what was hashed.
    #[error("act {seq} was changed: its content does not have its hash")]
    Changed {
        /// Which row.
        seq: i64,
    },
    /// The chain ends elsewhere than it should.
    #[error(
        "the chain ends with act {last} ({hash}), and the head says {wanted}: acts were removed or added at its end"
    )]
    Head {
        /// The last row; 0 where there is none.
        last: i64,
        /// Its hash.
        hash: Digest,
        /// What it should be.
        wanted: Digest,
    },
    /// A row does not name the hash of the one before it.
    #[error(
        "act {seq} does not follow the act before it: one was changed, removed or put in between"
    )]
    Link {
        /// Which row.
        seq: i64,
    },
    /// A number is missing or stands twice.
    #[error("act {wanted} is missing; {found} comes instead")]
    Number {
        /// The number that should come.
        wanted: i64,
        /// The one that does.
        found: i64,
    },
}

impl ActRow {
    /// The act after a row with this number and hash; `None` begins the chain.
    pub fn after(last: Option<(i64, Digest)>, act: Act) -> Self {
        let (seq, previous) = last.map_or((1, Digest([0; 32])), |(seq, hash)| (seq + 1, hash));
        let mut row = Self {
            seq,
            act,
            previous,
            hash: Digest([0; 32]),
        };
        row.hash = Digest::of(row.hashed().as_bytes());
        row
    }

    /// What is hashed: a JSON array of the number, the fields in their order, and the hash of the row before; instants in
    /// RFC 3339, what is absent as `null`. An auditor can make it from the row's JSON with any tool.
    pub fn hashed(&self) -> String {
        let act = &self.act;
        let fields = (
            (self.seq, act.at, &act.who, act.kind.name()),
            (act.scope.as_str(), act.tee.name(), act.version),
            (act.rule.as_deref(), act.from_version),
            (act.effective, &act.reason, act.forecast, act.dropped),
            self.previous,
        );
        #[derive(Serialize)]
        struct Hashed<'a>(
            i64,
            UnixTime,
            &'a str,
            &'a str,
            &'a str,
            &'a str,
            u32,
            Option<&'a str>,
            Option<u32>,
            Option<UnixTime>,
            &'a str,
            Option<Digest>,
            Option<u32>,
            Digest,
        );
        let ((seq, at, who, kind), (scope, tee, version), (rule, from), rest, previous) = fields;
        let (effective, reason, forecast, dropped) = rest;
        let row = Hashed(
            seq, at, who, kind, scope, tee, version, rule, from, effective, reason, forecast,
            dropped, previous,
        );
        serde_json::to_string(&row).expect("numbers and texts are always JSON")
    }
}

/// Follows a chain from its beginning to `head`, the hash of its last row (zeros: an empty chain), where that is known.
///
/// # Errors
/// The first place where it is [`Broken`].
pub fn verify_chain(rows: &[ActRow], head: Option<Digest>) -> Result<Digest, Broken> {
    let mut previous = Digest([0; 32]);
    for (wanted, row) in (1..).zip(rows) {
        if row.seq != wanted {
            return Err(Broken::Number {
                wanted,
                found: row.seq,
            });
        }
        if row.previous != previous {
            return Err(Broken::Link { seq: row.seq });
        }
        if Digest::of(row.hashed().as_bytes()) != row.hash {
            return Err(Broken::Changed { seq: row.seq });
        }
        previous = row.hash;
    }
    match head {
        Some(wanted) if wanted != previous => Err(Broken::Head {
            last: rows.last().map_or(0, |row| row.seq),
            hash: previous,
            wanted,
        }),
        Some(_) | None => Ok(previous),
    }
}

/// A reason's and an author's length in characters: a paragraph, and a name.
pub const REASON_CHARS: usize = 1_000;
/// See [`REASON_CHARS`].
pub const WHO_CHARS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn act(version: u32) -> Act {
        Act {
            at: UnixTime::from_secs(1_000 + i64::from(version)),
            who: "ops".to_owned(),
            kind: ActKind::Draft,
            scope: Scope::Default,
            tee: BaselineTee::Tdx,
            version,
            rule: Some(r#"{"selector":"early"}"#.to_owned()),
            from_version: None,
            effective: None,
            reason: "because".to_owned(),
            forecast: None,
            dropped: None,
        }
    }

    fn chain() -> Vec<ActRow> {
        let mut rows: Vec<ActRow> = Vec::new();
        for version in 1..=5 {
            let last = rows.last().map(|row| (row.seq, row.hash));
            rows.push(ActRow::after(last, act(version)));
        }
        rows
    }

    #[test]
    fn a_chain_holds_and_any_change_of_any_row_is_found() {
        let rows = chain();
        let head = rows.last().map(|row| row.hash);
        assert_eq!(verify_chain(&rows, head), Ok(head.expect("five rows")));
        assert_eq!(verify_chain(&[], None), Ok(Digest([0; 32])));
        let changes: [fn(&mut ActRow); 14] = [
            |row| row.seq += 1,
            |row| row.act.at = row.act.at.plus_secs(1),
            |row| row.act.who.push('x'),
            |row| row.act.kind = ActKind::Promote,
            |row| row.act.scope = Scope::Floor,
            |row| row.act.tee = BaselineTee::Sgx,
            |row| row.act.version += 1,
            |row| row.act.rule = None,
            |row| row.act.from_version = Some(1),
            |row| row.act.effective = Some(UnixTime::from_secs(0)),
            |row| row.act.reason.clear(),
            |row| row.act.forecast = Some(Digest([1; 32])),
            |row| row.act.dropped = Some(0),
            |row| row.previous = Digest([9; 32]),
        ];
        for index in 0..rows.len() {
            for change in changes {
                let mut changed = rows.clone();
                change(&mut changed[index]);
                assert!(verify_chain(&changed, head).is_err(), "row {index}");
                // Who changes a row and makes its hash again breaks the link or the head.
                changed[index].hash = Digest::of(changed[index].hashed().as_bytes());
                assert!(
                    verify_chain(&changed, head).is_err(),
                    "row {index}, rehashed"
                );
            }
            let mut missing = rows.clone();
            missing.remove(index);
            assert!(verify_chain(&missing, head).is_err(), "without row {index}");
            let mut twice = rows.clone();
            twice.insert(index, rows[index].clone());
            assert!(verify_chain(&twice, head).is_err(), "row {index} twice");
        }
    }

    #[test]
    fn what_is_hashed_can_be_written_down() {
        assert_eq!(
            ActRow::after(None, act(1)).hashed(),
            r#"[1,"1970-01-01T00:16:41Z","ops","draft","default","tdx",1,"{\"selector\":\"early\"}",null,null,"because",null,null,"#
                .to_owned()
                + r#""0000000000000000000000000000000000000000000000000000000000000000"]"#
        );
    }
}
