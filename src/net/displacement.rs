//! How far the Jacobian J = ∂F/∂θ has moved between two points, from seeds and features; J itself is not formed.
//!
//! A row of J is, layer by layer, the outer product s ⊗ a of a seed and the layer's input (see [`kernel`](super::kernel)), so that it moves by
//! Δs ⊗ a′ + s ⊗ Δa. Differences are taken before products: no digits are lost where little has moved. Layers side by side are blocks of
//! columns, and ‖\[A B\]‖₂² ≤ ‖A‖₂² + ‖B‖₂².

use super::kernel::Probes;
use super::pass::{Batch, Forward};
use crate::vector::{distance_squared, dot, vectorised};

/// Relative rounding of the sums of squares: thousands of terms, added in several lanes.
const SUM_ROUNDING: f64 = 1e-12;

/// Relative rounding of an entry of J, which is a sum of products itself.
const ENTRY_ROUNDING: f64 = 64.0 * f64::EPSILON;

/// Number of independent partial sums.
const LANES: usize = 8;

/// Seeds and features of all outputs at one point.
#[derive(Debug, Clone, Default)]
pub struct JacobianMark {
    /// For each layer the seeds, and the derivatives by learned slopes.
    seeds: Vec<Vec<f64>>,
    learned: Vec<Vec<f64>>,
    /// For each layer its features on all samples; empty where they do not depend on θ.
    features: Vec<Vec<f64>>,
    /// For each layer with shared or split weights, the rows of J by it.
    rows: Vec<Vec<f64>>,
    /// Scratch memory.
    now: Vec<f64>,
}

impl JacobianMark {
    /// Remembers the point of a forward pass and of `probes` of the outputs there.
    pub fn set(&mut self, batch: &Batch, forward: &Forward, probes: &Probes) {
        copy_all(&mut self.seeds, &probes.seeds);
        copy_all(&mut self.learned, &probes.learned);
        let layers = batch.network().layers();
        self.features.resize_with(layers.len(), Vec::new);
        self.rows.resize_with(layers.len(), Vec::new);
        for (l, layer) in layers.iter().enumerate() {
            if !layer.is_plain() {
                probes.rows(batch, forward, l, &mut self.rows[l]);
            } else if !batch.has_constant_features(l) {
                self.features[l].clear();
                self.features[l].extend_from_slice(batch.features(forward, l));
            }
        }
    }

    /// A bound on ‖J − J₀‖₂ from above, rounding included, for J at the point of a forward pass and of `probes` of the outputs there and J₀ at
    /// the point remembered. It is at most ‖J − J₀‖_F, but for rounding; ∞ when nothing has been remembered.
    ///
    /// Costs O(nM · width) per layer, and the rows of layers with shared or split weights.
    pub fn distance(&mut self, batch: &Batch, forward: &Forward, probes: &Probes) -> f64 {
        if self.seeds.is_empty() {
            return f64::INFINITY;
        }
        let mut sums = Sums::default();
        for (l, layer) in batch.network().layers().iter().enumerate() {
            if layer.is_plain() {
                self.plain(batch, forward, probes, l, &mut sums);
            } else {
                probes.rows(batch, forward, l, &mut self.now);
                let before = &self.rows[l][..];
                let (moved, size) = vectorised!((distance_squared(&self.now, before), dot(before, before)));
                sums.add(moved, moved, size);
            }
        }
        for (now, before) in probes.learned.iter().zip(&self.learned) {
            let moved = distance_squared(now, before);
            sums.add(moved, moved, dot(before, before));
        }
        sums.bound()
    }

    fn plain(&self, batch: &Batch, forward: &Forward, probes: &Probes, l: usize, sums: &mut Sums) {
        let layer = &batch.network().layers()[l];
        let bias = if layer.bias.is_some() { 1.0 } else { 0.0 };
        let now = batch.features(forward, l);
        let before = if batch.has_constant_features(l) { now } else { &self.features[l][..] };
        let inputs: Vec<Products> = vectorised!({
            let pairs = now.chunks_exact(layer.n_in).zip(before.chunks_exact(layer.n_in));
            pairs.map(|(now, before)| products(now, before)).collect()
        });
        if l + 1 == batch.network().layers().len() {
            // The seeds of the outputs are unit vectors here: the layer's part of ΔJ is Δa ⊗ I, whose norm is that of Δa.
            inputs.iter().for_each(|input| sums.add(input.change, input.change, input.size + bias));
            return;
        }
        let width = layer.n_out;
        vectorised!({
            let seeds = self.seeds[l].chunks_exact(width).zip(probes.seeds[l].chunks_exact(width));
            for ((before, now), &sample) in seeds.zip(&probes.samples) {
                let (seed, input) = (products(before, now), &inputs[sample]);
                // |Δs ⊗ a′ + s ⊗ Δa|², with a bias as a further input 1 that does not change.
                let (by_seed, by_input) = (seed.change * (input.size + bias), seed.size * input.change);
                // What `products` multiplies s with is s − s′ = −Δs.
                let moved = by_seed - 2.0 * seed.along * input.along + by_input;
                sums.add(moved, by_seed + by_input, seed.size * (input.size + bias));
            }
        });
    }
}

fn copy_all(to: &mut Vec<Vec<f64>>, from: &[Vec<f64>]) {
    to.resize_with(from.len(), Vec::new);
    to.iter_mut().zip(from).for_each(|(to, from)| to.clone_from(from));
}

/// Sums of squares over blocks and rows of J.
#[derive(Debug, Default)]
struct Sums {
    /// What has moved.
    moved: f64,
    /// The terms that this is a sum of, and may be a small difference of.
    terms: f64,
    /// J itself.
    size: f64,
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, moved: f64, terms: f64, size: f64) {
        self.moved += moved;
        self.terms += terms;
        self.size += size;
    }

    /// The root of what has moved, with room for rounding in the sums and in J.
    fn bound(&self) -> f64 {
        let room = SUM_ROUNDING * self.terms + ENTRY_ROUNDING * ENTRY_ROUNDING * self.size;
        (self.moved.max(0.0) + room).sqrt()
    }
}

/// |x|², ⟨x, x − y⟩ and |x − y|².
#[derive(Debug, Clone, Copy)]
struct Products {
    size: f64,
    along: f64,
    change: f64,
}

#[inline(always)]
fn products(x: &[f64], y: &[f64]) -> Products {
    let mut lanes = [[0.0; 3]; LANES];
    let mut add = |k: usize, x: f64, y: f64| {
        let change = x - y;
        lanes[k][0] += x * x;
        lanes[k][1] += x * change;
        lanes[k][2] += change * change;
    };
    let (x_chunks, y_chunks) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    x_chunks.remainder().iter().zip(y_chunks.remainder()).for_each(|(x, y)| add(0, *x, *y));
    for (x, y) in x_chunks.zip(y_chunks) {
        (0..LANES).for_each(|k| add(k, x[k], y[k]));
    }
    let sum = |part: usize| lanes.iter().map(|lane| lane[part]).sum();
    Products { size: sum(0), along: sum(1), change: sum(2) }
}
