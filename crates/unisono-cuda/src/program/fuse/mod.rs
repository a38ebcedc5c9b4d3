//! Groups of nodes that one launch serves.
//!
//! The one idea: a [group](unisono_cpu::fuse) is a node of an operator that this device alone has (`crate::lower`), so it is lowered,
//! refused and placed like any other. A group whose lowering refuses runs as its nodes, one after the other, at the group's turn.

mod add_norm;
mod products;
#[cfg(test)]
mod tests;

use unisono_cpu::fuse::attention;
pub use unisono_cpu::fuse::{Group, Groups};

/// Finds all groups.
pub fn find(groups: &mut Groups<'_>) {
    for index in 0..groups.graph().nodes().len() {
        let wanted = attention::wanted(groups, index);
        groups.admit(wanted);
        let wanted = add_norm::wanted(groups, index);
        groups.admit(wanted);
    }
    // Behind the others, which decide when the products' readers run.
    for index in 0..groups.graph().nodes().len() {
        let wanted = products::wanted(groups, index);
        groups.admit(wanted);
    }
}
