//! `approx_percentile`: a t-digest, read as Trino reads its own, so that small groups give values that occur.

use super::{Aggregate, Args, elements, list_value};
use crate::functions::nested::{check_count, list_item, list_of};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::Accumulator;
use std::f64::consts::PI;
use std::sync::Arc;

/// How fine the digest is: about this many centroids are kept.
const COMPRESSION: f64 = 500.0;
/// With more centroids than this, the digest is compressed; with less, it is exact.
const MAX_CENTROIDS: usize = 4_000;

/// The function.
pub(super) fn all() -> Vec<Aggregate> {
    vec![Aggregate::new("approx_percentile", types, result, states, make)]
}

fn types(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 2..=4)?;
    let value = match &types[0] {
        DataType::Float32 | DataType::Float16 => DataType::Float32,
        integer if integer.is_integer() => DataType::Int64,
        number if number.is_numeric() || number.is_null() => DataType::Float64,
        other => return plan_err!("expected numbers, got {other}"),
    };
    let share = |of: &DataType| match list_item(of) {
        Some(item) if item.is_numeric() => Ok(list_of(DataType::Float64)),
        None if of.is_numeric() => Ok(DataType::Float64),
        _ => plan_err!("a percentile cannot be {of}"),
    };
    match types {
        [_, one] => Ok(vec![value, share(one)?]),
        [_, weight, one] if weight.is_numeric() => Ok(vec![value, DataType::Float64, share(one)?]),
        _ => plan_err!("expected (value, percentile) or (value, weight, percentile)"),
    }
}

fn result(types: &[DataType]) -> Result<DataType> {
    match types.last() {
        Some(DataType::List(_)) => Ok(list_of(types[0].clone())),
        _ => Ok(types[0].clone()),
    }
}

fn states(_: &[DataType]) -> Result<Vec<DataType>> {
    let doubles = list_of(DataType::Float64);
    Ok(vec![doubles.clone(), doubles, DataType::Float64, DataType::Float64])
}

fn make(args: &Args<'_>) -> Result<Box<dyn Accumulator>> {
    let last = args.constant(args.types.len() - 1)?;
    let (array, several) = match last {
        ScalarValue::List(list) if list.is_valid(0) => (list.value(0), true),
        other => (other.to_array()?, false),
    };
    let shares = cast(&array, &DataType::Float64)?;
    let shares: Option<Vec<f64>> = shares.as_primitive::<Float64Type>().iter().collect();
    let Some(shares) = shares else {
        return exec_err!("Percentile cannot be null");
    };
    if !shares.iter().all(|share| (0.0..=1.0).contains(share)) {
        return exec_err!("Percentile must be between 0 and 1");
    }
    let (value, weighted) = (args.types[0].clone(), args.types.len() > 2);
    Ok(Box::new(Percentile { digest: Digest::default(), shares, several, weighted, value }))
}

/// A value for a weight of values near it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Centroid {
    mean: f64,
    weight: f64,
}

/// Centroids in any order until they are sorted.
#[derive(Debug, Default)]
struct Digest {
    centroids: Vec<Centroid>,
    sorted: bool,
    extremes: Option<(f64, f64)>,
}

impl Digest {
    fn add(&mut self, mean: f64, weight: f64) {
        let (low, high) = self.extremes.unwrap_or((mean, mean));
        self.extremes = Some((low.min(mean), high.max(mean)));
        self.centroids.push(Centroid { mean, weight });
        self.sorted = false;
        if self.centroids.len() > MAX_CENTROIDS {
            self.compress();
        }
    }

    fn sort(&mut self) {
        if !self.sorted {
            self.centroids.sort_by(|a, b| a.mean.total_cmp(&b.mean));
            self.sorted = true;
        }
    }

    fn total(&self) -> f64 {
        self.centroids.iter().map(|centroid| centroid.weight).sum()
    }

    /// Joins neighbours, the fewer the nearer they are to an end.
    fn compress(&mut self) {
        self.sort();
        let total = self.total();
        let scale = |share: f64| COMPRESSION / (2.0 * PI) * (2.0 * share.clamp(0.0, 1.0) - 1.0).asin();
        let mut joined: Vec<Centroid> = Vec::with_capacity(MAX_CENTROIDS / 2);
        let (mut before, mut done) = (0.0, 0.0);
        for next in &self.centroids {
            match joined.last_mut() {
                Some(last) if scale((done + next.weight) / total) - scale(before / total) <= 1.0 => {
                    let weight = last.weight + next.weight;
                    last.mean += (next.mean - last.mean) * next.weight / weight;
                    last.weight = weight;
                }
                _ => {
                    before = done;
                    joined.push(*next);
                }
            }
            done += next.weight;
        }
        self.centroids = joined;
    }

    /// The value at `share` of the weight.
    fn value_at(&mut self, share: f64) -> Option<f64> {
        self.sort();
        let (low, high) = self.extremes?;
        let (first, last) = (*self.centroids.first()?, *self.centroids.last()?);
        if self.centroids.len() == 1 {
            return Some(first.mean);
        }
        let total = self.total();
        let index = share * total;
        if index < 1.0 {
            return Some(low);
        }
        if first.weight > 1.0 && index < first.weight / 2.0 {
            return Some(low + (index - 1.0) / (first.weight / 2.0 - 1.0) * (first.mean - low));
        }
        if index > total - 1.0 {
            return Some(high);
        }
        if last.weight > 1.0 && total - index <= last.weight / 2.0 {
            return Some(high - (total - index - 1.0) / (last.weight / 2.0 - 1.0) * (high - last.mean));
        }
        let mut before = first.weight / 2.0;
        for pair in self.centroids.windows(2) {
            let step = (pair[0].weight + pair[1].weight) / 2.0;
            if before + step > index {
                return Some(between(pair[0], pair[1], index - before, before + step - index));
            }
            before += step;
        }
        Some(high)
    }
}

/// The value between two centroids; one of weight 1 stands for its own value only.
fn between(left: Centroid, right: Centroid, from_left: f64, to_right: f64) -> f64 {
    let mut left_unit = 0.0;
    if left.weight == 1.0 {
        if from_left < 0.5 {
            return left.mean;
        }
        left_unit = 0.5;
    }
    let mut right_unit = 0.0;
    if right.weight == 1.0 {
        if to_right <= 0.5 {
            return right.mean;
        }
        right_unit = 0.5;
    }
    let (z1, z2) = (from_left - left_unit, to_right - right_unit);
    let mixed = (left.mean * z2 + right.mean * z1) / (z1 + z2);
    mixed.clamp(left.mean, right.mean)
}

#[derive(Debug)]
struct Percentile {
    digest: Digest,
    shares: Vec<f64>,
    several: bool,
    weighted: bool,
    value: DataType,
}

fn doubles(column: Option<&ArrayRef>) -> Result<Float64Array> {
    match column {
        Some(column) => Ok(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone()),
        None => exec_err!("a column is missing"),
    }
}

impl Accumulator for Percentile {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let values = doubles(columns.first())?;
        let weights = if self.weighted { Some(doubles(columns.get(1))?) } else { None };
        for (row, value) in values.iter().enumerate() {
            let weight = weights.as_ref().map_or(Some(1.0), |weights| weights.is_valid(row).then(|| weights.value(row)));
            let (Some(value), Some(weight)) = (value, weight) else {
                continue;
            };
            if value.is_nan() {
                return exec_err!("approx_percentile of NaN");
            }
            if weight.is_nan() || weight <= 0.0 {
                return exec_err!("percentile weight must be > 0");
            }
            self.digest.add(value, weight);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let digest = &mut self.digest;
        if digest.centroids.is_empty() {
            let result = if self.several { list_of(self.value.clone()) } else { self.value.clone() };
            return ScalarValue::try_from(&result);
        }
        let integer = self.value.is_integer();
        // Whole numbers are rounded half up.
        let round = |value: f64| if integer { (value + 0.5).floor() } else { value };
        let values: Float64Array = self.shares.iter().map(|share| digest.value_at(*share).map(round)).collect();
        let values = cast(&values, &self.value)?;
        match self.several {
            true => Ok(list_value(values)),
            false => ScalarValue::try_from_array(&values, 0),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.digest.centroids.capacity() * size_of::<Centroid>() + self.shares.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let centroids = &self.digest.centroids;
        let means = Float64Array::from_iter_values(centroids.iter().map(|centroid| centroid.mean));
        let weights = Float64Array::from_iter_values(centroids.iter().map(|centroid| centroid.weight));
        let (low, high) = self.digest.extremes.unzip();
        let lists = [means, weights].map(|values| list_value(Arc::new(values)));
        Ok(lists.into_iter().chain([ScalarValue::Float64(low), ScalarValue::Float64(high)]).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [means, weights, lows, highs] = states else {
            return exec_err!("expected 4 states, got {}", states.len());
        };
        let (means, weights) = (doubles(Some(&elements(means)?))?, doubles(Some(&elements(weights)?))?);
        for (mean, weight) in means.iter().flatten().zip(weights.iter().flatten()) {
            self.digest.add(mean, weight);
        }
        let ends = doubles(Some(lows))?;
        for end in ends.iter().chain(doubles(Some(highs))?.iter()).flatten() {
            let (low, high) = self.digest.extremes.unwrap_or((end, end));
            self.digest.extremes = Some((low.min(end), high.max(end)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accumulator(share: f64) -> Percentile {
        Percentile { digest: Digest::default(), shares: vec![share], several: false, weighted: false, value: DataType::Float64 }
    }

    #[test]
    fn merged_digests_are_near_the_truth() {
        for share in [0.0, 0.001, 0.25, 0.5, 0.99, 1.0] {
            let mut all = accumulator(share);
            for part in 0..10 {
                let mut one = accumulator(share);
                // Parts that overlap, each in a mixed order.
                let values = (0..20_000_u64).map(|i| ((i * 7_919 % 20_000) * 10 + part) as f64);
                let values = Arc::new(Float64Array::from_iter_values(values)) as ArrayRef;
                one.update_batch(&[values]).expect("an update");
                let states = one.state().expect("a state");
                let states: Vec<ArrayRef> = states.iter().map(|state| state.to_array().expect("an array")).collect();
                all.merge_batch(&states).expect("a merge");
            }
            assert!(all.digest.centroids.len() <= MAX_CENTROIDS);
            let ScalarValue::Float64(Some(value)) = all.evaluate().expect("a value") else { panic!("a double") };
            let wanted = share * 199_999.0;
            assert!((value - wanted).abs() <= 600.0, "{share}: {value} instead of {wanted}");
            assert!(share * (1.0 - share) > 0.0 || value == wanted, "{share}: the ends are exact, not {value}");
        }
    }

    #[test]
    fn few_values_are_given_as_they_are() {
        let mut few = accumulator(0.5);
        few.update_batch(&[Arc::new(Float64Array::from(vec![4.0, 1.0, 3.0, 2.0]))]).expect("an update");
        assert_eq!(few.evaluate().expect("a value"), ScalarValue::Float64(Some(3.0)));
        let mut none = accumulator(0.5);
        let states: Vec<ArrayRef> =
            none.state().expect("a state").iter().map(|state| state.to_array().expect("an array")).collect();
        few.merge_batch(&states).expect("nothing to merge");
        assert_eq!(none.evaluate().expect("a value"), ScalarValue::Float64(None));
        assert_eq!(few.evaluate().expect("a value"), ScalarValue::Float64(Some(3.0)));
    }
}
