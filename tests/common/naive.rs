//! The naive twin of the program's passes: one sample at a time, one unit at a time, with dual numbers that carry the whole gradient.
//!
//! Shares nothing with the library but the order of parameters (W row-major, b, learned slope, layer by layer) and of switches.

use gradflow::net::{Activation, Network, Smooth};

/// A value with its gradient in θ.
#[derive(Debug, Clone)]
pub struct Dual {
    pub v: f64,
    pub d: Vec<f64>,
}

impl Dual {
    fn constant(v: f64, n: usize) -> Self {
        Self { v, d: vec![0.0; n] }
    }

    fn parameter(theta: &[f64], at: usize) -> Self {
        let mut dual = Self::constant(theta[at], theta.len());
        dual.d[at] = 1.0;
        dual
    }

    /// self += other.
    pub fn add(&mut self, other: &Self) {
        self.v += other.v;
        self.d.iter_mut().zip(&other.d).for_each(|(a, b)| *a += b);
    }

    /// The product.
    pub fn times(&self, other: &Self) -> Self {
        let d = self.d.iter().zip(&other.d).map(|(a, b)| a * other.v + self.v * b).collect();
        Self { v: self.v * other.v, d }
    }

    /// The multiple by a constant.
    pub fn scaled(&self, factor: f64) -> Self {
        self.through(factor * self.v, factor)
    }

    /// A function with a known value and slope.
    fn through(&self, value: f64, slope: f64) -> Self {
        Self { v: value, d: self.d.iter().map(|d| slope * d).collect() }
    }
}

/// What a hidden unit does on a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    /// It follows the formula of this piece.
    Piece(u16),
    /// It outputs σ(breakpoint) and passes on this slope times the derivative of z (0: held).
    Held { breakpoint: u16, slope: f64 },
}

/// σ and σ′ of a piece's formula, by powers.
pub fn sigma(activation: &Activation, piece: u16, z: f64, learned: f64) -> (f64, f64) {
    match activation {
        Activation::Piecewise(p) => {
            let c = &p.pieces()[usize::from(piece)];
            let value = c.iter().enumerate().map(|(k, c)| c * z.powi(k as i32)).sum();
            let slope = c.iter().enumerate().skip(1).map(|(k, c)| k as f64 * c * z.powi(k as i32 - 1)).sum();
            (value, slope)
        }
        Activation::Prelu => match piece {
            0 => (learned * z, learned),
            _ => (z, 1.0),
        },
        Activation::Smooth(Smooth::Sigmoid) => {
            let s = 1.0 / (1.0 + (-z).exp());
            (s, s * (1.0 - s))
        }
        Activation::Smooth(Smooth::Tanh) => (z.tanh(), 1.0 / z.cosh().powi(2)),
        Activation::Smooth(Smooth::Softplus) => (z.exp().ln_1p(), 1.0 / (1.0 + (-z).exp())),
        Activation::Smooth(Smooth::TanhPlusIdentity) => (z + z.tanh(), 1.0 + 1.0 / z.cosh().powi(2)),
    }
}

/// The piece a value is in; a breakpoint belongs to the piece above it.
pub fn piece_of(activation: &Activation, z: f64) -> u16 {
    activation.breakpoints().iter().filter(|&&b| z >= b).count() as u16
}

/// Pre-activations of all hidden layers and the outputs on one input; `unit(layer from 1, unit, z)` says what each hidden unit does.
pub fn forward(
    network: &Network,
    theta: &[f64],
    x: &[f64],
    mut unit: impl FnMut(usize, usize, f64) -> Unit,
) -> (Vec<Vec<Dual>>, Vec<Dual>) {
    let (widths, n) = (network.widths(), theta.len());
    let mut at = 0;
    let mut input: Vec<Dual> = x.iter().map(|&v| Dual::constant(v, n)).collect();
    let mut hidden = Vec::new();
    for l in 1..widths.len() {
        let (n_in, n_out) = (widths[l - 1], widths[l]);
        let mut z: Vec<Dual> = vec![Dual::constant(0.0, n); n_out];
        for (u, z) in z.iter_mut().enumerate() {
            for (i, input) in input.iter().enumerate() {
                z.add(&Dual::parameter(theta, at + u * n_in + i).times(input));
            }
        }
        at += n_in * n_out;
        if network.layers()[l - 1].bias.is_some() {
            z.iter_mut().enumerate().for_each(|(u, z)| z.add(&Dual::parameter(theta, at + u)));
            at += n_out;
        }
        if l + 1 == widths.len() {
            assert_eq!(at, n, "every parameter is used");
            return (hidden, z);
        }
        let slope_at = network.activation().has_learned_slope().then(|| {
            at += 1;
            at - 1
        });
        let learned = slope_at.map_or(0.0, |at| theta[at]);
        input = z
            .iter()
            .enumerate()
            .map(|(u, z)| match unit(l, u, z.v) {
                Unit::Piece(0) if slope_at.is_some() => Dual::parameter(theta, at - 1).times(z),
                Unit::Piece(k) => {
                    let (value, slope) = sigma(network.activation(), k, z.v, learned);
                    z.through(value, slope)
                }
                Unit::Held { breakpoint, slope } => {
                    let b = network.activation().breakpoints()[usize::from(breakpoint)];
                    z.through(sigma(network.activation(), breakpoint, b, learned).0, slope)
                }
            })
            .collect();
        hidden.push(z);
    }
    unreachable!("a network has an output layer")
}

/// L(θ) = ½ Σ_j ‖f(x_j) − y_j‖² and ∇L, with pieces read off the pre-activations.
pub fn loss_and_gradient(network: &Network, theta: &[f64], x: &[Vec<f64>], y: &[Vec<f64>]) -> (f64, Vec<f64>) {
    let (mut loss, mut gradient) = (0.0, vec![0.0; theta.len()]);
    for (x, y) in x.iter().zip(y) {
        let (_, f) = forward(network, theta, x, |_, _, z| Unit::Piece(piece_of(network.activation(), z)));
        for (f, y) in f.iter().zip(y) {
            let r = f.v - y;
            loss += 0.5 * r * r;
            gradient.iter_mut().zip(&f.d).for_each(|(g, d)| *g += r * d);
        }
    }
    (loss, gradient)
}

/// θ after `steps` steps of plain gradient descent.
pub fn descend(network: &Network, theta: &[f64], x: &[Vec<f64>], y: &[Vec<f64>], step: f64, steps: usize) -> Vec<f64> {
    let mut theta = theta.to_vec();
    for _ in 0..steps {
        let (_, gradient) = loss_and_gradient(network, &theta, x, y);
        theta.iter_mut().zip(&gradient).for_each(|(t, g)| *t -= step * g);
    }
    theta
}
