//! `weir demo`: the whole loop on an embedded NAS, with nothing but the binary.
//!
//! Nothing in it is staged: two NAS servers (one a child process on stdio, one on HTTP), the proxy of `weir serve` with
//! TLS on loopback, two agents that trust its CA and hold its tokens, the record on disk, and the replay of `weir replay`.
//! No number on the page is written down here; what the record says is held against what the agents sent and against
//! the NAS servers' own logs, and any difference is an exit code of 1.

mod agent;
mod folder;
mod page;
mod proof;
mod stage;
mod whatif;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use tokio::sync::{oneshot, watch};
use weir_corpus::{Morning, morning};
use weir_proxy::{Config, Ready, serve};

use crate::nas::{Nas, Server, Shape, log::Log};
use crate::terminal;

use agent::Sent;
use folder::Folder;
use proof::Proof;
use stage::Stages;

/// What differs between the record and the world.
const DIFFERENT: u8 = 1;

/// Show the whole loop on an embedded NAS: serve, drive, record, replay, report
///
/// Two scripted agents work against two embedded NAS servers through the real proxy, over TLS
/// on loopback: routine work, a runaway loop, a pulled plug, a service stopped through the back
/// door, hands on locked doors, malformed bytes. The record is held against the NAS's own log,
/// and then replayed under two policies that were not in force. Needs no network, no
/// configuration and no privileges; leaves a folder to go on with.
///
/// Examples:
///   weir demo                       into ./weir-demo, in place of an earlier demo's folder
///   weir demo --dir /tmp/monday
///
/// Exit codes: 0 all counts agree, 1 they do not, 2 something could not be started or written.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Demo {
    /// The folder to leave behind.
    #[arg(long, value_name = "DIR", default_value = "weir-demo")]
    dir: PathBuf,
}

impl Demo {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let stages = Stages::new();
        let morning = morning("monday")?;

        let stage = stages.begin("making a configuration, tokens and policies");
        let folder = Folder::make(&self.dir, &morning)?;
        stage.done(&format!(
            "{} holds weir.toml, two tokens and the policies",
            folder.shown()
        ));

        let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
        let sent = runtime.block_on(work(&folder, &morning, &stages))?;
        drop(runtime);

        let stage = stages.begin("holding the record against the world");
        let proof = Proof::of(&folder, &morning, &sent)?;
        stage.done(&proof.sentence());

        let stage = stages.begin("replaying the record under other policies");
        let answers = whatif::answers(&folder)?;
        stage.done(&format!("replayed the record {} times", answers.len()));

        terminal::print(&page::page(
            &folder,
            &morning,
            &sent,
            &proof,
            &answers,
            began.elapsed(),
        ))?;
        Ok(
            if proof.holds() && answers.iter().all(whatif::Answer::is_sound) {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(DIFFERENT)
            },
        )
    }
}

/// Starts everything, lets the agents work, and stops everything in good order.
async fn work(folder: &Folder, morning: &Morning, stages: &Stages) -> anyhow::Result<Vec<Sent>> {
    let stage = stages.begin("starting two NAS servers and the proxy");
    let (stop_nas, nas_stopped) = watch::channel(false);
    let flat = Server::bind(
        Nas::new(Shape::Flat, Log::append(&folder.nas_log("nas-flat"))?)?,
        ([127, 0, 0, 1], 0).into(),
    )
    .await
    .context("cannot listen on a port of 127.0.0.1")?;
    let config_path = folder.configure(flat.address()?)?;
    let flat = tokio::spawn(flat.serve(until(nas_stopped)));

    let config = Config::load(&config_path).map_err(|problems| anyhow!("{problems}"))?;
    let (tell, told) = oneshot::channel::<Ready>();
    let (stop, stopped) = watch::channel(false);
    let proxy = tokio::spawn(serve(
        config,
        move |ready| drop(tell.send(ready)),
        until(stopped),
    ));
    let Ok(ready) = told.await else {
        // It never got ready, so it has ended, and says why.
        proxy
            .await
            .context("the proxy panicked")?
            .context("cannot start the proxy")?;
        return Err(anyhow!("the proxy ended before it was ready"));
    };
    stage.done(&format!(
        "https://{} serves `nas` (a child on stdio, one dispatcher tool) and `nas-flat` (HTTP, 278 tools)",
        ready.address
    ));

    let stage = stages.count("two agents are at work", morning.calls.len());
    let sent = agent::work(folder, morning, &ready, &stage).await?;
    stage.done(&format!("two agents sent {} messages over TLS", sent.len()));

    let stage = stages.begin("stopping the proxy and sealing the record");
    stop.send_replace(true);
    proxy
        .await
        .context("the proxy panicked")?
        .context("the proxy did not stop in good order")?;
    stop_nas.send_replace(true);
    flat.await
        .context("the NAS panicked")?
        .context("the NAS did not stop in good order")?;
    stage.done("the proxy finished what was under way and sealed the record");
    Ok(sent)
}

/// Done once the flag is raised, or nobody is left to raise it.
async fn until(mut raised: watch::Receiver<bool>) {
    drop(raised.wait_for(|raised| *raised).await);
}
