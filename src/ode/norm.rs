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

    /// One component of the error divided by its weight.
    pub fn scaled(&self, error: f64, a: f64, b: f64) -> f64 {
        let weight = self.atol + self.rtol * a.abs().max(b.abs());
        // A component that is exactly zero with atol = 0 has no error either.
        if error == 0.0 { 0.0 } else { error / weight }
    }
}
