//! Over stdio, against a real child: `child.sh`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Method, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;
use tempfile::TempDir;
use weir_proxy::upstream::{
    Cause, Era, Exchange, Reached, Sharing, Transport, Upstream, UpstreamLimits, UpstreamSpec,
};

use crate::common::{LIMITS, bare, events, failed, forward, next_data, request, told, whole};

const SCRIPT: &str = include_str!("child.sh");
const CLOSE: Duration = Duration::from_secs(9);

/// One upstream and the file its children write what they read into.
pub(crate) struct Stage {
    pub(crate) upstream: Upstream,
    log: PathBuf,
    _folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self::with(LIMITS, &[]).await
    }

    async fn with(limits: UpstreamLimits, arguments: &[&str]) -> Self {
        Self::sharing(Sharing::Session, limits, arguments).await
    }

    pub(crate) async fn sharing(
        sharing: Sharing,
        limits: UpstreamLimits,
        arguments: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "").unwrap();
        let command = ["/bin/sh", "-c", SCRIPT, "child", log.to_str().unwrap()];
        let command = command
            .iter()
            .chain(arguments)
            .map(ToString::to_string)
            .collect();
        let environment = [
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("NAS".to_owned(), "a b".to_owned()),
        ];
        let upstream = Upstream::connect(&UpstreamSpec {
            server: "nas".into(),
            transport: Transport::Stdio {
                command,
                environment: environment.into(),
                directory: folder.path().to_owned(),
            },
            headers: vec![],
            sharing,
            limits,
        })
        .await
        .unwrap();
        Self {
            upstream,
            log,
            _folder: folder,
        }
    }

    /// The lines that children have read.
    pub(crate) fn read(&self) -> Vec<String> {
        std::fs::read_to_string(&self.log)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub(crate) async fn whole(&self, exchange: Exchange) -> String {
        whole(forward(&self.upstream, exchange).await.unwrap())
    }

    /// A legacy session, and its child's process id.
    pub(crate) async fn session(&self) -> (Arc<str>, i64) {
        let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
        let answer = forward(&self.upstream, request(Era::Legacy, hello))
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        let session = answer.headers["mcp-session-id"].to_str().unwrap().into();
        let answer: Value = serde_json::from_str(&whole(answer)).unwrap();
        assert_eq!(answer["id"], 0);
        (session, answer["result"]["pid"].as_i64().unwrap())
    }

    pub(crate) async fn pid(&self, exchange: Exchange) -> i64 {
        serde_json::from_str::<Value>(&self.whole(exchange).await).unwrap()["result"]["pid"]
            .as_i64()
            .unwrap()
    }
}

pub(crate) fn call(era: Era, id: &str, name: &str) -> Exchange {
    let meta = r#""_meta":{"progressToken":"t"}"#;
    request(
        era,
        &format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}",{meta}}}}}"#
        ),
    )
}

pub(crate) fn within(session: &Arc<str>, exchange: Exchange) -> Exchange {
    Exchange {
        session: Some(Arc::clone(session)),
        ..exchange
    }
}

fn is_alive(pid: i64) -> bool {
    // A zombie has no command line left.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test]
async fn the_judged_bytes_reach_the_child_as_one_line_with_an_id_of_our_own() {
    let stage = Stage::new().await;
    let body = "{\r\n  \"jsonrpc\": \"2.0\",\n\t\"id\":\"\\u0061b\",\"method\":\"tools/call\",\n\"params\":{\"name\":\"echo\",\"n\":1.50e2,\"s\":\"a\\n\u{2028}b\"}}";
    let id = "\"\\u0061b\"";
    let mut exchange = request(Era::Modern, &body.replace(id, "12345678"));
    let at = body.find(id).unwrap();
    exchange.body = body.to_owned().into();
    exchange.request_id = Some(weir_proxy::upstream::RequestId {
        raw: id.into(),
        span: at..at + id.len(),
    });
    let answer = stage.whole(exchange).await;
    let line = body.replace(['\r', '\n'], " ").replace(id, "1");
    assert_eq!(stage.read(), [line.as_str()]);
    assert_eq!(
        answer,
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{line}}}")
    );
}

#[tokio::test]
async fn the_child_has_exactly_the_configured_environment() {
    let stage = Stage::new().await;
    let answer: Value =
        serde_json::from_str(&stage.whole(call(Era::Modern, "1", "environment")).await).unwrap();
    let names: Vec<_> = answer["result"]
        .as_str()
        .unwrap()
        .split_inclusive(' ')
        .filter_map(|part| Some(part.split_once('=')?.0))
        .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name)) // the shell's own
        .collect();
    assert_eq!(names, ["NAS", "PATH"]);
}

#[tokio::test]
async fn callers_without_a_session_share_a_child_only_with_themselves() {
    let stage = Stage::new().await;
    let first = stage.pid(call(Era::Modern, "1", "pid")).await;
    assert_eq!(stage.pid(call(Era::Legacy, "1", "pid")).await, first);
    let other = Exchange {
        caller: "other/1".into(),
        ..call(Era::Modern, "1", "pid")
    };
    assert_ne!(stage.pid(other).await, first);
}

#[tokio::test]
async fn each_legacy_session_has_its_own_child_until_it_is_deleted() {
    let stage = Stage::new().await;
    let ((one, first), (two, second)) = (stage.session().await, stage.session().await);
    assert_ne!(one, two);
    assert_ne!(first, second);
    assert_eq!(
        stage.pid(within(&one, call(Era::Legacy, "5", "pid"))).await,
        first
    );

    let ended = forward(
        &stage.upstream,
        within(&one, bare(Method::DELETE, Era::Legacy, "")),
    )
    .await
    .unwrap();
    assert_eq!(ended.status, StatusCode::OK);
    for exchange in [
        call(Era::Legacy, "6", "pid"),
        told(
            Era::Legacy,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        ),
        bare(Method::GET, Era::Legacy, ""),
        bare(Method::DELETE, Era::Legacy, ""),
    ] {
        let answer = forward(&stage.upstream, within(&one, exchange))
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(
        stage.pid(within(&two, call(Era::Legacy, "5", "pid"))).await,
        second
    );
    stage.upstream.close(CLOSE).await;
    assert!(!is_alive(first) && !is_alive(second));
    assert_eq!(
        stage
            .read()
            .iter()
            .filter(|line| *line == "stdin closed")
            .count(),
        2
    );
}

#[tokio::test]
async fn a_refused_initialize_makes_no_session() {
    let stage = Stage::new().await;
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"bad":1}}"#;
    let answer = forward(&stage.upstream, request(Era::Legacy, hello))
        .await
        .unwrap();
    assert!(!answer.headers.contains_key("mcp-session-id"));
    assert!(whole(answer).contains("-32602"));
}

#[tokio::test]
async fn a_failed_probe_of_the_era_is_a_bad_request() {
    let stage = Stage::new().await;
    let probe = r#"{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{}}"#;
    let answer = forward(&stage.upstream, request(Era::Modern, probe))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(whole(answer).contains("-32601"));
}

#[tokio::test]
async fn progress_comes_as_an_event_before_the_answer_is_there() {
    let stage = Stage::new().await;
    let (session, _) = stage.session().await;
    let answer = forward(
        &stage.upstream,
        within(&session, call(Era::Legacy, "7", "progress")),
    )
    .await
    .unwrap();
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let mut events = events(answer);
    assert!(
        next_data(&mut events)
            .await
            .contains("notifications/progress")
    );
    let go = told(
        Era::Legacy,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
    );
    let told = forward(&stage.upstream, within(&session, go))
        .await
        .unwrap();
    assert_eq!(told.status, StatusCode::ACCEPTED);
    assert_eq!(
        next_data(&mut events).await,
        r#"{"jsonrpc":"2.0","id":7,"result":"done"}"#
    );
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_client_that_takes_no_events_gets_the_answer_alone() {
    let stage = Stage::new().await;
    let (session, _) = stage.session().await;
    let mut exchange = within(&session, call(Era::Legacy, "7", "changes"));
    Arc::make_mut(&mut exchange.headers).insert("accept", "application/json".parse().unwrap());
    assert_eq!(
        stage.whole(exchange).await,
        r#"{"jsonrpc":"2.0","id":7,"result":"changed"}"#
    );
    // What it could not take is kept for its stream.
    let stream = forward(
        &stage.upstream,
        within(&session, bare(Method::GET, Era::Legacy, "")),
    )
    .await
    .unwrap();
    assert!(
        next_data(&mut events(stream))
            .await
            .contains("list_changed")
    );
}

#[tokio::test]
async fn a_request_of_the_server_is_asked_and_its_answer_written_through() {
    let stage = Stage::new().await;
    let (session, _) = stage.session().await;
    let mut events = events(
        forward(
            &stage.upstream,
            within(&session, call(Era::Legacy, "7", "asks")),
        )
        .await
        .unwrap(),
    );
    assert!(next_data(&mut events).await.contains("elicitation/create"));
    let reply = r#"{"jsonrpc":"2.0","id":"s1","result":{"action":"decline"}}"#;
    let told = forward(&stage.upstream, within(&session, told(Era::Legacy, reply)))
        .await
        .unwrap();
    assert_eq!(told.status, StatusCode::ACCEPTED);
    assert_eq!(
        next_data(&mut events).await,
        format!(r#"{{"jsonrpc":"2.0","id":7,"result":{reply}}}"#)
    );
}

#[tokio::test]
async fn the_stream_of_a_session_carries_what_belongs_to_no_request_and_is_one() {
    let stage = Stage::new().await;
    let (session, _) = stage.session().await;
    let listen = || within(&session, bare(Method::GET, Era::Legacy, ""));
    let mut stream = events(forward(&stage.upstream, listen()).await.unwrap());
    assert_eq!(
        forward(&stage.upstream, listen()).await.unwrap().status,
        StatusCode::CONFLICT
    );
    assert_eq!(
        stage
            .whole(within(&session, call(Era::Legacy, "7", "changes")))
            .await,
        r#"{"jsonrpc":"2.0","id":7,"result":"changed"}"#
    );
    assert!(next_data(&mut stream).await.contains("list_changed"));
    drop(stream);
    assert_eq!(
        forward(&stage.upstream, listen()).await.unwrap().status,
        StatusCode::OK
    );
    let without = forward(&stage.upstream, bare(Method::GET, Era::Modern, ""))
        .await
        .unwrap();
    assert_eq!(without.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_subscription_is_named_as_the_client_named_it_and_ends_when_the_server_ends_it() {
    let stage = Stage::new().await;
    let listen = r#"{"jsonrpc":"2.0","id":"sub-1","method":"subscriptions/listen","params":{"notifications":{}}}"#;
    let mut events = events(
        forward(&stage.upstream, request(Era::Modern, listen))
            .await
            .unwrap(),
    );
    let first: Value = serde_json::from_str(&next_data(&mut events).await).unwrap();
    assert_eq!(
        first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "sub-1"
    );
    let go = told(
        Era::Modern,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
    );
    forward(&stage.upstream, go).await.unwrap();
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn what_is_no_message_is_passed_over() {
    let stage = Stage::new().await;
    assert_eq!(
        stage.whole(call(Era::Modern, "1", "noise")).await,
        r#"{"jsonrpc":"2.0","id":1,"result":"after noise"}"#
    );
}

#[tokio::test]
async fn a_line_over_its_limit_ends_the_child() {
    let stage = Stage::new().await;
    let fault = failed(forward(&stage.upstream, call(Era::Modern, "1", "long")).await);
    assert_eq!(
        (fault.cause, fault.reached),
        (Cause::BadAnswer, Reached::Maybe)
    );
}

#[tokio::test]
async fn a_child_that_dies_fails_its_requests_and_loses_its_session() {
    let stage = Stage::new().await;
    let (session, _) = stage.session().await;
    let (mute, die) = tokio::join!(
        forward(
            &stage.upstream,
            within(&session, call(Era::Legacy, "1", "mute"))
        ),
        forward(
            &stage.upstream,
            within(&session, call(Era::Legacy, "2", "die"))
        )
    );
    for fault in [failed(mute), failed(die)] {
        assert_eq!(
            (fault.cause, fault.reached),
            (Cause::Broken, Reached::Maybe)
        );
        assert!(fault.detail.contains("exit status: 3"), "{fault}");
    }
    let again = forward(
        &stage.upstream,
        within(&session, call(Era::Legacy, "3", "pid")),
    )
    .await
    .unwrap();
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    // A caller without a session gets a new child.
    assert_ne!(stage.pid(call(Era::Modern, "1", "pid")).await, 0);
}

/// Waits until children have read a line with `part` in it, by asking the same child for something.
async fn has_read(stage: &Stage, ask: impl Fn() -> Exchange, part: &str) -> bool {
    stage.pid(ask()).await;
    stage.read().iter().any(|line| line.contains(part))
}

#[tokio::test]
async fn a_modern_client_that_goes_away_cancels_at_the_child_and_a_legacy_one_does_not() {
    let stage = Stage::new().await;
    let (session, _) = stage.session().await;
    for (era, cancels) in [(Era::Legacy, false), (Era::Modern, true)] {
        let place = |exchange| {
            if era == Era::Legacy {
                within(&session, exchange)
            } else {
                exchange
            }
        };
        {
            let gone = forward(&stage.upstream, place(call(era, "41", "mute")));
            tokio::pin!(gone);
            // The request is written by the first poll; another one behind it shows that the child has read it.
            assert!(futures_util::poll!(&mut gone).is_pending());
            assert!(has_read(&stage, || place(call(era, "42", "pid")), "mute").await);
        }
        assert_eq!(
            has_read(
                &stage,
                || place(call(era, "43", "pid")),
                "notifications/cancelled"
            )
            .await,
            cancels
        );
    }
    let cancel = stage
        .read()
        .into_iter()
        .find(|line| line.contains("notifications/cancelled"))
        .unwrap();
    assert!(cancel.contains(r#""requestId":1}"#), "{cancel}"); // the id the child knows
}

#[tokio::test]
async fn a_clients_own_cancel_names_the_request_as_the_child_knows_it() {
    let stage = Stage::new().await;
    let (session, _) = stage.session().await;
    let cancel = || {
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x-1","reason":"r"}}"#;
        forward(&stage.upstream, within(&session, told(Era::Legacy, cancel)))
    };
    let cancelled = forward(
        &stage.upstream,
        within(&session, call(Era::Legacy, "\"x-1\"", "mute")),
    );
    tokio::pin!(cancelled);
    assert!(futures_util::poll!(&mut cancelled).is_pending());
    assert_eq!(cancel().await.unwrap().status, StatusCode::ACCEPTED);
    assert!(failed(cancelled.await).detail.contains("cancelled"));
    // Nothing of that name is open any more: the child does not hear of it.
    assert_eq!(cancel().await.unwrap().status, StatusCode::ACCEPTED);
    stage
        .pid(within(&session, call(Era::Legacy, "9", "pid")))
        .await;
    let lines: Vec<_> = stage
        .read()
        .into_iter()
        .filter(|line| line.contains("cancelled"))
        .collect();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].contains(r#""requestId":2,"reason":"r""#),
        "{}",
        lines[0]
    );
}

#[tokio::test]
async fn a_child_that_does_not_answer_in_time_is_told_and_may_have_acted() {
    let stage = Stage::with(
        UpstreamLimits {
            answer_timeout: Duration::from_millis(50),
            ..LIMITS
        },
        &[],
    )
    .await;
    let fault = failed(forward(&stage.upstream, call(Era::Modern, "1", "mute")).await);
    assert_eq!(
        (fault.cause, fault.reached),
        (Cause::Timeout, Reached::Maybe)
    );
}

#[tokio::test]
async fn a_child_that_ignores_closed_stdin_and_term_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    let stage = Stage::with(LIMITS, &["stubborn", pipe.to_str().unwrap()]).await;
    let pid = stage.pid(call(Era::Modern, "1", "pid")).await;
    assert!(is_alive(pid));
    stage.upstream.close(Duration::from_millis(900)).await;
    assert!(!is_alive(pid));
    assert!(stage.read().contains(&"stdin closed".to_owned()));
    let fault = failed(forward(&stage.upstream, call(Era::Modern, "1", "pid")).await);
    assert_eq!(fault.reached, Reached::Never);
}

#[tokio::test]
async fn more_children_than_allowed_are_not_started() {
    let stage = Stage::with(
        UpstreamLimits {
            children_max: 2,
            ..LIMITS
        },
        &[],
    )
    .await;
    let (one, _) = stage.session().await;
    stage.session().await;
    let fault = failed(forward(&stage.upstream, call(Era::Modern, "1", "pid")).await);
    assert_eq!((fault.cause, fault.reached), (Cause::Busy, Reached::Never));
    forward(
        &stage.upstream,
        within(&one, bare(Method::DELETE, Era::Legacy, "")),
    )
    .await
    .unwrap();
    stage.pid(call(Era::Modern, "1", "pid")).await;
}

#[tokio::test]
async fn a_command_that_does_not_start_says_what_to_do() {
    let missing = Upstream::connect(&UpstreamSpec {
        server: "nas".into(),
        transport: Transport::Stdio {
            command: vec!["weir-test-no-such-program".into()],
            environment: [].into(),
            directory: "/".into(),
        },
        headers: vec![],
        sharing: Sharing::Session,
        limits: LIMITS,
    })
    .await
    .unwrap();
    let fault = failed(forward(&missing, call(Era::Modern, "1", "pid")).await);
    assert_eq!(
        (fault.cause, fault.reached),
        (Cause::Unreachable, Reached::Never)
    );
    assert!(
        fault.detail.contains("`weir-test-no-such-program`") && fault.detail.contains("PATH"),
        "{fault}"
    );
}
