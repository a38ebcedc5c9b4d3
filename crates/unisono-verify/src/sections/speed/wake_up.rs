//! What it costs on this machine that many threads hand in requests, sleep, and are woken with answers: without any work.
//!
//! The one idea: a batch server as anybody would write it, with a batch that is empty. Callers send their request into one channel and wait
//! on a channel of their own; the server takes requests until it has all, and answers each. A cycle of it holds what every
//! way to share batches between threads must do, each caller once: hand in, sleep, wake up, take, come back.
//! Whatever a real batch takes beyond its computation and this, the runtime itself is the cause of.
//!
//! It must never use anything of the runtime that it judges.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Cycles before the clock starts.
const WARM_UP: usize = 3;

/// Seconds of one cycle: the mean over so many.
///
/// # Errors
/// The system refuses a thread.
pub fn cycle(callers: usize, cycles: usize) -> io::Result<f64> {
    let total = WARM_UP + cycles.max(1) + 1;
    thread::scope(|scope| {
        let (ask, asked) = mpsc::channel();
        let mut answers = Vec::with_capacity(callers);
        for caller in 0..callers {
            let (answer, answered) = mpsc::channel();
            let ask = ask.clone();
            answers.push(answer);
            let name = format!("waker-{caller}");
            thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || {
                    for turn in 0..total {
                        // The server has gone: a thread could not be started.
                        if ask.send(turn).is_err() || answered.recv().is_err() {
                            return;
                        }
                    }
                })?;
        }
        let (mut opened, mut seconds) = (Instant::now(), 0.0);
        for turn in 0..total {
            for _ in 0..callers {
                // Callers do not go before they are answered.
                let _ = asked.recv();
            }
            if turn == WARM_UP {
                opened = Instant::now();
            }
            if turn + 1 == total {
                seconds = opened.elapsed().as_secs_f64();
            }
            for answer in &answers {
                let _ = answer.send(());
            }
        }
        Ok(seconds / cycles.max(1) as f64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_callers_comes_back() {
        for callers in [1, 2, 8, 64] {
            assert!(cycle(callers, 5).unwrap() > 0.0);
        }
    }
}
