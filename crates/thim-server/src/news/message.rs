//! A piece of news as a webhook gets it: a CloudEvent in structured JSON mode, signed. Pure.
//!
//! The event is CloudEvents 1.0 ("JSON Event Format", section 3); the signature is that of Standard Webhooks 1.0: an
//! HMAC-SHA256 over `id.timestamp.body`, one for each secret, so that a secret can be replaced while both hold. A receiver
//! sees the same id and the same body however often a delivery is tried; only the timestamp is another.

use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::BASE64;
use serde::Serialize;
use serde_json::Value;
use thim_verify::UnixTime;

use super::item;
use crate::store::NewsRow;

/// The content type of a message.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    subject: &'a str,
    time: UnixTime,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    /// The number of the piece of news at this service; rises.
    seq: i64,
    text: &'a str,
    #[serde(flatten)]
    facts: &'a Value,
}

/// The id and the body of a piece of news.
pub fn event(row: &NewsRow, source: &str) -> (String, Bytes) {
    let id = item::id(&row.key).to_string();
    let event = CloudEvent {
        specversion: "1.0",
        id: &id,
        source,
        kind: &row.kind,
        subject: &row.subject,
        time: row.at,
        datacontenttype: "application/json",
        data: Data {
            seq: row.seq,
            text: &row.text,
            facts: &row.data,
        },
    };
    let body = serde_json::to_vec(&event).expect("text, numbers and an object are JSON");
    (id, body.into())
}

/// What messages to one webhook are signed with: one secret, or the new one and the old one. Shows nothing of them.
#[derive(Clone)]
pub struct Secrets(Vec<hmac::Key>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Reads `whsec_` and base64 of 24 to 64 bytes, a line each.
    pub fn read(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim);
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        if !(1..=SECRETS).contains(&lines.len()) {
            let found = lines.len();
            return Err(format!("{found} secrets; wanted one or two, a line each"));
        }
        let keys = lines.iter().enumerate().map(|(line, text)| {
            // What stands there is not shown: it may be a secret with a typing error.
            let wrong = || {
                format!(
                    "line {}: wanted whsec_ and base64 of {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} bytes",
                    line + 1
                )
            };
            let text = text.strip_prefix("whsec_").ok_or_else(wrong)?;
            let bytes = BASE64.decode(text.as_bytes()).map_err(|_| wrong())?;
            if !(SECRET_MIN_BYTES..=SECRET_MAX_BYTES).contains(&bytes.len()) {
                return Err(wrong());
            }
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        });
        Ok(Self(keys.collect::<Result<_, String>>()?))
    }

    /// `webhook-signature`: `v1,` and base64, for each secret, with a space between.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let signatures = self.0.iter().map(|key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", BASE64.encode(context.sign().as_ref()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

/// The new one and the old one.
const SECRETS: usize = 2;
/// Standard Webhooks: "between 24 bytes (192 bits) and 64 bytes (512 bits)".
const SECRET_MIN_BYTES: usize = 24;
/// The other end of it.
const SECRET_MAX_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        // The example of Standard Webhooks' own libraries.
        let secrets = Secrets::read("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n").expect("a secret");
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let signature = secrets.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
        assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn wrong_secrets_are_refused_and_not_shown() {
        let good = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let short = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7o=";
        assert!(Secrets::read(&format!("{good}\n{good}")).is_ok());
        for (text, named) in [
            (String::new(), "0 secrets"),
            (format!("{good}\n{good}\n{good}"), "3 secrets"),
            (good.replace("whsec_", ""), "line 1"),
            (format!("{good}\n{short}"), "line 2"),
            (good.replace('+', "-"), "line 1"),
        ] {
            let error = Secrets::read(&text).expect_err(&text);
            assert!(error.contains(named) && !error.contains("C2FV"), "{error}");
        }
        let shown = format!("{:?}", Secrets::read(good));
        assert_eq!(shown, "Ok(Secrets(1))");
    }
}
