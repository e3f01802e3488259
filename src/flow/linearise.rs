//! The (generalised) Gauss–Newton linearisation −(J P)ᵀ H (J P) of the sliding gradient flow, and its shifted systems by low rank.
//!
//! H = B Bᵀ is the second derivative of the loss in the outputs: the multiplicities, for the squared error. With K = Bᵀ J P and A = −KᵀK, Woodbury gives (I − sA)⁻¹ b = b − Kᵀ (K Kᵀ + I/s)⁻¹ K b: one Cholesky
//! factor of an nM × nM matrix and O(P) memory, where a dense solver would need P × P.

use super::sliding::{SlideSystem, TangentBuffers};
use super::switches::Switches;
use crate::cholesky::Cholesky;
use crate::data::MergedData;
use crate::loss::Loss;
use crate::net::{Batch, Forward, Held, KernelScratch, Probes, cross_gram, mirror, own_gram};
use crate::ode::{Linearisation, Mode, NonFinite};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use std::sync::Arc;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct LowRank {
    problem: Option<Attached>,
    theta: Vec<f64>,
    pieces: Vec<u16>,
    forward: Forward,
    slide: SlideSystem,
    buffers: TangentBuffers,
    probes: Probes,
    scratch: KernelScratch,
    gram: Vec<f64>,
    factor: Cholesky,
    held: Vec<Held>,
    /// A vector of length P.
    vector: Vec<f64>,
    /// A vector of length nM.
    image: Vec<f64>,
    correction: Correction,
    transposed: Vec<f64>,
}

/// What sliding units take away from J Jᵀ, with the factors it is made of.
#[derive(Debug, Clone, Default)]
struct Correction {
    /// V Jᵀ.
    cross: Vec<f64>,
    /// Γ⁻¹ V Jᵀ.
    solved: Vec<f64>,
    product: Vec<f64>,
}

/// What to linearise.
#[derive(Debug, Clone)]
struct Attached {
    batch: Arc<Batch>,
    data: Arc<MergedData>,
    switches: Arc<Switches>,
    loss: Loss,
    part: usize,
}

impl LowRank {
    /// Names the network, the data and the loss (with the number of outputs that belong together in it) to work on.
    pub fn attach(
        &mut self,
        batch: &Arc<Batch>,
        data: &Arc<MergedData>,
        switches: &Arc<Switches>,
        loss: Loss,
        part: usize,
    ) {
        if self.problem.is_none() {
            let (batch, data, switches) = (batch.clone(), data.clone(), switches.clone());
            self.problem = Some(Attached { batch, data, switches, loss, part });
        }
    }

    /// image = K v.
    fn jacobian(&mut self, v: &[f64]) {
        let Some(Attached { batch, data, loss, part, .. }) = &self.problem else { return };
        self.vector.clear();
        self.vector.extend_from_slice(v);
        self.slide.project_tangent(batch, &self.theta, &self.forward, &mut self.vector, &mut self.buffers);
        self.buffers.resize(batch, v.len());
        let TangentBuffers { dz, df, scratch, .. } = &mut self.buffers;
        batch.tangent(&self.theta, &self.forward, &self.vector, dz, df, scratch);
        self.image.clone_from(df);
        loss.apply_root(data, *part, &self.forward.f, &mut self.image);
    }

    /// out = Kᵀ image, length P; the image is lost.
    fn jacobian_transposed(&mut self, out: &mut [f64]) {
        let Some(Attached { batch, data, loss, part, .. }) = &self.problem else { return };
        loss.apply_root_transposed(data, *part, &self.forward.f, &mut self.image);
        self.buffers.resize(batch, out.len());
        batch.backward(&self.theta, &self.forward, &self.image, &[], &mut self.buffers.backward, out);
        self.slide.project_tangent(batch, &self.theta, &self.forward, out, &mut self.buffers);
    }
}

impl Linearisation for LowRank {
    fn linearise(&mut self, y: &[f64], mode: &Mode) -> Result<(), NonFinite> {
        let Some(Attached { batch, data, switches, loss, part }) = &self.problem else {
            return Err(NonFinite { what: "the linearisation of no problem".into() });
        };
        self.theta.clear();
        self.theta.extend_from_slice(y);
        super::field::hold(batch, switches, y, mode.sliding(), &mut self.held);
        batch.forward(y, switches.pieces(mode, &mut self.pieces), &self.held, &mut self.forward);
        self.slide.assemble(batch, y, &self.forward, switches.firsts(mode.sliding()));
        self.probes.outputs(batch, y, &self.forward, &self.forward.slope);
        own_gram(batch, &self.forward, &self.probes, &mut self.scratch, &mut self.gram);
        let size = batch.n_outputs();
        mirror(&mut self.gram, size);
        if !self.slide.switches().is_empty() {
            // K Kᵀ = J Jᵀ − (J Vᵀ) Γ⁻¹ (V Jᵀ).
            let k = self.slide.switches().len();
            let Correction { cross, solved, product } = &mut self.correction;
            cross_gram(batch, &self.forward, self.slide.probes(), &self.probes, &mut self.scratch, cross);
            solved.clone_from(cross);
            self.slide.solve_columns(solved);
            product.resize(size * size, 0.0);
            matmul(
                MatMut::from_column_major_slice_mut(&mut product[..], size, size),
                Accum::Replace,
                MatRef::from_column_major_slice(&cross[..], k, size).transpose(),
                MatRef::from_column_major_slice(&solved[..], k, size),
                1.0,
                Par::Seq,
            );
            self.gram.iter_mut().zip(product).for_each(|(g, c)| *g -= *c);
        }
        // Bᵀ on both sides, column by column and, by symmetry, row by row.
        let f = &self.forward.f;
        self.gram.chunks_exact_mut(size).for_each(|column| loss.apply_root(data, *part, f, column));
        self.transposed.clear();
        self.transposed.extend((0..size * size).map(|k| self.gram[(k % size) * size + k / size]));
        self.transposed.chunks_exact_mut(size).for_each(|column| loss.apply_root(data, *part, f, column));
        std::mem::swap(&mut self.gram, &mut self.transposed);
        if self.gram.iter().sum::<f64>().is_finite() {
            Ok(())
        } else {
            Err(NonFinite { what: "the Gram matrix of the linearisation".into() })
        }
    }

    fn apply(&mut self, v: &[f64], out: &mut [f64]) {
        self.jacobian(v);
        self.jacobian_transposed(out);
        out.iter_mut().for_each(|o| *o = -*o);
    }

    fn factor(&mut self, shift: f64) -> Result<(), NonFinite> {
        let size = self.gram.len().isqrt();
        let gram = MatRef::from_column_major_slice(&self.gram[..], size, size);
        let factored = self.factor.factor(gram, 1.0 / shift);
        factored.map_err(|_| NonFinite { what: "the factor of the shifted Gram matrix".into() })
    }

    fn solve(&mut self, b: &mut [f64]) {
        self.jacobian(b);
        if self.factor.size() > 0 {
            self.factor.solve(&mut self.image);
        }
        let mut correction = std::mem::take(&mut self.vector);
        self.jacobian_transposed(&mut correction);
        b.iter_mut().zip(&correction).for_each(|(b, c)| *b -= c);
        self.vector = correction;
    }
}
