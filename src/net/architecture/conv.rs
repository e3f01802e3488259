//! Convolutional networks: plain ones, residual ones (Du et al. 2019), and depthwise-separable ones (Howard et al. 2017).
//!
//! Kernels are stored as PyTorch does: (out, in / groups, rows, columns), then the bias (out).

use super::dense::{head, layer_symbols};
use super::image::{Frame, Kernel, convolution, global_average, hidden_image, same};
use super::{ArchitectureError, Checks, count, one, shared};
use crate::net::activation::Activation;
use crate::net::network::{Composer, Network};
use crate::net::tensor::{Tensor, Window};

/// One stage of a plain convolutional network. Lists have one entry per spatial dimension, or one for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConvStage {
    /// A convolution, followed by the activation.
    Conv {
        /// Output channels.
        channels: usize,
        /// Extent of the kernel.
        kernel: Vec<usize>,
        /// Step.
        stride: Vec<usize>,
        /// Zeros added on each side.
        padding: Vec<usize>,
        /// Groups of channels; each reads its own part of the input channels.
        groups: usize,
    },
    /// Averages over windows; no activation follows.
    AvgPool {
        /// Extent of the window.
        kernel: Vec<usize>,
        /// Step.
        stride: Vec<usize>,
    },
}

/// Stages one after the other on data of `shape` (`[channels, length]` or `[channels, height, width]`), then all values, channel by
/// channel, into dense layers of widths `hidden` and the outputs.
///
/// # Errors
/// When a size does not fit.
pub fn conv(
    shape: &[usize],
    n_inputs: usize,
    stages: &[ConvStage],
    hidden: &[usize],
    n_outputs: usize,
    bias: bool,
    activation: Activation,
) -> Result<Network, ArchitectureError> {
    let frame = Frame::new(shape, n_inputs)?;
    let mut checks = Checks::default();
    checks.units(hidden);
    checks.done()?;
    let mut composer = Composer::new(n_inputs, activation);
    let mut image = frame.input();
    for (k, stage) in stages.iter().enumerate() {
        image = add_stage(&mut composer, &frame, &image, stage, bias, &format!("layers[{k}]"))?;
    let is_conv = |stage: &ConvStage| matches!(stage, ConvStage::Conv { .. });
    composer.symbols = layer_symbols(bias);
    if stages.iter().any(is_conv) {
        let has_groups = stages.iter().any(|stage| matches!(stage, ConvStage::Conv { groups, .. } if *groups > 1));
        let n_in = if has_groups { "C_{l−1}/g_l" } else { "C_{l−1}" };
        composer.symbols = format!("Σ {} + {}", frame.symbols("C_l", n_in, bias), composer.symbols);
    }
    }
    let size = image.entries().len();
    Ok(head(composer, image.reshaped(&[size]), hidden, n_outputs, shared(bias)))
}

fn add_stage(
    composer: &mut Composer,
    frame: &Frame,
    image: &Tensor,
    stage: &ConvStage,
    bias: bool,
    field: &str,
) -> Result<Tensor, ArchitectureError> {
    let none = vec![0];
    let (kernel, stride, padding) = match stage {
        ConvStage::Conv { kernel, stride, padding, .. } => (kernel, stride, padding),
        ConvStage::AvgPool { kernel, stride } => (kernel, stride, &none),
    };
    let window = window(frame, image, [kernel, stride, padding], field)?;
    let ConvStage::Conv { channels, groups, .. } = *stage else { return Ok(image.average_pooled(window)) };
    let mut checks = Checks::default();
    checks.require(channels >= 1, format!("{field}.channels"), "at least 1 channel", channels);
    let n_in = image.shape()[0];
    let divides = |count: usize| groups >= 1 && count.is_multiple_of(groups);
    let expected = format!("a number that divides the {n_in} channels that come in and the {channels} that go out");
    checks.require(divides(n_in) && divides(channels), format!("{field}.groups"), expected, groups);
    checks.done()?;
    let (plan, size) = convolution(image, Kernel { n_out: channels, window, groups, bias: shared(bias) });
    Ok(hidden_image(composer, plan, size))
}

/// A window from lists as typed; it has to fit on the image.
fn window(frame: &Frame, image: &Tensor, lists: [&Vec<usize>; 3], field: &str) -> Result<Window, ArchitectureError> {
    let mut spread = [[0; 2]; 3];
    for ((target, list), (name, flat)) in
        spread.iter_mut().zip(lists).zip([("kernel", 1), ("stride", 1), ("padding", 0)])
    {
        match frame.spread(list, flat, &format!("{field}.{name}")) {
            Ok(values) => *target = values,
            Err(misfit) => return Err(ArchitectureError { misfits: vec![misfit] }),
        }
    }
    let [kernel, stride, padding] = spread;
    let mut checks = Checks::default();
    checks.require(stride.iter().all(|s| *s >= 1), format!("{field}.stride"), "at least 1", "0");
    checks.require(kernel.iter().all(|k| *k >= 1), format!("{field}.kernel"), "at least 1", "0");
    let size = [image.shape()[1], image.shape()[2]];
    let room = [size[0] + 2 * padding[0], size[1] + 2 * padding[1]];
    let fits = kernel[0] <= room[0] && kernel[1] <= room[1];
    let (first, shown) =
        if frame.is_signal { (1, format!("{}", room[1])) } else { (0, format!("{} x {}", room[0], room[1])) };
    let expected = format!("a kernel that fits on {shown} pixels, padding included");
    checks.require(fits, format!("{field}.kernel"), expected, format!("{:?}", &kernel[first..]));
    checks.done()?;
    Ok(Window { kernel, stride, padding })
}

/// h = σ(conv(x)), then per block h ← h + σ(conv(h)), then the average over all pixels and a dense output layer. Convolutions keep the
/// size of the image.
///
/// # Errors
/// When a size does not fit, or a kernel has an even extent.
#[expect(clippy::too_many_arguments, reason = "one argument per field of the architecture")]
pub fn conv_residual(
    shape: &[usize],
    n_inputs: usize,
    channels: usize,
    kernel: &[usize],
    blocks: usize,
    n_outputs: usize,
    bias: bool,
    activation: Activation,
) -> Result<Network, ArchitectureError> {
    let frame = Frame::new(shape, n_inputs)?;
    let window = same(odd_kernel(&frame, kernel, "kernel")?);
    let mut checks = Checks::default();
    checks.require(channels >= 1, "channels", "at least 1 channel", channels);
    checks.done()?;
    let mut composer = Composer::new(n_inputs, activation);
    let kernel = Kernel { n_out: channels, window, groups: 1, bias: shared(bias) };
    let mut add = |image: &Tensor| {
        let (plan, size) = convolution(image, kernel);
        hidden_image(&mut composer, plan, size)
    };
    let mut image = add(&frame.input());
    for _ in 0..blocks {
        let more = add(&image);
        image = image.plus(1.0, &more);
    }
    Ok(head(composer, global_average(&image), &[], n_outputs, shared(bias)))
}

    let blocks_and_head = [frame.symbols("B C", "C", bias), count("N", "C", one(bias))];
    composer.symbols = format!("{} + {}", frame.symbols("C", "C_0", bias), blocks_and_head.join(" + "));
/// A kernel that has a middle.
pub(super) fn odd_kernel(frame: &Frame, kernel: &[usize], field: &str) -> Result<[usize; 2], ArchitectureError> {
    let spread = frame.spread(kernel, 1, field).map_err(|misfit| ArchitectureError { misfits: vec![misfit] })?;
    let mut checks = Checks::default();
    let is_odd = spread.iter().all(|k| k % 2 == 1);
    checks.require(is_odd, field, "odd numbers, so that the size of the image can stay", format!("{kernel:?}"));
    checks.done()?;
    Ok(spread)
}

/// A block of a [`mobile_net`]. Lists have one entry per spatial dimension, or one for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Channels after the block.
    pub channels: usize,
    /// Extent of the depthwise kernel, odd.
    pub kernel: Vec<usize>,
    /// Step of the depthwise convolution.
    pub stride: Vec<usize>,
}

/// Per block a depthwise convolution (every channel by itself) and a pointwise one (1 × 1), each followed by the activation; then the
/// average over all pixels and dense layers.
///
/// # Errors
/// When a size does not fit, or a kernel has an even extent.
pub fn mobile_net(
    shape: &[usize],
    n_inputs: usize,
    blocks: &[Block],
    hidden: &[usize],
    n_outputs: usize,
    bias: bool,
    activation: Activation,
) -> Result<Network, ArchitectureError> {
    let frame = Frame::new(shape, n_inputs)?;
    let mut checks = Checks::default();
    checks.units(hidden);
    checks.done()?;
    let mut composer = Composer::new(n_inputs, activation);
    let mut image = frame.input();
    for (k, block) in blocks.iter().enumerate() {
        let field = format!("blocks[{k}]");
        let half = |at: &usize| at / 2;
        odd_kernel(&frame, &block.kernel, &format!("{field}.kernel"))?;
        let n_in = image.shape()[0];
        let depthwise = ConvStage::Conv {
            channels: n_in,
            kernel: block.kernel.clone(),
            stride: block.stride.clone(),
            padding: block.kernel.iter().map(half).collect(),
            groups: n_in,
        };
        image = add_stage(&mut composer, &frame, &image, &depthwise, bias, &field)?;
        let one = vec![1];
        let pointwise =
            ConvStage::Conv { channels: block.channels, kernel: one.clone(), stride: one, padding: vec![0], groups: 1 };
        image = add_stage(&mut composer, &frame, &image, &pointwise, bias, &field)?;
    }
    Ok(head(composer, global_average(&image), hidden, n_outputs, shared(bias)))
}
    let depthwise = if frame.is_signal { "k" } else { "k_1 k_2" };
    let parts = [count("C_{l−1}", depthwise, one(bias)), count("C_l", "C_{l−1}", one(bias))];
    composer.symbols = format!("Σ [{}] + {}", parts.join(" + "), layer_symbols(bias));
