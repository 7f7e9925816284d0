//! Chance that begins at a seed: SplitMix64 (Steele, Lea, Flood 2014), which is small, fast and the same everywhere.

/// A source of numbers.
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The same seed throws the same numbers.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `sides`.
    pub fn throw(&mut self, sides: u64) -> u64 {
        self.next() % sides.max(1)
    }

    /// From 0 to below 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something happens that happens in `share` of all cases.
    pub fn happens(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// A span of time around `mean` microseconds, as gaps between independent events are spread.
    pub fn span(&mut self, mean: f64) -> i64 {
        (-(1.0 - self.share()).ln() * mean) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn the_same_seed_throws_the_published_numbers() {
        // The reference sequence of SplitMix64 for the seed 1234567.
        let mut dice = Dice::new(1_234_567);
        assert_eq!(
            [dice.next(), dice.next(), dice.next()],
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn spans_have_the_mean_they_should() {
        let mut dice = Dice::new(1);
        let sum: i64 = (0..100_000).map(|_| dice.span(1000.0)).sum();
        assert!((95_000_000..105_000_000).contains(&sum), "{sum}");
    }
}
