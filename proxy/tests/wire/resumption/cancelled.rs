//! A legacy client that cancels a call by its message: the server owes no answer any more, and nobody waits for one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Client, Keeper, outcomes};
use crate::rig::{Proxy, folder, policy, soon};

impl Client<'_> {
    async fn cancel(&self) {
        let message = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } });
        let reply = self.proxy.send(self.request("POST", &message)).await;
        assert_eq!(reply.status, 202);
    }
}

fn done() -> Value {
    json!({ "content": [{ "type": "text", "text": "the end" }] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_ends_with_its_client_or_its_stream() {
    let (keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let client = Client::in_session(&proxy, "session-of-ops").await;
    // The client hangs up once it has cancelled, or before; or the server ends the stream.
    for (tool, number) in [("slow", 0), ("streams", 1)] {
        let mut call = client.call(tool).await;
        call.until("progress").await;
        client.cancel().await;
        assert_eq!(outcomes(&proxy)[number], "", "it may be answered yet");
        drop(call);
        soon(|| outcomes(&proxy)[number] == "cancelled").await;
    }
    for (tool, number) in [("slow", 2), ("streams", 3)] {
        let mut call = client.call(tool).await;
        call.until("progress").await;
        drop(call);
        client.cancel().await;
        soon(|| outcomes(&proxy)[number] == "cancelled").await;
    }
    for (tool, number) in [("slow", 4), ("streams", 5)] {
        let mut call = client.call(tool).await;
        call.until("progress").await;
        client.cancel().await;
        keeper.hang_up(number);
        call.ends().await;
        soon(|| outcomes(&proxy)[number] == "cancelled").await;
    }
    assert_eq!((keeper.calls(), keeper.resumed()), (6, 0));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_all_the_same_is_how_the_call_ended() {
    let (keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let client = Client::in_session(&proxy, "session-of-ops").await;
    let mut call = client.call("slow").await;
    call.until("0-0").await;
    client.cancel().await;
    keeper.answer_call(0, &done());
    call.until("the end").await;
    soon(|| outcomes(&proxy) == ["ok"]).await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_cancels_nothing_of_another_session() {
    let (keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let client = Client::in_session(&proxy, "session-of-ops").await;
    let other = Client::in_session(&proxy, "another-session").await;
    let mut call = client.call("slow").await;
    call.until("0-0").await;
    drop(call);
    soon(|| !keeper.is_heard(0)).await;
    other.cancel().await;
    keeper.answer_call(0, &done());
    client.resume("0-0").await.until("the end").await;
    soon(|| outcomes(&proxy) == ["ok"]).await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stop_does_not_wait_for_what_was_cancelled() {
    let (_keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    let mut proxy = Proxy::start(folder.path()).await;
    let client = Client::in_session(&proxy, "session-of-ops").await;
    let mut call = client.call("slow").await;
    call.until("0-0").await;
    client.cancel().await;
    let began = Instant::now();
    proxy.begin_stop();
    call.ends().await;
    // Whoever waits for the drain to be over waits for five seconds.
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    proxy.stop().await;
    let rows = crate::rig::rows(folder.path());
    let ended: Vec<_> = rows
        .iter()
        .filter(|row| row.tool == "slow")
        .map(|row| row.outcome.as_str())
        .collect();
    assert_eq!(ended, ["cancelled"]);
}
