//! Random draws: initial parameters on a layout, and data sets.
//!
//! The order of draws is part of the contract: layer by layer, W row-major, then b. The caller owns the generator.

use super::layer::Layer;
use super::network::Network;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

/// A distribution of initial parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampler {
    /// PyTorch's default for `nn.Linear`: W, b ~ U(±1/√fan_in).
    KaimingUniform,
    /// W ~ U(±√(6/(fan_in + fan_out))), b = 0 (Glorot & Bengio 2010).
    XavierUniform,
    /// W, b ~ N(0, std²).
    Normal(f64),
    /// W, b ~ U(±bound).
    Uniform(f64),
    /// W_1 = 0, b = 0, all other weights positive (Chatterjee, arXiv:2203.16462).
    ///
    /// Entries are U(½, 3/2) times a scale, so that units differ: equal ones would stay equal for ever.
    Positive {
        /// Scale of W_2 … W_{L−1}.
        hidden: f64,
        /// Scale of W_L.
        output: f64,
    },
}

/// Draws θ (P values); learned slopes start at `slope` and take no draw.
///
/// The fan-in of a weight is the number of features it is summed with, its fan-out the number of channels times the pixels under the
/// kernel, as in PyTorch.
pub fn sample(network: &Network, sampler: Sampler, slope: f64, rng: &mut impl Rng) -> Vec<f64> {
    let mut theta = vec![0.0; network.n_parameters()];
    let n_layers = network.layers().len();
    for (l, block) in network.layers().iter().enumerate() {
        let (fan_in, fan_out) = fans(block);
        let mut draw = |is_bias: bool| match sampler {
            Sampler::KaimingUniform => symmetric(1.0 / fan_in.sqrt(), rng),
            Sampler::XavierUniform if is_bias => 0.0,
            Sampler::XavierUniform => symmetric((6.0 / (fan_in + fan_out)).sqrt(), rng),
            Sampler::Normal(std) => std * normal(rng),
            Sampler::Uniform(bound) => symmetric(bound, rng),
            Sampler::Positive { .. } if is_bias || l == 0 => 0.0,
            Sampler::Positive { hidden, output } => {
                let scale = if l + 1 == n_layers { output } else { hidden };
                scale * (0.5 + rng.random::<f64>())
            }
        };
        theta[block.weights.clone()].fill_with(|| draw(false));
        if let Some(bias) = &block.bias {
            theta[bias.clone()].fill_with(|| draw(true));
        }
        if let Some(at) = block.slope {
            theta[at] = slope;
        }
    }
    theta
}

fn fans(layer: &Layer) -> (f64, f64) {
    (layer.n_in as f64, (layer.n_out * layer.receptive) as f64)
}

/// Points uniform in the unit ball of ℝ^dimension, one row each.
pub fn unit_ball(count: usize, dimension: usize, rng: &mut impl Rng) -> Vec<Vec<f64>> {
    (0..count)
        .map(|_| {
            // A standard normal vector has a uniform direction; the radius has distribution function r^dimension.
            let mut point: Vec<f64> = (0..dimension).map(|_| normal(rng)).collect();
            let norm = point.iter().map(|v| v * v).sum::<f64>().sqrt();
            let radius = rng.random::<f64>().powf(1.0 / dimension as f64);
            point.iter_mut().for_each(|v| *v *= radius / norm);
            point
        })
        .collect()
}

/// Rows of independent standard normal values.
pub fn standard_normal(count: usize, dimension: usize, rng: &mut impl Rng) -> Vec<Vec<f64>> {
    (0..count).map(|_| (0..dimension).map(|_| normal(rng)).collect()).collect()
}

fn normal(rng: &mut impl Rng) -> f64 {
    StandardNormal.sample(rng)
}

fn symmetric(bound: f64, rng: &mut impl Rng) -> f64 {
    bound * (2.0 * rng.random::<f64>() - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Activation;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    #[test]
    fn each_sampler_keeps_its_bounds_and_zeros() {
        let network = Network::dense(9, &[16, 4], 2, true, Activation::Prelu).expect("widths");
        let draw = |sampler| sample(&network, sampler, 0.25, &mut ChaCha8Rng::seed_from_u64(3));
        for sampler in [Sampler::KaimingUniform, Sampler::XavierUniform, Sampler::Uniform(0.3)] {
            let theta = draw(sampler);
            for block in network.layers() {
                let bound = match sampler {
                    Sampler::KaimingUniform => 1.0 / (block.n_in as f64).sqrt(),
                    Sampler::XavierUniform => (6.0 / (block.n_in + block.n_out) as f64).sqrt(),
                    _ => 0.3,
                };
                let largest = theta[block.weights.clone()].iter().fold(0.0f64, |m, w| m.max(w.abs()));
                assert!(largest <= bound, "{sampler:?}: {largest} > {bound}");
                // The largest of n ≥ 8 uniform draws is below half the bound with probability 2^−n.
                assert!(largest > 0.5 * bound, "{sampler:?}: {largest} ≪ {bound}");
                assert_eq!(block.slope.map(|at| theta[at]), block.slope.map(|_| 0.25));
            }
        }
        let theta = draw(Sampler::Positive { hidden: 2.0, output: 8.0 });
        let [first, second, last] = network.layers() else { panic!("three layers") };
        assert!(theta[first.weights.clone()].iter().all(|&w| w == 0.0));
        assert!(theta[second.weights.clone()].iter().all(|w| (1.0..3.0).contains(w)));
        assert!(theta[last.weights.clone()].iter().all(|w| (4.0..12.0).contains(w)));
    }

    #[test]
    fn points_fill_the_unit_ball_uniformly() {
        let points = unit_ball(4000, 3, &mut ChaCha8Rng::seed_from_u64(1));
        let radii: Vec<f64> = points.iter().map(|p| p.iter().map(|v| v * v).sum::<f64>().sqrt()).collect();
        assert!(radii.iter().all(|&r| r < 1.0));
        // r³ is uniform on [0, 1]: its mean has standard deviation 1/√(12·4000) ≈ 0.0046.
        let mean = radii.iter().map(|r| r.powi(3)).sum::<f64>() / 4000.0;
        assert!((mean - 0.5).abs() < 5.0 * 0.0046, "mean of r³ is {mean}");
    }
}
