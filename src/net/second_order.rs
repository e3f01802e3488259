//! Second derivatives: the change of a gradient along a direction, exact in a frozen pattern.
//!
//! A tangent pass runs forward, and its counterpart runs backward beside the pass that made the gradient (Pearlmutter, *Fast exact
//! multiplication by the Hessian*, Neural Comput. 6 (1994) 147–160): no differences, no P × P matrix, about twice the cost of a
//! gradient. Held units stay held, and injected seeds are constants.

use super::pass::{Backward, Batch, FeatureRates, Forward, Held, PullBack, TangentScratch};
use crate::vector::dot;
use faer::Accum;

/// How the slopes σ′ of all units change, in a frozen pattern.
#[derive(Debug, Clone, Default)]
pub struct Bends {
    /// σ″(z) by z; 0 where held.
    by_z: Vec<f64>,
    /// ∂σ′/∂(learned slope): 1 where a unit follows it and is not held; empty without learned slopes.
    by_learned: Vec<f64>,
}

/// Results and scratch memory of a product with a second derivative.
#[derive(Debug, Clone, Default)]
pub struct SecondOrder {
    /// Rates of all pre-activations along the direction.
    pub dz: Vec<f64>,
    /// Rates of all outputs, J·direction.
    pub df: Vec<f64>,
    tangent: TangentScratch,
    features: FeatureRates,
    /// Rates of μ and of the seeds.
    dmu: Vec<f64>,
    dseed: Vec<f64>,
    pull: PullBack,
    of_features: Vec<f64>,
    rates: Vec<f64>,
    weights: Vec<f64>,
}

impl Batch {
    /// The bends at the point and in the pattern of a forward pass; `held` as in that pass.
    pub fn bends(&self, pieces: &[u16], held: &[Held], forward: &Forward, out: &mut Bends) {
        let activation = self.network().activation();
        let bend = |(&z, &piece): (&f64, &u16)| activation.curvature(piece, z);
        out.by_z.clear();
        out.by_z.extend(forward.z.iter().zip(pieces).map(bend));
        out.by_learned.clear();
        if activation.has_learned_slope() {
            out.by_learned.extend(pieces.iter().map(|&piece| if piece == 0 { 1.0 } else { 0.0 }));
        }
        for h in held {
            out.by_z[h.index] = 0.0;
            if let Some(bend) = out.by_learned.get_mut(h.index) {
                *bend = 0.0;
            }
        }
    }

    /// First half of a product with a second derivative: rates of pre-activations and outputs along `direction`.
    pub fn second_order_tangent(&self, theta: &[f64], forward: &Forward, direction: &[f64], work: &mut SecondOrder) {
        work.dz.resize(self.n_switches(), 0.0);
        work.df.resize(self.n_outputs(), 0.0);
        let SecondOrder { dz, df, tangent, .. } = work;
        self.tangent(theta, forward, direction, dz, df, tangent);
    }

    /// Second half: out = d/dε of the gradient that a backward pass gave, at θ + ε·direction.
    ///
    /// `backward` is that of the pass with `output_seed` and whatever was injected; `output_seed_rate` is the change of the output seed, for a
    /// loss with second derivative H in the outputs H·[`df`](SecondOrder::df). Injected seeds count as constants. With nothing injected
    /// this is ∇²L·direction in the pattern of the forward pass.
    #[expect(clippy::too_many_arguments, reason = "a backward pass and its tangent, side by side")]
    pub fn second_order(
        &self,
        theta: &[f64],
        forward: &Forward,
        bends: &Bends,
        (backward, output_seed): (&Backward, &[f64]),
        direction: &[f64],
        output_seed_rate: &[f64],
        work: &mut SecondOrder,
        out: &mut [f64],
    ) {
        work.dmu.clear();
        work.dmu.resize(self.n_switches(), 0.0);
        work.dseed.resize(self.n_switches(), 0.0);
        let layers = self.network().layers();
        for l in (1..layers.len()).rev() {
            self.pull_back_rates(theta, forward, l, (backward, output_seed), (direction, output_seed_rate), work);
            let range = self.layer_range(l);
            let learned = layers[l - 1].slope.map_or(0.0, |at| direction[at]);
            for j in range {
                let bend = bends.by_z[j] * work.dz[j] + bends.by_learned.get(j).map_or(0.0, |b| b * learned);
                work.dseed[j] = forward.slope[j] * work.dmu[j] + bend * backward.mu[j];
            }
        }
        for (l, layer) in layers.iter().enumerate() {
            let start = layer.weights.start;
            let seed_rate = self.rates_of_seed(&work.dseed, output_seed_rate, l);
            layer.gradient(self.features(forward, l), seed_rate, &mut out[start..start + layer.n_parameters()]);
            if !self.has_constant_features(l) {
                let rates = self.feature_rates(l, forward, &work.tangent.da, &mut work.features);
                work.weights.resize(layer.weights.len(), 0.0);
                // Without room for a bias, which does not read the features.
                layer.gradient(rates, self.layer_seed(backward, output_seed, l), &mut work.weights);
                out[layer.weights.clone()].iter_mut().zip(&work.weights).for_each(|(o, w)| *o += w);
            }
            if let Some(at) = layer.slope {
                let range = self.layer_range(l + 1);
                let by_rate: f64 = range
                    .clone()
                    .map(|j| backward.mu[j] * bends.by_learned.get(j).map_or(0.0, |b| b * work.dz[j]))
                    .sum();
                out[at] = dot(&work.dmu[range.clone()], &forward.by_learned[range]) + by_rate;
            }
        }
    }

    fn rates_of_seed<'a>(&self, dseed: &'a [f64], output: &'a [f64], l: usize) -> &'a [f64] {
        if l < self.network().n_hidden() { &dseed[self.layer_range(l + 1)] } else { output }
    }

    /// Adds to the rates of μ what layer `l` (from 1) contributes to the layers that it reads.
    fn pull_back_rates(
        &self,
        theta: &[f64],
        forward: &Forward,
        l: usize,
        (backward, output_seed): (&Backward, &[f64]),
        (direction, output_seed_rate): (&[f64], &[f64]),
        work: &mut SecondOrder,
    ) {
        let layer = &self.network().layers()[l];
        let SecondOrder { dmu, dseed, pull, of_features, rates, tangent, .. } = work;
        let seed = self.layer_seed(backward, output_seed, l);
        let seed_rate = self.rates_of_seed(dseed, output_seed_rate, l);
        let size = layer.map.n_features();
        pull.features.resize(size * self.n_samples(), 0.0);
        layer.multiply_transposed(direction, seed, Accum::Replace, &mut pull.features);
        layer.multiply_transposed(theta, seed_rate, Accum::Add, &mut pull.features);
        let features = std::mem::take(&mut pull.features);
        if !layer.map.is_linear() {
            of_features.resize(size * self.n_samples(), 0.0);
            layer.multiply_transposed(theta, seed, Accum::Replace, of_features);
        }
        for sample in 0..self.n_samples() {
            self.pull_back(&layer.map, forward, sample, &features[sample * size..(sample + 1) * size], pull, dmu);
            if !layer.map.is_linear() {
                self.stack_rates(&layer.map, &tangent.da, sample, rates);
                let part = &of_features[sample * size..(sample + 1) * size];
                self.pull_back_change(&layer.map, rates, sample, part, pull, dmu);
            }
            if let Some(skip) = &layer.skip {
                let width = layer.width();
                self.pull_back(skip, forward, sample, &seed_rate[sample * width..(sample + 1) * width], pull, dmu);
            }
        }
        pull.features = features;
    }
}
