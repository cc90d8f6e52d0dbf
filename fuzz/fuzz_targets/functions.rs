//! Any texts and numbers as arguments of each function: a value or an error (`engine::functions::check_functions`).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str, i64)| {
    let (a, b, c, number) = input;
    if let Err(why) = engine::functions::check_functions([a, b, c], number) {
        panic!("{why}");
    }
});
