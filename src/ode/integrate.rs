//! The loop: attempt → judge → locate → commit → tell.
//!
//! A step is integrated in one mode, frozen for the whole attempt. The earliest boundary met inside it cuts it short; there the
//! modes of all switches concerned are decided, and integration goes on in the new mode from the very same point. This is
//! the construction of the flow in Lemma 2.1 of Jakhmola (arXiv:2509.23887), with Filippov sliding where a boundary attracts
//! from both sides.

use super::controller::StepController;
use super::event::{Approach, End, Found, Located, boundaries, floor};
use super::field::PiecewiseField;
use super::mode::{Contact, Mode, Side};
use super::norm::WrmsNorm;
use super::observer::{BranchKind, BranchPoint, DenseOutput, Event, Observer, Point, StartContact, StepView};
use super::outcome::{Stats, StopReason};
use super::resolve::{Meeting, ResolveError, Workspace, changes, resolve};
use super::root::{Bracket, shrink};
use super::stepper::{Start, Stepper};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Resolution of event times in parts of a step.
const X_TOL: f64 = 1e-13;
/// Events closer together than this, relative to t, are one event.
const SIMULTANEOUS: f64 = 1e-12;
/// Part of the real stability interval that steps use.
const STABILITY_SHARE: f64 = 0.855;
/// Steps reach at most this many predicted times to the next crossing.
const PREDICTION_REACH: f64 = 1.5;
/// Steps between estimates of the decay rate.
const DECAY_INTERVAL: u64 = 5;
/// A gradient this far below its largest norm so far is rounding noise.
const STATIONARY: f64 = 1e-14;
/// A field whose relative rounding noise exceeds this is at rest.
const RESTING: f64 = 0.1;
/// Zero-length events of one switch after which it is made to slide for one step, and after which the run stops.
const ZERO_LENGTH_LIMITS: (u32, u32) = (4, 40);
/// Events of one switch within a relative time of 1e-8 after which the run stops.
const CHATTER_LIMIT: u32 = 400;
/// Relative margins below this, or below this multiple of rtol, make an event a branch point worth listing.
const BRANCH_MARGIN: (f64, f64) = (1e-5, 1e3);
/// A switch on the wrong side by more than this, relative to its scale, means that an event was missed.
const WRONG_SIDE: f64 = 1e-9;

/// What to integrate to, and how closely.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Time horizon; may be infinite when a stop rule ends the run.
    pub t_end: f64,
    /// Tolerances of the error norm.
    pub norm: WrmsNorm,
    /// Limit on accepted steps.
    pub max_steps: u64,
    /// Steps of this length without error control (cut short at events), for measuring orders.
    pub fixed_step: Option<f64>,
}

/// A reason to stop other than the horizon; located like an event.
pub trait StopRule<F> {
    /// Name for the record.
    fn name(&self) -> &'static str;

    /// Positive as long as the run goes on; continuous between events. The field was last evaluated at the point in question.
    fn margin(&mut self, field: &F, dy: &[f64]) -> f64;
}

/// How an integration ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Why it ended.
    pub reason: StopReason,
    /// Final time.
    pub t: f64,
    /// Final state.
    pub y: Vec<f64>,
    /// Final mode.
    pub mode: Mode,
    /// Counters.
    pub stats: Stats,
}

/// Integrates `field` from `y` at t = 0.
pub fn integrate<F: PiecewiseField, S: Stepper<F> + ?Sized>(
    field: &mut F,
    stepper: &mut S,
    y: &[f64],
    options: &Options,
    rules: &mut [Box<dyn StopRule<F>>],
    observer: &mut dyn Observer<F>,
) -> Outcome {
    Integration::new(field, stepper, y, options, rules, observer).run()
}

/// State of a run. Mode and sliding set are part of it and are never re-derived from signs.
struct Integration<'a, F: PiecewiseField, S: Stepper<F> + ?Sized> {
    field: &'a mut F,
    stepper: &'a mut S,
    options: &'a Options,
    rules: &'a mut [Box<dyn StopRule<F>>],
    observer: &'a mut dyn Observer<F>,
    controller: StepController,
    t: f64,
    y: Vec<f64>,
    dy: Vec<f64>,
    mode: Mode,
    start: End,
    end: End,
    /// Contacts on their breakpoint right now, just placed on a side.
    fresh: Vec<Contact>,
    /// Contacts held for one step whatever their margins say.
    forced: Vec<Contact>,
    decay: Option<f64>,
    largest_dy: f64,
    repeats: HashMap<usize, Repeats>,
    y_cut: Vec<f64>,
    dy_cut: Vec<f64>,
    work: Workspace,
    stats: Stats,
}

/// Recent events of one switch, for the chatter guard.
#[derive(Debug, Clone, Copy)]
struct Repeats {
    since: f64,
    count: u32,
    zero_length: u32,
}

/// What cuts a step short.
enum Cut {
    Nothing,
    Event(Found),
    Rule { x: f64, name: &'static str },
}

struct Dense<'a, F: PiecewiseField, S: Stepper<F> + ?Sized> {
    stepper: &'a S,
    start: Start<'a>,
    h: f64,
    x_cut: f64,
    t_cut: f64,
    field: std::marker::PhantomData<fn(&F)>,
}

impl<F: PiecewiseField, S: Stepper<F> + ?Sized> Dense<'_, F, S> {
    /// The part of the step at time t. The cut is hit exactly: recovering its x from a rounded time would not do.
    fn x(&self, t: f64) -> f64 {
        if t == self.t_cut {
            self.x_cut
        } else if self.h > 0.0 {
            ((t - self.start.t) / self.h).clamp(0.0, self.x_cut)
        } else {
            0.0
        }
    }
}

impl<F: PiecewiseField, S: Stepper<F> + ?Sized> DenseOutput for Dense<'_, F, S> {
    fn at(&self, t: f64, y: &mut [f64]) {
        self.stepper.interpolate(self.start, self.x(t), y);
    }

    fn dissipation(&self, t: f64) -> Option<f64> {
        self.stepper.dissipation(self.start, self.x(t))
    }
}

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
            narrow: BRANCH_MARGIN.0.max(BRANCH_MARGIN.1 * $run.options.norm.rtol),
            x_tol: X_TOL,
            dense: &$dense,
            y: &mut $run.y_cut,
            dy: &mut $run.dy_cut,
            n_evaluations: 0,
            n_single_values: 0,
        }
    };
}

impl<'a, F: PiecewiseField, S: Stepper<F> + ?Sized> Integration<'a, F, S> {
    fn new(
        field: &'a mut F,
        stepper: &'a mut S,
        y: &[f64],
        options: &'a Options,
        rules: &'a mut [Box<dyn StopRule<F>>],
        observer: &'a mut dyn Observer<F>,
    ) -> Self {
        let (dim, n_switches) = (field.dim(), field.n_switches());
        let end = End { values: vec![0.0; n_switches], rates: vec![0.0; n_switches], margins: Vec::new() };
        let work = Workspace { dy: vec![0.0; dim], rates: vec![0.0; n_switches], ..Workspace::default() };
        let controller = StepController::new(0.0, stepper.error_exponent());
        Self {
            controller,
            t: 0.0,
            y: y.to_vec(),
            dy: vec![0.0; dim],
            mode: Mode::default(),
            start: end.clone(),
            end,
            fresh: Vec::new(),
            forced: Vec::new(),
            decay: None,
            largest_dy: 0.0,
            repeats: HashMap::new(),
            y_cut: vec![0.0; dim],
            dy_cut: vec![0.0; dim],
            work,
            stats: Stats::default(),
            field,
            stepper,
            options,
            rules,
            observer,
        }
    }

    fn run(mut self) -> Outcome {
        let reason = match self.begin() {
            ControlFlow::Break(reason) => reason,
            ControlFlow::Continue(()) => loop {
                if let ControlFlow::Break(reason) = self.advance() {
                    break reason;
                }
            },
        };
        self.stats.evaluations += self.stepper.n_evaluations();
        let Self { field, observer, t, y, dy, mode, stats, .. } = self;
        observer.end(&Point { t, y: &y, dy: &dy, mode: &mode, field, stats: &stats }, &reason);
        Outcome { reason, t, y, mode, stats }
    }

    /// One step of the run, with the event that may end it.
    fn advance(&mut self) -> ControlFlow<StopReason> {
        self.check_limits()?;
        let h = self.attempt()?;
        let cut = self.locate(h)?;
        let told = self.commit_step(h, &cut);
        if let Cut::Rule { name, .. } = cut {
            return ControlFlow::Break(StopReason::Rule { name });
        }
        if let Cut::Event(found) = cut {
            self.commit_event(&found, found.x * h)?;
        }
        if told.is_break() { ControlFlow::Break(StopReason::Interrupted) } else { ControlFlow::Continue(()) }
    }

    // ---- begin ----------------------------------------------------------------------------------------------------------------

    fn begin(&mut self) -> ControlFlow<StopReason> {
        self.mode = self.field.mode_from_values(&self.y);
        self.evaluate_here()?;
        let on_breakpoint: Vec<Contact> = (0..self.field.n_switches())
            .flat_map(|j| boundaries(&*self.field, &self.mode, j))
            .filter(|b| b.distance(self.field.values()[b.contact.switch]).abs() <= floor(&*self.field, b))
            .map(|b| b.contact)
            .collect();
        let mut contacts = Vec::new();
        if !on_breakpoint.is_empty() {
            let meeting = Meeting { resting: on_breakpoint.clone(), ..Meeting::default() };
            self.decide(&meeting)?;
            self.adopt_decision();
            contacts
                .extend(on_breakpoint.iter().map(|&contact| StartContact { contact, side: self.mode.side(contact) }));
            self.fresh = on_breakpoint.iter().copied().filter(|c| !self.mode.slides(c.switch)).collect();
        } else {
            self.field.rates(&self.dy, &mut self.start.rates);
            self.stats.rate_evaluations += 1;
            self.start.values.copy_from_slice(self.field.values());
        }
        self.estimate_decay();
        self.controller = StepController::new(self.first_step(), self.stepper.error_exponent());
        self.report_repelling_starts(&on_breakpoint)?;
        let point =
            Point { t: 0.0, y: &self.y, dy: &self.dy, mode: &self.mode, field: &*self.field, stats: &self.stats };
        self.observer.start(&point, &contacts);
        match self.met_rule() {
            Some(name) => ControlFlow::Break(StopReason::Rule { name }),
            None => ControlFlow::Continue(()),
        }
    }

    fn first_step(&self) -> f64 {
        let size = |v: &[f64]| self.options.norm.of(v, &self.y, &self.y);
        match (self.options.fixed_step, self.decay) {
            (Some(h), _) => h,
            (None, Some(decay)) if decay > 0.0 => 0.3 / decay,
            // Hairer, Nørsett & Wanner I, sec. II.4: one per cent of the time in which y would change by itself.
            _ if size(&self.dy) > 0.0 => (0.01 * size(&self.y) / size(&self.dy)).max(1e-6 / size(&self.dy)),
            _ => 1.0,
        }
    }

    /// Lists starts from which both sides of a kink leave: the flow is not unique there.
    fn report_repelling_starts(&mut self, contacts: &[Contact]) -> ControlFlow<StopReason> {
        let mut moved = false;
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
                let branch = BranchPoint { t: self.t, contact, kind: BranchKind::RepellingStart, margin: 0.0 };
                self.observer.branch_point(&branch);
            }
        }
        if moved { self.evaluate_here() } else { ControlFlow::Continue(()) }
    }

    // ---- attempt and judge ------------------------------------------------------------------------------------------------------

    fn check_limits(&mut self) -> ControlFlow<StopReason> {
        if self.t >= self.options.t_end {
            return ControlFlow::Break(StopReason::Horizon);
        }
        if self.stats.steps >= self.options.max_steps {
            return ControlFlow::Break(StopReason::StepLimit { max_steps: self.options.max_steps });
        }
        let dy = crate::vector::norm(&self.dy);
        self.largest_dy = self.largest_dy.max(dy);
        // Below its own rounding noise the field points nowhere, and decisions about kinks would be thrown dice.
        let rests = self.field.relative_noise() > RESTING && self.options.fixed_step.is_none();
        if rests || (self.options.t_end.is_infinite() && dy <= STATIONARY * self.largest_dy) {
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

    fn estimate_decay(&mut self) {
        if self.options.fixed_step.is_none() && self.stepper.stability_interval().is_some() {
            self.decay = self.field.decay_rate(&self.mode);
            self.stats.decay_estimates += 1;
        }
    }

    /// Makes attempts until one is accepted; returns its length.
    fn attempt(&mut self) -> ControlFlow<StopReason, f64> {
        let remaining = self.options.t_end - self.t;
        loop {
            let h = self.options.fixed_step.unwrap_or_else(|| self.proposed_step()).min(remaining);
            let start = Start { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode };
            let smallest = 4.0 * f64::EPSILON * self.t.abs();
            match self.stepper.attempt(self.field, start, h) {
                Ok(taken) => {
                    let error = self.stepper.error(&self.options.norm, start);
                    if self.options.fixed_step.is_some() || error <= 1.0 {
                        self.controller.accept(taken, error);
                        self.read_end();
                        return ControlFlow::Continue(taken);
                    }
                    self.controller.reject(h, error);
                    if h <= smallest || h < f64::MIN_POSITIVE {
                        return ControlFlow::Break(StopReason::StepTooSmall { h });
                    }
                }
                Err(non_finite) => {
                    self.controller.reject(h, f64::INFINITY);
                    if self.options.fixed_step.is_some() || h <= smallest || h < 1e-300 {
                        return ControlFlow::Break(StopReason::NonFinite { what: non_finite.what });
                    }
                }
            }
            self.stats.rejected += 1;
            self.stepper.reset();
        }
    }

    /// The tolerance's step, limited by stability and by the next predicted crossing.
    fn proposed_step(&self) -> f64 {
        let mut h = self.controller.h();
        if let (Some(interval), Some(decay)) = (self.stepper.stability_interval(), self.decay)
            && decay > 0.0
        {
            h = h.min(STABILITY_SHARE * interval / decay);
        }
        let mut soonest = f64::INFINITY;
        for (j, (&value, &rate)) in self.start.values.iter().zip(&self.start.rates).enumerate() {
            for b in boundaries(&*self.field, &self.mode, j) {
                let (distance, approach) = (b.distance(value), -b.side.sign() * rate);
                if approach > 0.0 && distance > 0.0 && distance < soonest * approach && !self.fresh.contains(&b.contact)
                {
                    soonest = distance / approach;
                }
            }
        }
        // Never so short that a crossing just missed by rounding would stop the clock.
        h.min((PREDICTION_REACH * soonest).max(1e-9 * h))
    }

    fn read_end(&mut self) {
        self.end.values.copy_from_slice(self.field.values());
        self.field.rates(self.stepper.end_field(), &mut self.end.rates);
        self.stats.rate_evaluations += 1;
        self.field.margins(&mut self.end.margins);
    }

    // ---- locate -----------------------------------------------------------------------------------------------------------------

    /// Finds what cuts the step short. Afterwards the field's last evaluation is at the cut (or the end of the step), in the old mode,
    /// and `y_cut`, `dy_cut` hold that point.
    fn locate(&mut self, h: f64) -> ControlFlow<StopReason, Cut> {
        let start = Start { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode };
        let before = self.stepper.n_evaluations();
        let suspect = located!(self, h, start, |_x: f64, _y: &mut [f64]| {}).is_suspect();
        let needs_dense = suspect || self.observer.needs_dense(self.t, self.t + h);
        if needs_dense && let Err(error) = self.stepper.prepare_dense(self.field, start) {
            return ControlFlow::Break(StopReason::NonFinite { what: error.what });
        }
        let mut moved = self.stepper.n_evaluations() != before;
        let mut found = None;
        let mut approaches = Vec::new();
        if suspect {
            let stepper = &*self.stepper;
            let mut located = located!(self, h, start, |x: f64, y: &mut [f64]| stepper.interpolate(start, x, y));
            (found, approaches) = located.earliest();
            if found.is_none() && located.slides_in_question() {
                let end_margins = located.end.margins.clone();
                found = located.earliest_exit(1.0, &end_margins);
                if found.is_none() && located.margins_may_dip() {
                    stepper.interpolate(start, 0.5, located.y);
                    let mut margins = Vec::new();
                    located.n_evaluations += 1;
                    if located.field.eval(located.y, located.mode, located.dy).is_ok() {
                        located.field.margins(&mut margins);
                        found = located.earliest_exit(0.5, &margins);
                    }
                }
                moved = true;
            }
            self.stats.evaluations += located.n_evaluations;
            self.stats.single_values += located.n_single_values;
        }
        if let Some(first) = found.take() {
            found = Some(self.verify(h, first)?);
        } else {
            self.y_cut.copy_from_slice(self.stepper.end());
            self.dy_cut.copy_from_slice(self.stepper.end_field());
            if moved {
                self.evaluate_cut()?;
            }
        }
        let x_end = found.as_ref().map_or(1.0, |f| f.x);
        self.report_near_misses(h, x_end, &approaches);
        if let Some((x, name)) = self.earliest_rule(x_end)? {
            return ControlFlow::Continue(Cut::Rule { x, name });
        }
        ControlFlow::Continue(found.map_or(Cut::Nothing, Cut::Event))
    }

    /// Makes sure that nothing else happens before the event, moving it forward as long as something does; then gathers all that
    /// happens at the same instant.
    fn verify(&mut self, h: f64, mut found: Found) -> ControlFlow<StopReason, Found> {
        let start = Start { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode };
        let stepper = &*self.stepper;
        let mut located = located!(self, h, start, |x: f64, y: &mut [f64]| stepper.interpolate(start, x, y));
        let mut rates = std::mem::take(&mut self.work.rates);
        let mut margins = Vec::new();
        let same_time = SIMULTANEOUS * (self.t + found.x * h).max(h);
        let mut broken = None;
        // Whether the field's last evaluation is at the event.
        let mut is_there = false;
        for _ in 0..100 {
            stepper.interpolate(start, found.x, located.y);
            located.n_evaluations += 1;
            if let Err(error) = located.field.eval(located.y, located.mode, located.dy) {
                broken = Some(StopReason::NonFinite { what: error.what });
                break;
            }
            is_there = true;
            located.field.rates(located.dy, &mut rates);
            self.stats.rate_evaluations += 1;
            located.field.margins(&mut margins);
            let n_before = located.n_evaluations;
            if let Some(exit) = located.earliest_exit(found.x, &margins).filter(|e| e.x < found.x) {
                let gain = (found.x - exit.x) * h;
                let merged = gain <= same_time;
                let hits = if merged { std::mem::take(&mut found.hits) } else { Vec::new() };
                found = Found { hits, ..exit };
                is_there = false;
                if merged {
                    break;
                }
                continue;
            }
            is_there &= located.n_evaluations == n_before;
            let mut overtaken = None;
            for (j, &rate) in rates.iter().enumerate() {
                for b in boundaries(&*located.field, located.mode, j) {
                    let distance = b.distance(located.field.values()[j]);
                    let inward = -b.side.sign() * rate;
                    if distance > (inward * same_time).max(1e-9 * located.field.scale(j)) {
                        continue;
                    }
                    let slack = (inward * same_time).max(2.0 * floor(&*located.field, &b));
                    if distance < -slack && !found.hits.contains(&b.contact) {
                        overtaken = Some(b.contact);
                    } else if distance <= slack
                        && inward > 0.0
                        && !found.hits.contains(&b.contact)
                        && (inward * same_time >= distance || distance < 0.0)
                    {
                        found.hits.push(b.contact);
                    }
                }
            }
            let earlier = overtaken.and_then(|contact| {
                let x = located.locate_before(contact, found.x)?;
                (x < found.x).then(|| Found { x, hits: vec![contact], exits: Vec::new() })
            });
            // Following a single switch uses the state buffer but not the field's evaluation.
            stepper.interpolate(start, found.x, located.y);
            match earlier {
                Some(earlier) => {
                    found = earlier;
                    is_there = false;
                }
                None => break,
            }
        }
        if !is_there && broken.is_none() {
            stepper.interpolate(start, found.x, located.y);
            located.n_evaluations += 1;
            if let Err(error) = located.field.eval(located.y, located.mode, located.dy) {
                broken = Some(StopReason::NonFinite { what: error.what });
            }
        }
        self.stats.evaluations += located.n_evaluations;
        self.stats.single_values += located.n_single_values;
        self.work.rates = rates;
        match broken {
            Some(reason) => ControlFlow::Break(reason),
            None => ControlFlow::Continue(found),
        }
    }

    fn earliest_rule(&mut self, x_end: f64) -> ControlFlow<StopReason, Option<(f64, &'static str)>> {
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
                shrink(bracket, X_TOL, &mut margin_at).outside.0
            } else {
                0.0
            };
            // Leaves the field at the place found, which is where the next rule is judged.
            margin_at(x);
            earliest = Some((x, self.rules[r].name()));
        }
        ControlFlow::Continue(earliest)
    }

    fn report_near_misses(&mut self, h: f64, x_end: f64, approaches: &[Approach]) {
        let narrow = self.narrow();
        for approach in approaches.iter().filter(|a| a.x <= x_end && a.distance < narrow) {
            let (attraction, noise) = self.field.attraction(approach.contact);
            if attraction < -1e-9 * noise {
                self.observer.branch_point(&BranchPoint {
                    t: self.t + approach.x * h,
                    contact: approach.contact,
                    kind: BranchKind::NearMiss,
                    margin: approach.distance,
                });
            }
        }
    }

    // ---- commit and tell ----------------------------------------------------------------------------------------------------------

    /// Moves to the cut, still in the old mode, and tells the observers.
    fn commit_step(&mut self, h: f64, cut: &Cut) -> ControlFlow<()> {
        let x = match cut {
            Cut::Nothing => 1.0,
            Cut::Event(found) => found.x,
            Cut::Rule { x, .. } => *x,
        };
        let reaches_horizon = x == 1.0 && self.t + h >= self.options.t_end * (1.0 - f64::EPSILON);
        let t_end = if reaches_horizon { self.options.t_end } else { self.t + x * h };
        self.stats.steps += 1;
        let start = Start { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode };
        let dense =
            Dense { stepper: &*self.stepper, start, h, x_cut: x, t_cut: t_end, field: std::marker::PhantomData };
        let mut stats = self.stats;
        stats.evaluations += self.stepper.n_evaluations();
        let view = StepView {
            t_start: self.t,
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
        };
        let told = self.observer.step(&view);
        self.t = t_end;
        std::mem::swap(&mut self.y, &mut self.y_cut);
        std::mem::swap(&mut self.dy, &mut self.dy_cut);
        if matches!(cut, Cut::Nothing) {
            std::mem::swap(&mut self.start, &mut self.end);
            self.forced.clear();
            let Self { fresh, field, mode, start, .. } = self;
            fresh.retain(|&c| still_on(&**field, mode, c, &start.values));
        } else {
            self.stepper.reset();
        }
        told
    }

    /// Decides the modes at the event and goes on from its far side.
    fn commit_event(&mut self, found: &Found, elapsed: f64) -> ControlFlow<StopReason> {
        let zero_length = elapsed <= 1e-14 * (self.t + self.controller.h());
        if !zero_length {
            self.forced.clear();
        }
        self.field.margins(&mut self.start.margins);
        let margins = std::mem::take(&mut self.start.margins);
        self.field.rates(&self.dy, &mut self.start.rates);
        self.stats.rate_evaluations += 1;
        let rates_before = std::mem::take(&mut self.start.rates);
        self.report_narrow_events(found, &margins, &rates_before);
        let mut meeting = Meeting {
            hits: found.hits.clone(),
            exits: found.exits.clone(),
            forced: self.guard(found, zero_length)?,
            ..Meeting::default()
        };
        meeting.hits.retain(|c| !meeting.forced.contains(c));
        let Self { fresh, field, mode, .. } = self;
        fresh.retain(|&c| !found.hits.contains(&c) && still_on(&**field, mode, c, field.values()));
        meeting.resting.clone_from(&self.fresh);

        let mut on_surface: Vec<Contact> = self.mode.sliding().iter().chain(&found.hits).copied().collect();
        on_surface.sort();
        if let Err(error) = self.field.project(&mut self.y, &self.mode, &on_surface) {
            return ControlFlow::Break(StopReason::NonFinite { what: error.what });
        }
        let before = self.mode.clone();
        for lost in self.decide(&meeting)? {
            let branch = BranchPoint { t: self.t, contact: lost, kind: BranchKind::LostAttraction, margin: 0.0 };
            self.observer.branch_point(&branch);
        }
        self.forced = meeting.forced.clone();
        let contacts = on_surface.iter().chain(&meeting.resting).copied();
        let changes =
            changes((&before, &rates_before), (&self.mode, &self.work.rates), contacts.clone(), &meeting.hits);
        self.fresh.extend(on_surface);
        let mode = &self.mode;
        self.fresh.retain(|c| !mode.slides(c.switch));
        self.fresh.sort();
        self.fresh.dedup();
        self.start.rates = rates_before;
        self.start.margins = margins;
        self.adopt_decision();
        self.check_sides()?;
        let event = Event { changes };
        let mut stats = self.stats;
        stats.evaluations += self.stepper.n_evaluations();
        let point = Point { t: self.t, y: &self.y, dy: &self.dy, mode: &self.mode, field: &*self.field, stats: &stats };
        self.observer.event(&point, &event);
        match self.met_rule() {
            Some(name) => ControlFlow::Break(StopReason::Rule { name }),
            None => ControlFlow::Continue(()),
        }
    }

    fn report_narrow_events(&mut self, found: &Found, margins: &[super::field::SlideMargin], rates: &[f64]) {
        for (contact, side) in &found.exits {
            let at = self.mode.sliding().binary_search(contact);
            let Some(m) = at.ok().and_then(|at| margins.get(at)) else { continue };
            let opposite = if *side == Side::Below { m.above } else { m.below };
            let margin = opposite.max(0.0) / m.scale;
            if margin < self.narrow() {
                let kind = BranchKind::NarrowExit;
                self.observer.branch_point(&BranchPoint { t: self.t, contact: *contact, kind, margin });
            }
        }
        let largest_rate = rates.iter().fold(0.0, |m: f64, r| m.max(r.abs()));
        for &contact in &found.hits {
            let (attraction, noise) = self.field.attraction(contact);
            // The depth to which it would sink goes like the square of its speed.
            let margin = (rates[contact.switch] / largest_rate).powi(2);
            if attraction < -1e-9 * noise && margin < self.narrow() {
                let kind = BranchKind::NarrowCrossing;
                self.observer.branch_point(&BranchPoint { t: self.t, contact, kind, margin });
            }
        }
    }

    /// Margins below this are worth listing: errors grow along a run, so that looser tolerances put wider ones in doubt.
    fn narrow(&self) -> f64 {
        BRANCH_MARGIN.0.max(BRANCH_MARGIN.1 * self.options.norm.rtol)
    }

    /// Counts repeated events of each switch; returns those that have to be forced to slide.
    fn guard(&mut self, found: &Found, zero_length: bool) -> ControlFlow<StopReason, Vec<Contact>> {
        let mut forced = Vec::new();
        let window = 1e-8 * self.t;
        let hits = found.hits.iter().map(|c| (*c, true));
        for (contact, is_hit) in hits.chain(found.exits.iter().map(|(c, _)| (*c, false))) {
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
            if is_hit && entry.zero_length >= force_at && attraction > 0.0 {
                forced.push(contact);
            }
        }
        ControlFlow::Continue(forced)
    }

    fn decide(&mut self, meeting: &Meeting) -> ControlFlow<StopReason, Vec<Contact>> {
        let n_before = self.work.n_evaluations;
        let n_contacts = meeting.hits.len() + meeting.resting.len() + self.mode.sliding().len();
        let result = resolve(self.field, &self.y, &mut self.mode, meeting, &mut self.work);
        self.stats.evaluations += self.work.n_evaluations - n_before;
        self.stats.rate_evaluations += self.work.n_evaluations - n_before;
        match result {
            Ok(repelled) => ControlFlow::Continue(repelled),
            Err(ResolveError::NonFinite(error)) => ControlFlow::Break(StopReason::NonFinite { what: error.what }),
            Err(ResolveError::Undecided) => ControlFlow::Break(StopReason::Undecided { n_contacts }),
        }
    }

    /// Takes over field, rates, values and margins from the decision just made.
    fn adopt_decision(&mut self) {
        self.dy.copy_from_slice(&self.work.dy);
        self.start.rates.copy_from_slice(&self.work.rates);
        self.start.values.copy_from_slice(self.field.values());
        self.start.margins.clone_from(&self.work.margins);
    }

    /// After an event no free switch may be beyond a boundary of its piece.
    fn check_sides(&self) -> ControlFlow<StopReason> {
        for (j, &value) in self.start.values.iter().enumerate() {
            for b in boundaries(&*self.field, &self.mode, j) {
                if b.distance(value) >= 0.0 {
                    continue;
                }
                let scale = self.field.scale(j) + b.at.abs();
                if b.distance(value) < -WRONG_SIDE * scale {
                    let distance = b.distance(value) / scale;
                    return ControlFlow::Break(StopReason::MissedEvent { contact: b.contact, distance });
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn met_rule(&mut self) -> Option<&'static str> {
        let Self { rules, field, dy, .. } = self;
        rules.iter_mut().find_map(|rule| (rule.margin(field, dy) <= 0.0).then(|| rule.name()))
    }

    fn evaluate_here(&mut self) -> ControlFlow<StopReason> {
        self.stats.evaluations += 1;
        match self.field.eval(&self.y, &self.mode, &mut self.dy) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(StopReason::NonFinite { what: error.what }),
        }
    }

    fn evaluate_cut(&mut self) -> ControlFlow<StopReason> {
        self.stats.evaluations += 1;
        match self.field.eval(&self.y_cut, &self.mode, &mut self.dy_cut) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(StopReason::NonFinite { what: error.what }),
        }
    }
}

/// Whether a free switch is still on its breakpoint up to rounding.
fn still_on<F: PiecewiseField>(field: &F, mode: &Mode, contact: Contact, values: &[f64]) -> bool {
    boundaries(field, mode, contact.switch)
        .filter(|b| b.contact == contact)
        .any(|b| b.distance(values[contact.switch]).abs() <= 4.0 * floor(field, &b))
}
