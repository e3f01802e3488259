//! Exact gradient flow of neural networks with piecewise-polynomial activations.

pub mod data;
pub mod flow;
pub mod net;
pub mod ntk;
pub mod observe;
pub mod ode;
pub mod record;
pub mod scenario;
pub mod simulate;
pub mod vector;
