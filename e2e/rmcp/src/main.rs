//! A client nobody here wrote: crates.io `rmcp`. Environment, steps and what is printed are those of client.py; it speaks streamable HTTP only.
//! Asked for sampling it answers "sampled", asked of a person it declines.
#![allow(deprecated)] // sampling, which servers still ask for

use std::env;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ClientRequest,
    CreateMessageRequestParams, CreateMessageResult, Implementation, ProgressNotificationParam,
    ProtocolVersion, Request, SamplingMessage,
};
use rmcp::service::{NotificationContext, PeerRequestOptions, RequestContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Step {
    tool: String,
    arguments: Map<String, Value>,
    cancel_after: Option<f64>,
}

/// Hears of progress, of one call after the other.
#[derive(Clone, Default)]
struct Agent {
    progress: Arc<Mutex<Vec<f64>>>,
}

impl ClientHandler for Agent {
    fn get_info(&self) -> ClientConfig {
        let mut able = ClientCapabilities::default();
        able.sampling = Some(Default::default());
        able.elicitation = Some(Default::default());
        ClientConfig::new(able, Implementation::new("weir-e2e-rmcp", "1"))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        Ok(CreateMessageResult::new(
            SamplingMessage::assistant_text("sampled"),
            "none".into(),
        ))
    }

    async fn on_progress(
        &self,
        heard: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.progress.lock().expect("no panic").push(heard.progress);
    }
}

type Client = RunningService<RoleClient, Agent>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("the first");
    let ca = reqwest::Certificate::from_pem(&std::fs::read(env::var("WEIR_CA")?)?)?;
    let http = reqwest::Client::builder().tls_certs_only([ca]).build()?;
    let config = StreamableHttpClientTransportConfig::with_uri(env::var("WEIR_URL")?)
        .auth_header(env::var("WEIR_TOKEN")?);
    let lifecycle = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::LATEST],
        legacy_version: None,
    };
    let transport = StreamableHttpClientTransport::with_client(http, config);
    let client = Agent::default()
        .serve_with_lifecycle(transport, lifecycle)
        .await?;
    let tools = client.list_all_tools().await?;
    let protocol = client
        .peer_info()
        .context("no server")?
        .protocol_version
        .to_string();
    let mut calls = Vec::new();
    for step in serde_json::from_str::<Vec<Step>>(&env::var("WEIR_STEPS")?)? {
        calls.push(play(&client, step).await?);
    }
    client.cancel().await?;
    println!(
        "{}",
        json!({ "protocol": protocol, "tools": tools.iter().map(|tool| &tool.name).collect::<Vec<_>>(), "calls": calls })
    );
    Ok(())
}

async fn play(client: &Client, step: Step) -> Result<Value> {
    client.service().progress.lock().expect("no panic").clear();
    let params = CallToolRequestParams::new(step.tool).with_arguments(step.arguments);
    let mut seen = if let Some(seconds) = step.cancel_after {
        let request = ClientRequest::CallToolRequest(Request::new(params));
        let call = client
            .send_cancellable_request(request, PeerRequestOptions::no_options())
            .await?;
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        call.cancel(Some("no longer needed".into())).await?;
        json!({ "fault": "cancelled" })
    } else {
        match client.call_tool(params).await {
            Ok(result) => {
                json!({ "is_error": result.is_error == Some(true), "text": text(&result) })
            }
            Err(fault) => json!({ "fault": fault.to_string() }),
        }
    };
    let progress = client.service().progress.lock().expect("no panic");
    seen["progress"] = progress.len().into();
    seen["ordered"] = progress.is_sorted().into();
    Ok(seen)
}

fn text(result: &CallToolResult) -> Option<&str> {
    result
        .content
        .first()?
        .as_text()
        .map(|content| content.text.as_str())
}
