//! The fleet as a forecast needs it: ids, and classes of platforms that have everything in common that decides.

use std::collections::HashMap;

use thim_verify::{Fmspc, PlatformTcb, TcbSubject, TeeTcbSvn};

/// What decides about a platform of Intel's.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Subject {
    /// The family.
    pub fmspc: Option<Fmspc>,
    /// Of the PCK certificate; `None` where there is none.
    pub tcb: Option<PlatformTcb>,
    /// Of a trust domain's quote.
    pub tee_tcb_svn: Option<TeeTcbSvn>,
    /// Of the same.
    pub tee_tcb_svn2: Option<TeeTcbSvn>,
    /// Of the quoting enclave of this TEE.
    pub qe_isv_svn: Option<u16>,
    /// How the TCB is known.
    pub known_by: KnownBy,
}

/// How a platform's TCB is known. Text: lower-case words joined by hyphens.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KnownBy {
    /// Neither is there: the highest certificate that the vendor gave.
    HighestCertificate,
    /// A recorded quote stood on the certificate.
    Quote,
    /// A raw TCB it was seen with: the first certificate in the vendor's order that this covers.
    RawTcb,
    /// There is no certificate.
    Unknown,
}

impl KnownBy {
    /// The text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HighestCertificate => "highest-certificate",
            Self::Quote => "quote",
            Self::RawTcb => "raw-tcb",
            Self::Unknown => "unknown",
        }
    }
}

impl Subject {
    /// As the level engine takes it; `None` without a certificate.
    pub fn as_tcb_subject(&self) -> Option<TcbSubject> {
        Some(TcbSubject {
            platform: self.tcb?,
            tee_tcb_svn: self.tee_tcb_svn,
            tee_tcb_svn2: self.tee_tcb_svn2,
            qe_isv_svn: self.qe_isv_svn,
        })
    }
}

/// Platforms that have all of it in common.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// What they have in common.
    pub subject: Subject,
    /// How many there are.
    pub count: u64,
}

/// A fleet: classes, and of each platform its id and class, in the order in which they came.
#[derive(Debug, Default)]
pub struct Fleet {
    classes: Vec<Class>,
    index: HashMap<Subject, u32>,
    members: Vec<([u8; ID_BYTES], u32)>,
}

impl Fleet {
    /// Adds a platform. Ids are 16 ASCII characters; what is longer is cut, what is shorter filled up.
    pub fn add(&mut self, id: &str, subject: Subject) {
        let next = u32::try_from(self.classes.len()).unwrap_or(u32::MAX);
        let class = *self.index.entry(subject).or_insert(next);
        if class == next {
            self.classes.push(Class { subject, count: 0 });
        }
        if let Some(class) = usize::try_from(class)
            .ok()
            .and_then(|at| self.classes.get_mut(at))
        {
            class.count += 1;
        }
        let mut bytes = [b' '; ID_BYTES];
        for (to, from) in bytes.iter_mut().zip(id.bytes()) {
            *to = from;
        }
        self.members.push((bytes, class));
    }

    /// The classes, in the order in which they were first met.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Each platform's id and the place of its class.
    pub fn members(&self) -> impl Iterator<Item = (&str, usize)> {
        self.members.iter().map(|(id, class)| {
            let id = std::str::from_utf8(id).unwrap_or_default().trim_end();
            (id, usize::try_from(*class).unwrap_or(usize::MAX))
        })
    }

    /// How many platforms there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// The register's ids are 16 hex digits.
const ID_BYTES: usize = 16;
