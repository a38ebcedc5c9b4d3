//! How much of something the driver has allowed so far.
//!
//! The one idea: the driver keeps what it was told last, not the most of it. So only one thread tells it at a time, and only more than
//! before: were two to tell it at once, the smaller number could come second and stay.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use unisono_runtime::Error;

/// See the [module](self).
pub(super) struct Allowance {
    allowed: AtomicU32,
    telling: Mutex<()>,
}

impl Allowance {
    /// So much is allowed without asking.
    pub(super) fn new(at_first: u32) -> Allowance {
        Allowance {
            allowed: AtomicU32::new(at_first),
            telling: Mutex::new(()),
        }
    }

    /// Sees to it that so much is allowed; `tell` tells the driver.
    ///
    /// # Errors
    /// Those of `tell`, after which as much is allowed as before.
    pub(super) fn at_least(
        &self,
        wanted: u32,
        tell: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Acquire, with the release below: who sees the number comes after the driver was told.
        if wanted <= self.allowed.load(Ordering::Acquire) {
            return Ok(());
        }
        let _alone = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted > self.allowed.load(Ordering::Acquire) {
            tell()?;
            self.allowed.store(wanted, Ordering::Release);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use unisono_runtime::ErrorKind;

    use super::*;

    #[test]
    fn what_is_told_last_is_the_most_however_slowly_less_was_told() {
        let allowance = Allowance::new(48);
        let driver = AtomicU32::new(48);
        let (begun, begins) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let slowly = || {
                    begun.send(()).unwrap();
                    // Long enough for the other to come first, if it could.
                    std::thread::sleep(Duration::from_millis(50));
                    driver.store(60, Ordering::SeqCst);
                    Ok(())
                };
                allowance.at_least(60, slowly).unwrap();
            });
            begins.recv().unwrap();
            let tell = || {
                driver.store(100, Ordering::SeqCst);
                Ok(())
            };
            allowance.at_least(100, tell).unwrap();
        });
        assert_eq!(driver.load(Ordering::SeqCst), 100);
        let never = || panic!("it is allowed already");
        allowance.at_least(100, never).unwrap();
    }

    #[test]
    fn what_the_driver_refused_is_not_allowed() {
        let allowance = Allowance::new(48);
        let refused = || Err(Error::new(ErrorKind::Device, "no"));
        assert!(allowance.at_least(49, refused).is_err());
        assert!(allowance.at_least(49, refused).is_err());
        allowance.at_least(48, refused).unwrap();
    }
}
