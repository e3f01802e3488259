//! Bracketed root finding and minimisation of a scalar function along a step.

/// More evaluations than bisection would need for any bracket.
const MOST_EVALUATIONS: usize = 200;
/// A point this much of the resolution away from the root is the root.
const STANDS_FOR_ROOT: f64 = 0.1;

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

/// Shrinks a bracket by Chandrupatla's method (Adv. Eng. Software 28:145, 1997): inverse quadratic interpolation where three points show
/// that it will converge, bisection elsewhere. Ends with a bracket of width `x_tol`, or as soon as one of its ends is so close to the
/// root, by the slope there, that it stands for it.
pub fn shrink(mut bracket: Bracket, x_tol: f64, mut f: impl FnMut(f64) -> f64) -> Bracket {
    // The end replaced last.
    let mut retired: Option<(f64, f64)> = None;
    let mut latest_is_inside = true;
    for _ in 0..MOST_EVALUATIONS {
        let width = bracket.width();
        if width <= x_tol || bracket.inside.1 == 0.0 {
            break;
        }
        let (latest, other) =
            if latest_is_inside { (bracket.inside, bracket.outside) } else { (bracket.outside, bracket.inside) };
        let margin = 0.5 * x_tol / width;
        let part = match retired {
            None => Some(latest.1 / (latest.1 - other.1)),
            Some(retired) => inverse_quadratic(latest, other, retired),
        };
        // Values may be infinite (a margin relative to nothing) or too large for a difference: only their signs count then.
        let part = part.filter(|part| part.is_finite()).unwrap_or(0.5);
        let x = latest.0 + part.clamp(margin, 1.0 - margin) * (other.0 - latest.0);
        // At the resolution of f64 the new point may fall onto an end; then the bracket cannot shrink further.
        if x == latest.0 || x == other.0 {
            break;
        }
        let value = f(x);
        let is_inside = value >= 0.0;
        let end = if is_inside { &mut bracket.inside } else { &mut bracket.outside };
        let replaced = std::mem::replace(end, (x, value));
        let slope = (value - replaced.1).abs() / (x - replaced.0).abs();
        retired = Some(replaced);
        latest_is_inside = is_inside;
        if slope.is_finite() && value.abs() <= STANDS_FOR_ROOT * x_tol * slope {
            break;
        }
    }
    bracket
}

/// A point at most about `x_tol` behind the root of the bracket, where f is negative; mostly the last one evaluated.
pub fn first_outside(bracket: Bracket, x_tol: f64, mut f: impl FnMut(f64) -> f64) -> f64 {
    let bracket = shrink(bracket, x_tol, &mut f);
    if bracket.width() <= x_tol || bracket.best() == bracket.outside.0 {
        return bracket.outside.0;
    }
    // The inner end stands for the root: just behind it f is negative, unless rounding has a say.
    let mut step = 0.5 * x_tol;
    loop {
        let x = bracket.inside.0 + step;
        if x >= bracket.outside.0 {
            return bracket.outside.0;
        }
        if f(x) < 0.0 {
            return x;
        }
        step *= 2.0;
    }
}

/// The part of the way from `latest` to `other` at which the inverse of f, quadratic through three points, has its root, if that
/// quadratic is monotone there.
fn inverse_quadratic(latest: (f64, f64), other: (f64, f64), retired: (f64, f64)) -> Option<f64> {
    let ((x1, f1), (x2, f2), (x3, f3)) = (latest, other, retired);
    let (xi, phi) = ((x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2));
    (phi * phi < xi && (1.0 - phi).powi(2) < 1.0 - xi)
        .then(|| f1 / (f2 - f1) * f3 / (f2 - f3) + (x3 - x1) / (x2 - x1) * f1 / (f3 - f1) * f2 / (f3 - f2))
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

    type Function = fn(f64) -> f64;

    fn bisected(f: Function) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if f(middle) >= 0.0 { low = middle } else { high = middle }
        }
        high
    }

    #[test]
    fn roots_are_found_to_the_last_digits_in_few_evaluations() {
        let functions: [(&str, Function, usize); 5] = [
            ("cosine", |x| (1.5 * x).cos() - 0.3, 7),
            ("cubic touching flat", |x| 0.3 - x * x * x, 9),
            ("steep", |x| 1.0 - (20.0 * (x - 0.2)).exp(), 14),
            ("line", |x| 0.123 - x, 2),
            ("jump", |x| if x < 0.7 { 1.0 } else { -3.0 }, 60),
        ];
        for (name, f, most) in functions {
            let mut n = 0;
            let bracket = Bracket { inside: (0.0, f(0.0)), outside: (1.0, f(1.0)) };
            let result = shrink(bracket, 1e-15, |x| {
                n += 1;
                f(x)
            });
            let root = bisected(f);
            assert!((result.best() - root).abs() <= 2e-15, "{name}: {result:?}, not {root}");
            assert!(result.inside.1 >= 0.0 && result.outside.1 < 0.0 && result.inside.0 < result.outside.0, "{name}");
            assert!(n <= most, "{name} took {n} evaluations");
            let behind = first_outside(Bracket { inside: (0.0, f(0.0)), outside: (1.0, f(1.0)) }, 1e-15, f);
            assert!(f(behind) < 0.0 && behind - root <= 3e-15, "{name}: {behind}, not behind {root}");
        }
    }

    #[test]
    fn infinite_values_count_by_their_signs() {
        for (inside, outside) in [(f64::INFINITY, -1.0), (1.0, f64::NEG_INFINITY), (f64::INFINITY, f64::MIN)] {
            let f = |x: f64| if x < 0.3 { inside } else { outside };
            let result = shrink(Bracket { inside: (0.0, inside), outside: (1.0, outside) }, 1e-12, f);
            assert!(result.width() <= 1e-12 && result.inside.0 < 0.3 && result.outside.0 >= 0.3, "{result:?}");
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
