//! Every text file in `tests/scripts` holds, on one worker and on three.
#![allow(clippy::unwrap_used)]

use tidewater_testkit::{drive::Setup, script::run_script};

#[test]
fn every_script_holds() {
    // A test runs in its package, wherever it was built: checkouts may share a cache.
    let mut paths: Vec<_> =
        std::fs::read_dir("tests/scripts").unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "{paths:?}");
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        for workers in [1, 3] {
            let setup = Setup { workers, ..Setup::default() };
            if let Err(error) = run_script(&text, &setup) {
                panic!("{}:{error}", path.display());
            }
        }
    }
}

#[test]
fn a_script_that_does_not_hold_says_where() {
    let script = "\
pipeline
  identifiers: { user_id: { from: userId } }
  traits: { views: { count: Page Viewed } }
  segments: { active: views >= 1 }
event {\"type\":\"page\",\"userId\":\"u1\"}
seal
  + active user_id=u2
";
    let error = run_script(script, &Setup::default()).unwrap_err();
    assert_eq!(error.line, 6, "{error}");
    assert!(error.what.contains("user_id=u1") && error.what.contains("user_id=u2"), "{error}");
    assert_eq!(run_script("sael\n", &Setup::default()).unwrap_err().line, 1);
}
