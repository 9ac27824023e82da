//! Texts of traits that come and go: memory follows those that are there, whatever else happens meanwhile.

use super::*;
use crate::profile::collect::Collecting;

/// Bytes of one text: a few thousand of them are much more than anything else here.
const TEXT: usize = 4_000;

/// A stream of ever new strings for people on devices that they share, link by link, while links are taken back. Some events are
/// dated in the future.
fn stream(epochs: usize, per_epoch: usize) -> Vec<Step> {
    let mut number = 0;
    let mut event = || {
        number += 1;
        let (user, device) = (number * 7 % 12, number * 5 % 17);
        let (name, text) = (["a", "b"][number % 2], format!("{number:0>TEXT$}"));
        let time = START + number as i64 / 10 + if number % 11 == 0 { 60 } else { 0 };
        let mut event = json!({"type": "track", "event": name, "timestamp": time, "v": 1, "s": text});
        if number % 3 > 0 {
            event["userId"] = json!(format!("u{user}"));
        }
        if number % 3 < 2 {
            event["anonymousId"] = json!(format!("a{device}"));
        }
        event
    };
    let step = |at: usize| Step {
        events: (0..per_epoch).map(|_| event()).collect(),
        advance: (per_epoch / 10) as i64,
        unlink: (at % 2 == 1).then(|| ((0, format!("u{}", at * 5 % 12)), (2, format!("a{}", at * 3 % 17)))),
    };
    (0..epochs).map(step).collect()
}

/// What a worker saw of a stream.
struct Lived {
    end: Seen,
    /// The most bytes of texts that it had after an epoch of the first and of the second half.
    most: [u64; 2],
    /// Bytes of those that are there at the end.
    needed: u64,
}

fn trait_texts(dataflow: &WorkerDataflow) -> u64 {
    let bytes = dataflow.stats().bytes;
    bytes.into_iter().find(|(part, _)| *part == "trait_texts").unwrap().1
}

/// Computes a stream; every few epochs a snapshot is begun, and written little by little.
fn live(steps: &[Step], workers: usize, collecting: Collecting) -> Vec<Lived> {
    let plan = Plan::compile(spec(), HashKey::FIXED).unwrap();
    let (inputs, texts) = (inputs(&plan, steps, workers), Texts::new(workers));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let segments = plan.spec().segments.len();
        let mut dataflow = WorkerDataflow::build(worker, Arc::clone(&plan), Arc::clone(&texts));
        dataflow.worker.borrow_mut().state.collecting = collecting;
        dataflow.track_changes();
        let (index, mut most, mut end) = (worker.index(), [0, 0], Seen::default());
        let mut is_written = true;
        for (at, input) in inputs.iter().enumerate() {
            end = compute(worker, &mut dataflow, input[index].clone(), segments);
            let half = usize::from(at >= inputs.len() / 2);
            most[half] = trait_texts(&dataflow).max(most[half]);
            if at % 5 == 0 {
                while !is_written {
                    is_written = dataflow.write_snapshot(&mut Vec::new(), usize::MAX);
                }
                dataflow.begin_snapshot(at % 10 == 0);
            }
            is_written = dataflow.write_snapshot(&mut Vec::new(), 3 * TEXT);
        }
        collect_all(&mut dataflow);
        Lived { end, most, needed: trait_texts(&dataflow) }
    });
    guards.unwrap().join().into_iter().map(Result::unwrap).collect()
}

/// Collects once more, to the end.
fn collect_all(dataflow: &mut WorkerDataflow) {
    while dataflow.collect() {}
    {
        let state = &mut dataflow.worker.borrow_mut().state;
        state.collecting.is_constant = true;
        state.collect_after_epoch();
    }
    assert!(dataflow.is_collecting());
    while dataflow.collect() {}
    assert!(!dataflow.is_collecting());
}

fn stays_level(workers: usize, collecting: Collecting) {
    let steps = stream(200, 60);
    let lived = live(&steps, workers, collecting);
    let all = (200 * 60 * TEXT) as u64;
    for Lived { most: [first, second], needed, .. } in &lived {
        println!("{workers} workers: {first}, then {second} bytes, of which {needed} are needed");
        assert!(*second <= first + first / 4, "{second} bytes, {first} in the first half");
        // What is there, as much again before it goes, once more while it is moved; the rest is what a page, an index and the
        // least that is worth it take.
        assert!(*second <= 3 * needed + (3 << 20) / 2, "{second} bytes for {needed}");
    }
    assert!(lived.iter().map(|lived| lived.most[1]).sum::<u64>() * 4 < all);
    let mut profiles: Vec<Profile> = lived.into_iter().flat_map(|lived| lived.end.profiles).collect();
    profiles.sort_by_key(|profile| profile.id);
    let expected = expected_at_end(&spec(), &steps).profiles;
    assert!(expected.iter().any(|profile| profile.identifiers.iter().flatten().count() > 2));
    assert_eq!(profiles, expected);
}

/// With the policy of every engine, but a floor that fits the size of a test.
const LOW: Collecting = Collecting { floor: 256 << 10, is_constant: false };

#[test]
fn ever_new_strings_take_the_memory_of_those_that_are_there() {
    stays_level(1, LOW);
}

#[test]
fn so_they_do_on_several_workers() {
    stays_level(3, LOW);
}

#[test]
fn so_they_do_when_they_are_collected_all_the_time() {
    let constant = Collecting { is_constant: true, ..LOW };
    stays_level(1, constant);
    stays_level(3, constant);
}

#[test]
fn a_small_state_never_bothers() {
    let default = Collecting { is_constant: false, ..Collecting::default() };
    let steps = stream(10, 60);
    let lived = live(&steps, 1, default);
    let all = (10 * 60 * TEXT) as u64;
    let held = lived[0].most[1];
    assert!(held >= all, "{held} of {all} bytes");
}

/// Between epochs a collection can be brought to its end, so that an engine without events gets there.
#[test]
fn without_epochs_a_collection_ends_too() {
    let plan = Plan::compile(spec(), HashKey::FIXED).unwrap();
    let steps = stream(12, 60);
    timely::execute_directly(move |worker| {
        let mut dataflow = WorkerDataflow::build(worker, Arc::clone(&plan), Texts::new(1));
        dataflow.worker.borrow_mut().state.collecting = Collecting { floor: u64::MAX, is_constant: false };
        for input in inputs(&plan, &steps, 1) {
            let input = input.into_iter().next().unwrap();
            compute(worker, &mut dataflow, input, 0);
        }
        let before = trait_texts(&dataflow);
        assert!(!dataflow.is_collecting() && !dataflow.collect());
        collect_all(&mut dataflow);
        assert!(trait_texts(&dataflow) < before / 2);
    });
}

/// A trait has a short string now, a window has ended: what they had goes, though nothing comes that takes its place.
#[test]
fn strings_go_without_others_that_come() {
    let plan = Plan::compile(spec(), HashKey::FIXED).unwrap();
    let mut steps = stream(12, 60);
    let long = steps.len();
    let event =
        |n: usize| json!({"type": "track", "event": "b", "userId": format!("u{n}"), "v": 1, "s": "x"});
    // Of the first twelve some are one person. The others are four for each of the 16,384 panes that the smallest store has
    // room for, and a few more.
    steps.extend((0..5_600).map(|_| Step { events: (0..24).map(event).collect(), advance: 5, unlink: None }));
    timely::execute_directly(move |worker| {
        let mut dataflow = WorkerDataflow::build(worker, Arc::clone(&plan), Texts::new(1));
        let empty = trait_texts(&dataflow);
        dataflow.worker.borrow_mut().state.collecting = Collecting { floor: 64 << 10, is_constant: false };
        let inputs = inputs(&plan, &steps, 1).into_iter().map(|input| input.into_iter().next().unwrap());
        for (at, input) in inputs.enumerate() {
            compute(worker, &mut dataflow, input, 0);
            if at + 1 == long {
                let held = trait_texts(&dataflow);
                assert!(held > empty + (64 << 10) + (512 << 10), "{held} bytes, {empty} without any");
            }
        }
        while dataflow.collect() {}
        let held = trait_texts(&dataflow);
        // A page, which is what a single one takes.
        assert!(held <= empty + (256 << 10), "{held} bytes, {empty} without any");
    });
}

/// An engine that has too much memory asks for what is not worth it otherwise, and again and again.
#[test]
fn few_strings_go_when_asked_for() {
    let plan = Plan::compile(spec(), HashKey::FIXED).unwrap();
    let steps = stream(12, 60);
    timely::execute_directly(move |worker| {
        let mut dataflow = WorkerDataflow::build(worker, Arc::clone(&plan), Texts::new(1));
        let set_floor = |dataflow: &WorkerDataflow, floor| {
            dataflow.worker.borrow_mut().state.collecting = Collecting { floor, is_constant: false };
        };
        set_floor(&dataflow, u64::MAX);
        for input in inputs(&plan, &steps, 1) {
            compute(worker, &mut dataflow, input.into_iter().next().unwrap(), 0);
        }
        dataflow.begin_collecting();
        assert!(!dataflow.is_collecting(), "it is less than the least");
        set_floor(&dataflow, LOW.floor);
        let before = trait_texts(&dataflow);
        dataflow.begin_collecting();
        assert!(dataflow.is_collecting());
        while dataflow.collect() {}
        assert!(trait_texts(&dataflow) < before / 2);
        dataflow.begin_collecting();
        assert!(!dataflow.is_collecting(), "nothing has happened since");
    });
}

/// More than 32 columns of strings, each of which two traits keep.
#[test]
fn every_column_is_kept_however_many_there_are() {
    let mut spec = spec();
    let path = |text: &str| Path::parse(text).unwrap();
    let with = |name: String, aggregate| TraitSpec {
        name,
        aggregate,
        events: EventFilter::Any,
        condition: None,
        window: None,
    };
    let of = |n: usize| {
        let column = format!("p{n}");
        [
            with(format!("first_{n}"), Aggregate::First(path(&column))),
            with(format!("last_{n}"), Aggregate::Last(path(&column))),
        ]
    };
    spec.traits.extend((0..40).flat_map(of));
    let events = (0..4).map(|at| {
        let mut event = json!({"type": "track", "event": "a", "userId": "u1", "timestamp": START + at});
        (0..40).for_each(|n| event[format!("p{n}")] = json!(format!("{n} at {at}")));
        event
    });
    let steps = [Step { events: events.collect(), advance: 5, unlink: None }];
    let plan = Plan::compile(spec.clone(), HashKey::FIXED).unwrap();
    let (mut epochs, _) = run(&plan, &steps, 1);
    assert_eq!(epochs.remove(0).remove(0).profiles, expected_at_end(&spec, &steps).profiles);
}

/// Three numbers of a profile change, its strings don't: a reason that says more has taken a text that was moved for another.
#[test]
fn a_text_that_is_moved_is_no_change() {
    let mut spec = spec();
    let path = |text: &str| Path::parse(text).unwrap();
    let with = |name: &str, aggregate, window: Option<Window>| TraitSpec {
        name: name.to_owned(),
        aggregate,
        events: EventFilter::Any,
        condition: None,
        window,
    };
    let window = Window { length: Millis(20), resolution: Millis(1) };
    spec.traits = ["x", "y", "z"].map(|column| with(column, Aggregate::Sum(path(column)), None)).to_vec();
    spec.traits.push(with("plan", Aggregate::Last(path("s")), None));
    spec.traits.push(with("recent", Aggregate::Last(path("s")), Some(window)));
    let names: Vec<String> = spec.traits.iter().map(|t| t.name.clone()).collect();
    let known = Names { identifiers: &[], traits: &names, time_traits: &[false; 5], segments: &[] };
    let text = "x >= 2 and y >= 2 and z >= 2 and plan != 'no' and recent != 'no'";
    spec.segments = vec![SegmentSpec {
        name: "all".into(),
        predicate: parse_segment(text, &known).unwrap(),
        description: None,
    }];
    let event = |at: i64| json!({"type": "track", "event": "a", "timestamp": START + at});
    let said = |id: (&str, &str), at: i64, s: &str, count: i64| {
        let mut event = event(at);
        (event[id.0], event["s"]) = (json!(id.1), json!(s));
        ["x", "y", "z"].iter().for_each(|column| event[*column] = json!(count));
        event
    };
    // A collection comes to these first, and is at them when the others change.
    let mut before: Vec<Json> =
        (0..24).map(|n| said(("userId", &format!("u{n}")), -1, &n.to_string(), 0)).collect();
    // Of the first one a pane expires in between, with which the total is put together anew; the other is of two that become one.
    before.push(said(("userId", "grows"), -15, "same", 0));
    before.push(said(("userId", "grows"), -5, "same", 1));
    before.push(said(("userId", "joins"), -5, "same", 1));
    before.push(said(("anonymousId", "joined"), -5, "same", 1));
    let (mut grows, mut joins) = (event(9), event(9));
    grows["userId"] = json!("grows");
    ["x", "y", "z"].iter().for_each(|column| grows[*column] = json!(1));
    (joins["userId"], joins["anonymousId"]) = (json!("joins"), json!("joined"));
    let step = |events, advance| Step { events, advance, unlink: None };
    let steps = [step(before, 0), step(vec![grows, joins], 10)];
    let plan = Plan::compile(spec.clone(), HashKey::FIXED).unwrap();
    let (mut epochs, texts) = run(&plan, &steps, 1);
    let changes: Vec<Changes> = epochs.remove(1).into_iter().map(|seen| seen.changes).collect();
    let batch = merge((2, Timestamp(START + 10)), &self::names(&spec), &texts, &changes);
    let reasons: Vec<&str> = batch.iter().map(|delta| delta.reason()).collect();
    assert_eq!(reasons, ["x 1 -> 2, y 1 -> 2, z 1 -> 2"; 2]);
}
