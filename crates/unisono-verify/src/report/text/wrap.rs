//! Text in lines of at most 100 columns.

/// Columns of a terminal that are used.
pub(crate) const WIDTH: usize = 100;

/// Writes text behind `first`, broken at blanks, with further lines below its beginning.
pub(crate) fn wrapped(out: &mut String, first: &str, text: &str) {
    hanging(out, first, first.chars().count().min(WIDTH / 2), text);
}

/// The same with further lines behind so many blanks.
pub(crate) fn hanging(out: &mut String, first: &str, indent: usize, text: &str) {
    let mut line = first.to_owned();
    let mut used = first.chars().count();
    // Nothing but blanks or `first` on this line yet.
    let mut fresh = true;
    for word in text.split(' ') {
        let mut word = word;
        loop {
            let gap = usize::from(!fresh);
            let length = word.chars().count();
            if used + gap + length <= WIDTH {
                line.extend((gap > 0).then_some(' '));
                line += word;
                used += gap + length;
                fresh = false;
                break;
            }
            if fresh && used <= indent {
                // Longer than a whole line: broken anywhere.
                let at = word
                    .char_indices()
                    .nth(WIDTH - used)
                    .map_or(word.len(), |(at, _)| at);
                line += &word[..at];
                word = &word[at..];
            }
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(indent);
            used = indent;
            fresh = true;
        }
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_never_too_long() {
        let mut out = String::new();
        let words = "word ".repeat(40);
        hanging(
            &mut out,
            "  - name: ",
            4,
            &format!("{words}{}", "x".repeat(250)),
        );
        for line in out.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(
                line.starts_with("  - name: word") || line.starts_with("    "),
                "{line}"
            );
        }
        assert_eq!(out.matches("word").count(), 40);
        assert_eq!(out.matches('x').count(), 250);
        let mut short = String::new();
        wrapped(&mut short, "  date  ", "today");
        assert_eq!(short, "  date  today\n");
    }

    #[test]
    fn a_first_part_of_a_whole_line_ends_too() {
        let mut out = String::new();
        hanging(&mut out, &"n".repeat(200), 4, "text");
        assert_eq!(out.lines().count(), 2);
    }
}
