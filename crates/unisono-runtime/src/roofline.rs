//! What a device can do at best, to set measured speeds beside it: operations a second, and bytes read a second.
//!
//! The one idea: a speed means something beside the ceilings of what it was measured on (Williams, Waterman, Patterson: "Roofline: an
//! insightful visual performance model", 2009). Every device measures its own, by loops that do nothing else.
//!
//! It must never decide anything: no kernel, tile or number of threads depends on what is measured here.

/// A rate over some rounds, in units per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The slowest round.
    pub lowest: f64,
    /// The round in the middle.
    pub median: f64,
    /// The fastest round: what the machine can do when nobody disturbs it.
    pub best: f64,
}

impl Rate {
    /// Of the rates of some rounds; zeros if there are none.
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Rate {
        let mut rates: Vec<f64> = rounds.into_iter().collect();
        rates.sort_by(f64::total_cmp);
        let at = |i: usize| rates.get(i).copied().unwrap_or(0.0);
        Rate {
            lowest: at(0),
            median: at(rates.len() / 2),
            best: at(rates.len().saturating_sub(1)),
        }
    }
}

/// The ceilings of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Ceilings {
    /// The instructions or the architecture, such as `avx512` or `sm_90`.
    pub isa: String,
    /// What computes beside each other: `thread`, or `processor` on a GPU, whose processors each run many threads.
    pub unit: &'static str,
    /// How many of those "all" means.
    pub units: usize,
    /// Floating-point operations per second in f32 on one of them, a multiply-add being two.
    pub one_unit: Rate,
    /// The same on all together.
    pub all_units: Rate,
    /// Bytes per second that all together read from memory, each its own part of [`Ceilings::memory_bytes`].
    pub memory: Rate,
    /// The length of that stream: larger than the caches of all but the largest devices.
    pub memory_bytes: usize,
    /// The same for a stream of `weight_bytes`, read again and again: the level of the memory that holds as much.
    pub weights: Rate,
    /// The length of that stream.
    pub weight_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn a_rate_is_the_slowest_the_middle_and_the_fastest_round() {
        let rate = Rate::of([3.0, 1.0, 2.0]);
        assert_eq!((rate.lowest, rate.median, rate.best), (1.0, 2.0, 3.0));
        assert_eq!(Rate::of([]).best, 0.0);
    }
}
