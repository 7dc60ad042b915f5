//! How many verifications one core does in a second: THIM's, dcap-qvl's, and the signature checks alone.
//!
//! For each case three things take turns on one thread: THIM's verification, the bound (exactly the signature checks,
//! SHA-256 included, that the case cannot do without: keys that are known are ready-made, fresh ones are decoded from
//! their points), and dcap-qvl's verification of the same bytes where it can do the case. What each case has to set up
//! is done outside of the measured time. Medians; of a busy machine only ratios mean anything.
//!
//! `thim-bench-verifiers VECTORS [ROUNDS]`; see `../quotes`.

mod amd;
mod bound;
mod intel;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// One line of the table. Each function measures itself, so that its preparations do not count.
pub struct Case {
    pub name: String,
    /// Which signature checks the bound has.
    pub checks: String,
    pub ours: Box<dyn FnMut() -> Duration>,
    pub bound: Box<dyn FnMut() -> Duration>,
    pub theirs: Option<Box<dyn FnMut() -> Duration>>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(vectors), rounds) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: thim-bench-verifiers VECTORS [ROUNDS]");
        return ExitCode::from(2);
    };
    let rounds: usize = rounds
        .map_or(Ok(DEFAULT_ROUNDS), |text| text.parse())
        .unwrap_or(DEFAULT_ROUNDS);
    let vectors = Path::new(&vectors);
    if !vectors.join("intel/bundles").is_dir() {
        println!("skipped: no vectors");
        return ExitCode::SUCCESS;
    }
    println!("{}", heading(rounds));
    println!(
        "| case | signature checks | bound/s | THIM/s | of the bound | dcap-qvl/s | THIM to dcap-qvl |"
    );
    println!("|---|---|---|---|---|---|---|");
    let bundles = [
        "sgx-v3-00606A000000-b7ab1cb4-e17",
        "tdx-v4-00806F050000-4b23198a-e17",
    ];
    let cases = bundles
        .iter()
        .flat_map(|name| intel::cases(&vectors.join("intel/bundles").join(name)))
        .chain(amd::cases(&vectors.join("amd")));
    for case in cases {
        println!("{}", line(case, rounds));
    }
    ExitCode::SUCCESS
}

fn heading(rounds: usize) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model);
    let lock = include_str!("../Cargo.lock");
    let version = |name: &str| {
        let entry = format!("name = \"{name}\"\nversion = \"");
        let rest = lock.split_once(&entry).map_or("?", |(_, rest)| rest);
        rest.split('"').next().unwrap_or("?").to_owned()
    };
    format!(
        "One thread of {model}; {rounds} rounds a case, in turns of {IN_A_ROW}, medians; thim-verify {} on aws-lc-rs {}, dcap-qvl {} on ring {}.\n",
        version("thim-verify"),
        version("aws-lc-rs"),
        version("dcap-qvl"),
        version("ring"),
    )
}

fn line(mut case: Case, rounds: usize) -> String {
    let (mut ours, mut bound, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let warm_up = rounds / 10;
    for round in 0..rounds + warm_up {
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => ours.push(several(&mut case.ours)),
                1 => bound.push(several(&mut case.bound)),
                _ => theirs.extend(case.theirs.as_mut().map(several)),
            }
        }
    }
    let rate = |mut times: Vec<Duration>| {
        let mut times = times.split_off(warm_up.min(times.len()));
        times.sort_unstable();
        times
            .get(times.len() / 2)
            .map(|middle| 1.0 / middle.as_secs_f64())
    };
    let (ours, bound, theirs) = (rate(ours), rate(bound), rate(theirs));
    let ratio = |over: Option<f64>, under: Option<f64>| Some(over? / under?);
    let shown = |value: Option<f64>, digits| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    format!(
        "| {} | {} | {} | {} | {} % | {} | {} |",
        case.name,
        case.checks,
        shown(bound, 0),
        shown(ours, 0),
        shown(ratio(ours, bound).map(|share| share * 100.0), 1),
        shown(theirs, 0),
        shown(ratio(ours, theirs), 2),
    )
}

/// The time of one of several in a row: a rate is of one thing after another, with the caches that it leaves.
fn several(one: &mut Box<dyn FnMut() -> Duration>) -> Duration {
    let all: Duration = (0..IN_A_ROW).map(|_| one()).sum();
    all / IN_A_ROW
}

const DEFAULT_ROUNDS: usize = 60;

/// So many that the caches of whoever came before do not matter, so few that a busy spell of the machine meets all three.
const IN_A_ROW: u32 = 64;
