//! Mutants: builds with one part deliberately broken, so that every check can be seen to fail.
//!
//! The one idea: the breakage stands in the code that ships, at the place that it breaks, behind [`mutant!`](crate::mutant!).
//! Without the Cargo feature `mutants`, which no release has, that macro is the constant `false` and nothing of this
//! is left. With it, `activate` chooses which part is broken, for the whole process.
//!
//! It stands in this crate because all others depend on it. Its atomics are the standard library's also where a model checker
//! replaces the rest: the switch is no part of what is checked.

#[cfg(feature = "mutants")]
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Is this part broken? `mutant!(Name)` is `false` in every build without the feature `mutants`; `mutant!(Name, 1 in n)` is true
/// for every n-th time only.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::Mutant::$name.is_active()
    };
    ($name:ident, 1 in $n:literal) => {
        $crate::mutant::Mutant::$name.is_active() && $crate::mutant::is_turn($n)
    };
}

/// Is this part broken? Not in this build, which has no mutants.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($name:ident $(, 1 in $n:literal)?) => {
        false
    };
}

#[cfg(feature = "mutants")]
macro_rules! mutants {
    ($($name:ident: $text:literal, $what:literal;)*) => {
        /// A part that can be broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mutant {
            $(#[doc = $what] $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)*];

            /// The name in reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Mutant::$name => $text,)*
                }
            }

            /// What is broken.
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Mutant::$name => $what,)*
                }
            }
        }
    };
}

#[cfg(feature = "mutants")]
mutants! {
    ForgottenWakeUp: "forgotten-wake-up", "A bell that is rung wakes nobody.";
    RowsSwappedOnScatter: "rows-swapped-on-scatter", "The rows of a request come out of a batch in another order.";
    NeighboursRows: "neighbours-rows", "A request gets the rows of the one behind it in the batch.";
    ArenaReusedEarly: "arena-reused-early", "A value's bytes are given away one step too early.";
    SumSplitByRows: "sum-split-by-rows", "A sum is cut into other slices when there is more than one row.";
    ScalarWithoutFma: "scalar-without-fma", "The scalar kernel rounds each product before it adds.";
    PlanCompiledTwice: "plan-compiled-twice", "Who asks for a plan that is being compiled compiles it as well.";
    KeyIgnoresDimension: "key-ignores-dimension", "Shapes that differ in their lengths have one plan.";
    EvictionDropsPlanInUse: "eviction-drops-plan-in-use", "An evicted plan is released although somebody still runs it.";
    OutputLeaked: "output-leaked", "One output buffer in 1,000 is never freed.";
    LaneKeptOnError: "lane-kept-on-error", "A run that fails does not give its lane back.";
    RelaxedSignal: "relaxed-signal", "A job is published with a relaxed store instead of a release.";
    DeadlineIgnored: "deadline-ignored", "A request that is late is run and answered as if it were in time.";
    FollowersLeftAsleep: "followers-left-asleep", "A leader whose batch panics answers nobody but itself.";
    PaddingReadsInput: "padding-reads-input", "A convolution's padding takes the value of a real element.";
    StatusUnchecked: "status-unchecked", "A kernel's error is not looked at.";
    OvertakenWithoutBound: "overtaken-without-bound", "A request that does not fit into a batch is overtaken by any number of later ones.";
    CancelledKept: "cancelled-kept", "A request that is taken back stays in the census.";
    RefusedKept: "refused-kept", "A request that ends with an error stays in the census.";
    CoefficientOff: "coefficient-off", "A constant of the exponential's polynomial is wrong in its second digit.";
    CacheWithoutBound: "cache-without-bound", "Plans are kept beyond the bound in bytes.";
    ModelsMixedUp: "models-mixed-up", "A device gives a new model the weights of another one that it has.";
    NeverCoalesced: "never-coalesced", "Requests that may share a batch run one by one.";
    PanicNotCaught: "panic-not-caught", "A kernel's panic goes on in the caller.";
    FailureRemembered: "failure-remembered", "A compile that failed fails all later ones of its shapes.";
    SessionKept: "session-kept", "A session that is dropped stays.";
    QueueWithoutBound: "queue-without-bound", "The queue takes 64 times as many requests as it was told.";
}

/// The index of the active one, plus one; 0 for none.
#[cfg(feature = "mutants")]
static ACTIVE: AtomicUsize = AtomicUsize::new(0);

/// Breaks this part, and no other, from now on; `None` mends all.
#[cfg(feature = "mutants")]
pub fn activate(mutant: Option<Mutant>) {
    // Relaxed: it is chosen before there are threads that could care.
    ACTIVE.store(mutant.map_or(0, |m| m as usize + 1), Ordering::Relaxed);
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// Is this part broken now?
    #[inline]
    pub fn is_active(self) -> bool {
        // Relaxed: as in `activate`.
        ACTIVE.load(Ordering::Relaxed) == self as usize + 1
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Mutant> {
        Mutant::ALL.iter().copied().find(|m| m.name() == name)
    }
}

/// True for every n-th caller.
#[cfg(feature = "mutants")]
#[doc(hidden)]
pub fn is_turn(n: u64) -> bool {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    // Relaxed: a number that orders nothing.
    CALLS.fetch_add(1, Ordering::Relaxed) % n == n - 1
}

#[cfg(all(test, feature = "mutants"))]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for &mutant in Mutant::ALL {
            assert_eq!(Mutant::named(mutant.name()), Some(mutant));
        }
    }
}
