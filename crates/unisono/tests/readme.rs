//! What the README says in numbers is true. (Its example runs as a doc test.)

use std::collections::BTreeSet;

#[test]
fn opsets_and_operators_are_as_many_as_the_readme_says() {
    let readme = include_str!("../../../README.md");
    let standard = unisono::graph::ops::supported().filter(|o| o.domain.is_empty());
    let operators = standard.map(|o| o.name).collect::<BTreeSet<_>>().len();
    let opsets = unisono::onnx::OPSETS;
    for claim in [
        format!("{operators} of the 203 operators"),
        format!("opsets {} to {}", opsets.start(), opsets.end()),
    ] {
        assert!(
            readme.contains(&claim),
            "the README does not say \"{claim}\""
        );
    }
}
