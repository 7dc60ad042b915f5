//! The real program: run once, or serving the simulator on a port of its own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Stops the child when a test ends, however it ends.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn thim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thim"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", out(output), said(output)))
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// `thim serve --sim` on a port of its own; where it listens, and its data.
pub fn serve(folder: &Path) -> (Running, String, PathBuf) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_thim"))
        .args([
            "serve",
            "--sim",
            "--https",
            "off",
            "--http",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"))
        .lines()
        .map_while(Result::ok);
    let url = lines
        .find_map(|line| {
            line.trim()
                .strip_prefix("http://")
                .map(|rest| format!("http://{rest}"))
        })
        .expect("it says where");
    // Read on, so that the child never waits for us; the last line stands when everything does.
    assert!(
        lines.any(|line| line.starts_with("try:")),
        "it says what to try"
    );
    (Running(child), url, folder.join("sim"))
}
