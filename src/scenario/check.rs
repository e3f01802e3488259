//! Faults of meaning: values that parse but make no run. Reads no files; [`super::resolve`] does.

use super::fault::{Fault, FaultKind};
use super::memory::Need;
use super::nested::{Nested, Ragged};
use super::scan::{Node, parse_path};
use super::source::Source;
use super::spec::{DataSpec, DescentRun, FlowSpec, InitialSpec, NetworkSpec, NtkSpec, SaveSpec, Stop};
use std::fmt::Display;

/// Collects faults and finds their places.
pub(crate) struct Report<'a> {
    pub source: &'a Source,
    pub tree: &'a Node,
    /// Paths whose values are known to be wrong already.
    pub blanked: &'a [String],
    pub faults: Vec<Fault>,
}

impl Report<'_> {
    /// Notes a fault at a path, unless the value there (or in it) was blanked for an earlier fault.
    pub fn push(&mut self, path: &str, kind: FaultKind) {
        if self.is_blanked(path) {
            return;
        }
        let steps = parse_path(path).unwrap_or_default();
        let span = self.tree.nearest(&steps).0.head();
        self.faults.push(self.source.fault(path, span, kind));
    }

    /// Whether the value at a path, one around it or one in it was blanked.
    pub fn is_blanked(&self, path: &str) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.blanked.iter().any(|b| within(b, path) || within(path, b))
    }

    /// Notes a fault unless `is_right`.
    pub fn require(&mut self, is_right: bool, path: &str, expected: &str, found: impl Display) {
        if !is_right {
            self.value(path, expected, found, None);
        }
    }

    fn value(&mut self, path: &str, expected: &str, found: impl Display, hint: Option<&'static str>) {
        self.push(path, FaultKind::Value { expected: expected.to_owned(), found: found.to_string(), hint });
    }

    /// Notes what needs more memory than `limit_gib`; whether there is room for it.
    pub(super) fn memory(&mut self, need: Option<Need>, limit_gib: f64) -> bool {
        const GIB: f64 = (1u64 << 30) as f64;
        let Some(Need { path, what, bytes }) = need else { return true };
        let estimate_gib = bytes / GIB;
        // A limit that is no number has been noted, and refuses nothing.
        let is_too_much = estimate_gib > limit_gib;
        if is_too_much {
            self.push(&path, FaultKind::Memory { what, estimate_gib, limit_gib });
        }
        !is_too_much
    }

    fn require_positive(&mut self, path: &str, value: f64) {
        self.require(value > 0.0 && value.is_finite(), path, "a positive number", value);
    }

    fn require_finite(&mut self, path: &str, value: f64) {
        self.require(value.is_finite(), path, "a finite number", value);
    }

    pub fn data(&mut self, data: &DataSpec) {
        match data {
            DataSpec::Ball { samples, inputs, outputs } => {
                for (name, &value) in [("samples", samples), ("inputs", inputs), ("outputs", outputs)] {
                    self.require(value >= 1, &format!("data.{name}"), "at least 1", value);
                }
            }
            DataSpec::Inline { x, y } => {
                self.rows("data.x", x);
                self.rows("data.y", y);
                let count = |rows: &Nested| rows.shape().first().copied().unwrap_or(0);
                if count(x) != count(y) {
                    self.value("data.y", &format!("as many rows as x, which has {}", count(x)), count(y), None);
                }
            }
            DataSpec::Csv { inputs, outputs, .. } => {
                self.require(!inputs.is_empty(), "data.inputs", "at least one column", "none");
                self.require(!outputs.is_empty(), "data.outputs", "at least one column", "none");
            }
            DataSpec::Npy { .. } => {}
        }
    }

    /// Rows have to be of one shape and finite; their shape is that of the first one.
    fn rows(&mut self, path: &str, rows: &Nested) {
        let shape = rows.shape();
        let Nested::List(items) = rows else {
            return self.value(path, "a list of rows", "a number", None);
        };
        if items.is_empty() {
            return self.value(path, "at least one row", "none", None);
        }
        if shape.len() < 2 {
            return self.value(&format!("{path}[0]"), "a row in [..]", rows.values()[0], None);
        }
        self.require(!shape.contains(&0), &format!("{path}[0]"), "at least one value", "none");
        self.nested(path, rows, &shape);
    }

    /// Lists have to be of one shape and finite.
    pub fn nested(&mut self, path: &str, lists: &Nested, shape: &[usize]) {
        let mut ragged = Vec::new();
        lists.ragged(shape, path, &mut ragged);
        for Ragged { path, expected, found } in ragged {
            self.value(&path, &expected, found, None);
        }
        let mut wrong = Vec::new();
        lists.not_finite(path, &mut wrong);
        wrong.into_iter().for_each(|(path, value)| self.require_finite(&path, value));
    }

    /// What can be said of a network without its data.
    pub fn network(&mut self, network: &NetworkSpec) {
        let hidden = match network {
            NetworkSpec::Dense { hidden, .. }
            | NetworkSpec::GraphConv { hidden, .. }
            | NetworkSpec::Chebyshev { hidden, .. }
            | NetworkSpec::GraphConvMorris { hidden, .. }
            | NetworkSpec::Conv { hidden, .. }
            | NetworkSpec::MobileNet { hidden, .. }
            | NetworkSpec::Siamese { hidden, .. }
            | NetworkSpec::Polynomial { hidden, .. } => &hidden[..],
            NetworkSpec::Residual { .. } | NetworkSpec::ConvResidual { .. } | NetworkSpec::UNet { .. } => &[],
        };
        for (l, &width) in hidden.iter().enumerate() {
            self.require(width >= 1, &format!("network.hidden[{l}]"), "at least 1 unit", width);
        }
        match network {
            NetworkSpec::GraphConv { exponent, .. } => self.require_finite("network.exponent", *exponent),
            NetworkSpec::Chebyshev { order, .. } => self.require(*order >= 1, "network.order", "at least 1", order),
            _ => {}
        }
    }

    pub fn initial(&mut self, initial: &InitialSpec) {
        match initial {
            InitialSpec::Normal(scale) | InitialSpec::Uniform(scale) => {
                self.require(*scale >= 0.0 && scale.is_finite(), "initial[0]", "a number of at least 0", scale);
            }
            InitialSpec::Inline(theta) => {
                for (k, &value) in theta.iter().enumerate().filter(|(_, v)| !v.is_finite()) {
                    self.require_finite(&format!("initial[0][{k}]"), value);
                }
            }
            InitialSpec::Positive(hidden, output) => {
                self.require_positive("initial[0]", *hidden);
                self.require_positive("initial[1]", *output);
            }
            InitialSpec::KaimingUniform | InitialSpec::XavierUniform | InitialSpec::Npy(_) => {}
        }
    }

    pub fn flow(&mut self, flow: &FlowSpec) {
        if flow.until.is_empty() {
            self.value("flow.until", "at least one stop", "none", Some("for example until: [Time(10.0)]"));
        }
        for (k, stop) in flow.until.iter().enumerate() {
            let path = format!("flow.until[{k}][0]");
            match *stop {
                Stop::LossRatio(ratio) => self.require(
                    ratio > 0.0 && ratio < 1.0,
                    &path,
                    "a fraction of the initial loss between 0 and 1",
                    ratio,
                ),
                Stop::Time(value) | Stop::Loss(value) | Stop::GradientNorm(value) => {
                    self.require_positive(&path, value);
                }
            }
        }
        self.require_positive("flow.rtol", flow.rtol);
        let atol = flow.atol.number();
        self.require(atol >= 0.0 && atol.is_finite(), "flow.atol", "`Auto` or a number of at least 0", atol);
        self.require(flow.max_steps >= 1, "flow.max_steps", "at least 1", flow.max_steps);
    }

    pub fn save(&mut self, save: &SaveSpec, horizon: Option<f64>) {
        let given = [
            ("times", save.times.is_some()),
            ("every", save.every.is_some()),
            ("count", save.count.is_some()),
            ("log", save.log.is_some()),
        ];
        let names: Vec<&str> = given.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect();
        if names.len() > 1 {
            self.value("save", "one of `times`, `every`, `count`, `log`", names.join(" and "), None);
        }
        for (k, &time) in save.times.iter().flatten().enumerate() {
            self.require(time >= 0.0 && time.is_finite(), &format!("save.times[{k}]"), "a time of at least 0", time);
        }
        for (k, pair) in save.times.iter().flat_map(|times| times.windows(2)).enumerate() {
            let expected = format!("a time after {}", pair[0]);
            self.require(pair[1] > pair[0] || pair[1].is_nan(), &format!("save.times[{}]", k + 1), &expected, pair[1]);
        }
        if let Some(every) = save.every {
            self.require_positive("save.every", every);
        }
        for (name, count) in [("count", save.count), ("log", save.log)] {
            let Some(count) = count else { continue };
            let path = format!("save.{name}");
            self.require(count >= 2, &path, "at least 2 times", count);
            if horizon.is_none() && !self.is_blanked("flow.until") {
                self.push(&path, FaultKind::NoHorizon(name));
            }
        }
    }

    pub fn descent(&mut self, runs: &[DescentRun], n_samples: Option<usize>) {
        for (k, run) in runs.iter().enumerate() {
            self.require_positive(&format!("descent[{k}].step"), run.step);
            self.require(run.steps >= 1, &format!("descent[{k}].steps"), "at least 1", run.steps);
            let is_momentum = (0.0..1.0).contains(&run.momentum);
            let path = format!("descent[{k}].momentum");
            self.require(is_momentum, &path, "a number of at least 0 and less than 1", run.momentum);
            if let Some(n) = n_samples {
                let expected = format!("at most the {n} samples there are, or 0 for all of them");
                self.require(run.batch <= n, &format!("descent[{k}].batch"), &expected, run.batch);
            }
            if let Some(distance) = run.stop_distance {
                self.require_positive(&format!("descent[{k}].stop_distance"), distance);
            }
        }
    }

    pub fn memory_limit(&mut self, limit_gib: f64) {
        /// A pebibyte: sizes that need less are far from the end of the integers.
        const MOST_GIB: f64 = (1u64 << 20) as f64;
        let is_right = limit_gib > 0.0 && limit_gib <= MOST_GIB;
        self.require(is_right, "memory_limit_gib", "a positive number of at most 1048576", limit_gib);
    }

    pub fn ntk(&mut self, ntk: &NtkSpec) {
        self.require_positive("ntk.memory_limit_gib", ntk.memory_limit_gib);
    }
}
