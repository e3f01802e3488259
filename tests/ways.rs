//! Surfaces that coincide: what is told of them does not hang on which of them is held, and where there are several ways on this is said.

mod common;

use common::{Kept, from_text};
use gradflow::ode::{BranchKind, EventKind};
use gradflow::scenario::Scenario;
use gradflow::simulate::{Simulated, simulate};

/// A small net to time `t` at a tolerance.
fn net(data: &str, network: &str, theta0: &str, t: f64, (method, rtol): (&str, f64)) -> Scenario {
    from_text(&format!(
        "(data: Inline({data}), {network}, initial: Inline([{theta0}]), flow: (until: [Time({t})], method: {method}, \
         rtol: {rtol:e}, max_steps: 5000), ntk: (track: false))"
    ))
}

fn run(scenario: &Scenario) -> (Simulated, Kept) {
    let mut kept = Kept::default();
    let simulated = simulate(&scenario.problem, &scenario.plan, 1, &mut kept, &|| false);
    assert!(simulated.outcome.reason.is_completion(), "{}", simulated.outcome.reason);
    (simulated, kept)
}

/// Kind, layer, unit, sample.
type Told = (EventKind, usize, usize, usize);

fn told(kept: &Kept) -> Vec<Told> {
    kept.events.iter().map(|e| (e.kind, e.place.layer, e.place.unit, e.place.sample)).collect()
}

#[test]
fn all_members_of_coinciding_surfaces_are_told_to_slide() {
    // Samples 4 to 7 are the opposites of 0 to 3, without biases: every surface of the first layer is there twice.
    let data = "x: [[1.976405161648682, -1.4900471340116745], [-0.6062006748679384, 1.3600293614187828], \
                [-0.1377132154888146, -1.3920320334648841], [1.6195175462349174, -0.4343814825911065], \
                [-1.976405161648682, 1.4900471340116745], [0.6062006748679384, -1.3600293614187828], \
                [0.1377132154888146, 1.3920320334648841], [-1.6195175462349174, 0.4343814825911065]], \
                y: [[-1.0], [-1.0], [1.0], [-1.0], [-1.0], [1.0], [1.0], [-1.0]]";
    let theta0 = "-0.15192966516079232, 0.6534938317257069, -0.3693779811273836, -0.4375786386808094, \
                  -0.10331025352563006, -0.5136050426071876, -0.012346382486444485, 0.1964009656079111, \
                  -0.3462134268035644, -0.5139614952037834";
    let network = "network: Dense(hidden: [2, 2], bias: false), activation: Relu";
    let found = |method, rtol| {
        let (_, kept) = run(&net(data, network, theta0, 3.0, (method, rtol)));
        let entries = kept.events.iter().filter(|e| e.kind == EventKind::SlideEnter).count();
        let exits = kept.events.iter().filter(|e| e.kind == EventKind::SlideExit).count();
        assert_eq!(kept.rows.last().expect("rows").sliding, entries - exits, "{method} at {rtol:e}");
        told(&kept)
    };
    let exact = found("Auto", 1e-10);
    let enters = |unit, sample| exact.contains(&(EventKind::SlideEnter, 1, unit, sample));
    assert!(enters(1, 2) && enters(1, 6), "{exact:?}");
    for (method, rtol) in [("Auto", 1e-6), ("Tsit5", 1e-8), ("Dop853", 1e-8), ("Esdirk54", 1e-8)] {
        let mut events = found(method, rtol);
        let mut expected = exact.clone();
        let key = |e: &Told| (e.1, e.2, e.3, e.0 as u8);
        events.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(events, expected, "{method} at {rtol:e}");
    }
}

#[test]
fn a_slide_into_the_point_where_all_kinks_meet_has_several_ways_on() {
    // One unit, its weights slide along one kink into the origin, where those of all other inputs lie as well.
    let data = "x: [[-1, -1], [-1, 0], [-1, 1], [-1, 2], [0, -1], [0, 0], [0, 1], [0, 2], [1, -1], [1, 0], [1, 1], [1, 2], \
                [2, -1], [2, 0], [2, 1], [2, 2]], y: [[-1.1], [-0.5], [-0.3], [1.0], [0.7], [0.3], [-0.2], [0.3], [-1.1], \
                [-0.4], [0.2], [0.8], [1.0], [0.2], [2.6], [-1.5]]";
    let network = "network: Dense(hidden: [1], bias: false), activation: Relu";
    let (run, _) = run(&net(data, network, "-0.2, 1.8, -2.0", 1.0, ("Tsit5", 1e-8)));
    let several: Vec<f64> =
        run.observed.branch_points.iter().filter(|b| b.kind == BranchKind::SeveralWays).map(|b| b.t).collect();
    assert_eq!(several.len(), 1, "{:?}", run.observed.branch_points);
    assert!((several[0] - 0.193).abs() < 1e-3, "{several:?}");
}

#[test]
fn a_start_on_kinks_goes_the_way_on_which_the_loss_falls_fastest() {
    let data = "x: [[-0.375, 0.5], [1.5, 1.125]], y: [[0.5770197262883966], [0.1535471590273114]]";
    let network = "network: Dense(hidden: [3, 3], bias: false), activation: Abs";
    let theta0 = "0, 0, 0, 0, 0, 0, -0.20877853705338945, -0.06533473896820896, 0.10236895141530822, \
                  -0.17076506754275467, -0.3311246409560481, 0.33361340658925087, 0.25296528908989735, \
                  0.09728454492015037, 0.18296064361336262, 0.3102127890993599, -0.2565728854844761, 0.08937618596901309";
    let (run, _) = run(&net(data, network, theta0, 10.0, ("Dop853", 1e-8)));
    assert!(run.observed.branch_points.iter().any(|b| b.kind == BranchKind::RepellingStart));
    // Descent from six starts off the kinks by 1e-9 to 1e-5, at two step sizes.
    let loss = run.observed.loss_final;
    assert!((loss - 8.85335e-2).abs() < 5e-5, "L = {loss:e}");
}

#[test]
fn a_unit_that_is_held_at_the_origin_does_not_shorten_steps() {
    // Its weights are exactly zero, and so would be the tolerance of their errors.
    let data = "x: [[0.0, -0.75], [0.0, 0.75]], y: [[-0.14963550945658152], [-2.919814999121206]]";
    let network = "network: Dense(hidden: [3], bias: false), activation: Relu";
    let theta0 = "0, 0, 0, 0, 0, 0, 0.2944011216517092, -0.26102327260706, -0.018697823652772727";
    for method in ["Tsit5", "Dop853", "Esdirk54"] {
        let (run, _) = run(&net(data, network, theta0, 20.0, (method, 1e-8)));
        let stats = run.outcome.stats;
        assert!(stats.steps + stats.rejected < 1000, "{method}: {} steps, {} rejected", stats.steps, stats.rejected);
    }
}

#[test]
fn a_first_layer_of_zeros_stays_where_descent_has_it() {
    // 2560 surfaces meet at the start, and all depend on each other. With the slope 0 at the kink nothing moves but the last bias: F = b, ḃ = −Σ(b − y_i).
    let (n_samples, width, n_inputs) = (40, 32, 8);
    let x: Vec<Vec<f64>> =
        (0..n_samples).map(|i| (0..n_inputs).map(|j| (1.0 + (i * n_inputs + j) as f64).sin()).collect()).collect();
    let y: Vec<Vec<f64>> = (0..n_samples).map(|i| vec![(i as f64).cos() + 0.5]).collect();
    let mut theta0 = vec![0.0; width * n_inputs + width];
    theta0.extend((0..width * width).map(|k| 0.25 * (1.7 * k as f64).sin()));
    theta0.extend(vec![0.0; width]);
    theta0.extend((0..width).map(|k| 0.25 * (0.3 + k as f64).cos()));
    theta0.push(0.0);
    let network = format!("network: Dense(hidden: [{width}, {width}]), activation: Relu");
    let start: Vec<String> = theta0.iter().map(|v| format!("{v:?}")).collect();
    let scenario = net(&format!("x: {x:?}, y: {y:?}"), &network, &start.join(", "), 0.05, ("Auto", 1e-8));
    let (simulated, _) = run(&scenario);
    let kinds: Vec<BranchKind> = simulated.observed.branch_points.iter().map(|b| b.kind).collect();
    assert!(kinds.contains(&BranchKind::RepellingStart), "{kinds:?}");
    let (theta, last) = (&simulated.outcome.y, theta0.len() - 1);
    assert_eq!(theta[..last], theta0[..last]);
    let mean = y.iter().map(|row| row[0]).sum::<f64>() / n_samples as f64;
    let expected = mean * (1.0 - (-(n_samples as f64) * 0.05).exp());
    assert!((theta[last] - expected).abs() < 1e-7 * expected.abs(), "{} against {expected}", theta[last]);
}
