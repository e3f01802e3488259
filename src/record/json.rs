//! JSON files of a record, one object each.

use super::error::RecordError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::Path;

/// Writes `value` to `folder/name` at one stroke: a reader sees the old file or the new one.
///
/// # Errors
/// [`RecordError::Io`].
pub(super) fn write(folder: &Path, name: &str, value: &impl Serialize) -> Result<(), RecordError> {
    let target = folder.join(name);
    let unfinished = folder.join(format!("{name}.tmp"));
    let mut text = serde_json::to_string_pretty(value)
        .expect("types of the record have string keys only, and writing to a string cannot fail");
    text.push('\n');
    fs::write(&unfinished, text).map_err(RecordError::io("write", &unfinished))?;
    fs::rename(&unfinished, &target).map_err(RecordError::io("replace", &target))
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// [`RecordError::Io`], and [`RecordError::Malformed`] with the line.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, RecordError> {
    parse(path, &text(path)?)
}

/// The text of a file.
///
/// # Errors
/// [`RecordError::Io`].
pub(super) fn text(path: &Path) -> Result<String, RecordError> {
    fs::read_to_string(path).map_err(RecordError::io("read", path))
}

/// A value from the text of the file at `path`.
///
/// # Errors
/// [`RecordError::Malformed`] with the line.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, RecordError> {
    serde_json::from_str(text).map_err(|error| RecordError::Malformed {
        path: path.to_path_buf(),
        line: error.line().max(1) as u64,
        reason: error.to_string(),
    })
}
