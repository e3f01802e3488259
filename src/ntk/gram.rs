//! G(t) = J Jᵀ at the last evaluation of a flow field, with effective slopes at sliding units.
//!
//! Samples with identical inputs are merged by the field; their rows are weighted by √multiplicity here, which leaves the non-zero
//! spectrum of the full nM × nM matrix unchanged (the rest of it is exactly zero).

use super::lanczos::Extremes;
use crate::flow::FlowField;
use crate::net::{JacobianMark, KernelScratch, Probes, cross_gram};
use faer::{Mat, MatRef};

/// Computes Gram matrices and, on demand, Jacobians.
#[derive(Debug, Clone, Default)]
pub struct GramEvaluator {
    slopes: Vec<f64>,
    probes: Probes,
    scratch: KernelScratch,
    gram: Vec<f64>,
    extremes: Extremes,
}

impl GramEvaluator {
    /// G_s at the field's last evaluation: (n_u·M) × (n_u·M) for n_u distinct inputs, rows sample by sample; and
    /// warm starts for its extreme eigenvalues.
    pub fn gram(&mut self, field: &FlowField) -> (MatRef<'_, f64>, &mut Extremes) {
        self.visit(field);
        self.gram_here(field)
    }

    /// The seeds of all outputs at the field's last evaluation: what the methods below start from.
    pub fn visit(&mut self, field: &FlowField) {
        let (batch, (theta, forward)) = (field.batch(), field.forward());
        field.effective_slopes(&mut self.slopes);
        self.probes.outputs(batch, theta, forward, &self.slopes);
    }

    /// [`gram`](Self::gram) where the field's last evaluation has been visited.
    pub fn gram_here(&mut self, field: &FlowField) -> (MatRef<'_, f64>, &mut Extremes) {
        let (batch, (_, forward)) = (field.batch(), field.forward());
        cross_gram(batch, forward, &self.probes, &self.probes, &mut self.scratch, &mut self.gram);
        let size = batch.n_outputs();
        let data = field.data();
        if data.has_duplicates() {
            let root = |k: usize| data.weight[k / data.n_outputs].sqrt();
            for q in 0..size {
                for p in 0..size {
                    self.gram[q * size + p] *= root(p) * root(q);
                }
            }
        }
        (MatRef::from_column_major_slice(&self.gram[..], size, size), &mut self.extremes)
    }

    /// JᵀJ (P × P) at the point visited: the same non-zero spectrum in a smaller matrix where P < nM.
    pub fn parameter_gram(&mut self, field: &FlowField) -> Mat<f64> {
        let jacobian = self.jacobian_transposed(field);
        &jacobian * jacobian.transpose()
    }

    /// Remembers the point visited.
    pub fn mark(&self, field: &FlowField, mark: &mut JacobianMark) {
        mark.set(field.batch(), field.forward().1, &self.probes);
    }

    /// A bound on ‖J − J₀‖₂ from above, with J at the point visited and J₀ at `mark`. Rows are not weighted: inputs have to be distinct.
    pub fn distance(&self, field: &FlowField, mark: &mut JacobianMark) -> f64 {
        mark.distance(field.batch(), field.forward().1, &self.probes)
    }

    /// The entries of the last Gram matrix, column-major.
    pub fn last(&self) -> &[f64] {
        &self.gram
    }

    /// Jᵀ (P × n_u·M), columns weighted as in [`gram`](Self::gram), at the point visited.
    pub fn jacobian_transposed(&self, field: &FlowField) -> Mat<f64> {
        let (batch, data) = (field.batch(), field.data());
        let mut jacobian = Mat::zeros(batch.network().n_parameters(), batch.n_outputs());
        for k in 0..batch.n_outputs() {
            let root = data.weight[k / data.n_outputs].sqrt();
            let column = jacobian.col_mut(k).try_as_col_major_mut().expect("Mat columns are contiguous").as_slice_mut();
            self.probes.gradient(batch, field.forward().1, k, column);
            column.iter_mut().for_each(|g| *g *= root);
        }
        jacobian
    }
}
