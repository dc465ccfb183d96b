//! The `<interface>` element of libvirt's domain XML for one port.

use crate::quote::attribute;
use crate::{GuestPort, Listener, RING_SIZE, STANDARD_MTU};

/// What the domain must have beside the interface: memory that the switch can map.
pub const DOMAIN_NEEDS: &str = "\
<memoryBacking>
  <source type='memfd'/>
  <access mode='shared'/>
</memoryBacking>
";

/// The element that plugs one NIC of a domain into this port. libvirt's `mode` is QEMU's side: `client` connects.
#[must_use]
pub fn libvirt_interface(port: &GuestPort) -> String {
    let queues = if port.queues > 1 { format!(" queues='{}'", port.queues) } else { String::new() };
    let packed = if port.packed { " packed='on'" } else { "" };
    let mtu =
        if port.mtu == STANDARD_MTU { String::new() } else { format!("  <mtu size='{}'/>\n", port.mtu) };
    format!(
        "<interface type='vhostuser'>\n  \
           <mac address='{mac}'/>\n\
         {source}  \
           <model type='virtio'/>\n  \
           <driver{queues} rx_queue_size='{RING_SIZE}' tx_queue_size='{RING_SIZE}'{packed}/>\n\
         {mtu}\
         </interface>\n",
        mac = attribute(&port.mac),
        source = source(port),
    )
}

/// A switch that was restarted is found again: QEMU tries every second where it is the one who connects.
fn source(port: &GuestPort) -> String {
    let path = attribute(&port.socket);
    match port.listener {
        Listener::Switch => format!(
            "  <source type='unix' path='{path}' mode='client'>\n    \
                 <reconnect enabled='yes' timeout='1'/>\n  \
               </source>\n"
        ),
        Listener::Qemu => format!("  <source type='unix' path='{path}' mode='server'/>\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::port;

    #[test]
    fn libvirt_is_the_client_where_the_switch_listens() {
        let expected = "\
<interface type='vhostuser'>
  <mac address='52:54:00:00:00:01'/>
  <source type='unix' path='/run/viaduct/vm1.sock' mode='client'>
    <reconnect enabled='yes' timeout='1'/>
  </source>
  <model type='virtio'/>
  <driver rx_queue_size='1024' tx_queue_size='1024'/>
</interface>
";
        assert_eq!(libvirt_interface(&port()), expected);
    }

    #[test]
    fn libvirt_is_the_server_where_qemu_listens() {
        let port = GuestPort {
            listener: Listener::Qemu,
            queues: 4,
            mtu: 9000,
            packed: true,
            socket: "/a'&b".to_owned(),
            ..port()
        };
        let expected = "\
<interface type='vhostuser'>
  <mac address='52:54:00:00:00:01'/>
  <source type='unix' path='/a&apos;&amp;b' mode='server'/>
  <model type='virtio'/>
  <driver queues='4' rx_queue_size='1024' tx_queue_size='1024' packed='on'/>
  <mtu size='9000'/>
</interface>
";
        assert_eq!(libvirt_interface(&port), expected);
    }
}
