//! SQL functions by Trino's names, with Trino's semantics; the session recipe registers them on both sides of the wire.
//!
//! A function here hides DataFusion's function of the same name everywhere, so that a plan means the same to the coordinator
//! and to every worker. Each module adds its own to [`Functions`].

mod aggregate;
pub mod arithmetic;
mod array;
pub mod attempt;
mod binary;
pub(crate) mod bucket;
mod check;
mod conversion;
mod datetime;
pub(crate) mod define;
pub mod divide;
pub mod equal;
mod json;
pub mod json_line;
mod lambda;
mod map;
pub mod masked;
mod math;
mod nested;
pub mod only;
mod regexp;
pub mod renamed;
mod string;
pub mod subscript;
pub mod text_line;
mod text_support;
pub mod text_value;
mod url;
mod window;

pub use check::check_functions;
pub use conversion::{CHAR, CHAR_MARK, STORED_TEXT, TRY_CAST_DECIMAL, type_name};
pub(crate) use conversion::{java_double, java_real};
pub use datetime::interval_texts;
pub use define::{DAY_TIME, JSON, YEAR_MONTH};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use std::sync::Arc;

/// Functions by kind.
#[derive(Debug, Default)]
pub struct Functions {
    /// One value for each row.
    pub scalar: Vec<Arc<ScalarUDF>>,
    /// One value for each group.
    pub aggregate: Vec<Arc<AggregateUDF>>,
    /// One value for each row, from its neighbours.
    pub window: Vec<Arc<WindowUDF>>,
    /// Functions that take lambdas.
    pub higher_order: Vec<Arc<HigherOrderUDF>>,
}

impl Functions {
    /// All functions of this crate.
    pub fn all() -> Self {
        let mut functions = Self::default();
        aggregate::add(&mut functions);
        arithmetic::add_to(&mut functions);
        array::add(&mut functions);
        binary::add(&mut functions);
        bucket::add_to(&mut functions);
        conversion::add(&mut functions);
        datetime::add(&mut functions);
        divide::add_to(&mut functions);
        equal::add_to(&mut functions);
        json::add(&mut functions);
        json_line::add(&mut functions);
        lambda::add(&mut functions);
        map::add(&mut functions);
        masked::add_to(&mut functions);
        math::add(&mut functions);
        only::add_to(&mut functions);
        regexp::add(&mut functions);
        renamed::add_to(&mut functions);
        string::add(&mut functions);
        subscript::add_to(&mut functions);
        text_line::add(&mut functions);
        text_value::add(&mut functions);
        url::add(&mut functions);
        window::add(&mut functions);
        attempt::add_to(&mut functions);
        functions
    }

    /// Adds these functions to those of `builder`; on the same name, these win.
    pub fn register(self, mut builder: SessionStateBuilder) -> SessionStateBuilder {
        builder.scalar_functions().get_or_insert_default().extend(self.scalar);
        builder.aggregate_functions().get_or_insert_default().extend(self.aggregate);
        builder.window_functions().get_or_insert_default().extend(self.window);
        builder.higher_order_functions().get_or_insert_default().extend(self.higher_order);
        builder
    }
}

/// The arguments of a call, as many as it must have.
fn arguments<'a, T, const N: usize>(name: &str, arguments: &'a [T]) -> Result<&'a [T; N]> {
    let wrong = || DataFusionError::Plan(format!("{name} takes {N} arguments, not {}", arguments.len()));
    arguments.try_into().map_err(|_| wrong())
}
