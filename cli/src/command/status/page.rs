//! What `/status` says, as a person reads it: in 80 columns, the most important on top.

use jiff::Timestamp;
use serde_json::Value;
use weir_replay::shown;

use crate::terminal::{DIM, ERROR, GOOD, STRONG, WARNING};

/// What a terminal shows at the least.
const COLUMNS: usize = 80;
/// Of a digest so much tells two apart.
const DIGEST: usize = "sha256:".len() + 12;

pub(super) fn whole(status: &Value, now: Timestamp) -> String {
    let page = Page { status, now };
    let parts = [
        page.head(),
        page.servers(),
        page.grants(),
        page.approvals(),
        page.record(),
        page.limits(),
    ];
    parts.concat()
}

struct Page<'s> {
    status: &'s Value,
    now: Timestamp,
}

impl Page<'_> {
    /// Ready or not and why not, what it is, since when, and where.
    fn head(&self) -> String {
        let status = self.status;
        let is_ready = at(status, "ready") == &Value::Bool(true);
        let (style, word) = if is_ready {
            (GOOD, "ready")
        } else {
            (ERROR, "not ready")
        };
        let node = match text(status, "node") {
            node if node.is_empty() => String::new(),
            node => format!(" as {node}"),
        };
        let mut page = format!(
            "{style}{word:<10}{style:#}{}",
            cut(
                &format!(
                    "weir {}{node}, started {} ago",
                    text(status, "version"),
                    self.ago(at(status, "started_at"))
                ),
                10
            )
        );
        for (name, check) in members(at(status, "checks")) {
            let (style, told) = if at(check, "ok") == &Value::Bool(true) {
                (WARNING, text(check, "note"))
            } else {
                (ERROR, text(check, "why"))
            };
            if !told.is_empty() || style == ERROR {
                page.extend([format!(
                    "{:10}{style}{name}{style:#}: {}",
                    "",
                    cut(&told, 12 + name.len())
                )]);
            }
        }
        let listeners = items(at(status, "listeners"))
            .map(|it| format!("{} {}", text(it, "name"), text(it, "address")));
        let listeners = listeners.collect::<Vec<_>>().join(", ");
        page.extend([format!(
            "{DIM}{:<10}{DIM:#}{}",
            "listens",
            cut(&listeners, 10)
        )]);
        let configuration = at(status, "configuration");
        if let Some(fault) = at(configuration, "fault").as_str() {
            let fault = one_line(fault);
            page.extend([format!(
                "{WARNING}{:<10}{WARNING:#}{}",
                "reload",
                cut(
                    &format!("the newest configuration is not in force: {fault}"),
                    10
                )
            )]);
        }
        page
    }

    fn servers(&self) -> String {
        let mut page = String::new();
        for server in items(at(self.status, "servers")) {
            let state = text(server, "state");
            let style = match state.as_str() {
                "ok" => GOOD,
                "failing" => ERROR,
                _ => DIM,
            };
            let told = match state.as_str() {
                "ok" => format!("answered {} ago", self.ago(at(server, "answered_at"))),
                "failing" => format!(
                    "{} ago: {}",
                    self.ago(at(server, "failed_at")),
                    text(server, "failure")
                ),
                _ => "not asked yet".to_owned(),
            };
            let name = padded(&text(server, "name"), 20);
            page.extend([format!(
                "  {name}  {style}{state:<8}{style:#}  {}",
                cut(&told, 34)
            )]);
        }
        headed("servers", page)
    }

    fn grants(&self) -> String {
        let mut page = String::new();
        for grant in items(at(self.status, "grants")) {
            let figures = ["calls", "denied", "refused", "in_flight", "sessions"]
                .map(|name| number(grant, name));
            let [calls, denied, refused, in_flight, sessions] = figures;
            let name = format!("{} → {}", text(grant, "name"), text(grant, "server"));
            page.extend([format!(
                "  {} {calls:>9} {denied:>8} {refused:>8} {in_flight:>9} {sessions:>8}\n",
                padded(&name, 30)
            )]);
            let policy = at(grant, "policy");
            page.extend([if policy.is_null() {
                format!("    {WARNING}no policy{WARNING:#}: every call is denied\n")
            } else {
                self.policy("policy", policy, Some(at(grant, "since")))
            }]);
            for candidate in items(at(grant, "shadow")) {
                page += &self.policy("shadow", candidate, None);
            }
        }
        if page.is_empty() {
            return page;
        }
        let columns = format!(
            "{:>32} {:>9} {:>8} {:>8} {:>9} {:>8}",
            "", "calls", "denied", "refused", "in flight", "sessions"
        );
        let columns: String = columns.chars().skip("grants".len()).collect();
        format!("\n{STRONG}grants{STRONG:#}{DIM}{columns}{DIM:#}\n{page}")
    }

    fn policy(&self, role: &str, policy: &Value, since: Option<&Value>) -> String {
        let digest: String = text(policy, "digest").chars().take(DIGEST).collect();
        let since = since.map_or_else(String::new, |since| format!(", for {}", self.ago(since)));
        let name = text(policy, "name");
        let file = name.rsplit('/').next().unwrap_or(&name);
        format!(
            "    {DIM}{role}{DIM:#} {}",
            cut(&format!("{file} ({digest}…{since})"), 11)
        )
    }

    fn approvals(&self) -> String {
        let approvals = at(self.status, "approvals");
        match number(approvals, "waiting") {
            0 => String::new(),
            waiting => format!(
                "\n{WARNING}approvals{WARNING:#} {waiting} waiting, the oldest for {}: weir approvals list\n",
                self.ago(at(approvals, "oldest_at"))
            ),
        }
    }

    fn record(&self) -> String {
        let record = at(self.status, "record");
        if record.is_null() {
            return String::new();
        }
        let mut lines = vec![text(record, "path")];
        lines.extend(
            at(record, "fault")
                .as_str()
                .map(|fault| format!("fault: {}", one_line(fault))),
        );
        let last = at(record, "last_seq").as_i64().map_or_else(
            || "no entry yet".to_owned(),
            |seq| format!("last entry {seq}"),
        );
        lines.push(format!(
            "{last}, {} not sealed, {} waiting for the disk",
            number(record, "unsealed"),
            number(record, "waiting")
        ));
        let left = |name: &str| {
            at(record, name)
                .as_u64()
                .map_or_else(|| "?".to_owned(), bytes)
        };
        lines.push(format!(
            "{} used, {} left to it; {} left on the disk",
            left("used_bytes"),
            left("left_bytes"),
            left("disk_left_bytes")
        ));
        let waits = at(record, "commit_wait");
        if !waits.is_null() {
            let ms = |name: &str| number(waits, name) as f64 / 1_000.0;
            lines.push(format!(
                "durable after {:.1} ms (p50), {:.1} ms (p99), of the last {} decisions",
                ms("p50_us"),
                ms("p99_us"),
                number(waits, "count")
            ));
        }
        let checkpoint = at(record, "checkpoint");
        lines.push(match at(checkpoint, "entries").as_u64() {
            Some(entries) => format!(
                "checkpoint over {entries} entries, the last of {} ago",
                self.ago(at(checkpoint, "time"))
            ),
            None => "no checkpoint yet".to_owned(),
        });
        headed(
            "record",
            lines
                .iter()
                .flat_map(|line| ["  ".to_owned(), cut(line, 2)])
                .collect(),
        )
    }

    fn limits(&self) -> String {
        let limits = items(at(self.status, "limits")).map(|limit| {
            let (used, most) = (number(limit, "in_use"), number(limit, "max"));
            let style = if used >= most { ERROR } else { DIM };
            let name = text(limit, "limit").replace('_', " ");
            format!("  {name:<12} {used:>9} {style}of {most}{style:#}\n")
        });
        headed("limits in use", limits.collect())
    }

    /// How long ago, in the one unit that says it.
    fn ago(&self, at: &Value) -> String {
        let Some(at) = at.as_str().and_then(|at| at.parse::<Timestamp>().ok()) else {
            return "?".to_owned();
        };
        let seconds = self.now.duration_since(at).as_secs().max(0);
        match seconds {
            0..120 => format!("{seconds} s"),
            120..7_200 => format!("{} min", seconds / 60),
            7_200..172_800 => format!("{} h", seconds / 3_600),
            _ => format!("{} days", seconds / 86_400),
        }
    }
}

fn headed(heading: &str, lines: String) -> String {
    if lines.is_empty() {
        return lines;
    }
    format!("\n{STRONG}{heading}{STRONG:#}\n{lines}")
}

/// What is left of a line that has so many columns already, and its end.
fn cut(text: &str, taken: usize) -> String {
    let room = COLUMNS.saturating_sub(taken);
    if text.chars().count() <= room {
        return format!("{text}\n");
    }
    let cut: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{cut}…\n")
}

fn padded(text: &str, width: usize) -> String {
    let cut = cut(text, COLUMNS - width);
    format!("{:<width$}", cut.trim_end_matches('\n'))
}

fn one_line(text: &str) -> String {
    shown(text.lines().next().unwrap_or_default()).into_owned()
}

/// A member; null if there is none.
fn at<'v>(value: &'v Value, member: &str) -> &'v Value {
    value.get(member).unwrap_or(&Value::Null)
}

fn text(value: &Value, member: &str) -> String {
    shown(at(value, member).as_str().unwrap_or_default()).into_owned()
}

fn number(value: &Value, member: &str) -> u64 {
    at(value, member).as_u64().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// A size as people say it.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    /// Without the colours.
    fn plain(page: &str) -> String {
        anstream::adapter::strip_str(page).to_string()
    }

    #[test]
    fn a_page_fits_a_terminal_whatever_stands_in_it() {
        let long = "a-name-that-goes-on-and-on-".repeat(6);
        let status = json!({
            "version": "0.1.0", "started_at": "2026-11-22T12:00:00Z", "ready": false, "node": long,
            "checks": { "record": { "ok": false, "why": long }, "drain": { "ok": true, "note": "to be known" } },
            "listeners": [{ "name": "clients", "address": long }],
            "configuration": { "reloads": 0, "fault": format!("{long}\nmore") },
            "servers": [{ "name": long, "state": "failing", "failed_at": "2026-11-22T12:59:00Z", "failure": "down\u{1b}[2J" }],
            "grants": [{ "name": long, "server": long, "since": "2026-11-22T12:00:00Z", "calls": 12, "denied": 3, "refused": 1,
                         "in_flight": 1, "sessions": 2, "policy": { "name": format!("/etc/{long}/ops.json"), "digest": "sha256:0123456789abcdef" },
                         "shadow": [{ "name": long, "digest": "sha256:0123456789abcdef" }] }],
            "approvals": { "waiting": 2, "oldest_at": "2026-11-22T12:58:00Z" },
            "record": { "path": long, "fault": long, "last_seq": 7, "unsealed": 3, "waiting": 0, "used_bytes": 5_000_000u64, "left_bytes": null,
                        "disk_left_bytes": 35_200_000_000u64, "commit_wait": { "count": 9, "p50_us": 2100, "p99_us": 9900 },
                        "checkpoint": { "entries": 5, "time": "2026-11-22T12:00:00Z" } },
            "limits": [{ "limit": "in_flight", "in_use": 512, "max": 512 }],
        });
        let now: Timestamp = "2026-11-22T13:00:00Z".parse().unwrap();
        let page = plain(&whole(&status, now));
        for line in page.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
        for said in [
            "not ready",
            "record: a-name",
            "drain: to be known",
            "failing   60 s ago: down",
            "ops.json (sha256:0123456789ab…, for 60 min)",
            "2 waiting, the oldest for 2 min",
            "last entry 7, 3 not sealed",
            "durable after 2.1 ms (p50), 9.9 ms (p99), of the last 9 decisions",
            "checkpoint over 5 entries, the last of 60 min ago",
            "in flight          512 of 512",
        ] {
            assert!(page.contains(said), "no `{said}` in\n{page}");
        }
        assert!(!page.contains('\u{1b}'), "{page}");
    }
}
