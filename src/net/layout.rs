//! Where each parameter block of a dense network stands in the flat vector θ.
//!
//! Layer by layer: W row-major (out × in), then b (out), then the layer's learned slope if the activation has one.

use std::ops::Range;

/// The parameter blocks of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlock {
    /// Inputs of the layer.
    pub n_in: usize,
    /// Outputs of the layer.
    pub n_out: usize,
    /// W, row-major (out × in).
    pub weights: Range<usize>,
    /// b (out); `None` without biases.
    pub bias: Option<Range<usize>>,
    /// The learned slope of the activation behind this layer.
    pub slope: Option<usize>,
}

impl LayerBlock {
    /// W as a matrix view into θ.
    pub fn weight_matrix<'a>(&self, theta: &'a [f64]) -> faer::MatRef<'a, f64> {
        faer::MatRef::from_row_major_slice(&theta[self.weights.clone()], self.n_out, self.n_in)
    }

    /// b as a slice of θ.
    pub fn bias_slice<'a>(&self, theta: &'a [f64]) -> Option<&'a [f64]> {
        self.bias.clone().map(|range| &theta[range])
    }
}

/// All parameter blocks of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    layers: Vec<LayerBlock>,
    n_parameters: usize,
}

impl Layout {
    /// Layout for layer widths `[inputs, hidden…, outputs]`; a learned slope follows every layer but the last.
    pub fn dense(widths: &[usize], bias: bool, learned_slopes: bool) -> Self {
        let n_layers = widths.len() - 1;
        let mut next = 0;
        let mut take = |count: usize| {
            next += count;
            next - count..next
        };
        let layers = widths
            .windows(2)
            .enumerate()
            .map(|(l, pair)| LayerBlock {
                n_in: pair[0],
                n_out: pair[1],
                weights: take(pair[0] * pair[1]),
                bias: bias.then(|| take(pair[1])),
                slope: (learned_slopes && l + 1 < n_layers).then(|| take(1).start),
            })
            .collect();
        Self { layers, n_parameters: next }
    }

    /// Blocks of the layers, first to last.
    pub fn layers(&self) -> &[LayerBlock] {
        &self.layers
    }

    /// P, the length of θ.
    pub fn n_parameters(&self) -> usize {
        self.n_parameters
    }
}
