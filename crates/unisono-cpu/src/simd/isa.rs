//! Which vector instructions a kernel may use.
//!
//! One idea: an [`Isa`] that is not [`Isa::Scalar`] is a promise about the machine, checked once by [`Isa::is_available`] when a device
//! is made; kernels rely on it. It must never change a result: every kernel gives the same bits on every one of them.

use std::fmt;
use std::str::FromStr;

/// A set of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// No vector instructions, no assumption about the machine.
    Scalar,
    /// x86-64 with AVX2 and FMA: 8 lanes.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL, and all of [`Isa::Avx2`]: 16 lanes.
    Avx512,
    /// 64-bit Arm: 4 lanes.
    Neon,
}

impl Isa {
    /// All of them, narrowest first.
    pub const ALL: [Isa; 4] = [Isa::Scalar, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The widest one that this machine has.
    pub fn detect() -> Isa {
        Isa::ALL
            .into_iter()
            .rfind(|isa| isa.is_available())
            .unwrap_or(Isa::Scalar)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// Those that this machine has, narrowest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The name that users give and reports print.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of no [`Isa`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIsa(String);

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown instruction set {:?}; known are", self.0)?;
        for (i, isa) in Isa::ALL.into_iter().enumerate() {
            write!(f, "{} {isa}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownIsa {}

impl FromStr for Isa {
    type Err = UnknownIsa;

    /// From its [`name`](Isa::name). Says nothing about whether this machine has it.
    fn from_str(name: &str) -> Result<Isa, UnknownIsa> {
        Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| UnknownIsa(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_back_and_an_unknown_one_is_told_the_known_ones() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        let error = "sse".parse::<Isa>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown instruction set \"sse\"; known are scalar, neon, avx2, avx512"
        );
    }

    #[test]
    fn the_detected_one_is_available_and_the_widest() {
        assert!(Isa::detect().is_available());
        assert_eq!(Isa::available().last(), Some(Isa::detect()));
        assert!(Isa::available().any(|isa| isa == Isa::Scalar));
    }
}
