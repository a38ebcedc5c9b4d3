//! The report as HTML, Markdown and text: complete, and safe whatever a model file calls itself.

mod common;

use unisono_verify::report::{html, markdown, summary, summary_of_all_checks};
use unisono_verify::{Report, SectionId};

/// The page as XML, which it is but for its head.
fn body(report: &Report) -> String {
    let page = html(report);
    let start = page.find("<body>").unwrap();
    page[start..]
        .trim_end()
        .trim_end_matches("</html>")
        .trim_end()
        .replace("<br>", "<br/>")
        .replace("<details open>", "<details>")
}

#[test]
fn the_page_is_well_formed_and_everything_can_be_reached() {
    for report in [common::good(), common::bad()] {
        let body = body(&report);
        let page = roxmltree::Document::parse(&body).unwrap();
        let mut ids: Vec<&str> = page
            .descendants()
            .filter_map(|n| n.attribute("id"))
            .collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "an id twice");
        for link in page.descendants().filter_map(|n| n.attribute("href")) {
            assert!(
                ids.contains(&link.trim_start_matches('#')),
                "{link} leads nowhere"
            );
        }
        for label in page
            .descendants()
            .filter_map(|n| n.attribute("aria-labelledby"))
        {
            assert!(label.split(' ').all(|id| ids.contains(&id)), "{label}");
        }
        for section in &report.sections {
            assert!(ids.contains(&section.id.name()), "{}", section.id);
        }
        let charts = report
            .sections
            .iter()
            .map(|s| s.charts.len())
            .sum::<usize>();
        let drawn = page
            .descendants()
            .filter(|n| n.attribute("role") == Some("img"))
            .count();
        assert_eq!(drawn, charts);
    }
}

#[test]
fn names_never_become_markup_and_the_page_asks_for_nothing() {
    let report = common::bad();
    let body = body(&report);
    let page = roxmltree::Document::parse(&body).unwrap();
    for node in page.descendants() {
        let name = node.tag_name().name();
        assert!(
            !matches!(
                name,
                "img" | "script" | "link" | "iframe" | "object" | "embed"
            ),
            "<{name}>"
        );
        for attribute in node.attributes() {
            let name = attribute.name();
            assert!(!name.starts_with("on") && name != "src", "{name}");
        }
    }
    let html = html(&report);
    assert!(!html.contains("url(") && !html.contains("@import") && !html.contains("<script"));
    assert!(html.contains("default-src 'none'"));
    assert!(html.contains("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;"));
    for text in [
        html,
        markdown(&report),
        summary(&report),
        summary_of_all_checks(&report),
    ] {
        assert!(!text.contains(['\u{1b}', '\0', '\u{202e}']));
    }
    for line in markdown(&report).lines() {
        // What stands between backticks is code, in which nothing is markup.
        let outside: String = line.replace("\\`", "").split('`').step_by(2).collect();
        assert!(!outside.replace("<br>", "").contains('<'), "{line}");
    }
}

#[test]
fn colours_are_not_the_only_difference_between_series() {
    let report = common::good();
    let body = body(&report);
    let page = roxmltree::Document::parse(&body).unwrap();
    let curve = page
        .descendants()
        .find(|n| {
            n.attribute("aria-labelledby")
                .is_some_and(|l| l.contains("efficiency-transformer-throughput"))
        })
        .unwrap();
    let marks = |series: &str| -> Vec<String> {
        let own = curve
            .descendants()
            .filter(|n| n.attribute("class") == Some(series));
        // What follows the place is the shape.
        own.map(|n| {
            n.attribute("d")
                .unwrap()
                .split_once('m')
                .unwrap()
                .1
                .to_owned()
        })
        .collect()
    };
    let (first, second) = (marks("mark s0"), marks("mark s1"));
    assert_eq!((first.len(), second.len()), (7, 7));
    assert_ne!(first[0], second[0]);
    assert!(
        curve
            .descendants()
            .any(|n| n.attribute("class") == Some("line dashed s2"))
    );
    assert_eq!(
        curve
            .descendants()
            .filter(|n| n.attribute("class").is_some_and(|c| c.starts_with("band")))
            .count(),
        2
    );
}

#[test]
fn a_point_lies_where_its_axes_say() {
    let report = common::good();
    let body = body(&report);
    let page = roxmltree::Document::parse(&body).unwrap();
    let chart = page
        .descendants()
        .find(|n| {
            n.attribute("aria-labelledby")
                .is_some_and(|l| l.contains("efficiency-transformer-efficiency"))
        })
        .unwrap();
    let number =
        |n: roxmltree::Node<'_, '_>, name: &str| n.attribute(name).unwrap().parse::<f64>().unwrap();
    let tick = |label: &str, anchor: &str| {
        let mut texts = chart
            .descendants()
            .filter(|n| n.has_tag_name("text") && n.attribute("text-anchor") == Some(anchor));
        texts.find(|n| n.text() == Some(label)).unwrap()
    };
    // The dashed target is at 75 % from 1 to 64 callers.
    let target = chart
        .descendants()
        .find(|n| n.attribute("class") == Some("line dashed s2"))
        .unwrap();
    let path = target.attribute("d").unwrap();
    let points: Vec<(f64, f64)> = path
        .split(['M', 'L'])
        .filter(|p| !p.is_empty())
        .map(|p| {
            p.split_once(' ')
                .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
                .unwrap()
        })
        .collect();
    let (y60, y80) = (
        number(tick("60", "end"), "y") - 4.5,
        number(tick("80", "end"), "y") - 4.5,
    );
    assert!(
        (points[0].1 - (y60 + 0.75 * (y80 - y60))).abs() < 0.2,
        "{points:?} {y60} {y80}"
    );
    for (i, label) in ["1", "2", "4", "8", "16", "32", "64"]
        .into_iter()
        .enumerate()
    {
        assert!(
            (points[i].0 - number(tick(label, "middle"), "x")).abs() < 0.2,
            "{label}"
        );
    }
}

#[test]
fn the_document_has_the_originals_order() {
    let text = markdown(&common::good());
    let headings: Vec<&str> = text.lines().filter(|l| l.starts_with('#')).collect();
    assert_eq!(
        headings,
        [
            "# Verification report",
            "## Executive summary",
            "## Platform checks",
            "## Complete story suite",
            "### Chapter 1: thread safety",
            "### Chapter 2: efficiency ceiling",
            "### Chapter 3: batching advantage",
            "### Chapter 4: correctness",
            "## Soak",
            "## Stress extended",
            "## Memory leak",
            "## Thread churn",
            "## Real models parallel",
            "## Graph compilation stress",
            "## Fault campaign",
            "## Crash status",
            "## Success metrics",
            "## Verification status",
            "### Claims and their evidence",
            "## Models and digests",
            "## What the verdicts mean",
        ]
    );
}

#[test]
fn tables_of_the_document_have_as_many_cells_as_heads() {
    for report in [common::good(), common::bad()] {
        let mut head = None;
        for line in markdown(&report).lines() {
            let cells = line.replace("\\|", "").matches('|').count();
            if !line.starts_with('|') {
                head = None;
            } else {
                assert_eq!(cells, *head.get_or_insert(cells), "{line}");
            }
        }
    }
}

#[test]
fn the_summary_is_short_fits_a_terminal_and_tells_what_did_not_pass() {
    for report in [common::good(), common::bad()] {
        for text in [summary(&report), summary_of_all_checks(&report)] {
            for line in text.lines() {
                assert!(line.chars().count() <= 100, "{line}");
            }
            for id in SectionId::ALL {
                assert!(text.contains(id.title()), "{id}");
            }
        }
    }
    let good = summary(&common::good());
    assert!(good.lines().count() < 80, "{good}");
    assert!(good.contains("NOT-DISTINGUISHABLE platform/a008"));
    assert!(!good.contains("A.001"));
    assert!(summary_of_all_checks(&common::good()).contains("A.001"));
    let bad = summary(&common::bad());
    for told in [
        "SIGSEGV",
        "at the disco",
        "COULD-NOT-RUN churn/pool",
        "FAIL correctness/",
        "3e000001",
        "5 more in the report",
    ] {
        assert!(bad.contains(told), "{told}\n{bad}");
    }
}

#[test]
fn all_files_are_written() {
    let folder = std::env::temp_dir().join(format!("unisono-report-files-{}", std::process::id()));
    let files = common::good().write(&folder).unwrap();
    let names: Vec<String> = files
        .iter()
        .map(|f| f.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        names,
        [
            "report.json",
            "report.md",
            "report.html",
            "report.junit.xml"
        ]
    );
    assert!(
        files
            .iter()
            .all(|file| file.metadata().unwrap().len() > 1_000)
    );
    std::fs::remove_dir_all(&folder).unwrap();
}
