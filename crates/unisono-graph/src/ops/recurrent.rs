//! Recurrent layers: `LSTM`, `GRU` and `RNN`.
//!
//! The one idea: they share everything but the cell, so they are one operator with an enum. Rows along the batch axis
//! never meet; time runs along the other.

use super::activation::Activation;

/// The cell and what only it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Gates in the order input, output, forget, cell.
    Lstm {
        /// The forget gate is one minus the input gate.
        input_forget: bool,
    },
    /// Gates in the order update, reset, hidden.
    Gru {
        /// The reset gate multiplies after the recurrent product and its bias instead of before.
        linear_before_reset: bool,
    },
    /// One gate.
    Rnn,
}

impl Cell {
    /// How many gates the weights stack: 4, 3 or 1.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm { .. } => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn => 1,
        }
    }

    /// How many activations each direction has: 3 (`f`, `g`, `h`), 2 (`f`, `g`) or 1 (`f`).
    pub fn activations(self) -> usize {
        match self {
            Cell::Lstm { .. } => 3,
            Cell::Gru { .. } => 2,
            Cell::Rnn => 1,
        }
    }
}

/// In which direction time is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the first step to the last.
    Forward,
    /// From the last step to the first.
    Reverse,
    /// Both, each with its weights.
    Bidirectional,
}

impl Direction {
    /// How many sets of weights there are: D.
    pub fn count(self) -> usize {
        match self {
            Direction::Forward | Direction::Reverse => 1,
            Direction::Bidirectional => 2,
        }
    }
}

/// A recurrent layer. Kind `Recurrent`. G gates, D directions, H hidden, I input size:
///
/// | input | shape | |
/// | --- | --- | --- |
/// | 0 `x` | T x B x I (B x T x I if `batch_first`) | |
/// | 1 `w` | D x GH x I | |
/// | 2 `r` | D x GH x H | |
/// | 3 `b` | D x 2GH | optional: the biases of `w`, then of `r` |
/// | 4 `sequence_lens` | B, i32 | optional |
/// | 5 `initial_h` | D x B x H (B x D x H if `batch_first`) | optional |
/// | 6 `initial_c` | as `initial_h` | optional, LSTM only |
/// | 7 `p` | D x 3H, peepholes in the order input, output, forget | optional, LSTM only |
///
/// Outputs: `y` T x D x B x H (B x T x D x H), `y_h` and for LSTM `y_c`, both D x B x H (B x D x H). Steps behind a row's sequence length give 0 in `y`
/// and do not touch its state; reverse directions start at the row's own last step.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    /// The cell.
    pub cell: Cell,
    /// In which direction time is walked.
    pub direction: Direction,
    /// The size of the hidden state, if the node says it; else it follows from `r`.
    pub hidden_size: Option<usize>,
    /// [`Cell::activations`] of them per direction.
    pub activations: Vec<Activation>,
    /// Bound on the magnitude of what goes into activations.
    pub clip: Option<f32>,
    /// The batch is axis 0 and time axis 1, instead of the other way round (`layout` 1).
    pub batch_first: bool,
}
