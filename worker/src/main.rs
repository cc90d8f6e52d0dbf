//! The bootstrap of the worker function.

use lambda_runtime::layers::TracingLayer;
use lambda_runtime::tower::util::AndThenLayer;
use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use worker::Function;

/// Attempts allocate and free across threads all the time, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Error> {
    engine::logging::start();
    let function = &Function::new(&|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handler = service_fn(async |event: LambdaEvent<_>| {
        Ok::<_, Error>(function.handle(event.payload, event.context.request_id, event.context.deadline).await)
    });
    // This is called when the answer has been handed over.
    let end_if_stuck = AndThenLayer::new(|()| async { if function.is_stuck() { Err(Error::from("stuck")) } else { Ok(()) } });
    let ended = runtime.block_on(Runtime::new(handler).layer(TracingLayer::new()).layer(end_if_stuck).run());
    if function.is_stuck() {
        // Its threads would be waited for.
        std::process::exit(1);
    }
    ended
}
