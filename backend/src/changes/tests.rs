use std::fs;
use std::path::Path;

use super::file::{ChangeFile, read};
use toml_edit::DocumentMut;

use super::*;
use crate::config::{Config, Loaded, ThisHost, parse};

mod tables;

const FILE: &str = "\
# the lab
[network.lab]
[group.web]
[group.db]
[qos.gold]
ingress = { police = \"50mbit\" }

[port.vm1]   # the first one
network = \"lab\"
addresses = [\"10.0.0.1\"]
groups = [\"web\"]   # who asks
qos = \"gold\"

[port.vm2]
network = \"lab\"
addresses = [\"10.0.0.2\"]
";

fn config(text: &str) -> Config {
    let Loaded { config, .. } = parse(text.as_bytes(), "test", &ThisHost).unwrap();
    config
}

fn groups(port: &str, groups: &[&str]) -> Noted {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let change = PortChange::Edit(PortEdit::groups(groups));
    Noted::Port { name: port.to_owned(), change }
}

fn qos(port: &str, qos: Option<&str>) -> Noted {
    let edit = PortEdit { groups: None, qos: Some(qos.map(str::to_owned)) };
    Noted::Port { name: port.to_owned(), change: PortChange::Edit(edit) }
}

fn after(noted: &[Noted]) -> Running {
    let mut running = Running::of_file(FILE);
    for one in noted {
        running.note(one.clone());
    }
    running
}

/// The changes of a day.
fn day() -> Vec<Noted> {
    let other = FILE.replace("# the lab", "# another lab");
    vec![
        groups("vm1", &["web", "db"]),
        qos("vm1", None),
        groups("vm2", &["db"]),
        Noted::Document(other.into()),
        qos("vm2", Some("gold")),
        groups("vm1", &["db"]),
        declared("vm9", "network = \"lab\"\n", true),
        Noted::of_port("vm2".to_owned(), None, false),
    ]
}

fn declared(port: &str, lines: &str, is_new: bool) -> Noted {
    Noted::of_port(port.to_owned(), Some(lines.to_owned()), is_new)
}

#[test]
fn changes_of_ports_stand_in_the_text_and_all_else_stays() {
    let text = after(&[groups("vm1", &["db"]), qos("vm1", None), qos("vm2", Some("gold"))]).text().unwrap();
    let expected = FILE
        .replace("groups = [\"web\"]   # who asks\nqos = \"gold\"\n", "groups = [\"db\"]   # who asks\n")
        .replace("addresses = [\"10.0.0.2\"]", "addresses = [\"10.0.0.2\"]\nqos = \"gold\"");
    assert_eq!(text, expected);
    let ports = config(&text).ports;
    assert_eq!((&ports["vm1"].qos, ports["vm1"].groups.as_deref()), (&None, Some(&["db".to_owned()][..])));
    assert_eq!(ports["vm2"].qos.as_deref(), Some("gold"));
}

#[test]
fn ports_that_are_written_in_another_way_are_found_too() {
    for text in [
        "port = { vm1 = { network = 'lab' } }\n",
        "port.vm1.network = 'lab'\n",
        "[port]\nvm1 = { network = 'lab' }\n",
        "[port.\"vm1\"]\nnetwork = 'lab'\n",
        "[uplink.vm1]\ninterface = 'eth0'\n",
    ] {
        let mut running = Running::of_file(text);
        running.note(qos("vm1", Some("gold")));
        let changed = running.text().unwrap();
        let read: DocumentMut = changed.parse().unwrap();
        let kind = if text.contains("uplink") { "uplink" } else { "port" };
        assert_eq!(read[kind]["vm1"]["qos"].as_str(), Some("gold"), "{changed}");
    }
    let mut running = Running::of_file(FILE);
    running.note(qos("vm9", None));
    assert!(running.text().unwrap_err().to_string().contains("vm9"));
}

#[test]
fn ports_come_and_go_in_the_text_however_ports_are_written_there() {
    let came = after(&[declared("vm9", "network = \"lab\"\nqueues = 2\n", true)]).text().unwrap();
    assert_eq!(came, format!("{FILE}\n[port.vm9]\nnetwork = \"lab\"\nqueues = 2\n"));
    assert_eq!(config(&came).ports.len(), 3);
    let gone = after(&[Noted::of_port("vm1".to_owned(), None, false)]).text().unwrap();
    assert_eq!(config(&gone).ports.keys().collect::<Vec<_>>(), ["vm2"]);
    for text in [
        "",
        "[port]\nvm1 = { network = 'lab' }\n",
        "port = { vm1 = { network = 'lab' } }\n",
        "port.vm1.network = 'lab'\n",
    ] {
        let text = format!("{text}[network.lab]\n");
        let mut running = Running::of_file(text.as_str());
        running.note(declared("vm9", "network = 'lab'\nstorm = { broadcast = '5pps' }\n", true));
        running.note(qos("vm9", None));
        let there = running.text().unwrap();
        let ports = config(&there).ports;
        assert_eq!(
            (ports.contains_key("vm9"), ports.contains_key("vm1")),
            (true, text.contains("vm1")),
            "{there}"
        );
    }
    let mut wrong = Running::of_file(FILE);
    wrong.note(declared("vm9", "network lab", true));
    wrong.text().unwrap_err();
}

#[test]
fn a_port_that_came_and_went_leaves_nothing_and_one_of_the_text_stays_away() {
    let gone = |port: &str| Noted::of_port(port.to_owned(), None, false);
    assert!(after(&[declared("vm9", "", true), groups("vm9", &["web"]), gone("vm9")]).is_file());
    let away = after(&[gone("vm1")]);
    assert!(!away.is_file());
    // It comes back otherwise, and goes once more.
    let again = after(&[gone("vm1"), declared("vm1", "network = 'lab'\n", true), gone("vm1")]);
    assert_eq!(again, away);
    let other = after(&[groups("vm1", &["db"]), declared("vm1", "network = 'lab'\n", false)]);
    assert_eq!(config(&other.text().unwrap()).ports["vm1"].groups, None);
}

#[test]
fn the_file_undoes_all_and_a_text_the_changes_before_it() {
    assert!(after(&[]).is_file());
    assert!(!after(&[groups("vm1", &["db"])]).is_file());
    assert!(after(&[groups("vm1", &["db"]), Noted::Document(FILE.into())]).is_file());
    let later = after(&[groups("vm1", &["db"]), Noted::File("x = 1".into())]);
    assert!(later.is_file() && later.file() == "x = 1");
    let other = after(&[groups("vm1", &["db"]), Noted::Document("x = 1".into())]);
    assert_eq!((other.text().unwrap().as_str(), other.is_file()), ("x = 1", false));
}

fn kept(path: &Path) -> Running {
    let content = read(path).unwrap().unwrap();
    assert_eq!(content.damaged, None);
    content.running
}

#[test]
fn what_is_kept_comes_back_after_each_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/changes");
    let (mut file, mut running) = (ChangeFile::new(path.clone()), after(&[]));
    for noted in day() {
        running.note(noted.clone());
        file.keep(&running, &[noted]).unwrap();
        assert_eq!(kept(&path), running);
    }
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    running.note(Noted::File("# the file\n".into()));
    file.keep(&running, &[]).unwrap();
    assert!(read(&path).unwrap().is_none());
    file.keep(&running, &[]).unwrap();
}

#[test]
fn a_file_that_many_changes_made_long_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changes");
    let (mut file, mut running, mut longest) = (ChangeFile::new(path.clone()), after(&[]), 0);
    for round in 0..2500 {
        let noted = groups("vm1", if round % 2 == 0 { &["web"] } else { &["db"] });
        running.note(noted.clone());
        file.keep(&running, &[noted]).unwrap();
        longest = longest.max(fs::metadata(&path).unwrap().len());
    }
    assert_eq!(kept(&path), running);
    assert!(longest < 120_000, "{longest}");
}

/// The bytes of a file in which a text and changes behind it stand, and all states that there were since the text.
fn written(path: &Path) -> (Vec<u8>, Vec<Running>) {
    let (mut file, mut running) = (ChangeFile::new(path.to_owned()), after(&[]));
    let mut states = vec![running.clone()];
    for noted in day() {
        running.note(noted.clone());
        if matches!(noted, Noted::Document(_)) {
            states.truncate(1);
        }
        states.push(running.clone());
        file.keep(&running, &[noted]).unwrap();
    }
    (fs::read(path).unwrap(), states)
}

#[test]
fn a_file_that_is_cut_anywhere_gives_a_state_that_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changes");
    let (whole, states) = written(&path);
    let last = whole.iter().rposition(|byte| *byte == b'{').unwrap();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        match read(&path) {
            Ok(content) => {
                let content = content.unwrap();
                assert!(states.contains(&content.running) && content.damaged.is_none(), "{length}");
            }
            Err(error) => {
                assert!(matches!(error, ChangesError::NotOurs) && length < last, "{length}: {error}")
            }
        }
    }
    assert_eq!(kept(&path), *states.last().unwrap());
}

#[test]
fn any_wrong_bit_gives_a_state_that_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changes");
    let (whole, states) = written(&path);
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            fs::write(&path, &damaged).unwrap();
            match read(&path) {
                Ok(content) => {
                    let content = content.unwrap();
                    assert!(states.contains(&content.running), "{at} {bit}");
                    assert!(content.damaged.is_some() || at == whole.len() - 1, "{at} {bit}");
                }
                Err(error) => assert!(matches!(error, ChangesError::NotOurs), "{at} {bit}: {error}"),
            }
        }
    }
}

/// A switch's configuration whose state is kept in `folder`.
fn in_folder(folder: &Path) -> String {
    format!("{}[switch]\nstate_dir = '{}'\nsocket_group = 'root'\n", FILE, folder.display())
}

/// A process that began, and keeps what is changed.
fn start(text: &str, fresh: bool) -> (Start, Keeper) {
    let mut start = resume(Path::new("/etc/viaduct.toml"), (text, config(text)), fresh, &ThisHost);
    let keeper = start.take_keeper().unwrap().unwrap();
    (start, keeper)
}

/// A process that gave a port another group and was killed.
fn killed(text: &str) {
    let (start, keeper) = start(text, false);
    assert!(start.running.is_file() && start.fallback.is_none());
    let receipt = keeper.note(groups("vm1", &["db"]));
    assert_eq!(receipt.not_kept(), None);
}

fn group_of((start, _): &(Start, Keeper)) -> &str {
    &start.config.ports["vm1"].groups.as_ref().unwrap()[0]
}

#[test]
fn the_next_process_resumes_on_the_same_file_and_on_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let text = in_folder(folder.path());
    killed(&text);
    for _ in 0..2 {
        let again = start(&text, false);
        assert_eq!(group_of(&again), "db");
        assert_eq!(again.0.fallback.as_ref().unwrap().0, config(&text));
    }
    let edited = text.replace("# the lab", "# the edited lab");
    assert_eq!(group_of(&start(&edited, false)), "web");
    let aside = folder.path().join("changes.aside");
    assert_eq!(fs::read_to_string(&aside).unwrap().lines().count(), 3);
    assert_eq!(group_of(&start(&text, false)), "web", "they are set aside for good");
    fs::rename(aside, folder.path().join("changes")).unwrap();
    assert_eq!(group_of(&start(&text, true)), "web", "fresh");
    assert_eq!(group_of(&start(&text, false)), "web");
}

#[test]
fn a_file_that_is_damaged_or_from_the_future_keeps_nobody_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let (text, path) = (in_folder(folder.path()), folder.path().join("changes"));
    killed(&text);
    let whole = fs::read_to_string(&path).unwrap();
    let newer = crate::durable::line(&serde_json::json!({ "viaduct_changes": 2 })) + "unknown\n";
    let ours = whole.lines().next().unwrap();
    let wrong = [
        newer.as_str(),
        "",
        "something else\n",
        &whole[..200],
        &whole.replace(ours, "00000000 {}"),
        "4\u{0}",
    ];
    for content in wrong {
        fs::write(&path, content).unwrap();
        let start = start(&text, false);
        assert!(group_of(&start) == "web" && start.0.running.is_file());
        assert_eq!(fs::read_to_string(folder.path().join("changes.aside")).unwrap(), content);
        assert!(!path.exists());
    }
    fs::write(&path, &newer).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("version 2") && error.contains("run the version that wrote it"), "{error}");
    // What stands before the damage counts, and stands in a whole file again.
    fs::write(&path, format!("{whole}00000000 damaged\n{}", whole.lines().last().unwrap())).unwrap();
    assert_eq!(group_of(&start(&text, false)), "db");
    assert_eq!(kept(&path), after_in(&text));
    assert!(fs::read_to_string(folder.path().join("changes.aside")).unwrap().contains("00000000 damaged"));
}

/// Whoever takes such a change at run time may have been another version, or have run where a group of sockets was.
#[test]
fn changes_that_make_no_configuration_are_told_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let (text, path) = (in_folder(folder.path()), folder.path().join("changes"));
    let (running, keeper) = start(&text, false);
    drop(running);
    assert_eq!(keeper.note(groups("vm1", &["nowhere"])).not_kept(), None);
    drop(keeper);
    let told = super::start::wanted(read(&path).unwrap(), &text, false, &ThisHost).unwrap_err();
    let ChangesError::Refused(why) = &told else { panic!("{told}") };
    assert!(why.contains("nowhere"), "{told}");
    assert!(told.to_string().starts_with("gives a configuration that is refused: "), "{told}");
    assert_eq!(group_of(&start(&text, false)), "web");
}

fn after_in(text: &str) -> Running {
    let mut running = Running::of_file(text);
    running.note(groups("vm1", &["db"]));
    running
}

#[test]
fn a_folder_that_cannot_be_written_is_told_of_and_used_once_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder should be: that stops root, too.
    let state = folder.path().join("state");
    fs::write(&state, "").unwrap();
    let text = in_folder(&state);
    let (_, keeper) = start(&text, false);
    assert!(keeper.problem().unwrap().starts_with("cannot write"));
    assert!(keeper.note(groups("vm1", &["web"])).not_kept().unwrap().contains("state/changes"));
    fs::remove_file(&state).unwrap();
    // It is tried again by itself.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while keeper.problem().is_some() {
        assert!(std::time::Instant::now() < end);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(keeper.note(groups("vm1", &["db"])).not_kept(), None);
    assert_eq!(kept(&path_in(&state)), after_in(&text));
}

#[test]
fn a_change_of_a_port_that_is_nowhere_makes_no_text() {
    let told = after(&[groups("vm9", &["web"])]).text();
    assert!(matches!(told, Err(ComposeError::NoPort(port)) if port == "vm9"));
}

/// What an append may not do: grow beyond what would be read.
#[test]
fn a_file_that_is_full_is_written_anew_and_not_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changes");
    let mut file = ChangeFile::new(path.clone());
    let long = Noted::of_port("vm8".to_owned(), Some(format!("# {}\n", "x".repeat(20 << 20))), true);
    let mut running = after(&[]);
    // Each line replaces the one before: what runs is 20 MiB long, and 128 are read.
    for _ in 0..8 {
        running.note(long.clone());
        file.keep(&running, std::slice::from_ref(&long)).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() <= super::file::FILE_MAX as u64);
    }
    assert_eq!(read(&path).unwrap().unwrap().running, running);
}
