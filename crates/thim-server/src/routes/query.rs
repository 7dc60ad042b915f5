//! Query parameters as PCCS reads them (`spec/intel-pcs-and-pccs.md` section 1): names are case-sensitive,
//! the first of several counts, unknown ones are ignored, `+` is a plus. A nested parameter (`fmspc[a]=1`),
//! which makes PCCS answer 500 or 400, is refused here with 400.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use thim_verify::{Fmspc, PckCa};

use crate::baseline::Choice;

/// The parameters that some route knows, decoded once.
#[derive(Debug, Default)]
pub struct Query<'a> {
    values: [Option<Cow<'a, str>>; NAMES.len()],
    /// A known parameter that cannot be read, and why.
    fault: Option<(&'static str, &'static str)>,
}

/// A known parameter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Name {
    /// Which API of Azure's.
    ApiVersion,
    /// Which CA.
    Ca,
    /// Azure's client names itself.
    ClientId,
    /// A platform's CPUSVN.
    CpuSvn,
    /// `der`, or anything.
    Encoding,
    /// A platform's PPID, encrypted for the vendor.
    EncryptedPpid,
    /// Which machines.
    Fmspc,
    /// `1` reads without consuming.
    Keep,
    /// `keep` lets nobody take over a name.
    Names,
    /// A platform's PCE.
    PceId,
    /// A platform's PCESVN, little endian.
    PceSvn,
    /// `client`, `E3`, `E5`, `all`.
    Platform,
    /// A platform's QE.
    QeId,
    /// Which platforms.
    Source,
    /// A number.
    TcbEvaluationDataNumber,
    /// What to refresh.
    Type,
    /// `standard` or `early`.
    Update,
    /// A URL.
    Uri,
}

/// A parameter is wrong: its name, and what was wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invalid {
    /// The parameter.
    pub name: &'static str,
    /// What was wanted, and what was found.
    pub why: String,
}

const NAMES: [&str; 18] = [
    "api-version",
    "ca",
    "clientid",
    "cpusvn",
    "encoding",
    "encrypted_ppid",
    "fmspc",
    "keep",
    "names",
    "pceid",
    "pcesvn",
    "platform",
    "qeid",
    "source",
    "tcbEvaluationDataNumber",
    "type",
    "update",
    "uri",
];

impl<'a> Query<'a> {
    /// Reads the query of a request target.
    pub fn parse(text: Option<&'a str>) -> Self {
        let mut query = Self::default();
        for pair in text.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode_str(name).decode_utf8_lossy();
            let (plain, nested) = match name.split_once('[') {
                Some((plain, _)) => (plain, true),
                None => (&*name, false),
            };
            let Some(index) = NAMES.iter().position(|known| *known == plain) else {
                continue;
            };
            let known = NAMES[index];
            if nested {
                query
                    .fault
                    .get_or_insert((known, "nested parameters are not taken"));
            } else if query.values[index].is_none() {
                match percent_decode_str(value).decode_utf8() {
                    Ok(value) if value.contains('\0') => {
                        query.fault.get_or_insert((known, "it contains NUL"));
                    }
                    Ok(value) => query.values[index] = Some(value),
                    Err(_) => {
                        query.fault.get_or_insert((known, "it is not UTF-8"));
                    }
                }
            }
        }
        query
    }

    /// The value of a parameter, if it was given; an unreadable or nested known one refuses the request.
    pub fn get(&self, name: Name) -> Result<Option<&str>, Invalid> {
        match self.fault {
            Some((name, why)) => Err(Invalid {
                name,
                why: why.to_owned(),
            }),
            None => Ok(self.values[name as usize].as_deref()),
        }
    }

    /// `fmspc`: 12 hex digits in either case.
    pub fn fmspc(&self) -> Result<Fmspc, Invalid> {
        let invalid = |why| Invalid { name: "fmspc", why };
        let text = self
            .get(Name::Fmspc)?
            .ok_or_else(|| invalid("missing; wanted 12 hex digits".to_owned()))?;
        text.parse().map_err(|_| {
            invalid(format!(
                "wanted 12 hex digits, found {} characters",
                text.chars().count()
            ))
        })
    }

    /// `update` or `tcbEvaluationDataNumber`, not both; `None` without either.
    pub fn choice(&self) -> Result<Option<Choice>, Invalid> {
        let update = match self.get(Name::Update)? {
            None => None,
            Some(text) if text.eq_ignore_ascii_case("standard") => Some(Choice::Standard),
            Some(text) if text.eq_ignore_ascii_case("early") => Some(Choice::Early),
            Some(_) => {
                return Err(Invalid {
                    name: "update",
                    why: "wanted standard or early".to_owned(),
                });
            }
        };
        let number = match self.get(Name::TcbEvaluationDataNumber)? {
            None => None,
            Some(text) => Some(Choice::Number(number(text)?)),
        };
        match (update, number) {
            (Some(_), Some(_)) => Err(Invalid {
                name: "tcbEvaluationDataNumber",
                why: "update and tcbEvaluationDataNumber exclude each other".to_owned(),
            }),
            (update, number) => Ok(number.or(update)),
        }
    }

    /// `ca`: `processor` or `platform` in any case.
    pub fn ca(&self) -> Result<PckCa, Invalid> {
        let text = self.get(Name::Ca)?.unwrap_or_default();
        PckCa::ALL
            .into_iter()
            .find(|ca| text.eq_ignore_ascii_case(ca.name()))
            .ok_or_else(|| Invalid {
                name: "ca",
                why: "wanted processor or platform".to_owned(),
            })
    }

    /// `encoding=der` in any case; anything else is PCCS's hex.
    pub fn wants_der(&self) -> Result<bool, Invalid> {
        Ok(self
            .get(Name::Encoding)?
            .is_some_and(|text| text.eq_ignore_ascii_case("der")))
    }
}

fn number(text: &str) -> Result<u32, Invalid> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| Invalid {
            name: "tcbEvaluationDataNumber",
            why: "wanted a decimal number below 2^32".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(text: &str) -> Result<Option<Choice>, &'static str> {
        Query::parse(Some(text))
            .choice()
            .map_err(|invalid| invalid.name)
    }

    #[test]
    fn choices_and_their_near_misses() {
        assert_eq!(choice(""), Ok(None));
        assert_eq!(choice("update=STANDARD"), Ok(Some(Choice::Standard)));
        assert_eq!(choice("update=early&update=bogus"), Ok(Some(Choice::Early)));
        assert_eq!(
            choice("tcbEvaluationDataNumber=17"),
            Ok(Some(Choice::Number(17)))
        );
        assert_eq!(choice("Update=bogus"), Ok(None));
        for bad in [
            "update=",
            "update=all",
            "update=stan%64ar",
            "update[a]=early",
            "update%5Ba%5D=early",
        ] {
            assert_eq!(choice(bad), Err("update"), "{bad}");
        }
        for bad in ["", "x", "-1", "+1", "1.0", "4294967296", "%31%00"] {
            assert_eq!(
                choice(&format!("tcbEvaluationDataNumber={bad}")),
                Err("tcbEvaluationDataNumber"),
                "{bad}"
            );
        }
        assert_eq!(
            choice("update=early&tcbEvaluationDataNumber=17"),
            Err("tcbEvaluationDataNumber")
        );
    }

    #[test]
    fn fmspcs_and_their_near_misses() {
        for good in [
            "00906ED50000",
            "00906ed50000",
            "%30%30906ED50000",
            "00906ED50000&fmspc=zz",
        ] {
            assert!(
                Query::parse(Some(&format!("x=1&fmspc={good}")))
                    .fmspc()
                    .is_ok(),
                "{good}"
            );
        }
        for bad in [
            "",
            "00906ED5000",
            "00906ED500000",
            "00906ED5000g",
            "zz&fmspc=00906ED50000",
            "%ff%fe",
            "00906ED5000%00",
        ] {
            assert_eq!(
                Query::parse(Some(&format!("fmspc={bad}")))
                    .fmspc()
                    .map_err(|invalid| invalid.name),
                Err("fmspc"),
                "{bad}"
            );
        }
        assert!(Query::parse(None).fmspc().is_err());
        assert!(
            Query::parse(Some("fmspc[a]=1&fmspc=00906ED50000"))
                .fmspc()
                .is_err()
        );
    }

    #[test]
    fn a_plus_is_a_plus_and_cas_have_two_names() {
        assert_eq!(
            Query::parse(Some("uri=a+b")).get(Name::Uri),
            Ok(Some("a+b"))
        );
        for (text, expected) in [
            ("ca=Platform", Some(PckCa::Platform)),
            ("ca=processor", Some(PckCa::Processor)),
            ("ca=foo", None),
            ("", None),
            ("CA=platform", None),
        ] {
            assert_eq!(Query::parse(Some(text)).ca().ok(), expected, "{text}");
        }
    }
}
