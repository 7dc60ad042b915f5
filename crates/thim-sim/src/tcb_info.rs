//! TCB info v3: the vendor's verdict on every TCB level of a platform family.
//!
//! Shape, field order and texts are those of Intel's documents (spec/intel-pcs-and-pccs.md section 4). The levels
//! follow the evaluation number: its own event's level is the best, each earlier event's is out of date with the
//! advisories fixed since, and a level of 2018 ends the list. TDX documents write the FMSPC in lower case, as Intel's
//! mostly do, SGX documents in upper case: a client has to take both.

use crate::calendar;
use crate::evaluation::RecoveryEvent;
use crate::fleet::Family;
use crate::identity::IdentityLevel;
use crate::pck_tcb::PckTcb;
use serde::Serialize;

/// The two technologies of the PCS paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tee {
    Sgx,
    Tdx,
}

impl Tee {
    /// The `id` of signed documents.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Tee::Sgx => "SGX",
            Tee::Tdx => "TDX",
        }
    }
}

/// The inner object of `tcbInfo`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcbInfo {
    id: &'static str,
    version: u32,
    issue_date: String,
    next_update: String,
    fmspc: String,
    pce_id: &'static str,
    tcb_type: u32,
    tcb_evaluation_data_number: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tdx_module: Option<TdxModule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tdx_module_identities: Option<Vec<TdxModuleIdentity>>,
    tcb_levels: Vec<TcbLevel>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TdxModule {
    mrsigner: &'static str,
    attributes: &'static str,
    attributes_mask: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TdxModuleIdentity {
    id: &'static str,
    #[serde(flatten)]
    module: TdxModule,
    tcb_levels: Vec<IdentityLevel>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TcbLevel {
    tcb: Tcb,
    tcb_date: String,
    tcb_status: &'static str,
    #[serde(rename = "advisoryIDs", skip_serializing_if = "Vec::is_empty")]
    advisory_ids: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Tcb {
    sgxtcbcomponents: Vec<Component>,
    pcesvn: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tdxtcbcomponents: Option<Vec<Component>>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Component {
    svn: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'static str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

impl Tcb {
    /// The same TCB as a PCK certificate has it.
    fn to_pck(&self) -> PckTcb {
        let mut components = [0; COMPONENTS];
        for (svn, component) in components.iter_mut().zip(&self.sgxtcbcomponents) {
            *svn = u8::try_from(component.svn).unwrap_or(u8::MAX);
        }
        PckTcb {
            components,
            pcesvn: u16::try_from(self.pcesvn).unwrap_or(u16::MAX),
        }
    }
}

impl TcbInfo {
    /// The TCB info of a family as of `events[0]`, the newest event the document knows.
    pub(crate) fn new(
        tee: Tee,
        family: &Family,
        events: &[RecoveryEvent],
        issued: i64,
        next: i64,
    ) -> Self {
        let module_svn = match tee {
            Tee::Sgx => None,
            Tee::Tdx => family.tdx_module_svn_at_16,
        };
        Self {
            id: tee.id(),
            version: 3,
            issue_date: calendar::iso(issued),
            next_update: calendar::iso(next),
            fmspc: match tee {
                Tee::Sgx => family.fmspc.to_owned(),
                Tee::Tdx => family.fmspc.to_lowercase(),
            },
            pce_id: "0000",
            tcb_type: 0,
            tcb_evaluation_data_number: events.first().map_or(0, |event| event.number),
            tdx_module: module_svn.map(|_| TDX_MODULE),
            tdx_module_identities: module_svn.map(|svn| module_identities(svn, events)),
            tcb_levels: levels(family, module_svn, events),
        }
    }

    /// Another body for the same dates: the level of 2018 is missing.
    pub(crate) fn diverge(&mut self) {
        self.tcb_levels.pop();
    }
}

/// Every TCB the vendor can certify a platform of the family for, best first: the best levels of each event, then the
/// level of 2018. Each is a level of the SGX TCB info of its event's number.
pub(crate) fn pck_tcbs(family: &Family, events: &[RecoveryEvent]) -> Vec<PckTcb> {
    let of_events = (0..events.len()).flat_map(|newest| best_pck_tcbs(family, &events[newest..]));
    of_events
        .chain([floor(family, None, events).tcb.to_pck()])
        .collect()
}

/// `TEE_TCB_SVN` of a machine with this raw TCB: the TDX module 1.5 of the newest event that its microcode reaches, and
/// the microcode. `None` without TDX.
pub(crate) fn tee_tcb_svn(family: &Family, raw: &PckTcb) -> Option<[u8; COMPONENTS]> {
    let module_svn_at_16 = family.tdx_module_svn_at_16?;
    let microcode = raw.components[1];
    let raised = u32::from(microcode).saturating_sub(family.microcode_svn_at_16);
    let mut svns = [0; COMPONENTS];
    svns[0] = u8::try_from(module_svn_at_16 + raised).unwrap_or(u8::MAX);
    svns[1] = TDX_MODULE_1_5;
    svns[2] = microcode;
    Some(svns)
}

/// The levels that the newest event brought: one, or with hyper-threading on and off two.
pub(crate) fn best_pck_tcbs(family: &Family, events: &[RecoveryEvent]) -> Vec<PckTcb> {
    levels(family, None, events)
        .iter()
        .take(if family.hardening { 2 } else { 1 })
        .map(|level| level.tcb.to_pck())
        .collect()
}

fn levels(family: &Family, module_svn: Option<u32>, events: &[RecoveryEvent]) -> Vec<TcbLevel> {
    let mut levels = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let raised = event.number.saturating_sub(16);
        let mut advisories: Vec<_> = events[..index].iter().flat_map(advisories_of).collect();
        let tcb_status = match (index, family.hardening) {
            (0, false) => "UpToDate",
            (0, true) => {
                advisories.extend(HARDENING_ADVISORIES.map(str::to_owned));
                "SWHardeningNeeded"
            }
            (1.., _) => "OutOfDate",
        };
        advisories.sort();
        levels.push(TcbLevel {
            tcb: tcb(family, module_svn, raised, family.pcesvn),
            tcb_date: calendar::midnight(event.tcb_date()),
            tcb_status,
            advisory_ids: advisories,
        });
        if index == 0 && family.hardening {
            levels.push(with_hyper_threading(family, &levels[0]));
        }
    }
    levels.push(floor(family, module_svn, events));
    levels
}

/// The best level of a hardening family without its sixth component: hyper-threading left on.
fn with_hyper_threading(family: &Family, best: &TcbLevel) -> TcbLevel {
    let mut level = best.clone();
    level.tcb.sgxtcbcomponents[HYPER_THREADING].svn =
        family.fixed_svns[HYPER_THREADING - 2].saturating_sub(1);
    level.tcb_status = "ConfigurationAndSWHardeningNeeded";
    level.advisory_ids.push(HYPER_THREADING_ADVISORY.to_owned());
    level.advisory_ids.sort();
    level
}

/// The last level of every Intel document: PCE SVN 5 of January 2018.
fn floor(family: &Family, module_svn: Option<u32>, events: &[RecoveryEvent]) -> TcbLevel {
    let mut advisory_ids: Vec<_> = FLOOR_ADVISORIES.map(str::to_owned).to_vec();
    advisory_ids.extend(events.iter().flat_map(advisories_of));
    advisory_ids.sort();
    TcbLevel {
        tcb: tcb(family, module_svn, 0, 5),
        tcb_date: "2018-01-04T00:00:00Z".to_owned(),
        tcb_status: "OutOfDate",
        advisory_ids,
    }
}

fn tcb(family: &Family, module_svn: Option<u32>, raised: u32, pcesvn: u32) -> Tcb {
    let microcode = family.microcode_svn_at_16 + raised;
    let [sinit, bios_a, bios_b, hyper_threading, spare, seamldr] = family.fixed_svns;
    let mut sgx = vec![
        named(microcode, "BIOS", "Early Microcode Update"),
        named(microcode, "OS/VMM", "SGX Late Microcode Update"),
        named(sinit, "OS/VMM", "TXT SINIT"),
        of_bios(bios_a),
        of_bios(bios_b),
        of_bios(hyper_threading),
        unnamed(spare),
    ];
    // SGX documents of TDX families name it too.
    sgx.push(match family.tdx_module_svn_at_16 {
        Some(_) => named(seamldr, "OS/VMM", "SEAMLDR ACM"),
        None => unnamed(seamldr),
    });
    sgx.resize(COMPONENTS, unnamed(0));
    let tdx = module_svn.map(|svn| {
        let mut tdx = vec![
            named(svn + raised, "OS/VMM", "TDX Module"),
            named(0, "OS/VMM", "TDX Module"),
            named(microcode, "OS/VMM", "TDX Late Microcode Update"),
        ];
        tdx.resize(COMPONENTS, unnamed(0));
        tdx
    });
    Tcb {
        sgxtcbcomponents: sgx,
        pcesvn,
        tdxtcbcomponents: tdx,
    }
}

/// TDX module identities: of version 1.5 (`TDX_01`) and of its successor (`TDX_03`), a level of each for each event.
fn module_identities(module_svn: u32, events: &[RecoveryEvent]) -> Vec<TdxModuleIdentity> {
    let date = |event: &RecoveryEvent| calendar::midnight(event.tcb_date());
    let level = |svn_at_16: u32, index: usize, event: &RecoveryEvent| {
        let isvsvn = svn_at_16 + event.number.saturating_sub(16);
        let advisories: Vec<_> = events[..index].iter().flat_map(advisories_of).collect();
        if index == 0 {
            IdentityLevel::up_to_date(isvsvn, date(event))
        } else {
            IdentityLevel::out_of_date(isvsvn, date(event), advisories)
        }
    };
    let levels = |svn_at_16: u32| {
        let events = events.iter().enumerate();
        events
            .map(|(index, event)| level(svn_at_16, index, event))
            .collect()
    };
    vec![
        TdxModuleIdentity {
            id: "TDX_03",
            module: TDX_MODULE,
            tcb_levels: levels(TDX_03_SVN_AT_16),
        },
        TdxModuleIdentity {
            id: "TDX_01",
            module: TDX_MODULE,
            tcb_levels: levels(module_svn),
        },
    ]
}

/// The advisories an event answers: made up, spaced so that no two events share one.
fn advisories_of(event: &RecoveryEvent) -> [String; 2] {
    let first = 700 + event.number * 20;
    [
        format!("INTEL-SA-{first:05}"),
        format!("INTEL-SA-{:05}", first + 7),
    ]
}

fn named(svn: u32, category: &'static str, kind: &'static str) -> Component {
    Component {
        svn,
        category: Some(category),
        kind: Some(kind),
    }
}

fn of_bios(svn: u32) -> Component {
    Component {
        svn,
        category: Some("BIOS"),
        kind: None,
    }
}

fn unnamed(svn: u32) -> Component {
    Component {
        svn,
        ..Component::default()
    }
}

/// Components in an SGX or TDX TCB.
const COMPONENTS: usize = 16;
/// The index of the component that tells hyper-threading, in the families that need hardening.
pub(crate) const HYPER_THREADING: usize = 5;

/// The major version of `TDX_01`.
const TDX_MODULE_1_5: u8 = 1;
/// The SVN of `TDX_03` as of evaluation number 16; each event raises it by one.
const TDX_03_SVN_AT_16: u32 = 3;
/// The signer of every Intel TDX module is the all-zero one: "Intel" (vectors/intel/tcbinfo/tdx-v3-*).
const TDX_MODULE: TdxModule = TdxModule {
    mrsigner: concat!(
        "000000000000000000000000000000000000000000000000",
        "000000000000000000000000000000000000000000000000"
    ),
    attributes: "0000000000000000",
    attributes_mask: "FFFFFFFFFFFFFFFF",
};

const HARDENING_ADVISORIES: [&str; 2] = ["INTEL-SA-00334", "INTEL-SA-00615"];
const HYPER_THREADING_ADVISORY: &str = "INTEL-SA-00161";
const FLOOR_ADVISORIES: [&str; 6] = [
    "INTEL-SA-00106",
    "INTEL-SA-00115",
    "INTEL-SA-00135",
    "INTEL-SA-00203",
    "INTEL-SA-00220",
    "INTEL-SA-00233",
];
