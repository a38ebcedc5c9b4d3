//! What one request asks: tensors by name, read from the files that `tools/bench_models.py` writes.
//!
//! `inputs.txt` has a line for each, `TYPE SHAPE NAME` (`f32 8x512 x`), and `0.bin`, `1.bin`, ... their little-endian values.

use std::path::Path;

/// The inputs of one request.
#[derive(Clone)]
pub struct Request {
    pub rows: usize,
    pub inputs: Vec<Input>,
}

#[derive(Clone)]
pub struct Input {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Values,
}

/// The types that the models of the benchmark ask for.
#[derive(Clone)]
pub enum Values {
    F32(Vec<f32>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Request {
    /// # Errors
    /// If a file is missing or is not what the list says.
    pub fn read(folder: &Path, rows: usize) -> Result<Request, String> {
        let said = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        let list = folder.join("inputs.txt");
        let text = std::fs::read_to_string(&list).map_err(|error| said(&list, error))?;
        let mut inputs = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let path = folder.join(format!("{i}.bin"));
            let bytes = std::fs::read(&path).map_err(|error| said(&path, error))?;
            inputs.push(
                input(line, &bytes).ok_or_else(|| format!("{}: not `{line}`", path.display()))?,
            );
        }
        Ok(Request { rows, inputs })
    }
}

fn input(line: &str, bytes: &[u8]) -> Option<Input> {
    let mut words = line.splitn(3, ' ');
    let (kind, shape, name) = (words.next()?, words.next()?, words.next()?.to_owned());
    let shape: Vec<usize> = shape
        .split('x')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let values = match kind {
        "f32" => Values::F32(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
        ),
        "i32" => Values::I32(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| i32::from_le_bytes(*b))
                .collect(),
        ),
        "i64" => Values::I64(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b))
                .collect(),
        ),
        _ => return None,
    };
    let found = match &values {
        Values::F32(values) => values.len(),
        Values::I32(values) => values.len(),
        Values::I64(values) => values.len(),
    };
    (found == shape.iter().product::<usize>()).then_some(Input {
        name,
        shape,
        values,
    })
}
