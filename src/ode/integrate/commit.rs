//! Commit and tell: move to the cut, decide the modes there, guard against chatter, and tell the observers both sides.

use super::dense::{Dense, Extent};
use super::{CHATTER_LIMIT, Cut, DRIFTING, Integration, Repeats, WRONG_SIDE, ZERO_LENGTH_LIMITS};
use crate::ode::event::{Boundary, Found, boundary_at, floor, visit_beyond, visit_boundaries};
use crate::ode::field::{NonFinite, PiecewiseField};
use crate::ode::mode::{Contact, Mode};
use crate::ode::observer::{BranchKind, BranchPoint, Event, Point, StepView};
use crate::ode::outcome::StopReason;
use crate::ode::resolve::{Meeting, changes};
use crate::ode::scan::{mark_near, marked};
use crate::ode::stepper::{Start, Stepper};
use crate::vector::{dot, vectorised};
use std::ops::ControlFlow;

impl<F: PiecewiseField, S: Stepper<F> + ?Sized> Integration<'_, F, S> {
    /// Moves to the cut, still in the old mode, and tells the observers.
    pub(super) fn commit_step(&mut self, h: f64, cut: &Cut) -> ControlFlow<()> {
        let x = match cut {
            Cut::Nothing | Cut::Missed(_) => 1.0,
            Cut::Event(found) => found.x,
            Cut::Rule { x, .. } => *x,
        };
        let t_end = if x == 1.0 { self.time_after(h) } else { self.t + x * h };
        self.stats.steps += 1;
        self.n_missed = 0;
        let start = Start { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode };
        self.dissipated += 0.5 * x * h * (self.speed * self.speed + vectorised!(dot(&self.dy_cut, &self.dy_cut)));
        let extent = Extent { t: self.t, h, x_cut: x, t_cut: t_end };
        let dense = Dense { interpolant: &*self.stepper, start, extent };
        let stats = self.stats.with(self.stepper.work());
        let view = StepView {
            t_start: self.t,
            length: x * h,
            y_start: &self.y,
            end: Point {
                t: t_end,
                y: &self.y_cut,
                dy: &self.dy_cut,
                mode: &self.mode,
                field: &*self.field,
                stats: &stats,
            },
            dense: &dense,
            ends_at_event: matches!(cut, Cut::Event(_)),
            is_of_stride: false,
        };
        let told = self.observer.step(&view);
        self.t = t_end;
        std::mem::swap(&mut self.y, &mut self.y_cut);
        std::mem::swap(&mut self.dy, &mut self.dy_cut);
        if matches!(cut, Cut::Nothing) {
            std::mem::swap(&mut self.start, &mut self.end);
            self.forced.clear();
            let Self { fresh, field, mode, start, .. } = self;
            fresh.retain(|&c| mode.attached().contains(&c) || still_on(&**field, mode, c, &start.values));
        } else {
            self.stepper.reset();
        }
        told
    }

    /// Decides the modes at the event and goes on from its far side.
    pub(super) fn commit_event(&mut self, found: Found, h: f64) -> ControlFlow<StopReason> {
        self.last_attempt.1 = true;
        self.n_overdue = 0;
        self.pace.n_events += 1;
        let zero_length = self.is_zero_length(&found, h);
        if !zero_length {
            self.forced.clear();
        }
        self.field.margins(&mut self.start.margins);
        let margins = std::mem::take(&mut self.start.margins);
        if self.has_rates {
            self.start.rates.copy_from_slice(&self.work.rates);
        } else {
            self.field.rates(&self.dy, &mut self.start.rates);
            self.stats.rate_evaluations += 1;
        }
        let mut before = std::mem::take(&mut self.before);
        before.rates.clone_from(&self.start.rates);
        before.mode.clone_from(&self.mode);
        self.report_narrow_events(&found, &margins, &before.rates);
        let forced = self.guard(&found, zero_length)?;
        let Self { fresh, field, mode, .. } = self;
        let still_on = |c| mode.attached().contains(&c) || still_on(&**field, mode, c, field.values());
        fresh.retain(|&c| !found.hits.contains(&c) && still_on(c));

        let mut hits = found.hits;
        hits.sort_unstable();
        let non_finite = |error: NonFinite| ControlFlow::Break(StopReason::NonFinite { what: error.what });
        let blurred = self.blurred(&hits, &before.rates);
        if let Err(error) = self.field.project_last(&mut self.y, &self.mode, &hits) {
            return non_finite(error);
        }
        let n_hits = hits.len();
        hits.extend(blurred.into_iter().filter(|b| self.is_on(b)).map(|b| b.contact));
        hits.sort_unstable();
        let on_surface = self.mode.contacts_with(&hits);
        if hits.len() > n_hits
            && let Err(error) = self.field.project(&mut self.y, &self.mode, &on_surface)
        {
            return non_finite(error);
        }
        hits.retain(|c| !forced.contains(c));
        let exits = found.exits.into_iter().filter(|exit| !forced.contains(&exit.contact)).collect();
        let is_expected = |c: &Contact| self.field.is_pushed_back(*c, before.rates[c.switch]);
        let expected = hits.iter().copied().filter(is_expected).collect();
        let meeting = Meeting { hits, expected, resting: self.fresh.clone(), exits, forced };
        for lost in self.decide(&meeting, &before.rates)? {
            let branch = BranchPoint { t: self.t, contact: lost, kind: BranchKind::LostAttraction, margin: 0.0 };
            self.observer.branch_point(&branch);
        }
        let contacts = on_surface.iter().chain(&meeting.resting).copied();
        // What passes a set of surfaces that depend on each other does not touch them one by one.
        let is_joint = !before.mode.attached().is_empty() || !self.mode.attached().is_empty();
        let touched = if is_joint { &[] } else { &meeting.hits[..] };
        let changes = changes((&before.mode, &before.rates), (&self.mode, &self.work.rates), contacts, touched);
        for &contact in &meeting.forced {
            let branch = BranchPoint { t: self.t, contact, kind: BranchKind::Regularised, margin: 0.0 };
            self.observer.branch_point(&branch);
        }
        self.stats.regularised += meeting.forced.len() as u64;
        self.forced = meeting.forced;
        let mode = &self.mode;
        self.fresh.extend(on_surface.iter().filter(|c| !mode.slides(c.switch)));
        self.fresh.retain(|c| !mode.slides(c.switch));
        self.fresh.sort_unstable();
        self.fresh.dedup();
        self.start.margins = margins;
        self.adopt_decision();
        self.check_sides(h, &before.rates)?;
        self.before = before;
        let event = Event { changes };
        let stats = self.stats.with(self.stepper.work());
        let point = Point { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode, field: &*self.field, stats: &stats };
        self.observer.event(&point, &event);
        match self.met_rule() {
            Some(name) => ControlFlow::Break(StopReason::Rule { name }),
            None => ControlFlow::Continue(()),
        }
    }

    /// Boundaries that free switches may reach together with these hits although they were not seen to: one that comes slowly is located the worse for
    /// it, and slides have drifted off their breakpoints. Whether they do is seen when the point has been put onto the surfaces.
    fn blurred(&mut self, hits: &[Contact], rates: &[f64]) -> Vec<Boundary> {
        let Self { field, mode, fresh, scratch, .. } = self;
        let field = &**field;
        let values = field.values();
        let time = |hit: &Contact| {
            let boundary = boundary_at(field, mode, *hit)?;
            Some(floor(field, &boundary) / rates[hit.switch].abs())
        };
        let blur = hits.iter().filter_map(time).filter(|time| time.is_finite()).fold(0.0, f64::max);
        let breakpoint = |c: &Contact| field.breakpoints(c.switch)[usize::from(c.breakpoint)];
        let drift = mode.sliding().iter().map(|c| (values[c.switch] - breakpoint(c)).abs()).fold(0.0, f64::max);
        let near = DRIFTING * drift;
        let mut found = Vec::new();
        let mut judge = |j: usize| {
            visit_boundaries(field, mode, j, |b| {
                let (distance, approach) = (b.distance(values[j]).abs(), -b.side.sign() * rates[j]);
                let is_known = hits.contains(&b.contact) || fresh.contains(&b.contact);
                if approach > 0.0 && distance <= near.max(DRIFTING * approach * blur) && !is_known {
                    found.push(b);
                }
            });
        };
        match field.common_breakpoints() {
            Some(breakpoints) => {
                mark_near(breakpoints, values, (values, rates), (near, DRIFTING * blur), &mut scratch.marks);
                marked(&scratch.marks).for_each(&mut judge);
            }
            None => (0..values.len()).for_each(&mut judge),
        }
        found
    }

    /// Whether a switch is on a boundary of its piece at the present point, up to rounding.
    fn is_on(&mut self, boundary: &Boundary) -> bool {
        let value = self.field.value_at(&self.y, &self.mode, boundary.contact.switch);
        boundary.distance(value).abs() <= floor(&*self.field, boundary)
    }

    /// Whether an event is where the step of length `h` begins.
    pub(super) fn is_zero_length(&self, found: &Found, h: f64) -> bool {
        found.x * h <= 1e-14 * (self.t + self.controller.h())
    }

    /// Counts repeated events of each switch; returns those that have to be forced to slide.
    pub(super) fn guard(&mut self, found: &Found, zero_length: bool) -> ControlFlow<StopReason, Vec<Contact>> {
        let mut forced = Vec::new();
        let window = 1e-8 * self.t;
        let hits = found.hits.iter().map(|c| (*c, true));
        for (contact, is_hit) in hits.chain(found.exits.iter().map(|exit| (exit.contact, false))) {
            let fresh_entry = Repeats { since: self.t, count: 0, zero_length: 0 };
            let entry = self.repeats.entry(contact.switch).or_insert(fresh_entry);
            if self.t - entry.since > window {
                *entry = fresh_entry;
            }
            entry.count += 1;
            entry.zero_length = if zero_length { entry.zero_length + 1 } else { 0 };
            let (force_at, stop_at) = ZERO_LENGTH_LIMITS;
            if entry.zero_length > stop_at || entry.count > CHATTER_LIMIT {
                return ControlFlow::Break(StopReason::Chatter { contact });
            }
            let (attraction, _) = self.field.attraction(contact);
            let is_held_back = is_hit && attraction > 0.0 && entry.zero_length >= force_at;
            if is_held_back || entry.zero_length >= 2 * force_at {
                forced.push(contact);
            }
        }
        ControlFlow::Continue(forced)
    }

    /// Takes over field, rates, values and margins from the decision just made.
    pub(super) fn adopt_decision(&mut self) {
        self.dy.copy_from_slice(&self.work.dy);
        self.start.rates.copy_from_slice(&self.work.rates);
        self.start.values.copy_from_slice(self.field.values());
        self.start.margins.clone_from(&self.work.margins);
    }

    /// After an event no free switch may be beyond a boundary of its piece. A switch's size is also what it moves in a step: where all
    /// switches of a layer vanish together, their values there are nothing but rounding.
    pub(super) fn check_sides(&mut self, h: f64, rates_before: &[f64]) -> ControlFlow<StopReason> {
        let mut missed = None;
        let Self { field, mode, start, scratch, .. } = self;
        visit_beyond(&**field, mode, &start.values, scratch, |b, distance| {
            if mode.attached().contains(&b.contact) {
                return;
            }
            let j = b.contact.switch;
            let rate = rates_before[j].abs().max(start.rates[j].abs());
            let scale = (field.scale(j) + b.at.abs()).max(rate * h);
            if distance < -(WRONG_SIDE * scale).max(floor(&**field, &b)) {
                missed = Some((b.contact, distance / scale));
            }
        });
        match missed {
            Some((contact, distance)) => ControlFlow::Break(StopReason::MissedEvent { contact, distance }),
            None => ControlFlow::Continue(()),
        }
    }
}

/// Whether a free switch is still on its breakpoint up to rounding.
fn still_on<F: PiecewiseField>(field: &F, mode: &Mode, contact: Contact, values: &[f64]) -> bool {
    boundary_at(field, mode, contact)
        .is_some_and(|b| b.distance(values[contact.switch]).abs() <= 4.0 * floor(field, &b))
}
