//! Timestamps of files to the table's milliseconds: the nearest one, the later one of two, as Trino reads finer timestamps.

use crate::error::Error;
use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::{Arc, LazyLock};

/// What plans have for the table's timestamps.
pub(super) const MILLIS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// The function from a finer timestamp without a zone. A cast goes towards 1970 instead.
pub(super) static TO_MILLIS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(ToMillis::new())));

#[derive(PartialEq, Eq, Hash, Debug)]
struct ToMillis {
    signature: Signature,
}

impl ToMillis {
    fn new() -> Self {
        let finer = [TimeUnit::Microsecond, TimeUnit::Nanosecond].map(|unit| DataType::Timestamp(unit, None));
        Self { signature: Signature::uniform(1, finer.to_vec(), Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ToMillis {
    fn name(&self) -> &str {
        "owlet_to_millis"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(MILLIS)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [finer] = args.args.as_slice() else { return Err(Error::internal("one timestamp").into()) };
        let finer = finer.to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(to_millis(&finer)?))
    }
}

/// The millisecond nearest to `value`, of which a millisecond has `per_milli`.
pub fn nearest_milli(value: i64, per_milli: i64) -> i64 {
    value.div_euclid(per_milli) + i64::from(value.rem_euclid(per_milli) * 2 >= per_milli)
}

pub(super) fn to_millis(finer: &ArrayRef) -> Result<ArrayRef> {
    Ok(match finer.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let times = finer.as_primitive::<TimestampMicrosecondType>();
            Arc::new(times.unary::<_, TimestampMillisecondType>(|value| nearest_milli(value, 1_000)))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, None) => {
            let times = finer.as_primitive::<TimestampNanosecondType>();
            Arc::new(times.unary::<_, TimestampMillisecondType>(|value| nearest_milli(value, 1_000_000)))
        }
        other => return Err(Error::internal(format!("no finer timestamp: {other}")).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{TimestampMicrosecondArray, TimestampNanosecondArray};

    #[test]
    fn the_nearest_millisecond_and_the_later_of_two() -> Result<()> {
        let micros = [0, 499, 500, 1_499, -500, -501, -1_500, -1_501, i64::MAX, i64::MIN];
        let millis = [0, 0, 1, 1, 0, -1, -1, -2, 9_223_372_036_854_776, -9_223_372_036_854_776];
        let found = to_millis(&(Arc::new(TimestampMicrosecondArray::from(micros.to_vec())) as ArrayRef))?;
        assert_eq!(found.as_primitive::<TimestampMillisecondType>().values().as_ref(), millis);
        let nanos = TimestampNanosecondArray::from(vec![Some(1_500_000), Some(1_499_999), None, Some(-500_000), Some(-500_001)]);
        let found = to_millis(&(Arc::new(nanos) as ArrayRef))?;
        let found: Vec<_> = found.as_primitive::<TimestampMillisecondType>().iter().collect();
        assert_eq!(found, [Some(2), Some(1), None, Some(0), Some(-1)]);
        Ok(())
    }
}
