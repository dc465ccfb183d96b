//! The examples and the documentation, checked against the schema.

use super::*;

#[test]
fn every_example_loads() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files: Vec<PathBuf> =
        std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(
        [
            "s1.toml",
            "s2.toml",
            "s3.toml",
            "nat.toml",
            "noisy-neighbour.toml",
            "s9.toml",
            "s10.toml",
            "overlay.toml"
        ]
        .iter()
        .all(|name| files.iter().any(|file| file.ends_with(name)))
    );
    for file in files {
        load(&file, &TestHost).unwrap();
    }
}

#[test]
fn the_full_example_names_every_field() {
    let text = include_str!("../../../../examples/full.toml");
    for table in &schema::TABLES[1..] {
        for name in table.names_now() {
            assert!(text.contains(&format!("{name} = ")) || text.contains(&format!(".{name}]")), "{name}");
        }
    }
}

#[test]
fn the_documentation_names_every_field_and_default() {
    let text = include_str!("../../../../docs/configuration.md");
    for table in &schema::TABLES[1..] {
        assert!(text.contains(&format!("## `[{}]`", table.heading)), "{}", table.heading);
        let section =
            text.split("\n## ").find(|part| part.starts_with(&format!("`[{}]`", table.heading))).unwrap();
        for field in table.fields.iter().filter(|field| field.support != Support::Later) {
            let default = if field.default.is_empty() {
                "must be written".to_owned()
            } else {
                format!("`{}`", field.default)
            };
            let row = format!("| `{}` | {} | {default} |", field.name, field.values);
            assert!(section.contains(&row), "docs/configuration.md has no row\n{row}");
        }
        for field in table.fields.iter().filter(|field| field.support == Support::Later) {
            assert!(section.contains(&format!("`{}`", field.name)), "{} is not named as coming", field.name);
        }
    }
}
