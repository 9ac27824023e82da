//! The JSON of every action, in the Segment spec and with the names of its commerce events.

use tidewater_model::Timestamp;

use super::{
    json::Line,
    people::People,
    rng::mix,
    session::{Action, PRODUCTS, Session, price},
};

pub(super) const CATEGORIES: [&str; 8] =
    ["books", "garden", "kitchen", "music", "shoes", "sport", "toys", "travel"];
const CAMPAIGNS: [&str; 3] = ["spring_sale", "newsletter", "retargeting"];
const REFERRERS: [&str; 3] = ["https://search.example", "https://social.example", "https://blog.example"];

/// What all events of one call have in common.
pub(super) struct Frame {
    pub(super) seed: u64,
    /// The number in the messageId.
    pub(super) message: u64,
    pub(super) time: Timestamp,
}

/// Appends one event, without a newline.
pub(super) fn write(out: &mut Vec<u8>, frame: &Frame, people: &People, session: &Session, action: Action) {
    let mut line = Line(out);
    let app = session.device.is_phone;
    let kind = match action {
        Action::Landing { .. } | Action::CategoryViewed { .. } if app => "screen",
        Action::Landing { .. } | Action::CategoryViewed { .. } => "page",
        Action::SignedIn | Action::Subscribed => "identify",
        Action::Aliased => "alias",
        Action::JoinedCompany => "group",
        _ => "track",
    };
    line.text("{\"messageId\":\"shop-").number(frame.seed).text("-").number(frame.message);
    line.text("\",\"type\":\"").text(kind).text("\",\"timestamp\":\"").time(frame.time).text("\"");
    who(&mut line, people, session, action);
    what(&mut line, people, session, action);
    context(&mut line, app, session, action);
    line.text("}");
}

fn who(line: &mut Line<'_>, people: &People, session: &Session, action: Action) {
    let key = if action == Action::Aliased { "previousId" } else { "anonymousId" };
    line.text(",\"").text(key).text("\":\"").uuid(people.anonymous_id(session.device)).text("\"");
    if session.signed_in {
        line.text(",\"userId\":\"u").number(u64::from(session.person) + 1_000).text("\"");
    }
}

fn what(line: &mut Line<'_>, people: &People, session: &Session, action: Action) {
    match action {
        Action::Landing { .. } => {
            line.text(",\"name\":\"Home\",\"properties\":{\"path\":\"/\"}");
        }
        Action::CategoryViewed { category } => {
            let category = CATEGORIES[usize::from(category)];
            line.text(",\"name\":\"Category\",\"properties\":{\"path\":\"/").text(category);
            line.text("\",\"category\":\"").text(category).text("\"}");
        }
        Action::Searched { category } => {
            event(line, "Products Searched");
            line.text("\"query\":\"").text(CATEGORIES[usize::from(category)]).text("\"}");
        }
        Action::ProductViewed { product } => product_event(line, "Product Viewed", product),
        Action::ProductAdded { product } => product_event(line, "Product Added", product),
        Action::ProductRemoved { product } => product_event(line, "Product Removed", product),
        Action::CartViewed => cart_event(line, "Cart Viewed", session),
        Action::CheckoutStarted => cart_event(line, "Checkout Started", session),
        Action::OrderCompleted { order } => order_event(line, "Order Completed", session, order),
        Action::OrderRefunded { order } => order_event(line, "Order Refunded", session, order),
        Action::Subscribed => {
            line.text(",\"traits\":{\"newsletter\":true,\"email\":\"");
            email(line, people, session.person);
            line.text("\"}");
        }
        Action::SignedIn => traits(line, people, session.person),
        Action::Aliased => {}
        Action::JoinedCompany => {
            let company = u64::from(session.person) / 16;
            line.text(",\"groupId\":\"company-").number(company).text("\",\"traits\":{\"employees\":");
            line.number(5 + mix(company) % 500).text("}");
        }
    }
}

fn event(line: &mut Line<'_>, name: &str) {
    line.text(",\"event\":\"").text(name).text("\",\"properties\":{");
}

fn product_event(line: &mut Line<'_>, name: &str, product: u32) {
    event(line, name);
    line.text("\"product_id\":\"sku-").number(u64::from(product)).text("\",\"category\":\"");
    line.text(category_of(product)).text("\",\"price\":").cents(price(product));
    line.text(",\"quantity\":1,\"position\":").number(mix(u64::from(product)) % 40).text("}");
}

fn category_of(product: u32) -> &'static str {
    CATEGORIES[(product * 8 / (PRODUCTS + 1)) as usize % 8]
}

fn cart_event(line: &mut Line<'_>, name: &str, session: &Session) {
    event(line, name);
    line.text("\"items\":").number(u64::from(session.cart.0)).text(",\"value\":").cents(session.cart.1);
    line.text(",\"currency\":\"EUR\"}");
}

fn order_event(line: &mut Line<'_>, name: &str, session: &Session, order: u64) {
    let (items, revenue) = session.cart;
    event(line, name);
    line.text("\"order_id\":\"o-").number(order).text("\",\"revenue\":").cents(revenue);
    line.text(",\"total\":").cents(revenue + revenue / 5).text(",\"currency\":\"EUR\",\"items\":");
    line.number(u64::from(items)).text("}");
}

/// In capitals now and then, as people type it.
fn email(line: &mut Line<'_>, people: &People, person: u32) {
    let first = people.first_name(person);
    if person.is_multiple_of(3) {
        line.text(first);
    } else {
        line.0.extend(first.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    line.text(".");
    line.0.extend(people.last_name(person).bytes().map(|byte| byte.to_ascii_lowercase()));
    line.number(u64::from(person) + 1_000).text("@example.com");
}

fn traits(line: &mut Line<'_>, people: &People, person: u32) {
    line.text(",\"traits\":{\"email\":\"");
    email(line, people, person);
    line.text("\",\"name\":\"").text(people.first_name(person)).text(" ").text(people.last_name(person));
    line.text("\",\"city\":\"").text(people.city(person)).text("\",\"plan\":\"").text(people.plan(person));
    line.text("\"}");
}

fn context(line: &mut Line<'_>, app: bool, session: &Session, action: Action) {
    if app {
        line.text(",\"context\":{\"library\":{\"name\":\"analytics-ios\",\"version\":\"4.1.8\"},");
        line.text("\"device\":{\"type\":\"ios\"},\"app\":{\"version\":\"3.14.0\"}}");
        return;
    }
    line.text(",\"context\":{\"library\":{\"name\":\"analytics.js\",\"version\":\"npm:next-1.84.3\"},");
    if let Action::Landing { campaign } = action {
        let campaign = usize::from(campaign);
        if let Some(name) = CAMPAIGNS.get(campaign) {
            line.text("\"campaign\":{\"name\":\"").text(name).text("\",\"medium\":\"cpc\"},");
        } else if let Some(referrer) = REFERRERS.get(campaign - CAMPAIGNS.len()) {
            line.text("\"referrer\":{\"url\":\"").text(referrer).text("\"},");
        }
    }
    let locale = if session.person.is_multiple_of(2) { "en-GB" } else { "de-DE" };
    line.text("\"locale\":\"").text(locale).text("\"}");
}
