//! What `GET /platforms` hands out: registrations that a tool is to collect, and the platforms that are known, as JSON
//! in PCCS's order and case (`spec/intel-pcs-and-pccs.md` section 2.8).
//!
//! What it promises. Memory is bounded by a page, however long the list: it is read, unsealed and sent page by page.
//! Registrations that are handed over for good are marked so after the connection has taken the last of them, and before
//! the list ends: who is gone by then, or sees no end of the list, has lost none, where PCCS, which marks first, loses
//! all. What a network loses after that, nobody here can see. A secret that does not unseal is an empty text, and
//! logged.

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::{Encoding, HEXLOWER, HEXUPPER};
use futures_util::stream::{BoxStream, StreamExt, try_unfold};
use serde::Serialize;
use thim_verify::{Fmspc, UnixTime};

use super::Platforms;
use crate::sealing::Purpose;
use crate::store::{Sealed, Span, StoreError};

/// Which platforms.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Handover {
    /// Those with certificates, of these FMSPCs; of all without any.
    Cached(Vec<Fmspc>),
    /// Those that wait to be collected.
    Registered {
        /// `new` or `not-available`.
        state: &'static str,
        /// True where they go on waiting.
        keep: bool,
    },
}

/// A list on its way.
pub struct Handed {
    /// How many elements it has.
    pub count: u64,
    /// The JSON array.
    pub body: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl Platforms {
    /// Hands out what is there at `now`.
    pub async fn hand_over(
        self: &Arc<Self>,
        which: Handover,
        now: UnixTime,
    ) -> Result<Handed, StoreError> {
        let span = match &which {
            Handover::Cached(fmspcs) => self.store().cached_span(fmspcs).await?,
            Handover::Registered { state, .. } => self.store().registration_span(state).await?,
        };
        let reading = Reading {
            platforms: Arc::clone(self),
            which,
            span,
            now,
            after: 0,
            separator: b'[',
            stage: Stage::Rows,
        };
        Ok(Handed {
            count: span.count,
            body: try_unfold(reading, Reading::next).boxed(),
        })
    }

    /// A secret as hex; empty where there is none.
    fn shown(&self, purpose: Purpose, sealed: Option<&Sealed>, hex: &Encoding) -> String {
        let Some(sealed) = sealed else {
            return String::new();
        };
        match self.sealer.unseal(purpose, &sealed.0) {
            Ok(secret) => hex.encode(&secret),
            Err(error) => {
                tracing::error!(error = %error, "a sealed secret cannot be opened, and is missing in the list of platforms");
                String::new()
            }
        }
    }
}

/// How far a list has been read.
struct Reading {
    platforms: Arc<Platforms>,
    which: Handover,
    span: Span,
    now: UnixTime,
    after: i64,
    /// What stands before the next element.
    separator: u8,
    stage: Stage,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Rows, and the end with the last of them where nothing is to be marked.
    Rows,
    /// All rows are taken: they are marked, and the list ends.
    Mark,
    /// Nothing.
    Ended,
}

/// PCCS's order of a registration.
#[derive(Serialize)]
struct RegisteredElement<'a> {
    enc_ppid: String,
    platform_manifest: String,
    qe_id: &'a str,
    pce_id: &'a str,
    cpu_svn: &'a str,
    pce_svn: &'a str,
}

/// PCCS's order of a cached platform.
#[derive(Serialize)]
struct CachedElement<'a> {
    qe_id: &'a str,
    pce_id: &'a str,
    cpu_svn: String,
    pce_svn: String,
    enc_ppid: String,
    platform_manifest: String,
}

impl Reading {
    async fn next(self) -> Result<Option<(Bytes, Self)>, StoreError> {
        match self.stage {
            Stage::Rows => self.rows().await.map(Some),
            Stage::Mark => self.mark().await.map(Some),
            Stage::Ended => Ok(None),
        }
    }

    async fn rows(mut self) -> Result<(Bytes, Self), StoreError> {
        let mut page = Vec::new();
        let rows = match self.which.clone() {
            Handover::Cached(fmspcs) => self.cached(&fmspcs, &mut page).await?,
            Handover::Registered { state, .. } => self.registered(state, &mut page).await?,
        };
        if rows < PAGE as usize {
            if self.separator == b'[' {
                page.push(b'[');
            }
            let consumes = matches!(self.which, Handover::Registered { keep: false, .. });
            if consumes && self.span.count > 0 {
                self.stage = Stage::Mark;
                if page.is_empty() {
                    return self.mark().await;
                }
            } else {
                page.push(b']');
                self.stage = Stage::Ended;
            }
        }
        Ok((page.into(), self))
    }

    /// Asked for only when what came before was taken.
    async fn mark(mut self) -> Result<(Bytes, Self), StoreError> {
        // The connection sends what it has, and finds out whether anybody is there, before it asks again.
        tokio::task::yield_now().await;
        if let Handover::Registered { state, keep: false } = self.which {
            self.platforms
                .store()
                .registrations_handed_out(state, self.span.last, self.now)
                .await?;
        }
        self.stage = Stage::Ended;
        Ok((Bytes::from_static(b"]"), self))
    }

    async fn cached(&mut self, fmspcs: &[Fmspc], page: &mut Vec<u8>) -> Result<usize, StoreError> {
        let platforms = Arc::clone(&self.platforms);
        let rows = platforms
            .store()
            .cached_page(fmspcs, self.after, self.span.last, PAGE)
            .await?;
        for row in &rows {
            self.after = row.place;
            let element = CachedElement {
                qe_id: &row.qe_id,
                pce_id: &row.pce_id,
                cpu_svn: row.raw_tcb.cpu_svn.to_string(),
                pce_svn: row.raw_tcb.pce_svn.to_string(),
                enc_ppid: platforms.shown(Purpose::EncryptedPpid, row.enc_ppid.as_ref(), &HEXUPPER),
                platform_manifest: platforms.shown(
                    Purpose::Manifest,
                    row.manifest.as_ref(),
                    &HEXUPPER,
                ),
            };
            self.add(page, &element);
        }
        Ok(rows.len())
    }

    async fn registered(&mut self, state: &str, page: &mut Vec<u8>) -> Result<usize, StoreError> {
        let platforms = Arc::clone(&self.platforms);
        let rows = platforms
            .store()
            .registration_page(state, self.after, self.span.last, PAGE)
            .await?;
        for row in &rows {
            self.after = row.seq;
            let element = RegisteredElement {
                enc_ppid: platforms.shown(Purpose::EncryptedPpid, row.enc_ppid.as_ref(), &HEXLOWER),
                platform_manifest: platforms.shown(
                    Purpose::Manifest,
                    row.manifest.as_ref(),
                    &HEXLOWER,
                ),
                qe_id: &row.qe_id,
                pce_id: &row.pce_id,
                cpu_svn: &row.cpu_svn,
                pce_svn: &row.pce_svn,
            };
            self.add(page, &element);
        }
        Ok(rows.len())
    }

    fn add(&mut self, page: &mut Vec<u8>, element: &impl Serialize) {
        page.push(self.separator);
        self.separator = b',';
        serde_json::to_writer(page, element).expect("texts become JSON, and memory takes them");
    }
}

/// With manifests of 56 KB, which are twice as long in hex, some 12 MB at most.
const PAGE: u32 = 64;
