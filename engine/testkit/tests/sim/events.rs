//! What happens to customers: events of a few people, so that they meet, merge and leave windows all the time.

use tidewater_testkit::random::Random;

/// The pipeline that is computed. Windows and ages of seconds: time alone changes something every other moment.
pub(super) const PIPELINE: &str = "
clock: wall
dedup: 30d
identifiers:
  user_id:      { from: userId }
  email:        { from: traits.email, normalize: email }
  anonymous_id: { from: anonymousId }
traits:
  orders:    { count: Order Completed }
  revenue:   { sum: properties.revenue, event: Order Completed }
  plan:      { last: traits.plan }
  views_10s: { count: Page Viewed, window: 10s }
  last_seen: { last_time: '*' }
segments:
  buyer:  orders >= 1
  big:    revenue >= 40
  pro:    plan == 'pro'
  active: views_10s >= 2
  lapsed: orders >= 1 and now - last_seen > 6s
  top:    in_segment(big) and in_segment(active)
  mail:   has(email) and orders == 0
";

/// Events with message ids of their own, some of which can't be used.
pub(super) fn of_clients(random: &mut Random, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            if random.chance(0.05) {
                // No identifier: it goes to quarantine.
                return format!(r#"{{"type":"track","event":"Page Viewed","messageId":"bad{number}"}}"#);
            }
            event(random, &format!(r#""messageId":"c{number}","#))
        })
        .collect()
}

/// Events without message ids and times: nothing but the position of their source keeps them from being counted twice. Some can't
/// be used: nobody but the quarantine has them once the source resumes behind them.
pub(super) fn of_the_tape(random: &mut Random, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            if random.chance(0.1) {
                return format!(r#"{{"n":{number},"type":"page"}}"#);
            }
            event(random, &format!(r#""n":{number},"#))
        })
        .collect()
}

fn event(random: &mut Random, head: &str) -> String {
    let person = random.below(9);
    let who = match random.below(10) {
        0..=3 => format!(r#""userId":"u{person}""#),
        4..=6 => format!(r#""anonymousId":"a{person}""#),
        // Now and then somebody else's device.
        _ => format!(r#""userId":"u{person}","anonymousId":"a{}""#, (person + random.below(5) / 4) % 9),
    };
    let what = match random.below(10) {
        0..=1 => format!(
            r#""type":"track","event":"Order Completed","properties":{{"revenue":{}.25}}"#,
            random.below(30)
        ),
        2..=3 => {
            let plan = ["free", "pro", "team"][random.below(3) as usize];
            format!(r#""type":"identify","traits":{{"plan":"{plan}","email":"p{person}@example.com"}}"#)
        }
        _ => r#""type":"page""#.to_owned(),
    };
    format!("{{{head}{who},{what}}}")
}
