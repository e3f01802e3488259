//! Every kind of bad scenario is refused with what is wrong, where, what was expected and found, and a hint; all
//! faults of a file come at once, and the program ends with code 2 and an empty stdout.

use assert_cmd::Command;
use gradflow::scenario::{Folder, Scenario, ScenarioError, Source};
use std::path::Path;

/// The lines of a right scenario, one section each.
const RIGHT: [(&str, &str); 5] = [
    ("data", "data: Inline(x: [[1, 0], [0, 1]], y: [[1], [2]]),"),
    ("network", "network: Dense(hidden: [2]),"),
    ("activation", "activation: Relu,"),
    ("flow", "flow: (until: [Time(1)]),"),
    ("other", ""),
];

fn right(section: &str) -> &'static str {
    RIGHT.iter().find(|(name, _)| *name == section).expect("one of the sections").1
}

/// A right scenario with one line replaced (or added, if the section is not there).
fn with(section: &str, text: &str) -> String {
    let lines = RIGHT.map(|(name, line)| if name == section { text } else { line });
    format!("(\n{}\n)\n", lines.join("\n"))
}

fn faults_in(text: &str, folder: &Path) -> String {
    let source = Source::new("bad.ron", text);
    match Scenario::from_source(source, &Folder::Disk(folder.to_path_buf()), &[]) {
        Ok(_) => panic!("this was accepted:\n{text}"),
        Err(error @ ScenarioError::Faults(_)) => error.to_string(),
        Err(error) => panic!("expected faults of the text, found {error}"),
    }
}

fn faults(text: &str) -> String {
    faults_in(text, Path::new("."))
}

/// The one section is wrong, and this is the whole message.
#[track_caller]
fn expect(section: &str, text: &str, message: &str) {
    assert_eq!(faults(&with(section, text)), message, "{text}");
}

#[test]
fn the_right_scenario_of_these_tests_is_right() {
    let source = Source::new("right.ron", with("", ""));
    assert!(Scenario::from_source(source, &Folder::Embedded, &[]).is_ok());
}

#[test]
fn an_unknown_field_is_placed_and_the_nearest_one_named() {
    expect(
        "flow",
        "flow: (until: [Time(1)], rtoll: 1e-8),",
        "bad.ron:5:26: flow.rtoll: unknown field `rtoll`, expected one of `until`, `method`, `rtol`, `atol`, \
         `max_steps`\n  hint: did you mean `rtol`?",
    );
}

#[test]
fn an_unknown_variant_is_placed_and_the_nearest_one_named() {
    let message = faults(&with("flow", "flow: (until: [Time(1)], method: Tsit),"));
    assert!(message.starts_with("bad.ron:5:34: flow.method: unknown variant `Tsit`, expected one of `Auto`"));
    assert!(message.ends_with("hint: did you mean `Tsit5`?"), "{message}");
    expect(
        "network",
        "network: Residul(layers: 2),",
        "bad.ron:3:10: network: unknown variant `Residul`, expected one of `Dense`, `Residual`, `GraphConv`, `Chebyshev`, \
         `GraphConvMorris`, `Conv`, `ConvResidual`, `UNet`, `MobileNet`, `Siamese`, `Polynomial`\n  \
         hint: did you mean `Residual`?",
    );
}

#[test]
fn a_wrong_type_says_what_was_expected_and_found() {
    expect("other", "seed: -1,", "bad.ron:6:7: seed: expected an integer of at least 0, found `-1`");
    expect("other", "seed: 1.5,", "bad.ron:6:7: seed: expected an integer of at least 0, found `1.5`");
    expect("other", "name: 3,", "bad.ron:6:7: name: expected a string in double quotes, found `3`");
    expect("other", "ntk: (track: 1),", "bad.ron:6:14: ntk.track: expected a name, found `1`");
    expect(
        "other",
        "ntk: (track: Sometimes),",
        "bad.ron:6:14: ntk.track: unknown variant `Sometimes`, expected one of `Adaptive`, `true`, `EveryEvent`, `Estimate`, `false`",
    );
    expect("other", "initial: Positive(1),", "bad.ron:6:10: initial: expected 2 values, found `Positive(1)`");
    expect(
        "activation",
        "activation: LeakyRelu,",
        "bad.ron:4:13: activation: expected a value in (..) behind the name, found `LeakyRelu`",
    );
    expect(
        "activation",
        "activation: LeakyRelu(\"a\"),",
        "bad.ron:4:23: activation[0]: expected a number, found `\"a\"`",
    );
    expect(
        "activation",
        "activation: LeakyRelu(1, 2),",
        "bad.ron:4:26: activation[1]: expected no further value, found `2`",
    );
    expect(
        "network",
        "network: Dense(hidden: [-3]),",
        "bad.ron:3:25: network.hidden[0]: expected an integer of at least 0, found `-3`",
    );
    expect("network", "network: Dense(hidden: 3),", "bad.ron:3:24: network.hidden: expected a list in [..], found `3`");
    expect(
        "data",
        "data: Ball(2, 2, 1),",
        "bad.ron:2:7: data: expected fields with their names, as in `(name: value)`, found `Ball(2, 2, 1)`",
    );
}

#[test]
fn a_name_is_expected_where_there_are_choices() {
    expect("flow", "flow: (until: [1]),", "bad.ron:5:16: flow.until[0]: expected a name, found `1`");
    expect(
        "flow",
        "flow: (1, 2),",
        "bad.ron:5:7: flow: expected fields with their names, as in `(name: value)`, found `(1, 2)`",
    );
}

#[test]
fn all_missing_fields_and_sections_are_named() {
    expect("data", "data: Ball(samples: 3),", "bad.ron:2:7: data: missing fields: `inputs`, `outputs`");
    expect("other", "descent: [(step: 0.1)],", "bad.ron:6:11: descent[0]: missing field: `steps`");
    assert_eq!(faults("(seed: 1)"), "bad.ron:1:1: missing fields: `data`, `network`, `activation`");
}

#[test]
fn a_field_given_twice_is_refused() {
    expect("other", "seed: 1, seed: 2,", "bad.ron:6:10: seed: field `seed` is given twice");
}

#[test]
fn broken_syntax_is_placed() {
    assert_eq!(
        faults("(\n  seed: 1\n  name: \"a\"\n)"),
        "bad.ron:3:3: syntax error: expected `,` or `)`, found `name:`"
    );
    assert_eq!(faults("(flow: (until: [Time(1)),\n)"), "bad.ron:1:24: syntax error: expected `,` or `]`, found `),`");
}

#[test]
fn empty_data_are_refused() {
    expect(
        "data",
        "data: Ball(samples: 0, inputs: 0, outputs: 0),",
        "bad.ron:2:21: data.samples: expected at least 1, found 0\n\
         bad.ron:2:32: data.inputs: expected at least 1, found 0\n\
         bad.ron:2:44: data.outputs: expected at least 1, found 0",
    );
    expect(
        "data",
        "data: Inline(x: [], y: [[]]),",
        "bad.ron:2:17: data.x: expected at least one row, found none\n\
         bad.ron:2:24: data.y: expected as many rows as x, which has 0, found 1\n\
         bad.ron:2:25: data.y[0]: expected at least one value, found none",
    );
}

#[test]
fn a_width_of_zero_is_refused() {
    expect(
        "network",
        "network: Dense(hidden: [3, 0]),",
        "bad.ron:3:28: network.hidden[1]: expected at least 1 unit, found 0",
    );
}

#[test]
fn a_discontinuous_activation_names_the_breakpoint_and_the_jump() {
    expect(
        "activation",
        "activation: PiecewisePolynomial(breakpoints: [0, 1], pieces: [[0], [0, 1], [0.5, 1]]),",
        "bad.ron:4:50: activation.breakpoints[1]: not continuous at breakpoint 1: 1 from the left, 1.5 from the right \
         (jump 5e-1)\n  hint: coefficients are low order first; neighbouring pieces must agree at their breakpoint",
    );
}

#[test]
fn breakpoints_must_increase_and_match_the_pieces() {
    expect(
        "activation",
        "activation: PiecewisePolynomial(breakpoints: [1, 0], pieces: [[0], [0], [0]]),",
        "bad.ron:4:50: activation.breakpoints[1]: breakpoints must increase strictly, but breakpoint 1 is 0 after 1",
    );
    expect(
        "activation",
        "activation: PiecewisePolynomial(breakpoints: [0], pieces: [[0]]),",
        "bad.ron:4:59: activation.pieces: 1 breakpoints need 2 pieces, found 1",
    );
}

#[test]
fn theta_of_the_wrong_length_names_p() {
    // P = 2·2 + 2 + 2·1 + 1.
    expect(
        "other",
        "initial: Inline([1, 2, 3]),",
        "bad.ron:6:10: initial: expected P = 9 parameters, found 3\n  \
         hint: layer by layer W row-major (out × in), then b, then the layer's slope if Prelu",
    );
}

#[test]
fn tolerances_and_stops_out_of_range_are_refused() {
    expect(
        "flow",
        "flow: (until: [Time(-1), Loss(0), LossRatio(2), GradientNorm(NaN)], rtol: 0, atol: -1, max_steps: 0),",
        "bad.ron:5:21: flow.until[0][0]: expected a positive number, found -1\n\
         bad.ron:5:31: flow.until[1][0]: expected a positive number, found 0\n\
         bad.ron:5:45: flow.until[2][0]: expected a fraction of the initial loss between 0 and 1, found 2\n\
         bad.ron:5:62: flow.until[3][0]: expected a positive number, found NaN\n\
         bad.ron:5:75: flow.rtol: expected a positive number, found 0\n\
         bad.ron:5:84: flow.atol: expected `Auto` or a number of at least 0, found -1\n\
         bad.ron:5:99: flow.max_steps: expected at least 1, found 0",
    );
    for atol in ["Automatic", "\"x\""] {
        expect(
            "flow",
            &format!("flow: (atol: {atol}),"),
            &format!("bad.ron:5:14: flow.atol: expected a number or `Auto`, found `{atol}`"),
        );
    }
    expect(
        "flow",
        "flow: (until: []),",
        "bad.ron:5:15: flow.until: expected at least one stop, found none\n  hint: for example until: [Time(10.0)]",
    );
}

#[test]
fn values_that_are_not_finite_are_refused_wherever_they_stand() {
    expect(
        "activation",
        "activation: LeakyRelu(NaN),",
        "bad.ron:4:23: activation[0]: expected a finite number, found NaN",
    );
    expect(
        "data",
        "data: Inline(x: [[1, inf], [0, 1]], y: [[NaN], [2]]),",
        "bad.ron:2:22: data.x[0][1]: expected a finite number, found inf\n\
         bad.ron:2:42: data.y[0][0]: expected a finite number, found NaN",
    );
    expect("other", "initial: Normal(inf),", "bad.ron:6:17: initial[0]: expected a number of at least 0, found inf");
    expect(
        "other",
        "ntk: (memory_limit_gib: NaN),",
        "bad.ron:6:25: ntk.memory_limit_gib: expected a positive number, found NaN",
    );
}

#[test]
fn memory_is_asked_for_where_gram_matrices_are() {
    let load = |hidden: usize| {
        let overrides = [
            "data=Ball(samples: 20000, inputs: 2, outputs: 2)".to_owned(),
            format!("network=Dense(hidden: [{hidden}], bias: true)"),
            "ntk.track=EveryEvent".to_owned(),
            // The values of 8,000 units on 20,000 samples take a few GiB themselves.
            "memory_limit_gib=16".to_owned(),
        ];
        Scenario::load("quickstart", &overrides)
    };
    // 22 parameters for 40,000 targets: λ_min = 0, and its zero is looked at through a 22 × 22 matrix.
    assert!(load(4).is_ok());
    let refused = load(8000).expect_err("40,002 parameters, and four matrices of 12 GiB").to_string();
    assert!(refused.contains("40000"), "{refused}");
}

#[test]
fn ragged_rows_are_named() {
    expect(
        "data",
        "data: Inline(x: [[1, 0], [0]], y: [[1], [2], [3]]),",
        "bad.ron:2:26: data.x[1]: expected 2 values as in the first row, found 1\n\
         bad.ron:2:35: data.y: expected as many rows as x, which has 2, found 3",
    );
}

#[test]
fn a_missing_data_file_is_named() {
    let message = faults(&with("data", "data: Npy(x: \"nowhere-x.npy\", y: \"nowhere-y.npy\"),"));
    assert!(message.contains("bad.ron:2:14: data.x: cannot read `nowhere-x.npy`: "), "{message}");
    assert!(message.contains("bad.ron:2:34: data.y: cannot read `nowhere-y.npy`: "), "{message}");
    assert!(message.contains("hint: paths are relative to the scenario's folder"), "{message}");
}

#[test]
fn csv_faults_name_column_line_and_cell() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("d.csv"), "width,height\n1,2\n3,tall\n").expect("it can be written to");
    let csv = |inputs: &str| {
        let section = format!("data: Csv(path: \"d.csv\", inputs: [\"{inputs}\"], outputs: [\"height\"]),");
        faults_in(&with("data", &section), folder.path())
    };
    let cell = "bad.ron:2:17: data.path: d.csv:3, column 2 (`height`): expected a finite number, found `tall`";
    assert_eq!(csv("width"), cell);
    assert_eq!(
        csv("widht"),
        format!(
            "{cell}\nbad.ron:2:35: data.inputs[0]: `d.csv` has no column `widht`, expected one of `width`, `height`\n  \
             hint: did you mean `width`?"
        )
    );
}

#[test]
fn a_file_that_is_no_array_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("t.npy"), "not an array").expect("it can be written to");
    let message = faults_in(&with("other", "initial: Npy(\"t.npy\"),"), folder.path());
    assert!(message.starts_with("bad.ron:6:14: initial[0]: cannot read `t.npy`: "), "{message}");
}

#[test]
fn save_times_must_be_one_kind_in_order_and_have_a_horizon() {
    expect(
        "other",
        "save: (times: [-1, 3, 2], every: 0),",
        "bad.ron:6:7: save: expected one of `times`, `every`, `count`, `log`, found times and every\n\
         bad.ron:6:16: save.times[0]: expected a time of at least 0, found -1\n\
         bad.ron:6:23: save.times[2]: expected a time after 3, found 2\n\
         bad.ron:6:34: save.every: expected a positive number, found 0",
    );
    let text = with("flow", "flow: (until: [Loss(1)]), save: (log: 5),");
    assert_eq!(
        faults(&text),
        "bad.ron:5:39: save.log: `log` divides the time horizon, but `flow.until` has no `Time(..)`\n  \
         hint: add Time(..) to flow.until, or use `times` or `every`"
    );
}

#[test]
fn negative_step_sizes_are_refused() {
    expect(
        "other",
        "descent: [(step: -0.1, steps: 0)],",
        "bad.ron:6:18: descent[0].step: expected a positive number, found -0.1\n\
         bad.ron:6:31: descent[0].steps: expected at least 1, found 0",
    );
}

#[test]
fn an_array_whose_header_claims_more_than_its_file_holds_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for shape in ["(99999999999, 2)", "(1000000000000000000, 0)", "(2, 8589934592, 8589934592)", "(3,)"] {
        let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(1f64.to_le_bytes());
        std::fs::write(folder.path().join("t.npy"), bytes).expect("it can be written to");
        let message = faults_in(&with("other", "initial: Npy(\"t.npy\"),"), folder.path());
        assert!(message.starts_with("bad.ron:6:14: initial[0]: cannot read `t.npy`: "), "{shape}: {message}");
    }
}

/// A scenario in which sizes lead to more memory than there is is refused with one fault, at the field that needs most.
#[track_caller]
fn expect_too_large(text: &str, place: &str) {
    let message = faults(text);
    assert!(message.contains(&format!(" {place}: ")) && message.contains(" would need "), "{text}{message}");
    assert!(message.contains("GiB, the limit is 4 GiB\n  hint: "), "{message}");
    assert_eq!(message.lines().count(), 2, "{message}");
}

#[test]
fn sizes_of_data_that_no_machine_has_room_for_are_refused() {
    for [samples, inputs, outputs, place] in [
        ["99999999999", "2", "1", "data.samples"],
        ["2", "99999999999", "1", "data.inputs"],
        ["2", "1", "99999999999", "data.outputs"],
        // Products that leave the range of integers.
        ["18446744073709551615", "18446744073709551615", "18446744073709551615", "data.outputs"],
        ["100000", "4294967296", "1", "data.inputs"],
    ] {
        let data = format!("data: Ball(samples: {samples}, inputs: {inputs}, outputs: {outputs}),");
        expect_too_large(&with("data", &data), place);
    }
}

#[test]
fn networks_that_no_machine_has_room_for_are_refused() {
    let plain = [
        ("Dense(hidden: [99999999999])", "network.hidden[0]"),
        ("Dense(hidden: [2, 18446744073709551615, 3])", "network.hidden[1]"),
        ("Dense(hidden: [100000, 100000])", "network.hidden[1]"),
        ("Dense(hidden: [4294967296, 4294967296])", "network.hidden[1]"),
        ("Polynomial(hidden: [100000, 2])", "network.hidden[0]"),
        ("Siamese(hidden: [99999999999], head: SquaredDifference)", "network.hidden[0]"),
        ("Siamese(hidden: [100000], head: Bilinear)", "network.hidden[0]"),
        ("Chebyshev(hidden: [2], order: 99999999999, adjacency: Knn(1))", "network.order"),
        ("GraphConv(hidden: [99999999999], adjacency: Knn(1))", "network.hidden[0]"),
        ("GraphConvMorris(hidden: [2, 18446744073709551615], adjacency: Knn(1))", "network.hidden[1]"),
        ("Conv(shape: [1, 2], layers: [Conv(channels: 99999999999, kernel: [1])])", "network.layers[0]"),
        ("Conv(shape: [1, 2], layers: [Conv(channels: 1, kernel: [18446744073709551615])])", "network.layers[0]"),
        (
            "Conv(shape: [1, 2], layers: [Conv(channels: 1, kernel: [9223372036854775807], padding: [9223372036854775806])])",
            "network.layers[0]",
        ),
        ("Conv(shape: [1, 2], layers: [], hidden: [99999999999])", "network.hidden[0]"),
        ("ConvResidual(shape: [1, 2], channels: 99999999999, blocks: 1)", "network.channels"),
        ("ConvResidual(shape: [1, 2], channels: 1, blocks: 99999999999)", "network.blocks"),
        ("ConvResidual(shape: [1, 2], channels: 1, kernel: [18446744073709551615], blocks: 0)", "network.kernel"),
        ("UNet(shape: [1, 2], channels: [99999999999], up: Nearest)", "network.channels[0]"),
        ("UNet(shape: [1, 2], channels: [1, 99999999999], up: Transposed)", "network.channels[1]"),
        ("MobileNet(shape: [1, 2], blocks: [(channels: 99999999999)])", "network.blocks[0]"),
        ("MobileNet(shape: [1, 2], blocks: [(channels: 1)], hidden: [99999999999])", "network.hidden[0]"),
    ];
    for (network, place) in plain {
        let text = with("network", &format!("network: {network},"));
        // As many targets as inputs, for images.
        let text =
            if network.starts_with("UNet") { text.replace("y: [[1], [2]]", "y: [[1, 2], [2, 1]]") } else { text };
        expect_too_large(&text, place);
    }
    let square = with("network", "network: Residual(layers: 99999999999),");
    expect_too_large(&square.replace("y: [[1], [2]]", "y: [[1, 2], [2, 1]]"), "network.layers");
    // A graph of 100,000 nodes has an adjacency matrix of 75 GiB.
    let graph = with("network", "network: GraphConv(hidden: [2], adjacency: Knn(1)),");
    let many = "data: Ball(samples: 100000, inputs: 2, outputs: 1),";
    expect_too_large(&graph.replace(right("data"), many), "data");
    let matrices = with("flow", "flow: (until: [Time(1)], method: Esdirk54), ntk: (track: false),");
    expect_too_large(&matrices.replace(right("data"), many), "flow.method");
}

#[test]
fn records_that_no_machine_has_room_for_are_refused() {
    for (save, place) in [
        ("count: 10000000000000", "save.count"),
        ("log: 18446744073709551615", "save.log"),
        ("every: 1e-9", "save.every"),
        ("every: 1e-300", "save.every"),
    ] {
        expect_too_large(&with("other", &format!("save: ({save}),")), place);
    }
    // A horizon that is only there in case the loss does not fall says nothing about how often θ is saved.
    let text = with("other", "save: (every: 0.01),").replace("[Time(1)]", "[LossRatio(1e-4), Time(1e9)]");
    assert!(Scenario::from_source(Source::new("often.ron", text), &Folder::Embedded, &[]).is_ok());
    let every = with("other", "descent: [(step: 1e-3, steps: 18446744073709551615, every: 1)],");
    expect_too_large(&every, "descent[0].every");
    let thinned = every.replace(", every: 1", "");
    assert!(Scenario::from_source(Source::new("long.ron", thinned), &Folder::Embedded, &[]).is_ok());
}

#[test]
fn the_limit_of_memory_can_be_raised_within_reason() {
    let wide = with("network", "network: Dense(hidden: [5000, 5000]),")
        .replace("activation", "ntk: (track: false), activation");
    expect_too_large(&wide, "network.hidden[1]");
    let raised = wide.replace("activation", "memory_limit_gib: 6, activation");
    assert!(Scenario::from_source(Source::new("wide.ron", raised), &Folder::Embedded, &[]).is_ok());
    expect(
        "other",
        "memory_limit_gib: 1e30,",
        "bad.ron:6:19: memory_limit_gib: expected a positive number of at most 1048576, found 1000000000000000000000000000000",
    );
}

#[test]
fn too_much_memory_for_the_gram_matrix_is_refused_with_estimate_and_limit() {
    // 20,735 parameters: with fewer than targets no such matrix is needed.
    let text = with("data", "data: Ball(samples: 4000, inputs: 2, outputs: 5),").replace("[2])", "[150, 130])");
    let message = faults(&text);
    // Three 20000 × 20000 matrices of 8 bytes are 8.94 GiB, seeds and activations 0.11 GiB.
    let expected = "bad.ron:2:7: data: the Gram matrix of 20000 targets needs 12.03 GiB, the limit is 4 GiB\n  \
                    hint: estimate it without a matrix by ntk: (track: Estimate), leave it out by (track: false), or raise memory_limit_gib there";
    assert_eq!(message, expected);
    let untracked = text.replace("activation", "ntk: (track: false), activation");
    assert!(Scenario::from_source(Source::new("big.ron", untracked), &Folder::Embedded, &[]).is_ok());
}

#[test]
fn all_faults_of_a_file_come_at_once_without_those_that_only_follow() {
    let text = "(
    seed: -1,
    data: Ball(samples: \"a\", inputs: 0, outputs: 1),
    network: Dense(hidden: [32, 0, 2.5], bias: none),
    activation: LeakyRelu(\"a\"),
    flow: (untl: [Time(1)], rtol: 0),
    save: (count: -5),
    colour: 3,
)";
    let places: Vec<String> = faults(text)
        .lines()
        .filter(|l| !l.contains("hint"))
        .map(|l| l.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "bad.ron:2:11 seed",
        "bad.ron:3:25 data.samples",
        "bad.ron:3:38 data.inputs",
        "bad.ron:4:33 network.hidden[1]",
        "bad.ron:4:36 network.hidden[2]",
        "bad.ron:4:48 network.bias",
        "bad.ron:5:27 activation[0]",
        "bad.ron:6:12 flow.untl",
        "bad.ron:6:35 flow.rtol",
        "bad.ron:7:19 save.count",
        "bad.ron:8:5 colour",
    ];
    assert_eq!(places, expected);
}

/// Data, network, and every message: with its place where it starts with one, else from the path on.
type Case = (&'static str, &'static str, &'static [&'static str]);

#[track_caller]
fn expect_all(cases: &[Case]) {
    for (data, network, messages) in cases {
        let text = with("network", network).replacen(right("data"), data, 1);
        let found = faults(&text);
        let mut rest = found.as_str();
        for (k, message) in messages.iter().enumerate() {
            let start = rest.strip_prefix("bad.ron:").unwrap_or_else(|| panic!("{network}\n{found}"));
            // The place, unless the message says it.
            let told = start.find(message).filter(|at| start[..*at].chars().all(|c| " :0123456789".contains(c)));
            let at = told.unwrap_or_else(|| panic!("{network}\nexpected {message}\nfound {found}"));
            rest = start[at + message.len()..].strip_prefix('\n').unwrap_or(&start[at + message.len()..]);
            assert_eq!(rest.is_empty(), k + 1 == messages.len(), "{network}\n{found}");
        }
    }
}

#[test]
fn sizes_that_data_and_layers_cannot_share_are_refused() {
    expect_all(&[
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: Residual(layers: 0),",
            &[
                "3:10: network: expected data with as many targets as inputs (16), since every layer adds to its input, found 2 targets",
                "3:27: network.layers: expected at least 1 layer, found 0",
            ],
        ),
        (
            "data: Ball(samples: 2, inputs: 3, outputs: 1),",
            "network: Siamese(hidden: [0], head: Bilinear),",
            &[
                "3:10: network: expected data in pairs: an even number of inputs, those of the first and then those of the second, found 3 inputs",
                "3:27: network.hidden[0]: expected at least 1 unit, found 0",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: Conv(shape: [1, 4, 5], layers: []),",
            &[
                "3:22: network.shape: expected a shape of 16 values, one for each input of a sample, found [1, 4, 5], which has 20",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: Conv(shape: [16], layers: []),",
            &["3:22: network.shape: expected [channels, length] or [channels, height, width], found [16]"],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: UNet(shape: [1, 9223372036854775808, 2, 16], channels: [1], up: Nearest),",
            &[
                "3:22: network.shape: expected [channels, length] or [channels, height, width], found [1, 9223372036854775808, 2, 16]",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: UNet(shape: [2, 9223372036854775808], channels: [1], up: Nearest),",
            &[
                "3:22: network.shape: expected a shape of 16 values, one for each input of a sample, found [2, 9223372036854775808], which has too many",
            ],
        ),
    ]);
}

#[test]
fn a_convolution_that_does_not_fit_names_its_layer() {
    expect_all(&[
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: Conv(shape: [1, 4, 4], layers: [Conv(channels: 2, kernel: [3]), Conv(channels: 2, kernel: [3])]),",
            &[
                "3:100: network.layers[1].kernel: expected a kernel that fits on 2 x 2 pixels, padding included, found [3, 3]",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: Conv(shape: [1, 16], layers: [AvgPool(kernel: [17])]),",
            &["3:56: network.layers[0].kernel: expected a kernel that fits on 16 pixels, padding included, found [17]"],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: Conv(shape: [1, 4, 4], layers: [Conv(channels: 4, kernel: [1]), Conv(channels: 3, kernel: [1], groups: 2)]),",
            &[
                "3:113: network.layers[1].groups: expected a number that divides the 4 channels that come in and the 3 that go out, found 2",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: Conv(shape: [1, 4, 4], layers: [Conv(channels: 4, kernel: [1], groups: 0)]),",
            &[
                "3:81: network.layers[0].groups: expected a number that divides the 1 channels that come in and the 4 that go out, found 0",
            ],
        ),
    ]);
}

#[test]
fn all_faults_of_convolutional_stages_come_at_once() {
    expect_all(&[
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: Conv(shape: [1, 4, 4], layers: [Conv(channels: 0, kernel: [0], stride: [0]), Conv(channels: 2, kernel: [3, 3, 3], stride: [], padding: [3])]),",
            &[
                "network.layers[0].channels: expected at least 1 channel, found 0",
                "network.layers[0].kernel: expected at least 1, found [0]",
                "network.layers[0].stride: expected at least 1, found [0]",
                "network.layers[1].kernel: expected one or two numbers in [..], found [3, 3, 3]",
                "network.layers[1].stride: expected one or two numbers in [..], found []",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: Conv(shape: [1, 4, 4], layers: [Conv(channels: 2, kernel: [3], padding: [3]), AvgPool(kernel: [2], stride: [0])]),",
            &[
                "network.layers[0].padding: expected less than the extent of the kernel, so that no window sees padding alone, found [3]",
                "network.layers[1].stride: expected at least 1, found [0]",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: Conv(shape: [1, 16], layers: [Conv(channels: 2, kernel: [3, 3])]),",
            &["network.layers[0].kernel: expected one number in [..], found [3, 3]"],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: ConvResidual(shape: [1, 4, 4], channels: 0, kernel: [2], blocks: 1),",
            &[
                "network.channels: expected at least 1 channel, found 0",
                "network.kernel: expected odd numbers, so that the size of the image can stay, found [2]",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: MobileNet(shape: [1, 4, 4], blocks: [(channels: 0, kernel: [2]), (channels: 2, stride: [0])]),",
            &[
                "network.blocks[0].channels: expected at least 1 channel, found 0",
                "network.blocks[0].kernel: expected odd numbers, so that the size of the image can stay, found [2]",
                "network.blocks[1].stride: expected at least 1, found [0]",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: MobileNet(shape: [1, 4, 4], blocks: []),",
            &["network.blocks: expected at least one block, found none"],
        ),
    ]);
}

#[test]
fn max_pooling_is_refused_wherever_it_stands() {
    expect_all(&[(
        "data: Ball(samples: 4, inputs: 16, outputs: 2),",
        "network: Conv(shape: [1, 4, 4], layers: [MaxPool(kernel: [2]), Conv(channels: 1, kernel: [1]), MaxPool(kernel: [2])]),",
        &[
            "network.layers[0]: max pooling is not supported: which element is largest would be a switching surface of its own kind\n  hint: use AvgPool(kernel: [..]), or a convolution with a stride",
            "network.layers[2]: max pooling is not supported: which element is largest would be a switching surface of its own kind\n  hint: use AvgPool(kernel: [..]), or a convolution with a stride",
        ],
    )]);
}

#[test]
fn a_u_net_needs_sizes_that_can_be_halved_and_whole_images() {
    expect_all(&[
        (
            "data: Ball(samples: 4, inputs: 16, outputs: 2),",
            "network: UNet(shape: [1, 4, 4], channels: [2, 2, 2, 0], kernel: [2], up: Nearest),",
            &[
                "network.shape: expected a size that can be halved 3 times, for 4 levels, found 4 x 4",
                "network.shape: expected a multiple of 16 targets, whole images of the size of the data, found 2 targets",
                "network.channels[3]: expected at least 1 channel, found 0",
                "network.kernel: expected odd numbers, so that the size of the image can stay, found [2]",
            ],
        ),
        (
            "data: Ball(samples: 2, inputs: 15, outputs: 15),",
            "network: UNet(shape: [1, 15], channels: [2, 2], up: Transposed),",
            &["network.shape: expected a size that can be halved once, for 2 levels, found 15"],
        ),
        (
            "data: Ball(samples: 2, inputs: 4, outputs: 4),",
            "network: UNet(shape: [1, 4], channels: [], up: Transposed),",
            &["network.channels: expected at least one level, found none"],
        ),
    ]);
}

#[test]
fn neighbours_are_fewer_than_nodes_and_at_least_one() {
    expect_all(&[
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Knn(4)),",
            &["3:48: network.adjacency[0]: expected at least 1 neighbour and fewer than there are nodes, 4, found 4"],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [0], adjacency: Knn(0), exponent: inf),",
            &[
                "network.hidden[0]: expected at least 1 unit, found 0",
                "network.adjacency[0]: expected at least 1 neighbour and fewer than there are nodes, 4, found 0",
                "network.exponent: expected a finite number, found inf",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: Chebyshev(hidden: [2], order: 0, adjacency: Knn(9)),",
            &[
                "network.order: expected at least 1, found 0",
                "network.adjacency[0]: expected at least 1 neighbour and fewer than there are nodes, 4, found 9",
            ],
        ),
    ]);
}

#[test]
fn a_wrong_adjacency_matrix_names_the_entry() {
    expect_all(&[
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Inline([[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]])),",
            &[
                "3:67: network.adjacency[0][1][0]: expected 1, as in row 0, column 1: the matrix has to be symmetric, found 0",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Inline([[1, 1, 0, 0], [1, 0, -1, 0], [0, -1, 0, 1], [0, 0, 1, 0]])),",
            &[
                "network.adjacency[0][0][0]: expected 0 on the diagonal: self-loops are added by the layers that need them, found 1",
                "network.adjacency[0][1][2]: expected a finite number of at least 0, found -1",
                "network.adjacency[0][2][1]: expected a finite number of at least 0, found -1",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Inline([[0, NaN], [NaN, 0]])),",
            &[
                "network.adjacency[0][0][1]: expected a finite number, found NaN",
                "network.adjacency[0][1][0]: expected a finite number, found NaN",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Inline([[[0, 1], [1, 0]], [[0, 1], [2, 0]]]), nodes: 2),",
            &[
                "network.adjacency[0][1][1][0]: expected 1, as in row 0, column 1: the matrix has to be symmetric, found 2",
            ],
        ),
    ]);
}

#[test]
fn an_adjacency_matrix_of_the_wrong_shape_is_refused() {
    expect_all(&[
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Inline([[0, 1, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1]])),",
            &[
                "network.adjacency[0]: expected a square matrix with a row and a column for each node, found 4 x 3 entries",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Inline([[]])),",
            &[
                "network.adjacency[0]: expected a square matrix with a row and a column for each node, found 1 x 0 entries",
            ],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Inline([0, 1])),",
            &["network.adjacency[0]: expected a matrix, or a list of one matrix per graph, found shape [2]"],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Inline([[0, 1], [1, 0]])),",
            &["network.adjacency[0]: expected 4 nodes as in the data, found 2 x 2 entries"],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Inline([[[0, 1], [1, 0]], [[0, 1], [1, 0]], [[0, 1], [1, 0]]]), nodes: 2),",
            &["network.adjacency[0]: expected one matrix, or 2 as there are graphs, found 3"],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Inline([[0, 1, 0, 0], [1, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]])),",
            &["network.adjacency[0][1]: expected 4 values as in the first row, found 3"],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], adjacency: Inline([[[0, 1], [1, 0]], [[0, 1], [1]]])),",
            &["network.adjacency[0][1][1]: expected 2 values as in the first row, found 1"],
        ),
    ]);
}

#[test]
fn nodes_readout_and_data_have_to_agree() {
    expect_all(&[
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], nodes: 3, adjacency: Knn(1)),",
            &["3:40: network.nodes: expected a number of nodes per graph that divides the 4 rows of data, found 3"],
        ),
        (
            "data: Ball(samples: 4, inputs: 2, outputs: 1),",
            "network: GraphConv(hidden: [2], readout: Mean, adjacency: Knn(1)),",
            &[
                "3:42: network.readout: expected graphs as [graph][node][feature] in the data, since there is a readout, found rows of single nodes",
            ],
        ),
        (
            "data: Inline(x: [[[1, 2], [3, 4]], [[1, 2], [3, 5]]], y: [[1], [2]]),",
            "network: GraphConv(hidden: [2], adjacency: Knn(1)),",
            &[
                "2:7: data: expected targets for the 2 nodes of each graph, as [graph][node][target], found [1] values per graph",
            ],
        ),
        (
            "data: Inline(x: [[[1, 2], [3, 4]], [[1, 2], [3, 5]]], y: [[1], [2]]),",
            "network: GraphConv(hidden: [2], adjacency: Knn(1), readout: Sum, nodes: 3),",
            &["network.nodes: expected 2 nodes per graph as in the data, or no such field, found 3"],
        ),
        (
            "data: Inline(x: [[[1, 2], [3, 4]]], y: [[[1], [2]]]),",
            "network: GraphConv(hidden: [2], adjacency: Knn(1), readout: Sum),",
            &[
                "2:7: data: expected one row of targets per graph, since there is a readout, found [2, 1] values per graph",
            ],
        ),
    ]);
}

#[test]
fn lists_that_are_ragged_at_any_depth_are_named() {
    expect_all(&[
        (
            "data: Inline(x: [[[1, 2], [3, 4]], [[1, 2], [3]]], y: [[1], [2]]),",
            "network: Dense(hidden: [2]),",
            &["2:45: data.x[1][1]: expected 2 values as in the first row, found 1"],
        ),
        (
            "data: Inline(x: [[[1, 2], [3, 4]], [[1, 2]], [1, [2]]], y: [[1], [2], [3]]),",
            "network: Dense(hidden: [2]),",
            &[
                "data.x[1]: expected 2 rows as in the first row, found 1",
                "data.x[2][0]: expected a list in [..], found 1",
                "data.x[2][1]: expected 2 values as in the first row, found 1",
            ],
        ),
    ]);
}

#[test]
fn an_adjacency_file_that_cannot_be_read_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, content) in [("text.csv", "0,1\none,0\n"), ("uneven.csv", "0,1\n1\n"), ("empty.csv", "")] {
        std::fs::write(folder.path().join(name), content).expect("it can be written to");
    }
    for (name, message) in [
        ("nowhere.csv", "cannot read `nowhere.csv`: "),
        ("text.csv", "cannot read `text.csv`: line 2, column 1: expected a number, found `one`"),
        ("uneven.csv", "cannot read `uneven.csv`: CSV error: record 1 (line: 2"),
        ("empty.csv", "expected a square matrix with a row and a column for each node, found 0 x 0 entries"),
    ] {
        let network = format!("network: GraphConv(hidden: [2], adjacency: File(\"{name}\")),");
        let found = faults_in(&with("network", &network), folder.path());
        assert!(found.starts_with(&format!("bad.ron:3:49: network.adjacency[0]: {message}")), "{found}");
    }
}

#[test]
fn the_program_ends_with_code_2_and_shows_the_line() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("bad.ron");
    std::fs::write(&file, with("flow", "flow: (until: [Time(1)], rtol: 0),")).expect("it can be written to");
    let output =
        Command::cargo_bin("gradflow").expect("it is built").arg("check").arg(&file).output().expect("it runs");
    let stderr = String::from_utf8(output.stderr).expect("messages are UTF-8");
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(output.stdout.is_empty());
    assert!(stderr.contains("bad.ron:5:32: flow.rtol: expected a positive number, found 0"), "{stderr}");
    assert!(stderr.contains("5 │ flow: (until: [Time(1)], rtol: 0),"), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "no colour where stderr is no terminal: {stderr:?}");
}

#[test]
fn unknown_names_and_wrong_overrides_end_with_code_2_and_a_hint() {
    let run = |arguments: &[&str]| {
        let output = Command::cargo_bin("gradflow").expect("it is built").args(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("messages are UTF-8"))
    };
    for (arguments, message) in [
        (
            &["check", "quikstart"][..],
            "`quikstart` is neither a file nor an embedded scenario\n  hint: did you mean `quickstart`?",
        ),
        (&["check", "relu", "--set", "flow.rtol"], "--set flow.rtol: expected key.path=value, found no `=`"),
        (
            &["check", "relu", "--set", "flow.rtol=-1"],
            "--set flow.rtol=-1: flow.rtol: expected a positive number, found -1",
        ),
        (&["check", "relu", "--set", "flow.rtoll=1"], "--set flow.rtoll=1: flow.rtoll: unknown field `rtoll`"),
        (&["chek"], "unrecognized subcommand"),
    ] {
        let (code, stderr) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
}

#[test]
fn no_damage_to_a_text_is_met_with_silence_or_a_panic() {
    let damages = ["", "é", "(", ")", "\"", ",", "-", "x", "[", " "];
    for name in ["one-neuron", "tanh-plus-identity", "many-breakpoints", "deep-linear"] {
        let text = gradflow::scenario::open(name).expect("it is embedded").0.text().to_owned();
        for (at, c) in text.char_indices() {
            for damage in damages {
                let damaged = format!("{}{damage}{}", &text[..at], &text[at + c.len_utf8()..]);
                if let Err(error) = Scenario::from_source(Source::new("bad.ron", damaged), &Folder::Embedded, &[]) {
                    assert!(error.to_string().starts_with("bad.ron:"), "{name}, {damage} at {at}: {error}");
                }
            }
        }
    }
}
