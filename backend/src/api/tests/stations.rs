//! Stations that a control plane feeds.

use super::*;

#[test]
fn stations_are_fed_by_their_own_generation() {
    let api = Api::start();
    let path = "/v1/networks/blue/stations";
    let ask = |method: &str, path: &str, head: &str, body: &str| api.request(method, path, head, body);
    let station = r#"{"mac": "52:54:00:00:00:02", "address": ["10.0.0.2", "fd00::2"], "vtep": "192.0.2.2"}"#;
    let other = r#"{"mac": "52:54:00:00:00:03", "address": "10.0.0.3", "vtep": "192.0.2.2"}"#;
    let (status, head, body) = ask("GET", &format!("{path}?from=52:54:00:00:00:01&limit=10"), "", "");
    assert_eq!((status, &body["next"], &body["fed"]), (200, &json!("52:54:00:00:00:01"), &json!(10)));
    assert!(head.contains("etag: \"7\""), "{head}");
    let (status, head, body) =
        ask("PUT", path, "if-match: \"7\"\r\n", &format!(r#"{{"stations": [{station}, {other}]}}"#));
    assert_eq!((status, &body["network"], &body["added"]), (200, &json!("blue"), &json!(2)), "{body}");
    assert!(head.contains("etag: \"8\""), "{head}");
    let (_, _, body) =
        ask("POST", path, "", &format!(r#"{{"generation": 12, "stations": [{station}, {other}]}}"#));
    assert_eq!((&body["changed"], &body["generation"]), (&json!(3), &json!(12)));
    let (_, _, body) = ask("DELETE", path, "", r#"{"stations": ["52:54:00:00:00:02"]}"#);
    assert_eq!(body["removed"], 1);
    assert_eq!(ask("DELETE", &format!("{path}/52:54:00:00:00:02"), "", "").2["removed"], 1);
    let (status, _, body) =
        ask("POST", path, "if-match: \"6\"\r\n", &format!(r#"{{"stations": [{station}]}}"#));
    assert_eq!(status, 412, "{body}");
    assert!(body["error"].as_str().unwrap().contains("generation 7"), "{body}");
    let told = RemoteStation {
        mac: "52:54:00:00:00:02".to_owned(),
        address: vec!["10.0.0.2".parse().unwrap()],
        vtep: "192.0.2.2".parse().unwrap(),
        origin: String::new(),
    };
    assert_eq!(api.client().feed("blue", &told).unwrap().changed, 1);
}

#[test]
fn stations_that_are_wrong_are_refused() {
    let api = Api::start();
    let path = "/v1/networks/blue/stations";
    for wrong in [
        "",
        "[]",
        "{}",
        r#"{"stations": [{"mac": "52:54:00:00:00:02"}]}"#,
        r#"{"stations": [{"mac": "x", "vtep": "192.0.2.2"}]}"#,
        r#"{"stations": [{"mac": "01:00:5e:00:00:02", "vtep": "192.0.2.2"}]}"#,
        r#"{"stations": [{"mac": "52:54:00:00:00:02", "vtep": "192.0.2.2", "adress": []}]}"#,
        r#"{"stations": [{"mac": "52:54:00:00:00:02", "vtep": "192.0.2"}]}"#,
        r#"{"stations": [], "generation": -1}"#,
    ] {
        for method in ["PUT", "POST"] {
            assert_eq!(api.request(method, path, "", wrong).0, 422, "{method} {wrong}");
        }
    }
    assert_eq!(api.request("DELETE", path, "", r#"{"stations": ["x"]}"#).0, 422);
    assert_eq!(api.request("DELETE", &format!("{path}/x"), "", "").0, 422);
    let many = vec!["\"52:54:00:00:00:02\""; 100_001].join(",");
    assert_eq!(api.request("DELETE", path, "", &format!("{{\"stations\": [{many}]}}")).0, 413);
    for query in ["limit=0", "limit=10001", "from=x", "form=52:54:00:00:00:02"] {
        assert_eq!(api.request("GET", &format!("{path}?{query}"), "", "").0, 400, "{query}");
    }
    assert_eq!(api.request("PUT", &format!("{path}?dry_run=true"), "", r#"{"stations": []}"#).0, 400);
    assert_eq!(api.request("PATCH", path, "", "").0, 405);
}
