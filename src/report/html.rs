//! Text and data inside HTML: nothing from a record reaches a page but through these.

use super::figure::{Figure, Mark, OnlyOn, Series};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

/// Text for elements and attributes in double quotes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters are not allowed in HTML.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A value as the content of a `script` element of type `application/json`: no `<` can end the element.
pub fn json_data(id: &str, value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("values made here have string keys and can be written");
    format!("<script type=\"application/json\" id=\"{id}\">{}</script>\n", text.replace('<', "\\u003c"))
}

/// Numbers as little-endian bytes in base64, which pages read back to the same f64.
pub fn doubles(values: &[f64]) -> Value {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    json!({ "dtype": "f8", "bdata": STANDARD.encode(bytes) })
}

/// Whole numbers, likewise, as 32-bit integers.
pub fn integers(values: impl Iterator<Item = usize>) -> Value {
    let bytes: Vec<u8> = values.flat_map(|x| i32::try_from(x).unwrap_or(i32::MAX).to_le_bytes()).collect();
    json!({ "dtype": "i4", "bdata": STANDARD.encode(bytes) })
}

/// A figure for the script of the page.
pub fn figure_data(figure: &Figure) -> Value {
    let series = |s: &Series| {
        let (x, y) = if s.mark == Mark::Steps { stairs(s) } else { (s.x.clone(), s.y.clone()) };
        json!({
            "name": s.name,
            "mark": s.mark,
            "colour": s.colour,
            "only_on": s.only_on.map(|o| if o == OnlyOn::Log { "log" } else { "linear" }),
            "unnamed": s.is_unnamed,
            "x": doubles(&x),
            "y": doubles(&y),
        })
    };
    json!({
        "id": figure.id,
        "title": figure.title,
        "x": figure.x,
        "y": figure.y,
        "series": figure.series.iter().map(series).collect::<Vec<_>>(),
    })
}

/// Corners of a staircase, so that a gap at a step does not swallow the next one.
pub fn stairs(series: &Series) -> (Vec<f64>, Vec<f64>) {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for k in 0..series.x.len() {
        x.push(series.x[k]);
        y.push(series.y[k]);
        if let Some(next) = series.x.get(k + 1) {
            x.push(*next);
            y.push(series.y[k]);
        }
    }
    (x, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_leave_its_place() {
        assert_eq!(escape("<b a=\"1\" c='2'>&"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
        let data = json_data("d", &json!({ "</script><script>": "<!--" }));
        assert_eq!(data.matches('<').count(), 2, "{data}");
    }
}
