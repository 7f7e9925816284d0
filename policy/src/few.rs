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

    #[inline(always)]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
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

    #[inline(always)]
    pub(crate) fn push(&mut self, entry: T) {
        match self {
            Self::Any(list) if list.is_empty() => *self = Self::One([entry]),
            Self::One([one]) => *self = Self::Two([*one, entry]),
            Self::Two([one, two]) => *self = Self::Any(vec![*one, *two, entry]),
            Self::Any(list) => list.push(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushing_and_mapping_keep_the_order() {
        for count in 0..6_u8 {
            let source: Vec<u8> = (0..count).collect();
            let mut pushed = Few::NONE;
            for entry in &source {
                pushed.push(*entry);
            }
            assert_eq!(pushed.as_slice(), source);
            assert_eq!(Few::map(&source, |entry| *entry).as_slice(), source);
        }
    }
}
