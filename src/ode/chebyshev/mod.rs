//! Stabilised explicit methods: Runge–Kutta–Chebyshev steps whose stages are spent on stability.
//!
//! A real stability interval of length ℓ takes about √ℓ stages instead of a number proportional to ℓ, so that decay at rate λ costs √(hλ) evaluations per
//! step and no memory beyond a few vectors. The coefficients come from `rkc2` and `rock4`; before each step the loop tells the decay
//! rate ([`Outlook`]), and an attempt takes as few stages as its length allows. Without an estimate it takes the fewest there are.
//!
//! What is stiff follows the slow motion. The stages of RKC follow it, too, and its end lies on it; those of ROCK4 are only of order one each, so that its end
//! is off by a few times h²y″ (hλ)²/10³, which its estimate sees. On a long stiff tail with kinks RKC is therefore the better one at any tolerance, and ROCK4 where
//! the tolerance is tight and hλ moderate.

mod rkc2;
mod rock4;
mod scheme;
#[cfg(test)]
mod tests;

use super::combine::{Terms, combine};
use super::field::{NonFinite, PiecewiseField};
use super::integrate::STABILITY_SHARE;
use super::norm::Weights;
use super::stepper::{Interpolant, Outlook, Start, Stepper, Work};
use crate::vector::{all_finite, dot};
use scheme::{Scheme, Stage};

/// A rejected attempt raises the decay rate that the next ones provide for by this factor, in all at most by [`MOST_CAUTION`]; each step
/// lowers it again by [`RELAXATION`]. So an estimate that is too low costs a few attempts and not the run.
const CAUTION: f64 = 1.3;
const MOST_CAUTION: f64 = 4.0;
const RELAXATION: f64 = 0.97;

/// Which coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Rkc2,
    Rock4,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::Rkc2 => "Rkc2",
            Self::Rock4 => "Rock4",
        }
    }

    fn fewest_stages(self) -> usize {
        match self {
            Self::Rkc2 => rkc2::FEWEST,
            Self::Rock4 => rock4::FEWEST,
        }
    }

    fn interval(self, n_stages: usize) -> f64 {
        match self {
            Self::Rkc2 => rkc2::interval(n_stages),
            Self::Rock4 => rock4::interval(n_stages),
        }
    }

    fn scheme(self, n_stages: usize) -> Scheme {
        match self {
            Self::Rkc2 => rkc2::scheme(n_stages),
            Self::Rock4 => rock4::scheme(n_stages),
        }
    }
}

/// The stepper; it holds ten vectors of the length of the state, and the coefficients for every number of stages that was needed.
#[derive(Debug)]
pub struct Chebyshev {
    family: Family,
    most_stages: usize,
    /// By number of stages.
    schemes: Vec<Option<Scheme>>,
    /// Largest decay rate, as told.
    decay: Option<f64>,
    /// Factor on it, ≥ 1.
    caution: f64,
    /// g_{j−2}, g_{j−1}, g_j.
    states: [Vec<f64>; 3],
    /// The slope of the recurrence; then those of the last stages.
    slopes: [Vec<f64>; 4],
    error: Vec<f64>,
    dense: Hermite,
    work: Work,
}

impl Chebyshev {
    /// Runge–Kutta–Chebyshev of order 2, for states of length `dim` and relative tolerance `rtol`, which limits the number of stages.
    pub fn rkc2(dim: usize, rtol: f64) -> Self {
        Self::new(Family::Rkc2, rkc2::most_stages(rtol), dim)
    }

    /// ROCK of order 4, for states of length `dim` and relative tolerance `rtol`, which limits the number of stages: 29 at 1e−6, 16 at 1e−8.
    pub fn rock4(dim: usize, rtol: f64) -> Self {
        Self::new(Family::Rock4, rock4::most_stages(rtol), dim)
    }

    fn new(family: Family, most_stages: usize, dim: usize) -> Self {
        let vector = || vec![0.0; dim];
        Self {
            family,
            most_stages,
            schemes: vec![None; most_stages + 1],
            decay: None,
            caution: 1.0,
            states: std::array::from_fn(|_| vector()),
            slopes: std::array::from_fn(|_| vector()),
            error: vector(),
            dense: Hermite { h: 0.0, end: vector(), end_field: vector(), dissipated: 0.0 },
            work: Work::default(),
        }
    }

    /// Fewest stages whose stability interval holds a step of length `h`, or the most there are.
    fn n_stages(&self, h: f64) -> usize {
        let needed = h * self.decay.unwrap_or(0.0) * self.caution / STABILITY_SHARE;
        let mut counts = self.family.fewest_stages()..self.most_stages;
        counts.find(|&n_stages| self.family.interval(n_stages) >= needed).unwrap_or(self.most_stages)
    }

    fn grow_caution(&mut self) {
        self.caution = (CAUTION * self.caution).min(MOST_CAUTION);
    }

    fn not_finite(&self, what: &str) -> NonFinite {
        NonFinite { what: format!("{what} of {} (step {:.3e})", self.family.name(), self.dense.h) }
    }

    /// Runs the recurrence; leaves its end in the second of the states. Returns ∫‖dy‖² as the recurrence sees it.
    fn run<F: PiecewiseField>(&mut self, field: &mut F, start: Start<'_>, stages: &[Stage]) -> Result<f64, NonFinite> {
        let h = self.dense.h;
        let first_square = dot(start.dy, start.dy);
        let (mut square, mut energy_before, mut energy) = (first_square, 0.0, 0.0);
        self.states[1].copy_from_slice(start.y);
        for (j, stage) in stages.iter().enumerate() {
            if j > 0 {
                self.work.evaluations += 1;
                field.eval(&self.states[1], start.mode, &mut self.slopes[0])?;
                square = dot(&self.slopes[0], &self.slopes[0]);
            }
            let [before, last, next] = &mut self.states;
            let slope = if j == 0 { start.dy } else { &self.slopes[0][..] };
            let mut terms = Terms::empty();
            terms.push(stage.last, last);
            for (weight, vector) in [
                (stage.before, &before[..]),
                (stage.first, start.y),
                (h * stage.slope, slope),
                (h * stage.first_slope, start.dy),
            ] {
                if weight != 0.0 {
                    terms.push(weight, vector);
                }
            }
            if !combine(next, None, &terms) {
                return Err(self.not_finite(&format!("the state at stage {}", j + 1)));
            }
            self.states.rotate_left(1);
            let gained = h * (stage.slope * square + stage.first_slope * first_square);
            (energy_before, energy) = (energy, stage.last * energy + stage.before * energy_before + gained);
        }
        Ok(energy)
    }

    /// Runs the last stages from where the recurrence ended; leaves the end of the step. Returns their part of ∫‖dy‖².
    fn finish<F: PiecewiseField>(
        &mut self,
        field: &mut F,
        start: Start<'_>,
        finish: &scheme::Finish,
    ) -> Result<f64, NonFinite> {
        let h = self.dense.h;
        let [_, from, at] = &mut self.states;
        self.work.evaluations += 1;
        field.eval(from, start.mode, &mut self.slopes[0])?;
        for (i, row) in finish.rows.iter().enumerate() {
            let (known, next) = self.slopes.split_at_mut(i + 1);
            if !combine(at, Some(from), &Terms::new(h, row, &known[0], &known[1..])) {
                return Err(self.not_finite(&format!("the state at stage {} of the last four", i + 2)));
            }
            self.work.evaluations += 1;
            field.eval(at, start.mode, &mut next[0])?;
        }
        let [first, rest @ ..] = &self.slopes;
        if !combine(&mut self.dense.end, Some(from), &Terms::new(h, &finish.weights, first, rest)) {
            return Err(self.not_finite("the state at the end"));
        }
        Ok(h * finish.weights.iter().zip(&self.slopes).map(|(b, k)| b * dot(k, k)).sum::<f64>())
    }

    fn step<F: PiecewiseField>(&mut self, field: &mut F, start: Start<'_>, scheme: &Scheme) -> Result<(), NonFinite> {
        let h = self.dense.h;
        self.dense.dissipated = self.run(field, start, &scheme.stages)?;
        match &scheme.finish {
            Some(finish) => self.dense.dissipated += self.finish(field, start, finish)?,
            None => std::mem::swap(&mut self.dense.end, &mut self.states[1]),
        }
        self.work.evaluations += 1;
        field.eval(&self.dense.end, start.mode, &mut self.dense.end_field)?;
        if !all_finite(&self.dense.end_field) {
            return Err(self.not_finite("the field at the end"));
        }
        let Hermite { end, end_field, .. } = &self.dense;
        let mut terms = Terms::empty();
        match &scheme.finish {
            Some(finish) => {
                let slopes = self.slopes.iter().chain([end_field]);
                finish.error.iter().zip(slopes).for_each(|(weight, slope)| terms.push(h * weight, slope));
            }
            None => {
                let (of_state, of_slope) = rkc2::ERROR;
                terms.push(of_state, start.y);
                terms.push(-of_state, end);
                terms.push(h * of_slope, start.dy);
                terms.push(h * of_slope, end_field);
            }
        }
        combine(&mut self.error, None, &terms);
        Ok(())
    }
}

impl<F: PiecewiseField> Stepper<F> for Chebyshev {
    fn name(&self) -> &'static str {
        self.family.name()
    }

    fn order(&self) -> u32 {
        match self.family {
            Family::Rkc2 => 2,
            Family::Rock4 => 4,
        }
    }

    fn error_exponent(&self) -> u32 {
        match self.family {
            Family::Rkc2 => 3,
            Family::Rock4 => 4,
        }
    }

    /// With the most stages.
    fn stability_interval(&self) -> Option<f64> {
        Some(self.family.interval(self.most_stages))
    }

    fn choose(&mut self, outlook: &Outlook) {
        self.decay = outlook.decay;
        self.caution = (RELAXATION * self.caution).max(1.0);
    }

    fn is_for_stiff(&self) -> bool {
        true
    }

    fn attempt(&mut self, field: &mut F, start: Start<'_>, h: f64) -> Result<f64, NonFinite> {
        self.dense.h = h;
        let n_stages = self.n_stages(h);
        let scheme = self.schemes[n_stages].take().unwrap_or_else(|| self.family.scheme(n_stages));
        let taken = self.step(field, start, &scheme);
        self.schemes[n_stages] = Some(scheme);
        if taken.is_err() {
            self.grow_caution();
        }
        taken.map(|()| h)
    }

    fn end(&self) -> &[f64] {
        &self.dense.end
    }

    fn end_field(&self) -> &[f64] {
        &self.dense.end_field
    }

    fn error(&self, norm: &Weights<'_>, start: Start<'_>) -> f64 {
        norm.of(&self.error, start.y, &self.dense.end)
    }

    fn retries(&mut self, _: f64, _: f64) -> bool {
        self.grow_caution();
        false
    }

    fn work(&self) -> Work {
        self.work
    }
}

impl Interpolant for Chebyshev {
    fn interpolate(&self, start: Start<'_>, x: f64, out: &mut [f64]) {
        self.dense.interpolate(start, x, out);
    }

    fn dissipation(&self, start: Start<'_>, x: f64) -> Option<f64> {
        self.dense.dissipation(start, x)
    }

    fn detached(&self) -> Box<dyn Interpolant + Send> {
        self.dense.detached()
    }
}

/// Cubic Hermite interpolation between both ends of a step. Its error is of the order of what the error control of either method watches,
/// h⁴ for ROCK4 and h³ for RKC, and it needs no stage, of which the stiff ones are no solutions to the same order.
#[derive(Debug, Clone)]
struct Hermite {
    h: f64,
    end: Vec<f64>,
    end_field: Vec<f64>,
    /// ∫‖dy‖² over the whole step.
    dissipated: f64,
}

impl Interpolant for Hermite {
    fn interpolate(&self, start: Start<'_>, x: f64, out: &mut [f64]) {
        // The ends are copied, because the sum below only reaches them to rounding.
        if x == 0.0 {
            return out.copy_from_slice(start.y);
        }
        if x == 1.0 {
            return out.copy_from_slice(&self.end);
        }
        combine(out, Some(start.y), &Terms::hermite(self.h, x, start, (&self.end, &self.end_field)));
    }

    fn dissipation(&self, start: Start<'_>, x: f64) -> Option<f64> {
        let (first, last) = (dot(start.dy, start.dy), dot(&self.end_field, &self.end_field));
        let u = 1.0 - x;
        let slopes = self.h * x * u * (u * first - x * last);
        Some(slopes + x * x * (3.0 - 2.0 * x) * self.dissipated)
    }

    fn detached(&self) -> Box<dyn Interpolant + Send> {
        Box::new(self.clone())
    }
}
