//! Attention that one step serves.

use unisono_graph::ValueId;
use unisono_runtime::program::Fate;

use super::Builder;
use super::forms::{Form, Last};
use crate::fuse::attention::wanted;
use crate::fuse::{Group, Groups};
use crate::kernels::attention::build_attention;

impl Builder<'_> {
    /// The attention of the graph; before any value has another form.
    pub(super) fn attention(&self, fates: &[Fate]) -> Vec<Group> {
        let mut groups = Groups::new(self.graph, &self.known, fates, &self.root);
        for index in 0..self.graph.nodes().len() {
            let wanted = wanted(&groups, index);
            groups.admit(wanted);
        }
        groups.into_all()
    }

    /// Makes one step of each of these groups whose nodes would run in the model's form.
    pub(super) fn join_attention(&self, groups: Vec<Group>, forms: &mut [Form]) {
        for group in groups {
            let is_free = |&node: &usize| matches!(forms.get(node), Some(Form::Model));
            if !group.nodes.iter().all(is_free) {
                continue;
            }
            let Some(kernel) = build_attention(&*group.node.op, self.engine) else {
                continue;
            };
            let numbers =
                |ids: &[Option<ValueId>]| ids.iter().map(|id| id.map(|id| id.index())).collect();
            let joint = Last {
                inputs: numbers(&group.node.inputs),
                outputs: numbers(&group.node.outputs),
                nodes: group.nodes.iter().copied().collect(),
                kernel,
            };
            for &node in &group.nodes {
                forms[node] = Form::Nothing;
            }
            forms[group.turn] = Form::Last(joint);
        }
    }
}
