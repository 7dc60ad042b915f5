//! Platforms of the simulator as their hosts and clients ask for them.

#![allow(dead_code, reason = "each test file uses a part of it")]

use thim_sim::SimPlatform;
use thim_verify::{Certificate, PckCertificate, RawTcb, TrustAnchors};

use crate::harness::{Answer, Fleet};

pub const REGISTER: &str = "/sgx/certification/v4/platforms";

pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(bytes)
}

/// QCNL's request, parameters in its order.
pub fn pckcert(platform: &SimPlatform) -> String {
    format!(
        "/sgx/certification/v4/pckcert?qeid={}&encrypted_ppid={}&cpusvn={}&pcesvn={}&pceid={}",
        hex(&platform.qe_id),
        hex(&platform.encrypted_ppid),
        hex(&platform.cpu_svn),
        hex(&platform.pce_svn.to_le_bytes()),
        hex(&platform.pce_id)
    )
}

pub fn raw(platform: &SimPlatform) -> RawTcb {
    format!(
        "{}{}",
        hex(&platform.cpu_svn),
        hex(&platform.pce_svn.to_le_bytes())
    )
    .parse()
    .expect("a raw TCB")
}

/// The admin token that the harness's entropy makes is in the data directory.
pub fn admin(fleet: &Fleet) -> String {
    std::fs::read_to_string(fleet.data().join("admin.token"))
        .expect("a token")
        .trim()
        .to_owned()
}

/// A registrar's token, made by the administrator.
pub async fn registrar(fleet: &Fleet) -> String {
    let token = "r".repeat(64);
    let created = fleet
        .send(
            fleet
                .client
                .post(fleet.url("/thim/v1/tokens"))
                .bearer_auth(admin(fleet))
                .json(&serde_json::json!({
                    "name": "rack 7", "role": "registrar",
                    "sha256": thim_verify::Digest::of(token.as_bytes()).to_string()
                })),
        )
        .await;
    assert!(
        created.status < 300,
        "{} {}",
        created.status,
        created.text()
    );
    token
}

pub async fn register_as(fleet: &Fleet, platform: &SimPlatform, token: &str) -> Answer {
    fleet
        .send(
            fleet
                .client
                .post(fleet.url(REGISTER))
                .header("Content-Type", "application/json")
                .header("user-token", token)
                .body(platform.retrieval_request()),
        )
        .await
}

pub async fn row(fleet: &Fleet, platform: &SimPlatform) -> thim_server::store::PlatformRow {
    fleet
        .server()
        .platforms
        .store()
        .platform_by_alias(
            &hex(&platform.qe_id),
            hex(&platform.pce_id).parse().expect("hex"),
        )
        .await
        .expect("the store works")
        .expect("it is there")
}

pub async fn register(fleet: &Fleet, platform: &SimPlatform) -> Answer {
    fleet
        .send(
            fleet
                .client
                .post(fleet.url(REGISTER))
                .header("Content-Type", "application/json")
                .header("user-token", admin(fleet))
                .body(platform.retrieval_request()),
        )
        .await
}

pub fn chain(answer: &Answer) -> Vec<Certificate> {
    let text = answer.header("SGX-PCK-Certificate-Issuer-Chain");
    assert!(
        text.ends_with("%0A"),
        "QCNL cuts what does not end in an escape"
    );
    let text: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
    Certificate::from_pem_bundle(&text).expect("certificates")
}

/// The leaf, after its chain was verified by hand to the simulator's root.
pub fn verified(fleet: &Fleet, answer: &Answer, pem: &str) -> PckCertificate {
    let leaf = Certificate::from_pem_bundle(pem.as_bytes())
        .expect("a certificate")
        .remove(0);
    let chain = chain(answer);
    assert_eq!(chain.len(), 2, "intermediate and root");
    leaf.signed_by(&chain[0]).expect("signed by the first");
    chain[0].signed_by(&chain[1]).expect("signed by the root");
    let anchors = TrustAnchors::from_pem(fleet.sim.root_pem().as_bytes()).expect("a root");
    anchors.accept_root(&chain[1]).expect("the trusted root");
    PckCertificate::from_certificate(leaf).expect("a PCK certificate")
}
