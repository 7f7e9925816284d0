//! Recording is off: calls are judged and limited as ever, nothing of them is written down, and the record says so.

use serde_json::{Value, json};

use crate::rig::{Proxy, Server, events, folder, policy, rows};

fn switch_off(folder: &std::path::Path) {
    let file = folder.join("weir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let off = text.replacen(
        "path = \"record\"\n",
        "path = \"record\"\nrecording = \"off\"\n",
        1,
    );
    std::fs::write(&file, off).unwrap();
}

#[tokio::test]
async fn calls_are_judged_and_limited_and_leave_no_row() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let recorded = Proxy::start(folder.path()).await;
    recorded.call("vm_list", json!({})).await;
    let (_, ready) = recorded.ready().await;
    assert_eq!(ready["checks"]["record"], json!({ "ok": true }));
    recorded.stop().await;
    let before = rows(folder.path()).len();
    switch_off(folder.path());
    let proxy = Proxy::start(folder.path()).await;
    let health: Value = serde_json::from_str(&proxy.admin("/healthz").await).unwrap();
    assert_eq!(health["record"]["recording"], false);
    assert_eq!(health["record"]["durability"], "off");
    assert_eq!(health["status"], "ok");
    let (status, ready) = proxy.ready().await;
    assert_eq!((status.as_u16(), &ready["ready"]), (200, &json!(true)));
    let note = ready["checks"]["record"]["note"].as_str().unwrap();
    assert!(note.starts_with("recording is off"), "{ready}");
    let status: Value = serde_json::from_str(&proxy.admin("/status").await).unwrap();
    assert_eq!(status["record"]["recording"], false);
    assert_eq!(status["checks"], ready["checks"]);
    for id in 0..3 {
        assert!(!proxy.call("vm_stop", json!({ "id": id })).await.is_denied());
    }
    assert!(proxy.call("vm_stop", json!({ "id": 3 })).await.is_denied());
    assert!(proxy.call("vm_delete", json!({})).await.is_denied());
    let tools = ["vm_list", "vm_stop", "vm_stop", "vm_stop"];
    assert_eq!(server.tools(), tools);
    proxy.stop().await;
    assert_eq!(rows(folder.path()).len(), before);
    let told = events(folder.path());
    assert!(told.iter().any(|kind| kind == "configuration"), "{told:?}");
}
