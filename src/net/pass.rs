//! Forward, backward and tangent passes of a dense network over a batch, in a frozen activation pattern.
//!
//! The pattern comes from outside: a piece per hidden unit and sample, and the units that are *held* at a breakpoint
//! (they output a constant and pass nothing on). Batches are column-major, one sample per column; the hidden values of all
//! layers stand behind each other layer by layer, in a layer sample by sample, in a sample unit by unit, so that a switch
//! index addresses every buffer here.

use super::network::Network;
use crate::vector::{dot, vectorised};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use std::ops::Range;

/// A network together with a batch of inputs.
#[derive(Debug, Clone)]
pub struct Batch {
    network: Network,
    x: Vec<f64>,
    n_samples: usize,
    offsets: Vec<usize>,
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
}

/// Results of a backward pass.
#[derive(Debug, Clone, Default)]
pub struct Backward {
    /// μ = ∂L/∂a.
    pub mu: Vec<f64>,
    /// ∂L/∂z, injected seeds included.
    pub seed: Vec<f64>,
}

impl Batch {
    /// `x` holds the inputs sample by sample (n × N).
    pub fn new(network: Network, x: Vec<f64>) -> Self {
        let n_samples = x.len() / network.widths()[0];
        let mut offsets = vec![0];
        for &width in &network.widths()[1..=network.n_hidden()] {
            offsets.push(offsets[offsets.len() - 1] + width * n_samples);
        }
        Self { network, x, n_samples, offsets }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
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
        self.n_samples * self.network.widths()[self.network.widths().len() - 1]
    }

    /// Switch indices of a hidden layer (from 1).
    pub fn layer_range(&self, layer: usize) -> Range<usize> {
        self.offsets[layer - 1]..self.offsets[layer]
    }

    /// Hidden layer (from 1) of a switch.
    pub fn layer_of(&self, index: usize) -> usize {
        self.offsets.partition_point(|&o| o <= index)
    }

    /// Hidden layer (from 1), unit and sample of a switch; switches are numbered layer by layer, then sample by sample.
    pub fn locate(&self, index: usize) -> (usize, usize, usize) {
        let layer = self.layer_of(index);
        let inside = index - self.offsets[layer - 1];
        let width = self.network.widths()[layer];
        (layer, inside % width, inside / width)
    }

    /// Input of layer `l` (from 0): the data for the first, activations of hidden layer `l` for the others (width × n).
    pub fn layer_input<'a>(&'a self, forward: &'a Forward, l: usize) -> MatRef<'a, f64> {
        let width = self.network.widths()[l];
        let values = if l == 0 { &self.x[..] } else { &forward.a[self.layer_range(l)] };
        MatRef::from_column_major_slice(values, width, self.n_samples)
    }

    /// Value and derivative of the activation at a breakpoint, from the given piece's formula.
    pub fn activation_at(&self, theta: &[f64], layer: usize, piece: u16, z: f64) -> (f64, f64) {
        self.network.activation().eval(piece, z, self.learned_slope(theta, layer))
    }

    fn learned_slope(&self, theta: &[f64], layer: usize) -> f64 {
        self.network.layout().layers()[layer - 1].slope.map_or(0.0, |at| theta[at])
    }

    /// Runs the network at θ; `held` is sorted by index.
    pub fn forward(&self, theta: &[f64], pieces: &[u16], held: &[Held], out: &mut Forward) {
        let n = self.n_samples;
        let n_switches = self.n_switches();
        out.z.resize(n_switches, 0.0);
        out.a.resize(n_switches, 0.0);
        out.slope.resize(n_switches, 0.0);
        out.f.resize(self.n_outputs(), 0.0);
        let learned = self.network.activation().has_learned_slope();
        if learned {
            out.by_learned.resize(n_switches, 0.0);
        }
        let mut next_held = 0;
        for (l, block) in self.network.layout().layers().iter().enumerate() {
            let hidden = l < self.network.n_hidden();
            let Forward { z, a, f, .. } = out;
            let (input, target) = if hidden {
                let range = self.layer_range(l + 1);
                let input = if l == 0 { &self.x[..] } else { &a[self.layer_range(l)] };
                (input, &mut z[range])
            } else {
                let input = if l == 0 { &self.x[..] } else { &a[self.layer_range(l)] };
                (input, &mut f[..])
            };
            let accumulate = match block.bias_slice(theta) {
                Some(bias) => {
                    target.chunks_exact_mut(block.n_out).for_each(|column| column.copy_from_slice(bias));
                    Accum::Add
                }
                None => Accum::Replace,
            };
            matmul(
                MatMut::from_column_major_slice_mut(target, block.n_out, n),
                accumulate,
                block.weight_matrix(theta),
                MatRef::from_column_major_slice(input, block.n_in, n),
                1.0,
                Par::Seq,
            );
            if hidden {
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

    fn activate(&self, theta: &[f64], layer: usize, pieces: &[u16], out: &mut Forward) {
        let range = self.layer_range(layer);
        let learned = self.learned_slope(theta, layer);
        let activation = self.network.activation();
        let (z, pieces) = (&out.z[range.clone()], &pieces[range.clone()]);
        let (a, slope) = (&mut out.a[range.clone()], &mut out.slope[range.clone()]);
        if let Some(lines) = activation.lines(learned) {
            vectorised(|| {
                for (((a, slope), &z), &piece) in a.iter_mut().zip(slope).zip(z).zip(pieces) {
                    // Never out of range; the mask spares the check.
                    let (c0, c1) = lines[usize::from(piece) & 3];
                    *a = c0 + c1 * z;
                    *slope = c1;
                }
            });
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

    /// Carries the output seed down to ∂/∂z and ∂/∂a of every switch; *injected* seeds δ_k (sorted by switch) are added at theirs.
    pub fn backpropagate(
        &self,
        theta: &[f64],
        forward: &Forward,
        output_seed: &[f64],
        injected: &[(usize, f64)],
        out: &mut Backward,
    ) {
        let n = self.n_samples;
        out.mu.resize(self.n_switches(), 0.0);
        out.seed.resize(self.n_switches(), 0.0);
        let mut rest = injected;
        for (l, block) in self.network.layout().layers().iter().enumerate().skip(1).rev() {
            let range = self.layer_range(l);
            let (below, above) = out.seed.split_at_mut(range.end);
            let seed = if l < self.network.n_hidden() { &above[..block.n_out * n] } else { output_seed };
            let mu = &mut out.mu[range.clone()];
            matmul(
                MatMut::from_column_major_slice_mut(&mut *mu, block.n_in, n),
                Accum::Replace,
                block.weight_matrix(theta).transpose(),
                MatRef::from_column_major_slice(seed, block.n_out, n),
                1.0,
                Par::Seq,
            );
            let target = &mut below[range.clone()];
            let slopes = &forward.slope[range.clone()];
            vectorised(|| target.iter_mut().zip(&*mu).zip(slopes).for_each(|((t, m), s)| *t = m * s));
            while let Some(((index, delta), head)) = rest.split_last().filter(|((i, _), _)| *i >= range.start) {
                target[index - range.start] += delta;
                rest = head;
            }
        }
    }

    /// Seeds at the outputs of layer `l` (from 0): ∂/∂z of a hidden layer, or the output seed.
    pub fn layer_seed<'a>(&self, backward: &'a Backward, output_seed: &'a [f64], l: usize) -> MatRef<'a, f64> {
        let seed = self.layer_seed_slice(backward, output_seed, l);
        MatRef::from_column_major_slice(seed, self.network.widths()[l + 1], self.n_samples)
    }

    fn layer_seed_slice<'a>(&self, backward: &'a Backward, output_seed: &'a [f64], l: usize) -> &'a [f64] {
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
        for (l, block) in self.network.layout().layers().iter().enumerate() {
            let seed = self.layer_seed(out, output_seed, l);
            matmul(
                MatMut::from_row_major_slice_mut(&mut grad[block.weights.clone()], block.n_out, block.n_in),
                Accum::Replace,
                seed,
                self.layer_input(forward, l).transpose(),
                1.0,
                Par::Seq,
            );
            if let Some(range) = block.bias.clone() {
                let bias = &mut grad[range];
                bias.fill(0.0);
                let columns = self.layer_seed_slice(out, output_seed, l).chunks_exact(block.n_out);
                vectorised(|| columns.for_each(|column| bias.iter_mut().zip(column).for_each(|(b, s)| *b += s)));
            }
            if let Some(at) = block.slope {
                let range = self.layer_range(l + 1);
                grad[at] = dot(&out.mu[range.clone()], &forward.by_learned[range]);
            }
        }
    }

    /// Derivatives of all pre-activations (`dz`) and outputs (`df` = J·dθ) along `dtheta`; `scratch` is resized as needed.
    pub fn tangent(
        &self,
        theta: &[f64],
        forward: &Forward,
        dtheta: &[f64],
        dz: &mut [f64],
        df: &mut [f64],
        scratch: &mut Vec<f64>,
    ) {
        let n = self.n_samples;
        for (l, block) in self.network.layout().layers().iter().enumerate() {
            let hidden = l < self.network.n_hidden();
            if l > 0 {
                // da of the layer below, from its dz.
                let range = self.layer_range(l);
                scratch.clear();
                scratch.extend(dz[range.clone()].iter().zip(&forward.slope[range.clone()]).map(|(d, s)| d * s));
                if let Some(at) = self.network.layout().layers()[l - 1].slope {
                    scratch.iter_mut().zip(&forward.by_learned[range]).for_each(|(d, b)| *d += dtheta[at] * b);
                }
            }
            let target = if hidden { &mut dz[self.layer_range(l + 1)] } else { &mut *df };
            let accumulate = match block.bias_slice(dtheta) {
                Some(bias) => {
                    target.chunks_exact_mut(block.n_out).for_each(|column| column.copy_from_slice(bias));
                    Accum::Add
                }
                None => Accum::Replace,
            };
            let mut target = MatMut::from_column_major_slice_mut(target, block.n_out, n);
            let input = self.layer_input(forward, l);
            matmul(target.as_mut(), accumulate, block.weight_matrix(dtheta), input, 1.0, Par::Seq);
            if l > 0 {
                let da = MatRef::from_column_major_slice(&scratch[..], block.n_in, n);
                matmul(target, Accum::Add, block.weight_matrix(theta), da, 1.0, Par::Seq);
            }
        }
    }

    /// Pre-activation of one switch, from a forward pass of its sample alone up to its layer.
    pub fn value_at(
        &self,
        theta: &[f64],
        pieces: &[u16],
        held: &[Held],
        index: usize,
        scratch: &mut [Vec<f64>; 2],
    ) -> f64 {
        let (layer, unit, sample) = self.locate(index);
        let [input, output] = scratch;
        let n_in = self.network.widths()[0];
        input.clear();
        input.extend_from_slice(&self.x[sample * n_in..(sample + 1) * n_in]);
        for l in 1..layer {
            let block = &self.network.layout().layers()[l - 1];
            let start = self.layer_range(l).start + sample * block.n_out;
            let learned = self.learned_slope(theta, l);
            output.clear();
            for u in 0..block.n_out {
                let z = affine(theta, block, u, input);
                output.push(self.network.activation().eval(pieces[start + u], z, learned).0);
            }
            let first = held.partition_point(|h| h.index < start);
            for h in held[first..].iter().take_while(|h| h.index < start + block.n_out) {
                output[h.index - start] = h.output;
            }
            std::mem::swap(input, output);
        }
        affine(theta, &self.network.layout().layers()[layer - 1], unit, input)
    }
}

/// One component of W·input + b.
fn affine(theta: &[f64], block: &super::layout::LayerBlock, unit: usize, input: &[f64]) -> f64 {
    let row = block.weights.start + unit * block.n_in;
    let bias = block.bias.as_ref().map_or(0.0, |b| theta[b.start + unit]);
    bias + dot(&theta[row..row + block.n_in], input)
}
