//! The largest values of hidden layers, found when they are first asked for: most evaluations are stages of a step, after which
//! nobody does.

use crate::vector::{max_abs, vectorised};
use std::sync::OnceLock;

/// max |v| over each hidden layer of values v that change from one evaluation to the next.
#[derive(Debug, Clone)]
pub struct Largest(Vec<OnceLock<f64>>);

impl Largest {
    /// For so many hidden layers.
    pub fn new(n_hidden: usize) -> Self {
        Self(vec![OnceLock::new(); n_hidden])
    }

    /// Says that the values have changed.
    pub fn forget(&mut self) {
        self.0.fill_with(OnceLock::new);
    }

    /// max |v| over a hidden layer (from 1), whose `values` are those since [`forget`](Self::forget).
    pub fn of(&self, layer: usize, values: &[f64]) -> f64 {
        *self.0[layer - 1].get_or_init(|| vectorised!(max_abs(values)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_largest_value_lasts_until_it_is_forgotten() {
        let mut largest = Largest::new(2);
        assert_eq!(largest.of(2, &[1.0, -3.0]), 3.0);
        assert_eq!(largest.of(1, &[0.5]), 0.5);
        assert_eq!(largest.of(2, &[7.0]), 3.0);
        largest.forget();
        assert_eq!(largest.of(2, &[7.0]), 7.0);
        assert_eq!(largest.of(1, &[]), 0.0);
    }
}
