use std::fmt::Write as _;

use proptest::prelude::*;

use super::{super::ErrorKind::*, super::*, EXAMPLE, IDENTIFIERS, errors, load};

#[test]
fn too_large_too_deep_and_too_expanded_files_are_refused() {
    let kind = |text: &str| errors(text)[0].kind;
    assert_eq!(kind(&"# \n".repeat(400_000)), Limit);
    let nested = |levels: usize| {
        format!(
            "{IDENTIFIERS}sources: {{ a: {{ type: x, deep: {}{} }} }}",
            "[".repeat(levels),
            "]".repeat(levels)
        )
    };
    assert_eq!(kind(&nested(62)), Limit);
    load(&nested(61));
    assert!(matches!(kind(&nested(100_000)), Limit | Syntax));
    assert!(matches!(kind(&"{a: ".repeat(100_000)), Limit | Syntax));

    // A billion laughs.
    let mut text = String::from("a: &a0 [x]\n");
    for n in 1..=30 {
        let _ = writeln!(
            text,
            "b{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]",
            n - 1
        );
    }
    assert_eq!(kind(&text), Limit);
    // One large text used often.
    let text = format!("a: &a {}\nb: [{}]", "x".repeat(100_000), "*a, ".repeat(10_000));
    assert_eq!(kind(&text), Limit);
    // A chain of anchors, each one level deeper than the one before.
    let chain: String =
        (1..200).fold("a: &a0 [x]\n".to_owned(), |text, n| format!("{text}b{n}: &a{n} [*a{}]\n", n - 1));
    assert_eq!(kind(&chain), Limit);
    // A secret used often.
    let environment = FixedEnvironment::new().variable("A", "x".repeat(60_000));
    let text = format!("{IDENTIFIERS}state: '{}'", "${A}".repeat(1_000));
    assert_eq!(Pipeline::from_yaml(&text, &environment).unwrap_err().iter().next().unwrap().kind, Limit);
}

#[test]
fn thousands_of_mistakes_are_counted_and_two_hundred_kept() {
    let text: String = (0..50_000).map(|n| format!("k{n}: 1\n")).collect();
    let found = Pipeline::from_yaml(&format!("{IDENTIFIERS}{text}"), &FixedEnvironment::new()).unwrap_err();
    assert_eq!((found.len(), found.iter().count()), (50_000, 200));
    assert!(found.to_string().ends_with("and 49800 more"));
    // So are those of one long line, which would be searched again for each.
    let text = format!("{IDENTIFIERS}segments: {{ a: '{}has(email)' }}", "x > 1 and ".repeat(60_000));
    assert_eq!(Pipeline::from_yaml(&text, &FixedEnvironment::new()).unwrap_err().len(), 60_000);
    // An alias brings its mistakes once.
    let text = "identifiers: { a: &x { from: y, oops: 1 }, b: *x, c: *x }";
    assert_eq!(errors(text).len(), 1);
}

#[test]
fn long_chains_and_cycles_of_segments_need_no_stack() {
    let segments = 3_000;
    let mut text = format!("{IDENTIFIERS}segments:\n");
    for n in 0..segments {
        let _ = writeln!(text, "  s{n}: in_segment(s{})", n + 1);
    }
    load(&format!("{text}  s{segments}: has(email)\n"));
    let errors = errors(&format!("{text}  s{segments}: in_segment(s0)\n"));
    assert_eq!((errors.len(), errors[0].kind), (1, Cycle));
    assert!(errors[0].message.contains("`s11` -> 2989 more -> `s0`"), "{}", errors[0].message);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = Pipeline::from_yaml(&text, &FixedEnvironment::new());
        let _ = Pipeline::from_yaml(&format!("{IDENTIFIERS}segments:\n  a: {text}"), &FixedEnvironment::new());
    }

    #[test]
    fn no_edit_of_a_real_file_makes_it_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[-\\[\\]{}:,&*!|>'\"#%@`$ \\t\\r\\n\\\\a-c0-2é\u{1f600}]{0,4}"), 1..8)
    ) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (at, remove, insert) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(errors) = Pipeline::from_yaml(&text, &FixedEnvironment::new()) {
            let lines = text.split(['\n', '\r']).count();
            for error in &errors {
                prop_assert!(!error.to_string().is_empty());
                prop_assert!(error.line().is_none_or(|line| (1..=lines + 1).contains(&line)), "{}", error);
            }
        }
    }
}
