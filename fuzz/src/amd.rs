//! AMD's parsers: certificates of every role, chains, revocation lists, and reports with what is found about them.

use std::sync::LazyLock;

use thim_verify::amd::{
    AmdCrl, Anchors, Authority, CertChain, Endorsement, EndorsementKind, FindingName, Outcome,
    Product, Products, ReportCollateral, VcekKey, VerifiedAmd, VlekKey, builtin_chain,
    parse_cert_chain, parse_crl, parse_report, verify_cert_chain, verify_crl, verify_report,
    verify_vcek, verify_vlek,
};
use thim_verify::{Digest, UnixTime};

use crate::readable;

static ANCHORS: LazyLock<Anchors> = LazyLock::new(Anchors::builtin);
static PRODUCTS: LazyLock<Products> = LazyLock::new(Products::builtin);

/// A certificate in DER or PEM, whatever its role; a chain file; a revocation list; a file of product facts.
pub fn amd_certificate(data: &[u8]) {
    let endorsements = [
        Endorsement::from_der(data).map_err(readable),
        Endorsement::from_pem(data).map_err(readable),
    ];
    for endorsement in endorsements.into_iter().flatten() {
        judge_endorsement(&endorsement);
    }
    if let Ok(authority) = Authority::from_der(data).map_err(readable) {
        assert_eq!(authority.digest(), Digest::of(authority.der()));
        let trusted = ANCHORS.accept_root(&authority).map_err(readable).is_ok();
        let known = ANCHORS.contains_key(authority.product(), &authority.spki_digest());
        assert!(known || !trusted);
    }
    if let Ok(chain) = parse_cert_chain(data).map_err(readable) {
        judge_chain(chain, data);
    }
    if let Ok(list) = parse_crl(data).map_err(readable) {
        judge_list(list);
    }
    if let Ok(anchors) = Anchors::from_pem(data).map_err(readable) {
        assert!(!anchors.is_builtin() && !anchors.roots().is_empty());
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(products) = Products::from_json(text).map_err(readable)
    {
        for product in Product::ALL {
            assert_eq!(products.facts(product).product(), product);
        }
    }
}

/// A file of an import that may be AMD's, a certificate table and the metadata service's JSON among them: what is found
/// stands under its name, chains are put together once, and no chip is in what may be shown.
pub fn amd_intake(data: &[u8]) {
    let bytes = bytes::Bytes::copy_from_slice(data);
    let mut found = thim_server::intake::objects::find("file", &bytes);
    let before = found.objects.len();
    found.join_chains(&ANCHORS);
    assert!(found.objects.len() - before <= 64);
    let paths = (found.endorsements.iter().map(|one| &one.path))
        .chain(found.objects.iter().map(|one| &one.path))
        .chain(found.flaws.iter().map(|one| &one.path));
    for path in paths {
        assert!(path == "file" || path.starts_with("file#"));
    }
    for one in &found.endorsements {
        judge_endorsement(&one.leaf);
    }
    for object in &found.objects {
        if object.joined {
            let document = object.unverified.unverified().document();
            let chain = parse_cert_chain(document).expect("put together here");
            assert!(chain.is_kds_form());
        }
    }
    for flaw in found.flaws {
        readable(flaw.error);
    }
}

/// A report, with whatever collateral there is for its product: findings, and nothing altered is signed.
pub fn snp_report(data: &[u8]) {
    let Ok(report) = parse_report(data).map_err(readable) else {
        return;
    };
    assert_eq!(report.bytes(), data);
    assert!(data.starts_with(report.signed()));
    for facts in PRODUCTS.all() {
        for tcb in [report.reported_tcb, report.current_tcb] {
            if let Ok(decoded) = tcb.decode(facts).map_err(readable) {
                assert_eq!(decoded.to_u64(facts), Ok(tcb.0));
                let hex = tcb.to_tcbm_hex();
                assert_eq!(
                    thim_verify::amd::SnpTcb::from_hex_be(facts, &hex),
                    Ok(decoded)
                );
            }
        }
        let chip = report.chip_id(facts).map_err(readable);
        assert!(chip.is_ok_and(|chip| chip.is_zero()) || !report.chip_id_is_masked());
    }
    let Some((endorsement, chain)) = &*ENDORSEMENT else {
        return;
    };
    let collateral = ReportCollateral {
        endorsement,
        chain,
        crl: None,
    };
    let findings = verify_report(&report, &collateral, &PRODUCTS, &ANCHORS, UnixTime::MAX);
    for finding in findings.list() {
        match &finding.outcome {
            Outcome::Passed => {}
            Outcome::Failed(why) | Outcome::NotChecked(why) => {
                assert!(why.len() < 2048 && !why.contains('\n'), "{why:?}");
            }
        }
    }
    let signature = findings.outcome(FindingName::Signature);
    assert!(
        matches!(signature, Some(Outcome::Failed(_))),
        "of no genuine chip"
    );
}

/// A VCEK of a virtual chip, signed by an authority of the tests that nobody trusts: findings have something to look at.
static ENDORSEMENT: LazyLock<Option<(Endorsement, CertChain)>> = LazyLock::new(|| {
    let chain = parse_cert_chain(builtin_chain(Product::Milan, EndorsementKind::Vcek)?).ok()?;
    let endorsement = Endorsement::from_pem(include_bytes!("../seeds/vcek.pem")).ok()?;
    Some((endorsement, chain))
});

fn judge_endorsement(endorsement: &Endorsement) {
    let (product, kind) = (endorsement.product(), endorsement.kind());
    let chain: Option<VerifiedAmd<CertChain>> = builtin_chain(product, kind).map(|document| {
        let chain = parse_cert_chain(document).expect("built in");
        let issued = chain.issuing().not_before();
        verify_cert_chain(chain, product, kind, None, &ANCHORS, issued).expect("built in")
    });
    let shown = format!("{endorsement:?}");
    match endorsement {
        Endorsement::Vcek(vcek) => {
            let again = Endorsement::from_pem(vcek.to_pem().as_bytes());
            assert_eq!(again.as_ref(), Ok(endorsement));
            assert!(!shown.contains(&vcek.hw_id().to_hex_lower()));
            let key = VcekKey {
                product,
                hw_id: *vcek.hw_id(),
                tcb: vcek.tcb(),
            };
            if let Some(chain) = chain {
                let at = vcek.not_before();
                let _ =
                    verify_vcek(vcek.clone(), &key, &chain, None, &PRODUCTS, at).map_err(readable);
            }
        }
        Endorsement::Vlek(vlek) => {
            assert!(!vlek.csp_id().contains('\n'));
            let key = VlekKey {
                product,
                tcb: vlek.tcb(),
            };
            if let Some(chain) = chain {
                let at = vlek.not_before();
                let _ =
                    verify_vlek(vlek.clone(), &key, &chain, None, &PRODUCTS, at).map_err(readable);
            }
        }
    }
}

fn judge_chain(chain: CertChain, data: &[u8]) {
    assert_eq!(chain.document().as_ref(), data);
    let rebuilt = CertChain::from_authorities(chain.issuing().clone(), chain.ark().clone());
    let rebuilt = rebuilt.expect("the same two");
    assert!(rebuilt.is_kds_form() && rebuilt.same_certificates(&chain));
    let (product, kind) = (chain.product(), chain.kind());
    let issued = chain.issuing().not_before();
    let _ = verify_cert_chain(chain, product, kind, None, &ANCHORS, issued).map_err(readable);
}

fn judge_list(list: AmdCrl) {
    let serials: Vec<&[u8]> = list
        .revoked()
        .iter()
        .map(|one| one.serial.as_slice())
        .collect();
    assert!(serials.is_sorted() && serials.iter().all(|serial| list.revokes(serial)));
    let product = list.product();
    let _ = verify_crl(list, product, &ANCHORS, UnixTime::MAX).map_err(readable);
}
