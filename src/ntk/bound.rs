//! Verdicts on ‖y − F_t‖ ≤ e^{−λ₀t}‖y − F_0‖ (Theorem 3.1 of Jakhmola, arXiv:2509.23887) and on its sharper integral form
//! ‖y − F_t‖ ≤ exp(−∫₀ᵗ λ_min)‖y − F_0‖.
//!
//! With λ₀ taken from the same run the bound holds by construction (Grönwall): it tests the simulation, not the theorem.

use super::estimate::Estimate;
use super::spectrum::ZeroReason;
use super::track::Lambda0;

/// Relative excess over the bound that rounding and quadrature may cause.
pub const RATIO_TOL: f64 = 1e-6;

/// A verdict on a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The bound says something and is kept.
    Holds,
    /// It is broken beyond what the tolerances explain.
    Violated,
    /// λ₀ = 0: the bound says nothing beyond ‖r_t‖ ≤ ‖r_0‖.
    Vacuous,
    /// λ₀ is below what can be resolved, or was not computed.
    Unresolved,
}

impl Verdict {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::Vacuous => "vacuous",
            Self::Unresolved => "unresolved",
        }
    }
}

/// What the verdicts need to know of one row of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BoundSample {
    /// Time.
    pub t: f64,
    /// ‖r_t‖.
    pub residual_norm: f64,
    /// ∫₀ᵗ λ_min, and its estimated error so far.
    pub integral: f64,
    /// Estimated error of `integral`.
    pub integral_error: f64,
    /// |L(s) − L(t) − ∫‖∇L‖²| over the step from s that ends here.
    pub defect: f64,
    /// The largest error of r that the tolerances allow this step.
    pub jump: f64,
}

/// Collects what the verdicts need along a run.
#[derive(Debug, Clone, Default)]
pub struct BoundCheck {
    residual_initial: f64,
    samples: Vec<BoundSample>,
}

/// The verdicts.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundReport {
    /// On the λ₀ bound.
    pub verdict: Verdict,
    /// Largest ‖r_t‖ / (e^{−λ₀t}‖r_0‖) over t > 0.
    pub worst_ratio: Option<f64>,
    /// Where.
    pub worst_t: Option<f64>,
    /// The reason in words.
    pub reason: String,
    /// On the integral bound.
    pub integral_verdict: Verdict,
    /// Largest ‖r_t‖ / (exp(−∫λ_min)‖r_0‖) over t > 0.
    pub integral_worst_ratio: Option<f64>,
    /// The reason in words.
    pub integral_reason: String,
}

impl BoundReport {
    /// The report where the theory makes no claim.
    pub fn without_claim(reason: &str) -> Self {
        Self::nothing(Verdict::Vacuous, reason)
    }

    fn nothing(verdict: Verdict, reason: &str) -> Self {
        Self {
            verdict,
            worst_ratio: None,
            worst_t: None,
            reason: reason.to_owned(),
            integral_verdict: verdict,
            integral_worst_ratio: None,
            integral_reason: reason.to_owned(),
        }
    }
}

impl BoundCheck {
    /// Records a row; the first is the start.
    pub fn record(&mut self, sample: BoundSample) {
        if self.samples.is_empty() {
            self.residual_initial = sample.residual_norm;
        }
        self.samples.push(sample);
    }

    /// The same rows with other residuals.
    pub fn with_residuals(&self, residuals: impl Iterator<Item = f64>) -> Self {
        let mut changed = Self::default();
        let samples = self.samples.iter().zip(residuals);
        samples.for_each(|(sample, residual_norm)| changed.record(BoundSample { residual_norm, ..*sample }));
        changed
    }

    /// The largest ‖r‖ of the run where a flow has at most `bound`, if no error of the run ever decays.
    pub fn around(&self, bound: f64) -> f64 {
        let mut error = ResidualError::default();
        self.samples.iter().for_each(|sample| error.advance(0.0, sample.defect, sample.jump));
        error.around(bound)
    }

    /// The verdicts, given λ₀ (`None` when λ_min was not tracked), by how much ∫λ_min may be larger than recorded, and the run's relative
    /// tolerance.
    pub fn report(&self, lambda0: Option<&Lambda0>, integral_room: f64, rtol: f64) -> BoundReport {
        let Some(lambda0) = lambda0 else {
            return BoundReport::nothing(Verdict::Unresolved, "λ_min was not tracked");
        };
        // t is a sum of lengths, each rounded to the last digit of t.
        let rounding_of_t = f64::EPSILON * self.samples.len() as f64;
        let known_to = lambda0.resolution + rounding_of_t * lambda0.value;
        let constant = self.worst(rtol, |s| (lambda0.value * s.t, known_to * s.t));
        let integral = self.worst(rtol, |s| (s.integral, s.integral_error));
        let (verdict, reason) = self.judge(&constant, lambda0, lambda0.value);
        let total = self.samples.last().map_or(0.0, |s| s.integral);
        // λ_min of a singular G is rounding, and so is its integral: that bound says as little as λ₀ = 0.
        let rounding = self.samples.last().map_or(0.0, |s| s.t * lambda0.resolution);
        let (integral_verdict, integral_reason) = if total > rounding {
            let upper = total + integral_room;
            let range = if integral_room > 0.0 { format!(" to {upper:.6e}") } else { String::new() };
            judge_ratio(&integral, &format!("∫λ_min = {total:.6e}{range}"))
        } else {
            self.judge(&integral, lambda0, total)
        };
        BoundReport {
            verdict,
            worst_ratio: constant.ratio,
            worst_t: constant.t,
            reason,
            integral_verdict,
            integral_worst_ratio: integral.ratio,
            integral_reason,
        }
    }

    /// The report where λ₀ is only known to be no larger than an estimate: no verdict, and how the residual does against the stronger bound
    /// that the estimate would give.
    pub fn report_at_most(&self, lowest: &Estimate, rtol: f64) -> BoundReport {
        let at_most = lowest.lambda_min_at_most;
        let worst = self.worst(rtol, |s| (at_most * s.t, 0.0));
        let against = match (worst.ratio, worst.excess.is_some() || worst.explained.is_some()) {
            (Some(ratio), false) => {
                format!("the residual keeps to the bound for that value, reaching {ratio:.9} of it")
            }
            (Some(ratio), true) => format!("the residual exceeds the bound for that value by a factor {ratio:.9}"),
            (None, _) => "the run has no positive time".to_owned(),
        };
        let reason = format!("λ₀ is at most {at_most:.6e} (an estimate), and may be 0: {against}");
        BoundReport {
            reason,
            ..BoundReport::nothing(Verdict::Unresolved, "∫λ_min is not known where λ_min is estimated at a few times")
        }
    }

    /// Compares the residuals with e^{−exponent}‖r_0‖; `decay` gives the exponent of a row and the error of that.
    fn worst(&self, rtol: f64, decay: impl Fn(&BoundSample) -> (f64, f64)) -> Worst {
        let mut worst = Worst::default();
        let room = kept_to(rtol) * self.residual_initial;
        let mut error = ResidualError::default();
        let mut before = 0.0;
        for sample in &self.samples {
            let (exponent, uncertainty) = decay(sample);
            error.advance(exponent - before, sample.defect, sample.jump);
            before = exponent;
            if sample.t <= 0.0 {
                continue;
            }
            let residual = sample.residual_norm;
            let bound = (-exponent).exp() * self.residual_initial;
            let ratio = if residual == 0.0 { 0.0 } else { residual / bound };
            if worst.ratio.is_none_or(|r| ratio > r) {
                (worst.ratio, worst.t) = (Some(ratio), Some(sample.t));
            }
            if residual <= bound * (1.0 + RATIO_TOL) + room {
                continue;
            }
            let allowed = error.around(bound * uncertainty.exp()) * (1.0 + RATIO_TOL) + room;
            let which = if residual <= allowed { &mut worst.explained } else { &mut worst.excess };
            if which.is_none_or(|(r, ..)| ratio > r) {
                *which = Some((ratio, sample.t, allowed / bound));
            }
        }
        worst
    }

    fn judge(&self, worst: &Worst, lambda0: &Lambda0, value: f64) -> (Verdict, String) {
        if let Some(reason) = lambda0.structural_zero {
            let why = match reason {
                ZeroReason::TooFewParameters => "there are fewer parameters than targets (P < nM), so G is singular",
                ZeroReason::DuplicateInputs => "some samples share an input, so G is singular",
            };
            return (Verdict::Vacuous, format!("λ₀ = 0: {why}"));
        }
        if lambda0.is_resolved {
            return judge_ratio(worst, &format!("λ₀ = {value:.6e}"));
        }
        let (rank, n) = (lambda0.rank, lambda0.n_targets);
        let at = lambda0.t;
        if lambda0.touches_zero {
            let reason = format!("λ₀ = 0: λ_min touches zero at t = {at}, to the resolution of time");
            return (Verdict::Vacuous, reason);
        }
        if lambda0.rank_is_clear {
            let reason = format!("λ₀ = 0 to rounding: G has numerical rank {rank} of {n} at t = {at}");
            (Verdict::Vacuous, reason)
        } else {
            let (value, resolution) = (lambda0.value, lambda0.resolution);
            let reason = format!(
                "λ₀ = {value:.3e} at t = {at} is not above its resolution {resolution:.3e}; \
                 the spectrum of G runs into rounding without a gap (numerical rank {rank} of {n})"
            );
            (Verdict::Unresolved, reason)
        }
    }
}

/// Part of ‖r_0‖ up to which a residual may be above a bound that counts as kept: what a run reaches, and at most one part in a million.
pub fn kept_to(rtol: f64) -> f64 {
    (100.0 * rtol).min(RATIO_TOL)
}

/// How far the residual of a run may be above that of a flow that decays as it should, because of the errors of its steps.
///
/// Between two of them the residual falls at least as the bound does, and so do the errors made before: see `docs/mathematics.md`, section 7.
#[derive(Debug, Clone, Copy, Default)]
struct ResidualError {
    /// Of ‖r‖², by the energy that the steps have lost or gained.
    squared: f64,
    /// Of ‖r‖, by what the tolerances allow.
    jumps: f64,
}

impl ResidualError {
    /// Over a step in which the bound falls by e^{−exponent}.
    fn advance(&mut self, exponent: f64, defect: f64, jump: f64) {
        let left = (-exponent).exp().min(1.0);
        // L = ½‖r‖².
        self.squared = self.squared * left * left + 2.0 * defect;
        self.jumps = self.jumps * left + jump;
    }

    /// The largest ‖r‖ where the flow without errors has at most `bound`.
    fn around(&self, bound: f64) -> f64 {
        bound.hypot(self.squared.sqrt()) + self.jumps
    }
}

#[derive(Debug, Default)]
struct Worst {
    ratio: Option<f64>,
    t: Option<f64>,
    /// The largest ratio beyond what errors explain, where, and what they would explain.
    excess: Option<(f64, f64, f64)>,
    /// The same within it.
    explained: Option<(f64, f64, f64)>,
}

fn judge_ratio(worst: &Worst, what: &str) -> (Verdict, String) {
    match (worst.excess, worst.explained, worst.ratio, worst.t) {
        (Some((ratio, t, _)), ..) => {
            (Verdict::Violated, format!("{what}: the residual exceeds the bound by a factor {ratio:.9} at t = {t}"))
        }
        (None, Some((ratio, t, allowed)), ..) => {
            let reason = format!(
                "{what}: the residual exceeds the bound by a factor {ratio:.9} at t = {t}, and the errors of the run explain up to {allowed:.6}"
            );
            (Verdict::Unresolved, reason)
        }
        (None, None, Some(ratio), Some(t)) => {
            (Verdict::Holds, format!("{what}: the residual reaches at most {ratio:.9} of the bound (t = {t})"))
        }
        _ => (Verdict::Holds, format!("{what}: the run has no positive time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lambda0(value: f64) -> Lambda0 {
        Lambda0 {
            value,
            t: 0.0,
            side: crate::ntk::SampleSide::Smooth,
            resolution: 0.0,
            error: 0.0,
            is_resolved: true,
            rank: 1,
            rank_is_measured: true,
            rank_is_clear: true,
            n_targets: 1,
            touches_zero: false,
            structural_zero: None,
        }
    }

    /// ‖r‖ = e^{−t}(1 + excess), in ten steps of length 1, each with a defect and a jump.
    fn verdict(excess: f64, defect: f64, jump: f64) -> Verdict {
        let mut check = BoundCheck::default();
        for k in 0..=10 {
            let t = f64::from(k);
            let residual_norm = (-t).exp() * if k == 0 { 1.0 } else { 1.0 + excess };
            let (defect, jump) = if k == 0 { (0.0, 0.0) } else { (defect, jump) };
            check.record(BoundSample { t, residual_norm, integral: t, integral_error: 0.0, defect, jump });
        }
        let report = check.report(Some(&lambda0(1.0)), 0.0, 1e-8);
        assert_eq!(report.verdict, report.integral_verdict);
        report.verdict
    }

    #[test]
    fn an_excess_that_the_errors_of_the_run_explain_is_unresolved_and_a_larger_one_violated() {
        assert_eq!(verdict(0.0, 0.0, 0.0), Verdict::Holds);
        assert_eq!(verdict(1e-3, 0.0, 0.0), Verdict::Violated);
        assert_eq!(verdict(1e-3, 0.0, 1e-3), Verdict::Unresolved);
        // A tenth of it at the first step, where errors have not added up yet.
        assert_eq!(verdict(1e-3, 0.0, 1e-5), Verdict::Violated);
        // ‖r_1‖² = e^{−2}(1 + 2·10⁻³): half of that excess is the energy needed.
        assert_eq!(verdict(1e-3, 1.1e-3 * (-2.0_f64).exp(), 0.0), Verdict::Unresolved);
        assert_eq!(verdict(1e-3, 0.9e-3 * (-2.0_f64).exp(), 0.0), Verdict::Violated);
    }

    #[test]
    fn errors_decay_as_the_bound_does() {
        let mut error = ResidualError::default();
        for _ in 0..200 {
            error.advance(0.5, 1e-6, 1e-3);
        }
        let left = (-0.5_f64).exp();
        let expected = ((2e-6 / (1.0 - left * left)).sqrt(), 1e-3 / (1.0 - left));
        let found = (error.squared.sqrt(), error.jumps);
        assert!((found.0 / expected.0 - 1.0).abs() < 1e-12 && (found.1 / expected.1 - 1.0).abs() < 1e-12, "{found:?}");
        assert!((error.around(1.0) - (1.0_f64.hypot(expected.0) + expected.1)).abs() < 1e-12);
    }
}
