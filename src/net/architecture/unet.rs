//! U-Nets (Ronneberger et al. 2015): a path down by pooling, a path up, and what came by on the way down joined on the way up.

use super::conv::odd_kernel;
use super::image::{Frame, Kernel, convolution, hidden_image, same};
use super::{ArchitectureError, Checks, count, one, shared};
use crate::net::activation::Activation;
use crate::net::network::{Composer, Features, LayerPlan, Network};
use crate::net::tensor::{Tensor, Window};

/// How images grow on the way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upsampling {
    /// Every pixel is repeated; no weights, no activation.
    Nearest,
    /// A transposed convolution with kernel and stride 2, followed by the activation; its kernel is stored (out, in, rows, columns).
    Transposed,
}

/// Down: d_1 = σ(conv(x)), d_i = σ(conv(halved d_{i−1})) with `channels[i]` channels. Up, from the lowest level: the image is doubled,
/// d_i is joined behind it, and σ(conv(·)) follows with `channels[i]` channels. A 1 × 1 convolution gives the outputs, which are
/// images of the size of the data: targets stand channel by channel. Halving is the average over 2 × 2 pixels.
///
/// # Errors
/// When a size cannot be halved often enough, the targets do not make whole images, or a kernel has an even extent.
#[expect(clippy::too_many_arguments, reason = "one argument per field of the architecture")]
pub fn unet(
    shape: &[usize],
    n_inputs: usize,
    channels: &[usize],
    kernel: &[usize],
    up: Upsampling,
    n_outputs: usize,
    bias: bool,
    activation: Activation,
) -> Result<Network, ArchitectureError> {
    let frame = Frame::new(shape, n_inputs)?;
    let factor = if frame.is_signal { [1, 2] } else { [2, 2] };
    let mut checks = Checks::default();
    let kernel = checks.absorb(odd_kernel(&frame, kernel, "kernel"));
    checks.absorb(check(&frame, channels, factor, n_outputs));
    checks.done()?;
    let window = same(kernel.expect("what is wrong with it has been returned"));
    let mut composer = Composer::new(n_inputs, activation);
    composer.symbols = symbols(&frame, channels.len(), up, bias);
    let bias = shared(bias);
    let conv = |composer: &mut Composer, image: &Tensor, n_out: usize| {
        let (plan, size) = convolution(image, Kernel { n_out, window, groups: 1, bias });
        hidden_image(composer, plan, size)
    };
    let halving = Window { kernel: factor, stride: factor, padding: [0, 0] };
    let mut way_down = vec![conv(&mut composer, &frame.input(), channels[0])];
    for (level, &n_out) in channels.iter().enumerate().skip(1) {
        let halved = way_down[level - 1].average_pooled(halving);
        way_down.push(conv(&mut composer, &halved, n_out));
    }
    let mut image = way_down[channels.len() - 1].clone();
    for level in (0..channels.len() - 1).rev() {
        let doubled = match up {
            Upsampling::Nearest => image.upsampled(factor),
            Upsampling::Transposed => {
                let size = [image.shape()[1] * factor[0], image.shape()[2] * factor[1]];
                let plan = LayerPlan {
                    n_positions: size[0] * size[1],
                    receptive: factor[0] * factor[1],
                    ..LayerPlan::plain(
                        Features::Linear(image.transposed_patches(factor).into_entries()),
                        channels[level],
                        bias,
                    )
                };
                hidden_image(&mut composer, plan, size)
            }
        };
        image = conv(&mut composer, &doubled.then(way_down[level].clone()), channels[level]);
    }
    let n_pixels = frame.size[0] * frame.size[1];
    let n_out = n_outputs / n_pixels;
    let (plan, _) = convolution(&image, Kernel { n_out, window: same([1, 1]), groups: 1, bias });
    // Outputs are stored pixel by pixel, targets channel by channel.
    composer.output_order = (n_out > 1).then(|| (0..n_outputs).map(|k| (k % n_out) * n_pixels + k / n_out).collect());
    Ok(composer.finish(plan))
}

/// P in symbols, with C_0 channels in the data, C_l at level l of L, and C outputs per pixel.
fn symbols(frame: &Frame, n_levels: usize, up: Upsampling, bias: bool) -> String {
    let mut parts = vec![format!("Σ {}", frame.symbols("C_l", "C_{l−1}", bias))];
    if n_levels > 1 {
        let doubled = if frame.is_signal { "2 C_{l+1}" } else { "4 C_{l+1}" };
        let up = match up {
            Upsampling::Nearest => frame.symbols("C_l", "(C_l + C_{l+1})", bias),
            Upsampling::Transposed => {
                format!("[{} + {}]", count("C_l", doubled, one(bias)), frame.symbols("C_l", "2 C_l", bias))
            }
        };
        parts.push(format!("Σ {up} (l < L)"));
    }
    parts.push(count("C", "C_1", one(bias)));
    parts.join(" + ")
}

fn check(frame: &Frame, channels: &[usize], factor: [usize; 2], n_outputs: usize) -> Result<(), ArchitectureError> {
    let mut checks = Checks::default();
    checks.require(!channels.is_empty(), "channels", "at least one level", "none");
    for (level, &count) in channels.iter().enumerate() {
        checks.require(count >= 1, format!("channels[{level}]"), "at least 1 channel", count);
    }
    let n_halvings = channels.len().saturating_sub(1) as u32;
    let size = frame.size;
    let is_divisible =
        |d: usize| factor[d].checked_pow(n_halvings).is_some_and(|divisor| size[d].is_multiple_of(divisor));
    let shown = if frame.is_signal { format!("{}", size[1]) } else { format!("{} x {}", size[0], size[1]) };
    let times = if n_halvings == 1 { "once".to_owned() } else { format!("{n_halvings} times") };
    let expected = format!("a size that can be halved {times}, for {} levels", channels.len());
    checks.require(is_divisible(0) && is_divisible(1), "shape", expected, shown);
    let n_pixels = size[0] * size[1];
    let expected = format!("a multiple of {n_pixels} targets, whole images of the size of the data");
    checks.require(n_outputs.is_multiple_of(n_pixels), "shape", expected, format!("{n_outputs} targets"));
    checks.done()
}
