//! Files that are broken, hostile or beside the point: refused or ignored, never a panic, never the end of an import.

#[path = "import_support/mod.rs"]
mod support;

use std::os::unix::fs::symlink;
use std::path::Path;

use support::Kept;
use thim_server::intake::{File, Gathered, objects};
use thim_verify::TrustAnchors;

const NOW: &str = "2026-11-25T12:00:00Z";
const SIGNATURE: &str = "\"signature\":\"00\"";

fn file(bytes: impl Into<Vec<u8>>) -> File {
    File {
        path: "f".to_owned(),
        bytes: bytes.into().into(),
    }
}

/// What is said of one file: the reason of its refusal, or none where it is ignored.
async fn reason(kept: &Kept, bytes: impl Into<Vec<u8>>) -> Option<String> {
    let report = kept.import_gathered(vec![file(bytes)]).await;
    assert_eq!(
        (report.admitted, report.known, report.held, report.future),
        (0, 0, 0, 0)
    );
    assert_eq!(
        report.ignored as usize + report.refused.len(),
        1,
        "{report:?}"
    );
    report
        .refused
        .into_iter()
        .next()
        .map(|refused| refused.reason)
}

#[tokio::test]
async fn collateral_that_cannot_be_read_is_refused_with_the_reason() {
    let kept = Kept::open(TrustAnchors::intel(), NOW).await;
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let open = "{\"a\":".repeat(200_000);
    let crl = [
        0x30, 0x82, 0x10, 0, 0x30, 0x82, 0x0f, 0, 2, 1, 1, 0x30, 0x0a,
    ];
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "truncated",
            br#"{"tcbInfo":{"id":"SGX","vers"#.to_vec(),
            "EOF",
        ),
        (
            "truncated after the object",
            br#"{"tcbInfo":{}"#.to_vec(),
            "EOF",
        ),
        (
            "truncated bundle",
            br#"{"tcb_info":"{\"id\"","pck_crl":"#.to_vec(),
            "EOF",
        ),
        ("no signature", br#"{"tcbInfo":{"id":"SGX"}}"#.to_vec(), ""),
        (
            "doubled member",
            format!("{{\"tcbInfo\":{{}},\"tcbInfo\":{{}},{SIGNATURE}}}").into(),
            "duplicate member",
        ),
        (
            "doubled signature",
            format!("{{\"tcbInfo\":{{}},{SIGNATURE},{SIGNATURE}}}").into(),
            "duplicate member",
        ),
        (
            "doubled by an escape",
            format!("{{\"tcbInfo\":{{}},\"tcbInf\\u006f\":{{}},{SIGNATURE}}}").into(),
            "duplicate member",
        ),
        (
            "doubled inside",
            format!("{{\"tcbInfo\":{{\"id\":\"SGX\",\"id\":\"TDX\"}},{SIGNATURE}}}").into(),
            "duplicate field",
        ),
        (
            "two kinds",
            format!("{{\"tcbInfo\":{{}},\"enclaveIdentity\":{{}},{SIGNATURE}}}").into(),
            "",
        ),
        (
            "version 1",
            format!("{{\"tcbInfo\":{{\"version\":1,\"fmspc\":\"00906EA10000\"}},{SIGNATURE}}}")
                .into(),
            "version 1 is not supported",
        ),
        (
            "deep inside",
            format!("{{\"tcbInfo\":{{\"id\":{deep}}},{SIGNATURE}}}").into(),
            "",
        ),
        (
            "deep beside",
            format!("{{\"tcbInfo\":{{}},\"x\":{deep},{SIGNATURE}}}").into(),
            "",
        ),
        (
            "deep and open",
            format!("{{\"tcbInfo\":{open}").into(),
            "EOF",
        ),
        (
            "huge",
            format!(
                "{{\"tcbInfo\":{{\"x\":\"{}\"}},{SIGNATURE}}}",
                "x".repeat(2 << 20)
            )
            .into(),
            "2097",
        ),
        (
            "not UTF-8",
            [
                b"{\"tcbInfo\":{\"id\":\"".as_slice(),
                &[0xff, 0xfe],
                b"\"}}",
            ]
            .concat(),
            "not UTF-8",
        ),
        (
            "NUL",
            b"{\"tcbInfo\":{\"id\":\"\0\"},\"signature\":\"00\"}".to_vec(),
            "control character",
        ),
        (
            "null",
            format!("{{\"enclaveIdentity\":null,{SIGNATURE}}}").into(),
            "",
        ),
        (
            "a number for the object",
            format!("{{\"tcbEvaluationDataNumbers\":7,{SIGNATURE}}}").into(),
            "not an object",
        ),
        ("a cut CRL", crl.to_vec(), ""),
        (
            "a cut CRL in hex",
            data_encoding::HEXLOWER.encode(&crl).into(),
            "",
        ),
        (
            "an odd digit",
            (data_encoding::HEXLOWER.encode(&crl) + "3").into(),
            "",
        ),
        (
            "a CRL block without its end",
            b"-----BEGIN X509 CRL-----\nMIIB".to_vec(),
            "without its end",
        ),
        (
            "a CRL block of noise",
            b"-----BEGIN X509 CRL-----\n!!\n-----END X509 CRL-----\n".to_vec(),
            "not Base64",
        ),
        (
            "a PCCS export of noise",
            br#"{"platforms":[],"collaterals":{"tcbinfos":7}}"#.to_vec(),
            "invalid type",
        ),
        (
            "a bundle of noise",
            br#"{"pck_crl":"noise"}"#.to_vec(),
            "neither JSON, nor a CRL",
        ),
    ];
    for (name, bytes, words) in cases {
        let found = reason(&kept, bytes)
            .await
            .unwrap_or_else(|| panic!("{name} was ignored"));
        assert!(found.contains(words), "{name}: {found}");
        assert!(
            found.len() < 1000 && !found.contains(|c: char| c.is_control()),
            "{name}: {found:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_collateral_is_ignored() {
    let kept = Kept::open(TrustAnchors::intel(), NOW).await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("space", b" \r\n\t".to_vec()),
        ("text", b"tcbInfo and a signature".to_vec()),
        ("digits", b"3.14".to_vec()),
        ("hex of something", b"3082".to_vec()),
        ("csv", b"file,kind\na,\"tcbInfo\"\n".to_vec()),
        ("JSON of others", br#"{"a":1,"a":2}"#.to_vec()),
        ("cut JSON of others", br#"{"a":[1,{"b":"#.to_vec()),
        (
            "a list of PCK certificates",
            br#"[{"tcb":{},"tcbm":"00","cert":"-----BEGIN%20CERTIFICATE-----"}]"#.to_vec(),
        ),
        ("deep", "[".repeat(1 << 20).into()),
        ("deep objects", "{\"a\":".repeat(1 << 18).into()),
        (
            "a quote",
            [
                &[3, 0, 2, 0][..],
                &[0xff; 400],
                b"-----BEGIN CERTIFICATE-----",
            ]
            .concat(),
        ),
        ("a key", vec![0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20]),
        (
            "a cut certificate",
            vec![0x30, 0x82, 1, 0, 0x30, 0x81, 0xf0, 0xa0, 3, 2, 1, 2],
        ),
        (
            "begins without ends",
            "-----BEGIN A-----".repeat(100_000).into(),
        ),
        (
            "other begins",
            (0..100_000)
                .map(|i| format!("-----BEGIN {i}-----"))
                .collect::<String>()
                .into(),
        ),
    ];
    for (name, bytes) in cases {
        assert_eq!(reason(&kept, bytes).await, None, "{name}");
    }
}

#[test]
fn no_cut_and_no_flip_of_a_container_panics() {
    let container = br#"{"collaterals":{"version":4,"tcbinfos":[{"fmspc":"00906ED50000","sgx_tcbinfo":{"tcbInfo":{"id":"SGX","version":3},"signature":"00"}}],"pckcacrl":{"processorCrl":"3082012a3081d1020101300a","platformCrl":"MAo="},"qeidentity":"{\"enclaveIdentity\":{},\"signature\":\"00\"}","certificates":{"TCB-Info-Issuer-Chain":"-----BEGIN%20CERTIFICATE-----%0AMII"},"rootcacrl":"30"}}"#;
    for cut in 0..container.len() {
        objects::find("f", &bytes::Bytes::from(container[..cut].to_vec()));
        for bit in [0x01, 0x20, 0x80] {
            let mut flipped = container.to_vec();
            flipped[cut] ^= bit;
            objects::find("f", &flipped.into());
        }
    }
    let whole = objects::find("f", &bytes::Bytes::from_static(container));
    let paths: Vec<&str> = whole.flaws.iter().map(|flaw| flaw.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "f#rootcacrl",
            "f#pckcacrl.processorCrl",
            "f#pckcacrl.platformCrl",
            "f#qeidentity",
            "f#tcbinfos[0].sgx_tcbinfo"
        ]
    );
}

#[test]
fn folders_links_and_what_cannot_be_read() {
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::write(outside.path().join("secret"), "text").expect("written");
    let inside = tempfile::tempdir().expect("a folder");
    let folder = |name: &str| inside.path().join(name);
    std::fs::create_dir_all(folder("a/b")).expect("made");
    std::fs::write(folder("a/b/text"), "text").expect("written");
    symlink("..", folder("a/b/up")).expect("a link");
    symlink(".", folder("here")).expect("a link");
    symlink("itself", folder("itself")).expect("a link");
    symlink("a/b/text", folder("same")).expect("a link");
    symlink(outside.path(), folder("out")).expect("a link");
    symlink(outside.path().join("secret"), folder("out-file")).expect("a link");
    symlink("nothing", folder("dangling")).expect("a link");
    let socket = std::os::unix::net::UnixListener::bind(folder("socket")).expect("a socket");
    let huge = std::fs::File::create(folder("huge")).expect("a file");
    huge.set_len((64 << 20) + 1).expect("a sparse file");

    let gathered = read(&[inside.path()]);
    // The text twice, once by its link; the socket; the link to itself.
    assert_eq!(gathered.ignored, 4, "{gathered:?}");
    let refused: Vec<(&str, &str)> = gathered
        .unreadable
        .iter()
        .map(|refused| {
            (
                Path::new(&refused.path)
                    .file_name()
                    .and_then(|name| name.to_str())
                    .expect("a name"),
                refused.reason.as_str(),
            )
        })
        .collect();
    let names: Vec<&str> = refused.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["dangling", "out", "out-file", "huge"]);
    assert!(refused[1].1.contains("leads out") && refused[2].1.contains("leads out"));
    assert!(refused[3].1.contains("at most 67108864"), "{refused:?}");
    assert!(
        gathered
            .unreadable
            .iter()
            .all(|refused| refused.kind == "file")
    );

    // What the operator names is followed.
    assert_eq!(read(&[&folder("out")]).ignored, 1);
    assert_eq!(read(&[&folder("no-such")]).unreadable.len(), 1);
    // A folder named twice is two namings.
    assert_eq!(read(&[&folder("a/b/text"), &folder("a/b/text")]).ignored, 2);
    drop(socket);
}

#[test]
fn a_file_that_fails_while_it_is_read_is_refused() {
    // Root may read everything, so permissions prove nothing here; this one fails for everybody.
    let gathered = read(&[Path::new("/proc/self/mem")]);
    assert_eq!(
        (gathered.unreadable.len(), gathered.ignored),
        (1, 0),
        "{gathered:?}"
    );
}

fn read(paths: &[&Path]) -> Gathered {
    let paths: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
    thim_server::intake::read(&paths, &mut |_| {})
}
