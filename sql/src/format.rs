//! File formats: told from names, read by DataFusion's own readers.

use crate::parquet::ParquetFiles;
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::{Result as DataFusionResult, Statistics};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::physical_plan::{FileScanConfig, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_plan::ExecutionPlan;
use engine::columns::adapted;
use object_store::{ObjectMeta, ObjectStore};
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
                Arc::new(TextFiles(Arc::new(format.with_newlines_in_values(true).with_file_compression_type(compression))))
            }
            Kind::Json => Arc::new(TextFiles(Arc::new(JsonFormat::default().with_file_compression_type(compression)))),
        }
    }
}

/// A format of text, whose compressed files are unpacked to their ends.
#[derive(Debug)]
struct TextFiles(Arc<dyn FileFormat>);

#[async_trait]
impl FileFormat for TextFiles {
    fn get_ext(&self) -> String {
        self.0.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> DataFusionResult<String> {
        self.0.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.0.compression_type()
    }

    async fn infer_schema(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> DataFusionResult<SchemaRef> {
        self.0.infer_schema(state, store, objects).await
    }

    async fn infer_stats(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        object: &ObjectMeta,
    ) -> DataFusionResult<Statistics> {
        self.0.infer_stats(state, store, schema, object).await
    }

    async fn create_physical_plan(&self, state: &dyn Session, scan: FileScanConfig) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let plan = self.0.create_physical_plan(state, scan).await?;
        Ok(adapted(plan, state.runtime_env())?)
    }

    fn file_source(&self, schema: TableSchema) -> Arc<dyn FileSource> {
        self.0.file_source(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
    use datafusion::execution::object_store::ObjectStoreUrl;
    use datafusion::prelude::SessionContext;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

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
    /// A store of this kind gives streams, as S3 does.
    #[tokio::test]
    async fn compressed_streams_are_read_to_the_end_of_their_last_member() -> Result<(), Box<dyn std::error::Error>> {
        let store = Arc::new(InMemory::new());
        let context = SessionContext::new();
        let bucket = ObjectStoreUrl::parse("s3://bucket")?;
        context.register_object_store(bucket.as_ref(), Arc::clone(&store) as Arc<dyn ObjectStore>);
        for (ending, bytes) in [
            ("gz", &include_bytes!("../../tests/it/interop/two_members.gz")[..]),
            ("bz2", include_bytes!("../../tests/it/interop/two_members.bz2")),
            ("xz", include_bytes!("../../tests/it/interop/two_members.xz")),
            ("zst", include_bytes!("../../tests/it/interop/two_members.zst")),
        ] {
            let name = format!("a.csv.{ending}");
            let url = ListingTableUrl::parse(format!("s3://bucket/{name}"))?;
            store.put(&object_store::path::Path::from(name.as_str()), bytes.to_vec().into()).await?;
            let reader = DataFormat::of_name(&name).ok_or("a format")?.reader();
            let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
            let config = ListingTableConfig::new(url)
                .with_listing_options(ListingOptions::new(reader).with_file_extension(""))
                .with_schema(Arc::new(schema));
            let table = context.read_table(Arc::new(ListingTable::try_new(config)?))?;
            assert_eq!(table.count().await?, 3, "{name}");
        }
        Ok(())
    }
}
