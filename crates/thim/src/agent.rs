//! `thim agent`: the metadata service of one node.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use thim_agent::World;
use thim_agent::config::{Config, LogFormat};
use thim_agent::server::Server;
use thim_server::clock::Clock;
use thim_verify::UnixTime;

use crate::serve::Signals;

/// Answer this node's guests at 169.254.169.254.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The service to ask, e.g. https://thim.example:8081.
    #[arg(long, value_name = "URL")]
    service: Option<String>,
    /// Address of the metadata service. [default: 169.254.169.254:80]
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Where the certificates are kept. [default: ./thim-agent-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only look whether a metadata service answers at the address already: exit code 0 where none does, else 2. To be
    /// asked before 169.254.169.254 is added to this machine: afterwards a cloud's own is out of sight.
    #[arg(long)]
    only_look: bool,
    /// Start the agent's clock at this instant (RFC 3339); it then runs on. For recorded certificates.
    #[arg(long, value_name = "RFC3339")]
    clock: Option<UnixTime>,
}

/// Runs until a signal, 0 then; 2 where it cannot start.
pub fn run(args: Args) -> ExitCode {
    let config = match Config::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return crate::failed(&error),
    };
    let format = match config.log.format {
        LogFormat::Human => thim_server::config::LogFormat::Human,
        LogFormat::Json => thim_server::config::LogFormat::Json,
    };
    crate::log_to_stderr(format, "info");
    // One thread answers and fetches: a node's guests ask rarely, and its memory is for them.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return crate::failed(&error),
    };
    match runtime.block_on(answer(args, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::failed(&*error),
    }
}

async fn answer(args: Args, mut config: Config) -> Result<(), Box<dyn std::error::Error>> {
    config.service.url = args.service.unwrap_or(config.service.url);
    if config.service.url.is_empty() {
        return Err("no service to ask: --service URL, or [service] url in --config FILE".into());
    }
    config.http.listen = args.http.unwrap_or(config.http.listen);
    config.data = args.data.unwrap_or(config.data);
    if args.only_look {
        thim_agent::listen::free(config.http.listen).await?;
        let listen = config.http.listen;
        if listen.ip() == thim_agent::LINK_LOCAL {
            println!("nobody answers at {listen}");
        } else {
            println!("{listen} is no cloud's address: there is nothing to look for");
        }
        return Ok(());
    }
    let clock = args.clock.map_or_else(Clock::system, Clock::running_from);
    let simulated = args.clock.is_some();
    let mut signals = Signals::new()?;
    let world = World {
        now: Arc::new(move || clock.now()),
        entropy: crate::entropy,
    };
    let server = Server::start(&config, world).await?;
    announce(&config, &server, simulated);
    signals.wait().await;
    eprintln!("stopping");
    server.stop().await;
    Ok(())
}

fn announce(config: &Config, server: &Server, simulated: bool) {
    let mut text = format!(
        "thim agent {} answers\n  http://{}\n",
        env!("CARGO_PKG_VERSION"),
        server.http
    );
    if let Some(health) = server.health {
        text.push_str(&format!("  probes and metrics at http://{health}\n"));
    }
    text.push_str(&format!(
        "  asks {}; keeps what verified in {}\n",
        config.service.url,
        config.data.display()
    ));
    if !config.trust.amd_roots.is_empty() {
        text.push_str(&format!(
            "  WARNING: AMD's pinned roots are replaced by {:?}\n",
            config.trust.amd_roots
        ));
    }
    if simulated {
        text.push_str("  WARNING: the clock is simulated\n");
    }
    text.push_str(&format!(
        "try:  curl -i -H Metadata:true http://{}/metadata/THIM/amd/certification\n",
        server.http
    ));
    // Whoever started this may read no further; the agent goes on.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

/// For files, names and the secure processor; each thread costs memory.
const BLOCKING_THREADS: usize = 4;
