//! G = J Jᵀ at the last evaluation of a flow field, with effective slopes at sliding units: its lower triangle.

use super::field::FlowField;
use crate::net::{KernelScratch, Probes, own_gram};

/// Makes Gram matrices of the outputs.
#[derive(Debug, Clone, Default)]
pub struct OutputGram {
    slopes: Vec<f64>,
    probes: Probes,
    scratch: KernelScratch,
    lower: Vec<f64>,
}

impl OutputGram {
    /// Finds the seeds of all outputs at the field's last evaluation, which [`form`](Self::form) starts from.
    pub fn visit(&mut self, field: &FlowField) {
        let (batch, (theta, forward)) = (field.batch(), field.forward());
        field.effective_slopes(&mut self.slopes);
        self.probes.outputs(batch, theta, forward, &self.slopes);
    }

    /// Forms the matrix at the point visited; rows sample by sample, not weighted by multiplicities.
    pub fn form(&mut self, field: &FlowField) {
        if let Some(ready) = field.gram_ahead() {
            let n = field.batch().n_outputs();
            self.lower.resize(n * n, 0.0);
            let columns = self.lower.chunks_exact_mut(n).zip(ready.chunks_exact(n));
            columns.enumerate().for_each(|(j, (to, from))| to[j..].copy_from_slice(&from[j..]));
        } else {
            own_gram(field.batch(), field.forward().1, &self.probes, &mut self.scratch, &mut self.lower);
        }
    }

    /// The seeds at the point visited.
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    /// The matrix that was formed last, column-major in whole columns; what is above the diagonal has no meaning.
    pub fn lower(&self) -> &[f64] {
        &self.lower
    }

    /// The same, to be changed, or exchanged for other memory.
    pub fn lower_mut(&mut self) -> &mut Vec<f64> {
        &mut self.lower
    }
}

/// Makes matrices before anybody asks for them, in memory that comes back.
#[derive(Debug, Default)]
pub struct GramAhead {
    gram: OutputGram,
    spare: Vec<Vec<f64>>,
}

impl GramAhead {
    /// The lower triangle at the field's last evaluation.
    pub fn make(&mut self, field: &FlowField) -> Vec<f64> {
        *self.gram.lower_mut() = self.spare.pop().unwrap_or_default();
        self.gram.visit(field);
        self.gram.form(field);
        std::mem::take(self.gram.lower_mut())
    }

    /// Takes one back that is not needed any more.
    pub fn take_back(&mut self, lower: Vec<f64>) {
        self.spare.push(lower);
    }
}
