//! What one step is made of, at four sizes: gradient, gradient while many units slide, rates of all pre-activations, the scan of all
//! switching surfaces, Gram matrix, eigenvalues, Cholesky factors. How to read the figures is said in README.md of this folder.

use criterion::{Criterion, criterion_group, criterion_main};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, Par, Scale, Side};
use gradflow::cholesky::Cholesky;
use gradflow::flow::FlowField;
use gradflow::ntk::GramEvaluator;
use gradflow::ode::event::{End, Located, Scratch};
use gradflow::ode::{Contact, Mode, PiecewiseField};
use gradflow::scenario::Scenario;
use std::hint::black_box;

const N_SLIDING: usize = 80;

/// A network at its start.
struct Case {
    name: &'static str,
    field: FlowField,
    theta: Vec<f64>,
}

fn cases() -> [Case; 4] {
    let medium = ["data=Ball(samples: 100, inputs: 20, outputs: 5)", "network=Dense(hidden: [64, 64], bias: true)"];
    let few = ["data=Ball(samples: 20, inputs: 100, outputs: 5)", medium[1]];
    let large = ["data=Ball(samples: 100, inputs: 300, outputs: 10)", "network=Dense(hidden: [100, 100], bias: true)"];
    [
        case("n40_10-32-32-2", &[]),
        case("n20_100-64-64-5", &few),
        case("n100_20-64-64-5", &medium),
        case("n100_300-100-100-10", &large),
    ]
}

/// Shapes (rows, inner, columns) of the matrix products that a gradient cannot do without.
fn gradient_products(field: &FlowField) -> Vec<(usize, usize, usize)> {
    let (n, widths) = (field.batch().n_samples(), field.batch().network().widths());
    let forward = widths.windows(2).map(|w| (w[1], w[0], n));
    let backward = widths.windows(2).skip(1).map(|w| (w[0], w[1], n));
    let gradient = widths.windows(2).map(|w| (w[1], n, w[0]));
    forward.chain(backward).chain(gradient).collect()
}

/// The same for the Gram matrix: features of the samples with each other, and seeds of all outputs with each other.
fn gram_products(field: &FlowField) -> Vec<(usize, usize, usize)> {
    let (n, widths) = (field.batch().n_samples(), field.batch().network().widths());
    let n_targets = field.batch().n_outputs();
    let hidden = &widths[1..widths.len() - 1];
    let kernels = hidden.iter().map(|&w| (n, w, n));
    let seeds = hidden.iter().map(|&w| (n_targets, w, n_targets));
    let carried = hidden.windows(2).map(|w| (w[0], w[1], n_targets));
    kernels.chain(seeds).chain(carried).collect()
}

/// Matrix products of the given shapes and nothing else; of the square ones only the lower triangle is counted in the Gram matrix, and
/// computed here.
fn products(shapes: &[(usize, usize, usize)]) -> impl FnMut() {
    let operands = |&(m, k, n): &(usize, usize, usize)| {
        (Mat::<f64>::zeros(m, n), Mat::from_fn(m, k, |i, j| (i + j) as f64), Mat::from_fn(k, n, |i, j| (i * j) as f64))
    };
    let mut operands: Vec<_> = shapes.iter().map(operands).collect();
    move || {
        for (target, left, right) in &mut operands {
            let (dst, lhs, rhs) = (target.as_mut(), left.as_ref(), right.as_ref());
            if dst.nrows() == dst.ncols() && lhs.nrows() != lhs.ncols() {
                let (half, whole) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
                triangular::matmul(dst, half, Accum::Replace, lhs, whole, rhs, whole, 1.0, Par::Seq);
            } else {
                matmul(dst, Accum::Replace, lhs, rhs, 1.0, Par::Seq);
            }
            black_box(&mut *target);
        }
    }
}

fn case(name: &'static str, overrides: &[&str]) -> Case {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    let problem = Scenario::load("quickstart", &overrides).expect("the embedded scenario has no faults").problem;
    Case { name, field: FlowField::new(problem.network, &problem.data), theta: problem.theta0 }
}

/// `mode` with units held that are spread over all layers, units and samples. They need not stand on their breakpoints: the
/// equations that hold them cost the same.
fn with_sliding(mode: &Mode, n_switches: usize) -> Mode {
    let mut sliding = mode.clone();
    for k in 0..N_SLIDING {
        sliding.hold(Contact { switch: (2 * k + 1) * n_switches / (2 * N_SLIDING), breakpoint: 0 });
    }
    sliding
}

fn kernels(c: &mut Criterion) {
    for Case { name, mut field, theta } in cases() {
        let mut group = c.benchmark_group(name);
        let mode = field.mode_from_values(&theta);
        let sliding = with_sliding(&mode, field.n_switches());
        let mut dy = vec![0.0; theta.len()];
        group.bench_function("gradient_80_sliding", |b| {
            b.iter(|| field.eval(black_box(&theta), &sliding, &mut dy));
        });
        group.bench_function("gradient", |b| b.iter(|| field.eval(black_box(&theta), &mode, &mut dy)));
        group.bench_function("gradient_products_alone", |b| b.iter(products(&gradient_products(&field))));
        field.eval(&theta, &mode, &mut dy).expect("the start is finite");

        let mut rates = vec![0.0; field.n_switches()];
        group.bench_function("rates", |b| b.iter(|| field.rates(black_box(&dy), &mut rates)));

        // A short step in which no boundary is left: what most scans see.
        let h = 1e-6;
        let start = End { values: field.values().to_vec(), rates: rates.clone(), margins: Vec::new() };
        let moved = start.values.iter().zip(&rates).map(|(z, r)| z + h * r).collect();
        let end = End { values: moved, rates: rates.clone(), margins: Vec::new() };
        group.bench_function("switching_scan", |b| {
            let (mut y, mut dy, mut scratch) = (theta.clone(), dy.clone(), Scratch::default());
            let mut located = Located {
                field: &mut field,
                mode: &mode,
                h,
                start: &start,
                end: &end,
                fresh: &[],
                forced: &[],
                narrow: 1e-5,
                x_tol: 1e-13,
                dense: &|_, _| {},
                y: &mut y,
                dy: &mut dy,
                scratch: &mut scratch,
                evaluated_at: None,
                n_evaluations: 0,
                n_single_values: 0,
            };
            b.iter(|| black_box(&mut located).suspect());
        });

        let mut grams = GramEvaluator::default();
        group.bench_function("gram", |b| b.iter(|| grams.lower(black_box(&field)).0.nrows()));
        group.bench_function("gram_products_alone", |b| b.iter(products(&gram_products(&field))));
        let (gram, extremes) = grams.lower(&field);
        group.sample_size(20);
        group.bench_function("extreme_eigenvalues_warm", |b| b.iter(|| extremes.of(black_box(gram), f64::INFINITY)));
        group.bench_function("all_eigenvalues", |b| b.iter(|| black_box(gram).self_adjoint_eigenvalues(Side::Lower)));
        group.finish();
    }
}

/// Factors of small matrices, here and by faer; and what one block per unit saves, with half the rows in blocks of four.
fn cholesky(c: &mut Criterion) {
    let mut group = c.benchmark_group("cholesky");
    for n in [24, 56, 80, 160, 240, 400] {
        let root = Mat::from_fn(n, n, |i, j| ((3 * i + 5 * j + i * j) as f64).sin());
        let dense = &root * root.transpose() + Scale(n as f64) * Mat::<f64>::identity(n, n);
        let mut cholesky = Cholesky::default();
        group.bench_function(format!("{n}"), |b| b.iter(|| cholesky.factor(black_box(dense.as_ref()), 0.0)));
        group.bench_function(format!("{n}_faer"), |b| b.iter(|| black_box(&dense).llt(Side::Lower)));
        let blocks = vec![4; n / 8];
        let is_zero = |i: usize, j: usize| i.max(j) < n / 2 && i / 4 != j / 4;
        let blocked = Mat::from_fn(n, n, |i, j| if is_zero(i, j) { 0.0 } else { dense[(i, j)] });
        group.bench_function(format!("{n}_half_in_blocks"), |b| {
            b.iter(|| {
                let (room, stride) = cholesky.room(n);
                for (to, from) in room.chunks_exact_mut(stride).zip(blocked.col_iter()) {
                    to[..n].copy_from_slice(from.try_as_col_major().expect("columns are contiguous").as_slice());
                }
                cholesky.factor_in_place(&blocks)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, kernels, cholesky);
criterion_main!(benches);
