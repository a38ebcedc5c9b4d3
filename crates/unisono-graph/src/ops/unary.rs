//! Functions of one value that have no parameters, [`Identity`], and [`Dropout`] as inference sees it.
//!
//! The one idea: these share everything but a formula, so they are one operator with an enum. Functions that networks
//! use as activations, and that other operators may absorb, live in [`super::activation`].

use super::rules::{self, ANY, BOOL, FLOATS, INTEGERS, NUMBERS, SIGNED};
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// Which function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryFunction {
    /// `|x|`; numbers. The smallest signed integer stays itself.
    Abs,
    /// `-x`; floats and signed integers.
    Neg,
    /// Towards plus infinity; floats.
    Ceil,
    /// Towards minus infinity; floats.
    Floor,
    /// To the nearest integer, ties to even; floats.
    Round,
    /// -1, 0 or 1; numbers. Zeros keep their sign, NaN stays NaN.
    Sign,
    /// The square root; floats.
    Sqrt,
    /// `1 / x`; floats.
    Reciprocal,
    /// Floats.
    Exp,
    /// The natural logarithm; floats.
    Log,
    /// Floats.
    Sin,
    /// Floats.
    Cos,
    /// Floats.
    Tan,
    /// Floats.
    Asin,
    /// Floats.
    Acos,
    /// Floats.
    Atan,
    /// Floats.
    Sinh,
    /// Floats.
    Cosh,
    /// Floats.
    Asinh,
    /// Floats.
    Acosh,
    /// Floats.
    Atanh,
    /// The error function; floats (ONNX allows integers too: not supported).
    Erf,
    /// Logical negation; booleans.
    Not,
    /// Every bit negated; integers.
    BitwiseNot,
    /// Floats to booleans.
    IsNaN,
    /// Floats to booleans.
    IsInf {
        /// Is minus infinity one?
        negative: bool,
        /// Is plus infinity one?
        positive: bool,
    },
}

/// One function applied to every element. Input: `x`. Output: the same shape; the same type except for `IsNaN` and `IsInf`,
/// which give booleans. Kind `Unary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unary {
    /// Which function.
    pub function: UnaryFunction,
}

/// The input itself, of any type. Kind `Identity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity;

/// ONNX `Dropout` at inference: the first output is the input, the optional second a mask of ones of the same shape.
/// A node that asks for training is refused. Kind `Dropout`.
///
/// Inputs behind the first (`ratio`, `training_mode`) do not change the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    /// The mask is boolean (opset 10 and later) instead of having the input's type.
    pub boolean_mask: bool,
}

impl UnaryFunction {
    /// The ONNX name.
    pub const fn name(self) -> &'static str {
        use UnaryFunction::*;
        match self {
            Abs => "Abs",
            Neg => "Neg",
            Ceil => "Ceil",
            Floor => "Floor",
            Round => "Round",
            Sign => "Sign",
            Sqrt => "Sqrt",
            Reciprocal => "Reciprocal",
            Exp => "Exp",
            Log => "Log",
            Sin => "Sin",
            Cos => "Cos",
            Tan => "Tan",
            Asin => "Asin",
            Acos => "Acos",
            Atan => "Atan",
            Sinh => "Sinh",
            Cosh => "Cosh",
            Asinh => "Asinh",
            Acosh => "Acosh",
            Atanh => "Atanh",
            Erf => "Erf",
            Not => "Not",
            BitwiseNot => "BitwiseNot",
            IsNaN => "IsNaN",
            IsInf { .. } => "IsInf",
        }
    }

    fn allowed(self) -> &'static [DType] {
        use UnaryFunction::*;
        match self {
            Abs | Sign => NUMBERS,
            Neg => SIGNED,
            Not => BOOL,
            BitwiseNot => INTEGERS,
            _ => FLOATS,
        }
    }

    /// The function of one integer that is known as an expression.
    fn of_integer(self, x: &Dim) -> Option<Dim> {
        let zero = Dim::constant(0);
        match self {
            UnaryFunction::Neg => Some(&zero - x),
            UnaryFunction::Abs if x.lower_bound() >= Some(0) => Some(x.clone()),
            UnaryFunction::Abs => Some(Dim::constant(x.as_const()?.checked_abs()?)),
            UnaryFunction::Sign if x.lower_bound() >= Some(1) => Some(Dim::constant(1)),
            UnaryFunction::Sign => Some(Dim::constant(x.as_const()?.signum())),
            UnaryFunction::Not => Some(Dim::constant(i64::from(x.as_const()? == 0))),
            _ => None,
        }
    }
}

impl Operator for Unary {
    fn kind(&self) -> &'static str {
        "Unary"
    }

    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", self.function.allowed())?;
        let mut y = rules::like(x);
        if matches!(
            self.function,
            UnaryFunction::IsNaN | UnaryFunction::IsInf { .. }
        ) {
            y.dtype = DType::Bool;
        }
        y.integers = x.integers.as_ref().and_then(|known| {
            known
                .iter()
                .map(|n| self.function.of_integer(n))
                .collect::<Option<_>>()
        });
        cx.set(0, y);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
    }
}

impl Operator for Identity {
    fn kind(&self) -> &'static str {
        "Identity"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", ANY)?;
        cx.set(0, x.clone());
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
    }

    fn flops(&self, _inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

impl Operator for Dropout {
    fn kind(&self) -> &'static str {
        "Dropout"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "data", FLOATS)?;
        rules::optional(cx, 1, "ratio", FLOATS)?;
        if let Some(training) = rules::optional(cx, 2, "training_mode", BOOL)? {
            match training.known_ints().as_deref() {
                Some([0]) => {}
                Some([1]) => {
                    return Err(OpError::new(
                        "input 2 (training_mode) is true; only inference is supported: export the model in evaluation mode",
                    ));
                }
                _ => {
                    return Err(OpError::new(
                        "input 2 (training_mode) is not a constant false; only inference is supported",
                    ));
                }
            }
        }
        cx.set(0, x.clone());
        let mut mask = rules::like(x);
        if self.boolean_mask {
            mask.dtype = DType::Bool;
        }
        cx.set(1, mask);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
    }

    fn flops(&self, _inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }
}

fn dropout(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    // How much would be dropped, and from which seed, matters in training only.
    if spec.opset < 12 {
        spec.attributes.float("ratio")?;
    } else {
        spec.attributes.int("seed")?;
    }
    Ok(Arc::new(Dropout {
        boolean_mask: spec.opset >= 10,
    }))
}

fn is_inf(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    Ok(Arc::new(Unary {
        function: UnaryFunction::IsInf {
            negative: spec.attributes.flag("detect_negative", true)?,
            positive: spec.attributes.flag("detect_positive", true)?,
        },
    }))
}

macro_rules! unary {
    ($function:ident, $since:literal) => {
        Definition {
            domain: "",
            name: UnaryFunction::$function.name(),
            opsets: ($since, i64::MAX),
            build: |_| {
                Ok(Arc::new(Unary {
                    function: UnaryFunction::$function,
                }))
            },
            inputs: (1, 1),
            outputs: (1, 1),
        }
    };
}

/// The registry's lines of this family.
pub const OPERATORS: &[Definition] = &[
    unary!(Abs, 7),
    unary!(Neg, 7),
    unary!(Ceil, 7),
    unary!(Floor, 7),
    unary!(Round, 11),
    unary!(Sign, 9),
    unary!(Sqrt, 7),
    unary!(Reciprocal, 7),
    unary!(Exp, 7),
    unary!(Log, 7),
    unary!(Sin, 7),
    unary!(Cos, 7),
    unary!(Tan, 7),
    unary!(Asin, 7),
    unary!(Acos, 7),
    unary!(Atan, 7),
    unary!(Sinh, 9),
    unary!(Cosh, 9),
    unary!(Asinh, 9),
    unary!(Acosh, 9),
    unary!(Atanh, 9),
    unary!(Erf, 9),
    unary!(Not, 7),
    unary!(BitwiseNot, 18),
    unary!(IsNaN, 9),
    Definition {
        domain: "",
        name: "IsInf",
        opsets: (10, i64::MAX),
        build: is_inf,
        inputs: (1, 1),
        outputs: (1, 1),
    },
    Definition {
        domain: "",
        name: "Identity",
        opsets: (7, i64::MAX),
        build: |_| Ok(Arc::new(Identity)),
        inputs: (1, 1),
        outputs: (1, 1),
    },
    Definition {
        domain: "",
        name: "Dropout",
        opsets: (7, i64::MAX),
        build: dropout,
        inputs: (1, 3),
        outputs: (1, 2),
    },
];
