//! The files that are written for hypervisors and guests, and who else may hold them.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod harness;

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use harness::{Bench, Does};
use thim_agent::config::Config;
use thim_agent::manners::Certificates;
use thim_agent::span::Span;
use thim_client::ThimCertification;
use thim_sim::kds::SimTcb;

fn with_files(bench: &Bench) -> Config {
    let mut config = bench.config();
    config.output.certificate_table = Some(bench.path("certs.bin"));
    config.output.host_amd_cert = Some(bench.path("host-amd-cert-base64"));
    config.output.lock_wait = Span::from_millis(60);
    config
}

/// The DER blobs of a table, as a guest reads it.
fn certificates(table: &[u8]) -> Vec<Vec<u8>> {
    let number = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap()) as usize;
    let entries = (0..)
        .map(|n| n * 24)
        .take_while(|at| table[*at..at + 16] != [0; 16]);
    entries
        .map(|at| {
            let (offset, length) = (number(at + 16), number(at + 20));
            table[offset..offset + length].to_vec()
        })
        .collect()
}

#[tokio::test]
async fn both_files_are_what_is_served() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    let agent = bench.agent(&with_files(&bench));
    agent.look().await;
    let served = agent
        .certification(&Certificates::default())
        .await
        .unwrap()
        .body;
    let text = std::fs::read(bench.path("host-amd-cert-base64")).unwrap();
    assert_eq!(data_encoding::BASE64.decode(&text).unwrap(), served);

    let wire: ThimCertification = serde_json::from_slice(&served).unwrap();
    let table = std::fs::read(bench.path("certs.bin")).unwrap();
    let pem: Vec<String> = certificates(&table)
        .iter()
        .map(|der| data_encoding::BASE64.encode(der))
        .collect();
    let body = |pem: &str| {
        pem.lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<String>()
    };
    let chain = wire.certificate_chain.replace("-----BEGIN", "\n-----BEGIN");
    let chain: Vec<String> = chain
        .split("\n\n")
        .map(body)
        .filter(|text| !text.is_empty())
        .collect();
    assert_eq!(
        pem,
        [chain[1].clone(), chain[0].clone(), body(&wire.vcek_cert)]
    );

    for name in [
        "certs.bin",
        "host-amd-cert-base64",
        "data/certification.json",
    ] {
        let mode = std::fs::metadata(bench.path(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o644, "{name}");
    }
    // What is so already is not written again.
    let seen = |name: &str| {
        let data = std::fs::metadata(bench.path(name)).unwrap();
        (data.ino(), data.mtime_nsec(), data.mtime())
    };
    let before = (seen("certs.bin"), seen("host-amd-cert-base64"));
    agent.look().await;
    assert_eq!((seen("certs.bin"), seen("host-amd-cert-base64")), before);
}

#[tokio::test]
async fn readers_that_hold_the_table_delay_it() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    let path = bench.path("certs.bin");
    std::fs::write(&path, "as it was").unwrap();
    let reader = File::open(&path).unwrap();
    reader.lock_shared().unwrap();
    let agent = bench.agent(&with_files(&bench));
    agent.look().await;
    assert_eq!(
        std::fs::read(&path).unwrap(),
        b"as it was",
        "not while a report is being made"
    );
    assert!(agent.unready().is_none());
    assert!(
        agent
            .metrics()
            .text()
            .contains("thim_agent_write_failures_total 1")
    );
    assert!(
        bench.path("host-amd-cert-base64").exists(),
        "the other file does not wait"
    );

    // Freed while the agent waits: it goes on at once.
    let mut config = with_files(&bench);
    config.output.lock_wait = Span::from_secs(60);
    let waiting = bench.agent(&config);
    let before = std::fs::metadata(&path).unwrap().ino();
    tokio::join!(waiting.look(), async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        reader.unlock().unwrap();
    });
    assert_eq!(certificates(&std::fs::read(&path).unwrap()).len(), 3);
    assert_eq!(
        std::fs::metadata(&path).unwrap().ino(),
        before,
        "in place: the hypervisor may have it open"
    );
    // Nothing is left locked.
    File::open(&path).unwrap().try_lock_shared().unwrap();
}

#[tokio::test]
async fn a_torn_table_is_mended_and_a_longer_one_cut() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    let path = bench.path("certs.bin");
    bench.agent(&with_files(&bench)).look().await;
    let whole = std::fs::read(&path).unwrap();
    let mut torn = whole.clone();
    torn[2000..].fill(0);
    let mut longer = whole.clone();
    longer.extend_from_slice(b"of before");
    bench.service_does(Does::Closes);
    for wrong in [torn, longer, whole[..1000].to_vec(), Vec::new()] {
        std::fs::write(&path, &wrong).unwrap();
        bench.agent(&with_files(&bench)).look().await;
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}

#[tokio::test]
async fn a_table_of_another_tcb_is_emptied_at_once() {
    let bench = Bench::new().await;
    let chip = bench.milan();
    bench.provision(&chip, &chip.reported);
    let agent = bench.agent(&with_files(&bench));
    agent.look().await;
    let newer = SimTcb::new(9, 0, 30, 230);
    let chip = bench
        .kds
        .management()
        .update_firmware(&chip.name, newer)
        .unwrap();
    bench.provision(&chip, &newer);
    bench.service_does(Does::Closes);
    let text = std::fs::read(bench.path("host-amd-cert-base64")).unwrap();
    agent.look().await;
    assert_eq!(std::fs::read(bench.path("certs.bin")).unwrap(), [0; 24]);
    assert_eq!(
        std::fs::read(bench.path("host-amd-cert-base64")).unwrap(),
        text,
        "its readers compare tcbm"
    );
    bench.service_does(Does::Answers);
    bench.advance(3600);
    agent.look().await;
    assert_eq!(
        certificates(&std::fs::read(bench.path("certs.bin")).unwrap()).len(),
        3
    );
    assert_ne!(
        std::fs::read(bench.path("host-amd-cert-base64")).unwrap(),
        text
    );
}
