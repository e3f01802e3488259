//! The text of a scenario, its overrides, and the place of every byte.

use super::fault::{Fault, FaultKind, OverrideFault, Place, ScenarioError};
use super::scan::{Node, ScanError, Step, parse_path, scan};
use miette::NamedSource;
use std::ops::Range;
use std::sync::Arc;

/// A scenario's text under the name that messages give it.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    text: String,
    overrides: Vec<Applied>,
}

/// An override and the bytes it put into the text.
#[derive(Debug, Clone)]
struct Applied {
    argument: String,
    span: Range<usize>,
}

impl Source {
    /// `name` stands before line and column in messages.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), overrides: Vec::new() }
    }

    /// Name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text with all overrides applied.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Applies `key.path=value` to the text: replaces the value, or inserts the field and the sections it needs.
    ///
    /// A value for a field that holds a string may come without quotes. A text that is not well formed is left alone;
    /// parsing it will say why.
    ///
    /// # Errors
    /// [`ScenarioError::Override`] when the argument is malformed or its path leads nowhere.
    pub fn apply(&mut self, argument: &str) -> Result<(), ScenarioError> {
        self.try_apply(argument).map_err(|reason| ScenarioError::Override { argument: argument.to_owned(), reason })
    }

    fn try_apply(&mut self, argument: &str) -> Result<(), OverrideFault> {
        let (path, value) = argument.split_once('=').ok_or(OverrideFault::NoEquals)?;
        let (path, value) = (path.trim(), value.trim());
        let steps = parse_path(path).ok_or_else(|| OverrideFault::BadPath(path.to_owned()))?;
        let Ok(tree) = scan(&self.text) else { return Ok(()) };
        let (node, found) = tree.nearest(&steps);
        if found == steps.len() {
            let is_text = self.text[node.span.clone()].starts_with('"') && !value.starts_with(['"', 'r']);
            let value = if is_text { format!("{value:?}") } else { value.to_owned() };
            self.replace(node.span.clone(), &checked(value)?, 0, argument);
            return Ok(());
        }
        let here = || describe(&steps[..found]);
        let mut inserted =
            if path == "name" && !value.starts_with('"') { format!("{value:?}") } else { checked(value.to_owned())? };
        for (depth, step) in steps[found..].iter().enumerate().rev() {
            match step {
                Step::Key(key) if depth == 0 => inserted = format!("{key}: {inserted}"),
                Step::Key(key) => inserted = format!("({key}: {inserted})"),
                Step::Index(_) => return Err(OverrideFault::NoElement { path: here(), count: node.children.len() }),
            }
        }
        self.insert(node, &inserted, argument)
            .ok_or_else(|| OverrideFault::NoFields { path: here(), found: shorten(&self.text[node.span.clone()]) })
    }

    /// Puts `field` behind the last field of `node`; `None` if that is not something with fields.
    fn insert(&mut self, node: &Node, field: &str, argument: &str) -> Option<()> {
        let close = node.close.filter(|&at| self.text[at..].starts_with(')'))?;
        match node.children.last() {
            None => self.replace(close..close, field, 0, argument),
            Some(last) => {
                last.key.as_ref()?;
                let end = last.entry.end;
                let comma = if self.text[..end].ends_with(',') { " " } else { ", " };
                let behind = if comma == " " { "," } else { "" };
                self.replace(end..end, &format!("{comma}{field}{behind}"), comma.len(), argument);
            }
        }
        Some(())
    }

    /// Replaces bytes and keeps the spans of earlier overrides true; `lead` bytes of the new text are not the user's.
    fn replace(&mut self, range: Range<usize>, new: &str, lead: usize, argument: &str) {
        self.overrides.retain(|o| !(range.start <= o.span.start && o.span.end <= range.end));
        for applied in &mut self.overrides {
            let shift = |at: usize, moves: bool| if moves { at - range.len() + new.len() } else { at };
            let Range { start, end } = applied.span;
            // What is put right behind an earlier override is not part of it.
            applied.span = shift(start, start >= range.end)..shift(end, end >= range.end && end > range.start);
        }
        self.text.replace_range(range.clone(), new);
        let span = range.start + lead..range.start + new.len();
        self.overrides.push(Applied { argument: argument.to_owned(), span });
    }

    /// Line and column (in characters), both from 1, of a byte.
    pub fn line_column(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (1 + before.matches('\n').count(), 1 + before[line_start..].chars().count())
    }

    /// A fault at some bytes of the text.
    pub(crate) fn fault(&self, path: impl Into<String>, span: Range<usize>, kind: FaultKind) -> Fault {
        let typed_in = self.overrides.iter().rev().find(|o| o.span.start <= span.start && span.end <= o.span.end);
        let place = match typed_in {
            Some(applied) => Place::Override(applied.argument.clone()),
            None => {
                let (line, column) = self.line_column(span.start);
                Place::Text { file: self.name.clone(), line, column }
            }
        };
        let source = NamedSource::new(&self.name, Arc::from(self.text.as_str()));
        Fault { kind, path: path.into(), place, span, source }
    }

    /// The fault of a text whose shape is broken.
    pub(super) fn syntax_fault(&self, error: ScanError) -> Fault {
        let rest = &self.text[error.at..];
        let found = match rest.split_whitespace().next() {
            None => "the end of the text".to_owned(),
            Some(word) => format!("`{}`", shorten(word)),
        };
        let end = error.at + rest.chars().next().map_or(0, char::len_utf8);
        self.fault("", error.at..end, FaultKind::Syntax { expected: error.expected, found })
    }
}

/// A short form of some text for messages.
pub(super) fn shorten(text: &str) -> String {
    const LONGEST: usize = 48;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= LONGEST {
        return words;
    }
    words.chars().take(LONGEST).chain(['…']).collect()
}

/// Writes steps as a path.
pub(super) fn describe(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(key) if path.is_empty() => path.push_str(key),
            Step::Key(key) => path.extend([".", key]),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// The value, if it is one RON value and nothing else.
fn checked(value: String) -> Result<String, OverrideFault> {
    match scan(&value) {
        Ok(node) if node.span == (0..value.len()) => Ok(value),
        _ => Err(OverrideFault::BadValue(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, arguments: &[&str]) -> String {
        let mut source = Source::new("t.ron", text);
        for argument in arguments {
            source.apply(argument).unwrap_or_else(|error| panic!("{error}"));
        }
        source.text
    }

    #[test]
    fn an_override_replaces_a_value_or_inserts_what_is_missing() {
        for (text, argument, expected) in [
            ("(seed: 1, a: 2)", "seed=7", "(seed: 7, a: 2)"),
            ("(flow: (rtol: 1e-8))", "flow.rtol=1e-9", "(flow: (rtol: 1e-9))"),
            ("(flow: (rtol: 1e-8))", "flow.atol=1", "(flow: (rtol: 1e-8, atol: 1))"),
            ("(flow: (rtol: 1e-8,),)", "flow.atol=1", "(flow: (rtol: 1e-8, atol: 1,),)"),
            ("(a: 1, // last\n)", "flow.atol=1", "(a: 1, flow: (atol: 1), // last\n)"),
            ("()", "flow.atol=1", "(flow: (atol: 1))"),
            ("(u: [Time(1), Loss(2)])", "u[1]=Time(3)", "(u: [Time(1), Time(3)])"),
            ("(u: [Time(1), Loss(2)])", "u[0][0]=5", "(u: [Time(5), Loss(2)])"),
            ("(data: Ball(samples: 1))", "data.samples=12", "(data: Ball(samples: 12))"),
            ("(name: \"a\")", "name=b", "(name: \"b\")"),
            ("(seed: 1)", "name=b", "(seed: 1, name: \"b\")"),
        ] {
            assert_eq!(set(text, &[argument]), expected, "{text} --set {argument}");
        }
    }

    #[test]
    fn a_fault_in_an_override_is_placed_there_even_after_later_ones() {
        let mut source = Source::new("t.ron", "(a: 1, flow: (rtol: 1e-8))");
        for argument in ["flow.rtol=-100", "a=12345", "flow.atol=3"] {
            source.apply(argument).unwrap();
        }
        let place = |path: &str| {
            let tree = scan(source.text()).unwrap();
            let (node, _) = tree.nearest(&parse_path(path).unwrap());
            source.fault(path, node.span.clone(), FaultKind::Missing(vec![])).place
        };
        assert_eq!(place("flow.rtol"), Place::Override("flow.rtol=-100".into()));
        assert_eq!(place("flow.atol"), Place::Override("flow.atol=3".into()));
        assert_eq!(place("flow"), Place::Text { file: "t.ron".into(), line: 1, column: 18 });
    }

    #[test]
    fn a_wrong_override_says_what_was_expected() {
        for (argument, message) in [
            ("flow.rtol", "expected key.path=value, found no `=`"),
            ("=3", "expected a key path such as flow.rtol or data.x[3], found ``"),
            ("a=(1", "expected one RON value, found `(1`"),
            ("a=1 2", "expected one RON value, found `1 2`"),
            ("u[4]=1", "`u` has 2 elements"),
            ("a.b=1", "`a` has no fields: it is `1`"),
        ] {
            let error = Source::new("t", "(a: 1, u: [1, 2])").apply(argument).unwrap_err();
            assert_eq!(error.to_string(), format!("--set {argument}: {message}"));
        }
    }
}
