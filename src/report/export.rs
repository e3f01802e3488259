//! Figures as SVG and PNG fit for a paper, with their numbers as CSV.
//!
//! The font is part of the program, so that a PNG comes out the same on a machine without any.

use super::ReportError;
use super::figure::{Axis, Colour, Figure, Mark, OnlyOn, Series};
use super::html::stairs;
use plotters::backend::BitMapBackend;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::fs::File;
use std::io::BufWriter;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Size of a figure in units of the SVG.
const SIZE: (u32, u32) = (720, 440);

/// Pixels of the PNG per unit of the SVG.
const SCALE: u32 = 2;

const FONT: &[u8] = include_bytes!("assets/DejaVuSansSubset.ttf");

/// Writes `<id>.svg`, `<id>.png` and `<id>.csv` for each figure into a folder, which is made if need be; returns their paths.
///
/// # Errors
/// When something cannot be written or drawn.
pub fn write_figures(figures: &[Figure], folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let write = |path: &Path, source| ReportError::Write { path: path.to_path_buf(), source };
    std::fs::create_dir_all(folder).map_err(|source| write(folder, source))?;
    // A font that is registered already stays as it is.
    let _ = register_font("sans-serif", FontStyle::Normal, FONT);
    let mut written = Vec::new();
    for figure in figures {
        let path = |extension: &str| folder.join(format!("{}.{extension}", figure.id));
        let draw = |path: &Path, reason: String| ReportError::Draw { path: path.to_path_buf(), reason };
        let target = path("svg");
        let mut text = String::new();
        plot(figure, SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), 1).map_err(|e| draw(&target, e))?;
        std::fs::write(&target, text).map_err(|source| write(&target, source))?;
        written.push(target);

        let target = path("png");
        let (width, height) = (SIZE.0 * SCALE, SIZE.1 * SCALE);
        let mut pixels = vec![255; (3 * width * height) as usize];
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        plot(figure, area, SCALE).map_err(|e| draw(&target, e))?;
        let file = File::create(&target).map_err(|source| write(&target, source))?;
        let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
        encoder.set_color(png::ColorType::Rgb);
        let encoded = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
        encoded.map_err(|e| draw(&target, e.to_string()))?;
        written.push(target);

        let target = path("csv");
        let mut table = csv::Writer::from_path(&target).map_err(|e| draw(&target, e.to_string()))?;
        let mut push = |cells: [&str; 3]| table.write_record(cells).map_err(|e| draw(&target, e.to_string()));
        push(["series", &figure.x.label, &figure.y.label])?;
        for series in drawn(figure) {
            for (x, y) in series.x.iter().zip(&series.y).filter(|(x, y)| x.is_finite() && y.is_finite()) {
                push([&series.name, &format!("{x:?}"), &format!("{y:?}")])?;
            }
        }
        table.flush().map_err(|source| write(&target, source))?;
        written.push(target);
    }
    Ok(written)
}

/// The series of the scale that is drawn.
fn drawn(figure: &Figure) -> impl Iterator<Item = &Series> {
    let scale = if figure.x.is_log { OnlyOn::Log } else { OnlyOn::Linear };
    figure.series.iter().filter(move |s| s.only_on.is_none_or(|o| o == scale))
}

fn rgb(colour: Colour) -> RGBColor {
    // Okabe and Ito's palette, dark enough for lines on paper.
    match colour {
        Colour::Main => RGBColor(0, 90, 160),
        Colour::Second => RGBColor(200, 90, 0),
        Colour::Third => RGBColor(0, 135, 100),
        Colour::Fourth => RGBColor(175, 90, 140),
        Colour::Fifth => RGBColor(60, 150, 210),
        Colour::Sixth => RGBColor(150, 120, 0),
        Colour::Alert => RGBColor(185, 20, 40),
        Colour::Muted => RGBColor(120, 120, 120),
    }
}

/// An axis that is linear, or linear in the logarithm.
struct Scale {
    range: Range<f64>,
    is_log: bool,
}

impl Scale {
    /// Just wide enough for the values that can be drawn.
    fn of<'a>(axis: &Axis, values: impl Iterator<Item = &'a f64>) -> Self {
        let values = values.copied().filter(|v| v.is_finite() && (!axis.is_log || *v > 0.0));
        let (mut low, mut high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            (low, high) = if axis.is_log { (0.1, 1.0) } else { (0.0, 1.0) };
        }
        let inner = |v: f64| if axis.is_log { v.log10() } else { v };
        let (a, b) = (inner(low), inner(high));
        let room = if b > a { 0.03 * (b - a) } else { 0.5 * b.abs().max(1.0) };
        Self { range: a - room..b + room, is_log: axis.is_log }
    }

    /// The position of a value on the axis, if it has one.
    fn at(&self, value: f64) -> Option<f64> {
        let inner = if self.is_log { value.log10() } else { value };
        inner.is_finite().then_some(inner)
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let span = self.range.end - self.range.start;
        let most = hint.max_num_points().clamp(2, 8) as f64;
        let step = if self.is_log && span >= 1.0 { (span / most).ceil().max(1.0) } else { nice(span / most) };
        let first = (self.range.start / step).ceil() as i64;
        let last = (self.range.end / step).floor() as i64;
        (first..=last).map(|k| k as f64 * step).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        let shown = if self.is_log { 10f64.powf(*value) } else { *value };
        let size = shown.abs();
        if shown == 0.0 || size < 1e-12 * (self.range.end - self.range.start).abs() && !self.is_log {
            "0".to_owned()
        } else if (1e-3..1e5).contains(&size) {
            let text = format!("{shown:.4}");
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        } else {
            let text = format!("{shown:.2e}");
            text.replace(".00e", "e").replace("0e", "e")
        }
    }
}

/// The next larger of 1, 2, 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= step * (1.0 - 1e-12)).unwrap_or(10.0 * power)
}

/// Positions on both axes; `None` is a gap.
type Points = Vec<Option<(f64, f64)>>;

/// Where a legend hides least: the corner with the fewest points.
fn emptiest_corner<'a>(
    points: impl Iterator<Item = &'a (f64, f64)>,
    x: &Range<f64>,
    y: &Range<f64>,
) -> SeriesLabelPosition {
    use SeriesLabelPosition::{LowerLeft, LowerRight, UpperLeft, UpperRight};
    let mut counts = [0_usize; 4];
    for point in points {
        let across = (point.0 - x.start) / (x.end - x.start);
        let up = (point.1 - y.start) / (y.end - y.start);
        if !(0.4..=0.6).contains(&across) && !(0.4..=0.6).contains(&up) {
            counts[2 * usize::from(up < 0.5) + usize::from(across < 0.5)] += 1;
        }
    }
    let corners = [UpperRight, UpperLeft, LowerRight, LowerLeft];
    let least = (0..4).min_by_key(|&k| counts[k]).unwrap_or(0);
    corners.into_iter().nth(least).unwrap_or(UpperRight)
}

fn plot<B: DrawingBackend>(figure: &Figure, area: DrawingArea<B, Shift>, scale: u32) -> Result<(), String> {
    let text = |e: DrawingAreaErrorKind<B::ErrorType>| e.to_string();
    let k = scale as i32;
    area.fill(&WHITE).map_err(text)?;
    let x = Scale::of(&figure.x, drawn(figure).flat_map(|s| &s.x));
    let y = Scale::of(&figure.y, drawn(figure).flat_map(|s| &s.y));
    let points = |s: &Series| -> Points {
        let (xs, ys) = if s.mark == Mark::Steps { stairs(s) } else { (s.x.clone(), s.y.clone()) };
        xs.iter().zip(&ys).map(|(a, b)| Some((x.at(*a)?, y.at(*b)?))).collect()
    };
    let all: Vec<(&Series, Points)> = drawn(figure).map(|s| (s, points(s))).collect();
    let corner = emptiest_corner(all.iter().flat_map(|(_, points)| points.iter().flatten()), &x.range, &y.range);
    let mut chart = ChartBuilder::on(&area)
        .margin(12 * k)
        .caption(&figure.title, ("sans-serif", 17 * k))
        .x_label_area_size(44 * k)
        .y_label_area_size(66 * k)
        .build_cartesian_2d(x, y)
        .map_err(text)?;
    chart
        .configure_mesh()
        .x_desc(figure.x.label.as_str())
        .y_desc(figure.y.label.as_str())
        .axis_desc_style(("sans-serif", 14 * k))
        .label_style(("sans-serif", 12 * k))
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(225, 225, 225))
        .draw()
        .map_err(text)?;
    for (series, points) in all {
        let colour = rgb(series.colour);
        let style = colour.stroke_width(match series.mark {
            Mark::Bars => 3 * scale,
            Mark::Dotted => scale,
            _ => 3 * scale / 2,
        });
        let legend = move |(a, b): (i32, i32)| PathElement::new([(a, b), (a + 18 * k, b)], style);
        // One entry in the legend per series, however many pieces it is drawn in.
        let mut is_named = series.is_unnamed;
        for run in points.split(Option::is_none).filter(|run| !run.is_empty()) {
            let run: Vec<(f64, f64)> = run.iter().flatten().copied().collect();
            let annotation = match series.mark {
                Mark::Dots => chart.draw_series(run.iter().map(|p| Circle::new(*p, 2 * k, colour.filled()))),
                Mark::Points => chart.draw_series(run.iter().map(|p| Circle::new(*p, 4 * k, colour.filled()))),
                Mark::Crosses => {
                    let drawn =
                        chart.draw_series(run.iter().map(|p| Cross::new(*p, 3 * k, colour.stroke_width(scale))));
                    drawn.map_err(text)?;
                    chart.draw_series(std::iter::empty::<Circle<(f64, f64), i32>>())
                }
                Mark::Dashed => chart.draw_series(DashedLineSeries::new(run, 6 * k, 4 * k, style)),
                Mark::Dotted => chart.draw_series(DashedLineSeries::new(run, k, 3 * k, style)),
                Mark::Line | Mark::Steps | Mark::Bars => chart.draw_series(LineSeries::new(run, style)),
            }
            .map_err(text)?;
            if !std::mem::replace(&mut is_named, true) {
                annotation.label(series.name.as_str()).legend(legend);
            }
        }
    }
    chart
        .configure_series_labels()
        .position(corner)
        .legend_area_size(28 * k)
        .margin(8 * k)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 12 * k))
        .draw()
        .map_err(text)?;
    area.present().map_err(text)
}
