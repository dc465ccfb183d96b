//! What is on the screen, told by ratatui's terminal in memory.

use std::path::PathBuf;
use std::time::Instant;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, Goes};
use super::feed::Sampled;
use super::figures::Moment;
use super::*;
use crate::model::{
    DropStatus, PortState, PortStatus, QosStatus, ShapingClassStatus, ShapingStatus, Snapshot, TraceReceiver,
    Traffic, Verdict, VerdictKind, WatchEvent, WorkerStatus,
};

fn port(name: &str, frames: u64, dropped: u64) -> PortStatus {
    let drop =
        DropStatus { reason: "policed".to_owned(), meaning: "Above its rate.".to_owned(), frames: dropped };
    PortStatus {
        name: name.to_owned(),
        network: "lab".to_owned(),
        native: None,
        kind: "vhost-user".to_owned(),
        interface: None,
        socket: PathBuf::new(),
        role: "server".to_owned(),
        mac: String::new(),
        groups: None,
        mtu: 1500,
        queues: 1,
        state: PortState::Running,
        detail: None,
        peer_pid: None,
        rings_running: 2,
        features: Vec::new(),
        received: Traffic { frames, bytes: frames * 125 },
        sent: Traffic::default(),
        drops: vec![drop],
        connections: 1,
        pauses: 0,
        paused_ms: 0,
        numa: None,
    }
}

fn state(uptime_s: u64, factor: u64) -> Snapshot {
    let class = ShapingClassStatus {
        name: "web".to_owned(),
        ceil_bits: Some(40_000),
        sent_bytes: 250 * factor,
        backlog_frames: 7,
        ..ShapingClassStatus::default()
    };
    let tree = ShapingStatus {
        qos: "gold".to_owned(),
        shared: false,
        ports: vec!["web2".to_owned()],
        classes: vec![class],
    };
    Snapshot {
        uptime_s,
        generation: 3,
        ports: vec![
            port("db1", 10 * factor, 0),
            port("web1", 1000 * factor, 0),
            port("web2", 20 * factor, 5 * factor),
        ],
        qos: QosStatus { trees: vec![tree], ..QosStatus::default() },
        workers: vec![WorkerStatus {
            cpu: 2,
            frames: 800 * factor,
            bursts: 100 * factor,
            round_times: std::array::from_fn(|class| if class == 4 { 100 * factor } else { 0 }),
            ..WorkerStatus::default()
        }],
        ..Snapshot::default()
    }
}

/// What went on in two seconds.
fn figures() -> Figures {
    let start = Instant::now();
    let before = Moment { at: start, state: state(100, 10) };
    Figures::between(&before, &Moment { at: start + Duration::from_secs(2), state: state(102, 30) })
}

fn app() -> App {
    let mut app = App::new(Duration::from_secs(1));
    app.take(Ok(figures()));
    app
}

fn press(app: &mut App, keys: &str) -> Goes {
    let codes = keys.chars().map(|key| match key {
        '\n' => KeyCode::Enter,
        '\x1b' => KeyCode::Esc,
        '\t' => KeyCode::Tab,
        key => KeyCode::Char(key),
    });
    codes.fold(Goes::On, |_, code| app.key(KeyEvent::new(code, KeyModifiers::NONE)))
}

/// The screen's lines.
fn screen(app: &mut App) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(110, 16)).unwrap();
    terminal.draw(|frame| view::draw(frame, app)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..110).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..16).map(line).collect()
}

/// The first column.
fn names(app: &mut App) -> Vec<String> {
    let lines = screen(app);
    let rows = lines[3..15].iter().filter_map(|line| line.split_whitespace().next());
    rows.map(str::to_owned).collect()
}

#[test]
fn rates_are_what_changed_by_the_time_between_and_a_new_process_counts_anew() {
    let figures = figures();
    let rate = |at: usize| figures.ports[at].received;
    assert_eq!((rate(1).frames_per_second, rate(1).bits_per_second), (10_000, 10_000_000));
    assert_eq!((figures.ports[2].drops_per_second, figures.ports[2].drops[0].frames), (50, 150));
    assert_eq!((figures.classes[0].sent.bits_per_second, figures.classes[0].backlog_frames), (20_000, 7));
    assert_eq!((figures.workers[0].frames_per_second, figures.workers[0].bursts_per_second), (8000, 1000));
    assert_eq!(figures.workers[0].p99_us, Some(16));
    let start = Instant::now();
    let before = Moment { at: start, state: state(100, 10) };
    let after = Moment { at: start + Duration::from_secs(1), state: state(1, 1) };
    let restarted = Figures::between(&before, &after);
    assert_eq!(restarted.ports[1].received, figures::Rate::default(), "nothing is known of before");
}

#[test]
fn ports_are_sorted_by_what_they_send_and_by_what_is_asked_for() {
    let mut app = app();
    let lines = screen(&mut app);
    assert!(lines[0].contains("up 1 min 42 s  3 ports") && lines[0].contains("drops 50/s"), "{}", lines[0]);
    assert!(lines[2].contains("in*"), "{}", lines[2]);
    assert!(lines[4].starts_with("web2") && lines[4].contains("policed"), "{}", lines[4]);
    assert!(lines[15].contains("q quit"));
    assert_eq!(names(&mut app), ["web1", "web2", "db1"]);
    press(&mut app, "r");
    assert_eq!(names(&mut app), ["db1", "web2", "web1"]);
    press(&mut app, "rsss");
    assert!(screen(&mut app)[2].contains("drops/s*"));
    assert_eq!(names(&mut app), ["web2", "db1", "web1"]);
}

#[test]
fn a_filter_is_typed_kept_and_taken_back() {
    let mut app = app();
    press(&mut app, "/WEBq");
    assert!(screen(&mut app)[15].contains("/WEBq_"), "letters are no keys then");
    assert!(screen(&mut app)[2].contains("no row has `WEBq`"));
    app.key(KeyEvent::new(KeyCode::Backspace, KeyModifiers::NONE));
    press(&mut app, "\n");
    assert_eq!(names(&mut app), ["web1", "web2"]);
    press(&mut app, "\x1b");
    assert_eq!(names(&mut app).len(), 3);
}

#[test]
fn views_change_by_number_and_tab_and_a_port_is_looked_at_alone() {
    let mut app = app();
    press(&mut app, "3");
    let lines = screen(&mut app);
    assert!(lines[3].starts_with("gold") && lines[3].contains("20.0 kbit/s"), "{lines:?}");
    assert!(lines[3].contains("█████░░░░░  50 %"), "{lines:?}");
    press(&mut app, "\t");
    assert!(screen(&mut app)[3].starts_with("cpu 2"));
    press(&mut app, "\t\t");
    assert_eq!(app.view, View::Ports);
    app.key(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE));
    press(&mut app, "\n");
    let lines = screen(&mut app).join("\n");
    for part in ["web2 (Esc: back)", "policed: 50/s, 150 so far. Above its rate.", "web of gold", "7 wait"] {
        assert!(lines.contains(part), "{part} is missing:\n{lines}");
    }
    press(&mut app, "\x1b");
    assert_eq!(names(&mut app).len(), 3);
}

#[test]
fn a_bar_is_full_at_what_a_class_may_send_and_beyond_and_there_is_none_without_a_bound() {
    let text = |sends, may_send| sheets::bar(sends, may_send).text().to_owned();
    assert_eq!(text(0, Some(1000)), "░░░░░░░░░░   0 %");
    assert_eq!(text(49, Some(1000)), "░░░░░░░░░░   4 %");
    assert_eq!(text(60, Some(1000)), "█░░░░░░░░░   6 %");
    assert_eq!(text(1000, Some(1000)), "██████████ 100 %");
    assert_eq!(text(u64::MAX, Some(1000)), format!("██████████ {} %", u64::MAX / 1000));
    assert_eq!([text(5, None), text(5, Some(0))], ["-", "-"]);
}

#[test]
fn talkers_are_counted_by_flow_and_help_and_the_end_are_a_key_away() {
    let mut sampled = Sampled::default();
    let receivers = vec![TraceReceiver { port: "db1".to_owned(), ..TraceReceiver::default() }];
    let event = WatchEvent {
        port: "web1".to_owned(),
        packet: "tcp 10.0.0.5:4000 > 10.0.0.9:3306 flags ack from 02:00 to 02:01 length 1514".to_owned(),
        verdict: Verdict { kind: VerdictKind::Sent, receivers, ..Verdict::default() },
        ..WatchEvent::default()
    };
    (0..3).for_each(|_| sampled.add(&event));
    let mut app = app();
    app.talkers = sampled.talkers();
    press(&mut app, "5");
    let line = screen(&mut app)[3].clone();
    for part in ["web1", "tcp 10.0.0.5:4000 > 10.0.0.9:3306", "4.54 kB", "db1"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    press(&mut app, "?");
    assert!(screen(&mut app).join("\n").contains("p99 is what"));
    assert_eq!(press(&mut app, "q"), Goes::On, "any key leaves the help");
    assert_eq!(press(&mut app, "q"), Goes::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(app.key(interrupt), Goes::Quit);
}

#[test]
fn a_daemon_that_is_gone_is_told_until_it_is_back_and_held_figures_stay() {
    let mut app = app();
    app.take(Err("no daemon listens".to_owned()));
    let lines = screen(&mut app);
    assert!(lines[0].contains("daemon gone: no daemon listens"), "{}", lines[0]);
    assert_eq!(names(&mut app).len(), 3, "what was known last is there");
    app.take(Ok(figures()));
    assert!(!screen(&mut app)[0].contains("gone"));
    press(&mut app, "p");
    app.take(Ok(Figures::default()));
    assert!(screen(&mut app)[0].contains("held"));
    assert_eq!(names(&mut app).len(), 3);
    press(&mut app, "p");
    app.take(Ok(Figures::default()));
    assert!(screen(&mut app)[2].contains("there are no ports"));
}

#[test]
fn once_is_a_table_and_json() {
    let style = Style { json: false, colour: false };
    let told = text(&sheet(&figures(), View::Ports), style);
    assert!(told.starts_with("port"), "{told}");
    assert_eq!(told.lines().count(), 4);
    let json = serde_json::to_value(figures()).unwrap();
    assert_eq!(json["ports"][1]["received"]["frames_per_second"], 10_000);
    assert_eq!(json["interval_ms"], 2000);
}
