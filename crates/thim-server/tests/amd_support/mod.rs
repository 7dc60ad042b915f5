//! A server that asks nobody, with a clock moved by hand: imports go to its keepers, questions to its port.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use thim_client::ImportReport;
use thim_server::clock::Clock;
use thim_server::config::Config;
use thim_server::intake::{self, File, Gathered};
use thim_server::server::{Server, World};

/// Where files are brought to.
pub struct Desk {
    pub server: Server,
    pub clock: Clock,
    client: reqwest::Client,
    // Removed when the desk is dropped.
    folder: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

impl Desk {
    /// With the pinned roots.
    pub async fn open(now: &str) -> Self {
        Self::open_with(now, None).await
    }

    /// With AMD's roots replaced by those of a PEM text.
    pub async fn open_with(now: &str, roots: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config {
            data: folder.path().join("data"),
            ..Config::default()
        };
        config.http.listen = "127.0.0.1:0".to_owned();
        config.https.listen = "off".to_owned();
        config.intel.upstream = Vec::new();
        config.amd.upstream = Vec::new();
        if let Some(roots) = roots {
            let file = folder.path().join("roots.pem");
            std::fs::write(&file, roots).expect("written");
            config.trust.amd_roots = vec![file];
        }
        let clock = Clock::by_hand(now.parse().expect("a time"));
        let world = World {
            clock: clock.clone(),
            clock_chosen: false,
            today: clock.now(),
            entropy,
        };
        let server = Server::start(&config, world).await.expect("it starts");
        let client = reqwest::Client::builder().no_proxy().build();
        Self {
            server,
            clock,
            client: client.expect("a client"),
            folder,
        }
    }

    /// Files and folders, as the command line names them.
    pub async fn import(&self, paths: &[&Path]) -> ImportReport {
        let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
        self.take(intake::read(&paths, &mut |_| {})).await
    }

    /// Files that are in no folder.
    pub async fn import_bytes(&self, files: &[(&str, Vec<u8>)]) -> ImportReport {
        let mut gathered = Gathered::default();
        for (path, bytes) in files {
            gathered.add(&File {
                path: (*path).to_owned(),
                bytes: bytes.clone().into(),
            });
        }
        self.take(gathered).await
    }

    async fn take(&self, gathered: Gathered) -> ImportReport {
        let mut last = (0, 0);
        let (chips, now) = (&self.server.chips, self.clock.now());
        let report = intake::import(chips, gathered, now, &mut |done, of| last = (done, of))
            .await
            .expect("the store");
        assert_eq!(last.0, last.1, "the progress ends at its end");
        report
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let address = self.server.http.expect("a port");
        let mut request = self.client.get(format!("http://{address}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        Reply {
            status: answer.status().as_u16(),
            body: answer.bytes().await.expect("a body").to_vec(),
        }
    }
}

fn entropy(bytes: &mut [u8]) -> std::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    for chunk in bytes.chunks_mut(8) {
        let next = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        chunk.copy_from_slice(&next[..chunk.len()]);
    }
    Ok(())
}
