//! Joins networks to the integrator: the gradient flow θ̇ = −∇L as a piecewise field with sliding.

pub mod contact;
pub mod cut;
pub mod field;
pub mod gram;
mod largest;
pub mod linearise;
pub mod noise;
pub mod scales;
pub mod sliding;
pub mod switches;

pub use field::{FlowField, FlowSample};
pub use gram::{GramAhead, OutputGram};
pub use scales::Block;
pub use switches::Switches;
