//! The bootstrap of the coordinator function.

use coordinator::{Function, STACK_BYTES};
use lambda_runtime::layers::TracingLayer;
use lambda_runtime::tower::util::AndThenLayer;
use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use serde_json::Value;

/// Query threads allocate and free across each other all the time, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Error> {
    engine::logging::start();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).thread_stack_size(STACK_BYTES).enable_all().build()?;
    // Made and dropped outside of the runtime's tasks: it owns another runtime.
    let function = {
        let _entered = runtime.enter();
        Function::new(&|name| std::env::var(name).ok())?
    };
    let function = &function;
    let handler = service_fn(async |event: LambdaEvent<Value>| Ok::<_, Error>(function.handle(event).await?));
    // This is called when the answer has been handed over.
    let end_if_stuck = AndThenLayer::new(|()| async { if function.is_stuck() { Err(Error::from("stuck")) } else { Ok(()) } });
    let ended = runtime.block_on(Runtime::new(handler).layer(TracingLayer::new()).layer(end_if_stuck).run());
    if function.is_stuck() {
        // Its threads would be waited for.
        std::process::exit(1);
    }
    ended
}
