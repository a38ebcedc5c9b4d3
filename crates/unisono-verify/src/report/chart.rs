//! The numbers of a chart as a table, for those who do not see it and for formats without pictures.

use super::Chart;
use super::format::number;

impl Chart {
    /// Rows of a table that are more than anybody reads.
    pub(crate) const MOST_ROWS: usize = 64;

    /// The head and the rows: every x in rising order, and the y of each series there.
    pub(crate) fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let names = self.series.iter().map(|series| series.name.clone());
        let head = std::iter::once(self.x.label.clone()).chain(names).collect();
        let points = self.series.iter().flat_map(|series| &series.points);
        let mut xs: Vec<f64> = points.map(|(x, _)| *x).filter(|x| x.is_finite()).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let rows = xs.iter().map(|x| {
            let cells = self.series.iter().map(|series| {
                let point = series.points.iter().position(|(at, _)| at == x);
                let Some((i, (_, y))) = point.and_then(|i| Some((i, series.points.get(i)?))) else {
                    return String::new();
                };
                match series.band.as_ref().and_then(|band| band.get(i)) {
                    Some((low, high)) => {
                        format!("{} ({} to {})", number(*y), number(*low), number(*high))
                    }
                    None => number(*y),
                }
            });
            std::iter::once(number(*x)).chain(cells).collect()
        });
        (head, rows.collect())
    }
}
