//! Charts drawn as SVG: nothing in them but numbers.

use std::fmt::Write as _;

use super::super::words::{calls, second};
use super::super::{Changes, Moment};
use crate::measure::grouped;

/// Width and height of the chart, and the room for its labels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 54.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 26.0;

/// What is drawn of changes, from below.
fn parts(changes: &Changes) -> [(&'static str, u64); 3] {
    [
        ("denied", changes.newly_denied),
        ("held", changes.newly_held),
        ("allowed", changes.newly_allowed),
    ]
}

/// Flips over time, as stacked columns.
pub(super) fn over_time(moments: &[Moment]) -> String {
    let most = moments.iter().map(|m| m.changes.flips()).max().unwrap_or(0);
    let (Some(first), Some(last)) = (moments.first(), moments.last()) else {
        return String::new();
    };
    if most == 0 {
        return String::new();
    }
    let top = round_up(most);
    let plot = HEIGHT - TOP - BOTTOM;
    let y = |count: u64| TOP + plot * (1.0 - count as f64 / top as f64);
    let step = (WIDTH - LEFT) / moments.len() as f64;
    let mut svg = format!(
        "<section><h2>Over time</h2><svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"calls that would have gone another way, over time\">"
    );
    for count in [0, top / 2, top] {
        let _fine = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{x}\" y=\"{t:.1}\" text-anchor=\"end\">{text}</text>",
            y = y(count),
            x = LEFT - 6.0,
            t = y(count) + 4.0,
            text = grouped(count)
        );
    }
    for (nth, moment) in moments.iter().enumerate() {
        let x = LEFT + step * nth as f64;
        let mut below = 0;
        for (tone, count) in parts(&moment.changes) {
            if count > 0 {
                let height = (y(below) - y(below + count)).max(0.75);
                let _fine = write!(
                    svg,
                    "<rect class=\"{tone}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{} to {}: {} {tone}</title></rect>",
                    x + step * 0.08,
                    y(below + count),
                    (step * 0.84).max(0.5),
                    second(moment.from),
                    second(moment.to),
                    calls(count)
                );
            }
            below += count;
        }
    }
    let middle = moments
        .get(moments.len() / 2)
        .map_or(first.from, |m| m.from);
    let labels = [
        (LEFT, "start", first.from),
        (f64::midpoint(LEFT, WIDTH), "middle", middle),
        (WIDTH, "end", last.to),
    ];
    for (x, anchor, at) in labels {
        let _fine = write!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - 8.0,
            second(at)
        );
    }
    let mut total = Changes::default();
    for moment in moments {
        total.add(&moment.changes);
    }
    svg.push_str("</svg><p class=\"legend\">");
    for (tone, count) in parts(&total).into_iter().filter(|(_, count)| *count > 0) {
        let _fine = write!(
            svg,
            "<span><i class=\"{tone}\"></i>newly {tone} {}</span>",
            grouped(count)
        );
    }
    svg.push_str("</p></section>");
    svg
}

/// The flips of one row beside the most of any row.
pub(super) fn bar(changes: &Changes, most: u64) -> String {
    let mut svg = String::from(
        "<svg viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
    );
    let mut x = 0.0;
    for (tone, count) in parts(changes) {
        let width = 100.0 * count as f64 / most.max(1) as f64;
        if count > 0 {
            let _fine = write!(
                svg,
                "<rect class=\"{tone}\" x=\"{x:.2}\" y=\"1\" width=\"{:.2}\" height=\"8\"/>",
                width.max(0.5)
            );
        }
        x += width;
    }
    svg.push_str("</svg>");
    svg
}

/// The least of 2, 4, 10, 20, 40, 100, … that is not less.
fn round_up(count: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for digit in [2, 4, 10] {
            let top = power.saturating_mul(digit);
            if top >= count {
                return top;
            }
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::round_up;

    #[test]
    fn an_axis_ends_at_a_round_number() {
        let tops = [1, 2, 3, 5, 11, 40, 41, 4001, u64::MAX].map(round_up);
        assert_eq!(tops, [2, 2, 4, 10, 20, 40, 100, 10_000, u64::MAX]);
    }
}
