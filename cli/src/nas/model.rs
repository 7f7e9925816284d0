//! The machine behind the API: collections and settings in memory, and the requests that change them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::catalogue::Catalogue;
use super::url;

/// What the API answered.
#[derive(Debug, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// JSON body; for errors the text alone.
    pub body: Value,
}

/// Everything the NAS knows.
pub struct Model {
    /// `vm`, `pool/dataset`, …: what lives below `<collection>/id/<id>`.
    collections: BTreeMap<String, Vec<Value>>,
    /// Settings and facts with one path each.
    singletons: BTreeMap<String, Value>,
    /// Method and template of every route the catalogue knows, for answers without an effect of their own.
    routes: Vec<(&'static str, Vec<&'static str>)>,
    jobs: u64,
}

#[derive(Deserialize)]
struct Seed {
    collections: BTreeMap<String, Vec<Value>>,
    singletons: BTreeMap<String, Value>,
}

impl Model {
    /// A NAS as it stands on a Monday morning: one pool degraded, seven machines running.
    pub fn seeded(catalogue: &Catalogue) -> Result<Self, serde_json::Error> {
        let Seed {
            mut collections,
            mut singletons,
        } = serde_json::from_str(include_str!("seed.json"))?;
        let operations = || {
            catalogue
                .operations()
                .iter()
                .filter(|operation| operation.path.starts_with('/'))
        };
        for operation in operations() {
            if let Some((collection, _)) = operation.path.split_once("/id/") {
                collections
                    .entry(collection.trim_start_matches('/').to_owned())
                    .or_default();
            }
        }
        for operation in operations().filter(|o| o.method == "GET" && !o.path.contains('{')) {
            let path = operation.path.trim_start_matches('/').to_owned();
            if !collections.contains_key(&path) {
                singletons.entry(path).or_insert_with(|| json!({}));
            }
        }
        let routes = operations()
            .map(|operation| {
                (
                    operation.method,
                    operation
                        .path
                        .split('/')
                        .filter(|s| !s.is_empty())
                        .collect(),
                )
            })
            .collect();
        Ok(Self {
            collections,
            singletons,
            routes,
            jobs: 100,
        })
    }

    /// Carries a request out: `target` is path and query as they arrived.
    pub fn request(&mut self, method: &str, target: &str, body: Option<&Value>) -> Reply {
        let segments = url::segments(target);
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        self.act(method, &path, body)
            .or_else(|| self.resource(method, &path, body))
            .or_else(|| self.routed(method, &path))
            .unwrap_or_else(|| {
                Reply::refused(404, format!("nothing answers {method} /{}", path.join("/")))
            })
    }

    /// Requests that do something.
    fn act(&mut self, method: &str, path: &[&str], body: Option<&Value>) -> Option<Reply> {
        let text = body.and_then(Value::as_str).unwrap_or_default();
        Some(match (method, path) {
            ("GET", ["vm", "id", id, "status"]) => match self.find("vm", id) {
                Some(vm) => Reply::ok(vm.get("status").cloned().unwrap_or_default()),
                None => Reply::missing("VM", id),
            },
            ("POST", ["vm", "id", id, verb @ ("start" | "stop" | "restart")]) => {
                self.power(id, verb, body)
            }
            ("POST", ["service", verb @ ("start" | "stop" | "restart")]) => {
                self.service(text, verb)
            }
            ("POST", ["app", verb @ ("start" | "stop" | "redeploy")]) => {
                let state = if *verb == "stop" {
                    "STOPPED"
                } else {
                    "RUNNING"
                };
                match self.find_mut("app", text) {
                    Some(app) => {
                        set(app, "state", state);
                        self.job()
                    }
                    None => Reply::missing("app", text),
                }
            }
            ("PUT", ["alert", verb @ ("dismiss" | "restore")]) => {
                self.alert(text, *verb == "dismiss")
            }
            ("POST", ["pool", "id", id, "export"]) => self
                .remove("pool", id)
                .map_or_else(|| Reply::missing("pool", id), |_| self.job()),
            ("POST", ["pool", "id", id, "scrub"]) => match self.find_mut("pool", id) {
                Some(pool) => {
                    set(
                        pool,
                        "scan",
                        json!({"function": "SCRUB", "state": "SCANNING", "percentage": 0.4}),
                    );
                    self.job()
                }
                None => Reply::missing("pool", id),
            },
            ("POST", ["pool", "snapshot", "id", id, "clone"]) => {
                let to = body
                    .and_then(|b| b.get("dataset_dst"))
                    .cloned()
                    .unwrap_or_default();
                match self.find("pool/snapshot", id) {
                    Some(_) => {
                        self.create("pool/dataset", json!({"name": to, "type": "FILESYSTEM"}))
                    }
                    None => Reply::missing("snapshot", id),
                }
            }
            ("POST", ["bootenv", "id", id, "activate"]) => match self.find("bootenv", id) {
                Some(_) => {
                    for environment in self.collections.get_mut("bootenv").into_iter().flatten() {
                        let active = named(environment, id);
                        set(environment, "activated", active);
                    }
                    Reply::ok(true)
                }
                None => Reply::missing("boot environment", id),
            },
            ("POST", ["system", verb @ ("reboot" | "shutdown")]) => {
                let state = if *verb == "reboot" {
                    "REBOOTING"
                } else {
                    "OFF"
                };
                self.singletons
                    .insert("system/state".to_owned(), state.into());
                self.job()
            }
            _ => return None,
        })
    }

    /// A graceful stop asks the guest, and a guest without an agent does not listen.
    fn power(&mut self, id: &str, verb: &str, body: Option<&Value>) -> Reply {
        let force = body.and_then(|b| b.get("force")).is_some_and(truthy);
        let Some(vm) = self.find_mut("vm", id) else {
            return Reply::missing("VM", id);
        };
        let listens = vm
            .get("guest_agent")
            .and_then(Value::as_bool)
            .unwrap_or(true);
        let running = vm.pointer("/status/state").and_then(Value::as_str) == Some("RUNNING");
        match verb {
            "start" if running => {
                return Reply::refused(422, format!("VM {id} is running already"));
            }
            "stop" if !running => return Reply::refused(422, format!("VM {id} is not running")),
            "stop" if force || listens => {
                set(
                    vm,
                    "status",
                    json!({"state": "STOPPED", "pid": null, "domain_state": "SHUTOFF"}),
                );
            }
            "stop" => {}
            _ => set(
                vm,
                "status",
                json!({"state": "RUNNING", "pid": 5000, "domain_state": "RUNNING"}),
            ),
        }
        Reply::ok(true)
    }

    /// Answers whether the service runs afterwards, as the API does.
    fn service(&mut self, name: &str, verb: &str) -> Reply {
        let services = self.collections.get_mut("service").into_iter().flatten();
        let Some(service) = services
            .into_iter()
            .find(|s| s.get("service").and_then(Value::as_str) == Some(name))
        else {
            return Reply::missing("service", name);
        };
        let runs = verb != "stop";
        set(service, "state", if runs { "RUNNING" } else { "STOPPED" });
        set(
            service,
            "pids",
            if runs { json!([2000]) } else { json!([]) },
        );
        Reply::ok(runs)
    }

    fn alert(&mut self, uuid: &str, dismissed: bool) -> Reply {
        let alerts = self
            .singletons
            .get_mut("alert/list")
            .and_then(Value::as_array_mut);
        match alerts
            .into_iter()
            .flatten()
            .find(|a| a.get("uuid").and_then(Value::as_str) == Some(uuid))
        {
            Some(alert) => {
                set(alert, "dismissed", dismissed);
                Reply::ok(Value::Null)
            }
            None => Reply::missing("alert", uuid),
        }
    }

    /// Plain REST over collections and settings.
    fn resource(&mut self, method: &str, path: &[&str], body: Option<&Value>) -> Option<Reply> {
        let whole = path.join("/");
        if let Some((collection, id)) = whole
            .split_once("/id/")
            .map(|(c, _)| c)
            .zip(path.iter().rposition(|s| *s == "id"))
            && id + 2 == path.len()
            && self.collections.contains_key(collection)
        {
            let id = path.last().copied().unwrap_or_default();
            return match method {
                "GET" => Some(
                    self.find(collection, id)
                        .cloned()
                        .map_or_else(|| Reply::missing(collection, id), Reply::ok),
                ),
                "PUT" => Some(match self.find_mut(collection, id) {
                    Some(item) => {
                        merge(item, body);
                        Reply::ok(item.clone())
                    }
                    None => Reply::missing(collection, id),
                }),
                "DELETE" => Some(
                    self.remove(collection, id)
                        .map_or_else(|| Reply::missing(collection, id), |_| Reply::ok(true)),
                ),
                _ => None,
            };
        }
        if let Some(items) = self.collections.get(&whole) {
            return match method {
                "GET" => Some(Reply::ok(Value::Array(items.clone()))),
                "POST" => Some(self.create(&whole, body.cloned().unwrap_or_else(|| json!({})))),
                _ => None,
            };
        }
        let setting = self.singletons.get_mut(&whole)?;
        match method {
            "GET" => Some(Reply::ok(setting.clone())),
            "PUT" => {
                merge(setting, body);
                Some(Reply::ok(setting.clone()))
            }
            _ => None,
        }
    }

    /// A route of the catalogue whose effect nobody looks at: a job number, if what it names exists.
    fn routed(&mut self, method: &str, path: &[&str]) -> Option<Reply> {
        let fits = |template: &[&str]| {
            template.len() == path.len()
                && template
                    .iter()
                    .zip(path)
                    .all(|(t, p)| t.starts_with('{') || t == p)
        };
        self.routes
            .iter()
            .find(|(known, template)| *known == method && fits(template))?;
        if let Some(at) = path.iter().position(|segment| *segment == "id")
            && let (Some(collection), Some(id)) = (path.get(..at), path.get(at + 1))
            && self.find(&collection.join("/"), id).is_none()
        {
            return Some(Reply::missing(&collection.join(" "), id));
        }
        Some(self.job())
    }

    fn create(&mut self, collection: &str, mut item: Value) -> Reply {
        let items = self.collections.entry(collection.to_owned()).or_default();
        if !item.is_object() {
            return Reply::refused(422, format!("a new {collection} must be an object"));
        }
        let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
        let id = match collection {
            "pool/snapshot" => {
                let dataset = item
                    .get("dataset")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                Value::from(format!("{dataset}@{name}"))
            }
            "pool/dataset" | "app" | "bootenv" | "interface" | "disk" => Value::from(name),
            _ => Value::from(
                items
                    .iter()
                    .filter_map(|i| i.get("id")?.as_u64())
                    .max()
                    .unwrap_or(0)
                    + 1,
            ),
        };
        let taken: BTreeSet<String> = items
            .iter()
            .filter_map(|i| i.get("id"))
            .map(Value::to_string)
            .collect();
        if taken.contains(&id.to_string()) {
            return Reply::refused(422, format!("{collection} {id} exists already"));
        }
        if collection == "vm" {
            set(
                &mut item,
                "status",
                json!({"state": "STOPPED", "pid": null, "domain_state": "SHUTOFF"}),
            );
        }
        set(&mut item, "id", id);
        items.push(item.clone());
        Reply::ok(item)
    }

    fn find(&self, collection: &str, id: &str) -> Option<&Value> {
        self.collections
            .get(collection)?
            .iter()
            .find(|item| named(item, id))
    }

    fn find_mut(&mut self, collection: &str, id: &str) -> Option<&mut Value> {
        self.collections
            .get_mut(collection)?
            .iter_mut()
            .find(|item| named(item, id))
    }

    fn remove(&mut self, collection: &str, id: &str) -> Option<Value> {
        let items = self.collections.get_mut(collection)?;
        let at = items.iter().position(|item| named(item, id))?;
        Some(items.remove(at))
    }

    fn job(&mut self) -> Reply {
        self.jobs += 1;
        Reply::ok(self.jobs)
    }
}

impl Reply {
    fn ok(body: impl Into<Value>) -> Self {
        Self {
            status: 200,
            body: body.into(),
        }
    }

    fn refused(status: u16, why: String) -> Self {
        Self {
            status,
            body: why.into(),
        }
    }

    fn missing(what: &str, id: &str) -> Self {
        Self::refused(404, format!("there is no {what} {id}"))
    }
}

/// Truth as JavaScript has it.
pub fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn named(item: &Value, id: &str) -> bool {
    match item.get("id") {
        Some(Value::String(name)) => name == id,
        Some(number) => id
            .parse::<u64>()
            .is_ok_and(|id| number.as_u64() == Some(id)),
        None => false,
    }
}

fn set(item: &mut Value, field: &str, value: impl Into<Value>) {
    if let Value::Object(members) = item {
        members.insert(field.to_owned(), value.into());
    }
}

fn merge(item: &mut Value, changes: Option<&Value>) {
    let empty = Map::new();
    for (field, value) in changes.and_then(Value::as_object).unwrap_or(&empty) {
        set(item, field, value.clone());
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]

    use super::*;

    fn model() -> Model {
        Model::seeded(&Catalogue::embedded()).unwrap()
    }

    fn state(model: &mut Model, id: u64) -> Value {
        model
            .request("GET", &format!("/api/v2.0/vm/id/{id}/status"), None)
            .body["state"]
            .clone()
    }

    #[test]
    fn a_graceful_stop_does_not_reach_a_guest_without_an_agent() {
        let mut nas = model();
        assert_eq!(
            nas.request("POST", "/api/v2.0/vm/id/7/stop", Some(&json!({})))
                .body,
            true
        );
        assert_eq!(state(&mut nas, 7), "RUNNING");
        nas.request(
            "POST",
            "/api/v2.0/vm/id/7/stop",
            Some(&json!({"force": true})),
        );
        assert_eq!(state(&mut nas, 7), "STOPPED");
    }

    #[test]
    fn stopping_a_service_answers_that_it_no_longer_runs() {
        let mut nas = model();
        assert_eq!(
            nas.request("POST", "/api/v2.0/service/stop", Some(&json!("ssh"))),
            Reply::ok(false)
        );
        assert_eq!(
            nas.request("GET", "/api/v2.0/service/id/1", None).body["state"],
            "STOPPED"
        );
    }

    #[test]
    fn collections_create_change_and_remove() {
        let mut nas = model();
        let made = nas.request(
            "POST",
            "/api/v2.0/vm",
            Some(&json!({"name": "new", "memory": 512})),
        );
        assert_eq!(made.body["id"], 8);
        nas.request("PUT", "/api/v2.0/vm/id/8", Some(&json!({"memory": 1024})));
        assert_eq!(
            nas.request("GET", "/api/v2.0/vm/id/8", None).body["memory"],
            1024
        );
        assert_eq!(
            nas.request("DELETE", "/api/v2.0/vm/id/8", Some(&json!({})))
                .status,
            200
        );
        assert_eq!(nas.request("GET", "/api/v2.0/vm/id/8", None).status, 404);
    }

    #[test]
    fn an_encoded_dataset_is_found() {
        assert_eq!(
            model()
                .request("GET", "/api/v2.0/pool/dataset/id/tank%2Fhome", None)
                .body["id"],
            "tank/home"
        );
    }

    #[test]
    fn every_route_of_the_catalogue_is_answered() {
        let catalogue = Catalogue::embedded();
        for operation in catalogue
            .operations()
            .iter()
            .filter(|o| o.path.starts_with('/'))
        {
            let path = operation.path.replace("{id%}", "1").replace("{id}", "1");
            let reply = model().request(
                operation.method,
                &format!("/api/v2.0{path}"),
                Some(&json!({})),
            );
            let unrouted = reply
                .body
                .as_str()
                .is_some_and(|text| text.starts_with("nothing answers"));
            assert!(
                !unrouted,
                "{} is not routed: {:?}",
                operation.name, reply.body
            );
        }
    }

    #[test]
    fn an_unknown_route_is_not_found() {
        assert_eq!(
            model()
                .request("POST", "/api/v2.0/service/id/1/restart", None)
                .status,
            404
        );
    }
}
