//! What a report says, and what it was judged by, as they are told: hex, RFC 3339, AMD's names. They are what the bytes
//! claim; the findings tell what that is worth.

use data_encoding::HEXLOWER;
use serde::Serialize;
use thim_verify::amd::{
    Endorsement, Firmware, Product, ProductFacts, Products, SigningKey, SnpReport, SnpTcb,
    TcbVersion, Vmpl,
};
use utoipa::ToSchema;

use super::form::ReportForm;
use super::report::ReportMaterial;

/// What the report says, and what it was verified with.
// No `Debug`: there may be a chip id in it.
#[derive(Clone, Serialize, ToSchema)]
pub struct ReportFacts {
    /// `binary`, `hex` or `base64`.
    pub encoding: &'static str,
    /// `raw`, or `hcl`: the blob of an Azure vTPM.
    pub container: &'static str,
    /// The report's or the caller's, else the certificate's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<&'static str>,
    /// The report's format.
    pub version: u32,
    /// The guest's own security version.
    pub guest_svn: u32,
    /// `vcek`, `vlek` or `none`, as the report states it.
    pub signing_key: &'static str,
    /// 0 to 3, or `host`.
    pub vmpl: String,
    /// What the signing key was derived for.
    pub reported_tcb: ReportTcb,
    /// What runs.
    pub current_tcb: ReportTcb,
    /// What cannot be gone back behind.
    pub committed_tcb: ReportTcb,
    /// What ran when the guest was launched.
    pub launch_tcb: ReportTcb,
    /// Major, minor and build, with dots.
    pub current_firmware: String,
    /// Likewise.
    pub committed_firmware: String,
    /// What the guest permits.
    pub policy: ReportPolicy,
    /// How the host is set up.
    pub platform_info: ReportPlatform,
    /// Hex.
    pub measurement: String,
    /// Hex: what the guest asked to be signed.
    pub report_data: String,
    /// Hex: what the host gave at launch.
    pub host_data: String,
    /// Hex.
    pub id_key_digest: String,
    /// Hex.
    pub author_key_digest: String,
    /// Hex, where it was asked for: it names a machine for ever. Never from a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip_id: Option<String>,
    /// The VCEK or VLEK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endorsement: Option<ReportEndorsement>,
    /// What vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<ReportChain>,
    /// The revocation list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<ReportCrl>,
}

/// Components where the product is known; always the number that Azure calls `tcbm`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub struct ReportTcb {
    /// 16 hex digits, most significant byte first.
    pub tcbm: String,
    /// Turin and later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// The boot loader (`blSPL`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_loader: Option<u8>,
    /// The PSP operating system (`teeSPL`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tee: Option<u8>,
    /// The SNP firmware (`snpSPL`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snp: Option<u8>,
    /// The microcode (`ucodeSPL`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub microcode: Option<u8>,
    /// Both, for people.
    #[serde(skip)]
    pub text: String,
}

/// POLICY, as the report has it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub struct ReportPolicy {
    /// POLICY, as one number.
    pub hex: String,
    /// The least firmware ABI, major and minor.
    pub abi: String,
    /// The host may debug the guest.
    pub debug: bool,
    /// A migration agent may be attached.
    pub migration_agent: bool,
    /// SMT is permitted.
    pub smt: bool,
    /// One socket alone is permitted.
    pub single_socket: bool,
    /// CXL is permitted.
    pub cxl: bool,
    /// AES-256-XTS is required.
    pub aes_256_xts: bool,
    /// RAPL has to be off.
    pub rapl_disabled: bool,
    /// Ciphertext hiding is required.
    pub ciphertext_hiding: bool,
    /// Page swapping is off.
    pub page_swap_disabled: bool,
}

/// PLATFORM_INFO, as the report has it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub struct ReportPlatform {
    /// PLATFORM_INFO, as one number.
    pub hex: String,
    /// SMT is on.
    pub smt: bool,
    /// TSME is on.
    pub tsme: bool,
    /// The memory has ECC.
    pub ecc: bool,
    /// RAPL is off.
    pub rapl_disabled: bool,
    /// Ciphertext hiding is on.
    pub ciphertext_hiding: bool,
    /// Memory aliases were looked for: BadRAM is ruled out.
    pub alias_check_complete: bool,
    /// Trusted IO is on.
    pub tio: bool,
}

/// The certificate that the report was judged by.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub struct ReportEndorsement {
    /// `vcek` or `vlek`.
    pub kind: &'static str,
    /// As the certificate has it.
    pub product_name: String,
    /// The cloud's, of a VLEK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csp_id: Option<String>,
    /// Start of validity.
    pub not_before: String,
    /// End of validity.
    pub not_after: String,
    /// SHA-256 of the public key: the same for every issue.
    pub spki_sha256: String,
    /// Where it came from: a file, `service` or `store`.
    pub source: String,
}

/// Its chain.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub struct ReportChain {
    /// The ASK's or ASVK's common name.
    pub issuing: String,
    /// The root's.
    pub ark: String,
    /// SHA-256 of the root's public key.
    pub ark_spki_sha256: String,
    /// A file, `service`, `store` or `built in`.
    pub source: String,
}

/// The list that the chain was looked up in.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub struct ReportCrl {
    /// Its CRL number.
    pub number: u64,
    /// Start of its window.
    pub this_update: String,
    /// End of its window.
    pub next_update: String,
    /// A file, `service` or `store`.
    pub source: String,
}

impl ReportFacts {
    /// Collects them. The product is the certificate's where there is one.
    pub(super) fn of(
        form: ReportForm,
        report: &SnpReport,
        product: Option<Product>,
        material: &ReportMaterial,
        products: &Products,
        show_chip_id: bool,
    ) -> Self {
        let leaf = material.endorsement.as_ref().ok();
        let product = product.or_else(|| leaf.map(|leaf| leaf.value.product()));
        let facts = product.map(|product| products.facts(product));
        let tcb = |tcb: TcbVersion| ReportTcb::of(tcb, facts);
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
            policy: ReportPolicy {
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
            platform_info: ReportPlatform {
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
            endorsement: leaf.map(|leaf| ReportEndorsement::of(&leaf.value, &leaf.source)),
            chain: material.chain.as_ref().ok().map(|chain| ReportChain {
                issuing: chain.value.issuing().subject_cn().to_owned(),
                ark: chain.value.ark().subject_cn().to_owned(),
                ark_spki_sha256: chain.value.ark().spki_digest().to_string(),
                source: chain.source.clone(),
            }),
            crl: material.crl.as_ref().map(|list| ReportCrl {
                number: list.value.number(),
                this_update: list.value.this_update().to_string(),
                next_update: list.value.next_update().to_string(),
                source: list.source.clone(),
            }),
        }
    }
}

impl ReportTcb {
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

impl ReportEndorsement {
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
