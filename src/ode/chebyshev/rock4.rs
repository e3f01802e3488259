//! ROCK4: orthogonal polynomials with a recurrence, ended by four stages that make the whole of order 4.
//!
//! A. Abdulle, Fourth order Chebyshev methods with recurrence relation, SIAM J. Sci. Comput. 23 (2002) 2041-2054. With s stages the stability polynomial is
//! R = w·P, where w has degree 4 and complex zeros, P has degree m = s − 4 and P₀, …, P_m are orthogonal on the interval with the weight
//! w²/√(1 − x²). Then w·P oscillates between nearly equal bounds, and the P_j obey a three-term recurrence that is evaluated as
//! stages. The four stages that follow have the stability polynomial w and are chosen so that the composition meets all eight
//! conditions of order 4.
//!
//! Nothing is tabulated. Given P, order 4 asks for w = e^z/P up to z⁴; given w, P follows from the discrete Stieltjes procedure; going back and forth
//! between the two converges to rounding in half a dozen rounds. The interval is given beforehand: 0.35 s² would leave |R| just below 1, and 0.3 s² − 2.75
//! leaves |R| < 0.37 behind z = −3 for every s from 5 to 100. That costs eight per cent of the stages, and is worth it where oscillating components
//! would cross kinks. Of the two parameters of the four stages that the conditions leave, one makes them follow slow motion closely.

use super::scheme::{Finish, Scheme, Stage};
use std::f64::consts::PI;

/// Fewest stages: one of the recurrence and the last four.
pub(super) const FEWEST: usize = 5;
/// Most stages that are ever used.
pub(super) const MOST: usize = 100;

/// Stages behind the recurrence.
const N_LAST: usize = 4;
/// Where the oscillations begin: |R| is held to the damping on −ℓ ≤ z ≤ −ONSET.
const ONSET: f64 = 3.0;
/// About w for many stages: where the iteration for w starts.
const FAR: [f64; 5] = [1.0, 0.673, 0.2318, 0.0542, 0.00965];
/// Rounds of the iteration; the sixth changes nothing beyond rounding.
const N_ROUNDS: usize = 8;
/// Third node of the last stages, in parts of their length.
const THIRD_NODE: f64 = 0.5;

/// Length of the real stability interval with `n_stages` stages.
pub(super) fn interval(n_stages: usize) -> f64 {
    0.3 * (n_stages * n_stages) as f64 - 2.75
}

/// Most stages at relative tolerance `rtol`. What is stiff leaves the recurrence small and is brought back by the last stages, and with it
/// the rounding errors of the state: up to 0.01 ℓ⁴ times. That must stay below a hundredth of the tolerance.
pub(super) fn most_stages(rtol: f64) -> usize {
    let amplified = |n_stages: usize| FAR[4] * interval(n_stages).powi(4) * f64::EPSILON;
    (FEWEST..=MOST).take_while(|&n_stages| amplified(n_stages) <= 0.01 * rtol).last().unwrap_or(FEWEST)
}

/// The scheme with `n_stages` ≥ 5 stages.
pub(super) fn scheme(n_stages: usize) -> Scheme {
    let degree = n_stages - N_LAST;
    let length = interval(n_stages);
    let mut stages = recurrence(degree, length, &FAR);
    for _ in 0..N_ROUNDS {
        stages = recurrence(degree, length, &quotient(&taylor(&stages)));
    }
    let finish = finish(&Conditions::left_by(&stages), length);
    Scheme { stages, finish: Some(finish) }
}

/// Recurrence of the polynomials in z, one at z = 0, that are orthogonal on [−length, −ONSET] with weight w²/√(1 − x²), w given by its coefficients.
fn recurrence(degree: usize, length: f64, w: &[f64; 5]) -> Vec<Stage> {
    // As many nodes as make the quadrature exact.
    let n_nodes = degree + 2 * N_LAST;
    let half = 0.5 * (length - ONSET);
    // x = 1 + (z + ONSET)/half, as an angle: x = cos 2φ, so that z = −ONSET − 2 half sin²φ without cancellation.
    let nodes: Vec<(f64, f64)> = (0..n_nodes)
        .map(|k| {
            let square = (0.5 * PI * (k as f64 + 0.5) / n_nodes as f64).sin().powi(2);
            let z = -ONSET - 2.0 * half * square;
            (1.0 - 2.0 * square, w.iter().rev().fold(0.0, |sum, c| sum * z + c).powi(2))
        })
        .collect();
    let sum = |term: &dyn Fn(usize) -> f64| (0..n_nodes).map(term).sum::<f64>();
    let x0 = 1.0 + ONSET / half;
    // Orthonormal polynomials at the nodes, and at z = 0.
    let (mut before, mut last) = (vec![0.0; n_nodes], vec![sum(&|k| nodes[k].1).sqrt().recip(); n_nodes]);
    let (mut before_at_0, mut last_at_0) = (0.0, last[0]);
    let mut off_diagonal = 0.0;
    let mut stages = Vec::with_capacity(degree);
    for _ in 0..degree {
        let diagonal = sum(&|k| nodes[k].1 * nodes[k].0 * last[k] * last[k]);
        let mut next: Vec<f64> =
            (0..n_nodes).map(|k| (nodes[k].0 - diagonal) * last[k] - off_diagonal * before[k]).collect();
        let size = sum(&|k| nodes[k].1 * next[k] * next[k]).sqrt();
        next.iter_mut().for_each(|v| *v /= size);
        let next_at_0 = ((x0 - diagonal) * last_at_0 - off_diagonal * before_at_0) / size;
        let ratio = last_at_0 / (size * next_at_0);
        stages.push(Stage {
            last: (x0 - diagonal) * ratio,
            before: -off_diagonal * before_at_0 / (size * next_at_0),
            slope: ratio / half,
            ..Stage::default()
        });
        (before, last) = (last, next);
        (before_at_0, last_at_0, off_diagonal) = (last_at_0, next_at_0, size);
    }
    stages
}

/// Coefficients of 1, z, …, z⁴ of the last polynomial.
fn taylor(stages: &[Stage]) -> [f64; 5] {
    let (mut before, mut last) = ([0.0; 5], [1.0, 0.0, 0.0, 0.0, 0.0]);
    for stage in stages {
        let slope = |k: usize| if k == 0 { 0.0 } else { stage.slope * last[k - 1] };
        let next = std::array::from_fn(|k| stage.last * last[k] + stage.before * before[k] + slope(k));
        (before, last) = (last, next);
    }
    last
}

/// Coefficients of e^z/p up to z⁴, where p(0) = 1.
fn quotient(p: &[f64; 5]) -> [f64; 5] {
    let mut quotient = [0.0; 5];
    let mut factorial = 1.0;
    for k in 0..5 {
        factorial *= k.max(1) as f64;
        quotient[k] = 1.0 / factorial - (1..=k).map(|j| p[j] * quotient[k - j]).sum::<f64>();
    }
    quotient
}

/// What the recurrence leaves for the last stages to meet: Σb, Σbc, Σbc², ΣbAc, Σbc³, ΣbcAc, ΣbAc², ΣbAAc of a method that starts
/// from its end.
#[derive(Debug, Clone, Copy)]
struct Conditions {
    b: f64,
    bc: f64,
    bcc: f64,
    bac: f64,
    bccc: f64,
    bcac: f64,
    bacc: f64,
    baac: f64,
}

impl Conditions {
    fn left_by(stages: &[Stage]) -> Self {
        // Elementary weights of the end of the recurrence, in the order of the names: they obey the recurrence as the states do.
        let (mut before, mut last) = ([0.0_f64; 8], [0.0_f64; 8]);
        for stage in stages {
            let [c, ac, acc, aac, ..] = last;
            let slope = [1.0, c, c * c, ac, c.powi(3), c * ac, acc, aac];
            let next =
                std::array::from_fn(|k| stage.last * last[k] + stage.before * before[k] + stage.slope * slope[k]);
            (before, last) = (last, next);
        }
        let [t, tc, tcc, tac, tccc, tcac, tacc, taac] = last;
        // The conditions of order 4 for the composition, whose later stages have the nodes t + c_i, solved for the sums over them.
        let b = 1.0 - t;
        let bc = 0.5 - tc - t * b;
        let bcc = 1.0 / 3.0 - tcc - 2.0 * t * bc - t * t * b;
        let bac = 1.0 / 6.0 - tac - tc * b - t * bc;
        Self {
            b,
            bc,
            bcc,
            bac,
            bccc: 0.25 - tccc - 3.0 * t * bcc - 3.0 * t * t * bc - t.powi(3) * b,
            bcac: 0.125 - tcac - t * (1.0 / 6.0 - tac) - tc * bc - t * bcc,
            bacc: 1.0 / 12.0 - tacc - tcc * b - t * t * bc - 2.0 * t * bac,
            baac: 1.0 / 24.0 - taac - tac * b - tc * bc - t * bac,
        }
    }
}

/// Second node of the last stages, in parts of their length. What is stiff follows the slow motion with an error like h²y″ (hλ)³ that is linear in
/// this node; with many stages most of it is gone here. With few it is small anyway, and the coefficients would not be.
fn second_node(length: f64) -> f64 {
    (0.138 - 1.24 / length).max(0.1)
}

/// The last four stages, for a whole step with an interval of `length`.
fn finish(conditions: &Conditions, length: f64) -> Finish {
    let Conditions { b, bc, bcc, bac, bccc, bcac, bacc, baac } = *conditions;
    let (c2, c3) = (second_node(length) * b, THIRD_NODE * b);
    // The four conditions with A in them are linear in b₃a₃₂, b₄(Ac)₄ and b₄a₄₃; that they agree fixes c₄.
    let rest = bacc - c2 * bac;
    let c4 = (baac * (bccc - c2 * bcc) - rest * bcac) / (baac * (bcc - c2 * bc) - rest * bac);
    // Lagrange's formula for the moments of b₂, b₃, b₄.
    let weight = |c: f64, d: f64, e: f64| (bccc - (d + e) * bcc + d * e * bc) / (c * (c - d) * (c - e));
    let (b2, b3, b4) = (weight(c2, c3, c4), weight(c3, c2, c4), weight(c4, c2, c3));
    let a32 = (bcac - c4 * bac) / (b3 * (c3 - c4)) / c2;
    let a43 = rest / (b4 * c3 * (c3 - c2));
    let a42 = ((bcac - c3 * bac) / (b4 * (c4 - c3)) - a43 * c3) / c2;
    // The weights of the estimate annihilate all conditions up to order 3, which leaves a factor: the field at the end has the node b and Ac = Σbc.
    let nodes = [c2, c3, c4, b];
    let ac = [0.0, a32 * c2, a42 * c2 + a43 * c3, bc];
    let error = null_vector(&nodes, &ac).map(|e| e * ERROR_SIZE / length.sqrt());
    Finish {
        rows: [vec![c2], vec![c3 - a32, a32], vec![c4 - a42 - a43, a42, a43]],
        weights: [b - b2 - b3 - b4, b2, b3, b4],
        error,
    }
}

/// Weight of the field at the end in the error estimate, times √ℓ: of a stiff component the estimate sees up to 0.4 √ℓ times
/// what is left of it, and of a smooth one about 0.01/√ℓ h⁴y⁗.
const ERROR_SIZE: f64 = 0.4;

/// Weights of five stages, the last one 1 and the first with node 0, whose sums with 1, c, c² and Ac vanish.
fn null_vector(nodes: &[f64; 4], ac: &[f64; 4]) -> [f64; 5] {
    let column = |k: usize| [nodes[k], nodes[k] * nodes[k], ac[k]];
    let determinant = |u: [f64; 3], v: [f64; 3], w: [f64; 3]| {
        u[0] * (v[1] * w[2] - v[2] * w[1]) - u[1] * (v[0] * w[2] - v[2] * w[0]) + u[2] * (v[0] * w[1] - v[1] * w[0])
    };
    // Cramer's rule.
    let (two, three, four, end) = (column(0), column(1), column(2), column(3).map(|v| -v));
    let all = determinant(two, three, four);
    let inner = [determinant(end, three, four), determinant(two, end, four), determinant(two, three, end)];
    let [e2, e3, e4] = inner.map(|d| d / all);
    [-1.0 - e2 - e3 - e4, e2, e3, e4, 1.0]
}
