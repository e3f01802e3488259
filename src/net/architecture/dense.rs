//! Fully connected layers.

use super::{ArchitectureError, Checks, count, one, shared};
use crate::net::activation::Activation;
use crate::net::layer::Bias;
use crate::net::network::{Composer, Features, LayerPlan, Network};
use crate::net::tensor::Tensor;

/// f(x) = W_L σ(… σ(W_1 x + b_1) …) + b_L with the given input, hidden and output widths.
///
/// # Errors
/// When a hidden width is 0.
pub fn dense(
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
    composer.symbols = layer_symbols(bias);
    Ok(head(composer, Tensor::of(0, &[n_inputs], |i| i), hidden, n_outputs, shared(bias)))
}

/// The parameters of dense layers in symbols.
pub(super) fn layer_symbols(bias: bool) -> String {
    format!("Σ {}", count("N_l", "N_{l−1}", one(bias)))
}

/// Dense layers on top of `below`, the last of them the output.
pub(super) fn head(
    mut composer: Composer,
    mut below: Tensor,
    hidden: &[usize],
    n_outputs: usize,
    bias: Bias,
) -> Network {
    for &width in hidden {
        let source = composer.hidden(LayerPlan::plain(Features::Linear(below.into_entries()), width, bias));
        below = Tensor::of(source, &[width], |i| i);
    }
    composer.finish(LayerPlan::plain(Features::Linear(below.into_entries()), n_outputs, bias))
}
