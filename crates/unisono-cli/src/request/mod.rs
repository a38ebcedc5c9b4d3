//! What a request is made of: arrays from files, and numbers made up where none are given.

pub mod random;
pub mod shapes;

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use unisono::graph::Fact;
use unisono::{DType, Dim, Model, Port, Tensor};

use crate::failure::Failure;
use crate::npy;
use random::{IntRange, Random};
use shapes::{GivenDim, GivenShapes, Lengths};

/// Options for made-up inputs, the same for every command that makes some.
#[derive(Args, Clone, Debug)]
pub struct MadeUp {
    /// Seed of made-up inputs
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// From which made-up integers are drawn, both ends included
    #[arg(
        long,
        value_name = "LOW:HIGH",
        default_value = "0:1",
        allow_hyphen_values = true
    )]
    pub int_range: IntRange,

    #[command(flatten)]
    pub assumptions: Assumptions,
}

/// What is said about inputs without making them.
#[derive(Args, Clone, Debug)]
pub struct Assumptions {
    /// Give an input one value everywhere, such as sr=16000
    #[arg(long = "fill", visible_alias = "value", value_name = "NAME=X")]
    fills: Vec<Fill>,

    /// Set a symbolic length, such as sequence=128; `unisono inspect` names them
    #[arg(long = "dim", value_name = "NAME=LENGTH")]
    dims: Vec<GivenDim>,
}

/// Filled inputs with more elements are not looked into by inference.
const LARGEST_KNOWN: usize = 1024;

impl Assumptions {
    /// Lengths for a model's inputs, beside shapes that are given.
    ///
    /// # Errors
    /// Something is said about an input or a length that the model does not have, or twice.
    pub fn lengths<'a>(
        &'a self,
        model: &'a Model,
        given: &GivenShapes,
    ) -> Result<Lengths<'a>, Failure> {
        given.check(model.inputs())?;
        for (i, fill) in self.fills.iter().enumerate() {
            shapes::known(&fill.name, model.inputs())?;
            if self.fills[..i].iter().any(|other| other.name == fill.name) {
                return Err(Failure::bad_input(format!(
                    "--fill {} is given twice",
                    fill.name
                )));
            }
        }
        Lengths::fitting(model, &self.dims, given, |port, shape| {
            self.fact(port, shape)
        })
    }

    /// What inference may know of an input of this shape.
    pub fn fact(&self, port: &Port, shape: &[usize]) -> Fact {
        let small = unisono::element_count(shape).is_some_and(|n| n <= LARGEST_KNOWN);
        let filled = self.fill(port).filter(|_| small);
        match filled.and_then(|fill| random::filled(port.dtype, shape, fill.value).ok()) {
            Some(tensor) => Fact::constant(&tensor),
            None => Fact::new(port.dtype, shape.iter().map(|&n| Dim::from(n)).collect()),
        }
    }

    /// The value that an input has everywhere, if one is said.
    fn fill(&self, port: &Port) -> Option<&Fill> {
        self.fills.iter().find(|fill| *fill.name == *port.name)
    }
}

/// What `--fill NAME=X` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    name: String,
    value: f64,
}

impl FromStr for Fill {
    type Err = String;

    fn from_str(text: &str) -> Result<Fill, String> {
        let parsed = text.rsplit_once('=').and_then(|(name, value)| {
            let value = value.trim().parse().ok()?;
            Some(Fill {
                name: name.trim().to_owned(),
                value,
            })
        });
        parsed.ok_or_else(|| "should be NAME=NUMBER, such as sr=16000".to_owned())
    }
}

impl MadeUp {
    /// Does a `--fill` give this input its values?
    pub fn fills(&self, port: &Port) -> bool {
        self.assumptions.fill(port).is_some()
    }

    /// Where an input's values come from, for people.
    pub fn origin(&self, port: &Port) -> String {
        if let Some(fill) = self.assumptions.fill(port) {
            return format!("filled with {}", fill.value);
        }
        match port.dtype {
            dtype if dtype.is_int() => format!("made up: seed {}, {}", self.seed, self.int_range),
            DType::Bool => format!("made up: seed {}", self.seed),
            _ => format!("made up: seed {}, -1 to 1", self.seed),
        }
    }

    /// One input of this shape. `caller` tells requests of several callers apart.
    ///
    /// # Errors
    /// No values can be made up for the type, or they do not fit in memory.
    pub fn input(&self, port: &Port, shape: &[usize], caller: u64) -> Result<Tensor, Failure> {
        let made = match self.assumptions.fill(port) {
            Some(fill) => random::filled(port.dtype, shape, fill.value),
            None => {
                // Caller 0 is `run`'s and everybody's first: the same numbers in every command.
                let seed = self.seed ^ caller.wrapping_mul(0xd134_2543_de82_ef95);
                let mut random = Random::new(seed, &port.name);
                random::tensor(port.dtype, shape, &mut random, self.int_range)
            }
        };
        made.map_err(|failure| failure.at(format_args!("input \"{}\"", port.name)))
    }

    /// All inputs for a number of rows.
    ///
    /// # Errors
    /// As [`MadeUp::input`], and a shape that nobody tells.
    pub fn inputs(
        &self,
        lengths: &mut Lengths<'_>,
        given: &GivenShapes,
        rows: usize,
        caller: u64,
    ) -> Result<Vec<Tensor>, Failure> {
        let ports = lengths.inputs();
        let make = |port: &Port| {
            let shape = match given.get(&port.name) {
                Some(shape) => shape.to_vec(),
                None => lengths.shape(port, rows)?,
            };
            self.input(port, &shape, caller)
        };
        ports.iter().map(make).collect()
    }
}

/// What `--input NAME=FILE.npy` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenFile {
    /// The input.
    pub name: String,
    /// Where its array is.
    pub file: PathBuf,
}

impl FromStr for GivenFile {
    type Err = String;

    fn from_str(text: &str) -> Result<GivenFile, String> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok(GivenFile {
                name: name.to_owned(),
                file: file.into(),
            }),
            _ => Err("should be NAME=FILE.npy".to_owned()),
        }
    }
}

impl GivenFile {
    /// Reads the array for this input.
    ///
    /// # Errors
    /// The file cannot be read, or holds another type.
    pub fn read(&self, port: &Port) -> Result<Tensor, Failure> {
        let place = || self.file.display().to_string();
        let tensor = npy::read(&self.file).map_err(|error| Failure::of_npy(error, place()))?;
        if tensor.dtype() == port.dtype {
            return Ok(tensor);
        }
        if port.dtype == DType::BF16 && tensor.dtype() == DType::F32 {
            return npy::to_bf16(&tensor).map_err(|error| Failure::of_npy(error, place()));
        }
        let mut failure = Failure::bad_input(format!(
            "input \"{}\" should be {} but the array is {}",
            port.name,
            port.dtype,
            tensor.dtype()
        ))
        .at(place());
        if let Some(name) = npy::python_name(port.dtype) {
            failure = failure.help(format!(
                "convert it in Python with array.astype(\"{name}\")"
            ));
        }
        Err(failure)
    }
}
