//! The two plots, as SVG without any library: cost by number of entries, and latency as a distribution.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;

/// One line of a plot.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) color: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Both axes logarithmic.
pub(crate) fn logarithmic(title: &str, x: &str, y: &str, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) =
            values.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| (low.min(value), high.max(value)));
        (low.max(1e-3).log10().floor(), high.log10().ceil())
    };
    let (x_low, x_high) = range(&mut all().map(|point| point.0));
    let (y_low, y_high) = range(&mut all().map(|point| point.1));
    let at_x =
        |value: f64| LEFT + (value.max(1e-3).log10() - x_low) / (x_high - x_low).max(1.0) * (WIDTH - LEFT - RIGHT);
    let at_y = |value: f64| {
        HEIGHT - BOTTOM - (value.max(1e-3).log10() - y_low) / (y_high - y_low).max(1.0) * (HEIGHT - TOP - BOTTOM)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{x}</text>\n\
         <text transform=\"translate(16 {}) rotate(-90)\" text-anchor=\"middle\">{y}</text>\n",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 14.0,
        f64::midpoint(TOP, HEIGHT - BOTTOM),
    );
    let mut power = x_low;
    while power <= x_high {
        let place = at_x(10f64.powf(power));
        let _ = writeln!(
            svg,
            "<line x1=\"{place:.1}\" y1=\"{TOP}\" x2=\"{place:.1}\" y2=\"{}\" stroke=\"#ddd\"/><text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0,
            10f64.powf(power)
        );
        power += 1.0;
    }
    let mut power = y_low;
    while power <= y_high {
        let place = at_y(10f64.powf(power));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{place:.1}\" x2=\"{}\" y2=\"{place:.1}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            place + 4.0,
            10f64.powf(power)
        );
        power += 1.0;
    }
    for (number, line) in lines.iter().enumerate() {
        let points: String = line.points.iter().map(|(x, y)| format!("{:.1},{:.1} ", at_x(*x), at_y(*y))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>",
            points.trim_end(),
            line.color
        );
        let offset = TOP + 16.0 + 18.0 * f64::from(u8::try_from(number).unwrap_or(u8::MAX));
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"4\" fill=\"{}\"/><text x=\"{}\" y=\"{}\">{}</text>",
            LEFT + 10.0,
            offset - 6.0,
            line.color,
            LEFT + 28.0,
            offset,
            line.name
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Latencies as the share of samples that took longer: a straight way to see the tail.
pub(crate) fn distribution(latencies: &BTreeMap<&'static str, Vec<f64>>) -> String {
    let lines: Vec<Line> = latencies
        .iter()
        .map(|(name, values)| {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let count = f64::from(u32::try_from(sorted.len()).unwrap_or(u32::MAX));
            let points = sorted
                .iter()
                .enumerate()
                .map(|(rank, value)| {
                    (*value, 100.0 * (count - f64::from(u32::try_from(rank).unwrap_or(u32::MAX))) / count)
                })
                .collect();
            Line { name: (*name).to_owned(), color: color(name), points }
        })
        .collect();
    logarithmic(
        "From entry create to the SVID on an open stream",
        "milliseconds",
        "% of samples that took at least as long",
        &lines,
    )
}

/// One colour for each subject.
pub(crate) fn color(subject: &str) -> &'static str {
    if subject.starts_with(crate::OURS) { "#0b6e4f" } else { "#c8553d" }
}
