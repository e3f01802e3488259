//! Dot products and norms in a fixed summation order that the compiler can vectorise.

/// Number of independent partial sums; the order of summation depends on nothing else.
const LANES: usize = 8;

/// Σ a_i b_i.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for k in 0..LANES {
            lanes[k] += x[k] * y[k];
        }
    }
    lanes.iter().sum::<f64>() + tail
}

/// √(Σ a_i²).
pub fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}
