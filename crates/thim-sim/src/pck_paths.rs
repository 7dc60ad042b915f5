//! Requests for PCK certificates and for registration, from query or body to what is asked for.
//!
//! Written from spec/intel-pcs-and-pccs.md section 4: parameter lengths, body members and sizes as there, hex digits in
//! either case. What is refused here is malformed; whether the platform is known is decided in `population`.

use crate::manifest::{ENCRYPTED_PPID_BYTES, MANIFEST_HEX_DIGITS};
use crate::paths::{Asked, Parameters, Refusal};
use crate::pck_tcb::{PckTcb, hex_array};
use crate::wire::Request;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;

/// A well-formed request for PCK certificates. No `Debug`: manifests are not to be printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PckRequest {
    pub(crate) platform: PlatformNamed,
    pub(crate) pce_id: [u8; 2],
    pub(crate) wanted: Wanted,
}

/// How a request names its platform.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PlatformNamed {
    EncryptedPpid(Vec<u8>),
    Manifest(Vec<u8>),
}

/// Which certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `pckcert`: the best one for a raw TCB.
    Best(PckTcb),
    /// `pckcerts/config`: those of the hardware configuration of a CPUSVN.
    Configured([u8; 16]),
    /// `pckcerts`.
    Every,
}

/// The three calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PckCall {
    Best,
    Configured,
    Every,
}

/// The two calls of the registration service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegistrationCall {
    Package,
    Platform,
}

/// `pckcert` and its kin by GET: the platform is named by its encrypted PPID.
pub(crate) fn by_query(
    call: PckCall,
    parameters: &Parameters,
    request: &Request,
) -> Result<Asked, Refusal> {
    // The service encrypts to no other key.
    if request
        .ppid_encryption_key
        .as_deref()
        .is_some_and(|kind| kind != "RSA-3072")
    {
        return Err(Refusal::BadRequest("PPID-Encryption-Key: RSA-3072"));
    }
    let encrypted_ppid = parameters
        .get("encrypted_ppid")
        .filter(|text| text.len() == ENCRYPTED_PPID_BYTES * 2)
        .and_then(|text| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok())
        .ok_or(Refusal::BadRequest("encrypted_ppid: 768 hex digits"))?;
    let parameter = |name| parameters.get(name).unwrap_or_default();
    Ok(Asked::Pck(PckRequest {
        platform: PlatformNamed::EncryptedPpid(encrypted_ppid),
        pce_id: pce_id(parameter("pceid"))?,
        wanted: wanted(call, parameter("cpusvn"), parameter("pcesvn"))?,
    }))
}

/// The JSON body of the POST calls; unknown members are ignored, as unknown parameters are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PckBody {
    platform_manifest: String,
    #[serde(default)]
    cpusvn: String,
    #[serde(default)]
    pcesvn: String,
    pceid: String,
}

/// `pckcert` and its kin by POST: the platform is named by its manifest.
pub(crate) fn by_body(call: PckCall, request: &Request) -> Result<Asked, Refusal> {
    if !request.has_content_type("application/json") {
        return Err(Refusal::BadRequest("Content-Type: application/json"));
    }
    // serde's own message could quote the body.
    let body: PckBody = serde_json::from_slice(&request.body)
        .map_err(|_| Refusal::BadRequest("the body: JSON with platformManifest and pceid"))?;
    if !MANIFEST_HEX_DIGITS.contains(&body.platform_manifest.len()) {
        return Err(Refusal::BadRequest(
            "platformManifest: 16862 to 112884 hex digits",
        ));
    }
    let manifest = HEXLOWER_PERMISSIVE
        .decode(body.platform_manifest.as_bytes())
        .map_err(|_| Refusal::BadRequest("platformManifest: hex digits"))?;
    Ok(Asked::Pck(PckRequest {
        platform: PlatformNamed::Manifest(manifest),
        pce_id: pce_id(&body.pceid)?,
        wanted: wanted(call, &body.cpusvn, &body.pcesvn)?,
    }))
}

/// The binary bodies of the registration service.
pub(crate) fn registration(call: RegistrationCall, request: &Request) -> Result<Asked, Refusal> {
    if !request.has_content_type("application/octet-stream") {
        return Err(Refusal::UnsupportedMediaType);
    }
    match call {
        RegistrationCall::Package if request.body.is_empty() => {
            Err(Refusal::BadRequest("the body: an add-request"))
        }
        RegistrationCall::Package => Ok(Asked::AddPackage(request.body.clone())),
        RegistrationCall::Platform if MANIFEST_HEX_DIGITS.contains(&(request.body.len() * 2)) => {
            Ok(Asked::Register(request.body.clone()))
        }
        RegistrationCall::Platform => Err(Refusal::BadRequest(
            "the body: a platform manifest of 8431 to 56442 bytes",
        )),
    }
}

fn pce_id(text: &str) -> Result<[u8; 2], Refusal> {
    hex_array(text).ok_or(Refusal::BadRequest("pceid: 4 hex digits"))
}

fn wanted(call: PckCall, cpusvn: &str, pcesvn: &str) -> Result<Wanted, Refusal> {
    match call {
        PckCall::Best => {
            PckTcb::parse(cpusvn, pcesvn)
                .map(Wanted::Best)
                .ok_or(Refusal::BadRequest(
                    "cpusvn: 32 hex digits, pcesvn: 4 hex digits",
                ))
        }
        PckCall::Configured => hex_array(cpusvn)
            .map(Wanted::Configured)
            .ok_or(Refusal::BadRequest("cpusvn: 32 hex digits")),
        PckCall::Every => Ok(Wanted::Every),
    }
}
