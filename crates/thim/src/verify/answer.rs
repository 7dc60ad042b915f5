//! What `thim verify report` says, in JSON and for people.
//!
//! One object: the status in one word, the findings, and facts of the report and of what it was verified with. Facts
//! are what the bytes claim; the status tells what that is worth.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use serde::Serialize;
use thim_verify::UnixTime;
use thim_verify::amd::{
    Appraisal, Endorsement, Firmware, Product, ProductFacts, Products, SigningKey, SnpReport,
    SnpTcb, Status, TcbVersion, Vmpl, Weighed,
};

use super::evidence::Form;
use super::gathering::Gathered;
use crate::tables;

/// The whole answer. Members that evidence of another kind has too are of the same shape there.
#[derive(Serialize)]
pub struct Answer {
    tee: &'static str,
    /// `accepted`, `not-accepted` or `unknown`.
    verdict: &'static str,
    /// `ok`, `not-accepted` or `unknown`.
    status: &'static str,
    at: String,
    findings: Vec<FindingLine>,
    /// Always empty: AMD's certificates and reports name no advisories.
    advisories: [&'static str; 0],
    /// Null: no minimums are given.
    shortfall: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
    /// What was left aside, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(skip)]
    told: Status,
    #[serde(skip)]
    why: String,
}

#[derive(Serialize)]
struct FindingLine {
    name: &'static str,
    /// `passed`, `failed` or `not-checked`.
    outcome: &'static str,
    /// There and true when a relaxation forgave it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The word for `--allow` that forgives it, whether given or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    relaxation: Option<&'static str>,
    /// What it was judged by, as text.
    facts: BTreeMap<&'static str, String>,
    /// The instant it was judged at.
    at: String,
}

/// What the report says, and what it was verified with.
#[derive(Serialize)]
pub struct Facts {
    encoding: &'static str,
    container: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<&'static str>,
    version: u32,
    guest_svn: u32,
    signing_key: &'static str,
    /// 0 to 3, or `host`.
    vmpl: String,
    reported_tcb: Tcb,
    current_tcb: Tcb,
    committed_tcb: Tcb,
    launch_tcb: Tcb,
    current_firmware: String,
    committed_firmware: String,
    policy: Policy,
    platform_info: Platform,
    measurement: String,
    report_data: String,
    host_data: String,
    id_key_digest: String,
    author_key_digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    chip_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endorsement: Option<EndorsementFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<ChainFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crl: Option<CrlFacts>,
}

/// Components where the product is known; always the number that Azure calls `tcbm`.
#[derive(Serialize)]
struct Tcb {
    tcbm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fmc: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_loader: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tee: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snp: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    microcode: Option<u8>,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize)]
struct Policy {
    hex: String,
    /// The least firmware ABI, major and minor.
    abi: String,
    debug: bool,
    migration_agent: bool,
    smt: bool,
    single_socket: bool,
    cxl: bool,
    aes_256_xts: bool,
    rapl_disabled: bool,
    ciphertext_hiding: bool,
    page_swap_disabled: bool,
}

#[derive(Serialize)]
struct Platform {
    hex: String,
    smt: bool,
    tsme: bool,
    ecc: bool,
    rapl_disabled: bool,
    ciphertext_hiding: bool,
    alias_check_complete: bool,
    tio: bool,
}

#[derive(Serialize)]
struct EndorsementFacts {
    kind: &'static str,
    product_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    csp_id: Option<String>,
    not_before: String,
    not_after: String,
    /// SHA-256 of the public key: the same for every issue.
    spki_sha256: String,
    source: String,
}

#[derive(Serialize)]
struct ChainFacts {
    issuing: String,
    ark: String,
    /// SHA-256 of the root's public key.
    ark_spki_sha256: String,
    source: String,
}

#[derive(Serialize)]
struct CrlFacts {
    number: u64,
    this_update: String,
    next_update: String,
    source: String,
}

impl Answer {
    /// About a report that could be read.
    pub fn new(appraisal: &Appraisal, at: UnixTime, facts: Facts, notes: Vec<String>) -> Self {
        let said = |weighed: &Weighed| match weighed.outcome.reason() {
            None => weighed.concern.name().to_owned(),
            Some(why) => format!("{}: {why}", weighed.concern.name()),
        };
        let mut deciding: Vec<String> = appraisal.deciding().map(said).collect();
        // Without a certificate each finding says the same; once is enough.
        deciding
            .dedup_by(|a, b| a.split_once(": ").map(|a| a.1) == b.split_once(": ").map(|b| b.1));
        Self {
            facts: Some(facts),
            notes,
            why: deciding.join("; "),
            ..Self::of(appraisal, at)
        }
    }

    /// About bytes that are no report.
    pub fn unreadable(appraisal: &Appraisal, at: UnixTime) -> Self {
        let why = appraisal.list().iter();
        let why = why.filter_map(|weighed| weighed.outcome.reason());
        Self {
            why: why.collect(),
            ..Self::of(appraisal, at)
        }
    }

    fn of(appraisal: &Appraisal, at: UnixTime) -> Self {
        let told = appraisal.status();
        Self {
            tee: "sev-snp",
            verdict: match told {
                Status::NotAccepted => "not-accepted",
                Status::Ok => "accepted",
                Status::Unknown => "unknown",
            },
            status: told.name(),
            at: at.to_string(),
            findings: appraisal.list().iter().map(FindingLine::of).collect(),
            advisories: [],
            shortfall: None,
            facts: None,
            notes: Vec::new(),
            told,
            why: String::new(),
        }
    }

    pub fn status(&self) -> Status {
        self.told
    }

    /// What made the status what it is.
    pub fn why(&self) -> &str {
        &self.why
    }

    pub fn print(&self) {
        let verdict = match self.told {
            Status::NotAccepted => format!("not accepted at {}: {}", self.at, self.why),
            Status::Ok => format!("ok at {}", self.at),
            Status::Unknown => format!("unknown at {}: {}", self.at, self.why),
        };
        tables::say(format_args!("{}", tables::printable(&verdict)));
        tables::say("");
        let rows: Vec<Vec<String>> = self.findings.iter().map(FindingLine::row).collect();
        tables::print(&rows);
        if let Some(facts) = &self.facts {
            tables::say("");
            tables::print(&facts.rows());
        }
        for note in &self.notes {
            tables::say(format_args!("left aside: {}", tables::printable(note)));
        }
    }
}

impl FindingLine {
    fn of(weighed: &Weighed) -> Self {
        let facts = weighed.facts.iter();
        Self {
            name: weighed.concern.name(),
            outcome: weighed.outcome.name(),
            allowed: weighed.allowed,
            detail: weighed.outcome.reason().map(str::to_owned),
            relaxation: weighed.relaxation.map(|word| word.name()),
            facts: facts.map(|fact| (fact.name, fact.value.clone())).collect(),
            at: weighed.at.to_string(),
        }
    }

    fn row(&self) -> Vec<String> {
        let outcome = self.outcome.replace('-', " ");
        let outcome = if self.allowed {
            format!("{outcome}, allowed")
        } else {
            outcome
        };
        let hint = match self.relaxation {
            Some(word) if !self.allowed => format!(" (--allow {word} forgives it)"),
            Some(_) | None => String::new(),
        };
        let detail = self.detail.as_deref().unwrap_or_default();
        let detail = tables::printable(&format!("{detail}{hint}"));
        vec![self.name.to_owned(), outcome, detail]
    }
}

impl Facts {
    /// Collects them. The product is the certificate's where there is one.
    pub fn of(
        form: Form,
        report: &SnpReport,
        product: Option<Product>,
        gathered: &Gathered,
        products: &Products,
        show_chip_id: bool,
    ) -> Self {
        let leaf = gathered.endorsement.as_ref().ok();
        let product = product.or_else(|| leaf.map(|leaf| leaf.value.product()));
        let facts = product.map(|product| products.facts(product));
        let tcb = |tcb: TcbVersion| Tcb::of(tcb, facts);
        let policy = report.policy;
        let platform = report.platform_info;
        let (major, minor) = policy.abi();
        let number = |number: u64| format!("{number:#018x}");
        let chip_id = || {
            let id = report.chip_id(facts?).ok()?;
            Some(id.to_hex_lower())
        };
        Self {
            encoding: form.encoding,
            container: form.container,
            product: product.map(Product::name),
            version: report.version,
            guest_svn: report.guest_svn,
            signing_key: match report.key_info.signing_key {
                SigningKey::Unsigned => "none",
                SigningKey::Vcek => "vcek",
                SigningKey::Vlek => "vlek",
            },
            vmpl: match report.vmpl {
                Vmpl::Guest(level) => level.to_string(),
                Vmpl::Host => "host".to_owned(),
            },
            reported_tcb: tcb(report.reported_tcb),
            current_tcb: tcb(report.current_tcb),
            committed_tcb: tcb(report.committed_tcb),
            launch_tcb: tcb(report.launch_tcb),
            current_firmware: version(report.current_firmware),
            committed_firmware: version(report.committed_firmware),
            policy: Policy {
                hex: number(policy.0),
                abi: format!("{major}.{minor}"),
                debug: policy.debug(),
                migration_agent: policy.migration_agent(),
                smt: policy.smt(),
                single_socket: policy.single_socket(),
                cxl: policy.cxl(),
                aes_256_xts: policy.aes_256_xts(),
                rapl_disabled: policy.rapl_disabled(),
                ciphertext_hiding: policy.ciphertext_hiding(),
                page_swap_disabled: policy.page_swap_disabled(),
            },
            platform_info: Platform {
                hex: number(platform.0),
                smt: platform.smt(),
                tsme: platform.tsme(),
                ecc: platform.ecc(),
                rapl_disabled: platform.rapl_disabled(),
                ciphertext_hiding: platform.ciphertext_hiding(),
                alias_check_complete: platform.alias_check_complete(),
                tio: platform.tio(),
            },
            measurement: HEXLOWER.encode(&report.measurement),
            report_data: HEXLOWER.encode(&report.report_data),
            host_data: HEXLOWER.encode(&report.host_data),
            id_key_digest: HEXLOWER.encode(&report.id_key_digest),
            author_key_digest: HEXLOWER.encode(&report.author_key_digest),
            chip_id: show_chip_id.then(chip_id).flatten(),
            endorsement: leaf.map(|leaf| EndorsementFacts::of(&leaf.value, &leaf.source)),
            chain: gathered.chain.as_ref().ok().map(|chain| ChainFacts {
                issuing: chain.value.issuing().subject_cn().to_owned(),
                ark: chain.value.ark().subject_cn().to_owned(),
                ark_spki_sha256: chain.value.ark().spki_digest().to_string(),
                source: chain.source.clone(),
            }),
            crl: gathered.crl.as_ref().map(|list| CrlFacts {
                number: list.value.number(),
                this_update: list.value.this_update().to_string(),
                next_update: list.value.next_update().to_string(),
                source: list.source.clone(),
            }),
        }
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![
            ("product", self.product.unwrap_or("not known").to_owned()),
            ("version", self.version.to_string()),
            ("signing key", self.signing_key.to_owned()),
            ("vmpl", self.vmpl.clone()),
            ("reported TCB", self.reported_tcb.text.clone()),
            ("current TCB", self.current_tcb.text.clone()),
            ("firmware", self.current_firmware.clone()),
            ("policy", self.policy.text()),
            ("measurement", self.measurement.clone()),
            ("report data", self.report_data.clone()),
            ("host data", self.host_data.clone()),
        ];
        if let Some(chip_id) = &self.chip_id {
            rows.push(("chip id", chip_id.clone()));
        }
        if let Some(leaf) = &self.endorsement {
            let csp = leaf.csp_id.as_deref();
            let csp = csp.map_or_else(String::new, |csp| format!(" of {csp}"));
            let (from, until) = (&leaf.not_before, &leaf.not_after);
            let source = &leaf.source;
            rows.push((leaf.kind, format!("{from} to {until}{csp} ({source})")));
        }
        if let Some(chain) = &self.chain {
            let (issuing, ark, source) = (&chain.issuing, &chain.ark, &chain.source);
            rows.push(("chain", format!("{issuing}, {ark} ({source})")));
        }
        if let Some(crl) = &self.crl {
            let (from, until) = (&crl.this_update, &crl.next_update);
            let (number, source) = (crl.number, &crl.source);
            rows.push((
                "list",
                format!("number {number}, {from} to {until} ({source})"),
            ));
        }
        let rows = rows.into_iter();
        rows.map(|(name, value)| vec![name.to_owned(), tables::printable(&value)])
            .collect()
    }
}

impl Policy {
    fn text(&self) -> String {
        let flags = [
            ("debug", self.debug),
            ("migration agent", self.migration_agent),
            ("SMT", self.smt),
            ("single socket", self.single_socket),
            ("CXL", self.cxl),
        ];
        let set: Vec<&str> = flags
            .into_iter()
            .filter_map(|(name, set)| set.then_some(name))
            .collect();
        format!("{}, ABI {}, {}", self.hex, self.abi, set.join(", "))
    }
}

impl Tcb {
    fn of(tcb: TcbVersion, facts: Option<&ProductFacts>) -> Self {
        let decoded: Option<SnpTcb> = facts.and_then(|facts| tcb.decode(facts).ok());
        let tcbm = tcb.to_tcbm_hex();
        Self {
            text: decoded.map_or_else(|| tcbm.clone(), |tcb| format!("{tcb} ({tcbm})")),
            tcbm,
            fmc: decoded.and_then(|tcb| tcb.fmc),
            boot_loader: decoded.map(|tcb| tcb.boot_loader),
            tee: decoded.map(|tcb| tcb.tee),
            snp: decoded.map(|tcb| tcb.snp),
            microcode: decoded.map(|tcb| tcb.microcode),
        }
    }
}

impl EndorsementFacts {
    fn of(leaf: &Endorsement, source: &str) -> Self {
        macro_rules! facts {
            ($leaf:expr, $csp_id:expr) => {
                Self {
                    kind: leaf.kind().name(),
                    product_name: $leaf.product_name().to_owned(),
                    csp_id: $csp_id,
                    not_before: $leaf.not_before().to_string(),
                    not_after: $leaf.not_after().to_string(),
                    spki_sha256: $leaf.spki_digest().to_string(),
                    source: source.to_owned(),
                }
            };
        }
        match leaf {
            Endorsement::Vcek(vcek) => facts!(vcek, None),
            Endorsement::Vlek(vlek) => facts!(vlek, Some(vlek.csp_id().to_owned())),
        }
    }
}

/// `1.55.29`
fn version(firmware: Firmware) -> String {
    let Firmware {
        major,
        minor,
        build,
    } = firmware;
    format!("{major}.{minor}.{build}")
}
