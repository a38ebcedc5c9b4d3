//! What running a plan costs on a device, from counted work.
//!
//! The one idea: as on the processor (`unisono_runtime::program::work`), with a GPU's rates. They are an H100's, rounded; what is
//! decided with them (who shares a batch) must not differ from run to run, so no clock is read.

use unisono_graph::{Fact, Graph, Symbol};
use unisono_runtime::plan::Cost;
use unisono_runtime::program::work::{Amount, Work};

/// What a batch costs beside its kernels: two copies, a launch, and the wait for it.
const BATCH_NS: u64 = 15_000;

/// A kernel in a captured graph: the way to the next one, and a tail in which few processors work.
const STEP_NS: u64 = 2_500;

/// A step of time of a recurrent layer. Measured on an H200: `unisono profile silero_vad_sequence.onnx --device cuda:0 --dim sequence_length=700`,
/// 1.37 ms for the 700 steps of 128 units.
const TIME_STEP_NS: u64 = 2_000;

/// Multiplications with an addition in a nanosecond, in f32: half of what the hardware can do.
const PRODUCTS_PER_NS: u64 = 15_000;

/// Bytes from and to device memory in a nanosecond.
const MEMORY_BYTES_PER_NS: u64 = 2_000;

/// Bytes from and to the host in a nanosecond.
const LINK_BYTES_PER_NS: u64 = 25;

/// The cost of a plan, of whose values `facts` tells shapes with the number of rows as the symbol `rows`.
pub(crate) fn cost(graph: &Graph, facts: &[Option<Fact>], rows: &Symbol) -> Cost {
    let mut work = Work::default();
    work.add_graph(graph, facts, rows);
    let time = |part: &Amount| part.products / PRODUCTS_PER_NS + part.moved / MEMORY_BYTES_PER_NS;
    let ends = graph.inputs().iter().chain(graph.outputs());
    let bytes_of_a_row = |id: &unisono_graph::ValueId| {
        let fact = facts.get(id.index())?.as_ref()?;
        let shape = fact.shape.as_ref()?;
        if !shape.iter().any(|n| n.mentions(rows)) {
            return None;
        }
        let one = |n: &unisono_graph::Dim| {
            n.substitute(&|s| (s == rows).then(|| unisono_graph::Dim::constant(1)))
                .as_len()
        };
        let elements = shape
            .iter()
            .map(one)
            .try_fold(1u64, |all, n| all.checked_mul(n? as u64))?;
        elements.checked_mul(fact.dtype.size() as u64)
    };
    let copied: u64 = ends.filter_map(bytes_of_a_row).sum();
    Cost {
        fixed_ns: BATCH_NS
            + work.steps * STEP_NS
            + work.time_steps * TIME_STEP_NS
            + work.weight_bytes / MEMORY_BYTES_PER_NS
            + time(&work.shared),
        // Plans for different shapes run one after the other and share nothing.
        shared_ns: 0,
        row_ns: time(&work.per_row) + copied / LINK_BYTES_PER_NS,
        beside: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use unisono_graph::infer::{declared_inputs, infer_partial};
    use unisono_graph::ops::activation::Activation;
    use unisono_graph::ops::recurrent::{Cell, Direction, Recurrent};
    use unisono_tensor::DType;

    use super::*;
    use crate::testing::{input, numbers};

    /// An LSTM over so many steps.
    fn layer(time: usize) -> Cost {
        let mut graph = Graph::new("layer");
        let x = input(
            &mut graph,
            "x",
            DType::F32,
            &[&time.to_string(), "rows", "3"],
        );
        let w = graph.add_constant("w", numbers(&[1, 20, 3], 1));
        let r = graph.add_constant("r", numbers(&[1, 20, 5], 2));
        let op = Recurrent {
            cell: Cell::Lstm {
                input_forget: false,
            },
            direction: Direction::Forward,
            hidden_size: None,
            activations: vec![Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
            clip: None,
            batch_first: false,
        };
        let outputs = graph.append("layer", Arc::new(op), &[x, w, r], 3);
        graph.set_outputs(outputs);
        let facts = infer_partial(&graph, &declared_inputs(&graph)).unwrap();
        cost(&graph, &facts, &Symbol::new("rows"))
    }

    #[test]
    fn every_step_of_a_recurrent_layer_takes_its_time_however_many_rows_there_are() {
        let (short, long) = (layer(1), layer(1001));
        assert_eq!(long.fixed_ns - short.fixed_ns, 1000 * TIME_STEP_NS);
    }
}
