//! Networks from scenario texts have the outputs, losses and gradients that PyTorch and PyTorch Geometric compute
//! (`tests/external/reference.json`, see the README there).
//!
//! Each case agrees to 1e-12 of its largest entry: sums of a few hundred terms in either program's order round by about 1e-14.

mod common;

use common::relative_distance;
use gradflow::flow::FlowField;
use gradflow::ode::PiecewiseField;
use gradflow::scenario::{Folder, Scenario, Source};
use serde_json::Value;

const TOL: f64 = 1e-12;

fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().expect("a number")],
    }
}

/// The scenario of a case. Lists are written alike in RON and JSON; samples are one row each but for graphs.
fn text(case: &Value) -> String {
    let string = |key: &str| case[key].as_str().expect("a string");
    let rows = |key: &str| {
        let rows: Vec<Vec<f64>> = case[key].as_array().expect("samples").iter().map(flat).collect();
        format!("{rows:?}")
    };
    let (network, activation) = (string("network"), string("activation"));
    let (x, y) = if network.starts_with("GraphConv") || network.starts_with("Chebyshev") {
        (case["x"].to_string(), case["y"].to_string())
    } else {
        (rows("x"), rows("y"))
    };
    let theta = case["theta"].to_string();
    format!(
        "(data: Inline(x: {x}, y: {y}), network: {network}, activation: {activation}, initial: Inline({theta}), \
         flow: (until: [Time(1)]))"
    )
}

#[test]
fn outputs_losses_and_gradients_are_those_of_pytorch() {
    let reference: Value = serde_json::from_str(include_str!("external/reference.json")).expect("JSON");
    let cases = reference["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 22);
    let mut faults = Vec::new();
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        let folder = Folder::Disk(std::path::PathBuf::new());
        let scenario = Scenario::from_source(Source::new(name, text(case)), &folder, &[])
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (problem, theta) = (scenario.problem, flat(&case["theta"]));
        assert_eq!(problem.theta0, theta, "{name}");
        let mut field = FlowField::new(problem.network.clone(), &problem.data);
        let mode = field.mode_from_values(&theta);
        let mut dy = vec![0.0; theta.len()];
        field.eval(&theta, &mode, &mut dy).expect("finite");
        let outputs = &field.forward().1.f;
        let order = problem.network.output_order();
        let m = problem.network.n_outputs();
        let mut f = vec![0.0; outputs.len()];
        for (k, &output) in outputs.iter().enumerate() {
            f[k / m * m + order.map_or(k % m, |order| order[k % m])] = output;
        }
        let gradient: Vec<f64> = dy.iter().map(|d| -d).collect();
        let parts = [
            ("f", f, flat(&case["f"])),
            ("loss", vec![field.sample(&dy).loss], flat(&case["loss"])),
            ("gradient", gradient, flat(&case["gradient"])),
        ];
        for (part, got, want) in parts {
            assert_eq!(got.len(), want.len(), "{name}: {part}");
            let distance = relative_distance(&got, &want, 1e-300);
            println!("{name}: {part} {distance:.1e}");
            if distance > TOL {
                faults.push(format!("{name}: {part} differs by {distance:e}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
