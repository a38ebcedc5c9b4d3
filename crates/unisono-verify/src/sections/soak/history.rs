//! A judge of what the callers recorded.
//!
//! The one idea: a pure function over records of the client's side. It knows nothing of how answers are made, and so believes nothing.
//!
//! # Overtaking
//!
//! A call is overtaken by each that began after it and ended before it. The session counts from when a request entered its queue; the
//! caller only knows when its call began, which is earlier. In between, each of the other callers may slip in with at most two calls: one that was
//! just being entered, and one that was answered and whose caller had not been woken. So the bound from outside is the session's, and twice the
//! callers. A caller that loses its core on the way out looks overtaken as well, however fair the session is; that happens to few. So calls that were
//! overtaken too often count as wrong if they are more than one in a hundred.

use std::collections::BTreeMap;
use std::fmt;

/// One call, as its caller saw it. Times are nanoseconds since the soak began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who called.
    pub caller: usize,
    /// Which call of this caller it was.
    pub call: u64,
    /// The request.
    pub asked: usize,
    /// When the call began.
    pub began: u64,
    /// When it ended.
    pub ended: u64,
    /// By when it had to be answered.
    pub deadline: Option<u64>,
    /// What came of it.
    pub end: End,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The answer to this request; `None` if it is the answer to none of them.
    Answer(Option<usize>),
    /// An error.
    Error,
    /// The caller took it back.
    Cancelled,
}

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How many later requests a session lets overtake one.
    pub max_overtaken: usize,
    /// How many callers there were.
    pub callers: usize,
}

impl Rules {
    /// How often a call may be overtaken, seen from outside.
    pub fn allowed(&self) -> usize {
        self.max_overtaken + 2 * self.callers
    }
}

/// What a caller may say only if something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two records of one call.
    Twice(Record),
    /// A call between two recorded ones is missing.
    Lost {
        /// Who called.
        caller: usize,
        /// Which call is missing.
        call: u64,
    },
    /// The answer is that of another request, or of none.
    NotItsOwn(Record),
    /// An error, for no reason.
    Refused(Record),
    /// It was answered after its deadline.
    Late(Record),
    /// Too many later ones were answered first.
    Overtaken(Record, usize),
    /// A caller's call began before its last one had ended.
    OutOfOrder(Record),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (record, what) = match self {
            Violation::Lost { caller, call } => {
                return write!(f, "caller {caller}, call {call}: never ended");
            }
            Violation::Twice(record) => (record, "answered twice".to_owned()),
            Violation::NotItsOwn(record) => {
                let whose = match record.end {
                    End::Answer(Some(other)) => format!("got the answer to request {other}"),
                    _ => "got an answer to none of the requests".to_owned(),
                };
                (record, whose)
            }
            Violation::Refused(record) => (record, "got an error".to_owned()),
            Violation::Late(record) => (record, "answered after its deadline".to_owned()),
            Violation::Overtaken(record, times) => {
                (record, format!("overtaken by {times} later calls"))
            }
            Violation::OutOfOrder(record) => (
                record,
                "began before the caller's last call had ended".to_owned(),
            ),
        };
        write!(
            f,
            "caller {}, call {} of request {}, from {:.6} to {:.6} s: {what}",
            record.caller,
            record.call,
            record.asked,
            record.began as f64 / 1e9,
            record.ended as f64 / 1e9
        )
    }
}

/// What there is to say of a history.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Calls that were looked at.
    pub calls: u64,
    /// Those with a deadline.
    pub with_deadline: u64,
    /// Those that were taken back.
    pub cancelled: u64,
    /// How often the most overtaken call was overtaken.
    pub most_overtaken: usize,
    /// Calls that were overtaken more often than is allowed; violations only if they are many.
    pub overtaken: u64,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

/// A caller reads the clock after its answer has come; it may have lost its core in between.
const READING_NS: u64 = 2_000_000_000;

/// One call in so many may have lost its core on the way out.
const LOST_CORE: usize = 100;

/// Judges records in any order. A caller's calls must be numbered; it records in stretches, each without a gap, and says at the first
/// record of a stretch nothing of what was before.
pub fn judge(records: &[Vec<Record>], rules: &Rules) -> Judged {
    let mut judged = Judged::default();
    let mut all: Vec<Record> = Vec::new();
    let mut calls = BTreeMap::new();
    for stretch in records {
        for (i, record) in stretch.iter().enumerate() {
            judged.calls += 1;
            judged.with_deadline += u64::from(record.deadline.is_some());
            judged.cancelled += u64::from(record.end == End::Cancelled);
            if calls.insert((record.caller, record.call), ()).is_some() {
                judged.violations.push(Violation::Twice(*record));
            }
            if let Some(before) = i.checked_sub(1).and_then(|i| stretch.get(i)) {
                let missing = (before.call + 1)..record.call;
                judged
                    .violations
                    .extend(missing.map(|call| Violation::Lost {
                        caller: record.caller,
                        call,
                    }));
                if record.began < before.ended {
                    judged.violations.push(Violation::OutOfOrder(*record));
                }
            }
            judge_one(record, &mut judged.violations);
        }
        all.extend(stretch);
    }
    overtaking(&all, rules, &mut judged);
    judged
}

fn judge_one(record: &Record, violations: &mut Vec<Violation>) {
    match record.end {
        End::Answer(of) if of != Some(record.asked) => {
            violations.push(Violation::NotItsOwn(*record));
        }
        End::Error => match record.deadline {
            // An error is right once the deadline has passed.
            Some(deadline) if record.ended >= deadline => {}
            _ => violations.push(Violation::Refused(*record)),
        },
        End::Answer(_) => match record.deadline {
            Some(deadline) if record.ended > deadline + READING_NS => {
                violations.push(Violation::Late(*record));
            }
            _ => {}
        },
        End::Cancelled => {}
    }
}

/// Counts, for each call, those that began later and ended earlier.
fn overtaking(all: &[Record], rules: &Rules, judged: &mut Judged) {
    let mut too_often = Vec::new();
    let mut by_begin: Vec<&Record> = all.iter().filter(|r| r.end != End::Cancelled).collect();
    by_begin.sort_unstable_by_key(|record| record.began);
    for (i, record) in by_begin.iter().enumerate() {
        let later = by_begin[i + 1..].iter();
        // None of those that began after this one had ended can have overtaken it.
        let times = later
            .take_while(|other| other.began < record.ended)
            .filter(|other| other.began > record.began && other.ended < record.ended)
            .count();
        judged.most_overtaken = judged.most_overtaken.max(times);
        if times > rules.allowed() {
            too_often.push(Violation::Overtaken(**record, times));
        }
    }
    judged.overtaken = too_often.len() as u64;
    if too_often.len() > all.len() / LOST_CORE {
        judged.violations.extend(too_often);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        max_overtaken: 4,
        callers: 2,
    };

    fn record(caller: usize, call: u64, began: u64, ended: u64) -> Record {
        Record {
            caller,
            call,
            asked: 5,
            began,
            ended,
            deadline: None,
            end: End::Answer(Some(5)),
        }
    }

    fn verdict(records: &[Vec<Record>]) -> Vec<Violation> {
        judge(records, &RULES).violations
    }

    #[test]
    fn a_right_history_has_nothing_to_say() {
        let first = vec![record(0, 0, 0, 10), record(0, 1, 12, 20)];
        let mut late = record(1, 7, 5, 30);
        late.deadline = Some(29);
        late.end = End::Error;
        let mut dropped = record(1, 8, 31, 32);
        dropped.end = End::Cancelled;
        let judged = judge(&[first, vec![late, dropped]], &RULES);
        assert_eq!(judged.violations, []);
        let counts = (judged.calls, judged.with_deadline, judged.cancelled);
        assert_eq!((counts, judged.most_overtaken), ((4, 1, 1), 1));
    }

    #[test]
    fn every_kind_of_wrong_history_is_told() {
        let good = record(0, 1, 10, 20);
        let twice = vec![good, good];
        assert!(verdict(&[twice]).contains(&Violation::Twice(good)));
        let lost = vec![record(0, 0, 0, 5), record(0, 2, 30, 40)];
        assert_eq!(verdict(&[lost]), [Violation::Lost { caller: 0, call: 1 }]);
        for end in [End::Answer(Some(6)), End::Answer(None)] {
            let swapped = Record { end, ..good };
            assert_eq!(verdict(&[vec![swapped]]), [Violation::NotItsOwn(swapped)]);
        }
        let refused = Record {
            end: End::Error,
            deadline: Some(1_000),
            ..good
        };
        assert_eq!(verdict(&[vec![refused]]), [Violation::Refused(refused)]);
        let late = Record {
            deadline: Some(15),
            ended: 16 + READING_NS,
            ..good
        };
        assert_eq!(verdict(&[vec![late]]), [Violation::Late(late)]);
        let early = vec![record(0, 0, 0, 15), good];
        assert_eq!(verdict(&[early]), [Violation::OutOfOrder(good)]);
    }

    #[test]
    fn a_call_that_too_many_overtake_is_told() {
        let slow = record(0, 0, 0, 1_000);
        let quick = |n: u64| -> Vec<Record> {
            (0..n)
                .map(|i| record(1, i, 10 + 20 * i, 20 + 20 * i))
                .collect()
        };
        let allowed = RULES.allowed() as u64;
        assert_eq!(verdict(&[vec![slow], quick(allowed)]), []);
        assert_eq!(
            verdict(&[vec![slow], quick(allowed + 1)]),
            [Violation::Overtaken(slow, allowed as usize + 1)]
        );
        // One among very many may have lost its core.
        let judged = judge(&[vec![slow], quick(200)], &RULES);
        assert_eq!((judged.overtaken, judged.most_overtaken), (1, 49));
        assert_eq!(judged.violations, []);
    }
}
