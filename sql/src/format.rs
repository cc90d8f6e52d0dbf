//! File formats: told from names, read by DataFusion's own readers.

use crate::parquet::ParquetFiles;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use std::sync::Arc;

/// A kind of file and how it is compressed as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataFormat {
    kind: Kind,
    compression: FileCompressionType,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Parquet,
    Csv,
    Tsv,
    Json,
}

impl DataFormat {
    /// Apache Parquet.
    pub const PARQUET: DataFormat = DataFormat { kind: Kind::Parquet, compression: FileCompressionType::UNCOMPRESSED };

    /// The format that `name` says by its ending (`.parquet`, `.csv`, `.tsv`, `.json`, `.ndjson`, `.jsonl`, the text
    /// forms also with `.gz`, `.zst`, `.bz2` or `.xz` behind).
    pub fn of_name(name: &str) -> Option<Self> {
        let lower = name.to_lowercase();
        let compressions = [
            (".gz", FileCompressionType::GZIP),
            (".zst", FileCompressionType::ZSTD),
            (".bz2", FileCompressionType::BZIP2),
            (".xz", FileCompressionType::XZ),
        ];
        let found = compressions.into_iter().find_map(|(ending, compression)| Some((lower.strip_suffix(ending)?, compression)));
        let (stem, compression) = found.unwrap_or((lower.as_str(), FileCompressionType::UNCOMPRESSED));
        let kind = match stem.rsplit_once('.')?.1 {
            "parquet" | "pq" | "parq" => Kind::Parquet,
            "csv" => Kind::Csv,
            "tsv" => Kind::Tsv,
            "json" | "ndjson" | "jsonl" => Kind::Json,
            _ => return None,
        };
        let plain = compression == FileCompressionType::UNCOMPRESSED;
        (plain || kind != Kind::Parquet).then_some(Self { kind, compression })
    }

    /// Whether files describe themselves, so that each one's schema is cheap and exact.
    pub fn is_self_describing(&self) -> bool {
        self.kind == Kind::Parquet
    }

    /// DataFusion's reader of this format.
    ///
    /// A quoted CSV value may hold a line break, so a CSV file is never cut into ranges: a cut inside quotes would give wrong rows.
    pub fn reader(&self) -> Arc<dyn FileFormat> {
        let compression = self.compression;
        match self.kind {
            Kind::Parquet => Arc::new(ParquetFiles::default()),
            Kind::Csv | Kind::Tsv => {
                let delimiter = if self.kind == Kind::Tsv { b'\t' } else { b',' };
                let format = CsvFormat::default().with_has_header(true).with_delimiter(delimiter);
                Arc::new(format.with_newlines_in_values(true).with_file_compression_type(compression))
            }
            Kind::Json => Arc::new(JsonFormat::default().with_file_compression_type(compression)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_tell_format_and_compression() {
        assert_eq!(DataFormat::of_name("a/B.PARQUET"), Some(DataFormat::PARQUET));
        let gz = DataFormat::of_name("x.csv.gz");
        assert_eq!(gz, Some(DataFormat { kind: Kind::Csv, compression: FileCompressionType::GZIP }));
        let zst = DataFormat::of_name("x.jsonl.zst");
        assert_eq!(zst, Some(DataFormat { kind: Kind::Json, compression: FileCompressionType::ZSTD }));
        assert_eq!(DataFormat::of_name("x.parquet.gz"), None);
        assert_eq!(DataFormat::of_name("README.md"), None);
        assert_eq!(DataFormat::of_name("part-0000"), None);
    }
}
