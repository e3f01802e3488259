//! The start of a run: modes of switches that begin on a breakpoint, the first step, starts that are not unique.

use super::{Integration, MOST_LOCAL};
use crate::ode::contact::{MOST_COMPARED, OTHER_STARTS};
use crate::ode::controller::StepController;
use crate::ode::event::{floor, visit_boundaries};
use crate::ode::field::{PiecewiseField, SlideMargin};
use crate::ode::mode::{Contact, Side};
use crate::ode::observer::{BranchKind, BranchPoint, Point, StartContact};
use crate::ode::outcome::StopReason;
use crate::ode::resolve::Meeting;
use crate::ode::stepper::Stepper;
use crate::vector::norm;
use std::ops::ControlFlow;

/// Groups of contacts that are looked at for other ways on.
const MOST_GROUPS: usize = 64;

impl<F: PiecewiseField, S: Stepper<F> + ?Sized> Integration<'_, F, S> {
    pub(super) fn begin(&mut self) -> ControlFlow<StopReason> {
        self.mode = self.field.mode_from_values(&self.y);
        self.evaluate_here()?;
        self.field.measure_noise();
        let mut on_breakpoint = Vec::new();
        for (j, &value) in self.field.values().iter().enumerate() {
            visit_boundaries(&*self.field, &self.mode, j, |b| {
                if b.distance(value).abs() <= floor(&*self.field, &b) {
                    on_breakpoint.push(b.contact);
                }
            });
        }
        let mut contacts = Vec::new();
        if !on_breakpoint.is_empty() {
            let meeting = Meeting { resting: on_breakpoint.clone(), ..Meeting::default() };
            self.decide_start(&meeting)?;
            self.adopt_decision();
            let told = |&contact: &Contact| StartContact { contact, side: self.mode.side_told(contact) };
            contacts.extend(on_breakpoint.iter().map(told));
            self.fresh = on_breakpoint.iter().copied().filter(|c| !self.mode.slides(c.switch)).collect();
        } else {
            self.field.rates(&self.dy, &mut self.start.rates);
            self.stats.rate_evaluations += 1;
            self.start.values.copy_from_slice(self.field.values());
        }
        self.estimate_decay();
        self.floors.follow(self.field, self.options.norm.rtol);
        self.controller = StepController::new(self.first_step(), self.stepper.error_exponent());
        self.report_repelling_starts(&on_breakpoint)?;
        self.begin_pace();
        let point =
            Point { t: 0.0, y: &self.y, dy: &self.dy, mode: &self.mode, field: &*self.field, stats: &self.stats };
        self.observer.start(&point, &contacts);
        match self.met_rule() {
            Some(name) => ControlFlow::Break(StopReason::Rule { name }),
            None => ControlFlow::Continue(()),
        }
    }

    pub(super) fn first_step(&self) -> f64 {
        let weights = self.options.norm.with(self.floors.as_slice());
        let size = |v: &[f64]| weights.of(v, &self.y, &self.y);
        // Near a saddle at the origin nothing decays, and y grows by itself.
        let growth = norm(&self.y) / norm(&self.dy);
        let h = match (self.options.fixed_step, self.decay) {
            (Some(h), _) => return h,
            (None, Some(decay)) if decay > 0.0 && growth > 0.0 => (0.3 / decay).min(growth),
            (None, Some(decay)) if decay > 0.0 => 0.3 / decay,
            // Hairer, Nørsett & Wanner I, sec. II.4: one per cent of the time in which y would change by itself.
            _ => (0.01 * size(&self.y) / size(&self.dy)).max(1e-6 / size(&self.dy)),
        };
        // What is 0 and has no tolerance of its own says nothing about time; rejections shorten whatever is too long.
        if h > 0.0 && h.is_finite() { h } else { 1.0 }
    }

    /// Lists starts from which both sides of a kink leave: the flow is not unique there.
    pub(super) fn report_repelling_starts(&mut self, contacts: &[Contact]) -> ControlFlow<StopReason> {
        let (mut moved, mut is_listed) = (false, false);
        for &contact in contacts {
            let (attraction, noise) = self.field.attraction(contact);
            let Some(side) = self.mode.side(contact).filter(|_| attraction < -1e-9 * noise) else { continue };
            let mut other = self.mode.clone();
            other.place(contact, side.opposite());
            moved = true;
            self.stats.evaluations += 1;
            if self.field.eval(&self.y, &other, &mut self.dy_cut).is_err() {
                continue;
            }
            self.field.rates(&self.dy_cut, &mut self.work.rates);
            self.stats.rate_evaluations += 1;
            if side.opposite().sign() * self.work.rates[contact.switch] > 0.0 {
                is_listed = true;
                let branch = BranchPoint { t: self.t, contact, kind: BranchKind::RepellingStart, margin: 0.0 };
                self.observer.branch_point(&branch);
            }
        }
        if !contacts.is_empty() && !is_listed {
            let (y, rates) = (self.y.clone(), self.start.rates.clone());
            self.report_other_ways(&y, contacts, &rates);
            moved = true;
        }
        if moved { self.evaluate_here() } else { ControlFlow::Continue(()) }
    }

    /// Lists a start from which contacts go elsewhere on another way on, if one is found; they have these rates on the way taken, at `y`, where the start is decided.
    pub(super) fn report_other_ways(&mut self, y: &[f64], contacts: &[Contact], rates: &[f64]) {
        if contacts.len() > MOST_LOCAL {
            return;
        }
        let mut contacts = contacts.to_vec();
        contacts.sort_unstable();
        let Ok(Some(model)) = self.field.local_model(y, &self.mode, &contacts) else { return };
        self.stats.evaluations += 1;
        let mut groups = vec![(0..contacts.len()).collect()];
        groups.extend(model.groups());
        groups.truncate(MOST_GROUPS);
        let found = groups.iter().find_map(|group| self.stays_otherwise(y, &contacts, group, rates)).or_else(|| {
            let differs = |(e, rate, noise): (usize, f64, f64)| (rate - rates[contacts[e].switch]).abs() > noise;
            let n_trials = if contacts.len() <= MOST_COMPARED { OTHER_STARTS } else { 0 };
            let mut others = (0..n_trials).filter_map(|k| model.other_rates(k));
            others.find_map(|rates| rates.into_iter().find(|&rate| differs(rate))).map(|(e, _, _)| contacts[e])
        });
        if let Some(contact) = found {
            let branch = BranchPoint { t: self.t, contact, kind: BranchKind::RepellingStart, margin: 0.0 };
            self.observer.branch_point(&branch);
        }
    }

    /// The first contact that goes elsewhere where a group of them is all below, or all above their breakpoints, if that is consistent as well. The dead side of a unit whose
    /// weights are zero is such a way on, and the one that descent takes with the slope 0 at the breakpoint.
    fn stays_otherwise(&mut self, y: &[f64], contacts: &[Contact], group: &[usize], rates: &[f64]) -> Option<Contact> {
        let Self { field, mode, work, dy_cut, stats, .. } = self;
        let is_idle = |c: &Contact| mode.attached().contains(c) && !mode.stays(*c);
        for side in [Side::Below, Side::Above] {
            let mut other = mode.clone();
            other.attach(Vec::new(), Vec::new());
            group.iter().for_each(|&e| other.place(contacts[e], side));
            stats.evaluations += 1;
            stats.rate_evaluations += 1;
            if field.eval(y, &other, dy_cut).is_err() {
                continue;
            }
            field.rates(dy_cut, &mut work.rates);
            field.margins(&mut work.margins);
            let noise = field.noise().0;
            let outward = |c: &Contact| other.side(*c).map_or(0.0, |side| side.sign() * work.rates[c.switch]);
            let is_consistent = contacts.iter().all(|c| outward(c) >= -noise.rate(c.switch))
                && !work.margins.iter().any(SlideMargin::is_over);
            let differs =
                |c: &&Contact| (work.rates[c.switch] - rates[c.switch]).abs() > noise.rate(c.switch) && !is_idle(c);
            if let Some(contact) = contacts.iter().find(differs).filter(|_| is_consistent) {
                return Some(*contact);
            }
        }
        None
    }
}
