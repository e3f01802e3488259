//! A small drawing of a network: a column per layer, a dot per unit, at most a few of them.

use std::fmt::Write;

/// Dots that a column has at most; wider layers end in an ellipsis.
const MOST_DOTS: usize = 6;

/// Columns that are drawn; deeper networks are cut in the middle.
const MOST_COLUMNS: usize = 8;

/// The network with these widths (inputs, hidden layers, outputs) as SVG.
pub fn network(widths: &[usize]) -> String {
    let columns: Vec<Option<usize>> = if widths.len() > MOST_COLUMNS {
        let head = widths[..MOST_COLUMNS / 2].iter().copied().map(Some);
        let tail = widths[widths.len() - MOST_COLUMNS / 2 + 1..].iter().copied().map(Some);
        head.chain([None]).chain(tail).collect()
    } else {
        widths.iter().copied().map(Some).collect()
    };
    let tallest = columns.iter().flatten().map(|&n| n.min(MOST_DOTS)).max().unwrap_or(1) as f64;
    let (gap, middle) = (62.0, 8.5 * tallest + 6.0);
    let height = 2.0 * middle + 36.0;
    let width = gap * columns.len() as f64;
    let x = |column: usize| gap * (column as f64 + 0.5);
    let dots = |n: usize| n.min(MOST_DOTS);
    let y = |k: usize, n: usize| middle + (k as f64 - (dots(n) as f64 - 1.0) / 2.0) * 17.0;
    let text: Vec<String> = widths.iter().map(ToString::to_string).collect();
    let mut out = format!(
        "<svg class=\"network\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"network with widths {}\">\n",
        text.join(", ")
    );
    for (k, pair) in columns.windows(2).enumerate() {
        let (Some(a), Some(b)) = (pair[0], pair[1]) else { continue };
        for i in 0..dots(a) {
            for j in 0..dots(b) {
                let _ =
                    write!(out, "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>", x(k), y(i, a), x(k + 1), y(j, b));
            }
        }
    }
    for (k, column) in columns.iter().enumerate() {
        let Some(n) = *column else {
            let _ = write!(out, "<text x=\"{}\" y=\"{}\">…</text>", x(k), middle + 4.0);
            continue;
        };
        for i in 0..dots(n) {
            let _ = write!(out, "<circle cx=\"{}\" cy=\"{}\" r=\"5\"/>", x(k), y(i, n));
        }
        if n > MOST_DOTS {
            let _ = write!(out, "<text x=\"{}\" y=\"{}\">⋮</text>", x(k), y(MOST_DOTS, n) + 2.0);
        }
        let role = if k == 0 {
            "in"
        } else if k + 1 == columns.len() {
            "out"
        } else {
            "hidden"
        };
        let _ = write!(out, "<text x=\"{}\" y=\"{}\">{n} {role}</text>", x(k), height - 6.0);
    }
    out + "\n</svg>\n"
}
