//! What a quote says, and Intel's supplemental data, as they are told: hex, RFC 3339, Intel's names.

use data_encoding::{HEXLOWER, HEXUPPER};
use thim_client::{EnclaveFacts, QuoteFacts, SupplementalRecord, TrustDomainFacts};
use thim_verify::{
    QuoteBody, QuoteFindings, SgxReport, SgxType, SupplementalData, TdReport, TdReportVersion, Tee,
    UnixTime,
};

/// What the quote says.
pub fn facts(findings: &QuoteFindings<'_>) -> QuoteFacts {
    let quote = findings.quote();
    let (body, enclave, trust_domain) = match quote.body() {
        QuoteBody::Sgx(report) => ("sgx", Some(of_enclave(report)), None),
        QuoteBody::Td(report) => {
            let body = match report.version {
                TdReportVersion::V1_0 => "td-1.0",
                TdReportVersion::V1_5 => "td-1.5",
                TdReportVersion::V1_5Extended => "td-1.5-extended",
            };
            (body, None, Some(of_trust_domain(report)))
        }
    };
    QuoteFacts {
        version: quote.version(),
        body: body.to_owned(),
        certification_data_type: quote.certification_kind().number(),
        fmspc: findings
            .pck_chain()
            .map(|chain| chain.leaf().fmspc().to_string()),
        report_data: HEXLOWER.encode(quote.body().report_data()),
        enclave,
        trust_domain,
    }
}

fn of_enclave(report: &SgxReport) -> EnclaveFacts {
    EnclaveFacts {
        mrenclave: HEXLOWER.encode(&report.mr_enclave),
        mrsigner: HEXLOWER.encode(&report.mr_signer),
        isvprodid: report.isv_prod_id,
        isvsvn: report.isv_svn,
        attributes: HEXLOWER.encode(&report.attributes),
        miscselect: HEXLOWER.encode(&report.miscselect),
        configid: HEXLOWER.encode(&report.config_id),
        configsvn: report.config_svn,
    }
}

fn of_trust_domain(report: &TdReport) -> TrustDomainFacts {
    let number = |number: u64| format!("{number:#018x}");
    TrustDomainFacts {
        tee_tcb_svn: report.tee_tcb_svn.to_string(),
        tee_tcb_svn2: report.tee_tcb_svn2.map(|svn| svn.to_string()),
        mrseam: HEXLOWER.encode(&report.mr_seam),
        mrsignerseam: HEXLOWER.encode(&report.mr_signer_seam),
        seamattributes: HEXLOWER.encode(&report.seam_attributes),
        tdattributes: number(report.td_attributes.0),
        xfam: number(report.xfam),
        mrtd: HEXLOWER.encode(&report.mr_td),
        mrconfigid: HEXLOWER.encode(&report.mr_config_id),
        mrowner: HEXLOWER.encode(&report.mr_owner),
        mrownerconfig: HEXLOWER.encode(&report.mr_owner_config),
        rtmrs: report
            .rtmrs
            .iter()
            .map(|rtmr| HEXLOWER.encode(rtmr))
            .collect(),
        mrservicetd: report
            .mr_service_td
            .as_ref()
            .map(|one| HEXLOWER.encode(one)),
    }
}

/// The supplemental data; what names one machine only with `platform_ids`.
pub fn supplemental(data: &SupplementalData, platform_ids: bool) -> SupplementalRecord {
    let date = |date: Option<UnixTime>| date.map(|date| date.to_string());
    let said = |said: Option<bool>| {
        let word = match said {
            Some(true) => "true",
            Some(false) => "false",
            None => "undefined",
        };
        word.to_owned()
    };
    SupplementalRecord {
        earliest_issue_date: date(data.earliest_issue_date),
        latest_issue_date: date(data.latest_issue_date),
        earliest_expiration_date: date(data.earliest_expiration_date),
        collateral_expiration_status: u32::from(data.collateral_expired),
        tcb_level_date_tag: date(data.tcb_level_date_tag),
        platform_tcb_level_date_tag: date(data.platform_tcb_level_date_tag),
        qe_iden_tcb_level_date_tag: date(data.qe_iden_tcb_level_date_tag),
        pck_crl_num: data.pck_crl_num,
        root_ca_crl_num: data.root_ca_crl_num,
        tcb_eval_ref_num: data.tcb_eval_ref_num,
        qe_iden_tcb_eval_ref_num: data.qe_iden_tcb_eval_ref_num,
        root_key_id: data.root_key_id.map(|id| HEXLOWER.encode(&id)),
        pck_ppid: data
            .pck_ppid
            .filter(|_| platform_ids)
            .map(|ppid| HEXLOWER.encode(&ppid.0)),
        tcb_cpusvn: data.tcb_cpusvn.map(|svn| svn.to_string()),
        tcb_pce_isvsvn: data.tcb_pce_isvsvn.map(|svn| svn.0),
        pce_id: data.pce_id.map(|id| HEXUPPER.encode(&id.0)),
        tee_type: match data.tee {
            Tee::Sgx => 0,
            Tee::Tdx => 0x81,
        },
        sgx_type: data.sgx_type.map(|kind| match kind {
            SgxType::Standard => 0,
            SgxType::Scalable => 1,
            SgxType::ScalableWithIntegrity => 2,
        }),
        platform_instance_id: data
            .platform_instance_id
            .filter(|_| platform_ids)
            .map(|id| HEXLOWER.encode(&id.0)),
        dynamic_platform: said(data.dynamic_platform),
        cached_keys: said(data.cached_keys),
        smt_enabled: said(data.smt_enabled),
        sa_list: data
            .sa_list
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(","),
        qe_iden_earliest_issue_date: date(data.qe_iden_earliest_issue_date),
        qe_iden_latest_issue_date: date(data.qe_iden_latest_issue_date),
        qe_iden_earliest_expiration_date: date(data.qe_iden_earliest_expiration_date),
        qe_iden_status: data.qe_iden_status.map(|status| status.to_string()),
    }
}
