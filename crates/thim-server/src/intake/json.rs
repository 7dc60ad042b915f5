//! The members of a JSON object in their order, each with its exact text: values are told apart without being read,
//! so depth costs nothing and what was signed stays as it was written.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// An object's members; a name that stands twice is an error.
pub(super) struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads an object and nothing after it.
    pub(super) fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = deserializer.deserialize_map(MembersVisitor)?;
        deserializer.end()?;
        Ok(members)
    }

    /// A member's exact text; none where it is absent, `null` or an empty string, which PCCS treats alike.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let value = self
            .0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.get())?;
        (value != "null" && value != "\"\"").then_some(value)
    }

    /// Whether there is a member of that name, whatever its value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Names and exact texts, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.get()))
    }
}

/// The exact texts of an array's elements.
pub(super) fn elements(text: &str) -> Result<Vec<&str>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let elements = deserializer.deserialize_seq(ElementsVisitor)?;
    deserializer.end()?;
    Ok(elements)
}

/// The text a JSON string stands for, or the exact text of any other value.
pub(super) fn text_of(value: &str) -> Result<String, serde_json::Error> {
    if value.starts_with('"') {
        serde_json::from_str(value)
    } else {
        Ok(value.to_owned())
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(String, &'de RawValue)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            if members.len() == MAX_MEMBERS {
                return Err(A::Error::custom(format_args!(
                    "more than {MAX_MEMBERS} members"
                )));
            }
            if members.iter().any(|(known, _)| *known == name) {
                // Only our own names are repeated: an error text is no place for a megabyte of foreign key.
                return Err(A::Error::custom(format_args!(
                    "duplicate member, the {}th",
                    members.len() + 1
                )));
            }
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(value) = seq.next_element::<&'de RawValue>()? {
            if elements.len() == MAX_ELEMENTS {
                return Err(A::Error::custom(format_args!(
                    "more than {MAX_ELEMENTS} elements"
                )));
            }
            elements.push(value.get());
        }
        Ok(elements)
    }
}

/// Containers have ten; the search for doubles is quadratic.
const MAX_MEMBERS: usize = 256;
/// A PCCS export names each FMSPC once; Intel lists 44.
const MAX_ELEMENTS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_texts() {
        let members =
            Members::read(" {\"a\": [1.0, 2e1] , \"b\":null,\"c\":\"\"} ").expect("an object");
        assert_eq!(members.get("a"), Some("[1.0, 2e1]"));
        assert_eq!(
            (members.get("b"), members.get("c"), members.get("d")),
            (None, None, None)
        );
        assert!(members.has("b") && !members.has("d"));
        assert_eq!(
            elements("[1, [2],\"x\"]").expect("an array"),
            ["1", "[2]", "\"x\""]
        );
    }

    #[test]
    fn doubles_depth_and_rests() {
        assert!(Members::read(r#"{"a":1,"a":2}"#).is_err());
        assert!(Members::read(r#"{"a":1,"\u0061":2}"#).is_err());
        assert!(Members::read(r#"{"a":1}x"#).is_err());
        assert!(Members::read(r#"{"a":1"#).is_err());
        let deep = format!(
            "{{\"a\":{}{}}}",
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        assert_eq!(
            Members::read(&deep)
                .expect("an object")
                .get("a")
                .map(str::len),
            Some(2_000_000)
        );
        let many = format!(
            "{{{}}}",
            (0..300)
                .map(|i| format!("\"{i}\":0"))
                .collect::<Vec<_>>()
                .join(",")
        );
        assert!(Members::read(&many).is_err());
    }
}
