//! The samples of every output index along one axis, looked up instead of computed.

use std::ops::Range;

use unisono_graph::ops::resize::Resize;
use unisono_reference::eval::{ResizeAxis, ResizeTaps};

/// Longer axes are left to the reference: positions are kept in 32 bits, and a table should stay small beside the data.
const LONGEST: usize = 1 << 20;
/// Entries that may be read behind those of the last output index, so that vectors need no tail.
pub(super) const SLACK: usize = 64;

/// Neighbours up to which a run is better taken apart than left with most lanes empty.
pub(super) const FEW: usize = 4;

/// Samples of every output index along one axis. Entries lie tap by tap, and for each tap by output index.
pub struct Table {
    /// Input length.
    pub input: usize,
    /// Output length.
    pub output: usize,
    /// Taps of the output index that has most.
    pub taps: usize,
    positions: Vec<u32>,
    weights: Vec<f32>,
    /// How many taps an output index has; 0 if it passes on its only sample as it is.
    counts: Vec<f32>,
}

impl Table {
    /// One index that is its own sample.
    pub fn single() -> Table {
        let positions = vec![0; 1 + SLACK];
        Table {
            input: 1,
            output: 1,
            taps: 1,
            weights: vec![0.0; positions.len()],
            counts: vec![0.0; positions.len()],
            positions,
        }
    }

    /// The samples of an axis; `None` if it should be left to the reference.
    pub fn new(op: &Resize, axis: &ResizeAxis, input: usize, output: usize) -> Option<Table> {
        if input == 0 || output == 0 || input > LONGEST || output > LONGEST {
            return None;
        }
        let samples: Vec<ResizeTaps> = (0..output)
            .map(|x| axis.taps(op, x))
            .collect::<Option<_>>()?;
        let taps = samples.iter().map(|s| s.len()).max()?;
        let pitch = output + SLACK;
        let mut table = Table {
            input,
            output,
            taps,
            positions: vec![0; taps.checked_mul(pitch)?],
            weights: vec![0.0; taps.checked_mul(pitch)?],
            counts: vec![0.0; pitch],
        };
        for (x, samples) in samples.iter().enumerate() {
            // The definition speaks of the weight before it is rounded.
            let passes = matches!(samples.as_slice(), [(_, 1.0)]);
            table.counts[x] = if passes { 0.0 } else { samples.len() as f32 };
            for (tap, &(position, weight)) in samples.iter().enumerate() {
                table.positions[tap * pitch + x] = u32::try_from(position).ok()?;
                table.weights[tap * pitch + x] = weight as f32;
            }
        }
        Some(table)
    }

    /// The table of the same axis where each sample is `run` neighbours, each of which becomes an index of its own. `None` if it
    /// becomes too long.
    pub fn spread(&self, run: usize) -> Option<Table> {
        let output = self.output.checked_mul(run)?;
        let longest = output.max(self.input.checked_mul(run)?);
        if longest > LONGEST * FEW {
            return None;
        }
        let pitch = output + SLACK;
        let mut table = Table {
            input: self.input * run,
            output,
            taps: self.taps,
            positions: vec![0; self.taps.checked_mul(pitch)?],
            weights: vec![0.0; self.taps * pitch],
            counts: vec![0.0; pitch],
        };
        for i in 0..output {
            let (x, neighbour) = (i / run, i % run);
            table.counts[i] = self.counts[x];
            for tap in 0..self.count(x) {
                let position = self.position(x, tap) * run + neighbour;
                table.positions[tap * pitch + i] = u32::try_from(position).ok()?;
                table.weights[tap * pitch + i] = self.weight(x, tap);
            }
        }
        Some(table)
    }

    /// Entries from one tap to the next.
    pub fn pitch(&self) -> usize {
        self.output + SLACK
    }

    /// Does output index `x` pass on its only sample as it is?
    #[inline(always)]
    pub fn passes(&self, x: usize) -> bool {
        self.counts[x] == 0.0
    }

    /// How many samples output index `x` has, at least one.
    #[inline(always)]
    pub fn count(&self, x: usize) -> usize {
        (self.counts[x] as usize).max(1)
    }

    /// Where a sample of output index `x` lies.
    #[inline(always)]
    pub fn position(&self, x: usize, tap: usize) -> usize {
        self.positions[tap * self.pitch() + x] as usize
    }

    /// What a sample of output index `x` weighs.
    #[inline(always)]
    pub fn weight(&self, x: usize, tap: usize) -> f32 {
        self.weights[tap * self.pitch() + x]
    }

    /// Positions, weights and counts of samples from output index `x` on, with at least `SLACK` entries; those behind the last
    /// index are zeros.
    #[inline(always)]
    pub fn from(&self, x: usize, tap: usize) -> (&[u32], &[f32], &[f32]) {
        let entries = tap * self.pitch() + x..(tap + 1) * self.pitch();
        (
            &self.positions[entries.clone()],
            &self.weights[entries],
            &self.counts[x..],
        )
    }

    /// All positions, weights and counts, as they lie.
    pub fn entries(&self) -> (&[u32], &[f32], &[f32]) {
        (&self.positions, &self.weights, &self.counts)
    }

    /// Is every output index a copy of one sample?
    pub fn only_picks(&self) -> bool {
        (0..self.output).all(|x| self.passes(x))
    }

    /// Is every output index a copy of the sample with the same index?
    pub fn changes_nothing(&self) -> bool {
        self.input == self.output
            && self.only_picks()
            && (0..self.output).all(|x| self.position(x, 0) == x)
    }

    /// The factor by which every sample is repeated, if that is all that happens.
    pub fn repeats(&self) -> Option<usize> {
        let factor = self.output / self.input;
        let exact = self.only_picks() && self.output == factor * self.input;
        (exact && (0..self.output).all(|x| self.position(x, 0) == x / factor)).then_some(factor)
    }

    /// For each output index the input positions that it or a neighbour on its way needs: neither end moves back from one index to the
    /// next, although samples do where some of them weigh nothing.
    pub fn windows(&self) -> Vec<Range<usize>> {
        let mut windows: Vec<_> = (0..self.output)
            .map(|x| self.position(x, 0)..self.position(x, self.count(x) - 1) + 1)
            .collect();
        let mut end = 0;
        for window in &mut windows {
            end = window.end.max(end);
            window.end = end;
        }
        let mut start = usize::MAX;
        for window in windows.iter_mut().rev() {
            start = window.start.min(start);
            window.start = start;
        }
        windows
    }
}
