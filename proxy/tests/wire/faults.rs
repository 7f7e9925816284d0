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
