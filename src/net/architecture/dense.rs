//! Fully connected layers.

use super::ArchitectureError;
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
    let bias = if bias { Bias::Shared } else { Bias::None };
    let mut composer = Composer::new(n_inputs, activation);
    let mut below = Tensor::of(0, &[n_inputs], |i| i);
    head(&mut composer, &mut below, hidden, bias)?;
    Ok(composer.finish(LayerPlan::plain(Features::Linear(below.into_entries()), n_outputs, bias)))
}

/// Adds dense hidden layers on top of `below`, which becomes what the last of them gives.
pub(super) fn head(
    composer: &mut Composer,
    below: &mut Tensor,
    hidden: &[usize],
    bias: Bias,
) -> Result<(), ArchitectureError> {
    for &width in hidden {
        if width == 0 {
            return Err(ArchitectureError::ZeroWidth { layer: composer.n_layers() + 1 });
        }
        let entries = below.entries().to_vec();
        let source = composer.hidden(LayerPlan::plain(Features::Linear(entries), width, bias));
        *below = Tensor::of(source, &[width], |i| i);
    }
    Ok(())
}
