//! What the terminal shows: tables, numbers for people, a line of progress.
//!
//! The one idea: results go to standard output and can be piped; progress goes to standard error, only if that is a
//! terminal, and leaves no trace.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Text in columns, each as wide as its widest cell.
pub struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head. A column whose title starts with `>` is aligned to the right.
    pub fn new(head: &[&str]) -> Table {
        Table {
            right: head.iter().map(|title| title.starts_with('>')).collect(),
            rows: vec![
                head.iter()
                    .map(|title| title.trim_start_matches('>').to_owned())
                    .collect(),
            ],
        }
    }

    /// Adds a row; missing cells are empty, further ones are not shown.
    pub fn row<T: Display>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(|cell| cell.to_string());
        self.rows.push(cells.collect());
    }

    /// Writes the table, every line behind `indent`.
    pub fn write(&self, out: &mut dyn Write, indent: &str) -> io::Result<()> {
        let widths: Vec<usize> = (0..self.right.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let mut line = String::from(indent);
            for (i, (&width, &right)) in widths.iter().zip(&self.right).enumerate() {
                let cell = row.get(i).map_or("", String::as_str);
                let gap = " ".repeat(width - cell.chars().count());
                let (before, after) = if right { (&*gap, "") } else { ("", &*gap) };
                line += &format!("{before}{cell}{after}  ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A number with its thousands apart: `1,579,520`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A large number in three digits: `4.19 M`.
pub fn short(n: u64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let value = n as f64;
    match units.iter().find(|(size, _)| value >= *size) {
        Some((size, unit)) => format!("{} {unit}", three_digits(value / size)),
        None => n.to_string(),
    }
}

/// Bytes in three digits: `6.03 MiB`.
pub fn bytes(n: u64) -> String {
    let units = [
        (1u64 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    match units.iter().find(|(size, _)| n >= *size) {
        Some((size, unit)) => format!("{} {unit}", three_digits(n as f64 / *size as f64)),
        None => format!("{n} B"),
    }
}

/// Milliseconds in three digits.
pub fn milliseconds(duration: std::time::Duration) -> String {
    format!("{} ms", three_digits(duration.as_secs_f64() * 1e3))
}

/// A time of so many microseconds in three digits, in the unit that fits.
pub fn microseconds(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{} us", three_digits(us)),
        us => milliseconds(std::time::Duration::from_secs_f64(us / 1e6)),
    }
}

/// Text of at most so many characters: what is too long loses its middle, since names differ in their ends.
pub fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let (head, tail) = (kept / 3, kept - kept / 3);
    let head: String = text.chars().take(head).collect();
    let tail: String = text.chars().skip(count - tail).collect();
    format!("{head}…{tail}")
}

/// A number of at least 0 in three digits, without an exponent for what a person meets.
pub fn three_digits(value: f64) -> String {
    let decimals = match value {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Escapes what could steer a terminal: names come from model files.
pub fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = c.is_control().then(|| c.escape_default());
            let keep = (!c.is_control()).then_some(c);
            escape.into_iter().flatten().chain(keep)
        })
        .collect()
}

/// One line on standard error that is overwritten and finally removed; silent if that is no terminal.
pub struct Progress {
    shown: bool,
    live: bool,
}

impl Progress {
    /// A line that shows nothing yet.
    pub fn new() -> Progress {
        Progress {
            shown: false,
            live: io::stderr().is_terminal(),
        }
    }

    /// Shows this instead of what was there.
    pub fn show(&mut self, text: &str) {
        if self.live {
            self.shown = true;
            // Losing a progress line is no error.
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
        }
    }

    /// Removes the line.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [0, 999, 1000, 1_579_520].map(grouped),
            ["0", "999", "1,000", "1,579,520"]
        );
        assert_eq!(
            [7, 4_190_000, 8_200_000_000].map(short),
            ["7", "4.19 M", "8.20 G"]
        );
        assert_eq!(
            [512, 1536, 1 << 21].map(bytes),
            ["512 B", "1.50 KiB", "2.00 MiB"]
        );
        assert_eq!(
            [0.0594, 1.0, 12.34, 345.6].map(three_digits),
            ["0.059", "1.00", "12.3", "346"]
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["name", ">n"]);
        table.row(["a", "1"]);
        table.row(["longer", "1000"]);
        let mut out = Vec::new();
        table.write(&mut out, "  ").unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "  name       n\n  a          1\n  longer  1000\n");
    }

    #[test]
    fn what_is_too_long_loses_its_middle() {
        assert_eq!(shortened("/layer.0/MatMul", 15), "/layer.0/MatMul");
        assert_eq!(shortened("/encoder/layer.0/MatMul", 12), "/en…0/MatMul");
        assert_eq!(shortened("Größe", 3), "…ße");
        assert_eq!(shortened("abc", 0), "…");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(plain("Größe"), "Größe");
    }
}
