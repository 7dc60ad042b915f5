//! What a platform's state is called, and why something about a platform is as it is: one word a cause, the same in
//! `THIM-Cause`, in listings, in events and in the doctor (docs/doctor.md has a paragraph for each).

use std::fmt;
use std::str::FromStr;

/// Where a platform stands. `fetching` is not among them: it is what a process is doing, not what is so.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PlatformState {
    /// The vendor has no keys of it and wants a (new) manifest.
    NeedsManifest,
    /// Registered; nobody has asked the vendor yet.
    New,
    /// It has certificates, and entries of its list that do not verify.
    Partial,
    /// It has certificates.
    Ready,
    /// The vendor, or our verification, says no.
    Refused,
    /// The vendor could not be asked; it will be.
    Waiting,
}

impl PlatformState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NeedsManifest,
        Self::New,
        Self::Partial,
        Self::Ready,
        Self::Refused,
        Self::Waiting,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeedsManifest => "needs-manifest",
            Self::New => "new",
            Self::Partial => "partial",
            Self::Ready => "ready",
            Self::Refused => "refused",
            Self::Waiting => "waiting",
        }
    }
}

/// Why: of a state, of a refusal, of a diagnosis.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// The vendor's list has no certificate, only `Not available`.
    AllNotAvailable,
    /// The vendor refuses our subscription key.
    ApiKeyRefused,
    /// Too much is being fetched at once.
    Busy,
    /// Registered indirectly before, so the vendor refuses to keep its keys.
    CachedKeysPolicy,
    /// The certificate that fits is on the vendor's revocation list.
    CertificateRevoked,
    /// Certificates are there, and the TCB info or CRL that goes with them is not.
    CollateralMissing,
    /// Nothing to ask the vendor with: no encrypted PPID came with the request.
    EncryptedPpidMissing,
    /// The encrypted PPID is all zeros: the host could not read it.
    EncryptedPpidZero,
    /// Asked for by something that cannot read its PPID, and never registered: a guest.
    GuestNotHost,
    /// The vendor cannot read the manifest.
    ManifestMalformed,
    /// The vendor knows no keys for this manifest any more.
    ManifestStale,
    /// The vendor has no keys of this platform; it wants the manifest.
    NeedsManifest,
    /// Nothing is wrong.
    None,
    /// The vendor refuses one of the packages.
    PackageRefused,
    /// A pre-production processor, and the production service.
    PreProduction,
    /// Somebody else's QE id.
    QeIdTaken,
    /// Nothing is known under this QE id.
    QeIdUnknown,
    /// An all-zero QE id names no platform.
    QeIdZero,
    /// Registered, and waiting to be collected by a tool (fill mode `offline`).
    Queued,
    /// The store could not be read or written.
    Storage,
    /// The raw TCB is below every certificate: the firmware is too old.
    TcbTooLow,
    /// The vendor's answer does not verify.
    Untrusted,
    /// The vendor says no in a way we do not know.
    VendorRefused,
    /// The vendor, or our budget for it, asks for patience.
    VendorThrottled,
    /// The vendor does not answer.
    VendorUnavailable,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::AllNotAvailable,
        Self::ApiKeyRefused,
        Self::Busy,
        Self::CachedKeysPolicy,
        Self::CertificateRevoked,
        Self::CollateralMissing,
        Self::EncryptedPpidMissing,
        Self::EncryptedPpidZero,
        Self::GuestNotHost,
        Self::ManifestMalformed,
        Self::ManifestStale,
        Self::NeedsManifest,
        Self::None,
        Self::PackageRefused,
        Self::PreProduction,
        Self::QeIdTaken,
        Self::QeIdUnknown,
        Self::QeIdZero,
        Self::Queued,
        Self::Storage,
        Self::TcbTooLow,
        Self::Untrusted,
        Self::VendorRefused,
        Self::VendorThrottled,
        Self::VendorUnavailable,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllNotAvailable => "all-not-available",
            Self::ApiKeyRefused => "api-key-refused",
            Self::Busy => "busy",
            Self::CachedKeysPolicy => "cached-keys-policy",
            Self::CertificateRevoked => "certificate-revoked",
            Self::CollateralMissing => "collateral-missing",
            Self::EncryptedPpidMissing => "encrypted-ppid-missing",
            Self::EncryptedPpidZero => "encrypted-ppid-zero",
            Self::GuestNotHost => "guest-not-host",
            Self::ManifestMalformed => "manifest-malformed",
            Self::ManifestStale => "manifest-stale",
            Self::NeedsManifest => "needs-manifest",
            Self::None => "none",
            Self::PackageRefused => "package-refused",
            Self::PreProduction => "pre-production",
            Self::QeIdTaken => "qe-id-taken",
            Self::QeIdUnknown => "qe-id-unknown",
            Self::QeIdZero => "qe-id-zero",
            Self::Queued => "queued",
            Self::Storage => "storage",
            Self::TcbTooLow => "tcb-too-low",
            Self::Untrusted => "untrusted",
            Self::VendorRefused => "vendor-refused",
            Self::VendorThrottled => "vendor-throttled",
            Self::VendorUnavailable => "vendor-unavailable",
        }
    }

    /// The state of a platform that has no certificates for this cause.
    pub(crate) const fn state(self) -> PlatformState {
        match self {
            Self::AllNotAvailable
            | Self::EncryptedPpidZero
            | Self::ManifestMalformed
            | Self::ManifestStale
            | Self::NeedsManifest => PlatformState::NeedsManifest,
            Self::CachedKeysPolicy
            | Self::PackageRefused
            | Self::PreProduction
            | Self::QeIdTaken
            | Self::Untrusted
            | Self::VendorRefused => PlatformState::Refused,
            Self::None | Self::CertificateRevoked | Self::CollateralMissing | Self::TcbTooLow => {
                PlatformState::Ready
            }
            Self::EncryptedPpidMissing
            | Self::GuestNotHost
            | Self::QeIdUnknown
            | Self::QeIdZero
            | Self::Queued => PlatformState::New,
            Self::ApiKeyRefused
            | Self::Busy
            | Self::Storage
            | Self::VendorThrottled
            | Self::VendorUnavailable => PlatformState::Waiting,
        }
    }
}

impl fmt::Display for PlatformState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not one of the words.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("wanted one of {0}")]
pub struct UnknownWord(&'static str);

impl FromStr for PlatformState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or(UnknownWord(
                "needs-manifest, new, partial, ready, refused, waiting",
            ))
    }
}

impl FromStr for Cause {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|cause| cause.name() == text)
            .ok_or(UnknownWord("the causes of docs/doctor.md"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for state in PlatformState::ALL {
            assert_eq!(state.name().parse(), Ok(state));
        }
        for cause in Cause::ALL {
            assert_eq!(cause.name().parse(), Ok(cause));
        }
        assert!("Ready".parse::<PlatformState>().is_err());
        assert!("".parse::<Cause>().is_err());
    }
}
