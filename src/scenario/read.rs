//! Data files: CSV columns and NumPy arrays.

use super::check::Report;
use super::embedded::embedded_file;
use super::fault::FaultKind;
use std::path::PathBuf;

/// Cells reported per file: a wrong column has one fault in each of its lines.
const MOST_CELL_FAULTS: usize = 5;

/// What the paths in a scenario are relative to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folder {
    /// A folder on disk.
    Disk(PathBuf),
    /// The files that come with the program.
    Embedded,
}

impl Folder {
    /// The bytes of a file, or why there are none.
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match self {
            Self::Disk(folder) => std::fs::read(folder.join(path)).map_err(|error| error.to_string()),
            Self::Embedded => match embedded_file(path) {
                Some(bytes) => Ok(bytes.to_vec()),
                None => std::fs::read(path).map_err(|error| error.to_string()),
            },
        }
    }
}

/// A numeric table, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// Rows of equal length.
    pub rows: Vec<Vec<f64>>,
    /// Shape of a row: its length, or nodes and features.
    pub shape: Vec<usize>,
}

impl Table {
    /// Plain rows.
    pub fn of_rows(rows: Vec<Vec<f64>>) -> Self {
        let shape = vec![rows.first().map_or(0, Vec::len)];
        Self { rows, shape }
    }
}

/// The bytes of a file; a fault at `path` of the scenario if there are none.
pub(super) fn read_bytes(report: &mut Report, folder: &Folder, path: &str, file: &str) -> Option<Vec<u8>> {
    match folder.read(file) {
        Ok(bytes) => Some(bytes),
        Err(reason) => {
            report.push(path, FaultKind::File { file: file.to_owned(), reason });
            None
        }
    }
}

/// Columns of a CSV file with a header; `groups` are pairs of a path in the scenario and the wanted names.
pub(super) fn read_csv(
    report: &mut Report,
    file: &str,
    bytes: &[u8],
    groups: [(&str, &[String]); 2],
) -> Option<[Table; 2]> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let failed = |error: csv::Error| FaultKind::File { file: file.to_owned(), reason: error.to_string() };
    let header: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(str::to_owned).collect(),
        Err(error) => {
            report.push("data.path", failed(error));
            return None;
        }
    };
    let n_faults = report.faults.len();
    let columns = groups.map(|(path, names)| find_columns(report, file, &header, (path, names)));
    let mut tables = columns.each_ref().map(|columns| Table { rows: Vec::new(), shape: vec![columns.len()] });
    let mut n_cell_faults = 0;
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                report.push("data.path", failed(error));
                return None;
            }
        };
        for (table, columns) in tables.iter_mut().zip(&columns) {
            let mut row = Vec::with_capacity(columns.len());
            for &column in columns {
                let text = record.get(column).unwrap_or("");
                let value = text.parse::<f64>().unwrap_or(f64::NAN);
                row.push(value);
                if !value.is_finite() && n_cell_faults < MOST_CELL_FAULTS {
                    n_cell_faults += 1;
                    let cell = FaultKind::Cell {
                        file: file.to_owned(),
                        line: record.position().map_or(0, csv::Position::line),
                        column: column + 1,
                        name: header[column].clone(),
                        found: text.to_owned(),
                    };
                    report.push("data.path", cell);
                }
            }
            table.rows.push(row);
        }
    }
    report.require(!tables[0].rows.is_empty(), "data.path", "at least one row below the header", "none");
    (report.faults.len() == n_faults).then_some(tables)
}

fn find_columns(report: &mut Report, file: &str, header: &[String], (path, names): (&str, &[String])) -> Vec<usize> {
    let mut columns = Vec::new();
    for (k, name) in names.iter().enumerate() {
        match header.iter().position(|h| h == name) {
            Some(column) => columns.push(column),
            None => report.push(
                &format!("{path}[{k}]"),
                FaultKind::Column { file: file.to_owned(), name: name.clone(), known: header.to_vec() },
            ),
        }
    }
    columns
}

/// An array of one to three dimensions; a one-dimensional one is a column. Values may be NaN.
pub(super) fn read_npy(report: &mut Report, path: &str, file: &str, bytes: &[u8]) -> Option<Table> {
    match parse_npy(bytes) {
        Ok(table) => Some(table),
        Err(reason) => {
            report.push(path, FaultKind::File { file: file.to_owned(), reason });
            None
        }
    }
}

fn parse_npy(bytes: &[u8]) -> Result<Table, String> {
    let open = || npyz::NpyFile::new(bytes).map_err(|error| error.to_string());
    let npy = open()?;
    let shape: Vec<usize> = npy.shape().iter().map(|&extent| extent as usize).collect();
    // A header may claim anything; rows without columns are rows all the same.
    let n_values: f64 = shape.iter().map(|&extent| extent.max(1) as f64).product();
    if n_values > bytes.len() as f64 {
        return Err(format!("its header says shape {shape:?}, which does not fit into {} bytes", bytes.len()));
    }
    let (n_rows, inner) = match shape[..] {
        [rows] => (rows, vec![1]),
        [rows, columns] => (rows, vec![columns]),
        [graphs, nodes, features] => (graphs, vec![nodes, features]),
        _ => return Err(format!("expected an array of 1 to 3 dimensions, found shape {shape:?}")),
    };
    let is_fortran = npy.order() == npyz::Order::Fortran;
    let n_columns: usize = inner.iter().product();
    let kind = npy.dtype().descr();
    let values: Vec<f64> = if let Ok(values) = npy.data::<f64>() {
        values.collect::<Result<_, _>>().map_err(|error| error.to_string())?
    } else if let Ok(values) = open()?.data::<f32>() {
        values.map(|v| v.map(f64::from)).collect::<Result<_, _>>().map_err(|error| error.to_string())?
    } else if let Ok(values) = open()?.data::<i64>() {
        values.map(|v| v.map(|v| v as f64)).collect::<Result<_, _>>().map_err(|error| error.to_string())?
    } else {
        return Err(format!("expected numbers of type float64, float32 or int64, found {kind}"));
    };
    let at = |i: usize, k: usize| match inner[..] {
        [n_nodes, n_features] if is_fortran => values[i + n_rows * (k / n_features + n_nodes * (k % n_features))],
        _ if is_fortran => values[k * n_rows + i],
        _ => values[i * n_columns + k],
    };
    let rows = (0..n_rows).map(|i| (0..n_columns).map(|k| at(i, k)).collect()).collect();
    Ok(Table { rows, shape: inner })
}

/// A matrix of numbers: a NumPy array by its name, else comma-separated values without a header.
pub(super) fn read_matrix(report: &mut Report, path: &str, file: &str, bytes: &[u8]) -> Option<Table> {
    if file.ends_with(".npy") {
        return read_npy(report, path, file, bytes);
    }
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).has_headers(false).from_reader(bytes);
    let mut rows = Vec::new();
    let mut failed = |reason: String| report.push(path, FaultKind::File { file: file.to_owned(), reason });
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                failed(error.to_string());
                return None;
            }
        };
        let mut row = Vec::with_capacity(record.len());
        for (k, text) in record.iter().enumerate() {
            let Ok(value) = text.parse() else {
                let line = record.position().map_or(0, csv::Position::line);
                failed(format!("line {line}, column {}: expected a number, found `{text}`", k + 1));
                return None;
            };
            row.push(value);
        }
        rows.push(row);
    }
    Some(Table::of_rows(rows))
}
