//! Attempt and judge: step lengths, attempts in the frozen mode until one is accepted, limits of a run.

use super::{
    DECAY_INTERVAL, Integration, MOST_HALVINGS, MOST_TURNS, MOST_UNMOVED, Missed, NOISE_INTERVAL, OVERDUE, Options,
    PREDICTION_REACH, STABILITY_SHARE,
};
use crate::ode::controller::StepController;
use crate::ode::event::{Found, visit_boundaries};
use crate::ode::field::{NonFinite, PiecewiseField};
use crate::ode::mode::Contact;
use crate::ode::norm::{ROUNDING, WrmsNorm};
use crate::ode::outcome::{Rest, StopReason};
use crate::ode::scan::crossing_times;
use crate::ode::stepper::{Outlook, Start, Stepper};
use crate::vector::{distance_squared, dot, norm as length, vectorised};
use std::ops::ControlFlow;

/// Errors above this part of the tolerance limit the next step, and are looked at for rounding.
const LIMITING: f64 = 0.1;

/// A step's error is at most this part of the way it goes.
const ASTRAY: f64 = 1e-2;
/// The error of ∫‖dy‖² is at most this many times rtol of all that it has been.
const DISSIPATION: f64 = 100.0;
/// An error that keeps a step about as long as it is.
const STEADY: f64 = 0.5;

/// What a proposed step is no longer than.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepLimit {
    Accuracy,
    Stability,
    Crossing,
}

/// Shortest step that surely moves t.
fn smallest_step(t: f64) -> f64 {
    4.0 * f64::EPSILON * t.abs()
}

impl<F: PiecewiseField, S: Stepper<F> + ?Sized> Integration<'_, F, S> {
    pub(super) fn check_limits(&mut self) -> ControlFlow<StopReason> {
        if self.t >= self.options.t_end {
            return ControlFlow::Break(StopReason::Horizon);
        }
        self.check_attempts()?;
        let n_attempts = self.stats.steps + self.stats.rejected;
        if self.t - self.moved.0 > MOST_UNMOVED as f64 * smallest_step(self.t) {
            self.moved = (self.t, n_attempts);
        } else if n_attempts - self.moved.1 >= MOST_UNMOVED {
            return ControlFlow::Break(StopReason::StepTooSmall { h: self.controller.h() });
        }
        self.floors.follow(self.field, self.options.norm.rtol);
        if self.n_rounds.is_multiple_of(NOISE_INTERVAL) && !self.field.noise().1 {
            self.field.measure_noise();
        }
        self.n_rounds += 1;
        self.speed = vectorised!(dot(&self.dy, &self.dy)).sqrt();
        self.rest = self.options.fixed_step.is_none().then(|| self.at_rest()).flatten();
        if self.rest.is_some() {
            if self.options.t_end.is_infinite() {
                return ControlFlow::Break(StopReason::Stationary);
            }
            // At rest nothing changes any more: the horizon is reached in one stroke.
            self.t = self.options.t_end;
            return ControlFlow::Break(StopReason::Horizon);
        }
        if self.stats.steps.is_multiple_of(DECAY_INTERVAL) {
            self.estimate_decay();
        }
        ControlFlow::Continue(())
    }

    /// Below its own rounding noise the field points nowhere, and decisions about kinks would be thrown dice.
    fn at_rest(&mut self) -> Option<Rest> {
        let field = self.speed;
        if field > self.field.noise().0.field() {
            return None;
        }
        self.field.measure_noise();
        let noise = self.field.noise().0.field();
        (field <= noise).then_some(Rest { t: self.t, field, noise })
    }

    fn check_attempts(&self) -> ControlFlow<StopReason> {
        let max_steps = self.options.max_steps;
        if self.stats.steps + self.stats.rejected >= max_steps {
            return ControlFlow::Break(StopReason::StepLimit { max_steps });
        }
        ControlFlow::Continue(())
    }

    pub(super) fn estimate_decay(&mut self) {
        if self.options.fixed_step.is_none() && self.stepper.uses_decay() {
            self.decay = self.field.decay_rate(&self.mode);
            self.stats.decay_estimates += 1;
        }
    }

    /// Makes attempts until one is accepted; returns its length.
    pub(super) fn attempt(&mut self) -> ControlFlow<StopReason, f64> {
        let remaining = self.options.t_end - self.t;
        let n_doublings = (self.n_overdue + 1).saturating_sub(OVERDUE).min(1000);
        let h_crossing = PREDICTION_REACH * 2.0_f64.powi(n_doublings as i32) * self.next_crossing();
        let (last_attempt, was_cut) = self.last_attempt;
        let h_tolerance = self.controller.h();
        let (decay, last_error) = (self.decay, self.last_error);
        let (t, n_evaluations) = (self.t, self.evaluations());
        self.stepper.choose(&Outlook {
            t,
            n_evaluations,
            h_tolerance,
            h_crossing,
            decay,
            last_attempt,
            last_error,
            was_cut,
        });
        if self.stepper.is_for_stiff() {
            let noise = &self.field.noise().0.components;
            self.stepper.weigh(&self.options.norm.with(self.floors.with_noise(noise, h_tolerance.min(remaining))));
        }
        let mut last_astray = None;
        loop {
            let proposed = |h| (h, StepLimit::Accuracy);
            let (h, limit) = self.options.fixed_step.map_or_else(|| self.proposed_step(h_crossing), proposed);
            let h = h.min(remaining);
            if h <= 0.0 {
                return ControlFlow::Break(StopReason::StepTooSmall { h });
            }
            let start = Start { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode };
            match self.stepper.attempt(self.field, start, h) {
                Ok(taken) => {
                    let (error, astray) = self.judge(taken);
                    // What a shorter step does not make smaller comes from elsewhere, as from the tolerance of an iteration inside.
                    let is_stubborn = |(h, before): (f64, f64)| taken <= 0.6 * h && astray > 0.5 * before;
                    let is_astray = astray > 1.0 && !last_astray.is_some_and(is_stubborn);
                    let is_accepted = error <= 1.0 && !is_astray || self.options.fixed_step.is_some();
                    last_astray = Some((taken, astray));
                    let error = if is_accepted { error.max(astray.min(STEADY)) } else { error.max(astray) };
                    if is_accepted {
                        let exponent = self.stepper.error_exponent();
                        if self.stepper.stands_in() {
                            self.controller.accept_lower(taken, error, exponent);
                        } else {
                            self.controller.accept(taken, error, exponent);
                        }
                        self.last_attempt = (taken, false);
                        self.last_error = error;
                        self.stats.limited_by_stability += u64::from(limit == StepLimit::Stability);
                        self.stats.limited_by_crossing += u64::from(limit == StepLimit::Crossing);
                        if limit == StepLimit::Crossing {
                            self.n_overdue += 1;
                        } else if self.n_overdue < OVERDUE {
                            self.n_overdue = 0;
                        }
                        self.read_end();
                        return ControlFlow::Continue(taken);
                    }
                    if self.stepper.retries(h, error) {
                        self.stats.rejected += 1;
                        self.stepper.reset();
                        continue;
                    }
                    self.controller.reject(h, error);
                    // Far out a fast phase may be shorter than t resolves; its steps are as good as others.
                    if h < f64::MIN_POSITIVE {
                        return ControlFlow::Break(StopReason::StepTooSmall { h });
                    }
                }
                Err(non_finite) => {
                    self.controller.reject(h, f64::INFINITY);
                    if self.options.fixed_step.is_some() || h < 1e-300 {
                        return ControlFlow::Break(StopReason::NonFinite { what: non_finite.what });
                    }
                }
            }
            self.stats.rejected += 1;
            self.stepper.reset();
            self.check_attempts()?;
        }
    }

    /// The error of the attempt just made, relative to its tolerance and to the way that it goes.
    fn judge(&mut self, taken: f64) -> (f64, f64) {
        let Self { field, stepper, floors, options: Options { norm, .. }, t, y, dy, mode, .. } = self;
        let start = Start { t: *t, y, dy, mode };
        let noise = &field.noise().0.components;
        let mut error = stepper.error(&norm.with(floors.as_slice()), start);
        if error > LIMITING {
            error = stepper.error(&norm.with(floors.with_noise(noise, taken)), start);
        }
        if let Some(off) = stepper.dissipation_error(start) {
            let so_far = self.dissipated + stepper.dissipation(start, 1.0).unwrap_or(0.0).max(0.0);
            // Slopes are differences of states: near a saddle these move less than they are rounded.
            let rounding = ROUNDING * length(y) / taken;
            let off = off - taken * rounding * (self.speed + rounding);
            error = error.max(if off > 0.0 { off / (DISSIPATION * norm.rtol * so_far) } else { 0.0 });
        }
        let moved = vectorised!(distance_squared(stepper.end(), y)).sqrt();
        // Neither time nor the state resolves such a step: what moves in it is rounding (components that are exactly zero, and have no tolerance).
        if taken <= smallest_step(self.t) && moved <= ROUNDING * length(y) {
            return (error.min(STEADY), 0.0);
        }
        if noise.is_empty() || error > 1.0 {
            return (error, 0.0);
        }
        let atol = ASTRAY * moved / (y.len() as f64).sqrt();
        let way = WrmsNorm { rtol: if stepper.takes_differences() { ROUNDING } else { 0.0 }, atol };
        (error, stepper.error(&way.with(floors.noise_alone(noise, taken)), start))
    }

    /// Gives up a step that has passed something it did not show; the next attempt is half as long, or an attached contact is no longer taken for one.
    pub(super) fn halve(&mut self, h: f64, missed: Missed) -> ControlFlow<StopReason> {
        self.n_missed += 1;
        if self.n_missed > MOST_HALVINGS || self.options.fixed_step.is_some() {
            return ControlFlow::Break(StopReason::MissedEvent { contact: missed.contact, distance: missed.distance });
        }
        self.stats.rejected += 1;
        self.stepper.reset();
        if self.mode.attached().contains(&missed.contact) {
            // It depends on the slides no more.
            self.mode.detach(missed.contact);
        } else {
            self.controller = StepController::new(0.5 * h, self.stepper.error_exponent());
        }
        self.evaluate_here()?;
        self.field.margins(&mut self.start.margins);
        ControlFlow::Continue(())
    }

    /// A contact that meets its breakpoint at the start of the run although it was put on its side right there. What leaves with a high power of time is
    /// nothing beside the error of the dense output of a long step, which may have it on the other side at first.
    pub(super) fn turns_back(&self, found: &Found, h: f64) -> Option<Contact> {
        let noise = self.field.noise().0;
        let leaves_late = |c: &Contact| {
            let rate = self.start.rates[c.switch].abs();
            rate <= noise.rate(c.switch) && self.fresh.contains(c) && !self.mode.attached().contains(c)
        };
        let turns = self.t == 0.0
            && self.is_zero_length(found, h)
            && found.exits.is_empty()
            && found.hits.iter().all(leaves_late);
        found.hits.first().copied().filter(|_| turns && self.n_missed < MOST_TURNS && self.options.fixed_step.is_none())
    }

    /// Takes the step just accepted once more with the shorter length `h`, which needs no judgement; returns the length taken.
    pub(super) fn retake(&mut self, h: f64) -> Result<f64, NonFinite> {
        let start = Start { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode };
        self.stepper.reset();
        let taken = self.stepper.attempt(self.field, start, h)?;
        self.read_end();
        Ok(taken)
    }

    /// The tolerance's step, limited by stability and by the next predicted crossing.
    fn proposed_step(&self, h_crossing: f64) -> (f64, StepLimit) {
        let (mut h, mut limit) = (self.controller.h(), StepLimit::Accuracy);
        if let (Some(interval), Some(decay)) = (self.stepper.stability_interval(), self.decay)
            && decay > 0.0
        {
            let stable = STABILITY_SHARE * interval / decay;
            if stable < h {
                (h, limit) = (stable, StepLimit::Stability);
            }
        }
        // Never so short that a crossing just missed by rounding would stop the clock, nor that t would not move.
        let ahead = h_crossing.max(1e-9 * h).max(smallest_step(self.t));
        if ahead < h { (ahead, StepLimit::Crossing) } else { (h, limit) }
    }

    /// Time until the first switch reaches a boundary at its present rate; ∞ when none approaches.
    fn next_crossing(&mut self) -> f64 {
        let Self { field, mode, start, fresh, work, .. } = self;
        let mut soonest = f64::INFINITY;
        let mut judge = |j: usize| {
            let (value, rate) = (start.values[j], start.rates[j]);
            visit_boundaries(&**field, mode, j, |b| {
                let (distance, approach) = (b.distance(value), -b.side.sign() * rate);
                if approach > 0.0 && distance > 0.0 && distance < soonest * approach && !fresh.contains(&b.contact) {
                    soonest = distance / approach;
                }
            });
        };
        let Some(breakpoints) = field.common_breakpoints() else {
            (0..start.values.len()).for_each(judge);
            return soonest;
        };
        let times = &mut work.times;
        crossing_times(breakpoints, &start.values, &start.rates, times);
        // What stands on a breakpoint is not about to reach it.
        fresh.iter().chain(mode.sliding()).for_each(|contact| times[contact.switch] = f64::INFINITY);
        fresh.iter().for_each(|contact| judge(contact.switch));
        times.iter().fold(soonest, |soonest, &time| soonest.min(time))
    }

    pub(super) fn read_end(&mut self) {
        self.end.values.copy_from_slice(self.field.values());
        self.field.rates(self.stepper.end_field(), &mut self.end.rates);
        self.stats.rate_evaluations += 1;
        self.field.margins(&mut self.end.margins);
    }
}
