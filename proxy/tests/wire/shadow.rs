//! Candidates judged alongside: recorded, counted for themselves, and never enforced.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_proxy::{Config, ServeError};
use weir_recorder::{
    CallRows, Disk, RecordOptions, RecordReader, Recorder, State, VerifyOptions, verify,
};

use crate::rig::{Proxy, Server, call, events, folder, policy};

const LISTED: &str = "policy = \"ops.json\"\n";

/// Lists candidates for `ops`, and writes them.
fn list(folder: &Path, candidates: &[(&str, Value)]) {
    let file = folder.join("weir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once(LISTED).unwrap();
    let listed_before = after
        .strip_prefix("shadow")
        .and_then(|it| it.split_once('\n'));
    let after = listed_before.map_or(after, |(_, after)| after);
    let names: Vec<&str> = candidates.iter().map(|(name, _)| *name).collect();
    let text = format!("{before}{LISTED}shadow = {names:?}\n{after}");
    std::fs::write(file, text).unwrap();
    for (name, policy) in candidates {
        std::fs::write(folder.join(name), policy.to_string()).unwrap();
    }
}

fn allowing(tools: &Value) -> Value {
    json!({ "version": "1", "default": "deny", "tools": tools })
}

/// A candidate that lets `vm_stop` pass so often in any day.
fn few(max: u64) -> Value {
    let limit = json!({ "counter": "stops", "window": 86400, "sliding": true, "max": max });
    allowing(&json!({ "vm_stop": { "limits": [limit] }, "vm_list": {} }))
}

/// Verdict, rule, and what the candidates say, of every row: `allow, deny /tools/…`.
fn said(folder: &Path) -> Vec<(String, Vec<String>)> {
    let columns: Vec<&str> = CallRows::COLUMNS
        .iter()
        .copied()
        .chain([CallRows::SHADOW])
        .collect();
    let reader = RecordReader::open(folder.join("record")).unwrap();
    let words = |verdict: weir_recorder::Verdict, rule: &str| {
        format!("{} {rule}", verdict.as_str()).trim().to_owned()
    };
    let mut said = Vec::new();
    for batch in reader.calls(&columns).unwrap() {
        let batch = batch.unwrap();
        for row in CallRows::new(&batch).unwrap().iter() {
            let shadow = row.shadow.iter();
            let shadow = shadow.map(|entry| words(entry.verdict, entry.rule));
            let own = words(row.verdict, row.rule.unwrap_or_default());
            said.push((own, shadow.collect()));
        }
    }
    said
}

async fn reload(proxy: &Proxy) -> Result<(), ServeError> {
    let config = Config::load(&proxy.folder.join("weir.toml")).unwrap();
    proxy.ready.reloader.reload(config).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_candidates_say_is_recorded_and_counted_and_changes_nothing() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let open = json!({ "version": "1", "default": "allow", "tools": {} });
    list(folder.path(), &[("few.json", few(1)), ("open.json", open)]);
    let proxy = Proxy::start(folder.path()).await;
    for _ in 0..2 {
        assert!(!proxy.call("vm_stop", json!({"id": 1})).await.is_denied());
    }
    let forced = json!({"id": 1, "force": true});
    assert!(proxy.call("vm_stop", forced).await.is_denied());
    assert!(proxy.call("vm_new", json!({})).await.is_denied());
    // What no policy is asked about is nothing to a candidate either.
    proxy.post("{").await;
    proxy
        .post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)
        .await;
    assert_eq!(server.tools(), ["vm_stop", "vm_stop"]);
    let metrics = proxy.admin("/metrics").await;
    for (candidate, class, count) in [
        ("few.json", "same", 3),
        ("few.json", "newly_denied", 1),
        ("open.json", "same", 2),
        ("open.json", "newly_allowed", 2),
    ] {
        let line = format!(
            "weir_shadow_calls_total{{grant=\"ops\",candidate=\"{candidate}\",class=\"{class}\"}} {count}"
        );
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    proxy.stop().await;

    let forced = "deny /tools/vm_stop/deny_if/args.force-eq";
    let spent = "deny /tools/vm_stop/limits/stops";
    let expected = [
        ("allow", vec!["allow", "allow"]),
        ("allow", vec![spent, "allow"]),
        (forced, vec![spent, "allow"]),
        ("deny (default deny)", vec!["deny (default deny)", "allow"]),
        ("deny (malformed)", vec![]),
        ("allow", vec![]),
    ];
    let said = said(folder.path());
    let said: Vec<(&str, Vec<&str>)> = said
        .iter()
        .map(|(own, shadow)| (&**own, shadow.iter().map(|it| &**it).collect()))
        .collect();
    assert_eq!(said, expected);
    let events = events(folder.path());
    let told = |kind: &str| events.iter().filter(|it| *it == kind).count();
    assert_eq!((told("policy"), told("shadow")), (1, 2), "{events:?}");
    // The candidates' documents are kept, so what the record names can be read, and verified.
    let kept = std::fs::read_dir(folder.path().join("record/policies")).unwrap();
    assert_eq!(kept.count(), 3);
    let record = folder.path().join("record");
    let recorder = Recorder::open(RecordOptions::new(&record), Arc::new(Disk))
        .unwrap()
        .0;
    let options = VerifyOptions {
        keys: vec![recorder.public_key()],
        ..VerifyOptions::default()
    };
    recorder.close().unwrap();
    let state = || verify(&record, &options).unwrap().state;
    assert_eq!(state(), State::NotAnchored);
    std::fs::remove_file(record.join("policies").join(kept_as(&few(1)))).unwrap();
    assert_eq!(state(), State::Missing);
}

/// The name of the file in which a policy is kept.
fn kept_as(policy: &Value) -> String {
    let text = policy.to_string();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(text.as_bytes());
    format!("{}.json", hex::encode(digest))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_counts_as_if_it_had_always_been_there() {
    let server = Server::start().await;
    let folder = folder(
        &server.url,
        &allowing(&json!({ "vm_stop": {}, "vm_list": {} })),
    );
    let proxy = Proxy::start(folder.path()).await;
    for _ in 0..2 {
        proxy.call("vm_stop", json!({"id": 1})).await;
    }
    list(folder.path(), &[("few.json", few(3))]);
    reload(&proxy).await.unwrap();
    for _ in 0..2 {
        proxy.call("vm_stop", json!({"id": 1})).await;
    }
    proxy.stop().await;
    let proxy = Proxy::start(folder.path()).await;
    proxy.call("vm_stop", json!({"id": 1})).await;
    // One that goes says nothing any more; one that comes back has heard what came meanwhile.
    list(folder.path(), &[]);
    reload(&proxy).await.unwrap();
    proxy.call("vm_list", json!({})).await;
    list(folder.path(), &[("few.json", few(6))]);
    reload(&proxy).await.unwrap();
    for _ in 0..2 {
        proxy.call("vm_stop", json!({"id": 1})).await;
    }
    proxy.stop().await;
    let spent = "deny /tools/vm_stop/limits/stops";
    let said: Vec<String> = said(folder.path())
        .into_iter()
        .map(|(_, shadow)| shadow.join(","))
        .collect();
    assert_eq!(said, ["", "", "allow", spent, spent, "", "allow", spent]);
    assert_eq!(server.tools().len(), 8, "nothing was held up");
    let events = events(folder.path());
    let told = events.iter().filter(|kind| *kind == "shadow").count();
    assert_eq!(told, 4, "came, came with the start, went, came: {events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_reached_the_server_is_given_back_to_candidates_too() {
    // Nobody listens there.
    let folder = folder(
        "http://127.0.0.1:9/mcp",
        &allowing(&json!({ "vm_stop": {} })),
    );
    list(folder.path(), &[("few.json", few(1))]);
    let proxy = Proxy::start(folder.path()).await;
    for _ in 0..3 {
        let reply = proxy.call("vm_stop", json!({"id": 1})).await;
        assert!(!reply.is_denied(), "{reply:?}");
    }
    // A call that is denied has no outcome, so it takes what the candidate lets it take.
    proxy.stop().await;
    std::fs::write(
        folder.path().join("ops.json"),
        allowing(&json!({})).to_string(),
    )
    .unwrap();
    let proxy = Proxy::start(folder.path()).await;
    for _ in 0..2 {
        assert!(proxy.call("vm_stop", json!({"id": 1})).await.is_denied());
    }
    proxy.stop().await;
    let said: Vec<String> = said(folder.path())
        .into_iter()
        .map(|(_, shadow)| shadow.join(","))
        .collect();
    let spent = "deny /tools/vm_stop/limits/stops";
    assert_eq!(said, ["allow", "allow", "allow", "allow", spent]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_are_checked_like_the_policy_in_force_all_at_once() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    list(folder.path(), &[("one.json", few(1))]);
    let proxy = Proxy::start(folder.path()).await;
    std::fs::write(folder.path().join("ops.json"), r#"{ "version": "1" }"#).unwrap();
    let bad = allowing(&json!({ "vm_stop": { "limit": [] } }));
    list(folder.path(), &[("one.json", bad), ("two.json", json!([]))]);
    let refused = reload(&proxy).await.unwrap_err();
    assert!(matches!(refused, ServeError::Policy { .. }), "{refused}");
    let told = refused.to_string();
    for file in ["ops.json:1:", "one.json:1:", "two.json:1:"] {
        assert!(told.contains(file), "{told}");
    }
    // The ones in force stay.
    assert!(!proxy.call("vm_stop", json!({"id": 1})).await.is_denied());
    proxy.stop().await;
    let (own, shadow) = said(folder.path()).pop().unwrap();
    assert_eq!((&*own, &*shadow.join(",")), ("allow", "allow"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_without_a_policy_may_try_one() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let file = folder.path().join("weir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(LISTED, "shadow = [\"few.json\"]\n");
    std::fs::write(&file, text).unwrap();
    std::fs::write(folder.path().join("few.json"), few(1).to_string()).unwrap();
    let proxy = Proxy::start(folder.path()).await;
    for _ in 0..2 {
        let reply = proxy.post(call("vm_stop", &json!({"id": 1}))).await;
        assert!(reply.is_denied());
    }
    proxy.stop().await;
    let said = said(folder.path());
    let spent = "deny /tools/vm_stop/limits/stops";
    let expected =
        ["allow", spent].map(|said| ("deny (no policy)".to_owned(), vec![said.to_owned()]));
    assert_eq!(said, expected);
}
