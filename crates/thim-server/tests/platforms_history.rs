//! What is served of a platform never goes backwards: not by an older list that is imported late or replayed by an
//! upstream, nor by a view, a list or an answer that was prepared before something changed.

mod harness;
#[path = "../../thim-verify/tests/pki/mod.rs"]
mod pki;

use std::collections::BTreeSet;

use harness::{Fleet, SGX_ONLY, at};
use http::HeaderValue;
use thim_server::baseline::Choice;
use thim_server::collateral::Ask;
use thim_server::intake;
use thim_server::platforms::registration::Registration;
use thim_server::platforms::{Authority, Imported, PckAsk, PckShape, ReadyPck};
use thim_server::refresh::{Step, execute};
use thim_server::store::{PckRow, PlatformRow};
use thim_server::upstream::Fill;
use thim_server::view::Subject;
use thim_sim::{Fault, FaultRule, PlatformSpec, SimPlatform};
use thim_verify::{
    ArtefactKey, Certificate, Digest, Issuers, Listed, PckCertificate, PckList, PckListEntry, Tee,
    TrustAnchors, parse_pck_list, verify_pck,
};

const HOUR: i64 = 3600;

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(bytes)
}

fn list_path(platform: &SimPlatform) -> String {
    format!(
        "/sgx/certification/v4/pckcerts?encrypted_ppid={}&pceid={}",
        hex(&platform.encrypted_ppid),
        hex(&platform.pce_id)
    )
}

fn pckcert(platform: &SimPlatform) -> String {
    format!(
        "/sgx/certification/v4/pckcert?qeid={}&encrypted_ppid={}&cpusvn={}&pcesvn={}&pceid={}",
        hex(&platform.qe_id),
        hex(&platform.encrypted_ppid),
        hex(&platform.cpu_svn),
        hex(&platform.pce_svn.to_le_bytes()),
        hex(&platform.pce_id)
    )
}

fn ask(platform: &SimPlatform) -> PckAsk {
    let said = Registration::from_json(platform.retrieval_request().as_bytes()).expect("complete");
    PckAsk {
        qe_id: said.qe_id,
        pce_id: said.pce_id,
        raw_tcb: said.raw_tcb.expect("told"),
        encrypted_ppid: said.encrypted_ppid,
    }
}

/// What the vendor has of a platform now, as an import.
async fn vendors(fleet: &Fleet, platform: &SimPlatform) -> Imported {
    let url = format!("{}{}", fleet.sim.pcs_url(), list_path(platform));
    let answer = fleet.send(fleet.client.get(url)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let chain = answer.header("SGX-PCK-Certificate-Issuer-Chain");
    let chain: Vec<u8> = percent_encoding::percent_decode_str(chain).collect();
    Imported {
        registration: Registration::from_json(platform.retrieval_request().as_bytes())
            .expect("complete"),
        list: parse_pck_list(&answer.body).expect("a list"),
        delivered: Certificate::from_pem_bundle(&chain).expect("certificates"),
        raw_tcbs: Vec::new(),
    }
}

async fn import(fleet: &Fleet, imported: &Imported) {
    let authority = Authority {
        name: "a test".to_owned(),
        may_move: false,
    };
    fleet
        .server()
        .platforms
        .import(imported.clone(), &authority, "a file", fleet.clock.now())
        .await
        .expect("imported");
}

/// SHA-256 of a list's certificates.
fn digests(imported: &Imported) -> BTreeSet<Digest> {
    let certificates = imported
        .list
        .entries
        .iter()
        .map(|entry| match &entry.listed {
            Listed::Certificate(certificate) => certificate.certificate().digest(),
            other => panic!("{other:?}"),
        });
    certificates.collect()
}

async fn row(fleet: &Fleet, platform: &SimPlatform) -> PlatformRow {
    let store = fleet.server().platforms.store();
    let pce_id = hex(&platform.pce_id).parse().expect("a PCE id");
    store
        .platform_by_alias(&hex(&platform.qe_id), pce_id)
        .await
        .expect("the store works")
        .expect("it is there")
}

async fn rows(fleet: &Fleet, platform: &SimPlatform, history: bool) -> Vec<PckRow> {
    let id = row(fleet, platform).await.id;
    let store = fleet.server().platforms.store();
    store
        .pck_certificates(&id, history)
        .await
        .expect("the store works")
}

async fn served(fleet: &Fleet, platform: &SimPlatform) -> BTreeSet<Digest> {
    let rows = rows(fleet, platform, false).await;
    rows.iter().map(|row| row.digest).collect()
}

/// The certificate that the platform is given.
async fn given(fleet: &Fleet, platform: &SimPlatform) -> Digest {
    let answer = fleet.get(&pckcert(platform)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.headers);
    Certificate::from_pem_bundle(&answer.body).expect("a certificate")[0].digest()
}

async fn fetch_again(fleet: &Fleet) {
    let platforms = &fleet.server().platforms;
    platforms
        .store()
        .platforms_make_due(None, fleet.clock.now())
        .await
        .expect("the store works");
    let round = platforms
        .fetch_due(&fleet.clock)
        .await
        .expect("the store works");
    assert_eq!((round.fetched, round.failed.len()), (1, 0), "{round:?}");
}

/// New certificates, `secs` after now by their dates; the clock is where it was.
fn reissue(fleet: &Fleet, platform: &SimPlatform, secs: i64) {
    fleet.clock.advance_millis(secs * 1000);
    fleet
        .management()
        .reissue(&platform.name)
        .expect("made anew");
    fleet.clock.advance_millis(-secs * 1000);
}

fn platform(fleet: &Fleet) -> SimPlatform {
    fleet
        .management()
        .add_platform(PlatformSpec::new(SGX_ONLY, 1))
        .expect("a platform")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_that_is_imported_late_is_history() {
    let fleet = Fleet::start().await;
    // One of which the older list was there first, and one of which it never was.
    let (known, unknown) = (platform(&fleet), platform(&fleet));
    for (platform, first) in [(&known, true), (&unknown, false)] {
        let older = vendors(&fleet, platform).await;
        if first {
            import(&fleet, &older).await;
            assert_eq!(served(&fleet, platform).await, digests(&older));
            given(&fleet, platform).await;
        }
        fleet.clock.advance_millis(HOUR * 1000);
        reissue(&fleet, platform, 0);
        let newer = vendors(&fleet, platform).await;
        assert!(digests(&older).is_disjoint(&digests(&newer)));
        import(&fleet, &newer).await;
        assert_eq!(served(&fleet, platform).await, digests(&newer));
        let certificate = given(&fleet, platform).await;
        assert!(digests(&newer).contains(&certificate));

        let mut lines = Vec::new();
        for _ in 0..2 {
            fleet.clock.advance_millis(HOUR * 1000);
            import(&fleet, &older).await;
            assert_eq!(served(&fleet, platform).await, digests(&newer));
            assert_eq!(given(&fleet, platform).await, certificate);
            let all = rows(&fleet, platform, true).await;
            let all: BTreeSet<Digest> = all.iter().map(|row| row.digest).collect();
            assert_eq!(all, &digests(&older) | &digests(&newer), "history has both");
            let id = row(&fleet, platform).await.id;
            let store = fleet.server().platforms.store();
            lines.push(store.timeline(&id).await.expect("the store works").len());
        }
        assert_eq!(lines[0], lines[1], "the same again is no news");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_replays_takes_nothing_back() {
    let fleet = Fleet::start().await;
    fleet.clock.advance_millis(4 * HOUR * 1000);
    let platform = platform(&fleet);
    let genuine = vendors(&fleet, &platform).await;
    import(&fleet, &genuine).await;
    let certificate = given(&fleet, &platform).await;
    // Older by a second, then of the same moment: other certificates each time.
    for secs in [-1, 0] {
        reissue(&fleet, &platform, secs);
        let replayed = vendors(&fleet, &platform).await;
        assert!(digests(&genuine).is_disjoint(&digests(&replayed)));
        fetch_again(&fleet).await;
        assert_eq!(served(&fleet, &platform).await, digests(&genuine));
        assert_eq!(given(&fleet, &platform).await, certificate);
        let all = rows(&fleet, &platform, true).await;
        let history: BTreeSet<Digest> = all
            .iter()
            .filter(|row| row.retired.is_some())
            .map(|row| row.digest)
            .collect();
        assert!(history.is_superset(&digests(&replayed)));
    }
    // Younger by a second.
    fleet.clock.advance_millis(1000);
    reissue(&fleet, &platform, 0);
    fetch_again(&fleet).await;
    assert_eq!(
        served(&fleet, &platform).await,
        digests(&vendors(&fleet, &platform).await)
    );
    assert_ne!(given(&fleet, &platform).await, certificate);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_yields_to_an_older_one_and_takes_nobodys_place() {
    let fleet = Fleet::start().await;
    fleet.clock.advance_millis(4 * HOUR * 1000);
    let platform = platform(&fleet);
    let revoked = vendors(&fleet, &platform).await;
    import(&fleet, &revoked).await;
    given(&fleet, &platform).await;
    reissue(&fleet, &platform, -HOUR);
    let older = vendors(&fleet, &platform).await;
    import(&fleet, &older).await;
    assert_eq!(served(&fleet, &platform).await, digests(&revoked));

    let serials = revoked
        .list
        .entries
        .iter()
        .map(|entry| match &entry.listed {
            Listed::Certificate(certificate) => {
                data_encoding::HEXLOWER.encode(certificate.certificate().serial())
            }
            other => panic!("{other:?}"),
        });
    let revocation = thim_sim::Revocation::of_serials(thim_sim::Ca::Processor, serials);
    fleet.clock.advance_millis(60_000);
    fleet.management().revoke(&revocation).expect("revoked");
    fleet.refresh().await;
    let now = fleet.clock.now();
    let tick = fleet.server().platforms.tick(now).await;
    tick.expect("the store works");
    assert_eq!(fleet.get(&pckcert(&platform)).await.status, 404);
    import(&fleet, &older).await;
    assert_eq!(served(&fleet, &platform).await, digests(&older));
    assert!(digests(&older).contains(&given(&fleet, &platform).await));
    // The vendor goes on listing what it revoked.
    import(&fleet, &revoked).await;
    assert_eq!(served(&fleet, &platform).await, digests(&older));

    // Revoked before anybody had it.
    fleet.clock.advance_millis(60_000);
    reissue(&fleet, &platform, 0);
    let newest = vendors(&fleet, &platform).await;
    fleet
        .management()
        .revoke_platform(&platform.name)
        .expect("revoked");
    fleet.refresh().await;
    import(&fleet, &newest).await;
    assert_eq!(served(&fleet, &platform).await, digests(&older));
    let all = rows(&fleet, &platform, true).await;
    let marked = all.iter().filter(|row| row.revoked.is_some());
    let marked: BTreeSet<Digest> = marked.map(|row| row.digest).collect();
    assert_eq!(marked, &digests(&revoked) | &digests(&newest));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_in_the_order_of_the_newest_list() {
    let fleet = Fleet::start().await;
    let platform = platform(&fleet);
    let mut imported = vendors(&fleet, &platform).await;
    assert!(imported.list.entries.len() > 2);
    for _ in 0..2 {
        import(&fleet, &imported).await;
        let wanted: Vec<_> = imported.list.entries.iter().map(|one| one.tcbm).collect();
        let rows = rows(&fleet, &platform, false).await;
        let found: Vec<_> = rows.iter().map(|row| row.tcbm).collect();
        assert_eq!(found, wanted);
        let listed = fleet.get(&list_path(&platform)).await;
        let listed = parse_pck_list(&listed.body).expect("a list");
        let found: Vec<_> = listed.entries.iter().map(|one| one.tcbm).collect();
        assert_eq!(found, wanted);
        // The very same certificates, in another order.
        imported.list.entries.reverse();
    }
    fleet.stop().await;
}

/// Asks the upstream one thing, and nothing else.
async fn ask_upstream(fleet: &Fleet, ask: Ask) {
    let step = Step {
        ask,
        subject: String::new(),
        why: String::new(),
        unless_seen_since: None,
    };
    execute(&fleet.server().collateral, &step, fleet.clock.now())
        .await
        .expect("it comes");
}

/// Whether the platform's answer is ready and stands on what is known now.
fn is_ready(fleet: &Fleet, platform: &SimPlatform) -> bool {
    let found = fleet
        .server()
        .platforms
        .peek(&ask(platform), fleet.clock.now());
    found.is_some()
}

/// Asks until nothing moves any more: what the background fetches at its start, and what the first choice fetches.
async fn settle(fleet: &Fleet, platform: &SimPlatform) {
    fleet.refresh().await;
    for _ in 0..2 {
        given(fleet, platform).await;
    }
    assert!(is_ready(fleet, platform));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_names_another_number_lets_certificates_be_chosen_anew() {
    let fleet = Fleet::start().await;
    let platform = platform(&fleet);
    import(&fleet, &vendors(&fleet, &platform).await).await;
    let list = Ask::Artefact(ArtefactKey::EvaluationNumbers { tee: Tee::Sgx });
    settle(&fleet, &platform).await;
    ask_upstream(&fleet, list).await;
    assert!(is_ready(&fleet, &platform), "the same list is no news");
    fleet.clock.advance_millis(HOUR * 1000);
    fleet.management().recovery(0).expect("a recovery");
    ask_upstream(&fleet, list).await;
    assert!(!is_ready(&fleet, &platform));
    settle(&fleet, &platform).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_the_source_calls_early_lets_certificates_be_chosen_anew() {
    let mut fleet = Fleet::sim_only(|_| {}).await;
    let no_lists = FaultRule::new(Fault::Status { code: 404 }).matching("evaluationdatanumbers");
    fleet.management().set_fault(no_lists).expect("a fault");
    fleet.serve().await;
    let platform = platform(&fleet);
    import(&fleet, &vendors(&fleet, &platform).await).await;
    settle(&fleet, &platform).await;
    let early = Ask::Subject(
        Subject::TcbInfo {
            tee: Tee::Sgx,
            version: 3,
            fmspc: SGX_ONLY.parse().expect("an FMSPC"),
        },
        Choice::Early,
    );
    fleet.clock.advance_millis(HOUR * 1000);
    let number = fleet.management().recovery(0).expect("a recovery");
    let path = harness::tcb("sgx", SGX_ONLY);
    // Its TCB info comes first, and then the source's word that this is the early one.
    let numbered = format!("{path}&tcbEvaluationDataNumber={number}");
    assert_eq!(fleet.get(&numbered).await.status, 200);
    given(&fleet, &platform).await;
    assert!(is_ready(&fleet, &platform));
    ask_upstream(&fleet, early).await;
    assert!(!is_ready(&fleet, &platform));
    given(&fleet, &platform).await;
    ask_upstream(&fleet, early).await;
    assert!(is_ready(&fleet, &platform), "the same word is no news");
    fleet.stop().await;
}

/// Alters every stored certificate, as somebody with the file might; the service runs on.
async fn spoil(fleet: &Fleet) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(fleet.data().join("thim.db"));
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options)
        .await
        .expect("opens");
    let spoilt = sqlx::query("UPDATE pck_certificate SET pem = x'00' WHERE retired IS NULL")
        .execute(&mut connection)
        .await
        .expect("altered");
    assert!(spoilt.rows_affected() > 0);
    sqlx::Connection::close(connection).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_verified_once_until_something_changes() {
    let fleet = Fleet::start().await;
    let (platform, other) = (platform(&fleet), platform(&fleet));
    import(&fleet, &vendors(&fleet, &platform).await).await;
    // So that nothing that comes by itself changes anything below.
    fleet.refresh().await;
    let list = async || fleet.get(&list_path(&platform)).await;
    let first = list().await;
    assert_eq!(first.status, 200);
    spoil(&fleet).await;
    let again = list().await;
    assert_eq!((again.status, &again.body), (200, &first.body), "kept");
    for header in [
        "SGX-PCK-Certificate-Issuer-Chain",
        "SGX-FMSPC",
        "SGX-PCK-Certificate-CA-Type",
        "Cache-Control",
    ] {
        assert_eq!(again.header(header), first.header(header), "{header}");
        assert!(!again.header(header).is_empty());
    }

    // The register changes: the store is read again, found spoilt, and what the vendor has is fetched.
    let calls = || fleet.management().calls().containing("pckcerts");
    let before = calls();
    import(&fleet, &vendors(&fleet, &other).await).await;
    assert_eq!(calls(), before + 1, "of the other alone");
    assert_eq!(list().await.body, first.body);
    assert_eq!(calls(), before + 2);

    // What certificates are judged by changes.
    spoil(&fleet).await;
    assert_eq!(list().await.body, first.body);
    assert_eq!(calls(), before + 2, "kept");
    fleet.clock.advance_millis(60_000);
    let revocation = thim_sim::Revocation::random(thim_sim::Ca::Processor, 1);
    fleet.management().revoke(&revocation).expect("revoked");
    fleet.refresh().await;
    assert_eq!(list().await.body, first.body);
    assert_eq!(calls(), before + 3);

    // New certificates are in it at once.
    fleet.clock.advance_millis(60_000);
    reissue(&fleet, &platform, 0);
    let newer = vendors(&fleet, &platform).await;
    import(&fleet, &newer).await;
    let newest = list().await;
    let parsed = Imported {
        list: parse_pck_list(&newest.body).expect("a list"),
        ..newer.clone()
    };
    assert_eq!(digests(&parsed), digests(&newer));

    // And a list does not outlive what is in it: seven years, for the simulator.
    fleet.clock.advance_millis(7 * 366 * 86_400_000);
    let ended = list().await;
    assert_ne!(ended.body, newest.body);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_ends_with_the_chain_that_it_carries() {
    let fleet = Fleet::start().await;
    let platform = platform(&fleet);
    let imported = vendors(&fleet, &platform).await;
    let anchors = TrustAnchors::from_pem(fleet.sim.root_pem().as_bytes()).expect("a root");
    let Listed::Certificate(certificate) = imported.list.entries[0].listed.clone() else {
        panic!("a certificate")
    };
    let now = fleet.clock.now();
    let verified = verify_pck(
        certificate,
        &imported.delivered,
        &Issuers::new(anchors),
        None,
        None,
        now,
    )
    .expect("verifies");
    let ends = now.plus_secs(10);
    let chain = HeaderValue::from_static("a re-issue that ends before the one that was judged");
    let ready = ReadyPck::new(&verified, chain.clone(), ends, None, HOUR);
    assert!(ready.holds_at(ends));
    assert!(!ready.holds_at(ends.plus_secs(1)));
    let headers = ready.serve(PckShape::Pem, now).headers;
    assert_eq!(headers["cache-control"], "max-age=10");

    let leaf_ends = verified.certificate().not_after();
    let ready = ReadyPck::new(&verified, chain, at("2100-01-01T00:00:00Z"), None, HOUR);
    assert!(ready.holds_at(leaf_ends) && !ready.holds_at(leaf_ends.plus_secs(1)));
    fleet.stop().await;
}

/// A vendor whose authority for platforms ends on the day after the tests' days begin, and was re-issued in time.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_ended_and_was_reissued_ends_no_answer() {
    use pki::{PLATFORM, Pki, Profile, ROOT, TCB_INFO_V3, issued, profile};

    let pki = Pki::new();
    let authority = |from, to, serial| {
        let profile = Profile {
            from,
            to,
            serial,
            ..profile(PLATFORM, true)
        };
        issued(&profile, &pki.platform_key, ROOT, &pki.root_key)
    };
    let ended = authority((2018, 5, 21), (2026, 11, 25), &[1]);
    let reissued = authority((2026, 11, 1), (2033, 5, 21), &[2]);
    let leaf = pki::pck::leaf(
        pki::pck::CPU_SVN,
        pki::pck::PCE_SVN,
        PLATFORM,
        &pki.platform_key,
    );
    let tcb_info = TCB_INFO_V3
        .replace("2026-03-01", "2026-11-20")
        .replace("2026-03-31", "2026-12-20");

    let folder = tempfile::tempdir().expect("a directory");
    let root = folder.path().join("root.pem");
    std::fs::write(&root, pki.root.to_pem()).expect("written");
    let fleet = Fleet::start_with(|config| {
        config.trust.intel_roots = vec![root];
        config.intel.upstream = Vec::new();
        config.intel.fill = Fill::Offline;
    })
    .await;
    let collateral = &fleet.server().collateral;
    let known = [pki.tcb.clone(), ended.clone(), reissued.clone()];
    let now = fleet.clock.now();
    let learnt = collateral.learn_certificates(&known, now).await;
    assert_eq!(learnt.expect("the store works"), 3);
    let file = folder.path().join("tcb.json");
    std::fs::write(&file, pki.signed("tcbInfo", &tcb_info)).expect("written");
    let read = intake::read(&[file], &mut |_| {});
    let report = intake::import(collateral, read, now, &mut |_, _| {}).await;
    let report = report.expect("the store works");
    assert!(report.refused.is_empty(), "{report:?}");

    let said = serde_json::json!({
        "enc_ppid": "AB".repeat(384),
        "pce_id": "0000",
        "cpu_svn": hex(&pki::pck::CPU_SVN),
        "pce_svn": hex(&pki::pck::PCE_SVN.to_le_bytes()),
        "qe_id": "CD".repeat(16),
        "platform_manifest": "",
    });
    let registration = Registration::from_json(said.to_string().as_bytes()).expect("complete");
    let ask = PckAsk {
        qe_id: registration.qe_id.clone(),
        pce_id: registration.pce_id,
        raw_tcb: registration.raw_tcb.expect("told"),
        encrypted_ppid: None,
    };
    let imported = Imported {
        registration,
        list: PckList {
            entries: vec![PckListEntry {
                tcbm: pki::pck::TCBM.parse().expect("a TCBm"),
                listed: Listed::Certificate(PckCertificate::from_der(&leaf).expect("a leaf")),
            }],
        },
        delivered: vec![ended.clone()],
        raw_tcbs: Vec::new(),
    };
    import(&fleet, &imported).await;

    fleet.clock.advance_millis(24 * HOUR * 1000);
    let now = fleet.clock.now();
    assert!(ended.valid_at(now).is_err() && reissued.valid_at(now).is_ok());
    let platforms = &fleet.server().platforms;
    let found = platforms.answer(&ask, now).await.expect("an answer");
    let headers = found.ready.serve(PckShape::Pem, now).headers;
    let chain = headers["sgx-pck-certificate-issuer-chain"].as_bytes();
    let chain: Vec<u8> = percent_encoding::percent_decode(chain).collect();
    let chain = Certificate::from_pem_bundle(&chain).expect("certificates");
    assert_eq!(chain, [reissued, pki.root.clone()]);
    assert_eq!(headers["cache-control"], "max-age=3600");
    assert!(platforms.peek(&ask, now).is_some(), "and it is kept");
    fleet.stop().await;
}
