//! The calls about one platform: its PCK certificates by encrypted PPID or by manifest, and its direct registration
//! (`spec/intel-pcs-and-pccs.md` section 4). What identifies a platform is a secret: it goes into the call and
//! nowhere else, so the URL that logs and events may show has none of it.

use bytes::Bytes;
use data_encoding::HEXUPPER;
use thim_verify::PceId;

use super::source::Call;

/// A call about one platform.
#[derive(Clone, Copy)]
pub struct PckRequest<'a> {
    /// The platform's PCE.
    pub pce_id: PceId,
    /// What tells the vendor which platform it is.
    pub by: PckBy<'a>,
}

/// What tells the vendor which platform is meant; raw bytes.
#[derive(Clone, Copy)]
pub enum PckBy<'a> {
    /// Registers a platform directly: the vendor keeps its keys, and certificates are had by encrypted PPID.
    DirectRegistration(&'a [u8]),
    /// For platforms whose keys the vendor keeps.
    EncryptedPpid(&'a [u8]),
    /// Registers indirectly: the vendor keeps no keys, and wants the manifest each time.
    Manifest(&'a [u8]),
}

impl PckRequest<'_> {
    /// The call to a source with this base URL.
    pub(super) fn call(&self, base: &str) -> Call {
        let pce_id = self.pce_id;
        let shown = |path: &str| format!("{base}{path}");
        match self.by {
            PckBy::DirectRegistration(manifest) => Call {
                shown: shown(REGISTRATION),
                url: shown(REGISTRATION),
                post: Some((OCTETS, Bytes::copy_from_slice(manifest))),
                chain_header: None,
                body_limit_bytes: 64 * 1024,
            },
            PckBy::EncryptedPpid(encrypted) => Call {
                shown: format!("{base}{PCK_CERTS}?encrypted_ppid=...&pceid={pce_id}"),
                url: format!(
                    "{base}{PCK_CERTS}?encrypted_ppid={}&pceid={pce_id}",
                    HEXUPPER.encode(encrypted)
                ),
                post: None,
                chain_header: Some(CHAIN_HEADER),
                body_limit_bytes: LIST_LIMIT_BYTES,
            },
            PckBy::Manifest(manifest) => Call {
                shown: shown(PCK_CERTS),
                url: shown(PCK_CERTS),
                post: Some((
                    "application/json",
                    format!(
                        "{{\"platformManifest\":\"{}\",\"pceid\":\"{pce_id}\"}}",
                        HEXUPPER.encode(manifest)
                    )
                    .into(),
                )),
                chain_header: Some(CHAIN_HEADER),
                body_limit_bytes: LIST_LIMIT_BYTES,
            },
        }
    }
}

const PCK_CERTS: &str = "/sgx/certification/v4/pckcerts";
const REGISTRATION: &str = "/sgx/registration/v1/platform";
const CHAIN_HEADER: &str = "sgx-pck-certificate-issuer-chain";
const OCTETS: &str = "application/octet-stream";
/// Real lists have 10 to 50 KB.
const LIST_LIMIT_BYTES: usize = 1024 * 1024;
