//! The protocol under every interleaving and reordering: nobody is left behind, nobody is answered twice or by another's answer. A lost
//! wake-up is a deadlock, which loom reports.

use std::sync::{Arc, Weak};
use std::task::{Context, Waker};

use super::*;

const RULES: Rules = Rules {
    max_overtaken: 1,
    max_kinds: 1,
};

const TRAITS: Traits = Traits {
    kind: 1,
    rows: 1,
    row_limit: 8,
    mixes: false,
};

fn check(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 50_000;
    builder.check(f);
}

/// One batch; the answer to `x` is `x + 100`.
fn lead_once<'a>(
    leadership: &Leadership<'a, u32>,
    own: Option<u64>,
    wake_ups: &mut WakeUps<'a, u32>,
) -> bool {
    leadership.recall();
    let mut claims = Vec::new();
    let own_is_in = leadership.close(
        own.map(|ticket| (ticket, TRAITS)),
        &RULES,
        &mut Vec::new(),
        |mut claim| {
            *claim.request_mut() += 100;
            claims.push(claim);
        },
    );
    leadership.finish(claims.into_iter(), wake_ups);
    own_is_in
}

fn lead(c: &Coalescer<u32>, leadership: Leadership<'_, u32>, x: u32, ticket: u64) -> u32 {
    loop {
        let mut wake_ups = c.wake_ups();
        if lead_once(&leadership, Some(ticket), &mut wake_ups) {
            leadership.end(wake_ups);
            return x + 100;
        }
    }
}

fn ask(c: &Coalescer<u32>, x: u32, deadline: Option<Instant>) -> Result<u32, Refusal> {
    if let Some(leadership) = c.try_lead() {
        return match c.is_quiet() {
            true => Ok(x + 100),
            false => Ok(lead(c, leadership, x, c.queue().ticket())),
        };
    }
    match c.turn(x, TRAITS, deadline, Room::Wait, || false) {
        Turn::Answered(answer) => Ok(answer),
        Turn::Lead(leadership, x, ticket) => Ok(lead(c, leadership, x, ticket)),
        Turn::Refused(back, why) => {
            assert_eq!(back, x);
            Err(why)
        }
    }
}

/// A coalescer whose background leads at once.
fn coalescer(capacity: usize) -> Arc<Coalescer<u32>> {
    Arc::new_cyclic(|weak: &Weak<Coalescer<u32>>| {
        let weak = Weak::clone(weak);
        Coalescer::new(
            capacity,
            Box::new(move || {
                if let Some(c) = weak.upgrade() {
                    lead_once(&c.lead_on(), None, &mut c.wake_ups());
                }
            }),
        )
    })
}

fn assert_at_rest(c: &Coalescer<u32>) {
    assert_eq!(c.queue.waiting(), 0);
    assert_eq!(c.returning(), 0);
    assert_eq!(c.waking.load(Ordering::Relaxed), 0);
    assert_eq!(c.leaders.load(Ordering::Relaxed), 0);
}

/// Evidence: every-call-ends
#[test]
fn three_callers_are_all_answered() {
    check(2, || {
        let c = coalescer(4);
        let others: Vec<_> = (1..3)
            .map(|x| {
                let c = Arc::clone(&c);
                loom::thread::spawn(move || assert_eq!(ask(&c, x, None), Ok(x + 100)))
            })
            .collect();
        assert_eq!(ask(&c, 0, None), Ok(100));
        others.into_iter().for_each(|t| t.join().unwrap());
        assert_at_rest(&c);
    });
}

/// Where several may lead, a leader gives its permit on before it wakes its followers.
///
/// Evidence: every-call-ends
#[test]
fn three_callers_are_all_answered_while_the_number_of_leaders_changes() {
    // One preemption: two take minutes.
    check(1, || {
        let c = coalescer(4);
        c.set_permits(2);
        let others: Vec<_> = (1..3)
            .map(|x| {
                let c = Arc::clone(&c);
                loom::thread::spawn(move || {
                    c.set_permits(x as usize);
                    assert_eq!(ask(&c, x, None), Ok(x + 100));
                })
            })
            .collect();
        assert_eq!(ask(&c, 0, None), Ok(100));
        others.into_iter().for_each(|t| t.join().unwrap());
        assert_at_rest(&c);
    });
}

#[test]
fn callers_that_come_again_are_answered_again() {
    check(2, || {
        let c = coalescer(4);
        let other = {
            let c = Arc::clone(&c);
            loom::thread::spawn(move || {
                assert_eq!(ask(&c, 1, None), Ok(101));
                assert_eq!(ask(&c, 2, None), Ok(102));
            })
        };
        assert_eq!(ask(&c, 3, None), Ok(103));
        assert_eq!(ask(&c, 4, None), Ok(104));
        other.join().unwrap();
        assert_at_rest(&c);
    });
}

/// Evidence: every-call-ends
#[test]
fn one_that_leaves_early_keeps_nobody_from_being_answered() {
    check(2, || {
        let c = coalescer(4);
        let others: Vec<_> = (1..3)
            .map(|x| {
                let c = Arc::clone(&c);
                loom::thread::spawn(move || {
                    let deadline = (x == 1).then(Instant::now);
                    match ask(&c, x, deadline) {
                        Ok(answer) => assert_eq!(answer, x + 100),
                        Err(why) => assert!(x == 1 && why == Refusal::Late),
                    }
                })
            })
            .collect();
        assert_eq!(ask(&c, 0, None), Ok(100));
        others.into_iter().for_each(|t| t.join().unwrap());
        assert_at_rest(&c);
    });
}

/// Evidence: every-call-ends, bounded-queue
#[test]
fn a_full_queue_makes_room_for_who_waits() {
    check(2, || {
        let c = coalescer(1);
        let others: Vec<_> = (1..3)
            .map(|x| {
                let c = Arc::clone(&c);
                loom::thread::spawn(move || assert_eq!(ask(&c, x, None), Ok(x + 100)))
            })
            .collect();
        assert_eq!(ask(&c, 0, None), Ok(100));
        others.into_iter().for_each(|t| t.join().unwrap());
        assert_at_rest(&c);
    });
}

/// Evidence: every-call-ends
#[test]
fn a_future_is_answered_or_taken_back() {
    for drops in [false, true] {
        check(2, move || {
            let c = coalescer(4);
            let other = {
                let c = Arc::clone(&c);
                loom::thread::spawn(move || assert_eq!(ask(&c, 1, None), Ok(101)))
            };
            let place = c.submit(2, TRAITS).unwrap();
            if drops {
                let _ = c.abandon(place);
            } else {
                while c
                    .poll(&place, &Context::from_waker(Waker::noop()))
                    .is_pending()
                {
                    loom::thread::yield_now();
                }
                assert_eq!(c.collect(place), Some(102));
            }
            other.join().unwrap();
            assert_at_rest(&c);
        });
    }
}

fn answer_of_a_future(c: &Coalescer<u32>, x: u32) -> Option<u32> {
    let place = c.submit(x, TRAITS).unwrap();
    let cx = Context::from_waker(Waker::noop());
    while c.poll(&place, &cx).is_pending() {
        loom::thread::yield_now();
    }
    c.collect(place)
}

/// One of them uses its slot again while the other, who led for it, may not have left it yet.
///
/// Evidence: every-call-ends
#[test]
fn futures_of_two_senders_are_all_answered() {
    check(2, || {
        let c = coalescer(8);
        let other = {
            let c = Arc::clone(&c);
            loom::thread::spawn(move || assert_eq!(answer_of_a_future(&c, 1), Some(101)))
        };
        assert_eq!(answer_of_a_future(&c, 2), Some(102));
        assert_eq!(answer_of_a_future(&c, 3), Some(103));
        other.join().unwrap();
        assert_at_rest(&c);
    });
}

/// Evidence: every-call-ends
#[test]
fn refusing_all_leaves_nobody_asleep() {
    check(2, || {
        let c = coalescer(4);
        let others: Vec<_> = (1..3)
            .map(|x| {
                let c = Arc::clone(&c);
                loom::thread::spawn(move || match ask(&c, x, None) {
                    Ok(answer) => assert!(answer == x + 100 || answer == 7),
                    Err(why) => assert_eq!(why, Refusal::Closed),
                })
            })
            .collect();
        c.refuse_all(|answer| *answer = 7);
        others.into_iter().for_each(|t| t.join().unwrap());
        assert_at_rest(&c);
    });
}
