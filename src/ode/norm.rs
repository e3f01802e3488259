//! The weighted root-mean-square norm that turns an error vector into one number, and the floors of its weights where tolerances scale with the state.

use super::field::PiecewiseField;
use super::noise::TRUSTED;
use crate::vector::{max_abs, vectorised};

/// Part of its scale that a component counts for at least.
const SHARE: f64 = 0.05;
/// Errors below this part of a component, or of the largest scale that it has had, are rounding.
pub const ROUNDING: f64 = 8.0 * f64::EPSILON;

/// Tolerances of the WRMS norm with weights atol + floor_i + rtol·max(|a_i|, |b_i|) (Hairer, Nørsett & Wanner, *Solving ODEs I*, eq. II.4.11).
///
/// The floors are those of a field that knows its [scales](PiecewiseField::scales); others have none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WrmsNorm {
    /// Relative tolerance, > 0.
    pub rtol: f64,
    /// Absolute tolerance, ≥ 0.
    pub atol: f64,
}

impl WrmsNorm {
    /// The norm with a floor for the weight of each component, or with none where the slice is empty.
    pub fn with(self, floors: &[f64]) -> Weights<'_> {
        Weights { norm: self, floors }
    }

    /// The largest error, as a Euclidean length, that a step at `y` is accepted with: a weighted mean square of at most 1 leaves √P times
    /// the largest weight.
    pub fn largest_error(&self, y: &[f64]) -> f64 {
        self.largest_error_of(y.len(), max_abs(y))
    }

    /// The same for a state of `dim` components up to `largest`.
    pub fn largest_error_of(&self, dim: usize, largest: f64) -> f64 {
        (dim as f64).sqrt() * (self.atol + self.rtol * largest)
    }

    /// The largest change of a quantity with this gradient at `y` that an error makes with which a step is accepted.
    pub fn largest_change(&self, gradient: &[f64], y: &[f64]) -> f64 {
        // Floors are that part of the scales, which are no larger than the largest component.
        let floor = self.atol + SHARE * self.rtol * max_abs(y);
        let weighted = gradient.iter().zip(y).map(|(g, y)| (g * (floor + self.rtol * y.abs())).powi(2));
        (y.len() as f64 * weighted.sum::<f64>()).sqrt()
    }

    /// The error that a step is accepted with, relative to a state of length `size` and `dim` components.
    pub fn relative_to(&self, size: f64, dim: usize) -> f64 {
        self.rtol + self.atol * (dim as f64).sqrt() / size
    }
}

/// The weights of a [`WrmsNorm`] at one point of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights<'a> {
    norm: WrmsNorm,
    floors: &'a [f64],
}

impl Weights<'_> {
    /// √(1/P Σ (e_i / w_i)²).
    pub fn of(&self, error: &[f64], a: &[f64], b: &[f64]) -> f64 {
        let sum = self.sum(a.len(), |range, floors| {
            let (error, a, b) = (&error[range.clone()], &a[range.clone()], &b[range]);
            vectorised!(squared_ratios(self.norm.rtol, error, a, b, floors))
        });
        (sum / error.len().max(1) as f64).sqrt()
    }

    /// Σ w_i² with a = b.
    pub fn squared(&self, a: &[f64]) -> f64 {
        self.sum(a.len(), |range, floors| {
            a[range].iter().zip(floors).map(|(a, floor)| (floor + self.norm.rtol * a.abs()).powi(2)).sum()
        })
    }

    /// The floors, for use with the same [`WrmsNorm`].
    pub fn copy_floors(&self, out: &mut Vec<f64>) {
        out.clear();
        out.extend_from_slice(self.floors);
    }

    /// Adds up what `block` makes of ranges and their floors.
    fn sum(&self, len: usize, block: impl Fn(std::ops::Range<usize>, &[f64]) -> f64) -> f64 {
        const BLOCK: usize = 256;
        let mut floors = [self.norm.atol; BLOCK];
        let mut sum = 0.0;
        for from in (0..len).step_by(BLOCK) {
            let range = from..len.min(from + BLOCK);
            if !self.floors.is_empty() {
                let own = &self.floors[range.clone()];
                floors.iter_mut().zip(own).for_each(|(floor, own)| *floor = self.norm.atol + own);
            }
            let n = range.len();
            sum += block(range, &floors[..n]);
        }
        sum
    }
}

/// Σ (e_i / (floor_i + rtol·max(|a_i|, |b_i|)))².
#[inline(always)]
fn squared_ratios(rtol: f64, error: &[f64], a: &[f64], b: &[f64], floors: &[f64]) -> f64 {
    const LANES: usize = 8;
    let squared = |e: f64, a: f64, b: f64, floor: f64| {
        let ratio = e / (floor + rtol * a.abs().max(b.abs()));
        // A component that is exactly zero without any floor has no error either.
        if e == 0.0 { 0.0 } else { ratio * ratio }
    };
    let mut lanes = [0.0; LANES];
    let (errors, starts) = (error.chunks_exact(LANES), a.chunks_exact(LANES));
    let (ends, lowest) = (b.chunks_exact(LANES), floors.chunks_exact(LANES));
    let from = error.len() - errors.remainder().len();
    let tail: f64 = (from..error.len()).map(|i| squared(error[i], a[i], b[i], floors[i])).sum();
    for (((e, a), b), floor) in errors.zip(starts).zip(ends).zip(lowest) {
        for k in 0..LANES {
            lanes[k] += squared(e[k], a[k], b[k], floor[k]);
        }
    }
    lanes.iter().sum::<f64>() + tail
}

/// Floors of weights that follow the scales of a field; keeps its memory.
#[derive(Debug, Clone, Default)]
pub struct Floors {
    scales: Vec<f64>,
    /// The largest that each scale has been.
    largest: Vec<f64>,
    floors: Vec<f64>,
    with_noise: Vec<f64>,
}

impl Floors {
    /// Follows `field` to the point of its last evaluation; there are no floors where it has no scales.
    pub fn follow<F: PiecewiseField>(&mut self, field: &mut F, rtol: f64) {
        let Self { scales, largest, floors, .. } = self;
        field.scales(scales);
        largest.resize(scales.len(), 0.0);
        floors.resize(scales.len(), 0.0);
        let columns = floors.iter_mut().zip(largest).zip(&*scales);
        vectorised!(columns.for_each(|((floor, largest), scale)| {
            *largest = largest.max(*scale);
            *floor = SHARE * rtol * scale + ROUNDING * *largest;
        }));
    }

    /// The same, with the rounding that a step of length `h` adds to each component: where all else is exactly zero (a unit that is held at the
    /// origin), the error of a step is nothing but that, and a shorter one would not be better.
    pub fn with_noise(&mut self, noise: &[f64], h: f64) -> &[f64] {
        let Self { floors, with_noise, .. } = self;
        if noise.len() != floors.len() {
            return floors;
        }
        with_noise.clone_from(floors);
        with_noise.iter_mut().zip(noise).for_each(|(floor, noise)| *floor += TRUSTED * h * noise);
        with_noise
    }

    /// That rounding alone.
    pub fn noise_alone(&mut self, noise: &[f64], h: f64) -> &[f64] {
        self.with_noise.clear();
        self.with_noise.extend(noise.iter().map(|noise| TRUSTED * h * noise));
        &self.with_noise
    }

    /// One for each component, or none.
    pub fn as_slice(&self) -> &[f64] {
        &self.floors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_is_the_naive_sum_with_and_without_floors() {
        let norm = WrmsNorm { rtol: 1e-3, atol: 1e-2 };
        for n in [1, 7, 8, 9, 255, 256, 257, 700] {
            let vector = |j: usize| (0..n).map(|i| ((i * 7 + j * 13) % 11) as f64 - 5.0).collect::<Vec<_>>();
            let (error, a, b) = (vector(0), vector(1), vector(2));
            let floors: Vec<f64> = vector(3).iter().map(|v| v.abs()).collect();
            for given in [&floors[..], &[]] {
                let weight = |i: usize| {
                    norm.atol + given.get(i).unwrap_or(&0.0) + norm.rtol * f64::max(f64::abs(a[i]), f64::abs(b[i]))
                };
                let naive = ((0..n).map(|i| (error[i] / weight(i)).powi(2)).sum::<f64>() / n as f64).sqrt();
                let found = norm.with(given).of(&error, &a, &b);
                assert!((found - naive).abs() < 1e-12 * naive, "n = {n}: {found} against {naive}");
            }
        }
    }

    #[test]
    fn a_component_that_is_zero_and_has_no_floor_has_no_error() {
        let norm = WrmsNorm { rtol: 1e-3, atol: 0.0 };
        assert_eq!(norm.with(&[]).of(&[0.0, 1e-3], &[0.0, 1.0], &[0.0, -1.0]), 0.5_f64.sqrt());
        assert!(norm.with(&[]).of(&[1e-3, 0.0], &[0.0, 1.0], &[0.0, -1.0]).is_infinite());
    }
}
