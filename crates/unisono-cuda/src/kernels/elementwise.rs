//! Launches of `kernels/elementwise.cu`.

use unisono_tensor::DType;

use super::functions::Function;
use super::map::{Args, Broadcast};
use crate::launch::{Buffer, Launch, Place};

/// A function of two values; the numbers are those of `kernels/elementwise.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Binary {
    /// The sum.
    Add = 0,
    /// The difference.
    Sub = 1,
    /// The product.
    Mul = 2,
    /// The quotient; of integers, truncated.
    Div = 3,
    /// The greater.
    Max = 4,
    /// The lesser.
    Min = 5,
    /// `a < 0 ? b * a : a`; floats.
    PRelu = 6,
    /// The remainder with the sign of the dividend.
    Fmod = 7,
    /// The remainder with the sign of the divisor.
    Mod = 8,
    /// The power; floats.
    Pow = 9,
    /// Both; of integers, bit by bit.
    And = 10,
    /// Either.
    Or = 11,
    /// One alone.
    Xor = 12,
}

/// A comparison; the numbers are those of `kernels/elementwise.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Comparison {
    /// Equal.
    Equal = 0,
    /// Less.
    Less = 1,
    /// Less or equal.
    LessOrEqual = 2,
    /// Greater.
    Greater = 3,
    /// Greater or equal.
    GreaterOrEqual = 4,
}

/// `y = f(x)` for `n` floats.
pub fn unary(function: Function, x: Buffer, y: Buffer, n: usize) -> Option<Launch> {
    let args = Args::buffers([x, y]).size(n)?.int(function.code);
    if function.through_f64() {
        return args.flat("unisono_unary_through_f64", n, 1);
    }
    let args = args.float(function.a).float(function.b);
    args.flat("unisono_unary_f32", n, 4)
}

/// `y = !x` for `n` booleans.
pub fn not(x: Buffer, y: Buffer, n: usize) -> Option<Launch> {
    Args::buffers([x, y]).size(n)?.flat("unisono_not", n, 1)
}

/// `y = f(a, b)`; `None` if the type has no such function here.
pub fn binary(
    function: Binary,
    dtype: DType,
    [a, b]: [Buffer; 2],
    y: Buffer,
    broadcast: &Broadcast<2>,
) -> Option<Launch> {
    use Binary::{Add, And, Div, Fmod, Max, Min, Mod, Mul, Or, PRelu, Pow, Sub, Xor};
    let n = broadcast.elements;
    let args = Args::buffers([a, b, y]);
    let numbers = |args: Args| {
        let args = args.size(n)?.int(function as i32);
        let args = args.arg(broadcast.map(0)?).arg(broadcast.map(1)?);
        Some(args.arg(broadcast.axes()?))
    };
    match (dtype, function) {
        (DType::F32, Add | Sub | Mul | Div | Max | Min | PRelu) => {
            numbers(args)?.flat("unisono_binary_f32", n, 4)
        }
        (DType::F32, Fmod | Mod | Pow) => numbers(args)?.flat("unisono_binary_rare_f32", n, 1),
        (DType::Bool, And | Or | Xor) | (DType::I64 | DType::I32, _)
            if !matches!(function, PRelu | Pow) =>
        {
            let kernel = match dtype {
                DType::I64 => "unisono_binary_i64",
                DType::I32 => "unisono_binary_i32",
                _ => "unisono_binary_u8",
            };
            numbers(args.buffer(Some(Buffer::at(Place::Status))))?.flat(kernel, n, 1)
        }
        _ => None,
    }
}

/// `y = x * scale + shift`, fused; scale and shift follow as operand 0 of the broadcast does.
pub fn scale_shift(
    x: Buffer,
    [scale, shift]: [Buffer; 2],
    y: Buffer,
    broadcast: &Broadcast<1>,
) -> Option<Launch> {
    let n = broadcast.elements;
    let args = Args::buffers([x, scale, shift, y]).size(n)?;
    let args = args.arg(broadcast.map(0)?).arg(broadcast.axes()?);
    args.flat("unisono_scale_shift_f32", n, 4)
}

/// `y = a <=> b` as booleans; `None` for types that are not compared here.
pub fn compare(
    comparison: Comparison,
    dtype: DType,
    [a, b]: [Buffer; 2],
    y: Buffer,
    broadcast: &Broadcast<2>,
) -> Option<Launch> {
    let kernel = match dtype {
        DType::F32 => "unisono_compare_f32",
        DType::I64 => "unisono_compare_i64",
        DType::I32 => "unisono_compare_i32",
        DType::U8 | DType::Bool => "unisono_compare_u8",
        _ => return None,
    };
    let args = Args::buffers([a, b, y]).size(broadcast.elements)?;
    let args = args.int(comparison as i32).arg(broadcast.map(0)?);
    let args = args.arg(broadcast.map(1)?).arg(broadcast.axes()?);
    args.flat(kernel, broadcast.elements, 1)
}

/// `y = c ? a : b` for elements of `size` bytes.
pub fn select(
    size: usize,
    operands: [Buffer; 3],
    y: Buffer,
    broadcast: &Broadcast<3>,
) -> Option<Launch> {
    let kernel = match size {
        1 => "unisono_where_1",
        2 => "unisono_where_2",
        4 => "unisono_where_4",
        8 => "unisono_where_8",
        _ => return None,
    };
    let args = Args::buffers(operands).buffer(Some(y));
    let mut args = args.size(broadcast.elements)?;
    for k in 0..3 {
        args = args.arg(broadcast.map(k)?);
    }
    args.arg(broadcast.axes()?)
        .flat(kernel, broadcast.elements, 1)
}

/// `y` is `x` in another type; `None` for types that are not converted here.
pub fn cast(from: DType, to: DType, x: Buffer, y: Buffer, n: usize) -> Option<Launch> {
    let code = |dtype| {
        Some(match dtype {
            DType::F32 => 0,
            DType::I64 => 1,
            DType::I32 => 2,
            DType::I16 => 3,
            DType::I8 => 4,
            DType::U32 => 5,
            DType::U16 => 6,
            DType::U8 => 7,
            DType::Bool => 8,
            _ => return None,
        })
    };
    let args = Args::buffers([x, y]).size(n)?;
    args.int(code(from)?)
        .int(code(to)?)
        .flat("unisono_cast", n, 1)
}
