//! Gram matrices of gradients by layer structure, without ever forming a gradient.
//!
//! A *probe* is a scalar output of the network on one sample: a component of F, or the pre-activation of a hidden unit. Its
//! gradient is, layer by layer, the outer product of a seed (∂probe/∂z_l) and the layer's input, so that
//!
//! ⟨∇p, ∇q⟩ = Σ_l ⟨seed_l(p), seed_l(q)⟩ · (⟨φ_l(p), φ_l(q)⟩ + \[bias\]) + Σ_l learned_l(p)·learned_l(q),
//!
//! the last sum running over learned slopes. Where a layer shares its weights over positions or splits them into groups, a gradient is
//! a sum of such products; there the gradients by that one layer are formed, a *row* per probe, and multiplied. The NTK Gram matrix and
//! the Gram matrix of sliding surfaces are both made this way.

use super::layer::Layer;
use super::pass::{Backward, Batch, Forward, PullBack, TangentScratch};
use crate::vector::{dot, vectorised};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, MatMut, MatRef, Par};

/// Seeds of a set of probes, sorted by layer so that those reaching a layer are a suffix.
#[derive(Debug, Clone, Default)]
pub struct Probes {
    /// Sample of each probe.
    pub(super) samples: Vec<usize>,
    /// Unit of each probe in its own layer, for probes of switches.
    units: Vec<usize>,
    /// Probes of switches, layer by layer and there by sample.
    by_sample: Vec<usize>,
    /// For each layer (from 0), the first probe that reaches it.
    pub(super) first: Vec<usize>,
    /// For each layer, the seeds of probes `first..`, one column each (width × count).
    pub(super) seeds: Vec<Vec<f64>>,
    /// For each layer, ∂probe/∂(learned slope behind it) of probes `first[l+1]..`; empty without learned slopes.
    pub(super) learned: Vec<Vec<f64>>,
    /// For each layer, ∂probe/∂a of probes `first[l+1]..` at the hidden layer behind it; for probes of switches only.
    at_activations: Vec<Vec<f64>>,
    scratch: PullBack,
}

impl Probes {
    /// Probes for every component of F, sample by sample; `slopes` take the place of those in `forward`.
    pub fn outputs(&mut self, batch: &Batch, theta: &[f64], forward: &Forward, slopes: &[f64]) {
        let n_layers = batch.network().layers().len();
        let n_outputs = batch.network().n_outputs();
        let count = batch.n_outputs();
        self.prepare(n_layers);
        self.samples.extend((0..count).map(|k| k / n_outputs));
        self.first.fill(0);
        let top = &mut self.seeds[n_layers - 1];
        top.resize(count * n_outputs, 0.0);
        for (k, column) in top.chunks_exact_mut(n_outputs).enumerate() {
            column[k % n_outputs] = 1.0;
        }
        self.descend(batch, theta, forward, slopes);
    }

    /// Probes for pre-activations of switches, sorted by layer. A switch held in `forward` blocks what lies below it.
    pub fn switches(&mut self, batch: &Batch, theta: &[f64], forward: &Forward, switches: &[usize]) {
        let n_layers = batch.network().layers().len();
        self.prepare(n_layers);
        for &j in switches {
            let (_, unit, sample) = batch.locate(j);
            self.units.push(unit);
            self.samples.push(sample);
        }
        for l in 0..n_layers {
            self.first[l] = switches.partition_point(|&j| batch.layer_of(j) <= l);
        }
        self.by_sample.clear();
        self.by_sample.extend(0..switches.len());
        let samples = &self.samples;
        for ends in self.first.windows(2) {
            let own = &mut self.by_sample[ends[0]..ends[1]];
            if !own.is_sorted_by_key(|&p| samples[p]) {
                own.sort_unstable_by_key(|&p| samples[p]);
            }
        }
        for l in 0..batch.network().n_hidden() {
            let width = batch.network().widths()[l + 1];
            let own = self.first[l]..self.first[l + 1];
            self.seeds[l].resize((switches.len() - own.start) * width, 0.0);
            for (column, &unit) in self.seeds[l].chunks_exact_mut(width).zip(&self.units[own]) {
                column[unit] = 1.0;
            }
        }
        self.descend(batch, theta, forward, &forward.slope);
    }

    /// Number of probes.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Number of layers, from the first, whose parameters some probe depends on.
    pub(super) fn depth(&self) -> usize {
        self.first.iter().take_while(|&&first| first < self.len()).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    fn prepare(&mut self, n_layers: usize) {
        self.samples.clear();
        self.units.clear();
        self.first.resize(n_layers, 0);
        self.seeds.resize_with(n_layers, Vec::new);
        self.seeds.iter_mut().for_each(Vec::clear);
        self.learned.resize_with(n_layers, Vec::new);
        self.learned.iter_mut().for_each(Vec::clear);
        self.at_activations.resize_with(n_layers, Vec::new);
        self.at_activations.iter_mut().for_each(Vec::clear);
    }

    /// Adds Σ_k δ_k·∂(probe k)/∂z and ∂/∂a to the seeds of a backward pass: with probes of switches this is what injecting the δ_k into
    /// that pass would have done.
    pub fn inject(&self, batch: &Batch, deltas: impl Iterator<Item = f64> + Clone, backward: &mut Backward) {
        for l in 0..batch.network().n_hidden() {
            let width = batch.network().layers()[l].width();
            let start = batch.layer_range(l + 1).start;
            let add = |into: &mut [f64], first: usize, seeds: &[f64]| {
                let columns = seeds.chunks_exact(width).zip(&self.samples[first..]);
                for ((column, &sample), delta) in columns.zip(deltas.clone().skip(first)) {
                    let at = start + sample * width;
                    into[at..at + width].iter_mut().zip(column).for_each(|(i, c)| *i += delta * c);
                }
            };
            add(&mut backward.seed, self.first[l], &self.seeds[l]);
            add(&mut backward.mu, self.first[l + 1], &self.at_activations[l]);
        }
    }

    /// Carries seeds from the last layer down to the first one.
    fn descend(&mut self, batch: &Batch, theta: &[f64], forward: &Forward, slopes: &[f64]) {
        let count = self.len();
        let network = batch.network();
        let by_learned = network.activation().has_learned_slope();
        for l in 0..network.n_hidden() {
            self.seeds[l].resize((count - self.first[l]) * network.widths()[l + 1], 0.0);
        }
        for (l, layer) in network.layers().iter().enumerate().skip(1).rev() {
            let deeper = self.first[l];
            if deeper == count {
                continue;
            }
            self.carry_below(batch, theta, forward, l, layer);
            // What has been carried to hidden layer l comes from all its readers by now: through the activation it goes.
            let width = network.widths()[l];
            let below = &mut self.seeds[l - 1][(deeper - self.first[l - 1]) * width..];
            if !self.units.is_empty() {
                self.at_activations[l - 1].extend_from_slice(below);
            }
            let start = batch.layer_range(l).start;
            for (column, &sample) in below.chunks_exact_mut(width).zip(&self.samples[deeper..]) {
                let at = start + sample * width..start + (sample + 1) * width;
                if by_learned {
                    self.learned[l - 1].push(dot(column, &forward.by_learned[at.clone()]));
                }
                column.iter_mut().zip(&slopes[at]).for_each(|(d, s)| *d *= s);
            }
        }
    }

    /// Adds what the seeds at layer `l` are at the activations that it reads.
    fn carry_below(&mut self, batch: &Batch, theta: &[f64], forward: &Forward, l: usize, layer: &Layer) {
        let deeper = self.first[l];
        let Self { samples, first, seeds, scratch, .. } = self;
        let (lower, upper) = seeds.split_at_mut(l);
        let above = &upper[0];
        if let Some(hidden) = batch.only_reads(l) {
            let below = &mut lower[hidden - 1][(deeper - first[hidden - 1]) * batch.network().widths()[hidden]..];
            return layer.multiply_transposed(theta, above, Accum::Replace, below);
        }
        let size = layer.map.n_features();
        let mut features = std::mem::take(&mut scratch.features);
        features.resize(size * (samples.len() - deeper), 0.0);
        layer.multiply_transposed(theta, above, Accum::Replace, &mut features);
        let columns = features.chunks_exact(size).zip(above.chunks_exact(layer.width()));
        for (k, (features, above)) in columns.enumerate() {
            let mut add = |source: usize, back: &[f64]| {
                let at = (deeper + k - first[source - 1]) * back.len();
                lower[source - 1][at..at + back.len()].iter_mut().zip(back).for_each(|(s, b)| *s += b);
            };
            let sample = samples[deeper + k];
            batch.pull_back_each(&layer.map, forward, sample, features, scratch, &mut add);
            if let Some(skip) = &layer.skip {
                batch.pull_back_each(skip, forward, sample, above, scratch, &mut add);
            }
        }
        scratch.features = features;
    }

    /// The gradient of each probe that reaches layer `l` by that layer's weights and biases, one column each.
    pub(super) fn rows(&self, batch: &Batch, forward: &Forward, l: usize, out: &mut Vec<f64>) {
        let layer = &batch.network().layers()[l];
        out.resize(layer.n_parameters() * (self.len() - self.first[l]), 0.0);
        let seeds = self.seeds[l].chunks_exact(layer.width());
        let targets = out.chunks_exact_mut(layer.n_parameters());
        for ((target, seed), &sample) in targets.zip(seeds).zip(&self.samples[self.first[l]..]) {
            layer.gradient(batch.sample_features(forward, l, sample), seed, target);
        }
    }
}

/// Sample kernels of a forward pass, and scratch memory for what is made of them.
#[derive(Debug, Clone, Default)]
pub struct KernelScratch {
    /// φᵀφ + [bias] of each plain layer (n × n); that of constant features never changes.
    pub(super) kernels: Vec<Vec<f64>>,
    pub(super) products: Vec<f64>,
    pub(super) spread: Vec<f64>,
    by_unit: Vec<f64>,
    /// The probes of a layer's own switches, unit by unit, and where each unit begins.
    members: (Vec<usize>, Vec<usize>),
    /// For each other layer, the rows of the probes.
    pub(super) rows: Vec<Vec<f64>>,
    pub(super) other_rows: Vec<Vec<f64>>,
    gradient: Vec<f64>,
    outputs: Vec<f64>,
    tangent: TangentScratch,
}

impl KernelScratch {
    /// Computes the kernels of the plain layers among the first `n_layers`.
    pub(super) fn refresh(&mut self, batch: &Batch, forward: &Forward, n_layers: usize) {
        let n = batch.n_samples();
        let layers = batch.network().layers();
        self.kernels.resize_with(layers.len(), Vec::new);
        self.rows.resize_with(layers.len(), Vec::new);
        for (l, kernel) in self.kernels.iter_mut().enumerate().take(n_layers) {
            let is_known = batch.has_constant_features(l) && kernel.len() == n * n;
            if !layers[l].is_plain() || is_known {
                continue;
            }
            let features = MatRef::from_column_major_slice(batch.features(forward, l), layers[l].n_in, n);
            kernel.clear();
            kernel.resize(n * n, if layers[l].bias.is_some() { 1.0 } else { 0.0 });
            matmul(
                MatMut::from_column_major_slice_mut(&mut kernel[..], n, n),
                Accum::Add,
                features.transpose(),
                features,
                1.0,
                Par::Seq,
            );
        }
    }
}

/// Copies the lower triangle of an n × n matrix over the upper one, tile by tile so that columns stay in cache.
pub fn mirror(matrix: &mut [f64], n: usize) {
    const TILE: usize = 16;
    for first in (0..n).step_by(TILE) {
        for top in (first..n).step_by(TILE) {
            for column in first..(first + TILE).min(n) {
                for row in top.max(column + 1)..(top + TILE).min(n) {
                    matrix[row * n + column] = matrix[column * n + row];
                }
            }
        }
    }
}

/// Γ[p, q] = ⟨∇p, ∇q⟩ for probes of switches, as [`own_gram`](super::own_gram()), in columns that are `stride` apart. In its own layer a
/// probe's seed is a unit vector, which leaves products only between equal units there.
pub fn switch_gram(
    batch: &Batch,
    forward: &Forward,
    probes: &Probes,
    scratch: &mut KernelScratch,
    out: &mut [f64],
    stride: usize,
) {
    let (rows, n) = (probes.len(), batch.n_samples());
    scratch.refresh(batch, forward, probes.depth());
    let KernelScratch { kernels, products, spread, by_unit, members: (members, starts), rows: own_rows, .. } = scratch;
    let (own, whole) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    for (l, layer) in batch.network().layers().iter().enumerate() {
        let first = probes.first[l];
        let deeper = probes.first.get(l + 1).copied().unwrap_or(rows);
        if first == rows {
            continue;
        }
        // Every probe reaches the first layer.
        let accum = if l == 0 { Accum::Replace } else { Accum::Add };
        if !layer.is_plain() {
            probes.rows(batch, forward, l, &mut own_rows[l]);
            let gradients = MatRef::from_column_major_slice(&own_rows[l][..], layer.n_parameters(), rows - first);
            let target = MatMut::from_column_major_slice_with_stride_mut(&mut *out, rows, rows, stride);
            let target = target.submatrix_mut(first, first, rows - first, rows - first);
            triangular::matmul(target, own, accum, gradients.transpose(), whole, gradients, whole, 1.0, Par::Seq);
            continue;
        }
        let width = layer.n_out;
        let count = rows - deeper;
        let seeds = &probes.seeds[l][(deeper - first) * width..];
        products.resize(count * count, 0.0);
        if count > 0 {
            let seeds = MatRef::from_column_major_slice(seeds, width, count);
            let target = MatMut::from_column_major_slice_mut(&mut products[..], count, count);
            triangular::matmul(target, own, Accum::Replace, seeds.transpose(), whole, seeds, whole, 1.0, Par::Seq);
        }
        let (kernel, samples, units) = (&kernels[l][..], &probes.samples[first..], &probes.units[first..deeper]);
        sort_by_unit(units, width, members, starts);
        vectorised!({
            // Seeds of the deeper probes, unit by unit.
            by_unit.resize(width * count, 0.0);
            for (p, seed) in seeds.chunks_exact(width).enumerate() {
                seed.iter().enumerate().for_each(|(unit, s)| by_unit[unit * count + p] = *s);
            }
            let mut sample = None;
            for k in probes.by_sample[first..].iter().map(|p| p - first) {
                let own = samples[k];
                let kernel = &kernel[own * n..(own + 1) * n];
                // Probes of one sample share its kernel column, spread over the rows of the deeper ones.
                if sample != Some(own) {
                    sample = Some(own);
                    spread.clear();
                    spread.extend(samples[units.len()..].iter().map(|&s| kernel[s]));
                }
                let column = &mut out[(first + k) * stride + first..(first + k) * stride + rows];
                if accum == Accum::Replace {
                    column[k..].fill(0.0);
                }
                if let Some(&unit) = units.get(k) {
                    let same = &members[starts[unit]..starts[unit + 1]];
                    same.iter().filter(|&&other| other >= k).for_each(|&other| column[other] += kernel[samples[other]]);
                    let products = &by_unit[unit * count..(unit + 1) * count];
                    let terms = products.iter().zip(&spread[..]);
                    column[units.len()..]
                        .iter_mut()
                        .zip(terms)
                        .for_each(|(t, (product, kernel))| *t += product * kernel);
                } else {
                    let products = &products[(k - units.len()) * (count + 1)..(k - units.len() + 1) * count];
                    let terms = products.iter().zip(&spread[k - units.len()..]);
                    column[k..].iter_mut().zip(terms).for_each(|(t, (product, kernel))| *t += product * kernel);
                }
            }
        });
    }
    add_learned(probes, probes, (rows, stride), out);
}

/// Lists 0, 1, … unit by unit: those of unit u, which are in order, are `members[starts[u]..starts[u + 1]]`.
fn sort_by_unit(units: &[usize], width: usize, members: &mut Vec<usize>, starts: &mut Vec<usize>) {
    starts.clear();
    starts.resize(width + 2, 0);
    units.iter().for_each(|unit| starts[unit + 2] += 1);
    (2..width + 2).for_each(|u| starts[u] += starts[u - 1]);
    members.resize(units.len(), 0);
    for (k, unit) in units.iter().enumerate() {
        members[starts[unit + 1]] = k;
        starts[unit + 1] += 1;
    }
}

/// ⟨∇p, g⟩ for every probe p of a switch and the gradient g whose seeds are in `backward` and `output_seed`; g itself is never formed.
/// Comes after [`switch_gram`] with the same probes, forward pass and scratch, whose kernels and rows it uses.
pub fn gradient_products(
    batch: &Batch,
    forward: &Forward,
    backward: &Backward,
    output_seed: &[f64],
    probes: &Probes,
    scratch: &mut KernelScratch,
    out: &mut Vec<f64>,
) {
    let n = batch.n_samples();
    out.clear();
    out.resize(probes.len(), 0.0);
    let KernelScratch { kernels, products, rows, .. } = scratch;
    for (l, layer) in batch.network().layers().iter().enumerate() {
        let first = probes.first[l];
        if first == probes.len() {
            continue;
        }
        let deeper = probes.first.get(l + 1).copied().unwrap_or(probes.len());
        let seed = batch.layer_seed(backward, output_seed, l);
        if layer.is_plain() {
            let kernel = &kernels[l][..];
            let width = layer.n_out;
            // Σ_j seed(j)·k(j, i) for every sample i.
            products.resize(width * n, 0.0);
            matmul(
                MatMut::from_column_major_slice_mut(&mut products[..width * n], width, n),
                Accum::Replace,
                MatRef::from_column_major_slice(seed, width, n),
                MatRef::from_column_major_slice(kernel, n, n),
                1.0,
                Par::Seq,
            );
            for p in first..deeper {
                out[p] += products[probes.samples[p] * width + probes.units[p]];
            }
            let seeds = &probes.seeds[l][(deeper - first) * width..];
            for (p, seed) in (deeper..probes.len()).zip(seeds.chunks_exact(width)) {
                out[p] += dot(seed, &products[probes.samples[p] * width..(probes.samples[p] + 1) * width]);
            }
        } else {
            products.resize(layer.n_parameters(), 0.0);
            let gradient = &mut products[..layer.n_parameters()];
            layer.gradient(batch.features(forward, l), seed, gradient);
            out[first..]
                .iter_mut()
                .zip(rows[l].chunks_exact(gradient.len()))
                .for_each(|(o, row)| *o += dot(row, gradient));
        }
        if layer.slope.is_some() {
            let range = batch.layer_range(l + 1);
            let gradient = dot(&backward.mu[range.clone()], &forward.by_learned[range]);
            for (p, learned) in (deeper..probes.len()).zip(&probes.learned[l]) {
                out[p] += learned * gradient;
            }
        }
    }
}

/// Rates of all pre-activations when θ moves along the gradient whose seeds are in `backward` and `output_seed`. In a chain of plain
/// layers without learned slopes ż_l = seed_l·k_l + W_l·(slope ∘ ż_{l−1}) with the sample kernels k_l, and the gradient is never
/// formed if that is less work; else it is, and its tangent taken.
pub fn gradient_rates(
    batch: &Batch,
    theta: &[f64],
    forward: &Forward,
    backward: &Backward,
    output_seed: &[f64],
    scratch: &mut KernelScratch,
    rates: &mut Vec<f64>,
) {
    let n = batch.n_samples();
    let network = batch.network();
    let n_hidden = network.n_hidden();
    rates.resize(batch.n_switches(), 0.0);
    let is_chain = network
        .layers()
        .iter()
        .enumerate()
        .take(n_hidden)
        .all(|(l, layer)| layer.is_plain() && layer.slope.is_none() && (l == 0 || batch.only_reads(l) == Some(l)));
    // Products by way of kernels, and by way of the gradient and its tangent.
    let by_kernels: usize = (0..n_hidden)
        .map(|l| {
            let layer = &network.layers()[l];
            n * n * (layer.n_out + if batch.has_constant_features(l) { 0 } else { layer.n_in })
        })
        .sum();
    let by_gradient: usize = network.layers().iter().map(|layer| 2 * n * layer.n_in * layer.n_out).sum();
    if !is_chain || by_kernels > by_gradient {
        let KernelScratch { gradient, outputs, tangent, .. } = scratch;
        gradient.resize(network.n_parameters(), 0.0);
        batch.gradient(forward, output_seed, backward, gradient);
        outputs.resize(batch.n_outputs(), 0.0);
        return batch.tangent(theta, forward, gradient, rates, outputs, tangent);
    }
    scratch.refresh(batch, forward, n_hidden);
    let KernelScratch { kernels, products, .. } = scratch;
    for (l, layer) in network.layers().iter().enumerate().take(n_hidden) {
        let range = batch.layer_range(l + 1);
        let (below, own) = rates.split_at_mut(range.start);
        let own = &mut own[..range.len()];
        let width = layer.n_out;
        matmul(
            MatMut::from_column_major_slice_mut(&mut *own, width, n),
            Accum::Replace,
            MatRef::from_column_major_slice(batch.layer_seed(backward, output_seed, l), width, n),
            MatRef::from_column_major_slice(&kernels[l][..], n, n),
            1.0,
            Par::Seq,
        );
        if l > 0 {
            let before = batch.layer_range(l);
            products.clear();
            products.extend(below[before.clone()].iter().zip(&forward.slope[before]).map(|(r, s)| r * s));
            layer.multiply(theta, products, Accum::Add, own);
        }
    }
}

/// Adds the part of learned slopes to a Gram matrix with `rows` rows, its columns `stride` apart.
pub(super) fn add_learned(a: &Probes, b: &Probes, (rows, stride): (usize, usize), out: &mut [f64]) {
    for (l, (from_a, from_b)) in a.learned.iter().zip(&b.learned).enumerate() {
        for (k, &q) in from_b.iter().enumerate() {
            let column = (b.first[l + 1] + k) * stride;
            let target = &mut out[column + a.first[l + 1]..column + rows];
            target.iter_mut().zip(from_a).for_each(|(t, p)| *t += p * q);
        }
    }
}

impl Probes {
    /// (k, c, ∂(probe k)/∂a of probe c's unit) ≠ 0 for all pairs of probes of switches on one sample, c in an earlier layer.
    pub fn reads(&self, batch: &Batch) -> impl Iterator<Item = (usize, usize, f64)> {
        let ends = |l: usize| self.first[l]..self.first.get(l + 1).copied().unwrap_or(self.len());
        (0..batch.network().n_hidden()).flat_map(move |l| {
            let width = batch.network().widths()[l + 1];
            let own = &self.by_sample[ends(l)];
            (ends(l).end..self.len()).flat_map(move |k| {
                let sample = self.samples[k];
                let from = own.partition_point(|&c| self.samples[c] < sample);
                let same = own[from..].iter().take_while(move |&&c| self.samples[c] == sample);
                let column = &self.at_activations[l][(k - ends(l).end) * width..];
                same.map(move |&c| (k, c, column[self.units[c]])).filter(|(_, _, weight)| *weight != 0.0)
            })
        })
    }

    /// ∇(probe k) written into `out` (length P).
    pub fn gradient(&self, batch: &Batch, forward: &Forward, k: usize, out: &mut [f64]) {
        out.fill(0.0);
        let sample = self.samples[k];
        for (l, layer) in batch.network().layers().iter().enumerate() {
            if k < self.first[l] {
                continue;
            }
            let at = (k - self.first[l]) * layer.width();
            let seed = &self.seeds[l][at..at + layer.width()];
            let start = layer.weights.start;
            let own = &mut out[start..start + layer.n_parameters()];
            layer.gradient(batch.sample_features(forward, l, sample), seed, own);
            if let Some(slope) = layer.slope.filter(|_| k >= self.first[l + 1]) {
                out[slope] = self.learned[l][k - self.first[l + 1]];
            }
        }
    }
}
