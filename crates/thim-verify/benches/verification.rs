//! How much a verification costs beyond the cryptography it cannot do without.
//!
//! For a few genuine documents: the time of parse + verify from bytes (known issuers) beside the time of the raw
//! SHA-256 + P-256 verification of the same bytes with a ready key. The two are interleaved, so that a noisy machine
//! slows both. Goal (design.md, "Numbers to beat"): a ratio of at most 1.3.
//!
//! `cargo bench -p thim-verify` with `THIM_VECTORS` set; rounds in `THIM_BENCH_ROUNDS` (default 2000).

#![allow(clippy::disallowed_methods, reason = "a test of the world may read it")]

use std::fmt;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use thim_verify::{Content, Issuers, TrustAnchors, UnixTime, parse, verify};

fn main() {
    let root = std::env::var_os("THIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let folder = root.join("intel/tcbinfo");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: no vectors");
        return;
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort_by_key(|path| {
        (
            std::fs::metadata(path).map_or(0, |data| data.len()),
            path.clone(),
        )
    });
    files.retain(|path| path.to_string_lossy().contains("-v3-"));
    let rounds = std::env::var("THIM_BENCH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2000);

    println!(
        "{:>7} {:>7} {:>12} {:>12} {:>6}  file",
        "bytes", "levels", "raw", "verification", "ratio"
    );
    let some = [
        0,
        files.len() / 4,
        files.len() / 2,
        files.len() * 3 / 4,
        files.len().saturating_sub(1),
    ];
    for path in some.into_iter().filter_map(|at| files.get(at)) {
        println!("{}", measure(path, rounds));
    }
    let all: Vec<Line> = files
        .iter()
        .map(|path| measure(path, rounds / 10))
        .collect();
    let sum = |of: fn(&Line) -> f64| all.iter().map(of).sum::<f64>();
    let within = all.iter().filter(|line| line.ratio() <= 1.3).count();
    println!(
        "all {} documents of version 3: ratio {:.3}, {within} of them within 1.3",
        all.len(),
        sum(|line| line.whole) / sum(|line| line.raw)
    );
}

/// Medians of one document, in microseconds.
struct Line {
    bytes: usize,
    levels: usize,
    raw: f64,
    whole: f64,
    parsing: f64,
    file: String,
}

impl Line {
    fn ratio(&self) -> f64 {
        self.whole / self.raw
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7} {:>7} {:>9.1} us {:>9.1} us {:>6.3}  {} (parse alone {:.1} us)",
            self.bytes,
            self.levels,
            self.raw,
            self.whole,
            self.ratio(),
            self.file,
            self.parsing,
        )
    }
}

fn measure(path: &Path, rounds: u32) -> Line {
    let bytes = std::fs::read(path).expect("a file");
    let issuers = Issuers::new(TrustAnchors::intel());
    let now = UnixTime::MAX;
    let artefact =
        verify(parse(&bytes).expect("parses"), &[], &issuers, None, now).expect("verifies");
    let key = ParsedPublicKey::new(
        &ECDSA_P256_SHA256_FIXED,
        artefact.chain().signer().public_key(),
    )
    .expect("a key");
    let levels = match artefact.content() {
        Content::TcbInfo(info) => info.levels.len(),
        _ => 0,
    };
    let (mut raw, mut whole, mut parsing) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds + rounds / 10 {
        let start = Instant::now();
        key.verify_sig(black_box(artefact.signed()), artefact.signature())
            .expect("verifies");
        let middle = Instant::now();
        black_box(verify(
            parse(black_box(&bytes)).expect("parses"),
            &[],
            &issuers,
            None,
            now,
        ))
        .expect("verifies");
        let end = Instant::now();
        black_box(parse(black_box(&bytes))).expect("parses");
        // The first rounds warm caches up.
        if round >= rounds / 10 {
            raw.push(middle - start);
            whole.push(end - middle);
            parsing.push(end.elapsed());
        }
    }
    Line {
        bytes: bytes.len(),
        levels,
        raw: median(raw),
        whole: median(whole),
        parsing: median(parsing),
        file: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    }
}

/// Microseconds. The median, not the mean: a round in which the scheduler took the core away says nothing.
fn median(mut durations: Vec<Duration>) -> f64 {
    durations.sort_unstable();
    durations
        .get(durations.len() / 2)
        .map_or(f64::NAN, |middle| middle.as_secs_f64() * 1e6)
}
