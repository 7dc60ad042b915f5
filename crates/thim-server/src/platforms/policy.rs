//! Appraisal policies of Intel's quote appraisal, kept for those who ask: signed texts (JWT) that THIM neither reads
//! further than it must nor verifies; the appraisal enclave does. Rules: PCCS's `PUT /appraisalpolicy`
//! (`spec/intel-pcs-and-pccs.md` section 2.11).
//!
//! Two things are narrower than PCCS: a text has the characters of a JWT alone, since texts are handed out joined by
//! commas and as HTML, and it is at most 64 KiB long.

use aws_lc_rs::digest;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::Value;
use thim_verify::Fmspc;

use super::registration::{Fields, Invalid};

/// A policy to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// SHA-384 of the text, 96 lower hex digits: PCCS's id.
    pub id: String,
    /// For which machines.
    pub fmspc: Fmspc,
    /// What it appraises.
    pub kind: PolicyType,
    /// The JWT, as it came.
    pub text: String,
    /// Whether it is what `GET /appraisalpolicy` answers for these machines.
    pub is_default: bool,
}

/// What a policy appraises; the number is PCCS's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyType {
    /// SGX enclaves.
    Sgx = 0,
    /// Trust domains of TDX 1.0.
    Tdx10 = 1,
    /// Trust domains of TDX 1.5.
    Tdx15 = 2,
}

impl PolicyType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sgx, Self::Tdx10, Self::Tdx15];

    /// PCCS's number.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// The class of environments that a policy of this type names.
    const fn class_id(self) -> &'static str {
        match self {
            Self::Sgx => "3123ec35-8d38-4ea5-87a5-d6c48b567570",
            Self::Tdx10 => "9eec018b-7481-4b1c-8e1a-9f7c0c8c777f",
            Self::Tdx15 => "f708b97f-0fb2-4e6b-8b03-8a5bcd1221d3",
        }
    }
}

impl Policy {
    /// From the JSON body of `PUT /appraisalpolicy`.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn from_json(body: &[u8]) -> Result<Self, Invalid> {
        let fields = Fields::of_body(body)?;
        let is_default = match fields.required("is_default")? {
            "true" => true,
            "false" => false,
            _ => return Err(Invalid::new("is_default", "wanted true or false")),
        };
        let text_of = |name| {
            fields
                .text(name)?
                .ok_or_else(|| Invalid::new(name, "missing"))
        };
        let fmspc = text_of("fmspc")?
            .parse()
            .map_err(|_| Invalid::new("fmspc", "wanted 12 hex digits"))?;
        let text = text_of("policy")?;
        let kind = kind_of(&text).map_err(|why| Invalid::new("policy", why))?;
        Ok(Self {
            id: HEXLOWER.encode(digest::digest(&digest::SHA384, text.as_bytes()).as_ref()),
            fmspc,
            kind,
            text,
            is_default,
        })
    }
}

/// What the second part of a JWT says it appraises: the first class of environments that is known, quoting enclaves
/// of TDX skipped, since their policies stand beside those of the trust domains.
fn kind_of(text: &str) -> Result<PolicyType, String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!(
            "{} bytes; at most {MAX_TEXT_BYTES} are accepted",
            text.len()
        ));
    }
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte))
    {
        return Err("wanted a JWT: Base64url, dots".to_owned());
    }
    let part = text
        .split('.')
        .nth(1)
        .ok_or("wanted a JWT: it has no second part")?;
    // RFC 7515 forbids padding; tools write it all the same, and PCCS's reader takes both.
    let payload = BASE64URL_NOPAD
        .decode(part.trim_end_matches('=').as_bytes())
        .map_err(|_| "its second part is not Base64url")?;
    let payload: Value =
        serde_json::from_slice(&payload).map_err(|_| "its second part is not JSON")?;
    let inner = payload
        .get("policy_payload")
        .and_then(Value::as_str)
        .ok_or("wanted a text policy_payload in its second part")?;
    let inner: Value = serde_json::from_str(inner).map_err(|_| "policy_payload is not JSON")?;
    let policies = inner
        .get("policy_array")
        .and_then(Value::as_array)
        .ok_or("wanted an array policy_array in policy_payload")?;
    for (place, policy) in policies.iter().enumerate() {
        let class_id = policy
            .pointer("/environment/class_id")
            .and_then(Value::as_str)
            .ok_or_else(|| format!("policy_array[{place}] has no environment.class_id"))?;
        let known = PolicyType::ALL
            .into_iter()
            .find(|kind| kind.class_id().eq_ignore_ascii_case(class_id));
        if let Some(kind) = known {
            return Ok(kind);
        }
        if !class_id.eq_ignore_ascii_case(TD_QE_CLASS_ID) {
            return Err(format!(
                "policy_array[{place}].environment.class_id is none of SGX, TDX 1.0, TDX 1.5"
            ));
        }
    }
    Err("policy_array names nothing that is appraised".to_owned())
}

/// The class of TDX's quoting enclaves.
const TD_QE_CLASS_ID: &str = "3769258c-75e6-4bc7-8d72-d2b0e224cad2";
/// Intel's samples have some 2 KiB, 6 with a chain in the header; clients read an answer of at most 16 of them.
const MAX_TEXT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL;
    use serde_json::json;

    use super::*;

    fn jwt(payload: &Value) -> String {
        format!(
            "e30.{}.c2ln",
            BASE64URL_NOPAD.encode(payload.to_string().as_bytes())
        )
    }

    fn policies(class_ids: &[&str]) -> Value {
        let policies: Vec<_> = class_ids
            .iter()
            .map(|id| json!({"environment": {"class_id": id}, "reference": {}}))
            .collect();
        json!({"policy_payload": json!({"policy_array": policies}).to_string()})
    }

    fn body(policy: &str) -> Value {
        json!({"policy": policy, "is_default": true, "fmspc": "00906ed50000"})
    }

    fn read(body: &Value) -> Result<Policy, Invalid> {
        Policy::from_json(body.to_string().as_bytes())
    }

    fn sgx() -> String {
        jwt(&policies(&[PolicyType::Sgx.class_id()]))
    }

    #[test]
    fn the_text_is_kept_and_names_the_policy() {
        let policy = read(&body(&sgx())).expect("a policy");
        assert_eq!(policy.text, sgx());
        assert_eq!(policy.fmspc.to_string(), "00906ED50000");
        assert_eq!((policy.kind, policy.is_default), (PolicyType::Sgx, true));
        assert_eq!(policy.id.len(), 96);
        // One other letter, another id.
        let other = read(&body(&format!("{}x", sgx()))).expect("a policy");
        assert_ne!(other.id, policy.id);
        // FIPS 180-4, "abc".
        assert_eq!(
            HEXLOWER.encode(digest::digest(&digest::SHA384, b"abc").as_ref()),
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
        );
    }

    #[test]
    fn the_first_known_class_decides() {
        let other = "00000000-0000-0000-0000-000000000000";
        let [sgx, tdx10, tdx15] = PolicyType::ALL.map(PolicyType::class_id);
        let upper = tdx15.to_uppercase();
        for (classes, kind) in [
            (vec![sgx], Some(PolicyType::Sgx)),
            (vec![tdx10], Some(PolicyType::Tdx10)),
            (vec![&*upper], Some(PolicyType::Tdx15)),
            (vec![TD_QE_CLASS_ID, tdx15], Some(PolicyType::Tdx15)),
            (vec![tdx10, sgx], Some(PolicyType::Tdx10)),
            // As PCCS: what follows is not looked at.
            (vec![sgx, other], Some(PolicyType::Sgx)),
            (vec![other, sgx], None),
            (vec![TD_QE_CLASS_ID], None),
            (vec![""], None),
            (vec![], None),
        ] {
            assert_eq!(
                read(&body(&jwt(&policies(&classes))))
                    .ok()
                    .map(|policy| policy.kind),
                kind,
                "{classes:?}"
            );
        }
        assert_eq!(PolicyType::ALL.map(PolicyType::number), [0, 1, 2]);
    }

    #[test]
    fn each_field_and_its_nearest_miss() {
        for (name, value, accepted) in [
            ("is_default", json!(false), true),
            ("is_default", json!("true"), false),
            ("is_default", json!(1), false),
            ("is_default", json!(null), false),
            ("fmspc", json!("00906ED50000"), true),
            ("fmspc", json!("00906ED5000"), false),
            ("fmspc", json!("00906ED500000"), false),
            ("fmspc", json!(""), false),
            ("fmspc", json!(null), false),
            ("policy", json!(null), false),
            ("policy", json!({}), false),
            // `conformance/pccs-1.27.json`, cases 59 and 60.
            ("policy", json!("nodot"), false),
            ("policy", json!("a.b.c"), false),
            ("policy", json!(""), false),
            ("more", json!([]), true),
        ] {
            let mut body = body(&sgx());
            body[name] = value.clone();
            match read(&body) {
                Ok(_) => assert!(accepted, "{name} = {value} was accepted"),
                Err(fault) => {
                    assert!(!accepted, "{name} = {value}: {fault}");
                    assert_eq!(fault.field, name);
                }
            }
        }
        for name in ["is_default", "fmspc", "policy"] {
            let mut body = body(&sgx());
            body.as_object_mut().expect("an object").remove(name);
            assert_eq!(read(&body), Err(Invalid::new(name, "missing")));
        }
        assert!(Policy::from_json(b"{bad").is_err());
    }

    #[test]
    fn the_text_is_a_jwt_of_a_kind_or_refused() {
        let payload = policies(&[PolicyType::Sgx.class_id()]);
        let json = payload.to_string();
        // So that there is something to pad.
        let padded = (0..3)
            .map(|spaces| format!("{json}{}", " ".repeat(spaces)))
            .find(|json| json.len() % 3 == 1)
            .expect("one of three");
        let with_padding = BASE64URL.encode(padded.as_bytes());
        assert!(with_padding.ends_with("=="));
        let class_id = PolicyType::Sgx.class_id();
        for (text, accepted) in [
            (format!("a.{with_padding}.b"), true),
            (
                format!("a.{}", BASE64URL_NOPAD.encode(json.as_bytes())),
                true,
            ),
            (
                format!("a.{}.b,c", BASE64URL_NOPAD.encode(json.as_bytes())),
                false,
            ),
            (
                format!("<a>.{}", BASE64URL_NOPAD.encode(json.as_bytes())),
                false,
            ),
            (
                format!("a.{}+.b", BASE64URL_NOPAD.encode(json.as_bytes())),
                false,
            ),
            (
                format!("a.b.{}", BASE64URL_NOPAD.encode(json.as_bytes())),
                false,
            ),
            (format!("a.{}.b", BASE64URL_NOPAD.encode(b"[")), false),
            (jwt(&json!([])), false),
            (jwt(&json!({"policy_payload": {"policy_array": []}})), false),
            (jwt(&json!({"policy_payload": "{"})), false),
            (jwt(&json!({"policy_payload": "{}"})), false),
            (
                jwt(&json!({"policy_payload": json!({"policy_array": {}}).to_string()})),
                false,
            ),
            (
                jwt(
                    &json!({"policy_payload": json!({"policy_array": [{"class_id": class_id}]}).to_string()}),
                ),
                false,
            ),
            (
                jwt(
                    &json!({"policy_payload": json!({"policy_array": [{"environment": {"class_id": 7}}]}).to_string()}),
                ),
                false,
            ),
        ] {
            assert_eq!(read(&body(&text)).is_ok(), accepted, "{text}");
        }
    }

    #[test]
    fn a_text_has_a_limit() {
        let text = sgx();
        let most = format!("{text}{}", "x".repeat(MAX_TEXT_BYTES - text.len()));
        assert!(read(&body(&most)).is_ok());
        assert!(read(&body(&format!("{most}x"))).is_err());
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        let deep = jwt(&json!({ "policy_payload": deep }));
        assert!(read(&body(&deep)).is_err());
    }
}
