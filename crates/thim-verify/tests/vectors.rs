//! Every Intel-signed object of the vectors, row by row of `index.csv`, and every bundle's collateral.

mod genuine;

use std::collections::BTreeMap;
use std::path::Path;

use genuine::{Row, issuers, now, root_crl, rows, vectors};
use thim_verify::{
    Artefact, ArtefactKey, Certificate, Content, Error, Issuers, Revocation, SignedMember, Tee,
    TrustAnchors, UnixTime, Unverified, Verified, compacted, parse, parse_detached, verify,
};

#[test]
fn every_row_of_the_index() {
    let Some(intel) = vectors() else { return };
    let issuers = issuers(&intel);
    let root_crl = root_crl(&intel, &issuers);
    let (mut verified, mut refused, mut unsupported) = (0, 0, 0);
    for row in rows(&intel) {
        if !["tcbinfo", "identity", "crl", "tcbevalnums"].contains(&row["kind"].as_str()) {
            continue;
        }
        let file = &row["file"];
        let bytes = std::fs::read(intel.join(file)).expect("a file");
        let result =
            parse(&bytes).and_then(|parsed| verify(parsed, &[], &issuers, Some(&root_crl), now()));
        match (row["verifies"].as_str(), result) {
            ("yes", Ok(artefact)) => {
                verified += 1;
                columns_agree(&row, &artefact);
                byte_for_byte(file, &bytes, &artefact);
                if row["kind"] != "crl" || !file.contains("root-") {
                    let checked = Revocation::Checked {
                        root_crl_this_update: root_crl.issued(),
                    };
                    assert_eq!(artefact.revocation(), checked, "{file}");
                }
            }
            ("yes", Err(Error::Unsupported { what }))
                if row["version"] == "1" && row["kind"] == "tcbinfo" =>
            {
                assert_eq!(what, "TCB info version 1", "{file}");
                unsupported += 1;
            }
            ("no", Err(_)) => {
                refused += 1;
                if let Ok(parsed) = parse(&bytes) {
                    let compact =
                        compacted(&parsed).map(|parsed| verify(parsed, &[], &issuers, None, now()));
                    assert!(!matches!(compact, Some(Ok(_))), "{file}");
                }
            }
            (expected, result) => panic!("{file}: verifies={expected}, but {result:?}"),
        }
    }
    println!("{verified} verified, {refused} refused, {unsupported} unsupported");
    assert!(verified > 300 && refused > 10 && unsupported == 1);
}

fn columns_agree(row: &Row, artefact: &Verified<Artefact>) {
    let file = &row["file"];
    let instant = |column: &str| -> UnixTime {
        let text = &row[column];
        let text = if text.ends_with('Z') {
            text.clone()
        } else {
            format!("{text}Z")
        };
        text.parse()
            .unwrap_or_else(|e| panic!("{file} {column} {text}: {e}"))
    };
    assert_eq!(artefact.issued(), instant("issue"), "{file}");
    assert_eq!(artefact.next_update(), instant("next"), "{file}");
    match artefact.key() {
        ArtefactKey::TcbInfo {
            tee,
            version,
            fmspc,
            number,
        } => {
            assert_eq!(row["kind"], "tcbinfo");
            assert_eq!(row["tee"].to_lowercase(), tee.name(), "{file}");
            assert_eq!(row["version"], version.to_string(), "{file}");
            assert_eq!(row["fmspc"].to_uppercase(), fmspc.to_string(), "{file}");
            assert_eq!(row["eval"], number.to_string(), "{file}");
        }
        ArtefactKey::EnclaveIdentity {
            version, number, ..
        } => {
            assert_eq!(row["kind"], "identity");
            assert_eq!(row["version"], version.to_string(), "{file}");
            assert_eq!(row["eval"], number.to_string(), "{file}");
        }
        ArtefactKey::EvaluationNumbers { tee } => {
            assert_eq!(row["kind"], "tcbevalnums");
            let name = Path::new(file)
                .file_name()
                .expect("a name")
                .to_string_lossy();
            assert!(name.starts_with(tee.name()), "{file}");
        }
        ArtefactKey::PckCrl { ca } => assert!(file.starts_with(&format!("crl/{ca}-")), "{file}"),
        ArtefactKey::RootCrl => assert!(file.starts_with("crl/root-"), "{file}"),
        ArtefactKey::AmdCertChain { .. } | ArtefactKey::AmdCrl { .. } => {
            panic!("{file} is Intel's")
        }
    }
    if !row["signer"].is_empty() {
        let key = artefact.chain().signer_key();
        let named = std::fs::read_dir(vectors().expect("vectors").join("ca"))
            .expect("ca")
            .filter_map(|entry| std::fs::read(entry.expect("an entry").path()).ok())
            .filter_map(|bytes| Certificate::from_der(&bytes).ok())
            .find(|certificate| certificate.digest().to_string().starts_with(&row["signer"]));
        assert_eq!(named.map(|one| one.spki_digest()), Some(key), "{file}");
    }
}

fn byte_for_byte(file: &str, bytes: &[u8], artefact: &Artefact) {
    match artefact.content() {
        Content::Crl(_) if file.ends_with(".der") => {
            assert_eq!(&artefact.document()[..], bytes, "{file}")
        }
        Content::Crl(_) => {}
        _ => assert_eq!(&artefact.document()[..], bytes.trim_ascii(), "{file}"),
    }
}

#[test]
fn every_bundle() {
    let Some(intel) = vectors() else { return };
    let issuers = Issuers::new(TrustAnchors::intel());
    let mut objects = 0;
    for entry in std::fs::read_dir(intel.join("bundles")).expect("bundles") {
        let path = entry.expect("an entry").path().join("collateral.json");
        let text = std::fs::read_to_string(&path).expect("collateral.json");
        let bundle: BTreeMap<String, String> = serde_json::from_str(&text).expect("nine fields");
        assert_eq!(bundle.len(), 9, "{}", path.display());
        let chain =
            |field: &str| Certificate::from_pem_bundle(bundle[field].as_bytes()).expect("a chain");
        let detached = |member, field: &str| {
            let signature = &bundle[&format!("{field}_signature")];
            parse_detached(member, bundle[field].as_bytes(), signature).expect("an object")
        };
        let judge =
            |parsed: Unverified, delivered: &[Certificate], root: Option<&Verified<Artefact>>| {
                verify(parsed, delivered, &issuers, root, now())
                    .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            };
        let pck_chain = chain("pck_crl_issuer_chain");
        let root = judge(
            parse(bundle["root_ca_crl"].as_bytes()).expect("a CRL"),
            &pck_chain,
            None,
        );
        assert_eq!(root.key(), ArtefactKey::RootCrl);
        assert_eq!(root.revocation(), Revocation::Unchecked);
        let crl = judge(
            parse(bundle["pck_crl"].as_bytes()).expect("a CRL"),
            &pck_chain,
            Some(&root),
        );
        assert!(matches!(crl.key(), ArtefactKey::PckCrl { .. }));
        let tcb = detached(SignedMember::TcbInfo, "tcb_info");
        let tcb = judge(tcb, &chain("tcb_info_issuer_chain"), Some(&root));
        let name = path
            .parent()
            .and_then(Path::file_name)
            .expect("a name")
            .to_string_lossy();
        let Content::TcbInfo(info) = tcb.content() else {
            panic!("a TCB info")
        };
        assert!(name.contains(&info.fmspc.to_string()), "{name}");
        assert!(name.starts_with(info.tee.name()), "{name}");
        assert!(name.ends_with(&format!("-e{}", info.number)), "{name}");
        assert_eq!(info.tdx_module.is_some(), info.tee == Tee::Tdx);
        let identity = detached(SignedMember::EnclaveIdentity, "qe_identity");
        judge(identity, &chain("qe_identity_issuer_chain"), Some(&root));
        objects += 4;
    }
    println!("{objects} objects of bundles verified");
    assert!(objects >= 4 * 50);
}

#[test]
fn a_chain_is_judged_at_the_issue_date_and_served_with_the_current_root() {
    let Some(intel) = vectors() else { return };
    let issuers = issuers(&intel);
    for row in rows(&intel) {
        if row["verifies"] != "yes"
            || row["version"] == "1"
            || !["tcbinfo", "identity"].contains(&row["kind"].as_str())
        {
            continue;
        }
        let bytes = std::fs::read(intel.join(&row["file"])).expect("a file");
        let artefact =
            verify(parse(&bytes).expect("parses"), &[], &issuers, None, now()).expect("verifies");
        let chain = artefact.chain();
        assert!(chain.holds_at(artefact.issued()).is_ok());
        assert!(chain.root().digest().to_string().starts_with("44a0196b"));
        assert!(
            chain
                .to_header_value()
                .ends_with("-----END%20CERTIFICATE-----%0A")
        );
        // Whatever the issue date, today's re-issue of the same key holds today.
        let today = chain.reissue_valid_at(&issuers, now()).expect("a re-issue");
        assert_eq!(today.signer_key(), chain.signer_key());
        assert!(today.holds_at(now()).is_ok());
    }
}
