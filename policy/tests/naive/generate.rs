//! Random policies, calls and times, drawn from small pools so that rules do meet values.

use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::call::Role;
use crate::json::J;

const NAMES: [&str; 7] = [
    "vm_stop",
    "vm_start",
    "app_stop",
    "truenas",
    "vm:unmatched",
    "resource:nas://vms/1",
    "method:x/y",
];
const KEYS: [&str; 14] = [
    "vm_stop",
    "vm_start",
    "app_stop",
    "truenas",
    "vm:unmatched",
    "resource:nas://vms/1",
    "vm_*",
    "*",
    "*_stop",
    "{vm,app}_stop",
    "vm_?top",
    "resource:*",
    "[a-v]*",
    "vm_[!x]t*",
];
const HIDDEN: [&str; 7] = [
    "app_stop",
    "truenas",
    "vm_sta*",
    "resource:nas:*",
    "method:*",
    "{a,b}*",
    "zzz",
];
const NUMBERS: [&str; 22] = [
    "0",
    "-0",
    "1",
    "1.0",
    "2",
    "7",
    "7.0",
    "7e0",
    "70e-1",
    "0.7E+1",
    "3",
    "12",
    "18",
    "0.5",
    "0.0000001",
    "-1",
    "-2.5",
    "9007199254740992",
    "9007199254740993",
    "9007199254740993.0",
    "18446744073709551616",
    "2.5000001",
];
const TEXTS: [&str; 13] = [
    "",
    "a",
    "ab",
    "vm_stop",
    "g1",
    "7",
    "true",
    "ä",
    "10.1.2.3",
    "::ffff:10.1.2.3",
    "fd00::7",
    "192.168.0.1",
    "z\u{10000}",
];
const PATHS: [&str; 20] = [
    "args.a",
    "args.a",
    "args.b",
    "args.b",
    "args.n",
    "args.n",
    "args.ids.*",
    "args.ids.0",
    "args.ids",
    "args.rows.*.k",
    "args.rows.*.ids.*",
    "args[\"a.b\"]",
    "tool",
    "wire_tool",
    "server",
    "grant",
    "session",
    "client.name",
    "time.hour",
    "time.weekday",
];
const COUNTED: [&str; 7] = [
    "args.a",
    "args.b",
    "args.n",
    "args.ids.0",
    "args.ids",
    "tool",
    "client.name",
];

/// One step of a history.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) readings: Vec<(String, Role, J)>,
    pub(crate) grant: &'static str,
    pub(crate) session: &'static str,
    pub(crate) server: &'static str,
    pub(crate) client: &'static str,
    /// Microseconds since the event before.
    pub(crate) after: i64,
    pub(crate) received_at: i64,
    /// An earlier admission to give back before this call, counted backwards.
    pub(crate) back: Option<usize>,
}

pub(crate) fn policy() -> impl Strategy<Value = J> {
    let tools = subsequence(KEYS.to_vec(), 0..7).prop_shuffle();
    let rules = vec(rules(), 7);
    let hide = vec(select(HIDDEN.to_vec()).prop_map(J::str), 0..2).prop_map(J::Arr);
    let all = of(vec(limit(), 0..3).prop_map(|limits| J::obj([("limits", J::Arr(limits))])));
    (
        select(vec!["allow", "deny"]),
        tools,
        rules,
        weighted(0.3, hide),
        all,
    )
        .prop_map(|(default, tools, rules, hide, all)| {
            let tools = tools
                .into_iter()
                .map(ToOwned::to_owned)
                .zip(rules)
                .collect();
            let document = J::obj([
                ("version", J::str("1")),
                ("default", J::str(default)),
                ("tools", J::Obj(tools)),
            ]);
            with(with(document, "hide", hide), "all_tools", all)
        })
}

pub(crate) fn rules() -> impl Strategy<Value = J> {
    let few = |strategy, most| weighted(0.2, vec(strategy, 0..=most).prop_map(J::Arr));
    let action = weighted(
        0.1,
        select(vec!["allow", "deny", "approve"]).prop_map(J::str),
    );
    let rate = weighted(
        0.2,
        limit().prop_map(|limit| match limit {
            J::Obj(members) => J::Obj(
                members
                    .into_iter()
                    .filter(|(key, _)| key != "counter")
                    .collect(),
            ),
            other => other,
        }),
    );
    let approve = weighted(0.15, vec(predicate(), 0..=2).prop_map(J::Arr));
    (
        few(predicate(), 2),
        few(predicate(), 3),
        weighted(0.8, limits()),
        approve,
        action,
        rate,
    )
        .prop_map(|(require, deny_if, limits, approve_if, action, rate)| {
            let rules = with(
                with(J::Obj(Vec::new()), "require", require),
                "deny_if",
                deny_if,
            );
            let rules = with(with(rules, "limits", limits), "approve_if", approve_if);
            with(with(rules, "action", action), "rate_limit", rate)
        })
}

/// Policies as people write them: one tool each, whose rules each refuse something that the others let through.
pub(crate) fn tight() -> impl Strategy<Value = J> {
    let require = subsequence(
        vec![
            condition_of("args.n", "type", J::str("integer")),
            condition_of("args.n", "lte", J::Num("40".into())),
            condition_of("args.a", "regex", J::str("^[a-z]+$")),
            condition_of("args.ids.*", "type", J::str("string")),
            condition_of("args.b", "in", J::Arr(vec![J::str("x"), J::str("y")])),
            condition_of("args.ip", "cidr", J::Arr(vec![J::str("10.0.0.0/8")])),
            condition_of("grant", "eq", J::str("g1")),
        ],
        0..5,
    );
    let deny_if = subsequence(
        vec![
            condition_of("args.force", "eq", J::Bool(true)),
            condition_of(
                "args.n",
                "in",
                J::Arr(vec![J::Num("1".into()), J::Num("7".into())]),
            ),
            condition_of("args.a", "glob", J::str("prod*")),
            condition_of("args.ids.*", "eq", J::str("all")),
            condition_of("args.name", "contains", J::str("..")),
            condition_of("time.hour", "lt", J::Num("6".into())),
            condition_of("client.name", "regex", J::str("(?i)test")),
        ],
        0..5,
    );
    let limits = subsequence(
        vec![
            limit_of("stops", "\"minute\"", "5", &[]),
            limit_of("each", "3600", "20", &["args.n"]),
            limit_of("day", "\"day\"", "50", &[]),
        ],
        0..3,
    );
    (require, deny_if, limits).prop_map(|(require, deny_if, limits)| {
        let rules = J::obj([
            ("require", J::Arr(require)),
            ("deny_if", J::Arr(deny_if)),
            ("limits", J::Arr(limits)),
        ]);
        J::obj([
            ("version", J::str("1")),
            ("default", J::str("deny")),
            ("tools", J::obj([("vm_stop", rules)])),
        ])
    })
}

fn condition_of(path: &str, op: &str, value: J) -> J {
    let condition = J::obj([("path", J::str(path)), ("op", J::str(op)), ("value", value)]);
    J::obj([("conditions", J::Arr(vec![condition]))])
}

fn limit_of(counter: &str, window: &str, max: &str, per: &[&str]) -> J {
    let window = match window.strip_prefix('"') {
        Some(text) => J::str(text.trim_end_matches('"')),
        None => J::Num(window.into()),
    };
    J::obj([
        ("counter", J::str(counter)),
        ("window", window),
        ("max", J::Num(max.into())),
        ("per", J::Arr(per.iter().map(|path| J::str(path)).collect())),
    ])
}

fn with(object: J, key: &str, value: Option<J>) -> J {
    match (object, value) {
        (J::Obj(mut members), Some(value)) => {
            members.push((key.to_owned(), value));
            J::Obj(members)
        }
        (object, _) => object,
    }
}

fn predicate() -> impl Strategy<Value = J> {
    prop_oneof![
        1 => Just(J::obj([("conditions", J::Arr(Vec::new()))])),
        14 => vec(condition(), 1..=3).prop_map(|conditions| J::obj([("conditions", J::Arr(conditions))])),
    ]
}

fn condition() -> impl Strategy<Value = J> {
    let operand = || prop_oneof![4 => scalar(), 1 => value()];
    let text = |pool: &[&'static str]| select(pool.to_vec()).prop_map(J::str);
    let operator = prop_oneof![
        (select(vec!["eq", "neq", "contains"]), operand()),
        (
            select(vec!["lt", "lte", "gt", "gte"]),
            prop_oneof![num(), text(&TEXTS)]
        ),
        (
            select(vec!["in", "not_in"]),
            vec(scalar(), 0..4).prop_map(J::Arr)
        ),
        (Just("exists"), any::<bool>().prop_map(J::Bool)),
        (
            Just("regex"),
            text(&["^vm", "p$", "a.?", "", "^\\d+$", "(?i)A"])
        ),
        (
            Just("type"),
            text(&[
                "integer", "number", "string", "boolean", "array", "object", "null"
            ])
        ),
        (
            Just("glob"),
            text(&["vm_*", "?", "*", "[a-z]*", "{a,ab}", "\\a*"])
        ),
        (
            Just("cidr"),
            vec(
                text(&[
                    "10.0.0.0/8",
                    "10.1.2.3/32",
                    "fd00::/8",
                    "0.0.0.0/0",
                    "::ffff:10.0.0.0/104"
                ]),
                0..3
            )
            .prop_map(J::Arr)
        ),
    ];
    (select(PATHS.to_vec()), operator).prop_map(|(path, (op, value))| {
        J::obj([("path", J::str(path)), ("op", J::str(op)), ("value", value)])
    })
}

/// Now and then one of them twice, with another `max`: they share a counter.
fn limits() -> impl Strategy<Value = J> {
    let twin = weighted(0.3, select(vec!["2", "5"]));
    (vec(limit(), 0..=3), twin).prop_map(|(mut limits, twin)| {
        if let (Some(J::Obj(first)), Some(max)) = (limits.first().cloned(), twin) {
            let others = first.into_iter().filter(|(key, _)| key != "max");
            let max = ("max".to_owned(), J::Num(max.into()));
            limits.push(J::Obj(others.chain([max]).collect()));
        }
        J::Arr(limits)
    })
}

fn limit() -> impl Strategy<Value = J> {
    let window = prop_oneof![
        text_of(&["second", "minute"]),
        select(vec!["5", "7", "60"]).prop_map(|n| J::Num(n.into()))
    ];
    let max =
        select(vec!["0", "1", "1", "2", "3", "3.0", "7", "20"]).prop_map(|n| J::Num(n.into()));
    let scope = of(text_of(&["grant", "session", "server", "node"]));
    let per = weighted(
        0.4,
        subsequence(COUNTED.to_vec(), 0..3)
            .prop_map(|paths| J::Arr(paths.into_iter().map(J::str).collect())),
    );
    let increment = weighted(0.3, text_of(&["args.n", "args.a"]));
    (
        text_of(&["x", "x", "x", "y", "a/b~"]),
        window,
        max,
        scope,
        of(any::<bool>().prop_map(J::Bool)),
        per,
        increment,
    )
        .prop_map(|(counter, window, max, scope, sliding, per, increment)| {
            let limit = J::obj([("counter", counter), ("window", window), ("max", max)]);
            let limit = with(with(limit, "scope", scope), "sliding", sliding);
            with(with(limit, "per", per), "increment_from", increment)
        })
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let who = (
        select(vec!["g1", "g1", "g2"]),
        select(vec!["s1", "s1", "s2"]),
        select(vec!["n1", "n1", "n2"]),
    );
    let after = prop_oneof![
        Just(0),
        1_i64..1_000,
        Just(1_000_000),
        Just(5_000_000),
        0_i64..9_000_000,
        Just(60_000_000)
    ];
    let received_at = -100_000_000_000_000_i64..2_000_000_000_000_000;
    (
        readings(),
        who,
        select(vec!["", "claude", "g1"]),
        after,
        received_at,
        weighted(0.3, 0_usize..6),
    )
        .prop_map(
            |(readings, (grant, session, server), client, after, received_at, back)| Event {
                readings,
                grant,
                session,
                server,
                client,
                after,
                received_at,
                back,
            },
        )
}

fn readings() -> impl Strategy<Value = Vec<(String, Role, J)>> {
    use Role::{Dispatcher, Full, LiteralOnly};
    let roles = prop_oneof![
        6 => Just(vec![Full]),
        2 => Just(vec![Dispatcher, Full]),
        1 => Just(vec![LiteralOnly]),
        1 => Just(vec![Full, LiteralOnly]),
        1 => Just(vec![Full, Full]),
        1 => Just(vec![Dispatcher, Full, Full]),
    ];
    let name = || prop_oneof![4 => Just("vm_stop"), 3 => select(NAMES.to_vec())];
    (roles, vec((name(), arguments()), 3)).prop_map(|(roles, calls)| {
        roles
            .into_iter()
            .zip(calls)
            .map(|(role, (name, args))| (name.to_owned(), role, args))
            .collect()
    })
}

fn arguments() -> impl Strategy<Value = J> {
    let ids = || prop_oneof![6 => vec(scalar(), 0..3).prop_map(J::Arr), 1 => scalar()];
    let row = (of(scalar()), of(ids()))
        .prop_map(|(k, ids)| with(with(J::Obj(Vec::new()), "k", k), "ids", ids));
    let rows = vec(row, 0..3).prop_map(J::Arr);
    (
        of(scalar()),
        of(value()),
        of(num()),
        of(ids()),
        of(rows),
        of(scalar()),
    )
        .prop_map(|(a, b, n, ids, rows, dotted)| {
            let args = with(with(with(J::Obj(Vec::new()), "a", a), "b", b), "n", n);
            with(with(with(args, "ids", ids), "rows", rows), "a.b", dotted)
        })
}

fn scalar() -> impl Strategy<Value = J> {
    prop_oneof![
        4 => num(),
        4 => text_of(&TEXTS),
        1 => Just(J::Null),
        1 => any::<bool>().prop_map(J::Bool),
    ]
}

fn value() -> impl Strategy<Value = J> {
    scalar().prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(J::Arr),
            (inner.clone(), inner).prop_map(|(k, l)| J::obj([("k", k), ("l", l)])),
        ]
    })
}

fn num() -> impl Strategy<Value = J> {
    select(NUMBERS.to_vec()).prop_map(|text| J::Num(text.into()))
}

fn text_of(pool: &[&'static str]) -> impl Strategy<Value = J> + use<> {
    select(pool.to_vec()).prop_map(J::str)
}
