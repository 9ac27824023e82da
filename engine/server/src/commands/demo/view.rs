//! The demo on a terminal: drawn ten times a second, from 80 by 24 characters on.

use std::{io, time::Duration};

use ratatui::{
    Frame as Screen,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, BorderType, Paragraph},
};
use tidewater::Change;

use super::{
    feed::Control,
    meter::ShownDelta,
    picture::{Frame, History, Picture, SegmentRow, milliseconds, with_commas},
};
use crate::exit::{Exit, Failure};

const EVERY: Duration = Duration::from_millis(100);

/// Draws until somebody quits or there are no more events.
pub(super) fn show(picture: &Picture, control: &Control) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Exit::Internal, format!("cannot use the terminal: {error}"));
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = (|| -> io::Result<Option<String>> {
        loop {
            let frame = picture.frame();
            terminal.draw(|screen| draw(screen, &frame, control))?;
            if frame.failure.is_some() || control.is_done() {
                return Ok(frame.failure);
            }
            if event::poll(EVERY)? && is_quit(&event::read()?, control) {
                return Ok(None);
            }
        }
    })();
    let restored = ratatui::try_restore();
    match shown.map_err(failed)? {
        Some(reason) => Err(Failure::new(Exit::Internal, format!("the engine has failed: {reason}"))),
        None => restored.map_err(failed),
    }
}

/// Does what a key asks for; true if it asks for the end.
fn is_quit(event: &Event, control: &Control) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return false };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Char(' ' | 'p') => control.toggle_pause(),
        KeyCode::Char('+' | '=') | KeyCode::Up => control.change_rate(true),
        KeyCode::Char('-') | KeyCode::Down => control.change_rate(false),
        _ => {}
    }
    false
}

fn draw(screen: &mut Screen<'_>, frame: &Frame, control: &Control) {
    let segments = frame.segments.len() as u16 + 2;
    let [title, tiles, table, deltas, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(4),
        Constraint::Length(segments),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(screen.area());
    draw_title(screen, title, frame, control);
    let [throughput, latency, identity] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1), Constraint::Fill(1)]).areas(tiles);
    draw_throughput(screen, throughput, frame);
    draw_latency(screen, latency, frame);
    draw_identity(screen, identity, frame);
    draw_segments(screen, table, &frame.segments);
    draw_deltas(screen, deltas, frame);
    draw_keys(screen, keys, frame);
}

fn panel(title: &str) -> Block<'_> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(Span::styled(format!(" {title} "), Style::new().fg(Color::Cyan)))
}

fn draw_title(screen: &mut Screen<'_>, area: Rect, frame: &Frame, control: &Control) {
    let state = match (control.is_paused(), control.rate()) {
        (true, _) => "paused".bold().yellow(),
        (false, 0) => "full speed".green(),
        (false, rate) => format!("{} events/s", with_commas(rate)).green(),
    };
    let shop = format!("  made-up shop {}  ", frame.seed);
    let left = Line::from(vec![" tidewater".bold().cyan(), shop.into(), state]);
    let clock = frame.now.map(|now| now.to_string().chars().take(16).collect::<String>().replace('T', " "));
    let right = Line::from(format!("shop time {} ", clock.unwrap_or_else(|| "-".to_owned()))).right_aligned();
    screen.render_widget(left, area);
    // Both fit from the usual width on.
    if area.width >= 76 {
        screen.render_widget(right, area);
    }
}

fn draw_throughput(screen: &mut Screen<'_>, area: Rect, frame: &Frame) {
    let line = |history: &History, what: &str| {
        let text = format!("{:>9} {what}", with_commas(history.last()));
        let spark = history.sparkline(usize::from(area.width).saturating_sub(4 + text.len()));
        Line::from(vec![text.bold(), " ".into(), spark.fg(Color::Blue)])
    };
    let lines = vec![line(&frame.event_rate, "events/s"), line(&frame.delta_rate, "deltas/s")];
    screen.render_widget(Paragraph::new(lines).block(panel("throughput")), area);
}

fn draw_latency(screen: &mut Screen<'_>, area: Rect, frame: &Frame) {
    let (median, high) = match frame.latency_ms {
        Some((median, high)) => (milliseconds(median), milliseconds(high)),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let width = usize::from(area.width).saturating_sub(18);
    let lines = vec![
        Line::from(vec![
            format!(" p50 {median:>9}").bold(),
            " ".into(),
            frame.latency.sparkline(width).fg(Color::Blue),
        ]),
        Line::from(format!(" p99 {high:>9}").bold()),
    ];
    screen.render_widget(Paragraph::new(lines).block(panel("event in → delta out")), area);
}

fn draw_identity(screen: &mut Screen<'_>, area: Rect, frame: &Frame) {
    let line = |count: u64, what: &'static str| {
        Line::from(vec![format!("{:>10}", with_commas(count)).bold(), what.into()])
    };
    let lines = vec![line(frame.profiles, " profiles"), line(frame.identifiers, " identifiers")];
    let title = format!("identity, {} merges", with_commas(frame.merges));
    screen.render_widget(Paragraph::new(lines).block(panel(&title)), area);
}

fn draw_segments(screen: &mut Screen<'_>, area: Rect, segments: &[SegmentRow]) {
    let inner = usize::from(area.width.saturating_sub(2));
    let spark_width = (inner / 5).clamp(8, 60);
    let lines: Vec<Line<'_>> = segments
        .iter()
        .map(|row| {
            let used = 15 + 9 + 1 + spark_width + 1;
            Line::from(vec![
                format!(" {:<14}", row.name).into(),
                format!("{:>9}", with_commas(row.size.last())).bold(),
                " ".into(),
                row.size.sparkline(spark_width).fg(Color::Green),
                " ".into(),
                fit(&row.definition, inner.saturating_sub(used)).fg(Color::DarkGray),
            ])
        })
        .collect();
    screen.render_widget(Paragraph::new(lines).block(panel("segments")), area);
}

fn draw_deltas(screen: &mut Screen<'_>, area: Rect, frame: &Frame) {
    let inner = usize::from(area.width.saturating_sub(2));
    let rows = usize::from(area.height.saturating_sub(2));
    let lines: Vec<Line<'_>> =
        frame.latest.iter().take(rows).map(|delta| delta_line(delta, &frame.segments, inner)).collect();
    let title = format!("some of {} deltas", with_commas(frame.deltas));
    screen.render_widget(Paragraph::new(lines).block(panel(&title)), area);
}

fn delta_line<'a>(delta: &'a ShownDelta, segments: &'a [SegmentRow], width: usize) -> Line<'a> {
    let (mark, color) = match delta.change {
        Change::Entered => ("+", Color::Green),
        Change::Exited => ("-", Color::Red),
    };
    let segment = segments.get(delta.segment).map_or("", |row| row.name.as_str());
    let time: String = delta.now.to_string().chars().skip(11).take(5).collect();
    // On a wide terminal the reason has all the room there is.
    let who_width = (width / 3).clamp(20, 34);
    let used = 1 + 5 + 1 + 2 + 15 + who_width + 1;
    Line::from(vec![
        format!(" {time} ").fg(Color::DarkGray),
        format!("{mark} {segment:<15}").fg(color),
        format!("{:<who_width$} ", fit(&delta.who, who_width)).into(),
        fit(&delta.reason, width.saturating_sub(used)).fg(Color::DarkGray),
    ])
}

fn draw_keys(screen: &mut Screen<'_>, area: Rect, frame: &Frame) {
    let key = |key: &'static str| key.bold().cyan();
    let left = Line::from(vec![
        " ".into(),
        key("q"),
        " quit  ".into(),
        key("space"),
        " pause  ".into(),
        key("+ -"),
        " speed".into(),
    ]);
    let counts = [
        (frame.events, "events"),
        (frame.duplicates, if area.width < 100 { "dup" } else { "duplicates" }),
        (frame.quarantined, if area.width < 100 { "bad" } else { "quarantined" }),
    ];
    let right: String =
        counts.iter().map(|(count, what)| format!(" {} {what} ", with_commas(*count))).collect();
    screen.render_widget(left, area);
    screen.render_widget(Line::from(right).right_aligned().fg(Color::DarkGray), area);
}

/// As much of a text as fits.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        short.push('…');
    }
    short
}
