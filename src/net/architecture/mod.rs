//! Ways to build a [`Network`](super::Network): one file per family, each a composition of layers.
//!
//! Only this module knows what a convolution or a graph is. What it hands on are weights, the features they multiply, and what is
//! added to their product.

mod dense;

pub use dense::dense;

use thiserror::Error;

/// Why sizes do not form a network.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ArchitectureError {
    /// A layer has no units.
    #[error("hidden layer {layer} has no units")]
    ZeroWidth {
        /// Hidden layer from 1.
        layer: usize,
    },
}
