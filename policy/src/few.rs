//! A list that nearly always has one or two entries, and then lives where it stands.

#![expect(
    clippy::inline_always,
    reason = "the hot path: its results are large, and must not be moved"
)]

/// Entries in order. Up to two of them allocate nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Few<T> {
    One([T; 1]),
    Two([T; 2]),
    Any(Vec<T>),
}

impl<T: Copy> Few<T> {
    pub(crate) const NONE: Self = Self::Any(Vec::new());

    #[inline(always)]
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(list) => list,
            Self::Two(list) => list,
            Self::Any(list) => list,
        }
    }

    /// One entry for each of `list`.
    #[inline(always)]
    pub(crate) fn map<'u, U>(list: &'u [U], mut each: impl FnMut(&'u U) -> T) -> Self {
        match list {
            [one] => Self::One([each(one)]),
            [one, two] => Self::Two([each(one), each(two)]),
            list => Self::Any(list.iter().map(each).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapping_keeps_the_order() {
        for count in 0..6_u8 {
            let source: Vec<u8> = (0..count).collect();
            assert_eq!(Few::map(&source, |entry| *entry).as_slice(), source);
        }
    }
}
