//! Decides into how many files each TPC-H table is cut; knows nothing of how they are written.

use arrow::array::RecordBatchReader;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator, RegionGenerator,
    SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

/// Rows the generator hands over at once.
pub(super) const BATCH_ROWS: usize = 8_192;

/// Size the files of large tables aim at; 32 to 128 MB suits one task each.
const TARGET_FILE_BYTES: f64 = 64.0 * 1024.0 * 1024.0;

/// The tables; largest first, so that no thread is left with a large one at the end.
pub(super) const TABLES: [Table; 8] = [
    Table::Lineitem,
    Table::Orders,
    Table::Partsupp,
    Table::Customer,
    Table::Part,
    Table::Supplier,
    Table::Nation,
    Table::Region,
];

/// One of the eight tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Lineitem,
    Orders,
    Partsupp,
    Customer,
    Part,
    Supplier,
    Nation,
    Region,
}

/// How a table is cut into files.
struct Cut {
    /// Fewest parts, so that small data still fans out.
    at_least: f64,
    /// Parts at scale 1.
    at_scale_one: f64,
    /// Bytes of Parquet at scale 1, measured.
    bytes_at_scale_one: f64,
}

impl Table {
    /// Name of the table and of its folder.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lineitem => "lineitem",
            Self::Orders => "orders",
            Self::Partsupp => "partsupp",
            Self::Customer => "customer",
            Self::Part => "part",
            Self::Supplier => "supplier",
            Self::Nation => "nation",
            Self::Region => "region",
        }
    }

    /// None for the tables of one fixed small file.
    fn cut(self) -> Option<Cut> {
        let (at_least, at_scale_one, bytes_at_scale_one) = match self {
            Self::Lineitem => (4.0, 8.0, 183e6),
            Self::Orders => (4.0, 4.0, 46e6),
            Self::Partsupp => (1.0, 4.0, 32e6),
            Self::Customer => (1.0, 2.0, 9.4e6),
            Self::Part => (1.0, 2.0, 5.1e6),
            Self::Supplier => (1.0, 1.0, 0.63e6),
            Self::Nation | Self::Region => return None,
        };
        Some(Cut { at_least, at_scale_one, bytes_at_scale_one })
    }

    /// Files at `scale`; never more than rows.
    pub(super) fn parts(self, scale: f64) -> usize {
        let Some(cut) = self.cut() else { return 1 };
        let by_scale = (cut.at_scale_one * scale.min(1.0)).ceil();
        let by_bytes = (cut.bytes_at_scale_one * scale / TARGET_FILE_BYTES).ceil();
        // At most 10,000 * 200 MB / 64 MB: far inside usize.
        by_scale.max(by_bytes).max(cut.at_least) as usize
    }

    /// Rows at `scale`; for lineitem the mean of 1 to 7 lines an order.
    pub(super) fn expected_rows(self, scale: f64) -> u64 {
        let at_scale_one = match self {
            Self::Lineitem => 6_000_000.0,
            Self::Orders => 1_500_000.0,
            Self::Partsupp => 800_000.0,
            Self::Customer => 150_000.0,
            Self::Part => 200_000.0,
            Self::Supplier => 10_000.0,
            Self::Nation => return 25,
            Self::Region => return 5,
        };
        (at_scale_one * scale) as u64
    }

    /// The rows of one 0-based part.
    pub(super) fn rows(self, scale: f64, part: usize, parts: usize) -> Box<dyn RecordBatchReader> {
        // At most some 30,000 parts at the largest scale.
        let (part, parts) = (part as i32 + 1, parts as i32);
        match self {
            Self::Lineitem => {
                Box::new(LineItemArrow::new(LineItemGenerator::new(scale, part, parts)).with_batch_size(BATCH_ROWS))
            }
            Self::Orders => Box::new(OrderArrow::new(OrderGenerator::new(scale, part, parts)).with_batch_size(BATCH_ROWS)),
            Self::Partsupp => {
                Box::new(PartSuppArrow::new(PartSuppGenerator::new(scale, part, parts)).with_batch_size(BATCH_ROWS))
            }
            Self::Customer => {
                Box::new(CustomerArrow::new(CustomerGenerator::new(scale, part, parts)).with_batch_size(BATCH_ROWS))
            }
            Self::Part => Box::new(PartArrow::new(PartGenerator::new(scale, part, parts)).with_batch_size(BATCH_ROWS)),
            Self::Supplier => {
                Box::new(SupplierArrow::new(SupplierGenerator::new(scale, part, parts)).with_batch_size(BATCH_ROWS))
            }
            Self::Nation => Box::new(NationArrow::new(NationGenerator::new(scale, part, parts))),
            Self::Region => Box::new(RegionArrow::new(RegionGenerator::new(scale, part, parts))),
        }
    }
}
