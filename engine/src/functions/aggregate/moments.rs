//! Aggregates of doubles whose state is a few numbers.

use super::Aggregate;
use crate::functions::nested::check_count;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::Accumulator;

/// All functions of this file.
pub(super) fn all() -> Vec<Aggregate> {
    let double: super::ResultType = |_| Ok(DataType::Float64);
    vec![
        Aggregate::new("skewness", number, double, moment_states, |_| moments(skewness)),
        Aggregate::new("kurtosis", number, double, moment_states, |_| moments(kurtosis)),
        Aggregate::new("geometric_mean", number, double, |_| Ok(doubles(2)), |_| Ok(make(log_add, sum_merge, mean))),
        Aggregate::new("entropy", number, double, |_| Ok(doubles(2)), |_| Ok(make(count_add, sum_merge, entropy))),
    ]
}

fn number(types: &[DataType]) -> Result<Vec<DataType>> {
    check_count(types, 1..=1)?;
    match types[0].is_numeric() || types[0].is_null() {
        true => Ok(vec![DataType::Float64]),
        false => plan_err!("expected a number, got {}", types[0]),
    }
}

fn doubles(count: usize) -> Vec<DataType> {
    vec![DataType::Float64; count]
}

fn moment_states(_: &[DataType]) -> Result<Vec<DataType>> {
    Ok(doubles(5))
}

fn moments(finish: fn(&[f64]) -> Option<f64>) -> Result<Box<dyn Accumulator>> {
    fn add(state: &mut [f64; 5], value: f64) -> Result<()> {
        moment_merge(state, &[1.0, value, 0.0, 0.0, 0.0]);
        Ok(())
    }
    Ok(make(add, moment_merge, finish))
}

fn make<const N: usize>(
    add: fn(&mut [f64; N], f64) -> Result<()>,
    merge: fn(&mut [f64; N], &[f64; N]),
    finish: fn(&[f64]) -> Option<f64>,
) -> Box<dyn Accumulator> {
    Box::new(Doubles { state: [0.0; N], add, merge, finish })
}

/// Joins two states of count, mean and the sums of the second to fourth powers of the distances from it.
fn moment_merge(state: &mut [f64; 5], other: &[f64; 5]) {
    let ([na, mean_a, a2, a3, a4], [nb, mean_b, b2, b3, b4]) = (*state, *other);
    if nb == 0.0 {
        return;
    }
    let n = na + nb;
    let delta = mean_b - mean_a;
    let mean = mean_a + delta * nb / n;
    let m2 = a2 + b2 + delta.powi(2) * na * nb / n;
    let m3 = a3 + b3 + delta.powi(3) * na * nb * (na - nb) / n.powi(2) + 3.0 * delta * (na * b2 - nb * a2) / n;
    let m4 = a4
        + b4
        + delta.powi(4) * na * nb * (na * na - na * nb + nb * nb) / n.powi(3)
        + 6.0 * delta.powi(2) * (na * na * b2 + nb * nb * a2) / n.powi(2)
        + 4.0 * delta * (na * b3 - nb * a3) / n;
    *state = [n, mean, m2, m3, m4];
}

fn skewness(state: &[f64]) -> Option<f64> {
    let (n, m2, m3) = (state[0], state[2], state[3]);
    (n >= 3.0).then(|| n.sqrt() * m3 / m2.powf(1.5))
}

fn kurtosis(state: &[f64]) -> Option<f64> {
    let (n, m2, m4) = (state[0], state[2], state[4]);
    let rest = (n - 2.0) * (n - 3.0);
    (n >= 4.0).then(|| (n - 1.0) * n * (n + 1.0) / rest * m4 / (m2 * m2) - 3.0 * (n - 1.0).powi(2) / rest)
}

fn log_add(state: &mut [f64; 2], value: f64) -> Result<()> {
    sum_merge(state, &[1.0, value.ln()]);
    Ok(())
}

/// Sums of the counts and of their products with their logarithms.
fn count_add(state: &mut [f64; 2], count: f64) -> Result<()> {
    if count < 0.0 {
        return exec_err!("entropy: a count must not be negative, {count} is");
    }
    if count > 0.0 {
        sum_merge(state, &[count, count * count.ln()]);
    }
    Ok(())
}

fn sum_merge(state: &mut [f64; 2], other: &[f64; 2]) {
    state[0] += other[0];
    state[1] += other[1];
}

fn mean(state: &[f64]) -> Option<f64> {
    (state[0] > 0.0).then(|| (state[1] / state[0]).exp())
}

/// In bits, of the shares that the counts have of their sum; 0 without a count, as in Trino.
fn entropy(state: &[f64]) -> Option<f64> {
    let (sum, logs) = (state[0], state[1]);
    Some(if sum > 0.0 { ((sum.ln() - logs / sum) / 2_f64.ln()).max(0.0) } else { 0.0 })
}

/// A state of `N` numbers, all 0 at first.
#[derive(Debug)]
struct Doubles<const N: usize> {
    state: [f64; N],
    add: fn(&mut [f64; N], f64) -> Result<()>,
    merge: fn(&mut [f64; N], &[f64; N]),
    finish: fn(&[f64]) -> Option<f64>,
}

impl<const N: usize> Accumulator for Doubles<N> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values.first().and_then(|values| values.as_primitive_opt::<Float64Type>()) {
            Some(values) => values.iter().flatten().try_for_each(|value| (self.add)(&mut self.state, value))?,
            None => return exec_err!("expected doubles"),
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.finish)(&self.state)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(self.state.iter().map(|number| ScalarValue::Float64(Some(*number))).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let columns: Option<Vec<_>> = states.iter().map(|column| column.as_primitive_opt::<Float64Type>()).collect();
        let Some(columns) = columns.filter(|columns| columns.len() == N) else {
            return exec_err!("expected {N} doubles as state");
        };
        for row in 0..columns[0].len() {
            let mut other = [0.0; N];
            for (number, column) in other.iter_mut().zip(&columns) {
                *number = column.value(row);
            }
            (self.merge)(&mut self.state, &other);
        }
        Ok(())
    }
}
