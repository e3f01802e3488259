//! Images between layers: their shape, and layers that share a kernel over all pixels.
//!
//! Signals (one spatial dimension) are images of one row, so that everything is written once.

use super::{ArchitectureError, Checks, Misfit, count, one};
use crate::net::layer::Bias;
use crate::net::network::{Composer, Features, LayerPlan};
use crate::net::tensor::{Tensor, Window};

/// Channels and spatial extent of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub channels: usize,
    pub size: [usize; 2],
    /// One spatial dimension only.
    pub is_signal: bool,
}

impl Frame {
    /// From `[channels, length]` or `[channels, height, width]`, which must hold `n_inputs` values.
    pub fn new(shape: &[usize], n_inputs: usize) -> Result<Self, ArchitectureError> {
        let frame = match *shape {
            [channels, length] => Self { channels, size: [1, length], is_signal: true },
            [channels, height, width] => Self { channels, size: [height, width], is_signal: false },
            _ => {
                let mut checks = Checks::default();
                let expected = "[channels, length] or [channels, height, width]";
                checks.require(false, "shape", expected, format!("{shape:?}"));
                return Err(checks.done().expect_err("a misfit has been noted"));
            }
        };
        let count = shape.iter().try_fold(1, |count: usize, &extent| count.checked_mul(extent));
        let shown = count.map_or("too many".to_owned(), |count| count.to_string());
        let mut checks = Checks::default();
        let expected = format!("a shape of {n_inputs} values, one for each input of a sample");
        checks.require(count == Some(n_inputs), "shape", expected, format!("{shape:?}, which has {shown}"));
        checks.done()?;
        Ok(frame)
    }

    /// The parameters of a convolution in symbols.
    pub fn symbols(&self, n_out: &str, n_in: &str, bias: bool) -> String {
        let kernel = if self.is_signal { "k" } else { "k_1 k_2" };
        count(n_out, &format!("{n_in} {kernel}"), one(bias))
    }

    /// The data.
    pub fn input(&self) -> Tensor {
        Tensor::of(0, &[self.channels, self.size[0], self.size[1]], |i| i)
    }

    /// A value per spatial dimension; for a signal the first dimension gets `flat`. One value stands for all dimensions.
    pub fn spread(&self, values: &[usize], flat: usize, field: &str) -> Result<[usize; 2], ArchitectureError> {
        match (values, self.is_signal) {
            ([one], true) => Ok([flat, *one]),
            ([one], false) => Ok([*one, *one]),
            ([rows, columns], false) => Ok([*rows, *columns]),
            _ => {
                let expected = if self.is_signal { "one number in [..]" } else { "one or two numbers in [..]" };
                let (field, found) = (field.to_owned(), format!("{values:?}"));
                Err(ArchitectureError { misfits: vec![Misfit { field, expected: expected.to_owned(), found }] })
            }
        }
    }
}

/// A convolution to be added.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    pub n_out: usize,
    pub window: Window,
    pub groups: usize,
    pub bias: Bias,
}

/// A window that leaves the size of an image as it is.
pub(super) fn same(kernel: [usize; 2]) -> Window {
    Window { kernel, stride: [1, 1], padding: [kernel[0] / 2, kernel[1] / 2] }
}

/// A layer that multiplies the patches of `image` with a kernel.
pub(super) fn convolution(image: &Tensor, kernel: Kernel) -> (LayerPlan, [usize; 2]) {
    let size = kernel.window.positions([image.shape()[1], image.shape()[2]]).unwrap_or([0, 0]);
    let [height, width] = kernel.window.kernel;
    let plan = LayerPlan {
        n_positions: size[0] * size[1],
        n_groups: kernel.groups,
        receptive: height * width,
        ..LayerPlan::plain(Features::Linear(image.patches(kernel.window).into_entries()), kernel.n_out, kernel.bias)
    };
    (plan, size)
}

/// Adds a hidden layer whose outputs are an image; returns its activations.
pub(super) fn hidden_image(composer: &mut Composer, plan: LayerPlan, size: [usize; 2]) -> Tensor {
    let n_channels = plan.n_out;
    let source = composer.hidden(plan);
    let n_pixels = size[0] * size[1];
    // Layers store outputs pixel by pixel.
    Tensor::of(source, &[n_channels, size[0], size[1]], |i| (i % n_pixels) * n_channels + i / n_pixels)
}

/// Averages over all pixels: one value per channel.
pub(super) fn global_average(image: &Tensor) -> Tensor {
    let [channels, height, width] = *image.shape() else { unreachable!("images have three axes") };
    let window = Window { kernel: [height, width], stride: [1, 1], padding: [0, 0] };
    image.average_pooled(window).reshaped(&[channels])
}
