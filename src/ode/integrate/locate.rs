//! Locate: what cuts an accepted step short, an event or a stop rule, and at which part of the step.

use super::branches::narrow_margin;
use super::{Cut, DRIFTING, Integration, MOST_RETAKES, Missed, RETAKE_SLACK, SIMULTANEOUS, WRONG_SIDE, X_TOL};
use crate::ode::event::{Found, Located, floor, visit_beyond};
use crate::ode::field::PiecewiseField;
use crate::ode::mode::Contact;
use crate::ode::outcome::StopReason;
use crate::ode::root::{Bracket, first_outside};
use crate::ode::stepper::{Start, Stepper};
use crate::vector::norm;
use std::ops::ControlFlow;

/// The step just attempted, as event location sees it; a macro, so that the borrows of the other fields stay free.
macro_rules! located {
    ($run:ident, $h:expr, $start:ident, $dense:expr) => {
        Located {
            field: &mut *$run.field,
            mode: $start.mode,
            h: $h,
            start: &$run.start,
            end: &$run.end,
            fresh: &$run.fresh,
            forced: &$run.forced,
            narrow: narrow_margin($run.options),
            x_tol: X_TOL,
            dense: &$dense,
            y: &mut $run.y_cut,
            dy: &mut $run.dy_cut,
            scratch: &mut $run.scratch,
            evaluated_at: None,
            n_evaluations: 0,
            n_single_values: 0,
        }
    };
}

impl<F: PiecewiseField, S: Stepper<F> + ?Sized> Integration<'_, F, S> {
    /// Finds what cuts the step short, and tells the length of the step, which is shorter where it was taken anew. Afterwards the field's
    /// last evaluation is at the cut (or the end of the step), in the old mode, and `y_cut`, `dy_cut` hold that point.
    pub(super) fn locate(&mut self, mut h: f64) -> ControlFlow<StopReason, (f64, Cut)> {
        // Where the field is stiff, the dense output is off by more than its end, and with it what the field decides at an event: slides would end
        // and begin again.
        let is_taken_anew = self.options.retake || (self.stepper.is_for_stiff() && self.options.fixed_step.is_none());
        let mut n_retakes = if is_taken_anew { MOST_RETAKES } else { 0 };
        loop {
            let found = self.search(h)?;
            if let Some(missed) = self.missed(h, found.as_ref()) {
                return ControlFlow::Continue((h, Cut::Missed(missed)));
            }
            let x_end = found.as_ref().map_or(1.0, |f| f.x);
            let rule = self.earliest_rule(x_end)?;
            let x_cut = rule.map_or(x_end, |(x, _)| x);
            if n_retakes == 0 || !(RETAKE_SLACK..1.0 - 2.0 * RETAKE_SLACK).contains(&x_cut) {
                self.report_near_misses(h, x_end);
                let event = found.map_or(Cut::Nothing, Cut::Event);
                return ControlFlow::Continue((h, rule.map_or(event, |(x, name)| Cut::Rule { x, name })));
            }
            self.scratch.spare = found.unwrap_or_default();
            n_retakes -= 1;
            h = match self.retake(h * x_cut * (1.0 + RETAKE_SLACK)) {
                Ok(shorter) => shorter,
                // Newton's iteration may fail where it did not for the whole step, which then has to do.
                Err(_) => {
                    n_retakes = 0;
                    match self.retake(h) {
                        Ok(whole) => whole,
                        Err(error) => return ControlFlow::Break(StopReason::NonFinite { what: error.what }),
                    }
                }
            };
        }
    }

    /// The earliest event of the step; closest approaches without one are left in the scratch.
    fn search(&mut self, h: f64) -> ControlFlow<StopReason, Option<Found>> {
        self.scratch.approaches.clear();
        let start = Start { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode };
        let before = self.stepper.work().evaluations;
        // Where the field is nothing but rounding, so are the margins on the way there.
        let is_held = norm(self.stepper.end_field()) <= self.field.noise().0.field();
        let mut judged = located!(self, h, start, |_x: f64, _y: &mut [f64]| {});
        let suspect = judged.suspect() || !is_held && judged.slides_in_question();
        let needs_dense = suspect || self.observer.needs_dense(self.t, self.t + h);
        if needs_dense && let Err(error) = self.stepper.prepare_dense(self.field, start) {
            return ControlFlow::Break(StopReason::NonFinite { what: error.what });
        }
        let mut moved = self.stepper.work().evaluations != before;
        let mut found = None;
        let mut evaluated_at = None;
        if suspect {
            let stepper = &*self.stepper;
            let mut located = located!(self, h, start, |x: f64, y: &mut [f64]| stepper.interpolate(start, x, y));
            found = located.earliest();
            if found.is_none() && !is_held && located.slides_in_question() {
                let end = located.end;
                found = located.earliest_exit(1.0, &end.margins);
                if found.is_none() && located.margins_may_dip() && located.stand_at(0.5).is_ok() {
                    let mut margins = std::mem::take(&mut located.scratch.margins);
                    located.field.margins(&mut margins);
                    found = located.earliest_exit(0.5, &margins);
                    located.scratch.margins = margins;
                }
                moved = true;
            }
            evaluated_at = located.evaluated_at;
            self.stats.evaluations += located.n_evaluations;
            self.stats.single_values += located.n_single_values;
        }
        if let Some(first) = found.take() {
            found = Some(self.verify(h, first, evaluated_at)?);
        } else {
            self.y_cut.copy_from_slice(self.stepper.end());
            self.dy_cut.copy_from_slice(self.stepper.end_field());
            if moved {
                self.evaluate_cut()?;
            }
        }
        ControlFlow::Continue(found)
    }

    /// Makes sure that nothing else happens before the event, moving it forward as long as something does; then gathers all that
    /// happens at the same instant. `evaluated_at` is where in the step the field was last evaluated, if it was.
    pub(super) fn verify(
        &mut self,
        h: f64,
        mut found: Found,
        evaluated_at: Option<f64>,
    ) -> ControlFlow<StopReason, Found> {
        let start = Start { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode };
        let stepper = &*self.stepper;
        let mut located = located!(self, h, start, |x: f64, y: &mut [f64]| stepper.interpolate(start, x, y));
        let mut rates = std::mem::take(&mut self.work.rates);
        let mut margins = std::mem::take(&mut located.scratch.margins);
        let same_time = SIMULTANEOUS * (self.t + found.x * h).max(h);
        located.evaluated_at = evaluated_at;
        let mut broken = None;
        let mut rates_at = f64::NAN;
        for _ in 0..100 {
            if let Err(error) = located.stand_at(found.x) {
                broken = Some(error);
                break;
            }
            located.field.rates(located.dy, &mut rates);
            self.stats.rate_evaluations += 1;
            rates_at = found.x;
            located.field.margins(&mut margins);
            if let Some(exit) = located.earliest_exit(found.x, &margins).filter(|e| e.x < found.x) {
                let merged = (found.x - exit.x) * h <= same_time;
                let hits = if merged { std::mem::take(&mut found.hits) } else { Vec::new() };
                found = Found { hits, ..exit };
                if merged {
                    break;
                }
                continue;
            }
            // A search for an exit that coincides with the event, and is decided there, has moved the field.
            if let Err(error) = located.stand_at(found.x) {
                broken = Some(error);
                break;
            }
            let overtaken = located.gather(&rates, same_time, &mut found.hits);
            let earlier = overtaken.and_then(|contact| {
                let x = located.locate_before(contact, found.x)?;
                (x < found.x).then(|| Found { x, hits: vec![contact], exits: Vec::new() })
            });
            match earlier {
                Some(earlier) => found = earlier,
                None => break,
            }
        }
        located.scratch.margins = margins;
        let broken = broken.or(located.stand_at(found.x).err()).map(|error| StopReason::NonFinite { what: error.what });
        self.stats.evaluations += located.n_evaluations;
        self.stats.single_values += located.n_single_values;
        self.work.rates = rates;
        self.has_rates = rates_at == found.x;
        match broken {
            Some(reason) => ControlFlow::Break(reason),
            None => ControlFlow::Continue(found),
        }
    }

    /// A free switch that is beyond a boundary of its piece at the cut, by more than rounding, and not about to be decided there.
    fn missed(&mut self, h: f64, found: Option<&Found>) -> Option<Missed> {
        let Self { field, mode, start, end, scratch, .. } = self;
        let moves = |switch: usize| start.rates[switch].abs().max(end.rates[switch].abs()) * h;
        // Slides drift off their breakpoint by as much as the step is off, and what is attached to them as well.
        let off = |contact: &Contact| {
            let at = field.breakpoints(contact.switch)[usize::from(contact.breakpoint)];
            let scale = (field.scale(contact.switch) + at.abs()).max(moves(contact.switch));
            let distance = (field.values()[contact.switch] - at).abs();
            if distance > field.noise().0.value(contact.switch) { distance / scale } else { 0.0 }
        };
        let drift = mode.sliding().iter().map(off).fold(0.0, f64::max);
        for contact in mode.attached() {
            let distance = off(contact);
            if distance > WRONG_SIDE.max(DRIFTING * drift) {
                return Some(Missed { contact: *contact, distance: -distance });
            }
        }
        // What crosses within a step is seen from its ends; inside it only what was looked at is.
        let found = found?;
        let mut missed = None;
        visit_beyond(&**field, mode, field.values(), scratch, |b, distance| {
            let scale = (field.scale(b.contact.switch) + b.at.abs()).max(moves(b.contact.switch));
            if distance < -(WRONG_SIDE * scale).max(floor(&**field, &b))
                && !found.hits.contains(&b.contact)
                && !mode.attached().contains(&b.contact)
            {
                missed = Some(Missed { contact: b.contact, distance: distance / scale });
            }
        });
        missed
    }

    pub(super) fn earliest_rule(&mut self, x_end: f64) -> ControlFlow<StopReason, Option<(f64, &'static str)>> {
        let mut earliest: Option<(f64, &'static str)> = None;
        for r in 0..self.rules.len() {
            let x_high = earliest.map_or(x_end, |(x, _)| x);
            let at_high = self.rules[r].margin(&*self.field, &self.dy_cut);
            if at_high > 0.0 {
                continue;
            }
            let Self { field, stepper, rules, y_cut, dy_cut, stats, mode, t, y, dy, .. } = self;
            let start = Start { t: *t, y, dy, mode };
            if let Err(error) = stepper.prepare_dense(field, start) {
                return ControlFlow::Break(StopReason::NonFinite { what: error.what });
            }
            let mut margin_at = |x: f64| {
                stepper.interpolate(start, x, y_cut);
                stats.evaluations += 1;
                match field.eval(y_cut, mode, dy_cut) {
                    Ok(()) => rules[r].margin(field, dy_cut),
                    Err(_) => f64::MIN,
                }
            };
            let at_start = margin_at(0.0);
            let x = if at_start > 0.0 {
                let bracket = Bracket { inside: (0.0, at_start), outside: (x_high, at_high) };
                first_outside(bracket, X_TOL, &mut margin_at)
            } else {
                0.0
            };
            // Leaves the field at the place found, which is where the next rule is judged.
            margin_at(x);
            earliest = Some((x, self.rules[r].name()));
        }
        ControlFlow::Continue(earliest)
    }

    pub(super) fn evaluate_cut(&mut self) -> ControlFlow<StopReason> {
        self.stats.evaluations += 1;
        match self.field.eval(&self.y_cut, &self.mode, &mut self.dy_cut) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(StopReason::NonFinite { what: error.what }),
        }
    }
}
