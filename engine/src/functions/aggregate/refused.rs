//! Aggregate functions of Trino that are refused, each with the reason.

use arrow::datatypes::DataType;
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

const REFUSED: [(&str, &str); 13] = [
    ("approx_most_frequent", "its result depends on the sketch"),
    ("approx_set", "the type HyperLogLog is not supported"),
    ("merge", "the types HyperLogLog and TDigest are not supported"),
    ("tdigest_agg", "the type TDigest is not supported"),
    ("qdigest_agg", "the type QDigest is not supported"),
    ("make_set_digest", "the type SetDigest is not supported"),
    ("merge_set_digest", "the type SetDigest is not supported"),
    ("numeric_histogram", "its result depends on the order of rows"),
    ("checksum", "its bytes could not be those of other engines"),
    ("learn_classifier", "machine learning is not supported"),
    ("learn_regressor", "machine learning is not supported"),
    ("learn_libsvm_classifier", "machine learning is not supported"),
    ("learn_libsvm_regressor", "machine learning is not supported"),
];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = AggregateUDF> {
    REFUSED.iter().map(|(name, reason)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        AggregateUDF::new_from_impl(Refused { name, reason, signature })
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Refused {
    name: &'static str,
    reason: &'static str,
    signature: Signature,
}

impl Refused {
    fn refuse<T>(&self) -> Result<T> {
        not_impl_err!("{}: {}", self.name, self.reason)
    }
}

impl AggregateUDFImpl for Refused {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, _: &[DataType]) -> Result<Vec<DataType>> {
        self.refuse()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        self.refuse()
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.refuse()
    }
}
