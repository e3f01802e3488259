//! Networks as functions of θ: layout, activations, forward and backward passes, Gram kernels. No time, no solver.

pub mod activation;
pub mod init;
pub mod layout;
pub mod network;

pub use activation::{Activation, ActivationError, PiecewisePolynomial, Smooth};
pub use layout::{LayerBlock, Layout};
pub use network::{Network, NetworkError, Place};
