//! Both ends of the spectrum of G without G: Lanczos iterations on v ↦ J(Jᵀv), one backward and one forward sweep each.
//!
//! The lowest Ritz value is above λ_min (Rayleigh), and nothing says by how much: some eigenvalue is within its residual of it, and that may
//! be another one. These are estimates, for matrices that are too large to be made.

use super::lanczos::ends;
use super::spectrum::SpectrumError;
use crate::flow::FlowField;
use crate::net::{Backward, Forward, TangentScratch};

/// Most Lanczos vectors, and numbers that they hold together.
const MOST_VECTORS: usize = 200;
const MOST_VALUES: usize = 1 << 25;

/// Residuals, relative to λ_max, at which the highest and the lowest value have converged.
const CONVERGED: (f64, f64) = (1e-9, 1e-10);

/// What is known of the spectrum of G at an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Time.
    pub t: f64,
    /// λ_min is at most this.
    pub lambda_min_at_most: f64,
    /// Some eigenvalue, which may be another one, is within this of it.
    pub residual: f64,
    /// λ_max, probably; it is at least this.
    pub lambda_max: f64,
    /// Products with G.
    pub n_products: usize,
}

/// Makes estimates, each from where the last one ended.
#[derive(Debug, Default)]
pub struct Estimator {
    forward: Forward,
    backward: Backward,
    direction: Vec<f64>,
    rates: Vec<f64>,
    scratch: TangentScratch,
    /// The vectors found last, added up.
    start: Vec<f64>,
}

impl Estimator {
    /// Both ends of the spectrum of G_s at the field's last evaluation, with effective slopes at sliding units. Inputs have to be distinct.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn estimate(&mut self, t: f64, field: &FlowField) -> Result<Estimate, SpectrumError> {
        let batch = field.batch();
        let (theta, forward) = field.forward();
        let n = batch.n_outputs();
        self.forward.copy(forward);
        field.effective_slopes(&mut self.forward.slope);
        self.direction.resize(theta.len(), 0.0);
        self.rates.resize(batch.n_switches(), 0.0);
        self.start.resize(n, 0.0);
        let Self { forward, backward, direction, rates, scratch, start } = self;
        let mut n_products = 0;
        let product = |v: &[f64]| {
            n_products += 1;
            batch.backward(theta, forward, v, &[], backward, direction);
            let mut image = vec![0.0; n];
            batch.tangent(theta, forward, direction, rates, &mut image, scratch);
            image
        };
        let n_vectors = MOST_VECTORS.min(MOST_VALUES / n.max(1)).max(2);
        let (low, high) = ends(start, CONVERGED, n_vectors, product).ok_or(SpectrumError)?;
        self.start.clear();
        self.start.extend(low.vector.iter().zip(&high.vector).map(|(a, b)| a + b));
        Ok(Estimate {
            t,
            lambda_min_at_most: low.value.max(0.0),
            residual: low.error,
            lambda_max: high.value,
            n_products,
        })
    }
}
