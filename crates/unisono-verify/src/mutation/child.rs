//! The child's side: runs one section with one part broken, and says what it sees.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use unisono::mutant::{self, Mutant};

use crate::case::Machine;
use crate::options::{OptionError, Options};
use crate::progress::Progress;
use crate::report::Check;
use crate::run::{VerifyError, run_section};
use crate::sections::SectionId;

/// What the parent tells the child, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub section: SectionId,
    pub options: Options,
    pub mutant: Option<String>,
}

/// What the child tells the parent, each as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Event {
    Step { model: String, what: String },
    Finished(Box<Check>),
    Over,
}

/// Carries an order out, in a process that has nothing else to do: the part stays broken.
///
/// # Errors
/// The order makes no sense, or there is no device.
pub fn obey(order: &str, out: &mut dyn Write) -> Result<(), VerifyError> {
    let senseless = |why: String| VerifyError::Options(OptionError::new(why));
    let order: Order = serde_json::from_str(order).map_err(|e| senseless(e.to_string()))?;
    let broken = match order.mutant.as_deref() {
        None => None,
        Some(name) => Some(
            Mutant::named(name)
                .ok_or_else(|| senseless(format!("there is no mutant named \"{name}\"")))?,
        ),
    };
    mutant::activate(broken);
    let machine = Machine::of(&order.options)?;
    let mut teller = Teller {
        out,
        told: None,
        last: (String::new(), String::new()),
    };
    run_section(order.section, &order.options, &machine, &mut teller);
    teller.tell(&Event::Over);
    Ok(())
}

struct Teller<'a> {
    out: &'a mut dyn Write,
    told: Option<Instant>,
    last: (String, String),
}

impl Teller<'_> {
    /// A sign of life is worth no more often than this.
    const EVERY: Duration = Duration::from_millis(50);

    fn tell(&mut self, event: &Event) {
        let said = serde_json::to_string(event)
            .map_err(io::Error::other)
            .and_then(|line| writeln!(self.out, "{line}"))
            .and_then(|()| self.out.flush());
        if said.is_err() {
            // The parent has heard enough, and does not want the rest.
            std::process::exit(0);
        }
        self.told = Some(Instant::now());
    }
}

impl Progress for Teller<'_> {
    fn section(&mut self, _: &str) {}

    fn step(&mut self, model: &str, what: &str, _: u64, _: u64) {
        let is_new = self.last.0 != model || self.last.1 != what;
        let is_due = self.told.is_none_or(|told| told.elapsed() >= Teller::EVERY);
        if is_new || is_due {
            self.last = (model.to_owned(), what.to_owned());
            self.tell(&Event::Step {
                model: model.to_owned(),
                what: what.to_owned(),
            });
        }
    }

    fn finished(&mut self, check: &Check) {
        self.tell(&Event::Finished(Box::new(check.clone())));
    }
}
