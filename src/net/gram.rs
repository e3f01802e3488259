//! Gram matrices of the gradients of probes, panel by panel: everything that belongs to some columns is done before the next ones, so
//! that long columns are written once.

use super::kernel::{KernelScratch, Probes, add_learned};
use super::pass::{Batch, Forward};
use crate::vector::vectorised;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// Columns of a panel: its part of the matrix and of the products stays in the second-level cache for up to two thousand probes.
const PANEL: usize = 48;

/// out[p, q] = ⟨∇p, ∇q⟩ for all p ≥ q of `probes`; column-major in columns of length `probes.len()`. What is above the diagonal has no
/// meaning; [`mirror`](super::mirror()) fills it in.
pub fn own_gram(batch: &Batch, forward: &Forward, probes: &Probes, scratch: &mut KernelScratch, out: &mut Vec<f64>) {
    refresh(batch, forward, (probes, None), scratch);
    panels(batch, (probes, None), scratch, out);
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
    refresh(batch, forward, (a, Some(b)), scratch);
    panels(batch, (a, Some(b)), scratch, out);
}

/// The same after a Gram matrix of `a` itself with that forward pass and scratch, whose kernels and rows are used again.
pub fn cross_gram_again(
    batch: &Batch,
    forward: &Forward,
    a: &Probes,
    b: &Probes,
    scratch: &mut KernelScratch,
    out: &mut Vec<f64>,
) {
    refresh_rows(batch, forward, b, &mut scratch.other_rows);
    panels(batch, (a, Some(b)), scratch, out);
}

/// Kernels and rows for the products of `a` with `other`, or with itself.
fn refresh(batch: &Batch, forward: &Forward, (a, other): (&Probes, Option<&Probes>), scratch: &mut KernelScratch) {
    scratch.refresh(batch, forward, other.map_or(usize::MAX, Probes::depth).min(a.depth()));
    refresh_rows(batch, forward, a, &mut scratch.rows);
    if let Some(b) = other {
        refresh_rows(batch, forward, b, &mut scratch.other_rows);
    }
}

/// The gradients of probes by layers that are not plain, layer by layer.
fn refresh_rows(batch: &Batch, forward: &Forward, probes: &Probes, rows: &mut Vec<Vec<f64>>) {
    let layers = batch.network().layers();
    rows.resize_with(layers.len(), Vec::new);
    for (l, rows) in rows.iter_mut().enumerate().filter(|(l, _)| !layers[*l].is_plain()) {
        probes.rows(batch, forward, l, rows);
    }
}

/// The products of a set of probes with another, or with itself from the diagonal down, once kernels and rows are there.
fn panels(batch: &Batch, (a, other): (&Probes, Option<&Probes>), scratch: &mut KernelScratch, out: &mut Vec<f64>) {
    let b = other.unwrap_or(a);
    let (rows, columns, n) = (a.len(), b.len(), batch.n_samples());
    let layers = batch.network().layers();
    out.resize(rows * columns, 0.0);
    let KernelScratch { kernels, products, spread, rows: own_rows, other_rows, .. } = scratch;
    for start in (0..columns).step_by(PANEL) {
        let end = (start + PANEL).min(columns);
        for (l, layer) in layers.iter().enumerate() {
            // Probes that reach this layer are the last ones.
            let column = b.first[l].max(start);
            let row = if other.is_some() { a.first[l] } else { column };
            if column >= end || row >= rows {
                continue;
            }
            let (height, count) = (rows - row, end - column);
            let (size, left, right) = match (layer.is_plain(), other) {
                (true, _) => (layer.n_out, &a.seeds[l], &b.seeds[l]),
                (false, None) => (layer.n_parameters(), &own_rows[l], &own_rows[l]),
                (false, Some(_)) => (layer.n_parameters(), &own_rows[l], &other_rows[l]),
            };
            let left = MatRef::from_column_major_slice(&left[(row - a.first[l]) * size..], size, height).transpose();
            let right = &right[(column - b.first[l]) * size..][..count * size];
            let right = MatRef::from_column_major_slice(right, size, count);
            // Every probe reaches the first layer.
            let accum = if l == 0 { Accum::Replace } else { Accum::Add };
            let panel = &mut out[column * rows..end * rows];
            if !layer.is_plain() {
                let target = MatMut::from_column_major_slice_mut(panel, rows, count).subrows_mut(row, height);
                matmul(target, accum, left, right, 1.0, Par::Seq);
                continue;
            }
            products.resize(height * count, 0.0);
            let target = MatMut::from_column_major_slice_mut(&mut products[..height * count], height, count);
            matmul(target, Accum::Replace, left, right, 1.0, Par::Seq);
            let (kernel, samples) = (&kernels[l][..], &a.samples[row..]);
            vectorised!({
                let mut sample = None;
                for (k, products) in products[..height * count].chunks_exact(height).enumerate() {
                    // Neighbouring probes often share their sample, and its kernel column spread over the rows.
                    let own = b.samples[column + k];
                    if sample != Some(own) {
                        sample = Some(own);
                        let kernel = &kernel[own * n..(own + 1) * n];
                        spread.clear();
                        spread.extend(samples.iter().map(|&s| kernel[s]));
                    }
                    let from = if other.is_some() { 0 } else { k };
                    let target = &mut panel[k * rows + row + from..(k + 1) * rows];
                    let terms = products[from..].iter().zip(&spread[from..]);
                    if accum == Accum::Replace {
                        target.iter_mut().zip(terms).for_each(|(t, (product, kernel))| *t = product * kernel);
                    } else {
                        target.iter_mut().zip(terms).for_each(|(t, (product, kernel))| *t += product * kernel);
                    }
                }
            });
        }
    }
    add_learned(a, b, (rows, rows), out);
}
