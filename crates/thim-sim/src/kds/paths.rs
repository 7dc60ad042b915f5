//! From method, path and query to what KDS is asked for, or why it is refused.
//!
//! Written from spec/amd-kds-and-thim.md sections 1.1 and 1.2. Parameters come in any order, unpadded or padded with
//! zeros to three digits at most, hex digits in either case; product names in one case only. Where KDS's answer is not
//! known the simulator refuses: a level missing, doubled, out of range or of another name is 400.

use crate::kds::product::{AmdCa, AmdProduct};
use crate::kds::tcb::{MAX_SPL, SimTcb};
use crate::paths::Parameters;
use crate::wire::Request;
use data_encoding::HEXLOWER_PERMISSIVE;

/// What a well-formed request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Chain(AmdCa, AmdProduct),
    Crl(AmdCa, AmdProduct),
    Vcek {
        product: AmdProduct,
        hwid: Vec<u8>,
        tcb: SimTcb,
    },
}

/// Why a request gets no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadRequest(&'static str),
    MethodNotAllowed,
    NotFound,
    /// Too early, with the seconds to wait.
    Throttled(u64),
    /// A VLEK, without a cloud provider's credential.
    Unauthorized,
}

/// From method, path and query to what is asked for.
pub(crate) fn resolve(request: &Request) -> Result<Wanted, Refusal> {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Err(Refusal::MethodNotAllowed);
    }
    let (ca, product, object) = split_path(request.path()).ok_or(Refusal::NotFound)?;
    let product = AmdProduct::find(product).ok_or(Refusal::NotFound)?;
    match (ca, object) {
        (_, "cert_chain") => Ok(Wanted::Chain(ca, product)),
        (_, "crl") => Ok(Wanted::Crl(ca, product)),
        (AmdCa::Ask, hwid) => Ok(Wanted::Vcek {
            product,
            hwid: parse_hwid(product, hwid)?,
            tcb: parse_tcb(product, request.query())?,
        }),
        // Which header carries the credential is not public, so no request has it.
        (AmdCa::Asvk, "cert") => Err(Refusal::Unauthorized),
        (AmdCa::Asvk, _) => Err(Refusal::NotFound),
    }
}

/// `/vcek/v1/Milan/crl` to (ASK, `Milan`, `crl`).
fn split_path(path: &str) -> Option<(AmdCa, &str, &str)> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let line = parts.next()?;
    let ca = AmdCa::ALL.into_iter().find(|ca| ca.line() == line)?;
    match (parts.next()?, parts.next()?, parts.next()?, parts.next()) {
        ("v1", product, object, None) => Some((ca, product, object)),
        _ => None,
    }
}

fn parse_hwid(product: AmdProduct, text: &str) -> Result<Vec<u8>, Refusal> {
    HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .ok()
        .filter(|hwid| hwid.len() == product.hwid_bytes())
        .ok_or(Refusal::BadRequest("hwid: 128 hex digits, 16 for Turin"))
}

fn parse_tcb(product: AmdProduct, query: &str) -> Result<SimTcb, Refusal> {
    let malformed = Refusal::BadRequest("the query is malformed or names a parameter twice");
    let parameters = Parameters::parse(query).map_err(|_| malformed)?;
    let fmc_spl: &[&str] = if product.has_fmc() { &["fmcSPL"] } else { &[] };
    let unknown = parameters
        .names()
        .any(|name| !SPLS.contains(&name) && !fmc_spl.contains(&name));
    if unknown {
        return Err(Refusal::BadRequest(
            "a parameter KDS does not have for this product",
        ));
    }
    let level = |name, most: u8| {
        parameters
            .get(name)
            .filter(|text| (1..=3).contains(&text.len()))
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse::<u8>().ok())
            .filter(|level| *level <= most)
            .ok_or(Refusal::BadRequest("a level is missing or out of range"))
    };
    let fmc = product.has_fmc().then(|| level("fmcSPL", MAX_SPL));
    Ok(SimTcb {
        fmc: fmc.transpose()?,
        boot_loader: level("blSPL", MAX_SPL)?,
        tee: level("teeSPL", MAX_SPL)?,
        snp: level("snpSPL", MAX_SPL)?,
        microcode: level("ucodeSPL", u8::MAX)?,
    })
}

const SPLS: [&str; 4] = ["blSPL", "teeSPL", "snpSPL", "ucodeSPL"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_into_line_product_and_object() {
        assert_eq!(
            split_path("/vlek/v1/Milan/crl"),
            Some((AmdCa::Asvk, "Milan", "crl"))
        );
        for path in [
            "/vcek/v2/Milan/crl",
            "/vcek/v1/Milan",
            "/vcek/v1/Milan/crl/",
            "//vcek/v1/Milan/crl",
            "/cek/id/00",
        ] {
            assert_eq!(split_path(path), None, "{path}");
        }
    }

    #[test]
    fn levels_are_read_in_every_spelling_clients_have() {
        let tcb = Ok(SimTcb::new(3, 0, 24, 219));
        for query in [
            "blSPL=3&teeSPL=0&snpSPL=24&ucodeSPL=219",
            "blSPL=03&teeSPL=00&snpSPL=24&ucodeSPL=219",
            "ucodeSPL=219&snpSPL=024&teeSPL=0&blSPL=3",
        ] {
            assert_eq!(parse_tcb(AmdProduct::Milan, query), tcb, "{query}");
        }
        let turin = "fmcSPL=1&blSPL=1&teeSPL=1&snpSPL=4&ucodeSPL=81";
        let tcb = SimTcb::new(1, 1, 4, 81).with_fmc(1);
        assert_eq!(parse_tcb(AmdProduct::Turin, turin), Ok(tcb));
        assert!(parse_tcb(AmdProduct::Milan, turin).is_err());
    }

    #[test]
    fn levels_out_of_shape_are_refused() {
        for query in [
            "",
            "blSPL=3&teeSPL=0&snpSPL=24",
            "blSPL=3&teeSPL=0&snpSPL=24&ucodeSPL=256",
            "blSPL=128&teeSPL=0&snpSPL=24&ucodeSPL=219",
            "blSPL=3&teeSPL=0&snpSPL=24&ucodeSPL=0219",
            "blSPL=+3&teeSPL=0&snpSPL=24&ucodeSPL=219",
            "blSPL=&teeSPL=0&snpSPL=24&ucodeSPL=219",
            "blSPL=3&blSPL=3&teeSPL=0&snpSPL=24&ucodeSPL=219",
            "blSPL=3&teeSPL=0&snpSPL=24&ucodeSPL=219&spl4=0",
            "BLSPL=3&teeSPL=0&snpSPL=24&ucodeSPL=219",
        ] {
            assert!(parse_tcb(AmdProduct::Milan, query).is_err(), "{query}");
        }
        let no_fmc = "blSPL=1&teeSPL=1&snpSPL=4&ucodeSPL=81";
        assert!(parse_tcb(AmdProduct::Turin, no_fmc).is_err());
    }
}
