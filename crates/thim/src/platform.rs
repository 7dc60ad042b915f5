//! `thim platform`: register, look at, diagnose, forget, take over and hand on the platforms of a register.

mod chips;
mod exporting;
mod hosts;
mod looking;
mod paging;
mod pccs;
mod registering;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Subcommand, ValueEnum};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use thim_client::ClientError;
use thim_server::platforms::{Authority, PlatformState, Updates, Which};
use thim_verify::Fmspc;
use thim_verify::amd::Product;

use crate::collateral::carry_out;
use crate::place::Place;

/// Register platforms, look at them, find out what is wrong with one, take over those of a PCCS
///
/// ID is a platform's id (16 hex digits), or a name it asks under: QEID:PCEID. With --amd it is that of a chip of
/// AMD's; it is not the chip id, which is never printed.
///
/// With --data the act is done on a store that no server has open, under the same --config as the server's; with
/// --service it is done by a running service, and needs its token.
///
/// Exit codes: 0 yes; 1 no (refused, not there, something is wrong with it); 2 could not tell.
///
/// Examples:
///
///   thim platform register pckid_retrieval.csv --service https://thim.example:8081 --token-file registrar.token
///
///   thim platform doctor A0B1C2D3E4F5061728394A5B6C7D8E9F:0000 --service https://thim.example:8081 --token-file reader.token
///
///   thim platform register --amd report.bin --label host-17 --service https://thim.example:8081 --token-file registrar.token
///
///   thim platform prewarm --product Milan --tcb bl=4,tee=0,snp=27,ucode=222 --wait --service https://thim.example:8081 --token-file registrar.token
///
///   thim platform import-pccs /opt/intel/sgx-dcap-pccs/pckcache.db --data /var/lib/thim --config /etc/thim/thim.toml
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// Say what is wrong with a platform, how that is known, and what to do next
    ///
    /// Exit codes: 0 nothing is wrong; 1 a cause was found; 2 could not tell. docs/doctor.md has a paragraph for each
    /// cause.
    Doctor {
        /// The platform
        id: PlatformId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write platforms with their certificates, so that another THIM or a PCCS can take them
    ///
    /// One body of `PUT /sgx/certification/v4/platformcollateral` a platform, as JSON Lines, or with --out and a
    /// folder a file each. SECRETS ARE INSIDE: encrypted PPIDs and platform manifests. Files are readable by their
    /// owner alone. Platforms without certificates are left out, and told of.
    Export {
        /// Only this FMSPC
        #[arg(long)]
        fmspc: Option<Fmspc>,
        /// A new file, or a folder, instead of standard output
        #[arg(long, value_name = "FILE|DIR")]
        out: Option<PathBuf>,
    },
    /// Forget a platform: its names, certificates, story and secrets
    Forget {
        /// The platform
        id: PlatformId,
        /// A chip of AMD's; its certificates are history, and stay
        #[arg(long)]
        amd: bool,
    },
    /// Take over the database of Intel's PCCS: pckcache.db (SQLite, versions 1 to 5)
    ///
    /// Everything in it is verified: collateral, PCK certificates, names. What is refused is listed with its reason,
    /// and the rest is taken over; a name that is another platform's stays with it. Registrations that wait and appraisal
    /// policies come along. The file is only read; stop PCCS first, or take a copy, so that nothing changes meanwhile.
    /// Run it again after it was cut short.
    ///
    /// With --service each platform is sent as a `PUT platformcollateral`, which takes a platform whole or not at all.
    /// Exit code 1 when anything was refused.
    #[command(name = "import-pccs")]
    ImportPccs {
        /// The database
        #[arg(value_name = "DB")]
        database: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Platforms by id, as they are read: there may be a million
    List {
        /// Only this state: needs-manifest, new, partial, ready, refused or waiting
        #[arg(long)]
        state: Option<PlatformState>,
        /// Only this FMSPC
        #[arg(long)]
        fmspc: Option<Fmspc>,
        /// Chips of AMD's instead
        #[arg(long, conflicts_with_all = ["state", "fmspc"])]
        amd: bool,
        /// Only chips of this product
        #[arg(long, requires = "amd")]
        product: Option<Product>,
        /// At most so many
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the vendor for a platform's certificates again, now
    ///
    /// Exit codes: 0 they came; 1 they did not, and what is there goes on being served; 2 could not tell.
    Refetch {
        /// The platform
        id: PlatformId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch the certificates of a product's chips for the TCB that comes next, before firmware is rolled out
    ///
    /// A running service fetches them, one after the other, as fast as AMD's key server allows: with its default
    /// budget 360 an hour. Guests that miss one go first. Exit codes: 0 they are there, or under way; 1 the key server
    /// does not have some of them (they are asked for again later); 2 could not tell.
    Prewarm {
        /// Which product
        #[arg(long)]
        product: Product,
        /// The TCB: bl=4,tee=0,snp=27,ucode=222 (and fmc=1 for Turin), or the hex that Azure calls tcbm
        #[arg(long, value_name = "TCB")]
        tcb: chips::Level,
        /// Wait until they are there, and show how far it is
        #[arg(long)]
        wait: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Register platforms as their hosts describe them
    ///
    /// FILE is what PCKIDRetrievalTool writes (CSV, a line a platform), the JSON that it posts, or an array of such,
    /// as PcsClientTool's platform_list.json; `-` is standard input. A platform is fetched at once; one that the
    /// vendor does not answer for is kept, and tried again. Exit code 1 when one is not ready, with the cause.
    ///
    /// With --amd, FILE is an attestation report of the chip (1184 bytes), or JSON:
    /// {"product": "Milan", "chipId": "...", "reportedTcb": "d318000000000004", "label": "host-17"}, or an array of
    /// such. All chips are registered or none; their certificates are fetched as fast as AMD's key server allows.
    Register {
        /// Files, or `-`
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The files describe chips of AMD's
        #[arg(long, conflicts_with_all = ["direct", "update"])]
        amd: bool,
        /// The product of chips that do not tell it
        #[arg(long, requires = "amd")]
        product: Option<Product>,
        /// Your own name for the chip
        #[arg(long, requires = "amd", value_name = "TEXT")]
        label: Option<String>,
        /// Have the vendor keep the platform's keys (direct registration); THIM then keeps no manifest of it
        #[arg(long)]
        direct: bool,
        /// Which collateral is to be there when it is done
        #[arg(long, value_name = "WHICH", default_value = "standard")]
        update: Update,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Everything about a platform but its secrets
    Show {
        /// The platform
        id: PlatformId,
        /// A chip of AMD's
        #[arg(long)]
        amd: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// PCCS's `update`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Update {
    All,
    Early,
    Standard,
}

impl Update {
    const fn updates(self) -> Updates {
        match self {
            Self::All => Updates::All,
            Self::Early => Updates::Early,
            Self::Standard => Updates::Standard,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Early => "early",
            Self::Standard => "standard",
        }
    }
}

/// A platform as it is named on the command line.
#[derive(Clone, Debug)]
struct PlatformId {
    which: Which,
}

impl FromStr for PlatformId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let which = text.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { which })
    }
}

impl PlatformId {
    /// As a segment of a path.
    fn segment(&self) -> String {
        let text = match &self.which {
            Which::Id(id) => id.clone(),
            Which::Name(qe_id, pce_id) => format!("{qe_id}:{pce_id}"),
        };
        utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string()
    }
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    let Args { place, act } = args;
    carry_out(async {
        match act {
            Act::Doctor { id, json } => looking::doctor(&place, &id, json).await,
            Act::Export { fmspc, out } => exporting::export(&place, fmspc, out.as_deref()).await,
            Act::Forget { id, amd: true } => chips::forget(&place, &id).await,
            Act::Forget { id, amd: false } => looking::forget(&place, &id).await,
            Act::ImportPccs { database, json } => pccs::import(&place, &database, json).await,
            Act::List {
                state,
                fmspc,
                amd,
                product,
                limit,
                json,
            } => {
                if amd {
                    chips::list(&place, product, limit, json).await
                } else {
                    looking::list(&place, state, fmspc, limit, json).await
                }
            }
            Act::Prewarm {
                product,
                tcb,
                wait,
                json,
            } => chips::prewarm(&place, product, tcb, wait, json).await,
            Act::Refetch { id, json } => looking::refetch(&place, &id, json).await,
            Act::Register {
                files,
                amd,
                product,
                label,
                direct,
                update,
                json,
            } => {
                if amd {
                    chips::register(&place, &files, product, label.as_deref(), json).await
                } else {
                    registering::register(&place, &files, direct, update, json).await
                }
            }
            Act::Show { id, amd, json } => {
                if amd {
                    chips::show(&place, &id, json).await
                } else {
                    looking::show(&place, &id, json).await
                }
            }
        }
    })
}

/// Whose word it is where there is no service to ask.
fn authority(may_move: bool) -> Authority {
    Authority {
        name: "the command line".to_owned(),
        may_move,
    }
}

/// The answer of a service, where a problem of one of these statuses is its no: None, and the reason is said.
fn unless<T>(answer: Result<T, ClientError>, no: &[u16]) -> Result<Option<T>, String> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(ClientError::Problem(problem)) if no.contains(&problem.status) => {
            eprintln!("thim: {}", problem.detail.unwrap_or(problem.title));
            Ok(None)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// What is said of a platform that is not there.
const NO_SUCH: &str = "thim: there is no such platform";

#[allow(
    clippy::needless_pass_by_value,
    reason = "for map_err, which gives a value"
)]
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
