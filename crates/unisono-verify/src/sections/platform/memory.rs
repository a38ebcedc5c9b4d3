//! A.004, host and device memory: the device reads what the host wrote, and the host what the device wrote.
//!
//! The one idea: in the original the device never touched the memory. Here every word goes through the device, which adds one to
//! it, from memory that the host owns at places that a kernel may not like (a page's start, an odd word, an odd byte, across a
//! page's end) and with lengths around a page. What lies around it is filled with a pattern and read again: a device that writes
//! where it should only read is seen. Then the same memory is written anew again and again, on both sides, as a loop does that
//! keeps its tensors: a device that keeps an old copy is seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use unisono::{DType, Error, Outputs, Tensor};

use super::Bench;
use super::probe::{answer_difference, refusal, words_difference, words_of};
use super::row::{Part, Row, conclude};
use crate::compare::Difference;
use crate::progress::Progress;
use crate::report::Check;
use crate::subject::{Setup, Subject};

/// The original's row.
pub const ROW: Row = Row {
    id: "a.004",
    name: "A.004 host-device memory",
    unit: "words",
    original: "1,024 words, written and read by the host; the device never touched them",
    original_ms: 0.2,
};

const PAGE: usize = 4096;
/// Lengths in words: the original's 1,024, which is a page, and what is beside it, less and more.
const WORDS: [usize; 9] = [1, 7, 255, 1_023, 1_024, 1_025, 2_048, 3_071, 12_289];
/// Where a tensor starts, in bytes from a page's start: there, at an odd word, before the page's end, and where no word should.
const STARTS: [usize; 7] = [0, 4, 12, 68, PAGE - 4, 1, 4_091];
/// What lies around.
const CANARY: u8 = 0xa5;

/// Words in memory of the host, with guard bytes on both sides.
pub struct Island {
    memory: Arc<Vec<u8>>,
    start: usize,
    words: Vec<f32>,
}

impl Island {
    /// Words that start so many bytes after a page's start.
    pub fn new(words: Vec<f32>, start: usize) -> Island {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut memory = vec![CANARY; 3 * PAGE + start + bytes.len()];
        // Of whatever the allocation's alignment makes possible; the address does not change when the vector is moved.
        let to_page = memory.as_ptr().addr().wrapping_neg() % PAGE;
        let start = PAGE + to_page + start;
        if let Some(place) = memory.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(&bytes);
        }
        Island {
            memory: Arc::new(memory),
            start,
            words,
        }
    }

    /// The words as a tensor that views this memory.
    ///
    /// # Errors
    /// The shape does not fit them.
    pub fn tensor(&self, shape: &[usize]) -> Result<Tensor, Error> {
        let owner: Arc<dyn unisono::ForeignBytes> = Arc::<Vec<u8>>::clone(&self.memory);
        Ok(Tensor::from_foreign(DType::F32, shape, owner, self.start)?)
    }

    /// The words.
    pub fn words(&self) -> &[f32] {
        &self.words
    }

    /// Is everything as it was made? Words and guard bytes.
    pub fn difference(&self) -> Option<Difference> {
        let own: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let inside = self.start..self.start + own.len();
        let expected = |at: usize| match inside.contains(&at) {
            true => own.get(at - self.start).copied().unwrap_or(CANARY),
            false => CANARY,
        };
        let (at, found) = self
            .memory
            .iter()
            .enumerate()
            .find(|&(at, b)| *b != expected(at))?;
        let from_start = at as i64 - self.start as i64;
        let found = format!("byte {found:#04x} at {from_start} from the start of an input");
        Some(Difference::of_kind(
            "x",
            found,
            format!("{:#04x}", expected(at)),
        ))
    }
}

/// Words whose sums with one are exact, others in every generation.
fn ramp(generation: usize, count: usize) -> Vec<f32> {
    (0..count)
        .map(|at| ((generation * 4_099 + at * 17) % (1 << 22)) as f32)
        .collect()
}

fn plus_one(words: &[f32]) -> Vec<f32> {
    words.iter().map(|word| word + 1.0).collect()
}

/// Counts the words of an answer, and those that are wrong; all, if there is no such answer.
fn judge(
    part: &mut Part,
    fault: Option<Difference>,
    words: usize,
    during: impl FnOnce() -> String,
) {
    let wrong = match &fault {
        None => 0,
        Some(Difference { extent, .. }) => extent.map_or(words, |(wrong, _)| wrong) as u64,
    };
    let describe = || {
        let fault = fault.unwrap_or_else(|| Difference::of_kind("", "", ""));
        fault.during(during())
    };
    part.count(words as u64, wrong, describe);
}

/// The device reads host memory at every place, with every length. The subject is an increment.
pub fn places(subject: &dyn Subject, rounds: usize) -> [Part; 2] {
    let mut read = Part::new("host writes, device reads");
    let mut around = Part::new("around what the device reads");
    let sizes = WORDS
        .iter()
        .flat_map(|words| STARTS.map(|start| (*words, start)));
    for (i, (words, start)) in (0..rounds).flat_map(|_| sizes.clone()).enumerate() {
        let island = Island::new(ramp(i, words), start);
        let answer = island.tensor(&[1, words]).and_then(|x| subject.run(&[x]));
        let during = || format!("{words} words, {start} bytes after a page's start");
        let fault = answer_difference(&answer, &plus_one(island.words()));
        judge(&mut read, fault, words, during);
        judge(&mut around, island.difference(), words, during);
    }
    [read, around]
}

/// The host writes one tensor anew each turn, and the device the other. Says also how often it was the same memory that the device
/// wrote.
///
/// # Errors
/// No memory.
pub fn same_memory(subject: &dyn Subject, turns: usize) -> Result<(Part, u64), Error> {
    const WORDS: usize = 1_024;
    let mut part = Part::new("device writes, host reads, both the same memory again");
    let (mut kept, mut last, mut in_place) = (Outputs::new(), 0, 0);
    let mut x = Tensor::zeros(DType::F32, &[1, WORDS])?;
    for turn in 0..turns {
        let words = ramp(turn + 1, WORDS);
        match x.as_slice_mut::<f32>() {
            Some(place) => place.copy_from_slice(&words),
            // Somebody still holds it, who must not see it change.
            None => x = Tensor::from_slice(&[1, WORDS], &words)?,
        }
        let answer = subject.run_in_place(std::slice::from_ref(&x), &mut kept);
        let fault = match &answer {
            Err(error) => Some(refusal(error)),
            Ok(tensors) => match words_of(tensors) {
                Ok(found) => {
                    let place = found.as_ptr().addr();
                    in_place += u64::from(place == last);
                    last = place;
                    words_difference(found, &plus_one(&words))
                }
                Err(difference) => Some(*difference),
            },
        };
        judge(&mut part, fault, WORDS, || format!("turn {turn}"));
    }
    Ok((part, in_place))
}

/// How long one request of the original's size takes, once it has been asked before.
fn at_original_size(subject: &dyn Subject) -> Option<Duration> {
    let x = Tensor::from_slice(&[1, 1_024], &ramp(0, 1_024)).ok()?;
    subject.run(std::slice::from_ref(&x)).ok()?;
    let started = Instant::now();
    subject.run(&[x]).ok()?;
    Some(started.elapsed())
}

/// Checks it.
pub fn check(bench: &Bench<'_>, progress: &mut dyn Progress) -> Check {
    let mut running = ROW.start(progress);
    let opened = bench
        .increment
        .rig(Setup::DEFAULT)
        .and_then(|rig| Ok((rig.open()?, rig)));
    let (subject, _rig) = match opened {
        Ok(opened) => opened,
        Err(error) => return running.could_not_run(&error),
    };
    let [read, around] = places(&*subject, bench.effort.choose(2, 10, 200));
    running.step(1, 2);
    let turns = bench.effort.choose(200, 1_000, 20_000);
    let (again, in_place) = match same_memory(&*subject, turns) {
        Ok(found) => found,
        Err(error) => return running.could_not_run(&error),
    };
    running.step(2, 2);
    let check = running.check();
    check.notes.push(format!(
        "{} lengths from 1 to 12,289 words at {} places: page starts, odd words, odd bytes, across pages; then {turns} turns in \
         the same memory",
        WORDS.len(),
        STARTS.len()
    ));
    check.figure(
        "answers written where the last one was",
        in_place as f64,
        "",
    );
    let time = at_original_size(&*subject);
    conclude(&ROW, running, vec![read, around, again], &[], time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_island_lies_where_it_should_and_sees_every_byte() {
        for start in STARTS {
            let mut island = Island::new(ramp(3, 100), start);
            let x = island.tensor(&[1, 100]).unwrap();
            assert_eq!(x.bytes().as_ptr().addr() % PAGE, start % PAGE);
            assert_eq!(x.is_aligned(), start % 4 == 0);
            drop(x);
            assert_eq!(island.difference(), None);
            let inside = island.start;
            for at in [0, inside - 1, inside, inside + 399, inside + 400] {
                let memory = Arc::get_mut(&mut island.memory).unwrap();
                memory[at] ^= 1;
                assert!(island.difference().is_some(), "{start} {at}");
                Arc::get_mut(&mut island.memory).unwrap()[at] ^= 1;
            }
        }
    }
}
