//! Smooth fields with known solutions, for the tests of the steppers.

use super::field::{Linearisation, NonFinite, PiecewiseField, SlideMargin};
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

    fn margins(&mut self, _: &mut Vec<SlideMargin>) {}

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

/// Gradient flow of ½ Σ (σ_k φ(q_k·y))² with orthonormal q_k: every s_k = q_k·y decays by itself and in closed form, yet all
/// components of y are coupled. Linear with φ = s; with φ² = s² + s⁴/2 nonlinear, ṡ = −σ²(s + s³).
///
/// Its linearisation is the Gauss–Newton one, A = −JᵀJ with rows σ_k φ′ q_k, solved by Woodbury's formula; for the nonlinear
/// valley it is not the exact Jacobian.
pub struct Valley {
    decays: Vec<f64>,
    nonlinear: bool,
    directions: Vec<Vec<f64>>,
    jacobian: nalgebra::DMatrix<f64>,
    factored: Option<nalgebra::Cholesky<f64, nalgebra::Dyn>>,
    /// Whether implicit methods are served.
    pub linearised: bool,
    /// Where the field silently writes NaN.
    pub poison: fn(&[f64]) -> bool,
    /// Point of the last evaluation.
    pub last: Vec<f64>,
}

impl Valley {
    /// One decaying direction for each σ² in a space of twice as many dimensions.
    pub fn new(decays: &[f64], nonlinear: bool) -> Self {
        let dim = 2 * decays.len();
        // Columns of the Householder reflection along (1, 2, …, dim).
        let v: Vec<f64> = (1..=dim).map(|i| i as f64).collect();
        let square: f64 = v.iter().map(|v| v * v).sum();
        let entry = |i: usize, k: usize| f64::from(u8::from(i == k)) - 2.0 * v[i] * v[k] / square;
        Self {
            decays: decays.to_vec(),
            nonlinear,
            directions: (0..decays.len()).map(|k| (0..dim).map(|i| entry(i, k)).collect()).collect(),
            jacobian: nalgebra::DMatrix::zeros(decays.len(), dim),
            factored: None,
            linearised: true,
            poison: |_| false,
            last: Vec::new(),
        }
    }

    /// s_k = 1 for all k, and some rest that never moves.
    pub fn start(&self) -> Vec<f64> {
        (0..self.dim()).map(|i| self.directions.iter().map(|q| q[i]).sum()).collect()
    }

    /// The solution from [`start`](Self::start).
    pub fn solution(&self, t: f64) -> Vec<f64> {
        let s: Vec<f64> = self.decays.iter().map(|decay| self.coordinate(*decay, t)).collect();
        (0..self.dim()).map(|i| self.directions.iter().zip(&s).map(|(q, s)| q[i] * s).sum()).collect()
    }

    fn coordinate(&self, decay: f64, t: f64) -> f64 {
        if self.nonlinear {
            // s²/(1 + s²) decays exponentially, from 1/2.
            let share = 0.5 * (-2.0 * decay * t).exp();
            (share / (1.0 - share)).sqrt()
        } else {
            (-decay * t).exp()
        }
    }

    fn coordinates(&self, y: &[f64]) -> Vec<f64> {
        self.directions.iter().map(|q| crate::vector::dot(q, y)).collect()
    }
}

impl PiecewiseField for Valley {
    fn dim(&self) -> usize {
        2 * self.decays.len()
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
        self.last = y.to_vec();
        dy.fill(0.0);
        for ((q, s), decay) in self.directions.iter().zip(self.coordinates(y)).zip(&self.decays) {
            let rate = -decay * if self.nonlinear { s + s.powi(3) } else { s };
            dy.iter_mut().zip(q).for_each(|(dy, q)| *dy += rate * q);
        }
        if (self.poison)(y) {
            dy[0] = f64::NAN;
        }
        Ok(())
    }

    fn values(&self) -> &[f64] {
        &[]
    }

    fn rates(&mut self, _: &[f64], _: &mut [f64]) {}

    fn margins(&mut self, _: &mut Vec<SlideMargin>) {}

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

    fn linearisation(&mut self) -> Option<&mut dyn Linearisation> {
        self.linearised.then_some(self as &mut dyn Linearisation)
    }
}

impl Linearisation for Valley {
    fn linearise(&mut self, y: &[f64], _: &Mode) -> Result<(), NonFinite> {
        for (k, s) in self.coordinates(y).into_iter().enumerate() {
            let slope = if self.nonlinear { (1.0 + s * s) / (1.0 + 0.5 * s * s).sqrt() } else { 1.0 };
            for (i, q) in self.directions[k].iter().enumerate() {
                self.jacobian[(k, i)] = self.decays[k].sqrt() * slope * q;
            }
        }
        self.factored = None;
        Ok(())
    }

    fn apply(&mut self, v: &[f64], out: &mut [f64]) {
        let product = self.jacobian.tr_mul(&(&self.jacobian * nalgebra::DVector::from_column_slice(v)));
        out.iter_mut().zip(product.iter()).for_each(|(out, p)| *out = -p);
    }

    fn factor(&mut self, shift: f64) -> Result<(), NonFinite> {
        let mut gram = &self.jacobian * self.jacobian.transpose();
        for k in 0..gram.nrows() {
            gram[(k, k)] += 1.0 / shift;
        }
        let cholesky = nalgebra::Cholesky::new(gram).ok_or_else(|| NonFinite { what: "the Gram matrix".into() })?;
        self.factored = Some(cholesky);
        Ok(())
    }

    fn solve(&mut self, b: &mut [f64]) {
        let cholesky = self.factored.as_ref().expect("factor comes before solve");
        let inner = cholesky.solve(&(&self.jacobian * nalgebra::DVector::from_column_slice(b)));
        b.iter_mut().zip(self.jacobian.tr_mul(&inner).iter()).for_each(|(b, c)| *b -= c);
    }
}
