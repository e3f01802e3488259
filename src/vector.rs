//! Dot products and norms in a fixed summation order that the compiler can vectorise.

/// Number of independent partial sums; the order of summation depends on nothing else.
const LANES: usize = 8;

/// Runs `f` compiled for the widest vector instructions this machine has; `f` itself has to be inlined for that, which the macro
/// `vectorised!` sees to.
#[inline(always)]
pub fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// The value of an expression, compiled for the widest vector instructions this machine has. Only the speed depends on them: sums keep
/// their order, and no multiplication is fused with an addition.
macro_rules! vectorised {
    ($body:expr) => {
        $crate::vector::dispatch(
            #[inline(always)]
            || $body,
        )
    };
}
pub(crate) use vectorised;

/// Σ a_i b_i.
#[inline(always)]
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

/// Σ (a_i − b_i)².
#[inline(always)]
pub fn distance_squared(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| (x - y) * (x - y)).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for k in 0..LANES {
            lanes[k] += (x[k] - y[k]) * (x[k] - y[k]);
        }
    }
    lanes.iter().sum::<f64>() + tail
}

/// √(Σ a_i²).
pub fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// max |a_i|, 0 for an empty slice; NaN entries are ignored.
#[inline(always)]
pub fn max_abs(a: &[f64]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let chunks = a.chunks_exact(LANES);
    let tail = chunks.remainder().iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    for x in chunks {
        for k in 0..LANES {
            lanes[k] = if x[k].abs() > lanes[k] { x[k].abs() } else { lanes[k] };
        }
    }
    lanes.iter().fold(tail, |m, l| m.max(*l))
}

/// Whether every entry is finite: 0·v is zero then, and NaN otherwise.
#[inline(always)]
pub fn all_finite(a: &[f64]) -> bool {
    let mut lanes = [0.0; LANES];
    let chunks = a.chunks_exact(LANES);
    let tail: f64 = chunks.remainder().iter().map(|v| v * 0.0).sum();
    for x in chunks {
        for k in 0..LANES {
            lanes[k] += x[k] * 0.0;
        }
    }
    lanes.iter().sum::<f64>() + tail == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_give_the_naive_result_at_every_length() {
        for n in 0..40 {
            let a: Vec<f64> = (0..n).map(|k| (k * 7 % 11) as f64 - 5.0).collect();
            let b: Vec<f64> = (0..n).map(|k| (k * 5 % 13) as f64 - 6.0).collect();
            // Small integers: exact in any order.
            assert_eq!(dot(&a, &b), a.iter().zip(&b).map(|(x, y)| x * y).sum::<f64>(), "n = {n}");
            let apart = a.iter().zip(&b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
            assert_eq!(distance_squared(&a, &b), apart, "n = {n}");
            assert_eq!(max_abs(&a), a.iter().fold(0.0, |m: f64, v| m.max(v.abs())), "n = {n}");
            assert!(all_finite(&a));
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                for at in 0..n {
                    let mut c = a.clone();
                    c[at] = bad;
                    assert!(!all_finite(&c), "{bad} at {at} of {n}");
                }
            }
        }
    }
}
