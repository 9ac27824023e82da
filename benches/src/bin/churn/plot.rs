//! Samples as a picture: resident memory over time, one line a run, and under it what the engine knows of.

use std::{fmt::Write, path::Path};

use serde_json::Value;
use tidewater_benches::Failure;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
/// Around the field of the lines: left, top, right, bottom.
const MARGIN: (f64, f64, f64, f64) = (60.0, 20.0, 170.0, 40.0);
const COLOURS: [&str; 4] = ["#1f6feb", "#d1242f", "#1a7f37", "#8250df"];
/// A mebibyte.
const MIB: f64 = 1_048_576.0;

/// Draws the samples of some runs into one SVG file.
///
/// # Errors
/// If a file can't be read or written.
pub(crate) fn plot(inputs: &[std::path::PathBuf], out: &Path) -> Result<(), Failure> {
    let mut runs = Vec::new();
    for input in inputs {
        let text = std::fs::read_to_string(input)?;
        let samples: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        let name = input.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        runs.push((name, samples?));
    }
    std::fs::write(out, draw(&runs))?;
    Ok(())
}

fn draw(runs: &[(String, Vec<Value>)]) -> String {
    let (left, top, right, bottom) = MARGIN;
    let of = |sample: &Value, name: &str| sample[name].as_f64().unwrap_or(0.0);
    let greatest = |name: &str| {
        let all = runs.iter().flat_map(|(_, samples)| samples).map(|sample| of(sample, name));
        all.fold(1.0, f64::max)
    };
    let seconds = greatest("second");
    let mib = (greatest("resident_bytes") / MIB / 50.0).ceil() * 50.0;
    let x = |second: f64| left + (WIDTH - left - right) * second / seconds;
    let y = |bytes: f64| HEIGHT - bottom - (HEIGHT - top - bottom) * bytes / MIB / mib;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    // Writing to memory can't fail.
    let mut put = |part: std::fmt::Arguments<'_>| _ = svg.write_fmt(part);
    for step in 0..=5 {
        let value = mib * f64::from(step) / 5.0;
        let at = y(value * MIB);
        let end = WIDTH - right;
        put(format_args!("<path d=\"M{left} {at:.1}H{end}\" stroke=\"#d0d7de\"/>\n"));
        put(format_args!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>\n",
            left - 6.0,
            at + 4.0
        ));
    }
    for step in 0..=6 {
        let second = seconds * f64::from(step) / 6.0;
        let minutes = (second / 60.0).round();
        let (at, below) = (x(second), HEIGHT - bottom + 18.0);
        put(format_args!("<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{minutes}</text>\n"));
    }
    put(format_args!(
        "<text x=\"{left}\" y=\"13\">MiB resident (dashed: parts that the engine counts), by minutes</text>\n"
    ));
    for ((name, samples), (number, colour)) in runs.iter().zip((0..).zip(COLOURS.iter().cycle())) {
        for (what, dashes) in [("resident_bytes", ""), ("known_bytes", " stroke-dasharray=\"4 3\"")] {
            let points: Vec<String> = samples
                .iter()
                .map(|sample| format!("{:.1},{:.1}", x(of(sample, "second")), y(of(sample, what))))
                .collect();
            let points = points.join(" ");
            put(format_args!(
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"{dashes}/>\n"
            ));
        }
        let (at, line) = (WIDTH - right + 10.0, top + 14.0 + 18.0 * f64::from(number));
        put(format_args!("<text x=\"{at}\" y=\"{line}\" fill=\"{colour}\">{name}</text>\n"));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_run_is_two_lines_and_a_name() {
        let sample = |second: u64| json!({ "second": second, "resident_bytes": 60 << 20, "known_bytes": 1 });
        let svg = draw(&[("a".to_owned(), vec![sample(0), sample(10)]), ("b".to_owned(), vec![sample(10)])]);
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert!(svg.contains(">a</text>") && svg.contains(">100</text>") && svg.ends_with("</svg>\n"));
    }
}
