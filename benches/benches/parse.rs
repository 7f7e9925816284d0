//! What strict parsing costs, beside `serde_json` reading the same bytes into a value (which checks less).
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::message;
use weir_policy::Message;

fn parse(c: &mut Criterion) {
    let long = {
        let note = "a long note with \\\"quotes\\\" and caf\u{e9} ".repeat(100);
        let list = (0..500)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(",");
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"tools/call\",\"params\":{{\"name\":\"note\",\
             \"arguments\":{{\"text\":\"{note}\",\"list\":[{list}]}}}}}}"
        )
        .into_bytes()
    };
    for (name, bytes) in [("110 bytes", message(3, false)), ("6 kB", long)] {
        let mut group = c.benchmark_group(format!("parse {name}"));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        assert!(Message::parse(&bytes).is_ok(), "{name} is a good message");
        group.bench_function("weir, strict", |b| {
            b.iter(|| Message::parse(black_box(&bytes)).is_ok());
        });
        group.bench_function("serde_json::Value", |b| {
            b.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(&bytes)).is_ok());
        });
        group.finish();
    }
}

criterion_group!(benches, parse);
criterion_main!(benches);
