//! How the elements of operands follow those of an output, as `kernels/map.cuh` is told of it.
//!
//! The one idea: axes along which all operands advance as one are merged first, so that what is left of most broadcasts is one of three
//! simple ways to follow the output's flat index. Whatever is left is a nest of at most eight axes.

use smallvec::SmallVec;
use unisono_cpu::movement::stretched;
pub use unisono_cpu::movement::{Axes, Axis, MAX_AXES, merge};

use crate::launch::{Arg, Buffer, Launch};

/// A launch is over fewer elements than this, so that positions fit into 32 bits with a sign.
pub const MAX_ELEMENTS: usize = i32::MAX as usize;

/// How one operand follows the output's flat index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Element i.
    Same,
    /// Element `(i / div) % mod`.
    Repeat {
        /// How often an element is repeated.
        div: usize,
        /// After how many elements they begin again.
        modulus: usize,
    },
    /// By its steps along the axes.
    Nest,
}

/// How operand `k` follows the output whose axes these are.
pub fn follows<const N: usize>(axes: &[Axis<N>], k: usize) -> Follows {
    let mut rest = axes.iter().peekable();
    let mut div = 1;
    while let Some(axis) = rest.next_if(|axis| axis.steps[k] == 0) {
        div *= axis.len;
    }
    let mut modulus = 1;
    while let Some(axis) = rest.next_if(|axis| axis.steps[k] == modulus as isize) {
        modulus *= axis.len;
    }
    let is_whole = rest.peek().is_none();
    match rest.all(|axis| axis.steps[k] == 0) {
        true if div == 1 && is_whole => Follows::Same,
        true if modulus == 1 => Follows::Repeat { div: 1, modulus: 1 },
        true => Follows::Repeat { div, modulus },
        false => Follows::Nest,
    }
}

/// Operands stretched to one output.
#[derive(Clone, Debug)]
pub struct Broadcast<const N: usize> {
    /// Elements of the output.
    pub elements: usize,
    axes: Axes<N>,
}

impl<const N: usize> Broadcast<N> {
    /// Operands of these shapes, stretched to `out`. `None` if one cannot be, or there are too many axes or elements.
    pub fn new(out: &[usize], shapes: [&[usize]; N]) -> Option<Broadcast<N>> {
        let elements = elements(out)?;
        if elements == 0 {
            let axes = Axes::new();
            return Some(Broadcast { elements, axes });
        }
        let mut steps = SmallVec::<[_; 4]>::new();
        for shape in shapes {
            steps.push(stretched(shape, out)?);
        }
        let axes = merge(out, std::array::from_fn(|k| steps[k].as_slice()))?;
        Some(Broadcast { elements, axes })
    }

    /// Elements placed by steps along the axes of `out`.
    pub fn of_steps(out: &[usize], steps: [&[isize]; N]) -> Option<Broadcast<N>> {
        let elements = elements(out)?;
        let axes = match elements {
            0 => Axes::new(),
            _ => merge(out, steps)?,
        };
        Some(Broadcast { elements, axes })
    }

    /// How operand `k` follows, as `UnisonoMap`.
    pub fn map(&self, k: usize) -> Option<Arg> {
        let (follows, div, modulus) = match follows(&self.axes, k) {
            Follows::Same => (0, 1, 1),
            Follows::Repeat { div, modulus } => (1, div, modulus),
            Follows::Nest => (2, 1, 1),
        };
        let mut words = Words::default();
        words.push(follows).size(div)?.size(modulus)?;
        words.steps(self.axes.iter().map(|axis| axis.steps[k]))?;
        Some(words.arg())
    }

    /// The output's axes, as `UnisonoAxes`.
    pub fn axes(&self) -> Option<Arg> {
        let mut words = Words::default();
        words.size(self.axes.len())?;
        words.sizes(self.axes.iter().map(|axis| axis.len))?;
        Some(words.arg())
    }
}

/// The number of elements of a shape, if a launch can be over so many.
pub fn elements(shape: &[usize]) -> Option<usize> {
    unisono_tensor::element_count(shape).filter(|&n| n <= MAX_ELEMENTS)
}

/// A structure of 32-bit words that a kernel takes by value.
#[derive(Default)]
pub struct Words(SmallVec<[u32; 32]>);

impl Words {
    /// One word.
    pub fn push(&mut self, word: u32) -> &mut Words {
        self.0.push(word);
        self
    }

    /// A length.
    pub fn size(&mut self, size: usize) -> Option<&mut Words> {
        self.0.push(u32::try_from(size).ok()?);
        Some(self)
    }

    /// An entry for each axis, with zeros for those that are not there.
    pub fn sizes(&mut self, sizes: impl IntoIterator<Item = usize>) -> Option<&mut Words> {
        let end = self.0.len() + MAX_AXES;
        for size in sizes {
            self.size(size)?;
        }
        (self.0.len() <= end).then(|| self.0.resize(end, 0))?;
        Some(self)
    }

    /// A step for each axis, with zeros for those that are not there.
    pub fn steps(&mut self, steps: impl IntoIterator<Item = isize>) -> Option<&mut Words> {
        let end = self.0.len() + MAX_AXES;
        for step in steps {
            self.0.push(i32::try_from(step).ok()?.cast_unsigned());
        }
        (self.0.len() <= end).then(|| self.0.resize(end, 0))?;
        Some(self)
    }

    /// As an argument.
    pub fn arg(&self) -> Arg {
        Arg::Bytes(SmallVec::from_slice(bytemuck::cast_slice(&self.0)))
    }
}

/// The arguments of a kernel: its pointers, then its numbers.
#[derive(Default)]
pub struct Args(SmallVec<[Arg; 8]>);

impl Args {
    /// Addresses.
    pub fn buffers(buffers: impl IntoIterator<Item = Buffer>) -> Args {
        Args(buffers.into_iter().map(Arg::Buffer).collect())
    }

    /// An address, or a null pointer.
    pub fn buffer(mut self, buffer: Option<Buffer>) -> Args {
        self.0.push(buffer.map_or(Arg::Null, Arg::Buffer));
        self
    }

    /// A length, as `unsigned`.
    pub fn size(mut self, size: usize) -> Option<Args> {
        self.0.push(Arg::value(&u32::try_from(size).ok()?));
        Some(self)
    }

    /// A code or a flag, as `int`.
    pub fn int(mut self, value: i32) -> Args {
        self.0.push(Arg::value(&value));
        self
    }

    /// A float.
    pub fn float(mut self, value: f32) -> Args {
        self.0.push(Arg::value(&value));
        self
    }

    /// Anything else.
    pub fn arg(mut self, arg: Arg) -> Args {
        self.0.push(arg);
        self
    }

    /// The launch of so many blocks along x; `None` if no grid has so many.
    pub fn launch(self, kernel: &'static str, blocks: usize, block: [u32; 3]) -> Option<Launch> {
        let blocks = u32::try_from(blocks)
            .ok()
            .filter(|&n| n <= i32::MAX as u32)?;
        Some(Launch {
            kernel,
            grid: [blocks, 1, 1],
            block,
            shared: 0,
            args: self.0,
        })
    }

    /// The launch of a kernel whose threads take `each` of `items` in a flat grid.
    pub fn flat(self, kernel: &'static str, items: usize, each: usize) -> Option<Launch> {
        self.launch(
            kernel,
            items.div_ceil(each * THREADS),
            [THREADS as u32, 1, 1],
        )
    }
}

/// Threads of a block where nothing asks for another number.
pub const THREADS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The element of a stretched operand at a flat index of the output, axis by axis.
    fn by_hand(shape: &[usize], out: &[usize], mut i: usize) -> usize {
        let (mut at, mut step) = (0, 1);
        for a in (0..out.len()).rev() {
            let position = i % out[a];
            i /= out[a];
            if let Some(own) = (a + shape.len()).checked_sub(out.len()) {
                at += if shape[own] == 1 { 0 } else { position * step };
                step *= shape[own];
            }
        }
        at
    }

    /// What the kernel computes.
    fn by_map<const N: usize>(broadcast: &Broadcast<N>, k: usize, mut i: usize) -> usize {
        match follows(&broadcast.axes, k) {
            Follows::Same => i,
            Follows::Repeat { div, modulus } => i / div % modulus,
            Follows::Nest => {
                let mut at = 0;
                for axis in &broadcast.axes {
                    at += (i % axis.len) as isize * axis.steps[k];
                    i /= axis.len;
                }
                at as usize
            }
        }
    }

    proptest! {
        #[test]
        fn merged_axes_lead_to_the_same_elements(
            axes in prop::collection::vec((1usize..4, any::<bool>(), any::<bool>()), 0..7),
            lead in 0usize..4,
        ) {
            let out: Vec<usize> = axes.iter().map(|a| a.0).collect();
            let shape = |pick: fn(&(usize, bool, bool)) -> bool| -> Vec<usize> {
                axes.iter().map(|a| if pick(a) { a.0 } else { 1 }).collect()
            };
            let a = shape(|a| a.1);
            let b = shape(|a| a.2);
            let b = &b[lead.min(b.len())..];
            let broadcast = Broadcast::new(&out, [&a, b]).unwrap();
            for i in 0..out.iter().product() {
                prop_assert_eq!(by_map(&broadcast, 0, i), by_hand(&a, &out, i));
                prop_assert_eq!(by_map(&broadcast, 1, i), by_hand(b, &out, i));
            }
        }
    }

    #[test]
    fn the_common_ways_to_follow_need_no_nest() {
        let out = [4, 3, 5, 7];
        let cases: [(&[usize], Follows); 7] = [
            (&[4, 3, 5, 7], Follows::Same),
            (&[], Follows::Repeat { div: 1, modulus: 1 }),
            (&[7], Follows::Repeat { div: 1, modulus: 7 }),
            (
                &[5, 7],
                Follows::Repeat {
                    div: 1,
                    modulus: 35,
                },
            ),
            (
                &[3, 1, 1],
                Follows::Repeat {
                    div: 35,
                    modulus: 3,
                },
            ),
            (
                &[4, 3, 1, 1],
                Follows::Repeat {
                    div: 35,
                    modulus: 12,
                },
            ),
            (&[4, 1, 5, 1], Follows::Nest),
        ];
        for (shape, expected) in cases {
            let broadcast = Broadcast::new(&out, [shape, &out]).unwrap();
            assert_eq!(follows(&broadcast.axes, 0), expected, "{shape:?}");
            assert_eq!(follows(&broadcast.axes, 1), Follows::Same, "{shape:?}");
        }
    }

    #[test]
    fn what_is_too_large_or_too_deep_has_no_launch() {
        let deep = [2usize; 9];
        let every_other: Vec<usize> = (0..9).map(|a| 1 + a % 2).collect();
        assert!(Broadcast::new(&deep, [&every_other, &deep]).is_none());
        assert!(Broadcast::new(&[1 << 31], [&[1 << 31]]).is_none());
        assert!(Broadcast::new(&[3], [&[2]]).is_none());
        assert!(Args::default().launch("k", 1 << 31, [1; 3]).is_none());
        assert!(Args::default().size(1 << 32).is_none());
    }

    #[test]
    fn a_flat_grid_covers_all_items() {
        for items in [1, 255, 256, 257, 1023, 1024, 1025] {
            let launch = Args::default().flat("k", items, 4).unwrap();
            let threads = launch.grid[0] as usize * THREADS;
            assert!(threads * 4 >= items && (threads - THREADS) * 4 < items);
        }
    }
}
