//! Where a command's collateral and platforms are: a store in a directory, or a running service.

use std::path::PathBuf;
use std::sync::Arc;

use thim_client::Client;
use thim_server::baselines::Baselines;
use thim_server::chips::Chips;
use thim_server::clock::Clock;
use thim_server::collateral::{Collateral, Settings};
use thim_server::config::Config;
use thim_server::metrics::Metrics;
use thim_server::platforms::Platforms;
use thim_server::sealing::{self, IdentityKey, Sealer};
use thim_verify::UnixTime;

/// Options of every command that reads or changes collateral.
#[derive(clap::Args, Debug)]
pub struct Place {
    /// The configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory, with no server running on it [default: `data` of the configuration, ./thim-data]
    #[arg(long, global = true, value_name = "DIR", conflicts_with_all = ["service", "token_file", "ca_file"])]
    data: Option<PathBuf>,
    /// A running service instead: scheme, host and port
    #[arg(long, global = true, value_name = "URL", conflicts_with = "clock")]
    service: Option<String>,
    /// The file with the service's bearer token: for what changes something, and for platforms
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM certificates to trust for the service instead of the system's
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Judge dates at this instant; before the newest admission of the store it is a read-only view by the
    /// vendor's dates
    #[arg(long, global = true, value_name = "RFC3339")]
    clock: Option<UnixTime>,
}

/// A store that is open, or a service that can be asked.
pub enum Opened {
    /// The keeper over a store, and its clock.
    Store(Arc<Collateral>, Clock),
    /// The client of a service.
    Service(Client),
}

/// A register of platforms that is open, or a service that can be asked.
pub enum Register {
    /// The register over a store, and its clock.
    Store(Arc<Platforms>, Clock),
    /// The client of a service.
    Service(Client),
}

/// Baselines that are at hand, or a service that can be asked.
pub enum BaselinePlace {
    /// The client of a service.
    Service(Client),
    /// The keeper over a store, and its clock.
    Store(Arc<Baselines>, Clock),
}

/// Chips that are at hand, or a service that can be asked.
pub enum ChipPlace {
    /// The client of a service.
    Service(Client),
    /// The keeper over a store, and its clock.
    Store(Arc<Chips>, Clock),
}

/// What a command is going to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Intent {
    /// Change the store.
    Change,
    /// Change it, and ask upstreams.
    Fetch,
    /// Look at it.
    Read,
}

impl Place {
    /// A data directory, for a command with options of its own.
    pub fn of(config: Option<PathBuf>, data: PathBuf) -> Self {
        Self {
            config,
            data: Some(data),
            service: None,
            token_file: None,
            ca_file: None,
            clock: None,
        }
    }

    /// Opens it; the error is for people.
    pub async fn open(&self) -> Result<Opened, String> {
        self.open_by(Clock::by_hand).await
    }

    async fn open_by(&self, chosen: fn(UnixTime) -> Clock) -> Result<Opened, String> {
        if let Some(service) = &self.service {
            return self.client(service).map(Opened::Service);
        }
        if self.token_file.is_some() || self.ca_file.is_some() {
            return Err("--token-file and --ca-file go with --service".to_owned());
        }
        let config = Config::load(self.config.as_deref()).map_err(|error| error.to_string())?;
        let clock = self.clock.map_or_else(Clock::system, chosen);
        let settings = Settings {
            data: self.data.as_deref().unwrap_or(&config.data),
            anchors: config.anchors().map_err(|error| error.to_string())?,
            amd_anchors: config.amd_anchors().map_err(|error| error.to_string())?,
            intel: &config.intel,
            amd: &config.amd,
            freshness: config.freshness.clone(),
            sentinel: config.sentinel.clone(),
            clock: clock.clone(),
            view_past: self.clock.is_some(),
        };
        let collateral = Collateral::open(settings, Metrics::new)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Opened::Store(collateral, clock))
    }

    /// Whether a running service is named.
    pub fn names_service(&self) -> bool {
        self.service.is_some()
    }

    /// As [`Place::open`], for what changes something: a view of the past is refused.
    pub async fn open_to_change(&self) -> Result<Opened, String> {
        Self::unless_past(self.open().await?).await
    }

    /// As [`Place::open_to_change`], for what asks upstreams: their budgets refill with a clock that runs on.
    pub async fn open_to_fetch(&self) -> Result<Opened, String> {
        Self::unless_past(self.open_by(Clock::running_from).await?).await
    }

    /// As the others, with the register of platforms and the key that their secrets are sealed under.
    pub async fn open_register(&self, intent: Intent) -> Result<Register, String> {
        let opened = match intent {
            Intent::Change => self.open_to_change().await?,
            Intent::Fetch => self.open_to_fetch().await?,
            Intent::Read => self.open().await?,
        };
        let (collateral, clock) = match opened {
            Opened::Service(client) => return Ok(Register::Service(client)),
            Opened::Store(collateral, clock) => (collateral, clock),
        };
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let config = Config::load(self.config.as_deref()).map_err(|error| text(&error))?;
        let data = self.data.as_deref().unwrap_or(&config.data);
        let (sealer, fresh) = Sealer::open(data, crate::entropy).map_err(|error| text(&error))?;
        let store = collateral.store();
        if fresh && store.has_sealed().await.map_err(|error| text(&error))? {
            eprintln!(
                "thim: {} was gone, and a new one is made: manifests and encrypted PPIDs of the platforms here are lost until they register again. Put the old file back, if you have it",
                sealing::KEY_FILE
            );
        }
        let identity = identity(&collateral).await?;
        let platforms = Platforms::new(
            collateral,
            Arc::new(sealer),
            Arc::new(identity),
            config.platforms,
        );
        Ok(Register::Store(platforms, clock))
    }

    /// As [`Place::open_register`], with the keeper of baselines.
    pub async fn open_baselines(&self, intent: Intent) -> Result<BaselinePlace, String> {
        let (platforms, clock) = match self.open_register(intent).await? {
            Register::Service(client) => return Ok(BaselinePlace::Service(client)),
            Register::Store(platforms, clock) => (platforms, clock),
        };
        let collateral = Arc::clone(platforms.collateral());
        let products = self.configuration()?.amd.products();
        let products = products.map_err(|error| error.to_string())?;
        let baselines = Baselines::open(collateral, platforms, products)
            .await
            .map_err(|error| error.to_string())?;
        Ok(BaselinePlace::Store(baselines, clock))
    }

    /// As [`Place::open_register`], with the keeper of AMD's chips.
    pub async fn open_chips(&self, intent: Intent) -> Result<ChipPlace, String> {
        let opened = match intent {
            Intent::Change => self.open_to_change().await?,
            Intent::Fetch => self.open_to_fetch().await?,
            Intent::Read => self.open().await?,
        };
        let (collateral, clock) = match opened {
            Opened::Service(client) => return Ok(ChipPlace::Service(client)),
            Opened::Store(collateral, clock) => (collateral, clock),
        };
        Ok(ChipPlace::Store(self.chips(&collateral).await?, clock))
    }

    /// The keeper of certificates of AMD's chips beside a keeper that is open.
    pub async fn chips(&self, collateral: &Arc<Collateral>) -> Result<Arc<Chips>, String> {
        let identity = Arc::new(identity(collateral).await?);
        let config = self.configuration()?;
        Chips::new(Arc::clone(collateral), identity, config.amd).map_err(|error| error.to_string())
    }

    /// The configuration that was named, or the defaults.
    pub fn configuration(&self) -> Result<Config, String> {
        Config::load(self.config.as_deref()).map_err(|error| error.to_string())
    }

    /// The data directory, for what stands beside the store in it.
    pub fn directory(&self) -> Result<PathBuf, String> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let config = Config::load(self.config.as_deref()).map_err(|error| error.to_string())?;
        Ok(config.data)
    }

    async fn unless_past(opened: Opened) -> Result<Opened, String> {
        if let Opened::Store(collateral, clock) = &opened
            && collateral.is_read_only()
        {
            collateral.store().close().await;
            return Err(format!(
                "the clock, {}, is before the newest admission of the store: it can only be read",
                clock.now()
            ));
        }
        Ok(opened)
    }

    fn client(&self, service: &str) -> Result<Client, String> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let token = self.token_file.as_ref().map(read).transpose()?;
        let token = token.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        let roots = self.ca_file.as_ref().map(read).transpose()?;
        Client::new(service, token, roots.as_deref()).map_err(|error| error.to_string())
    }
}

/// What tells platforms and chips apart in this store.
async fn identity(collateral: &Collateral) -> Result<IdentityKey, String> {
    let mut random = [0; 32];
    crate::entropy(&mut random).map_err(|error| error.to_string())?;
    let key = collateral.store().identity_key(random).await;
    key.map_err(|error| error.to_string())
}

impl BaselinePlace {
    /// As [`Opened::close`].
    pub async fn close(self) {
        if let Self::Store(baselines, _) = self {
            baselines.store().close().await;
        }
    }
}

impl ChipPlace {
    /// As [`Opened::close`].
    pub async fn close(self) {
        if let Self::Store(chips, _) = self {
            chips.store().close().await;
        }
    }
}

impl Opened {
    /// Folds the write-ahead log in; an open store that is dropped loses nothing.
    pub async fn close(self) {
        if let Self::Store(collateral, _) = self {
            collateral.store().close().await;
        }
    }
}

impl Register {
    /// As [`Opened::close`].
    pub async fn close(self) {
        if let Self::Store(platforms, _) = self {
            platforms.store().close().await;
        }
    }
}
