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
    for (k, stage) in stages.iter().enumerate() {
        checks.absorb(check_stage(&frame, stage, &format!("layers[{k}]")));
    }
    checks.done()?;
    let mut composer = Composer::new(n_inputs, activation);
    let is_conv = |stage: &ConvStage| matches!(stage, ConvStage::Conv { .. });
    composer.symbols = layer_symbols(bias);
    if stages.iter().any(is_conv) {
        let has_groups = stages.iter().any(|stage| matches!(stage, ConvStage::Conv { groups, .. } if *groups > 1));
        let n_in = if has_groups { "C_{l−1}/g_l" } else { "C_{l−1}" };
        composer.symbols = format!("Σ {} + {}", frame.symbols("C_l", n_in, bias), composer.symbols);
    }
    let mut image = frame.input();
    for (k, stage) in stages.iter().enumerate() {
        image = add_stage(&mut composer, &frame, &image, stage, bias, &format!("layers[{k}]"))?;
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
    let window = check_stage(frame, stage, field)?;
    let mut checks = Checks::default();
    let Window { kernel, padding, .. } = window;
    let size = [image.shape()[1], image.shape()[2]];
    let room = [size[0] + 2 * padding[0], size[1] + 2 * padding[1]];
    let fits = kernel[0] <= room[0] && kernel[1] <= room[1];
    let (first, shown) =
        if frame.is_signal { (1, format!("{}", room[1])) } else { (0, format!("{} x {}", room[0], room[1])) };
    let expected = format!("a kernel that fits on {shown} pixels, padding included");
    checks.require(fits, format!("{field}.kernel"), expected, format!("{:?}", &kernel[first..]));
    let ConvStage::Conv { channels, groups, .. } = *stage else {
        checks.done()?;
        return Ok(image.average_pooled(window));
    };
    let n_in = image.shape()[0];
    let divides = |count: usize| groups >= 1 && count.is_multiple_of(groups);
    let expected = format!("a number that divides the {n_in} channels that come in and the {channels} that go out");
    checks.require(divides(n_in) && divides(channels), format!("{field}.groups"), expected, groups);
    checks.done()?;
    let (plan, size) = convolution(image, Kernel { n_out: channels, window, groups, bias: shared(bias) });
    Ok(hidden_image(composer, plan, size))
}

/// The window of a stage, and whatever is wrong with the stage on any image.
fn check_stage(frame: &Frame, stage: &ConvStage, field: &str) -> Result<Window, ArchitectureError> {
    let none = vec![0];
    let mut checks = Checks::default();
    let (kernel, stride, padding) = match stage {
        ConvStage::Conv { kernel, stride, padding, .. } => (kernel, stride, padding),
        ConvStage::AvgPool { kernel, stride } => (kernel, stride, &none),
    };
    let mut spread = |list: &[usize], flat: usize, name: &str, least: usize| {
        let field = format!("{field}.{name}");
        let values = checks.absorb(frame.spread(list, flat, &field));
        let is_large = values.is_none_or(|values| values.iter().all(|value| *value >= least));
        checks.require(is_large, field, format!("at least {least}"), format!("{list:?}"));
        values.unwrap_or([1, 1])
    };
    let window = Window {
        kernel: spread(kernel, 1, "kernel", 1),
        stride: spread(stride, 1, "stride", 1),
        padding: spread(padding, 0, "padding", 0),
    };
    if let ConvStage::Conv { channels, .. } = *stage {
        checks.require(channels >= 1, format!("{field}.channels"), "at least 1 channel", channels);
        let is_narrow = (0..2).all(|d| window.padding[d] < window.kernel[d].max(1));
        let expected = "less than the extent of the kernel, so that no window sees padding alone";
        checks.require(is_narrow || !checks.0.is_empty(), format!("{field}.padding"), expected, format!("{padding:?}"));
    }
    checks.done()?;
    Ok(window)
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
    let mut checks = Checks::default();
    let kernel = checks.absorb(odd_kernel(&frame, kernel, "kernel"));
    checks.require(channels >= 1, "channels", "at least 1 channel", channels);
    checks.done()?;
    let window = same(kernel.expect("what is wrong with it has been returned"));
    let mut composer = Composer::new(n_inputs, activation);
    let blocks_and_head = [frame.symbols("B C", "C", bias), count("N", "C", one(bias))];
    composer.symbols = format!("{} + {}", frame.symbols("C", "C_0", bias), blocks_and_head.join(" + "));
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

/// A kernel that has a middle.
pub(super) fn odd_kernel(frame: &Frame, kernel: &[usize], field: &str) -> Result<[usize; 2], ArchitectureError> {
    let spread = frame.spread(kernel, 1, field)?;
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
    checks.require(!blocks.is_empty(), "blocks", "at least one block", "none");
    for (k, block) in blocks.iter().enumerate() {
        checks.absorb(odd_kernel(&frame, &block.kernel, &format!("blocks[{k}].kernel")));
        checks.require(block.channels >= 1, format!("blocks[{k}].channels"), "at least 1 channel", block.channels);
        let stride = format!("blocks[{k}].stride");
        let is_moving =
            checks.absorb(frame.spread(&block.stride, 1, &stride)).is_none_or(|s| s.iter().all(|s| *s >= 1));
        checks.require(is_moving, stride, "at least 1", format!("{:?}", block.stride));
    }
    checks.done()?;
    let mut composer = Composer::new(n_inputs, activation);
    let depthwise = if frame.is_signal { "k" } else { "k_1 k_2" };
    let parts = [count("C_{l−1}", depthwise, one(bias)), count("C_l", "C_{l−1}", one(bias))];
    composer.symbols = format!("Σ [{}] + {}", parts.join(" + "), layer_symbols(bias));
    let mut image = frame.input();
    for (k, block) in blocks.iter().enumerate() {
        let field = format!("blocks[{k}]");
        let half = |at: &usize| at / 2;
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
