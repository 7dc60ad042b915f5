//! The PCK certificate that a quote names and does not have (certification data of types 1 to 3): looked up as a client
//! of that platform would get it.

use std::sync::Arc;

use data_encoding::HEXUPPER;
use thim_verify::{PckCertificate, PckName, PpidForm, UnixTime};

use super::Platforms;
use super::answer::PckShape;
use super::asking::PckAsk;
use super::registration::{EncryptedPpid, QeId};

impl Platforms {
    /// The certificate for the TCB that the quote names, of the platform that its QE id (the first 16 bytes of `user_data`)
    /// or its encrypted PPID names. With `fetch` the vendor is asked where the register does not know the platform.
    ///
    /// # Errors
    /// Why there is none, without secrets.
    pub async fn named_in_quote(
        self: &Arc<Self>,
        user_data: &[u8; 20],
        name: &PckName<'_>,
        fetch: bool,
        now: UnixTime,
    ) -> Result<PckCertificate, String> {
        let (qe_id, _) = user_data.split_at(QE_ID_BYTES);
        let qe_id: QeId = HEXUPPER
            .encode(qe_id)
            .parse()
            .map_err(|_| "the quote's QE id cannot be read".to_owned())?;
        let pce_id = name
            .pce_id
            .ok_or("the quote does not say which PCE it is of")?;
        let encrypted_ppid = match name.form {
            PpidForm::Rsa3072 => EncryptedPpid::from_hex(&HEXUPPER.encode(name.ppid)).ok(),
            // The register knows platforms by the form that the vendor takes, which is the other one.
            PpidForm::Clear | PpidForm::Rsa2048 => None,
        };
        let ask = PckAsk {
            qe_id,
            pce_id,
            raw_tcb: name.tcb,
            encrypted_ppid,
        };
        if !fetch {
            let known = self.find(&ask).await.map_err(|error| error.to_string())?;
            known.ok_or("the register does not know the platform that the quote names")?;
        }
        let found = self.answer(&ask, now).await;
        let found = found.map_err(|refusal| refusal.detail)?;
        let pem = found.ready.serve(PckShape::Pem, now).body;
        let certificates = thim_verify::Certificate::from_pem_bundle(&pem);
        let leaf = certificates
            .ok()
            .and_then(|certificates| certificates.into_iter().next())
            .ok_or("the register's certificate cannot be read")?;
        PckCertificate::from_certificate(leaf).map_err(|error| error.to_string())
    }
}

/// Of the header's user data; spec/intel-verification.md, section 1.
const QE_ID_BYTES: usize = 16;
