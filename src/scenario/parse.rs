//! Text → [`Spec`](super::Spec) or another type, with every fault of names and types at once.
//!
//! `ron` stops at the first fault. So the fault is noted, the field that holds it is blanked out (which moves no other
//! byte), and the text is parsed again, until it parses. Faults that only follow from a blanked field are not told.

use super::fault::{Fault, FaultKind, nearest};
use super::scan::{Node, Step, scan};
use super::source::{Source, describe, shorten};
use super::spec::REQUIRED;
use ron::error::{Error, SpannedError};
use serde::de::DeserializeOwned;
use std::ops::Range;

/// What could be parsed.
#[derive(Debug)]
pub(crate) struct Parsed<T> {
    /// The fields that have no fault of name or type.
    pub spec: T,
    /// The shape of the text without the blanked fields.
    pub tree: Node,
    /// Paths of the blanked fields.
    pub blanked: Vec<String>,
    /// Faults found so far.
    pub faults: Vec<Fault>,
}

/// Parses the text of `source`.
///
/// # Errors
/// The faults, when so much is wrong that nothing is left to check.
pub(crate) fn parse<T: DeserializeOwned>(source: &Source) -> Result<Parsed<T>, Vec<Fault>> {
    let mut recovery = Recovery { source, text: source.text().to_owned(), blanked: Vec::new(), faults: Vec::new() };
    loop {
        let tree = match scan(&recovery.text) {
            Ok(tree) => tree,
            Err(error) => {
                recovery.faults.push(source.syntax_fault(error));
                return Err(recovery.faults);
            }
        };
        match ron::from_str(&recovery.text) {
            Ok(spec) => {
                let blanked = recovery.blanked.into_iter().map(|b| b.path).collect();
                return Ok(Parsed { spec, tree, blanked, faults: recovery.faults });
            }
            Err(error) => {
                if !recovery.note_and_blank(&tree, error) {
                    return Err(recovery.faults);
                }
            }
        }
    }
}

struct Recovery<'a> {
    source: &'a Source,
    text: String,
    blanked: Vec<Blanked>,
    faults: Vec<Fault>,
}

struct Blanked {
    path: String,
    /// Byte at which the enclosing value starts.
    parent: usize,
    /// The field this was, or was probably meant to be.
    meant: Option<String>,
}

/// The innermost field or element around a byte.
struct Target<'a> {
    path: Vec<Step>,
    node: &'a Node,
    parent: Option<&'a Node>,
    entry: Range<usize>,
    key: Option<&'a str>,
}

impl Recovery<'_> {
    /// Notes a fault and blanks its field; false when the fault is in the text as a whole.
    fn note_and_blank(&mut self, tree: &Node, error: SpannedError) -> bool {
        let at = offset(&self.text, error.span.start.line, error.span.start.col);
        let at = self.text.len() - self.text[at..].trim_start().len();
        let target = find(&self.text, tree, at, &error.code);
        let stand_in = stand_in(&error.code, target.node);
        let had_faults = self.faults.len();
        let excused: Vec<&str> = self.excused(target.node).collect();
        let is_follow_up = self.blanked.iter().any(|b| b.parent == target.node.span.start);
        if let Some(kind) = self.kind(&target, error.code, &excused, is_follow_up) {
            let on_key = matches!(kind, FaultKind::UnknownField { .. } | FaultKind::Duplicate(_));
            let span = match target.key {
                Some(key) if on_key => target.entry.start..target.entry.start + key.len(),
                _ => target.node.head(),
            };
            self.faults.push(self.source.fault(describe(&target.path), span, kind));
        }
        let Some(parent) = target.parent else { return false };
        let path = describe(&target.path);
        let is_second = self.blanked.iter().any(|b| b.path == path);
        let meant = match self.faults.get(had_faults).map(|f| &f.kind) {
            Some(FaultKind::UnknownField { name, known }) => nearest(name, known.iter().map(String::as_str)),
            _ => target.key,
        };
        self.blanked.push(Blanked { path, parent: parent.span.start, meant: meant.map(str::to_owned) });
        // A value of the right kind in its place keeps the section around it, so that its other fields are checked.
        let fits = stand_in.filter(|text| !is_second && text.len() <= target.node.span.len());
        match fits {
            Some(text) => self.blank(target.node.span.clone(), text),
            None => self.blank(target.entry, ""),
        }
        true
    }

    /// Overwrites bytes with some text and as many blanks as keep all spans true; line ends stay.
    fn blank(&mut self, range: Range<usize>, text: &str) {
        let rest = self.text.as_bytes()[range.start + text.len()..range.end].iter();
        let blanks: String = rest.map(|&b| if b == b'\n' { '\n' } else { ' ' }).collect();
        self.text.replace_range(range, &format!("{text}{blanks}"));
    }

    fn excused<'b>(&'b self, node: &'b Node) -> impl Iterator<Item = &'b str> {
        self.blanked.iter().filter(|b| b.parent == node.span.start).filter_map(|b| b.meant.as_deref())
    }

    /// What the fault is; `None` if it only follows from an earlier one.
    fn kind(&self, target: &Target, code: Error, excused: &[&str], is_follow_up: bool) -> Option<FaultKind> {
        let names = |known: &[&str]| known.iter().map(|name| (*name).to_owned()).collect();
        Some(match code {
            Error::NoSuchStructField { expected, found, .. } => {
                FaultKind::UnknownField { name: found, known: names(expected) }
            }
            Error::NoSuchEnumVariant { expected, found, .. } => {
                FaultKind::UnknownVariant { name: found, known: names(expected) }
            }
            Error::DuplicateStructField { field, .. } => FaultKind::Duplicate(field.to_owned()),
            Error::MissingStructField { field, outer } => {
                let missing = missing_fields(target.node, field, outer.as_deref(), excused);
                if missing.is_empty() {
                    return None;
                }
                FaultKind::Missing(missing)
            }
            _ if is_follow_up => return None,
            code => FaultKind::Value {
                expected: expected(&code, target),
                found: match shorten(&self.text[target.node.span.clone()]) {
                    text if text.is_empty() => "nothing".to_owned(),
                    text => format!("`{text}`"),
                },
                hint: None,
            },
        })
    }
}

/// The byte at a line and column as `ron` counts them.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = &text[start..];
    start + rest.char_indices().nth(column - 1).map_or(rest.len(), |(offset, _)| offset)
}

/// Whether a name was expected.
fn is_name(code: &Error) -> bool {
    matches!(code, Error::ExpectedIdentifier | Error::SuggestRawIdentifier(_) | Error::InvalidIdentifier(_))
}

/// A value of the kind that was expected, for leaves.
fn stand_in(code: &Error, node: &Node) -> Option<&'static str> {
    match code {
        Error::ExpectedInteger
        | Error::IntegerOutOfBounds
        | Error::InvalidIntegerDigit { .. }
        | Error::ExpectedFloat => Some("1"),
        // `1.5` for an integer.
        Error::ExpectedComma if node.close.is_none() => Some("1"),
        Error::ExpectedBoolean => Some("true"),
        Error::ExpectedString => Some("\"\""),
        Error::ExpectedArray => Some("[]"),
        _ => None,
    }
}

fn missing_fields(node: &Node, first: &str, outer: Option<&str>, excused: &[&str]) -> Vec<String> {
    let only_first = [first];
    let required = REQUIRED.iter().find(|(name, _)| Some(*name) == outer).map_or(&only_first[..], |(_, fields)| fields);
    let is_there = |field: &str| node.children.iter().any(|c| c.key.as_deref() == Some(field));
    required.iter().filter(|f| !is_there(f) && !excused.contains(f)).map(|f| (*f).to_owned()).collect()
}

/// The field that an error of `ron` at byte `at` is about.
fn find<'a>(text: &str, tree: &'a Node, at: usize, code: &Error) -> Target<'a> {
    let mut target = Target { path: Vec::new(), node: tree, parent: None, entry: tree.span.clone(), key: None };
    loop {
        let node = target.node;
        // A value without its brackets, or of another kind, is noticed behind its end, all else at or in it.
        let is_behind = matches!(code, Error::ExpectedStructLike | Error::InvalidValueForType { .. });
        if node.close == Some(at) && !is_behind {
            return target;
        }
        let inside = node.children.iter().enumerate().find(|(_, c)| c.entry.contains(&at));
        let behind = || node.children.iter().enumerate().rev().find(|(_, c)| is_behind && c.node.span.end <= at);
        let Some((index, child)) = inside.or_else(behind) else { return target };
        if is_name(code) && child.key.is_none() && !text[node.span.clone()].starts_with('[') {
            // Values without names where fields are wanted: the whole section is at fault, not each value.
            return target;
        }
        target.path.push(child.key.clone().map_or(Step::Index(index), Step::Key));
        target = Target {
            path: target.path,
            node: &child.node,
            parent: Some(node),
            entry: child.entry.clone(),
            key: child.key.as_deref(),
        };
        if at < child.node.span.start {
            return target;
        }
    }
}

/// What `ron` expected, in words.
fn expected(code: &Error, target: &Target) -> String {
    match code {
        Error::ExpectedInteger | Error::IntegerOutOfBounds | Error::InvalidIntegerDigit { .. } => {
            "an integer of at least 0"
        }
        // An integer is read up to the point of `1.5`, where the next thing should be a comma.
        Error::ExpectedComma if target.node.close.is_none() => "an integer of at least 0",
        Error::ExpectedComma => "a name without (..)",
        Error::ExpectedFloat | Error::FloatUnderscore => "a number",
        Error::ExpectedBoolean => "true or false",
        Error::ExpectedString => "a string in double quotes",
        Error::ExpectedArray => "a list in [..]",
        Error::ExpectedStructLike => "a value in (..) behind the name",
        Error::ExpectedNamedStructLike(_) => "fields in (..)",
        Error::ExpectedStructLikeEnd => "no further value",
        Error::ExpectedDifferentLength { expected, .. } => {
            return match expected.rsplit_once("with ") {
                Some((_, count)) => count.replace("elements", "values"),
                None => expected.clone(),
            };
        }
        code if is_name(code) && target.node.children.is_empty() => "a name",
        code if is_name(code) => "fields with their names, as in `(name: value)`",
        Error::InvalidValueForType { expected, .. } => return expected.clone(),
        other => return format!("valid RON ({other})"),
    }
    .to_owned()
}
