//! An NPY file that grows row by row and is readable after each.
//!
//! The header (NumPy format 1.0) has a fixed length, so that the number of rows can be written again in place.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes before the first number; a multiple of 64 as the format asks for.
const HEADER: usize = 128;

/// A K × P array of little-endian f64 in C order, K growing.
#[derive(Debug)]
pub struct NpyRows {
    file: File,
    n_rows: u64,
    n_columns: usize,
    bytes: Vec<u8>,
}

impl NpyRows {
    /// An array without rows in a new file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path, n_columns: usize) -> io::Result<Self> {
        let mut file = File::create(path)?;
        file.write_all(&header(0, n_columns))?;
        Ok(Self { file, n_rows: 0, n_columns, bytes: Vec::new() })
    }

    /// An array whose rows are all known, in a new file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(path: &Path, rows: &[f64], n_columns: usize) -> io::Result<()> {
        let mut bytes = header((rows.len() / n_columns.max(1)) as u64, n_columns);
        bytes.extend(rows.iter().flat_map(|x| x.to_le_bytes()));
        std::fs::write(path, bytes)
    }

    /// Appends a row, then counts it: the file is an array with one row less until the count is there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, row: &[f64]) -> io::Result<()> {
        debug_assert_eq!(row.len(), self.n_columns);
        self.bytes.clear();
        self.bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
        self.file.seek(SeekFrom::Start(HEADER as u64 + self.n_rows * self.bytes.len() as u64))?;
        self.file.write_all(&self.bytes)?;
        self.n_rows += 1;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header(self.n_rows, self.n_columns))
    }
}

fn header(n_rows: u64, n_columns: usize) -> Vec<u8> {
    // Magic, version 1.0, length of the rest.
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(((HEADER - 10) as u16).to_le_bytes());
    let text = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({n_rows}, {n_columns}), }}");
    bytes.extend(text.as_bytes());
    bytes.resize(HEADER - 1, b' ');
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_a_readable_array_after_every_row() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("rows.npy");
        let mut rows = NpyRows::create(&path, 3).expect("the file can be made");
        for k in 0..12_u64 {
            let read = npyz::NpyFile::new(File::open(&path).expect("it exists")).expect("an array");
            assert_eq!(read.shape(), [k, 3]);
            let all: Vec<f64> = read.into_vec().expect("f64");
            let expected: Vec<f64> = (0..k).flat_map(|k| [k as f64, 1.0 / (k as f64 + 1.0), -0.1]).collect();
            assert_eq!(all, expected);
            rows.push(&[k as f64, 1.0 / (k as f64 + 1.0), -0.1]).expect("a row can be written");
        }
    }

    #[test]
    fn the_header_has_room_for_every_shape() {
        assert_eq!(header(u64::MAX, usize::MAX).len(), HEADER);
        assert_eq!(header(u64::MAX, usize::MAX)[HEADER - 1], b'\n');
    }
}
