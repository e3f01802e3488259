//! The decay rate of a run: a fitted number, where λ₀ is a bound.

/// The rate c of ‖y − F_t‖ ≈ C e^{−ct} over the later half of a decay, by least squares; `None` when there are not two times to fit.
///
/// `residuals` are pairs (t, ‖y − F_t‖) in the order of time. The later half is where ln‖y − F_t‖ lies below the middle of its first
/// and its last value, with the last point above it; points at which the residual is exactly zero are left out. The fitted slope
/// minimises the integral over *time* of the squared distance between ln‖y − F_t‖ and a straight line, by the trapezoidal rule: points
/// crowd where events do, and a fit that counted points would favour those stretches.
pub fn decay_rate(residuals: &[(f64, f64)]) -> Option<f64> {
    let logarithms: Vec<(f64, f64)> = residuals.iter().filter(|(_, r)| *r > 0.0).map(|&(t, r)| (t, r.ln())).collect();
    let (first, last) = (logarithms.first()?, logarithms.last()?);
    let middle = 0.5 * (first.1 + last.1);
    let below = logarithms.iter().position(|&(_, log)| log <= middle)?;
    slope(&logarithms[below.saturating_sub(1)..]).map(|slope| -slope)
}

/// The straight line nearest to a polygon in the mean square over its abscissa.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let weights: Vec<f64> =
        (0..points.len()).map(|k| points[(k + 1).min(points.len() - 1)].0 - points[k.saturating_sub(1)].0).collect();
    let total: f64 = weights.iter().sum();
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().zip(&weights).map(|(p, w)| w * of(p)).sum::<f64>() / total;
    let (centre, height) = (mean(|p| p.0), mean(|p| p.1));
    let moment = |of: fn(f64, f64) -> f64| -> f64 {
        points.iter().zip(&weights).map(|(&(t, log), w)| w * of(t - centre, log - height)).sum()
    };
    let (spread, covariance) = (moment(|t, _| t * t), moment(|t, log| t * log));
    (spread > 0.0).then_some(covariance / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times that crowd towards 0, as those of a run do.
    fn crowded(count: usize, end: f64) -> impl Iterator<Item = f64> {
        (0..=count).map(move |k| end * (k as f64 / count as f64).powi(3))
    }

    #[test]
    fn the_rate_of_an_exponential_is_its_exponent_whatever_the_times() {
        for (count, rate) in [(1, 0.25), (2, 3.0), (50, 1e-3), (333, 40.0)] {
            let residuals: Vec<(f64, f64)> = crowded(count, 7.0).map(|t| (t, 5.0 * (-rate * t).exp())).collect();
            let found = decay_rate(&residuals).expect("there are two times");
            // Logarithms of numbers down to e^{−280} are rounded to 280 ε.
            assert!((found - rate).abs() <= 1e-12 * (1.0 + rate), "{count} intervals: {found} for {rate}");
        }
    }

    #[test]
    fn a_rate_that_changes_is_averaged_over_the_time_of_the_later_half() {
        // For ln r = −(a t + b t²) on [s, T] the least-squares line has slope −(a + b (s + T)), whatever the density of points. The
        // later half begins where a t + b t² is half of its value at T.
        let (a, b, end) = (0.5, 0.25, 4.0_f64);
        let half = 0.5 * (a * end + b * end * end);
        let start = (-a + (a * a + 4.0 * b * half).sqrt()) / (2.0 * b);
        let expected = a + b * (start + end);
        for count in [2_000, 4_000] {
            let residuals: Vec<(f64, f64)> = crowded(count, end).map(|t| (t, (-a * t - b * t * t).exp())).collect();
            let found = decay_rate(&residuals).expect("there are two times");
            // The window begins up to one interval early, of a length below 3 T / count.
            assert!((found - expected).abs() < b * 3.0 * end / count as f64, "{found} for {expected}");
        }
    }

    #[test]
    fn a_residual_that_has_no_logarithm_or_no_second_time_has_no_rate() {
        assert_eq!(decay_rate(&[]), None);
        assert_eq!(decay_rate(&[(0.0, 1.0)]), None);
        assert_eq!(decay_rate(&[(0.0, 1.0), (0.0, 1.0)]), None);
        assert_eq!(decay_rate(&[(0.0, 0.0), (1.0, 0.0)]), None);
        assert_eq!(decay_rate(&[(0.0, 2.0), (1.0, 2.0), (3.0, 2.0)]), Some(0.0));
        let with_zero = decay_rate(&[(0.0, 1.0), (1.0, (-2.0_f64).exp()), (2.0, 0.0)]);
        assert!((with_zero.unwrap_or(f64::NAN) - 2.0).abs() < 1e-15, "{with_zero:?}");
    }
}
