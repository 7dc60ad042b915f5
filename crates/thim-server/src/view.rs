//! What readers see: one immutable view, swapped whole. Readers take no lock a writer holds.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use thim_verify::{ArtefactKey, Enclave, Fmspc, Tee, UnixTime};

use crate::baseline::{Called, Choice, Lists, without_list};
use crate::ready::Ready;

/// What a caller asks for, before a number is chosen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Subject {
    /// An enclave's identity.
    EnclaveIdentity {
        /// Which.
        enclave: Enclave,
    },
    /// TCB info of an FMSPC.
    TcbInfo {
        /// SGX or TDX.
        tee: Tee,
        /// Format version, 2 or 3.
        version: u8,
        /// Which.
        fmspc: Fmspc,
    },
}

impl Subject {
    /// The key of this subject under `number`.
    pub const fn key(self, number: u32) -> ArtefactKey {
        match self {
            Self::EnclaveIdentity { enclave } => ArtefactKey::EnclaveIdentity {
                enclave,
                version: 2,
                number,
            },
            Self::TcbInfo {
                tee,
                version,
                fmspc,
            } => ArtefactKey::TcbInfo {
                tee,
                version,
                fmspc,
                number,
            },
        }
    }

    /// The subject and number of a key, where it has them.
    pub const fn of(key: &ArtefactKey) -> Option<(Self, u32)> {
        match *key {
            ArtefactKey::EnclaveIdentity {
                enclave, number, ..
            } => Some((Self::EnclaveIdentity { enclave }, number)),
            ArtefactKey::TcbInfo {
                tee,
                version,
                fmspc,
                number,
            } => Some((
                Self::TcbInfo {
                    tee,
                    version,
                    fmspc,
                },
                number,
            )),
            ArtefactKey::AmdCertChain { .. }
            | ArtefactKey::AmdCrl { .. }
            | ArtefactKey::EvaluationNumbers { .. }
            | ArtefactKey::PckCrl { .. }
            | ArtefactKey::RootCrl => None,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EnclaveIdentity { enclave } => write!(f, "intel/enclave-identity/{enclave}"),
            Self::TcbInfo {
                tee,
                version,
                fmspc,
            } => write!(f, "intel/tcb-info/{tee}/v{version}/{fmspc}"),
        }
    }
}

/// One moment's knowledge.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Editions ready to be served.
    pub ready: HashMap<ArtefactKey, Arc<Ready>>,
    /// The newest lists of evaluation numbers.
    pub lists: Lists,
    /// The vendor signs this evaluation number and those below it no longer, as its answers (410) showed.
    pub retired: Option<u32>,
    /// Editions past their time, ready for those whose baseline wants them all the same.
    pub archived: HashMap<ArtefactKey, Arc<Ready>>,
    /// What is known about subjects' numbers.
    pub called: HashMap<Subject, Called>,
}

/// How a number was come by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resolved {
    /// The number.
    pub number: u32,
    /// True where only lists past their next update told it.
    pub from_expired_list: bool,
    /// True where no list tells anything: the source's own word, or the highest current number.
    pub without_list: bool,
}

impl View {
    /// The number that answers `choice` for `subject`; `None` where only the source can tell.
    pub fn resolve(&self, subject: Subject, choice: Choice, now: UnixTime) -> Option<Resolved> {
        if let Choice::Number(number) = choice {
            return Some(Resolved {
                number,
                from_expired_list: false,
                without_list: false,
            });
        }
        if let Some(chosen) = self.lists.choose(choice, now) {
            return Some(Resolved {
                number: chosen.number,
                from_expired_list: chosen.from_expired_list,
                without_list: false,
            });
        }
        static NOTHING: Called = Called {
            standard: None,
            early: None,
            current: Vec::new(),
        };
        let called = self.called.get(&subject).unwrap_or(&NOTHING);
        without_list(choice, called).map(|number| Resolved {
            number,
            from_expired_list: false,
            without_list: true,
        })
    }
}

/// The view in force. Writers hold the service's admission lock; readers never wait.
#[derive(Debug, Default)]
pub struct Published(ArcSwap<View>);

impl Published {
    /// The view now in force.
    pub fn load(&self) -> arc_swap::Guard<Arc<View>> {
        self.0.load()
    }

    /// Puts a changed view in force. Concurrent changes are applied one after the other.
    pub fn change(&self, change: impl Fn(&mut View)) {
        self.0.rcu(|view| {
            let mut next = View::clone(view);
            change(&mut next);
            next
        });
    }
}
