//! A report for people: one line for each thing that stands still, and those who wait for the same on one line.

use std::fmt;
use std::time::Duration;

use super::{Caller, RunningBatch, StallReport, Wait, WaitsFor};

/// So many of those who wait for the same are named.
const NAMED: usize = 8;

impl fmt::Display for StallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = seconds(self.older_than);
        let model = self.model.escape_debug();
        if self.is_empty() {
            return write!(f, "model \"{model}\": nothing stands still for {limit}");
        }
        write!(
            f,
            "model \"{model}\": no progress for more than {limit}; {} inside, {} of {} lanes are free",
            count(self.inside, "request"),
            self.free_lanes,
            self.lanes
        )?;
        for batch in &self.batches {
            write!(f, "\n  {batch}")?;
        }
        let mut groups: Vec<(String, Vec<&Wait>)> = Vec::new();
        for wait in &self.waits {
            let what = wait.waits_for.to_string();
            match groups.iter_mut().find(|(known, _)| *known == what) {
                Some((_, waits)) => waits.push(wait),
                None => groups.push((what, vec![wait])),
            }
        }
        for (what, waits) in groups {
            write_group(&what, &waits, f)?;
        }
        // With nobody to lead, the device's own threads may all be busy with other sessions.
        let needs_lane = |w: &Wait| match &w.waits_for {
            WaitsFor::Lane => true,
            WaitsFor::Batch { leaders } => leaders.is_empty(),
            _ => false,
        };
        if self.waits.iter().any(needs_lane) {
            let others = self
                .lane_holders
                .iter()
                .filter(|b| !self.batches.contains(b));
            for batch in others {
                let whose = if batch.own { "" } else { " of another session" };
                write!(f, "\n  a lane is held by {batch}{whose}")?;
            }
        }
        match self.unknown {
            0 => Ok(()),
            n => write!(
                f,
                "\n  nothing is known of {}: there before anybody watched",
                count(n, "request")
            ),
        }
    }
}

fn write_group(what: &str, waits: &[&Wait], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let threads = waits.iter().filter(|w| w.caller != Caller::Future);
    let mut names: Vec<String> = threads.map(|w| w.caller.to_string()).collect();
    let futures = waits.len() - names.len();
    if names.len() > NAMED {
        let more = names.len() - NAMED;
        names.truncate(NAMED);
        names.push(count(more, "other thread"));
    }
    match futures {
        0 => {}
        1 => names.push("a future".to_owned()),
        n => names.push(count(n, "future")),
    }
    let rows: usize = waits.iter().map(|w| w.rows).sum();
    let longest = waits.iter().map(|w| w.waited).max().unwrap_or_default();
    let verb = if waits.len() == 1 { "waits" } else { "wait" };
    write!(
        f,
        "\n  {} {verb} for {what}, for {}",
        names.join(", "),
        seconds(longest)
    )?;
    match rows {
        0 => Ok(()),
        n => write!(f, " ({})", count(n, "row")),
    }
}

impl fmt::Display for RunningBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a batch of {} ({}) that has been running for {}, led by {}",
            count(self.requests, "request"),
            count(self.rows, "row"),
            seconds(self.age),
            self.leader
        )
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::Thread {
                name: Some(name),
                id,
            } => {
                write!(f, "thread \"{}\" ({id})", name.escape_debug())
            }
            Caller::Thread { name: None, id } => write!(f, "thread {id}"),
            Caller::Future => f.write_str("a future"),
        }
    }
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitsFor::Plan { shapes, compiler } => {
                write!(f, "the plan for {shapes}")?;
                match compiler {
                    Some((who, _)) => write!(f, ", which {who} compiles"),
                    None => f.write_str(", which somebody else compiles"),
                }
            }
            WaitsFor::OwnCompile { shapes } => {
                write!(f, "its own compile of the plan for {shapes}")
            }
            WaitsFor::Room { capacity } => {
                write!(f, "room: {} (queue_capacity)", count_are_taken(*capacity))
            }
            WaitsFor::Batch { leaders } if leaders.is_empty() => {
                f.write_str("the next batch, which nobody leads at this moment")
            }
            WaitsFor::Batch { leaders } => {
                let names: Vec<String> = leaders.iter().map(Caller::to_string).collect();
                write!(f, "the next batch, after that of {}", names.join(", "))
            }
            WaitsFor::Lane => f.write_str("a lane"),
            WaitsFor::End { batch: Some(batch) } => {
                write!(f, "the batch that {} runs", batch.leader)
            }
            WaitsFor::End { batch: None } => f.write_str("a batch that has just ended"),
            WaitsFor::Pickup => f.write_str("being looked at: the answer is ready"),
            WaitsFor::Drain { inside } => {
                write!(f, "{} to leave, to shut down", count(*inside, "request"))
            }
        }
    }
}

fn count_are_taken(places: usize) -> String {
    match places {
        1 => "the only place is taken".to_owned(),
        n => format!("all {n} places are taken"),
    }
}

fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}
