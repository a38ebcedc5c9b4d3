//! Launches of `kernels/staging.cu`: copies between the device and page-locked memory.

use super::map::Args;
use crate::launch::{Arg, Launch};

/// Bytes that one thread copies at a time.
pub const PIECE_BYTES: usize = 16;

/// Pieces of a thread; `EACH` in the kernel.
const EACH: usize = 4;

/// Copies so many bytes, rounded up to whole pieces, from one address to another. `None` if no grid is so large.
pub fn copy(from: u64, to: u64, bytes: usize) -> Option<Launch> {
    let pieces = bytes.div_ceil(PIECE_BYTES);
    Args::buffers([])
        .arg(Arg::value(&from))
        .arg(Arg::value(&to))
        .size(pieces)?
        .flat("unisono_stage", pieces, EACH)
}

/// Writes [`ENDED`] into the word at this address, when everything before it has ended and can be seen by the host.
pub fn ended(word: u64) -> Option<Launch> {
    let args = Args::buffers([]).arg(Arg::value(&word));
    args.launch("unisono_ended", 1, [1, 1, 1])
}

/// What [`ended`] writes.
pub const ENDED: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::ptx::entries;
    use crate::kernels::SOURCES;

    #[test]
    fn launches_have_the_arguments_of_the_kernel_and_enough_threads() {
        let source = SOURCES.iter().find(|source| source.name == "staging");
        let declared = entries(source.unwrap().ptx);
        for bytes in [1, 16, 17, 16 << 10, (16 << 10) + 1, 5 << 20] {
            let launch = copy(4096, 8192, bytes).unwrap();
            declared[0].check(&launch).unwrap();
            let threads = (launch.grid[0] * launch.block[0]) as usize;
            assert!(threads * EACH * PIECE_BYTES >= bytes);
            assert!((threads - 256) * EACH * PIECE_BYTES < bytes);
        }
        assert!(copy(0, 0, usize::MAX).is_none());
        declared[1].check(&ended(4096).unwrap()).unwrap();
    }

    #[test]
    fn pieces_are_those_of_the_kernel() {
        let source = include_str!("../../kernels/staging.cu");
        assert!(source.contains(&format!("EACH = {EACH};")));
        assert!(source.contains(&format!("*word = {ENDED};")));
        assert!(source.contains("__launch_bounds__(256)") && super::super::map::THREADS == 256);
    }
}
