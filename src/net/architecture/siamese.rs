//! Siamese networks: two inputs through the same weights, and a head on what comes out (Bromley et al. 1993).

use super::dense::layer_symbols;
use super::{ArchitectureError, Checks, count, one, shared};
use crate::net::activation::Activation;
use crate::net::network::{Composer, Features, LayerPlan, Network};
use crate::net::tensor::Tensor;

/// How the two branches, u and v after the last hidden layer, become the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SiameseHead {
    /// W d + b with d_k = (u_k − v_k)².
    SquaredDifference,
    /// Σ_ij B_ij u_i v_j + b, with B (i, j) row-major per output.
    Bilinear,
}

/// `n_inputs` counts both inputs of a pair, which stand one behind the other.
///
/// # Errors
/// When `n_inputs` is odd, or a hidden width is 0.
pub fn siamese(
    n_inputs: usize,
    hidden: &[usize],
    n_outputs: usize,
    head: SiameseHead,
    bias: bool,
    activation: Activation,
) -> Result<Network, ArchitectureError> {
    let mut checks = Checks::default();
    checks.units(hidden);
    let expected = "data in pairs: an even number of inputs, those of the first and then those of the second";
    checks.require(n_inputs.is_multiple_of(2), "", expected, format!("{n_inputs} inputs"));
    checks.done()?;
    let mut composer = Composer::new(n_inputs, activation);
    let last = match head {
        SiameseHead::SquaredDifference => "N_{L−1}",
        SiameseHead::Bilinear => "N_{L−1}²",
    };
    composer.symbols = count("N_L", last, one(bias));
    if !hidden.is_empty() {
        composer.symbols = format!("{} (l < L) + {}", layer_symbols(bias), composer.symbols);
    }
    let (mut source, mut width) = (0, n_inputs / 2);
    for &n_out in hidden {
        let features = Features::Linear(Tensor::of(source, &[2, width], |i| i).into_entries());
        source = composer.hidden(LayerPlan { n_positions: 2, ..LayerPlan::plain(features, n_out, shared(bias)) });
        width = n_out;
    }
    let branch = |first: usize| Tensor::of(source, &[width], |i| first + i);
    let (entries, pairs) = match head {
        SiameseHead::SquaredDifference => (branch(0).plus(-1.0, &branch(width)), (0..width).map(|k| (k, k)).collect()),
        SiameseHead::Bilinear => {
            let pairs = (0..width).flat_map(|i| (width..2 * width).map(move |j| (i, j))).collect();
            (branch(0).then(branch(width)), pairs)
        }
    };
    let features = Features::Products { entries: entries.into_entries(), keeps_linear: false, pairs };
    Ok(composer.finish(LayerPlan::plain(features, n_outputs, shared(bias))))
}
