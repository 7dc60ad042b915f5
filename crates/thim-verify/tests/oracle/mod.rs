//! Another verifier of quotes, of which no line was written here: the crate dcap-qvl, with the RustCrypto project's
//! P-256, which shares no code with ours.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeSet;

use data_encoding::HEXLOWER_PERMISSIVE;
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use serde_json::Value;
use thim_verify::UnixTime;

/// Status and advisories.
pub type Answer = (String, BTreeSet<String>);

/// The nine fields as it takes them.
///
/// # Errors
/// When a field is not hex where it must be.
pub fn collateral(fields: &Value) -> Result<QuoteCollateralV3, String> {
    let text = |name: &str| fields[name].as_str().expect(name).to_owned();
    let hex = |name: &str| {
        let decoded = HEXLOWER_PERMISSIVE.decode(text(name).as_bytes());
        decoded.map_err(|error| format!("{name}: {error}"))
    };
    Ok(QuoteCollateralV3 {
        pck_crl_issuer_chain: text("pck_crl_issuer_chain"),
        root_ca_crl: hex("root_ca_crl")?,
        pck_crl: hex("pck_crl")?,
        tcb_info_issuer_chain: text("tcb_info_issuer_chain"),
        tcb_info: text("tcb_info"),
        tcb_info_signature: hex("tcb_info_signature")?,
        qe_identity_issuer_chain: text("qe_identity_issuer_chain"),
        qe_identity: text("qe_identity"),
        qe_identity_signature: hex("qe_identity_signature")?,
        pck_certificate_chain: None,
    })
}

/// What it answers under its own rules; an error with its causes.
pub fn verify(
    root: &[u8],
    quote: &[u8],
    collateral: &QuoteCollateralV3,
    now: UnixTime,
) -> Result<Answer, String> {
    let seconds = u64::try_from(now.secs()).map_err(|_| "before 1970".to_owned())?;
    QuoteVerifier::new(root.to_vec())
        .verify(quote, collateral, seconds)
        .map(|report| (report.status, report.advisory_ids.into_iter().collect()))
        .map_err(|error| format!("{error:#}"))
}
