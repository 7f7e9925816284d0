//! The path resolver: what was judged is what is requested, by a server that pastes its URLs together and by a strict URL parser.

use serde_json::{Map, Value, json};
use url::Url;
use weir_policy::{Ask, AskKind, Context, Counters, Decision, Micros, Policy, Resolver, judge};

use crate::message::{context, profiled};
use crate::url_building::{API, careless, hatch, segments};

const ALLOW_ALL: &[u8] = br#"{"version": "1", "default": "allow", "tools": {"*": {}}}"#;
const PROFILE: &str = include_str!("../../policy/profiles/truenas.json");
const BASE: &str = "https://nas.local";

/// One operation that has a parameter in its path.
struct Placed {
    name: String,
    path: String,
    key: String,
    arguments: Map<String, Value>,
}

struct With {
    resolver: Resolver,
    policy: Policy,
    operations: Map<String, Value>,
    placed: Vec<Placed>,
}

/// The first byte says which way, the second which operation or method; the rest is the path, or what goes into it.
pub fn check(bytes: &[u8]) {
    thread_local! {
        static WITH: With = With::new();
    }
    let [way, which, rest @ ..] = bytes else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    WITH.with(|with| {
        if way % 2 == 0 {
            with.hatch(
                ["GET", "POST", "PUT", "DELETE"][usize::from(which % 4)],
                text,
            );
        } else {
            with.operation(&with.placed[usize::from(*which) % with.placed.len()], text);
        }
    });
}

impl With {
    fn new() -> Self {
        let Ok(Value::Object(mut profile)) = serde_json::from_str(PROFILE) else {
            panic!("the profile is JSON")
        };
        let Some(Value::Object(operations)) = profile.remove("operations") else {
            panic!("a profile has operations")
        };
        let placed = operations
            .iter()
            .filter_map(|(name, operation)| Placed::of(name, operation))
            .collect();
        let policy = Policy::load(ALLOW_ALL, "allow.json").expect("a policy");
        Self {
            resolver: profiled(),
            policy,
            operations,
            placed,
        }
    }

    /// A call of the escape hatch: if it is allowed, the NAS gets a request of the operation that it was judged as.
    fn hatch(&self, method: &str, path: &str) {
        let Some((tool, arguments)) =
            self.allowed("truenas_api_call", &json!({"method": method, "path": path}))
        else {
            return;
        };
        let strict = Url::parse(&format!(
            "{BASE}{API}{}",
            path.strip_prefix(API).unwrap_or(path)
        ))
        .expect("judged, and no URL");
        self.stands_for(&tool, &arguments, method, &strict, path);
        self.same(&hatch(path), &tool, &arguments, method);
    }

    /// An operation with `text` in its path.
    fn operation(&self, placed: &Placed, text: &str) {
        let mut values = vec![Value::from(text)];
        values.extend(text.parse::<i64>().map(Value::from).ok());
        for value in values {
            let mut arguments = placed.arguments.clone();
            arguments.insert(placed.key.clone(), value.clone());
            let Some((tool, arguments)) = self.allowed(&placed.name, &Value::Object(arguments))
            else {
                continue;
            };
            assert_eq!(tool, placed.name);
            let printed = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let place = placed.path.find('{').expect("a place")
                ..placed.path.find('}').expect("its end") + 1;
            let pasted = [
                &placed.path[..place.start],
                &printed,
                &placed.path[place.end..],
            ]
            .concat();
            let strict = Url::parse(&format!("{BASE}{API}{pasted}")).expect("judged, and no URL");
            let method = self.operations[&tool]["requests"][0]["method"]
                .as_str()
                .expect("a method")
                .to_owned();
            // The names of datasets hold slashes, which the server escapes; all others are pasted as they are.
            if !printed.contains('/') {
                self.stands_for(&tool, &arguments, &method, &strict, &pasted);
            }
            let given: Map<String, Value> = [("id".to_owned(), value)].into_iter().collect();
            let escaped = placed.path.replace(
                &placed.path[place],
                if printed.contains('/') {
                    "{id%}"
                } else {
                    "{id}"
                },
            );
            self.same(&careless(&escaped, &given), &tool, &arguments, &method);
        }
    }

    /// The last name of the call and its arguments, if a policy that allows everything lets it pass.
    fn allowed(&self, wire_tool: &str, arguments: &Value) -> Option<(String, Value)> {
        let text = arguments.to_string();
        let value = weir_policy::Value::parse(&text).ok()?;
        let ask = Ask {
            wire_tool: wire_tool.into(),
            kind: AskKind::ToolCall,
            arguments: &value,
        };
        let resolution = self.resolver.resolve(&ask).ok()?;
        let context: Context<'_> = context();
        let decision: Decision = judge(
            Some(&self.policy),
            &resolution,
            &context,
            &mut Counters::new(8),
            Micros(0),
        )
        .decision;
        let last = resolution.readings.last().filter(|_| decision.is_allow())?;
        let arguments =
            serde_json::from_str(&last.arguments.to_json()).expect("arguments are JSON");
        Some((last.tool.to_string(), arguments))
    }

    fn stands_for(&self, tool: &str, arguments: &Value, method: &str, requested: &Url, path: &str) {
        assert_eq!(
            (requested.host_str(), requested.port(), requested.username()),
            (Some("nas.local"), None, ""),
            "{path:?}"
        );
        assert_eq!(requested.fragment(), None, "{path:?}");
        self.same(requested.path(), tool, arguments, method);
    }

    /// Whether this request is one of the tool's, with the judged values in its places.
    fn same(&self, target: &str, tool: &str, arguments: &Value, method: &str) {
        let arrived = segments(target);
        let requests = self.operations[tool]["requests"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let fits = requests.iter().any(|request| {
            let template = request["path"].as_str().unwrap_or_default();
            let parts: Vec<&str> = template
                .split('/')
                .filter(|part| !part.is_empty())
                .collect();
            request["method"] == method
                && parts.len() == arrived.len()
                && parts.iter().zip(&arrived).all(|(part, segment)| {
                    match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
                        None => part == segment,
                        Some(place) => {
                            let value = &arguments[place.split(':').next().unwrap_or_default()];
                            value
                                .as_str()
                                .map_or_else(|| value.to_string(), str::to_owned)
                                == *segment
                        }
                    }
                })
        });
        assert!(
            fits,
            "judged as {tool} {arguments}, and {method} {target} arrives"
        );
    }
}

impl Placed {
    fn of(name: &str, operation: &Value) -> Option<Self> {
        let parameters = operation["parameters"].as_object()?;
        let (key, _) = parameters
            .iter()
            .find(|(_, schema)| schema.get("url").is_some())?;
        let path = operation["requests"].get(0)?["path"]
            .as_str()
            .filter(|path| path.contains('{'))?;
        let required = operation["required"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let arguments = required
            .iter()
            .filter_map(Value::as_str)
            .map(|name| (name.to_owned(), sample(&parameters[name])))
            .collect();
        Some(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            key: key.clone(),
            arguments,
        })
    }
}

/// A value that the schema takes.
fn sample(schema: &Value) -> Value {
    if let Some(choice) = schema["enum"].get(0) {
        return choice.clone();
    }
    match schema.as_str().or_else(|| schema["type"].as_str()) {
        Some("number" | "integer") => json!(7),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("x"),
    }
}
