//! The doctor's words: for each cause what is so, and the one next step with whoever takes it. docs/doctor.md repeats
//! them; a test compares.

use crate::platforms::Cause;

/// For people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Words {
    /// What is so.
    pub what: &'static str,
    /// What to do, and who does it.
    pub next: &'static str,
}

/// What to say of a cause.
pub const fn words(cause: Cause) -> Words {
    let (what, next) = match cause {
        Cause::AllNotAvailable => (
            "The vendor lists the platform's TCB levels and has a certificate for none of them.",
            "Whoever runs the host: update its BIOS and microcode, run PCKIDRetrievalTool on the host again, and register the new file (thim platform register FILE).",
        ),
        Cause::ApiKeyRefused => (
            "The vendor refuses the subscription key that THIM sends, or wants one.",
            "THIM's operator: put a valid key into the file that [intel] api_key_file names, and restart; what waits is then fetched by itself.",
        ),
        Cause::Busy => (
            "Too much was being fetched at once.",
            "Nobody: ask again in a few seconds; if it comes often, THIM's operator raises [intel] concurrency and requests_per_second.",
        ),
        Cause::CachedKeysPolicy => (
            "The vendor refuses to keep the platform's keys: it was registered indirectly before, by its manifest, and that is for good.",
            "Whoever runs the host: register it with its manifest and without --direct; THIM keeps the manifest and fetches with it.",
        ),
        Cause::CertificateRevoked => (
            "The certificate that fits the platform is on the vendor's revocation list, so it is not served.",
            "Whoever runs the host: take it out of service, install the newest BIOS and microcode, register it again, and ask the vendor if it stays revoked.",
        ),
        Cause::CollateralMissing => (
            "The platform has its certificates, and collateral that verifiers of its quotes need is missing or expired.",
            "THIM's operator: have it fetched (POST /thim/v1/refresh), or import it where nothing is fetched (thim collateral import PATH).",
        ),
        Cause::EncryptedPpidMissing => (
            "Nothing came that the vendor could be asked with: neither an encrypted PPID nor a manifest.",
            "Whoever runs the host: run PCKIDRetrievalTool on the host itself, as root, and register its file unchanged (thim platform register FILE).",
        ),
        Cause::EncryptedPpidZero => (
            "The encrypted PPID is all zeros: the host could not read it, and there is no manifest.",
            "Whoever runs the host: run PCKIDRetrievalTool on the bare machine, as root, with SGX enabled in the BIOS and the SGX driver and PCE installed, and register its file.",
        ),
        Cause::GuestNotHost => (
            "Something asks that was never registered and cannot tell which machine it is on: a virtual machine, most likely.",
            "Whoever runs the host: run PCKIDRetrievalTool on the host under this guest and register its file; the guest needs nothing but THIM's address.",
        ),
        Cause::ManifestMalformed => (
            "The vendor cannot read the manifest: it is cut, altered, or no manifest.",
            "Whoever runs the host: read it again with PCKIDRetrievalTool on the host, and register the file unchanged.",
        ),
        Cause::ManifestStale => (
            "The vendor knows no keys for this manifest: it was used up, or a change of BIOS or microcode has made a newer one.",
            "Whoever runs the host: run PCKIDRetrievalTool on the host once more, and register the new manifest (thim platform register FILE).",
        ),
        Cause::NeedsManifest => (
            "The vendor has no keys of this platform; a machine of several packages must come with its manifest.",
            "Whoever runs the host: run PCKIDRetrievalTool on the host, and register its file with the manifest in it (thim platform register FILE).",
        ),
        Cause::None => (
            "Nothing is wrong: the platform has its certificates, and what verifiers of its quotes ask for is here and fresh.",
            "Nobody has to do anything.",
        ),
        Cause::PackageRefused => (
            "The vendor refuses one of the platform's processor packages: revoked, unknown, or of another kind than the others.",
            "Whoever runs the host: find out which processor was replaced, reset SGX to factory state in the BIOS, and register the new manifest; else ask the vendor.",
        ),
        Cause::PreProduction => (
            "The processor is a pre-production sample, which the vendor's production service does not know.",
            "THIM's operator: serve such machines from a THIM of their own, with the vendor's validation service as [intel] upstream and its root in [trust] intel_roots.",
        ),
        Cause::QeIdTaken => (
            "The QE id belongs to another platform, so it was not given to this one.",
            "THIM's administrator: find out which machine is the right one, and register it with an administrator's token, or forget the other (thim platform forget ID).",
        ),
        Cause::QeIdUnknown => (
            "Nothing is registered under this QE id and PCE id.",
            "Whoever runs the host: run PCKIDRetrievalTool on the host and register its file (thim platform register FILE); or compare the id with that file, if it was.",
        ),
        Cause::QeIdZero => (
            "An all-zero QE id names no platform: many machines have it.",
            "Whoever runs the host: let it ask with its encrypted PPID, and look for it by its own id (thim platform list).",
        ),
        Cause::Queued => (
            "It is registered and not fetched: a tool has to collect it, since THIM asks nobody.",
            "THIM's operator: collect the registrations (GET /sgx/certification/v4/platforms), fetch them where there is a connection, and deliver the file (PUT /sgx/certification/v4/platformcollateral).",
        ),
        Cause::Storage => (
            "THIM's own store could not be read or written.",
            "THIM's operator: look into the log and at the free space of the disk with the data directory.",
        ),
        Cause::TcbTooLow => (
            "The platform's raw TCB is below every certificate that the vendor has for it: its BIOS or microcode is too old.",
            "Whoever runs the host: install the newest BIOS and microcode, restart, run PCKIDRetrievalTool on the host again, and register its file.",
        ),
        Cause::Untrusted => (
            "What came for the platform does not verify, or does not verify any more, so it is not served.",
            "THIM's operator: make sure that [intel] upstream is the vendor's service, that no proxy in between alters answers, and that [trust] is right; then thim platform refetch ID.",
        ),
        Cause::VendorRefused => (
            "The vendor says no, in a way that THIM does not know.",
            "THIM's operator: take the status and the code below to the vendor's support.",
        ),
        Cause::VendorThrottled => (
            "The vendor, or THIM's budget for it, asks for patience.",
            "Nobody: it is tried again by itself; if a whole fleet is being registered, let it come more slowly.",
        ),
        Cause::VendorUnavailable => (
            "The vendor does not answer.",
            "THIM's operator: look at the way to the upstream (network, [intel] proxy) and at the vendor's status page; it is tried again by itself.",
        ),
    };
    Words { what, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_words_of_its_own_that_say_who_acts() {
        let mut seen = std::collections::BTreeSet::new();
        for cause in Cause::ALL {
            let Words { what, next } = words(cause);
            assert!(seen.insert(what) && seen.insert(next), "{cause}");
            let acts = [
                "Whoever runs the host: ",
                "THIM's operator: ",
                "THIM's administrator: ",
                "Nobody",
            ];
            assert!(
                acts.iter().any(|who| next.starts_with(who)),
                "{cause}: {next}"
            );
        }
    }
}
