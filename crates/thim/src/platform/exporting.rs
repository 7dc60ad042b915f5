//! Platforms with their certificates and secrets, one after the other: nothing is kept but one of them.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thim_client::{ClientError, PlatformSummary};
use thim_server::secret;
use thim_server::store::PlatformFilter;
use thim_verify::Fmspc;

use super::text;
use crate::place::{Intent, Place, Register};
use crate::progress::Progress;
use crate::{remote, tables};

/// Writes them; true where each that has certificates is written.
pub async fn export(
    place: &Place,
    fmspc: Option<Fmspc>,
    out: Option<&Path>,
) -> Result<bool, String> {
    let register = place.open_register(Intent::Read).await?;
    let mut sink = Sink::open(out)?;
    eprintln!(
        "thim: secrets are inside: encrypted PPIDs and platform manifests. Keep what is written as you keep keys"
    );
    let mut progress = Progress::new("exporting");
    let (mut after, mut written, mut without, mut refused) = (String::new(), 0_usize, 0, 0);
    loop {
        let page = page(&register, fmspc, &after).await?;
        let Some(last) = page.last() else {
            break;
        };
        after.clone_from(&last.id);
        for platform in &page {
            if platform.fmspc.is_none() {
                without += 1;
                continue;
            }
            match deliverable(&register, &platform.id).await? {
                Ok(body) => {
                    sink.take(&platform.id, &body)?;
                    written += 1;
                    progress.at(written, 0);
                }
                Err(why) => {
                    refused += 1;
                    eprintln!(
                        "thim: platform {}: {}",
                        platform.id,
                        tables::printable(&why)
                    );
                }
            }
        }
        if page.len() < remote::PAGE as usize {
            break;
        }
    }
    drop(progress);
    register.close().await;
    sink.finish()?;
    let left_out = if without > 0 {
        format!("; {without} have no certificates and are left out")
    } else {
        String::new()
    };
    eprintln!("thim: {written} platforms are written{left_out}");
    Ok(refused == 0)
}

async fn page(
    register: &Register,
    fmspc: Option<Fmspc>,
    after: &str,
) -> Result<Vec<PlatformSummary>, String> {
    match register {
        Register::Service(client) => {
            remote::platforms(client, None, fmspc, after, remote::PAGE).map_err(text)
        }
        Register::Store(platforms, _) => platforms
            .page(&PlatformFilter {
                state: None,
                fmspc,
                after: after.to_owned(),
                limit: remote::PAGE,
            })
            .await
            .map_err(text),
    }
}

/// A platform's body, or why there is none.
async fn deliverable(register: &Register, id: &str) -> Result<Result<String, String>, String> {
    match register {
        Register::Service(client) => match remote::platform_collateral(client, id) {
            Ok(body) => Ok(Ok(body.get().to_owned())),
            // 404: it was forgotten meanwhile; 409: it cannot be handed on.
            Err(ClientError::Problem(problem)) if matches!(problem.status, 404 | 409) => {
                Ok(Err(problem.detail.unwrap_or(problem.title)))
            }
            Err(error) => Err(text(error)),
        },
        Register::Store(platforms, clock) => {
            let Some(row) = platforms.store().platform(id).await.map_err(text)? else {
                return Ok(Err("it was forgotten".to_owned()));
            };
            let body = platforms.deliverable(&row, clock.now()).await;
            Ok(body.map_err(text))
        }
    }
}

/// Where it goes.
enum Sink {
    /// A file each.
    Folder(PathBuf),
    /// A line each.
    Lines(PathBuf, BufWriter<File>),
    /// A line each.
    Stdout,
}

impl Sink {
    fn open(out: Option<&Path>) -> Result<Self, String> {
        let Some(path) = out else {
            return Ok(Self::Stdout);
        };
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(failed)?;
            return Ok(Self::Folder(path.to_owned()));
        }
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        Ok(Self::Lines(path.to_owned(), BufWriter::new(file)))
    }

    fn take(&mut self, id: &str, body: &str) -> Result<(), String> {
        // White space between tokens; nothing signed by the vendor has any.
        let line = body.replace(['\n', '\r'], " ");
        match self {
            Self::Folder(folder) => {
                let path = folder.join(format!("{id}.json"));
                secret::write(&path, body.as_bytes())
                    .map_err(|error| format!("{}: {error}", path.display()))
            }
            Self::Lines(path, file) => {
                writeln!(file, "{line}").map_err(|error| format!("{}: {error}", path.display()))
            }
            Self::Stdout => {
                tables::say(line);
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<(), String> {
        let Self::Lines(path, file) = self else {
            return Ok(());
        };
        file.into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}
