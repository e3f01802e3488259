//! Cholesky factors of small dense matrices, in memory that is used again.
//!
//! The systems of sliding units and of targets are factored thousands of times in a run at sizes of 10 to 200. There the blocked
//! routines of a general library spend more on their own bookkeeping than on the factor, so up to [`IN_PANELS`] rows it is computed
//! in panels that stay in registers; beyond that faer does it. `benches/kernels.rs` compares the two.

use crate::vector::{dot, vectorised};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Accum, MatMut, MatRef, Par};
use std::ops::Range;
use thiserror::Error;

/// Largest size that is factored here rather than by faer.
pub const IN_PANELS: usize = 160;

/// Added to the diagonal of a singular matrix, relative to its largest entry.
const RIDGE: f64 = 1e-13;

/// Columns of a panel, and rows of the blocks in which it is worked on: together they fill the registers of AVX2.
const WIDTH: usize = 4;
const HEIGHT: usize = 8;

/// Rows × columns of a panel.
type Block = [[f64; HEIGHT]; WIDTH];

/// A pivot is not positive, or not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the matrix is not positive definite")]
pub struct NotPositiveDefinite;

/// A lower triangular factor L with A = L Lᵀ.
#[derive(Debug, Clone, Default)]
pub struct Cholesky {
    n: usize,
    /// Distance between columns: n rounded up to whole blocks. Rows and columns beyond n are those of the identity.
    stride: usize,
    lower: Vec<f64>,
    /// For each leading column that couples only to its own block and to the rows after all of them: the end of that block.
    ends: Vec<usize>,
}

impl Cholesky {
    /// Factors A + shift·I for a symmetric A (n × n), of which the lower triangle is read.
    ///
    /// # Errors
    /// When the matrix is not positive definite to rounding; there is no factor then.
    ///
    /// # Panics
    /// When the columns of A are not contiguous.
    pub fn factor(&mut self, a: MatRef<'_, f64>, shift: f64) -> Result<(), NotPositiveDefinite> {
        let n = a.nrows();
        let (lower, stride) = self.room(n);
        for (j, column) in lower.chunks_exact_mut(stride.max(1)).enumerate().take(n) {
            let from = a.col(j).try_as_col_major().expect("columns are contiguous").as_slice();
            column[j..n].copy_from_slice(&from[j..]);
            column[j] += shift;
        }
        self.factor_in_place(&[])
    }

    /// Room for the lower triangle of an n × n matrix, and the distance between its columns; what is in it is left over. To be followed
    /// by [`factor_in_place`](Self::factor_in_place).
    pub fn room(&mut self, n: usize) -> (&mut [f64], usize) {
        (self.n, self.stride) = (n, n.next_multiple_of(HEIGHT));
        self.ends.clear();
        self.lower.resize(self.stride * self.stride, 0.0);
        (&mut self.lower, self.stride)
    }

    /// Factors the matrix whose lower triangle stands in the room. Its first rows are block-diagonal with blocks of the sizes `blocks`:
    /// the entries between different blocks are zero. They cost next to nothing.
    ///
    /// # Errors
    /// When the matrix is not positive definite to rounding; there is no factor then.
    pub fn factor_in_place(&mut self, blocks: &[usize]) -> Result<(), NotPositiveDefinite> {
        let Self { n, stride, lower, ends, .. } = self;
        let (n, stride) = (*n, *stride);
        for (j, column) in lower.chunks_exact_mut(stride.max(1)).enumerate() {
            column[n.max(j)..].fill(0.0);
            if j >= n {
                column[j] = 1.0;
            }
        }
        // Panels start at whole blocks of registers; what is left of the last block counts among the dense rows.
        let from = blocks.iter().sum::<usize>() / HEIGHT * HEIGHT;
        let mut end = 0;
        for size in blocks {
            end += size;
            ends.resize(end.min(from), end.min(from));
        }
        let done = factor_from(lower, (n, stride), ends);
        if done.is_err() {
            self.clear();
        }
        done
    }

    /// Factors the n × n matrix whose lower triangle `fill` writes into columns a given distance apart; see
    /// [`factor_in_place`](Self::factor_in_place) for `blocks`. Where it is singular to rounding, a ridge is added to its diagonal, which picks
    /// nearly the smallest solution; where even that does not help there is no factor. Returns whether it went without.
    pub fn factor_or_ridge(&mut self, n: usize, blocks: &[usize], mut fill: impl FnMut(&mut [f64], usize)) -> bool {
        // A first try without a ridge.
        for ridge in [0.0, RIDGE, 1e3 * RIDGE] {
            let (matrix, stride) = self.room(n);
            fill(matrix, stride);
            let largest = (0..n).map(|j| matrix[j * (stride + 1)]).fold(0.0, f64::max);
            let lift = if largest > 0.0 { ridge * largest } else { 1.0 };
            (0..n).for_each(|j| matrix[j * (stride + 1)] += lift);
            // A pivot at rounding level means that the factor is noise although it exists.
            let is_regular = |factor: &Self| ridge > 0.0 || factor.smallest_pivot().powi(2) > 1e-14 * largest;
            if self.factor_in_place(blocks).is_ok() && is_regular(self) {
                return ridge == 0.0 && largest > 0.0;
            }
        }
        false
    }

    /// Forgets the factor: what remains is that of a matrix without rows.
    pub fn clear(&mut self) {
        (self.n, self.stride) = (0, 0);
        self.ends.clear();
    }

    /// Number of rows.
    pub fn size(&self) -> usize {
        self.n
    }

    /// min L_ii, ∞ without rows.
    pub fn smallest_pivot(&self) -> f64 {
        (0..self.n).map(|j| self.lower[j * (self.stride + 1)]).fold(f64::INFINITY, f64::min)
    }

    /// x ← A⁻¹x.
    ///
    /// # Panics
    /// When x has not n entries.
    pub fn solve(&self, x: &mut [f64]) {
        let n = self.n;
        assert_eq!(x.len(), n, "right-hand side");
        let dense = self.ends.len();
        let column = |j: usize| &self.lower[j * self.stride..j * self.stride + n];
        vectorised!({
            for j in 0..n {
                let l = column(j);
                let (head, tail) = x.split_at_mut(j + 1);
                head[j] /= l[j];
                let pivot = head[j];
                let (own, rest) = rows_below(j, &self.ends, dense);
                for rows in [own, rest] {
                    let tail = &mut tail[rows.start - j - 1..];
                    tail.iter_mut().zip(&l[rows.start..rows.end.min(n)]).for_each(|(x, l)| *x -= pivot * l);
                }
            }
            for j in (0..n).rev() {
                let l = column(j);
                let (own, rest) = rows_below(j, &self.ends, dense);
                let known = dot(&l[own.clone()], &x[own]) + dot(&l[rest.start..n], &x[rest.start..]);
                x[j] = (x[j] - known) / l[j];
            }
        });
    }

    /// Overwrites every column of an n × m matrix B (column-major) by that of A⁻¹B.
    pub fn solve_columns(&self, columns: &mut [f64]) {
        if self.n == 0 {
            return;
        }
        let lower = MatRef::from_column_major_slice_with_stride(&self.lower[..], self.n, self.n, self.stride);
        let m = columns.len() / self.n;
        let mut columns = MatMut::from_column_major_slice_mut(columns, self.n, m);
        solve_lower_triangular_in_place(lower, columns.as_mut(), Par::Seq);
        solve_upper_triangular_in_place(lower.transpose(), columns, Par::Seq);
    }
}

/// Rows below the diagonal of column j that may hold anything: those of its own block, and those after all blocks (to the end).
#[inline(always)]
fn rows_below(j: usize, ends: &[usize], dense: usize) -> (Range<usize>, Range<usize>) {
    match ends.get(j) {
        Some(&end) => (j + 1..end, dense..usize::MAX),
        None => (j + 1..j + 1, j + 1..usize::MAX),
    }
}

/// The factor over the lower triangle, whose first columns belong to blocks that end at `ends`.
fn factor_from(lower: &mut [f64], (n, stride): (usize, usize), ends: &[usize]) -> Result<(), NotPositiveDefinite> {
    let from = ends.len();
    vectorised!(factor_blocks(lower, stride, ends))?;
    if n <= IN_PANELS {
        return vectorised!(factor_in_panels(lower, stride, from, 0));
    }
    let rest = n - from;
    if rest == 0 {
        // Nothing stands behind the last column of the blocks, not even the room that a view of no rows would begin at.
        return Ok(());
    }
    let (leading, trailing) = lower.split_at_mut(from * stride);
    let mut square = MatMut::from_column_major_slice_with_stride_mut(&mut trailing[from..], rest, rest, stride);
    if from > 0 {
        let columns = MatRef::from_column_major_slice_with_stride(&leading[from..], rest, from, stride);
        let (own, whole) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
        let minus = (Accum::Add, -1.0, Par::Seq);
        triangular::matmul(square.as_mut(), own, minus.0, columns, whole, columns.transpose(), whole, minus.1, minus.2);
    }
    if rest <= IN_PANELS {
        return vectorised!(factor_in_panels(lower, stride, from, from));
    }
    let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(rest, Par::Seq, Default::default()));
    let stack = MemStack::new(&mut memory);
    cholesky_in_place(square, Default::default(), Par::Seq, stack, Default::default())
        .map(drop)
        .map_err(|_| NotPositiveDefinite)
}

/// Factors the leading blocks, and solves for the rows after all of them.
#[inline(always)]
fn factor_blocks(lower: &mut [f64], stride: usize, ends: &[usize]) -> Result<(), NotPositiveDefinite> {
    let dense = ends.len();
    let mut begin = 0;
    for (j, &end) in ends.iter().enumerate() {
        let (before, column) = lower.split_at_mut(j * stride);
        for other in before[begin * stride..].chunks_exact(stride) {
            let factor = other[j];
            for rows in [j..end, dense..stride] {
                let (target, other) = (&mut column[rows.clone()], &other[rows]);
                target.iter_mut().zip(other).for_each(|(t, o)| *t -= factor * o);
            }
        }
        let pivot = column[j];
        if pivot.is_nan() || pivot <= 0.0 {
            return Err(NotPositiveDefinite);
        }
        let reciprocal = 1.0 / pivot.sqrt();
        for rows in [j..end, dense..stride] {
            column[rows].iter_mut().for_each(|x| *x *= reciprocal);
        }
        if j + 1 == end {
            begin = end;
        }
    }
    Ok(())
}

/// The factor from column `from` on, panel by panel, each from all columns before; those before `subtracted` have done their part.
#[inline(always)]
fn factor_in_panels(
    lower: &mut [f64],
    stride: usize,
    from: usize,
    subtracted: usize,
) -> Result<(), NotPositiveDefinite> {
    for j in (from..stride).step_by(WIDTH) {
        let (before, panel) = lower.split_at_mut(j * stride);
        let before = &before[subtracted * stride..];
        let first = j / HEIGHT * HEIGHT;
        let mut block = load(panel, stride, first);
        subtract(&mut block, before, stride, first, j);
        let top = Corner::new(&block, j - first)?;
        top.solve(&mut block);
        top.write(&mut block, j - first);
        store(panel, stride, first, &block);
        for i in (first + HEIGHT..stride).step_by(HEIGHT) {
            let mut block = load(panel, stride, i);
            subtract(&mut block, before, stride, i, j);
            top.solve(&mut block);
            store(panel, stride, i, &block);
        }
    }
    Ok(())
}

/// The triangle on the diagonal of a panel, by rows, with the reciprocals of its diagonal.
struct Corner {
    rows: [[f64; WIDTH]; WIDTH],
    reciprocals: [f64; WIDTH],
}

impl Corner {
    /// Factors the rows from `at` on of a block.
    #[inline(always)]
    fn new(block: &Block, at: usize) -> Result<Self, NotPositiveDefinite> {
        let mut rows = [[0.0; WIDTH]; WIDTH];
        let mut reciprocals = [0.0; WIDTH];
        for c in 0..WIDTH {
            for b in 0..=c {
                let rest = (0..b).fold(block[b][at + c], |rest, k| rest - rows[c][k] * rows[b][k]);
                if b < c {
                    rows[c][b] = rest * reciprocals[b];
                } else if rest > 0.0 {
                    rows[c][c] = rest.sqrt();
                    reciprocals[c] = 1.0 / rows[c][c];
                } else {
                    return Err(NotPositiveDefinite);
                }
            }
        }
        Ok(Self { rows, reciprocals })
    }

    /// Solves for the rows of a block below it.
    #[inline(always)]
    fn solve(&self, block: &mut Block) {
        for c in 0..WIDTH {
            let (solved, rest) = block.split_at_mut(c);
            for (b, column) in solved.iter().enumerate() {
                for r in 0..HEIGHT {
                    rest[0][r] -= column[r] * self.rows[c][b];
                }
            }
            rest[0].iter_mut().for_each(|x| *x *= self.reciprocals[c]);
        }
    }

    /// Puts the triangle itself into the rows from `at` on of a block.
    #[inline(always)]
    fn write(&self, block: &mut Block, at: usize) {
        for (c, row) in self.rows.iter().enumerate() {
            for b in 0..=c {
                block[b][at + c] = row[b];
            }
        }
    }
}

#[inline(always)]
fn load(panel: &[f64], stride: usize, i: usize) -> Block {
    std::array::from_fn(|c| std::array::from_fn(|r| panel[c * stride + i + r]))
}

#[inline(always)]
fn store(panel: &mut [f64], stride: usize, i: usize, block: &Block) {
    for (c, column) in block.iter().enumerate() {
        panel[c * stride + i..c * stride + i + HEIGHT].copy_from_slice(column);
    }
}

/// block −= L[i.., ..j]·L[j.., ..j]ᵀ.
#[inline(always)]
fn subtract(block: &mut Block, before: &[f64], stride: usize, i: usize, j: usize) {
    for column in before.chunks_exact(stride) {
        let (rows, tops) = (&column[i..i + HEIGHT], &column[j..j + WIDTH]);
        for c in 0..WIDTH {
            for r in 0..HEIGHT {
                block[c][r] -= rows[r] * tops[c];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faer::{Mat, Side};

    fn matrix(n: usize) -> Mat<f64> {
        let root = Mat::from_fn(n, n, |i, j| ((3 * i + 5 * j + i * j) as f64).sin());
        &root * root.transpose() + Mat::<f64>::identity(n, n)
    }

    #[test]
    fn factors_equal_those_of_faer_and_solve() {
        let mut cholesky = Cholesky::default();
        for n in (1..40).chain([80, 100, IN_PANELS - 1, IN_PANELS, IN_PANELS + 1, 200]) {
            let matrix = matrix(n);
            let shift = 0.5;
            let lifted = &matrix + faer::Scale(shift) * Mat::<f64>::identity(n, n);
            // What stands above the diagonal is not looked at.
            let half = Mat::from_fn(n, n, |i, j| if i >= j { matrix[(i, j)] } else { f64::NAN });
            cholesky.factor(half.as_ref(), shift).expect("positive definite");
            let expected = lifted.llt(Side::Lower).expect("positive definite");
            // Eigenvalues lie in [1, 2 + n²], so that the condition number is at most that.
            let tol = 1e2 * (n * n + 2) as f64 * f64::EPSILON;
            for j in 0..n {
                for i in j..n {
                    let l = cholesky.lower[j * cholesky.stride + i];
                    assert!((l - expected.L()[(i, j)]).abs() < tol, "n = {n}: L[{i}, {j}] = {l}");
                }
            }
            let smallest = (0..n).map(|i| expected.L()[(i, i)]).fold(f64::INFINITY, f64::min);
            assert!((cholesky.smallest_pivot() - smallest).abs() < tol, "n = {n}");

            let x: Vec<f64> = (0..3 * n).map(|k| (k as f64).cos()).collect();
            let image = |x: &[f64]| (0..n).map(|i| (0..n).map(|j| lifted[(i, j)] * x[j]).sum()).collect::<Vec<f64>>();
            let mut all: Vec<f64> = x.chunks_exact(n).flat_map(image).collect();
            let mut one = all[..n].to_vec();
            cholesky.solve(&mut one);
            cholesky.solve_columns(&mut all);
            assert!(one.iter().zip(&x).all(|(a, b)| (a - b).abs() < tol), "n = {n}");
            assert!(all.iter().zip(&x).all(|(a, b)| (a - b).abs() < tol), "n = {n}");
        }
    }

    #[test]
    fn leading_blocks_change_no_factor() {
        let mut cholesky = Cholesky::default();
        let many = vec![5; 40];
        let cases: [(&[usize], usize); 9] = [
            (&[1], 0),
            (&[3, 1, 2], 0),
            (&[3, 1, 2], 5),
            (&[8], 8),
            (&[2, 2, 2, 2, 2, 2, 2], 20),
            (&[7, 4, 1, 9, 3], 61),
            (&many, 30),
            (&many[..20], 100),
            (&many, 210),
        ];
        for (blocks, dense) in cases {
            let n = blocks.iter().sum::<usize>() + dense;
            let block: Vec<usize> = blocks.iter().enumerate().flat_map(|(k, size)| vec![k; *size]).collect();
            let mut dominant = matrix(n);
            for j in 0..n {
                for i in (0..n).filter(|&i| i != j && i.max(j) < block.len() && block[i] != block[j]) {
                    dominant[(i, j)] = 0.0;
                }
                // Gershgorin: definite whatever was left out.
                dominant[(j, j)] += (n * n) as f64;
            }
            let (room, stride) = cholesky.room(n);
            room.fill(f64::NAN);
            for j in 0..n {
                (j..n).for_each(|i| room[j * stride + i] = dominant[(i, j)]);
            }
            cholesky.factor_in_place(blocks).expect("positive definite");
            let expected = dominant.llt(Side::Lower).expect("positive definite");
            let tol = 1e2 * (n * n) as f64 * f64::EPSILON;
            for j in 0..n {
                for i in j..n {
                    let l = cholesky.lower[j * stride + i];
                    assert!((l - expected.L()[(i, j)]).abs() < tol, "{blocks:?} + {dense}: L[{i}, {j}] = {l}");
                }
            }
            let x: Vec<f64> = (0..n).map(|k| (k as f64).cos()).collect();
            let image: Vec<f64> = (0..n).map(|i| (0..n).map(|j| dominant[(i, j)] * x[j]).sum()).collect();
            let (mut one, mut columns) = (image.clone(), image);
            cholesky.solve(&mut one);
            cholesky.solve_columns(&mut columns);
            assert!(one.iter().zip(&x).all(|(a, b)| (a - b).abs() < tol), "{blocks:?} + {dense}");
            assert!(columns.iter().zip(&x).all(|(a, b)| (a - b).abs() < tol), "{blocks:?} + {dense}");
        }
    }

    /// The factor by its definition, row by row; entries above the diagonal are left at zero.
    fn naive_factor(matrix: &Mat<f64>) -> Mat<f64> {
        let n = matrix.nrows();
        let mut lower = Mat::<f64>::zeros(n, n);
        for i in 0..n {
            for j in 0..=i {
                let rest = (0..j).fold(matrix[(i, j)], |rest, k| rest - lower[(i, k)] * lower[(j, k)]);
                lower[(i, j)] = if i == j { rest.sqrt() } else { rest / lower[(j, j)] };
            }
        }
        lower
    }

    /// Columns of a panel, rows of a block, and the size from which on another library factors the rest: sums of blocks and numbers of rows behind them
    /// one below, at and above each, so that no row, some, and whole blocks of them are left over on either side of every border.
    #[test]
    fn factors_equal_the_naive_one_for_blocks_that_end_around_every_border() {
        let around = |sizes: &[usize]| sizes.iter().flat_map(|s| s - 1..=s + 1).collect::<Vec<usize>>();
        let sums = around(&[1, WIDTH, HEIGHT, 2 * HEIGHT, IN_PANELS, IN_PANELS + HEIGHT]);
        let behind = around(&[1, WIDTH, HEIGHT, IN_PANELS]);
        let mut cholesky = Cholesky::default();
        for &sum in &sums {
            for &dense in &behind {
                for size in [1, 3, HEIGHT, HEIGHT + 5, 500] {
                    let blocks: Vec<usize> = (0..sum).step_by(size).map(|at| size.min(sum - at)).collect();
                    compare_with_naive(&mut cholesky, &blocks, dense);
                }
            }
        }
    }

    fn compare_with_naive(cholesky: &mut Cholesky, blocks: &[usize], dense: usize) {
        let n = blocks.iter().sum::<usize>() + dense;
        let block: Vec<usize> = blocks.iter().enumerate().flat_map(|(k, size)| vec![k; *size]).collect();
        let couples = |i: usize, j: usize| i.max(j) >= block.len() || block[i] == block[j];
        let entry = |i: usize, j: usize| ((3 * (i + j) + 5 * i * j) as f64).sin();
        // Gershgorin: the diagonal exceeds the n − 1 other entries of at most 1, and the condition number is at most 3.
        let matrix = Mat::from_fn(n, n, |i, j| match (i == j, couples(i, j)) {
            (true, _) => 2.0 * n as f64,
            (false, true) => entry(i, j),
            (false, false) => 0.0,
        });
        let (room, stride) = cholesky.room(n);
        room.fill(f64::NAN);
        for j in 0..n {
            (j..n).for_each(|i| room[j * stride + i] = matrix[(i, j)]);
        }
        cholesky.factor_in_place(blocks).expect("positive definite");
        let expected = naive_factor(&matrix);
        // Each entry is a sum of up to n products that together are no larger than the diagonal.
        let tol = (n as f64).powf(1.5) * f64::EPSILON;
        for j in 0..n {
            for i in j..n {
                let (l, expected) = (cholesky.lower[j * stride + i], expected[(i, j)]);
                assert!((l - expected).abs() <= tol, "{blocks:?} + {dense}: L[{i}, {j}] = {l}, not {expected}");
            }
        }
        let x: Vec<f64> = (0..n).map(|k| (k as f64).cos()).collect();
        let image: Vec<f64> = (0..n).map(|i| (0..n).map(|j| matrix[(i, j)] * x[j]).sum()).collect();
        let (mut one, mut columns) = (image.clone(), image);
        cholesky.solve(&mut one);
        cholesky.solve_columns(&mut columns);
        for solution in [&one, &columns] {
            let error = solution.iter().zip(&x).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(error <= 8.0 * tol, "{blocks:?} + {dense}: off by {error:e}");
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        let mut cholesky = Cholesky::default();
        for n in [1, 2, 5, 8, 13, 40, IN_PANELS + 10] {
            let good = matrix(n);
            for at in [0, n / 2, n - 1] {
                for bad in [-1.0, 0.0, f64::NAN] {
                    let mut matrix = good.clone();
                    matrix[(at, at)] = bad;
                    assert_eq!(
                        cholesky.factor(matrix.as_ref(), 0.0),
                        Err(NotPositiveDefinite),
                        "n = {n}, {bad} at {at}"
                    );
                    assert_eq!(cholesky.size(), 0);
                }
            }
            // A shift makes any finite symmetric matrix definite, or takes it away.
            assert!(cholesky.factor(good.as_ref(), -2.0 * (n * n + 1) as f64).is_err());
            assert!(cholesky.factor(good.as_ref(), 0.0).is_ok());
            assert_eq!(cholesky.size(), n);
        }
    }

    #[test]
    fn a_matrix_without_rows_has_an_empty_factor() {
        let mut cholesky = Cholesky::default();
        assert!(cholesky.factor(Mat::<f64>::zeros(0, 0).as_ref(), 1.0).is_ok());
        cholesky.solve(&mut []);
        cholesky.solve_columns(&mut []);
        assert_eq!(cholesky.smallest_pivot(), f64::INFINITY);
    }
}
