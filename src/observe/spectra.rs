//! The spectrum of G at chosen times: the start, the save times, whenever the loss has fallen by another factor of ten, the end. Either all
//! eigenvalues, or estimates of both ends where G is too large to be made.
//!
//! λ_min and its minimum over continuous time are the business of [`crate::ntk`]; this is for pictures of the whole spectrum.

use crate::flow::FlowField;
use crate::ntk::{Estimate, Estimator, GramEvaluator, SpectrumError};
use faer::Side;

/// Factor by which the loss has to fall until the next spectrum.
const FALL: f64 = 0.1;

/// Most spectra of a run, besides that at its end.
const MOST: u64 = 24;

/// All eigenvalues of no larger matrices: each time would take seconds.
const LARGEST: usize = 1500;

/// What there is of a spectrum.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// The nM eigenvalues, decreasing and at least 0.
    Eigenvalues(Vec<f64>),
    /// Both ends, by estimate.
    Ends(Estimate),
}

#[derive(Debug)]
enum Means {
    Grams(Box<GramEvaluator>),
    Products(Box<Estimator>),
}

/// Decides when, and computes.
#[derive(Debug)]
pub struct Spectra {
    means: Means,
    n_targets: usize,
    /// The loss at which the next one is due.
    due_below: f64,
    last_t: Option<f64>,
    /// How many there were.
    pub n_spectra: u64,
}

impl Spectra {
    /// All eigenvalues, for a problem with `n_targets` (nM) targets.
    pub fn new(n_targets: usize) -> Self {
        Self::by(Means::Grams(Box::default()), n_targets)
    }

    /// Estimates of both ends.
    pub fn of_ends(n_targets: usize) -> Self {
        Self::by(Means::Products(Box::default()), n_targets)
    }

    fn by(means: Means, n_targets: usize) -> Self {
        Self { means, n_targets, due_below: f64::INFINITY, last_t: None, n_spectra: 0 }
    }

    /// Gram matrices formed.
    pub fn n_grams(&self) -> u64 {
        if matches!(self.means, Means::Grams(_)) { self.n_spectra } else { 0 }
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

    /// The spectrum at the field's last evaluation; `None` when the matrix is too large, there have been enough (unless it `is_last`), or
    /// it is known at this time already.
    ///
    /// # Errors
    /// When the eigenvalues cannot be computed.
    pub fn at(&mut self, t: f64, field: &FlowField, is_last: bool) -> Result<Option<Seen>, SpectrumError> {
        let is_too_many = !is_last && self.n_spectra >= MOST;
        if is_too_many || self.last_t == Some(t) {
            return Ok(None);
        }
        let seen = match &mut self.means {
            Means::Grams(_) if self.n_targets > LARGEST => return Ok(None),
            Means::Grams(grams) => {
                let (gram, _) = grams.lower(field);
                let mut eigenvalues = gram.self_adjoint_eigenvalues(Side::Lower).map_err(|_| SpectrumError)?;
                eigenvalues.reverse();
                eigenvalues.iter_mut().for_each(|l| *l = l.max(0.0));
                // Equal inputs are merged in G; each merged row is an eigenvalue 0 of the whole matrix.
                eigenvalues.resize(self.n_targets, 0.0);
                Seen::Eigenvalues(eigenvalues)
            }
            Means::Products(estimator) => Seen::Ends(estimator.estimate(t, field)?),
        };
        self.last_t = Some(t);
        self.n_spectra += 1;
        Ok(Some(seen))
    }
}
