//! How far a run can be trusted: each level is provoked, said first, and said in all three places; and that looking at a run does not alter it.

mod common;

use common::program::gradflow;
use common::{from_text, load};
use gradflow::flow::FlowField;
use gradflow::observe::{Accuracy, Allowed, Audit, Grounds, IdentityReport, Level, Monitor};
use gradflow::ode::{
    Contact, DenseOutput, Observer, Outcome, PiecewiseField, Point, Stats, StepView, StopReason, WrmsNorm, integrate,
};
use gradflow::scenario::{Method, Plan, Scenario, Track};
use gradflow::simulate::{Simulated, audit, field_of, simulate, stepper};
use gradflow::theory::Witness;
use serde_json::Value;
use std::fs;
use std::ops::ControlFlow;

fn run(scenario: &Scenario) -> Simulated {
    simulate(&scenario.problem, &scenario.plan, 1, &mut (), &|| false)
}

#[track_caller]
fn assert_level(accuracy: &Accuracy, level: Level, words: &[&str]) {
    let text = format!("{}; {:?}", accuracy.reason(), accuracy.hint());
    assert_eq!(accuracy.level(), level, "{text}");
    assert_eq!(accuracy.hint().is_some(), level != Level::Good, "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "no {word} in {text}"));
}

#[test]
fn runs_that_reach_what_their_tolerances_promise_are_good() {
    for name in ["one-neuron", "sliding-1d", "relu", "tanh", "deep-linear", "clarke-critical", "prelu"] {
        for rtol in ["flow.rtol=1e-5", "flow.rtol=1e-8", "flow.rtol=1e-11"] {
            let run = run(&load(name, &[rtol]));
            assert_level(&run.observed.accuracy, Level::Good, &["energy"]);
        }
    }
}

#[test]
fn an_atol_above_what_the_parameters_bear_is_doubtful_and_named() {
    // It shows in the identities of a start of ordinary size ...
    let coarse = run(&load("one-neuron", &["flow.rtol=1e-6", "flow.atol=1e-3"]));
    assert_level(&coarse.observed.accuracy, Level::Doubtful, &["energy", "conserved", "flow.atol="]);
    // ... and only in the size of the start where all digits are lost before the loss begins to fall.
    let text = |atol: &str| {
        format!(
            "(data: Inline(x: [[1.0]], y: [[1.0]]), network: Dense(hidden: [1], bias: false), activation: Identity, \
             initial: Inline([1e-12, 1e-12]), flow: (until: [Loss(0.125)], rtol: 1e-8, atol: {atol}))"
        )
    };
    // t = ½ln((1 − w₀²)/w₀²).
    let exact = 27.631_021_115_928_547;
    let lost = run(&from_text(&text("1e-10")));
    assert!((lost.outcome.t / exact - 1.0).abs() > 1e-3, "{} is as good as {exact}", lost.outcome.t);
    assert_level(&lost.observed.accuracy, Level::Doubtful, &["atol 1e-10 is 1.0e2", "flow.atol=1e-20"]);
    let kept = run(&from_text(&text("1e-20")));
    assert!((kept.outcome.t / exact - 1.0).abs() < 1e-6, "{} against {exact}", kept.outcome.t);
    assert_level(&kept.observed.accuracy, Level::Good, &[]);
}

#[test]
fn steps_are_right_about_where_they_go_whatever_the_tolerances_allow() {
    for tolerances in [["flow.rtol=1e-2", "flow.atol=1e-3"], ["flow.rtol=1e-1", "flow.atol=1e-1"]] {
        let run = run(&load("deep-linear", &tolerances));
        // A step is off by a hundredth of its way at most, and −L̇ = ‖θ̇‖².
        assert!(run.observed.identities.energy_defect < 0.02, "{:?}", run.observed.identities);
        assert_level(&run.observed.accuracy, Level::Good, &[]);
    }
}

fn identities() -> IdentityReport {
    IdentityReport {
        energy_defect: 1e-9,
        n_conserved: 1,
        no_law: None,
        conservation_drift: Some(1e-9),
        displacement_bound_ok: true,
        displacement_worst_ratio: 0.5,
        displacement: 1.0,
        allowed: Allowed { energy_by_rtol: 1e-6, energy: 1e-6, path: 1e-6 },
        drift_of_terms: 1e-9,
        drift_excess: 0.1,
        displacement_excess: 0.0,
    }
}

#[test]
fn every_ground_is_heard() {
    let judge = |change: &dyn Fn(&mut IdentityReport, &mut Grounds), level, word: &str| {
        let (mut report, healthy) = (identities(), identities());
        let norm = WrmsNorm { rtol: 1e-8, atol: 1e-10 };
        let mut grounds = Grounds {
            identities: &healthy,
            norm,
            layers: &[0.5, 0.0],
            noise_at_events: 1e-12,
            n_regularised: 0,
            reason: Some(&StopReason::Horizon),
        };
        change(&mut report, &mut grounds);
        let accuracy = Accuracy::judge(&Grounds { identities: &report, ..grounds });
        assert_level(&accuracy, level, &[word]);
    };
    judge(&|_, _| {}, Level::Good, "1.0e-9");
    judge(&|r, _| r.energy_defect = 2e-6, Level::Doubtful, "energy");
    judge(&|r, _| r.energy_defect = 0.2, Level::Broken, "energy");
    judge(&|r, _| r.energy_defect = f64::NAN, Level::Broken, "energy");
    // However much the tolerances would allow, half of the digits are not lost.
    judge(&|r, _| (r.energy_defect, r.allowed.energy_by_rtol) = (2e-4, 1.0), Level::Doubtful, "promises 1.0e-4");
    judge(&|r, _| (r.drift_of_terms, r.drift_excess) = (2e-8, 2.0), Level::Doubtful, "promises 1.0e-8");
    judge(&|r, _| r.drift_of_terms = 1e25, Level::Broken, "1.0e25");
    judge(&|r, _| (r.displacement_bound_ok, r.displacement_excess) = (false, 1e-3), Level::Broken, "θ went");
    // A bound that is missed by less than the errors of the run add up to says nothing.
    judge(&|r, _| (r.displacement_bound_ok, r.displacement_excess) = (false, 1e-7), Level::Good, "");
    judge(&|_, g| g.layers = &[0.5, 1e-7], Level::Doubtful, "flow.atol=1e-15");
    judge(&|_, g| g.noise_at_events = 1e-3, Level::Doubtful, "rounding");
    judge(&|_, g| g.n_regularised = 2, Level::Doubtful, "regularised: 2 times");
    let missed = StopReason::MissedEvent { contact: Contact { switch: 0, breakpoint: 0 }, distance: -1e-3 };
    let report = identities();
    let norm = WrmsNorm { rtol: 1e-8, atol: 1e-10 };
    let grounds = Grounds {
        identities: &report,
        norm,
        layers: &[1.0],
        noise_at_events: 0.0,
        n_regularised: 0,
        reason: Some(&missed),
    };
    assert_level(&Accuracy::judge(&grounds), Level::Broken, &["missed", "flow.rtol=1e-10"]);
    let good = Accuracy::judge(&Grounds { reason: None, ..grounds });
    assert_level(&good.clone().with_audit(100, 0, 1e-8), Level::Good, &["no event missed at 100 times"]);
    assert_level(&good.with_audit(100, 3, 1e-8), Level::Doubtful, &["3 of 100", "flow.rtol=1e-10"]);
}

#[test]
fn it_is_in_the_terminal_in_json_and_the_first_thing_on_the_page() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let coarse = ["run", "one-neuron", "--set", "flow.rtol=1e-6", "--set", "flow.atol=1e-3", "--out", "run"];
    let output = gradflow(folder.path(), &coarse);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let line = text.lines().nth(2).expect("three lines");
    assert!(line.starts_with("  accuracy       doubtful: the energy") && line.contains("(set flow.atol="), "{text}");
    let read = |name: &str| fs::read_to_string(folder.path().join("run").join(name)).expect("it was written");
    let summary: Value = serde_json::from_str(&read("summary.json")).expect("JSON");
    assert_eq!(summary["accuracy"]["verdict"], "doubtful");
    assert!(summary["accuracy"]["hint"].as_str().is_some_and(|hint| hint.starts_with("flow.atol=")), "{summary}");
    let page = read("report.html");
    let at = |what: &str| page.find(what).unwrap_or_else(|| panic!("no {what}"));
    assert!(at("</h1>") < at("id=\"accuracy\"") && at("id=\"accuracy\"") < at("class=\"lead\""));
    assert!(at("doubtful") < at("id=\"verdicts\""));
    // An audit is heard as well.
    let audited = gradflow(folder.path(), &["run", "sliding-1d", "--audit", "50", "--json", "--out", "audited"]);
    let summary: Value = serde_json::from_slice(&audited.stdout).expect("JSON");
    assert_eq!(summary["accuracy"]["verdict"], "good");
    assert!(summary["accuracy"]["reason"].as_str().is_some_and(|r| r.contains("no event missed at 50 times")));
}

/// A net on which `Auto` takes strides.
fn crowded() -> Scenario {
    let changes = ["ntk.track=false", "flow.rtol=1e-4", "flow.atol=1e-6", "flow.until=[Time(0.3)]"];
    load("quickstart", &changes)
}

/// Asks for everything that an observer may ask for.
struct Curious;

impl Observer<FlowField> for Curious {
    fn needs_dense(&self, _: f64, _: f64) -> bool {
        true
    }
    fn asks_at_events(&self) -> bool {
        true
    }
    fn step(&mut self, step: &StepView<'_, FlowField>) -> ControlFlow<()> {
        let mut y = step.end.y.to_vec();
        step.dense.at(0.5 * (step.t_start + step.end.t), &mut y);
        ControlFlow::Continue(())
    }
    fn needs_states(&self, _: f64, _: f64) -> bool {
        true
    }
}

fn alone(scenario: &Scenario, observer: &mut dyn Observer<FlowField>) -> Outcome {
    let plan = &scenario.plan;
    let norm = WrmsNorm { rtol: plan.rtol, atol: plan.atol.number() };
    let options = gradflow::ode::Options {
        t_end: plan.horizon().expect("a horizon"),
        norm,
        max_steps: 1_000_000,
        fixed_step: None,
        retake: false,
        strides: plan.method == Method::Auto,
    };
    let mut field = field_of(&scenario.problem, plan);
    let mut stepper = stepper(plan.method, norm, &mut field);
    integrate(&mut field, &mut *stepper, &scenario.problem.theta0, &options, &mut [], observer)
}

#[track_caller]
fn assert_same(a: &Outcome, b: &Outcome, what: &str) {
    let bits = |outcome: &Outcome| outcome.y.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!((a.t.to_bits(), bits(a)), (b.t.to_bits(), bits(b)), "{what}: another end");
    let counts = |s: &Stats| (s.steps, s.strides, s.rejected, s.rate_evaluations, s.single_values, s.method_switches);
    assert_eq!(counts(&a.stats), counts(&b.stats), "{what}: other steps");
    assert_eq!((&a.mode, &a.reason), (&b.mode, &b.reason), "{what}");
}

#[test]
fn observers_cannot_alter_a_run() {
    for scenario in [crowded(), load("relu", &["flow.until=[Time(2)]"]), load("stiff", &["flow.until=[Time(30)]"])] {
        let name = &scenario.problem.name;
        let field =
            || FlowField::with_loss(scenario.problem.network.clone(), &scenario.problem.data, scenario.problem.loss);
        let reference = alone(&scenario, &mut ());
        let t_end = reference.t;
        assert!(reference.reason.is_completion(), "{name}: {}", reference.reason);
        assert_same(&alone(&scenario, &mut Curious), &reference, &format!("{name}, asking for everything"));
        let n_targets = scenario.problem.data.n_targets();
        assert_same(&alone(&scenario, &mut Witness::new(field(), n_targets, false)), &reference, "witness");
        let norm = WrmsNorm { rtol: scenario.plan.rtol, atol: scenario.plan.atol.number() };
        let times: Vec<f64> = (0..200).map(|k| t_end * f64::from(k) / 200.0).collect();
        let mut audit = Audit::new(&field(), norm, times.clone());
        assert_same(&alone(&scenario, &mut audit), &reference, &format!("{name}, audited"));
        assert_eq!((audit.n_checked, audit.n_missed), (200, 0), "{name}");
        for saves in [Vec::new(), times] {
            let mut sink = ();
            let mut monitor =
                Monitor::new(&field(), n_targets, None, norm.rtol, Box::new(saves.into_iter()), &mut sink);
            assert_same(&alone(&scenario, &mut monitor), &reference, &format!("{name}, monitored"));
        }
        // The whole of what `simulate` watches with, however the spectrum is followed.
        for track in [Track::Off, Track::Adaptive, Track::EveryEvent, Track::Estimate] {
            let plan = Plan { track, ..scenario.plan.clone() };
            if n_targets > 40 && track == Track::EveryEvent {
                continue;
            }
            let watched = simulate(&scenario.problem, &plan, 1, &mut (), &|| false);
            assert_same(&watched.outcome, &reference, &format!("{name}, {track:?}"));
        }
    }
}

#[test]
fn an_audit_rides_along_on_the_same_run_and_looks_inside_strides() {
    let scenario = crowded();
    let first = run(&scenario);
    assert!(first.outcome.stats.strides >= 5, "{:?}", first.outcome.stats);
    let report = audit(&scenario.problem, &scenario.plan, &first, 2000);
    assert_same(&report.repeated, &first.outcome, "audited");
    assert_eq!((report.n_checked, report.n_missed), (2000, 0), "{report:?}");
    assert!(report.n_in_strides > 200, "{report:?}");
    // More times do not make it another run.
    assert_same(&audit(&scenario.problem, &scenario.plan, &first, 3).repeated, &first.outcome, "audited three times");
}

/// Stands still.
struct Frozen(Vec<f64>);

impl DenseOutput for Frozen {
    fn at(&self, _: f64, y: &mut [f64]) {
        y.copy_from_slice(&self.0);
    }
    fn dissipation(&self, _: f64) -> Option<f64> {
        None
    }
    fn detached(&self) -> Box<dyn DenseOutput + Send> {
        Box::new(Self(self.0.clone()))
    }
}

/// One unit z = w·1 with its kink at 0, in the piece above: inside strides z may be below by √P·rtol·|w| and atol, on ordinary steps by nothing.
#[test]
fn an_audit_finds_a_switch_on_the_wrong_side_by_more_than_its_tolerances_allow() {
    let scenario = from_text(
        "(data: Inline(x: [[1]], y: [[1]]), network: Dense(hidden: [1], bias: false), activation: LeakyRelu(0.1), \
         initial: Inline([0.5, 1.0]), flow: (until: [Time(1)]))",
    );
    let field = FlowField::new(scenario.problem.network.clone(), &scenario.problem.data);
    let mode = field.clone().mode_from_values(&[0.5, 1.0]);
    let norm = WrmsNorm { rtol: 1e-4, atol: 1e-3 };
    let missed = |w: f64, is_of_stride: bool| {
        let y = vec![w, 1.0];
        let mut audit = Audit::new(&field, norm, vec![0.5]);
        let stats = Stats::default();
        let end = Point { t: 1.0, y: &y, dy: &y, mode: &mode, field: &field, stats: &stats };
        let dense = Frozen(y.clone());
        let view =
            StepView { t_start: 0.0, length: 1.0, y_start: &y, end, dense: &dense, ends_at_event: false, is_of_stride };
        let _ = audit.step(&view);
        assert_eq!((audit.n_checked, audit.n_in_strides), (1, u64::from(is_of_stride)));
        audit.n_missed == 1
    };
    let allowed = 2f64.sqrt() * 1e-3;
    assert!(!missed(0.2, false) && !missed(0.2, true), "on its own side");
    assert!(missed(-1e-6, false), "located on the dense output itself");
    assert!(!missed(-0.9 * allowed, true), "no worse than the tolerance");
    assert!(missed(-1.1 * allowed, true), "beyond the tolerance");
}
