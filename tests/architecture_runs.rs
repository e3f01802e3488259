//! A short run of every architecture from a scenario text: it starts as typed, meets kinks and slides, and its identities hold.
//!
//! Energy and conservation defects are global errors: hardly amplified here, they stay below one tolerance per step.

mod common;

use common::Kept;
use gradflow::scenario::{Folder, Scenario, Source};
use gradflow::simulate::{audit, simulate};

const RTOL: f64 = 1e-8;

/// Times at which every surface is looked at again.
const N_AUDITED: usize = 400;

struct Run {
    name: &'static str,
    network: &'static str,
    data: &'static str,
    /// Quantities that are conserved.
    n_conserved: usize,
}

const GRAPHS: &str = "Inline(x: [[[0.3, -1.2], [1.1, 0.4], [-0.6, 0.9], [0.2, 0.5]], [[-0.9, 0.1], [0.7, -0.3], [0.5, 1.3], [-1.4, 0.6]]], \
    y: [[[0.5], [-1.0], [0.3], [1.2]], [[-0.2], [0.8], [-1.1], [0.4]]])";
const READ_GRAPHS: &str = "Inline(x: [[[0.3, -1.2], [1.1, 0.4], [-0.6, 0.9], [0.2, 0.5]], [[-0.9, 0.1], [0.7, -0.3], [0.5, 1.3], [-1.4, 0.6]]], \
    y: [[0.5, -1.0], [1.2, 0.7]])";

const RUNS: &[Run] = &[
    Run {
        name: "dense",
        network: "Dense(hidden: [6, 5])",
        data: "Ball(samples: 8, inputs: 3, outputs: 2)",
        n_conserved: 11,
    },
    Run {
        name: "residual",
        network: "Residual(layers: 4)",
        data: "Ball(samples: 6, inputs: 3, outputs: 3)",
        n_conserved: 0,
    },
    Run {
        name: "polynomial",
        network: "Polynomial(hidden: [6])",
        data: "Ball(samples: 8, inputs: 2, outputs: 1)",
        n_conserved: 6,
    },
    Run {
        name: "Siamese, squares",
        network: "Siamese(hidden: [5, 4], head: SquaredDifference)",
        data: "Ball(samples: 8, inputs: 6, outputs: 1)",
        n_conserved: 9,
    },
    Run {
        name: "Siamese, bilinear",
        network: "Siamese(hidden: [5], head: Bilinear)",
        data: "Ball(samples: 8, inputs: 4, outputs: 2)",
        n_conserved: 5,
    },
    Run {
        name: "graph convolution",
        network: "GraphConv(hidden: [5, 4], adjacency: Knn(2), readout: Mean)",
        data: READ_GRAPHS,
        n_conserved: 9,
    },
    Run {
        name: "Chebyshev",
        network: "Chebyshev(hidden: [5], order: 3, adjacency: Inline([[0, 1, 0, 1], [1, 0, 2, 0], [0, 2, 0, 0], [1, 0, 0, 0]]))",
        data: GRAPHS,
        n_conserved: 5,
    },
    Run {
        name: "Morris",
        network: "GraphConvMorris(hidden: [5], adjacency: Knn(1), bias: PerNode)",
        data: GRAPHS,
        n_conserved: 5,
    },
    Run {
        name: "convolution",
        network: "Conv(shape: [2, 5, 4], layers: [Conv(channels: 4, kernel: [3], padding: [1], groups: 2), AvgPool(kernel: [2])], hidden: [3])",
        data: "Ball(samples: 4, inputs: 40, outputs: 1)",
        n_conserved: 7,
    },
    Run {
        name: "convolutional residual",
        network: "ConvResidual(shape: [1, 6], channels: 3, blocks: 2)",
        data: "Ball(samples: 5, inputs: 6, outputs: 1)",
        n_conserved: 3,
    },
    Run {
        name: "MobileNet",
        network: "MobileNet(shape: [2, 4, 4], blocks: [(channels: 4, stride: [2]), (channels: 3)])",
        data: "Ball(samples: 5, inputs: 32, outputs: 2)",
        n_conserved: 13,
    },
    Run {
        name: "U-Net, repeated",
        network: "UNet(shape: [1, 4, 2], channels: [2, 3], up: Nearest)",
        data: "Ball(samples: 3, inputs: 8, outputs: 16)",
        n_conserved: 7,
    },
    Run {
        name: "U-Net, transposed",
        network: "UNet(shape: [1, 8], channels: [2, 3], up: Transposed)",
        data: "Ball(samples: 4, inputs: 8, outputs: 8)",
        n_conserved: 9,
    },
];

/// Runs with an activation; `is_homogeneous` says whether laws are to be expected. Returns the numbers of events and of slides.
fn check(run: &Run, activation: &str, seed: u64, is_homogeneous: bool) -> (u64, u64) {
    let Run { name, network, data, n_conserved } = run;
    let text = format!(
        "(seed: {seed}, data: {data}, network: {network}, activation: {activation}, flow: (until: [Time(2)], rtol: {RTOL:e}, atol: 1e-10))"
    );
    let what = format!("{name}, {activation}, seed {seed}");
    let folder = Folder::Disk(std::path::PathBuf::new());
    let scenario =
        Scenario::from_source(Source::new(*name, text), &folder, &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut kept = Kept::default();
    let (problem, plan) = (&scenario.problem, &scenario.plan);
    let simulated = simulate(problem, plan, 1, &mut kept, &|| false);
    assert!(simulated.outcome.reason.is_completion(), "{what}: {}", simulated.outcome.reason);
    let observed = &simulated.observed;
    assert!(observed.loss_final < observed.loss_initial, "{what}: {observed:?}");
    let identities = observed.identities;
    let defect = RTOL * simulated.step_times.len() as f64;
    assert!(identities.energy_defect <= defect, "{what}: {identities:?}");
    assert!(identities.displacement_bound_ok, "{what}: {identities:?}");
    let n_conserved = if is_homogeneous { *n_conserved } else { 0 };
    assert_eq!(identities.n_conserved, n_conserved, "{what}");
    match identities.conservation_drift {
        Some(drift) => assert!(n_conserved > 0 && drift <= defect, "{what}: {identities:?}"),
        None => assert_eq!(n_conserved, 0, "{what}: {identities:?}"),
    }
    let audited = audit(problem, plan, &simulated, N_AUDITED);
    assert_eq!((audited.n_checked, audited.n_missed), (N_AUDITED as u64, 0), "{what}: {audited:?}");
    println!(
        "{what}: {} steps, {} events, {} slides, energy {:.1e}, drift {:.1e}",
        simulated.step_times.len(),
        kept.events.len(),
        observed.events.slide_enter,
        identities.energy_defect,
        identities.conservation_drift.unwrap_or(f64::NAN)
    );
    (kept.events.len() as u64, observed.events.slide_enter)
}

#[test]
fn identities_hold_on_runs_of_every_architecture() {
    let mut n_slides = 0;
    for run in RUNS {
        let mut n_events = 0;
        for activation in ["LeakyRelu(0.1)", "Relu", "Prelu(0.25)"] {
            for seed in 0..3 {
                let (events, slides) = check(run, activation, seed, true);
                n_events += events;
                n_slides += slides;
            }
        }
        assert!(n_events >= 9, "{}: {n_events} events", run.name);
    }
    assert!(n_slides >= 50, "{n_slides} slides");
}

#[test]
fn no_architecture_claims_conservation_without_homogeneity() {
    for run in RUNS {
        for activation in
            ["Tanh", "PiecewisePolynomial(breakpoints: [-0.25, 0.25], pieces: [[0, 0.1], [0, 0, 0, 1.6], [-0.225, 1]])"]
        {
            check(run, activation, 5, false);
        }
    }
}
