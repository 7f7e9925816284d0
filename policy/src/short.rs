//! Equality of short texts without a call: names and keys are mostly shorter than what `memcmp` is made for.

#![expect(
    clippy::inline_always,
    reason = "the hot path: a call would cost more than the comparison"
)]

/// Whether two texts are the same. Up to sixteen bytes are compared as two words that may overlap.
#[inline(always)]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        0..4 => a.iter().zip(b).all(|(a, b)| a == b),
        4..8 => ends_are_same::<4>(a, b),
        8..=16 => ends_are_same::<8>(a, b),
        _ => a == b,
    }
}

/// Whether the first and the last `N` bytes are the same.
#[inline(always)]
fn ends_are_same<const N: usize>(a: &[u8], b: &[u8]) -> bool {
    a.first_chunk::<N>() == b.first_chunk::<N>() && a.last_chunk::<N>() == b.last_chunk::<N>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_are_the_same_only_where_every_byte_is() {
        for length in 0..40 {
            let text: Vec<u8> = (0..length).collect();
            assert!(same(&text, &text.clone()), "{length}");
            assert!(!same(&text, &[text.as_slice(), b"x"].concat()), "{length}");
            for place in 0..text.len() {
                let mut other = text.clone();
                for byte in other.iter_mut().skip(place).take(1) {
                    *byte ^= 1;
                }
                assert!(!same(&text, &other), "{length} {place}");
            }
        }
    }
}
