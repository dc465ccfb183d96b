//! Uplinks' addresses as they are shown.

use std::time::{SystemTime, UNIX_EPOCH};

use viaduct_switch::Nanos;

use super::{Claim, Controller};
use crate::control::routing::{self, Outside};
use crate::dhcp_clients::ClientReport;
use crate::model::{ClaimStatus, DhcpClientStatus, LeaseStatus, OutsideStatus};

impl Controller {
    /// What the switch itself is at uplinks.
    pub(in crate::control) fn outside_statuses(&self) -> Vec<OutsideStatus> {
        let status = |(name, outside): (&String, &Outside)| OutsideStatus {
            uplink: name.clone(),
            addresses: outside
                .addresses
                .iter()
                .map(|(address, length)| format!("{address}/{length}"))
                .collect(),
            gateways: outside.gateways.clone(),
            name_servers: outside.name_servers.clone(),
            claims: self.claim_statuses(name),
            dhcp: self.client_of(name).map(|report| self.client_status(name, report)),
        };
        self.outsides.iter().map(status).collect()
    }

    fn claim_statuses(&self, uplink: &str) -> Vec<ClaimStatus> {
        let claims = self.uplinks.claims.iter().filter(|((of, _), _)| of == uplink);
        let status = |address: String, claim: &Claim| ClaimStatus {
            address,
            mac: claim.mac.to_string(),
            in_use: claim.is_kept,
            age_s: claim.at.elapsed().as_secs(),
        };
        claims.map(|((_, address), claim)| status(address.to_string(), claim)).collect()
    }

    /// Where an uplink's client stands, if it is to have one.
    fn client_of(&self, uplink: &str) -> Option<&ClientReport> {
        let addressing = self.config.uplinks.get(uplink)?.addressing.as_ref()?;
        self.uplinks.clients.get(uplink).filter(|_| addressing.is_dhcp)
    }

    fn client_status(&self, uplink: &str, report: &ClientReport) -> DhcpClientStatus {
        let lease = report.lease.as_ref();
        let left_s = |moment: Nanos| u64::from(moment.seconds().saturating_sub(self.bay.now().seconds()));
        DhcpClientStatus {
            state: report.state.name().to_owned(),
            address: lease.map(|lease| lease.address),
            server: lease.map(|lease| lease.server),
            renews_s: lease.map(|lease| left_s(lease.renew_at)),
            expires_s: lease.map(|lease| left_s(lease.until)),
            trouble: self.uplinks.refused.get(uplink).or(report.trouble.as_ref()).cloned(),
        }
    }

    /// What was lent to uplinks, as leases are shown.
    pub(in crate::control) fn own_leases(&self) -> Vec<LeaseStatus> {
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let lease = |(name, outside): (&String, &Outside)| {
            let status = self.client_status(name, self.client_of(name)?);
            Some(LeaseStatus {
                network: routing::network_at(&self.config, name).to_owned(),
                address: status.address?.into(),
                state: "own".to_owned(),
                port: Some(name.clone()),
                mac: Some(outside.mac.to_string()),
                client: None,
                host_name: None,
                expires_s: status.expires_s,
                until_s: unix_s.saturating_add(status.expires_s?),
            })
        };
        self.outsides.iter().filter_map(lease).collect()
    }
}
