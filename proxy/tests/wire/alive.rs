//! A peer that is gone without a word is noticed: the kernel asks after it, on accepted connections and on those to servers.

use serde_json::json;

use crate::rig::{Proxy, Server, folder, policy, soon};

/// The timer of every open connection of this process that has these ports, as the kernel tells it (`/proc/net/tcp`): which, and
/// in how many hundredths of a second it fires. `None`: any port.
fn timers(local: Option<u16>, remote: Option<u16>) -> Vec<(u8, u64)> {
    const OPEN: &str = "01";
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16);
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| columns[3] == OPEN)
        .filter(|columns| local.is_none_or(|it| port(columns[1]) == Ok(it)))
        .filter(|columns| remote.is_none_or(|it| port(columns[2]) == Ok(it)))
        .map(|columns| {
            let (timer, when) = columns[5].split_once(':').unwrap();
            (
                timer.parse().unwrap(),
                u64::from_str_radix(when, 16).unwrap(),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernel_asks_after_peers_that_say_nothing() {
    /// What the timer of a silent connection is for, where it was told to ask.
    const KEEPALIVE: u8 = 2;
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    assert!(!proxy.call("vm_list", json!({})).await.is_denied());
    let upstream = server.url.rsplit(':').next().unwrap();
    let upstream = upstream.split('/').next().unwrap().parse().unwrap();
    let asks = |found: Vec<(u8, u64)>| {
        !found.is_empty()
            && found
                .iter()
                .all(|(timer, when)| *timer == KEEPALIVE && (4_000..=6_000).contains(when))
    };
    // Just after an answer it is the timer of what is not acknowledged yet.
    soon(|| asks(timers(Some(proxy.ready.address.port()), None))).await;
    soon(|| asks(timers(None, Some(upstream)))).await;
    // The test's own ends were told nothing, and ask nobody.
    assert!(!asks(timers(None, Some(proxy.ready.address.port()))));
    proxy.stop().await;
}
