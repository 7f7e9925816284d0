//! What can be called, and what is known of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};
use weir_policy::{
    Context, Evaluation, Message, Micros, Operation, Policy, Profile, Reason, Resolver, Risk,
    evaluate,
};

use super::past::{Past, Since};
use super::visit::Tool;

/// One tool, or one operation behind a dispatcher.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) tool: String,
    /// The dispatcher that it stands behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) via: Option<String>,
    #[serde(serialize_with = "as_word")]
    pub(super) risk: Risk,
    /// Where the class comes from: `profile` or `name`.
    pub(super) why: &'static str,
    /// What the server says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) claim: Option<&'static str>,
    /// What each grant's policy says.
    pub(super) policies: BTreeMap<String, &'static str>,
    /// The digest of its definition, where it is one of the server's tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    /// What happened to it since it was last known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<Since>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn as_word<S: serde::Serializer>(risk: &Risk, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(risk.as_str())
}

/// Everything that can be called, the gravest first.
pub(super) fn all(
    server: &str,
    tools: &[Tool],
    profile: Option<&Profile>,
    policies: &BTreeMap<String, Option<Policy>>,
    past: &Past,
) -> Vec<Finding> {
    let finding = |name: &str, operation: Option<&Operation>| Finding {
        tool: name.to_owned(),
        via: None,
        risk: operation.map_or_else(|| Risk::of_name(name), Operation::risk),
        why: if operation.is_some() {
            "profile"
        } else {
            "name"
        },
        claim: None,
        policies: policies
            .iter()
            .map(|(grant, policy)| (grant.clone(), said(policy.as_ref(), name)))
            .collect(),
        digest: None,
        since: None,
    };
    let mut found = Vec::new();
    for tool in tools {
        let operation = profile.and_then(|profile| profile.operation(&tool.name));
        let mut own = finding(&tool.name, operation);
        own.claim = claim(&tool.definition, own.risk);
        own.since = past.since(server, &tool.name, &tool.digest);
        own.digest = Some(tool.digest.clone());
        let dispatches = profile.filter(|profile| profile.dispatcher() == Some(&tool.name));
        if dispatches.is_some() {
            // By itself it lists its operations.
            own.risk = Risk::Read;
            own.why = "profile";
        }
        found.push(own);
        for operation in dispatches.into_iter().flat_map(Profile::operations) {
            let mut behind = finding(operation.name(), Some(operation));
            behind.via = Some(tool.name.clone());
            found.push(behind);
        }
    }
    found.sort_by(|a, b| b.risk.cmp(&a.risk).then_with(|| a.tool.cmp(&b.tool)));
    found
}

/// What a policy says of a name, whatever the arguments.
fn said(policy: Option<&Policy>, name: &str) -> &'static str {
    let Some(policy) = policy else {
        return "denied: no policy";
    };
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}});
    let message = message.to_string();
    let resolver = Resolver::plain();
    let parsed = Message::parse(message.as_bytes());
    let ask = parsed
        .as_ref()
        .ok()
        .and_then(|message| message.ask().ok().flatten());
    let resolution = ask.as_ref().and_then(|ask| resolver.resolve(ask).ok());
    let Some(resolution) = resolution else {
        return "denied: malformed";
    };
    let context = Context {
        node: "",
        server: "",
        grant: "",
        session: "",
        client_name: "",
        client_version: "",
        received_at: Micros(0),
    };
    let evaluation = evaluate(Some(policy), &resolution, &context);
    let reason = match &evaluation {
        Evaluation::Deny(decision) => Some(decision.reason),
        Evaluation::Admit(_) => None,
    };
    let by_arguments = policy.reads_arguments_of(&resolution);
    match (reason, by_arguments, policy.counts_calls_of(&resolution)) {
        (Some(Reason::Hidden), _, _) => "hidden",
        (Some(Reason::DefaultDeny), _, _) => "denied",
        (_, true, true) => "by arguments, limited",
        (_, true, false) => "by arguments",
        (None, false, true) => "limited",
        (None, false, false) => "allowed",
        (Some(_), false, _) => "by rules",
    }
}

/// What the server says of a tool that its class contradicts. A server can say anything.
fn claim(definition: &Value, risk: Risk) -> Option<&'static str> {
    let hint = |name: &str| definition.pointer(&format!("/annotations/{name}"));
    let is = |name: &str, value: bool| hint(name).and_then(Value::as_bool) == Some(value);
    if is("readOnlyHint", true) && risk != Risk::Read {
        Some("says it only reads")
    } else if is("destructiveHint", false) && risk == Risk::Destructive {
        Some("says it destroys nothing")
    } else if is("destructiveHint", true) && risk == Risk::Read {
        Some("says it may destroy")
    } else {
        None
    }
}

/// Where a server and its profile differ, as far as lists show it.
pub(super) fn difference(profile: &Profile, tools: &[Tool]) -> Vec<String> {
    let listed: BTreeSet<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let mut differences = Vec::new();
    if let Some(dispatcher) = profile.dispatcher().filter(|name| listed.contains(name)) {
        let others: Vec<_> = listed
            .iter()
            .filter(|name| **name != dispatcher)
            .copied()
            .collect();
        if !others.is_empty() {
            differences.push(format!(
                "tools beside `{dispatcher}`: {}",
                others.join(", ")
            ));
        }
        return differences;
    }
    for tool in tools {
        let Some(operation) = profile.operation(&tool.name) else {
            differences.push(format!("`{}` is unknown to the profile", tool.name));
            continue;
        };
        let properties = tool.definition.pointer("/inputSchema/properties");
        let properties = properties.and_then(Value::as_object);
        let theirs: BTreeSet<&str> = properties
            .into_iter()
            .flat_map(|p| p.keys())
            .map(String::as_str)
            .collect();
        let ours: BTreeSet<&str> = operation.parameters().into_iter().collect();
        let more: Vec<_> = theirs.difference(&ours).copied().collect();
        let less: Vec<_> = ours.difference(&theirs).copied().collect();
        if !more.is_empty() {
            differences.push(format!("`{}` takes more: {}", tool.name, more.join(", ")));
        }
        if !less.is_empty() {
            differences.push(format!(
                "`{}` does not take: {}",
                tool.name,
                less.join(", ")
            ));
        }
    }
    let missing = profile
        .operations()
        .map(Operation::name)
        .filter(|name| !listed.contains(name))
        .count();
    if missing > 0 {
        differences.push(format!(
            "{missing} operations of the profile are not listed"
        ));
    }
    differences
}
