//! The real binary in a folder of its own, and a client that shares no code with it beyond rustls.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A folder that is gone after the test.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect(name)
    }

    /// Runs `weir` here to its end.
    pub fn weir(&self, arguments: &[&str]) -> Ended {
        self.weir_with(arguments, "")
    }

    /// Runs `weir` here with this on stdin.
    pub fn weir_with(&self, arguments: &[&str], input: &str) -> Ended {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("weir starts");
        child
            .stdin
            .take()
            .expect("stdin")
            .write_all(input.as_bytes())
            .expect("weir reads");
        Ended::of(child.wait_with_output().expect("weir ends"), arguments)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WEIR_LOG")
            .env_remove("RUST_BACKTRACE")
            .env("NO_COLOR", "1");
        command
    }

    /// `weir init`, on ports that the system chooses.
    pub fn init(&self) -> String {
        self.weir(&["init", "."]).succeeds();
        let config = self
            .read("weir.toml")
            .replace("127.0.0.1:8443\"", "127.0.0.1:0\"")
            .replace("127.0.0.1:9443", "127.0.0.1:0");
        self.write("weir.toml", &config);
        self.read("ops-agent.token").trim().to_owned()
    }

    /// `weir serve` from `weir.toml` here.
    pub fn serve(&self) -> Served {
        self.serve_with(&[])
    }

    /// As [`Folder::serve`], with these variables in its environment.
    pub fn serve_with(&self, environment: &[(&str, &str)]) -> Served {
        let mut child = self
            .command(&["serve"])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("weir starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut told = String::new();
        while !told.contains("record ") {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("weir serve ended:\n{told}"))
                .expect("text");
            told += &line;
            told.push('\n');
        }
        let word = |label: &str| {
            let line = told
                .lines()
                .find(|line| line.starts_with(label))
                .unwrap_or_else(|| panic!("no {label} in\n{told}"));
            line.split_whitespace().nth(1).expect("a value").to_owned()
        };
        let url = word("serving");
        let authority = url
            .trim_start_matches("https://")
            .split('/')
            .next()
            .expect("an address")
            .to_owned();
        Served {
            admin: word("admin"),
            ca: PathBuf::from(word("trust")),
            authority,
            child,
            rest: lines,
        }
    }
}

/// A command that ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    what: String,
}

impl Ended {
    fn of(output: Output, arguments: &[&str]) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let ended = Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            what: format!("weir {}", arguments.join(" ")),
        };
        assert!(!ended.stderr.contains("panicked"), "{ended}");
        ended
    }

    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.ends_with(0)
    }

    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// One line on stderr says what is wrong, and it says this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let found = self.stderr.lines().any(|line| line.contains(text));
        assert!(found, "no line with `{text}` in {self}");
        self
    }

    #[track_caller]
    pub fn shows(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no `{text}` in {self}");
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` ({:?})\n--- stdout\n{}\n--- stderr\n{}",
            self.what, self.code, self.stdout, self.stderr
        )
    }
}

/// A proxy under way; killed if the test leaves it behind.
pub struct Served {
    pub authority: String,
    pub admin: String,
    pub ca: PathBuf,
    child: Child,
    rest: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Served {
    /// Sends SIGTERM and gives the exit code and what was printed then.
    pub fn stop(self) -> (Option<i32>, String) {
        self.signal("-TERM");
        self.wait()
    }

    /// Waits for its end, and gives the exit code and what was printed then.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let rest = self
            .rest
            .by_ref()
            .map(|line| line.expect("text") + "\n")
            .collect();
        (self.child.wait().expect("weir ends").code(), rest)
    }

    /// Sends a signal, `-HUP`.
    pub fn signal(&self, signal: &str) {
        let killed = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(killed.success());
    }

    /// Posts a body to the server `truenas`.
    pub fn post(&self, token: &str, body: &str) -> Answer {
        self.request("POST", "/truenas/mcp", token, body)
    }

    /// Calls a tool, and gives the text of its result and whether it is an error.
    pub fn call(&self, token: &str, action: &str, params: &serde_json::Value) -> (String, bool) {
        let arguments = serde_json::json!({ "category": "vm", "action": action, "params": params });
        let message = serde_json::json!({
            "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "truenas", "arguments": arguments }
        });
        let answer = self.post(token, &message.to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
        let result = &answer.message()["result"];
        let text = result["content"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("no text in {}", answer.body));
        (text.to_owned(), result["isError"] == true)
    }

    pub fn request(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let accept = "application/json, text/event-stream";
        self.way().send(method, path, (token, accept), body)
    }

    /// The way to it, which another thread may take too.
    pub fn way(&self) -> Way {
        Way {
            authority: self.authority.clone(),
            ca: self.ca.clone(),
        }
    }

    /// Kills it: nothing is finished.
    pub fn kill(mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("weir ends");
    }

    /// Asks the admin address, which speaks plain HTTP.
    pub fn admin(&self, path: &str) -> Answer {
        self.admin_send("GET", path, "", "")
    }

    /// Sends to the admin address, with these header lines.
    pub fn admin_send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let authority = self
            .admin
            .trim_start_matches("http://")
            .split('/')
            .next()
            .expect("an address");
        let mut stream = TcpStream::connect(authority).expect("the admin address answers");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("it goes out");
        Answer::read(&mut stream)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where a proxy serves, and what it shows.
#[derive(Clone)]
pub struct Way {
    authority: String,
    ca: PathBuf,
}

impl Way {
    /// Sends one request and reads the answer to its end.
    pub fn send(&self, method: &str, path: &str, by: (&str, &str), body: &str) -> Answer {
        let mut stream = self.begin(method, path, by, body);
        Answer::read(&mut stream)
    }

    /// Sends one request; what is dropped hangs up.
    pub fn begin(
        &self,
        method: &str,
        path: &str,
        (token, accept): (&str, &str),
        body: &str,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Accept: {accept}\r\nMCP-Protocol-Version: 2025-06-18\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.authority,
            body.len()
        );
        let mut stream = connect(&self.authority, &self.ca);
        stream.write_all(head.as_bytes()).expect("headers go out");
        stream
            .write_all(body.as_bytes())
            .expect("the body goes out");
        stream.flush().expect("all of it goes out");
        stream
    }
}

fn connect(authority: &str, ca: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).expect("the CA reads"))
        .expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions");
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect(authority).expect("the proxy answers");
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    StreamOwned::new(
        ClientConnection::new(Arc::new(config), name).expect("TLS"),
        socket,
    )
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    fn read(stream: &mut impl std::io::Read) -> Self {
        let mut bytes = Vec::new();
        // A peer that closes TLS without a farewell is fine here: the length says where the body ends.
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
        }
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text}"));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        let chunked = head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked");
        Self {
            status,
            body: if chunked {
                dechunk(body)
            } else {
                body.to_owned()
            },
        }
    }

    /// The JSON-RPC message, from JSON or from the last event of a stream.
    pub fn message(&self) -> serde_json::Value {
        let data = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .next_back();
        serde_json::from_str(data.unwrap_or(&self.body))
            .unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
        whole += &rest[..size];
        body = rest[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}
