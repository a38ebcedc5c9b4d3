//! Matrix products of `f32`: `Linear` (MatMul, Gemm and their fused forms).
//!
//! The one idea: every product is a batch of matrices with strides. A constant right-hand side without a batch of its
//! own is packed once per model, and all leading axes of the left-hand side then count as rows; all else goes through
//! the batched product. Both are the same sums in the same order.

use std::sync::Arc;

use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::product::Product;
use unisono_reference::arith::{MatrixRef, Unary};
use unisono_reference::eval::canonical_activation;
use unisono_runtime::Error;
use unisono_tensor::{DType, TensorMut, TensorRef};

use crate::exec::kernel::{Access, Build, Context, Kernel, ending_in_words};
use crate::gemm::microkernel::Microkernels;
use crate::gemm::{
    BatchShape, Cores, Epilogue, PackedB, Segment, Segments, estimated_ns, gemm_batched,
    gemm_batched_scratch, gemm_joint, gemm_scratch,
};
use crate::kernels::operands::{operand, result};
use crate::simd::Isa;

/// What both forms share: the epilogue.
#[derive(Clone, Copy)]
struct Finish {
    alpha: f32,
    beta: f32,
    activation: Option<Unary>,
}

/// How the elements of `c` (the bias) lie beside one output matrix.
#[derive(Clone, Copy)]
struct BiasStrides {
    row: usize,
    col: usize,
}

/// A product with constant weights.
pub struct PackedLinear {
    weights: Arc<PackedB>,
    rows: usize,
    a_strides: [usize; 2],
    bias: Option<BiasStrides>,
    finish: Finish,
    /// Whether input [`RESIDUAL`] is added to the sums.
    has_sum: bool,
    scratch: usize,
}

/// Where [`PackedLinear`] has what is added to its sums.
const RESIDUAL: usize = 3;

struct BatchedLinear {
    isa: Isa,
    shape: BatchShape,
    a_strides: [usize; 2],
    b_strides: [usize; 2],
    /// By member of the batch: where its A, B, C and bias begin.
    offsets: Vec<[usize; 4]>,
    bias: Option<BiasStrides>,
    finish: Finish,
    scratch: usize,
}

/// Builds a product, if all its operands are `f32`.
pub fn build_linear(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<Linear>() else {
        return Ok(None);
    };
    if !build.all_of(DType::F32) {
        return Ok(None);
    }
    let activation = match op.activation.map(canonical_activation) {
        Some(None) => return Ok(None),
        Some(Some(unary)) => Some(unary),
        None => None,
    };
    let finish = Finish {
        alpha: op.alpha,
        beta: op.beta,
        activation,
    };
    let c = build.input(2).map(|_| build.shape(2));
    let Some(product) = Product::new(op, build.shape(0), build.shape(1), c) else {
        return Ok(None);
    };
    let Product { m, n, k, .. } = product;
    let strides_of = |[row, col]: [usize; 2]| BiasStrides { row, col };
    let weights = build
        .input(1)
        .and_then(|w| Some((w.value, w.constant.as_ref()?)));
    if let Some(((value, tensor), flat)) = weights.zip(product.flat()) {
        let pack = || {
            let packed = tensor.read_once(|data| {
                let matrix = MatrixRef {
                    data,
                    row_stride: product.b[0],
                    col_stride: product.b[1],
                };
                PackedB::pack(build.isa(), k, n, matrix)
            })??;
            let bytes = packed.bytes();
            Ok((packed, bytes))
        };
        let weights = build.store.packed(value, u64::from(op.transpose_b), pack)?;
        let scratch = build.scratch(|cores| gemm_scratch(cores, flat.rows, n, k));
        return Ok(Some(Box::new(PackedLinear {
            weights,
            rows: flat.rows,
            a_strides: product.a,
            bias: flat.c.map(strides_of),
            finish,
            has_sum: false,
            scratch,
        })));
    }

    let shape = BatchShape {
        batch: product.batch(),
        m,
        n,
        k,
    };
    Ok(Some(Box::new(BatchedLinear {
        isa: build.isa(),
        shape,
        a_strides: product.a,
        b_strides: product.b,
        offsets: product.offsets(),
        bias: product.c.map(strides_of),
        finish,
        scratch: build.scratch(|cores| gemm_batched_scratch(cores, shape)),
    })))
}

impl Finish {
    /// What is done to the sums, each behind a comma.
    fn in_words(&self, has_bias: bool, has_sum: bool) -> String {
        let ending = ending_in_words(has_bias, has_sum, self.activation);
        match self.alpha {
            1.0 => ending,
            alpha => format!(", times {alpha}{ending}"),
        }
    }

    fn epilogue<'a>(&self, bias: Option<MatrixRef<'a, f32>>) -> Epilogue<'a> {
        Epilogue {
            alpha: self.alpha,
            beta: self.beta,
            bias,
            residual: None,
            activation: self.activation,
        }
    }
}

impl PackedLinear {
    /// Its operands as a part of a joint product: the step's inputs by number, and the result.
    pub(crate) fn segment<'a>(
        &self,
        input: impl Fn(usize) -> Result<&'a [f32], Error>,
        c: &'a mut [f32],
    ) -> Result<Segment<'a>, Error> {
        let a = input(0)?;
        let bias = self.bias.map(|_| input(2)).transpose()?;
        let residual = self.has_sum.then(|| input(RESIDUAL)).transpose()?;
        let matrix = |data, [row_stride, col_stride]: [usize; 2]| MatrixRef {
            data,
            row_stride,
            col_stride,
        };
        let bias = self.bias.zip(bias);
        let bias = bias.map(|(strides, data)| matrix(data, [strides.row, strides.col]));
        let n = self.weights.n();
        Ok(Segment {
            m: self.rows,
            a: matrix(a, self.a_strides),
            c,
            c_step: n,
            epilogue: Epilogue {
                residual: residual.map(|data| matrix(data, [n, 1])),
                ..self.finish.epilogue(bias)
            },
        })
    }

    /// The weights; products with the same ones can be done together.
    pub(crate) fn weights(&self) -> &Arc<PackedB> {
        &self.weights
    }
}

impl Kernel for PackedLinear {
    fn describe(&self, cx: &Context<'_>) -> String {
        let tile = Microkernels::of(cx.isa).in_words(cx.isa);
        let finish = self.finish.in_words(self.bias.is_some(), self.has_sum);
        format!("product, {tile}, weights packed once{finish}")
    }

    fn scratch_len(&self) -> usize {
        self.scratch
    }

    fn as_packed_linear(&self) -> Option<&PackedLinear> {
        Some(self)
    }

    fn with_sum(&self, activation: Option<Unary>) -> Option<Box<dyn Kernel>> {
        if self.finish.activation.is_some() || self.has_sum {
            return None;
        }
        Some(Box::new(PackedLinear {
            weights: Arc::clone(&self.weights),
            finish: Finish {
                activation,
                ..self.finish
            },
            has_sum: true,
            ..*self
        }))
    }

    fn estimated_ns(&self) -> u64 {
        estimated_ns(
            self.weights.isa(),
            self.rows,
            self.weights.n(),
            self.weights.k(),
        )
    }

    fn access(&self, index: usize) -> Access {
        if index == 1 {
            Access::Unused
        } else {
            Access::Typed
        }
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let segment = self.segment(|index| operand(inputs, index), result(outputs)?)?;
        let cores = Cores {
            isa: cx.isa,
            team: cx.team,
        };
        gemm_joint(
            cores,
            &self.weights,
            Segments::from_iter([segment]),
            scratch,
        );
        Ok(())
    }
}

impl Kernel for BatchedLinear {
    fn describe(&self, cx: &Context<'_>) -> String {
        let tile = Microkernels::of(cx.isa).in_words(cx.isa);
        let finish = self.finish.in_words(self.bias.is_some(), false);
        let operands = match self.shape.batch {
            1 => "one product".to_owned(),
            batch => format!("{batch} products"),
        };
        format!("{operands}, {tile}, both sides packed in each run{finish}")
    }

    fn scratch_len(&self) -> usize {
        self.scratch
    }

    fn estimated_ns(&self) -> u64 {
        let BatchShape { batch, m, n, k } = self.shape;
        estimated_ns(self.isa, m, n, k).saturating_mul(batch as u64)
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let [a_row, a_col] = self.a_strides;
        let [b_row, b_col] = self.b_strides;
        let a = MatrixRef {
            data: operand(inputs, 0)?,
            row_stride: a_row,
            col_stride: a_col,
        };
        let b = MatrixRef {
            data: operand(inputs, 1)?,
            row_stride: b_row,
            col_stride: b_col,
        };
        let bias = match self.bias {
            None => None,
            Some(s) => Some((operand(inputs, 2)?, s)),
        };
        let epilogue = |member: usize| {
            let bias = bias.map(|(data, s)| MatrixRef {
                data: &data[self.offsets[member][3]..],
                row_stride: s.row,
                col_stride: s.col,
            });
            self.finish.epilogue(bias)
        };
        let offsets = |member: usize| {
            let [a, b, c, _] = self.offsets[member];
            [a, b, c]
        };
        let cores = Cores {
            isa: cx.isa,
            team: cx.team,
        };
        let c = result(outputs)?;
        // SAFETY: the members of C lie `m * n` apart, each as long, so no two share an element.
        unsafe {
            gemm_batched(
                cores,
                self.shape,
                a,
                b,
                c,
                self.shape.n,
                &offsets,
                &epilogue,
                scratch,
            );
        }
        Ok(())
    }
}
