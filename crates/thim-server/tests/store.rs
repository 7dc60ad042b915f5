//! The store is not trusted on the way out, and what readers of metrics see survives a restart.

mod harness;

use harness::{Fleet, SGX_ONLY, tcb};
use thim_sim::{Fault, FaultRule};

/// Alters the stored document of every TCB info, as somebody with the file might.
async fn alter(fleet: &mut Fleet) {
    if let Some(server) = fleet.server.take() {
        server.stop().await;
    }
    let path = fleet.data().join("thim.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options)
        .await
        .expect("opens");
    let altered = sqlx::query(
        "UPDATE edition SET document = CAST(REPLACE(CAST(document AS TEXT), 'OutOfDate', 'UpToDate') AS BLOB) WHERE kind = 'tcb-info'",
    )
    .execute(&mut connection)
    .await
    .expect("altered");
    assert!(altered.rows_affected() > 0);
    sqlx::Connection::close(connection).await.expect("closed");
    fleet.serve().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_document_is_found_not_served_and_replaced_by_the_genuine_one() {
    let mut fleet = Fleet::start().await;
    let genuine = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(genuine.status, 200);
    assert!(genuine.text().contains("OutOfDate"));
    alter(&mut fleet).await;
    let healed = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(
        (healed.status, &healed.body),
        (200, &genuine.body),
        "{healed:?}"
    );
    assert!(
        fleet
            .events()
            .await
            .contains(&"edition.quarantined".to_owned())
    );
    fleet.restart().await;
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.body, genuine.body);

    fleet.fault(Fault::Down);
    alter(&mut fleet).await;
    let gone = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(gone.status, 503, "nobody to replace it: {gone:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_a_superseded_edition_confirms_nothing() {
    let fleet = Fleet::start().await;
    assert_eq!(fleet.get(&tcb("sgx", SGX_ONLY)).await.status, 200);
    fleet.advance(60).await;
    fleet.management().resign().expect("signed anew");
    fleet.refresh().await;
    let newest = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    fleet.advance(3600).await;
    fleet
        .management()
        .set_fault(FaultRule::new(Fault::Stale { days: 1 }).matching("/tcb?"))
        .expect("a fault");
    fleet.refresh().await;
    let after = fleet.get(&tcb("sgx", SGX_ONLY)).await;
    assert_eq!(
        after.header("thim-freshness"),
        newest.header("thim-freshness"),
        "not confirmed"
    );
    assert!(fleet.events().await.contains(&"edition.older".to_owned()));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gauges_are_there_before_anybody_asks() {
    let mut fleet = Fleet::start().await;
    assert_eq!(
        fleet
            .get("/sgx/certification/v4/pckcrl?ca=platform")
            .await
            .status,
        200
    );
    fleet.fault(Fault::Down);
    fleet.restart().await;
    let metrics = fleet.get("/metrics").await;
    assert!(
        metrics
            .text()
            .contains("thim_crl_revoked_entries{key=\"intel/pck-crl/platform\"} 57"),
        "{}",
        metrics.text()
    );
    assert!(
        metrics
            .text()
            .contains("thim_artifact_expires_seconds{key=\"intel/pck-crl/platform\"}")
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_closed() {
    use tokio::io::AsyncReadExt;
    let fleet =
        Fleet::start_with(|config| config.limits.idle_timeout = "50ms".parse().expect("a span"))
            .await;
    let mut silent = tokio::net::TcpStream::connect(fleet.server().http.expect("on"))
        .await
        .expect("connects");
    let mut rest = Vec::new();
    let read = tokio::time::timeout(
        std::time::Duration::from_secs(20),
        silent.read_to_end(&mut rest),
    )
    .await;
    assert!(read.is_ok(), "the server hangs up");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_signs_nothing_is_told_of_once() {
    let fleet = Fleet::start().await;
    fleet.management().set_resign_after(u32::MAX);
    assert_eq!(
        fleet
            .get("/sgx/certification/v4/pckcrl?ca=platform")
            .await
            .status,
        200
    );
    fleet.fault(Fault::Down);
    let told = async || {
        let events = fleet
            .server()
            .collateral
            .store()
            .events(0, None, 1000)
            .await
            .expect("the store works");
        let late = events
            .into_iter()
            .filter(|event| event.name == "cadence.missed");
        late.map(|event| event.edition.expect("an edition"))
            .collect::<Vec<_>>()
    };
    fleet.advance(7 * 86_400).await;
    assert_eq!(told().await.len(), 0);
    for _ in 0..3 {
        fleet.advance(86_400).await;
        let mut editions = told().await;
        assert!(!editions.is_empty());
        let all = editions.len();
        editions.sort();
        editions.dedup();
        assert_eq!(editions.len(), all, "each once");
    }
    fleet.stop().await;
}
