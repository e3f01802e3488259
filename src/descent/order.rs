//! The observed order of gradient descent in η on a fixed horizon.

/// Steps up to this part of 1/λ_max are inside the asymptotic range on networks with kinks; with longer ones decisions between crossing
/// and sliding flip, and the order is irregular.
pub const REGULAR: f64 = 0.05;

/// Step sizes that a fit needs.
const FEWEST: usize = 3;

/// Distances below this multiple of the flow's tolerance are not descent's alone.
const RESOLVED: f64 = 100.0;

/// Step sizes up to which an order is to be expected.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// 0.05/λ_max at the horizon, for networks with kinks.
    pub regular: Option<f64>,
    /// 1/λ_max, with the largest sharpness measured up to the horizon: half of what is stable.
    pub asymptotic: Option<f64>,
}

/// Distances at one time for several step sizes, and the slope of their logarithms.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderFit {
    /// The time.
    pub horizon: f64,
    /// (η, distance), η decreasing.
    pub points: Vec<(f64, f64)>,
    /// Least-squares slope of log distance over log η; `None` with fewer than three step sizes, or where a distance is 0.
    pub order: Option<f64>,
    /// How long steps may be for the order to mean something.
    pub limits: Limits,
    /// 100 times the error tolerated in the flow: distances below are not resolved.
    pub least_resolved: f64,
}

impl OrderFit {
    /// Fits `points`; `tolerance` is the norm of the error that the flow's steps may make.
    pub fn new(horizon: f64, mut points: Vec<(f64, f64)>, limits: Limits, tolerance: f64) -> Self {
        points.sort_by(|a, b| b.0.total_cmp(&a.0));
        points.dedup_by_key(|p| p.0);
        let is_usable = points.len() >= FEWEST && points.iter().all(|&(_, d)| d > 0.0 && d.is_finite());
        let order = is_usable.then(|| slope(&points));
        Self { horizon, points, order, limits, least_resolved: RESOLVED * tolerance }
    }

    /// Why the order is not to be relied on, if so.
    pub fn caveat(&self) -> Option<String> {
        self.order?;
        let (largest, least) = (self.points[0].0, self.points.iter().fold(f64::INFINITY, |m, p| m.min(p.1)));
        match self.limits {
            Limits { regular: Some(limit), .. } if largest > limit => Some(format!(
                "irregular: step sizes above 0.05/λ_max(T) = {limit:.3e} on a network with kinks, where crossings and slides come out \
                 differently from one step size to the next"
            )),
            Limits { asymptotic: Some(limit), .. } if largest > limit => Some(format!(
                "no order: step sizes above 1/λ_max = {limit:.3e}, too long for the distance to follow a power of η"
            )),
            _ if least < self.least_resolved => Some(format!(
                "not resolved: the smallest distance {least:.1e} is near the tolerance of the flow; lower flow.rtol"
            )),
            _ => None,
        }
    }
}

fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(|p| of(p).ln()).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let products = points.iter().map(|p| (p.0.ln() - x) * (p.1.ln() - y)).sum::<f64>();
    products / points.iter().map(|p| (p.0.ln() - x).powi(2)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_power_law_is_its_exponent() {
        let points: Vec<(f64, f64)> = [0.1, 0.05, 0.02, 0.01].iter().map(|&h: &f64| (h, 3.0 * h.powf(1.7))).collect();
        let none = Limits::default();
        let fit = OrderFit::new(1.0, points.clone(), none, 0.0);
        assert!((fit.order.expect("four points") - 1.7).abs() < 1e-13, "{fit:?}");
        assert_eq!(fit.caveat(), None);
        assert_eq!(OrderFit::new(1.0, points[..2].to_vec(), none, 0.0).order, None);
        let caveat = |limits: Limits, tolerance: f64| OrderFit::new(1.0, points.clone(), limits, tolerance).caveat();
        let limit = |regular, asymptotic| Limits { regular, asymptotic };
        assert!(caveat(limit(Some(0.05), None), 0.0).is_some_and(|c| c.starts_with("irregular")));
        assert!(caveat(limit(None, Some(0.05)), 0.0).is_some_and(|c| c.starts_with("no order")));
        assert_eq!(caveat(limit(Some(0.1), Some(0.1)), 0.0), None);
        assert!(caveat(none, 1.0).is_some_and(|c| c.starts_with("not resolved")));
    }
}
