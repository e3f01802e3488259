//! Identities that hold along every exact gradient flow, checked on every run.
//!
//! Energy: L(0) − L(t) = ∫‖∇L‖². Displacement (Theorem B.3 of Jakhmola, arXiv:2509.23887): ‖θ(t) − θ₀‖² ≤ t·(L(0) − L(t)).
//! Conservation for positively homogeneous σ: for each hidden unit ‖incoming weights‖² + bias² − ‖outgoing weights‖² is constant,
//! through crossings and slides; see [`crate::net::conserved`] for shared weights and for units without such a law.

use super::rows::ConservedRow;
use crate::net::{Conserved, Network, NoLaw, no_law};
use crate::ode::WrmsNorm;
use crate::vector::{distance_squared, dot, max_abs, norm, vectorised};

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
    /// Size of the terms of each, now, and the change that a run with these tolerances may make.
    terms: Vec<(f64, f64)>,
    norm: WrmsNorm,
    /// L at the end of the last step, and θ̇ there, or behind the event that followed.
    before: (f64, Vec<f64>),
    /// θ at the end of the last step, and the last ‖θ̇‖.
    theta_before: Vec<f64>,
    speed_before: f64,
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
    /// What the identities of a run with its tolerances may be off by.
    pub allowed: Allowed,
    /// Largest change of a conserved quantity, relative to the size of its terms at that time or at the start, whichever is larger.
    pub drift_of_terms: f64,
    /// The same, relative to what a run with this rtol may make of it.
    pub drift_excess: f64,
    /// Largest length by which ‖θ − θ₀‖ is above √(t·∫‖∇L‖²); 0 where it is nowhere.
    pub displacement_excess: f64,
}

/// Errors that the tolerances allow to add up over a run: see `docs/mathematics.md`, section 8.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Allowed {
    /// Of the energy, relative to L(0), with rtol alone.
    pub energy_by_rtol: f64,
    /// Of the energy, relative to L(0), with rtol and atol, and with what the quadrature of ∫‖∇L‖² may be off by.
    pub energy: f64,
    /// Of θ: the sum over all steps.
    pub path: f64,
}

/// Rounding of a loss, or of a conserved quantity, at the end of a step, relative to it.
const ROUNDING: f64 = 8.0 * f64::EPSILON;

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
            allowed: Allowed::default(),
            drift_of_terms: 0.0,
            drift_excess: 0.0,
            displacement_excess: 0.0,
        };
        let values = conserved.initial().iter().map(|&c| (c, 0.0)).collect();
        let terms = laws.iter().map(|law| (law.size(theta), 0.0)).collect();
        let norm = WrmsNorm { rtol: 0.0, atol: 0.0 };
        Self {
            theta_initial: theta.to_vec(),
            loss_initial: loss,
            before: (loss, Vec::new()),
            theta_before: theta.to_vec(),
            speed_before: 0.0,
            conserved,
            values,
            terms,
            norm,
            dissipated: 0.0,
            report,
        }
    }

    /// With the tolerances of the run, and θ̇ at θ₀.
    pub fn tolerating(mut self, norm: WrmsNorm, dy: &[f64]) -> Self {
        self.norm = norm;
        self.turn(dy);
        self
    }

    /// Goes on with θ̇ as it is behind an event.
    pub fn turn(&mut self, dy: &[f64]) {
        self.before.1.clear();
        self.before.1.extend_from_slice(dy);
        self.speed_before = norm(dy);
    }

    /// Notes what the tolerances allow a step of this length that ends at `theta`, where loss and θ̇ are as given; before its
    /// [`check`](Self::check).
    pub fn allow(&mut self, length: f64, theta: &[f64], loss: f64, dy: &[f64]) {
        let (loss_before, dy_before) = &self.before;
        let (theta_before, largest) = (&self.theta_before, max_abs(theta));
        let (speed, moved, turned) = vectorised!((
            dot(dy, dy).sqrt(),
            distance_squared(theta, theta_before).sqrt(),
            distance_squared(dy, dy_before).sqrt()
        ));
        let steepest = speed.max(self.speed_before);
        let rounding = ROUNDING * loss_before.max(loss);
        // In units of the time in which the gradient changes along the way; to the fourth that is what a quadrature of order four is off by.
        let turned = if moved > 0.0 { length * turned / moved } else { 0.0 };
        let quadrature = turned.powi(4) * length * steepest * steepest;
        let error = self.norm.largest_error_of(theta.len(), largest);
        let by_rtol = WrmsNorm { atol: 0.0, ..self.norm }.largest_error_of(theta.len(), largest);
        let allowed = &mut self.report.allowed;
        if self.loss_initial > 0.0 {
            allowed.energy_by_rtol += (steepest * by_rtol + rounding) / self.loss_initial;
            allowed.energy += (steepest * error + rounding + quadrature) / self.loss_initial;
        }
        allowed.path += error;
        self.before.0 = loss;
        self.theta_before.copy_from_slice(theta);
        self.turn(dy);
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
        let Self { conserved, values, terms, norm, .. } = self;
        // Twice the length of the weights of a law times that of their error, relative to the size of its terms.
        let per_step = 2.0 * (theta.len() as f64).sqrt() * norm.rtol + ROUNDING;
        let (of_terms, excess) = (&mut report.drift_of_terms, &mut report.drift_excess);
        let conservation_drift = report.conservation_drift.as_mut().map(|drift| {
            let mut largest = 0.0_f64;
            let laws = conserved.laws().iter().zip(conserved.initial());
            for (((law, initial), (last, largest_change)), (size, allowed)) in laws.zip(values).zip(terms) {
                let (value, terms) = law.value_and_size(theta);
                *last = value;
                *size = terms.max(*size);
                *allowed += per_step * *size;
                let change = (*last - initial).abs();
                *largest_change = largest_change.max(change);
                largest = largest.max(change);
                if change > 0.0 {
                    *of_terms = of_terms.max(change / *size);
                    *excess = excess.max(if *allowed > 0.0 { change / *allowed } else { 0.0 });
                }
            }
            *drift = drift.max(largest / conserved.scale());
            largest / conserved.scale()
        });
        let squared = vectorised!(distance_squared(theta, &self.theta_initial));
        report.displacement = squared.sqrt();
        // L(0) − L(t) is a difference of nearly equal numbers at first; below this it is rounding.
        let rounding = 1e-13 * self.loss_initial;
        let beyond = report.displacement - (t * self.dissipated.max(0.0)).sqrt();
        report.displacement_excess = report.displacement_excess.max(beyond);
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
