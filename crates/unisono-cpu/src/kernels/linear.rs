//! Matrix products of `f32`: `Linear` (MatMul, Gemm and their fused forms).
//!
//! The one idea: every product is a batch of matrices with strides. A constant right-hand side without a batch of its
//! own is packed once per model, and all leading axes of the left-hand side then count as rows; all else goes through
//! the batched product. Both are the same sums in the same order.

use std::sync::Arc;

use unisono_graph::ops::linear::Linear;
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
    scratch: usize,
}

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

/// The strides of a broadcast of `shape` to `out`, both right-aligned: 0 where it repeats.
fn broadcast_strides(shape: &[usize], out: &[usize]) -> Option<Vec<usize>> {
    let missing = out.len().checked_sub(shape.len())?;
    let mut strides = vec![0; out.len()];
    let mut step = 1;
    for (i, &len) in shape.iter().enumerate().rev() {
        if len != 1 {
            if len != out[missing + i] {
                return None;
            }
            strides[missing + i] = step;
        }
        step *= len;
    }
    Some(strides)
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
    let (a, b) = (build.shape(0), build.shape(1));
    // Operands of rank 1 are a row on the left and a column on the right.
    let a = if a.len() == 1 {
        vec![1, a[0]]
    } else {
        a.to_vec()
    };
    let b = if b.len() == 1 {
        vec![b[0], 1]
    } else {
        b.to_vec()
    };
    let (Some((a_lead, &[a_rows, a_cols])), Some((b_lead, &[b_rows, b_cols]))) =
        (a.split_last_chunk::<2>(), b.split_last_chunk::<2>())
    else {
        return Ok(None);
    };
    let (m, k, a_strides) = if op.transpose_a {
        (a_cols, a_rows, [1, a_cols])
    } else {
        (a_rows, a_cols, [a_cols, 1])
    };
    let (n, b_strides) = if op.transpose_b {
        (b_rows, [1, b_cols])
    } else {
        (b_cols, [b_cols, 1])
    };
    let lead = a_lead.len().max(b_lead.len());
    let mut out: Vec<usize> = vec![1; lead];
    for shape in [a_lead, b_lead] {
        let missing = lead - shape.len();
        for (slot, &len) in out[missing..].iter_mut().zip(shape) {
            *slot = if *slot == 1 { len } else { *slot };
        }
    }
    let batch: usize = out.iter().product();
    let mut full = out.clone();
    full.extend([m, n]);
    let bias = match build.input(2) {
        None => None,
        // The output of operands of rank 1 lacks an axis that `full` has; such a bias is left to the reference.
        Some(_) if build.output_shape(0).len() != full.len() => return Ok(None),
        Some(_) => match broadcast_strides(build.shape(2), &full) {
            Some(strides) => Some(strides),
            None => return Ok(None),
        },
    };
    let weights = build.input(1).filter(|_| b_lead.iter().all(|&n| n == 1));
    if let Some((value, tensor)) = weights.and_then(|w| Some((w.value, w.constant.as_ref()?))) {
        let rows = if op.transpose_a {
            (batch == 1).then_some(m)
        } else {
            Some(batch * m)
        };
        let flat = match (&bias, rows) {
            (None, _) => Some(None),
            (Some(strides), _) if strides[..lead + 1].iter().all(|&s| s == 0) => {
                Some(Some(BiasStrides {
                    row: 0,
                    col: strides[lead + 1],
                }))
            }
            (Some(strides), _) if batch == 1 => Some(Some(BiasStrides {
                row: strides[lead],
                col: strides[lead + 1],
            })),
            (Some(_), _) if build.shape(2) == full => Some(Some(BiasStrides { row: n, col: 1 })),
            (Some(_), _) => None,
        };
        if let (Some(rows), Some(bias)) = (rows, flat) {
            let pack = || {
                let packed = tensor.read_once(|data| {
                    let matrix = MatrixRef {
                        data,
                        row_stride: b_strides[0],
                        col_stride: b_strides[1],
                    };
                    PackedB::pack(build.isa(), k, n, matrix)
                })??;
                let bytes = packed.bytes();
                Ok((packed, bytes))
            };
            let weights = build.store.packed(value, u64::from(op.transpose_b), pack)?;
            let scratch = build.scratch(|cores| gemm_scratch(cores, rows, n, k));
            return Ok(Some(Box::new(PackedLinear {
                weights,
                rows,
                a_strides,
                bias,
                finish,
                scratch,
            })));
        }
    }

    let a_steps = broadcast_strides(a_lead, &out);
    let b_steps = broadcast_strides(b_lead, &out);
    let (Some(a_steps), Some(b_steps)) = (a_steps, b_steps) else {
        return Ok(None);
    };
    let mut offsets = Vec::with_capacity(batch);
    let mut index = vec![0usize; lead];
    for member in 0..batch {
        let at = |steps: &[usize]| index.iter().zip(steps).map(|(i, s)| i * s).sum::<usize>();
        let c_at = bias.as_ref().map_or(0, |strides| at(&strides[..lead]));
        offsets.push([
            at(&a_steps) * m * k,
            at(&b_steps) * k * n,
            member * m * n,
            c_at,
        ]);
        for (i, len) in index.iter_mut().zip(&out).rev() {
            *i += 1;
            if *i < *len {
                break;
            }
            *i = 0;
        }
    }
    let shape = BatchShape { batch, m, n, k };
    Ok(Some(Box::new(BatchedLinear {
        isa: build.isa(),
        shape,
        a_strides,
        b_strides,
        offsets,
        bias: bias.map(|s| BiasStrides {
            row: s[lead],
            col: s[lead + 1],
        }),
        finish,
        scratch: build.scratch(|cores| gemm_batched_scratch(cores, shape)),
    })))
}

impl Finish {
    /// What is done to the sums, each behind a comma.
    fn in_words(&self, has_bias: bool) -> String {
        let ending = ending_in_words(has_bias, self.activation);
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
    /// Its operands as a part of a joint product: the left-hand side, the bias if it [has one](Self::has_bias), and the
    /// result.
    pub(crate) fn segment<'a>(
        &self,
        a: &'a [f32],
        bias: Option<&'a [f32]>,
        c: &'a mut [f32],
    ) -> Segment<'a> {
        let matrix = |data, [row_stride, col_stride]: [usize; 2]| MatrixRef {
            data,
            row_stride,
            col_stride,
        };
        let bias = self.bias.zip(bias);
        let bias = bias.map(|(strides, data)| matrix(data, [strides.row, strides.col]));
        Segment {
            m: self.rows,
            a: matrix(a, self.a_strides),
            c,
            c_step: self.weights.n(),
            epilogue: self.finish.epilogue(bias),
        }
    }

    /// Is input 2 there?
    pub(crate) fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// The weights; products with the same ones can be done together.
    pub(crate) fn weights(&self) -> &Arc<PackedB> {
        &self.weights
    }
}

impl Kernel for PackedLinear {
    fn describe(&self, cx: &Context<'_>) -> String {
        let tile = Microkernels::of(cx.isa).in_words(cx.isa);
        let finish = self.finish.in_words(self.bias.is_some());
        format!("product, {tile}, weights packed once{finish}")
    }

    fn scratch_len(&self) -> usize {
        self.scratch
    }

    fn as_packed_linear(&self) -> Option<&PackedLinear> {
        Some(self)
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

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let bias = if self.has_bias() {
            Some(operand(inputs, 2)?)
        } else {
            None
        };
        let segment = self.segment(operand(inputs, 0)?, bias, result(outputs)?);
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
        let finish = self.finish.in_words(self.bias.is_some());
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
