//! An audit of a run: at random times on the dense output, is any switch beyond a boundary of its piece, or any slide let go?
//!
//! The times are known only after a first run, so the audit rides along on a second, identical one.

use crate::ode::event::{floor, visit_boundaries};
use crate::ode::{Mode, Observer, PiecewiseField, StepView, StrideView};
use std::ops::ControlFlow;

/// A switch further than this beyond its boundary, relative to its scale, or a margin below minus this, was missed.
const MISSED: f64 = 1e-9;

/// Re-checks every surface at given times.
#[derive(Debug)]
pub struct Audit<F> {
    field: F,
    times: Vec<f64>,
    next: usize,
    y: Vec<f64>,
    dy: Vec<f64>,
    /// Times checked.
    pub n_checked: u64,
    /// Times at which some surface was on the wrong side.
    pub n_missed: u64,
    /// Largest distance beyond a boundary, relative to the switch's scale.
    pub deepest: f64,
}

impl<F: PiecewiseField + Clone> Audit<F> {
    /// An audit at `times` (sorted) with a private copy of `field`.
    pub fn new(field: &F, times: Vec<f64>) -> Self {
        let dim = field.dim();
        let (y, dy) = (vec![0.0; dim], vec![0.0; dim]);
        Self { field: field.clone(), times, next: 0, y, dy, n_checked: 0, n_missed: 0, deepest: 0.0 }
    }
}

impl<F: PiecewiseField> Audit<F> {
    /// Checks every surface at `self.y` in `mode`.
    fn check(&mut self, mode: &Mode) {
        self.n_checked += 1;
        if self.field.eval(&self.y, mode, &mut self.dy).is_err() {
            self.n_missed += 1;
            return;
        }
        let mut deepest = 0.0_f64;
        for (j, &value) in self.field.values().iter().enumerate() {
            visit_boundaries(&self.field, mode, j, |b| {
                // `floor` is the scale times its rounding factor.
                let scale = floor(&self.field, &b) / crate::ode::event::VALUE_FLOOR;
                if scale > 0.0 {
                    deepest = deepest.max(-b.distance(value) / scale);
                }
            });
        }
        let mut margins = Vec::new();
        self.field.margins(&mut margins);
        let worst_margin = margins.iter().map(|m| -m.least() / m.scale).fold(0.0, f64::max);
        self.deepest = self.deepest.max(deepest).max(worst_margin);
        if deepest.max(worst_margin) > MISSED {
            self.n_missed += 1;
        }
    }
}

impl<F: PiecewiseField> Observer<F> for Audit<F> {
    fn needs_dense(&self, _t_start: f64, t_end: f64) -> bool {
        self.times.get(self.next).is_some_and(|t| *t <= t_end)
    }

    fn step(&mut self, step: &StepView<'_, F>) -> ControlFlow<()> {
        while let Some(&t) = self.times.get(self.next).filter(|t| **t <= step.end.t) {
            self.next += 1;
            step.dense.at(t, &mut self.y);
            self.check(step.end.mode);
        }
        ControlFlow::Continue(())
    }

    fn needs_states(&self, _t_start: f64, _t_end: f64) -> bool {
        false
    }

    /// States inside strides are as good as the tolerance, and would not stand up to this.
    fn longest_stride(&self, t: f64) -> f64 {
        self.times.get(self.next).map_or(f64::INFINITY, |next| next - t)
    }

    fn stride(&mut self, stride: &StrideView<'_, F>) -> ControlFlow<()> {
        while self.times.get(self.next).is_some_and(|t| *t <= stride.end.t) {
            self.next += 1;
            self.y.copy_from_slice(stride.end.y);
            self.check(stride.end.mode);
        }
        ControlFlow::Continue(())
    }
}
