//! `thim sim`: the vendors' simulators on their own, for a THIM in another process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use thim_server::clock::Clock;
use thim_verify::UnixTime;

use crate::serve::Signals;

/// Run a simulated Intel PCS and a simulated AMD key server with fresh keys.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Address of the PCS.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    pcs: SocketAddr,
    /// Address of the management port (faults, TCB recovery, revocations). Keep it to yourself.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8091")]
    management: SocketAddr,
    /// Address of AMD's key server.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8092")]
    kds: SocketAddr,
    /// Address of its management port (chips, firmware, reports, limits, faults). Keep it to yourself.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8093")]
    kds_management: SocketAddr,
    /// Demand this subscription key.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Write a configuration for `thim serve --config` here, and the roots beside it as `sim-root.pem` and
    /// `sim-amd-roots.pem`.
    #[arg(long, value_name = "FILE", default_value = "thim-sim.toml")]
    write_config: PathBuf,
    /// Start the simulator's clock at this instant (RFC 3339); it then runs on.
    #[arg(long, value_name = "RFC3339")]
    clock: Option<UnixTime>,
}

/// Runs until a signal, 0 then; 2 where it cannot start.
pub fn run(args: Args) -> ExitCode {
    crate::log_to_stderr(thim_server::config::LogFormat::Human, "info");
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return crate::failed(&error),
    };
    match runtime.block_on(simulate(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::failed(&*error),
    }
}

async fn simulate(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let clock = args.clock.map_or_else(Clock::system, Clock::running_from);
    let mut signals = Signals::new()?;
    let kds_clock = clock.clone();
    let kds = thim_sim::start_kds(thim_sim::KdsConfig {
        kds_listen: args.kds,
        management_listen: args.kds_management,
        ..thim_sim::KdsConfig::new(Arc::new(move || kds_clock.now().secs()))
    })
    .await?;
    let sim = thim_sim::start(thim_sim::SimConfig {
        pcs_listen: args.pcs,
        management_listen: args.management,
        now: Arc::new(move || clock.now().secs()),
        api_key: args.api_key,
    })
    .await?;
    let root = args.write_config.with_file_name("sim-root.pem");
    std::fs::write(&root, sim.root_pem())?;
    let roots = args.write_config.with_file_name("sim-amd-roots.pem");
    std::fs::write(&roots, kds.roots_pem())?;
    let config = format!(
        "# Made by `thim sim`; its keys are fresh at each start, so a store filled from an earlier one is refused.\n\
         [intel]\nupstream = [\"{}\"]\nroot_crl_url = \"{}\"\n\n[amd]\nupstream = [\"{}\"]\n\n\
         [trust]\nintel_roots = [\"sim-root.pem\"]\namd_roots = [\"sim-amd-roots.pem\"]\n",
        sim.pcs_url(),
        sim.root_crl_url(),
        kds.url()
    );
    std::fs::write(&args.write_config, config)?;
    println!("simulated Intel PCS at {}", sim.pcs_url());
    println!("management at {}", sim.management_url());
    println!("simulated AMD key server at {}", kds.url());
    println!("its management at {}", kds.management_url());
    println!("configuration in {}", args.write_config.display());
    for platform in sim.platforms() {
        println!(
            "  {}  {}{}",
            platform.fmspc,
            if platform.sgx { "SGX" } else { "" },
            if platform.tdx { " TDX" } else { "" }
        );
    }
    use std::io::Write;
    let _ = std::io::stdout().flush();
    signals.wait().await;
    sim.shutdown().await;
    kds.shutdown().await;
    Ok(())
}
