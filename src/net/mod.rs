//! Networks as functions of θ: layout, activations, forward and backward passes, Gram kernels. No time, no solver.

pub mod activation;
pub mod init;
pub mod kernel;
pub mod layout;
pub mod network;
pub mod pass;

pub use activation::{Activation, ActivationError, PiecewisePolynomial, Smooth};
pub use kernel::{KernelScratch, Probes, cross_gram, gradient_products, switch_gram};
pub use layout::{LayerBlock, Layout};
pub use network::{Network, NetworkError, Place};
pub use pass::{Backward, Batch, Forward, Held};
