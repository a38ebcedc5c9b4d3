//! Models whose answers are known without computing them, and the patterns that are sent through them.
//!
//! The one idea: to see whose bytes arrived, they must be recognisable. Every word of a pattern says which queue, turn and place it is
//! of. The *relay* is a real model, with two matrix products and a ReLU between them, that returns its input to the bit: it
//! multiplies with a permutation and with its inverse, so every sum has one term that is not zero. The *increment* adds one to
//! any number of words.

use unisono::onnx::write::{Dim, Graph, Model as File, Node, Tensor as Constant, ValueInfo};
use unisono::{Error, Model, Tensor};

use crate::compare::Difference;
use crate::random::Random;

/// Words of a relay's row: 32 by 32, or 4 KiB.
pub const ROW_WORDS: usize = SIDE * SIDE;
const SIDE: usize = 32;
const OPSET: i64 = 17;

/// `y = relu(x P) P'`, `x` and `y` of shape `[batch, 32, 32]`: the input, if it has no negative numbers.
///
/// # Errors
/// It cannot be loaded, which is a fault of ours.
pub fn relay() -> Result<Model, Error> {
    let shape = || {
        [
            Dim::symbol("batch"),
            Dim::fixed(SIDE as i64),
            Dim::fixed(SIDE as i64),
        ]
    };
    // 7 and 32 have no common divisor, so this is a permutation.
    let to = |i: usize| (7 * i + 5) % SIDE;
    let (mut there, mut back) = (vec![0f32; ROW_WORDS], vec![0f32; ROW_WORDS]);
    for i in 0..SIDE {
        there[i * SIDE + to(i)] = 1.0;
        back[to(i) * SIDE + i] = 1.0;
    }
    let dims = [SIDE as i64, SIDE as i64];
    let node = |op: &str, inputs: &[&str], output: &str| {
        Node::new(op)
            .name(&format!("/{output}"))
            .inputs(inputs.iter().copied())
            .outputs([output])
    };
    let graph = Graph::new("relay")
        .input(ValueInfo::tensor::<f32>("x", shape()))
        .output(ValueInfo::tensor::<f32>("y", shape()))
        .initializer(Constant::of("there", &dims, &there))
        .initializer(Constant::of("back", &dims, &back))
        .node(node("MatMul", &["x", "there"], "permuted"))
        .node(node("Relu", &["permuted"], "kept"))
        .node(node("MatMul", &["kept", "back"], "y"));
    Model::from_bytes(File::new(OPSET, graph).to_bytes())
}

/// `y = x + 1`, of shape `[batch, words]`.
///
/// # Errors
/// As [`relay`].
pub fn increment() -> Result<Model, Error> {
    let shape = || [Dim::symbol("batch"), Dim::symbol("words")];
    let graph = Graph::new("increment")
        .input(ValueInfo::tensor::<f32>("x", shape()))
        .output(ValueInfo::tensor::<f32>("y", shape()))
        .initializer(Constant::of("one", &[1], &[1f32]))
        .node(
            Node::new("Add")
                .name("/Add")
                .inputs(["x", "one"])
                .outputs(["y"]),
        );
    Model::from_bytes(File::new(OPSET, graph).to_bytes())
}

/// Whose words these are. Tags that differ give words that differ at every place, as long as queues are fewer than 64 and turns
/// fewer than 2^15; from there on turns repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The queue, or the thread.
    pub queue: usize,
    /// Its turn.
    pub turn: usize,
}

impl Tag {
    /// The word at a place. A finite number between 1 and 2 whose 23 bits of fraction tell it all: queue, turn, and the place
    /// modulo 4.
    fn word(self, at: usize) -> f32 {
        let fraction = (self.queue & 0x3f) << 17 | (self.turn & 0x7fff) << 2 | (at & 0x3);
        // The bits of one, and 23 bits of fraction.
        f32::from_bits(0x3f80_0000 | fraction as u32)
    }

    /// The tag of a word, if it is one.
    fn of(word: f32) -> Option<(Tag, usize)> {
        let bits = word.to_bits() as usize;
        (bits >> 23 == 0x7f).then_some((
            Tag {
                queue: bits >> 17 & 0x3f,
                turn: bits >> 2 & 0x7fff,
            },
            bits & 0x3,
        ))
    }

    /// So many words.
    pub fn words(self, count: usize) -> Vec<f32> {
        (0..count).map(|at| self.word(at)).collect()
    }

    /// A request to the relay of so many rows.
    ///
    /// # Errors
    /// No memory.
    pub fn rows(self, rows: usize) -> Result<Tensor, Error> {
        relay_input(&self.words(rows * ROW_WORDS))
    }

    /// What is wrong with the answer to [`Tag::rows`].
    pub fn answer_difference(
        self,
        answer: &Result<Vec<Tensor>, Error>,
        rows: usize,
    ) -> Option<Difference> {
        match answer {
            Err(error) => Some(refusal(error)),
            Ok(tensors) => match words_of(tensors) {
                Ok(words) => self.difference(words, rows * ROW_WORDS),
                Err(difference) => Some(*difference),
            },
        }
    }

    /// What is wrong with words that should be these.
    pub fn difference(self, found: &[f32], count: usize) -> Option<Difference> {
        let difference = words_difference(found, &self.words(count))?;
        let at = difference.index.first().copied().unwrap_or(0);
        let whose = found.get(at).and_then(|word| Tag::of(*word));
        Some(match whose {
            Some((tag, _)) if tag != self => Difference {
                found: format!("a word of queue {}, turn {}", tag.queue, tag.turn),
                expected: format!("a word of queue {}, turn {}", self.queue, self.turn),
                ..difference
            },
            _ => difference,
        })
    }
}

/// A request to the relay with these words, whole rows of them.
///
/// # Errors
/// No memory.
pub fn relay_input(words: &[f32]) -> Result<Tensor, Error> {
    let shape = [words.len() / ROW_WORDS, SIDE, SIDE];
    Ok(Tensor::from_slice(&shape, words)?)
}

/// Random words that the relay returns to the bit: any mantissa, exponents of all sizes, no sign.
pub fn random_words(seed: u64, path: &[u64], count: usize) -> Vec<f32> {
    let mut random = Random::new(seed, path);
    let word = |_| {
        // The exponents of 2^-64 to 2^63.
        let exponent = 63 + random.below(128) as u32;
        f32::from_bits(exponent << 23 | random.bits() as u32 & 0x7f_ffff)
    };
    (0..count).map(word).collect()
}

/// The words of the one output.
///
/// # Errors
/// What is there instead.
pub fn words_of(answer: &[Tensor]) -> Result<&[f32], Box<Difference>> {
    let instead = |found: String, expected| Box::new(Difference::of_kind("y", found, expected));
    match answer {
        [y] => y
            .as_slice::<f32>()
            .map_err(|error| instead(error.to_string(), "floats")),
        _ => Err(instead(format!("{} outputs", answer.len()), "1 output")),
    }
}

/// What is wrong with an answer that should be these words.
pub fn answer_difference(
    answer: &Result<Vec<Tensor>, Error>,
    expected: &[f32],
) -> Option<Difference> {
    match answer {
        Err(error) => Some(refusal(error)),
        Ok(tensors) => match words_of(tensors) {
            Ok(words) => words_difference(words, expected),
            Err(difference) => Some(*difference),
        },
    }
}

/// An error where an answer should be.
pub fn refusal(error: &Error) -> Difference {
    Difference::of_kind("", format!("an error: {error}"), "an answer")
}

/// The first word that is not as it should be, bit for bit.
pub fn words_difference(found: &[f32], expected: &[f32]) -> Option<Difference> {
    if found.len() != expected.len() {
        let count = |words: &[f32]| format!("{} words", words.len());
        return Some(Difference::of_kind("y", count(found), count(expected)));
    }
    let mut pairs = found.iter().zip(expected);
    let differs = |(f, e): (&f32, &f32)| f.to_bits() != e.to_bits();
    let at = pairs.position(differs)?;
    let wrong = found.iter().zip(expected).filter(|&(f, e)| differs((f, e)));
    let show = |words: &[f32]| {
        let word = words.get(at).copied().unwrap_or_default();
        format!("{word:.9e} (0x{:08x})", word.to_bits())
    };
    Some(Difference {
        index: vec![at],
        extent: Some((wrong.count(), expected.len())),
        ..Difference::of_kind("y", show(found), show(expected))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono::Device;

    #[test]
    fn the_relay_returns_every_bit_and_the_increment_adds_one() {
        let device = Device::cpu().unwrap();
        let session = relay().unwrap().session(&device).unwrap();
        let words = random_words(1, &[], 3 * ROW_WORDS);
        let answer = session.run(&relay_input(&words).unwrap()).unwrap();
        assert_eq!(answer["y"].shape(), [3, 32, 32]);
        assert_eq!(
            words_difference(answer["y"].as_slice().unwrap(), &words),
            None
        );

        let session = increment().unwrap().session(&device).unwrap();
        let x = Tensor::from_slice(&[1, 3], &[1f32, 2.0, 8_000_000.0]).unwrap();
        let answer = session.run(&x).unwrap();
        assert_eq!(
            answer["y"].as_slice::<f32>().unwrap(),
            [2.0, 3.0, 8_000_001.0]
        );
    }

    #[test]
    fn a_word_tells_whose_it_is() {
        let mine = Tag { queue: 2, turn: 7 };
        let other = Tag { queue: 3, turn: 49 };
        let mut words = mine.words(100);
        assert_eq!(mine.difference(&words, 100), None);
        words[40] = other.word(40);
        let difference = mine.difference(&words, 100).unwrap();
        assert_eq!(difference.index, [40]);
        assert_eq!(difference.found, "a word of queue 3, turn 49");
        assert_eq!(difference.expected, "a word of queue 2, turn 7");
        words.rotate_left(1);
        assert_eq!(
            mine.difference(&words, 100).unwrap().extent,
            Some((100, 100))
        );
    }
}
