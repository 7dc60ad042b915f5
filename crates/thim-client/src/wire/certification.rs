//! The answer of `/metadata/THIM/amd/certification`: a chip's certificate and its chain, as Azure's hosts give it.
//!
//! One object of four strings, in this order, without blanks: what recorded hosts send, and what the file
//! `host-amd-cert-base64` of confidential containers is the base64 of. Clients join `vcekCert` and `certificateChain`
//! with nothing in between, so both end in a line feed. Source: spec/amd-kds-and-thim.md, 6.1 to 6.4.

use serde::{Deserialize, Serialize};

/// Certificates of one chip at one TCB. Unknown members are ignored: the shape is Azure's to extend.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ThimCertification {
    /// One PEM certificate, 64 columns, line feeds, one at the end.
    pub vcek_cert: String,
    /// The TCB: the little-endian number of a report's eight bytes in 16 lower-case hex digits.
    pub tcbm: String,
    /// The PEM of the issuing key (ASK), then of the root (ARK).
    pub certificate_chain: String,
    /// For how many seconds a client may keep this; decimal, `86400` where nothing else is said.
    #[serde(default = "a_day")]
    pub cache_control: String,
}

impl ThimCertification {
    /// From the PEM of a certificate and of its chain, which the caller has verified; a missing last line feed is added.
    pub fn new(vcek_pem: &str, tcbm: &str, chain_pem: &str, cache_seconds: u32) -> Self {
        Self {
            vcek_cert: ended(vcek_pem),
            tcbm: tcbm.to_owned(),
            certificate_chain: ended(chain_pem),
            cache_control: cache_seconds.to_string(),
        }
    }

    /// The JSON that is served, without blanks.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("four strings are JSON")
    }

    /// `cacheControl` in seconds; none where it is no number.
    pub fn cache_seconds(&self) -> Option<u32> {
        let digits = self.cache_control.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| self.cache_control.parse().ok()).flatten()
    }
}

/// What a client takes where `cacheControl` is absent; Contrast treats it as optional.
pub const DEFAULT_CACHE_SECONDS: u32 = 86_400;

fn a_day() -> String {
    DEFAULT_CACHE_SECONDS.to_string()
}

fn ended(pem: &str) -> String {
    let mut text = pem.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_strings_in_order_and_nothing_else() {
        let made = ThimCertification::new("V\n", "7308000000000003", "C", 86_400);
        let json = made.to_json();
        assert_eq!(
            json,
            r#"{"vcekCert":"V\n","tcbm":"7308000000000003","certificateChain":"C\n","cacheControl":"86400"}"#
        );
        let read: ThimCertification = serde_json::from_str(&json).expect("its own JSON");
        assert_eq!(read, made);
        assert_eq!(read.cache_seconds(), Some(86_400));
    }

    #[test]
    fn cache_control_may_be_absent_and_must_be_a_number() {
        let text = r#"{"vcekCert":"V","tcbm":"1","certificateChain":"C","more":[1]}"#;
        let read: ThimCertification = serde_json::from_str(text).expect("three fields");
        assert_eq!(read.cache_seconds(), Some(DEFAULT_CACHE_SECONDS));
        for (text, seconds) in [
            ("0", Some(0)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("4294967296", None),
            ("max-age=5", None),
        ] {
            let read = ThimCertification {
                cache_control: text.to_owned(),
                ..read.clone()
            };
            assert_eq!(read.cache_seconds(), seconds, "{text}");
        }
        for text in [
            r#"{"VcekCert":"V","tcbm":"1","certificateChain":"C"}"#,
            r#"{"vcekCert":"V","tcbm":1,"certificateChain":"C"}"#,
            r#"{"vcekCert":"V","certificateChain":"C"}"#,
        ] {
            assert!(
                serde_json::from_str::<ThimCertification>(text).is_err(),
                "{text}"
            );
        }
    }
}
