//! Which CRL a `uri=` names: an exact list, matched after decoding, never fetched from where it points.
//!
//! PCCS fetches any URL that fits a loose pattern, and answers only for the exact text it stored. Here a URL
//! is a name of one of three CRLs of ours; it cannot make THIM connect anywhere. Clients escape it not at
//! all (QCNL), once or twice (Azure), in either case (`spec/quote-provider-clients.md` sections 3 and 4).

use percent_encoding::percent_decode_str;
use thim_verify::{ArtefactKey, PckCa};

/// A CRL that a URL names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Named {
    /// Which.
    pub key: ArtefactKey,
    /// True where the URL's own query says `encoding=pem`.
    pub says_pem: bool,
    /// True where the URL's own query says `encoding=der`.
    pub says_der: bool,
}

/// The CRL that `uri`, decoded once as a parameter, names.
pub fn named(uri: &str) -> Option<Named> {
    if uri.len() > LIMIT_BYTES {
        return None;
    }
    let mut text = uri.to_owned();
    // The parameter was decoded once; Azure's clients escape twice.
    for _ in 0..2 {
        if let Some(found) = exact(&text.to_ascii_lowercase()) {
            return Some(found);
        }
        let decoded = percent_decode_str(&text).decode_utf8().ok()?.into_owned();
        if decoded == text {
            return None;
        }
        text = decoded;
    }
    exact(&text.to_ascii_lowercase())
}

fn exact(text: &str) -> Option<Named> {
    let plain = |key| {
        Some(Named {
            key,
            says_pem: false,
            says_der: false,
        })
    };
    if let Some(file) = text.strip_prefix("https://certificates.trustedservices.intel.com/") {
        return match file {
            "intelsgxrootca.der" | "intelsgxrootca.crl" => plain(ArtefactKey::RootCrl),
            "intelsgxpckplatform.crl" => plain(ArtefactKey::PckCrl {
                ca: PckCa::Platform,
            }),
            "intelsgxpckprocessor.crl" => plain(ArtefactKey::PckCrl {
                ca: PckCa::Processor,
            }),
            _ => None,
        };
    }
    let rest = text.strip_prefix("https://api.trustedservices.intel.com/sgx/certification/")?;
    let query = ["v2/pckcrl?", "v3/pckcrl?", "v4/pckcrl?"]
        .iter()
        .find_map(|path| rest.strip_prefix(path))?;
    let mut ca = None;
    let mut encoding = None;
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("ca", value)) if ca.is_none() => ca = Some(value),
            Some(("encoding", value)) if encoding.is_none() => encoding = Some(value),
            _ => return None,
        }
    }
    let ca = PckCa::ALL
        .into_iter()
        .find(|known| Some(known.name()) == ca)?;
    let (says_pem, says_der) = match encoding {
        None => (false, false),
        Some("pem") => (true, false),
        Some("der") => (false, true),
        Some(_) => return None,
    };
    Some(Named {
        key: ArtefactKey::PckCrl { ca },
        says_pem,
        says_der,
    })
}

/// PCCS's own limit.
const LIMIT_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_three_crls() {
        let root = Some(ArtefactKey::RootCrl);
        let platform = Some(ArtefactKey::PckCrl {
            ca: PckCa::Platform,
        });
        let processor = Some(ArtefactKey::PckCrl {
            ca: PckCa::Processor,
        });
        for (uri, expected) in [
            (
                "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
                root,
            ),
            (
                "https://certificates.trustedservices.intel.com/IntelSGXRootCA.crl",
                root,
            ),
            (
                "HTTPS://Certificates.TrustedServices.Intel.com/intelsgxrootca.DER",
                root,
            ),
            (
                "https%3a%2f%2fcertificates.trustedservices.intel.com%2fintelsgxrootca.crl",
                root,
            ),
            (
                "https%253a%252f%252fcertificates.trustedservices.intel.com%252fintelsgxrootca.crl",
                root,
            ),
            (
                "https%3a%2f%2fcertificates.trustedservices.intel.com%2fintelsgxpckprocessor.crl",
                processor,
            ),
            (
                "https%3a%2f%2fapi.trustedservices.intel.com%2fsgx%2fcertification%2fv3%2fpckcrl%3fca%3dplatform%26encoding%3dpem",
                platform,
            ),
            (
                "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
                platform,
            ),
            (
                "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?encoding=pem&ca=processor",
                processor,
            ),
        ] {
            assert_eq!(named(uri).map(|found| found.key), expected, "{uri}");
        }
    }

    #[test]
    fn nothing_else_is_named() {
        let longest = format!(
            "https://certificates.trustedservices.intel.com/{}",
            "a".repeat(2048)
        );
        for uri in [
            "",
            "http://evil/",
            "http://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
            "https://evil.example/IntelSGXRootCA.der",
            "https://evilcertificates.trustedservices.intel.com/IntelSGXRootCA.der",
            "https://certificates.trustedservices.intel.com.evil.example/IntelSGXRootCA.der",
            "https://certificates.trustedservices.intel.com@evil.example/IntelSGXRootCA.der",
            "https://user:pass@certificates.trustedservices.intel.com/IntelSGXRootCA.der",
            "https://certificates.trustedservices.intel.com:443/IntelSGXRootCA.der",
            "https://certificates.trustedservices.intel.com:8443/IntelSGXRootCA.der",
            "https://certificates.trustedservices.intel.com./IntelSGXRootCA.der",
            "https://certificates.trustedservices.intel.com/../IntelSGXRootCA.der",
            "https://certificates.trustedservices.intel.com/./IntelSGXRootCA.der",
            "https://certificates.trustedservices.intel.com//IntelSGXRootCA.der",
            "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der?x",
            "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der#x",
            "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der ",
            "https://certificates.trustedservices.intel.com/IntelSGXRootCA.pem",
            "https%25253a%25252f%25252fcertificates.trustedservices.intel.com%25252fintelsgxrootca.crl",
            "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=root",
            "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl",
            "https://api.trustedservices.intel.com/sgx/certification/v5/pckcrl?ca=platform",
            "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&ca=processor",
            "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=hex",
            "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&x=1",
            "file:///etc/passwd",
            longest.as_str(),
        ] {
            assert_eq!(named(uri), None, "{uri}");
        }
    }
}
