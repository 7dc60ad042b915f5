//! Whatever comes in at the platform endpoints.

use thim_server::platforms::delivery::{self, Refused};
use thim_server::platforms::policy::Policy;
use thim_server::platforms::registration::{EncryptedPpid, Invalid, Manifest, QeId, Registration};

use crate::judge;

/// Whatever comes in at the platform endpoints: registrations in each form, collateral files, policies.
pub fn platform_bodies(data: &[u8]) {
    complete(Registration::from_json(data));
    complete(Registration::from_form(data));
    if let Ok(text) = std::str::from_utf8(data) {
        match Registration::from_csv(text) {
            Ok(all) => all.into_iter().for_each(|one| complete(Ok(one))),
            Err(fault) => told(&fault),
        }
    }
    if let Err(fault) = Policy::from_json(data) {
        told(&fault);
    }
    for version in [3, 4] {
        match delivery::read(data, version) {
            Ok(delivery) => {
                assert!(delivery.found.flaws.is_empty());
                delivery.platforms.iter().for_each(registered);
                assert!(delivery.certificates.iter().all(|one| {
                    one.list
                        .entries
                        .iter()
                        .any(|entry| matches!(entry.listed, thim_verify::Listed::Certificate(_)))
                }));
                for object in delivery.found.objects {
                    judge(object.unverified);
                }
            }
            Err(Refused::Invalid(fault)) => told(&fault),
            Err(Refused::RootsDiffer { .. }) => {}
        }
    }
}

/// What refuses a body is short, on one line, and names a field.
fn told(fault: &Invalid) {
    let text = fault.to_string();
    assert!(
        !fault.field.is_empty() && text.len() < 2048 && !text.contains(['\n', '\0']),
        "{text:?}"
    );
}
fn registered(one: &Registration) {
    assert_eq!(one.qe_id.as_str().parse::<QeId>().as_ref(), Ok(&one.qe_id));
    if let Some(ppid) = &one.encrypted_ppid {
        assert_eq!(
            EncryptedPpid::from_hex(&ppid.to_hex_upper()).as_ref(),
            Ok(ppid)
        );
    }
    if let Some(manifest) = &one.manifest {
        assert_eq!(
            Manifest::from_hex(&manifest.to_hex_upper()).as_ref(),
            Ok(manifest)
        );
    }
}
fn complete(read: Result<Registration, Invalid>) {
    match read {
        Ok(one) => {
            assert!(
                one.manifest.is_some() || (one.raw_tcb.is_some() && one.encrypted_ppid.is_some())
            );
            registered(&one);
        }
        Err(fault) => told(&fault),
    }
}
