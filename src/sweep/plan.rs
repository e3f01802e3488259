//! A plan as written: a base scenario, a grid of axes, and times at which the loss is tabulated.
//!
//! ```ron
//! (
//!     name: "widths",
//!     base: "quickstart",
//!     axes: [
//!         (key: "network.hidden", values: [[8, 8], [16, 16]]),
//!         (key: "seed", values: [1, 2, 3]),
//!     ],
//!     losses_at: [0.1, 1.0],
//! )
//! ```
//!
//! A value is put into the text of the base as `--set key=value` would do it, so that everything a scenario can say can be an axis. The
//! checks are those of scenarios: every cell is resolved, and each fault is told once, at the value of the plan that causes it. Read
//! [`SweepPlan::load`] first.

use super::error::SweepError;
use crate::scenario::scan::{Node, Step, parse_path, scan};
use crate::scenario::{
    Fault, FaultKind, Folder, Parsed, Place, Report, Scenario, ScenarioError, Source, embedded, embedded_plans,
    nearest, open, open_file, parse,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::ops::Range;
use std::path::Path;

/// Folders of cells are numbered with five digits.
const MOST_CELLS: usize = 100_000;

/// A grid of scenarios.
#[derive(Debug, Clone)]
pub struct SweepPlan {
    name: String,
    base: Source,
    folder: Folder,
    axes: Vec<Axis>,
    losses_at: Vec<f64>,
}

/// One direction of the grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// Key path of the field it sets, and its column in the table.
    pub key: String,
    /// Further fields that get the same value.
    pub also: Vec<String>,
    /// The values as RON text.
    pub values: Vec<String>,
}

/// The text as typed. Values of the base and of the axes are taken from the text itself.
#[derive(Debug, Deserialize)]
#[serde(rename = "SweepPlan", deny_unknown_fields)]
struct PlanSpec {
    /// Name of the sweep; by default the file's name without its extension.
    #[serde(default)]
    name: String,
    /// A RON file, the name of an embedded scenario, or a scenario in (..); required.
    #[serde(default, rename = "base")]
    _base: IgnoredAny,
    /// The last one varies fastest.
    #[serde(default)]
    axes: Vec<AxisSpec>,
    /// Times at which the loss is tabulated; θ is saved then, in place of what the base says.
    #[serde(default)]
    losses_at: Vec<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename = "Axis", deny_unknown_fields)]
struct AxisSpec {
    key: String,
    #[serde(default)]
    also: Vec<String>,
    values: Vec<IgnoredAny>,
}

/// What a plan puts into its base for one cell.
#[derive(Debug, Clone)]
struct Setting {
    /// Where the plan says so: an axis, one of its keys and one of its values; `None` for the fixed times.
    origin: Option<[usize; 3]>,
    /// `key.path=value`.
    argument: String,
}

impl SweepPlan {
    /// Loads a file, or an embedded plan by name; `overrides` of the form `key.path=value` are applied to the base before the axes are.
    ///
    /// # Errors
    /// When there is no such plan, and with every fault of the plan, of its base and of its cells at once.
    pub fn load(name: &str, overrides: &[String]) -> Result<Self, SweepError> {
        let (source, folder) = open_plan(name)?;
        Self::from_source(source, folder, overrides)
    }

    /// The same for a text at hand; `folder` is what paths are relative to.
    ///
    /// # Errors
    /// As [`SweepPlan::load`].
    pub fn from_source(source: Source, folder: Folder, overrides: &[String]) -> Result<Self, SweepError> {
        let parsed: Parsed<PlanSpec> = parse(&source).map_err(ScenarioError::Faults)?;
        let mut report =
            Report { source: &source, tree: &parsed.tree, blanked: &parsed.blanked, faults: parsed.faults };
        if let Some(mut plan) = build(&mut report, &parsed.spec, folder) {
            for argument in overrides {
                plan.base.apply(argument)?;
            }
            plan.check_cells(&mut report);
            if report.faults.is_empty() {
                return Ok(plan);
            }
        }
        let mut faults = report.faults;
        faults.sort_by_key(|fault| fault.span.start);
        Err(ScenarioError::Faults(faults).into())
    }

    /// Reads the plan in a sweep directory, whose cells have been checked when it was made.
    pub(super) fn reread(path: &Path, text: String) -> Result<Self, SweepError> {
        let source = Source::new(path.to_string_lossy(), text);
        let parsed: Parsed<PlanSpec> = parse(&source).map_err(ScenarioError::Faults)?;
        let mut report =
            Report { source: &source, tree: &parsed.tree, blanked: &parsed.blanked, faults: parsed.faults };
        let folder = Folder::Disk(path.parent().unwrap_or(Path::new("")).to_path_buf());
        match build(&mut report, &parsed.spec, folder) {
            Some(plan) if report.faults.is_empty() => Ok(plan),
            _ => Err(ScenarioError::Faults(report.faults).into()),
        }
    }

    /// Name of the sweep.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The axes; the last one varies fastest.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// Times at which the loss is tabulated, increasing.
    pub fn losses_at(&self) -> &[f64] {
        &self.losses_at
    }

    /// Number of cells, the product of the lengths of the axes.
    pub fn n_cells(&self) -> usize {
        self.axes.iter().map(|axis| axis.values.len()).product()
    }

    /// The value of a cell on each axis, as RON text.
    pub fn values(&self, cell: usize) -> impl Iterator<Item = &str> {
        self.axes.iter().zip(self.position(cell)).map(|(axis, k)| axis.values[k].as_str())
    }

    /// The scenario of a cell, from 0; data files are read again.
    ///
    /// # Errors
    /// Those of scenarios, if files have changed since the plan was loaded.
    pub fn scenario(&self, cell: usize) -> Result<Scenario, ScenarioError> {
        let arguments: Vec<String> = self.settings(cell).into_iter().map(|setting| setting.argument).collect();
        Scenario::from_source(self.base.clone(), &self.folder, &arguments)
    }

    /// The plan with its base written into it: the same text for the same grid, wherever the base came from.
    pub fn text(&self) -> String {
        let mut source = self.base.clone();
        let has_name = |tree: &Node| tree.child(&Step::Key("name".to_owned())).is_some();
        if !scan(source.text()).is_ok_and(|tree| has_name(&tree)) {
            // A scenario without a name has that of its file, which must not become that of plan.ron.
            let named = source.apply(&format!("name={:?}", stem(self.base.name())));
            debug_assert!(named.is_ok(), "a scenario that resolves has fields");
        }
        let base = scan(source.text()).map_or("", |tree| &source.text()[tree.span]);
        let mut text = format!("(\n    name: {:?},\n    base: {base},\n    axes: [\n", self.name);
        for Axis { key, also, values } in &self.axes {
            let also = if also.is_empty() { String::new() } else { format!(" also: {also:?},") };
            text += &format!("        (key: {key:?},{also} values: [{}]),\n", values.join(", "));
        }
        text + &format!("    ],\n    losses_at: {:?},\n)\n", self.losses_at)
    }

    /// Index of a cell's value on each axis.
    fn position(&self, cell: usize) -> Vec<usize> {
        let mut rest = cell;
        let mut position = vec![0; self.axes.len()];
        for (k, axis) in self.axes.iter().enumerate().rev() {
            (position[k], rest) = (rest % axis.values.len(), rest / axis.values.len());
        }
        position
    }

    fn settings(&self, cell: usize) -> Vec<Setting> {
        let mut settings = Vec::new();
        for (a, (axis, v)) in self.axes.iter().zip(self.position(cell)).enumerate() {
            for (k, key) in [&axis.key].into_iter().chain(&axis.also).enumerate() {
                settings.push(Setting { origin: Some([a, k, v]), argument: format!("{key}={}", axis.values[v]) });
            }
        }
        if !self.losses_at.is_empty() {
            // Behind the axes, so that an axis over all of `save` cannot undo it; `build` refuses such an axis.
            settings.push(Setting { origin: None, argument: format!("save=(times: {:?})", self.losses_at) });
        }
        settings
    }

    /// Resolves every cell and notes each fault once, where the plan (or the base) gives rise to it.
    fn check_cells(&self, report: &mut Report) {
        let mut found: Vec<CellFault> = Vec::new();
        for cell in 0..self.n_cells() {
            for (fault, is_of_plan) in self.cell_faults(cell, report) {
                let message = fault.to_string();
                match found.iter_mut().find(|f| f.message == message) {
                    Some(known) => known.cells.push(cell),
                    None => found.push(CellFault { fault, message, is_of_plan, cells: vec![cell] }),
                }
            }
        }
        let is_partial = |fault: &CellFault| fault.cells.len() < self.n_cells();
        // Where a value of the plan is wrong in itself, what else is wrong may only follow from it.
        let wrong_values: Vec<&CellFault> = found.iter().filter(|f| f.is_of_plan && is_partial(f)).collect();
        let is_certain = |cell: &&usize| wrong_values.iter().all(|f| f.cells.binary_search(cell).is_err());
        for fault in &found {
            let mut told = fault.fault.clone();
            if !fault.is_of_plan && is_partial(fault) {
                // Some values do it and others do not, but the place is in the base: say which.
                let Some(&cell) = fault.cells.iter().find(is_certain) else { continue };
                let values = self.axes.iter().zip(self.values(cell));
                let values: Vec<String> = values.map(|(axis, value)| format!("{}={value}", axis.key)).collect();
                told.path += &format!(" (with {})", values.join(", "));
            }
            report.faults.push(told);
        }
    }

    /// The faults of a cell, and whether each is placed at a value or a key of the plan.
    fn cell_faults(&self, cell: usize, report: &Report) -> Vec<(Fault, bool)> {
        let (source, tree) = (report.source, report.tree);
        let settings = self.settings(cell);
        let mut text = self.base.clone();
        let mut faults = Vec::new();
        for setting in &settings {
            if let Err(ScenarioError::Override { reason, .. }) = text.apply(&setting.argument) {
                let path = setting.origin.map_or_else(|| "losses_at".to_owned(), |[a, k, _]| key_path(a, k));
                faults.push((fault_at(source, tree, &path, FaultKind::Axis(reason)), true));
            }
        }
        let Err(ScenarioError::Faults(others)) = Scenario::from_source(text, &self.folder, &[]) else {
            return faults;
        };
        faults.extend(others.into_iter().map(|fault| match &fault.place {
            Place::Text { .. } => (fault, false),
            Place::Override(argument) => match settings.iter().find(|setting| setting.argument == *argument) {
                // One of the overrides of the base.
                None => (fault, false),
                Some(setting) => (setting.take_over(source, tree, fault), true),
            },
        }));
        faults
    }
}

impl Setting {
    /// The same fault at the key or the value of the plan that put it into the scenario.
    fn take_over(&self, source: &Source, tree: &Node, fault: Fault) -> Fault {
        let is_key = matches!(fault.kind, FaultKind::UnknownField { .. });
        let (path, place) = match self.origin {
            Some([a, k, _]) if is_key => (fault.path, key_path(a, k)),
            Some([a, _, v]) => (fault.path, format!("axes[{a}].values[{v}]")),
            None => {
                let path = fault.path.replacen("save.times", "losses_at", 1);
                (path.clone(), path)
            }
        };
        source.fault(path, node_at(tree, &place).span.clone(), fault.kind)
    }
}

/// A fault and the cells it occurs in, in order.
struct CellFault {
    fault: Fault,
    message: String,
    is_of_plan: bool,
    cells: Vec<usize>,
}

/// The text of a plan and the folder that paths in it are relative to.
fn open_plan(name: &str) -> Result<(Source, Folder), SweepError> {
    if let Some(opened) = open_file(name)? {
        return Ok(opened);
    }
    if let Some(plan) = embedded_plans().iter().find(|plan| plan.name == name) {
        return Ok((Source::new(format!("{name}.ron"), plan.text), Folder::Embedded));
    }
    let hint = if embedded().iter().any(|scenario| scenario.name == name) {
        format!("`{name}` is a single scenario: gradflow run {name}")
    } else {
        match nearest(name, embedded_plans().iter().map(|plan| plan.name)) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "`gradflow list` shows the embedded ones".to_owned(),
        }
    };
    Err(SweepError::UnknownPlan { name: name.to_owned(), hint })
}

/// The plan, as far as it can be made out; faults go to the report.
fn build(report: &mut Report, spec: &PlanSpec, folder: Folder) -> Option<SweepPlan> {
    let name = if spec.name.is_empty() { stem(report.source.name()) } else { spec.name.clone() };
    let axes = build_axes(report, &spec.axes, !spec.losses_at.is_empty());
    let (base, folder) = find_base(report, folder)?;
    let plan = SweepPlan { name, base, folder, axes, losses_at: spec.losses_at.clone() };
    let n_cells = plan.axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.values.len()));
    let found = n_cells.map_or_else(|| "more".to_owned(), |n| n.to_string());
    let is_possible = n_cells.is_some_and(|n| n <= MOST_CELLS);
    report.require(is_possible, "axes", "at most 100000 cells", found);
    // Without cells nothing more can be checked; an empty axis has been reported.
    (is_possible && n_cells != Some(0)).then_some(plan)
}

/// The name of a file without folder and extension.
fn stem(file: &str) -> String {
    Path::new(file).file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned())
}

/// The axes as written. Faults are placed directly: an axis behind one that was given up has another number than in the text.
fn build_axes(report: &mut Report, specs: &[AxisSpec], has_times: bool) -> Vec<Axis> {
    let mut axes = Vec::new();
    let mut keys: Vec<&str> = if has_times { vec!["save"] } else { Vec::new() };
    let mut wrong = |path: String, expected: &str, found: String| {
        let kind = FaultKind::Value { expected: expected.to_owned(), found, hint: None };
        report.faults.push(fault_at(report.source, report.tree, &path, kind));
    };
    for (a, spec) in specs.iter().enumerate() {
        for (k, key) in [&spec.key].into_iter().chain(&spec.also).enumerate() {
            match keys.iter().find(|other| overlap(key, other)) {
                Some(&"save") if has_times => {
                    wrong(key_path(a, k), "another field: `losses_at` sets `save`", format!("`{key}`"));
                }
                Some(other) => {
                    let expected = format!("a field apart from `{other}`, which is an axis already");
                    wrong(key_path(a, k), &expected, format!("`{key}`"));
                }
                None => {}
            }
            keys.push(key);
        }
        let path = format!("axes[{a}].values");
        let text = |span: Range<usize>| report.source.text()[span].split_whitespace().collect::<Vec<_>>().join(" ");
        let nodes = &node_at(report.tree, &path).children;
        let values: Vec<String> = nodes.iter().map(|child| text(child.node.span.clone())).collect();
        if spec.values.is_empty() {
            wrong(path, "at least one value", "none".to_owned());
        }
        axes.push(Axis { key: spec.key.clone(), also: spec.also.clone(), values });
    }
    axes
}

/// Whether one key path is the other or leads into it.
fn overlap(a: &str, b: &str) -> bool {
    let (Some(a), Some(b)) = (parse_path(a), parse_path(b)) else { return false };
    let n = a.len().min(b.len());
    a[..n] == b[..n]
}

/// The text of the base scenario and the folder of its data files.
fn find_base(report: &mut Report, folder: Folder) -> Option<(Source, Folder)> {
    let Some(child) = report.tree.child(&Step::Key("base".to_owned())) else {
        if !report.is_blanked("base") {
            let start = report.tree.span.start;
            report.faults.push(report.source.fault("", start..start + 1, FaultKind::Missing(vec!["base".to_owned()])));
        }
        return None;
    };
    let span = child.node.span.clone();
    let text = &report.source.text()[span.clone()];
    if text.starts_with('(') || text.starts_with("Scenario") {
        // All other bytes become blanks, so that faults keep their line and column in the plan.
        let blank = |range: Range<usize>| -> String {
            report.source.text()[range].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
        };
        let inline = format!("{}{text}{}", blank(0..span.start), blank(span.end..report.source.text().len()));
        return Some((Source::new(report.source.name(), inline), folder));
    }
    let Ok(name) = ron::from_str::<String>(text) else {
        report.require(
            false,
            "base",
            "a file, an embedded scenario's name, or a scenario in (..)",
            format!("`{text}`"),
        );
        return None;
    };
    let beside = match &folder {
        Folder::Disk(folder) => folder.join(&name),
        Folder::Embedded => Path::new(&name).to_path_buf(),
    };
    let wanted = if beside.is_file() { beside.to_string_lossy().into_owned() } else { name.clone() };
    match open(&wanted) {
        Ok(found) => Some(found),
        Err(ScenarioError::Unreadable { source, .. }) => {
            report.push("base", FaultKind::File { file: name, reason: source.to_string() });
            None
        }
        Err(_) => {
            let nearest = nearest(&name, embedded().iter().map(|scenario| scenario.name));
            report.push("base", FaultKind::UnknownBase { name, nearest });
            None
        }
    }
}

/// Path of an axis' key, or of one of its further keys.
fn key_path(axis: usize, key: usize) -> String {
    if key == 0 { format!("axes[{axis}].key") } else { format!("axes[{axis}].also[{}]", key - 1) }
}

fn node_at<'a>(tree: &'a Node, path: &str) -> &'a Node {
    tree.nearest(&parse_path(path).unwrap_or_default()).0
}

fn fault_at(source: &Source, tree: &Node, path: &str, kind: FaultKind) -> Fault {
    source.fault(path, node_at(tree, path).span.clone(), kind)
}
