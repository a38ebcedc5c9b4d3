//! Threads that lead for those who have none to lend: futures.
//!
//! The one idea: a thread is started when it is first needed, up to one for each lane, and does nothing but take posts
//! (sessions that need a leader) in the order in which they came. An idle one spins for as long as an idle worker does,
//! giving way to whoever else can run, and then sleeps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::census::{Census, Resource};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Arc as SyncArc, Condvar, Mutex, SpinWindow, lock, thread, wait};

/// Somebody who needs a leader.
pub trait Post: Send + Sync {
    /// Leads until there is nothing more to lead, or it is somebody else's turn.
    fn lead(self: Arc<Self>);
}

struct State {
    posts: VecDeque<Arc<dyn Post>>,
    idle: usize,
    stop: bool,
}

struct Shared {
    state: Mutex<State>,
    bell: Condvar,
    /// How many posts there are, for those who spin.
    posted: AtomicUsize,
    spin: Duration,
}

/// The background threads of a device.
pub struct Leaders {
    shared: SyncArc<Shared>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    most: usize,
    census: Census,
}

impl Leaders {
    /// No threads yet, and never more than `most`.
    pub fn new(most: usize, spin: Duration, census: Census) -> Leaders {
        Leaders {
            shared: SyncArc::new(Shared {
                state: Mutex::new(State {
                    posts: VecDeque::new(),
                    idle: 0,
                    stop: false,
                }),
                bell: Condvar::new(),
                posted: AtomicUsize::new(0),
                spin,
            }),
            threads: Mutex::new(Vec::new()),
            most: most.max(1),
            census,
        }
    }

    /// Lets a background thread lead. If none can be had, the calling thread leads itself.
    pub fn post(&self, post: Arc<dyn Post>) {
        let mut threads = lock(&self.threads);
        let mut state = lock(&self.shared.state);
        state.posts.push_back(post);
        self.shared
            .posted
            .store(state.posts.len(), Ordering::Relaxed);
        let posts = state.posts.len();
        let short_of_hands = posts > state.idle && threads.len() < self.most;
        drop(state);
        // One of our own hands on while it leads, and is about to look for the next post.
        let me = thread::current().id();
        if posts == 1 && threads.iter().any(|t| t.thread().id() == me) {
            return;
        }
        if short_of_hands {
            let shared = SyncArc::clone(&self.shared);
            let token = self.census.count(Resource::Thread, 0);
            let name = format!("unisono-lead-{}", threads.len());
            let started = thread::Builder::new().name(name).spawn(move || {
                shared.serve();
                drop(token);
            });
            match started {
                Ok(thread) => threads.push(thread),
                Err(_) if threads.is_empty() => {
                    drop(threads);
                    if let Some(post) = self.shared.take_now() {
                        post.lead();
                    }
                    return;
                }
                // Those that there are will come to it.
                Err(_) => {}
            }
        }
        drop(threads);
        self.shared.bell.notify_one();
    }

    /// Forgets the threads without waiting for them: in a forked child they do not exist.
    pub fn forget(&self) {
        std::mem::forget(std::mem::take(&mut *lock(&self.threads)));
    }
}

impl Shared {
    fn take_now(&self) -> Option<Arc<dyn Post>> {
        let mut state = lock(&self.state);
        let post = state.posts.pop_front();
        self.posted.store(state.posts.len(), Ordering::Relaxed);
        post
    }

    fn serve(&self) {
        lock(&self.state).idle += 1;
        while let Some(post) = self.next() {
            post.lead();
            let mut state = lock(&self.state);
            state.idle += 1;
        }
    }

    fn next(&self) -> Option<Arc<dyn Post>> {
        let mut window = SpinWindow::new(self.spin);
        // Relaxed: a hint; the lock decides.
        while self.posted.load(Ordering::Relaxed) == 0 && window.give_way() {}
        let mut state = lock(&self.state);
        loop {
            if let Some(post) = state.posts.pop_front() {
                self.posted.store(state.posts.len(), Ordering::Relaxed);
                state.idle -= 1;
                return Some(post);
            }
            if state.stop {
                return None;
            }
            state = wait(&self.bell, state);
        }
    }
}

impl Drop for Leaders {
    fn drop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.bell.notify_all();
        let me = thread::current().id();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // The last handle to a device may be dropped by one of its own threads, which cannot wait for itself and
            // ends when it has returned from here.
            if thread.thread().id() != me {
                // An error would be a panic, which has been printed; there is nothing left to save.
                let _ = thread.join();
            }
        }
    }
}

impl std::fmt::Debug for Leaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaders").finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc as LoomArc;

    fn check(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(f);
    }

    /// Counts how often somebody led, and lets others wait for it: not the end of the threads, which would hide a
    /// wake-up that was lost, since whoever ends them wakes them.
    #[derive(Default)]
    struct Led {
        times: Mutex<usize>,
        changed: Condvar,
    }

    impl Led {
        fn once_more(&self) {
            *lock(&self.times) += 1;
            self.changed.notify_all();
        }

        fn times(&self) -> usize {
            *lock(&self.times)
        }

        fn wait_for(&self, times: usize) {
            let mut led = lock(&self.times);
            while *led < times {
                led = wait(&self.changed, led);
            }
        }
    }

    struct Once(LoomArc<Led>);

    impl Post for Once {
        fn lead(self: Arc<Self>) {
            self.0.once_more();
        }
    }

    /// Posts another one while it leads, as a session does that is left with requests that nobody waits for in a thread.
    struct Twice {
        led: LoomArc<Led>,
        leaders: LoomArc<Leaders>,
    }

    impl Post for Twice {
        fn lead(self: Arc<Self>) {
            self.leaders.post(Arc::new(Once(LoomArc::clone(&self.led))));
            self.led.once_more();
        }
    }

    fn leaders(most: usize) -> (Census, Leaders) {
        let census = Census::new();
        let leaders = Leaders::new(most, Duration::ZERO, census.clone());
        (census, leaders)
    }

    fn assert_threads_ended(census: &Census) {
        let threads = census.get(Resource::Thread);
        assert!(threads.created > 0);
        assert_eq!(threads.alive(), 0);
    }

    #[test]
    fn every_post_is_led_once_though_nobody_ends_the_threads() {
        for most in [1, 2] {
            check(2, move || {
                let (census, leaders) = leaders(most);
                let (led, leaders) = (LoomArc::new(Led::default()), LoomArc::new(leaders));
                let other = {
                    let (led, leaders) = (LoomArc::clone(&led), LoomArc::clone(&leaders));
                    loom::thread::spawn(move || leaders.post(Arc::new(Once(led))))
                };
                leaders.post(Arc::new(Once(LoomArc::clone(&led))));
                led.wait_for(2);
                other.join().unwrap();
                drop(leaders);
                assert_eq!(led.times(), 2);
                assert_threads_ended(&census);
            });
        }
    }

    #[test]
    fn a_thread_that_has_gone_to_sleep_is_woken_by_the_next_post() {
        check(3, || {
            let (census, leaders) = leaders(1);
            let led = LoomArc::new(Led::default());
            for times in 1..=2 {
                leaders.post(Arc::new(Once(LoomArc::clone(&led))));
                led.wait_for(times);
            }
            drop(leaders);
            assert_eq!(led.times(), 2);
            assert_threads_ended(&census);
        });
    }

    #[test]
    fn what_is_posted_when_the_threads_are_told_to_end_is_led_before() {
        check(2, || {
            let (census, leaders) = leaders(2);
            let led = LoomArc::new(Led::default());
            for _ in 0..2 {
                leaders.post(Arc::new(Once(LoomArc::clone(&led))));
            }
            drop(leaders);
            assert_eq!(led.times(), 2);
            assert_threads_ended(&census);
        });
    }

    #[test]
    fn what_a_thread_posts_while_it_leads_is_led_too_and_it_may_drop_the_last_handle() {
        check(2, || {
            let (_, leaders) = leaders(1);
            let (led, leaders) = (LoomArc::new(Led::default()), LoomArc::new(leaders));
            let twice = Twice {
                led: LoomArc::clone(&led),
                leaders: LoomArc::clone(&leaders),
            };
            leaders.post(Arc::new(twice));
            // Here or in the thread: whoever is the last. A thread that waited for itself would be a deadlock.
            drop(leaders);
            led.wait_for(2);
        });
    }
}
