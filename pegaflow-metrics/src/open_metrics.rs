//! Figures as OpenMetrics text, which Prometheus reads.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use crate::{
    Snapshot,
    catalogue::{METRICS, Metric, MetricKind},
    snapshot::{Sample, Value},
};

/// The content type of [`encode`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of a snapshot.
pub(crate) fn encode(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Shown(snapshot)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Shown(Snapshot);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Those of one name stand together.
        for samples in self.0.samples.chunk_by(|one, next| one.name == next.name) {
            let Some(metric) = METRICS.iter().find(|metric| metric.name == samples[0].name) else {
                continue;
            };
            let kind = match metric.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Histogram => MetricType::Histogram,
            };
            // The encoder ends a counter's name and a help by itself.
            let (name, help) = (metric.name.trim_end_matches("_total"), metric.help.trim_end_matches('.'));
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for sample in samples {
                let labels: Vec<(&str, &str)> = self.labels(metric, sample);
                one(family.encode_family(&labels)?, metric, &sample.value)?;
            }
        }
        Ok(())
    }
}

impl Shown {
    fn labels<'a>(&'a self, metric: &Metric, sample: &'a Sample) -> Vec<(&'a str, &'a str)> {
        let mut labels = vec![("backend", self.0.backend.as_str())];
        let value =
            |label: &str| sample.labels.get_key_value(label).map(|(label, value)| (label.as_str(), value.as_str()));
        labels.extend(metric.labels.iter().filter_map(|label| value(label)));
        labels
    }
}

fn one(mut encoder: MetricEncoder<'_>, metric: &Metric, value: &Value) -> fmt::Result {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float in this format; exact to 2^53")]
    match (metric.kind, value) {
        (MetricKind::Counter, Value::Count(count)) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None),
        (MetricKind::Counter, Value::Real(real)) => encoder.encode_counter::<NoLabelSet, _, u64>(real, None),
        (_, Value::Count(count)) => encoder.encode_gauge(&(*count as f64)),
        (_, Value::Real(real)) => encoder.encode_gauge(real),
        (_, Value::Times(times)) => {
            let mut below = 0;
            // Each bucket's own count; the encoder sums them. The last stands for all that took longer.
            let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(times.edges.len() + 1);
            for &(edge, sum) in &times.edges {
                buckets.push((edge, sum - below));
                below = sum;
            }
            buckets.push((f64::INFINITY, times.count - below));
            encoder.encode_histogram::<NoLabelSet>(times.sum_us / 1e6, times.count, &buckets, None)
        }
    }
}
