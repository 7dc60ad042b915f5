//! The 16 component versions of a TCB level: nine tenths of a TCB info's text, so read with some care.
//!
//! Intel writes components in one form, `{"svn":n,"category":"...","type":"..."}` without white space. That form is
//! read by a scanner of a few lines; whatever differs from it in the least is given to serde, which decides. The two
//! agree on every text the scanner takes: a test holds them against each other.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The security version of one component, with Intel's labels of who provides it and what it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ComponentSvn {
    /// Security version number.
    pub svn: u8,
    /// Who updates it, e.g. `BIOS`, `OS/VMM`.
    pub category: Option<Cow<'static, str>>,
    /// What it is, e.g. `Early Microcode Update`.
    pub kind: Option<Cow<'static, str>>,
}

/// Exactly 16 components, filled in place: an array of them is too large to be handed around.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Components(pub(crate) Box<[ComponentSvn; 16]>);

impl<'de> Deserialize<'de> for Components {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if let Some(components) = scan(raw.as_bytes()) {
            return Ok(components);
        }
        serde_json::from_str::<AnyForm>(raw)
            .map(|AnyForm(components)| components)
            .map_err(de::Error::custom)
    }
}

/// Reads the one form Intel writes; none for any other, right or wrong.
fn scan(json: &[u8]) -> Option<Components> {
    let mut components: Box<[ComponentSvn; 16]> = Box::default();
    let mut rest = json;
    let mut before: &[u8] = b"[";
    for component in components.iter_mut() {
        rest = rest.strip_prefix(before)?.strip_prefix(b"{\"svn\":")?;
        (component.svn, rest) = scan_number(rest)?;
        if let Some(text) = rest.strip_prefix(b",\"category\":\"") {
            let (label, more) = scan_label(text)?;
            (component.category, rest) = (Some(label), more);
        }
        if let Some(text) = rest.strip_prefix(b",\"type\":\"") {
            let (label, more) = scan_label(text)?;
            (component.kind, rest) = (Some(label), more);
        }
        rest = rest.strip_prefix(b"}")?;
        before = b",";
    }
    (rest == b"]").then_some(Components(components))
}

/// Up to three digits without leading zeros.
fn scan_number(json: &[u8]) -> Option<(u8, &[u8])> {
    let digits = json
        .iter()
        .take(4)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, rest) = json.split_at_checked(digits)?;
    if digits == 0 || digits > 3 || (digits > 1 && number.first() == Some(&b'0')) {
        return None;
    }
    let value = number
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Some((u8::try_from(value).ok()?, rest))
}

/// A known label and the quote after it.
fn scan_label(json: &[u8]) -> Option<(Cow<'static, str>, &[u8])> {
    let label = LABELS.iter().find(|label| {
        json.strip_prefix(label.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b'"'))
    })?;
    Some((Cow::Borrowed(*label), json.get(label.len() + 1..)?))
}

/// 16 components in whatever form JSON allows.
struct AnyForm(Components);

impl<'de> Deserialize<'de> for AnyForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sixteen;

        impl<'de> Visitor<'de> for Sixteen {
            type Value = AnyForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("16 components")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<AnyForm, A::Error> {
                let mut components: Box<[ComponentSvn; 16]> = Box::default();
                for (at, component) in components.iter_mut().enumerate() {
                    *component = seq
                        .next_element::<OneComponent>()?
                        .ok_or_else(|| de::Error::invalid_length(at, &self))?
                        .0;
                }
                if seq.next_element::<de::IgnoredAny>()?.is_some() {
                    return Err(de::Error::invalid_length(17, &self));
                }
                Ok(AnyForm(Components(components)))
            }
        }

        deserializer.deserialize_seq(Sixteen)
    }
}

struct OneComponent(ComponentSvn);

impl<'de> Deserialize<'de> for OneComponent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = OneComponent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a component")
            }

            fn visit_map<A: de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<OneComponent, A::Error> {
                let (mut svn, mut category, mut kind) = (None, None, None);
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Category => once(&mut category, map.next_value::<Label>()?.0)?,
                        Key::Other => {
                            map.next_value::<de::IgnoredAny>()?;
                        }
                        Key::Svn => once(&mut svn, map.next_value()?)?,
                        Key::Type => once(&mut kind, map.next_value::<Label>()?.0)?,
                    }
                }
                Ok(OneComponent(ComponentSvn {
                    svn: svn.ok_or_else(|| de::Error::missing_field("svn"))?,
                    category,
                    kind,
                }))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Category,
    Svn,
    Type,
    #[serde(other)]
    Other,
}

/// Intel's labels are a handful of texts: those are borrowed, others (bounded by the document) are kept.
struct Label(Cow<'static, str>);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Label;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a label")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Label, E> {
                let known = LABELS.iter().find(|label| **label == text);
                Ok(Label(known.map_or_else(
                    || Cow::Owned(text.to_owned()),
                    |label| Cow::Borrowed(*label),
                )))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Fills a slot that must still be empty.
pub(crate) fn once<T, E: de::Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    if slot.replace(value).is_some() {
        return Err(E::custom("a member that stands twice"));
    }
    Ok(())
}

/// Every label seen in Intel's documents from 2023 to 2026.
const LABELS: [&str; 8] = [
    "BIOS",
    "OS/VMM",
    "Early Microcode Update",
    "SGX Late Microcode Update",
    "TXT SINIT",
    "SEAMLDR ACM",
    "TDX Module",
    "TDX Late Microcode Update",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_serde(json: &str) -> Option<Components> {
        serde_json::from_str::<AnyForm>(json)
            .ok()
            .map(|AnyForm(components)| components)
    }

    fn sixteen(one: &str) -> String {
        format!("[{}]", vec![one; 16].join(","))
    }

    #[test]
    fn the_scanner_takes_the_usual_form_only() {
        for one in [
            r#"{"svn":0}"#,
            r#"{"svn":255,"category":"BIOS"}"#,
            r#"{"svn":10,"category":"OS/VMM","type":"TXT SINIT"}"#,
            r#"{"svn":1,"type":"TDX Module"}"#,
        ] {
            let json = sixteen(one);
            assert!(scan(json.as_bytes()).is_some(), "{one}");
            assert_eq!(scan(json.as_bytes()), by_serde(&json), "{one}");
        }
        for (one, right) in [
            (r#"{"svn": 0}"#, true),
            (r#"{"svn":0,"new":1}"#, true),
            (r#"{"category":"BIOS","svn":0}"#, true),
            (r#"{"svn":0,"category":"BIOS2"}"#, true),
            (r#"{"svn":0,"category":"B\u0049OS"}"#, true),
            (r#"{"svn":256}"#, false),
            (r#"{"svn":1000}"#, false),
            (r#"{"svn":00}"#, false),
            (r#"{"svn":}"#, false),
            (r#"{"svn":0,"svn":0}"#, false),
            (
                r#"{"svn":0,"type":"TDX Module","type":"TDX Module"}"#,
                false,
            ),
            (r#"{"svn":0,}"#, false),
            (r#"{}"#, false),
        ] {
            let json = sixteen(one);
            assert_eq!(scan(json.as_bytes()), None, "{one}");
            assert_eq!(by_serde(&json).is_some(), right, "{one}");
        }
        for json in [
            "[]".to_owned(),
            sixteen(r#"{"svn":0}"#).replacen("{\"svn\":0},", "", 1),
        ] {
            assert_eq!((scan(json.as_bytes()), by_serde(&json)), (None, None));
        }
        let seventeen = sixteen(r#"{"svn":0}"#).replacen('[', "[{\"svn\":0},", 1);
        assert_eq!(
            (scan(seventeen.as_bytes()), by_serde(&seventeen)),
            (None, None)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_scanner_agrees_with_serde(
            svns in prop::collection::vec(0_u16..300, 16),
            labels in prop::collection::vec((0_usize..12, 0_usize..12), 16),
            edit in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(b"0123456789{}[],:\" \\svnx".to_vec()))),
        ) {
            let one = |(svn, (category, kind)): (&u16, &(usize, usize))| {
                let label = |name, at: usize| LABELS.get(at).map_or(String::new(), |label| format!(",\"{name}\":\"{label}\""));
                format!("{{\"svn\":{svn}{}{}}}", label("category", *category), label("type", *kind))
            };
            let mut json = format!("[{}]", svns.iter().zip(&labels).map(one).collect::<Vec<_>>().join(",")).into_bytes();
            if let Some((at, byte)) = edit {
                let at = at.index(json.len());
                json[at] = byte;
            }
            let text = std::str::from_utf8(&json).expect("ASCII");
            if let Some(components) = scan(&json) {
                prop_assert_eq!(Some(components), by_serde(text));
            }
        }
    }
}
