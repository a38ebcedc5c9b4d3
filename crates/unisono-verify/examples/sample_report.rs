//! Writes a report made by hand into a folder, to look at what a report looks like without running anything:
//! `cargo run -p unisono-verify --example sample_report -- FOLDER [bad]`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(
        arguments
            .next()
            .unwrap_or_else(|| "sample-report".to_owned()),
    );
    let report = match arguments.next().as_deref() {
        Some("bad") => common::bad(),
        _ => common::good(),
    };
    print!("{}", unisono_verify::report::summary(&report));
    for file in report.write(&folder)? {
        println!("{}", file.display());
    }
    Ok(())
}
