//! libvirt domains with the XML that `viaduct libvirt-xml` prints, in both directions of the socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::libvirt::Libvirt;

#[test]
fn domains_that_listen_and_domains_that_connect_reach_each_other() {
    let libvirt = Libvirt::start();
    let daemon = Daemon::start(&format!(
        "[network.lab]\n[port.vm1]\nnetwork = \"lab\"\n\
         [port.vm2]\nnetwork = \"lab\"\nrole = \"client\"\nsocket = \"{}\"\n",
        libvirt.guest_socket("vm2.sock").display()
    ));
    // QEMU runs as a user of its own and has to reach the switch's sockets.
    fs::set_permissions(daemon.directory(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut vm1 = libvirt.boot_packed(&daemon, "vm1", "10.0.1.1/24");
    let mut vm2 = libvirt.boot(&daemon, "vm2", "10.0.1.2/24");
    let modes = ["vm1", "vm2"].map(|name| {
        let xml = libvirt.virsh(&["dumpxml", name]);
        ["client", "server"].into_iter().find(|mode| xml.contains(&format!(" mode='{mode}'")))
    });
    assert_eq!(modes, [Some("client"), Some("server")], "libvirt runs other modes than the test is about");

    let is_packed = |name: &str| daemon.show().port(name).features.iter().any(|it| it == "ring-packed");
    assert_eq!(["vm1", "vm2"].map(is_packed), [true, false], "{:?}", daemon.show());
    vm1.ping("10.0.1.2", 56);
    vm2.ping("10.0.1.1", 1472);
    vm2.serve_iperf();
    let rate = vm1.iperf("10.0.1.2", 1, "");
    assert!(rate > 1e6, "TCP came to {rate} bit/s only");

    // A domain that is destroyed and started again finds its port again.
    drop(vm2);
    let port = |name: &str| daemon.show().port(name).state.clone();
    wait_until("the port of the destroyed domain to be without a guest", Duration::from_secs(10), || {
        port("vm2") != "running"
    });
    let mut vm2 = libvirt.boot_again("vm2");
    vm2.ping("10.0.1.1", 56);
}
