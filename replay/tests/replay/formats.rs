//! Reports for other programs to draw: what they say, and that nothing recorded in them is ever more than text.

use serde_json::Value;
use weir_replay::{Budget, Class, Flips, ReplayOptions, Report, replay};

use crate::support::{Asked, Record, SECOND, SIX, Scribe};

const OPEN: &str = r#"{"version":"1","default":"allow"}"#;
const CLOSED: &str = "{\n \"version\": \"1\",\n \"default\": \"allow\",\n \"tools\": {\n  \"vm_stop\": {\"limits\": [{\"counter\": \"stops\", \"window\": \"minute\", \"max\": 2}]},\n  \"*\": {\"deny_if\": [{\"conditions\": [], \"on_deny\": \"</q><script>1</script> | `x` @team\"}]}\n }\n}";

/// What a caller may choose, chosen badly.
const HOSTILE: [&str; 5] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "a|b`c`\n# d @team [x](https://e.f) ***g***",
    "&lt;b&gt; &amp; ' --> ]]> <!--",
    "\u{202e}\u{1b}[2J\u{0}\u{feff}\u{ffff}</pre></svg></style>",
];

fn hostile() -> Record {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(OPEN);
    for (turn, text) in HOSTILE.iter().enumerate() {
        let arguments = serde_json::json!({ *text: [text] }).to_string();
        let asked = Asked {
            server: text,
            grant: text,
            session: text,
            tool: text,
            arguments: &arguments,
        };
        scribe.ended(SIX + turn as i64 * SECOND, Some(&policy), asked);
    }
    for turn in 0..5 {
        let stop = Asked::tool("vm_stop", r#"{"id":7}"#);
        scribe.ended(SIX + 60 * SECOND + turn, Some(&policy), stop);
    }
    scribe.close()
}

fn report(candidate: &str) -> Report {
    let record = hostile();
    let options = ReplayOptions {
        flips: Flips::All,
        ..record.options(candidate)
    };
    replay(&options).unwrap()
}

/// The tags of a document, with everything between `<` and `>`.
fn tags(document: &str) -> Vec<&str> {
    let parts = document.split('<').skip(1);
    parts
        .map(|part| part.split_once('>').expect("a tag ends").0)
        .collect()
}

/// Whether each tag that begins ends, in order.
#[track_caller]
fn is_balanced(tags: &[&str], alone: &[&str]) {
    let mut open = Vec::new();
    for tag in tags {
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        if tag.starts_with(['?', '!']) || tag.ends_with('/') || alone.contains(&name) {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "<{tag}>");
        } else {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0]);
}

/// The elements that a page is made of.
const KNOWN: [&str; 44] = [
    "!doctype", "html", "head", "meta", "title", "style", "body", "main", "header", "p", "h1",
    "h2", "ul", "li", "b", "span", "small", "section", "table", "thead", "tbody", "tr", "th", "td",
    "code", "pre", "br", "em", "q", "abbr", "i", "svg", "g", "line", "text", "rect", "footer", "a",
    "div", "nav", "ol", "dl", "dt", "dd",
];

#[test]
fn no_recorded_text_becomes_markup_in_the_page() {
    let report = report(CLOSED);
    assert_eq!(report.classes.of(Class::NewlyDenied), 8);
    let page = report.html();
    let tags = tags(&page);
    is_balanced(&tags, &["meta", "br"]);
    // Whatever attributes there are, Weir wrote them: none loads or runs anything.
    for tag in &tags {
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        assert!(KNOWN.contains(&name), "<{tag}>");
        for danger in [" src=", " href=", " on", "javascript:", "url("] {
            assert!(!tag.contains(danger), "<{tag}>");
        }
    }
    assert!(!page.contains("<script") && !page.contains("<img"));
    for hidden in ['\u{202e}', '\u{1b}', '\u{0}', '\u{feff}', '\u{ffff}'] {
        assert!(!page.contains(hidden), "{hidden:?}");
    }
    // And yet it is all there to be read.
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{page}"
    );
}

#[test]
fn the_page_shows_time_tools_rules_grants_flips_and_the_policies_difference() {
    let page = report(CLOSED).html();
    for part in [
        "8 calls would have gone another way",
        "<h2>Over time</h2><svg",
        "<h2>By tool</h2>",
        "<h2>By rule</h2>",
        "<h2>By grant</h2>",
        "/tools/vm_stop/limits/stops",
        "{&quot;id&quot;:7}",
        "<span class=\"ins\">+   &quot;tools&quot;: {</span>",
        "NOT VERIFIED",
        "prefers-color-scheme:dark",
        "@media print",
        "default-src 'none'",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    let record = hostile();
    let own = replay(&record.own()).unwrap().html();
    assert!(
        own.contains("No call would have gone another way."),
        "{own}"
    );
    assert!(!own.contains("<svg class=\"chart\""));
}

#[test]
fn what_is_uncertain_is_told_with_its_reason_in_every_format() {
    let record = hostile();
    std::fs::remove_dir_all(record.path().join("policies")).unwrap();
    let report = replay(&record.options(CLOSED)).unwrap();
    let budget = Budget {
        min_coverage: Some(1.0),
        ..Budget::default()
    };
    for told in [report.html(), report.text(), report.junit(&budget)] {
        assert!(told.contains("policy not kept"), "{told}");
    }
    assert!(report.markdown().contains("| policy not kept | 10 |"));
}

#[test]
fn no_recorded_text_breaks_a_table_of_the_markdown_or_mentions_anybody() {
    let page = report(CLOSED).markdown();
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let cells = line.matches('|').count() - 1;
        assert!([2, 3, 4, 5, 6].contains(&cells), "{line}");
        assert!(!line.contains('@') && !line.contains('`'), "{line}");
    }
    let tags = tags(&page);
    for tag in &tags {
        let known = ["details", "summary", "sub"];
        assert!(known.contains(&tag.trim_start_matches('/')), "<{tag}>");
    }
    assert!(
        page.contains("**8 calls would have gone another way"),
        "{page}"
    );
    assert!(page.contains("&#60;script&#62;alert&#40;1&#41;"), "{page}");
    assert!(page.contains("| tool | calls | denied | held | allowed |"));
}

#[test]
fn junit_fails_where_the_exit_code_says_so() {
    let report = report(CLOSED);
    let within = report.junit(&Budget::default());
    is_balanced(&tags(&within), &[]);
    assert!(within.contains("failures=\"0\"") && !within.contains("<failure"));
    let budget = Budget {
        max_newly_denied: Some(3),
        ..Budget::default()
    };
    let over = report.junit(&budget);
    is_balanced(&tags(&over), &[]);
    assert_eq!(over.matches("<failure").count(), 1, "{over}");
    assert!(
        over.contains("8 calls are newly denied or held, and at most 3 may be"),
        "{over}"
    );
    assert!(!over.contains("<script") && !over.contains('\u{0}'));
}

#[test]
fn sarif_names_each_rule_at_its_line_of_the_candidate() {
    let report = report(CLOSED);
    let sarif: Value = serde_json::from_str(&report.sarif()).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let results = run["results"].as_array().unwrap();
    let lines: Vec<_> = results
        .iter()
        .map(|result| {
            let place = &result["locations"][0]["physicalLocation"];
            assert_eq!(place["artifactLocation"]["uri"], "candidate.json");
            let line = place["region"]["startLine"].as_u64().unwrap();
            (result["ruleId"].as_str().unwrap(), line)
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("/tools/*/deny_if/always", 6),
            ("/tools/vm_stop/limits/stops", 5)
        ]
    );
    assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 2);
}
