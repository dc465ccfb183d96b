use super::*;

#[test]
fn a_table_is_told_by_its_lines_and_replaced_with_all_else_as_it_was() {
    let file = FILE.replace("[qos.gold]", "# For those who pay.\n[qos.gold]   # much");
    let running = Running::of_file(file.as_str());
    assert_eq!(running.table(("qos", "gold")).unwrap().unwrap(), "ingress = { police = \"50mbit\" }\n");
    assert_eq!(running.table(("group", "web")).unwrap().as_deref(), Some(""));
    assert_eq!(running.table(("qos", "silver")).unwrap(), None);
    let faster = "ingress = { police = \"60mbit\" }   # since May\n";
    let text = running.text_with_table(("qos", "gold"), faster).unwrap();
    assert_eq!(text, file.replace("ingress = { police = \"50mbit\" }\n", faster));
    assert_eq!(Running::of_file(text.as_str()).table(("qos", "gold")).unwrap().as_deref(), Some(faster));
    assert!(
        matches!(running.text_with_table(("qos", "gold"), "= 1"), Err(ComposeError::Lines { table, .. }) if table == "qos.gold")
    );
}

#[test]
fn members_of_a_table_are_replaced_and_all_else_stays() {
    let file = FILE.replace(
        "ingress = { police = \"50mbit\" }",
        "ingress = { police = \"50mbit\", burst = \"1MB\" }   # since May",
    );
    let running = Running::of_file(file.as_str());
    let with = |table, members| {
        let serde_json::Value::Object(members) = members else { panic!("no object") };
        running.text_with_members(table, &members)
    };
    let gold = ("qos", "gold");
    let text =
        with(gold, serde_json::json!({ "ingress": { "police": "60mbit", "burst": null } })).unwrap().unwrap();
    assert_eq!(text, file.replace("50mbit\", burst = \"1MB\" }", "60mbit\" }"));
    // Nor is a comment lost that stands in a table of one line, which may have several (TOML 1.1).
    let lines = file.replace("{ police = \"50mbit\",", "{\n  police = \"50mbit\", # agreed\n ");
    if let serde_json::Value::Object(members) = serde_json::json!({ "ingress": { "police": "60mbit" } }) {
        let text = Running::of_file(lines.as_str()).text_with_members(gold, &members).unwrap().unwrap();
        assert_eq!(text, lines.replace("50mbit", "60mbit"));
    }
    let more =
        serde_json::json!({ "rules": [{ "protocol": "tcp", "ports": 22, "code": null }], "stateful": true });
    let text = with(("group", "web"), more).unwrap().unwrap();
    let web = Running::of_file(text.as_str()).table(("group", "web")).unwrap().unwrap();
    assert!(
        web.contains("rules = [{ protocol = \"tcp\", ports = 22 }]")
            || web.contains("ports = 22, protocol = \"tcp\""),
        "{web}"
    );
    assert!(web.contains("stateful = true"), "{web}");
    let same = with(gold, serde_json::json!({ "ingress": { "police": "50mbit" }, "nothing": null }));
    assert_eq!(same.unwrap().as_deref(), Some(file.as_str()));
    assert_eq!(with(("qos", "silver"), serde_json::json!({})).unwrap(), None);
    for wrong in [serde_json::json!({ "rules": [null] }), serde_json::json!({ "rules": u64::MAX })] {
        let told = with(("group", "web"), wrong);
        assert!(matches!(&told, Err(ComposeError::Member { member, .. }) if member == "rules"), "{told:?}");
    }
}

#[test]
fn comments_behind_the_last_line_of_a_table_stay_with_it() {
    let cases = [
        ("queues = 2\nmtu = 1500\n# As agreed.\n", "queues = 2\n# As agreed.\nmtu = 1500\n"),
        ("a.b = 1\nc.d = 2\n# e\n# f", "a.b = 1\n# e\n# f\nc.d = 2\n"),
        (
            "x = 1\n[class.a]\ny = 1\n\n[class.b]\nz = 1\n# g\n",
            "x = 1\n[class.a]\ny = 1\n\n[class.b]\n# g\nz = 1\n",
        ),
        ("[[filter]]\ny = 1\n[[filter]]\nz = 1\n\n# h\n", "[[filter]]\ny = 1\n[[filter]]\n\n# h\nz = 1\n"),
        ("[class.a]\n# i\n", "# i\n[class.a]\n"),
    ];
    for (lines, kept) in cases {
        let mut running = Running::of_file(FILE);
        for _ in 0..2 {
            let text = running.text_with_table(("qos", "gold"), lines).unwrap();
            running = Running::of_file(text.as_str());
            let told = running.table(("qos", "gold")).unwrap().unwrap();
            assert_eq!(told, kept, "{text}");
        }
    }
    // Without a line, before the heading, and once.
    let mut text = FILE.to_owned();
    for _ in 0..2 {
        text = Running::of_file(text.as_str()).text_with_table(("group", "web"), "# Nobody yet.\n").unwrap();
    }
    assert_eq!(text.matches("# Nobody yet.\n[group.web]\n").count(), 1, "{text}");
}

#[test]
fn a_table_with_tables_in_it_stands_together_behind_those_of_its_kind() {
    const TREE: &str = "kind = \"htb\"\nrate = \"100mbit\"\ndefault = \"rest\"\n\n\
        [class.rest]\nrate = \"60mbit\"\n\n[[filter]]\nsource = \"10.0.0.1\"\nclass = \"rest\"\n\n\
        [[filter]]\nsource = \"10.0.0.2\"\nclass = \"rest\"\n";
    let running = after(&[qos("vm2", Some("gold"))]);
    let text = running.text_with_table(("qos", "tree"), TREE).unwrap();
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"));
    let order = [
        "[qos.gold]",
        "[qos.tree]",
        "[qos.tree.class.rest]",
        "[[qos.tree.filter]]",
        "\"10.0.0.2\"\nclass",
        "[port.vm1]",
    ];
    assert!(order.map(place).is_sorted(), "{text}");
    assert_eq!(config(&text).qos.len(), 2, "{text}");
    assert_eq!(Running::of_file(text.as_str()).table(("qos", "tree")).unwrap().as_deref(), Some(TREE));
    let inline = Running::of_file("qos = { gold = { ingress = { police = \"50mbit\" } } }\n[network.lab]\n");
    assert!(inline.table(("qos", "gold")).unwrap().unwrap().contains("50mbit"));
    let text = inline.text_with_table(("qos", "gold"), "ingress = { police = \"60mbit\" }\n").unwrap();
    assert!(text.contains("60mbit") && !text.contains("50mbit") && config(&text).qos.len() == 1, "{text}");
}
