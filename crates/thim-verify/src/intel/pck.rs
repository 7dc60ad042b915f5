//! PCK certificates: the leaves that Intel issues for each TCB level of each platform.
//!
//! Parsing demands what makes a certificate a PCK certificate: the leaf's name, one of the two issuing authorities by
//! its exact name (PCCS takes any that contains `Platform` or `Processor`), no authority of its own, and the SGX
//! extension. Who signed it, and whether it is valid or revoked, is said by [`verify_pck`](crate::verify_pck).
//! Source: Intel SGX PCK Certificate and CRL profile.

use std::fmt;
use std::sync::Arc;

use super::raw_tcb::RawTcb;
use super::sgx_extension::{PckConfiguration, PlatformInstanceId, Ppid, SgxExtension, SgxType};
use crate::error::excerpt;
use crate::ids::PCK_CN;
use crate::{Certificate, Error, Fmspc, PceId, PckCa};

/// A parsed PCK certificate; cheap to clone, equal when the DER is. What identifies the platform never appears in
/// its debug form.
#[derive(Clone)]
pub struct PckCertificate(Arc<Fields>);

struct Fields {
    certificate: Certificate,
    ca: PckCa,
    extension: SgxExtension,
}

impl PckCertificate {
    /// Parses DER.
    ///
    /// # Errors
    /// Those of [`Certificate::from_der`] and [`PckCertificate::from_certificate`].
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        Certificate::from_der(der).and_then(Self::from_certificate)
    }

    /// Reads what a certificate says as a PCK certificate.
    ///
    /// # Errors
    /// [`Error::WrongIssuer`] when it names another issuer than the two authorities, has another name than a PCK
    /// certificate's, or is an authority itself; [`Error::Format`] about the extension.
    pub fn from_certificate(certificate: Certificate) -> Result<Self, Error> {
        let wrong = |expected: &str, found: &str| Error::WrongIssuer {
            expected: expected.to_owned(),
            found: excerpt(found),
        };
        let ca = PckCa::ALL
            .into_iter()
            .find(|ca| ca.common_name() == certificate.issuer_cn())
            .ok_or_else(|| wrong("an issuer of PCK certificates", certificate.issuer_cn()))?;
        if certificate.subject_cn() != PCK_CN {
            return Err(wrong(PCK_CN, certificate.subject_cn()));
        }
        if certificate.is_ca() {
            return Err(wrong("a PCK certificate with CA:FALSE", "CA:TRUE"));
        }
        let extension = certificate
            .sgx_extension()
            .ok_or_else(|| Error::format("PCK certificate", "no SGX extension"))
            .and_then(SgxExtension::parse)?;
        Ok(Self(Arc::new(Fields {
            certificate,
            ca,
            extension,
        })))
    }

    /// The certificate itself.
    pub fn certificate(&self) -> &Certificate {
        &self.0.certificate
    }

    /// The authority that it names as its issuer.
    pub fn ca(&self) -> PckCa {
        self.0.ca
    }

    /// The platform it is for.
    pub fn ppid(&self) -> &Ppid {
        &self.0.extension.ppid
    }

    /// The TCB it is for: CPUSVN and PCESVN.
    pub fn tcbm(&self) -> RawTcb {
        self.0.extension.tcbm
    }

    /// The 16 component versions of that TCB; what TCB levels are compared with when a quote is verified.
    pub fn components(&self) -> [u8; 16] {
        self.0.extension.components
    }

    /// The provisioning certification enclave of the platform.
    pub fn pce_id(&self) -> PceId {
        self.0.extension.pce_id
    }

    /// Family, model, stepping and type of the platform.
    pub fn fmspc(&self) -> Fmspc {
        self.0.extension.fmspc
    }

    /// How the platform protects memory.
    pub fn sgx_type(&self) -> SgxType {
        self.0.extension.sgx_type
    }

    /// The platform as it was registered; the Platform CA's certificates have it.
    pub fn platform_instance_id(&self) -> Option<&PlatformInstanceId> {
        self.0.extension.platform_instance_id.as_ref()
    }

    /// The platform's set-up; the Platform CA's certificates have it.
    pub fn configuration(&self) -> Option<PckConfiguration> {
        self.0.extension.configuration
    }
}

impl PartialEq for PckCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.certificate == other.0.certificate
    }
}

impl Eq for PckCertificate {}

impl fmt::Debug for PckCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PckCertificate")
            .field("sha256", &self.0.certificate.digest().short())
            .field("ca", &self.0.ca.name())
            .field("fmspc", &self.fmspc().to_string())
            .field("tcbm", &self.tcbm().to_string())
            .finish_non_exhaustive()
    }
}
