//! Identities that hold along every exact gradient flow, checked on every run.
//!
//! Energy: L(0) − L(t) = ∫‖∇L‖². Displacement (Theorem B.3 of Jakhmola, arXiv:2509.23887): ‖θ(t) − θ₀‖² ≤ t·(L(0) − L(t)).
//! Conservation for positively homogeneous σ: for each hidden unit ‖incoming weights‖² + bias² − ‖outgoing weights‖² is constant,
//! through crossings and slides.

use crate::net::Network;

/// Relative room in the displacement bound, which is an equality to first order in t.
const DISPLACEMENT_TOL: f64 = 1e-6;

/// Running checks.
#[derive(Debug, Clone)]
pub struct Identities {
    theta_initial: Vec<f64>,
    loss_initial: f64,
    conserved_initial: Option<Vec<f64>>,
    dissipated: f64,
    report: IdentityReport,
}

/// How well the identities hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdentityReport {
    /// Largest |L(0) − L(t) − ∫‖∇L‖²| / L(0).
    pub energy_defect: f64,
    /// Largest change of a conserved quantity, relative to the largest one at the start (at least 1e-300); `None` where
    /// the activation conserves nothing.
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
        let conserved_initial = network.activation().is_positively_homogeneous().then(|| conserved(network, theta));
        let report = IdentityReport {
            energy_defect: 0.0,
            conservation_drift: conserved_initial.as_ref().map(|_| 0.0),
            displacement_bound_ok: true,
            displacement_worst_ratio: 0.0,
            displacement: 0.0,
        };
        Self { theta_initial: theta.to_vec(), loss_initial: loss, conserved_initial, dissipated: 0.0, report }
    }

    /// Checks at the end of a step over which ∫‖∇L‖² grew by `dissipated`.
    pub fn check(&mut self, network: &Network, t: f64, theta: &[f64], loss: f64, dissipated: f64) {
        self.dissipated += dissipated;
        let decrease = self.loss_initial - loss;
        let report = &mut self.report;
        if self.loss_initial > 0.0 {
            let defect = (decrease - self.dissipated).abs() / self.loss_initial;
            report.energy_defect = report.energy_defect.max(defect);
        }
        if let (Some(initial), Some(drift)) = (&self.conserved_initial, &mut report.conservation_drift) {
            let scale = initial.iter().fold(1e-300, |m: f64, c| m.max(c.abs()));
            let now = conserved(network, theta);
            let largest = initial.iter().zip(&now).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
            *drift = drift.max(largest / scale);
        }
        let squared: f64 = theta.iter().zip(&self.theta_initial).map(|(a, b)| (a - b) * (a - b)).sum();
        report.displacement = squared.sqrt();
        // L(0) − L(t) is a difference of nearly equal numbers at first; below this it is rounding.
        let rounding = 1e-13 * self.loss_initial;
        if t > 0.0 && decrease > 1e3 * rounding {
            report.displacement_worst_ratio = report.displacement_worst_ratio.max(squared / (t * decrease));
        }
        if squared > t * (decrease.max(0.0) * (1.0 + DISPLACEMENT_TOL) + rounding) {
            report.displacement_bound_ok = false;
        }
    }

    /// The result so far.
    pub fn report(&self) -> IdentityReport {
        self.report
    }
}

/// `‖W_l[u]‖² + b_l[u]² − ‖W_{l+1}[·, u]‖²` for every hidden unit, layer by layer.
pub fn conserved(network: &Network, theta: &[f64]) -> Vec<f64> {
    let layers = network.layout().layers();
    let mut all = Vec::with_capacity(network.n_units());
    for pair in layers.windows(2) {
        let (block, next) = (&pair[0], &pair[1]);
        let incoming = theta[block.weights.clone()].chunks_exact(block.n_in);
        let start = all.len();
        all.extend(incoming.map(|row| row.iter().map(|w| w * w).sum::<f64>()));
        if let Some(bias) = block.bias_slice(theta) {
            all[start..].iter_mut().zip(bias).for_each(|(c, b)| *c += b * b);
        }
        for row in theta[next.weights.clone()].chunks_exact(next.n_in) {
            all[start..].iter_mut().zip(row).for_each(|(c, w)| *c -= w * w);
        }
    }
    all
}
