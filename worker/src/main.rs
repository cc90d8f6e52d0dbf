//! The bootstrap of the worker function.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use worker::Function;

/// Attempts allocate and free across threads all the time, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Error> {
    engine::logging::start();
    let function = &Function::new(&|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lambda_runtime::run(service_fn(async |event: LambdaEvent<_>| {
        Ok::<_, Error>(function.handle(event.payload, event.context.request_id, event.context.deadline).await)
    })))
}
