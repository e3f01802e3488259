//! The theory's claims, each judged by a run: one file per claim, one row each.
//!
//! A claim is a function of [`Evidence`], a run with all it told; where it needs further runs (backwards, from neighbouring starts, with other
//! activations) it makes them. Nothing here knows files or the command line. What each figure and tolerance is, and what `holds` does and does
//! not mean, is in `docs/verifying.md`. Next: [`verify`], then the claims in the order of its list.
//!
//! Sources: Jakhmola, arXiv:2509.23887; Chatterjee, arXiv:2203.16462.

mod a_priori;
mod ball;
mod bound;
mod chatterjee;
mod codimension;
mod evidence;
mod finite_time;
mod invertible;
mod limit;
mod next_piece;
mod parameters;
mod pieces;
mod positive;
mod prediction;
mod relu_limit;
mod rest;
mod reversed;
mod row;
mod sigmoid_limit;
mod witness;

pub use evidence::Evidence;
pub use reversed::Reversed;
pub use row::{ClaimRow, Verdict};
pub use sigmoid_limit::approximant;
pub use witness::{Stand, Witness};

use ball::Ball;

/// Claims that take further runs with other activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Leaky ReLU with slope → 0 (Corollary 3.1.1).
    pub relu: bool,
    /// Piecewise polynomials of growing degree (Corollary 3.1.2).
    pub sigmoid: bool,
}

/// Judges every claim by a run; claims behind an interruption are left out.
pub fn verify(evidence: &Evidence, limits: Limits) -> Vec<ClaimRow> {
    if evidence.rows.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![
        parameters::over_parametrised(evidence),
        pieces::pieces(evidence),
        next_piece::next_piece(evidence),
        codimension::codimension(evidence),
        finite_time::finite_time(evidence),
        finite_time::energy(evidence),
        bound::constant(evidence),
        bound::integral(evidence),
        bound::one_sided(evidence),
        rest::no_rest(evidence),
        prediction::half(evidence),
    ];
    let long: [&dyn Fn() -> Vec<ClaimRow>; 5] = [
        &|| vec![invertible::invertible(evidence)],
        &|| vec![positive::positive_definite(evidence)],
        &|| {
            let ball = evidence.beyond_theorem().is_none().then(|| Ball::of(evidence));
            vec![a_priori::a_priori(evidence, ball.as_ref()), chatterjee::chatterjee(evidence, ball.as_ref())]
        },
        &|| if limits.relu { relu_limit::relu_limit(evidence) } else { Vec::new() },
        &|| if limits.sigmoid { sigmoid_limit::sigmoid_limit(evidence) } else { Vec::new() },
    ];
    for claims in long {
        if (evidence.interrupted)() {
            break;
        }
        rows.extend(claims());
    }
    rows.sort_by_key(|row| ORDER.iter().position(|claim| *claim == row.claim));
    rows
}

/// The order in which claims are shown: the flow itself, its convergence, predictions, limits.
const ORDER: [&str; 20] = [
    "over-parametrised",
    "pieces",
    "next-piece",
    "invertible",
    "codimension-2",
    "finite-time",
    "energy",
    "positive-definite",
    "bound",
    "integral-bound",
    "one-sided-bound",
    "no-rest",
    "predicted-half",
    "a-priori",
    "chatterjee",
    "relu-limit-path",
    "relu-limit-lambda0",
    "sigmoid-limit-error",
    "sigmoid-limit-path",
    "sigmoid-limit-lambda0",
];
