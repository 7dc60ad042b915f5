//! Quotes of virtual platforms: layouts, what vouches for what, and that a fault breaks what it names and nothing else.

use crate::client::*;
use crate::proof::*;
use crate::quote_proof::*;
use data_encoding::{HEXLOWER, HEXUPPER};
use serde_json::Value;
use thim_sim::*;

#[tokio::test]
async fn every_version_and_body_is_laid_out_and_verifies() {
    let s = Simulated::start().await;
    let platform = s.platform_of(TDX_FMSPC);
    for (version, body, offset, bytes) in LAYOUTS {
        let spec = QuoteSpec {
            report_data: [0xa5; 64],
            ..QuoteSpec::new(version, body)
        };
        let quote = s.quote_of(TDX_FMSPC, &spec);
        let parts = parts(&quote);
        let case = format!("{version:?} {body:?}");
        assert_eq!(parts.body.len(), bytes, "{case}");
        assert_eq!(quote[offset..offset + bytes], *parts.body, "{case}");
        let section = u32_at(&quote, offset + bytes) as usize;
        assert_eq!(quote.len(), offset + bytes + 4 + section, "{case}");
        let leaf = parts.leaf_under(s.sim.root_pem());
        assert_eq!(parts.under(&leaf), ALL_HOLDS, "{case}");

        assert_eq!(
            HEXLOWER.encode(&parts.header[12..28]),
            "939a7233f79c4ca9940a0db3957f0607"
        );
        assert_eq!(parts.header[28..44], platform.qe_id);
        assert_eq!(parts.header[44..], [0; 4]);
        let report_data = if body == QuoteBody::Sgx { 320 } else { 520 };
        assert_eq!(parts.body[report_data..report_data + 64], [0xa5; 64]);
        let svns = (u16_at(&quote, 8), u16_at(&quote, 10));
        match version {
            QuoteVersion::V3 => assert_eq!(svns, (12, platform.pce_svn)),
            QuoteVersion::V4 | QuoteVersion::V5 => assert_eq!(svns, (0, 0)),
        }
        // Version 4 and 5: type and length of the outer data.
        let outer = if version == QuoteVersion::V3 { 0 } else { 6 };
        let inner = 384 + 64 + 2 + 32 + 6 + parts.certification.len();
        assert_eq!(section, 128 + outer + inner, "{case}");
        assert_eq!(parts.auth_data, (0..32).collect::<Vec<u8>>());
    }
}

#[tokio::test]
async fn bodies_say_what_was_wished_where_it_belongs() {
    let s = Simulated::start().await;
    let usual = s.platform_of(TDX_FMSPC);
    let td = TdSpec {
        tee_tcb_svn: Some([1; 16]),
        tee_tcb_svn2: Some([2; 16]),
        mrseam: [3; 48],
        mrsignerseam: [4; 48],
        seamattributes: [5; 8],
        sept_ve_disable: false,
        migratable: true,
        other_attributes: 1 << 63,
        mrtd: [6; 48],
        rtmrs: [[7; 48], [8; 48], [9; 48], [10; 48]],
        mrservicetd: [11; 48],
    };
    let spec = QuoteSpec {
        debug: true,
        td,
        vendor_id: [12; 16],
        user_data: Some([13; 20]),
        ..QuoteSpec::new(QuoteVersion::V5, QuoteBody::Td15Extended)
    };
    let quote = s.quote_of(TDX_FMSPC, &spec);
    let parts_of_td = parts(&quote);
    for (offset, bytes, value) in [
        (0, 16, 1),
        (16, 48, 3),
        (64, 48, 4),
        (112, 8, 5),
        (136, 48, 6),
        (328, 48, 7),
        (376, 48, 8),
        (424, 48, 9),
        (472, 48, 10),
        (584, 16, 2),
        (600, 48, 11),
        (801, 16, 1),
    ] {
        let field = &parts_of_td.body[offset..offset + bytes];
        assert!(field.iter().all(|byte| *byte == value), "{offset}");
    }
    let attributes = u64::from_le_bytes(parts_of_td.body[120..128].try_into().unwrap());
    assert_eq!(attributes, 1 << 63 | 1 << 29 | 1);
    assert_eq!(parts_of_td.body[785..801], usual.cpu_svn);
    assert_eq!(HEXUPPER.encode(&parts_of_td.body[817..823]), TDX_FMSPC);
    assert_eq!(parts_of_td.header[12..28], [12; 16]);
    assert_eq!(parts_of_td.header[28..48], [13; 20]);

    let plain = QuoteSpec::new(QuoteVersion::V5, QuoteBody::Td15);
    let quote = s.quote_of(TDX_FMSPC, &plain);
    let body = parts(&quote).body;
    assert_eq!(body[120..128], (1u64 << 28).to_le_bytes());
    assert_eq!(body[64..120], [0; 56]);
    let module = usual.tee_tcb_svn.unwrap();
    assert_eq!((&body[..16], &body[584..600]), (&module[..], &module[..]));

    let enclave = EnclaveSpec {
        mrenclave: [1; 32],
        mrsigner: [2; 32],
        isv_prod_id: 0x0304,
        isv_svn: 0x0506,
    };
    for (debug, flags) in [(false, 5), (true, 7)] {
        let spec = QuoteSpec {
            debug,
            enclave: enclave.clone(),
            ..QuoteSpec::default()
        };
        let quote = s.quote_of(SGX_FMSPC, &spec);
        let body = parts(&quote).body;
        assert_eq!(body[..16], s.platform_of(SGX_FMSPC).cpu_svn);
        assert_eq!(body[48..50], [flags, 0]);
        assert_eq!(
            (&body[64..96], &body[128..160]),
            (&[1; 32][..], &[2; 32][..])
        );
        assert_eq!(body[256..260], [4, 3, 6, 5]);
    }
    assert_eq!(s.platform_of(SGX_FMSPC).tee_tcb_svn, None);
}

#[tokio::test]
async fn the_quoting_enclave_is_what_its_identity_demands_unless_wished_otherwise() {
    let s = Simulated::start().await;
    let hex = |identity: &Value, member: &str| {
        HEXUPPER
            .decode(identity[member].as_str().unwrap().as_bytes())
            .unwrap()
    };
    for (body, path) in [
        (QuoteBody::Sgx, "/sgx/certification/v4/qe/identity"),
        (QuoteBody::Td10, "/tdx/certification/v4/qe/identity"),
    ] {
        let answer = s.get(&format!("{path}?update=early")).await;
        let chain = "SGX-Enclave-Identity-Issuer-Chain";
        let identity = verified(&answer, chain, "enclaveIdentity", s.sim.root_pem()).unwrap();
        let spec = QuoteSpec::new(QuoteVersion::V4, body);
        let quote = s.quote_of(TDX_FMSPC, &spec);
        let report = parts(&quote).qe_report;
        let mask = hex(&identity, "attributesMask");
        let masked: Vec<u8> = report[48..64]
            .iter()
            .zip(&mask)
            .map(|(a, m)| a & m)
            .collect();
        assert_eq!(masked, hex(&identity, "attributes"));
        assert_ne!(report[48..64], masked, "the mask has something to do");
        assert_eq!(report[128..160], hex(&identity, "mrsigner"));
        assert_eq!(report[16..20], [0; 4]);
        assert_eq!(u64::from(u16_at(report, 256)), identity["isvprodid"]);
        let newest = &identity["tcbLevels"][0];
        assert_eq!(u64::from(u16_at(report, 258)), newest["tcb"]["isvsvn"]);
        assert_eq!(newest["tcbStatus"], "UpToDate");
    }
    let qe = QeSpec {
        isv_svn: Some(1),
        mrsigner: Some([2; 32]),
        attributes: Some([3; 16]),
        isv_prod_id: Some(4),
        miscselect: Some(5),
        auth_data: Vec::new(),
    };
    let spec = QuoteSpec {
        qe,
        ..QuoteSpec::default()
    };
    let quote = s.quote_of(SGX_FMSPC, &spec);
    let parts = parts(&quote);
    let report = parts.qe_report;
    assert_eq!(
        (u16_at(report, 258), u16_at(report, 256), u32_at(report, 16)),
        (1, 4, 5)
    );
    assert_eq!(
        (&report[48..64], &report[128..160]),
        (&[3; 16][..], &[2; 32][..])
    );
    assert!(parts.auth_data.is_empty());
    assert_eq!(parts.under(&parts.leaf_under(s.sim.root_pem())), ALL_HOLDS);
}

#[tokio::test]
async fn certification_data_names_the_certificate_pcs_answers() {
    let s = Simulated::start().await;
    let platform = s
        .management()
        .add_platform(PlatformSpec::new(TDX_FMSPC, 2))
        .unwrap();
    assert_eq!(
        s.register(platform.manifest.as_ref().unwrap()).await.status,
        201
    );
    let expected = s.pck(&pckcert_target(&platform)).await;
    let tcb = [
        &platform.cpu_svn[..],
        &platform.pce_svn.to_le_bytes(),
        &[0; 2],
    ]
    .concat();
    let clear = [&platform.ppid[..], &tcb].concat();
    let rsa_2048 = [&platform.encrypted_ppid[..256], &tcb].concat();
    let rsa_3072 = [&platform.encrypted_ppid[..], &tcb].concat();
    assert_eq!(
        (clear.len(), rsa_2048.len(), rsa_3072.len()),
        (36, 276, 404)
    );
    for (kind, number, data) in [
        (CertificationKind::PpidClear, 1, Some(clear)),
        (CertificationKind::PpidRsa2048, 2, Some(rsa_2048)),
        (CertificationKind::PpidRsa3072, 3, Some(rsa_3072)),
        (CertificationKind::PckLeaf, 4, None),
        (CertificationKind::PckChain, 5, None),
        (
            CertificationKind::PlatformManifest,
            7,
            platform.manifest.clone(),
        ),
    ] {
        for version in [QuoteVersion::V3, QuoteVersion::V4, QuoteVersion::V5] {
            let certification = CertificationSpec {
                kind,
                ..CertificationSpec::default()
            };
            let spec = QuoteSpec {
                version,
                certification,
                ..QuoteSpec::default()
            };
            let quote = s.management().quote(&platform.name, &spec).unwrap();
            let parts = parts(&quote);
            assert_eq!(parts.kind, number);
            match &data {
                Some(data) => assert_eq!(parts.certification, data, "{kind:?}"),
                None => assert_eq!(parts.certificates()[0], expected, "{kind:?}"),
            }
            assert_eq!(parts.under(&expected), ALL_HOLDS, "{kind:?}");
        }
    }
    let leaf = CertificationSpec {
        kind: CertificationKind::PckLeaf,
        ..Default::default()
    };
    let spec = QuoteSpec {
        certification: leaf,
        ..QuoteSpec::default()
    };
    let quote = s.management().quote(&platform.name, &spec).unwrap();
    assert_eq!(parts(&quote).certificates().len(), 1);
}

#[tokio::test]
async fn chains_come_in_two_orders_and_end_as_wished() {
    let s = Simulated::start().await;
    let common_names = |certificates: &[x509_cert::Certificate]| -> Vec<String> {
        let subjects = certificates
            .iter()
            .map(|one| one.tbs_certificate().subject().to_string());
        subjects
            .map(|subject| subject.rsplit("CN=").next().unwrap().to_owned())
            .collect()
    };
    let (leaf, ca, root) = (
        "Intel SGX PCK Certificate",
        "Intel SGX PCK Processor CA",
        "Intel SGX Root CA",
    );
    for (root_before_ca, names) in [(false, [leaf, ca, root]), (true, [leaf, root, ca])] {
        for (trailing_newline, trailing_nul, end) in [
            (false, false, &b"-----"[..]),
            (true, false, b"-----\n"),
            (false, true, b"-----\0"),
            (true, true, b"-----\n\0"),
        ] {
            let certification = CertificationSpec {
                root_before_ca,
                trailing_newline,
                trailing_nul,
                ..CertificationSpec::default()
            };
            let spec = QuoteSpec {
                certification,
                ..QuoteSpec::default()
            };
            let quote = s.quote_of(SGX_FMSPC, &spec);
            let parts = parts(&quote);
            assert_eq!(common_names(&parts.certificates()), names);
            assert!(parts.certification.ends_with(end));
            assert_eq!(parts.under(&parts.leaf_under(s.sim.root_pem())), ALL_HOLDS);
        }
    }
}

#[tokio::test]
async fn a_fault_breaks_what_it_names_and_nothing_else() {
    let s = Simulated::start().await;
    let own = s.pck(&pckcert_target(&s.platform_of(SGX_FMSPC))).await;
    for version in [QuoteVersion::V3, QuoteVersion::V5] {
        for (fault, holds) in [
            (
                QuoteFault::AttestationKeyUnbound,
                Holds {
                    binding: false,
                    ..ALL_HOLDS
                },
            ),
            (
                QuoteFault::WrongQeReportSignature,
                Holds {
                    qe_report_signature: false,
                    ..ALL_HOLDS
                },
            ),
            (
                QuoteFault::WrongQuoteSignature,
                Holds {
                    quote_signature: false,
                    ..ALL_HOLDS
                },
            ),
            (
                QuoteFault::OtherPlatform,
                Holds {
                    qe_report_signature: false,
                    ..ALL_HOLDS
                },
            ),
        ] {
            let spec = QuoteSpec::new(version, QuoteBody::Sgx).fault(fault);
            let quote = s.quote_of(SGX_FMSPC, &spec);
            let parts = parts(&quote);
            // Always a genuine chain.
            let leaf = parts.leaf_under(s.sim.root_pem());
            assert_eq!(parts.under(&leaf), holds, "{fault:?}");
            match fault {
                QuoteFault::OtherPlatform => {
                    assert_ne!(sgx_item(&leaf, &[1]), sgx_item(&own, &[1]));
                    assert_eq!(parts.under(&own), ALL_HOLDS);
                }
                QuoteFault::AttestationKeyUnbound
                | QuoteFault::WrongQeReportSignature
                | QuoteFault::WrongQuoteSignature => assert_eq!(leaf, own),
            }
        }
    }
    let spec = QuoteSpec {
        trailing: vec![7; 9],
        ..QuoteSpec::default()
    };
    let quote = s.quote_of(SGX_FMSPC, &spec);
    assert_eq!(parts(&quote).trailing, [7; 9]);
    assert_eq!(parts(&quote).under(&own), ALL_HOLDS);
}

#[tokio::test]
async fn a_level_can_be_named_and_its_certificate_signs() {
    let s = Simulated::start().await;
    let platform = s.platform_of(SGX_FMSPC);
    let listed = listed(&s.certificates(&platform).await);
    for entry in &listed {
        let spec = QuoteSpec {
            level: Some(entry.tcbm.to_lowercase()),
            ..QuoteSpec::default()
        };
        let quote = s.quote_of(SGX_FMSPC, &spec);
        let parts = parts(&quote);
        assert_eq!(
            parts.certificates()[0],
            *entry.certificate.as_ref().unwrap()
        );
        assert_eq!(parts.under(&parts.certificates()[0]), ALL_HOLDS);
    }
    // The second-best level, which a fresh platform reaches.
    let usual = s.quote_of(SGX_FMSPC, &QuoteSpec::default());
    assert_eq!(
        parts(&usual).certificates()[0],
        *listed[1].certificate.as_ref().unwrap()
    );

    // A re-issue has another key, under which new quotes verify and old ones do not.
    s.management().reissue(&platform.name).unwrap();
    let reissued = s.pck(&pckcert_target(&platform)).await;
    let quote = s.quote_of(SGX_FMSPC, &QuoteSpec::default());
    assert_eq!(parts(&quote).under(&reissued), ALL_HOLDS);
    assert!(!parts(&usual).under(&reissued).qe_report_signature);
}

#[tokio::test]
async fn an_attestation_key_stays_until_a_new_one_is_wished() {
    let s = Simulated::start().await;
    let key = |fmspc: &str, new_attestation_key| {
        let spec = QuoteSpec {
            new_attestation_key,
            ..QuoteSpec::default()
        };
        parts(&s.quote_of(fmspc, &spec)).key.to_vec()
    };
    let first = key(SGX_FMSPC, false);
    assert_eq!(key(SGX_FMSPC, false), first);
    assert_ne!(key(TDX_FMSPC, false), first);
    let second = key(SGX_FMSPC, true);
    assert_ne!(second, first);
    assert_eq!(key(SGX_FMSPC, false), second);
}

#[tokio::test]
async fn a_first_quote_registers_indirectly_and_never_undoes_a_direct_registration() {
    let s = Simulated::start().await;
    let m = s.management();
    let platform = s.platform_of(TDX_FMSPC);
    assert_eq!(platform.cached_keys, None);
    let quote = s.quote_of(TDX_FMSPC, &QuoteSpec::default());
    assert_eq!(s.platform_of(TDX_FMSPC).cached_keys, Some(false));
    let manifest = platform.manifest.unwrap();
    let listed = listed(&s.certificates_by_manifest(&manifest).await);
    assert_eq!(
        parts(&quote).certificates()[0],
        *listed[1].certificate.as_ref().unwrap()
    );

    let direct = m.add_platform(PlatformSpec::new(TDX_FMSPC, 2)).unwrap();
    assert_eq!(
        s.register(direct.manifest.as_ref().unwrap()).await.status,
        201
    );
    m.quote(&direct.name, &QuoteSpec::default()).unwrap();
    assert_eq!(m.platform(&direct.name).unwrap().cached_keys, Some(true));
}
