//! Functions of one value, as kernels are told of them.
//!
//! The one idea: a code and two numbers say which function, so that one kernel serves all and a product's epilogue can apply any. The
//! numbers are those of `kernels/functions.cuh` and `kernels/double.cuh`.

use unisono_reference::arith::Unary;

/// A function of one `f32` value in the words of `unisono_activate` and `unisono_function`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Function {
    /// Which one.
    pub code: i32,
    /// Its first attribute, or 0.
    pub a: f32,
    /// Its second attribute, or 0.
    pub b: f32,
}

/// The first code of the functions that go through `f64`.
const DOUBLE: i32 = 64;

impl Function {
    /// `x` itself.
    pub const IDENTITY: Function = Function {
        code: 0,
        a: 0.0,
        b: 0.0,
    };

    /// Does it go through `f64`? Then `unisono_function` has it, and `unisono_activate` does not.
    pub fn through_f64(self) -> bool {
        self.code >= DOUBLE
    }
}

/// A function as `unisono_activate` takes it; `None` if it goes through `f64`, which no epilogue carries.
pub fn activation(function: Unary) -> Option<Function> {
    Some(of(function)).filter(|f| !f.through_f64())
}

/// Any function.
pub fn of(function: Unary) -> Function {
    let (code, a, b) = match function {
        Unary::Abs => (1, 0.0, 0.0),
        Unary::Neg => (2, 0.0, 0.0),
        Unary::Reciprocal => (3, 0.0, 0.0),
        Unary::Square => (4, 0.0, 0.0),
        Unary::Sqrt => (5, 0.0, 0.0),
        Unary::Rsqrt => (6, 0.0, 0.0),
        Unary::Sign => (7, 0.0, 0.0),
        Unary::Floor => (8, 0.0, 0.0),
        Unary::Ceil => (9, 0.0, 0.0),
        Unary::Round => (10, 0.0, 0.0),
        Unary::Exp => (11, 0.0, 0.0),
        Unary::Log => (12, 0.0, 0.0),
        Unary::Tanh => (13, 0.0, 0.0),
        Unary::Erf => (14, 0.0, 0.0),
        Unary::Sigmoid => (15, 0.0, 0.0),
        Unary::Relu => (16, 0.0, 0.0),
        Unary::LeakyRelu { alpha } => (17, alpha, 0.0),
        Unary::ThresholdedRelu { alpha } => (18, alpha, 0.0),
        Unary::Elu { alpha } => (19, alpha, 0.0),
        Unary::Selu { alpha, gamma } => (20, alpha, gamma),
        Unary::Celu { alpha } => (21, alpha, 0.0),
        Unary::Clip { low, high } => (22, low, high),
        Unary::HardSigmoid { alpha, beta } => (23, alpha, beta),
        Unary::HardSwish => (24, 0.0, 0.0),
        Unary::Shrink { lambda, bias } => (25, lambda, bias),
        Unary::Softplus => (26, 0.0, 0.0),
        Unary::Softsign => (27, 0.0, 0.0),
        Unary::Swish { alpha } => (28, alpha, 0.0),
        Unary::Mish => (29, 0.0, 0.0),
        Unary::Gelu => (30, 0.0, 0.0),
        Unary::GeluTanh => (31, 0.0, 0.0),
        Unary::Sin => (64, 0.0, 0.0),
        Unary::Cos => (65, 0.0, 0.0),
        Unary::Tan => (66, 0.0, 0.0),
        Unary::Asin => (67, 0.0, 0.0),
        Unary::Acos => (68, 0.0, 0.0),
        Unary::Atan => (69, 0.0, 0.0),
        Unary::Sinh => (70, 0.0, 0.0),
        Unary::Cosh => (71, 0.0, 0.0),
        Unary::Asinh => (72, 0.0, 0.0),
        Unary::Acosh => (73, 0.0, 0.0),
        Unary::Atanh => (74, 0.0, 0.0),
    };
    Function { code, a, b }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LEAKY_RELU` of a C++ enumerator, for `LeakyRelu { .. }` of a Rust one.
    fn screaming(name: &str) -> String {
        let mut out = String::new();
        for c in name.chars().take_while(|c| c.is_alphanumeric()) {
            if c.is_uppercase() && !out.is_empty() {
                out.push('_');
            }
            out.push(c.to_ascii_uppercase());
        }
        out
    }

    #[test]
    fn the_codes_are_those_of_the_kernels() {
        let source = [
            include_str!("../../kernels/functions.cuh"),
            include_str!("../../kernels/double.cuh"),
        ]
        .concat();
        for f in Unary::ALL {
            let line = format!("UNISONO_{} = {},", screaming(&format!("{f:?}")), of(f).code);
            assert!(source.contains(&line), "no `{line}`");
        }
    }

    #[test]
    fn an_epilogue_carries_all_functions_but_those_through_f64() {
        let left_out = Unary::ALL.iter().filter(|&&f| activation(f).is_none());
        assert_eq!(left_out.count(), 11);
        assert_eq!(
            activation(Unary::Clip {
                low: 0.0,
                high: 6.0
            }),
            Some(Function {
                code: 22,
                a: 0.0,
                b: 6.0
            })
        );
    }
}
