//! The path of θ in a bounded number of points, whatever the length of the run.
//!
//! Every step is kept until there are too many; then every second point goes, and from there on every second step is kept, and so on.
//! What is left is evenly spread over the steps, and the same for the same run.

/// Most points that are kept.
const MOST_POINTS: usize = 256;

/// Fewer points are kept where they would take more than this many numbers together.
const MOST_VALUES: usize = 1 << 21;

/// But never fewer than this.
const FEWEST_POINTS: usize = 8;

/// Points of the path of θ.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Step (0 is the start) and time of every point, increasing.
    pub at: Vec<(u64, f64)>,
    /// θ, point by point.
    pub theta: Vec<f64>,
    /// P.
    pub n_parameters: usize,
    stride: u64,
    capacity: usize,
}

impl Path {
    /// No points yet.
    pub fn new(n_parameters: usize) -> Self {
        let capacity = (MOST_VALUES / n_parameters.max(1)).clamp(FEWEST_POINTS, MOST_POINTS);
        Self { at: Vec::new(), theta: Vec::new(), n_parameters, stride: 1, capacity }
    }

    /// The end of a step; it is kept if its turn has come.
    pub fn visit(&mut self, step: u64, t: f64, theta: &[f64]) {
        if !step.is_multiple_of(self.stride) {
            return;
        }
        if self.at.len() == self.capacity {
            self.thin();
            if !step.is_multiple_of(self.stride) {
                return;
            }
        }
        self.keep(step, t, theta);
    }

    /// The end of the run, which is always kept.
    pub fn end(&mut self, step: u64, t: f64, theta: &[f64]) {
        if self.at.last() != Some(&(step, t)) {
            self.keep(step, t, theta);
        }
    }

    fn keep(&mut self, step: u64, t: f64, theta: &[f64]) {
        self.at.push((step, t));
        self.theta.extend_from_slice(theta);
    }

    fn thin(&mut self) {
        self.stride *= 2;
        let mut kept = 0;
        for k in 0..self.at.len() {
            if self.at[k].0.is_multiple_of(self.stride) {
                self.at[kept] = self.at[k];
                self.theta.copy_within(k * self.n_parameters..(k + 1) * self.n_parameters, kept * self.n_parameters);
                kept += 1;
            }
        }
        self.at.truncate(kept);
        self.theta.truncate(kept * self.n_parameters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_evenly_spread_over_the_steps_and_belong_to_their_times() {
        for n_steps in [0, 1, 255, 256, 257, 1000, 5001] {
            let mut path = Path::new(2);
            for step in 0..=n_steps {
                path.visit(step, step as f64 / 8.0, &[step as f64, -(step as f64)]);
            }
            path.end(n_steps, n_steps as f64 / 8.0, &[n_steps as f64, -(n_steps as f64)]);
            assert!(path.at.len() <= MOST_POINTS + 1, "{}", path.at.len());
            assert_eq!(path.at.first(), Some(&(0, 0.0)));
            assert_eq!(path.at.last(), Some(&(n_steps, n_steps as f64 / 8.0)));
            let gaps: Vec<u64> = path.at.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
            let stride = gaps.first().copied().unwrap_or(1);
            assert!(gaps.iter().rev().skip(1).all(|&gap| gap == stride), "{n_steps}: {gaps:?}");
            assert!(n_steps < 256 || path.at.len() > MOST_POINTS / 2, "{n_steps}: {}", path.at.len());
            for (k, (step, t)) in path.at.iter().enumerate() {
                assert_eq!(path.theta[2 * k..2 * k + 2], [*step as f64, -(*step as f64)]);
                assert_eq!(*t, *step as f64 / 8.0);
            }
        }
    }
}
