//! A dense network: widths, activation, and where its parameters and switches stand.
//!
//! Holds no parameters and no workspace; the passes over a batch are in [`super::pass`].

use super::activation::Activation;
use super::layout::Layout;
use thiserror::Error;

/// Why widths do not form a network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// A layer has no units.
    #[error("hidden layer {layer} has no units")]
    ZeroWidth {
        /// Hidden layer from 1.
        layer: usize,
    },
}

/// f(x) = W_L σ(… σ(W_1 x + b_1) …) + b_L.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    widths: Vec<usize>,
    bias: bool,
    activation: Activation,
    layout: Layout,
}

/// A hidden unit on a sample: what one switch of the flow stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Hidden layer, from 1.
    pub layer: usize,
    /// Unit in the layer, from 0.
    pub unit: usize,
    /// Sample, from 0.
    pub sample: usize,
}

impl Network {
    /// A dense network with the given input, hidden and output widths.
    ///
    /// # Errors
    /// When a hidden width is 0.
    pub fn dense(
        n_inputs: usize,
        hidden: &[usize],
        n_outputs: usize,
        bias: bool,
        activation: Activation,
    ) -> Result<Self, NetworkError> {
        if let Some(l) = hidden.iter().position(|&w| w == 0) {
            return Err(NetworkError::ZeroWidth { layer: l + 1 });
        }
        let widths: Vec<usize> = [n_inputs].into_iter().chain(hidden.iter().copied()).chain([n_outputs]).collect();
        let layout = Layout::dense(&widths, bias, activation.has_learned_slope());
        Ok(Self { widths, bias, activation, layout })
    }

    /// `[inputs, hidden…, outputs]`.
    pub fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// Number of hidden layers.
    pub fn n_hidden(&self) -> usize {
        self.widths.len() - 2
    }

    /// Number of hidden units.
    pub fn n_units(&self) -> usize {
        self.widths[1..self.widths.len() - 1].iter().sum()
    }

    /// Whether layers have biases.
    pub fn has_bias(&self) -> bool {
        self.bias
    }

    /// The activation between layers.
    pub fn activation(&self) -> &Activation {
        &self.activation
    }

    /// Parameter blocks.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// P.
    pub fn n_parameters(&self) -> usize {
        self.layout.n_parameters()
    }

    /// Number of switching surfaces for n samples: hidden units × samples × breakpoints.
    pub fn n_surfaces(&self, n_samples: usize) -> usize {
        self.n_units() * n_samples * self.activation.breakpoints().len()
    }
}
