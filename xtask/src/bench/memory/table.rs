//! What was weighed, as Markdown: first what was to be reached and whether it was, then every engine with every model.

use super::results::{Change, Measured, Model, Resident, Results, SECOND, Series};
use crate::bench::results::OURS;
use crate::bench::stats::Spread;
use crate::bench::table::{digits, engine_table, escaped, on_what};

/// The whole page. The chart is taken to lie beside it, as `memory.svg`.
pub fn page(results: &Results) -> String {
    let mut page = String::from("# What a model takes in memory\n\n");
    page += "Written by `cargo xtask bench --memory`; [how to read it](../README.md#memory). Every round of every engine is in [results.json](results.json).\n\n";
    page += &on_what(
        &results.machine,
        &results.date,
        &results.commit,
        results.uncommitted_changes,
    );
    page += &format!(
        "; {} rounds; {} callers, {} requests each until they leave no more.\n\n",
        results.rounds, results.callers, results.requests
    );
    page += &engine_table(&results.engines);
    page += "\n![What a model takes in memory with each engine](memory.svg)\n\n## Against onnxruntime\n\n";
    page += &format!(
        "MiB after the requests of {} callers beyond what the process has without a model, medians of the rounds. *second* is what \
         another session of the same model adds, as a share of the first: from the file again, and sharing the loaded model.\n\n",
        results.callers
    );
    page += "| model | file | unisono | onnxruntime | ratio | at most 1 | second, file | second, shared | below 10 % |\n";
    page += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for model in &results.models {
        page += &against_onnxruntime(model);
    }
    page += &libraries(results);
    for model in &results.models {
        page += &every_engine(results, model);
    }
    page
}

fn against_onnxruntime(model: &Model) -> String {
    let said = |reached: Option<bool>| match reached {
        None => "-",
        Some(true) => "yes",
        Some(false) => "**no**",
    };
    let ours = model.series(OURS);
    let [of_file, shared] = ours.map_or([None, None], Series::second);
    let ratio = model.ratio();
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        model.name,
        digits(model.file_bytes as f64 / f64::from(1 << 20)),
        or_dash(ours.and_then(Series::cost), |cost| digits(cost.median)),
        or_dash(model.least_onnxruntime(), |(series, cost)| format!(
            "{} {}",
            digits(cost.median),
            series.engine
        )),
        or_dash(ratio, |ratio| format!("{ratio:.2}")),
        said(ratio.map(|ratio| ratio <= 1.0)),
        or_dash(of_file, percent),
        or_dash(shared, percent),
        said(model.second_is_cheap()),
    )
}

/// What engines take without a model.
fn libraries(results: &Results) -> String {
    let mut text = String::from(
        "\n## Engines without a model\n\nMiB. Code is what is in memory of the program and of libraries; it grows with what is called, \
         and is no part of a model's cost. (The driver that unisono, rten and tract are linked into is one program.)\n\n\
         | engine | not of files | code | code after requests |\n| --- | --- | --- | --- |\n",
    );
    for engine in &results.engines {
        let all = || {
            let models = results.models.iter();
            let series = models.filter_map(|model| model.series(&engine.name));
            series.flat_map(|series| &series.rounds)
        };
        let median = |figure: fn(&Measured) -> u64| {
            let spread = Spread::of(all().map(|round| figure(round) as f64 / 1024.0));
            or_dash(spread, |spread| digits(spread.median))
        };
        text += &format!(
            "| {} | {} | {} | {} |\n",
            engine.name,
            median(|round| round.library.anon_kib),
            median(|round| round.library.code_kib),
            median(|round| round.several.code_kib),
        );
    }
    text
}

fn every_engine(results: &Results, model: &Model) -> String {
    let mut text = format!(
        "\n## {}\n\n{}. MiB, medians; *mapped* is the part that is pages of the model's file. Peak: with code, up to the last request of the first session.\n\n",
        model.name,
        escaped(&model.about)
    );
    text += &format!(
        "| engine | loaded | 1 caller | {} callers | of these mapped | peak | second, file | second, shared |\n",
        results.callers
    );
    text += &format!("|{}\n", " --- |".repeat(8));
    for series in model
        .series
        .iter()
        .filter(|series| !series.rounds.is_empty())
    {
        let median = |figure: &dyn Fn(&Measured) -> Option<f64>| {
            or_dash(series.spread(figure), |spread| digits(spread.median))
        };
        let cost =
            |then: fn(&Measured) -> &Resident| median(&|round| Some(round.cost(then(round)).mib()));
        let mapped = |change: Change| change.file_kib as f64 / 1024.0;
        text += &format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
            series.engine,
            cost(|round| &round.loaded),
            cost(|round| &round.one),
            or_dash(series.cost(), |cost| format!(
                "{} ({}-{})",
                digits(cost.median),
                digits(cost.lowest),
                digits(cost.highest)
            )),
            median(&|round| Some(mapped(round.cost(&round.several)))),
            median(&|round| Some(round.peak_mib())),
            median(&|round| Some(round.second_of_file.mib())),
            median(&|round| Some(round.second_shared?.mib())),
        );
    }
    for refusal in &model.refused {
        text += &format!(
            "\nNot weighed: {}, since {}.\n",
            refusal.engine,
            escaped(&refusal.why)
        );
    }
    for series in &model.series {
        if let Some(why) = &series.failed {
            text += &format!(
                "\nRounds of {} are missing: {}.\n",
                series.engine,
                escaped(why)
            );
        }
    }
    text
}

fn percent(share: Spread) -> String {
    format!("{:.1} %", share.median * 100.0)
}

fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or("-".to_owned(), show)
}

/// Where the limit for a second session stands in words, it must be the one that is tested.
const _: () = assert!(SECOND == 0.1);

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    #[test]
    fn the_page_says_what_was_reached_and_what_was_not() {
        let mut results = sample::results();
        let line = |results: &Results| {
            let page = page(results);
            page.lines()
                .find(|line| line.starts_with("| mlp |"))
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            line(&results),
            "| mlp | 8.00 | 10.0 | 16.0 ort1 | 0.62 | yes | 5.0 % | 0.1 % | yes |"
        );
        results.models[0].series[0].rounds = vec![sample::measured(30 << 10, 0, 4096, None)];
        assert_eq!(
            line(&results),
            "| mlp | 8.00 | 30.0 | 16.0 ort1 | 1.88 | **no** | 13.3 % | - | **no** |"
        );
        results.models[0].series.clear();
        assert_eq!(line(&results), "| mlp | 8.00 | - | - | - | - | - | - | - |");
    }

    #[test]
    fn engines_that_were_not_weighed_are_named() {
        let mut results = sample::results();
        results.models[0].series[1].failed = Some("it ended".to_owned());
        let page = page(&results);
        assert!(page.contains("Not weighed: rten, since operator &lt;X> \\| is missing."));
        assert!(page.contains("Rounds of ort are missing: it ended."));
    }

    #[test]
    fn every_row_of_a_table_has_as_many_columns_as_its_head() {
        crate::bench::table::assert_columns(&page(&sample::results()));
    }
}
