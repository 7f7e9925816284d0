//! A disk that fails: what cannot be recorded is refused, and nothing of it is forwarded.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use weir_recorder::{Disk, Source, Storage, StorageFile};

use crate::rig::{Proxy, Server, folder, policy, soon};

/// The real disk, until it breaks.
#[derive(Debug, Default)]
struct Fragile {
    broken: Arc<AtomicBool>,
}

struct FragileFile {
    file: Box<dyn StorageFile>,
    broken: Arc<AtomicBool>,
}

fn check(broken: &AtomicBool) -> io::Result<()> {
    if broken.load(Ordering::SeqCst) {
        Err(io::Error::other("the disk is broken"))
    } else {
        Ok(())
    }
}

impl StorageFile for FragileFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        check(&self.broken)?;
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        check(&self.broken)?;
        self.file.sync_data()
    }
}

impl Fragile {
    fn wrap(&self, file: Box<dyn StorageFile>) -> Box<dyn StorageFile> {
        Box::new(FragileFile {
            file,
            broken: Arc::clone(&self.broken),
        })
    }
}

impl Storage for Fragile {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        Disk.create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        check(&self.broken)?;
        Ok(self.wrap(Disk.create(path)?))
    }

    fn create_private(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        check(&self.broken)?;
        Ok(self.wrap(Disk.create_private(path)?))
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
        check(&self.broken)?;
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        check(&self.broken)?;
        Disk.sync_folder(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Disk.lock(path)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_recorded_is_refused_and_goes_nowhere_until_the_disk_is_back() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let broken = Arc::new(AtomicBool::new(false));
    let proxy = Proxy::start_on(
        folder.path(),
        Arc::new(Fragile {
            broken: Arc::clone(&broken),
        }),
    )
    .await;
    assert!(!proxy.call("vm_stop", json!({ "id": 1 })).await.is_denied());

    broken.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        let reply = proxy.call("vm_stop", json!({ "id": 1 })).await;
        assert_eq!(reply.json()["result"]["_meta"]["weir/rule"], "(unrecorded)");
    }
    assert_eq!(server.tools(), ["vm_stop"], "nothing was forwarded");
    let health: serde_json::Value = serde_json::from_str(&proxy.admin("/healthz").await).unwrap();
    assert_eq!(
        (
            health["status"].as_str(),
            health["record"]["recording"].as_bool()
        ),
        (Some("degraded"), Some(false))
    );

    let (status, ready) = proxy.ready().await;
    assert_eq!(status, 503);
    assert_eq!(ready["ready"], false);
    let why = ready["checks"]["record"]["why"].as_str().unwrap();
    assert!(why.contains("the disk is broken"), "{ready}");

    broken.store(false, Ordering::SeqCst);
    let mut back = false;
    for _ in 0..100 {
        if proxy.admin("/healthz").await.contains("\"status\":\"ok\"") {
            back = true;
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(back, "the record comes back by itself");
    assert_eq!(proxy.ready().await.0, 200);
    // The limit is 3 an hour: what was refused took nothing for good.
    assert!(!proxy.call("vm_stop", json!({ "id": 1 })).await.is_denied());
    assert!(!proxy.call("vm_stop", json!({ "id": 1 })).await.is_denied());
    assert!(proxy.call("vm_stop", json!({ "id": 1 })).await.is_denied());
    assert_eq!(server.tools().len(), 3);
    soon(|| {
        proxy
            .rows()
            .iter()
            .filter(|row| row.outcome == "ok")
            .count()
            == 3
    })
    .await;
    assert!(
        proxy
            .rows()
            .iter()
            .filter(|row| row.rule == "(unrecorded)")
            .all(|row| row.verdict == "deny")
    );
    proxy.stop().await;
}

/// The disk breaks while a server works on a call: what the client gets, by what `outcome` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_outcome_cannot_be_recorded_goes_out_unless_outcomes_are_strict() {
    for (strict, tool) in [
        (false, "slow"),
        (false, "slow_streams"),
        (true, "slow"),
        (true, "slow_streams"),
    ] {
        let server = Server::start().await;
        let folder = folder(&server.url, &policy());
        if strict {
            let config = folder.path().join("weir.toml");
            let text = std::fs::read_to_string(&config).unwrap();
            let text = text.replace("[record]", "[record]\noutcome = \"strict\"");
            std::fs::write(config, text).unwrap();
        }
        let broken = Arc::new(AtomicBool::new(false));
        let storage = Arc::new(Fragile {
            broken: Arc::clone(&broken),
        });
        let proxy = Arc::new(Proxy::start_on(folder.path(), storage).await);
        let caller = Arc::clone(&proxy);
        let calling = tokio::spawn(async move { caller.call(tool, json!({})).await });
        server.arrived.notified().await;
        broken.store(true, Ordering::SeqCst);
        server.go_on.notify_one();
        let reply = String::from_utf8(calling.await.unwrap().body.to_vec()).unwrap();
        let (answered, withheld) = (format!("did {tool}"), "may have taken effect");
        assert_eq!(reply.contains(&answered), !strict, "{tool}: {reply}");
        assert_eq!(reply.contains(withheld), strict, "{tool}: {reply}");
        assert!(!strict || reply.contains("\"id\":7"), "{reply}");
        broken.store(false, Ordering::SeqCst);
        // Nothing is lost: the outcome comes with the disk.
        soon(|| proxy.rows().iter().any(|row| row.outcome == "ok")).await;
        Arc::into_inner(proxy).unwrap().stop().await;
    }
}

#[tokio::test]
async fn strict_outcomes_pass_on_what_is_recorded() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let config = folder.path().join("weir.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        config,
        text.replace("[record]", "[record]\noutcome = \"strict\""),
    )
    .unwrap();
    let proxy = Proxy::start(folder.path()).await;
    for tool in ["vm_list", "streams"] {
        let reply = proxy.call(tool, json!({})).await;
        let reply = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(reply.contains(&format!("did {tool}")), "{reply}");
        assert!(
            proxy
                .rows()
                .iter()
                .any(|row| row.tool == tool && row.outcome == "ok")
        );
    }
    proxy.stop().await;
}
