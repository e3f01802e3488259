//! Bracketed root finding and minimisation of a scalar function along a step.

/// A bracket of a sign change: `f(inside.0)` ≥ 0 > `f(outside.0)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bracket {
    /// Abscissa and value on the non-negative end.
    pub inside: (f64, f64),
    /// Abscissa and value on the negative end.
    pub outside: (f64, f64),
}

impl Bracket {
    /// Width of the bracket.
    pub fn width(&self) -> f64 {
        (self.outside.0 - self.inside.0).abs()
    }

    /// The end with the smaller |f|.
    pub fn best(&self) -> f64 {
        if self.inside.1 <= -self.outside.1 { self.inside.0 } else { self.outside.0 }
    }
}

/// Shrinks a bracket below `x_tol` by the ITP method (Oliveira & Takahashi, ACM TOMS 47, 2020), which needs at most one evaluation
/// more than bisection and converges superlinearly on smooth functions.
pub fn shrink(mut bracket: Bracket, x_tol: f64, mut f: impl FnMut(f64) -> f64) -> Bracket {
    let half_tol = 0.5 * x_tol;
    let width_0 = bracket.width();
    if width_0 <= x_tol {
        return bracket;
    }
    let slack = 1;
    let max_steps = (width_0 / x_tol).log2().ceil() as i32 + slack;
    let truncation = 0.2 / width_0;
    for step in 0..max_steps {
        let ((a, f_a), (b, f_b)) = (bracket.inside, bracket.outside);
        let width = bracket.width();
        if width <= x_tol || f_a == 0.0 {
            break;
        }
        let middle = 0.5 * (a + b);
        let interpolated = (f_a * b - f_b * a) / (f_a - f_b);
        let towards_middle = (middle - interpolated).signum();
        let shift = (truncation * width * width).max(half_tol);
        let truncated =
            if shift <= (middle - interpolated).abs() { interpolated + towards_middle * shift } else { middle };
        let radius = (half_tol * f64::powi(2.0, max_steps - step) - 0.5 * width).max(0.0);
        let x = if (truncated - middle).abs() <= radius { truncated } else { middle - towards_middle * radius };
        let (low, high) = (a.min(b), a.max(b));
        // At the resolution of f64 the new point may fall onto an end; then the bracket cannot shrink further.
        let x = if x > low && x < high { x } else { middle };
        if x <= low || x >= high {
            break;
        }
        let value = f(x);
        if value >= 0.0 {
            bracket.inside = (x, value);
        } else {
            bracket.outside = (x, value);
        }
    }
    bracket
}

/// Minimum of the cubic with values `g` and slopes `d` (per unit x) at x = 0 and 1, over the open interval: (x, value), if interior.
pub fn cubic_minimum(g: (f64, f64), d: (f64, f64)) -> Option<(f64, f64)> {
    let rise = g.1 - g.0;
    let (b, c, a) = (d.0, 3.0 * rise - 2.0 * d.0 - d.1, d.0 + d.1 - 2.0 * rise);
    // Roots of b + 2c x + 3a x²; the minimum is where the slope increases.
    let discriminant = c * c - 3.0 * a * b;
    if discriminant < 0.0 {
        return None;
    }
    let root = discriminant.sqrt();
    // The root with 2c + 6a x = +2·root, written without cancellation.
    let x = if c <= 0.0 { (root - c) / (3.0 * a) } else { -b / (c + root) };
    (x > 0.0 && x < 1.0).then_some((x, g.0 + x * (b + x * (c + x * a))))
}

/// First root in (0, 1] of the cubic with values `g` and slopes `d` at the ends, given g.0 ≥ 0 > g.1; an estimate to about 1e-3.
pub fn cubic_root_estimate(g: (f64, f64), d: (f64, f64)) -> f64 {
    let rise = g.1 - g.0;
    let (b, c, a) = (d.0, 3.0 * rise - 2.0 * d.0 - d.1, d.0 + d.1 - 2.0 * rise);
    let value = |x: f64| g.0 + x * (b + x * (c + x * a));
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..10 {
        let middle = 0.5 * (low + high);
        if value(middle) > 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_found_to_the_last_digits_in_few_evaluations() {
        type Function = fn(f64) -> f64;
        let functions: [(&str, Function); 4] = [
            ("cosine", |x| (1.5 * x).cos() - 0.3),
            ("cubic touching flat", |x| 0.3 - x * x * x),
            ("steep", |x| 1.0 - (20.0 * (x - 0.2)).exp()),
            ("line", |x| 0.123 - x),
        ];
        for (name, f) in functions {
            let mut n = 0;
            let bracket = Bracket { inside: (0.0, f(0.0)), outside: (1.0, f(1.0)) };
            let result = shrink(bracket, 1e-15, |x| {
                n += 1;
                f(x)
            });
            assert!(result.width() <= 2e-15, "{name}: {result:?}");
            assert!(f(result.best()).abs() < 1e-13, "{name}: {}", f(result.best()));
            assert!(n <= 20, "{name} took {n} evaluations");
        }
    }

    #[test]
    fn the_interior_minimum_of_a_cubic_is_exact() {
        // (x − 0.3)²(x + 1) = x³ + 0.4x² − 0.51x + 0.09 has its minimum 0 at 0.3.
        let value = |x: f64| (x - 0.3) * (x - 0.3) * (x + 1.0);
        let slope = |x: f64| 3.0 * x * x + 0.8 * x - 0.51;
        let (x, minimum) = cubic_minimum((value(0.0), value(1.0)), (slope(0.0), slope(1.0))).unwrap();
        assert!((x - 0.3).abs() < 1e-12 && minimum.abs() < 1e-12, "{x} {minimum}");
        assert_eq!(cubic_minimum((1.0, 2.0), (1.0, 1.0)), None);
    }
}
