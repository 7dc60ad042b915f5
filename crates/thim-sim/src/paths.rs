//! From method, path and query to what is asked for, or why it is refused.
//!
//! Written from spec/intel-pcs-and-pccs.md section 4. Stricter than a server must be where that teaches clients
//! manners: parameter values are taken in the documented spelling only (hex digits in either case), doubled parameters
//! are 400. Unknown parameters are ignored. Versions 2 and 3 answer 410 for every path, as Intel's end of life does.

use crate::evaluation::{EvaluationNumbers, NotServed, Selector};
use crate::fleet::Family;
use crate::identity::Enclave;
use crate::management::Ca;
use crate::pck_paths::{self, PckCall, PckRequest, RegistrationCall};
use crate::shared::{ROOT_CRL_PATH, Shared};
use crate::tcb_info::Tee;
use crate::vendor::Artefact;
use crate::wire::Request;

/// What a well-formed request asks for.
pub(crate) enum Asked {
    /// An add-request to take in.
    AddPackage(Vec<u8>),
    Fmspcs(Option<&'static str>),
    Pck(PckRequest),
    /// A platform manifest to register directly.
    Register(Vec<u8>),
    Signed(Artefact, Encoding),
}

/// PCK CRLs come as PEM unless DER is asked for; all else has one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Der,
    Json,
    Pem,
}

/// Why a request gets no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadRequest(&'static str),
    Gone(&'static str),
    /// With the methods that are.
    MethodNotAllowed(&'static str),
    NotFound,
    /// 400 with an `Error-Code` other than that of a malformed request.
    Rejected(ErrorCode),
    Unauthorized,
    UnsupportedMediaType,
}

/// The registration service's `Error-Code`s that the simulator has occasion for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    CachedKeysPolicyViolation,
    InvalidAddRequest,
    InvalidPlatformManifest,
    InvalidRegistrationServer,
    PlatformNotFound,
}

/// From method, path and query to what is asked for.
pub(crate) fn resolve(
    shared: &Shared,
    numbers: &EvaluationNumbers,
    request: &Request,
    now: i64,
) -> Result<Asked, Refusal> {
    let readable = || match request.method.as_str() {
        "GET" | "HEAD" => Ok(()),
        _ => Err(Refusal::MethodNotAllowed("GET, HEAD")),
    };
    // The calls that answer 401 are those the specification lists it for; the lists and registration are open to all.
    let keyed = || match &shared.api_key {
        Some(key) if request.api_key.as_ref() != Some(key) => Err(Refusal::Unauthorized),
        Some(_) | None => Ok(()),
    };
    if let Some(call) = registration_call(request.path()) {
        return match (request.method.as_str(), call) {
            ("POST", RegistrationCall::Package) => {
                keyed().and_then(|()| pck_paths::registration(call, request))
            }
            ("POST", RegistrationCall::Platform) => pck_paths::registration(call, request),
            (_, _) => Err(Refusal::MethodNotAllowed("POST")),
        };
    }
    if request.path() == ROOT_CRL_PATH {
        readable()?;
        return Ok(Asked::Signed(Artefact::Crl(Ca::Root), Encoding::Der));
    }
    let (tee, version, call) = split_path(request.path()).ok_or(Refusal::NotFound)?;
    match version {
        "v4" => {}
        "v2" | "v3" => return Err(Refusal::Gone(END_OF_LIFE)),
        _ => return Err(Refusal::NotFound),
    }
    if let (Tee::Sgx, Some(pck)) = (tee, pck_call(call)) {
        return match request.method.as_str() {
            "GET" | "HEAD" => {
                keyed()?;
                pck_paths::by_query(pck, &Parameters::parse(request.query())?, request)
            }
            "POST" => keyed().and_then(|()| pck_paths::by_body(pck, request)),
            _ => Err(Refusal::MethodNotAllowed("GET, HEAD, POST")),
        };
    }
    readable()?;
    let parameters = Parameters::parse(request.query())?;
    match (tee, call) {
        (_, "tcb") => keyed().and_then(|()| tcb_info(tee, &parameters, numbers, now)),
        (Tee::Sgx, "qae/identity") => {
            keyed().and_then(|()| identity(Enclave::Qae, &parameters, numbers, now))
        }
        (Tee::Sgx, "qe/identity") => {
            keyed().and_then(|()| identity(Enclave::Qe, &parameters, numbers, now))
        }
        (Tee::Sgx, "qve/identity") => {
            keyed().and_then(|()| identity(Enclave::Qve, &parameters, numbers, now))
        }
        (Tee::Tdx, "qe/identity") => {
            keyed().and_then(|()| identity(Enclave::TdQe, &parameters, numbers, now))
        }
        (_, "tcbevaluationdatanumbers") => {
            Ok(Asked::Signed(Artefact::NumberList(tee), Encoding::Json))
        }
        (Tee::Sgx, "pckcrl") => keyed().and_then(|()| pck_crl(&parameters)),
        (Tee::Sgx, "fmspcs") => fmspc_filter(&parameters),
        _ => Err(Refusal::NotFound),
    }
}

/// `/sgx/certification/v4/qe/identity` to (SGX, `v4`, `qe/identity`).
fn split_path(path: &str) -> Option<(Tee, &str, &str)> {
    let (tee, rest) = match path.strip_prefix("/sgx/certification/") {
        Some(rest) => (Tee::Sgx, rest),
        None => (Tee::Tdx, path.strip_prefix("/tdx/certification/")?),
    };
    let (version, call) = rest.split_once('/')?;
    Some((tee, version, call))
}

fn registration_call(path: &str) -> Option<RegistrationCall> {
    match path.strip_prefix("/sgx/registration/v1/")? {
        "package" => Some(RegistrationCall::Package),
        "platform" => Some(RegistrationCall::Platform),
        _ => None,
    }
}

fn pck_call(call: &str) -> Option<PckCall> {
    match call {
        "pckcert" => Some(PckCall::Best),
        "pckcerts" => Some(PckCall::Every),
        "pckcerts/config" => Some(PckCall::Configured),
        _ => None,
    }
}

fn tcb_info(
    tee: Tee,
    parameters: &Parameters,
    numbers: &EvaluationNumbers,
    now: i64,
) -> Result<Asked, Refusal> {
    let fmspc = parameters
        .get("fmspc")
        .filter(|fmspc| fmspc.len() == 12 && fmspc.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or(Refusal::BadRequest("fmspc: 12 hex digits"))?;
    let selector = selector(parameters)?;
    let family = Family::find(&fmspc.to_ascii_uppercase())
        .filter(|family| tee == Tee::Sgx || family.tdx_module_svn_at_16.is_some())
        .ok_or(Refusal::NotFound)?;
    let number = select(numbers, selector, now)?;
    let artefact = Artefact::TcbInfo {
        tee,
        fmspc: family.fmspc,
        number,
    };
    Ok(Asked::Signed(artefact, Encoding::Json))
}

fn identity(
    enclave: Enclave,
    parameters: &Parameters,
    numbers: &EvaluationNumbers,
    now: i64,
) -> Result<Asked, Refusal> {
    let number = select(numbers, selector(parameters)?, now)?;
    let artefact = Artefact::Identity { enclave, number };
    Ok(Asked::Signed(artefact, Encoding::Json))
}

fn pck_crl(parameters: &Parameters) -> Result<Asked, Refusal> {
    let ca = match parameters.get("ca") {
        Some("platform") => Ca::Platform,
        Some("processor") => Ca::Processor,
        Some(_) | None => return Err(Refusal::BadRequest("ca: processor or platform")),
    };
    let encoding = match parameters.get("encoding") {
        Some("der") => Encoding::Der,
        Some("pem") | None => Encoding::Pem,
        Some(_) => return Err(Refusal::BadRequest("encoding: pem or der")),
    };
    Ok(Asked::Signed(Artefact::Crl(ca), encoding))
}

fn fmspc_filter(parameters: &Parameters) -> Result<Asked, Refusal> {
    let platform = match parameters.get("platform") {
        Some("all") | None => None,
        Some("client") => Some("client"),
        Some("E3") => Some("E3"),
        Some("E5") => Some("E5"),
        Some(_) => return Err(Refusal::BadRequest("platform: all, client, E3 or E5")),
    };
    Ok(Asked::Fmspcs(platform))
}

/// `update` or `tcbEvaluationDataNumber`, never both.
fn selector(parameters: &Parameters) -> Result<Selector, Refusal> {
    match (
        parameters.get("update"),
        parameters.get("tcbEvaluationDataNumber"),
    ) {
        (Some(_), Some(_)) => Err(Refusal::BadRequest(
            "update and tcbEvaluationDataNumber exclude each other",
        )),
        (Some("early"), None) => Ok(Selector::Early),
        (Some("standard"), None) | (None, None) => Ok(Selector::Standard),
        (Some(_), None) => Err(Refusal::BadRequest("update: early or standard")),
        (None, Some(number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => number
            .parse()
            .map(Selector::Number)
            .map_err(|_| Refusal::BadRequest("tcbEvaluationDataNumber: too large or empty")),
        (None, Some(_)) => Err(Refusal::BadRequest("tcbEvaluationDataNumber: digits")),
    }
}

fn select(numbers: &EvaluationNumbers, selector: Selector, now: i64) -> Result<u32, Refusal> {
    numbers.select(selector, now).map_err(|not| match not {
        NotServed::Unknown => Refusal::NotFound,
        NotServed::Withdrawn => Refusal::Gone("This TCB evaluation data number is withdrawn."),
    })
}

/// The query's parameters, percent-decoded; `+` stays a plus.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn parse(query: &str) -> Result<Self, Refusal> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (percent_decode(name)?, percent_decode(value)?);
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::BadRequest("a parameter is given twice"));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

fn percent_decode(text: &str) -> Result<String, Refusal> {
    const BAD: Refusal = Refusal::BadRequest("the query is not percent-encoded UTF-8");
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().ok_or(BAD)?, bytes.next().ok_or(BAD)?];
            let byte = data_encoding::HEXLOWER_PERMISSIVE
                .decode(&digits)
                .map_err(|_| BAD)?;
            decoded.extend(byte);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).map_err(|_| BAD)
}

/// spec/intel-pcs-and-pccs.md section 1.1.
const END_OF_LIFE: &str = "The Intel PCS API version 3 reached planned EOL. Accordingly, collateral from this API \
                           version cannot be retrieved any longer.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_into_tee_version_and_call() {
        assert_eq!(
            split_path("/tdx/certification/v4/qe/identity"),
            Some((Tee::Tdx, "v4", "qe/identity"))
        );
        assert_eq!(split_path("/sgx/certification/v4"), None);
        assert_eq!(split_path("/amd/certification/v4/tcb"), None);
    }

    #[test]
    fn the_number_and_update_exclude_each_other() {
        let selector = |query| selector(&Parameters::parse(query).unwrap_or(Parameters(vec![])));
        assert_eq!(selector(""), Ok(Selector::Standard));
        assert_eq!(selector("update=early"), Ok(Selector::Early));
        assert_eq!(
            selector("tcbEvaluationDataNumber=19"),
            Ok(Selector::Number(19))
        );
        for bad in [
            "update=early&tcbEvaluationDataNumber=19",
            "update=EARLY",
            "update=",
            "tcbEvaluationDataNumber=",
            "tcbEvaluationDataNumber=-1",
            "tcbEvaluationDataNumber=%2B1",
            "tcbEvaluationDataNumber=99999999999",
        ] {
            assert!(selector(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_are_decoded_and_not_doubled() {
        let parameters = Parameters::parse("c%61=pl%61tform&x=a+b").ok();
        let parameters = parameters.expect("it is well-formed");
        assert_eq!(parameters.get("ca"), Some("platform"));
        assert_eq!(parameters.get("x"), Some("a+b"));
        for bad in ["a=1&a=1", "a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(Parameters::parse(bad).is_err(), "{bad}");
        }
    }
}
