//! Pre-activations that are one function of θ at several places: image backgrounds, twin nodes, equal pairs.

mod common;

use common::Kept;
use gradflow::flow::FlowField;
use gradflow::ode::{EventKind, PiecewiseField};
use gradflow::scenario::{Folder, Problem, Scenario, Source};
use gradflow::simulate::{audit, simulate};
use std::path::PathBuf;

/// Three signals with zeros around what they show.
const BACKGROUND: &str =
    "data: Inline(x: [[0,0,0,0,1,0.5,0,0,0,0], [0,0,0.3,-1,0,0,0,0,0,0], [0,0,0,0,0,0,0.7,0.7,0,0]],
    y: [[1], [-1], [0.5]]), network: Conv(shape: [1, 10], layers: [Conv(channels: 4, kernel: [3], padding: [1]),
    Conv(channels: 4, kernel: [3])])";

/// Nodes 0 and 1 have the same neighbours and the same features, and biases are shared.
const TWINS: &str =
    "data: Inline(x: [[[0.5, -1], [0.5, -1], [0.8, 0.3], [-0.6, 0.9]]], y: [[[1], [-0.5], [0.4], [0]]]),
    network: GraphConv(hidden: [6, 5], adjacency: Inline([[0,1,1,0], [1,0,1,0], [1,1,0,1], [0,0,1,0]]), bias: Shared)";

/// Both inputs of the first pair are equal.
const EQUAL_PAIR: &str =
    "data: Inline(x: [[0.4, -0.7, 0.4, -0.7], [1, 0.2, -0.3, 0.5], [0.1, 0.9, -0.8, -0.2]], y: [[0], [1], [2]]),
    network: Siamese(hidden: [5, 4], head: SquaredDifference)";

fn scenario(problem: &str, seed: u64, method: &str, rtol: f64, t_end: f64) -> Scenario {
    let text = format!(
        "(seed: {seed}, {problem}, activation: LeakyRelu(0.1),
          flow: (until: [Time({t_end})], method: {method}, rtol: {rtol}, atol: 1e-12))"
    );
    Scenario::from_source(Source::new("test.ron", text), &Folder::Disk(PathBuf::new()), &[])
        .unwrap_or_else(|error| panic!("{error}"))
}

type Events = Vec<(EventKind, usize, usize, usize)>;

fn run(scenario: &Scenario) -> (Vec<f64>, Events) {
    let mut kept = Kept::default();
    let run = simulate(&scenario.problem, &scenario.plan, 1, &mut kept, &|| false);
    assert!(run.outcome.reason.is_completion(), "{}", run.outcome.reason);
    assert_eq!(audit(&scenario.problem, &scenario.plan, &run, 200).n_missed, 0);
    let events = kept.events.iter().map(|e| (e.kind, e.place.layer, e.place.unit, e.place.sample)).collect();
    (run.outcome.y, events)
}

fn field(problem: &Problem) -> FlowField {
    FlowField::with_loss(problem.network.clone(), &problem.data, problem.loss)
}

#[test]
fn coinciding_places_share_a_switch_and_no_others_do() {
    // Layer 1 of the signals: of 30 windows of three pixels, 000 001 01h 1h0 h00 | 00a 0ab ab0 b00 | 00c 0cc cc0 c00 are distinct. Of the
    // graph, the twins read the same, and the other two nodes do not. Of the pairs, five inputs are distinct.
    for (problem, expected_first) in [(BACKGROUND, Some(13 * 4)), (TWINS, Some(3 * 6)), (EQUAL_PAIR, Some(5 * 5))] {
        let problem = scenario(problem, 1, "Tsit5", 1e-8, 1.0).problem;
        let mut field = field(&problem);
        let switches = field.switches().clone();
        let range = field.batch().layer_range(1);
        let of_first: std::collections::BTreeSet<usize> = range.map(|place| switches.switch_of(place)).collect();
        assert_eq!(Some(of_first.len()), expected_first);
        // At two random θ: equal values within a switch; different ones, at one of the two at least, between switches of a layer.
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); field.batch().n_switches()];
        for k in 0..2 {
            let theta: Vec<f64> = (0..field.dim()).map(|i| (1.3 * i as f64 + 0.7 + f64::from(k)).sin()).collect();
            let mode = field.mode_from_values(&theta);
            let mut dy = vec![0.0; field.dim()];
            field.eval(&theta, &mode, &mut dy).expect("finite");
            values.iter_mut().zip(&field.forward().1.z).for_each(|(v, z)| v.push(*z));
        }
        for i in 0..values.len() {
            for j in 0..i {
                let largest = values[i].iter().zip(&values[j]).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
                let (one, other) = (switches.switch_of(i), switches.switch_of(j));
                assert_eq!(one == other, largest < 1e-13, "places {i} and {j} differ by {largest:e}");
            }
        }
    }
}

#[test]
fn tolerances_and_methods_agree_about_events_and_end() {
    for (problem, seeds, t_end) in
        [(BACKGROUND, &[3, 10, 12, 17, 20][..], 2.0), (TWINS, &[1, 2, 3][..], 4.0), (EQUAL_PAIR, &[1, 2, 3][..], 4.0)]
    {
        let mut n_slides = 0;
        for &seed in seeds {
            let (theta, events) = run(&scenario(problem, seed, "Tsit5", 1e-8, t_end));
            n_slides += events.iter().filter(|e| e.0 == EventKind::SlideEnter).count();
            for (method, rtol) in [("Tsit5", 1e-10), ("Dop853", 1e-9), ("DiffsolEsdirk34", 1e-9)] {
                let (other, others) = run(&scenario(problem, seed, method, rtol, t_end));
                assert_eq!(events, others, "seed {seed}, {method} at {rtol:e}");
                let distance = common::relative_distance(&other, &theta, 1.0);
                assert!(distance < 3e-7, "seed {seed}, {method} at {rtol:e}: {distance:e}");
            }
        }
        assert!(n_slides >= 3, "{n_slides} slides");
    }
}

#[test]
fn gradient_descent_with_tiny_steps_goes_the_same_way() {
    for (problem, seed) in [(BACKGROUND, 20), (TWINS, 1), (EQUAL_PAIR, 2)] {
        let t_end = 1.0;
        let scenario = scenario(problem, seed, "Tsit5", 1e-11, t_end);
        let (theta, _) = run(&scenario);
        // No events, no sliding: at every step the side on which each pre-activation happens to be.
        let mut distances = Vec::new();
        for n in [2_000, 60_000] {
            let mut field = field(&scenario.problem);
            let mut y = scenario.problem.theta0.clone();
            let mut dy = vec![0.0; y.len()];
            for _ in 0..n {
                let mode = field.mode_from_values(&y);
                field.eval(&y, &mode, &mut dy).expect("finite");
                y.iter_mut().zip(&dy).for_each(|(y, d)| *y += t_end / f64::from(n) * d);
            }
            distances.push(common::relative_distance(&y, &theta, 1.0));
        }
        assert!(distances[1] < 1e-3 && distances[1] < 0.3 * distances[0], "seed {seed}: {distances:?}");
    }
}
