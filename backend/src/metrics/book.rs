//! Families of samples, of which the registry knows how their names begin.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelValue, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

/// A sample's labels, of which each family has some names.
pub(super) type Labels<V, const N: usize> = [(&'static str, V); N];

/// A family: its name, what it means, and the figure of each thing.
pub(super) type Family<'a, T> = (&'a str, &'a str, fn(&T) -> u64);

/// Where families are written, one after the other.
#[derive(Debug)]
pub(super) struct Book<'a>(DescriptorEncoder<'a>);

impl<'a> Book<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// What only grows: `NAME_total`.
    pub(super) fn counters<V, C, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        samples: impl IntoIterator<Item = (Labels<V, N>, C)>,
    ) -> fmt::Result
    where
        V: EncodeLabelValue,
        C: EncodeCounterValue,
    {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, C, u64>(&value, None)?;
        }
        Ok(())
    }

    /// What goes up and down.
    pub(super) fn gauges<V, G, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        samples: impl IntoIterator<Item = (Labels<V, N>, G)>,
    ) -> fmt::Result
    where
        V: EncodeLabelValue,
        G: EncodeGaugeValue,
    {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// How often a figure lay where: of each sample its sum, and the counts between bounds, of which each is once in one of them; the last
    /// bound is infinite.
    pub(super) fn histograms<V, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        samples: impl IntoIterator<Item = (Labels<V, N>, f64, Vec<(f64, u64)>)>,
    ) -> fmt::Result
    where
        V: EncodeLabelValue,
    {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, sum, counts) in samples {
            let all = counts.iter().map(|(_, count)| count).sum();
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, all, &counts, None)?;
        }
        Ok(())
    }

    /// One counter without labels.
    pub(super) fn counter<C: EncodeCounterValue>(
        &mut self,
        (name, help): (&str, &str),
        value: C,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, C, u64>(&value, None)
    }

    /// One gauge without labels.
    pub(super) fn gauge<G: EncodeGaugeValue>(&mut self, (name, help): (&str, &str), value: G) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }
}
