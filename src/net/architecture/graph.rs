//! Networks on graphs: every layer mixes the features of each node with those of its neighbours, with weights that all nodes share.

use super::{ArchitectureError, Checks, count};
use crate::net::activation::Activation;
use crate::net::layer::Bias;
use crate::net::network::{Composer, Features, LayerPlan, Network};
use crate::net::tensor::Tensor;
use faer::{Mat, Side};

/// An undirected graph: its adjacency matrix A, symmetric, without self-loops, with entries ≥ 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    adjacency: Vec<Vec<f64>>,
}

impl Graph {
    /// From A, row by row.
    ///
    /// # Errors
    /// When A is not square, not symmetric, has a negative or infinite entry, or an entry on its diagonal.
    pub fn new(adjacency: Vec<Vec<f64>>) -> Result<Self, ArchitectureError> {
        let mut checks = Checks::default();
        let m = adjacency.len();
        checks.require(m >= 1, "adjacency", "at least one node", "none");
        for (i, row) in adjacency.iter().enumerate() {
            checks.require(row.len() == m, format!("adjacency[{i}]"), format!("{m} entries, one per node"), row.len());
        }
        checks.done()?;
        let mut checks = Checks::default();
        for (i, row) in adjacency.iter().enumerate() {
            for (j, (&value, mirror)) in row.iter().zip(&adjacency).enumerate() {
                let field = || format!("adjacency[{i}][{j}]");
                let mirrored = mirror[i];
                let is_weight = value >= 0.0 && value.is_finite();
                checks.require(is_weight, field(), "a finite number of at least 0", value);
                let expected = "0 on the diagonal: self-loops are added by the layers that need them";
                checks.require(i != j || value == 0.0 || !is_weight, field(), expected, value);
                let expected = format!("{mirrored}, as in row {j}, column {i}: the matrix has to be symmetric");
                checks.require(j > i || value == mirrored || !is_weight, field(), expected, value);
            }
        }
        checks.0.truncate(5);
        checks.done()?;
        Ok(Self { adjacency })
    }

    /// Each point joined to its `k` nearest others (Euclidean; the lower index first among equals), in either direction.
    ///
    /// # Errors
    /// When k is 0 or not below the number of points.
    pub fn nearest_neighbours(points: &[&[f64]], k: usize) -> Result<Self, ArchitectureError> {
        let m = points.len();
        let mut checks = Checks::default();
        let expected = format!("between 1 and {} neighbours, for {m} nodes", m.saturating_sub(1));
        checks.require(k >= 1 && k < m, "adjacency", expected, k);
        checks.done()?;
        let mut adjacency = vec![vec![0.0; m]; m];
        for i in 0..m {
            let mut others: Vec<(f64, usize)> = (0..m)
                .filter(|&j| j != i)
                .map(|j| (points[i].iter().zip(points[j]).map(|(a, b)| (a - b).powi(2)).sum(), j))
                .collect();
            others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for &(_, j) in &others[..k] {
                (adjacency[i][j], adjacency[j][i]) = (1.0, 1.0);
            }
        }
        Ok(Self { adjacency })
    }

    /// Number of nodes.
    pub fn n_nodes(&self) -> usize {
        self.adjacency.len()
    }

    /// D̂^e (A + I) D̂^e with D̂ the degrees of A + I.
    fn normalised(&self, exponent: f64) -> Vec<Vec<f64>> {
        let scale: Vec<f64> = self.adjacency.iter().map(|row| (1.0 + row.iter().sum::<f64>()).powf(exponent)).collect();
        self.with_entries(|i, j, a| scale[i] * scale[j] * (a + if i == j { 1.0 } else { 0.0 }))
    }

    /// 2L/λ_max − I with L = I − D^{−½} A D^{−½} (D^{−½} = 0 at isolated nodes), whose eigenvalues lie in [−1, 1].
    fn scaled_laplacian(&self) -> Vec<Vec<f64>> {
        let degrees: Vec<f64> = self.adjacency.iter().map(|row| row.iter().sum()).collect();
        let scale: Vec<f64> = degrees.iter().map(|&d: &f64| if d > 0.0 { d.sqrt().recip() } else { 0.0 }).collect();
        let laplacian = self.with_entries(|i, j, a| if i == j { 1.0 } else { 0.0 } - scale[i] * scale[j] * a);
        let m = self.n_nodes();
        let matrix = Mat::from_fn(m, m, |i, j| laplacian[i][j]);
        let eigenvalues = matrix.self_adjoint_eigenvalues(Side::Lower).expect("entries are finite");
        let largest = eigenvalues[m - 1];
        let entry = |i: usize, j: usize| 2.0 * laplacian[i][j] / largest - if i == j { 1.0 } else { 0.0 };
        self.with_entries(|i, j, _| entry(i, j))
    }

    fn with_entries(&self, entry: impl Fn(usize, usize, f64) -> f64) -> Vec<Vec<f64>> {
        let row = |(i, row): (usize, &Vec<f64>)| row.iter().enumerate().map(|(j, &a)| entry(i, j, a)).collect();
        self.adjacency.iter().enumerate().map(row).collect()
    }
}

/// What a layer makes of the node features X (nodes × features).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GraphForm {
    /// D̂^e (A + I) D̂^e X W + B (Kipf & Welling 2017 with e = −½).
    Kipf {
        /// e.
        exponent: f64,
    },
    /// Σ_{k<K} T_k(2L/λ_max − I) X W_k + B with Chebyshev polynomials T_k (Defferrard et al. 2016); each graph has a λ_max of its own.
    Chebyshev {
        /// K, the number of weight matrices.
        order: usize,
    },
    /// X W_1 + A X W_2 + B (Morris et al. 2019).
    Morris,
}

/// Biases of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeBias {
    /// One row per node (nodes × out).
    PerNode,
    /// One row for all nodes.
    Shared,
    /// None.
    None,
}

/// What is made of the nodes of the last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readout {
    /// Every node has its own targets.
    Nodes,
    /// The mean over the nodes of a graph; the last layer's bias is shared, one row for all graphs.
    Mean,
    /// The sum over the nodes of a graph; the last layer's bias is shared and added once per graph, not once per node.
    Sum,
}

/// A network on graphs with `n_features` per node and `n_outputs` per node (or per graph, with a readout).
///
/// With one graph, a sample is that graph with its own features: m·`n_features` inputs, node by node. With several of equal size a
/// sample is all of them side by side. Weights are stored (in × out), those of several matrices one behind the other.
///
/// # Errors
/// When a hidden width or the order is 0, the exponent is not finite, or the graphs differ in size.
#[expect(clippy::too_many_arguments, reason = "one argument per field of the architecture")]
pub fn graph_network(
    graphs: &[Graph],
    n_features: usize,
    hidden: &[usize],
    n_outputs: usize,
    form: GraphForm,
    bias: NodeBias,
    readout: Readout,
    activation: Activation,
) -> Result<Network, ArchitectureError> {
    let mut checks = Checks::default();
    checks.units(hidden);
    match form {
        GraphForm::Kipf { exponent } => checks.require(exponent.is_finite(), "exponent", "a finite number", exponent),
        GraphForm::Chebyshev { order } => checks.require(order >= 1, "order", "at least 1", order),
        GraphForm::Morris => {}
    }
    let per_graph = graphs.first().map_or(0, Graph::n_nodes);
    checks.require(per_graph > 0, "adjacency", "at least one graph", "none");
    for (k, graph) in graphs.iter().enumerate() {
        let expected = format!("{per_graph} nodes, as in the first graph");
        checks.require(graph.n_nodes() == per_graph, format!("adjacency of graph {k}"), expected, graph.n_nodes());
    }
    checks.done()?;
    let m = graphs.len() * per_graph;
    let mixing = block_diagonal(graphs.iter().map(|graph| match form {
        GraphForm::Kipf { exponent } => graph.normalised(exponent),
        GraphForm::Chebyshev { .. } => graph.scaled_laplacian(),
        GraphForm::Morris => graph.adjacency.clone(),
    }));
    let mixed = |nodes: &Tensor| -> Tensor {
        match form {
            GraphForm::Kipf { .. } => nodes.combined(&mixing),
            GraphForm::Morris => beside(&[nodes.clone(), nodes.combined(&mixing)]),
            GraphForm::Chebyshev { order } => beside(&chebyshev(nodes, &mixing, order)),
        }
    };
    let layer = |features: Tensor, n_out: usize, bias: Bias| LayerPlan {
        n_positions: features.shape()[0],
        is_transposed: true,
        ..LayerPlan::plain(Features::Linear(features.into_entries()), n_out, bias)
    };
    let node_bias = match bias {
        NodeBias::PerNode => Bias::PerPosition { period: per_graph },
        NodeBias::Shared => Bias::Shared,
        NodeBias::None => Bias::None,
    };
    let mut composer = Composer::new(m * n_features, activation);
    composer.n_nodes = Some(m);
    composer.symbols = symbols(form, bias, readout);
    let mut nodes = Tensor::of(0, &[m, n_features], |i| i);
    for &width in hidden {
        let source = composer.hidden(layer(mixed(&nodes), width, node_bias));
        nodes = Tensor::of(source, &[m, width], |i| i);
    }
    let top = mixed(&nodes);
    let weight = match readout {
        Readout::Nodes => return Ok(composer.finish(layer(top, n_outputs, node_bias))),
        Readout::Mean => 1.0 / per_graph as f64,
        Readout::Sum => 1.0,
    };
    let summing = |k: usize| (0..m).map(|node| if node / per_graph == k { weight } else { 0.0 }).collect();
    let read = top.combined(&(0..graphs.len()).map(summing).collect::<Vec<Vec<f64>>>());
    let bias = if bias == NodeBias::None { Bias::None } else { Bias::Shared };
    Ok(composer.finish(layer(read, n_outputs, bias)))
}

/// P in symbols, with m nodes per graph.
fn symbols(form: GraphForm, bias: NodeBias, readout: Readout) -> String {
    let columns = match form {
        GraphForm::Kipf { .. } => "N_{l−1}",
        GraphForm::Chebyshev { .. } => "K N_{l−1}",
        GraphForm::Morris => "2 N_{l−1}",
    };
    match (bias, readout) {
        (NodeBias::None, _) => format!("Σ {}", count("N_l", columns, "")),
        (NodeBias::Shared, _) => format!("Σ {}", count("N_l", columns, "1")),
        (NodeBias::PerNode, Readout::Nodes) => format!("Σ {}", count("N_l", columns, "m")),
        // Behind a readout there are no nodes left.
        (NodeBias::PerNode, Readout::Mean | Readout::Sum) => {
            let last = count("N_L", &columns.replace('l', "L"), "1");
            format!("Σ {} (l < L) + {last}", count("N_l", columns, "m"))
        }
    }
}

/// Square matrices along the diagonal of one: graphs side by side have no edges between them.
fn block_diagonal(blocks: impl Iterator<Item = Vec<Vec<f64>>>) -> Vec<Vec<f64>> {
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for block in blocks {
        let start = rows.len();
        rows.extend(block.into_iter().map(|row| [vec![0.0; start], row].concat()));
    }
    let m = rows.len();
    rows.iter_mut().for_each(|row| row.resize(m, 0.0));
    rows
}

/// T_0 X, …, T_{K−1} X for T_k(M) with T_0 = I, T_1 = M, T_k = 2M T_{k−1} − T_{k−2}.
fn chebyshev(nodes: &Tensor, matrix: &[Vec<f64>], order: usize) -> Vec<Tensor> {
    let mut terms = vec![nodes.clone()];
    for k in 1..order {
        let next = terms[k - 1].combined(matrix);
        terms.push(if k == 1 {
            next
        } else {
            // 2·next − T_{k−2}, starting from −T_{k−2}.
            let zero = Tensor::from_entries(next.shape(), vec![Vec::new(); next.entries().len()]);
            zero.plus(2.0, &next).plus(-1.0, &terms[k - 2])
        });
    }
    terms
}

/// Features of several arrays (nodes × features) side by side for each node.
fn beside(parts: &[Tensor]) -> Tensor {
    let (m, width) = (parts[0].shape()[0], parts[0].shape()[1]);
    let mut entries = Vec::with_capacity(m * width * parts.len());
    for node in 0..m {
        for part in parts {
            entries.extend_from_slice(&part.entries()[node * width..(node + 1) * width]);
        }
    }
    Tensor::from_entries(&[m, width * parts.len()], entries)
}
