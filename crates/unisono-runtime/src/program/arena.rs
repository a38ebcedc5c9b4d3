//! The layout of an arena: which bytes each value has while it is needed.
//!
//! The one idea: values that are never alive at the same time may share bytes. Largest first, each goes to the lowest
//! offset at which it fits beside those already placed whose lifetimes meet its own.

use unisono_tensor::mutant;

/// A value's need for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// How many bytes.
    pub bytes: usize,
    /// The step that writes it first.
    pub first: usize,
    /// The last step that touches it.
    pub last: usize,
}

/// The offsets, one per need, and the size of the arena; all are multiples of `alignment` bytes. `None` if the sizes overflow.
pub fn layout(needs: &[Need], alignment: usize) -> Option<(Vec<usize>, usize)> {
    let mut order: Vec<usize> = (0..needs.len()).collect();
    // The index breaks ties, so that a layout depends on nothing but its input.
    order.sort_by_key(|&i| (std::cmp::Reverse(needs[i].bytes), i));
    let mut offsets = vec![0; needs.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut size = 0usize;
    let mut taken: Vec<(usize, usize)> = Vec::new();
    for i in order {
        let need = needs[i];
        let bytes = need.bytes.checked_next_multiple_of(alignment)?;
        if bytes == 0 {
            continue;
        }
        taken.clear();
        let early = usize::from(mutant!(ArenaReusedEarly));
        let meets = |j: &&usize| {
            needs[**j].first + early <= need.last && need.first + early <= needs[**j].last
        };
        for &j in placed.iter().filter(meets) {
            taken.push((
                offsets[j],
                offsets[j] + needs[j].bytes.next_multiple_of(alignment),
            ));
        }
        taken.sort_unstable();
        let mut at = 0usize;
        for &(start, end) in &taken {
            if at.checked_add(bytes)? <= start {
                break;
            }
            at = at.max(end);
        }
        offsets[i] = at;
        size = size.max(at.checked_add(bytes)?);
        placed.push(i);
    }
    Some((offsets, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALIGNMENT: usize = 64;

    #[test]
    fn values_that_follow_each_other_share_bytes() {
        let chain: Vec<Need> = (0..10)
            .map(|i| Need {
                bytes: 1000,
                first: i,
                last: i + 1,
            })
            .collect();
        let (_, size) = layout(&chain, ALIGNMENT).unwrap();
        assert_eq!(size, 2 * 1024);
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let need = Need {
            bytes: usize::MAX - 3,
            first: 0,
            last: 0,
        };
        assert_eq!(layout(&[need], ALIGNMENT), None);
        let half = Need {
            bytes: usize::MAX / 2 + 1,
            first: 0,
            last: 0,
        };
        assert_eq!(layout(&[half, half], ALIGNMENT), None);
    }

    proptest! {
        #[test]
        fn values_alive_at_the_same_time_never_overlap(
            raw in prop::collection::vec((0usize..5000, 0usize..20, 0usize..6), 0..40)
        ) {
            let needs: Vec<Need> =
                raw.iter().map(|&(bytes, first, length)| Need { bytes, first, last: first + length }).collect();
            let (offsets, size) = layout(&needs, ALIGNMENT).unwrap();
            for (i, a) in needs.iter().enumerate() {
                prop_assert!(offsets[i] % ALIGNMENT == 0 && offsets[i] + a.bytes <= size);
                for (j, b) in needs.iter().enumerate().skip(i + 1) {
                    let meet = a.first <= b.last && b.first <= a.last;
                    let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                    prop_assert!(!meet || apart || a.bytes == 0 || b.bytes == 0);
                }
            }
        }
    }
}
