//! Launches of `kernels/roof.cu`: loops that do nothing but multiply, or read.

use super::map::Args;
use crate::launch::{Buffer, Launch};

/// Multiply-adds of a thread in each round; `CHAINS` in the kernel.
pub const CHAINS: usize = 16;

/// Threads of a block that multiplies.
pub const THREADS: usize = 1024;

/// Blocks that read on each processor.
const READERS: usize = 4;

/// So many blocks with [`THREADS`] threads, each with so many rounds (a multiple of eight) of [`CHAINS`] multiply-adds.
pub fn multiply_adds(blocks: usize, rounds: usize, out: Buffer) -> Option<Launch> {
    let args = Args::buffers([out]).size(rounds)?.float(0.5);
    args.launch("unisono_roof_multiply_adds", blocks, [THREADS as u32, 1, 1])
}

/// All of `processors` read `bytes` so many times.
pub fn read(
    processors: usize,
    bytes: usize,
    passes: usize,
    data: Buffer,
    out: Buffer,
) -> Option<Launch> {
    let args = Args::buffers([data, out]).size(bytes / 16)?.size(passes)?;
    args.launch("unisono_roof_read", processors * READERS, [512, 1, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::ptx::entries;
    use crate::kernels::SOURCES;
    use crate::launch::Place;

    #[test]
    fn launches_have_the_arguments_that_their_kernels_declare() {
        let at = |n| Buffer::at(Place::Arena(n));
        let source = SOURCES.iter().find(|source| source.name == "roof").unwrap();
        let declared: Vec<_> = entries(source.ptx);
        for launch in [
            multiply_adds(132, 4096, at(0)).unwrap(),
            read(132, 256 << 20, 3, at(0), at(1)).unwrap(),
        ] {
            let entry = declared.iter().find(|entry| entry.name == launch.kernel);
            entry.unwrap().check(&launch).unwrap();
        }
        assert!(read(132, usize::MAX, 1, at(0), at(1)).is_none());
    }

    #[test]
    fn operations_are_counted_as_the_kernel_does_them() {
        let source = include_str!("../../kernels/roof.cu");
        assert!(source.contains(&format!("CHAINS = {CHAINS};")));
        assert!(source.contains(&format!("__launch_bounds__({THREADS})")));
    }
}
