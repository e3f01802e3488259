//! A stepper that is explicit where accuracy or events limit the step, and implicit where stability does.
//!
//! Promise: both methods have the same order and step-length exponent, so that a change of method keeps the step length and costs
//! nothing. The decision is made before each step from what the loop tells ([`Outlook`]); no step is attempted twice for it.

use super::field::{NonFinite, PiecewiseField};
use super::norm::WrmsNorm;
use super::stepper::{Interpolant, Outlook, Start, Stepper, Work};
use super::{Esdirk, ExplicitRk};

/// A step counts as limited by stability when tolerance and crossings would allow one this much longer.
const STIFF_RATIO: f64 = 2.5;
/// Steps limited by stability, net of setbacks, after which the implicit method takes over.
const PATIENCE: i32 = 25;
/// An event sets the count back by so many steps.
const SETBACK: i32 = 3;
/// An implicit step pays when it is at least so many stable explicit steps long.
const WORTHWHILE: f64 = 6.0;
/// Implicit steps that do not pay, net of those that do, after which the explicit method takes over.
const DISAPPOINTMENT: i32 = 4;
/// After each disappointment the patience doubles, up to this.
const MOST_PATIENCE: i32 = 320;

/// See the module.
#[derive(Debug)]
pub struct Auto {
    explicit: ExplicitRk,
    implicit: Esdirk,
    is_implicit: bool,
    /// Longest stable explicit step times the decay rate.
    stable: f64,
    score: i32,
    patience: i32,
    n_switches: u64,
}

impl Auto {
    /// Starts with the explicit method; `share` is the part of its stability interval that steps may use.
    pub fn new<F: PiecewiseField>(explicit: ExplicitRk, implicit: Esdirk, share: f64) -> Self {
        let stable = share * Stepper::<F>::stability_interval(&explicit).unwrap_or(f64::INFINITY);
        Self { explicit, implicit, is_implicit: false, stable, score: 0, patience: PATIENCE, n_switches: 0 }
    }

    fn active<'a, F: PiecewiseField + 'a>(&'a self) -> &'a dyn Stepper<F> {
        if self.is_implicit { &self.implicit } else { &self.explicit }
    }

    fn active_mut<'a, F: PiecewiseField + 'a>(&'a mut self) -> &'a mut dyn Stepper<F> {
        if self.is_implicit { &mut self.implicit } else { &mut self.explicit }
    }

    fn interpolant(&self) -> &dyn Interpolant {
        if self.is_implicit { &self.implicit } else { &self.explicit }
    }

    fn switch(&mut self) {
        self.is_implicit = !self.is_implicit;
        self.n_switches += 1;
        self.score = 0;
    }
}

impl<F: PiecewiseField> Stepper<F> for Auto {
    fn name(&self) -> &'static str {
        "Auto (Tsit5, Esdirk54)"
    }

    fn order(&self) -> u32 {
        self.active::<F>().order()
    }

    fn error_exponent(&self) -> u32 {
        self.active::<F>().error_exponent()
    }

    fn stability_interval(&self) -> Option<f64> {
        self.active::<F>().stability_interval()
    }

    fn uses_decay(&self) -> bool {
        true
    }

    fn choose(&mut self, outlook: &Outlook) {
        let Some(decay) = outlook.decay.filter(|decay| *decay > 0.0) else { return };
        let stable = self.stable / decay;
        if !self.is_implicit {
            let wanted = outlook.h_tolerance.min(outlook.h_crossing);
            self.score = match (outlook.was_cut, wanted >= STIFF_RATIO * stable) {
                (true, _) => self.score - SETBACK,
                (false, true) => self.score + 1,
                (false, false) => self.score - 1,
            }
            .max(0);
            if self.score >= self.patience {
                self.switch();
            }
            return;
        }
        let pays = outlook.last_attempt >= WORTHWHILE * stable && !outlook.was_cut;
        self.score = (self.score + if pays { -1 } else { 1 }).max(-DISAPPOINTMENT);
        if self.score >= DISAPPOINTMENT {
            self.switch();
            self.patience = (2 * self.patience).min(MOST_PATIENCE);
        }
    }

    fn attempt(&mut self, field: &mut F, start: Start<'_>, h: f64) -> Result<f64, NonFinite> {
        self.active_mut().attempt(field, start, h)
    }

    fn end(&self) -> &[f64] {
        if self.is_implicit { Stepper::<F>::end(&self.implicit) } else { Stepper::<F>::end(&self.explicit) }
    }

    fn end_field(&self) -> &[f64] {
        if self.is_implicit { Stepper::<F>::end_field(&self.implicit) } else { Stepper::<F>::end_field(&self.explicit) }
    }

    fn error(&self, norm: &WrmsNorm, start: Start<'_>) -> f64 {
        self.active::<F>().error(norm, start)
    }

    fn prepare_dense(&mut self, field: &mut F, start: Start<'_>) -> Result<(), NonFinite> {
        self.active_mut().prepare_dense(field, start)
    }

    fn reset(&mut self) {
        self.active_mut::<F>().reset();
    }

    fn work(&self) -> Work {
        let (a, b) = (Stepper::<F>::work(&self.explicit), Stepper::<F>::work(&self.implicit));
        Work {
            evaluations: a.evaluations + b.evaluations,
            linearisations: a.linearisations + b.linearisations,
            solves: a.solves + b.solves,
            switches: self.n_switches,
        }
    }
}

impl Interpolant for Auto {
    fn interpolate(&self, start: Start<'_>, x: f64, out: &mut [f64]) {
        self.interpolant().interpolate(start, x, out);
    }

    fn dissipation(&self, start: Start<'_>, x: f64) -> Option<f64> {
        self.interpolant().dissipation(start, x)
    }

    fn detached(&self) -> Box<dyn Interpolant + Send> {
        self.interpolant().detached()
    }
}
