//! The words of each client. Formats as the clients read them in late 2026.

use std::path::PathBuf;

use serde_json::{Map, json};

use crate::terminal::{ACCENT, DIM, RESET};

/// Where a client connects, and as whom.
#[derive(Debug)]
pub struct Connection {
    /// What the client calls the server.
    pub server: String,
    /// The server's address at Weir.
    pub url: String,
    /// The CA to trust, unless the system does already.
    pub ca: Option<PathBuf>,
    /// Where the token lies, if `weir init` left it beside the configuration.
    pub token_file: Option<PathBuf>,
    /// The arguments of `weir` that put it between this client and the server without `weir serve`.
    pub wrap: Vec<String>,
}

/// What goes to stdout, and what the user is told beside it.
type Text = (String, String);

impl Connection {
    /// Claude Code by command and by file, Claude Desktop by a bridge.
    pub fn claude(&self) -> anyhow::Result<Text> {
        let Self { server, url, .. } = self;
        let file = json!({ "mcpServers": { server: {
            "type": "http", "url": url, "headers": { "Authorization": "Bearer ${WEIR_TOKEN}" }
        } } });
        let mut environment =
            Map::from_iter([("WEIR_AUTHORIZATION".to_owned(), json!("Bearer <the token>"))]);
        environment.extend(self.ca.iter().map(|ca| {
            (
                "NODE_EXTRA_CA_CERTS".to_owned(),
                json!(ca.display().to_string()),
            )
        }));
        let bridge = json!({
            "command": "npx",
            "args": ["-y", "mcp-remote", url, "--header", "Authorization:${WEIR_AUTHORIZATION}"],
            "env": environment
        });
        let wrapped = json!({ "command": "weir", "args": self.wrap });
        let notes = format!(
            "{DIM}# Claude Code, once in a shell:{RESET}\n{exports}\
             {ACCENT}claude mcp add --transport http {server} {url} --header \"Authorization: Bearer $WEIR_TOKEN\"{RESET}\n\n\
             {DIM}# Claude Desktop speaks stdio only; in claude_desktop_config.json, under mcpServers:{RESET}\n\
             \"{server}\": {bridge}\n\n\
             {DIM}# or without `weir serve`: Claude Desktop starts Weir, Weir the server, with a record of their own:{RESET}\n\
             \"{server}\": {wrapped}\n\n\
             {DIM}# or for a project, .mcp.json (start `claude` with both variables set):{RESET}\n",
            exports = self.exports(),
            bridge = serde_json::to_string_pretty(&bridge)?,
            wrapped = serde_json::to_string_pretty(&wrapped)?,
        );
        Ok((pretty(&file)?, notes))
    }

    /// `.cursor/mcp.json`
    pub fn cursor(&self) -> anyhow::Result<Text> {
        let file = json!({ "mcpServers": { &self.server: {
            "url": self.url, "headers": { "Authorization": "Bearer ${env:WEIR_TOKEN}" }
        } } });
        let notes = format!(
            "{DIM}# .cursor/mcp.json of a project, or ~/.cursor/mcp.json; start Cursor from a shell with:{RESET}\n{}",
            self.exports()
        );
        Ok((pretty(&file)?, notes))
    }

    /// `.vscode/mcp.json`
    pub fn vscode(&self) -> anyhow::Result<Text> {
        let input = format!("weir-{}", self.server);
        let file = json!({
            "inputs": [{ "type": "promptString", "id": input, "description": format!("Weir token for {}", self.server), "password": true }],
            "servers": { &self.server: {
                "type": "http", "url": self.url, "headers": { "Authorization": format!("Bearer ${{input:{input}}}") }
            } }
        });
        let token = self.token_file.as_ref().map_or_else(String::new, |file| {
            format!(" (it is in {})", file.display())
        });
        let ca = self.ca.as_ref().map_or_else(String::new, |ca| {
            format!(
                "{DIM}# it trusts the system's CAs; add this one there, or start it with{RESET}\n\
                 {ACCENT}NODE_EXTRA_CA_CERTS={} code .{RESET}\n",
                shell(&ca.display().to_string())
            )
        });
        Ok((
            pretty(&file)?,
            format!("{DIM}# .vscode/mcp.json; VS Code asks for the token once{token}{RESET}\n{ca}"),
        ))
    }

    /// A client over PyPI's `mcp`, 1.x and 2.x.
    pub fn python(&self) -> Text {
        let quote = |text: &str| serde_json::Value::from(text).to_string(); // a JSON string is a Python string
        let token = match &self.token_file {
            Some(file) => format!(
                "os.environ.get(\"WEIR_TOKEN\") or Path({}).read_text().strip()",
                quote(&file.display().to_string())
            ),
            None => "os.environ[\"WEIR_TOKEN\"]".to_owned(),
        };
        let trust = match &self.ca {
            Some(ca) => format!(
                "ssl.create_default_context(cafile={})",
                quote(&ca.display().to_string())
            ),
            None => "ssl.create_default_context()".to_owned(),
        };
        let path = if self.token_file.is_some() {
            "from pathlib import Path\n"
        } else {
            ""
        };
        let text = format!(
            r#"# pip install mcp
import asyncio
import os
import ssl
{path}
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

try:
    import httpx2 as httpx  # mcp 2.x
except ImportError:
    import httpx  # mcp 1.x

URL = {url}
TOKEN = {token}
TRUST = {trust}


async def main():
    headers = {{"Authorization": f"Bearer {{TOKEN}}"}}
    async with (
        httpx.AsyncClient(headers=headers, verify=TRUST, timeout=60) as http,
        streamable_http_client(URL, http_client=http) as streams,
        ClientSession(*streams[:2]) as session,
    ):
        await session.initialize()
        for tool in (await session.list_tools()).tools:
            print(tool.name)


asyncio.run(main())
"#,
            url = quote(&self.url),
        );
        let notes = match (&self.token_file, &self.ca) {
            (None, _) => format!("{DIM}# set WEIR_TOKEN to the grant's token first{RESET}\n"),
            (Some(_), Some(ca)) => format!(
                "{DIM}# programs that take no CA by themselves: SSL_CERT_FILE={}{RESET}\n",
                shell(&ca.display().to_string())
            ),
            (Some(_), None) => String::new(),
        };
        (text, notes)
    }

    /// A client over npm's `@modelcontextprotocol/client`.
    pub fn node(&self) -> Text {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let (import, token) = match &self.token_file {
            Some(file) => (
                "import { readFileSync } from \"node:fs\";\n",
                format!(
                    "process.env.WEIR_TOKEN ?? readFileSync({}, \"utf8\").trim()",
                    quote(&file.display().to_string())
                ),
            ),
            None => ("", "process.env.WEIR_TOKEN".to_owned()),
        };
        let text = format!(
            r#"// npm install @modelcontextprotocol/client
// (with @modelcontextprotocol/sdk 1.x: Client from ".../sdk/client/index.js", the transport from ".../sdk/client/streamableHttp.js")
{import}import {{ Client, StreamableHTTPClientTransport }} from "@modelcontextprotocol/client";

const token = {token};
const transport = new StreamableHTTPClientTransport(new URL({url}), {{
  requestInit: {{ headers: {{ Authorization: `Bearer ${{token}}` }} }},
}});
const client = new Client({{ name: "my-agent", version: "1.0.0" }});
await client.connect(transport);
for (const tool of (await client.listTools()).tools) console.log(tool.name);
await client.close();
"#,
            url = quote(&self.url),
        );
        let run = self.ca.as_ref().map_or_else(String::new, |ca| {
            format!("NODE_EXTRA_CA_CERTS={} ", shell(&ca.display().to_string()))
        });
        (
            text,
            format!("{DIM}# client.mjs; run it with{RESET}\n{ACCENT}{run}node client.mjs{RESET}\n"),
        )
    }

    /// `export` lines for the token and the CA.
    fn exports(&self) -> String {
        let token = match &self.token_file {
            Some(file) => format!("\"$(cat {})\"", shell(&file.display().to_string())),
            None => "<the token>".to_owned(),
        };
        let mut lines = vec![format!("{ACCENT}export WEIR_TOKEN={token}{RESET}\n")];
        lines.extend(self.ca.iter().map(|ca| {
            format!(
                "{ACCENT}export NODE_EXTRA_CA_CERTS={}{RESET}\n",
                shell(&ca.display().to_string())
            )
        }));
        lines.concat()
    }
}

fn pretty(value: &serde_json::Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// A word of a POSIX shell.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_quotes_and_spaces_stays_one_word() {
        assert_eq!(shell("/a b/it's"), r"'/a b/it'\''s'");
        assert_eq!(shell("/srv/weir/ca.pem"), "/srv/weir/ca.pem");
    }

    #[test]
    fn no_snippet_holds_the_token_itself() {
        let connection = Connection {
            server: "nas".into(),
            url: "https://127.0.0.1:8443/nas/mcp".into(),
            ca: Some("/srv/ca.pem".into()),
            token_file: Some("/srv/ops.token".into()),
            wrap: Vec::new(),
        };
        for (text, notes) in [connection.python(), connection.node()] {
            assert!(
                text.contains("/srv/ops.token") && text.contains("WEIR_TOKEN"),
                "{text}"
            );
            assert!(!notes.contains("weir_"), "{notes}");
        }
    }
}
