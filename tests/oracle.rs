//! Flows of dense, residual and graph networks with answers known to 21 digits or more (`tests/oracle/*.json`): θ, loss, event times, kinds and places, λ_min on both
//! sides of events and λ₀ must agree. How those answers were made is said in `tests/oracle/README.md`.

mod common;

use common::{Case, Watched, options, run_tracked};
use gradflow::data::Data;
use gradflow::net::architecture::{Graph, GraphForm, NodeBias, Readout, graph_network, residual};
use gradflow::net::{Activation, Network, PiecewisePolynomial, Smooth};
use gradflow::observe::RowSide;
use gradflow::ode::{EventKind, Side};
use serde_json::Value;

/// Each method with its relative tolerance (that of low order with room for what a saddle makes of its errors), how far θ, the loss and event times may be off
/// then, and how close to a graze an event may be that is not there: next to one depth is time squared, so that a tolerance is its root there.
const METHODS: [(&str, f64, f64, f64); 8] = [
    ("Tsit5", 1e-11, 1e-7, 1e-6),
    ("DormandPrince54", 1e-11, 1e-7, 1e-6),
    ("Dop853", 1e-11, 1e-7, 1e-6),
    ("BogackiShampine32", 1e-9, 1e-6, 3e-5),
    ("Auto", 1e-11, 1e-7, 1e-6),
    ("Esdirk54", 1e-11, 1e-7, 1e-6),
    ("Rock4", 1e-11, 1e-7, 1e-6),
    ("Rkc2", 1e-11, 1e-5, 1e-6),
];
const LAMBDA_TOL: f64 = 1e-6;

fn number(v: &Value) -> f64 {
    v.as_str().map_or_else(|| v.as_f64().unwrap(), |s| s.parse().unwrap())
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(number).collect()
}

fn rows(v: &Value) -> Vec<Vec<f64>> {
    v.as_array().unwrap().iter().map(numbers).collect()
}

fn activation(v: &Value) -> Activation {
    match v["kind"].as_str().unwrap() {
        "prelu" => Activation::Prelu,
        "softplus" => Activation::Smooth(Smooth::Softplus),
        "tanh_id" => Activation::Smooth(Smooth::TanhPlusIdentity),
        _ => Activation::Piecewise(PiecewisePolynomial::new(numbers(&v["breakpoints"]), rows(&v["pieces"])).unwrap()),
    }
}

fn case(v: &Value) -> (Case, f64) {
    let p = &v["problem"];
    let layers: Vec<usize> =
        p["arch"]["layers"].as_array().unwrap().iter().map(|w| w.as_u64().unwrap() as usize).collect();
    let (n_in, hidden, n_out) = (layers[0], &layers[1..layers.len() - 1], layers[layers.len() - 1]);
    let bias = p["bias"].as_bool().unwrap_or(true);
    let activation = activation(&p["activation"]);
    // One row per sample; graphs are a level deeper.
    let flat =
        |v: &Value| -> Vec<Vec<f64>> { v.as_array().unwrap().iter().map(|graph| rows(graph).concat()).collect() };
    let (network, x, y) = match p["arch"]["type"].as_str().unwrap() {
        "gcn" => {
            let graph = Graph::new(rows(&p["arch"]["adjacency"])).unwrap();
            let exponent = if p["arch"]["exponent"] == "1/2" { 0.5 } else { -0.5 };
            let (form, bias) = (GraphForm::Kipf { exponent }, NodeBias::PerNode);
            let built = graph_network(&[graph], n_in, hidden, n_out, form, bias, Readout::Nodes, activation);
            (built.unwrap(), flat(&p["x"]), flat(&p["y"]))
        }
        "resnet" => {
            let built = residual(n_in, n_out, layers.len() - 1, bias, activation);
            (built.unwrap(), rows(&p["x"]), rows(&p["y"]))
        }
        _ => (Network::dense(n_in, hidden, n_out, bias, activation).unwrap(), rows(&p["x"]), rows(&p["y"])),
    };
    let data = Data::from_rows(&x, &y).unwrap();
    (Case { network, data, theta0: numbers(&p["theta0"]) }, number(&p["T"]))
}

/// Faults of a run against one branch of the expected answers, with tolerances as in [`METHODS`].
fn compare_flow(run: &Watched, expected: &Value, whole: &Value, (tol, graze): (f64, f64)) -> Vec<String> {
    let mut faults = Vec::new();
    for (k, (got, want)) in run.outcome.y.iter().zip(numbers(&expected["theta_T"])).enumerate() {
        if (got - want).abs() > tol * want.abs().max(1.0) {
            faults.push(format!("θ[{k}] = {got}, expected {want}"));
        }
    }
    let (got, want) = (run.observed.loss_final, number(&expected["loss_T"]));
    if (got - want).abs() > tol * want.abs().max(1.0) {
        faults.push(format!("loss {got}, expected {want}"));
    }
    let Some(events) = expected["events"].as_array() else { return faults };
    // "A dying unit" may be called crossing or slide entry.
    let synonym = whole["tolerances"]["kind_synonyms"].is_array();
    let kind_of = |k: EventKind| match k {
        EventKind::Crossing => "crossing",
        EventKind::SlideEnter if synonym => "crossing",
        EventKind::SlideEnter => "slide_enter",
        EventKind::SlideExit => "slide_exit",
        EventKind::Graze => "graze",
    };
    let n_nodes = whole["problem"]["arch"]["m"].as_u64().unwrap_or(1) as usize;
    let is_at = |v: &Value, layer: usize, unit: usize, sample: usize| {
        let get = |k: &str| v[k].as_u64().unwrap() as usize;
        // Nodes of graphs are samples of their own.
        let of_graph = v["node"].as_u64().map_or(get("sample"), |node| get("sample") * n_nodes + node as usize);
        (get("layer"), get("unit"), of_graph) == (layer, unit, sample)
    };
    let mut left: Vec<_> = run.kept.events.iter().filter(|e| e.kind != EventKind::Graze).collect();
    for event in events {
        let t = number(&event["t"]);
        let direction = if event["direction"] == "up" { Side::Above } else { Side::Below };
        let at = left.iter().position(|e| {
            is_at(event, e.place.layer, e.place.unit, e.place.sample)
                && kind_of(e.kind) == event["kind"].as_str().unwrap()
                && e.direction == direction
                && (e.t - t).abs() <= tol * t.max(1.0)
        });
        match at {
            Some(at) => drop(left.remove(at)),
            None => faults.push(format!("missing event {event}")),
        }
    }
    for e in left {
        let excused = |list: &Value, window: f64| {
            list.as_array().is_some_and(|list| {
                list.iter().any(|g| {
                    is_at(g, e.place.layer, e.place.unit, e.place.sample) && (number(&g["t"]) - e.t).abs() < window
                })
            })
        };
        if !excused(&whole["expected"]["grazes"], graze) && !excused(&whole["expected"]["start"], 1e-9) {
            faults.push(format!("unexpected event {e:?}"));
        }
    }
    faults
}

/// Faults in λ_min at the times listed, both sides, effective (Filippov) slopes in slides; and in λ₀.
fn compare_spectrum(run: &Watched, expected: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let listed = expected["lambda_min"].as_array().unwrap();
    let largest = listed.iter().map(|l| number(&l["value"]).abs()).fold(1e-300, f64::max);
    let mut n_matched = 0;
    for row in &run.kept.rows {
        let side = match row.side {
            RowSide::Smooth => "",
            RowSide::Before => "-",
            RowSide::After => "+",
        };
        let got = row.lambda_min.expect("tracked");
        let matching: Vec<f64> = listed
            .iter()
            .filter(|l| {
                let (l_side, select) = (l["side"].as_str().unwrap_or(""), l["select"].as_str().unwrap_or(""));
                (number(&l["t"]) - row.t).abs() <= 1e-7 * row.t.max(1.0)
                    && (side.is_empty() || l_side.is_empty() || l_side == side)
                    && (select.is_empty() || select == "filippov")
            })
            .map(|l| number(&l["value"]))
            .collect();
        if matching.is_empty() {
            continue;
        }
        n_matched += 1;
        let error = |want: &f64| (got - want).abs() / want.abs().max(1e-3 * largest);
        if matching.iter().map(error).fold(f64::INFINITY, f64::min) > LAMBDA_TOL {
            faults.push(format!("λ_min at t = {}{side} is {got}, expected one of {matching:?}", row.t));
        }
    }
    if n_matched == 0 {
        faults.push("no λ_min was compared".into());
    }
    let want = number(&expected["lambda0"]["value"]);
    let got = run.observed.lambda0.expect("tracked").value;
    if (got - want).abs() > LAMBDA_TOL * want.abs().max(1e-6) {
        faults.push(format!("λ₀ = {got}, expected {want}"));
    }
    faults
}

/// All cases by one method, with the spectrum or without.
fn check((method, rtol, tol, graze): (&str, f64, f64, f64), track_ntk: bool) {
    let mut n_cases = 0;
    let mut failures = Vec::new();
    let mut paths: Vec<_> = std::fs::read_dir("tests/oracle").unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "json")) {
        let whole: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let (case, t_end) = case(&whole);
        let expected = &whole["expected"];
        let mut saves: Vec<f64> =
            expected["checkpoints"].as_array().map_or(Vec::new(), |c| c.iter().map(|c| number(&c["t"])).collect());
        saves.push(t_end);
        let run = run_tracked(&case, method, options(t_end, rtol), &mut [], &saves, track_ntk);
        let mut faults = compare_flow(&run, expected, &whole, (tol, graze));
        if faults.is_empty() && track_ntk {
            faults = compare_spectrum(&run, expected);
        } else if let Some(branches) = expected["alternatives"].as_array().filter(|b| !b.is_empty())
            && branches.iter().any(|b| compare_flow(&run, b, &whole, (tol, graze)).is_empty())
        {
            faults.clear();
        }
        n_cases += 1;
        if !faults.is_empty() {
            failures.push(format!("{}: {}\n  {}", path.display(), run.outcome.reason, faults.join("\n  ")));
        }
    }
    assert_eq!(n_cases, 27);
    let n_failures = failures.len();
    assert!(failures.is_empty(), "{method}: {n_failures} of {n_cases} cases fail:\n{}", failures.join("\n"));
}

#[test]
fn every_case_agrees_with_its_trusted_answer() {
    check(METHODS[0], true);
}

#[test]
fn every_method_agrees_with_them() {
    METHODS[1..].iter().for_each(|method| check(*method, false));
}
