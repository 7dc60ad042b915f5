//! `thim serve`: the service, and with `--sim` the simulated vendor inside the same process.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use thim_server::clock::Clock;
use thim_server::config::Config;
use thim_server::server::{OFF, Server, World};
use thim_server::store::Store;
use thim_verify::UnixTime;

/// Serve collateral.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory: store, keys, tokens. [default: ./thim-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address of plain HTTP, or "off". [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR|off")]
    http: Option<String>,
    /// Address of HTTPS, or "off". [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR|off")]
    https: Option<String>,
    /// Start simulated vendors inside the process (Intel's PCS and AMD's key server), trust their fresh roots and use
    /// them as upstreams. Their store is `sim` in the data directory and begins empty at each start.
    #[arg(long)]
    sim: bool,
    /// Start the service's clock at this instant (RFC 3339); it then runs on. For recorded collateral.
    #[arg(long, value_name = "RFC3339")]
    clock: Option<UnixTime>,
}

/// Runs until a signal, 0 then; 2 where it cannot start.
pub fn run(args: Args) -> ExitCode {
    let config = match Config::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return crate::failed(&error),
    };
    crate::log_to_stderr(config.log.format, "info");
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return crate::failed(&error),
    };
    match runtime.block_on(serve(args, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::failed(&*error),
    }
}

async fn serve(args: Args, mut config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let clock = args.clock.map_or_else(Clock::system, Clock::running_from);
    config.data = args.data.unwrap_or(config.data);
    config.http.listen = args.http.unwrap_or(config.http.listen);
    config.https.listen = args.https.unwrap_or(config.https.listen);
    if config.http.listen == OFF && config.https.listen == OFF {
        return Err("both listeners are off: there is nothing to serve".into());
    }
    let mut signals = Signals::new()?;
    let sims = if args.sim {
        Some(simulate(&mut config, &clock).await?)
    } else {
        None
    };
    let today = Clock::system().now();
    let world = World {
        clock: clock.clone(),
        clock_chosen: args.clock.is_some(),
        today,
        entropy: crate::entropy,
    };
    let server = Server::start(&config, world).await?;
    announce(&config, &server, &clock, sims.as_ref());
    signals.wait().await;
    eprintln!("stopping");
    server.stop().await;
    if let Some(Simulated { pcs, kds }) = sims {
        pcs.shutdown().await;
        kds.shutdown().await;
    }
    Ok(())
}

/// The simulated vendors.
struct Simulated {
    pcs: thim_sim::Sim,
    kds: thim_sim::Kds,
}

/// Starts the simulators, and points the configuration at them.
async fn simulate(
    config: &mut Config,
    clock: &Clock,
) -> Result<Simulated, Box<dyn std::error::Error>> {
    let (sim_clock, kds_clock) = (clock.clone(), clock.clone());
    // Smaller keys than AMD's: they are made at each start.
    let kds = thim_sim::start_kds(
        thim_sim::KdsConfig::new(Arc::new(move || kds_clock.now().secs()))
            .rsa_bits(thim_sim::RsaBits::B2048),
    )
    .await?;
    let pcs = thim_sim::start(thim_sim::SimConfig {
        pcs_listen: ([127, 0, 0, 1], 0).into(),
        management_listen: ([127, 0, 0, 1], 0).into(),
        now: Arc::new(move || sim_clock.now().secs()),
        api_key: None,
    })
    .await?;
    // Its keys are fresh at each start, so what an earlier simulator signed is worth nothing now.
    config.data = config.data.join("sim");
    let root = config.data.join("root.pem");
    Store::erase(&config.data)?;
    std::fs::write(&root, pcs.root_pem())?;
    config.trust.intel_roots = vec![root];
    config.intel.upstream = vec![pcs.pcs_url()];
    config.intel.root_crl_url = pcs.root_crl_url();
    config.intel.proxy = None;
    let roots = config.data.join("amd-roots.pem");
    std::fs::write(&roots, kds.roots_pem())?;
    config.trust.amd_roots = vec![roots];
    config.amd.upstream = vec![kds.url()];
    config.amd.proxy = None;
    Ok(Simulated { pcs, kds })
}

/// What a newcomer needs to see, on standard output.
fn announce(config: &Config, server: &Server, clock: &Clock, sims: Option<&Simulated>) {
    let mut text = String::new();
    macro_rules! line {
        ($($part:tt)*) => {
            text.push_str(&format!($($part)*));
            text.push('\n');
        };
    }
    line!("thim {} serves", env!("CARGO_PKG_VERSION"));
    if let Some(address) = server.http {
        line!("  http://{address}");
    }
    if let Some(address) = server.https {
        let note = if server.development_certificate {
            "  (development certificate; its CA is tls/ca.pem in the data directory)"
        } else {
            ""
        };
        line!("  https://{address}{note}");
    }
    line!(
        "  data in {}; admin token in {}",
        config.data.display(),
        token_path(config).display()
    );
    for (whose, roots) in [
        ("Intel's pinned root is", &config.trust.intel_roots),
        ("AMD's pinned roots are", &config.trust.amd_roots),
    ] {
        if !roots.is_empty() && sims.is_none() {
            line!("  WARNING: {whose} replaced by {roots:?}");
        }
    }
    if clock.is_simulated() {
        line!(
            "  WARNING: the clock is simulated and began at {}",
            clock.now()
        );
    }
    if server.collateral.is_read_only() {
        line!(
            "  WARNING: the clock is before the newest admission: a read-only view of the past, nothing is fetched or admitted"
        );
    }
    if let Some(Simulated { pcs: sim, kds }) = sims {
        line!(
            "  simulated Intel PCS at {}, its management at {}",
            sim.pcs_url(),
            sim.management_url()
        );
        line!(
            "  simulated AMD key server at {}, its management at {}",
            kds.url(),
            kds.management_url()
        );
        let base = server
            .https
            .map(|address| format!("-k 'https://{address}"))
            .or(server.http.map(|address| format!("'http://{address}")));
        line!("FMSPCs to ask for:");
        for platform in sim.platforms() {
            line!(
                "  {}  {}{}",
                platform.fmspc,
                if platform.sgx { "SGX" } else { "" },
                if platform.tdx { " TDX" } else { "" }
            );
        }
        if let (Some(base), Some(platform)) = (base, sim.platforms().first()) {
            line!(
                "try:  curl -i {base}/sgx/certification/v4/tcb?fmspc={}'",
                platform.fmspc
            );
            line!(
                "register a simulated platform, as PCKIDRetrievalTool does:\n      \
                 curl -s {}/platforms/platform-1/retrieval-request | curl -i -H \"user-token: $(cat {})\" \
                 -H 'Content-Type: application/json' --data-binary @- {base}/sgx/certification/v4/platforms'",
                sim.management_url(),
                token_path(config).display()
            );
        }
        if let (Some(base), Some(chip)) = (
            server.http.map(|address| format!("http://{address}")),
            kds.management().chips().first(),
        ) {
            line!(
                "the certificate of a simulated {} chip, as AMD gives it and as a guest asks for it:",
                chip.product.name()
            );
            line!(
                "      curl -s '{base}{}' | openssl x509 -inform der -noout -text",
                chip.target()
            );
            line!(
                "      curl -s -H Metadata:true '{base}/metadata/THIM/amd/certification?platformId={}&tcbVersion={}'",
                chip.hwid_hex(),
                chip.reported.tcbm(chip.product)
            );
        }
    }
    // Whoever started this may read no further; the service goes on.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

fn token_path(config: &Config) -> PathBuf {
    config
        .api
        .token_file
        .clone()
        .unwrap_or_else(|| config.data.join("admin.token"))
}

/// SIGINT and SIGTERM.
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one of them.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
