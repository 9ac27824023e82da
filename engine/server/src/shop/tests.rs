#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::*;

fn lines(options: ShopOptions) -> Vec<Vec<u8>> {
    let mut shop = Shop::new(options);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if !shop.write_next(&mut line) {
            return lines;
        }
        lines.push(line);
    }
}

fn events(options: ShopOptions) -> Vec<Value> {
    lines(options).iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn clean() -> ShopOptions {
    let none = Share::NONE;
    ShopOptions { duplicates: none, late: none, out_of_order: none, bad: none, ..ShopOptions::default() }
}

#[test]
fn the_seed_decides_every_byte() {
    let options = ShopOptions { events: 5_000, ..ShopOptions::default() };
    let first = lines(options.clone());
    assert_eq!(first, lines(options.clone()));
    assert_ne!(first, lines(ShopOptions { seed: 43, ..options }));
    assert!(first.iter().any(|line| line.windows(8).any(|text| text == b"shop-42-")));
}

#[test]
fn a_clean_stream_is_ordered_and_sound() {
    let events = events(ShopOptions { events: 20_000, ..clean() });
    let time = |event: &Value| event["timestamp"].as_str().unwrap().to_owned();
    assert!(events.is_sorted_by_key(time));
    assert!(time(&events[0]).as_str() >= "2026-01-01" && time(&events[19_999]).as_str() < "2026-01-31");
    let ids: HashSet<&str> = events.iter().map(|event| event["messageId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len());
}

#[test]
fn the_shop_has_everything_that_a_pipeline_may_ask_for() {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut users_of: HashMap<String, HashSet<String>> = HashMap::new();
    for event in events(ShopOptions { events: 200_000, profiles: 20_000, ..clean() }) {
        let name = event["event"].as_str().or(event["type"].as_str()).unwrap().to_owned();
        *kinds.entry(name).or_default() += 1;
        if let (Some(user), Some(device)) = (event["userId"].as_str(), event["anonymousId"].as_str()) {
            users_of.entry(device.to_owned()).or_default().insert(user.to_owned());
        }
    }
    let expected = [
        "Cart Viewed",
        "Checkout Started",
        "Order Completed",
        "Order Refunded",
        "Product Added",
        "Product Removed",
        "Product Viewed",
        "Products Searched",
        "alias",
        "group",
        "identify",
        "page",
        "screen",
    ];
    assert_eq!(kinds.keys().collect::<Vec<_>>(), expected);
    assert!(kinds["Order Completed"] > 2_000 && kinds["identify"] > 4_000, "{kinds:?}");
    // Households that share a device, but not most of them.
    let shared = users_of.values().filter(|users| users.len() > 1).count();
    assert!(shared > 10 && shared * 20 < users_of.len(), "{shared} of {}", users_of.len());
}

#[test]
fn each_share_is_about_as_large_as_asked_for() {
    let options = ShopOptions {
        events: 50_000,
        duplicates: Share::percent(4.0),
        late: Share::percent(3.0),
        bad: Share::percent(2.0),
        ..ShopOptions::default()
    };
    let lines = lines(options);
    let distinct: HashSet<&Vec<u8>> = lines.iter().collect();
    assert!((1_800..2_200).contains(&(lines.len() - distinct.len())));
    let mut latest = Timestamp::MIN;
    let (mut late, mut unreadable) = (0, 0);
    let mut seen = HashSet::new();
    for line in lines.iter().filter(|line| seen.insert(*line)) {
        let Ok(event) = serde_json::from_slice::<Value>(line) else {
            unreadable += 1;
            continue;
        };
        let Some(Ok(time)) = event["timestamp"].as_str().map(|text| Timestamp::parse(text.as_bytes())) else {
            continue;
        };
        if time.0 > latest.0 && time.0 < 32_000_000_000_000 {
            latest = time;
        }
        late += usize::from(latest.0 - time.0 > 10 * Millis::MINUTE.0);
    }
    assert!((1_200..2_000).contains(&late), "{late}");
    // Of the nine kinds of bad event four are no JSON.
    assert!((300..600).contains(&unreadable), "{unreadable}");
}

#[test]
fn bad_events_have_their_seed_too() {
    let options = ShopOptions { events: 1_000, seed: 7, bad: Share::percent(100.0), ..clean() };
    let mut read = 0;
    for line in lines(options) {
        let text = String::from_utf8_lossy(&line);
        if let Ok(event) = serde_json::from_slice::<Value>(&line) {
            read += 1;
            assert!(event["messageId"].as_str().unwrap().starts_with("shop-7-bad-"), "{text}");
        }
        // Nor is there another in what is no JSON.
        assert!(!text.contains("\"messageId\":\"bad-"), "{text}");
    }
    // Five of the nine kinds.
    assert!((450..650).contains(&read), "{read}");
}

#[test]
fn shares_are_read_as_people_write_them() {
    for (text, share) in [("1%", 0.01), ("0.01", 0.01), ("0.1 %", 0.001), ("0", 0.0), ("100%", 1.0)] {
        assert_eq!(text.parse::<Share>().map(|share| (share.0 * 1e9).round() / 1e9), Ok(share), "{text}");
    }
    for text in ["", "%", "101%", "-1%", "1.5", "nan", "one"] {
        assert!(text.parse::<Share>().is_err(), "{text}");
    }
}

#[test]
fn no_option_makes_it_hang_or_panic() {
    for (events, profiles, span) in [(0, 0, 0), (1, 1, 0), (100, 1, 1), (1_000, 2, i64::MAX), (100, 3, -5)] {
        let options = ShopOptions { events, profiles, span: Millis(span), ..ShopOptions::default() };
        assert_eq!(lines(options).len() as u64, events);
    }
}
