//! The picture itself: two panels, a legend below them.

use plotters::{
    coord::Shift,
    element::DashedPathElement,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{
    super::results::Header,
    axis::{self, Axis},
    lines::{Lines, Way},
};
use crate::Failure;

const WIDTH: u32 = 1120;
const TITLE: u32 = 58;
const PANELS: u32 = 400;
const ROW: u32 = 22;
/// A legend's entries: how wide a sample of the line is, and a letter at most.
const SAMPLE: i32 = 34;
const LETTER: f64 = 6.8;

const INK: RGBColor = RGBColor(40, 44, 52);
const PALE: RGBColor = RGBColor(110, 116, 126);
const GRID: RGBColor = RGBColor(228, 231, 235);
/// Told apart by the colour-blind too (Okabe and Ito, "Color Universal Design"); the yellow, pale on white, left to the end.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(70, 70, 70),
    RGBColor(200, 185, 30),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stroke {
    /// Ours, as strong as this, 0 to 1.
    Solid(f64),
    /// A rival's.
    Dashed,
}

const PERCENTILES: [(&str, Stroke); 3] =
    [("p50", Stroke::Solid(1.0)), ("p99", Stroke::Solid(0.6)), ("p99.9", Stroke::Solid(0.3))];

pub(super) fn draw(lines: &Lines, header: Option<&Header>) -> Result<String, Failure> {
    let legend = legend(lines);
    let rows = u32::try_from(legend.len())?;
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, TITLE + PANELS + ROW * rows + 14)).into_drawing_area();
        root.fill(&WHITE)?;
        let (title, rest) = root.split_vertically(TITLE);
        let (panels, foot) = rest.split_vertically(PANELS);
        write(&title, (20, 10), 17, &INK, &lines.common)?;
        write(&title, (20, 34), 12, &PALE, &origin(header))?;
        let (left, right) = panels.split_horizontally(WIDTH / 2);
        bandwidth(&left, lines)?;
        latency(&right, lines)?;
        for (row, entries) in (0..).zip(&legend) {
            let mut x = 62;
            for entry in entries {
                x = entry.draw(&foot, (x, 4 + row * i32::try_from(ROW)?))?;
            }
        }
        root.present()?;
    }
    Ok(text)
}

/// Where the figures come from.
fn origin(header: Option<&Header>) -> String {
    header.map_or_else(String::new, |header| {
        let date = header.date.split('T').next().unwrap_or_default();
        format!("{}; {date}, pegaflow {}", header.machine.text(), header.pegaflow)
    })
}

fn bandwidth(area: &Area<'_>, lines: &Lines) -> Result<(), Failure> {
    let points = lines.ways.iter().flat_map(|way| way.rate.iter().chain(&way.rate_limit));
    let values: Vec<f64> = points.map(|(_, rate)| *rate).collect();
    let axis = axis::linear(values.iter().copied());
    let nothing = values.is_empty().then_some("no rate: latencies only");
    panel(area, lines, ("Bandwidth", "GB/s"), (axis, |rate| rate), nothing, |way| {
        vec![(&way.rate_limit, Stroke::Dashed), (&way.rate, Stroke::Solid(1.0))]
    })
}

fn latency(area: &Area<'_>, lines: &Lines) -> Result<(), Failure> {
    let points = lines.ways.iter().flat_map(|way| way.latency.iter().flatten().chain(&way.latency_limit));
    let values: Vec<f64> = points.map(|(_, latency)| *latency).collect();
    let axis = axis::logarithmic(values.iter().copied());
    let nothing = values.is_empty().then_some("no latency above 0");
    panel(area, lines, ("Latency of a transfer", ""), (axis, f64::log10), nothing, |way| {
        let ours = way.latency.iter().zip(PERCENTILES).map(|(points, (_, stroke))| (points, stroke));
        std::iter::once((&way.latency_limit, Stroke::Dashed)).chain(ours.rev()).collect()
    })
}

type Points = Vec<(f64, f64)>;

fn panel(
    area: &Area<'_>,
    lines: &Lines,
    (title, unit): (&str, &str),
    (y, place): (Axis, fn(f64) -> f64),
    nothing: Option<&str>,
    strokes: impl for<'a> Fn(&'a Way) -> Vec<(&'a Points, Stroke)>,
) -> Result<(), Failure> {
    let x = axis::sizes(&lines.sizes);
    write(area, (62, 4), 15, &INK, title)?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(34)
        .margin_right(24)
        .margin_left(6)
        .x_label_area_size(46)
        .y_label_area_size(56)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .axis_style(PALE)
        .bold_line_style(GRID)
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 13).into_font().color(&PALE))
        .x_desc("block size")
        .draw()?;
    // Above its axis, where it can be read without turning one's head.
    let (width, _) = area.dim_in_pixel();
    let at = Pos::new(HPos::Right, VPos::Top);
    let style = ("sans-serif", 13).into_font().color(&PALE).pos(at);
    area.draw(&Text::new(unit.to_owned(), (56, 14), style))?;
    if let Some(nothing) = nothing {
        write(area, (i32::try_from(width)? / 2 - 60, 180), 14, &PALE, nothing)?;
    }
    for (way, colour) in lines.ways.iter().zip(COLOURS) {
        for (points, stroke) in strokes(way) {
            let points: Points = points.iter().map(|&(size, figure)| (size.log2(), place(figure))).collect();
            match stroke {
                Stroke::Solid(strength) => {
                    let style = colour.mix(strength).stroke_width(2);
                    chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
                    let style = colour.mix(strength).filled();
                    chart.draw_series(points.iter().map(|&point| Circle::new(point, 4, style)))?;
                }
                Stroke::Dashed => {
                    let style = colour.mix(0.8).stroke_width(1);
                    chart.draw_series(DashedLineSeries::new(points.iter().copied(), 6, 5, style))?;
                    chart.draw_series(points.iter().map(|&point| Circle::new(point, 4, style)))?;
                }
            }
        }
    }
    Ok(())
}

fn write(area: &Area<'_>, at: (i32, i32), height: u32, colour: &RGBColor, text: &str) -> Result<(), Failure> {
    area.draw(&Text::new(text.to_owned(), at, ("sans-serif", height).into_font().color(colour)))?;
    Ok(())
}

/// A sample of a line, or none, and what it means.
struct Entry {
    sample: Option<(RGBColor, Stroke)>,
    text: String,
}

impl Entry {
    fn width(&self) -> i32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a few hundred pixels")]
        let text = (self.text.chars().count().min(1000) as f64 * LETTER) as i32;
        text + if self.sample.is_some() { SAMPLE + 32 } else { 24 }
    }

    /// Draws it, and says where the next one begins.
    fn draw(&self, area: &Area<'_>, (x, y): (i32, i32)) -> Result<i32, Failure> {
        let mut text_x = x;
        if let Some((colour, stroke)) = self.sample {
            let (middle, line) = (y + 8, [(x, y + 8), (x + SAMPLE, y + 8)]);
            let centre = (x + SAMPLE / 2, middle);
            match stroke {
                Stroke::Solid(strength) => {
                    area.draw(&PathElement::new(line, colour.mix(strength).stroke_width(2)))?;
                    area.draw(&Circle::new(centre, 3, colour.mix(strength).filled()))?;
                }
                Stroke::Dashed => {
                    let style = colour.mix(0.8).stroke_width(1);
                    area.draw(&DashedPathElement::new(line, 6, 5, style))?;
                    area.draw(&Circle::new(centre, 3, style))?;
                }
            }
            text_x += SAMPLE + 8;
        }
        write(area, (text_x, y + 2), 13, &INK, &self.text)?;
        Ok(x + self.width())
    }
}

/// Colours first, then kinds of line, in rows that fit.
fn legend(lines: &Lines) -> Vec<Vec<Entry>> {
    let only = lines.ways.len() == 1;
    let mut colours = Vec::new();
    if !only {
        let ways = lines.ways.iter().zip(COLOURS);
        colours.extend(
            ways.map(|(way, colour)| Entry { sample: Some((colour, Stroke::Solid(1.0))), text: way.name.clone() }),
        );
    }
    if lines.left_out > 0 {
        let text = format!("and {} more in the file, left out", lines.left_out);
        colours.push(Entry { sample: None, text });
    }
    // What a kind of line means is the same for every colour.
    let colour = if only { COLOURS[0] } else { PALE };
    let mut kinds: Vec<Entry> = PERCENTILES
        .iter()
        .map(|(name, stroke)| Entry { sample: Some((colour, *stroke)), text: (*name).to_owned() })
        .collect();
    if !lines.rivals.is_empty() {
        let text = lines.rivals.join(", ");
        kinds.push(Entry { sample: Some((colour, Stroke::Dashed)), text });
    }
    if let Some(by) = lines.computed {
        kinds.push(Entry { sample: None, text: format!("(its latency: {by})") });
    }
    [colours, kinds].into_iter().flat_map(in_rows).collect()
}

fn in_rows(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let (mut rows, mut width): (Vec<Vec<Entry>>, i32) = (Vec::new(), 0);
    let most = i32::try_from(WIDTH).unwrap_or(i32::MAX) - 90;
    for entry in entries {
        width += entry.width();
        match rows.last_mut() {
            Some(row) if width <= most => row.push(entry),
            _ => {
                width = entry.width();
                rows.push(vec![entry]);
            }
        }
    }
    rows
}
