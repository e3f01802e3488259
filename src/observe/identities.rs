//! Identities that hold along every exact gradient flow, checked on every run.
//!
//! Energy: L(0) − L(t) = ∫‖∇L‖². Displacement (Theorem B.3 of Jakhmola, arXiv:2509.23887): ‖θ(t) − θ₀‖² ≤ t·(L(0) − L(t)).
//! Conservation for positively homogeneous σ: for each hidden unit ‖incoming weights‖² + bias² − ‖outgoing weights‖² is constant,
//! through crossings and slides; see [`crate::net::conserved`] for shared weights and for units without such a law.

use super::rows::ConservedRow;
use crate::net::{Conserved, Network, NoLaw, no_law};

/// Relative room in the displacement bound, which is an equality to first order in t.
pub const DISPLACEMENT_TOL: f64 = 1e-6;

/// Running checks.
#[derive(Debug, Clone)]
pub struct Identities {
    theta_initial: Vec<f64>,
    loss_initial: f64,
    conserved: Conserved,
    /// Value and largest change of each conserved quantity so far.
    values: Vec<(f64, f64)>,
    dissipated: f64,
    report: IdentityReport,
}

/// How well the identities hold at the end of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdentityPoint {
    /// |L(0) − L(t) − ∫‖∇L‖²| / L(0); 0 when L(0) = 0.
    pub energy_defect: f64,
    /// Largest change of a conserved quantity, relative to the largest one at the start; `None` when there is none.
    pub conservation_drift: Option<f64>,
    /// ‖θ − θ₀‖.
    pub displacement: f64,
    /// ‖θ − θ₀‖² / (t·(L(0) − L(t))); `None` as long as the loss has not fallen beyond rounding.
    pub displacement_ratio: Option<f64>,
}

/// How well the identities hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdentityReport {
    /// Largest |L(0) − L(t) − ∫‖∇L‖²| / L(0).
    pub energy_defect: f64,
    /// Number of quantities that a rescaling symmetry conserves: one per hidden unit of a dense network with a positively homogeneous
    /// activation, fewer or none elsewhere.
    pub n_conserved: usize,
    /// Why there is none; `None` where there are some.
    pub no_law: Option<NoLaw>,
    /// Largest change of one of them, relative to the largest one at the start ([`Conserved::scale`]); `None` when there is none.
    pub conservation_drift: Option<f64>,
    /// Whether the displacement bound held at every sample.
    pub displacement_bound_ok: bool,
    /// Largest ‖θ(t) − θ₀‖² / (t·(L(0) − L(t))).
    pub displacement_worst_ratio: f64,
    /// ‖θ − θ₀‖ at the last sample.
    pub displacement: f64,
}

impl Identities {
    /// Starts at θ₀ with loss L(0).
    pub fn new(network: &Network, theta: &[f64], loss: f64) -> Self {
        let conserved = Conserved::new(network, theta);
        let laws = conserved.laws();
        let report = IdentityReport {
            energy_defect: 0.0,
            n_conserved: laws.len(),
            no_law: no_law(network, laws),
            conservation_drift: (!laws.is_empty()).then_some(0.0),
            displacement_bound_ok: true,
            displacement_worst_ratio: 0.0,
            displacement: 0.0,
        };
        let values = conserved.initial().iter().map(|&c| (c, 0.0)).collect();
        Self { theta_initial: theta.to_vec(), loss_initial: loss, conserved, values, dissipated: 0.0, report }
    }

    /// Checks at the end of a step over which ∫‖∇L‖² grew by `dissipated`.
    pub fn check(&mut self, t: f64, theta: &[f64], loss: f64, dissipated: f64) -> IdentityPoint {
        self.dissipated += dissipated;
        let decrease = self.loss_initial - loss;
        let report = &mut self.report;
        let mut energy_defect = 0.0;
        if self.loss_initial > 0.0 {
            energy_defect = (decrease - self.dissipated).abs() / self.loss_initial;
            report.energy_defect = report.energy_defect.max(energy_defect);
        }
        let Self { conserved, values, .. } = self;
        let conservation_drift = report.conservation_drift.as_mut().map(|drift| {
            let mut largest = 0.0_f64;
            for ((law, initial), (last, largest_change)) in conserved.laws().iter().zip(conserved.initial()).zip(values)
            {
                *last = law.value(theta);
                let change = (*last - initial).abs();
                *largest_change = largest_change.max(change);
                largest = largest.max(change);
            }
            *drift = drift.max(largest / conserved.scale());
            largest / conserved.scale()
        });
        let squared: f64 = theta.iter().zip(&self.theta_initial).map(|(a, b)| (a - b) * (a - b)).sum();
        report.displacement = squared.sqrt();
        // L(0) − L(t) is a difference of nearly equal numbers at first; below this it is rounding.
        let rounding = 1e-13 * self.loss_initial;
        let displacement_ratio = (t > 0.0 && decrease > 1e3 * rounding).then(|| squared / (t * decrease));
        report.displacement_worst_ratio = report.displacement_worst_ratio.max(displacement_ratio.unwrap_or(0.0));
        if squared > t * (decrease.max(0.0) * (1.0 + DISPLACEMENT_TOL) + rounding) {
            report.displacement_bound_ok = false;
        }
        IdentityPoint { energy_defect, conservation_drift, displacement: report.displacement, displacement_ratio }
    }

    /// The conserved quantities, one by one.
    pub fn conserved(&self) -> Vec<ConservedRow> {
        let laws = self.conserved.laws().iter().zip(self.conserved.initial());
        laws.zip(&self.values)
            .map(|((law, &initial), &(last, largest_change))| ConservedRow {
                layer: law.layer,
                channel: law.channel,
                initial,
                last,
                largest_change,
            })
            .collect()
    }

    /// The result so far.
    pub fn report(&self) -> IdentityReport {
        self.report
    }
}
