//! Pages and figures from run directories alone.
//!
//! Knows nothing of simulating: all it reads goes through [`crate::record`]. A run is read into a [`Loaded`] as far as it can be read,
//! [`panels`] turn that into words and [`figure::Figure`]s, and those are drawn twice: by plotly in a page that needs no network
//! (`page`), and as SVG, PNG and CSV ([`export`]). Start with [`write_run`].

mod diagram;
pub mod export;
pub mod figure;
mod histogram;
mod html;
pub mod loaded;
mod number;
pub mod overview;
mod page;
pub mod panels;
pub mod plane;
mod shell;
mod side_by_side;
pub mod slides;
mod sweep;
mod thin;

pub use loaded::Loaded;
pub use number::significant;

use crate::record::{RecordError, Sweep, file};
use figure::Figure;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A file cannot be written.
    #[error("cannot write `{}`: {source}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A figure cannot be drawn.
    #[error("cannot draw `{}`: {reason}", .path.display())]
    Draw {
        /// Its file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Writes `report.html` into the folder of a run, or of a sweep; returns its path.
///
/// # Errors
/// When the folder is neither, or the page cannot be written.
pub fn write_run(folder: &Path) -> Result<PathBuf, ReportError> {
    write(&[folder], &folder.join(file::REPORT))
}

/// Writes the page of a run, of a sweep, or of several runs side by side.
///
/// # Errors
/// When a folder is neither a run nor a sweep, or the page cannot be written.
pub fn write(folders: &[&Path], target: &Path) -> Result<PathBuf, ReportError> {
    let page = match folders {
        [folder] if Sweep::is_at(folder) => sweep::page(&Sweep::open(folder)?),
        [folder] => page::page(&Loaded::open(folder)?),
        several => side_by_side::page(&load(several)?),
    };
    std::fs::write(target, page).map_err(|source| ReportError::Write { path: target.to_path_buf(), source })?;
    Ok(target.to_path_buf())
}

/// The figures of a run, of a sweep, or of several runs side by side.
///
/// # Errors
/// When a folder is neither a run nor a sweep.
pub fn figures(folders: &[&Path], log_time: Option<bool>) -> Result<Vec<Figure>, ReportError> {
    Ok(match folders {
        [folder] if Sweep::is_at(folder) => sweep::figures(&Sweep::open(folder)?, log_time.unwrap_or(false)),
        [folder] => {
            let loaded = Loaded::open(folder)?;
            let is_log = log_time.unwrap_or(false);
            panels::of(&loaded, is_log).into_iter().flat_map(|panel| panel.figures).collect()
        }
        several => side_by_side::figures(&load(several)?, log_time.unwrap_or(false)),
    })
}

fn load(folders: &[&Path]) -> Result<Vec<Loaded>, RecordError> {
    folders.iter().map(|folder| Loaded::open(folder)).collect()
}
