//! The engines, each set up as a user would who wants it to be fast on this machine and keeps to 32-bit floats.

mod onnxruntime;
mod openvino;
mod rten;
mod tract;
mod unisono;

use std::fmt::Display;
use std::path::Path;

use crate::request::Request;

/// An engine without a model: what it has of libraries and threads before it loads the first one.
pub trait Library {
    /// Loads a model from its file, whether or not it was loaded before.
    fn load(&self, model: &Path) -> Result<Box<dyn Engine>, String>;

    fn version(&self) -> String;

    /// The name of the device that it runs on, if that is not the processor.
    fn device(&self) -> Option<String> {
        None
    }
}

/// A loaded model, shared by all callers.
pub trait Engine: Sync {
    /// Called before so many callers send requests of a shape, outside any measurement of speed: an engine that compiles for
    /// either does it here.
    fn prepare(&mut self, _request: &Request, _callers: usize) -> Result<(), String> {
        Ok(())
    }

    /// A second session of the model that is loaded, without its file.
    fn share(&self) -> Result<Box<dyn Engine>, String> {
        Err("this engine makes one session of a loaded model".to_owned())
    }

    /// One of so many callers, made on the thread that will ask.
    fn caller<'a>(
        &'a self,
        request: &'a Request,
        callers: usize,
    ) -> Result<Box<dyn Caller + 'a>, String>;

    /// What the processor can do at best, in 10^9 floating-point operations a second.
    fn gflops(&self) -> Result<f64, String> {
        Err("this engine has no probe".to_owned())
    }
}

/// One thread's view of an engine, with its request.
pub trait Caller {
    /// Runs the request; the outputs are fresh, and live until the next one.
    fn ask(&mut self) -> Result<(), String>;

    /// The outputs of the last request, in the model's order, as f32.
    fn answer(&mut self) -> Result<Vec<Vec<f32>>, String>;
}

/// The engine of that name.
pub fn open(engine: &str) -> Result<Box<dyn Library>, String> {
    match engine {
        "unisono" => unisono::open(),
        "ort" => onnxruntime::open(cores()),
        "ort1" => onnxruntime::open(1),
        "openvino" => openvino::open(),
        "rten" => rten::open(),
        "tract" => tract::open(),
        _ => Err(format!("there is no engine `{engine}`")),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn said(error: impl Display) -> String {
    format!("{error:#}")
}

/// The library that the environment variable names.
fn library(variable: &str) -> Result<std::path::PathBuf, String> {
    std::env::var_os(variable)
        .map(Into::into)
        .ok_or_else(|| format!("{variable} must name the engine's shared library"))
}

/// The version of a package that this program was built with.
fn version_of(package: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    let found = lock
        .split_once(&entry)
        .and_then(|(_, rest)| rest.split_once('"'));
    found.map_or("?", |(version, _)| version).to_owned()
}
