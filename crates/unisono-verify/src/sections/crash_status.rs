//! Crash status: how the processes of this run ended, and what the ledger remembers of earlier ones.

use super::{Description, Findings, Scope, SectionId};
use crate::report::{Check, ProcessEnd, Report};
use crate::verdict::Verdict;

/// What it says of itself.
pub const DESCRIPTION: Description = Description {
    name: "crash-status",
    title: "Crash status",
    scope: Scope::Report,
    proves: "No process of this run crashed, hung or ran out of memory, and the system wrote no crash report of one.",
    claim: "no process of this run ended badly",
    cannot: "Crashes of other programs, and of runs whose ledger was deleted. Where the system keeps no crash reports that the user may \
             read, the report says so.",
    checks: &[
        (
            "processes of this run",
            "each section ran in a process of its own; each must have ended by itself, with its report, and not by a signal, in \
             silence or without memory",
        ),
        (
            "crash reports",
            "core files and crash reports of this program that the system has written since the run began",
        ),
        (
            "crash ledger",
            "processes that ended badly, before and after this run, over all runs of this user; the original counted 274 crash files \
             before and after",
        ),
    ],
};

/// Then there is nothing that could have crashed.
const NO_PROCESS: &str = "no section of this run had a process of its own";

/// Concludes from what the report has so far.
pub fn check(report: &Report) -> Findings {
    vec![processes(report), system(report), ledger(report)].into()
}

fn start(id: &str, what: &str, unit: &str) -> Check {
    Check::new(
        format!("{}/{id}", SectionId::CrashStatus.name()),
        "",
        what,
        unit,
    )
}

fn processes(report: &Report) -> Check {
    let mut check = start("processes", "processes of this run", "processes");
    let processes = report.sections.iter().filter_map(|section| {
        let process = section.process.as_ref()?;
        Some((section.id, process))
    });
    let (mut all, mut bad, mut peak) = (0, 0, None);
    for (section, process) in processes {
        all += 1;
        peak = peak.max(process.peak_resident_bytes);
        if process.end != ProcessEnd::Good {
            bad += 1;
            check.notes.push(format!("{section}: {}", process.what));
        }
    }
    check.conclude(all, bad);
    if all == 0 {
        check.notes.push(NO_PROCESS.to_owned());
    }
    if let Some(bytes) = peak {
        check.figure("most memory of a section", bytes as f64 / 1e6, "MB");
    }
    check
}

fn system(report: &Report) -> Check {
    let mut check = start("system", "crash reports of the system", "places looked at");
    let Some(crashes) = &report.crashes else {
        return without_ledger(check);
    };
    let places = crashes.system_reports_in.len() as u64;
    check.conclude(places, crashes.system_reports.len() as u64);
    // It looked at everything there is: there is no rate to bound.
    check.rate_bound = None;
    check.notes.extend(crashes.system_reports.iter().cloned());
    if places == 0 {
        check.verdict = Verdict::NotDistinguishable;
        check
            .notes
            .push("this system keeps no crash reports that this user can read".to_owned());
    } else {
        check.notes.push(format!(
            "looked in {}",
            crashes.system_reports_in.join(", ")
        ));
    }
    check
}

fn ledger(report: &Report) -> Check {
    let mut check = start("ledger", "crash ledger", "sections' processes");
    let Some(crashes) = &report.crashes else {
        return without_ledger(check);
    };
    if let Some(trouble) = &crashes.trouble {
        check.verdict = Verdict::NotDistinguishable;
        check.notes.push(format!("{}: {trouble}", crashes.ledger));
        return check;
    }
    let ran = report.sections.iter().filter(|s| s.process.is_some());
    let ran = ran.count() as u64;
    check.conclude(ran, crashes.crashes_after - crashes.crashes_before);
    if ran == 0 {
        check.notes.push(NO_PROCESS.to_owned());
    }
    check.figure("crashes before", crashes.crashes_before as f64, "");
    check.figure("crashes after", crashes.crashes_after as f64, "");
    check.figure("earlier runs", crashes.runs_before as f64, "");
    check.figure(
        "earlier runs that never ended",
        crashes.unended_before as f64,
        "",
    );
    check.notes.push(format!("kept in {}", crashes.ledger));
    if crashes.unended_before > 0 {
        check.warnings.push(format!(
            "{} of {} earlier runs never ended: they were killed, or the machine went down",
            crashes.unended_before, crashes.runs_before
        ));
    }
    check
}

fn without_ledger(mut check: Check) -> Check {
    check.verdict = Verdict::NotDistinguishable;
    check
        .notes
        .push("this run kept no ledger of crashes".to_owned());
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{crashes, process, report, section};

    fn verdicts(report: &Report) -> Vec<Verdict> {
        check(report).checks.iter().map(|c| c.verdict).collect()
    }

    #[test]
    fn a_good_run_passes_and_each_kind_of_crash_turns_its_check_red() {
        use Verdict::*;
        let mut good = report();
        let mut soak = section(SectionId::Soak);
        soak.process = Some(process(ProcessEnd::Good));
        good.sections = vec![soak];
        good.crashes = Some(crashes(5, 5));
        assert_eq!(verdicts(&good), [Pass, Pass, Pass]);

        for end in [
            ProcessEnd::Exit,
            ProcessEnd::Signal,
            ProcessEnd::Hung,
            ProcessEnd::OutOfMemory,
            ProcessEnd::NotStarted,
        ] {
            let mut bad = good.clone();
            bad.sections[0].process = Some(process(end));
            bad.crashes = Some(crashes(5, 6));
            assert_eq!(verdicts(&bad), [Fail, Pass, Fail]);
        }

        let mut reported = good.clone();
        let found = reported.crashes.as_mut().unwrap();
        found
            .system_reports
            .push("/var/crash/core.unisono.1".to_owned());
        assert_eq!(verdicts(&reported), [Pass, Fail, Pass]);
    }

    #[test]
    fn what_was_not_looked_at_is_not_a_pass() {
        use Verdict::*;
        let mut alone = report();
        alone.sections = vec![section(SectionId::Soak)];
        assert_eq!(
            verdicts(&alone),
            [CouldNotRun, NotDistinguishable, NotDistinguishable]
        );
    }
}
