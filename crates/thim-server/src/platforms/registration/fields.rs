//! The members of a JSON object that came in at an endpoint, read one by one, so that what is refused is named: the
//! field and what was wanted of it, never the value, since the next field may be a secret.
//!
//! Of members with the same name the last counts, as in PCCS (JavaScript's `JSON.parse`). Values are told apart
//! without being read, so depth costs nothing, and what is signed inside stays as it was written. How large a
//! body may be is its reader's limit.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

/// A field is wrong or missing: its path, and what was wanted. Neither holds any of the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Invalid {
    /// The field, with its way down: `enc_ppid`, `platforms[3].enc_ppid`, `line 2: enc_ppid`.
    pub field: String,
    /// What was wanted, and how what was found differs.
    pub why: String,
}

impl Invalid {
    /// `why` is about `field`.
    pub fn new(field: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self {
            field: field.to_string(),
            why: why.to_string(),
        }
    }

    /// The same fault, one step further from the top: `at` is put before the field as it is.
    #[must_use]
    pub fn under(self, at: &str) -> Self {
        Self {
            field: format!("{at}{}", self.field),
            why: self.why,
        }
    }
}

/// An object's members, and where the object stands.
pub(in crate::platforms) struct Fields<'a> {
    at: String,
    members: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// A whole body.
    pub(in crate::platforms) fn of_body(body: &'a [u8]) -> Result<Self, Invalid> {
        let text =
            std::str::from_utf8(body).map_err(|_| Invalid::new(BODY, "wanted JSON in UTF-8"))?;
        Ok(Self {
            at: String::new(),
            members: object(text).map_err(|why| Invalid::new(BODY, why))?,
        })
    }

    /// The object `text` that stands at `at`.
    pub(in crate::platforms) fn read(text: &'a str, at: &str) -> Result<Self, Invalid> {
        Ok(Self {
            members: object(text).map_err(|why| Invalid::new(at, why))?,
            at: format!("{at}."),
        })
    }

    /// The way to a member.
    pub(in crate::platforms) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.at)
    }

    /// A fault of a member.
    pub(in crate::platforms) fn invalid(&self, name: &str, why: impl fmt::Display) -> Invalid {
        Invalid::new(self.path(name), why)
    }

    /// Puts the way to this object before a fault's field.
    pub(in crate::platforms) fn locate(&self, fault: Invalid) -> Invalid {
        fault.under(&self.at)
    }

    /// A member's exact text.
    pub(in crate::platforms) fn exact(&self, name: &str) -> Option<&'a str> {
        self.members.get(name).map(|value| value.get())
    }

    /// A member's exact text, which must be there.
    pub(in crate::platforms) fn required(&self, name: &str) -> Result<&'a str, Invalid> {
        self.exact(name)
            .ok_or_else(|| self.invalid(name, "missing"))
    }

    /// A member that is a string, if it is there.
    pub(in crate::platforms) fn text(&self, name: &str) -> Result<Option<String>, Invalid> {
        let Some(exact) = self.exact(name) else {
            return Ok(None);
        };
        serde_json::from_str(exact)
            .map(Some)
            // serde's own words may quote the value.
            .map_err(|_| self.invalid(name, "wanted a string"))
    }

    /// A member that is a string or `null`, if it is there.
    pub(in crate::platforms) fn text_or_null(&self, name: &str) -> Result<Option<String>, Invalid> {
        match self.exact(name) {
            Some("null") => Ok(None),
            _ => self.text(name),
        }
    }

    /// A member that is an object, if it is there.
    pub(in crate::platforms) fn object(&self, name: &str) -> Result<Option<Self>, Invalid> {
        self.exact(name)
            .map(|exact| Self::read(exact, &self.path(name)))
            .transpose()
    }

    /// The exact texts of the elements of a member that is an array of at most `limit`; it must be there.
    pub(in crate::platforms) fn array(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<&'a str>, Invalid> {
        let elements: Vec<&'a RawValue> = serde_json::from_str(self.required(name)?)
            .map_err(|_| self.invalid(name, "wanted an array"))?;
        if elements.len() > limit {
            return Err(self.invalid(
                name,
                format_args!("{} elements; at most {limit} are accepted", elements.len()),
            ));
        }
        Ok(elements.into_iter().map(RawValue::get).collect())
    }
}

fn object(text: &str) -> Result<BTreeMap<String, &RawValue>, String> {
    serde_json::from_str(text).map_err(|error| {
        // Where, and not in serde's words, which may quote what stands there.
        if error.is_data() {
            "wanted an object".to_owned()
        } else {
            format!(
                "not JSON, at line {} column {}",
                error.line(),
                error.column()
            )
        }
    })
}

/// What the whole is called where no field is to blame.
const BODY: &str = "body";

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields<'_> {
        Fields::of_body(text.as_bytes()).expect("an object")
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        let members = fields(r#"{"a":1,"\u0061":"two","b":null}"#);
        assert_eq!(members.text("a"), Ok(Some("two".to_owned())));
        assert_eq!(members.text("c"), Ok(None));
        assert_eq!(members.text_or_null("b"), Ok(None));
        assert_eq!(members.text("b"), Err(Invalid::new("b", "wanted a string")));
    }

    #[test]
    fn what_is_no_object_is_refused_without_quoting_it() {
        for (body, why) in [
            (&b"{bad"[..], "not JSON, at line 1 column 2"),
            (b"", "not JSON, at line 1 column 0"),
            (b"{}x", "not JSON, at line 1 column 3"),
            (b"[]", "wanted an object"),
            (b"\"secret\"", "wanted an object"),
            (b"null", "wanted an object"),
            (b"{\"a\":\"\xff\"}", "wanted JSON in UTF-8"),
        ] {
            let refused = Fields::of_body(body).err().expect("refused");
            assert_eq!(refused, Invalid::new("body", why));
        }
        assert!(Fields::of_body(b" {} \n").is_ok());
        let lone = fields(r#"{"a":"\ud800"}"#);
        assert_eq!(lone.text("a"), Err(Invalid::new("a", "wanted a string")));
    }

    #[test]
    fn the_way_down_is_told() {
        let members = fields(r#"{"a":{"b":[{"c":1}]},"d":[1,2]}"#);
        let a = members.object("a").expect("valid").expect("there");
        let elements = a.array("b", 1).expect("an array");
        let c = Fields::read(elements[0], "a.b[0]").expect("an object");
        assert_eq!(
            c.text("c"),
            Err(Invalid::new("a.b[0].c", "wanted a string"))
        );
        assert_eq!(a.array("x", 1), Err(Invalid::new("a.x", "missing")));
        assert_eq!(members.array("d", 2), Ok(vec!["1", "2"]));
        assert_eq!(
            members.array("d", 1),
            Err(Invalid::new("d", "2 elements; at most 1 are accepted"))
        );
        assert_eq!(
            members.array("a", 1),
            Err(Invalid::new("a", "wanted an array"))
        );
        assert_eq!(
            members.object("d").err(),
            Some(Invalid::new("d", "wanted an object"))
        );
    }

    #[test]
    fn depth_costs_nothing() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(
            fields(&deep).text("a"),
            Err(Invalid::new("a", "wanted a string"))
        );
    }
}
