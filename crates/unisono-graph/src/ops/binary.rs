//! Functions of two or more values with numpy's broadcasting, comparisons, and [`Where`].
//!
//! The one idea: shapes align at their last axis; an axis of length 1 stretches. Integer contents are followed through
//! these operators as expressions, because exporters compute shapes with them.

use super::broadcast;
use super::rules::{self, ANY, BOOL, FLOATS, INTEGERS, NUMBERS, WIDE_NUMBERS};
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// Which function of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryFunction {
    /// Numbers; integers wrap.
    Add,
    /// Numbers; integers wrap.
    Sub,
    /// Numbers; integers wrap.
    Mul,
    /// Numbers; integers truncate towards zero.
    Div,
    /// The base's type is the result's; the exponent may have another number type. Floats, i32 and i64.
    Pow,
    /// `a - floor(a / b) * b`: the sign is the divisor's. Numbers.
    Mod,
    /// `a - trunc(a / b) * b`, as C's `fmod`: the sign is the dividend's. Numbers.
    Fmod,
    /// Integers. A shift by the width or more gives 0.
    ShiftLeft,
    /// Integers; arithmetic for signed ones.
    ShiftRight,
    /// Booleans.
    And,
    /// Booleans.
    Or,
    /// Booleans.
    Xor,
    /// Integers.
    BitwiseAnd,
    /// Integers.
    BitwiseOr,
    /// Integers.
    BitwiseXor,
    /// `x < 0 ? slope * x : x`; floats and 32- and 64-bit integers. The slope stretches to `x`, never the other way.
    PRelu,
}

/// A function of two values with broadcasting. Inputs: `a`, `b`. Kind `Binary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Which function.
    pub function: BinaryFunction,
}

/// Which comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `a == b`; also booleans and strings.
    Equal,
    /// `a < b`.
    Less,
    /// `a <= b`.
    LessOrEqual,
    /// `a > b`.
    Greater,
    /// `a >= b`.
    GreaterOrEqual,
}

/// A comparison with broadcasting. Inputs: `a`, `b` of one type. Output: booleans. Comparisons with NaN are false. Kind
/// `Compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which comparison.
    pub comparison: Comparison,
}

/// Which function of many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VariadicFunction {
    /// The smallest; NaN wins. Numbers.
    Min,
    /// The largest; NaN wins. Numbers.
    Max,
    /// The sum, from left to right. Floats.
    Sum,
    /// The sum, from left to right, divided by the number of inputs. Floats.
    Mean,
}

/// A function of one or more values of one type with broadcasting, applied from left to right. Kind `Variadic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variadic {
    /// Which function.
    pub function: VariadicFunction,
}

/// `condition ? x : y` with broadcasting. Inputs: `condition` (booleans), `x`, `y` of one type, any. Kind `Where`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Where;

impl BinaryFunction {
    /// The ONNX name.
    pub const fn name(self) -> &'static str {
        use BinaryFunction::*;
        match self {
            Add => "Add",
            Sub => "Sub",
            Mul => "Mul",
            Div => "Div",
            Pow => "Pow",
            Mod | Fmod => "Mod",
            ShiftLeft | ShiftRight => "BitShift",
            And => "And",
            Or => "Or",
            Xor => "Xor",
            BitwiseAnd => "BitwiseAnd",
            BitwiseOr => "BitwiseOr",
            BitwiseXor => "BitwiseXor",
            PRelu => "PRelu",
        }
    }

    fn allowed(self) -> &'static [DType] {
        use BinaryFunction::*;
        match self {
            Add | Sub | Mul | Div | Mod | Fmod => NUMBERS,
            Pow => POWER_BASES,
            ShiftLeft | ShiftRight | BitwiseAnd | BitwiseOr | BitwiseXor => INTEGERS,
            And | Or | Xor => BOOL,
            PRelu => WIDE_NUMBERS,
        }
    }

    /// The function of two integers that are known as expressions.
    fn of_integers(self, a: &Dim, b: &Dim) -> Dim {
        use BinaryFunction::*;
        let numbers = a.as_const().zip(b.as_const());
        let boolean = |f: fn(bool, bool) -> bool| match numbers {
            Some((x, y)) => Dim::constant(i64::from(f(x != 0, y != 0))),
            None => Dim::unknown(),
        };
        let known = |value: Option<i64>| value.map_or_else(Dim::unknown, Dim::constant);
        match self {
            Add => a + b,
            Sub => a - b,
            Mul => a * b,
            Div => match numbers {
                Some((x, y)) => known(x.checked_div(y)),
                // Truncation is the floor where nothing is negative.
                None if a.lower_bound() >= Some(0) && b.lower_bound() >= Some(1) => a.floor_div(b),
                None => Dim::unknown(),
            },
            Mod => match numbers {
                Some((x, y)) => known(x.checked_rem(y).map(|r| {
                    if r != 0 && (r < 0) != (y < 0) {
                        r + y
                    } else {
                        r
                    }
                })),
                None if a.div_exact(b).is_some() => Dim::constant(0),
                None => Dim::unknown(),
            },
            Fmod => known(numbers.and_then(|(x, y)| x.checked_rem(y))),
            Pow => known(numbers.and_then(|(x, y)| x.checked_pow(u32::try_from(y).ok()?))),
            And if a.as_const() == Some(0) || b.as_const() == Some(0) => Dim::constant(0),
            And => boolean(|x, y| x && y),
            Or if a.lower_bound() >= Some(1) || b.lower_bound() >= Some(1) => Dim::constant(1),
            Or => boolean(|x, y| x || y),
            Xor => boolean(|x, y| x != y),
            ShiftLeft | ShiftRight | BitwiseAnd | BitwiseOr | BitwiseXor | PRelu => Dim::unknown(),
        }
    }
}

/// Types that `Pow` takes as its base.
const POWER_BASES: &[DType] = &[
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I32,
    DType::I64,
];

/// Two inputs of one allowed type.
fn pair<'a>(
    cx: &InferContext<'a>,
    names: [&str; 2],
    allowed: &[DType],
) -> Result<(&'a Fact, &'a Fact), OpError> {
    let a = rules::typed(cx, 0, names[0], allowed)?;
    let b = rules::typed(cx, 1, names[1], &[a.dtype])?;
    Ok((a, b))
}

impl Operator for Binary {
    fn kind(&self) -> &'static str {
        "Binary"
    }

    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let allowed = self.function.allowed();
        let (a, b) = match self.function {
            BinaryFunction::Pow => (
                rules::typed(cx, 0, "base", allowed)?,
                rules::typed(cx, 1, "exponent", NUMBERS)?,
            ),
            BinaryFunction::PRelu => pair(cx, ["x", "slope"], allowed)?,
            _ => pair(cx, ["a", "b"], allowed)?,
        };
        let shape = if self.function == BinaryFunction::PRelu {
            if let (Some(x), Some(slope)) = (&a.shape, &b.shape) {
                broadcast::stretches_to(slope, x, "input 1 (slope)")?;
            }
            a.shape.clone()
        } else {
            broadcast::facts([a, b])?
        };
        let mut y = rules::of_shape(a.dtype, shape);
        if !a.dtype.is_float() && y.rank().is_some_and(|r| r <= 1) {
            y.integers = broadcast::integers(&[a, b], |v| self.function.of_integers(v[0], v[1]));
        }
        cx.set(0, y);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Ok(rules::for_all(cx, &broadcast::batch(cx)?))
    }
}

impl Comparison {
    /// The ONNX name.
    pub const fn name(self) -> &'static str {
        match self {
            Comparison::Equal => "Equal",
            Comparison::Less => "Less",
            Comparison::LessOrEqual => "LessOrEqual",
            Comparison::Greater => "Greater",
            Comparison::GreaterOrEqual => "GreaterOrEqual",
        }
    }

    /// The comparison of two integers that are known as expressions.
    fn of_integers(self, a: &Dim, b: &Dim) -> Dim {
        let positive = |d: Dim| d.lower_bound() >= Some(1);
        let (below, above) = (positive(b - a), positive(a - b));
        let not_below = (a - b).lower_bound() >= Some(0);
        let not_above = (b - a).lower_bound() >= Some(0);
        let decided = match self {
            Comparison::Equal => a.equals(b),
            Comparison::Less => below.then_some(true).or(not_below.then_some(false)),
            Comparison::Greater => above.then_some(true).or(not_above.then_some(false)),
            Comparison::LessOrEqual => not_above.then_some(true).or(above.then_some(false)),
            Comparison::GreaterOrEqual => not_below.then_some(true).or(below.then_some(false)),
        };
        decided.map_or_else(Dim::unknown, |t| Dim::constant(i64::from(t)))
    }
}

impl Operator for Compare {
    fn kind(&self) -> &'static str {
        "Compare"
    }

    fn name(&self) -> &'static str {
        self.comparison.name()
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let allowed = match self.comparison {
            Comparison::Equal => ANY,
            _ => NUMBERS,
        };
        let (a, b) = pair(cx, ["a", "b"], allowed)?;
        let mut y = rules::of_shape(DType::Bool, broadcast::facts([a, b])?);
        if y.rank().is_some_and(|r| r <= 1) {
            y.integers = broadcast::integers(&[a, b], |v| self.comparison.of_integers(v[0], v[1]));
        }
        cx.set(0, y);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Ok(rules::for_all(cx, &broadcast::batch(cx)?))
    }
}

impl VariadicFunction {
    /// The ONNX name.
    pub const fn name(self) -> &'static str {
        match self {
            VariadicFunction::Min => "Min",
            VariadicFunction::Max => "Max",
            VariadicFunction::Sum => "Sum",
            VariadicFunction::Mean => "Mean",
        }
    }
}

impl Operator for Variadic {
    fn kind(&self) -> &'static str {
        "Variadic"
    }

    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let allowed = match self.function {
            VariadicFunction::Min | VariadicFunction::Max => NUMBERS,
            VariadicFunction::Sum | VariadicFunction::Mean => FLOATS,
        };
        let first = rules::typed(cx, 0, "data_0", allowed)?;
        let mut facts = vec![first];
        for i in 1..cx.inputs().len() {
            facts.push(rules::typed(cx, i, &format!("data_{i}"), &[first.dtype])?);
        }
        let mut y = rules::of_shape(first.dtype, broadcast::facts(facts.iter().copied())?);
        if !first.dtype.is_float() && y.rank().is_some_and(|r| r <= 1) {
            y.integers = broadcast::integers(&facts, |values| {
                let mut values = values.iter();
                let first = values.next().map_or_else(Dim::unknown, |d| (*d).clone());
                values.fold(first, |best, d| match self.function {
                    VariadicFunction::Min => best.smaller(d),
                    _ => best.larger(d),
                })
            });
        }
        cx.set(0, y);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Ok(rules::for_all(cx, &broadcast::batch(cx)?))
    }

    fn flops(&self, inputs: &[Option<Fact>], outputs: &[Option<Fact>]) -> Option<u64> {
        // One operation per element and join; the mean divides too.
        let joins = inputs.len().saturating_sub(1);
        let each = joins + usize::from(self.function == VariadicFunction::Mean);
        let elements = outputs.first()?.as_ref()?.element_count()?;
        rules::count(&[elements, u64::try_from(each).ok()?])
    }
}

impl Operator for Where {
    fn kind(&self) -> &'static str {
        "Where"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let condition = rules::typed(cx, 0, "condition", BOOL)?;
        let x = rules::typed(cx, 1, "x", ANY)?;
        let y = rules::typed(cx, 2, "y", &[x.dtype])?;
        let mut out = rules::of_shape(x.dtype, broadcast::facts([condition, x, y])?);
        if out.rank().is_some_and(|r| r <= 1) {
            out.integers = broadcast::integers(&[condition, x, y], |v| match v[0].as_const() {
                Some(0) => v[2].clone(),
                Some(_) => v[1].clone(),
                None if v[1] == v[2] => v[1].clone(),
                None => Dim::unknown(),
            });
        }
        cx.set(0, out);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Ok(rules::for_all(cx, &broadcast::batch(cx)?))
    }

    fn flops(&self, _inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

fn modulo(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    let function = if spec.attributes.flag("fmod", false)? {
        BinaryFunction::Fmod
    } else {
        BinaryFunction::Mod
    };
    Ok(Arc::new(Binary { function }))
}

fn shift(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    let function = match spec.attributes.string("direction")?.as_deref() {
        Some("LEFT") => BinaryFunction::ShiftLeft,
        Some("RIGHT") => BinaryFunction::ShiftRight,
        Some(other) => {
            return Err(OpError::attribute(
                "direction",
                format!("should be \"LEFT\" or \"RIGHT\" but is \"{other}\""),
            ));
        }
        None => return Err(OpError::attribute("direction", "is missing")),
    };
    Ok(Arc::new(Binary { function }))
}

const fn line(
    name: &'static str,
    since: i64,
    build: fn(&mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError>,
    inputs: (usize, usize),
) -> Definition {
    Definition {
        domain: "",
        name,
        opsets: (since, i64::MAX),
        build,
        inputs,
        outputs: (1, 1),
    }
}

macro_rules! binary {
    ($function:ident, $since:literal) => {
        line(
            BinaryFunction::$function.name(),
            $since,
            |_| {
                Ok(Arc::new(Binary {
                    function: BinaryFunction::$function,
                }))
            },
            (2, 2),
        )
    };
}

macro_rules! compare {
    ($comparison:ident, $since:literal) => {
        line(
            Comparison::$comparison.name(),
            $since,
            |_| {
                Ok(Arc::new(Compare {
                    comparison: Comparison::$comparison,
                }))
            },
            (2, 2),
        )
    };
}

macro_rules! variadic {
    ($function:ident) => {
        line(
            VariadicFunction::$function.name(),
            7,
            |_| {
                Ok(Arc::new(Variadic {
                    function: VariadicFunction::$function,
                }))
            },
            (1, usize::MAX),
        )
    };
}

/// The registry's lines of this family.
pub const OPERATORS: &[Definition] = &[
    binary!(Add, 7),
    binary!(Sub, 7),
    binary!(Mul, 7),
    binary!(Div, 7),
    binary!(Pow, 7),
    line("Mod", 10, modulo, (2, 2)),
    line("BitShift", 11, shift, (2, 2)),
    binary!(And, 7),
    binary!(Or, 7),
    binary!(Xor, 7),
    binary!(BitwiseAnd, 18),
    binary!(BitwiseOr, 18),
    binary!(BitwiseXor, 18),
    binary!(PRelu, 7),
    compare!(Equal, 7),
    compare!(Less, 7),
    compare!(Greater, 7),
    compare!(LessOrEqual, 12),
    compare!(GreaterOrEqual, 12),
    variadic!(Min),
    variadic!(Max),
    variadic!(Sum),
    variadic!(Mean),
    line("Where", 9, |_| Ok(Arc::new(Where)), (3, 3)),
];
