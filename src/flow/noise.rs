//! Rounding noise of the gradient flow, from passes in which every number is replaced by its size.
//!
//! Where nothing cancels, sums of sizes are the sums themselves; where terms cancel, they keep the size of these. With ε times a growth
//! factor, the outputs carry an error of Σ_i |∂F/∂θ_i||θ_i| (which is what rounding θ alone would cause), residuals that and the
//! rounding of y, ∇L that of the residuals and of its own sum, and a rate that of ∇L: each of these is one pass over sizes.

use crate::data::MergedData;
use crate::loss::Loss;
use crate::net::{Backward, Batch, Forward, TangentScratch};
use crate::ode::noise::{Noise, TRUSTED};
use crate::vector::norm;

/// Makes [`Noise`]; keeps its memory.
#[derive(Debug, Clone, Default)]
pub struct NoiseMeter {
    /// The batch with the sizes of its inputs.
    sizes: Option<Batch>,
    theta: Vec<f64>,
    forward: Forward,
    backward: Backward,
    scratch: TangentScratch,
    dz: Vec<f64>,
    df: Vec<f64>,
    seed: Vec<f64>,
    gradient: Vec<f64>,
    injected: Vec<(usize, f64)>,
}

/// Where noise is measured: a point of the flow, after its passes.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub batch: &'a Batch,
    pub data: &'a MergedData,
    pub loss: Loss,
    pub theta: &'a [f64],
    pub forward: &'a Forward,
    /// (switch, δ) of the sliding units.
    pub delta: &'a [(usize, f64)],
}

impl NoiseMeter {
    /// Measures the noise at a point; the cost is that of two evaluations. Entries are those of all pre-activations.
    pub fn measure(&mut self, at: At<'_>, noise: &mut Noise) {
        let At { batch, data, loss, delta, .. } = at;
        let Self { sizes, theta, forward, backward, scratch, dz, df, seed, gradient, injected } = self;
        let batch: &Batch = sizes.get_or_insert_with(|| batch.sizes());
        theta.clear();
        theta.extend(at.theta.iter().map(|t| t.abs()));
        forward.copy_sizes(at.forward);
        dz.resize(batch.n_switches(), 0.0);
        df.resize(batch.n_outputs(), 0.0);
        batch.tangent(theta, forward, theta, dz, df, scratch);
        let unit = f64::EPSILON * growth(batch);
        noise.values.clear();
        noise.values.extend(dz.iter().map(|size| unit * size));
        // A feature that is nothing but rounding counts with the size of its terms.
        for ((a, slope), size) in forward.a.iter_mut().zip(&forward.slope).zip(&*dz) {
            if *a <= TRUSTED * unit * slope * size {
                *a = slope * size;
            }
        }
        loss.seed_terms(data, batch.network().n_outputs_per_part(), &at.forward.f, df, seed);
        injected.clear();
        // All switches may come to slide; it is asked for in steps that allocate nothing else.
        injected.reserve(batch.n_switches());
        injected.extend(delta.iter().map(|&(switch, delta)| (switch, delta.abs())));
        gradient.resize(theta.len(), 0.0);
        batch.backward(theta, forward, seed, injected, backward, gradient);
        batch.tangent(theta, forward, gradient, dz, df, scratch);
        noise.field = unit * norm(gradient);
        let of_each =
            [(&mut noise.components, &*gradient), (&mut noise.rates, dz), (&mut noise.sensitivities, &backward.mu)];
        for (to, from) in of_each {
            to.clear();
            to.extend(from.iter().map(|size| unit * size));
        }
    }
}

/// Rounding errors of a sum of n terms, in units of ε times the sum of their sizes: they grow like √n with a probability close to 1 (Higham
/// & Mary, *A new approach to probabilistic rounding error analysis*, SIAM J. Sci. Comput. 41, 2019). n is the longest sum of a pass.
fn growth(batch: &Batch) -> f64 {
    let widest = batch.network().layers().iter().map(|layer| layer.map.n_features()).max().unwrap_or(1);
    1.0 + (widest.max(batch.n_samples()) as f64).sqrt()
}
