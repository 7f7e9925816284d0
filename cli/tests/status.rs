//! `weir status`, by the real binary at a real proxy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use serde_json::json;
use support::Folder;

#[test]
fn a_proxy_that_serves_is_told_whole() {
    let folder = Folder::new();
    let token = folder.init();
    let served = folder.serve();
    let admin = served.admin.clone();
    assert!(!served.call(&token, "vm_list", &json!({})).1);
    assert!(served.call(&token, "vm_delete", &json!({ "id": 1 })).1);

    let told = folder
        .weir(&["status", "--url", &admin, "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(told["ready"], true, "{told}");
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    let checks = told["checks"].as_object().unwrap();
    assert_eq!(checks.len(), 4);
    assert!(checks.values().all(|check| check["ok"] == true), "{told}");
    let grant = &told["grants"][0];
    assert_eq!(
        (&grant["name"], &grant["server"]),
        (&json!("ops-agent"), &json!("truenas"))
    );
    assert_eq!((&grant["calls"], &grant["denied"]), (&json!(2), &json!(1)));
    assert_eq!(grant["in_flight"], 0);
    let digest = grant["policy"]["digest"].as_str().unwrap();
    let name = digest.strip_prefix("sha256:").unwrap();
    let kept = folder.path(&format!("record/policies/{name}.json"));
    assert!(kept.is_file(), "{} is what is in force", kept.display());
    assert_eq!(told["servers"][0]["state"], "ok");
    let record = &told["record"];
    assert!(record["last_seq"].as_i64().unwrap() > 1, "{record}");
    assert!(record["disk_left_bytes"].as_u64().unwrap() > 0);
    assert!(record["commit_wait"]["count"].as_u64().unwrap() >= 2);
    let limits = told["limits"].as_array().unwrap();
    let names: Vec<_> = limits
        .iter()
        .map(|it| it["limit"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "connections",
            "in_flight",
            "streams",
            "sessions",
            "counters"
        ]
    );
    assert_eq!(limits[3]["in_use"], 1, "one agent, one session");
    assert!(!told.to_string().contains(&token), "no secret is told");

    let page = folder.weir(&["status", "--url", &admin]).succeeds();
    for said in [
        "ready",
        "ops-agent → truenas",
        "truenas",
        "durable after",
        "limits in use",
    ] {
        assert!(page.stdout.contains(said), "no `{said}` in {page}");
    }
    for line in page.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    served.stop();

    // Nobody is there any more.
    folder
        .weir(&["status", "--url", &admin])
        .ends_with(2)
        .says("cannot ask the proxy");
}

#[test]
fn the_admin_address_is_found_in_the_configuration() {
    let folder = Folder::new();
    folder.init();
    // Port 0 is what the configuration says: nobody listens there.
    folder
        .weir(&["status"])
        .ends_with(2)
        .says("cannot ask the proxy at `http://127.0.0.1:0`");
    let config = folder.read("weir.toml");
    let without = config.split("[admin]").next().unwrap().to_owned();
    let rest = config.split("[admin]").nth(1).unwrap();
    let rest = &rest[rest.find("\n[").expect("a section follows")..];
    folder.write("weir.toml", &(without + rest));
    folder
        .weir(&["status"])
        .ends_with(2)
        .says("has no admin address");
}

#[test]
fn what_is_no_proxy_cannot_be_asked() {
    use std::io::{Read as _, Write as _};

    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let read = stream.read(&mut [0; 4096]).unwrap();
        assert!(read > 0);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            .unwrap();
    });
    Folder::new()
        .weir(&["status", "--url", &url])
        .ends_with(2)
        .says("is no proxy of this version");
    other.join().unwrap();
}

#[test]
fn a_proxy_that_stops_is_not_ready() {
    let folder = Folder::new();
    let token = folder.init();
    // A server that keeps its caller waiting holds the stop up.
    let config = folder.read("weir.toml");
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let silent = format!("\n[[server]]\nname = \"silent\"\nurl = \"{url}\"\n");
    let digest = config.rsplit("sha256 = \"").next().unwrap()[..64].to_owned();
    let grant = format!(
        "\n[[grant]]\nname = \"waits\"\nserver = \"silent\"\ntoken = {{ sha256 = \"{digest}\" }}\npolicy = \"all.json\"\n"
    );
    folder.write(
        "all.json",
        r#"{"version":"1","default":"allow","tools":{}}"#,
    );
    folder.write("weir.toml", &(config + &silent + &grant));
    let served = folder.serve();
    let body =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{}}}"#;
    let way = served.way();
    let waiting = way.begin("POST", "/silent/mcp", (&token, "application/json"), body);
    let (held, _) = listener.accept().unwrap();
    served.signal("-TERM");
    let admin = served.admin.clone();
    let page = loop {
        let page = folder.weir(&["status", "--url", &admin]);
        if page.code != Some(0) {
            break page;
        }
    };
    page.ends_with(1)
        .shows("not ready")
        .shows("the stop has begun");
    drop((held, listener, waiting));
    assert_eq!(served.wait().0, Some(0));
}
