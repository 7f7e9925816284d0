//! How calls are read: dispatchers, aliases and the profile of the TrueNAS server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use weir_policy::{
    Ask, AskKind, Context, Counters, Decision, Digest, Micros, Policy, Profile, Reading,
    ReadingRole, Resolution, Resolver, ResolverProblem, ResolverSpec, Risk, Value, judge,
};

fn profiled() -> Resolver {
    Resolver::compile(&ResolverSpec {
        profile: Some("truenas".into()),
        ..ResolverSpec::default()
    })
    .unwrap()
}

fn spec(json: &str) -> ResolverSpec {
    serde_json::from_str(json).unwrap()
}

/// A resolution in one line: `truenas=dispatcher{…} vm_stop{…} via dispatch:truenas, execute`.
fn told(resolution: &Resolution<'_>) -> String {
    let reading = |reading: &Reading<'_>| {
        let role = match reading.role {
            ReadingRole::Dispatcher => "=dispatcher",
            ReadingRole::Full => "",
            ReadingRole::LiteralOnly => "=literal",
        };
        format!("{}{role}{}", reading.tool, reading.arguments.to_json())
    };
    let readings: Vec<String> = resolution.readings.iter().map(reading).collect();
    format!(
        "{} via [{}] {}",
        readings.join(" "),
        resolution.via.join(" "),
        resolution.risk().as_str()
    )
}

fn resolve_to<T>(
    resolver: &Resolver,
    tool: &str,
    arguments: &str,
    use_it: impl FnOnce(Result<Resolution<'_>, Decision>) -> T,
) -> T {
    let arguments = Value::parse(arguments).unwrap();
    let ask = Ask {
        wire_tool: tool.into(),
        kind: AskKind::ToolCall,
        arguments: &arguments,
    };
    use_it(resolver.resolve(&ask))
}

fn read(resolver: &Resolver, tool: &str, arguments: &str) -> String {
    resolve_to(resolver, tool, arguments, |resolution| match resolution {
        Ok(resolution) => told(&resolution),
        Err(decision) => format!("{} {}", decision.rule, decision.message),
    })
}

#[test]
fn a_plain_server_is_read_as_it_is_called() {
    assert_eq!(
        read(&Resolver::plain(), "vm_stop", r#"{"id":7}"#),
        r#"vm_stop{"id":7} via [] execute"#
    );
}

#[test]
fn a_dispatch_replaces_the_wire_tool() {
    let resolver = profiled();
    assert_eq!(
        read(
            &resolver,
            "truenas",
            r#"{"category":"vm","action":"vm_stop","params":{"id":7}}"#
        ),
        r#"truenas=dispatcher{"category":"vm","action":"vm_stop","params":{"id":7}} vm_stop{"id":7} via [dispatch:truenas] execute"#
    );
    // The server refuses a category that does not fit; the action is judged whatever the category says.
    assert_eq!(
        read(
            &resolver,
            "truenas",
            r#"{"category":"system","action":"vm_list"}"#
        ),
        r#"truenas=dispatcher{"category":"system","action":"vm_list"} vm_list{} via [dispatch:truenas] read"#
    );
    assert_eq!(
        read(&resolver, "truenas", r#"{"category":"vm"}"#),
        r#"truenas{"category":"vm"} via [] read"#
    );
}

#[test]
fn an_alias_adds_what_the_hatch_does() {
    let resolver = profiled();
    let hatch =
        r#"{"method":"POST","path":"/api/v2.0//vm/id/7/stop/?x=1","body":"{\"force\":true}"}"#;
    assert_eq!(
        read(&resolver, "truenas_api_call", hatch),
        format!(
            r#"truenas_api_call{hatch} vm_stop{{"force":true,"id":7}} via [alias:truenas_api_call] execute"#
        )
    );
    let dispatched = format!(r#"{{"action":"truenas_api_call","params":{hatch}}}"#);
    assert_eq!(
        read(&resolver, "truenas", &dispatched),
        format!(
            r#"truenas=dispatcher{dispatched} truenas_api_call{hatch} vm_stop{{"force":true,"id":7}} via [dispatch:truenas alias:truenas_api_call] execute"#
        )
    );
}

#[test]
fn a_hatch_call_that_nothing_knows_is_admitted_by_its_own_name_only() {
    let hatch = r#"{"method":"POST","path":"/core/bulk"}"#;
    assert_eq!(
        read(&profiled(), "truenas_api_call", hatch),
        format!(
            "truenas_api_call{hatch} truenas_api_call:unmatched=literal{hatch} via [alias:truenas_api_call] destructive"
        )
    );
}

#[test]
fn an_operation_that_the_profile_does_not_know_is_admitted_by_its_own_name_only() {
    assert_eq!(
        read(
            &profiled(),
            "truenas",
            r#"{"action":"vm_detonate","params":{"id":7}}"#
        ),
        r#"truenas=dispatcher{"action":"vm_detonate","params":{"id":7}} vm_detonate=literal{"id":7} via [dispatch:truenas] write"#
    );
}

#[test]
fn bodies_take_the_shape_of_the_operations_they_stand_for() {
    let resolver = profiled();
    let effective = |method: &str, path: &str, body: &str| {
        let arguments =
            serde_json::json!({"method": method, "path": path, "body": body}).to_string();
        resolve_to(&resolver, "truenas_api_call", &arguments, |resolution| {
            let resolution = resolution.unwrap();
            let last = resolution.readings.last().unwrap();
            format!("{}{}", last.tool, last.arguments.to_json())
        })
    };
    for (method, path, body, expected) in [
        (
            "POST",
            "/service/stop",
            r#""ssh""#,
            r#"service_stop{"service":"ssh"}"#,
        ),
        ("POST", "/app/stop", r#""plex""#, r#"app_stop{"id":"plex"}"#),
        (
            "PUT",
            "/alert/dismiss",
            r#""ab-1""#,
            r#"alert_dismiss{"uuid":"ab-1"}"#,
        ),
        (
            "DELETE",
            "/vm/id/3",
            r#"{"zvols":true}"#,
            r#"vm_delete{"zvols":true,"id":3}"#,
        ),
        (
            "DELETE",
            "/pool/dataset/id/tank",
            "{}",
            r#"dataset_delete{"id":"tank"}"#,
        ),
        (
            "POST",
            "/app/rollback",
            r#"{"app_name":"plex","options":{"app_version":"1","rollback_snapshot":true}}"#,
            r#"app_rollback{"id":"plex","app_version":"1","rollback_snapshot":true}"#,
        ),
        (
            "POST",
            "/filesystem/chown",
            r#"{"path":"/mnt","uid":0,"options":{"recursive":true}}"#,
            r#"filesystem_chown{"path":"/mnt","uid":0,"recursive":true}"#,
        ),
        ("GET", "/pool/id/1", "{}", r#"pool_get{"id":1}"#),
        ("GET", "/ipmi/chassis/info", "{}", "network_ipmi_info{}"),
    ] {
        assert_eq!(effective(method, path, body), expected);
    }
}

#[test]
fn an_id_that_starts_one_vm_and_stops_another_is_denied_on_every_way() {
    let resolver = profiled();
    for (tool, arguments) in [
        ("vm_start", r#"{"id":"7/stop#"}"#),
        (
            "truenas",
            r#"{"category":"vm","action":"vm_start","params":{"id":"7/stop#"}}"#,
        ),
        (
            "truenas_api_call",
            r#"{"method":"POST","path":"/vm/id/7/stop#/start"}"#,
        ),
        (
            "truenas",
            r#"{"category":"api","action":"truenas_api_call","params":{"method":"POST","path":"/vm/id/7/stop#/start"}}"#,
        ),
    ] {
        let told = read(&resolver, tool, arguments);
        assert!(
            told.starts_with("(arguments) "),
            "{tool}{arguments}: {told}"
        );
    }
}

#[test]
fn a_denial_of_arguments_shows_no_value() {
    let told = read(&profiled(), "vm_stop", r#"{"id":"canary-value"}"#);
    assert_eq!(told, "(arguments) `vm_stop`: `id` must be an integer");
    let told = read(&profiled(), "vm_stop", r#"{"canary key with a space":1}"#);
    assert!(!told.contains("canary"), "{told}");
}

#[test]
fn the_profile_covers_every_operation_with_parameters_that_its_requests_name() {
    let profile = Profile::named("truenas").unwrap();
    assert_eq!(profile.operations().count(), 278);
    assert_eq!(
        (profile.dispatcher(), profile.hatch()),
        (Some("truenas"), Some("truenas_api_call"))
    );
    let mut counts = std::collections::BTreeMap::new();
    for operation in profile.operations() {
        *counts.entry(operation.category().to_owned()).or_insert(0) += 1;
        for required in operation.required() {
            assert!(
                operation.parameter(required).is_some(),
                "{}: {required}",
                operation.name()
            );
        }
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(category, count)| format!("{category} {count}"))
        .collect();
    assert_eq!(
        counts.join(", "),
        "account 16, alert 10, api 1, app 17, audit 3, certificate 8, data_protection 49, directory 8, disk 7, \
         filesystem 7, network 15, reporting 3, service_config 12, sharing 36, storage 32, system 24, update 14, vm 16"
    );
}

#[test]
fn the_classes_of_the_published_policies_are_those_of_the_profile() {
    let profile = Profile::named("truenas").unwrap();
    for (class, names) in [
        (
            Risk::Read,
            "vm_list vm_get vm_status pool_list dataset_get system_info service_list app_config",
        ),
        (
            Risk::Write,
            "vm_create vm_update dataset_create smb_share_update user_set_password",
        ),
        (
            Risk::Execute,
            "vm_stop vm_start vm_restart service_stop service_start app_stop app_start system_reboot",
        ),
        (
            Risk::Destructive,
            "vm_delete system_shutdown dataset_delete pool_export disk_wipe truenas_api_call",
        ),
    ] {
        for name in names.split(' ').filter(|name| *name != "app_config") {
            assert_eq!(profile.operation(name).unwrap().risk(), class, "{name}");
        }
    }
    for operation in profile
        .operations()
        .filter(|operation| operation.name().ends_with("_delete"))
    {
        assert_eq!(operation.risk(), Risk::Destructive, "{}", operation.name());
    }
}

/// A value that fits a parameter's schema in the profile document.
fn example(schema: &serde_json::Value) -> serde_json::Value {
    use serde_json::json;
    let kind = schema.as_str().or_else(|| schema["type"].as_str()).unwrap();
    match kind {
        "integer" | "number" => json!(7),
        "boolean" => json!(true),
        "string" => schema["enum"]
            .get(0)
            .cloned()
            .unwrap_or_else(|| json!("x-1")),
        "array" => json!([example(&schema["items"])]),
        "object" => schema["properties"].as_object().map_or_else(
            || json!({}),
            |properties| {
                properties
                    .iter()
                    .map(|(name, schema)| (name.clone(), example(schema)))
                    .collect()
            },
        ),
        "any" => json!(null),
        other => panic!("{other}"),
    }
}

/// The requests of each operation, as the profile's own document has them, with all parameters given.
#[test]
fn each_operation_is_found_behind_its_own_requests_with_its_arguments() {
    let source: serde_json::Value =
        serde_json::from_str(include_str!("../profiles/truenas.json")).unwrap();
    let resolver = profiled();
    let mut requests = 0;
    for (name, operation) in source["operations"].as_object().unwrap() {
        let arguments: serde_json::Map<String, serde_json::Value> = operation["parameters"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(parameter, schema)| (parameter.clone(), example(schema)))
            .collect();
        let flat = serde_json::Value::Object(arguments.clone());
        if name != "truenas_api_call" {
            resolve_to(&resolver, name, &flat.to_string(), |resolution| {
                let told =
                    told(&resolution.unwrap_or_else(|decision| panic!("{name}: {decision:?}")));
                assert!(told.starts_with(&format!("{name}{{")), "{told}");
            });
        }
        let none = operation["requests"].as_array().is_none();
        let same = operation["same_request_as"].as_str();
        assert_eq!(none, same.is_some() || name == "truenas_api_call", "{name}");
        for request in operation["requests"].as_array().into_iter().flatten() {
            requests += 1;
            let mut body = arguments.clone();
            let mut path = request["path"].as_str().unwrap().to_owned();
            for place in ["{id}", "{id:integer}"] {
                if path.contains(place) {
                    let id = body.remove("id").unwrap();
                    path = path.replace(place, id.as_str().unwrap_or(&id.to_string()));
                }
            }
            let form = &request["body"];
            let body = if let Some(whole) = form["as"].as_str() {
                body[whole].clone()
            } else {
                for (from, to) in form["rename"].as_object().into_iter().flatten() {
                    let value = body.remove(to.as_str().unwrap()).unwrap();
                    body.insert(from.clone(), value);
                }
                serde_json::Value::Object(body)
            };
            let hatch = serde_json::json!({
                "method": request["method"], "path": format!("/api/v2.0{path}/"), "body": body.to_string(),
            });
            resolve_to(
                &resolver,
                "truenas_api_call",
                &hatch.to_string(),
                |resolution| {
                    let resolution =
                        resolution.unwrap_or_else(|decision| panic!("{name}: {decision:?}"));
                    let last = resolution.readings.last().unwrap();
                    assert_eq!(last.tool.as_ref(), name.as_str());
                    assert_eq!(last.role, ReadingRole::Full);
                    let built: serde_json::Value =
                        serde_json::from_str(&last.arguments.to_json()).unwrap();
                    assert_eq!(built, flat, "{name}");
                },
            );
        }
    }
    assert_eq!(requests, 276);
}

#[test]
fn a_document_reads_back_as_the_same_resolver() {
    let specs = [
        ResolverSpec::default(),
        ResolverSpec {
            profile: Some("truenas".into()),
            ..ResolverSpec::default()
        },
        spec(CUSTOM),
    ];
    for spec in specs {
        let resolver = Resolver::compile(&spec).unwrap();
        let again = Resolver::load(resolver.document()).unwrap();
        assert_eq!(again.document(), resolver.document());
        assert_eq!(again.digest(), resolver.digest());
        assert_eq!(resolver.digest(), Digest::of(resolver.document()));
        assert_eq!(
            Resolver::compile(&spec).unwrap().digest(),
            resolver.digest()
        );
        let call =
            r#"{"action":"truenas_api_call","params":{"method":"POST","path":"/vm/id/7/stop"}}"#;
        assert_eq!(
            read(&again, "truenas", call),
            read(&resolver, "truenas", call)
        );
        assert_eq!(
            read(&again, "nas", r#"{"do":{"what":"x"}}"#),
            read(&resolver, "nas", r#"{"do":{"what":"x"}}"#)
        );
    }
    assert_ne!(profiled().digest(), Resolver::plain().digest());
    assert_eq!(
        Resolver::compile(&ResolverSpec::default())
            .unwrap()
            .digest(),
        Resolver::plain().digest()
    );
}

#[test]
fn a_document_of_another_version_is_refused() {
    let plain = String::from_utf8(Resolver::plain().document().to_vec()).unwrap();
    for (from, to) in [
        ("\"resolver\":\"1\"", "\"resolver\":\"2\""),
        ("\"depth\":64", "\"depth\":63"),
    ] {
        assert!(plain.contains(from), "{plain}");
        let other = plain.replace(from, to);
        assert!(matches!(
            Resolver::load(other.as_bytes()),
            Err(ResolverProblem::Version)
        ));
    }
    assert!(matches!(
        Resolver::load(b"{}"),
        Err(ResolverProblem::Document(_))
    ));
}

/// A server that no profile knows.
const CUSTOM: &str = r#"{
  "dispatch": [{"tool": "nas", "operation": "/do/what", "arguments": "/do/with"}],
  "alias": [
    {"tool": "raw", "match": {"/verb": "POST", "/path": "/vm/{name}/{action}"}, "as": "vm_action",
     "arguments": {"": {"json": "/payload"}, "/name": "{name}", "/action": "{action}", "/from": "raw"}},
    {"tool": "raw", "match": {"/verb": "POST", "/path": "/vm/{id:integer}/stop"}, "as": "vm_stop",
     "arguments": {"/id": "{id}"}},
    {"tool": "forward", "match": {"/kind": "raw"}, "as": "raw", "arguments": {"": {"json": "/call"}}},
    {"tool": "again", "match": {"/kind": "again"}, "as": "again", "arguments": {"": {"json": "/call"}}}
  ]
}"#;

#[test]
fn a_server_that_no_profile_knows_is_read_as_configured() {
    let resolver = Resolver::compile(&spec(CUSTOM)).unwrap();
    for (tool, arguments, expected) in [
        (
            "nas",
            r#"{"do":{"what":"x","with":{"a":1}}}"#,
            r#"x{"a":1} via [dispatch:nas] write"#,
        ),
        (
            "nas",
            r#"{"do":{"what":"x"}}"#,
            "x{} via [dispatch:nas] write",
        ),
        // The template with more fixed segments is meant, wherever it stands.
        (
            "raw",
            r#"{"verb":"POST","path":"/vm/7/stop"}"#,
            r#"vm_stop{"id":7} via [alias:raw] execute"#,
        ),
        (
            "raw",
            r#"{"verb":"POST","path":"/vm/web/stop","payload":"{\"x\":1}"}"#,
            r#"vm_action{"x":1,"action":"stop","from":"raw","name":"web"} via [alias:raw] write"#,
        ),
        // Built arguments are read on.
        (
            "forward",
            r#"{"kind":"raw","call":"{\"verb\":\"POST\",\"path\":\"/vm/7/stop\"}"}"#,
            r#"vm_stop{"id":7} via [alias:forward alias:raw] execute"#,
        ),
    ] {
        let told = read(&resolver, tool, arguments);
        assert!(told.ends_with(expected), "{tool}{arguments}: {told}");
    }
    for (tool, arguments, expected) in [
        (
            "nas",
            r#"{"do":{"what":7}}"#,
            "(malformed) the operation must be a non-empty string",
        ),
        (
            "nas",
            r#"{"do":{"what":"x","with":[]}}"#,
            "(malformed) the arguments of the operation must be an object",
        ),
        (
            "raw",
            r#"{"verb":"POST","path":"/vm/web/stop","payload":"{\"name\":1}"}"#,
            "(arguments) `raw`: an argument is given twice",
        ),
        (
            "raw",
            r#"{"verb":"GET","path":"/a/../b"}"#,
            "(arguments) `raw`: the path holds what URL parsing would change",
        ),
    ] {
        assert_eq!(read(&resolver, tool, arguments), expected);
    }
}

#[test]
fn a_call_that_leads_from_alias_to_alias_without_end_is_malformed() {
    let resolver = Resolver::compile(&spec(CUSTOM)).unwrap();
    let mut call = r#"{"kind":"other"}"#.to_owned();
    for _ in 0..5 {
        call = serde_json::json!({"kind": "again", "call": call}).to_string();
    }
    assert_eq!(
        read(&resolver, "again", &call),
        "(malformed) the call leads through too many dispatchers"
    );
}

#[test]
fn a_configuration_that_says_nothing_clear_is_refused() {
    for (json, expected) in [
        (
            r#"{"profile":"trunas"}"#,
            "unknown profile `trunas`: did you mean `truenas`?",
        ),
        (
            r#"{"dispatch":[{"tool":"t","operation":"action","arguments":"/p"}]}"#,
            "`t`: `action` is no JSON pointer: it must be empty or begin with `/`",
        ),
        (
            r#"{"dispatch":[{"tool":"t","operation":"/a","arguments":"/p"},{"tool":"t","operation":"/b","arguments":"/p"}]}"#,
            "`t` is declared more than once, or both as a dispatcher and as an alias",
        ),
        (
            r#"{"dispatch":[{"tool":"resource:t","operation":"/a","arguments":"/p"}]}"#,
            "`resource:t` is no tool's name",
        ),
        (
            r#"{"alias":[{"tool":"t","match":{},"as":"x"}]}"#,
            "`t`: an alias needs something to match",
        ),
        (
            r#"{"alias":[{"tool":"t","match":{"/p":"/a/x{id}"},"as":"x"}]}"#,
            "`t`: `/a/x{id}` is no path template: a place is a whole segment, `{id}` or `{id:integer}`",
        ),
        (
            r#"{"alias":[{"tool":"t","match":{"/p":"/a"},"as":"x","arguments":{"/id":"{id}"}}]}"#,
            "`t`: the path has no place `id`",
        ),
        (
            r#"{"alias":[{"tool":"t","match":{"/p":"/a"},"as":"x","arguments":{"/a/b":"c"}}]}"#,
            "`t`: `/a/b` is no place for an argument: the whole (empty) or one member (`/name`)",
        ),
        (
            r#"{"alias":[{"tool":"t","match":{"/p":"/a"},"as":"t:unmatched"}]}"#,
            "`t:unmatched` is no tool's name",
        ),
    ] {
        assert_eq!(
            Resolver::compile(&spec(json)).unwrap_err().to_string(),
            expected
        );
    }
}

fn names(resolution: &Resolution<'_>) -> Vec<(String, ReadingRole)> {
    resolution
        .readings
        .iter()
        .map(|reading| (reading.tool.to_string(), reading.role))
        .collect()
}

#[test]
fn a_recorded_call_has_the_names_and_roles_it_was_judged_by() {
    let profiled = profiled();
    let custom = Resolver::compile(&spec(CUSTOM)).unwrap();
    let plain = Resolver::plain();
    for (resolver, tool, arguments) in [
        (&plain, "vm_stop", r#"{"id":7}"#),
        (&profiled, "vm_stop", r#"{"id":7}"#),
        (&profiled, "unknown_tool", "{}"),
        (&profiled, "truenas", "{}"),
        (
            &profiled,
            "truenas",
            r#"{"action":"vm_stop","params":{"id":7}}"#,
        ),
        (&profiled, "truenas", r#"{"action":"nope"}"#),
        (
            &profiled,
            "truenas_api_call",
            r#"{"method":"POST","path":"/vm/id/7/stop"}"#,
        ),
        (
            &profiled,
            "truenas_api_call",
            r#"{"method":"POST","path":"/nope"}"#,
        ),
        (
            &profiled,
            "truenas",
            r#"{"action":"truenas_api_call","params":{"method":"POST","path":"/vm/id/7/stop"}}"#,
        ),
        (
            &profiled,
            "truenas",
            r#"{"action":"truenas_api_call","params":{"method":"POST","path":"/nope"}}"#,
        ),
        (
            &custom,
            "forward",
            r#"{"kind":"raw","call":"{\"verb\":\"POST\",\"path\":\"/vm/7/stop\"}"}"#,
        ),
        (&custom, "nas", r#"{"do":{"what":"x"}}"#),
    ] {
        resolve_to(resolver, tool, arguments, |resolution| {
            let live = resolution.unwrap();
            let via: Vec<&str> = live.via.iter().map(AsRef::as_ref).collect();
            let effective = &live.readings.last().unwrap().tool;
            let recorded = resolver.from_recorded(tool, &via, effective).unwrap();
            assert_eq!(names(&recorded), names(&live));
            assert_eq!(recorded.risk(), live.risk());
            assert!(recorded.via.iter().eq(via.iter()));
        });
    }
    assert!(profiled.from_recorded("a", &[], "b").is_none());
    assert!(profiled.from_recorded("a", &["dispatch:b"], "c").is_none());
    assert!(profiled.from_recorded("a", &["teleport:a"], "c").is_none());
}

/// What a policy says of one spelling of a URI holds for the others; its default is asked of the URI as it came.
#[test]
fn a_resource_is_judged_by_every_spelling_of_its_uri() {
    let resolver = Resolver::plain();
    let nothing = Value::parse("{}").unwrap();
    let context = Context {
        node: "n",
        server: "nas",
        grant: "g",
        session: "s",
        client_name: "",
        client_version: "",
        received_at: Micros(0),
    };
    let open = r#"{"version":"1","default":"allow","hide":["resource:truenas://vms"],"tools":{"resource:file:///etc/*":{"action":"deny"}}}"#;
    let listed = r#"{"version":"1","default":"deny","tools":{"resource:file:///My Docs/x":{},"resource:TRUENAS://vms":{}}}"#;
    for (policy, uri, rule) in [
        (open, "truenas://vms", "(hidden)"),
        (open, "TRUENAS://vms", "(hidden)"),
        (open, "truenas://vms:", "(hidden)"),
        (open, "truenas://sharing", ""),
        (
            open,
            "FILE:///etc/x",
            "/tools/resource:file:~1~1~1etc~1*/deny_if/always",
        ),
        (
            open,
            "file:///home/../etc/x",
            "/tools/resource:file:~1~1~1etc~1*/deny_if/always",
        ),
        (open, "file:///home/etc/x", ""),
        (listed, "file:///My Docs/x", ""),
        (listed, "file:///My%20Docs/x", "(default deny)"),
        (listed, "TRUENAS://vms", ""),
        (listed, "truenas://vms", "(default deny)"),
    ] {
        let policy = Policy::load(policy.as_bytes(), "p.json").unwrap();
        let name = format!("resource:{uri}");
        let ask = Ask {
            wire_tool: name.as_str().into(),
            kind: AskKind::Resource,
            arguments: &nothing,
        };
        let live = resolver.resolve(&ask).unwrap();
        let judged = |resolution: &Resolution<'_>| {
            let counters = &mut Counters::new(8);
            let judgement = judge(Some(&policy), resolution, &context, counters, Micros(0));
            judgement.decision.rule.to_string()
        };
        assert_eq!(judged(&live), rule, "{uri}");
        let via: Vec<&str> = live.via.iter().map(AsRef::as_ref).collect();
        let effective = &live.readings.last().unwrap().tool;
        let recorded = resolver.from_recorded(&name, &via, effective).unwrap();
        assert_eq!(judged(&recorded), rule, "{uri}, as recorded");
    }
}
