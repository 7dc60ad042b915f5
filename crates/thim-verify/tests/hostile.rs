//! Properties over arbitrary and over nearly right bytes: no panic, bounded errors, and nothing altered verifies.

mod pki;

use std::sync::LazyLock;

use pki::{IDENTITY, NUMBERS, PLATFORM, Pki, TCB_INFO_V3, at, crl, tcb_info_tdx, tcb_info_v2};
use proptest::prelude::*;
use proptest::sample::Index;
use thim_verify::{
    ArtefactKey, Certificate, Digest, Error, Fmspc, Issuers, UnixTime, compacted, parse, verify,
};

/// One of each form, genuine, and the issuers that verify them.
static GENUINE: LazyLock<(Vec<Vec<u8>>, Issuers)> = LazyLock::new(|| {
    let pki = Pki::new();
    let mut issuers = pki.issuers();
    for issuer in [&pki.tcb, &pki.platform] {
        issuers.insert(issuer.clone()).expect("an issuer");
    }
    let list = crl(
        PLATFORM,
        &pki.platform_key,
        (2026, 3, 1),
        (2026, 3, 31),
        1,
        &[&[7], &[0x8f; 20]],
    );
    let documents = vec![
        pki.signed("tcbInfo", TCB_INFO_V3),
        pki.signed("tcbInfo", &tcb_info_v2()),
        pki.signed("tcbInfo", &tcb_info_tdx()),
        pki.signed("enclaveIdentity", IDENTITY),
        pki.signed("tcbEvaluationDataNumbers", NUMBERS),
        data_encoding::HEXLOWER.encode(&list).into_bytes(),
        list,
        pki.tcb.der().to_vec(),
        pki.tcb.to_pem().into_bytes(),
    ];
    (documents, issuers)
});

fn readable(error: &Error) {
    let text = error.to_string();
    assert!(text.len() < 2048 && !text.contains('\n'), "{text}");
}

fn swallow(bytes: &[u8]) {
    match parse(bytes) {
        Ok(parsed) => {
            let again = parse(parsed.unverified().document());
            assert_eq!(
                again.as_ref(),
                Ok(&parsed),
                "what is served is what was parsed"
            );
            compacted(&parsed);
        }
        Err(error) => readable(&error),
    }
    if let Err(error) = Certificate::from_der(bytes) {
        readable(&error);
    }
    if let Err(error) = Certificate::from_pem_bundle(bytes) {
        readable(&error);
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Cut(Index, Index),
    Double(Index, Index),
    Insert(Index, Vec<u8>),
    Set(Index, u8),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let tokens = prop::sample::select(vec![
        "\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "1e400",
        "-1",
        "\\u0000",
        "\0",
        "\"version\":1,",
        "\"id\":\"TDX\",",
        " ",
    ])
    .prop_map(|token| token.as_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 1..9);
    let edit = prop_oneof![
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Edit::Cut(a, b)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Edit::Double(a, b)),
        (any::<Index>(), prop_oneof![tokens, noise]).prop_map(|(a, bytes)| Edit::Insert(a, bytes)),
        (any::<Index>(), any::<u8>()).prop_map(|(a, byte)| Edit::Set(a, byte)),
    ];
    prop::collection::vec(edit, 1..5)
}

fn apply(mut bytes: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for edit in edits {
        let len = bytes.len() + 1;
        match edit {
            Edit::Cut(a, b) => {
                let (a, b) = (a.index(len), b.index(len));
                bytes.drain(a.min(b)..a.max(b));
            }
            Edit::Double(a, b) => {
                let (a, b) = (a.index(len), b.index(len));
                let copy = bytes[a.min(b)..a.max(b)].to_vec();
                bytes.splice(a.min(b)..a.min(b), copy);
            }
            Edit::Insert(a, new) => {
                let a = a.index(len);
                bytes.splice(a..a, new);
            }
            Edit::Set(a, byte) => {
                let a = a.index(len);
                if let Some(place) = bytes.get_mut(a) {
                    *place = byte;
                }
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        swallow(&bytes);
    }

    #[test]
    fn nearly_right_bytes(which in any::<Index>(), edits in edits()) {
        let (documents, issuers) = &*GENUINE;
        let genuine = which.get(documents);
        let edited = apply(genuine.clone(), edits);
        swallow(&edited);
        if let Ok(parsed) = parse(&edited)
            && let Ok(artefact) = verify(parsed, &[], issuers, None, at("2026-11-01T00:00:00Z"))
        {
            // What still verifies says exactly what was signed.
            let mut originals = documents.iter().filter_map(|document| parse(document).ok());
            let same = originals.any(|original| original.signed_digest() == artefact.id());
            prop_assert!(same, "an altered document verifies");
        }
    }

    #[test]
    fn names_and_times(text in "\\PC{0,80}") {
        let _ = text.parse::<ArtefactKey>();
        let _ = text.parse::<Digest>();
        let _ = text.parse::<Fmspc>();
        let _ = text.parse::<UnixTime>();
    }

    #[test]
    fn every_time_has_a_text(secs in any::<i64>(), months in any::<i32>()) {
        let time = UnixTime::from_secs(secs);
        prop_assert_eq!(time.to_string().parse(), Ok(time));
        let moved = time.plus_months(months);
        let right_way = if months < 0 { moved <= time } else { moved >= time };
        prop_assert!(right_way, "moved the wrong way");
        prop_assert_eq!(time.http_date().len(), 29);
    }

    #[test]
    fn every_key_has_a_text(fmspc in any::<[u8; 6]>(), version in any::<u8>(), number in any::<u32>()) {
        for tee in thim_verify::Tee::ALL {
            let key = ArtefactKey::TcbInfo { tee, version, fmspc: Fmspc(fmspc), number };
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }
    }
}
