//! A forecast of a million virtual platforms: from their subjects to counts, causes and who drops out, on one thread.
//!
//! Families and levels are those of genuine TDX TCB infos; each platform stands at or a little beside a level of its family.
//! Twice: a fleet as fleets are (a few thousand different TCBs), and one in which no two platforms are alike.
//!
//! `cargo bench -p thim-server --bench forecast`, with `THIM_VECTORS` set or the vectors beside the checkout.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench of the world may read it"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use thim_server::baseline::{IntelRule, Selector};
use thim_server::baselines::forecast::{Column, Documents, Fleet, KnownBy, Subject, report};
use thim_verify::{
    ArtefactKey, Certificate, Content, Issuers, PceSvn, PlatformTcb, Tee, TeeTcbSvn, TrustAnchors,
    UnixTime, parse, verify,
};

const PLATFORMS: u64 = 1_000_000;
/// The two numbers of which most TDX families are recorded.
const NUMBERS: [u32; 2] = [17, 18];

fn main() {
    let root = std::env::var_os("THIM_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let Some([old, new]) = documents(&root.join("intel")) else {
        println!("skipped: no vectors, or none of both numbers");
        return;
    };
    println!(
        "{} families under {} and {}",
        old.infos.len(),
        NUMBERS[0],
        NUMBERS[1]
    );
    for (what, alike) in [("as fleets are", true), ("no two alike", false)] {
        let subjects = subjects(&old, alike);
        let started = Instant::now();
        let mut fleet = Fleet::default();
        for (index, subject) in (0_u64..).zip(&subjects) {
            fleet.add(&format!("{index:016x}"), *subject);
        }
        let gathered = started.elapsed();
        let rule = IntelRule {
            selector: Selector::Number(NUMBERS[0]),
            ..IntelRule::default()
        };
        let now = UnixTime::from_secs(1_790_000_000);
        let started = Instant::now();
        let before = Column::judge(&rule, Some(NUMBERS[0]), &old, &fleet, now);
        let after = Column::judge(&rule, Some(NUMBERS[1]), &new, &fleet, now);
        // Standard and early stand beside them.
        let third = Column::judge(&rule, Some(NUMBERS[0]), &old, &fleet, now);
        let fourth = Column::judge(&rule, Some(NUMBERS[1]), &new, &fleet, now);
        for (name, column) in [
            ("current", &before),
            ("candidate", &after),
            ("standard", &third),
            ("early", &fourth),
        ] {
            let told = report::column(name, column, &fleet);
            assert_eq!(told.verdicts.values().sum::<u64>(), PLATFORMS);
        }
        let judged = started.elapsed();
        let started = Instant::now();
        let dropped = report::dropped(&before, &after, &fleet);
        let (causes, more) = report::causes(&before, &after, &fleet, 10, "");
        let told = started.elapsed();
        println!(
            "{what}: {} platforms, {} different; gathered {:.2} s, judged under four columns {:.2} s, told why {:.2} s, together {:.2} s; {dropped} drop out, {} causes",
            fleet.len(),
            fleet.classes().len(),
            gathered.as_secs_f64(),
            judged.as_secs_f64(),
            told.as_secs_f64(),
            (gathered + judged + told).as_secs_f64(),
            u64::try_from(causes.len()).unwrap_or(u64::MAX) + more
        );
    }
}

/// The newest TCB infos and identities of both numbers, of the families that have both.
fn documents(intel: &Path) -> Option<[Documents; 2]> {
    let mut issuers = Issuers::new(TrustAnchors::intel());
    for entry in std::fs::read_dir(intel.join("ca")).ok()?.flatten() {
        let bytes = std::fs::read(entry.path()).ok()?;
        if let Ok(certificate) = Certificate::from_der(&bytes) {
            // Of another root, and of no use.
            let _ = issuers.insert(certificate);
        }
    }
    let mut both = NUMBERS.map(|_| Documents::default());
    let files = ["tcbinfo", "identity"].map(|folder| std::fs::read_dir(intel.join(folder)));
    for entry in files.into_iter().flatten().flatten().flatten() {
        let bytes = std::fs::read(entry.path()).ok()?;
        let Ok(unverified) = parse(&bytes) else {
            continue;
        };
        let Ok(artefact) = verify(unverified, &[], &issuers, None, UnixTime::MAX) else {
            continue;
        };
        for (number, documents) in NUMBERS.iter().zip(&mut both) {
            match artefact.key() {
                ArtefactKey::TcbInfo {
                    tee: Tee::Tdx,
                    number: found,
                    fmspc,
                    ..
                } if found == *number => {
                    let known = documents.infos.get(&fmspc);
                    if known.is_none_or(|known| known.issued() < artefact.issued()) {
                        documents.infos.insert(fmspc, artefact.clone());
                    }
                }
                ArtefactKey::EnclaveIdentity {
                    enclave: thim_verify::Enclave::TdQe,
                    number: found,
                    ..
                } if found == *number => {
                    documents.identity = Some(artefact.clone());
                }
                _ => {}
            }
        }
    }
    let [mut old, mut new] = both;
    old.infos.retain(|fmspc, _| new.infos.contains_key(fmspc));
    new.infos.retain(|fmspc, _| old.infos.contains_key(fmspc));
    (!old.infos.is_empty()).then_some([old, new])
}

/// Platforms at the levels of their families.
fn subjects(documents: &Documents, alike: bool) -> Vec<Subject> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let infos: Vec<_> = documents.infos.values().collect();
    (0..PLATFORMS)
        .map(|index| {
            let family = infos[usize::try_from(index).expect("small") % infos.len()];
            let Content::TcbInfo(info) = family.content() else {
                unreachable!("a TCB info");
            };
            let level =
                &info.levels[usize::try_from(random() % info.levels.len() as u64).expect("small")];
            let mut components = [0; 16];
            for (to, from) in components.iter_mut().zip(level.sgx_components.iter()) {
                *to = from.svn;
            }
            let spread = if alike { 4 } else { u64::MAX };
            let noise = random() % spread;
            // Components that levels do not ask for: platforms differ in them and are judged alike.
            for (to, from) in components.iter_mut().skip(8).zip(noise.to_le_bytes()) {
                *to = to.saturating_add(from);
            }
            let mut svn = [0; 16];
            if let Some(tdx) = &level.tdx_components {
                for (to, from) in svn.iter_mut().zip(tdx.iter()) {
                    *to = from.svn;
                }
            }
            svn[1] = 1;
            svn[0] = u8::try_from(random() % 14).expect("small");
            Subject {
                fmspc: Some(info.fmspc),
                tcb: Some(PlatformTcb {
                    components,
                    pce_svn: PceSvn(level.pce_svn),
                }),
                tee_tcb_svn: Some(TeeTcbSvn(svn)),
                tee_tcb_svn2: None,
                qe_isv_svn: Some(4),
                known_by: KnownBy::Quote,
            }
        })
        .collect()
}
