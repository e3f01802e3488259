//! The memory that a scenario will take, from its sizes as typed: what is too much is a fault before anything is allocated, and before a
//! product of sizes leaves the range of integers.
//!
//! Estimates are of the right order and rather too large: each is a number of copies that live at once, times what a copy takes. They are
//! floating-point numbers, which have room for every product. Sizes that make no network at all are left to those who build it.

use super::architecture::{AdjacencySpec, HeadSpec, NetworkSpec, ReadoutSpec, StageSpec, UpSpec};
use super::build::RawData;
use super::spec::{DataSpec, SaveSpec};

/// A number, and the head of a list.
const NUMBER: f64 = 8.0;
const LIST: f64 = 24.0;

/// A term of a feature: source, index and weight.
const TERM: f64 = 24.0;

/// What a layer takes however small it is.
const LAYER: f64 = 512.0;

/// Copies of the data: rows as read, one flat array, the same with duplicates merged, and one more in the archive of a run.
const DATA_COPIES: f64 = 4.0;

/// Copies of what a layer's features are made of: as composed, and as compiled.
const FEATURE_COPIES: f64 = 2.0;

/// Vectors as long as θ: 16 slopes of the eighth-order pair with its dense output, and the states of the loop and its observers.
const STATE_VECTORS: f64 = 24.0;

/// Fields with the values of all units: that of the loop, that of its observer, and one for what is asked in between.
const FIELDS: f64 = 3.0;

/// Square matrices of an implicit method: the linearisation and its factor.
const IMPLICIT_MATRICES: f64 = 2.0;

/// What is needed for a field of the scenario.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Need {
    /// Its path.
    pub path: String,
    /// What takes the memory.
    pub what: &'static str,
    pub bytes: f64,
}

/// All of them as one, at the field that needs most.
pub(super) fn total(needs: Vec<Need>) -> Option<Need> {
    let bytes = needs.iter().map(|need| need.bytes).sum();
    needs.into_iter().max_by(|a, b| a.bytes.total_cmp(&b.bytes)).map(|need| Need { bytes, ..need })
}

/// The samples that have to be drawn, at the largest of their sizes.
pub(super) fn of_samples(spec: &DataSpec) -> Option<Need> {
    let DataSpec::Ball { samples, inputs, outputs } = *spec else { return None };
    let (n, per_sample) = (samples as f64, inputs as f64 + outputs as f64);
    let bytes = DATA_COPIES * n * (2.0 * LIST + NUMBER * per_sample);
    let sizes = [("data.samples", samples), ("data.inputs", inputs), ("data.outputs", outputs)];
    let largest = sizes.into_iter().max_by_key(|(_, size)| *size)?;
    Some(Need { path: largest.0.to_owned(), what: "the data", bytes })
}

/// Class indices, as one probability for each of `n_classes`.
pub(super) fn of_classes(n_rows: usize, n_classes: f64, place: &str) -> Need {
    let bytes = DATA_COPIES * NUMBER * n_rows as f64 * n_classes;
    Need { path: place.to_owned(), what: "the class probabilities", bytes }
}

/// The matrices of an implicit method with nM targets.
pub(super) fn of_implicit_method(targets: usize) -> Need {
    let bytes = IMPLICIT_MATRICES * NUMBER * (targets as f64).powi(2);
    Need { path: "flow.method".to_owned(), what: "the matrices of an implicit method", bytes }
}

/// The saved states of θ with P parameters, which those who read a record load as one array: as many as are sure to be saved if the run gets to its
/// `horizon`, its only end.
pub(super) fn of_saves(spec: &SaveSpec, parameters: usize, horizon: Option<f64>) -> Option<Need> {
    let (name, count) = match *spec {
        SaveSpec { every: Some(every), .. } if every > 0.0 => ("every", horizon? / every),
        SaveSpec { count: Some(count), .. } => ("count", count as f64),
        SaveSpec { log: Some(count), .. } => ("log", count as f64),
        SaveSpec { .. } => return None,
    };
    let bytes = count * NUMBER * (1.0 + parameters as f64);
    Some(Need { path: format!("save.{name}"), what: "the saved states", bytes })
}

/// The records of a run of gradient descent, a few numbers each.
pub(super) fn of_descent(index: usize, n_records: usize) -> Need {
    const RECORD: f64 = 32.0;
    let bytes = RECORD * NUMBER * n_records as f64;
    Need { path: format!("descent[{index}].every"), what: "the recorded iterates", bytes }
}

/// The network and everything as long as its parameters, units and features, layer by layer.
pub(super) fn of_network(spec: &NetworkSpec, raw: &RawData) -> Vec<Need> {
    let samples = raw.x.rows.len() as f64;
    let size = |shape: &[usize]| shape.iter().map(|&extent| extent as f64).product::<f64>();
    let mut walk = Walk { samples, needs: Vec::new() };
    let (inputs, outputs) = (size(&raw.x.shape), size(&raw.y.shape));
    if image_shape(spec).is_some_and(|shape| size(shape) != inputs) {
        // Such an image is none of the data's, and is refused for that.
        return Vec::new();
    }
    match spec {
        NetworkSpec::Dense { hidden, bias } => walk.dense(("", inputs), hidden, outputs, *bias),
        NetworkSpec::Residual { layers, bias } => {
            let parameters = inputs * (inputs + one(*bias));
            let layer = Layer { features: 2.0 * inputs, terms: 1.0, parameters, units: inputs };
            walk.add("layers".to_owned(), *layers as f64, layer);
        }
        NetworkSpec::Polynomial { hidden, bias } => {
            let widths = hidden.iter().map(|&width| width as f64).chain([outputs]);
            let mut below = inputs;
            for (l, width) in widths.enumerate() {
                let features = below + 0.5 * below * (below + 1.0);
                let parameters = width * (features + one(*bias));
                walk.add(hidden_path(hidden, l), 1.0, Layer { features, terms: 1.0, parameters, units: width });
                below = width;
            }
        }
        NetworkSpec::Siamese { hidden, head, bias } => walk.siamese(inputs, hidden, outputs, *head, *bias),
        NetworkSpec::Conv { shape, layers, hidden, bias } => {
            let mut image = Image::of(shape);
            for (k, stage) in layers.iter().enumerate() {
                walk.stage(&mut image, stage, *bias, &format!("layers[{k}]"));
            }
            let last = layers.len().checked_sub(1).map_or(String::new(), |k| format!("layers[{k}]"));
            walk.dense((&last, image.size()), hidden, outputs, *bias);
        }
        NetworkSpec::ConvResidual { shape, channels, kernel, blocks, bias } => {
            let mut image = Image::of(shape);
            let (n_channels, area, n_blocks) = (*channels as f64, area(kernel, shape.len()), *blocks as f64);
            let field = largest(&[("channels", n_channels), ("kernel", area), ("blocks", n_blocks)]);
            walk.convolution(&mut image, (n_channels, area), *bias, field);
            // Every image is the sum of all before it.
            let more = Layer { terms: 0.5 * n_blocks + 1.0, ..walk.kept_size(&image, (n_channels, area), *bias) };
            walk.add(field.to_owned(), n_blocks, more);
            walk.dense((field, image.channels), &[], outputs, *bias);
        }
        NetworkSpec::UNet { shape, channels, kernel, up, bias } => walk.unet(shape, (channels, kernel), *up, *bias),
        NetworkSpec::MobileNet { shape, blocks, hidden, bias } => {
            let mut image = Image::of(shape);
            for (k, block) in blocks.iter().enumerate() {
                let path = format!("blocks[{k}]");
                let (kernel, n_in) = (area(&block.kernel, shape.len()), image.channels);
                image.halve(&block.stride);
                let features = image.size() * kernel;
                let depthwise =
                    Layer { features, terms: 1.0, parameters: n_in * (kernel + one(*bias)), units: image.size() };
                walk.add(path.clone(), 1.0, depthwise);
                walk.convolution(&mut image, (block.channels as f64, 1.0), *bias, &path);
            }
            let last = blocks.len().checked_sub(1).map_or(String::new(), |k| format!("blocks[{k}]"));
            walk.dense((&last, image.channels), hidden, outputs, *bias);
        }
        NetworkSpec::GraphConv { hidden, adjacency, readout, nodes, .. } => {
            walk.graphs(raw, hidden, (adjacency, *nodes, *readout), 1.0);
        }
        NetworkSpec::Chebyshev { hidden, order, adjacency, readout, nodes, .. } => {
            walk.graphs(raw, hidden, (adjacency, *nodes, *readout), *order as f64);
        }
        NetworkSpec::GraphConvMorris { hidden, adjacency, readout, nodes, .. } => {
            walk.graphs(raw, hidden, (adjacency, *nodes, *readout), 2.0);
        }
    }
    walk.needs
}

/// The name of the largest of several sizes.
fn largest<'a>(sizes: &[(&'a str, f64)]) -> &'a str {
    sizes.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or("", |(name, _)| name)
}

/// The shape of a sample, where it is an image.
fn image_shape(spec: &NetworkSpec) -> Option<&[usize]> {
    match spec {
        NetworkSpec::Conv { shape, .. }
        | NetworkSpec::ConvResidual { shape, .. }
        | NetworkSpec::UNet { shape, .. }
        | NetworkSpec::MobileNet { shape, .. } => Some(shape),
        _ => None,
    }
}

/// Sizes of a layer for one sample: its features, each a sum of so many terms.
#[derive(Debug, Clone, Copy)]
struct Layer {
    features: f64,
    terms: f64,
    parameters: f64,
    units: f64,
}

/// Channels and pixels of an image.
#[derive(Debug, Clone, Copy)]
struct Image {
    channels: f64,
    extent: [f64; 2],
}

impl Image {
    /// From `[channels, length]` or `[channels, height, width]`.
    fn of(shape: &[usize]) -> Self {
        let at = |k: usize| shape.get(k).map_or(1.0, |&extent| extent as f64);
        Self { channels: at(0), extent: [at(1), at(2)] }
    }

    fn size(&self) -> f64 {
        self.channels * self.extent[0] * self.extent[1]
    }

    /// Fewer pixels by a stride.
    fn halve(&mut self, stride: &[usize]) {
        for (d, extent) in self.extent.iter_mut().enumerate() {
            *extent = (*extent / along(stride, d)).ceil().max(1.0);
        }
    }

    /// Positions of a window.
    fn slide(&mut self, kernel: &[usize], stride: &[usize], padding: &[usize]) {
        for (d, extent) in self.extent.iter_mut().enumerate() {
            // The second extent of a signal is 1, and there is nothing to slide along.
            if d == 0 || *extent > 1.0 {
                let padding = padding.get(d).or(padding.first()).map_or(0.0, |&padding| padding as f64);
                let room = *extent + 2.0 * padding - along(kernel, d);
                *extent = ((room / along(stride, d)).floor() + 1.0).max(1.0);
            }
        }
    }
}

/// The value for a dimension in a list with one for each, or one for all.
fn along(list: &[usize], d: usize) -> f64 {
    list.get(d).or(list.first()).map_or(1.0, |&value| value.max(1) as f64)
}

/// Elements of a kernel on data with a shape of so many entries.
fn area(kernel: &[usize], n_axes: usize) -> f64 {
    (0..n_axes.saturating_sub(1)).map(|d| along(kernel, d)).product()
}

fn one(bias: bool) -> f64 {
    if bias { 1.0 } else { 0.0 }
}

/// The field of a layer that reads the hidden layer before it: the wider of the two.
fn hidden_path(hidden: &[usize], l: usize) -> String {
    let width = |l: usize| hidden.get(l).copied().unwrap_or(0);
    match l.checked_sub(1) {
        Some(before) if width(before) > width(l) => format!("hidden[{before}]"),
        _ if l < hidden.len() => format!("hidden[{l}]"),
        _ => String::new(),
    }
}

/// Collects needs.
struct Walk {
    samples: f64,
    needs: Vec<Need>,
}

impl Walk {
    /// So many layers of the same size, at a field of the network.
    fn add(&mut self, field: String, count: f64, layer: Layer) {
        let Layer { features, terms, parameters, units } = layer;
        let made_of = FEATURE_COPIES * features * (LIST + TERM * terms);
        let values = FIELDS * self.samples * NUMBER * (2.0 * units + features);
        let bytes = count * (LAYER + made_of + values + STATE_VECTORS * NUMBER * parameters);
        let path = if field.is_empty() { "network".to_owned() } else { format!("network.{field}") };
        self.needs.push(Need { path, what: "the network", bytes });
    }

    /// Dense layers on so many inputs, which a field may stand for.
    fn dense(&mut self, (source, inputs): (&str, f64), hidden: &[usize], outputs: f64, bias: bool) {
        let mut below = inputs;
        for (l, width) in hidden.iter().map(|&width| width as f64).chain([outputs]).enumerate() {
            let parameters = width * (below + one(bias));
            let field = if l == 0 && below > width { source.to_owned() } else { hidden_path(hidden, l) };
            self.add(field, 1.0, Layer { features: below, terms: 1.0, parameters, units: width });
            below = width;
        }
    }

    fn siamese(&mut self, inputs: f64, hidden: &[usize], outputs: f64, head: HeadSpec, bias: bool) {
        let mut below = 0.5 * inputs;
        for (l, width) in hidden.iter().map(|&width| width as f64).enumerate() {
            let parameters = width * (below + one(bias));
            let layer = Layer { features: 2.0 * below, terms: 1.0, parameters, units: 2.0 * width };
            self.add(hidden_path(hidden, l), 1.0, layer);
            below = width;
        }
        let features = match head {
            HeadSpec::SquaredDifference => below,
            HeadSpec::Bilinear => below * below,
        };
        let parameters = outputs * (features + one(bias));
        let layer = Layer { features, terms: 2.0, parameters, units: outputs };
        self.add(hidden_path(hidden, hidden.len()), 1.0, layer);
    }

    fn stage(&mut self, image: &mut Image, stage: &StageSpec, bias: bool, path: &str) {
        match stage {
            StageSpec::Conv { channels, kernel, stride, padding, groups } => {
                let n_axes = if image.extent[1] > 1.0 { 3 } else { 2 };
                let (n_out, n_in, area) = (*channels as f64, image.channels, area(kernel, n_axes));
                image.slide(kernel, stride, padding);
                let parameters = n_out * (n_in * area / (*groups).max(1) as f64 + one(bias));
                let features = image.size() * area;
                image.channels = n_out;
                self.add(path.to_owned(), 1.0, Layer { features, terms: 1.0, parameters, units: image.size() });
            }
            StageSpec::AvgPool { kernel, stride } | StageSpec::MaxPool { kernel, stride } => {
                let stride = if stride.is_empty() { kernel } else { stride };
                // No window reads more than there is.
                let area = area(kernel, 3).min(image.extent[0] * image.extent[1]);
                image.slide(kernel, stride, &[]);
                let layer = Layer { features: image.size(), terms: area, parameters: 0.0, units: 0.0 };
                self.add(path.to_owned(), 1.0, layer);
            }
        }
    }

    /// A convolution that keeps the size of the image, with so many channels behind it and elements of its kernel.
    fn kept_size(&self, image: &Image, (n_out, area): (f64, f64), bias: bool) -> Layer {
        let parameters = n_out * (image.channels * area + one(bias));
        let units = n_out * image.extent[0] * image.extent[1];
        Layer { features: image.size() * area, terms: 1.0, parameters, units }
    }

    fn convolution(&mut self, image: &mut Image, kernel: (f64, f64), bias: bool, path: &str) {
        let layer = self.kept_size(image, kernel, bias);
        self.add(path.to_owned(), 1.0, layer);
        image.channels = kernel.0;
    }

    fn unet(&mut self, shape: &[usize], (channels, kernel): (&[usize], &[usize]), up: UpSpec, bias: bool) {
        let area = area(kernel, shape.len());
        let mut images: Vec<Image> = Vec::new();
        for (level, &n_out) in channels.iter().enumerate() {
            let mut image = images.last().copied().unwrap_or(Image::of(shape));
            if level > 0 {
                image.halve(&[2]);
            }
            self.convolution(&mut image, (n_out as f64, area), bias, &format!("channels[{level}]"));
            images.push(image);
        }
        for level in (1..images.len()).rev() {
            let (lower, mut upper) = (images[level], images[level - 1]);
            let wider = if lower.channels > upper.channels { level } else { level - 1 };
            let path = format!("channels[{wider}]");
            if up == UpSpec::Transposed {
                let doubled = Image { channels: lower.channels, ..upper };
                let layer = self.kept_size(&doubled, (upper.channels, 4.0), bias);
                self.add(path.clone(), 1.0, layer);
            }
            let n_out = upper.channels;
            upper.channels += lower.channels;
            self.convolution(&mut upper, (n_out, area), bias, &path);
        }
    }

    /// Layers on graphs with so many weight matrices each. Neighbours are at most all nodes of a graph.
    fn graphs(
        &mut self,
        raw: &RawData,
        hidden: &[usize],
        (adjacency, nodes, readout): (&AdjacencySpec, usize, ReadoutSpec),
        n_matrices: f64,
    ) {
        let n_rows = raw.x.rows.len() as f64;
        let (per_graph, n_graphs, n_features) = match raw.x.shape[..] {
            [n_nodes, n_features] => (n_nodes as f64, n_rows, n_features as f64),
            _ => {
                let per_graph = if nodes == 0 { n_rows } else { nodes as f64 };
                (per_graph, n_rows / per_graph, raw.x.shape.iter().map(|&extent| extent as f64).product())
            }
        };
        // Graphs with edges of their own become one sample.
        let is_shared = match adjacency {
            AdjacencySpec::Knn(_) => n_graphs <= 1.0,
            AdjacencySpec::Inline(matrices) => !matches!(matrices.shape()[..], [count, _, _] if count > 1),
            AdjacencySpec::File(_) => true,
        };
        let side_by_side = if is_shared { per_graph } else { per_graph * n_graphs };
        self.samples = if is_shared { n_graphs } else { 1.0 };
        let path = match raw.x.shape.len() {
            1 if nodes > 0 => "network.nodes",
            _ => raw.place,
        };
        // As given, per graph; normalised, side by side.
        let bytes = NUMBER * (n_graphs.min(side_by_side / per_graph) * per_graph.powi(2) + 2.0 * side_by_side.powi(2));
        self.needs.push(Need { path: path.to_owned(), what: "the adjacency matrices", bytes });
        let degree = match adjacency {
            AdjacencySpec::Knn(k) => 2.0 * (*k as f64) + 1.0,
            AdjacencySpec::Inline(_) | AdjacencySpec::File(_) => per_graph,
        };
        let targets = raw.y.shape.last().map_or(1.0, |&width| width as f64);
        let mut below = n_features;
        for (l, width) in hidden.iter().map(|&width| width as f64).chain([targets]).enumerate() {
            let is_read = l == hidden.len() && readout != ReadoutSpec::Nodes;
            let features = side_by_side * below * n_matrices;
            let parameters = width * (n_matrices * below + side_by_side);
            let terms = if is_read { per_graph * degree } else { degree.min(per_graph) };
            let hidden = hidden_path(hidden, l);
            // Only Chebyshev's polynomials have more than two matrices.
            let is_wide = n_matrices <= 2.0 || n_matrices <= below.max(width);
            let field = if is_wide { hidden } else { "order".to_owned() };
            self.add(field, 1.0, Layer { features, terms, parameters, units: side_by_side * width });
            below = width;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Report;
    use super::super::parse::{Parsed, parse};
    use super::super::{Folder, Source, Spec, build, embedded, resolve};
    use super::*;
    use crate::net::Activation;

    #[test]
    fn no_estimate_is_below_what_the_network_has() {
        for embedded in embedded() {
            let source = Source::new(embedded.name, embedded.text);
            let parsed: Parsed<Spec> = parse(&source).expect("embedded scenarios can be read");
            let mut report = Report { source: &source, tree: &parsed.tree, blanked: &[], faults: Vec::new() };
            let spec = parsed.spec;
            let (network, raw) = (spec.network.as_ref(), &mut Vec::new());
            let read = resolve::read_data(&mut report, &spec, &Folder::Embedded, raw).expect("data");
            let needs = of_network(network.expect("a network"), &read);
            let built = build::build(
                &mut report,
                network.expect("as above"),
                read,
                Some(Activation::relu()),
                &Folder::Embedded,
                raw,
            );
            let (Some(built), Some(data)) = built else { panic!("{}: {:?}", embedded.name, report.faults) };
            let features: usize = built.layers().iter().map(|layer| layer.map.n_features()).sum();
            let units = built.widths()[1..].iter().sum::<usize>() as f64;
            let values = data.n_samples() as f64 * (2.0 * units + features as f64);
            let least = NUMBER * (STATE_VECTORS * built.n_parameters() as f64 + FIELDS * values);
            let estimate = total(needs).expect("a network has layers").bytes;
            assert!(estimate >= least, "{}: {estimate} bytes, of which {least} are sure", embedded.name);
        }
    }
}
