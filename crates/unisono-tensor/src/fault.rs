//! Faults on purpose: kernels that panic, fail or dawdle, and memory that cannot be had.
//!
//! The one idea: a fault strikes the n-th time that the code comes to a place, so that a program can let every node and every
//! allocation of a run fail once, one after the other. The places stand in the code that ships, behind [`fault!`](crate::fault!).
//! Without the Cargo feature `fault-injection` that macro does nothing and nothing of this is left.
//!
//! The switches are one set for the whole process, so a campaign of faults belongs into a process of its own. With the feature
//! and nothing injected, a place costs one relaxed load. Its atomics are the standard library's also where a model
//! checker replaces the rest: the switch is no part of what is checked.

#[cfg(feature = "fault-injection")]
pub use injection::*;

/// A place at which a fault may strike: `fault!(node)` before a kernel runs is `Some(message)` if its status is to be an error,
/// and may dawdle or panic, and on a device that runs many nodes as one stands where these are started and where they are waited for;
/// `fault!(tile)`, inside of a kernel, may panic; `fault!(allocation)` is true if there is to be no memory.
#[cfg(feature = "fault-injection")]
#[macro_export]
macro_rules! fault {
    (node) => {
        $crate::fault::at_node()
    };
    (tile) => {
        $crate::fault::at_tile()
    };
    (allocation) => {
        $crate::fault::at_allocation()
    };
}

/// A place at which a fault may strike. Not in this build, in which none can be injected.
#[cfg(not(feature = "fault-injection"))]
#[macro_export]
macro_rules! fault {
    (node) => {
        None::<&'static str>
    };
    (tile) => {};
    (allocation) => {
        false
    };
}

#[cfg(feature = "fault-injection")]
mod injection {
    use std::ops::Range;
    use std::panic::resume_unwind;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    /// What a kernel of an injected fault says.
    pub const MESSAGE: &str = "a fault on purpose";

    /// A kind of fault.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Fault {
        /// The kernel of a node panics before it does anything. Nothing is printed: the panic hook is not called.
        Panic,
        /// A kernel panics in the middle of its work, on whichever thread computes that part of it.
        PanicInside,
        /// The kernel of a node gives an error.
        Error,
        /// The kernel of a node sleeps this long before it begins.
        Slow(Duration),
        /// An allocation of a tensor, an arena, scratch memory or packed weights fails.
        NoMemory,
    }

    impl Fault {
        const KINDS: usize = 5;

        const fn index(self) -> usize {
            match self {
                Fault::Panic => 0,
                Fault::PanicInside => 1,
                Fault::Error => 2,
                Fault::Slow(_) => 3,
                Fault::NoMemory => 4,
            }
        }
    }

    struct Switch {
        /// How often the code came to the place.
        occasions: AtomicU64,
        first: AtomicU64,
        end: AtomicU64,
        strikes: AtomicU64,
        nanoseconds: AtomicU64,
    }

    static SWITCHES: [Switch; Fault::KINDS] = [const {
        Switch {
            occasions: AtomicU64::new(0),
            first: AtomicU64::new(0),
            end: AtomicU64::new(0),
            strikes: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        }
    }; Fault::KINDS];

    /// One bit for each kind that is injected, so that where none is there is one load.
    static INJECTED: AtomicU64 = AtomicU64::new(0);

    /// A fault that is injected as long as this lives.
    #[derive(Debug)]
    #[must_use = "the fault is taken back when this is dropped"]
    pub struct Injected {
        kind: usize,
    }

    /// Lets the fault strike at these occasions, counted from 0 from now on: `2..3` is the third node, tile or allocation of the
    /// process. An empty range strikes never and counts the occasions. Another fault of the same kind is replaced.
    ///
    /// ```
    /// use unisono_tensor::fault::{Fault, inject};
    /// use unisono_tensor::{DType, Tensor, TensorError};
    ///
    /// let memory = inject(Fault::NoMemory, 1..2);
    /// assert!(Tensor::zeros(DType::F32, &[4]).is_ok());
    /// let error = Tensor::zeros(DType::F32, &[4]).unwrap_err();
    /// assert_eq!(error, TensorError::OutOfMemory { bytes: 16 });
    /// assert!(Tensor::zeros(DType::F32, &[4]).is_ok());
    /// assert_eq!((memory.occasions(), memory.strikes()), (3, 1));
    /// ```
    pub fn inject(fault: Fault, occasions: Range<u64>) -> Injected {
        let kind = fault.index();
        let nanoseconds = match fault {
            Fault::Slow(by) => u64::try_from(by.as_nanos()).unwrap_or(u64::MAX),
            _ => 0,
        };
        INJECTED.fetch_and(!(1 << kind), Ordering::Relaxed);
        let switch = &SWITCHES[kind];
        switch.occasions.store(0, Ordering::Relaxed);
        switch.strikes.store(0, Ordering::Relaxed);
        switch.first.store(occasions.start, Ordering::Relaxed);
        switch.end.store(occasions.end, Ordering::Relaxed);
        switch.nanoseconds.store(nanoseconds, Ordering::Relaxed);
        // Release: who sees the bit sees what was stored above.
        INJECTED.fetch_or(1 << kind, Ordering::Release);
        Injected { kind }
    }

    impl Injected {
        /// How often the code came to the place.
        pub fn occasions(&self) -> u64 {
            SWITCHES[self.kind].occasions.load(Ordering::Relaxed)
        }

        /// How often the fault struck.
        pub fn strikes(&self) -> u64 {
            SWITCHES[self.kind].strikes.load(Ordering::Relaxed)
        }
    }

    impl Drop for Injected {
        fn drop(&mut self) {
            INJECTED.fetch_and(!(1 << self.kind), Ordering::Relaxed);
        }
    }

    fn strikes(injected: u64, kind: usize) -> bool {
        if injected & (1 << kind) == 0 {
            return false;
        }
        let switch = &SWITCHES[kind];
        let occasion = switch.occasions.fetch_add(1, Ordering::Relaxed);
        let range = switch.first.load(Ordering::Relaxed)..switch.end.load(Ordering::Relaxed);
        let strikes = range.contains(&occasion);
        if strikes {
            switch.strikes.fetch_add(1, Ordering::Relaxed);
        }
        strikes
    }

    /// Which kinds are injected; 0 nearly always.
    fn injected() -> u64 {
        match INJECTED.load(Ordering::Relaxed) {
            0 => 0,
            // Acquire: see `inject`.
            _ => INJECTED.load(Ordering::Acquire),
        }
    }

    fn panic_on_purpose() -> ! {
        // Not `panic!`, whose hook would print each of hundreds.
        resume_unwind(Box::new(MESSAGE))
    }

    /// Behind `fault!(node)`: what the kernel's status is to be.
    #[inline]
    pub fn at_node() -> Option<&'static str> {
        match injected() {
            0 => None,
            injected => strike_node(injected),
        }
    }

    #[cold]
    fn strike_node(injected: u64) -> Option<&'static str> {
        const SLOW: usize = Fault::Slow(Duration::ZERO).index();
        if strikes(injected, SLOW) {
            let nanoseconds = SWITCHES[SLOW].nanoseconds.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_nanos(nanoseconds));
        }
        if strikes(injected, Fault::Panic.index()) {
            panic_on_purpose();
        }
        strikes(injected, Fault::Error.index()).then_some(MESSAGE)
    }

    /// Behind `fault!(tile)`.
    #[inline]
    pub fn at_tile() {
        let injected = injected();
        if injected != 0 && strikes(injected, Fault::PanicInside.index()) {
            panic_on_purpose();
        }
    }

    /// Behind `fault!(allocation)`: is there to be no memory?
    #[inline]
    pub fn at_allocation() -> bool {
        let injected = injected();
        injected != 0 && strikes(injected, Fault::NoMemory.index())
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::time::Instant;

        // One test, because the switches are the whole process's. Tensors of this crate's other tests are not struck.
        #[test]
        fn faults_strike_the_occasions_that_they_were_given_and_end_with_their_guards() {
            let error = inject(Fault::Error, 1..3);
            let seen: Vec<bool> = (0..4).map(|_| at_node().is_some()).collect();
            assert_eq!(seen, [false, true, true, false]);
            assert_eq!((error.occasions(), error.strikes()), (4, 2));
            drop(error);
            assert_eq!(at_node(), None);

            let panic = inject(Fault::Panic, 0..1);
            assert!(std::panic::catch_unwind(at_node).is_err());
            assert_eq!(at_node(), None);
            assert_eq!(panic.strikes(), 1);
            drop(panic);

            let inside = inject(Fault::PanicInside, 0..1);
            assert_eq!(at_node(), None);
            assert!(std::panic::catch_unwind(at_tile).is_err());
            drop(inside);

            let by = Duration::from_millis(20);
            let slow = inject(Fault::Slow(by), 0..1);
            let started = Instant::now();
            assert_eq!(at_node(), None);
            assert!(started.elapsed() >= by);
            drop(slow);

            let counted = inject(Fault::Error, 0..0);
            assert_eq!(at_node(), None);
            assert_eq!((counted.occasions(), counted.strikes()), (1, 0));
        }
    }
}
