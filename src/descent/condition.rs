//! How far descent may stray from the flow, by a bound from curvature along the path: the condition on η of Elkabetz & Cohen.
//!
//! Euler's polygon v has the defect ‖v̇ + ∇L(v)‖ ≤ ηβγ, with β a Lipschitz constant of ∇L and γ ≥ ‖∇L‖. With m(t) ≥ −λ_min(∇²L), the logarithmic
//! norm of −∇²L, the distance grows by D⁺δ ≤ mδ + ηβγ (Hairer, Nørsett & Wanner I, section I.10 on one-sided Lipschitz conditions), hence
//! ‖θ_k − θ(t)‖ ≤ η·B(t), B(t) = ∫₀ᵗ β(s)γ(s) exp(∫_s^t m) ds, hence the condition η ≤ ε/max B for a distance of at most ε (Elkabetz & Cohen,
//! *Continuous vs. discrete optimization of deep neural networks*, NeurIPS 2021). β, γ and m belong to a neighbourhood of the path of
//! radius ε; here they are read on the path itself and at sampled times, so that the figures are estimates and no proof. Where
//! ∇L jumps there is no β: the bound ends at the first event.

use super::sharpness::Curvature;

/// Part of the way that the flow went which counts as staying close.
pub const CLOSE: f64 = 0.01;

/// The bound over its reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    /// max B, distance per η; ∞ when the exponential leaves the range of f64.
    pub growth: f64,
    /// Up to this time: the end of the flow, or its first event.
    pub until: f64,
    /// Whether an event cut it short.
    pub ends_at_event: bool,
    /// ε: a hundredth of the distance that the flow has gone from θ₀ by then.
    pub closeness: f64,
    /// ε/max B: with steps up to this the bound keeps descent within ε.
    pub largest_step: f64,
}

/// Evaluates the bound on samples up to `until`; `travelled` is ‖θ(until) − θ₀‖.
pub fn condition(samples: &[Curvature], until: f64, ends_at_event: bool, travelled: f64) -> Option<Condition> {
    let used: Vec<&Curvature> = samples.iter().filter(|s| s.t <= until).collect();
    let (mut b, mut growth) = (0.0_f64, 0.0_f64);
    for pair in used.windows(2) {
        let h = pair[1].t - pair[0].t;
        // The larger of the values at both ends, for each factor.
        let of = |value: fn(&Curvature) -> f64| value(pair[0]).max(value(pair[1]));
        let beta = of(|c| c.highest.abs().max(c.lowest.abs()));
        let gamma = of(|c| c.gradient_norm);
        let m = of(|c| c.lowest_error - c.lowest);
        // B′ = m·B + βγ over a time h.
        let source = if (m * h).abs() < 1e-8 { h } else { (m * h).exp_m1() / m };
        b = (m * h).exp() * b + beta * gamma * source;
        growth = growth.max(b);
    }
    let closeness = CLOSE * travelled;
    let last = used.last()?.t;
    (growth > 0.0).then(|| Condition {
        growth,
        until: last,
        ends_at_event,
        closeness,
        largest_step: closeness / growth,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ntk::SampleSide;

    #[test]
    fn constant_curvature_gives_the_closed_form_of_the_bound() {
        let sample = |lowest: f64| {
            move |k: usize| Curvature {
                t: 0.01 * k as f64,
                side: SampleSide::Smooth,
                highest: 3.0,
                highest_error: 0.0,
                lowest,
                lowest_error: 0.0,
                gradient_norm: 2.0,
            }
        };
        for m in [1.5, -0.5, 0.0] {
            let samples: Vec<Curvature> = (0..=200).map(sample(-m)).collect();
            let found = condition(&samples, 2.0, false, 1.0).expect("samples");
            let exact = 6.0 * if m == 0.0 { 2.0 } else { f64::exp_m1(2.0 * m) / m };
            assert!((found.growth - exact).abs() < 1e-12 * exact, "m = {m}: {found:?} {exact}");
            assert!((found.largest_step - 0.01 / exact).abs() < 1e-14);
        }
    }
}
