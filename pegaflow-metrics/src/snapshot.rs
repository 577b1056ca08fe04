//! Figures as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{METRICS, Metric},
    histogram::Times,
    series::Sums,
};

/// The figures of a node, or of one port, at one time: what the exporter serves as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The node's name; empty for a port alone.
    pub node: String,
    /// Its backend; empty for a port alone.
    pub backend: String,
    /// The figures, those of one name together, in the order of [`METRICS`].
    pub samples: Vec<Sample>,
}

/// One figure with its labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The name of a [`Metric`].
    pub name: String,
    /// Labels besides `backend`.
    pub labels: BTreeMap<String, String>,
    /// What it is.
    pub value: Value,
}

/// The value of a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A count, or bytes.
    Count(u64),
    /// Seconds.
    Real(f64),
    /// A histogram.
    Times(Times),
}

impl Sample {
    /// Whether it has this name, and these labels among its own.
    fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let has = |(label, value): &(&str, &str)| self.labels.get(*label).is_some_and(|found| found == value);
        self.name == name && labels.iter().all(has)
    }
}

impl Snapshot {
    /// The sum of the samples of a name whose labels include these; 0 where there is none, and of what is no count.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let count = |sample: &Sample| if let Value::Count(count) = sample.value { count } else { 0 };
        self.samples.iter().filter(|sample| sample.is(name, labels)).map(count).sum()
    }

    /// The first histogram of a name whose labels include these.
    #[must_use]
    pub fn times(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Times> {
        self.samples.iter().filter(|sample| sample.is(name, labels)).find_map(|sample| match &sample.value {
            Value::Times(times) => Some(times),
            _ => None,
        })
    }

    pub(crate) fn of_port(sums: &Sums) -> Self {
        Self::collect((String::new(), String::new()), |see| sums.visit(&|rail| rail.to_string(), see))
    }

    /// Of whatever `visit` shows.
    pub(crate) fn collect(
        (node, backend): (String, String),
        visit: impl FnOnce(&mut dyn FnMut(&'static Metric, &[&str], Value)),
    ) -> Self {
        let mut samples = Vec::new();
        visit(&mut |metric, labels, value| {
            debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
            let named = metric.labels.iter().zip(labels);
            let labels = named.map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
            samples.push(Sample { name: metric.name.to_owned(), labels, value });
        });
        let order = |sample: &Sample| METRICS.iter().position(|metric| metric.name == sample.name);
        samples.sort_by_cached_key(order);
        Self { node, backend, samples }
    }
}
