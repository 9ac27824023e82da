use super::{super::*, EXAMPLE, load};

fn changes(edit: impl Fn(&str) -> String) -> Vec<String> {
    let (old, new) = (load(EXAMPLE).definitions(), load(&edit(EXAMPLE)).definitions());
    let mark = |change: &DefinitionChange| if change.affects_results { "! " } else { "" };
    diff(&old, &new).iter().map(|change| format!("{}{change}", mark(change))).collect()
}

#[test]
fn the_same_is_no_change() {
    assert!(changes(str::to_owned).is_empty());
    // Neither is another way to write the same, nor what is not part of the definitions.
    let rewritten = |text: &str| {
        text.replace("orders >= 3", "(orders>=3)")
            .replace("dedup: 7d", "dedup: 1w")
            .replace("window: 7d", "window: 168h, resolution: 60m")
            .replace("workers: 1", "workers: 3")
            .replace("deltas.ndjson", "other.ndjson")
    };
    assert!(changes(rewritten).is_empty());
}

#[test]
fn every_change_is_said_in_words() {
    let edited = |text: &str| {
        text.replace("orders >= 3", "orders >= 5")
            .replace("clock: wall", "clock: event")
            .replace("max_future: 24h", "max_future: 1h")
            .replace("  big_orders:    { count", "  huge_orders:   { count")
            .replace("window: 7d", "window: 8d")
            .replace("description: Loyal and spending", "description: Best")
            .replace("normalize: email", "normalize: lowercase")
            .replace("  user_id:      { from: userId }\n", "")
            .replace("identifiers:", "identifiers:\n  phone: { from: traits.phone }")
            .replace("  phone:        { from: traits.phone }\n", "  user_id: { from: userId }\n")
            .replace("updates: { type: file, path: deltas.ndjson }", "updates: { type: stdout }")
    };
    let expected = [
        "! clock: `wall` -> `event`",
        "max_future: `1d` -> `1h`",
        "! identifier `email` normalize: `email` -> `lowercase`",
        "! ranks of identifiers: `user_id, email, phone, anonymous_id` -> `phone, email, user_id, anonymous_id`",
        "! trait `big_orders` removed",
        "! trait `huge_orders` added",
        "! trait `views_7d` window: `1w` -> `8d`",
        "! segment `loyal` where: `orders >= 3` -> `orders >= 5`",
        "segment `top` description: `Loyal and spending` -> `Best`",
        "sink `updates` type: `file` -> `stdout`",
    ];
    assert_eq!(changes(edited), expected);
}

#[test]
fn lists_are_compared_item_by_item() {
    let rules = |block: &str| {
        load(&format!("identifiers: {{ name: {{ from: a, block: [{block}] }} }}")).definitions()
    };
    let lists = [
        r#""Doe, John""#,
        r#""Doe", "John""#,
        r#""Doe, John", "x""#,
        r#""\"Doe, John\"""#,
        r#""\"Doe", "John\"""#,
        r#""\\\"Doe, John\\\"""#,
    ];
    for (at, list) in lists.iter().enumerate() {
        for (other_at, other) in lists.iter().enumerate() {
            let changes = diff(&rules(list), &rules(other));
            assert_eq!(changes.is_empty(), at == other_at, "{list} and {other}: {changes:?}");
        }
    }
    let change = &diff(&rules(lists[0]), &rules(lists[1]))[0];
    assert_eq!(change.how, r#"block: `"Doe, John"` -> `Doe, John`"#);
    assert!(change.affects_results);
}

#[test]
fn block_rules_and_optional_keys() {
    let edited = |text: &str| {
        text.replace(", block: [\"test\", \"/^dev-/\"]", "").replace(", event: Order Completed }", " }")
    };
    let expected = [
        "! identifier `anonymous_id` block: `test, /^dev-/` -> nothing",
        "! trait `revenue` event: `Order Completed` -> nothing",
    ];
    assert_eq!(changes(edited), expected);
}
