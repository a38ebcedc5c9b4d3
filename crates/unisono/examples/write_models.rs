//! Writes the two small models that the documentation's examples load, into the folder given (`examples` if none is).
//!
//! `cargo run -p unisono --example write_models -- crates/unisono/examples`

mod models {
    include!("support/models.rs");
}

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(|| "examples".into(), PathBuf::from);
    for (name, bytes) in models::all() {
        let path = folder.join(name);
        std::fs::write(&path, bytes)?;
        println!("{}", path.display());
    }
    Ok(())
}
