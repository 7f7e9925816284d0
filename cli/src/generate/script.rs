//! Who sends what: the agents of the corpus' mornings, playing their parts over and over.

use std::collections::BTreeMap;

use anyhow::anyhow;
use serde_json::{Value, json};
use weir_corpus::{Label, Message, Morning, Shape};

use super::dice::Dice;

/// How many different sets of machines a part is played with.
const VARIANTS: u64 = 8;
/// How often an agent keeps its head: of a loop that ran away it then sends only the beginning.
const CALM: f64 = 0.8;
/// How much of such a loop is ordinary impatience.
const IMPATIENCE: usize = 3;

/// Every part that can be played.
pub struct Scripts {
    parts: Vec<Part>,
}

/// One agent's part in one morning.
struct Part {
    grant: String,
    server: Shape,
    client_name: String,
    client_version: String,
    lines: Vec<Line>,
}

/// One message of a part.
struct Line {
    /// Microseconds since the line before.
    pause: i64,
    /// How many messages of a loop that ran away stand before it, itself included; 0 outside of loops.
    runaway: usize,
    /// JSON-RPC method; empty for bytes that are no message.
    method: String,
    /// The params with the machines of each variant, or the whole bytes.
    texts: Vec<String>,
}

/// A part under way: in which session, with which machines, how fast, and how far.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    part: usize,
    line: usize,
    session: u64,
    address: u64,
    variant: usize,
    calm: bool,
    /// Pauses are stretched to so many per cent.
    pace: i64,
}

/// The next message of a run, and whose it is.
pub struct Call<'a> {
    /// The grant.
    pub grant: &'a str,
    /// The kind of server.
    pub server: Shape,
    /// `clientInfo.name`
    pub client_name: &'a str,
    /// `clientInfo.version`
    pub client_version: &'a str,
    /// The session, as a number.
    pub session: u64,
    /// The last part of the client's address.
    pub address: u64,
    /// JSON-RPC method; empty for malformed bytes.
    pub method: &'a str,
    /// What is sent.
    pub body: String,
}

impl Scripts {
    /// Every agent's part of every morning, each with a handshake before it.
    pub fn of(mornings: &[Morning]) -> anyhow::Result<Self> {
        let mut parts = Vec::new();
        for morning in mornings {
            for (index, agent) in morning.agents.iter().enumerate() {
                let hello = json!({
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": {"name": agent.client.name, "version": agent.client.version},
                });
                let mut lines = vec![Line {
                    pause: 0,
                    runaway: 0,
                    method: "initialize".to_owned(),
                    texts: vec![hello.to_string()],
                }];
                let (mut before, mut runaway) = (0, 0);
                for call in morning.calls.iter().filter(|call| call.agent == index) {
                    let at = i64::try_from(call.at_ms)? * 1000;
                    runaway = if call.label == Label::Runaway {
                        runaway + 1
                    } else {
                        0
                    };
                    lines.push(Line {
                        runaway,
                        ..Line::of(at - before, &call.message)
                    });
                    before = at;
                }
                parts.push(Part {
                    grant: agent.name.clone(),
                    server: agent.server,
                    client_name: agent.client.name.clone(),
                    client_version: agent.client.version.clone(),
                    lines,
                });
            }
        }
        if parts.is_empty() {
            return Err(anyhow!("the corpus has no mornings"));
        }
        Ok(Self { parts })
    }

    /// Every grant with the kind of server that it calls, each once.
    pub fn grants(&self) -> BTreeMap<&str, Shape> {
        let parts = self.parts.iter();
        parts
            .map(|part| (part.grant.as_str(), part.server))
            .collect()
    }

    /// Messages in a part, on average.
    pub fn mean_length(&self) -> f64 {
        let lines = self.parts.iter().flat_map(|part| &part.lines);
        let messages: f64 = lines
            .map(|line| {
                if line.runaway > IMPATIENCE {
                    1.0 - CALM
                } else {
                    1.0
                }
            })
            .sum();
        messages / self.parts.len() as f64
    }

    /// Somebody begins.
    pub fn run(&self, dice: &mut Dice) -> Run {
        Run {
            part: dice.throw(self.parts.len() as u64) as usize,
            line: 0,
            session: dice.next(),
            address: 1 + dice.throw(12),
            variant: dice.throw(VARIANTS) as usize,
            calm: dice.happens(CALM),
            pace: 50 + dice.throw(400) as i64,
        }
    }

    /// What a run sends now; none after its last line.
    pub fn call(&self, run: &Run) -> Option<Call<'_>> {
        let part = self.parts.get(run.part)?;
        let line = part.lines.get(run.line)?;
        let text = line.texts.get(run.variant % line.texts.len().max(1))?;
        let method = line.method.as_str();
        let body = if method.is_empty() {
            text.clone()
        } else {
            format!(
                r#"{{"jsonrpc":"2.0","id":{},"method":"{method}","params":{text}}}"#,
                run.line
            )
        };
        Some(Call {
            grant: &part.grant,
            server: part.server,
            client_name: &part.client_name,
            client_version: &part.client_version,
            session: run.session,
            address: run.address,
            method,
            body,
        })
    }

    /// Goes on to the next message; microseconds until it is sent, none if that was the last.
    pub fn advance(&self, run: &mut Run, dice: &mut Dice) -> Option<i64> {
        let mut wait = 0;
        loop {
            run.line += 1;
            let line = self.parts.get(run.part)?.lines.get(run.line)?;
            wait += line.pause.max(1000) * run.pace / 100;
            if !(run.calm && line.runaway > IMPATIENCE) {
                return Some(wait + dice.span(5000.0));
            }
        }
    }
}

impl Line {
    fn of(pause: i64, message: &Message) -> Self {
        match message {
            Message::Raw(text) => Self {
                pause,
                runaway: 0,
                method: String::new(),
                texts: vec![text.clone()],
            },
            Message::Request { method, params } => {
                let params = params.clone().unwrap_or_else(|| json!({}));
                let mut texts: Vec<String> = (0..VARIANTS)
                    .map(|variant| {
                        let mut params = params.clone();
                        other_machine(&mut params, variant);
                        params.to_string()
                    })
                    .collect();
                texts.dedup();
                Self {
                    pause,
                    runaway: 0,
                    method: method.clone(),
                    texts,
                }
            }
        }
    }
}

/// Means another machine by the same call.
fn other_machine(params: &mut Value, variant: u64) {
    for place in ["/arguments/id", "/arguments/params/id"] {
        if let Some(id) = params.pointer_mut(place)
            && let Some(number) = id.as_u64()
        {
            *id = (number + 10 * variant).into();
        }
    }
}
