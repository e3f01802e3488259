//! An audit of a run: at random times on its dense output, is any switch beyond a boundary of its piece, or any slide let go?
//!
//! The times are known only after a first run, so the audit rides along on a second one, which is the same bit for bit: it only watches. Strides
//! are told to it as steps from event to event. States inside them are as good as the tolerance, and are judged by that.

use crate::flow::FlowField;
use crate::net::Backward;
use crate::ode::event::{VALUE_FLOOR, floor, visit_boundaries};
use crate::ode::{Mode, Observer, PiecewiseField, SlideMargin, StepView, WrmsNorm};
use crate::vector::norm;
use std::ops::ControlFlow;

/// On the dense output of a step a switch further than this beyond its boundary, relative to its scale, or a margin below minus this, was
/// missed: events are located on that output.
const MISSED: f64 = 1e-9;

/// Re-checks every surface at given times.
#[derive(Debug)]
pub struct Audit {
    field: FlowField,
    norm: WrmsNorm,
    times: Vec<f64>,
    next: usize,
    y: Vec<f64>,
    dy: Vec<f64>,
    gradient: Vec<f64>,
    backward: Backward,
    /// Times checked.
    pub n_checked: u64,
    /// Those of them inside strides.
    pub n_in_strides: u64,
    /// Times at which some surface was on the wrong side by more than the tolerances allow.
    pub n_missed: u64,
    /// Largest distance beyond a boundary, relative to the switch's scale.
    pub deepest: f64,
}

/// A switch that may be on the wrong side: its distance beyond a boundary, or a negative margin, and the scale of that.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    switch: usize,
    beyond: f64,
    scale: f64,
    is_margin: bool,
}

impl Audit {
    /// An audit at `times` (sorted) of a run with these tolerances, with a private copy of `field`.
    pub fn new(field: &FlowField, norm: WrmsNorm, times: Vec<f64>) -> Self {
        let zeros = vec![0.0; field.dim()];
        Self {
            field: field.clone(),
            norm,
            times,
            next: 0,
            y: zeros.clone(),
            dy: zeros.clone(),
            gradient: zeros,
            backward: Backward::default(),
            n_checked: 0,
            n_in_strides: 0,
            n_missed: 0,
            deepest: 0.0,
        }
    }

    /// Checks every surface at `self.y` in `mode`.
    fn check(&mut self, mode: &Mode, is_of_stride: bool) {
        self.n_checked += 1;
        self.n_in_strides += u64::from(is_of_stride);
        if self.field.eval(&self.y, mode, &mut self.dy).is_err() {
            self.n_missed += 1;
            return;
        }
        let suspects = self.suspects(mode);
        let deepest = suspects.iter().map(|suspect| suspect.beyond / suspect.scale).fold(0.0, f64::max);
        self.deepest = self.deepest.max(deepest);
        // Most times there are none.
        if suspects.iter().any(|suspect| self.is_missed(suspect, mode, is_of_stride)) {
            self.n_missed += 1;
        }
    }

    /// All that is on a wrong side by more than rounding.
    fn suspects(&mut self, mode: &Mode) -> Vec<Suspect> {
        let mut found = Vec::new();
        for (switch, &value) in self.field.values().iter().enumerate() {
            visit_boundaries(&self.field, mode, switch, |b| {
                // `floor` is the scale times its rounding factor.
                let scale = floor(&self.field, &b) / VALUE_FLOOR;
                let beyond = -b.distance(value);
                if scale > 0.0 && beyond > MISSED * scale {
                    found.push(Suspect { switch, beyond, scale, is_margin: false });
                }
            });
        }
        let mut margins: Vec<SlideMargin> = Vec::new();
        self.field.margins(&mut margins);
        for (contact, margin) in mode.sliding().iter().zip(&margins) {
            let (beyond, scale) = (-margin.least(), margin.scale);
            if beyond > MISSED * scale {
                found.push(Suspect { switch: contact.switch, beyond, scale, is_margin: true });
            }
        }
        found
    }

    /// Whether it is further off than an error e of θ that the tolerances allow explains: a value moves by ∇z·e, inside strides; the rate of a
    /// slide that is let go by λ|∇z|·|e|, and its margin is that over |∇z|².
    fn is_missed(&mut self, suspect: &Suspect, mode: &Mode, is_of_stride: bool) -> bool {
        let slope = self.slope(suspect.switch);
        let allowed = if suspect.is_margin {
            self.field.decay_rate(mode).unwrap_or(0.0) * self.norm.largest_error(&self.y) / slope
        } else if is_of_stride {
            self.norm.largest_change(&self.gradient, &self.y)
        } else {
            0.0
        };
        // A unit that θ does not move has no margin to lose.
        suspect.beyond > MISSED * suspect.scale + allowed
    }

    /// |∇z| of a switch where the field stands.
    fn slope(&mut self, switch: usize) -> f64 {
        let (batch, (theta, forward)) = (self.field.batch(), self.field.forward());
        let zeros = vec![0.0; batch.n_outputs()];
        let seed = [(self.field.switches().first(switch), 1.0)];
        batch.backward(theta, forward, &zeros, &seed, &mut self.backward, &mut self.gradient);
        norm(&self.gradient)
    }

    fn is_due(&self, t_end: f64) -> bool {
        self.times.get(self.next).is_some_and(|t| *t <= t_end)
    }
}

impl Observer<FlowField> for Audit {
    fn needs_dense(&self, _t_start: f64, t_end: f64) -> bool {
        self.is_due(t_end)
    }

    fn step(&mut self, step: &StepView<'_, FlowField>) -> ControlFlow<()> {
        while let Some(&t) = self.times.get(self.next).filter(|t| **t <= step.end.t) {
            self.next += 1;
            step.dense.at(t, &mut self.y);
            self.check(step.end.mode, step.is_of_stride);
        }
        ControlFlow::Continue(())
    }

    fn needs_states(&self, _t_start: f64, t_end: f64) -> bool {
        self.is_due(t_end)
    }
}
