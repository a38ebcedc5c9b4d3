//! What `unisono profile` says, as numbers.

use std::collections::BTreeMap;

use serde::Serialize;
use unisono::DeviceInfo;
use unisono::profile::{Profile, StepProfile};

use super::ceiling::{CLASSES, Ceiling, Work, class, ratio};

/// The whole of it; its fields are told by `unisono profile --help`.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    pub model: &'a str,
    pub device: String,
    pub threads: usize,
    pub isa: &'a str,
    pub seed: u64,
    pub shapes: BTreeMap<&'a str, Vec<usize>>,
    pub rows: usize,
    pub runs: usize,
    pub run_ms: f64,
    pub run_lowest_ms: f64,
    pub run_highest_ms: f64,
    pub steps_ms: f64,
    pub between_steps_ms: f64,
    pub disturbed: bool,
    pub unit: &'static str,
    pub gflops_peak: f64,
    pub gflops_peak_one_thread: f64,
    pub read_gb_per_s: f64,
    pub read_bytes: usize,
    pub memory_gb_per_s: f64,
    pub roof_share: f64,
    pub time_by_roof_share: Vec<Class>,
    pub steps: Vec<Step<'a>>,
    pub operators: Vec<Sum<'a>>,
}

/// A part of the time.
#[derive(Debug, Serialize)]
pub struct Class {
    pub from: f64,
    pub to: f64,
    pub share: f64,
}

/// One step.
#[derive(Debug, Serialize)]
pub struct Step<'a> {
    pub name: &'a str,
    pub operator: &'a str,
    pub kernel: &'a str,
    pub threads: usize,
    pub ms: f64,
    pub lowest_ms: f64,
    pub highest_ms: f64,
    pub share: f64,
    pub flops: Option<u64>,
    pub input_bytes: u64,
    pub output_bytes: u64,
    pub weight_bytes: u64,
    pub gflops: f64,
    pub peak_share: f64,
    pub gb_per_s: f64,
    pub read_share: f64,
    pub roof_share: f64,
    pub lost_ms: f64,
    #[serde(skip)]
    pub work: Work,
}

/// All steps of an operator.
#[derive(Debug, Serialize)]
pub struct Sum<'a> {
    pub operator: &'a str,
    pub steps: usize,
    pub ms: f64,
    pub share: f64,
    pub roof_share: f64,
    pub lost_ms: f64,
    #[serde(skip)]
    pub work: Work,
}

fn ms(ns: f64) -> f64 {
    ns / 1e6
}

impl<'a> Report<'a> {
    pub fn new(
        model: &'a str,
        device: &'a DeviceInfo,
        seed: u64,
        shapes: BTreeMap<&'a str, Vec<usize>>,
        profile: &'a Profile,
        ceiling: Ceiling,
        disturbed: bool,
    ) -> Report<'a> {
        let run_ns = profile.whole.median_ns as f64;
        let steps = profile.steps.iter();
        let steps: Vec<Step<'_>> = steps.map(|s| Step::new(s, &ceiling, run_ns)).collect();
        let mut all = Work::default();
        let mut by_class = [0.0; CLASSES.len()];
        for step in &steps {
            all.add(&step.work);
            by_class[class(step.roof_share)] += step.work.ns;
        }
        let next = |i: usize| CLASSES.get(i + 1).map_or(1.0, |(from, _)| *from);
        let classes = CLASSES.iter().zip(by_class).enumerate();
        Report {
            model,
            device: device.id.to_string(),
            threads: device.threads,
            isa: &device.isa,
            seed,
            shapes,
            rows: profile.rows,
            runs: profile.runs,
            run_ms: ms(run_ns),
            run_lowest_ms: ms(profile.whole.lowest_ns as f64),
            run_highest_ms: ms(profile.whole.highest_ns as f64),
            steps_ms: ms(profile.within_steps.median_ns as f64),
            between_steps_ms: ms(profile.between_steps_ns() as f64),
            disturbed,
            unit: ceiling.unit,
            gflops_peak: ceiling.flops_per_ns,
            gflops_peak_one_thread: ceiling.one_thread_flops_per_ns,
            read_gb_per_s: ceiling.bytes_per_ns,
            read_bytes: ceiling.of_bytes,
            memory_gb_per_s: ceiling.memory_bytes_per_ns,
            roof_share: ratio(all.roof_ns, run_ns).min(1.0),
            time_by_roof_share: classes
                .map(|(i, ((from, _), ns))| Class {
                    from: *from,
                    to: next(i),
                    share: ratio(ns, all.ns),
                })
                .collect(),
            operators: sums(&steps, run_ns),
            steps,
        }
    }

    /// The steps and what lies between them, one behind the other. Not quite the time of a run: medians of parts do not add
    /// up to the median of the whole.
    pub fn parts_ns(&self) -> f64 {
        let steps: f64 = self.steps.iter().map(|step| step.work.ns).sum();
        steps + self.between_steps_ms * 1e6
    }
}

impl<'a> Step<'a> {
    fn new(step: &'a StepProfile, ceiling: &Ceiling, run_ns: f64) -> Step<'a> {
        let work = ceiling.work(step.times.median_ns, step.flops, step.bytes());
        let gflops = ratio(work.flops as f64, work.ns);
        let gb_per_s = ratio(work.bytes as f64, work.ns);
        Step {
            name: &step.name,
            operator: &step.operator,
            kernel: &step.kernel,
            threads: step.threads,
            ms: ms(work.ns),
            lowest_ms: ms(step.times.lowest_ns as f64),
            highest_ms: ms(step.times.highest_ns as f64),
            share: ratio(work.ns, run_ns),
            flops: step.flops,
            input_bytes: step.input_bytes,
            output_bytes: step.output_bytes,
            weight_bytes: step.weight_bytes,
            gflops,
            peak_share: ratio(gflops, ceiling.flops_per_ns),
            gb_per_s,
            read_share: ratio(gb_per_s, ceiling.bytes_per_ns),
            roof_share: work.roof_share(),
            lost_ms: ms(work.lost_ns()),
            work,
        }
    }
}

/// The operators, the one with the longest time first.
fn sums<'a>(steps: &[Step<'a>], run_ns: f64) -> Vec<Sum<'a>> {
    let mut by_operator: BTreeMap<&str, (usize, Work)> = BTreeMap::new();
    for step in steps {
        let (count, work) = by_operator.entry(step.operator).or_default();
        *count += 1;
        work.add(&step.work);
    }
    let sums = by_operator.into_iter();
    let sums = sums.map(|(operator, (steps, work))| Sum {
        operator,
        steps,
        ms: ms(work.ns),
        share: ratio(work.ns, run_ns),
        roof_share: work.roof_share(),
        lost_ms: ms(work.lost_ns()),
        work,
    });
    let mut sums: Vec<Sum<'_>> = sums.collect();
    sums.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    sums
}
