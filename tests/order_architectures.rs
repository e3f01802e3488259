//! Fixed steps keep their order through kinks and slides of every architecture, and methods of different orders see the same events.
//!
//! Nothing is picked: tiny nets of every architecture with seeds 0 to 7, over a horizon that takes most of them through several events.
//! The slope of log error against log step over twelve step counts is that of BogackiShampine32 within 0.5; measured are 2.97 to 3.30. The
//! error is that of θ at the end, against Dop853 at 1e-13 with steps taken anew at events.

mod common;

use common::plain::Plain;
use common::{Case, Watched, narrow_pieces, options, relative_distance, run_tracked};
use gradflow::net::Activation;
use gradflow::net::architecture::{Block, ConvStage, GraphForm, NodeBias, Readout, SiameseHead, Upsampling};
use gradflow::net::init::{Sampler, sample, standard_normal};
use gradflow::ode::{EventKind, Options};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

const T_END: f64 = 1.0;

/// Networks and numbers of samples.
fn nets() -> Vec<(&'static str, Plain, usize)> {
    let path: Vec<Vec<f64>> =
        (0..4).map(|i: usize| (0..4).map(|j| if i.abs_diff(j) == 1 { 1.0 } else { 0.0 }).collect()).collect();
    let graph = |form, bias| Plain::Graph {
        adjacency: vec![path.clone()],
        widths: vec![2, 3, 1],
        form,
        bias,
        readout: Readout::Nodes,
    };
    let stage = |channels, kernel, groups| ConvStage::Conv {
        channels,
        kernel: vec![kernel],
        stride: vec![1],
        padding: vec![1],
        groups,
    };
    let unet =
        |up| Plain::UNet { shape: vec![1, 4], channels: vec![2, 2], kernel: vec![3], up, n_images: 1, bias: true };
    let siamese = |head| Plain::Siamese { widths: vec![2, 4], n_outputs: 1, head, bias: true };
    vec![
        ("dense", Plain::Dense { widths: vec![2, 4, 3, 1], bias: true }, 6),
        ("residual", Plain::Residual { width: 3, layers: 3, bias: true }, 5),
        ("polynomial", Plain::Polynomial { widths: vec![2, 4, 1], bias: true }, 6),
        ("Siamese, squares", siamese(SiameseHead::SquaredDifference), 5),
        ("Siamese, bilinear", siamese(SiameseHead::Bilinear), 5),
        ("graph convolution", graph(GraphForm::Kipf { exponent: -0.5 }, NodeBias::PerNode), 2),
        ("Chebyshev", graph(GraphForm::Chebyshev { order: 3 }, NodeBias::Shared), 2),
        ("Morris", graph(GraphForm::Morris, NodeBias::Shared), 2),
        (
            "convolution",
            Plain::Conv {
                shape: vec![2, 3, 3],
                stages: vec![stage(4, 3, 2), ConvStage::AvgPool { kernel: vec![2], stride: vec![1] }],
                hidden: vec![3],
                n_outputs: 1,
                bias: true,
            },
            3,
        ),
        (
            "convolutional residual",
            Plain::ConvResidual {
                shape: vec![1, 4],
                channels: 2,
                kernel: vec![3],
                blocks: 2,
                n_outputs: 1,
                bias: true,
            },
            4,
        ),
        (
            "MobileNet",
            Plain::MobileNet {
                shape: vec![2, 3, 3],
                blocks: vec![Block { channels: 3, kernel: vec![3], stride: vec![2] }],
                hidden: vec![],
                n_outputs: 1,
                bias: true,
            },
            4,
        ),
        ("U-Net, repeated", unet(Upsampling::Nearest), 2),
        ("U-Net, transposed", unet(Upsampling::Transposed), 2),
    ]
}

/// Four nets with leaky ReLU, two with learned slopes, two with two kinks and a cubic between them.
fn case(plain: &Plain, n_samples: usize, seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let activation = match seed {
        0..4 => Activation::leaky_relu(0.1),
        4..6 => Activation::Prelu,
        _ => narrow_pieces(),
    };
    let network = plain.build(activation);
    let x = standard_normal(n_samples, plain.n_inputs(), &mut rng);
    let y = standard_normal(n_samples, plain.n_outputs(), &mut rng);
    let theta0 = sample(&network, Sampler::KaimingUniform, 0.25, &mut rng);
    Case::new(network, &x, &y, theta0)
}

fn run(case: &Case, method: &str, options: Options) -> Watched {
    let run = run_tracked(case, method, options, &mut [], &[], false);
    assert!(run.outcome.reason.is_completion(), "{method}: {}", run.outcome.reason);
    run
}

fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let (xy, xx) = points.iter().fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + (x - mx) * (y - my), xx + (x - mx).powi(2)));
    xy / xx
}

#[test]
fn the_third_order_shows_through_kinks_and_slides_of_every_architecture() {
    let mut failures = Vec::new();
    for (name, plain, n_samples) in nets() {
        let (mut n_events, mut n_slides, mut orders) = (0, 0, Vec::new());
        for seed in 0..8 {
            let case = case(&plain, n_samples, seed);
            let reference = run(&case, "Dop853", Options { retake: true, ..options(T_END, 1e-13) });
            let events = &reference.kept.events;
            n_events += events.len();
            n_slides += events.iter().filter(|e| e.kind == EventKind::SlideEnter).count();
            let counts = (0..12).map(|k| (100.0 * 1.2_f64.powi(k)) as u32);
            let points: Vec<(f64, f64)> = counts
                .map(|n| {
                    let h = T_END / f64::from(n);
                    let fixed =
                        run(&case, "BogackiShampine32", Options { fixed_step: Some(h), ..options(T_END, 1e-8) });
                    let seen = fixed.kept.events.len();
                    assert_eq!(seen, events.len(), "{name}, seed {seed}: {n} steps see other events");
                    (h.ln(), relative_distance(&fixed.outcome.y, &reference.outcome.y, 1.0).ln())
                })
                .collect();
            let fitted = slope(&points);
            orders.push(format!("{fitted:.2}"));
            if (fitted - 3.0).abs() > 0.5 {
                failures.push(format!("{name}, seed {seed}: order {fitted:.2} over {points:?}"));
            }
        }
        println!("{name}: {n_events} events, {n_slides} slides, orders {}", orders.join(" "));
        assert!(n_events >= 8 && n_slides >= 2, "{name}: {n_events} events, {n_slides} slides");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn methods_of_order_five_and_eight_see_the_same_events_of_every_architecture() {
    for (name, plain, n_samples) in nets() {
        for seed in 0..8 {
            let case = case(&plain, n_samples, seed);
            let [fifth, eighth] =
                ["Tsit5", "Dop853"].map(|method| run(&case, method, options(T_END, 1e-9)).kept.events);
            assert_eq!(fifth.len(), eighth.len(), "{name}, seed {seed}");
            for (a, b) in fifth.iter().zip(&eighth) {
                let same = (a.kind, a.place, a.breakpoint, a.direction) == (b.kind, b.place, b.breakpoint, b.direction);
                // A hundred times the tolerance in z, over rates that are not much below one.
                assert!(same && (a.t - b.t).abs() < 1e-6, "{name}, seed {seed}: {a:?} against {b:?}");
            }
        }
    }
}
