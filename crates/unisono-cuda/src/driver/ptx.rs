//! What PTX text says of its kernels: their names, and the sizes of their arguments.
//!
//! The one idea: the driver reads a launch's arguments by the sizes that the kernel declares, from addresses that it takes on trust.
//! So a launch is held against the text first, also in tests that have no device.

use unisono_runtime::{Error, ErrorKind};

use crate::launch::{Arg, Launch};

/// A kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Bytes of each argument.
    pub arguments: Vec<usize>,
}

impl Entry {
    /// Does the launch have the kernel's arguments?
    ///
    /// # Errors
    /// Their number or a size differs: a fault of ours.
    pub fn check(&self, launch: &Launch) -> Result<(), Error> {
        let given: Vec<usize> = launch.args.iter().map(bytes).collect();
        if given == self.arguments {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Device,
            format!(
                "kernel {} takes arguments of {:?} bytes, and is given {given:?}; this is a bug",
                self.name, self.arguments
            ),
        ))
    }
}

/// Bytes of an argument.
pub fn bytes(argument: &Arg) -> usize {
    match argument {
        Arg::Buffer(_) | Arg::Null => size_of::<u64>(),
        Arg::Bytes(bytes) => bytes.len(),
    }
}

/// The kernels of a text, in its order.
pub fn entries(ptx: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut rest = ptx;
    while let Some(at) = rest.find(".entry") {
        rest = &rest[at + ".entry".len()..];
        let head = rest.trim_start();
        let end = head
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%')))
            .unwrap_or(head.len());
        let (name, behind) = head.split_at(end);
        // Up to the body: what stands between are the arguments, if there are any, and directives.
        let declared = behind.split('{').next().unwrap_or_default();
        if !name.is_empty() {
            entries.push(Entry {
                name: name.to_owned(),
                arguments: arguments(declared),
            });
        }
    }
    entries
}

/// The sizes of the arguments in `( .param .u64 a, .param .align 8 .b8 b[24] )`.
fn arguments(declared: &str) -> Vec<usize> {
    declared
        .split(".param")
        .skip(1)
        .filter_map(|one| {
            let one = one.split([',', ')']).next().unwrap_or_default();
            let bits = one.split_whitespace().find_map(|word| {
                let digits = word.strip_prefix(['.'])?.get(1..)?;
                let kind = word.as_bytes().get(1)?;
                matches!(kind, b'u' | b's' | b'b' | b'f')
                    .then(|| digits.parse::<usize>().ok())
                    .flatten()
            })?;
            let count = one
                .split_once('[')
                .and_then(|(_, rest)| rest.split(']').next()?.trim().parse().ok())
                .unwrap_or(1);
            Some(bits / 8 * count)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::{Buffer, Place};
    use smallvec::smallvec;

    const TEXT: &str = "
.version 8.0
.target sm_80
.address_size 64

	// .globl	first
.visible .entry first(
	.param .u64 first_param_0,
	.param .u64 .ptr .global .align 16 first_param_1,
	.param .align 8 .b8 first_param_2[40],
	.param .f32 first_param_3
)
.maxntid 256, 1, 1
{
	.param .b64 inside;
	ret;
}
.entry second()
{
	ret;
}
.visible .entry third(.param .u8 a, .param .b8 b[3]) { ret; }
";

    #[test]
    fn names_and_sizes_are_read() {
        let found: Vec<(String, Vec<usize>)> = entries(TEXT)
            .into_iter()
            .map(|entry| (entry.name, entry.arguments))
            .collect();
        let expected = [
            ("first".to_owned(), vec![8, 8, 40, 4]),
            ("second".to_owned(), vec![]),
            ("third".to_owned(), vec![1, 3]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_launch_with_other_arguments_is_refused() {
        let first = &entries(TEXT)[0];
        let mut launch = Launch {
            kernel: "first",
            grid: [1; 3],
            block: [1; 3],
            shared: 0,
            args: smallvec![
                Arg::Buffer(Buffer::at(Place::Input(0))),
                Arg::Null,
                Arg::value(&[0u64; 5]),
                Arg::value(&0.5f32),
            ],
        };
        first.check(&launch).unwrap();
        launch.args[3] = Arg::value(&0.5f64);
        let error = first.check(&launch).unwrap_err();
        assert!(error.message().contains("[8, 8, 40, 8]"), "{error}");
        launch.args.pop();
        assert!(first.check(&launch).is_err());
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in [
            "",
            ".entry",
            ".entry (",
            ".entry a",
            ".entry a(.param",
            ".entry a(.param .u b[",
            ".entry é{",
        ] {
            entries(text);
        }
    }
}
