//! What the integrator tells: accepted steps with dense output, both sides of every event, the end.
//!
//! Observers may stop a run; they can never alter it, since they see the field only through a shared reference.

use super::mode::{Contact, Mode, Side};
use super::outcome::{Stats, StopReason};
use std::ops::ControlFlow;

/// A point of the flow. The field's last evaluation is at exactly this point and mode.
#[derive(Debug)]
pub struct Point<'a, F> {
    /// Time.
    pub t: f64,
    /// State.
    pub y: &'a [f64],
    /// Field.
    pub dy: &'a [f64],
    /// Mode.
    pub mode: &'a Mode,
    /// The field, for what it knows about this point.
    pub field: &'a F,
    /// Counters so far.
    pub stats: &'a Stats,
}

/// Dense output over an accepted step.
pub trait DenseOutput {
    /// State at time t, for `t` within the step.
    fn at(&self, t: f64, y: &mut [f64]);

    /// ∫‖dy‖² from the start of the step to t, when the method offers that quadrature.
    fn dissipation(&self, t: f64) -> Option<f64>;

    /// A copy that outlives the step.
    fn detached(&self) -> Box<dyn DenseOutput + Send>;
}

/// An accepted step in one mode; it ends at `end`, which may be an event.
pub struct StepView<'a, F> {
    /// Time at the start.
    pub t_start: f64,
    /// Length of the step. Late in a run the difference of its times is rounded to less.
    pub length: f64,
    /// State at the start.
    pub y_start: &'a [f64],
    /// The end of the step, still in the step's mode.
    pub end: Point<'a, F>,
    /// Dense output; exact at both ends. Only usable when some observer said that it needs it.
    pub dense: &'a dyn DenseOutput,
    /// Whether an event follows at the end.
    pub ends_at_event: bool,
    /// Whether it is told in place of a part of a stride: states are as good as the tolerance then, and no better.
    pub is_of_stride: bool,
}

/// What happened to one contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The switch went to the other side.
    Crossing,
    /// The switch began to slide.
    SlideEnter,
    /// The switch stopped sliding.
    SlideExit,
    /// The switch touched its breakpoint and stayed on its side.
    Graze,
}

/// A change, or touch, of one contact at an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// What happened.
    pub kind: EventKind,
    /// Where.
    pub contact: Contact,
    /// Crossing: the side it goes to. Slide entry: the side opposite to where it came from. Exit: the side it leaves to. Graze: the
    /// side touched from inside, that is the one it stays off.
    pub towards: Side,
    /// Rate of the switch just before (0 while sliding).
    pub rate_before: f64,
    /// Rate of the switch just after (0 while sliding).
    pub rate_after: f64,
}

impl Change {
    /// Makes the change in a mode.
    pub fn apply(&self, mode: &mut Mode) {
        match self.kind {
            EventKind::Crossing | EventKind::SlideExit => mode.place(self.contact, self.towards),
            EventKind::SlideEnter => mode.hold(self.contact),
            EventKind::Graze => {}
        }
    }
}

/// Why the continuation is not, or barely, determined by the equations at some instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BranchKind {
    /// The run started on a kink that repels on both sides.
    RepellingStart,
    /// A slide lost its attraction: both sides push away.
    LostAttraction,
    /// A slide ended on one side while the other was about to let go as well.
    NarrowExit,
    /// A switch came back to a repelling kink and just missed it.
    NearMiss,
    /// A switch crossed a repelling kink with hardly any speed.
    NarrowCrossing,
    /// Slides met other switches that depend on each other, and where they go depends on the side that they come from.
    SeveralWays,
    /// A switch that chattered was held for one step whatever its margins said.
    Regularised,
}

/// An instant beyond which the result depends on the last digits, or on a choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BranchPoint {
    /// Time.
    pub t: f64,
    /// Where.
    pub contact: Contact,
    /// Why.
    pub kind: BranchKind,
    /// Relative distance from the other continuation; 0 when both solve the equations.
    pub margin: f64,
}

/// An event: all changes that happen at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Changes in the order of their switches.
    pub changes: Vec<Change>,
}

/// An event inside a stride.
#[derive(Debug, Clone, PartialEq)]
pub struct StrideEvent {
    /// Time.
    pub t: f64,
    /// What happened.
    pub event: Event,
    /// ∫‖dy‖² from the start of the stride to the event.
    pub dissipated: f64,
}

/// An accepted step that holds many events; see [`Observer::needs_states`].
#[derive(Debug)]
pub struct StrideView<'a, F> {
    /// The events, in order of time; the last one may be at the end.
    pub events: &'a [StrideEvent],
    /// ∫‖dy‖² over the stride.
    pub dissipated: f64,
    /// Time at the start.
    pub t_start: f64,
    /// The end of the stride, after all its events.
    pub end: Point<'a, F>,
}

/// How a switch that starts on a breakpoint goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StartContact {
    /// Which switch and breakpoint.
    pub contact: Contact,
    /// The side it leaves to, or `None` when it slides from the start.
    pub side: Option<Side>,
}

/// Sees a run; every method has a default that does nothing.
pub trait Observer<F> {
    /// Whether dense output over a step from `t_start` to `t_end` will be read.
    fn needs_dense(&self, t_start: f64, t_end: f64) -> bool {
        let _ = (t_start, t_end);
        false
    }

    /// Whether questions about the field that take long to answer will be asked on the far side of nearly every event.
    fn asks_at_events(&self) -> bool {
        false
    }

    /// The start, with the contacts that begin on a breakpoint.
    fn start(&mut self, point: &Point<'_, F>, contacts: &[StartContact]) {
        let _ = (point, contacts);
    }

    /// An accepted step. `Break` ends the run after it, and after the stride that it is part of.
    fn step(&mut self, step: &StepView<'_, F>) -> ControlFlow<()> {
        let _ = step;
        ControlFlow::Continue(())
    }

    /// An event has been committed: the point is on its far side. The near side was the end of the step before.
    fn event(&mut self, after: &Point<'_, F>, event: &Event) {
        let _ = (after, event);
    }

    /// Whether states at events, or between them, will be read in a stride, a step from `t_start` to `t_end` that holds many events. It is
    /// told as steps from event to event then, by [`step`](Self::step) and [`event`](Self::event), and by [`stride`](Self::stride) otherwise.
    fn needs_states(&self, t_start: f64, t_end: f64) -> bool {
        let _ = (t_start, t_end);
        true
    }

    /// An accepted step that holds any number of events, of which nobody wants to see the states. `Break` ends the run after it.
    fn stride(&mut self, stride: &StrideView<'_, F>) -> ControlFlow<()> {
        let _ = stride;
        ControlFlow::Continue(())
    }

    /// A branch point was met.
    fn branch_point(&mut self, branch: &BranchPoint) {
        let _ = branch;
    }

    /// The end.
    fn end(&mut self, point: &Point<'_, F>, reason: &StopReason) {
        let _ = (point, reason);
    }
}

/// Nobody watches.
impl<F> Observer<F> for () {
    fn needs_states(&self, _t_start: f64, _t_end: f64) -> bool {
        false
    }
}

impl<F> Observer<F> for Vec<&mut dyn Observer<F>> {
    fn needs_dense(&self, t_start: f64, t_end: f64) -> bool {
        self.iter().any(|o| o.needs_dense(t_start, t_end))
    }

    fn asks_at_events(&self) -> bool {
        self.iter().any(|o| o.asks_at_events())
    }

    fn start(&mut self, point: &Point<'_, F>, contacts: &[StartContact]) {
        self.iter_mut().for_each(|o| o.start(point, contacts));
    }

    fn step(&mut self, step: &StepView<'_, F>) -> ControlFlow<()> {
        // All of them see the step, also when one asks to stop.
        let n_breaks = self.iter_mut().filter_map(|o| o.step(step).break_value()).count();
        if n_breaks > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn event(&mut self, after: &Point<'_, F>, event: &Event) {
        self.iter_mut().for_each(|o| o.event(after, event));
    }

    fn needs_states(&self, t_start: f64, t_end: f64) -> bool {
        self.iter().any(|o| o.needs_states(t_start, t_end))
    }

    fn stride(&mut self, stride: &StrideView<'_, F>) -> ControlFlow<()> {
        let n_breaks = self.iter_mut().filter_map(|o| o.stride(stride).break_value()).count();
        if n_breaks > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn branch_point(&mut self, branch: &BranchPoint) {
        self.iter_mut().for_each(|o| o.branch_point(branch));
    }

    fn end(&mut self, point: &Point<'_, F>, reason: &StopReason) {
        self.iter_mut().for_each(|o| o.end(point, reason));
    }
}
