//! The sliding switches of one group.

use super::inverse::Inverse;

/// Switches that couple only with each other and with those of no group, such as the kinks of one unit of the first layer.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// All of them, increasing.
    pub members: Vec<usize>,
    /// Those that slide, in the order of the inverse.
    pub slides: Vec<usize>,
    /// The inverse of their block.
    pub inverse: Inverse,
}

impl Group {
    /// Place of a sliding switch in the inverse.
    pub fn place(&self, switch: usize) -> usize {
        self.slides.iter().position(|&s| s == switch).expect("a switch that slides")
    }

    /// out = A₁₁⁻¹v at the sliding switches of the group.
    #[inline(always)]
    pub fn solve(&self, v: &[f64], out: &mut [f64]) {
        for (k, &c) in self.slides.iter().enumerate() {
            out[c] = self.inverse.row(k).iter().zip(&self.slides).map(|(x, &d)| x * v[d]).sum();
        }
    }

    /// out = Σ_k weights_k·(entry of the k-th sliding switch) for each column.
    pub fn couple_to(&self, columns: &[Vec<f64>], weights: &[f64], out: &mut Vec<f64>) {
        out.clear();
        out.extend(
            columns.iter().map(|column| self.slides.iter().zip(weights).map(|(&d, w)| w * column[d]).sum::<f64>()),
        );
    }
}
