//! Thousands of mutated reports, judged by THIM and by the `sev` crate, from fixed seeds.
//!
//! Nothing panics; what ours accepts the other one accepts too; where ours alone refuses, the class of that refusal has
//! a row in `docs/verifier-differences.md`, and every row is shown by the simulated reports. The other verifier is asked
//! about everything that ours accepts, about every mutation at a field's edges, and about a fixed share of the rest.

mod foreign;
mod snp;

use std::collections::{BTreeMap, BTreeSet};

use foreign::{Root, verdict};
use snp::{AT, SimulatedKds, read, vectors};
use thim_sim::{AmdProduct, KdsFault, ReportSpec, ReportVersion};
use thim_verify::amd::{
    Anchors, Endorsement, FindingName, Product, Products, ReportCollateral, parse_cert_chain,
    parse_report, verify_report,
};
use thim_verify::{Error, UnixTime};

/// Evidence that both accept, or a mutant of it.
#[derive(Clone)]
struct Evidence {
    name: String,
    leaf: Vec<u8>,
    chain: Vec<u8>,
    report: Vec<u8>,
    now: UnixTime,
}

/// Evidence of one AMD.
struct World {
    anchors: Anchors,
    products: Products,
    bases: Vec<(Evidence, Root)>,
}

/// What ours says of evidence: nothing, or the class of the refusal.
fn ours(world: &World, evidence: &Evidence) -> Result<(), String> {
    let leaf = if evidence.leaf.starts_with(b"-----") {
        Endorsement::from_pem(&evidence.leaf)
    } else {
        Endorsement::from_der(&evidence.leaf)
    };
    let endorsement = leaf.map_err(|error| format!("leaf: {error}"))?;
    let chain = parse_cert_chain(&evidence.chain).map_err(|error| format!("chain: {error}"))?;
    let report = parse_report(&evidence.report).map_err(|error| unreadable(&error))?;
    let collateral = ReportCollateral {
        endorsement: &endorsement,
        chain: &chain,
        crl: None,
    };
    let (products, anchors) = (&world.products, &world.anchors);
    let findings = verify_report(&report, &collateral, products, anchors, evidence.now);
    let failed: Vec<FindingName> = findings.failed().map(|finding| finding.name).collect();
    match failed.first() {
        None => Ok(()),
        Some(_) if failed.contains(&FindingName::Signature) => Err(unsigned(&evidence.report)),
        Some(first) => Err(first.name().to_owned()),
    }
}

/// The class of a report that cannot be read.
fn unreadable(error: &Error) -> String {
    let text = error.to_string();
    let classes = [
        ("are reserved and not zero", "reserved-bytes"),
        ("bit 17 of POLICY", "policy-bit-17"),
        ("VMPL", "vmpl"),
        ("a report has 1184", "length"),
        ("reserved key information", "key-information"),
    ];
    let class = classes.iter().find(|(part, _)| text.contains(part));
    class.map_or(text, |(_, class)| (*class).to_owned())
}

/// The class of a report that its key did not sign. What the product does not use of a TCB is a class of its own.
fn unsigned(report: &[u8]) -> String {
    let zeros = |at: usize, unused: &[usize]| unused.iter().all(|byte| report[at + byte] == 0);
    let is_turin = report[0x188] == 0x1a;
    let unused: &[usize] = if is_turin { &[4, 5, 6] } else { &[2, 3, 4, 5] };
    let all_zero = TCBS.iter().all(|at| zeros(*at, unused));
    let class = if all_zero {
        "signature"
    } else {
        "tcb-reserved-bytes"
    };
    class.to_owned()
}

fn theirs(evidence: &Evidence, root: Root) -> Result<(), String> {
    let der = if evidence.leaf.starts_with(b"-----") {
        match Endorsement::from_pem(&evidence.leaf).map_err(|error| error.to_string())? {
            Endorsement::Vcek(vcek) => vcek.der().to_vec(),
            Endorsement::Vlek(vlek) => vlek.der().to_vec(),
        }
    } else {
        evidence.leaf.clone()
    };
    verdict(&der, &evidence.chain, &evidence.report, root)
}

/// What came out of it.
#[derive(Default)]
struct Tally {
    judged: usize,
    asked: usize,
    accepted: usize,
    /// Classes that ours refuses and the other accepts, with how often and the first example.
    ours_alone: BTreeMap<String, (usize, String)>,
}

impl Tally {
    fn judge(&mut self, world: &World, evidence: &Evidence, root: Root, ask: bool) {
        self.judged += 1;
        let said = ours(world, evidence);
        self.accepted += usize::from(said.is_ok());
        if said.is_err() && !ask {
            return;
        }
        self.asked += 1;
        match (said, theirs(evidence, root)) {
            (Ok(()), Ok(())) | (Err(_), Err(_)) => {}
            (Ok(()), Err(why)) => panic!("{}: ours accepts, sev does not: {why}", evidence.name),
            (Err(class), Ok(())) => {
                let example = || (0, evidence.name.clone());
                let seen = self.ours_alone.entry(class).or_insert_with(example);
                seen.0 += 1;
            }
        }
    }

    /// Every class has its row.
    fn explained(&self) {
        let rows = rows();
        println!("{} judged, {} asked", self.judged, self.asked);
        for (class, (times, example)) in &self.ours_alone {
            println!("{class}: {times}, first {example}");
            assert!(rows.contains(class), "no row for {class}: {example}");
        }
    }
}

/// The classes in the first column of the table in the documentation.
fn rows() -> BTreeSet<String> {
    let text = include_str!("../../../docs/verifier-differences.md");
    let section = text.split("\n## ").find(|section| {
        let title = section.lines().next();
        title == Some("SEV-SNP: `sev`")
    });
    let lines = section.expect("its section").lines();
    let rows = lines.filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(class, _)| class.to_owned()).collect()
}

/// SplitMix64: the same numbers on every machine.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a size");
        usize::try_from(self.next() % limit).expect("below a size")
    }
}

/// The lowest and the highest bit of each field's first and last byte, and of bytes that a product's TCB does not use.
fn edges() -> Vec<(usize, u8)> {
    let ends = FIELDS.iter().skip(1).chain([&1184]);
    let fields = FIELDS.iter().zip(ends);
    let bytes = fields.flat_map(|(from, until)| [*from, until - 1]);
    let unused = TCBS.iter().flat_map(|at| [at + 2, at + 5]);
    bytes
        .chain(unused)
        .flat_map(|at| [(at, 1), (at, 0x80)])
        .collect()
}

/// One of the ways in which a report, its certificate or its chain can be altered.
fn mutant(world: &World, base: &Evidence, seeded: &mut Seeded) -> Evidence {
    let mut evidence = base.clone();
    let (other, _) = &world.bases[seeded.below(world.bases.len())];
    let field = seeded.below(FIELDS.len());
    let until = FIELDS.get(field + 1).copied().unwrap_or(1184);
    let field = FIELDS[field]..until;
    let what = match seeded.below(10) {
        0..=3 => {
            let bits = 1 + seeded.below(3);
            for _ in 0..bits {
                evidence.report[seeded.below(1184)] ^= 1 << seeded.below(8);
            }
            format!("{bits} bits")
        }
        4 => {
            for byte in &mut evidence.report[field.clone()] {
                *byte = seeded.next().to_le_bytes()[0];
            }
            format!("noise at {field:x?}")
        }
        5 => {
            evidence.report[field.clone()].copy_from_slice(&other.report[field.clone()]);
            format!("{field:x?} of {}", other.name)
        }
        6 => {
            evidence.leaf.clone_from(&other.leaf);
            format!("leaf of {}", other.name)
        }
        7 => {
            evidence.chain.clone_from(&other.chain);
            format!("chain of {}", other.name)
        }
        8 => {
            let number = [R, S][seeded.below(2)];
            let value = [0, 0xff][seeded.below(2)];
            evidence.report[number..number + 48].fill(value);
            format!("{value:#x} at {number:#x}")
        }
        _ => {
            // The other of the two signatures that every ECDSA key makes without wanting to.
            mirror(&mut evidence.report[S..S + 48]);
            "mirrored s".to_owned()
        }
    };
    evidence.name = format!("{}: {what}", base.name);
    evidence
}

/// n - s, little endian.
fn mirror(s: &mut [u8]) {
    let mut borrow = 0_i16;
    for (byte, order) in s.iter_mut().zip(P384_ORDER.iter().rev()) {
        let difference = i16::from(*order) - i16::from(*byte) - borrow;
        borrow = i16::from(difference < 0);
        *byte = difference.to_le_bytes()[0];
    }
}

/// Judges the bases, every edge of each, and `mutants` more.
fn differ(world: &World, mutants: usize, seed: u64) -> Tally {
    let mut tally = Tally::default();
    for (base, root) in &world.bases {
        tally.judge(world, base, *root, true);
    }
    assert_eq!(tally.accepted, world.bases.len(), "the bases are good");
    for (base, root) in &world.bases {
        for (at, bit) in edges() {
            let mut evidence = base.clone();
            evidence.report[at] ^= bit;
            evidence.name = format!("{}: {bit:#x} at {at:#x}", base.name);
            tally.judge(world, &evidence, *root, true);
        }
    }
    let mut seeded = Seeded(seed);
    let start = tally.judged;
    let mut turn = 0;
    while tally.judged - start < mutants {
        let (base, root) = &world.bases[turn % world.bases.len()];
        let evidence = mutant(world, base, &mut seeded);
        tally.judge(world, &evidence, *root, turn % SHARE == 0);
        turn += 1;
    }
    tally
}

#[test]
fn on_simulated_chips() {
    let sim = SimulatedKds::start();
    let get = |target: &str| sim.get(target);
    let mut world = World {
        anchors: Anchors::from_pem(sim.kds().roots_pem().as_bytes()).expect("roots"),
        products: Products::builtin(),
        bases: Vec::new(),
    };
    let now: UnixTime = AT.parse().expect("a time");
    let evidence = |name: &str, product: AmdProduct, report: [u8; 1184]| Evidence {
        name: name.to_owned(),
        leaf: get(&sim.kds().management().chip_of(product).target()),
        chain: get(&format!("/vcek/v1/{product}/cert_chain")),
        report: report.to_vec(),
        now,
    };
    let spec = |version| ReportSpec {
        version,
        report_data: [0xa5; 64],
        ..ReportSpec::default()
    };
    let unknown_bits = ReportSpec {
        policy: ReportSpec::default().policy | 1 << 26 | 1 << 63,
        platform_info: 0x65,
        ..spec(ReportVersion::V3)
    };
    let masked = ReportSpec {
        mask_chip_id: true,
        ..spec(ReportVersion::V3)
    };
    for (name, product, spec) in [
        ("Milan 2", AmdProduct::Milan, spec(ReportVersion::V2)),
        ("Milan 3", AmdProduct::Milan, spec(ReportVersion::V3)),
        ("Genoa 3", AmdProduct::Genoa, spec(ReportVersion::V3)),
        ("Turin 5", AmdProduct::Turin, spec(ReportVersion::V5)),
        ("unknown bits", AmdProduct::Milan, unknown_bits),
        ("masked", AmdProduct::Genoa, masked),
    ] {
        let chip = sim.kds().management().chip_of(product);
        let base = evidence(name, product, chip.report(&spec));
        world.bases.push((base, Root::OfChain));
    }
    let milan = sim.kds().management().chip_of(AmdProduct::Milan);
    let vlek = Evidence {
        leaf: sim
            .kds()
            .management()
            .vlek(AmdProduct::Milan, CSP)
            .expect("a VLEK"),
        chain: get("/vlek/v1/Milan/cert_chain"),
        ..evidence(
            "VLEK",
            AmdProduct::Milan,
            milan.vlek_report(CSP, &ReportSpec::default()),
        )
    };
    world.bases.push((vlek, Root::OfChain));

    let mut tally = differ(&world, MUTANTS, 0x5e55_10e5);
    assert!(tally.accepted > world.bases.len(), "some mutants are good");

    // What no bit turned can show, since it is signed: a chip that says what no chip says, another root, another time.
    let said = |name: &str, change: &dyn Fn(&mut ReportSpec)| {
        let mut spec = ReportSpec::default();
        change(&mut spec);
        evidence(name, AmdProduct::Milan, milan.report(&spec))
    };
    let plain = || said("plain", &|_| {});
    let mut ahead = milan.clone();
    ahead.committed.microcode = ahead.current.microcode + 1;
    let mut odd = vec![
        said("policy", &|spec| spec.policy = 1 << 16),
        said("VMPL", &|spec| spec.vmpl = 4),
        evidence(
            "committed",
            AmdProduct::Milan,
            ahead.report(&ReportSpec::default()),
        ),
        Evidence {
            now: "2034-06-01T00:00:00Z".parse().expect("a time"),
            ..plain()
        },
    ];
    sim.fault(KdsFault::WrongKey, 2);
    odd.push(said("impostor", &|_| {}));
    for evidence in odd {
        let before = tally.ours_alone.values().map(|seen| seen.0).sum::<usize>();
        tally.judge(&world, &evidence, Root::OfChain, true);
        let after = tally.ours_alone.values().map(|seen| seen.0).sum::<usize>();
        assert_eq!(after, before + 1, "{} is ours alone", evidence.name);
    }
    // Neither reads what is too short or too long.
    for report in [
        &plain().report[..1183],
        &[&plain().report[..], &[0]].concat(),
    ] {
        let evidence = Evidence {
            report: report.to_vec(),
            ..plain()
        };
        assert_eq!(ours(&world, &evidence), Err("length".to_owned()));
        assert!(theirs(&evidence, Root::OfChain).is_err());
    }
    tally.explained();
    let seen: BTreeSet<String> = tally.ours_alone.keys().cloned().collect();
    assert_eq!(seen, rows(), "every row is shown");
}

#[test]
fn on_recorded_reports() {
    let Some(amd) = vectors() else { return };
    let mut world = World {
        anchors: Anchors::builtin(),
        products: Products::builtin(),
        bases: Vec::new(),
    };
    for (pair, leaf, product, kind, now) in [
        (
            "genoa_v3_b1e24a27",
            "vcek.pem",
            Product::Genoa,
            "vcek",
            SEPTEMBER,
        ),
        (
            "milan_v2_3ac3fe21",
            "vcek.der",
            Product::Milan,
            "vcek",
            SEPTEMBER,
        ),
        (
            "milan_v2_d49554ec",
            "vcek.der",
            Product::Milan,
            "vcek",
            SEPTEMBER,
        ),
        (
            "milan_v3_4ffb5cb4",
            "vcek.pem",
            Product::Milan,
            "vcek",
            SEPTEMBER,
        ),
        (
            "milan_v3_4ffb5cb4",
            REISSUE,
            Product::Milan,
            "vcek",
            SEPTEMBER,
        ),
        (
            "milan_v3_vlek_aws",
            "vlek.der",
            Product::Milan,
            "vlek",
            "2025-06-01T00:00:00Z",
        ),
        (
            "turin_v5_59790fb1",
            "vcek.pem",
            Product::Turin,
            "vcek",
            SEPTEMBER,
        ),
    ] {
        let line = product.name().to_lowercase();
        let evidence = Evidence {
            name: format!("{pair} {leaf}"),
            leaf: read(&amd, &format!("pairs/{pair}/{leaf}")),
            chain: read(&amd, &format!("chains/kds_{line}_{kind}_cert_chain.pem")),
            report: read(&amd, &format!("pairs/{pair}/report.bin")),
            now: now.parse().expect("a time"),
        };
        world.bases.push((evidence, Root::Builtin(product)));
    }
    let tally = differ(&world, MUTANTS_OF_RECORDED, 0x0a3d_0a3d);
    assert!(tally.accepted > world.bases.len(), "some mutants are good");
    tally.explained();
}

/// Where each field begins, reserved ones included: spec/amd-kds-and-thim.md, 4.
const FIELDS: [usize; 46] = [
    0x000, 0x004, 0x008, 0x010, 0x020, 0x030, 0x034, 0x038, 0x040, 0x048, 0x04c, 0x050, 0x090,
    0x0c0, 0x0e0, 0x110, 0x140, 0x160, 0x180, 0x188, 0x189, 0x18a, 0x18b, 0x1a0, 0x1a8, 0x1e0,
    0x1e8, 0x1e9, 0x1ea, 0x1eb, 0x1ec, 0x1ed, 0x1ee, 0x1ef, 0x1f0, 0x1f8, 0x200, 0x208, 0x2a0,
    0x2d0, 0x2e8, 0x318, 0x330, 0x332, 0x400, 0x49f,
];

/// CURRENT_TCB, REPORTED_TCB, COMMITTED_TCB, LAUNCH_TCB.
const TCBS: [usize; 4] = [0x038, 0x180, 0x1e0, 0x1f0];

const R: usize = 0x2a0;
const S: usize = 0x2e8;

/// The order of P-384, big endian.
const P384_ORDER: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf,
    0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

/// The mutants of simulated reports, beside the edges.
const MUTANTS: usize = 5000;

/// Those of recorded ones, whose RSA keys are twice as long.
const MUTANTS_OF_RECORDED: usize = 1000;

/// The other verifier, which is the slower one by far, is asked about one mutant in so many.
const SHARE: usize = 16;

const SEPTEMBER: &str = "2026-09-21T00:00:00Z";
const REISSUE: &str = "vcek_reissue_20251229.pem";
const CSP: &str = "CN=cc-test-1.example.com";
