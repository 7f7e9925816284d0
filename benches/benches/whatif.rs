//! The other sides of "what would this policy have blocked?": a bare loop that only reads, and `cedar-policy` row by row.
//!
//! `benches/whatif.py` runs this beside `weir replay` and DuckDB and compares the answers. By hand:
//! `cargo bench --workspace --bench whatif -- DIR ROWS`, with a record's folder and how many of its rows Cedar is asked about.
//! One line of JSON comes out.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a bench that cannot be set up should stop at once, and what it measured is what it prints"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray};
use arrow::datatypes::DataType;
use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicySet,
    Request,
};
use weir_benches::bare;
use weir_recorder::RecordReader;

/// The rules of `corpus/policies/demo/careful-stops.json` that look at one call alone. That an id is a whole number is said by a
/// comparison, which fails for anything else, and then nothing permits.
const CAREFUL: &str = r#"
permit(principal, action, resource) unless { action == Action::"vm_stop" };
permit(principal, action == Action::"vm_stop", resource) when { context has id && context.id <= 9223372036854775807 };
forbid(principal, action == Action::"vm_stop", resource) when { context has force && context.force == true };
forbid(principal, action == Action::"service_stop", resource) when { context has service && context.service == "ssh" };
forbid(principal, action in [Action::"vm_delete", Action::"dataset_delete", Action::"pool_export",
                             Action::"system_shutdown", Action::"disk_wipe"], resource);
"#;

fn main() {
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [record, rows] = given.as_slice() else {
        return eprintln!("usage: cargo bench --workspace --bench whatif -- DIR ROWS");
    };
    let record = Path::new(record);
    let rows: usize = rows.parse().expect("a number of rows");
    let begun = Instant::now();
    let calls = bare::read(record, &bare::NAMES);
    let names = begun.elapsed();
    let begun = Instant::now();
    let arguments = [
        &bare::NAMES[..],
        &["arguments", "effective_arguments", "redacted"],
    ]
    .concat();
    bare::read(record, &arguments);
    let arguments = begun.elapsed();
    let cedar = if rows > 0 {
        cedar(record, rows)
    } else {
        Asked::default()
    };
    let line = serde_json::json!({
        "calls": calls,
        "bare_names_s": names.as_secs_f64(),
        "bare_arguments_s": arguments.as_secs_f64(),
        "cedar_rows": cedar.rows,
        "cedar_s": cedar.seconds,
        "cedar_denied": cedar.denied,
        "cedar_unreadable": cedar.unreadable,
        "cedar_last_seq": cedar.last_seq,
    });
    println!("{line}");
}

#[derive(Default)]
struct Asked {
    rows: usize,
    seconds: f64,
    denied: usize,
    /// Arguments that Cedar has no values for: `null`, and numbers that are not whole.
    unreadable: usize,
    last_seq: i64,
}

/// Asks Cedar about the first rows that were judged, one after another on one core, from the columns that replay reads.
fn cedar(record: &Path, rows: usize) -> Asked {
    let authorizer = Authorizer::new();
    let policies: PolicySet = CAREFUL.parse().expect("the policies above are Cedar");
    let entities = Entities::empty();
    let type_name = |name: &str| name.parse::<EntityTypeName>().expect("a type name");
    let (action_type, agent_type, server_type) =
        (type_name("Action"), type_name("Agent"), type_name("Server"));
    let id = |kind: &EntityTypeName, name: &str| {
        EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name))
    };
    let columns = [
        "seq",
        "server",
        "grant",
        "tool",
        "arguments",
        "effective_arguments",
    ];
    let reader = RecordReader::open(record).expect("a record");
    let mut asked = Asked::default();
    let begun = Instant::now();
    for batch in reader.calls(&columns).expect("its files") {
        let batch = batch.expect("rows");
        let text = |name: &str| -> StringArray {
            let column: &ArrayRef = batch.column_by_name(name).expect("asked for");
            let plain = arrow::compute::cast(column, &DataType::Utf8).expect("text");
            plain.as_string::<i32>().clone()
        };
        let (server, grant, tool) = (text("server"), text("grant"), text("tool"));
        let (arguments, effective) = (text("arguments"), text("effective_arguments"));
        let seq = batch.column_by_name("seq").expect("asked for");
        let seq = seq.as_primitive::<arrow::datatypes::Int64Type>();
        for row in 0..batch.num_rows() {
            if tool.is_null(row) || arguments.is_null(row) {
                continue;
            }
            let told = if effective.is_null(row) {
                arguments.value(row)
            } else {
                effective.value(row)
            };
            asked.rows += 1;
            asked.last_seq = seq.value(row);
            let context = serde_json::from_str(told)
                .ok()
                .and_then(|told| Context::from_json_value(told, None).ok());
            match context {
                Some(context) => {
                    let request = Request::new(
                        id(&agent_type, grant.value(row)),
                        id(&action_type, tool.value(row)),
                        id(&server_type, server.value(row)),
                        context,
                        None,
                    );
                    let request = request.expect("a request without a schema");
                    let decision = authorizer
                        .is_authorized(&request, &policies, &entities)
                        .decision();
                    asked.denied += usize::from(black_box(decision) == Decision::Deny);
                }
                None => asked.unreadable += 1,
            }
            if asked.rows == rows {
                asked.seconds = begun.elapsed().as_secs_f64();
                return asked;
            }
        }
    }
    asked.seconds = begun.elapsed().as_secs_f64();
    asked
}
