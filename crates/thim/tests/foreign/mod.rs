//! A verifier that no one here wrote: the `sev` crate of the VirTEE project, with its RustCrypto backend.
//!
//! Functions of bytes, so that whatever came over HTTP can be handed to it. It checks signatures: of the root by
//! itself, of ASK and VCEK, of the report. It looks at no dates, no revocation, no names, no TCB and no chip, and takes
//! the root it is given; with [`Root::Builtin`] it is given its own copy of AMD's.

#![allow(dead_code, reason = "each test file uses its part")]

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sev::certs::snp::{Certificate, Chain, Verifiable, builtin, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;
use thim_verify::amd::Product;

/// Which ARK the chain must end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The crate's own copy of AMD's, whatever root the chain brings.
    Builtin(Product),
    /// The chain's second certificate: for a simulated AMD.
    OfChain,
}

/// Its verdict about a VCEK or VLEK (DER), a chain as key servers serve it (PEM), and a report.
pub fn verdict(leaf: &[u8], chain: &[u8], report: &[u8], root: Root) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let ders: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let ders = ders.map_err(|error| text(&error))?;
    let [ask, ark] = ders.as_slice() else {
        return Err(format!("{} certificates in the chain", ders.len()));
    };
    let der = |der: &[u8]| Certificate::from_der(der);
    let ark = match root {
        Root::Builtin(Product::Genoa) => builtin::genoa::ark(),
        Root::Builtin(Product::Milan) => builtin::milan::ark(),
        Root::Builtin(Product::Turin) => builtin::turin::ark(),
        Root::Builtin(Product::Venice) => return Err("it knows no Venice".to_owned()),
        Root::OfChain => der(ark),
    };
    let chain = Chain {
        ca: ca::Chain {
            ark: ark.map_err(|error| text(&error))?,
            ask: der(ask).map_err(|error| text(&error))?,
        },
        vek: der(leaf).map_err(|error| text(&error))?,
    };
    let report = AttestationReport::from_bytes(report).map_err(|error| text(&error))?;
    (&chain, &report).verify().map_err(|error| text(&error))
}
