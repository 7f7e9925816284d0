//! The twelve resources: readable past any rule that speaks of tools only.

use serde_json::{Value, json};

use super::log::Request;
use super::model::Model;
use super::tools::pretty;

/// URI, name, description, and the requests that fill it.
type Resource = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const RESOURCES: [Resource; 12] = [
    (
        "truenas://system/info",
        "system-info",
        "Version, host name, uptime, hardware",
        &["/system/info"],
    ),
    (
        "truenas://storage/pools",
        "pools",
        "Every pool and how it is",
        &["/pool"],
    ),
    (
        "truenas://storage/datasets",
        "datasets",
        "Every dataset and what it holds",
        &["/pool/dataset"],
    ),
    (
        "truenas://services",
        "services",
        "Every service, and whether it runs",
        &["/service"],
    ),
    (
        "truenas://alerts",
        "alerts",
        "What the NAS complains about",
        &["/alert/list"],
    ),
    (
        "truenas://network/summary",
        "network",
        "Addresses, routes, name servers",
        &["/network/general/summary"],
    ),
    (
        "truenas://sharing",
        "shares",
        "SMB, NFS and iSCSI shares",
        &["/sharing/smb", "/sharing/nfs", "/iscsi/target"],
    ),
    ("truenas://vms", "vms", "Every virtual machine", &["/vm"]),
    ("truenas://apps", "apps", "Every app", &["/app"]),
    (
        "truenas://disks",
        "disks",
        "Every disk and the pool it belongs to",
        &["/disk"],
    ),
    (
        "truenas://boot/environments",
        "boot-environments",
        "What the NAS can boot",
        &["/bootenv"],
    ),
    (
        "truenas://system/update",
        "update-status",
        "How updates are set, and what is there",
        &["/update"],
    ),
];

/// The result of `resources/list`.
pub fn list() -> Value {
    RESOURCES
        .iter()
        .map(|(uri, name, description, _)| json!({"uri": uri, "name": name, "description": description}))
        .collect()
}

/// The contents of a resource and the requests it took; `None` if there is no such resource.
pub fn read(model: &mut Model, uri: &str) -> Option<(Value, Vec<Request>)> {
    let (_, _, _, paths) = RESOURCES.iter().find(|(known, ..)| *known == uri)?;
    let mut bodies = Vec::new();
    let mut requests = Vec::new();
    for path in *paths {
        let path = format!("{}{path}", super::url::API);
        let reply = model.request("GET", &path, None);
        requests.push(Request {
            method: "GET".to_owned(),
            path,
            body: None,
            status: reply.status,
        });
        bodies.push(reply.body);
    }
    let whole = if bodies.len() == 1 {
        bodies.remove(0)
    } else {
        Value::Array(bodies)
    };
    let contents =
        json!({"contents": [{"uri": uri, "mimeType": "application/json", "text": pretty(&whole)}]});
    Some((contents, requests))
}
