//! Compressed text of any number of members, which parallel compressors and `cat` make. The library's streams end silently behind the
//! first one of bzip2, xz and zstd, so such files are unpacked before its readers see them.

use async_compression::tokio::bufread::{BzDecoder, XzDecoder, ZstdDecoder};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::proto::ExecutionPlanEncodeCtx;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use std::fmt;
use std::sync::Arc;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

/// Bytes that are unpacked at a time.
const PIECE_BYTES: usize = 64 << 10;

type Pieces = BoxStream<'static, Result<Bytes>>;

/// The bytes that `packed` is of.
pub(crate) fn unpacked(packed: Pieces, compression: FileCompressionType) -> Result<Pieces> {
    fn pieces(reader: impl AsyncRead + Send + 'static) -> Pieces {
        ReaderStream::with_capacity(reader, PIECE_BYTES).map_err(DataFusionError::from).boxed()
    }
    macro_rules! members {
        ($decoder:ident) => {{
            let mut decoder = $decoder::new(StreamReader::new(packed));
            decoder.multiple_members(true);
            pieces(decoder)
        }};
    }
    Ok(match compression {
        FileCompressionType::BZIP2 => members!(BzDecoder),
        FileCompressionType::XZ => members!(XzDecoder),
        FileCompressionType::ZSTD => members!(ZstdDecoder),
        other => other.convert_stream(packed)?,
    })
}

/// A source of text whose files are unpacked before it reads them.
pub(crate) struct Unpacked(Arc<dyn FileSource>);

impl Unpacked {
    /// None where the source of `scan` reads its files right.
    pub(crate) fn of(scan: &FileScanConfig) -> Option<Self> {
        let is_right = [FileCompressionType::UNCOMPRESSED, FileCompressionType::GZIP].contains(&scan.file_compression_type);
        let source = scan.file_source();
        (!is_right && source.downcast_ref::<Self>().is_none()).then(|| Self(Arc::clone(source)))
    }
}

impl FileSource for Unpacked {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        scan: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let store = Arc::new(UnpackedStore { inner: store, compression: scan.file_compression_type });
        let plain = FileScanConfigBuilder::from(scan.clone()).with_file_compression_type(FileCompressionType::UNCOMPRESSED);
        self.0.create_file_opener(store, &plain.build(), partition)
    }

    fn table_schema(&self) -> &TableSchema {
        self.0.table_schema()
    }

    fn with_batch_size(&self, rows: usize) -> Arc<dyn FileSource> {
        Arc::new(Self(self.0.with_batch_size(rows)))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.0.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.0.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.0.metrics()
    }

    fn file_type(&self) -> &str {
        self.0.file_type()
    }

    fn fmt_extra(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_extra(kind, f)
    }

    fn repartitioned(&self, _: usize, _: usize, _: Option<LexOrdering>, _: &FileScanConfig) -> Result<Option<FileScanConfig>> {
        Ok(None)
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        options: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let pushed = self.0.try_pushdown_filters(filters, options)?;
        let updated_node = pushed.updated_node.map(|inner| Arc::new(Self(inner)) as Arc<dyn FileSource>);
        Ok(FilterPushdownPropagation { filters: pushed.filters, updated_node })
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let pushed = self.0.try_pushdown_projection(projection)?;
        Ok(pushed.map(|inner| Arc::new(Self(inner)) as Arc<dyn FileSource>))
    }

    fn apply_expressions(
        &self,
        each: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.0.apply_expressions(each)
    }

    fn try_to_proto(&self, scan: &FileScanConfig, context: &ExecutionPlanEncodeCtx<'_>) -> Result<Option<PhysicalPlanNode>> {
        self.0.try_to_proto(scan, context)
    }
}

/// A store whose objects are read whole, and unpacked.
#[derive(Debug)]
struct UnpackedStore {
    inner: Arc<dyn ObjectStore>,
    compression: FileCompressionType,
}

impl fmt::Display for UnpackedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

fn generic(error: DataFusionError) -> object_store::Error {
    object_store::Error::Generic { store: "unpacked", source: Box::new(error) }
}

#[async_trait]
impl ObjectStore for UnpackedStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        if options.range.is_some() {
            return Err(object_store::Error::NotSupported { source: "a range of a compressed file".into() });
        }
        let found = self.inner.get_opts(path, options).await?;
        let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let bytes = unpacked(found.into_stream().map_err(DataFusionError::from).boxed(), self.compression).map_err(generic)?;
        Ok(GetResult { payload: GetResultPayload::Stream(bytes.map_err(generic).boxed()), meta, range, attributes })
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
