//! A bucket's arithmetic, proved for all values of 64 bits by z3: nothing overflows, no more is given than there is, and a wrap of
//! the clock changes no answer. What is proved is a translation of `bucket.rs`, `bucket.smt2`, which is held against the file's own
//! functions with random values.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::super::bucket::{Terms, charged, lacking, owing};
use super::bits::any_magnitude;

const TRANSLATION: &str = include_str!("bucket.smt2");

/// What the plans of meters can be, and more.
const BOUNDS: &str = "(assert (and (bvule depth depth_max) (bvule slack #x000001ffffffffff)))";

/// What holds of all values within the bounds: its name, and what is said.
const THEOREMS: [(&str, &str); 10] = [
    ("no sum of a depth and its slack overflows", "(bvuge (bvadd depth slack) depth)"),
    (
        "no sum of what is taken overflows",
        "(=> (gives full_at now cost depth slack)
             (= (wide (bvadd (lacks full_at now cost depth slack) cost))
                (bvadd (wide (lacks full_at now cost depth slack)) (wide cost))))",
    ),
    (
        "no more is given than there is",
        "(=> (and (gives full_at now cost depth slack) (bvule (lacking full_at now) (bvadd depth slack)))
             (bvule (bvadd (wide (lacking full_at now)) (wide cost)) (wide depth)))",
    ),
    (
        "all that there is can be had",
        "(=> (bvule (bvadd (wide (lacking full_at now)) (wide cost)) (wide depth))
             (gives full_at now cost depth slack))",
    ),
    (
        "what is taken is lacking then, and never more than the bucket holds",
        "(=> (gives full_at now cost depth slack)
             (let ((after (lacking (charged full_at now cost depth slack) now)))
               (and (= after (bvadd (lacks full_at now cost depth slack) cost)) (bvule after depth))))",
    ),
    (
        "time fills it again as fast as it passes",
        "(=> (bvule (bvadd (wide (lacking full_at now)) (wide passed)) (wide half))
             (=> (bvule (bvsub full_at now) half)
                 (= (lacking full_at (bvadd now passed))
                    (ite (bvugt passed (lacking full_at now)) #x0000000000000000
                         (bvsub (lacking full_at now) passed)))))",
    ),
    (
        "what is owed is what was and what was taken, up to its bound",
        "(= (wide (lacking (owing full_at now cost) now))
            (least (bvadd (wide (lacking full_at now)) (wide cost)) (wide depth_max)))",
    ),
    (
        "a shift of the clock, past its end, too, shifts what is charged and changes no answer",
        "(and (= (gives (bvadd full_at passed) (bvadd now passed) cost depth slack)
                 (gives full_at now cost depth slack))
              (= (charged (bvadd full_at passed) (bvadd now passed) cost depth slack)
                 (bvadd (charged full_at now cost depth slack) passed)))",
    ),
    (
        "a shift of the clock shifts what is owed",
        "(= (owing (bvadd full_at passed) (bvadd now passed) cost) (bvadd (owing full_at now cost) passed))",
    ),
    (
        "what is given at once is given one after the other, too",
        "(=> (and (gives full_at now cost depth slack) (bvule passed cost)
                  (bvule (lacking full_at now) (bvadd depth slack)))
             (and (gives full_at now passed depth slack)
                  (gives (charged full_at now passed depth slack) now (bvsub cost passed) depth slack)
                  (= (charged (charged full_at now passed depth slack) now (bvsub cost passed) depth slack)
                     (charged full_at now cost depth slack))))",
    ),
];

/// What z3 says about the translation and this, line by line.
fn ask(questions: &str) -> Vec<String> {
    let mut z3 = Command::new("z3")
        .args(["-smt2", "-in", "-T:120"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs z3: scripts/setup installs it");
    z3.stdin.take().unwrap().write_all([TRANSLATION, questions].concat().as_bytes()).unwrap();
    let output = z3.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains("error"), "{said}");
    said.lines().map(str::to_owned).collect()
}

/// Whether nothing contradicts it.
fn contradictions(theorem: &str) -> String {
    format!("(push)\n{BOUNDS}\n(assert (not {theorem}))\n(check-sat)\n(pop)\n")
}

#[test]
fn z3_proves_of_all_values_that_nothing_overflows_and_no_wrap_changes_an_answer() {
    let questions: String = THEOREMS.iter().map(|(_, theorem)| contradictions(theorem)).collect();
    let said = ask(&questions);
    assert_eq!(said.len(), THEOREMS.len(), "{said:?}");
    for ((name, _), said) in THEOREMS.iter().zip(&said) {
        assert_eq!(said, "unsat", "contradicted, or not proved: {name}");
    }
}

#[test]
fn z3_contradicts_what_is_wrong() {
    // Without the bound of the debt, and with a bucket that may be deeper than a quarter of the clock.
    let unbounded =
        "(= (wide (lacking (owing full_at now cost) now)) (bvadd (wide (lacking full_at now)) (wide cost)))";
    let too_deep = "(push)\n(assert (not (bvuge (bvadd depth slack) depth)))\n(check-sat)\n(pop)\n";
    assert_eq!(ask(&(contradictions(unbounded) + too_deep)), ["sat", "sat"]);
}

#[test]
fn the_translation_reckons_as_the_file_does() {
    let mut runner = TestRunner::deterministic();
    let mut any = || any_magnitude().new_tree(&mut runner).unwrap().current();
    let mut questions = String::from("(check-sat)\n");
    let mut expected = vec!["sat".to_owned()];
    let mut asks = |function: &str, values: &[u64], result: String| {
        let values: String = values.iter().map(|value| format!(" #x{value:016x}")).collect();
        questions += &format!("(simplify ({function}{values}))\n");
        expected.push(result);
    };
    for _ in 0..500 {
        let (now, cost, slack) = (any(), any(), any() >> 23);
        let (full_at, depth) = (now.wrapping_add(any()), any().min(Terms::DEPTH_MAX));
        asks("lacking", &[full_at, now], format!("#x{:016x}", lacking::<64>(full_at, now)));
        asks("owing", &[full_at, now, cost], format!("#x{:016x}", owing::<64>(full_at, now, cost)));
        let cost = cost.min(depth.saturating_add(1));
        let after = charged::<64>(full_at, now, cost, Terms { depth, slack });
        let all = [full_at, now, cost, depth, slack];
        asks("gives", &all, after.is_some().to_string());
        if let Some(after) = after {
            asks("charged", &all, format!("#x{after:016x}"));
        }
    }
    assert_eq!(ask(&questions), expected);
}
