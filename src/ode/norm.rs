//! The weighted root-mean-square norm that turns an error vector into one number.

/// WRMS norm with weights atol + rtol·max(|a_i|, |b_i|) (Hairer, Nørsett & Wanner, *Solving ODEs I*, eq. II.4.11).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WrmsNorm {
    /// Relative tolerance, > 0.
    pub rtol: f64,
    /// Absolute tolerance, ≥ 0.
    pub atol: f64,
}

impl WrmsNorm {
    /// √(1/P Σ (e_i / (atol + rtol·max(|a_i|, |b_i|)))²).
    pub fn of(&self, error: &[f64], a: &[f64], b: &[f64]) -> f64 {
        let sum: f64 = error.iter().zip(a.iter().zip(b)).map(|(e, (a, b))| self.scaled(*e, *a, *b).powi(2)).sum();
        (sum / error.len().max(1) as f64).sqrt()
    }

    /// The largest error, as a Euclidean length, that a step at `y` is accepted with: a weighted mean square of at most 1 leaves √P times
    /// the largest weight.
    pub fn largest_error(&self, y: &[f64]) -> f64 {
        self.largest_error_of(y.len(), crate::vector::max_abs(y))
    }

    /// The same for a state of `dim` components up to `largest`.
    pub fn largest_error_of(&self, dim: usize, largest: f64) -> f64 {
        (dim as f64).sqrt() * (self.atol + self.rtol * largest)
    }

    /// The largest change of a quantity with this gradient at `y` that an error makes with which a step is accepted.
    pub fn largest_change(&self, gradient: &[f64], y: &[f64]) -> f64 {
        let weighted = gradient.iter().zip(y).map(|(g, y)| (g * (self.atol + self.rtol * y.abs())).powi(2));
        (y.len() as f64 * weighted.sum::<f64>()).sqrt()
    }

    /// The error that a step is accepted with, relative to a state of length `size` and `dim` components.
    pub fn relative_to(&self, size: f64, dim: usize) -> f64 {
        self.rtol + self.atol * (dim as f64).sqrt() / size
    }

    /// One component of the error divided by its weight.
    pub fn scaled(&self, error: f64, a: f64, b: f64) -> f64 {
        let weight = self.atol + self.rtol * a.abs().max(b.abs());
        // A component that is exactly zero with atol = 0 has no error either.
        if error == 0.0 { 0.0 } else { error / weight }
    }
}
