//! Batched passes, Gram matrices and sliding projections equal their naive twins, one sample and one dual number at a time, to 1e-10 of
//! the largest entry: for odd sizes, for every activation, and in random modes with sliding units.
//!
//! Sums of at most a few hundred products of numbers of order one round by far less; cancellation in solves with Γ, whose condition
//! stays below about 1e4 here, is what the rest of the room is for.

mod common;

use common::naive::{Unit, forward, sigma};
use common::{Case, activations, relative_distance};
use gradflow::data::Data;
use gradflow::flow::sliding::SlideSystem;
use gradflow::flow::{FlowField, GramAhead};
use gradflow::net::{
    Activation, Batch, Forward, Held, KernelScratch, Network, Probes, cross_gram, mirror, own_gram, switch_gram,
};
use gradflow::ntk::GramEvaluator;
use gradflow::ode::{Contact, Mode, PiecewiseField, Snapshot};
use nalgebra::{DMatrix, DVector};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

const TOL: f64 = 1e-10;

/// Widths, bias, samples: one of everything, odd sizes, no hidden layer, three of them, no biases.
fn sizes() -> Vec<(Vec<usize>, bool, usize)> {
    let sizes: [(&[usize], bool, usize); 9] = [
        (&[1, 1, 1], true, 1),
        (&[1, 1, 1], false, 1),
        (&[3, 2], true, 4),
        (&[2, 1], false, 3),
        (&[2, 5, 1], true, 7),
        (&[3, 4, 3], false, 5),
        (&[2, 3, 5, 2], true, 9),
        (&[5, 7, 1, 3], false, 3),
        (&[3, 4, 3, 2, 2], true, 6),
    ];
    sizes.into_iter().map(|(w, b, n)| (w.to_vec(), b, n)).collect()
}

/// Naive values and gradients in a mode: pre-activations in the order of switches, and outputs, on every *distinct* input.
struct Twin {
    z: Vec<f64>,
    z_gradient: Vec<DVector<f64>>,
    f: Vec<f64>,
    f_gradient: Vec<DVector<f64>>,
}

/// Slope passed on by each sliding unit; 0 when held.
type Slopes<'a> = &'a dyn Fn(usize) -> f64;

fn twin(network: &Network, theta: &[f64], inputs: &[Vec<f64>], mode: &Mode, slopes: Slopes) -> Twin {
    let n = inputs.len();
    let hidden = &network.widths()[1..network.widths().len() - 1];
    let mut by_layer: Vec<Vec<(f64, DVector<f64>)>> = vec![Vec::new(); hidden.len()];
    let (mut f, mut f_gradient) = (Vec::new(), Vec::new());
    for (j, x) in inputs.iter().enumerate() {
        let index = |layer: usize, unit: usize| {
            hidden[..layer - 1].iter().map(|w| w * n).sum::<usize>() + j * hidden[layer - 1] + unit
        };
        let (z, outputs) = forward(network, theta, x, |layer, unit, _| {
            let k = index(layer, unit);
            match mode.sliding().iter().find(|c| c.switch == k) {
                Some(c) => Unit::Held { breakpoint: c.breakpoint, slope: slopes(k) },
                None => Unit::Piece(mode.pieces()[k]),
            }
        });
        for (layer, z) in by_layer.iter_mut().zip(z) {
            layer.extend(z.into_iter().map(|z| (z.v, DVector::from_vec(z.d))));
        }
        for output in outputs {
            f.push(output.v);
            f_gradient.push(DVector::from_vec(output.d));
        }
    }
    let (z, z_gradient) = by_layer.into_iter().flatten().unzip();
    Twin { z, z_gradient, f, f_gradient }
}

/// A random mode with `n_sliding` sliding units; values are not consistent with it, which the formulas must not mind.
fn random_mode(batch: &Batch, n_sliding: usize, rng: &mut ChaCha8Rng) -> Mode {
    let n_breakpoints = batch.network().activation().breakpoints().len() as u16;
    let mut mode = Mode::new((0..batch.n_switches()).map(|_| rng.random_range(0..=n_breakpoints)).collect());
    if n_breakpoints > 0 && batch.n_switches() > 0 {
        for _ in 0..n_sliding {
            let switch = rng.random_range(0..batch.n_switches());
            mode.hold(Contact { switch, breakpoint: rng.random_range(0..n_breakpoints) });
        }
    }
    mode
}

fn inputs(field: &FlowField) -> Vec<Vec<f64>> {
    field.data().x.chunks_exact(field.data().n_inputs).map(<[f64]>::to_vec).collect()
}

/// w_j (F_j − y_j) by hand, over all original samples with the merged sample's outputs.
fn residual_by_originals(case: &Case, field: &FlowField, f: &[f64]) -> Vec<f64> {
    let m = case.data.n_outputs();
    let mut sums = vec![0.0; f.len()];
    let distinct = inputs(field);
    let (x, y) = case.rows();
    for (x, y) in x.iter().zip(&y) {
        let u = distinct.iter().position(|d| d == x).expect("each sample has a distinct input");
        (0..m).for_each(|k| sums[u * m + k] += f[u * m + k] - y[k]);
    }
    sums
}

fn combination(vectors: &[DVector<f64>], weights: &[f64], n: usize) -> DVector<f64> {
    vectors.iter().zip(weights).fold(DVector::zeros(n), |sum, (v, w)| sum + v * *w)
}

fn rows_matrix(vectors: &[DVector<f64>], n: usize) -> DMatrix<f64> {
    DMatrix::from_fn(vectors.len(), n, |r, c| vectors[r][c])
}

fn close(what: &str, got: &[f64], want: &[f64], least: f64) {
    let distance = relative_distance(got, want, least);
    assert!(distance <= TOL, "{what}: relative distance {distance:e}");
}

#[test]
fn free_passes_equal_their_naive_twins_at_every_size_and_activation() {
    for (widths, bias, n_samples) in sizes() {
        for (name, activation) in activations() {
            let case = Case::random(&widths, bias, activation, n_samples, 11);
            let what = |part: &str| format!("{part}, {name}, widths {widths:?}, bias {bias}, {n_samples} samples");
            let theta: Vec<f64> = case.theta0.iter().map(|t| 3.0 * t).collect();
            let p = theta.len();
            let mut field = FlowField::new(case.network.clone(), &case.data);
            let read = field.mode_from_values(&theta);
            let random = random_mode(field.batch(), 0, &mut ChaCha8Rng::seed_from_u64(5));
            for (kind, mode) in [("own pieces", read), ("random pieces", random)] {
                let what = |part: &str| format!("{}, {kind}", what(part));
                let twin = twin(&case.network, &theta, &inputs(&field), &mode, &|_| 0.0);
                if kind == "own pieces" {
                    let (x, y) = case.rows();
                    let (loss, gradient) = common::naive::loss_and_gradient(&case.network, &theta, &x, &y);
                    let mut dy = vec![0.0; p];
                    field.eval(&theta, &mode, &mut dy).expect("finite");
                    dy.iter_mut().for_each(|d| *d = -*d);
                    close(&what("∇L"), &dy, &gradient, 1e-12);
                    close(&what("L"), &[field.sample(&dy).loss, field.loss_at(&theta, &mode)], &[loss; 2], 1e-300);
                }
                let mut dy = vec![0.0; p];
                field.eval(&theta, &mode, &mut dy).expect("finite");
                let residual = residual_by_originals(&case, &field, &twin.f);
                let gradient = combination(&twin.f_gradient, &residual, p);
                close(&what("−∇L"), &dy, (-&gradient).as_slice(), 1e-12);
                close(&what("z"), field.values(), &twin.z, 1e-12);
                close(&what("F"), &field.forward().1.f, &twin.f, 1e-12);

                let direction: Vec<f64> = (0..p).map(|k| ((k * 7 + 3) % 11) as f64 / 5.0 - 1.0).collect();
                let mut rates = vec![0.0; twin.z.len()];
                field.rates(&direction, &mut rates);
                let along = DVector::from_vec(direction);
                let want: Vec<f64> = twin.z_gradient.iter().map(|g| g.dot(&along)).collect();
                close(&what("rates"), &rates, &want, 1e-12);

                for (j, z) in twin.z.iter().enumerate() {
                    let value = field.value_at(&theta, &mode, j);
                    close(&what("value_at"), &[value], &[*z], 1.0);
                }
                let jacobian = rows_matrix(&twin.f_gradient, p);
                let mut grams = GramEvaluator::default();
                let gram = grams.gram(&field);
                let got: Vec<f64> =
                    (0..gram.ncols()).flat_map(|q| (0..gram.nrows()).map(move |p| gram[(p, q)])).collect();
                close(&what("G"), &got, (&jacobian * jacobian.transpose()).as_slice(), 1e-12);
                // A snapshot that was prepared, where there was room, gives the same bits, and forgets them when it is taken anew.
                let (mut kept, mut tools) = (field.snapshot(), GramAhead::default());
                assert_eq!(kept.prepare(&mut tools, got.len() - 1), 0);
                assert_eq!(kept.prepare(&mut tools, got.len()), got.len());
                for _ in 0..2 {
                    let mut others = GramEvaluator::default();
                    let (lower, _) = others.lower(&kept);
                    let m = lower.nrows();
                    assert!((0..m).all(|q| (q..m).all(|p| lower[(p, q)] == got[q * m + p])), "{}", what("lower G"));
                    kept.prepare(&mut tools, usize::MAX);
                    assert_eq!(kept.give_back(&mut tools), got.len());
                    assert_eq!(kept.give_back(&mut tools), 0);
                    field.snapshot_into(&mut kept);
                }
                let transposed = grams.jacobian_transposed(&field);
                let got: Vec<f64> = (0..transposed.ncols())
                    .flat_map(|q| (0..transposed.nrows()).map(|p| transposed[(p, q)]).collect::<Vec<_>>())
                    .collect();
                close(&what("Jᵀ"), &got, jacobian.transpose().as_slice(), 1e-12);
            }
        }
    }
}

/// Everything the field says with `mode` held, against the naive equations Γδ = −V g₀.
fn check_sliding(what: &str, case: &Case, theta: &[f64], mode: &Mode) {
    let p = theta.len();
    let mut field = FlowField::new(case.network.clone(), &case.data);
    let mut dy = vec![0.0; p];
    field.eval(theta, mode, &mut dy).expect("finite");
    let held = twin(&case.network, theta, &inputs(&field), mode, &|_| 0.0);
    let residual = residual_by_originals(case, &field, &held.f);
    let gradient = combination(&held.f_gradient, &residual, p);
    let sliding: Vec<usize> = mode.sliding().iter().map(|c| c.switch).collect();
    let normals: Vec<DVector<f64>> = sliding.iter().map(|&e| held.z_gradient[e].clone()).collect();
    let v = rows_matrix(&normals, p);
    let gamma = &v * v.transpose();
    if !sliding.is_empty() {
        let singular_values = gamma.clone().svd(false, false).singular_values;
        // Parallel surfaces have a test of their own.
        if singular_values.max() > 1e4 * singular_values.min() {
            return;
        }
    }
    close(&format!("{what}: z"), field.values(), &held.z, 1e-12);
    for (j, z) in held.z.iter().enumerate() {
        close(&format!("{what}: value_at"), &[field.value_at(theta, mode, j)], &[*z], 1.0);
    }

    // Γ by both kernels.
    let batch = field.batch().clone();
    let held_units: Vec<Held> = mode
        .sliding()
        .iter()
        .map(|c| {
            let b = case.network.activation().breakpoints()[usize::from(c.breakpoint)];
            let slope_at = case.network.layers()[batch.layer_of(c.switch) - 1].slope;
            let learned = slope_at.map_or(0.0, |at| theta[at]);
            Held { index: c.switch, output: sigma(case.network.activation(), c.breakpoint, b, learned).0 }
        })
        .collect();
    let (mut pass, mut probes, mut scratch) = (Forward::default(), Probes::default(), KernelScratch::default());
    batch.forward(theta, mode.pieces(), &held_units, &mut pass);
    probes.switches(&batch, theta, &pass, &sliding);
    let k = sliding.len();
    let (mut lower, mut whole) = (vec![f64::NAN; k * k], Vec::new());
    switch_gram(&batch, &pass, &probes, &mut scratch, &mut lower, k);
    cross_gram(&batch, &pass, &probes, &probes, &mut scratch, &mut whole);
    close(&format!("{what}: Γ by cross_gram"), &whole, gamma.as_slice(), 1e-12);
    own_gram(&batch, &pass, &probes, &mut scratch, &mut whole);
    mirror(&mut whole, k);
    close(&format!("{what}: Γ by own_gram"), &whole, gamma.as_slice(), 1e-12);
    let triangle = |m: &[f64]| (0..k).flat_map(|q| (q..k).map(move |p| (p, q))).map(|(p, q)| m[q * k + p]).collect();
    let (got, want): (Vec<f64>, Vec<f64>) = (triangle(&lower), triangle(gamma.as_slice()));
    close(&format!("{what}: Γ by switch_gram"), &got, &want, 1e-12);

    // θ̇ = −(g₀ + Vᵀδ), the projection of −g₀.
    let delta = match k {
        0 => DVector::zeros(0),
        _ => gamma.clone().lu().solve(&-(&v * &gradient)).expect("Γ is regular"),
    };
    let want = -(&gradient + v.transpose() * &delta);
    let scale = gradient.amax().max(1e-12);
    close(&format!("{what}: θ̇"), &dy, want.as_slice(), scale);
    let moved = DVector::from_vec(dy.clone());
    for (e, normal) in sliding.iter().zip(&normals) {
        let rate = normal.dot(&moved).abs() / (normal.norm() * gradient.norm()).max(1e-12);
        assert!(rate < TOL, "{what}: switch {e} moves at {rate:e} of the gradient");
    }
    let mut rates = vec![0.0; held.z.len()];
    field.rates(&dy, &mut rates);
    let want: Vec<f64> = held.z_gradient.iter().map(|g| g.dot(&moved)).collect();
    close(&format!("{what}: rates"), &rates, &want, scale);

    // μ = ∂L/∂a by the naive twin: the seed of a unit with slope 1 minus the one with slope 0, deeper units at their effective slopes.
    let learned = |j: usize| {
        let block = &case.network.layers()[batch.layer_of(j) - 1];
        block.slope.map_or(0.0, |at| theta[at])
    };
    let mu = naive_mu(case, &field, theta, mode, &delta);
    let mut margins = Vec::new();
    field.margins(&mut margins);
    assert_eq!(margins.len(), k, "{what}");
    let mut slopes = Vec::new();
    for (e, contact) in mode.sliding().iter().enumerate() {
        let b = case.network.activation().breakpoints()[usize::from(contact.breakpoint)];
        let slope = |piece| sigma(case.network.activation(), piece, b, learned(contact.switch)).1;
        let (low, high) = (slope(contact.breakpoint), slope(contact.breakpoint + 1));
        let want = [delta[e] - low * mu[e], high * mu[e] - delta[e]];
        let size = delta.amax().max(mu.iter().fold(0.0, |m: f64, v| m.max(v.abs())));
        close(&format!("{what}: margins"), &[margins[e].below, margins[e].above], &want, size);
        let attraction = field.attraction(*contact).0;
        close(&format!("{what}: attraction"), &[attraction], &[want[0] + want[1]], size);
        slopes.push((contact.switch, delta[e] / mu[e], low.min(high), low.max(high)));
    }

    // With admissible effective slopes, G_s moves the outputs: dF/dt = J θ̇ = −G_s r (weighted rows for merged samples).
    if slopes.iter().all(|&(_, s, low, high)| s > low && s < high) && !slopes.is_empty() {
        let slope = |j: usize| slopes.iter().find(|s| s.0 == j).expect("sliding").1;
        let effective = twin(&case.network, theta, &inputs(&field), mode, &slope);
        let root: Vec<f64> = (0..held.f.len()).map(|k| field.data().weight[k / case.data.n_outputs()].sqrt()).collect();
        let jacobian = DMatrix::from_fn(root.len(), p, |r, c| root[r] * effective.f_gradient[r][c]);
        let gram_want = &jacobian * jacobian.transpose();
        let mut grams = GramEvaluator::default();
        let gram = grams.gram(&field);
        let got: Vec<f64> = (0..gram.ncols()).flat_map(|q| (0..gram.nrows()).map(move |p| gram[(p, q)])).collect();
        close(&format!("{what}: G_s"), &got, gram_want.as_slice(), 1e-12);
        let moved_outputs: Vec<f64> = held.f_gradient.iter().zip(&root).map(|(g, root)| root * g.dot(&moved)).collect();
        let weighted = DVector::from_iterator(root.len(), residual.iter().zip(&root).map(|(r, root)| r / root));
        let by_gram = -(DMatrix::from_column_slice(root.len(), root.len(), &got) * weighted);
        let size = (gram_want.amax() * scale).max(1e-12);
        close(&format!("{what}: dF/dt = −G_s r"), &moved_outputs, by_gram.as_slice(), size);
    }
    let naive = Naive { what, case, theta, mode, held: &held, v: &v };
    for n_hits in 0..=2 {
        check_last_projection(&naive, &mut field, n_hits);
    }
    if k > 0 {
        check_projections(&naive, &mut field, &gamma);
    }
}

/// ∂L/∂a of every sliding unit, by finite differences in its (linear) effect: the seed with the unit's slope at 1 against 0.
fn naive_mu(case: &Case, field: &FlowField, theta: &[f64], mode: &Mode, delta: &DVector<f64>) -> Vec<f64> {
    // Backpropagation by hand: μ_l = W_{l+1}ᵀ seed_{l+1}; seed = σ′·μ for free units, δ for sliding ones.
    let (network, n) = (&case.network, field.batch().n_samples());
    let layers = network.layers();
    let held = twin(network, theta, &inputs(field), mode, &|_| 0.0);
    let mut above = residual_by_originals(case, field, &held.f);
    let mut mu_of = vec![0.0; held.z.len()];
    for l in (1..layers.len()).rev() {
        let (block, width) = (&layers[l], layers[l].n_in);
        let start: usize = network.widths()[1..l].iter().map(|w| w * n).sum();
        let mut seeds = vec![0.0; width * n];
        for j in 0..n {
            for u in 0..width {
                let mu: f64 = (0..block.n_out)
                    .map(|o| theta[block.weights.start + o * width + u] * above[j * block.n_out + o])
                    .sum();
                let k = start + j * width + u;
                mu_of[k] = mu;
                let learned = layers[l - 1].slope.map_or(0.0, |at| theta[at]);
                seeds[j * width + u] = match mode.sliding().iter().position(|c| c.switch == k) {
                    Some(e) => delta[e],
                    None => mu * sigma(network.activation(), mode.pieces()[k], held.z[k], learned).1,
                };
            }
        }
        above = seeds;
    }
    mode.sliding().iter().map(|c| mu_of[c.switch]).collect()
}

/// A mode at a point, with what has been computed naively there.
struct Naive<'a> {
    what: &'a str,
    case: &'a Case,
    theta: &'a [f64],
    mode: &'a Mode,
    held: &'a Twin,
    /// Gradients of the sliding switches, one a row.
    v: &'a DMatrix<f64>,
}

/// Free switches at breakpoints that bound their pieces, by increasing switch.
fn free_contacts(mode: &Mode, n_breakpoints: usize) -> impl Iterator<Item = Contact> + '_ {
    let free = (0..mode.pieces().len()).filter(move |&switch| n_breakpoints > 0 && !mode.slides(switch));
    free.map(|switch| Contact { switch, breakpoint: mode.pieces()[switch].saturating_sub(1) })
}

/// From the last evaluation onto the surfaces of the sliding units and of some that have just been reached: the least-norm step.
fn check_last_projection(naive: &Naive, field: &mut FlowField, n_hits: usize) {
    let Naive { what, case, theta, mode, held, v } = *naive;
    let breakpoints = case.network.activation().breakpoints();
    let hits: Vec<Contact> = free_contacts(mode, breakpoints.len()).step_by(3).take(n_hits).collect();
    let gradients: Vec<DVector<f64>> = v.row_iter().map(|row| row.transpose()).collect();
    let normals: Vec<DVector<f64>> =
        gradients.into_iter().chain(hits.iter().map(|c| held.z_gradient[c.switch].clone())).collect();
    let all = rows_matrix(&normals, theta.len());
    if hits.len() < n_hits || normals.is_empty() {
        return;
    }
    let gamma = &all * all.transpose();
    let singular_values = gamma.clone().svd(false, false).singular_values;
    if singular_values.max() > 1e4 * singular_values.min() {
        return;
    }
    let offset = |c: &Contact| held.z[c.switch] - breakpoints[usize::from(c.breakpoint)];
    let offsets = DVector::from_iterator(normals.len(), mode.sliding().iter().chain(&hits).map(offset));
    let step = -all.transpose() * gamma.lu().solve(&offsets).unwrap_or_default();
    let mut dy = vec![0.0; theta.len()];
    field.eval(theta, mode, &mut dy).expect("finite");
    let mut projected = theta.to_vec();
    field.project_last(&mut projected, mode, &hits).expect("finite");
    let got: Vec<f64> = projected.iter().zip(theta).map(|(a, b)| a - b).collect();
    close(&format!("{what}: project_last, {n_hits} hits"), &got, step.as_slice(), 1e-2);
}

/// The projector on the tangent, the projection onto the surfaces, and the low-rank linearisation.
fn check_projections(naive: &Naive, field: &mut FlowField, gamma: &DMatrix<f64>) {
    let Naive { what, case, theta, mode, held, v } = *naive;
    let p = theta.len();
    let inverse = gamma.clone().try_inverse().expect("Γ is regular");
    let breakpoints = case.network.activation().breakpoints();
    let offsets: Vec<f64> =
        mode.sliding().iter().map(|c| held.z[c.switch] - breakpoints[usize::from(c.breakpoint)]).collect();
    let step = v.transpose() * &inverse * DVector::from_vec(offsets);
    let mut projected = theta.to_vec();
    field.project(&mut projected, mode, mode.sliding()).expect("finite");
    let got: Vec<f64> = projected.iter().zip(theta).map(|(a, b)| b - a).collect();
    close(&format!("{what}: project"), &got, step.as_slice(), 1e-2);

    let projector = DMatrix::identity(p, p) - v.transpose() * &inverse * v;
    let root = |k: usize| field.data().weight[k / case.data.n_outputs()].sqrt();
    let jacobian = DMatrix::from_fn(held.f.len(), p, |r, c| root(r) * held.f_gradient[r][c]) * projector;
    let a = -(jacobian.transpose() * &jacobian);
    let direction: Vec<f64> = (0..p).map(|k| ((k * 5 + 1) % 7) as f64 / 3.0 - 1.0).collect();
    let along = DVector::from_vec(direction.clone());
    let linearisation = field.linearisation().expect("gradient flow has one");
    linearisation.linearise(theta, mode).expect("finite");
    let mut got = vec![0.0; p];
    linearisation.apply(&direction, &mut got);
    close(&format!("{what}: A v"), &got, (&a * &along).as_slice(), a.amax().max(1e-12));
    let shift = 0.3 / a.norm().max(1e-12);
    linearisation.factor(shift).expect("positive definite");
    let mut solved = direction;
    linearisation.solve(&mut solved);
    let want = (DMatrix::identity(p, p) - a * shift).lu().solve(&along).expect("regular");
    close(&format!("{what}: (I − sA)⁻¹ v"), &solved, want.as_slice(), 1.0);
    let largest = jacobian.singular_values().max().powi(2);
    let mut dy = vec![0.0; p];
    field.eval(theta, mode, &mut dy).expect("finite");
    // A Rayleigh-type estimate from power iterations: never above the truth, and of its size.
    let rate = field.decay_rate(mode).expect("known");
    assert!(rate <= largest * (1.0 + TOL) + 1e-300, "{what}: decay rate {rate} above λ_max = {largest}");
    assert!(rate >= 0.5 * largest, "{what}: decay rate {rate} far below λ_max = {largest}");
}

#[test]
fn sliding_passes_equal_the_naive_projection_in_random_modes() {
    for (widths, bias, n_samples) in sizes() {
        for (name, activation) in activations() {
            let case = Case::random(&widths, bias, activation, n_samples, 23);
            let theta: Vec<f64> = case.theta0.iter().map(|t| 2.0 * t).collect();
            let field = FlowField::new(case.network.clone(), &case.data);
            let mut rng = ChaCha8Rng::seed_from_u64(29);
            for n_sliding in [0, 1, 2, 5] {
                let mode = random_mode(field.batch(), n_sliding, &mut rng);
                let what = format!("{name}, widths {widths:?}, bias {bias}, {} sliding", mode.sliding().len());
                check_sliding(&what, &case, &theta, &mode);
            }
        }
    }
}

/// Where Γ bordered by the hits is singular, or there are many of them, the projection is the one that assembles all.
#[test]
fn hits_whose_surfaces_coincide_are_projected_on_like_any_others() {
    // Without biases the first layer's surfaces are the same on samples that are multiples of each other.
    let network = Network::dense(2, &[6], 1, false, Activation::leaky_relu(0.1)).expect("widths");
    let x = [[1.0, 0.5], [2.0, 1.0], [-0.3, 0.8], [0.7, 0.35]];
    let (x, y) = (x.map(Vec::from), [0.3, -0.2, 0.5, 0.1].map(|y| vec![y]));
    let data = Data::from_rows(&x, &y).expect("rows");
    let theta: Vec<f64> = (0..network.n_parameters()).map(|k| ((k * 7 + 2) % 11) as f64 / 5.0 - 1.1).collect();
    let mut field = FlowField::new(network, &data);
    let batch = field.batch().clone();
    let contact = |unit: usize, sample: usize| Contact { switch: sample * 6 + unit, breakpoint: 0 };
    let every_unit: Vec<Contact> =
        (0..6).map(|unit| contact(unit, 0)).chain((0..3).map(|unit| contact(unit, 2))).collect();
    let cases = [
        ("two hits on one surface", vec![], vec![contact(1, 0), contact(1, 1)]),
        ("a hit on the surface of a slide", vec![contact(2, 3)], vec![contact(2, 0)]),
        ("nine hits", vec![], every_unit),
        ("nothing", vec![], vec![]),
    ];
    for (what, slides, mut hits) in cases {
        let mut mode = field.mode_from_values(&theta);
        slides.iter().for_each(|c| mode.hold(*c));
        hits.sort_unstable();
        let mut dy = vec![0.0; theta.len()];
        field.eval(&theta, &mode, &mut dy).expect("finite");
        let [mut got, mut want] = [theta.clone(), theta.clone()];
        field.project_last(&mut got, &mode, &hits).expect("finite");
        field.project(&mut want, &mode, &mode.contacts_with(&hits)).expect("finite");
        close(what, &got, &want, 1e-2);
        field.eval(&got, &mode, &mut dy).expect("finite");
        for c in hits.iter().chain(&slides) {
            let z = field.values()[c.switch];
            assert!(z.abs() < 1e-6, "{what}: {z:e} at {:?}", batch.locate(c.switch));
        }
    }
}

#[test]
fn a_field_may_be_sent_and_shared() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<FlowField>();
}

/// A first guess at what a switch does that reaches its breakpoint, against the field on the other side, where the guess is exact.
#[test]
fn what_is_pushed_back_is_foreseen_where_nothing_slides_above() {
    let (mut n_back, mut n_through) = (0, 0);
    for seed in 0..40 {
        let case = Case::random(&[3, 6, 5, 2], true, Activation::leaky_relu(0.1), 6, seed);
        let mut field = FlowField::new(case.network.clone(), &case.data);
        let batch = field.batch().clone();
        let mut mode = field.mode_from_values(&case.theta0);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..5 {
            mode.hold(Contact { switch: rng.random_range(0..batch.n_switches()), breakpoint: 0 });
        }
        let place = |switch: usize| (batch.locate(switch).0, batch.locate(switch).2);
        let is_exact = |hit: &Contact| {
            let (layer, sample) = place(hit.switch);
            mode.sliding().iter().all(|c| place(c.switch).1 != sample || place(c.switch).0 <= layer)
        };
        for hit in free_contacts(&mode, 1).filter(is_exact) {
            let hit = Contact { breakpoint: 0, ..hit };
            let (mut theta, mut dy) = (case.theta0.clone(), vec![0.0; case.theta0.len()]);
            for _ in 0..8 {
                field.eval(&theta, &mode, &mut dy).expect("finite");
                field.project_last(&mut theta, &mode, &[hit]).expect("finite");
            }
            if field.values()[hit.switch].abs() > 1e-12 {
                continue;
            }
            let mut rates = vec![0.0; batch.n_switches()];
            field.rates(&dy, &mut rates);
            let rate = rates[hit.switch];
            let side = mode.side(hit).expect("free");
            if side.sign() * rate > -1e-9 {
                continue;
            }
            let foreseen = field.is_pushed_back(hit, rate);
            let mut other = mode.clone();
            other.place(hit, side.opposite());
            field.eval(&theta, &other, &mut dy).expect("finite");
            field.rates(&dy, &mut rates);
            if rates[hit.switch].abs() > 1e-6 * rate.abs() {
                assert_eq!(
                    foreseen,
                    rate * rates[hit.switch] < 0.0,
                    "seed {seed}, {hit:?}: {rate} {}",
                    rates[hit.switch]
                );
                *(if foreseen { &mut n_back } else { &mut n_through }) += 1;
            }
        }
    }
    assert!(n_back > 100 && n_through > 100, "{n_back} pushed back, {n_through} not");
}

/// Two layers sliding on one sample multiply their slopes; rejection over random targets finds modes with admissible ones.
#[test]
fn slides_in_two_layers_of_one_sample_keep_their_gram_identity() {
    let mut n_admissible = 0;
    for seed in 0..300 {
        let case = Case::random(&[2, 4, 3, 2], true, Activation::abs(), 5, seed);
        let mut field = FlowField::new(case.network.clone(), &case.data);
        let mut mode = field.mode_from_values(&case.theta0);
        let batch = field.batch().clone();
        let sample = (seed % 5) as usize;
        for (layer, unit) in [(1, 1), (2, 2), (2, 0)] {
            let switch = batch.layer_range(layer).start + sample * batch.network().widths()[layer] + unit;
            mode.hold(Contact { switch, breakpoint: 0 });
        }
        check_sliding(&format!("seed {seed}"), &case, &case.theta0, &mode);
        let (mut dy, mut margins) = (vec![0.0; case.theta0.len()], Vec::new());
        field.eval(&case.theta0, &mode, &mut dy).expect("finite");
        field.margins(&mut margins);
        n_admissible += usize::from(margins.iter().all(|m| m.below * m.above > 0.0));
    }
    assert!(n_admissible >= 5, "only {n_admissible} modes with admissible slopes were checked");
}

#[test]
fn merged_duplicates_follow_the_unmerged_loss() {
    for (name, activation) in activations() {
        let mut case = Case::random(&[2, 4, 3, 2], true, activation, 6, 31);
        let (mut x, mut y) = case.rows();
        // Three copies of one input (one written with −0) and two of another, with conflicting labels.
        x.extend([x[1].clone(), x[4].clone(), x[1].clone(), vec![0.0, 0.5], vec![-0.0, 0.5]]);
        y.extend([vec![2.0, -1.0], vec![0.0, 3.0], vec![-0.5, 0.25], vec![1.0, 1.0], vec![-1.0, 2.0]]);
        case = Case::new(case.network, &x, &y, case.theta0);
        let theta: Vec<f64> = case.theta0.iter().map(|t| 2.0 * t).collect();
        let mut field = FlowField::new(case.network.clone(), &case.data);
        assert_eq!(field.data().n_samples, 7, "{name}");
        let mode = field.mode_from_values(&theta);
        let mut dy = vec![0.0; theta.len()];
        field.eval(&theta, &mode, &mut dy).expect("finite");
        let (loss, gradient) = common::naive::loss_and_gradient(&case.network, &theta, &x, &y);
        dy.iter_mut().for_each(|d| *d = -*d);
        close(&format!("{name}: ∇L"), &dy, &gradient, 1e-12);
        close(&format!("{name}: L"), &[field.sample(&dy).loss], &[loss], 1e-12);
        let residual = field.residual(case.data.y());
        let norm = residual.iter().map(|r| r * r).sum::<f64>().sqrt();
        close(&format!("{name}: ‖r‖"), &[norm], &[(2.0 * loss).sqrt()], 1e-12);
        let mut rng = ChaCha8Rng::seed_from_u64(37);
        for n_sliding in [1, 3, 4] {
            let mode = random_mode(field.batch(), n_sliding, &mut rng);
            check_sliding(&format!("{name} with duplicates, {n_sliding} sliding"), &case, &theta, &mode);
        }
    }
}

/// Γ of units with parallel gradients is singular; a ridge keeps the projection and its promise dy·∇z = 0.
#[test]
fn parallel_surfaces_are_held_together() {
    let network = Network::dense(2, &[3], 1, false, Activation::leaky_relu(0.1)).expect("widths");
    let x = [vec![0.3, 0.4], vec![0.6, 0.8], vec![-0.7, 0.2]];
    let theta0 = vec![0.4, -0.3, -0.2, 0.5, 0.1, 0.7, 1.0, -2.0, 0.5];
    let case = Case::new(network, &x, &[vec![1.0], vec![-0.5], vec![0.2]], theta0);
    let mut field = FlowField::new(case.network.clone(), &case.data);
    let mut mode = field.mode_from_values(&case.theta0);
    // Without biases, unit 0 has parallel surfaces on the parallel inputs 0 and 1.
    for switch in [0, 3] {
        mode.hold(Contact { switch, breakpoint: 0 });
    }
    let mut dy = vec![0.0; case.theta0.len()];
    field.eval(&case.theta0, &mode, &mut dy).expect("finite");
    let gradient = dy.iter().fold(0.0, |m: f64, d| m.max(d.abs()));
    for (e, x) in [(0, &x[0]), (3, &x[1])] {
        let rate = (dy[0] * x[0] + dy[1] * x[1]).abs() / gradient;
        // The ridge of 1e-13 leaves that share of the multiplier, times the square root of its rounding.
        assert!(rate < 1e-9, "switch {e} moves at {rate:e} of the gradient");
    }
    let mut system = SlideSystem::default();
    let mut pass = Forward::default();
    let batch = field.batch().clone();
    batch.forward(&case.theta0, mode.pieces(), &[], &mut pass);
    system.assemble(&batch, &case.theta0, &pass, [0, 3].into_iter());
    let mut columns = vec![1.0, 2.0];
    system.solve_columns(&mut columns);
    assert!(columns.iter().all(|c| c.is_finite() && c.abs() < 1e3), "Γ⁻¹ of a consistent side is {columns:?}");
}
