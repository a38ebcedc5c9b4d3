//! Numbers and names as people read them, the same in every rendering of a report.
//!
//! It must never let through what could steer a terminal or end a line: names and messages come from model files.

/// Text without control characters: they are shown as escapes instead.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            // Marks that reorder text can make a line read as something else; they are no letters of any script.
            let steers =
                c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            let escape = steers.then(|| c.escape_unicode());
            escape.into_iter().flatten().chain((!steers).then_some(c))
        })
        .collect()
}

/// The beginning of a text that is too long.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars()
        .take(width.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// A number with its thousands apart.
pub(crate) fn grouped(n: u64) -> String {
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

/// A count and what is counted, without the `s` for one.
pub(crate) fn counted(n: usize, thing: &str) -> String {
    match n {
        1 => format!("1 {thing}"),
        n => format!("{} {thing}s", grouped(n as u64)),
    }
}

/// A large number in three digits.
pub(crate) fn short(n: u64) -> String {
    let value = n as f64;
    let units = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    match units.into_iter().find(|(size, _)| value >= *size) {
        Some((size, unit)) => format!("{:.*}{unit}", decimals(value / size), value / size),
        None => n.to_string(),
    }
}

fn decimals(value: f64) -> usize {
    match value {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    }
}

/// A time that something took.
pub(crate) fn seconds(value: f64) -> String {
    if value >= 99.5 {
        format!("{value:.0} s")
    } else {
        format!("{value:.1} s")
    }
}

/// A measured number: whole numbers whole, others in about three digits.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let sign = if value < 0.0 { "-" } else { "" };
    if !value.is_finite() {
        "not a number".to_owned()
    } else if size < 1e15 && value.fract() == 0.0 {
        format!("{sign}{}", grouped(size as u64))
    } else if !(1e-3..1e15).contains(&size) {
        format!("{value:.2e}")
    } else if size >= 999.5 {
        format!("{sign}{}", grouped(size.round() as u64))
    } else if size >= 0.9995 {
        format!("{value:.*}", decimals(size))
    } else {
        // Three digits that count.
        let zeros = (-size.log10()).ceil().max(1.0) as usize - 1;
        format!("{value:.*}", zeros + 3)
    }
}

/// A measured number with its unit; bytes in units of 1,024.
pub(crate) fn amount(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "bytes" | "B" => {
            let units = [
                (1u64 << 40, "TiB"),
                (1 << 30, "GiB"),
                (1 << 20, "MiB"),
                (1 << 10, "KiB"),
            ];
            match units
                .into_iter()
                .find(|(size, _)| value.abs() >= *size as f64)
            {
                Some((size, unit)) => (value / size as f64, unit),
                None => (value, "bytes"),
            }
        }
        unit => (value, unit),
    };
    let gap = if unit.is_empty() || unit.starts_with('/') {
        ""
    } else {
        " "
    };
    format!("{}{gap}{}", number(value), printable(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("Größe 模型"), "Größe 模型");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [0, 999, 1_000, 1_579_520].map(grouped),
            ["0", "999", "1,000", "1,579,520"]
        );
        assert_eq!(
            [7, 26_200_000, 103_000_000].map(short),
            ["7", "26.2 M", "103 M"]
        );
        assert_eq!(cut("description", 5), "desc…");
        assert_eq!(
            [counted(1, "check"), counted(1200, "check")],
            ["1 check", "1,200 checks"]
        );
    }

    #[test]
    fn measured_numbers_have_three_digits_and_whole_ones_all() {
        let shown = [
            0.0, -3.0, 48_570.0, 48_570.4, 8.141, 0.4, 0.05, 2.3e-7, 1e17, -1234.5,
        ]
        .map(number);
        let wanted = [
            "0", "-3", "48,570", "48,570", "8.14", "0.400", "0.0500", "2.30e-7", "1.00e17",
            "-1,235",
        ];
        assert_eq!(shown, wanted);
        assert_eq!(number(f64::NAN), "not a number");
        assert_eq!(amount(3.0 * 1048576.0, "bytes"), "3 MiB");
        assert_eq!(amount(12.0, "bytes"), "12 bytes");
        assert_eq!(amount(2.5, "ms"), "2.50 ms");
        assert_eq!(amount(2112.0, "/s"), "2,112/s");
        assert_eq!(amount(7.0, ""), "7");
    }
}
