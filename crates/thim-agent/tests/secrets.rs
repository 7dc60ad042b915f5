//! The chip's id is in what a client asks and in its certificate, and nowhere in what the agent says of itself.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod harness;

use std::io::Write;
use std::sync::{Arc, Mutex};

use harness::{Bench, Does, PATH, get};
use thim_agent::config::{Config, Listen};
use thim_agent::host::Source;
use thim_sim::kds::{AmdProduct, SimTcb};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_id_and_no_token_in_logs_metrics_or_debug_texts() {
    let lines = Lines::default();
    let written = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || written.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let bench = Bench::new().await;
    let chip = bench.milan();
    let id = chip.hwid_hex();
    std::fs::write(bench.path("token"), "thim_a-secret-token\n").unwrap();
    let mut config = bench.config();
    config.service.token_file = Some(bench.path("token"));
    config.health.listen = Listen::At("127.0.0.1:0".parse().unwrap());
    config.output.certificate_table = Some(bench.path("certs.bin"));
    let text = format!(
        "[host]\nsource = \"config\"\nchip_id = \"{id}\"\nreported_tcb = \"{}\"\n",
        chip.reported.tcbm(chip.product)
    );
    std::fs::write(bench.path("agent.toml"), &text).unwrap();
    config.host = Config::load(Some(&bench.path("agent.toml"))).unwrap().host;
    assert_eq!(config.host.source, Source::Config);
    let mut said = format!("{config:?}");

    let server = bench.start(&config).await;
    said += get(server.http, &format!("{PATH}?platformId={id}"))
        .await
        .header("thim-cause");
    let other = bench.kds.management().chip_of(AmdProduct::Genoa).hwid_hex();
    let answer = get(server.http, &format!("{PATH}?platformId={other}")).await;
    assert_eq!(answer.status, 404);
    said += &format!("{answer:?}");
    let unreached = SimTcb::new(127, 127, 127, 255).tcbm(chip.product);
    said += &format!(
        "{:?}",
        get(server.http, &format!("{PATH}?tcbVersion={unreached}")).await
    );
    for does in [
        Does::Closes,
        Does::Says(
            500,
            vec![("THIM-Cause", format!("odd; detail=\"{id}\""))],
            id.clone(),
        ),
        Does::Says(200, Vec::new(), format!("{{\"{id}\":1}}")),
    ] {
        bench.service_does(does);
        bench.advance(90_000);
        server.agent.look().await;
        said += &format!(
            "{:?}",
            get(server.http, &format!("{PATH}?tcbVersion=1")).await
        );
        said += &format!(
            "{:?}",
            get(server.http, "/metadata/THIM/sgx/certification/v4/pckcert")
                .await
                .headers
        );
    }
    said += &server.agent.metrics().text();
    said += &format!("{server:?}");
    server.stop().await;
    // Mistakes in the files that hold the id.
    for wrong in [
        text.replace("chip_id = \"", "chip_id = "),
        text.replace("chip_id", "chipid"),
        text.replace(&id, &id[1..]),
        text.replace("[host]", "[host"),
    ] {
        std::fs::write(bench.path("agent.toml"), wrong).unwrap();
        match Config::load(Some(&bench.path("agent.toml"))) {
            Err(error) => said += &format!("{error} {error:?}"),
            Ok(read) => said += &format!("{:?}", read.check().unwrap_err()),
        }
    }
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    // It was listened to, and it does say things.
    assert!(
        logged.contains("the host reports this TCB")
            && logged.contains("no certificates from the service")
    );
    let ours: String = logged
        .lines()
        .filter(|line| line.contains(" thim_agent"))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(!ours.is_empty());
    for text in [&said, &ours] {
        let text = text.to_lowercase();
        for secret in [
            &id[..],
            &id[..16],
            &id[1..17],
            &other[..16],
            "a-secret-token",
        ] {
            let at = text.find(secret);
            assert!(
                at.is_none(),
                "{:?}",
                at.map(|at| &text[at.saturating_sub(300)..at])
            );
        }
    }
}
