//! The simulated vendor's keys and certificates: a root, two PCK CAs, the TCB signer and PCK certificates, fresh at each
//! start.
//!
//! Subject names, key usages, path lengths and CRL distribution points are as in Intel's certificates
//! (spec/intel-verification.md section 2, spec/intel-pcs-and-pccs.md section 7); the distribution points name the
//! simulator's own addresses, so a client that follows one stays inside. Signatures over JSON are the raw r||s of
//! ECDSA P-256 with SHA-256 (section 4). Keys never leave this file.

use crate::SimError;
use crate::management::{Ca, CaCertificate};
use crate::pem::{pem, percent_encode};
use crate::shared;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CustomExtension, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::time::Duration;

/// A certificate as the chain headers carry it.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) pem: String,
    serial: Vec<u8>,
    not_before: i64,
}

/// The certificate of one platform at one TCB level, with its key, under which the platform's quoting enclave is
/// certified.
#[derive(Clone)]
pub(crate) struct PckCertificate {
    pub(crate) der: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    pkcs8: Vec<u8>,
}

/// The vendor's whole hierarchy.
pub(crate) struct Pki {
    pcs_url: String,
    root: Authority,
    platform_ca: Authority,
    processor_ca: Authority,
    /// Every TCB signing certificate since the start, oldest first; never empty. The last one signs.
    signers: Vec<Signer>,
}

/// A CA: its certificate, the parameters that made it, and its key.
struct Authority {
    certificate: Certificate,
    params: CertificateParams,
    key: KeyPair,
}

/// A TCB signing certificate with its key. A re-issued certificate has the key of the one before.
struct Signer {
    certificate: Certificate,
    pkcs8: Vec<u8>,
}

/// The two certificates of a chain header.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    issuer_pem: String,
    root_pem: String,
}

impl Pki {
    /// Makes keys and certificates; the certificates begin a year before `now`.
    pub(crate) fn generate(now: i64, pcs_url: &str) -> Result<Self, SimError> {
        let crl_url = &shared::root_crl_url(pcs_url);
        let begin = now - YEAR;
        let root_key = KeyPair::generate()?;
        let root_params = params(Profile::Root, begin, begin + ROOT_YEARS * YEAR, crl_url)?;
        let root_der = root_params.self_signed(&root_key)?;
        let root = Authority {
            certificate: Certificate::new(root_der.der(), &root_params, begin),
            params: root_params,
            key: root_key,
        };
        let platform_ca = root.pck_ca(Profile::PlatformCa, begin, crl_url)?;
        let processor_ca = root.pck_ca(Profile::ProcessorCa, begin, crl_url)?;
        let signer = root.tcb_signer(KeyPair::generate()?, begin, crl_url)?;
        Ok(Self {
            pcs_url: pcs_url.to_owned(),
            root,
            platform_ca,
            processor_ca,
            signers: vec![signer],
        })
    }

    /// The root certificate.
    pub(crate) fn root_pem(&self) -> &str {
        &self.root.certificate.pem
    }

    /// A new TCB signing certificate from `now` on: for the same key when `reissue`, else for a new one.
    pub(crate) fn rotate_signer(&mut self, now: i64, reissue: bool) -> Result<(), SimError> {
        let key = if reissue {
            KeyPair::try_from(self.signers[self.signers.len() - 1].pkcs8.as_slice())?
        } else {
            KeyPair::generate()?
        };
        let crl_url = shared::root_crl_url(&self.pcs_url);
        let signer = self.root.tcb_signer(key, now, &crl_url)?;
        self.signers.push(signer);
        Ok(())
    }

    /// Signs a JSON object's exact bytes with the signer in force at `issued`: 128 lower-case hex digits.
    pub(crate) fn sign_json(&self, issued: i64, bytes: &[u8]) -> Result<String, SimError> {
        let signature = raw_signature(&self.signer_at(issued).pkcs8, bytes)?;
        Ok(data_encoding::HEXLOWER.encode(&signature))
    }

    /// The chain that goes with [`Pki::sign_json`].
    pub(crate) fn json_chain(&self, issued: i64) -> Chain {
        self.chain(&self.signer_at(issued).certificate)
    }

    /// Signs a CRL. Number 1 always and revocation dates equal to the issue date, as in every production CRL
    /// captured (spec/intel-verification.md section 2).
    pub(crate) fn sign_crl(
        &self,
        ca: Ca,
        issued: i64,
        next_update: i64,
        serials: &[Vec<u8>],
    ) -> Result<Vec<u8>, SimError> {
        let authority = self.authority(ca);
        let issuer = Issuer::from_params(&authority.params, &authority.key);
        let revoked_certs = serials
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                revocation_time: date_time_ymd(1970, 1, 1) + since_1970(issued),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            })
            .collect();
        let crl = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + since_1970(issued),
            next_update: date_time_ymd(1970, 1, 1) + since_1970(next_update),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&issuer)?;
        Ok(crl.der().to_vec())
    }

    /// A PCK certificate for a fresh key, with its `SGX-extension` in DER; valid for seven years from `not_before`.
    pub(crate) fn sign_pck(
        &self,
        ca: Ca,
        sgx_extension: Vec<u8>,
        not_before: i64,
    ) -> Result<PckCertificate, SimError> {
        let crl_url = shared::pck_crl_url(&self.pcs_url, ca);
        let end = not_before + PCK_YEARS * YEAR;
        let mut params = params(Profile::Pck, not_before, end, &crl_url)?;
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            &SGX_EXTENSION,
            sgx_extension,
        )];
        let authority = self.authority(ca);
        let issuer = Issuer::from_params(&authority.params, &authority.key);
        let key = KeyPair::generate()?;
        let issued = params.signed_by(&key, &issuer)?;
        Ok(PckCertificate {
            der: issued.der().to_vec(),
            serial: serial_of(&params),
            pkcs8: key.serialized_der().to_vec(),
        })
    }

    /// What is behind a PCK certificate in a chain, in PEM: its CA, then the root.
    pub(crate) fn pck_issuers(&self, ca: Ca) -> [String; 2] {
        let Chain {
            issuer_pem,
            root_pem,
        } = self.chain(&self.authority(ca).certificate);
        [issuer_pem, root_pem]
    }

    /// The chain of a PCK CRL and of PCK certificates; the root CRL has none.
    pub(crate) fn crl_chain(&self, ca: Ca) -> Option<Chain> {
        match ca {
            Ca::Platform | Ca::Processor => Some(self.chain(&self.authority(ca).certificate)),
            Ca::Root => None,
        }
    }

    /// The serial number of a certificate the root can revoke; of the TCB signer, the newest.
    pub(crate) fn serial(&self, certificate: CaCertificate) -> Vec<u8> {
        let certificate = match certificate {
            CaCertificate::PlatformCa => &self.platform_ca.certificate,
            CaCertificate::ProcessorCa => &self.processor_ca.certificate,
            CaCertificate::TcbSigning => &self.signers[self.signers.len() - 1].certificate,
        };
        certificate.serial.clone()
    }

    fn authority(&self, ca: Ca) -> &Authority {
        match ca {
            Ca::Platform => &self.platform_ca,
            Ca::Processor => &self.processor_ca,
            Ca::Root => &self.root,
        }
    }

    fn chain(&self, issuer: &Certificate) -> Chain {
        Chain {
            issuer_pem: issuer.pem.clone(),
            root_pem: self.root.certificate.pem.clone(),
        }
    }

    /// The newest signer whose certificate had begun; an object dated before all of them gets the first.
    fn signer_at(&self, issued: i64) -> &Signer {
        self.signers
            .iter()
            .rev()
            .find(|signer| signer.certificate.not_before <= issued)
            .unwrap_or(&self.signers[0])
    }
}

impl Authority {
    fn pck_ca(&self, profile: Profile, begin: i64, crl_url: &str) -> Result<Authority, SimError> {
        let key = KeyPair::generate()?;
        let params = params(profile, begin, begin + PCK_CA_YEARS * YEAR, crl_url)?;
        let issued = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key))?;
        Ok(Authority {
            certificate: Certificate::new(issued.der(), &params, begin),
            params,
            key,
        })
    }

    fn tcb_signer(&self, key: KeyPair, begin: i64, crl_url: &str) -> Result<Signer, SimError> {
        let end = begin + TCB_SIGNING_YEARS * YEAR;
        let params = params(Profile::TcbSigning, begin, end, crl_url)?;
        let issued = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key))?;
        Ok(Signer {
            certificate: Certificate::new(issued.der(), &params, begin),
            pkcs8: key.serialized_der().to_vec(),
        })
    }
}

impl Certificate {
    fn new(der: &[u8], params: &CertificateParams, not_before: i64) -> Self {
        Self {
            pem: pem("CERTIFICATE", der),
            serial: serial_of(params),
            not_before,
        }
    }
}

impl PckCertificate {
    /// The raw signature of the certificate's key.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SimError> {
        raw_signature(&self.pkcs8, message)
    }
}

impl Chain {
    /// The header value: percent-encoded PEM, issuer first and root last, ending in `%0A`.
    pub(crate) fn header(&self) -> String {
        percent_encode(&format!("{}{}", self.issuer_pem, self.root_pem))
    }

    /// The same with the root first.
    pub(crate) fn reversed_header(&self) -> String {
        percent_encode(&format!("{}{}", self.root_pem, self.issuer_pem))
    }
}

/// r||s of ECDSA P-256 with SHA-256, 64 bytes.
fn raw_signature(pkcs8: &[u8], message: &[u8]) -> Result<Vec<u8>, SimError> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
        .map_err(|_| SimError::Signature)?;
    let signature = pair
        .sign(&SystemRandom::new(), message)
        .map_err(|_| SimError::Signature)?;
    Ok(signature.as_ref().to_vec())
}

fn serial_of(params: &CertificateParams) -> Vec<u8> {
    params
        .serial_number
        .as_ref()
        .map(SerialNumber::to_bytes)
        .unwrap_or_default()
}

/// A positive random serial number of 20 octets, as Intel's are.
pub(crate) fn random_serial() -> Result<Vec<u8>, SimError> {
    let mut serial = [0; 20];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| SimError::Randomness)?;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    Ok(serial.to_vec())
}

/// Which of the five kinds of certificate, with Intel's constraints for each.
#[derive(Clone, Copy)]
enum Profile {
    Pck,
    PlatformCa,
    ProcessorCa,
    Root,
    TcbSigning,
}

impl Profile {
    fn common_name(self) -> &'static str {
        match self {
            Profile::Pck => "Intel SGX PCK Certificate",
            Profile::PlatformCa => "Intel SGX PCK Platform CA",
            Profile::ProcessorCa => "Intel SGX PCK Processor CA",
            Profile::Root => "Intel SGX Root CA",
            Profile::TcbSigning => "Intel SGX TCB Signing",
        }
    }

    fn is_ca(self) -> IsCa {
        match self {
            Profile::PlatformCa | Profile::ProcessorCa => {
                IsCa::Ca(BasicConstraints::Constrained(0))
            }
            Profile::Root => IsCa::Ca(BasicConstraints::Constrained(1)),
            Profile::Pck | Profile::TcbSigning => IsCa::ExplicitNoCa,
        }
    }

    fn key_usages(self) -> Vec<KeyUsagePurpose> {
        match self {
            Profile::PlatformCa | Profile::ProcessorCa | Profile::Root => {
                vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]
            }
            Profile::Pck | Profile::TcbSigning => vec![
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::ContentCommitment,
            ],
        }
    }
}

fn params(
    profile: Profile,
    not_before: i64,
    not_after: i64,
    crl_url: &str,
) -> Result<CertificateParams, SimError> {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, profile.common_name());
    name.push(DnType::OrganizationName, "Intel Corporation");
    name.push(DnType::LocalityName, "Santa Clara");
    name.push(DnType::StateOrProvinceName, "CA");
    name.push(
        DnType::CountryName,
        DnValue::PrintableString("US".try_into()?),
    );
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970(not_before);
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(not_after);
    // Set, because the default is made of the key: two certificates of one key would share it.
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
    params.is_ca = profile.is_ca();
    params.key_usages = profile.key_usages();
    params.use_authority_key_identifier_extension = true;
    params.crl_distribution_points = vec![CrlDistributionPoint {
        uris: vec![crl_url.to_owned()],
    }];
    Ok(params)
}

/// rcgen takes dates of the `time` crate; its own `date_time_ymd` and this spare us the dependency. Instants before
/// 1970 have no use here and become 1970.
fn since_1970(unix_seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(unix_seconds).unwrap_or(0))
}

const YEAR: i64 = 365 * 86_400;
/// Intel's validities: the root to 2049, the PCK CAs 15 years, TCB signing and PCK 7 (spec/intel-verification.md section 2).
const ROOT_YEARS: i64 = 21;
const PCK_CA_YEARS: i64 = 15;
const TCB_SIGNING_YEARS: i64 = 7;
const PCK_YEARS: i64 = 7;
/// spec/intel-pcs-and-pccs.md section 7.
const SGX_EXTENSION: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];
