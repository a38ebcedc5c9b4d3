//! The few statistics of the benchmark, and what counts as the same answer.

/// A middle value with the whole range around it: with a handful of rounds, nothing finer would be honest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Spread {
    /// Of values in any order; none of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + upper) / 2.0,
            _ => upper,
        };
        Some(Spread {
            median,
            lowest: *sorted.first()?,
            highest: *sorted.last()?,
        })
    }
}

/// The ratio of two series, round by round.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> Option<Spread> {
    Spread::of(ours.iter().zip(theirs).map(|(a, b)| a / b))
}

/// Which engine of `count` comes at a place of a round: the order moves on by one each round, so that no engine always
/// follows the same one or always comes first.
pub fn in_turn(round: usize, place: usize, count: usize) -> usize {
    (round + place) % count.max(1)
}

/// The largest error of `a` against `b` as a share of what is allowed, `1e-4 |b| + 1e-5 max|b|`, as `cargo xtask compare`
/// has it: at most 1 is agreement, infinity is no comparison.
pub fn share_of_allowed(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let finite = b.iter().filter(|value| value.is_finite());
    let largest = finite.fold(0.0, |largest, value| f64::from(value.abs()).max(largest));
    let share = |(a, b): (&f32, &f32)| {
        if a == b || (a.is_nan() && b.is_nan()) {
            return 0.0;
        }
        let (a, b) = (f64::from(*a), f64::from(*b));
        let share = (a - b).abs() / (1e-4 * b.abs() + 1e-5 * largest);
        if share.is_nan() { f64::INFINITY } else { share }
    };
    a.iter().zip(b).map(share).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_both_ends() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(
            (spread.lowest, spread.median, spread.highest),
            (1.0, 2.0, 3.0)
        );
        assert_eq!(Spread::of([1.0, 4.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        // Both halve in the second round: the machine was slow, the ratio was not.
        let spread = ratio(&[20.0, 10.0, 22.0], &[10.0, 5.0, 10.0]).unwrap();
        assert_eq!(
            (spread.lowest, spread.median, spread.highest),
            (2.0, 2.0, 2.2)
        );
    }

    #[test]
    fn every_engine_has_its_turn_in_every_round_and_at_every_place() {
        for count in 1..6 {
            for fixed in 0..count {
                let mut in_a_round: Vec<_> = (0..count).map(|p| in_turn(fixed, p, count)).collect();
                let mut at_a_place: Vec<_> = (0..count).map(|r| in_turn(r, fixed, count)).collect();
                in_a_round.sort_unstable();
                at_a_place.sort_unstable();
                assert_eq!(in_a_round, (0..count).collect::<Vec<_>>());
                assert_eq!(at_a_place, in_a_round);
            }
        }
    }

    #[test]
    fn agreement_is_relative_with_room_for_small_values() {
        assert_eq!(share_of_allowed(&[1.0, f32::NAN], &[1.0, f32::NAN]), 0.0);
        assert!(share_of_allowed(&[1.00005, 1e-6], &[1.0, 0.0]) < 1.0);
        assert!(share_of_allowed(&[1.0002], &[1.0]) > 1.0);
        for (a, b) in [
            (&[1.0][..], &[][..]),
            (&[f32::NAN], &[1.0]),
            (&[1.0], &[f32::NAN]),
            (&[f32::INFINITY], &[1.0]),
        ] {
            assert!(share_of_allowed(a, b) > 1.0, "{a:?} {b:?}");
        }
    }
}
