//! One child for all sessions of a grant, and a child that keeps ending.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::{Method, StatusCode};
use weir_proxy::upstream::{Cause, Era, Exchange, Reached, Sharing};

use crate::common::{LIMITS, bare, events, failed, forward, next_data, request, told, whole};
use crate::stdio::{Stage, call, within};

async fn shared() -> Stage {
    Stage::sharing(Sharing::Grant, LIMITS, &[]).await
}

/// A call with a progress token of its own.
fn tells(id: &str, token: &str) -> Exchange {
    request(
        Era::Legacy,
        &format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"tells","n":1.50e2,"_meta":{{ "progressToken" : {token} }}}}}}"#
        ),
    )
}

#[tokio::test]
async fn sessions_and_callers_of_one_grant_have_one_child_and_other_grants_another() {
    let stage = shared().await;
    let ((one, first), (two, second)) = (stage.session().await, stage.session().await);
    assert_ne!(one, two);
    assert_eq!(first, second);
    assert_eq!(
        stage.pid(within(&two, call(Era::Legacy, "1", "pid"))).await,
        first
    );
    assert_eq!(stage.pid(call(Era::Modern, "1", "pid")).await, first);
    let other = Exchange {
        grant: "dev-agent".into(),
        caller: "dev-agent/1".into(),
        ..call(Era::Modern, "1", "pid")
    };
    assert_ne!(stage.pid(other).await, first);
    // A session is its grant's alone, whoever knows its id.
    let taken = Exchange {
        grant: "dev-agent".into(),
        ..within(&one, call(Era::Legacy, "1", "pid"))
    };
    let answer = forward(&stage.upstream, taken).await.unwrap();
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn equal_ids_and_tokens_of_two_sessions_are_told_apart_and_come_back_as_they_stood() {
    let stage = shared().await;
    let ((one, _), (two, _)) = (stage.session().await, stage.session().await);
    let tokens = [(&one, r#""t\u0061""#, "7"), (&two, "9007199254740993", "7")];
    for (session, token, id) in tokens {
        let answer = forward(&stage.upstream, within(session, tells(id, token)))
            .await
            .unwrap();
        let mut events = events(answer);
        let progress = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        );
        assert_eq!(next_data(&mut events).await, progress);
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"told"}}"#);
        assert_eq!(next_data(&mut events).await, answer);
    }
    // But for ids and tokens, the child got what the client sent.
    let read = stage.read();
    let own =
        |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].to_string();
    for line in read.iter().filter(|line| line.contains("tells")) {
        let own = own(line);
        let sent = tells(&own, &own);
        assert_eq!(line.as_bytes(), &sent.body[..]);
    }
}

#[tokio::test]
async fn a_cancel_reaches_only_the_request_of_its_own_session() {
    let stage = shared().await;
    let ((one, _), (two, _)) = (stage.session().await, stage.session().await);
    let silent = |session: &Arc<str>| within(session, call(Era::Legacy, "7", "silent"));
    let mut first = Box::pin(forward(&stage.upstream, silent(&one)));
    let mut second = Box::pin(forward(&stage.upstream, silent(&two)));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    let cancel = within(&one, told(Era::Legacy, cancel));
    forward(&stage.upstream, cancel).await.unwrap();
    let fault = failed(first.await);
    assert_eq!(fault.cause, Cause::Cancelled);
    assert!(futures_util::poll!(&mut second).is_pending());
}

#[tokio::test]
async fn what_changes_is_told_to_every_session_and_the_end_of_one_leaves_the_others() {
    let stage = shared().await;
    let ((one, first), (two, _)) = (stage.session().await, stage.session().await);
    let listen = |session| within(session, bare(Method::GET, Era::Legacy, ""));
    let mut streams = Vec::new();
    for session in [&one, &two] {
        streams.push(events(
            forward(&stage.upstream, listen(session)).await.unwrap(),
        ));
    }
    let again = forward(&stage.upstream, listen(&one)).await.unwrap();
    assert_eq!(again.status, StatusCode::CONFLICT);
    stage
        .whole(within(&one, call(Era::Legacy, "1", "changes")))
        .await;
    for stream in &mut streams {
        assert!(next_data(stream).await.contains("list_changed"));
    }
    let delete = within(&one, bare(Method::DELETE, Era::Legacy, ""));
    assert_eq!(
        forward(&stage.upstream, delete).await.unwrap().status,
        StatusCode::OK
    );
    assert_eq!(
        stage.pid(within(&two, call(Era::Legacy, "1", "pid"))).await,
        first
    );
}

#[tokio::test]
async fn a_child_that_keeps_ending_is_started_again_after_a_pause_and_its_sessions_are_over() {
    let stage = shared().await;
    let (session, _) = stage.session().await;
    drop(
        forward(
            &stage.upstream,
            within(&session, call(Era::Legacy, "1", "die")),
        )
        .await,
    );
    let (session, first) = stage.session().await;
    let fault = failed(
        forward(
            &stage.upstream,
            within(&session, call(Era::Legacy, "1", "die")),
        )
        .await,
    );
    assert_eq!(
        (fault.cause, fault.reached),
        (Cause::Broken, Reached::Maybe)
    );
    let gone = forward(
        &stage.upstream,
        within(&session, call(Era::Legacy, "2", "pid")),
    )
    .await;
    assert_eq!(gone.unwrap().status, StatusCode::NOT_FOUND);
    // The pause: nothing is started, and the caller is told so at once; another grant is not concerned.
    let other = Exchange {
        grant: "dev-agent".into(),
        caller: "dev-agent/1".into(),
        ..call(Era::Modern, "1", "pid")
    };
    assert_ne!(stage.pid(other).await, first);
    let mut refusals = 0;
    let again = loop {
        match forward(&stage.upstream, call(Era::Modern, "1", "pid")).await {
            Ok(answer) => break whole(answer),
            Err(fault) => {
                assert_eq!(
                    (fault.cause, fault.reached),
                    (Cause::Unreachable, Reached::Never)
                );
                assert!(
                    fault.detail.contains("started again in"),
                    "{}",
                    fault.detail
                );
                refusals += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(refusals > 2, "{refusals}");
    assert!(!again.contains(&first.to_string()), "{again}");
}

#[tokio::test]
async fn the_streams_of_a_shared_child_end_with_it() {
    let stage = shared().await;
    let (session, _) = stage.session().await;
    let listen = within(&session, bare(Method::GET, Era::Legacy, ""));
    let mut stream = events(forward(&stage.upstream, listen).await.unwrap());
    drop(
        forward(
            &stage.upstream,
            within(&session, call(Era::Legacy, "1", "die")),
        )
        .await,
    );
    assert!(stream.next().await.is_none());
}
