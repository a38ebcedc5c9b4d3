//! A kernel launch as data: what is started, how wide, and on which buffers.
//!
//! The one idea: launches are built, tested and counted without a device. Addresses come in when a lane captures them.

use smallvec::SmallVec;

/// Where a value's bytes are. Every place but the status word begins at a multiple of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Input number n of the program, in the lane's staging block on the device.
    Input(usize),
    /// Output number n of the program, likewise.
    Output(usize),
    /// Number n of the program's constants on the device: weights, packed or as they are, and tables.
    Constant(usize),
    /// The need with this number; after the layout, this offset in bytes in the lane's arena.
    Arena(usize),
    /// The lane's status word, a `u32` that is 0 when a batch begins. A kernel whose data it cannot compute with sets one of the bits of
    /// [`status`] and goes on, reading and writing nothing out of bounds. The executor looks at the word behind the batch: if it is not 0
    /// the results are void, and running the requests elsewhere says which one is at fault and how.
    Status,
}

/// The bits of [`Place::Status`]; `kernels/map.cuh` has the same numbers.
pub mod status {
    /// An index lies outside of its axis.
    pub const BAD_INDEX: u32 = 1;
    /// An integer was divided by zero.
    pub const DIVISION_BY_ZERO: u32 = 2;
}

/// Bytes on the device, from an offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffer {
    /// Where they are.
    pub place: Place,
    /// How many bytes behind its start.
    pub offset: usize,
}

impl Buffer {
    /// The start of a place.
    pub const fn at(place: Place) -> Buffer {
        Buffer { place, offset: 0 }
    }

    /// `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: usize) -> Buffer {
        Buffer {
            place: self.place,
            offset: self.offset + bytes,
        }
    }
}

/// One argument of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    /// An address.
    Buffer(Buffer),
    /// A null pointer, for an operand that is not there.
    Null,
    /// A value passed as it is: a scalar, or a `repr(C)` struct of them.
    Bytes(SmallVec<[u8; 32]>),
}

impl Arg {
    /// A value as an argument.
    pub fn value<T: bytemuck::NoUninit>(value: &T) -> Arg {
        Arg::Bytes(SmallVec::from_slice(bytemuck::bytes_of(value)))
    }

    /// A struct of 32-bit numbers as an argument.
    pub fn words(words: &[u32]) -> Arg {
        Arg::Bytes(SmallVec::from_slice(bytemuck::cast_slice(words)))
    }
}

/// One kernel launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The kernel's name in the PTX.
    pub kernel: &'static str,
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared: u32,
    /// The arguments in the kernel's order.
    pub args: SmallVec<[Arg; 8]>,
}
