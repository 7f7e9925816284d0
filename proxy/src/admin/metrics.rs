//! `/metrics`: the figures, as Prometheus reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::Open;
use crate::bounds::Resource;

pub(super) async fn metrics(Open(gate): Open) -> (HeaderMap, String) {
    let record = gate.recorder.health();
    let telemetry = &gate.telemetry;
    telemetry.gauge("weir_recording", f64::from(u8::from(record.recording)));
    telemetry.gauge("weir_record_waiting", record.waiting as f64);
    telemetry.gauge("weir_record_unsealed", record.unsealed as f64);
    telemetry.gauge("weir_record_durable_entries", record.durable as f64);
    telemetry.gauge("weir_record_syncs", record.syncs as f64);
    let room = record.room;
    telemetry.gauge("weir_record_used_bytes", room.used as f64);
    telemetry.gauge("weir_record_reserve_bytes", room.reserve as f64);
    for (name, bytes) in [
        ("weir_record_bytes_max", room.bytes_max),
        ("weir_record_left_bytes", room.left),
    ] {
        if let Some(bytes) = bytes {
            telemetry.gauge(name, bytes as f64);
        }
    }
    for resource in Resource::ALL {
        let most = resource.most(&gate.limits);
        telemetry.limit(resource.as_str(), None, gate.bounds.in_use(resource), most);
        let grants = gate.grants();
        for grant in &grants.0 {
            let used = gate.bounds.in_use_of(resource, &grant.name);
            let most = resource.most_of(grant);
            telemetry.limit(resource.as_str(), Some(&grant.name), used, most);
        }
        // What a grant has still that was removed.
        let is_gone = |name: &Arc<str>| grants.0.iter().all(|grant| grant.name != *name);
        for name in gate.bounds.grants().into_iter().filter(is_gone) {
            let used = gate.bounds.in_use_of(resource, &name);
            telemetry.limit(resource.as_str(), Some(&name), used, 0);
        }
    }
    if let Some(told) = gate.traces.told() {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        telemetry.total("weir_spans_exported_total", None, read(&told.exported));
        for (reason, count) in [("queue", &told.crowded_out), ("collector", &told.lost)] {
            telemetry.total("weir_spans_dropped_total", Some(reason), read(count));
        }
    }
    let counters = gate.ledger.counters();
    telemetry.limit("counters", None, counters, gate.limits.counters_max);
    let sessions = gate.bounds.in_use(Resource::Sessions);
    telemetry.gauge("weir_sessions", sessions as f64);
    telemetry.gauge("weir_in_flight", gate.under_way() as f64);
    telemetry.gauge("weir_approvals_held", gate.approvals.held() as f64);
    let is_refused = gate.reloads.fared().fault.is_some();
    telemetry.gauge("weir_reload_refused", f64::from(u8::from(is_refused)));
    if let Some(issuer) = gate.issuer.load().as_ref().map(|issuer| issuer.health()) {
        telemetry.gauge("weir_oauth_keys", issuer.keys as f64);
        telemetry.gauge(
            "weir_oauth_faulty",
            f64::from(u8::from(issuer.fault.is_some())),
        );
        if let Some(age) = issuer.age {
            telemetry.gauge("weir_oauth_keys_age_seconds", age.as_secs_f64());
        }
    }
    if let Some(replica) = gate.replica.health() {
        telemetry.gauge("weir_replica_behind_files", replica.behind_files as f64);
        telemetry.gauge("weir_replica_behind_bytes", replica.behind_bytes as f64);
        telemetry.gauge("weir_replica_behind_entries", replica.behind_entries as f64);
        telemetry.gauge("weir_replica_behind_seconds", replica.behind_seconds);
        telemetry.gauge(
            "weir_replica_faulty",
            f64::from(u8::from(replica.fault.is_some())),
        );
    }
    if let Some(left) = gate.disk_left() {
        telemetry.gauge("weir_disk_left_bytes", left as f64);
    }
    let headers = HeaderMap::from_iter([(
        CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; version=0.0.4"),
    )]);
    (headers, telemetry.render())
}
