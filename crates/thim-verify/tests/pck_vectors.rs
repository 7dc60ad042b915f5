//! Every PCK certificate and every PCS list of the vectors, and selection over those lists with every TCB info of
//! their FMSPC.

mod genuine;
mod naive;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use genuine::{issuers, newest_crl, now, root_crl, rows, vectors};
use thim_verify::{
    Artefact, Certificate, Content, Issuers, Listed, PceId, PckCertificate, PckRevocation, RawTcb,
    Revocation, SgxType, TcbInfo, Tee, Verified, check_one_platform, parse, parse_pck_list,
    select_pck, verify, verify_pck,
};

/// The lists that PCK certificates are judged with.
struct Lists {
    root: Verified<Artefact>,
    platform: Verified<Artefact>,
    processor: Verified<Artefact>,
}

impl Lists {
    fn new(intel: &Path, issuers: &Issuers) -> Self {
        Self {
            root: root_crl(intel, issuers),
            platform: newest_crl("platform-", intel, issuers),
            processor: newest_crl("processor-", intel, issuers),
        }
    }

    /// Judged at its last second, for some of them have expired since.
    fn judge(&self, pck: &PckCertificate, issuers: &Issuers) -> Result<(), thim_verify::Error> {
        let pck_crl = match pck.ca() {
            thim_verify::PckCa::Platform => &self.platform,
            thim_verify::PckCa::Processor => &self.processor,
        };
        let last = pck.certificate().not_after();
        let judged = verify_pck(
            pck.clone(),
            &[],
            issuers,
            Some(&self.root),
            Some(pck_crl),
            last,
        )?;
        let root_crl_this_update = self.root.issued();
        assert_eq!(
            judged.revocation(),
            Revocation::Checked {
                root_crl_this_update
            }
        );
        let pck_crl_this_update = pck_crl.issued();
        assert_eq!(
            judged.pck_revocation(),
            PckRevocation::Checked {
                pck_crl_this_update
            }
        );
        let late = last.plus_secs(1);
        let too_late = verify_pck(pck.clone(), &[], issuers, None, None, late);
        assert_eq!(too_late.map_err(|error| error.reason()), Err("expired"));
        Ok(())
    }
}

/// `issuer=...; pcesvn=13; cpusvn=...; type=1; cfg={'dynamic': True, ...}`
fn note_agrees(note: &str, pck: &PckCertificate, file: &str) {
    let field = |name: &str| {
        let found = note
            .split("; ")
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{file}: no {name}"))
    };
    assert_eq!(pck.ca().common_name(), field("issuer"), "{file}");
    assert_eq!(pck.tcbm().pce_svn.0.to_string(), field("pcesvn"), "{file}");
    let cpu_svn = pck.tcbm().cpu_svn;
    assert_eq!(
        cpu_svn.to_string().to_lowercase(),
        field("cpusvn"),
        "{file}"
    );
    assert_eq!(pck.components(), cpu_svn.0, "{file}");
    let sgx_type = match pck.sgx_type() {
        SgxType::Standard => "0",
        SgxType::Scalable => "1",
        SgxType::ScalableWithIntegrity => "2",
    };
    assert_eq!(sgx_type, field("type"), "{file}");
    let configuration = pck.configuration().map_or("None".to_owned(), |known| {
        let python = |flag: Option<bool>| match flag {
            Some(true) => "True",
            Some(false) => "False",
            None => "None",
        };
        format!(
            "{{'dynamic': {}, 'cachedkeys': {}, 'smt': {}}}",
            python(known.dynamic_platform),
            python(known.cached_keys),
            python(known.smt_enabled)
        )
    });
    assert_eq!(configuration, field("cfg"), "{file}");
    assert_eq!(
        pck.platform_instance_id().is_some(),
        pck.configuration().is_some(),
        "{file}"
    );
}

#[test]
fn every_pck_certificate() {
    let Some(intel) = vectors() else { return };
    let issuers = issuers(&intel);
    let lists = Lists::new(&intel, &issuers);
    let mut verified = 0;
    for row in rows(&intel).iter().filter(|row| row["kind"] == "pck_cert") {
        let file = &row["file"];
        let text = std::fs::read(intel.join(file)).expect("a file");
        let certificates = Certificate::from_pem_bundle(&text).expect("PEM");
        let [certificate] = <[Certificate; 1]>::try_from(certificates).expect("one certificate");
        let pck = PckCertificate::from_certificate(certificate)
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let judged = lists.judge(&pck, &issuers);
        assert_eq!(
            judged.is_ok(),
            row["verifies"] == "yes",
            "{file}: {judged:?}"
        );
        verified += usize::from(judged.is_ok());
        assert_eq!(pck.fmspc().to_string(), row["fmspc"], "{file}");
        let certificate = pck.certificate();
        assert_eq!(
            certificate.not_before().to_string(),
            format!("{}Z", row["issue"])
        );
        assert_eq!(
            certificate.not_after().to_string(),
            format!("{}Z", row["next"])
        );
        note_agrees(&row["note"], &pck, file);
    }
    println!("{verified} PCK certificates verified");
    assert!(verified >= 30);
}

#[test]
fn every_list() {
    let Some(intel) = vectors() else { return };
    let issuers = issuers(&intel);
    let lists = Lists::new(&intel, &issuers);
    let mut all = 0;
    for row in rows(&intel)
        .iter()
        .filter(|row| row["kind"] == "pckcerts_list")
    {
        let file = &row["file"];
        let body = std::fs::read(intel.join(file)).expect("a file");
        let list = parse_pck_list(&body).unwrap_or_else(|error| panic!("{file}: {error}"));
        let (mut verified, mut not_available) = (Vec::new(), 0);
        for entry in &list.entries {
            match &entry.listed {
                Listed::Certificate(pck) => {
                    assert_eq!(pck.tcbm(), entry.tcbm, "{file}");
                    if lists.judge(pck, &issuers).is_ok() {
                        verified.push(pck);
                    }
                }
                Listed::NotAvailable => not_available += 1,
                Listed::Unreadable(error) => panic!("{file}: {error}"),
            }
        }
        let expected = match row["verifies"].split_once('/') {
            Some((some, total)) => {
                assert_eq!(total, list.entries.len().to_string(), "{file}");
                some.parse().expect("a number")
            }
            None => {
                assert_eq!((row["verifies"].as_str(), not_available), ("yes", 0));
                list.entries.len()
            }
        };
        assert_eq!(verified.len(), expected, "{file}");
        assert_eq!(verified.len() + not_available, list.entries.len(), "{file}");
        let fmspc = row["fmspc"].parse().expect("an FMSPC");
        let one = check_one_platform(&verified, PceId([0, 0]), fmspc);
        assert_eq!(one, Ok(()), "{file}");
        all += verified.len();
    }
    println!("{all} PCK certificates of lists verified");
    assert!(all >= 7 * 22 + 3);
}

/// The SGX TCB infos of the vectors that verify, by FMSPC.
fn tcb_infos(intel: &Path) -> BTreeMap<String, Vec<(String, TcbInfo)>> {
    let issuers = issuers(intel);
    let mut infos: BTreeMap<String, Vec<(String, TcbInfo)>> = BTreeMap::new();
    for row in rows(intel) {
        if row["kind"] != "tcbinfo" || row["verifies"] != "yes" || row["version"] == "1" {
            continue;
        }
        let bytes = std::fs::read(intel.join(&row["file"])).expect("a file");
        let artefact = verify(parse(&bytes).expect("parses"), &[], &issuers, None, now());
        let artefact = artefact.expect("verifies");
        let Content::TcbInfo(info) = artefact.content() else {
            panic!("a TCB info")
        };
        if info.tee == Tee::Sgx {
            let of_fmspc = infos.entry(info.fmspc.to_string()).or_default();
            of_fmspc.push((row["file"].clone(), info.clone()));
        }
    }
    infos
}

/// Random numbers that are the same in every run: xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % limit
    }

    /// Near one of `tcbs`: some components a little higher or lower.
    fn raw(&mut self, tcbs: &[RawTcb]) -> RawTcb {
        let mut raw = tcbs[self.below(tcbs.len())];
        for _ in 0..self.below(5) {
            // The first components are the ones that Intel uses.
            let range = if self.below(4) == 0 { 17 } else { 8 };
            let at = self.below(range);
            let step = [1, 1, 1, 2, 200][self.below(5)];
            let up = self.below(3) > 0;
            match raw.cpu_svn.0.get_mut(at) {
                Some(svn) if up => *svn = svn.saturating_add(step),
                Some(svn) => *svn = svn.saturating_sub(step),
                None if up => raw.pce_svn.0 += u16::from(step),
                None => raw.pce_svn.0 = raw.pce_svn.0.saturating_sub(step.into()),
            }
        }
        raw
    }
}

#[test]
fn selection_over_every_list() {
    let Some(intel) = vectors() else { return };
    let infos = tcb_infos(&intel);
    let (mut seen, mut done) = (BTreeSet::new(), BTreeSet::new());
    let (mut pairs, mut selected, mut none) = (0, BTreeSet::new(), 0);
    for row in rows(&intel)
        .iter()
        .filter(|row| row["kind"] == "pckcerts_list")
    {
        let body = std::fs::read(intel.join(&row["file"])).expect("a file");
        let list = parse_pck_list(&body).expect("a list");
        let certificates: Vec<RawTcb> = list
            .entries
            .iter()
            .filter(|entry| matches!(entry.listed, Listed::Certificate(_)))
            .map(|entry| entry.tcbm)
            .collect();
        // Platforms of one kind have certificates for the same TCBs: once is enough.
        if !seen.insert(certificates.clone()) {
            continue;
        }
        let mut dice = Dice(0x7468_696d);
        let tcbs: Vec<RawTcb> = list.entries.iter().map(|entry| entry.tcbm).collect();
        let raws: Vec<RawTcb> = (0..10_000).map(|_| dice.raw(&tcbs)).collect();
        for (file, info) in &infos[&row["fmspc"]] {
            let levels = info.levels.iter();
            let levels: Vec<_> = levels
                .map(|level| {
                    (
                        level.sgx_components.each_ref().map(|one| one.svn),
                        level.pce_svn,
                    )
                })
                .collect();
            // Most numbers only pass another judgement on the same levels.
            if !done.insert((certificates.clone(), levels)) {
                continue;
            }
            let order = naive::order(&certificates, info);
            for raw in &raws {
                let best = select_pck(raw, info.pce_id, &certificates, info);
                let naive = naive::select(raw, &order, &certificates);
                assert_eq!(best.ok(), naive, "{file} {raw}");
                match best {
                    Ok(at) => drop(selected.insert(certificates[at])),
                    Err(_) => none += 1,
                }
            }
            pairs += 1;
        }
    }
    println!(
        "{pairs} pairs of a list and a TCB info; {} certificates selected, none {none} times",
        selected.len()
    );
    assert!(pairs >= 8 && selected.len() > 20 && none > 100);
}
