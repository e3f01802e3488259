//! Numbers in lists in lists: rows of values, node features of graphs, adjacency matrices.

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// A number, or a list of such values.
#[derive(Debug, Clone, PartialEq)]
pub enum Nested {
    /// A number.
    Number(f64),
    /// A list.
    List(Vec<Nested>),
}

/// Where lists are not equally deep and long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ragged {
    /// Path below the value, such as `[2][1]`.
    pub path: String,
    /// What the first element has there.
    pub expected: String,
    /// What this one has.
    pub found: String,
}

impl Nested {
    /// Extent along each axis, that of the first elements.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Number(_) => Vec::new(),
            Self::List(items) => {
                let inner = items.first().map_or(Vec::new(), Self::shape);
                [items.len()].into_iter().chain(inner).collect()
            }
        }
    }

    /// All numbers in order.
    pub fn values(&self) -> Vec<f64> {
        match self {
            Self::Number(value) => vec![*value],
            Self::List(items) => items.iter().flat_map(Self::values).collect(),
        }
    }

    /// Everything that differs from `shape`.
    pub(super) fn ragged(&self, shape: &[usize], path: &str, out: &mut Vec<Ragged>) {
        let wrong =
            |expected: &str, found: String| Ragged { path: path.to_owned(), expected: expected.to_owned(), found };
        match (self, shape) {
            (Self::Number(_), []) => {}
            (Self::Number(value), _) => out.push(wrong("a list in [..]", value.to_string())),
            (Self::List(_), []) => out.push(wrong("a number", "a list".to_owned())),
            (Self::List(items), [count, inner @ ..]) => {
                if items.len() != *count {
                    let what = if inner.is_empty() { "values" } else { "rows" };
                    out.push(wrong(&format!("{count} {what} as in the first row"), items.len().to_string()));
                }
                for (k, item) in items.iter().enumerate() {
                    item.ragged(inner, &format!("{path}[{k}]"), out);
                }
            }
        }
    }

    /// Paths and values of numbers that are not finite.
    pub(super) fn not_finite(&self, path: &str, out: &mut Vec<(String, f64)>) {
        match self {
            Self::Number(value) if !value.is_finite() => out.push((path.to_owned(), *value)),
            Self::Number(_) => {}
            Self::List(items) => {
                items.iter().enumerate().for_each(|(k, item)| item.not_finite(&format!("{path}[{k}]"), out));
            }
        }
    }
}

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(value) => value.serialize(to),
            Self::List(items) => items.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NestedVisitor)
    }
}

struct NestedVisitor;

impl<'de> Visitor<'de> for NestedVisitor {
    type Value = Nested;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a list in [..]")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Nested, E> {
        Ok(Nested::Number(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Nested, E> {
        Ok(Nested::Number(value as f64))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Nested, E> {
        Ok(Nested::Number(value as f64))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Nested, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Nested::List(list))
    }
}
