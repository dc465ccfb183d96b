//! QEMU's command line for one port.

use crate::quote::option_value;
use crate::{GuestPort, Listener, RING_SIZE, STANDARD_MTU};

/// How long QEMU waits before it connects again to a switch that went away, in milliseconds.
const RECONNECT_MS: u32 = 500;

/// One option of QEMU's command line and its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arg {
    /// The option, like `-netdev`.
    pub option: &'static str,
    /// Its value, before any shell.
    pub value: String,
}

impl Arg {
    fn new(option: &'static str, value: String) -> Self {
        Self { option, value }
    }
}

/// What a guest with vhost-user NICs needs once: memory that the switch can map. `size` is QEMU's notation, like
/// `512M`. The size is said twice because QEMU insists that `-m` and the backend agree.
#[must_use]
pub fn guest_memory_args(size: &str) -> Vec<Arg> {
    let size = option_value(size);
    vec![
        Arg::new("-m", size.clone()),
        Arg::new("-object", format!("memory-backend-memfd,id=viaduct-memory,size={size},share=on")),
        Arg::new("-machine", "memory-backend=viaduct-memory".to_owned()),
    ]
}

/// The options that give a guest one NIC, plugged into this port.
#[must_use]
pub fn qemu_args(port: &GuestPort) -> Vec<Arg> {
    vec![
        Arg::new("-chardev", socket(port)),
        Arg::new("-netdev", backend(port)),
        Arg::new("-device", device(port)),
    ]
}

fn socket(port: &GuestPort) -> String {
    let side = match port.listener {
        Listener::Switch => format!("reconnect-ms={RECONNECT_MS}"),
        Listener::Qemu => "server=on,wait=off".to_owned(),
    };
    format!("socket,id=socket-{},path={},{side}", port.name, option_value(&port.socket))
}

fn backend(port: &GuestPort) -> String {
    let queues = if port.queues > 1 { format!(",queues={}", port.queues) } else { String::new() };
    format!("vhost-user,id=net-{0},chardev=socket-{0}{queues}", port.name)
}

fn device(port: &GuestPort) -> String {
    let mut device = format!(
        "virtio-net-pci,id=nic-{0},netdev=net-{0},mac={1},rx_queue_size={RING_SIZE},tx_queue_size={RING_SIZE}",
        port.name,
        option_value(&port.mac)
    );
    if port.queues > 1 {
        // One interrupt vector for each ring, one for the control queue, one for changes of configuration.
        device.push_str(&format!(",mq=on,vectors={}", 2 * u32::from(port.queues) + 2));
    }
    if port.packed {
        device.push_str(",packed=on");
    }
    if port.mtu != STANDARD_MTU {
        device.push_str(&format!(",host_mtu={}", port.mtu));
    }
    device
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::port;

    fn values(port: &GuestPort) -> Vec<String> {
        qemu_args(port).into_iter().map(|arg| format!("{} {}", arg.option, arg.value)).collect()
    }

    #[test]
    fn qemu_connects_where_the_switch_listens_and_comes_again() {
        let expected = [
            "-chardev socket,id=socket-vm1,path=/run/viaduct/vm1.sock,reconnect-ms=500",
            "-netdev vhost-user,id=net-vm1,chardev=socket-vm1",
            "-device virtio-net-pci,id=nic-vm1,netdev=net-vm1,mac=52:54:00:00:00:01,rx_queue_size=1024,\
             tx_queue_size=1024",
        ];
        assert_eq!(values(&port()), expected);
    }

    #[test]
    fn qemu_listens_with_queues_and_jumbo_frames() {
        let port = GuestPort { listener: Listener::Qemu, queues: 4, mtu: 9000, ..port() };
        let expected = [
            "-chardev socket,id=socket-vm1,path=/run/viaduct/vm1.sock,server=on,wait=off",
            "-netdev vhost-user,id=net-vm1,chardev=socket-vm1,queues=4",
            "-device virtio-net-pci,id=nic-vm1,netdev=net-vm1,mac=52:54:00:00:00:01,rx_queue_size=1024,\
             tx_queue_size=1024,mq=on,vectors=10,host_mtu=9000",
        ];
        assert_eq!(values(&port), expected);
    }

    #[test]
    fn packed_rings_are_asked_for_with_any_number_of_queues() {
        let port = GuestPort { packed: true, queues: 2, ..port() };
        assert!(values(&port)[2].ends_with("tx_queue_size=1024,mq=on,vectors=6,packed=on"));
    }

    #[test]
    fn a_comma_in_the_path_stays_in_the_path() {
        let port = GuestPort { socket: "/run/a,server=on".to_owned(), ..port() };
        assert!(values(&port)[0].contains("path=/run/a,,server=on,reconnect-ms"));
    }
}
