//! λ_min(G(t)) along the flow and λ₀, its minimum over *continuous* time.
//!
//! λ_min is sampled at both ends of every step, which includes both one-sided limits at events, and is continuous inside a step. With
//! [`Cadence::Adaptive`] a sample is left out where the [`Reference`] shows that it can neither lower λ₀ nor move ∫λ_min by much.
//!
//! λ_min is a concave function of G: on the straight line between two Gram matrices it is nowhere below its lower end. Only the sag of
//! the path of G below that line can make it fall (Weyl's inequality); where an estimate of the sag leaves room for a new minimum,
//! the step is looked into on its dense output, and a minimum inside is followed until it is stable.

use super::gram::GramEvaluator;
use super::reference::{Enclosure, Reference, integrals};
use super::sensitivity::slope_of_lambda_min;
use super::spectrum::{Spectrum, SpectrumError, ZeroReason, spectrum_here, structural_zero};
use crate::flow::FlowField;
use crate::ode::{DenseOutput, Mode, PiecewiseField, Point, StepView};

/// Up to this size no sample is left out, and G is always sampled in the middle of a step as well: it costs next to nothing.
const ALWAYS_MIDDLE: usize = 16;

/// How far G may stray from the chord of a step, in units of ‖ΔG‖²/‖G‖: G is a polynomial in θ, so that its second-order part over
/// a step is of that size.
const SAG: f64 = 4.0;

/// A minimum is stable when it moves by less than this, relatively.
const STABLE: f64 = 1e-9;

/// Parts of half a step over which the slope of λ_min at an end is measured: the second where the change over the first is below resolution.
const END_SLOPE: [f64; 2] = [1e-5, 1e-3];

/// Samples within this relative distance of the lowest one count as next to it.
const NEXT_TO_BEST: f64 = 1e-2;

/// Golden section.
const GOLDEN: f64 = 0.381_966_011_250_105_1;

/// Share of ∫λ_min by which samples left out may lower it.
const INTEGRAL_SHARE: f64 = 0.1;

/// Which samples are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cadence {
    /// Those that could lower λ₀ or would move ∫λ_min; the others are certified not to, up to the same estimate inside steps.
    Adaptive,
    /// All: both sides of every event and the end of every step.
    EveryEvent,
}

impl Cadence {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::EveryEvent => "every-event",
        }
    }
}

/// Where a sample of λ_min belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleSide {
    /// Between events.
    Smooth,
    /// Limit from before an event.
    Before,
    /// Limit from after an event.
    After,
}

impl SampleSide {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Smooth => "smooth",
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// λ_min at one instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Time.
    pub t: f64,
    /// The spectrum there.
    pub spectrum: Spectrum,
}

/// What is known at an instant: both values where λ_min was measured, neither where it was left out, λ_min alone where it is zero by structure.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// λ_min(G).
    pub lambda_min: Option<f64>,
    /// λ_max(G).
    pub lambda_max: Option<f64>,
}

impl From<&Sample> for Reading {
    fn from(sample: &Sample) -> Self {
        Self { lambda_min: Some(sample.spectrum.lambda_min), lambda_max: Some(sample.spectrum.lambda_max) }
    }
}

/// How the ends of steps and the sides of events were covered. Sides that share one value count once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coverage {
    /// What was asked for.
    pub cadence: Cadence,
    /// Samples taken.
    pub n_measured: u64,
    /// Samples left out.
    pub n_skipped: u64,
    /// Certified lower bound on λ_min at all that were left out; none was, without it.
    pub skipped_above: Option<f64>,
    /// ∫λ_min may be higher by this than the value that is used, because of them.
    pub integral_room: f64,
}

/// The minimum of λ_min over the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lambda0 {
    /// λ₀ ≥ 0.
    pub value: f64,
    /// Where it is attained.
    pub t: f64,
    /// On which side.
    pub side: SampleSide,
    /// λ₀ of the run is known up to about this.
    pub resolution: f64,
    /// By about this it may differ from λ₀ of the flow, because of the errors of the run; 0 until it is [estimated](Tracker::sensitivity).
    pub error: f64,
    /// Whether λ₀ is positive beyond doubt.
    pub is_resolved: bool,
    /// Numerical rank of G there; a bound on it where `rank_is_measured` is not.
    pub rank: usize,
    /// Whether the rank is that of a spectrum; not where λ_min = 0 by structure was all that was asked for.
    pub rank_is_measured: bool,
    /// Whether that rank is clear.
    pub rank_is_clear: bool,
    /// nM.
    pub n_targets: usize,
    /// λ_min comes down to zero, as closely as time can be resolved, at an isolated instant.
    pub touches_zero: bool,
    /// λ_min = 0 by structure.
    pub structural_zero: Option<ZeroReason>,
}

impl Lambda0 {
    /// λ₀ of the flow is known up to about this.
    pub fn known_to(&self) -> f64 {
        self.resolution + self.error
    }
}

/// Follows λ_min. Interior points are evaluated on a private copy of the field, so the run is never touched.
#[derive(Debug)]
pub struct Tracker {
    inner: FlowField,
    grams: GramEvaluator,
    n_targets: usize,
    structural_zero: Option<ZeroReason>,
    reference: Reference,
    previous: Option<Previous>,
    lambda0: Option<Lambda0>,
    /// θ and mode at λ₀.
    at_lambda0: (Vec<f64>, Mode),
    integral: f64,
    integral_error: f64,
    theta: Vec<f64>,
    dy: Vec<f64>,
    /// Gram matrices formed.
    pub n_grams: u64,
    /// Eigenvalue or singular value decompositions.
    pub n_eigen_solves: u64,
    /// Samples taken and left out.
    pub coverage: Coverage,
}

/// The end of the last step, or the far side of the last event.
#[derive(Debug, Clone, Copy)]
enum Previous {
    /// It is the reference, if there is one.
    Measured(Sample),
    /// Left out, with J this far from the reference.
    Skipped { distance: f64 },
}

/// A step that is followed.
#[derive(Clone, Copy)]
struct Span<'a> {
    /// Its ends, rounded, and its length, which is not.
    t: (f64, f64),
    length: f64,
    mode: &'a Mode,
    dense: &'a dyn DenseOutput,
}

impl Tracker {
    /// A tracker for the flow `field`; `n_targets` is nM over all samples.
    pub fn new(field: &FlowField, n_targets: usize, cadence: Cadence) -> Self {
        let coverage = Coverage { cadence, n_measured: 0, n_skipped: 0, skipped_above: None, integral_room: 0.0 };
        Self {
            coverage,
            reference: Reference::default(),
            inner: field.clone(),
            grams: GramEvaluator::default(),
            n_targets,
            structural_zero: structural_zero(field, n_targets),
            previous: None,
            lambda0: None,
            at_lambda0: (Vec::new(), Mode::default()),
            integral: 0.0,
            integral_error: 0.0,
            theta: vec![0.0; field.dim()],
            dy: vec![0.0; field.dim()],
            n_grams: 0,
            n_eigen_solves: 0,
        }
    }

    /// λ₀ so far.
    pub fn lambda0(&self) -> Option<&Lambda0> {
        self.lambda0.as_ref()
    }

    /// ∫₀ᵗ λ_min up to the last sample, and its estimated error.
    pub fn integral(&self) -> (f64, f64) {
        (self.integral, self.integral_error)
    }

    /// Samples the start of a smooth stretch: the start of the run or the far side of an event.
    ///
    /// # Errors
    /// When the eigenvalues cannot be computed.
    pub fn begin(
        &mut self,
        t: f64,
        field: &FlowField,
        mode: &Mode,
        side: SampleSide,
    ) -> Result<Reading, SpectrumError> {
        if let Some(zero) = self.known_zero(t, side) {
            return Ok(zero);
        }
        self.grams.visit(field);
        if let Some(left_out) = self.skip_begin(field) {
            return Ok(left_out);
        }
        let sample = Sample { t, spectrum: self.measure(field)? };
        self.take(&sample, field, mode, side);
        Ok(Reading::from(&sample))
    }

    /// Goes on from an event at which G is continuous, as when slides do nothing but end: what is known before it holds after it.
    pub fn carry_on(&self) -> Reading {
        match &self.previous {
            Some(Previous::Measured(sample)) => sample.into(),
            _ => Reading { lambda_min: self.is_zero_throughout().then_some(0.0), lambda_max: None },
        }
    }

    /// Samples the end of a step and looks between its ends where λ_min could be lower.
    ///
    /// # Errors
    /// When the eigenvalues cannot be computed.
    pub fn step(&mut self, step: &StepView<'_, FlowField>, side: SampleSide) -> Result<Reading, SpectrumError> {
        let Point { t, field, mode, .. } = step.end;
        let span = Span { t: (step.t_start, t), length: step.length, mode, dense: step.dense };
        if let Some(zero) = self.known_zero(t, side) {
            return Ok(zero);
        }
        self.grams.visit(field);
        if let Some(left_out) = self.skip_step(step.length, field) {
            return Ok(left_out);
        }
        let previous = match self.previous {
            // A step that has to be looked into needs both of its ends.
            Some(Previous::Skipped { .. }) => {
                let start = self.inside(step.t_start, mode, step.dense)?;
                self.grams.keep();
                self.grams.visit(field);
                Some(start)
            }
            Some(Previous::Measured(sample)) => Some(sample),
            None => None,
        };
        let sample = Sample { t, spectrum: self.measure(field)? };
        let sag = sag_of_gram(self.grams.moved());
        self.take(&sample, field, mode, side);
        if let Some(previous) = previous {
            self.between(&previous, &sample, sag, span)?;
        }
        Ok(Reading::from(&sample))
    }

    /// What is known at a time at which nothing is tracked but somebody asks; `field` stands there.
    ///
    /// # Errors
    /// When the eigenvalues cannot be computed.
    pub fn look(&mut self, t: f64, field: &FlowField) -> Result<Reading, SpectrumError> {
        if self.is_zero_throughout() {
            return Ok(Reading { lambda_min: Some(0.0), lambda_max: None });
        }
        self.grams.visit(field);
        Ok(Reading::from(&Sample { t, spectrum: self.measure(field)? }))
    }

    /// Takes in what was measured at the point visited.
    fn take(&mut self, sample: &Sample, field: &FlowField, mode: &Mode, side: SampleSide) {
        self.coverage.n_measured += 1;
        if self.may_skip() {
            self.reference.set(field, &self.grams, &sample.spectrum, self.grams.trace());
        }
        self.grams.keep();
        if self.consider(sample, side) {
            self.keep_place(field.forward().0, mode);
        }
        self.previous = Some(Previous::Measured(*sample));
    }

    fn may_skip(&self) -> bool {
        self.coverage.cadence == Cadence::Adaptive && self.n_targets > ALWAYS_MIDDLE && self.structural_zero.is_none()
    }

    /// Whether Gram matrices are formed at all events that are not certain to matter little.
    pub fn measures(&self) -> bool {
        self.structural_zero.is_none()
    }

    /// Whether λ_min is zero by structure and nobody wants to know more of the spectrum.
    fn is_zero_throughout(&self) -> bool {
        self.coverage.cadence == Cadence::Adaptive && self.structural_zero.is_some()
    }

    /// λ_min = 0 without a look where that is known.
    fn known_zero(&mut self, t: f64, side: SampleSide) -> Option<Reading> {
        if !self.is_zero_throughout() {
            return None;
        }
        self.lambda0.get_or_insert(Lambda0 {
            value: 0.0,
            t,
            side,
            resolution: 0.0,
            error: 0.0,
            is_resolved: false,
            // Of a rank that is not looked at this much is known.
            rank: self.inner.batch().n_outputs().min(self.inner.dim()),
            rank_is_measured: false,
            rank_is_clear: true,
            n_targets: self.n_targets,
            touches_zero: false,
            structural_zero: self.structural_zero,
        });
        self.leave_out(0.0);
        Some(Reading { lambda_min: Some(0.0), lambda_max: None })
    }

    /// Leaves the point visited out where it cannot be lower than λ₀ and σ_min is known closely.
    fn skip_begin(&mut self, field: &FlowField) -> Option<Reading> {
        if !self.may_skip() {
            return None;
        }
        let distance = self.reference.distance(field, &self.grams);
        let here = self.reference.enclosure(distance);
        let is_certain = here.lowest() >= self.best() && here.width() <= INTEGRAL_SHARE * here.lowest();
        is_certain.then(|| self.skip(distance, here))
    }

    /// Leaves the end of a step out, which is the point visited, where λ_min cannot have been lower than λ₀ since its start; ∫λ_min then
    /// takes the lower bound.
    fn skip_step(&mut self, length: f64, field: &FlowField) -> Option<Reading> {
        if !self.may_skip() {
            return None;
        }
        let from = match self.previous? {
            Previous::Measured(_) => 0.0,
            Previous::Skipped { distance } => distance,
        };
        let distance = self.reference.distance(field, &self.grams);
        let sag = self.reference.sag((from, distance));
        let (a, b) = (self.reference.enclosure(from + sag), self.reference.enclosure(distance + sag));
        let (lower, upper) = integrals(length, a, b);
        let room = self.coverage.integral_room + (upper - lower);
        let is_certain = a.lowest().min(b.lowest()) >= self.best() && room <= INTEGRAL_SHARE * (self.integral + lower);
        is_certain.then(|| {
            self.integral += lower;
            self.coverage.integral_room = room;
            self.skip(distance, self.reference.enclosure(distance))
        })
    }

    fn skip(&mut self, distance: f64, here: Enclosure) -> Reading {
        self.leave_out(here.lowest());
        self.previous = Some(Previous::Skipped { distance });
        Reading::default()
    }

    fn leave_out(&mut self, lowest: f64) {
        self.coverage.n_skipped += 1;
        self.coverage.skipped_above = Some(self.coverage.skipped_above.map_or(lowest, |l| l.min(lowest)));
    }

    fn between(&mut self, a: &Sample, b: &Sample, sag: f64, span: Span<'_>) -> Result<(), SpectrumError> {
        let Span { t: (t_start, t_end), length: h, mode, dense } = span;
        let (low_a, low_b) = (a.spectrum.lambda_min, b.spectrum.lambda_min);
        let best = self.best();
        let floor = low_a.min(low_b) - sag;
        let is_settled = self.structural_zero.is_some() || self.is_at_rounding();
        let t_middle = 0.5 * (t_start + t_end);
        // λ_min at a time, where that is rounded to the last digit of t; and both ends to their resolution.
        let change = (low_a - low_b).abs();
        let rounding = change * (f64::EPSILON * t_end).min(h) + h * a.spectrum.resolution.max(b.spectrum.resolution);
        // Next to the best sample so far the minimum itself may lie inside, wherever the middle is.
        let is_next_to_best = low_a.min(low_b) <= best * (1.0 + NEXT_TO_BEST);
        let look_inside = h > 0.0
            && !is_settled
            && (self.n_targets <= ALWAYS_MIDDLE
                || (floor < best && (is_next_to_best || self.could_be_lower(t_middle, best, mode, dense)?)));
        if !look_inside {
            self.integral += 0.5 * h * (low_a + low_b);
            // |λ_min″| h³/12 is not known; the change over the step bounds the trapezoid's error for a monotone λ_min.
            self.integral_error += 0.5 * h * change + rounding;
            return Ok(());
        }
        let middle = self.inside(t_middle, mode, dense)?;
        let low_m = middle.spectrum.lambda_min;
        let (trapezoid, simpson) = (0.5 * h * (low_a + low_b), h / 6.0 * (low_a + 4.0 * low_m + low_b));
        self.integral += simpson;
        // The error of the lower of the two orders.
        self.integral_error += (simpson - trapezoid).abs() + rounding;
        self.consider_inside(&middle, mode);
        if low_m <= low_a.min(low_b) {
            return self.follow_minimum((t_start, t_end), middle, mode, dense);
        }
        // A minimum between the middle and a lower end shows in the slope at that end. It is measured where the parabola through
        // the three samples flattens towards the end; far from a minimum λ_min is nearly straight.
        let (before, after) = (low_m - low_a, low_b - low_m);
        if before > 0.0 && 3.0 * before - after < before {
            self.follow_from_end(a, &middle, mode, dense)?;
        }
        if after < 0.0 && 3.0 * after - before > after {
            self.follow_from_end(b, &middle, mode, dense)?;
        }
        Ok(())
    }

    /// Follows the minimum between `end` and `middle` if λ_min falls from `end` towards `middle`.
    fn follow_from_end(
        &mut self,
        end: &Sample,
        middle: &Sample,
        mode: &Mode,
        dense: &dyn DenseOutput,
    ) -> Result<(), SpectrumError> {
        let span = middle.t - end.t;
        let mut near = self.inside(end.t + END_SLOPE[0] * span, mode, dense)?;
        let fall = |near: &Sample| end.spectrum.lambda_min - near.spectrum.lambda_min;
        if fall(&near).abs() <= end.spectrum.resolution {
            near = self.inside(end.t + END_SLOPE[1] * span, mode, dense)?;
        }
        if fall(&near) <= end.spectrum.resolution {
            return Ok(());
        }
        self.consider_inside(&near, mode);
        let start = self.inside(end.t + GOLDEN * span, mode, dense)?;
        self.consider_inside(&start, mode);
        self.follow_minimum((end.t.min(middle.t), end.t.max(middle.t)), start, mode, dense)
    }

    /// Golden-section search with parabolic steps (Brent 1973, ch. 5) for a minimum in `within`, from `start` inside it.
    fn follow_minimum(
        &mut self,
        within: (f64, f64),
        start: Sample,
        mode: &Mode,
        dense: &dyn DenseOutput,
    ) -> Result<(), SpectrumError> {
        let (mut low, mut high) = within;
        let span = high - low;
        let value = |s: &Sample| s.spectrum.lambda_min;
        let (mut x, mut w, mut v) = (start, start, start);
        let (mut step, mut last): (f64, f64) = (0.0, 0.0);
        for _ in 0..60 {
            let centre = 0.5 * (low + high);
            // λ_min is flat at its minimum, so √ε of the step is as far as t can be told.
            let tol = 2e-9 * span + 1e-16 * x.t;
            if (x.t - centre).abs() <= 2.0 * tol - 0.5 * (high - low) {
                break;
            }
            let mut golden = true;
            if last.abs() > tol {
                let r = (x.t - w.t) * (value(&x) - value(&v));
                let q = (x.t - v.t) * (value(&x) - value(&w));
                let (mut p, mut q) = ((x.t - v.t) * q - (x.t - w.t) * r, 2.0 * (q - r));
                if q > 0.0 {
                    p = -p
                } else {
                    q = -q
                }
                if p.abs() < (0.5 * q * last).abs() && p > q * (low - x.t) && p < q * (high - x.t) {
                    last = step;
                    step = p / q;
                    golden = false;
                }
            }
            if golden {
                last = if x.t < centre { high - x.t } else { low - x.t };
                step = GOLDEN * last;
            }
            let t = if step.abs() >= tol { x.t + step } else { x.t + tol.copysign(step) };
            let u = self.inside(t, mode, dense)?;
            self.consider_inside(&u, mode);
            let gain = (value(&u) - value(&x)).abs();
            if value(&u) <= value(&x) {
                if u.t >= x.t {
                    low = x.t
                } else {
                    high = x.t
                }
                (v, w, x) = (w, x, u);
            } else {
                if u.t < x.t {
                    low = u.t
                } else {
                    high = u.t
                }
                if value(&u) <= value(&w) || w.t == x.t {
                    (v, w) = (w, u);
                } else if value(&u) <= value(&v) || v.t == x.t || v.t == w.t {
                    v = u;
                }
            }
            let is_stable = gain <= STABLE * value(&x) && high - low < 1e-3 * span;
            if is_stable || x.spectrum.lambda_min <= x.spectrum.resolution {
                break;
            }
        }
        // An eigenvalue that touches zero is caught at a small positive value, no smaller than its neighbours allow to tell.
        let blur = (value(&w).max(value(&v)) - value(&x)).max(0.0);
        if let Some(lowest) = self.lambda0.as_mut().filter(|l| l.t == x.t && l.is_resolved && l.value <= blur) {
            lowest.is_resolved = false;
            lowest.touches_zero = true;
            lowest.resolution = lowest.resolution.max(blur);
        }
        Ok(())
    }

    /// λ_min at a time inside the current step.
    ///
    /// # Errors
    /// When the eigenvalues cannot be computed.
    pub fn inside(&mut self, t: f64, mode: &Mode, dense: &dyn DenseOutput) -> Result<Sample, SpectrumError> {
        dense.at(t, &mut self.theta);
        self.inner.eval(&self.theta, mode, &mut self.dy).map_err(|_| SpectrumError)?;
        self.grams.visit(&self.inner);
        self.n_grams += 1;
        self.n_eigen_solves += 1;
        let (thorough, best) = (!self.is_at_rounding(), self.best());
        Ok(Sample { t, spectrum: spectrum_here(&self.inner, self.n_targets, &mut self.grams, thorough, best)? })
    }

    /// Whether λ_min may be below `best` at a time inside the current step: one Cholesky factor of G − best·I says no.
    fn could_be_lower(
        &mut self,
        t: f64,
        best: f64,
        mode: &Mode,
        dense: &dyn DenseOutput,
    ) -> Result<bool, SpectrumError> {
        dense.at(t, &mut self.theta);
        self.inner.eval(&self.theta, mode, &mut self.dy).map_err(|_| SpectrumError)?;
        self.n_grams += 1;
        let (gram, extremes) = self.grams.lower(&self.inner);
        Ok(!extremes.are_above(gram, best))
    }

    /// The spectrum at the point visited, the field's last evaluation.
    fn measure(&mut self, field: &FlowField) -> Result<Spectrum, SpectrumError> {
        self.n_grams += 1;
        self.n_eigen_solves += 1;
        let (thorough, best) = (!self.is_at_rounding(), self.best());
        spectrum_here(field, self.n_targets, &mut self.grams, thorough, best)
    }

    /// Once λ₀ is known to be zero to rounding, closer looks at λ_min cannot change any verdict.
    fn is_at_rounding(&self) -> bool {
        self.lambda0.is_some_and(|l| !l.is_resolved)
    }

    /// λ₀ so far, ∞ at first.
    fn best(&self) -> f64 {
        self.lambda0.map_or(f64::INFINITY, |l| l.value)
    }

    /// Takes in what was found [inside](Self::inside) a step just now.
    fn consider_inside(&mut self, sample: &Sample, mode: &Mode) {
        if self.consider(sample, SampleSide::Smooth) {
            let theta = std::mem::take(&mut self.theta);
            self.keep_place(&theta, mode);
            self.theta = theta;
        }
    }

    fn keep_place(&mut self, theta: &[f64], mode: &Mode) {
        self.at_lambda0.0.clear();
        self.at_lambda0.0.extend_from_slice(theta);
        self.at_lambda0.1.clone_from(mode);
    }

    /// How fast λ_min changes with θ where it was lowest, at most, with the θ there; `None` where it is not above rounding.
    pub fn sensitivity(&mut self) -> Option<(f64, &[f64])> {
        let lambda0 = self.lambda0.filter(|l| l.is_resolved)?;
        let (theta, mode) = &self.at_lambda0;
        let slope = slope_of_lambda_min(&mut self.inner, theta, mode, lambda0.value, &mut self.grams)?;
        Some((slope, theta))
    }

    /// Notes the error of λ₀ that the errors of the run make.
    pub fn set_error(&mut self, error: f64) {
        if let Some(lambda0) = &mut self.lambda0 {
            lambda0.error = error;
        }
    }

    /// Says whether λ₀ is here from now on.
    fn consider(&mut self, sample: &Sample, side: SampleSide) -> bool {
        let s = &sample.spectrum;
        let is_lower = match &self.lambda0 {
            None => true,
            Some(best) => best.is_resolved && s.lambda_min < best.value,
        };
        if is_lower {
            self.lambda0 = Some(Lambda0 {
                value: s.lambda_min,
                t: sample.t,
                side,
                resolution: s.resolution,
                error: 0.0,
                is_resolved: s.is_resolved(),
                rank: s.rank,
                rank_is_measured: true,
                rank_is_clear: s.rank_is_clear,
                n_targets: self.n_targets,
                touches_zero: false,
                structural_zero: self.structural_zero,
            });
        }
        is_lower
    }
}

/// Estimate of how far G strays from the straight line between two matrices, from the squares of how much it moved and of its size.
fn sag_of_gram((moved, size): (f64, f64)) -> f64 {
    if size > 0.0 { SAG * moved / size.sqrt() } else { f64::INFINITY }
}
