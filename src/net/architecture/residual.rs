//! Residual networks in the form g_l(X) = X + W_l X + B_l with σ between the layers (He et al. 2016, as Jakhmola,
//! arXiv:2509.23887, writes it).

use super::{ArchitectureError, Checks, shared};
use crate::net::activation::Activation;
use crate::net::network::{Composer, Features, LayerPlan, Network};
use crate::net::tensor::Tensor;

/// `n_layers` layers of width N = inputs = outputs; P = L(N² + N) with biases.
///
/// # Errors
/// When there is no layer, or inputs and outputs differ in number.
pub fn residual(
    n_inputs: usize,
    n_outputs: usize,
    n_layers: usize,
    bias: bool,
    activation: Activation,
) -> Result<Network, ArchitectureError> {
    let mut checks = Checks::default();
    checks.require(n_layers >= 1, "layers", "at least 1 layer", n_layers);
    let expected = format!("data with as many targets as inputs ({n_inputs}), since every layer adds to its input");
    checks.require(n_inputs == n_outputs, "", expected, format!("{n_outputs} targets"));
    checks.done()?;
    let mut composer = Composer::new(n_inputs, activation);
    composer.symbols = if bias { "L (N² + N)" } else { "L N²" }.to_owned();
    let plan = |below: Tensor| {
        let features = Features::Linear(below.entries().to_vec());
        LayerPlan { skip: Some(below), ..LayerPlan::plain(features, n_inputs, shared(bias)) }
    };
    let mut below = Tensor::of(0, &[n_inputs], |i| i);
    for _ in 1..n_layers {
        let source = composer.hidden(plan(below));
        below = Tensor::of(source, &[n_inputs], |i| i);
    }
    Ok(composer.finish(plan(below)))
}
