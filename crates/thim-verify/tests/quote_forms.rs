//! Quotes that are almost well-formed: each length too short, too long and too large, each type another one, every
//! truncation. Read or refused by name, never a panic.

mod evidence_pki;
mod pki;
mod quote_layout;

use evidence_pki::{Body, Certified, Recipe, Vendor};
use quote_layout::{Field, field, fields, number, set_number};
use thim_verify::{Error, MAX_QUOTE_BYTES, QuoteBody, TdReportVersion, parse_quote};

fn made(version: u16, body: Body) -> Vec<u8> {
    Vendor::new().make(&Recipe::good(version, body)).quote
}

fn refusal(bytes: &[u8]) -> String {
    parse_quote(bytes).expect_err("not a quote").to_string()
}

#[test]
fn every_version_and_body_is_read() {
    for (version, body) in Body::ALL {
        let bytes = made(version, body);
        let quote = parse_quote(&bytes).expect("a quote");
        assert_eq!((quote.version(), quote.trailing_bytes()), (version, 0));
        assert_eq!(quote.bytes(), bytes);
        let layout = match quote.body() {
            QuoteBody::Sgx(_) => None,
            QuoteBody::Td(report) => Some(report.version),
        };
        let expected = match body {
            Body::Sgx => None,
            Body::Td10 => Some(TdReportVersion::V1_0),
            Body::Td15 => Some(TdReportVersion::V1_5),
            Body::Td15Extended => Some(TdReportVersion::V1_5Extended),
        };
        assert_eq!(layout, expected, "{version} {body:?}");
    }
}

#[test]
fn no_truncation_is_a_quote() {
    for (version, body) in Body::ALL {
        let bytes = made(version, body);
        for length in 0..bytes.len() {
            assert!(
                parse_quote(&bytes[..length]).is_err(),
                "{version} {body:?}: {length}"
            );
        }
    }
}

#[test]
fn lengths_fit_exactly() {
    for (version, body) in Body::ALL {
        let genuine = made(version, body);
        let names: Vec<Field> = fields(&genuine);
        for name in [
            "body length",
            "signature data length",
            "outer size",
            "auth size",
            "inner size",
        ] {
            if !names.iter().any(|(found, _)| *found == name) {
                continue;
            }
            let range = field(&genuine, name);
            let has = number(&genuine, range.clone());
            let most = (1 << (8 * range.len())) - 1;
            for value in [0, has - 1, has + 1, most] {
                let mut bytes = genuine.clone();
                set_number(&mut bytes, range.clone(), value);
                let why = refusal(&bytes);
                // A length that is wrong moves what is read as the type behind it.
                let named =
                    why.starts_with("quote: ") || why.starts_with("certification data type");
                assert!(named, "{version} {body:?}, {name} {value}: {why}");
            }
        }
    }
}

#[test]
fn types_are_named_where_they_are_wrong() {
    type Spoil = fn(&mut Vec<u8>);
    let cases: [(u16, Body, Spoil, &str); 14] = [
        (3, Body::Sgx, |q| q[0] = 2, "quote version 2"),
        (3, Body::Sgx, |q| q[0] = 6, "quote version 6"),
        (3, Body::Sgx, |q| q[2] = 3, "attestation key type 3"),
        (
            3,
            Body::Sgx,
            |q| q[4] = 0x81,
            "in version 3 they are reserved",
        ),
        (4, Body::Td10, |q| q[4] = 0x82, "TEE type 0x82"),
        (
            5,
            Body::Td15,
            |q| q[48] = 2,
            "length of 648 bytes; it has 584",
        ),
        (
            5,
            Body::Td15,
            |q| q[48] = 4,
            "length of 648 bytes; it has 885",
        ),
        (5, Body::Td15, |q| q[48] = 5, "quote body type 5"),
        (5, Body::Td15, |q| q[4] = 0, "the TEE type sgx"),
        (5, Body::Sgx, |q| q[4] = 0x81, "the TEE type tdx"),
        (4, Body::Td10, |q| set(q, "outer type", 5), "have 6 outside"),
        (
            4,
            Body::Td10,
            |q| set(q, "inner type", 6),
            "where the PCK certificate's place is",
        ),
        (
            3,
            Body::Sgx,
            |q| set(q, "inner type", 0),
            "certification data type 0",
        ),
        (3, Body::Sgx, |q| set(q, "inner type", 3), "it has 404"),
    ];
    for (version, body, spoil, expected) in cases {
        let mut bytes = made(version, body);
        spoil(&mut bytes);
        let why = refusal(&bytes);
        assert!(
            why.contains(expected),
            "{version} {body:?}: {why}, not {expected}"
        );
    }
}

fn set(quote: &mut [u8], name: &str, value: usize) {
    let range = field(quote, name);
    set_number(quote, range, value);
}

#[test]
fn names_have_their_size() {
    let vendor = Vendor::new();
    for kind in 1..=3 {
        let mut recipe = Recipe::good(3, Body::Sgx);
        recipe.certified = Certified::ByName(kind);
        let bytes = vendor.make(&recipe).quote;
        assert!(parse_quote(&bytes).is_ok(), "type {kind}");
        let mut longer = bytes.clone();
        longer.push(0);
        for name in ["signature data length", "inner size"] {
            let has = number(&bytes, field(&bytes, name));
            set(&mut longer, name, has + 1);
        }
        assert!(
            refusal(&longer).contains("certification data of type"),
            "type {kind}"
        );
    }
}

#[test]
fn what_is_behind_the_end_is_counted() {
    let mut bytes = made(5, Body::Td15);
    bytes.extend([1, 2, 3]);
    assert_eq!(parse_quote(&bytes).expect("a quote").trailing_bytes(), 3);
    bytes.resize(MAX_QUOTE_BYTES, 0);
    assert!(parse_quote(&bytes).is_ok());
    bytes.push(0);
    assert!(matches!(parse_quote(&bytes), Err(Error::TooLarge { .. })));
}

#[test]
fn nothing_that_names_a_platform_is_shown() {
    let quote = parse_quote(&made(3, Body::Sgx)).expect("a quote");
    let text = format!("{quote:?} {:?}", quote.header());
    assert!(!text.contains("29, 29") && !text.contains("1d1d"), "{text}");
}
