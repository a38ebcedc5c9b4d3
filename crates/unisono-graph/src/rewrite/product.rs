//! A product taken apart into a number and factors, whatever order and brackets an exporter wrote it in.

use super::view::{View, operands};
use crate::ops::binary::{Binary, BinaryFunction};
use crate::{Node, NodeId, ValueId};

/// A product of at most this many factors is taken apart.
const MOST: usize = 6;

/// `scale * factors[0] * factors[1] * …`
pub(super) struct Product {
    /// All constant numbers multiplied.
    pub scale: f64,
    /// What is left, in the order in which it was written.
    pub factors: Vec<ValueId>,
    /// The steps that multiply.
    pub nodes: Vec<NodeId>,
}

impl Product {
    /// The product that a node computes: a `Mul`, or a `Div` by a number. Inner products are taken apart if nothing else
    /// reads them.
    pub fn of_node(view: &View<'_>, id: NodeId, node: &Node) -> Option<Product> {
        let mut product = Product {
            scale: 1.0,
            factors: Vec::new(),
            nodes: Vec::new(),
        };
        product.split(view, id, node)?;
        (product.factors.len() <= MOST).then_some(product)
    }

    /// The product that a private value is; the value itself if it is none.
    pub fn of_value(view: &View<'_>, value: ValueId) -> Product {
        let mut product = Product {
            scale: 1.0,
            factors: Vec::new(),
            nodes: Vec::new(),
        };
        product.add(view, value);
        product
    }

    fn split(&mut self, view: &View<'_>, id: NodeId, node: &Node) -> Option<()> {
        let function = node.op.downcast_ref::<Binary>()?.function;
        let [a, b] = operands(node)?;
        match function {
            BinaryFunction::Mul => {
                self.nodes.push(id);
                self.add(view, a);
                self.add(view, b);
            }
            BinaryFunction::Div => {
                let divisor = view.number(b).filter(|n| *n != 0.0)?;
                self.nodes.push(id);
                self.scale /= divisor;
                self.add(view, a);
            }
            _ => return None,
        }
        Some(())
    }

    fn add(&mut self, view: &View<'_>, value: ValueId) {
        if let Some(number) = view.number(value) {
            self.scale *= number;
            return;
        }
        if self.factors.len() + self.nodes.len() <= 2 * MOST
            && let Some((id, node, _)) = view.private::<Binary>(value)
            && self.split(view, id, node).is_some()
        {
            return;
        }
        self.factors.push(value);
    }
}
