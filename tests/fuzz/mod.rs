//! The fuzz targets on the stable toolchain: replays the inputs that coverage-guided fuzzing has found, then
//! runs a bounded number of random variations of them.
//!
//! The run is repeatable by seed: `FUZZ_SEED`, and `FUZZ_RUNS` for the inputs per target (few by default). An
//! input that breaks a promise is printed; add it to `fuzz/corpus` and keep it there. `fuzz/README.md` says how
//! to search for new ones.

/// Random variations of inputs.
mod mutation;
/// The targets: they process bytes and check what must hold.
mod targets;

use mutation::Mutator;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Inputs per target in the random pass.
const FEW: usize = 2_000;

fn setting(name: &str, default: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a whole number"))
}

fn corpus_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// A target's function on an input.
type Target = fn(&[u8]);

/// The files of a target's corpus, by name.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(corpus_folder().join(target)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Runs `target` on `input`, and prints the input if it breaks a promise.
fn run(name: &str, target: Target, input: &[u8], origin: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("target {name}, {origin}: b\"{}\"", input.escape_ascii());
        resume_unwind(panic);
    }
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let folders = std::fs::read_dir(corpus_folder()).unwrap();
    let mut folders: Vec<_> = folders.map(|folder| folder.unwrap().file_name()).collect();
    folders.sort();
    assert_eq!(folders, NAMES);
    for name in NAMES {
        assert!(corpus(name).len() >= 5, "{name}");
    }
}

/// Two tests for each target.
macro_rules! each {
    ($($name:ident)*) => {
        /// The targets, by name.
        const NAMES: &[&str] = &[$(stringify!($name)),*];
$(
        mod $name {
            const NAME: &str = stringify!($name);

            #[test]
            fn corpus_inputs_keep_every_promise() {
                super::replay(NAME, super::targets::$name::target);
            }

            #[test]
            fn random_inputs_keep_every_promise() {
                super::search(NAME, super::targets::$name::target);
            }
        }
    )* };
}
each!(arguments codec frame handler headers model models npy script stream);

fn replay(name: &str, target: Target) {
    run(name, target, b"", "nothing");
    for (path, input) in corpus(name) {
        run(name, target, &input, &path.display().to_string());
    }
}

fn search(name: &str, target: Target) {
    let (seed, runs) = (setting("FUZZ_SEED", 1), setting("FUZZ_RUNS", FEW));
    let corpus = corpus(name).into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::new(seed as u64, corpus);
    for n in 0..runs {
        let origin = format!("FUZZ_SEED={seed} input {n}");
        run(name, target, &mutator.next(), &origin);
    }
}
