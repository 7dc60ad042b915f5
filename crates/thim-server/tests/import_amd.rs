//! AMD's files, genuine ones: what an import makes of all of `vectors/amd`, and how a running service gives it back.
//! The clock is one at which AMD's revocation lists there were in force, as their PROVENANCE.md names it.

#[path = "amd_support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use support::Desk;
use thim_client::ImportReport;
use thim_server::intake;
use thim_server::sentinel::State;
use thim_server::store::EditionFilter;
use thim_sim::{AmdProduct, KdsConfig, RateLimits, RsaBits};
use thim_verify::amd::{
    Endorsement, EndorsementKind, Product, Products, TcbVersion, Vcek, VcekKey,
};

const LISTS: &str = "2026-09-21T00:00:00Z";

/// `vectors/amd`, where it is to be had.
#[allow(
    clippy::disallowed_methods,
    reason = "where the vectors are is the tester's word"
)]
fn vectors() -> Option<PathBuf> {
    let shared = std::env::var_os("THIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let folder = shared.join("amd");
    let found = folder.join("thim/aci_host_certs.json").is_file();
    if !found {
        println!("skipped: no vectors");
    }
    found.then_some(folder)
}

/// What a certificate answers for.
fn key_of(leaf: &Endorsement) -> VcekKey {
    match leaf {
        Endorsement::Vcek(vcek) => VcekKey {
            product: vcek.product(),
            hw_id: *vcek.hw_id(),
            tcb: vcek.tcb(),
        },
        Endorsement::Vlek(_) => panic!("no chip's"),
    }
}

fn tcb(key: &VcekKey) -> TcbVersion {
    let products = Products::builtin();
    TcbVersion(key.tcb.to_u64(products.facts(key.product)).expect("a TCB"))
}

/// Of how many files what became: admitted, known, refused.
fn counts(report: &ImportReport) -> (u64, u64, usize) {
    assert_eq!((report.held, report.future), (0, 0), "{report:?}");
    (report.admitted, report.known, report.refused.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_the_vectors_are_taken_in() {
    let Some(amd) = vectors() else { return };
    let desk = Desk::open(LISTS).await;
    let report = desk.import(&[&amd]).await;
    println!("{report:?}");
    assert_eq!(report.refused, Vec::new());
    // Six chains, three lists; twelve VCEKs (two of one key) and a VLEK.
    assert_eq!(counts(&report), (22, 6, 0));
    // Seven reports and the list of where all this is from.
    assert_eq!(report.ignored, 8);

    let store = desk.server.collateral.store();
    let chips = store.count_endorsements(EndorsementKind::Vcek).await;
    assert_eq!(chips.expect("the store"), 11);
    // Amazon's ended in 2025.
    let clouds = store.count_endorsements(EndorsementKind::Vlek).await;
    assert_eq!(clouds.expect("the store"), 0);
    let vlek = std::fs::read(amd.join("pairs/milan_v3_vlek_aws/vlek.der")).expect("a file");
    let Ok(Endorsement::Vlek(vlek)) = Endorsement::from_der(&vlek) else {
        panic!("a VLEK");
    };
    let facts = Products::builtin();
    let at = TcbVersion(vlek.tcb().to_u64(facts.facts(Product::Milan)).expect("it"));
    let history = store.vleks(Product::Milan, at).await.expect("the store");
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].state, State::Archived);

    let again = desk.import(&[&amd]).await;
    assert_eq!(counts(&again), (0, 28, 0));
    assert_eq!(again.ignored, report.ignored);
}

/// The key server's files are what is served, though others of the same certificates come first by name.
#[tokio::test(flavor = "multi_thread")]
async fn chains_are_served_as_the_key_server_has_them() {
    let Some(amd) = vectors() else { return };
    let desk = Desk::open(LISTS).await;
    desk.import(&[&amd]).await;
    for product in ["milan", "genoa", "turin"] {
        for kind in ["vcek", "vlek"] {
            let file = amd.join(format!("chains/kds_{product}_{kind}_cert_chain.pem"));
            let mut name = product.to_owned();
            name[..1].make_ascii_uppercase();
            let reply = desk
                .get(&format!("/{kind}/v1/{name}/cert_chain"), &[])
                .await;
            assert_eq!(reply.status, 200, "{product} {kind}");
            assert_eq!(reply.body, std::fs::read(file).expect("a file"));
        }
        let file = amd.join(format!("crl/kds_{product}_vcek_crl_20260920.der"));
        let mut name = product.to_owned();
        name[..1].make_ascii_uppercase();
        let reply = desk.get(&format!("/vcek/v1/{name}/crl"), &[]).await;
        assert_eq!(reply.body, std::fs::read(file).expect("a file"));
    }
}

/// Both certificates of one chip and TCB have the same key: the one that starts last answers, in either order.
#[tokio::test(flavor = "multi_thread")]
async fn two_issues_of_one_key_are_two_editions() {
    let Some(amd) = vectors() else { return };
    let pair = amd.join("pairs/milan_v3_4ffb5cb4");
    let (newer, older) = (
        pair.join("vcek.pem"),
        pair.join("vcek_reissue_20251229.pem"),
    );
    let leaf = Endorsement::from_pem(&std::fs::read(&newer).expect("a file")).expect("a VCEK");
    let key = key_of(&leaf);
    for order in [
        vec![vec![&newer], vec![&older]],
        vec![vec![&older], vec![&newer]],
        vec![vec![&newer, &older]],
    ] {
        let desk = Desk::open(LISTS).await;
        let mut admitted = 0;
        for files in order {
            let files: Vec<&Path> = files.into_iter().map(PathBuf::as_path).collect();
            admitted += desk.import(&files).await.admitted;
        }
        assert_eq!(admitted, 2);
        let rows = desk.server.chips.store().vceks(&key, tcb(&key)).await;
        let rows = rows.expect("the store");
        let states: Vec<State> = rows.iter().map(|row| row.state).collect();
        assert_eq!(states, [State::Superseded, State::Current]);
        assert_eq!(rows[0].spki, rows[1].spki);
        let Endorsement::Vcek(vcek) = &leaf else {
            panic!("a VCEK");
        };
        assert_eq!(rows[1].digest, vcek.digest());
    }
}

/// The four fields of a body that Azure's metadata service gave, from nothing but the certificate and the chain in it.
#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_services_answer_is_reproduced() {
    let Some(amd) = vectors() else { return };
    let recorded = std::fs::read(amd.join("thim/aci_host_certs.json")).expect("a file");
    let recorded: serde_json::Value = serde_json::from_slice(&recorded).expect("JSON");
    let pem = recorded["vcekCert"].as_str().expect("a text");
    let key = key_of(&Endorsement::from_pem(pem.as_bytes()).expect("a VCEK"));
    for file in ["thim/aci_host_certs.json", "thim/host-amd-cert-base64"] {
        let desk = Desk::open(LISTS).await;
        let report = desk.import(&[&amd.join(file)]).await;
        assert_eq!(counts(&report), (2, 0, 0), "{file}");
        let leaf = named_in(&amd.join(file));
        let path = format!(
            "/metadata/THIM/amd/certification?platformId={}&tcbVersion={}",
            leaf.hw_id.to_hex_lower(),
            tcb(&leaf).to_tcbm_hex()
        );
        let reply = desk.get(&path, &[("Metadata", "true")]).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answered: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        if leaf == key {
            for field in ["vcekCert", "tcbm", "certificateChain", "cacheControl"] {
                assert!(recorded[field].is_string(), "{field}");
                assert_eq!(answered[field], recorded[field], "{field}");
            }
            assert_eq!(answered.as_object().map(serde_json::Map::len), Some(4));
        }
        assert_eq!(desk.get(&path, &[]).await.status, 400);
    }
}

/// Whose certificate a file of the metadata service has.
fn named_in(file: &Path) -> VcekKey {
    let bytes = std::fs::read(file).expect("a file");
    let text = match data_encoding::BASE64.decode(bytes.trim_ascii()) {
        Ok(decoded) => decoded,
        Err(_) => bytes,
    };
    let body: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let pem = body["vcekCert"].as_str().expect("a text");
    key_of(&Endorsement::from_pem(pem.as_bytes()).expect("a VCEK"))
}

/// The central cache's body: the VCEK, the ASK, the ARK, each as it was recorded.
#[tokio::test(flavor = "multi_thread")]
async fn the_central_caches_answer_is_reproduced() {
    let Some(amd) = vectors() else { return };
    for file in [
        "thim/azcache_SevSnpVM_response.pem",
        "thim/azure_cvm_certs.pem",
    ] {
        let recorded = std::fs::read_to_string(amd.join(file)).expect("a file");
        let desk = Desk::open(LISTS).await;
        let report = desk.import(&[&amd.join(file)]).await;
        assert_eq!(counts(&report), (2, 0, 0), "{file}");
        let first = recorded.find("-----END CERTIFICATE-----").expect("an end") + 25;
        let vcek = Vcek::from_pem(&recorded.as_bytes()[..first]).expect("a VCEK");
        let key = key_of(&Endorsement::Vcek(vcek));
        let path = format!(
            "/SevSnpVM/certificates/{}/{}",
            key.hw_id.to_hex_lower(),
            tcb(&key).to_tcbm_hex()
        );
        let reply = desk.get(&path, &[]).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.text(), recorded, "{file}");
    }
}

/// One chip and its chain from a hypervisor's table; reports are evidence and passed over.
#[tokio::test(flavor = "multi_thread")]
async fn a_hypervisors_table_is_taken_apart_and_evidence_is_passed_over() {
    let Some(amd) = vectors() else { return };
    let desk = Desk::open(LISTS).await;
    let table = amd.join("cert_table/milan_3ac3fe21_certtable.bin");
    assert_eq!(counts(&desk.import(&[&table]).await), (2, 0, 0));
    let report = std::fs::read(amd.join("pairs/milan_v2_3ac3fe21/report.bin")).expect("a file");
    // Azure's vTPM has it behind a header of 32 bytes, and JSON behind it.
    let blob = [
        &b"HCLA\x02\0\0\0\xc4\x0a\0\0\x02\0\0\0"[..],
        &[0; 16],
        &report,
        b"{\"keys\":[]}",
    ]
    .concat();
    let files = [("report.bin", report), ("hcl.bin", blob)];
    let evidence = desk.import_bytes(&files).await;
    assert_eq!(counts(&evidence), (0, 0, 0));
    assert_eq!(evidence.ignored, 2);
}

/// A chain from several files of one certificate each, as the tools of guests write them.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_in_files_of_its_own_is_the_key_servers() {
    let Some(amd) = vectors() else { return };
    let chain = std::fs::read_to_string(amd.join("chains/kds_turin_vcek_cert_chain.pem"));
    let chain = chain.expect("a file").replace('\r', "");
    let cut = chain.rfind("-----BEGIN").expect("two");
    let (ask, ark) = chain.split_at(cut);
    for files in [
        vec![
            ("ark.pem", ark.as_bytes().to_vec()),
            ("ask.pem", ask.as_bytes().to_vec()),
        ],
        // A root that is left out is the pinned one.
        vec![("ask.pem", ask.as_bytes().to_vec())],
        vec![("turned.pem", [ark, ask].concat().into_bytes())],
        vec![(
            "two.pem",
            [ask, "\n\nthe root:\n", ark].concat().into_bytes(),
        )],
    ] {
        let desk = Desk::open(LISTS).await;
        let report = desk.import_bytes(&files).await;
        assert_eq!((counts(&report), report.ignored), ((1, 0, 0), 0));
        let reply = desk.get("/vcek/v1/Turin/cert_chain", &[]).await;
        let kds = std::fs::read(amd.join("chains/kds_turin_vcek_cert_chain.pem"));
        assert_eq!(reply.body, kds.expect("a file"));
    }
}

/// Nothing that names a chip is in the store beside the certificates, nor in the report; a path is the user's own.
#[tokio::test(flavor = "multi_thread")]
async fn chips_are_not_named_by_their_folders() {
    let Some(amd) = vectors() else { return };
    let pem = std::fs::read(amd.join("pairs/turin_v5_59790fb1/vcek.pem")).expect("a file");
    let leaf = Endorsement::from_pem(&pem).expect("a VCEK");
    let chip = key_of(&leaf).hw_id.to_hex_lower();
    let Endorsement::Vcek(vcek) = &leaf else {
        panic!("a VCEK");
    };
    let mut tampered = vcek.der().to_vec();
    *tampered.last_mut().expect("bytes") ^= 1;
    let desk = Desk::open(LISTS).await;
    let name = format!("vcek/{chip}/x_vcek.der");
    let report = desk
        .import_bytes(&[(&name, tampered), ("good.der", vcek.der().to_vec())])
        .await;
    assert_eq!(counts(&report), (1, 0, 1));
    assert_eq!(report.refused[0].path, name);
    assert_eq!(report.refused[0].kind, "vcek");
    assert!(!report.refused[0].reason.contains(&chip));
    let events = desk.server.collateral.store().events(0, None, 100).await;
    let events = events.expect("the store");
    assert!(events.iter().any(|event| event.text.contains("[chip]")));
    assert!(!events.iter().any(|event| event.text.contains(&chip)));
}

/// Near misses of everything above: a reason for each, and nothing to serve.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_nearly_a_genuine_file_is_refused() {
    let Some(amd) = vectors() else { return };
    let read = |name: &str| std::fs::read(amd.join(name)).expect("a file");
    let der = read("pairs/milan_v2_3ac3fe21/vcek.der");
    let at = |mut bytes: Vec<u8>, place: usize, value: u8| {
        bytes[place] ^= value;
        bytes
    };
    let table = read("cert_table/milan_3ac3fe21_certtable.bin");
    let offset = |value: u32| {
        let mut table = table.clone();
        table[16..20].copy_from_slice(&value.to_le_bytes());
        table
    };
    // The VCEK under the GUID of a VLEK.
    let vcek = [0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64];
    let place = table.windows(8).position(|bytes| bytes == vcek);
    let place = place.expect("a VCEK");
    let mut relabelled = table.clone();
    relabelled[place..place + 16]
        .copy_from_slice(b"\xa8\x07\x4b\xc2\xa2\x5a\x48\x3e\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1");
    let json = String::from_utf8(read("thim/aci_host_certs.json")).expect("text");
    let base64 = read("thim/host-amd-cert-base64");
    let chain = read("chains/kds_milan_vcek_cert_chain.pem");
    let turin = read("chains/kds_turin_vcek_cert_chain.pem");
    let half = |pem: &[u8], first: bool| {
        let text = String::from_utf8(pem.to_vec()).expect("text");
        let cut = text.rfind("-----BEGIN").expect("two");
        let (one, two) = text.split_at(cut);
        if first { one } else { two }.to_owned()
    };
    for (what, bytes, kind) in [
        ("signature", at(der.clone(), der.len() - 1, 1), "vcek"),
        ("cut", der[..der.len() - 1].to_vec(), "vcek"),
        ("trailing", [der.as_slice(), b"x"].concat(), "vcek"),
        ("table-cut", table[..table.len() - 1].to_vec(), "file"),
        ("table-header", offset(47), "file"),
        ("table-wraps", offset(u32::MAX - 8), "file"),
        ("table-vlek", relabelled, "file"),
        (
            "table-long",
            [table.as_slice(), &[0; 65536]].concat(),
            "file",
        ),
        (
            "json-cut",
            json.as_bytes()[..json.len() - 1].to_vec(),
            "vcek",
        ),
        (
            "json-chain",
            json.replace("-----BEGIN", "-----").into_bytes(),
            "cert-chain",
        ),
        ("base64-cut", base64[..base64.len() / 2].to_vec(), "vcek"),
        (
            "list",
            at(read("crl/kds_milan_vcek_crl_20260920.der"), 860, 1),
            "crl",
        ),
    ] {
        let desk = Desk::open(LISTS).await;
        let report = desk.import_bytes(&[(what, bytes)]).await;
        println!("{what}: {:?}", report.refused);
        assert!(!report.refused.is_empty(), "{what}");
        assert_eq!(report.refused[0].kind, kind, "{what}");
        assert_eq!(report.admitted, 0, "{what}");
        nothing_but_quarantine(&desk).await;
    }
    // Two products in one chain make none; each half alone is a help and no more.
    let desk = Desk::open(LISTS).await;
    let mixed = half(&chain, true) + &half(&turin, false);
    let report = desk
        .import_bytes(&[("mixed.pem", mixed.into_bytes())])
        .await;
    assert_eq!(counts(&report), (1, 0, 0), "by the pinned root: {report:?}");
}

/// What is exported, in the layout of Trustee's offline store among it, is imported as the same certificates.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_imported_as_the_same() {
    let Some(amd) = vectors() else { return };
    let desk = Desk::open(LISTS).await;
    desk.import(&[&amd]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (collateral, now) = (&desk.server.collateral, desk.clock.now());
    let exported = intake::export(collateral, None, true, now, folder.path()).await;
    let exported = exported.expect("an export");
    assert_eq!((exported.editions, exported.endorsements), (9, 13));
    let vcek = std::fs::read(amd.join("pairs/turin_v5_59790fb1/vcek.pem")).expect("a file");
    let vcek = Vcek::from_pem(&vcek).expect("a VCEK");
    let offline = folder.path().join(format!(
        "vcek/{}/bl01_tee01_snp04_ucode81_fmc01_vcek.der",
        vcek.hw_id().to_hex_lower()
    ));
    assert_eq!(std::fs::read(offline).expect("it is there"), *vcek.der());

    let other = Desk::open(LISTS).await;
    let report = other.import(&[folder.path()]).await;
    assert_eq!(counts(&report), (22, 0, 0), "{report:?}");
    let mut states = Vec::new();
    for desk in [&desk, &other] {
        let rows = desk.server.collateral.store().endorsements_after(None, 100);
        let rows = rows.await.expect("the store").into_iter();
        states.push(rows.map(|row| (row.digest, row.state)).collect::<Vec<_>>());
    }
    assert_eq!(states[0], states[1]);
}

/// The same on a simulated key server, whose roots are trusted by one desk and by no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_key_servers_files_are_taken_by_whoever_trusts_it() {
    let now: thim_verify::UnixTime = LISTS.parse().expect("a time");
    let clock = std::sync::Arc::new(move || now.secs());
    let config = KdsConfig::new(clock).rsa_bits(RsaBits::B2048);
    let kds = thim_sim::start_kds(config).await.expect("it starts");
    kds.management().set_rate_limits(RateLimits {
        per_certificate_seconds: 0,
        per_client_seconds: 0,
    });
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.expect("a client");
    let get = async |target: &str| {
        let answer = client.get(format!("{}{target}", kds.url())).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200, "{target}");
        answer.bytes().await.expect("a body").to_vec()
    };
    let mut files = Vec::new();
    for product in AmdProduct::ALL {
        let chip = kds.management().chip_of(product);
        files.push((format!("{product}.der"), get(&chip.target()).await));
        let chain = get(&format!("/vcek/v1/{product}/cert_chain")).await;
        files.push((format!("{product}-vcek.pem"), chain));
        let list = get(&format!("/vcek/v1/{product}/crl")).await;
        files.push((format!("{product}-vcek.crl"), list));
    }
    let files: Vec<(&str, Vec<u8>)> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();

    let trusting = Desk::open_with(LISTS, Some(&kds.roots_pem())).await;
    assert_eq!(counts(&trusting.import_bytes(&files).await), (9, 0, 0));
    for product in AmdProduct::ALL {
        let reply = trusting
            .get(&kds.management().chip_of(product).target(), &[])
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    // Whoever has not the chain says so, and whoever does not trust the root.
    let alone = Desk::open_with(LISTS, Some(&kds.roots_pem())).await;
    let report = alone.import_bytes(&files[..1]).await;
    assert_eq!(counts(&report), (0, 0, 1));
    assert!(report.refused[0].reason.contains("chain"), "{report:?}");
    let strict = Desk::open(LISTS).await;
    let report = strict.import_bytes(&files).await;
    assert_eq!(counts(&report), (0, 0, 9), "{report:?}");
    nothing_but_quarantine(&strict).await;
}

/// Nothing of the kind is served, or history.
async fn nothing_but_quarantine(desk: &Desk) {
    let filter = EditionFilter {
        limit: 100,
        ..EditionFilter::default()
    };
    let rows = desk.server.collateral.editions(&filter).await;
    for row in rows.expect("the store") {
        // Chains are planted where certificates are judged.
        let planted = row.source == "built in";
        assert!(planted || row.state == State::Quarantined, "{}", row.key);
    }
    for kind in EndorsementKind::ALL {
        let held = desk
            .server
            .collateral
            .store()
            .count_endorsements(kind)
            .await;
        assert_eq!(held.expect("the store"), 0);
    }
}
