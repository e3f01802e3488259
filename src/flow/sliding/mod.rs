//! The equations that hold sliding units on their kinks.
//!
//! Let V have rows ∇z_e, e sliding, taken with the held units passing nothing on. Then θ̇ = −(g₀ + Vᵀδ) with Γδ = −V g₀, Γ = VVᵀ:
//! the equivalent-control (Utkin) solution ż_e = 0 for all e, which for one unit is Filippov's. δ are seeds injected
//! into the backward pass; V is never formed.

mod border;

use crate::cholesky::Cholesky;
use crate::net::{Backward, Batch, Forward, KernelScratch, Probes, TangentScratch, gradient_products, switch_gram};
use border::Border;

/// Γ of a set of switches, factored.
#[derive(Debug, Clone, Default)]
pub struct SlideSystem {
    /// The set as it was given, sorted.
    given: Vec<usize>,
    /// The set, in the order of the probes: by layer, and unit by unit in the first.
    switches: Vec<usize>,
    /// Where each of them stood in the order given.
    places: Vec<usize>,
    /// How many of the first layer share each unit, one after the other: there only kinks of one unit have anything to do with each other.
    blocks: Vec<usize>,
    probes: Probes,
    scratch: KernelScratch,
    factor: Cholesky,
    /// Whether Γ was factored as it is.
    is_regular: bool,
    /// The diagonal of Γ, in the order of the probes.
    squares: Vec<f64>,
    /// Place among the probes of each switch as it was given.
    place_of: Vec<usize>,
    solution: Vec<f64>,
    products: Vec<f64>,
    border: Border,
}

impl SlideSystem {
    /// Assembles and factors Γ for `switches` (sorted) after a forward pass in which they are held.
    pub fn assemble(&mut self, batch: &Batch, theta: &[f64], forward: &Forward, switches: impl Iterator<Item = usize>) {
        self.order(batch, switches);
        self.factor.clear();
        self.border.clear();
        if self.switches.is_empty() {
            return;
        }
        self.probes.switches(batch, theta, forward, &self.switches);
        let k = self.switches.len();
        let Self { probes, scratch, factor, blocks, squares, is_regular, .. } = self;
        // Units whose gradients are parallel make Γ singular.
        *is_regular = factor.factor_or_ridge(k, blocks, |gamma, stride| {
            switch_gram(batch, forward, probes, scratch, gamma, stride);
            squares.clear();
            squares.extend((0..k).map(|j| gamma[j * (stride + 1)]));
        });
    }

    /// Puts the switches into the order of the probes; they are often those of the last time.
    fn order(&mut self, batch: &Batch, switches: impl Iterator<Item = usize>) {
        let Self { given, switches: ordered, places, place_of, blocks, .. } = self;
        let n_before = given.len();
        given.extend(switches);
        let is_new = given.len() != 2 * n_before || given[..n_before] != given[n_before..];
        given.drain(..n_before);
        if !is_new {
            return;
        }
        ordered.clone_from(given);
        places.clear();
        places.extend(0..ordered.len());
        place_of.clone_from(places);
        blocks.clear();
        if !batch.network().layers()[0].is_plain() {
            return;
        }
        let n_first = ordered.partition_point(|&j| batch.layer_of(j) == 1);
        places[..n_first].sort_unstable_by_key(|&e| {
            let (_, unit, sample) = batch.locate(given[e]);
            (unit, sample)
        });
        ordered.iter_mut().zip(&*places).for_each(|(j, &e)| *j = given[e]);
        places.iter().enumerate().for_each(|(place, &e)| place_of[e] = place);
        blocks.extend(ordered[..n_first].chunk_by(|&a, &b| batch.locate(a).1 == batch.locate(b).1).map(<[usize]>::len));
    }

    /// Forgets all switches.
    pub fn clear(&mut self) {
        self.given.clear();
        self.switches.clear();
        self.places.clear();
        self.place_of.clear();
        self.blocks.clear();
        self.factor.clear();
        self.border.clear();
    }

    /// V·∇L for the gradient whose seeds a backward pass has left in `backward`, without that gradient, for the switches as they were
    /// given: ⟨∇z_e, ∇L⟩ = Σ_l ⟨seed_l(e), Σ_j ∂L/∂z_l(j)·k_l(j, e)⟩ with the sample kernels k_l of Γ.
    pub fn rates_of_gradient(
        &mut self,
        batch: &Batch,
        forward: &Forward,
        backward: &Backward,
        output_seed: &[f64],
        rates: &mut Vec<f64>,
    ) {
        let Self { probes, scratch, products, places, .. } = self;
        gradient_products(batch, forward, backward, output_seed, probes, scratch, products);
        rates.resize(products.len(), 0.0);
        places.iter().zip(products).for_each(|(&e, rate)| rates[e] = *rate);
    }

    /// Switches of the system, in the order of its probes.
    pub fn switches(&self) -> &[usize] {
        &self.switches
    }

    /// ‖∇z‖² of a switch, by its place in the set as it was given.
    pub fn square(&self, given: usize) -> f64 {
        self.place_of.get(given).map_or(f64::NAN, |&place| self.squares[place])
    }

    /// Whether the gradients of the switches are independent of each other, to rounding.
    pub fn is_regular(&self) -> bool {
        self.switches.is_empty() || self.is_regular
    }

    /// Probes of the switches.
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    /// Adds the solution of the last [`solve_for_rates`](Self::solve_for_rates) to a backward pass, as seeds injected into it.
    pub fn inject(&self, batch: &Batch, backward: &mut Backward) {
        self.probes.inject(batch, self.solution.iter().copied(), backward);
    }

    /// Solves Γδ = −V·direction given the entries of V·direction for the switches as they were given; writes (switch, δ), sorted by
    /// switch.
    pub fn solve_for_rates(&mut self, rates: impl Fn(usize) -> f64, seeds: &mut Vec<(usize, f64)>) {
        let Self { switches, places, solution, factor, .. } = self;
        solution.clear();
        solution.extend(places.iter().map(|&e| -rates(e)));
        if factor.size() > 0 {
            factor.solve(solution);
        }
        seeds.clear();
        seeds.resize(switches.len(), (0, 0.0));
        for ((&e, &switch), &delta) in places.iter().zip(&*switches).zip(&*solution) {
            seeds[e] = (switch, delta);
        }
    }

    /// Overwrites the columns of a (K × m, column-major) matrix B by Γ⁻¹B; rows are in the order of the probes.
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
        let mut rates = std::mem::take(&mut self.products);
        rates.resize(self.switches.len(), 0.0);
        self.places.iter().zip(&self.switches).for_each(|(&e, &j)| rates[e] = dz[j]);
        self.solve_for_rates(|e| rates[e], seeds);
        self.products = rates;
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
