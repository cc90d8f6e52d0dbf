//! lag, lead, nth_value and ntile whose offset, default or number of buckets is not the same for all rows, and lag and lead that ignore
//! NULLs. They see a partition as a whole; DataFusion's own take constants only, and lose rows at the end of a partition where they ignore
//! NULLs.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, new_null_array};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::PartitionEvaluator;
use std::ops::Range;

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Lag,
    Lead,
    NthValue,
    Ntile,
}

impl Kind {
    /// The first argument that DataFusion wants to be constant.
    pub(super) fn first_constant(self) -> usize {
        if self == Kind::Ntile { 0 } else { 1 }
    }
}

/// The function over one partition.
#[derive(Debug)]
pub(super) struct ByRow {
    kind: Kind,
    ignore_nulls: bool,
    /// The arguments behind the first one, where they are constants and no columns are made of them.
    constants: Vec<ScalarValue>,
    /// The row that is evaluated next, where that is done row by row.
    row: usize,
}

impl ByRow {
    pub(super) fn new(kind: Kind, ignore_nulls: bool) -> Self {
        Self { kind, ignore_nulls, constants: Vec::new(), row: 0 }
    }

    /// The same with the arguments behind the first one.
    pub(super) fn with_constants(kind: Kind, ignore_nulls: bool, constants: Vec<ScalarValue>) -> Self {
        Self { constants, ..Self::new(kind, ignore_nulls) }
    }

    /// For each row the row that its value is from; none for the default.
    fn sources(&self, values: &ArrayRef, offsets: &Int64Array, rows: usize) -> Result<Vec<Option<usize>>> {
        let known: Vec<usize> = match self.ignore_nulls {
            true => (0..rows).filter(|row| values.is_valid(*row)).collect(),
            false => Vec::new(),
        };
        let source = |row: usize| {
            if offsets.is_null(row) {
                return exec_err!("Offset must not be null");
            }
            let Ok(offset) = usize::try_from(offsets.value(row)) else {
                return exec_err!("Offset must be at least 0, not {}", offsets.value(row));
            };
            let counts = self.ignore_nulls && offset > 0;
            Ok(match self.kind {
                Kind::Lag if counts => known.partition_point(|at| *at < row).checked_sub(offset).map(|index| known[index]),
                _ if counts => known.get(known.partition_point(|at| *at <= row).saturating_add(offset - 1)).copied(),
                Kind::Lag => row.checked_sub(offset),
                _ => row.checked_add(offset).filter(|at| *at < rows),
            })
        };
        (0..rows).map(source).collect()
    }

    fn shifted(&self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let Some((values, rest)) = args.split_first() else { return exec_err!("lag and lead take a value") };
        let constants = self.constants.iter().map(|constant| constant.to_array_of_size(rows)).collect::<Result<Vec<_>>>()?;
        let one = ScalarValue::Int64(Some(1)).to_array_of_size(rows)?;
        let mut rest = rest.iter().chain(&constants);
        let (offsets, default) = (rest.next().unwrap_or(&one), rest.next());
        let of = match (values.data_type(), default) {
            (DataType::Null, Some(default)) => default.data_type(),
            (own, _) => own,
        };
        let values = cast(values, of)?;
        let sources = self.sources(&values, whole(offsets)?.as_primitive::<Int64Type>(), rows)?;
        let defaults = default.map_or_else(|| Ok(new_null_array(of, rows)), |default| cast(default, of))?;
        let indices: Vec<(usize, usize)> =
            sources.into_iter().enumerate().map(|(row, source)| source.map_or((1, row), |source| (0, source))).collect();
        Ok(interleave(&[values.as_ref(), defaults.as_ref()], &indices)?)
    }

    /// The number of the bucket that each row is in, where the row says how many there are.
    fn buckets(args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let Some(counts) = args.first() else { return exec_err!("ntile takes a number") };
        let counts = whole(counts)?;
        let counts = counts.as_primitive::<Int64Type>();
        let bucket = |row: usize| {
            if counts.is_null(row) {
                return Ok(None);
            }
            let buckets = match usize::try_from(counts.value(row)) {
                Ok(buckets @ 1..) => buckets,
                _ => return exec_err!("Buckets must be greater than 0"),
            };
            let (size, more) = (rows / buckets, rows % buckets);
            let index = if row < (size + 1) * more { row / (size + 1) } else { (row - more) / size.max(1) };
            Ok(i64::try_from(index + 1).ok())
        };
        let numbers: Int64Array = (0..rows).map(bucket).collect::<Result<Vec<_>>>()?.into();
        Ok(std::sync::Arc::new(numbers))
    }
}

fn whole(numbers: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(numbers, &DataType::Int64)?)
}

impl PartitionEvaluator for ByRow {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        if self.kind == Kind::Ntile { Self::buckets(values, rows) } else { self.shifted(values, rows) }
    }

    /// The rows of a partition come in their order.
    fn evaluate(&mut self, args: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let row = self.row;
        self.row += 1;
        let [values, offsets, ..] = args else { return exec_err!("nth_value takes an offset") };
        let offset = match ScalarValue::try_from_array(offsets, row)?.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(Some(offset)) => offset,
            _ => return ScalarValue::try_from(values.data_type()),
        };
        let Some(before) = usize::try_from(offset).ok().and_then(|offset| offset.checked_sub(1)) else {
            return exec_err!("Offset must be at least 1, not {offset}");
        };
        let found = match self.ignore_nulls {
            true => range.clone().filter(|at| values.is_valid(*at)).nth(before),
            false => range.clone().nth(before),
        };
        match found {
            Some(at) => ScalarValue::try_from_array(values, at),
            None => ScalarValue::try_from(values.data_type()),
        }
    }

    fn uses_window_frame(&self) -> bool {
        self.kind == Kind::NthValue
    }
}
