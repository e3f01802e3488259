//! A stride told as the steps from event to event that it stands for, for observers who want to see states.

use super::Integration;
use crate::ode::field::{NonFinite, PiecewiseField};
use crate::ode::mode::Mode;
use crate::ode::observer::{DenseOutput, Event, Point, StepView, StrideEvent};
use crate::ode::outcome::Stats;
use crate::ode::stepper::Stepper;
use crate::ode::stride::Instant;
use crate::vector::dot;
use std::ops::ControlFlow;

/// State and field at a place of a stride.
#[derive(Debug, Clone)]
struct Knot {
    t: f64,
    y: Vec<f64>,
    dy: Vec<f64>,
    /// ∫‖dy‖² from the start of the stride.
    dissipated: f64,
}

impl Knot {
    fn point<'a, F>(&'a self, mode: &'a Mode, field: &'a F, stats: &'a Stats) -> Point<'a, F> {
        Point { t: self.t, y: &self.y, dy: &self.dy, mode, field, stats }
    }
}

/// Cubic Hermite interpolation between two places of a stride, of the state and of ∫‖dy‖².
#[derive(Debug, Clone)]
struct Piece {
    start: Knot,
    end: Knot,
    /// Between the two, without the rounding of their times.
    length: f64,
}

impl Piece {
    /// Weights of the values at both ends, and of the rates times the length.
    fn weights(&self, t: f64) -> [f64; 4] {
        let h = self.end.t - self.start.t;
        let x = if h > 0.0 { ((t - self.start.t) / h).clamp(0.0, 1.0) } else { 1.0 };
        let rest = 1.0 - x;
        [rest * rest * (1.0 + 2.0 * x), x * x * (3.0 - 2.0 * x), h * x * rest * rest, -h * x * x * rest]
    }
}

impl DenseOutput for Piece {
    fn at(&self, t: f64, y: &mut [f64]) {
        let Self { start, end, .. } = self;
        let [a, b, c, d] = self.weights(t);
        let ends = start.y.iter().zip(&end.y).zip(start.dy.iter().zip(&end.dy));
        y.iter_mut().zip(ends).for_each(|(y, ((y0, y1), (f0, f1)))| *y = a * y0 + b * y1 + c * f0 + d * f1);
    }

    fn dissipation(&self, t: f64) -> Option<f64> {
        let Self { start, end, .. } = self;
        let [_, b, c, d] = self.weights(t);
        let rate = |knot: &Knot| dot(&knot.dy, &knot.dy);
        Some(b * (end.dissipated - start.dissipated) + c * rate(start) + d * rate(end))
    }

    fn detached(&self) -> Box<dyn DenseOutput + Send> {
        Box::new(self.clone())
    }
}

/// A stride as it is told.
pub(super) struct Told<'a> {
    pub t_start: f64,
    pub h: f64,
    /// State, field and mode at the start.
    pub start: (&'a [f64], &'a [f64], &'a Mode),
    /// What is known of the events inside.
    pub instants: &'a [Instant],
    /// The mode before anything changes at the end.
    pub mode: &'a Mode,
    /// The events inside, and then that at the end, if there is one.
    pub events: &'a [StrideEvent],
    /// Time at the end.
    pub t_end: f64,
    /// ∫‖dy‖² up to it.
    pub dissipated: f64,
}

impl<F: PiecewiseField, S: Stepper<F> + ?Sized> Integration<'_, F, S> {
    /// Tells the steps and events of a stride to the point where the run stands now; the field stands there as well when it is done, as
    /// it did before. `stats` are counters in which the steps told are still missing. `Break` inside when an observer wants to stop.
    pub(super) fn unfold(&mut self, told: &Told<'_>, stats: Stats) -> Result<ControlFlow<()>, NonFinite> {
        let Told { t_start, h, start: (y, dy, mode), instants, events, .. } = *told;
        let start = Knot { t: t_start, y: y.to_vec(), dy: dy.to_vec(), dissipated: 0.0 };
        let mut piece = Piece { end: start.clone(), start, length: 0.0 };
        let mut x_before = 0.0;
        let mut mode = mode.clone();
        let mut show = Show { stats, asks_to_stop: false };
        for (instant, event) in instants.iter().zip(events) {
            let cut = self.field.cut_again().expect("the field that the stride was taken with");
            self.pace.strider.state_at(cut, instant, y, h, &mut piece.end.y);
            (piece.end.t, piece.end.dissipated) = (event.t, event.dissipated);
            piece.length = (instant.x - x_before) * h;
            x_before = instant.x;
            self.field.eval_held(&piece.end.y, &mode, &instant.before, &mut piece.end.dy)?;
            show.step(self, &piece, &mode, true);
            event.event.changes.iter().for_each(|change| change.apply(&mut mode));
            self.field.eval_held(&piece.end.y, &mode, &instant.after, &mut piece.end.dy)?;
            std::mem::swap(&mut piece.start, &mut piece.end);
            show.event(self, &piece.start, &mode, &event.event);
        }
        piece.end.y.copy_from_slice(&self.y);
        (piece.end.t, piece.end.dissipated) = (told.t_end, told.dissipated);
        piece.length = (1.0 - x_before) * h;
        let at_end = events.get(instants.len());
        self.field.eval(&self.y, told.mode, &mut piece.end.dy)?;
        show.step(self, &piece, told.mode, at_end.is_some());
        if let Some(event) = at_end {
            self.field.eval(&self.y, &self.mode, &mut piece.end.dy)?;
            let mode = self.mode.clone();
            show.event(self, &piece.end, &mode, &event.event);
        }
        Ok(if show.asks_to_stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// Shows points at which the field stands.
struct Show {
    stats: Stats,
    asks_to_stop: bool,
}

impl Show {
    fn step<F: PiecewiseField, S: Stepper<F> + ?Sized>(
        &mut self,
        run: &mut Integration<'_, F, S>,
        piece: &Piece,
        mode: &Mode,
        ends_at_event: bool,
    ) {
        self.stats.steps += 1;
        let Piece { start, end, length } = piece;
        let view = StepView {
            t_start: start.t,
            length: *length,
            y_start: &start.y,
            end: end.point(mode, &*run.field, &self.stats),
            dense: piece,
            ends_at_event,
            is_of_stride: true,
        };
        self.asks_to_stop |= run.observer.step(&view).is_break();
    }

    fn event<F: PiecewiseField, S: Stepper<F> + ?Sized>(
        &mut self,
        run: &mut Integration<'_, F, S>,
        knot: &Knot,
        mode: &Mode,
        event: &Event,
    ) {
        run.observer.event(&knot.point(mode, &*run.field, &self.stats), event);
    }
}
