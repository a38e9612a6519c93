//! From samples to the document: medians, ratios, two tables in Markdown, written between two marks. What stands outside
//! the marks is written by people and stays.

use super::peer::Kind;
use super::rows::Row;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

const BEGIN: &str = "<!-- cargo xtask bench writes from here -->\n";
const END: &str = "<!-- to here -->\n";

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sample {
    Load { per_second: f64, cpu_us: f64 },
    Scalar(f64),
}

impl Sample {
    pub(super) fn of_ms(duration: Duration) -> Sample {
        Sample::Scalar(duration.as_secs_f64() * 1000.0)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sample::Load { per_second, cpu_us } => {
                write!(f, "{per_second:.0} per second, {cpu_us:.2} µs of CPU")
            }
            Sample::Scalar(value) => write!(f, "{value:.1}"),
        }
    }
}

/// What all rounds have measured.
#[derive(Default)]
pub(super) struct Results {
    samples: BTreeMap<(&'static str, Kind), Vec<Sample>>,
    missing: Vec<Kind>,
    pub(super) failures: Vec<String>,
}

impl Results {
    pub(super) fn add(&mut self, row: &Row, side: Kind, sample: Sample) {
        self.samples.entry((row.name, side)).or_default().push(sample);
    }

    pub(super) fn missing(&mut self, kind: Kind) {
        if !self.missing.contains(&kind) {
            self.missing.push(kind);
        }
    }

    fn median(&self, row: &Row, side: Kind, figure: fn(&Sample) -> f64) -> Option<f64> {
        let mut figures: Vec<f64> = self.samples.get(&(row.name, side))?.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        // Of an even number the lower of the two in the middle.
        figures.get(figures.len().checked_sub(1)? / 2).copied()
    }
}

fn per_second(sample: &Sample) -> f64 {
    match sample {
        Sample::Load { per_second, .. } => *per_second,
        Sample::Scalar(value) => *value,
    }
}

fn cpu_us(sample: &Sample) -> f64 {
    match sample {
        Sample::Load { cpu_us, .. } => *cpu_us,
        Sample::Scalar(value) => *value,
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Leveret | Kind::LeveretAlways => "Leveret",
        Kind::Redis | Kind::RedisAlways => "Redis",
        Kind::Valkey => "Valkey",
        Kind::RabbitMq => "RabbitMQ",
        Kind::RedisAndRabbitMq => "Redis and RabbitMQ",
    }
}

/// Both tables and what there is to say of them.
pub(super) fn render(rows: &[&Row], results: &Results) -> String {
    let mut text = String::new();
    if rows.iter().any(|row| row.is_load()) {
        text.push_str(
            "| row | peer | Leveret op/s | peer op/s | ratio | Leveret CPU µs | peer CPU µs | ratio |\n",
        );
        text.push_str("|---|---|---|---|---|---|---|---|\n");
    }
    for row in rows.iter().filter(|row| row.is_load()) {
        for &peer in row.peers() {
            if peer.parts().iter().any(|part| results.missing.contains(part)) {
                continue;
            }
            let cells = |figure, digits: fn(f64) -> String| {
                let (ours, theirs) =
                    (results.median(row, row.ours, figure), results.median(row, peer, figure));
                format!(
                    "{} | {} | {}",
                    cell(ours, digits),
                    cell(theirs, digits),
                    cell(ratio(ours, theirs), short)
                )
            };
            let (rates, costs) = (cells(per_second, thousands), cells(cpu_us, short));
            text.push_str(&format!("| {} | {} | {rates} | {costs} |\n", row.title, name(peer)));
        }
    }
    if rows.iter().any(|row| !row.is_load()) {
        text.push_str("\n| | Leveret | Redis | Valkey | RabbitMQ |\n|---|---|---|---|---|\n");
    }
    for row in rows.iter().filter(|row| !row.is_load()) {
        let of = |side| cell(results.median(row, side, per_second), short);
        let [redis, valkey, rabbitmq] = [Kind::Redis, Kind::Valkey, Kind::RabbitMq].map(of);
        text.push_str(&format!("| {} | {} | {redis} | {valkey} | {rabbitmq} |\n", row.title, of(row.ours)));
    }
    for kind in &results.missing {
        text.push_str(&format!("\n{} is not installed here; its cells are empty.\n", name(*kind)));
    }
    for failure in &results.failures {
        // Which command it was is no news to a reader; it names folders of this machine.
        let what = failure.split_once(": ").map_or(failure.as_str(), |(what, _)| what);
        text.push_str(&format!("\nA measurement failed: {what}\n"));
    }
    text
}

fn cell(figure: Option<f64>, digits: fn(f64) -> String) -> String {
    figure.map(digits).unwrap_or_default()
}

fn ratio(ours: Option<f64>, theirs: Option<f64>) -> Option<f64> {
    Some(ours? / theirs.filter(|theirs| *theirs != 0.0)?)
}

/// Three significant digits or so.
fn short(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 1000.0 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The document with another text between the marks.
pub(super) fn replace(document: &str, generated: &str) -> Result<String> {
    let (before, rest) =
        document.split_once(BEGIN).context("docs/benchmarks.md has lost the mark where the tables begin")?;
    let (_, after) =
        rest.split_once(END).context("docs/benchmarks.md has lost the mark where the tables end")?;
    Ok(format!("{before}{BEGIN}\n{generated}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    fn row(name: &str) -> &'static Row {
        ROWS.iter().find(|row| row.name == name).expect("the row is in the table")
    }

    #[test]
    fn medians_and_ratios() {
        let mut results = Results::default();
        for (per_second, cpu_us) in [(1000.0, 3.0), (1_234_567.0, 1.0), (2_000_000.0, 0.5)] {
            results.add(row("set-1"), Kind::Leveret, Sample::Load { per_second, cpu_us });
            results.add(row("set-1"), Kind::Redis, Sample::Load { per_second: 1000.0, cpu_us: 2.0 });
        }
        results.add(row("idle"), Kind::Leveret, Sample::Scalar(12.34));
        results.missing(Kind::RabbitMq);
        let text = render(&[row("set-1"), row("idle")], &results);
        assert!(
            text.contains("| SET, pipeline 1 | Redis | 1,234,567 | 1,000 | 1,235 | 1.00 | 2.00 | 0.50 |"),
            "{text}"
        );
        assert!(text.contains("| resident memory when idle, MB | 12.3 |  |  |  |"), "{text}");
        assert!(text.contains("RabbitMQ is not installed"), "{text}");
    }

    #[test]
    fn what_people_have_written_stays() {
        let document = format!("# Title\n\n{BEGIN}old\n{END}\nOurs.\n");
        let new = replace(&document, "new").unwrap();
        assert_eq!(new, format!("# Title\n\n{BEGIN}\nnew\n{END}\nOurs.\n"));
        assert_eq!(replace(&new, "new").unwrap(), new);
        assert!(replace("# Title\n", "new").is_err());
    }
}
