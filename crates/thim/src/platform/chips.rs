//! Chips of AMD's on the command line: registered from reports or descriptions, looked at, and their next certificates
//! fetched before firmware is rolled out. A chip id is read here and sent on; it is never printed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use thim_client::{
    ChipRecord, ChipSummary, NewChip, PrewarmReport, PrewarmRequest, RegisterChips, RegisteredChip,
};
use thim_server::config::Config;
use thim_server::store::ChipFilter;
use thim_verify::amd::{Product, Products, SnpTcb, SplValues, TcbVersion, parse_report};

use super::{PlatformId, paging, text, unless};
use crate::place::{ChipPlace, Intent, Place};
use crate::progress::Progress;
use crate::tables;

/// A TCB as it is named on the command line: `bl=4,tee=0,snp=24,ucode=219`, with `fmc=` for Turin, or the hex that
/// Azure calls `tcbm`.
#[derive(Clone, Copy, Debug)]
pub enum Level {
    /// By component.
    Components(SplValues),
    /// The number, most significant byte first.
    Number(TcbVersion),
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            let number = TcbVersion::from_hex_be(text);
            return number.map(Self::Number).map_err(|_| {
                "wanted bl=4,tee=0,snp=24,ucode=219 (fmc=1 too for Turin), or 1 to 16 hex digits, most significant byte first".to_owned()
            });
        }
        let pairs = text.split(',').map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = match name.trim() {
                "fmc" => "fmcSPL",
                "bl" => "blSPL",
                "tee" => "teeSPL",
                "snp" => "snpSPL",
                "ucode" => "ucodeSPL",
                other => other,
            };
            (name, value.trim())
        });
        SplValues::from_parameters(pairs)
            .map(Self::Components)
            .map_err(|error| error.to_string())
    }
}

impl Level {
    fn hex(self, products: &Products, product: Product) -> Result<String, String> {
        let facts = products.facts(product);
        let tcb = match self {
            Self::Components(values) => SnpTcb::from_spl(facts, &values),
            Self::Number(number) => number.decode(facts),
        };
        tcb.and_then(|tcb| tcb.to_tcbm_hex(facts)).map_err(text)
    }
}

/// Registers the chips of all files; all of them or none.
pub async fn register(
    place: &Place,
    files: &[PathBuf],
    product: Option<Product>,
    label: Option<&str>,
    json: bool,
) -> Result<bool, String> {
    let products = products(place)?;
    let mut chips = Vec::new();
    for file in files {
        chips.extend(read(file, product, label, &products)?);
    }
    let register = place.open_chips(Intent::Change).await?;
    let registered: Vec<RegisteredChip> = match &register {
        ChipPlace::Service(client) => {
            let request = RegisterChips { chips };
            match unless(client.post("/thim/v1/chips", &request), &[400, 409])? {
                Some(registered) => registered,
                None => return Ok(false),
            }
        }
        ChipPlace::Store(keeper, clock) => {
            let done = keeper
                .register(&chips, "the command line", clock.now())
                .await;
            match done {
                Ok(registered) => registered,
                Err(error) => {
                    eprintln!("thim: {error}");
                    register.close().await;
                    return Ok(false);
                }
            }
        }
    };
    register.close().await;
    if json {
        tables::json(&registered)?;
        return Ok(true);
    }
    for chip in &registered {
        let new = if chip.new { "registered" } else { "known" };
        let wanted = if chip.wanted {
            ", its certificate will be fetched"
        } else {
            ""
        };
        tables::say(format_args!("{}  {}  {new}{wanted}", chip.id, chip.product));
    }
    Ok(true)
}

/// What a file says: attestation reports, or descriptions in JSON.
fn read(
    file: &Path,
    product: Option<Product>,
    label: Option<&str>,
    products: &Products,
) -> Result<Vec<NewChip>, String> {
    let shown = file.display();
    let mut bytes = Vec::new();
    let limit = FILE_BYTES + 1;
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| format!("{shown}: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(format!("{shown}: more than {FILE_BYTES} bytes"));
    }
    let named = |chip: NewChip| NewChip {
        product: chip.product.or_else(|| product.map(|one| one.to_string())),
        label: chip.label.or_else(|| label.map(ToOwned::to_owned)),
        ..chip
    };
    let start = bytes.trim_ascii_start().first();
    if matches!(start, Some(b'{')) {
        let chip: NewChip =
            serde_json::from_slice(&bytes).map_err(|error| format!("{shown}: {error}"))?;
        return Ok(vec![named(chip)]);
    }
    if matches!(start, Some(b'[')) {
        let chips: Vec<NewChip> =
            serde_json::from_slice(&bytes).map_err(|error| format!("{shown}: {error}"))?;
        return Ok(chips.into_iter().map(named).collect());
    }
    let report = parse_report(&bytes).map_err(|error| {
        format!("{shown}: neither an attestation report nor a description in JSON: {error}")
    })?;
    let facts = match (product, report.product(products)) {
        (Some(product), _) => products.facts(product),
        (None, Some(facts)) => facts,
        (None, None) => {
            return Err(format!(
                "{shown}: the report names no CPU (version 2 does not); say which with --product"
            ));
        }
    };
    let chip = report
        .chip_id(facts)
        .map_err(|error| format!("{shown}: {error}"))?;
    Ok(vec![NewChip {
        product: Some(facts.product().to_string()),
        chip_id: chip.to_hex_lower(),
        reported_tcb: Some(report.reported_tcb.to_tcbm_hex()),
        label: label.map(ToOwned::to_owned),
    }])
}

/// Prints chips as they are read.
pub async fn list(
    place: &Place,
    product: Option<Product>,
    limit: Option<u64>,
    json: bool,
) -> Result<bool, String> {
    let register = place.open_chips(Intent::Read).await?;
    let page = async |after: &str, limit: u32| match &register {
        ChipPlace::Service(client) => {
            let product = product.map_or(String::new(), |one| format!("&product={one}"));
            let path = format!("/thim/v1/chips?limit={limit}&after={after}{product}");
            client.get::<Vec<ChipSummary>>(&path).map_err(text)
        }
        ChipPlace::Store(keeper, _) => {
            let filter = ChipFilter {
                product,
                after: after.to_owned(),
                limit,
            };
            keeper.page(&filter).await.map_err(text)
        }
    };
    let printed = paging::print(limit, json, page, |chip| &chip.id, row).await;
    register.close().await;
    printed?;
    Ok(true)
}

/// Columns of fixed width, since the rows to come are not known.
fn row(chip: &ChipSummary) -> String {
    let reported = chip.reported_tcb.as_deref().unwrap_or("-");
    format!(
        "{}  {:6}  {reported:16}  {}  {}",
        chip.id, chip.product, chip.registered, chip.label
    )
}

/// Prints everything about a chip but its chip id.
pub async fn show(place: &Place, id: &PlatformId, json: bool) -> Result<bool, String> {
    let register = place.open_chips(Intent::Read).await?;
    let record = match &register {
        ChipPlace::Service(client) => unless(client.get::<ChipRecord>(&path(id)), &[404])?,
        ChipPlace::Store(keeper, _) => keeper.record(&id.segment()).await.map_err(text)?,
    };
    register.close().await;
    let Some(record) = record else {
        eprintln!("{NO_SUCH_CHIP}");
        return Ok(false);
    };
    if json {
        tables::json(&record)?;
        return Ok(true);
    }
    let summary = &record.summary;
    let reported = summary.reported_tcb.as_deref().unwrap_or("not told");
    tables::say(format_args!("chip       {}", summary.id));
    tables::say(format_args!("product    {}", summary.product));
    tables::say(format_args!("label      {}", summary.label));
    tables::say(format_args!("reported   {reported}"));
    tables::say(format_args!("registered {}", summary.registered));
    for certificate in &record.certificates {
        tables::say(format_args!(
            "  {:11}  {}  {} to {}  ({})",
            certificate.state,
            certificate.tcb,
            certificate.not_before,
            certificate.not_after,
            certificate.levels
        ));
    }
    Ok(true)
}

/// Forgets a chip.
pub async fn forget(place: &Place, id: &PlatformId) -> Result<bool, String> {
    let register = place.open_chips(Intent::Change).await?;
    let done = match &register {
        ChipPlace::Service(client) => {
            unless(client.delete::<ChipRecord>(&path(id)), &[404])?.is_some()
        }
        ChipPlace::Store(keeper, clock) => keeper
            .forget(&id.segment(), "the command line", clock.now())
            .await
            .map_err(text)?,
    };
    register.close().await;
    if !done {
        eprintln!("{NO_SUCH_CHIP}");
    }
    Ok(done)
}

/// Wants the certificates of a product's chips at a TCB, and tells how far that is; with `wait` until they are there.
/// True where all of them are, or are under way.
pub async fn prewarm(
    place: &Place,
    product: Product,
    level: Level,
    wait: bool,
    json: bool,
) -> Result<bool, String> {
    let tcb = level.hex(&products(place)?, product)?;
    let register = place.open_chips(Intent::Change).await?;
    let ChipPlace::Service(client) = &register else {
        register.close().await;
        return Err("a running service fetches: --service URL".to_owned());
    };
    let request = PrewarmRequest {
        product: product.to_string(),
        tcb: tcb.clone(),
    };
    let mut report: PrewarmReport = client.post("/thim/v1/prewarm", &request).map_err(text)?;
    if wait {
        let mut progress = Progress::new("fetching");
        while report.wanted > report.absent {
            let count = |number: i64| usize::try_from(number).unwrap_or(0);
            progress.at(count(report.held), count(report.chips));
            tokio::time::sleep(LOOK_EVERY).await;
            report = client
                .get(&format!("/thim/v1/prewarm?product={product}&tcb={tcb}"))
                .map_err(text)?;
        }
    }
    if json {
        tables::json(&report)?;
    } else {
        let PrewarmReport {
            chips,
            held,
            wanted,
            absent,
            seconds,
            ..
        } = &report;
        tables::say(format_args!(
            "{held} of {chips} {product} chips have a certificate for {tcb}; {wanted} are wanted, of which the key server has not had {absent} so far"
        ));
        if *seconds > 0 {
            tables::say(format_args!("the rest takes {seconds} s at least"));
        }
    }
    Ok(report.absent == 0)
}

fn products(place: &Place) -> Result<Products, String> {
    let config: Config = place.configuration()?;
    config.amd.products().map_err(text)
}

fn path(id: &PlatformId) -> String {
    format!("/thim/v1/chips/{}", id.segment())
}

const NO_SUCH_CHIP: &str = "thim: there is no such chip";
/// 10,000 descriptions.
const FILE_BYTES: u64 = 4 * 1024 * 1024;
/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_by_component_and_by_number_are_the_same() {
        let products = Products::builtin();
        let hex = |text: &str, product| {
            let level: Result<Level, String> = text.parse();
            level.and_then(|level| level.hex(&products, product))
        };
        for (text, product, wanted) in [
            (
                "bl=3,tee=0,snp=8,ucode=115",
                Product::Milan,
                "7308000000000003",
            ),
            (
                "ucode=115, snp=8,bl=03,tee=0",
                Product::Milan,
                "7308000000000003",
            ),
            ("7308000000000003", Product::Milan, "7308000000000003"),
            ("3", Product::Milan, "0000000000000003"),
            (
                "fmc=1,bl=1,tee=1,snp=4,ucode=81",
                Product::Turin,
                "5100000004010101",
            ),
        ] {
            assert_eq!(hex(text, product).as_deref(), Ok(wanted), "{text}");
        }
        for (text, product) in [
            ("", Product::Milan),
            ("bl=3", Product::Milan),
            ("bl=3,tee=0,snp=8,ucode=256", Product::Milan),
            ("bl=128,tee=0,snp=8,ucode=1", Product::Milan),
            ("fmc=1,bl=3,tee=0,snp=8,ucode=1", Product::Milan),
            ("bl=3,tee=0,snp=8,ucode=1", Product::Turin),
            ("bl=3,bl=3,tee=0,snp=8,ucode=1", Product::Milan),
            ("boot=3,tee=0,snp=8,ucode=1", Product::Milan),
            ("73080000000000030", Product::Milan),
        ] {
            assert!(hex(text, product).is_err(), "{text}");
        }
    }
}
