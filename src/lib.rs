//! Exact gradient flow of neural networks with piecewise-polynomial activations.

pub mod data;
pub mod net;
pub mod ode;
pub mod scenario;
