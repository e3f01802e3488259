//! Layers that are quadratic in their input and linear in their parameters: the paper's "polynomial layers" beyond affine ones.

use super::{ArchitectureError, Checks, count, one, shared};
use crate::net::activation::Activation;
use crate::net::network::{Composer, Features, LayerPlan, Network};
use crate::net::tensor::Tensor;

/// Every layer is W φ(x) + b with φ(x) = (x_1, …, x_N, x_1x_1, x_1x_2, …, x_1x_N, x_2x_2, …, x_Nx_N).
///
/// # Errors
/// When a hidden width is 0.
pub fn polynomial(
    n_inputs: usize,
    hidden: &[usize],
    n_outputs: usize,
    bias: bool,
    activation: Activation,
) -> Result<Network, ArchitectureError> {
    let mut checks = Checks::default();
    checks.units(hidden);
    checks.done()?;
    let mut composer = Composer::new(n_inputs, activation);
    composer.symbols = format!("Σ {}", count("N_l", "N_{l−1} + N_{l−1} (N_{l−1} + 1)/2", one(bias)));
    let plan = |source: usize, width: usize, n_out: usize| {
        let entries = Tensor::of(source, &[width], |i| i).into_entries();
        let pairs = (0..width).flat_map(|i| (i..width).map(move |j| (i, j))).collect();
        LayerPlan::plain(Features::Products { entries, keeps_linear: true, pairs }, n_out, shared(bias))
    };
    let (mut source, mut width) = (0, n_inputs);
    for &n_out in hidden {
        source = composer.hidden(plan(source, width, n_out));
        width = n_out;
    }
    Ok(composer.finish(plan(source, width, n_outputs)))
}
