//! The known word that an unknown one was most likely meant to be.

/// ``did you mean `tool`?``, if some known word is near.
pub(super) fn hint(word: &str, known: &[&str]) -> Option<String> {
    let near = |candidate: &&&str| {
        distance(&word.to_lowercase(), candidate) <= candidate.len().div_ceil(3).max(1)
    };
    let nearest = known
        .iter()
        .filter(near)
        .min_by_key(|candidate| distance(&word.to_lowercase(), candidate))?;
    Some(format!("did you mean `{nearest}`?"))
}

/// `a`, `b` and `c`, in back-ticks.
pub(super) fn list(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// How many letters must be put in, left out, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at =
                |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&last, j) + usize::from(x != y);
            let mut best = replaced.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_named_and_far_ones_are_not() {
        let known = ["require", "deny_if", "limits", "rate_limit"];
        assert_eq!(
            hint("limit", &known).as_deref(),
            Some("did you mean `limits`?")
        );
        assert_eq!(
            hint("denyif", &known).as_deref(),
            Some("did you mean `deny_if`?")
        );
        assert_eq!(
            hint("Require", &known).as_deref(),
            Some("did you mean `require`?")
        );
        assert_eq!(
            hint("reqiure", &known).as_deref(),
            Some("did you mean `require`?")
        );
        assert_eq!(hint("colour", &known), None);
    }

    #[test]
    fn a_swap_counts_once() {
        assert_eq!(distance("abcd", "abdc"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
