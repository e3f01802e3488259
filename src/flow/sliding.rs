//! The equations that hold sliding units on their kinks.
//!
//! Let V have rows ∇z_e, e sliding, taken with the held units passing nothing on. Then θ̇ = −(g₀ + Vᵀδ) with Γδ = −V g₀, Γ = VVᵀ:
//! the equivalent-control (Utkin) solution ż_e = 0 for all e, which for one unit is Filippov's. δ are seeds injected
//! into the backward pass; V is never formed.

use crate::cholesky::Cholesky;
use crate::net::{Backward, Batch, Forward, KernelScratch, Probes, TangentScratch, gradient_products, switch_gram};
use faer::MatRef;

/// Added to the diagonal of a singular Γ, relative to its largest entry; it picks nearly the smallest δ.
const RIDGE: f64 = 1e-13;

/// Γ of a set of switches, factored.
#[derive(Debug, Clone, Default)]
pub struct SlideSystem {
    switches: Vec<usize>,
    probes: Probes,
    scratch: KernelScratch,
    gamma: Vec<f64>,
    factor: Cholesky,
    solution: Vec<f64>,
}

impl SlideSystem {
    /// Assembles and factors Γ for `switches` (sorted) after a forward pass in which they are held.
    pub fn assemble(&mut self, batch: &Batch, theta: &[f64], forward: &Forward, switches: impl Iterator<Item = usize>) {
        self.switches.clear();
        self.switches.extend(switches);
        self.probes.switches(batch, theta, forward, &self.switches);
        switch_gram(batch, forward, &self.probes, &mut self.scratch, &mut self.gamma);
        self.factor.clear();
        if self.switches.is_empty() {
            return;
        }
        let k = self.switches.len();
        let largest = (0..k).map(|e| self.gamma[e * (k + 1)]).fold(0.0, f64::max);
        // A first try without a ridge; units whose gradients are parallel make Γ singular and need one.
        for ridge in [0.0, RIDGE, 1e3 * RIDGE] {
            let lift = if largest > 0.0 { ridge * largest } else { 1.0 };
            for e in 0..k {
                self.gamma[e * (k + 1)] += lift;
            }
            let gamma = MatRef::from_column_major_slice(&self.gamma[..], k, k);
            // A pivot at rounding level means that the factor is noise although it exists.
            let is_regular = |factor: &Cholesky| ridge > 0.0 || factor.smallest_pivot().powi(2) > 1e-14 * largest;
            if self.factor.factor(gamma, 0.0).is_ok() && is_regular(&self.factor) {
                break;
            }
        }
    }

    /// Forgets all switches.
    pub fn clear(&mut self) {
        self.switches.clear();
        self.factor.clear();
    }

    /// V·∇L for the gradient whose seeds a backward pass has left in `backward`, without that gradient:
    /// ⟨∇z_e, ∇L⟩ = Σ_l ⟨seed_l(e), Σ_j ∂L/∂z_l(j)·k_l(j, e)⟩ with the sample kernels k_l of Γ.
    pub fn rates_of_gradient(
        &mut self,
        batch: &Batch,
        forward: &Forward,
        backward: &Backward,
        output_seed: &[f64],
        rates: &mut Vec<f64>,
    ) {
        gradient_products(batch, forward, backward, output_seed, &self.probes, &mut self.scratch, rates);
    }

    /// Switches of the system, sorted.
    pub fn switches(&self) -> &[usize] {
        &self.switches
    }

    /// Probes of the switches.
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    /// Solves Γδ = −V·direction given the entries of V·direction, in the order of the switches; writes (switch, δ), sorted by switch.
    pub fn solve_for_rates(&mut self, rates: impl Fn(usize) -> f64, seeds: &mut Vec<(usize, f64)>) {
        self.solution.clear();
        self.solution.extend((0..self.switches.len()).map(|e| -rates(e)));
        if self.factor.size() > 0 {
            self.factor.solve(&mut self.solution);
        }
        seeds.clear();
        seeds.extend(self.switches.iter().copied().zip(self.solution.iter().copied()));
    }

    /// Overwrites the columns of a (K × m, column-major) matrix B by Γ⁻¹B.
    pub fn solve_columns(&self, columns: &mut [f64]) {
        self.factor.solve_columns(columns);
    }

    /// direction ← (I − VᵀΓ⁻¹V)·direction, the projection onto the tangent of all surfaces; buffers are overwritten.
    pub fn project_tangent(
        &mut self,
        batch: &Batch,
        theta: &[f64],
        forward: &Forward,
        direction: &mut [f64],
        buffers: &mut TangentBuffers,
    ) {
        if self.switches.is_empty() {
            return;
        }
        buffers.resize(batch, direction.len());
        let TangentBuffers { dz, df, scratch, grad, zeros, backward, seeds } = buffers;
        batch.tangent(theta, forward, direction, dz, df, scratch);
        let rates: Vec<f64> = self.switches.iter().map(|&j| dz[j]).collect();
        self.solve_for_rates(|e| rates[e], seeds);
        batch.backward(theta, forward, zeros, seeds, backward, grad);
        direction.iter_mut().zip(&*grad).for_each(|(d, g)| *d += g);
    }
}

/// Scratch memory of tangent and projection passes.
#[derive(Debug, Clone, Default)]
pub struct TangentBuffers {
    /// Rates of all switches.
    pub dz: Vec<f64>,
    /// Rates of all outputs.
    pub df: Vec<f64>,
    /// Scratch of the tangent pass.
    pub scratch: TangentScratch,
    /// A vector of length P.
    pub grad: Vec<f64>,
    /// An output seed of zeros.
    pub zeros: Vec<f64>,
    /// Scratch of the backward pass.
    pub backward: Backward,
    /// Seeds of a projection.
    pub seeds: Vec<(usize, f64)>,
}

impl TangentBuffers {
    /// Makes every buffer fit.
    pub fn resize(&mut self, batch: &Batch, n_parameters: usize) {
        self.dz.resize(batch.n_switches(), 0.0);
        self.df.resize(batch.n_outputs(), 0.0);
        self.grad.resize(n_parameters, 0.0);
        self.zeros.resize(batch.n_outputs(), 0.0);
    }
}
