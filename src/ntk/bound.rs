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

/// Collects what the verdicts need along a run.
#[derive(Debug, Clone, Default)]
pub struct BoundCheck {
    residual_initial: f64,
    /// (t, ‖r_t‖, ∫₀ᵗ λ_min, quadrature error so far).
    samples: Vec<(f64, f64, f64, f64)>,
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
    /// Records ‖r_t‖ with the integral of λ_min up to t and its estimated error.
    pub fn record(&mut self, t: f64, residual_norm: f64, integral: f64, integral_error: f64) {
        if self.samples.is_empty() {
            self.residual_initial = residual_norm;
        }
        self.samples.push((t, residual_norm, integral, integral_error));
    }

    /// The verdicts, given λ₀ (`None` when λ_min was not tracked), by how much ∫λ_min may be larger than recorded, and the run's relative
    /// tolerance.
    pub fn report(&self, lambda0: Option<&Lambda0>, integral_room: f64, rtol: f64) -> BoundReport {
        let Some(lambda0) = lambda0 else {
            return BoundReport::nothing(Verdict::Unresolved, "λ_min was not tracked");
        };
        let constant = self.worst(rtol, |(t, _, _, _)| (lambda0.value * t, 0.0));
        let integral = self.worst(rtol, |(_, _, integral, error)| (integral, error));
        let (verdict, reason) = self.judge(&constant, lambda0, lambda0.value);
        let total = self.samples.last().map_or(0.0, |s| s.2);
        // λ_min of a singular G is rounding, and so is its integral: that bound says as little as λ₀ = 0.
        let rounding = self.samples.last().map_or(0.0, |s| s.0 * lambda0.resolution);
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
        let worst = self.worst(rtol, |(t, _, _, _)| (at_most * t, 0.0));
        let against = match (worst.ratio, worst.is_violated) {
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

    fn worst(&self, rtol: f64, decay: impl Fn((f64, f64, f64, f64)) -> (f64, f64)) -> Worst {
        let mut worst = Worst::default();
        // The residual itself is known to about this; a bound far below it cannot be checked more closely.
        let slack = 100.0 * rtol * self.residual_initial;
        for &sample in self.samples.iter().filter(|s| s.0 > 0.0) {
            let (exponent, error) = decay(sample);
            let bound = (-exponent).exp() * self.residual_initial;
            let ratio = if sample.1 == 0.0 { 0.0 } else { sample.1 / bound };
            worst.is_violated |= sample.1 > bound * (RATIO_TOL + error).exp() + slack;
            if worst.ratio.is_none_or(|r| ratio > r) {
                (worst.ratio, worst.t) = (Some(ratio), Some(sample.0));
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

#[derive(Debug, Default)]
struct Worst {
    ratio: Option<f64>,
    t: Option<f64>,
    is_violated: bool,
}

fn judge_ratio(worst: &Worst, what: &str) -> (Verdict, String) {
    match (worst.ratio, worst.t) {
        (Some(ratio), Some(t)) if worst.is_violated => {
            (Verdict::Violated, format!("{what}: the residual exceeds the bound by a factor {ratio:.9} at t = {t}"))
        }
        (Some(ratio), Some(t)) => {
            (Verdict::Holds, format!("{what}: the residual reaches at most {ratio:.9} of the bound (t = {t})"))
        }
        _ => (Verdict::Holds, format!("{what}: the run has no positive time")),
    }
}
