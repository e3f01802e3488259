//! Network and data from the `network` section and the rows that were read: the one place that knows how samples of each architecture
//! are laid out.

use super::architecture::{AdjacencySpec, HeadSpec, NetworkSpec, NodeBiasSpec, ReadoutSpec, StageSpec, UpSpec};
use super::check::Report;
use super::fault::FaultKind;
use super::read::{Folder, Table, read_bytes, read_matrix};
use crate::data::Data;
use crate::net::architecture::{
    self, Block, ConvStage, Graph, GraphForm, NodeBias, Readout, SiameseHead, Upsampling, graph_network,
};
use crate::net::{Activation, ArchitectureError, Network};

/// The data as read: inputs and targets row by row.
#[derive(Debug, Clone)]
pub(super) struct RawData {
    pub x: Table,
    pub y: Table,
    /// The path of the scenario that faults of the rows concern.
    pub place: &'static str,
}

/// Builds both; faults go to the report. `files` gets the bytes of an adjacency file.
pub(super) fn build(
    report: &mut Report,
    spec: &NetworkSpec,
    raw: RawData,
    activation: Option<Activation>,
    folder: &Folder,
    files: &mut Vec<Vec<u8>>,
) -> (Option<Network>, Option<Data>) {
    let on_graphs = match spec {
        NetworkSpec::GraphConv { hidden, adjacency, exponent, bias, readout, nodes } => {
            Some((hidden, adjacency, GraphForm::Kipf { exponent: *exponent }, bias, readout, nodes))
        }
        NetworkSpec::Chebyshev { hidden, order, adjacency, bias, readout, nodes } => {
            Some((hidden, adjacency, GraphForm::Chebyshev { order: *order }, bias, readout, nodes))
        }
        NetworkSpec::GraphConvMorris { hidden, adjacency, bias, readout, nodes } => {
            Some((hidden, adjacency, GraphForm::Morris, bias, readout, nodes))
        }
        _ => None,
    };
    if let Some((hidden, adjacency, form, bias, readout, nodes)) = on_graphs {
        let section = GraphSection { hidden, adjacency, form, bias: *bias, readout: *readout, nodes: *nodes };
        return section.build(report, raw, activation, folder, files);
    }
    let Some(data) = data(report, raw.place, &raw.x.rows, &raw.y.rows) else { return (None, None) };
    let network = activation.and_then(|activation| plain(report, spec, &data, activation));
    (network, Some(data))
}

fn data(report: &mut Report, place: &str, x: &[Vec<f64>], y: &[Vec<f64>]) -> Option<Data> {
    match Data::from_rows(x, y) {
        Ok(data) => Some(data),
        Err(error) => {
            report.push(place, FaultKind::Data(error));
            None
        }
    }
}

fn note<T>(report: &mut Report, result: Result<T, ArchitectureError>) -> Option<T> {
    note_at(report, result, |field| if field.is_empty() { "network".to_owned() } else { format!("network.{field}") })
}

/// Notes misfits at the paths of their fields.
fn note_at<T>(report: &mut Report, result: Result<T, ArchitectureError>, path: impl Fn(&str) -> String) -> Option<T> {
    let n_faults = report.faults.len();
    for misfit in result.as_ref().err().map_or(&[][..], |error| &error.misfits) {
        let path = path(&misfit.field);
        // Some has been seen before there were data.
        if report.faults[..n_faults].iter().all(|fault| fault.path != path) {
            report.require(false, &path, &misfit.expected, &misfit.found);
        }
    }
    result.ok()
}

/// Networks whose samples are plain rows.
fn plain(report: &mut Report, spec: &NetworkSpec, data: &Data, activation: Activation) -> Option<Network> {
    let (n_in, n_out) = (data.n_inputs(), data.n_outputs());
    let built = match spec {
        NetworkSpec::Dense { hidden, bias } => architecture::dense(n_in, hidden, n_out, *bias, activation),
        NetworkSpec::Residual { layers, bias } => architecture::residual(n_in, n_out, *layers, *bias, activation),
        NetworkSpec::Polynomial { hidden, bias } => architecture::polynomial(n_in, hidden, n_out, *bias, activation),
        NetworkSpec::Siamese { hidden, head, bias } => {
            let head = match head {
                HeadSpec::SquaredDifference => SiameseHead::SquaredDifference,
                HeadSpec::Bilinear => SiameseHead::Bilinear,
            };
            architecture::siamese(n_in, hidden, n_out, head, *bias, activation)
        }
        NetworkSpec::Conv { shape, layers, hidden, bias } => {
            let stages: Vec<_> = layers.iter().enumerate().map(|(k, spec)| stage(report, k, spec)).collect();
            let stages = stages.into_iter().collect::<Option<Vec<_>>>()?;
            architecture::conv(shape, n_in, &stages, hidden, n_out, *bias, activation)
        }
        NetworkSpec::ConvResidual { shape, channels, kernel, blocks, bias } => {
            architecture::conv_residual(shape, n_in, *channels, kernel, *blocks, n_out, *bias, activation)
        }
        NetworkSpec::UNet { shape, channels, kernel, up, bias } => {
            let up = match up {
                UpSpec::Nearest => Upsampling::Nearest,
                UpSpec::Transposed => Upsampling::Transposed,
            };
            architecture::unet(shape, n_in, channels, kernel, up, n_out, *bias, activation)
        }
        NetworkSpec::MobileNet { shape, blocks, hidden, bias } => {
            let block = |b: &super::architecture::BlockSpec| Block {
                channels: b.channels,
                kernel: b.kernel.clone(),
                stride: b.stride.clone(),
            };
            let blocks: Vec<Block> = blocks.iter().map(block).collect();
            architecture::mobile_net(shape, n_in, &blocks, hidden, n_out, *bias, activation)
        }
        NetworkSpec::GraphConv { .. } | NetworkSpec::Chebyshev { .. } | NetworkSpec::GraphConvMorris { .. } => {
            unreachable!("graphs are built elsewhere")
        }
    };
    note(report, built)
}

fn stage(report: &mut Report, k: usize, spec: &StageSpec) -> Option<ConvStage> {
    Some(match spec {
        StageSpec::Conv { channels, kernel, stride, padding, groups } => ConvStage::Conv {
            channels: *channels,
            kernel: kernel.clone(),
            stride: stride.clone(),
            padding: padding.clone(),
            groups: *groups,
        },
        StageSpec::AvgPool { kernel, stride } => {
            let stride = if stride.is_empty() { kernel } else { stride };
            ConvStage::AvgPool { kernel: kernel.clone(), stride: stride.clone() }
        }
        StageSpec::MaxPool { .. } => {
            report.push(&format!("network.layers[{k}]"), FaultKind::MaxPool);
            return None;
        }
    })
}

/// Rows with one graph each.
struct Grouped {
    x: Vec<Vec<f64>>,
    y: Vec<Vec<f64>>,
    n_nodes: usize,
}

struct GraphSection<'a> {
    hidden: &'a [usize],
    adjacency: &'a AdjacencySpec,
    form: GraphForm,
    bias: NodeBiasSpec,
    readout: ReadoutSpec,
    nodes: usize,
}

impl GraphSection<'_> {
    fn build(
        &self,
        report: &mut Report,
        raw: RawData,
        activation: Option<Activation>,
        folder: &Folder,
        files: &mut Vec<Vec<u8>>,
    ) -> (Option<Network>, Option<Data>) {
        let matrices = self.matrices(report, folder, files);
        let Some(Grouped { x, y, n_nodes }) = self.grouped(report, &raw) else { return (None, None) };
        let n_features = x[0].len() / n_nodes;
        let Some(graphs) = self.graphs(report, matrices, &x, n_nodes) else { return (None, None) };
        // Graphs of their own each: one sample with all of them side by side.
        let (x, y) = if graphs.len() > 1 { (vec![x.concat()], vec![y.concat()]) } else { (x, y) };
        let Some(data) = data(report, raw.place, &x, &y) else { return (None, None) };
        let n_parts = match self.readout {
            ReadoutSpec::Nodes => n_nodes * graphs.len(),
            ReadoutSpec::Mean | ReadoutSpec::Sum => graphs.len(),
        };
        let n_outputs = data.n_outputs() / n_parts;
        let bias = match self.bias {
            NodeBiasSpec::PerNode => NodeBias::PerNode,
            NodeBiasSpec::Shared => NodeBias::Shared,
            NodeBiasSpec::NoBias => NodeBias::None,
        };
        let readout = match self.readout {
            ReadoutSpec::Nodes => Readout::Nodes,
            ReadoutSpec::Mean => Readout::Mean,
            ReadoutSpec::Sum => Readout::Sum,
        };
        let network = activation.and_then(|activation| {
            let built =
                graph_network(&graphs, n_features, self.hidden, n_outputs, self.form, bias, readout, activation);
            note(report, built)
        });
        (network, Some(data))
    }

    /// Rows with one graph each, and the number of nodes.
    fn grouped(&self, report: &mut Report, raw: &RawData) -> Option<Grouped> {
        let has_readout = self.readout != ReadoutSpec::Nodes;
        if let [n_nodes, _] = raw.x.shape[..] {
            // One graph per row already; targets are per node, or per graph with a readout.
            let fits = if has_readout {
                raw.y.shape.len() == 1
            } else {
                raw.y.shape.first() == Some(&n_nodes) && raw.y.shape.len() == 2
            };
            let expected = if has_readout {
                "one row of targets per graph, since there is a readout".to_owned()
            } else {
                format!("targets for the {n_nodes} nodes of each graph, as [graph][node][target]")
            };
            let found = format!("{:?} values per graph", raw.y.shape);
            report.require(fits && n_nodes > 0, raw.place, &expected, found);
            let agrees = self.nodes == 0 || self.nodes == n_nodes;
            let expected = format!("{n_nodes} nodes per graph as in the data, or no such field");
            report.require(agrees, "network.nodes", &expected, self.nodes);
            return (fits && agrees && n_nodes > 0).then(|| Grouped {
                x: raw.x.rows.clone(),
                y: raw.y.rows.clone(),
                n_nodes,
            });
        }
        if has_readout {
            let expected = "graphs as [graph][node][feature] in the data, since there is a readout";
            report.require(false, "network.readout", expected, "rows of single nodes");
            return None;
        }
        let n_rows = raw.x.rows.len();
        if raw.y.rows.len() != n_rows {
            data(report, raw.place, &raw.x.rows, &raw.y.rows);
            return None;
        }
        let n_nodes = if self.nodes == 0 { n_rows } else { self.nodes };
        let expected = format!("a number of nodes per graph that divides the {n_rows} rows of data");
        report.require(n_rows.is_multiple_of(n_nodes), "network.nodes", &expected, n_nodes);
        let group = |rows: &[Vec<f64>]| rows.chunks(n_nodes).map(<[_]>::concat).collect::<Vec<Vec<f64>>>();
        // Ragged rows would hide behind grouping.
        data(report, raw.place, &raw.x.rows, &raw.y.rows)?;
        (n_rows.is_multiple_of(n_nodes) && n_nodes > 0).then(|| Grouped {
            x: group(&raw.x.rows),
            y: group(&raw.y.rows),
            n_nodes,
        })
    }

    /// Adjacency matrices as given; empty for nearest neighbours, `None` after a fault.
    fn matrices(&self, report: &mut Report, folder: &Folder, files: &mut Vec<Vec<u8>>) -> Option<Vec<Vec<Vec<f64>>>> {
        const PLACE: &str = "network.adjacency[0]";
        let (shape, values) = match self.adjacency {
            AdjacencySpec::Knn(_) => return Some(Vec::new()),
            AdjacencySpec::Inline(nested) => {
                let n_faults = report.faults.len();
                let shape = nested.shape();
                report.nested(PLACE, nested, &shape);
                if report.faults.len() > n_faults {
                    return None;
                }
                (shape, nested.values())
            }
            AdjacencySpec::File(file) => {
                let bytes = read_bytes(report, folder, PLACE, file)?;
                let read = read_matrix(report, PLACE, file, &bytes);
                files.push(bytes);
                let (mut shape, table) = read.map(|t| (t.shape.clone(), t))?;
                shape.insert(0, table.rows.len());
                (shape, table.rows.concat())
            }
        };
        let (count, m, width) = match shape[..] {
            [m, width] => (1, m, width),
            [count, m, width] => (count, m, width),
            _ => {
                let expected = "a matrix, or a list of one matrix per graph";
                report.require(false, PLACE, expected, format!("shape {shape:?}"));
                return None;
            }
        };
        if m != width || m == 0 {
            let expected = "a square matrix with a row and a column for each node";
            report.require(false, PLACE, expected, format!("{m} x {width} entries"));
            return None;
        }
        let matrix = |k: usize| values[k * m * width..(k + 1) * m * width].chunks(width).map(<[f64]>::to_vec).collect();
        Some((0..count).map(matrix).collect())
    }

    /// One graph for all samples, or one for each.
    fn graphs(
        &self,
        report: &mut Report,
        matrices: Option<Vec<Vec<Vec<f64>>>>,
        x: &[Vec<f64>],
        n_nodes: usize,
    ) -> Option<Vec<Graph>> {
        const PLACE: &str = "network.adjacency[0]";
        if let AdjacencySpec::Knn(k) = *self.adjacency {
            let expected = format!("at least 1 neighbour and fewer than there are nodes, {n_nodes}");
            report.require(k >= 1 && k < n_nodes, PLACE, &expected, k);
            if k == 0 || k >= n_nodes {
                return None;
            }
            let n_features = x[0].len() / n_nodes;
            let neighbours = |row: &Vec<f64>| {
                let points: Vec<&[f64]> = row.chunks(n_features).collect();
                Graph::nearest_neighbours(&points, k)
            };
            return note(report, x.iter().map(neighbours).collect());
        }
        let matrices = matrices?;
        let n_matrices = matrices.len();
        let n_faults = report.faults.len();
        let mut graphs = Vec::with_capacity(n_matrices);
        for (k, matrix) in matrices.into_iter().enumerate() {
            let list = if n_matrices > 1 { format!("{PLACE}[{k}]") } else { PLACE.to_owned() };
            let path = |field: &str| field.replacen("adjacency", &list, 1);
            graphs.extend(note_at(report, Graph::new(matrix), path));
        }
        if report.faults.len() > n_faults {
            return None;
        }
        let (count, found) = (graphs.len(), graphs[0].n_nodes());
        let expected = format!("{n_nodes} nodes as in the data");
        report.require(found == n_nodes, PLACE, &expected, format!("{found} x {found} entries"));
        let expected = format!("one matrix, or {} as there are graphs", x.len());
        report.require(count == 1 || count == x.len(), PLACE, &expected, count);
        (found == n_nodes && (count == 1 || count == x.len())).then_some(graphs)
    }
}
