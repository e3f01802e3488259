//! The inverse of a symmetric positive definite matrix from which rows come and go.

use crate::cholesky::Cholesky;
use crate::ode::stride::quadrature::Quadratic;
use crate::vector::{dot, vectorised};

/// A⁻¹ by rows. A row of A that goes is replaced by the last one.
#[derive(Debug, Clone, Default)]
pub struct Inverse {
    n: usize,
    /// More than n where there have been more.
    rows: Vec<Vec<f64>>,
}

impl Inverse {
    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.n = 0;
    }

    /// A row, which is a column as well.
    pub fn row(&self, k: usize) -> &[f64] {
        &self.rows[k]
    }

    /// out = A⁻¹v.
    pub fn times(&self, v: &[f64], out: &mut Vec<f64>) {
        out.resize(self.n, 0.0);
        vectorised!(out.iter_mut().zip(&self.rows).for_each(|(o, row)| *o = dot(row, v)));
    }

    /// out = A⁻¹v for three vectors at once.
    pub fn times_each(&self, v: &[Vec<f64>; 3], out: &mut Vec<Quadratic>) {
        out.resize(self.n, [0.0; 3]);
        let [a, b, c] = v;
        vectorised!(out.iter_mut().zip(&self.rows).for_each(|(o, row)| *o = [dot(row, a), dot(row, b), dot(row, c)]));
    }

    /// A gets a last row (b, d): u = A⁻¹b, and `pivot` = d − b·u.
    pub fn border(&mut self, u: &[f64], pivot: f64) {
        let n = self.n;
        if self.rows.len() == n {
            self.rows.push(Vec::new());
        }
        let (rows, rest) = self.rows.split_at_mut(n);
        vectorised!(for (row, u_k) in rows.iter_mut().zip(u) {
            let factor = u_k / pivot;
            row.iter_mut().zip(u).for_each(|(x, u)| *x += factor * u);
            row.push(-factor);
        });
        let own = &mut rest[0];
        own.clear();
        own.extend(u.iter().map(|u| -u / pivot));
        own.push(1.0 / pivot);
        self.n += 1;
    }

    /// A loses row k, and the last row takes its place; false when the pivot is lost in rounding, and the inverse with it.
    pub fn reduce(&mut self, k: usize) -> bool {
        let last = self.n - 1;
        let own = std::mem::take(&mut self.rows[k]);
        let pivot = own[k];
        vectorised!(for (j, row) in self.rows[..self.n].iter_mut().enumerate().filter(|(j, _)| *j != k) {
            let factor = own[j] / pivot;
            row.iter_mut().zip(&own).for_each(|(x, o)| *x -= factor * o);
        });
        self.rows[k] = own;
        self.rows.swap(k, last);
        self.rows[..last].iter_mut().for_each(|row| {
            row.swap_remove(k);
        });
        self.n = last;
        pivot > 0.0 && pivot.is_finite()
    }

    /// A⁻¹ += factor·ppᵀ.
    pub fn add_outer(&mut self, p: &[f64], factor: f64) {
        vectorised!(for (row, p_k) in self.rows[..self.n].iter_mut().zip(p) {
            let factor = factor * p_k;
            row.iter_mut().zip(p).for_each(|(x, p)| *x += factor * p);
        });
    }

    /// The inverse of an n × n matrix whose lower triangle `fill` writes into columns a given distance apart, by a factor with a ridge where
    /// the matrix is singular; NaN where that does not help.
    pub fn make(&mut self, n: usize, factor: &mut Cholesky, fill: impl FnMut(&mut [f64], usize)) {
        self.n = n;
        self.rows.resize_with(self.rows.len().max(n), Vec::new);
        if n == 0 {
            return;
        }
        factor.factor_or_ridge(n, &[], fill);
        let mut whole = vec![0.0; n * n];
        (0..n).for_each(|j| whole[j * (n + 1)] = 1.0);
        if factor.size() == n {
            factor.solve_columns(&mut whole);
        } else {
            whole.fill(f64::NAN);
        }
        for (row, from) in self.rows.iter_mut().zip(whole.chunks_exact(n)) {
            row.clear();
            row.extend_from_slice(from);
        }
    }
}
