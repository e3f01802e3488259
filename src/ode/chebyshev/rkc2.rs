//! RKC of order 2: Chebyshev polynomials, damped and shifted.
//!
//! B. P. Sommeijer, L. F. Shampine, J. G. Verwer, RKC: an explicit solver for parabolic PDEs, J. Comput. Appl. Math. 88 (1998) 315-326. Stage j has
//! the stability polynomial 1 − b_j T_j(w₀) + b_j T_j(w₀ + w₁z), of order 2 for every j ≥ 2, so that all stages are solutions
//! at their own nodes.

use super::scheme::{Scheme, Stage};

/// Damping ε: |R| stays below about 1 − ε/3 inside the interval.
const DAMPING: f64 = 2.0 / 13.0;

/// Fewest stages.
pub(super) const FEWEST: usize = 2;
/// Most stages that are ever used; the interval is 4·10⁴ then.
pub(super) const MOST: usize = 250;

/// Weights of the error estimate 0.8(y₀ − y₁) + 0.4h(f₀ + f₁), eq. (2.8) of the paper: of the states and of the slopes.
pub(super) const ERROR: (f64, f64) = (0.8, 0.4);

/// Length of the real stability interval with `n_stages` stages.
pub(super) fn interval(n_stages: usize) -> f64 {
    2.0 / 3.0 * ((n_stages * n_stages) as f64 - 1.0) * (1.0 - 2.0 / 15.0 * DAMPING)
}

/// Most stages at relative tolerance `rtol`: rounding errors grow with their square.
pub(super) fn most_stages(rtol: f64) -> usize {
    ((rtol / (10.0 * f64::EPSILON)).sqrt() as usize).clamp(FEWEST, MOST)
}

/// The scheme with `n_stages` ≥ 2 stages.
pub(super) fn scheme(n_stages: usize) -> Scheme {
    let w0 = 1.0 + DAMPING / (n_stages * n_stages) as f64;
    let chebyshev = values(n_stages, w0);
    let (_, first, second) = chebyshev[n_stages];
    let w1 = first / second;
    let b: Vec<f64> = (0..=n_stages)
        .map(|j| {
            let (_, first, second) = chebyshev[j.max(2)];
            if j == 1 { 1.0 / w0 } else { second / (first * first) }
        })
        .collect();
    let mut stages = vec![Stage { last: 1.0, slope: b[1] * w1, ..Stage::default() }];
    for j in 2..=n_stages {
        let (last, before) = (2.0 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2]);
        let slope = 2.0 * b[j] * w1 / b[j - 1];
        let first_slope = -(1.0 - b[j - 1] * chebyshev[j - 1].0) * slope;
        stages.push(Stage { first: 1.0 - last - before, last, before, slope, first_slope });
    }
    Scheme { stages, finish: None }
}

/// T_j, T_j′ and T_j″ at x for j up to `degree`.
fn values(degree: usize, x: f64) -> Vec<(f64, f64, f64)> {
    let mut values = vec![(1.0, 0.0, 0.0), (x, 1.0, 0.0)];
    for j in 2..=degree {
        let ((t0, d0, s0), (t1, d1, s1)) = (values[j - 2], values[j - 1]);
        values.push((2.0 * x * t1 - t0, 2.0 * t1 + 2.0 * x * d1 - d0, 4.0 * d1 + 2.0 * x * s1 - s0));
    }
    values
}
