//! How a request of one row would run on a device, and what a few of them did.
//!
//! The one idea: the session itself is asked, so that what is told is what decides. Until `--run` is given, no node runs.

use serde::Serialize;
use unisono::{Device, DeviceId, Model, NodePlacement, PlanInfo, Session, SessionOptions, Tensor};

use crate::console::{bytes, grouped, microseconds, plain};
use crate::failure::Failure;
use crate::request::MadeUp;
use crate::request::shapes::GivenShapes;

/// What is known before anything runs.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub device: String,
    /// Bytes of the plan, and of all plans that a session keeps by default.
    pub bytes: u64,
    pub cache_bytes: u64,
    /// Estimates, from counted work: what a batch costs however many rows it has, the part of it that requests of different
    /// shapes share, and what a row adds.
    pub fixed_us: f64,
    pub shared_us: f64,
    pub row_us: f64,
    /// May the request share batches?
    pub shares: bool,
    /// From how many rows on more do not pay; null if they always do.
    pub worthwhile_rows: Option<usize>,
    /// Rows that run at the same time, each on one thread; 0 or 1 where all threads work on the same rows.
    pub beside: usize,
    /// Does it pay to put requests of different shapes into one batch?
    pub mixes: bool,
    /// No batch of several requests gets more rows than this by default.
    pub row_limit: usize,
    /// Where nodes run, on a device that leaves some to the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
}

/// Which nodes run where.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// How many run on the device.
    pub on_device: usize,
    /// Those that run on the CPU.
    pub on_cpu: Vec<OnCpu>,
}

/// A node that runs on the CPU, and why.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct OnCpu {
    pub node: String,
    pub operator: String,
    pub why: String,
}

/// What the session's statistics say after some requests.
#[derive(Debug, Serialize)]
pub struct Runs {
    pub requests: u64,
    pub rows: u64,
    pub batches: u64,
    pub failed: u64,
    pub compiles: u64,
    pub hits: u64,
    pub evictions: u64,
    pub plan_bytes: u64,
    pub mean_queue_us: f64,
    pub mean_run_us: f64,
    /// Rounded up, by at most a quarter.
    pub run_p50_us: f64,
    pub run_max_us: f64,
}

/// A request of one row that has been planned and not run.
pub struct First {
    pub plan: Plan,
    session: Session,
    request: Vec<Tensor>,
}

/// Plans a request of one row, or says why that cannot be done.
///
/// # Errors
/// An option does not fit the model.
pub fn first_request(
    model: &Model,
    device: &Device,
    made_up: &MadeUp,
) -> Result<Result<First, String>, Failure> {
    let given = GivenShapes::default();
    let mut lengths = made_up.assumptions.lengths(model, &given)?;
    let mut shapes = model.inputs().iter().map(|port| lengths.shape(port, 1));
    if shapes.any(|shape| shape.is_err()) {
        return Ok(Err("the rank of an input is not known".to_owned()));
    }
    let request = made_up.inputs(&mut lengths, &given, 1, 0)?;
    let options = SessionOptions::default();
    let planned = model.session_with(device, &options).and_then(|session| {
        let plan = session.plan_for(&request)?;
        let placement = match device.info().id {
            DeviceId::Cpu => None,
            _ => Some(Placement::of(session.placement_for(&request)?)),
        };
        Ok((session, plan, placement))
    });
    Ok(planned
        .map_err(|error| error.to_string())
        .map(|(session, info, placement)| First {
            plan: Plan::of(device, &options, info, placement),
            session,
            request,
        }))
}

impl First {
    /// Runs it so many times.
    ///
    /// # Errors
    /// Those of the request.
    pub fn run(&self, times: u32) -> Result<Runs, Failure> {
        for _ in 0..times {
            self.session.run(&self.request)?;
        }
        let stats = self.session.stats();
        let us = |ns: u64| ns as f64 / 1e3;
        Ok(Runs {
            requests: stats.requests,
            rows: stats.rows,
            batches: stats.batches,
            failed: stats.failed,
            compiles: stats.plans.compiles,
            hits: stats.plans.hits,
            evictions: stats.plans.evictions,
            plan_bytes: stats.plans.bytes,
            mean_queue_us: stats.queue_ns.mean() / 1e3,
            mean_run_us: stats.run_ns.mean() / 1e3,
            run_p50_us: us(stats.run_ns.quantile(0.5)),
            run_max_us: us(stats.run_ns.quantile(1.0)),
        })
    }
}

impl Plan {
    fn of(
        device: &Device,
        options: &SessionOptions,
        info: PlanInfo,
        placement: Option<Placement>,
    ) -> Plan {
        let us = |ns: u64| ns as f64 / 1e3;
        let device = device.info();
        let worthwhile = info.cost.worthwhile_rows();
        Plan {
            device: format!("{} ({} threads, {})", device.id, device.threads, device.isa),
            bytes: info.bytes,
            cache_bytes: options.plan_cache_bytes,
            fixed_us: us(info.cost.fixed_ns),
            shared_us: us(info.cost.shared_ns),
            row_us: us(info.cost.row_ns),
            shares: info.shares,
            worthwhile_rows: Some(worthwhile).filter(|&rows| rows < usize::MAX),
            beside: info.cost.beside,
            mixes: info.cost.mixes(),
            row_limit: info.row_limit,
            placement,
        }
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "it takes {}; a session keeps {} of plans, one for each set of lengths but the rows",
                bytes(self.bytes),
                bytes(self.cache_bytes)
            ),
            format!(
                "estimated from counted work: {} a batch, and {} a row",
                microseconds(self.fixed_us),
                microseconds(self.row_us)
            ),
        ];
        lines.extend(self.placement.iter().flat_map(Placement::lines));
        if !self.shares {
            lines.push("requests are not batched: each has the cost of a batch".to_owned());
            return lines;
        }
        let limit = grouped(self.row_limit as u64);
        lines.push(match self.worthwhile_rows {
            Some(_) if self.beside > 1 && self.worthwhile_rows == Some(self.row_limit) => format!(
                "rows run beside each other, each on one thread: batches close at {limit} rows, which keep all {} busy",
                self.beside
            ),
            Some(1) => "batches do not pay: what rows share is below 1 % of a row".to_owned(),
            Some(rows) if rows == self.row_limit => {
                format!("batches pay up to {limit} rows: from there on rows share less than 1 %")
            }
            _ => format!("batches pay up to {limit} rows, which is the bound (max_batch_rows)"),
        });
        lines.push(match self.mixes {
            true => format!(
                "requests of other lengths share them: {} of a batch is then paid once",
                microseconds(self.shared_us)
            ),
            false => "requests of other lengths run in batches of their own".to_owned(),
        });
        lines
    }
}

impl Placement {
    fn of(nodes: Vec<NodePlacement>) -> Placement {
        let mut placement = Placement::default();
        for node in nodes {
            match node.why {
                None => placement.on_device += 1,
                Some(why) => placement.on_cpu.push(OnCpu {
                    node: node.name,
                    operator: node.operator,
                    why,
                }),
            }
        }
        placement
    }

    /// For people: nodes on the CPU by operator and reason.
    fn lines(&self) -> Vec<String> {
        let all = grouped((self.on_device + self.on_cpu.len()) as u64);
        if self.on_cpu.is_empty() {
            return vec![format!("all {all} nodes run on the device")];
        }
        let on_device = grouped(self.on_device as u64);
        let mut lines = vec![format!("{on_device} of {all} nodes run on the device")];
        let mut kinds: Vec<(&OnCpu, usize)> = Vec::new();
        for node in &self.on_cpu {
            let known = kinds
                .iter_mut()
                .find(|(k, _)| (&k.operator, &k.why) == (&node.operator, &node.why));
            match known {
                Some((_, count)) => *count += 1,
                None => kinds.push((node, 1)),
            }
        }
        for (node, count) in kinds {
            let (operator, why) = (plain(&node.operator), plain(&node.why));
            let which = match count {
                1 => format!("{operator} \"{}\"", plain(&node.node)),
                n => format!("{n} {operator}, the first \"{}\"", plain(&node.node)),
            };
            lines.push(format!("on the CPU: {which}: {why}"));
        }
        lines
    }
}

impl Runs {
    /// For people.
    pub fn lines(&self) -> Vec<String> {
        vec![
            format!(
                "{} rows in {} batches, {} failed",
                grouped(self.rows),
                grouped(self.batches),
                grouped(self.failed)
            ),
            format!(
                "plans: {} compiled, {} found, {} forgotten, {} held",
                grouped(self.compiles),
                grouped(self.hits),
                grouped(self.evictions),
                bytes(self.plan_bytes)
            ),
            format!(
                "a request waited {} and a batch ran {} in the mean (half within {}, all within {})",
                microseconds(self.mean_queue_us),
                microseconds(self.mean_run_us),
                microseconds(self.run_p50_us),
                microseconds(self.run_max_us)
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_cpu(node: &str, operator: &str, why: &str) -> OnCpu {
        OnCpu {
            node: node.to_owned(),
            operator: operator.to_owned(),
            why: why.to_owned(),
        }
    }

    #[test]
    fn nodes_on_the_cpu_are_told_by_operator_and_reason() {
        let mut placement = Placement {
            on_device: 1200,
            on_cpu: Vec::new(),
        };
        assert_eq!(placement.lines(), ["all 1,200 nodes run on the device"]);
        placement.on_cpu = vec![
            on_cpu("a", "TopK", "no kernel"),
            on_cpu("b", "GRU", "no kernel"),
            on_cpu("c", "TopK", "no kernel"),
        ];
        let expected = [
            "1,200 of 1,203 nodes run on the device",
            "on the CPU: 2 TopK, the first \"a\": no kernel",
            "on the CPU: GRU \"b\": no kernel",
        ];
        assert_eq!(placement.lines(), expected);
    }
}
