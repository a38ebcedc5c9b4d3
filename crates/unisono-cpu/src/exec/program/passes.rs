//! Stretches of steps that run in several passes, each over a few rows.
//!
//! The one idea: eight images are more than a cache holds, and a step that reads what the step before it wrote should find it there. So early steps of
//! a convolutional network, whose values are large and whose weights are small, run for one or two rows at a time, and only what later steps need
//! is kept for all rows. Weights are read in every pass; where they weigh more than the values, all rows run together.
//!
//! A pass is made of the steps of the program for so few rows. Usually they are the same nodes in the same order, so that needs and constants have
//! the same numbers; a step for which any of that is not so stays as it is. Values that both ends of a stretch touch lie where the program for all rows has them, a pass's part behind that of the pass before; what
//! lives and dies within a stretch has the size of one pass.
//!
//! Where to cut follows from counted bytes alone. It must never change a bit: a step takes part only if its kernel
//! [keeps rows apart](crate::exec::kernel::Kernel::keeps_rows), and if what it reads and writes differs from the other program's in the number of rows alone.

use std::ops::Range;

use unisono_runtime::Error;
use unisono_runtime::program::arena::Need;

use super::{Action, Builder, Known, Operand, Place, Step};
use crate::exec::cost::{STEP_NS, fetching_ns};

/// More passes than this are not thought of.
const MOST_PASSES: usize = 1024;

/// Steps that follow each other and run so many times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) steps: Range<usize>,
    pub(crate) passes: usize,
}

/// What is known of a graph's values for any number of rows.
#[derive(Clone, Copy)]
pub(crate) struct ByRows<'a> {
    /// How many rows the program is for.
    pub(crate) rows: usize,
    pub(crate) known: &'a dyn Fn(usize) -> Vec<Option<Known>>,
}

/// What a step touches, in bytes for all rows.
struct Touched {
    values: u64,
    weights: u64,
    /// What was made before it and is needed at it or later.
    alive: u64,
    can_pass: bool,
}

/// How an operand of a pass is related to that of all rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// The same for every pass.
    Shared,
    /// A pass has its part along axis 0.
    Part,
}

impl Step {
    /// See [`Kernel::keeps_rows`](crate::exec::kernel::Kernel::keeps_rows).
    fn keeps_rows(&self) -> bool {
        match &self.action {
            Action::Kernel { kernel, .. } => kernel.keeps_rows(),
            Action::Copy | Action::Dynamic { .. } => false,
        }
    }
}

impl Builder<'_> {
    /// Cuts the steps into stretches, and puts steps for fewer rows in the place of those that run in passes.
    pub(super) fn cut_into_passes(
        &mut self,
        steps: &mut [Step],
        by_rows: Option<ByRows<'_>>,
    ) -> Result<Vec<Stretch>, Error> {
        let Some(by_rows) = by_rows.filter(|by_rows| by_rows.rows > 1) else {
            return Ok(stretches(&vec![1; steps.len()]));
        };
        let mut passes = choose(&self.touched(steps), by_rows.rows, self.engine.near_bytes);
        let mut counts: Vec<usize> = passes.iter().copied().filter(|&n| n > 1).collect();
        counts.sort_unstable();
        counts.dedup();
        let mut others = Vec::new();
        for count in counts {
            let known = (by_rows.known)(by_rows.rows / count);
            let mut other = Builder::new(self.graph, known, self.store, self.engine);
            // What cannot be built for so few rows is built for all of them.
            let other_steps = other.all_steps().unwrap_or_default();
            for (i, step) in steps.iter().enumerate() {
                let fits = self.needs.len() == other.needs.len()
                    && steps.len() == other_steps.len()
                    && other_steps
                        .get(i)
                        .is_some_and(|narrow| self.differs_in_rows((step, narrow), count, &other));
                if passes[i] == count && !fits {
                    passes[i] = 1;
                }
            }
            others.push((count, other.needs, other_steps));
        }
        let stretches = stretches(&passes);
        for (count, needs, other_steps) in others {
            let in_passes = |stretch: &&Stretch| stretch.passes == count;
            let taken: Vec<usize> = stretches
                .iter()
                .filter(in_passes)
                .flat_map(|stretch| stretch.steps.clone())
                .collect();
            self.take(steps, other_steps, &taken, &needs, &stretches);
        }
        self.keep_through_passes(&stretches);
        Ok(stretches)
    }

    fn touched(&self, steps: &[Step]) -> Vec<Touched> {
        let mut begin = vec![0u64; steps.len() + 1];
        let mut end = vec![0u64; steps.len() + 1];
        for need in &self.needs {
            if need.last > need.first {
                begin[need.first + 1] += need.bytes as u64;
                end[need.last] += need.bytes as u64;
            }
        }
        let mut alive = 0;
        let touched = |(i, step): (usize, &Step)| {
            alive += begin[i];
            let here = alive;
            alive -= end[i];
            let operands = step.inputs.iter().chain(&step.outputs).flatten();
            let values = operands
                .filter(|o| !matches!(o.place, Place::Constant(_)))
                .map(|o| o.bytes as u64)
                .sum();
            let nodes = step.nodes.iter().filter_map(|&n| self.graph.nodes().get(n));
            let read = nodes.flat_map(|node| node.inputs.iter().flatten());
            let constants = read.filter_map(|id| self.constant(id.index()));
            Touched {
                values,
                weights: constants.map(|tensor| tensor.len() as u64).sum(),
                alive: here,
                can_pass: step.keeps_rows(),
            }
        };
        steps.iter().enumerate().map(touched).collect()
    }

    /// Is a step the same as one of another program, but for `count` times as many rows?
    fn differs_in_rows(
        &self,
        (wide, narrow): (&Step, &Step),
        count: usize,
        other: &Builder<'_>,
    ) -> bool {
        let relation = |wide: &Option<Operand>, narrow: &Option<Operand>| match (wide, narrow) {
            (None, None) => Some(Relation::Shared),
            (Some(wide), Some(narrow)) => relation(wide, narrow, count),
            _ => None,
        };
        let same_contents = |operand: &Option<Operand>| match operand {
            Some(Operand {
                place: Place::Constant(i),
                ..
            }) => {
                let tensors = (self.constants.get(*i), other.constants.get(*i));
                matches!(tensors, (Some(a), Some(b)) if a.bytes() == b.bytes())
            }
            _ => true,
        };
        let pair =
            |wide: &[Option<Operand>], narrow: &[Option<Operand>]| -> Option<Vec<Relation>> {
                let pairs = wide.iter().zip(narrow);
                let all: Option<_> = pairs.map(|(wide, narrow)| relation(wide, narrow)).collect();
                all.filter(|_| wide.len() == narrow.len())
            };
        let inputs = pair(&wide.inputs, &narrow.inputs);
        let outputs = pair(&wide.outputs, &narrow.outputs);
        // An operand of lower rank lies along other axes of the output.
        let rank =
            |operand: &Option<Operand>| operand.as_ref().map(|o| o.shape.as_ref().map(|s| s.len()));
        let all_along = |relations: &[Relation]| {
            let mut parts = wide.inputs.iter().zip(relations);
            parts.all(|(input, relation)| {
                *relation == Relation::Shared || rank(input) == wide.outputs.first().and_then(rank)
            })
        };
        let scratch = |step: &Step| match &step.action {
            Action::Kernel { scratch, .. } => Some(*scratch),
            Action::Copy | Action::Dynamic { .. } => None,
        };
        let are_parts = |(i, relation): (usize, &Relation)| {
            wide.outputs[i].is_none() || *relation == Relation::Part
        };
        wide.nodes == narrow.nodes
            && wide.keeps_rows()
            && narrow.keeps_rows()
            && scratch(wide) == scratch(narrow)
            && inputs.is_some_and(|all| all.contains(&Relation::Part) && all_along(&all))
            && outputs.is_some_and(|all| all.iter().enumerate().all(are_parts))
            && narrow.inputs.iter().all(same_contents)
    }

    /// Puts steps of another program in the place of those with the numbers `taken`.
    fn take(
        &mut self,
        steps: &mut [Step],
        others: Vec<Step>,
        taken: &[usize],
        needs: &[Need],
        stretches: &[Stretch],
    ) {
        let within = |need: &Need| {
            let holds = |stretch: &&Stretch| stretch.steps.contains(&need.first);
            let stretch = stretches.iter().find(holds);
            stretch.is_some_and(|stretch| stretch.steps.contains(&need.last))
        };
        for (own, need) in self.needs.iter_mut().zip(needs) {
            if taken.binary_search(&own.first).is_ok() && within(own) {
                own.bytes = need.bytes;
            }
        }
        for (i, mut other) in others.into_iter().enumerate() {
            if taken.binary_search(&i).is_err() {
                continue;
            }
            let wide = steps[i].inputs.iter().chain(&steps[i].outputs);
            let narrow = other.inputs.iter_mut().chain(&mut other.outputs);
            for (wide, narrow) in wide.zip(narrow) {
                let (Some(wide), Some(narrow)) = (wide, narrow) else {
                    continue;
                };
                let lies_apart = match narrow.place {
                    Place::Arena(need) => !within(&self.needs[need]),
                    Place::Input(_) | Place::Output(_) => true,
                    Place::Constant(_) | Place::Dynamic(_) => false,
                };
                if lies_apart && wide.bytes != narrow.bytes {
                    narrow.stride = narrow.bytes;
                }
            }
            steps[i] = other;
        }
    }

    /// What a stretch's passes share must last from its first step to its last, in every pass.
    fn keep_through_passes(&mut self, stretches: &[Stretch]) {
        let range_of = |step: usize| {
            let holds = |stretch: &&Stretch| stretch.steps.contains(&step);
            let stretch = stretches.iter().find(holds);
            match stretch {
                Some(stretch) if stretch.passes > 1 => stretch.steps.clone(),
                _ => step..step + 1,
            }
        };
        for need in &mut self.needs {
            let (first, last) = (range_of(need.first), range_of(need.last));
            if first != last {
                (need.first, need.last) = (first.start, last.end - 1);
            }
        }
    }
}

/// See [`Relation`]; `None` if they differ in more than rows.
fn relation(wide: &Operand, narrow: &Operand, count: usize) -> Option<Relation> {
    let (a, b) = (wide.shape.as_deref()?, narrow.shape.as_deref()?);
    if wide.place != narrow.place || wide.dtype != narrow.dtype || wide.value != narrow.value {
        return None;
    }
    if a == b {
        return Some(Relation::Shared);
    }
    let ([n, a @ ..], [m, b @ ..]) = (a, b) else {
        return None;
    };
    let is_part = a == b
        && m.checked_mul(count) == Some(*n)
        && wide.bytes == narrow.bytes * count
        && narrow.bytes > 0
        && !matches!(wide.place, Place::Constant(_) | Place::Dynamic(_));
    is_part.then_some(Relation::Part)
}

/// The steps, cut where the number of passes changes.
fn stretches(passes: &[usize]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (i, &passes) in passes.iter().enumerate() {
        match stretches.last_mut() {
            Some(last) if last.passes == passes => last.steps.end = i + 1,
            _ => stretches.push(Stretch {
                steps: i..i + 1,
                passes,
            }),
        }
    }
    stretches
}

/// In how many passes each step runs, so that the sum of what is fetched and of what every pass costs is least: the shortest way through a graph
/// whose vertices are steps and numbers of passes.
fn choose(steps: &[Touched], rows: usize, near: u64) -> Vec<usize> {
    if steps.iter().all(|step| step.values <= near) {
        return vec![1; steps.len()];
    }
    let counts: Vec<usize> = (1..=rows.min(MOST_PASSES))
        .filter(|n| rows.is_multiple_of(*n))
        .collect();
    let step_ns = |step: &Touched, passes: usize| {
        if passes > 1 && !step.can_pass {
            return None;
        }
        let passes = passes as u64;
        let together = step.values / passes;
        let weights = fetching_ns(step.weights, step.weights, near);
        Some(fetching_ns(step.values, together, near) + passes * (STEP_NS + weights))
    };
    let mut cheapest: Vec<Option<u64>> = vec![Some(0); counts.len()];
    let mut came_from: Vec<Vec<usize>> = Vec::new();
    for step in steps {
        // All rows' values that are alive here are written on one side of a cut, and read on the other.
        let cut_ns = 2 * fetching_ns(step.alive, step.alive, near);
        let mut next = Vec::new();
        let mut from = Vec::new();
        for (i, &passes) in counts.iter().enumerate() {
            let ways = cheapest.iter().enumerate().filter_map(|(k, &before)| {
                let cut = if k == i { 0 } else { cut_ns };
                Some((before?.saturating_add(cut), k))
            });
            // Of ways that cost the same, the one with fewer passes.
            let best = ways.min();
            let own = step_ns(step, passes);
            next.push(best.zip(own).map(|((ns, _), own)| ns.saturating_add(own)));
            from.push(best.map_or(0, |(_, k)| k));
        }
        cheapest = next;
        came_from.push(from);
    }
    let last = cheapest
        .iter()
        .enumerate()
        .filter_map(|(k, &ns)| Some((ns?, k)));
    let mut at = last.min().map_or(0, |(_, k)| k);
    let mut chosen: Vec<usize> = came_from
        .iter()
        .rev()
        .map(|from| {
            let passes = counts[at];
            at = from[at];
            passes
        })
        .collect();
    chosen.reverse();
    chosen
}
