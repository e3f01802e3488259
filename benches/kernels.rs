//! What one step is made of, at two sizes: gradient, gradient while many units slide, rates of all pre-activations, the scan of all
//! switching surfaces, Gram matrix, eigenvalues, Cholesky factors. How to read the figures is said in README.md of this folder.

use criterion::{Criterion, criterion_group, criterion_main};
use faer::{Mat, Scale, Side};
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

fn cases() -> [Case; 2] {
    let medium = ["data=Ball(samples: 100, inputs: 20, outputs: 5)", "network=Dense(hidden: [64, 64], bias: true)"];
    [case("n40_10-32-32-2", &[]), case("n100_20-64-64-5", &medium)]
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
        group.bench_function("gram", |b| b.iter(|| grams.gram(black_box(&field)).0.nrows()));
        let (gram, extremes) = grams.gram(&field);
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
