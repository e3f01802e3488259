//! The last point where λ_min was measured, and what follows from it for points nearby without any eigenvalue.
//!
//! Singular values are as stable as the matrix: |σ_min(J) − σ_min(J₀)| ≤ ‖J − J₀‖₂ (Horn & Johnson, Matrix Analysis, 2nd ed., Cor. 7.3.5), and
//! λ_min(G) = σ_min(J)². The distance of the two Jacobians costs far less than G. For G itself the same theorem of Weyl says next to nothing: G moves by
//! 2‖J‖ times as much as J, many times λ_min.

use super::gram::GramEvaluator;
use super::spectrum::Spectrum;
use crate::flow::FlowField;
use crate::net::JacobianMark;

/// How far J may stray from the chord of a step, in units of ‖ΔJ‖²/‖J‖: J is a polynomial in θ, so that its second-order part over a step
/// is of that size.
const SAG: f64 = 4.0;

/// A measured point.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    mark: JacobianMark,
    /// Bounds on σ_min there.
    low: f64,
    high: f64,
    /// ‖J‖_F.
    size: f64,
    is_set: bool,
}

/// Bounds on σ_min = √λ_min.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Enclosure {
    /// From below, at least 0.
    pub low: f64,
    /// From above.
    pub high: f64,
}

impl Enclosure {
    /// The lower bound on λ_min.
    pub fn lowest(self) -> f64 {
        self.low * self.low
    }

    /// Upper minus lower bound on λ_min.
    pub fn width(self) -> f64 {
        (self.high - self.low) * (self.high + self.low)
    }
}

/// (lower, upper) bound on ∫λ_min over a stretch of length h between two enclosures, where σ_min keeps to the lines that join their bounds.
pub fn integrals(h: f64, a: Enclosure, b: Enclosure) -> (f64, f64) {
    // ∫ of the square of what is linear between two values.
    let integral = |a: f64, b: f64| h / 3.0 * (a * a + a * b + b * b);
    (integral(a.low, b.low), integral(a.high, b.high))
}

impl Reference {
    /// Makes the point that `grams` has visited, with this spectrum and ‖J‖_F², the reference.
    pub fn set(&mut self, field: &FlowField, grams: &GramEvaluator, spectrum: &Spectrum, size_squared: f64) {
        grams.mark(field, &mut self.mark);
        self.low = spectrum.lower.sqrt();
        self.high = (spectrum.lambda_min + spectrum.resolution).sqrt();
        self.size = size_squared.sqrt();
        self.is_set = true;
    }

    /// A bound on ‖J − J₀‖₂ at the point that `grams` has visited; ∞ without a reference.
    pub fn distance(&mut self, field: &FlowField, grams: &GramEvaluator) -> f64 {
        if self.is_set { grams.distance(field, &mut self.mark) } else { f64::INFINITY }
    }

    /// σ_min where J is no further away than `distance`.
    pub fn enclosure(&self, distance: f64) -> Enclosure {
        Enclosure { low: (self.low - distance).max(0.0), high: self.high + distance }
    }

    /// Estimate of how far J strays from the straight line between two points at these distances.
    pub fn sag(&self, distances: (f64, f64)) -> f64 {
        let moved = distances.0 + distances.1;
        if moved == 0.0 { 0.0 } else { SAG * moved * moved / self.size }
    }
}
