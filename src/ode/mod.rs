//! Piecewise-smooth ordinary differential equations with events and sliding. Knows nothing of networks, files or reports.

pub mod field;
pub mod mode;
pub mod norm;
pub mod stepper;

pub use field::{Linearisation, NonFinite, PiecewiseField, SlideMargin};
pub use mode::{Contact, Mode, Side};
pub use norm::WrmsNorm;
pub use stepper::{Start, Stepper};
