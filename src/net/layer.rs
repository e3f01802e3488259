//! One layer, W φ(x) + ψ(x) + b: its parameters and what is linear in them.
//!
//! The weights may be shared over *positions* (pixels of a convolution, nodes of a graph, the two branches of a Siamese net) and split
//! into *groups* of channels. Features and outputs are stored position by position: features are (groups·C) × positions, outputs
//! (channels × positions), both column-major, for one sample after the other, so that a batch is one matrix product per group.

use super::map::FeatureMap;
use crate::vector::vectorised;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use std::ops::Range;

/// Over what a bias is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// No bias.
    None,
    /// One value per channel.
    Shared,
    /// One value per position and channel; positions a multiple of the period apart share them.
    PerPosition {
        /// Number of positions after which the values repeat; it divides their number.
        period: usize,
    },
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Features per group and position: columns of W.
    pub n_in: usize,
    /// Channels: rows of W.
    pub n_out: usize,
    /// Positions that share W.
    pub n_positions: usize,
    /// Groups; group g of the channels reads group g of the features.
    pub n_groups: usize,
    /// Pixels under the kernel, for initialisers that ask for the fan-out; 1 where there is none.
    pub receptive: usize,
    /// W, row-major (channels × n_in), or (n_in × channels) when `is_transposed`.
    pub weights: Range<usize>,
    /// Whether W is stored as (n_in × channels); only without groups.
    pub is_transposed: bool,
    /// b: (channels), or (period × channels) when it is not shared by all positions.
    pub bias: Option<Range<usize>>,
    /// The learned slope of the activation behind this layer.
    pub slope: Option<usize>,
    /// φ.
    pub map: FeatureMap,
    /// ψ, linear, with as many features as the layer has outputs.
    pub skip: Option<FeatureMap>,
}

impl Layer {
    /// Outputs per sample: channels × positions.
    pub fn width(&self) -> usize {
        self.n_out * self.n_positions
    }

    /// Number of parameters, the learned slope not counted.
    pub fn n_parameters(&self) -> usize {
        self.weights.len() + self.bias.as_ref().map_or(0, Range::len)
    }

    /// Whether there is nothing shared or split: then gradients are plain outer products, and Gram matrices products of kernels.
    pub fn is_plain(&self) -> bool {
        self.n_positions == 1 && self.n_groups == 1
    }

    /// b as a slice of θ.
    pub fn bias_slice<'a>(&self, theta: &'a [f64]) -> Option<&'a [f64]> {
        self.bias.clone().map(|range| &theta[range])
    }

    /// Index in θ of W\[channel, feature of its group\].
    pub fn weight_index(&self, channel: usize, feature: usize) -> usize {
        let at = if self.is_transposed { feature * self.n_out + channel } else { channel * self.n_in + feature };
        self.weights.start + at
    }

    /// Weights of a channel, one for each feature of its group; gathered where they do not stand side by side.
    pub fn channel_weights<'a>(&self, theta: &'a [f64], channel: usize, gathered: &'a mut Vec<f64>) -> &'a [f64] {
        let first = self.weight_index(channel, 0);
        if !self.is_transposed {
            return &theta[first..first + self.n_in];
        }
        gathered.clear();
        gathered.extend(theta[first..].iter().step_by(self.n_out).take(self.n_in));
        gathered
    }

    /// Puts a value for each of these weights where they stand in θ.
    pub fn set_channel_weights(&self, theta: &mut [f64], channel: usize, values: &[f64]) {
        let first = self.weight_index(channel, 0);
        let step = if self.is_transposed { self.n_out } else { 1 };
        if step == 1 {
            return theta[first..first + self.n_in].copy_from_slice(values);
        }
        theta[first..].iter_mut().step_by(step).zip(values).for_each(|(to, value)| *to = *value);
    }

    fn group_out(&self) -> usize {
        self.n_out / self.n_groups
    }

    /// W of one group (channels of the group × n_in).
    fn weight_matrix<'a>(&self, theta: &'a [f64], group: usize) -> MatRef<'a, f64> {
        let weights = &theta[self.weights.clone()];
        if self.is_transposed {
            return MatRef::from_column_major_slice(weights, self.n_out, self.n_in);
        }
        let size = self.group_out() * self.n_in;
        MatRef::from_row_major_slice(&weights[group * size..(group + 1) * size], self.group_out(), self.n_in)
    }

    /// The rows of one group in a matrix with `per_group` rows a group.
    fn rows<'a>(&self, values: &'a [f64], group: usize, per_group: usize) -> MatRef<'a, f64> {
        let n_rows = per_group * self.n_groups;
        let all = MatRef::from_column_major_slice(values, n_rows, values.len() / n_rows);
        all.subrows(group * per_group, per_group)
    }

    fn rows_mut<'a>(&self, values: &'a mut [f64], group: usize, per_group: usize) -> MatMut<'a, f64> {
        let n_rows = per_group * self.n_groups;
        let n_columns = values.len() / n_rows;
        MatMut::from_column_major_slice_mut(values, n_rows, n_columns).subrows_mut(group * per_group, per_group)
    }

    /// out = W·features + b, for any number of samples.
    pub fn apply(&self, theta: &[f64], features: &[f64], out: &mut [f64]) {
        let accumulate = match self.bias_slice(theta) {
            Some(bias) => {
                out.chunks_exact_mut(bias.len()).for_each(|values| values.copy_from_slice(bias));
                Accum::Add
            }
            None => Accum::Replace,
        };
        self.multiply(theta, features, accumulate, out);
    }

    /// out += W·features, or out = W·features.
    pub fn multiply(&self, theta: &[f64], features: &[f64], accumulate: Accum, out: &mut [f64]) {
        for group in 0..self.n_groups {
            matmul(
                self.rows_mut(out, group, self.group_out()),
                accumulate,
                self.weight_matrix(theta, group),
                self.rows(features, group, self.n_in),
                1.0,
                Par::Seq,
            );
        }
    }

    /// out = Wᵀ·seed (features), or out += Wᵀ·seed.
    pub fn multiply_transposed(&self, theta: &[f64], seed: &[f64], accumulate: Accum, out: &mut [f64]) {
        for group in 0..self.n_groups {
            matmul(
                self.rows_mut(out, group, self.n_in),
                accumulate,
                self.weight_matrix(theta, group).transpose(),
                self.rows(seed, group, self.group_out()),
                1.0,
                Par::Seq,
            );
        }
    }

    /// The gradient by W and b (in this order, [`n_parameters`](Self::n_parameters) values) of what has derivative `seed` by the outputs.
    pub fn gradient(&self, features: &[f64], seed: &[f64], out: &mut [f64]) {
        self.gradient_times(1.0, features, seed, out);
    }

    /// That gradient times a factor.
    pub fn gradient_times(&self, factor: f64, features: &[f64], seed: &[f64], out: &mut [f64]) {
        let (weights, bias) = out.split_at_mut(self.weights.len());
        let size = self.group_out() * self.n_in;
        for group in 0..self.n_groups {
            let target = if self.is_transposed {
                MatMut::from_column_major_slice_mut(&mut *weights, self.n_out, self.n_in)
            } else {
                let block = &mut weights[group * size..(group + 1) * size];
                MatMut::from_row_major_slice_mut(block, self.group_out(), self.n_in)
            };
            let features = self.rows(features, group, self.n_in);
            matmul(
                target,
                Accum::Replace,
                self.rows(seed, group, self.group_out()),
                features.transpose(),
                factor,
                Par::Seq,
            );
        }
        if !bias.is_empty() {
            bias.fill(0.0);
            let parts = seed.chunks_exact(bias.len());
            vectorised!(parts.for_each(|part| bias.iter_mut().zip(part).for_each(|(b, s)| *b += factor * s)));
        }
    }

    /// Output `unit` (channel + position·channels) on one sample whose sources are stacked.
    pub fn output(&self, theta: &[f64], stacked: &[f64], unit: usize) -> f64 {
        let (channel, position) = (unit % self.n_out, unit / self.n_out);
        let group = channel / self.group_out();
        let first = (position * self.n_groups + group) * self.n_in;
        let bias = self.bias.as_ref().map_or(0.0, |b| theta[b.start + unit % b.len()]);
        let products = if self.map.unchanged().is_some() && !self.is_transposed {
            let row = self.weight_index(channel, 0);
            crate::vector::dot(&theta[row..row + self.n_in], &stacked[first..first + self.n_in])
        } else {
            (0..self.n_in).map(|c| theta[self.weight_index(channel, c)] * self.map.feature(first + c, stacked)).sum()
        };
        bias + products
    }
}
