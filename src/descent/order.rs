//! The observed order of gradient descent in η on a fixed horizon.

/// Steps up to this part of 1/λ_max are inside the asymptotic range on networks with kinks; with longer ones decisions between crossing
/// and sliding flip, and the order is irregular.
pub const REGULAR: f64 = 0.05;

/// Step sizes that a fit needs.
const FEWEST: usize = 3;

/// Distances below this multiple of the flow's tolerance are not descent's alone.
const RESOLVED: f64 = 100.0;

/// Distances at one time for several step sizes, and the slope of their logarithms.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderFit {
    /// The time.
    pub horizon: f64,
    /// (η, distance), η decreasing.
    pub points: Vec<(f64, f64)>,
    /// Least-squares slope of log distance over log η; `None` with fewer than three step sizes, or where a distance is 0.
    pub order: Option<f64>,
    /// 0.05/λ_max at the horizon, for networks with kinks.
    pub largest_regular: Option<f64>,
    /// 100 times the error tolerated in the flow: distances below are not resolved.
    pub least_resolved: f64,
}

impl OrderFit {
    /// Fits `points`; `tolerance` is the norm of the error that the flow's steps may make.
    pub fn new(
        horizon: f64,
        mut points: Vec<(f64, f64)>,
        largest_regular: Option<f64>,
        tolerance: f64,
    ) -> Self {
        points.sort_by(|a, b| b.0.total_cmp(&a.0));
        points.dedup_by_key(|p| p.0);
        let is_usable = points.len() >= FEWEST && points.iter().all(|&(_, d)| d > 0.0 && d.is_finite());
        let order = is_usable.then(|| slope(&points));
        Self { horizon, points, order, largest_regular, least_resolved: RESOLVED * tolerance }
    }

    /// Why the order is not to be relied on, if so.
    pub fn caveat(&self) -> Option<String> {
        self.order?;
        let (largest, least) = (self.points[0].0, self.points.iter().fold(f64::INFINITY, |m, p| m.min(p.1)));
        match self.largest_regular {
            Some(limit) if largest > limit => Some(format!(
                "irregular: step sizes above 0.05/λ_max(T) = {limit:.3e} on a network with kinks, where crossings and slides come out \
                 differently from one step size to the next"
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
        let fit = OrderFit::new(1.0, points.clone(), None, 0.0);
        assert!((fit.order.expect("four points") - 1.7).abs() < 1e-13, "{fit:?}");
        assert_eq!(fit.caveat(), None);
        assert_eq!(OrderFit::new(1.0, points[..2].to_vec(), None, 0.0).order, None);
        assert!(OrderFit::new(1.0, points.clone(), Some(0.05), 0.0).caveat().is_some_and(|c| c.starts_with("irregular")));
        assert_eq!(OrderFit::new(1.0, points.clone(), Some(0.1), 0.0).caveat(), None);
        assert!(OrderFit::new(1.0, points, None, 1.0).caveat().is_some_and(|c| c.starts_with("not resolved")));
    }
}
