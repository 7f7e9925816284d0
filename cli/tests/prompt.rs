//! The prompt of `weir query` on a terminal: `script` of util-linux lends one.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::Folder;

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";
const TAB: &str = "\t";
const UP: &str = "\u{1b}[A";

/// A prompt on a terminal of its own.
struct Prompt {
    child: Child,
    screen: Arc<Mutex<String>>,
    /// What of the screen was looked at.
    seen: usize,
}

impl Prompt {
    fn open(folder: &Folder) -> Self {
        let weir = env!("CARGO_BIN_EXE_weir");
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command"])
            // Without `exec` the shell stays, and Ctrl-C reaches it too: dash then ends with 130.
            .arg(format!("exec {weir} query --record record"))
            .arg("/dev/null")
            .current_dir(folder.path(""))
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env("XDG_STATE_HOME", folder.path("state"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script` of util-linux, which every Debian has");
        let mut out = child.stdout.take().unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                let text = String::from_utf8_lossy(bytes.get(..read).unwrap()).into_owned();
                shown.lock().unwrap().push_str(&text);
            }
        });
        let mut prompt = Self {
            child,
            screen,
            seen: 0,
        };
        prompt.shows("weir> ");
        prompt
    }

    fn types(&mut self, keys: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(keys.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Waits until the terminal shows this, after what was looked at before.
    fn shows(&mut self, text: &str) {
        let begun = Instant::now();
        loop {
            let screen = self.screen.lock().unwrap().clone();
            let new = screen.get(self.seen..).unwrap();
            if let Some(at) = new.find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "no {text:?} in {new:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ends(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

fn record() -> Folder {
    let folder = Folder::new();
    folder
        .weir(&[
            "generate", "--calls", "200", "--seed", "7", "--out", "record",
        ])
        .succeeds();
    folder
}

#[test]
fn a_person_asks_completes_and_asks_again() {
    let folder = record();
    let mut prompt = Prompt::open(&folder);
    // Over two lines, with a column and a table completed.
    prompt.types("SELECT count(*) AS n, min(decided_a");
    prompt.types(TAB);
    prompt.shows("decided_at");
    prompt.types(") AS first\r");
    prompt.types("FROM call");
    prompt.types(TAB);
    prompt.types(";\r");
    prompt.shows("200");
    prompt.shows("1 row");
    prompt.shows("weir> ");
    prompt.types("\\d\r");
    for table in ["calls", "changes", "events", "sessions"] {
        prompt.shows(table);
    }
    prompt.shows("weir> ");
    prompt.types("\\named bur");
    prompt.types(TAB);
    prompt.types(" sec");
    prompt.types(TAB);
    prompt.types("10\r");
    prompt.shows("row");
    prompt.shows("weir> ");
    prompt.types("\\format json\r");
    prompt.shows("weir> ");
    prompt.types("SELECT 1 AS one;\r");
    prompt.shows("{\"one\":1}");
    prompt.shows("weir> ");
    prompt.types("\\named nosuch\r");
    prompt.shows("no question is called `nosuch`");
    prompt.shows("weir> ");
    prompt.types("SELECT nothing FROM calls;\r");
    prompt.shows("error");
    prompt.shows("weir> ");
    prompt.types(CTRL_D);
    assert_eq!(prompt.ends(), Some(0));

    // Another prompt remembers; what began with a space it does not.
    let mut prompt = Prompt::open(&folder);
    prompt.types(" SELECT 41 + 1 AS secret;\r");
    prompt.shows("42");
    prompt.shows("weir> ");
    prompt.types(UP);
    prompt.shows("SELECT nothing FROM calls;");
    prompt.types(UP);
    prompt.types(UP);
    prompt.shows("SELECT 1 AS one;");
    prompt.types("\r");
    prompt.shows("1 row");
    prompt.shows("weir> ");
    prompt.types("\\q\r");
    assert_eq!(prompt.ends(), Some(0));
    let history = folder.read("state/weir/query-history");
    assert!(history.contains("SELECT 1 AS one;"), "{history}");
    assert!(!history.contains("secret"), "{history}");
}

#[test]
fn ctrl_c_ends_the_question_and_not_the_prompt() {
    let folder = record();
    let mut prompt = Prompt::open(&folder);
    // These would take hours: one reads on and on, of the other one row meets all others.
    for (series, pause) in [(1_000_000_000_000_u64, 300), (1_000_000, 1500)] {
        prompt.types(&format!(
            "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, {series}) b;\r"
        ));
        prompt.shows(";");
        std::thread::sleep(Duration::from_millis(pause));
        let begun = Instant::now();
        prompt.types(CTRL_C);
        prompt.shows("interrupted");
        assert!(begun.elapsed() < Duration::from_secs(10));
        prompt.shows("weir> ");
    }
    // At the prompt it clears the line.
    prompt.types("SELECT 'half");
    prompt.shows("half");
    prompt.types(CTRL_C);
    prompt.shows("weir> ");
    prompt.types("SELECT count(*) AS n FROM calls;\r");
    prompt.shows("200");
    prompt.shows("weir> ");
    prompt.types("\\q\r");
    assert_eq!(prompt.ends(), Some(0));
}
