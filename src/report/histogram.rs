//! Counts of values in intervals.

/// How many of the values lie in each interval; the last one is closed, values before the first edge count to the first.
pub fn histogram(values: impl Iterator<Item = f64>, edges: &[f64]) -> Vec<u64> {
    let mut counts = vec![0; edges.len() - 1];
    for value in values {
        let bin = edges.partition_point(|edge| *edge <= value).saturating_sub(1).min(counts.len() - 1);
        counts[bin] += 1;
    }
    counts
}

/// The edges of `n` intervals of equal length from 0.
pub fn linear_edges(end: f64, n: usize) -> Vec<f64> {
    (0..=n).map(|k| end * k as f64 / n as f64).collect()
}

/// The edges of `n` intervals of equal quotient; `start` > 0.
pub fn log_edges(start: f64, end: f64, n: usize) -> Vec<f64> {
    (0..=n).map(|k| start * (end / start).powf(k as f64 / n as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_once() {
        let edges = [0.0, 1.0, 2.0, 4.0];
        assert_eq!(histogram([0.0, 0.5, 1.0, 3.9, 4.0, -1.0].into_iter(), &edges), [3, 1, 2]);
        assert_eq!(linear_edges(4.0, 2), [0.0, 2.0, 4.0]);
        assert_eq!(log_edges(1.0, 100.0, 2), [1.0, 10.0, 100.0]);
    }
}
