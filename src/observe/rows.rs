//! What a run reports as it goes, one plain value per line of its record.

use super::identities::IdentityPoint;
use super::path::Path;
use crate::net::Place;
use crate::ode::{BranchKind, EventKind, Side};
use std::io;

/// Which limit a row of the trajectory belongs to.
pub use crate::ntk::SampleSide as RowSide;

/// One row of the trajectory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Time.
    pub t: f64,
    /// Which limit.
    pub side: RowSide,
    /// L(θ).
    pub loss: f64,
    /// ‖∂L/∂F‖: ‖F − y‖ for the squared error.
    pub residual_norm: f64,
    /// ‖θ̇‖.
    pub gradient_norm: f64,
    /// λ_min(G), when tracked.
    pub lambda_min: Option<f64>,
    /// λ_max(G), when tracked.
    pub lambda_max: Option<f64>,
    /// e^{−λ₀t}‖r_0‖ with λ₀ the minimum so far, when tracked and the loss is the squared error.
    pub bound: Option<f64>,
    /// exp(−∫λ_min)‖r_0‖, likewise.
    pub integral_bound: Option<f64>,
    /// rᵀGr / rᵀr (−d log‖r‖/dt for the squared error), empty at r = 0.
    pub rayleigh: Option<f64>,
    /// Index of the step, from 1; 0 at the start. Where strides are told as a whole, the steps that they stand for are counted.
    pub step: u64,
    /// Number of sliding units (on original samples).
    pub sliding: usize,
}

/// One change at an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventRow {
    /// Index of the instant, from 0; simultaneous changes share it.
    pub index: u64,
    /// Time.
    pub t: f64,
    /// What happened.
    pub kind: EventKind,
    /// Hidden layer, unit and original sample.
    pub place: Place,
    /// Breakpoint index.
    pub breakpoint: u16,
    /// Crossing and exit: the side it goes to; slide entry: the direction it came in; graze: the direction of the touch.
    pub direction: Side,
    /// Rate of the pre-activation just before.
    pub rate_before: f64,
    /// Rate just after.
    pub rate_after: f64,
    /// λ_min just before, when tracked.
    pub lambda_min_before: Option<f64>,
    /// λ_min just after, when tracked.
    pub lambda_min_after: Option<f64>,
    /// Loss.
    pub loss: f64,
    /// Number of sliding units after.
    pub sliding: usize,
}

/// Why a step was not longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepLimit {
    /// The tolerance.
    Accuracy,
    /// The stability of the method.
    Stability,
    /// A crossing predicted soon after.
    Crossing,
    /// An event: the step was cut short at it.
    Event,
    /// The run ended there.
    End,
}

/// One accepted step, with how well the identities of the flow hold at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRow {
    /// Index, from 1.
    pub step: u64,
    /// Time at its end.
    pub t: f64,
    /// Length.
    pub length: f64,
    /// Why it was not longer.
    pub limit: StepLimit,
    /// Attempts rejected before it was accepted.
    pub rejected: u64,
    /// Changes of method up to and including this step; odd while `Auto` is implicit.
    pub method_switches: u64,
    /// The identities at its end.
    pub identities: IdentityPoint,
}

/// A quantity that the flow conserves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConservedRow {
    /// Hidden layer of its (first) channel, from 1.
    pub layer: usize,
    /// That channel, from 0.
    pub channel: usize,
    /// Value at θ_0.
    pub initial: f64,
    /// Value at the end.
    pub last: f64,
    /// Largest distance from the value at θ_0 at the end of any step.
    pub largest_change: f64,
}

/// A unit that starts on a breakpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StartRow {
    /// Where.
    pub place: Place,
    /// Breakpoint index.
    pub breakpoint: u16,
    /// The side it leaves to; `None` when it slides.
    pub side: Option<Side>,
}

/// A branch point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BranchRow {
    /// Time.
    pub t: f64,
    /// Where.
    pub place: Place,
    /// Breakpoint index.
    pub breakpoint: u16,
    /// Why.
    pub kind: BranchKind,
    /// Relative distance from the other continuation.
    pub margin: f64,
}

/// Takes what a run reports; an error ends the run. It may be told from another thread than the one it was made on.
pub trait Sink: Send {
    /// A row of the trajectory.
    ///
    /// # Errors
    /// When it cannot be written.
    fn row(&mut self, row: &Row) -> io::Result<()>;

    /// The changes of one event, in the order of their switches.
    ///
    /// # Errors
    /// When they cannot be written.
    fn event(&mut self, rows: &[EventRow]) -> io::Result<()>;

    /// θ at a save time, or at the end.
    ///
    /// # Errors
    /// When it cannot be written.
    fn theta(&mut self, t: f64, theta: &[f64]) -> io::Result<()>;

    /// An accepted step; told after its rows of the trajectory, and not before the next step is known to follow.
    ///
    /// # Errors
    /// When it cannot be written.
    fn step(&mut self, row: &StepRow) -> io::Result<()>;

    /// All nM eigenvalues of G at a chosen time, decreasing.
    ///
    /// # Errors
    /// When they cannot be written.
    fn eigenvalues(&mut self, t: f64, eigenvalues: &[f64]) -> io::Result<()>;

    /// The path of θ, thinned to a bounded number of points; told once, at the end.
    ///
    /// # Errors
    /// When it cannot be written.
    fn path(&mut self, path: &Path) -> io::Result<()>;

    /// The conserved quantities; told once, at the end.
    ///
    /// # Errors
    /// When they cannot be written.
    fn conserved(&mut self, rows: &[ConservedRow]) -> io::Result<()>;
}

/// Keeps nothing.
impl Sink for () {
    fn row(&mut self, _: &Row) -> io::Result<()> {
        Ok(())
    }

    fn event(&mut self, _: &[EventRow]) -> io::Result<()> {
        Ok(())
    }

    fn theta(&mut self, _: f64, _: &[f64]) -> io::Result<()> {
        Ok(())
    }

    fn step(&mut self, _: &StepRow) -> io::Result<()> {
        Ok(())
    }

    fn eigenvalues(&mut self, _: f64, _: &[f64]) -> io::Result<()> {
        Ok(())
    }

    fn path(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn conserved(&mut self, _: &[ConservedRow]) -> io::Result<()> {
        Ok(())
    }
}
