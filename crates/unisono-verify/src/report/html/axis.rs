//! Axes: where a value lies on the paper, and which values get a tick.
//!
//! The one idea: an axis is even in a transformed value (the value itself, or its logarithm), begins and ends at round
//! numbers, and has few ticks. Values that it cannot show (not finite, or not above zero on a logarithmic axis) are nowhere.

use super::super::format::number;
use super::super::{Axis, Scale};

/// So many bars have each its own tick.
const MOST_NAMED_BARS: usize = 10;

/// An axis laid on the paper.
pub(super) struct Ruler {
    scale: Scale,
    /// The ends, transformed.
    low: f64,
    high: f64,
    /// The same on the paper.
    from: f64,
    to: f64,
    /// Values with a tick, and what is written at it.
    pub ticks: Vec<(f64, String)>,
}

impl Ruler {
    /// An axis over these values, from one place on the paper to another, with about so many ticks. `None` if it can show
    /// none of the values.
    pub fn over(
        axis: &Axis,
        values: impl Iterator<Item = f64>,
        from: f64,
        to: f64,
        most: usize,
    ) -> Option<Ruler> {
        let scale = axis.scale;
        let shown = values.filter(|value| transformed(scale, *value).is_some());
        let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low > high {
            return None;
        }
        let (low, high, ticks) = match scale {
            Scale::Linear => even(low.min(0.0), high.max(0.0), most),
            Scale::LinearFromLowest => even(low, high, most),
            Scale::Log2 => doublings(low, high, most),
            Scale::Log10 => decades(low, high, most),
        };
        Some(Ruler {
            scale,
            low: transformed(scale, low)?,
            high: transformed(scale, high)?,
            from,
            to,
            ticks,
        })
    }

    /// The same without the room behind the last value, if the axis is even: time ends when a run ends.
    pub fn up_to_the_last(
        axis: &Axis,
        values: &[f64],
        from: f64,
        to: f64,
        most: usize,
    ) -> Option<Ruler> {
        let mut ruler = Ruler::over(axis, values.iter().copied(), from, to, most)?;
        let last = values
            .iter()
            .copied()
            .filter(|v| v.is_finite())
            .fold(f64::NEG_INFINITY, f64::max);
        if matches!(axis.scale, Scale::Linear | Scale::LinearFromLowest) && last > ruler.low {
            ruler.high = last;
            ruler.ticks.retain(|(value, _)| *value <= last);
        }
        Some(ruler)
    }

    /// The same for bars at these places: half of the smallest gap is left at both ends, and no tick is where no bar can be.
    /// Gives the width of a bar's place, too.
    pub fn under_bars(
        axis: &Axis,
        values: &[f64],
        from: f64,
        to: f64,
        most: usize,
    ) -> Option<(Ruler, f64)> {
        let scale = axis.scale;
        let mut at: Vec<f64> = values
            .iter()
            .filter_map(|value| transformed(scale, *value))
            .collect();
        at.sort_by(f64::total_cmp);
        at.dedup();
        let (first, last) = (*at.first()?, *at.last()?);
        let gaps = at.windows(2).map(|pair| pair[1] - pair[0]);
        let gap = gaps.fold(f64::INFINITY, f64::min);
        let gap = if gap.is_finite() { gap } else { 1.0 };
        let lowest = Axis {
            scale: match scale {
                Scale::Linear => Scale::LinearFromLowest,
                scale => scale,
            },
            label: String::new(),
        };
        let mut ruler = Ruler::over(&lowest, values.iter().copied(), from, to, most)?;
        (ruler.low, ruler.high) = (first - gap / 2.0, last + gap / 2.0);
        let (low, high) = (ruler.low, ruler.high);
        if at.len() <= MOST_NAMED_BARS {
            let mut places: Vec<f64> = values
                .iter()
                .copied()
                .filter(|v| transformed(scale, *v).is_some())
                .collect();
            places.sort_by(f64::total_cmp);
            places.dedup();
            ruler.ticks = places
                .into_iter()
                .map(|value| (value, number(value)))
                .collect();
        } else {
            let inside =
                |value: f64| transformed(scale, value).is_some_and(|t| t >= low && t <= high);
            ruler.ticks.retain(|(value, _)| inside(*value));
        }
        let width = (to - from).abs() * gap / (high - low);
        Some((ruler, width))
    }

    /// Where a value lies.
    pub fn at(&self, value: f64) -> Option<f64> {
        let share = (transformed(self.scale, value)? - self.low) / (self.high - self.low);
        Some(self.from + share * (self.to - self.from))
    }
}

fn transformed(scale: Scale, value: f64) -> Option<f64> {
    let value = match scale {
        Scale::Linear | Scale::LinearFromLowest => value,
        Scale::Log2 => value.log2(),
        Scale::Log10 => value.log10(),
    };
    value.is_finite().then_some(value)
}

/// 1, 2 or 5 times a power of ten, so that so many steps are about enough.
fn round_step(span: f64, most: usize) -> f64 {
    let rough = span / most.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|times| times * power >= rough * 0.999);
    times.unwrap_or(10.0) * power
}

fn even(low: f64, high: f64, most: usize) -> (f64, f64, Vec<(f64, String)>) {
    let (low, high) = if low < high {
        (low, high)
    } else {
        // All values are equal: they get some room.
        let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
        (low - if low == 0.0 { 0.0 } else { room }, high + room)
    };
    let step = round_step(high - low, most);
    let (first, last) = ((low / step).floor(), (high / step).ceil());
    let largest = (first * step).abs().max((last * step).abs());
    let (unit, name) = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")]
        .into_iter()
        .find(|(size, _)| largest >= 10.0 * size)
        .unwrap_or((1.0, ""));
    let decimals = (-(step / unit).log10()).ceil().clamp(0.0, 9.0) as usize;
    let label = |value: f64| match (value == 0.0, unit == 1.0 && decimals == 0) {
        (true, _) => "0".to_owned(),
        (_, true) => number(value.round()),
        _ => format!("{:.decimals$}{name}", value / unit),
    };
    let count = (last - first) as usize;
    let ticks = (0..=count).map(|i| (first + i as f64) * step);
    (
        first * step,
        last * step,
        ticks.map(|value| (value, label(value))).collect(),
    )
}

fn doublings(low: f64, high: f64, most: usize) -> (f64, f64, Vec<(f64, String)>) {
    let (first, last) = (low.log2().floor() as i32, high.log2().ceil() as i32);
    let last = last.max(first + 1);
    let every = ((last - first) as usize).div_ceil(most.max(1)).max(1);
    let ticks = (first..=last).step_by(every).map(|power| 2f64.powi(power));
    let ticks = ticks.map(|value| (value, scaled(value))).collect();
    (2f64.powi(first), 2f64.powi(last), ticks)
}

fn decades(low: f64, high: f64, most: usize) -> (f64, f64, Vec<(f64, String)>) {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all: Vec<f64> = powers
        .flat_map(|p| [1.0, 2.0, 5.0].map(|times| times * 10f64.powi(p)))
        .collect();
    // A value on a round number shall not be pushed off it by its last bit.
    let first = all
        .iter()
        .rposition(|value| *value <= low * (1.0 + 1e-9))
        .unwrap_or(0);
    let last = all
        .iter()
        .position(|value| *value >= high * (1.0 - 1e-9))
        .unwrap_or(all.len() - 1);
    let last = last.max(first + 1).min(all.len() - 1);
    let inside = all.get(first..=last).unwrap_or_default();
    let is_power = |value: &&f64| (value.log10() - value.log10().round()).abs() < 1e-9;
    let tens: Vec<f64> = inside.iter().filter(is_power).copied().collect();
    let chosen = if inside.len() <= most + 3 || tens.len() < 2 {
        inside.to_vec()
    } else {
        tens.iter()
            .copied()
            .step_by(tens.len().div_ceil(most + 1))
            .collect()
    };
    let ticks = chosen
        .into_iter()
        .map(|value| (value, scaled(value)))
        .collect();
    let end = |at: usize| all.get(at).copied().unwrap_or(1.0);
    (end(first), end(last), ticks)
}

/// A round number, short.
fn scaled(value: f64) -> String {
    if value < 1.0 {
        // The shortest decimal fraction that is this value, without the error of its making.
        return match value {
            v if v < 1e-4 => format!("{v:.0e}"),
            v => format!("{v:.6}").trim_end_matches('0').to_owned(),
        };
    }
    let units = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    match units
        .into_iter()
        .find(|(size, _)| value >= 10.0 * size && value % size == 0.0)
    {
        Some((size, unit)) => format!("{}{unit}", number(value / size)),
        None => number(value.round()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, values: &[f64]) -> Vec<String> {
        let axis = Axis {
            label: String::new(),
            scale,
        };
        let ruler = Ruler::over(&axis, values.iter().copied(), 0.0, 100.0, 6).unwrap();
        for (value, label) in &ruler.ticks {
            let at = ruler.at(*value).unwrap();
            assert!((-1e-6..=100.0 + 1e-6).contains(&at), "{label} at {at}");
        }
        ruler.ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_hold_all_values() {
        use Scale::*;
        let cases: [(Scale, &[f64], &str); 9] = [
            (Linear, &[3.0, 9_400.0], "0|2 k|4 k|6 k|8 k|10 k"),
            (Linear, &[0.02, 0.14], "0|0.05|0.10|0.15"),
            (Linear, &[-3.0, 4.0], "-4|-2|0|2|4"),
            (Linear, &[0.0], "0|0.2|0.4|0.6|0.8|1.0"),
            (
                LinearFromLowest,
                &[101.0, 103.9],
                "101.0|101.5|102.0|102.5|103.0|103.5|104.0",
            ),
            (Log2, &[1.0, 64.0], "1|2|4|8|16|32|64"),
            (Log2, &[1.0, 4096.0], "1|4|16|64|256|1,024|4,096"),
            (Log10, &[0.4, 30.0], "0.2|0.5|1|2|5|10|20|50"),
            (Log10, &[0.01, 30_000.0], "0.01|0.1|1|10|100|1,000|10 k"),
        ];
        for (scale, values, wanted) in cases {
            assert_eq!(
                labels(scale, values).join("|"),
                wanted,
                "{scale:?} {values:?}"
            );
        }
    }

    #[test]
    fn values_that_an_axis_cannot_show_are_nowhere() {
        let axis = |scale| Axis {
            label: String::new(),
            scale,
        };
        let odd = [f64::NAN, f64::INFINITY, 0.0, -1.0];
        let none = Ruler::over(&axis(Scale::Log10), odd.into_iter(), 0.0, 1.0, 5);
        assert!(none.is_none());
        let some = Ruler::over(
            &axis(Scale::Log2),
            odd.into_iter().chain([8.0]),
            0.0,
            1.0,
            5,
        )
        .unwrap();
        assert_eq!((some.at(0.0), some.at(f64::NAN)), (None, None));
        assert!(some.at(8.0).is_some());
    }

    #[test]
    fn an_axis_of_time_ends_with_its_last_value() {
        let axis = Axis {
            label: String::new(),
            scale: Scale::Linear,
        };
        let ruler = Ruler::up_to_the_last(&axis, &[0.0, 60.4], 0.0, 100.0, 6).unwrap();
        assert_eq!(ruler.at(60.4), Some(100.0));
        assert_eq!(ruler.ticks.last().map(|(_, label)| &**label), Some("60"));
        assert!(
            Ruler::up_to_the_last(&axis, &[-5.0, -5.0], 0.0, 100.0, 6)
                .unwrap()
                .at(-5.0)
                .is_some()
        );
    }

    #[test]
    fn bars_have_room_at_both_ends() {
        let axis = Axis {
            label: String::new(),
            scale: Scale::Linear,
        };
        let (ruler, width) =
            Ruler::under_bars(&axis, &[1.0, 2.0, 3.0, 4.0], 0.0, 100.0, 6).unwrap();
        assert_eq!(
            (ruler.at(1.0), ruler.at(4.0), width),
            (Some(12.5), Some(87.5), 25.0)
        );
        let labels: Vec<&str> = ruler.ticks.iter().map(|(_, label)| &**label).collect();
        assert_eq!(labels, ["1", "2", "3", "4"]);
        let (alone, _) = Ruler::under_bars(&axis, &[8.0], 0.0, 100.0, 6).unwrap();
        assert_eq!((alone.at(8.0), alone.ticks.len()), (Some(50.0), 1));
    }
}
