//! The program `unisono`: inspect, run and measure models from a shell.
//!
//! The one idea: it uses nothing but what the library `unisono` offers to everybody.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod console;
mod failure;
mod npy;
mod request;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use failure::{Exit, Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = std::panic::catch_unwind(|| {
        let mut out = io::stdout().lock();
        cli.run(&mut out).and_then(|()| Ok(out.flush()?))
    });
    // The panic's own message is on standard error already.
    let outcome = outcome.unwrap_or_else(|_| {
        Err(Failure::internal("the program panicked")
            .help("please report this with the message above and the command line"))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.exit != Exit::Quiet {
                // Nobody is left to tell if this fails.
                let _ = writeln!(io::stderr(), "{failure}");
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}
