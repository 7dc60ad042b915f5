//! Mutants of a bundle, from fixed seeds: the quote altered at each field's edges, cut, stretched and put together from
//! several; the collateral altered, exchanged and out of its time.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeSet;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::Value;
use thim_verify::{CollateralPart, PckChain, QuoteCollateral, UnixTime};

use crate::bundles::Bundle;
use crate::quote_layout::{field, fields, number, set_number};

/// A case: what differs from the bundle that it was made of.
pub struct Mutant {
    pub name: String,
    /// The bundle's, unless some.
    pub quote: Option<Vec<u8>>,
    /// The bundle's, unless some.
    pub collateral: Option<Value>,
    pub now: UnixTime,
    /// Whether the other verifier is asked in any case.
    pub ask: bool,
}

/// Lists and identities that take the place of a bundle's own.
pub struct Pool {
    /// Hex, of the three issuers, with their file names.
    pub lists: Vec<(String, String)>,
    /// Document and signature, with their file names.
    pub identities: Vec<(String, String, String)>,
}

impl Pool {
    pub fn read(intel: &Path) -> Self {
        let files = |folder: &str, ending: &str| {
            let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(intel.join(folder))
                .expect(folder)
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.extension().is_some_and(|found| found == ending))
                .map(|path| {
                    let name = path.file_name().expect("a name").to_string_lossy();
                    (name.into_owned(), std::fs::read(&path).expect("a file"))
                })
                .collect();
            files.sort();
            files
        };
        let lists = files("crl", "der").into_iter();
        let identities = files("identity", "json").into_iter();
        Self {
            lists: lists
                .map(|(name, der)| (name, HEXLOWER.encode(&der)))
                .collect(),
            identities: identities
                .filter_map(|(name, json)| {
                    let json = String::from_utf8(json).expect("UTF-8");
                    let inner = json.strip_prefix("{\"enclaveIdentity\":")?;
                    let (document, rest) = inner.rsplit_once(",\"signature\":\"")?;
                    let signature = rest.split_once('"')?.0;
                    Some((name, document.to_owned(), signature.to_owned()))
                })
                .collect(),
        }
    }
}

/// SplitMix64: the same numbers on every machine.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a size");
        usize::try_from(self.next() % limit).expect("below a size")
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// All mutants of the bundle at `at`.
pub struct Maker<'a> {
    bundles: &'a [Bundle],
    at: usize,
    pool: &'a Pool,
    seeded: Seeded,
    pub made: Vec<Mutant>,
}

impl<'a> Maker<'a> {
    /// Made so far: the bundle as it is.
    pub fn new(bundles: &'a [Bundle], at: usize, pool: &'a Pool, seed: u64) -> Self {
        let itself = Mutant {
            name: "as it is".to_owned(),
            quote: None,
            collateral: None,
            now: bundles[at].time(),
            ask: true,
        };
        Self {
            bundles,
            at,
            pool,
            seeded: Seeded(seed),
            made: vec![itself],
        }
    }

    fn bundle(&self) -> &Bundle {
        &self.bundles[self.at]
    }

    fn quote(&mut self, name: impl Into<String>, ask: bool, quote: Vec<u8>) {
        let (name, now) = (name.into(), self.bundle().time());
        self.made.push(Mutant {
            name,
            quote: Some(quote),
            collateral: None,
            now,
            ask,
        });
    }

    fn collateral(&mut self, name: impl Into<String>, change: &[(&str, String)]) {
        let mut collateral = self.bundle().collateral.clone();
        for (field, value) in change {
            collateral[*field] = Value::String(value.clone());
        }
        let (name, now) = (name.into(), self.bundle().time());
        self.made.push(Mutant {
            name,
            quote: None,
            collateral: Some(collateral),
            now,
            ask: true,
        });
    }

    /// Quotes, each differing from a genuine one in one place or part.
    pub fn quotes(&mut self) {
        let genuine = self.bundle().quote.clone();
        for (name, range) in fields(&genuine) {
            for (byte, bit) in [(range.start, 0), (range.end - 1, 7)] {
                let mut quote = genuine.clone();
                quote[byte] ^= 1 << bit;
                // What is asked of every quote are the places that no signature covers.
                let ask = UNSIGNED.contains(&name);
                self.quote(format!("bit {bit} of {byte}, {name}"), ask, quote);
            }
        }
        for _ in 0..30 {
            let mut quote = genuine.clone();
            let (byte, bit) = (self.seeded.below(quote.len()), self.seeded.below(8));
            quote[byte] ^= 1 << bit;
            self.quote(format!("bit {bit} of {byte}"), false, quote);
        }
        for _ in 0..15 {
            let length = self.seeded.below(genuine.len());
            let quote = genuine[..length].to_vec();
            self.quote(format!("cut to {length}"), false, quote);
        }
        self.lengths(&genuine);
        self.certificates(&genuine);
        self.parts(&genuine);
    }

    fn lengths(&mut self, genuine: &[u8]) {
        let names: Vec<&str> = fields(genuine).into_iter().map(|(name, _)| name).collect();
        for name in LENGTHS.into_iter().filter(|name| names.contains(name)) {
            let range = field(genuine, name);
            let most = usize::MAX >> (usize::BITS - 8 * u32::try_from(range.len()).expect("few"));
            let has = number(genuine, range.clone());
            for value in [0, has - 1, has + 1, has * 2, most] {
                let mut quote = genuine.to_vec();
                set_number(&mut quote, range.clone(), value);
                self.quote(format!("{name} {value} for {has}"), true, quote);
            }
        }
        for name in ["body type", "outer type", "inner type"] {
            if !names.contains(&name) {
                continue;
            }
            for value in 0..=8 {
                let mut quote = genuine.to_vec();
                set_number(&mut quote, field(genuine, name), value);
                self.quote(format!("{name} {value}"), true, quote);
            }
        }
        for count in [1, 100] {
            let quote = [genuine, &vec![0xa5; count]].concat();
            self.quote(format!("{count} bytes behind the end"), true, quote);
        }
        // The same bytes inside: the sections are long enough for them, and their parts are not.
        for stretched in [
            &["signature data length"][..],
            &["signature data length", "outer size"],
            &["signature data length", "outer size", "inner size"],
        ] {
            let mut quote = [genuine, &[0xa5; 7]].concat();
            for name in stretched.iter().filter(|name| names.contains(name)) {
                let range = field(genuine, name);
                let has = number(genuine, range.clone());
                set_number(&mut quote, range, has + 7);
            }
            self.quote(format!("7 bytes more in {stretched:?}"), true, quote);
        }
    }

    /// The chain inside the quote.
    fn certificates(&mut self, genuine: &[u8]) {
        let place = field(genuine, "certification data");
        let chain = pem_blocks(&String::from_utf8_lossy(&genuine[place]));
        let names = ["first", "second", "third"];
        for (at, name) in names.iter().enumerate() {
            for _ in 0..6 {
                let mut altered = chain.clone();
                let flipped = flip(&mut altered[at], &mut self.seeded);
                let quote = with_chain(genuine, &text(&altered));
                self.quote(format!("{name} certificate, {flipped}"), true, quote);
            }
            let mut fewer = chain.clone();
            fewer.remove(at);
            let quote = with_chain(genuine, &text(&fewer));
            self.quote(format!("without the {name} certificate"), true, quote);
            let mut twice = chain.clone();
            twice.insert(0, chain[at].clone());
            let quote = with_chain(genuine, &text(&twice));
            self.quote(format!("the {name} certificate twice"), true, quote);
        }
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let ordered: Vec<Vec<u8>> = order.iter().map(|at| chain[*at].clone()).collect();
            let quote = with_chain(genuine, &text(&ordered));
            self.quote(format!("certificates in the order {order:?}"), true, quote);
        }
        for (name, altered) in [
            ("NUL behind the chain", format!("{}\0", text(&chain))),
            ("a comment before the chain", format!("# {}", text(&chain))),
            ("CRLF in the chain", text(&chain).replace('\n', "\r\n")),
            ("an empty chain", String::new()),
        ] {
            self.quote(name, true, with_chain(genuine, &altered));
        }
        let root = &chain[2];
        let many = [text(&chain), text(&vec![root.clone(); 4])].concat();
        self.quote("seven certificates", true, with_chain(genuine, &many));
    }

    /// Parts of another quote in this one.
    fn parts(&mut self, genuine: &[u8]) {
        for _ in 0..4 {
            let other = self.seeded.pick(self.bundles);
            let (name, other) = (other.name.clone(), other.quote.clone());
            let from = |field_name: &str, end: &str| {
                let (from, to) = (field(&other, field_name), field(&other, end));
                other[from.start..to.end].to_vec()
            };
            let chain = from("certification data", "certification data");
            let chain = String::from_utf8_lossy(&chain).into_owned();
            self.quote(
                format!("chain of {name}"),
                true,
                with_chain(genuine, &chain),
            );
            for (what, first, last) in [
                ("header", "version", "user data"),
                ("quote signature", "quote signature", "quote signature"),
                ("attestation key", "attestation key", "attestation key"),
                ("QE report", "QE cpusvn", "QE reportdata"),
                (
                    "QE report and signature",
                    "QE cpusvn",
                    "QE report signature",
                ),
                ("auth data", "auth size", "auth data"),
            ] {
                let part = from(first, last);
                let place = field(genuine, first).start..field(genuine, last).end;
                if part.len() != place.len() {
                    continue;
                }
                let mut quote = genuine.to_vec();
                quote[place].copy_from_slice(&part);
                self.quote(format!("{what} of {name}"), true, quote);
            }
            if version(&other) != version(genuine) {
                continue;
            }
            let certified = other[field(&other, "attestation key").start..].to_vec();
            let mut quote = genuine[..field(genuine, "attestation key").start].to_vec();
            quote.extend_from_slice(&certified);
            let length = 64 + certified.len();
            let place = field(genuine, "signature data length");
            set_number(&mut quote, place, length);
            self.quote(format!("everything that certifies of {name}"), true, quote);
        }
    }

    /// Collateral, each differing from genuine one in one field or in one document with what belongs to it.
    pub fn collaterals(&mut self) {
        let bundle = self.bundle();
        let own = bundle.collateral.clone();
        let of = |name: &str| own[name].as_str().expect(name).to_owned();
        for name in ["tcb_info", "qe_identity"] {
            for _ in 0..6 {
                let mut bytes = of(name).into_bytes();
                let at = self.seeded.below(bytes.len());
                bytes[at] = if bytes[at] == b'1' { b'0' } else { b'1' };
                let altered = String::from_utf8(bytes).expect("ASCII");
                self.collateral(format!("{name}, byte {at}"), &[(name, altered)]);
            }
            let spaced = of(name).replacen(':', ": ", 1);
            self.collateral(format!("{name}, written anew"), &[(name, spaced)]);
        }
        for name in HEX {
            for _ in 0..5 {
                let hex = of(name);
                let mut bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).expect("hex");
                let flipped = flip(&mut bytes, &mut self.seeded);
                let altered = HEXLOWER.encode(&bytes);
                self.collateral(format!("{name}, {flipped}"), &[(name, altered)]);
            }
            let cut = of(name)[..64].to_owned();
            self.collateral(format!("{name}, cut"), &[(name, cut)]);
        }
        for name in CHAINS {
            let chain = pem_blocks(&of(name));
            for at in 0..chain.len() {
                for _ in 0..3 {
                    let mut altered = chain.clone();
                    let flipped = flip(&mut altered[at], &mut self.seeded);
                    let altered = text(&altered);
                    let title = format!("{name}, certificate {at}, {flipped}");
                    self.collateral(title, &[(name, altered)]);
                }
            }
            let turned: Vec<Vec<u8>> = chain.iter().rev().cloned().collect();
            self.collateral(format!("{name}, turned"), &[(name, text(&turned))]);
            self.collateral(format!("{name}, alone"), &[(name, text(&chain[..1]))]);
            self.collateral(format!("{name}, absent"), &[(name, String::new())]);
        }
        self.exchanged(&of);
    }

    fn exchanged(&mut self, of: &dyn Fn(&str) -> String) {
        for _ in 0..6 {
            let other = self.seeded.pick(self.bundles);
            let their = |name: &str| other.collateral[name].as_str().expect(name).to_owned();
            let name = &other.name;
            let set: &[(&str, &[&str])] = &[
                (
                    "TCB info",
                    &["tcb_info", "tcb_info_signature", "tcb_info_issuer_chain"],
                ),
                (
                    "QE identity",
                    &[
                        "qe_identity",
                        "qe_identity_signature",
                        "qe_identity_issuer_chain",
                    ],
                ),
                ("TCB info without its signature", &["tcb_info"]),
                ("PCK CRL", &["pck_crl", "pck_crl_issuer_chain"]),
                ("PCK CRL chain", &["pck_crl_issuer_chain"]),
                ("root CRL", &["root_ca_crl"]),
            ];
            let changes: Vec<(String, Vec<(&str, String)>)> = set
                .iter()
                .map(|(what, names)| {
                    let fields = names.iter().map(|name| (*name, their(name)));
                    (format!("{what} of {name}"), fields.collect())
                })
                .collect();
            for (title, change) in changes {
                self.collateral(title, &change);
            }
        }
        for _ in 0..8 {
            let (name, list) = self.seeded.pick(&self.pool.lists).clone();
            let place = if name.starts_with("root") {
                "root_ca_crl"
            } else {
                "pck_crl"
            };
            self.collateral(format!("{place} from {name}"), &[(place, list)]);
        }
        for _ in 0..3 {
            let (name, document, signature) = self.seeded.pick(&self.pool.identities).clone();
            let change = [
                ("qe_identity", document),
                ("qe_identity_signature", signature),
            ];
            self.collateral(format!("identity from {name}"), &change);
        }
        let (root, pck) = (of("root_ca_crl"), of("pck_crl"));
        let exchanged = [("root_ca_crl", pck.clone()), ("pck_crl", root.clone())];
        self.collateral("the lists exchanged", &exchanged);
        self.collateral("the root CRL twice", &[("pck_crl", root)]);
        self.collateral("the PCK CRL twice", &[("root_ca_crl", pck)]);
    }

    /// The instants at which something begins or ends, one second before, and one after.
    pub fn times(&mut self, collateral: &QuoteCollateral, chain: &PckChain) {
        let mut edges = BTreeSet::new();
        for part in CollateralPart::ALL {
            let Ok(artefact) = collateral.part(part) else {
                continue;
            };
            edges.extend([artefact.issued(), artefact.next_update()]);
            for certificate in artefact.chain().certificates() {
                edges.extend([certificate.not_before(), certificate.not_after()]);
            }
        }
        for certificate in chain.certificates() {
            edges.extend([certificate.not_before(), certificate.not_after()]);
        }
        for edge in edges {
            for seconds in [-1, 0, 1] {
                let now = UnixTime::from_secs(edge.secs() + seconds);
                self.made.push(Mutant {
                    name: format!("at {now}, {seconds} s from an edge"),
                    quote: None,
                    collateral: None,
                    now,
                    ask: true,
                });
            }
        }
    }
}

/// The quote with another chain in it, every length adjusted.
pub fn with_chain(quote: &[u8], chain: &str) -> Vec<u8> {
    let place = field(quote, "certification data");
    let (has, gets) = (place.len(), chain.len());
    let mut out = quote[..place.start].to_vec();
    let names: Vec<&str> = fields(quote).into_iter().map(|(name, _)| name).collect();
    for name in ["signature data length", "outer size", "inner size"] {
        if names.contains(&name) {
            let range = field(quote, name);
            let value = number(quote, range.clone()) + gets - has;
            set_number(&mut out, range, value);
        }
    }
    out.extend_from_slice(chain.as_bytes());
    out
}

fn version(quote: &[u8]) -> usize {
    number(quote, 0..2)
}

/// The DER of each block.
pub fn pem_blocks(text: &str) -> Vec<Vec<u8>> {
    let blocks = text.split(BEGIN).skip(1);
    blocks
        .map(|block| {
            let base64: String = block
                .split(END)
                .next()
                .expect("an end")
                .split_whitespace()
                .collect();
            BASE64.decode(base64.as_bytes()).expect("Base64")
        })
        .collect()
}

/// PEM of each.
pub fn text(certificates: &[Vec<u8>]) -> String {
    let pem = certificates.iter().map(|der| {
        let base64 = BASE64.encode(der);
        let lines: Vec<&str> = base64
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("ASCII"))
            .collect();
        format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
    });
    pem.collect()
}

fn flip(bytes: &mut [u8], seeded: &mut Seeded) -> String {
    let (byte, bit) = (seeded.below(bytes.len()), seeded.below(8));
    bytes[byte] ^= 1 << bit;
    format!("bit {bit} of {byte}")
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

const LENGTHS: [&str; 5] = [
    "body length",
    "signature data length",
    "outer size",
    "auth size",
    "inner size",
];

const UNSIGNED: [&str; 9] = [
    "signature data length",
    "outer type",
    "outer size",
    "auth size",
    "auth data",
    "inner type",
    "inner size",
    "certification data",
    "version",
];

const HEX: [&str; 4] = [
    "root_ca_crl",
    "pck_crl",
    "tcb_info_signature",
    "qe_identity_signature",
];

const CHAINS: [&str; 3] = [
    "pck_crl_issuer_chain",
    "tcb_info_issuer_chain",
    "qe_identity_issuer_chain",
];
