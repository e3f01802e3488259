//! Training data: inputs and targets, and the samples that share an input.
//!
//! Knows nothing of files; `scenario` reads those.

use thiserror::Error;

/// Why inputs and targets do not form a data set.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum DataError {
    /// There is no sample.
    #[error("there are no samples")]
    Empty,
    /// Samples have no input or no target component.
    #[error("samples need at least one {0} component")]
    NoComponents(&'static str),
    /// A row has another length than the first one.
    #[error("row {row} of {which} has {found} values, the first row has {expected}")]
    Ragged {
        /// "x" or "y".
        which: &'static str,
        /// Row index from 0.
        row: usize,
        /// Length of the first row.
        expected: usize,
        /// Length of this row.
        found: usize,
    },
    /// A value is NaN or infinite.
    #[error("{which}[{row}][{column}] is {value}")]
    NotFinite {
        /// "x" or "y".
        which: &'static str,
        /// Row index from 0.
        row: usize,
        /// Column index from 0.
        column: usize,
        /// The value.
        value: f64,
    },
    /// x and y have different numbers of rows.
    #[error("x has {inputs} rows but y has {targets}")]
    RowCount {
        /// Rows of x.
        inputs: usize,
        /// Rows of y.
        targets: usize,
    },
}

/// n samples with N inputs and M targets each; every value is finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    n_samples: usize,
    n_inputs: usize,
    n_outputs: usize,
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Data {
    /// Builds from rows: `x[j]` are the N inputs of sample j, `y[j]` its M targets.
    ///
    /// # Errors
    /// Every [`DataError`].
    pub fn from_rows(x: &[Vec<f64>], y: &[Vec<f64>]) -> Result<Self, DataError> {
        if x.len() != y.len() {
            return Err(DataError::RowCount { inputs: x.len(), targets: y.len() });
        }
        if x.is_empty() {
            return Err(DataError::Empty);
        }
        let flat_x = flatten("x", x)?;
        let flat_y = flatten("y", y)?;
        if x[0].is_empty() {
            return Err(DataError::NoComponents("input"));
        }
        if y[0].is_empty() {
            return Err(DataError::NoComponents("target"));
        }
        Ok(Self { n_samples: x.len(), n_inputs: x[0].len(), n_outputs: y[0].len(), x: flat_x, y: flat_y })
    }

    /// n.
    pub fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// N.
    pub fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    /// M.
    pub fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    /// Number of targets n·M.
    pub fn n_targets(&self) -> usize {
        self.n_samples * self.n_outputs
    }

    /// Inputs, sample by sample (n × N).
    pub fn x(&self) -> &[f64] {
        &self.x
    }

    /// Targets, sample by sample (n × M).
    pub fn y(&self) -> &[f64] {
        &self.y
    }

    /// Merges samples with identical inputs into one with a weight and the mean target.
    ///
    /// The loss differs from the merged one by a constant, so the flow is the same; but the switching surfaces of
    /// duplicates coincide, and keeping only one of them keeps the sliding equations regular.
    pub fn merged(&self) -> MergedData {
        let (n_inputs, n_outputs) = (self.n_inputs, self.n_outputs);
        let mut first: std::collections::HashMap<Vec<u64>, usize> = std::collections::HashMap::new();
        let mut merged = MergedData {
            n_samples: 0,
            n_inputs,
            n_outputs,
            x: Vec::new(),
            y: Vec::new(),
            weight: Vec::new(),
            originals: Vec::new(),
            excess_loss: 0.0,
        };
        for (j, x) in self.x.chunks_exact(n_inputs).enumerate() {
            // −0 and 0 are the same input.
            let key = x.iter().map(|v| (v + 0.0).to_bits()).collect();
            let target = &self.y[j * n_outputs..(j + 1) * n_outputs];
            let u = *first.entry(key).or_insert(merged.n_samples);
            if u == merged.n_samples {
                merged.n_samples += 1;
                merged.x.extend_from_slice(x);
                merged.y.extend_from_slice(target);
                merged.weight.push(1.0);
                merged.originals.push(vec![j]);
            } else {
                merged.weight[u] += 1.0;
                merged.originals[u].push(j);
            }
        }
        for (u, originals) in merged.originals.iter().enumerate().filter(|(_, o)| o.len() > 1) {
            for m in 0..n_outputs {
                let targets = || originals.iter().map(|j| self.y[j * n_outputs + m]);
                let mean = targets().sum::<f64>() / originals.len() as f64;
                merged.y[u * n_outputs + m] = mean;
                merged.excess_loss += 0.5 * targets().map(|y| (y - mean).powi(2)).sum::<f64>();
            }
        }
        merged
    }
}

/// Data in which no two samples share an input.
#[derive(Debug, Clone, PartialEq)]
pub struct MergedData {
    /// Number of distinct inputs.
    pub n_samples: usize,
    /// N.
    pub n_inputs: usize,
    /// M.
    pub n_outputs: usize,
    /// Distinct inputs, sample by sample (n × N).
    pub x: Vec<f64>,
    /// Mean targets, sample by sample (n × M).
    pub y: Vec<f64>,
    /// Multiplicity of each distinct input.
    pub weight: Vec<f64>,
    /// Indices of the original samples behind each distinct input, in order.
    pub originals: Vec<Vec<usize>>,
    /// Part of the loss that no θ can remove: ½ Σ‖y_j − mean‖² over duplicates.
    pub excess_loss: f64,
}

impl MergedData {
    /// Whether some input occurs more than once.
    pub fn has_duplicates(&self) -> bool {
        self.originals.iter().any(|o| o.len() > 1)
    }
}

fn flatten(which: &'static str, rows: &[Vec<f64>]) -> Result<Vec<f64>, DataError> {
    let expected = rows[0].len();
    let mut flat = Vec::with_capacity(rows.len() * expected);
    for (row, values) in rows.iter().enumerate() {
        if values.len() != expected {
            return Err(DataError::Ragged { which, row, expected, found: values.len() });
        }
        if let Some((column, &value)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            return Err(DataError::NotFinite { which, row, column, value });
        }
        flat.extend_from_slice(values);
    }
    Ok(flat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_the_loss_up_to_its_constant() {
        let x = vec![vec![1.0, 0.0], vec![2.0, 1.0], vec![1.0, -0.0]];
        let y = vec![vec![3.0], vec![0.5], vec![-1.0]];
        let data = Data::from_rows(&x, &y).unwrap();
        let merged = data.merged();
        assert_eq!((merged.n_samples, &merged.weight[..]), (2, &[2.0, 1.0][..]));
        assert_eq!(merged.originals, vec![vec![0, 2], vec![1]]);
        let outputs = [0.7, -0.2];
        let full: f64 = [(0, 0), (1, 1), (2, 0)].iter().map(|&(j, u)| 0.5 * (outputs[u] - y[j][0]).powi(2)).sum();
        let weighted: f64 = (0..2).map(|u| 0.5 * merged.weight[u] * (outputs[u] - merged.y[u]).powi(2)).sum();
        assert!((full - weighted - merged.excess_loss).abs() < 1e-14);
    }
}
