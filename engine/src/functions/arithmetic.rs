//! Arithmetic that fails where numbers run over, as Trino's does, and the same with NULL where it would fail.
//!
//! The engine's operators wrap around without a word.

use super::Functions;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Datum, new_null_array};
use datafusion::arrow::compute::concat;
use datafusion::arrow::compute::kernels::numeric::{add, div, mul, rem, sub};
use datafusion::arrow::datatypes::{DataType, Decimal128Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::Result;
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

/// An operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Checked {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
}

impl Checked {
    /// All of them.
    pub const ALL: [Checked; 5] = [Checked::Add, Checked::Subtract, Checked::Multiply, Checked::Divide, Checked::Modulo];

    /// The operator that is written for it.
    pub fn operator(self) -> Operator {
        match self {
            Checked::Add => Operator::Plus,
            Checked::Subtract => Operator::Minus,
            Checked::Multiply => Operator::Multiply,
            Checked::Divide => Operator::Divide,
            Checked::Modulo => Operator::Modulo,
        }
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Checked::Add => ("owlet_add", "owlet_try_add"),
            Checked::Subtract => ("owlet_subtract", "owlet_try_subtract"),
            Checked::Multiply => ("owlet_multiply", "owlet_try_multiply"),
            Checked::Divide => ("owlet_divide", "owlet_try_divide"),
            Checked::Modulo => ("owlet_modulo", "owlet_try_modulo"),
        }
    }

    fn apply(self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        let result = match self {
            Checked::Add => add(left, right),
            Checked::Subtract => sub(left, right),
            Checked::Multiply => mul(left, right),
            Checked::Divide => div(left, right),
            Checked::Modulo => rem(left, right),
        }?;
        // The kernels fail at the end of 128 bits only, which is behind 38 digits.
        if let (DataType::Decimal128(digits, _), Some(values)) = (result.data_type(), result.as_primitive_opt::<Decimal128Type>())
        {
            values.validate_decimal_precision(*digits)?;
        }
        Ok(result)
    }
}

static CHECKED: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    Checked::ALL.iter().map(|operation| Arc::new(ScalarUDF::from(Arithmetic::new(*operation, false)))).collect()
});

/// The function that does `operation` and fails where a number runs over.
pub fn checked(operation: Checked) -> Arc<ScalarUDF> {
    let found = CHECKED.iter().find(|function| function.name() == operation.names().0);
    found.map_or_else(|| Arc::new(ScalarUDF::from(Arithmetic::new(operation, false))), Arc::clone)
}

pub(super) fn add_to(functions: &mut Functions) {
    functions.scalar.extend(CHECKED.iter().map(Arc::clone));
    functions.scalar.extend(Checked::ALL.iter().map(|operation| Arc::new(ScalarUDF::from(Arithmetic::new(*operation, true)))));
}

#[derive(PartialEq, Eq, Debug)]
struct Arithmetic {
    operation: Checked,
    null_on_failure: bool,
    signature: Signature,
}

/// The signature is the same for all, and hashing it would be most of the work of hashing a chain of operators.
impl Hash for Arithmetic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.operation.hash(state);
        self.null_on_failure.hash(state);
    }
}

impl Arithmetic {
    fn new(operation: Checked, null_on_failure: bool) -> Self {
        Self { operation, null_on_failure, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        let (name, try_name) = self.operation.names();
        if self.null_on_failure { try_name } else { name }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// A long chain of operators has a short name: planning asks each of them for its name, and writes those of all below into it.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        if is_long_chain(args) {
            return Ok(format!("{}({:016x})", self.name(), fingerprint(args)));
        }
        let args = args.iter().map(|arg| arg.schema_name().to_string()).collect::<Vec<_>>();
        Ok(format!("{}({})", self.name(), args.join(",")))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = super::arguments(self.name(), types)?;
        let (left, right) = BinaryTypeCoercer::new(left, &self.operation.operator(), right).get_input_types()?;
        Ok(vec![left, right])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [left, right] = super::arguments(self.name(), types)?;
        BinaryTypeCoercer::new(left, &self.operation.operator(), right).get_result_type()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = super::arguments(self.name(), &args.args)?;
        let is_scalar = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let result = match (left, right) {
            (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => self.operation.apply(left, &right.to_scalar()?),
            (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => self.operation.apply(&left.to_scalar()?, right),
            _ => self.operation.apply(&left.to_array(rows)?, &right.to_array(rows)?),
        };
        let result = match result {
            Err(_) if self.null_on_failure => self.by_rows(&left.to_array(rows)?, &right.to_array(rows)?, args.return_type())?,
            other => other?,
        };
        if is_scalar {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// Operators upon operators that keep the name that their text gives.
const LONG_CHAIN: usize = 16;

/// Whether more operators than [`LONG_CHAIN`] follow upon one another, as in `a + b + c`.
fn is_long_chain(args: &[Expr]) -> bool {
    fn below(expression: &Expr) -> Option<&Expr> {
        match expression {
            Expr::ScalarFunction(call) => call.args.first(),
            Expr::BinaryExpr(binary) => Some(&binary.left),
            _ => None,
        }
    }
    std::iter::successors(args.first(), |expression| below(expression)).nth(LONG_CHAIN).is_some()
}

/// 64 bits that no two expressions of a statement have in common.
fn fingerprint(args: &[Expr]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    args.hash(&mut hasher);
    hasher.finish()
}

impl Arithmetic {
    /// Row by row, with NULL where one fails.
    fn by_rows(&self, left: &ArrayRef, right: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
        let null = new_null_array(data_type, 1);
        let one =
            |row: usize| self.operation.apply(&left.slice(row, 1), &right.slice(row, 1)).unwrap_or_else(|_| Arc::clone(&null));
        let rows: Vec<ArrayRef> = (0..left.len()).map(one).collect();
        let parts: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
        if parts.is_empty() {
            return Ok(new_null_array(data_type, 0));
        }
        Ok(concat(&parts)?)
    }
}
