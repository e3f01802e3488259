//! G(t) = J Jᵀ at the last evaluation of a flow field, with effective slopes at sliding units.
//!
//! Samples with identical inputs are merged by the field; their rows are weighted by √multiplicity here, which leaves the non-zero
//! spectrum of the full nM × nM matrix unchanged (the rest of it is exactly zero).

use super::extremes::Extremes;
use crate::flow::{FlowField, OutputGram};
use crate::net::{JacobianMark, mirror};
use crate::vector::{distance_squared, dot, vectorised};
use faer::{Mat, MatRef};

/// Computes Gram matrices and, on demand, Jacobians.
#[derive(Debug, Clone, Default)]
pub struct GramEvaluator {
    outputs: OutputGram,
    /// The one before, if it was kept.
    kept: Vec<f64>,
    extremes: Extremes,
}

impl GramEvaluator {
    /// G_s at the field's last evaluation: (n_u·M) × (n_u·M) for n_u distinct inputs, rows sample by sample.
    pub fn gram(&mut self, field: &FlowField) -> MatRef<'_, f64> {
        self.visit(field);
        self.lower_here(field);
        let size = field.batch().n_outputs();
        mirror(self.outputs.lower_mut(), size);
        MatRef::from_column_major_slice(self.outputs.lower(), size, size)
    }

    /// [`gram`](Self::gram) of which only the lower triangle has a meaning, and warm starts for its extreme eigenvalues.
    pub fn lower(&mut self, field: &FlowField) -> (MatRef<'_, f64>, &mut Extremes) {
        self.visit(field);
        self.lower_here(field)
    }

    /// The seeds of all outputs at the field's last evaluation: what the methods below start from.
    pub fn visit(&mut self, field: &FlowField) {
        self.outputs.visit(field);
    }

    /// [`lower`](Self::lower) where the field's last evaluation has been visited.
    pub fn lower_here(&mut self, field: &FlowField) -> (MatRef<'_, f64>, &mut Extremes) {
        self.outputs.form(field);
        let (size, data) = (field.batch().n_outputs(), field.data());
        if data.has_duplicates() {
            let root = |k: usize| data.weight[k / data.n_outputs].sqrt();
            for (q, column) in self.outputs.lower_mut().chunks_exact_mut(size).enumerate() {
                column.iter_mut().enumerate().skip(q).for_each(|(p, g)| *g *= root(p) * root(q));
            }
        }
        (MatRef::from_column_major_slice(self.outputs.lower(), size, size), &mut self.extremes)
    }

    /// JᵀJ (P × P) at the point visited: the same non-zero spectrum in a smaller matrix where P < nM.
    pub fn parameter_gram(&mut self, field: &FlowField) -> Mat<f64> {
        let jacobian = self.jacobian_transposed(field);
        &jacobian * jacobian.transpose()
    }

    /// Remembers the point visited.
    pub fn mark(&self, field: &FlowField, mark: &mut JacobianMark) {
        mark.set(field.batch(), field.forward().1, self.outputs.probes());
    }

    /// A bound on ‖J − J₀‖₂ from above, with J at the point visited and J₀ at `mark`. Rows are not weighted: inputs have to be distinct.
    pub fn distance(&self, field: &FlowField, mark: &mut JacobianMark) -> f64 {
        mark.distance(field.batch(), field.forward().1, self.outputs.probes())
    }

    /// ‖J‖_F² at the last Gram matrix, which is its trace.
    pub fn trace(&self) -> f64 {
        let gram = self.outputs.lower();
        gram.iter().step_by(gram.len().isqrt() + 1).sum()
    }

    /// Keeps the last Gram matrix.
    pub fn keep(&mut self) {
        std::mem::swap(self.outputs.lower_mut(), &mut self.kept);
    }

    /// (‖G − G₀‖_F², ‖G₀‖_F²) for the last Gram matrix G and G₀, the one that was kept before it; (∞, 0) without one.
    pub fn moved(&self) -> (f64, f64) {
        let gram = self.outputs.lower();
        let n = gram.len().isqrt();
        if self.kept.len() != gram.len() || n == 0 {
            return (f64::INFINITY, 0.0);
        }
        vectorised!({
            let columns = gram.chunks_exact(n).zip(self.kept.chunks_exact(n)).enumerate();
            columns.fold((0.0, 0.0), |(moved, size), (j, (now, before))| {
                // Entries below the diagonal count twice.
                let moved_here = 2.0 * distance_squared(&now[j..], &before[j..]) - (now[j] - before[j]).powi(2);
                let size_here = 2.0 * dot(&before[j..], &before[j..]) - before[j].powi(2);
                (moved + moved_here, size + size_here)
            })
        })
    }

    /// Jᵀ (P × n_u·M), columns weighted as in [`gram`](Self::gram), at the point visited.
    pub fn jacobian_transposed(&self, field: &FlowField) -> Mat<f64> {
        let (batch, data) = (field.batch(), field.data());
        let mut jacobian = Mat::zeros(batch.network().n_parameters(), batch.n_outputs());
        for k in 0..batch.n_outputs() {
            let root = data.weight[k / data.n_outputs].sqrt();
            let column = jacobian.col_mut(k).try_as_col_major_mut().expect("Mat columns are contiguous").as_slice_mut();
            self.outputs.probes().gradient(batch, field.forward().1, k, column);
            column.iter_mut().for_each(|g| *g *= root);
        }
        jacobian
    }
}
