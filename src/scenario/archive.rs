//! A scenario written back with every default, and copies of its data files.

use super::architecture::{AdjacencySpec, NetworkSpec};
use super::spec::{DataSpec, InitialSpec, Spec};
use std::path::Path;

/// Text and data files that give the same run again.
#[derive(Debug, Clone, PartialEq)]
pub struct Archive {
    /// RON text, every default written out; data files are at `data/…`.
    pub text: String,
    /// Path relative to the text, and content.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Archive {
    /// Writes `scenario.ron` and the data files into an existing folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        for (path, content) in &self.files {
            let target = folder.join(path);
            std::fs::create_dir_all(target.parent().unwrap_or(folder))?;
            std::fs::write(target, content)?;
        }
        std::fs::write(folder.join("scenario.ron"), &self.text)
    }

    /// Archives a scenario whose files have been read as `files`, in the order of [`file_paths`].
    pub(super) fn new(mut spec: Spec, contents: Vec<Vec<u8>>) -> Self {
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        for (path, content) in file_paths(&mut spec).into_iter().zip(contents) {
            let name = Path::new(path).file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy());
            let mut kept = format!("data/{name}");
            let mut copy = 1;
            // Two files of one name from different folders must not overwrite each other.
            while files.iter().any(|(other, bytes)| *other == kept && *bytes != content) {
                copy += 1;
                kept = format!("data/{copy}-{name}");
            }
            path.clone_from(&kept);
            if !files.iter().any(|(other, _)| *other == kept) {
                files.push((kept, content));
            }
        }
        let style = ron::ser::PrettyConfig::new().depth_limit(1).new_line("\n");
        let text = ron::ser::to_string_pretty(&spec, style)
            .expect("the types of a scenario are all representable in RON, and writing to a string cannot fail");
        Self { text: text + "\n", files }
    }
}

/// Paths of the data files a scenario names.
pub(super) fn file_paths(spec: &mut Spec) -> Vec<&mut String> {
    let mut paths = Vec::new();
    match &mut spec.data {
        Some(DataSpec::Csv { path, .. }) => paths.push(path),
        Some(DataSpec::Npy { x, y }) => paths.extend([x, y]),
        Some(DataSpec::Ball { .. } | DataSpec::Inline { .. }) | None => {}
    }
    if let Some(
        NetworkSpec::GraphConv { adjacency: AdjacencySpec::File(path), .. }
        | NetworkSpec::Chebyshev { adjacency: AdjacencySpec::File(path), .. }
        | NetworkSpec::GraphConvMorris { adjacency: AdjacencySpec::File(path), .. },
    ) = &mut spec.network
    {
        paths.push(path);
    }
    if let InitialSpec::Npy(path) = &mut spec.initial {
        paths.push(path);
    }
    paths
}
