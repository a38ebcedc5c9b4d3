//! Kernels that begin while the one before them ends.
//!
//! The one idea: between two kernels of a stream lie one or two microseconds in which the device does nothing but end the first, make
//! its results visible and begin the second. From compute capability 9.0 on the second can be begun meanwhile ("programmatic
//! dependent launch", CUDA Programming Guide 4.5), if it waits by itself for what it reads. So every kernel waits as the first
//! thing that it does, on devices that have the instruction (`griddepcontrol.wait`, PTX ISA 7.8): it returns when all kernels before
//! have ended and what they wrote can be seen. Where nothing was begun early it returns at once.
//!
//! A kernel whose every thread waits before all else sees the same memory as one that was begun late, and so do those behind it:
//! the kernel has not ended before its threads have waited. Nothing in the sources of kernels speaks of this.

use super::properties::Properties;

/// The lowest compute capability that can do it.
const LOWEST: (u32, u32) = (9, 0);

/// Of the committed PTX, and of what has the instruction.
const TARGET: &str = ".target sm_80";
const NEWER_TARGET: &str = ".target sm_90";

const WAIT: &str = "\n\tgriddepcontrol.wait;";

/// Can kernels of this device begin early?
pub fn is_possible(properties: &Properties) -> bool {
    properties.capability >= LOWEST
}

/// PTX whose kernels wait.
pub fn waiting(ptx: &str) -> String {
    let ptx = ptx.replacen(TARGET, NEWER_TARGET, 1);
    let mut made = String::with_capacity(ptx.len() + ptx.len() / 64);
    let mut rest = &ptx[..];
    while let Some(entry) = rest.find(".entry") {
        let Some(open) = rest[entry..].find('{') else {
            break;
        };
        let (head, body) = rest.split_at(entry + open + 1);
        made.push_str(head);
        made.push_str(WAIT);
        rest = body;
    }
    made.push_str(rest);
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::ptx::entries;
    use crate::kernels::SOURCES;

    #[test]
    fn every_kernel_waits_before_all_else_and_nothing_else_changes() {
        for source in SOURCES {
            let made = waiting(source.ptx);
            let mut bodies = made.split(".entry").skip(1);
            for entry in entries(source.ptx) {
                let body = bodies.next().and_then(|text| text.split_once('{'));
                let first = body.and_then(|(_, body)| body.trim_start().lines().next());
                assert_eq!(first, Some("griddepcontrol.wait;"), "{}", entry.name);
            }
            assert!(bodies.next().is_none());
            assert_eq!(entries(&made), entries(source.ptx));
            let back = made.replace(WAIT, "").replacen(NEWER_TARGET, TARGET, 1);
            assert!(back == source.ptx, "{}", source.name);
        }
    }
}
