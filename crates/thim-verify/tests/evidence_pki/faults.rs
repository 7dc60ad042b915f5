//! Single faults: what is wrong with the evidence, on what it fails, and what forgives it.

use thim_verify::QuoteRelaxation::{self, *};

use super::{Body, Recipe};

/// One fault.
pub struct Fault {
    pub name: &'static str,
    pub on: &'static [(u16, Body)],
    pub spoil: fn(&mut Recipe),
    /// The checks that fail, in order.
    pub failed: &'static [&'static str],
    /// What forgives it, all together; nothing does when there is none.
    pub forgiven: &'static [QuoteRelaxation],
}

const BOTH: &[(u16, Body)] = &[(3, Body::Sgx), (5, Body::Td15)];
const SGX: &[(u16, Body)] = &[(3, Body::Sgx), (4, Body::Sgx), (5, Body::Sgx)];
const TD: &[(u16, Body)] = &[
    (4, Body::Td10),
    (5, Body::Td10),
    (5, Body::Td15),
    (5, Body::Td15Extended),
];
const TD15: &[(u16, Body)] = &[(5, Body::Td15), (5, Body::Td15Extended)];
const EXTENDED: &[(u16, Body)] = &[(5, Body::Td15Extended)];

const fn fault(
    name: &'static str,
    on: &'static [(u16, Body)],
    failed: &'static [&'static str],
    forgiven: &'static [QuoteRelaxation],
    spoil: fn(&mut Recipe),
) -> Fault {
    Fault {
        name,
        on,
        spoil,
        failed,
        forgiven,
    }
}

/// Faults of the chain, the lists and the documents.
pub const OF_COLLATERAL: &[Fault] = &[
    fault(
        "leaf ended",
        BOTH,
        &["pck-chain-validity"],
        &[Expired],
        |one| {
            one.leaf.to = (2026, 3, 1);
        },
    ),
    fault(
        "leaf not begun",
        BOTH,
        &["pck-chain-validity"],
        &[NotYetValid],
        |one| {
            one.leaf.from = (2026, 4, 1);
        },
    ),
    fault(
        "authority ended",
        BOTH,
        &["pck-chain-validity"],
        &[Expired],
        |one| {
            one.authority.to = (2026, 3, 1);
        },
    ),
    fault(
        "authority and its list of the future",
        BOTH,
        &["pck-chain-validity", "pck-crl-validity"],
        &[NotYetValid],
        |one| {
            one.authority.from = (2026, 3, 20);
            one.pck_crl.this = (2026, 3, 20);
        },
    ),
    fault(
        "root ended",
        BOTH,
        &["pck-chain-validity"],
        &[Expired],
        |one| {
            one.root.to = (2026, 3, 1);
        },
    ),
    fault("leaf revoked", BOTH, &["pck-revocation"], &[], |one| {
        one.pck_crl.revoked.push(one.leaf.serial.to_vec());
    }),
    fault(
        "authority revoked",
        BOTH,
        &["pck-ca-revocation"],
        &[],
        |one| {
            one.authority.serial = &[0x61, 2];
            one.root_crl.revoked.push(vec![0x61, 2]);
        },
    ),
    fault(
        "signer revoked",
        BOTH,
        &["tcb-signer-revocation"],
        &[],
        |one| {
            one.signer.serial = &[0x62, 2];
            one.root_crl.revoked.push(vec![0x62, 2]);
        },
    ),
    fault(
        "list of another authority",
        BOTH,
        &["pck-revocation"],
        &[],
        |one| {
            one.another_list = true;
        },
    ),
    fault(
        "root CRL ended",
        BOTH,
        &["root-crl-validity"],
        &[Expired],
        |one| {
            one.root_crl.next = (2026, 3, 1);
        },
    ),
    fault(
        "root CRL of the future",
        BOTH,
        &["root-crl-validity"],
        &[NotYetValid],
        |one| {
            one.root_crl.this = (2026, 4, 1);
        },
    ),
    fault(
        "PCK CRL ended",
        BOTH,
        &["pck-crl-validity"],
        &[Expired],
        |one| {
            one.pck_crl.next = (2026, 3, 2);
        },
    ),
    fault(
        "PCK CRL of the future",
        BOTH,
        &["pck-crl-validity"],
        &[NotYetValid],
        |one| {
            one.pck_crl.this = (2026, 3, 20);
        },
    ),
    fault(
        "TCB info ended",
        BOTH,
        &["tcb-info-validity"],
        &[Expired],
        |one| {
            one.info("2026-03-31T", "2026-03-14T");
        },
    ),
    fault(
        "TCB info of the future",
        BOTH,
        &["tcb-info-validity"],
        &[NotYetValid],
        |one| {
            one.info("2026-03-01T", "2026-03-16T");
        },
    ),
    fault(
        "identity ended",
        BOTH,
        &["qe-identity-validity"],
        &[Expired],
        |one| {
            one.identity("2026-03-31T", "2026-03-14T");
        },
    ),
    fault(
        "identity of the future",
        BOTH,
        &["qe-identity-validity"],
        &[NotYetValid],
        |one| {
            one.identity("2026-03-01T", "2026-03-16T");
        },
    ),
    fault(
        "signer ended",
        BOTH,
        &["tcb-signer-validity"],
        &[Expired],
        |one| {
            one.signer.to = (2026, 3, 10);
        },
    ),
    fault(
        "signer and documents of the future",
        BOTH,
        &[
            "tcb-info-validity",
            "qe-identity-validity",
            "tcb-signer-validity",
        ],
        &[NotYetValid],
        |one| {
            one.signer.from = (2026, 3, 16);
            one.info("2026-03-01T", "2026-03-17T");
            one.identity("2026-03-01T", "2026-03-17T");
        },
    ),
    fault(
        "one ended, one of the future",
        BOTH,
        &["pck-crl-validity", "tcb-info-validity"],
        &[Expired, NotYetValid],
        |one| {
            one.pck_crl.next = (2026, 3, 2);
            one.info("2026-03-01T", "2026-03-16T");
        },
    ),
    fault("another FMSPC", BOTH, &["platform"], &[], |one| {
        one.info("00606A000000", "00606A000001");
    }),
    fault("another PCE id", BOTH, &["platform"], &[], |one| {
        one.info("\"pceId\":\"0000\"", "\"pceId\":\"0100\"");
    }),
    fault(
        "mixed numbers",
        BOTH,
        &["evaluation-numbers"],
        &[MixedNumbers],
        |one| {
            one.identity(
                "\"tcbEvaluationDataNumber\":19",
                "\"tcbEvaluationDataNumber\":18",
            );
        },
    ),
    fault("TCB info of TDX", SGX, &["tcb-info"], &[], |one| {
        one.tcb_info = Recipe::good(5, Body::Td15).tcb_info;
    }),
    fault("TCB info of SGX", TD, &["tcb-info"], &[], |one| {
        one.tcb_info = Recipe::good(3, Body::Sgx).tcb_info;
    }),
    fault("identity of the TD QE", SGX, &["qe-identity"], &[], |one| {
        one.identity("\"id\":\"QE\"", "\"id\":\"TD_QE\"");
    }),
    fault("identity of the QE", TD, &["qe-identity"], &[], |one| {
        one.identity("\"id\":\"TD_QE\"", "\"id\":\"QE\"");
    }),
    fault("identity of the QVE", BOTH, &["qe-identity"], &[], |one| {
        let from = if one.body == Body::Sgx {
            "\"QE\""
        } else {
            "\"TD_QE\""
        };
        one.identity(from, "\"QVE\"");
    }),
    fault(
        "no level for PCESVN",
        BOTH,
        &["tcb-level", "status"],
        &[],
        |one| {
            one.info("\"pcesvn\":13", "\"pcesvn\":14");
        },
    ),
    fault(
        "no level for the enclave",
        BOTH,
        &["qe-tcb-level", "status"],
        &[],
        |one| {
            one.qe_report[258] = 5;
        },
    ),
];

/// Faults of the quote.
pub const OF_QUOTE: &[Fault] = &[
    fault("another vendor", BOTH, &["qe-vendor"], &[], |one| {
        one.vendor_id[0] ^= 1
    }),
    fault(
        "QE report of another key",
        BOTH,
        &["qe-report-signature"],
        &[],
        |one| {
            one.another_pck_key = true;
        },
    ),
    fault("unbound key", BOTH, &["qe-report-data"], &[], |one| {
        one.unbound = true
    }),
    fault("unsigned", BOTH, &["quote-signature"], &[], |one| {
        one.unsigned = true
    }),
    fault(
        "another QE signer",
        BOTH,
        &["qe-identity-match"],
        &[],
        |one| one.qe_report[128] ^= 1,
    ),
    fault(
        "another QE product",
        BOTH,
        &["qe-identity-match"],
        &[],
        |one| one.qe_report[256] ^= 4,
    ),
    fault(
        "other QE attributes",
        BOTH,
        &["qe-identity-match"],
        &[],
        |one| {
            one.qe_report[48] |= 2;
        },
    ),
    fault("QE MISCSELECT", BOTH, &["qe-identity-match"], &[], |one| {
        one.qe_report[16] = 1
    }),
    fault(
        "trailing bytes",
        BOTH,
        &["trailing-bytes"],
        &[TrailingBytes],
        |one| {
            one.trailing = vec![0; 3];
        },
    ),
    fault("debug enclave", SGX, &["debug"], &[Debug], |one| {
        one.put(48, &[0x07])
    }),
    fault("debug domain", TD, &["debug"], &[Debug], |one| {
        one.put(120, &[1])
    }),
    fault("profiled", TD, &["td-attributes"], &[TdAttributes], |one| {
        one.put(120, &[0x10])
    }),
    fault(
        "reserved, untrusted",
        TD,
        &["td-attributes"],
        &[TdAttributes],
        |one| {
            one.put(120, &[0x80]);
        },
    ),
    fault(
        "reserved, of security",
        TD,
        &["td-attributes"],
        &[TdAttributes],
        |one| {
            one.put(121, &[0x01]);
        },
    ),
    fault(
        "reserved, of others",
        TD,
        &["td-attributes"],
        &[TdAttributes],
        |one| {
            one.put(124, &[0x01]);
        },
    ),
    fault(
        "#VE for pages taken away",
        TD,
        &["sept-ve-disable"],
        &[SeptVeDisable],
        |one| {
            one.put(123, &[0x40]);
        },
    ),
    fault("migratable", TD, &["migratable"], &[Migratable], |one| {
        one.put(123, &[0x70])
    }),
    fault(
        "service domain",
        TD15,
        &["service-td"],
        &[ServiceTd],
        |one| one.put(647, &[1]),
    ),
    fault(
        "service domain bound at launch",
        EXTENDED,
        &["service-td"],
        &[ServiceTd],
        |one| {
            one.put(729, &[1]);
        },
    ),
    fault(
        "service domain bound since",
        EXTENDED,
        &["service-td"],
        &[ServiceTd],
        |one| {
            one.put(829, &[1]);
        },
    ),
    fault(
        "module of another signer",
        TD,
        &["tdx-module"],
        &[],
        |one| one.put(64, &[1]),
    ),
    fault("module's attributes", TD, &["tdx-module"], &[], |one| {
        one.put(112, &[1])
    }),
    fault("module without an entry", TD, &["tdx-module"], &[], |one| {
        one.info("TDX_01", "TDX_03");
    }),
    fault("module below all levels", TD, &["status"], &[], |one| {
        one.put(0, &[3]);
        if one.report.len() > 584 {
            one.put(584, &[3]);
        }
    }),
    fault(
        "microcode below all levels",
        TD,
        &["tcb-level", "status"],
        &[],
        |one| {
            one.put(2, &[1]);
            if one.report.len() > 584 {
                one.put(586, &[1]);
            }
        },
    ),
];

/// Both lists.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    OF_COLLATERAL.iter().chain(OF_QUOTE)
}
