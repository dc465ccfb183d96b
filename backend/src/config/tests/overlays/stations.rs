//! How many stations and other machines a file may name.

use super::*;

#[test]
fn a_hundred_thousand_stations_are_read_quickly_and_vteps_are_bounded() {
    let stations = |number: u32, vteps: u32| {
        let mut text = format!("{UNDERLAY}{OVERLAY}");
        for station in 0..number {
            let [_, a, b, c] = station.to_be_bytes();
            let vtep = std::net::Ipv4Addr::from_bits(0x0a00_0001 + station % vteps);
            writeln!(
                text,
                "[[network.lab.static]]\nmac = '52:54:00:{a:02x}:{b:02x}:{c:02x}'\nvtep = '{vtep}'"
            )
            .unwrap();
        }
        text
    };
    let start = Instant::now();
    let config = right(&stations(100_000, 1024));
    assert_eq!(config.networks["lab"].overlay.as_ref().unwrap().stations.len(), STATIONS_MAX);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let problems = wrong(&stations(100_001, 1024));
    assert_eq!((problems.len(), problems[0].field.as_str()), (1, "network.lab.static"));
    let problems = wrong(&stations(1025, 1025));
    assert_eq!((problems.len(), problems[0].found.as_str()), (1, "1025 other machines"));
    assert!(problems[0].expected.contains("at most 1024"), "{}", problems[0]);
}
