//! Inputs on which a flow is easily lost, in `cases/`: contacts that are not generic, dead units, starts on kinks, rest, starts of any size, and sizes that no
//! machine has room for. Each file says why it is here; expected values are closed forms, or those of gradient descent with steps small enough.

mod common;

use common::program::refused;
use gradflow::observe::EventCounts;
use gradflow::ode::StopReason;
use gradflow::scenario::Scenario;
use gradflow::simulate::{Simulated, simulate};
use std::path::PathBuf;

fn path(name: &str) -> String {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "cases"].iter().collect();
    folder.join(format!("{name}.ron")).to_string_lossy().into_owned()
}

/// Runs a case to its end.
#[track_caller]
fn run(name: &str) -> Simulated {
    let scenario = Scenario::load(&path(name), &[]).unwrap_or_else(|error| panic!("{error}"));
    let run = simulate(&scenario.problem, &scenario.plan, 2, &mut (), &|| false);
    assert!(run.outcome.reason.is_completion(), "{name} ends at t = {}: {}", run.outcome.t, run.outcome.reason);
    run
}

#[track_caller]
fn close(what: &str, value: f64, expected: f64, relative: f64) {
    assert!(
        (value - expected).abs() <= relative * expected.abs(),
        "{what} {value}, expected {expected} to {relative:e}"
    );
}

/// Runs a case to its end, where the loss has to be `expected` to a relative `tolerance`.
#[track_caller]
fn ends_with_loss(name: &str, expected: f64, tolerance: f64) {
    close("loss", run(name).observed.loss_final, expected, tolerance);
}

/// Runs a case until its stop rule, which has to be met at `expected`.
#[track_caller]
fn ends_at(name: &str, expected: f64, tolerance: f64) {
    close("t", run(name).outcome.t, expected, tolerance);
}

/// Crossings, slide entries and exits.
fn n_events(events: &EventCounts) -> u64 {
    events.crossing + events.slide_enter + events.slide_exit
}

#[test]
fn surfaces_of_opposite_inputs_slide_and_end_together() {
    ends_with_loss("antipodal-wrong", 0.7843639, 1e-5);
}

#[test]
fn opposite_inputs_in_two_layers_go_on() {
    run("antipodal-stop");
}

#[test]
fn a_unit_that_has_died_keeps_no_other_slide_from_ending() {
    ends_with_loss("dead-unit-1", 0.0138812, 1e-4);
}

#[test]
fn a_unit_that_dies_beside_a_slide_leaves_it_alone() {
    ends_with_loss("dead-unit-2", 0.16094, 1e-4);
}

#[test]
fn a_dead_unit_is_not_moved_by_a_residual_that_passes_zero() {
    ends_with_loss("dead-unit-residual", 0.0005821, 1e-3);
}

#[test]
fn a_plain_relu_network_learns_as_with_a_tiny_leak() {
    ends_with_loss("relu-20x4-seed-5", 0.00533, 0.02);
}

#[test]
fn another_plain_relu_network_learns() {
    run("relu-20x4-seed-11");
}

#[test]
fn a_sample_that_slides_in_two_layers_goes_on_as_with_a_tiny_leak() {
    ends_with_loss("two-layers-one-sample", 1.0324, 1e-3);
}

#[test]
fn a_start_without_first_order_rates_is_decided_by_the_next_derivatives() {
    ends_with_loss("start-on-kink-zero-rates", 0.0387546, 1e-5);
}

#[test]
fn a_start_that_both_sides_push_back_to_stays() {
    ends_with_loss("opposite-rays-rest", 2.305, 1e-9);
}

#[test]
fn switches_that_share_a_surface_go_on() {
    run("one-ray");
}

#[test]
fn xor_without_biases_goes_on_in_two_layers() {
    run("xor-deep");
}

#[test]
fn units_whose_rate_is_zero_by_structure_come_to_rest() {
    ends_with_loss("orthogonal-2x2", 0.6962, 1e-4);
}

#[test]
fn a_flow_at_rest_is_carried_to_its_horizon() {
    run("at-rest");
}

#[test]
fn the_time_of_escape_from_a_start_of_1e_9_is_that_of_the_closed_form() {
    ends_at("small-start-9", 20.723265837, 1e-5);
}

#[test]
fn the_time_of_escape_from_a_start_of_1e_12_is_that_of_the_closed_form() {
    ends_at("small-start-12", 27.631021116, 1e-5);
}

#[test]
fn rounding_of_a_large_time_violates_no_bound() {
    let bound = run("loose-atol-verdict").observed.bound;
    let verdicts = [bound.verdict.as_str(), bound.integral_verdict.as_str()];
    assert!(!verdicts.contains(&"violated"), "{verdicts:?}: {}", bound.reason);
}

#[test]
fn a_loss_that_can_fall_for_ever_is_followed_to_its_target() {
    let run = run("logistic-far");
    assert_eq!(run.outcome.reason, StopReason::Rule { name: "loss" });
}

#[test]
fn more_than_160_units_slide_in_one_layer() {
    let run = run("many-slides-one-layer");
    assert!(run.observed.events.max_sliding > 160, "at most {} slide at once", run.observed.events.max_sliding);
}

#[test]
fn a_flow_at_rest_above_zero_makes_no_events_of_rounding() {
    let run = run("rest-seed-2");
    assert_eq!(n_events(&run.observed.events), 20);
}

#[test]
fn a_gradient_far_below_its_start_is_not_taken_for_zero() {
    ends_at("large-start", 5.5833, 1e-3);
}

/// The program refuses the case with one fault, and says how much memory it would take.
#[track_caller]
fn is_refused(name: &str, field: &str, memory: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let message = refused(folder.path(), &["run", &path(name)]);
    let expected = format!("{field}: {memory}, the limit is 4 GiB");
    assert!(message.contains(&expected), "{message} instead of {expected}");
    assert!(message.contains("1 fault in the scenario") && !message.contains("panicked"), "{message}");
}

#[test]
fn samples_that_no_machine_has_room_for_are_refused() {
    is_refused("huge-samples", "data.samples", "the data would need 26822.09 GiB");
}

#[test]
fn layers_that_no_machine_has_room_for_are_refused() {
    is_refused("huge-width", "network.hidden[0]", "the network would need 113993.88 GiB");
}

#[test]
fn save_times_that_no_machine_has_room_for_are_refused() {
    is_refused("huge-saves", "save.count", "the saved states would need 1.0e6 GiB");
}
