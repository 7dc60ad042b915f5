//! The database to a running service. Collateral goes through its import, so that expired and older material becomes
//! history there. Each platform then goes as one `PUT platformcollateral`, with the TCB info that the service itself
//! holds for its family, else the database's: what the service holds is neither expired nor older than what it holds.
//! Names that are another's stay so, as in a store: whoever may move them does it one by one.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::value::RawValue;
use thim_client::{
    Client, ImportFile, ImportReport, ImportRequest, PccsAnswer, Refused, RegisterRequest,
};
use thim_server::intake::pccs_db::{PccsDatabase, PccsPlatform, PccsReport, SignedRow};
use thim_verify::{Certificate, Fmspc, Listed};

use super::body::{Issuers, body};
use crate::platform::{Update, registering, text};
use crate::progress::Progress;
use crate::remote;

/// Sends everything. What the service refuses is listed; where it cannot be asked the rest is left.
pub async fn send(client: &Client, database: &mut PccsDatabase) -> Result<PccsReport, String> {
    let mut report = PccsReport {
        db_version: database.version(),
        lacks: database.lacks().to_vec(),
        ..PccsReport::default()
    };
    let (signed, too_large) = database.signed().await.map_err(text)?;
    for refused in too_large {
        report.refuse(refused);
    }
    let mut issuers = Issuers::default();
    for row in &signed {
        if let Ok(found) = row.find() {
            issuers.take(found.certificates);
        }
    }
    let tcb_infos = Families::new(client, &signed, issuers);
    send_collateral(client, signed, &mut report)?;
    send_platforms(client, database, tcb_infos, &mut report).await?;
    let stray = database.stray_certificates().await.map_err(text)?;
    if stray > 0 {
        report.refuse(Refused {
            path: "pck_cert".to_owned(),
            kind: "pck-certificate".to_owned(),
            reason: format!("{stray} certificates are of no platform in the database"),
        });
    }
    send_waiting(client, database, &mut report).await?;
    for policy in database.policies().await.map_err(text)? {
        let policy = match policy {
            Ok(policy) => policy,
            Err(refused) => {
                report.refuse(refused);
                continue;
            }
        };
        let body = serde_json::json!({
            "is_default": policy.is_default,
            "fmspc": policy.fmspc.to_string(),
            "policy": policy.text,
        });
        let path = "/sgx/certification/v4/appraisalpolicy";
        let answer = client
            .put_pccs(path, body.to_string().as_bytes())
            .map_err(text)?;
        match refusal(&answer)? {
            None => report.policies += 1,
            Some(reason) => report.refuse(Refused {
                path: format!("appraisal_policies/{}", policy.id),
                kind: "appraisal-policy".to_owned(),
                reason,
            }),
        }
    }
    Ok(report)
}

/// Sends certificates and signed objects in the order of the tables, issuers first, a bounded number of bytes at once.
fn send_collateral(
    client: &Client,
    signed: Vec<SignedRow>,
    report: &mut PccsReport,
) -> Result<(), String> {
    let mut files: Vec<ImportFile> = Vec::new();
    let mut bytes = 0;
    for row in signed {
        if let Err(nothing) = row.find() {
            report.refuse(nothing);
            continue;
        }
        if bytes + row.body.len() > AT_ONCE_BYTES && !files.is_empty() {
            import(client, std::mem::take(&mut files), report)?;
            bytes = 0;
        }
        bytes += row.body.len();
        files.push(ImportFile {
            path: row.place,
            content: BASE64.encode(&row.body),
        });
    }
    if files.is_empty() {
        return Ok(());
    }
    import(client, files, report)
}

fn import(client: &Client, files: Vec<ImportFile>, report: &mut PccsReport) -> Result<(), String> {
    let done: ImportReport = client
        .post("/thim/v1/import", &ImportRequest { files })
        .map_err(text)?;
    report.collateral.admitted += done.admitted;
    report.collateral.known += done.known;
    report.collateral.held += done.held;
    report.collateral.future += done.future;
    for refused in done.refused {
        report.refuse(refused);
    }
    Ok(())
}

async fn send_platforms(
    client: &Client,
    database: &mut PccsDatabase,
    mut families: Families<'_>,
    report: &mut PccsReport,
) -> Result<(), String> {
    let total = database.platform_count().await.map_err(text)?;
    let whole = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let mut progress = Progress::new("platforms");
    let (mut after, mut done) = (i64::MIN, 0_u64);
    loop {
        let page = database.platforms(after).await.map_err(text)?;
        let Some(last) = page.last else {
            return Ok(());
        };
        after = last;
        for row in page.rows {
            progress.at(whole(done), whole(total));
            done += 1;
            let platform = match row {
                Ok(platform) => platform,
                Err(refused) => {
                    report.refuse(refused);
                    continue;
                }
            };
            match send_platform(client, &mut families, &platform)? {
                None => report.platforms += 1,
                Some(reason) => report.refuse(Refused {
                    path: platform.place.clone(),
                    kind: "platform".to_owned(),
                    reason,
                }),
            }
            for entry in &platform.imported.list.entries {
                if let Listed::Unreadable(error) = &entry.listed {
                    report.refuse(Refused {
                        path: format!("{}/{}", platform.place, entry.tcbm),
                        kind: "pck-certificate".to_owned(),
                        reason: error.to_string(),
                    });
                }
            }
            for flaw in platform.flaws {
                report.refuse(flaw);
            }
        }
    }
}

/// Sends one platform; why it was refused.
fn send_platform(
    client: &Client,
    families: &mut Families<'_>,
    platform: &PccsPlatform,
) -> Result<Option<String>, String> {
    let Some(fmspc) = platform.fmspc() else {
        return Ok(Some("there is no readable certificate of it".to_owned()));
    };
    let Some(family) = families.of(fmspc)? else {
        return Ok(Some(format!(
            "neither the service nor the database has an SGX TCB info for its FMSPC {fmspc}"
        )));
    };
    let body = body(&platform.imported, fmspc, &family.tcb_info, &family.issuers).map_err(text)?;
    let answer = client
        .put_pccs("/sgx/certification/v4/platformcollateral?names=keep", &body)
        .map_err(text)?;
    refusal(&answer)
}

async fn send_waiting(
    client: &Client,
    database: &mut PccsDatabase,
    report: &mut PccsReport,
) -> Result<(), String> {
    let mut after = i64::MIN;
    loop {
        let page = database.waiting(after).await.map_err(text)?;
        let Some(last) = page.last else {
            return Ok(());
        };
        after = last;
        for row in page.rows {
            let waiting = match row {
                Ok(waiting) => waiting,
                Err(refused) => {
                    report.refuse(refused);
                    continue;
                }
            };
            let request = RegisterRequest {
                keep_names: true,
                ..registering::request(&waiting.registration, false, Update::Standard)
            };
            match registering::send(client, &request)? {
                Ok(_) => report.waiting += 1,
                Err(reason) => report.refuse(Refused {
                    path: waiting.place,
                    kind: "registration".to_owned(),
                    reason,
                }),
            }
        }
    }
}

/// The SGX TCB info that goes along with a family's platforms.
struct Family {
    tcb_info: Box<RawValue>,
    issuers: Issuers,
}

/// Each family asked for once.
struct Families<'a> {
    client: &'a Client,
    /// The database's own.
    own: BTreeMap<Fmspc, Box<RawValue>>,
    issuers: Issuers,
    known: BTreeMap<Fmspc, Option<Family>>,
}

impl<'a> Families<'a> {
    fn new(client: &'a Client, signed: &[SignedRow], issuers: Issuers) -> Self {
        let mut own = BTreeMap::new();
        for row in signed {
            let text = std::str::from_utf8(&row.body).unwrap_or_default();
            if let Some(fmspc) = row.sgx
                && let Ok(raw) = RawValue::from_string(text.trim().to_owned())
            {
                // Certificates are chosen by the early one where there is one.
                if row.called == Some("early") || !own.contains_key(&fmspc) {
                    own.insert(fmspc, raw);
                }
            }
        }
        Self {
            client,
            own,
            issuers,
            known: BTreeMap::new(),
        }
    }

    fn of(&mut self, fmspc: Fmspc) -> Result<Option<&Family>, String> {
        if !self.known.contains_key(&fmspc) {
            let family = self.look_up(fmspc)?;
            self.known.insert(fmspc, family);
        }
        Ok(self.known.get(&fmspc).and_then(Option::as_ref))
    }

    fn look_up(&self, fmspc: Fmspc) -> Result<Option<Family>, String> {
        let mut issuers = self.issuers.clone();
        let held = remote::tcb_info(self.client, fmspc).map_err(text)?;
        if let Some((document, chain)) = held
            && let Ok(tcb_info) = RawValue::from_string(document)
        {
            let chain = percent_encoding::percent_decode_str(chain.as_deref().unwrap_or_default());
            let chain: Vec<u8> = chain.collect();
            // Its root stands under all chains of the body: PCCS's rule is that they are the same text.
            issuers.take(Certificate::from_pem_bundle(&chain).unwrap_or_default());
            return Ok(Some(Family { tcb_info, issuers }));
        }
        Ok(self.own.get(&fmspc).map(|tcb_info| Family {
            tcb_info: tcb_info.clone(),
            issuers,
        }))
    }
}

/// Why a service says no; an error where it is none about what was sent.
fn refusal(answer: &PccsAnswer) -> Result<Option<String>, String> {
    let line = answer.text.lines().next().unwrap_or_default();
    let cause = answer
        .cause
        .as_ref()
        .map(|cause| format!(" ({cause})"))
        .unwrap_or_default();
    let reason = format!("{}: {line}{cause}", answer.status);
    match answer.status {
        200 => Ok(None),
        // Neither a token that is not good nor a service that is full says anything about a platform.
        401 | 403 | 429 | 503 => Err(format!("the service says {reason}")),
        _ => Ok(Some(reason)),
    }
}

/// A service takes 32 MB at once.
const AT_ONCE_BYTES: usize = 16 * 1024 * 1024;
