//! The three nodes of a stride and the weights that belong to them.
//!
//! Nodes are 0, ½ and 1 (Lobatto collocation of order 4: Hairer & Wanner II, table IV.5.7). A scalar with jumps, such as a seed, is
//! represented by the quadratic whose integrals over [0, ½] and [0, 1] are right and whose value at 0 is: put into the nodes, it makes the
//! quadrature integrate the jumps exactly.

/// A polynomial c0 + c1 x + c2 x².
pub type Quadratic = [f64; 3];

/// The nodes.
pub const NODES: [f64; 3] = [0.0, 0.5, 1.0];

/// Where a finished stride is checked; not a node.
pub const CHECK: f64 = 0.75;

/// Abscissae at which the path of the active switches is recorded: the nodes after the first, and the check.
pub const RECORDED: [f64; 3] = [0.5, 1.0, CHECK];

/// The quadratic with the given values at the nodes.
pub fn through(v: [f64; 3]) -> Quadratic {
    [v[0], -3.0 * v[0] + 4.0 * v[1] - v[2], 2.0 * v[0] - 4.0 * v[1] + 2.0 * v[2]]
}

/// Its value at x.
#[inline(always)]
pub fn at(q: &Quadratic, x: f64) -> f64 {
    q[0] + x * (q[1] + x * q[2])
}

/// ∫₀ˣ.
#[inline(always)]
pub fn integral(q: &Quadratic, x: f64) -> f64 {
    x * (q[0] + x * (q[1] / 2.0 + x * q[2] / 3.0))
}

/// ∫₀ˣ (x − u) q(u) du.
#[inline(always)]
pub fn second_integral(q: &Quadratic, x: f64) -> f64 {
    x * x * (q[0] / 2.0 + x * (q[1] / 6.0 + x * q[2] / 12.0))
}

/// The same polynomial in y = x − x0.
#[inline(always)]
pub fn shifted(q: &Quadratic, x0: f64) -> Quadratic {
    [at(q, x0), q[1] + 2.0 * x0 * q[2], q[2]]
}

/// The quadratic with value `first` at 0 and integrals `i` over [0, ½] and [0, 1], as values at the nodes.
pub fn with_integrals(first: f64, i: [f64; 2]) -> [f64; 3] {
    let (a, b) = (i[0] - 5.0 / 24.0 * first, i[1] - first / 6.0);
    [first, 2.0 * a + 0.5 * b, -8.0 * a + 4.0 * b]
}

/// Weights of the nodes in ∫₀ˣ of the quadratic through them.
pub fn weights(x: f64) -> [f64; 3] {
    let basis = |k: usize| {
        let mut v = [0.0; 3];
        v[k] = 1.0;
        integral(&through(v), x)
    };
    [basis(0), basis(1), basis(2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quadratics_are_represented_exactly() {
        let q = [0.3, -1.7, 2.9];
        let values = NODES.map(|x| at(&q, x));
        let found = through(values);
        for (a, b) in found.iter().zip(&q) {
            assert!((a - b).abs() < 1e-14);
        }
        let from_integrals = with_integrals(q[0], [integral(&q, 0.5), integral(&q, 1.0)]);
        for (a, b) in from_integrals.iter().zip(&values) {
            assert!((a - b).abs() < 1e-14, "{from_integrals:?} {values:?}");
        }
        for x in [0.25, 0.5, 1.0] {
            let by_weights: f64 = weights(x).iter().zip(&values).map(|(w, v)| w * v).sum();
            assert!((by_weights - integral(&q, x)).abs() < 1e-15);
            // ∫₀ˣ (x − u) q(u) du = ∫₀ˣ ∫₀ᵘ q: differences of the outer integral by Simpson's rule, exact for cubics.
            let inner = |u: f64| integral(&q, u);
            let simpson = x / 6.0 * (inner(0.0) + 4.0 * inner(0.5 * x) + inner(x));
            assert!((simpson - second_integral(&q, x)).abs() < 1e-15);
            let moved = shifted(&q, x);
            assert!((at(&moved, 0.2) - at(&q, x + 0.2)).abs() < 1e-14);
        }
        assert_eq!(weights(1.0).map(|w| (6.0 * w).round()), [1.0, 4.0, 1.0]);
    }
}
