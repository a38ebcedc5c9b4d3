//! The header of an `.npy` file: a Python dictionary with three keys, in a length-prefixed line of text.
//!
//! The one idea: the dictionary is read by a parser of just the literals that can stand in it (strings, `True`,
//! `False`, tuples of integers), never by anything that evaluates.

use std::fmt;

use super::NpyError;
use unisono::DType;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Longer headers belong to structures with thousands of fields, which are not read anyway.
const LONGEST_HEADER: usize = 64 << 10;

/// numpy's own limit is 64.
const LARGEST_RANK: usize = 64;

/// The order of an item's bytes in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    Little,
    Big,
}

/// What the items are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descr {
    Number(DType, ByteOrder),
    /// Strings of this many UTF-32 code points.
    Unicode(usize, ByteOrder),
}

impl Descr {
    /// Bytes of one item.
    pub fn item_bytes(self) -> usize {
        match self {
            Descr::Number(dtype, _) => dtype.size(),
            Descr::Unicode(width, _) => width.saturating_mul(4),
        }
    }
}

impl fmt::Display for Descr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Descr::Number(dtype, _) => fmt::Display::fmt(dtype, f),
            Descr::Unicode(width, _) => write!(f, "string of {width}"),
        }
    }
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub descr: Descr,
    pub fortran_order: bool,
    pub shape: Vec<usize>,
}

/// A file's header and what comes after it.
pub fn split(bytes: &[u8]) -> Result<(Header, &[u8]), NpyError> {
    let cut = || {
        NpyError::new("the file ends within its header")
            .help("the file was cut short; write it again with numpy.save")
    };
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(not_npy(bytes));
    };
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match version[0] {
        1 => {
            let (n, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(*n)), rest)
        }
        2 | 3 => {
            let (n, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            let n = u32::from_le_bytes(*n);
            (usize::try_from(n).unwrap_or(usize::MAX), rest)
        }
        other => {
            return Err(NpyError::new(format!(
                "it is of version {other}.{} of the .npy format; versions 1 to 3 can be read",
                version[1]
            )));
        }
    };
    if length > LONGEST_HEADER {
        return Err(NpyError::new(format!(
            "its header claims {length} bytes; at most {LONGEST_HEADER} are read"
        )));
    }
    let (text, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let text = std::str::from_utf8(text).map_err(|_| NpyError::new("its header is not text"))?;
    Ok((Literals::new(text).header()?, data))
}

/// The bytes before the data, padded so that the data starts at a multiple of 64.
pub fn bytes(descr: &str, shape: &[usize]) -> Vec<u8> {
    let dims: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
    let mut text = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}",
        // `(3,)` needs its comma, `(3, 4)` must not be `(3,4,)` to look as numpy writes it.
        match shape {
            [one] => format!("{one},"),
            _ => dims.join(" ").trim_end_matches(',').to_owned(),
        }
    );
    // Magic, version, the length itself; then the text, which a newline ends.
    let before = MAGIC.len() + 2 + 2;
    let padded = (before + text.len() + 1).next_multiple_of(64) - before;
    text.extend(std::iter::repeat_n(' ', padded - 1 - text.len()));
    text.push('\n');
    let mut out = MAGIC.to_vec();
    // A tensor's rank is bounded far below what would need the longer length of version 2; were it not, version 2
    // differs in nothing else.
    match u16::try_from(text.len()) {
        Ok(n) => {
            out.extend([1, 0]);
            out.extend(n.to_le_bytes());
        }
        Err(_) => {
            out.extend([2, 0]);
            let n = u32::try_from(text.len()).unwrap_or(u32::MAX);
            out.extend(n.to_le_bytes());
        }
    }
    out.extend(text.as_bytes());
    out
}

/// How numpy spells a numeric type, little-endian.
pub fn number_descr(dtype: DType) -> String {
    let size = dtype.size();
    let kind = match dtype {
        DType::Bool => 'b',
        d if d.is_float() => 'f',
        DType::U8 | DType::U16 | DType::U32 | DType::U64 => 'u',
        _ => 'i',
    };
    let order = if size == 1 { '|' } else { '<' };
    format!("{order}{kind}{size}")
}

fn not_npy(bytes: &[u8]) -> NpyError {
    let error = NpyError::new("it is not an .npy file");
    if bytes.starts_with(b"PK\x03\x04") {
        return error
            .help("it looks like an .npz archive: load it with numpy.load and save each array");
    }
    error.help("write one with numpy.save(\"x.npy\", array)")
}

/// Reads `descr`, which is `'<f4'` or the like.
fn descr(text: &str) -> Result<Descr, NpyError> {
    let (order, rest) = match text.split_at_checked(1) {
        Some(("<" | "|" | "=", rest)) => (ByteOrder::Little, rest),
        Some((">", rest)) => (ByteOrder::Big, rest),
        _ => (ByteOrder::Little, text),
    };
    let (kind, size) = rest.split_at_checked(1).unwrap_or((rest, ""));
    let dtype = match (kind, size) {
        ("b", "1") | ("?", "") => DType::Bool,
        ("i", "1") => DType::I8,
        ("i", "2") => DType::I16,
        ("i", "4") => DType::I32,
        ("i", "8") => DType::I64,
        ("u", "1") => DType::U8,
        ("u", "2") => DType::U16,
        ("u", "4") => DType::U32,
        ("u", "8") => DType::U64,
        ("f", "2") => DType::F16,
        ("f", "4") => DType::F32,
        ("f", "8") => DType::F64,
        ("U", width) => {
            let width = width.parse().ok().filter(|&n| n <= usize::MAX / 4);
            return match width {
                Some(width) => Ok(Descr::Unicode(width, order)),
                None => Err(unsupported(text, "")),
            };
        }
        ("f" | "c" | "g", _) => return Err(unsupported(text, "array.astype(\"float32\")")),
        ("S" | "a", _) => return Err(unsupported(text, "array.astype(\"U\")")),
        ("O", _) => return Err(unsupported(text, "array.astype(...)")),
        _ => return Err(unsupported(text, "")),
    };
    Ok(Descr::Number(dtype, order))
}

fn unsupported(descr: &str, convert: &str) -> NpyError {
    let shown: String = descr.escape_debug().take(40).collect();
    let error = NpyError::new(format!("its element type '{shown}' is not supported"));
    if convert.is_empty() {
        error.help("convert the array to a bool, int, uint, float16, float32, float64 or str type")
    } else {
        error.help(format!("convert it in Python with {convert} before saving"))
    }
}

/// A cursor over the header's text.
struct Literals<'a> {
    rest: &'a str,
}

impl<'a> Literals<'a> {
    fn new(text: &'a str) -> Literals<'a> {
        Literals { rest: text }
    }

    fn header(mut self) -> Result<Header, NpyError> {
        let (mut descr_, mut fortran_order, mut shape) = (None, None, None);
        self.expect("{")?;
        while !self.accept("}") {
            let key = self.string()?;
            self.expect(":")?;
            let new = match key {
                "descr" if self.peek('[') => {
                    return Err(NpyError::new("it holds structures, not plain numbers")
                        .help("save each field as an array of its own"));
                }
                "descr" => descr_.replace(descr(self.string()?)?).is_none(),
                "fortran_order" => fortran_order.replace(self.boolean()?).is_none(),
                "shape" => shape.replace(self.tuple()?).is_none(),
                _ => return Err(self.wrong("a key other than descr, fortran_order and shape")),
            };
            if !new {
                return Err(self.wrong("a key that occurs twice"));
            }
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        if !self.rest.trim().is_empty() {
            return Err(self.wrong("text after the dictionary"));
        }
        match (descr_, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header {
                descr,
                fortran_order,
                shape,
            }),
            _ => Err(self.wrong("no descr, fortran_order or shape")),
        }
    }

    fn wrong(&self, what: &str) -> NpyError {
        NpyError::new(format!("its header has {what}"))
            .help("the file is damaged; write it again with numpy.save")
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn peek(&mut self, c: char) -> bool {
        self.skip_spaces();
        self.rest.starts_with(c)
    }

    fn accept(&mut self, token: &str) -> bool {
        self.skip_spaces();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), NpyError> {
        if self.accept(token) {
            return Ok(());
        }
        Err(self.wrong(&format!("no '{token}' where one belongs")))
    }

    /// A string literal. None that belongs here has an escape in it.
    fn string(&mut self) -> Result<&'a str, NpyError> {
        let quote = if self.accept("'") { '\'' } else { '"' };
        if quote == '"' {
            self.expect("\"")?;
        }
        match self.rest.split_once(quote) {
            Some((text, rest)) if !text.contains(['\\', '\n']) => {
                self.rest = rest;
                Ok(text)
            }
            _ => Err(self.wrong("a string that does not end")),
        }
    }

    fn boolean(&mut self) -> Result<bool, NpyError> {
        if self.accept("True") {
            Ok(true)
        } else if self.accept("False") {
            Ok(false)
        } else {
            Err(self.wrong("a fortran_order that is neither True nor False"))
        }
    }

    /// `()`, `(3,)`, `(3, 4)`. Python 2 wrote long integers with an `L`.
    fn tuple(&mut self) -> Result<Vec<usize>, NpyError> {
        self.expect("(")?;
        let mut numbers = Vec::new();
        while !self.accept(")") {
            self.skip_spaces();
            let end = self.rest.find(|c: char| !c.is_ascii_digit());
            let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            let number = digits
                .parse()
                .map_err(|_| self.wrong("a length in shape that is not a number"))?;
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            numbers.push(number);
            if numbers.len() > LARGEST_RANK {
                return Err(self.wrong("more than 64 axes"));
            }
            if !self.accept(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(numbers)
    }
}
