//! What the node agent reads of others: the host file, a certification, a cause, a target.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use thim_agent::cause::{Cause, HEADER, is_harmless};
use thim_agent::certification::{Certification, Trust};
use thim_agent::host::Host;
use thim_agent::manners::{Asking, judge};
use thim_verify::UnixTime;
use thim_verify::amd::{Anchors, Products};

static TRUST: LazyLock<Trust> = LazyLock::new(|| Trust {
    anchors: Anchors::builtin(),
    products: Products::builtin(),
});

/// None of them is taken for more than it is, and nothing is said that could be a chip's id.
pub fn agent_files(data: &[u8]) {
    let now = UnixTime::from_secs(1_790_000_000);
    match Host::from_json(&TRUST.products, data) {
        Ok(host) => {
            assert!(!host.hw_id.is_zero());
            assert!(host.is_named(&TRUST.products, &host.hw_id.to_hex_lower()));
        }
        Err(error) => assert!(error.to_string().len() < 1000),
    }
    let host = r#"{"chipId":"0a0b0c0d0e0f0a0b","reportedTcb":"1"}"#;
    let host = Host::from_json(&TRUST.products, host.as_bytes()).expect("a host");
    // Nobody has signed for that chip.
    assert!(Certification::verify(data, &host, &TRUST, now).is_err());
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(value) = HeaderValue::from_str(text) {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, value);
        if let Some(cause) = Cause::from_headers(&headers) {
            assert!(is_harmless(&cause.header()) || cause.header().len() > 300);
            headers.insert(HEADER, cause.header());
            assert_eq!(Cause::from_headers(&headers), Some(cause));
        }
    }
    if let Ok(uri) = text.parse::<Uri>() {
        let mut headers = HeaderMap::new();
        headers.insert("metadata", HeaderValue::from_static("true"));
        let asking = Asking {
            method: &Method::GET,
            uri: &uri,
            version: Version::HTTP_10,
            headers: &headers,
            local: ([169, 254, 169, 254], 80).into(),
        };
        if judge(&asking, &[]).is_ok() {
            assert!(uri.path().starts_with("/metadata/") && !uri.path().contains(".."));
        }
    }
}
