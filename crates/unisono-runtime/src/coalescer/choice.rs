//! Who shares a batch.
//!
//! The one idea: the oldest request is always in, and the others join it in the order of arrival as far as they fit. So
//! everybody's turn comes; and one that does not fit is overtaken by so many later ones at most as the rules say, because
//! the batch then closes.
//!
//! What is chosen never reaches a bit of an answer (contract C1): it is a matter of time alone.

use unisono_tensor::mutant;

use super::queue::Waiting;

/// What bounds a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How many later requests may overtake one.
    pub max_overtaken: u32,
    /// How many different kinds may share a batch.
    pub max_kinds: usize,
}

/// Moves those that share the next batch to the front of `waiting` and says how many they are: at least one, unless nobody waits.
/// `overtake` is called for every later one that goes ahead of one left behind.
pub fn choose(waiting: &mut [Waiting], rules: &Rules, mut overtake: impl FnMut(&Waiting)) -> usize {
    waiting.sort_unstable_by_key(|w| w.ticket);
    let Some(oldest) = waiting.first().map(|w| w.traits) else {
        return 0;
    };
    let mut kinds = smallvec::SmallVec::<[usize; 16]>::from_slice(&[oldest.kind]);
    let (mut rows, mut limit, mut chosen) = (oldest.rows, oldest.row_limit, 1);
    for i in 1..waiting.len() {
        let candidate = waiting[i];
        let known_kind = kinds.contains(&candidate.traits.kind);
        let akin = oldest.kind != 0
            && candidate.traits.kind != 0
            && (known_kind
                || (oldest.mixes && candidate.traits.mixes && kinds.len() < rules.max_kinds));
        let together = limit.min(candidate.traits.row_limit);
        let fits = rows.saturating_add(candidate.traits.rows) <= together;
        if !(akin && fits) {
            continue;
        }
        // Between those chosen and this one stand those left behind.
        let behind = &mut waiting[chosen..i];
        let full = |w: &Waiting| w.overtaken >= rules.max_overtaken;
        if behind.iter().any(full) && !mutant!(OvertakenWithoutBound) {
            break;
        }
        for left in behind {
            left.overtaken += 1;
            overtake(left);
        }
        rows += candidate.traits.rows;
        limit = together;
        if !known_kind {
            kinds.push(candidate.traits.kind);
        }
        // Keeps both parts in the order of arrival.
        waiting[chosen..=i].rotate_right(1);
        chosen += 1;
    }
    chosen
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::coalescer::queue::Traits;
    use proptest::prelude::*;

    const RULES: Rules = Rules {
        max_overtaken: 3,
        max_kinds: 4,
    };

    fn waiting(ticket: u64, kind: usize, rows: usize) -> Waiting {
        let traits = Traits {
            kind,
            rows,
            row_limit: 8,
            mixes: false,
        };
        Waiting::new(ticket, traits)
    }

    fn chosen(list: &mut [Waiting]) -> Vec<u64> {
        let n = choose(list, &RULES, |_| {});
        list[..n].iter().map(|w| w.ticket).collect()
    }

    /// Evidence: bounded-batch-rows
    #[test]
    fn those_of_one_kind_share_in_the_order_of_arrival_up_to_the_row_limit() {
        let mut list = [3, 1, 2, 4].map(|ticket| waiting(ticket, 1, 3));
        assert_eq!(chosen(&mut list), [1, 2]);
    }

    /// Evidence: bounded-overtaking
    #[test]
    fn a_small_one_passes_a_large_one_only_so_often() {
        let mut list: Vec<Waiting> = (3..10).map(|ticket| waiting(ticket, 1, 1)).collect();
        list.push(waiting(1, 1, 1));
        list.push(waiting(2, 1, 8));
        assert_eq!(chosen(&mut list), [1, 3, 4, 5]);
        // What was left behind keeps its count, and leads next time.
        let mut rest = list[4..].to_vec();
        assert_eq!(chosen(&mut rest), [2]);
    }

    #[test]
    fn kinds_mix_only_where_all_allow_it() {
        let mixed = |ticket, kind| {
            let mut w = waiting(ticket, kind, 1);
            w.traits.mixes = true;
            w
        };
        assert_eq!(
            chosen(&mut [mixed(1, 1), mixed(2, 2), waiting(3, 3, 1)]),
            [1, 2]
        );
        assert_eq!(chosen(&mut [waiting(1, 1, 1), mixed(2, 2)]), [1]);
        let mut many: Vec<Waiting> = (1..9).map(|i| mixed(i, i as usize)).collect();
        assert_eq!(chosen(&mut many).len(), RULES.max_kinds);
    }

    /// Evidence: alone-without-proof
    #[test]
    fn one_that_must_be_alone_is_alone() {
        assert_eq!(chosen(&mut [waiting(1, 0, 1), waiting(2, 0, 1)]), [1]);
        assert_eq!(
            chosen(&mut [waiting(1, 1, 1), waiting(2, 0, 1), waiting(3, 1, 1)]),
            [1, 3]
        );
    }

    #[test]
    fn one_above_its_own_limit_still_gets_its_turn() {
        assert_eq!(chosen(&mut [waiting(1, 1, 100), waiting(2, 1, 1)]), [1]);
    }

    proptest! {
        /// Evidence: bounded-overtaking, bounded-batch-rows
        #[test]
        fn everybody_is_served_and_overtaken_within_the_bound(
            arrivals in prop::collection::vec((0usize..4, 1usize..9, 1usize..9, any::<bool>()), 1..60),
            at_once in 1usize..10,
        ) {
            let mut arrivals = arrivals.into_iter().enumerate();
            let mut queue: Vec<Waiting> = Vec::new();
            let mut overtakes = std::collections::HashMap::new();
            loop {
                for (i, (kind, rows, row_limit, mixes)) in arrivals.by_ref().take(at_once) {
                    let traits = Traits { kind, rows, row_limit, mixes };
                    queue.push(Waiting::new(i as u64, traits));
                }
                if queue.is_empty() {
                    break;
                }
                let n = choose(&mut queue, &RULES, |_| {});
                prop_assert!(n >= 1);
                let batch: Vec<Waiting> = queue.drain(..n).collect();
                let rows: usize = batch.iter().map(|w| w.traits.rows).sum();
                prop_assert!(n == 1 || batch.iter().all(|w| rows <= w.traits.row_limit));
                prop_assert!(n == 1 || batch.iter().all(|w| w.traits.kind != 0));
                let oldest = queue.iter().map(|w| w.ticket).min().unwrap_or(u64::MAX);
                prop_assert!(batch.iter().any(|w| w.ticket < oldest));
                for left in &queue {
                    let later = batch.iter().filter(|w| w.ticket > left.ticket).count() as u32;
                    *overtakes.entry(left.ticket).or_insert(0) += later;
                    prop_assert!(overtakes[&left.ticket] <= RULES.max_overtaken);
                }
            }
        }
    }
}
