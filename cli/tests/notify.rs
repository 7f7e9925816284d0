//! What a service manager hears of a proxy: the messages of sd_notify(3), on a socket of the test's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use support::Folder;

/// The manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn new(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.path("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self(socket)
    }

    /// The lines of the next message that says this.
    fn hears(&self, said: &str) -> Vec<String> {
        loop {
            let mut bytes = [0; 4096];
            let length = self.0.recv(&mut bytes).expect(said);
            let text = std::str::from_utf8(&bytes[..length]).unwrap();
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            if lines.iter().any(|line| line == said) {
                return lines;
            }
        }
    }
}

#[test]
fn a_manager_hears_of_the_start_of_life_of_a_reload_and_of_the_stop() {
    let folder = Folder::new();
    folder.init();
    let manager = Manager::new(&folder);
    let socket = folder.path("notify");
    let served = folder.serve_with(&[
        ("NOTIFY_SOCKET", socket.to_str().unwrap()),
        ("WATCHDOG_USEC", "300000"),
    ]);
    let ready = manager.hears("READY=1");
    assert!(
        ready[1].starts_with("STATUS=serving; last entry "),
        "{ready:?}"
    );
    for _ in 0..3 {
        let alive = manager.hears("WATCHDOG=1");
        assert!(alive[1].starts_with("STATUS=serving"), "{alive:?}");
    }
    served.signal("-HUP");
    let reloading = manager.hears("RELOADING=1");
    let at = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
    assert!(at.parse::<u64>().unwrap() > 0, "{reloading:?}");
    manager.hears("READY=1");
    assert_eq!(served.stop().0, Some(0));
    manager.hears("STOPPING=1");
}

#[test]
fn without_a_watchdog_none_is_fed() {
    let folder = Folder::new();
    folder.init();
    let manager = Manager::new(&folder);
    let socket = folder.path("notify");
    let served = folder.serve_with(&[("NOTIFY_SOCKET", socket.to_str().unwrap())]);
    manager.hears("READY=1");
    assert_eq!(served.stop().0, Some(0));
    let stopping = manager.hears("STOPPING=1");
    assert!(!stopping.iter().any(|line| line.starts_with("WATCHDOG")));
}
