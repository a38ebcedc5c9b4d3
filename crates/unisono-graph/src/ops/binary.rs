//! Functions of two or more values with numpy's broadcasting, comparisons, and [`Where`].
//!
//! The one idea: shapes align at their last axis; an axis of length 1 stretches. Integer contents are followed through
//! these operators as expressions, because exporters compute shapes with them.

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
