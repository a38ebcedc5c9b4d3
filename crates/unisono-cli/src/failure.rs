//! How the program ends when it does not end well.
//!
//! The one idea: an error is three lines, what, where and what to do, and an exit code that a script can act on. A user's
//! mistake never shows a backtrace.

use std::fmt;
use std::io;
use std::path::Path;

use unisono::ErrorKind;

use crate::npy::NpyError;

/// What the exit code says. 0 is "all is well"; clap itself ends with 2 on a usage error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The reader of our output went away: nothing to say, nothing went wrong.
    Quiet = 0,
    /// A check ran to its end and its verdict is negative.
    Negative = 1,
    /// Usage, or something that was given to us: a file, a model, a shape.
    BadInput = 2,
    /// Our own fault, or the machine's.
    Internal = 3,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    what: String,
    place: Option<String>,
    help: Option<String>,
}

impl Failure {
    /// The user gave something that does not work.
    pub fn bad_input(what: impl Into<String>) -> Failure {
        Failure {
            exit: Exit::BadInput,
            what: what.into(),
            place: None,
            help: None,
        }
    }

    /// A check came to a negative verdict, which was shown.
    pub fn negative(what: impl Into<String>) -> Failure {
        Failure {
            exit: Exit::Negative,
            ..Failure::bad_input(what)
        }
    }

    /// Something failed that the user did not cause.
    pub fn internal(what: impl Into<String>) -> Failure {
        Failure {
            exit: Exit::Internal,
            ..Failure::bad_input(what)
        }
    }

    /// Where: a file, an option, a node.
    pub fn at(mut self, place: impl fmt::Display) -> Failure {
        self.place.get_or_insert_with(|| place.to_string());
        self
    }

    /// What to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// An error of the library about a model's file.
    pub fn of_model(error: &unisono::Error, model: &Path) -> Failure {
        // The reader names the file itself.
        let named = error.message().contains(&*model.to_string_lossy());
        let mut failure = Failure::from(error);
        // A request that does not fit is not the model's fault.
        if !named && error.kind() != ErrorKind::InvalidInput {
            failure.place = Some(match failure.place {
                Some(place) => format!("{}: {place}", model.display()),
                None => model.display().to_string(),
            });
        }
        failure
    }

    /// An `.npy` file that cannot be used.
    pub fn of_npy(error: NpyError, place: impl fmt::Display) -> Failure {
        let failure = Failure::bad_input(error.what).at(place);
        match error.help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

impl From<&unisono::Error> for Failure {
    fn from(error: &unisono::Error) -> Failure {
        let mut failure = Failure::bad_input(error.message());
        failure.place = error.node().map(|node| match error.shapes() {
            [] => format!("node {node}"),
            shapes => format!("node {node}, given {}", shapes.join(", ")),
        });
        failure.help = error.advice().map(str::to_owned);
        match error.kind() {
            ErrorKind::Panic => Failure {
                exit: Exit::Internal,
                ..failure
            },
            ErrorKind::OutOfMemory => Failure {
                exit: Exit::Internal,
                ..failure
            }
            .help("use smaller inputs, or a machine with more memory"),
            _ => failure,
        }
    }
}

impl From<unisono::Error> for Failure {
    fn from(error: unisono::Error) -> Failure {
        Failure::from(&error)
    }
}

/// For writing to standard output: files that are written have a place to name and convert their errors themselves.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let failure = Failure::internal(format!("cannot write the output: {error}"));
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure {
                exit: Exit::Quiet,
                ..failure
            },
            _ => failure,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if let Some(place) = &self.place {
            write!(f, "\n  where: {place}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  what to do: {help}")?;
        }
        Ok(())
    }
}
