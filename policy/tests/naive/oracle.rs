//! The naive evaluator (DESIGN 9, I6): slow, short, obviously right. It shares no code with the engine: its JSON is
//! the generator's tree, its numbers are scaled integers, its windows a scan over everything ever admitted.
use crate::call::{Call, Role, child, find, steps};
use crate::json::{J, SCALE, canonical, kind, number};
use crate::text::{escape, glob, inside, is_glob, reaches, unique};
use std::{cmp::Reverse, collections::BTreeSet};
#[derive(Clone, Debug)] pub(crate) struct Taken { pub(crate) key: String, window: i64, sliding: bool, grant: String, at: i64, amount: i128, pub(crate) back: bool }
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)] pub(crate) enum T { False, Mismatch, True }
use T::{False, Mismatch, True};
pub(crate) type Answer = (bool, String, &'static str);

pub(crate) fn judge(policy: &J, call: &Call, log: &[Taken], capacity: usize, at: i64) -> Result<(Vec<Taken>, Option<String>), Answer> {
    let deny = |rule: &str, reason| Err((false, rule.to_string(), reason));
    let list = |key| policy.get(key).map_or(&[][..], J::items);
    let hides = |h: &J, name: &str| if is_glob(h.text()) { reaches(h.text(), name) } else { h.text() == name };
    if call.readings.iter().any(|(name, ..)| list("hide").iter().any(|h| hides(h, name))) { return deny("(hidden)", "hidden") }
    let mut ruled = Vec::new();
    for (name, role, args) in &call.readings {
        let tools = policy.get("tools").map_or(&[][..], J::members);
        let literal = tools.iter().find(|(key, _)| key == name && !is_glob(key));
        let glob = tools.iter().filter(|(key, _)| is_glob(key) && reaches(key, name)).min_by_key(|(key, _)| (Reverse(key.chars().count()), key));
        let open = literal.or(glob).is_some() || policy.get("default").unwrap().text() == "allow";
        if (*role == Role::Full && !open) || (*role == Role::LiteralOnly && literal.is_none()) { return deny("(default deny)", "default_deny") }
        ruled.extend(literal.or(glob).map(|(key, rules)| (key.as_str(), rules, args)));
    }
    let mut taken = Vec::new();
    for (stage, every, code) in [("require", true, "require_failed"), ("deny_if", false, "deny_if"), ("limits", false, ""), ("approve_if", false, "")] {
        if stage == "limits" { taken = limits(policy, &ruled, call, log, capacity, at)?; continue }
        for (key, rules, args) in &ruled {
            for (id, conditions) in predicates(key, rules, stage) {
                let truth = conditions.iter().map(|c| condition(c, every, args, call)).min().unwrap_or(True);
                if stage == "approve_if" && truth == True { return Ok((taken, Some(id))) } // waits for a person, and takes
                if every && truth != True { return deny(&id, code) }
                if !every && truth != False { return deny(&id, if truth == True { code } else { "type_mismatch" }) }
            }
        }
    }
    Ok((taken, None))
}

fn predicates(key: &str, rules: &J, stage: &str) -> Vec<(String, Vec<J>)> {
    let written = rules.get(stage).map_or(&[][..], J::items).iter().map(|p| p.get("conditions").unwrap().items().to_vec());
    let sugar = matches!((stage, rules.get("action").map_or("", J::text)), ("deny_if", "deny") | ("approve_if", "approve"));
    let mut ids = Vec::new();
    written.chain(sugar.then(Vec::new)).map(|conditions| {
        let first = conditions.first().map(|c| format!("{}-{}", c.get("path").unwrap().text(), c.get("op").unwrap().text()));
        (unique(&mut ids, format!("/tools/{}/{stage}/{}", escape(key), escape(&first.unwrap_or("always".into())))), conditions)
    }).collect()
}

fn limits(policy: &J, ruled: &[(&str, &J, &J)], call: &Call, log: &[Taken], capacity: usize, at: i64) -> Result<Vec<Taken>, Answer> {
    let fact = |name: &str| call.facts.iter().find(|f| f.0 == name).map_or("", |f| f.1.as_str());
    let mut demands = Vec::new();
    for (key, rules, args) in ruled {
        let mut ids = Vec::new();
        let rate = rules.get("rate_limit").map(|rate| (format!("{key}_rate"), rate));
        let written = rules.get("limits").map_or(&[][..], J::items).iter().map(|l| (l.get("counter").unwrap().text().to_string(), l));
        demands.extend(written.chain(rate).map(|(counter, l)| (unique(&mut ids, format!("/tools/{}/limits/{}", escape(key), escape(&counter))), counter, fact("tool"), l, *args)));
    }
    let mut ids = Vec::new();
    let all = policy.get("all_tools").and_then(|all| all.get("limits")).map_or(&[][..], J::items);
    demands.extend(all.iter().map(|l| (unique(&mut ids, format!("/all_tools/limits/{}", escape(l.get("counter").unwrap().text()))), l.get("counter").unwrap().text().to_string(), "(all)", l, &call.readings.last().unwrap().2)));
    let mut taken: Vec<Taken> = Vec::new();
    for (id, counter, tool, limit, args) in demands {
        let deny = |reason| Err((false, id.clone(), reason));
        let read = |path: &J| find(path.text(), args, call);
        let scope = limit.get("scope").map_or("grant", J::text);
        let place = match scope { "node" => String::new(), "server" => fact("server").into(), s => format!("{}/{}", fact("server"), fact(s)) };
        let per: Option<Vec<J>> = limit.get("per").map_or(&[][..], J::items).iter().map(|p| read(p).filter(|v| *v != J::Null)).collect();
        let Some(per) = per else { return deny("missing_key") };
        let amount = match limit.get("increment_from").map(read) {
            None => 1_000_000,
            Some(Some(J::Num(n))) if number(&n) >= 0 => (number(&n) + SCALE / 1_000_000 - 1) / (SCALE / 1_000_000),
            Some(_) => return deny("bad_amount"),
        };
        if amount == 0 { continue }
        let window = match limit.get("window").unwrap().text() { "second" => 1, "minute" => 60, "hour" => 3_600, "day" => 86_400, n => n.parse().unwrap() } * 1_000_000;
        let sliding = limit.get("sliding") == Some(&J::Bool(true));
        let key = format!("{scope} {place} {tool} {counter} {window} {sliding} {:?} {}", limit.get("increment_from"), per.iter().map(canonical).collect::<String>());
        let counts = |t: &&Taken| !t.back && if t.sliding { t.at > at - t.window } else { t.at.div_euclid(t.window) == at.div_euclid(t.window) };
        let used = |key: &str| log.iter().filter(|t| t.key == key).filter(counts).map(|t| t.amount).sum::<i128>();
        if used(&key) + amount > number(limit.get("max").unwrap().text()) / (SCALE / 1_000_000) { return deny("limit_exceeded") }
        let holder = |key: &str| log.iter().rfind(|t| t.key == key).map(|t| t.grant.clone());
        let mut held: BTreeSet<&str> = log.iter().map(|t| t.key.as_str()).filter(|k| used(k) > 0 && holder(k).as_deref() == Some(fact("grant"))).collect();
        held.extend(taken.iter().map(|t| t.key.as_str()).chain([key.as_str()]));
        let gained = !(used(&key) > 0 && holder(&key).as_deref() == Some(fact("grant")));
        if gained && held.len() > capacity { return deny("counter_capacity") }
        match taken.iter_mut().find(|t| t.key == key) {
            Some(t) => t.amount = t.amount.max(amount),
            None => taken.push(Taken { key, window, sliding, grant: fact("grant").into(), at, amount, back: false }),
        }
    }
    Ok(taken)
}

fn condition(c: &J, every: bool, args: &J, call: &Call) -> T {
    let path = c.get("path").unwrap().text();
    let ask = |v: Option<&J>| operator(c.get("op").unwrap().text(), c.get("value").unwrap(), v);
    if !path.starts_with("args") { return ask(find(path, args, call).as_ref()) }
    walk(args, &steps(path), every, &ask)
}

fn walk(value: &J, steps: &[String], every: bool, ask: &dyn Fn(Option<&J>) -> T) -> T {
    match (steps.split_first(), value) {
        (None, v) => ask(Some(v)),
        (Some((s, rest)), J::Arr(items)) if s == "*" => {
            let truths = items.iter().map(|v| walk(v, rest, every, ask));
            if every { truths.min().unwrap_or(False) } else { truths.max().unwrap_or(False) }
        }
        (Some((s, rest)), v) => match child(v, s).filter(|_| s != "*") {
            Some(next) => walk(next, rest, every, ask),
            None if every && steps.iter().any(|s| s == "*") => False,
            None => ask(None),
        },
    }
}

fn operator(op: &str, rule: &J, value: Option<&J>) -> T {
    let Some(value) = value else { return truth(op == "exists" && *rule == J::Bool(false)) };
    let among = |value: &J| if rule.items().iter().any(|r| kind(r) == kind(value)) { truth(rule.items().iter().any(|r| canonical(r) == canonical(value))) } else { Mismatch };
    let string = |f: &dyn Fn(&str) -> T| if let J::Str(s) = value { f(s) } else { Mismatch };
    match op {
        "eq" => equal(rule, value),
        "neq" => not(equal(rule, value)),
        "lt" | "lte" | "gt" | "gte" => {
            let order = match (value, rule) {
                (J::Num(a), J::Num(b)) => number(a).cmp(&number(b)),
                (J::Str(a), J::Str(b)) => a.chars().cmp(b.chars()),
                _ => return Mismatch,
            };
            truth(match op { "lt" => order.is_lt(), "lte" => order.is_le(), "gt" => order.is_gt(), _ => order.is_ge() })
        }
        "in" => among(value),
        "not_in" => not(among(value)),
        "exists" => truth((*value != J::Null) == (*rule == J::Bool(true))),
        "contains" => match (value, rule) {
            (J::Str(a), J::Str(b)) => truth(a.contains(b.as_str())),
            (J::Arr(items), rule) => items.iter().map(|v| equal(rule, v)).max().unwrap_or(False),
            _ => Mismatch,
        },
        "type" => truth(kind(value) == rule.text() || (rule.text() == "integer" && matches!(value, J::Num(n) if number(n) % SCALE == 0))),
        "regex" => string(&|s| truth(regex::Regex::new(rule.text()).unwrap().is_match(s))),
        "glob" => string(&|s| truth(glob(rule.text(), s))),
        _ => string(&|s| s.parse().map_or(Mismatch, |a| truth(rule.items().iter().any(|n| inside(n.text(), a))))),
    }
}

fn truth(holds: bool) -> T { if holds { True } else { False } }
fn not(t: T) -> T { match t { True => False, False => True, Mismatch => Mismatch } }
fn equal(a: &J, b: &J) -> T { if kind(a) == kind(b) { truth(canonical(a) == canonical(b)) } else { Mismatch } }
