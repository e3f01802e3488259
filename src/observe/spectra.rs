//! All eigenvalues of G at chosen times: the start, the save times, whenever the loss has fallen by another factor of ten, the end.
//!
//! λ_min and its minimum over continuous time are the business of [`crate::ntk`]; this is for pictures of the whole spectrum.

use crate::flow::FlowField;
use crate::ntk::GramEvaluator;
use faer::Side;

/// Factor by which the loss has to fall until the next spectrum.
const FALL: f64 = 0.1;

/// Most spectra of a run, besides that at its end.
const MOST: u64 = 24;

/// No spectra of larger matrices: each would take seconds.
const LARGEST: usize = 1500;

/// Decides when, and computes.
#[derive(Debug)]
pub struct Spectra {
    grams: GramEvaluator,
    n_targets: usize,
    /// The loss at which the next one is due.
    due_below: f64,
    last_t: Option<f64>,
    /// How many there were.
    pub n_spectra: u64,
}

impl Spectra {
    /// For a problem with `n_targets` (nM) targets.
    pub fn new(n_targets: usize) -> Self {
        Self { grams: GramEvaluator::default(), n_targets, due_below: f64::INFINITY, last_t: None, n_spectra: 0 }
    }

    /// Whether the loss has fallen far enough; the next one is then due after another such fall.
    pub fn is_due(&mut self, loss: f64) -> bool {
        let is_due = loss <= self.due_below;
        if is_due {
            self.due_below = FALL * if self.due_below.is_finite() { self.due_below } else { loss };
            // A fall of several factors at once calls for one spectrum only.
            while loss <= self.due_below && self.due_below > 0.0 {
                self.due_below *= FALL;
            }
        }
        is_due
    }

    /// The nM eigenvalues at the field's last evaluation, decreasing and at least 0; `None` when the matrix is too large, there have been
    /// enough (unless it `is_last`), or they are known at this time already.
    pub fn at(&mut self, t: f64, field: &FlowField, is_last: bool) -> Option<Vec<f64>> {
        let is_too_many = !is_last && self.n_spectra >= MOST;
        if self.n_targets > LARGEST || is_too_many || self.last_t == Some(t) {
            return None;
        }
        let (gram, _) = self.grams.lower(field);
        let mut eigenvalues = gram.self_adjoint_eigenvalues(Side::Lower).ok()?;
        self.last_t = Some(t);
        self.n_spectra += 1;
        eigenvalues.reverse();
        eigenvalues.iter_mut().for_each(|l| *l = l.max(0.0));
        // Equal inputs are merged in G; each merged row is an eigenvalue 0 of the whole matrix.
        eigenvalues.resize(self.n_targets, 0.0);
        Some(eigenvalues)
    }
}
