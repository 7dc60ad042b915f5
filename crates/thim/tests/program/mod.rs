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
    let (running, url) = start(&[
        "serve",
        "--sim",
        "--https",
        "off",
        "--http",
        "127.0.0.1:0",
        "--data",
        text(folder),
    ]);
    (running, url, folder.join("sim"))
}

/// Something that listens, and where: the first URL that it prints.
pub fn start(arguments: &[&str]) -> (Running, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_thim"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"))
        .lines()
        .map_while(Result::ok);
    let running = Running(child);
    let url = lines
        .find_map(|line| {
            line.trim()
                .strip_prefix("http://")
                .map(|rest| format!("http://{rest}"))
        })
        .expect("it says where");
    // Read on, so that the child never waits for us.
    std::thread::spawn(move || lines.count());
    (running, url)
}

/// An answer to a plain GET.
pub struct Got {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        let wanted = format!("{name}: ");
        let mut lines = self.head.lines();
        lines
            .find_map(|line| {
                let start = line.get(..wanted.len())?;
                start
                    .eq_ignore_ascii_case(&wanted)
                    .then(|| &line[wanted.len()..])
            })
            .unwrap_or("")
    }
}

/// GET, with these header lines.
pub fn get(base: &str, target: &str, headers: &[&str]) -> Got {
    use std::io::{Read, Write};
    let address = base.strip_prefix("http://").expect("plain HTTP");
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let mut request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Got {
        status: status.expect("a status"),
        body: answer[end + 4..].to_vec(),
        head,
    }
}
