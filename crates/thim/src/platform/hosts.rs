//! What hosts say of themselves, read from files: PCKIDRetrievalTool's CSV, the JSON that it posts, and arrays of such.

use std::io::Read;
use std::path::Path;

use serde_json::value::RawValue;
use thim_server::platforms::registration::Registration;

/// Reads the registrations of a file, or of standard input for `-`. What is wrong is named by its field, never by its
/// value.
pub fn read(file: &Path) -> Result<Vec<Registration>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut bytes = Vec::new();
    let limit = LIMIT_BYTES + 1;
    if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    }
    .map_err(|error| failed(&error))?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(failed(&format_args!("more than {LIMIT_BYTES} bytes")));
    }
    parse(&bytes).map_err(|error| failed(&error))
}

fn parse(bytes: &[u8]) -> Result<Vec<Registration>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.trim_start_matches('\u{feff}').trim();
    match text.bytes().next() {
        Some(b'{') => Registration::from_json(text.as_bytes())
            .map(|registration| vec![registration])
            .map_err(|fault| fault.to_string()),
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text)
                // serde's own words may quote what stands there.
                .map_err(|error| {
                    format!(
                        "no JSON at line {}, column {}",
                        error.line(),
                        error.column()
                    )
                })?;
            if elements.is_empty() {
                return Err("no platform in it".to_owned());
            }
            elements
                .into_iter()
                .enumerate()
                .map(|(place, element)| {
                    Registration::from_json(without_blanks(element.get()).as_bytes())
                        .map_err(|fault| fault.under(&format!("[{place}].")).to_string())
                })
                .collect()
        }
        _ => Registration::from_csv(text).map_err(|fault| fault.to_string()),
    }
}

/// An element of a platform list: its tool writes empty texts, and `null`, where there is nothing.
fn without_blanks(element: &str) -> String {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(element) {
        Ok(mut members) => {
            members.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
            serde_json::Value::Object(members).to_string()
        }
        Err(_) => element.to_owned(),
    }
}

/// Whether this machine is a guest of a hypervisor, by its `/proc/cpuinfo`.
pub fn is_guest(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == "flags")
        .is_some_and(|(_, flags)| flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// Whether a registration is what a guest writes, which can read neither a PPID nor a manifest.
pub fn reads_nothing(registration: &Registration) -> bool {
    registration.manifest.is_none()
        && registration
            .encrypted_ppid
            .as_ref()
            .is_none_or(thim_server::platforms::registration::EncryptedPpid::is_zero)
}

/// Ten thousand platforms without manifests, or three hundred with one.
const LIMIT_BYTES: u64 = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(qe_id: &str) -> serde_json::Value {
        serde_json::json!({
            "qe_id": qe_id,
            "pce_id": "0000",
            "cpu_svn": "0b0b0303ffff01000000000000000000",
            "pce_svn": "0d00",
            "enc_ppid": "5a".repeat(384),
            "platform_manifest": "",
        })
    }

    #[test]
    fn each_form_says_the_same() {
        let object = host("a0").to_string();
        let array = format!("\u{feff} [{}]", host("a0"));
        let line = format!(
            "{},0000,0b0b0303ffff01000000000000000000,0d00,a0\n",
            "5a".repeat(384)
        );
        let expected = parse(object.as_bytes()).expect("JSON");
        assert_eq!(expected.len(), 1);
        assert_eq!(parse(array.as_bytes()), Ok(expected.clone()));
        assert_eq!(parse(line.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_platform_list_has_blanks_and_nulls() {
        let list = serde_json::json!([
            {"qe_id": "a0", "pce_id": "0000", "cpu_svn": "", "pce_svn": "", "enc_ppid": "", "platform_manifest": "aabb", "pckid_filename": "a.csv"},
            {"qe_id": "a1", "pce_id": "0000", "cpu_svn": "0b0b0303ffff01000000000000000000", "pce_svn": "0d00", "enc_ppid": "5a".repeat(384), "platform_manifest": null},
        ]);
        let read = parse(list.to_string().as_bytes()).expect("two");
        assert!(read[0].manifest.is_some() && read[1].manifest.is_none());
        let wrong = serde_json::json!([host("a0"), {"qe_id": "a1", "pce_id": "0000"}]);
        let fault = parse(wrong.to_string().as_bytes()).expect_err("incomplete");
        assert!(fault.starts_with("[1].cpu_svn: missing"), "{fault}");
        for (text, why) in [
            ("[]", "no platform"),
            ("[1]", "[0].body"),
            ("[{]", "no JSON"),
            ("", "file: no line"),
            ("{", "body"),
        ] {
            let fault = parse(text.as_bytes()).expect_err(text);
            assert!(fault.starts_with(why), "{text}: {fault}");
        }
    }

    #[test]
    fn a_guest_is_told_by_its_flags() {
        let flags =
            |flags: &str| format!("processor\t: 0\nmodel name\t: hypervisor\nflags\t\t: {flags}\n");
        assert!(is_guest(&flags("fpu vme hypervisor sgx")));
        assert!(!is_guest(&flags("fpu vme sgx")));
        assert!(!is_guest(&flags("hypervisors")));
        assert!(!is_guest(""));
    }

    #[test]
    fn what_a_guest_writes() {
        let with = |enc_ppid: String, manifest: &str| {
            let mut host = host("a0");
            host["enc_ppid"] = enc_ppid.into();
            host["platform_manifest"] = manifest.into();
            parse(host.to_string().as_bytes())
                .expect("a host")
                .remove(0)
        };
        assert!(reads_nothing(&with("00".repeat(384), "")));
        assert!(!reads_nothing(&with("00".repeat(384), "aabb")));
        assert!(!reads_nothing(&with("5a".repeat(384), "")));
    }
}
