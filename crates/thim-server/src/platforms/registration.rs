//! What a host says when it registers, in each of the forms in which it is said: the JSON body of
//! `POST /platforms`, the same as a form, and the CSV file of PCKIDRetrievalTool.
//!
//! What it promises. A [`Registration`] is well-formed and complete: with it the vendor can be asked for the
//! platform's certificates. What is refused is told by its field and by what was wanted, never by its value.
//! Rules: PCCS's schema (`spec/intel-pcs-and-pccs.md` sections 2.7, 3.1 and 8.4). Two things differ: a manifest that
//! is not hex is refused (PCCS stores it as empty), and what stands beside a manifest is kept (PCCS blanks it), since
//! it helps to recognise the platform.

mod fields;
mod names;

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use thim_verify::{CpuSvn, PceId, PceSvn, RawTcb};

pub use fields::Invalid;
pub use names::{EncryptedPpid, Manifest, QeId};

pub(super) use fields::Fields;

/// A platform as its host describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Under which name it will ask.
    pub qe_id: QeId,
    /// Of which provisioning certification enclave.
    pub pce_id: PceId,
    /// What it runs now; none when one of its two parts is missing.
    pub raw_tcb: Option<RawTcb>,
    /// Its id, encrypted to the vendor.
    pub encrypted_ppid: Option<EncryptedPpid>,
    /// Its keys, encrypted to the vendor.
    pub manifest: Option<Manifest>,
}

impl Registration {
    /// From the JSON body of `POST /platforms`.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn from_json(body: &[u8]) -> Result<Self, Invalid> {
        Given::of_fields(&Fields::of_body(body)?)?.complete()
    }

    /// From the body of `POST /platforms` as `application/x-www-form-urlencoded`, which PCCS takes too. A field that
    /// stands twice or has a nested name is refused, as PCCS's schema does with the lists and objects that it makes
    /// of them.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn from_form(body: &[u8]) -> Result<Self, Invalid> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Invalid::new("body", "wanted a form in UTF-8"))?;
        let mut given = Given::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = unescaped(name).map_err(|why| Invalid::new("body", why))?;
            let plain = name.split_once('[').map_or(&*name, |(plain, _)| plain);
            let Some((known, field)) = given.field(plain) else {
                continue;
            };
            if plain != name {
                return Err(Invalid::new(known, "wanted one plain value"));
            }
            let value = unescaped(value).map_err(|why| Invalid::new(known, why))?;
            if field.replace(value.into_owned()).is_some() {
                return Err(Invalid::new(known, "it stands twice"));
            }
        }
        given.complete()
    }

    /// From what PCKIDRetrievalTool writes: a line a platform, `enc_ppid,pce_id,cpu_svn,pce_svn,qe_id[,manifest]`,
    /// or `,pce_id,,,qe_id,manifest` where it ran without enclaves. Several such files in one are as good, and so
    /// is a first line with the names of the columns, as people who keep them in tables write it.
    ///
    /// # Errors
    /// The first line that is wrong, with its number and field; a text without any platform.
    pub fn from_csv(text: &str) -> Result<Vec<Self>, Invalid> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut registrations = Vec::new();
        let lines = text.lines().map(str::trim).zip(1_usize..);
        for (line, number) in lines.filter(|(line, _)| !line.is_empty()) {
            if registrations.is_empty() && is_header(line) {
                continue;
            }
            if registrations.len() == MAX_CSV_PLATFORMS {
                return Err(Invalid::new(
                    format_args!("line {number}"),
                    format_args!("more than {MAX_CSV_PLATFORMS} platforms in one text"),
                ));
            }
            let registration = Given::of_line(line)
                .and_then(Given::complete)
                .map_err(|fault| fault.under(&format!("line {number}: ")))?;
            registrations.push(registration);
        }
        if registrations.is_empty() {
            return Err(Invalid::new("file", "no line with a platform"));
        }
        Ok(registrations)
    }

    /// From an object of a collateral file that names a platform. There a registration need not be complete, and an
    /// empty text is as good as none.
    ///
    /// # Errors
    /// The first field that is wrong, with its way down.
    pub(super) fn from_element(fields: &Fields<'_>) -> Result<Self, Invalid> {
        Given::of_fields(fields)?
            .without_blanks()
            .read()
            .map_err(|fault| fields.locate(fault))
    }
}

/// Texts as they came; secrets among them, so never printed.
#[derive(Default)]
struct Given {
    qe_id: Option<String>,
    pce_id: Option<String>,
    cpu_svn: Option<String>,
    pce_svn: Option<String>,
    enc_ppid: Option<String>,
    platform_manifest: Option<String>,
}

impl Given {
    fn of_fields(fields: &Fields<'_>) -> Result<Self, Invalid> {
        Ok(Self {
            qe_id: fields.text("qe_id")?,
            pce_id: fields.text("pce_id")?,
            cpu_svn: fields.text("cpu_svn")?,
            pce_svn: fields.text("pce_svn")?,
            enc_ppid: fields.text("enc_ppid")?,
            platform_manifest: fields.text_or_null("platform_manifest")?,
        })
    }

    fn of_line(line: &str) -> Result<Self, Invalid> {
        let found = line.split(',').count();
        if !(COLUMNS.len() - 1..=COLUMNS.len()).contains(&found) {
            return Err(Invalid::new(
                "columns",
                format_args!(
                    "wanted {} or {}, found {found}",
                    COLUMNS.len() - 1,
                    COLUMNS.len()
                ),
            ));
        }
        let mut given = Self::default();
        for (name, cell) in COLUMNS.into_iter().zip(line.split(',')) {
            if let Some((_, field)) = given.field(name) {
                *field = Some(cell.trim().to_owned());
            }
        }
        Ok(given.without_blanks())
    }

    fn field(&mut self, name: &str) -> Option<(&'static str, &mut Option<String>)> {
        match name {
            "qe_id" => Some(("qe_id", &mut self.qe_id)),
            "pce_id" => Some(("pce_id", &mut self.pce_id)),
            "cpu_svn" => Some(("cpu_svn", &mut self.cpu_svn)),
            "pce_svn" => Some(("pce_svn", &mut self.pce_svn)),
            "enc_ppid" => Some(("enc_ppid", &mut self.enc_ppid)),
            "platform_manifest" => Some(("platform_manifest", &mut self.platform_manifest)),
            _ => None,
        }
    }

    /// Forgets what is optional and empty.
    fn without_blanks(mut self) -> Self {
        for field in [&mut self.cpu_svn, &mut self.pce_svn, &mut self.enc_ppid] {
            field.take_if(|text| text.is_empty());
        }
        self
    }

    fn read(self) -> Result<Registration, Invalid> {
        let missing = |name| Invalid::new(name, "missing");
        let qe_id = self.qe_id.ok_or_else(|| missing("qe_id"))?.parse()?;
        let pce_id = self.pce_id.ok_or_else(|| missing("pce_id"))?;
        let pce_id = digits("pce_id", 4, &pce_id)?;
        let cpu_svn: Option<CpuSvn> = self
            .cpu_svn
            .map(|text| digits("cpu_svn", 32, &text))
            .transpose()?;
        let pce_svn: Option<PceSvn> = self
            .pce_svn
            .map(|text| digits("pce_svn", 4, &text))
            .transpose()?;
        Ok(Registration {
            qe_id,
            pce_id,
            raw_tcb: cpu_svn
                .zip(pce_svn)
                .map(|(cpu_svn, pce_svn)| RawTcb { cpu_svn, pce_svn }),
            encrypted_ppid: self
                .enc_ppid
                .map(|text| EncryptedPpid::from_hex(&text))
                .transpose()?,
            manifest: self
                .platform_manifest
                .filter(|text| !text.is_empty())
                .map(|text| Manifest::from_hex(&text))
                .transpose()?,
        })
    }

    /// [`Given::read`], and enough to ask the vendor with.
    fn complete(self) -> Result<Registration, Invalid> {
        let lacking = [
            ("cpu_svn", self.cpu_svn.is_none()),
            ("pce_svn", self.pce_svn.is_none()),
            ("enc_ppid", self.enc_ppid.is_none()),
        ];
        let registration = self.read()?;
        match lacking.into_iter().find(|(_, lacking)| *lacking) {
            Some((name, _)) if registration.manifest.is_none() => Err(Invalid::new(
                name,
                "missing; without platform_manifest all of cpu_svn, pce_svn and enc_ppid are needed",
            )),
            _ => Ok(registration),
        }
    }
}

/// A text of exactly `count` hex digits in either case.
fn digits<T: std::str::FromStr>(name: &str, count: usize, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|_| {
        Invalid::new(
            name,
            format_args!(
                "wanted {count} hex digits, found {} characters",
                text.chars().count()
            ),
        )
    })
}

fn is_header(line: &str) -> bool {
    let mut cells = line.split(',').map(str::trim).zip(COLUMNS);
    cells.all(|(cell, name)| cell.eq_ignore_ascii_case(name))
}

/// A form's name or value.
fn unescaped(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let plain = if text.contains('+') {
        Cow::Owned(text.replace('+', " "))
    } else {
        Cow::Borrowed(text)
    };
    let bytes: Vec<u8> = percent_decode_str(&plain).collect();
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| "it is not UTF-8")
}

/// PCKIDRetrievalTool's order; the manifest may be left out.
const COLUMNS: [&str; 6] = [
    "enc_ppid",
    "pce_id",
    "cpu_svn",
    "pce_svn",
    "qe_id",
    "platform_manifest",
];
/// Of a fleet's hosts each writes a file of its own; a table of more is cut by whoever made it, since all that was read
/// is in memory at once.
const MAX_CSV_PLATFORMS: usize = 10_000;

#[cfg(test)]
mod tests;
