//! Piecewise-smooth ordinary differential equations with events and sliding. Knows nothing of networks, files or reports.

mod auto;
pub mod chebyshev;
mod combine;
pub mod contact;
pub mod controller;
pub mod cut;
pub mod deferred;
pub mod diffsol;
pub mod esdirk;
pub mod event;
pub mod explicit_rk;
pub mod field;
pub mod filippov;
pub mod integrate;
pub mod mode;
pub mod noise;
pub mod norm;
pub mod observer;
pub mod outcome;
pub mod resolve;
pub mod root;
mod scan;
pub mod stepper;
mod stride;
pub mod tableau;
#[cfg(test)]
mod testing;

pub use auto::{Auto, StiffMethod};
pub use chebyshev::Chebyshev;
pub use cut::{CutField, Link};
pub use deferred::{Snapshot, deferred};
pub use diffsol::{DiffsolMethod, DiffsolStepper, MissingLinearisation};
pub use esdirk::Esdirk;
pub use explicit_rk::ExplicitRk;
pub use field::{Linearisation, NonFinite, PiecewiseField, SlideMargin};
pub use filippov::{FilippovField, PiecewiseSystem};
pub use integrate::{Options, Outcome, STABILITY_SHARE, StopRule, integrate};
pub use mode::{Contact, Mode, Side};
pub use noise::Noise;
pub use norm::{Floors, Weights, WrmsNorm};
pub use observer::{
    BranchKind, BranchPoint, Change, DenseOutput, Event, EventKind, Observer, Point, StartContact, StepView,
    StrideEvent, StrideView,
};
pub use outcome::{Rest, Stats, StopReason};
pub use stepper::{Interpolant, Outlook, Start, Stepper, Work};
