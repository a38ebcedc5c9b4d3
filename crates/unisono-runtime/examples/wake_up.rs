//! What waking the sleepers of a batch costs on this machine: `cargo run --release -p unisono-runtime --example wake_up [ROUNDS]`.
//!
//! Sleepers are woken in three ways: by the bell that the coalescer has (one futex word, one call), through one condition
//! variable that all wait on, and through one that each has for itself. The ways take turns, with the same threads, so that all see the same
//! machine. Told are medians over rounds, with the lowest and the highest: the time from the first wake-up until the last sleeper
//! runs, for each sleeper; and how long whoever wakes them is busy with that, in all.
//!
//! There must be sleepers to wake: each round gives them a few milliseconds to fall asleep. One that has not makes a round
//! look cheaper and nothing wrong.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use unisono_runtime::coalescer::bell::{ALL, Bell};

const SIZES: [usize; 3] = [7, 31, 255];
const WAYS: [&str; 3] = ["bell", "shared condvar", "condvar each"];

/// A number of a round that has been reached, and where to wait for it.
#[derive(Default)]
struct Door {
    reached: Mutex<u64>,
    opened: Condvar,
}

impl Door {
    fn open(&self, round: u64) {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = round;
        self.opened.notify_all();
    }

    fn pass(&self, round: u64) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        while *reached < round {
            reached = self
                .opened
                .wait(reached)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Dormitory {
    start: Instant,
    waker: Thread,
    bell: Bell,
    rung: AtomicU64,
    shared: Door,
    own: Vec<Door>,
    /// How often anybody went to bed and got up, in all rounds.
    to_bed: AtomicUsize,
    up: AtomicUsize,
    /// When the last one was up, in nanoseconds from the start.
    last_up: AtomicU64,
}

impl Dormitory {
    fn new(sleepers: usize) -> Dormitory {
        Dormitory {
            start: Instant::now(),
            waker: thread::current(),
            bell: Bell::new(),
            rung: AtomicU64::new(0),
            shared: Door::default(),
            own: (0..sleepers).map(|_| Door::default()).collect(),
            to_bed: AtomicUsize::new(0),
            up: AtomicUsize::new(0),
            last_up: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// How often that is when everybody has in this round.
    fn by(&self, round: u64) -> usize {
        self.own.len() * round as usize
    }

    fn sleep(&self, sleeper: usize, round: u64) {
        self.to_bed.fetch_add(1, Ordering::SeqCst);
        match round as usize % WAYS.len() {
            0 => loop {
                let noted = self.bell.note();
                if self.rung.load(Ordering::Acquire) >= round {
                    break;
                }
                self.bell.sleep(noted, 1 << (sleeper % 32), None);
            },
            1 => self.shared.pass(round),
            _ => self.own[sleeper].pass(round),
        }
        if self.up.fetch_add(1, Ordering::SeqCst) + 1 == self.by(round) {
            self.last_up.store(self.now(), Ordering::SeqCst);
            self.waker.unpark();
        }
    }

    fn wake(&self, round: u64) {
        match round as usize % WAYS.len() {
            0 => {
                self.rung.store(round, Ordering::Release);
                self.bell.ring(ALL);
            }
            1 => self.shared.open(round),
            _ => self.own.iter().for_each(|door| door.open(round)),
        }
    }

    /// Nanoseconds until the last one is up, and for which the waker is busy.
    fn round(&self, round: u64) -> [u64; 2] {
        while self.to_bed.load(Ordering::SeqCst) < self.by(round) {
            thread::sleep(Duration::from_micros(100));
        }
        thread::sleep(Duration::from_millis(2));
        self.last_up.store(0, Ordering::SeqCst);
        let began = self.now();
        self.wake(round);
        let busy = self.now() - began;
        loop {
            match self.last_up.load(Ordering::SeqCst) {
                // It may be unparked for no reason.
                0 => thread::park(),
                last => return [last - began, busy],
            }
        }
    }
}

/// Microseconds: the median with the lowest and the highest.
fn told(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let (lowest, median) = (values[0], values[values.len() / 2]);
    format!("{median:7.2} ({lowest:.2}-{:.2})", values[values.len() - 1])
}

fn main() {
    let rounds: u64 = std::env::args()
        .nth(1)
        .map_or(101, |n| n.parse().expect("the number of rounds"));
    println!("µs, median of {rounds} rounds (lowest-highest)\n");
    println!(
        "{:>8}  {:<15} {:<24} all wake-ups, for the waker",
        "sleepers", "woken by", "until all run, each"
    );
    for sleepers in SIZES {
        let dormitory = Dormitory::new(sleepers);
        let all = 1..=rounds * WAYS.len() as u64;
        let mut seen = vec![[Vec::new(), Vec::new()]; WAYS.len()];
        thread::scope(|scope| {
            for sleeper in 0..sleepers {
                let (dormitory, all) = (&dormitory, all.clone());
                scope.spawn(move || all.for_each(|round| dormitory.sleep(sleeper, round)));
            }
            for round in all.clone() {
                let [until_all, busy] = dormitory.round(round);
                let [each, total] = &mut seen[round as usize % WAYS.len()];
                each.push(until_all as f64 / sleepers as f64 / 1e3);
                total.push(busy as f64 / 1e3);
            }
        });
        for (way, [each, total]) in WAYS.iter().zip(seen) {
            println!(
                "{sleepers:>8}  {way:<15} {:<24} {}",
                told(each),
                told(total)
            );
        }
    }
}
