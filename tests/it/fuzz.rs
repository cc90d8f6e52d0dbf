//! The property of the fuzz target `sql_text` on statements of these tests with a few changes, by seed.
//!
//! The target itself is not built here: it would build DataFusion once more. `OWLET_FUZZ_ROUNDS` changes each statement more often.

use engine::settings::Settings;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tests::cluster::block_on;

/// How often each statement is changed.
const ROUNDS: usize = 8;
/// Most changes of one text.
const MAX_CHANGES: usize = 4;

fn statements() -> Vec<&'static str> {
    let second = |line: &'static str| line.split('\t').nth(1);
    let lines = include_str!("athena_sql.tsv").lines().skip(1).chain(include_str!("traps.tsv").lines().skip(1));
    // Calls with a syntax of their own, in some lines of another test.
    let calls = include_str!("../slt/athena/json_functions.slt").lines().filter(|line| line.starts_with("SELECT json_"));
    lines.filter_map(second).filter(|sql| !sql.is_empty()).chain(calls).collect()
}

/// A sequence of numbers that are the same for the same seed (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound.max(1)).expect("a bound")).expect("below the bound")
    }
}

/// Words with what is between them.
fn words(sql: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut was_word = false;
    for character in sql.chars() {
        let is_word = character.is_alphanumeric() || character == '_';
        match words.last_mut() {
            Some(word) if is_word && was_word => word.push(character),
            _ => words.push(character.to_string()),
        }
        was_word = is_word;
    }
    words
}

/// `sql` with words left out, repeated, exchanged, or taken from `other`.
fn changed(sql: &str, other: &str, numbers: &mut Numbers) -> String {
    let (mut words, others) = (words(sql), words(other));
    for _ in 0..=numbers.below(MAX_CHANGES) {
        let (at, with) = (numbers.below(words.len()), numbers.below(words.len()));
        let length = numbers.below(6) + 1;
        match numbers.below(6) {
            0 => drop(words.drain(at..(at + length).min(words.len()))),
            1 => words.swap(at, with),
            2 => {
                let copied: Vec<String> = words.iter().skip(at).take(length).cloned().collect();
                words.splice(with..with, copied);
            }
            3 => {
                let from = numbers.below(others.len());
                let taken: Vec<String> = others.iter().skip(from).take(length).cloned().collect();
                words.splice(at..at, taken);
            }
            4 => words[at] = others[numbers.below(others.len())].clone(),
            _ => {
                let around =
                    [("(", ")"), ("(SELECT ", ")"), ("CAST(", " AS VARCHAR)"), ("TRY(", ")"), ("-- ", "\n"), ("\"", "\"")];
                let (open, close) = around[numbers.below(around.len())];
                words.insert(at, open.to_string());
                words.insert((at + length).min(words.len()), close.to_string());
            }
        }
        if words.is_empty() {
            words.push(sql.to_string());
        }
    }
    words.concat()
}

#[test]
fn changed_statements_are_read_or_refused() {
    let rounds = std::env::var("OWLET_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let wrong = block_on(async move {
        let statements = statements();
        let limits = sql::Limits::from(&Settings::default());
        let mut wrong = Vec::new();
        for (index, statement) in statements.iter().enumerate() {
            let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ u64::try_from(index).expect("an index"));
            for round in 0..=rounds {
                let other = statements[numbers.below(statements.len())];
                let text = if round == 0 { (*statement).to_string() } else { changed(statement, other, &mut numbers) };
                match catch_unwind(AssertUnwindSafe(|| sql::check_text(&text, limits))) {
                    Ok(Ok(())) => {}
                    Ok(Err(why)) => wrong.push(why),
                    Err(_) => wrong.push(format!("a panic: {text}")),
                }
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
