//! What THIM says on the wire, and a small blocking client that asks it.
//!
//! The types here are the own API (`/thim/v1/...`) and the shapes the command line prints with
//! `--json`; both read the same, so a script may move from one to the other. Vendor surfaces
//! (`/sgx/certification/...`) are not here: their shapes belong to the vendors.

#![forbid(unsafe_code)]

mod client;
mod wire;

pub use client::{Client, ClientError, PccsAnswer, RawAnswer};
pub use wire::{
    ActLog, ActRecord, AppliedBaseline, BaselineDifference, BaselineRecord, BaselineSummary,
    BaselineVersion, ChipCertificate, ChipRecord, ChipSummary, CollateralUsed,
    DEFAULT_CACHE_SECONDS, DeclaredBaselines, Diagnosis, EditionSummary, EnclaveFacts, EventRecord,
    FindingRecord, ForecastCause, ForecastColumn, ForecastReport, ForecastRequest,
    ForecastStanding, ForecastTarget, ForecastVersion, ImportFile, ImportReport, ImportRequest,
    KeyStatus, NeedRecord, NewChip, NewToken, NewsRecord, PlatformLevel, PlatformMoment,
    PlatformName, PlatformRawTcb, PlatformRecord, PlatformSummary, PrewarmReport, PrewarmRequest,
    Problem, PromotionRequest, QuoteComparison, QuoteExplanation, QuoteFacts, RefreshReport,
    RefreshStep, Refused, RegisterChips, RegisterReport, RegisterRequest, RegisteredChip,
    RotationReport, ShortComponent, ShortfallPart, ShortfallRecord, ShortfallTarget, StandardMove,
    Status, SupplementalRecord, ThimCertification, TokenSummary, TransitionRecord,
    TrustDomainFacts, WaitingVersion, WithdrawalRequest,
};
