//! Readiness: what `/readyz` says while the proxy starts, serves, cannot record, and stops.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use weir_proxy::Config;
use weir_recorder::{Disk, Source, Storage, StorageFile};

use crate::rig::{Proxy, Server, ask_admin, client, folder, policy};

/// The real disk, which lets nobody in before its door is open.
#[derive(Debug)]
struct Locked(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl Storage for Locked {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        Disk.create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Disk.create(path)
    }

    fn create_private(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Disk.create_private(path)
    }

    fn open(&self, path: &Path) -> io::Result<Source> {
        Disk.open(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Disk.read(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        Disk.list(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        Disk.sync_folder(folder)
    }

    /// The first thing that the record does: it waits until the other end is dropped.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.0.lock().unwrap().recv().unwrap_err();
        Disk.lock(path)
    }
}

fn failing(ready: &Value) -> Vec<&str> {
    let checks = ready["checks"].as_object().unwrap();
    let failing = checks.iter().filter(|(_, check)| check["ok"] != true);
    failing
        .map(|(name, check)| {
            assert!(check["why"].as_str().is_some_and(|why| !why.is_empty()));
            name.as_str()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_is_told_from_its_first_moment_on() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    // Nobody else takes this port in between.
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let admin: SocketAddr = port.local_addr().unwrap();
    drop(port);
    let config = folder.path().join("weir.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(
        "[admin]\naddress = \"127.0.0.1:0\"",
        &format!("[admin]\naddress = \"{admin}\""),
    );
    std::fs::write(&config, text).unwrap();
    let (door, closed) = std::sync::mpsc::channel();
    let (is_ready, ready) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(weir_proxy::serve_on(
        Config::load(&config).unwrap(),
        Arc::new(Locked(std::sync::Mutex::new(closed))),
        move |ready| drop(is_ready.send(ready)),
        async move { drop(stopped.await) },
    ));
    while tokio::net::TcpStream::connect(admin).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let json = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let (status, text) = ask_admin(admin, "/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(failing(&json(&text)), ["record", "counters", "listeners"]);
    let (status, text) = ask_admin(admin, "/healthz").await;
    assert_eq!(
        (status.as_u16(), json(&text)),
        (200, json!({ "status": "starting" })),
        "it lives"
    );
    let (status, text) = ask_admin(admin, "/status").await;
    let told = json(&text);
    assert_eq!((status.as_u16(), &told["ready"]), (200, &json!(false)));
    assert!(told.get("servers").is_none(), "{told}");
    for path in ["/metrics", "/approvals"] {
        assert_eq!(ask_admin(admin, path).await.0, 503, "{path}");
    }

    drop(door);
    ready.await.unwrap();
    let (status, text) = ask_admin(admin, "/readyz").await;
    assert_eq!(status, 200, "{text}");
    assert!(failing(&json(&text)).is_empty());
    drop(stop);
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_stops_says_so_while_calls_under_way_end() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let mut proxy = Proxy::start(folder.path()).await;
    let (status, ready) = proxy.ready().await;
    assert_eq!((status.as_u16(), failing(&ready)), (200, vec![]));
    let call = crate::rig::call("slow", &json!({}));
    let request = proxy.request().body(Full::new(call.into())).unwrap();
    let own = client(&folder.path().join("state/ca.pem"));
    let under_way = tokio::spawn(own.request(request));
    server.arrived.notified().await;
    proxy.begin_stop();
    let mut told = proxy.ready().await;
    while told.0 == 200 {
        told = proxy.ready().await;
    }
    assert_eq!(told.0, 503);
    assert_eq!(failing(&told.1), ["listeners", "drain"]);
    let status: Value = serde_json::from_str(&proxy.admin("/status").await).unwrap();
    assert_eq!(status["grants"][0]["in_flight"], 1, "{status}");
    server.go_on.notify_one();
    assert_eq!(under_way.await.unwrap().unwrap().status(), 200);
    proxy.stop().await;
}
