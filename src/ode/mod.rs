//! Piecewise-smooth ordinary differential equations with events and sliding. Knows nothing of networks, files or reports.

pub mod explicit_rk;
pub mod field;
pub mod mode;
pub mod norm;
pub mod stepper;
pub mod tableau;
#[cfg(test)]
mod testing;

pub use explicit_rk::ExplicitRk;
pub use field::{Linearisation, NonFinite, PiecewiseField, SlideMargin};
pub use mode::{Contact, Mode, Side};
pub use norm::WrmsNorm;
pub use stepper::{Start, Stepper};
