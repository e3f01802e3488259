//! Smooth fields with known solutions, for the tests of the steppers.

use super::field::{NonFinite, PiecewiseField, SlideMargin};
use super::mode::{Contact, Mode};

type Rhs = Box<dyn FnMut(&[f64], &mut [f64])>;

/// A field without switches.
pub struct Smooth {
    dim: usize,
    rhs: Rhs,
}

impl Smooth {
    pub fn new(dim: usize, rhs: impl FnMut(&[f64], &mut [f64]) + 'static) -> Self {
        Self { dim, rhs: Box::new(rhs) }
    }
}

impl PiecewiseField for Smooth {
    fn dim(&self) -> usize {
        self.dim
    }

    fn n_switches(&self) -> usize {
        0
    }

    fn breakpoints(&self, _: usize) -> &[f64] {
        &[]
    }

    fn mode_from_values(&mut self, _: &[f64]) -> Mode {
        Mode::default()
    }

    fn eval(&mut self, y: &[f64], _: &Mode, dy: &mut [f64]) -> Result<(), NonFinite> {
        (self.rhs)(y, dy);
        Ok(())
    }

    fn values(&self) -> &[f64] {
        &[]
    }

    fn rates(&mut self, _: &[f64], _: &mut [f64]) {}

    fn margins(&self, _: &mut Vec<SlideMargin>) {}

    fn attraction(&self, _: Contact) -> (f64, f64) {
        (0.0, 0.0)
    }

    fn scale(&self, _: usize) -> f64 {
        1.0
    }

    fn value_at(&mut self, _: &[f64], _: &Mode, _: usize) -> f64 {
        0.0
    }

    fn project(&mut self, _: &mut [f64], _: &Mode, _: &[Contact]) -> Result<(), NonFinite> {
        Ok(())
    }
}

/// ẋ = x(1 − r²) − 2y, ẏ = y(1 − r²) + 2x: nonlinear, coupled, and solved in closed form.
pub fn stuart_landau() -> Smooth {
    Smooth::new(2, |y, dy| {
        let growth = 1.0 - y[0] * y[0] - y[1] * y[1];
        dy[0] = y[0] * growth - 2.0 * y[1];
        dy[1] = y[1] * growth + 2.0 * y[0];
    })
}

/// Solution of [`stuart_landau`] from r = 0.4, φ = 0.5: 1/r² = 1 + (1/0.16 − 1)e^(−2t), φ = 0.5 + 2t.
pub fn stuart_landau_solution(t: f64) -> Vec<f64> {
    let r = (1.0 + (1.0 / 0.16 - 1.0) * (-2.0 * t).exp()).sqrt().recip();
    let phi = 0.5 + 2.0 * t;
    vec![r * phi.cos(), r * phi.sin()]
}

/// Least-squares slope of log(error) over log(h).
pub fn fitted_slope(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<_> = points.iter().map(|(h, e)| (h.ln(), e.ln())).collect();
    let n = logs.len() as f64;
    let (mx, my) = (logs.iter().map(|p| p.0).sum::<f64>() / n, logs.iter().map(|p| p.1).sum::<f64>() / n);
    let covariance: f64 = logs.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    covariance / logs.iter().map(|p| (p.0 - mx).powi(2)).sum::<f64>()
}
