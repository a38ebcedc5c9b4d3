//! Shapes for inputs that are made up: what the user says, what the model says, and what nobody says.
//!
//! The one idea: a length comes from the first of these that knows it: a shape that the user gives for the input, the
//! model, `--dim NAME=VALUE`, a default. Defaults are reported, because a run on a length that nobody chose says little.

use std::collections::BTreeMap;
use std::str::FromStr;

use unisono::graph::Fact;
use unisono::graph::infer::{anonymous_name, infer_partial};
use unisono::{Dim, Model, Port};

use crate::failure::Failure;

/// What a symbolic length other than the number of rows is if nobody says: the first of these with which the model's
/// operators can work (a network that halves an image five times needs 32 at least), else the first.
const DEFAULT_LENGTHS: [usize; 5] = [64, 128, 256, 512, 1024];

/// Shapes by input name: `x=1,3,224,224`, or lengths alone for a model with one input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenShapes {
    named: BTreeMap<String, Vec<usize>>,
    unnamed: Option<Vec<usize>>,
}

impl FromStr for GivenShapes {
    type Err = String;

    fn from_str(text: &str) -> Result<GivenShapes, String> {
        let mut shapes = GivenShapes::default();
        for part in text.split(';').filter(|part| !part.trim().is_empty()) {
            // Names may hold `=`, lengths do not.
            match part.rsplit_once('=') {
                Some((name, lengths)) => shapes.add(Some(name.trim()), lengths)?,
                None => shapes.add(None, part)?,
            }
        }
        if shapes == GivenShapes::default() {
            return Err("should be NAME=1,3,224,224 (several joined by ';')".to_owned());
        }
        Ok(shapes)
    }
}

impl GivenShapes {
    fn add(&mut self, name: Option<&str>, lengths: &str) -> Result<(), String> {
        let lengths = match lengths.trim() {
            // `sr=` is a scalar.
            "" => Vec::new(),
            lengths => lengths
                .split([',', 'x'])
                .map(|n| n.trim().parse())
                .collect::<Result<Vec<usize>, _>>()
                .map_err(|_| format!("\"{lengths}\" is no list of lengths such as 1,3,224,224"))?,
        };
        let before = match name {
            Some(name) => self.named.insert(name.to_owned(), lengths),
            None => self.unnamed.replace(lengths),
        };
        match before {
            Some(_) => Err(format!(
                "two shapes are given for {}",
                name.unwrap_or("the input")
            )),
            None => Ok(()),
        }
    }

    /// All of several options.
    ///
    /// # Errors
    /// An input that has two shapes.
    pub fn merged(all: &[GivenShapes]) -> Result<GivenShapes, Failure> {
        let mut merged = GivenShapes::default();
        for shapes in all {
            for (name, shape) in &shapes.named {
                if merged.named.insert(name.clone(), shape.clone()).is_some() {
                    return Err(Failure::bad_input(format!(
                        "two shapes are given for {name}"
                    )));
                }
            }
            if shapes.unnamed.is_some() && merged.unnamed.is_some() {
                return Err(Failure::bad_input("two shapes without a name are given"));
            }
            merged.unnamed = merged.unnamed.or_else(|| shapes.unnamed.clone());
        }
        Ok(merged)
    }

    /// The shape given for this input.
    pub fn get(&self, name: &str) -> Option<&[usize]> {
        self.named
            .get(name)
            .or(self.unnamed.as_ref())
            .map(Vec::as_slice)
    }

    /// Is every name one of the model's, and a shape without a name unambiguous?
    ///
    /// # Errors
    /// If not; says what the model has.
    pub fn check(&self, inputs: &[Port]) -> Result<(), Failure> {
        for name in self.named.keys() {
            known(name, inputs)?;
        }
        if self.unnamed.is_some() && inputs.len() != 1 {
            return Err(Failure::bad_input(format!(
                "a shape without a name fits a model with one input; this one has {}",
                names(inputs)
            ))
            .help("write NAME=LENGTHS for each, joined by ';'"));
        }
        Ok(())
    }
}

/// The input of this name.
///
/// # Errors
/// The model has none; says which it has.
pub fn known<'a>(name: &str, inputs: &'a [Port]) -> Result<&'a Port, Failure> {
    inputs
        .iter()
        .find(|port| &*port.name == name)
        .ok_or_else(|| {
            Failure::bad_input(format!("the model has no input \"{name}\""))
                .help(format!("its inputs are {}", names(inputs)))
        })
}

/// The inputs' names, for messages.
pub fn names(inputs: &[Port]) -> String {
    let names: Vec<String> = inputs
        .iter()
        .map(|port| format!("\"{}\"", port.name))
        .collect();
    names.join(", ")
}

/// What `--dim NAME=VALUE` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenDim {
    name: String,
    value: usize,
}

impl FromStr for GivenDim {
    type Err = String;

    fn from_str(text: &str) -> Result<GivenDim, String> {
        let parsed = text.rsplit_once('=').and_then(|(name, value)| {
            let value = value.trim().parse().ok()?;
            Some(GivenDim {
                name: name.trim().to_owned(),
                value,
            })
        });
        parsed.ok_or_else(|| "should be NAME=LENGTH, such as sequence=128".to_owned())
    }
}

/// Lengths for the symbols of a model's inputs.
pub struct Lengths<'a> {
    inputs: &'a [Port],
    given: BTreeMap<&'a str, usize>,
    /// The symbol that counts the rows, if the contract or the inputs tell.
    rows_symbol: Option<String>,
    /// Is that a guess, because the batch contract does not hold?
    rows_are_guessed: bool,
    /// What a length is that nobody knows.
    default: usize,
    /// Symbols that got a default: name and length.
    defaults: BTreeMap<String, usize>,
}

impl<'a> Lengths<'a> {
    /// Lengths as the user gave them.
    ///
    /// # Errors
    /// A symbol that no input has, or one that is given twice.
    pub fn new(inputs: &'a [Port], dims: &'a [GivenDim]) -> Result<Lengths<'a>, Failure> {
        let mut given = BTreeMap::new();
        let symbols = symbols(inputs);
        for dim in dims {
            if !symbols.contains(&dim.name) {
                let failure =
                    Failure::bad_input(format!("no input has a length named \"{}\"", dim.name));
                return Err(if symbols.is_empty() {
                    failure.help("all lengths of this model's inputs are fixed")
                } else {
                    failure.help(format!("the names are {}", symbols.join(", ")))
                });
            }
            if given.insert(&*dim.name, dim.value).is_some() {
                return Err(Failure::bad_input(format!(
                    "--dim {} is given twice",
                    dim.name
                )));
            }
        }
        let rows_symbol = rows_dim(inputs).map(|dim| dim.to_string());
        Ok(Lengths {
            inputs,
            given,
            rows_symbol,
            rows_are_guessed: inputs.iter().all(|port| port.rows_axis.is_none()),
            default: DEFAULT_LENGTHS[0],
            defaults: BTreeMap::new(),
        })
    }

    /// Lengths for a model's inputs, with a default that the model can work with beside the shapes that are given. `fact`
    /// is what is known of an input of some shape.
    ///
    /// # Errors
    /// As [`Lengths::new`].
    pub fn fitting(
        model: &'a Model,
        dims: &'a [GivenDim],
        shapes: &GivenShapes,
        fact: impl Fn(&Port, &[usize]) -> Fact,
    ) -> Result<Lengths<'a>, Failure> {
        for default in DEFAULT_LENGTHS {
            let mut lengths = Lengths::new(model.inputs(), dims)?;
            lengths.default = default;
            let known = |port: &Port| match shapes.get(&port.name) {
                Some(shape) => Some(fact(port, shape)),
                None => Some(fact(port, &lengths.shape(port, 1).ok()?)),
            };
            let facts: Vec<Option<Fact>> = model.inputs().iter().map(known).collect();
            if infer_partial(model.graph(), &facts).is_ok() {
                // What was asked for to try it is no longer asked for.
                lengths.defaults.clear();
                return Ok(lengths);
            }
        }
        Lengths::new(model.inputs(), dims)
    }

    /// Why the number of rows cannot be chosen, if so.
    pub fn rows_are_fixed_because(&self) -> Option<String> {
        match &self.rows_symbol {
            None => Some("the model's inputs have no axis of free length for rows".to_owned()),
            Some(name) => {
                let value = self.given.get(&**name)?;
                Some(format!("--dim {name}={value} fixes it"))
            }
        }
    }

    /// A concrete shape for this input with that many rows.
    ///
    /// # Errors
    /// The model does not even tell the rank.
    pub fn shape(&mut self, port: &Port, rows: usize) -> Result<Vec<usize>, Failure> {
        let Some(dims) = &port.shape else {
            return Err(Failure::bad_input(format!(
                "the model does not say how many axes input \"{}\" has",
                port.name
            ))
            .help(format!("give its shape: {}=LENGTHS", port.name)));
        };
        let lengths = dims.iter().enumerate().map(|(axis, dim)| {
            let name = name_of(port, axis, dim);
            match dim.as_len() {
                Some(n) => n,
                None => match self.given.get(&*name) {
                    Some(&n) => n,
                    None if Some(axis) == port.rows_axis => rows,
                    None if self.rows_symbol.as_ref() == Some(&name) => rows,
                    // Inputs whose lengths have no names can only be guessed to agree in their first.
                    None if self.rows_are_guessed && axis == 0 && dim.as_symbol().is_none() => rows,
                    None => *self.defaults.entry(name).or_insert(self.default),
                },
            }
        });
        Ok(lengths.collect())
    }

    /// Lengths that nobody chose, for the user to see: `seq=64, height=64`.
    pub fn defaults(&self) -> Option<String> {
        let shown: Vec<String> = self
            .defaults
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        (!shown.is_empty()).then(|| shown.join(", "))
    }

    /// Every open length of the shapes made so far, but for the number of rows.
    pub fn assumed(&self) -> BTreeMap<String, usize> {
        let given = self
            .given
            .iter()
            .map(|(&name, &length)| (name.to_owned(), length));
        self.defaults.clone().into_iter().chain(given).collect()
    }

    /// The inputs that the lengths are for.
    pub fn inputs(&self) -> &'a [Port] {
        self.inputs
    }
}

/// The length that counts rows: the one that the batch contract names; where that does not hold, the free first length
/// of the first input.
fn rows_dim(inputs: &[Port]) -> Option<&Dim> {
    let proven = inputs
        .iter()
        .find_map(|port| port.shape.as_ref()?.get(port.rows_axis?));
    let guessed = || inputs.first()?.shape.as_ref()?.first();
    proven.or_else(guessed).filter(|dim| dim.as_len().is_none())
}

/// What a length is called by `--dim`: its symbol, or input and axis for one without a name.
fn name_of(port: &Port, axis: usize, dim: &Dim) -> String {
    match dim.as_symbol() {
        Some(symbol) => symbol.name().to_owned(),
        None => anonymous_name(&port.name, axis),
    }
}

fn symbols(inputs: &[Port]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for port in inputs {
        for (axis, dim) in port.shape.iter().flatten().enumerate() {
            let name = name_of(port, axis, dim);
            if dim.as_len().is_none() && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono::{DType, Symbol};

    fn port(name: &str, dims: &[&str], rows_axis: Option<usize>) -> Port {
        let dim = |text: &&str| match text.parse::<i64>() {
            Ok(n) => Dim::constant(n),
            Err(_) if *text == "?" => Dim::unknown(),
            Err(_) => Dim::symbol(&Symbol::new(text)),
        };
        Port {
            name: name.into(),
            dtype: DType::F32,
            shape: Some(dims.iter().map(dim).collect()),
            rows_axis,
        }
    }

    #[test]
    fn shapes_are_read_by_name_or_for_a_single_input() {
        let shapes: GivenShapes = "x=1,3,224,224; y = 2 ;sr=;a=b=7".parse().unwrap();
        assert_eq!(shapes.get("x"), Some(&[1, 3, 224, 224][..]));
        assert_eq!(shapes.get("y"), Some(&[2][..]));
        assert_eq!(shapes.get("sr"), Some(&[][..]));
        assert_eq!(shapes.get("a=b"), Some(&[7][..]));
        assert_eq!(shapes.get("z"), None);
        let single: GivenShapes = "1x3x4".parse().unwrap();
        assert_eq!(single.get("anything"), Some(&[1, 3, 4][..]));
        for bad in ["", ";", "x=1,,2", "x=-1", "x=a", "x=1;x=2", "1;2"] {
            assert!(bad.parse::<GivenShapes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shapes_must_be_for_inputs_that_there_are() {
        let inputs = [port("x", &["n"], None), port("y", &["n"], None)];
        let check = |text: &str| text.parse::<GivenShapes>().unwrap().check(&inputs);
        assert!(check("x=1").is_ok());
        let unknown = check("z=1").unwrap_err().to_string();
        assert!(unknown.contains("\"x\", \"y\""), "{unknown}");
        assert!(check("1").is_err());
    }

    #[test]
    fn lengths_come_from_the_model_then_the_user_then_rows_then_defaults() {
        let inputs = [
            port("x", &["batch", "3", "h", "w"], Some(0)),
            port("state", &["2", "?", "128"], Some(1)),
        ];
        let dims = ["h=32".parse().unwrap()];
        let mut lengths = Lengths::new(&inputs, &dims).unwrap();
        assert_eq!(lengths.shape(&inputs[0], 5).unwrap(), [5, 3, 32, 64]);
        assert_eq!(lengths.shape(&inputs[1], 5).unwrap(), [2, 5, 128]);
        assert_eq!(lengths.defaults().as_deref(), Some("w=64"));
        assert!(lengths.rows_are_fixed_because().is_none());
        let unknown = ["depth=1".parse().unwrap()];
        let error = Lengths::new(&inputs, &unknown).err().unwrap().to_string();
        assert!(error.contains("batch, h, w, state[1]"), "{error}");
    }

    #[test]
    fn without_a_contract_the_first_free_length_counts_rows_unless_it_is_set() {
        let inputs = [port("x", &["n", "4"], None), port("mask", &["n"], None)];
        let mut lengths = Lengths::new(&inputs, &[]).unwrap();
        assert_eq!(lengths.shape(&inputs[1], 8).unwrap(), [8]);
        let dims = ["n=3".parse().unwrap()];
        let mut set = Lengths::new(&inputs, &dims).unwrap();
        assert_eq!(set.shape(&inputs[0], 8).unwrap(), [3, 4]);
        assert!(set.rows_are_fixed_because().is_some());
        let fixed = [port("x", &["1", "4"], None)];
        assert!(
            Lengths::new(&fixed, &[])
                .unwrap()
                .rows_are_fixed_because()
                .is_some()
        );
    }
}
