//! Networks as functions of θ: architectures, activations, forward and backward passes, Gram kernels. No time, no solver.

pub mod activation;
pub mod architecture;
pub mod conserved;
pub mod displacement;
pub mod gram;
pub mod init;
pub mod kernel;
pub mod layer;
pub mod map;
pub mod network;
pub mod pass;
pub mod second_order;
pub mod tensor;

pub use activation::{Activation, ActivationError, PiecewisePolynomial, Smooth};
pub use architecture::ArchitectureError;
pub use conserved::{Conserved, Law, NoLaw, laws, no_law};
pub use displacement::JacobianMark;
pub use gram::{cross_gram, cross_gram_again, own_gram};
pub use kernel::{KernelScratch, Probes, gradient_products, gradient_rates, mirror, switch_gram};
pub use layer::{Bias, Layer};
pub use network::{Composer, Features, LayerPlan, Network, Place};
pub use pass::{Backward, Batch, Forward, Held, TangentScratch};
pub use second_order::{Bends, SecondOrder};
