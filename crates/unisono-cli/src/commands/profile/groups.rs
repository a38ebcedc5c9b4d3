//! Steps in groups, groups in groups.
//!
//! The one idea: node names are paths (`/encoder/layer.0/MatMul`), so the groups are the ones that the model's author had in mind.
//! Where most of the time is in nodes without a path, steps are grouped by operator.

use super::By;
use super::ceiling::Work;
use super::report::{Report, Step};

/// Levels of groups at most; what is deeper keeps the rest of its path as one name.
const DEEPEST: usize = 6;

/// A group, or a step, which has no parts.
#[derive(Debug)]
pub struct Group<'a> {
    /// The segment of the path, or the operator.
    pub label: String,
    pub work: Work,
    pub step: Option<&'a Step<'a>>,
    pub parts: Vec<Group<'a>>,
}

/// The steps of a run as one group.
pub fn groups<'a>(report: &'a Report<'a>, by: By) -> Group<'a> {
    let mut run = Group::new("run");
    let with_path = report.steps.iter().filter(|step| path(step).len() > 1);
    let with_path: f64 = with_path.map(|step| step.ms).sum();
    let by_path = by == By::Node && with_path * 2.0 > report.steps_ms;
    for step in &report.steps {
        let mut names = match by_path {
            true => path(step),
            false => vec![step.operator, step.name],
        };
        let label = names.pop().unwrap_or_default().to_owned();
        if names.len() > DEEPEST {
            names.truncate(DEEPEST);
        }
        run.add(&names, label, step);
    }
    run.join_lonely();
    run
}

fn path<'a>(step: &Step<'a>) -> Vec<&'a str> {
    step.name
        .split('/')
        .filter(|part| !part.is_empty())
        .collect()
}

impl<'a> Group<'a> {
    fn new(label: &str) -> Group<'a> {
        Group {
            label: label.to_owned(),
            work: Work::default(),
            step: None,
            parts: Vec::new(),
        }
    }

    fn add(&mut self, names: &[&str], label: String, step: &'a Step<'a>) {
        self.work.add(&step.work);
        let Some((first, rest)) = names.split_first() else {
            let mut leaf = Group::new(&label);
            leaf.work = step.work;
            leaf.step = Some(step);
            return self.parts.push(leaf);
        };
        let is_it = |part: &Group<'_>| part.step.is_none() && part.label == **first;
        let at = self.parts.iter().position(is_it).unwrap_or_else(|| {
            self.parts.push(Group::new(first));
            self.parts.len() - 1
        });
        if let Some(part) = self.parts.get_mut(at) {
            part.add(rest, label, step);
        }
    }

    /// A group whose only part is a group says no more than that one: both become one.
    fn join_lonely(&mut self) {
        for part in &mut self.parts {
            part.join_lonely();
            while let [only] = &mut part.parts[..]
                && only.step.is_none()
            {
                part.label = format!("{}/{}", part.label, only.label);
                part.parts = std::mem::take(&mut only.parts);
            }
        }
    }

    /// Rows that it takes to draw it.
    pub fn depth(&self) -> usize {
        1 + self.parts.iter().map(Group::depth).max().unwrap_or(0)
    }
}
