//! Functions of single elements: unary, binary, variadic, comparisons, casts, quantisation, generators.

use super::*;
use unisono_graph::ops::activation::{Activate, Activation, Clip};
use unisono_graph::ops::binary::{
    Binary, BinaryFunction, Compare, Comparison, Variadic, VariadicFunction, Where,
};
use unisono_graph::ops::cast::{Cast, CastLike};
use unisono_graph::ops::generate::{ConstantOfShape, EyeLike, Range};
use unisono_graph::ops::quantize::{DequantizeLinear, DynamicQuantizeLinear, QuantizeLinear};
use unisono_graph::ops::unary::{Dropout, Identity, Unary, UnaryFunction};
use unisono_tensor::{bf16, f16};

fn unary(function: UnaryFunction) -> Unary {
    Unary { function }
}

fn binary(function: BinaryFunction) -> Binary {
    Binary { function }
}

fn of<T: unisono_tensor::Element>(values: &[T]) -> Tensor {
    Tensor::from_slice(&[values.len()], values).unwrap()
}

#[test]
fn functions_of_one_value() {
    let inf = f32::INFINITY;
    let is_inf = |negative, positive| unary(UnaryFunction::IsInf { negative, positive });
    check(vec![
        row(
            "abs of floats",
            unary(UnaryFunction::Abs),
            &[&of(&[-1.5f32, -0.0])],
            of(&[1.5f32, 0.0]),
        ),
        row(
            "abs wraps at the minimum",
            unary(UnaryFunction::Abs),
            &[&of(&[-3i8, i8::MIN])],
            of(&[3i8, i8::MIN]),
        ),
        row(
            "neg of integers",
            unary(UnaryFunction::Neg),
            &[&of(&[-3i32, i32::MIN])],
            of(&[3i32, i32::MIN]),
        ),
        row(
            "sign of unsigned",
            unary(UnaryFunction::Sign),
            &[&of(&[0u8, 7])],
            of(&[0u8, 1]),
        ),
        row(
            "sign of floats",
            unary(UnaryFunction::Sign),
            &[&of(&[-2f32, f32::NAN, -0.0])],
            of(&[-1f32, f32::NAN, 0.0]),
        ),
        row(
            "round to even",
            unary(UnaryFunction::Round),
            &[&of(&[0.5f32, 1.5, -2.5])],
            of(&[0f32, 2.0, -2.0]),
        ),
        row(
            "not",
            unary(UnaryFunction::Not),
            &[&bools(&[2], &[true, false])],
            bools(&[2], &[false, true]),
        ),
        row(
            "bitwise not",
            unary(UnaryFunction::BitwiseNot),
            &[&of(&[0u8, 0x0f])],
            of(&[0xffu8, 0xf0]),
        ),
        row(
            "is nan",
            unary(UnaryFunction::IsNaN),
            &[&of(&[1f32, f32::NAN])],
            bools(&[2], &[false, true]),
        ),
        row(
            "is positive inf",
            is_inf(false, true),
            &[&of(&[inf, -inf, 1.0])],
            bools(&[3], &[true, false, false]),
        ),
        row(
            "is negative inf",
            is_inf(true, false),
            &[&of(&[inf, -inf, 1.0])],
            bools(&[3], &[false, true, false]),
        ),
        row(
            "relu of integers",
            Activate {
                function: Activation::Relu,
            },
            &[&of(&[-2i32, 3])],
            of(&[0i32, 3]),
        ),
        row(
            "shrink of integers",
            Activate {
                function: Activation::Shrink {
                    bias: 1.0,
                    lambd: 1.5,
                },
            },
            &[&of(&[-3i32, 1, 3])],
            of(&[-2i32, 0, 2]),
        ),
        row(
            "f16 is computed in f32",
            unary(UnaryFunction::Exp),
            &[&of(&[f16::ONE])],
            of(&[f16::from_f32(std::f32::consts::E)]),
        ),
        row(
            "identity keeps bytes",
            Identity,
            &[&bools(&[1], &[true])],
            bools(&[1], &[true]),
        ),
    ]);
    let sin = unary(UnaryFunction::Sin);
    assert!(matches!(
        output(&sin, &[&of(&[1i32])]),
        Err(EvalError::Operator(_))
    ));
}

#[test]
fn functions_of_two_values() {
    use BinaryFunction as F;
    let (a, b) = (of(&[7i32, -7, 7, -7]), of(&[3i32, 3, -3, -3]));
    check(vec![
        row(
            "division truncates",
            binary(F::Div),
            &[&a, &b],
            of(&[2i32, -2, -2, 2]),
        ),
        row(
            "mod has the divisor's sign",
            binary(F::Mod),
            &[&a, &b],
            of(&[1i32, 2, -2, -1]),
        ),
        row(
            "fmod has the dividend's",
            binary(F::Fmod),
            &[&a, &b],
            of(&[1i32, -1, 1, -1]),
        ),
        row(
            "float mod",
            binary(F::Mod),
            &[&of(&[5.5f32, -5.5, 0.0]), &of(&[2f32, 2.0, -3.0])],
            of(&[1.5f32, 0.5, 0.0]),
        ),
        row(
            "minimum by minus one wraps",
            binary(F::Div),
            &[&of(&[i32::MIN]), &of(&[-1i32])],
            of(&[i32::MIN]),
        ),
        row(
            "sums wrap",
            binary(F::Add),
            &[&of(&[200u8]), &of(&[100u8])],
            of(&[44u8]),
        ),
        row(
            "shifts by the width",
            binary(F::ShiftLeft),
            &[&of(&[1u8, 1]), &of(&[7u8, 8])],
            of(&[128u8, 0]),
        ),
        row(
            "right shifts are arithmetic",
            binary(F::ShiftRight),
            &[&of(&[-8i32, -8]), &of(&[1i32, 99])],
            of(&[-4i32, -1]),
        ),
        row(
            "xor",
            binary(F::Xor),
            &[&bools(&[2], &[true, true]), &bools(&[2], &[true, false])],
            bools(&[2], &[false, true]),
        ),
        row(
            "bits",
            binary(F::BitwiseXor),
            &[&of(&[6u8]), &of(&[3u8])],
            of(&[5u8]),
        ),
        row(
            "prelu",
            binary(F::PRelu),
            &[
                &floats(&[2, 2], &[-1.0, 1.0, -2.0, -3.0]),
                &floats(&[2, 1], &[0.5, 2.0]),
            ],
            floats(&[2, 2], &[-0.5, 1.0, -4.0, -6.0]),
        ),
        row(
            "power of integers wraps",
            binary(F::Pow),
            &[&of(&[2i32, 10, -1, 0]), &of(&[5i32, 10, 3, 0])],
            of(&[32i32, 1_410_065_408, -1, 1]),
        ),
        row(
            "negative powers of integers",
            binary(F::Pow),
            &[&of(&[2i64, -1, 1, 0]), &of(&[-1i32, -3, -9, -1])],
            of(&[0i64, -1, 1, i64::MAX]),
        ),
        row(
            "float base, integer exponent",
            binary(F::Pow),
            &[&of(&[2f32, 1.5]), &of(&[-1i64, 2])],
            of(&[0.5f32, 2.25]),
        ),
        row(
            "integer base, float exponent",
            binary(F::Pow),
            &[&of(&[9i32, 2]), &of(&[0.5f32, 0.5])],
            of(&[3i32, 1]),
        ),
    ]);
    for zero in [F::Div, F::Mod, F::Fmod] {
        let error = output(&binary(zero), &[&of(&[1i64]), &of(&[0i64])]);
        assert_eq!(error.unwrap_err(), EvalError::DivisionByZero);
    }
}

#[test]
fn functions_of_many_values_comparisons_and_choices() {
    let nan = f32::NAN;
    let of_three = |function| Variadic { function };
    let compare = |comparison| Compare { comparison };
    let (a, b, c) = (
        floats(&[2, 1], &[1.0, nan]),
        floats(&[2], &[4.0, 0.0]),
        floats(&[], &[-2.0]),
    );
    check(vec![
        row(
            "max",
            of_three(VariadicFunction::Max),
            &[&a, &b, &c],
            floats(&[2, 2], &[4.0, 1.0, nan, nan]),
        ),
        row(
            "min",
            of_three(VariadicFunction::Min),
            &[&a, &b, &c],
            floats(&[2, 2], &[-2.0, -2.0, nan, nan]),
        ),
        row(
            "mean",
            of_three(VariadicFunction::Mean),
            &[&a, &b, &c],
            floats(&[2, 2], &[1.0, -1.0 / 3.0, nan, nan]),
        ),
        row(
            "sum of one",
            of_three(VariadicFunction::Sum),
            &[&b],
            b.clone(),
        ),
        row(
            "sums of f16 round once",
            of_three(VariadicFunction::Sum),
            &[
                &of(&[f16::from_f32(2048.0)]),
                &of(&[f16::ONE]),
                &of(&[f16::ONE]),
            ],
            of(&[f16::from_f32(2050.0)]),
        ),
        row(
            "less",
            compare(Comparison::Less),
            &[&b, &c],
            bools(&[2], &[false, false]),
        ),
        row(
            "nan equals nothing",
            compare(Comparison::Equal),
            &[&a, &a],
            bools(&[2, 1], &[true, false]),
        ),
        row(
            "large integers differ",
            compare(Comparison::Greater),
            &[&of(&[i64::MAX]), &of(&[i64::MAX - 1])],
            bools(&[1], &[true]),
        ),
        row(
            "booleans",
            compare(Comparison::Equal),
            &[&bools(&[1], &[true]), &bools(&[1], &[true])],
            bools(&[1], &[true]),
        ),
        row(
            "where",
            Where,
            &[
                &bools(&[2, 1], &[true, false]),
                &of(&[1i16, 2]),
                &of(&[9i16]),
            ],
            Tensor::from_slice(&[2, 2], &[1i16, 2, 9, 9]).unwrap(),
        ),
        row(
            "clip where low is above high",
            Clip,
            &[
                &of(&[0f32, 9.0, nan]),
                &floats(&[], &[5.0]),
                &floats(&[], &[3.0]),
            ],
            of(&[3f32, 3.0, nan]),
        ),
        row(
            "clip of integers",
            Clip,
            &[&of(&[0u8, 9]), &Tensor::scalar(5u8)],
            of(&[5u8, 9]),
        ),
    ]);
}

#[test]
fn conversions_and_generators() {
    let whole = Tensor::zeros(DType::I64, &[]).unwrap();
    let seven = ConstantOfShape {
        value: Tensor::from_slice(&[1], &[7i8]).unwrap(),
    };
    check(vec![
        row(
            "cast to bool",
            Cast { to: DType::Bool },
            &[&of(&[0f32, -0.0, 0.1])],
            bools(&[3], &[false, false, true]),
        ),
        row(
            "cast from bool",
            Cast { to: DType::F32 },
            &[&bools(&[2], &[true, false])],
            of(&[1f32, 0.0]),
        ),
        row(
            "cast like",
            CastLike,
            &[&of(&[2.7f32]), &whole],
            of(&[2i64]),
        ),
        row(
            "cast to bf16",
            Cast { to: DType::BF16 },
            &[&of(&[1.0f32 + 1.0 / 256.0])],
            of(&[bf16::ONE]),
        ),
        row(
            "range of integers",
            Range,
            &[
                &Tensor::scalar(5i64),
                &Tensor::scalar(-2i64),
                &Tensor::scalar(-3i64),
            ],
            of(&[5i64, 2, -1]),
        ),
        row(
            "range of floats",
            Range,
            &[
                &Tensor::scalar(0f32),
                &Tensor::scalar(1f32),
                &Tensor::scalar(0.25f32),
            ],
            of(&[0f32, 0.25, 0.5, 0.75]),
        ),
        row(
            "empty range",
            Range,
            &[
                &Tensor::scalar(1i32),
                &Tensor::scalar(1i32),
                &Tensor::scalar(1i32),
            ],
            of::<i32>(&[]),
        ),
        row(
            "constant of shape",
            seven,
            &[&longs(&[2], &[2, 1])],
            Tensor::from_slice(&[2, 1], &[7i8, 7]).unwrap(),
        ),
        row(
            "identity matrix",
            EyeLike {
                dtype: Some(DType::I32),
                k: 1,
            },
            &[&count_up(&[2, 3])],
            Tensor::from_slice(&[2, 3], &[0i32, 1, 0, 0, 0, 1]).unwrap(),
        ),
    ]);
    let masked = outputs(&Dropout { boolean_mask: true }, &[Some(of(&[3f32]))], 2).unwrap();
    assert!(same(&masked[0], &of(&[3f32])) && same(&masked[1], &bools(&[1], &[true])));
}

#[test]
fn quantisation_rounds_to_even_and_saturates() {
    let per_tensor = QuantizeLinear {
        axis: 1,
        block_size: 0,
        output: DType::U8,
    };
    let scale = Tensor::scalar(2f32);
    let zero = Tensor::scalar(128u8);
    let per_axis = DequantizeLinear {
        axis: 0,
        block_size: 0,
        output: None,
    };
    let blocks = DequantizeLinear {
        axis: 1,
        block_size: 2,
        output: None,
    };
    let q = Tensor::from_slice(&[2, 3], &[1i8, 2, 3, 4, 5, 6]).unwrap();
    check(vec![
        row(
            "quantise",
            per_tensor,
            &[&of(&[1f32, 3.0, -1000.0, 1000.0, f32::NAN]), &scale, &zero],
            of(&[128u8, 130, 0, 255, 128]),
        ),
        row(
            "dequantise by row",
            per_axis,
            &[&q, &of(&[1f32, 0.5]), &of(&[1i8, 0])],
            floats(&[2, 3], &[0.0, 1.0, 2.0, 2.0, 2.5, 3.0]),
        ),
        row(
            "dequantise by block",
            blocks,
            &[&q, &floats(&[2, 2], &[1.0, 10.0, 2.0, 20.0])],
            floats(&[2, 3], &[1.0, 2.0, 30.0, 8.0, 10.0, 120.0]),
        ),
    ]);
    let found = outputs(
        &DynamicQuantizeLinear,
        &[Some(of(&[0f32, 2.0, -3.0, -2.5, 1.34, 0.5]))],
        3,
    )
    .unwrap();
    assert_eq!(
        found[0].as_slice::<u8>().unwrap(),
        [153, 255, 0, 26, 221, 179]
    );
    assert_eq!(found[1].as_slice::<f32>().unwrap(), [5.0 / 255.0]);
    assert_eq!(found[2].as_slice::<u8>().unwrap(), [153]);
}
