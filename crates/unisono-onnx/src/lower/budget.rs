//! What lowering may still spend.
//!
//! Inlining can make a small file large, so everything that is made per node is counted here.

use crate::error::OnnxError;
use crate::limits::{LoadLimits, exceeded};

/// About what a value of the graph costs, besides its name.
const VALUE_BYTES: usize = 128;

pub(crate) struct Budget<'l> {
    limits: &'l LoadLimits,
    nodes: usize,
    elements: u64,
    copied: u64,
}

impl<'l> Budget<'l> {
    pub(super) fn new(limits: &'l LoadLimits) -> Self {
        Self {
            limits,
            nodes: 0,
            elements: 0,
            copied: 0,
        }
    }

    /// Counts one node of the graph, or one call of a function.
    pub(super) fn node(&mut self) -> Result<(), OnnxError> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(exceeded(
                "nodes after functions are inlined",
                "nodes",
                self.limits.nodes,
            ));
        }
        Ok(())
    }

    /// Counts a constant's elements.
    pub(super) fn elements(&mut self, count: usize) -> Result<(), OnnxError> {
        self.elements = self.elements.saturating_add(count as u64);
        if self.elements > self.limits.elements {
            return Err(exceeded(
                "elements in all constants",
                "elements",
                self.limits.elements,
            ));
        }
        Ok(())
    }

    /// Counts a name, which the graph, its nodes and the table of taken names each keep.
    pub(super) fn name(&mut self, bytes: usize) -> Result<(), OnnxError> {
        self.charge(bytes.saturating_mul(4).saturating_add(VALUE_BYTES))
    }

    /// Counts bytes that are copied, before they are.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), OnnxError> {
        self.copied = self.copied.saturating_add(bytes as u64);
        if self.copied > self.limits.copied_bytes {
            return Err(exceeded(
                "bytes copied out of the file",
                "copied_bytes",
                self.limits.copied_bytes,
            ));
        }
        Ok(())
    }
}
