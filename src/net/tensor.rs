//! Arrays whose entries are linear in what a layer reads: how architectures say where each feature comes from.
//!
//! Pooling, upsampling, concatenation, sums, patches of a convolution and graph aggregation are all linear and free of
//! parameters. They are composed here once, when a network is built, and then compiled into one sparse map per layer
//! ([`super::map`]). Images have shape \[channels, height, width\], node features \[nodes, features\].

/// `weight` × entry `index` of a source: the data (source 0) or the activations of hidden layer `source`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Term {
    /// Which source.
    pub source: usize,
    /// Which of its entries, for one sample.
    pub index: usize,
    /// Factor.
    pub weight: f64,
}

/// See the module. Entries are stored in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    entries: Vec<Vec<Term>>,
}

/// How a window moves over the rows and columns of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Zeros added on each side.
    pub padding: [usize; 2],
}

impl Window {
    /// Number of positions on an image side by side with this, per dimension; `None` when the window does not fit or a stride is 0.
    pub fn positions(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let along = |d: usize| {
            let room = (size[d] + 2 * self.padding[d]).checked_sub(self.kernel[d])?;
            (self.stride[d] > 0 && self.kernel[d] > 0).then(|| room / self.stride[d] + 1)
        };
        Some([along(0)?, along(1)?])
    }

    /// Row or column of the image under element `k` of the window at `position`, unless it is padding.
    fn under(&self, d: usize, position: usize, k: usize, size: usize) -> Option<usize> {
        (position * self.stride[d] + k).checked_sub(self.padding[d]).filter(|at| *at < size)
    }
}

impl Tensor {
    /// An array of `shape` whose entry number i is the source's entry `index(i)`.
    pub fn of(source: usize, shape: &[usize], index: impl Fn(usize) -> usize) -> Self {
        let count = shape.iter().product();
        let entries = (0..count).map(|i| vec![Term { source, index: index(i), weight: 1.0 }]).collect();
        Self { shape: shape.to_vec(), entries }
    }

    /// An array from its entries.
    pub fn from_entries(shape: &[usize], entries: Vec<Vec<Term>>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), entries.len());
        Self { shape: shape.to_vec(), entries }
    }

    /// Extent along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Entries in row-major order.
    pub fn entries(&self) -> &[Vec<Term>] {
        &self.entries
    }

    /// Entries in row-major order.
    pub fn into_entries(self) -> Vec<Vec<Term>> {
        self.entries
    }

    /// The same entries in another shape of the same size.
    pub fn reshaped(mut self, shape: &[usize]) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), self.entries.len());
        self.shape = shape.to_vec();
        self
    }

    /// self + factor·other, of one shape.
    pub fn plus(mut self, factor: f64, other: &Self) -> Self {
        debug_assert_eq!(self.shape, other.shape);
        for (entry, more) in self.entries.iter_mut().zip(&other.entries) {
            add(entry, factor, more);
        }
        self
    }

    /// Both one after the other along the first axis.
    pub fn then(mut self, other: Self) -> Self {
        debug_assert_eq!(self.shape[1..], other.shape[1..]);
        self.shape[0] += other.shape[0];
        self.entries.extend(other.entries);
        self
    }

    /// Rows (first axis) replaced by combinations of rows: row i of the result is Σ_j matrix\[i\]\[j\]·row j.
    pub fn combined(&self, matrix: &[Vec<f64>]) -> Self {
        let width = self.entries.len() / self.shape[0];
        let mut entries = Vec::with_capacity(matrix.len() * width);
        for weights in matrix {
            // Most entries of a row are zero, and there are hundreds of columns.
            let used: Vec<(usize, f64)> = weights.iter().copied().enumerate().filter(|(_, w)| *w != 0.0).collect();
            for k in 0..width {
                let mut entry = Vec::with_capacity(used.len());
                for &(j, weight) in &used {
                    add(&mut entry, weight, &self.entries[j * width + k]);
                }
                entries.push(entry);
            }
        }
        let mut shape = self.shape.clone();
        shape[0] = matrix.len();
        Self { shape, entries }
    }

    fn image_size(&self) -> [usize; 2] {
        [self.shape[1], self.shape[2]]
    }

    fn pixel(&self, channel: usize, row: usize, column: usize) -> &[Term] {
        &self.entries[(channel * self.shape[1] + row) * self.shape[2] + column]
    }

    /// Windows of an image: shape \[positions, channels × kernel\], positions and window elements in row-major order; padding is 0.
    /// The window has to fit ([`Window::positions`]).
    pub fn patches(&self, window: Window) -> Self {
        let size = self.image_size();
        let [n_rows, n_columns] = window.positions(size).unwrap_or([0, 0]);
        let mut entries = Vec::new();
        for (row, column) in pairs(n_rows, n_columns) {
            for channel in 0..self.shape[0] {
                for (k, l) in pairs(window.kernel[0], window.kernel[1]) {
                    let at = (window.under(0, row, k, size[0]), window.under(1, column, l, size[1]));
                    entries.push(match at {
                        (Some(r), Some(c)) => self.pixel(channel, r, c).to_vec(),
                        _ => Vec::new(),
                    });
                }
            }
        }
        let n_features = self.shape[0] * window.kernel[0] * window.kernel[1];
        Self { shape: vec![n_rows * n_columns, n_features], entries }
    }

    /// What each output pixel of a transposed convolution reads: output pixel p gets kernel element k from input pixel (p − k)/stride
    /// where that is one. Shape \[positions, channels × kernel\], with size·stride positions per dimension for kernel = stride.
    pub fn transposed_patches(&self, factor: [usize; 2]) -> Self {
        let [height, width] = self.image_size();
        let mut entries = Vec::new();
        for (row, column) in pairs(height * factor[0], width * factor[1]) {
            for channel in 0..self.shape[0] {
                for (k, l) in pairs(factor[0], factor[1]) {
                    let is_met = row % factor[0] == k && column % factor[1] == l;
                    let pixel = || self.pixel(channel, row / factor[0], column / factor[1]).to_vec();
                    entries.push(if is_met { pixel() } else { Vec::new() });
                }
            }
        }
        let n_features = self.shape[0] * factor[0] * factor[1];
        Self { shape: vec![height * width * factor[0] * factor[1], n_features], entries }
    }

    /// Averages over windows without padding; the window has to fit.
    pub fn average_pooled(&self, window: Window) -> Self {
        let [n_rows, n_columns] = window.positions(self.image_size()).unwrap_or([0, 0]);
        let weight = 1.0 / (window.kernel[0] * window.kernel[1]) as f64;
        let mut entries = Vec::new();
        for channel in 0..self.shape[0] {
            for (row, column) in pairs(n_rows, n_columns) {
                let mut entry = Vec::new();
                for (k, l) in pairs(window.kernel[0], window.kernel[1]) {
                    let (r, c) = (row * window.stride[0] + k, column * window.stride[1] + l);
                    add(&mut entry, weight, self.pixel(channel, r, c));
                }
                entries.push(entry);
            }
        }
        Self { shape: vec![self.shape[0], n_rows, n_columns], entries }
    }

    /// Every pixel repeated `factor` times along each dimension (nearest-neighbour upsampling).
    pub fn upsampled(&self, factor: [usize; 2]) -> Self {
        let [height, width] = [self.shape[1] * factor[0], self.shape[2] * factor[1]];
        let mut entries = Vec::new();
        for channel in 0..self.shape[0] {
            for (row, column) in pairs(height, width) {
                entries.push(self.pixel(channel, row / factor[0], column / factor[1]).to_vec());
            }
        }
        Self { shape: vec![self.shape[0], height, width], entries }
    }
}

/// entry += factor·more, terms of one origin collected.
fn add(entry: &mut Vec<Term>, factor: f64, more: &[Term]) {
    for term in more {
        match entry.iter_mut().find(|t| t.source == term.source && t.index == term.index) {
            Some(same) => same.weight += factor * term.weight,
            None => entry.push(Term { weight: factor * term.weight, ..*term }),
        }
    }
}

fn pairs(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |r| (0..columns).map(move |c| (r, c)))
}
