//! Calls that wait for a person: the real binary, real TLS, an upstream that keeps every byte it gets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Answer, Folder, Served};

const AGENT: &str = "weir_agent";
const ANNA: &str = "weir_anna";
const BEN: &str = "weir_ben";
const BOTH: &str = "application/json, text/event-stream";
const RULE: &str = "/tools/vm_stop/approve_if/always";

/// An MCP server that keeps what it gets.
struct Upstream {
    port: u16,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    while let Some(body) = request(&mut stream) {
                        let id =
                            serde_json::from_str::<Value>(&body).unwrap_or_default()["id"].clone();
                        kept.lock().unwrap().push(body);
                        let answer = json!({"jsonrpc":"2.0","id":id,"result":{"content":[{"type":"text","text":"stopped"}]}}).to_string();
                        write!(stream.get_mut(), "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()).unwrap();
                    }
                });
            }
        });
        Self { port, bodies }
    }

    fn got(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }
}

fn request(stream: &mut BufReader<std::net::TcpStream>) -> Option<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(String::from_utf8(body).unwrap())
}

struct Stage {
    folder: Folder,
    upstream: Upstream,
}

impl Stage {
    fn new(timeout: &str) -> Self {
        let (folder, upstream) = (Folder::new(), Upstream::start());
        let hash = |token: &str| hex::encode(Sha256::digest(token));
        folder.write(
            "policy.json",
            &format!(
                r#"{{"version":"1","default":"allow","tools":{{
                     "vm_stop":{{"action":"approve","reason":"Stopping a VM needs a person.","timeout":"{timeout}",
                                "rate_limit":{{"max":1,"window":86400}}}}}}}}"#
            ),
        );
        folder.write(
            "weir.toml",
            &format!(
                r#"[listen]
address = "127.0.0.1:0"
[record]
path = "record"
gaps = "empty"
[admin]
address = "127.0.0.1:0"
approvers = [
  {{ name = "anna", token = {{ sha256 = "{anna}" }} }},
  {{ name = "ben", token = {{ sha256 = "{ben}" }} }},
]
[approvals]
held_per_grant_max = 2
keep_alive = "100ms"
[[server]]
name = "truenas"
url = "http://127.0.0.1:{port}/mcp"
[[grant]]
name = "ops-agent"
server = "truenas"
token = {{ sha256 = "{agent}" }}
policy = "policy.json"
"#,
                anna = hash(ANNA),
                ben = hash(BEN),
                agent = hash(AGENT),
                port = upstream.port,
            ),
        );
        Self { folder, upstream }
    }

    /// Asks for a call in a thread of its own.
    fn ask(served: &Served, accept: &'static str, body: String) -> JoinHandle<Answer> {
        let way = served.way();
        std::thread::spawn(move || way.send("POST", "/truenas/mcp", (AGENT, accept), &body))
    }

    /// What the record says of calls of `vm_stop`.
    fn rows(&self) -> Vec<Value> {
        let sql = "SELECT verdict, reason, rule, message, outcome, given_back, arguments, approval.by AS by, approval.answer AS answer, \
                   approval.asked_at <= approval.answered_at AS in_order, finish_seq = approval.answer_seq AS ended_with_it, \
                   encode(arguments_digest, 'hex') AS digest FROM calls WHERE tool = 'vm_stop' ORDER BY seq";
        let rows = self
            .folder
            .weir(&["query", "--record", "record", "--format", "json", sql])
            .succeeds()
            .json();
        rows.as_array().unwrap().clone()
    }

    /// Under its own policies nothing of the record would be otherwise.
    fn replays(&self) {
        for state in ["counterfactual", "recorded"] {
            let report = self
                .folder
                .weir(&[
                    "replay", "--record", "record", "--state", state, "--format", "json",
                ])
                .succeeds()
                .json();
            assert_eq!(
                report["classes"]["same"], report["record"]["calls"],
                "{report}"
            );
        }
        self.folder
            .weir(&["verify", "--record", "record"])
            .ends_with(6); // nothing is wrong with it; it has no anchor
    }
}

fn stop(id: u32, vm: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0", "id":{id},"method":"tools/call","params":{{"name":"vm_stop","arguments":{{"id":{vm},  "force" : true}}}}}}"#
    )
}

/// Waits until so many calls wait.
fn held(served: &Served, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let held = say(served, ANNA, "GET", "", "").message()["held"].clone();
        let held = held.as_array().unwrap().clone();
        if held.len() == count {
            return held;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{held:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn say(served: &Served, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    served.admin_send(method, &format!("/approvals{path}"), &headers, body)
}

fn approve(served: &Served, token: &str, question: &Value) -> Answer {
    let path = format!("/{}/approve", question["id"].as_str().unwrap());
    let body = json!({ "digest": question["digest"], "reason": "ticket 4711" });
    say(served, token, "POST", &path, &body.to_string())
}

fn deny(served: &Served, question: &Value) -> Answer {
    let path = format!("/{}/deny", question["id"].as_str().unwrap());
    say(served, ANNA, "POST", &path, r#"{"reason":"not tonight"}"#)
}

/// What the agent was told.
fn told(answer: &Answer) -> (String, bool) {
    let message = answer.message();
    let text = message["result"]["content"][0]["text"].as_str();
    let text = text.unwrap_or_else(|| panic!("{}", answer.body)).to_owned();
    (text, message["result"]["isError"] == true)
}

#[test]
fn an_approved_call_is_the_very_call_that_was_shown_and_a_denied_one_reaches_nobody() {
    let stage = Stage::new("5m");
    let served = stage.folder.serve();
    let agent = Stage::ask(&served, "application/json", stop(1, "7"));
    let question = held(&served, 1).remove(0);
    assert_eq!(question["arguments"], r#"{"id":7,  "force" : true}"#);
    assert_eq!(question["tool"], "vm_stop");
    assert_eq!(question["message"], "Stopping a VM needs a person.");
    assert_eq!(deny(&served, &question).status, 200);
    let (text, is_error) = told(&agent.join().unwrap());
    assert_eq!(
        (text.as_str(), is_error),
        (
            "[POLICY DENIED] Stopping a VM needs a person. A person said no: not tonight",
            true
        )
    );
    assert!(stage.upstream.got().is_empty());

    // Denied, it gave back the one call a day that the limit allows.
    let asked = stop(2, "8");
    let agent = Stage::ask(&served, BOTH, asked.clone());
    let question = held(&served, 1).remove(0);
    // While it waits it takes its place: another is denied by the limit, and not asked about.
    let (text, is_error) = told(&Stage::ask(&served, BOTH, stop(3, "9")).join().unwrap());
    assert!(is_error && text.contains("vm_stop_rate"), "{text}");
    assert!(
        stage.upstream.got().is_empty(),
        "nothing goes out before the answer"
    );
    let answered = approve(&served, ANNA, &question);
    assert_eq!(answered.message()["state"], "approved", "{}", answered.body);
    let answer = agent.join().unwrap();
    assert_eq!(told(&answer), ("stopped".to_owned(), false));
    assert!(
        answer.body.contains(": waiting for a person"),
        "{}",
        answer.body
    );
    assert_eq!(stage.upstream.got(), [asked]);

    let metrics = served.admin("/metrics").body;
    for line in [
        "weir_approvals_held 0",
        "weir_approvals_total{answer=\"approved\"} 1",
        "weir_approvals_total{answer=\"approval_denied\"} 1",
        "weir_approval_wait_seconds_count{answer=\"approved\"} 1",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    assert_eq!(served.stop().0, Some(0));
    let rows = stage.rows();
    let row = |verdict: &str, reason: &str, rule: &str, answer: Value| {
        let found = rows.iter().find(|row| row["reason"] == reason).unwrap();
        assert_eq!(found["verdict"], verdict, "{found}");
        assert_eq!((&found["rule"], &found["answer"]), (&json!(rule), &answer));
        found.clone()
    };
    assert_eq!(rows.len(), 3);
    let denied = row(
        "deny",
        "approval_denied",
        RULE,
        json!("denied: not tonight"),
    );
    assert_eq!(
        (&denied["by"], &denied["given_back"]),
        (&json!("anna"), &json!(true))
    );
    assert_eq!(
        (&denied["outcome"], &denied["ended_with_it"]),
        (&json!("refused"), &json!(true))
    );
    row(
        "deny",
        "limit_exceeded",
        "/tools/vm_stop/limits/vm_stop_rate",
        Value::Null,
    );
    let approved = row("allow", "approved", RULE, json!("approved: ticket 4711"));
    assert_eq!(
        (&approved["by"], &approved["outcome"]),
        (&json!("anna"), &json!("ok"))
    );
    assert_eq!(
        (&approved["in_order"], &approved["given_back"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(approved["arguments"], r#"{"id":8,  "force" : true}"#);
    assert_eq!(
        approved["digest"], question["digest"],
        "what was approved is what is recorded"
    );
    stage.replays();
}

#[test]
fn a_client_that_asked_for_progress_hears_it_and_time_that_runs_out_is_a_no() {
    let stage = Stage::new("1s");
    let served = stage.folder.serve();
    let body = stop(1, "7").replace(
        r#""params":{"#,
        r#""params":{"_meta":{"progressToken":"p1"},"#,
    );
    let answer = Stage::ask(&served, BOTH, body).join().unwrap();
    let events: Vec<Value> = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let progress: Vec<f64> = events
        .iter()
        .filter(|event| event["method"] == "notifications/progress")
        .map(|event| {
            assert_eq!(event["params"]["progressToken"], "p1");
            event["params"]["progress"].as_f64().unwrap()
        })
        .collect();
    assert!(progress.len() > 3, "{}", answer.body);
    assert!(progress.is_sorted_by(|a, b| a < b) && progress.iter().all(|p| *p < 0.0));
    let (text, is_error) = told(&answer);
    assert!(
        is_error && text.ends_with("Nobody answered in time."),
        "{text}"
    );
    // What it took is free again: the next one is asked about, and not denied by the limit.
    let agent = Stage::ask(&served, "application/json", stop(2, "8"));
    let question = held(&served, 1).remove(0);
    assert_eq!(question["state"], "held");
    assert!(
        told(&agent.join().unwrap())
            .0
            .ends_with("Nobody answered in time.")
    );
    let late = approve(&served, ANNA, &question);
    assert_eq!(late.status, 409);
    assert!(late.body.contains("approval_timeout"), "{}", late.body);
    assert_eq!(served.stop().0, Some(0));
    let rows = stage.rows();
    assert!(rows.iter().all(|row| row["reason"] == "approval_timeout"
        && row["given_back"] == true
        && row["by"].is_null()));
    assert_eq!((rows.len(), stage.upstream.got().len()), (2, 0));
    stage.replays();
}

#[test]
fn whoever_hangs_up_or_cancels_takes_the_request_back() {
    let stage = Stage::new("5m");
    let served = stage.folder.serve();
    for (id, accept) in [(1, "application/json"), (2, BOTH)] {
        let by = (AGENT, accept);
        let stream = served
            .way()
            .begin("POST", "/truenas/mcp", by, &stop(id, "7"));
        held(&served, 1);
        drop(stream);
        held(&served, 0);
    }
    let agent = Stage::ask(&served, BOTH, stop(3, "7"));
    held(&served, 1);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3,"reason":"enough"}}"#;
    served.post(AGENT, cancel);
    let (text, is_error) = told(&agent.join().unwrap());
    assert!(
        is_error && text.ends_with("The request was taken back."),
        "{text}"
    );
    assert_eq!(served.stop().0, Some(0));
    let answers: Vec<_> = stage
        .rows()
        .iter()
        .map(|row| row["answer"].clone())
        .collect();
    assert_eq!(
        answers,
        [
            "withdrawn: the caller left",
            "withdrawn: the caller left",
            "withdrawn: the client took it back"
        ]
    );
    assert!(
        stage
            .upstream
            .got()
            .iter()
            .all(|body| !body.contains("tools/call"))
    );
    stage.replays();
}

#[test]
fn the_first_answer_counts_and_only_an_approver_who_names_what_was_shown_gives_one() {
    let stage = Stage::new("5m");
    let served = stage.folder.serve();
    let agent = Stage::ask(&served, BOTH, stop(1, "7"));
    let question = held(&served, 1).remove(0);
    let id = question["id"].as_str().unwrap();
    let digest = json!({ "digest": question["digest"] }).to_string();
    let post = |token: &str, path: &str, body: &str| say(&served, token, "POST", path, body).status;
    let path = format!("/{id}/approve");
    for stranger in ["", "weir_nobody", AGENT] {
        assert_eq!(post(stranger, &path, &digest), 401, "{stranger}");
        assert_eq!(say(&served, stranger, "GET", "", "").status, 401);
        assert_eq!(
            say(&served, stranger, "GET", &format!("/{id}"), "").status,
            401
        );
    }
    assert_eq!(
        post(ANNA, &path, "{}"),
        400,
        "an approval names what was shown"
    );
    assert_eq!(
        post(ANNA, &path, r#"{"digest":"00"}"#),
        409,
        "something else"
    );
    assert_eq!(post(ANNA, &path, "digest=1"), 400);
    let of_a_page = |headers: &str| {
        let headers = format!("Authorization: Bearer {ANNA}\r\n{headers}");
        let path = format!("/approvals{path}");
        served.admin_send("POST", &path, &headers, &digest).status
    };
    assert_eq!(of_a_page("Content-Type: text/plain\r\n"), 415);
    assert_eq!(
        of_a_page("Content-Type: application/json\r\nOrigin: http://127.0.0.1\r\n"),
        403
    );
    assert_eq!(post(ANNA, "/0000/approve", &digest), 404);
    held(&served, 1);

    let codes = std::thread::scope(|scope| {
        let both = [ANNA, BEN].map(|by| scope.spawn(|| approve(&served, by, &question).status));
        both.map(|answer| answer.join().unwrap())
    });
    assert!(codes == [200, 409] || codes == [409, 200], "{codes:?}");
    assert_eq!(told(&agent.join().unwrap()).0, "stopped");
    assert_eq!(stage.upstream.got().len(), 1, "once");
    assert_eq!(served.stop().0, Some(0));
    let by = stage.rows()[0]["by"].clone();
    assert_eq!(by, if codes[0] == 200 { "anna" } else { "ben" });
    stage.replays();
}

#[test]
fn more_than_may_wait_are_refused_and_a_stop_refuses_what_waits() {
    let stage = Stage::new("5m");
    let policy = stage
        .folder
        .read("policy.json")
        .replace("\"max\":1", "\"max\":9");
    stage.folder.write("policy.json", &policy);
    let served = stage.folder.serve();
    let first = Stage::ask(&served, BOTH, stop(1, "7"));
    let second = Stage::ask(&served, "application/json", stop(2, "8"));
    held(&served, 2);
    let (text, is_error) = told(&Stage::ask(&served, BOTH, stop(3, "9")).join().unwrap());
    assert!(is_error && text.contains("Too many calls wait"), "{text}");
    assert_eq!(served.stop().0, Some(0));
    for agent in [first, second] {
        let (text, is_error) = told(&agent.join().unwrap());
        assert!(
            is_error && text.ends_with("The proxy stopped before anybody answered."),
            "{text}"
        );
    }
    let reasons: Vec<_> = stage
        .rows()
        .iter()
        .map(|row| row["reason"].clone())
        .collect();
    assert_eq!(
        reasons
            .iter()
            .filter(|reason| **reason == "approval_stopped")
            .count(),
        2
    );
    assert_eq!(reasons[2], "approval_unavailable");
    assert!(stage.upstream.got().is_empty());
    stage.replays();
}

#[test]
fn nothing_that_waited_when_the_proxy_died_is_ever_forwarded() {
    let stage = Stage::new("5m");
    let served = stage.folder.serve();
    let agent = Stage::ask(&served, BOTH, stop(1, "7"));
    let question = held(&served, 1).remove(0);
    served.kill();
    assert!(agent.join().is_err() || stage.upstream.got().is_empty());
    let served = stage.folder.serve();
    held(&served, 0);
    assert_eq!(approve(&served, ANNA, &question).status, 404);
    // It consumed its place, as the log says: what was not answered is not given back.
    let (text, is_error) = told(&Stage::ask(&served, BOTH, stop(2, "8")).join().unwrap());
    assert!(is_error && text.contains("vm_stop_rate"), "{text}");
    assert_eq!(served.stop().0, Some(0));
    let rows = stage.rows();
    assert_eq!(rows[0]["reason"], "approval_pending");
    assert_eq!(
        (&rows[0]["verdict"], &rows[0]["outcome"]),
        (&json!("deny"), &json!("refused"))
    );
    assert!(stage.upstream.got().is_empty());
    stage.replays();
}

#[test]
fn the_command_lists_shows_and_answers_and_paints_nothing_hostile() {
    let stage = Stage::new("5m");
    let served = stage.folder.serve();
    let admin = served.admin.clone();
    stage.folder.write("anna.token", &format!("{ANNA}\n"));
    let weir = |arguments: &[&str]| {
        let to = ["--admin", &admin, "--token-file", "anna.token"];
        stage
            .folder
            .weir(&[&["approvals"], arguments, &to].concat())
    };
    weir(&["list"]).succeeds().shows("nothing waits");
    let agent = Stage::ask(&served, BOTH, stop(1, "\"\u{202e}7\u{7f}\""));
    let question = held(&served, 1).remove(0);
    let id = question["id"].as_str().unwrap();
    let listed = weir(&["list"]).succeeds().shows(&id[..8]).shows("vm_stop");
    let shown = weir(&["show", &id[..8]])
        .succeeds()
        .shows("ops-agent")
        .shows(RULE);
    for page in [listed, shown] {
        assert!(page.stdout.contains(r"\u{202e}7\u{7f}"), "{page}");
        assert!(!page.stdout.contains('\u{202e}'), "{page}");
    }
    let json = weir(&["list", "--format", "json"]).succeeds().json();
    assert_eq!(json["held"][0]["id"], id);
    weir(&["approve", id]).ends_with(2).says("--digest");
    weir(&["approve", id, "--digest", "00"])
        .ends_with(2)
        .says("another digest");
    weir(&["show", "ffffff"])
        .ends_with(2)
        .says("no such question");
    stage
        .folder
        .weir(&["approvals", "list", "--admin", &admin])
        .ends_with(2)
        .says("WEIR_APPROVER_TOKEN");
    let digest = question["digest"].as_str().unwrap();
    weir(&["approve", id, "--digest", digest, "--reason", "ticket 4711"])
        .succeeds()
        .shows("approved");
    assert_eq!(told(&agent.join().unwrap()).0, "stopped");
    weir(&["show", id]).succeeds().shows("approved by anna at");
    weir(&["deny", id])
        .ends_with(2)
        .says("answered already: approved by anna");
    assert_eq!(served.stop().0, Some(0));
}

#[test]
fn a_configuration_in_which_an_agent_could_approve_its_own_calls_is_refused() {
    let stage = Stage::new("5m");
    let config = stage.folder.read("weir.toml");
    let hash = |token: &str| hex::encode(Sha256::digest(token));
    for (from, to, says) in [
        (
            hash(BEN),
            hash(AGENT),
            "its agent could approve its own calls",
        ),
        (hash(BEN), hash(ANNA), "the name or the token of another"),
        (
            "name = \"ben\"".into(),
            "name = \"b e n\"".into(),
            "cannot name a",
        ),
        (
            "held_per_grant_max = 2".into(),
            "wait_max = \"48h\"".into(),
            "more than a day",
        ),
        (
            "address = \"127.0.0.1:0\"\napprovers".into(),
            "approvers".into(),
            "have nowhere to answer",
        ),
        (
            "address = \"127.0.0.1:0\"\napprovers".into(),
            "address = \"0.0.0.0:0\"\napprovers".into(),
            "must be a loopback address",
        ),
    ] {
        stage.folder.write("weir.toml", &config.replace(&from, &to));
        stage.folder.weir(&["serve"]).ends_with(2).says(says);
    }
}
