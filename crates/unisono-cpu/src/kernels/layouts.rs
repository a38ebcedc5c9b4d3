//! A node in both layouts, channels first and last, against the reference implementation of its operator, bit for bit, on every
//! instruction set that the machine has and on one and two threads.

use std::sync::Arc;

use unisono_graph::{Dim, Fact, InferContext, Operator};
use unisono_reference::arith::first_difference;
use unisono_reference::eval;
use unisono_runtime::team::{Team, TeamOptions};
use unisono_tensor::{DType, Shape, Tensor, TensorRef};

use crate::exec::kernel::{Build, Context, Kernel, Known};
use crate::exec::model::{Engine, Store};
use crate::simd::Isa;

/// How the values of a node lie in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Layout {
    ChannelsFirst,
    ChannelsLast,
}

pub(super) const BOTH: [Layout; 2] = [Layout::ChannelsFirst, Layout::ChannelsLast];

impl Layout {
    fn shape(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if self == Layout::ChannelsLast {
            shape[1..].rotate_left(1);
        }
        shape
    }

    fn tensor(self, tensor: &Tensor) -> Tensor {
        let [samples, channels, spatial @ ..] = tensor.shape() else {
            panic!("an image has two axes or more");
        };
        let (samples, channels, plane) = (*samples, *channels, spatial.iter().product::<usize>());
        let values = tensor.as_slice::<f32>().unwrap();
        if self == Layout::ChannelsFirst {
            return tensor.clone();
        }
        let mut turned = Vec::with_capacity(values.len());
        for sample in 0..samples {
            for position in 0..plane {
                let of_channel = |c| values[(sample * channels + c) * plane + position];
                turned.extend((0..channels).map(of_channel));
            }
        }
        Tensor::from_slice(&self.shape(tensor.shape()), &turned).unwrap()
    }
}

fn engine(isa: Isa, threads: usize) -> Arc<Engine> {
    Arc::new(Engine {
        team: Team::new(TeamOptions::default().threads(threads)).unwrap(),
        solo: Team::solo(),
        isa,
        arena_limit: 1 << 30,
        near_bytes: crate::exec::cost::NEAR_BYTES,
    })
}

/// A node of one output whose first input is an image and whose others are constants.
pub(super) struct Node<'a> {
    pub op: Arc<dyn Operator>,
    pub image: &'a Tensor,
    pub constants: &'a [Option<Tensor>],
}

impl Node<'_> {
    fn output_shape(&self) -> Vec<usize> {
        let fact = |tensor: &Tensor| {
            let shape = tensor.shape().iter().map(|&n| Dim::from(n)).collect();
            let mut fact = Fact::new(tensor.dtype(), shape);
            fact.constant = Some(tensor.clone());
            fact.integers = tensor
                .to_i64s()
                .map(|values| values.into_iter().map(Dim::constant).collect());
            fact
        };
        let constants = self.constants.iter().map(|c| c.as_ref().map(fact));
        let mut image = fact(self.image);
        (image.constant, image.integers) = (None, None);
        let facts: Vec<_> = [Some(image)].into_iter().chain(constants).collect();
        let mut cx = InferContext::new(&facts, 1);
        self.op.infer(&mut cx).unwrap();
        let output = cx.into_outputs()[0].clone().unwrap();
        output.concrete_shape().unwrap().to_vec()
    }

    fn views<'t>(&'t self, image: &'t Tensor) -> Vec<Option<TensorRef<'t>>> {
        let constants = self
            .constants
            .iter()
            .map(|c| Some(c.as_ref()?.view().unwrap()));
        [Some(image.view().unwrap())]
            .into_iter()
            .chain(constants)
            .collect()
    }

    /// The kernel of our own, if there is one, given to `then`.
    pub fn with_kernel<R>(
        &self,
        layout: Layout,
        engine: &Arc<Engine>,
        then: impl FnOnce(Option<&dyn Kernel>) -> R,
    ) -> R {
        let known = |shape: &[usize], constant: Option<&Tensor>| Known {
            dtype: constant.map_or(DType::F32, Tensor::dtype),
            shape: Some(Shape::from_slice(shape)),
            integers: None,
            constant: constant.cloned(),
            value: 0,
        };
        let constants = self.constants.iter();
        let constants = constants.map(|c| Some(known(c.as_ref()?.shape(), c.as_ref())));
        let inputs: Vec<_> = [Some(known(&layout.shape(self.image.shape()), None))]
            .into_iter()
            .chain(constants)
            .collect();
        let output = known(&layout.shape(&self.output_shape()), None);
        let kernel = super::own(&Build {
            op: &self.op,
            inputs: &inputs.iter().map(Option::as_ref).collect::<Vec<_>>(),
            outputs: &[Some(&output)],
            node: 0,
            store: &Store::default(),
            engine,
            channels_last: layout == Layout::ChannelsLast,
        });
        then(kernel.unwrap().as_deref())
    }

    /// Is the node left to the reference?
    pub fn is_left_to_the_reference(&self, layout: Layout) -> bool {
        self.with_kernel(layout, &engine(Isa::Scalar, 1), |kernel| kernel.is_none())
    }

    /// What the kernel says of itself.
    pub fn description(&self, layout: Layout) -> String {
        let engine = engine(Isa::Scalar, 1);
        let cx = Context {
            team: &engine.team,
            isa: engine.isa,
        };
        self.with_kernel(layout, &engine, |kernel| kernel.unwrap().describe(&cx))
    }

    /// Runs the node everywhere; a line for every place where it differs from the reference.
    pub fn differences(&self, name: &str, layouts: &[Layout]) -> Vec<String> {
        let mut expected = Tensor::zeros(DType::F32, &self.output_shape()).unwrap();
        eval::evaluate(
            &*self.op,
            &self.views(self.image),
            &mut [expected.view_mut()],
        )
        .unwrap();
        let mut lines = Vec::new();
        for &layout in layouts {
            let (image, expected) = (layout.tensor(self.image), layout.tensor(&expected));
            for isa in Isa::available() {
                for threads in [1, 2] {
                    let engine = engine(isa, threads);
                    let found = self.with_kernel(layout, &engine, |kernel| {
                        let kernel = kernel.ok_or("there is no kernel of our own")?;
                        // What is there before must not matter.
                        let nan = vec![f32::NAN; expected.len()];
                        let mut found = Tensor::from_slice(expected.shape(), &nan).unwrap();
                        let mut scratch = vec![f32::NAN; kernel.scratch_len()];
                        let cx = Context {
                            team: &engine.team,
                            isa,
                        };
                        kernel
                            .run(
                                &cx,
                                &self.views(&image),
                                &mut [found.view_mut()],
                                &mut scratch,
                            )
                            .map_err(|_| "it failed")?;
                        Ok::<_, &str>(found)
                    });
                    let difference = match &found {
                        Err(e) => Some((*e).to_owned()),
                        Ok(found) => first_difference(
                            found.as_slice::<f32>().unwrap(),
                            expected.as_slice::<f32>().unwrap(),
                        )
                        .map(|d| format!("{d:?}")),
                    };
                    if let Some(difference) = difference {
                        let shape = self.image.shape();
                        lines.push(format!(
                            "{name} of {shape:?}, {layout:?}, {isa}, {threads} threads: {difference}"
                        ));
                    }
                }
            }
        }
        lines
    }
}
