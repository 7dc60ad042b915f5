//! The processor itself, through `/dev/sev` and the `sev` crate.
//!
//! NOT RUN ON HARDWARE: there was no SEV-SNP machine when this was written. It compiles against the crate's interface
//! and follows its documentation; what it makes of the crate's answers is tested, the ioctls are not.
//!
//! Two questions: SEV_GET_ID2 for the chip's id (64 bytes; Turin's has 8 and zeros, or 8 alone), SNP_PLATFORM_STATUS
//! for the reported TCB. The crate tells the product by CPUID. No question changes anything in the processor.
//! Source: the crate, version 8.0.0, `src/firmware/host/mod.rs`; spec/amd-kds-and-thim.md, 5.2.

use sev::Generation;
use sev::error::UserApiError;
use sev::firmware::host::{Firmware, Identifier, TcbVersion as DeviceTcb};
use thim_verify::amd::{HwId, Product, Products, SnpTcb, TcbVersion};

use super::{Host, HostError};

/// Asks the processor.
pub(super) fn look(products: &Products) -> Result<Host, HostError> {
    let mut firmware = Firmware::open().map_err(|error| {
        HostError(format!(
            "/dev/sev: {error} (an SEV-SNP host's kernel makes it; the agent's group must be allowed to read and write it)"
        ))
    })?;
    let refused = |what: &'static str| {
        move |error: UserApiError| HostError(format!("/dev/sev refused {what}: {error}"))
    };
    let id = firmware
        .get_identifier()
        .map_err(refused("the chip's id"))?;
    let status = firmware
        .snp_platform_status()
        .map_err(refused("the platform's status"))?;
    let generation = Generation::identify_host_generation()
        .map_err(|error| HostError(format!("the processor's generation: {error}")))?;
    host(products, generation, &id, &status.reported_tcb_version)
}

/// What the crate's answers mean.
fn host(
    products: &Products,
    generation: Generation,
    id: &Identifier,
    reported: &DeviceTcb,
) -> Result<Host, HostError> {
    let product = match generation {
        Generation::Milan => Product::Milan,
        Generation::Genoa => Product::Genoa,
        Generation::Turin => Product::Turin,
        Generation::Venice => Product::Venice,
    };
    let facts = products.facts(product);
    let hw_id = HwId::from_bytes(facts, &id.0).map_err(|error| HostError(error.to_string()))?;
    let tcb = SnpTcb {
        fmc: reported.fmc,
        boot_loader: reported.bootloader,
        tee: reported.tee,
        snp: reported.snp,
        microcode: reported.microcode,
    };
    let number = tcb
        .to_u64(facts)
        .map_err(|error| HostError(format!("the reported TCB: {error}")))?;
    Host::new(products, Some(product), hw_id, TcbVersion(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_crate_answers_and_its_near_misses() {
        let products = Products::builtin();
        let level = DeviceTcb::new(None, 3, 0, 8, 115);
        let of = |generation, bytes: Vec<u8>, level: &DeviceTcb| {
            host(&products, generation, &Identifier(bytes), level)
        };
        let milan = of(Generation::Milan, vec![7; 64], &level).expect("Milan");
        assert_eq!(milan.tcb.to_tcbm_hex(), "7308000000000003");
        assert_eq!(milan.product, Some(Product::Milan));

        let turin_level = DeviceTcb::new(Some(1), 1, 1, 4, 81);
        let mut padded = vec![7; 8];
        let short = of(Generation::Turin, padded.clone(), &turin_level).expect("Turin");
        padded.resize(64, 0);
        assert_eq!(of(Generation::Turin, padded, &turin_level), Ok(short));
        assert_eq!(short.tcb.to_tcbm_hex(), "5100000004010101");

        for (generation, bytes, level) in [
            (Generation::Milan, vec![7; 63], &level),
            (Generation::Milan, vec![0; 64], &level),
            (Generation::Milan, vec![7; 64], &turin_level),
            (Generation::Turin, vec![7; 64], &turin_level),
            (Generation::Turin, vec![7; 8], &level),
        ] {
            assert!(of(generation, bytes, level).is_err());
        }
    }
}
