//! How much of this process is in memory.
//!
//! One idea: not all pages cost the same. Those that no file backs are this process's alone. Those of a file, such as a mapped
//! model, are in memory once however many processes map it, and the system can drop them when it needs room. Those of programs
//! and libraries come and go with what is called, whatever the model, and are told apart from both.

use std::collections::HashSet;

use serde_json::{Value, json};

/// `{"anon_kib", "file_kib", "code_kib", "peak_kib"}`: resident memory that no file backs, resident pages of files, those of
/// programs and libraries, and the most that all ever were together. Null where the system does not say; Linux does.
pub fn now() -> Value {
    // `status` has sums of these as well, from counters that each core brings up to date only now and then: 128 KiB a core
    // too much or too little, which is a small model's size. This is counted when it is read.
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else {
        return Value::Null;
    };
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return Value::Null;
    };
    let Some(peak) = status
        .lines()
        .find_map(|line| kib(line.strip_prefix("VmHWM:")?))
    else {
        return Value::Null;
    };
    let Pages { anon, file, code } = Pages::of(&maps);
    json!({
        "anon_kib": anon,
        "file_kib": file,
        "code_kib": code,
        "peak_kib": peak.max(anon + file + code),
    })
}

/// Resident memory by kind, in KiB.
#[derive(Debug, Default, PartialEq)]
struct Pages {
    anon: u64,
    file: u64,
    code: u64,
}

impl Pages {
    /// Of all mappings, as `proc_pid_smaps(5)` describes them: a line that names the mapping, then a line for each figure.
    fn of(maps: &str) -> Pages {
        let lines = || maps.lines().map(Line::of);
        let code: HashSet<&str> = lines()
            .filter_map(|line| match line {
                Line::Mapping { path, runs: true } => Some(path),
                _ => None,
            })
            .collect();
        let mut pages = Pages::default();
        let (mut is_code, mut resident) = (false, 0);
        for line in lines() {
            match line {
                Line::Mapping { path, .. } => is_code = code.contains(path),
                Line::Figure("Rss", kib) => resident = kib,
                // Comes after `Rss` of the same mapping; the rest of that is the file's.
                Line::Figure("Anonymous", kib) => {
                    pages.anon += kib;
                    let of_file = resident.saturating_sub(kib);
                    *(if is_code {
                        &mut pages.code
                    } else {
                        &mut pages.file
                    }) += of_file;
                }
                Line::Figure(..) | Line::Other => {}
            }
        }
        pages
    }
}

enum Line<'a> {
    Mapping { path: &'a str, runs: bool },
    Figure(&'a str, u64),
    Other,
}

impl Line<'_> {
    fn of(line: &str) -> Line<'_> {
        if let Some((key, value)) = line.split_once(':')
            && let Some(kib) = kib(value)
        {
            return Line::Figure(key, kib);
        }
        // `5581-5590 r-xp 00001000 fd:00 1234   /usr/lib/libm.so.6`; the path may have spaces in it.
        let mut rest = line;
        let mut words = [""; 5];
        for word in &mut words {
            (*word, rest) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
        }
        match words[0].contains('-') && words[1].len() == 4 {
            true => Line::Mapping {
                path: rest.trim_start(),
                runs: words[1].contains('x') && !rest.trim_start().is_empty(),
            },
            false => Line::Other,
        }
    }
}

/// The number in ` 1234 kB`.
fn kib(text: &str) -> Option<u64> {
    text.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_library_are_told_from_those_of_a_file_and_from_the_rest() {
        let mapping = |permissions: &str, path: &str, rss: u64, anonymous: u64| {
            format!(
                "5581-5590 {permissions} 00000000 fd:00 77   {path}\nSize: 900 kB\nRss:  {rss} kB\n\
                 Pss_Anon: 1 kB\nAnonymous:  {anonymous} kB\nVmFlags: rd mr\n"
            )
        };
        let maps = mapping("r--p", "/lib/libm.so", 8, 0)
            + &mapping("r-xp", "/lib/libm.so", 100, 4)
            + &mapping("r--s", "/models/my model.onnx", 4000, 0)
            + &mapping("rw-p", "", 70, 70)
            + &mapping("rwxp", "", 5, 5);
        let expected = Pages {
            anon: 79,
            file: 4000,
            code: 104,
        };
        assert_eq!(Pages::of(&maps), expected);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_is_touched_is_counted_apart_from_files() {
        let read = |value: &Value, key: &str| value[key].as_u64().unwrap();
        let before = now();
        let touched = std::hint::black_box(vec![1u8; 32 << 20]);
        let after = now();
        let more = read(&after, "anon_kib") - read(&before, "anon_kib");
        assert!((30 << 10..40 << 10).contains(&more), "{more}");
        assert!(read(&after, "peak_kib") >= read(&after, "anon_kib") + read(&after, "code_kib"));
        drop(touched);
    }
}
