//! Feature maps φ: what a layer multiplies with its weights, from the data and the activations of earlier layers.
//!
//! Every layer is g(x, θ) = W φ(x) + b, with φ free of parameters and polynomial of degree one or two. A map works on one sample at a
//! time; the values it reads, all sources one after the other, are *stacked* into one slice.

use super::tensor::Term;
use std::sync::Arc;

/// φ of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMap {
    /// What is stacked: 0 is the data, k the activations of hidden layer k. Increasing.
    sources: Vec<usize>,
    form: Form,
    n_features: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    /// The only source, as it is.
    Identity,
    /// Shared by copies: on a graph of a thousand nodes there are millions of entries.
    Linear(Arc<SparseRows>),
    /// With y linear in the sources: y itself, unless `n_direct` is 0 instead of its length, and then the products y_i y_j.
    Products { linear: Arc<SparseRows>, n_direct: usize, pairs: Vec<(usize, usize)> },
}

/// A sparse matrix by rows.
#[derive(Debug, Clone, PartialEq, Default)]
struct SparseRows {
    starts: Vec<usize>,
    /// Column in the stacked sources, and entry.
    terms: Vec<(usize, f64)>,
}

impl SparseRows {
    /// `offset` tells where a source stands in the stack.
    fn new(rows: &[Vec<Term>], offset: impl Fn(usize) -> usize) -> Self {
        let n_terms = rows.iter().map(Vec::len).sum();
        let mut sparse = Self { starts: vec![0], terms: Vec::with_capacity(n_terms) };
        for row in rows {
            sparse.terms.extend(row.iter().map(|t| (offset(t.source) + t.index, t.weight)));
            sparse.starts.push(sparse.terms.len());
        }
        sparse
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn row(&self, r: usize) -> &[(usize, f64)] {
        &self.terms[self.starts[r]..self.starts[r + 1]]
    }

    fn value(&self, r: usize, stacked: &[f64]) -> f64 {
        self.row(r).iter().map(|&(column, weight)| weight * stacked[column]).sum()
    }

    fn values(&self, stacked: &[f64]) -> Vec<f64> {
        (0..self.len()).map(|r| self.value(r, stacked)).collect()
    }

    fn scatter(&self, r: usize, seed: f64, stacked: &mut [f64]) {
        self.row(r).iter().for_each(|&(column, weight)| stacked[column] += weight * seed);
    }
}

impl FeatureMap {
    /// A linear map: feature r is the sum of the terms in `rows[r]`. `widths[k]` is the length of source k.
    pub fn linear(rows: &[Vec<Term>], widths: &[usize]) -> Self {
        let (sources, offset) = stack(rows, widths);
        let is_itself = |(r, row): (usize, &Vec<Term>)| matches!(row[..], [t] if t.index == r && t.weight == 1.0);
        let is_identity =
            sources.len() == 1 && rows.len() == widths[sources[0]] && rows.iter().enumerate().all(is_itself);
        let compiled = || Arc::new(SparseRows::new(rows, |source| offset[source]));
        let form = if is_identity { Form::Identity } else { Form::Linear(compiled()) };
        Self { sources, form, n_features: rows.len() }
    }

    /// A quadratic map: with y given by `rows`, the features are y, if `keeps_linear`, and then y_i y_j for every pair.
    pub fn products(rows: &[Vec<Term>], keeps_linear: bool, pairs: Vec<(usize, usize)>, widths: &[usize]) -> Self {
        let (sources, offset) = stack(rows, widths);
        let n_direct = if keeps_linear { rows.len() } else { 0 };
        let n_features = n_direct + pairs.len();
        let linear = Arc::new(SparseRows::new(rows, |source| offset[source]));
        Self { sources, form: Form::Products { linear, n_direct, pairs }, n_features }
    }

    /// What has to be stacked, in this order.
    pub fn sources(&self) -> &[usize] {
        &self.sources
    }

    /// Number of features per sample.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// The source that is handed on unchanged, if that is all the map does.
    pub fn unchanged(&self) -> Option<usize> {
        (self.form == Form::Identity).then(|| self.sources[0])
    }

    /// out += φ(stacked), or φ's linear image of a tangent when φ is linear.
    pub fn accumulate(&self, stacked: &[f64], out: &mut [f64]) {
        match &self.form {
            Form::Identity => out.iter_mut().zip(stacked).for_each(|(o, x)| *o += x),
            Form::Linear(rows) => out.iter_mut().enumerate().for_each(|(r, o)| *o += rows.value(r, stacked)),
            Form::Products { linear, n_direct, pairs } => {
                let y = linear.values(stacked);
                let (direct, products) = out.split_at_mut(*n_direct);
                direct.iter_mut().zip(&y).for_each(|(o, y)| *o += y);
                products.iter_mut().zip(pairs).for_each(|(o, &(i, j))| *o += y[i] * y[j]);
            }
        }
    }

    /// out += Dφ(stacked)·tangent.
    pub fn accumulate_tangent(&self, stacked: &[f64], tangent: &[f64], out: &mut [f64]) {
        match &self.form {
            Form::Identity | Form::Linear(_) => self.accumulate(tangent, out),
            Form::Products { linear, n_direct, pairs } => {
                let (y, dy) = (linear.values(stacked), linear.values(tangent));
                let (direct, products) = out.split_at_mut(*n_direct);
                direct.iter_mut().zip(&dy).for_each(|(o, y)| *o += y);
                products.iter_mut().zip(pairs).for_each(|(o, &(i, j))| *o += dy[i] * y[j] + y[i] * dy[j]);
            }
        }
    }

    /// back += Dφ(stacked)ᵀ·seed.
    pub fn pull_back(&self, stacked: &[f64], seed: &[f64], back: &mut [f64]) {
        match &self.form {
            Form::Identity => back.iter_mut().zip(seed).for_each(|(b, s)| *b += s),
            Form::Linear(rows) => seed.iter().enumerate().for_each(|(r, &s)| rows.scatter(r, s, back)),
            Form::Products { linear, n_direct, pairs } => {
                let y = linear.values(stacked);
                let (direct, products) = seed.split_at(*n_direct);
                let mut of_y = vec![0.0; y.len()];
                of_y.iter_mut().zip(direct).for_each(|(o, s)| *o += s);
                for (s, &(i, j)) in products.iter().zip(pairs) {
                    of_y[i] += s * y[j];
                    of_y[j] += s * y[i];
                }
                of_y.iter().enumerate().for_each(|(r, &s)| linear.scatter(r, s, back));
            }
        }
    }

    /// Whether Dφ is the same everywhere.
    pub fn is_linear(&self) -> bool {
        !matches!(self.form, Form::Products { .. })
    }

    /// back += d(Dφ)ᵀ·seed, the change of [`pull_back`](Self::pull_back) along `tangent`; nothing for a linear map.
    pub fn pull_back_change(&self, tangent: &[f64], seed: &[f64], back: &mut [f64]) {
        if let Form::Products { linear, n_direct, pairs } = &self.form {
            let dy = linear.values(tangent);
            let mut of_y = vec![0.0; dy.len()];
            for (s, &(i, j)) in seed[*n_direct..].iter().zip(pairs) {
                of_y[i] += s * dy[j];
                of_y[j] += s * dy[i];
            }
            of_y.iter().enumerate().for_each(|(r, &s)| linear.scatter(r, s, back));
        }
    }

    /// One feature.
    pub fn feature(&self, r: usize, stacked: &[f64]) -> f64 {
        match &self.form {
            Form::Identity => stacked[r],
            Form::Linear(rows) => rows.value(r, stacked),
            Form::Products { linear, n_direct, pairs } => {
                if r < *n_direct {
                    return linear.value(r, stacked);
                }
                let (i, j) = pairs[r - *n_direct];
                linear.value(i, stacked) * linear.value(j, stacked)
            }
        }
    }

    /// The factors of feature r, each with the stacked entries it is linear in and their weights: one factor, or two for a product.
    pub fn factors(&self, r: usize) -> Vec<Vec<(usize, f64)>> {
        let columns = |rows: &SparseRows, r: usize| rows.row(r).to_vec();
        match &self.form {
            Form::Identity => vec![vec![(r, 1.0)]],
            Form::Linear(rows) => vec![columns(rows, r)],
            Form::Products { linear, n_direct, pairs } => {
                if r < *n_direct {
                    return vec![columns(linear, r)];
                }
                let (i, j) = pairs[r - *n_direct];
                vec![columns(linear, i), columns(linear, j)]
            }
        }
    }
}

/// The sources that occur, and where each would stand in the stack.
fn stack(rows: &[Vec<Term>], widths: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut is_read = vec![false; widths.len()];
    rows.iter().flatten().for_each(|t| is_read[t.source] = true);
    let sources: Vec<usize> = (0..widths.len()).filter(|&source| is_read[source]).collect();
    let mut offset = vec![0; widths.len()];
    let mut next = 0;
    for &source in &sources {
        offset[source] = next;
        next += widths[source];
    }
    (sources, offset)
}
