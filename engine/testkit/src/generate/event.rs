//! Random events, as JSON text in all its spellings: any order of keys, keys that stand twice, escapes, numbers as
//! strings, ids in arrays, and now and then an event that belongs in quarantine.

use proptest::{collection::vec, option, prelude::*, sample::select};
use tidewater_model::Timestamp;

use super::START;

/// One event before it is text. Shrinks towards a plain track event of one anonymous id.
#[derive(Clone, Debug)]
pub(super) struct EventDraft {
    pub(super) who: Who,
    kind: usize,
    name: usize,
    time: When,
    message: Message,
    values: [Option<usize>; 5],
    layout: usize,
}

/// Whom an event names. Ids are places in the crowd: small numbers, so that they meet.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) user: Vec<Id>,
    pub(super) anonymous: Vec<Id>,
    pub(super) email: Vec<Id>,
    email_at: usize,
    pub(super) device: Option<Id>,
    pub(super) previous: Vec<Previous>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Id {
    /// A member of the crowd.
    Plain(usize),
    /// One of the odd spellings.
    Odd(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Previous {
    Anonymous(Id),
    User(Id),
}

/// When an event happened; in milliseconds.
#[derive(Clone, Copy, Debug)]
enum When {
    /// From the start of the stream.
    At(i64),
    /// From the wall clock at arrival.
    Near(i64),
    /// As `originalTimestamp`, from the start of the stream.
    Original(i64),
    Missing,
    Bad(usize),
}

#[derive(Clone, Copy, Debug)]
enum Message {
    Unique,
    Missing,
    /// A messageId that other events carry too, with other content as a rule.
    Shared(usize),
}

const KINDS: [&str; 8] = ["track", "identify", "page", "alias", "screen", "group", "track", "Track"];
const NAMES: [&str; 6] =
    ["\"Page Viewed\"", "\"Order Completed\"", "\"Screen Viewed\"", "\"page viewed\"", "null", "7"];
const ODD_USERS: [&str; 9] =
    ["7", "\"7\"", "\" u0\"", "\"guest\"", "\"test\"", "\"dev-1\"", "\"U0\"", "\"u\\u0030\"", "\"\u{fc}\""];
const ODD_ANONYMOUS: [&str; 8] = ["\"u0\"", "null", "\"A0\"", "\"\"", "\"0-0\"", "1.0", "true", "\"A1\""];
const ODD_EMAILS: [&str; 6] =
    ["\" P0@X.io \"", "\"bad@\"", "\"a@b@c\"", "\"P1@x.IO\"", "\"n/a\"", "{\"not\":\"scalar\"}"];
const ODD_DEVICES: [&str; 4] = ["\"  d0 \"", "\"NULL \"", "12", "[[\"d1\"]]"];
/// Spellings of values: mostly small numbers, then what counts as a number, then what does not.
const AMOUNTS: [&str; 18] = [
    "1",
    "2",
    "3",
    "0.5",
    "1.5",
    "10",
    "-1",
    "0.1",
    "0.2",
    "\"3\"",
    "1e0",
    "0.000000001",
    "999999999999999999.5",
    "1e19",
    "\"x\"",
    "true",
    "null",
    "[1]",
];
const SCALARS: [&str; 11] = [
    "\"gold\"",
    "\"silver\"",
    "\"x\"",
    "1",
    "\"3\"",
    "true",
    "false",
    "null",
    "\"\"",
    "9007199254740993",
    "{\"a\":1}",
];
const BAD_TIMES: [&str; 5] =
    ["\"2023-11-14T22:13:20\"", "\"yesterday\"", "1.5", "\"1999-01-01T00:00:00Z\"", "true"];

pub(super) fn drafts() -> impl Strategy<Value = EventDraft> {
    let kinds = prop_oneof![
        24 => select(vec![0, 0, 1, 2]),
        7 => Just(3usize),
        4 => 4..KINDS.len() - 1,
        1 => Just(KINDS.len() - 1),
    ];
    let names = prop_oneof![8 => 0..3usize, 1 => 3..NAMES.len()];
    let messages = prop_oneof![
        12 => Just(Message::Unique),
        2 => Just(Message::Missing),
        1 => (0..4usize).prop_map(Message::Shared),
    ];
    let values = (values(&AMOUNTS, 0.7), values(&SCALARS, 0.4), values(&SCALARS, 0.4), values(&AMOUNTS, 0.3));
    let layouts = prop_oneof![3 => Just(0usize), 2 => 0..8usize];
    (who(), kinds, names, times(), messages, values, values_flag(), layouts).prop_map(
        |(mut who, kind, name, time, message, (amount, plan, category, score), flag, layout)| {
            // Few events name nobody: they end in quarantine and test nothing else.
            if KINDS[kind] == "alias" && who.user.is_empty() && layout < 7 {
                who.user.push(Id::Plain(amount.unwrap_or(0)));
            } else if who.user.is_empty() && who.anonymous.is_empty() && layout < 6 {
                who.anonymous.push(Id::Plain(amount.unwrap_or(0)));
            }
            let values = [amount, plan, category, score, flag];
            EventDraft { who, kind, name, time, message, values, layout }
        },
    )
}

fn values(spellings: &[&str], share: f64) -> impl Strategy<Value = Option<usize>> {
    let all = spellings.len();
    option::weighted(share, prop_oneof![5 => 0..3usize, 2 => 0..all])
}

fn values_flag() -> impl Strategy<Value = Option<usize>> {
    option::weighted(0.2, 4..8usize)
}

fn id() -> impl Strategy<Value = Id> {
    prop_oneof![12 => (0..64usize).prop_map(Id::Plain), 1 => (0..16usize).prop_map(Id::Odd)]
}

fn who() -> impl Strategy<Value = Who> {
    let some = |share: f64| {
        let count = prop_oneof![9 => Just(1usize), 1 => Just(2usize)];
        let ids = count.prop_flat_map(|count| vec(id(), count));
        option::weighted(share, ids).prop_map(Option::unwrap_or_default)
    };
    let previous = prop_oneof![
        2 => id().prop_map(Previous::Anonymous),
        1 => id().prop_map(Previous::User),
    ];
    let several = prop_oneof![5 => Just(1usize), 1 => Just(2usize)]
        .prop_flat_map(move |count| vec(previous.clone(), count));
    (
        some(0.45),
        some(0.85),
        some(0.3),
        0..3usize,
        option::weighted(0.2, id()),
        option::weighted(0.8, several).prop_map(Option::unwrap_or_default),
    )
        .prop_map(|(user, anonymous, email, email_at, device, previous)| Who {
            user,
            anonymous,
            email,
            email_at,
            device,
            previous,
        })
}

fn times() -> impl Strategy<Value = When> {
    let grid = || (0..14i64).prop_map(|half| half * 500);
    let at = prop_oneof![
        8 => grid(),
        3 => (grid(), -1..=1i64).prop_map(|(at, off)| at + off),
        2 => 0..7_000i64,
        // Late: minutes to hours before everything else.
        1 => -5_400_010..0i64,
        // The future.
        1 => 7_000..40_000i64,
    ];
    let near = || (-4..=1i64, -1..=1i64).prop_map(|(half, off)| half * 500 + off);
    prop_oneof![
        9 => at.clone().prop_map(When::At),
        8 => near().prop_map(When::Near),
        1 => at.prop_map(When::Original),
        1 => Just(When::Missing),
        1 => prop::bool::weighted(0.5).prop_flat_map(|bad| match bad {
            true => (0..BAD_TIMES.len()).prop_map(When::Bad).boxed(),
            false => (0..86_400_000i64 * 2).prop_map(When::At).boxed(),
        }),
    ]
}

impl Id {
    /// Its JSON text.
    fn text(self, prefix: &str, suffix: &str, odd: &[&str], crowd: usize) -> String {
        match self {
            Self::Plain(at) => format!("\"{prefix}{}{suffix}\"", at % crowd),
            Self::Odd(at) => odd[at % odd.len()].to_owned(),
        }
    }
}

fn user(id: Id, crowd: usize) -> String {
    id.text("u", "", &ODD_USERS, crowd)
}

fn anonymous(id: Id, crowd: usize) -> String {
    // More devices than people.
    id.text("a", "", &ODD_ANONYMOUS, crowd + crowd / 2)
}

fn email(id: Id, crowd: usize) -> String {
    id.text("p", "@x.io", &ODD_EMAILS, crowd)
}

fn device(id: Id, crowd: usize) -> String {
    id.text("d", "", &ODD_DEVICES, crowd)
}

impl Who {
    /// The plain ids it names, as (name of the identifier, normalized value); for commands about links.
    pub(super) fn plain(&self, crowd: usize) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut add = |name: &'static str, ids: &[Id], spell: fn(Id, usize) -> String| {
            let plain = ids.iter().filter(|id| matches!(id, Id::Plain(_)));
            found.extend(plain.map(|id| (name, spell(*id, crowd).trim_matches('"').to_owned())));
        };
        add("user_id", &self.user, user);
        add("login", &self.user, user);
        add("anonymous_id", &self.anonymous, anonymous);
        add("email", &self.email, email);
        add("device", self.device.as_slice(), device);
        for previous in &self.previous {
            match *previous {
                Previous::Anonymous(id) => add("anonymous_id", &[id], anonymous),
                Previous::User(id) => add("user_id", &[id], user),
            }
        }
        found
    }
}

/// One id alone, several as an array.
fn ids(ids: &[Id], crowd: usize, spell: fn(Id, usize) -> String) -> Option<String> {
    one_or_array(ids.iter().map(|id| spell(*id, crowd)).collect())
}

fn one_or_array(texts: Vec<String>) -> Option<String> {
    match texts.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        _ => Some(format!("[{}]", texts.join(","))),
    }
}

impl EventDraft {
    /// When it happened, in milliseconds since 1970, if it says so; it arrives at `wall`.
    pub(super) fn at(&self, wall: i64) -> Option<i64> {
        match self.time {
            When::At(at) | When::Original(at) => Some(START + at),
            When::Near(off) => Some(wall + off),
            When::Missing | When::Bad(_) => None,
        }
    }

    /// The event's text as it arrives at `wall`; `number` tells it from all others of the stream.
    pub(super) fn render(&self, number: usize, crowd: usize, wall: i64) -> String {
        let mut members: Vec<(&str, String)> = vec![("type", format!("\"{}\"", KINDS[self.kind]))];
        let mut add = |key, value: Option<String>| members.extend(value.map(|value| (key, value)));
        match self.message {
            Message::Unique => add("messageId", Some(format!("\"m{number}\""))),
            Message::Missing => {}
            Message::Shared(which) => add("messageId", Some(which.to_string())),
        }
        let time = self.at(wall).map(|at| match number % 6 {
            0 | 3 => format!("\"{}\"", Timestamp(at)),
            // Finer than a millisecond.
            4 => format!("{at}.875"),
            5 => format!("{}.{:03}9e3", at.div_euclid(1_000), at.rem_euclid(1_000)),
            _ => at.to_string(),
        });
        match self.time {
            When::Original(_) => add("originalTimestamp", time),
            When::Bad(which) => add("timestamp", Some(BAD_TIMES[which].to_owned())),
            When::At(_) | When::Near(_) | When::Missing => add("timestamp", time),
        }
        let who = &self.who;
        add("userId", ids(&who.user, crowd, user));
        add("anonymousId", ids(&who.anonymous, crowd, anonymous));
        if KINDS[self.kind] == "alias" {
            let text = |previous: &Previous| match *previous {
                Previous::Anonymous(id) => anonymous(id, crowd),
                Previous::User(id) => user(id, crowd),
            };
            add("previousId", one_or_array(who.previous.iter().map(text).collect()));
        }
        if self.kind != 1 && self.kind != 3 {
            add("event", Some(NAMES[self.name].to_owned()));
        }
        let [amount, plan, category, score, flag] = self.values;
        add("score", score.map(|at| AMOUNTS[at].to_owned()));
        let emails = ids(&who.email, crowd, email);
        let at = |place| emails.clone().filter(|_| who.email_at == place);
        add("email", at(1));
        add("device", who.device.map(|id| object(&[("id", Some(device(id, crowd)))])));
        let scalar = |value: Option<usize>| value.map(|at| SCALARS[at].to_owned());
        add(
            "properties",
            Some(object(&[
                ("amount", amount.map(|at| AMOUNTS[at].to_owned())),
                ("category", scalar(category)),
            ])),
        );
        add("traits", Some(object(&[("plan", scalar(plan)), ("email", at(0))])));
        let deep = at(2).map(|email| object(&[("email", Some(email))]));
        add("context", Some(object(&[("flag", scalar(flag)), ("traits", deep)])));
        self.write(members)
    }

    fn write(&self, mut members: Vec<(&str, String)>) -> String {
        match self.layout {
            1 => members.reverse(),
            2 => members.rotate_left(3),
            // Keys that stand twice: the last counts.
            3 => members.insert(0, ("userId", "\"u1\"".to_owned())),
            4 => members.insert(1, ("properties", "{\"amount\":7,\"category\":\"gold\"}".to_owned())),
            5 => members.insert(0, ("timestamp", (START + 250).to_string())),
            _ => {}
        }
        match self.layout {
            6 => {
                let member = |(key, value): &(&str, String)| format!(" \"{key}\" :\t{value} ");
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join("\r\n,"))
            }
            7 => object_of(&members).replace("\"userId\"", "\"\\u0075serId\""),
            _ => object_of(&members),
        }
    }
}

fn object(members: &[(&str, Option<String>)]) -> String {
    let present = members.iter().filter_map(|(key, value)| Some((*key, value.clone()?)));
    object_of(&present.collect::<Vec<_>>())
}

fn object_of(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}
