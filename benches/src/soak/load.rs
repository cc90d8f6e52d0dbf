//! The queries of the load and the rows that plain DataFusion gives for them.

use crate::AnyError;
use crate::stats::mix;
use ::tests::cluster::oracle;
use arrow::array::RecordBatch;
use std::path::Path;

/// Different point queries.
const POINTS: u64 = 60;
/// Keys that point queries ask for: one in four of them exists.
const KEYS: u64 = 600_000;
/// Numbers of the TPC-H queries.
const TPCH: std::ops::RangeInclusive<u8> = 1..=22;

/// A query and its rows.
pub(super) struct Known {
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) rows: Vec<RecordBatch>,
}

/// All of them.
pub(super) struct Load {
    seed: u64,
    tpch: Vec<Known>,
    points: Vec<Known>,
}

/// How a query is sent.
pub(super) struct Draw<'a> {
    pub(super) known: &'a Known,
    pub(super) is_async: bool,
    /// The same for the same draw.
    pub(super) token: String,
}

impl Load {
    /// Asks plain DataFusion for all rows.
    pub(super) async fn new(seed: u64, dir: &Path) -> Result<Self, AnyError> {
        let mut tpch = Vec::new();
        for number in TPCH {
            let sql = cli::tpch::queries::sql(number).ok_or("no such query")?;
            let rows = oracle(dir, &[], &sql).await?;
            tpch.push(Known { name: format!("Q{number}"), sql, rows });
        }
        let mut points = Vec::new();
        for number in 0..POINTS {
            let key = mix(seed, number) % KEYS + 1;
            let columns = "o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderdate";
            let sql = format!("SELECT {columns} FROM orders WHERE o_orderkey = {key}");
            let rows = oracle(dir, &[], &sql).await?;
            points.push(Known { name: format!("order {key}"), sql, rows });
        }
        Ok(Self { seed, tpch, points })
    }

    /// Query `index` of `client`: half TPC-H, half points; three in ten asynchronous.
    pub(super) fn draw(&self, client: u64, index: u64) -> Draw<'_> {
        let random = mix(self.seed, client << 40 | index);
        let kind = if random & 1 == 0 { &self.tpch } else { &self.points };
        let known = &kind[(random >> 8) as usize % kind.len()];
        Draw { known, is_async: (random >> 1) % 10 < 3, token: format!("{}-{client}-{index}", self.seed) }
    }
}
