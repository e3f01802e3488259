//! Forward, backward and tangent passes of a network over a batch, in a frozen activation pattern.
//!
//! The pattern comes from outside: a piece per hidden unit and sample, and the units that are *held* at a breakpoint
//! (they output a constant and pass nothing on). Batches are column-major, one sample per column; the hidden values of all
//! layers stand behind each other layer by layer, in a layer sample by sample, in a sample unit by unit (position by position, and
//! there channel by channel), so that a switch index addresses every buffer here.

use super::map::FeatureMap;
use super::network::Network;
use crate::vector::{dot, vectorised};
use faer::Accum;
use std::ops::Range;

/// A network together with a batch of inputs.
#[derive(Debug, Clone)]
pub struct Batch {
    network: Network,
    x: Vec<f64>,
    n_samples: usize,
    offsets: Vec<usize>,
    /// Features of the layers that read nothing but the data, where those are not the data themselves.
    constant: Vec<Option<Vec<f64>>>,
}

/// A unit held at a breakpoint on a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// Switch index.
    pub index: usize,
    /// The constant it outputs, σ(breakpoint).
    pub output: f64,
}

/// Results of a forward pass.
#[derive(Debug, Clone, Default)]
pub struct Forward {
    /// Pre-activations z.
    pub z: Vec<f64>,
    /// Activations σ(z).
    pub a: Vec<f64>,
    /// Derivatives σ′(z); 0 where held.
    pub slope: Vec<f64>,
    /// ∂σ/∂(learned slope); empty without learned slopes.
    pub by_learned: Vec<f64>,
    /// Network outputs F, M per sample.
    pub f: Vec<f64>,
    /// Features of each layer, where they are neither activations nor constant.
    features: Vec<Vec<f64>>,
    stacked: Vec<f64>,
}

/// Results of a backward pass.
#[derive(Debug, Clone, Default)]
pub struct Backward {
    /// μ = ∂L/∂a.
    pub mu: Vec<f64>,
    /// ∂L/∂z, injected seeds included.
    pub seed: Vec<f64>,
    scratch: PullBack,
}

/// Scratch memory of a tangent pass.
#[derive(Debug, Clone, Default)]
pub struct TangentScratch {
    /// Rates of all activations.
    pub(super) da: Vec<f64>,
    pub(super) features: FeatureRates,
}

/// Scratch memory for rates of features.
#[derive(Debug, Clone, Default)]
pub(super) struct FeatureRates {
    rates: Vec<f64>,
    stacked: Vec<f64>,
    stacked_rates: Vec<f64>,
}

/// Scratch memory for pulling seeds back through a feature map.
#[derive(Debug, Clone, Default)]
pub(super) struct PullBack {
    pub features: Vec<f64>,
    stacked: Vec<f64>,
    back: Vec<f64>,
}

impl Backward {
    /// Makes this the pass in which nothing is sent back.
    pub fn clear(&mut self, batch: &Batch) {
        for values in [&mut self.mu, &mut self.seed] {
            values.clear();
            values.resize(batch.n_switches(), 0.0);
        }
    }
}

impl Forward {
    /// Makes this the same pass as `other`, in the memory at hand.
    pub fn copy(&mut self, other: &Self) {
        self.z.clone_from(&other.z);
        self.a.clone_from(&other.a);
        self.slope.clone_from(&other.slope);
        self.by_learned.clone_from(&other.by_learned);
        self.f.clone_from(&other.f);
        self.features.clone_from(&other.features);
        self.stacked.clone_from(&other.stacked);
    }

    /// Makes this the pass with the sizes of all numbers of `other`, outputs apart.
    pub fn copy_sizes(&mut self, other: &Self) {
        let copy = |to: &mut Vec<f64>, from: &[f64]| {
            to.clear();
            to.extend(from.iter().map(|v| v.abs()));
        };
        copy(&mut self.z, &other.z);
        copy(&mut self.a, &other.a);
        copy(&mut self.slope, &other.slope);
        copy(&mut self.by_learned, &other.by_learned);
        self.features.resize_with(other.features.len(), Vec::new);
        self.features.iter_mut().zip(&other.features).for_each(|(to, from)| copy(to, from));
    }
}

impl Batch {
    /// `x` holds the inputs sample by sample (n × N).
    pub fn new(network: Network, x: Vec<f64>) -> Self {
        let n_samples = x.len() / network.widths()[0];
        let mut offsets = vec![0];
        for &width in &network.widths()[1..=network.n_hidden()] {
            offsets.push(offsets[offsets.len() - 1] + width * n_samples);
        }
        let constant = network.layers().iter().map(|layer| constant_features(&layer.map, &x, n_samples)).collect();
        Self { network, x, n_samples, offsets, constant }
    }

    /// The same batch with the sizes of all inputs in place of these.
    pub fn sizes(&self) -> Self {
        let sizes = |values: &Vec<f64>| values.iter().map(|v| v.abs()).collect();
        let constant = self.constant.iter().map(|features| features.as_ref().map(sizes)).collect();
        Self { x: sizes(&self.x), constant, ..self.clone() }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Inputs of one sample.
    pub fn input(&self, sample: usize) -> &[f64] {
        self.source(&[], 0, sample)
    }

    /// n.
    pub fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// Hidden units × samples.
    pub fn n_switches(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// n·M.
    pub fn n_outputs(&self) -> usize {
        self.n_samples * self.network.n_outputs()
    }

    /// Switch indices of a hidden layer (from 1).
    pub fn layer_range(&self, layer: usize) -> Range<usize> {
        self.offsets[layer - 1]..self.offsets[layer]
    }

    /// Hidden layer (from 1) of a switch.
    pub fn layer_of(&self, index: usize) -> usize {
        self.offsets.partition_point(|&o| o <= index)
    }

    /// Hidden layer (from 1), unit (position by position) and sample of a switch; switches are numbered layer by layer, then sample by
    /// sample.
    pub fn locate(&self, index: usize) -> (usize, usize, usize) {
        let layer = self.layer_of(index);
        let inside = index - self.offsets[layer - 1];
        let width = self.network.widths()[layer];
        (layer, inside % width, inside / width)
    }

    /// Features of layer `l` (from 0) on all samples.
    pub fn features<'a>(&'a self, forward: &'a Forward, l: usize) -> &'a [f64] {
        self.features_in(&forward.a, &forward.features, l)
    }

    /// Features of layer `l` on one sample.
    pub fn sample_features<'a>(&'a self, forward: &'a Forward, l: usize, sample: usize) -> &'a [f64] {
        let size = self.network.layers()[l].map.n_features();
        &self.features(forward, l)[sample * size..(sample + 1) * size]
    }

    fn features_in<'a>(&'a self, a: &'a [f64], features: &'a [Vec<f64>], l: usize) -> &'a [f64] {
        match (&self.constant[l], self.network.layers()[l].map.unchanged()) {
            (Some(constant), _) => constant,
            (None, Some(0)) => &self.x,
            (None, Some(hidden)) => &a[self.layer_range(hidden)],
            (None, None) => &features[l],
        }
    }

    /// Whether the features of layer `l` do not depend on θ.
    pub fn has_constant_features(&self, l: usize) -> bool {
        self.network.layers()[l].map.sources().iter().all(|&source| source == 0)
    }

    /// The part of a source that belongs to one sample; `hidden` holds values of all hidden units, or is empty for rates, in which the
    /// data have none.
    fn source<'a>(&'a self, hidden: &'a [f64], source: usize, sample: usize) -> &'a [f64] {
        let width = self.network.widths()[source];
        let values = if source == 0 { &self.x[..] } else { &hidden[self.layer_range(source)] };
        &values[sample * width..(sample + 1) * width]
    }

    /// The sources of a map on one sample, one behind the other.
    fn stack(&self, map: &FeatureMap, hidden: &[f64], sample: usize, out: &mut Vec<f64>) {
        out.clear();
        map.sources().iter().for_each(|&source| out.extend_from_slice(self.source(hidden, source, sample)));
    }

    /// The same for rates: those of the data are zero.
    pub(super) fn stack_rates(&self, map: &FeatureMap, rates: &[f64], sample: usize, out: &mut Vec<f64>) {
        out.clear();
        for &source in map.sources() {
            match source {
                0 => out.resize(out.len() + self.network.widths()[0], 0.0),
                _ => out.extend_from_slice(self.source(rates, source, sample)),
            }
        }
    }

    /// Value and derivative of the activation at a breakpoint, from the given piece's formula.
    pub fn activation_at(&self, theta: &[f64], layer: usize, piece: u16, z: f64) -> (f64, f64) {
        self.network.activation().eval(piece, z, self.learned_slope(theta, layer))
    }

    fn learned_slope(&self, theta: &[f64], layer: usize) -> f64 {
        self.network.layers()[layer - 1].slope.map_or(0.0, |at| theta[at])
    }

    /// Runs the network at θ; `held` is sorted by index.
    pub fn forward(&self, theta: &[f64], pieces: &[u16], held: &[Held], out: &mut Forward) {
        self.make_room(out);
        let learned = self.network.activation().has_learned_slope();
        let mut next_held = 0;
        for l in 0..self.network.layers().len() {
            self.apply_layer(theta, l, out);
            if l < self.network.n_hidden() {
                let range = self.layer_range(l + 1);
                self.activate(theta, l + 1, pieces, out);
                while let Some(h) = held.get(next_held).filter(|h| h.index < range.end) {
                    out.a[h.index] = h.output;
                    out.slope[h.index] = 0.0;
                    if learned {
                        out.by_learned[h.index] = 0.0;
                    }
                    next_held += 1;
                }
            }
        }
    }

    /// The pieces of all pre-activations at θ, read off their values with none held; a value on a breakpoint counts as above it.
    ///
    /// Layer by layer, since the pieces of one layer decide the inputs of the next. Costs one forward pass and leaves `out` with everything
    /// but the network outputs.
    pub fn read_pieces(&self, theta: &[f64], out: &mut Forward) -> Vec<u16> {
        self.make_room(out);
        let breakpoints = self.network.activation().breakpoints();
        let mut pieces = vec![0; self.n_switches()];
        for hidden in 1..=self.network.n_hidden() {
            self.apply_layer(theta, hidden - 1, out);
            for j in self.layer_range(hidden) {
                pieces[j] = breakpoints.partition_point(|&b| b <= out.z[j]) as u16;
            }
            self.activate(theta, hidden, &pieces, out);
        }
        pieces
    }

    fn make_room(&self, out: &mut Forward) {
        let n_switches = self.n_switches();
        out.z.resize(n_switches, 0.0);
        out.a.resize(n_switches, 0.0);
        out.slope.resize(n_switches, 0.0);
        out.f.resize(self.n_outputs(), 0.0);
        out.features.resize_with(self.network.layers().len(), Vec::new);
        if self.network.activation().has_learned_slope() {
            out.by_learned.resize(n_switches, 0.0);
        }
    }

    /// z of hidden layer `l` + 1, or F behind the last one, from the activations of the layers before.
    fn apply_layer(&self, theta: &[f64], l: usize, out: &mut Forward) {
        self.gather_features(l, out);
        let layer = &self.network.layers()[l];
        let Forward { z, a, f, features, stacked, .. } = out;
        let target = if l < self.network.n_hidden() { &mut z[self.layer_range(l + 1)] } else { &mut f[..] };
        layer.apply(theta, self.features_in(a, features, l), target);
        if let Some(skip) = &layer.skip {
            for (sample, target) in target.chunks_exact_mut(layer.width()).enumerate() {
                self.stack(skip, a, sample, stacked);
                skip.accumulate(stacked, target);
            }
        }
    }

    /// Computes the features of layer `l` where they are neither activations nor constant.
    fn gather_features(&self, l: usize, out: &mut Forward) {
        let map = &self.network.layers()[l].map;
        if map.unchanged().is_some() || self.constant[l].is_some() {
            return;
        }
        let Forward { a, features, stacked, .. } = out;
        let features = &mut features[l];
        features.clear();
        features.resize(map.n_features() * self.n_samples, 0.0);
        for (sample, target) in features.chunks_exact_mut(map.n_features()).enumerate() {
            self.stack(map, a, sample, stacked);
            map.accumulate(stacked, target);
        }
    }

    fn activate(&self, theta: &[f64], layer: usize, pieces: &[u16], out: &mut Forward) {
        let range = self.layer_range(layer);
        let learned = self.learned_slope(theta, layer);
        let activation = self.network.activation();
        let (z, pieces) = (&out.z[range.clone()], &pieces[range.clone()]);
        let (a, slope) = (&mut out.a[range.clone()], &mut out.slope[range.clone()]);
        if let Some(lines) = activation.lines(learned) {
            let units = a.iter_mut().zip(slope).zip(z).zip(pieces);
            if activation.breakpoints().len() <= 1 {
                // By bits rather than by a branch, which half of all units would take at random.
                let [(low, low_slope), (high, high_slope), ..] = lines.map(|(c0, c1)| (c0.to_bits(), c1.to_bits()));
                vectorised!({
                    for (((a, slope), &z), &piece) in units {
                        let is_low = if piece == 0 { u64::MAX } else { 0 };
                        let choose = |low: u64, high: u64| f64::from_bits(low & is_low | high & !is_low);
                        *slope = choose(low_slope, high_slope);
                        *a = choose(low, high) + *slope * z;
                    }
                });
            } else {
                for (((a, slope), &z), &piece) in units {
                    // Never out of range; the mask spares the check.
                    let (c0, c1) = lines[usize::from(piece) & 3];
                    *a = c0 + c1 * z;
                    *slope = c1;
                }
            }
        } else {
            for (((a, slope), &z), &piece) in a.iter_mut().zip(slope).zip(z).zip(pieces) {
                (*a, *slope) = activation.eval(piece, z, learned);
            }
        }
        if activation.has_learned_slope() {
            for ((by, &z), &piece) in out.by_learned[range].iter_mut().zip(z).zip(pieces) {
                *by = if piece == 0 { z } else { 0.0 };
            }
        }
    }

    /// Whether layer `l` is the only one that reads some hidden layer, and reads it as it is; returns that hidden layer.
    pub(super) fn only_reads(&self, l: usize) -> Option<usize> {
        let layer = &self.network.layers()[l];
        let hidden = layer.map.unchanged().filter(|&source| source > 0 && layer.skip.is_none())?;
        (self.network.readers(hidden) == [l]).then_some(hidden)
    }

    /// Carries the output seed down to ∂/∂z and ∂/∂a of every switch; *injected* seeds δ_k (sorted by switch) are added at theirs.
    pub fn backpropagate(
        &self,
        theta: &[f64],
        forward: &Forward,
        output_seed: &[f64],
        injected: &[(usize, f64)],
        out: &mut Backward,
    ) {
        out.mu.resize(self.n_switches(), 0.0);
        out.seed.resize(self.n_switches(), 0.0);
        let n_hidden = self.network.n_hidden();
        for l in 1..=n_hidden {
            // Where one layer alone reads, it overwrites; else contributions are added up.
            if !self.network.readers(l).iter().any(|&reader| self.only_reads(reader) == Some(l)) {
                out.mu[self.layer_range(l)].fill(0.0);
            }
        }
        let mut rest = injected;
        for (l, layer) in self.network.layers().iter().enumerate().skip(1).rev() {
            let range = self.layer_range(l);
            let Backward { mu, seed, scratch } = out;
            let (below, above) = seed.split_at_mut(range.end);
            let seed = if l < n_hidden { &above[..layer.width() * self.n_samples] } else { output_seed };
            if let Some(hidden) = self.only_reads(l) {
                layer.multiply_transposed(theta, seed, Accum::Replace, &mut mu[self.layer_range(hidden)]);
            } else {
                scratch.features.resize(layer.map.n_features() * self.n_samples, 0.0);
                layer.multiply_transposed(theta, seed, Accum::Replace, &mut scratch.features);
                let features = std::mem::take(&mut scratch.features);
                let columns = features.chunks_exact(layer.map.n_features()).zip(seed.chunks_exact(layer.width()));
                for (sample, (features, seed)) in columns.enumerate() {
                    self.pull_back(&layer.map, forward, sample, features, scratch, mu);
                    if let Some(skip) = &layer.skip {
                        self.pull_back(skip, forward, sample, seed, scratch, mu);
                    }
                }
                scratch.features = features;
            }
            let mu = &out.mu[range.clone()];
            let target = &mut below[range.clone()];
            let slopes = &forward.slope[range.clone()];
            vectorised!(target.iter_mut().zip(mu).zip(slopes).for_each(|((t, m), s)| *t = m * s));
            while let Some(((index, delta), head)) = rest.split_last().filter(|((i, _), _)| *i >= range.start) {
                target[index - range.start] += delta;
                rest = head;
            }
        }
    }

    /// Adds Dφᵀ·seed on one sample to μ of the hidden layers that the map reads.
    pub(super) fn pull_back(
        &self,
        map: &FeatureMap,
        forward: &Forward,
        sample: usize,
        seed: &[f64],
        scratch: &mut PullBack,
        mu: &mut [f64],
    ) {
        self.pull_back_each(map, forward, sample, seed, scratch, self.add_to(sample, mu));
    }

    /// Hands Dφᵀ·seed on one sample to `take`, hidden source by hidden source.
    pub(super) fn pull_back_each(
        &self,
        map: &FeatureMap,
        forward: &Forward,
        sample: usize,
        seed: &[f64],
        scratch: &mut PullBack,
        mut take: impl FnMut(usize, &[f64]),
    ) {
        let PullBack { stacked, back, .. } = scratch;
        self.stack(map, &forward.a, sample, stacked);
        back.clear();
        back.resize(stacked.len(), 0.0);
        map.pull_back(stacked, seed, back);
        self.each_source(map, back, &mut take);
    }

    /// Adds d(Dφ)ᵀ·seed on one sample, along the `rates` of what the map reads, to μ.
    pub(super) fn pull_back_change(
        &self,
        map: &FeatureMap,
        rates: &[f64],
        sample: usize,
        seed: &[f64],
        scratch: &mut PullBack,
        mu: &mut [f64],
    ) {
        scratch.back.clear();
        scratch.back.resize(rates.len(), 0.0);
        map.pull_back_change(rates, seed, &mut scratch.back);
        self.each_source(map, &scratch.back, &mut self.add_to(sample, mu));
    }

    /// Adds what belongs to a hidden source on one sample to values of all hidden units.
    fn add_to<'a>(&'a self, sample: usize, mu: &'a mut [f64]) -> impl FnMut(usize, &[f64]) + 'a {
        move |source, back| {
            let width = back.len();
            let start = self.layer_range(source).start + sample * width;
            mu[start..start + width].iter_mut().zip(back).for_each(|(m, b)| *m += b);
        }
    }

    /// Hands the parts of stacked values to `take`, hidden source by hidden source.
    fn each_source(&self, map: &FeatureMap, stacked: &[f64], take: &mut impl FnMut(usize, &[f64])) {
        let mut rest = stacked;
        for &source in map.sources() {
            let (part, others) = rest.split_at(self.network.widths()[source]);
            rest = others;
            if source > 0 {
                take(source, part);
            }
        }
    }

    /// Seeds at the outputs of layer `l` (from 0): ∂/∂z of a hidden layer, or the output seed.
    pub fn layer_seed<'a>(&self, backward: &'a Backward, output_seed: &'a [f64], l: usize) -> &'a [f64] {
        if l < self.network.n_hidden() { &backward.seed[self.layer_range(l + 1)] } else { output_seed }
    }

    /// grad = Jᵀ·output_seed + Σ_k δ_k ∇z_k with the δ_k injected at switches (sorted by switch).
    ///
    /// With output seed ∂L/∂F and nothing injected this is ∇L.
    pub fn backward(
        &self,
        theta: &[f64],
        forward: &Forward,
        output_seed: &[f64],
        injected: &[(usize, f64)],
        out: &mut Backward,
        grad: &mut [f64],
    ) {
        self.backpropagate(theta, forward, output_seed, injected, out);
        self.gradient(forward, output_seed, out, grad);
    }

    /// The gradient whose seeds a backward pass has left in `seeds`, the second half of [`backward`](Self::backward).
    pub fn gradient(&self, forward: &Forward, output_seed: &[f64], seeds: &Backward, grad: &mut [f64]) {
        self.gradient_times(1.0, forward, output_seed, seeds, grad);
    }

    /// That gradient times a factor.
    pub fn gradient_times(
        &self,
        factor: f64,
        forward: &Forward,
        output_seed: &[f64],
        seeds: &Backward,
        grad: &mut [f64],
    ) {
        for (l, layer) in self.network.layers().iter().enumerate() {
            let start = layer.weights.start;
            let own = &mut grad[start..start + layer.n_parameters()];
            layer.gradient_times(factor, self.features(forward, l), self.layer_seed(seeds, output_seed, l), own);
            if let Some(at) = layer.slope {
                let range = self.layer_range(l + 1);
                grad[at] = factor * dot(&seeds.mu[range.clone()], &forward.by_learned[range]);
            }
        }
    }

    /// Derivatives of all pre-activations (`dz`) and outputs (`df` = J·dθ) along `dtheta`.
    pub fn tangent(
        &self,
        theta: &[f64],
        forward: &Forward,
        dtheta: &[f64],
        dz: &mut [f64],
        df: &mut [f64],
        scratch: &mut TangentScratch,
    ) {
        let TangentScratch { da, features } = scratch;
        da.resize(self.n_switches(), 0.0);
        for (l, layer) in self.network.layers().iter().enumerate() {
            let hidden = l < self.network.n_hidden();
            let target = if hidden { &mut dz[self.layer_range(l + 1)] } else { &mut *df };
            layer.apply(dtheta, self.features(forward, l), target);
            if !self.has_constant_features(l) {
                let rates = self.feature_rates(l, forward, da, features);
                layer.multiply(theta, rates, Accum::Add, target);
            }
            if let Some(skip) = &layer.skip {
                for (sample, target) in target.chunks_exact_mut(layer.width()).enumerate() {
                    self.stack_rates(skip, da, sample, &mut features.stacked_rates);
                    skip.accumulate(&features.stacked_rates, target);
                }
            }
            if hidden {
                let range = self.layer_range(l + 1);
                let (dz, slopes) = (&dz[range.clone()], &forward.slope[range.clone()]);
                let da = &mut da[range.clone()];
                da.iter_mut().zip(dz).zip(slopes).for_each(|((da, d), s)| *da = d * s);
                if let Some(at) = layer.slope {
                    da.iter_mut().zip(&forward.by_learned[range]).for_each(|(d, b)| *d += dtheta[at] * b);
                }
            }
        }
    }

    /// Rates of the features of layer `l`, given those of all activations.
    pub(super) fn feature_rates<'a>(
        &self,
        l: usize,
        forward: &Forward,
        da: &'a [f64],
        scratch: &'a mut FeatureRates,
    ) -> &'a [f64] {
        let map = &self.network.layers()[l].map;
        if let Some(source) = map.unchanged().filter(|&source| source > 0) {
            return &da[self.layer_range(source)];
        }
        let FeatureRates { rates, stacked, stacked_rates } = scratch;
        rates.clear();
        rates.resize(map.n_features() * self.n_samples, 0.0);
        for (sample, rates) in rates.chunks_exact_mut(map.n_features()).enumerate() {
            self.stack(map, &forward.a, sample, stacked);
            self.stack_rates(map, da, sample, stacked_rates);
            map.accumulate_tangent(stacked, stacked_rates, rates);
        }
        rates
    }

    /// Pre-activation of one switch, from a forward pass of its sample alone up to its layer.
    pub fn value_at(
        &self,
        theta: &[f64],
        pieces: &[u16],
        held: &[Held],
        index: usize,
        scratch: &mut [Vec<f64>; 3],
    ) -> f64 {
        let (layer, unit, sample) = self.locate(index);
        // Activations of the sample, hidden layer by hidden layer; the sources of one map, and its features.
        let [activations, stacked, features] = scratch;
        activations.clear();
        for l in 1..layer {
            let block = &self.network.layers()[l - 1];
            let width = block.width();
            let start = self.layer_range(l).start + sample * width;
            let learned = self.learned_slope(theta, l);
            let first = activations.len();
            self.stack_sample(&block.map, sample, activations, stacked);
            if block.is_plain() && block.map.unchanged().is_some() {
                activations.extend((0..width).map(|u| block.output(theta, stacked, u)));
            } else {
                features.clear();
                features.resize(block.map.n_features(), 0.0);
                block.map.accumulate(stacked, features);
                activations.resize(first + width, 0.0);
                block.apply(theta, features, &mut activations[first..]);
            }
            if let Some(skip) = &block.skip {
                self.stack_sample(skip, sample, activations, stacked);
                skip.accumulate(stacked, &mut activations[first..]);
            }
            for (z, &piece) in activations[first..].iter_mut().zip(&pieces[start..]) {
                *z = self.network.activation().eval(piece, *z, learned).0;
            }
            let first_held = held.partition_point(|h| h.index < start);
            for h in held[first_held..].iter().take_while(|h| h.index < start + width) {
                activations[first + h.index - start] = h.output;
            }
        }
        let block = &self.network.layers()[layer - 1];
        self.stack_sample(&block.map, sample, activations, stacked);
        let direct = block.output(theta, stacked, unit);
        match &block.skip {
            None => direct,
            Some(skip) => {
                self.stack_sample(skip, sample, activations, stacked);
                direct + skip.feature(unit, stacked)
            }
        }
    }

    /// The sources of a map on one sample whose own activations are at hand.
    fn stack_sample(&self, map: &FeatureMap, sample: usize, activations: &[f64], out: &mut Vec<f64>) {
        out.clear();
        for &source in map.sources() {
            if source == 0 {
                out.extend_from_slice(self.source(&[], 0, sample));
                continue;
            }
            let start: usize = self.network.widths()[1..source].iter().sum();
            out.extend_from_slice(&activations[start..start + self.network.widths()[source]]);
        }
    }
}

/// Features of a map that reads nothing but the data, unless they are the data.
fn constant_features(map: &FeatureMap, x: &[f64], n_samples: usize) -> Option<Vec<f64>> {
    if map.unchanged().is_some() || map.sources() != [0] {
        return None;
    }
    let mut features = vec![0.0; map.n_features() * n_samples];
    let samples = x.chunks_exact(x.len() / n_samples);
    for (target, sample) in features.chunks_exact_mut(map.n_features()).zip(samples) {
        map.accumulate(sample, target);
    }
    Some(features)
}
