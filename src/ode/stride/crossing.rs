//! Where a cubic first becomes negative.

use super::super::root::{Bracket, shrink};

/// Slopes and curvatures below this part of `size` count as zero at a boundary that was just left.
const FLAT: f64 = 1e-8;

/// First x in [0, length) at which f0 + f1 x + f2 x² + f3 x³ turns negative, given f0 > 0. `None` when it does not, or when touching zero is
/// all it does.
pub fn first_negative(f: [f64; 4], length: f64) -> Option<f64> {
    let value = |x: f64| f[0] + x * (f[1] + x * (f[2] + x * f[3]));
    let l = length;
    // Bézier coefficients: the cubic lies above the lowest of them.
    let low = (f[0] + f[1] * l / 3.0).min(f[0] + 2.0 / 3.0 * f[1] * l + f[2] * l * l / 3.0).min(value(l));
    if low >= 0.0 {
        return None;
    }
    // Between zeros of its derivative the cubic is monotone.
    let (a, b, c) = (3.0 * f[3], 2.0 * f[2], f[1]);
    let discriminant = b * b - 4.0 * a * c;
    let mut turns = [l, l];
    if discriminant > 0.0 {
        let q = -0.5 * (b + b.signum() * discriminant.sqrt());
        turns = [q / a, c / q].map(|x| if x > 0.0 && x < l { x } else { l });
        if turns[0] > turns[1] {
            turns.swap(0, 1);
        }
    }
    let mut inside = (0.0, f[0]);
    for x in [turns[0], turns[1], l] {
        let end = (x, value(x));
        if end.1 < 0.0 {
            return Some(shrink(Bracket { inside, outside: end }, 1e-16 + 1e-15 * x, value).best());
        }
        if x > inside.0 {
            inside = end;
        }
    }
    None
}

/// The same from a boundary that was just left: f0 = 0, and the rate f1 points inwards or is zero to rounding of `size`.
pub fn first_return(f: [f64; 4], size: f64, length: f64) -> Option<f64> {
    if f[1] > FLAT * size {
        return first_negative([f[1], f[2], f[3], 0.0], length);
    }
    if f[2] > 0.0 {
        return first_negative([f[2], f[3], 0.0, 0.0], length);
    }
    Some(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (x − r0)(x − r1)(x − r2)·scale as coefficients.
    fn with_roots(r: [f64; 3], scale: f64) -> [f64; 4] {
        let [a, b, c] = r;
        [-a * b * c, a * b + a * c + b * c, -(a + b + c), 1.0].map(|v| v * scale)
    }

    #[test]
    fn the_first_sign_change_is_found_wherever_it_is() {
        for (roots, scale, length, expected) in [
            ([0.3, 0.5, 0.9], -1.0, 1.0, Some(0.3)),
            ([0.3, 0.3001, 0.9], -1.0, 1.0, Some(0.3)),
            ([-1.0, 0.7, 2.0], 1.0, 1.0, Some(0.7)),
            ([-1.0, 1.7, 2.0], 1.0, 1.0, None),
            ([-1.0, -2.0, -3.0], 1.0, 1.0, None),
            ([1e-9, 2.0, 3.0], -1.0, 1.0, Some(1e-9)),
        ] {
            let f = with_roots(roots, scale);
            assert!(f[0] > 0.0, "{roots:?}");
            match (first_negative(f, length), expected) {
                (Some(x), Some(e)) => assert!((x - e).abs() < 1e-11, "{roots:?}: {x}"),
                (None, None) => {}
                (found, _) => panic!("{roots:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn leaving_a_boundary_is_no_return_to_it() {
        // x(1 − x/0.4): back at 0.4.
        let x = first_return([0.0, 1.0, -2.5, 0.0], 1.0, 1.0).unwrap();
        assert!((x - 0.4).abs() < 1e-14);
        // Leaves with no speed but the right acceleration, and returns at 0.6.
        let x = first_return([0.0, 1e-12, 0.6, -1.0], 1.0, 1.0).unwrap();
        assert!((x - 0.6).abs() < 1e-14);
        assert_eq!(first_return([0.0, 1.0, 1.0, 0.0], 1.0, 1.0), None);
        assert_eq!(first_return([0.0, 0.0, -1.0, 0.0], 1.0, 1.0), Some(0.0));
    }
}
