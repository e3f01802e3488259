//! The seam for one-step methods: make one attempt, estimate its error, offer dense output.
//!
//! A stepper knows no event and decides nothing: the loop in [`super::integrate()`] judges the error, shortens the step to
//! an event by reading the dense output, and moves on.

use super::field::{NonFinite, PiecewiseField};
use super::mode::Mode;
use super::norm::Weights;

/// The point a step starts from.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Time.
    pub t: f64,
    /// State, length `dim`.
    pub y: &'a [f64],
    /// Field at (y, mode).
    pub dy: &'a [f64],
    /// Mode, frozen for the whole attempt.
    pub mode: &'a Mode,
}

/// Dense output of an attempt.
pub trait Interpolant {
    /// The state at `start.t + x·h`, 0 ≤ x ≤ 1, where `start` is what the attempt started from.
    fn interpolate(&self, start: Start<'_>, x: f64, out: &mut [f64]);

    /// ∫‖dy‖² from the start of the attempt to `start.t + x·h`, by the method's own quadrature: as accurate as an extra component of
    /// the state would be. `None` when the method does not show its stages.
    fn dissipation(&self, start: Start<'_>, x: f64) -> Option<f64> {
        let _ = (start, x);
        None
    }

    /// A copy that outlives the next attempt.
    fn detached(&self) -> Box<dyn Interpolant + Send>;
}

/// Work of a stepper.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Evaluations of the field.
    pub evaluations: u64,
    /// Linearisations of the field.
    pub linearisations: u64,
    /// Solves with a factorised I − sA, and products with A, which cost as much.
    pub solves: u64,
    /// Changes of method.
    pub switches: u64,
}

/// What is known before a step.
#[derive(Debug, Clone, Copy)]
pub struct Outlook {
    /// Time now.
    pub t: f64,
    /// Step that the tolerance allows, as far as known.
    pub h_tolerance: f64,
    /// Longest step that the next predicted crossing leaves, ∞ without one.
    pub h_crossing: f64,
    /// Estimate of the largest decay rate, if there is one.
    pub decay: Option<f64>,
    /// Length of the last attempt that was accepted, before an event cut it short; 0 before the first and after a stride.
    pub last_attempt: f64,
    /// Its error, relative to the tolerance.
    pub last_error: f64,
    /// Whether the last step ended at an event.
    pub was_cut: bool,
    /// Evaluations of the field so far, at events as well.
    pub n_evaluations: u64,
}

/// A one-step method on a piecewise field. Its [`Interpolant`] is that of the last attempt.
pub trait Stepper<F: PiecewiseField>: Interpolant {
    /// Name as written in scenario files.
    fn name(&self) -> &'static str;

    /// Order of the solution that is propagated.
    fn order(&self) -> u32;

    /// Order of the embedded error estimate plus one: the error of a step shrinks like h to this power.
    fn error_exponent(&self) -> u32;

    /// Length of the real stability interval, or `None` when the method is A-stable.
    fn stability_interval(&self) -> Option<f64>;

    /// Attempts a step of length at most `h`; returns the length really taken (shorter only for methods that control their own
    /// step). Afterwards `end`, `end_field` and `interpolate` describe the attempt.
    /// The last evaluation of the field is at the end of the attempt, in `start.mode`.
    ///
    /// # Errors
    /// When a stage is not finite; the loop retries with a shorter step.
    fn attempt(&mut self, field: &mut F, start: Start<'_>, h: f64) -> Result<f64, NonFinite>;

    /// State at the end of the attempt.
    fn end(&self) -> &[f64];

    /// Field at the end of the attempt, in the frozen mode.
    fn end_field(&self) -> &[f64];

    /// Error of the attempt relative to the tolerance: accepted when ≤ 1.
    fn error(&self, norm: &Weights<'_>, start: Start<'_>) -> f64;

    /// Error of the whole attempt's [`dissipation`](Interpolant::dissipation), to methods whose steps may be longer than a fast phase that the state
    /// hardly moves in.
    fn dissipation_error(&self, start: Start<'_>) -> Option<f64> {
        let _ = start;
        None
    }

    /// Told before the attempts of a step, to methods that need tolerances inside them.
    fn weigh(&mut self, norm: &Weights<'_>) {
        let _ = norm;
    }

    /// Makes `interpolate` usable; may evaluate the field (extra stages), so it comes after everything read from the field.
    ///
    /// # Errors
    /// When an extra stage is not finite.
    fn prepare_dense(&mut self, field: &mut F, start: Start<'_>) -> Result<(), NonFinite> {
        let _ = (field, start);
        Ok(())
    }

    /// Whether the dense output may be off by more than the end is, where the field is stiff; steps are then taken anew where events or stop rules end them.
    fn is_for_stiff(&self) -> bool {
        false
    }

    /// Whether slopes are differences of states, so that the rounding of these is in the error of a step however short its way is.
    fn takes_differences(&self) -> bool {
        false
    }

    /// The loop moved away from the end of the last attempt (event, projection, change of mode): history is void.
    fn reset(&mut self) {}

    /// Work so far, extra stages included.
    fn work(&self) -> Work;

    /// Whether the method wants the largest decay rate of the field to be estimated as the run goes.
    fn uses_decay(&self) -> bool {
        self.stability_interval().is_some()
    }

    /// Whether the last attempt was made by a method of lower order in place of another one, whose tolerance the steps are controlled for.
    fn stands_in(&self) -> bool {
        false
    }

    /// The attempt of length `h` was rejected for its error: whether the same length is worth another attempt, with another method.
    fn retries(&mut self, h: f64, error: f64) -> bool {
        let _ = (h, error);
        false
    }

    /// What lies ahead, told before every step; a stepper made of several methods chooses by it.
    fn choose(&mut self, outlook: &Outlook) {
        let _ = outlook;
    }
}
