//! Curvature of the loss along the flow: both ends of the spectrum of ∇²L in the mode of the flow, by Lanczos on exact products.
//!
//! At an event the Hessian jumps, and both sides are measured: of every event, or of those where a measurement falls due
//! ([`Cadence`](crate::scenario::Cadence)). While units slide it is the Hessian of L on the intersection of their surfaces
//! ([`FlowField::hessian_product`]).

use crate::flow::FlowField;
use crate::ntk::{SampleSide, ends};
use crate::ode::{Mode, PiecewiseField};
use crate::vector::norm;

/// A measurement falls due when time has grown by this factor since the last one that was due.
const SPACING: f64 = 1.05;
/// Residuals of the largest and the smallest eigenvalue, relative to the larger size of the two.
const TOLERANCE: (f64, f64) = (1e-4, 1e-3);
/// Most products per measurement.
const MAX_PRODUCTS: usize = 80;

/// Ends of the spectrum of ∇²L at one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Curvature {
    /// Time.
    pub t: f64,
    /// Which limit.
    pub side: SampleSide,
    /// λ_max(∇²L), the sharpness.
    pub highest: f64,
    /// Norm of its residual.
    pub highest_error: f64,
    /// λ_min(∇²L).
    pub lowest: f64,
    /// Norm of its residual.
    pub lowest_error: f64,
    /// ‖∇L‖ (of its tangential part while units slide).
    pub gradient_norm: f64,
}

/// Measures the curvature at times that lie geometrically, with a private copy of the field.
#[derive(Debug)]
pub struct SharpnessWatch {
    field: FlowField,
    dy: Vec<f64>,
    start: Vec<f64>,
    next: f64,
    samples: Vec<Curvature>,
}

impl SharpnessWatch {
    /// For the flow `field`.
    pub fn new(field: &FlowField) -> Self {
        let dim = field.dim();
        Self { field: field.clone(), dy: vec![0.0; dim], start: vec![0.0; dim], next: 0.0, samples: Vec::new() }
    }

    /// Whether a measurement falls due at time t.
    pub fn is_due(&self, t: f64) -> bool {
        t >= self.next
    }

    /// The largest sharpness measured so far; 0 before the first measurement.
    pub fn largest(&self) -> f64 {
        self.samples.iter().map(|s| s.highest).fold(0.0, f64::max)
    }

    /// Time of the last measurement.
    pub fn last_time(&self) -> Option<f64> {
        self.samples.last().map(|s| s.t)
    }

    /// Measures at a point and keeps the result; `None` when something is not finite there.
    pub fn measure(&mut self, t: f64, side: SampleSide, theta: &[f64], mode: &Mode) -> Option<Curvature> {
        let sample = self.at(t, side, theta, mode)?;
        self.samples.push(sample);
        Some(sample)
    }

    /// Puts off the next measurement until t has grown by a twentieth.
    pub fn schedule_after(&mut self, t: f64) {
        // Just behind the start the next step is due, whatever its length.
        self.next = if t > 0.0 { SPACING * t } else { f64::MIN_POSITIVE };
    }

    /// The same without keeping it.
    pub fn at(&mut self, t: f64, side: SampleSide, theta: &[f64], mode: &Mode) -> Option<Curvature> {
        let Self { field, dy, start, .. } = self;
        field.eval(theta, mode, dy).ok()?;
        let product = |v: &[f64]| {
            let mut image = vec![0.0; v.len()];
            field.hessian_product(mode, v, &mut image);
            image
        };
        let (low, high) = ends(start, TOLERANCE, MAX_PRODUCTS, product)?;
        // Both vectors are near those of the next measurement.
        start.iter_mut().zip(low.vector.iter().zip(&high.vector)).for_each(|(s, (l, h))| *s = l + h);
        Some(Curvature {
            t,
            side,
            highest: high.value,
            highest_error: high.error,
            lowest: low.value,
            lowest_error: low.error,
            gradient_norm: norm(dy),
        })
    }

    /// All measurements, in order.
    pub fn into_samples(self) -> Vec<Curvature> {
        self.samples
    }
}
