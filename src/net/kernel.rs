//! Gram matrices of gradients by layer structure, without ever forming a gradient.
//!
//! A *probe* is a scalar output of the network on one sample: a component of F, or the pre-activation of a hidden unit. Its
//! gradient is, layer by layer, the outer product of a seed (∂probe/∂z_l) and the layer's input, so that
//!
//! ⟨∇p, ∇q⟩ = Σ_l ⟨seed_l(p), seed_l(q)⟩ · (⟨a_{l−1}(p), a_{l−1}(q)⟩ + \[bias\]) + Σ_l learned_l(p)·learned_l(q),
//!
//! the last sum running over learned slopes. The NTK Gram matrix and the Gram matrix of sliding surfaces are both of this form.

use super::pass::{Backward, Batch, Forward};
use crate::vector::{dot, vectorised};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// Seeds of a set of probes, sorted by layer so that those reaching a layer are a suffix.
#[derive(Debug, Clone, Default)]
pub struct Probes {
    /// Sample of each probe.
    samples: Vec<usize>,
    /// Unit of each probe in its own layer, for probes of switches.
    units: Vec<usize>,
    /// For each layer (from 0), the first probe that reaches it.
    first: Vec<usize>,
    /// For each layer, the seeds of probes `first..`, one column each (width × count).
    seeds: Vec<Vec<f64>>,
    /// For each layer, ∂probe/∂(learned slope behind it) of probes `first[l+1]..`; empty without learned slopes.
    learned: Vec<Vec<f64>>,
}

impl Probes {
    /// Probes for every component of F, sample by sample; `slopes` take the place of those in `forward`.
    pub fn outputs(&mut self, batch: &Batch, theta: &[f64], forward: &Forward, slopes: &[f64]) {
        let n_layers = batch.network().layout().layers().len();
        let n_outputs = batch.network().widths()[n_layers];
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

    /// Probes for pre-activations of switches, sorted by index. A switch held in `forward` blocks what lies below it.
    pub fn switches(&mut self, batch: &Batch, theta: &[f64], forward: &Forward, switches: &[usize]) {
        let n_layers = batch.network().layout().layers().len();
        self.prepare(n_layers);
        for &j in switches {
            let (_, unit, sample) = batch.locate(j);
            self.units.push(unit);
            self.samples.push(sample);
        }
        for l in 0..n_layers {
            self.first[l] = switches.partition_point(|&j| batch.layer_of(j) <= l);
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
    fn depth(&self) -> usize {
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
    }

    /// Carries seeds from the last layer down to the first one.
    fn descend(&mut self, batch: &Batch, theta: &[f64], forward: &Forward, slopes: &[f64]) {
        let count = self.len();
        for l in (0..batch.network().n_hidden()).rev() {
            let deeper = self.first[l + 1];
            let n_deeper = count - deeper;
            if n_deeper == 0 {
                self.seeds[l].resize((count - self.first[l]) * batch.network().widths()[l + 1], 0.0);
                continue;
            }
            let block = &batch.network().layout().layers()[l + 1];
            let width = block.n_in;
            let (lower, upper) = self.seeds.split_at_mut(l + 1);
            let below = &mut lower[l];
            below.resize((count - self.first[l]) * width, 0.0);
            let below = &mut below[(deeper - self.first[l]) * width..];
            matmul(
                MatMut::from_column_major_slice_mut(below, width, n_deeper),
                Accum::Replace,
                block.weight_matrix(theta).transpose(),
                MatRef::from_column_major_slice(&upper[0][..], block.n_out, n_deeper),
                1.0,
                Par::Seq,
            );
            let start = batch.layer_range(l + 1).start;
            let by_learned = batch.network().activation().has_learned_slope();
            for (column, &sample) in below.chunks_exact_mut(width).zip(&self.samples[deeper..]) {
                let at = start + sample * width..start + (sample + 1) * width;
                if by_learned {
                    self.learned[l].push(dot(column, &forward.by_learned[at.clone()]));
                }
                column.iter_mut().zip(&slopes[at]).for_each(|(d, s)| *d *= s);
            }
        }
    }
}

/// Sample kernels of a forward pass, and scratch memory for what is made of them.
#[derive(Debug, Clone, Default)]
pub struct KernelScratch {
    /// AᵀA + [bias] at the input of each layer (n × n); that of the data never changes.
    kernels: Vec<Vec<f64>>,
    products: Vec<f64>,
    spread: Vec<f64>,
}

impl KernelScratch {
    /// Computes the kernels at the inputs of the first `n_layers` layers.
    fn refresh(&mut self, batch: &Batch, forward: &Forward, n_layers: usize) {
        let n = batch.n_samples();
        let all = batch.network().layout().layers().len();
        self.kernels.resize_with(all, Vec::new);
        for (l, kernel) in self.kernels.iter_mut().enumerate().take(n_layers) {
            if l == 0 && kernel.len() == n * n {
                continue;
            }
            let input = batch.layer_input(forward, l);
            kernel.clear();
            kernel.resize(n * n, if batch.network().has_bias() { 1.0 } else { 0.0 });
            matmul(
                MatMut::from_column_major_slice_mut(&mut kernel[..], n, n),
                Accum::Add,
                input.transpose(),
                input,
                1.0,
                Par::Seq,
            );
        }
    }
}

/// out[p, q] = ⟨∇p, ∇q⟩ for all probes p of `a` (rows) and q of `b` (columns); column-major, `a.len()` × `b.len()`.
pub fn cross_gram(
    batch: &Batch,
    forward: &Forward,
    a: &Probes,
    b: &Probes,
    scratch: &mut KernelScratch,
    out: &mut Vec<f64>,
) {
    let (rows, n) = (a.len(), batch.n_samples());
    out.clear();
    out.resize(rows * b.len(), 0.0);
    scratch.refresh(batch, forward, a.depth().min(b.depth()));
    let KernelScratch { kernels, products, spread } = scratch;
    for (l, block) in batch.network().layout().layers().iter().enumerate() {
        let (n_a, n_b) = (rows - a.first[l], b.len() - b.first[l]);
        if n_a == 0 || n_b == 0 {
            continue;
        }
        let kernel = &kernels[l][..];
        products.resize(n_a * n_b, 0.0);
        matmul(
            MatMut::from_column_major_slice_mut(&mut products[..n_a * n_b], n_a, n_b),
            Accum::Replace,
            MatRef::from_column_major_slice(&a.seeds[l][..], block.n_out, n_a).transpose(),
            MatRef::from_column_major_slice(&b.seeds[l][..], block.n_out, n_b),
            1.0,
            Par::Seq,
        );
        let samples = &a.samples[a.first[l]..];
        vectorised(|| {
            let mut sample = None;
            for (k, column) in products[..n_a * n_b].chunks_exact(n_a).enumerate() {
                let q = b.first[l] + k;
                // Neighbouring probes often share their sample, and its kernel column spread over the rows.
                if sample != Some(b.samples[q]) {
                    sample = Some(b.samples[q]);
                    let kernel = &kernel[b.samples[q] * n..(b.samples[q] + 1) * n];
                    spread.clear();
                    spread.extend(samples.iter().map(|&s| kernel[s]));
                }
                let target = &mut out[q * rows + a.first[l]..(q + 1) * rows];
                target.iter_mut().zip(column).zip(&*spread).for_each(|((t, product), kernel)| *t += product * kernel);
            }
        });
    }
    add_learned(a, b, rows, out);
}

/// Γ[p, q] = ⟨∇p, ∇q⟩ for probes of switches, as [`cross_gram`] of the probes with themselves, but only the lower triangle. In its own
/// layer a probe's seed is a unit vector, which leaves products only between equal units there.
pub fn switch_gram(batch: &Batch, forward: &Forward, probes: &Probes, scratch: &mut KernelScratch, out: &mut Vec<f64>) {
    let (rows, n) = (probes.len(), batch.n_samples());
    out.clear();
    out.resize(rows * rows, 0.0);
    scratch.refresh(batch, forward, probes.depth());
    let KernelScratch { kernels, products, .. } = scratch;
    for (l, block) in batch.network().layout().layers().iter().enumerate() {
        let first = probes.first[l];
        let deeper = probes.first.get(l + 1).copied().unwrap_or(rows);
        if first == rows {
            continue;
        }
        let kernel = &kernels[l][..];
        let width = block.n_out;
        let (samples, units) = (&probes.samples, &probes.units);
        for q in first..deeper {
            let column = &kernel[samples[q] * n..(samples[q] + 1) * n];
            for p in (q..deeper).filter(|&p| units[p] == units[q]) {
                out[q * rows + p] += column[samples[p]];
            }
            let seeds = &probes.seeds[l][(deeper - first) * width..];
            for (p, seed) in (deeper..rows).zip(seeds.chunks_exact(width)) {
                out[q * rows + p] += seed[units[q]] * column[samples[p]];
            }
        }
        let count = rows - deeper;
        if count == 0 {
            continue;
        }
        let seeds = MatRef::from_column_major_slice(&probes.seeds[l][(deeper - first) * width..], width, count);
        products.resize(count * count, 0.0);
        let target = MatMut::from_column_major_slice_mut(&mut products[..], count, count);
        matmul(target, Accum::Replace, seeds.transpose(), seeds, 1.0, Par::Seq);
        vectorised(|| {
            for (k, products) in products.chunks_exact(count).enumerate() {
                let q = deeper + k;
                let column = &kernel[samples[q] * n..(samples[q] + 1) * n];
                let target = &mut out[q * rows + q..(q + 1) * rows];
                for ((t, &product), &sample) in target.iter_mut().zip(&products[k..]).zip(&samples[q..]) {
                    *t += product * column[sample];
                }
            }
        });
    }
    add_learned(probes, probes, rows, out);
}

/// ⟨∇p, g⟩ for every probe p of a switch and the gradient g whose seeds are in `backward` and `output_seed`; g itself is never formed.
/// Comes after [`switch_gram`] with the same probes, forward pass and scratch, whose kernels it uses.
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
    let KernelScratch { kernels, products, .. } = scratch;
    for (l, block) in batch.network().layout().layers().iter().enumerate() {
        let first = probes.first[l];
        if first == probes.len() {
            continue;
        }
        let kernel = &kernels[l][..];
        let width = block.n_out;
        // Σ_j seed(j)·k(j, i) for every sample i.
        products.resize(width * n, 0.0);
        matmul(
            MatMut::from_column_major_slice_mut(&mut products[..width * n], width, n),
            Accum::Replace,
            batch.layer_seed(backward, output_seed, l),
            MatRef::from_column_major_slice(kernel, n, n),
            1.0,
            Par::Seq,
        );
        let deeper = probes.first.get(l + 1).copied().unwrap_or(probes.len());
        for p in first..deeper {
            out[p] += products[probes.samples[p] * width + probes.units[p]];
        }
        let seeds = &probes.seeds[l][(deeper - first) * width..];
        for (p, seed) in (deeper..probes.len()).zip(seeds.chunks_exact(width)) {
            out[p] += dot(seed, &products[probes.samples[p] * width..(probes.samples[p] + 1) * width]);
        }
        if block.slope.is_some() {
            let range = batch.layer_range(l + 1);
            let gradient = dot(&backward.mu[range.clone()], &forward.by_learned[range]);
            for (p, learned) in (deeper..probes.len()).zip(&probes.learned[l]) {
                out[p] += learned * gradient;
            }
        }
    }
}

/// Adds the part of learned slopes to a Gram matrix with `rows` rows.
fn add_learned(a: &Probes, b: &Probes, rows: usize, out: &mut [f64]) {
    for (l, (from_a, from_b)) in a.learned.iter().zip(&b.learned).enumerate() {
        for (k, &q) in from_b.iter().enumerate() {
            let column = (b.first[l + 1] + k) * rows;
            let target = &mut out[column + a.first[l + 1]..column + rows];
            target.iter_mut().zip(from_a).for_each(|(t, p)| *t += p * q);
        }
    }
}

impl Probes {
    /// ∇(probe k) written into `out` (length P).
    pub fn gradient(&self, batch: &Batch, forward: &Forward, k: usize, out: &mut [f64]) {
        out.fill(0.0);
        let sample = self.samples[k];
        for (l, block) in batch.network().layout().layers().iter().enumerate() {
            if k < self.first[l] {
                continue;
            }
            let at = (k - self.first[l]) * block.n_out;
            let seed = &self.seeds[l][at..at + block.n_out];
            let input = batch.layer_input(forward, l).col(sample);
            for (row, &s) in out[block.weights.clone()].chunks_exact_mut(block.n_in).zip(seed) {
                row.iter_mut().zip(input.iter()).for_each(|(g, a)| *g = s * a);
            }
            if let Some(range) = block.bias.clone() {
                out[range].copy_from_slice(seed);
            }
            if let Some(slope) = block.slope.filter(|_| k >= self.first[l + 1]) {
                out[slope] = self.learned[l][k - self.first[l + 1]];
            }
        }
    }
}
