//! The kernels that ship as PTX, and for each a function that builds its launch.

pub mod attention;
pub mod conv;
pub mod elementwise;
pub mod functions;
pub mod gemm;
pub mod map;
pub mod movement;
pub mod pool;
pub mod recurrent;
pub mod roof;
pub mod rows;
pub mod staging;
pub mod tile;

use crate::driver::Source;

/// One of the files in `ptx/`.
macro_rules! source {
    ($name:literal) => {
        Source {
            name: $name,
            ptx: include_str!(concat!("../../ptx/", $name, ".ptx")),
        }
    };
}

/// All kernels. A device compiles those files that a model wants.
pub const SOURCES: &[Source] = &[
    source!("attention"),
    source!("conv"),
    source!("elementwise"),
    source!("gemm"),
    source!("gemm_strided"),
    source!("movement"),
    source!("pool"),
    source!("recurrent"),
    source!("roof"),
    source!("rows"),
    source!("staging"),
    source!("through_f64"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_kernels_ships() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/ptx");
        let files = std::fs::read_dir(folder).unwrap();
        let mut found: Vec<String> = files
            .map(|file| file.unwrap().path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        found.sort();
        let listed: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
        assert_eq!(found, listed);
    }
}
