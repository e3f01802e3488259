//! Strides: steps that hold many events, where they cost less than going from event to event.

use super::Integration;
use super::branches::narrow_margin;
use super::unfold::Told;
use crate::ode::event::{End, floor, visit_beyond};
use crate::ode::field::PiecewiseField;
use crate::ode::mode::{Contact, Mode};
use crate::ode::observer::{BranchKind, BranchPoint, Change, Event, Point, StrideEvent, StrideView};
use crate::ode::outcome::{Stats, StopReason};
use crate::ode::resolve::{Meeting, changes};
use crate::ode::stepper::Stepper;
use crate::ode::stride::{GivenUp, Stride, StrideStart, Strider};
use crate::vector::{max_abs, vectorised};
use std::ops::ControlFlow;

/// Evaluations that a stride costs, about, landing included.
const COST: f64 = 18.0;
/// Evaluations that an event costs when steps end at it, and those of a step that ends at none.
const EVENT_COST: f64 = 5.0;
const STEP_COST: f64 = 6.0;
/// The first stride is as long as steps with this many times its cost.
const FIRST: f64 = 2.0;
/// Longest stride, in parts of the time that the fastest decay takes: beyond it sweeps hardly converge.
const REACH: f64 = 1.5;
/// Part of the ordinary steps that have to end at events for a stride to be tried.
const CROWDED: f64 = 0.5;
/// Steps from event to event before the first trial; after a disappointment, at first and at most.
const INITIAL_PATIENCE: u64 = 8;
const PATIENCE: (u64, u64) = (16, 512);
/// The error of a stride shrinks like its length to this power.
const EXPONENT: f64 = 3.0;
/// The error up to which a stride is accepted, relative to the tolerance. Steps that events cut short are far better than the tolerance; this
/// makes runs in strides about as good as from event to event.
const ACCEPTED: f64 = 0.25;
const SAFETY: f64 = 0.85;
/// Attempts that differ in length before a stride is given up.
const MOST_ATTEMPTS: u32 = 3;
/// Rounds of putting switches that were found beyond a boundary onto it.
const MOST_ROUNDS: u32 = 4;

/// When strides are taken, and how long they are.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) strider: Strider,
    /// Length of the next one, if known.
    h: Option<f64>,
    /// Steps before the next trial, and how many more after the next disappointment.
    next_trial: u64,
    patience: u64,
    /// Time, evaluations and steps where the present stretch of ordinary steps began.
    since: (f64, u64, u64),
    /// Steps of that stretch that ended at an event.
    pub(super) n_events: u64,
}

/// The state at the start of a stride.
struct Departure {
    y: Vec<f64>,
    dy: Vec<f64>,
    mode: Mode,
    fresh: Vec<Contact>,
    forced: Vec<Contact>,
    start: End,
}

/// What happens at the end of a stride.
struct Landing {
    changes: Vec<Change>,
    /// Slides that have lost their attraction.
    lost: Vec<Contact>,
}

impl<F: PiecewiseField, S: Stepper<F> + ?Sized> Integration<'_, F, S> {
    /// Strides are never tried where they are not asked for, or the field cannot be cut.
    pub(super) fn begin_pace(&mut self) {
        // What falls and rises again between events could be passed inside.
        let can_be_passed = self.rules.iter().any(|rule| !rule.never_rises());
        if !self.options.strides || can_be_passed || self.field.cut().is_none() {
            self.pace.next_trial = u64::MAX;
        }
    }

    /// Takes a stride if one pays here and can be made; says whether it did.
    pub(super) fn stride(&mut self) -> ControlFlow<StopReason, bool> {
        if self.stats.steps < self.pace.next_trial || !self.forced.is_empty() || !self.mode.attached().is_empty() {
            return ControlFlow::Continue(false);
        }
        let longest = self.options.t_end - self.t;
        let density = self.density();
        let Some(mut h) = self.stride_length(longest, density) else {
            let is_first = self.stats.strides == 0 && self.stats.steps == 0;
            self.pace.next_trial = self.stats.steps + if is_first { INITIAL_PATIENCE } else { PATIENCE.0 };
            if !is_first {
                self.rest();
            }
            return ControlFlow::Continue(false);
        };
        let n_before = self.evaluations();
        for _ in 0..MOST_ATTEMPTS {
            let fixed = self.options.fixed_step.is_some();
            // What is left after a stride should be worth one.
            h = if h < longest && longest < 1.5 * h && !fixed { 0.5 * longest } else { h.min(longest) };
            let factor = match self.attempt_stride(h) {
                Ok(stride) => {
                    let factor = (SAFETY * (stride.error / ACCEPTED).max(1e-12).powf(-1.0 / EXPONENT)).clamp(0.25, 2.0);
                    if (stride.error <= ACCEPTED || fixed)
                        && let Some((at_end, departure)) = self.land(&stride)?
                    {
                        self.pace.h = Some(h * factor);
                        let n_changes: usize = stride.instants.iter().map(|i| i.changes.len()).sum();
                        self.commit_stride(stride, at_end, &departure, h)?;
                        self.judge_stride(n_before, n_changes, h);
                        return ControlFlow::Continue(true);
                    }
                    factor.min(0.7)
                }
                Err(_) => 0.5,
            };
            self.stats.rejected += 1;
            h *= factor;
            if fixed || density.is_some_and(|density| h * density < COST) {
                break;
            }
        }
        self.pace.h = Some(h);
        self.disappoint();
        ControlFlow::Continue(false)
    }

    /// Length of a stride that would pay, if one is likely to, where ordinary steps spend `density` evaluations a unit of time.
    fn stride_length(&self, longest: f64, density: Option<f64>) -> Option<f64> {
        if let Some(h) = self.options.fixed_step {
            return (longest > 0.0).then_some(h);
        }
        if longest <= 0.0 {
            return None;
        }
        let n_steps = self.stats.steps - self.pace.since.2;
        if (self.pace.n_events as f64) < CROWDED * n_steps as f64 {
            return None;
        }
        let reach = self.decay.filter(|d| *d > 0.0).map_or(f64::INFINITY, |decay| REACH / decay);
        match (self.pace.h, density) {
            (None, None) => None,
            (None, Some(density)) => Some((FIRST * COST / density).min(reach)),
            (Some(h), None) => Some(h.min(reach)),
            (Some(h), Some(density)) => {
                let h = h.max(FIRST * COST / density).min(reach);
                (h.min(longest) * density > COST).then_some(h)
            }
        }
    }

    /// How many evaluations a unit of time costs in ordinary steps, if there have been any of late.
    fn density(&self) -> Option<f64> {
        let (t, evaluations, steps) = self.pace.since;
        let has_moved = self.stats.steps > steps && self.t > t;
        has_moved.then(|| (self.evaluations() - evaluations) as f64 / (self.t - t))
    }

    /// Evaluations so far, those of the stepper included.
    pub(super) fn evaluations(&self) -> u64 {
        self.stats.evaluations + self.stepper.work().evaluations
    }

    fn attempt_stride(&mut self, h: f64) -> Result<Stride, GivenUp> {
        let Self {
            field,
            pace: Pace { strider, .. },
            stats,
            y,
            dy,
            mode,
            fresh,
            options,
            floors,
            start: End { rates, .. },
            ..
        } = self;
        let cut = field.cut().ok_or(GivenUp::Stuck)?;
        let largest_rate = vectorised!(max_abs(rates));
        let start = StrideStart { y, dy, mode, fresh, norm: options.norm.with(floors.as_slice()), largest_rate };
        let (n_evaluations, n_rates) = (strider.n_evaluations, strider.n_rates);
        let made = strider.attempt(cut, start, h);
        stats.evaluations += strider.n_evaluations - n_evaluations;
        stats.rate_evaluations += strider.n_rates - n_rates;
        made
    }

    /// Moves to the end of a stride: slides exactly onto their breakpoints, and switches found beyond a boundary onto it and decided anew.
    /// Returns what happens there and where the run comes from, `None` when no consistent state is found, or a stop rule is met before; the
    /// run is where it was then.
    fn land(&mut self, stride: &Stride) -> ControlFlow<StopReason, Option<(Landing, Departure)>> {
        let departure = Departure {
            y: std::mem::replace(&mut self.y, stride.y.clone()),
            dy: self.dy.clone(),
            mode: std::mem::replace(&mut self.mode, stride.mode.clone()),
            fresh: std::mem::take(&mut self.fresh),
            forced: std::mem::take(&mut self.forced),
            start: self.start.clone(),
        };
        let mut resting = stride.beyond.clone();
        let mut landed = None;
        for _ in 0..MOST_ROUNDS {
            let on_surface = self.mode.contacts_with(&resting);
            if !on_surface.is_empty() && self.field.project(&mut self.y, &self.mode, &on_surface).is_err() {
                break;
            }
            let meeting = Meeting { resting: resting.clone(), ..Meeting::default() };
            let Ok(lost) = self.decide_generic(&meeting) else { break };
            self.adopt_decision();
            let more = self.found_beyond(&resting);
            if more.is_empty() {
                landed = Some((on_surface, lost));
                break;
            }
            resting.extend(more);
            self.mode.clone_from(&stride.mode);
        }
        let met = landed.is_some() && self.met_rule().is_some();
        let Some((on_surface, lost)) = landed.filter(|_| !met) else {
            let Departure { y, mode, fresh, forced, start, .. } = departure;
            (self.y, self.mode, self.fresh, self.forced, self.start) = (y, mode, fresh, forced, start);
            self.evaluate_here()?;
            return ControlFlow::Continue(None);
        };
        let changes = if self.mode == stride.mode {
            Vec::new()
        } else {
            let before = self.rates_in(&stride.mode)?;
            changes((&stride.mode, &before), (&self.mode, &self.work.rates), on_surface.iter().copied(), &[])
        };
        self.fresh = on_surface;
        let mode = &self.mode;
        self.fresh.retain(|c| !mode.slides(c.switch));
        ControlFlow::Continue(Some((Landing { changes, lost }, departure)))
    }

    /// Rates at the present point in a mode that is not the present one; the field is evaluated in that one again.
    fn rates_in(&mut self, mode: &Mode) -> ControlFlow<StopReason, Vec<f64>> {
        let mut rates = vec![0.0; self.field.n_switches()];
        self.stats.evaluations += 1;
        self.stats.rate_evaluations += 1;
        if let Err(error) = self.field.eval(&self.y, mode, &mut self.dy_cut) {
            return ControlFlow::Break(StopReason::NonFinite { what: error.what });
        }
        self.field.rates(&self.dy_cut, &mut rates);
        self.evaluate_here()?;
        ControlFlow::Continue(rates)
    }

    /// Free switches beyond a boundary by more than rounding, those known to rest on it apart.
    fn found_beyond(&mut self, resting: &[Contact]) -> Vec<Contact> {
        let mut found = Vec::new();
        let Self { field, mode, start, scratch, .. } = self;
        visit_beyond(&**field, mode, &start.values, scratch, |b, distance| {
            if distance < -4.0 * floor(&**field, &b) && !resting.contains(&b.contact) {
                found.push(b.contact);
            }
        });
        found
    }

    /// Tells the observers of a stride, its events and its end.
    fn commit_stride(
        &mut self,
        stride: Stride,
        Landing { changes: at_end, lost }: Landing,
        departure: &Departure,
        h: f64,
    ) -> ControlFlow<StopReason> {
        let Stride { mut instants, active, dissipated: (at_events, dissipated), mode, .. } = stride;
        let t_start = self.t;
        let t_end = self.time_after(h);
        let global = |contact: Contact| Contact { switch: active[contact.switch], ..contact };
        let narrow = narrow_margin(self.options);
        let mut events = Vec::with_capacity(instants.len() + 1);
        for (instant, dissipated) in instants.iter().zip(at_events) {
            let t = (t_start + instant.x * h).min(t_end);
            for branch in instant.branches.iter().filter(|b| b.margin < narrow) {
                self.observer.branch_point(&BranchPoint { t, contact: global(branch.contact), ..*branch });
            }
            let per_time = |c: &Change| Change {
                contact: global(c.contact),
                rate_before: c.rate_before / h,
                rate_after: c.rate_after / h,
                ..*c
            };
            let changes: Vec<Change> = instant.changes.iter().map(per_time).collect();
            if !changes.is_empty() {
                events.push(StrideEvent { t, event: Event { changes }, dissipated });
            }
        }
        for contact in lost {
            let kind = BranchKind::LostAttraction;
            self.observer.branch_point(&BranchPoint { t: t_end, contact, kind, margin: 0.0 });
        }
        instants.retain(|instant| !instant.changes.is_empty());
        if !at_end.is_empty() {
            events.push(StrideEvent { t: t_end, event: Event { changes: at_end }, dissipated });
        }
        self.t = t_end;
        self.dissipated += dissipated;
        self.last_attempt = (0.0, !events.is_empty());
        self.n_overdue = 0;
        self.stats.strides += 1;
        self.stepper.reset();
        let mut stats: Stats = self.stats.with(self.stepper.work());
        // It counts as the steps from event to event that it stands for.
        self.stats.steps += instants.len() as u64 + 1;
        let told = if self.observer.needs_states(t_start, t_end) {
            let Departure { y, dy, mode: first, .. } = departure;
            let told = Told {
                t_start,
                h,
                start: (y, dy, first),
                instants: &instants,
                mode: &mode,
                events: &events,
                t_end,
                dissipated,
            };
            match self.unfold(&told, stats) {
                Ok(told) => told,
                Err(error) => return ControlFlow::Break(StopReason::NonFinite { what: error.what }),
            }
        } else {
            stats.steps = self.stats.steps;
            let Self { y, dy, mode, field, .. } = self;
            let end = Point { t: t_end, y, dy, mode, field: &**field, stats: &stats };
            self.observer.stride(&StrideView { events: &events, dissipated, t_start, end })
        };
        self.estimate_decay();
        if told.is_break() { ControlFlow::Break(StopReason::Interrupted) } else { ControlFlow::Continue(()) }
    }

    /// Goes back to ordinary steps for a while if the stride cost more than these would have.
    fn judge_stride(&mut self, n_before: u64, n_changes: usize, h: f64) {
        let cost = (self.evaluations() - n_before) as f64;
        let stiff = self.decay.map_or(0.0, |decay| h * decay / 3.0);
        self.rest();
        if cost > EVENT_COST * n_changes as f64 + STEP_COST * stiff && self.options.fixed_step.is_none() {
            self.disappoint();
        } else {
            self.pace.patience = PATIENCE.0;
        }
    }

    fn disappoint(&mut self) {
        self.pace.strider.reset();
        let patience = self.pace.patience.max(PATIENCE.0);
        self.pace.next_trial = self.stats.steps + patience;
        self.pace.patience = (2 * patience).min(PATIENCE.1);
        self.rest();
    }

    /// Begins another stretch of ordinary steps.
    fn rest(&mut self) {
        self.pace.since = (self.t, self.evaluations(), self.stats.steps);
        self.pace.n_events = 0;
    }
}
