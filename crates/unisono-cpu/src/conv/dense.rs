//! The convolution as a matrix product: packed weights times gathered panels.
//!
//! A tile is some output channels of one group and some positions of one image. It gathers panels slice by slice (or a few slices at a
//! time) into its scratch memory, and lets all strips of its weights pass over them. Rows of C are planes of the output, so the
//! microkernels write where the result belongs; only passes of a transposed convolution, whose positions lie apart, go through a
//! copy.

use super::gather::{Columns, Planes, fill};
use super::passes::{Lattice, Pass};
use super::{ConvEpilogue, ConvKind, ConvShape, part};
use crate::gemm::microkernel::{Ahead, Ending, Microkernels, Piece, Tile};
use crate::gemm::{Cores, Epilogue, estimated_ns};
use crate::memory::{Seats, SharedMut};

/// Weights (elements per group) up to which strips come from the second-level cache for every panel; beyond it, several panels share
/// each passage of the strips.
const NEAR_WEIGHTS: usize = 160 * 1024;
/// Panels that share a passage of the strips.
const FAR_PANELS: usize = 8;
/// Slices gathered at a time for a single panel.
const NEAR_SLICES: usize = 4;
/// Strips that stay in the second-level cache while panels pass.
const STRIPS_AT_ONCE: usize = 16;
/// Work of a tile below which cutting further does not pay.
const LEAST_TILE_NS: u64 = 12_000;
const TILES_PER_THREAD: usize = 4;

/// How a convolution is cut into tiles; follows from its shape and the number of threads.
pub(super) struct Cut {
    position_tiles: usize,
    strip_tiles: usize,
    /// Panels gathered together.
    panels: usize,
    /// Slices gathered together.
    slices: usize,
    /// Elements of a panel that is gathered at a time.
    panel_area: usize,
    /// Elements of a seat's area.
    pub area: usize,
    estimated_ns: u64,
}

impl Cut {
    pub fn new(cores: Cores<'_>, shape: &ConvShape, kind: &ConvKind, passes: &[Pass]) -> Self {
        let width = Microkernels::of(cores.isa).cols;
        let positions = |pass| Lattice::new(shape, pass, kind.transposed).positions();
        let members = shape.batch * kind.groups;
        let outs = kind.out_per_group();
        let estimated_ns = passes
            .iter()
            .map(|pass| estimated_ns(cores.isa, positions(pass), outs, pass.terms()))
            .sum::<u64>()
            .saturating_mul(members as u64);
        let most_panels = passes
            .iter()
            .map(|pass| positions(pass).div_ceil(width))
            .max()
            .unwrap_or(0)
            .max(1);
        let most_terms = passes.iter().map(Pass::terms).max().unwrap_or(0);
        let strips = passes
            .first()
            .and_then(|pass| pass.weights.first())
            .map_or(1, |weights| weights.strips().max(1));

        let threads = cores.team.threads();
        let wanted = if threads == 1 {
            1
        } else {
            let most = (threads * TILES_PER_THREAD) as u64;
            (estimated_ns / LEAST_TILE_NS).clamp(1, most) as usize
        };
        // Cutting positions gathers nothing twice; cutting channels does.
        let per_member = wanted.div_ceil((members * passes.len()).max(1));
        let position_tiles = per_member.min(most_panels);
        let strip_tiles = per_member.div_ceil(position_tiles).min(strips);

        let far = outs * most_terms > NEAR_WEIGHTS;
        let (panels, slices) = if far {
            (FAR_PANELS.min(most_panels.div_ceil(position_tiles)), 1)
        } else {
            (1, NEAR_SLICES)
        };
        let panel_area = most_terms.min(slices * crate::gemm::SLICE) * width;
        let copy = if kind.transposed {
            panels * width * outs
        } else {
            0
        };
        Self {
            position_tiles,
            strip_tiles,
            panels,
            slices,
            panel_area,
            area: panels * panel_area + copy,
            estimated_ns,
        }
    }
}

/// Runs all tiles. Lengths have been checked.
#[expect(clippy::too_many_arguments, reason = "called from one place")]
pub(super) fn run(
    cores: Cores<'_>,
    shape: &ConvShape,
    kind: &ConvKind,
    passes: &[Pass],
    cut: &Cut,
    x: &[f32],
    y: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
    scratch: &mut [f32],
) {
    let seats = Seats::new(scratch, cores.team.threads(), cut.area);
    let y = SharedMut::new(y);
    let in_plane: usize = shape.input.iter().product();
    let out_plane: usize = shape.output.iter().product();
    let (ins, outs) = (kind.in_per_group(), kind.out_per_group());
    let per_pass = shape.batch * kind.groups * cut.position_tiles * cut.strip_tiles;
    let tiles = passes.len() * per_pass;
    cores.team.run(tiles, cut.estimated_ns, |tile, seat| {
        let (pass, tile) = (&passes[tile / per_pass], tile % per_pass);
        let (tile, positions) = (tile / cut.position_tiles, tile % cut.position_tiles);
        let (member, strips) = (tile / cut.strip_tiles, tile % cut.strip_tiles);
        let (image, group) = (member / kind.groups, member % kind.groups);
        let first_in = (image * shape.in_channels + group * ins) * in_plane;
        let first_out = (image * shape.out_channels + group * outs) * out_plane;
        let finish = epilogue.of_planes(group * outs, first_out, out_plane);
        let part = Part {
            cores,
            cut,
            shape,
            lattice: Lattice::new(shape, pass, kind.transposed),
            pass,
            group,
            planes: Planes {
                data: &x[first_in..first_in + ins * in_plane],
                channels: ins,
                size: shape.input,
            },
            position_tile: positions,
            strip_tile: strips,
            finish,
            // SAFETY: the output holds all planes of every image and group.
            y: unsafe { y.ptr().add(first_out) },
        };
        // SAFETY: a seat has one holder at a time; tiles write disjoint channels, positions or passes of the output.
        unsafe { part.compute(seats.area(seat)) };
    });
}

/// One tile.
struct Part<'a> {
    cores: Cores<'a>,
    cut: &'a Cut,
    shape: &'a ConvShape,
    lattice: Lattice,
    pass: &'a Pass,
    group: usize,
    planes: Planes<'a>,
    position_tile: usize,
    strip_tile: usize,
    finish: Epilogue<'a>,
    /// The first output plane of the image and group.
    y: *mut f32,
}

impl Part<'_> {
    /// # Safety
    /// `y` is writable for all planes of the group at this tile's positions and channels, by this caller alone.
    unsafe fn compute(&self, area: &mut [f32]) {
        let Self {
            cut, lattice, pass, ..
        } = self;
        let kernels = Microkernels::of(self.cores.isa);
        let width = kernels.cols;
        let weights = &pass.weights[self.group];
        let positions = lattice.positions();
        let panels = part(
            self.position_tile,
            positions.div_ceil(width),
            cut.position_tiles,
        );
        let strips = part(self.strip_tile, weights.strips(), cut.strip_tiles);
        if strips.is_empty() || panels.is_empty() {
            return;
        }
        let rows = weights.strip(strips.start, 0).0.start..weights.strip(strips.end - 1, 0).0.end;
        let whole = lattice.is_whole();
        let is_ending = self.finish.is_ending();
        let out_plane: usize = self.shape.output.iter().product();
        let (gathered, copy) = area.split_at_mut(cut.panels * cut.panel_area);
        for first in panels.clone().step_by(cut.panels) {
            let together = first..panels.end.min(first + cut.panels);
            let cols = together.start * width..positions.min(together.end * width);
            // C's element of output channel 0 and position 0, and the distance between channels.
            let (c, c_step) = if whole {
                (self.y, out_plane)
            } else {
                let c_step = cut.panels * width;
                (copy.as_mut_ptr().wrapping_sub(cols.start), c_step)
            };
            if pass.slices.is_empty() {
                for row in rows.clone() {
                    // SAFETY: within the tile's part of C.
                    unsafe {
                        c.wrapping_add(row * c_step + cols.start)
                            .write_bytes(0, cols.len());
                    }
                }
            }
            for (g, group) in pass.slices.chunks(cut.slices).enumerate() {
                let (Some(first_slice), Some(last_slice)) = (group.first(), group.last()) else {
                    break;
                };
                let terms = first_slice.start..last_slice.end;
                for (i, panel) in together.clone().enumerate() {
                    let columns =
                        Columns::new(lattice, panel * width, positions.min((panel + 1) * width));
                    let out = &mut gathered[i * cut.panel_area..][..cut.panel_area];
                    fill(
                        self.cores.isa,
                        pass,
                        &columns,
                        self.planes,
                        terms.clone(),
                        width,
                        out,
                    );
                }
                for (s, slice) in group.iter().enumerate() {
                    let last = slice.end == pass.terms();
                    for some in strips.clone().step_by(STRIPS_AT_ONCE) {
                        for (i, panel) in together.clone().enumerate() {
                            let b = &gathered
                                [i * cut.panel_area + (slice.start - terms.start) * width..];
                            let cols = width.min(positions - panel * width);
                            for strip in some..strips.end.min(some + STRIPS_AT_ONCE) {
                                let (rows, a) = weights.strip(strip, slice.start);
                                let tile_c = c.wrapping_add(rows.start * c_step + panel * width);
                                let tile = Tile {
                                    pieces: &[Piece {
                                        a: 0,
                                        k: slice.len(),
                                    }],
                                    a: a.as_ptr(),
                                    a_row: 1,
                                    a_col: rows.len(),
                                    b: b.as_ptr(),
                                    b_step: width,
                                    b_panel: 0,
                                    ahead: Ahead::nothing(b.as_ptr()),
                                    c: tile_c,
                                    c_step,
                                    before: tile_c,
                                    before_step: c_step,
                                    cols,
                                    first: g == 0 && s == 0,
                                    ending: if last && is_ending {
                                        self.finish.ending(rows.start, panel * width)
                                    } else {
                                        Ending::NONE
                                    },
                                };
                                // SAFETY: the strip and the panel hold the slice's terms, C has the rows and columns, and the instruction
                                // set is available, as `conv` checked.
                                unsafe { kernels.run(&tile, rows.len()) };
                                if last && !is_ending {
                                    let cols = panel * width..panel * width + cols;
                                    // SAFETY: the tile's part of C is ours alone; bias and residual cover the group's channels and
                                    // positions.
                                    unsafe {
                                        self.finish.apply(self.cores.isa, c, c_step, rows, cols)
                                    };
                                }
                            }
                        }
                    }
                }
            }
            if pass.slices.is_empty() {
                // SAFETY: as above.
                unsafe {
                    self.finish
                        .apply(self.cores.isa, c, c_step, rows.clone(), cols.clone());
                }
            }
            if !whole {
                for row in rows.clone() {
                    // SAFETY: the output has a plane for every channel of the group.
                    let plane = unsafe { self.y.add(row * out_plane) };
                    let from = &copy[row * c_step..][..cols.len()];
                    // SAFETY: the lattice lies within the plane; its positions `cols` of this channel are this tile's.
                    unsafe { scatter(lattice, self.shape.output, cols.start, from, plane) };
                }
            }
        }
    }
}

/// Writes the values of the positions from `q` on to where they belong in an output plane of `size`.
///
/// # Safety
/// The lattice lies within the plane, which is writable at these positions.
unsafe fn scatter(
    lattice: &Lattice,
    size: [usize; 3],
    q: usize,
    mut values: &[f32],
    plane: *mut f32,
) {
    let mut at = lattice.unravel(q);
    while !values.is_empty() {
        // As far as the lattice's row goes.
        let (row, rest) = values.split_at(values.len().min(lattice.count[2] - at[2]));
        let [z, y, x]: [usize; 3] =
            std::array::from_fn(|axis| lattice.out_start[axis] + at[axis] * lattice.out_step[axis]);
        let first = (z * size[1] + y) * size[2] + x;
        for (i, &value) in row.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { *plane.add(first + i * lattice.out_step[2]) = value };
        }
        values = rest;
        at[2] = 0;
        at[1] += 1;
        if at[1] == lattice.count[1] {
            at[1] = 0;
            at[0] += 1;
        }
    }
}
