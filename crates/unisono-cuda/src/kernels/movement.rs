//! Launches of `kernels/movement.cu`: elements moved by their size alone.

use smallvec::SmallVec;
use unisono_cpu::movement::{Side, inside};
use unisono_tensor::DType;

use super::map::{Args, Axis, Broadcast, MAX_AXES, MAX_ELEMENTS, Words, elements, merge};
use crate::launch::{Arg, Buffer, Launch, Place};

/// Rows and columns from which on a plane is turned through shared memory.
const LEAST: usize = 8;
/// Rows and columns of a tile.
const TILE: usize = 32;
/// Tiles along y that a grid has at most; a block takes several where there are more.
const MOST_TILES: usize = 65_535;

/// A copy along the axes of `shape` of elements of `size` bytes, each side by its own steps. No two positions may be the same element of
/// `y`. `None` if a side would be left, or if there are too many axes or elements; nothing is launched for an empty shape.
pub fn copy(
    size: usize,
    shape: &[usize],
    (x, from): (Buffer, Side<'_>),
    (y, to): (Buffer, Side<'_>),
) -> Option<Option<Launch>> {
    if shape.contains(&0) {
        return Some(None);
    }
    let fits = shape.len() == from.steps.len()
        && shape.len() == to.steps.len()
        && inside(shape, from)
        && inside(shape, to)
        && from.len <= MAX_ELEMENTS
        && to.len <= MAX_ELEMENTS;
    let n = elements(shape).filter(|_| fits)?;
    let behind = |first: isize| usize::try_from(first).ok()?.checked_mul(size);
    let (x, y) = (x.plus(behind(from.first)?), y.plus(behind(to.first)?));
    let mut axes: SmallVec<[Axis<2>; MAX_AXES]> = merge(shape, [from.steps, to.steps])?;
    if let Some(column) = column(&axes).filter(|_| size <= 8) {
        axes.swap(1, column);
        axes.swap(0, 1);
        return Some(Some(turn(size, &axes, x, y)?));
    }
    let unit = widen(size, &mut axes, [x, y]);
    let n = n * size / unit;
    let kernel = sized(
        unit,
        [
            "unisono_move_1",
            "unisono_move_2",
            "unisono_move_4",
            "unisono_move_8",
            "unisono_move_16",
        ],
    )?;
    let args = Args::buffers([x, y]).size(n)?.arg(nest(&axes)?);
    Some(Some(args.flat(kernel, n, 1)?))
}

/// The axis along which elements lie side by side in the source, if that is another than the first one, along which they do in the
/// destination, and both are long enough for tiles.
fn column(axes: &[Axis<2>]) -> Option<usize> {
    let row = axes
        .first()
        .filter(|a| a.steps[1] == 1 && a.steps[0] != 1)?;
    let column = axes.iter().position(|a| a.steps[0] == 1)?;
    (row.len >= LEAST && axes[column].len >= LEAST).then_some(column)
}

/// Planes turned: along the first axis elements lie side by side in the source, along the second in the destination.
fn turn(size: usize, axes: &[Axis<2>], x: Buffer, y: Buffer) -> Option<Launch> {
    let kernel = sized(
        size,
        [
            "unisono_turn_1",
            "unisono_turn_2",
            "unisono_turn_4",
            "unisono_turn_8",
            "",
        ],
    )?;
    let planes: usize = axes.iter().skip(2).map(|axis| axis.len).product();
    let (cols, rows) = (axes.first()?.len, axes.get(1)?.len);
    let tiles = planes * rows.div_ceil(TILE);
    let args = Args::buffers([x, y]).size(planes)?.arg(nest(axes)?);
    let mut launch = args.launch(kernel, cols.div_ceil(TILE), [TILE as u32, 8, 1])?;
    launch.grid[1] = tiles.min(MOST_TILES) as u32;
    Some(launch)
}

/// Takes several elements that lie side by side on both sides as one, and gives the size of that. Buffers begin at multiples of 16 bytes
/// but for their offsets.
fn widen(size: usize, axes: &mut [Axis<2>], buffers: [Buffer; 2]) -> usize {
    let Some((run, rest)) = axes.split_first_mut() else {
        return size;
    };
    if run.steps != [1, 1] {
        return size;
    }
    let divides = |unit: usize| {
        let of_step = |step: isize| step.unsigned_abs() * size;
        (run.len * size).is_multiple_of(unit)
            && buffers.iter().all(|b| b.offset.is_multiple_of(unit))
            && rest
                .iter()
                .flat_map(|axis| axis.steps)
                .all(|step| of_step(step).is_multiple_of(unit))
    };
    let unit = [16, 8, 4, 2].into_iter().find(|&u| u > size && divides(u));
    let Some(unit) = unit else {
        return size;
    };
    run.len = run.len * size / unit;
    let ratio = (unit / size) as isize;
    for axis in rest {
        axis.steps = axis.steps.map(|step| step / ratio);
    }
    unit
}

/// `UnisonoMove`.
fn nest(axes: &[Axis<2>]) -> Option<Arg> {
    let mut words = Words::default();
    words.size(axes.len())?;
    words.sizes(axes.iter().map(|axis| axis.len))?;
    words.steps(axes.iter().map(|axis| axis.steps[0]))?;
    words.steps(axes.iter().map(|axis| axis.steps[1]))?;
    Some(words.arg())
}

/// The kernel for units of 1, 2, 4, 8 or 16 bytes.
fn sized(size: usize, kernels: [&'static str; 5]) -> Option<&'static str> {
    let at = size.checked_ilog2().filter(|_| size.is_power_of_two())?;
    kernels
        .get(at as usize)
        .copied()
        .filter(|kernel| !kernel.is_empty())
}

/// What stands outside of padded data; the numbers are those of `kernels/movement.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Padding {
    /// One element.
    Constant = 0,
    /// The data mirrored at the middle of its edge.
    Reflect = 1,
    /// The edge.
    Edge = 2,
    /// The data from its other end.
    Wrap = 3,
}

/// Data of shape `from` in an output of shape `to`, `before` elements behind its beginning along each axis. `value`, for
/// [`Padding::Constant`], is one element; zeros without it.
pub fn pad(
    size: usize,
    mode: Padding,
    (x, from): (Buffer, &[usize]),
    (y, to): (Buffer, &[usize]),
    before: &[i64],
    value: Option<Buffer>,
) -> Option<Launch> {
    let kernel = sized(
        size,
        [
            "unisono_pad_1",
            "unisono_pad_2",
            "unisono_pad_4",
            "unisono_pad_8",
            "",
        ],
    )?;
    if from.len() != to.len() || before.len() != to.len() {
        return None;
    }
    let n = elements(to)?;
    elements(from).filter(|&n| n > 0 || mode == Padding::Constant)?;
    let mut words = Words::default();
    words
        .size(to.len())?
        .push((mode as i32).cast_unsigned())
        .sizes(from.iter().rev().copied())?
        .sizes(to.iter().rev().copied())?;
    let before: Option<SmallVec<[isize; 8]>> = before
        .iter()
        .rev()
        .map(|&n| isize::try_from(n).ok())
        .collect();
    words.steps(before?)?;
    let args = Args::buffers([x, y]).buffer(value).size(n)?;
    args.arg(words.arg()).flat(kernel, n, 1)
}

/// How slices are picked along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picks {
    /// What is before the axis.
    pub outer: usize,
    /// The axis' length.
    pub len: usize,
    /// Bytes of a slice.
    pub slice: usize,
    /// How many indices there are.
    pub picks: usize,
}

/// `y[o, k] = x[o, indices[k]]`, slice by slice; indices are i64 or i32. One outside of the axis is noted in [`Place::Status`].
pub fn gather(
    picks: Picks,
    x: Buffer,
    (indices, dtype): (Buffer, DType),
    y: Buffer,
) -> Option<Launch> {
    let Picks {
        outer,
        len,
        slice,
        picks,
    } = picks;
    let divides = |unit: &usize| {
        [slice, x.offset, y.offset]
            .iter()
            .all(|n| n.is_multiple_of(*unit))
    };
    let unit = [16, 8, 4, 2, 1].into_iter().find(divides)?;
    let wide = [
        "unisono_gather_i64_1",
        "unisono_gather_i64_2",
        "unisono_gather_i64_4",
        "unisono_gather_i64_8",
        "unisono_gather_i64_16",
    ];
    let narrow = [
        "unisono_gather_i32_1",
        "unisono_gather_i32_2",
        "unisono_gather_i32_4",
        "unisono_gather_i32_8",
        "unisono_gather_i32_16",
    ];
    let kernel = match dtype {
        DType::I64 => sized(unit, wide)?,
        DType::I32 => sized(unit, narrow)?,
        _ => return None,
    };
    let slice = slice / unit;
    elements(&[outer, len, slice])?;
    let n = elements(&[outer, picks, slice])?;
    let args = Args::buffers([x, indices, y, Buffer::at(Place::Status)]);
    args.size(n)?
        .size(picks)?
        .size(len)?
        .size(slice)?
        .flat(kernel, n, 1)
}

/// `y[i, .., k] = x[i, .., indices[i, .., k]]`, element by element: `places` has the output's shape with the steps of `x`, 0 along the axis,
/// whose length and step are `len` and `step`.
pub fn gather_elements(
    size: usize,
    x: Buffer,
    (indices, dtype): (Buffer, DType),
    y: Buffer,
    [len, step]: [usize; 2],
    places: &Broadcast<1>,
) -> Option<Launch> {
    let wide = [
        "unisono_gather_elements_i64_1",
        "unisono_gather_elements_i64_2",
        "unisono_gather_elements_i64_4",
        "unisono_gather_elements_i64_8",
        "",
    ];
    let narrow = [
        "unisono_gather_elements_i32_1",
        "unisono_gather_elements_i32_2",
        "unisono_gather_elements_i32_4",
        "unisono_gather_elements_i32_8",
        "",
    ];
    let kernel = match dtype {
        DType::I64 => sized(size, wide)?,
        DType::I32 => sized(size, narrow)?,
        _ => return None,
    };
    let n = places.elements;
    let args = Args::buffers([x, indices, y, Buffer::at(Place::Status)]);
    let args = args.size(n)?.size(len)?.size(step)?;
    args.arg(places.map(0)?)
        .arg(places.axes()?)
        .flat(kernel, n, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_cpu::movement::steps;

    const X: Buffer = Buffer::at(Place::Input(0));
    const Y: Buffer = Buffer::at(Place::Output(0));

    /// The launch of a copy of a dense tensor with its axes in another order.
    fn transposed(size: usize, shape: &[usize], perm: &[usize]) -> Launch {
        let own = steps(shape);
        let out: Vec<usize> = perm.iter().map(|&a| shape[a]).collect();
        let from: Vec<isize> = perm.iter().map(|&a| own[a]).collect();
        let len = shape.iter().product();
        let side = |steps| Side {
            steps,
            first: 0,
            len,
        };
        let to = steps(&out);
        copy(size, &out, (X, side(&from)), (Y, side(&to)))
            .unwrap()
            .unwrap()
    }

    #[test]
    fn planes_are_turned_in_tiles_and_runs_are_moved_in_wide_units() {
        let turned = transposed(4, &[5, 40, 70], &[0, 2, 1]);
        assert_eq!(turned.kernel, "unisono_turn_4");
        assert_eq!(turned.grid, [70usize.div_ceil(32) as u32, 5 * 2, 1]);
        let heads = transposed(4, &[2, 10, 4, 32], &[0, 2, 1, 3]);
        assert_eq!(heads.kernel, "unisono_move_16");
        assert_eq!(heads.grid, [(2560usize / 4).div_ceil(256) as u32, 1, 1]);
        assert_eq!(
            transposed(4, &[2, 3, 4, 31], &[0, 2, 1, 3]).kernel,
            "unisono_move_4"
        );
        assert_eq!(transposed(4, &[9, 3], &[1, 0]).kernel, "unisono_move_4");
    }

    #[test]
    fn a_copy_that_would_leave_a_side_has_no_launch() {
        let side = |steps, first, len| Side { steps, first, len };
        let try_copy = |from, to| copy(4, &[3], (X, from), (Y, to));
        assert!(try_copy(side(&[1], 0, 3), side(&[1], 0, 3)).is_some());
        assert!(try_copy(side(&[1], 1, 3), side(&[1], 0, 3)).is_none());
        assert!(try_copy(side(&[1], 0, 3), side(&[2], 0, 3)).is_none());
        assert!(try_copy(side(&[-1], 1, 3), side(&[1], 0, 3)).is_none());
        assert!(try_copy(side(&[-1], 2, 3), side(&[1], 0, 3)).is_some());
        assert_eq!(
            copy(4, &[0], (X, side(&[1], 0, 0)), (Y, side(&[1], 0, 0))),
            Some(None)
        );
    }

    #[test]
    fn units_fit_the_offsets_of_both_sides() {
        let dense = Side {
            steps: &[1],
            first: 0,
            len: 64,
        };
        for (offset, kernel) in [
            (0, "unisono_move_16"),
            (8, "unisono_move_8"),
            (4, "unisono_move_4"),
        ] {
            let launch = copy(4, &[64], (X.plus(offset), dense), (Y, dense));
            assert_eq!(launch.unwrap().unwrap().kernel, kernel);
        }
        let picks = Picks {
            outer: 1,
            len: 10,
            slice: 24,
            picks: 3,
        };
        let launch = gather(picks, X, (X, DType::I64), Y).unwrap();
        assert_eq!(launch.kernel, "unisono_gather_i64_8");
        assert!(gather(picks, X, (X, DType::U8), Y).is_none());
    }
}
