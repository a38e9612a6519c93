//! What a run has measured, as text, as CSV and as JSON. Latencies are kept in nanoseconds.

use crate::bench::flags::Flags;
use anyhow::Result;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Longer than this counts as this.
const LATENCY_MAX_NS: u64 = 120_000_000_000;

/// A latency histogram with three significant digits.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// Nothing measured yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)?))
    }

    /// Counts `count` operations that took so long.
    #[inline]
    pub(crate) fn add(&mut self, ns: u64, count: u64) {
        self.0.saturating_record(ns.max(1));
        if count > 1 {
            // The value is within the bounds after `min`, so it cannot be refused.
            let _ = self.0.record_n(ns.clamp(1, LATENCY_MAX_NS), count - 1);
        }
    }

    fn figures(&self) -> [(&'static str, f64); 5] {
        let us = |ns: u64| ns as f64 / 1000.0;
        [
            ("p50_us", us(self.0.value_at_quantile(0.5))),
            ("p99_us", us(self.0.value_at_quantile(0.99))),
            ("p99.9_us", us(self.0.value_at_quantile(0.999))),
            ("max_us", us(self.0.max())),
            ("mean_us", self.0.mean() / 1000.0),
        ]
    }
}

/// Nanoseconds since the run began: what is written into messages and compared when they come back.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Never 0, which stands for "no time".
    #[inline]
    pub(crate) fn ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64 + 1
    }
}

/// One test's result.
pub(crate) struct Report {
    pub(crate) test: String,
    pub(crate) operations: u64,
    pub(crate) elapsed: Duration,
    /// What was timed, and how long it took.
    pub(crate) latencies: Vec<(&'static str, Latencies)>,
    /// Counts worth telling.
    pub(crate) counts: Vec<(&'static str, u64)>,
}

impl Report {
    fn per_second(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn fields(&self) -> Vec<(String, f64)> {
        let mut fields = vec![
            ("operations".to_owned(), self.operations as f64),
            ("seconds".to_owned(), self.elapsed.as_secs_f64()),
            ("per_second".to_owned(), self.per_second()),
        ];
        for (what, latencies) in &self.latencies {
            fields.extend(
                latencies.figures().into_iter().map(|(name, value)| (format!("{what}_{name}"), value)),
            );
        }
        fields.extend(self.counts.iter().map(|(name, count)| ((*name).to_owned(), *count as f64)));
        fields
    }

    fn json(&self) -> String {
        let mut text = format!("{{\"test\":\"{}\"", self.test);
        for (name, value) in self.fields() {
            text.push_str(&format!(",\"{name}\":{}", number(value)));
        }
        text + "}"
    }

    fn csv(&self) -> String {
        let names: Vec<String> = self.fields().into_iter().map(|(name, _)| name).collect();
        let values: Vec<String> = self.fields().into_iter().map(|(_, value)| number(value)).collect();
        format!("test,{}\n{},{}", names.join(","), self.test, values.join(","))
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}: {:.0} per second ({} in {:.2} s)",
            self.test,
            self.per_second(),
            self.operations,
            self.elapsed.as_secs_f64()
        );
        for (what, latencies) in &self.latencies {
            text.push_str(&format!("\n  {what}:"));
            for (name, value) in latencies.figures() {
                text.push_str(&format!(" {} {value:.0} µs ", name.trim_end_matches("_us")));
            }
        }
        for (name, count) in &self.counts {
            text.push_str(&format!("\n  {name}: {count}"));
        }
        text
    }

    /// Prints it in the format that the flags ask for.
    #[allow(clippy::print_stdout, reason = "results are printed")]
    pub(crate) fn print(&self, flags: &Flags) {
        if flags.has("json") {
            println!("{}", self.json());
        } else if flags.has("csv") {
            println!("{}", self.csv());
        } else {
            println!("{}", self.text());
        }
    }
}

/// Three places, and none for a whole number.
fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut latencies = Latencies::new().unwrap();
        latencies.add(1000, 99);
        latencies.add(LATENCY_MAX_NS * 2, 1);
        Report {
            test: "set".into(),
            operations: 100,
            elapsed: Duration::from_millis(500),
            latencies: vec![("reply", latencies)],
            counts: vec![("missing", 3)],
        }
    }

    #[test]
    fn every_format_has_the_figures() {
        let json = report().json();
        assert!(
            json.starts_with("{\"test\":\"set\",\"operations\":100,\"seconds\":0.500,\"per_second\":200,")
        );
        assert!(json.ends_with(",\"missing\":3}"), "{json}");
        assert!(json.contains("\"reply_p50_us\":1"), "{json}");
        let csv = report().csv();
        let (names, values) = csv.split_once('\n').unwrap();
        assert_eq!(names.split(',').count(), values.split(',').count());
        assert!(report().text().starts_with("set: 200 per second"));
    }
}
