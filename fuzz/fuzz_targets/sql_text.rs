//! Any text as SQL: read or refused, planned or refused, and printed as what reads the same again (`sql::check_text`).
#![no_main]

use libfuzzer_sys::fuzz_target;

/// As deep as the coordinator's.
const STACK_BYTES: usize = 256 << 20;

fuzz_target!(|text: &str| {
    let limits = sql::Limits::from(&engine::settings::Settings::default());
    let check = || sql::check_text(text, limits);
    let found = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, check).expect("a thread");
        thread.join().expect("no panic")
    });
    if let Err(why) = found {
        panic!("{why}");
    }
});
