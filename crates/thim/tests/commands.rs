//! The real program as a user meets it: exit codes, JSON, wrong words, a directory in use, a running service.

mod program;

use program::{code, json, said, serve, thim};

#[test]
fn a_running_service_answers_the_commands_and_keeps_its_directory() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_running, url, data) = serve(folder.path());
    let status = thim(&["status", "--service", &url, "--json"]);
    assert_eq!(code(&status), 0, "{}", said(&status));
    assert_eq!(json(&status)["trust"], "replaced");
    let list = thim(&["collateral", "list", "--service", &url, "--json"]);
    assert_eq!(code(&list), 0, "{}", said(&list));
    assert!(json(&list).is_array());
    let events = thim(&["collateral", "events", "--service", &url, "--json"]);
    assert_eq!(code(&events), 0);
    assert!(
        json(&events)
            .as_array()
            .expect("events")
            .iter()
            .any(|event| event["name"] == "trust.replaced")
    );

    let token = data.join("admin.token");
    let plan = thim(&[
        "collateral",
        "refresh",
        "--dry-run",
        "--all",
        "--service",
        &url,
        "--json",
    ]);
    assert_eq!(code(&plan), 0, "{}", said(&plan));
    let refused = thim(&["collateral", "refresh", "--service", &url]);
    assert_eq!(code(&refused), 2, "no token");
    assert!(
        said(&refused).contains("bearer token"),
        "{}",
        said(&refused)
    );
    let done = thim(&[
        "collateral",
        "refresh",
        "--all",
        "--service",
        &url,
        "--token-file",
        token.to_str().expect("text"),
        "--json",
    ]);
    assert_eq!(
        code(&done),
        0,
        "{} {}",
        said(&done),
        String::from_utf8_lossy(&done.stdout)
    );
    let shown = thim(&[
        "collateral",
        "show",
        "intel/root-crl",
        "--service",
        &url,
        "--json",
    ]);
    assert_eq!(
        (code(&shown), &json(&shown)["state"]),
        (0, &serde_json::json!("current"))
    );
    let unheld = thim(&[
        "collateral",
        "release",
        "0123456789abcdef",
        "--service",
        &url,
        "--token-file",
        token.to_str().expect("text"),
    ]);
    assert_eq!(code(&unheld), 1, "{}", said(&unheld));

    let refused = thim(&[
        "collateral",
        "release",
        "0123456789abcdef",
        "--service",
        &url,
    ]);
    assert_eq!(
        code(&refused),
        2,
        "no token, so whether it is held is not told"
    );
    assert!(
        said(&refused).contains("bearer token"),
        "{}",
        said(&refused)
    );

    let in_use = thim(&["collateral", "list", "--data", data.to_str().expect("text")]);
    assert_eq!(code(&in_use), 2);
    assert!(
        said(&in_use).contains("in use by another thim"),
        "{}",
        said(&in_use)
    );
    let second = thim(&[
        "serve",
        "--sim",
        "--http",
        "127.0.0.1:0",
        "--https",
        "off",
        "--data",
        folder.path().to_str().expect("text"),
    ]);
    assert_eq!(
        code(&second),
        2,
        "a second simulation does not empty the first one's store"
    );
    let still = thim(&["collateral", "show", "intel/root-crl", "--service", &url]);
    assert_eq!(code(&still), 0);
}

#[test]
fn imports_say_what_became_of_every_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    std::fs::write(at("words.txt"), "nothing of use").expect("written");
    std::fs::write(
        at("broken.json"),
        "{\"tcbInfo\":{\"version\":3},\"signature\":\"\"}",
    )
    .expect("written");
    let ignored = thim(&[
        "collateral",
        "import",
        &at("words.txt"),
        "--data",
        &at("data"),
        "--json",
    ]);
    assert_eq!(code(&ignored), 0, "{}", said(&ignored));
    assert_eq!(
        String::from_utf8_lossy(&ignored.stdout).trim(),
        r#"{"admitted":0,"known":0,"held":0,"future":0,"ignored":1,"refused":[]}"#
    );
    let refused = thim(&[
        "collateral",
        "import",
        &at("broken.json"),
        "--data",
        &at("data"),
        "--json",
    ]);
    assert_eq!(code(&refused), 1);
    let report = json(&refused);
    assert_eq!(report["refused"][0]["kind"], "tcb-info");
    assert!(
        report["refused"][0]["path"]
            .as_str()
            .expect("a path")
            .ends_with("broken.json")
    );
    let verified = thim(&["verify", "collateral", &at("broken.json"), "--json"]);
    assert_eq!(code(&verified), 1);
    let nothing = thim(&["verify", "collateral", &at("words.txt")]);
    assert_eq!(code(&nothing), 2, "there is nothing to tell about");
    let absent = thim(&["verify", "collateral", &at("absent")]);
    assert_eq!(code(&absent), 2);
    let empty = thim(&["collateral", "list", "--data", &at("data"), "--json"]);
    assert_eq!((code(&empty), json(&empty)), (0, serde_json::json!([])));
    let events = thim(&["collateral", "events", "--data", &at("data"), "--json"]);
    assert_eq!(json(&events)[0]["name"], "edition.unverified");
}

#[test]
fn wrong_words_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder
        .path()
        .join("data")
        .to_str()
        .expect("text")
        .to_owned();
    for (arguments, named) in [
        (
            vec!["collateral", "show", "intel/nosuch", "--data", &data],
            "intel/nosuch",
        ),
        (
            vec!["collateral", "list", "--state", "good", "--data", &data],
            "good",
        ),
        (vec!["serve", "--clock", "yesterday"], "yesterday"),
        (
            vec!["serve", "--http", "off", "--https", "off", "--data", &data],
            "both listeners are off",
        ),
        (
            vec![
                "serve", "--http", "nonsense", "--https", "off", "--data", &data,
            ],
            "nonsense",
        ),
        (
            vec![
                "collateral",
                "list",
                "--data",
                &data,
                "--service",
                "http://127.0.0.1:9",
            ],
            "--service",
        ),
        (
            vec!["collateral", "list", "--service", "http://127.0.0.1:9"],
            "127.0.0.1:9",
        ),
        (
            vec!["collateral", "list", "--config", "/no/such.toml"],
            "/no/such.toml",
        ),
        (
            vec!["collateral", "list", "--data", "/proc/thim"],
            "/proc/thim",
        ),
        (vec!["frobnicate"], "frobnicate"),
    ] {
        let output = thim(&arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", said(&output));
        assert!(
            said(&output).contains(named),
            "{arguments:?}: {}",
            said(&output)
        );
    }
}

#[test]
fn the_past_can_be_looked_at_and_not_changed() {
    let vectors =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/intel/crl");
    if !vectors.exists() {
        println!("skipped: no vectors");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder
        .path()
        .join("data")
        .to_str()
        .expect("text")
        .to_owned();
    let crl = |name: &str| vectors.join(name).to_str().expect("text").to_owned();
    let june = thim(&[
        "collateral",
        "import",
        &crl("platform-2026-06-12-8c47d4.der"),
        "--data",
        &data,
        "--clock",
        "2026-06-13T00:00:00Z",
    ]);
    assert_eq!(code(&june), 0, "{}", said(&june));
    let july = thim(&[
        "collateral",
        "import",
        &crl("platform-2026-07-16-59856f.der"),
        "--data",
        &data,
        "--clock",
        "2026-07-16T09:00:00Z",
    ]);
    assert_eq!(code(&july), 0);
    let show = |clock: &[&str]| {
        let mut arguments = vec![
            "collateral",
            "show",
            "intel/pck-crl/platform",
            "--data",
            &data,
            "--json",
        ];
        arguments.extend(clock);
        json(&thim(&arguments))["revoked_entries"].as_u64()
    };
    assert_eq!(show(&["--clock", "2026-07-16T09:00:00Z"]), Some(129));
    assert_eq!(
        show(&["--clock", "2026-07-01T00:00:00Z"]),
        Some(57),
        "by the vendor's dates"
    );
    let then = thim(&[
        "collateral",
        "list",
        "--data",
        &data,
        "--json",
        "--clock",
        "2026-07-16T09:00:00Z",
        "--known-at",
        "2026-07-01T00:00:00Z",
    ]);
    assert_eq!(
        json(&then).as_array().map(Vec::len),
        Some(1),
        "what THIM itself knew"
    );
    let past = thim(&[
        "collateral",
        "import",
        &crl("processor-2026-02-14-c958dd.der"),
        "--data",
        &data,
        "--clock",
        "2026-07-01T00:00:00Z",
    ]);
    assert_eq!(code(&past), 2, "nothing is admitted into the past");
}
