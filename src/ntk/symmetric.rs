//! Products with a symmetric matrix of which only the lower triangle is there: half the memory to read.

use crate::vector::vectorised;
use faer::MatRef;

/// Columns whose triangle on the diagonal is done apart, so that all else comes in whole vectors.
const BLOCK: usize = 8;

/// Independent partial sums of each dot product; the order of summation depends on nothing else.
const LANES: usize = 8;

/// y = Gx for a symmetric G (n × n), of which the lower triangle is read.
///
/// # Panics
/// When the columns of G are not contiguous, or x or y has not n entries.
pub fn product(gram: MatRef<'_, f64>, x: &[f64], y: &mut [f64]) {
    let n = gram.nrows();
    assert!(x.len() == n && y.len() == n, "vectors of {n} entries");
    let column = |j: usize| gram.col(j).try_as_col_major().expect("columns are contiguous").as_slice();
    y.fill(0.0);
    vectorised!({
        for start in (0..n).step_by(BLOCK) {
            let end = (start + BLOCK).min(n);
            let (head, tail) = y.split_at_mut(end);
            for j in start..end {
                let column = &column(j)[..n];
                head[j] += column[j] * x[j];
                for r in j + 1..end {
                    head[r] += column[r] * x[j];
                    head[j] += column[r] * x[r];
                }
                head[j] += add_column(&column[end..], x[j], &x[end..], tail);
            }
        }
    });
}

/// Adds `factor` times a column to y, and returns its product with x.
#[inline(always)]
fn add_column(column: &[f64], factor: f64, x: &[f64], y: &mut [f64]) -> f64 {
    let ((columns, column), (xs, x)) = (column.as_chunks::<LANES>(), x.as_chunks::<LANES>());
    let (ys, y) = y.as_chunks_mut::<LANES>();
    let mut lanes = [0.0; LANES];
    for ((column, x), y) in columns.iter().zip(xs).zip(ys) {
        for k in 0..LANES {
            y[k] += column[k] * factor;
        }
        for k in 0..LANES {
            lanes[k] += column[k] * x[k];
        }
    }
    let mut rest = 0.0;
    for ((column, x), y) in column.iter().zip(x).zip(y) {
        *y += column * factor;
        rest += column * x;
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use faer::Mat;

    #[test]
    fn the_lower_triangle_is_enough_at_every_size() {
        for n in 0..30 {
            // Small integers: exact in any order. What stands above the diagonal must not matter.
            let entry = |i: usize, j: usize| ((i * j + 3 * (i + j)) % 11) as f64 - 5.0;
            let gram = Mat::from_fn(n, n, |i, j| if i >= j { entry(i, j) } else { f64::NAN });
            let x: Vec<f64> = (0..n).map(|k| (k * 7 % 13) as f64 - 6.0).collect();
            let mut y = vec![f64::NAN; n];
            product(gram.as_ref(), &x, &mut y);
            let naive: Vec<f64> = (0..n).map(|i| (0..n).map(|j| entry(i, j) * x[j]).sum()).collect();
            assert_eq!(y, naive, "n = {n}");
        }
    }
}
