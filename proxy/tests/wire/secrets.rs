//! Secrets don't leak (invariant I9): a canary in arguments, results, addresses, headers, tokens and environments is found in no
//! byte of the record, no log, no metric, no health page, no error and no denial, and with its server only where it belongs.

use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayData, make_array};
use http::Request;
use http_body_util::Full;
use serde_json::json;
use weir_recorder::{RecordReader, calls_schema};

use crate::rig::{Proxy, Server, TOKEN, call, configure_server, folder, policy};

const CANARY: &str = "canary-5f1c9e";

/// A dispatcher, an escape hatch, every audit level, and a pointer besides the usual key names.
const GUARDED: &str = r#"redact = ["/params/pin", "/notes/*/text"]
redact_results = ["/structuredContent/pin"]
audit = { "*" = "request", "echo*" = "result", echo_quietly = "metadata" }
dispatch = [{ tool = "truenas", operation = "/action", arguments = "/params" }]
alias = [{ tool = "hatch", match = { "/method" = "POST", "/path" = "/user" }, as = "user_create", arguments = { "" = { json = "/body" } } }]"#;

/// The same without any redaction, to show that the search finds what is there.
const BARE: &str = r#"audit = "result"
dispatch = [{ tool = "truenas", operation = "/action", arguments = "/params" }]"#;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Policy for everything that is called here; a limit counts by the very secret.
fn guarded_policy() -> serde_json::Value {
    let mut policy = policy();
    policy["tools"]["user_create"] = json!({});
    policy["tools"]["hatch"] = json!({});
    policy["tools"]["login"] = json!({
        "deny_if": [{ "conditions": [{ "path": "args.password", "op": "eq", "value": "root" }] }],
        "limits": [{ "counter": "each", "window": "hour", "max": 2, "per": ["args.password"] }]
    });
    policy["tools"]["resource:*"] = json!({});
    policy
}

/// Messages that hold the canary wherever a client can put it.
fn messages() -> Vec<String> {
    let long = format!(
        "{{\"password\": \"{CANARY}\", \"note\": \"{}\"}}",
        "x".repeat(40_000)
    );
    let inner = json!({ "password": CANARY }).to_string();
    let raw = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"vm_list","arguments":{arguments}}}}}"#
        )
    };
    vec![
        call("vm_list", &json!({ "password": CANARY })),
        raw(&format!(
            r#"{{"\u0070assw\u006frd":"{CANARY}","API-Key" : ["{CANARY}"]}}"#
        )),
        raw(&format!(
            r#"{{"a":[[{{"deep":{{"accessToken":{{"x":"{CANARY}"}}}}}}]]}}"#
        )),
        call(
            "vm_list",
            &json!({ "notes": [{ "text": CANARY }, { "text": [CANARY] }] }),
        ),
        call(
            "vm_list",
            &json!({ "config": inner, "again": [json!([inner]).to_string()] }),
        ),
        call(
            "vm_list",
            &json!({ "config": format!("{{'password': '{CANARY}'}}") }),
        ),
        call(
            "truenas",
            &json!({ "action": "user_create", "params": { "pin": CANARY, "password": CANARY } }),
        ),
        call(
            "hatch",
            &json!({ "method": "POST", "path": "/user", "body": inner }),
        ),
        // Denied: the hatch's body is no JSON, the tool is hidden, not listed, used up, forbidden.
        call(
            "hatch",
            &json!({ "method": "POST", "path": "/user", "body": format!("{inner} x") }),
        ),
        call("vm_delete", &json!({ "token": CANARY })),
        call("unknown_tool", &json!({ "secret": CANARY })),
        call("login", &json!({ "password": CANARY })),
        call("login", &json!({ "password": CANARY })),
        call("login", &json!({ "password": CANARY })),
        call(
            "vm_stop",
            &json!({ "id": 7, "force": true, "private_key": CANARY }),
        ),
        // Kept whole, and at no level.
        call("echo_quietly", &json!({ "anything": CANARY })),
        call("echo", &json!({ "password": CANARY, "pin": 1, "id": 7 })),
        call("echo", &serde_json::from_str(&long).unwrap()),
        call("breaks", &json!({ "password": CANARY })),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read",
                "params": { "uri": format!("https://ops:{CANARY}@nas/x?token={CANARY}&id=7") } })
        .to_string(),
        // Malformed, and too large.
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","name":"{CANARY}"}}}}"#
        ),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","arguments":["{CANARY}"]}}}}"#
        ),
        format!("{CANARY} is no JSON"),
        call("vm_list", &json!({ "password": CANARY.repeat(10_000) })),
    ]
}

/// What came of it: all that was said or shown to anybody, each under its name.
struct Traces(Vec<(String, Vec<u8>)>);

impl Traces {
    fn of(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        self.0.push((name.to_owned(), bytes.as_ref().to_vec()));
    }

    /// Where a secret is found.
    fn holding(&self, secret: &str) -> Vec<&str> {
        let holds = |bytes: &[u8]| {
            bytes
                .windows(secret.len())
                .any(|at| at == secret.as_bytes())
        };
        let found = self.0.iter().filter(|(_, bytes)| holds(bytes));
        found.map(|(name, _)| name.as_str()).collect()
    }

    /// Every file below a folder, as its bytes are.
    fn files(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.files(&path);
            } else {
                self.of(&path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }

    /// Every column of both tables, decoded.
    fn tables(&mut self, record: &Path) {
        fn buffers(data: &ArrayData, into: &mut Vec<u8>) {
            data.buffers()
                .iter()
                .for_each(|buffer| into.extend_from_slice(buffer));
            data.child_data()
                .iter()
                .for_each(|child| buffers(child, into));
        }
        let reader = RecordReader::open(record).unwrap();
        let schema = calls_schema();
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let mut batches: Vec<_> = reader.calls(&names).unwrap().map(Result::unwrap).collect();
        assert!(
            batches
                .iter()
                .map(arrow::array::RecordBatch::num_rows)
                .sum::<usize>()
                > 0
        );
        batches.push(reader.events().unwrap());
        for batch in batches {
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                let mut bytes = Vec::new();
                buffers(&make_array(column.to_data()).to_data(), &mut bytes);
                self.of(&format!("column {}", field.name()), bytes);
            }
        }
    }
}

/// Sends everything, and gathers what can be seen of it anywhere but with server and caller.
async fn lead(lines: &str, top: &str) -> (Traces, Server) {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let server = Server::start().await;
    let folder = folder(&server.url, &guarded_policy());
    configure_server(folder.path(), lines);
    let file = folder.path().join("weir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replacen("[record]\n", &format!("[record]\n{top}\n"), 1);
    // A child that repeats what it knows, and ends without an answer.
    let child = format!(
        "\n[[server]]\nname = \"child\"\ncommand = [\"/bin/sh\", \"-c\", \"echo knows $NAS_KEY >&2; read -r line; echo $line $NAS_KEY >&2; echo $line; exit 3\"]\nenvironment = {{ NAS_KEY = \"{CANARY}\", PATH = \"/bin:/usr/bin\" }}\n[[grant]]\nname = \"kid\"\nserver = \"child\"\ntoken = {{ sha256 = \"{}\" }}\npolicy = \"ops.json\"\n",
        hex::encode(<sha2::Sha256 as sha2::Digest>::digest("kid-token"))
    );
    std::fs::write(&file, text + &child).unwrap();

    let mut traces = Traces(Vec::new());
    let proxy = Proxy::start(folder.path()).await;
    for body in messages() {
        let echoes = body.contains("\"echo") || body.contains("\"breaks");
        let request = proxy
            .request()
            .uri(format!("{}?token={CANARY}", proxy.url()))
            .header("cookie", CANARY)
            .header("x-secret", CANARY)
            .body(Full::new(body.into()));
        let reply = proxy.send(request.unwrap()).await;
        if !echoes {
            traces.of("a reply", &reply.body);
        }
    }
    let request = |path: &str, token: &str, session: Option<&str>| {
        let mut request = Request::post(format!("https://{}/{path}/mcp", proxy.ready.address))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json");
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        request
            .body(Full::new(
                call("vm_list", &json!({ "password": CANARY })).into(),
            ))
            .unwrap()
    };
    for request in [
        request("nas", CANARY, None),
        request("nas", TOKEN, Some(CANARY)),
        request("child", "kid-token", None),
    ] {
        traces.of("a refusal", proxy.send(request).await.body);
    }
    traces.of("metrics", proxy.admin("/metrics").await);
    traces.of("health", proxy.admin("/healthz").await);
    // While the rows are in the journal, and once they are sealed.
    traces.files(&folder.path().join("record"));
    proxy.stop().await;
    let record = folder.path().join("record");
    traces.files(&record);
    traces.tables(&record);
    let log = String::from_utf8_lossy(&captured.0.lock().unwrap()).into_owned();
    // hyper, h2 and rustls trace what they carry, which `weir serve` does not let them; ours may not, at any level.
    let ours: Vec<&str> = log.lines().filter(|line| line.contains("weir_")).collect();
    assert!(!ours.is_empty());
    traces.of("log", ours.join("\n"));
    (traces, server)
}

#[tokio::test]
async fn a_canary_is_found_nowhere_but_with_its_server() {
    let (traces, server) = lead(GUARDED, "").await;
    for secret in [CANARY, TOKEN, "upstream-secret"] {
        assert_eq!(traces.holding(secret), [""; 0], "`{secret}`");
    }
    let reached = server.log();
    let with_canary = reached
        .iter()
        .filter(|reached| String::from_utf8_lossy(&reached.body).contains(CANARY));
    assert!(with_canary.count() >= 12, "the server gets what was sent");
    for reached in &reached {
        let headers = format!("{:?}", reached.headers);
        assert!(
            !headers.contains(CANARY) && !headers.contains(TOKEN),
            "{headers}"
        );
    }
}

#[tokio::test]
async fn without_redaction_the_same_search_finds_the_canary() {
    let (traces, _server) = lead(BARE, "redact_usual_keys = false").await;
    let found = traces.holding(CANARY).join(" ");
    for place in [
        "column arguments",
        "column result",
        "column limit_counts",
        "column wire_tool",
        "journal",
        "results",
    ] {
        assert!(found.contains(place), "{place} in {found}");
    }
    assert!(!found.contains("metrics") || found.contains("column tool"));
}
