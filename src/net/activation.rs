//! Activation functions: continuous piecewise polynomials, PReLU, and smooth ones.
//!
//! An activation knows its breakpoints and, in each piece, value and derivative of the piece's own formula
//! *continued smoothly past the piece's ends*. Which piece a unit is in is not decided here: that is state
//! (see [`crate::ode::Mode`]).

use crate::logistic::{sigmoid, softplus};
use thiserror::Error;

/// Relative tolerance for the continuity of a piecewise polynomial at its breakpoints.
const CONTINUITY_TOL: f64 = 1e-12;

/// Why a list of breakpoints and pieces is not a continuous piecewise polynomial.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum ActivationError {
    /// The number of pieces is not one more than the number of breakpoints.
    #[error("{breakpoints} breakpoints need {} pieces, found {pieces}", breakpoints + 1)]
    PieceCount {
        /// Number of breakpoints given.
        breakpoints: usize,
        /// Number of pieces given.
        pieces: usize,
    },
    /// Breakpoints do not increase strictly.
    #[error("breakpoints must increase strictly, but breakpoint {index} is {next} after {previous}")]
    Unsorted {
        /// Index of the offending breakpoint.
        index: usize,
        /// The breakpoint before it.
        previous: f64,
        /// Its value.
        next: f64,
    },
    /// A piece has no coefficients.
    #[error("piece {piece} has no coefficients; a constant piece is written [c]")]
    EmptyPiece {
        /// Index of the piece.
        piece: usize,
    },
    /// A breakpoint or coefficient is not finite.
    #[error("{what} is {value}, but must be finite")]
    NotFinite {
        /// What is not finite.
        what: String,
        /// Its value.
        value: f64,
    },
    /// Two neighbouring pieces disagree at their common breakpoint.
    #[error("not continuous at breakpoint {at}: {left} from the left, {right} from the right (jump {:e})", right - left)]
    Discontinuous {
        /// The breakpoint.
        at: f64,
        /// Value of the piece left of it.
        left: f64,
        /// Value of the piece right of it.
        right: f64,
    },
}

/// A continuous piecewise polynomial σ: ℝ → ℝ with closed pieces.
///
/// Piece `k` holds on `[breakpoints[k-1], breakpoints[k]]`; coefficients are stored low order first.
#[derive(Debug, Clone, PartialEq)]
pub struct PiecewisePolynomial {
    breakpoints: Vec<f64>,
    pieces: Vec<Vec<f64>>,
}

impl PiecewisePolynomial {
    /// Checks and builds; `pieces.len()` must be `breakpoints.len() + 1`.
    ///
    /// # Errors
    /// Every [`ActivationError`]; continuity is checked to a relative 1e-12.
    pub fn new(breakpoints: Vec<f64>, pieces: Vec<Vec<f64>>) -> Result<Self, ActivationError> {
        if pieces.len() != breakpoints.len() + 1 {
            return Err(ActivationError::PieceCount { breakpoints: breakpoints.len(), pieces: pieces.len() });
        }
        if let Some((index, &value)) = breakpoints.iter().enumerate().find(|(_, b)| !b.is_finite()) {
            return Err(ActivationError::NotFinite { what: format!("breakpoint {index}"), value });
        }
        for (index, pair) in breakpoints.windows(2).enumerate() {
            if pair[1] <= pair[0] {
                return Err(ActivationError::Unsorted { index: index + 1, previous: pair[0], next: pair[1] });
            }
        }
        for (piece, coefficients) in pieces.iter().enumerate() {
            if coefficients.is_empty() {
                return Err(ActivationError::EmptyPiece { piece });
            }
            if let Some((power, &value)) = coefficients.iter().enumerate().find(|(_, c)| !c.is_finite()) {
                let what = format!("coefficient {power} of piece {piece}");
                return Err(ActivationError::NotFinite { what, value });
            }
        }
        for (k, &at) in breakpoints.iter().enumerate() {
            let (left, right) = (horner(&pieces[k], at).0, horner(&pieces[k + 1], at).0);
            let magnitude = |c: &[f64]| c.iter().rev().fold(0.0, |sum, a| sum * at.abs() + a.abs());
            let scale = magnitude(&pieces[k]).max(magnitude(&pieces[k + 1]));
            if (left - right).abs() > CONTINUITY_TOL * scale {
                return Err(ActivationError::Discontinuous { at, left, right });
            }
        }
        Ok(Self { breakpoints, pieces })
    }

    /// Breakpoints, strictly increasing.
    pub fn breakpoints(&self) -> &[f64] {
        &self.breakpoints
    }

    /// Coefficients of each piece, low order first.
    pub fn pieces(&self) -> &[Vec<f64>] {
        &self.pieces
    }

    fn two_slopes(below: f64, above: f64) -> Self {
        Self { breakpoints: vec![0.0], pieces: vec![vec![0.0, below], vec![0.0, above]] }
    }

    /// Whether σ(cz) = cσ(z) for every c > 0, which is what the conservation laws need.
    fn is_positively_homogeneous(&self) -> bool {
        self.breakpoints.iter().all(|&b| b == 0.0)
            && self.pieces.iter().all(|c| c.iter().enumerate().all(|(power, &a)| power == 1 || a == 0.0))
    }
}

/// Smooth activations; they have one piece and no breakpoints, so a run with them has no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Smooth {
    /// 1 / (1 + e^{−z}).
    Sigmoid,
    /// tanh z.
    Tanh,
    /// log(1 + e^z).
    Softplus,
    /// z + tanh z.
    TanhPlusIdentity,
}

/// The activation between the layers of a network (none follows the last layer).
#[derive(Debug, Clone, PartialEq)]
pub enum Activation {
    /// A continuous piecewise polynomial; ReLU, leaky ReLU, |z| and the identity are of this kind.
    Piecewise(PiecewisePolynomial),
    /// max(z, 0) + a·min(z, 0) with one learned slope a per hidden layer, part of θ.
    Prelu,
    /// A smooth function.
    Smooth(Smooth),
}

impl Activation {
    /// max(z, 0) + slope·min(z, 0).
    pub fn leaky_relu(slope: f64) -> Self {
        Self::Piecewise(PiecewisePolynomial::two_slopes(slope, 1.0))
    }

    /// max(z, 0).
    pub fn relu() -> Self {
        Self::leaky_relu(0.0)
    }

    /// |z|.
    pub fn abs() -> Self {
        Self::leaky_relu(-1.0)
    }

    /// z, in one piece.
    pub fn identity() -> Self {
        Self::Piecewise(PiecewisePolynomial { breakpoints: Vec::new(), pieces: vec![vec![0.0, 1.0]] })
    }

    /// Breakpoints, strictly increasing; empty for smooth activations.
    pub fn breakpoints(&self) -> &[f64] {
        match self {
            Self::Piecewise(p) => &p.breakpoints,
            Self::Prelu => &[0.0],
            Self::Smooth(_) => &[],
        }
    }

    /// Whether each hidden layer has a learned slope in θ.
    pub fn has_learned_slope(&self) -> bool {
        matches!(self, Self::Prelu)
    }

    /// Whether σ(cz) = cσ(z) for c > 0, so that each hidden unit has a conserved quantity.
    pub fn is_positively_homogeneous(&self) -> bool {
        match self {
            Self::Piecewise(p) => p.is_positively_homogeneous(),
            Self::Prelu => true,
            Self::Smooth(_) => false,
        }
    }

    /// Intercept and slope of every piece when all of them are affine and there are at most four.
    pub fn lines(&self, learned: f64) -> Option<[(f64, f64); 4]> {
        let mut lines = [(0.0, 0.0); 4];
        match self {
            Self::Piecewise(p) if p.pieces.len() <= lines.len() && p.pieces.iter().all(|c| c.len() <= 2) => {
                for (line, c) in lines.iter_mut().zip(&p.pieces) {
                    *line = (c[0], c.get(1).copied().unwrap_or(0.0));
                }
                Some(lines)
            }
            Self::Prelu => {
                (lines[0], lines[1]) = ((0.0, learned), (0.0, 1.0));
                Some(lines)
            }
            _ => None,
        }
    }

    /// Intercept and slope of every piece, lowest first, where all are straight lines that nothing has to be learned for.
    pub fn fixed_lines(&self) -> Option<Vec<(f64, f64)>> {
        let Self::Piecewise(p) = self else { return None };
        let line = |c: &Vec<f64>| (c[0], c.get(1).copied().unwrap_or(0.0));
        p.pieces.iter().all(|c| c.len() <= 2).then(|| p.pieces.iter().map(line).collect())
    }

    /// Value and derivative at `z` of piece `piece`'s formula, also outside that piece.
    ///
    /// `learned` is the layer's learned slope and is read by PReLU only.
    #[inline]
    pub fn eval(&self, piece: u16, z: f64, learned: f64) -> (f64, f64) {
        match self {
            Self::Piecewise(p) => match p.pieces[piece as usize][..] {
                [c0, c1] => (c0 + c1 * z, c1),
                ref c => horner(c, z),
            },
            Self::Prelu => {
                let slope = if piece == 0 { learned } else { 1.0 };
                (slope * z, slope)
            }
            Self::Smooth(s) => s.eval(z),
        }
    }
}

impl Activation {
    /// Second derivative at `z` of piece `piece`'s formula, also outside that piece.
    pub fn curvature(&self, piece: u16, z: f64) -> f64 {
        match self {
            Self::Piecewise(p) => {
                // Horner's scheme on k(k − 1)c_k.
                let c = p.pieces[usize::from(piece)].iter().enumerate().skip(2).rev();
                c.fold(0.0, |sum, (k, c)| sum * z + (k * (k - 1)) as f64 * c)
            }
            Self::Prelu => 0.0,
            Self::Smooth(s) => s.curvature(z),
        }
    }
}

impl Smooth {
    fn curvature(self, z: f64) -> f64 {
        match self {
            Self::Sigmoid => {
                let s = sigmoid(z);
                s * (1.0 - s) * (1.0 - 2.0 * s)
            }
            Self::Tanh | Self::TanhPlusIdentity => {
                let t = z.tanh();
                -2.0 * t * (1.0 - t * t)
            }
            Self::Softplus => {
                let s = sigmoid(z);
                s * (1.0 - s)
            }
        }
    }

    #[inline]
    fn eval(self, z: f64) -> (f64, f64) {
        match self {
            Self::Sigmoid => {
                let s = sigmoid(z);
                (s, s * (1.0 - s))
            }
            Self::Tanh => {
                let t = z.tanh();
                (t, 1.0 - t * t)
            }
            Self::Softplus => (softplus(z), sigmoid(z)),
            Self::TanhPlusIdentity => {
                let t = z.tanh();
                (z + t, 2.0 - t * t)
            }
        }
    }
}

/// Value and derivative of Σ c_k z^k.
fn horner(coefficients: &[f64], z: f64) -> (f64, f64) {
    coefficients.iter().rev().fold((0.0, 0.0), |(value, slope), &c| (value * z + c, slope * z + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_at_a_breakpoint_is_named_with_its_size() {
        let error = PiecewisePolynomial::new(vec![1.0], vec![vec![0.0, 1.0], vec![0.5, 1.0]]).unwrap_err();
        assert_eq!(error, ActivationError::Discontinuous { at: 1.0, left: 1.0, right: 1.5 });
        assert!(error.to_string().contains("jump 5e-1"), "{error}");
    }

    #[test]
    fn derivatives_match_central_differences_in_every_piece_and_past_its_ends() {
        let cubic = PiecewisePolynomial::new(vec![-1.0, 1.0], vec![vec![-0.5], vec![0.0, 0.75, 0.0, -0.25], vec![0.5]])
            .unwrap();
        let all = [
            Activation::Piecewise(cubic),
            Activation::leaky_relu(0.01),
            Activation::Prelu,
            Activation::Smooth(Smooth::Sigmoid),
            Activation::Smooth(Smooth::Tanh),
            Activation::Smooth(Smooth::Softplus),
            Activation::Smooth(Smooth::TanhPlusIdentity),
        ];
        for activation in &all {
            for piece in 0..=activation.breakpoints().len() as u16 {
                for z in [-2.3, -0.4, 0.0, 0.7, 1.9] {
                    let h = 1e-5;
                    let value = |z| activation.eval(piece, z, 0.3).0;
                    let difference = (value(z + h) - value(z - h)) / (2.0 * h);
                    let slope = activation.eval(piece, z, 0.3).1;
                    // Truncation h²|σ‴|/6 ≤ 1e-9 for these functions, rounding ε/h ≈ 2e-11.
                    assert!((slope - difference).abs() < 1e-9, "{activation:?} piece {piece} z {z}");
                    let slope_at = |z| activation.eval(piece, z, 0.3).1;
                    let difference = (slope_at(z + h) - slope_at(z - h)) / (2.0 * h);
                    let curvature = activation.curvature(piece, z);
                    assert!((curvature - difference).abs() < 1e-9, "second: {activation:?} piece {piece} z {z}");
                }
            }
        }
    }
}
