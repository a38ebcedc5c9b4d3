//! Options of a chore, read in the plainest way that still refuses what it does not know.

/// The options of one call, consumed one by one; what is left at the end is an error.
pub struct Args {
    left: Vec<String>,
}

impl Args {
    pub fn new(arguments: &[String]) -> Args {
        Args {
            left: arguments.to_vec(),
        }
    }

    /// Takes the switch `--name` and says whether it was given.
    pub fn switch(&mut self, name: &str) -> bool {
        let before = self.left.len();
        self.left.retain(|argument| argument != name);
        self.left.len() != before
    }

    /// Takes the last `--name VALUE` or `--name=VALUE`.
    ///
    /// # Errors
    /// If the value is missing.
    pub fn value(&mut self, name: &str) -> Result<Option<String>, String> {
        Ok(self.values(name)?.pop())
    }

    /// Takes every `--name VALUE` and `--name=VALUE`, in order.
    ///
    /// # Errors
    /// If a value is missing.
    pub fn values(&mut self, name: &str) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let mut kept = Vec::new();
        let mut arguments = std::mem::take(&mut self.left).into_iter();
        while let Some(argument) = arguments.next() {
            if argument == name {
                match arguments.next() {
                    Some(value) if !value.starts_with("--") => found.push(value),
                    _ => return Err(format!("`{name}` needs a value")),
                }
            } else if let Some(value) = argument
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='))
            {
                found.push(value.to_owned());
            } else {
                kept.push(argument);
            }
        }
        self.left = kept;
        Ok(found)
    }

    /// # Errors
    /// If anything is left that no option took.
    pub fn finish(self) -> Result<(), String> {
        match self.left.first() {
            None => Ok(()),
            Some(unknown) => Err(format!("unknown argument `{unknown}`; try --help")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Args {
        Args::new(
            &text
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn takes_switches_and_values_in_both_spellings() {
        let mut args = args("--fast --only a --only=b");
        assert!(args.switch("--fast"));
        assert!(!args.switch("--fast"));
        assert_eq!(args.values("--only").unwrap(), ["a", "b"]);
        assert!(args.finish().is_ok());
    }

    #[test]
    fn refuses_what_no_option_took() {
        let mut args = args("--fast --fats");
        args.switch("--fast");
        assert!(args.finish().unwrap_err().contains("--fats"));
    }

    #[test]
    fn a_value_that_is_missing_is_an_error() {
        assert!(args("--only").value("--only").is_err());
        assert!(args("--only --fast").value("--only").is_err());
    }
}
