//! The observer of a run: turns steps and events into rows, follows the NTK and the identities, saves θ.

use super::accuracy::{Accuracy, Grounds};
use super::identities::{Allowed, Identities, IdentityReport};
use super::path::Path;
use super::rows::{BranchRow, EventRow, Row, RowSide, Sink, StartRow, StepLimit, StepRow};
use super::spectra::{Seen, Spectra};
use crate::flow::FlowField;
use crate::ntk::{
    BoundCheck, BoundReport, BoundSample, Cadence, Coverage, Estimate, Lambda0, Reading, SpectrumError, Tracker,
    structural_zero,
};
use crate::ode::{
    BranchPoint, Change, Event, EventKind, Observer, PiecewiseField, Point, StartContact, Stats, StepView, StopReason,
    StrideView, WrmsNorm,
};
use crate::vector::{max_abs, norm};
use std::io;
use std::ops::ControlFlow;

/// Nodes and weights of the three-point Gauss–Legendre rule on [0, 1].
const GAUSS: [(f64, f64); 3] =
    [(0.112_701_665_379_258_3, 5.0 / 18.0), (0.5, 8.0 / 18.0), (0.887_298_334_620_741_7, 5.0 / 18.0)];

/// Counts of events (on original samples).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EventCounts {
    /// Crossings.
    pub crossing: u64,
    /// Slide entries.
    pub slide_enter: u64,
    /// Slide exits.
    pub slide_exit: u64,
    /// Grazes.
    pub graze: u64,
    /// Instants at which more than one switch changed.
    pub simultaneous: u64,
    /// Largest number of units sliding at once.
    pub max_sliding: usize,
    /// Smallest time between two events.
    pub smallest_gap: Option<f64>,
}

/// Everything a run showed, apart from its rows.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Loss and residual at the start.
    pub loss_initial: f64,
    /// ‖r_0‖.
    pub residual_initial: f64,
    /// Loss at the end.
    pub loss_final: f64,
    /// ‖r‖ at the end.
    pub residual_final: f64,
    /// Event counts.
    pub events: EventCounts,
    /// λ₀, when tracked.
    pub lambda0: Option<Lambda0>,
    /// Which samples of λ_min were taken and which left out, when tracked.
    pub coverage: Option<Coverage>,
    /// What was estimated of the spectrum, where that was asked for instead.
    pub estimates: Vec<Estimate>,
    /// Verdicts.
    pub bound: BoundReport,
    /// What they rest on.
    pub checked: BoundCheck,
    /// How far the run can be trusted, without an audit.
    pub accuracy: Accuracy,
    /// Identities.
    pub identities: IdentityReport,
    /// Branch points met, in order.
    pub branch_points: Vec<BranchRow>,
    /// Units that started on a breakpoint.
    pub start: Vec<StartRow>,
    /// Gram matrices formed.
    pub gram_evaluations: u64,
    /// Eigenvalue decompositions.
    pub eigen_solves: u64,
    /// Why rows could not be written, if so.
    pub sink_error: Option<String>,
    /// Why λ_min could not be computed, if so.
    pub spectrum_error: Option<String>,
}

/// See the module.
pub struct Monitor<'a> {
    sink: &'a mut dyn Sink,
    interrupted: &'a (dyn Fn() -> bool + Sync),
    norm: WrmsNorm,
    save_times: Box<dyn Iterator<Item = f64> + Send + 'a>,
    next_save: Option<f64>,
    last_saved: Option<f64>,
    inner: FlowField,
    theta: Vec<f64>,
    dy: Vec<f64>,
    tracker: Option<Tracker>,
    bound: BoundCheck,
    identities: Option<Identities>,
    spectra: Option<Spectra>,
    estimates: Vec<Estimate>,
    path: Path,
    /// The last step, told when it is known what follows it, and the counters at its end.
    step: Option<StepRow>,
    stats: Stats,
    counts: EventCounts,
    last_event: Option<f64>,
    n_instants: u64,
    /// Number of units that slide now (on original samples).
    sliding: usize,
    /// What was known of the spectrum at the end of the last step, and in the last row.
    before: Reading,
    latest: Reading,
    last_t: f64,
    first: Option<(f64, f64)>,
    last: (f64, f64),
    /// L at the start of the step under way.
    loss_before: f64,
    /// ‖∇L‖ in the last row.
    gradient_norm: f64,
    /// The largest λ_max seen so far.
    lambda_max: Option<f64>,
    /// Largest parameter of each layer at the start.
    layers: Vec<f64>,
    /// Largest relative rounding noise of the gradient at an event.
    noise_at_events: f64,
    reason: Option<StopReason>,
    branch_points: Vec<BranchRow>,
    start: Vec<StartRow>,
    error: Option<io::Error>,
    failure: Option<String>,
}

impl<'a> Monitor<'a> {
    /// Watches the flow `field` whose targets number `n_targets` (nM), and λ_min at a cadence if there is one; θ is saved at `save_times`
    /// (increasing) and at the end.
    pub fn new(
        field: &FlowField,
        n_targets: usize,
        ntk: Option<Cadence>,
        rtol: f64,
        save_times: Box<dyn Iterator<Item = f64> + Send + 'a>,
        sink: &'a mut dyn Sink,
    ) -> Self {
        let mut save_times = save_times;
        let next_save = save_times.next();
        Self {
            sink,
            interrupted: &|| false,
            norm: WrmsNorm { rtol, atol: 0.0 },
            save_times,
            next_save,
            last_saved: None,
            inner: field.clone(),
            theta: vec![0.0; field.dim()],
            dy: vec![0.0; field.dim()],
            tracker: ntk.map(|cadence| Tracker::new(field, n_targets, cadence)),
            bound: BoundCheck::default(),
            identities: None,
            spectra: ntk.map(|_| Spectra::new(n_targets)),
            estimates: Vec::new(),
            path: Path::new(field.dim()),
            step: None,
            stats: Stats::default(),
            counts: EventCounts::default(),
            last_event: None,
            n_instants: 0,
            sliding: 0,
            before: Reading::default(),
            latest: Reading::default(),
            last_t: 0.0,
            first: None,
            last: (0.0, 0.0),
            loss_before: 0.0,
            gradient_norm: 0.0,
            lambda_max: None,
            layers: Vec::new(),
            noise_at_events: 0.0,
            reason: None,
            branch_points: Vec::new(),
            start: Vec::new(),
            error: None,
            failure: None,
        }
    }

    /// Estimates both ends of the spectrum at chosen times, where λ_min is not known to be zero by structure.
    pub fn estimating(mut self, field: &FlowField, n_targets: usize) -> Self {
        if structural_zero(field, n_targets).is_some() {
            // Such a tracker looks at nothing.
            self.tracker = Some(Tracker::new(field, n_targets, Cadence::Adaptive));
        } else {
            self.spectra = Some(Spectra::of_ends(n_targets));
        }
        self
    }

    /// Judges the run by both of its tolerances; without this by rtol alone.
    pub fn tolerating(mut self, norm: WrmsNorm) -> Self {
        self.norm = norm;
        self
    }

    /// Ends the run after the step during which `interrupted` becomes true.
    pub fn interruptible(mut self, interrupted: &'a (dyn Fn() -> bool + Sync)) -> Self {
        self.interrupted = interrupted;
        self
    }

    /// What was seen.
    pub fn finish(mut self) -> Observed {
        self.estimate_error_of_lambda0();
        let lambda0 = self.tracker.as_ref().and_then(|t| t.lambda0().copied());
        let (loss_initial, residual_initial) = self.first.unwrap_or_default();
        let empty = IdentityReport {
            energy_defect: 0.0,
            n_conserved: 0,
            no_law: None,
            conservation_drift: None,
            displacement_bound_ok: true,
            displacement_worst_ratio: 0.0,
            displacement: 0.0,
            allowed: Allowed::default(),
            drift_of_terms: 0.0,
            drift_excess: 0.0,
            displacement_excess: 0.0,
        };
        let coverage = self.tracker.as_ref().map(|t| t.coverage);
        let n_spectra = self.spectra.as_ref().map_or(0, Spectra::n_grams);
        let lowest = self.estimates.iter().min_by(|a, b| a.lambda_min_at_most.total_cmp(&b.lambda_min_at_most));
        let identities = self.identities.map_or(empty, |i| i.report());
        Observed {
            loss_initial,
            residual_initial,
            accuracy: Accuracy::judge(&Grounds {
                identities: &identities,
                norm: self.norm,
                layers: &self.layers,
                noise_at_events: self.noise_at_events,
                n_regularised: self.stats.regularised,
                reason: self.reason.as_ref(),
            }),
            loss_final: self.last.0,
            residual_final: self.last.1,
            events: self.counts,
            bound: match (self.inner.loss().beyond_theory(), lowest) {
                (Some(reason), _) => BoundReport::without_claim(reason),
                (None, Some(lowest)) => self.bound.report_at_most(lowest, self.norm.rtol),
                (None, None) => {
                    self.bound.report(lambda0.as_ref(), coverage.map_or(0.0, |c| c.integral_room), self.norm.rtol)
                }
            },
            checked: self.bound,
            lambda0,
            coverage,
            estimates: self.estimates,
            identities,
            branch_points: self.branch_points,
            start: self.start,
            gram_evaluations: n_spectra + self.tracker.as_ref().map_or(0, |t| t.n_grams),
            eigen_solves: n_spectra + self.tracker.as_ref().map_or(0, |t| t.n_eigen_solves),
            sink_error: self.error.map(|e| e.to_string()),
            spectrum_error: self.failure,
        }
    }

    /// The error of the run at λ₀, as far as its tolerances and identities tell, times how fast λ_min changes with θ there.
    fn estimate_error_of_lambda0(&mut self) {
        let (Some(tracker), Some(identities)) = (&mut self.tracker, &self.identities) else { return };
        // At t = 0 there is no error yet.
        if tracker.lambda0().is_none_or(|lambda0| lambda0.t == 0.0) {
            return;
        }
        let identities = identities.report();
        let relative = self.norm.rtol.max(identities.energy_defect).max(identities.drift_of_terms);
        if let Some((slope, theta)) = tracker.sensitivity() {
            let weights: Vec<f64> = theta.iter().map(|v| self.norm.atol + relative * v.abs()).collect();
            let error = slope * norm(&weights);
            tracker.set_error(error);
        }
    }

    /// `defect` is that of the energy over the step that ends here.
    fn row(&mut self, point: &Point<'_, FlowField>, side: RowSide, reading: Reading, defect: f64) {
        let flow = point.field.sample(point.dy);
        let (loss, residual) = (flow.loss, flow.residual_norm);
        let (_, residual_initial) = *self.first.get_or_insert((loss, residual));
        self.last = (loss, residual);
        self.last_t = point.t;
        self.sliding = self.n_sliding(point);
        self.latest = reading;
        self.gradient_norm = flow.gradient_norm;
        if let Some(here) = reading.lambda_max {
            self.lambda_max = Some(self.lambda_max.map_or(here, |largest| largest.max(here)));
        }
        let is_claimed = point.field.loss().beyond_theory().is_none();
        let decay = |exponent: f64| (-exponent).exp() * residual_initial;
        let tracked = self.tracker.as_ref();
        let (integral, integral_error) = tracked.map_or((0.0, 0.0), |t| t.integral());
        let lambda0 = tracked.and_then(|t| t.lambda0()).map(|l| l.value);
        // The far side of an event is the same state.
        let error = if side == RowSide::After || point.t == 0.0 { 0.0 } else { self.norm.largest_error(point.y) };
        let jump = self.lambda_max.unwrap_or(0.0).sqrt() * error;
        let sample = BoundSample { t: point.t, residual_norm: residual, integral, integral_error, defect, jump };
        self.bound.record(sample);
        let row = Row {
            t: point.t,
            side,
            loss,
            residual_norm: residual,
            gradient_norm: flow.gradient_norm,
            lambda_min: reading.lambda_min,
            lambda_max: reading.lambda_max,
            bound: lambda0.filter(|_| is_claimed).map(|l| decay(l * point.t)),
            integral_bound: lambda0.filter(|_| is_claimed).map(|_| decay(integral)),
            rayleigh: (residual > 0.0).then(|| (flow.gradient_norm / residual).powi(2)),
            step: point.stats.steps,
            sliding: self.sliding,
        };
        let written = self.sink.row(&row);
        self.note(written);
    }

    /// Rounding of Jᵀr is about 8ε‖J‖‖r‖; what decides an event is read from it.
    fn look_at_noise(&mut self) {
        if let Some(lambda_max) = self.lambda_max.filter(|_| self.gradient_norm > 0.0) {
            let noise = 8.0 * f64::EPSILON * lambda_max.sqrt() * self.last.1 / self.gradient_norm;
            self.noise_at_events = self.noise_at_events.max(noise);
        }
    }

    fn n_sliding(&self, point: &Point<'_, FlowField>) -> usize {
        point.mode.staying().map(|c| point.field.places(c.switch).count()).sum()
    }

    fn save(&mut self, t: f64, theta: &[f64]) {
        if self.last_saved != Some(t) {
            self.last_saved = Some(t);
            let written = self.sink.theta(t, theta);
            self.note(written);
        }
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.error.get_or_insert(error);
        }
    }

    /// What the tracker says, or nothing without one or where it fails.
    fn read(&mut self, t: f64, ask: impl FnOnce(&mut Tracker) -> Result<Reading, SpectrumError>) -> Reading {
        match self.tracker.as_mut().map(ask) {
            None => Reading::default(),
            Some(Ok(reading)) => reading,
            Some(Err(error)) => {
                self.failure.get_or_insert(format!("{error} (t = {t})"));
                Reading::default()
            }
        }
    }

    /// Rows and θ at the save times inside a step.
    fn save_inside(&mut self, step: &StepView<'_, FlowField>) {
        while let Some(t) = self.next_save.filter(|t| *t <= step.end.t) {
            self.next_save = self.save_times.next();
            if t == step.end.t {
                self.save(t, step.end.y);
                continue;
            }
            let mut theta = std::mem::take(&mut self.theta);
            step.dense.at(t, &mut theta);
            let mut dy = std::mem::take(&mut self.dy);
            let mut inner = self.inner.clone();
            if inner.eval(&theta, step.end.mode, &mut dy).is_ok() {
                let reading = self.read(t, |tracker| tracker.look(t, &inner));
                let point = Point { t, y: &theta, dy: &dy, mode: step.end.mode, field: &inner, stats: step.end.stats };
                self.row(&point, RowSide::Smooth, reading, 0.0);
                self.tell_spectrum(t, &inner, false);
            }
            self.save(t, &theta);
            (self.theta, self.dy) = (theta, dy);
        }
    }

    fn tell_spectrum(&mut self, t: f64, field: &FlowField, is_last: bool) {
        match self.spectra.as_mut().map_or(Ok(None), |s| s.at(t, field, is_last)) {
            Ok(None) => {}
            Ok(Some(Seen::Eigenvalues(eigenvalues))) => {
                let written = self.sink.eigenvalues(t, &eigenvalues);
                self.note(written);
            }
            Ok(Some(Seen::Ends(estimate))) => self.estimates.push(estimate),
            Err(error) => {
                self.failure.get_or_insert(format!("{error} (t = {t})"));
            }
        }
    }

    fn tell_step(&mut self) {
        if let Some(row) = self.step.take() {
            let written = self.sink.step(&row);
            self.note(written);
        }
    }

    /// Everything that is told once a step, after the rows of its end.
    fn end_step(&mut self, end: &Point<'_, FlowField>, length: f64, limit: StepLimit, dissipated: f64) {
        let loss = self.last.0;
        self.loss_before = loss;
        if let Some(identities) = &mut self.identities {
            identities.allow(length, end.y, loss, end.dy);
        }
        self.tell_step();
        self.step = self.identities.as_mut().map(|identities| StepRow {
            step: end.stats.steps,
            t: end.t,
            length,
            limit,
            rejected: end.stats.rejected - self.stats.rejected,
            method_switches: end.stats.method_switches,
            identities: identities.check(end.t, end.y, loss, dissipated),
        });
        self.stats = *end.stats;
        self.path.visit(end.stats.steps, end.t, end.y);
        if self.spectra.as_mut().is_some_and(|s| s.is_due(loss)) {
            self.tell_spectrum(end.t, end.field, false);
        }
    }

    fn stop(&self) -> ControlFlow<()> {
        let stop = self.error.is_some() || self.failure.is_some() || (self.interrupted)();
        if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Why the step was not longer, as far as is known before what follows it.
    fn limit(&self, step: &StepView<'_, FlowField>) -> StepLimit {
        let (before, now) = (&self.stats, step.end.stats);
        if step.ends_at_event {
            StepLimit::Event
        } else if now.limited_by_crossing > before.limited_by_crossing {
            StepLimit::Crossing
        } else if now.limited_by_stability > before.limited_by_stability {
            StepLimit::Stability
        } else {
            StepLimit::Accuracy
        }
    }

    /// ∫‖∇L‖² over the step, by the method's own quadrature or by Gauss–Legendre on the dense output.
    fn dissipated(&mut self, step: &StepView<'_, FlowField>) -> f64 {
        if let Some(value) = step.dense.dissipation(step.end.t) {
            return value;
        }
        let h = step.end.t - step.t_start;
        let mut sum = 0.0;
        for (x, weight) in GAUSS {
            step.dense.at(step.t_start + x * h, &mut self.theta);
            if self.inner.eval(&self.theta, step.end.mode, &mut self.dy).is_ok() {
                sum += weight * h * crate::vector::dot(&self.dy, &self.dy);
            }
        }
        sum
    }

    /// Rows of an event at `t`, with the loss there and the number of units that slide after it.
    fn event_rows(
        &self,
        field: &FlowField,
        t: f64,
        changes: &[Change],
        (loss, sliding): (f64, usize),
        reading: Reading,
    ) -> Vec<EventRow> {
        let row = |change: &Change, place| EventRow {
            index: self.n_instants,
            t,
            kind: change.kind,
            place,
            breakpoint: change.contact.breakpoint,
            direction: change.towards,
            rate_before: change.rate_before,
            rate_after: change.rate_after,
            lambda_min_before: self.before.lambda_min,
            lambda_min_after: reading.lambda_min,
            loss,
            sliding,
        };
        changes.iter().flat_map(|c| field.places(c.contact.switch).map(move |place| row(c, place))).collect()
    }

    fn count(&mut self, t: f64, rows: &[EventRow], n_changes: usize) {
        for row in rows {
            *match row.kind {
                EventKind::Crossing => &mut self.counts.crossing,
                EventKind::SlideEnter => &mut self.counts.slide_enter,
                EventKind::SlideExit => &mut self.counts.slide_exit,
                EventKind::Graze => &mut self.counts.graze,
            } += 1;
        }
        self.counts.simultaneous += u64::from(n_changes > 1);
        if let Some(last) = self.last_event {
            let gap = t - last;
            self.counts.smallest_gap = Some(self.counts.smallest_gap.map_or(gap, |g: f64| g.min(gap)));
        }
        self.last_event = Some(t);
    }
}

impl Observer<FlowField> for Monitor<'_> {
    fn needs_dense(&self, _t_start: f64, t_end: f64) -> bool {
        self.tracker.is_some() || self.next_save.is_some_and(|t| t <= t_end)
    }

    fn asks_at_events(&self) -> bool {
        self.tracker.as_ref().is_some_and(Tracker::measures)
    }

    fn start(&mut self, point: &Point<'_, FlowField>, contacts: &[StartContact]) {
        for c in contacts {
            let rows = point.field.places(c.contact.switch).map(|place| StartRow {
                place,
                breakpoint: c.contact.breakpoint,
                side: c.side,
            });
            self.start.extend(rows);
        }
        self.counts.max_sliding = self.n_sliding(point);
        let reading = self.read(point.t, |tracker| tracker.begin(point.t, point.field, point.mode, RowSide::Smooth));
        self.row(point, RowSide::Smooth, reading, 0.0);
        let network = point.field.batch().network();
        self.loss_before = self.last.0;
        self.identities = Some(Identities::new(network, point.y, self.last.0).tolerating(self.norm, point.dy));
        let largest = |part: &std::ops::Range<usize>| max_abs(&point.y[part.clone()]);
        let layers = network.layers().iter();
        self.layers = layers.map(|l| largest(&l.weights).max(l.bias.as_ref().map_or(0.0, largest))).collect();
        self.path.visit(0, point.t, point.y);
        self.stats = *point.stats;
        if let Some(spectra) = &mut self.spectra {
            spectra.is_due(self.last.0);
        }
        self.tell_spectrum(point.t, point.field, false);
        if self.next_save.is_some_and(|t| t <= point.t) {
            self.next_save = self.save_times.next();
            self.save(point.t, point.y);
        }
    }

    fn step(&mut self, step: &StepView<'_, FlowField>) -> ControlFlow<()> {
        let end = &step.end;
        self.save_inside(step);
        let side = if step.ends_at_event { RowSide::Before } else { RowSide::Smooth };
        let reading = self.read(end.t, |tracker| tracker.step(step, side));
        let dissipated = self.dissipated(step);
        let defect = (self.loss_before - end.field.sample(end.dy).loss - dissipated).abs();
        self.row(end, side, reading, defect);
        self.before = reading;
        self.end_step(end, step.length, self.limit(step), dissipated);
        self.stop()
    }

    fn event(&mut self, after: &Point<'_, FlowField>, event: &Event) {
        // The effective slope of a slide ends at a one-sided slope: G does not jump.
        let is_continuous = event.changes.iter().all(|c| c.kind == EventKind::SlideExit);
        let reading = self.read(after.t, |tracker| {
            if is_continuous {
                Ok(tracker.carry_on())
            } else {
                tracker.begin(after.t, after.field, after.mode, RowSide::After)
            }
        });
        self.row(after, RowSide::After, reading, 0.0);
        self.loss_before = self.last.0;
        self.look_at_noise();
        if let Some(identities) = &mut self.identities {
            identities.turn(after.dy);
        }
        if event.changes.is_empty() {
            return;
        }
        let at = (self.last.0, self.n_sliding(after));
        let rows = self.event_rows(after.field, after.t, &event.changes, at, reading);
        self.count(after.t, &rows, event.changes.len());
        self.counts.max_sliding = self.counts.max_sliding.max(self.n_sliding(after));
        self.n_instants += 1;
        let written = self.sink.event(&rows);
        self.note(written);
    }

    fn needs_states(&self, _t_start: f64, t_end: f64) -> bool {
        // λ_min is wanted on both sides of every event.
        self.tracker.is_some() || self.next_save.is_some_and(|save| save < t_end)
    }

    fn stride(&mut self, stride: &StrideView<'_, FlowField>) -> ControlFlow<()> {
        let end = &stride.end;
        let loss_start = self.last.0;
        let mut sliding = self.sliding;
        for event in stride.events {
            let changes = &event.event.changes;
            for change in changes {
                let n_places = end.field.places(change.contact.switch).count();
                match change.kind {
                    EventKind::SlideEnter => sliding += n_places,
                    EventKind::SlideExit => sliding -= n_places,
                    EventKind::Crossing | EventKind::Graze => {}
                }
            }
            let rows = self.event_rows(
                end.field,
                event.t,
                changes,
                (loss_start - event.dissipated, sliding),
                Reading::default(),
            );
            self.count(event.t, &rows, changes.len());
            self.counts.max_sliding = self.counts.max_sliding.max(sliding);
            self.n_instants += 1;
            let written = self.sink.event(&rows);
            self.note(written);
        }
        self.row(end, RowSide::Smooth, Reading::default(), 0.0);
        while let Some(t) = self.next_save.filter(|t| *t <= end.t) {
            self.next_save = self.save_times.next();
            self.save(t, end.y);
        }
        self.end_step(end, end.t - stride.t_start, StepLimit::Accuracy, stride.dissipated);
        self.stop()
    }

    fn branch_point(&mut self, branch: &BranchPoint) {
        let (t, kind, margin, breakpoint) = (branch.t, branch.kind, branch.margin, branch.contact.breakpoint);
        let rows =
            self.inner.places(branch.contact.switch).map(|place| BranchRow { t, place, breakpoint, kind, margin });
        self.branch_points.extend(rows);
    }

    fn end(&mut self, point: &Point<'_, FlowField>, reason: &StopReason) {
        self.reason = Some(reason.clone());
        self.stats.regularised = point.stats.regularised;
        if let Some(step) = self.step.as_mut().filter(|s| reason.is_completion() && s.limit != StepLimit::Event) {
            step.limit = StepLimit::End;
        }
        self.tell_step();
        self.tell_spectrum(point.t, point.field, true);
        self.path.end(point.stats.steps, point.t, point.y);
        let written = self.sink.path(&self.path);
        self.note(written);
        if let Some(identities) = &self.identities {
            let written = self.sink.conserved(&identities.conserved());
            self.note(written);
        }
        // A flow that came to rest has been carried to its horizon without a step.
        if self.last_t < point.t {
            let resting = self.latest;
            self.row(point, RowSide::Smooth, resting, 0.0);
        }
        while let Some(t) = self.next_save.filter(|t| *t <= point.t) {
            self.next_save = self.save_times.next();
            self.save(t, point.y);
        }
        self.save(point.t, point.y);
    }
}
