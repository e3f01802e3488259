//! What the claims need of a run beyond its record: how many surfaces the flow stands on at once, and, while units slide, the Gram matrices of
//! both sides of their kinks.

use crate::flow::FlowField;
use crate::net::Backward;
use crate::ntk::GramEvaluator;
use crate::ntk::spectrum::spectrum;
use crate::ode::{Change, Event, EventKind, Mode, Observer, PiecewiseField, Point, Side, StartContact, StepView};
use faer::Mat;
use std::ops::ControlFlow;

/// With more sliding switches than this their 2^k one-sided Gram matrices are not looked at.
const MOST_SIDES: usize = 4;

/// Nor are those with more rows than this.
const LARGEST_GRAM: usize = 64;

/// Hits closer together than this, relative to t, are simultaneous.
const SIMULTANEOUS: f64 = 1e-12;

/// Where the resolution of time is above this part of a step, nothing can be said of what happens together.
const BLURRED: f64 = 1e-6;

/// Singular values of the normals below this times the largest count as zero.
const RANK_TOL: f64 = 1e-9;

/// Watches a run.
#[derive(Debug)]
pub struct Witness {
    inner: FlowField,
    grams: GramEvaluator,
    n_targets: usize,
    tracks: bool,
    dy: Vec<f64>,
    last_hit: Option<usize>,
    /// Length of the steps since then, and of the longest one of them. Late in a run differences of t are worth nothing.
    since_hit: (f64, f64),
    /// Where the most switches slid at once.
    pub most_sliding: Option<Stand>,
    /// Where the flow stood on the most surfaces at once, sliding or not.
    pub most_met: Option<Stand>,
    /// Instants at which two or more free switches reached breakpoints, within the resolution of time; and the first.
    pub free_meetings: (usize, Option<f64>),
    /// The first instant at which that cannot be told, because t is too large next to the steps.
    pub blurred: Option<f64>,
    /// Smallest time between hits of two different switches.
    pub smallest_gap: Option<f64>,
    /// Smallest λ_min of the one-sided Gram matrices while units slid, where they were looked at.
    pub one_sided: Option<f64>,
    /// States in which they were not, because there were too many.
    pub n_unseen: usize,
}

/// A state in which the flow stands on switching surfaces.
#[derive(Debug, Clone)]
pub struct Stand {
    /// Time.
    pub t: f64,
    /// Switches on a breakpoint.
    pub switches: Vec<usize>,
    theta: Vec<f64>,
    mode: Mode,
}

impl Witness {
    /// Watches the flow `field` with `n_targets` = nM; one-sided Gram matrices are formed only when `tracks`.
    pub fn new(field: FlowField, n_targets: usize, tracks: bool) -> Self {
        Self {
            dy: vec![0.0; field.dim()],
            inner: field,
            grams: GramEvaluator::default(),
            n_targets,
            tracks,
            last_hit: None,
            since_hit: (0.0, 0.0),
            most_sliding: None,
            most_met: None,
            free_meetings: (0, None),
            blurred: None,
            smallest_gap: None,
            one_sided: None,
            n_unseen: 0,
        }
    }

    /// Number of independent normals of the surfaces stood on: the codimension of their intersection.
    pub fn codimension(&self, stand: &Stand) -> usize {
        let mut field = self.inner.clone();
        let n_parameters = stand.theta.len();
        if field.eval(&stand.theta, &stand.mode, &mut vec![0.0; n_parameters]).is_err() {
            return stand.switches.len();
        }
        let (batch, (theta, forward)) = (field.batch(), field.forward());
        let (zeros, mut backward) = (vec![0.0; batch.n_outputs()], Backward::default());
        let mut normals = Mat::zeros(n_parameters, stand.switches.len());
        let mut gradient = vec![0.0; n_parameters];
        for (k, &switch) in stand.switches.iter().enumerate() {
            let seed = [(field.switches().first(switch), 1.0)];
            batch.backward(theta, forward, &zeros, &seed, &mut backward, &mut gradient);
            let length = crate::vector::norm(&gradient).max(f64::MIN_POSITIVE);
            gradient.iter().enumerate().for_each(|(i, g)| normals[(i, k)] = g / length);
        }
        match normals.singular_values() {
            Ok(sigma) => sigma.iter().filter(|&&s| s > RANK_TOL * sigma[0]).count(),
            Err(_) => stand.switches.len(),
        }
    }

    fn stand(&mut self, point: &Point<'_, FlowField>, changes: &[Change]) {
        let sliding = point.mode.sliding().iter().map(|c| c.switch);
        let slides: Vec<usize> = sliding.clone().collect();
        let mut met: Vec<usize> = sliding.chain(changes.iter().map(|c| c.contact.switch)).collect();
        met.sort_unstable();
        met.dedup();
        for (most, switches) in [(&mut self.most_sliding, slides), (&mut self.most_met, met)] {
            if switches.len() > most.as_ref().map_or(0, |stand| stand.switches.len()) {
                let (theta, mode) = (point.y.to_vec(), point.mode.clone());
                *most = Some(Stand { t: point.t, switches, theta, mode });
            }
        }
        self.look_at_sides(point);
    }

    fn look_at_sides(&mut self, point: &Point<'_, FlowField>) {
        let contacts = point.mode.sliding();
        if contacts.is_empty() || !self.tracks {
            return;
        }
        if contacts.len() > MOST_SIDES || self.n_targets > LARGEST_GRAM {
            self.n_unseen += 1;
            return;
        }
        for sides in 0..1_u32 << contacts.len() {
            let mut mode = point.mode.clone();
            for (k, &contact) in contacts.iter().enumerate() {
                mode.place(contact, if sides >> k & 1 == 1 { Side::Above } else { Side::Below });
            }
            let is_finite = self.inner.eval(point.y, &mode, &mut self.dy).is_ok();
            let found = spectrum(&self.inner, self.n_targets, &mut self.grams, true, f64::INFINITY);
            match found {
                Ok(found) if is_finite => {
                    let lowest = if found.is_resolved() { found.lambda_min } else { 0.0 };
                    self.one_sided = Some(self.one_sided.map_or(lowest, |l| l.min(lowest)));
                }
                _ => self.n_unseen += 1,
            }
        }
    }
}

impl Observer<FlowField> for Witness {
    fn start(&mut self, point: &Point<'_, FlowField>, _contacts: &[StartContact]) {
        self.stand(point, &[]);
    }

    fn step(&mut self, step: &StepView<'_, FlowField>) -> ControlFlow<()> {
        self.since_hit.0 += step.length;
        self.since_hit.1 = self.since_hit.1.max(step.length);
        self.look_at_sides(&step.end);
        ControlFlow::Continue(())
    }

    fn event(&mut self, after: &Point<'_, FlowField>, event: &Event) {
        self.stand(after, &event.changes);
        let hits = event.changes.iter().filter(|c| c.kind != EventKind::SlideExit);
        let hits: Vec<usize> = hits.map(|c| c.contact.switch).collect();
        let mut is_meeting = hits.len() > 1;
        // The same window as where events are located.
        let window = SIMULTANEOUS * after.t;
        let is_blurred = window > BLURRED * self.since_hit.1;
        for &switch in &hits {
            if self.last_hit.is_some_and(|last| last != switch) {
                let gap = self.since_hit.0;
                self.smallest_gap = Some(self.smallest_gap.map_or(gap, |g| g.min(gap)));
                is_meeting |= gap <= window;
            }
            self.last_hit = Some(switch);
            self.since_hit.0 = 0.0;
        }
        if is_meeting && is_blurred {
            self.blurred.get_or_insert(after.t);
        } else if is_meeting {
            self.free_meetings.0 += 1;
            self.free_meetings.1.get_or_insert(after.t);
        }
        if !hits.is_empty() {
            self.since_hit.1 = 0.0;
        }
    }
}
