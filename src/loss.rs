//! Losses: value, derivative and curvature in the outputs.
//!
//! A loss is a sum over *parts* of the output: all M outputs of a sample, or the channels of one node or pixel. Samples that share an
//! input are merged with their multiplicity w and mean target ȳ; all losses here are Σ_j ℓ(f, y_j) = w ℓ(f, ȳ) + constant.
//! With the generalised Gauss–Newton matrix −Jᵀ H J of θ̇, implicit methods and stability estimates need a root H = B Bᵀ.

use crate::data::MergedData;
use crate::logistic::{sigmoid, softplus};

/// What is summed over samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loss {
    /// ½‖f − y‖², the loss of the theory.
    #[default]
    SquaredError,
    /// −Σ_k y_k log softmax(f)_k with class probabilities y (≥ 0, sum 1) per part.
    SoftmaxCrossEntropy,
    /// Σ_k y_k log(1 + e^{−f_k}) + (1 − y_k) log(1 + e^{f_k}) with y in [0, 1], per output.
    Logistic,
}

/// Why targets are none for a loss.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TargetError {
    /// A target outside its range.
    #[error("target {index} of sample {sample} is {value}, but has to be between 0 and 1")]
    OutOfRange {
        /// Sample, from 0.
        sample: usize,
        /// Target of the sample, from 0.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// Class probabilities that are none.
    #[error("class probabilities of sample {sample} from target {first} on sum to {sum}, but have to sum to 1")]
    NotADistribution {
        /// Sample, from 0.
        sample: usize,
        /// First target of the part, from 0.
        first: usize,
        /// Their sum.
        sum: f64,
    },
    /// One class only.
    #[error("softmax cross-entropy needs at least two outputs, one per class")]
    OneClass,
}

impl Loss {
    /// Name as written in scenario files.
    pub fn name(self) -> &'static str {
        match self {
            Self::SquaredError => "SquaredError",
            Self::SoftmaxCrossEntropy => "SoftmaxCrossEntropy",
            Self::Logistic => "Logistic",
        }
    }

    /// Why the bounds of the theory say nothing about this loss; `None` for the squared error.
    pub fn beyond_theory(self) -> Option<&'static str> {
        match self {
            Self::SquaredError => None,
            Self::SoftmaxCrossEntropy => {
                Some("the bound is about the squared error, the loss is softmax cross-entropy")
            }
            Self::Logistic => Some("the bound is about the squared error, the loss is logistic"),
        }
    }

    /// Checks the targets of a data set (n × M, `part` outputs per part); `order` says where each of the network's outputs stands
    /// among the targets of a sample, if that is not its own index.
    ///
    /// # Errors
    /// The first target that does not fit.
    pub fn check_targets(
        self,
        targets: &[f64],
        n_outputs: usize,
        part: usize,
        order: Option<&[usize]>,
    ) -> Result<(), TargetError> {
        if self == Self::SquaredError {
            return Ok(());
        }
        if self == Self::SoftmaxCrossEntropy && part < 2 {
            return Err(TargetError::OneClass);
        }
        for (sample, row) in targets.chunks_exact(n_outputs).enumerate() {
            if let Some((index, &value)) = row.iter().enumerate().find(|(_, y)| !(0.0..=1.0).contains(*y)) {
                return Err(TargetError::OutOfRange { sample, index, value });
            }
            if self == Self::SoftmaxCrossEntropy {
                let place = |output: usize| order.map_or(output, |order| order[output]);
                for first in (0..n_outputs).step_by(part) {
                    let sum: f64 = (first..first + part).map(|output| row[place(output)]).sum();
                    if (sum - 1.0).abs() > 1e-9 {
                        return Err(TargetError::NotADistribution { sample, first: place(first), sum });
                    }
                }
            }
        }
        Ok(())
    }

    /// Σ w ℓ(f, ȳ) over all merged samples.
    pub fn value(self, data: &MergedData, part: usize, f: &[f64]) -> f64 {
        let m = data.n_outputs;
        let rows = f.chunks_exact(m).zip(data.y.chunks_exact(m)).zip(&data.weight);
        match self {
            Self::SquaredError => {
                rows.map(|((f, y), w)| 0.5 * w * f.iter().zip(y).map(|(f, y)| (f - y).powi(2)).sum::<f64>()).sum()
            }
            Self::SoftmaxCrossEntropy => {
                let parts = |(f, y): (&[f64], &[f64])| {
                    f.chunks_exact(part).zip(y.chunks_exact(part)).map(|(f, y)| cross_entropy(f, y)).sum::<f64>()
                };
                rows.map(|((f, y), w)| w * parts((f, y))).sum()
            }
            Self::Logistic => rows
                .map(|((f, y), w)| {
                    w * f.iter().zip(y).map(|(&f, y)| y * softplus(-f) + (1.0 - y) * softplus(f)).sum::<f64>()
                })
                .sum(),
        }
    }

    /// Writes w ∂ℓ/∂f into `seed`; returns the size of the terms whose differences its entries are.
    pub fn seed(self, data: &MergedData, part: usize, f: &[f64], seed: &mut [f64]) -> f64 {
        let m = data.n_outputs;
        let mut largest = 0.0_f64;
        let mut probabilities = Vec::new();
        for (u, &w) in data.weight.iter().enumerate() {
            let at = u * m..(u + 1) * m;
            let (f, y, seed) = (&f[at.clone()], &data.y[at.clone()], &mut seed[at]);
            match self {
                Self::SquaredError => {
                    for ((seed, f), y) in seed.iter_mut().zip(f).zip(y) {
                        *seed = w * (f - y);
                        largest = largest.max(f.abs());
                    }
                }
                Self::SoftmaxCrossEntropy => {
                    let parts = f.chunks_exact(part).zip(y.chunks_exact(part)).zip(seed.chunks_exact_mut(part));
                    for ((f, y), seed) in parts {
                        softmax(f, seed);
                        probabilities.clear();
                        probabilities.extend_from_slice(seed);
                        for (k, (seed, y)) in seed.iter_mut().zip(y).enumerate() {
                            // 1 − p without cancellation: a residual far below rounding of 1 still points somewhere.
                            let others: f64 =
                                probabilities.iter().enumerate().filter(|(i, _)| *i != k).map(|(_, p)| p).sum();
                            let (up, down) = (probabilities[k] * (1.0 - y), y * others);
                            largest = largest.max(w * up.max(down) * (1.0 + f[k].abs()));
                            *seed = w * (up - down);
                        }
                    }
                }
                Self::Logistic => {
                    for ((seed, &f), y) in seed.iter_mut().zip(f).zip(y) {
                        let (up, down) = (sigmoid(f) * (1.0 - y), y * sigmoid(-f));
                        largest = largest.max(w * up.max(down) * (1.0 + f.abs()));
                        *seed = w * (up - down);
                    }
                }
            }
        }
        largest
    }

    /// Writes the sizes of the terms that w ∂ℓ/∂f is the sum of, rounding included: those of f are `terms`.
    pub fn seed_terms(self, data: &MergedData, part: usize, f: &[f64], terms: &[f64], out: &mut Vec<f64>) {
        out.resize(f.len(), 0.0);
        match self {
            Self::SquaredError => {
                let m = data.n_outputs;
                for (k, (out, terms)) in out.iter_mut().zip(terms).enumerate() {
                    *out = data.weight[k / m] * (terms + data.y[k].abs());
                }
            }
            // p(1 − y) and y(1 − p) are exponentials of f, whose relative errors are the errors of f.
            Self::SoftmaxCrossEntropy | Self::Logistic => {
                let weight = |k: usize| data.weight[k / data.n_outputs];
                let mut probabilities = vec![0.0; part];
                for first in (0..f.len()).step_by(part) {
                    let (f, y) = (&f[first..first + part], &data.y[first..first + part]);
                    match self {
                        Self::Logistic => probabilities.iter_mut().zip(f).for_each(|(p, &f)| *p = sigmoid(f)),
                        _ => softmax(f, &mut probabilities),
                    }
                    let widest = terms[first..first + part].iter().fold(0.0, |widest: f64, t| widest.max(*t));
                    for (k, (p, y)) in probabilities.iter().zip(y).enumerate() {
                        let others: f64 = if self == Self::Logistic {
                            sigmoid(-f[k])
                        } else {
                            probabilities.iter().enumerate().filter(|(i, _)| *i != k).map(|(_, p)| p).sum()
                        };
                        out[first + k] = weight(first + k) * (p * (1.0 - y) + y * others) * (1.0 + widest);
                    }
                }
            }
        }
    }

    /// ‖∂ℓ/∂f‖ over all original samples, given the seeds of the merged ones.
    pub fn residual_norm(self, data: &MergedData, loss: f64, seed: &[f64]) -> f64 {
        if self == Self::SquaredError {
            return (2.0 * loss).sqrt();
        }
        let m = data.n_outputs;
        let merged: f64 =
            seed.chunks_exact(m).zip(&data.weight).map(|(s, w)| s.iter().map(|s| s * s).sum::<f64>() / w).sum();
        // Σ_j ‖p − y_j‖² = w‖p − ȳ‖² + Σ_j ‖y_j − ȳ‖².
        (merged + 2.0 * data.excess_loss).sqrt()
    }

    /// Part of the loss that is missing in the merged one.
    pub fn excess(self, data: &MergedData) -> f64 {
        if self == Self::SquaredError { data.excess_loss } else { 0.0 }
    }

    /// v ← Bᵀv, where H = B Bᵀ is the second derivative of the weighted loss at outputs f; v has the length of f.
    pub fn apply_root(self, data: &MergedData, part: usize, f: &[f64], v: &mut [f64]) {
        self.scale_rows(data, part, f, v, |v, q| {
            v.iter_mut().zip(q).for_each(|(v, q)| *v *= q);
            remove(v, q);
        });
    }

    /// v ← B v.
    pub fn apply_root_transposed(self, data: &MergedData, part: usize, f: &[f64], v: &mut [f64]) {
        self.scale_rows(data, part, f, v, |v, q| {
            remove(v, q);
            v.iter_mut().zip(q).for_each(|(v, q)| *v *= q);
        });
    }

    /// Scales by √w (and by the diagonal root, for the logistic loss); softmax parts go through `softmax_part` with q = √p.
    fn scale_rows(
        self,
        data: &MergedData,
        part: usize,
        f: &[f64],
        v: &mut [f64],
        softmax_part: impl Fn(&mut [f64], &[f64]),
    ) {
        let m = data.n_outputs;
        let mut roots = if self == Self::SoftmaxCrossEntropy { vec![0.0; part] } else { Vec::new() };
        for ((v, f), w) in v.chunks_exact_mut(m).zip(f.chunks_exact(m)).zip(&data.weight) {
            let root = w.sqrt();
            match self {
                Self::SquaredError => v.iter_mut().for_each(|v| *v *= root),
                Self::Logistic => {
                    for (v, &f) in v.iter_mut().zip(f) {
                        *v *= root * (sigmoid(f) * sigmoid(-f)).sqrt();
                    }
                }
                Self::SoftmaxCrossEntropy => {
                    for (v, f) in v.chunks_exact_mut(part).zip(f.chunks_exact(part)) {
                        softmax(f, &mut roots);
                        roots.iter_mut().for_each(|p| *p = p.sqrt());
                        softmax_part(v, &roots);
                        v.iter_mut().for_each(|v| *v *= root);
                    }
                }
            }
        }
    }
}

/// v ← v − q (q·v) for a unit vector q.
fn remove(v: &mut [f64], q: &[f64]) {
    let along: f64 = v.iter().zip(q).map(|(v, q)| v * q).sum();
    v.iter_mut().zip(q).for_each(|(v, q)| *v -= along * q);
}

fn softmax(f: &[f64], out: &mut [f64]) {
    let largest = f.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    out.iter_mut().zip(f).for_each(|(p, f)| *p = (f - largest).exp());
    let sum: f64 = out.iter().sum();
    out.iter_mut().for_each(|p| *p /= sum);
}

/// −Σ_k y_k log softmax(f)_k, accurate also where it is tiny.
fn cross_entropy(f: &[f64], y: &[f64]) -> f64 {
    let top = (0..f.len()).fold(0, |best, k| if f[k] > f[best] { k } else { best });
    let others: f64 = (0..f.len()).filter(|&k| k != top).map(|k| (f[k] - f[top]).exp()).sum();
    let log_sum = others.ln_1p();
    f.iter().zip(y).map(|(f_k, y)| y * ((f[top] - f_k) + log_sum)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Data;

    /// Targets that sum to one in parts of two, and of four.
    fn targets(part: usize) -> [[f64; 4]; 3] {
        match part {
            2 => [[1.0, 0.0, 0.8, 0.2], [0.0, 1.0, 0.7, 0.3], [0.5, 0.5, 0.0, 1.0]],
            _ => [[1.0, 0.0, 0.0, 0.0], [0.0, 0.3, 0.6, 0.1], [0.0, 0.0, 0.0, 1.0]],
        }
    }

    fn data(part: usize) -> MergedData {
        // The first and the last sample share an input: their targets are averaged.
        let x = vec![vec![1.0], vec![2.0], vec![1.0]];
        let y: Vec<Vec<f64>> = targets(part).iter().map(|row| row.to_vec()).collect();
        Data::from_rows(&x, &y).expect("rows form a data set").merged()
    }

    const LOSSES: [Loss; 3] = [Loss::SquaredError, Loss::SoftmaxCrossEntropy, Loss::Logistic];
    const F: [f64; 8] = [0.3, -1.2, 2.0, 0.5, -0.7, 0.1, 0.0, 1.5];

    #[test]
    fn seeds_and_roots_are_the_first_and_second_derivatives_of_the_value() {
        for loss in LOSSES {
            for part in [2, 4] {
                let data = data(part);
                let value = |f: &[f64]| loss.value(&data, part, f);
                let seed = |f: &[f64]| {
                    let mut seed = vec![0.0; f.len()];
                    loss.seed(&data, part, f, &mut seed);
                    seed
                };
                let exact = seed(&F);
                for k in 0..F.len() {
                    let h = 1e-5;
                    let moved = |sign: f64| {
                        let mut f = F.to_vec();
                        f[k] += sign * h;
                        f
                    };
                    let difference = (value(&moved(1.0)) - value(&moved(-1.0))) / (2.0 * h);
                    // Truncation h²/6 · third derivative (< 1) and rounding ε·value/h, both below 1e-10.
                    assert!((exact[k] - difference).abs() < 1e-9, "{loss:?} seed {k}: {} {difference}", exact[k]);
                    let mut column = vec![0.0; F.len()];
                    column[k] = 1.0;
                    loss.apply_root(&data, part, &F, &mut column);
                    loss.apply_root_transposed(&data, part, &F, &mut column);
                    let (up, down) = (seed(&moved(1.0)), seed(&moved(-1.0)));
                    for i in 0..F.len() {
                        let difference = (up[i] - down[i]) / (2.0 * h);
                        assert!((column[i] - difference).abs() < 1e-9, "{loss:?} H[{i}, {k}]");
                    }
                }
            }
        }
    }

    #[test]
    fn tiny_losses_and_residuals_keep_their_digits() {
        let x = vec![vec![1.0]];
        let data = Data::from_rows(&x, &[vec![1.0, 0.0]]).expect("rows form a data set").merged();
        let f = [40.0, 0.0];
        let mut seed = [0.0; 2];
        for loss in [Loss::SoftmaxCrossEntropy, Loss::Logistic] {
            let f = if loss == Loss::Logistic { [40.0, -40.0] } else { f };
            loss.seed(&data, 2, &f, &mut seed);
            let expected = (-40.0_f64).exp();
            assert!((seed[0] + expected).abs() < 1e-14 * expected, "{loss:?}: {}", seed[0]);
            let value = loss.value(&data, 2, &f);
            let terms = if loss == Loss::Logistic { 2.0 } else { 1.0 };
            assert!((value - terms * expected).abs() < 1e-14 * expected, "{loss:?}: {value}");
        }
    }

    #[test]
    fn class_probabilities_are_summed_over_the_outputs_that_belong_together() {
        // Two classes on three pixels, channel by channel as images are.
        let order = [0, 3, 1, 4, 2, 5];
        let check = |targets: [f64; 6]| Loss::SoftmaxCrossEntropy.check_targets(&targets, 6, 2, Some(&order));
        assert_eq!(check([1.0, 0.0, 0.25, 0.0, 1.0, 0.75]), Ok(()));
        let wrong = TargetError::NotADistribution { sample: 0, first: 1, sum: 0.5 };
        assert_eq!(check([1.0, 0.0, 0.25, 0.0, 0.5, 0.75]), Err(wrong));
    }

    #[test]
    fn merging_keeps_the_loss_and_the_residual_of_all_samples() {
        let merged = data(4);
        let targets = targets(4);
        for loss in LOSSES {
            let single = |y: &[f64; 4]| Data::from_rows(&[vec![0.0]], &[y.to_vec()]).expect("one row").merged();
            let (mut value, mut squared) = (0.0, 0.0);
            for (y, f) in targets.iter().zip([&F[..4], &F[4..], &F[..4]]) {
                let alone = single(y);
                let mut seed = [0.0; 4];
                loss.seed(&alone, 4, f, &mut seed);
                value += loss.value(&alone, 4, f);
                squared += seed.iter().map(|s| s * s).sum::<f64>();
            }
            let mut seed = [0.0; 8];
            loss.seed(&merged, 4, &F, &mut seed);
            let total = loss.value(&merged, 4, &F) + loss.excess(&merged);
            assert!((total - value).abs() < 1e-14 * value, "{loss:?}: {total} {value}");
            let norm = loss.residual_norm(&merged, total, &seed);
            assert!((norm - squared.sqrt()).abs() < 1e-14 * norm, "{loss:?}: {norm}");
        }
    }
}
